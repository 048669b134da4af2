//! Elliptic-curve keys (RFC 7518 sections 3.4 and 6.2): `ES256`, `ES384`, `ES512`.
//!
//! Takes the `x` and `y` of a JWK, or a point as SEC 1 writes it; gives a point that is on the curve. The curve decides
//! the algorithm: a P-256 key never verifies anything but `ES256`. `jwt-compact` has ECDSA for P-256 alone, so its
//! [`Algorithm`](jwt_compact::Algorithm) trait is implemented here for all three, for verification only.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;

use jwt_compact::AlgorithmSignature;
use p256::ecdsa::signature::{SignatureEncoding, Verifier};

use super::{Algorithm, KeyError, VerificationKey, bytes, verifies};
use crate::json::Object;

/// A curve of RFC 7518 section 6.2.1.1, with the one algorithm that goes with it.
pub trait Curve: 'static {
    /// ECDSA with this curve and its hash.
    const ALGORITHM: Algorithm;
    /// Bytes of a coordinate, of `r` and of `s`.
    const FIELD_BYTES: usize;
    /// `r` and `s` in full length, never DER; both in range is checked when one is made.
    type Signature: SignatureEncoding;
    /// A point on the curve, not the one at infinity.
    type Point: Verifier<Self::Signature>;

    /// The point behind its encoding (SEC 1 section 2.3.3).
    fn point(sec1: &[u8]) -> Option<Self::Point>;
}

/// NIST P-256.
#[derive(Debug)]
pub enum P256 {}

impl Curve for P256 {
    const ALGORITHM: Algorithm = Algorithm::Es256;
    const FIELD_BYTES: usize = 32;
    type Signature = p256::ecdsa::Signature;
    type Point = p256::ecdsa::VerifyingKey;

    fn point(sec1: &[u8]) -> Option<Self::Point> {
        Self::Point::from_sec1_bytes(sec1).ok()
    }
}

/// NIST P-384.
#[derive(Debug)]
pub enum P384 {}

impl Curve for P384 {
    const ALGORITHM: Algorithm = Algorithm::Es384;
    const FIELD_BYTES: usize = 48;
    type Signature = p384::ecdsa::Signature;
    type Point = p384::ecdsa::VerifyingKey;

    fn point(sec1: &[u8]) -> Option<Self::Point> {
        Self::Point::from_sec1_bytes(sec1).ok()
    }
}

/// NIST P-521, whose 521 bits need 66 bytes.
#[derive(Debug)]
pub enum P521 {}

impl Curve for P521 {
    const ALGORITHM: Algorithm = Algorithm::Es512;
    const FIELD_BYTES: usize = 66;
    type Signature = p521::ecdsa::Signature;
    type Point = p521::ecdsa::VerifyingKey;

    fn point(sec1: &[u8]) -> Option<Self::Point> {
        Self::Point::from_sec1_bytes(sec1).ok()
    }
}

/// A public point on a curve.
pub struct EcKey<C: Curve>(C::Point);

impl<C: Curve> EcKey<C> {
    /// The key in a JWK of `kty` `EC` and this curve.
    ///
    /// # Errors
    ///
    /// [`KeyError::Member`], [`KeyError::Point`].
    pub fn from_jwk(jwk: &Object<'_>) -> Result<Self, KeyError> {
        let x = Self::coordinate(bytes(jwk, "x")?)?;
        let y = Self::coordinate(bytes(jwk, "y")?)?;
        // SEC 1 section 2.3.3: the tag of an uncompressed point, then both coordinates.
        Self::from_sec1(&[&[0x04][..], &x, &y].concat())
    }

    /// The key behind an encoded point, compressed or not (RFC 5480 section 2.2).
    ///
    /// # Errors
    ///
    /// [`KeyError::Point`].
    pub fn from_sec1(point: &[u8]) -> Result<Self, KeyError> {
        C::point(point).map(Self).ok_or(KeyError::Point)
    }

    /// A coordinate in its full length. Some providers drop leading zero bytes against RFC 7518 section 6.2.1.2; what
    /// they mean is unmistakable, so the zeros are put back.
    fn coordinate(bytes: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let missing = C::FIELD_BYTES.checked_sub(bytes.len()).ok_or(KeyError::Point)?;
        Ok([vec![0; missing], bytes].concat())
    }
}

impl<C: Curve> VerificationKey for EcKey<C> {
    fn algorithms(&self) -> &'static [Algorithm] {
        const { &[C::ALGORITHM] }
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        algorithm == C::ALGORITHM && verifies(&Ecdsa::<C>(PhantomData), &self.0, signing_input, signature)
    }
}

/// Not derived, because not every curve's point shows itself.
impl<C: Curve> fmt::Debug for EcKey<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EcKey").field(&C::ALGORITHM).finish_non_exhaustive()
    }
}

/// ECDSA on a curve, as `jwt-compact` sees it.
struct Ecdsa<C>(PhantomData<C>);

/// `r` and `s` one after the other (RFC 7518 section 3.4).
struct EcdsaSignature<S>(S);

impl<C: Curve> jwt_compact::Algorithm for Ecdsa<C> {
    /// There is none: this program cannot sign.
    type SigningKey = Infallible;
    type VerifyingKey = C::Point;
    type Signature = EcdsaSignature<C::Signature>;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(C::ALGORITHM.name())
    }

    fn sign(&self, key: &Infallible, _message: &[u8]) -> Self::Signature {
        match *key {}
    }

    fn verify_signature(&self, signature: &Self::Signature, key: &C::Point, message: &[u8]) -> bool {
        key.verify(message, &signature.0).is_ok()
    }
}

impl<S: SignatureEncoding> AlgorithmSignature for EcdsaSignature<S> {
    /// `Repr` is the array of exactly these bytes.
    const LENGTH: Option<NonZeroUsize> = NonZeroUsize::new(size_of::<S::Repr>());

    fn try_from_slice(bytes: &[u8]) -> anyhow::Result<Self> {
        S::try_from(bytes).map(Self).map_err(|_| anyhow::Error::msg("r or s is out of range"))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.to_bytes().as_ref().to_vec())
    }
}
