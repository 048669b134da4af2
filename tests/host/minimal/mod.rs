//! A host that has nothing but requests and calls, and the ways of Envoy with them.

use super::harness::Profile;

const PROFILE: Profile = Profile::minimal();

#[path = "../without_timers.rs"]
#[allow(clippy::duplicate_mod, reason = "the same cases, once for each host")]
mod keys;
