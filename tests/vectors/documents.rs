//! Documents with keys: the forms other than JWKs, what spoils them, and that nothing makes their reader panic.

use edge_authn::jose::algorithm::KeyError;
use edge_authn::jose::base64url;
use edge_authn::jose::jwk::{
    JwkSet, JwksError, KeyOrigin, MAX_JWKS_BYTES, MAX_KEYS, SignatureError, SkippedKey, UnusableKey,
};
use edge_authn::jose::pem::PemError;
use proptest::prelude::*;
use serde_json::json;

use crate::key_forms::{Key, keys, verify};

fn parse(text: &str) -> Result<JwkSet, JwksError> {
    JwkSet::parse(text.as_bytes(), KeyOrigin::Fetched)
}

fn key(name: &str) -> Key {
    keys().usable.into_iter().find(|key| key.key == name).unwrap()
}

/// The token with another header, and with the signature that it had.
fn with_header(token: &str, header: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", base64url::encode(header.as_bytes()))
}

#[test]
fn several_pem_blocks_are_several_keys_without_a_kid() {
    let (p256, ed25519) = (key("P-256"), key("Ed25519"));
    let text = format!("two keys:\n{}\n{}", p256.forms["public_key"], ed25519.forms["certificate"]);
    let set = parse(&text).unwrap();
    assert_eq!((set.len(), set.skipped().len()), (2, 0));
    assert_eq!(verify(&set, &p256.tokens["ES256"]), Ok(()));
    assert_eq!(verify(&set, &ed25519.tokens["EdDSA"]), Ok(()));
}

#[test]
fn a_map_of_certificates_names_its_keys() {
    let (rsa, p256) = (key("RSA 2048"), key("P-256"));
    let set =
        parse(&json!({ "one": rsa.forms["certificate"], "keys": p256.forms["certificate"] }).to_string())
            .unwrap();
    assert_eq!(set.len(), 2);
    let token = &rsa.tokens["RS256"];
    let with_kid = |kid| with_header(token, &format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#));
    // The signature is over another header, so the key can only be found or not.
    assert_eq!(verify(&set, &with_kid("one")), Err(SignatureError::Mismatch));
    assert_eq!(verify(&set, &with_kid("keys")), Err(SignatureError::NoKey), "a key of another kind");
    for other in ["two", ""] {
        assert_eq!(verify(&set, &with_kid(other)), Err(SignatureError::UnknownKeyId), "{other:?}");
    }
    assert_eq!(verify(&set, token), Ok(()), "without kid");
}

#[test]
fn of_a_chain_in_a_map_only_the_first_certificate_counts() {
    let (leaf, issuer) = (key("P-256"), key("P-384"));
    let chain = format!("{}{}", leaf.forms["certificate"], issuer.forms["certificate"]);
    let set = parse(&json!({ "kid": chain }).to_string()).unwrap();
    assert_eq!(verify(&set, &leaf.tokens["ES256"]), Ok(()));
    assert_eq!(verify(&set, &issuer.tokens["ES384"]), Err(SignatureError::NoKey));
}

#[test]
fn keys_of_another_kind_or_size_are_skipped_with_their_reason() {
    let unusable = keys().unusable;
    let good = key("P-256").forms["public_key"].clone();
    for (name, reason) in [
        ("RSA 1024", KeyError::RsaModulus { bits: 1024 }),
        ("secp256k1", KeyError::Curve),
        ("Ed448", KeyError::Kind),
        ("RSA for PSS alone", KeyError::Kind),
    ] {
        let key = unusable.iter().find(|key| key.key == name).unwrap();
        for pem in key.forms.values() {
            let set = parse(&format!("{pem}{good}")).unwrap();
            let skipped = SkippedKey { position: 0, reason: UnusableKey::Material(reason.clone()) };
            assert_eq!(set.skipped(), [skipped], "{name}");
        }
    }
    let unknown =
        format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{good}");
    assert_eq!(parse(&unknown).unwrap().skipped()[0].reason, UnusableKey::Material(KeyError::Kind));
}

#[test]
fn a_private_key_is_refused_with_words_that_show_nothing_of_it() {
    let public = &key("P-256").forms["public_key"];
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
        let private = format!("-----BEGIN {label}-----\nc2VjcmV0\n-----END {label}-----\n");
        for text in
            [private.clone(), format!("{public}{private}"), json!({ "a": public, "b": private }).to_string()]
        {
            let error = parse(&text).unwrap_err();
            assert_eq!(error, JwksError::Pem(PemError::PrivateKey), "{label}");
            assert_eq!(error.to_string(), "a private key, which must stay with whoever signs");
            assert!(!format!("{error:?}").contains("c2VjcmV0"));
        }
    }
}

#[test]
fn a_document_of_no_form_is_refused() {
    let pem = &key("P-256").forms["public_key"];
    let torn = pem.trim_end().strip_suffix("KEY-----").unwrap();
    for text in [torn, &json!([pem]).to_string()] {
        assert_eq!(parse(text).unwrap_err(), JwksError::Pem(PemError::Form), "{text}");
    }
    for text in [
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        "<html>".to_owned(),
        r#"{"error":"not found"}"#.to_owned(),
        json!({ "a": pem, "b": 1 }).to_string(),
        json!({ "a": pem, "b": "" }).to_string(),
        json!({ "keys": pem, "x": [] }).to_string(),
        format!(r#"{{"a":{0},"a":{0}}}"#, json!(pem)),
        r#"{"keys":[],"keys":[]}"#.to_owned(),
    ] {
        assert_eq!(parse(&text).unwrap_err(), JwksError::NotJwks, "{text}");
    }
}

#[test]
fn documents_of_every_form_have_the_same_bounds() {
    let pem = &key("Ed25519").forms["public_key"];
    let too_many = MAX_KEYS + 1;
    let map: serde_json::Map<_, _> = (0..too_many).map(|kid| (kid.to_string(), json!(pem))).collect();
    for text in [pem.repeat(too_many), serde_json::Value::from(map).to_string()] {
        assert_eq!(parse(&text).unwrap_err(), JwksError::TooManyKeys { keys: too_many });
    }
    assert_eq!(parse(&pem.repeat(MAX_KEYS)).unwrap().len(), MAX_KEYS);
    let large = format!("{pem}{}", " ".repeat(MAX_JWKS_BYTES));
    for set in [parse(&large), JwkSet::parse_pem(large.as_bytes())] {
        assert_eq!(set.unwrap_err(), JwksError::TooLarge { bytes: large.len() });
    }
}

#[test]
fn pem_alone_is_taken_where_pem_is_asked_for() {
    let key = key("P-521");
    for pem in key.forms.values() {
        let set = JwkSet::parse_pem(pem.as_bytes()).unwrap();
        assert_eq!(verify(&set, &key.tokens["ES512"]), Ok(()));
    }
    assert_eq!(JwkSet::parse_pem(br#"{"keys":[]}"#).unwrap_err(), JwksError::Pem(PemError::Form));
}

/// A block with this label around these bytes.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

proptest! {
    #[test]
    fn garbage_in_a_block_is_skipped_without_a_panic(
        label in "(PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE|X)",
        der: Vec<u8>,
    ) {
        prop_assert!(parse(&pem(&label, &der)).is_err());
    }

    #[test]
    fn a_key_with_changed_bytes_is_read_or_skipped_without_a_panic(
        which: prop::sample::Index,
        form: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let keys = keys().usable;
        let key = which.get(&keys);
        let forms: Vec<_> = key.forms.values().collect();
        let text = form.get(&forms);
        let mut blocks = edge_authn::jose::pem::blocks(text).unwrap();
        let mut block = blocks.remove(0);
        for (place, byte) in changes {
            *place.get_mut(&mut block.der) = byte;
        }
        if let Some(cut) = cut {
            block.der.truncate(cut.index(block.der.len()));
        }
        let _ = parse(&pem(block.label, &block.der));
    }
}
