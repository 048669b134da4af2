//! The tour: a handful of requests through the gateway that show what the filter lets pass and what it takes away.
//!
//! Takes the gateway's address and the identity provider, prints one line for each request, and tells whether all came
//! out as they should. Deliberately judges by what a client and an upstream can see, never by Envoy's log.

use std::net::SocketAddr;

use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde::Deserialize;

use crate::http;
use crate::idp::{IdentityProvider, TokenRequest};

/// The headers that `envoy.yaml` writes, which the upstream therefore believes.
const IDENTITY_HEADERS: [&str; 2] = ["x-user-id", "x-user-scope"];

/// One request and what must come of it.
struct Stop {
    sent: &'static str,
    path: &'static str,
    token: Option<String>,
    forged: &'static [(&'static str, &'static str)],
    expected: Seen,
}

/// What came of a request.
#[derive(PartialEq)]
struct Seen {
    status: StatusCode,
    /// The identity headers at the upstream, in any spelling, sorted.
    identity: Vec<String>,
}

/// Sends all requests and prints the table. `true` when all came out as expected.
pub async fn run(gateway: SocketAddr, provider: &IdentityProvider) -> Result<bool, String> {
    println!(
        "{:<52} {:>8} {:>6}  {:<44} verdict",
        "sent", "expected", "status", "identity headers that the upstream saw"
    );
    let mut all_right = true;
    for stop in stops(provider)? {
        let seen = stop.visit(gateway).await?;
        let right = seen == stop.expected;
        all_right &= right;
        println!(
            "{:<52} {:>8} {:>6}  {:<44} {}",
            stop.sent,
            stop.expected.status.as_u16(),
            seen.status.as_u16(),
            if seen.identity.is_empty() { "-".to_owned() } else { seen.identity.join(", ") },
            if right { "ok" } else { "WRONG" },
        );
    }
    Ok(all_right)
}

fn stops(provider: &IdentityProvider) -> Result<Vec<Stop>, String> {
    let good = TokenRequest::default();
    let mint = |change: fn(&mut TokenRequest)| {
        let mut request = good.clone();
        change(&mut request);
        provider.mint(&request).map(Some)
    };
    let forged: &[_] = &[("x-user-id", "admin"), ("x_user_id", "admin")];
    let stop = |sent, path, token, expected| Stop { sent, path, token, forged: &[], expected };

    Ok(vec![
        stop("no token", "/orders", None, Seen::refused()),
        stop("good token, RS256", "/orders", mint(|_| ())?, Seen::passed_as(&good)),
        stop(
            "good token, ES256",
            "/orders",
            mint(|token| token.alg = "ES256".to_owned())?,
            Seen::passed_as(&good),
        ),
        stop(
            "good token, EdDSA",
            "/orders",
            mint(|token| token.alg = "EdDSA".to_owned())?,
            Seen::passed_as(&good),
        ),
        stop(
            "good token of a key that was not there before",
            "/orders",
            {
                provider.rotate();
                mint(|token| token.alg = "EdDSA".to_owned())?
            },
            Seen::passed_as(&good),
        ),
        stop("expired token", "/orders", mint(|token| token.expires_in = -300)?, Seen::refused()),
        stop(
            "token for another audience",
            "/orders",
            mint(|token| token.aud = "other-api".to_owned())?,
            Seen::refused(),
        ),
        stop("token with a changed signature", "/orders", mint(|_| ())?.map(tampered), Seen::refused()),
        stop(
            "expired token where a token is optional",
            "/public/",
            mint(|token| token.expires_in = -300)?,
            Seen::refused(),
        ),
        Stop {
            forged,
            ..stop("forged X-User-Id, X_User_Id; open path", "/healthz", None, Seen::passed_anonymously())
        },
        Stop {
            forged,
            ..stop(
                "forged X-User-Id, X_User_Id; token optional",
                "/public/",
                None,
                Seen::passed_anonymously(),
            )
        },
        Stop {
            forged,
            ..stop(
                "forged X-User-Id, X_User_Id; good token",
                "/orders",
                mint(|_| ())?,
                Seen::passed_as(&good),
            )
        },
    ])
}

impl Stop {
    async fn visit(&self, gateway: SocketAddr) -> Result<Seen, String> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = self.forged.to_vec();
        headers.extend(bearer.iter().map(|bearer| ("authorization", bearer.as_str())));
        let answer = http::get(gateway, self.path, &headers).await?;
        Ok(Seen::in_answer(&answer))
    }
}

impl Seen {
    fn refused() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, identity: Vec::new() }
    }

    fn passed_anonymously() -> Self {
        Self { status: StatusCode::OK, identity: Vec::new() }
    }

    fn passed_as(token: &TokenRequest) -> Self {
        let identity = vec![format!("x-user-id: {}", token.sub), format!("x-user-scope: {}", token.scope)];
        Self { status: StatusCode::OK, identity }
    }

    fn in_answer(answer: &Response<Bytes>) -> Self {
        // A refusal has no echo in it: the upstream saw nothing.
        let echo: Echo = serde_json::from_slice(answer.body()).unwrap_or_default();
        let mut identity: Vec<String> = echo
            .headers
            .iter()
            .filter(|(name, _)| IDENTITY_HEADERS.contains(&name.to_lowercase().replace('_', "-").as_str()))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        identity.sort();
        Self { status: answer.status(), identity }
    }
}

/// What the tour reads of the upstream's answer.
#[derive(Default, Deserialize)]
struct Echo {
    headers: Vec<(String, String)>,
}

/// The token with the first character of its signature changed: the last one may carry bits that nobody reads.
fn tampered(token: String) -> String {
    let Some((signed, signature)) = token.rsplit_once('.') else {
        return token;
    };
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let rest: String = signature.chars().skip(1).collect();
    format!("{signed}.{first}{rest}")
}
