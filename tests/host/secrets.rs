//! What the log must never hold, over a run in which everything goes wrong that can.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::harness::{Level, Outcome, Profile};
use super::scene::{
    KEY, STRANGER, Scene, SigningKey, anonymous, bearer, claims, configuration, get, good, host, provider,
    with,
};

const SHARED: &[u8] = b"a-shared-secret-of-enough-bytes!";

#[test]
fn no_token_claim_cookie_path_or_key_is_ever_logged() {
    let shared_key = SigningKey::hs256("h", SHARED);
    let mut configuration = configuration(json!({
        "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
        "from_params": ["access_token"],
        "from_cookies": ["session"],
        "forward_payload_header": "x-payload",
    }));
    configuration["providers"]["local"] = provider(
        "none",
        json!({
            "issuer": "https://claimed-issuer.example",
            "remote_jwks": null,
            "local_jwks": { "inline_string": super::scene::jwks([&shared_key]).to_string() },
        }),
    );
    configuration["rules"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({ "match": { "prefix": "/local" }, "requires": { "provider_name": "local" } }));
    let mut scene = Scene::start_on(host(Profile::envoy()), &configuration);

    let marked = |extra: serde_json::Value| {
        let mut all = claims(json!({ "sub": "claimed-subject", "roles": ["claimed-role"] }));
        for (name, value) in extra.as_object().unwrap() {
            all[name] = value.clone();
        }
        all
    };
    let header = |extra| KEY.sign_with_header(&extra, &marked(json!({})));
    let tokens = vec![
        KEY.sign(&marked(json!({}))),
        STRANGER.sign(&marked(json!({}))),
        SigningKey::es256("claimed-kid").sign(&marked(json!({}))),
        KEY.sign(&marked(json!({ "exp": 1 }))),
        KEY.sign(&marked(json!({ "exp": "claimed-expiry" }))),
        KEY.sign(&marked(json!({ "nbf": 4_000_000_000_u64 }))),
        KEY.sign(&marked(json!({ "aud": "claimed-audience" }))),
        KEY.sign(&marked(json!({ "iss": "https://claimed-issuer.example" }))),
        header(json!({ "alg": "claimed-alg" })),
        header(json!({ "typ": "claimed-typ" })),
        header(json!({ "crit": ["claimed-extension"] })),
        header(json!({ "kid": ["claimed-kid"] })),
        KEY.sign_raw(br#"{"alg":"EdDSA"}"#, b"claimed-subject"),
        "claimed-token".to_owned(),
        "claimed-token.claimed-token.claimed-token".to_owned(),
        format!("{}.claimed-token", "a".repeat(20_000)),
    ];
    let local = shared_key.sign(&marked(json!({ "iss": "https://claimed-issuer.example" })));
    let mut requests = vec![bearer("/local", &local), anonymous("/claimed-path"), Vec::new()];
    for token in &tokens {
        requests.extend([
            bearer("/claimed-path", token),
            bearer("/local/claimed-path", token),
            bearer("/claimed-path", &format!("{token} {token}")),
            with(bearer("/", token), "authorization", format!("Bearer {token}")),
            bearer("/optional", token),
            get("/", &[("x-token", token)]),
            get("/", &[("cookie", format!("claimed-cookie=claimed-value; session={token}"))]),
            anonymous(&format!("/claimed-path?access_token={token}&claimed-param=claimed-value")),
            anonymous(&format!("/claimed-path/..%2flocal?access_token={token}")),
            with(bearer("/open", token), "x-user-id", "claimed-user"),
        ]);
    }
    let keys = super::scene::jwks([&*KEY]).to_string();
    let mut labels = BTreeSet::new();
    // No keys yet and no good ones; the same again; keys, which some of the requests wait for; keys that got old.
    for document in [r#"{"keys":[{"kty":"claimed-kty"}]}"#, "claimed-body", &keys, "claimed-body"] {
        let streams: Vec<_> = requests.iter().map(|request| scene.host.request(request.clone())).collect();
        let until = scene.host.now() + Duration::from_secs(300);
        while scene.host.calls().is_empty() && scene.host.now() < until {
            scene.host.advance(Duration::from_millis(100));
        }
        for call in scene.host.calls() {
            scene.host.answer(call.id, 200, Vec::new(), document);
        }
        for stream in streams {
            if let Outcome::Replied(reply) = scene.host.close(stream) {
                let details = String::from_utf8(reply.details.clone()).unwrap();
                let text = format!("{reply:?} {details}");
                assert!(!text.contains("claimed"), "{text}");
                labels.insert(details);
            }
        }
    }

    assert!(labels.len() >= 10, "many kinds of refusal were there: {labels:?}");
    assert!(scene.host.logs().len() > 100, "every refusal is in the log at some level");
    assert!(scene.logged(Level::Warn).iter().any(|line| line.contains("not fetched")));
    scene.host.assert_never_logged("claimed");
    for token in &tokens {
        for segment in token.split('.').filter(|segment| segment.len() > 20) {
            scene.host.assert_never_logged(&segment[..20]);
        }
    }
    let encoded = URL_SAFE_NO_PAD.encode(SHARED);
    for secret in ["a-shared-secret", &encoded[..12], KEY.jwk()["x"].as_str().unwrap()] {
        scene.host.assert_never_logged(secret);
    }
}

#[test]
fn a_request_that_passes_logs_nothing() {
    let mut scene = Scene::with_keys();
    let before = scene.host.logs().len();
    for _ in 0..10 {
        scene.pass(good("/"));
        scene.pass(anonymous("/open"));
    }
    assert_eq!(scene.host.logs().len(), before);
}

#[test]
fn a_refusal_of_the_client_is_no_warning() {
    let mut scene = Scene::with_keys();
    scene.refuse(anonymous("/"), 401, "missing_credential");
    scene.refuse(bearer("/", "a.b.c"), 401, "invalid_token");
    scene.refuse(bearer("/", &STRANGER.sign(&claims(json!({})))), 401, "invalid_token");
    assert_eq!(scene.logged(Level::Info), Vec::<&str>::new());
    let refusals = scene.logged(Level::Debug);
    for reason in ["missing_credential", "no key made the signature"] {
        assert!(refusals.iter().any(|line| line.contains(reason)), "{reason}: {refusals:?}");
    }
}
