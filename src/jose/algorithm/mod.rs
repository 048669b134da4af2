//! Signature algorithms: what a key of each kind can verify (RFC 7518 section 3, RFC 8037).
//!
//! The seam between the key set and the arithmetic: one file per kind of key, each giving a [`VerificationKey`] from
//! the members of a JWK. Which algorithm is used is decided by the key, and the token may only agree. `none` is not in
//! here, so no configuration can switch it on. Only public-key operations and a MAC comparison take place: verification
//! handles no secret but the MAC's, whose comparison takes constant time.

pub mod ed25519;
pub mod hmac;
pub mod p256;
pub mod rsa;

use std::fmt;

use crate::jose::base64url;
use crate::json::{Json, Object};

/// A `alg` value that can be verified (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// Every algorithm, for tables and tests.
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Hs256, Self::Rs256];

    /// The algorithm of this exact name; names are case-sensitive (RFC 7515 section 4.1.1).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The name as it stands in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A key that was found fit for use, bound to the algorithms that its type, curve and size allow.
pub trait VerificationKey: fmt::Debug {
    /// The algorithms that this key verifies.
    fn algorithms(&self) -> &'static [Algorithm];

    /// Whether `signature` is this key's over `signing_input` under `algorithm`; false when the key does not verify
    /// that algorithm.
    fn verify(&self, algorithm: Algorithm, signing_input: &[u8], signature: &[u8]) -> bool;
}

/// Why key material cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyError {
    /// A curve that is not supported.
    Curve,
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
