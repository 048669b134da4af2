//! Keys from a real server that is slow, wrong, odd or gone.

use std::time::Duration;

use serde_json::json;

use crate::scene::{Scene, assert_alive, assert_no_vm_failure};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Envoy, Http1, JwksReply, Request, load};

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_one_fetch_and_are_resumed() {
    let scene = Scene::start().await;
    scene.idp.answer_after(Duration::from_millis(500));
    let envoy = scene.envoy().await;
    assert_eq!(scene.idp.fetches(), 0, "keys are fetched when first needed");

    let token = scene.token();
    let replies =
        load(envoy.gateway(), 20, 100, move |index| Request::get(&format!("/{index}")).bearer(&token)).await;

    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(scene.idp.fetches(), 1);
    assert!(scene.idp.last_fetch().starts_with("GET /jwks.json HTTP/1.1\r\n"));
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_refreshed_before_they_expire_without_a_request_that_waits() {
    let scene = Scene::start().await;
    let second = SigningKey::eddsa("k2");
    let mut configuration = scene.configuration(json!({}));
    configuration["providers"]["acme"]["remote_jwks"]["cache_duration"] = json!("2s");
    let envoy =
        Envoy::with_filter(configuration, &scene.upstream).cluster("idp", scene.idp.address()).start().await;
    assert_alive(&scene, envoy.gateway()).await;
    scene.idp.answer_with(JwksReply::Body(jwks([&second]).to_string().into_bytes()));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(scene.idp.fetches() >= 2, "no request came in between");
    let by_second = second.sign(&crate::scene::claims(json!({})));
    assert_eq!(Request::get("/").bearer(&by_second).send(envoy.gateway()).await.status, 200);
    assert_eq!(scene.good_request("/").send(envoy.gateway()).await.status, 401, "its key was withdrawn");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_keys_to_be_had_is_a_503_that_says_when_to_come_back_and_it_recovers() {
    for outage in [
        JwksReply::Status(500),
        JwksReply::Status(404),
        JwksReply::Reset,
        JwksReply::Redirect("http://127.0.0.1:1/".to_owned()),
        JwksReply::Body(Vec::new()),
        JwksReply::Body(b"<html>".to_vec()),
        JwksReply::Body(b"{\"keys\":[]}".to_vec()),
        JwksReply::Body(b"null".to_vec()),
    ] {
        let scene = Scene::start().await;
        scene.idp.answer_with(outage);
        let envoy = scene.envoy().await;
        let reply = scene.good_request("/").send(envoy.gateway()).await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(reply.header("www-authenticate"), None);
        assert_eq!(Request::get("/").send(envoy.gateway()).await.status, 401, "no token needs no keys");
        let again = scene.good_request("/").send(envoy.gateway()).await;
        assert_eq!((again.status, scene.idp.fetches()), (503, 1), "one fetch a back-off, not one a request");
        scene.idp.answer_with(JwksReply::Body(jwks([&scene.key]).to_string().into_bytes()));
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert_alive(&scene, envoy.gateway()).await;
        assert_no_vm_failure(&envoy).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_answers_or_is_not_there_costs_its_timeout_and_no_more() {
    let scene = Scene::start().await;
    scene.idp.answer_with(JwksReply::Never);
    let mut configuration = scene.configuration(json!({}));
    configuration["providers"]["acme"]["remote_jwks"]["http_uri"]["timeout"] = json!("0.5s");
    let envoy =
        Envoy::with_filter(configuration, &scene.upstream).cluster("idp", scene.idp.address()).start().await;
    let started = tokio::time::Instant::now();
    assert_eq!(scene.good_request("/").send(envoy.gateway()).await.status, 503);
    assert!(started.elapsed() < Duration::from_secs(3));

    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream).start().await;
    assert_eq!(scene.good_request("/").send(envoy.gateway()).await.status, 503, "there is no such cluster");
    assert!(envoy.log().contains("cluster \"idp\""), "the log names the cluster");
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_ten_megabytes_is_refused_and_good_keys_are_kept() {
    let scene = Scene::start().await;
    let mut configuration = scene.configuration(json!({}));
    configuration["providers"]["acme"]["remote_jwks"]["cache_duration"] = json!("1s");
    let envoy =
        Envoy::with_filter(configuration, &scene.upstream).cluster("idp", scene.idp.address()).start().await;
    assert_alive(&scene, envoy.gateway()).await;
    let padding = "x".repeat(10 << 20);
    scene.idp.answer_with(JwksReply::Body(
        json!({ "keys": [scene.key.jwk()], "padding": padding }).to_string().into_bytes(),
    ));
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert!(envoy.log().contains("more than the 262144 allowed"), "{}", envoy.log());
    assert_alive(&scene, envoy.gateway()).await;
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
        let token = key.sign(&crate::scene::claims(json!({})));
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
    let token = secret.sign(&crate::scene::claims(json!({})));
    assert_eq!(Request::get("/").bearer(&token).send(envoy.gateway()).await.status, 200, "HS256");
    assert_eq!(scene.good_request("/").send(envoy.gateway()).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_wait_are_turned_away_and_nothing_breaks() {
    let scene = Scene::start().await;
    scene.idp.answer_after(Duration::from_millis(1500));
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
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
    let replies = load(envoy.gateway(), 1100, 1100, move |_| Request::get("/").bearer(&token)).await;
    let passed = replies.iter().filter(|reply| reply.status == 200).count();
    let turned_away: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
    assert_eq!((passed, turned_away.len()), (1024, 76));
    assert!(turned_away.iter().all(|reply| reply.header("retry-after") == Some("1")));
    assert_eq!(scene.idp.fetches(), 1);
    assert_no_vm_failure(&envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_waits_takes_nothing_with_it() {
    let scene = Scene::start().await;
    scene.idp.answer_after(Duration::from_millis(600));
    let envoy = scene.envoy().await;
    let token = scene.token();
    let mut leaving = Http1::connect(envoy.gateway()).await;
    leaving
        .write(format!("GET /left HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {token}\r\n\r\n").as_bytes())
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(leaving);
    let reply = scene.good_request("/stayed").send(envoy.gateway()).await;
    assert_eq!((reply.status, scene.idp.fetches()), (200, 1));
    assert!(scene.upstream.requests().iter().all(|request| request.path != "/left"));
    assert_no_vm_failure(&envoy).await;
}
