//! What each algorithm accepts, and how a token could try to have its key used for another.

use std::sync::LazyLock;

use edge_authn::jose::algorithm::KeyError;
use edge_authn::jose::base64url;
use edge_authn::jose::jwk::{JwkSet, JwksError, KeyOrigin, SignatureError, SkippedKey, UnusableKey};
use serde_json::{Value, json};

use crate::key_forms::{keys, verify};
use crate::tokens::SigningKey;

/// RSA keys take long to find, so there are only two of them.
static RSA: LazyLock<[SigningKey; 2]> = LazyLock::new(|| [(); 2].map(|()| SigningKey::rs256("k")));

/// A fresh key for an algorithm, or always the same for RSA.
fn key_for(algorithm: &'static str) -> SigningKey {
    key_or_rsa(algorithm, &RSA[0])
}

/// Another key for the same algorithm.
fn stranger_for(algorithm: &'static str) -> SigningKey {
    key_or_rsa(algorithm, &RSA[1])
}

fn key_or_rsa(algorithm: &'static str, rsa: &SigningKey) -> SigningKey {
    match algorithm {
        "PS256" | "PS384" | "PS512" | "RS256" | "RS384" | "RS512" => rsa.clone().with_algorithm(algorithm),
        _ => SigningKey::generate(algorithm, "k"),
    }
}

/// The key set of this key alone, with these members replaced or (by `null`) left out.
fn set_with(key: &SigningKey, change: &Value) -> Result<JwkSet, JwksError> {
    let mut jwk = key.jwk();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    let document = json!({ "keys": [jwk] }).to_string();
    JwkSet::parse(document.as_bytes(), KeyOrigin::Configuration)
}

/// The same without `alg`, so that the key's type, curve and size alone decide.
fn free_set(key: &SigningKey) -> JwkSet {
    set_with(key, &json!({ "alg": null })).unwrap()
}

fn token(key: &SigningKey) -> String {
    key.sign(&json!({ "sub": "alice" }))
}

/// A token of `key` whose header claims another algorithm.
fn token_claiming(key: &SigningKey, algorithm: &str) -> String {
    key.sign_with_header(&json!({ "alg": algorithm }), &json!({ "sub": "alice" }))
}

/// The token with its signature changed.
fn resigned(token: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = base64url::decode(signature.as_bytes()).unwrap();
    change(&mut signature);
    format!("{input}.{}", base64url::encode(&signature))
}

/// Why the only key of a set is not used.
fn refusal(set: Result<JwkSet, JwksError>) -> UnusableKey {
    let Err(JwksError::NoUsableKey { skipped }) = set else {
        return UnusableKey::Type;
    };
    let [SkippedKey { reason, .. }] = &skipped[..] else {
        return UnusableKey::Type;
    };
    reason.clone()
}

#[test]
fn every_algorithm_verifies_its_own_tokens_and_no_changed_ones() {
    for algorithm in SigningKey::ALGORITHMS {
        let key = key_for(algorithm);
        for set in [set_with(&key, &json!({})).unwrap(), free_set(&key)] {
            let token = token(&key);
            assert_eq!(verify(&set, &token), Ok(()), "{algorithm}");

            let (header, rest) = token.split_once('.').unwrap();
            let (_, signature) = rest.split_once('.').unwrap();
            let other_payload =
                format!("{header}.{}.{signature}", base64url::encode(br#"{"sub":"mallory"}"#));
            assert_eq!(verify(&set, &other_payload), Err(SignatureError::Mismatch), "{algorithm}");
            for place in [0, 1, 2, 3] {
                let changed = resigned(&token, |signature| {
                    let place = place * (signature.len() - 1) / 3;
                    signature[place] ^= 1;
                });
                assert_eq!(verify(&set, &changed), Err(SignatureError::Mismatch), "{algorithm}, {place}");
            }
            let stranger = stranger_for(algorithm);
            assert_eq!(verify(&set, &self::token(&stranger)), Err(SignatureError::Mismatch), "{algorithm}");
        }
    }
}

#[test]
fn a_signature_of_any_other_length_is_refused() {
    for algorithm in SigningKey::ALGORITHMS {
        let key = key_for(algorithm);
        let set = free_set(&key);
        let token = token(&key);
        let changes: [fn(&mut Vec<u8>); 7] = [
            Vec::clear,
            |signature| signature.truncate(1),
            |signature| signature.truncate(signature.len() - 1),
            |signature| signature.push(0),
            |signature| signature.insert(0, 0),
            |signature| signature.extend(signature.clone()),
            |signature| signature.fill(0),
        ];
        for (index, change) in changes.iter().enumerate() {
            let changed = resigned(&token, change);
            assert_eq!(verify(&set, &changed), Err(SignatureError::Mismatch), "{algorithm}, change {index}");
        }
    }
}

#[test]
fn ecdsa_signatures_have_64_96_or_132_bytes() {
    for (algorithm, bytes) in [("ES256", 64), ("ES384", 96), ("ES512", 132)] {
        let token = token(&key_for(algorithm));
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(base64url::decode(signature.as_bytes()).unwrap().len(), bytes, "{algorithm}");
        // Each half padded by a zero byte is the same numbers in another length.
        let key = key_for(algorithm);
        let padded = resigned(&self::token(&key), |signature| {
            signature.insert(bytes / 2, 0);
            signature.insert(0, 0);
        });
        assert_eq!(verify(&free_set(&key), &padded), Err(SignatureError::Mismatch), "{algorithm}");
    }
}

#[test]
fn a_key_without_alg_is_held_to_its_type_curve_and_size() {
    let rsa = ["PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];
    for (algorithm, verified) in [
        ("EdDSA", &["EdDSA", "Ed25519"][..]),
        ("ES256", &["ES256"]),
        ("ES384", &["ES384"]),
        ("ES512", &["ES512"]),
        ("HS256", &["HS256"]),
        ("HS384", &["HS256", "HS384"]),
        ("HS512", &["HS256", "HS384", "HS512"]),
        ("RS256", &rsa),
    ] {
        let key = key_for(algorithm);
        let set = free_set(&key);
        for claimed in SigningKey::ALGORITHMS.into_iter().chain(["Ed25519", "ES256K", "none", "Ed448", ""]) {
            // Another algorithm is either one that this key could have, and the signature is wrong for it, or is none
            // of its algorithms at all.
            let expected = match verified.contains(&claimed) {
                true if key.algorithm() == claimed || claimed == "Ed25519" => Ok(()),
                true => Err(SignatureError::Mismatch),
                false => Err(SignatureError::NoKey),
            };
            assert_eq!(verify(&set, &token_claiming(&key, claimed)), expected, "{algorithm} as {claimed}");
        }
    }
}

#[test]
fn an_alg_of_the_jwk_binds_it_to_that_alone() {
    let mut key = key_for("RS256");
    let set = set_with(&key, &json!({ "alg": "PS384" })).unwrap();
    for algorithm in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
        key = key.with_algorithm(algorithm);
        let expected = if algorithm == "PS384" { Ok(()) } else { Err(SignatureError::NoKey) };
        assert_eq!(verify(&set, &token(&key)), expected, "{algorithm}");
    }
    let key = key_for("HS512").with_algorithm("HS256");
    assert_eq!(verify(&set_with(&key, &json!({})).unwrap(), &token(&key)), Ok(()));
    assert_eq!(
        verify(&set_with(&key, &json!({ "alg": "HS512" })).unwrap(), &token(&key)),
        Err(SignatureError::NoKey)
    );
}

#[test]
fn a_jwk_whose_alg_is_not_one_of_its_type_and_curve_is_not_used() {
    for (algorithm, alg) in [
        ("EdDSA", "ES256"),
        ("EdDSA", "Ed448"),
        ("ES256", "ES384"),
        ("ES256", "ES256K"),
        ("ES384", "ES256"),
        ("ES512", "ES521"),
        ("HS256", "RS256"),
        ("RS256", "HS256"),
        ("RS256", "RSA-OAEP"),
        ("RS256", "rs256"),
        ("RS256", ""),
    ] {
        let key = key_for(algorithm);
        let refused = refusal(set_with(&key, &json!({ "alg": alg })));
        assert_eq!(refused, UnusableKey::Algorithm, "{algorithm} as {alg}");
    }
}

#[test]
fn eddsa_and_ed25519_name_one_algorithm() {
    let key = key_for("EdDSA");
    for alg in ["EdDSA", "Ed25519"] {
        let set = set_with(&key, &json!({ "alg": alg })).unwrap();
        for claimed in ["EdDSA", "Ed25519"] {
            assert_eq!(verify(&set, &token_claiming(&key, claimed)), Ok(()), "{alg}, {claimed}");
        }
        assert_eq!(verify(&set, &token_claiming(&key, "ed25519")), Err(SignatureError::NoKey));
    }
}

#[test]
fn a_curve_and_a_point_that_do_not_belong_together_are_not_used() {
    for algorithm in ["ES256", "ES384", "ES512"] {
        let key = key_for(algorithm);
        for curve in ["P-256", "P-384", "P-521"] {
            let set = set_with(&key, &json!({ "alg": null, "crv": curve }));
            if key.jwk()["crv"] == curve {
                assert!(set.is_ok());
            } else {
                assert_eq!(refusal(set), UnusableKey::Material(KeyError::Point), "{algorithm} on {curve}");
            }
        }
        for curve in ["secp256k1", "Ed25519", "p-256", ""] {
            let set = set_with(&key, &json!({ "crv": curve }));
            assert_eq!(refusal(set), UnusableKey::Material(KeyError::Curve), "{algorithm} on {curve}");
        }
        let y = key.jwk()["x"].clone();
        let off_the_curve = set_with(&key, &json!({ "y": y }));
        assert_eq!(refusal(off_the_curve), UnusableKey::Material(KeyError::Point), "{algorithm}");
    }
}

#[test]
fn coordinates_without_their_leading_zeros_are_those_with_them() {
    // One key in 256 has such a coordinate; in P-521 every second one begins with seven zero bits and a byte of 0 or 1.
    for algorithm in ["ES256", "ES384", "ES512"] {
        let (key, x) = std::iter::repeat_with(|| key_for(algorithm))
            .map(|key| {
                let x = base64url::decode(key.jwk()["x"].as_str().unwrap().as_bytes()).unwrap();
                (key, x)
            })
            .find(|(_, x)| x[0] == 0)
            .unwrap();
        let short = base64url::encode(x.strip_prefix(&[0]).unwrap());
        let set = set_with(&key, &json!({ "x": short })).unwrap();
        assert_eq!(verify(&set, &token(&key)), Ok(()), "{algorithm}");
        let long = base64url::encode(&[&[0], &x[..]].concat());
        assert_eq!(refusal(set_with(&key, &json!({ "x": long }))), UnusableKey::Material(KeyError::Point));
    }
}

#[test]
fn a_public_key_is_never_a_shared_secret() {
    let keys = keys();
    for key in &keys.usable {
        for pem in key.forms.values() {
            let set = JwkSet::parse(pem.as_bytes(), KeyOrigin::Configuration).unwrap();
            for algorithm in ["HS256", "HS384", "HS512"] {
                for secret in [pem.as_bytes(), pem.trim_end().as_bytes()] {
                    let forged = token(&SigningKey::hmac(algorithm, "k", secret));
                    assert_eq!(
                        verify(&set, &forged),
                        Err(SignatureError::UnknownKeyId),
                        "{algorithm}, {}",
                        key.key
                    );
                }
            }
        }
    }
}

#[test]
fn a_secret_is_at_least_as_long_as_the_hash_it_is_used_with() {
    for (algorithm, needed) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        let key = SigningKey::hmac(algorithm, "k", &vec![7; needed - 1]);
        let short = UnusableKey::Material(KeyError::ShortSecret { found: needed - 1, needed });
        assert_eq!(refusal(set_with(&key, &json!({}))), short, "{algorithm}");
        let key = SigningKey::hmac(algorithm, "k", &vec![7; needed]);
        assert_eq!(verify(&set_with(&key, &json!({})).unwrap(), &token(&key)), Ok(()), "{algorithm}");
    }
    for length in [0, 1, 31] {
        let key = SigningKey::hmac("HS256", "k", &vec![7; length]);
        let short = UnusableKey::Material(KeyError::ShortSecret { found: length, needed: 32 });
        assert_eq!(refusal(set_with(&key, &json!({ "alg": null }))), short);
    }
}

#[test]
fn secrets_count_only_when_they_are_configured() {
    let key = key_for("HS512");
    let document = json!({ "keys": [key.jwk()] }).to_string();
    let fetched = JwkSet::parse(document.as_bytes(), KeyOrigin::Fetched);
    assert_eq!(refusal(fetched), UnusableKey::PublishedSecret);
}

#[test]
fn only_algorithms_that_are_allowed_are_tried() {
    use edge_authn::jose::algorithm::Algorithm;
    use edge_authn::jose::token::CompactToken;

    let key = key_for("ES384");
    let token = token(&key);
    let token = CompactToken::decode(&token).unwrap();
    let header = token.header().unwrap();
    let set = free_set(&key);
    assert_eq!(set.verify(&header, &token, &[Algorithm::Es256, Algorithm::Es384]), Ok(()));
    assert_eq!(set.verify(&header, &token, &[Algorithm::Es256]), Err(SignatureError::NoKey));
    assert_eq!(set.verify(&header, &token, &[]), Err(SignatureError::NoKey));
}
