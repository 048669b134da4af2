//! The clock, read once per event.
//!
//! From WASI, which every host has; the proxy-wasm clock call does not exist on APISIX.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::UnixTime;

/// A number that differs between VMs, which are never configured in the same nanosecond. Nothing secret hangs on it.
pub(super) fn seed() -> u64 {
    now().nanos_since_epoch()
}

/// The time now. A clock before 1970 reads as 1970, where no key is fresh and every `nbf` lies ahead.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub(super) fn now() -> UnixTime {
    UnixTime::new(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
