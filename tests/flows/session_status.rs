//! Sessions that are asked about by the name that their tokens have for them.

use std::time::Duration;

use edge_authn::call::Call;
use edge_authn::config::Config;
use edge_authn::engine::Decision;
use edge_authn::request::RequestHead;
use edge_authn::session_check::Check;
use serde_json::{Value, json};

use crate::session_check::header;
use crate::support::*;

/// The check, with `extra` fields.
fn status_check(extra: Value) -> Value {
    let mut check = json!({
        "kind": "session_status",
        "http_uri": { "uri": "https://api.example/v1/sessions/{sid}/verify/?x=1", "cluster": "api", "timeout": "2s" },
        "headers": { "x-secret-key": "sk_1" },
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        check[name] = value.clone();
    }
    check
}

/// A provider with the key of [`KEY`] and this check.
fn gateway(extra: Value) -> Gateway {
    gateway_of(extra, json!({}))
}

fn gateway_of(extra: Value, provider: Value) -> Gateway {
    let mut all = json!({
        "session_check": status_check(extra),
        "claim_to_headers": [
            { "header_name": "x-user-id", "claim_name": "sub" },
            { "header_name": "x-role", "claim_name": "role" },
        ],
    });
    for (name, value) in provider.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    Gateway::with_provider(all)
}

/// A token of this session that is good for so many seconds, the `number`-th of them.
fn token_of(session: &str, seconds: u64, number: u64) -> RequestHead {
    get_with(
        "/",
        &KEY.sign(&claims(json!({ "sid": session, "exp": START + seconds, "jti": format!("{number}") }))),
    )
}

impl Gateway {
    fn good(&mut self, check: Check) {
        assert!(self.answer_check(check, 200, &[], b"{\"code\":0,\"data\":null,\"message\":\"success\"}"));
    }

    fn gone(&mut self, check: Check) {
        assert!(self.answer_check(check, 404, &[], b""));
    }

    #[track_caller]
    fn only_check(&mut self) -> Check {
        let mut checks = self.checks();
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks.remove(0)
    }
}

fn names(call: &Call) -> Vec<&str> {
    let mut names: Vec<_> = call.headers.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_name_of_the_session_is_sent_and_nothing_of_the_request() {
    for (extra, method, expected) in [
        (json!({}), "GET", &["accept", "user-agent", "x-secret-key"][..]),
        (json!({ "method": "POST" }), "POST", &["accept", "content-length", "user-agent", "x-secret-key"]),
    ] {
        let mut gateway = gateway(extra);
        let token = KEY.sign(&claims(json!({ "sid": "sess_1 @" })));
        let head = get(
            "/private?secret=1",
            &[
                ("authorization", format!("Bearer {token}").as_str()),
                ("cookie", "a=b"),
                ("x-secret-key", "forged"),
                ("x-forwarded-for", "10.0.0.1"),
            ],
        );
        let check = gateway.ask(&head);
        let call = check.call();
        assert_eq!((call.method, call.body.as_slice()), (method, &b""[..]));
        let endpoint = &call.endpoint;
        assert_eq!(
            (endpoint.scheme, endpoint.authority.as_str(), endpoint.path.as_str(), endpoint.cluster.as_str()),
            ("https", "api.example", "/v1/sessions/sess_1%20%40/verify/?x=1", "api")
        );
        assert_eq!(names(call), expected);
        assert_eq!(
            (header(call, "x-secret-key"), header(call, "accept")),
            (Some("sk_1"), Some("application/json"))
        );
        assert!(header(call, "content-length").is_none_or(|length| length == "0"));
        assert!(!format!("{call:?}").contains(&token));
        gateway.good(check);
        gateway.forward(&head);
    }
}

#[test]
fn each_answer_is_taken_for_what_it_means() {
    let outcome = |extra: &Value, status, body: &str| {
        let mut gateway = gateway(extra.clone());
        let head = token_of("s1", 3600, 1);
        let check = gateway.ask(&head);
        gateway.answer_check(check, status, &[], body.as_bytes());
        match gateway.decide(&head) {
            Decision::Forward(_) => None,
            Decision::Refuse(rejection) => Some((rejection.label(), rejection.status())),
            other => panic!("{other:?}"),
        }
    };
    const GONE: Option<(&str, u16)> = Some(("session_denied", 401));
    const UNKNOWN: Option<(&str, u16)> = Some(("check_unavailable", 503));
    for (status, body, expected) in [
        (200, "", None),
        (200, "<html>", None),
        (200, r#"{"a":1,"a":2}"#, None),
        (201, "{}", UNKNOWN),
        (204, "", UNKNOWN),
        (302, "", UNKNOWN),
        (400, "", UNKNOWN),
        (401, "", UNKNOWN),
        (403, "", UNKNOWN),
        (404, "", GONE),
        (404, "<html>", GONE),
        (429, "", UNKNOWN),
        (500, "", UNKNOWN),
    ] {
        assert_eq!(outcome(&json!({}), status, body), expected, "{status} {body}");
    }
    let coded = json!({
        "deny": [{ "status": 200, "code": "revoked" }, { "status": 403, "code": "banned", "answer": 403 }],
        "code_member": "status",
    });
    for (status, body, expected) in [
        (200, r#"{"status":"active"}"#, None),
        (200, r#"{"status":"revoked"}"#, GONE),
        (403, r#"{"status":"banned"}"#, Some(("access_denied", 403))),
        (403, "", UNKNOWN),
        (404, "", UNKNOWN),
    ] {
        assert_eq!(outcome(&coded, status, body), expected, "{status} {body}");
    }
}

#[test]
fn nothing_of_an_answer_becomes_a_claim_and_the_payload_stays_that_of_the_token() {
    for mode in ["always", "background"] {
        let mut gateway =
            gateway_of(json!({ "mode": mode }), json!({ "forward_payload_header": "x-payload" }));
        // White space that would not come back if it were written anew.
        let payload = format!(
            "{{ \"iss\": \"{ISSUER}\", \"sub\":\"alice\",  \"sid\": \"s1\", \"exp\": {} }}",
            START + 60
        );
        let token = KEY.sign_raw(br#"{"alg":"ES256"}"#, payload.as_bytes());
        let head = get_with("/", &token);
        if mode == "background" {
            gateway.forward(&head);
        }
        let check = if mode == "always" { gateway.ask(&head) } else { gateway.only_check() };
        let body = br#"{"sub":"root","role":"admin","exp":1,"iss":"https://evil.example","sid":"s2"}"#;
        assert!(gateway.answer_check(check, 200, &[], body));
        let received = gateway.forward(&head);
        assert_eq!(received.values("x-user-id"), ["alice"], "{mode}");
        assert_eq!(received.values("x-role"), [""; 0], "{mode}");
        assert_eq!(received.values("x-payload"), [token.split('.').nth(1).unwrap()], "{mode}");
    }
}

#[test]
fn a_token_without_a_name_for_its_session_is_refused_and_nobody_is_asked() {
    for mode in ["always", "background"] {
        for (sid, what) in [
            (json!(null), "none"),
            (json!(5), "a number"),
            (json!(["s1"]), "a list"),
            (json!({ "id": "s1" }), "an object"),
            (json!(true), "a boolean"),
            (json!(""), "empty"),
            (json!("x".repeat(257)), "too long"),
            (json!("../../users/1"), "another path"),
            (json!(".."), "the segment above"),
            (json!("."), "no segment"),
            (json!("s1/../s2"), "another session"),
            (json!("s1%2f..%2fs2"), "the same, encoded"),
            (json!("s1?x="), "a query"),
            (json!("s1#"), "a fragment"),
            (json!("s1\\..\\s2"), "other slashes"),
            (json!("s1;a=b"), "a path parameter"),
            (json!("s1\r\nx: y"), "another line"),
            (json!("s1\u{ff0f}s2"), "another slash"),
        ] {
            let mut gateway = gateway(json!({ "mode": mode }));
            let head = get_with("/", &KEY.sign(&claims(json!({ "sid": sid }))));
            let rejection = gateway.refuse(&head);
            assert_eq!((rejection.label(), rejection.status()), ("claim", 401), "{mode}: {what}");
            assert_eq!(gateway.checks(), [], "{mode}: {what}");
            assert_eq!(gateway.engine.wake_at(), None, "{mode}: {what}");
        }
    }
    let nested = json!({ "http_uri": { "uri": "https://api.example/{o.id}/{sid}", "cluster": "api" } });
    let mut gateway = gateway(nested);
    gateway.refuse(&token_of("s1", 60, 1));
    let head = get_with("/", &KEY.sign(&claims(json!({ "sid": "s1", "o": { "id": "o1" } }))));
    assert_eq!(gateway.ask(&head).call().endpoint.path, "/o1/s1");
}

#[test]
fn only_tokens_that_the_keys_have_verified_are_asked_about() {
    for mode in ["always", "background"] {
        let mut gateway = gateway(json!({ "mode": mode, "failure_mode": "anonymous" }));
        for (credential, label) in [
            ("opaque-1".to_owned(), "invalid_token"),
            ("a.b.c".to_owned(), "invalid_token"),
            (STRANGER.sign(&claims(json!({ "sid": "s1" }))), "invalid_token"),
            (KEY.sign(&claims(json!({ "sid": "s1", "exp": 1 }))), "expired"),
            (KEY.sign(&claims(json!({ "sid": "s1", "iss": "https://other.example" }))), "invalid_token"),
            (
                KEY.sign_with_header(&json!({ "alg": "none" }), &claims(json!({ "sid": "s1" }))),
                "invalid_token",
            ),
        ] {
            for path in ["/", "/optional"] {
                let refused = gateway.refuse(&get_with(path, &credential));
                assert_eq!(refused.label(), label, "{mode}: {path} {credential}");
            }
            assert_eq!(gateway.forward(&get_with("/whatever", &credential)).values("x-user-id"), [""; 0]);
        }
        assert_eq!(gateway.checks(), [], "{mode}");
    }
}

#[test]
fn the_tokens_of_one_session_share_a_question_and_its_answer() {
    let mut gateway = gateway(json!({ "cache_ttl": "10s", "negative_ttl": "5s" }));
    let (first, second, other) = (token_of("s1", 60, 1), token_of("s1", 90, 2), token_of("s2", 60, 1));
    let check = gateway.ask(&first);
    gateway.assert_waits(&second);
    assert_eq!(gateway.checks(), [], "it is on its way");
    gateway.good(check);
    gateway.forward(&first);
    gateway.forward(&second);
    let of_other = gateway.ask(&other);
    gateway.gone(of_other);
    gateway.refuse(&other);
    gateway.forward(&second);
    gateway.advance(seconds(10));
    let check = gateway.ask(&second);
    gateway.gone(check);
    for head in [&first, &second, &token_of("s1", 120, 3)] {
        assert_eq!(gateway.refuse(head).label(), "session_denied");
    }
    assert_eq!(gateway.checks(), []);
    gateway.advance(seconds(5));
    gateway.ask(&first);
}

#[test]
fn two_providers_with_one_question_have_answers_of_their_own() {
    let provider = || json!({ "issuer": ISSUER, "local_jwks": { "inline_string": jwks() }, "session_check": status_check(json!({})) });
    let configuration = json!({
        "providers": { "a": provider(), "b": provider() },
        "rules": [
            { "match": { "path": "/a" }, "requires": { "provider_name": "a" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "b" } },
        ],
    });
    let mut gateway = Gateway::new(&configuration);
    let token = KEY.sign(&claims(json!({ "sid": "s1" })));
    let check = gateway.ask(&get_with("/a", &token));
    gateway.good(check);
    gateway.forward(&get_with("/a", &token));
    gateway.ask(&get_with("/", &token));
}

#[test]
fn a_refreshed_token_of_a_session_that_is_gone_is_refused_at_once_and_for_as_long_as_others_come() {
    let mut gateway = gateway(json!({ "mode": "background", "interval": "15s" }));
    gateway.forward(&token_of("s1", 60, 0));
    let check = gateway.only_check();
    gateway.gone(check);
    // Tokens of a minute, refreshed every half of one, for an hour: each is refused, and none is asked about.
    for number in 0..120 {
        let head = token_of("s1", number * 30 + 60, number);
        assert_eq!(gateway.refuse(&head).label(), "session_denied", "{number}");
        assert_eq!(gateway.checks(), []);
        gateway.advance(seconds(30));
    }
    gateway.forward(&token_of("s2", 7200, 0));
    let check = gateway.only_check();
    gateway.good(check);
    // One that is left until all that were seen are over is asked about like a new one.
    gateway.advance(seconds(600));
    let late = token_of("s1", 9000, 999);
    gateway.forward(&late);
    let check = gateway.only_check();
    gateway.gone(check);
    assert_eq!(gateway.refuse(&late).label(), "session_denied");
}

#[test]
fn a_token_that_was_seen_before_does_not_shorten_what_is_known_of_its_session() {
    let mut gateway = gateway(json!({ "mode": "background" }));
    let (long, short) = (token_of("s1", 3600, 1), token_of("s1", 60, 2));
    gateway.forward(&long);
    gateway.forward(&short);
    let check = gateway.only_check();
    gateway.gone(check);
    for _ in 0..35 {
        gateway.advance(seconds(100));
        assert_eq!(gateway.refuse(&long).label(), "session_denied");
    }
}

#[test]
fn a_session_is_watched_for_longer_than_each_of_its_tokens_lives() {
    let mut gateway = gateway(json!({ "mode": "background", "interval": "15s" }));
    let mut asked = 0;
    for number in 0..360 {
        // A token of a minute, and every half of one another.
        gateway.forward(&token_of("s1", (number / 3) * 30 + 60, number / 3));
        for check in gateway.checks() {
            asked += 1;
            gateway.good(check);
        }
        gateway.advance(seconds(10));
    }
    assert!((170..=240).contains(&asked), "{asked} checks in an hour, one each fifteen seconds and a little");
}

#[test]
fn another_token_does_not_hide_that_its_session_was_not_checked_for_too_long() {
    let mut gateway = gateway(json!({ "mode": "background", "interval": "15s", "max_unchecked": "60s" }));
    gateway.forward(&token_of("s1", 3600, 0));
    let check = gateway.only_check();
    gateway.good(check);
    for number in 1..6 {
        gateway.advance(seconds(10));
        gateway.forward(&token_of("s1", 3600, number));
        for check in gateway.checks() {
            assert!(!gateway.answer_check(check, 401, &[], b""));
        }
    }
    gateway.advance(seconds(10));
    let head = token_of("s1", 3600, 7);
    gateway.assert_waits(&head);
    let arrived = gateway.now;
    for check in gateway.checks() {
        assert!(!gateway.answer_check(check, 500, &[], b""));
    }
    let decision = gateway.decide_late(&head, arrived);
    let Decision::Refuse(rejection) = decision else { panic!("{decision:?}") };
    assert_eq!((rejection.label(), rejection.status()), ("check_unavailable", 503));
    gateway.advance(seconds(1));
    let check = gateway.ask(&token_of("s1", 3600, 8));
    gateway.good(check);
    gateway.forward(&head);
}

#[test]
fn without_timers_the_tokens_of_one_session_make_one_call_between_them() {
    let mut always = gateway(json!({}));
    always.engine.without_timers();
    always.assert_waits(&token_of("s1", 60, 1));
    let check = always.engine.own_check(always.now).unwrap();
    always.good(check);
    always.forward(&token_of("s1", 90, 2));
    assert_eq!(always.engine.own_check(always.now), None);

    let mut background = gateway(json!({ "mode": "background", "interval": "15s" }));
    background.engine.without_timers();
    background.forward(&token_of("s1", 60, 1));
    let check = background.engine.own_check(background.now).unwrap();
    background.forward(&token_of("s1", 60, 2));
    assert_eq!(background.engine.own_check(background.now), None, "the other one asks");
    background.good(check);
    background.advance(seconds(16));
    background.forward(&token_of("s1", 90, 3));
    let check = background.engine.own_check(background.now).unwrap();
    background.gone(check);
    for number in 1..5 {
        assert_eq!(background.refuse(&token_of("s1", 60 + number, number)).label(), "session_denied");
        assert_eq!(background.engine.own_check(background.now), None);
    }
}

#[test]
fn a_configuration_that_could_ask_nothing_or_too_much_is_refused() {
    let error = |provider: Value| {
        let configuration = configuration(provider);
        Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string()
    };
    let message = error(json!({ "local_jwks": null, "session_check": status_check(json!({})) }));
    assert_eq!(
        message,
        "providers.acme.session_check.kind: found a kind for what keys have verified, and no keys, expected keys, or another kind"
    );
    for (extra, expected) in [
        (json!({ "mode": "opaque" }), "session_check.mode: found a mode for what is no token"),
        (
            json!({ "method": "DELETE" }),
            "session_check.method: found the string \"DELETE\", expected \"GET\" or \"POST\"",
        ),
        (json!({ "method": null }), "session_check.method: found null"),
        (json!({ "credential_header": "x" }), "session_check.credential_header: found an unknown field"),
        (json!({ "headers": { "content-length": "5" } }), "one that does not frame the request"),
        (json!({ "headers": { "x-k": { "environment_variable": "NOPE" } } }), "NOPE"),
    ] {
        let message = error(json!({ "session_check": status_check(extra) }));
        assert!(message.contains(expected), "{message}");
    }
    for uri in [
        "https://api.example/sessions",
        "https://api.example/sessions?id={sid}",
        "https://{sid}.example/sessions/{sid}",
        "https://api.example/sessions/{}",
        "https://api.example/sessions/{sid",
        "https://api.example/sessions/{a..b}",
    ] {
        let place = json!({ "uri": uri, "cluster": "api" });
        let message = error(json!({ "session_check": status_check(json!({ "http_uri": place })) }));
        let start = format!(
            "providers.acme.session_check.http_uri.uri: found the string {uri:?}, expected a URI with"
        );
        assert!(message.starts_with(&start), "{message}");
    }
}

#[test]
fn a_token_that_was_issued_after_a_denial_is_asked_about_before_it_passes() {
    let issued = |at: u64, number: u64| {
        let claims = claims(
            json!({ "sid": "s1", "iat": START + at, "exp": START + 3600, "jti": format!("{number}") }),
        );
        get_with("/", &KEY.sign(&claims))
    };
    let mut gateway = gateway(json!({ "mode": "background", "interval": "15s", "negative_ttl": "5s" }));
    gateway.forward(&issued(0, 0));
    let check = gateway.only_check();
    gateway.advance(seconds(10));
    gateway.gone(check);
    for of_before in [issued(0, 0), issued(10, 1)] {
        assert_eq!(gateway.refuse(&of_before).label(), "session_denied");
    }
    assert_eq!(gateway.checks(), []);

    // It was no mistake: what was issued before this second denial is not asked about again.
    gateway.advance(seconds(10));
    let newer = issued(15, 2);
    assert!(matches!(gateway.decide(&newer), Decision::Await(_)));
    let check = gateway.only_check();
    gateway.gone(check);
    gateway.advance(seconds(60));
    assert_eq!(gateway.refuse(&newer).label(), "session_denied");
    assert_eq!(gateway.checks(), []);

    // It was one.
    let newest = issued(81, 3);
    assert!(matches!(gateway.decide(&newest), Decision::Await(_)));
    let check = gateway.only_check();
    gateway.good(check);
    gateway.forward(&newest);
    gateway.forward(&issued(0, 0));

    // The answer to that question is no answer to one after the next denial.
    gateway.advance(seconds(1));
    let check = gateway.only_check();
    gateway.gone(check);
    assert_eq!(gateway.refuse(&newest).label(), "session_denied");
    assert!(matches!(gateway.decide(&issued(83, 4)), Decision::Await(_)));
}
