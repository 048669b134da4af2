//! The foreign function `verify_signature` as Envoy has it, made of other libraries than the filter.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::{BigUint, RsaPublicKey};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

const MISMATCH: &str = "Failed to verify digest. Error code: 0";
const NO_KEY: &str = "Failed to initialize digest verify.";

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// The result for this argument, both in the encoding of protocol buffers.
pub(crate) fn verify_signature(argument: &[u8]) -> Vec<u8> {
    let [hash, key, signature, text] = fields(argument);
    match is_good(&String::from_utf8(hash).unwrap(), &key, &signature, &text) {
        Some(true) => good(),
        Some(false) => bad(MISMATCH),
        None => bad(NO_KEY),
    }
}

/// What the function says of a good signature.
pub(crate) fn good() -> Vec<u8> {
    vec![0x08, 1]
}

/// What it says of a bad one, in these words.
pub(crate) fn bad(words: &str) -> Vec<u8> {
    let length = u8::try_from(words.len()).unwrap();
    [&[0x12, length], words.as_bytes()].concat()
}

/// The fields 1 to 4, which are all texts or bytes.
fn fields(mut message: &[u8]) -> [Vec<u8>; 4] {
    let mut fields: [Vec<u8>; 4] = Default::default();
    while let Some((tag, rest)) = message.split_first() {
        assert_eq!(tag & 7, 2, "a field with a length");
        let digits = rest.iter().position(|byte| *byte < 0x80).unwrap() + 1;
        let (length, rest) = rest.split_at(digits);
        let length = length.iter().rev().fold(0, |length, digit| length << 7 | usize::from(digit & 0x7f));
        let (value, rest) = rest.split_at(length);
        fields[usize::from(tag >> 3) - 1] = value.to_vec();
        message = rest;
    }
    fields
}

/// `None` when the key or the hash is of no use.
fn is_good(hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Option<bool> {
    let info = SubjectPublicKeyInfoRef::try_from(key).ok()?;
    let key = info.subject_public_key.as_bytes()?;
    let (digest, scheme) = match hash {
        "sha256" => (Sha256::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha256>()),
        "sha384" => (Sha384::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha384>()),
        "sha512" => (Sha512::digest(text).to_vec(), Pkcs1v15Sign::new::<Sha512>()),
        _ => return None,
    };
    if info.algorithm.oid == RSA {
        let numbers = pkcs1::RsaPublicKey::try_from(key).ok()?;
        let [modulus, exponent] =
            [numbers.modulus, numbers.public_exponent].map(|n| BigUint::from_bytes_be(n.as_bytes()));
        let key = RsaPublicKey::new_with_max_size(modulus, exponent, 8192).ok()?;
        return Some(key.verify(scheme, &digest, signature).is_ok());
    }
    macro_rules! ecdsa {
        ($curve:ident) => {{
            let key = $curve::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
            let signature = $curve::ecdsa::Signature::from_der(signature);
            Some(signature.is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok()))
        }};
    }
    match info.algorithm.parameters_oid().ok()? {
        P256 => ecdsa!(p256),
        P384 => ecdsa!(p384),
        P521 => ecdsa!(p521),
        _ => None,
    }
}
