//! The core without a host: requests, key servers and time as values, flows as sentences.
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

mod alb;
mod architecture;
mod authgear_resolver;
mod browser_session;
mod browsers;
mod claims_format;
mod configuration;
mod discovery;
mod documentation;
mod issuer_templates;
mod key_ids;
mod key_review;
mod key_schedule;
mod key_sharing;
mod keys_by_kid;
mod kratos;
mod padded_segments;
mod peers_holes;
mod presets;
mod property;
mod refusals;
mod requirements;
mod restrictions;
mod review;
mod rewriting;
mod route_match;
mod second_review;
mod session_check;
mod session_check_background;
mod session_check_kinds;
mod session_status;
mod stack_auth;
mod support;
mod third_review;
mod timeline;
mod token_cache;
mod token_cache_off;
mod two_providers;

#[path = "../../demo/tokens.rs"]
#[allow(dead_code, reason = "the demo uses more of it")]
mod tokens;
