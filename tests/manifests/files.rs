//! Files of the repository, as text and as values.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A value for each document of a file.
pub fn documents(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands at a place in a value, which must be there.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("there is no {pointer} in {value:#}"))
}

/// The version of this crate.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Wasm filter in `envoy.yaml`.
pub fn filter_of_envoy(envoy: &Value) -> &Value {
    at(
        envoy,
        "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/0/typed_config/config",
    )
}

/// The address and the port of the listener in `envoy.yaml`.
pub fn listener_of_envoy(envoy: &Value) -> (&str, u64) {
    let address = at(envoy, "/static_resources/listeners/0/address/socket_address");
    (at(address, "/address").as_str().unwrap(), at(address, "/port_value").as_u64().unwrap())
}
