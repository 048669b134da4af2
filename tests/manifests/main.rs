//! The files that users copy or run: docker-compose.yaml, the Dockerfile, apisix/ and istio/, and the image for registries.
//! Where the tool that they are for is not at hand, they are held against what it publishes and against each other.
#![cfg(not(target_family = "wasm"))]
// A failed expectation is how a test fails, and tests are no public interface.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod apisix;
mod compose;
mod dockerfile;
mod files;
mod image;
mod istio;
mod servers;
