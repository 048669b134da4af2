//! What this host can do, found out by asking it when a configuration is loaded.
//!
//! Takes nothing but statuses, gives [`Capabilities`]. Nothing is assumed from a name or a version: each answer is to the
//! very call that depends on it. What can be found out by using it is not asked here: shared data (`shared_data.rs`),
//! signatures (`host_crypto.rs`), counters (`metrics.rs`). What only a request can tell is in `nginx.rs`.

use crate::config::CallBy;
use crate::host::calls;

/// A property that Envoy has of every filter and hosts without clusters do not have.
const OF_ENVOY: &str = "plugin_name";

/// What this host can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capabilities {
    /// Whether the root context is called when time has passed, and can make calls then.
    pub(super) timers: bool,
    /// Whether calls can be made and their answers taken in.
    pub(super) calls: bool,
    /// How the servers are found that are called.
    pub(super) call_by: CallBy,
}

impl Capabilities {
    /// Asks the host of the running root context, whose id this is. Stops its timer.
    pub(super) fn probe(root_id: u32) -> Self {
        let is_envoy = calls::property(OF_ENVOY).is_some();
        Self {
            timers: calls::set_tick_period(None).is_ok(),
            // The SDK sets the context before it hands an answer over, and panics where it cannot.
            calls: calls::can_dispatch() && calls::set_effective_context(root_id).is_ok(),
            call_by: if is_envoy { CallBy::Cluster } else { CallBy::Address },
        }
    }
}
