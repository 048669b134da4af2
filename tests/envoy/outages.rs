//! What it costs the users when the key server is slow, rotates, is gone or is abused: the filter on four workers, and
//! where the issue is known of `jwt_authn`, that filter beside it with a key server of its own.
//!
//! Each case prints the figures behind the table of outages in the README.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::key_servers::{PICKED_UP, all_answer, assert_says_when_to_come_back, count};
use crate::scene::{ISSUER, PATIENCE, Scene, assert_no_vm_failure, claims, patient};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{
    Answer, Envoy, Http1, JwksServer, Request, Traffic, eventually, load, percentile, report,
    send_and_leave_open, statuses,
};

const WORKERS: usize = 4;

/// The filter and `jwt_authn`, each with a key server of its own, which answer alike.
struct Rivals {
    scene: Scene,
    native_idp: JwksServer,
    envoy: Envoy,
}

impl Rivals {
    /// Both have fetched `keys` on all workers, for `cache_duration`; `extra` are our fields of `remote_jwks`.
    async fn start(keys: &[&SigningKey], scene: Scene, cache_duration: &str, extra: Value) -> Self {
        let document = jwks(keys.iter().copied());
        scene.idp.answer_with(&document);
        let native_idp = JwksServer::start(&document).await;
        let mut ours = json!({ "cache_duration": cache_duration });
        for (name, value) in extra.as_object().into_iter().flatten() {
            ours[name] = value.clone();
        }
        let ours = scene.configuration_with_keys(&scene.idp, "idp", ours);
        let native = scene.native_configuration(&native_idp, "native-idp", cache_duration);
        let envoy = Envoy::with_filter(ours, &scene.upstream)
            .native(native)
            .cluster("idp", scene.idp.address())
            .cluster("native-idp", native_idp.address())
            .workers(WORKERS)
            .start()
            .await;
        for listener in [envoy.gateway(), envoy.native()] {
            assert!(all_answer(listener, &request_by(keys[0], "/first"), 200).await);
        }
        Self { scene, native_idp, envoy }
    }

    /// From now on both key servers have these keys.
    fn rotate_to(&self, keys: &[&SigningKey]) {
        let document = jwks(keys.iter().copied());
        self.scene.idp.answer_with(&document);
        self.native_idp.answer_with(&document);
    }

    async fn go_down(&self) {
        self.scene.idp.go_down().await;
        self.native_idp.go_down().await;
    }

    fn come_back(&self) {
        self.scene.idp.come_back();
        self.native_idp.come_back();
    }

    /// Users with tokens of `key` at both, a few hundred requests a second each.
    fn users_of(&self, key: &SigningKey) -> (Traffic, Traffic) {
        let users = |address| {
            let request = request_by(key, "/user");
            Traffic::start(address, 10, Duration::from_millis(25), move |_| request.clone())
        };
        (users(self.envoy.gateway()), users(self.envoy.native()))
    }
}

/// A request with a good token of this key.
fn request_by(key: &SigningKey, path: &str) -> Request {
    Request::get(path).bearer(&key.sign(&claims(json!({}))))
}

fn assert_all_passed(answers: &[Answer]) {
    assert_eq!(count(answers, 200), answers.len(), "{:?}", statuses(answers));
}

/// How many requests a listener has taken and not answered.
async fn active(envoy: &Envoy, listener: &str) -> u64 {
    envoy.stat(&format!("http.{listener}.downstream_rq_active")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_requests_of_all_workers_wait_for_one_fetch() {
    const USERS: usize = 200;

    let scene = Scene::start().await;
    let document = jwks([&scene.key]);
    let (native_idp, slow_idp) = (JwksServer::start(&document).await, JwksServer::start(&document).await);
    scene.idp.hold();
    native_idp.hold();
    slow_idp.answer_after(Duration::from_millis(300));
    let mut native = scene.native_configuration(&native_idp, "native-idp", "300s");
    native["providers"]["acme"]["remote_jwks"]["http_uri"]["timeout"] = json!("30s");
    let ours = scene.configuration_with_keys(&scene.idp, "idp", patient(&scene.idp, "idp"));
    let at_slow = scene.configuration_with_keys(&slow_idp, "slow-idp", patient(&slow_idp, "slow-idp"));
    let envoy = Envoy::with_filter(ours, &scene.upstream)
        .filter("slow", at_slow)
        .native(native)
        .cluster("idp", scene.idp.address())
        .cluster("slow-idp", slow_idp.address())
        .cluster("native-idp", native_idp.address())
        .workers(WORKERS)
        .start()
        .await;
    let users = |address| {
        let request = scene.good_request("/");
        tokio::spawn(load(address, USERS, USERS, move |_| request.clone()))
    };

    // Just started: the fetch is under way, and answered while the requests come.
    let slow = users(envoy.address("slow")).await.unwrap();

    // No answer comes before all of them wait.
    eventually("keys are asked for before a request", PATIENCE, async || scene.idp.fetches() > 0).await;
    assert_eq!(native_idp.fetches(), 0);
    let (at_ours, at_native) = (users(envoy.gateway()), users(envoy.native()));
    for listener in ["gateway", "native"] {
        let all_wait = async || active(&envoy, listener).await == USERS as u64;
        eventually("every request has arrived and waits", PATIENCE, all_wait).await;
    }
    scene.idp.release();
    native_idp.release();
    let (ours, native) = (at_ours.await.unwrap(), at_native.await.unwrap());
    report(&format!(
        "outages: | cold start, {USERS} requests at once on {WORKERS} workers: fetches | {} | {} |",
        scene.idp.fetches(),
        native_idp.fetches(),
    ));
    assert!(slow.iter().chain(&ours).all(|reply| reply.status == 200));
    assert_eq!(slow_idp.fetches(), 1, "keys are fetched once, by one of the workers");
    assert!(native.iter().all(|reply| reply.status == 200));
    assert_eq!(scene.idp.fetches(), 1);
    assert!(scene.idp.last_fetch().starts_with("GET /jwks.json HTTP/1.1\r\n"));
    assert!(native_idp.fetches() > 1, "jwt_authn has become better: say so in the README");
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_at_once_turns_no_user_away() {
    let scene = Scene::start().await;
    let (old, new) = (scene.key.clone(), SigningKey::eddsa("k2"));
    let rivals = Rivals::start(&[&old], scene, "300s", json!({})).await;
    let (ours, native) = rivals.users_of(&old);
    ours.go_on_for(200).await;
    native.go_on_for(200).await;

    rivals.rotate_to(&[&new]);
    for users in [ours, native] {
        assert_all_passed(&users.stop().await);
    }
    let (ours, native) = rivals.users_of(&new);
    sleep(Duration::from_secs(3)).await;
    let (ours, native) = (ours.stop().await, native.stop().await);
    report(&format!(
        "outages: | rotation without overlap, 3 s after it: 401 to good tokens | {} of {} | {} of {} |",
        count(&ours, 401),
        ours.len(),
        count(&native, 401),
        native.len(),
    ));
    let (our_fetches, native_fetches) = (rivals.scene.idp.fetches(), rivals.native_idp.fetches());
    report(&format!("outages: | the same: fetches | {our_fetches} | {native_fetches} |"));
    assert_all_passed(&ours);
    assert!(our_fetches <= 2, "{our_fetches} fetches: one at the start, one for the new key");
    assert!(count(&native, 401) > 0, "jwt_authn has become better: say so in the README");

    let withdrawn = request_by(&old, "/withdrawn");
    let is_refused = async || all_answer(rivals.envoy.gateway(), &withdrawn, 401).await;
    eventually("the old key is gone on all workers", PICKED_UP, is_refused).await;
    assert_no_vm_failure(&rivals.envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_the_keys_live_turns_no_user_away_and_ends_with_fresh_keys() {
    const OUTAGE: Duration = Duration::from_secs(4);
    /// Pauses of half of 1, 2 and 4 s fit into such an outage; the one of up to 8 s may begin at its very end.
    const LONGEST_PAUSE: Duration = Duration::from_secs(8);

    let scene = Scene::start().await;
    let (kept, withdrawn, fresh) =
        (scene.key.clone(), SigningKey::eddsa("withdrawn"), SigningKey::eddsa("fresh"));
    let rivals = Rivals::start(&[&kept, &withdrawn], scene, "1s", json!({})).await;
    let (ours, native) = rivals.users_of(&kept);
    ours.go_on_for(200).await;
    native.go_on_for(200).await;
    let of_withdrawn = request_by(&withdrawn, "/withdrawn");
    assert!(all_answer(rivals.envoy.gateway(), &of_withdrawn, 200).await);

    rivals.go_down().await;
    sleep(OUTAGE).await;
    assert!(all_answer(rivals.envoy.gateway(), &of_withdrawn, 200).await, "expired keys serve");
    rivals.rotate_to(&[&kept, &fresh]);
    rivals.come_back();
    let is_refused = async || all_answer(rivals.envoy.gateway(), &of_withdrawn, 401).await;
    let took = eventually("fresh keys are there", LONGEST_PAUSE + PICKED_UP, is_refused).await;
    let of_fresh = request_by(&fresh, "/fresh");
    assert!(all_answer(rivals.envoy.gateway(), &of_fresh, 200).await);

    let (ours, native) = (ours.stop().await, native.stop().await);
    report(&format!(
        "outages: | key server gone for {} s, keys live 1 s: 401 to good tokens | {} of {} | {} of {} |",
        OUTAGE.as_secs(),
        count(&ours, 401),
        ours.len(),
        count(&native, 401),
        native.len(),
    ));
    report(&format!(
        "outages: | the same: fresh keys on all workers after it | {:.1} s | |",
        took.as_secs_f64()
    ));
    assert_all_passed(&ours);
    assert!(count(&native, 401) > 0, "jwt_authn has become better: say so in the README");
    assert_no_vm_failure(&rivals.envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_longer_than_max_stale_is_a_503_and_ends_without_a_restart() {
    const MAX_STALE: Duration = Duration::from_secs(2);
    const CACHE_DURATION: Duration = Duration::from_secs(1);

    let scene = Scene::start().await;
    let key = scene.key.clone();
    let rivals = Rivals::start(&[&key], scene, "1s", json!({ "max_stale": "2s" })).await;
    let (ours, native) = rivals.users_of(&key);
    ours.go_on_for(200).await;
    native.go_on_for(200).await;

    rivals.go_down().await;
    let down_at = Instant::now();
    let request = request_by(&key, "/probe");
    let is_out = async || all_answer(rivals.envoy.gateway(), &request, 503).await;
    eventually("the keys are too old", PATIENCE, is_out).await;
    let outage = down_at.elapsed();
    rivals.come_back();
    let is_back = async || all_answer(rivals.envoy.gateway(), &request, 200).await;
    let took = eventually("it has recovered", PATIENCE, is_back).await;
    let back_at = Instant::now();
    ours.go_on_for(200).await;

    let (ours, native) = (ours.stop().await, native.stop().await);
    report(&format!(
        "outages: | key server gone for {:.1} s, keys live 1 s and serve 2 s longer: answers | {:?} | {:?} |",
        outage.as_secs_f64(),
        statuses(&ours),
        statuses(&native),
    ));
    report(&format!(
        "outages: | the same: recovered on all workers after it | {:.1} s | |",
        took.as_secs_f64()
    ));
    for answer in &ours {
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
    let too_old = down_at + CACHE_DURATION + MAX_STALE;
    let late =
        ours.iter().filter(|answer| answer.sent > too_old + PICKED_UP && answer.sent < down_at + outage);
    assert_eq!(late.filter(|answer| answer.status == 200).count(), 0, "keys serve no longer than max_stale");
    assert!(count(&native, 401) > 0, "jwt_authn has become better: say so in the README");
    assert_no_vm_failure(&rivals.envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tokens_with_invented_key_ids_cost_one_fetch_and_hold_up_nobody() {
    const ATTACKS: usize = 10_000;
    const INTERVAL: Duration = Duration::from_secs(10);

    let scene = Scene::start().await;
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(WORKERS)
        .start()
        .await;
    assert!(all_answer(envoy.gateway(), &scene.good_request("/"), 200).await);
    let attacker = SigningKey::eddsa("k1");
    let body = claims(json!({}));
    let invented: Arc<Vec<_>> = (0..ATTACKS)
        .map(|index| attacker.sign_with_header(&json!({ "kid": format!("invented-{index}") }), &body))
        .collect::<Vec<_>>()
        .into();
    // As much work for everybody but the keeper of the keys: refused for its issuer, whatever its key.
    let of_nobody = attacker.sign(&claims(json!({ "iss": format!("{ISSUER}/nobody") })));
    let invented = move |index: usize| Request::get("/attack").bearer(&invented[index % ATTACKS]);
    let of_nobody = move |_| Request::get("/attack").bearer(&of_nobody);

    let (refused, baseline) = beside_users(&scene, &envoy, ATTACKS, of_nobody).await;
    assert_eq!(count(&refused, 401), refused.len(), "{:?}", statuses(&refused));
    assert_all_passed(&baseline);

    let (memory, fetches) = (envoy.resident_mib(), scene.idp.fetches());
    let started = Instant::now();
    let (attacks, users) = beside_users(&scene, &envoy, ATTACKS, invented).await;
    let took = started.elapsed();
    let (grown, fetches) = (envoy.resident_mib().saturating_sub(memory), scene.idp.fetches() - fetches);
    let latency = |percent| (percentile(&users, percent), percentile(&baseline, percent));
    let ((p50, usual_p50), (p99, usual_p99)) = (latency(50), latency(99));
    let ratio = |time: Duration, usual: Duration| time.as_secs_f64() / usual.as_secs_f64();
    report(&format!(
        "outages: | {} invented key ids in {:.1} s: fetches, memory, latency of good requests \
         | {fetches}, {memory} + {grown} MiB, p50 {p50:.1?} ({:.2} x), p99 {p99:.1?} ({:.2} x) | |",
        attacks.len(),
        took.as_secs_f64(),
        ratio(p50, usual_p50),
        ratio(p99, usual_p99),
    ));
    assert_eq!(count(&attacks, 401), attacks.len(), "{:?}", statuses(&attacks));
    assert_all_passed(&users);
    let allowed = 1 + (took.as_secs() / INTERVAL.as_secs()) as usize;
    assert!((1..=allowed).contains(&fetches), "{fetches} fetches in {took:?}");
    assert!(grown < 64, "{grown} MiB more");
    // Generous: other cases run on the same processors, and not the same ones beside both.
    assert!(p50 <= usual_p50 * 3 + Duration::from_millis(5), "{p50:?}, usually {usual_p50:?}");
    assert!(p99 <= usual_p99 * 5 + Duration::from_millis(50), "{p99:?}, usually {usual_p99:?}");
    assert_no_vm_failure(&envoy).await;
}

/// The answers to `count` requests, two thousand a second, and to good ones of a few users beside them.
async fn beside_users(
    scene: &Scene,
    envoy: &Envoy,
    count: usize,
    build: impl Fn(usize) -> Request + Send + Sync + 'static,
) -> (Vec<Answer>, Vec<Answer>) {
    let good = scene.good_request("/user");
    let users = Traffic::start(envoy.gateway(), 8, Duration::from_millis(20), move |_| good.clone());
    let others = Traffic::start(envoy.gateway(), 20, Duration::from_millis(10), build);
    others.go_on_for(count).await;
    (others.stop().await, users.stop().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_while_they_wait_take_nothing_with_them() {
    const LEAVING: usize = 200;
    const STAYING: usize = 50;

    let scene = Scene::start().await;
    scene.idp.hold();
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", patient(&scene.idp, "idp"));
    let envoy = Envoy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(WORKERS)
        .start()
        .await;

    // Once for the first keys, once for a key that is not there yet.
    let new = SigningKey::eddsa("k2");
    for (round, key) in [&scene.key, &new].into_iter().enumerate() {
        scene.idp.answer_with(&jwks([key]));
        scene.idp.hold();
        let stayers = send_and_leave_open(envoy.gateway(), STAYING, &request_by(key, "/stayed")).await;
        let leavers = send_and_leave_open(envoy.gateway(), LEAVING, &request_by(key, "/left")).await;
        let all_wait = async || active(&envoy, "gateway").await == (STAYING + LEAVING) as u64;
        eventually("every request has arrived and waits", PATIENCE, all_wait).await;
        drop(leavers);
        let have_left = async || active(&envoy, "gateway").await == STAYING as u64;
        eventually("those who left wait no longer", PATIENCE, have_left).await;
        scene.idp.release();
        for mut stayer in stayers {
            assert_eq!(Http1::read_reply(&mut stayer, "GET").await.status, 200, "round {round}");
        }
        let all_done = async || active(&envoy, "gateway").await == 0;
        eventually("no request is left over", PATIENCE, all_done).await;
        assert_eq!(scene.idp.fetches(), round + 1);
    }
    let received = scene.upstream.requests();
    assert_eq!(received.len(), 2 * STAYING);
    assert!(received.iter().all(|request| request.path == "/stayed"));
    report(&format!(
        "outages: | {} of {} clients leave while they wait: others served | {} of {} | |",
        2 * LEAVING,
        2 * (LEAVING + STAYING),
        received.len(),
        2 * STAYING,
    ));
    assert!(all_answer(envoy.gateway(), &request_by(&new, "/"), 200).await);
    assert_no_vm_failure(&envoy).await;
}
