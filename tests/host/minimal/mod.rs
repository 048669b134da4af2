//! A host that has nothing but requests and calls, and the ways of Envoy with them.

use serde_json::json;

use super::harness::Profile;
use super::scene::{KEY, Scene, anonymous, configuration, good, host, jwks};

const PROFILE: Profile = Profile::minimal();

#[path = "../without_timers.rs"]
#[allow(clippy::duplicate_mod, reason = "the same cases, once for each host")]
mod keys;

/// The SDK would end the VM where a host says that it makes no calls.
#[test]
fn a_host_that_makes_no_calls_has_no_keys_that_are_fetched() {
    let mut scene = Scene::start_on(host(Profile::bare()), &configuration(json!({})));
    for _ in 0..3 {
        scene.refuse(good("/"), 503, "keys_unavailable");
        scene.pass(anonymous("/open"));
    }
}

#[test]
fn a_host_that_has_nothing_but_requests_verifies_by_keys_that_are_written() {
    let document = jwks([&*KEY]).to_string();
    let local = json!({ "remote_jwks": null, "local_jwks": { "inline_string": document } });
    let mut scene = Scene::start_on(host(Profile::bare()), &configuration(local));
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
    scene.refuse(anonymous("/"), 401, "missing_credential");
}
