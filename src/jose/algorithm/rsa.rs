//! RSA keys (RFC 7518 sections 3.3, 3.5 and 6.3): `RS256` to `RS512` and `PS256` to `PS512`.
//!
//! Takes modulus and exponent, gives a key of 2048 to 8192 bits. One key verifies both paddings, as RFC 7518 has one
//! type for them; a JWK with `alg` is bound to that one. What depends on the modulus alone is computed once for a key:
//! the Montgomery form of `crypto-bigint` is three to four times faster in WebAssembly than `rsa`, which `jwt-compact`
//! uses. Deliberately takes no care of constant time: a public key, a signature and a message are no secrets.

use std::fmt;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048, U3072, U4096, U8192, Uint, Word};
use sha2::digest::{Digest, Output};
use sha2::{Sha256, Sha384, Sha512};

use super::{Algorithm, KeyError, SignatureVerifier, VerificationKey, bytes};
use crate::jose::der;
use crate::json::Object;

const MIN_BITS: u32 = 2048;
const MAX_BITS: u32 = 8192;
const MAX_BYTES: usize = 1024;

/// 2^33 - 1, the largest that is in use (FIPS 186-4 allows more, and every bit of it costs time).
const MAX_EXPONENT: u64 = (1 << 33) - 1;

/// What stands in front of the hash in a signature of PKCS #1 v1.5 (RFC 8017 section 9.2): `DigestInfo` with the object
/// identifier of the hash, and the length of what follows.
const SHA_256_INFO: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];
const SHA_384_INFO: &[u8] = &[
    0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    0x04, 0x30,
];
const SHA_512_INFO: &[u8] = &[
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00,
    0x04, 0x40,
];

/// An RSA public key.
#[derive(Debug)]
pub struct RsaKey {
    modulus: Box<dyn Modulus>,
    /// The same, as long as signatures are, with the highest byte first.
    modulus_bytes: Vec<u8>,
    bits: u32,
    exponent: u64,
    /// The key as others read it (RFC 3279 section 2.3.1).
    info: Vec<u8>,
}

/// A modulus with all that is computed from it once.
trait Modulus: fmt::Debug {
    /// `base` to the power of `exponent`, at least as many bytes as the modulus has, with the highest byte first; `None`
    /// when `base` is not below the modulus.
    fn power(&self, base: &[u8], exponent: u64) -> Option<Vec<u8>>;
}

/// A modulus of at most this many limbs.
#[derive(Debug)]
struct OfLimbs<const LIMBS: usize>(FixedMontyParams<LIMBS>);

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
        if modulus.len() > MAX_BYTES + 1 {
            return Err(KeyError::RsaModulus { bits: modulus.len().saturating_mul(8) });
        }
        if exponent.len() > 8 || exponent.last().is_none_or(|low| low % 2 == 0) {
            return Err(KeyError::RsaExponent);
        }
        let bits = bits(modulus);
        let is_odd = modulus.last().is_some_and(|low| low % 2 == 1);
        if !is_odd || !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(KeyError::RsaModulus { bits: usize::try_from(bits).unwrap_or(usize::MAX) });
        }
        let numbers = der::sequence(&[&der::unsigned(modulus), &der::unsigned(exponent)]);
        let info = der::public_key_info(&[der::RSA_ENCRYPTION, der::NULL], &numbers);
        let exponent = exponent.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if !(3..=MAX_EXPONENT).contains(&exponent) {
            return Err(KeyError::RsaExponent);
        }
        let modulus_bytes = modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
        let modulus = match bits {
            ..=2048 => OfLimbs::<{ U2048::LIMBS }>::boxed(modulus),
            2049..=3072 => OfLimbs::<{ U3072::LIMBS }>::boxed(modulus),
            3073..=4096 => OfLimbs::<{ U4096::LIMBS }>::boxed(modulus),
            _ => OfLimbs::<{ U8192::LIMBS }>::boxed(modulus),
        };
        let modulus =
            modulus.ok_or(KeyError::RsaModulus { bits: usize::try_from(bits).unwrap_or(usize::MAX) })?;
        Ok(Self { modulus, modulus_bytes, bits, exponent, info })
    }

    /// How many bytes the modulus has, and every signature (RFC 8017 sections 8.1.2 and 8.2.2).
    fn size(&self) -> usize {
        usize::try_from(self.bits.div_ceil(8)).unwrap_or(usize::MAX)
    }

    /// What was signed, as long as the modulus (RFC 8017 section 5.2.2).
    fn recover(&self, signature: &[u8]) -> Option<Vec<u8>> {
        if signature.len() != self.size() {
            return None;
        }
        let mut message = self.modulus.power(signature, self.exponent)?;
        message.drain(..message.len().checked_sub(self.size())?);
        Some(message)
    }
}

impl VerificationKey for RsaKey {
    fn algorithms(&self) -> &'static [Algorithm] {
        use Algorithm::{Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        &[Ps256, Ps384, Ps512, Rs256, Rs384, Rs512]
    }

    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool {
        let is_signed: fn(&[u8], u32, &[u8]) -> bool = match algorithm {
            Algorithm::Rs256 => |encoded, _, message| is_pkcs1::<Sha256>(encoded, SHA_256_INFO, message),
            Algorithm::Rs384 => |encoded, _, message| is_pkcs1::<Sha384>(encoded, SHA_384_INFO, message),
            Algorithm::Rs512 => |encoded, _, message| is_pkcs1::<Sha512>(encoded, SHA_512_INFO, message),
            Algorithm::Ps256 => is_pss::<Sha256>,
            Algorithm::Ps384 => is_pss::<Sha384>,
            Algorithm::Ps512 => is_pss::<Sha512>,
            _ => return false,
        };
        self.recover(signature).is_some_and(|encoded| is_signed(&encoded, self.bits, signing_input))
    }

    /// `PS*` is left to this program: what others make of its parameters is not known.
    fn verify_by(
        &self,
        other: &dyn SignatureVerifier,
        algorithm: Algorithm,
        signing_input: &[u8],
        signature: &[u8],
    ) -> bool {
        if !matches!(algorithm, Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512) {
            return self.verify(algorithm, signing_input, signature);
        }
        signature.len() == self.size()
            // Of the same length, the first byte in which they differ tells which is below.
            && signature < self.modulus_bytes.as_slice()
            && other
                .verifies(algorithm, &self.info, signing_input, signature)
                .unwrap_or_else(|| self.verify(algorithm, signing_input, signature))
    }
}

impl<const LIMBS: usize> OfLimbs<LIMBS> {
    fn boxed(modulus: &[u8]) -> Option<Box<dyn Modulus>> {
        let modulus = Odd::new(uint::<LIMBS>(modulus)?).into_option()?;
        Some(Box::new(Self(FixedMontyParams::new_vartime(modulus))))
    }

    /// A number, if it is below the modulus.
    fn below(&self, number: &[u8]) -> Option<Uint<LIMBS>> {
        uint(number).filter(|number| number < self.0.modulus().as_ref())
    }
}

impl<const LIMBS: usize> Modulus for OfLimbs<LIMBS> {
    fn power(&self, base: &[u8], exponent: u64) -> Option<Vec<u8>> {
        let base = self.below(base)?;
        let base = FixedMontyForm::new(&base, &self.0);
        let mut power = base;
        // From the second highest bit on: the highest one is `power` already.
        for bit in (0..exponent.checked_ilog2()?).rev() {
            power = power.square();
            if exponent >> bit & 1 == 1 {
                power = power.mul(&base);
            }
        }
        Some(power.retrieve().to_words().iter().rev().flat_map(|word| word.to_be_bytes()).collect())
    }
}

/// A number with the highest byte first; `None` when it does not fit.
fn uint<const LIMBS: usize>(bytes: &[u8]) -> Option<Uint<LIMBS>> {
    let mut words: [Word; LIMBS] = [0; LIMBS];
    let mut places = words.iter_mut();
    for chunk in bytes.rchunks(size_of::<Word>()) {
        let word = chunk.iter().fold(0, |word: Word, byte| word << 8 | Word::from(*byte));
        match places.next() {
            Some(place) => *place = word,
            None if word == 0 => {}
            None => return None,
        }
    }
    Some(Uint::from_words(words))
}

/// How many bits a number has.
fn bits(bytes: &[u8]) -> u32 {
    let mut significant = bytes.iter().skip_while(|byte| **byte == 0);
    let highest = significant.next().map_or(0, |byte| byte.checked_ilog2().map_or(0, |bit| bit + 1));
    let rest = u32::try_from(significant.count()).unwrap_or(u32::MAX);
    rest.saturating_mul(8).saturating_add(highest)
}

/// Whether `encoded` is the hash of `message` as PKCS #1 v1.5 pads it (RFC 8017 section 9.2). It is made anew and
/// compared as a whole, so that nothing in it can be overlooked.
fn is_pkcs1<D: Digest>(encoded: &[u8], info: &[u8], message: &[u8]) -> bool {
    let hash = D::digest(message);
    let Some(padding) = encoded.len().checked_sub(info.len() + hash.len() + 3) else { return false };
    let expected = [&[0, 1], vec![0xff; padding].as_slice(), &[0], info, &hash].concat();
    padding >= 8 && encoded == expected
}

/// Whether `encoded` is the hash of `message` as PSS encodes it for a modulus of so many bits (RFC 8017 section 9.1.2),
/// with the same hash in its mask and a salt as long as the hash (RFC 7518 section 3.5).
fn is_pss<D: Digest>(encoded: &[u8], bits: u32, message: &[u8]) -> bool {
    is_pss_encoded::<D>(encoded, bits, message).unwrap_or_default()
}

fn is_pss_encoded<D: Digest>(encoded: &[u8], bits: u32, message: &[u8]) -> Option<bool> {
    let hash_length = <D as Digest>::output_size();
    // The encoding has one bit less than the modulus, which may be a byte less.
    let unused_bits = bits.wrapping_neg().wrapping_add(1) % 8;
    let encoded = if unused_bits == 0 { encoded.strip_prefix(&[0])? } else { encoded };
    let (data, trailer) = encoded.split_at_checked(encoded.len().checked_sub(1)?)?;
    let (masked, hash) = data.split_at_checked(data.len().checked_sub(hash_length)?)?;
    let used = 0xff_u8 >> unused_bits;
    let are_unused_zero = masked.first()? & !used == 0;
    let mask = mask::<D>(hash, masked.len());
    let mut unmasked: Vec<u8> = masked.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect();
    *unmasked.first_mut()? &= used;
    let (padding, salt) = unmasked.split_at_checked(unmasked.len().checked_sub(hash_length)?)?;
    let (one, zeros) = padding.split_last()?;
    let expected =
        D::new().chain_update([0; 8]).chain_update(D::digest(message)).chain_update(salt).finalize();
    let is_padded = *one == 1 && zeros.iter().all(|byte| *byte == 0);
    Some(trailer == [0xbc] && are_unused_zero && is_padded && *hash == *expected)
}

/// MGF1 (RFC 8017 appendix B.2.1): `length` bytes of hashes of `seed` and a counter.
fn mask<D: Digest>(seed: &[u8], length: usize) -> impl Iterator<Item = u8> {
    let block = move |counter: u32| -> Output<D> {
        D::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize()
    };
    (0_u32..).map(block).flat_map(IntoIterator::into_iter).take(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs1v15::Pkcs1v15Sign;
    use rsa::pss::Pss;
    use rsa::rand_core::OsRng;
    use rsa::traits::PublicKeyParts as _;
    use rsa::{BigUint, RsaPrivateKey};

    /// Sizes at and beside the ends of bytes and of the steps between implementations.
    const SIZES: [usize; 5] = [2048, 2049, 2055, 2056, 3073];

    fn pair(bits: usize) -> (RsaPrivateKey, RsaKey) {
        let private = RsaPrivateKey::new(&mut OsRng, bits).unwrap();
        let key = RsaKey::new(&private.n().to_bytes_be(), &private.e().to_bytes_be()).unwrap();
        (private, key)
    }

    #[test]
    fn signatures_of_another_library_verify_under_keys_of_every_size_and_under_nothing_else() {
        let message = b"the signing input";
        for bits in SIZES {
            let (private, key) = pair(bits);
            let hash = Sha256::digest(message);
            let pkcs1 = private.sign(Pkcs1v15Sign::new::<Sha256>(), &hash).unwrap();
            let pss = private.sign_with_rng(&mut OsRng, Pss::new::<Sha256>(), &hash).unwrap();
            for (algorithm, signature) in [(Algorithm::Rs256, &pkcs1), (Algorithm::Ps256, &pss)] {
                assert!(key.verify(algorithm, message, signature), "{algorithm:?} {bits}");
                assert!(!key.verify(algorithm, b"another one", signature), "{algorithm:?} {bits}");
                for other in key.algorithms().iter().filter(|other| **other != algorithm) {
                    assert!(!key.verify(*other, message, signature), "{other:?} {bits}");
                }
                for position in [0, signature.len() / 2, signature.len() - 1] {
                    let mut broken = signature.clone();
                    broken[position] ^= 1;
                    assert!(!key.verify(algorithm, message, &broken), "{algorithm:?} {bits} {position}");
                }
                // The same number in more bytes, and the same one plus the modulus.
                let longer = [&[0], signature.as_slice()].concat();
                assert!(!key.verify(algorithm, message, &longer), "{algorithm:?} {bits}");
                let sum = (BigUint::from_bytes_be(signature) + private.n()).to_bytes_be();
                assert!(!key.verify(algorithm, message, &sum), "{algorithm:?} {bits}");
            }
        }
    }

    #[test]
    fn a_salt_of_another_length_is_refused() {
        let (private, key) = pair(2048);
        let hash = Sha256::digest(b"m");
        for (length, is_good) in [(0, false), (31, false), (32, true), (33, false)] {
            let padding = Pss::new_with_salt::<Sha256>(length);
            let signature = private.sign_with_rng(&mut OsRng, padding, &hash).unwrap();
            assert_eq!(key.verify(Algorithm::Ps256, b"m", &signature), is_good, "{length}");
        }
    }

    #[test]
    fn numbers_that_are_no_signature_are_refused() {
        let (private, key) = pair(2048);
        let modulus = private.n().to_bytes_be();
        for signature in
            [vec![0; 256], [vec![0; 255], vec![1]].concat(), modulus, vec![0xff; 256], Vec::new()]
        {
            for algorithm in key.algorithms() {
                assert!(!key.verify(*algorithm, b"m", &signature), "{algorithm:?}");
            }
        }
    }

    /// Somebody who takes everything for good.
    #[derive(Debug)]
    struct Gullible;

    impl SignatureVerifier for Gullible {
        fn verifies(&self, _: Algorithm, _: &[u8], _: &[u8], _: &[u8]) -> Option<bool> {
            Some(true)
        }
    }

    #[test]
    fn nobody_is_asked_about_numbers_that_are_no_signature_nor_about_pss() {
        let (private, key) = pair(2048);
        let modulus = private.n().to_bytes_be();
        let largest = [&modulus[..255], &[modulus[255] - 1]].concat();
        let ask = |algorithm, signature: &[u8]| key.verify_by(&Gullible, algorithm, b"m", signature);
        for signature in [modulus, vec![0xff; 256], vec![0; 255], vec![0; 257], Vec::new()] {
            for algorithm in key.algorithms() {
                assert!(!ask(*algorithm, &signature), "{algorithm:?}");
            }
        }
        for (algorithm, is_asked) in [
            (Algorithm::Rs256, true),
            (Algorithm::Rs512, true),
            (Algorithm::Ps256, false),
            (Algorithm::Es256, false),
        ] {
            assert_eq!(ask(algorithm, &[0; 256]), is_asked, "{algorithm:?}");
            assert_eq!(ask(algorithm, &largest), is_asked, "{algorithm:?}");
        }
    }

    #[test]
    fn only_numbers_that_make_a_usable_key_are_taken() {
        let modulus = |bits: u32| {
            let mut bytes = vec![0xff; usize::try_from(bits.div_ceil(8)).unwrap()];
            bytes[0] = u8::try_from(0xff_u32 >> (bits.wrapping_neg() % 8)).unwrap();
            bytes
        };
        for bits in [2048, 2049, 3072, 3073, 4096, 4097, 8192] {
            assert!(RsaKey::new(&modulus(bits), &[1, 0, 1]).is_ok(), "{bits}");
        }
        for bits in [1024, 2047, 8193, 8200, 65536] {
            let size = usize::try_from(bits).unwrap();
            let error = RsaKey::new(&modulus(bits), &[1, 0, 1]).unwrap_err();
            assert_eq!(error, KeyError::RsaModulus { bits: size }, "{bits}");
        }
        let with_zeros = [vec![0; 1], modulus(2048)].concat();
        assert_eq!(RsaKey::new(&with_zeros, &[1, 0, 1]).unwrap().size(), 256);
        let mut even = modulus(2048);
        even[255] = 0xfe;
        assert!(RsaKey::new(&even, &[3]).is_err());
        let n = modulus(2048);
        for (exponent, is_good) in [
            (&[3][..], true),
            (&[1, 0, 1], true),
            (&[1, 255, 255, 255, 255], true),
            (&[2, 0, 0, 0, 1], false),
            (&[1], false),
            (&[0], false),
            (&[2], false),
            (&[], false),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 3], false),
        ] {
            assert_eq!(RsaKey::new(&n, exponent).is_ok(), is_good, "{exponent:?}");
        }
    }
}
