//! Sessions that are checked in the background, where nothing happens between requests: the request that finds its session
//! due asks, and waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::session_check::{Revoked, configuration, introspection, start};
use crate::scene::assert_no_vm_failure;
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Request, SessionServer, Upstream, eventually};

const INTERVAL: Duration = Duration::from_secs(2);
/// How long an answer takes, which is longer than a request takes that does not wait for one.
const ASKED: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn only_the_request_that_finds_its_session_due_waits_and_an_ended_session_is_refused_within_an_interval()
 {
    let revoked = Revoked::default();
    let known = Arc::clone(&revoked);
    let server = SessionServer::start(move |asked| {
        let token = asked.form("token").unwrap_or_default();
        let is_active = !known.lock().unwrap().contains(token);
        (200, Vec::new(), json!({ "active": is_active }).to_string())
    })
    .await;
    server.answer_after(ASKED);
    let upstream = Upstream::start().await;
    let key = SigningKey::eddsa("k1");
    let keys = json!({ "local_jwks": { "inline_string": jwks([&key]).to_string() } });
    let check = introspection(&server, json!({ "mode": "background", "interval": "2s" }));
    let proxy = start(&server, &upstream, configuration(check, keys)).await;
    let token = |user: &str| key.sign(&crate::scene::claims(json!({ "sub": user })));
    let (alice, bob) = (token("alice"), token("bob"));
    let send = async |token: &str| {
        let started = Instant::now();
        let status = Request::get("/").bearer(token).send(proxy.gateway()).await.status;
        (status, started.elapsed())
    };

    let mut waited = 0;
    let until = Instant::now() + INTERVAL * 2 + Duration::from_millis(500);
    while Instant::now() < until {
        for user in [&alice, &bob] {
            let (status, took) = send(user).await;
            assert_eq!(status, 200);
            waited += usize::from(took >= ASKED);
        }
        sleep(Duration::from_millis(50)).await;
    }
    let questions = server.questions();
    assert!((4..=6).contains(&questions), "{questions} questions about two sessions in two intervals");
    assert!(waited <= questions, "{waited} requests waited for {questions} answers");

    revoked.lock().unwrap().insert(alice.clone());
    eventually("alice is refused", INTERVAL + Duration::from_secs(1), async || send(&alice).await.0 == 401)
        .await;
    assert_eq!(send(&bob).await.0, 200);

    server.go_down().await;
    for _ in 0..20 {
        assert_eq!(send(&bob).await.0, 200);
        assert_eq!(send(&alice).await.0, 401, "what is gone stays gone");
        sleep(Duration::from_millis(150)).await;
    }
    assert_no_vm_failure(&proxy).await;
}
