//! Envoy's bootstrap for a case, as JSON.
//!
//! Listeners take any free port. Paths are not normalised and headers not restricted, as in an Envoy that nobody has
//! hardened: the filter must be safe there too.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

/// The listener whose requests pass the filter, if there is one.
pub const GATEWAY: &str = "gateway";
/// The listener whose requests pass Envoy's own `jwt_authn`.
pub const NATIVE: &str = "native";

const UPSTREAM: &str = "upstream";

pub fn bootstrap(listeners: &[Value], upstream: SocketAddr, clusters: &[(String, SocketAddr)]) -> Value {
    let clusters: Vec<Value> = [(UPSTREAM.to_owned(), upstream)]
        .iter()
        .chain(clusters)
        .map(|(name, address)| cluster(name, *address))
        .collect();
    json!({
        "admin": { "address": socket_address("127.0.0.1:0".parse().unwrap()) },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

/// A listener on a free port that routes everything to the upstream, through `filter` if there is one.
pub fn listener(name: &str, filter: Option<Value>) -> Value {
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
    });
    let filters: Vec<Value> = filter.into_iter().chain([router]).collect();
    let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": UPSTREAM } });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": filters,
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
    });
    json!({
        "name": name,
        "address": socket_address("127.0.0.1:0".parse().unwrap()),
        "filter_chains": [{
            "filters": [{ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager }],
        }],
    })
}

/// The filter under test, set up as `envoy.yaml` does it.
pub fn edge_authn(module: &Path, configuration: &str) -> Value {
    json!({
        "name": "edge_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "edge_authn",
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "vm_id": "edge_authn",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": module } },
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": configuration,
                },
            },
        },
    })
}

/// Has every listener's filter, which must be the one under test, see these environment variables.
pub fn pass_on(bootstrap: &mut Value, variables: &Map<String, Value>) {
    for listener in bootstrap["static_resources"]["listeners"].as_array_mut().unwrap() {
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        let config = &mut manager["http_filters"][0]["typed_config"]["config"];
        config["vm_config"]["environment_variables"] = json!({ "key_values": variables });
    }
}

/// Envoy's own filter; `configuration` is its message without `@type`.
pub fn jwt_authn(mut configuration: Value) -> Value {
    configuration["@type"] =
        json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
    json!({ "name": "envoy.filters.http.jwt_authn", "typed_config": configuration })
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    let endpoint = json!({ "endpoint": { "address": socket_address(address) } });
    json!({
        "name": name,
        "connect_timeout": "2s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
        // HTTP/2 in, HTTP/2 out.
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "use_downstream_protocol_config": { "http_protocol_options": {}, "http2_protocol_options": {} },
            },
        },
    })
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}
