//! Tokens that name a key which is not there: each may have the keys fetched anew, all together not often, and nothing
//! that a stranger can send makes it more.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::harness::{Fleet, Outcome, Profile, StreamId};
use super::scene::{
    Headers, IDLE_PICK_UP, KEY, MOMENT, PICK_UP, STRANGER, Scene, SigningKey, bearer, claims, configuration,
    good, host, signed_by,
};

/// The time between two fetches because of a name.
const INTERVAL: Duration = Duration::from_secs(10);

/// The most requests that wait because of a name.
const MAX_WAITING_FOR_A_NAME: usize = 512;

/// Keys that were fetched more than an interval ago.
fn settled() -> Scene {
    settled_with(json!({}))
}

/// The same with `extra` fields of `remote_jwks`.
fn settled_with(extra: Value) -> Scene {
    let mut scene = Scene::start_on(host(Profile::envoy()), &remote(extra));
    scene.fetch_keys();
    scene.host.advance(INTERVAL + MOMENT);
    scene
}

fn remote(extra: Value) -> Value {
    let mut configuration = configuration(json!({}));
    let remote = &mut configuration["providers"]["acme"]["remote_jwks"];
    for (name, value) in extra.as_object().into_iter().flatten() {
        remote[name] = value.clone();
    }
    configuration
}

/// A request whose token names this key. Anybody can make one: its signature is another token's.
fn naming(kid: &str) -> Headers {
    naming_with(kid, json!({}), json!({}))
}

fn naming_with(kid: &str, header: Value, extra: Value) -> Headers {
    let mut full = json!({ "alg": "EdDSA", "kid": kid, "typ": "JWT" });
    for (name, value) in header.as_object().into_iter().flatten() {
        full[name] = value.clone();
    }
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode([7; 64]);
    bearer("/", &format!("{}.{}.{signature}", encode(full), encode(claims(extra))))
}

#[test]
fn a_token_of_a_new_key_waits_for_one_fetch_and_passes() {
    let mut scene = settled();
    let new = SigningKey::es256("k2");
    let waiting: Vec<_> = (0..20).map(|_| scene.host.request(signed_by(&new))).collect();
    let call = scene.call();
    waiting.iter().for_each(|stream| scene.assert_waits(*stream));
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()), "nobody else waits");
    scene.give_keys(&call, &[&KEY, &new]);
    for stream in waiting {
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
    scene.pass(signed_by(&new));
    scene.pass(good("/"));
    scene.assert_no_call();
}

#[test]
fn a_name_that_is_still_unknown_is_a_401_and_so_is_every_other_for_a_while() {
    let mut scene = settled();
    let waiting = [naming("k2"), naming("k3"), naming("k2")].map(|request| scene.host.request(request));
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    for stream in waiting {
        scene.assert_refused(stream, 401, "invalid_token");
    }
    for second in 0..9 {
        scene.refuse(naming("k2"), 401, "invalid_token");
        scene.refuse(naming(&format!("other-{second}")), 401, "invalid_token");
        scene.assert_no_call();
        scene.host.advance(Duration::from_secs(1) - MOMENT);
    }
    scene.host.advance(Duration::from_secs(1));
    let stream = scene.host.request(naming("k4"));
    scene.assert_waits(stream);
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    scene.assert_refused(stream, 401, "invalid_token");
}

#[test]
fn a_name_that_is_looked_for_in_vain_again_and_again_is_looked_for_less_often_than_others() {
    let mut scene = settled();
    let vain = |scene: &mut Scene, kid: &str| {
        let stream = scene.host.request(naming(kid));
        let call = scene.call();
        scene.give_keys(&call, &[&KEY]);
        scene.assert_refused(stream, 401, "invalid_token");
        scene.host.advance(INTERVAL + MOMENT);
    };
    vain(&mut scene, "k2");
    vain(&mut scene, "k2");
    // For two intervals now.
    scene.refuse(naming("k2"), 401, "invalid_token");
    scene.assert_no_call();
    vain(&mut scene, "k3");
    vain(&mut scene, "k2");
    // And for four.
    for kid in ["k4", "k5", "k6"] {
        scene.refuse(naming("k2"), 401, "invalid_token");
        vain(&mut scene, kid);
    }
    scene.host.advance(MOMENT);
    vain(&mut scene, "k2");
}

#[test]
fn a_key_that_was_looked_for_in_vain_counts_as_soon_as_it_is_published() {
    let mut scene = settled();
    let late = SigningKey::es256("k2");
    let stream = scene.host.request(signed_by(&late));
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    scene.assert_refused(stream, 401, "invalid_token");
    let call = scene.next_call_within(Duration::from_secs(300));
    scene.give_keys(&call, &[&KEY, &late]);
    assert_eq!(scene.pass(signed_by(&late)).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn a_name_that_the_first_keys_do_not_have_is_looked_for_once_more_at_most() {
    let mut scene = Scene::start();
    let stream = scene.host.request(naming("k2"));
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    if let Some(call) = scene.calls().first() {
        scene.give_keys(call, &[&KEY]);
    }
    scene.assert_refused(stream, 401, "invalid_token");
    scene.assert_no_call();
}

#[test]
fn the_interval_is_that_of_the_configuration() {
    let mut scene = settled_with(json!({ "kid_refetch_interval": "60s" }));
    scene.host.advance(Duration::from_secs(50));
    let stream = scene.host.request(naming("k2"));
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    scene.assert_refused(stream, 401, "invalid_token");
    scene.host.advance(Duration::from_secs(58));
    scene.refuse(naming("k3"), 401, "invalid_token");
    scene.assert_no_call();
    scene.host.advance(Duration::from_secs(3));
    scene.host.request(naming("k4"));
    scene.call();
}

#[test]
fn a_fetch_because_of_a_name_drops_what_was_withdrawn() {
    let mut scene = settled();
    let new = SigningKey::es256("k2");
    let stream = scene.host.request(signed_by(&new));
    let call = scene.call();
    scene.give_keys(&call, &[&new]);
    scene.assert_passed(stream);
    scene.refuse(good("/"), 401, "invalid_token");
    scene.assert_no_call();
}

#[test]
fn a_token_that_cannot_pass_anyway_never_has_keys_fetched() {
    let mut scene = settled();
    let without_kid =
        |key: &SigningKey| bearer("/", &key.sign_with_header(&json!({ "kid": null }), &claims(json!({}))));
    for (kind, request) in [
        ("a bad signature", signed_by(&STRANGER)),
        ("no name", without_kid(&STRANGER)),
        ("no name, another algorithm", without_kid(&SigningKey::es256("k2"))),
        ("expired", naming_with("k2", json!({}), json!({ "exp": 1_700_000_000 }))),
        (
            "expired by a moment",
            naming_with("k2", json!({}), json!({ "exp": scene.host.now().as_secs() - 120 })),
        ),
        ("no expiry", naming_with("k2", json!({}), json!({ "exp": null }))),
        ("another issuer", naming_with("k2", json!({}), json!({ "iss": "https://other.example" }))),
        ("no issuer", naming_with("k2", json!({}), json!({ "iss": null }))),
        ("not valid yet", naming_with("k2", json!({}), json!({ "nbf": 4_000_000_000_u64 }))),
        ("no algorithm", naming_with("k2", json!({ "alg": "none" }), json!({}))),
        ("an algorithm of shared secrets", naming_with("k2", json!({ "alg": "HS256" }), json!({}))),
        ("an unknown algorithm", naming_with("k2", json!({ "alg": "XX1" }), json!({}))),
        ("a type of no credential", naming_with("k2", json!({ "typ": "logout+jwt" }), json!({}))),
        ("a name that is no text", naming_with("k2", json!({ "kid": 7 }), json!({}))),
    ] {
        println!("{kind}");
        let stream = scene.host.request(request);
        assert_eq!(scene.host.reply(stream).status, 401, "{kind}");
        scene.host.close(stream);
        scene.assert_no_call();
    }
}

#[test]
fn those_whose_rule_does_not_need_the_token_have_nothing_fetched_either() {
    let mut scene = settled();
    let mut open = naming("k2");
    open.iter_mut().filter(|(name, _)| name == b":path").for_each(|(_, path)| *path = b"/open".to_vec());
    scene.pass(open);
    scene.assert_no_call();
}

#[test]
fn a_fetch_because_of_a_name_that_fails_is_a_503_and_known_names_pass() {
    type Failure = fn(&mut Scene, &super::harness::Call);
    let failures: [(&str, Failure); 4] = [
        ("reset", |scene, call| scene.host.answer_reset(call.id)),
        ("server error", |scene, call| scene.host.answer(call.id, 500, Vec::new(), "")),
        ("no keys", |scene, call| scene.host.answer(call.id, 200, Vec::new(), r#"{"keys":[]}"#)),
        ("timeout", |scene, _| scene.host.advance(Duration::from_secs(2))),
    ];
    for (kind, fail) in failures {
        println!("{kind}");
        let mut scene = settled();
        let new = SigningKey::es256("k2");
        let waiting: Vec<_> = (0..3).map(|_| scene.host.request(signed_by(&new))).collect();
        let call = scene.call();
        fail(&mut scene, &call);
        scene.host.advance(MOMENT);
        for stream in waiting {
            scene.assert_refused(stream, 503, "keys_unavailable");
            scene.host.close(stream);
        }
        for _ in 0..5 {
            assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
            scene.refuse(signed_by(&STRANGER), 401, "invalid_token");
            scene.host.advance(Duration::from_millis(50));
        }
        assert_eq!(scene.host.calls(), [], "the pause after a failure counts");

        // The key was not looked for in vain: it was not looked for.
        scene.host.advance(INTERVAL);
        let stream = scene.host.request(signed_by(&new));
        if let Some(call) = scene.host.calls().first().cloned() {
            scene.give_keys(&call, &[&KEY, &new]);
        }
        scene.host.advance(MOMENT);
        if let Some(call) = scene.host.calls().first().cloned() {
            scene.give_keys(&call, &[&KEY, &new]);
        }
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
}

#[test]
fn half_of_those_who_may_wait_may_wait_for_a_name() {
    let mut scene = settled();
    let mut streams: Vec<_> =
        (0..MAX_WAITING_FOR_A_NAME).map(|index| scene.host.request(naming(&format!("n{index}")))).collect();
    streams.iter().for_each(|stream| scene.assert_waits(*stream));
    for _ in 0..3 {
        scene.refuse(naming("one-more"), 503, "overloaded");
        scene.pass(good("/"));
    }
    // One that leaves makes room for one.
    let leaving = streams.swap_remove(7);
    scene.host.close(leaving);
    streams.push(scene.host.request(naming("one-more")));
    scene.refuse(naming("two-more"), 503, "overloaded");
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    for stream in streams {
        scene.assert_refused(stream, 401, "invalid_token");
        scene.host.close(stream);
    }
    assert_eq!(scene.host.contexts_alive(), 1);
    scene.refuse(naming("later"), 401, "invalid_token");
}

#[test]
fn a_client_that_leaves_while_it_waits_for_a_name_takes_nothing_with_it() {
    let mut scene = settled();
    let new = SigningKey::es256("k2");
    let streams: Vec<_> = (0..3).map(|_| scene.host.request(signed_by(&new))).collect();
    assert_eq!(scene.host.close(streams[0]), Outcome::Paused);
    let call = scene.call();
    assert_eq!(scene.host.close(streams[1]), Outcome::Paused);
    let open = scene.host.request(super::scene::anonymous("/open"));
    scene.give_keys(&call, &[&KEY, &new]);
    assert_eq!(scene.assert_passed(streams[2]).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.assert_passed(open), None);
}

#[test]
fn ten_thousand_names_cause_a_call_for_each_interval_and_take_no_memory() {
    let mut scene = settled();
    let mut pages = 0;
    let mut calls = 0;
    let began = scene.host.now();
    for index in 0..10_000 {
        if index == 2000 {
            pages = scene.host.memory_pages();
        }
        // Names of all lengths up to what a token may hold.
        let name = format!("{index}-{}", "n".repeat(index * 37 % 2000));
        let stream = scene.host.request(naming(&name));
        scene.host.advance(Duration::from_millis(50));
        for call in scene.host.calls() {
            scene.give_keys(&call, &[&KEY]);
            calls += 1;
        }
        scene.assert_refused(stream, 401, "invalid_token");
        scene.host.close(stream);
    }
    let intervals = (scene.host.now() - began).as_secs() / INTERVAL.as_secs();
    assert!((40..=intervals + 3).contains(&calls), "{calls} calls in {intervals} intervals");
    assert_eq!(scene.host.memory_pages(), pages);
    assert_eq!(scene.host.contexts_alive(), 1);
    scene.pass(good("/"));
}

#[test]
fn names_that_are_sent_to_every_worker_cause_a_call_for_each_interval_of_the_fleet() {
    let mut fleet = Fleet::with_keys(4);
    fleet.advance(INTERVAL);
    let (began, mut calls) = (fleet.now(), 0);
    let mut waiting: Vec<Vec<StreamId>> = Vec::new();
    for index in 0..600 {
        waiting.push(fleet.request(&naming(&format!("n{index}"))));
        fleet.advance(Duration::from_millis(100));
        for call in fleet.calls() {
            fleet.give_keys(&call, &[&KEY]);
            calls += 1;
        }
        fleet.pass();
    }
    fleet.advance(IDLE_PICK_UP);
    let intervals = usize::try_from((fleet.now() - began).as_secs() / INTERVAL.as_secs()).unwrap();
    assert!((intervals - 1..=intervals + 1).contains(&calls), "{calls} calls in {intervals} intervals");
    for streams in waiting {
        for (worker, stream) in fleet.iter_mut().zip(streams) {
            worker.assert_refused(stream, 401, "invalid_token");
        }
    }
}

#[test]
fn a_worker_that_dies_while_it_fetches_because_of_a_name_is_replaced() {
    let mut fleet = Fleet::with_keys(3);
    fleet.advance(INTERVAL);
    let new = SigningKey::es256("k2");
    let mut streams = fleet.request(&signed_by(&new));
    let (leader, _) = fleet.call();
    fleet.kill(leader);
    streams.remove(leader);
    let call = fleet.next_call_within(super::scene::PATIENCE);
    fleet.give_keys(&call, &[&KEY, &new]);
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
}

#[test]
fn a_worker_that_goes_in_peace_while_it_fetches_because_of_a_name_is_replaced_at_once() {
    let mut fleet = Fleet::with_keys(3);
    fleet.advance(INTERVAL);
    let new = SigningKey::es256("k2");
    let streams = fleet.request(&signed_by(&new));
    let (leader, _) = fleet.call();
    fleet[leader].host.close(streams[leader]);
    let root = fleet[leader].root;
    fleet[leader].host.retire(root);
    let call = fleet.call();
    fleet.give_keys(&call, &[&KEY, &new]);
    fleet.advance(PICK_UP);
    for worker in (0..3).filter(|worker| *worker != leader) {
        fleet[worker].assert_passed(streams[worker]);
    }
}

#[test]
fn a_failed_fetch_because_of_a_name_is_a_503_at_every_worker_and_not_tried_by_each() {
    let mut fleet = Fleet::with_keys(3);
    fleet.advance(INTERVAL);
    let streams = fleet.request(&naming("k2"));
    let (leader, call) = fleet.call();
    fleet[leader].host.answer(call.id, 500, Vec::new(), "");
    fleet.advance(PICK_UP);
    assert_eq!(fleet.calls(), []);
    for (worker, stream) in fleet.iter_mut().zip(streams) {
        worker.assert_refused(stream, 503, "keys_unavailable");
    }
    fleet.pass();
}

// A host without timers.

/// Requests that fetch for themselves, with keys that were fetched more than an interval ago.
fn settled_without_timers(profile: Profile) -> Scene {
    let mut scene = Scene::start_on(host(profile), &configuration(json!({})));
    let stream = scene.host.request(good("/"));
    let call = scene.host.calls()[0].clone();
    scene.give_keys(&call, &[&KEY]);
    scene.assert_passed(stream);
    scene.host.advance(INTERVAL + MOMENT);
    scene
}

fn without_timers_the_request_that_names_a_new_key_fetches_it(profile: Profile) {
    let mut scene = settled_without_timers(profile);
    let new = SigningKey::es256("k2");
    let stream = scene.send(signed_by(&new));
    scene.assert_waits(stream);
    let call = scene.call_of(stream);
    let known = scene.send(good("/"));
    scene.assert_passed(known);
    scene.give_keys(&call, &[&KEY, &new]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    let again = scene.send(signed_by(&new));
    scene.assert_passed(again);
}

fn without_timers_one_request_for_each_interval_fetches_because_of_a_name_and_the_others_are_answered(
    profile: Profile,
) {
    let mut scene = settled_without_timers(profile);
    let first = scene.send(naming("k2"));
    let call = scene.call_of(first);
    for index in 0..20 {
        // `send` fails when one waits without a call of its own.
        let stream = scene.send(naming(&format!("n{index}")));
        assert_ne!(scene.host.outcome(stream), Outcome::Continued);
        let stream = scene.send(good("/"));
        scene.assert_passed(stream);
    }
    assert_eq!(scene.host.calls().len(), 1);
    scene.give_keys(&call, &[&KEY]);
    scene.assert_refused(first, 401, "invalid_token");
    scene.refuse(naming("k2"), 401, "invalid_token");
    scene.refuse(naming("k3"), 401, "invalid_token");
    assert_eq!(scene.host.calls(), []);
    scene.host.advance(INTERVAL + MOMENT);
    let next = scene.send(naming("k4"));
    scene.assert_waits(next);
}

fn without_timers_a_fetch_because_of_a_name_that_fails_is_a_503_and_known_names_pass(profile: Profile) {
    for fails in ["reset", "timeout", "server error"] {
        let mut scene = settled_without_timers(profile);
        let stream = scene.send(naming("k2"));
        let call = scene.call_of(stream);
        match fails {
            "reset" => scene.host.answer_reset(call.id),
            "timeout" => scene.host.advance(Duration::from_secs(2)),
            _ => scene.host.answer(call.id, 500, Vec::new(), ""),
        }
        scene.assert_refused(stream, 503, "keys_unavailable");
        let stream = scene.send(good("/"));
        scene.assert_passed(stream);
        let stream = scene.send(naming("k3"));
        assert_ne!(scene.host.outcome(stream), Outcome::Paused, "the pause after a failure counts");
    }
}

fn without_timers_a_client_that_leaves_while_it_fetches_leaves_the_next_one_able_to(profile: Profile) {
    let mut scene = settled_without_timers(profile);
    let new = SigningKey::es256("k2");
    let stream = scene.send(signed_by(&new));
    scene.assert_waits(stream);
    scene.host.close(stream);
    scene.host.advance(INTERVAL + MOMENT);
    let stream = scene.send(signed_by(&new));
    let call = scene.call_of(stream);
    scene.give_keys(&call, &[&KEY, &new]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}

/// Anybody can send a name and leave.
fn without_timers_clients_that_leave_do_not_keep_others_from_a_new_key(profile: Profile) {
    let mut scene = settled_without_timers(profile);
    let new = SigningKey::es256("k2");
    let mut is_found = false;
    for second in 0..60 {
        let leaving = scene.send(naming(&format!("n{second}")));
        scene.host.close(leaving);
        scene.host.advance(Duration::from_millis(500));
        let stream = scene.send(signed_by(&new));
        if scene.host.outcome(stream) == Outcome::Paused {
            let call = scene.call_of(stream);
            scene.give_keys(&call, &[&KEY, &new]);
        }
        is_found |= scene.host.close(stream) == Outcome::Continued;
        scene.host.advance(Duration::from_millis(500));
    }
    assert!(is_found, "within a minute");
}

fn without_timers_a_request_that_has_fetched_the_keys_is_answered_by_them(profile: Profile) {
    let mut scene = Scene::start_on(host(profile), &configuration(json!({})));
    let stream = scene.send(naming("k2"));
    let call = scene.call_of(stream);
    scene.give_keys(&call, &[&KEY]);
    scene.assert_refused(stream, 401, "invalid_token");
}

super::on_each_host_without_timers! {
    without_timers_the_request_that_names_a_new_key_fetches_it,
    without_timers_one_request_for_each_interval_fetches_because_of_a_name_and_the_others_are_answered,
    without_timers_a_fetch_because_of_a_name_that_fails_is_a_503_and_known_names_pass,
    without_timers_a_client_that_leaves_while_it_fetches_leaves_the_next_one_able_to,
    without_timers_clients_that_leave_do_not_keep_others_from_a_new_key,
    without_timers_a_request_that_has_fetched_the_keys_is_answered_by_them,
}
