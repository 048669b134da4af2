//! The configurations in the manifests that users copy, loaded by the built filter.

use serde_json::{Value, json};

use super::harness::{Level, Profile};
use super::scene::{KEY, Scene, anonymous, bearer, claims, host};

const WASM_PLUGIN: &str = include_str!("../../istio/wasm-plugin.yaml");

#[test]
fn the_plugin_for_istio_fetches_keys_from_its_service_entry_and_then_lets_tokens_pass() {
    let manifest: Value = serde_saphyr::from_str(WASM_PLUGIN).unwrap();
    let mut host = host(Profile::envoy());
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
