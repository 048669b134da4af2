//! Key sets: which keys of a document may verify, and which of them a token may mean.
//!
//! Takes a document, gives its usable keys. A document is a JWKS (RFC 7517 section 5), an object of certificates in PEM
//! by their `kid` (as Google publishes them), or public keys and certificates in PEM (RFC 7468), which have no `kid`.
//! Keys are read one by one, and one that cannot be used is left out with its reason: an odd neighbour never spoils a
//! set. A private key in PEM spoils it. Deliberately ignores the certificate members of JWKs (`x5c`, ...) and the private
//! ones.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::jose::algorithm::ec::{EcKey, P256, P384, P521};
use crate::jose::algorithm::ed25519::Ed25519Key;
use crate::jose::algorithm::hmac::HmacKey;
use crate::jose::algorithm::rsa::RsaKey;
use crate::jose::algorithm::{Algorithm, KeyError, NobodyElse, SignatureVerifier, VerificationKey, boxed};
use crate::jose::pem::{self, PemBlock, PemError};
use crate::jose::public_key;
use crate::jose::token::{CompactToken, JoseHeader};
use crate::json::{Json, JsonError, Object};

/// The largest document that is read, in bytes.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;

/// The most keys that a document may have.
pub const MAX_KEYS: usize = 128;

/// The most keys that are tried for one token: bounds the work that a token without `kid` can ask for.
pub const MAX_CANDIDATES: usize = 8;

/// Who vouches for a key set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyOrigin {
    /// The configuration, where a shared secret may stand.
    Configuration,
    /// A document that was fetched. A shared secret in it is one that the world can read: ignored.
    Fetched,
}

/// Usable keys.
#[derive(Debug)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    skipped: Vec<SkippedKey>,
    /// Of the names of all keys, in their order.
    digest: SetDigest,
}

/// What tells a key from others: the digest of the text that it was read from, its `kid` and `alg` included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyDigest([u8; 32]);

/// What tells a set of keys from others, by the keys in it and their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SetDigest([u8; 32]);

#[derive(Debug)]
struct Jwk {
    digest: KeyDigest,
    key_id: Option<String>,
    /// `alg`, when the key is bound to one.
    algorithm: Option<Algorithm>,
    /// `issuer`, which no standard knows, when the key is one issuer's of several; empty when it is no text.
    issuer: Option<String>,
    key: Box<dyn VerificationKey>,
}

/// A key of the document that is not used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SkippedKey {
    /// Its place among the keys of the document, from 0.
    pub position: usize,
    /// Why.
    pub reason: UnusableKey,
}

/// Why one key of a set is not used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum UnusableKey {
    /// `alg` is not one that this key could verify.
    Algorithm,
    /// `kid` is not a string.
    KeyId,
    /// The material is not usable.
    Material(KeyError),
    /// Not a strict JSON object.
    NotJson(JsonError),
    /// A shared secret in a document that was fetched.
    PublishedSecret,
    /// `use` or `key_ops` does not include verification of signatures.
    Purpose,
    /// `kty` is missing or not supported.
    Type,
}

/// Why a document is not a key set.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum JwksError {
    /// None of its keys can be used.
    NoUsableKey {
        /// Each of them, with its reason.
        skipped: Vec<SkippedKey>,
    },
    /// Not a JSON object with a `keys` array, nor any of the other forms.
    NotJwks,
    /// Not PEM of public keys.
    Pem(PemError),
    /// More than [`MAX_JWKS_BYTES`].
    TooLarge {
        /// Bytes found.
        bytes: usize,
    },
    /// More than [`MAX_KEYS`].
    TooManyKeys {
        /// Keys found.
        keys: usize,
    },
}

/// What came of a search for the key behind a signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SignatureError {
    /// Keys were tried and none of them made this signature.
    Mismatch,
    /// No key could have the token's `alg`, among those with its `kid`.
    NoKey,
    /// No key has the token's `kid`, and none without one could have its `alg`.
    UnknownKeyId,
}

impl JwkSet {
    /// Reads a document of any of the forms.
    ///
    /// # Errors
    ///
    /// See [`JwksError`].
    pub fn parse(text: &[u8], origin: KeyOrigin) -> Result<Self, JwksError> {
        let text = check_size(text)?;
        // serde would also take an array for the members of an object in their order.
        if text.trim_ascii_start().starts_with('{') {
            Self::from_json(text, origin)
        } else if pem::is_pem(text) {
            Self::from_pem(text)
        } else {
            Err(JwksError::NotJwks)
        }
    }

    /// Reads public keys and certificates in PEM.
    ///
    /// # Errors
    ///
    /// See [`JwksError`].
    pub fn parse_pem(text: &[u8]) -> Result<Self, JwksError> {
        Self::from_pem(check_size(text)?)
    }

    fn from_json(text: &str, origin: KeyOrigin) -> Result<Self, JwksError> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }

        // Only the outer shape is needed here, and strictness about it is serde's: a `keys` given twice is refused.
        match serde_json::from_str::<Document<'_>>(text) {
            Ok(document) => Self::collect(document.keys, |raw| Jwk::parse(raw.get().as_bytes(), origin)),
            Err(_) => Self::from_certificates(text),
        }
    }

    fn from_certificates(text: &str) -> Result<Self, JwksError> {
        let certificates = Object::parse(text.as_bytes()).map_err(|_| JwksError::NotJwks)?;
        let mut blocks = Vec::new();
        for (key_id, value) in certificates.members() {
            let text = value.as_str().filter(|text| pem::is_pem(text)).ok_or(JwksError::NotJwks)?;
            // Of a chain, the first is whose key it is; the others have signed that.
            let first = pem::blocks(text).map_err(JwksError::Pem)?.into_iter().next();
            blocks.extend(first.map(|block| (Some(key_id.to_owned()), block)));
        }
        if blocks.is_empty() { Err(JwksError::NotJwks) } else { Self::from_blocks(blocks) }
    }

    fn from_pem(text: &str) -> Result<Self, JwksError> {
        let blocks = pem::blocks(text).map_err(JwksError::Pem)?;
        Self::from_blocks(blocks.into_iter().map(|block| (None, block)).collect())
    }

    fn from_blocks(blocks: Vec<(Option<String>, PemBlock<'_>)>) -> Result<Self, JwksError> {
        Self::collect(blocks, |(key_id, block)| {
            let key = public_key::from_pem_block(block.label, &block.der).map_err(UnusableKey::Material)?;
            let parts = [key_id.as_deref().unwrap_or_default(), block.label].map(str::as_bytes);
            let digest = KeyDigest::of(&[parts.as_slice(), &[block.der.as_slice()]].concat());
            Ok(Jwk { digest, key_id, algorithm: None, issuer: None, key })
        })
    }

    /// Reads the keys of a document one by one.
    fn collect<T>(found: Vec<T>, read: impl Fn(T) -> Result<Jwk, UnusableKey>) -> Result<Self, JwksError> {
        if found.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys { keys: found.len() });
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (position, key) in found.into_iter().enumerate() {
            match read(key) {
                Ok(key) => keys.push(key),
                Err(reason) => skipped.push(SkippedKey { position, reason }),
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey { skipped });
        }
        let digest = SetDigest::of(&keys);
        Ok(Self { keys, skipped, digest })
    }

    /// What tells this set from others. Of two sets with the same, each token finds the same key in both.
    pub const fn digest(&self) -> SetDigest {
        self.digest
    }

    /// The keys of the document that were left out.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// The number of usable keys; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a set without a usable key is never made")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The `kid` of each key that has one.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|jwk| jwk.key_id.as_deref())
    }

    /// The algorithms that some key verifies, in order.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        Algorithm::ALL.into_iter().filter(|algorithm| self.keys.iter().any(|jwk| jwk.verifies(*algorithm)))
    }

    /// Looks for the key that made the token's signature; `header` is that token's.
    ///
    /// A key is tried when its `kid` equals the token's, or when either has none, and when the token's `alg` is one of
    /// `allowed` that its type, curve and `alg` allow (RFC 7515 section 6, RFC 8725 section 3.1).
    ///
    /// # Errors
    ///
    /// See [`SignatureError`].
    pub fn verify(
        &self,
        header: &JoseHeader,
        token: &CompactToken<'_>,
        allowed: &[Algorithm],
    ) -> Result<(), SignatureError> {
        self.verify_with(header, token, allowed, |_| true, &NobodyElse).map(drop)
    }

    /// The same with those keys alone whose `issuer` is one for this token, and by `other` as far as they can say. Gives
    /// the key.
    ///
    /// # Errors
    ///
    /// See [`SignatureError`].
    pub fn verify_with(
        &self,
        header: &JoseHeader,
        token: &CompactToken<'_>,
        allowed: &[Algorithm],
        is_for_it: impl Fn(Option<&str>) -> bool,
        other: &dyn SignatureVerifier,
    ) -> Result<KeyDigest, SignatureError> {
        let algorithm = header.algorithm;
        if !allowed.contains(&algorithm) {
            return Err(SignatureError::NoKey);
        }
        let mut candidates = self.candidates(header, is_for_it).peekable();
        if candidates.peek().is_none() {
            return Err(match &header.key_id {
                Some(wanted) if self.keys.iter().all(|jwk| jwk.key_id.as_ref() != Some(wanted)) => {
                    SignatureError::UnknownKeyId
                }
                _ => SignatureError::NoKey,
            });
        }
        let made_by =
            |jwk: &Jwk| jwk.key.verify_by(other, algorithm, token.signing_input(), token.signature());
        let verifying = candidates.find(|jwk| made_by(jwk));
        verifying.map(|jwk| jwk.digest).ok_or(SignatureError::Mismatch)
    }

    /// Whether the key of this digest would be tried for a token with this header.
    pub fn would_try(
        &self,
        key: KeyDigest,
        header: &JoseHeader,
        is_for_it: impl Fn(Option<&str>) -> bool,
    ) -> bool {
        self.candidates(header, is_for_it).any(|jwk| jwk.digest == key)
    }

    /// The keys that are tried for a token, in order.
    fn candidates(
        &self,
        header: &JoseHeader,
        is_for_it: impl Fn(Option<&str>) -> bool,
    ) -> impl Iterator<Item = &Jwk> {
        let may_have_signed = |jwk: &&Jwk| jwk.may_have_signed(header.key_id.as_deref(), header.algorithm);
        let keys = self.keys.iter().filter(may_have_signed);
        keys.filter(move |jwk| is_for_it(jwk.issuer.as_deref())).take(MAX_CANDIDATES)
    }
}

impl KeyDigest {
    /// Each part with its length, so that no two lists of them have the same text.
    fn of(parts: &[&[u8]]) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

impl SetDigest {
    fn of(keys: &[Jwk]) -> Self {
        let mut digest = Sha256::new();
        keys.iter().for_each(|jwk| digest.update(jwk.digest.0));
        Self(digest.finalize().into())
    }
}

#[cfg(test)]
impl KeyDigest {
    pub(crate) const fn for_test() -> Self {
        Self([0; 32])
    }
}

#[cfg(test)]
impl SetDigest {
    pub(crate) const fn for_test() -> Self {
        Self([0; 32])
    }
}

impl Jwk {
    fn parse(text: &[u8], origin: KeyOrigin) -> Result<Self, UnusableKey> {
        let jwk = Object::parse(text).map_err(UnusableKey::NotJson)?;
        check_purpose(&jwk)?;
        let key_id = match jwk.get("kid") {
            None => None,
            Some(Json::String(kid)) => Some(kid.clone().into_owned()),
            Some(_) => return Err(UnusableKey::KeyId),
        };
        let key = material(&jwk, origin)?;
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => {
                let algorithm = name.as_str().and_then(Algorithm::from_name).ok_or(UnusableKey::Algorithm)?;
                if !key.algorithms().contains(&algorithm) {
                    return Err(UnusableKey::Algorithm);
                }
                Some(algorithm)
            }
        };
        let issuer = jwk.get("issuer").map(|issuer| issuer.as_str().unwrap_or_default().to_owned());
        Ok(Self { digest: KeyDigest::of(&[text]), key_id, algorithm, issuer, key })
    }

    fn may_have_signed(&self, key_id: Option<&str>, algorithm: Algorithm) -> bool {
        key_id.is_none_or(|wanted| self.may_have_key_id(wanted)) && self.verifies(algorithm)
    }

    fn may_have_key_id(&self, wanted: &str) -> bool {
        self.key_id.as_ref().is_none_or(|own| own == wanted)
    }

    fn verifies(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.key.algorithms().contains(&algorithm)
    }
}

/// `use` and `key_ops` say what a key is for (RFC 7517 sections 4.2 and 4.3).
fn check_purpose(jwk: &Object<'_>) -> Result<(), UnusableKey> {
    let for_signatures = jwk.get("use").is_none_or(|value| value.as_str() == Some("sig"));
    let may_verify = match jwk.get("key_ops") {
        None => true,
        Some(Json::Array(operations)) => {
            operations.iter().any(|operation| operation.as_str() == Some("verify"))
        }
        Some(_) => false,
    };
    if for_signatures && may_verify { Ok(()) } else { Err(UnusableKey::Purpose) }
}

fn material(jwk: &Object<'_>, origin: KeyOrigin) -> Result<Box<dyn VerificationKey>, UnusableKey> {
    let curve = jwk.get("crv").and_then(Json::as_str);
    let key = match (jwk.get("kty").and_then(Json::as_str), curve) {
        (Some("RSA"), _) => boxed(RsaKey::from_jwk(jwk)),
        (Some("EC"), Some("P-256")) => boxed(EcKey::<P256>::from_jwk(jwk)),
        (Some("EC"), Some("P-384")) => boxed(EcKey::<P384>::from_jwk(jwk)),
        (Some("EC"), Some("P-521")) => boxed(EcKey::<P521>::from_jwk(jwk)),
        (Some("OKP"), Some("Ed25519")) => boxed(Ed25519Key::from_jwk(jwk)),
        (Some("EC" | "OKP"), _) => Err(KeyError::Curve),
        (Some("oct"), _) if origin == KeyOrigin::Configuration => boxed(HmacKey::from_jwk(jwk)),
        (Some("oct"), _) => return Err(UnusableKey::PublishedSecret),
        _ => return Err(UnusableKey::Type),
    };
    key.map_err(UnusableKey::Material)
}

/// The document as text, when it is not too large.
fn check_size(text: &[u8]) -> Result<&str, JwksError> {
    if text.len() > MAX_JWKS_BYTES {
        return Err(JwksError::TooLarge { bytes: text.len() });
    }
    std::str::from_utf8(text).map_err(|_| JwksError::NotJwks)
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm => f.write_str("alg is not one that this kind of key verifies here"),
            Self::KeyId => f.write_str("kid is not a string"),
            Self::Material(error) => write!(f, "{error}"),
            // Without the error, which may name a member of any length.
            Self::NotJson(_) => f.write_str("not a strict JSON object"),
            Self::PublishedSecret => f.write_str("a shared secret in a fetched document"),
            Self::Purpose => f.write_str("use or key_ops excludes the verification of signatures"),
            Self::Type => f.write_str("kty is missing or not supported"),
        }
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys[{}]: {}", self.position, self.reason)
    }
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUsableKey { skipped } if skipped.is_empty() => f.write_str("the key set is empty"),
            Self::NoUsableKey { skipped } => {
                f.write_str("no key of the set can be used:")?;
                skipped.iter().take(4).try_for_each(|key| write!(f, " {key};"))?;
                if skipped.len() > 4 { write!(f, " and {} more", skipped.len() - 4) } else { Ok(()) }
            }
            Self::NotJwks => f.write_str("not a JSON object with a \"keys\" array"),
            Self::Pem(error) => write!(f, "{error}"),
            Self::TooLarge { bytes } => write!(f, "{bytes} bytes, more than the {MAX_JWKS_BYTES} allowed"),
            Self::TooManyKeys { keys } => write!(f, "{keys} keys, more than the {MAX_KEYS} allowed"),
        }
    }
}

impl std::error::Error for JwksError {}
