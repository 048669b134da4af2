//! A VM that has seen tens of thousands of requests is as large as one that has seen a few.

use std::time::Duration;

use serde_json::json;

use super::harness::{Outcome, Profile};
use super::scene::{
    Headers, KEY, STRANGER, Scene, SigningKey, anonymous, bearer, claims, configuration, good, host, jwks,
    provider, with,
};

/// Requests of all kinds. Those for `/slow` wait for keys that never come.
fn requests() -> Vec<Headers> {
    let token = |extra| KEY.sign(&claims(extra));
    vec![
        good("/"),
        with(with(good("/a"), "x-user-id", "root"), "x_roles", "root"),
        bearer("/", &token(json!({ "roles": vec!["role"; 100] }))),
        bearer("/", &token(json!({ "exp": 1 }))),
        bearer("/", &STRANGER.sign(&claims(json!({})))),
        bearer("/", "junk"),
        bearer("/", &"a.".repeat(20_000)),
        anonymous("/"),
        anonymous("/open"),
        anonymous("/a//b/../c%2f"),
        with(good("/"), "x-long", "x".repeat(50_000)),
        with(bearer("/slow", &token(json!({}))), "x-long", "x".repeat(5000)),
        bearer("/slow", &token(json!({}))),
    ]
}

/// `count` streams in batches of 500 that are open at one time. Those for `/slow` wait until their call times out in
/// one batch, and leave before that in the next. Gives how many went on, were answered, and left.
fn run(scene: &mut Scene, requests: &[Headers], count: usize) -> [usize; 3] {
    let mut outcomes = [0; 3];
    for batch in 0..count / 500 {
        let patience = scene.host.now() + Duration::from_secs(300);
        while scene.host.calls().iter().all(|call| call.cluster != "slow") {
            assert!(scene.host.now() < patience, "no call to the slow one");
            scene.host.advance(Duration::from_millis(500));
            let refresh = scene.host.calls().into_iter().find(|call| call.cluster == "idp");
            refresh.iter().for_each(|call| scene.give_keys(call, &[&KEY]));
        }
        let streams: Vec<_> =
            requests.iter().cycle().take(500).map(|request| scene.host.request(request.clone())).collect();
        if batch % 2 == 0 {
            scene.host.advance(Duration::from_secs(4));
        }
        for stream in streams {
            let kind = match scene.host.close(stream) {
                Outcome::Continued => 0,
                Outcome::Replied(_) => 1,
                Outcome::Paused => 2,
                Outcome::Reset => panic!("nothing is reset"),
            };
            outcomes[kind] += 1;
        }
    }
    outcomes
}

#[test]
fn twenty_thousand_requests_leave_nothing_behind() {
    let mut host = host(Profile::envoy());
    host.cluster("slow");
    let mut configuration = configuration(json!({}));
    configuration["providers"]["slow"] = provider("slow", json!({}));
    let slow = json!({ "match": { "prefix": "/slow" }, "requires": { "provider_name": "slow" } });
    configuration["rules"].as_array_mut().unwrap().insert(0, slow);
    let mut scene = Scene::start_on(host, &configuration);
    let requests = requests();
    for path in ["/", "/slow"] {
        let first = scene.host.request(good(path));
        scene.host.close(first);
    }
    let calls = scene.calls();
    calls.iter().filter(|call| call.cluster == "idp").for_each(|call| scene.give_keys(call, &[&KEY]));

    run(&mut scene, &requests, 10_000);
    let pages = scene.host.memory_pages();
    let outcomes = run(&mut scene, &requests, 20_000);

    assert!(outcomes.iter().all(|count| *count > 1000), "each kind was there: {outcomes:?}");
    assert_eq!(scene.host.memory_pages(), pages);
    assert_eq!(scene.host.contexts_alive(), 1);
    scene.pass(good("/"));
}

#[test]
fn configurations_that_come_and_go_leave_nothing_behind() {
    let mut scene = Scene::start();
    let mut pages = 0;
    for round in 0..300 {
        if round == 50 {
            pages = scene.host.memory_pages();
        }
        let waiting = scene.host.request(good("/"));
        let old = scene.root;
        scene.root = scene.host.reload(old, &configuration(json!({})).to_string()).unwrap();
        scene.host.close(waiting);
        assert_eq!(scene.host.contexts_alive(), 1);
        // Half of them come when their call is out, the others when the keys are there already.
        if round % 2 == 0 {
            scene.host.shared_data().wipe();
            scene.calls().iter().for_each(|call| scene.give_keys(call, &[&KEY]));
        }
    }
    assert_eq!(scene.host.memory_pages(), pages);
}

/// A worker keeps as many good tokens as there is room for: from then on it gets no larger, however many come.
#[test]
fn thirty_thousand_good_tokens_leave_no_more_memory_than_the_first_ten_thousand() {
    let key = SigningKey::generate("HS256", "k1");
    let local = json!({ "remote_jwks": null, "local_jwks": { "inline_string": jwks([&key]).to_string() } });
    let mut scene = Scene::start_with(local);
    let mut pages = 0;
    for user in 0..30_000 {
        if user == 10_000 {
            pages = scene.host.memory_pages();
        }
        let roles: Vec<_> = (0..user % 40).map(|role| format!("role-{role}")).collect();
        let token = key.sign(&claims(json!({ "sub": format!("user-{user}"), "roles": roles })));
        scene.pass(bearer("/", &token));
        if user % 3 == 0 {
            scene.pass(bearer("/", &token));
        }
    }
    // An allocator may need another piece or two as sizes change.
    assert!(scene.host.memory_pages() <= pages + 4, "{} pages", scene.host.memory_pages());
    let mib = pages * 64 / 1024;
    assert!(mib < 24, "{mib} MiB");
}
