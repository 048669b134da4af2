//! Configurations that come, change, are refused and go.

use std::time::Duration;

use serde_json::json;

use super::harness::{Level, Outcome, Profile, RootId, Sharing};
use super::scene::{
    BACK_OFF, IDLE_PICK_UP, KEY, MOMENT, PICK_UP, STRANGER, Scene, SigningKey, anonymous, bearer, claims,
    configuration, good, host, jwks, provider, with,
};

#[test]
fn a_good_configuration_is_taken_without_a_word_or_a_call() {
    let mut scene = Scene::start();
    assert_eq!(scene.logged(Level::Info), [""; 0]);
    scene.pass(anonymous("/open"));
    scene.refuse(anonymous("/"), 401, "missing_credential");
    scene.refuse(bearer("/", "not-a-token"), 401, "invalid_token");
    assert_eq!(scene.host.calls(), [], "some hosts configure VMs that never serve");
    scene.fetch_keys();
}

#[test]
fn a_configuration_that_has_all_its_keys_needs_neither_a_timer_nor_a_call() {
    let document = jwks([&*KEY]).to_string();
    let local = json!({ "remote_jwks": null, "local_jwks": { "inline_string": document } });
    let mut scene = Scene::start_with(local);
    assert_eq!(scene.host.tick_period(scene.root), None);
    scene.pass(good("/"));
    scene.host.advance(Duration::from_secs(3600));
    scene.pass(good("/"));
    scene.refuse(bearer("/", &SigningKey::eddsa("k9").sign(&claims(json!({})))), 401, "invalid_token");
    assert_eq!(scene.host.tick_period(scene.root), None);
    assert_eq!(scene.host.calls(), []);
}

#[test]
fn the_timer_runs_from_the_start_and_where_nothing_is_shared_it_sleeps_until_keys_must_be_refreshed() {
    let profile = Profile { shared_data: Sharing::Absent, ..Profile::envoy() };
    let mut scene = Scene::start_on(host(profile), &configuration(json!({})));
    assert!(scene.host.tick_period(scene.root).is_some_and(|period| period <= MOMENT));
    let call = scene.call();
    assert!(scene.host.tick_period(scene.root).is_some_and(|period| period > Duration::from_secs(1)));
    scene.give_keys(&call, &[&KEY]);
    let period = scene.host.tick_period(scene.root).unwrap();
    assert!((200..300).contains(&period.as_secs()), "ahead of the 300 s that keys count: {period:?}");
}

#[test]
fn a_wrong_configuration_is_refused_with_one_line_that_says_what_to_mend() {
    for (text, message) in [
        ("", "configuration: found "),
        ("{", "configuration: found not valid JSON"),
        ("[]", "configuration: found an empty array, expected an object"),
        ("\u{feff}{}", "configuration: found "),
        (r#"{"rules":[],"rules":[]}"#, "configuration: found the member \"rules\" is given twice, expected "),
        (
            r#"{"providers":{"a":{"isuer":"x","local_jwks":null}}}"#,
            "providers.a: found no source of keys and no session check, expected \"remote_jwks\", \"discovery\", \"local_jwks\", \"jwt_key\" or \"session_check\"",
        ),
        (
            r#"{"rules":[{"match":{"prefix":"/"},"requires":{"provider_name":"b"}}]}"#,
            "rules[0].requires.provider_name: found the string \"b\", expected the name of a provider",
        ),
    ] {
        for profile in [Profile::envoy(), Profile::minimal(), Profile::apisix()] {
            let mut host = host(profile);
            let refused = host.start(text).unwrap_err();
            assert_eq!(refused.by, "proxy_on_configure", "{text}");
            let [log] = refused.logs.as_slice() else { panic!("one line for {text:?}: {refused}") };
            assert_eq!(log.level, Level::Error);
            let start = format!("edge-authn: configuration refused: {message}");
            assert!(log.text.starts_with(&start) && log.text.contains(", expected "), "{log}");
            assert!(!log.text.contains('\n'), "{log}");
            assert_eq!(host.contexts_alive(), 0);
            assert_eq!(host.calls(), []);
        }
    }
}

#[test]
fn configurations_of_odd_bytes_are_refused_or_taken_but_never_trap() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let nested = format!(r#"{{"providers":{}1{}}}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let long = "x".repeat(1 << 20);
    let wide: String = (0..20_000).map(|index| format!(r#""f{index}":1,"#)).collect();
    let wide = format!(r#"{{{wide}"g":1}}"#);
    for text in ["\0", "null", "{}x", "\"", "{\"providers\":\"\u{e9}\"}", &deep, &nested, &long, &wide] {
        let mut host = host(Profile::envoy());
        let refused = host.start(text).unwrap_err();
        assert_eq!(refused.logs.len(), 1, "{refused}");
        assert!(refused.logs[0].text.len() < 1000, "{} bytes of log", refused.logs[0].text.len());
        // The VM lives and takes a good one.
        host.start(&configuration(json!({})).to_string()).unwrap();
    }
}

#[test]
fn no_secret_is_in_the_message_about_a_configuration() {
    let secret = SigningKey::hs256("h", b"0123456789abcdef0123456789abcdef");
    let short = SigningKey::hs256("h", b"0123456789abcdef");
    let document = jwks([&secret]).to_string();
    for local in [
        json!({ "inline_string": jwks([&secret]) }),
        json!({ "inline_string": [document] }),
        json!({ "inline_string": format!("{document},") }),
        json!({ "inline_string": jwks([&short]).to_string() }),
        json!({ "inline_strin": document }),
        json!({ "inline_string": document, "filename": document }),
        json!([document]),
    ] {
        let mut host = host(Profile::envoy());
        let wrong = configuration(json!({ "remote_jwks": null, "local_jwks": local }));
        host.start(&wrong.to_string()).unwrap_err();
        for key in [&secret, &short] {
            let shared = key.jwk()["k"].as_str().unwrap().to_owned();
            host.assert_never_logged(&shared[..8]);
        }
    }
}

#[test]
fn a_warning_is_logged_once_for_each_configuration() {
    let mut open = configuration(json!({}));
    open["rules"].as_array_mut().unwrap().pop();
    let mut scene = Scene::start_on(host(Profile::envoy()), &open);
    for _ in 0..3 {
        scene.pass(anonymous("/"));
    }
    let [warning] = scene.logged(Level::Warn)[..] else { panic!("{:?}", scene.host.logs()) };
    assert!(warning.contains("no rule matches"), "{warning}");

    let odd = json!({ "keys": [KEY.jwk(), { "kty": "AKP" }] }).to_string();
    let local = json!({ "remote_jwks": null, "local_jwks": { "inline_string": odd } });
    let scene = Scene::start_with(local);
    assert_eq!(
        scene.logged(Level::Warn),
        ["edge-authn: providers.acme.local_jwks: not used: keys[1]: kty is missing or not supported"]
    );
}

#[test]
fn a_refused_reload_leaves_the_old_configuration_and_those_who_wait_for_it_alone() {
    let mut scene = Scene::start();
    let waiting = scene.host.request(good("/"));
    for wrong in ["", "{"] {
        scene.host.reload(scene.root, wrong).unwrap_err();
    }
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    assert_eq!(scene.assert_passed(waiting).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()));
    scene.refuse(anonymous("/"), 401, "missing_credential");
    assert_eq!(scene.host.contexts_alive(), 1);
}

#[test]
fn requests_that_wait_while_the_configuration_changes_are_answered_by_the_one_they_came_under() {
    let mut scene = Scene::start();
    let early = scene.host.request(good("/early"));
    let mut new = configuration(json!({
        "claim_to_headers": [{ "header_name": "x-subject", "claim_name": "sub" }],
    }));
    new["rules"] = json!([{ "match": { "prefix": "/early" } },
        { "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } }]);
    let old_root = scene.root;
    scene.root = scene.host.reload(old_root, &new.to_string()).unwrap();
    let late = scene.host.request(good("/late"));
    scene.pass(anonymous("/early"));

    // Both have their keys from one place, so one call is enough.
    let call = scene.call();
    scene.assert_waits(early);
    scene.assert_waits(late);
    scene.give_keys(&call, &[&KEY]);
    scene.host.advance(PICK_UP);
    assert_eq!(scene.host.outcome(early), Outcome::Continued);
    assert_eq!(scene.host.request_headers(early).get("x-user-id"), Some(b"alice".as_slice()));
    assert_eq!(scene.host.request_headers(early).get("x-subject"), None);
    scene.host.close(early);
    assert_eq!(scene.host.outcome(late), Outcome::Continued);
    assert_eq!(scene.host.request_headers(late).get("x-subject"), Some(b"alice".as_slice()));
    assert_eq!(scene.host.request_headers(late).get("x-user-id"), None);
    assert_eq!(scene.host.tick_period(old_root), None, "the old one is gone");
}

#[test]
fn an_old_configuration_whose_fetch_fails_still_answers_its_requests() {
    let mut scene = Scene::start();
    let early = scene.host.request(good("/early"));
    let call = scene.call();
    let old_root = scene.root;
    scene.root = scene.host.reload(old_root, &configuration(json!({})).to_string()).unwrap();
    scene.host.answer(call.id, 500, Vec::new(), "");
    scene.assert_keys_unavailable(early, "1");
    assert_eq!(scene.host.contexts_alive(), 3);
    scene.host.close(early);
    assert_eq!(scene.host.contexts_alive(), 1, "the old configuration goes with its last request");
    scene.host.advance(BACK_OFF);
    scene.fetch_keys();
}

#[test]
fn a_configuration_goes_while_its_call_is_out() {
    let mut scene = Scene::start();
    let early = scene.host.request(good("/early"));
    scene.call();
    let old_root = scene.root;
    scene.root = scene.host.reload(old_root, &configuration(json!({})).to_string()).unwrap();
    scene.host.close(early);
    assert_eq!((scene.host.contexts_alive(), scene.host.calls().len()), (1, 0));
    scene.host.advance(IDLE_PICK_UP);
    scene.fetch_keys();
    assert_eq!(scene.logged(Level::Warn), Vec::<&str>::new());
}

#[test]
fn two_configurations_in_one_vm_do_not_mix() {
    let mut scene = Scene::start();
    let other_key = SigningKey::es256("other");
    let mut other = configuration(json!({
        "issuer": "https://other.example",
        "remote_jwks": { "http_uri": { "uri": "https://idp.example/other.json", "cluster": "idp", "timeout": "2s" } },
        "claim_to_headers": [{ "header_name": "x-other", "claim_name": "sub" }],
    }));
    other["realm"] = json!("other");
    let first = scene.root;
    let second = scene.host.start(&other.to_string()).unwrap();
    let other_token = other_key.sign(&claims(json!({ "iss": "https://other.example" })));

    let by_first = scene.host.request_to(first, good("/"));
    let by_second = scene.host.request_to(second, bearer("/", &other_token));
    scene.host.advance(MOMENT);
    let calls = scene.host.calls();
    assert_eq!(calls.len(), 2);
    let call_of = |root: RootId| calls.iter().find(|call| call.owner == root.0).unwrap();
    scene.give_keys(call_of(second), &[&other_key]);
    scene.assert_waits(by_first);
    assert_eq!(scene.host.outcome(by_second), Outcome::Continued);
    assert_eq!(scene.host.request_headers(by_second).get("x-other"), Some(b"alice".as_slice()));
    scene.give_keys(call_of(first), &[&KEY]);
    assert_eq!(scene.assert_passed(by_first).as_deref(), Some(b"alice".as_slice()));

    for (root, request, realm) in [(first, bearer("/", &other_token), "acme"), (second, good("/"), "other")] {
        let stream = scene.host.request_to(root, request);
        scene.assert_refused(stream, 401, "invalid_token");
        let challenge = scene.host.reply(stream).headers.get("www-authenticate").unwrap().to_vec();
        let challenge = String::from_utf8(challenge).unwrap();
        assert!(challenge.contains(&format!("realm=\"{realm}\"")), "{challenge}");
    }
    // Each removes its own headers and leaves the other's alone.
    let forged = |path| with(with(anonymous(path), "x-other", "root"), "x-user-id", "root");
    for (root, own, foreign) in [(first, "x-user-id", "x-other"), (second, "x-other", "x-user-id")] {
        let stream = scene.host.request_to(root, forged("/open"));
        assert_eq!(scene.host.request_headers(stream).get(own), None);
        assert_eq!(scene.host.request_headers(stream).get(foreign), Some(b"root".as_slice()));
        scene.host.close(stream);
    }
    scene.host.retire(first);
    let stream = scene.host.request_to(second, bearer("/", &other_token));
    assert_eq!(scene.host.outcome(stream), Outcome::Continued, "the other one lives on");
}

#[test]
fn a_slow_provider_keeps_no_one_waiting_but_its_own() {
    let mut host = host(Profile::envoy());
    host.cluster("slow");
    let mut configuration = configuration(json!({}));
    configuration["providers"]["slow"] = provider("slow", json!({}));
    configuration["rules"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({ "match": { "prefix": "/slow" }, "requires": { "provider_name": "slow" } }));
    let mut scene = Scene::start_on(host, &configuration);
    let slow = scene.host.request(bearer("/slow", &STRANGER.sign(&claims(json!({})))));
    let quick = scene.host.request(good("/"));
    scene.host.advance(MOMENT);
    let calls = scene.host.calls();
    assert_eq!(calls.len(), 2);
    let call = calls.iter().find(|call| call.cluster == "idp").unwrap();
    scene.give_keys(call, &[&KEY]);
    assert_eq!(scene.assert_passed(quick).as_deref(), Some(b"alice".as_slice()));
    scene.assert_waits(slow);
    scene.host.advance(Duration::from_secs(2));
    scene.assert_keys_unavailable(slow, "1");
    scene.pass(good("/"));
}

#[test]
fn a_plugin_that_is_taken_away_leaves_nothing_behind() {
    let mut scene = Scene::with_keys();
    let waiting = scene.host.request(anonymous("/open"));
    scene.host.retire(scene.root);
    assert_eq!(scene.host.contexts_alive(), 2);
    scene.host.close(waiting);
    assert_eq!(scene.host.contexts_alive(), 0);
    scene.host.advance(Duration::from_secs(3600));
    assert_eq!(scene.host.calls(), []);
    scene.root = scene.host.start(&configuration(json!({})).to_string()).unwrap();
    scene.fetch_keys();
}
