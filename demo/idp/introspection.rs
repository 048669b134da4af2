//! Token introspection (RFC 7662) and revocation (RFC 7009) for the tokens that `/token` minted.
//!
//! Takes forms of clients that prove themselves, gives what a token says while it counts. Whatever does not count is not
//! active, and nothing more is said about it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::{Request, StatusCode};
use serde_json::{Value, json};

use super::web::{self, reply, unix_time, with};
use crate::http::Answer;

/// The client that may ask, and its proof.
const CLIENT: (&str, &str) = ("gateway", "demo-secret");

/// The tokens that count, with their claims.
#[derive(Default)]
pub struct Introspection {
    issued: Mutex<BTreeMap<String, Value>>,
}

impl Introspection {
    /// Notes a token that was issued, and forgets those that are over.
    pub fn note(&self, token: &str, claims: Value) {
        let now = unix_time();
        let mut issued = self.issued();
        issued.retain(|_, claims| counts(claims, now));
        issued.insert(token.to_owned(), claims);
    }

    pub fn introspect(&self, request: &Request<Bytes>) -> Answer {
        self.about_a_token(request, |issued, token| match issued.get(token) {
            Some(claims) if counts(claims, unix_time()) => {
                let mut answer = claims.clone();
                answer["active"] = json!(true);
                answer["token_type"] = json!("Bearer");
                answer
            }
            _ => json!({ "active": false }),
        })
    }

    pub fn revoke(&self, request: &Request<Bytes>) -> Answer {
        self.about_a_token(request, |issued, token| {
            issued.remove(token);
            json!({})
        })
    }

    fn about_a_token(
        &self,
        request: &Request<Bytes>,
        answer: impl FnOnce(&mut BTreeMap<String, Value>, &str) -> Value,
    ) -> Answer {
        let form = web::body(request);
        if client(request, form) != Some((CLIENT.0.to_owned(), CLIENT.1.to_owned())) {
            let refusal = reply(StatusCode::UNAUTHORIZED, &json!({ "error": "invalid_client" }));
            return with(refusal, WWW_AUTHENTICATE, "Basic realm=\"demo\"");
        }
        match web::field(form, "token") {
            Some(token) => reply(StatusCode::OK, &answer(&mut self.issued(), &token)),
            None => reply(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_request" })),
        }
    }

    fn issued(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counts(claims: &Value, now: i64) -> bool {
    claims["exp"].as_i64().is_some_and(|exp| exp > now)
}

/// Who asks: in `authorization`, where both halves are encoded like a form (RFC 6749 section 2.3.1), or in the form.
fn client(request: &Request<Bytes>, form: &str) -> Option<(String, String)> {
    match web::header(request, AUTHORIZATION) {
        Some(value) => {
            let (scheme, encoded) = value.split_once(' ')?;
            if !scheme.eq_ignore_ascii_case("basic") {
                return None;
            }
            let pair = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            Some((web::percent_decoded(id), web::percent_decoded(secret)))
        }
        None => Some((web::field(form, "client_id")?, web::field(form, "client_secret")?)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::web::testing::{read, request};
    use super::*;

    // gateway:demo-secret
    const BASIC: (&str, &str) = ("authorization", "Basic Z2F0ZXdheTpkZW1vLXNlY3JldA==");

    fn provider() -> Introspection {
        let introspection = Introspection::default();
        introspection.note("t", json!({ "sub": "alice", "exp": unix_time() + 60 }));
        introspection
    }

    async fn introspect(provider: &Introspection, headers: &[(&str, &str)], form: &str) -> (u16, Value) {
        read(provider.introspect(&request("POST", "/introspect", headers, form))).await
    }

    #[tokio::test]
    async fn a_token_is_active_until_it_is_revoked() {
        let provider = provider();
        let (status, answer) = introspect(&provider, &[BASIC], "token=t").await;
        assert_eq!((status, &answer["active"], &answer["sub"]), (200, &json!(true), &json!("alice")));
        let post = "token=t&client_id=gateway&client_secret=demo-secret";
        assert_eq!(introspect(&provider, &[], post).await.1["active"], true);
        let revoked = provider.revoke(&request("POST", "/revoke", &[BASIC], "token=t"));
        assert_eq!(revoked.status(), 200);
        assert_eq!(introspect(&provider, &[BASIC], "token=t").await, (200, json!({ "active": false })));
    }

    #[tokio::test]
    async fn a_token_that_is_over_or_unknown_is_not_active() {
        let provider = provider();
        provider.note("over", json!({ "sub": "alice", "exp": unix_time() }));
        for token in ["over", "unknown", ""] {
            let form = format!("token={token}");
            assert_eq!(introspect(&provider, &[BASIC], &form).await, (200, json!({ "active": false })));
        }
    }

    #[tokio::test]
    async fn nobody_else_may_ask() {
        let provider = provider();
        for headers in [&[][..], &[("authorization", "Basic Z2F0ZXdheTo=")], &[("authorization", "Bearer t")]]
        {
            assert_eq!(introspect(&provider, headers, "token=t").await.0, 401);
        }
        assert_eq!(introspect(&provider, &[BASIC], "").await.0, 400);
    }
}
