//! Keys in a real Envoy, where they are fetched without a request, by clusters, and for many requests at once.

use std::time::Duration;

use serde_json::json;

use crate::keys::pauses;
use crate::scene::{PATIENCE, Scene, assert_alive, assert_no_vm_failure, claims, patient};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Envoy, JwksReply, JwksServer, Request, eventually, load};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_there_before_the_first_request() {
    let scene = Scene::start().await;
    let envoy = scene.proxy().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_not_there_is_a_503_and_named_in_the_log() {
    let scene = Scene::start().await;
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream).start().await;
    assert_eq!(scene.good_request("/").send(envoy.gateway()).await.status, 503);
    assert!(envoy.log().contains("cluster \"idp\""), "{}", envoy.log());
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
