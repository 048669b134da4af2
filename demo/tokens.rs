//! Signing keys and tokens for the demo and the tests: what an identity provider holds.
//!
//! Takes claims, gives compact JWS strings and the matching public JWKs. Deliberately able to mint what no honest
//! provider would: any header member and any claim can be overridden, so that tests can forge.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use jwt_compact::alg::{Ed25519, Hs256, Hs256Key, Hs384, Hs384Key, Hs512, Hs512Key, Rsa};
use jwt_compact::{Algorithm, AlgorithmSignature};
use p256::ecdsa::signature::Signer;
use rsa::RsaPrivateKey;
use rsa::rand_core::{OsRng, RngCore};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

/// A private key with its `kid`, able to sign tokens and to show its public half as a JWK.
#[derive(Clone)]
pub struct SigningKey {
    /// The `kid` that the JWK carries and that signed tokens name.
    pub kid: String,
    algorithm: &'static str,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Rsa(Box<RsaPrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    P521(p521::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
    Secret(Vec<u8>),
}

impl SigningKey {
    /// Every algorithm that [`generate`](Self::generate) knows.
    pub const ALGORITHMS: [&'static str; 13] = [
        "EdDSA", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512", "PS256", "PS384", "PS512", "RS256",
        "RS384", "RS512",
    ];

    /// A fresh key for an algorithm: 2048 bits for RSA, a secret as long as the hash for `HS*`.
    pub fn generate(algorithm: &'static str, kid: &str) -> Self {
        let material = match algorithm {
            "EdDSA" => Material::Ed25519(ed25519_dalek::SigningKey::from_bytes(&random())),
            "ES256" => Material::P256(random_scalar::<32, _, _>(0xff, p256::ecdsa::SigningKey::from_slice)),
            "ES384" => Material::P384(random_scalar::<48, _, _>(0xff, p384::ecdsa::SigningKey::from_slice)),
            "ES512" => Material::P521(random_scalar::<66, _, _>(0x01, p521::ecdsa::SigningKey::from_slice)),
            "HS256" => Material::Secret(random::<32>().to_vec()),
            "HS384" => Material::Secret(random::<48>().to_vec()),
            "HS512" => Material::Secret(random::<64>().to_vec()),
            _ => {
                let key = RsaPrivateKey::new(&mut OsRng, 2048).expect("2048 is a valid RSA size");
                Material::Rsa(Box::new(key))
            }
        };
        Self { kid: kid.to_owned(), algorithm, material }
    }

    /// A fresh 2048 bit RSA key for `RS256`.
    pub fn rs256(kid: &str) -> Self {
        Self::generate("RS256", kid)
    }

    /// A fresh P-256 key for `ES256`.
    pub fn es256(kid: &str) -> Self {
        Self::generate("ES256", kid)
    }

    /// A fresh Ed25519 key for `EdDSA`.
    pub fn eddsa(kid: &str) -> Self {
        Self::generate("EdDSA", kid)
    }

    /// An `HS256` key over the given secret.
    pub fn hs256(kid: &str, secret: &[u8]) -> Self {
        Self::hmac("HS256", kid, secret)
    }

    /// A key for an algorithm of the `HS*` family over the given secret, of any length.
    pub fn hmac(algorithm: &'static str, kid: &str, secret: &[u8]) -> Self {
        Self { kid: kid.to_owned(), algorithm, material: Material::Secret(secret.to_vec()) }
    }

    /// The same key for another algorithm of its family.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: &'static str) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The JWS algorithm that this key signs with.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// The public JWK (RFC 7517), or the secret itself for `HS*`.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        // A point is written as a tag and two coordinates of equal length (SEC 1 section 2.3.3).
        let ec = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
        };
        let mut jwk = match &self.material {
            Material::Rsa(key) => {
                json!({ "kty": "RSA", "n": encode(&key.n().to_bytes_be()), "e": encode(&key.e().to_bytes_be()) })
            }
            Material::P256(key) => ec("P-256", key.verifying_key().to_sec1_point(false).as_bytes()),
            Material::P384(key) => ec("P-384", key.verifying_key().to_sec1_point(false).as_bytes()),
            Material::P521(key) => ec("P-521", key.verifying_key().to_sec1_point(false).as_bytes()),
            Material::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.verifying_key().as_bytes()) })
            }
            Material::Secret(secret) => json!({ "kty": "oct", "k": encode(secret) }),
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A compact JWS over `claims` with the usual header (`alg`, `kid`, `typ: JWT`).
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with_header(&json!({}), claims)
    }

    /// Like [`sign`](Self::sign), with header members added, replaced, or (by `null`) left out.
    pub fn sign_with_header(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(self.header(header).to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// The same with every part padded, as an AWS load balancer signs it.
    pub fn sign_padded(&self, header: &Value, claims: &Value) -> String {
        self.sign_as(&URL_SAFE, self.header(header).to_string().as_bytes(), claims.to_string().as_bytes())
    }

    fn header(&self, header: &Value) -> Value {
        let mut full = json!({ "alg": self.algorithm(), "kid": self.kid, "typ": "JWT" });
        for (name, value) in header.as_object().into_iter().flatten() {
            if value.is_null() {
                full.as_object_mut().expect("made as an object").remove(name);
            } else {
                full[name] = value.clone();
            }
        }
        full
    }

    /// A compact JWS over exactly these header and payload bytes, JSON or not.
    pub fn sign_raw(&self, header: &[u8], payload: &[u8]) -> String {
        self.sign_as(&URL_SAFE_NO_PAD, header, payload)
    }

    fn sign_as(&self, encoding: &GeneralPurpose, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", encoding.encode(header), encoding.encode(payload));
        format!("{input}.{}", encoding.encode(self.signature(input.as_bytes())))
    }

    /// The public half of a P-256 key in PEM, as a `SubjectPublicKeyInfo` (RFC 5480 section 2).
    pub fn pem(&self) -> String {
        /// Two sequences, id-ecPublicKey, prime256v1, and the head of the bit string that is the point.
        const BEFORE_THE_POINT: [u8; 26] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        let point = match &self.material {
            Material::P256(key) => Some(key.verifying_key().to_sec1_point(false)),
            _ => None,
        };
        let point = point.expect("a P-256 key");
        let der = [BEFORE_THE_POINT.as_slice(), point.as_bytes()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        fn by<A: Algorithm>(scheme: &A, key: &A::SigningKey, message: &[u8]) -> Vec<u8> {
            scheme.sign(key, message).as_bytes().into_owned()
        }
        match &self.material {
            Material::Rsa(key) => by(&Rsa::with_name(self.algorithm), key, message),
            Material::P256(key) => Signer::<p256::ecdsa::Signature>::sign(key, message).to_bytes().to_vec(),
            Material::P384(key) => Signer::<p384::ecdsa::Signature>::sign(key, message).to_bytes().to_vec(),
            Material::P521(key) => Signer::<p521::ecdsa::Signature>::sign(key, message).to_bytes().to_vec(),
            Material::Ed25519(key) => by(&Ed25519, key, message),
            Material::Secret(secret) => match self.algorithm {
                "HS384" => by(&Hs384, &Hs384Key::new(secret), message),
                "HS512" => by(&Hs512, &Hs512Key::new(secret), message),
                _ => by(&Hs256, &Hs256Key::new(secret), message),
            },
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// A random number that makes a key; `highest` are the bits that its first byte may have.
fn random_scalar<const N: usize, K, E>(highest: u8, key: impl Fn(&[u8]) -> Result<K, E>) -> K {
    let numbers = std::iter::repeat_with(|| {
        let mut number = random::<N>();
        number[0] &= highest;
        number
    });
    numbers.map(|number| key(&number)).find_map(Result::ok).expect("nearly every number is one")
}

/// A JWKS document (RFC 7517 section 5) with the public halves of `keys`.
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a SigningKey>) -> Value {
    json!({ "keys": keys.into_iter().map(SigningKey::jwk).collect::<Vec<_>>() })
}
