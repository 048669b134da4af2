//! Ed25519 keys (RFC 8037 section 2, RFC 8032 section 5.1): `EdDSA`, also under its newer name `Ed25519` (RFC 9864).
//!
//! Takes the `x` of a JWK, or the bytes of the key; gives a key that is not of small order. Verification is the strict one: with the
//! lenient equation, some keys accept one signature for many messages. `jwt-compact`'s own Ed25519 verifies leniently,
//! so its signature type is used here and its verification is not.

use ed25519_dalek::{Signature, VerifyingKey};
use jwt_compact::AlgorithmSignature as _;

use super::{Algorithm, KeyError, VerificationKey, bytes};
use crate::json::Object;

/// An Ed25519 public key.
#[derive(Debug)]
pub struct Ed25519Key(VerifyingKey);

impl Ed25519Key {
    /// The key in a JWK of `kty` `OKP` and `crv` `Ed25519`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Member`], [`KeyError::Point`].
    pub fn from_jwk(jwk: &Object<'_>) -> Result<Self, KeyError> {
        Self::from_bytes(&bytes(jwk, "x")?)
    }

    /// The key behind its 32 bytes (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    ///
    /// [`KeyError::Point`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let key = VerifyingKey::try_from(bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() { Err(KeyError::Point) } else { Ok(Self(key)) }
    }
}

impl VerificationKey for Ed25519Key {
    fn algorithms(&self) -> &'static [Algorithm] {
        &[Algorithm::EdDsa]
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        algorithm == Algorithm::EdDsa
            && Signature::try_from_slice(signature)
                .is_ok_and(|signature| self.0.verify_strict(signing_input, &signature).is_ok())
    }
}
