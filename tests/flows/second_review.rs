//! Holes that a second review found. Each test says what should hold.

use std::time::Duration;

use edge_authn::config::Config;
use edge_authn::engine::Decision;
use edge_authn::request::{Attributes, RequestHead, RoutePolicy};
use serde_json::{Value, json};

use crate::support::*;
use crate::two_providers::{A, B, of_a, of_b, outcome, rules, token};

fn at(host: &str, token: &str) -> RequestHead {
    let bearer = format!("Bearer {token}");
    let fields = [
        (":method", "GET"),
        (":path", "/"),
        (":authority", host),
        (":scheme", "http"),
        ("authorization", &bearer),
    ];
    let bytes = |(name, value): (&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    RequestHead::new(fields.into_iter().map(bytes).collect())
}

/// The proxy routes `/%61dmin` to what stands behind `/`, for which a token of `a` is needed, as natively.
#[test]
fn another_spelling_of_a_strict_path_does_not_replace_what_the_path_as_sent_asks_for() {
    let configuration = rules(json!([
        { "match": { "prefix": "/admin" }, "requires": { "provider_name": "b" } },
        { "match": { "prefix": "/" }, "requires": { "provider_name": "a" } },
    ]));
    assert_ne!(outcome(&configuration, &get_with("/%61dmin/x", &of_b())), "passes");
}

#[test]
fn an_audience_of_one_rule_is_not_reached_by_another_spelling_of_an_earlier_one() {
    let narrowed = |audience: &str| json!({ "provider_and_audiences": { "provider_name": "a", "audiences": [audience] } });
    let configuration = rules(json!([
        { "match": { "path": "/status/ok" }, "requires": narrowed("guests") },
        { "match": { "safe_regex": { "regex": "/[a-z ]+/ok" } }, "requires": narrowed("guests") },
        { "match": { "prefix": "/" }, "requires": narrowed("staff") },
    ]));
    let guest = token(&A, "a", json!({ "aud": "guests" }));
    assert_eq!(outcome(&configuration, &get_with("/x-y/ok", &guest)), "audience");
    assert_ne!(outcome(&configuration, &get_with("/st%61tus/ok", &guest)), "passes");
}

fn shared_header(compat: bool) -> Value {
    let mut configuration =
        rules(json!([{ "match": { "prefix": "/" }, "requires": { "allow_missing": {} } }]));
    for name in ["a", "b"] {
        configuration["providers"][name]["claim_to_headers"] =
            json!([{ "header_name": "x-user", "claim_name": "sub" }]);
    }
    configuration["providers"]["b"]["from_headers"] = json!([{ "name": "x-b" }]);
    if compat {
        configuration["compat"] = json!("envoy");
    }
    configuration
}

#[test]
fn one_identity_never_looks_like_those_of_two_providers() {
    for compat in [false, true] {
        let mut gateway = Gateway::new(&shared_header(compat));
        let bearer =
            |sub: &str| ("authorization", format!("Bearer {}", token(&A, "a", json!({ "sub": sub }))));
        let b = ("x-b", token(&B, "b", json!({ "sub": "root" })));
        let one = gateway.forward(&get("/", &[bearer("alice,root")]));
        let two = gateway.forward(&get("/", &[bearer("alice"), b]));
        assert_ne!(one.values("x-user"), two.values("x-user"), "compat: {compat}");
    }
}

/// Nothing decides a waiting request again before the engine wants to be asked.
#[test]
fn no_request_waits_through_a_long_pause() {
    for (what, fields) in [
        ("retry_policy", json!({ "num_retries": 1, "retry_back_off": { "base_interval": "3600s" } })),
        ("both", json!({ "num_retries": 1 })),
    ] {
        let mut configuration = remote_configuration("300s");
        let remote = &mut configuration["providers"]["acme"]["remote_jwks"];
        remote["retry_policy"] = fields;
        if what == "both" {
            remote["async_fetch"] = json!({ "failed_refetch_duration": "3600s" });
        }
        let mut gateway = Gateway::new(&configuration);
        let head = get_with("/", &good_token());
        assert!(matches!(gateway.decide(&head), Decision::Await(_)));
        gateway.tick();
        gateway.answer(500, "");
        let decision = gateway.decide(&head);
        let wake_at = gateway.engine.wake_at().unwrap();
        assert!(
            !matches!(decision, Decision::Await(_)) || wake_at < gateway.now.after(Duration::from_secs(60)),
            "{what}: waits for {:?}",
            gateway.now.until(wake_at)
        );
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_prolong_the_wait() {
    let mut configuration = remote_configuration("300s");
    configuration["providers"]["acme"]["remote_jwks"]["retry_policy"] = json!({ "num_retries": 1000 });
    let mut gateway = Gateway::new(&configuration);
    let head = get_with("/", &good_token());
    gateway.advance(Duration::from_secs(36_000));
    gateway.decide(&head);
    gateway.tick();
    gateway.answer(500, "");
    gateway.now = edge_authn::time::UnixTime::from_secs(START);
    let began = gateway.now;
    while matches!(gateway.decide(&head), Decision::Await(_)) {
        assert!(gateway.now < began.after(Duration::from_secs(600)), "ten minutes");
        if gateway.tick() == 0 {
            gateway.advance(Duration::from_secs(1));
        } else {
            gateway.answer(500, "");
        }
    }
}

#[test]
fn a_token_in_a_header_that_the_filter_writes_too_is_not_a_forged_header() {
    let mut configuration = rules(json!([{ "match": { "prefix": "/" }, "requirement_name": "user" }]));
    configuration["requirement_map"] = json!({ "user": { "provider_name": "a" } });
    configuration["providers"]["a"]["from_headers"] = json!([{ "name": "x-jwt" }]);
    configuration["providers"]["a"]["forward_payload_header"] = json!("x-jwt");
    // Either the configuration is refused or the token is taken.
    if let Ok(_config) = Config::parse(configuration.to_string().as_bytes(), &|_| None) {
        assert_eq!(outcome(&configuration, &get("/", &[("x-jwt", of_a())])), "passes");
    }
}

#[test]
fn a_strict_rule_for_a_parameter_sees_one_behind_a_semicolon() {
    let configuration = rules(json!([
        { "match": { "prefix": "/", "query_parameters": [{ "name": "mode", "string_match": { "exact": "admin" } }] },
          "requires": { "provider_name": "a" } },
        { "match": { "prefix": "/" } },
    ]));
    assert_ne!(outcome(&configuration, &without_credential("/?x=1;mode=admin")), "passes");
    assert_ne!(outcome(&configuration, &without_credential("/?mode=admin;x=1")), "passes");
}

#[test]
fn an_open_rule_for_everything_is_not_denied_by_the_default() {
    let mut configuration = rules(json!([{ "match": { "prefix": "/" } }]));
    configuration["default"] = json!("deny");
    for path in ["/a%2Fb", "/a//b", "/a;v=1", "/wiki/C%23"] {
        assert_eq!(outcome(&configuration, &without_credential(path)), "passes", "{path}");
    }
}

#[test]
fn an_open_rule_for_everything_is_not_overruled_by_the_filter_state() {
    let mut configuration = rules(json!([{ "match": { "prefix": "/" } }]));
    configuration["filter_state_rules"] =
        json!({ "name": "tier", "requires": { "gold": { "provider_name": "b" } } });
    let attributes = Attributes { filter_state: Some(b"gold".to_vec()), ..Attributes::default() };
    let head = |path| without_credential(path).with_attributes(attributes.clone());
    assert_eq!(outcome(&configuration, &head("/a")), "passes");
    assert_eq!(outcome(&configuration, &head("/a%2Fb")), "passes");
}

#[test]
fn a_failure_is_told_once() {
    let leaf = |index| json!({ "provider_and_audiences": { "provider_name": "a", "audiences": [format!("aud{index}")] } });
    let leaves: Vec<_> = (0..200).map(leaf).collect();
    let mut configuration = rules(
        json!([{ "match": { "prefix": "/" }, "requires": { "requires_any": { "requirements": leaves } } }]),
    );
    configuration["providers"]["a"]["failed_status_in_metadata"] = json!("why");
    let mut gateway = Gateway::new(&configuration);
    let now = gateway.now;
    let properties = gateway.engine.decide(&get_with("/", &of_a()), now).properties;
    assert_eq!(properties.len(), 1);
}

#[test]
fn an_ordinary_path_of_the_last_rule_is_not_doubtful() {
    let configuration = rules(json!([
        { "match": { "prefix": "/admin" }, "requires": { "provider_name": "b" } },
        { "match": { "prefix": "/" }, "requires": { "provider_name": "a" } },
    ]));
    for path in ["/compare/main...feature%2Flogin", "/caf%c3%a9", "/a%20b", "/~alice/x%2Ey"] {
        assert_eq!(outcome(&configuration, &get_with(path, &of_a())), "passes", "{path}");
    }
}

/// The proxy takes the route of `/public/`, the backend serves `/admin`.
#[test]
fn a_route_that_is_open_opens_no_path_that_backends_read_differently() {
    let configuration = rules(json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "a" } }]));
    let attributes = Attributes { route: RoutePolicy::Disabled, ..Attributes::default() };
    let head = |path| without_credential(path).with_attributes(attributes.clone());
    assert_eq!(outcome(&configuration, &head("/public/x")), "passes");
    for path in ["/public/%2e%2e/admin", "/public/..%2fadmin", "/public/..;/admin", "/public/../admin"] {
        assert_ne!(outcome(&configuration, &head(path)), "passes", "{path}");
    }
}

#[test]
fn a_token_is_not_taken_from_a_header_that_another_provider_writes() {
    let mut configuration = rules(json!([{ "match": { "prefix": "/" }, "requires": { "requires_all": {
        "requirements": [{ "provider_name": "a" }, { "provider_name": "b" }] } } }]));
    configuration["providers"]["a"]["claim_to_headers"] =
        json!([{ "header_name": "x-b", "claim_name": "sub" }]);
    configuration["providers"]["b"]["from_headers"] = json!([{ "name": "x-b" }]);
    configuration["providers"]["b"]["forward"] = json!(true);
    if Config::parse(configuration.to_string().as_bytes(), &|_| None).is_ok() {
        let b = of_b();
        let head = get("/", &[("authorization", format!("Bearer {}", of_a())), ("x-b", b.clone())]);
        assert_eq!(Gateway::new(&configuration).forward(&head).values("x-b"), [b.as_str()]);
    }
}

#[test]
fn legitimate_requests_pass() {
    let configuration = rules(json!([
        { "match": { "prefix": "/public" } },
        { "match": { "prefix": "/admin", "headers": [{ "name": "x-t", "string_match": { "exact": "1" } }] }, "requires": { "provider_name": "b" } },
        { "match": { "prefix": "/", "query_parameters": [{ "name": "q", "string_match": { "exact": "" } }] }, "requires": { "provider_name": "b" } },
        { "match": { "prefix": "/" }, "requires": { "requires_any": { "requirements": [{ "provider_name": "a" }, { "provider_name": "b" }] } } },
    ]));
    for path in [
        "/x",
        "/x?",
        "/x?q=1&",
        "/a%20b",
        "/caf%C3%A9",
        "/a:b@c",
        "/x?q=a%20b&r",
        "/v1/users/a%40b.example",
        "/admin",
    ] {
        assert_eq!(outcome(&configuration, &get_with(path, &of_a())), "passes", "{path}");
        assert_eq!(outcome(&configuration, &get_with(path, &of_b())), "passes", "{path}");
    }
    assert_eq!(outcome(&configuration, &get_with("/x?q=", &of_b())), "passes");
    let bearer = format!("Bearer {}", of_b());
    assert_eq!(
        outcome(&configuration, &get("/admin/x", &[("x-t", "1"), ("authorization", &bearer)])),
        "passes"
    );
    assert_eq!(outcome(&configuration, &at("h:8080", &of_a())), "passes");
}
