//! What nginx asks of a filter: what it would crash on, let through or get wrong, and what the filter does there.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::harness::{Host, Level, Outcome, Profile};
use super::super::scene::{
    Headers, KEY, START, Scene, anonymous, claims, configuration, filter, good, host, provider, with,
};
use super::PROFILE;

const LISTED: usize = 100;

fn start(configuration: &Value) -> Scene {
    Scene::start_on(host(PROFILE), configuration)
}

/// With keys that have just been fetched.
fn start_with_keys(configuration: &Value) -> Scene {
    let mut scene = start(configuration);
    scene.fetch_own();
    scene
}

fn with_fields(mut request: Headers, count: usize) -> Headers {
    request.extend((0..count).map(|index| (format!("x-{index}").into_bytes(), b"1".to_vec())));
    request
}

/// `request` and as many fields as make `count`, `host` among them.
fn filled_up(request: Headers, count: usize) -> Headers {
    let present = request.iter().filter(|(name, _)| name == b":authority" || !name.starts_with(b":")).count();
    with_fields(request, count - present)
}

fn without_host(request: Headers) -> Headers {
    request.into_iter().filter(|(name, _)| name != b":authority").collect()
}

/// Some load balancers ask for the health of a server like this. Listing the header of such a request ends the worker.
#[test]
fn a_request_without_host_is_refused_and_its_header_not_looked_at() {
    let mut scene = start_with_keys(&configuration(json!({})));
    for request in [anonymous("/open"), good("/"), anonymous("/")] {
        scene.refuse(without_host(request), 400, "unreadable_header");
    }
    scene.pass(good("/"));
}

#[test]
fn identity_headers_cannot_hide_behind_more_fields_than_are_listed() {
    let mut scene = start_with_keys(&configuration(json!({})));
    for request in [anonymous("/open"), good("/")] {
        for count in [LISTED, LISTED + 50] {
            let forged = with(filled_up(request.clone(), count - 1), "x-user-id", "root");
            scene.refuse(forged, 400, "unreadable_header");
        }
        let forged = with(filled_up(request, LISTED - 2), "x-user-id", "root");
        let stream = scene.host.request(forged);
        let seen = scene.host.request_headers(stream);
        assert!(seen.all("x-user-id").all(|user| user == b"alice"), "{seen:?}");
        assert_eq!(scene.host.close(stream), Outcome::Continued);
    }
}

/// APISIX takes names with underscores, and removing one spelling leaves the others.
#[test]
fn identity_headers_are_removed_in_every_spelling() {
    let mut scene = start_with_keys(&configuration(json!({})));
    let spellings = ["x-user-id", "X_User_Id", "x-user_id", "X_USER-ID"];
    for request in [anonymous("/open"), anonymous("/optional"), good("/")] {
        let forged = spellings.iter().fold(request, |request, name| with(request, name, "root"));
        let stream = scene.host.request(forged);
        let seen = scene.host.request_headers(stream);
        for name in spellings {
            assert!(seen.all(name).all(|user| user == b"alice"), "{name}: {seen:?}");
        }
        assert_eq!(scene.host.close(stream), Outcome::Continued);
    }
}

/// Setting `:path` would leave the query as it was, with the token in it.
#[test]
fn a_token_in_the_query_does_not_reach_the_upstream() {
    let mut configuration = configuration(json!({ "from_params": ["token"], "from_headers": null }));
    configuration["providers"]["acme"]["from_headers"] =
        json!([{ "name": "authorization", "value_prefix": "Bearer " }]);
    let mut scene = start_with_keys(&configuration);
    let token = KEY.sign(&claims(json!({})));
    for (sent, seen) in
        [(format!("/a%2Db?x=%20&token={token}&y"), "/a%2Db?x=%20&y"), (format!("/a?token={token}"), "/a")]
    {
        let stream = scene.host.request(anonymous(&sent));
        assert_eq!(scene.host.outcome(stream), Outcome::Continued);
        assert_eq!(String::from_utf8(scene.host.upstream_target(stream)).unwrap(), seen);
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
}

/// It has a page of its own for an answer without a body.
#[test]
fn no_answer_is_empty() {
    let mut configuration = configuration(json!({}));
    configuration["strip_failure_response"] = json!(true);
    let mut scene = start(&configuration);
    let stream = scene.host.request(anonymous("/"));
    let reply = scene.host.reply(stream);
    assert_eq!((reply.status, reply.body.as_slice()), (401, b"\n".as_slice()));
    assert_eq!(reply.headers.get("content-type"), Some(b"text/plain".as_slice()));
    assert_eq!(reply.headers.get("www-authenticate"), None);
}

#[test]
fn bytes_that_are_no_text_are_taken_as_they_are() {
    let mut scene = start_with_keys(&configuration(json!({})));
    scene.refuse(with(anonymous("/"), "authorization", b"Bearer \xff\xfe"), 401, "malformed_credential");
    scene.pass(with(with(good("/"), "cookie", b"a=\xff"), "x-other", b"\xc3\x28"));
}

#[test]
fn servers_are_found_by_the_addresses_in_their_uris() {
    for (uri, address, scheme) in [
        ("https://idp.example/jwks.json", "idp.example:443", "https"),
        ("https://idp.example:8443/", "idp.example:8443", "https"),
        ("http://127.0.0.1:10002/keys", "127.0.0.1:10002", "http"),
        ("http://idp.example/keys", "idp.example:80", "http"),
    ] {
        for cluster in [json!("whatever"), Value::Null] {
            let mut http_uri = json!({ "uri": uri, "cluster": cluster });
            http_uri.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let mut scene = start(&configuration(json!({ "remote_jwks": { "http_uri": http_uri } })));
            let stream = scene.send(good("/"));
            let call = scene.call_of(stream);
            assert_eq!(call.cluster, address);
            assert_eq!(call.headers.get(":scheme"), Some(scheme.as_bytes()));
            scene.give_keys(&call, &[&KEY]);
            scene.assert_passed(stream);
        }
    }
}

#[test]
fn one_configuration_serves_envoy_and_apisix() {
    let configuration = configuration(json!({}));
    for (profile, server) in [(Profile::envoy(), "idp"), (PROFILE, "idp.example:443")] {
        let mut scene = Scene::start_on(host(profile), &configuration);
        let stream = scene.host.request(good("/"));
        assert_eq!(scene.call().cluster, server);
        scene.host.close(stream);
    }
}

#[test]
fn a_cluster_is_asked_for_where_servers_are_found_by_it() {
    let mut configuration = configuration(json!({}));
    configuration["providers"]["acme"]["remote_jwks"]["http_uri"].as_object_mut().unwrap().remove("cluster");
    let mut start = |profile, call_by: &str| {
        configuration["call_by"] = json!(call_by);
        host(profile).start(&configuration.to_string()).map_err(|refused| refused.to_string())
    };
    for (profile, call_by) in
        [(Profile::envoy(), "auto"), (Profile::envoy(), "cluster"), (PROFILE, "cluster")]
    {
        let refused = start(profile, call_by).unwrap_err();
        assert!(refused.contains("http_uri: found nothing, expected the field \"cluster\""), "{refused}");
    }
    for (profile, call_by) in [(PROFILE, "auto"), (PROFILE, "address"), (Profile::envoy(), "address")] {
        start(profile, call_by).unwrap();
    }
}

/// In `apisix.yaml` an empty list and null both arrive as an empty object.
#[test]
fn an_empty_object_stands_for_an_empty_list() {
    let empty = json!({});
    let acme = provider("idp", json!({ "audiences": empty, "issuers": empty, "from_cookies": empty }));
    let rules = json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } }]);
    start_with_keys(&json!({ "providers": { "acme": acme }, "rules": rules, "requirement_map": [] }));
}

/// Each route has a configuration of its own, and each is loaded anew when the file is saved.
#[test]
fn routes_share_the_keys_of_one_place_and_a_new_configuration_finds_them_again() {
    let mut scene = start_with_keys(&configuration(json!({})));
    let other =
        configuration(json!({ "claim_to_headers": [{ "header_name": "x-user-id", "claim_name": "sub" }] }));
    let second = scene.host.start(&other.to_string()).unwrap();
    for root in [second, scene.root] {
        let stream = scene.host.request_to(root, good("/"));
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()), "no further fetch");
    }
    scene.host.retire(second);
    scene.root = scene
        .host
        .reload(scene.root, &configuration(json!({ "clock_skew_seconds": 5 })).to_string())
        .unwrap();
    scene.pass(good("/"));
    assert_eq!(scene.host.calls(), []);
}

/// One of two routes has fetched them when the other one needs them, and another place is another matter.
#[test]
fn a_route_that_needs_keys_takes_those_that_another_one_has_fetched_meanwhile() {
    let mut scene = start(&configuration(json!({})));
    let second = scene.host.start(&configuration(json!({ "clock_skew_seconds": 5 })).to_string()).unwrap();
    let elsewhere = json!({ "remote_jwks": { "http_uri": { "uri": "https://other.example/" } } });
    let third = scene.host.start(&configuration(elsewhere).to_string()).unwrap();
    let first = scene.host.request_to(scene.root, good("/"));
    let call = scene.call_of(first);
    scene.give_keys(&call, &[&KEY]);
    scene.assert_passed(first);
    let stream = scene.host.request_to(second, good("/"));
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.host.calls(), []);
    let stream = scene.host.request_to(third, good("/"));
    scene.assert_waits(stream);
    assert_eq!(scene.call_of(stream).cluster, "other.example:443");
}

/// It is loaded again for each request, twice.
#[test]
fn a_configuration_that_is_refused_again_and_again_is_in_the_log_once_a_minute() {
    let mut host = Host::new(&filter(), PROFILE).unwrap();
    host.set_time(START);
    let lines = |host: &Host| host.logs().iter().filter(|log| log.level == Level::Error).count();
    for _ in 0..50 {
        host.start("{}x").unwrap_err();
        host.advance(Duration::from_secs(1));
    }
    assert_eq!(lines(&host), 1);
    host.start(r#"{"providers": 1}"#).unwrap_err();
    assert_eq!(lines(&host), 2, "another mistake is news");
    host.advance(Duration::from_secs(60));
    host.start(r#"{"providers": 1}"#).unwrap_err();
    assert_eq!(lines(&host), 3);
    host.start(&configuration(json!({})).to_string()).unwrap();
}

#[test]
fn an_identity_provider_that_is_gone_turns_nobody_away_who_has_keys() {
    let mut scene = start_with_keys(&configuration(json!({})));
    scene.host.advance(Duration::from_secs(301));
    let stream = scene.send(good("/"));
    let call = scene.call_of(stream);
    scene.host.answer_reset(call.id);
    assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    for _ in 0..5 {
        let stream = scene.send(good("/"));
        scene.assert_passed(stream);
    }
    assert_eq!(scene.host.calls(), [], "until the pause is over");
}

#[test]
fn an_answer_in_any_form_decides_about_its_request() {
    for kind in ["html", "empty", "redirect", "no status", "reset", "not json"] {
        let mut scene = start(&configuration(json!({})));
        let stream = scene.send(good("/"));
        let call = scene.call_of(stream);
        match kind {
            "html" => scene.host.answer(call.id, 200, Vec::new(), "<html>"),
            "empty" => scene.host.answer(call.id, 200, Vec::new(), ""),
            "redirect" => scene.host.answer(call.id, 302, vec![(b"location".to_vec(), b"/".to_vec())], ""),
            "no status" => scene.host.answer_as_is(call.id, vec![(b"server".to_vec(), b"x".to_vec())], "{}"),
            "reset" => scene.host.answer_reset(call.id),
            _ => scene.host.answer(call.id, 200, Vec::new(), b"\xff\x00".to_vec()),
        }
        println!("{kind}");
        scene.assert_keys_unavailable(stream, "1");
    }
}

/// A plugin before the filter, or a global rule, has sent the request to another path of the upstream.
#[test]
fn a_token_in_the_query_does_not_undo_what_others_have_rewritten() {
    let mut configuration = configuration(json!({ "from_params": ["token"] }));
    configuration["providers"]["acme"]["from_headers"] =
        json!([{ "name": "authorization", "value_prefix": "Bearer " }]);
    let token = KEY.sign(&claims(json!({})));
    for (rewritten, seen) in [
        (format!("/tenant/a?x=1&token={token}"), Some("/tenant/a?x=1")),
        ("/tenant/a".to_owned(), Some("/tenant/a")),
        // Under which name the token stands there, nobody can tell.
        (format!("/tenant/a?t={token}"), None),
    ] {
        let mut scene = start_with_keys(&configuration);
        scene.host.property(&["upstream_uri"], rewritten);
        let stream = scene.host.request(anonymous(&format!("/a?x=1&token={token}")));
        match seen {
            Some(seen) => {
                assert_eq!(scene.host.outcome(stream), Outcome::Continued);
                assert_eq!(String::from_utf8(scene.host.upstream_target(stream)).unwrap(), seen);
            }
            None => scene.assert_refused(stream, 500, "host_failure"),
        }
    }
}

/// nginx writes the line of the request, and a token in it, behind each line of its log.
#[test]
fn what_is_wrong_with_an_identity_provider_is_in_the_log_once_a_minute_and_refusals_are_not() {
    let mut scene = start(&configuration(json!({})));
    for _ in 0..30 {
        let stream = scene.host.request(good("/"));
        if scene.host.outcome(stream) == Outcome::Paused {
            let call = scene.call_of(stream);
            scene.host.answer(call.id, 500, Vec::new(), "");
        }
        scene.assert_refused(stream, 503, "keys_unavailable");
        scene.host.close(stream);
        scene.host.advance(Duration::from_secs(1));
    }
    let lines = scene.logged(Level::Warn);
    assert_eq!(lines, ["edge-authn: keys of provider \"acme\" not fetched: status 500, expected 200"]);
}
