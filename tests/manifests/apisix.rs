//! The files for Apache APISIX say the same as `envoy.yaml`.

use edge_authn::config::Config;
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
    // Its preset takes the name of a variable alone, so the headers of its question are written out.
    let stack = &mut conf["providers"]["stack"];
    let secret = variables[stack["secret_key_variable"].as_str().unwrap()].clone();
    stack["secret_key_variable"] = json!("none");
    stack["session_check"]["headers"] = json!({
        "x-stack-access-type": "server",
        "x-stack-project-id": stack["project_id"].clone(),
        "x-stack-secret-server-key": secret,
    });
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
    let read = |conf: &Value, environment: &dyn Fn(&str) -> Option<String>| {
        let config = Config::parse(conf.to_string().as_bytes(), environment).unwrap();
        assert_eq!(config.warnings, [""; 0]);
        format!("{config:#?}")
    };

    let mut conf = conf();
    // Envoy's name for where a call goes, which APISIX does not need.
    for name in ["oneauxilia", "authgear", "stack"] {
        conf["providers"][name]["cluster"] = json!("identity_provider");
    }
    conf["providers"]["demo"]["remote_jwks"]["http_uri"]["cluster"] = json!("identity_provider");
    assert_eq!(read(&conf, &|_| None), read(at(filter, "/configuration/value"), &variable));
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
