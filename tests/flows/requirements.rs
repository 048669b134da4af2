//! Requirements of every shape, with two providers: `a` takes tokens by default, `b` from the header `x-b`.

use edge_authn::config::{Answers, Config, Wording};
use edge_authn::engine::{Decided, Decision};
use edge_authn::evidence::asked_providers;
use edge_authn::request::{Attributes, RequestHead, RoutePolicy};
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::SigningKey;
use crate::two_providers::{A, B, provider, token};

/// The configuration with one rule for everything.
fn requiring(requirement: &Value) -> Value {
    let mut b = provider("b", &B, "x-b-sub");
    b["from_headers"] = json!([{ "name": "x-b" }]);
    json!({
        "providers": { "a": provider("a", &A, "x-a-sub"), "b": b },
        "rules": [{ "match": { "prefix": "/" }, "requires": requirement }],
    })
}

/// What a request presents to each provider.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Presents {
    Nothing,
    Good,
    Expired,
    Forged,
    OfTheOther,
}

use Presents::{Expired, Forged, Good, Nothing, OfTheOther};

fn request(to_a: Presents, to_b: Presents) -> RequestHead {
    let of = |presents, own: &SigningKey, issuer: &str, other: &SigningKey, other_issuer: &str| match presents
    {
        Nothing => None,
        Good => Some(token(own, issuer, json!({}))),
        Expired => Some(token(own, issuer, json!({ "exp": START - 60 }))),
        Forged => Some(token(other, issuer, json!({}))),
        OfTheOther => Some(token(other, other_issuer, json!({}))),
    };
    let mut fields = Vec::new();
    fields.extend(of(to_a, &A, "a", &B, "b").map(|token| ("authorization", format!("Bearer {token}"))));
    fields.extend(of(to_b, &B, "b", &A, "a").map(|token| ("x-b", token)));
    get("/", &fields)
}

/// `a`, `b`, `ab` or `-` by whom the upstream is told of, or the label of the refusal.
fn outcome(configuration: &Value, head: &RequestHead) -> String {
    let mut gateway = Gateway::new(configuration);
    match gateway.decide(head) {
        Decision::Forward(_) => {
            let received = gateway.forward(head);
            let of = |header, name| if received.values(header).is_empty() { "" } else { name };
            let names = format!("{}{}", of("x-a-sub", "a"), of("x-b-sub", "b"));
            if names.is_empty() { "-".to_owned() } else { names }
        }
        Decision::Refuse(rejection) => rejection.label().to_owned(),
        Decision::Await(_) => "waits".to_owned(),
    }
}

fn a() -> Value {
    json!({ "provider_name": "a" })
}

fn b() -> Value {
    json!({ "provider_name": "b" })
}

fn any(requirements: &[Value]) -> Value {
    json!({ "requires_any": { "requirements": requirements } })
}

fn all(requirements: &[Value]) -> Value {
    json!({ "requires_all": { "requirements": requirements } })
}

#[track_caller]
fn check(requirement: &Value, cases: &[(Presents, Presents, &str)]) {
    let configuration = requiring(requirement);
    for (to_a, to_b, expected) in cases {
        let found = outcome(&configuration, &request(*to_a, *to_b));
        assert_eq!(found, *expected, "{requirement} with {to_a:?} for a and {to_b:?} for b");
    }
}

#[test]
fn one_of_several_is_enough_and_the_first_that_is_met_counts() {
    for requirement in [any(&[a(), b()]), any(&[any(&[a(), b()]), a()]), any(&[all(&[a(), a()]), b()])] {
        check(
            &requirement,
            &[
                (Good, Nothing, "a"),
                (Nothing, Good, "b"),
                (Good, Good, "a"),
                (Expired, Good, "b"),
                (Good, Forged, "a"),
                (Nothing, Nothing, "missing_credential"),
                (Expired, Nothing, "expired"),
                (Nothing, Expired, "expired"),
                (Forged, Nothing, "invalid_token"),
                (OfTheOther, Nothing, "invalid_token"),
            ],
        );
    }
}

#[test]
fn a_refusal_says_what_is_most_likely_to_help() {
    check(
        &any(&[b(), a()]),
        &[(Expired, Nothing, "expired"), (Expired, OfTheOther, "expired"), (OfTheOther, Expired, "expired")],
    );
}

#[test]
fn all_of_several_must_be_met() {
    check(
        &all(&[a(), b()]),
        &[
            (Good, Good, "ab"),
            (Good, Nothing, "missing_credential"),
            (Nothing, Good, "missing_credential"),
            (Good, Expired, "expired"),
            (Expired, Good, "expired"),
            (Good, Forged, "invalid_token"),
        ],
    );
}

#[test]
fn a_list_of_alternatives_may_forgive_a_missing_token_but_not_a_bad_one() {
    check(
        &any(&[a(), json!({ "allow_missing": {} })]),
        &[
            (Nothing, Nothing, "-"),
            (Good, Nothing, "a"),
            (Expired, Nothing, "expired"),
            (Forged, Nothing, "invalid_token"),
            (OfTheOther, Nothing, "invalid_token"),
            (Nothing, Good, "-"),
        ],
    );
    check(
        &any(&[json!({ "allow_missing_or_failed": {} }), a()]),
        &[(Nothing, Nothing, "-"), (Good, Nothing, "a"), (Expired, Nothing, "-"), (Nothing, Good, "-")],
    );
}

#[test]
fn allow_missing_takes_the_tokens_of_all_providers_and_no_bad_one_among_them() {
    check(
        &json!({ "allow_missing": {} }),
        &[
            (Nothing, Nothing, "-"),
            (Good, Nothing, "a"),
            (Nothing, Good, "b"),
            (Good, Good, "ab"),
            (Good, Expired, "expired"),
            (Expired, Good, "expired"),
            (OfTheOther, Nothing, "invalid_token"),
        ],
    );
}

#[test]
fn what_is_optional_never_makes_an_identity_of_a_bad_token() {
    check(
        &json!({ "allow_missing_or_failed": {} }),
        &[
            (Nothing, Nothing, "-"),
            (Good, Expired, "a"),
            (Expired, Good, "b"),
            (Forged, Forged, "-"),
            (OfTheOther, Nothing, "-"),
        ],
    );
}

#[test]
fn the_shape_that_istio_writes_forgives_a_missing_token_alone() {
    let lenient = |of: Value| any(&[of, json!({ "allow_missing": {} })]);
    check(
        &any(&[a(), b(), all(&[lenient(a()), lenient(b())])]),
        &[
            (Nothing, Nothing, "-"),
            (Good, Nothing, "a"),
            (Nothing, Good, "b"),
            (Expired, Nothing, "expired"),
            (Nothing, Forged, "invalid_token"),
        ],
    );
}

#[test]
fn extraction_without_validation_tells_of_unverified_tokens_and_forwards_none_of_their_claims() {
    let configuration = requiring(&json!({ "extract_only_without_validation": {} }));
    let status = |to_a| {
        let head = request(to_a, Nothing);
        let received = Gateway::new(&configuration).forward(&head);
        (outcome(&configuration, &head), received.values("x-jwt-signature-verified").join(","))
    };
    assert_eq!(status(Good), ("a".to_owned(), String::new()));
    assert_eq!(status(Nothing), ("-".to_owned(), String::new()));
    for bad in [Expired, Forged, OfTheOther] {
        assert_eq!(status(bad), ("-".to_owned(), "false".to_owned()), "{bad:?}");
    }
    let forged = get("/", &[("x_jwt_signature_verified", "true"), ("X-Jwt-Signature-Verified", "true")]);
    let received = Gateway::new(&configuration).forward(&forged);
    assert!(received.0.iter().all(|(name, _)| !name.contains("verified")), "{received:?}");
}

#[test]
fn a_requirement_brings_audiences_of_its_own() {
    let requirement = json!({ "provider_and_audiences": { "provider_name": "a", "audiences": ["here"] } });
    let mut configuration = requiring(&requirement);
    configuration["providers"]["a"]["audiences"] = json!(["elsewhere"]);
    let with = |audience: &str| get_with("/", &token(&A, "a", json!({ "aud": audience })));
    assert_eq!(outcome(&configuration, &with("here")), "a");
    assert_eq!(outcome(&configuration, &with("elsewhere")), "audience");
}

#[test]
fn rules_and_routes_may_name_a_requirement() {
    let mut configuration = requiring(&a());
    configuration["requirement_map"] = json!({ "of-b": b() });
    configuration["rules"] = json!([{ "match": { "prefix": "/" }, "requirement_name": "of-b" }]);
    assert_eq!(outcome(&configuration, &request(Nothing, Good)), "b");

    configuration["rules"] = json!([{ "match": { "prefix": "/" }, "requires": a() }]);
    let on_route = |route, head: RequestHead| {
        outcome(&configuration, &head.with_attributes(Attributes { route, filter_state: None }))
    };
    let named = |name: &str| RoutePolicy::Requirement(name.to_owned());
    assert_eq!(on_route(named("of-b"), request(Nothing, Good)), "b");
    assert_eq!(on_route(named("of-b"), request(Good, Nothing)), "missing_credential");
    assert_eq!(on_route(named("of-c"), request(Good, Good)), "unknown_requirement");
    assert_eq!(on_route(RoutePolicy::Disabled, request(Expired, Nothing)), "-");
    assert_eq!(on_route(RoutePolicy::Rules, request(Expired, Nothing)), "expired");
}

#[test]
fn the_filter_state_speaks_where_no_rule_matches() {
    let mut configuration = requiring(&a());
    configuration["rules"] = json!([{ "match": { "prefix": "/other" }, "requires": a() }]);
    configuration["filter_state_rules"] = json!({ "name": "tier", "requires": { "gold": b() } });
    let with = |state: Option<&str>, head: RequestHead| {
        let filter_state = state.map(|state| state.as_bytes().to_vec());
        outcome(&configuration, &head.with_attributes(Attributes { filter_state, ..Attributes::default() }))
    };
    assert_eq!(with(Some("gold"), request(Nothing, Nothing)), "missing_credential");
    assert_eq!(with(Some("gold"), request(Nothing, Good)), "b");
    assert_eq!(with(Some("tin"), request(Nothing, Nothing)), "-");
    assert_eq!(with(None, request(Nothing, Nothing)), "-");
}

#[test]
fn each_provider_that_may_be_meant_is_asked_once_in_their_order() {
    let open = json!({ "allow_missing": {} });
    for (requirement, expected) in [
        (a(), &["a"][..]),
        (b(), &["b"]),
        (any(&[b(), a()]), &["a", "b"]),
        (all(&[b(), any(&[b(), b()])]), &["b"]),
        (any(&[b(), open.clone()]), &["b"]),
        (all(&[b(), open.clone()]), &["a", "b"]),
        (open, &["a", "b"]),
    ] {
        let config = Config::parse(requiring(&requirement).to_string().as_bytes(), &|_| None).unwrap();
        let asked = asked_providers(&config, &config.rules[0].requirement);
        let names: Vec<_> = asked.iter().map(|(_, provider)| provider.name.as_str()).collect();
        assert_eq!(names, expected, "{requirement}");
    }
}

#[test]
fn a_cors_preflight_passes_as_nobody_where_that_is_configured() {
    let mut configuration = requiring(&a());
    configuration["bypass_cors_preflight"] = json!(true);
    let preflight = |method: &str, origin: &str, asked: &str| {
        let fields = [(":method", method), (":path", "/"), ("origin", origin), ("x-a-sub", "root")];
        let asked = (!asked.is_empty()).then_some(("access-control-request-method", asked));
        let bytes = |(name, value): (&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        outcome(&configuration, &RequestHead::new(fields.into_iter().chain(asked).map(bytes).collect()))
    };
    assert_eq!(preflight("OPTIONS", "https://app", "PUT"), "-");
    for (method, origin, asked) in
        [("GET", "https://app", "PUT"), ("OPTIONS", "", "PUT"), ("OPTIONS", "https://app", "")]
    {
        assert_eq!(preflight(method, origin, asked), "missing_credential", "{method} {origin} {asked}");
    }
}

#[test]
fn a_token_for_another_provider_causes_no_fetch() {
    let mut configuration = requiring(&any(&[b(), a()]));
    let provider = &mut configuration["providers"]["b"];
    provider["local_jwks"] = Value::Null;
    provider["remote_jwks"] = json!({ "http_uri": { "uri": "https://b.example/", "cluster": "b" } });
    provider["from_headers"] = Value::Null;
    let mut gateway = Gateway::new(&configuration);
    gateway.engine.without_timers();
    gateway.forward(&request(Good, Nothing));
    assert!(!gateway.fetch_itself(&request(Good, Nothing)));
    assert!(matches!(gateway.decide(&request(OfTheOther, Nothing)), Decision::Await(_)));
}

#[test]
fn a_token_that_may_be_good_is_not_refused_while_keys_are_missing() {
    let mut configuration = requiring(&any(&[b(), a()]));
    let b = &mut configuration["providers"]["b"];
    (b["local_jwks"], b["issuer"], b["from_headers"]) = (Value::Null, Value::Null, Value::Null);
    let b = configuration["providers"]["b"].as_object_mut().unwrap();
    b.remove("issuer");
    b.insert(
        "remote_jwks".to_owned(),
        json!({ "http_uri": { "uri": "https://b.example/", "cluster": "b" } }),
    );
    let mut gateway = Gateway::new(&configuration);
    assert!(matches!(gateway.decide(&request(Forged, Nothing)), Decision::Await(_)));
    gateway.tick();
    assert!(!gateway.settle(edge_authn::call::CallReply::Failure));
    assert_eq!(gateway.refuse(&request(Forged, Nothing)).label(), "keys_unavailable");
    gateway.forward(&request(Good, Nothing));
}

fn decided(configuration: &Value, head: &RequestHead) -> Decided {
    let mut gateway = Gateway::new(configuration);
    gateway.engine.decide(head, gateway.now)
}

fn property(configuration: &Value, head: &RequestHead, name: &str) -> Option<Value> {
    let properties = decided(configuration, head).properties;
    let property = properties.into_iter().find(|property| property.name == name)?;
    Some(serde_json::from_str(&property.value).unwrap())
}

#[test]
fn what_jwt_authn_leaves_in_metadata_is_left_in_the_filter_state() {
    let mut configuration = requiring(&a());
    let provider = &mut configuration["providers"]["a"];
    provider["payload_in_metadata"] = json!("payload");
    provider["normalize_payload_in_metadata"] = json!({ "space_delimited_claims": ["scope"] });
    provider["header_in_metadata"] = json!("header");
    provider["failed_status_in_metadata"] = json!("failure");
    let good = get_with("/", &token(&A, "a", json!({ "scope": "read  write", "other": "x y" })));
    let payload = property(&configuration, &good, "edge_authn.payload").unwrap();
    assert_eq!((&payload["scope"], &payload["other"]), (&json!(["read", "write"]), &json!("x y")));
    assert_eq!(property(&configuration, &good, "edge_authn.header").unwrap()["kid"], "a");
    assert_eq!(property(&configuration, &good, "edge_authn.failure"), None);

    let bad = request(Expired, Nothing);
    assert_eq!(property(&configuration, &bad, "edge_authn.payload"), None);
    let failure = property(&configuration, &bad, "edge_authn.failure").unwrap();
    assert_eq!(failure, json!({ "code": 3, "message": "Jwt is expired" }));
    let missing = property(&configuration, &request(Nothing, Nothing), "edge_authn.failure").unwrap();
    assert_eq!(missing["message"], "Jwt is missing");
}

#[test]
fn in_the_words_of_envoy_a_refusal_is_that_of_jwt_authn() {
    let mut configuration = requiring(&a());
    configuration["compat"] = json!("envoy");
    let answers = Answers { wording: Wording::Envoy, ..Answers::default() };
    let reply = |head: &RequestHead| {
        let reply = Gateway::new(&configuration).refuse(head).reply(&answers, head);
        let challenge = reply.headers.iter().find(|(name, _)| *name == "www-authenticate");
        (reply.status, reply.body.into_owned(), challenge.map(|(_, value)| value.clone()).unwrap_or_default())
    };
    let (status, body, challenge) = reply(&request(Nothing, Nothing));
    assert_eq!((status, body.as_str()), (401, "Jwt is missing"));
    assert_eq!(challenge, "Bearer realm=\"http://gateway.example/\"");
    let (_, body, challenge) = reply(&request(Forged, Nothing));
    assert_eq!(body, "Jwks doesn't have key to match kid or alg from Jwt");
    assert_eq!(challenge, "Bearer realm=\"http://gateway.example/\", error=\"invalid_token\"");
    let quoting = get_with("/a\"b\\c?access=1", &token(&A, "a", json!({ "exp": 1 })));
    assert!(reply(&quoting).2.starts_with("Bearer realm=\"http://gateway.example/a%22b%5Cc\", "));
}

#[test]
fn with_compat_several_tokens_pass_when_all_are_good() {
    let mut configuration = requiring(&a());
    configuration["compat"] = json!("envoy");
    let good = token(&A, "a", json!({ "exp": null }));
    let with =
        |query: &str| get(&format!("/?access_token={query}"), &[("authorization", format!("Bearer {good}"))]);
    assert_eq!(outcome(&configuration, &with(&token(&A, "a", json!({})))), "a");
    assert_eq!(outcome(&configuration, &with(&token(&A, "a", json!({ "exp": 1 })))), "expired");
    assert_eq!(outcome(&configuration, &with(&token(&B, "a", json!({})))), "invalid_token");
}

#[test]
fn subjects_and_lifetimes_are_held_against_the_token() {
    let with = |fields: Value, extra: Value| {
        let mut configuration = requiring(&a());
        for (name, value) in fields.as_object().unwrap() {
            configuration["providers"]["a"][name] = value.clone();
        }
        outcome(&configuration, &get_with("/", &token(&A, "a", extra)))
    };
    let prefix = || json!({ "subjects": { "prefix": "AL", "ignore_case": true } });
    assert_eq!(with(prefix(), json!({})), "a");
    assert_eq!(with(prefix(), json!({ "sub": "bob" })), "subject");
    assert_eq!(with(prefix(), json!({ "sub": null })), "subject");
    let bounded = || json!({ "max_lifetime": "60s", "require_expiration": false });
    for (exp, expected) in
        [(json!(START + 59), "a"), (json!(START + 60), "lifetime"), (Value::Null, "lifetime")]
    {
        assert_eq!(with(bounded(), json!({ "exp": exp })), expected, "{exp}");
    }
}

#[test]
fn a_path_that_is_not_plain_escapes_no_optional_rule_either() {
    let lenient = any(&[a(), json!({ "allow_missing": {} })]);
    let configuration = requiring(&lenient);
    let on = |path: &str, presents: Presents| {
        let head = request(presents, Nothing);
        let fields: Vec<_> =
            head.values("authorization").map(|value| ("authorization", value.to_vec())).collect();
        outcome(&configuration, &get(path, &fields))
    };
    for path in ["/x", "/x//y", "/x/../y", "/x;y", "/x%2fy"] {
        assert_eq!(on(path, Good), "a", "{path}");
        assert_eq!(on(path, Expired), "expired", "{path}");
        assert_eq!(on(path, Nothing), "-", "{path}");
    }
}
