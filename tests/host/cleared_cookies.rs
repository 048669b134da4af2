//! Cookies that an identity provider takes back with a denial: whose reply has them, and whose has not.

use std::time::Duration;

use serde_json::json;

use super::harness::{Call, Outcome, Profile, StreamId};
use super::scene::{Headers, MOMENT, Scene, configuration, get, host};

const CLEARING: &[u8] =
    b"session=; Path=/; Domain=acme.example; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax";

fn scene(profile: Profile) -> Scene {
    let configuration = configuration(json!({
        "remote_jwks": null, "issuer": null, "audiences": null,
        "session_check": {
            "kind": "forward_auth",
            "http_uri": { "uri": "https://idp.example/resolve", "cluster": "idp", "timeout": "2s" },
            "cookies": ["app_session", "session"],
            "cookies_together": true,
            "relay_set_cookie": ["session"],
            "allow": { "status": [200], "header": "x-session-valid", "value": "true" },
            "claims_from_headers": [{ "header": "x-session-user", "claim": "sub" }],
            "negative_ttl": "60s",
        },
        "from_cookies": ["app_session", "session"],
        "multiple_credentials": "first",
    }));
    Scene::start_on(host(profile), &configuration)
}

fn cookies(line: &str) -> Headers {
    get("/", &[("cookie", line)])
}

/// The one call that waits, some time after the request that asked.
fn call(scene: &mut Scene) -> Call {
    scene.host.advance(MOMENT);
    let calls = scene.host.calls();
    calls.last().unwrap_or_else(|| panic!("a call")).clone()
}

fn deny(scene: &mut Scene, call: &Call) {
    let fields =
        [("x-session-valid", &b"false"[..]), ("set-cookie", CLEARING), ("Set-Cookie", b"admin=1; Path=/")];
    let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
    scene.host.answer(call.id, 200, fields.to_vec(), "");
}

/// The cookies that a refusal sets.
#[track_caller]
fn set_by(scene: &Scene, stream: StreamId) -> Vec<Vec<u8>> {
    scene.assert_refused(stream, 401, "session_denied");
    scene.host.reply(stream).headers.all("set-cookie").map(<[u8]>::to_vec).collect()
}

#[test]
fn those_who_waited_for_a_denial_have_their_cookie_cleared_and_nobody_else() {
    for profile in [Profile::envoy(), Profile::minimal(), Profile::apisix()] {
        let mut scene = scene(profile);
        let stream = scene.host.request(cookies("session=stale; theme=dark"));
        let asked = call(&mut scene);
        assert_eq!(asked.headers.get("cookie"), Some(&b"session=stale"[..]));
        deny(&mut scene, &asked);
        assert_eq!(set_by(&scene, stream), [CLEARING.to_vec()]);
        for pause in [Duration::ZERO, Duration::from_secs(1)] {
            scene.host.advance(pause);
            let later = scene.host.request(cookies("session=stale; theme=dark"));
            assert_eq!(
                set_by(&scene, later),
                Vec::<Vec<u8>>::new(),
                "the denial is known, its cookie is not set again"
            );
        }
        scene.assert_no_call();
    }
}

#[test]
fn everybody_who_waited_for_the_one_answer_is_told_and_other_users_are_not() {
    let mut scene = scene(Profile::envoy());
    let waiting: Vec<_> = (0..5).map(|_| scene.host.request(cookies("session=stale"))).collect();
    let other = scene.host.request(cookies("session=good"));
    scene.host.advance(MOMENT);
    let calls = scene.host.calls();
    assert_eq!(calls.len(), 2, "one for each user");
    let of = |cookie: &[u8]| calls.iter().find(|call| call.headers.get("cookie") == Some(cookie)).unwrap();
    deny(&mut scene, of(b"session=stale"));
    for stream in waiting {
        assert_eq!(set_by(&scene, stream), [CLEARING.to_vec()]);
    }
    assert_eq!(scene.host.outcome(other), Outcome::Paused);
    deny(&mut scene, of(b"session=good"));
    assert_eq!(set_by(&scene, other), [CLEARING.to_vec()], "by its own answer");
}

#[test]
fn a_stale_cookie_beside_a_good_one_is_asked_about_in_one_call_and_passes() {
    let mut scene = scene(Profile::envoy());
    let stream = scene.host.request(cookies("theme=dark; session=good; app_session=stale"));
    let asked = call(&mut scene);
    assert_eq!(asked.headers.get("cookie"), Some(&b"app_session=stale; session=good"[..]));
    let fields =
        [("x-session-valid", "true"), ("x-session-user", "alice"), ("set-cookie", "session=; Max-Age=0")];
    let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    scene.host.answer(asked.id, 200, fields.to_vec(), "");
    let headers = scene.host.request_headers(stream);
    assert_eq!(headers.all("x-user-id").collect::<Vec<_>>(), [b"alice"]);
    assert_eq!(headers.all("cookie").collect::<Vec<_>>(), [b"theme=dark"]);
    scene.assert_passed(stream);
}
