//! Elliptic-curve keys (RFC 7518 sections 3.4 and 6.2): `ES256`, `ES384`, `ES512`.
//!
//! Takes the `x` and `y` of a JWK, or a point as SEC 1 writes it; gives a point that is on the curve. The curve decides
//! the algorithm: a P-256 key never verifies anything but `ES256`. `jwt-compact` has ECDSA for P-256 alone, so its
//! [`Algorithm`](jwt_compact::Algorithm) trait is implemented here for all three, for verification only. The curves are
//! those of `p256`, `p384` and `p521`; what depends on the key alone is computed once for it ([`Multiples`]), which
//! makes a verification about three times as fast as theirs. Deliberately takes no care of constant time: a public key,
//! a signature and a message are no secrets.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::OnceLock;

use jwt_compact::AlgorithmSignature;
use p256::elliptic_curve::bigint::Reduce as _;
use p256::elliptic_curve::ff::{Field as _, PrimeField as _};
use p256::elliptic_curve::group::{CurveAffine as _, Group as _};
use p256::elliptic_curve::ops::Invert as _;
use p256::elliptic_curve::point::AffineCoordinates as _;
use p256::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use p256::elliptic_curve::{self, CurveArithmetic, CurveGroup as _, FieldBytes};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::{Algorithm, KeyError, SignatureVerifier, VerificationKey, bytes, verifies};
use crate::jose::der;
use crate::json::Object;

/// How many multiples of a point are summed in one step: see [`Multiples`].
const TEETH: usize = 7;

/// A curve of RFC 7518 section 6.2.1.1, with the one algorithm that goes with it.
pub trait Curve:
    CurveArithmetic<AffinePoint: FromSec1Point<Self> + ToSec1Point<Self>>
    + elliptic_curve::Curve<FieldBytesSize: ModulusSize>
{
    /// ECDSA with this curve and its hash.
    const ALGORITHM: Algorithm;
    /// Bytes of a coordinate, of `r` and of `s`; never less than those of a hash.
    const FIELD_BYTES: usize;
    /// Its name in a `SubjectPublicKeyInfo` (RFC 5480 section 2.1.1.1): the encoding of its object identifier.
    const IDENTIFIER: &'static [u8];
    /// The hash that is signed.
    type Hash: Digest;

    /// Where the multiples of its generator are kept, which are the same for all keys.
    fn generator() -> &'static OnceLock<Multiples<Self>>;
}

/// NIST P-256.
pub type P256 = p256::NistP256;

impl Curve for P256 {
    const ALGORITHM: Algorithm = Algorithm::Es256;
    const FIELD_BYTES: usize = 32;
    const IDENTIFIER: &'static [u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    type Hash = Sha256;

    fn generator() -> &'static OnceLock<Multiples<Self>> {
        static MULTIPLES: OnceLock<Multiples<P256>> = OnceLock::new();
        &MULTIPLES
    }
}

/// NIST P-384.
pub type P384 = p384::NistP384;

impl Curve for P384 {
    const ALGORITHM: Algorithm = Algorithm::Es384;
    const FIELD_BYTES: usize = 48;
    const IDENTIFIER: &'static [u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    type Hash = Sha384;

    fn generator() -> &'static OnceLock<Multiples<Self>> {
        static MULTIPLES: OnceLock<Multiples<P384>> = OnceLock::new();
        &MULTIPLES
    }
}

/// NIST P-521, whose 521 bits need 66 bytes.
pub type P521 = p521::NistP521;

impl Curve for P521 {
    const ALGORITHM: Algorithm = Algorithm::Es512;
    const FIELD_BYTES: usize = 66;
    const IDENTIFIER: &'static [u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
    type Hash = Sha512;

    fn generator() -> &'static OnceLock<Multiples<Self>> {
        static MULTIPLES: OnceLock<Multiples<P521>> = OnceLock::new();
        &MULTIPLES
    }
}

/// A public point on a curve.
pub struct EcKey<C: Curve> {
    point: C::ProjectivePoint,
    /// The key as others read it (RFC 5480 section 2).
    info: Vec<u8>,
    /// Made when the first signature is verified here.
    multiples: OnceLock<Multiples<C>>,
}

/// Multiples of a point, so that another multiple of it takes a seventh of the steps (the fixed-base comb of Lim and Lee).
///
/// A factor is read in so many rows as there are teeth, one below the other. Each column of bits then stands for the sum
/// of the multiples of some rows, and all those sums are here, by the column as a number, from 1.
pub struct Multiples<C: Curve>(Vec<C::AffinePoint>);

impl<C: Curve> Multiples<C> {
    /// Bits of a row.
    const COLUMNS: usize = (8 * C::FIELD_BYTES).div_ceil(TEETH);

    fn of(point: C::ProjectivePoint) -> Self {
        let mut sums = Vec::with_capacity(1 << TEETH);
        let mut row = point;
        for tooth in 0..TEETH {
            if tooth > 0 {
                (0..Self::COLUMNS).for_each(|_| row = row.double());
            }
            let with_row: Vec<_> = sums.iter().map(|sum| row + sum).collect();
            sums.push(row);
            sums.extend(with_row);
        }
        let mut affine = vec![C::AffinePoint::default(); sums.len()];
        C::ProjectivePoint::batch_normalize(&sums, &mut affine);
        Self(affine)
    }

    /// The sum for a column of this factor, whose highest byte comes first; nothing for one without a bit.
    fn sum(&self, factor: &[u8], column: usize) -> Option<&C::AffinePoint> {
        let is_set = |bit: usize| {
            let byte = factor.iter().rev().nth(bit / 8).copied().unwrap_or_default();
            byte >> (bit % 8) & 1 == 1
        };
        let rows = (0..TEETH).filter(|row| is_set(row * Self::COLUMNS + column));
        let number = rows.fold(0_usize, |number, row| number | 1 << row);
        self.0.get(number.checked_sub(1)?)
    }
}

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
        // Neither the point at infinity nor forms that only some know.
        if !matches!(point.first(), Some(0x02..=0x04)) {
            return Err(KeyError::Point);
        }
        let point = C::AffinePoint::from_sec1_bytes(point).map_err(|_| KeyError::Point)?;
        let encoded = point.to_sec1_point(false);
        let info = der::public_key_info(&[der::EC_PUBLIC_KEY, C::IDENTIFIER], encoded.as_ref());
        Ok(Self { point: point.into(), info, multiples: OnceLock::new() })
    }

    /// A coordinate in its full length. Some providers drop leading zero bytes against RFC 7518 section 6.2.1.2; what
    /// they mean is unmistakable, so the zeros are put back.
    fn coordinate(bytes: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let missing = C::FIELD_BYTES.checked_sub(bytes.len()).ok_or(KeyError::Point)?;
        Ok([vec![0; missing], bytes].concat())
    }

    /// Whether `signature` is this key's over `message` (FIPS 186-5 section 6.4.2).
    fn has_signed(&self, message: &[u8], signature: &EcdsaSignature<C>) -> bool {
        let EcdsaSignature { r, s } = signature;
        let Some(inverse) = s.invert_vartime().into_option() else { return false };
        let hash = number::<C>(&C::Hash::digest(message));
        let factors = [C::Scalar::reduce(&hash) * inverse, *r * inverse].map(Into::<FieldBytes<C>>::into);
        let [of_generator, of_key] = &factors;
        let generator = C::generator().get_or_init(|| Multiples::of(C::ProjectivePoint::generator()));
        let key = self.multiples.get_or_init(|| Multiples::of(self.point));
        let mut sum = C::ProjectivePoint::identity();
        for column in (0..Multiples::<C>::COLUMNS).rev() {
            sum = sum.double();
            for summand in
                [generator.sum(of_generator, column), key.sum(of_key, column)].into_iter().flatten()
            {
                sum += summand;
            }
        }
        let sum = sum.to_affine();
        !bool::from(sum.is_identity()) && C::Scalar::reduce(&sum.x()) == *r
    }
}

/// Bytes as a number of full length; those that are too many are left out at the end.
fn number<C: Curve>(bytes: &[u8]) -> FieldBytes<C> {
    let mut number = FieldBytes::<C>::default();
    let missing = number.len().saturating_sub(bytes.len());
    number.iter_mut().skip(missing).zip(bytes).for_each(|(place, byte)| *place = *byte);
    number
}

impl<C: Curve> VerificationKey for EcKey<C> {
    fn algorithms(&self) -> &'static [Algorithm] {
        const { &[C::ALGORITHM] }
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        algorithm == C::ALGORITHM && verifies(&Ecdsa::<C>(PhantomData), self, signing_input, signature)
    }

    fn verify_by(
        &self,
        other: &dyn SignatureVerifier,
        algorithm: Algorithm,
        signing_input: &[u8],
        signature: &[u8],
    ) -> bool {
        let numbers = signature.split_at_checked(C::FIELD_BYTES).filter(|_| algorithm == C::ALGORITHM);
        // Both in range, which nobody else is asked to hold them to.
        let Some((r, s)) = numbers.filter(|_| EcdsaSignature::<C>::try_from_slice(signature).is_ok()) else {
            return false;
        };
        let signature_info = der::sequence(&[&der::unsigned(r), &der::unsigned(s)]);
        other
            .verifies(algorithm, &self.info, signing_input, &signature_info)
            .unwrap_or_else(|| self.verify(algorithm, signing_input, signature))
    }
}

/// Not derived, because a point is shown by its coordinates, which say nothing.
impl<C: Curve> fmt::Debug for EcKey<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EcKey").field(&C::ALGORITHM).finish_non_exhaustive()
    }
}

/// ECDSA on a curve, as `jwt-compact` sees it.
struct Ecdsa<C>(PhantomData<C>);

/// `r` and `s`, both in range.
struct EcdsaSignature<C: Curve> {
    r: C::Scalar,
    s: C::Scalar,
}

impl<C: Curve> jwt_compact::Algorithm for Ecdsa<C> {
    /// There is none: this program cannot sign.
    type SigningKey = Infallible;
    type VerifyingKey = EcKey<C>;
    type Signature = EcdsaSignature<C>;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(C::ALGORITHM.name())
    }

    fn sign(&self, key: &Infallible, _message: &[u8]) -> Self::Signature {
        match *key {}
    }

    fn verify_signature(&self, signature: &Self::Signature, key: &EcKey<C>, message: &[u8]) -> bool {
        key.has_signed(message, signature)
    }
}

impl<C: Curve> AlgorithmSignature for EcdsaSignature<C> {
    /// `r` and `s` one after the other in full length, never DER (RFC 7518 section 3.4).
    const LENGTH: Option<NonZeroUsize> = NonZeroUsize::new(2 * C::FIELD_BYTES);

    fn try_from_slice(bytes: &[u8]) -> anyhow::Result<Self> {
        let in_range = |bytes: &[u8]| {
            let number = C::Scalar::from_repr(number::<C>(bytes)).into_option();
            number.filter(|_| bytes.len() == C::FIELD_BYTES).filter(|number| !bool::from(number.is_zero()))
        };
        let numbers = bytes.split_at_checked(C::FIELD_BYTES);
        let numbers = numbers.and_then(|(r, s)| Some(Self { r: in_range(r)?, s: in_range(s)? }));
        numbers.ok_or_else(|| anyhow::Error::msg("r or s is out of range"))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        let [r, s] = [self.r, self.s].map(Into::<FieldBytes<C>>::into);
        Cow::Owned([r.as_slice(), s.as_slice()].concat())
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use std::cell::Cell;

    use p256::ecdsa::signature::{Signer as _, Verifier as _};

    use super::*;

    /// What can be asked of a curve in a test of all of them.
    macro_rules! of_each_curve {
        ($test:ident) => {
            $test!(p256, P256);
            $test!(p384, P384);
            $test!(p521, P521);
        };
    }

    /// Secrets from both ends, whose points are the generator, its double and their negatives, and one between.
    fn secrets<C: Curve>() -> Vec<FieldBytes<C>> {
        let one = C::Scalar::ONE;
        let middle = C::Scalar::reduce(&number::<C>(&[0x5a; 31]));
        [one, one.double(), -one, -one.double(), middle].map(Into::into).to_vec()
    }

    #[test]
    fn signatures_of_another_library_verify_and_nothing_else_does() {
        macro_rules! holds {
            ($curve:ident, $type:ident) => {
                for secret in secrets::<$type>() {
                    let theirs = $curve::ecdsa::SigningKey::from_bytes(&secret).unwrap();
                    let point = theirs.verifying_key().to_sec1_point(false);
                    let ours = EcKey::<$type>::from_sec1(point.as_bytes()).unwrap();
                    for message in [&b""[..], b"m", &[0xff; 300]] {
                        let signature: $curve::ecdsa::Signature = theirs.sign(message);
                        let signature = signature.to_bytes().to_vec();
                        let verify = |message: &[u8], signature: &[u8]| {
                            ours.verify($type::ALGORITHM, message, signature)
                        };
                        assert!(verify(message, &signature), "{secret:?}");
                        assert!(!verify(b"another", &signature), "{secret:?}");
                        for position in 0..signature.len() {
                            let mut broken = signature.clone();
                            broken[position] ^= 1;
                            assert!(!verify(message, &broken), "{secret:?} {position}");
                        }
                        for other in Algorithm::ALL.iter().filter(|other| **other != $type::ALGORITHM) {
                            assert!(!ours.verify(*other, message, &signature), "{other:?}");
                        }
                    }
                }
            };
        }
        of_each_curve!(holds);
    }

    #[test]
    fn a_sum_of_multiples_is_what_the_curve_makes_of_it() {
        macro_rules! holds {
            ($curve:ident, $type:ident) => {{
                let generator = $curve::ProjectivePoint::GENERATOR;
                let multiples = Multiples::<$type>::of(generator);
                for factor in secrets::<$type>() {
                    let mut sum = $curve::ProjectivePoint::IDENTITY;
                    for column in (0..Multiples::<$type>::COLUMNS).rev() {
                        sum = sum.double();
                        if let Some(summand) = multiples.sum(&factor, column) {
                            sum += summand;
                        }
                    }
                    let factor = <$type as CurveArithmetic>::Scalar::from_repr(factor).unwrap();
                    assert_eq!(sum, generator * factor);
                }
            }};
        }
        of_each_curve!(holds);
    }

    #[derive(Debug)]
    struct Asked(Cell<usize>);

    impl SignatureVerifier for Asked {
        fn verifies(&self, _: Algorithm, _: &[u8], _: &[u8], _: &[u8]) -> Option<bool> {
            self.0.set(self.0.get() + 1);
            Some(true)
        }
    }

    #[test]
    fn nobody_is_asked_about_numbers_that_are_out_of_range() {
        macro_rules! holds {
            ($curve:ident, $type:ident) => {{
                let key =
                    EcKey::<$type>::from_sec1($curve::AffinePoint::GENERATOR.to_sec1_point(true).as_bytes());
                let key = key.unwrap();
                let one: Vec<u8> = <FieldBytes<$type>>::from($curve::Scalar::ONE).to_vec();
                let last: Vec<u8> = <FieldBytes<$type>>::from(-$curve::Scalar::ONE).to_vec();
                let mut order = last.clone();
                *order.last_mut().unwrap() += 1;
                let zero = vec![0; one.len()];
                let asked = Asked(Cell::new(0));
                let verify = |signature: &[u8]| key.verify_by(&asked, $type::ALGORITHM, b"m", signature);
                for [r, s] in [[&one, &zero], [&zero, &one], [&order, &one], [&one, &order]] {
                    assert!(!verify(&[r.as_slice(), s].concat()));
                }
                let good = [one.as_slice(), &last].concat();
                for odd in [&good[1..], &[good.as_slice(), &[0]].concat(), &[]] {
                    assert!(!verify(odd));
                }
                assert_eq!(asked.0.get(), 0);
                assert!(verify(&good));
                assert_eq!(asked.0.get(), 1);
            }};
        }
        of_each_curve!(holds);
    }

    #[test]
    fn sums_that_meet_themselves_end_nowhere_or_beyond_the_order_are_told_as_another_library_tells_them() {
        macro_rules! holds {
            ($curve:ident, $type:ident) => {{
                let generator = $curve::ProjectivePoint::GENERATOR;
                let message = b"a message";
                let hash = $curve::Scalar::reduce(&number::<$type>(&<$type as Curve>::Hash::digest(message)));
                let scalar = |number: u64| $curve::Scalar::from(number);
                let inverse = |scalar: $curve::Scalar| scalar.invert_vartime().into_option().unwrap();
                let told = |key: $curve::ProjectivePoint, r: $curve::Scalar, s: $curve::Scalar| {
                    let point = key.to_affine().to_sec1_point(false);
                    let signature = [r, s].map(|number| <FieldBytes<$type>>::from(number).to_vec()).concat();
                    let ours = EcKey::<$type>::from_sec1(point.as_bytes()).unwrap();
                    let ours = ours.verify($type::ALGORITHM, message, &signature);
                    let theirs = $curve::ecdsa::VerifyingKey::from_sec1_bytes(point.as_bytes()).unwrap();
                    let signature = $curve::ecdsa::Signature::from_slice(&signature).unwrap();
                    assert_eq!(ours, theirs.verify(message, &signature).is_ok());
                    ours
                };
                // The summands are the same, or each other's negatives, or differ by the generator.
                for nonce in [1, 2, 9] {
                    let r = $curve::Scalar::reduce(&(generator * scalar(nonce)).to_affine().x());
                    for secret in [hash * inverse(r), (hash + $curve::Scalar::ONE) * inverse(r)] {
                        let s = inverse(scalar(nonce)) * (hash + r * secret);
                        assert!(told(generator * secret, r, s));
                        assert!(told(generator * secret, r, -s), "a number is as good as its negative");
                    }
                    let secret = -hash * inverse(r);
                    for s in [scalar(1), scalar(nonce), -scalar(1)] {
                        assert!(!told(generator * secret, r, s));
                    }
                }
                // The sum has a coordinate beyond the order, and `r` is what is left of it.
                let mut coordinate = <FieldBytes<$type>>::from(-$curve::Scalar::ONE).to_vec();
                let (r, sum) = (0..100_u64)
                    .find_map(|r| {
                        *coordinate.last_mut().unwrap() += 1;
                        let point = [&[2], coordinate.as_slice()].concat();
                        let point = $curve::AffinePoint::from_sec1_bytes(&point).ok().filter(|_| r > 0)?;
                        Some((scalar(r), $curve::ProjectivePoint::from(point)))
                    })
                    .unwrap();
                for s in [scalar(1), scalar(3), -scalar(2)] {
                    let key = (sum - generator * (hash * inverse(s))) * (s * inverse(r));
                    assert!(told(key, r, s));
                    assert!(!told(key, r + $curve::Scalar::ONE, s));
                }
                // Numbers and keys from both ends.
                let ends = [scalar(1), scalar(2), -scalar(1), -scalar(2)];
                for (secret, r) in ends.iter().flat_map(|secret| ends.map(|r| (*secret, r))) {
                    for s in ends {
                        told(generator * secret, r, s);
                    }
                }
            }};
        }
        of_each_curve!(holds);
    }
}
