//! Requests that wait for what an identity provider says of their sessions.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Call, CallId, Host, Level, Outcome, Profile, StreamId};
use super::scene::{
    KEY, MOMENT, Scene, anonymous, bearer, claims, configuration, filter, good, host, with, workers,
};

/// How long a check may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A provider without keys that is asked about every credential.
fn asked(extra: Value) -> Value {
    let mut check = json!({
        "kind": "introspection",
        "http_uri": { "uri": "https://idp.example/introspect", "cluster": "idp", "timeout": "2s" },
        "client_id": "gw",
        "client_secret": "gateways-own-secret",
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        check[name] = value.clone();
    }
    configuration(json!({ "remote_jwks": null, "issuer": null, "audiences": null, "session_check": check }))
}

/// One that has keys, too.
fn verified_and_asked() -> Value {
    let mut configuration = asked(json!({}));
    let keys = configuration_of_keys();
    for name in ["remote_jwks", "issuer", "audiences"] {
        configuration["providers"]["acme"][name] = keys["providers"]["acme"][name].clone();
    }
    configuration
}

/// One whose sessions are checked off the path of requests.
fn in_the_background() -> Value {
    let mut configuration = verified_and_asked();
    configuration["providers"]["acme"]["session_check"]["mode"] = json!("background");
    configuration["providers"]["acme"]["session_check"]["max_unchecked"] = json!("60s");
    configuration
}

fn configuration_of_keys() -> Value {
    configuration(json!({}))
}

fn start() -> Scene {
    Scene::start_on(host(Profile::envoy()), &asked(json!({})))
}

impl Scene {
    fn confirm(&mut self, call: &Call, subject: &str) {
        let body = json!({ "active": true, "sub": subject, "roles": ["a", "b"] });
        self.host.answer(call.id, 200, Vec::new(), body.to_string());
    }

    fn deny(&mut self, call: &Call) {
        self.host.answer(call.id, 200, Vec::new(), r#"{"active":false}"#);
    }

    #[track_caller]
    fn assert_unavailable(&self, stream: StreamId) {
        self.assert_refused(stream, 503, "check_unavailable");
        assert_eq!(self.host.reply(stream).headers.get("retry-after"), Some(b"1".as_slice()));
    }
}

/// The token that a call asks about.
fn token(call: &Call) -> String {
    let body = String::from_utf8(call.body.clone()).unwrap();
    body.strip_prefix("token=").unwrap().split('&').next().unwrap().to_owned()
}

#[test]
fn all_with_the_same_credential_share_one_call_and_others_have_theirs() {
    let mut scene = start();
    let users = ["alice", "bob", "carol"];
    let streams: Vec<_> = (0..60)
        .map(|index| {
            let user = users[index % 3];
            let request = with(bearer("/", &format!("session-of-{user}")), "x-user-id", "root");
            (scene.host.request(with(request, "X_Roles", "root")), user)
        })
        .collect();
    let calls = scene.calls();
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!((call.cluster.as_str(), call.timeout_ms), ("idp", 2000));
        for (name, value) in [(":method", "POST"), (":authority", "idp.example"), (":path", "/introspect")] {
            assert_eq!(call.headers.get(name), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(call.headers.get("x-user-id"), None);
    }
    streams.iter().for_each(|(stream, _)| scene.assert_waits(*stream));
    // In another order than they were asked.
    for call in calls.iter().rev() {
        let user = token(call).strip_prefix("session-of-").unwrap().to_owned();
        scene.confirm(call, &user);
        for (stream, of) in &streams {
            let answered = scene.host.outcome(*stream) == Outcome::Continued;
            assert!(answered || *of != user, "all who waited for it are answered");
        }
    }
    for (stream, user) in streams {
        let headers = scene.host.request_headers(stream);
        assert_eq!(headers.all("x-user-id").collect::<Vec<_>>(), [user.as_bytes()]);
        assert_eq!(headers.all("x-roles").collect::<Vec<_>>(), [b"a,b"]);
        assert_eq!((headers.get("x_roles"), headers.get("authorization")), (None, None));
        scene.assert_passed(stream);
    }
    assert_eq!(scene.host.contexts_alive(), 1);
    assert_eq!(scene.pass(bearer("/", "session-of-alice")).as_deref(), Some(b"alice".as_slice()));
    scene.assert_no_call();
}

#[test]
fn a_denial_is_a_401_and_is_felt_once_the_good_answer_has_ended() {
    let mut scene = start();
    let stream = scene.host.request(bearer("/", "t"));
    let call = scene.call();
    scene.confirm(&call, "alice");
    scene.assert_passed(stream);
    scene.host.advance(Duration::from_millis(9900));
    scene.pass(bearer("/", "t"));
    scene.host.advance(Duration::from_millis(200));
    let stream = scene.host.request(bearer("/", "t"));
    let call = scene.call();
    scene.deny(&call);
    scene.assert_refused(stream, 401, "session_denied");
    scene.refuse(bearer("/", "t"), 401, "session_denied");
    scene.assert_no_call();
}

type Failure = (&'static str, fn(&mut Host, CallId));

fn failures() -> Vec<Failure> {
    const GOOD: &str = r#"{"active":true,"sub":"alice"}"#;
    vec![
        ("reset", |host, call| host.answer_reset(call)),
        ("503 of the host", |host, call| host.answer(call, 503, Vec::new(), "no healthy upstream")),
        ("504 of the host", |host, call| host.answer(call, 504, Vec::new(), "")),
        ("401", |host, call| host.answer(call, 401, Vec::new(), GOOD)),
        ("redirect", |host, call| {
            host.answer(call, 302, vec![(b"location".to_vec(), b"https://evil.example/".to_vec())], GOOD);
        }),
        ("200 without a body", |host, call| host.answer(call, 200, Vec::new(), "")),
        ("200 with a page", |host, call| host.answer(call, 200, Vec::new(), "<html>")),
        ("body over the limit", |host, call| {
            let padding = "x".repeat(256 * 1024);
            host.answer(call, 200, Vec::new(), json!({ "active": true, "padding": padding }).to_string());
        }),
        ("no status", |host, call| {
            host.answer_as_is(call, vec![(b"server".to_vec(), b"x".to_vec())], GOOD);
        }),
        ("timeout", |host, _| host.advance(TIMEOUT)),
        ("lost", |host, call| {
            host.forget_timeout(call);
            host.advance(Duration::from_millis(3100));
        }),
    ]
}

#[test]
fn a_failure_is_a_503_for_those_who_waited_and_the_next_one_asks_again() {
    for (kind, fail) in failures() {
        println!("{kind}");
        let mut scene = start();
        let waiting: Vec<_> = (0..3).map(|_| scene.host.request(bearer("/", "t"))).collect();
        let call = scene.call();
        scene.host.advance(MOMENT);
        fail(&mut scene.host, call.id);
        for stream in waiting {
            scene.assert_unavailable(stream);
            scene.host.close(stream);
        }
        scene.refuse(anonymous("/"), 401, "missing_credential");
        scene.host.advance(MOMENT);
        let stream = scene.host.request(bearer("/", "t"));
        scene.host.advance(MOMENT);
        let call = scene.host.calls().pop().unwrap();
        scene.confirm(&call, "alice");
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
        assert_eq!(scene.host.contexts_alive(), 1);
    }
}

#[test]
fn a_call_that_the_host_does_not_take_is_a_503_and_the_next_request_tries_again() {
    for refuse in [None, Some("idp")] {
        let mut host = Host::new(&filter(), Profile::envoy()).unwrap();
        host.set_time(super::scene::START);
        if let Some(cluster) = refuse {
            host.failing_cluster(cluster);
        }
        let mut scene = Scene::start_on(host, &asked(json!({})));
        let waiting: Vec<_> = (0..3).map(|_| scene.host.request(bearer("/", "t"))).collect();
        scene.host.advance(MOMENT);
        for stream in waiting {
            scene.assert_unavailable(stream);
            scene.host.close(stream);
        }
        scene.host.cluster("idp");
        let stream = scene.host.request(bearer("/", "t"));
        let call = scene.call();
        scene.confirm(&call, "alice");
        scene.assert_passed(stream);
    }
}

#[test]
fn a_client_that_leaves_takes_nothing_with_it() {
    for is_good in [true, false] {
        let mut scene = start();
        let streams: Vec<_> = (0..5).map(|_| scene.host.request(bearer("/", "t"))).collect();
        scene.host.close(streams[0]);
        let call = scene.call();
        scene.host.close(streams[3]);
        if is_good {
            scene.confirm(&call, "alice")
        } else {
            scene.deny(&call)
        }
        for stream in [streams[1], streams[2], streams[4]] {
            match is_good {
                true => assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice())),
                false => {
                    scene.assert_refused(stream, 401, "session_denied");
                    scene.host.close(stream);
                }
            }
        }
        for stream in [streams[0], streams[3]] {
            assert_eq!(scene.host.outcome(stream), Outcome::Paused, "nothing happens to who has left");
        }
        assert_eq!(scene.host.contexts_alive(), 1);
    }
}

#[test]
fn an_answer_that_comes_when_all_have_left_is_taken_in() {
    let mut scene = start();
    let stream = scene.host.request(bearer("/", "t"));
    let call = scene.call();
    scene.host.close(stream);
    scene.confirm(&call, "alice");
    assert_eq!(scene.pass(bearer("/", "t")).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn an_answer_to_another_configuration_counts_for_nobody() {
    let mut scene = start();
    let stream = scene.host.request(bearer("/", "t"));
    let call = scene.call();
    assert!(
        scene.host.configure_again(scene.root, &asked(json!({ "client_id": "other" })).to_string()).is_ok()
    );
    scene.host.advance(MOMENT);
    let calls = scene.host.calls();
    scene.confirm(&call, "alice");
    scene.assert_waits(stream);
    let call = calls.into_iter().find(|known| known.id != call.id).expect("it is asked anew");
    scene.deny(&call);
    scene.assert_refused(stream, 401, "session_denied");
}

#[test]
fn a_token_is_verified_first_and_then_asked_about() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &verified_and_asked());
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    assert_eq!(call.headers.get(":path"), Some(b"/jwks.json".as_slice()));
    scene.give_keys(&call, &[&KEY]);
    scene.assert_waits(stream);
    let call = scene.call();
    assert_eq!(call.headers.get(":path"), Some(b"/introspect".as_slice()));
    scene.confirm(&call, "alice");
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    let expired = KEY.sign(&claims(json!({ "exp": 1_700_000_000 })));
    scene.refuse(bearer("/", &expired), 401, "expired");
    scene.assert_no_call();
}

#[test]
fn so_many_may_wait_and_the_others_are_told_to_come_back() {
    let mut scene = start();
    let waiting: Vec<_> =
        (0..768).map(|index| scene.host.request(bearer("/", &format!("made-up-{index}")))).collect();
    scene.refuse(bearer("/", "one-more"), 503, "overloaded");
    scene.pass(anonymous("/open"));
    scene.host.advance(MOMENT);
    for call in scene.host.calls() {
        scene.deny(&call);
    }
    for stream in waiting {
        scene.assert_refused(stream, 401, "session_denied");
        scene.host.close(stream);
    }
    let stream = scene.host.request(bearer("/", "later"));
    let call = scene.call();
    scene.confirm(&call, "alice");
    scene.assert_passed(stream);
}

#[test]
fn every_worker_asks_for_itself() {
    let mut fleet = workers(2, &asked(json!({})));
    let streams = fleet.request(&bearer("/", "t"));
    fleet.advance(MOMENT);
    let calls = fleet.calls();
    assert_eq!(calls.len(), 2);
    for (worker, call) in &calls {
        fleet[*worker].confirm(call, "alice");
    }
    fleet.assert_passed(&streams);
}

fn without_timers_a_request_asks_for_itself(profile: Profile) {
    let mut scene = Scene::start_on(host(profile), &asked(json!({})));
    let first = scene.send(bearer("/", "t"));
    let second = scene.send(bearer("/", "t"));
    assert_eq!(scene.host.calls().len(), 2);
    let call = scene.call_of(second);
    scene.confirm(&call, "alice");
    assert_eq!(scene.assert_passed(second).as_deref(), Some(b"alice".as_slice()));
    scene.assert_waits(first);
    let call = scene.call_of(first);
    scene.host.answer_reset(call.id);
    // Its own call failed, but by now the answer is known.
    assert_eq!(scene.assert_passed(first).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.pass(bearer("/", "t")).as_deref(), Some(b"alice".as_slice()));

    let leaving = scene.send(bearer("/", "u"));
    scene.host.close(leaving);
    scene.end_calls_of_the_gone();
    scene.host.advance(MOMENT);
    let stream = scene.send(bearer("/", "u"));
    let call = scene.call_of(stream);
    scene.deny(&call);
    scene.assert_refused(stream, 401, "session_denied");
    scene.host.close(stream);
    let stream = scene.send(bearer("/", "v"));
    let call = scene.call_of(stream);
    scene.host.answer_reset(call.id);
    scene.assert_unavailable(stream);
    scene.host.close(stream);
    assert_eq!(scene.host.contexts_alive(), 1);
}

fn without_timers_a_request_fetches_keys_and_asks_one_after_the_other(profile: Profile) {
    let mut scene = Scene::start_on(host(profile), &verified_and_asked());
    let stream = scene.send(good("/"));
    let call = scene.call_of(stream);
    scene.give_keys(&call, &[&KEY]);
    scene.assert_waits(stream);
    let call = scene.call_of(stream);
    assert_eq!(call.headers.get(":path"), Some(b"/introspect".as_slice()));
    scene.confirm(&call, "alice");
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}

fn without_timers_a_call_that_the_host_does_not_take_is_a_503_at_once(profile: Profile) {
    let mut host = Host::new(&filter(), profile).unwrap();
    host.set_time(super::scene::START);
    host.failing_cluster(super::scene::upstream(profile));
    let mut scene = Scene::start_on(host, &asked(json!({})));
    let stream = scene.send(bearer("/", "t"));
    scene.assert_unavailable(stream);
}

#[test]
fn a_thousand_requests_with_their_own_credentials_leave_nothing_behind() {
    let mut scene = start();
    let mut pages = 0;
    for round in 0..20 {
        for index in 0..500 {
            let stream = scene.host.request(bearer("/", &format!("t-{round}-{index}")));
            scene.host.advance(MOMENT);
            let call = scene.host.calls().pop().unwrap();
            if index % 3 == 0 {
                scene.deny(&call)
            } else {
                scene.confirm(&call, "alice")
            }
            scene.host.close(stream);
        }
        if round == 5 {
            pages = scene.host.memory_pages();
        }
    }
    assert_eq!(scene.host.memory_pages(), pages);
    assert_eq!(scene.host.contexts_alive(), 1);
}

#[test]
fn nothing_that_is_sent_or_said_is_logged() {
    for (_, fail) in failures() {
        let mut scene = start();
        let stream = scene.host.request(bearer("/", "credential-of-alice"));
        let call = scene.call();
        fail(&mut scene.host, call.id);
        scene.host.close(stream);
        scene.host.advance(MOMENT);
        let stream = scene.host.request(bearer("/", "credential-of-alice"));
        scene.host.advance(MOMENT);
        let call = scene.host.calls().pop().unwrap();
        scene.confirm(&call, "claimed-subject");
        scene.host.close(stream);
        let lines = scene.logged(Level::Trace).join("\n");
        assert!(lines.contains("check_unavailable"), "{lines}");
        for secret in ["credential-of-alice", "claimed-subject", "gateways-own-secret", "Basic"] {
            assert!(!lines.contains(secret), "{lines}");
        }
    }
}

#[test]
fn in_the_background_nobody_waits_and_an_ended_session_is_refused_within_an_interval() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &in_the_background());
    scene.fetch_keys();
    let call = scene.call();
    assert_eq!(call.headers.get(":path"), Some(b"/introspect".as_slice()));
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()), "while it is asked about");
    scene.confirm(&call, "alice");
    let mut asked = 0;
    for _ in 0..600 {
        scene.host.advance(Duration::from_millis(100));
        scene.pass(good("/"));
        for call in scene.host.calls() {
            asked += 1;
            scene.confirm(&call, "alice");
        }
    }
    assert!((3..=4).contains(&asked), "{asked} checks in a minute");
    let ended = scene.host.now();
    loop {
        scene.host.advance(Duration::from_millis(100));
        for call in scene.host.calls() {
            scene.deny(&call);
        }
        let stream = scene.host.request(good("/"));
        if scene.host.close(stream) != Outcome::Continued {
            break;
        }
    }
    assert!(scene.host.now() - ended <= Duration::from_secs(16));
    scene.refuse(good("/"), 401, "session_denied");
    scene.host.advance(Duration::from_secs(60));
    scene.refuse(good("/"), 401, "session_denied");
}

#[test]
fn in_the_background_the_last_use_is_checked_by_the_timer_alone() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &in_the_background());
    scene.fetch_keys();
    let call = scene.call();
    scene.confirm(&call, "alice");
    scene.host.advance(Duration::from_secs(1));
    scene.pass(good("/"));
    let call = scene.next_call_within(Duration::from_secs(15));
    scene.deny(&call);
    scene.refuse(good("/"), 401, "session_denied");
    scene.host.advance(Duration::from_secs(100));
    scene.assert_no_call();
}

#[test]
fn in_the_background_a_provider_that_is_down_is_felt_after_a_while_only() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &in_the_background());
    scene.fetch_keys();
    for _ in 0..59 {
        scene.host.advance(Duration::from_secs(1));
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
        for call in scene.host.calls() {
            scene.host.answer_reset(call.id);
        }
    }
    scene.host.advance(Duration::from_secs(2));
    for call in scene.host.calls() {
        scene.host.answer_reset(call.id);
    }
    scene.host.advance(MOMENT);
    let stream = scene.host.request(good("/"));
    scene.assert_waits(stream);
    let call = scene.call();
    scene.host.answer_reset(call.id);
    scene.assert_unavailable(stream);
    scene.host.close(stream);
    scene.host.advance(MOMENT);
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    scene.confirm(&call, "alice");
    scene.assert_passed(stream);
    scene.pass(good("/"));
}

fn in_the_background_without_timers_the_request_that_finds_its_session_due_asks(profile: Profile) {
    let mut scene = Scene::start_on(host(profile), &in_the_background());
    let stream = scene.send(good("/"));
    let call = scene.call_of(stream);
    scene.give_keys(&call, &[&KEY]);
    scene.assert_passed(stream);
    let stream = scene.send(good("/"));
    let call = scene.call_of(stream);
    let other = scene.send(good("/"));
    assert_eq!(
        scene.assert_passed(other).as_deref(),
        Some(b"alice".as_slice()),
        "one asks, the others go on"
    );
    scene.host.answer_reset(call.id);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()), "a failure says nothing");
    scene.host.advance(Duration::from_secs(16));
    let stream = scene.send(good("/"));
    let call = scene.call_of(stream);
    scene.deny(&call);
    scene.assert_refused(stream, 401, "session_denied");
}

super::on_each_host_without_timers! {
    without_timers_a_request_asks_for_itself,
    without_timers_a_request_fetches_keys_and_asks_one_after_the_other,
    without_timers_a_call_that_the_host_does_not_take_is_a_503_at_once,
    in_the_background_without_timers_the_request_that_finds_its_session_due_asks,
}
