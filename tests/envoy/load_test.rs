//! Good and bad requests, mixed, many and at once.

use serde_json::json;
use tokio::time::Instant;

use crate::scene::{Scene, assert_no_vm_failure, claims, now};
use crate::support::tokens::SigningKey;
use crate::support::{Envoy, Request, load};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_mixed_requests_over_fifty_connections_are_all_answered_right() {
    const REQUESTS: usize = 10_000;

    let scene = Scene::start().await;
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(2)
        .start()
        .await;
    let good: Vec<_> =
        (0..50).map(|user| scene.key.sign(&claims(json!({ "sub": format!("user-{user}") })))).collect();
    let expired = scene.key.sign(&claims(json!({ "exp": now() - 3600 })));
    let elsewhere = scene.key.sign(&claims(json!({ "aud": "other" })));
    let forged = SigningKey::eddsa("k1").sign(&claims(json!({ "sub": "root" })));
    let unknown_key = SigningKey::eddsa("k9").sign(&claims(json!({ "sub": "root" })));
    // What is sent, and the status it must have.
    let case = move |index: usize| {
        let path = format!("/{index}");
        let spoofed = |request: Request| request.header("x-user-id", "root").header("X_User_Id", "root");
        match index % 10 {
            0 => (spoofed(Request::get(&path)), 401),
            1 => (Request::get(&path).bearer(&expired), 401),
            2 => (Request::get(&path).bearer(&elsewhere), 401),
            3 => (spoofed(Request::get(&path).bearer(&forged)), 401),
            4 => (Request::get(&path).bearer(&unknown_key), 401),
            5 => (spoofed(Request::get(&format!("/optional{path}"))), 200),
            6 => (Request::get(&path).bearer("junk\u{e9}"), 401),
            7 => (spoofed(Request::get(&path).bearer(&good[index % 50])), 200),
            _ => (Request::get(&path).bearer(&good[index % 50]), 200),
        }
    };

    let sent = case.clone();
    let started = Instant::now();
    let replies = load(envoy.gateway(), 50, REQUESTS, move |index| sent(index).0).await;

    for (index, reply) in replies.iter().enumerate() {
        assert_eq!(reply.status, case(index).1, "request {index}: {}", reply.text());
    }
    let received = scene.upstream.requests();
    assert_eq!(received.len(), REQUESTS * 4 / 10);
    for request in received {
        let users = request.header_in_any_spelling("x-user-id");
        match request.path.strip_prefix("/optional/") {
            Some(_) => assert!(users.is_empty(), "{users:?}"),
            None => {
                let index: usize = request.path[1..].parse().unwrap();
                assert_eq!(users, [format!("user-{}", index % 50).as_bytes()]);
            }
        }
    }
    // On a busy machine the requests take longer than the interval in which the key id is looked for once.
    let intervals = started.elapsed().as_secs() / 10;
    let fetches = u64::try_from(scene.idp.fetches()).unwrap();
    assert!(
        (2..=2 + intervals).contains(&fetches),
        "{fetches} fetches: one at the start, one an interval for the key id that nobody has"
    );
    assert_no_vm_failure(&envoy).await;
}
