//! Keys on hosts without timers: each request that needs some makes its own call and is answered in its own callback.
//! Run for each such host, under its name.

use std::time::Duration;

use serde_json::json;

use super::super::harness::{Host, Kind, Outcome};
use super::super::scene::{
    BACK_OFF, KEY, LEASE, START, STRANGER, Scene, SigningKey, anonymous, bearer, claims, configuration,
    filter, good, host, jwks, provider, upstream, with,
};

use super::PROFILE;

fn start() -> Scene {
    Scene::start_on(host(PROFILE), &configuration(json!({})))
}

#[test]
fn a_request_fetches_for_itself_and_is_answered_in_its_own_callback() {
    let mut scene = start();
    let stream = scene.send(with(with(good("/"), "x-user-id", "root"), "x_user_id", "root"));
    let call = scene.call_of(stream);
    assert_eq!((call.cluster.as_str(), call.timeout_ms), (upstream(PROFILE), 2000));
    scene.give_keys(&call, &[&KEY]);
    let headers = scene.host.request_headers(stream);
    assert_eq!(headers.all("x-user-id").collect::<Vec<_>>(), [b"alice"]);
    assert_eq!((headers.get("x_user_id"), headers.get("authorization")), (None, None));
    scene.assert_passed(stream);
    assert_eq!(scene.host.contexts_alive(), 1);
}

#[test]
fn later_requests_use_the_keys_of_earlier_ones() {
    let mut scene = start();
    scene.fetch_own();
    for _ in 0..10 {
        scene.host.advance(Duration::from_secs(25));
        let stream = scene.send(good("/"));
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
    scene.refuse(bearer("/", &STRANGER.sign(&claims(json!({})))), 401, "invalid_token");
    assert_eq!(scene.host.calls(), []);
}

#[test]
fn shortly_before_they_expire_one_request_fetches_and_the_others_go_on() {
    let mut scene = start();
    scene.fetch_own();
    scene.host.advance(Duration::from_secs(280));
    let unlucky = scene.send(good("/"));
    let call = scene.call_of(unlucky);
    for _ in 0..10 {
        let stream = scene.send(good("/"));
        scene.assert_passed(stream);
    }
    scene.host.answer_reset(call.id);
    assert_eq!(
        scene.assert_passed(unlucky).as_deref(),
        Some(b"alice".as_slice()),
        "the old keys still count"
    );
}

#[test]
fn expired_keys_are_fetched_again_by_the_request_that_needs_them() {
    let mut scene = start();
    for _ in 0..3 {
        scene.fetch_own();
        scene.host.advance(Duration::from_secs(301));
        assert_eq!(scene.host.calls(), [], "nothing happens without a request");
    }
    let stream = scene.send(good("/"));
    let call = scene.call_of(stream);
    scene.give_keys(&call, &[&STRANGER]);
    scene.assert_refused(stream, 401, "invalid_token");
}

#[test]
fn requests_at_one_time_have_calls_of_their_own() {
    let mut scene = start();
    let first = scene.send(good("/1"));
    let second = scene.send(good("/2"));
    let third = scene.send(good("/3"));
    assert_eq!(scene.host.calls().len(), 3);
    let call = scene.call_of(second);
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.host.outcome(second), Outcome::Continued);
    scene.assert_waits(first);
    // Its own call fails, but by now there are keys.
    let call = scene.call_of(first);
    scene.host.answer_reset(call.id);
    assert_eq!(scene.assert_passed(first).as_deref(), Some(b"alice".as_slice()));
    scene.host.advance(Duration::from_secs(2));
    assert_eq!(scene.assert_passed(third).as_deref(), Some(b"alice".as_slice()), "after a timeout");
    let stream = scene.send(good("/"));
    scene.assert_passed(stream);
}

#[test]
fn a_request_that_waited_is_held_against_the_keys_like_any_other() {
    let mut scene = start();
    let waiting = [
        (STRANGER.sign(&claims(json!({}))), "invalid_token"),
        (KEY.sign(&claims(json!({ "exp": 1_700_000_000 }))), "expired"),
    ]
    .map(|(token, label)| (scene.send(bearer("/", &token)), label));
    for (stream, label) in waiting {
        let call = scene.call_of(stream);
        scene.give_keys(&call, &[&KEY]);
        scene.assert_refused(stream, 401, label);
    }
}

#[test]
fn a_call_that_the_host_does_not_take_is_a_503_at_once() {
    // nginx takes a call to any host, and learns later whether there is one.
    let ways: &[bool] = if PROFILE.kind == Kind::Nginx { &[true] } else { &[false, true] };
    for failing in ways.iter().copied() {
        let mut host = Host::new(&filter(), PROFILE).unwrap();
        host.set_time(START);
        if failing {
            host.failing_cluster(upstream(PROFILE));
        }
        let mut scene = Scene::start_on(host, &configuration(json!({})));
        for _ in 0..3 {
            let stream = scene.send(good("/"));
            scene.assert_keys_unavailable(stream, "1");
            scene.host.close(stream);
        }
        scene.host.cluster(upstream(PROFILE));
        scene.host.advance(BACK_OFF);
        scene.fetch_own();
        assert_eq!(scene.host.contexts_alive(), 1);
    }
}

#[test]
fn a_call_that_fails_is_a_503_and_a_request_after_the_pause_tries_again() {
    for kind in ["reset", "status", "page", "timeout", "no status"] {
        println!("{kind}");
        let mut scene = start();
        let stream = scene.send(good("/"));
        let call = scene.call_of(stream);
        match kind {
            "reset" => scene.host.answer_reset(call.id),
            "status" => scene.host.answer(call.id, 500, Vec::new(), jwks([&*KEY]).to_string()),
            "page" => scene.host.answer(call.id, 200, Vec::new(), "<html>"),
            "timeout" => scene.host.advance(Duration::from_secs(2)),
            _ => scene.host.answer_as_is(
                call.id,
                vec![(b"server".to_vec(), b"x".to_vec())],
                jwks([&*KEY]).to_string(),
            ),
        }
        scene.assert_keys_unavailable(stream, "1");
        scene.host.close(stream);
        let again = scene.send(good("/"));
        scene.assert_keys_unavailable(again, "1");
        scene.host.close(again);
        scene.host.advance(BACK_OFF);
        scene.fetch_own();
        assert_eq!(scene.host.contexts_alive(), 1);
    }
}

#[test]
fn a_server_that_has_failed_is_tried_by_one_request_and_the_others_are_told_to_come_back() {
    let mut scene = start();
    let first = scene.send(good("/"));
    scene.host.answer_reset(scene.call_of(first).id);
    scene.assert_keys_unavailable(first, "1");
    scene.host.close(first);
    scene.host.advance(BACK_OFF);
    let trying = scene.send(good("/"));
    scene.assert_waits(trying);
    for _ in 0..10 {
        scene.refuse(good("/"), 503, "keys_unavailable");
    }
    let call = scene.call_of(trying);
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(trying).as_deref(), Some(b"alice".as_slice()));
    scene.pass(good("/"));
    assert_eq!(scene.host.calls(), []);
}

/// nginx holds no call to its timeout as a whole, and a host may lose one.
#[test]
fn a_call_that_never_ends_keeps_nobody_from_trying_again() {
    let mut scene = start();
    let first = scene.send(good("/"));
    scene.host.answer_reset(scene.call_of(first).id);
    scene.host.close(first);
    scene.host.advance(BACK_OFF);
    let hanging = scene.send(good("/"));
    scene.host.forget_timeout(scene.call_of(hanging).id);
    scene.refuse(good("/"), 503, "keys_unavailable");
    scene.host.advance(LEASE);
    scene.refuse(good("/"), 503, "keys_unavailable");
    scene.host.advance(BACK_OFF * 3);
    scene.fetch_own();
    scene.assert_waits(hanging);
}

#[test]
fn a_client_that_leaves_takes_its_own_call_and_no_other() {
    let mut scene = start();
    let leaving = scene.send(good("/"));
    let staying = scene.send(good("/"));
    assert_eq!(scene.host.close(leaving), Outcome::Paused);
    let call = scene.call_of(staying);
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(staying).as_deref(), Some(b"alice".as_slice()));
    scene.end_calls_of_the_gone();
    assert_eq!(scene.host.contexts_alive(), 1);
}

#[test]
fn a_client_that_leaves_alone_leaves_the_next_one_able_to_fetch() {
    let mut scene = start();
    for _ in 0..5 {
        let leaving = scene.send(good("/"));
        scene.assert_waits(leaving);
        scene.host.close(leaving);
    }
    scene.fetch_own();
}

#[test]
fn those_who_need_no_keys_are_answered_at_once() {
    let mut scene = start();
    scene.pass(anonymous("/open"));
    scene.pass(with(anonymous("/optional"), "x-user-id", "root"));
    scene.refuse(anonymous("/"), 401, "missing_credential");
    scene.refuse(bearer("/", "a.b.c"), 401, "invalid_token");
    assert_eq!(scene.host.calls(), []);
}

#[test]
fn a_new_configuration_starts_while_a_request_waits_under_the_old_one() {
    let mut scene = start();
    let early = scene.send(good("/"));
    scene.root = scene.host.reload(scene.root, &configuration(json!({})).to_string()).unwrap();
    let late = scene.send(good("/"));
    let (early_call, late_call) = (scene.call_of(early), scene.call_of(late));
    scene.give_keys(&early_call, &[&KEY]);
    assert_eq!(scene.assert_passed(early).as_deref(), Some(b"alice".as_slice()));
    scene.assert_waits(late);
    scene.give_keys(&late_call, &[&KEY]);
    assert_eq!(scene.assert_passed(late).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.host.contexts_alive(), 1);
}

#[test]
fn no_request_fetches_during_a_back_off_that_is_waited_through() {
    let mut configuration = configuration(json!({}));
    configuration["providers"]["acme"]["remote_jwks"]["retry_policy"] = json!({ "num_retries": 3 });
    let mut scene = Scene::start_on(host(PROFILE), &configuration);
    let first = scene.send(good("/"));
    let call = scene.call_of(first);
    scene.host.answer_reset(call.id);
    // Not verified, so anybody can send it.
    let forged = STRANGER.sign(&claims(json!({})));
    for _ in 0..20 {
        scene.send(bearer("/", &forged));
    }
    assert!(scene.host.calls().len() <= 1, "{} calls in one moment", scene.host.calls().len());
}

/// Two providers whose tokens travel in headers of their own.
fn two_providers(requirement: &str) -> Scene {
    let mut configuration = configuration(json!({}));
    let mut other = provider("other", json!({ "from_headers": [{ "name": "x-other" }] }));
    other["remote_jwks"]["http_uri"]["uri"] = json!("https://other.example/");
    configuration["providers"]["other"] = other;
    let both = json!({ "requirements": [{ "provider_name": "acme" }, { "provider_name": "other" }] });
    let rules = configuration["rules"].as_array_mut().unwrap();
    rules.insert(0, json!({ "match": { "path": "/other" }, "requires": { "provider_name": "other" } }));
    rules.insert(0, json!({ "match": { "path": "/both" }, "requires": { requirement: both } }));
    let mut host = host(PROFILE);
    host.cluster("other.example:443");
    Scene::start_on(host, &configuration)
}

#[test]
fn a_request_that_needs_keys_of_two_providers_fetches_them_one_after_the_other() {
    let mut scene = two_providers("requires_all");
    let token = KEY.sign(&claims(json!({})));
    let stream = scene.send(with(bearer("/both", &token), "x-other", &token));
    for server in ["idp.example:443", "other.example:443"] {
        scene.assert_waits(stream);
        let call = scene.call_of(stream);
        assert_eq!(call.cluster, server);
        scene.give_keys(&call, &[&KEY]);
    }
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice,alice".as_slice()));
}

/// A fetch that is claimed and not made would keep everybody from new keys until it counts as lost, again and again.
#[test]
fn a_forged_token_for_another_provider_keeps_nobody_from_new_keys() {
    let mut scene = two_providers("requires_any");
    for (path, name) in [("/", "authorization"), ("/other", "x-other")] {
        let token = KEY.sign(&claims(json!({})));
        let value = if name == "authorization" { format!("Bearer {token}") } else { token };
        let stream = scene.send(with(anonymous(path), name, value));
        let call = scene.call_of(stream);
        scene.give_keys(&call, &[&KEY]);
        scene.assert_passed(stream);
    }
    scene.host.advance(Duration::from_secs(60));
    let unknown = SigningKey::eddsa("k7").sign(&claims(json!({})));
    let stream = scene.send(with(bearer("/both", &unknown), "x-other", &unknown));
    let mut calls = 0;
    while scene.host.outcome(stream) == Outcome::Paused {
        let call = scene.call_of(stream);
        scene.give_keys(&call, &[&KEY]);
        calls += 1;
    }
    assert_eq!(calls, 2, "one for each provider");
    scene.assert_refused(stream, 401, "invalid_token");
    scene.host.close(stream);

    scene.host.advance(Duration::from_secs(11));
    let new = SigningKey::eddsa("k8");
    let stream = scene.send(with(anonymous("/other"), "x-other", new.sign(&claims(json!({})))));
    let call = scene.call_of(stream);
    scene.give_keys(&call, &[&KEY, &new]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}
