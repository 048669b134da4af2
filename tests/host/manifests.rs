//! The configurations in the manifests that users copy, loaded by the built filter.

use serde_json::{Value, json};

use super::harness::{Level, Profile};
use super::scene::{KEY, Scene, anonymous, bearer, claims, host};

const WASM_PLUGIN: &str = include_str!("../../istio/wasm-plugin.yaml");

#[test]
fn the_plugin_for_istio_fetches_keys_from_its_service_entry_and_then_lets_tokens_pass() {
    let manifest: Value = serde_saphyr::from_str(WASM_PLUGIN).unwrap();
    let mut host = host(Profile::istio());
    host.cluster("outbound|443||idp.example.com");
    let mut scene = Scene::start_on(host, &manifest["spec"]["pluginConfig"]);
    assert_eq!(scene.logged(Level::Info), [""; 0]);

    let call = scene.call();
    assert_eq!(call.cluster, "outbound|443||idp.example.com");
    for (name, value) in
        [(":authority", "idp.example.com"), (":path", "/.well-known/jwks.json"), (":scheme", "https")]
    {
        assert_eq!(call.headers.get(name), Some(value.as_bytes()), "{name}");
    }
    scene.give_keys(&call, &[&KEY]);

    assert_eq!(scene.pass(anonymous("/healthz")), None);
    scene.refuse(anonymous("/orders"), 401, "missing_credential");
    let token = KEY.sign(&claims(json!({ "iss": "https://idp.example.com" })));
    assert_eq!(scene.pass(bearer("/orders", &token)).as_deref(), Some(&b"alice"[..]));
}

const APISIX: &str = include_str!("../../apisix/apisix.yaml");

#[test]
fn the_route_for_apisix_asks_the_servers_in_its_uris_and_lets_tokens_pass() {
    let routes: Value = serde_saphyr::from_str(APISIX).unwrap();
    let conf = &routes["routes"][0]["plugins"]["edge-authn"]["conf"];
    let mut scene = Scene::start_on(host(Profile::apisix()), conf);
    assert_eq!(scene.logged(Level::Info), [""; 0]);
    scene.pass(anonymous("/healthz"));
    scene.refuse(anonymous("/orders"), 401, "missing_credential");

    let claims = claims(json!({ "iss": "http://127.0.0.1:10002", "aud": "demo-api" }));
    let stream = scene.send(bearer("/orders", &KEY.sign(&claims)));
    let call = scene.call_of(stream);
    assert_eq!(call.cluster, "127.0.0.1:10002");
    assert_eq!(call.headers.get(":scheme"), Some(&b"http"[..]));
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(&b"alice"[..]));

    for (path, asked) in [("/authgear/a", "/authgear/_resolver/resolve"), ("/stack/a", "/api/v1/users/me")] {
        let stream = scene.send(bearer(path, "t"));
        let call = scene.call_of(stream);
        assert_eq!(
            (call.cluster.as_str(), call.headers.get(":path")),
            ("127.0.0.1:10002", Some(asked.as_bytes()))
        );
        scene.host.answer_reset(call.id);
        scene.assert_refused(stream, 503, "check_unavailable");
    }
}
