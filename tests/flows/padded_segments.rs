//! `padded_segments`: tokens whose parts are padded, from providers that sign them so, and from nobody else.

use edge_authn::config::Config;
use edge_authn::request::RequestHead;
use serde_json::{Value, json};

use crate::support::*;

/// Claims whose parts all need padding, as the header of [`SigningKey`](crate::tokens::SigningKey) does with this `x`.
fn padded_token() -> String {
    let token = KEY.sign_padded(&json!({ "x": "1" }), &claims(json!({ "sub": "alice1" })));
    let parts: Vec<_> = token.split('.').collect();
    assert!(parts.len() == 3 && parts.iter().all(|part| part.ends_with('=')), "{token}");
    token
}

fn assertion(token: &str) -> RequestHead {
    get("/", &[("x-assertion", token)])
}

fn provider(extra: Value) -> Value {
    let mut provider = json!({
        "from_headers": [{ "name": "x-assertion" }],
        "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
        "forward_payload_header": "x-payload",
    });
    for (name, value) in extra.as_object().unwrap() {
        provider[name] = value.clone();
    }
    provider
}

fn outcome(gateway: &mut Gateway, token: &str) -> &'static str {
    match gateway.decide(&assertion(token)) {
        edge_authn::engine::Decision::Forward(_) => "passes",
        edge_authn::engine::Decision::Refuse(rejection) => rejection.label(),
        waits => panic!("{waits:?}"),
    }
}

#[test]
fn a_padded_token_passes_where_it_is_configured_and_its_payload_goes_on_without_padding() {
    let mut gateway = Gateway::with_provider(provider(json!({ "padded_segments": true })));
    let token = padded_token();
    let received = gateway.forward(&assertion(&token));
    assert_eq!(received.values("x-user"), ["alice1"]);
    let payload = token.split('.').nth(1).unwrap().trim_end_matches('=');
    assert_eq!(received.values("x-payload"), [payload]);
    assert_eq!(received.values("x-assertion"), [""; 0]);
}

#[test]
fn the_payload_is_padded_once_where_that_is_configured() {
    let extra = json!({ "padded_segments": true, "pad_forward_payload_header": true });
    let mut gateway = Gateway::with_provider(provider(extra));
    let token = padded_token();
    let received = gateway.forward(&assertion(&token));
    assert_eq!(received.values("x-payload"), [token.split('.').nth(1).unwrap()]);
}

#[test]
fn a_padded_token_is_refused_everywhere_else() {
    for extra in [json!({}), json!({ "padded_segments": false }), json!({ "padded_segments": null })] {
        let mut gateway = Gateway::with_provider(provider(extra));
        assert_eq!(outcome(&mut gateway, &padded_token()), "malformed_credential");
        let token = KEY.sign(&claims(json!({})));
        assert_eq!(outcome(&mut gateway, &token), "passes");
        assert_eq!(outcome(&mut gateway, &format!("{token}==")), "invalid_token", "padded at its end alone");
    }
}

#[test]
fn a_token_without_padding_passes_as_ever() {
    let mut gateway = Gateway::with_provider(provider(json!({ "padded_segments": true })));
    assert_eq!(outcome(&mut gateway, &KEY.sign(&claims(json!({})))), "passes");
}

#[test]
fn a_token_that_was_padded_or_stripped_by_another_hand_is_refused() {
    let mut gateway = Gateway::with_provider(provider(json!({ "padded_segments": true })));
    let token = padded_token();
    let parts: Vec<_> = token.split('.').collect();
    let with = |position: usize, part: &str| {
        let mut parts = parts.clone();
        parts[position] = part;
        parts.join(".")
    };
    let mut forms = vec![token.replace('=', "")];
    for (position, part) in parts.iter().enumerate() {
        forms.push(with(position, part.trim_end_matches('=')));
        forms.push(with(position, &format!("{part}=")));
        forms.push(with(position, &format!("{part}====")));
        forms.push(with(position, &format!("{}A=", part.trim_end_matches('='))));
    }
    let unpadded = KEY.sign_with_header(&json!({ "x": "1" }), &claims(json!({ "sub": "alice1" })));
    let pad = |part: &str| format!("{part}{}", "=".repeat(part.len().wrapping_neg() % 4));
    forms.push(unpadded.split('.').map(pad).collect::<Vec<_>>().join("."));
    for form in forms {
        assert_eq!(outcome(&mut gateway, &form), "invalid_token", "{form}");
    }
    for form in ["=", "==.=.=", "=.a.b", "a.=.b", "a=b.c.d", ".a=.b="] {
        assert_eq!(outcome(&mut gateway, form), "malformed_credential", "{form}");
    }
    for form in ["a==.b==.c==", "a=.b.c", "a.b.c=", "a.b.=", "a="] {
        assert_eq!(outcome(&mut gateway, form), "invalid_token", "{form}");
    }
}

#[test]
fn padding_of_one_provider_is_none_of_another_that_takes_tokens_from_the_same_place() {
    let mut padded = provider(json!({ "padded_segments": true, "issuer": "https://padded.example" }));
    padded["local_jwks"] = json!({ "inline_string": jwks() });
    let mut configuration = configuration(provider(json!({})));
    configuration["providers"]["padded"] = padded;
    configuration["rules"] = json!([
        { "match": { "path": "/padded" }, "requires": { "provider_name": "padded" } },
        { "match": { "path": "/any" }, "requires": { "requires_any": { "requirements": [
            { "provider_name": "acme" }, { "provider_name": "padded" }] } } },
        { "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } },
    ]);
    let mut gateway = Gateway::new(&configuration);
    // Padded at its end alone, where any credential may be.
    for (issuer, path, passes) in [
        ("https://padded.example", "/padded", true),
        ("https://padded.example", "/any", true),
        ("https://padded.example", "/", false),
        (ISSUER, "/", false),
        (ISSUER, "/any", false),
        (ISSUER, "/padded", false),
    ] {
        let fill = |length: usize| "p".repeat(length);
        let mut tokens = (0..9).map(|length| {
            let claims = claims(json!({ "iss": issuer, "fill": fill(length / 3) }));
            KEY.sign_padded(&json!({ "x": fill(length % 3) }), &claims)
        });
        let token = tokens.find(|token| !token.rsplit_once('.').unwrap().0.contains('='));
        let token = token.expect("one whose header and payload need no padding");
        let request = get(path, &[("x-assertion", &token)]);
        let is_forwarded = matches!(gateway.decide(&request), edge_authn::engine::Decision::Forward(_));
        assert_eq!(is_forwarded, passes, "{issuer} at {path}");
    }
}

#[test]
fn padded_segments_is_a_boolean() {
    let configuration = configuration(json!({ "padded_segments": "yes" }));
    let error = Config::parse(configuration.to_string().as_bytes(), &|_| None).unwrap_err().to_string();
    assert!(error.starts_with("providers.acme.padded_segments: found "), "{error}");
}
