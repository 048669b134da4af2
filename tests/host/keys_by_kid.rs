//! Keys that are fetched one by one: each worker asks for the one that a token names, and requests wait for it.

use serde_json::{Value, json};

use super::harness::Profile;
use super::scene::{
    BACK_OFF, Headers, Scene, SigningKey, anonymous, claims, configuration, get, host, workers,
};

const KID: &str = "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3";

fn one_by_one() -> Value {
    configuration(json!({
        "remote_jwks": null,
        "remote_keys_by_kid": {
            "http_uri": { "uri": "https://idp.example/keys/{kid}", "cluster": "idp", "timeout": "2s" },
            "cache_duration": "300s",
        },
        "algorithms": ["ES256"],
        "padded_segments": true,
        "from_headers": [{ "name": "x-assertion" }],
    }))
}

fn assertion(key: &SigningKey) -> Headers {
    get("/", &[("x-assertion", key.sign_padded(&json!({}), &claims(json!({}))))])
}

#[test]
fn requests_wait_for_the_key_that_their_tokens_name_and_pass() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &one_by_one());
    scene.assert_no_call();
    let key = SigningKey::es256(KID);
    let waiting: Vec<_> = (0..20).map(|_| scene.host.request(assertion(&key))).collect();
    let call = scene.call();
    assert_eq!(call.headers.get(":path"), Some(format!("/keys/{KID}").as_bytes()));
    waiting.iter().for_each(|stream| scene.assert_waits(*stream));
    scene.host.answer(call.id, 200, Vec::new(), key.pem());
    for stream in waiting {
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
    scene.assert_no_call();
    scene.refuse(assertion(&SigningKey::es256(KID)), 401, "invalid_token");
    scene.refuse(assertion(&SigningKey::es256("../../secrets")), 401, "invalid_token");
    scene.refuse(anonymous("/"), 401, "missing_credential");
    scene.assert_no_call();
}

#[test]
fn a_key_that_is_not_there_is_told_from_a_server_that_fails() {
    let mut scene = Scene::start_on(host(Profile::envoy()), &one_by_one());
    let stream = scene.host.request(assertion(&SigningKey::es256(KID)));
    let call = scene.call();
    scene.host.answer(call.id, 404, Vec::new(), "");
    scene.assert_refused(stream, 401, "invalid_token");
    scene.host.close(stream);

    let key = SigningKey::es256("8e4ddc9b-7a9c-4b2e-9d2a-000000000002");
    let stream = scene.host.request(assertion(&key));
    let call = scene.call();
    scene.host.answer(call.id, 503, Vec::new(), "");
    scene.assert_keys_unavailable(stream, "1");
    scene.host.close(stream);
    scene.host.advance(BACK_OFF);
    let stream = scene.host.request(assertion(&key));
    let call = scene.call();
    scene.host.answer(call.id, 200, Vec::new(), key.pem());
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn each_worker_fetches_for_itself() {
    let mut fleet = workers(2, &one_by_one());
    let key = SigningKey::es256(KID);
    for worker in 0..2 {
        let stream = fleet[worker].host.request(assertion(&key));
        let (asking, call) = fleet.call();
        assert_eq!(asking, worker);
        fleet[worker].host.answer(call.id, 200, Vec::new(), key.pem());
        assert_eq!(fleet[worker].assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
}

fn on_a_host_without_timers_a_request_fetches_its_key_itself(profile: Profile) {
    let mut scene = Scene::start_on(host(profile), &one_by_one());
    let key = SigningKey::es256(KID);
    let stream = scene.host.request(assertion(&key));
    let call = scene.call();
    scene.refuse(assertion(&key), 503, "keys_unavailable");
    scene.host.answer(call.id, 200, Vec::new(), key.pem());
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.pass(assertion(&key)).as_deref(), Some(b"alice".as_slice()));
}

super::on_each_host_without_timers! {
    on_a_host_without_timers_a_request_fetches_its_key_itself,
}
