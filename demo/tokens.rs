//! Signing keys and tokens for the demo and the tests: what an identity provider holds.
//!
//! Takes claims, gives compact JWS strings and the matching public JWKs. Deliberately able to mint what no honest
//! provider would: any header member and any claim can be overridden, so that tests can forge.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_compact::alg::{Ed25519, Es256, Hs256, Hs256Key, Rsa};
use jwt_compact::{Algorithm, AlgorithmSignature};
use rsa::RsaPrivateKey;
use rsa::rand_core::{OsRng, RngCore};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

/// A private key with its `kid`, able to sign tokens and to show its public half as a JWK.
pub struct SigningKey {
    /// The `kid` that the JWK carries and that signed tokens name.
    pub kid: String,
    material: Material,
}

enum Material {
    Rs256(Box<RsaPrivateKey>),
    Es256(p256::ecdsa::SigningKey),
    EdDsa(ed25519_dalek::SigningKey),
    Hs256(Vec<u8>),
}

impl SigningKey {
    /// A fresh 2048 bit RSA key for `RS256`.
    pub fn rs256(kid: &str) -> Self {
        let key = RsaPrivateKey::new(&mut OsRng, 2048).expect("2048 is a valid RSA size");
        Self::new(kid, Material::Rs256(Box::new(key)))
    }

    /// A fresh P-256 key for `ES256`.
    pub fn es256(kid: &str) -> Self {
        Self::new(kid, Material::Es256(p256::ecdsa::SigningKey::random(&mut OsRng)))
    }

    /// A fresh Ed25519 key for `EdDSA`.
    pub fn eddsa(kid: &str) -> Self {
        let mut seed = [0_u8; 32];
        OsRng.fill_bytes(&mut seed);
        Self::new(kid, Material::EdDsa(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// An `HS256` key over the given secret.
    pub fn hs256(kid: &str, secret: &[u8]) -> Self {
        Self::new(kid, Material::Hs256(secret.to_vec()))
    }

    fn new(kid: &str, material: Material) -> Self {
        Self { kid: kid.to_owned(), material }
    }

    /// The JWS algorithm that this key signs with.
    pub fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Rs256(_) => "RS256",
            Material::Es256(_) => "ES256",
            Material::EdDsa(_) => "EdDSA",
            Material::Hs256(_) => "HS256",
        }
    }

    /// The public JWK (RFC 7517), or the secret itself for `HS256`.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.material {
            Material::Rs256(key) => {
                json!({ "kty": "RSA", "n": encode(&key.n().to_bytes_be()), "e": encode(&key.e().to_bytes_be()) })
            }
            Material::Es256(key) => {
                let point = key.verifying_key().to_encoded_point(false);
                let x = point.x().expect("a public key is not the point at infinity");
                let y = point.y().expect("an uncompressed point has both coordinates");
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            Material::EdDsa(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.verifying_key().as_bytes()) })
            }
            Material::Hs256(secret) => json!({ "kty": "oct", "k": encode(secret) }),
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm());
        jwk["use"] = json!("sig");
        jwk
    }

    /// A compact JWS over `claims` with the usual header (`alg`, `kid`, `typ: JWT`).
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with_header(&json!({}), claims)
    }

    /// Like [`sign`](Self::sign), with header members added, replaced, or (by `null`) left out.
    pub fn sign_with_header(&self, header: &Value, claims: &Value) -> String {
        let mut full = json!({ "alg": self.algorithm(), "kid": self.kid, "typ": "JWT" });
        for (name, value) in header.as_object().into_iter().flatten() {
            if value.is_null() {
                full.as_object_mut().expect("made as an object").remove(name);
            } else {
                full[name] = value.clone();
            }
        }
        self.sign_raw(full.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// A compact JWS over exactly these header and payload bytes, JSON or not.
    pub fn sign_raw(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let message = input.as_bytes();
        let signature = match &self.material {
            Material::Rs256(key) => Rsa::rs256().sign(key, message).as_bytes().into_owned(),
            Material::Es256(key) => Es256.sign(key, message).as_bytes().into_owned(),
            Material::EdDsa(key) => Ed25519.sign(key, message).as_bytes().into_owned(),
            Material::Hs256(secret) => Hs256.sign(&Hs256Key::new(secret), message).as_bytes().into_owned(),
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A JWKS document (RFC 7517 section 5) with the public halves of `keys`.
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Value {
    json!({ "keys": keys.into_iter().map(SigningKey::jwk).collect::<Vec<_>>() })
}
