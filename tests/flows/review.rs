//! Holes that a review found. Each test says what should hold.

use std::time::{Duration, Instant};

use edge_authn::call::CallReply;
use edge_authn::config::Config;
use edge_authn::engine::Decision;
use edge_authn::request::{Attributes, RequestHead};
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::SigningKey;
use crate::two_providers::{A, FORGER, of_a, of_b, outcome, rules, token};

#[test]
fn a_default_of_deny_holds_for_paths_that_cannot_be_read() {
    let mut configuration =
        rules(json!([{ "match": { "prefix": "/api" }, "requires": { "provider_name": "a" } }]));
    configuration["default"] = json!("deny");
    assert_eq!(outcome(&configuration, &get_with("/internal", &of_a())), "no_rule");
    for path in ["/api/../internal", "/internal/%zz", "/internal/..;/x", "/api/%2e%2e/internal", "//internal"]
    {
        assert_ne!(outcome(&configuration, &get_with(path, &of_a())), "passes", "{path}");
    }
}

#[test]
fn the_requirement_of_the_filter_state_holds_for_paths_that_cannot_be_read() {
    let mut configuration =
        rules(json!([{ "match": { "prefix": "/api" }, "requires": { "provider_name": "a" } }]));
    configuration["filter_state_rules"] =
        json!({ "name": "tier", "requires": { "gold": { "provider_name": "b" } } });
    let with = |path: &str, token: &str| {
        let attributes = Attributes { filter_state: Some(b"gold".to_vec()), ..Attributes::default() };
        outcome(&configuration, &get_with(path, token).with_attributes(attributes))
    };
    assert_eq!(with("/other", &of_b()), "passes");
    assert_eq!(with("/other", &of_a()), "invalid_token");
    for path in ["/other/%zz", "/api/../other"] {
        assert_ne!(with(path, &of_a()), "passes", "{path}");
    }
}

#[test]
fn an_expression_of_a_strict_rule_sees_each_spelling_of_a_plain_path() {
    // `%` in the class, because paths arrive encoded.
    let configuration = rules(json!([
        { "match": { "safe_regex": { "regex": "/admin/[\\w%.-]+" } }, "requires": { "provider_name": "a" } },
        { "match": { "prefix": "/" } },
    ]));
    assert_eq!(outcome(&configuration, &without_credential("/admin/a%20b")), "missing_credential");
    assert_ne!(outcome(&configuration, &without_credential("/%61dmin/a%20b")), "passes");
}

#[test]
fn a_line_feed_hides_no_path_from_an_expression() {
    let configuration = rules(json!([
        { "match": { "safe_regex": { "regex": "/admin/.*" } }, "requires": { "provider_name": "a" } },
        { "match": { "prefix": "/" }, "requires": { "provider_name": "b" } },
    ]));
    assert_eq!(outcome(&configuration, &get_with("/admin/x", &of_b())), "invalid_token");
    assert_eq!(outcome(&configuration, &get_with("/%61dmin/x", &of_b())), "ambiguous_request");
    assert_ne!(outcome(&configuration, &get_with("/%61dmin/x%0a", &of_b())), "passes");
}

#[test]
fn a_path_with_an_encoded_slash_is_refused_when_it_falls_under_two_rules() {
    let configuration = rules(json!([
        { "match": { "prefix": "/a/" }, "requires": { "provider_name": "a" } },
        { "match": { "prefix": "/" }, "requires": { "provider_name": "b" } },
    ]));
    // Who does not resolve `%2f` reads a name below `/`, for which a token of b is needed.
    assert_eq!(outcome(&configuration, &get_with("/a%2fx", &of_a())), "ambiguous_request");
}

#[test]
fn a_strict_rule_for_a_host_sees_each_spelling_of_the_host() {
    let configuration = rules(json!([
        { "match": { "prefix": "/", "headers": [{ "name": "host", "string_match": { "exact": "admin.example" } }] },
          "requires": { "provider_name": "a" } },
        { "match": { "prefix": "/" } },
    ]));
    let at = |host: &str| {
        let fields = [(":method", "GET"), (":path", "/"), (":authority", host), (":scheme", "http")];
        let bytes = |(name, value): (&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        outcome(&configuration, &RequestHead::new(fields.into_iter().map(bytes).collect()))
    };
    assert_eq!(at("admin.example"), "missing_credential");
    for host in ["ADMIN.example", "admin.example:80", "admin.example."] {
        assert_ne!(at(host), "passes", "{host}");
    }
}

#[test]
fn a_strict_rule_for_a_parameter_sees_each_spelling_of_the_value() {
    let configuration = |string: Value| {
        rules(json!([
            { "match": { "prefix": "/", "query_parameters": [{ "name": "mode", "string_match": string }] },
              "requires": { "provider_name": "a" } },
            { "match": { "prefix": "/" } },
        ]))
    };
    let exact = configuration(json!({ "exact": "full access" }));
    assert_eq!(outcome(&exact, &without_credential("/?mode=full%20access")), "missing_credential");
    assert_ne!(outcome(&exact, &without_credential("/?mode=full+access")), "passes", "plus");
    let contains = configuration(json!({ "contains": "admin" }));
    assert_ne!(outcome(&contains, &without_credential("/?mode=%61dmin%")), "passes", "broken encoding");
}

/// How long a decision takes, without what else the machine does.
#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn took(configuration: &Value, head: &RequestHead) -> Duration {
    let mut gateway = Gateway::new(configuration);
    let runs = (0..7).map(|_| {
        let began = Instant::now();
        gateway.decide(head);
        began.elapsed()
    });
    runs.min().unwrap()
}

#[test]
fn a_signature_is_verified_once_however_often_a_requirement_asks() {
    let leaf = |index| json!({ "provider_and_audiences": { "provider_name": "a", "audiences": [format!("aud{index}")] } });
    let of = |count: usize| {
        let leaves: Vec<_> = (0..count).map(leaf).collect();
        rules(
            json!([{ "match": { "prefix": "/" }, "requires": { "requires_any": { "requirements": leaves } } }]),
        )
    };
    let forged = get_with("/", &token(&FORGER, "a", json!({})));
    let (two, many) = (took(&of(2), &forged), took(&of(200), &forged));
    assert!(many < two * 10, "2 alternatives took {two:?}, 200 took {many:?}");
}

#[test]
fn one_request_cannot_have_a_hundred_forged_tokens_verified() {
    let mut configuration =
        rules(json!([{ "match": { "prefix": "/" }, "requires": { "allow_missing": {} } }]));
    configuration["compat"] = json!("envoy");
    configuration["providers"]["a"]["from_headers"] = json!([{ "name": "x-token" }]);
    let with = |count: usize| {
        let lines: Vec<_> =
            (0..count).map(|n| ("x-token", token(&FORGER, "a", json!({ "jti": n.to_string() })))).collect();
        get("/", &lines)
    };
    assert_eq!(outcome(&configuration, &with(2)), "invalid_token");
    assert_eq!(outcome(&configuration, &with(90)), "multiple_credentials");
    let (one, many) = (took(&configuration, &with(1)), took(&configuration, &with(90)));
    assert!(many < one * 10, "1 token took {one:?}, 90 took {many:?}");
}

fn compat() -> Gateway {
    let mut configuration =
        rules(json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "a" } }]));
    configuration["compat"] = json!("envoy");
    configuration["providers"]["a"]["from_headers"] = json!([{ "name": "x-token" }]);
    Gateway::new(&configuration)
}

#[test]
fn with_compat_two_subjects_never_become_one() {
    let seen_as = |sub: &str| {
        let head = get("/", &[("x-token", token(&A, "a", json!({ "sub": sub })))]);
        compat().forward(&head).values("x-a-sub").join("|")
    };
    assert_ne!(seen_as("\u{e9}"), seen_as("%C3%A9"));
    assert_ne!(seen_as(" root"), seen_as("%20root"));
}

#[test]
fn with_compat_one_subject_never_looks_like_two() {
    let of = |sub: &str| ("x-token", token(&A, "a", json!({ "sub": sub })));
    let two = compat().forward(&get("/", &[of("alice"), of("root")]));
    let one = compat().forward(&get("/", &[of("alice,root")]));
    assert_ne!(one.values("x-a-sub"), two.values("x-a-sub"));
    // The comma of an item, too.
    let two = compat().forward(&get("/", &[of("alice,root"), of("bob")]));
    let three = compat().forward(&get("/", &[of("alice"), of("root"), of("bob")]));
    assert_ne!(two.values("x-a-sub"), three.values("x-a-sub"));
}

#[test]
fn with_compat_a_token_with_another_prefix_of_the_same_header_must_be_good_too() {
    let mut configuration =
        rules(json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "a" } }]));
    configuration["compat"] = json!("envoy");
    configuration["providers"]["a"]["forward"] = json!(true);
    configuration["providers"]["a"]["from_headers"] = json!([{ "name": "x-token", "value_prefix": "Bearer " }, { "name": "x-token", "value_prefix": "JWT " }]);
    let head = get(
        "/",
        &[
            ("x-token", format!("Bearer {}", of_a())),
            ("x-token", format!("JWT {}", token(&FORGER, "a", json!({ "sub": "root" })))),
        ],
    );
    assert_eq!(outcome(&configuration, &head), "invalid_token");
}

#[test]
fn two_identities_in_one_export_are_both_told_or_neither() {
    let all =
        json!({ "requires_all": { "requirements": [{ "provider_name": "a" }, { "provider_name": "b" }] } });
    let mut configuration = rules(json!([{ "match": { "prefix": "/" }, "requires": all }]));
    for name in ["a", "b"] {
        configuration["providers"][name]["payload_in_metadata"] = json!("jwt");
    }
    configuration["providers"]["b"]["from_headers"] = json!([{ "name": "x-b" }]);
    let head = get("/", &[("authorization", format!("Bearer {}", of_a())), ("x-b", of_b())]);
    let mut gateway = Gateway::new(&configuration);
    let now = gateway.now;
    let properties = gateway.engine.decide(&head, now).properties;
    let count = properties.iter().filter(|property| property.name == "edge_authn.jwt").count();
    assert!(count < 2, "the second overwrites the first: {properties:?}");
}

fn parse(configuration: &Value) -> Result<Config, String> {
    Config::parse(configuration.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string())
}

#[test]
fn a_secret_that_stands_in_the_wrong_field_is_not_shown() {
    let secret = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQ"}]}"#;
    let mut configuration = rules(json!([]));
    configuration["providers"]["a"]["local_jwks"] = json!({ "environment_variable": secret });
    let message = parse(&configuration).unwrap_err();
    assert!(!message.contains("c2VjcmV0"), "{message}");
}

#[test]
fn null_never_means_less_safety() {
    let mut configuration = rules(json!([]));
    configuration["filter_state_rules"] = json!({ "name": "tier", "requires": null });
    assert!(parse(&configuration).is_err(), "filter_state_rules.requires");
    let mut configuration = rules(json!([]));
    configuration["providers"]["a"]["claim_to_headers"] = Value::Null;
    assert!(parse(&configuration).is_err(), "claim_to_headers: forged headers would survive");
}

fn remote(fields: Value) -> Value {
    let mut configuration = remote_configuration("300s");
    for (name, value) in fields.as_object().unwrap() {
        configuration["providers"]["acme"][name] = value.clone();
    }
    configuration
}

#[test]
fn a_token_that_no_key_of_the_provider_could_verify_causes_no_fetch() {
    let secret = SigningKey::hs256("x", &[7; 32]);
    let mut gateway = Gateway::new(&remote(json!({})));
    gateway.engine.without_timers();
    assert!(!gateway.fetch_itself(&get_with("/", &secret.sign(&claims(json!({}))))), "a shared secret");
    let mut gateway = Gateway::new(&remote(json!({ "algorithms": ["ES256"] })));
    gateway.engine.without_timers();
    assert!(
        !gateway.fetch_itself(&get_with("/", &A.sign(&claims(json!({}))))),
        "an algorithm that is not allowed"
    );
}

/// On hosts without timers, `Gateway::own_fetch` sends a fetch for every decision to wait.
#[test]
fn a_request_that_waits_on_a_host_without_timers_has_a_fetch_to_make() {
    let mut configuration = remote(json!({}));
    configuration["providers"]["acme"]["remote_jwks"]["retry_policy"] = json!({ "num_retries": 3 });
    let mut gateway = Gateway::new(&configuration);
    gateway.engine.without_timers();
    let head = get_with("/", &good_token());
    assert!(matches!(gateway.decide(&head), Decision::Await(_)));
    assert!(gateway.fetch_itself(&head));
    assert!(!gateway.settle(CallReply::Failure));
    let decision = gateway.decide(&head);
    assert!(
        !matches!(decision, Decision::Await(_)) || gateway.fetch_itself(&head),
        "waits in a back-off: {decision:?}"
    );
}

#[test]
fn requests_do_not_wait_longer_than_a_client_would() {
    let mut configuration = remote(json!({}));
    configuration["providers"]["acme"]["remote_jwks"]["retry_policy"] =
        json!({ "num_retries": 4_294_967_295_u32 });
    let mut gateway = Gateway::new(&configuration);
    let head = get_with("/", &good_token());
    let began = gateway.now;
    while matches!(gateway.decide(&head), Decision::Await(_)) {
        assert!(gateway.now < began.after(Duration::from_secs(3600)), "an hour");
        if gateway.tick() == 0 {
            gateway.advance(Duration::from_secs(1));
        } else {
            gateway.answer(500, "");
        }
    }
}

#[test]
fn an_expression_that_re2_does_not_know_is_refused() {
    for expression in ["(?x)/a b", "(?R)/a", r"/\u0061"] {
        assert!(edge_authn::regex::Regex::new(expression).is_err(), "{expression}");
    }
}

#[test]
fn of_two_values_that_choose_different_providers_none_is_believed() {
    let by = |condition: &str, value: &str, provider: &str| {
        json!({
            "match": { "prefix": "/", condition: [{ "name": "x-tenant", "string_match": { "exact": value } }] },
            "requires": { "provider_name": provider },
        })
    };
    // `jwt_authn` looks at the first value of a parameter alone: that of `a`.
    let configuration = rules(json!([by("query_parameters", "b", "b"), by("query_parameters", "a", "a")]));
    assert_eq!(outcome(&configuration, &get_with("/?x-tenant=a", &of_b())), "invalid_token");
    assert_ne!(
        outcome(&configuration, &get_with("/?x-tenant=a&x-tenant=b", &of_b())),
        "passes",
        "parameters"
    );
    let configuration = rules(json!([by("headers", "b", "b"), by("headers", "a", "a")]));
    let bearer = format!("Bearer {}", of_b());
    let head = get("/", &[("authorization", bearer.as_str()), ("x-tenant", "b"), ("x-tenant", "a")]);
    assert_ne!(outcome(&configuration, &head), "passes", "headers");
}

#[test]
fn a_condition_on_a_header_that_the_filter_writes_is_refused() {
    // Before the filter it is what the client says; behind it, it is gone.
    let configuration = rules(json!([
        { "match": { "prefix": "/", "headers": [{ "name": "x-a-sub", "string_match": { "exact": "guest" } }] } },
        { "match": { "prefix": "/" }, "requires": { "provider_name": "a" } },
    ]));
    assert!(parse(&configuration).is_err());
}

#[test]
fn a_requirement_without_audiences_does_not_take_those_of_the_provider_away() {
    let mut configuration = rules(json!([
        { "match": { "prefix": "/" }, "requires": { "provider_and_audiences": { "provider_name": "a" } } },
    ]));
    configuration["providers"]["a"]["audiences"] = json!(["api"]);
    assert!(parse(&configuration).is_err(), "passes: {}", outcome(&configuration, &get_with("/", &of_a())));
}

#[test]
fn a_header_is_not_shared_by_a_claim_and_a_payload() {
    let mut configuration = rules(json!([]));
    configuration["providers"]["a"]["forward_payload_header"] = json!("x-a-sub");
    assert!(parse(&configuration).is_err());
}
