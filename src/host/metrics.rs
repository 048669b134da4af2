//! Counters of the host, each defined when it is needed first.
//!
//! A host without metrics answers with a status, which is no reason to stop, nor to ask again.

use std::collections::BTreeMap;

use crate::host::calls;
use crate::metric::Metric;

/// The counters of one configuration.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By their names; `None` of one that the host does not count.
    ids: BTreeMap<String, Option<u32>>,
}

impl Counters {
    /// Counts one more; `prefix` is that of the configuration.
    pub(super) fn count(&mut self, metric: Metric<'_>, prefix: &str) {
        let name = metric.name(prefix);
        let id = *self.ids.entry(name).or_insert_with_key(|name| calls::define_counter(name).ok());
        if let Some(id) = id {
            // A counter that was defined can be incremented; if not, nobody is worse off.
            let _ = calls::increment_counter(id);
        }
    }
}
