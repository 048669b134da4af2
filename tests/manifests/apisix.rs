//! The files for Apache APISIX say the same as `envoy.yaml`.

use edge_authn::config::{CallBy, Config, Surroundings};
use serde_json::{Value, json};

use crate::files::{at, filter_of_envoy, text, yaml};

/// The configuration of the filter in `apisix.yaml`.
fn conf() -> Value {
    at(&yaml("apisix/apisix.yaml"), "/routes/0/plugins/edge-authn/conf").clone()
}

/// Goes through all values from the inside out.
fn each(value: &mut Value, change: &impl Fn(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| each(member, change)),
        _ => {}
    }
    change(value);
}

/// The configuration in `envoy.yaml` as it must be for APISIX: no clusters, and secrets where the names of variables are.
fn conf_of_envoy() -> Value {
    let envoy = yaml("envoy.yaml");
    let filter = filter_of_envoy(&envoy);
    let variables = at(filter, "/vm_config/environment_variables/key_values");
    let mut conf = at(filter, "/configuration/value").clone();
    each(&mut conf, &|value| {
        if let Value::Object(members) = value {
            members.remove("cluster");
        }
        if let Some(name) = value.get("environment_variable") {
            *value = variables[name.as_str().unwrap()].clone();
        }
    });
    // In Envoy its cluster leads to the demo's server.
    let uri = conf["providers"]["demo"]["remote_jwks"]["http_uri"]["uri"].as_str().unwrap();
    let server = uri.strip_suffix("/.well-known/jwks.json").unwrap();
    conf["providers"]["stack"]["url"] = json!(server);
    conf
}

#[test]
fn apisix_has_the_providers_and_rules_of_envoy_yaml() {
    assert_eq!(conf(), conf_of_envoy());
}

#[test]
fn the_filter_reads_the_same_out_of_both_without_an_environment_in_apisix() {
    let envoy = yaml("envoy.yaml");
    let filter = filter_of_envoy(&envoy);
    let variable = |name: &str| {
        let variables = at(filter, "/vm_config/environment_variables/key_values");
        variables[name].as_str().map(str::to_owned)
    };
    let read = |conf: &Value, surroundings| {
        let config = Config::parse_in(conf.to_string().as_bytes(), surroundings).unwrap();
        assert_eq!(config.warnings, [""; 0]);
        let shown = format!("{config:#?}");
        // Each host has its own way to find a server.
        let is_where = |line: &&str| ["cluster: ", "call_by: "].iter().any(|name| line.contains(name));
        shown.lines().filter(|line| !is_where(line)).collect::<Vec<_>>().join("\n")
    };
    let in_envoy = Surroundings { variable: &variable, call_by: CallBy::Cluster };
    let in_apisix = Surroundings { variable: &|_| None, call_by: CallBy::Address };
    let mut of_envoy = at(filter, "/configuration/value").clone();
    of_envoy["providers"]["stack"]["url"] = conf()["providers"]["stack"]["url"].clone();
    assert_eq!(read(&conf(), in_apisix), read(&of_envoy, in_envoy));
}

#[test]
fn no_list_is_empty_and_nothing_is_null() {
    // Through APISIX both arrive as an empty object.
    each(&mut conf(), &|value| assert!(*value != json!([]) && !value.is_null(), "{value}"));
}

#[test]
fn the_route_is_for_all_paths_and_leads_to_the_upstream_of_envoy_yaml() {
    let (routes, envoy) = (yaml("apisix/apisix.yaml"), yaml("envoy.yaml"));
    assert_eq!(at(&routes, "/routes").as_array().unwrap().len(), 1);
    let route = at(&routes, "/routes/0");
    assert_eq!(route["uri"], "/*");
    let upstream = at(
        &envoy,
        "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address",
    );
    let upstream = at(upstream, "/socket_address");
    let node = format!("{}:{}", upstream["address"].as_str().unwrap(), upstream["port_value"]);
    assert_eq!(*at(route, "/upstream/nodes"), json!({ node: 1 }));
}

#[test]
fn apisix_knows_where_the_file_of_routes_ends() {
    assert!(text("apisix/apisix.yaml").ends_with("\n#END\n"));
}

#[test]
fn the_filter_runs_in_the_phase_and_at_the_place_of_apisix_authentication() {
    let config = yaml("apisix/config.yaml");
    let plugins = at(&config, "/wasm/plugins").as_array().unwrap().clone();
    assert_eq!(plugins.len(), 1);
    assert_eq!(
        plugins[0],
        json!({
            "name": "edge-authn",
            "priority": 2599,
            "file": "/usr/local/apisix/wasm/edge_authn.wasm",
            "http_request_phase": "rewrite",
        })
    );
    let deployment = at(&config, "/deployment");
    assert_eq!(
        *deployment,
        json!({ "role": "data_plane", "role_data_plane": { "config_provider": "yaml" } })
    );
}
