//! Shared secrets (RFC 7518 sections 3.2 and 6.4): `HS256`, `HS384`, `HS512`.
//!
//! Takes the `k` of a JWK, gives a key for every hash that is not longer than it. Who may bring such a key is decided by
//! the key set: only configuration, never a document that was fetched.

use jwt_compact::alg::{Hs256, Hs256Key, Hs384, Hs384Key, Hs512, Hs512Key};

use super::{Algorithm, KeyError, VerificationKey, bytes, verifies};
use crate::json::{Json, Object};

/// Bytes of a SHA-256 output.
const SHA256_BYTES: usize = 32;
/// Bytes of a SHA-384 output.
const SHA384_BYTES: usize = 48;
/// Bytes of a SHA-512 output.
const SHA512_BYTES: usize = 64;

/// A shared secret, as a key for each hash that it is long enough for.
#[derive(Debug)]
pub struct HmacKey {
    sha256: Hs256Key,
    sha384: Option<Hs384Key>,
    sha512: Option<Hs512Key>,
}

impl HmacKey {
    /// The key in a JWK of `kty` `oct`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Member`]; [`KeyError::ShortSecret`] when it is too short for its `alg`, or without one for all.
    pub fn from_jwk(jwk: &Object<'_>) -> Result<Self, KeyError> {
        let secret = bytes(jwk, "k")?;
        let needed = match jwk.get("alg").and_then(Json::as_str).and_then(Algorithm::from_name) {
            Some(Algorithm::Hs384) => SHA384_BYTES,
            Some(Algorithm::Hs512) => SHA512_BYTES,
            _ => SHA256_BYTES,
        };
        if secret.len() < needed {
            return Err(KeyError::ShortSecret { found: secret.len(), needed });
        }
        Ok(Self {
            sha256: Hs256Key::new(&secret),
            sha384: (secret.len() >= SHA384_BYTES).then(|| Hs384Key::new(&secret)),
            sha512: (secret.len() >= SHA512_BYTES).then(|| Hs512Key::new(&secret)),
        })
    }
}

impl VerificationKey for HmacKey {
    fn algorithms(&self) -> &'static [Algorithm] {
        match (&self.sha384, &self.sha512) {
            (_, Some(_)) => &[Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512],
            (Some(_), None) => &[Algorithm::Hs256, Algorithm::Hs384],
            (None, None) => &[Algorithm::Hs256],
        }
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        // The comparison behind these takes constant time.
        match (algorithm, &self.sha384, &self.sha512) {
            (Algorithm::Hs256, _, _) => verifies(&Hs256, &self.sha256, signing_input, signature),
            (Algorithm::Hs384, Some(key), _) => verifies(&Hs384, key, signing_input, signature),
            (Algorithm::Hs512, _, Some(key)) => verifies(&Hs512, key, signing_input, signature),
            _ => false,
        }
    }
}
