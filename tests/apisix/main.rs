//! The suites of `tests/envoy` about providers, keys and the header, through a gateway in the way of Apache APISIX.
//!
//! `gateway` is that gateway, on real sockets; `apisix` has the cases, those of `tests/envoy` and some that no Envoy has;
//! `left_out` says of every other case there why it is not run here. No Envoy is needed: `make test-apisix` builds the
//! filter and runs them.

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

mod apisix;
mod gateway;
#[path = "../host/harness/mod.rs"]
mod harness;
mod left_out;
#[allow(dead_code, reason = "the cases with Envoys use the rest of it")]
#[path = "../envoy/scene.rs"]
mod scene;
mod self_test;
#[allow(dead_code, unused_imports, reason = "the cases with Envoys use the rest of it")]
#[path = "../envoy/support/mod.rs"]
mod support;

/// What the shared suites run in: they know it by this name alone.
use gateway::Apisix as Proxy;
