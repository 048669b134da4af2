//! Properties of a host: route metadata and filter state that are read, values that are left.

use serde_json::{Value, json};

use super::harness::{Outcome, Profile};
use super::scene::{KEY, Scene, anonymous, bearer, claims, configuration, good, host, with};

const ROUTE: [&str; 4] = ["xds", "route_metadata", "filter_metadata", "edge_authn"];

fn route(field: &str) -> [&str; 5] {
    let [root, metadata, filters, namespace] = ROUTE;
    [root, metadata, filters, namespace, field]
}

fn exporting() -> Value {
    json!({ "payload_in_metadata": "jwt", "failed_status_in_metadata": "failure", "clear_route_cache": true })
}

fn with_requirements() -> Value {
    let mut configuration = configuration(json!({}));
    configuration["requirement_map"] = json!({ "optional": { "allow_missing": {} } });
    configuration
}

#[test]
fn values_are_left_in_the_stream_that_they_are_about() {
    let mut scene = Scene::start_with(exporting());
    let token = |user: &str| KEY.sign(&claims(json!({ "sub": user })));
    let streams = ["alice", "bob"].map(|user| (user, scene.host.request(bearer("/", &token(user)))));
    let expired = scene.host.request(bearer("/", &KEY.sign(&claims(json!({ "exp": 1 })))));
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    for (user, stream) in streams {
        let left = scene.host.written_property(stream, &["edge_authn.jwt"]).expect("claims");
        let left: Value = serde_json::from_slice(left).unwrap();
        assert_eq!(left["sub"], user);
        assert_eq!(scene.host.written_property(stream, &["edge_authn.failure"]), None);
        assert_eq!(scene.host.close(stream), Outcome::Continued);
    }
    assert_eq!(scene.host.written_property(expired, &["edge_authn.jwt"]), None);
    let failure = scene.host.written_property(expired, &["edge_authn.failure"]).expect("a status");
    assert_eq!(failure, br#"{"code":3,"message":"Jwt is expired"}"#);
}

fn a_host_that_cannot_take_values_decides_as_any_other(profile: Profile) {
    let mut scene = Scene::start_on(host(profile), &configuration(exporting()));
    let stream = scene.host.request(good("/"));
    let call = scene.host.calls()[0].clone();
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(&b"alice"[..]));
}

#[test]
fn route_metadata_speaks_for_the_route() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &with_requirements());
    scene.host.property(&ROUTE, "any");
    // Whoever wrote something there wanted something.
    scene.refuse(good("/"), 403, "unknown_requirement");
    scene.host.property(&route("requirement_name"), "optional");
    scene.pass(anonymous("/"));
    scene.host.property(&route("disabled"), [0]);
    scene.pass(anonymous("/"));
    for odd in [b"no-such".as_slice(), b"\xff", b"optional\0"] {
        scene.host.property(&route("requirement_name"), odd);
        scene.refuse(anonymous("/"), 403, "unknown_requirement");
    }
    for odd in [b"".as_slice(), b"true", b"\x02", b"\x01\0"] {
        scene.host.property(&route("disabled"), odd);
        scene.refuse(anonymous("/"), 403, "unknown_requirement");
    }
    scene.host.property(&route("disabled"), [1]);
    scene.pass(anonymous("/"));
    scene.refuse(with(anonymous("/"), "X_User_Id", "root"), 400, "forged_header");
}

#[test]
fn a_route_that_only_says_it_is_not_disabled_leaves_the_decision_to_the_rules() {
    let mut scene = Scene::start();
    scene.host.property(&ROUTE, "any");
    scene.host.property(&route("disabled"), [0]);
    scene.refuse(anonymous("/"), 401, "missing_credential");
    scene.pass(with(anonymous("/open"), "x-user-id", "root"));
}

#[test]
fn a_client_that_waits_keeps_the_route_it_came_by() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &with_requirements());
    scene.host.property(&ROUTE, "any");
    scene.host.property(&route("requirement_name"), "optional");
    let waiting = scene.host.request(good("/"));
    scene.assert_waits(waiting);
    scene.host.property(&route("requirement_name"), "no-such");
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(waiting).as_deref(), Some(&b"alice"[..]));
}

super::on_each_host_without_timers! {
    a_host_that_cannot_take_values_decides_as_any_other,
}
