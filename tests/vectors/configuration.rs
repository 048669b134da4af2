//! Keys and algorithms as a provider is configured with them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use edge_authn::config::{Config, KeySource, Provider};
use edge_authn::jose::algorithm::NobodyElse;
use edge_authn::jose::jwk::{JwkSet, KeyOrigin, SignatureError};
use edge_authn::jose::token::CompactToken;
use edge_authn::time::UnixTime;
use edge_authn::verify::{VerifyError, verify_signature};
use serde_json::{Value, json};

use crate::key_forms::keys;
use crate::tokens::{SigningKey, jwks};

/// The only provider of a configuration, or the message that refuses it.
fn provider(fields: &Value) -> Result<Provider, String> {
    let configuration = json!({ "providers": { "p": fields } }).to_string();
    match Config::parse(configuration.as_bytes(), &|_| None) {
        Ok(mut config) => Ok(config.providers.remove(0)),
        Err(error) => Err(error.to_string().strip_prefix("providers.").unwrap().to_owned()),
    }
}

fn remote(algorithms: &Value) -> Value {
    json!({
        "remote_jwks": { "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" } },
        "algorithms": algorithms,
    })
}

fn local(key: &SigningKey) -> Value {
    json!({ "local_jwks": { "inline_string": jwks([key]).to_string() } })
}

fn allowing(mut fields: Value, algorithms: &Value) -> Value {
    fields["algorithms"] = algorithms.clone();
    fields
}

/// Whether the provider takes a token of this key; with the keys of the configuration or, when they are fetched, its own.
fn takes(provider: &Provider, key: &SigningKey) -> Result<(), VerifyError> {
    let fetched;
    let keys = match &provider.keys {
        KeySource::Local(keys) => keys,
        KeySource::None | KeySource::Remote(_) | KeySource::ByKid(_) => {
            fetched = JwkSet::parse(jwks([key]).to_string().as_bytes(), KeyOrigin::Fetched).unwrap();
            &fetched
        }
    };
    let token = key.sign(&json!({ "sub": "alice", "exp": 2_000 }));
    let token = CompactToken::decode(&token).unwrap();
    let token = token.parse().unwrap();
    let signed = verify_signature(&token, provider, keys, &NobodyElse)?;
    signed.identity(&provider.audiences, UnixTime::from_secs(1_000)).map(|_| ())
}

const NO_KEY: Result<(), VerifyError> = Err(VerifyError::Signature(SignatureError::NoKey));

#[test]
fn a_token_of_an_algorithm_that_is_not_allowed_has_no_key() {
    let es256 = SigningKey::generate("ES256", "k");
    let ed25519 = SigningKey::generate("EdDSA", "k");
    for (allowed, by_es256, by_ed25519) in [
        (json!(["ES256"]), Ok(()), NO_KEY),
        (json!(["EdDSA"]), NO_KEY, Ok(())),
        (json!(["Ed25519", "RS256"]), NO_KEY, Ok(())),
        (json!(["EdDSA", "ES256"]), Ok(()), Ok(())),
    ] {
        let provider = provider(&remote(&allowed)).unwrap();
        assert_eq!(takes(&provider, &es256), by_es256, "{allowed}");
        assert_eq!(takes(&provider, &ed25519), by_ed25519, "{allowed}");
    }
    let hs512 = SigningKey::generate("HS512", "k");
    let only = |algorithm| {
        let mut fields = local(&hs512);
        let mut jwk = hs512.jwk();
        jwk.as_object_mut().unwrap().remove("alg");
        fields["local_jwks"]["inline_string"] = json!(json!({ "keys": [jwk] }).to_string());
        provider(&allowing(fields, &json!([algorithm]))).unwrap()
    };
    assert_eq!(takes(&only("HS512"), &hs512), Ok(()));
    assert_eq!(takes(&only("HS256"), &hs512), NO_KEY);
}

#[test]
fn a_list_of_algorithms_that_cannot_be_meant_is_refused_with_those_that_can() {
    const ASYMMETRIC: &str = "EdDSA, ES256, ES384, ES512, PS256, PS384, PS512, RS256, RS384, RS512";
    let es384 = SigningKey::generate("ES384", "k");
    for (fields, message) in [
        (
            remote(&json!(["ES256", "HS256"])),
            format!("p.algorithms[1]: found the string \"HS256\", expected at least one of {ASYMMETRIC}"),
        ),
        (
            remote(&json!(["ES256K"])),
            "p.algorithms[0]: found the string \"ES256K\", expected at least one of EdDSA, ES256, ES384, ES512, \
             HS256, HS384, HS512, PS256, PS384, PS512, RS256, RS384, RS512"
                .to_owned(),
        ),
        (
            remote(&json!([])),
            format!(
                "p.algorithms: found no algorithm that the keys could verify, expected at least one of {ASYMMETRIC}"
            ),
        ),
        (
            allowing(local(&es384), &json!(["ES256", "RS256"])),
            "p.algorithms: found no algorithm that the keys could verify, expected at least one of ES384".to_owned(),
        ),
        (remote(&json!(null)), "p.algorithms: found null, expected a value, or no such field".to_owned()),
        (
            remote(&json!("ES256")),
            "p.algorithms: found the string \"ES256\", expected an array".to_owned(),
        ),
        (remote(&json!([5])), "p.algorithms[0]: found the number 5, expected a string".to_owned()),
    ] {
        assert_eq!(provider(&fields).unwrap_err(), message);
    }
    for name in ["none", "es256", "ES256 ", "RSA-OAEP", "Ed448", ""] {
        let message = provider(&remote(&json!([name]))).unwrap_err();
        assert!(message.starts_with("p.algorithms[0]: found the string"), "{message}");
    }
}

#[test]
fn jwt_key_is_a_public_key_in_pem() {
    for key in keys().usable {
        for pem in key.forms.values() {
            let provider = provider(&json!({ "jwt_key": pem })).unwrap();
            assert!(matches!(provider.keys, KeySource::Local(keys) if keys.len() == 1), "{}", key.key);
        }
    }
    let expected = "expected a public key in PEM (\"-----BEGIN PUBLIC KEY-----\")";
    let small = keys().unusable[0].forms["public_key"].clone();
    let good = keys().usable[0].forms["public_key"].clone();
    let modulus = "the RSA modulus must be odd and have 2048 to 8192 bits, this one has 1024";
    for (text, found) in [
        ("c2VjcmV0".to_owned(), "PEM whose blocks are not whole".to_owned()),
        (String::new(), "PEM whose blocks are not whole".to_owned()),
        (r#"{"keys":[]}"#.to_owned(), "PEM whose blocks are not whole".to_owned()),
        (
            "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n".to_owned(),
            "a private key, which must stay with whoever signs".to_owned(),
        ),
        (small.clone(), format!("no key of the set can be used: keys[0]: {modulus};")),
        (format!("{good}{small}"), format!("keys[1]: {modulus}")),
    ] {
        let message = provider(&json!({ "jwt_key": text })).unwrap_err();
        assert_eq!(message, format!("p.jwt_key: found {found}, {expected}"));
    }
    assert_eq!(
        provider(&json!({ "jwt_key": 5 })).unwrap_err(),
        format!("p.jwt_key: found a number, {expected}")
    );
}

#[test]
fn inline_bytes_are_a_document_in_base64_of_either_alphabet() {
    let key = SigningKey::generate("HS256", "\u{fffe}?>~~~");
    let document = jwks([&key]).to_string();
    // The `kid` makes the alphabets differ wherever it begins.
    let documents = [document.clone(), format!(" {document}"), format!("  {document}")];
    let mut alphabets_differ = false;
    for document in documents {
        let (standard, url_safe) = (STANDARD.encode(&document), URL_SAFE_NO_PAD.encode(&document));
        alphabets_differ |= standard.trim_end_matches('=') != url_safe;
        let unpadded = standard.trim_end_matches('=').to_owned();
        for text in [standard, unpadded, url_safe] {
            let provider = provider(&json!({ "local_jwks": { "inline_bytes": text } })).unwrap();
            assert_eq!(takes(&provider, &key), Ok(()));
        }
    }
    assert!(alphabets_differ);
    let message = provider(&json!({ "local_jwks": { "inline_bytes": "c2Vjc$mV0" } })).unwrap_err();
    assert_eq!(
        message,
        "p.local_jwks.inline_bytes: found a string that is not base64, expected a JWKS document in base64"
    );
}

#[test]
fn keys_have_one_source() {
    let key = SigningKey::generate("ES256", "k");
    let sources = [
        ("remote_jwks", remote(&json!(null))["remote_jwks"].clone()),
        ("local_jwks", local(&key)["local_jwks"].clone()),
        ("jwt_key", json!(keys().usable[0].forms["public_key"])),
    ];
    for (first, value) in &sources {
        for (second, other) in sources.iter().filter(|(name, _)| name != first) {
            let message = provider(&json!({ *first: value, *second: other })).unwrap_err();
            assert!(message.contains("found a second source of keys"), "{first}, {second}: {message}");
        }
    }
    let mut fields = local(&key);
    fields["local_jwks"]["inline_bytes"] = json!("e30=");
    assert_eq!(
        provider(&fields).unwrap_err(),
        "p.local_jwks.inline_bytes: found a second document, expected one of inline_string, inline_bytes and environment_variable"
    );
}

#[test]
fn a_secret_too_short_for_its_alg_is_an_error_and_not_skipped() {
    let (weak, good) = (SigningKey::hmac("HS384", "weak", &[7; 47]), SigningKey::generate("ES256", "good"));
    let document = jwks([&weak, &good]).to_string();
    assert_eq!(
        provider(&json!({ "local_jwks": { "inline_string": document } })).unwrap_err(),
        "p.local_jwks.inline_string: found keys[0]: the secret has 47 bytes and needs at least 48, \
         expected a secret at least as long as the hash"
    );
}
