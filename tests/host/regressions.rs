//! Defects that this suite found in the filter: each case failed once.

use std::time::Duration;

use serde_json::json;

use super::harness::{Host, Outcome, Profile, StreamId};
use super::scene::{
    BACK_OFF, KEY, Scene, SigningKey, anonymous, bearer, configuration, good, host, jwks, provider,
};

const MAX_WAITING: usize = 1024;
const MAX_OWN_FETCHES: usize = 128;

fn minimal(profile: Profile) -> Scene {
    Scene::start_on(host(profile), &configuration(json!({})))
}

fn own_call(host: &Host, stream: StreamId) -> super::harness::Call {
    let calls = host.calls();
    calls.iter().find(|call| call.owner == stream.0).unwrap_or_else(|| panic!("{calls:?}")).clone()
}

#[test]
fn one_more_than_may_wait_is_told_to_come_back() {
    let mut scene = Scene::start();
    let request = good("/");
    let mut streams: Vec<_> = (0..MAX_WAITING).map(|_| scene.host.request(request.clone())).collect();
    for _ in 0..3 {
        scene.refuse(request.clone(), 503, "overloaded");
    }
    scene.pass(anonymous("/open"));
    streams.iter().for_each(|stream| scene.assert_waits(*stream));
    let leaving = streams.swap_remove(7);
    scene.host.close(leaving);
    streams.push(scene.host.request(request.clone()));
    scene.refuse(request, 503, "overloaded");
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    for stream in streams {
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
    assert_eq!(scene.host.contexts_alive(), 1);
}

/// Setting a timer starts it anew, so requests that come faster than it fires must not set it again and again.
#[test]
fn requests_that_keep_coming_do_not_put_off_the_fetch_that_they_wait_for() {
    let mut scene = Scene::start();
    for _ in 0..40 {
        scene.host.request(good("/"));
        scene.host.advance(Duration::from_micros(500));
    }
    assert_eq!(scene.host.calls().len(), 1, "20 ms after the first request that needs keys");
}

fn one_more_than_may_fetch_for_itself_is_told_to_come_back_and_makes_no_call(profile: Profile) {
    let mut scene = minimal(profile);
    let request = good("/");
    let streams: Vec<_> = (0..MAX_OWN_FETCHES).map(|_| scene.host.request(request.clone())).collect();
    assert_eq!(scene.host.calls().len(), MAX_OWN_FETCHES);
    scene.refuse(request.clone(), 503, "keys_unavailable");
    assert_eq!(scene.host.calls().len(), MAX_OWN_FETCHES);
    for stream in streams {
        scene.host.close(stream);
    }
    scene.end_calls_of_the_gone();
    scene.host.advance(BACK_OFF);
    let stream = scene.host.request(request);
    let call = own_call(&scene.host, stream);
    scene.give_keys(&call, &[&KEY]);
    scene.assert_passed(stream);
}

/// Nothing asks for the next fetch while the old keys serve: there is no timer, and no request waits.
fn a_refresh_that_failed_once_is_tried_again_by_a_later_request(profile: Profile) {
    let mut scene = minimal(profile);
    let stream = scene.host.request(good("/"));
    let call = own_call(&scene.host, stream);
    scene.give_keys(&call, &[&KEY]);
    scene.host.close(stream);

    scene.host.advance(Duration::from_secs(301));
    let stream = scene.host.request(good("/"));
    let call = own_call(&scene.host, stream);
    scene.host.answer_reset(call.id);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()), "the old keys serve");

    scene.host.advance(Duration::from_secs(3600));
    let stream = scene.host.request(good("/"));
    assert_eq!(scene.host.calls().len(), 1, "an hour later no one has asked for new keys");
    let call = own_call(&scene.host, stream);
    scene.give_keys(&call, &[&SigningKey::eddsa("k1")]);
    scene.assert_refused(stream, 401, "invalid_token");
}

/// The fetch of one provider marks those of all others that are due as sent; they then count as lost.
fn the_fetch_of_one_provider_is_not_that_of_another(profile: Profile) {
    let mut host = host(profile);
    host.cluster("other.example:443");
    let mut configuration = configuration(json!({}));
    configuration["providers"]["other"] = provider("other", json!({}));
    configuration["providers"]["other"]["remote_jwks"]["http_uri"]["uri"] = json!("https://other.example/");
    let rule = json!({ "match": { "prefix": "/other" }, "requires": { "provider_name": "other" } });
    configuration["rules"].as_array_mut().unwrap().insert(0, rule);
    let mut scene = Scene::start_on(host, &configuration);
    let stream = scene.host.request(good("/"));
    let call = own_call(&scene.host, stream);
    scene.give_keys(&call, &[&KEY]);
    scene.host.close(stream);

    // The keys of "acme" are due to be refreshed, and not expired, when "other" is needed for the first time.
    scene.host.advance(Duration::from_secs(280));
    let stream = scene.host.request(good("/other"));
    let call = own_call(&scene.host, stream);
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.host.calls(), []);

    scene.host.advance(Duration::from_secs(30));
    let stream = scene.host.request(good("/"));
    assert_eq!(scene.host.outcome(stream), Outcome::Paused, "keys that expired are fetched again");
    let call = own_call(&scene.host, stream);
    assert_eq!(call.cluster, "idp.example:443");
}

/// Each of the calls fails for the same reason at the same moment, so there was one failure.
fn calls_that_fail_together_do_not_add_up_to_a_long_pause(profile: Profile) {
    let mut scene = minimal(profile);
    let streams: Vec<_> = (0..10).map(|_| scene.host.request(good("/"))).collect();
    for stream in streams {
        let call = own_call(&scene.host, stream);
        scene.host.answer_reset(call.id);
        scene.host.close(stream);
    }
    scene.host.advance(BACK_OFF);
    let stream = scene.host.request(good("/"));
    assert_eq!(
        scene.host.outcome(stream),
        Outcome::Paused,
        "one failed second is not a minute without service"
    );
}

#[test]
fn a_key_set_in_the_place_of_the_object_around_it_is_not_shown() {
    let secret = SigningKey::hs256("h", b"0123456789abcdef0123456789abcdef");
    let shared = secret.jwk()["k"].as_str().unwrap().to_owned();
    for local in [format!(r#"{{"keys":[{{"kty":"oct","k":"{shared}"}}]}}"#), shared.clone()] {
        let wrong = configuration(json!({ "remote_jwks": null, "local_jwks": local }));
        let mut host = host(Profile::envoy());
        host.start(&wrong.to_string()).unwrap_err();
        host.assert_never_logged(&shared[..8]);
    }
}

#[test]
fn the_name_of_a_member_that_a_token_has_twice_is_not_logged() {
    let mut scene = Scene::with_keys();
    for (header, payload) in [
        (r#"{"alg":"EdDSA","kid":"k1"}"#, r#"{"claimed-twice":1,"claimed-twice":2}"#),
        (r#"{"alg":"EdDSA","claimed-twice":1,"claimed-twice":2}"#, "{}"),
        (r#"{"alg":"EdDSA","kid":"k1"}"#, r#"{"a":{"claimed-twice":1,"claimed-twice":2}}"#),
    ] {
        // No key is needed to make one.
        let token = SigningKey::eddsa("x").sign_raw(header.as_bytes(), payload.as_bytes());
        scene.refuse(bearer("/", &token), 401, "invalid_token");
    }
    scene.host.assert_never_logged("claimed");
}

#[test]
fn a_document_that_is_no_text_is_no_key_set() {
    let mut scene = Scene::start();
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    let document = jwks([&*KEY]).to_string();
    let body = [document.trim_end_matches('}').as_bytes(), b",\"a\":\"\xff\"}"].concat();
    scene.host.answer(call.id, 200, Vec::new(), body);
    scene.assert_keys_unavailable(stream, "1");
}

super::on_each_host_without_timers! {
    one_more_than_may_fetch_for_itself_is_told_to_come_back_and_makes_no_call,
    a_refresh_that_failed_once_is_tried_again_by_a_later_request,
    the_fetch_of_one_provider_is_not_that_of_another,
    calls_that_fail_together_do_not_add_up_to_a_long_pause,
}
