//! The resolver of Authgear, and its access tokens beside it.

use serde_json::{Value, json};

use super::{CROSS_SITE, DENIED, Expected, MISSING, Refusal, Row, SEVERAL, Wire, identity};
use crate::Proxy;
use crate::scene::{RSA, assert_no_vm_failure, now};
use crate::support::tokens::jwks;
use crate::support::{Asked, RAW, Request, SILENCE, SessionReply, SessionServer, Upstream};

const HOST: &str = "myapp.authgear.cloud";
const ORIGIN: &str = "https://myapp.authgear.cloud";
/// That of the resolver, and one at which it has no app.
const HOSTS: [&str; 2] = ["myapp.authgear.cloud:443", "unknown.authgear.cloud:443"];
const PATH: &str = "/_resolver/resolve";

/// What Authgear knows of a user and a session.
#[derive(Clone, Copy)]
struct User {
    id: &'static str,
    is_anonymous: bool,
    is_verified: bool,
    can_reauthenticate: bool,
    roles: &'static [&'static str],
    amr: &'static [&'static str],
    authenticated_at: u64,
}

const ALICE: User = User {
    id: "a1f0c7d2-8f0e-4d5c-9a52-0c6c6f6f9b11",
    is_anonymous: false,
    is_verified: true,
    can_reauthenticate: true,
    roles: &["billing:admin", "editor"],
    amr: &["pwd", "mfa", "otp"],
    authenticated_at: 1_799_999_000,
};

/// Nothing is there that need not be.
const BOB: User = User {
    id: "b0b",
    is_anonymous: true,
    is_verified: false,
    can_reauthenticate: false,
    roles: &[],
    amr: &[],
    authenticated_at: 0,
};

const CAROL: User = User { id: "c4r01", roles: &["viewer"], amr: &["x_passkey"], ..ALICE };

const ALL_EIGHT: [(&str, &str); 8] = [
    ("x-authgear-session-amr", "pwd mfa otp"),
    ("x-authgear-session-authenticated-at", "1799999000"),
    ("x-authgear-session-valid", "true"),
    ("x-authgear-user-anonymous", "false"),
    ("x-authgear-user-can-reauthenticate", "true"),
    ("x-authgear-user-id", ALICE.id),
    ("x-authgear-user-roles", "billing:admin,editor"),
    ("x-authgear-user-verified", "true"),
];

impl User {
    fn known_by(credential: &str) -> Option<Self> {
        match credential {
            "alice" => Some(ALICE),
            "bob" => Some(BOB),
            "carol" => Some(CAROL),
            _ => None,
        }
    }

    /// What the resolver answers.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("X-Authgear-Session-Valid", "true".to_owned()),
            ("X-Authgear-User-Id", self.id.to_owned()),
            ("X-Authgear-User-Anonymous", self.is_anonymous.to_string()),
            ("X-Authgear-User-Verified", self.is_verified.to_string()),
            ("X-Authgear-User-Can-Reauthenticate", self.can_reauthenticate.to_string()),
            ("X-Authgear-Session-Amr", self.amr.join(" ")),
        ];
        if !self.roles.is_empty() {
            headers.push(("X-Authgear-User-Roles", self.roles.join(",")));
        }
        if self.authenticated_at != 0 {
            headers.push(("X-Authgear-Session-Authenticated-At", self.authenticated_at.to_string()));
        }
        headers
    }

    /// What an access token says.
    fn claims(&self) -> Value {
        let mut claims = json!({
            "iss": ORIGIN,
            "aud": [ORIGIN],
            "sub": self.id,
            "client_id": "portal",
            "iat": now(),
            "exp": now() + 1800,
            "jti": "f00",
            "https://authgear.com/claims/user/is_anonymous": self.is_anonymous,
            "https://authgear.com/claims/user/is_verified": self.is_verified,
            "https://authgear.com/claims/user/can_reauthenticate": self.can_reauthenticate,
            "https://authgear.com/claims/user/roles": self.roles,
            "amr": self.amr,
        });
        if self.authenticated_at != 0 {
            claims["auth_time"] = json!(self.authenticated_at);
        }
        claims
    }
}

/// The resolver: the first valid credential wins, invalid ones are skipped, and only an invalid cookie of the identity
/// provider itself is said to be invalid. What stands behind a dot in a credential makes another one of it.
fn resolve(asked: &Asked) -> SessionReply {
    let (method, path) = asked.line().split_once(' ').unwrap();
    if asked.header("host") != Some(HOST) || path != PATH {
        return answer(404, Vec::new());
    }
    if !matches!(method, "GET" | "HEAD") {
        return answer(405, Vec::new());
    }
    let is_https = asked.header("x-forwarded-proto") == Some("https");
    let bearer = asked.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    // A token is for the origin by which the resolver is asked.
    let bearer = bearer.filter(|token| is_https || !token.starts_with("eyJ"));
    let bearer = bearer.map(|token| token.trim_start_matches("eyJ."));
    let cookies = ["app_session", "app_access_token", "session"].map(|name| asked.cookie(name));
    let clear = "session=; Path=/; Domain=authgear.cloud; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax";
    let mut invalid = vec![("X-Authgear-Session-Valid", "false".to_owned())];
    if cookies[2].is_some() {
        invalid.push(("Set-Cookie", clear.to_owned()));
    }
    for credential in [bearer].into_iter().chain(cookies).flatten() {
        let known_as = credential.split('.').next().unwrap_or_default();
        if let Some(user) = User::known_by(known_as) {
            return answer(200, user.headers());
        }
        let said = |value: &str| ("X-Authgear-Session-Valid", value.to_owned());
        match known_as.split_once('-').unwrap_or((known_as, "")) {
            ("disabled", _) => return answer(200, invalid),
            ("status", status) => return answer(status.parse().unwrap(), ALICE.headers()),
            ("redirected", _) => {
                return answer(302, vec![("Location", format!("{ORIGIN}{PATH}?again"))]);
            }
            ("twice", _) => return answer(200, [ALICE.headers(), BOB.headers()].concat()),
            ("shouting", _) => {
                return answer(200, vec![said("TRUE"), ("X-Authgear-User-Id", "u".to_owned())]);
            }
            ("nobody", _) => return answer(200, vec![said("true")]),
            ("silent", _) => return (SILENCE, Vec::new(), String::new()),
            ("gone", _) => return (RAW, Vec::new(), String::new()),
            ("broken", _) => {
                let start = "HTTP/1.1 200 OK\r\nx-authgear-session-valid: true\r\nx-authgear-user-id: u\r\n";
                return (RAW, Vec::new(), start.to_owned());
            }
            ("cut", _) => {
                let start = "HTTP/1.1 200 OK\r\nx-authgear-session-valid: true\r\nx-authgear-user-id: u\r\ncontent-length: 9\r\n\r\n";
                return (RAW, Vec::new(), start.to_owned());
            }
            _ => {}
        }
    }
    answer(200, if cookies[2].is_some() { invalid } else { Vec::new() })
}

/// With what it sends along always.
fn answer(status: u16, mut headers: Vec<(&'static str, String)>) -> SessionReply {
    headers.push(("X-Content-Type-Options", "nosniff".to_owned()));
    headers.push(("Permissions-Policy", "camera=()".to_owned()));
    headers.push(("X-Robots-Tag", "none".to_owned()));
    (status, headers, String::new())
}

/// All that a client could forge, as it is and with underscores.
fn forged() -> Vec<String> {
    let names = ALL_EIGHT.iter().map(|(name, _)| *name).chain(["x-authgear-session-acr", "X-AUTHGEAR-OTHER"]);
    names.flat_map(|name| [name.to_owned(), name.replace('-', "_")]).collect()
}

fn configuration(endpoint: &str) -> Value {
    let requires = json!({ "provider_name": "authgear" });
    json!({
        "providers": {
            "authgear": { "preset": "authgear_resolver", "endpoint": endpoint, "cluster": "authgear" },
        },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "prefix": "/optional/" }, "requires": { "requires_any": { "requirements": [requires, { "allow_missing": {} }] } } },
            { "match": { "prefix": "/lenient/" }, "requires": { "requires_any": { "requirements": [requires, { "allow_missing_or_failed": {} }] } } },
            { "match": { "prefix": "/" }, "requires": requires },
        ],
    })
}

fn bearer(credential: &str) -> Request {
    Request::get("/x").bearer(credential)
}

fn cookie(cookies: &str) -> Request {
    Request::get("/x").header("cookie", cookies)
}

/// What the resolver is asked about a credential in a header of this name.
fn asks(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![(name, value), ("x-forwarded-proto", "https")]
}

fn row(
    name: &'static str,
    sent: Request,
    asks: Vec<(&'static str, &'static str)>,
    expected: Expected,
) -> Row {
    Row { name, sent, asks, expected }
}

fn is(user: &[(&'static str, &'static str)]) -> Expected {
    Expected::Passes(user.to_vec())
}

fn refused(refusal: &'static Refusal) -> Expected {
    Expected::Refused(refusal)
}

/// A proxy with the preset, its resolver and an upstream.
async fn start() -> (Proxy, SessionServer, Upstream) {
    let (idp, upstream) = (SessionServer::start(resolve).await, Upstream::start().await);
    let proxy = Proxy::with_filter(configuration(ORIGIN), &upstream)
        .filter("elsewhere", configuration("https://unknown.authgear.cloud"))
        .cluster_of("authgear", &HOSTS, idp.address())
        .start()
        .await;
    (proxy, idp, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_resolver_of_authgear_row_by_row() {
    let (proxy, idp, upstream) = start().await;
    let forged = forged();
    let wire = Wire {
        proxy: &proxy,
        listener: "gateway",
        upstream: &upstream,
        idp: &idp,
        host: HOST,
        path: PATH,
        forged: &forged,
    };
    let without_more = [
        ("x-authgear-session-valid", "true"),
        ("x-authgear-user-anonymous", "true"),
        ("x-authgear-user-can-reauthenticate", "false"),
        ("x-authgear-user-id", "b0b"),
        ("x-authgear-user-verified", "false"),
    ];
    let at = |path: &str, request: Request| Request { path: path.to_owned(), ..request };
    let post = |request: Request| Request { method: "POST".to_owned(), ..request.body("a=b") };
    wire.hold(vec![
        // What the resolver answers (2.4).
        row("no credential", Request::get("/x"), vec![], refused(&MISSING)),
        row(
            "Bearer invalid, no IdP cookie: no header at all",
            bearer("wrong"),
            asks("authorization", "Bearer wrong"),
            refused(&DENIED),
        ),
        row(
            "app_session invalid, no IdP cookie: no header at all",
            cookie("app_session=wrong"),
            asks("cookie", "app_session=wrong"),
            refused(&DENIED),
        ),
        row(
            "app_access_token invalid, no IdP cookie: no header at all",
            cookie("app_access_token=wrong"),
            asks("cookie", "app_access_token=wrong"),
            refused(&DENIED),
        ),
        row(
            "IdP session cookie invalid: valid=false and a Set-Cookie that clears it",
            cookie("session=wrong"),
            asks("cookie", "session=wrong"),
            refused(&DENIED),
        ),
        row(
            "user disabled, Bearer: valid=false",
            bearer("disabled"),
            asks("authorization", "Bearer disabled"),
            refused(&DENIED),
        ),
        row(
            "user disabled, IdP cookie: valid=false and a Set-Cookie that clears it",
            cookie("session=disabled"),
            asks("cookie", "session=disabled"),
            refused(&DENIED),
        ),
        row("valid, Bearer", bearer("alice"), asks("authorization", "Bearer alice"), is(&ALL_EIGHT)),
        row(
            "valid, Bearer with a JWT, whose audience is the origin of the question",
            bearer("eyJ.alice"),
            asks("authorization", "Bearer eyJ.alice"),
            is(&ALL_EIGHT),
        ),
        row(
            "valid, app_session",
            cookie("app_session=alice"),
            asks("cookie", "app_session=alice"),
            is(&ALL_EIGHT),
        ),
        row(
            "valid, app_access_token",
            cookie("app_access_token=alice"),
            asks("cookie", "app_access_token=alice"),
            is(&ALL_EIGHT),
        ),
        row("valid, IdP session", cookie("session=alice"), asks("cookie", "session=alice"), is(&ALL_EIGHT)),
        row(
            "valid, no roles, empty amr, no authentication time",
            bearer("bob"),
            asks("authorization", "Bearer bob"),
            is(&without_more),
        ),
        row(
            "DB or user lookup error: 500",
            bearer("status-500"),
            asks("authorization", "Bearer status-500"),
            Expected::Fails,
        ),
        // What the gateway makes of it (2.5).
        row("404", bearer("status-404"), asks("authorization", "Bearer status-404"), Expected::Fails),
        row("405", bearer("status-405"), asks("authorization", "Bearer status-405"), Expected::Fails),
        row("429", bearer("status-429"), asks("authorization", "Bearer status-429"), Expected::Fails),
        row("502", bearer("status-502"), asks("authorization", "Bearer status-502"), Expected::Fails),
        row("503", cookie("session=status-503"), asks("cookie", "session=status-503"), Expected::Fails),
        row(
            "204, which is no answer of the resolver",
            bearer("status-204"),
            asks("authorization", "Bearer status-204"),
            Expected::Fails,
        ),
        row(
            "timeout: no answer in two seconds",
            bearer("silent"),
            asks("authorization", "Bearer silent"),
            Expected::Fails,
        ),
        row(
            "reset: the connection ends without an answer",
            bearer("gone"),
            asks("authorization", "Bearer gone"),
            Expected::Fails,
        ),
        row(
            "reset: the connection ends amid the headers",
            bearer("broken"),
            asks("authorization", "Bearer broken"),
            Expected::Fails,
        ),
        row(
            "reset: the connection ends amid the body",
            bearer("cut"),
            asks("authorization", "Bearer cut"),
            Expected::Fails,
        ),
        row(
            "a redirect is not followed",
            bearer("redirected"),
            asks("authorization", "Bearer redirected"),
            Expected::Fails,
        ),
        row(
            "200 with the headers of two users",
            bearer("twice"),
            asks("authorization", "Bearer twice"),
            Expected::Fails,
        ),
        row(
            "200 with valid=TRUE, which is not true",
            bearer("shouting"),
            asks("authorization", "Bearer shouting"),
            refused(&DENIED),
        ),
        row(
            "401 with the headers of a user, which a resolver does not answer",
            bearer("status-401"),
            asks("authorization", "Bearer status-401"),
            refused(&DENIED),
        ),
        row(
            "200 with valid=true and no user",
            bearer("nobody"),
            asks("authorization", "Bearer nobody"),
            refused(&NO_USER),
        ),
        row("no credential, where none is needed", Request::get("/optional/x"), vec![], is(&[])),
        row("no credential, open route", Request::get("/open"), vec![], is(&[])),
        row(
            "valid=false, where none is needed",
            at("/optional/x", cookie("session=disabled.1")),
            asks("cookie", "session=disabled.1"),
            refused(&DENIED),
        ),
        row(
            "500, where none is needed",
            at("/optional/x", bearer("status-500.1")),
            asks("authorization", "Bearer status-500.1"),
            Expected::Fails,
        ),
        row(
            "valid, where none is needed",
            at("/optional/x", bearer("alice.1")),
            asks("authorization", "Bearer alice.1"),
            is(&ALL_EIGHT),
        ),
        // What the resolver is asked (2.3).
        row(
            "a bad Bearer beside a good session cookie: the Bearer alone is asked about",
            cookie("session=alice.2; app_session=bob.2").bearer("wrong.2"),
            asks("authorization", "Bearer wrong.2"),
            refused(&DENIED),
        ),
        row(
            "a good Bearer beside a good session cookie of another: the Bearer alone is asked about",
            cookie("session=bob.3").bearer("alice.3"),
            asks("authorization", "Bearer alice.3"),
            is(&ALL_EIGHT),
        ),
        row(
            "app_session comes before app_access_token and session",
            cookie("session=bob.4; app_access_token=bob.4; app_session=alice.4"),
            asks("cookie", "app_session=alice.4; app_access_token=bob.4; session=bob.4"),
            is(&ALL_EIGHT),
        ),
        row(
            "app_access_token comes before session",
            cookie("session=bob.5; app_access_token=alice.5"),
            asks("cookie", "app_access_token=alice.5; session=bob.5"),
            is(&ALL_EIGHT),
        ),
        row(
            "a bad app_session beside a good session: the good one counts, in one question",
            cookie("session=alice.6; app_session=wrong.6"),
            asks("cookie", "app_session=wrong.6; session=alice.6"),
            is(&ALL_EIGHT),
        ),
        row(
            "the scheme without case",
            Request::get("/x").header("authorization", "bEARER alice.7"),
            asks("authorization", "bEARER alice.7"),
            is(&ALL_EIGHT),
        ),
        row(
            "a method other than GET, and a body",
            post(bearer("alice.8")),
            asks("authorization", "Bearer alice.8"),
            is(&ALL_EIGHT),
        ),
        row("two Bearer tokens", bearer("alice.9").bearer("bob.9"), vec![], refused(&SEVERAL)),
        row(
            "a session cookie that is there twice",
            cookie("session=alice.10; session=bob.10"),
            vec![],
            refused(&SEVERAL),
        ),
        row(
            "another site's POST with the session cookie",
            post(cookie("session=alice.11").header("sec-fetch-site", "cross-site")),
            vec![],
            refused(&CROSS_SITE),
        ),
        row(
            "an own POST with the session cookie",
            post(cookie("session=alice.12").header("sec-fetch-site", "same-origin")),
            asks("cookie", "session=alice.12"),
            is(&ALL_EIGHT),
        ),
    ])
    .await;

    // By another name, the resolver has no such app.
    let elsewhere = Wire { listener: "elsewhere", host: "unknown.authgear.cloud", ..wire };
    let unknown = row(
        "a host that is no app: 404",
        bearer("alice.13"),
        asks("authorization", "Bearer alice.13"),
        Expected::Fails,
    );
    elsewhere.hold(vec![unknown]).await;
    assert_no_vm_failure(&proxy).await;
}

static NO_USER: Refusal = Refusal(
    401,
    Some(
        "Bearer realm=\"edge-authn\", error=\"invalid_token\", error_description=\"The subject of the access token is not allowed\"",
    ),
    "The subject of the access token is not allowed",
);

#[tokio::test(flavor = "multi_thread")]
async fn where_failures_may_pass_they_pass_as_nobody() {
    let (proxy, _idp, upstream) = start().await;
    let passing = ["wrong", "disabled", "status-500", "gone", "twice"];
    let forged = forged();
    for credential in passing {
        for request in [bearer(credential), cookie(&format!("session={credential}"))] {
            let mut request = Request { path: "/lenient/x".to_owned(), ..request };
            for name in &forged {
                request = request.header(name, "forged");
            }
            assert_eq!(request.send(proxy.gateway()).await.status, 200, "{credential}");
            assert_eq!(identity(&upstream.last_request()), [], "{credential}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_cannot_tell_authgears_tokens_from_its_resolver() {
    let (idp, upstream) = (SessionServer::start(resolve).await, Upstream::start().await);
    let provider = json!({
        "preset": "authgear", "endpoint": ORIGIN, "cluster": "authgear",
        "local_jwks": { "inline_string": jwks([&*RSA]).to_string() },
    });
    let by_token = json!({
        "providers": { "authgear": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "authgear" } }],
    });
    let proxy = Proxy::with_filter(configuration(ORIGIN), &upstream)
        .filter("by-token", by_token)
        .cluster_of("authgear", &HOSTS, idp.address())
        .start()
        .await;
    for (name, user) in [("alice", ALICE), ("bob", BOB), ("carol", CAROL)] {
        let token = RSA.sign_with_header(&json!({ "typ": "at+jwt" }), &user.claims());
        assert_eq!(bearer(&token).send(proxy.address("by-token")).await.status, 200, "{name}");
        let by_token = headers_of_authgear(&upstream);
        assert_eq!(bearer(name).send(proxy.gateway()).await.status, 200, "{name}");
        let by_resolver = headers_of_authgear(&upstream);
        assert_eq!(by_token, by_resolver, "{name}");
        assert_eq!(by_token.len(), if name == "bob" { 5 } else { 8 }, "{name}: {by_token:?}");
    }
    assert_eq!(idp.questions(), 3, "none about tokens");
}

/// Those of the newest request, names in order.
fn headers_of_authgear(upstream: &Upstream) -> Vec<(String, Vec<u8>)> {
    let mut headers = upstream.last_request().headers;
    headers.retain(|(name, _)| name.starts_with("x-authgear-"));
    headers.sort();
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_may_be_passed_over_makes_nobody_authenticated() {
    let (idp, upstream) = (SessionServer::start(resolve).await, Upstream::start().await);
    let mut open = configuration(ORIGIN);
    open["providers"]["authgear"]["session_check"] = json!({ "failure_mode": "anonymous" });
    let proxy =
        Proxy::with_filter(open, &upstream).cluster_of("authgear", &HOSTS, idp.address()).start().await;
    let forged = forged();
    for (path, credential, status) in [
        ("/x", "status-500", 401),
        ("/optional/x", "status-500", 200),
        ("/optional/x", "gone", 200),
        ("/optional/x", "disabled", 401),
        ("/optional/x", "wrong", 401),
    ] {
        let request = Request::get(path).bearer(credential);
        let request = forged.iter().fold(request, |request, name| request.header(name, "forged"));
        let reply = request.send(proxy.gateway()).await;
        assert_eq!(reply.status, status, "{path} {credential}: {reply:?}");
        if status == 200 {
            assert_eq!(identity(&upstream.last_request()), [], "{path} {credential}");
        } else {
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path} {credential}");
        }
    }
}
