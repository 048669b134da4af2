//! Istio: an Envoy in which no filter can be given a `vm_id`, so that all of them share one space, and in which filters
//! with the same code share a VM.

use serde_json::json;

use super::harness::{Host, Outcome, Profile};
use super::scene::{PICK_UP, STRANGER, Scene, configuration, good, host, jwks};

/// The names in the space.
fn names(host: &Host) -> Vec<String> {
    let entries = host.shared_data().entries().into_iter();
    entries.map(|(name, _)| String::from_utf8(name).unwrap()).collect()
}

#[test]
fn what_another_plugin_writes_under_the_filters_names_is_taken_for_what_it_is() {
    let mut scene = Scene::start_on(host(Profile::istio()), &configuration(json!({})));
    scene.fetch_keys();
    let [name] = names(&scene.host).try_into().unwrap();
    for written in [
        &b""[..],
        b"\0",
        b"{}",
        b"\xff\xff\xff\xff",
        &vec![b'['; 100_000],
        jwks([&*STRANGER]).to_string().as_bytes(),
    ] {
        scene.host.shared_data().set(name.as_bytes(), written, 0).unwrap();
        scene.host.advance(PICK_UP);
        assert_eq!(
            scene.pass(good("/")).as_deref(),
            Some(b"alice".as_slice()),
            "keys that are held still count"
        );
    }
}

#[test]
fn what_other_plugins_keep_is_left_alone() {
    let mut scene = Scene::start_on(host(Profile::istio()), &configuration(json!({})));
    scene.host.shared_data().set(b"somebody-elses", b"value", 0).unwrap();
    scene.fetch_keys();
    let (value, _) = scene.host.shared_data().get(b"somebody-elses").unwrap();
    assert_eq!(value, b"value");
    let ours = names(&scene.host).into_iter().filter(|name| name != "somebody-elses");
    assert!(ours.into_iter().all(|name| name.starts_with("edge-authn/")), "{:?}", names(&scene.host));
}

/// Two WasmPlugins of one image, such as one for each of two workloads behind a gateway.
#[test]
fn two_plugins_of_one_image_share_a_vm_and_not_their_rules() {
    let mut scene = Scene::start_on(host(Profile::istio()), &configuration(json!({})));
    scene.fetch_keys();
    let mut stricter = configuration(json!({ "audiences": ["other"] }));
    stricter["rules"] = json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } }]);
    let second = scene.host.start(&stricter.to_string()).unwrap();
    let stream = scene.host.request_to(second, good("/"));
    scene.assert_refused(stream, 401, "audience");
    let stream = scene.host.request_to(scene.root, good("/"));
    assert_eq!(scene.host.close(stream), Outcome::Continued);
    assert_eq!(scene.host.calls(), [], "the keys are found in what is shared");
}
