//! Keys whose place the provider says itself: its metadata are fetched first, held against the configuration, and then
//! the keys where they say.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Call, CallId, Fleet, Host, Outcome, Profile};
use super::scene::{
    Headers, IDLE_PICK_UP, ISSUER, KEY, MOMENT, PATIENCE, PICK_UP, STRANGER, Scene, SigningKey, bearer,
    claims, configuration, good, host, jwks, signed_by, workers,
};

const OPENID_PLACE: &str = "/.well-known/openid-configuration";
const OAUTH_PLACE: &str = "/.well-known/oauth-authorization-server";
const KEYS_PLACE: &str = "/keys.json";

/// A provider that finds its keys by itself, with `extra` fields of `discovery`.
fn discovering(extra: Value) -> Value {
    let mut discovery =
        json!({ "issuer": ISSUER, "cluster": "idp", "timeout": "2s", "cache_duration": "300s" });
    for (name, value) in extra.as_object().into_iter().flatten() {
        discovery[name] = value.clone();
    }
    configuration(json!({ "issuer": null, "remote_jwks": null, "discovery": discovery }))
}

/// Metadata of `ISSUER` with `extra` members.
fn metadata(extra: Value) -> String {
    let mut metadata = json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://idp.example/authorize",
        "jwks_uri": format!("https://idp.example{KEYS_PLACE}"),
        "id_token_signing_alg_values_supported": ["EdDSA"],
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        metadata[name] = value.clone();
    }
    metadata.to_string()
}

fn start(extra: Value) -> Scene {
    start_on(Profile::envoy(), &discovering(extra))
}

fn start_on(profile: Profile, configuration: &Value) -> Scene {
    let mut host = host(profile);
    host.cluster("keys");
    Scene::start_on(host, configuration)
}

/// The URL and the cluster of a call.
fn target(call: &Call) -> (String, String) {
    let header = |name| String::from_utf8(call.headers.get(name).unwrap().to_vec()).unwrap();
    let url = format!("{}://{}{}", header(":scheme"), header(":authority"), header(":path"));
    (url, call.cluster.clone())
}

fn path(call: &Call) -> &[u8] {
    call.headers.get(":path").unwrap()
}

/// What a server answers to this call.
fn serve(host: &mut Host, call: &Call, metadata: &str, keys: &[&SigningKey]) {
    let (status, body) = match path(call) {
        path if path == OPENID_PLACE.as_bytes() => (200, metadata.to_owned()),
        path if path == KEYS_PLACE.as_bytes() => (200, jwks(keys.iter().copied()).to_string()),
        _ => (404, String::new()),
    };
    host.answer(call.id, status, Vec::new(), body);
}

impl Scene {
    /// Lets the filter act, with a server that answers all calls, until it asks no more. Gives what was asked for.
    fn discover(&mut self, metadata: &str, keys: &[&SigningKey]) -> Vec<String> {
        let mut asked = Vec::new();
        loop {
            self.host.advance(MOMENT);
            let calls = self.host.calls();
            if calls.is_empty() {
                return asked;
            }
            for call in calls {
                assert!(asked.len() < 10, "it asks without end: {asked:?}");
                asked.push(target(&call).0);
                serve(&mut self.host, &call, metadata, keys);
            }
        }
    }
}

#[test]
fn keys_are_fetched_from_where_the_metadata_say() {
    let mut scene = start(json!({}));
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    assert_eq!(target(&call), (format!("{ISSUER}{OPENID_PLACE}"), "idp".to_owned()));
    assert_eq!((call.headers.get(":method"), call.timeout_ms), (Some(b"GET".as_slice()), 2000));
    serve(&mut scene.host, &call, &metadata(json!({})), &[]);
    let call = scene.call();
    scene.assert_waits(stream);
    assert_eq!(target(&call), (format!("{ISSUER}{KEYS_PLACE}"), "idp".to_owned()));
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    scene.refuse(signed_by(&STRANGER), 401, "invalid_token");
    scene.refuse(other_issuer(), 401, "invalid_token");
    scene.assert_no_call();
}

/// The issuer of the discovery is that of the tokens.
fn other_issuer() -> Headers {
    bearer("/", &KEY.sign(&claims(json!({ "iss": "https://other.example" }))))
}

#[test]
fn without_a_request_the_keys_are_there_in_time_too() {
    let mut scene = start(json!({}));
    let asked = scene.discover(&metadata(json!({})), &[&KEY]);
    assert_eq!(asked, [format!("{ISSUER}{OPENID_PLACE}"), format!("{ISSUER}{KEYS_PLACE}")]);
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
    scene.assert_no_call();
}

#[test]
fn the_place_of_the_metadata_follows_the_path_of_the_issuer() {
    for (issuer, first, second) in [
        ("https://idp.example", OPENID_PLACE.to_owned(), OAUTH_PLACE.to_owned()),
        (
            "https://idp.example/realms/acme",
            format!("/realms/acme{OPENID_PLACE}"),
            format!("{OAUTH_PLACE}/realms/acme"),
        ),
        ("https://idp.example/acme/", format!("/acme{OPENID_PLACE}"), format!("{OAUTH_PLACE}/acme")),
    ] {
        for status in [404, 403, 302] {
            println!("{issuer}, {status}");
            let mut scene = start(json!({ "issuer": issuer }));
            let token = KEY.sign(&claims(json!({ "iss": issuer })));
            let stream = scene.host.request(bearer("/", &token));
            let call = scene.call();
            assert_eq!(target(&call).0, format!("https://idp.example{first}"));
            let elsewhere = vec![(b"location".to_vec(), b"https://evil.example/".to_vec())];
            scene.host.answer(call.id, status, elsewhere, metadata(json!({ "issuer": issuer })));
            let call = scene.call();
            assert_eq!(target(&call), (format!("https://idp.example{second}"), "idp".to_owned()));
            scene.host.answer(call.id, 200, Vec::new(), metadata(json!({ "issuer": issuer })));
            let call = scene.call();
            assert_eq!(path(&call), KEYS_PLACE.as_bytes());
            scene.give_keys(&call, &[&KEY]);
            assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
        }
    }
}

#[test]
fn metadata_may_be_at_a_place_of_their_own() {
    let uri = json!({ "uri": "https://idp.example/a/metadata.json?v=1", "cluster": "keys", "timeout": "3s" });
    let discovery = json!({ "http_uri": uri, "cache_duration": "300s" });
    let configuration = configuration(json!({ "remote_jwks": null, "discovery": discovery }));
    let mut scene = start_on(Profile::envoy(), &configuration);
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    assert_eq!(target(&call), ("https://idp.example/a/metadata.json?v=1".to_owned(), "keys".to_owned()));
    assert_eq!(call.timeout_ms, 3000);
    scene.host.answer(call.id, 200, Vec::new(), metadata(json!({})));
    let call = scene.call();
    assert_eq!(target(&call), (format!("{ISSUER}{KEYS_PLACE}"), "keys".to_owned()));
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn a_place_of_their_own_needs_an_issuer_to_hold_the_metadata_against() {
    let uri = json!({ "uri": "https://idp.example/metadata.json", "cluster": "idp", "timeout": "3s" });
    let wrong =
        configuration(json!({ "issuer": null, "remote_jwks": null, "discovery": { "http_uri": uri } }));
    let refused = host(Profile::envoy()).start(&wrong.to_string()).unwrap_err();
    assert!(refused.to_string().contains("issuer"), "{refused}");
}

#[test]
fn keys_may_be_on_another_host_that_is_named() {
    for (named, cluster) in [
        (json!({ "host": "keys.example", "cluster": "keys" }), "keys"),
        (json!({ "host": "keys.example" }), "idp"),
    ] {
        let mut scene = start(json!({ "jwks_hosts": [{ "host": "other.example" }, named] }));
        let stream = scene.host.request(good("/"));
        let call = scene.call();
        let elsewhere = metadata(json!({ "jwks_uri": "https://keys.example/a/b?c=d" }));
        serve(&mut scene.host, &call, &elsewhere, &[]);
        let call = scene.call();
        assert_eq!(target(&call), ("https://keys.example/a/b?c=d".to_owned(), cluster.to_owned()));
        scene.give_keys(&call, &[&KEY]);
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
}

#[test]
fn an_issuer_without_tls_may_have_its_keys_without_tls() {
    let issuer = "http://idp.example";
    let mut scene = start(json!({ "issuer": issuer }));
    let token = KEY.sign(&claims(json!({ "iss": issuer })));
    let stream = scene.host.request(bearer("/", &token));
    let places = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}{KEYS_PLACE}") });
    let asked = scene.discover(&metadata(places), &[&KEY]);
    assert_eq!(asked, [format!("{issuer}{OPENID_PLACE}"), format!("{issuer}{KEYS_PLACE}")]);
    scene.assert_passed(stream);
}

/// Metadata that are no good: the request is told so, nobody else is called, and good ones count later.
fn assert_refused(kind: &str, metadata_of_it: &str) {
    println!("{kind}");
    let mut scene = start(json!({}));
    let stream = scene.host.request(good("/"));
    for url in scene.discover(metadata_of_it, &[&KEY]) {
        let is_metadata = [OPENID_PLACE, OAUTH_PLACE].iter().any(|place| url == format!("{ISSUER}{place}"));
        assert!(is_metadata, "{kind}: {url} was asked for");
    }
    scene.assert_keys_unavailable(stream, "1");
    scene.host.close(stream);
    scene.host.advance(Duration::from_secs(1));
    scene.discover(&metadata(json!({})), &[&KEY]);
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()), "{kind}");
}

#[test]
fn metadata_of_another_issuer_are_refused() {
    for (kind, issuer) in [
        ("another", json!("https://evil.example")),
        ("a slash more", json!("https://idp.example/")),
        ("a path more", json!("https://idp.example/tenant")),
        ("without TLS", json!("http://idp.example")),
        ("other letters", json!("https://IDP.example")),
        ("empty", json!("")),
        ("null", json!(null)),
        ("a number", json!(7)),
        ("a list", json!([ISSUER])),
    ] {
        assert_refused(kind, &metadata(json!({ "issuer": issuer })));
    }
    let without = metadata(json!({})).replacen("issuer", "issued_by", 1);
    assert_refused("missing", &without);
}

#[test]
fn keys_are_not_fetched_from_anybody_who_is_not_named() {
    for place in [
        "https://evil.example/keys.json",
        "https://idp.example.evil.example/keys.json",
        "https://evil.example/https://idp.example/keys.json",
        "https://idp.example@evil.example/keys.json",
        "https://evil.example#@idp.example/keys.json",
        "https://evil.example\\@idp.example/keys.json",
        "https://idp.example:8443/keys.json",
        "https://user@idp.example/keys.json",
        "http://idp.example/keys.json",
        "ftp://idp.example/keys.json",
        "file:///etc/passwd",
        "//idp.example/keys.json",
        "//evil.example/keys.json",
        "keys.json",
        "https://",
        "https:///keys.json",
        "https://idp.example/keys json",
        "https://idp.example/keys\r\nx-injected: 1",
        "https://idp.example/\u{e9}",
        "https://idp.example\u{e9}/keys.json",
        "",
    ] {
        assert_refused(place, &metadata(json!({ "jwks_uri": place })));
    }
    for odd in [json!(null), json!(7), json!(["https://idp.example/keys.json"]), json!({})] {
        assert_refused("no text", &metadata(json!({ "jwks_uri": odd })));
    }
}

#[test]
fn keys_on_another_host_are_held_against_the_names_and_need_tls_too() {
    let named = json!({ "jwks_hosts": [{ "host": "keys.example", "cluster": "keys" }] });
    for place in [
        "http://keys.example/keys.json",
        "https://evil.example/keys.json",
        "https://a.keys.example/",
        "https://keys.example:8443/",
    ] {
        println!("{place}");
        let mut scene = start(named.clone());
        let stream = scene.host.request(good("/"));
        let asked = scene.discover(&metadata(json!({ "jwks_uri": place })), &[&KEY]);
        assert_eq!(asked, [format!("{ISSUER}{OPENID_PLACE}")]);
        scene.assert_keys_unavailable(stream, "1");
    }
}

#[test]
fn the_host_of_the_metadata_may_have_the_keys_also_when_others_are_named() {
    let mut scene = start(json!({ "jwks_hosts": [{ "host": "keys.example", "cluster": "keys" }] }));
    let stream = scene.host.request(good("/"));
    scene.discover(&metadata(json!({})), &[&KEY]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn documents_that_are_no_metadata_are_refused() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let good = metadata(json!({}));
    let open = good.trim_end_matches('}');
    for (kind, body) in [
        ("nothing", String::new()),
        ("a page", "<html>".to_owned()),
        ("null", "null".to_owned()),
        ("a list", format!("[{good}]")),
        ("a key set", jwks([&*KEY]).to_string()),
        ("brackets", deep.clone()),
        ("brackets in a member", format!(r#"{{"jwks_uri":{deep}}}"#)),
        ("cut short", open.to_owned()),
        ("something behind", format!("{good}x")),
        ("an issuer given twice", format!(r#"{open},"issuer":"https://evil.example"}}"#)),
        ("keys given twice", format!(r#"{open},"jwks_uri":"https://evil.example/"}}"#)),
        ("two megabytes", format!("{good}{}", " ".repeat(2 << 20))),
        ("two megabytes in a member", format!(r#"{open},"padding":"{}"}}"#, "x".repeat(2 << 20))),
    ] {
        assert_refused(kind, &body);
    }
}

type Failure = (&'static str, fn(&mut Host, CallId));

fn failures() -> Vec<Failure> {
    vec![
        ("reset", |host, call| host.answer_reset(call)),
        ("503", |host, call| host.answer(call, 503, Vec::new(), "no healthy upstream")),
        ("500", |host, call| host.answer(call, 500, Vec::new(), metadata(json!({})))),
        ("redirect", |host, call| {
            host.answer(call, 302, vec![(b"location".to_vec(), b"https://evil.example/".to_vec())], "");
        }),
        ("no status", |host, call| {
            host.answer_as_is(call, vec![(b"server".to_vec(), b"x".to_vec())], metadata(json!({})));
        }),
        ("timeout", |host, _| host.advance(Duration::from_secs(2))),
    ]
}

#[test]
fn a_call_that_fails_is_a_503_whichever_it_is_and_the_timer_alone_recovers() {
    for (kind, fail) in failures() {
        for answered in 0..2 {
            println!("{kind} after {answered}");
            let mut scene = start(json!({}));
            let stream = scene.host.request(good("/"));
            for _ in 0..answered {
                let call = scene.call();
                serve(&mut scene.host, &call, &metadata(json!({})), &[]);
            }
            // A failure of the first may have it tried at the other place.
            for _ in 0..3 {
                scene.host.advance(MOMENT);
                if let Some(call) = scene.host.calls().first().cloned() {
                    fail(&mut scene.host, call.id);
                }
            }
            scene.assert_keys_unavailable(stream, "1");
            scene.host.advance(Duration::from_secs(1));
            scene.discover(&metadata(json!({})), &[&KEY]);
            scene.pass(good("/"));
        }
    }
}

#[test]
fn good_keys_outlive_metadata_that_have_gone_bad() {
    let mut scene = start(json!({}));
    scene.discover(&metadata(json!({})), &[&KEY]);
    let wrong = metadata(json!({ "issuer": "https://evil.example" }));
    for _ in 0..60 {
        scene.host.advance(Duration::from_secs(10));
        for call in scene.calls() {
            // What they said before is still tried, and is not there any more.
            match path(&call) == KEYS_PLACE.as_bytes() {
                true => scene.host.answer(call.id, 404, Vec::new(), ""),
                false => scene.host.answer(call.id, 200, Vec::new(), wrong.clone()),
            }
        }
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
        scene.refuse(signed_by(&STRANGER), 401, "invalid_token");
    }
}

#[test]
fn keys_are_refreshed_ahead_of_expiry_and_withdrawn_ones_stop() {
    let mut scene = start(json!({}));
    scene.discover(&metadata(json!({})), &[&KEY]);
    for _ in 0..28 {
        scene.host.advance(Duration::from_secs(10));
        scene.discover(&metadata(json!({})), &[&STRANGER]);
    }
    scene.refuse(good("/"), 401, "invalid_token");
    scene.pass(signed_by(&STRANGER));
}

#[test]
fn a_new_key_is_found_where_the_metadata_say() {
    let mut scene = start(json!({}));
    scene.discover(&metadata(json!({})), &[&KEY]);
    scene.host.advance(Duration::from_secs(11));
    let new = SigningKey::es256("k2");
    let stream = scene.host.request(signed_by(&new));
    scene.assert_waits(stream);
    let asked = scene.discover(&metadata(json!({})), &[&KEY, &new]);
    assert_eq!(asked.last(), Some(&format!("{ISSUER}{KEYS_PLACE}")));
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    scene.pass(good("/"));
}

// Several workers.

fn discover_in(fleet: &mut Fleet<Scene>) -> usize {
    let mut count = 0;
    loop {
        fleet.advance(PICK_UP);
        let calls = fleet.calls();
        if calls.is_empty() {
            return count;
        }
        for (worker, call) in calls {
            count += 1;
            serve(&mut fleet[worker].host, &call, &metadata(json!({})), &[&KEY]);
        }
    }
}

#[test]
fn four_workers_make_two_calls() {
    let mut fleet = workers(4, &discovering(json!({})));
    let streams = fleet.request(&good("/"));
    assert_eq!(discover_in(&mut fleet), 2);
    fleet.assert_passed(&streams);
}

#[test]
fn a_worker_that_dies_between_its_two_calls_is_replaced() {
    for answered in 0..2 {
        let mut fleet = workers(3, &discovering(json!({})));
        let mut streams = fleet.request(&good("/"));
        let (mut leader, mut call) = fleet.call();
        for _ in 0..answered {
            serve(&mut fleet[leader].host, &call, &metadata(json!({})), &[]);
            (leader, call) = fleet.call();
        }
        fleet.kill(leader);
        streams.remove(leader);
        // It may have had three calls to make, each with its timeout: the requests may run out of patience meanwhile.
        fleet.next_call_within(PATIENCE);
        assert_eq!(discover_in(&mut fleet), 2, "from the start");
        for (worker, stream) in fleet.iter_mut().zip(streams) {
            if worker.host.outcome(stream) == Outcome::Continued {
                worker.assert_passed(stream);
            } else {
                worker.assert_keys_unavailable(stream, "1");
            }
        }
        fleet.advance(IDLE_PICK_UP);
        fleet.pass();
    }
}

#[test]
fn a_configuration_that_comes_between_the_two_calls_starts_anew() {
    let mut scene = start(json!({}));
    let call = scene.call();
    serve(&mut scene.host, &call, &metadata(json!({})), &[]);
    let stale = scene.call();
    let other = discovering(json!({ "issuer": "https://other.example" }));
    scene.host.configure_again(scene.root, &other.to_string()).unwrap();
    scene.give_keys(&stale, &[&STRANGER]);
    let call = scene.call();
    assert_eq!(target(&call).0, format!("https://other.example{OPENID_PLACE}"));
    let forged = STRANGER.sign(&claims(json!({ "iss": "https://other.example" })));
    let stream = scene.host.request(bearer("/", &forged));
    scene.assert_waits(stream);
}

// A host without timers.

fn start_without_timers(profile: Profile) -> Scene {
    start_on(profile, &discovering(json!({})))
}

/// Answers the calls of one request until it waits no more.
fn discover_for(scene: &mut Scene, stream: super::harness::StreamId) -> usize {
    let mut count = 0;
    while scene.host.outcome(stream) == Outcome::Paused {
        let call = scene.call_of(stream);
        serve(&mut scene.host, &call, &metadata(json!({})), &[&KEY]);
        count += 1;
    }
    count
}

fn without_timers_a_request_makes_both_calls_one_after_the_other(profile: Profile) {
    let mut scene = start_without_timers(profile);
    assert_eq!(scene.host.calls(), []);
    let stream = scene.send(good("/"));
    assert_eq!(discover_for(&mut scene, stream), 2);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    let stream = scene.send(good("/"));
    scene.assert_passed(stream);
    assert_eq!(scene.host.calls(), []);
}

fn without_timers_a_request_tries_the_other_place_too(profile: Profile) {
    let mut scene = start_without_timers(profile);
    let stream = scene.send(good("/"));
    let call = scene.call_of(stream);
    scene.host.answer(call.id, 404, Vec::new(), "");
    let call = scene.call_of(stream);
    assert_eq!(path(&call), OAUTH_PLACE.as_bytes());
    scene.host.answer(call.id, 200, Vec::new(), metadata(json!({})));
    let call = scene.call_of(stream);
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
}

fn without_timers_requests_at_one_time_do_not_hang_on_each_other(profile: Profile) {
    let mut scene = start_without_timers(profile);
    let [first, second, third] = ["/1", "/2", "/3"].map(|path| scene.send(good(path)));
    let call = scene.call_of(first);
    serve(&mut scene.host, &call, &metadata(json!({})), &[]);
    assert_eq!(scene.host.close(first), Outcome::Paused, "it leaves between its calls");
    discover_for(&mut scene, second);
    scene.assert_passed(second);
    discover_for(&mut scene, third);
    scene.assert_passed(third);
    scene.end_calls_of_the_gone();
    assert_eq!(scene.host.contexts_alive(), 1);
}

fn without_timers_a_call_that_fails_is_a_503_whichever_it_is(profile: Profile) {
    for (kind, fail) in failures() {
        for answered in 0..2 {
            println!("{kind} after {answered}");
            let mut scene = start_without_timers(profile);
            let stream = scene.send(good("/"));
            for _ in 0..answered {
                let call = scene.call_of(stream);
                serve(&mut scene.host, &call, &metadata(json!({})), &[]);
            }
            for _ in 0..3 {
                if scene.host.outcome(stream) == Outcome::Paused {
                    let call = scene.call_of(stream);
                    fail(&mut scene.host, call.id);
                }
            }
            scene.assert_keys_unavailable(stream, "1");
            scene.host.advance(super::scene::BACK_OFF);
            let stream = scene.send(good("/"));
            discover_for(&mut scene, stream);
            scene.assert_passed(stream);
        }
    }
}

super::on_each_host_without_timers! {
    without_timers_a_request_makes_both_calls_one_after_the_other,
    without_timers_a_request_tries_the_other_place_too,
    without_timers_requests_at_one_time_do_not_hang_on_each_other,
    without_timers_a_call_that_fails_is_a_503_whichever_it_is,
}
