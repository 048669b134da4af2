//! The tour: requests through the gateway that show what the filter lets pass, what it takes away, and how soon it notices
//! that a session has ended.
//!
//! Takes the gateway's address and the identity provider, prints one line for each request, and tells whether all came
//! out as they should. Deliberately judges by what a client and an upstream can see, never by Envoy's log.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::LOCATION;
use hyper::{Response, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::http;
use crate::idp::{IdentityProvider, Switch, TokenRequest};

/// The headers that `envoy.yaml` has written and that say who it is, which the upstream therefore believes.
const IDENTITY_HEADERS: [&str; 5] =
    ["x-user-id", "x-user-scope", "x-auth-user-id", "x-authgear-user-id", "x-authgear-user-roles"];

/// After this time, what an operator did must have reached the gateway: the intervals of `envoy.yaml`, and some more.
const NOTICED_WITHIN: Duration = Duration::from_secs(8);
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Each worker of Envoy notices for itself, and each connection comes to one of them.
const CONNECTIONS: usize = 12;

const FORGED: [(&str, &str); 2] = [("x-user-id", "admin"), ("x_user_id", "admin")];
const FORGED_OF_PROVIDERS: [(&str, &str); 4] = [
    ("x-auth-user-id", "admin"),
    ("x_auth_user_id", "admin"),
    ("x-authgear-user-id", "admin"),
    ("x-authgear-user-roles", "admin"),
];

/// One request and what must come of it.
struct Stop<'p> {
    sent: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    /// What an operator does before; the gateway may take a while to notice.
    before: Option<Box<dyn Fn() + Send + Sync + 'p>>,
    expected: Seen,
}

/// What came of a request.
#[derive(PartialEq)]
struct Seen {
    status: StatusCode,
    /// The identity headers at the upstream, in any spelling, sorted; or where a redirect leads to, without its query.
    identity: Vec<String>,
}

/// Sends all requests and prints the table. `true` when all came out as expected.
pub async fn run(gateway: SocketAddr, provider: &IdentityProvider) -> Result<bool, String> {
    println!(
        "{:<52} {:>8} {:>6}  {:<61} verdict",
        "sent", "expected", "status", "identity headers that the upstream saw"
    );
    let mut all_right = true;
    for stop in stops(provider)?.iter().chain(&provider_stops(provider)) {
        let (seen, after) = stop.visit(gateway).await?;
        let right = seen == stop.expected;
        all_right &= right;
        let verdict = if right { "ok" } else { "WRONG" };
        let after = after.map_or_else(String::new, |after| format!(", after {:.1} s", after.as_secs_f64()));
        println!(
            "{:<52} {:>8} {:>6}  {:<61} {verdict}{after}",
            stop.sent,
            stop.expected.status.as_u16(),
            seen.status.as_u16(),
            if seen.identity.is_empty() { "-".to_owned() } else { seen.identity.join(", ") },
        );
    }
    Ok(all_right)
}

fn stops(provider: &IdentityProvider) -> Result<Vec<Stop<'_>>, String> {
    let good = TokenRequest::default();
    let mint = |change: fn(&mut TokenRequest)| {
        let mut request = good.clone();
        change(&mut request);
        provider.mint(&request)
    };
    let passed = || Seen::passed_as(&[("x-user-id", &good.sub), ("x-user-scope", &good.scope)]);
    let orders = |sent, token: String, expected| Stop::new(sent, "/orders", expected).bearer(&token);

    Ok(vec![
        Stop::new("no token", "/orders", Seen::refused()),
        orders("good token, RS256", mint(|_| ())?, passed()),
        orders("good token, ES256", mint(|token| token.alg = "ES256".to_owned())?, passed()),
        orders("good token, EdDSA", mint(|token| token.alg = "EdDSA".to_owned())?, passed()),
        orders(
            "good token of a key that was not there before",
            {
                provider.rotate();
                mint(|token| token.alg = "EdDSA".to_owned())?
            },
            passed(),
        ),
        orders("expired token", mint(|token| token.expires_in = -300)?, Seen::refused()),
        orders(
            "token for another audience",
            mint(|token| token.aud = "other-api".to_owned())?,
            Seen::refused(),
        ),
        orders("token with a changed signature", tampered(mint(|_| ())?), Seen::refused()),
        Stop::new("expired token where a token is optional", "/public/", Seen::refused())
            .bearer(&mint(|token| token.expires_in = -300)?),
        Stop::new("forged X-User-Id, X_User_Id; open path", "/healthz", Seen::passed_as(&[])).forged(&FORGED),
        Stop::new("forged X-User-Id, X_User_Id; token optional", "/public/", Seen::passed_as(&[]))
            .forged(&FORGED),
        orders("forged X-User-Id, X_User_Id; good token", mint(|_| ())?, passed()).forged(&FORGED),
    ])
}

/// OneAuxilia, Authgear and Stack Auth: signed in, with forged headers, and after the session has ended.
fn provider_stops(provider: &IdentityProvider) -> Vec<Stop<'_>> {
    let IdentityProvider { oneauxilia, authgear, stack, .. } = provider;
    let (session, signed_in, token) =
        (oneauxilia.session_token("alice"), authgear.sign_in("alice"), stack.access_token("alice"));

    let of_oneauxilia = |sent, expected| {
        let cookies = format!("__session={session}; __client_uat=1");
        Stop::new(sent, "/oneauxilia/whoami", expected).with("cookie", cookies)
    };
    let of_authgear = |sent, expected| {
        let cookie = format!("session={}", signed_in.session);
        Stop::new(sent, "/authgear/whoami", expected).with("cookie", cookie)
    };
    let of_stack = |sent, expected| {
        Stop::new(sent, "/stack/whoami", expected).with("x-stack-access-token", token.clone())
    };
    let user = |value: &'static str| Seen::passed_as(&[("x-auth-user-id", value)]);
    let alice_of_authgear = || {
        let roles = ("x-authgear-user-roles", "reader,writer");
        Seen::passed_as(&[("x-authgear-user-id", "alice"), roles])
    };
    let handshake = Seen {
        status: StatusCode::TEMPORARY_REDIRECT,
        identity: vec![oneauxilia.url("/v1/client/handshake")],
    };

    vec![
        of_oneauxilia("OneAuxilia: session cookie", user("user_alice")),
        of_oneauxilia("OneAuxilia: session cookie, forged headers", user("user_alice"))
            .forged(&FORGED_OF_PROVIDERS),
        of_oneauxilia("OneAuxilia: session revoked", Seen::refused())
            .after(|| oneauxilia.switch(Switch::Revoke, "alice")),
        Stop::new("OneAuxilia: page without a token, signed in before", "/oneauxilia/", handshake)
            .with("cookie", "__client_uat=1".to_owned())
            .with("sec-fetch-dest", "document".to_owned()),
        of_authgear("Authgear: session cookie", alice_of_authgear()),
        Stop::new("Authgear: access token", "/authgear/whoami", alice_of_authgear()).bearer(&signed_in.token),
        of_authgear("Authgear: session cookie, forged headers", alice_of_authgear())
            .forged(&FORGED_OF_PROVIDERS),
        of_authgear("Authgear: user disabled", Seen::refused())
            .after(|| authgear.switch(Switch::Disable, "alice")),
        of_authgear("Authgear: user enabled again", alice_of_authgear())
            .after(|| authgear.switch(Switch::Enable, "alice")),
        of_authgear("Authgear: session revoked", Seen::refused())
            .after(|| authgear.switch(Switch::Revoke, "alice")),
        of_stack("Stack Auth: access token", user("alice")),
        of_stack("Stack Auth: access token, forged headers", user("alice")).forged(&FORGED_OF_PROVIDERS),
        of_stack("Stack Auth: user deleted", Seen::refused()).after(|| stack.switch(Switch::Revoke, "alice")),
        of_stack("Stack Auth: user restored", user("alice")).after(|| stack.switch(Switch::Enable, "alice")),
    ]
}

impl<'p> Stop<'p> {
    fn new(sent: &'static str, path: &'static str, expected: Seen) -> Self {
        Self { sent, path, headers: Vec::new(), before: None, expected }
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    fn bearer(self, token: &str) -> Self {
        self.with("authorization", format!("Bearer {token}"))
    }

    fn forged(self, headers: &[(&'static str, &str)]) -> Self {
        headers.iter().fold(self, |stop, (name, value)| stop.with(name, (*value).to_owned()))
    }

    fn after(mut self, act: impl Fn() + Send + Sync + 'p) -> Self {
        self.before = Some(Box::new(act));
        self
    }

    /// What came of it, and how long it took to be noticed where something was done before.
    async fn visit(&self, gateway: SocketAddr) -> Result<(Seen, Option<Duration>), String> {
        let Some(act) = &self.before else {
            return Ok((self.send(gateway).await?, None));
        };
        act();
        let started = Instant::now();
        loop {
            let took = started.elapsed();
            let seen = self.send_by_all_workers(gateway).await?;
            if seen == self.expected || took > NOTICED_WITHIN {
                return Ok((seen, Some(took)));
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// What all see, or the first thing that is not expected.
    async fn send_by_all_workers(&self, gateway: SocketAddr) -> Result<Seen, String> {
        for _ in 1..CONNECTIONS {
            let seen = self.send(gateway).await?;
            if seen != self.expected {
                return Ok(seen);
            }
        }
        self.send(gateway).await
    }

    async fn send(&self, gateway: SocketAddr) -> Result<Seen, String> {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = http::get(gateway, self.path, &headers).await?;
        Ok(Seen::in_answer(&answer))
    }
}

impl Seen {
    fn refused() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, identity: Vec::new() }
    }

    fn passed_as(identity: &[(&str, &str)]) -> Self {
        let identity = identity.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        Self { status: StatusCode::OK, identity }
    }

    fn in_answer(answer: &Response<Bytes>) -> Self {
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        if let Some(location) = location {
            let url = location.split('?').next().unwrap_or_default().to_owned();
            return Self { status: answer.status(), identity: vec![url] };
        }
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
