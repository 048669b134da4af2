//! What the upstream behind a real Envoy receives, where that hangs on Envoy: trailers, bodies of requests that wait, limits
//! that can be changed.

use std::time::Duration;

use serde_json::json;

use crate::scene::{Scene, assert_alive, assert_no_vm_failure, claims};
use crate::support::tokens::SigningKey;
use crate::support::{Envoy, Http1, Request};

#[tokio::test(flavor = "multi_thread")]
async fn no_identity_header_comes_in_through_the_trailers() {
    let scene = Scene::start().await;
    let envoy = scene.proxy().await;
    for path in ["/open", "/x"] {
        let request = scene
            .good_request(path)
            .body("x")
            .trailer("x-user-id", "root")
            .trailer("x_user_id", "root")
            .trailer("x-checksum", "5");
        assert_eq!(request.send_http2(envoy.gateway()).await.status, 200);
        assert_eq!(scene.upstream.last_request().trailers, [("x-checksum".to_owned(), b"5".to_vec())]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_body_of_an_undecided_request_does_not_release_it() {
    let scene = Scene::start().await;
    scene.idp.hold();
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(|bootstrap| {
            let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
            let filter = &mut chain["filters"][0]["typed_config"]["http_filters"][0];
            filter["typed_config"]["config"]["allow_on_headers_stop_iteration"] = json!(true);
        })
        .start()
        .await;
    let forged = SigningKey::eddsa("k1").sign(&claims(json!({})));
    let head =
        format!("POST /x HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {forged}\r\nx-user-id: root\r\n");
    let mut client = Http1::connect(envoy.gateway()).await;
    client.write(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.write(b"1\r\nx\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.write(b"0\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.idp.release();
    assert_eq!(client.read_reply("POST").await.status, 401);
    assert!(scene.upstream.requests().is_empty(), "{:?}", scene.upstream.requests());

    let mut good = scene.good_request("/x").body("y".repeat(100_000));
    good.method = "POST".to_owned();
    assert_eq!(good.send(envoy.gateway()).await.status, 200, "and what is let through keeps its body");
    assert_eq!(scene.upstream.last_request().body_length, 100_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn header_values_of_a_hundred_kilobytes_are_judged_where_envoy_lets_them_in() {
    let scene = Scene::start().await;
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(|bootstrap| {
            let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
            chain["filters"][0]["typed_config"]["max_request_headers_kb"] = json!(1024);
            bootstrap["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] =
                json!(4_000_000);
        })
        .start()
        .await;
    let large = "a".repeat(100 * 1024);
    let reply = Request::get("/x").bearer(&large).send(envoy.gateway()).await;
    assert_eq!((reply.status, reply.text().as_str()), (401, "The access token is not valid"));
    let reply =
        Request::get("/x").header("x-large", &large).header("x_user_id", &large).send(envoy.gateway()).await;
    assert_eq!(reply.status, 401);
    assert_alive(&scene, envoy.gateway()).await;
    assert_no_vm_failure(&envoy).await;
}
