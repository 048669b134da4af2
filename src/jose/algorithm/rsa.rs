//! RSA keys (RFC 7518 sections 3.3, 3.5 and 6.3): `RS256` to `RS512` and `PS256` to `PS512`.
//!
//! Takes modulus and exponent, gives a key of 2048 to 8192 bits. One key verifies both paddings, as RFC 7518 has one
//! type for them; a JWK with `alg` is bound to that one. Sizes are checked here because neither `rsa` nor
//! `jwt-compact` has the floor that RFC 7518 asks for, and both stop at 4096 bits by default.

use jwt_compact::alg::Rsa;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPublicKey};

use super::{Algorithm, KeyError, VerificationKey, bytes, verifies};
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
        Self::new(&bytes(jwk, "n")?, &bytes(jwk, "e")?)
    }

    /// The key in a `RSAPublicKey` (RFC 8017 appendix A.1.1).
    ///
    /// # Errors
    ///
    /// [`KeyError::Encoding`], [`KeyError::RsaModulus`], [`KeyError::RsaExponent`].
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let key = pkcs1::RsaPublicKey::try_from(der).map_err(|_| KeyError::Encoding)?;
        Self::new(key.modulus.as_bytes(), key.public_exponent.as_bytes())
    }

    /// Both numbers with the highest byte first.
    fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        // Before any arithmetic on it: a megabyte of modulus must cost nothing.
        if modulus.len() > MAX_BITS / 8 + 1 {
            return Err(KeyError::RsaModulus { bits: modulus.len() * 8 });
        }
        if exponent.len() > 8 || exponent.last().is_none_or(|low| low % 2 == 0) {
            return Err(KeyError::RsaExponent);
        }
        let is_odd = modulus.last().is_some_and(|low| low % 2 == 1);
        let modulus = BigUint::from_bytes_be(modulus);
        let bits = modulus.bits();
        if !is_odd || !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(KeyError::RsaModulus { bits });
        }
        let exponent = BigUint::from_bytes_be(exponent);
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
        use Algorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        &[Ps256, Ps384, Ps512, Rs256, Rs384, Rs512]
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        // `jwt-compact` knows its RSA schemes by these very names, and no other.
        let Ok(scheme) = algorithm.name().parse::<Rsa>() else {
            return false;
        };
        // A signature is exactly as long as the modulus (RFC 8017 sections 8.1.2 and 8.2.2).
        signature.len() == self.0.size() && verifies(&scheme, &self.0, signing_input, signature)
    }
}
