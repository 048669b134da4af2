//! The demo identity provider: publishes its keys and mints a token for whoever asks, and plays OneAuxilia, Authgear and
//! Stack Auth, each below a path of its own.
//!
//! Takes what the token shall say, gives a JWT that is signed with a key of this run. Deliberately asks for no password:
//! it stands for what a client has after it signed in somewhere. Its switches are for whoever can reach it, but not for
//! pages of other sites.

mod authgear;
mod introspection;
mod oneauxilia;
mod stack;
pub mod web;

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use self::authgear::Authgear;
use self::introspection::Introspection;
use self::oneauxilia::OneAuxilia;
use self::stack::Stack;
use self::web::{document, text, unix_time};
use crate::http::Answer;
use crate::tokens::{self, SigningKey};

pub use self::oneauxilia::{NONCE, SECRET_HEADER, SECRET_KEY};

/// Who can sign in.
const USERS: [&str; 2] = ["alice", "bob"];

const INDEX: &str = "\
The demo identity provider of edge-authn

GET /.well-known/openid-configuration
GET /.well-known/jwks.json
GET /token?sub=alice&aud=demo-api&expires_in=300&alg=RS256&scope=orders:read
    all parameters are optional; alg is RS256, ES256 or EdDSA; a negative expires_in mints an expired token
POST /rotate
    publishes another EdDSA key and signs with it from then on
POST /introspect, POST /revoke (as gateway:demo-secret, -d token=...)
    whether such a token still counts; that it no longer does

OneAuxilia, for the cookie __session
    POST /oneauxilia/v1/client/sign-in (-d user=alice), sign-out, token; GET /oneauxilia/v1/client/handshake
Authgear, for the cookie session, or Bearer
    POST /authgear/sign-in (-d user=alice), sign-out; GET /authgear/_resolver/resolve
Stack Auth, for x-stack-access-token
    POST /stack/sign-in (-d user=alice), sign-out, token; GET /api/v1/users/me
Each of them
    POST /oneauxilia/revoke, disable, enable (-d user=alice)
    ends what alice has, keeps alice out, lets alice in again; to revoke at Stack Auth is to delete the user
";

/// An issuer with keys for each algorithm, of which the newest signs, and three providers beside it.
pub struct IdentityProvider {
    issuer: String,
    gateways: Vec<String>,
    keys: RwLock<Vec<SigningKey>>,
    introspection: Introspection,
    /// Sessions of browsers.
    pub oneauxilia: OneAuxilia,
    /// Sessions that a resolver knows.
    pub authgear: Authgear,
    /// Tokens that a REST API knows.
    pub stack: Stack,
}

/// What an operator does with a user.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Switch {
    /// End everything that the user has.
    Revoke,
    /// Keep the user out.
    Disable,
    /// Let the user in again.
    Enable,
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
    /// A provider that names itself `issuer`, with fresh keys, for an application at the origins `gateways`.
    pub fn new(issuer: String, gateways: Vec<String>) -> Self {
        let keys = vec![
            SigningKey::rs256("demo-rsa"),
            SigningKey::es256("demo-ec"),
            SigningKey::eddsa("demo-ed25519"),
        ];
        Self {
            oneauxilia: OneAuxilia::new(format!("{issuer}/oneauxilia"), gateways.clone()),
            authgear: Authgear::new(format!("{issuer}/authgear")),
            stack: Stack::new(),
            introspection: Introspection::default(),
            keys: RwLock::new(keys),
            issuer,
            gateways,
        }
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
        let claims = json!({ "iss": iss, "sub": sub, "aud": aud, "iat": iat, "exp": exp, "scope": scope });
        let token = key.sign(&claims);
        self.introspection.note(&token, claims);
        Ok(token)
    }

    /// Answers one HTTP request.
    pub fn answer(&self, request: &Request<Bytes>) -> Answer {
        let gateway = web::origin_among(request, &self.gateways);
        if gateway.is_none() && web::is_foreign(request, &self.issuer) {
            return text(StatusCode::FORBIDDEN, "this form comes from another site\n");
        }
        let answer = self.answer_of_provider(request).unwrap_or_else(|| self.own_answer(request));
        match gateway.or(self.gateways.first()) {
            Some(gateway) => web::readable_by(answer, gateway),
            None => answer,
        }
    }

    /// The answer of one of the three.
    fn answer_of_provider(&self, request: &Request<Bytes>) -> Option<Answer> {
        let path = request.uri().path();
        if let Some(path) = path.strip_prefix("/api/v1") {
            return self.stack.api(path, request);
        }
        let path = path.strip_prefix('/')?;
        let (provider, path) = path.split_at_checked(path.find('/')?)?;
        let switch = match (request.method(), path) {
            (&Method::POST, "/revoke") => Some(Switch::Revoke),
            (&Method::POST, "/disable") => Some(Switch::Disable),
            (&Method::POST, "/enable") => Some(Switch::Enable),
            _ => None,
        };
        let user = web::field(web::body(request), "user").unwrap_or_default();
        if !matches!(provider, "oneauxilia" | "authgear" | "stack") {
            return None;
        }
        match (provider, switch) {
            (_, Some(_)) if !is_user(&user) => {
                return Some(web::refusal(StatusCode::BAD_REQUEST, "the form needs a `user`: alice or bob"));
            }
            ("oneauxilia", Some(switch)) => self.oneauxilia.switch(switch, &user),
            ("authgear", Some(switch)) => self.authgear.switch(switch, &user),
            (_, Some(switch)) => self.stack.switch(switch, &user),
            ("oneauxilia", None) => return self.oneauxilia.answer(path, request),
            ("authgear", None) => return self.authgear.answer(path, request),
            (_, None) => return self.stack.answer(path, request),
        }
        Some(web::reply(StatusCode::OK, &json!({ "user": user })))
    }

    fn own_answer(&self, request: &Request<Bytes>) -> Answer {
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX),
            "/introspect" if request.method() == Method::POST => self.introspection.introspect(request),
            "/revoke" if request.method() == Method::POST => self.introspection.revoke(request),
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
        for (name, value) in web::pairs(query) {
            match name.as_str() {
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

fn is_user(user: &str) -> bool {
    USERS.contains(&user)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::web::testing::{header, read, request, set_cookies};
    use super::*;

    const GATEWAY: &str = "http://127.0.0.1:10000";
    const OTHER_GATEWAY: &str = "http://127.0.0.1:9080";

    static PROVIDER: LazyLock<IdentityProvider> = LazyLock::new(|| {
        IdentityProvider::new(
            "http://127.0.0.1:10002".to_owned(),
            [GATEWAY, OTHER_GATEWAY].map(str::to_owned).to_vec(),
        )
    });

    #[tokio::test]
    async fn a_page_of_another_site_can_neither_use_the_switches_nor_read_answers() {
        for path in ["/rotate", "/stack/sign-in", "/authgear/sign-in", "/oneauxilia/v1/client/sign-in"] {
            for origin in ["http://evil.example", "null", "http://127.0.0.1:10000.evil.example", ""] {
                let request = request("POST", path, &[("origin", origin)], "user=alice");
                let answer = PROVIDER.answer(&request);
                assert_eq!(answer.status(), 403, "{path} {origin}");
                assert_eq!(set_cookies(&answer), [""; 0]);
                assert_eq!(header(&answer, "access-control-allow-origin"), None);
            }
            for (headers, reader) in [
                (&[("origin", GATEWAY)][..], GATEWAY),
                (&[("origin", OTHER_GATEWAY)], OTHER_GATEWAY),
                (&[], GATEWAY),
            ] {
                let answer = PROVIDER.answer(&request("POST", path, headers, "user=alice"));
                assert_eq!(answer.status(), 200, "{path}");
                assert_eq!(header(&answer, "access-control-allow-origin"), Some(reader));
            }
            let get = PROVIDER.answer(&request("GET", path, &[], "user=alice"));
            assert_eq!(get.status(), 404, "{path} by GET");
        }
    }

    #[tokio::test]
    async fn switches_are_for_users_that_are_known() {
        let switch = |path: &str, form| PROVIDER.answer(&request("POST", path, &[], form));
        assert_eq!(read(switch("/authgear/disable", "user=bob")).await, (200, json!({ "user": "bob" })));
        assert_eq!(switch("/authgear/sign-in", "user=bob").status(), 403);
        assert_eq!(switch("/authgear/enable", "user=bob").status(), 200);
        assert_eq!(switch("/authgear/sign-in", "user=bob").status(), 200);
        for form in ["user=mallory", "", "user=%00"] {
            assert_eq!(switch("/authgear/disable", form).status(), 400);
            assert_eq!(switch("/stack/sign-in", form).status(), 400);
        }
        assert_eq!(switch("/other/disable", "user=bob").status(), 404);
    }

    #[tokio::test]
    async fn a_token_can_be_introspected() {
        let (_, token) = read_text(PROVIDER.answer(&request("GET", "/token?sub=carol", &[], ""))).await;
        let form = format!("token={token}&client_id=gateway&client_secret=demo-secret");
        let (status, answer) = read(PROVIDER.answer(&request("POST", "/introspect", &[], &form))).await;
        assert_eq!((status, &answer["active"], &answer["sub"]), (200, &json!(true), &json!("carol")));
    }

    async fn read_text(answer: Answer) -> (u16, String) {
        use http_body_util::BodyExt as _;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

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
