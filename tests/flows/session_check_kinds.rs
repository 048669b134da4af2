//! What is sent to an identity provider, to the byte, and what its replies mean.

use edge_authn::call::Call;
use edge_authn::engine::Decision;
use edge_authn::request::HeaderField;
use serde_json::{Value, json};

use crate::session_check::{check, gateway, header, introspection};
use crate::support::*;

fn fields(fields: &[(&str, &str)]) -> Vec<HeaderField> {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// Names of all that is sent, in order of the alphabet.
fn names(call: &Call) -> Vec<&str> {
    let mut names: Vec<_> = call.headers.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names
}

fn forward_auth(extra: Value) -> Value {
    check(json!({ "kind": "forward_auth" }), extra)
}

fn user_info(extra: Value) -> Value {
    check(json!({ "kind": "user_info" }), extra)
}

/// The label of the refusal that this reply leads to; `None` when the request passes.
#[track_caller]
fn outcome(settings: &Value, status: u16, headers: &[(&str, &str)], body: &str) -> Option<&'static str> {
    let mut gateway = gateway(settings.clone(), json!({}));
    let head = get_with("/", "opaque-1");
    let check = gateway.ask(&head);
    gateway.answer_check(check, status, &fields(headers), body.as_bytes());
    match gateway.decide(&head) {
        Decision::Forward(_) => None,
        Decision::Refuse(rejection) => Some(rejection.label()),
        other => panic!("{other:?}"),
    }
}

const DENIED: Option<&str> = Some("session_denied");
const UNKNOWN: Option<&str> = Some("check_unavailable");

#[test]
fn forward_auth_sends_what_is_listed_and_nothing_else() {
    let settings = forward_auth(json!({
        "request_headers": ["Authorization", "user-agent", "x-device"],
        "cookies": ["device", "theme"],
        "headers": { "x-forwarded-proto": "https", "X-Api-Key": "k3y" },
    }));
    let mut gateway = gateway(settings, json!({}));
    let head = get(
        "/private?secret=1",
        &[
            ("authorization", "bearer  opaque-1"),
            ("user-agent", "curl"),
            ("cookie", "a=1; device=d=1; analytics=x"),
            ("cookie", "Device=2;theme=\"dark\""),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-original-url", "/"),
            ("x-user-id", "root"),
            ("content-length", "5"),
            ("x-other", "secret"),
        ],
    );
    let check = gateway.ask(&head);
    let call = check.call();
    assert_eq!((call.method, call.body.as_slice()), ("GET", &b""[..]));
    assert_eq!(
        (call.endpoint.authority.as_str(), call.endpoint.path.as_str()),
        ("idp.example", "/check?x=1")
    );
    assert_eq!((call.endpoint.scheme, call.endpoint.cluster.as_str()), ("https", "idp"));
    let sent = ["authorization", "cookie", "user-agent", "x-api-key", "x-forwarded-proto"];
    assert_eq!(names(call), sent);
    let values = ["bearer  opaque-1", "device=d=1; theme=\"dark\"", "curl", "k3y", "https"];
    assert_eq!(sent.map(|name| header(call, name).unwrap()), values);
}

#[test]
fn forward_auth_sends_by_default_the_credential_alone() {
    let mut gateway = gateway(forward_auth(json!({})), json!({}));
    let head = get("/", &[("authorization", "Bearer opaque-1"), ("cookie", "a=b"), ("accept", "x/y")]);
    let check = gateway.ask(&head);
    assert_eq!(names(check.call()), ["authorization", "user-agent"]);
    assert!(header(check.call(), "user-agent").unwrap().starts_with("edge-authn/"));
    assert_eq!(check.call().timeout, std::time::Duration::from_secs(2));
}

#[test]
fn the_credential_is_always_sent_and_no_second_one_beside_it() {
    let places = json!({
        "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
        "from_params": ["token"],
        "from_cookies": ["session", "other"],
    });
    let settings = forward_auth(json!({
        "request_headers": ["authorization", "x-device"],
        "cookies": ["session", "device"],
    }));
    let sent = |path: &str, request: &[(&str, &str)]| {
        let mut gateway = gateway(settings.clone(), places.clone());
        let check = gateway.ask(&get(path, request));
        let value = |name| header(check.call(), name).map(str::to_owned);
        (value("authorization"), value("cookie"), value("x-token"))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        sent("/", &[("authorization", "Bearer t1"), ("cookie", "device=d")]),
        (some("Bearer t1"), some("device=d"), None)
    );
    assert_eq!(sent("/", &[("cookie", "device=d; session=t1")]), (None, some("session=t1; device=d"), None));
    // Where its own place is not listed, it is a bearer token, whatever else is there.
    let bearer = (some("Bearer t1"), None, None);
    assert_eq!(sent("/", &[("x-token", "t1")]), bearer);
    assert_eq!(sent("/", &[("x-token", "t1"), ("authorization", "Basic YTpi")]), bearer);
    assert_eq!(sent("/", &[("cookie", "other=t1")]), bearer);
    assert_eq!(sent("/?token=t1", &[("accept", "*/*")]), bearer);
}

#[test]
fn what_is_listed_and_there_twice_is_refused() {
    let settings =
        forward_auth(json!({ "request_headers": ["authorization", "x-device"], "cookies": ["s"] }));
    for more in [
        [("x-device", "1"), ("X-Device", "1")],
        [("cookie", "s=1; s=1"), ("accept", "*/*")],
        [("cookie", "s=1"), ("cookie", "s=2")],
    ] {
        let mut gateway = gateway(settings.clone(), json!({}));
        let mut request = vec![("authorization", "Bearer opaque-1")];
        request.extend(more);
        let rejection = gateway.refuse(&get("/", &request));
        assert_eq!((rejection.label(), rejection.status()), ("multiple_credentials", 400), "{more:?}");
        assert_eq!(gateway.checks(), []);
    }
}

#[test]
fn what_is_no_header_value_is_never_sent() {
    let settings =
        forward_auth(json!({ "request_headers": ["authorization", "x-device"], "cookies": ["s"] }));
    for value in ["a\r\nx: y", "a\nb", "a\0b", "a\x7fb", "\x01"] {
        for (name, value) in [("x-device", value.to_owned()), ("cookie", format!("s=x{value}x"))] {
            let mut gateway = gateway(settings.clone(), json!({}));
            let head = get("/", &[("authorization", "Bearer opaque-1"), (name, &value)]);
            assert_eq!(gateway.refuse(&head).label(), "malformed_credential", "{name}: {value:?}");
            assert_eq!(gateway.checks(), []);
        }
    }
    let mut gateway = gateway(settings, json!({}));
    let head = get("/", &[("authorization", &b"Bearer opaque-1"[..]), ("x-device", b"\xff")]);
    assert_eq!(gateway.refuse(&head).label(), "malformed_credential");
}

#[test]
fn all_that_is_sent_tells_questions_apart_and_nothing_that_is_not() {
    let settings =
        forward_auth(json!({ "request_headers": ["authorization", "x-device"], "cookies": ["s"] }));
    let mut gateway = gateway(settings, json!({}));
    let request = |device: &str, cookie: &str, other: &str| {
        get(
            "/",
            &[("authorization", "Bearer t"), ("x-device", device), ("cookie", cookie), ("x-other", other)],
        )
    };
    let check = gateway.ask(&request("1", "s=1; analytics=1", "1"));
    gateway.answer_check(check, 200, &[], b"");
    gateway.forward(&request("1", "analytics=2; s=1", "2"));
    gateway.ask(&request("2", "s=1", "1"));
    gateway.ask(&request("1", "s=2", "1"));
}

#[test]
fn forward_auth_replies() {
    let plain = forward_auth(json!({}));
    for (status, expected) in [
        (200, None),
        (204, None),
        (299, None),
        (302, UNKNOWN),
        (400, UNKNOWN),
        (401, DENIED),
        (403, DENIED),
        (404, UNKNOWN),
        (429, UNKNOWN),
        (500, UNKNOWN),
        (503, UNKNOWN),
    ] {
        assert_eq!(outcome(&plain, status, &[("location", "/login")], "<html>"), expected, "{status}");
    }
    let strict = forward_auth(json!({ "allow": { "status": [202] }, "deny_status": [302, 404] }));
    for (status, expected) in [(202, None), (200, UNKNOWN), (302, DENIED), (404, DENIED), (401, UNKNOWN)] {
        assert_eq!(outcome(&strict, status, &[], ""), expected, "{status}");
    }
    let name = "x-authgear-session-valid";
    let by_header = forward_auth(json!({ "allow": { "header": name, "value": "true" } }));
    for (status, headers, expected) in [
        (200, &[("X-Authgear-Session-Valid", "true")][..], None),
        (200, &[(name, "false")], DENIED),
        (200, &[(name, "TRUE")], DENIED),
        (200, &[], DENIED),
        (200, &[(name, "true"), (name, "false")], UNKNOWN),
        (500, &[(name, "true")], UNKNOWN),
        (401, &[(name, "true")], DENIED),
    ] {
        assert_eq!(outcome(&by_header, status, headers, ""), expected, "{status} {headers:?}");
    }
}

#[test]
fn headers_of_a_reply_reach_the_upstream_as_mapped_claims_alone() {
    let settings = forward_auth(json!({
        "claims_from_headers": [
            { "header": "X-Authgear-User-Id", "claim": "sub" },
            { "header": "x-roles", "claim": "roles" },
        ],
    }));
    let mut gateway = gateway(
        settings.clone(),
        json!({
            "claim_to_headers": [
                { "header_name": "x-user-id", "claim_name": "sub" },
                { "header_name": "x-roles", "claim_name": "roles" },
            ],
        }),
    );
    let head = get("/", &[("authorization", "Bearer opaque-1"), ("x-roles", "root"), ("X_Roles", "root")]);
    let check = gateway.ask(&head);
    let reply = fields(&[
        ("x-authgear-user-id", "al\u{ef}ce"),
        ("x-admin", "true"),
        ("set-cookie", "a=b"),
        ("authorization", "Basic x"),
    ]);
    gateway.answer_check(check, 200, &reply, b"");
    let received = gateway.forward(&head);
    assert_eq!(received.values("x-user-id"), ["al%C3%AFce"]);
    for name in ["x-roles", "x_roles", "x-admin", "set-cookie", "authorization", "x-authgear-user-id"] {
        assert_eq!(received.values(name), [""; 0], "{name}");
    }
    let twice = [("x-authgear-user-id", "alice"), ("x-authgear-user-id", "bob")];
    assert_eq!(outcome(&settings, 200, &twice, ""), UNKNOWN);
}

#[test]
fn user_info_sends_the_credential_and_fixed_headers() {
    let mut plain = gateway(user_info(json!({})), json!({}));
    let check = plain.ask(&get("/", &[("authorization", "bearer opaque-1"), ("cookie", "a=b")]));
    assert_eq!(names(check.call()), ["accept", "authorization", "user-agent"]);
    assert_eq!(header(check.call(), "authorization"), Some("Bearer opaque-1"));
    let settings = user_info(json!({
        "credential_header": "x-stack-access-token",
        "headers": { "x-stack-access-type": "server" },
    }));
    let mut stack = gateway(settings, json!({}));
    let check =
        stack.ask(&get("/", &[("authorization", "Bearer opaque-1"), ("x-stack-override-error-status", "1")]));
    assert_eq!(check.call().method, "GET");
    assert_eq!(names(check.call()), ["accept", "user-agent", "x-stack-access-token", "x-stack-access-type"]);
    assert_eq!(header(check.call(), "x-stack-access-token"), Some("opaque-1"));
}

#[test]
fn user_info_replies() {
    let plain = user_info(json!({}));
    let nested = format!("{}{}", "[".repeat(40), "]".repeat(40));
    for (status, body, expected) in [
        (200, r#"{"sub":"alice"}"#, None),
        (200, r#"{"id":5}"#, None),
        (200, "", UNKNOWN),
        (200, "[]", UNKNOWN),
        (200, r#"{"sub":"a","sub":"b"}"#, UNKNOWN),
        (200, r#"{"sub":5}"#, UNKNOWN),
        (200, r#"{"exp":"5"}"#, UNKNOWN),
        (200, &format!(r#"{{"a":{nested}}}"#), UNKNOWN),
        (201, r#"{"sub":"alice"}"#, UNKNOWN),
        (302, "{}", UNKNOWN),
        (401, "", DENIED),
        (403, "{}", UNKNOWN),
        (500, "{}", UNKNOWN),
    ] {
        assert_eq!(outcome(&plain, status, &[], body), expected, "{status} {body}");
    }
    let coded = user_info(json!({
        "deny": [
            { "status": 401, "code": "ACCESS_TOKEN_EXPIRED" },
            { "status": 400, "code": "NO_USER" },
            { "status": 403, "code": "RESTRICTED", "answer": 403 },
            { "status": 410 },
        ],
        "code_member": "error",
    }));
    for (status, body, expected) in [
        (401, r#"{"error":"ACCESS_TOKEN_EXPIRED"}"#, DENIED),
        (401, r#"{"error":"INVALID_SECRET_SERVER_KEY"}"#, UNKNOWN),
        (401, r#"{"code":"ACCESS_TOKEN_EXPIRED"}"#, UNKNOWN),
        (401, r#"{"error":["ACCESS_TOKEN_EXPIRED"]}"#, UNKNOWN),
        (401, "ACCESS_TOKEN_EXPIRED", UNKNOWN),
        (400, r#"{"error":"NO_USER"}"#, DENIED),
        (400, r#"{"error":"ACCESS_TOKEN_EXPIRED"}"#, UNKNOWN),
        (403, r#"{"error":"RESTRICTED"}"#, Some("access_denied")),
        (410, "", DENIED),
    ] {
        assert_eq!(outcome(&coded, status, &[], body), expected, "{status} {body}");
    }
}

#[test]
fn introspection_sends_a_form_and_who_asks() {
    let settings = introspection(json!({ "client_id": "gw:1", "client_secret": "p%s w\u{f6}rd" }));
    let mut basic = gateway(settings, json!({}));
    let check = basic.ask(&get("/", &[("authorization", "Bearer a+/b=="), ("cookie", "a=b")]));
    let call = check.call();
    assert_eq!(call.method, "POST");
    assert_eq!(names(call), ["accept", "authorization", "content-length", "content-type", "user-agent"]);
    assert_eq!(header(call, "content-type"), Some("application/x-www-form-urlencoded"));
    let body = "token=a%2B%2Fb%3D%3D&token_type_hint=access_token";
    assert_eq!(std::str::from_utf8(&call.body).unwrap(), body);
    assert_eq!(header(call, "content-length"), Some(body.len().to_string().as_str()));
    // gw%3A1:p%25s+w%C3%B6rd (RFC 6749 section 2.3.1)
    assert_eq!(header(call, "authorization"), Some("Basic Z3clM0ExOnAlMjVzK3clQzMlQjZyZA=="));

    let mut post =
        gateway(introspection(json!({ "auth_method": "post", "client_secret": "a b&c" })), json!({}));
    let check = post.ask(&get_with("/", "opaque-1"));
    assert_eq!(header(check.call(), "authorization"), None);
    let body = "token=opaque-1&token_type_hint=access_token&client_id=gw&client_secret=a+b%26c";
    assert_eq!(std::str::from_utf8(&check.call().body).unwrap(), body);
}

#[test]
fn introspection_replies() {
    let settings = introspection(json!({}));
    for (status, body, expected) in [
        (200, r#"{"active":true}"#, None),
        (200, r#"{"active":true,"ext":{"a":[1]},"token_use":"access_token"}"#, None),
        (200, r#"{"active":false}"#, DENIED),
        (200, r#"{"active":false,"sub":"alice"}"#, DENIED),
        (200, r#"{"active":"true"}"#, UNKNOWN),
        (200, r#"{"active":1}"#, UNKNOWN),
        (200, r#"{"Active":true}"#, UNKNOWN),
        (200, r#"{"active":true,"active":false}"#, UNKNOWN),
        (200, r#"{"sub":"alice"}"#, UNKNOWN),
        (200, r#"{"active":true,"exp":"soon"}"#, UNKNOWN),
        (200, "true", UNKNOWN),
        (201, r#"{"active":true}"#, UNKNOWN),
        (302, r#"{"active":true}"#, UNKNOWN),
        (400, r#"{"active":false}"#, UNKNOWN),
        (401, r#"{"active":false}"#, UNKNOWN),
        (403, "", UNKNOWN),
        (429, "", UNKNOWN),
        (500, "", UNKNOWN),
    ] {
        assert_eq!(outcome(&settings, status, &[], body), expected, "{status} {body}");
    }
}

#[test]
fn a_configuration_that_would_send_too_much_or_believe_too_much_is_refused() {
    let error = |settings: Value| {
        let mut configuration = configuration(json!({ "session_check": settings }));
        configuration["providers"]["acme"]["claim_to_headers"] =
            json!([{ "header_name": "x-user-id", "claim_name": "sub" }]);
        let parsed = edge_authn::config::Config::parse(configuration.to_string().as_bytes(), &|_| None);
        parsed.expect_err(&settings.to_string()).to_string()
    };
    for name in [
        "connection",
        "Content-Length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "proxy-authorization",
        "forwarded",
        "x-forwarded-for",
        "X_Forwarded_Proto",
        "x-original-url",
        "x-user-id",
        "X_User_Id",
        "a b",
        "",
        ":path",
    ] {
        let message = error(forward_auth(json!({ "request_headers": [name] })));
        assert!(message.contains("request_headers"), "{message}");
    }
    for (settings, expected) in [
        (json!(null), "session_check: found null"),
        (json!({}), "the field \"kind\""),
        (
            check(json!({}), json!({ "kind": "magic" })),
            "\"forward_auth\", \"user_info\", \"introspection\" or \"session_status\"",
        ),
        (forward_auth(json!({ "mode": "sometimes" })), "session_check.mode"),
        (forward_auth(json!({ "http_uri": { "uri": "/check", "cluster": "c" } })), "an absolute URI"),
        (
            forward_auth(json!({ "http_uri": { "uri": "https://a/", "cluster": "c", "timeout": "11s" } })),
            "10s",
        ),
        (
            forward_auth(json!({ "http_uri": { "uri": "https://a/", "cluster": "c", "timeout": "0s" } })),
            "timeout",
        ),
        (forward_auth(json!({ "cache_ttl": "2h" })), "cache_ttl"),
        (forward_auth(json!({ "cache_ttl": null })), "cache_ttl"),
        (forward_auth(json!({ "failure_mode": "open" })), "\"closed\" or \"anonymous\""),
        (forward_auth(json!({ "cookies": ["a;b"] })), "the name of a cookie"),
        (forward_auth(json!({ "headers": { "authorization": "x" } })), "each header once"),
        (forward_auth(json!({ "request_headers": ["x-a"], "headers": { "X_A": "x" } })), "each header once"),
        (forward_auth(json!({ "headers": { "host": "x" } })), "one that does not frame"),
        (forward_auth(json!({ "headers": { "x-a": "s3cret\r\nx: y" } })), "found something else"),
        (forward_auth(json!({ "headers": { "x-a": { "environment_variable": "NOT_THERE" } } })), "NOT_THERE"),
        (forward_auth(json!({ "allow": {} })), "session_check.allow"),
        (forward_auth(json!({ "allow": { "header": "x" } })), "session_check.allow"),
        (forward_auth(json!({ "allow": { "status": [] } })), "at least one status"),
        (forward_auth(json!({ "deny_status": [100] })), "an HTTP status"),
        (forward_auth(json!({ "claims_from_headers": [{ "header": "x", "claim": "exp" }] })), "a text"),
        (forward_auth(json!({ "client_id": "x" })), "an unknown field"),
        (user_info(json!({ "credential_header": "cookie" })), "one that does not frame"),
        (user_info(json!({ "headers": { "Authorization": "x" } })), "each header once"),
        (user_info(json!({ "deny": [{ "status": 401, "answer": 404 }] })), "401 or 403"),
        (user_info(json!({ "request_headers": ["a"] })), "an unknown field"),
        (introspection(json!({ "client_secret": "" })), "client_secret: found nothing"),
        (introspection(json!({ "client_secret": null })), "client_secret"),
        (introspection(json!({ "auth_method": "none" })), "\"basic\" or \"post\""),
    ] {
        let message = error(settings);
        assert!(message.contains(expected) && message.contains("session_check"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
}

#[test]
fn secrets_come_from_the_environment_and_are_shown_nowhere() {
    let settings = introspection(json!({ "client_secret": { "environment_variable": "SECRET" } }));
    let configuration = configuration(json!({ "local_jwks": null, "session_check": settings }));
    let environment = |name: &str| (name == "SECRET").then(|| "fr0m-env".to_owned());
    let config =
        edge_authn::config::Config::parse(configuration.to_string().as_bytes(), &environment).unwrap();
    assert!(!format!("{config:?}").contains("fr0m-env"));
    let edge_authn::config::CheckKind::Introspection(kind) =
        &config.providers[0].session_check.as_ref().unwrap().kind
    else {
        panic!()
    };
    assert_eq!(kind.client_secret.reveal(), "fr0m-env");
}

#[test]
fn a_provider_needs_keys_or_a_session_check() {
    let parse = |provider: Value| {
        let configuration = configuration(provider);
        edge_authn::config::Config::parse(configuration.to_string().as_bytes(), &|_| None)
    };
    parse(json!({ "local_jwks": null, "session_check": introspection(json!({})) })).unwrap();
    let message = parse(json!({ "local_jwks": null })).unwrap_err().to_string();
    assert!(message.contains("no source of keys and no session check"), "{message}");
    let provider =
        json!({ "local_jwks": null, "session_check": introspection(json!({})), "algorithms": ["RS256"] });
    assert!(parse(provider).unwrap_err().to_string().contains("algorithms"));
}
