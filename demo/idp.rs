//! The demo identity provider: publishes its keys and mints a token for whoever asks.
//!
//! Takes what the token shall say, gives a JWT that is signed with a key of this run. Deliberately asks for no password
//! and speaks no OAuth: it stands for what a client has after it signed in somewhere.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::http::Answer;
use super::tokens::{self, SigningKey};

const INDEX: &str = "\
The demo identity provider of edge-authn

GET /.well-known/openid-configuration
GET /.well-known/jwks.json
GET /token?sub=alice&aud=demo-api&expires_in=300&alg=RS256&scope=orders:read
    all parameters are optional; alg is RS256, ES256 or EdDSA; a negative expires_in mints an expired token
POST /rotate
    publishes another EdDSA key and signs with it from then on
";

/// An issuer with keys for each algorithm, of which the newest signs.
pub struct IdentityProvider {
    issuer: String,
    keys: RwLock<Vec<SigningKey>>,
}

/// What a token shall say. The default is good for the demo gateway.
#[derive(Clone)]
pub struct TokenRequest {
    /// Who the token is about.
    pub sub: String,
    /// Whom it is for.
    pub aud: String,
    /// Seconds from now, negative for a token that is over.
    pub expires_in: i64,
    /// The algorithm, and by it the key.
    pub alg: String,
    /// What the bearer may do.
    pub scope: String,
}

impl IdentityProvider {
    /// A provider that names itself `issuer`, with fresh keys.
    pub fn new(issuer: String) -> Self {
        let keys = vec![
            SigningKey::rs256("demo-rsa"),
            SigningKey::es256("demo-ec"),
            SigningKey::eddsa("demo-ed25519"),
        ];
        Self { issuer, keys: RwLock::new(keys) }
    }

    /// Publishes another EdDSA key and signs with it from now on.
    pub fn rotate(&self) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let key_id = format!("demo-ed25519-{}", keys.len());
        keys.push(SigningKey::eddsa(&key_id));
    }

    fn keys(&self) -> RwLockReadGuard<'_, Vec<SigningKey>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A signed token, or the reason why there is none.
    pub fn mint(&self, request: &TokenRequest) -> Result<String, String> {
        let TokenRequest { sub, aud, expires_in, alg, scope } = request;
        let keys = self.keys();
        let key = keys
            .iter()
            .rfind(|key| key.algorithm() == alg)
            .ok_or_else(|| format!("alg `{alg}` is none of RS256, ES256, EdDSA"))?;
        let iat = unix_time();
        let exp = iat.saturating_add(*expires_in);
        let iss = &self.issuer;
        Ok(key.sign(&json!({ "iss": iss, "sub": sub, "aud": aud, "iat": iat, "exp": exp, "scope": scope })))
    }

    /// Answers one HTTP request.
    pub fn answer(&self, request: &Request<Bytes>) -> Answer {
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX),
            "/.well-known/jwks.json" => document(&tokens::jwks(self.keys().iter())),
            "/.well-known/openid-configuration" => document(&self.metadata()),
            "/rotate" if request.method() == Method::POST => {
                self.rotate();
                text(StatusCode::OK, "there is a new key\n")
            }
            "/token" => {
                let query = request.uri().query().unwrap_or_default();
                match TokenRequest::from_query(query).and_then(|request| self.mint(&request)) {
                    Ok(token) => text(StatusCode::OK, &token),
                    Err(message) => text(StatusCode::BAD_REQUEST, &format!("{message}\n")),
                }
            }
            path => text(StatusCode::NOT_FOUND, &format!("there is no {path}; / lists what there is\n")),
        }
    }

    fn metadata(&self) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
        })
    }
}

impl Default for TokenRequest {
    fn default() -> Self {
        Self {
            sub: "alice".to_owned(),
            aud: "demo-api".to_owned(),
            expires_in: 300,
            alg: "RS256".to_owned(),
            scope: "orders:read".to_owned(),
        }
    }
}

impl TokenRequest {
    /// Reads a query string; what it does not name has its default.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let mut request = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decoded(value);
            match name {
                "sub" => request.sub = value,
                "aud" => request.aud = value,
                "expires_in" => {
                    request.expires_in = value
                        .parse()
                        .map_err(|_| format!("expires_in `{value}` is not a number of seconds"))?;
                }
                "alg" => request.alg = value,
                "scope" => request.scope = value,
                _ => {
                    return Err(format!("`{name}` is none of sub, aud, expires_in, alg, scope"));
                }
            }
        }
        Ok(request)
    }
}

fn document(value: &Value) -> Answer {
    answer(StatusCode::OK, "application/json", format!("{value:#}\n"), "public, max-age=300")
}

fn text(status: StatusCode, body: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.to_owned(), "no-store")
}

fn answer(status: StatusCode, content_type: &str, body: String, cache_control: &str) -> Answer {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, cache_control)
        .body(Full::from(body))
        .expect("the headers are valid")
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().replace('+', " ").into_bytes();
    for part in parts {
        let decoded =
            part.split_at_checked(2).and_then(|(hex, rest)| Some((u8::from_str_radix(hex, 16).ok()?, rest)));
        let (byte, rest) = decoded.unwrap_or((b'%', part));
        bytes.push(byte);
        bytes.extend_from_slice(rest.replace('+', " ").as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn unix_time() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "an issuer dates its tokens")]
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_what_differs_from_the_default() {
        let request = TokenRequest::from_query("sub=b%C3%B6b&scope=a+b%20c&expires_in=-60").unwrap();
        assert_eq!(request.sub, "böb");
        assert_eq!(request.scope, "a b c");
        assert_eq!(request.expires_in, -60);
        assert_eq!(request.aud, "demo-api");
    }

    #[test]
    fn an_unknown_parameter_is_an_error_that_lists_the_known_ones() {
        let error = TokenRequest::from_query("subject=bob").err().unwrap();
        assert_eq!(error, "`subject` is none of sub, aud, expires_in, alg, scope");
    }
}
