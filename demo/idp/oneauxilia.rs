//! OneAuxilia (and Clerk): sessions of browsers, as JWTs that live for a minute in a cookie of the application.
//!
//! Takes requests below its prefix. There are three sides: the browser's (`/v1/client/`, which knows the browser by a
//! cookie of its own), the application's (`/api/` and `/v1/clients/`, with the secret key), and the operator's switches.
//! Deliberately without passwords: who signs in is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use hyper::header::{LOCATION, REFERRER_POLICY, SET_COOKIE};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::web::{self, fresh, refusal, reply, unix_time, with};
use super::{Switch, is_user};
use crate::http::Answer;
use crate::tokens::{self, SigningKey};

/// What an application proves itself with. The one in `envoy.yaml`.
pub const SECRET_KEY: &str = "sk_demo_oneauxilia";
/// The header that carries it.
pub const SECRET_HEADER: &str = "oneauxiliaauth";
/// The query parameter by which a browser comes back from a handshake.
pub const NONCE: &str = "__clerk_handshake_nonce";

/// The browser's cookie at the provider. Its path keeps it from everything else on this machine.
const CLIENT_COOKIE: &str = "__client";
const TOKEN_LIFETIME: i64 = 60;
/// A browser follows a redirect at once.
const NONCE_LIFETIME: i64 = 30;

pub struct OneAuxilia {
    issuer: String,
    /// The origins of the application: whom tokens are minted for, and where browsers may be sent back to.
    applications: Vec<String>,
    key: SigningKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Browsers by their cookie.
    clients: BTreeMap<String, Client>,
    /// Users by the ids of their sessions.
    sessions: BTreeMap<String, String>,
    disabled: BTreeSet<String>,
    /// What the application shall do when a browser comes back with this nonce, and until when.
    nonces: BTreeMap<String, (Vec<String>, i64)>,
}

#[derive(Clone)]
struct Client {
    session: String,
    signed_in_at: i64,
}

impl OneAuxilia {
    /// A provider whose URL is `issuer`, for the application at the origins `applications`.
    pub fn new(issuer: String, applications: Vec<String>) -> Self {
        Self { issuer, applications, key: SigningKey::rs256("ins_demo"), state: Mutex::default() }
    }

    /// Answers a request for `path`, which is what follows the provider's prefix.
    pub fn answer(&self, path: &str, request: &Request<Bytes>) -> Option<Answer> {
        let form = web::body(request);
        Some(match (request.method(), path) {
            (&Method::GET, "/.well-known/jwks.json") => web::document(&tokens::jwks([&self.key])),
            (&Method::GET, "/v1/client/handshake") => self.handshake(request),
            (&Method::POST, "/v1/client/sign-in") => match web::field(form, "user") {
                Some(user) if is_user(&user) => self.sign_in(&user, request),
                _ => refusal(StatusCode::BAD_REQUEST, "the form needs a `user`: alice or bob"),
            },
            (&Method::POST, "/v1/client/sign-out") => self.sign_out(request),
            (&Method::POST, "/v1/client/token") => self.renew(request),
            (&Method::GET, "/v1/clients/handshake_payload") => self.handshake_payload(request),
            (&Method::POST, path) => {
                let session = path.strip_prefix("/api/v1/sessions/")?.strip_suffix("/verify/")?;
                self.verify(session, request)
            }
            _ => return None,
        })
    }

    /// The URL of something below the provider's.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// Signs a user in and gives a token, as a test or a tour needs it.
    pub fn session_token(&self, user: &str) -> String {
        let session = fresh("sess_");
        self.state().sessions.insert(session.clone(), user.to_owned());
        self.mint(user, &session, self.application_of(None))
    }

    /// Does what the operator wants with a user.
    pub fn switch(&self, switch: Switch, user: &str) {
        let mut state = self.state();
        if switch != Switch::Enable {
            state.sessions.retain(|_, other| other != user);
        }
        match switch {
            Switch::Revoke => {}
            Switch::Disable => _ = state.disabled.insert(user.to_owned()),
            Switch::Enable => _ = state.disabled.remove(user),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The origin that a browser asks from, or the first if it does not say so.
    fn application_of(&self, request: Option<&Request<Bytes>>) -> &str {
        let origin = request.and_then(|request| web::origin_among(request, &self.applications));
        origin.or(self.applications.first()).map_or("", String::as_str)
    }

    /// A session token with the claims of version 1.
    fn mint(&self, user: &str, session: &str, application: &str) -> String {
        let now = unix_time();
        self.key.sign(&json!({
            "iss": self.issuer,
            "sub": format!("user_{user}"),
            "sid": session,
            "azp": application,
            "iat": now,
            "nbf": now,
            "exp": now.saturating_add(TOKEN_LIFETIME),
        }))
    }

    fn sign_in(&self, user: &str, request: &Request<Bytes>) -> Answer {
        if self.state().disabled.contains(user) {
            return refusal(StatusCode::FORBIDDEN, "this user is disabled");
        }
        let (client, session, now) = (fresh("client_"), fresh("sess_"), unix_time());
        let mut state = self.state();
        state.sessions.insert(session.clone(), user.to_owned());
        state.clients.insert(client.clone(), Client { session: session.clone(), signed_in_at: now });
        drop(state);
        let token = self.mint(user, &session, self.application_of(Some(request)));
        let answer = reply(StatusCode::OK, &json!({ "user": user, "session": session, "token": token }));
        let path = self.client_path();
        let answer = with(
            answer,
            SET_COOKIE,
            &format!("{CLIENT_COOKIE}={client}; Path={path}; HttpOnly; SameSite=Lax"),
        );
        // A provider below the domain of the application sets this one for both.
        with(answer, SET_COOKIE, &client_uat(now))
    }

    fn sign_out(&self, request: &Request<Bytes>) -> Answer {
        let mut state = self.state();
        let client = web::cookie(request, CLIENT_COOKIE).and_then(|client| state.clients.remove(client));
        if let Some(client) = client {
            state.sessions.remove(&client.session);
        }
        let path = self.client_path();
        let answer = reply(StatusCode::OK, &json!({ "user": null }));
        let answer = with(
            answer,
            SET_COOKIE,
            &format!("{CLIENT_COOKIE}=; Path={path}; Max-Age=0; HttpOnly; SameSite=Lax"),
        );
        with(answer, SET_COOKIE, &client_uat(0))
    }

    /// What the script of an application asks for before its token expires.
    fn renew(&self, request: &Request<Bytes>) -> Answer {
        match self.signed_in(request) {
            Some((user, client)) => {
                let token = self.mint(&user, &client.session, self.application_of(Some(request)));
                reply(StatusCode::OK, &json!({ "token": token }))
            }
            None => refusal(StatusCode::UNAUTHORIZED, "this browser is not signed in"),
        }
    }

    /// The user of this browser, as long as the session is there.
    fn signed_in(&self, request: &Request<Bytes>) -> Option<(String, Client)> {
        let state = self.state();
        let client = state.clients.get(web::cookie(request, CLIENT_COOKIE)?)?;
        let user = state.sessions.get(&client.session)?;
        Some((user.clone(), client.clone()))
    }

    /// Sends the browser back with a nonce, for which the application gets the cookies that it shall set.
    fn handshake(&self, request: &Request<Bytes>) -> Answer {
        let query = web::query(request);
        if web::field(query, "format").as_deref() != Some("nonce") {
            return refusal(StatusCode::BAD_REQUEST, "this provider speaks format=nonce alone");
        }
        let target = web::field(query, "redirect_url").unwrap_or_default();
        let Some(application) = self.application_at(&target) else {
            return refusal(StatusCode::BAD_REQUEST, "redirect_url must be one of the application");
        };
        let directives = match self.signed_in(request) {
            Some((user, client)) => vec![
                format!("__session={}; Path=/; SameSite=Lax", self.mint(&user, &client.session, application)),
                client_uat(client.signed_in_at),
            ],
            None => vec!["__session=; Path=/; Max-Age=0; SameSite=Lax".to_owned(), client_uat(0)],
        };
        let (nonce, now) = (fresh(""), unix_time());
        let mut state = self.state();
        state.nonces.retain(|_, (_, until)| *until > now);
        state.nonces.insert(nonce.clone(), (directives, now.saturating_add(NONCE_LIFETIME)));

        let separator = if target.contains('?') { '&' } else { '?' };
        let answer = web::text(StatusCode::TEMPORARY_REDIRECT, "");
        let answer = with(answer, REFERRER_POLICY, "no-referrer");
        with(answer, LOCATION, &format!("{target}{separator}{NONCE}={nonce}"))
    }

    /// The origin of the application that this URL is of. Anything else would make this an open redirect, which takes
    /// nonces to whoever asks.
    fn application_at(&self, url: &str) -> Option<&str> {
        let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#\"<>".contains(&byte));
        let is_of =
            |origin: &&String| url.strip_prefix(origin.as_str()).is_some_and(|path| path.starts_with('/'));
        self.applications.iter().find(is_of).filter(|_| is_plain).map(String::as_str)
    }

    fn handshake_payload(&self, request: &Request<Bytes>) -> Answer {
        if !is_application(request) {
            return error(StatusCode::UNAUTHORIZED, "the secret key is not valid");
        }
        let nonce = web::field(web::query(request), "nonce").unwrap_or_default();
        // Whoever comes second with it gets nothing.
        match self.state().nonces.remove(&nonce) {
            Some((directives, until)) if until > unix_time() => {
                reply(StatusCode::OK, &json!({ "directives": directives }))
            }
            _ => error(StatusCode::NOT_FOUND, "there is no such nonce"),
        }
    }

    fn verify(&self, session: &str, request: &Request<Bytes>) -> Answer {
        if !is_application(request) {
            return error(StatusCode::UNAUTHORIZED, "the secret key is not valid");
        }
        match self.state().sessions.get(session) {
            Some(user) => {
                let data = json!({ "id": session, "user_id": format!("user_{user}"), "status": "active" });
                reply(StatusCode::OK, &json!({ "code": 200, "data": data, "message": "success" }))
            }
            None => error(StatusCode::NOT_FOUND, "there is no such session"),
        }
    }

    fn client_path(&self) -> String {
        let path = self.issuer.splitn(4, '/').nth(3).unwrap_or_default();
        format!("/{path}/v1/client")
    }
}

fn is_application(request: &Request<Bytes>) -> bool {
    web::header(request, SECRET_HEADER) == Some(SECRET_KEY)
}

fn client_uat(signed_in_at: i64) -> String {
    format!("__client_uat={signed_in_at}; Path=/; SameSite=Lax")
}

fn error(status: StatusCode, message: &str) -> Answer {
    let body: Value = json!({ "code": status.as_u16(), "error": message, "message": message });
    reply(status, &body)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::super::web::testing::{header, read, request, set_cookies};
    use super::*;

    const APP: &str = "http://127.0.0.1:10000";
    const SECOND: &str = "http://127.0.0.1:9080";

    /// Making a key takes a while; the state of one test is of users of its own.
    static PROVIDER: LazyLock<OneAuxilia> =
        LazyLock::new(|| OneAuxilia::new("http://127.0.0.1:10002/oneauxilia".to_owned(), origins()));

    fn origins() -> Vec<String> {
        [APP, SECOND].map(str::to_owned).to_vec()
    }

    fn ask(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let request = request(method, path, headers, body);
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        PROVIDER.answer(path, &request).unwrap()
    }

    /// The cookie that a browser has after it signed in, and the id of its session.
    async fn browser(user: &str) -> (String, String) {
        let answer = ask("POST", "/v1/client/sign-in", &[], &format!("user={user}"));
        let cookies = set_cookies(&answer);
        assert!(cookies[0].contains("; Path=/oneauxilia/v1/client; HttpOnly; SameSite=Lax"), "{cookies:?}");
        assert!(cookies[1].starts_with("__client_uat=1"), "{cookies:?}");
        let cookie = cookies[0].split(';').next().unwrap().to_owned();
        let session = read(answer).await.1["session"].as_str().unwrap().to_owned();
        (cookie, session)
    }

    const KEY: (&str, &str) = (SECRET_HEADER, SECRET_KEY);

    /// What the application is told to set when a browser with `cookie` has been to the handshake.
    async fn handshake(cookie: &str) -> Vec<String> {
        let path =
            "/v1/client/handshake?format=nonce&redirect_url=http%3A%2F%2F127.0.0.1%3A10000%2Fa%3Fb%3Dc";
        let answer = ask("GET", path, &[("cookie", cookie)], "");
        assert_eq!(answer.status(), 307);
        let nonce =
            header(&answer, "location").unwrap().strip_prefix("http://127.0.0.1:10000/a?b=c&").unwrap();
        let payload = format!("/v1/clients/handshake_payload?nonce={}", nonce.split_once('=').unwrap().1);
        assert_eq!(ask("GET", &payload, &[], "").status(), 401, "without the secret key");
        let (status, answer) = read(ask("GET", &payload, &[KEY], "")).await;
        assert_eq!(status, 200);
        assert_eq!(ask("GET", &payload, &[KEY], "").status(), 404, "a nonce counts once");
        serde_json::from_value(answer["directives"].clone()).unwrap()
    }

    #[tokio::test]
    async fn a_handshake_gives_a_browser_that_is_signed_in_a_token_and_takes_it_from_any_other() {
        let (cookie, _) = browser("alice").await;
        let directives = handshake(&cookie).await;
        assert!(directives[0].starts_with("__session=eyJ"), "{directives:?}");
        assert!(directives[1].starts_with("__client_uat=1"), "{directives:?}");
        for other in ["", "__client=client_0", "a__client=x"] {
            let directives = handshake(other).await;
            assert_eq!(
                directives,
                ["__session=; Path=/; Max-Age=0; SameSite=Lax", "__client_uat=0; Path=/; SameSite=Lax"]
            );
        }
    }

    #[test]
    fn a_handshake_sends_nobody_anywhere_but_to_the_application() {
        for target in [
            "http://evil.example/",
            "http://127.0.0.1:10000.evil.example/",
            "http://127.0.0.1:10000@evil.example/",
            "http://127.0.0.1:100000/",
            "http://127.0.0.1:10000",
            "https://127.0.0.1:10000/",
            "//127.0.0.1:10000/",
            "http://127.0.0.1:10000/%0d%0aset-cookie:a=b",
            "http://127.0.0.1:10000/%5c",
            "http://127.0.0.1:10000/%23",
            "",
        ] {
            let path = format!("/v1/client/handshake?format=nonce&redirect_url={target}");
            assert_eq!(ask("GET", &path.replace('@', "%40"), &[], "").status(), 400, "{target}");
        }
        let path = format!("/v1/client/handshake?redirect_url={APP}/");
        assert_eq!(ask("GET", &path, &[], "").status(), 400, "another format");
    }

    #[tokio::test]
    async fn a_token_is_for_the_origin_that_the_browser_is_at() {
        let (cookie, _) = browser("alice").await;
        for (headers, origin) in [(&[][..], APP), (&[("origin", APP)], APP), (&[("origin", SECOND)], SECOND)]
        {
            let headers = [headers, &[("cookie", &*cookie)]].concat();
            let (_, answer) = read(ask("POST", "/v1/client/token", &headers, "")).await;
            assert_eq!(authorized_party(answer["token"].as_str().unwrap()), origin);
        }
        let path = format!("/v1/client/handshake?format=nonce&redirect_url={SECOND}/");
        let answer = ask("GET", &path, &[("cookie", &cookie)], "");
        let nonce = header(&answer, "location").unwrap().split_once('=').unwrap().1.to_owned();
        let payload = format!("/v1/clients/handshake_payload?nonce={nonce}");
        let (_, answer) = read(ask("GET", &payload, &[KEY], "")).await;
        let directive = answer["directives"][0].as_str().unwrap();
        let token = directive.strip_prefix("__session=").and_then(|rest| rest.split(';').next()).unwrap();
        assert_eq!(authorized_party(token), SECOND);
    }

    fn authorized_party(token: &str) -> String {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        claims["azp"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_session_is_verified_until_it_is_revoked() {
        let (cookie, session) = browser("bob").await;
        let path = format!("/api/v1/sessions/{session}/verify/");
        assert_eq!(ask("POST", &path, &[(SECRET_HEADER, "sk_other")], "").status(), 401);
        let (status, body) = read(ask("POST", &path, &[KEY], "")).await;
        assert_eq!(
            (status, &body["message"], &body["data"]["user_id"]),
            (200, &json!("success"), &json!("user_bob"))
        );
        assert_eq!(ask("POST", "/v1/client/token", &[("cookie", &cookie)], "").status(), 200);

        PROVIDER.switch(Switch::Revoke, "bob");
        let (status, body) = read(ask("POST", &path, &[KEY], "")).await;
        assert_eq!((status, &body["code"]), (404, &json!(404)));
        assert_eq!(ask("POST", "/v1/client/token", &[("cookie", &cookie)], "").status(), 401);
        assert!(handshake(&cookie).await[0].starts_with("__session=;"));
    }

    #[tokio::test]
    async fn a_disabled_user_cannot_sign_in() {
        let provider = OneAuxilia {
            state: Mutex::default(),
            issuer: String::new(),
            applications: origins(),
            key: PROVIDER.key.clone(),
        };
        let sign_in =
            || provider.answer("/v1/client/sign-in", &request("POST", "/", &[], "user=alice")).unwrap();
        provider.switch(Switch::Disable, "alice");
        assert_eq!(sign_in().status(), 403);
        provider.switch(Switch::Enable, "alice");
        assert_eq!(sign_in().status(), 200);
    }
}
