//! What is refused, and how the refusal looks from outside.

use edge_authn::rejection::Reply;
use serde_json::json;

use crate::support::*;

fn challenge(reply: &Reply) -> Option<&str> {
    reply.headers.iter().find(|(name, _)| *name == "www-authenticate").map(|(_, value)| value.as_str())
}

#[test]
fn a_good_token_passes() {
    let mut gateway = Gateway::with_provider(json!({}));
    gateway.forward(&get_with("/", &good_token()));
}

#[test]
fn no_credential_is_challenged_without_an_error() {
    let mut gateway = Gateway::with_provider(json!({}));
    let reply = gateway.reply(&without_credential("/"));
    assert_eq!((reply.status, challenge(&reply)), (401, Some("Bearer realm=\"test\"")));
}

#[test]
fn a_bad_token_is_challenged_with_an_error_that_tells_nothing_before_the_signature() {
    let mut gateway = Gateway::with_provider(json!({ "audiences": ["api"] }));
    let good = claims(json!({ "aud": "api" }));
    let forged = [
        STRANGER.sign(&good),
        STRANGER.sign(&claims(json!({ "aud": "other" }))),
        STRANGER.sign(&claims(json!({ "exp": 1 }))),
        STRANGER.sign(&claims(json!({ "iss": "https://other.example" }))),
        KEY.sign(&claims(json!({ "aud": "api", "iss": "https://idp.example/" }))),
        KEY.sign(&claims(json!({ "aud": "api", "iss": null }))),
        KEY.sign_with_header(&json!({ "kid": "unknown" }), &good),
        KEY.sign_with_header(&json!({ "alg": "none" }), &good),
        KEY.sign_with_header(&json!({ "crit": ["exp"] }), &good),
        KEY.sign_raw(b"not json", b"{}"),
        format!("{}A", KEY.sign(&good)),
        "not.a.token".to_owned(),
        "opaque".to_owned(),
        "!".to_owned(),
    ];
    let replies: Vec<_> = forged
        .iter()
        .map(|token| {
            let reply = gateway.reply(&get_with("/", token));
            (reply.status, reply.headers, reply.body)
        })
        .collect();
    assert_eq!(replies[0].0, 401);
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:#?}");
}

#[test]
fn behind_the_signature_the_reason_is_told() {
    let mut gateway = Gateway::with_provider(json!({ "audiences": ["api"] }));
    for (extra, label) in [
        (json!({ "aud": "api", "exp": START - 60 }), "expired"),
        (json!({ "aud": "api", "exp": null }), "no_expiration"),
        (json!({ "aud": "api", "nbf": START + 61 }), "not_yet_valid"),
        (json!({ "aud": "api/" }), "audience"),
        (json!({ "aud": ["https://api", "ap"] }), "audience"),
        (json!({}), "audience"),
        (json!({ "aud": "api", "exp": "1900000000" }), "invalid_token"),
        (json!({ "aud": ["api", 1] }), "invalid_token"),
    ] {
        let rejection = gateway.refuse(&get_with("/", &KEY.sign(&claims(extra.clone()))));
        assert_eq!((rejection.label(), rejection.status()), (label, 401), "{extra}");
    }
}

#[test]
fn clock_skew_is_allowed_at_both_ends_and_no_further() {
    let mut gateway = Gateway::with_provider(json!({ "clock_skew_seconds": 10 }));
    for (extra, passes) in [
        (json!({ "exp": START - 9 }), true),
        (json!({ "exp": START - 10 }), false),
        (json!({ "nbf": START + 10 }), true),
        (json!({ "nbf": START + 11 }), false),
    ] {
        let decision = gateway.decide(&get_with("/", &KEY.sign(&claims(extra.clone()))));
        assert_eq!(matches!(decision, edge_authn::engine::Decision::Forward(_)), passes, "{extra}");
    }
}

#[test]
fn a_token_without_expiration_passes_only_where_that_is_written() {
    let mut gateway = Gateway::with_provider(json!({ "require_expiration": false }));
    gateway.forward(&get_with("/", &KEY.sign(&claims(json!({ "exp": null })))));
}

#[test]
fn more_than_one_credential_is_a_bad_request() {
    let mut gateway = Gateway::with_provider(json!({
        "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
        "from_params": ["token"],
        "from_cookies": ["session"],
    }));
    let token = good_token();
    let bearer = format!("Bearer {token}");
    let cookie = format!("session={token}");
    for head in [
        get("/", &[("authorization", bearer.as_str()), ("x-token", &token)]),
        get("/", &[("authorization", bearer.as_str()), ("cookie", &cookie)]),
        get(&format!("/?token={token}"), &[("authorization", &bearer)]),
        get(&format!("/?token={token}&token={token}"), &[("accept", "*/*")]),
        get("/", &[("authorization", bearer.as_str()), ("authorization", "Basic eDp5")]),
        get("/", &[("authorization", format!("{bearer}, {bearer}"))]),
        get("/", &[("authorization", format!("Basic eDp5,{bearer}"))]),
        get("/", &[("cookie", format!("{cookie}; {cookie}"))]),
    ] {
        let reply = gateway.reply(&head);
        assert_eq!(reply.status, 400, "{head:?}");
        assert!(challenge(&reply).unwrap().contains("error=\"invalid_request\""));
    }
    for head in [
        get("/", &[("x-token", &token)]),
        get("/", &[("cookie", &cookie)]),
        get(&format!("/?token={token}"), &[("accept", "*/*")]),
    ] {
        gateway.forward(&head);
    }
}

#[test]
fn cve_2021_21378_a_bad_token_is_not_as_good_as_a_missing_one() {
    let mut gateway = Gateway::with_provider(json!({}));
    gateway.forward(&without_credential("/optional"));
    gateway.forward(&get_with("/optional", &good_token()));
    for token in [
        STRANGER.sign(&claims(json!({}))),
        KEY.sign(&claims(json!({ "iss": "https://unknown.example" }))),
        KEY.sign(&claims(json!({ "iss": null }))),
        KEY.sign(&claims(json!({ "exp": 1 }))),
        "opaque".to_owned(),
        String::new(),
    ] {
        assert_eq!(gateway.refuse(&get_with("/optional", &token)).status(), 401, "{token}");
    }
}

#[test]
fn where_failure_is_allowed_a_bad_token_passes_as_nobody() {
    let mut gateway = Gateway::with_provider(
        json!({ "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }] }),
    );
    let forged = [
        ("authorization", format!("Bearer {}", STRANGER.sign(&claims(json!({}))))),
        ("x-user", "root".to_owned()),
    ];
    assert!(gateway.forward(&get("/whatever", &forged)).values("x-user").is_empty());
    assert_eq!(gateway.forward(&get_with("/whatever", &good_token())).values("x-user"), ["alice"]);
}

#[test]
fn with_several_providers_the_issuer_decides_whose_keys_must_agree() {
    let other = crate::tokens::SigningKey::eddsa("other-1");
    let mut configuration = configuration(json!({}));
    configuration["providers"]["other"] = json!({
        "issuer": "https://other.example",
        "local_jwks": { "inline_string": crate::tokens::jwks([&other]).to_string() },
    });
    let mut gateway = Gateway::new(&configuration);
    let others = claims(json!({ "iss": "https://other.example" }));
    gateway.forward(&get_with("/optional", &good_token()));
    gateway.forward(&get_with("/optional", &other.sign(&others)));
    // The right key for the wrong issuer, an issuer nobody has, and another provider's token where one is named.
    for (path, token) in [
        ("/optional", other.sign(&claims(json!({})))),
        ("/optional", other.sign(&claims(json!({ "iss": "https://third.example" })))),
        ("/", other.sign(&others)),
    ] {
        assert_eq!(gateway.refuse(&get_with(path, &token)).status(), 401);
    }
}
