//! The cases: suites that are written once, in `tests/envoy`, and run there through real Envoys; and `background` and
//! `outages`, where APISIX has ways of its own.

mod background;
#[path = "../envoy/clerk_states.rs"]
mod clerk_states;
#[path = "../envoy/discovery.rs"]
mod discovery;
#[path = "../envoy/headers.rs"]
mod headers;
#[path = "../envoy/key_servers.rs"]
mod key_servers;
#[path = "../envoy/keys.rs"]
mod keys;
#[path = "../envoy/mixed_load.rs"]
mod mixed_load;
mod outages;
#[path = "../envoy/providers.rs"]
mod providers;
#[path = "../envoy/refusals.rs"]
mod refusals;
#[path = "../envoy/session_check.rs"]
mod session_check;
#[path = "../envoy/session_status.rs"]
mod session_status;
#[path = "../envoy/vectors.rs"]
mod vectors;
#[path = "../envoy/wire/mod.rs"]
mod wire;
