//! Real identity providers that are asked about sessions, through a gateway.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Proxy;
use crate::scene::assert_no_vm_failure;
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Asked, Request, SessionReply, SessionServer, Upstream, eventually, load, report};

/// The sessions that have been ended.
pub type Revoked = Arc<Mutex<BTreeSet<String>>>;

/// An introspection endpoint for tokens `session-of-<user>`.
fn introspect(asked: &Asked, revoked: &Revoked) -> SessionReply {
    // gw:s3cret
    if asked.line() != "POST /introspect" || asked.header("authorization") != Some("Basic Z3c6czNjcmV0") {
        return (401, Vec::new(), String::new());
    }
    let token = asked.form("token").unwrap_or_default();
    let body = match token.strip_prefix("session-of-") {
        Some(user) if !revoked.lock().unwrap().contains(token) => {
            json!({ "active": true, "sub": user, "scope": "a b" })
        }
        _ => json!({ "active": false }),
    };
    (200, vec![("content-type", "application/json".to_owned())], body.to_string())
}

async fn introspection_server() -> (SessionServer, Revoked) {
    let revoked = Revoked::default();
    let known = Arc::clone(&revoked);
    (SessionServer::start(move |asked| introspect(asked, &known)).await, revoked)
}

pub fn introspection(server: &SessionServer, extra: Value) -> Value {
    let mut check = json!({
        "kind": "introspection",
        "http_uri": { "uri": server.uri("/introspect"), "cluster": "sessions", "timeout": "2s" },
        "client_id": "gw",
        "client_secret": "s3cret",
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        check[name] = value.clone();
    }
    check
}

/// A provider that is asked this, with `extra` fields; `/optional` takes a missing credential.
pub fn configuration(check: Value, extra: Value) -> Value {
    let mut provider = json!({
        "session_check": check,
        "claim_to_headers": [{ "header_name": "x-user-id", "claim_name": "sub" }],
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        provider[name] = value.clone();
    }
    json!({
        "providers": { "acme": provider },
        "rules": [
            { "match": { "prefix": "/optional" }, "requires": { "allow_missing": {} } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } },
        ],
    })
}

pub async fn start(server: &SessionServer, upstream: &Upstream, configuration: Value) -> Proxy {
    Proxy::with_filter(configuration, upstream).cluster("sessions", server.address()).start().await
}

fn request(user: &str) -> Request {
    Request::get("/").bearer(&format!("session-of-{user}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn always_a_session_that_ends_is_refused_within_the_time_that_answers_count() {
    let ((server, revoked), upstream) = (introspection_server().await, Upstream::start().await);
    let check = introspection(&server, json!({ "cache_ttl": "1s", "negative_ttl": "1s" }));
    let proxy = start(&server, &upstream, configuration(check, json!({}))).await;

    let forged = request("alice").header("x-user-id", "root").header("X_User_Id", "root");
    assert_eq!(forged.send(proxy.gateway()).await.status, 200);
    let received = upstream.last_request();
    assert_eq!(received.header_in_any_spelling("x-user-id"), [b"alice"]);
    assert!(received.header("authorization").is_empty());
    for _ in 0..20 {
        assert_eq!(request("alice").send(proxy.gateway()).await.status, 200);
    }
    assert!(server.questions() <= 2, "{} questions", server.questions());

    revoked.lock().unwrap().insert("session-of-alice".to_owned());
    let took = eventually("alice is refused", Duration::from_millis(1500), async || {
        request("alice").send(proxy.gateway()).await.status == 401
    })
    .await;
    report(&format!("a session that ended was refused after {took:?}"));
    assert_eq!(request("bob").send(proxy.gateway()).await.status, 200);
    let refused = request("alice").send(proxy.gateway()).await;
    assert!(refused.header("www-authenticate").unwrap().contains("invalid_token"));
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn always_a_provider_that_is_down_is_a_503_and_is_asked_again() {
    let ((server, _), upstream) = (introspection_server().await, Upstream::start().await);
    let check = introspection(&server, json!({ "cache_ttl": "0s" }));
    let proxy = start(&server, &upstream, configuration(check, json!({}))).await;
    assert_eq!(request("alice").send(proxy.gateway()).await.status, 200);
    server.go_down().await;
    eventually("a refused connection is a 503", Duration::from_secs(5), async || {
        let reply = request("alice").send(proxy.gateway()).await;
        reply.status == 503 && reply.header("retry-after") == Some("1")
    })
    .await;
    assert_eq!(Request::get("/").send(proxy.gateway()).await.status, 401);
    assert_eq!(Request::get("/optional").send(proxy.gateway()).await.status, 200);
    assert_eq!(Request::get("/optional").bearer("t").send(proxy.gateway()).await.status, 503);
    server.come_back();
    eventually("it is asked again", Duration::from_secs(5), async || {
        request("alice").send(proxy.gateway()).await.status == 200
    })
    .await;
    server.answer_after(Duration::from_secs(5));
    let started = Instant::now();
    assert_eq!(request("alice").send(proxy.gateway()).await.status, 503);
    assert!(started.elapsed() < Duration::from_millis(2600), "{:?}", started.elapsed());
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_that_does_not_take_our_own_credentials_is_nobodys_fault_but_ours() {
    let ((server, _), upstream) = (introspection_server().await, Upstream::start().await);
    let check = introspection(&server, json!({ "client_secret": "wrong-s3cret" }));
    let proxy = start(&server, &upstream, configuration(check, json!({}))).await;
    assert_eq!(request("alice").send(proxy.gateway()).await.status, 503);
    assert_eq!(server.questions(), 1);
    let log = proxy.log();
    assert!(log.contains("does not take client_id and client_secret"), "{log}");
    for secret in ["wrong-s3cret", "session-of-alice", "Z3c6"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_tokens_are_asked_about_and_signed_ones_are_not() {
    let ((server, _), upstream) = (introspection_server().await, Upstream::start().await);
    let key = SigningKey::eddsa("k1");
    let keys = json!({ "local_jwks": { "inline_string": jwks([&key]).to_string() } });
    let check = introspection(&server, json!({ "mode": "opaque" }));
    let proxy = start(&server, &upstream, configuration(check, keys)).await;
    let token = key.sign(&crate::scene::claims(json!({ "sub": "carol" })));
    let forged = SigningKey::eddsa("k1").sign(&crate::scene::claims(json!({})));
    for (credential, status) in [(token.as_str(), 200), (&forged, 401), ("a.b.c", 401)] {
        let reply = Request::get("/").bearer(credential).send(proxy.gateway()).await;
        assert_eq!(reply.status, status, "{credential}");
    }
    assert_eq!(server.questions(), 1, "only about what is no JWT");
    assert_eq!(request("alice").send(proxy.gateway()).await.status, 200);
    assert_eq!(upstream.last_request().header("x-user-id"), [b"alice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_info_tells_a_bad_session_from_a_key_of_ours_that_is_wrong() {
    let server = SessionServer::start(|asked| {
        let code = |status, code: &str| (status, Vec::new(), json!({ "code": code }).to_string());
        match (asked.header("x-server-key"), asked.header("x-access-token")) {
            (Some("k3y"), Some("session-of-alice")) => {
                (200, Vec::new(), json!({ "id": "u1", "nested": { "name": "Al\u{ef}ce" } }).to_string())
            }
            (Some("k3y"), Some("restricted")) => code(403, "RESTRICTED"),
            (Some("k3y"), _) => code(401, "EXPIRED"),
            _ => code(401, "INVALID_SERVER_KEY"),
        }
    })
    .await;
    let upstream = Upstream::start().await;
    let check = |key: &str| {
        json!({
            "kind": "user_info",
            "http_uri": { "uri": server.uri("/users/me"), "cluster": "sessions" },
            "credential_header": "x-access-token",
            "headers": { "x-server-key": key },
            "deny": [
                { "status": 401, "code": "EXPIRED" },
                { "status": 403, "code": "RESTRICTED", "answer": 403 },
            ],
        })
    };
    let headers = json!({ "claim_to_headers": [
        { "header_name": "x-user-id", "claim_name": "id" },
        { "header_name": "x-name", "claim_name": "nested.name" },
    ] });
    let proxy = start(&server, &upstream, configuration(check("k3y"), headers.clone())).await;
    assert_eq!(request("alice").send(proxy.gateway()).await.status, 200);
    let received = upstream.last_request();
    assert_eq!(received.header("x-user-id"), [b"u1"]);
    assert_eq!(received.header("x-name"), [b"Al%C3%AFce"]);
    let asked = server.history().pop().unwrap();
    assert_eq!(asked.line(), "GET /users/me");
    assert_eq!(asked.header("authorization"), None);
    assert_eq!(Request::get("/").bearer("gone").send(proxy.gateway()).await.status, 401);
    assert_eq!(Request::get("/").bearer("restricted").send(proxy.gateway()).await.status, 403);

    let proxy = start(&server, &upstream, configuration(check("old"), headers)).await;
    assert_eq!(request("alice").send(proxy.gateway()).await.status, 503);
}

const CLEARING: &str = "session=; Path=/; Domain=acme.example; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax";

#[tokio::test(flavor = "multi_thread")]
async fn forward_auth_is_shown_the_listed_cookies_and_answers_in_headers() {
    let server = SessionServer::start(|asked| {
        let valid = |valid: &str| ("x-session-valid", valid.to_owned());
        let headers = match asked.header("cookie") {
            Some("session=s1; device=d=1") => {
                vec![valid("true"), ("x-session-user", "alice".to_owned()), ("x-admin", "yes".to_owned())]
            }
            _ => vec![
                valid("false"),
                ("set-cookie", CLEARING.to_owned()),
                ("set-cookie", "admin=1; Path=/".to_owned()),
            ],
        };
        (200, headers, String::new())
    })
    .await;
    let upstream = Upstream::start().await;
    let check = json!({
        "kind": "forward_auth",
        "http_uri": { "uri": server.uri("/resolve"), "cluster": "sessions" },
        "relay_set_cookie": ["session", "device"],
        "request_headers": ["user-agent"],
        "cookies": ["session", "device"],
        "headers": { "x-forwarded-proto": "https" },
        "allow": { "header": "x-session-valid", "value": "true" },
        "claims_from_headers": [{ "header": "x-session-user", "claim": "sub" }],
    });
    let proxy = start(&server, &upstream, configuration(check, json!({ "from_cookies": ["session"] }))).await;
    let good = Request::new("POST", "/orders?secret=1")
        .header("cookie", "analytics=1; device=d=1; session=s1; theme=dark")
        .header("user-agent", "browser")
        .header("x-session-user", "root")
        .header("x-user-id", "root")
        .header("x-forwarded-proto", "http")
        .body("a=b");
    assert_eq!(good.send(proxy.gateway()).await.status, 200);
    let received = upstream.last_request();
    assert_eq!(received.header("x-user-id"), [b"alice"]);
    assert_eq!(received.body_length, 3);
    assert!(received.header("x-admin").is_empty());
    assert_eq!(received.header("cookie"), [b"analytics=1; device=d=1; theme=dark"]);
    let asked = server.history().pop().unwrap();
    assert_eq!(asked.line(), "GET /resolve");
    for (name, value) in [
        ("host", Some(server.address().to_string())),
        ("user-agent", Some("browser".to_owned())),
        ("x-forwarded-proto", Some("https".to_owned())),
        ("x-session-user", None),
        ("x-user-id", None),
        ("authorization", None),
        ("content-length", None),
    ] {
        assert_eq!(asked.header(name), value.as_deref(), "{name}");
    }
    assert!(!asked.head.contains("analytics") && !asked.head.contains("orders"), "{}", asked.head);

    let gone = || Request::get("/").header("cookie", "session=s2; device=d=1");
    let refused = gone().send(proxy.gateway()).await;
    assert_eq!((refused.status, refused.header("set-cookie")), (401, Some(CLEARING)));
    assert!(refused.header("www-authenticate").is_some());
    let refused = gone().send(proxy.gateway()).await;
    assert_eq!((refused.status, refused.header("set-cookie")), (401, None), "the denial is remembered alone");
    let twice = Request::get("/").header("cookie", "session=s1; device=1; device=2");
    assert_eq!(twice.send(proxy.gateway()).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_come_at_the_same_time_are_never_mixed_up() {
    const USERS: usize = 5;
    for ttl in ["0s", "0.05s"] {
        let ((server, _), upstream) = (introspection_server().await, Upstream::start().await);
        server.answer_after(Duration::from_millis(2));
        let check = introspection(&server, json!({ "cache_ttl": ttl }));
        let proxy = Proxy::with_filter(configuration(check, json!({})), &upstream)
            .cluster("sessions", server.address())
            .workers(2)
            .start()
            .await;
        let user = |index: usize| format!("user-{}", index * 7 % USERS);
        let started = Instant::now();
        let replies = load(proxy.gateway(), 20, 5000, move |index| {
            request(&user(index)).header("x-index", index.to_string())
        })
        .await;
        let took = started.elapsed();
        assert!(replies.iter().all(|reply| reply.status == 200));
        let received = upstream.requests();
        assert_eq!(received.len(), 5000);
        for request in received {
            let index = std::str::from_utf8(request.header("x-index")[0]).unwrap().parse().unwrap();
            assert_eq!(request.header("x-user-id"), [user(index).as_bytes()]);
        }
        report(&format!(
            "5000 requests of {USERS} users with cache_ttl {ttl}: {took:?}, {} questions",
            server.questions()
        ));
        assert_no_vm_failure(&proxy).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_while_they_wait_harm_nobody() {
    let ((server, _), upstream) = (introspection_server().await, Upstream::start().await);
    server.answer_after(Duration::from_millis(300));
    let check = introspection(&server, json!({ "cache_ttl": "0s" }));
    let proxy = start(&server, &upstream, configuration(check, json!({}))).await;
    for _ in 0..5 {
        let leaving = crate::support::send_and_leave_open(proxy.gateway(), 20, &request("alice")).await;
        sleep(Duration::from_millis(100)).await;
        drop(leaving);
        assert_eq!(request("alice").send(proxy.gateway()).await.status, 200);
    }
    assert_no_vm_failure(&proxy).await;
}
