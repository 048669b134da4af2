//! Signature algorithms: what a key of each kind can verify (RFC 7518 section 3, RFC 8037).
//!
//! The seam between the key set and the arithmetic: one file per kind of key, each giving a [`VerificationKey`] from
//! the members of a JWK or from the bytes of a public key. Which algorithm is used is decided by the key, and the token may only agree. `none` is not in
//! here, so no configuration can switch it on. Only public-key operations and a MAC comparison take place: verification
//! handles no secret but the MAC's, whose comparison takes constant time.

pub mod ec;
pub mod ed25519;
pub mod hmac;
pub mod rsa;

use std::fmt;

use jwt_compact::AlgorithmSignature as _;

use crate::jose::base64url;
use crate::json::{Json, Object};

/// An `alg` value that can be verified (RFC 7518 section 3.1, RFC 8037 section 3.1). `ES256K` is deliberately not there.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// ECDSA with P-521 and SHA-512.
    Es512,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

impl Algorithm {
    /// Every algorithm, for tables and tests.
    pub const ALL: [Self; 13] = [
        Self::EdDsa,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// The algorithm of this exact name; names are case-sensitive (RFC 7515 section 4.1.1). `Ed25519` is what RFC 9864
    /// section 2.2 calls the only `EdDSA` there is here.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "Ed25519" => Some(Self::EdDsa),
            _ => Self::ALL.into_iter().find(|algorithm| algorithm.name() == name),
        }
    }

    /// The name as it stands in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    /// Whether its keys are shared secrets, which only a configuration may bring.
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// A key that was found fit for use, bound to the algorithms that its type, curve and size allow.
pub trait VerificationKey: fmt::Debug {
    /// The algorithms that this key verifies.
    fn algorithms(&self) -> &'static [Algorithm];

    /// Whether `signature` is this key's over `signing_input` under `algorithm`; false when the key does not verify
    /// that algorithm.
    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool;

    /// The same by somebody else, as far as they can say, and by this program otherwise. Keys that nobody else is asked
    /// about are content with this.
    fn verify_by(
        &self,
        _other: &dyn SignatureVerifier,
        algorithm: Algorithm,
        signing_input: &[u8],
        signature: &[u8],
    ) -> bool {
        self.verify(algorithm, signing_input, signature)
    }
}

/// Somebody else who can verify signatures, faster than this program does.
pub trait SignatureVerifier: fmt::Debug {
    /// Whether `signature` is that of the key over `signing_input` under `algorithm`; `None` when they cannot say. They
    /// are asked about `RS*` and `ES*` alone, and only about signatures that have the right form: as long as the modulus
    /// and below it, or with numbers in the range of the curve.
    ///
    /// The key is a `SubjectPublicKeyInfo` in DER. The signature is that of `algorithm` with ECDSA's in DER (RFC 3279
    /// section 2.2.3).
    fn verifies(
        &self,
        algorithm: Algorithm,
        key: &[u8],
        signing_input: &[u8],
        signature: &[u8],
    ) -> Option<bool>;
}

/// Nobody else: this program verifies all signatures itself.
#[derive(Clone, Copy, Debug)]
pub struct NobodyElse;

impl SignatureVerifier for NobodyElse {
    fn verifies(&self, _: Algorithm, _: &[u8], _: &[u8], _: &[u8]) -> Option<bool> {
        None
    }
}

/// Why key material cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyError {
    /// A curve that is not supported.
    Curve,
    /// Not the DER encoding of what it is said to be.
    Encoding,
    /// A kind of public key that is not supported.
    Kind,
    /// A member is missing or not canonical base64url.
    Member {
        /// The member's name.
        name: &'static str,
    },
    /// The public exponent of an RSA key is even or outside 3 to 2^33 - 1.
    RsaExponent,
    /// The modulus of an RSA key is even, or its size is not between 2048 and 8192 bits.
    RsaModulus {
        /// The size found.
        bits: usize,
    },
    /// A secret is shorter than the hash it is used with (RFC 7518 section 3.2).
    ShortSecret {
        /// Bytes found.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The coordinates are not those of a usable point: wrong length, not on the curve, or of small order.
    Point,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Curve => f.write_str("the curve is not supported"),
            Self::Encoding => f.write_str("not the DER encoding of a public key or certificate"),
            Self::Kind => f.write_str("the kind of public key is not supported"),
            Self::Member { name } => write!(f, "{name:?} is missing or not canonical base64url"),
            Self::RsaExponent => f.write_str("the RSA exponent must be odd and between 3 and 2^33 - 1"),
            Self::RsaModulus { bits } => {
                write!(f, "the RSA modulus must be odd and have 2048 to 8192 bits, this one has {bits}")
            }
            Self::ShortSecret { found, needed } => {
                write!(f, "the secret has {found} bytes and needs at least {needed}")
            }
            Self::Point => f.write_str("the public point is not on the curve, or of small order"),
        }
    }
}

impl std::error::Error for KeyError {}

/// The bytes of a base64url member of a JWK.
fn bytes(jwk: &Object<'_>, name: &'static str) -> Result<Vec<u8>, KeyError> {
    jwk.get(name)
        .and_then(Json::as_str)
        .and_then(|text| base64url::decode(text.as_bytes()))
        .ok_or(KeyError::Member { name })
}

/// A key of whatever kind, behind the trait.
pub(super) fn boxed<K: VerificationKey + 'static>(
    key: Result<K, KeyError>,
) -> Result<Box<dyn VerificationKey>, KeyError> {
    match key {
        Ok(key) => Ok(Box::new(key)),
        Err(error) => Err(error),
    }
}

/// Whether `signature` is `key`'s over `message`, as `jwt-compact` answers it.
fn verifies<S: jwt_compact::Algorithm>(
    scheme: &S,
    key: &S::VerifyingKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    // The length is checked first because some parsers panic on another one.
    S::Signature::LENGTH.is_none_or(|length| signature.len() == length.get())
        && S::Signature::try_from_slice(signature)
            .is_ok_and(|signature| scheme.verify_signature(&signature, key, message))
}
