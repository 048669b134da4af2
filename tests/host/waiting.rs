//! Requests that wait for keys, and what becomes of them when the keys come, do not come, or go.

use std::time::Duration;

use serde_json::json;

use super::harness::{CallId, Host, Outcome, Profile};
use super::scene::{
    BACK_OFF, KEY, MOMENT, STRANGER, Scene, SigningKey, anonymous, bearer, claims, configuration, good, host,
    jwks, with,
};

/// The longest body of a key server that is read.
const MAX_BODY: usize = 256 * 1024;

#[test]
fn all_who_wait_share_one_call_and_go_on_with_their_own_identity() {
    let mut scene = Scene::start();
    let users: Vec<_> = (0..50).map(|index| format!("user-{index}")).collect();
    let streams: Vec<_> = users
        .iter()
        .map(|user| {
            let token = KEY.sign(&claims(json!({ "sub": user, "roles": ["a", "b"] })));
            let request = with(with(bearer("/", &token), "X-User-Id", "root"), "x_user_id", "root");
            let request = with(with(request, "x-roles", "root"), "X_ROLES", "root");
            scene.host.request(with(request, "x-other", "kept"))
        })
        .collect();
    let call = scene.call();
    assert_eq!((call.cluster.as_str(), call.timeout_ms), ("idp", 2000));
    for (name, value) in
        [(":method", "GET"), (":scheme", "https"), (":authority", "idp.example"), (":path", "/jwks.json")]
    {
        assert_eq!(call.headers.get(name), Some(value.as_bytes()), "{name}");
    }
    assert_eq!(call.headers.get("authorization"), None);
    streams.iter().for_each(|stream| scene.assert_waits(*stream));

    scene.give_keys(&call, &[&KEY]);

    for (stream, user) in streams.into_iter().zip(&users) {
        assert_eq!(scene.host.outcome(stream), Outcome::Continued);
        let headers = scene.host.request_headers(stream);
        for (name, values) in [
            ("x-user-id", vec![user.as_str()]),
            ("x-roles", vec!["a,b"]),
            ("x_user_id", vec![]),
            ("x_roles", vec![]),
            ("authorization", vec![]),
            ("x-other", vec!["kept"]),
        ] {
            let values: Vec<_> = values.into_iter().map(str::as_bytes).collect();
            assert_eq!(headers.all(name).collect::<Vec<_>>(), values, "{name} of {user}");
        }
        scene.host.close(stream);
    }
    assert_eq!(scene.host.contexts_alive(), 1);
    scene.assert_no_call();
}

#[test]
fn a_request_that_waited_is_held_against_the_keys_like_any_other() {
    let mut scene = Scene::start();
    let waiting = [
        (STRANGER.sign(&claims(json!({}))), "invalid_token"),
        (KEY.sign(&claims(json!({ "exp": 1_700_000_000 }))), "expired"),
        (KEY.sign(&claims(json!({ "aud": "other" }))), "audience"),
    ]
    .map(|(token, label)| (scene.host.request(bearer("/", &token)), label));
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    for (stream, label) in waiting {
        scene.assert_refused(stream, 401, label);
    }
    scene.assert_no_call();
    scene.pass(good("/"));
}

#[test]
fn those_who_need_no_keys_do_not_wait() {
    let mut scene = Scene::start();
    let waiting = scene.host.request(good("/"));
    scene.pass(anonymous("/open"));
    scene.pass(good("/open"));
    scene.pass(anonymous("/optional"));
    scene.refuse(anonymous("/"), 401, "missing_credential");
    scene.refuse(bearer("/", "a.b.c"), 401, "invalid_token");
    scene.assert_waits(waiting);
}

/// A way in which a call can fail once it is out: its name, and what makes it happen.
type Failure = (&'static str, fn(&mut Host, CallId));

fn failures() -> Vec<Failure> {
    fn too_large() -> String {
        let mut document = jwks([&*KEY]);
        document["padding"] = json!("x".repeat(MAX_BODY));
        document.to_string()
    }

    vec![
        ("reset", |host, call| host.answer_reset(call)),
        ("503 of the host", |host, call| host.answer(call, 503, Vec::new(), "no healthy upstream")),
        ("500 with good keys", |host, call| host.answer(call, 500, Vec::new(), jwks([&*KEY]).to_string())),
        ("redirect", |host, call| {
            host.answer(call, 302, vec![(b"location".to_vec(), b"https://evil.example/".to_vec())], "");
        }),
        ("204 without a body", |host, call| host.answer(call, 204, Vec::new(), "")),
        ("200 without a body", |host, call| host.answer(call, 200, Vec::new(), "")),
        ("200 with a page", |host, call| host.answer(call, 200, Vec::new(), "<html>")),
        ("200 without keys", |host, call| host.answer(call, 200, Vec::new(), r#"{"keys":[]}"#)),
        ("body over the limit", |host, call| host.answer(call, 200, Vec::new(), too_large())),
        ("no status", |host, call| {
            let headers = vec![(b"content-type".to_vec(), b"application/json".to_vec())];
            host.answer_as_is(call, headers, jwks([&*KEY]).to_string());
        }),
        ("odd status", |host, call| {
            let headers = vec![(b":status".to_vec(), b"\xff200".to_vec())];
            host.answer_as_is(call, headers, jwks([&*KEY]).to_string());
        }),
        ("timeout", |host, _| host.advance(Duration::from_secs(2))),
    ]
}

#[test]
fn a_failed_call_is_a_503_for_all_who_wait_and_the_timer_alone_recovers() {
    for (kind, fail) in failures() {
        println!("{kind}");
        let mut scene = Scene::start();
        let waiting: Vec<_> = (0..3).map(|_| scene.host.request(good("/"))).collect();
        let call = scene.call();
        fail(&mut scene.host, call.id);
        for stream in waiting {
            scene.assert_keys_unavailable(stream, "1");
            scene.host.close(stream);
        }
        let again = scene.host.request(good("/"));
        scene.assert_keys_unavailable(again, "1");
        scene.host.close(again);
        scene.assert_no_call();
        scene.refuse(anonymous("/"), 401, "missing_credential");

        scene.host.advance(BACK_OFF);
        let call = scene.call();
        scene.give_keys(&call, &[&KEY]);
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
        assert_eq!(scene.host.contexts_alive(), 1);
    }
}

#[test]
fn a_call_that_the_host_does_not_take_is_a_503_and_the_timer_alone_recovers() {
    for refuse in [None, Some("idp")] {
        let mut host = Host::new(&super::scene::filter(), Profile::envoy()).unwrap();
        host.set_time(super::scene::START);
        if let Some(cluster) = refuse {
            host.failing_cluster(cluster);
        }
        let mut scene = Scene::start_on(host, &configuration(json!({})));
        let waiting: Vec<_> = (0..3).map(|_| scene.host.request(good("/"))).collect();
        scene.host.advance(MOMENT);
        for stream in waiting {
            scene.assert_keys_unavailable(stream, "1");
            scene.host.close(stream);
        }
        let lines = scene.logged(super::harness::Level::Warn);
        assert!(lines.iter().any(|line| line.contains("cluster \"idp\"")), "the log names it: {lines:?}");
        scene.host.cluster("idp");
        scene.host.advance(BACK_OFF);
        let call = scene.call();
        scene.give_keys(&call, &[&KEY]);
        scene.pass(good("/"));
    }
}

#[test]
fn the_pauses_between_failed_calls_grow_and_clients_are_told() {
    let mut scene = Scene::start();
    scene.host.request(good("/"));
    for longest in [1, 2, 4, 8] {
        let call = scene.call();
        scene.host.answer(call.id, 500, Vec::new(), "");
        let failed = scene.host.now();
        let stream = scene.host.request(good("/"));
        scene.assert_refused(stream, 503, "keys_unavailable");
        let reply = scene.host.reply(stream);
        let told: u64 =
            std::str::from_utf8(reply.headers.get("retry-after").unwrap()).unwrap().parse().unwrap();
        // Between half and the whole of it, so that those who fail together do not try again together.
        scene.host.advance(Duration::from_secs(longest) / 2 - MOMENT);
        assert_eq!(scene.host.calls(), []);
        scene.next_call_within(Duration::from_secs(longest) / 2 + MOMENT * 2);
        let pause = scene.host.now() - failed;
        assert!(told <= longest && pause <= Duration::from_secs(told) + MOMENT * 20, "{told} s, {pause:?}");
    }
    // In the long run one or two a minute.
    let mut calls = 0;
    for _ in 0..3600 {
        scene.host.advance(Duration::from_secs(1));
        for call in scene.host.calls() {
            scene.host.answer(call.id, 500, Vec::new(), "");
            calls += 1;
        }
    }
    assert!((50..130).contains(&calls), "{calls} calls in an hour");
}

#[test]
fn a_client_that_leaves_takes_nothing_with_it() {
    for (kind, fails) in [("keys", false), ("failure", true)] {
        let mut scene = Scene::start();
        let streams: Vec<_> = (0..5).map(|_| scene.host.request(good("/"))).collect();
        assert_eq!(scene.host.close(streams[0]), Outcome::Paused, "before the call is out");
        let call = scene.call();
        assert_eq!(scene.host.close(streams[3]), Outcome::Paused);
        assert_eq!(scene.host.contexts_alive(), 4);
        if fails {
            scene.host.answer_reset(call.id);
        } else {
            scene.give_keys(&call, &[&KEY]);
        }
        for stream in [streams[1], streams[2], streams[4]] {
            match fails {
                true => scene.assert_keys_unavailable(stream, "1"),
                false => assert_eq!(scene.host.outcome(stream), Outcome::Continued, "{kind}"),
            }
            scene.host.close(stream);
        }
        for stream in [streams[0], streams[3]] {
            assert_eq!(scene.host.outcome(stream), Outcome::Paused, "nothing happens to who has left");
        }
        assert_eq!(scene.host.contexts_alive(), 1);
    }
}

#[test]
fn an_answer_that_comes_when_all_have_left_is_taken_in() {
    let mut scene = Scene::start();
    let streams: Vec<_> = (0..3).map(|_| scene.host.request(good("/"))).collect();
    let call = scene.call();
    for stream in streams {
        scene.host.close(stream);
    }
    assert_eq!(scene.host.contexts_alive(), 1);
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
    scene.assert_no_call();
}

#[test]
fn a_client_that_leaves_while_another_is_answered_is_left_alone() {
    // Context ids of those who left are never used for another request; the next one has a new id.
    let mut scene = Scene::start();
    let left = scene.host.request(good("/left"));
    scene.host.close(left);
    let open = scene.host.request(anonymous("/open"));
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.host.outcome(open), Outcome::Continued);
    assert_eq!(scene.host.request_headers(open).get("x-user-id"), None);
}

#[test]
fn a_call_that_the_host_loses_is_given_up() {
    let mut scene = Scene::start();
    let stream = scene.host.request(good("/"));
    let lost = scene.call();
    scene.host.forget_timeout(lost.id);
    scene.host.advance(Duration::from_secs(2));
    scene.assert_waits(stream);
    scene.host.advance(Duration::from_secs(2));
    scene.assert_keys_unavailable(stream, "1");
    scene.host.close(stream);
    scene.host.advance(BACK_OFF);
    let calls = scene.host.calls();
    assert_eq!(calls.len(), 2, "it is asked again");

    // The lost answer comes after all, and counts.
    scene.give_keys(&lost, &[&KEY]);
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
    scene.host.answer_reset(calls[1].id);
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn keys_are_refreshed_ahead_of_expiry_by_the_timer_alone() {
    let mut scene = Scene::with_keys();
    for _ in 0..3 {
        scene.host.advance(Duration::from_secs(200));
        assert_eq!(scene.host.calls(), [], "not long before it is needed");
        let call = scene.next_call_within(Duration::from_secs(100));
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()), "while it is out");
        scene.give_keys(&call, &[&KEY]);
    }
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn a_key_that_is_withdrawn_stops_counting_with_the_refresh_and_a_new_one_starts() {
    let mut scene = Scene::with_keys();
    let second = SigningKey::es256("k2");
    let by_second = bearer("/", &second.sign(&claims(json!({}))));
    let call = scene.next_call_within(Duration::from_secs(300));
    scene.give_keys(&call, &[&STRANGER, &second]);
    scene.refuse(good("/"), 401, "invalid_token");
    assert_eq!(scene.pass(by_second).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn good_keys_serve_through_an_outage_of_a_day_but_no_longer() {
    let mut scene = Scene::with_keys();
    // Every refresh times out, one way or another.
    for hour in 1..=24 {
        scene.host.advance(Duration::from_secs(3600));
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()), "after {hour} h");
    }
    let forged = bearer("/", &STRANGER.sign(&claims(json!({}))));
    scene.refuse(forged, 401, "invalid_token");
    scene.host.advance(Duration::from_secs(600));
    let stream = scene.host.request(good("/"));
    if scene.host.outcome(stream) == Outcome::Paused {
        scene.host.advance(Duration::from_secs(3));
    }
    scene.assert_refused(stream, 503, "keys_unavailable");
    scene.host.close(stream);
    let call = scene.next_call_within(Duration::from_secs(70));
    scene.give_keys(&call, &[&KEY]);
    scene.pass(good("/"));
}

#[test]
fn a_bad_document_never_replaces_a_good_one() {
    for (kind, fail) in failures() {
        let mut scene = Scene::with_keys();
        let call = scene.next_call_within(Duration::from_secs(300));
        fail(&mut scene.host, call.id);
        scene.host.advance(Duration::from_secs(60));
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()), "{kind}");
    }
}

#[test]
fn a_body_at_the_limit_is_read() {
    let mut scene = Scene::start();
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    let mut body = jwks([&*KEY]).to_string();
    body.push_str(&" ".repeat(MAX_BODY - body.len()));
    scene.host.answer(call.id, 200, Vec::new(), body);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn waiting_on_a_host_whose_calls_are_the_streams_is_as_good() {
    // A host with timers that leaves each call to the context that asked: the root's calls are the root's.
    let profile = Profile { calls_belong_to_root: false, ..Profile::envoy() };
    let mut scene = Scene::start_on(host(profile), &configuration(json!({})));
    let streams: Vec<_> = (0..3).map(|_| scene.host.request(good("/"))).collect();
    let call = scene.call();
    scene.host.close(streams[0]);
    scene.give_keys(&call, &[&KEY]);
    for stream in &streams[1..] {
        assert_eq!(scene.assert_passed(*stream).as_deref(), Some(b"alice".as_slice()));
    }
}
