//! Shared secrets (RFC 7518 sections 3.2 and 6.4): `HS256`.
//!
//! Takes the `k` of a JWK, gives a key of at least the hash's length. Who may bring such a key is decided by the key
//! set: only configuration, never a document that was fetched.

use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{Algorithm as _, AlgorithmSignature as _};

use super::{Algorithm, KeyError, VerificationKey, bytes};
use crate::json::Object;

/// Bytes of a SHA-256 output.
const SHA256_BYTES: usize = 32;

/// A shared secret.
#[derive(Debug)]
pub struct HmacKey(Hs256Key);

impl HmacKey {
    /// The key in a JWK of `kty` `oct`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Member`], [`KeyError::ShortSecret`].
    pub fn from_jwk(jwk: &Object<'_>) -> Result<Self, KeyError> {
        let secret = bytes(jwk, "k")?;
        if secret.len() < SHA256_BYTES {
            return Err(KeyError::ShortSecret { found: secret.len(), needed: SHA256_BYTES });
        }
        Ok(Self(Hs256Key::new(secret)))
    }
}

impl VerificationKey for HmacKey {
    fn algorithms(&self) -> &'static [Algorithm] {
        &[Algorithm::Hs256]
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        type Signature = <Hs256 as jwt_compact::Algorithm>::Signature;
        // The length is checked first because parsing a signature of another length panics; the comparison behind
        // takes constant time.
        algorithm == Algorithm::Hs256
            && signature.len() == SHA256_BYTES
            && Signature::try_from_slice(signature)
                .is_ok_and(|signature| Hs256.verify_signature(&signature, &self.0, signing_input))
    }
}
