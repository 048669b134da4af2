//! RSA keys (RFC 7518 sections 3.3 and 6.3): `RS256`.
//!
//! Takes the `n` and `e` of a JWK, gives a key of 2048 to 8192 bits. Sizes are checked here because neither `rsa` nor
//! `jwt-compact` has the floor that RFC 7518 asks for, and both stop at 4096 bits by default.

use jwt_compact::alg::Rsa;
use jwt_compact::{Algorithm as _, AlgorithmSignature as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPublicKey};

use super::{Algorithm, KeyError, VerificationKey, bytes};
use crate::json::Object;

const MIN_BITS: usize = 2048;
const MAX_BITS: usize = 8192;

/// An RSA public key.
#[derive(Debug)]
pub struct RsaKey(RsaPublicKey);

impl RsaKey {
    /// The key in a JWK of `kty` `RSA`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Member`], [`KeyError::RsaModulus`], [`KeyError::RsaExponent`].
    pub fn from_jwk(jwk: &Object<'_>) -> Result<Self, KeyError> {
        let modulus = bytes(jwk, "n")?;
        // Before any arithmetic on it: a megabyte of modulus must cost nothing.
        if modulus.len() > MAX_BITS / 8 + 1 {
            return Err(KeyError::RsaModulus { bits: modulus.len() * 8 });
        }
        let exponent = bytes(jwk, "e")?;
        if exponent.len() > 8 || exponent.last().is_none_or(|low| low % 2 == 0) {
            return Err(KeyError::RsaExponent);
        }
        let is_odd = modulus.last().is_some_and(|low| low % 2 == 1);
        let modulus = BigUint::from_bytes_be(&modulus);
        let bits = modulus.bits();
        if !is_odd || !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(KeyError::RsaModulus { bits });
        }
        let exponent = BigUint::from_bytes_be(&exponent);
        if exponent < BigUint::from(3_u32) {
            return Err(KeyError::RsaExponent);
        }
        RsaPublicKey::new_with_max_size(modulus, exponent, MAX_BITS)
            .map(Self)
            .map_err(|_| KeyError::RsaExponent)
    }
}

impl VerificationKey for RsaKey {
    fn algorithms(&self) -> &'static [Algorithm] {
        &[Algorithm::Rs256]
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        let scheme = match algorithm {
            Algorithm::Rs256 => Rsa::rs256(),
            _ => return false,
        };
        // A signature is exactly as long as the modulus (RFC 8017 section 8.2.2).
        if signature.len() != self.0.size() {
            return false;
        }
        type Signature = <Rsa as jwt_compact::Algorithm>::Signature;
        Signature::try_from_slice(signature)
            .is_ok_and(|signature| scheme.verify_signature(&signature, &self.0, signing_input))
    }
}
