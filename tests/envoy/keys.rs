//! Keys from a real server: when they are fetched, for how long they count, and which of them verify.
//!
//! What happens when the server is slow, wrong, abused or gone is in `outages`.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::scene::{Scene, assert_alive, assert_no_vm_failure, claims, patient};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{
    Answer, Envoy, Fetch, JwksReply, JwksServer, Request, Traffic, eventually, load, statuses,
};

/// Far more than anything here takes, for what must come but may be late on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_there_before_the_first_request() {
    let scene = Scene::start().await;
    let envoy = scene.envoy().await;
    eventually("keys are fetched without a request", PATIENCE, async || scene.idp.fetches() == 1).await;
    assert_alive(&scene, envoy.gateway()).await;
    assert_eq!(scene.idp.fetches(), 1, "the request needed no fetch of its own");
    assert!(scene.idp.last_fetch().starts_with("GET /jwks.json HTTP/1.1\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_refreshed_before_they_expire_without_a_request_that_waits() {
    let scene = Scene::start().await;
    let second = SigningKey::eddsa("k2");
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", json!({ "cache_duration": "2s" }));
    let envoy =
        Envoy::with_filter(configuration, &scene.upstream).cluster("idp", scene.idp.address()).start().await;
    assert_alive(&scene, envoy.gateway()).await;
    scene.idp.answer_with(&jwks([&second]));
    let fetches = scene.idp.fetches();
    let is_refreshed = async || scene.idp.fetches() > fetches;
    eventually("keys are refreshed without a request", PATIENCE, is_refreshed).await;
    let withdrawn = scene.good_request("/");
    let is_refused = async || withdrawn.send(envoy.gateway()).await.status == 401;
    eventually("a withdrawn key is gone with the refresh", Duration::from_secs(1), is_refused).await;
    let by_second = Request::get("/").bearer(&second.sign(&claims(json!({}))));
    assert_eq!(by_second.send(envoy.gateway()).await.status, 200);
}

/// The times between fetches.
fn pauses(history: &[Fetch]) -> Vec<Duration> {
    history.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_fails_is_repeated_after_growing_pauses_and_not_for_every_request() {
    let scene = Scene::start().await;
    scene.idp.answer_with(JwksReply::Status(500));
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(4)
        .start()
        .await;
    let request = scene.good_request("/");
    let users = Traffic::start(envoy.gateway(), 8, Duration::from_millis(20), move |_| request.clone());
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
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_is_a_503_and_named_in_the_log() {
    let scene = Scene::start().await;
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream).start().await;
    assert_eq!(scene.good_request("/").send(envoy.gateway()).await.status, 503);
    assert!(envoy.log().contains("cluster \"idp\""), "{}", envoy.log());
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_nothing_new_says_so_and_the_keys_go_on_serving() {
    let scene = Scene::start().await;
    let second = SigningKey::eddsa("k2");
    let document = JwksReply::with_headers(&jwks([&scene.key]), &[("etag", "\"one\"")]);
    scene.idp.answer_with(document);
    let remote = json!({ "cache_duration": "1s", "max_stale": "0s" });
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", remote);
    let envoy = Envoy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(4)
        .start()
        .await;
    let request = scene.good_request("/");
    let users = Traffic::start(envoy.gateway(), 8, Duration::from_millis(20), move |_| request.clone());
    eventually("four refreshes", PATIENCE, async || scene.idp.fetches() >= 5).await;
    let answers = users.stop().await;
    assert!(answers.iter().all(|answer| answer.status == 200), "a 304 renews what is there");
    let asked: Vec<_> = scene.idp.history();
    let asked: Vec<_> = asked.iter().map(|fetch| fetch.header("if-none-match")).collect();
    assert_eq!(asked[0], None);
    assert!(asked[1..].iter().all(|etag| *etag == Some("\"one\"")), "{asked:?}");
    assert!(!envoy.log().contains("not fetched"), "{}", envoy.log());

    scene.idp.answer_with(JwksReply::with_headers(&jwks([&second]), &[("etag", "\"two\"")]));
    let withdrawn = scene.good_request("/");
    let is_refused = async || withdrawn.send(envoy.gateway()).await.status == 401;
    eventually("another document replaces it", PATIENCE, is_refused).await;
    let by_second = Request::get("/").bearer(&second.sign(&claims(json!({}))));
    assert_eq!(by_second.send(envoy.gateway()).await.status, 200);
    let fetches = scene.idp.fetches();
    eventually("one more refresh", PATIENCE, async || scene.idp.fetches() > fetches).await;
    assert!(scene.idp.last_fetch().contains("if-none-match: \"two\"\r\n"), "{}", scene.idp.last_fetch());
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_ask_for_its_keys_to_be_refreshed_earlier_within_bounds() {
    let scene = Scene::start().await;
    let asks = |control: &'static str| vec![("cache-control", control)];
    // Six seconds, less the time for two fetches and some more.
    let cases = [
        ("plain", vec![], json!({ "min_cache_duration": "1s" }), false),
        ("short", asks("public, max-age=6"), json!({ "min_cache_duration": "1s" }), true),
        (
            "aged",
            vec![("cache-control", "max-age=3600"), ("age", "3594")],
            json!({ "min_cache_duration": "1s" }),
            true,
        ),
        ("too-short", asks("no-store"), json!({ "min_cache_duration": "6s" }), true),
        ("too-short-by-default", asks("max-age=1"), json!({}), false),
        ("too-long", asks("max-age=3600"), json!({ "cache_duration": "6s" }), true),
    ];
    let mut builder = Envoy::without_listeners(&scene.upstream).workers(4);
    let mut servers = Vec::new();
    for (name, headers, remote, is_refreshed_soon) in cases {
        let server = JwksServer::start(&json!({})).await;
        server.answer_with(JwksReply::with_headers(&jwks([&scene.key]), &headers));
        let mut configuration = scene.configuration_with_keys(&server, name, remote);
        configuration["providers"]["acme"]["remote_jwks"]["http_uri"]["timeout"] = json!("1s");
        builder = builder.filter(name, configuration).cluster(name, server.address());
        servers.push((name, server, is_refreshed_soon));
    }
    let envoy = builder.start().await;

    for (name, server, _) in servers.iter().filter(|(_, _, is_refreshed_soon)| *is_refreshed_soon) {
        eventually(&format!("refreshed: {name}"), PATIENCE, async || server.fetches() >= 2).await;
        let pause = pauses(&server.history())[0];
        let is_in_time = Duration::from_millis(2800) < pause && pause < Duration::from_secs(6);
        assert!(is_in_time, "{name}: refreshed after {pause:?}");
    }
    for (name, server, is_refreshed_soon) in &servers {
        assert!(*is_refreshed_soon || server.fetches() == 1, "{name}: {} fetches", server.fetches());
        assert_alive(&scene, envoy.address(name)).await;
    }
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_that_is_not_known_is_looked_for_once_an_interval() {
    const INTERVAL: Duration = Duration::from_secs(3);

    let scene = Scene::start().await;
    let remote = json!({ "kid_refetch_interval": "3s" });
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", remote);
    let envoy =
        Envoy::with_filter(configuration, &scene.upstream).cluster("idp", scene.idp.address()).start().await;
    assert_alive(&scene, envoy.gateway()).await;
    let status = async |request: &Request| request.send(envoy.gateway()).await.status;

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
    let refused = by_second.send(envoy.gateway()).await;
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
    assert_alive(&scene, envoy.gateway()).await;
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_id_that_cannot_be_looked_for_is_a_503_while_known_keys_go_on_serving() {
    const INTERVAL: Duration = Duration::from_secs(2);

    let scene = Scene::start().await;
    let remote = json!({ "kid_refetch_interval": "2s" });
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", remote);
    let envoy = Envoy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .workers(4)
        .start()
        .await;
    assert_alive(&scene, envoy.gateway()).await;
    let second = SigningKey::eddsa("k2");
    let by_second = Request::get("/").bearer(&second.sign(&claims(json!({}))));
    let by_second_again = by_second.clone();

    scene.idp.answer_with(JwksReply::Status(500));
    let users = Traffic::start(envoy.gateway(), 4, Duration::from_millis(50), move |_| by_second.clone());

    eventually("it is looked for", PATIENCE, async || scene.idp.fetches() >= 2).await;
    users.go_on_for(40).await;
    assert_alive(&scene, envoy.gateway()).await;
    scene.idp.answer_with(&jwks([&scene.key, &second]));
    let passes = async || by_second_again.send(envoy.gateway()).await.status == 200;
    let took = eventually("it is found when the server is back", PATIENCE, passes).await;
    assert!(took < INTERVAL + Duration::from_secs(2), "{took:?}");
    let answers = users.stop().await;
    let told_to_come_back = |answer: &&Answer| answer.status == 503 && answer.retry_after.is_some();
    let (failed, passed): (Vec<_>, Vec<_>) = answers.iter().partition(told_to_come_back);
    assert!(failed.len() >= 40);
    // A 401 would blame the token, although nobody has seen the keys of now.
    assert!(passed.iter().all(|answer| answer.status == 200), "{:?}", statuses(&answers));
    assert_no_vm_failure(&envoy).await;
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
    let envoy = scene.envoy().await;
    for key in &keys {
        let token = key.sign(&claims(json!({})));
        assert_eq!(
            Request::get("/").bearer(&token).send(envoy.gateway()).await.status,
            200,
            "{}",
            key.algorithm()
        );
        let mut tampered = token.into_bytes();
        let last = tampered.len() - 10;
        tampered[last] = if tampered[last] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(tampered).unwrap();
        assert_eq!(
            Request::get("/").bearer(&tampered).send(envoy.gateway()).await.status,
            401,
            "{}",
            key.algorithm()
        );
    }

    let secret = SigningKey::hs256("h", &[9; 32]);
    let local =
        json!({ "remote_jwks": null, "local_jwks": { "inline_string": jwks([&secret]).to_string() } });
    let envoy = scene.envoy_with(local).await;
    let token = secret.sign(&claims(json!({})));
    assert_eq!(Request::get("/").bearer(&token).send(envoy.gateway()).await.status, 200, "HS256");
    assert_eq!(scene.good_request("/").send(envoy.gateway()).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_wait_are_turned_away_and_nothing_breaks() {
    let scene = Scene::start().await;
    scene.idp.hold();
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", patient(&scene.idp, "idp"));
    let envoy = Envoy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(|bootstrap| {
            for cluster in bootstrap["static_resources"]["clusters"].as_array_mut().unwrap() {
                let limits =
                    json!({ "max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096 });
                cluster["circuit_breakers"] = json!({ "thresholds": [limits] });
            }
        })
        .start()
        .await;
    let token = scene.token();
    let request = Request::get("/").bearer(&token);
    let replies = tokio::spawn(load(envoy.gateway(), 1100, 1100, move |_| request.clone()));
    let all_are_there = async || {
        let active = envoy.stat("http.gateway.downstream_rq_active").await;
        let refused = envoy.stat("http.gateway.downstream_rq_5xx").await;
        (active, refused) == (1024, 76)
    };
    eventually("as many wait as may", PATIENCE, all_are_there).await;
    scene.idp.release();
    let replies = replies.await.unwrap();
    let passed = replies.iter().filter(|reply| reply.status == 200).count();
    let turned_away: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
    assert_eq!((passed, turned_away.len()), (1024, 76));
    assert!(turned_away.iter().all(|reply| reply.header("retry-after") == Some("1")));
    assert_eq!(scene.idp.fetches(), 1);
    assert_no_vm_failure(&envoy).await;
}
