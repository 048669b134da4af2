//! What a request costs, by whether its token was good before: figures that are the same on any machine, however busy it is.
//!
//! Takes the built module in a host that counts host calls, callbacks, allocations for the host, and instructions. The
//! bounds are what it costs now and a little; who needs more says why here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::foreign;
use super::harness::{Effort, Host, Profile, Program};
use super::scene::{
    Headers, KEY, START, Scene, SigningKey, bearer, claims, configuration, filter_path, jwks, provider, with,
};

/// What a browser's request has besides.
fn usual(request: Headers) -> Headers {
    [
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
        ),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "6d3d2a1e-5e1f-4b53-9b43-1d6a5f7f9a10"),
    ]
    .into_iter()
    .fold(request, |request, (name, value)| with(request, name, value))
}

fn request() -> Headers {
    usual(bearer("/orders/7", &KEY.sign(&claims(json!({ "roles": ["reader", "writer"] })))))
}

/// A VM whose instructions are counted.
fn metered_host() -> Host {
    let program = Program::metered(filter_path()).unwrap();
    let mut host = Host::new(&program, Profile::envoy()).unwrap();
    host.set_time(START);
    host.cluster("idp");
    host
}

/// A worker whose instructions are counted, with keys.
fn metered(configuration: &Value) -> Scene {
    let mut scene = Scene::start_on(metered_host(), configuration);
    let calls = scene.calls();
    calls.iter().for_each(|call| scene.give_keys(call, &[&KEY]));
    scene
}

/// What a request costs from its beginning to the end of its response.
fn effort(scene: &mut Scene, request: &Headers) -> Effort {
    let before = scene.host.effort();
    let stream = scene.host.request(request.clone());
    scene.host.respond(stream, vec![(b":status".to_vec(), b"200".to_vec())]);
    scene.host.close(stream);
    scene.host.effort().since(&before)
}

/// The same once everything is warm.
fn hot_effort(scene: &mut Scene, request: &Headers) -> Effort {
    effort(scene, request);
    effort(scene, request);
    effort(scene, request)
}

fn instructions(effort: &Effort) -> u64 {
    effort.instructions.expect("the program is metered")
}

#[test]
fn a_token_that_was_good_costs_six_host_calls_and_four_callbacks() {
    let mut scene = metered(&configuration(json!({})));
    let first = effort(&mut scene, &request());
    let hot = hot_effort(&mut scene, &request());
    let host_calls = BTreeMap::from([
        ("clock_time_get", 1),
        ("proxy_get_header_map_pairs", 1),
        // The metadata of its route.
        ("proxy_get_property", 1),
        ("proxy_remove_header_map_value", 1),
        ("proxy_replace_header_map_value", 2),
    ]);
    assert_eq!(hot.host_calls, host_calls);
    assert_eq!(hot.callbacks, 4, "its context comes, its headers, it is done, its context goes");
    assert_eq!(hot.allocations, 1, "for its headers; an empty property takes no memory");
    assert!(instructions(&hot) < 16_000, "{hot:?}");
    assert!(instructions(&first) > 10 * instructions(&hot), "without its signature: {first:?} {hot:?}");
}

#[test]
fn a_request_for_an_open_path_costs_no_more_host_calls_than_it_takes_to_look_at_it() {
    let mut scene = metered(&configuration(json!({})));
    let hot = hot_effort(&mut scene, &usual(super::scene::anonymous("/open")));
    let asked = ["clock_time_get", "proxy_get_header_map_pairs", "proxy_get_property"];
    assert_eq!(hot.host_calls, asked.into_iter().map(|name| (name, 1)).collect());
    assert!(instructions(&hot) < 7_800, "{hot:?}");
}

#[test]
fn a_thousand_rules_and_a_hundred_providers_cost_little_more_than_one_of_each() {
    let rule = |index: usize| {
        let path = format!("/service-{index}/v1/");
        json!({ "match": { "prefix": path }, "requires": { "provider_name": format!("p{}", index % 100) } })
    };
    let mut many = configuration(json!({}));
    let rules: Vec<_> = (0..1000).map(rule).chain(many["rules"].as_array().unwrap().clone()).collect();
    many["rules"] = rules.into();
    for index in 0..100 {
        // All in one place: their keys are fetched once for each.
        many["providers"][format!("p{index}")] = provider("idp", json!({}));
    }
    let one = instructions(&hot_effort(&mut metered(&configuration(json!({}))), &request()));
    let all = instructions(&hot_effort(&mut metered(&many), &request()));
    assert!(all < one + one / 5, "{all} instead of {one}");
}

#[test]
fn twenty_claims_cost_a_host_call_each_and_nothing_else_that_counts() {
    let headers = |count: usize| {
        let names =
            (0..count).map(|index| json!({ "header_name": format!("x-claim-{index}"), "claim_name": "sub" }));
        configuration(json!({ "claim_to_headers": names.collect::<Vec<_>>() }))
    };
    let (two, twenty) = (headers(2), headers(20));
    let [two, twenty] = [two, twenty].map(|headers| hot_effort(&mut metered(&headers), &request()));
    let writes = |effort: &Effort| effort.host_calls["proxy_replace_header_map_value"];
    assert_eq!((writes(&two), writes(&twenty)), (2, 20));
    assert!(instructions(&twenty) < instructions(&two) + 18 * 400, "{twenty:?} {two:?}");
}

/// What a request costs whose token is new, where the host verifies its signature and the cache has room for so many: the
/// last of many.
fn effort_of_new_token(cache_size: usize) -> Effort {
    let key = SigningKey::generate("RS256", "k1");
    let extra = json!({
        "remote_jwks": null,
        "local_jwks": { "inline_string": jwks([&key]).to_string() },
        "jwt_cache_config": { "jwt_cache_size": cache_size },
    });
    let mut host = metered_host();
    host.foreign_function("verify_signature", |argument| Ok(foreign::verify_signature(argument)));
    let mut scene = Scene::start_on(host, &configuration(extra));
    let request = |number: usize| {
        let claims = claims(json!({
            "sub": format!("user-{number:08}"),
            "email": format!("user-{number:08}@example.com"),
            "scope": "openid profile email",
            "roles": ["reader", "writer"],
            "iat": START.as_secs(),
            "jti": format!("{number:032x}"),
        }));
        usual(bearer("/orders/7", &key.sign(&claims)))
    };
    (0..8).map(|number| effort(&mut scene, &request(number))).last().unwrap()
}

#[test]
fn a_new_token_costs_one_host_call_more_and_five_times_as_many_instructions_as_a_known_one() {
    let (passing, kept) = (effort_of_new_token(1), effort_of_new_token(100));
    for effort in [&passing, &kept] {
        assert_eq!(effort.host_calls["proxy_call_foreign_function"], 1);
        assert_eq!(effort.host_calls.values().sum::<u64>(), 7, "{effort:?}");
    }
    assert!(instructions(&passing) < 74_000, "{passing:?}");
    assert!(instructions(&kept) < 91_000, "{kept:?}");
}
