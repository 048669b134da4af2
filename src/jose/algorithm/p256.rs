//! Elliptic-curve keys on P-256 (RFC 7518 sections 3.4 and 6.2): `ES256`.
//!
//! Takes the `crv`, `x` and `y` of a JWK, gives a point that is on the curve. The curve decides the algorithm: a P-256
//! key never verifies anything but `ES256`.

use jwt_compact::alg::Es256;
use jwt_compact::{Algorithm as _, AlgorithmSignature as _};
use p256::ecdsa::{Signature, VerifyingKey};

use super::{Algorithm, KeyError, VerificationKey, bytes};
use crate::json::Object;

/// Bytes of a coordinate, of `r` and of `s`.
const FIELD_BYTES: usize = 32;

/// A public point on P-256.
#[derive(Debug)]
pub struct P256Key(VerifyingKey);

impl P256Key {
    /// The key in a JWK of `kty` `EC` and `crv` `P-256`.
    ///
    /// # Errors
    ///
    /// [`KeyError::Member`], [`KeyError::Point`].
    pub fn from_jwk(jwk: &Object<'_>) -> Result<Self, KeyError> {
        let x = coordinate(bytes(jwk, "x")?)?;
        let y = coordinate(bytes(jwk, "y")?)?;
        // SEC 1 section 2.3.3: the tag of an uncompressed point, then both coordinates.
        let point = [&[0x04][..], &x, &y].concat();
        VerifyingKey::from_sec1_bytes(&point).map(Self).map_err(|_| KeyError::Point)
    }
}

/// A coordinate in its full length. Some providers drop leading zero bytes against RFC 7518 section 6.2.1.2; what they
/// mean is unmistakable, so the zeros are put back.
fn coordinate(bytes: Vec<u8>) -> Result<[u8; FIELD_BYTES], KeyError> {
    let missing = FIELD_BYTES.checked_sub(bytes.len()).ok_or(KeyError::Point)?;
    let mut full = [0; FIELD_BYTES];
    for (place, byte) in full.iter_mut().skip(missing).zip(bytes) {
        *place = byte;
    }
    Ok(full)
}

impl VerificationKey for P256Key {
    fn algorithms(&self) -> &'static [Algorithm] {
        &[Algorithm::Es256]
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        // `r` and `s` in full length, never DER (RFC 7518 section 3.4); both in range is checked by the parse.
        algorithm == Algorithm::Es256
            && signature.len() == 2 * FIELD_BYTES
            && Signature::try_from_slice(signature)
                .is_ok_and(|signature| Es256.verify_signature(&signature, &self.0, signing_input))
    }
}
