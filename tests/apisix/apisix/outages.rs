//! Key servers that are slow, rotate, are gone or abused, where each request that needs keys fetches them for itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::key_servers::{all_answer, assert_says_when_to_come_back, count};
use crate::Proxy;
use crate::scene::{PATIENCE, Scene, assert_alive, assert_no_vm_failure, claims, patient};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Http1, Request, Traffic, Upstream, eventually, load, send_and_leave_open, statuses};

/// Longer than the longest pause after the failures of an outage of a few seconds.
const RECOVERED: Duration = Duration::from_secs(11);

/// A request with a good token of this key.
fn request_by(key: &SigningKey, path: &str) -> Request {
    Request::get(path).bearer(&key.sign(&claims(json!({}))))
}

/// Users with tokens of a key, a few hundred requests a second.
fn users_of(key: &SigningKey, address: SocketAddr) -> Traffic {
    let request = request_by(key, "/user");
    Traffic::start(address, 10, Duration::from_millis(25), move |_| request.clone())
}

async fn start(scene: &Scene, remote: serde_json::Value) -> Proxy {
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", remote);
    Proxy::with_filter(configuration, &scene.upstream).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_fetch_for_themselves_and_the_later_ones_not_at_all() {
    const USERS: usize = 50;

    let scene = Scene::start().await;
    scene.idp.hold();
    let proxy = start(&scene, patient(&scene.idp, "idp")).await;
    let request = scene.good_request("/");
    let replies = tokio::spawn(load(proxy.gateway(), USERS, USERS, move |_| request.clone()));
    eventually("each has asked", PATIENCE, async || scene.idp.fetches() == USERS).await;
    scene.idp.release();
    assert!(replies.await.unwrap().iter().all(|reply| reply.status == 200));
    assert!(all_answer(proxy.gateway(), &scene.good_request("/"), 200).await);
    assert_eq!(scene.idp.fetches(), USERS);
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_fetch_are_turned_away_at_once_and_nothing_breaks() {
    const MOST_FETCHES: usize = 128;
    const USERS: usize = 200;

    let scene = Scene::start().await;
    scene.idp.hold();
    let proxy = start(&scene, patient(&scene.idp, "idp")).await;
    let waiting = send_and_leave_open(proxy.gateway(), MOST_FETCHES, &scene.good_request("/")).await;
    eventually("as many ask as may", PATIENCE, async || scene.idp.fetches() == MOST_FETCHES).await;
    let request = scene.good_request("/");
    let count = USERS - MOST_FETCHES;
    let turned_away = load(proxy.gateway(), count, count, move |_| request.clone()).await;
    for reply in turned_away {
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    }
    assert_eq!(scene.idp.fetches(), MOST_FETCHES);
    scene.idp.release();
    for mut client in waiting {
        assert_eq!(client.read_reply("GET").await.status, 200);
    }
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_at_once_turns_no_user_away_for_longer_than_it_is_looked_for() {
    const LOOKED_FOR: Duration = Duration::from_millis(300);

    let scene = Scene::start().await;
    let (old, new) = (scene.key.clone(), SigningKey::eddsa("k2"));
    let proxy = start(&scene, json!({})).await;
    assert_alive(&scene, proxy.gateway()).await;
    let users = users_of(&old, proxy.gateway());
    users.go_on_for(200).await;
    scene.idp.answer_with(&jwks([&new]));
    scene.idp.answer_after(LOOKED_FOR);
    let answers = users.stop().await;
    assert_eq!(count(&answers, 200), answers.len(), "{:?}", statuses(&answers));

    let users = users_of(&new, proxy.gateway());
    sleep(Duration::from_secs(3)).await;
    let answers = users.stop().await;
    let found = scene.idp.history()[1].at + LOOKED_FOR;
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        // A 401 would blame the token.
        assert_eq!(answer.status, 503);
        assert_says_when_to_come_back(answer.retry_after.as_deref());
        let late = answer.sent.saturating_duration_since(found);
        assert!(late < Duration::from_millis(500), "turned away {late:?} after it was found");
    }
    assert!(count(&answers, 200) > 100, "{:?}", statuses(&answers));
    assert_eq!(scene.idp.fetches(), 2, "one at the start, one for the new key");
    assert!(all_answer(proxy.gateway(), &request_by(&old, "/withdrawn"), 401).await);
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_keys_live_turns_no_user_away_and_ends_with_fresh_keys() {
    const OUTAGE: Duration = Duration::from_secs(4);

    let scene = Scene::start().await;
    let (kept, withdrawn, fresh) =
        (scene.key.clone(), SigningKey::eddsa("withdrawn"), SigningKey::eddsa("fresh"));
    scene.idp.answer_with(&jwks([&kept, &withdrawn]));
    let proxy = start(&scene, json!({ "cache_duration": "1s" })).await;
    assert_alive(&scene, proxy.gateway()).await;
    let users = users_of(&kept, proxy.gateway());
    users.go_on_for(200).await;
    let of_withdrawn = request_by(&withdrawn, "/withdrawn");
    assert!(all_answer(proxy.gateway(), &of_withdrawn, 200).await);

    scene.idp.go_down().await;
    sleep(OUTAGE).await;
    assert!(all_answer(proxy.gateway(), &of_withdrawn, 200).await, "expired keys serve");
    scene.idp.answer_with(&jwks([&kept, &fresh]));
    scene.idp.come_back();
    let is_refused = async || all_answer(proxy.gateway(), &of_withdrawn, 401).await;
    eventually("fresh keys are there", RECOVERED, is_refused).await;
    assert!(all_answer(proxy.gateway(), &request_by(&fresh, "/fresh"), 200).await);
    let answers = users.stop().await;
    assert_eq!(count(&answers, 200), answers.len(), "{:?}", statuses(&answers));
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_max_stale_is_a_503_and_ends_without_a_restart() {
    const MAX_STALE: Duration = Duration::from_secs(2);

    let scene = Scene::start().await;
    let key = scene.key.clone();
    let proxy = start(&scene, json!({ "cache_duration": "1s", "max_stale": "2s" })).await;
    assert_alive(&scene, proxy.gateway()).await;
    let users = users_of(&key, proxy.gateway());
    users.go_on_for(200).await;

    scene.idp.go_down().await;
    let down_at = Instant::now();
    let request = request_by(&key, "/probe");
    let is_out = async || all_answer(proxy.gateway(), &request, 503).await;
    eventually("the keys are too old", PATIENCE, is_out).await;
    scene.idp.come_back();
    let is_back = async || all_answer(proxy.gateway(), &request, 200).await;
    eventually("it has recovered", RECOVERED, is_back).await;
    let back_at = Instant::now();
    users.go_on_for(200).await;
    for answer in users.stop().await {
        match answer.status {
            200 => {}
            503 => {
                assert!(answer.sent + answer.latency >= down_at + MAX_STALE, "503 before max_stale is over");
                assert!(answer.sent < back_at, "503 after the recovery");
                assert_says_when_to_come_back(answer.retry_after.as_deref());
            }
            status => panic!("{status} during an outage"),
        }
    }
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_with_invented_key_ids_cost_one_fetch_and_hold_up_nobody() {
    const ATTACKS: usize = 2_000;

    let scene = Scene::start().await;
    let proxy = start(&scene, json!({ "kid_refetch_interval": "60s" })).await;
    assert_alive(&scene, proxy.gateway()).await;
    let users = users_of(&scene.key, proxy.gateway());
    let attacker = SigningKey::eddsa("k1");
    let body = claims(json!({}));
    let attacks = load(proxy.gateway(), 10, ATTACKS, move |index| {
        let token = attacker.sign_with_header(&json!({ "kid": format!("invented-{index}") }), &body);
        Request::get("/attack").bearer(&token)
    })
    .await;
    let mut counts = BTreeMap::new();
    attacks.iter().for_each(|reply| *counts.entry(reply.status).or_insert(0) += 1);
    assert!(counts.keys().all(|status| matches!(status, 401 | 503)), "{counts:?}");
    assert!(counts[&401] > ATTACKS - 100, "503 only while the first is looked for: {counts:?}");
    assert_eq!(scene.idp.fetches(), 2);
    let answers = users.stop().await;
    assert_eq!(count(&answers, 200), answers.len(), "{:?}", statuses(&answers));
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_while_they_wait_take_nothing_of_others_with_them() {
    const LEAVING: usize = 40;
    const STAYING: usize = 20;

    let scene = Scene::start().await;
    scene.idp.hold();
    let proxy = start(&scene, patient(&scene.idp, "idp")).await;
    let stayers = send_and_leave_open(proxy.gateway(), STAYING, &request_by(&scene.key, "/stayed")).await;
    let leavers = send_and_leave_open(proxy.gateway(), LEAVING, &request_by(&scene.key, "/left")).await;
    eventually("all wait", PATIENCE, async || scene.idp.fetches() == STAYING + LEAVING).await;
    drop(leavers);
    sleep(Duration::from_millis(100)).await;
    scene.idp.release();
    for mut stayer in stayers {
        assert_eq!(Http1::read_reply(&mut stayer, "GET").await.status, 200);
    }
    assert!(scene.upstream.requests().iter().all(|request| request.path == "/stayed"));
    assert!(all_answer(proxy.gateway(), &scene.good_request("/"), 200).await);
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_nobody_knows_is_a_503_and_others_are_not_concerned() {
    let upstream = Upstream::start().await;
    let key = SigningKey::eddsa("k1");
    let configuration = json!({
        "providers": { "lost": {
            "issuer": crate::scene::ISSUER,
            "remote_jwks": { "http_uri": { "uri": "https://nowhere.example/jwks.json", "timeout": "2s" } },
        } },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "lost" } },
        ],
    });
    let proxy = Proxy::with_filter(configuration, &upstream).start().await;
    let reply = request_by(&key, "/").send(proxy.gateway()).await;
    assert_eq!(reply.status, 503);
    assert_says_when_to_come_back(reply.header("retry-after"));
    assert_eq!(Request::get("/open").send(proxy.gateway()).await.status, 200);
    assert!(proxy.log().contains("keys of provider \"lost\" not fetched"), "{}", proxy.log());
    assert_no_vm_failure(&proxy).await;
}
