//! Credentials of browsers: cookies beside headers, requests of other sites, and headers that a provider's own SDKs trust.

use edge_authn::config::Config;
use edge_authn::engine::Decision;
use serde_json::{Value, json};

use crate::support::*;

fn with_cookie(extra: Value) -> Gateway {
    let mut fields = json!({
        "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }],
        "from_params": ["token"],
        "from_cookies": ["__session"],
        "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
    });
    for (name, value) in extra.as_object().unwrap() {
        fields[name] = value.clone();
    }
    Gateway::with_provider(fields)
}

fn token_of(user: &str) -> String {
    KEY.sign(&claims(json!({ "sub": user })))
}

fn label(gateway: &mut Gateway, head: &edge_authn::request::RequestHead) -> &'static str {
    match gateway.decide(head) {
        Decision::Forward(_) => "passes",
        Decision::Refuse(rejection) => rejection.label(),
        waits => panic!("{waits:?}"),
    }
}

#[test]
fn of_several_places_the_header_counts_and_what_is_behind_it_goes_nowhere() {
    let mut gateway = with_cookie(json!({ "multiple_credentials": "first" }));
    let (alice, bob, carol) = (token_of("alice"), token_of("bob"), token_of("carol"));
    let cookie = format!("a=1; __session={bob}; b=2");
    let request = get(
        &format!("/x?token={carol}&y=1"),
        &[("authorization", format!("Bearer {alice}")), ("cookie", cookie.clone())],
    );
    let received = gateway.forward(&request);
    assert_eq!(received.values("x-user"), ["alice"]);
    assert_eq!(received.values("cookie"), ["a=1; b=2"]);
    assert_eq!(received.values(":path"), ["/x?y=1"]);
    assert!(received.values("authorization").is_empty());

    let request = get(&format!("/x?token={carol}"), &[("cookie", cookie.clone())]);
    assert_eq!(gateway.forward(&request).values("x-user"), ["carol"]);
    let request = get("/x", &[("cookie", cookie)]);
    assert_eq!(gateway.forward(&request).values("x-user"), ["bob"]);
}

#[test]
fn a_second_header_behind_the_one_that_counts_goes_nowhere_and_what_is_no_credential_stays() {
    let mut gateway = with_cookie(json!({
        "multiple_credentials": "first",
        "from_headers": [{ "name": "x-token" }, { "name": "authorization", "value_prefix": "Bearer " }],
    }));
    let behind = |value: String| get("/", &[("x-token", token_of("alice")), ("authorization", value)]);
    // The longer prefix is looked at first.
    let received = gateway.forward(&behind(format!("Bearer {}", token_of("bob"))));
    assert_eq!(received.values("x-user"), ["bob"]);
    assert!(received.values("x-token").is_empty() && received.values("authorization").is_empty());
    let bearer = format!("Bearer {}", token_of("bob"));
    let received = gateway.forward(&get("/", &[("authorization", bearer), ("X_Token", token_of("alice"))]));
    assert_eq!(received.values("x-user"), ["bob"]);
    assert!(received.values("x_token").is_empty(), "in no spelling");
    let received = gateway.forward(&behind("Basic YTpi".to_owned()));
    assert_eq!(received.values("x-user"), ["alice"]);
    assert_eq!(received.values("authorization"), ["Basic YTpi"]);
}

#[test]
fn a_bad_credential_in_front_is_not_made_up_for_by_a_good_one_behind() {
    let mut gateway = with_cookie(json!({ "multiple_credentials": "first" }));
    let cookie = ("cookie", format!("__session={}", token_of("bob")));
    for bad in [
        "Bearer a.b.c".to_owned(),
        "Bearer".to_owned(),
        format!("Bearer {}", STRANGER.sign(&claims(json!({})))),
    ] {
        let request = get("/", &[("authorization", bad.clone()), cookie.clone()]);
        assert_eq!(gateway.refuse(&request).status(), 401, "{bad}");
    }
    let basic = get("/", &[("authorization", "Basic YTpi".to_owned()), cookie.clone()]);
    let received = gateway.forward(&basic);
    assert_eq!(received.values("x-user"), ["bob"], "another scheme is no credential");
    assert_eq!(received.values("authorization"), ["Basic YTpi"]);
}

#[test]
fn two_cookies_of_one_name_are_refused_even_where_the_first_place_counts() {
    let mut gateway = with_cookie(json!({ "multiple_credentials": "first" }));
    let cookie = format!("__session={}; __session={}", token_of("alice"), token_of("bob"));
    assert_eq!(label(&mut gateway, &get("/", &[("cookie", cookie)])), "multiple_credentials");
    let mut gateway = with_cookie(json!({}));
    let both = get(
        "/",
        &[
            ("authorization", format!("Bearer {}", token_of("alice"))),
            ("cookie", format!("__session={}", token_of("alice"))),
        ],
    );
    assert_eq!(label(&mut gateway, &both), "multiple_credentials", "the default");
}

fn by_cookie(method: &str, fields: &[(&str, &str)]) -> edge_authn::request::RequestHead {
    let cookie = format!("__session={}", token_of("alice"));
    let mut all =
        vec![(":method", method), (":path", "/"), (":authority", "App.example"), ("cookie", cookie.as_str())];
    all.extend(fields);
    let bytes = |text: &str| text.as_bytes().to_vec();
    edge_authn::request::RequestHead::new(
        all.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
    )
}

#[test]
fn an_unsafe_request_with_a_cookie_must_come_from_the_own_site() {
    let mut gateway = with_cookie(json!({ "csrf": true }));
    for (method, fields, expected) in [
        ("POST", &[("sec-fetch-site", "same-origin")][..], "passes"),
        ("POST", &[("sec-fetch-site", "none")], "passes"),
        ("POST", &[("sec-fetch-site", "same-site")], "cross_site"),
        ("POST", &[("sec-fetch-site", "cross-site")], "cross_site"),
        ("POST", &[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")], "cross_site"),
        ("POST", &[("sec-fetch-site", "")], "cross_site"),
        ("POST", &[("sec-fetch-site", "same-origin"), ("Sec-Fetch-Site", "cross-site")], "cross_site"),
        ("POST", &[("origin", "https://app.example")], "passes"),
        ("POST", &[("origin", "HTTPS://APP.EXAMPLE")], "passes"),
        ("POST", &[("origin", "https://app.example.evil")], "cross_site"),
        ("POST", &[("origin", "https://evil.example")], "cross_site"),
        ("POST", &[("origin", "null")], "cross_site"),
        ("POST", &[("origin", "https://app.example"), ("origin", "https://evil.example")], "cross_site"),
        ("POST", &[], "cross_site"),
        ("DELETE", &[], "cross_site"),
        ("PROPFIND", &[], "cross_site"),
        ("post", &[], "cross_site"),
        ("GET", &[], "passes"),
        ("HEAD", &[("sec-fetch-site", "cross-site")], "passes"),
        ("GET", &[("upgrade", "websocket"), ("origin", "https://evil.example")], "cross_site"),
        ("GET", &[("upgrade", "websocket"), ("origin", "https://app.example")], "passes"),
    ] {
        assert_eq!(label(&mut gateway, &by_cookie(method, fields)), expected, "{method} {fields:?}");
    }
}

#[test]
fn origins_and_sibling_hosts_count_as_own_where_that_is_written() {
    let mut gateway = with_cookie(json!({ "csrf": { "allowed_origins": ["https://Admin.example:8443"] } }));
    let from = |origin| by_cookie("POST", &[("sec-fetch-site", "cross-site"), ("origin", origin)]);
    assert_eq!(label(&mut gateway, &from("https://admin.example:8443")), "passes");
    for origin in ["http://admin.example:8443", "https://admin.example", "https://admin.example:84430", ""] {
        assert_eq!(label(&mut gateway, &from(origin)), "cross_site", "{origin}");
    }
    let mut gateway = with_cookie(json!({ "csrf": { "allow_same_site": true } }));
    assert_eq!(label(&mut gateway, &by_cookie("POST", &[("sec-fetch-site", "same-site")])), "passes");
    assert_eq!(label(&mut gateway, &by_cookie("POST", &[("sec-fetch-site", "cross-site")])), "cross_site");
}

#[test]
fn only_cookies_are_held_against_the_site_and_only_where_that_is_on() {
    let mut gateway = with_cookie(json!({ "csrf": true }));
    let bearer = format!("Bearer {}", token_of("alice"));
    let fields =
        [(":method", "POST"), (":path", "/"), (":authority", "a"), ("authorization", bearer.as_str())];
    let bytes = |text: &str| text.as_bytes().to_vec();
    let head = edge_authn::request::RequestHead::new(
        fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
    );
    assert_eq!(label(&mut gateway, &head), "passes", "no browser adds a token by itself");
    for off in [json!({}), json!({ "csrf": false })] {
        assert_eq!(label(&mut with_cookie(off), &by_cookie("POST", &[])), "passes");
    }
}

#[test]
fn headers_that_others_trust_are_removed_by_their_beginning_and_credentials_are_not() {
    let mut gateway = with_cookie(json!({
        "remove_headers": ["x-acme-*", "X-Exact"],
        "from_headers": [{ "name": "x-acme-token" }],
    }));
    let fields = [
        ("x-acme-token", token_of("alice")),
        ("X-Acme-User", "root".to_owned()),
        ("x_acme_role", "root".to_owned()),
        ("x-acme-", "root".to_owned()),
        ("x_exact", "root".to_owned()),
        ("x-exact-not", "kept".to_owned()),
        ("x-acme", "kept".to_owned()),
        ("connection", "x-acme-user, close".to_owned()),
    ];
    for path in ["/", "/open", "/optional"] {
        let received = gateway.forward(&get(path, &fields));
        for gone in ["x-acme-user", "x_acme_role", "x-acme-", "x_exact"] {
            assert!(received.values(gone).is_empty(), "{gone} on {path}");
        }
        assert_eq!((received.values("x-exact-not"), received.values("x-acme")), (vec!["kept"], vec!["kept"]));
        assert_eq!(received.values("connection"), ["close"]);
        assert_eq!(received.values("x-acme-token").is_empty(), path != "/open", "{path}");
    }
}

#[test]
fn a_header_may_be_a_text_or_a_list_joined_by_spaces() {
    let mut gateway = with_cookie(json!({ "claim_to_headers": [
        { "header_name": "x-session-valid", "value": "true" },
        { "header_name": "x-amr", "claim_name": "amr", "encoding": "space" },
        { "header_name": "x-scope", "claim_name": "scope", "encoding": "space" },
    ] }));
    let token = KEY.sign(&claims(json!({ "amr": ["pwd", "a b", "50%"], "scope": "read write" })));
    let received = gateway.forward(&get_with("/", &token));
    assert_eq!(received.values("x-session-valid"), ["true"]);
    assert_eq!(received.values("x-amr"), ["pwd a%20b 50%25"]);
    assert_eq!(received.values("x-scope"), ["read write"]);
    let anonymous = gateway.forward(&get("/open", &[("x-session-valid", "true")]));
    assert!(anonymous.values("x-session-valid").is_empty());
}

#[test]
fn a_subject_may_be_a_number_where_that_is_written() {
    let numeric = KEY.sign(&claims(json!({ "sub": 12345678901234567890_u64 })));
    let mut gateway = with_cookie(json!({ "numeric_subject": true, "subjects": { "prefix": "12" } }));
    assert_eq!(gateway.forward(&get_with("/", &numeric)).values("x-user"), ["12345678901234567890"]);
    assert_eq!(label(&mut with_cookie(json!({})), &get_with("/", &numeric)), "invalid_token");
}

#[test]
fn what_could_not_work_is_refused() {
    for (fields, message) in [
        (json!({ "remove_headers": ["x*"] }), "remove_headers[0]: found"),
        (json!({ "remove_headers": ["*"] }), "remove_headers[0]: found"),
        (json!({ "remove_headers": ["x-*-y"] }), "remove_headers[0]: found"),
        (json!({ "remove_headers": ["coo*"] }), "expected headers that do not frame or route the request"),
        (json!({ "multiple_credentials": "any" }), "multiple_credentials: found"),
        (json!({ "multiple_credentials": null }), "multiple_credentials: found null"),
        (json!({ "csrf": "yes" }), "csrf: found"),
        (json!({ "csrf": { "allowed_origins": ["https://a/"] } }), "csrf.allowed_origins[0]: found"),
        (json!({ "csrf": { "allowed_origins": ["a.example"] } }), "csrf.allowed_origins[0]: found"),
        (
            json!({ "claim_to_headers": [{ "header_name": "x", "value": "1", "claim_name": "sub" }] }),
            "claim_name: found a second source",
        ),
    ] {
        let configuration = configuration(fields.clone());
        let error =
            Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string();
        assert!(error.contains(message), "{fields}: {error}");
    }
}
