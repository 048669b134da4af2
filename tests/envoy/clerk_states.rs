//! The states of a browser's session by the preset `clerk`, on the wire: each row is a step of `authenticateRequest` of
//! clerk/javascript (A: a token in the header; 6 to 12: cookies; E: what becomes of an error), or of its integration tests.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::Proxy;
use crate::scene::{assert_no_vm_failure, now};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Http1, JwksServer, Request, Upstream};

/// Making one takes seconds.
static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rs256("ins_1"));
static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rs256("ins_1"));

/// The publishable key of `clerk.inspired.puma-74.lcl.dev` in production, and the suffix of its cookies.
const LIVE_KEY: &str = "pk_live_Y2xlcmsuaW5zcGlyZWQucHVtYS03NC5sY2wuZGV2JA";
const SUFFIX: &str = "MqCvchyS";
const FRONTEND_API: &str = "clerk.inspired.puma-74.lcl.dev";
const APP: &str = "https://app.example";

const EXPIRED: &str = "session-token-expired-refresh-non-eligible-no-refresh-cookie";

struct Gateway {
    proxy: Proxy,
    upstream: Upstream,
    _keys: JwksServer,
}

impl Gateway {
    async fn start(session: Value) -> Self {
        let keys = JwksServer::start(&jwks([&*RSA])).await;
        let upstream = Upstream::start().await;
        let configuration = json!({
            "providers": { "clerk": {
                "preset": "clerk", "frontend_api": FRONTEND_API, "cluster": "clerk",
                "authorized_parties": [APP], "browser_session": session,
            } },
            "rules": [
                {
                    "match": {
                        "prefix": "/app/",
                        "query_parameters": [{ "name": "__clerk_handshake_nonce", "present_match": true }],
                    },
                },
                { "match": { "prefix": "/public/" }, "requires": { "requires_any": { "requirements": [
                    { "provider_name": "clerk" }, { "allow_missing": {} },
                ] } } },
                { "match": { "prefix": "/" }, "requires": { "provider_name": "clerk" } },
            ],
        });
        let proxy = Proxy::with_filter(configuration, &upstream)
            .cluster_of("clerk", &["clerk.inspired.puma-74.lcl.dev:443"], keys.address())
            .start()
            .await;
        let gateway = Self { proxy, upstream, _keys: keys };
        gateway.until_there_are_keys().await;
        gateway
    }

    async fn with_handshake() -> Self {
        let uri = format!("https://{FRONTEND_API}/v1/client/handshake");
        Self::start(json!({ "publishable_key": LIVE_KEY, "handshake": { "uri": uri } })).await
    }

    async fn until_there_are_keys(&self) {
        let good = Request::get("/").bearer(&session(json!({})));
        assert_eq!(good.send(self.proxy.gateway()).await.status, 200);
    }
}

fn session(extra: Value) -> String {
    signed(&RSA, json!({ "typ": "JWT", "cat": "cl_B7d4PD111AAA" }), extra)
}

fn signed(key: &SigningKey, header: Value, extra: Value) -> String {
    let mut claims = json!({
        "iss": format!("https://{FRONTEND_API}"), "sub": "user_1", "sid": "sess_1", "azp": APP,
        "iat": now() - 10, "nbf": now() - 20, "exp": now() + 60,
    });
    for (name, value) in extra.as_object().unwrap() {
        claims[name] = value.clone();
    }
    key.sign_with_header(&header, &claims)
}

fn page(path: &str) -> Request {
    Request::get(path).header("sec-fetch-dest", "document").header("accept", "text/html")
}

/// The cookies of a session, by both of their names.
fn cookies(token: &str, client_uat: &str) -> String {
    format!(
        "a=1; __session={token}; __client_uat={client_uat}; __session_{SUFFIX}={token}; __client_uat_{SUFFIX}={client_uat}"
    )
}

/// What is expected of a row: the user, or status, state and reason.
enum Expected {
    SignedIn,
    SignedOut(&'static str),
    Handshake(&'static str),
}
use Expected::{Handshake, SignedIn, SignedOut};

async fn check(gateway: &Gateway, rows: Vec<(&str, Request, Expected)>) {
    let mut connection = Http1::connect(gateway.proxy.gateway()).await;
    for (name, request, expected) in rows {
        let before = gateway.upstream.requests().len();
        let reply = connection.send(&request).await;
        let value = |name: &str| reply.header(name).unwrap_or_default().to_owned();
        let status = value("x-clerk-auth-status");
        let reason = value("x-clerk-auth-reason");
        let reached = gateway.upstream.requests().len() - before;
        match expected {
            SignedIn => {
                assert_eq!((reply.status, reached), (200, 1), "{name}: {}", reply.text());
                let received = gateway.upstream.last_request();
                assert_eq!(received.header_in_any_spelling("x-auth-user-id"), [b"user_1"], "{name}");
                assert_eq!(received.header_in_any_spelling("x-auth-session-id"), [b"sess_1"], "{name}");
                assert_eq!((status.as_str(), reason.as_str()), ("", ""), "{name}");
            }
            SignedOut(expected) => {
                assert_eq!((reply.status, reached), (401, 0), "{name}");
                assert_eq!((status.as_str(), reason.as_str()), ("signed-out", expected), "{name}");
                assert!(value("www-authenticate").starts_with("Bearer "), "{name}");
                assert_eq!((reply.header("location"), reply.header("set-cookie")), (None, None), "{name}");
                assert_eq!(value("cache-control"), "no-store", "{name}");
            }
            Handshake(expected) => {
                assert_eq!((reply.status, reached), (307, 0), "{name}");
                assert_eq!((status.as_str(), reason.as_str()), ("handshake", expected), "{name}");
                let location = value("location");
                let start = format!("https://{FRONTEND_API}/v1/client/handshake?redirect_url=http%3A%2F%2F");
                assert!(location.starts_with(&start), "{name}: {location}");
                assert!(location.contains(&format!("&__clerk_hs_reason={expected}&")), "{name}: {location}");
                assert_eq!(
                    value("set-cookie"),
                    "__clerk_redirect_count=1; SameSite=Lax; HttpOnly; Max-Age=2",
                    "{name}"
                );
                assert_eq!(value("cache-control"), "no-store", "{name}");
            }
        }
    }
    assert_no_vm_failure(&gateway.proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_header_counts_alone() {
    let gateway = Gateway::with_handshake().await;
    let good = || session(json!({}));
    let in_cookie = cookies(&good(), "1");
    let bearer = |token: &str| page("/").bearer(token).header("cookie", &in_cookie);
    check(
        &gateway,
        vec![
            ("A verified", bearer(&good()), SignedIn),
            (
                "A verified, the browser signed out",
                page("/").bearer(&good()).header("cookie", "__client_uat=0"),
                SignedIn,
            ),
            (
                "A a token of a template (cat)",
                bearer(&signed(&RSA, json!({ "cat": "cl_B7d4PD222AAA" }), json!({}))),
                SignedOut("token-type-mismatch"),
            ),
            (
                "A a token of a machine (cat)",
                bearer(&signed(&RSA, json!({ "cat": "cl_B7d4PD333AAA" }), json!({}))),
                SignedOut("token-type-mismatch"),
            ),
            (
                "A a token of a machine (sub)",
                bearer(&session(json!({ "sub": "mch_1" }))),
                SignedOut("token-type-mismatch"),
            ),
            (
                "A a token of an OAuth client (typ)",
                bearer(&signed(&RSA, json!({ "typ": "at+jwt" }), json!({}))),
                SignedOut("token-type-mismatch"),
            ),
            ("A an opaque token of a machine", bearer("mt_0123456789"), SignedOut("token-type-mismatch")),
            ("A an opaque OAuth token", bearer("oat_0123456789"), SignedOut("token-type-mismatch")),
            ("A an API key", bearer("ak_0123456789"), SignedOut("token-type-mismatch")),
            ("E over, on a page", bearer(&session(json!({ "exp": now() - 60 }))), Handshake(EXPIRED)),
            (
                "E over, from a script",
                Request::get("/").bearer(&session(json!({ "exp": now() - 60 }))),
                SignedOut(EXPIRED),
            ),
            (
                "E not valid yet, on a page",
                bearer(&session(json!({ "nbf": now() + 60 }))),
                Handshake("session-token-nbf"),
            ),
            (
                "E issued in the future, on a page",
                bearer(&session(json!({ "iat": now() + 60 }))),
                Handshake("session-token-iat-in-the-future"),
            ),
            ("E no token", bearer("abc"), SignedOut("token-invalid")),
            (
                "E a signature of a stranger",
                bearer(&signed(&STRANGER, json!({}), json!({}))),
                SignedOut("token-invalid-signature"),
            ),
            (
                "E an algorithm that is not allowed",
                bearer(&signed(&RSA, json!({ "alg": "RS512" }), json!({}))),
                SignedOut("token-invalid-algorithm"),
            ),
            (
                "E a key that is not there",
                bearer(&signed(&RSA, json!({ "kid": "ins_2" }), json!({}))),
                SignedOut("jwk-kid-mismatch"),
            ),
            (
                "E of another party",
                bearer(&session(json!({ "azp": "https://evil.example" }))),
                SignedOut("token-invalid-authorized-parties"),
            ),
            (
                "E without a party",
                bearer(&session(json!({ "azp": null }))),
                SignedOut("token-invalid-authorized-parties"),
            ),
            (
                "E a session that is pending",
                bearer(&session(json!({ "sts": "pending" }))),
                SignedOut("token-verification-failed"),
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookies_of_a_page_lead_to_every_state() {
    let gateway = Gateway::with_handshake().await;
    let good = || session(json!({}));
    let with =
        |token: &str, client_uat: u64| page("/").header("cookie", cookies(token, &client_uat.to_string()));
    let uat = now() - 30;
    check(
        &gateway,
        vec![
            ("6 no cookies", page("/"), SignedOut("session-token-and-uat-missing")),
            (
                "6 no session, uat of 0",
                page("/").header("cookie", "__client_uat=0"),
                SignedOut("session-token-and-uat-missing"),
            ),
            (
                "7 a session, no uat",
                page("/").header("cookie", format!("__session={}", good())),
                Handshake("session-token-but-no-client-uat"),
            ),
            ("7 a session, uat of 0", with(&good(), 0), Handshake("session-token-but-no-client-uat")),
            (
                "8 no session, a uat",
                page("/").header("cookie", format!("__client_uat={uat}")),
                Handshake("client-uat-but-no-session-token"),
            ),
            (
                "8 no session, a uat, by suffix",
                page("/").header("cookie", format!("__client_uat_{SUFFIX}={uat}")),
                Handshake("client-uat-but-no-session-token"),
            ),
            ("9 a session that cannot be read", with("abc", uat), SignedOut("token-invalid")),
            (
                "10 a session that is none",
                with(&signed(&RSA, json!({ "cat": "cl_B7d4PD222AAA" }), json!({})), uat),
                SignedOut("token-type-mismatch"),
            ),
            (
                "11 a session from before the last sign-in",
                with(&session(json!({ "iat": uat - 1 })), uat),
                Handshake("session-token-iat-before-client-uat"),
            ),
            ("12 a good session", with(&good(), uat), SignedIn),
            (
                "12 a good session, by suffix alone",
                page("/").header(
                    "cookie",
                    format!("__session_{SUFFIX}={}; __client_uat_{SUFFIX}={uat}", good()),
                ),
                SignedIn,
            ),
            (
                "12 a good session beside that of another instance",
                page("/").header(
                    "cookie",
                    format!(
                        "__session={}; __client_uat={uat}; __session_{SUFFIX}={}; __client_uat_{SUFFIX}={uat}",
                        session(json!({ "iss": "https://clerk.other.example" })),
                        good()
                    ),
                ),
                SignedIn,
            ),
            ("E an expired session", with(&session(json!({ "exp": now() - 60 })), uat), Handshake(EXPIRED)),
            ("E an early session", with(&session(json!({ "nbf": now() + 60 })), uat), Handshake("session-token-nbf")),
            (
                "E a forged session",
                with(&signed(&STRANGER, json!({}), json!({})), uat),
                SignedOut("token-invalid-signature"),
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_are_redirected_and_never_for_ever() {
    let gateway = Gateway::with_handshake().await;
    let reason = "client-uat-but-no-session-token";
    let cookie = format!("__client_uat={}", now() - 30);
    let with = |method: &str, fields: &[(&str, &str)]| {
        let request = Request::new(method, "/").header("cookie", &cookie);
        fields.iter().fold(request, |request, (name, value)| request.header(name, value))
    };
    check(
        &gateway,
        vec![
            ("eligible: GET, document", with("GET", &[("sec-fetch-dest", "document")]), Handshake(reason)),
            ("eligible: GET, iframe", with("GET", &[("sec-fetch-dest", "iframe")]), Handshake(reason)),
            (
                "eligible: GET, no destination, text/html",
                with("GET", &[("accept", "text/html, */*")]),
                Handshake(reason),
            ),
            (
                "not eligible: a script",
                with("GET", &[("sec-fetch-dest", "empty"), ("accept", "text/html")]),
                SignedOut(reason),
            ),
            ("not eligible: JSON", with("GET", &[("accept", "application/json")]), SignedOut(reason)),
            ("not eligible: POST", with("POST", &[("sec-fetch-dest", "document")]), SignedOut(reason)),
        ],
    )
    .await;
    let address = gateway.proxy.gateway();
    for (count, status) in [(1, 307), (2, 307), (3, 401)] {
        let request = page("/").header("cookie", format!("{cookie}; __clerk_redirect_count={count}"));
        let reply = request.send(address).await;
        assert_eq!(reply.status, status, "loop guard, {count}");
        let next = format!("__clerk_redirect_count={}; SameSite=Lax; HttpOnly; Max-Age=2", count + 1);
        let expected = (status == 307).then_some(next.as_str());
        assert_eq!(reply.header("set-cookie"), expected, "loop guard, {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_from_the_handshake_leads_to_the_application_without_an_identity() {
    let gateway = Gateway::with_handshake().await;
    let cookie = format!("__client_uat={}", now() - 30);
    let back =
        page("/app/x?__clerk_handshake_nonce=n1").header("cookie", &cookie).header("x-auth-user-id", "root");
    assert_eq!(back.send(gateway.proxy.gateway()).await.status, 200);
    assert!(gateway.upstream.last_request().header_in_any_spelling("x-auth-user-id").is_empty());
    let elsewhere = page("/other?__clerk_handshake_nonce=n1").header("cookie", &cookie);
    assert_eq!(elsewhere.send(gateway.proxy.gateway()).await.status, 307);
    let optional = page("/public/x").header("cookie", &cookie);
    assert_eq!(optional.send(gateway.proxy.gateway()).await.status, 200, "an optional session is anonymous");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_handshake_a_page_is_refused_for_the_same_reason() {
    let gateway = Gateway::start(json!({})).await;
    let uat = now() - 30;
    let over = session(json!({ "exp": now() - 60 }));
    check(
        &gateway,
        vec![
            (
                "8 no session, a uat",
                page("/").header("cookie", format!("__client_uat={uat}")),
                SignedOut("client-uat-but-no-session-token"),
            ),
            (
                "E an expired session",
                page("/").header("cookie", format!("__session={over}; __client_uat={uat}")),
                SignedOut(EXPIRED),
            ),
        ],
    )
    .await;
}
