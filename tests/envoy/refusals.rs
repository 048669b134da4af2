//! Refusals on the wire: HTTP/1, HTTP/2, HEAD and gRPC.

use serde_json::json;

use crate::scene::{Scene, claims, now};
use crate::support::tokens::SigningKey;
use crate::support::{JwksReply, Request};

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_token_is_challenged_and_a_bad_one_gets_an_error() {
    let scene = Scene::start().await;
    let envoy = scene.envoy().await;

    let reply = Request::get("/x").send(envoy.gateway()).await;
    assert_eq!((reply.status, reply.text().as_str()), (401, "Authentication is required"));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"acme\""));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));

    let forger = SigningKey::eddsa("k1");
    let reply = Request::get("/x").bearer(&forger.sign(&claims(json!({})))).send(envoy.gateway()).await;
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
        let reply = Request::get("/x").bearer(&scene.key.sign(&claims(extra))).send(envoy.gateway()).await;
        assert_eq!((reply.status, reply.text().as_str()), (401, text));
    }
    assert!(scene.upstream.requests().is_empty(), "nothing refused reached the upstream");
    let counted = envoy.stats("wasmcustom.edge_authn").await;
    for (name, count) in [
        ("refused.missing_credential", 1),
        ("refused.invalid_token", 2),
        ("refused.expired", 1),
        ("refused.not_yet_valid", 1),
        ("refused.audience", 1),
        ("jwks_fetch_success.acme", 1),
    ] {
        assert_eq!(
            counted.get(&format!("wasmcustom.edge_authn.{name}")),
            Some(&count),
            "{name}: {counted:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_authorization_lines_are_a_bad_request() {
    let scene = Scene::start().await;
    let envoy = scene.envoy().await;
    let token = scene.token();
    for second in [format!("Bearer {token}"), "Basic eDp5".to_owned()] {
        let request = Request::get("/x").bearer(&token).header("Authorization", &second);
        assert_eq!(request.send(envoy.gateway()).await.status, 400, "{second}");
    }
    let request = Request::get("/x").header("authorization", "Basic eDp5").bearer(&token);
    assert_eq!(request.send(envoy.gateway()).await.status, 400);
    assert!(scene.upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_is_refused_without_a_body() {
    let scene = Scene::start().await;
    let envoy = scene.envoy().await;
    let reply = Request::new("HEAD", "/x").send(envoy.gateway()).await;
    assert_eq!((reply.status, reply.body.len()), (401, 0));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"acme\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_requests_are_judged_like_http1_requests() {
    let scene = Scene::start().await;
    let envoy = scene.envoy().await;
    assert_eq!(Request::get("/x").send_http2(envoy.gateway()).await.status, 401);
    let reply = scene.good_request("/x").header("x-user-id", "root").send_http2(envoy.gateway()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(scene.upstream.last_request().header_in_any_spelling("x-user-id"), [b"alice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_get_the_matching_grpc_status() {
    let scene = Scene::start().await;
    let envoy = scene.envoy().await;
    let reply = Request::grpc("/shop.Orders/List").send_http2(envoy.gateway()).await;
    assert_eq!((reply.status, reply.header("grpc-status")), (200, Some("16")));
    assert_eq!(reply.header("grpc-message"), Some("Authentication is required"));

    let down = Scene::start().await;
    down.idp.answer_with(JwksReply::Status(500));
    let envoy = down.envoy().await;
    let reply = Request::grpc("/shop.Orders/List").bearer(&down.token()).send_http2(envoy.gateway()).await;
    assert_eq!((reply.status, reply.header("grpc-status")), (200, Some("14")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_is_in_the_response_code_details() {
    let scene = Scene::start().await;
    let envoy = crate::support::Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(|bootstrap| {
            let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
            chain["filters"][0]["typed_config"]["access_log"] = json!([{
                "name": "envoy.access_loggers.stderr",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
                    "log_format": { "text_format_source": { "inline_string": "why=%RESPONSE_CODE_DETAILS%\n" } },
                },
            }]);
        })
        .start()
        .await;
    Request::get("/x").send(envoy.gateway()).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(envoy.log().contains("why=edge_authn_missing_credential"), "{}", envoy.log());
}
