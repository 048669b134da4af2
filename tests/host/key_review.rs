//! What a review of the keys found that shows at a host: calls without a pause, and who waits for what.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Outcome, Profile, Sharing};
use super::scene::{
    KEY, MOMENT, Scene, SigningKey, bearer, claims, configuration, host, jwks, provider, signed_by,
};

/// The most requests that wait for a key that there may not be.
const MAX_WAITING_FOR_A_NAME: usize = 512;

#[test]
fn a_worker_whose_writes_are_lost_pauses_after_failures_like_any_other() {
    let profile = Profile { shared_data: Sharing::WritesAnswer(0), ..Profile::envoy() };
    let mut scene = Scene::start_on(host(profile), &configuration(json!({})));
    let mut calls = 0;
    for _ in 0..100 {
        scene.host.advance(MOMENT);
        for call in scene.host.calls() {
            calls += 1;
            scene.host.answer(call.id, 503, Vec::new(), "");
        }
    }
    assert!(calls <= 2, "{calls} calls within a second to a server that fails");
}

#[test]
fn half_of_those_who_may_wait_may_wait_for_a_name_also_when_they_came_before_the_first_keys() {
    let mut scene = Scene::start();
    let call = scene.call();
    let strange = SigningKey::eddsa("strange");
    let streams: Vec<_> =
        (0..MAX_WAITING_FOR_A_NAME + 100).map(|_| scene.host.request(signed_by(&strange))).collect();
    scene.give_keys(&call, &[&KEY]);
    let waiting = streams.iter().filter(|stream| scene.host.outcome(**stream) == Outcome::Paused);
    let refused = streams.iter().filter(|stream| scene.host.outcome(**stream) != Outcome::Paused).count();
    let waiting = waiting.count();
    assert!(waiting <= MAX_WAITING_FOR_A_NAME, "{waiting} wait for a name, {refused} do not");
}

/// Two providers for tokens of any issuer, one of which is enough.
fn either() -> Value {
    let of = |cluster: &str| {
        let mut provider = provider(cluster, json!({ "issuer": null }));
        provider["remote_jwks"]["http_uri"]["uri"] = json!(format!("https://{cluster}.example/{cluster}"));
        provider
    };
    let any = json!([{ "provider_name": "a" }, { "provider_name": "b" }]);
    json!({
        "providers": { "a": of("a"), "b": of("b") },
        "rules": [{
            "match": { "prefix": "/" },
            "requires": { "requires_any": { "requirements": any } },
        }],
    })
}

fn either_host() -> Scene {
    let mut host = host(Profile::envoy());
    host.cluster("a");
    host.cluster("b");
    Scene::start_on(host, &either())
}

#[test]
fn a_request_that_one_of_two_new_keys_would_let_pass_waits_for_the_first_that_comes() {
    let mut scene = either_host();
    for call in scene.calls() {
        scene.host.answer(call.id, 200, Vec::new(), jwks([&*KEY]).to_string());
    }
    scene.host.advance(Duration::from_secs(20));
    let new = SigningKey::eddsa("k2");
    let stream = scene.host.request(bearer("/", &new.sign(&claims(json!({})))));
    scene.assert_waits(stream);
    let calls = scene.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    let of_b = calls.iter().find(|call| call.cluster == "b").unwrap();
    scene.host.answer(of_b.id, 200, Vec::new(), jwks([&*KEY, &new]).to_string());
    scene.host.advance(MOMENT);
    scene.assert_passed(stream);
}
