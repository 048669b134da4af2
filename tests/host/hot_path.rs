//! What a request costs whose token was good before: the figures that hold on any machine, however busy.

use serde_json::json;

use super::harness::{Effort, Host, Profile, Program};
use super::scene::{KEY, START, Scene, bearer, claims, configuration, filter_path, with};

/// What a browser's request has besides.
fn usual(mut request: super::scene::Headers) -> super::scene::Headers {
    for (name, value) in [
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
    ] {
        request = with(request, name, value);
    }
    request
}

fn effort_of_one(scene: &mut Scene, request: &super::scene::Headers) -> Effort {
    let before = scene.host.effort();
    let stream = scene.host.request(request.clone());
    scene.host.respond(stream, vec![(b":status".to_vec(), b"200".to_vec())]);
    scene.host.close(stream);
    scene.host.effort().since(&before)
}

#[test]
fn a_token_that_was_good_costs_no_more_than_this() {
    let program = Program::metered(filter_path()).unwrap();
    let mut host = Host::new(&program, Profile::envoy()).unwrap();
    host.set_time(START);
    host.cluster("idp");
    let mut scene = Scene::start_on(host, &configuration(json!({})));
    scene.fetch_keys();
    let request = usual(bearer("/orders/7", &KEY.sign(&claims(json!({ "roles": ["reader", "writer"] })))));
    let first = effort_of_one(&mut scene, &request);
    effort_of_one(&mut scene, &request);
    let hot = effort_of_one(&mut scene, &request);
    println!("first: {first:#?}\nhot: {hot:#?}");
}
