//! The filter in real Envoys: real sockets, real HTTP, and identity providers that misbehave.
//!
//! Every case starts what it needs with `support` on ports of its own, so cases run side by side. `make test-envoy` builds
//! the filter, finds an Envoy and runs them; `make test-envoy CASE=name` runs those whose path has `name` in it.
//! `make test-envoy-matrix` runs them in every Envoy that is supported; what older ones cannot be asked is in `versions`.

#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod clerk_states;
mod configuration;
mod differential;
mod discovery;
mod headers;
mod headers_in_envoy;
mod key_servers;
mod keys;
mod keys_in_envoy;
mod load_test;
mod mixed_load;
mod outages;
mod providers;
mod refusals;
mod refusals_in_envoy;
mod scene;
mod self_test;
mod session_check;
mod session_check_in_envoy;
mod session_load;
mod session_status;
mod support;
mod surroundings;
mod vectors;
mod vectors_in_envoy;
mod versions;
mod wire;

/// What the suites run in that `tests/apisix` shares: they know it by this name alone.
use support::Envoy as Proxy;
