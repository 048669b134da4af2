//! Keys from a real server: when they are fetched, for how long they count, and which of them verify.
//!
//! What happens when the server is slow, wrong, abused or gone is in `outages`.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::Proxy;
use crate::scene::{PATIENCE, Scene, assert_alive, assert_no_vm_failure, claims};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Answer, Fetch, JwksReply, Request, Traffic, eventually, statuses};

/// How many clients send at the same time. Where each request that needs keys fetches them for itself, those of several
/// clients do so side by side, and their fetches cannot be counted.
const USERS: usize = if Proxy::ACTS_BY_ITSELF { 8 } else { 1 };

/// The times between fetches.
pub fn pauses(history: &[Fetch]) -> Vec<Duration> {
    history.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_fails_is_repeated_after_growing_pauses_and_not_for_every_request() {
    let scene = Scene::start().await;
    scene.idp.answer_with(JwksReply::Status(500));
    let proxy = Proxy::with_filter(scene.configuration(json!({})), &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(4)
        .start()
        .await;
    let request = scene.good_request("/");
    let users = Traffic::start(proxy.gateway(), USERS, Duration::from_millis(20), move |_| request.clone());
    eventually("three more fetches", PATIENCE, async || scene.idp.fetches() >= 4).await;
    let answers = users.stop().await;
    assert!(answers.len() > 100);
    assert!(answers.iter().all(|answer| answer.status == 503 && answer.retry_after.is_some()));
    // 1, 2 and 4 seconds, of which each takes at least half.
    let pauses = pauses(&scene.idp.history());
    for (pause, at_least) in pauses.iter().zip([500, 1000, 2000]) {
        let late = Duration::from_millis(at_least * 2) + Duration::from_secs(1);
        assert!((Duration::from_millis(at_least)..late).contains(pause), "{pauses:?}");
    }
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_nothing_new_says_so_and_the_keys_go_on_serving() {
    let scene = Scene::start().await;
    let second = SigningKey::eddsa("k2");
    let document = JwksReply::with_headers(&jwks([&scene.key]), &[("etag", "\"one\"")]);
    scene.idp.answer_with(document);
    let remote = json!({ "cache_duration": "1s", "max_stale": "0s" });
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", remote);
    let proxy = Proxy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(4)
        .start()
        .await;
    let request = scene.good_request("/");
    let users = Traffic::start(proxy.gateway(), USERS, Duration::from_millis(20), move |_| request.clone());
    eventually("four refreshes", PATIENCE, async || scene.idp.fetches() >= 5).await;
    let answers = users.stop().await;
    assert!(answers.iter().all(|answer| answer.status == 200), "a 304 renews what is there");
    let asked: Vec<_> = scene.idp.history();
    let asked: Vec<_> = asked.iter().map(|fetch| fetch.header("if-none-match")).collect();
    assert_eq!(asked[0], None);
    assert!(asked[1..].iter().all(|etag| *etag == Some("\"one\"")), "{asked:?}");
    assert!(!proxy.log().contains("not fetched"), "{}", proxy.log());

    scene.idp.answer_with(JwksReply::with_headers(&jwks([&second]), &[("etag", "\"two\"")]));
    let withdrawn = scene.good_request("/");
    let is_refused = async || withdrawn.send(proxy.gateway()).await.status == 401;
    eventually("another document replaces it", PATIENCE, is_refused).await;
    let by_second = Request::get("/").bearer(&second.sign(&claims(json!({}))));
    let fetches = scene.idp.fetches();
    let is_refreshed = async || {
        assert_eq!(by_second.send(proxy.gateway()).await.status, 200);
        scene.idp.fetches() > fetches
    };
    eventually("one more refresh", PATIENCE, is_refreshed).await;
    assert!(scene.idp.last_fetch().contains("if-none-match: \"two\"\r\n"), "{}", scene.idp.last_fetch());
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_that_is_not_known_is_looked_for_once_an_interval() {
    const INTERVAL: Duration = Duration::from_secs(3);

    let scene = Scene::start().await;
    let remote = json!({ "kid_refetch_interval": "3s" });
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", remote);
    let proxy =
        Proxy::with_filter(configuration, &scene.upstream).cluster("idp", scene.idp.address()).start().await;
    assert_alive(&scene, proxy.gateway()).await;
    let status = async |request: &Request| request.send(proxy.gateway()).await.status;

    let forged = SigningKey::eddsa("k1").sign(&claims(json!({})));
    assert_eq!(status(&Request::get("/").bearer(&forged)).await, 401);
    assert_eq!(scene.idp.fetches(), 1, "a bad signature fetches nothing");

    let second = SigningKey::eddsa("k2");
    let by_second = Request::get("/").bearer(&second.sign(&claims(json!({}))));
    let expired = Request::get("/").bearer(&second.sign(&claims(json!({ "exp": 1 }))));
    let stranger = Request::get("/").bearer(&second.sign(&claims(json!({ "iss": "https://else.example" }))));
    assert_eq!((status(&expired).await, status(&stranger).await), (401, 401));
    assert_eq!(scene.idp.fetches(), 1, "nothing that would be refused anyway fetches");

    let asked_at = Instant::now();
    let refused = by_second.send(proxy.gateway()).await;
    assert_eq!(refused.status, 401);
    assert!(
        refused.header("www-authenticate").is_some_and(|value| value.contains("error=\"invalid_token\""))
    );
    assert_eq!(scene.idp.fetches(), 2, "it has been looked for");
    scene.idp.answer_with(&jwks([&scene.key, &second]));
    let other = SigningKey::eddsa("k3").sign(&claims(json!({})));
    assert_eq!(status(&by_second).await, 401, "and is not looked for again at once");
    assert_eq!(status(&Request::get("/").bearer(&other)).await, 401, "nor is another one");
    let fetches = scene.idp.fetches();
    assert!(fetches == 2 || asked_at.elapsed() >= INTERVAL, "{fetches} fetches");

    let passes = async || status(&by_second).await == 200;
    eventually("it is found in the next interval", PATIENCE, passes).await;
    assert!(asked_at.elapsed() >= INTERVAL - Duration::from_millis(200), "{:?}", asked_at.elapsed());
    assert_eq!(scene.idp.fetches(), 3);
    assert_alive(&scene, proxy.gateway()).await;
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_that_cannot_be_looked_for_is_a_503_while_known_keys_go_on_serving() {
    const INTERVAL: Duration = Duration::from_secs(2);

    let scene = Scene::start().await;
    let remote = json!({ "kid_refetch_interval": "2s" });
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", remote);
    let proxy = Proxy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(4)
        .start()
        .await;
    assert_alive(&scene, proxy.gateway()).await;
    let second = SigningKey::eddsa("k2");
    let by_second = Request::get("/").bearer(&second.sign(&claims(json!({}))));
    let by_second_again = by_second.clone();

    scene.idp.answer_with(JwksReply::Status(500));
    let users = Traffic::start(proxy.gateway(), 4, Duration::from_millis(50), move |_| by_second.clone());

    eventually("it is looked for", PATIENCE, async || scene.idp.fetches() >= 2).await;
    users.go_on_for(40).await;
    assert_alive(&scene, proxy.gateway()).await;
    scene.idp.answer_with(&jwks([&scene.key, &second]));
    let passes = async || by_second_again.send(proxy.gateway()).await.status == 200;
    let took = eventually("it is found when the server is back", PATIENCE, passes).await;
    assert!(took < INTERVAL + Duration::from_secs(2), "{took:?}");
    let answers = users.stop().await;
    let told_to_come_back = |answer: &&Answer| answer.status == 503 && answer.retry_after.is_some();
    let (failed, passed): (Vec<_>, Vec<_>) = answers.iter().partition(told_to_come_back);
    assert!(failed.len() >= 40);
    // A 401 would blame the token, although nobody has seen the keys of now.
    assert!(passed.iter().all(|answer| answer.status == 200), "{:?}", statuses(&answers));
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_verifies_in_the_shipped_module() {
    let scene = Scene::start().await;
    let keys = [SigningKey::rs256("r"), SigningKey::es256("e"), SigningKey::eddsa("d")];
    let odd =
        json!([null, { "kty": "AKP" }, { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "e" }]);
    let mut document = jwks(&keys);
    document["keys"].as_array_mut().unwrap().splice(0..0, odd.as_array().unwrap().clone());
    scene.idp.answer_with(JwksReply::Body(document.to_string().into_bytes()));
    let proxy = scene.proxy().await;
    for key in &keys {
        let token = key.sign(&claims(json!({})));
        assert_eq!(
            Request::get("/").bearer(&token).send(proxy.gateway()).await.status,
            200,
            "{}",
            key.algorithm()
        );
        let mut tampered = token.into_bytes();
        let last = tampered.len() - 10;
        tampered[last] = if tampered[last] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(tampered).unwrap();
        assert_eq!(
            Request::get("/").bearer(&tampered).send(proxy.gateway()).await.status,
            401,
            "{}",
            key.algorithm()
        );
    }

    let secret = SigningKey::hs256("h", &[9; 32]);
    let local =
        json!({ "remote_jwks": null, "local_jwks": { "inline_string": jwks([&secret]).to_string() } });
    let proxy = scene.proxy_with(local).await;
    let token = secret.sign(&claims(json!({})));
    assert_eq!(Request::get("/").bearer(&token).send(proxy.gateway()).await.status, 200, "HS256");
    assert_eq!(scene.good_request("/").send(proxy.gateway()).await.status, 401);
}
