//! The same gateway with and without the tokens that it keeps, under settings and events of every kind: nobody can tell
//! which is which.

use std::sync::LazyLock;
use std::time::Duration;

use edge_authn::cache::MAX_BYTES;
use edge_authn::config::Config;
use edge_authn::request::RequestHead;
use edge_authn::time::UnixTime;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::session_check::introspection;
use crate::support::*;
use crate::tokens::{SigningKey, jwks as jwks_of};

static KEYS: LazyLock<[SigningKey; 3]> =
    LazyLock::new(|| [SigningKey::eddsa("k"), SigningKey::eddsa("second"), SigningKey::eddsa("k")]);

const PATHS: [&str; 9] =
    ["/a", "/b", "/any", "/all", "/missing", "/failed", "/audience", "/any-or-missing", "/open"];

fn rules() -> Value {
    let provider = |name: &str| json!({ "provider_name": name });
    let requirements = [
        provider("a"),
        provider("b"),
        json!({ "requires_any": { "requirements": [provider("a"), provider("b")] } }),
        json!({ "requires_all": { "requirements": [provider("a"), provider("b")] } }),
        json!({ "allow_missing": {} }),
        json!({ "allow_missing_or_failed": {} }),
        json!({ "provider_and_audiences": { "provider_name": "a", "audiences": ["b"] } }),
        json!({ "requires_any": { "requirements": [provider("b"), json!({ "allow_missing": {} })] } }),
    ];
    let rules = PATHS.iter().zip(requirements);
    rules.map(|(path, requires)| json!({ "match": { "path": path }, "requires": requires })).collect()
}

/// Fields of a provider: each is one of these, or missing.
fn provider() -> impl Strategy<Value = Value> {
    let local = |keys: &[&SigningKey]| json!({ "inline_string": jwks_of(keys.iter().copied()).to_string() });
    let remote = json!({
        "http_uri": { "uri": "https://idp.example/jwks.json", "cluster": "idp", "timeout": "2s" },
        "cache_duration": "10s",
        "max_stale": "5s",
    });
    let [first, second, third] = &*KEYS;
    let keys = vec![
        ("remote_jwks", remote.clone()),
        ("remote_jwks", remote),
        ("local_jwks", local(&[first])),
        ("local_jwks", local(&[second, first])),
        ("local_jwks", local(&[third, second])),
        ("", json!(null)),
    ];
    let fields: Vec<(&str, Vec<Value>)> = vec![
        ("issuer", vec![json!(ISSUER), json!(ISSUER), json!("https://other.example")]),
        ("audiences", vec![json!(["a"]), json!(["b", "a"])]),
        ("clock_skew_seconds", vec![json!(0), json!(7)]),
        ("max_lifetime", vec![json!("50s"), json!("3600s"), json!("3610s")]),
        ("padded_segments", vec![json!(true), json!(false)]),
        ("claims_format", vec![json!("clerk"), json!("plain")]),
        ("forward", vec![json!(true), json!(false)]),
        ("forward_payload_header", vec![json!("x-payload"), json!("x-claims")]),
        ("pad_forward_payload_header", vec![json!(true), json!(false)]),
        ("payload_in_metadata", vec![json!("claims"), json!("all")]),
        ("header_in_metadata", vec![json!("header"), json!("all-of-header")]),
        ("failed_status_in_metadata", vec![json!("failed"), json!("why")]),
        ("csrf", vec![json!(true)]),
        (
            "session_check",
            vec![
                introspection(json!({ "cache_ttl": "10s" })),
                introspection(json!({ "mode": "background", "interval": "5s" })),
                introspection(json!({ "failure_mode": "anonymous" })),
            ],
        ),
        ("jwt_cache_config", vec![json!({ "jwt_cache_size": 1 }), json!({ "jwt_cache_size": 2 })]),
        (
            "from_headers",
            vec![
                json!([{ "name": "authorization", "value_prefix": "Bearer " }]),
                json!([{ "name": "x-token" }, { "name": "authorization", "value_prefix": "Bearer " }]),
            ],
        ),
        ("from_cookies", vec![json!(["s"]), json!(["s", "t"])]),
        ("browser_session", vec![json!({ "session_cookie": "s", "client_uat_cookie": "u" })]),
        (
            "claim_to_headers",
            vec![
                json!([{ "header_name": "x-user", "claim_name": "sub" }]),
                json!([
                    { "header_name": "x-user", "claim_name": "sub" },
                    { "header_name": "x-org", "claim_name": "org_id" },
                    { "header_name": "x-org", "claim_name": "aud" },
                ]),
            ],
        ),
    ];
    let fields = fields.into_iter().map(|(name, values)| {
        // What has most requests refused is rare, so that some pass.
        let is_rare = ["browser_session", "session_check", "max_lifetime", "from_cookies"].contains(&name);
        let value = prop::option::weighted(if is_rare { 0.15 } else { 0.5 }, prop::sample::select(values));
        value.prop_map(move |value| (name, value))
    });
    let fields = fields.collect::<Vec<_>>();
    (prop::sample::select(keys), fields).prop_map(|((keys, value), fields)| {
        let mut provider = json!({});
        for (name, value) in fields {
            if let Some(value) = value {
                provider[name] = value;
            }
        }
        if !provider["browser_session"].is_null() {
            provider["from_cookies"] = json!(["s"]);
        }
        if keys.is_empty() {
            provider["session_check"] = introspection(json!({ "cache_ttl": "10s" }));
        } else {
            provider[keys] = value;
        }
        provider
    })
}

fn configuration() -> impl Strategy<Value = Value> {
    let extra = prop::sample::select(vec![
        json!({}),
        json!({}),
        json!({ "compat": "envoy" }),
        json!({ "multiple_credentials": "first" }),
    ]);
    // Often both take the same tokens from the same places.
    let same = [
        "issuer",
        "audiences",
        "max_lifetime",
        "local_jwks",
        "remote_jwks",
        "session_check",
        "from_headers",
        "from_cookies",
        "browser_session",
    ];
    (provider(), provider(), any::<bool>(), extra).prop_map(move |(a, mut b, are_alike, extra)| {
        for name in same.iter().filter(|_| are_alike) {
            let fields = b.as_object_mut().unwrap();
            fields.remove(*name);
            fields.extend(a.get(*name).map(|value| ((*name).to_owned(), value.clone())));
        }
        let mut configuration = json!({ "providers": { "a": a, "b": b }, "rules": rules() });
        for (name, value) in extra.as_object().into_iter().flatten() {
            configuration[name] = value.clone();
        }
        if configuration["multiple_credentials"] == "first" {
            configuration.as_object_mut().unwrap().remove("multiple_credentials");
            for name in ["a", "b"] {
                configuration["providers"][name]["multiple_credentials"] = json!("first");
            }
        }
        configuration
    })
}

/// Tokens of different keys, issuers, audiences and times; some are padded, and some are no tokens.
static TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let [first, second, third] = &*KEYS;
    let with = |extra: Value| {
        let all = json!({ "o": { "id": "org_1", "rol": "admin" }, "v": 2, "fea": "o:x", "aud": ["a", "c"] });
        let mut all = claims(all);
        for (name, value) in extra.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        all
    };
    vec![
        first.sign(&with(json!({}))),
        first.sign(&with(json!({ "sub": "bob", "exp": START + 40, "iat": START }))),
        second.sign(&with(json!({ "aud": "b", "exp": START + 60, "nbf": START + 20 }))),
        second.sign(&with(json!({ "iss": "https://other.example", "iat": START }))),
        third.sign(&with(json!({ "aud": ["a", "b"] }))),
        first.sign_padded(&json!({ "x": "1" }), &with(json!({ "sub": "alice1" }))),
        first.sign_padded(&json!({ "x": "12" }), &with(json!({ "sub": "alice12" }))),
        second.sign_with_header(&json!({ "kid": null }), &with(json!({ "sub": "nobody" }))),
        second.sign(&with(json!({ "aud": "elsewhere", "iss": "https://other.example" }))),
        "an-opaque-credential-that-is-rather-long".to_owned(),
    ]
});

#[derive(Clone, Debug)]
enum Event {
    /// Credentials are tokens and their places.
    Request {
        path: usize,
        credentials: Vec<(usize, usize)>,
        is_post: bool,
        signed_in: usize,
    },
    Wait {
        seconds: u64,
    },
    SetBack {
        seconds: u64,
    },
    Keys {
        which: [bool; 3],
    },
    Answers {
        kind: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let credential = (prop_oneof![0..10_usize, 0..2_usize, 5..6_usize], 0..6_usize);
    let credentials = prop_oneof![
        5 => prop::collection::vec(credential.clone(), 1),
        1 => prop::collection::vec(credential, 2),
    ];
    prop_oneof![
        16 => (prop_oneof![0..PATHS.len(), 0..4_usize], credentials, prop::bool::weighted(0.1), 0..3_usize).prop_map(
            |(path, credentials, is_post, signed_in)| Event::Request { path, credentials, is_post, signed_in }
        ),
        2 => (0..12_u64).prop_map(|seconds| Event::Wait { seconds }),
        1 => (0..30_u64).prop_map(|seconds| Event::SetBack { seconds }),
        2 => prop::array::uniform3(prop::bool::weighted(0.7)).prop_map(|which| Event::Keys { which }),
        3 => (0..4_u8).prop_map(|kind| Event::Answers { kind }),
    ]
}

fn head(path: usize, credentials: &[(usize, usize)], is_post: bool, signed_in: usize) -> RequestHead {
    let signed_in = [0, START - 10, START + 10][signed_in];
    let mut fields = vec![
        (":method", if is_post { "POST" } else { "GET" }.to_owned()),
        (":path", PATHS[path].to_owned()),
        (":authority", "gateway.example".to_owned()),
        ("X_User", "root".to_owned()),
    ];
    for (token, place) in credentials {
        let token = &TOKENS[*token];
        fields.push(match place {
            0 => ("x-token", token.clone()),
            1 => ("cookie", format!("s={token}; u={signed_in}")),
            _ => ("authorization", format!("Bearer {token}")),
        });
    }
    RequestHead::new(
        fields.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value.into_bytes())).collect(),
    )
}

/// Both gateways, or nothing where the settings do not go together.
fn gateways(configuration: &Value) -> Option<[Gateway; 2]> {
    let parse = |configuration: &Value| Config::parse(configuration.to_string().as_bytes(), &|_| None).ok();
    let mut without = configuration.clone();
    for name in ["a", "b"] {
        without["providers"][name]["jwt_cache_config"] = json!({ "jwt_cache_size": 0 });
    }
    Some([Gateway::of(parse(configuration)?), Gateway::of(parse(&without)?)])
}

fn fetch(gateway: &mut Gateway, which: [bool; 3]) {
    gateway.tick();
    let keys = KEYS.iter().zip(which).filter(|(_, is_there)| *is_there).map(|(key, _)| key);
    let document = jwks_of(keys).to_string();
    while !gateway.in_flight.is_empty() {
        gateway.answer(200, &document);
    }
}

fn answer(gateway: &mut Gateway, kind: u8) -> usize {
    let checks = gateway.checks();
    let count = checks.len();
    for check in checks {
        let (status, body) = match kind {
            0 => (200, json!({ "active": false })),
            1 => (503, json!({})),
            2 => (200, json!({ "active": true, "sub": "alice", "org_id": "said" })),
            _ => (200, json!({ "active": true, "aud": "a" })),
        };
        gateway.answer_check(check, status, &[], body.to_string().as_bytes());
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_can_tell_whether_tokens_are_kept(
        configuration in configuration(),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let gateways = gateways(&configuration);
        prop_assume!(gateways.is_some());
        let [mut with, mut without] = gateways.unwrap();
        for gateway in [&mut with, &mut without] {
            fetch(gateway, [true; 3]);
        }
        for event in events {
            match &event {
                Event::Request { path, credentials, is_post, signed_in } => {
                    let head = head(*path, credentials, *is_post, *signed_in);
                    let decided = with.engine.decide(&head, with.now);
                    prop_assert_eq!(decided, without.engine.decide(&head, without.now), "{:?}", event);
                }
                Event::Wait { seconds } => {
                    with.advance(Duration::from_secs(*seconds));
                    without.advance(Duration::from_secs(*seconds));
                }
                Event::SetBack { seconds } => {
                    let now = UnixTime::from_millis(with.now.as_millis() - seconds * 1_000);
                    (with.now, without.now) = (now, now);
                }
                Event::Keys { which } => [&mut with, &mut without].into_iter().for_each(|gateway| fetch(gateway, *which)),
                Event::Answers { kind } => {
                    prop_assert_eq!(answer(&mut with, *kind), answer(&mut without, *kind));
                }
            }
            let known = with.engine.known_tokens();
            prop_assert!(known.bytes() <= MAX_BYTES && known.is_empty() == (known.bytes() == 0));
        }
        prop_assert!(without.engine.known_tokens().is_empty());
    }
}

#[test]
fn a_padded_token_that_is_known_is_malformed_for_who_does_not_take_padding() {
    let key = &KEYS[0];
    let provider = |is_padded: bool| {
        json!({
            "issuer": ISSUER,
            "local_jwks": { "inline_string": jwks_of([key]).to_string() },
            "padded_segments": is_padded,
        })
    };
    let mut gateway = Gateway::new(&json!({
        "providers": { "a": provider(true), "b": provider(false) },
        "rules": rules(),
    }));
    let head = |path: &str| get_with(path, &TOKENS[5]);
    for path in ["/b", "/missing"] {
        let first = gateway.refuse(&head(path));
        assert_eq!(first.label(), "malformed_credential");
        gateway.forward(&head("/a"));
        assert_eq!(gateway.engine.known_tokens().len(), 1);
        assert_eq!(gateway.refuse(&head(path)), first, "{path}");
    }
}

#[test]
fn a_token_that_another_provider_of_the_same_issuer_cannot_verify_stays_known() {
    let provider = |key: &SigningKey| json!({ "issuer": ISSUER, "local_jwks": { "inline_string": jwks_of([key]).to_string() } });
    let [_, second, third] = &*KEYS;
    let mut gateway = Gateway::new(&json!({
        "providers": { "a": provider(third), "b": provider(second) },
        "rules": rules(),
    }));
    let token = second.sign(&claims(json!({})));
    for path in ["/any", "/any", "/any", "/b"] {
        gateway.forward(&get_with(path, &token));
        assert_eq!(gateway.engine.known_tokens().len(), 1, "{path}");
        assert!(gateway.engine.known_tokens().get(token.as_bytes()).is_some());
    }
}
