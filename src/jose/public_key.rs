//! Public keys outside of JWKs: `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7), `RSAPublicKey` (RFC 8017 appendix
//! A.1.1) and X.509 certificates (RFC 5280 section 4.1).
//!
//! Takes DER, gives a key that passed the same checks as one from a JWK. Of a certificate, only the public key is taken:
//! its validity period, its issuer and its signature are deliberately not looked at, as in `jwt_authn`. Whoever
//! configures the certificate, or the server that it is fetched from, vouches for the key. RSA keys that are marked for
//! PSS alone (RFC 4055 section 1.2) are not supported.

use spki::der::asn1::AnyRef;
use spki::der::{self, Decode as _, Reader as _, SliceReader};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::jose::algorithm::ec::{EcKey, P256, P384, P521};
use crate::jose::algorithm::ed25519::Ed25519Key;
use crate::jose::algorithm::rsa::RsaKey;
use crate::jose::algorithm::{KeyError, VerificationKey, boxed};

/// `rsaEncryption` (RFC 8017 appendix A.1).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// `id-ecPublicKey` (RFC 5480 section 2.1.1).
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1` (RFC 5480 section 2.1.1.1).
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// `secp384r1`.
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
/// `secp521r1`.
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
/// `id-Ed25519` (RFC 8410 section 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The key in a PEM block with this label (RFC 7468 sections 5 and 13).
///
/// # Errors
///
/// [`KeyError::Kind`] for another label or kind of key, [`KeyError::Encoding`], and those of the key's kind.
pub fn from_pem_block(label: &str, der: &[u8]) -> Result<Box<dyn VerificationKey>, KeyError> {
    match label {
        "PUBLIC KEY" => {
            from_key_info(&SubjectPublicKeyInfoRef::try_from(der).map_err(|_| KeyError::Encoding)?)
        }
        "RSA PUBLIC KEY" => boxed(RsaKey::from_pkcs1(der)),
        "CERTIFICATE" => from_key_info(&key_info_of(der).map_err(|_| KeyError::Encoding)?),
        _ => Err(KeyError::Kind),
    }
}

fn from_key_info(info: &SubjectPublicKeyInfoRef<'_>) -> Result<Box<dyn VerificationKey>, KeyError> {
    let key = info.subject_public_key.as_bytes().ok_or(KeyError::Encoding)?;
    match info.algorithm.oid {
        RSA => boxed(RsaKey::from_pkcs1(key)),
        ED25519 => boxed(Ed25519Key::from_bytes(key)),
        EC => match info.algorithm.parameters_oid() {
            Ok(SECP256R1) => boxed(EcKey::<P256>::from_sec1(key)),
            Ok(SECP384R1) => boxed(EcKey::<P384>::from_sec1(key)),
            Ok(SECP521R1) => boxed(EcKey::<P521>::from_sec1(key)),
            _ => Err(KeyError::Curve),
        },
        _ => Err(KeyError::Kind),
    }
}

/// The `subjectPublicKeyInfo` of a certificate. What stands before and behind it must be there and is not read.
fn key_info_of(certificate: &[u8]) -> der::Result<SubjectPublicKeyInfoRef<'_>> {
    let mut reader = SliceReader::new(certificate)?;
    let info = reader.sequence(|certificate| {
        let info = certificate.sequence(|signed| {
            // Versions later than the first begin with their number.
            if signed.peek_tag()?.is_context_specific() {
                signed.tlv_bytes()?;
            }
            for _ in ["serialNumber", "signature", "issuer", "validity", "subject"] {
                AnyRef::decode(signed)?;
            }
            let info = SubjectPublicKeyInfoRef::decode(signed)?;
            signed.read_slice(signed.remaining_len())?;
            Ok(info)
        })?;
        for _ in ["signatureAlgorithm", "signatureValue"] {
            AnyRef::decode(certificate)?;
        }
        Ok(info)
    })?;
    reader.finish(info)
}
