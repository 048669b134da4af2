//! The holes that other filters had, one test each: none of them may open here.

use std::time::Duration;

use edge_authn::engine::Decision;
use serde_json::{Value, json};

use crate::support::*;

fn user_header() -> Value {
    json!({ "claim_to_headers": [{ "header_name": "x-user-id", "claim_name": "sub" }], "forward_payload_header": "x-payload" })
}

#[test]
fn h1_no_spelling_of_an_identity_header_survives_on_any_path() {
    let mut gateway = Gateway::with_provider(user_header());
    let forged = [
        ("x-user-id", "root"),
        ("X-User-Id", "root"),
        ("x_user_id", "root"),
        ("X-User_ID", "root"),
        ("X_PAYLOAD", "root"),
        ("x-payload", "root"),
    ];
    let token = good_token();
    let bearer = [("authorization", format!("Bearer {token}"))];
    for path in ["/", "/open", "/optional", "/whatever"] {
        let mut fields: Vec<_> = forged.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if path != "/open" {
            fields.extend(bearer.clone());
        }
        let received = gateway.forward(&get(path, &fields));
        let root = received.0.iter().filter(|(_, value)| value == "root").count();
        assert_eq!(root, 0, "{path}: {received:?}");
        let expected = if path == "/open" { vec![] } else { vec!["alice"] };
        assert_eq!(received.values("x-user-id"), expected, "{path}");
    }
}

#[test]
fn h1_a_claim_that_is_missing_does_not_leave_the_clients_header_in_place() {
    let mut gateway = Gateway::with_provider(user_header());
    let token = KEY.sign(&claims(json!({ "sub": null })));
    let fields = [("authorization", format!("Bearer {token}")), ("x-user-id", "root".to_owned())];
    assert!(gateway.forward(&get("/", &fields)).values("x-user-id").is_empty());
}

#[test]
fn h1_the_headers_of_every_provider_are_removed_whichever_the_request_is_for() {
    let mut configuration = configuration(json!({}));
    configuration["providers"]["other"] = configuration["providers"]["acme"].clone();
    configuration["providers"]["other"]["claim_to_headers"] =
        json!([{ "header_name": "x-other", "claim_name": "sub" }]);
    let mut gateway = Gateway::new(&configuration);
    let fields = [("authorization", format!("Bearer {}", good_token())), ("x-other", "root".to_owned())];
    assert!(gateway.forward(&get("/", &fields)).values("x-other").is_empty());
    assert!(gateway.forward(&get("/open", &fields)).values("x-other").is_empty());
}

#[test]
fn h2_no_query_and_no_longer_name_reaches_an_open_path() {
    let mut gateway = Gateway::with_provider(json!({}));
    for path in [
        "/api?x=/open",
        "/openx",
        "/open/",
        "/open/../api",
        "/open%2f",
        "/open;x",
        "//open",
        "/%6fpen",
        "/open%00",
    ] {
        assert!(matches!(gateway.decide(&without_credential(path)), Decision::Refuse(_)), "{path}");
    }
    gateway.forward(&without_credential("/open?x=1"));
}

#[test]
fn h3_a_bad_signature_never_causes_a_fetch() {
    let mut gateway = Gateway::new(&remote_configuration("300s"));
    let forged = get_with("/", &STRANGER.sign(&claims(json!({}))));
    assert!(matches!(gateway.decide(&forged), Decision::Await(_)));
    assert_eq!(gateway.tick(), 1);
    assert!(gateway.answer(200, &jwks()));
    for _ in 0..100 {
        assert_eq!(gateway.refuse(&forged).status(), 401);
        assert_eq!(gateway.tick(), 0);
    }
}

#[test]
fn h3_what_is_no_token_never_causes_a_fetch() {
    let mut gateway = Gateway::new(&remote_configuration("300s"));
    gateway.tick();
    assert!(gateway.answer(200, &jwks()));
    gateway.advance(Duration::from_secs(10_000));
    assert_eq!(gateway.tick(), 1, "the refresh");
    for token in ["opaque", "a.b", "a.b.c", "e30.e30.AAAA"] {
        assert_eq!(gateway.refuse(&get_with("/", token)).status(), 401);
    }
    gateway.refuse(&without_credential("/"));
    assert_eq!(gateway.tick(), 0);
}

#[test]
fn h5_one_odd_key_does_not_spoil_the_set() {
    let mut keys = crate::tokens::jwks([&*KEY]);
    let odd = [
        json!(null),
        json!(5),
        json!("key"),
        json!([]),
        json!({}),
        json!({ "kty": "AKP", "alg": "ML-DSA-44" }),
        json!({ "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA" }),
        json!({ "kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA" }),
        json!({ "kty": "RSA", "n": "!", "e": "AQAB" }),
        json!({ "kty": "RSA", "n": "A".repeat(100_000), "e": "AQAB" }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }),
        json!({ "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "acme-1" }),
    ];
    for (position, key) in odd.into_iter().enumerate() {
        keys["keys"].as_array_mut().unwrap().insert(position, key);
    }
    let mut gateway = Gateway::new(&remote_configuration("300s"));
    let request = get_with("/", &good_token());
    gateway.decide(&request);
    gateway.tick();
    assert!(gateway.answer(200, &keys.to_string()));
    gateway.forward(&request);
}

#[test]
fn a_shared_secret_in_a_fetched_set_verifies_nothing() {
    let secret = crate::tokens::SigningKey::hs256("shared", &[7; 32]);
    let mut gateway = Gateway::new(&remote_configuration("300s"));
    let request = get_with("/", &secret.sign(&claims(json!({}))));
    gateway.decide(&request);
    gateway.tick();
    assert!(gateway.answer(200, &crate::tokens::jwks([&*KEY, &secret]).to_string()));
    assert_eq!(gateway.refuse(&request).status(), 401);
}

#[test]
fn h6_no_algorithm_but_the_keys_own_is_taken() {
    let mut gateway = Gateway::with_provider(json!({}));
    for algorithm in ["none", "None", "", "HS256", "RS256", "EdDSA", "es256", "ES256K", "ES384", "ES256 "] {
        let token = KEY.sign_with_header(&json!({ "alg": algorithm }), &claims(json!({})));
        assert_eq!(gateway.refuse(&get_with("/", &token)).status(), 401, "{algorithm}");
    }
}

#[test]
fn cve_2016_10555_a_public_key_is_no_shared_secret() {
    let public = KEY.jwk().to_string();
    let forger = crate::tokens::SigningKey::hs256("acme-1", public.as_bytes());
    let mut gateway = Gateway::with_provider(json!({}));
    assert_eq!(gateway.refuse(&get_with("/", &forger.sign(&claims(json!({}))))).status(), 401);
}

#[test]
fn no_second_spelling_of_the_credentials_header_goes_on_unverified() {
    let mut gateway =
        Gateway::with_provider(json!({ "from_headers": [{ "name": "x-jwt" }], "forward": true }));
    let good = good_token();
    gateway.forward(&get("/", &[("x-jwt", good.as_str())]));
    for path in ["/", "/optional"] {
        for second in ["x_jwt", "X_Jwt"] {
            let both = get(path, &[("x-jwt", good.as_str()), (second, "e.v.il")]);
            assert_eq!(gateway.refuse(&both).label(), "multiple_credentials", "{path} {second}");
            assert_eq!(gateway.refuse(&get(path, &[(second, "e.v.il")])).label(), "multiple_credentials");
        }
    }
}

#[test]
fn a_header_of_several_claims_has_no_more_items_than_were_signed() {
    let mut gateway = Gateway::with_provider(json!({ "claim_to_headers": [
        { "header_name": "x-groups", "claim_name": "team" },
        { "header_name": "x-groups", "claim_name": "roles" },
    ] }));
    let token = KEY.sign(&claims(json!({ "team": "a,admin", "roles": ["viewer"] })));
    assert_eq!(gateway.forward(&get_with("/", &token)).values("x-groups"), ["a%2Cadmin,viewer"]);
}

#[test]
fn cve_2022_31813_an_identity_header_is_not_lost_as_hop_by_hop() {
    let mut gateway = Gateway::with_provider(user_header());
    let fields = [
        ("authorization", format!("Bearer {}", good_token())),
        ("connection", "Upgrade, X-User-Id".to_owned()),
    ];
    let received = gateway.forward(&get("/", &fields));
    assert_eq!(
        (received.values("connection"), received.values("x-user-id")),
        (vec!["Upgrade"], vec!["alice"])
    );
}
