//! What the built module asks of a host, and what it offers one.

use std::collections::BTreeSet;

use super::harness::{Host, Profile};
use super::scene::filter;

/// Everything that the module may import, with the reason why every host has it. A module with any other import is not
/// instantiated by one of the hosts, which leaves its routes without authentication or without service.
const ALLOWED: &[(&str, &str, &[&str])] = &[
    (
        "env",
        "what the filter calls: real in Envoy, real or answered by a status in APISIX",
        &[
            "proxy_log",
            "proxy_get_buffer_bytes",
            "proxy_get_header_map_pairs",
            "proxy_replace_header_map_value",
            "proxy_remove_header_map_value",
            "proxy_send_local_response",
            "proxy_http_call",
            "proxy_set_effective_context",
            "proxy_continue_stream",
            "proxy_set_tick_period_milliseconds",
            "proxy_define_metric",
            "proxy_increment_metric",
        ],
    ),
    (
        "env",
        "what the SDK's traits pull in without being called: defined by both, `proxy_get_metric` and \
         `proxy_get_log_level` are not",
        &[
            "proxy_set_property",
            "proxy_get_property",
            "proxy_get_shared_data",
            "proxy_set_shared_data",
            "proxy_register_shared_queue",
            "proxy_resolve_shared_queue",
            "proxy_dequeue_shared_queue",
            "proxy_enqueue_shared_queue",
            "proxy_get_header_map_value",
            "proxy_add_header_map_value",
            "proxy_set_header_map_pairs",
            "proxy_set_buffer_bytes",
            "proxy_get_current_time_nanoseconds",
            "proxy_close_stream",
            "proxy_done",
            "proxy_get_status",
            "proxy_grpc_call",
            "proxy_grpc_stream",
            "proxy_grpc_send",
            "proxy_grpc_cancel",
            "proxy_grpc_close",
            "proxy_call_foreign_function",
        ],
    ),
    (
        "wasi_snapshot_preview1",
        "what Rust's standard library needs, within the few functions that Envoy has; APISIX has all of WASI",
        &["clock_time_get", "environ_get", "environ_sizes_get", "fd_write", "proc_exit", "random_get"],
    ),
];

#[test]
fn the_module_imports_nothing_that_a_host_may_lack() {
    let allowed: BTreeSet<_> = ALLOWED
        .iter()
        .flat_map(|(module, _, names)| names.iter().map(move |name| (*module, *name)))
        .collect();
    let imports = filter().imports();
    let other: Vec<_> = imports
        .iter()
        .filter(|import| !allowed.contains(&(import.module.as_str(), import.name.as_str())))
        .collect();
    assert!(other.is_empty(), "{other:#?}");
}

#[test]
fn the_module_exports_what_hosts_look_for() {
    let exports = filter().exports();
    let expected = [
        ("proxy_abi_version_0_2_1", "func()"),
        ("_initialize", "func()"),
        ("proxy_on_memory_allocate", "func(i32) -> i32"),
        ("proxy_on_context_create", "func(i32, i32)"),
        ("proxy_on_vm_start", "func(i32, i32) -> i32"),
        ("proxy_on_configure", "func(i32, i32) -> i32"),
        ("proxy_on_tick", "func(i32)"),
        ("proxy_on_request_headers", "func(i32, i32, i32) -> i32"),
        ("proxy_on_request_trailers", "func(i32, i32) -> i32"),
        ("proxy_on_http_call_response", "func(i32, i32, i32, i32, i32)"),
        ("proxy_on_request_body", "func(i32, i32, i32) -> i32"),
        ("proxy_on_done", "func(i32) -> i32"),
        ("proxy_on_delete", "func(i32)"),
    ];
    for (name, ty) in expected {
        let found = exports.iter().find(|(export, _)| export == name);
        assert_eq!(found.map(|(_, ty)| ty.as_str()), Some(ty), "{name}");
    }
    assert!(exports.iter().any(|(name, _)| name == "memory"));
    // Each further callback would be one more way into the VM for every request.
    let others = exports
        .iter()
        .filter(|(name, _)| name != "memory" && expected.iter().all(|(wanted, _)| wanted != name));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&(String, String)>::new());
    let abis: Vec<_> = exports.iter().filter(|(name, _)| name.starts_with("proxy_abi_version")).collect();
    assert_eq!(abis.len(), 1, "one ABI is spoken: {abis:?}");
    // A host takes `_start` for the sign of a command and then calls no `_initialize`.
    assert!(exports.iter().all(|(name, _)| name != "_start" && name != "main"));
}

#[test]
fn the_module_starts_on_a_host_that_has_nothing_but_the_calls() {
    for profile in [Profile::envoy(), Profile::minimal(), Profile::apisix()] {
        Host::new(&filter(), profile).unwrap();
    }
}

/// Panic messages carry the paths of sources; `make wasm` maps them.
#[test]
fn the_module_does_not_tell_where_it_was_built() {
    let module = std::fs::read(super::scene::filter_path()).unwrap();
    let home = std::env::var("HOME").unwrap();
    for place in [env!("CARGO_MANIFEST_DIR"), &format!("{home}/.cargo")] {
        assert!(!module.windows(place.len()).any(|window| window == place.as_bytes()), "{place}");
    }
}
