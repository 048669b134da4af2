//! What the filter counts, and that a host which counts nothing is served as well.

use serde_json::{Value, json};

use super::harness::{Profile, StreamId};
use super::scene::{KEY, Scene, anonymous, bearer, configuration, good, host};

fn counted(scene: &Scene, name: &str) -> Option<i64> {
    scene.host.metric(&format!("edge_authn.{name}"))
}

fn asked() -> Value {
    let check = json!({
        "kind": "introspection",
        "http_uri": { "uri": "https://idp.example/introspect", "cluster": "idp", "timeout": "2s" },
        "client_id": "gw",
        "client_secret": "gateways-own-secret",
    });
    configuration(json!({ "remote_jwks": null, "issuer": null, "audiences": null, "session_check": check }))
}

fn ask(scene: &mut Scene, token: &str, status: u16, body: &str) -> StreamId {
    let stream = scene.host.request(bearer("/", token));
    let call = scene.call();
    scene.host.answer(call.id, status, Vec::new(), body);
    stream
}

#[test]
fn refusals_are_counted_by_their_reason_and_requests_that_pass_are_not() {
    let mut scene = Scene::with_keys();
    for _ in 0..3 {
        scene.refuse(anonymous("/"), 401, "missing_credential");
    }
    scene.refuse(bearer("/", "a.b.c"), 401, "invalid_token");
    scene.pass(good("/"));
    assert_eq!(counted(&scene, "refused.missing_credential"), Some(3));
    assert_eq!(counted(&scene, "refused.invalid_token"), Some(1));
    assert_eq!(counted(&scene, "refused.expired"), None);
    assert_eq!(counted(&scene, "jwks_fetch_success.acme"), Some(1));
    assert_eq!(counted(&scene, "jwks_fetch_failed.acme"), None);
}

#[test]
fn fetches_that_fail_are_counted_under_the_prefix_of_the_configuration() {
    let mut configuration = configuration(json!({}));
    configuration["stat_prefix"] = json!("front");
    let mut scene = Scene::start_on(host(Profile::envoy()), &configuration);
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    scene.host.answer(call.id, 500, Vec::new(), "");
    scene.assert_keys_unavailable(stream, "1");
    let call = scene.next_call_within(std::time::Duration::from_secs(2));
    scene.give_keys(&call, &[&KEY]);
    scene.pass(good("/"));
    assert_eq!(counted(&scene, "front.jwks_fetch_failed.acme"), Some(1));
    assert_eq!(counted(&scene, "front.jwks_fetch_success.acme"), Some(1));
    assert_eq!(counted(&scene, "jwks_fetch_failed.acme"), None);
}

#[test]
fn a_secret_that_the_identity_provider_does_not_take_is_told_apart_from_its_failures() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &asked());
    let stream = ask(&mut scene, "one", 401, "");
    scene.assert_refused(stream, 503, "check_unavailable");
    for (token, status) in [("two", 500), ("three", 429), ("four", 302)] {
        let stream = ask(&mut scene, token, status, "");
        scene.assert_refused(stream, 503, "check_unavailable");
    }
    let stream = ask(&mut scene, "five", 200, r#"{"active":false}"#);
    scene.assert_refused(stream, 401, "session_denied");
    assert_eq!(counted(&scene, "session_check_rejected.acme"), Some(1));
    assert_eq!(counted(&scene, "session_check_failed.acme"), Some(3));
    assert_eq!(counted(&scene, "refused.check_unavailable"), Some(4));
    assert_eq!(counted(&scene, "refused.session_denied"), Some(1));
}

#[test]
fn a_host_that_counts_nothing_gets_the_same_answers() {
    let mut scene =
        Scene::start_on(host(Profile { metrics: false, ..Profile::envoy() }), &configuration(json!({})));
    scene.fetch_keys();
    scene.refuse(anonymous("/"), 401, "missing_credential");
    scene.pass(good("/"));
    assert_eq!(counted(&scene, "refused.missing_credential"), None);
}
