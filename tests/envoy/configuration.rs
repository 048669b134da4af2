//! Configurations as Envoy loads or refuses them.

use serde_json::json;

use crate::scene::Scene;
use crate::support::Envoy;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_with_one_message() {
    let scene = Scene::start().await;
    for (extra, message) in [
        (json!({ "isuer": "x" }), "providers.acme.isuer: found an unknown field, expected \"issuer\"?"),
        (
            json!({ "clock_skew_seconds": "soon" }),
            "providers.acme.clock_skew_seconds: found the string \"soon\", expected a whole number",
        ),
        (
            json!({ "jwt_cache_config": {} }),
            "providers.acme.jwt_cache_config: found a field that this version does not support",
        ),
    ] {
        let configuration = scene.configuration(extra);
        let log = Envoy::with_filter(configuration, &scene.upstream)
            .cluster("idp", scene.idp.address())
            .refused()
            .await;
        let lines: Vec<_> = log.lines().filter(|line| line.contains("configuration refused")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains(message), "{}", lines[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_envoy_yaml_is_valid() {
    let envoy = std::env::var("ENVOY").expect("the suite is started by `make test-envoy`");
    crate::support::filter_module();
    let output = std::process::Command::new(envoy)
        .args(["--mode", "validate", "-c", "envoy.yaml", "--disable-hot-restart"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
