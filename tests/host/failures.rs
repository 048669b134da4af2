//! What a key server, a host or a reload does at the wrong moment, and what a key server says about how long its keys
//! count.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Call, Host, Level, Outcome, Profile};
use super::scene::{
    BACK_OFF, Headers, IDLE_PICK_UP, KEY, MOMENT, PATIENCE, START, STRANGER, Scene, SigningKey, anonymous,
    configuration, filter, good, host, provider, signed_by, workers,
};

/// A provider with `extra` fields of `remote_jwks`.
fn remote(extra: Value) -> Value {
    let mut configuration = configuration(json!({}));
    for (name, value) in extra.as_object().into_iter().flatten() {
        configuration["providers"]["acme"]["remote_jwks"][name] = value.clone();
    }
    configuration
}

fn start(extra: Value) -> Scene {
    Scene::start_on(host(Profile::envoy()), &remote(extra))
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

impl Scene {
    /// Keys, with these fields in the header of the answer.
    fn give_keys_with(&mut self, call: &Call, fields: &[(&str, &str)], keys: &[&SigningKey]) {
        let body = super::scene::jwks(keys.iter().copied()).to_string();
        self.host.answer(call.id, 200, headers(fields), body);
    }

    /// How long after now the filter calls by itself.
    #[track_caller]
    fn next_call_after(&mut self) -> (Duration, Call) {
        let since = self.host.now();
        let call = self.next_call_within(Duration::from_secs(400));
        (self.host.now() - since, call)
    }
}

// Calls that the host does not take.

/// A world that lacks the cluster, or one whose cluster refuses each call at once.
fn worlds_without_service(profile: Profile) -> [Host; 2] {
    let mut failing = Host::new(&filter(), profile).unwrap();
    failing.failing_cluster("idp");
    let mut hosts = [Host::new(&filter(), profile).unwrap(), failing];
    hosts.iter_mut().for_each(|host| host.set_time(START));
    hosts
}

#[test]
fn a_start_without_service_is_no_failure_of_the_start() {
    for host in worlds_without_service(Profile::envoy()) {
        let mut scene = Scene::start_on(host, &configuration(json!({})));
        scene.host.advance(MOMENT);
        scene.pass(anonymous("/open"));
        let stream = scene.host.request(good("/"));
        scene.host.advance(MOMENT);
        scene.assert_keys_unavailable(stream, "1");
        scene.host.cluster("idp");
        scene.host.advance(BACK_OFF);
        scene.fetch_keys();
    }
}

#[test]
fn calls_that_are_not_taken_are_not_tried_without_pause() {
    for host in worlds_without_service(Profile::envoy()) {
        let mut scene = Scene::start_on(host, &configuration(json!({})));
        for _ in 0..300 {
            let stream = scene.host.request(good("/"));
            scene.host.advance(Duration::from_millis(50));
            scene.assert_refused(stream, 503, "keys_unavailable");
            scene.host.close(stream);
        }
        let lines = scene.logged(Level::Warn).iter().filter(|line| line.contains("cluster")).count();
        assert!((4..=6).contains(&lines), "{lines} attempts in 15 s");
    }
}

// Answers that come when they are not expected any more.

#[test]
fn an_answer_that_comes_after_the_same_plugin_was_configured_again_is_not_taken_for_another() {
    let mut scene = Scene::start();
    let early = scene.host.request(good("/"));
    let stale = scene.call();
    let mut other = configuration(json!({}));
    other["providers"] = json!({ "acme": provider("idp", json!({
        "remote_jwks": { "http_uri": { "uri": "https://idp.example/other.json", "cluster": "idp", "timeout": "2s" } },
    })) });
    scene.host.configure_again(scene.root, &other.to_string()).unwrap();
    scene.host.advance(MOMENT);
    scene.give_keys(&stale, &[&STRANGER]);
    let late = scene.host.request(signed_by(&STRANGER));
    scene.assert_waits(late);
    let call = scene.call();
    assert_eq!(call.headers.get(":path"), Some(b"/other.json".as_slice()));
    scene.give_keys(&call, &[&KEY]);
    scene.assert_refused(late, 401, "invalid_token");
    assert_eq!(
        scene.assert_passed(early).as_deref(),
        Some(b"alice".as_slice()),
        "by the keys that count now"
    );
}

#[test]
fn a_plugin_that_is_configured_again_with_the_same_source_keeps_its_keys() {
    let mut scene = Scene::with_keys();
    for _ in 0..5 {
        scene.host.configure_again(scene.root, &configuration(json!({})).to_string()).unwrap();
        let stream = scene.host.request(good("/"));
        scene.host.advance(MOMENT * 3);
        scene.assert_passed(stream);
        scene.assert_no_call();
    }
}

#[test]
fn a_plugin_that_is_configured_again_while_its_call_is_out_has_its_keys_in_the_end() {
    let mut scene = Scene::start();
    let stream = scene.host.request(good("/"));
    let first = scene.call();
    scene.host.configure_again(scene.root, &configuration(json!({})).to_string()).unwrap();
    scene.host.advance(MOMENT);
    scene.give_keys(&first, &[&KEY]);
    for _ in 0..75 {
        scene.host.advance(PATIENCE / 75);
        scene.host.calls().iter().for_each(|call| scene.give_keys(call, &[&KEY]));
    }
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn a_refused_configuration_leaves_the_keys_and_the_fetch_alone() {
    let mut scene = Scene::start();
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    scene.host.configure_again(scene.root, "{").unwrap_err();
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    scene.assert_no_call();
}

#[test]
fn an_answer_after_its_timeout_of_another_configuration_harms_nobody() {
    let mut scene = Scene::start();
    let lost = scene.call();
    scene.host.forget_timeout(lost.id);
    scene.host.advance(Duration::from_secs(10));
    let open = scene.host.request(anonymous("/open"));
    scene.host.close(open);
    let waiting = scene.host.request(good("/"));
    scene.give_keys(&lost, &[&KEY]);
    for call in scene.host.calls() {
        scene.host.answer_reset(call.id);
    }
    scene.host.advance(MOMENT);
    if scene.host.outcome(waiting) == Outcome::Continued {
        scene.assert_passed(waiting);
    } else {
        scene.assert_refused(waiting, 503, "keys_unavailable");
    }
}

#[test]
fn nobody_waits_longer_than_three_timeouts_and_a_second_even_with_retries() {
    let retries =
        json!({ "retry_policy": { "num_retries": 9, "retry_back_off": { "base_interval": "0.1s" } } });
    for loses in [true, false] {
        let mut scene = start(retries.clone());
        let stream = scene.host.request(good("/"));
        let until = scene.host.now() + PATIENCE;
        while scene.host.now() < until {
            scene.host.advance(MOMENT);
            for call in scene.host.calls().into_iter().filter(|_| loses) {
                scene.host.forget_timeout(call.id);
            }
        }
        scene.assert_refused(stream, 503, "keys_unavailable");
    }
}

// How long keys count.

#[test]
fn what_the_answer_says_shortens_the_lifetime_within_the_limits_of_the_configuration() {
    // The refresh comes ahead of expiry, by half of a short lifetime and up to half as much again.
    for (fields, lifetime) in [
        (vec![], 300),
        (vec![("cache-control", "max-age=120")], 120),
        (vec![("cache-control", "public, max-age=120, must-revalidate")], 120),
        (vec![("cache-control", "public"), ("cache-control", "MAX-AGE=120")], 120),
        (vec![("cache-control", "max-age=250"), ("age", "100")], 150),
        (vec![("cache-control", "max-age=100000")], 300),
        (vec![("cache-control", "max-age=1")], 60),
        (vec![("cache-control", "max-age=0")], 60),
        (vec![("cache-control", "max-age=100"), ("age", "1000000")], 60),
        (vec![("cache-control", "max-age=-5")], 60),
        (vec![("cache-control", "max-age=abc")], 60),
        (vec![("cache-control", "no-store")], 60),
        (vec![("cache-control", "x-max-age=120")], 300),
        (vec![("cache-control", "")], 300),
        (vec![("cache-control", "max-age=99999999999999999999999")], 300),
    ] {
        println!("{fields:?}");
        let mut scene = Scene::start();
        let call = scene.call();
        scene.give_keys_with(&call, &fields, &[&KEY]);
        let (pause, _) = scene.next_call_after();
        assert!(
            (lifetime / 4..lifetime).contains(&pause.as_secs()),
            "{pause:?} of {lifetime} s with {fields:?}"
        );
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
    }
}

#[test]
fn the_shortest_lifetime_is_that_of_the_configuration() {
    for (extra, lifetime) in [
        (json!({ "min_cache_duration": "200s" }), 200),
        (json!({ "min_cache_duration": "10s" }), 10),
        (json!({ "cache_duration": "30s" }), 30),
    ] {
        let mut scene = start(extra);
        let call = scene.call();
        scene.give_keys_with(&call, &[("cache-control", "max-age=1")], &[&KEY]);
        let (pause, _) = scene.next_call_after();
        assert!((lifetime / 4..lifetime).contains(&pause.as_secs()), "{pause:?} of {lifetime} s");
    }
}

#[test]
fn keys_are_asked_for_by_their_tag_and_renewed_without_a_body() {
    let mut scene = Scene::start();
    let call = scene.call();
    assert_eq!(call.headers.get("if-none-match"), None, "there is nothing to compare with");
    scene.give_keys_with(&call, &[("etag", "W/\"v1\"")], &[&KEY]);
    for _ in 0..5 {
        let (pause, call) = scene.next_call_after();
        assert!((150..300).contains(&pause.as_secs()), "{pause:?}");
        assert_eq!(call.headers.get("if-none-match"), Some(b"W/\"v1\"".as_slice()));
        scene.host.answer(call.id, 304, Vec::new(), "");
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
        scene.refuse(signed_by(&STRANGER), 401, "invalid_token");
    }
    // Another document, another tag; then none.
    let call = scene.next_call_within(Duration::from_secs(300));
    scene.give_keys_with(&call, &[("etag", "\"v2\"")], &[&STRANGER]);
    scene.refuse(good("/"), 401, "invalid_token");
    let call = scene.next_call_within(Duration::from_secs(300));
    assert_eq!(call.headers.get("if-none-match"), Some(b"\"v2\"".as_slice()));
    scene.give_keys(&call, &[&KEY]);
    scene.pass(good("/"));
    let call = scene.next_call_within(Duration::from_secs(300));
    assert_eq!(call.headers.get("if-none-match"), None);
}

#[test]
fn a_304_shortens_the_lifetime_like_any_answer() {
    let mut scene = Scene::start();
    let call = scene.call();
    scene.give_keys_with(&call, &[("etag", "\"v1\"")], &[&KEY]);
    let (_, call) = scene.next_call_after();
    scene.host.answer(call.id, 304, headers(&[("cache-control", "max-age=100")]), "");
    let (pause, call) = scene.next_call_after();
    assert!((50..100).contains(&pause.as_secs()), "{pause:?}");
    assert_eq!(
        call.headers.get("if-none-match"),
        Some(b"\"v1\"".as_slice()),
        "the tag is still that of the keys"
    );
}

#[test]
fn a_304_that_was_not_asked_for_is_a_failure() {
    let mut scene = Scene::start();
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    scene.host.answer(call.id, 304, headers(&[("etag", "\"v1\"")]), "");
    scene.assert_keys_unavailable(stream, "1");
    scene.host.advance(BACK_OFF);
    let call = scene.call();
    assert_eq!(call.headers.get("if-none-match"), None, "no keys, no tag");
    scene.give_keys(&call, &[&KEY]);
    scene.pass(good("/"));
}

#[test]
fn a_bad_document_leaves_keys_and_tag_as_they_were() {
    let mut scene = Scene::start();
    let call = scene.call();
    scene.give_keys_with(&call, &[("etag", "\"v1\"")], &[&KEY]);
    let call = scene.next_call_within(Duration::from_secs(300));
    scene.host.answer(call.id, 200, headers(&[("etag", "\"bad\"")]), "<html>");
    let call = scene.next_call_within(Duration::from_secs(10));
    assert_eq!(call.headers.get("if-none-match"), Some(b"\"v1\"".as_slice()));
    scene.host.answer(call.id, 304, Vec::new(), "");
    scene.host.advance(IDLE_PICK_UP);
    scene.pass(good("/"));
}

#[test]
fn tags_of_odd_bytes_neither_trap_nor_break_out_of_their_header() {
    let long = vec![b'x'; 100_000];
    for tag in
        [b"\"\xff\"".as_slice(), b"", b"\"a\r\nx-injected: 1\"", b"\"a\0\"", b"\"", b"a, b, *", b"*", &long]
    {
        let mut scene = Scene::start();
        let call = scene.call();
        let body = super::scene::jwks([&*KEY]).to_string();
        scene.host.answer(call.id, 200, vec![(b"etag".to_vec(), tag.to_vec())], body);
        scene.pass(good("/"));
        // The harness fails on a line break in a header.
        let call = scene.next_call_within(Duration::from_secs(300));
        let sent = call.headers.get("if-none-match");
        assert!(sent.is_none_or(|sent| sent == tag && sent.len() < 10_000), "{sent:?}");
        scene.give_keys(&call, &[&KEY]);
        scene.pass(good("/"));
    }
}

#[test]
fn the_others_hear_of_a_304_and_of_the_tag() {
    let mut fleet = workers(3, &configuration(json!({})));
    let (leader, call) = fleet.call();
    fleet[leader].give_keys_with(&call, &[("etag", "\"v1\"")], &[&KEY]);
    for round in 0..3 {
        let since = fleet.now();
        let (leader, call) = fleet.next_call_within(Duration::from_secs(300));
        assert!(fleet.now() - since > Duration::from_secs(150), "round {round}");
        assert_eq!(call.headers.get("if-none-match"), Some(b"\"v1\"".as_slice()), "round {round}");
        fleet[leader].host.answer(call.id, 304, Vec::new(), "");
        fleet.advance(IDLE_PICK_UP);
        fleet.pass();
    }
    // A worker whose turn it never was knows the tag as well.
    let (leader, call) = fleet.next_call_within(Duration::from_secs(300));
    fleet[leader].host.answer_reset(call.id);
    fleet.kill(leader);
    let (_, call) = fleet.next_call_within(Duration::from_secs(10));
    assert_eq!(call.headers.get("if-none-match"), Some(b"\"v1\"".as_slice()));
}

#[test]
fn keys_outlive_their_lifetime_through_an_outage_for_as_long_as_the_configuration_says() {
    for (max_stale, serves_at, ends_by) in [("600s", 800, 1000), ("0s", 250, 310)] {
        let mut scene = start(json!({ "max_stale": max_stale }));
        scene.fetch_keys();
        // Every refresh times out.
        scene.host.advance(Duration::from_secs(serves_at));
        assert_eq!(
            scene.pass(good("/")).as_deref(),
            Some(b"alice".as_slice()),
            "{max_stale} after {serves_at} s"
        );
        scene.host.advance(Duration::from_secs(ends_by - serves_at));
        let stream = scene.host.request(good("/"));
        scene.host.advance(PATIENCE);
        scene.assert_refused(stream, 503, "keys_unavailable");
        scene.host.close(stream);
        let call = scene.next_call_within(Duration::from_secs(70));
        scene.give_keys(&call, &[&KEY]);
        scene.pass(good("/"));
    }
}

#[test]
fn odd_limits_are_refused_when_the_configuration_is_loaded() {
    for (field, value) in [
        ("min_cache_duration", json!("x")),
        ("min_cache_duration", json!("-1s")),
        ("min_cache_duration", json!("301s")),
        ("max_stale", json!(true)),
        ("max_stale", json!("-1s")),
        ("kid_refetch_interval", json!([])),
        ("kid_refetch_interval", json!("-1s")),
    ] {
        let wrong = remote(json!({ field: value.clone() }));
        let refused = host(Profile::envoy()).start(&wrong.to_string()).unwrap_err();
        assert!(refused.to_string().contains(field), "{field}: {value}: {refused}");
    }
}
