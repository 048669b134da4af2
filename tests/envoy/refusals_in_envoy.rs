//! Refusals that only a real Envoy shows: HTTP/2, gRPC, counters and response code details.

use serde_json::json;

use crate::refusals::be_refused;
use crate::scene::Scene;
use crate::support::{Envoy, JwksReply, Request};

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_counted_by_their_reasons() {
    let scene = Scene::start().await;
    let envoy = scene.proxy().await;
    be_refused(&scene, &envoy).await;
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
async fn http2_requests_are_judged_like_http1_requests() {
    let scene = Scene::start().await;
    let envoy = scene.proxy().await;
    assert_eq!(Request::get("/x").send_http2(envoy.gateway()).await.status, 401);
    let reply = scene.good_request("/x").header("x-user-id", "root").send_http2(envoy.gateway()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(scene.upstream.last_request().header_in_any_spelling("x-user-id"), [b"alice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_clients_get_the_matching_grpc_status() {
    let scene = Scene::start().await;
    let envoy = scene.proxy().await;
    let reply = Request::grpc("/shop.Orders/List").send_http2(envoy.gateway()).await;
    assert_eq!((reply.status, reply.header("grpc-status")), (200, Some("16")));
    assert_eq!(reply.header("grpc-message"), Some("Authentication is required"));

    let down = Scene::start().await;
    down.idp.answer_with(JwksReply::Status(500));
    let envoy = down.proxy().await;
    let reply = Request::grpc("/shop.Orders/List").bearer(&down.token()).send_http2(envoy.gateway()).await;
    assert_eq!((reply.status, reply.header("grpc-status")), (200, Some("14")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_is_in_the_response_code_details() {
    let scene = Scene::start().await;
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
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
