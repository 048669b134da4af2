//! The manifests for Istio: as its published schemas want them, in agreement with each other, and with a configuration that
//! the filter takes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use edge_authn::config::{Config, KeyPlace, KeySource};
use serde_json::{Value, json};

use crate::files::{VERSION, at, documents, path, text, yaml};

const PLUGIN: &str = "istio/wasm-plugin.yaml";
const EXTENSION: &str = "istio/traffic-extension.yaml";
const PROVIDER: &str = "istio/identity-provider.yaml";

/// What Istio's schemas have against manifests, line by line.
fn faults(manifests: &[Value]) -> Vec<String> {
    let variable = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test-manifests`"))
    };
    let mut check = Command::new(variable("NODE"))
        .arg(format!("{}/check.mjs", variable("ISTIO_SCHEMAS")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(json!(manifests).to_string().as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_manifest_is_as_istio_publishes_its_kind() {
    let manifests: Vec<_> = [PLUGIN, EXTENSION, PROVIDER].into_iter().flat_map(documents).collect();
    let kinds: Vec<_> = manifests.iter().map(|manifest| manifest["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["WasmPlugin", "TrafficExtension", "ServiceEntry", "DestinationRule"]);
    assert_eq!(faults(&manifests), [""; 0]);
    // None is left out by accident.
    let mut files: Vec<_> =
        std::fs::read_dir(path("istio")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["identity-provider.yaml", "traffic-extension.yaml", "wasm-plugin.yaml"]);
}

#[test]
fn a_misspelt_field_a_wrong_value_and_an_unknown_kind_are_found() {
    let (plugin, extension) = (yaml(PLUGIN), yaml(EXTENSION));
    let [entry, rule] = <[Value; 2]>::try_from(documents(PROVIDER)).unwrap();
    let with = |manifest: &Value, pointer: &str, name: &str, value: Value| {
        let mut manifest = manifest.clone();
        manifest.pointer_mut(pointer).unwrap()[name] = value;
        manifest
    };
    let wrong = [
        (with(&plugin, "/spec", "failStrategi", json!("FAIL_CLOSE")), "failStrategi"),
        (with(&plugin, "/spec", "failStrategy", json!("FAIL_CLOSED")), "FAIL_CLOSED"),
        (with(&plugin, "/spec", "sha256", json!("12ab")), "/spec/sha256"),
        (with(&plugin, "", "kind", json!("WasmPlugins")), "WasmPlugins"),
        (with(&extension, "/spec/wasm", "pluginConf", json!({})), "pluginConf"),
        (with(&extension, "/spec", "failStrategy", json!("FAIL_CLOSE")), "spec.failStrategy"),
        (with(&extension, "/spec/wasm", "phase", json!("AUTHN")), "spec.wasm.phase"),
        (with(&entry, "/spec/ports/0", "nummer", json!(443)), "nummer"),
        (with(&rule, "/spec/trafficPolicy/tls", "subjectAltName", json!(["a"])), "subjectAltName"),
    ];
    let (manifests, expected): (Vec<_>, Vec<_>) = wrong.into_iter().unzip();
    let faults = faults(&manifests);
    for name in expected {
        assert!(faults.iter().any(|fault| fault.contains(name)), "{name}: {faults:#?}");
    }
}

#[test]
fn both_ways_to_deploy_the_filter_say_the_same() {
    let (plugin, mut extension) = (yaml(PLUGIN), yaml(EXTENSION));
    let wasm = extension["spec"].as_object_mut().unwrap().remove("wasm").unwrap();
    extension["spec"].as_object_mut().unwrap().extend(wasm.as_object().unwrap().clone());
    extension["kind"] = plugin["kind"].clone();
    assert_eq!(extension, plugin);
}

#[test]
fn the_filter_refuses_requests_when_it_cannot_run_and_comes_before_what_believes_it() {
    let plugin = yaml(PLUGIN);
    let spec = at(&plugin, "/spec");
    assert_eq!((&spec["failStrategy"], &spec["phase"]), (&json!("FAIL_CLOSE"), &json!("AUTHN")));
    assert_eq!(spec["url"], format!("oci://registry.example.com/edge-authn:{VERSION}"));
}

#[test]
fn the_configuration_is_one_that_the_filter_takes_and_names_the_cluster_of_the_service() {
    let plugin = yaml(PLUGIN);
    let text = at(&plugin, "/spec/pluginConfig").to_string();
    let config = Config::parse(text.as_bytes(), &|_| None).unwrap();
    assert_eq!(config.warnings, [""; 0]);

    let [entry, rule] = <[Value; 2]>::try_from(documents(PROVIDER)).unwrap();
    let (host, port) = (&entry["spec"]["hosts"][0], &entry["spec"]["ports"][0]["number"]);
    let host = host.as_str().unwrap();
    let KeySource::Remote(remote) = &config.providers[0].keys else { panic!("keys are fetched") };
    let KeyPlace::Jwks(endpoint) = &remote.place else { panic!("from a JWKS") };
    assert_eq!(endpoint.cluster, format!("outbound|{port}||{host}"));
    assert_eq!(endpoint.authority, host);

    assert_eq!(rule["spec"]["host"], host);
    let tls = at(&rule, "/spec/trafficPolicy/tls");
    assert_eq!(
        (&tls["mode"], &tls["sni"], &tls["subjectAltNames"]),
        (&json!("SIMPLE"), &json!(host), &json!([host]))
    );
    // Without authorities, an Istio may verify nothing.
    assert!(tls["caCertificates"].is_string());

    let namespaces = [&plugin, &entry, &rule].map(|manifest| manifest["metadata"]["namespace"].clone());
    assert!(namespaces.iter().all(|namespace| *namespace == namespaces[0]));
}

#[test]
fn the_image_that_is_pulled_is_the_one_that_is_made() {
    assert!(text("Makefile").contains("scripts/image.sh $(WASM) $(IMAGE) $(VERSION)"));
    assert!(text("Cargo.toml").contains(&format!("\nversion = \"{VERSION}\"\n")));
}
