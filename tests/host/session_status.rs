//! Sessions that are asked about by the name that their tokens have for them, in the built filter.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Call, Level, Profile};
use super::scene::{Headers, KEY, Scene, bearer, claims, configuration, host};

fn asked_by_name(extra: Value) -> Value {
    let mut check = json!({
        "kind": "session_status",
        "http_uri": { "uri": "https://idp.example/v1/sessions/{sid}/verify/", "cluster": "idp", "timeout": "2s" },
        "method": "POST",
        "headers": { "x-secret-key": "gateways-own-secret" },
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        check[name] = value.clone();
    }
    configuration(json!({ "session_check": check }))
}

/// The `number`-th token of this session.
fn token_of(session: &str, number: u32) -> Headers {
    bearer("/", &KEY.sign(&claims(json!({ "sid": session, "jti": format!("{number}") }))))
}

/// A running filter that has its keys. The request that it had them for was refused, as it names no session.
fn start(profile: Profile, extra: Value) -> Scene {
    let mut scene = Scene::start_on(host(profile), &asked_by_name(extra));
    let stream = scene.host.request(bearer("/", &KEY.sign(&claims(json!({})))));
    let call = scene.calls().pop().unwrap();
    scene.give_keys(&call, &[&KEY]);
    scene.assert_refused(stream, 401, "claim");
    scene.host.close(stream);
    scene.assert_no_call();
    scene
}

fn path(call: &Call) -> String {
    String::from_utf8(call.headers.get(":path").unwrap().to_vec()).unwrap()
}

impl Scene {
    fn say(&mut self, call: &Call, status: u16) {
        self.host.answer(call.id, status, Vec::new(), r#"{"sub":"root"}"#);
    }
}

#[test]
fn all_tokens_of_a_session_share_one_call() {
    let mut scene = start(Profile::envoy(), json!({}));
    let streams: Vec<_> = (0..5).map(|number| scene.host.request(token_of("sess_1", number))).collect();
    let call = scene.call();
    assert_eq!(path(&call), "/v1/sessions/sess_1/verify/");
    for (name, value) in
        [(":method", "POST"), ("content-length", "0"), ("x-secret-key", "gateways-own-secret")]
    {
        assert_eq!(call.headers.get(name), Some(value.as_bytes()), "{name}");
    }
    assert_eq!((call.headers.get("authorization"), call.body.as_slice()), (None, &b""[..]));
    scene.say(&call, 200);
    for stream in streams {
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
    assert_eq!(scene.pass(token_of("sess_1", 9)).as_deref(), Some(b"alice".as_slice()));
    scene.assert_no_call();
    let stream = scene.host.request(token_of("sess_2", 1));
    let call = scene.call();
    assert_eq!(path(&call), "/v1/sessions/sess_2/verify/");
    scene.say(&call, 401);
    scene.assert_refused(stream, 503, "check_unavailable");
    let lines = scene.logged(Level::Trace).join("\n");
    for secret in ["gateways-own-secret", "sess_1", "sess_2"] {
        assert!(!lines.contains(secret), "{lines}");
    }
}

#[test]
fn in_the_background_a_refreshed_token_of_an_ended_session_is_refused_at_once() {
    let mut scene = start(Profile::envoy(), json!({ "mode": "background", "interval": "15s" }));
    assert_eq!(scene.pass(token_of("sess_1", 1)).as_deref(), Some(b"alice".as_slice()));
    let call = scene.call();
    scene.say(&call, 200);
    scene.host.advance(Duration::from_secs(1));
    scene.pass(token_of("sess_1", 2));
    let call = scene.next_call_within(Duration::from_secs(15));
    scene.say(&call, 404);
    for number in 0..5 {
        scene.refuse(token_of("sess_1", number), 401, "session_denied");
    }
    scene.pass(token_of("sess_2", 1));
}

fn without_timers_one_token_of_a_session_asks_for_all_of_them(profile: Profile) {
    let mut scene = start(profile, json!({ "mode": "background", "interval": "15s" }));
    let stream = scene.send(token_of("sess_1", 1));
    let call = scene.call_of(stream);
    let other = scene.send(token_of("sess_1", 2));
    scene.assert_passed(other);
    scene.say(&call, 200);
    scene.assert_passed(stream);
    scene.host.advance(Duration::from_secs(16));
    let stream = scene.send(token_of("sess_1", 3));
    let call = scene.call_of(stream);
    scene.say(&call, 404);
    scene.assert_refused(stream, 401, "session_denied");
    scene.host.close(stream);
    scene.refuse(token_of("sess_1", 4), 401, "session_denied");
}

super::on_each_host_without_timers! {
    without_timers_one_token_of_a_session_asks_for_all_of_them,
}
