//! What the filter reads from and leaves in its surroundings: route metadata, filter state, environment, access logs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{Scene, claims, now};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Envoy, Request, eventually};

/// The connection manager of the listener whose requests pass the filter.
fn manager(bootstrap: &mut Value) -> &mut Value {
    &mut bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
}

/// Routes by prefix, each with metadata in the filter's namespace; everything else has none.
fn routes(metadata: &[(&str, Value)]) -> Value {
    let route = |prefix: &str, metadata: Value| {
        json!({
            "match": { "prefix": prefix },
            "route": { "cluster": "upstream" },
            "metadata": { "filter_metadata": metadata },
        })
    };
    let special = metadata.iter().map(|(prefix, value)| route(prefix, json!({ "edge_authn": value })));
    special.chain([route("/", json!({}))]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_switch_the_filter_off_or_name_a_requirement() {
    let scene = Scene::start().await;
    let mut configuration = scene.configuration(json!({}));
    configuration["requirement_map"] = json!({ "optional": { "allow_missing": {} } });
    let routes = routes(&[
        ("/off", json!({ "disabled": true })),
        ("/on", json!({ "disabled": false })),
        ("/named", json!({ "requirement_name": "optional" })),
        ("/unknown", json!({ "requirement_name": "no-such" })),
        ("/mistaken", json!({ "requirementName": "optional" })),
    ]);
    let envoy = Envoy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(move |bootstrap| {
            manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"] = routes;
        })
        .start()
        .await;
    let status = async |path: &str, token: Option<&str>| {
        let request = Request::get(path);
        let request = token.map_or(request.clone(), |token| request.bearer(token));
        request.send(envoy.gateway()).await.status
    };
    let (good, bad) = (scene.token(), scene.key.sign(&claims(json!({ "exp": 1 }))));
    for (path, token, expected) in [
        ("/off", None, 200),
        ("/off", Some(&bad), 200),
        ("/on", None, 401),
        ("/named", None, 200),
        ("/named", Some(&bad), 401),
        ("/named", Some(&good), 200),
        ("/unknown", Some(&good), 403),
        ("/mistaken", Some(&good), 403),
        ("/", None, 401),
    ] {
        assert_eq!(status(path, token.map(String::as_str)).await, expected, "{path} {token:?}");
    }
    let forged = Request::get("/off").header("x-user-id", "root").send(envoy.gateway()).await;
    assert_eq!(
        (forged.status, forged.text().as_str()),
        (400, "The request has a header that it must not have")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_speak_through_their_metadata_as_they_do_to_jwt_authn_through_their_configuration() {
    let scene = Scene::start().await;
    let mut native = scene.configuration(json!({}));
    native.as_object_mut().unwrap().remove("realm");
    native["requirement_map"] = json!({ "optional": { "allow_missing": {} } });
    let mut ours = native.clone();
    ours["compat"] = json!("envoy");
    let policies = [
        ("/off", json!({ "disabled": true })),
        ("/named", json!({ "requirement_name": "optional" })),
        ("/unknown", json!({ "requirement_name": "no-such" })),
    ];
    let in_metadata = routes(&policies);
    let configured = policies.map(|(prefix, mut policy)| {
        policy["@type"] =
            json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig");
        json!({
            "match": { "prefix": prefix },
            "route": { "cluster": "upstream" },
            "typed_per_filter_config": { "envoy.filters.http.jwt_authn": policy },
        })
    });
    let envoy = Envoy::with_filter(ours, &scene.upstream)
        .native(native)
        .cluster("idp", scene.idp.address())
        .bootstrap(move |bootstrap| {
            manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"] = in_metadata;
            let chain = &mut bootstrap["static_resources"]["listeners"][1]["filter_chains"][0];
            let hosts = &mut chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"];
            let routes = hosts[0]["routes"].as_array_mut().unwrap();
            routes.splice(0..0, configured);
        })
        .start()
        .await;
    let (good, bad) = (scene.token(), scene.key.sign(&claims(json!({ "exp": 1 }))));
    for path in ["/off", "/named", "/unknown", "/else"] {
        for token in [None, Some(&good), Some(&bad)] {
            let request = Request::get(path).header("host", "gateway.example");
            let request = token.map_or(request.clone(), |token| request.bearer(token));
            let (ours, native) = (request.send(envoy.gateway()).await, request.send(envoy.native()).await);
            assert_eq!(ours.status, native.status, "{path} {token:?}");
            if ours.status != 200 {
                assert_eq!(ours.text(), native.text(), "{path} {token:?}");
                assert_eq!(ours.header("www-authenticate"), native.header("www-authenticate"), "{path}");
                continue;
            }
            let received: Vec<_> = scene.upstream.requests();
            let [ours, native] = received.last_chunk().unwrap();
            assert_eq!(ours.header("x-user-id"), native.header("x-user-id"), "{path} {token:?}");
            assert_eq!(ours.header("authorization"), native.header("authorization"), "{path} {token:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_header_does_not_choose_what_is_asked_for_on_the_route_that_is_taken() {
    let scene = Scene::start().await;
    let routes = json!([
        {
            "match": { "prefix": "/", "headers": [{ "name": "x-roles", "string_match": { "exact": "guest" } }] },
            "direct_response": { "status": 204 },
            "metadata": { "filter_metadata": { "edge_authn": { "disabled": true } } },
        },
        { "match": { "prefix": "/" }, "route": { "cluster": "upstream" } },
    ]);
    let envoy = Envoy::with_filter(scene.configuration(json!({})), &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(move |bootstrap| {
            manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"] = routes;
        })
        .start()
        .await;
    assert_eq!(Request::get("/secret").send(envoy.gateway()).await.status, 401);
    let status = Request::get("/secret").header("x-roles", "guest").send(envoy.gateway()).await.status;
    assert_eq!(
        (status, scene.upstream.requests().len()),
        (400, 0),
        "the upstream was reached without a token"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_route_that_is_taken_asks_for_holds_though_another_was_chosen_first() {
    let scene = Scene::start().await;
    let mut configuration = scene.configuration(json!({}));
    configuration["rules"] = json!([{ "match": { "prefix": "/" } }]);
    configuration["requirement_map"] = json!({ "strict": { "provider_name": "acme" } });
    let routes = json!([
        {
            "match": { "prefix": "/", "headers": [{ "name": "x-roles", "present_match": true }] },
            "direct_response": { "status": 204 },
        },
        {
            "match": { "prefix": "/" },
            "route": { "cluster": "upstream" },
            "metadata": { "filter_metadata": { "edge_authn": { "requirement_name": "strict" } } },
        },
    ]);
    let envoy = Envoy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(move |bootstrap| {
            manager(bootstrap)["route_config"]["virtual_hosts"][0]["routes"] = routes;
        })
        .start()
        .await;
    assert_eq!(Request::get("/secret").send(envoy.gateway()).await.status, 401);
    let status = Request::get("/secret").header("x-roles", "guest").send(envoy.gateway()).await.status;
    assert_eq!(scene.upstream.requests().len(), 0, "the upstream was reached without a token: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_state_chooses_a_requirement_where_no_rule_matches() {
    let scene = Scene::start().await;
    let mut configuration = scene.configuration(json!({}));
    configuration["rules"] = json!([{ "match": { "path": "/open" } }]);
    configuration["filter_state_rules"] =
        json!({ "name": "tier", "requires": { "gold": { "provider_name": "acme" } } });
    let set_state = json!({
        "name": "envoy.filters.http.set_filter_state",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
            "on_request_headers": [{
                "object_key": "tier",
                "factory_key": "envoy.string",
                "format_string": { "text_format_source": { "inline_string": "%REQ(x-tier)%" } },
            }],
        },
    });
    let envoy = Envoy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(move |bootstrap| {
            manager(bootstrap)["http_filters"].as_array_mut().unwrap().insert(0, set_state);
        })
        .start()
        .await;
    for (tier, path, expected) in
        [("gold", "/x", 401), ("gold", "/open", 200), ("tin", "/x", 200), ("golden", "/x", 200)]
    {
        let reply = Request::get(path).header("x-tier", tier).send(envoy.gateway()).await;
        assert_eq!(reply.status, expected, "{tier} {path}");
    }
    let reply = scene.good_request("/x").header("x-tier", "gold").send(envoy.gateway()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(scene.upstream.last_request().header("x-user-id"), [b"alice"]);
}

/// The log once it has `count` lines that start with `prefix`; Envoy writes them with a delay.
async fn log_with(envoy: &Envoy, prefix: &str, count: usize) -> String {
    for _ in 0..250 {
        let log = envoy.log();
        if log.lines().filter(|line| line.starts_with(prefix)).count() >= count {
            return log;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no {count} lines {prefix:?} in the log:\n{}", envoy.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn access_logs_show_what_jwt_authn_leaves_in_metadata() {
    let scene = Scene::start().await;
    let configuration = scene.configuration(json!({
        "payload_in_metadata": "jwt",
        "header_in_metadata": "jose",
        "failed_status_in_metadata": "failure",
    }));
    let format = ["jwt", "jose", "failure"]
        .map(|name| format!("{name}=%FILTER_STATE(wasm.edge_authn.{name}:PLAIN)%"))
        .join(" ");
    let envoy = Envoy::with_filter(configuration, &scene.upstream)
        .cluster("idp", scene.idp.address())
        .bootstrap(move |bootstrap| {
            manager(bootstrap)["access_log"] = json!([{
                "name": "envoy.access_loggers.stderr",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
                    "log_format": { "text_format_source": { "inline_string": format!("seen: {format}\n") } },
                },
            }]);
        })
        .start()
        .await;
    assert!(envoy.log().contains("wasm.edge_authn.jwt, wasm.edge_authn.jose, wasm.edge_authn.failure"));
    assert_eq!(scene.good_request("/x").send(envoy.gateway()).await.status, 200);
    let expired = scene.key.sign(&claims(json!({ "exp": now() - 100 })));
    assert_eq!(Request::get("/x").bearer(&expired).send(envoy.gateway()).await.status, 401);

    let log = log_with(&envoy, "seen: ", 2).await;
    let seen: Vec<_> = log.lines().filter_map(|line| line.strip_prefix("seen: ")).collect();
    assert!(seen[0].contains(r#""sub":"alice""#), "{}", seen[0]);
    assert!(seen[0].contains(r#"jose={"alg":"EdDSA""#), "{}", seen[0]);
    assert!(seen[0].ends_with("failure=-"), "{}", seen[0]);
    assert_eq!(seen[1], r#"jwt=- jose=- failure={"code":3,"message":"Jwt is expired"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_may_come_from_an_environment_variable_that_the_plugin_passes_on() {
    let scene = Scene::start().await;
    let key = SigningKey::es256("from-the-environment");
    let keys = jwks([&key]).to_string();
    let local = |variable: &str| {
        let mut configuration = scene.configuration(json!({}));
        let provider = configuration["providers"]["acme"].as_object_mut().unwrap();
        provider.remove("remote_jwks");
        provider.insert("local_jwks".to_owned(), json!({ "environment_variable": variable }));
        configuration
    };
    let with_variable = move |bootstrap: &mut Value| {
        let config = &mut manager(bootstrap)["http_filters"][0]["typed_config"]["config"];
        config["vm_config"]["environment_variables"] = json!({ "key_values": { "KEYS": keys } });
    };
    let envoy = Envoy::with_filter(local("KEYS"), &scene.upstream).bootstrap(with_variable).start().await;
    let request = Request::get("/x").bearer(&key.sign(&claims(json!({}))));
    assert_eq!(request.send(envoy.gateway()).await.status, 200);

    let log = Envoy::with_filter(local("KEYZ"), &scene.upstream).refused().await;
    assert!(log.contains("local_jwks.environment_variable: found the string \"KEYZ\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_async_fetch_keys_are_there_before_the_first_request_as_without_it() {
    let scene = Scene::start().await;
    let remote = json!({ "async_fetch": { "fast_listener": true } });
    let configuration = scene.configuration_with_keys(&scene.idp, "idp", remote);
    let envoy =
        Envoy::with_filter(configuration, &scene.upstream).cluster("idp", scene.idp.address()).start().await;
    let is_fetched = async || scene.idp.fetches() == 1;
    eventually("keys are fetched without a request", Duration::from_secs(20), is_fetched).await;
    assert_eq!(scene.good_request("/x").send(envoy.gateway()).await.status, 200);
    assert_eq!(scene.idp.fetches(), 1, "the request needed no fetch of its own");
}
