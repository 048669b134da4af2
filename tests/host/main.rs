//! The filter in a Wasm VM, under hosts of several kinds.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test that meets what it did not expect is to stop there, with a message"
)]

/// Makes tests of functions that take the profile of a host without timers: each is run on every one of them.
macro_rules! on_each_host_without_timers {
    ($($test:ident),* $(,)?) => {
        mod without_timers {
            $(
                #[test]
                fn $test() {
                    for profile in crate::harness::Profile::WITHOUT_TIMERS {
                        println!("on {:?}", profile.kind);
                        super::$test(profile);
                    }
                }
            )*
        }
    };
}
use on_each_host_without_timers;

mod apisix;
mod cleared_cookies;
mod counters;
mod discovery;
mod failures;
#[path = "../vectors/foreign.rs"]
mod foreign;
mod harness;
mod harness_itself;
mod host_crypto;
mod hostile;
mod hot_path;
mod istio;
mod key_ids;
mod key_review;
mod keys_by_kid;
mod lifecycle;
mod manifests;
mod memory;
mod minimal;
mod module;
mod panics;
mod properties;
mod regressions;
mod scene;
mod secrets;
mod session_check;
mod session_status;
mod waiting;
mod workers;
