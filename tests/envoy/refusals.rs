//! Refusals on the wire.

use serde_json::json;

use crate::Proxy;
use crate::scene::{Scene, claims, now};
use crate::support::Request;
use crate::support::tokens::SigningKey;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_token_is_challenged_and_a_bad_one_gets_an_error() {
    let scene = Scene::start().await;
    let proxy = scene.proxy().await;
    be_refused(&scene, &proxy).await;
}

/// Sends one request without a token, and five with bad ones.
pub async fn be_refused(scene: &Scene, proxy: &Proxy) {
    let reply = Request::get("/x").send(proxy.gateway()).await;
    assert_eq!((reply.status, reply.text().as_str()), (401, "Authentication is required"));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"acme\""));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));

    let forger = SigningKey::eddsa("k1");
    let reply = Request::get("/x").bearer(&forger.sign(&claims(json!({})))).send(proxy.gateway()).await;
    assert_eq!(reply.status, 401);
    assert_eq!(
        reply.header("www-authenticate"),
        Some(
            "Bearer realm=\"acme\", error=\"invalid_token\", error_description=\"The access token is not valid\""
        )
    );
    for (extra, text) in [
        (json!({ "exp": now() - 61 }), "The access token expired"),
        (json!({ "nbf": now() + 90 }), "The access token is not valid yet"),
        (json!({ "aud": "other" }), "The access token is not meant for this service"),
        (json!({ "iss": "https://other.example" }), "The access token is not valid"),
    ] {
        let reply = Request::get("/x").bearer(&scene.key.sign(&claims(extra))).send(proxy.gateway()).await;
        assert_eq!((reply.status, reply.text().as_str()), (401, text));
    }
    assert!(scene.upstream.requests().is_empty(), "nothing refused reached the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_authorization_lines_are_a_bad_request() {
    let scene = Scene::start().await;
    let proxy = scene.proxy().await;
    let token = scene.token();
    for second in [format!("Bearer {token}"), "Basic eDp5".to_owned()] {
        let request = Request::get("/x").bearer(&token).header("Authorization", &second);
        assert_eq!(request.send(proxy.gateway()).await.status, 400, "{second}");
    }
    let request = Request::get("/x").header("authorization", "Basic eDp5").bearer(&token);
    assert_eq!(request.send(proxy.gateway()).await.status, 400);
    assert!(scene.upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_is_refused_without_a_body() {
    let scene = Scene::start().await;
    let proxy = scene.proxy().await;
    let reply = Request::new("HEAD", "/x").send(proxy.gateway()).await;
    assert_eq!((reply.status, reply.body.len()), (401, 0));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"acme\""));
}
