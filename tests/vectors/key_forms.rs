//! Keys and signatures that OpenSSL made, in every form in which a key may be given.
//!
//! Shared by the native suite and the one on 32-bit WebAssembly. All certificates have run out on purpose: their period
//! is not looked at.

use std::collections::BTreeMap;

use edge_authn::jose::algorithm::Algorithm;
use edge_authn::jose::jwk::{JwkSet, KeyOrigin, SignatureError};
use edge_authn::jose::token::{CompactToken, TokenError};
use serde::Deserialize;
use serde_json::json;

/// How many verifications must succeed: 5 RSA keys in 4 forms with 6 algorithms, 3 curves in 4 forms, Ed25519 in 3, all
/// of it with a `kid` and without.
pub(crate) const TO_PASS: usize = 2 * (5 * 4 * 6 + 3 * 4 + 3);

/// What OpenSSL made.
#[derive(Deserialize)]
pub(crate) struct Keys {
    /// Keys that count, with a token for each algorithm.
    pub(crate) usable: Vec<Key>,
    /// Keys of a kind or size that does not.
    pub(crate) unusable: Vec<Key>,
}

/// A key.
#[derive(Deserialize)]
pub(crate) struct Key {
    /// Its kind and size.
    pub(crate) key: String,
    /// Its public half as PEM, by the name of the form.
    pub(crate) forms: BTreeMap<String, String>,
    /// Tokens by their `alg`.
    #[serde(default)]
    pub(crate) tokens: BTreeMap<String, String>,
}

/// The keys.
pub(crate) fn keys() -> Keys {
    serde_json::from_str(include_str!("openssl_keys.json")).expect("the keys are JSON")
}

/// Whether a key of `set` made the signature of `token`.
pub(crate) fn verify(set: &JwkSet, token: &str) -> Result<(), SignatureError> {
    let token = CompactToken::decode(token).expect("a token of the right form");
    let header = match token.header() {
        // Refused before any key is looked at.
        Err(TokenError::UnsupportedAlgorithm) => return Err(SignatureError::NoKey),
        header => header.expect("a header of the right form"),
    };
    set.verify(&header, &token, &Algorithm::ALL)
}

/// Holds every form of every key against every token: only the tokens of that key may pass. Returns the number of
/// tokens that passed.
pub(crate) fn run() -> usize {
    let keys = keys();
    let mut passed = 0;
    for key in &keys.usable {
        for (form, pem) in &key.forms {
            let by_kid = json!({ "some-kid": pem }).to_string();
            for document in [pem, &by_kid] {
                let set = JwkSet::parse(document.as_bytes(), KeyOrigin::Fetched).expect(form);
                for signer in &keys.usable {
                    for (algorithm, token) in &signer.tokens {
                        let verdict = verify(&set, token);
                        assert_eq!(
                            verdict.is_ok(),
                            signer.key == key.key,
                            "{form} of {}: {algorithm}",
                            key.key
                        );
                        passed += usize::from(verdict.is_ok());
                    }
                }
            }
        }
    }
    for key in &keys.unusable {
        for (form, pem) in &key.forms {
            let set = JwkSet::parse(pem.as_bytes(), KeyOrigin::Configuration);
            assert!(set.is_err(), "{form} of {}", key.key);
        }
    }
    passed
}
