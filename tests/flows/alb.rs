//! The preset `alb`, against tokens in the shape that an AWS Application Load Balancer gives them.

use edge_authn::engine::Decision;
use edge_authn::request::RequestHead;
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::SigningKey;

const ARN: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/acme/50dc6c495c0c9188";
const KID: &str = "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3";

pub fn parameters() -> Value {
    json!({ "region": "eu-west-1", "alb_arn": ARN, "client_id": "1example23456789", "issuer": ISSUER })
}

fn gateway() -> Gateway {
    let mut provider = json!({ "preset": "alb", "cluster": "alb_keys" });
    for (name, value) in parameters().as_object().unwrap() {
        provider[name] = value.clone();
    }
    Gateway::new(&json!({
        "providers": { "it": provider },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "it" } },
        ],
    }))
}

/// With `header` and `claims` changed.
fn token(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let mut full = json!({ "signer": ARN, "client": "1example23456789", "iss": ISSUER, "exp": START + 120 });
    for (name, value) in header.as_object().unwrap() {
        full[name] = value.clone();
    }
    let mut payload = json!({ "sub": "1234-abcd", "email": "a@acme.example", "name": "Ada", "username": "ada",
        "exp": START + 120, "iss": ISSUER });
    for (name, value) in claims.as_object().unwrap() {
        payload[name] = value.clone();
    }
    key.sign_padded(&full, &payload)
}

/// What the load balancer sends, as somebody could send it who reaches the gateway past it.
fn request(path: &str, token: &str) -> RequestHead {
    get(
        path,
        &[
            ("x-amzn-oidc-data", token),
            ("x-amzn-oidc-identity", "forged"),
            ("x-amzn-oidc-accesstoken", "forged"),
            ("X_Amzn_Oidc_Identity", "forged"),
            ("x-auth-user-id", "forged"),
        ],
    )
}

#[test]
fn the_token_of_the_load_balancer_passes_and_its_unsigned_headers_do_not() {
    let (mut gateway, key) = (gateway(), SigningKey::es256(KID));
    let token = token(&key, &json!({}), &json!({}));
    assert!(token.contains('='), "{token}");
    assert!(matches!(gateway.decide(&request("/", &token)), Decision::Await(_)));
    assert_eq!(gateway.tick(), 1);
    let call = gateway.in_flight[0].call();
    let place = [call.endpoint.scheme, &call.endpoint.authority, &call.endpoint.path, &call.endpoint.cluster];
    let path = format!("/{KID}");
    assert_eq!(place, ["https", "public-keys.auth.elb.eu-west-1.amazonaws.com", path.as_str(), "alb_keys"]);
    assert!(gateway.answer(200, &key.pem()));
    let received = gateway.forward(&request("/", &token));
    for (name, expected) in
        [("x-auth-user-id", "1234-abcd"), ("x-auth-email", "a@acme.example"), ("x-auth-name", "Ada")]
    {
        assert_eq!(received.values(name), [expected]);
    }
    let open = gateway.forward(&request("/open", &token));
    let of_load_balancer = |received: &Received| {
        let names = received.0.iter().map(|(name, _)| name.replace('_', "-"));
        names.filter(|name| name.starts_with("x-amzn")).collect::<Vec<_>>()
    };
    assert_eq!(of_load_balancer(&received), [""; 0]);
    assert_eq!(of_load_balancer(&open), ["x-amzn-oidc-data"], "nobody has asked for it");
    assert_eq!(open.values("x-auth-user-id"), [""; 0]);
}

#[test]
fn the_token_of_another_load_balancer_client_or_issuer_is_refused_and_fetches_nothing() {
    let (mut gateway, key) = (gateway(), SigningKey::es256(KID));
    let bad = [
        (json!({ "signer": ARN.replace("acme", "evil") }), json!({})),
        (json!({ "signer": null }), json!({})),
        (json!({ "signer": [ARN, "x"], "client": "other" }), json!({})),
        (json!({ "client": "other" }), json!({})),
        (json!({ "client": null }), json!({})),
        (json!({ "iss": "https://evil.example" }), json!({})),
        (json!({}), json!({ "iss": "https://evil.example" })),
        (json!({}), json!({ "exp": START - 61 })),
        (json!({}), json!({ "exp": null })),
        (json!({ "kid": "../x" }), json!({})),
    ];
    // Before the key is held, and with it.
    for is_held in [false, true] {
        if is_held {
            let good = token(&key, &json!({}), &json!({}));
            assert!(matches!(gateway.decide(&request("/", &good)), Decision::Await(_)));
            assert_eq!(gateway.tick(), 1);
            assert!(gateway.answer(200, &key.pem()));
            assert!(matches!(gateway.decide(&request("/", &good)), Decision::Forward(_)));
        }
        for (header, claims) in &bad {
            let rejection = gateway.refuse(&request("/", &token(&key, header, claims)));
            assert_eq!(rejection.status(), 401, "{header} {claims}");
            assert_eq!(gateway.tick(), 0, "{header} {claims}");
        }
    }
}
