//! Apache APISIX: nginx with its Wasm module.

use super::harness::Profile;

const PROFILE: Profile = Profile::apisix();

mod harness;
#[path = "../without_timers.rs"]
#[allow(clippy::duplicate_mod, reason = "the same cases, once for each host")]
mod keys;
mod rules;
