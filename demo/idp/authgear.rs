//! Authgear: sessions in cookies and tokens of both kinds, and the resolver that a gateway asks about them.
//!
//! Takes requests below its prefix. What the resolver says is exact, odd answers included: a bad token is no session at
//! all, a bad session cookie is one that is not valid. Deliberately without passwords: who signs in is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use hyper::header::{HOST, HeaderName, SET_COOKIE};
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::web::{self, fresh, refusal, reply, unix_time, with};
use super::{Switch, is_user};
use crate::http::Answer;
use crate::tokens::{self, SigningKey};

const TOKEN_LIFETIME: i64 = 1800;
const CLEAR_COOKIE: &str = "session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax";

pub struct Authgear {
    endpoint: String,
    key: SigningKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<String, Session>,
    /// What stands for a session, by its text.
    credentials: BTreeMap<String, Credential>,
    disabled: BTreeSet<String>,
}

struct Session {
    user: String,
    authenticated_at: i64,
}

struct Credential {
    kind: Kind,
    session: String,
    expires_at: i64,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    AccessToken,
    AppSession,
    IdpSession,
}

/// All that one sign-in gives.
pub struct SignedIn {
    /// The value of the cookie `session`.
    pub session: String,
    /// An access token that is a JWT.
    pub token: String,
    /// One that is not.
    pub opaque_token: String,
    /// The value of the cookie `app_session`.
    pub app_session: String,
}

impl Authgear {
    /// A provider whose endpoint is this URL.
    pub fn new(endpoint: String) -> Self {
        Self { endpoint, key: SigningKey::rs256("authgear-demo"), state: Mutex::default() }
    }

    /// Answers a request for `path`, which is what follows the provider's prefix.
    pub fn answer(&self, path: &str, request: &Request<Bytes>) -> Option<Answer> {
        let form = web::body(request);
        Some(match (request.method(), path) {
            (&Method::GET | &Method::HEAD, "/_resolver/resolve") => self.resolve(request),
            (_, "/_resolver/resolve") => web::text(StatusCode::METHOD_NOT_ALLOWED, ""),
            (&Method::GET, "/oauth2/jwks") => web::document(&tokens::jwks([&self.key])),
            (&Method::GET, "/.well-known/openid-configuration") => {
                let Self { endpoint, .. } = self;
                web::document(&json!({ "issuer": endpoint, "jwks_uri": format!("{endpoint}/oauth2/jwks") }))
            }
            (&Method::POST, "/sign-in") => match web::field(form, "user") {
                Some(user) if is_user(&user) && !self.state().disabled.contains(&user) => {
                    let SignedIn { session, token, opaque_token, app_session } = self.sign_in(&user);
                    let answer = json!({ "user": user, "token": token, "opaque_token": opaque_token, "app_session": app_session });
                    let cookie = format!("session={session}; Path=/; HttpOnly; SameSite=Lax");
                    with(reply(StatusCode::OK, &answer), SET_COOKIE, &cookie)
                }
                Some(user) if is_user(&user) => refusal(StatusCode::FORBIDDEN, "this user is disabled"),
                _ => refusal(StatusCode::BAD_REQUEST, "the form needs a `user`: alice or bob"),
            },
            (&Method::POST, "/sign-out") => {
                let mut state = self.state();
                let credential =
                    web::cookie(request, "session").and_then(|cookie| state.credentials.remove(cookie));
                if let Some(Credential { session, .. }) = credential {
                    state.sessions.remove(&session);
                }
                with(reply(StatusCode::OK, &json!({ "user": null })), SET_COOKIE, CLEAR_COOKIE)
            }
            _ => return None,
        })
    }

    /// Signs a user in.
    pub fn sign_in(&self, user: &str) -> SignedIn {
        let (id, now) = (fresh(""), unix_time());
        let token = self.key.sign_with_header(
            &json!({ "typ": "at+jwt" }),
            &json!({
                "iss": self.endpoint,
                "aud": [self.endpoint],
                "sub": user,
                "client_id": "demo",
                "scope": "openid",
                "iat": now,
                "exp": now.saturating_add(TOKEN_LIFETIME),
                "jti": fresh(""),
                "auth_time": now,
                "amr": ["pwd"],
                "https://authgear.com/claims/user/is_anonymous": false,
                "https://authgear.com/claims/user/is_verified": true,
                "https://authgear.com/claims/user/can_reauthenticate": true,
                "https://authgear.com/claims/user/roles": roles(user),
            }),
        );
        let signed_in =
            SignedIn { session: fresh(""), token, opaque_token: fresh(""), app_session: fresh("") };
        let mut state = self.state();
        for (credential, kind, expires_at) in [
            (&signed_in.session, Kind::IdpSession, i64::MAX),
            (&signed_in.app_session, Kind::AppSession, i64::MAX),
            (&signed_in.token, Kind::AccessToken, now.saturating_add(TOKEN_LIFETIME)),
            (&signed_in.opaque_token, Kind::AccessToken, now.saturating_add(TOKEN_LIFETIME)),
        ] {
            let credential_of = Credential { kind, session: id.clone(), expires_at };
            state.credentials.insert(credential.clone(), credential_of);
        }
        state.sessions.insert(id, Session { user: user.to_owned(), authenticated_at: now });
        signed_in
    }

    /// Does what the operator wants with a user. A disabled one keeps sessions, which are not valid meanwhile.
    pub fn switch(&self, switch: Switch, user: &str) {
        let mut state = self.state();
        match switch {
            Switch::Revoke => state.sessions.retain(|_, session| session.user != user),
            Switch::Disable => _ = state.disabled.insert(user.to_owned()),
            Switch::Enable => _ = state.disabled.remove(user),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve(&self, request: &Request<Bytes>) -> Answer {
        // The host names the project. What a proxy says about it is not believed.
        let host = web::header(request, HOST).unwrap_or_default();
        if !self.endpoint.starts_with(&format!("http://{host}/")) {
            return web::text(StatusCode::NOT_FOUND, "there is no such project\n");
        }
        let answer = web::text(StatusCode::OK, "");
        let cookie = |name| web::cookie(request, name);
        let state = self.state();
        // The first that is valid counts: one that is not is passed over.
        let found = [
            (web::bearer(request), Kind::AccessToken),
            (cookie("app_session"), Kind::AppSession),
            (cookie("app_access_token"), Kind::AccessToken),
            (cookie("session"), Kind::IdpSession),
        ]
        .into_iter()
        .find_map(|(text, kind)| state.find(text?, kind));
        match found {
            Some(session) if !state.disabled.contains(&session.user) => valid(answer, session),
            None if cookie("session").is_none() => answer,
            _ => {
                let answer = with(answer, authgear("session-valid"), "false");
                if cookie("session").is_some() { with(answer, SET_COOKIE, CLEAR_COOKIE) } else { answer }
            }
        }
    }
}

impl State {
    fn find(&self, text: &str, kind: Kind) -> Option<&Session> {
        let credential = self.credentials.get(text)?;
        let counts = credential.kind == kind && credential.expires_at > unix_time();
        counts.then(|| self.sessions.get(&credential.session)).flatten()
    }
}

fn valid(answer: Answer, session: &Session) -> Answer {
    let roles = roles(&session.user);
    let answer = [
        ("session-valid", "true"),
        ("user-id", &session.user),
        ("user-anonymous", "false"),
        ("user-verified", "true"),
        ("user-can-reauthenticate", "true"),
        ("session-amr", "pwd"),
        ("session-authenticated-at", &session.authenticated_at.to_string()),
    ]
    .into_iter()
    .fold(answer, |answer, (name, value)| with(answer, authgear(name), value));
    // Who has no role has no header.
    if roles.is_empty() { answer } else { with(answer, authgear("user-roles"), &roles.join(",")) }
}

fn authgear(name: &str) -> HeaderName {
    HeaderName::try_from(format!("x-authgear-{name}")).expect("the names are valid")
}

fn roles(user: &str) -> &'static [&'static str] {
    if user == "alice" { &["reader", "writer"] } else { &[] }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::web::testing::{header, request, set_cookies};
    use super::*;

    static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rs256("authgear-demo"));

    fn provider() -> Authgear {
        let endpoint = "http://127.0.0.1:10002/authgear".to_owned();
        Authgear { endpoint, key: KEY.clone(), state: Mutex::default() }
    }

    /// All that the resolver says: `valid`, the user, and whether it clears the cookie.
    fn resolve(provider: &Authgear, headers: &[(&str, &str)]) -> (Option<String>, Option<String>, bool) {
        let mut all = vec![("host", "127.0.0.1:10002")];
        all.extend(headers);
        let answer = provider.answer("/_resolver/resolve", &request("GET", "/", &all, "")).unwrap();
        assert_eq!(answer.status(), 200);
        let value = |name: &str| header(&answer, name).map(str::to_owned);
        let clears = set_cookies(&answer).iter().any(|cookie| cookie.starts_with("session=; "));
        (value("x-authgear-session-valid"), value("x-authgear-user-id"), clears)
    }

    fn as_user(user: &str) -> (Option<String>, Option<String>, bool) {
        (Some("true".to_owned()), Some(user.to_owned()), false)
    }

    fn not_valid(clears: bool) -> (Option<String>, Option<String>, bool) {
        (Some("false".to_owned()), None, clears)
    }

    #[test]
    fn the_resolver_says_nothing_of_a_bad_token_and_that_a_bad_session_cookie_is_not_valid() {
        let provider = provider();
        let nothing = (None, None, false);
        assert_eq!(resolve(&provider, &[]), nothing);
        assert_eq!(resolve(&provider, &[("authorization", "Bearer bad")]), nothing);
        assert_eq!(resolve(&provider, &[("cookie", "app_session=bad; app_access_token=bad")]), nothing);
        assert_eq!(resolve(&provider, &[("cookie", "session=bad")]), not_valid(true));
        let both = [("authorization", "Bearer bad"), ("cookie", "session=bad")];
        assert_eq!(resolve(&provider, &both), not_valid(true));
    }

    #[test]
    fn the_resolver_takes_the_first_valid_credential_and_passes_over_bad_ones() {
        let provider = provider();
        let (alice, bob) = (provider.sign_in("alice"), provider.sign_in("bob"));
        let bearer = |token: &str| format!("bearer {token}");
        let session = format!("session={}", bob.session);
        for token in [&alice.token, &alice.opaque_token] {
            let headers = [("authorization", &*bearer(token)), ("cookie", &session)];
            assert_eq!(resolve(&provider, &headers), as_user("alice"));
        }
        let headers = [("authorization", "Bearer bad"), ("cookie", &*session)];
        assert_eq!(resolve(&provider, &headers), as_user("bob"));
        for name in ["app_session", "app_access_token"] {
            let value = if name == "app_session" { &alice.app_session } else { &alice.token };
            let cookies = format!("{session}; {name}={value}");
            assert_eq!(resolve(&provider, &[("cookie", &cookies)]), as_user("alice"));
        }
        let confused = format!("session={}; app_session={}", alice.app_session, alice.session);
        assert_eq!(resolve(&provider, &[("cookie", &confused)]), not_valid(true), "each at its own place");
    }

    #[test]
    fn a_valid_session_has_eight_headers_and_one_of_a_user_without_roles_seven() {
        let provider = provider();
        for (user, count) in [("alice", 8), ("bob", 7)] {
            let cookie = format!("session={}", provider.sign_in(user).session);
            let headers = [("host", "127.0.0.1:10002"), ("cookie", &*cookie)];
            let answer = provider.answer("/_resolver/resolve", &request("HEAD", "/", &headers, "")).unwrap();
            let names = answer.headers().keys().filter(|name| name.as_str().starts_with("x-authgear-"));
            assert_eq!(names.count(), count);
            assert_eq!(header(&answer, "x-authgear-user-roles").is_some(), user == "alice");
        }
    }

    #[test]
    fn a_disabled_user_is_not_valid_and_a_revoked_session_is_none() {
        let provider = provider();
        let alice = provider.sign_in("alice");
        let bearer = [("authorization", &*format!("Bearer {}", alice.token))].map(|(n, v)| (n, v.to_owned()));
        let bearer = bearer.each_ref().map(|(name, value)| (*name, value.as_str()));
        let cookie = format!("session={}", alice.session);
        provider.switch(Switch::Disable, "alice");
        assert_eq!(resolve(&provider, &bearer), not_valid(false));
        assert_eq!(resolve(&provider, &[("cookie", &cookie)]), not_valid(true));
        provider.switch(Switch::Enable, "alice");
        assert_eq!(resolve(&provider, &bearer), as_user("alice"));
        provider.switch(Switch::Revoke, "alice");
        assert_eq!(resolve(&provider, &bearer), (None, None, false));
        assert_eq!(resolve(&provider, &[("cookie", &cookie)]), not_valid(true));
    }

    #[test]
    fn the_resolver_knows_one_host_and_two_methods() {
        let provider = provider();
        let forged = [("host", "evil.example"), ("x-forwarded-host", "127.0.0.1:10002")];
        let status = |method, headers: &[(&str, &str)]| {
            provider
                .answer("/_resolver/resolve", &request(method, "/", headers, ""))
                .unwrap()
                .status()
                .as_u16()
        };
        assert_eq!(status("GET", &forged), 404);
        assert_eq!(status("POST", &[("host", "127.0.0.1:10002")]), 405);
    }
}
