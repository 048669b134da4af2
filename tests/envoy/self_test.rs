//! The support itself: a case can only be as right as what it looks through. Nothing here depends on what the filter does.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::tokens::{SigningKey, jwks};
use crate::support::{
    Envoy, Http1, Http2, JwksReply, JwksServer, Request, Traffic, Upstream, eventually, load, percentile,
    send_and_leave_open, statuses,
};

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_a_request_reach_the_upstream_unchanged() {
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_filter(&upstream).start().await;

    let request = Request::new("PUT", "/a//b/..;c?d=%2f")
        .header("X-Twice", "one")
        .header("x_under", b"\xff\x80")
        .header("x-twice", "two")
        .body("12345");
    let reply = request.send(envoy.gateway()).await;

    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["path"], "/a//b/..;c?d=%2f");
    let received = upstream.last_request();
    assert_eq!(received.method, "PUT");
    assert_eq!(received.path, "/a//b/..;c?d=%2f");
    assert_eq!(received.header("x-twice"), [b"one", b"two"]);
    assert_eq!(received.header("x_under"), [b"\xff\x80"]);
    assert_eq!(received.header_in_any_spelling("x-under"), [b"\xff\x80"]);
    assert_eq!(received.body_length, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_a_head_request_a_refused_one_and_then_ends() {
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_filter(&upstream).start().await;
    let mut client = Http1::connect(envoy.gateway()).await;

    let reply = client.send(&Request::new("HEAD", "/")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, b"");
    assert_ne!(reply.header("content-length"), Some("0"));

    let reply = client.send(&Request::get("/")).await;
    assert_eq!(reply.json()["method"], "GET");

    client.write(b"GET / HTTP/1.1\r\nno colon\r\n\r\n").await;
    assert_eq!(client.read_reply("GET").await.status, 400);
    assert!(client.is_closed().await);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_http2_connection_carries_streams_side_by_side_to_the_upstream() {
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_filter(&upstream).start().await;
    let client = Http2::connect(envoy.gateway()).await;

    let (mut one, mut two) = (client.clone(), client);
    let (first, second) = (Request::get("/1").header("x-odd", b"\xff"), Request::get("/2"));
    let (first, second) = tokio::join!(one.send(&first), two.send(&second));

    assert_eq!(first.json()["path"], "/1");
    assert_eq!(second.json()["path"], "/2");
    let requests = upstream.requests();
    assert!(requests.iter().any(|request| request.header("x-odd") == [b"\xff"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_grpc_call_is_answered_by_headers_alone() {
    let upstream = Upstream::start().await;
    let envoy =
        Envoy::without_filter(&upstream).native(requiring(&jwks([&SigningKey::eddsa("k1")]))).start().await;

    let reply = Request::grpc("/shop.Orders/List").send_http2(envoy.native()).await;

    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("grpc-status"), Some("16"));
    assert_eq!(reply.trailers, []);
    assert!(upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_filter_beside_takes_tokens_of_our_keys() {
    let key = SigningKey::es256("k1");
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_filter(&upstream).native(requiring(&jwks([&key]))).start().await;

    let request = Request::get("/");
    assert_eq!(request.send(envoy.gateway()).await.status, 200);
    let refused = request.send(envoy.native()).await;
    assert_eq!((refused.status, refused.text().as_str()), (401, "Jwt is missing"));
    let request = request.bearer(&key.sign(&json!({ "sub": "alice" })));
    assert_eq!(request.send(envoy.native()).await.status, 200);

    let stats = envoy.stats("http.native.jwt_authn.").await;
    assert_eq!(stats["http.native.jwt_authn.allowed"], 1);
    assert_eq!(stats["http.native.jwt_authn.denied"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_configuration_gives_the_reason() {
    let upstream = Upstream::start().await;
    let log = Envoy::without_filter(&upstream).native(requiring(&json!("no keys"))).refused().await;
    assert!(log.contains("Provider 'p' in jwt_authn config has invalid local jwks"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_is_loaded_with_the_text_of_its_configuration() {
    let upstream = Upstream::start().await;
    let log = Envoy::with_filter("{", &upstream).refused().await;
    assert!(log.contains("Unable to create Wasm plugin edge_authn"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_gives_its_replies_by_index() {
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_filter(&upstream).workers(2).start().await;

    let replies = load(envoy.gateway(), 4, 101, |index| Request::get(&format!("/{index}"))).await;

    assert_eq!(replies.len(), 101);
    for (index, reply) in replies.iter().enumerate() {
        assert_eq!(reply.json()["path"], format!("/{index}"));
    }
    assert_eq!(envoy.stats("cluster.upstream.upstream_rq_total").await.values().sum::<u64>(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_and_the_log_level_can_be_changed() {
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_filter(&upstream)
        .log_level("debug")
        .bootstrap(|bootstrap| {
            let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
            chain["filters"][0]["typed_config"]["normalize_path"] = json!(true);
        })
        .start()
        .await;

    let reply = Request::get("/a/../b").send(envoy.gateway()).await;

    assert_eq!(reply.json()["path"], "/b");
    assert!(envoy.log().contains("[debug]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_endpoint_misbehaves_as_it_is_told() {
    let server = JwksServer::start(&jwks([])).await;
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_filter(&upstream)
        .cluster("idp", server.address())
        .bootstrap(|bootstrap| {
            let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
            let hosts = &mut chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"];
            hosts[0]["routes"][0]["route"] = json!({ "cluster": "idp", "timeout": "0.5s" });
        })
        .start()
        .await;
    let fetch = || async { Request::get("/jwks.json").send(envoy.gateway()).await };

    assert_eq!(fetch().await.json(), jwks([]));
    server.answer_after(Duration::from_secs(1));
    assert_eq!(fetch().await.status, 504);
    server.answer_after(Duration::ZERO);
    server.answer_with(JwksReply::Never);
    assert_eq!(fetch().await.status, 504);
    server.answer_with(JwksReply::Reset);
    assert_eq!(fetch().await.status, 503);
    server.answer_with(JwksReply::Status(404));
    assert_eq!(fetch().await.status, 404);
    server.answer_with(JwksReply::Redirect(server.uri()));
    assert_eq!(fetch().await.header("location"), Some(server.uri().as_str()));
    server.answer_with(JwksReply::Body(vec![b'x'; 1 << 20]));
    assert_eq!(fetch().await.body.len(), 1 << 20);
    assert_eq!(server.fetches(), 7);
    assert!(server.last_fetch().starts_with("GET /jwks.json HTTP/1.1\r\n"));

    server.answer_with(JwksReply::Truncated(vec![b'x'; 1 << 10]));
    let mut client = Http1::connect(envoy.gateway()).await;
    assert!(client.try_send(&Request::get("/jwks.json")).await.is_none(), "half a body is no reply");
    server.answer_at("/other", JwksReply::Status(404));
    assert_eq!(Request::get("/other").send(envoy.gateway()).await.status, 404);
    assert_eq!(server.history().last().unwrap().path(), "/other");

    server.answer_with(JwksReply::with_headers(&jwks([]), &[("etag", "\"one\""), ("age", "1")]));
    let known = |etag| Request::get("/jwks.json").header("if-none-match", etag);
    for (etag, status) in [("\"one\"", 304), ("\"two\"", 200)] {
        let reply = known(etag).send(envoy.gateway()).await;
        assert_eq!((reply.status, reply.header("age")), (status, Some("1")));
    }

    server.go_down().await;
    assert_eq!(fetch().await.status, 503);
    server.come_back();
    assert_eq!(fetch().await.json(), jwks([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_held_back_until_it_is_released() {
    let server = JwksServer::start(&jwks([])).await;
    server.hold();
    let mut client = Http1::connect(server.address()).await;
    client.write_request(&Request::get("/jwks.json")).await;
    eventually("the fetch arrives", Duration::from_secs(5), async || server.fetches() == 1).await;
    assert!(timeout(Duration::from_millis(100), client.read_reply("GET")).await.is_err());
    server.release();
    assert_eq!(client.read_reply("GET").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_goes_on_until_it_is_stopped_and_gives_all_answers() {
    let upstream = Upstream::start().await;
    let envoy = Envoy::without_filter(&upstream).start().await;
    let build = |index| Request::get(&format!("/{index}"));
    let traffic = Traffic::start(envoy.gateway(), 3, Duration::from_millis(2), build);
    traffic.go_on_for(50).await;
    let answers = traffic.stop().await;
    assert!(answers.len() >= 50);
    assert_eq!(statuses(&answers), [(200, answers.len())].into());
    assert_eq!(upstream.requests().len(), answers.len());
    assert!(percentile(&answers, 50) <= percentile(&answers, 99));
    assert!(answers.is_sorted_by_key(|answer| answer.sent));

    let held = JwksServer::start(&jwks([])).await;
    held.hold();
    let waiting = send_and_leave_open(held.address(), 5, &Request::get("/")).await;
    eventually("all have been sent", Duration::from_secs(5), async || held.fetches() == 5).await;
    assert_eq!(waiting.len(), 5);
}

/// A configuration of `jwt_authn` that wants a token signed with `keys` on every path.
fn requiring(keys: &Value) -> Value {
    json!({
        "providers": { "p": { "local_jwks": { "inline_string": keys.to_string() } } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
    })
}
