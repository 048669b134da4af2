//! docker-compose.yaml: Docker Compose takes it, what it names is there, and it agrees with the files that it mounts.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value;

use crate::files::{at, filter_of_envoy, listener_of_envoy, path, text, yaml};

const FILE: &str = "docker-compose.yaml";

fn services() -> Vec<(String, Value)> {
    let file = yaml(FILE);
    at(&file, "/services").as_object().unwrap().clone().into_iter().collect()
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item.as_str().expect("a string").to_owned()).collect()
}

/// What Docker Compose says about a file.
fn compose_config(file: &str) -> Output {
    let compose = std::env::var("COMPOSE")
        .expect("COMPOSE is not set: run `make test-manifests`, or set it to `docker compose`");
    let mut words = compose.split_whitespace();
    Command::new(words.next().unwrap())
        .args(words)
        .args(["-f", file, "config", "-q"])
        .current_dir(path(""))
        .output()
        .unwrap_or_else(|error| panic!("{compose}: {error}"))
}

#[test]
fn docker_compose_takes_the_file() {
    let output = compose_config(FILE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn docker_compose_refuses_a_file_with_a_misspelt_field() {
    let folder = path("target/manifests");
    fs::create_dir_all(&folder).unwrap();
    let wrong = folder.join("misspelt-compose.yaml");
    fs::write(&wrong, text(FILE).replace("network_mode:", "network_mod:")).unwrap();
    let output = compose_config(wrong.to_str().unwrap());
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("network_mod"));
}

#[test]
fn every_file_that_is_mounted_is_there_and_is_not_written_to() {
    let mut mounted = BTreeSet::new();
    for (name, service) in services() {
        for volume in strings(service.get("volumes")) {
            let Some(file) = volume.strip_prefix("./") else { continue };
            let (file, rest) = file.split_once(':').unwrap();
            assert!(path(file).is_file(), "{name}: {file}");
            assert!(rest.ends_with(":ro"), "{name}: {volume}");
            mounted.insert(file.to_owned());
        }
    }
    assert_eq!(
        mounted.into_iter().collect::<Vec<_>>(),
        ["apisix/apisix.yaml", "apisix/config.yaml", "envoy.yaml"]
    );
}

#[test]
fn images_are_those_that_are_tested() {
    let images = services().into_iter().filter_map(|(name, service)| {
        let image = service.get("image").map(|image| image.as_str().unwrap().to_owned());
        assert!(image.is_some() != service.get("build").is_some(), "{name}");
        Some((name, image?))
    });
    let images: Vec<_> = images.collect();
    // The newest.
    let versions = text("scripts/envoy-versions.txt");
    let version = versions.lines().find(|line| !line.starts_with('#')).unwrap();
    let expected =
        [("apisix", "apache/apisix:3.18.0-debian"), ("envoy", &*format!("envoyproxy/envoy:v{version}"))];
    assert_eq!(images, expected.map(|(name, image)| (name.to_owned(), image.to_owned())));
}

#[test]
fn published_ports_are_those_of_the_files_and_for_this_machine_alone() {
    let (envoy, apisix) = (yaml("envoy.yaml"), yaml("apisix/config.yaml"));
    let ports = services().into_iter().flat_map(|(_, service)| strings(service.get("ports")));
    let ports: Vec<_> = ports.collect();
    let provider =
        at(filter_of_envoy(&envoy), "/configuration/value/providers/demo/issuer").as_str().unwrap();
    let provider = provider.strip_prefix("http://127.0.0.1:").unwrap();
    let gateways = [listener_of_envoy(&envoy).1.to_string(), at(&apisix, "/apisix/node_listen").to_string()];
    let expected = [&*gateways[0], &gateways[1], provider].map(|port| format!("127.0.0.1:{port}:{port}"));
    assert_eq!(ports, expected);

    // Tokens of sessions are for both gateways, and for nobody else.
    let origins = gateways.map(|port| format!("http://127.0.0.1:{port}"));
    let parties = at(filter_of_envoy(&envoy), "/configuration/value/providers/oneauxilia/authorized_parties");
    assert_eq!(strings(Some(parties)), origins);
}

#[test]
fn the_gateways_find_what_the_first_service_has_put_there() {
    let folder = path("target/manifests/filter");
    fs::create_dir_all(&folder).unwrap();
    let output = Command::new(path("scripts/compose-files.sh")).arg(&folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["edge_authn.wasm", "envoy.yaml"] {
        let mode = fs::metadata(folder.join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{file}");
    }
    assert_eq!(
        fs::read(folder.join("edge_authn.wasm")).unwrap(),
        fs::read(path("target/edge_authn.wasm")).expect("run `make test-manifests`")
    );

    // One line of envoy.yaml differs: a container listens on its other interfaces as well.
    let (original, written) = (text("envoy.yaml"), fs::read_to_string(folder.join("envoy.yaml")).unwrap());
    let differing: Vec<_> =
        original.lines().zip(written.lines()).filter(|(one, other)| one != other).collect();
    assert_eq!((differing.len(), original.lines().count()), (1, written.lines().count()), "{differing:?}");
    let written: Value = serde_saphyr::from_str(&written).unwrap();
    assert_eq!(listener_of_envoy(&written), ("0.0.0.0", listener_of_envoy(&yaml("envoy.yaml")).1));
    assert_eq!(*at(&written, "/admin"), *at(&yaml("envoy.yaml"), "/admin"));

    let file = yaml(FILE);
    let volume = |service: &str| {
        let volumes = strings(file.pointer(&format!("/services/{service}/volumes")));
        let volume = volumes.iter().find_map(|volume| volume.strip_prefix("filter:")).unwrap();
        volume.trim_end_matches(":ro").to_owned()
    };
    assert_eq!(
        strings(file.pointer("/services/edge-authn/command")),
        ["scripts/compose-files.sh", &volume("edge-authn")]
    );
    // Envoy looks below its working directory, and reads the file that was written.
    let directory = at(&file, "/services/envoy/working_dir").as_str().unwrap();
    let module = at(filter_of_envoy(&written), "/vm_config/code/local/filename").as_str().unwrap();
    assert_eq!(format!("{directory}/{module}"), format!("{}/edge_authn.wasm", volume("envoy")));
    let command = strings(file.pointer("/services/envoy/command"));
    assert_eq!(format!("{directory}/{}", command[1]), format!("{}/envoy.yaml", volume("envoy")));
    let module = yaml("apisix/config.yaml");
    assert_eq!(*at(&module, "/wasm/plugins/0/file"), format!("{}/edge_authn.wasm", volume("apisix")));
}

#[test]
fn the_gateways_are_where_their_servers_are_and_wait_for_the_filter() {
    for name in ["envoy", "apisix"] {
        let service = at(&yaml(FILE), &format!("/services/{name}")).clone();
        assert_eq!(service["network_mode"], "service:backend");
        assert_eq!(*at(&service, "/depends_on/edge-authn/condition"), "service_completed_successfully");
    }
}
