//! Configurations as Envoy loads or refuses them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

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
        (json!({ "preset": "auth0" }), "providers.acme: found nothing, expected the field \"domain\""),
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
async fn a_struct_is_read_like_the_json_it_stands_for() {
    let scene = Scene::start().await;
    let configuration = scene.configuration(json!({ "clock_skew_seconds": 30, "forward": false }));
    let as_struct = |mut configuration: Value| {
        configuration =
            json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": configuration });
        move |bootstrap: &mut Value| {
            let chain = &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0];
            let filter = &mut chain["filters"][0]["typed_config"]["http_filters"][0];
            filter["typed_config"]["config"]["configuration"] = configuration;
        }
    };
    let envoy = Envoy::with_filter("", &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(as_struct(configuration.clone()))
        .start()
        .await;
    assert_eq!(scene.good_request("/").send(envoy.gateway()).await.status, 200);
    assert_eq!(scene.upstream.last_request().header("x-user-id"), [b"alice"]);

    let mut wrong = configuration;
    wrong["rules"][0]["match"]["path"] = json!(5);
    let log = Envoy::with_filter("", &scene.upstream).bootstrap(as_struct(wrong)).refused().await;
    assert!(log.contains("rules[0].match.path: found the number 5, expected a string"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_committed_envoy_yaml_is_valid() {
    crate::support::filter_module();
    assert_valid(Path::new(env!("CARGO_MANIFEST_DIR")), "envoy.yaml");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envoy_yaml_of_docker_compose_is_valid_where_it_is_put() {
    crate::support::filter_module();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    // As the container has it: a folder in which there is nothing else.
    let directory = repository.join("target/envoy-in-a-container");
    let folder = directory.join("target");
    std::fs::create_dir_all(&folder).unwrap();
    let status = Command::new(repository.join("scripts/compose-files.sh")).arg(folder).status().unwrap();
    assert!(status.success());
    assert_valid(&directory, "target/envoy.yaml");
}

/// A real Envoy takes the file, read in this directory.
fn assert_valid(directory: &Path, file: &str) {
    let envoy = std::env::var("ENVOY").expect("the suite is started by `make test-envoy`");
    let output = Command::new(envoy)
        .args(["--mode", "validate", "-c", file, "--disable-hot-restart"])
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
