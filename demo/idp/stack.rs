//! Stack Auth: access tokens in a header, and the REST API that tells who they are about.
//!
//! Takes requests for `/api/v1/` and for the switches. It judges a token by what the token says, in the order of the real
//! API: a session that ended is not noticed while its token lasts, but a user who is gone or restricted is. Deliberately
//! without passwords: who signs in is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;
use hyper::header::HeaderName;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::web::{self, fresh, refusal, reply, unix_time, with};
use super::{Switch, is_user};
use crate::http::Answer;
use crate::tokens::{self, SigningKey};

/// The project, and what its backend proves itself with. Those in `envoy.yaml`.
pub const PROJECT: &str = "2f7b6a0e-57d0-4d5e-9a53-0b4c1c9d8e11";
pub const SERVER_KEY: &str = "ssk_demo_stack";

const API: &str = "https://api.stack-auth.com/api/v1";
const TOKEN_LIFETIME: i64 = 600;

pub struct Stack {
    key: SigningKey,
    /// Restricted users have tokens of another issuer and another key.
    restricted_key: SigningKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Access tokens, by their text.
    tokens: BTreeMap<String, Token>,
    /// Users by their refresh tokens.
    sessions: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
    restricted: BTreeSet<String>,
}

#[derive(Clone)]
struct Token {
    user: String,
    is_restricted: bool,
    expires_at: i64,
}

/// What the REST API says when it does not say who the user is.
struct KnownError(StatusCode, &'static str);

const NO_USER: KnownError = KnownError(StatusCode::BAD_REQUEST, "CANNOT_GET_OWN_USER_WITHOUT_USER");

impl Stack {
    /// A provider with one project.
    pub fn new() -> Self {
        Self {
            key: SigningKey::es256("stack-demo"),
            restricted_key: SigningKey::es256("stack-rest"),
            state: Mutex::default(),
        }
    }

    /// Answers a request for a path below `/api/v1`.
    pub fn api(&self, path: &str, request: &Request<Bytes>) -> Option<Answer> {
        if request.method() != Method::GET {
            return None;
        }
        let project =
            path.strip_prefix("/projects/").and_then(|path| path.strip_suffix("/.well-known/jwks.json"));
        match (path, project) {
            (_, Some(PROJECT)) => {
                let restricted =
                    web::field(web::query(request), "include_restricted").as_deref() == Some("true");
                let keys = [&self.key, &self.restricted_key];
                let mut keys = tokens::jwks(keys.into_iter().take(if restricted { 2 } else { 1 }));
                for key in keys["keys"].as_array_mut().into_iter().flatten() {
                    key.as_object_mut().expect("a key is an object").remove("use");
                }
                Some(web::answer(
                    StatusCode::OK,
                    "application/json",
                    keys.to_string(),
                    "public, max-age=3600",
                ))
            }
            (_, Some(_)) => {
                Some(known_error(request, &KnownError(StatusCode::NOT_FOUND, "PROJECT_NOT_FOUND")))
            }
            ("/users/me", _) => Some(match self.user(request) {
                Ok(user) => reply(StatusCode::OK, &user),
                Err(error) => known_error(request, &error),
            }),
            _ => None,
        }
    }

    /// Answers a request for a switch.
    pub fn answer(&self, path: &str, request: &Request<Bytes>) -> Option<Answer> {
        let form = web::body(request);
        Some(match (request.method(), path) {
            (&Method::POST, "/sign-in") => match web::field(form, "user") {
                Some(user) if is_user(&user) && !self.state().deleted.contains(&user) => {
                    let session = fresh("");
                    self.state().sessions.insert(session.clone(), user.clone());
                    let token = self.mint(&user, &session);
                    let answer = json!({ "user": user, "access_token": token, "refresh_token": session });
                    reply(StatusCode::OK, &answer)
                }
                Some(user) if is_user(&user) => {
                    refusal(StatusCode::FORBIDDEN, "there is no such user any more")
                }
                _ => refusal(StatusCode::BAD_REQUEST, "the form needs a `user`: alice or bob"),
            },
            (&Method::POST, "/token") => {
                let session = web::field(form, "refresh_token").unwrap_or_default();
                let user = self.state().sessions.get(&session).cloned();
                match user {
                    Some(user) => {
                        let token = self.mint(&user, &session);
                        reply(StatusCode::OK, &json!({ "access_token": token }))
                    }
                    None => refusal(StatusCode::UNAUTHORIZED, "there is no such session"),
                }
            }
            (&Method::POST, "/sign-out") => {
                self.state().sessions.remove(&web::field(form, "refresh_token").unwrap_or_default());
                reply(StatusCode::OK, &json!({ "user": null }))
            }
            _ => return None,
        })
    }

    /// Signs a user in and gives an access token.
    pub fn access_token(&self, user: &str) -> String {
        self.mint(user, &fresh(""))
    }

    /// Does what the operator wants with a user. To revoke is to delete: nothing else reaches tokens that are out.
    pub fn switch(&self, switch: Switch, user: &str) {
        let mut state = self.state();
        match switch {
            Switch::Revoke => {
                state.sessions.retain(|_, other| other != user);
                state.deleted.insert(user.to_owned());
            }
            Switch::Disable => _ = state.restricted.insert(user.to_owned()),
            Switch::Enable => {
                state.deleted.remove(user);
                state.restricted.remove(user);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mint(&self, user: &str, session: &str) -> String {
        let now = unix_time();
        let expires_at = now.saturating_add(TOKEN_LIFETIME);
        let mut state = self.state();
        let is_restricted = state.restricted.contains(user);
        let (key, projects, suffix) = if is_restricted {
            (&self.restricted_key, "projects-restricted-users", ":restricted")
        } else {
            (&self.key, "projects", "")
        };
        let token = key.sign_with_header(
            &json!({ "typ": null }),
            &json!({
                "iss": format!("{API}/{projects}/{PROJECT}"),
                "aud": format!("{PROJECT}{suffix}"),
                "sub": user,
                "project_id": PROJECT,
                "branch_id": "main",
                "refresh_token_id": session,
                "role": "authenticated",
                "name": display_name(user),
                "email": format!("{user}@demo.example"),
                "email_verified": true,
                "selected_team_id": null,
                "is_anonymous": false,
                "is_restricted": is_restricted,
                "restricted_reason": restricted_reason(is_restricted),
                "requires_totp_mfa": false,
                "iat": now,
                "exp": expires_at,
            }),
        );
        state.tokens.insert(token.clone(), Token { user: user.to_owned(), is_restricted, expires_at });
        token
    }

    /// The user that the access token is about. The token is looked at before the key of the server.
    fn user(&self, request: &Request<Bytes>) -> Result<Value, KnownError> {
        let error = |status, code| Err(KnownError(status, code));
        let (bad, unauthorized) = (StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED);
        let header = |name: &str| web::header(request, format!("x-stack-{name}"));
        let key = header("secret-server-key");
        match header("access-type") {
            None if key.is_some() => return error(bad, "PROJECT_KEY_WITHOUT_ACCESS_TYPE"),
            None => return error(bad, "ACCESS_TYPE_REQUIRED"),
            Some("server") => {}
            Some(_) => return error(bad, "INVALID_ACCESS_TYPE"),
        }
        let Some(project) = header("project-id") else {
            return error(bad, "ACCESS_TYPE_WITHOUT_PROJECT_ID");
        };
        let state = self.state();
        let token = match header("access-token") {
            None => None,
            Some(text) => match state.tokens.get(text) {
                None => return error(unauthorized, "UNPARSABLE_ACCESS_TOKEN"),
                Some(token) if token.expires_at <= unix_time() => {
                    return error(unauthorized, "ACCESS_TOKEN_EXPIRED");
                }
                Some(_) if project != PROJECT => {
                    return error(unauthorized, "INVALID_PROJECT_FOR_ACCESS_TOKEN");
                }
                Some(token) if token.is_restricted && header("allow-restricted-user") != Some("true") => {
                    return error(StatusCode::FORBIDDEN, "RESTRICTED_USER_NOT_ALLOWED");
                }
                Some(token) => Some(token),
            },
        };
        if project != PROJECT {
            return error(bad, "CURRENT_PROJECT_NOT_FOUND");
        }
        match key {
            None => return error(unauthorized, "SERVER_AUTHENTICATION_REQUIRED"),
            Some(SERVER_KEY) => {}
            Some(_) => return error(unauthorized, "INVALID_SECRET_SERVER_KEY"),
        }
        let Some(Token { user, .. }) = token.filter(|token| !state.deleted.contains(&token.user)) else {
            return Err(NO_USER);
        };
        let is_restricted = state.restricted.contains(user);
        Ok(json!({
            "id": user,
            "display_name": display_name(user),
            "primary_email": format!("{user}@demo.example"),
            "primary_email_verified": true,
            "selected_team_id": null,
            "is_anonymous": false,
            "is_restricted": is_restricted,
            "restricted_reason": restricted_reason(is_restricted),
        }))
    }
}

fn known_error(request: &Request<Bytes>, KnownError(status, code): &KnownError) -> Answer {
    let body = json!({ "code": code, "error": format!("The request failed: {code}.") });
    // Whoever can send this makes a success of every refusal: a gateway must not pass it on.
    let hidden = web::header(request, "x-stack-override-error-status") == Some("true");
    let answer = reply(if hidden { StatusCode::OK } else { *status }, &body);
    let answer = with(answer, HeaderName::from_static("x-stack-known-error"), code);
    let actual = HeaderName::from_static("x-stack-actual-status");
    if hidden { with(answer, actual, status.as_str()) } else { answer }
}

fn display_name(user: &str) -> &'static str {
    if user == "alice" { "Alice" } else { "Bob" }
}

fn restricted_reason(is_restricted: bool) -> Value {
    if is_restricted { json!({ "type": "restricted_by_administrator" }) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::super::web::testing::{header, read, request};
    use super::*;

    async fn me(stack: &Stack, headers: &[(&str, &str)]) -> (u16, Value) {
        read(stack.api("/users/me", &request("GET", "/", headers, "")).unwrap()).await
    }

    fn asked_by_server(token: &str) -> [(&str, &str); 4] {
        [
            ("x-stack-access-type", "server"),
            ("x-stack-project-id", PROJECT),
            ("x-stack-secret-server-key", SERVER_KEY),
            ("x-stack-access-token", token),
        ]
    }

    #[tokio::test]
    async fn each_thing_that_is_wrong_has_its_code() {
        let stack = Stack::new();
        let token = stack.access_token("alice");
        let full = asked_by_server(&token);
        let other = |name, value| full.map(|(n, v)| if n == name { (n, value) } else { (n, v) });
        let without = |name| full.iter().copied().filter(|(n, _)| *n != name).collect::<Vec<_>>();
        for (headers, status, code) in [
            (without("x-stack-access-type"), 400, "PROJECT_KEY_WITHOUT_ACCESS_TYPE"),
            (Vec::new(), 400, "ACCESS_TYPE_REQUIRED"),
            (other("x-stack-access-type", "root").to_vec(), 400, "INVALID_ACCESS_TYPE"),
            (without("x-stack-project-id"), 400, "ACCESS_TYPE_WITHOUT_PROJECT_ID"),
            (other("x-stack-project-id", "p").to_vec(), 401, "INVALID_PROJECT_FOR_ACCESS_TOKEN"),
            (other("x-stack-access-token", "a.b.c").to_vec(), 401, "UNPARSABLE_ACCESS_TOKEN"),
            (without("x-stack-access-token"), 400, "CANNOT_GET_OWN_USER_WITHOUT_USER"),
            (without("x-stack-secret-server-key"), 401, "SERVER_AUTHENTICATION_REQUIRED"),
            (other("x-stack-secret-server-key", "k").to_vec(), 401, "INVALID_SECRET_SERVER_KEY"),
        ] {
            let (got, body) = me(&stack, &headers).await;
            assert_eq!((got, body["code"].as_str()), (status, Some(code)));
        }
        stack.state().tokens.get_mut(&token).unwrap().expires_at = 0;
        assert_eq!(me(&stack, &full).await.1["code"], "ACCESS_TOKEN_EXPIRED");
    }

    #[tokio::test]
    async fn a_user_is_known_until_deleted_and_restriction_shows_in_the_answer_and_in_the_next_token() {
        let stack = Stack::new();
        let token = stack.access_token("alice");
        let (status, user) = me(&stack, &asked_by_server(&token)).await;
        assert_eq!(
            (status, &user["display_name"], &user["is_restricted"]),
            (200, &json!("Alice"), &json!(false))
        );

        stack.switch(Switch::Disable, "alice");
        let (status, user) = me(&stack, &asked_by_server(&token)).await;
        assert_eq!((status, &user["is_restricted"]), (200, &json!(true)));
        let restricted = stack.access_token("alice");
        let (status, body) = me(&stack, &asked_by_server(&restricted)).await;
        assert_eq!((status, &body["code"]), (403, &json!("RESTRICTED_USER_NOT_ALLOWED")));

        stack.switch(Switch::Enable, "alice");
        stack.switch(Switch::Revoke, "alice");
        let (status, body) = me(&stack, &asked_by_server(&token)).await;
        assert_eq!((status, &body["code"]), (400, &json!("CANNOT_GET_OWN_USER_WITHOUT_USER")));
        let again = stack.answer("/sign-in", &request("POST", "/", &[], "user=alice")).unwrap();
        assert_eq!(again.status(), 403);
    }

    #[tokio::test]
    async fn keys_are_those_of_the_project_and_restricted_users_have_others() {
        let stack = Stack::new();
        let keys = |query: &str| {
            let path = format!("/projects/{PROJECT}/.well-known/jwks.json");
            stack.api(&path, &request("GET", &format!("{path}?{query}"), &[], "")).unwrap()
        };
        assert_eq!(header(&keys(""), "cache-control"), Some("public, max-age=3600"));
        let (_, plain) = read(keys("")).await;
        assert_eq!(plain["keys"].as_array().unwrap().len(), 1);
        assert_eq!((&plain["keys"][0]["crv"], &plain["keys"][0]["use"]), (&json!("P-256"), &Value::Null));
        let (_, all) = read(keys("include_restricted=true")).await;
        assert_eq!(all["keys"].as_array().unwrap().len(), 2);
        let other =
            stack.api("/projects/other/.well-known/jwks.json", &request("GET", "/", &[], "")).unwrap();
        assert_eq!(other.status(), 404);
    }

    #[tokio::test]
    async fn a_client_that_could_reach_the_api_could_hide_a_refusal() {
        let stack = Stack::new();
        let headers = [("x-stack-override-error-status", "true")];
        let answer = stack.api("/users/me", &request("GET", "/", &headers, "")).unwrap();
        assert_eq!((answer.status().as_u16(), header(&answer, "x-stack-actual-status")), (200, Some("400")));
    }
}
