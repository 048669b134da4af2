//! Sessions that a real Envoy asks about while no request waits.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::scene::assert_no_vm_failure;
use crate::session_check::{Revoked, configuration, introspection, start};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Request, SessionServer, Upstream, eventually, report};

#[tokio::test(flavor = "multi_thread")]
async fn in_the_background_nobody_waits_and_an_ended_session_is_refused_within_an_interval() {
    const INTERVAL: Duration = Duration::from_secs(2);
    let revoked = Revoked::default();
    let known = Arc::clone(&revoked);
    let server = SessionServer::start(move |asked| {
        let token = asked.form("token").unwrap_or_default();
        let is_active = !known.lock().unwrap().contains(token);
        (200, Vec::new(), json!({ "active": is_active }).to_string())
    })
    .await;
    // Longer than any request takes.
    server.answer_after(Duration::from_millis(500));
    let upstream = Upstream::start().await;
    let key = SigningKey::eddsa("k1");
    let keys = json!({ "local_jwks": { "inline_string": jwks([&key]).to_string() } });
    let check = introspection(&server, json!({ "mode": "background", "interval": "2s" }));
    let envoy = start(&server, &upstream, configuration(check, keys)).await;
    let token = |user: &str| key.sign(&crate::scene::claims(json!({ "sub": user })));
    let (alice, bob) = (token("alice"), token("bob"));
    let send = async |token: &str| {
        let started = Instant::now();
        let status = Request::get("/").bearer(token).send(envoy.gateway()).await.status;
        (status, started.elapsed())
    };

    let mut slowest = Duration::ZERO;
    let until = Instant::now() + INTERVAL * 2 + Duration::from_millis(500);
    while Instant::now() < until {
        for user in [&alice, &bob] {
            let (status, took) = send(user).await;
            assert_eq!(status, 200);
            slowest = slowest.max(took);
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(slowest < Duration::from_millis(400), "a request waited for a check: {slowest:?}");
    let questions = server.questions();
    assert!((4..=6).contains(&questions), "{questions} questions about two sessions in two intervals");

    revoked.lock().unwrap().insert(alice.clone());
    let took = eventually("alice is refused", INTERVAL + Duration::from_secs(1), async || {
        send(&alice).await.0 == 401
    })
    .await;
    report(&format!(
        "in the background: a session that ended was refused after {took:?} with an interval of {INTERVAL:?}; \
         the slowest request before took {slowest:?}"
    ));
    assert_eq!(send(&bob).await.0, 200);

    server.go_down().await;
    for _ in 0..20 {
        let (status, took) = send(&bob).await;
        assert_eq!(status, 200);
        assert!(took < Duration::from_millis(400), "{took:?}");
        assert_eq!(send(&alice).await.0, 401, "what is gone stays gone");
        sleep(Duration::from_millis(150)).await;
    }
    assert_no_vm_failure(&envoy).await;
}
