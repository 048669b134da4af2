//! Several workers of one process: VMs that share their data and their time.
//!
//! Takes hosts that stand beside each other (or what a test has built around each of them), lets
//! time pass for all of them at once. Whatever falls due happens in the order of the clock, and in
//! the order of the workers where several fall due at one moment: no worker is ever ahead of what
//! another could have done before. Does not know what the workers say to each other.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::host::Host;
use super::http_call::Call;

/// Workers whose clocks go together. A slice of them otherwise.
pub struct Fleet<W = Host>(Vec<W>);

impl<W: AsRef<Host> + AsMut<Host>> Fleet<W> {
    /// Panics when the clocks of the workers do not agree.
    pub fn new(workers: impl IntoIterator<Item = W>) -> Self {
        let workers: Vec<W> = workers.into_iter().collect();
        let mut fleet = Self(Vec::new());
        workers.into_iter().for_each(|worker| fleet.join(worker));
        fleet
    }

    /// One more worker, the last in order.
    pub fn join(&mut self, worker: W) {
        let now = worker.as_ref().now();
        assert!(self.0.is_empty() || self.now() == now, "a worker whose clock stands elsewhere");
        self.0.push(worker);
    }

    /// A worker whose thread is stuck: time passes without it from here on. The workers behind it move up by one.
    pub fn part_with(&mut self, worker: usize) -> W {
        self.0.remove(worker)
    }

    /// A VM dies without a word: no callback, no answer to its calls, and its streams are gone. What it wrote into the
    /// shared data stays. The workers behind it move up by one.
    pub fn kill(&mut self, worker: usize) {
        drop(self.part_with(worker));
    }

    pub fn now(&self) -> Duration {
        self.0.first().expect("a fleet has workers").as_ref().now()
    }

    /// Lets time pass for all, as [`Host::advance`] does for one.
    pub fn advance(&mut self, duration: Duration) {
        let until = self.now() + duration;
        loop {
            let due = self.0.iter().filter_map(|worker| worker.as_ref().next_due()).min();
            let next = due.map_or(until, |due| due.clamp(self.now(), until));
            for worker in &mut self.0 {
                let host = worker.as_mut();
                host.advance(next - host.now());
            }
            if next == until {
                return;
            }
        }
    }

    /// The calls that wait for an answer, each with the worker that made it.
    pub fn calls(&self) -> Vec<(usize, Call)> {
        let calls =
            self.0.iter().enumerate().flat_map(|(index, worker)| {
                worker.as_ref().calls().into_iter().map(move |call| (index, call))
            });
        calls.collect()
    }
}

impl<W> Deref for Fleet<W> {
    type Target = [W];

    fn deref(&self) -> &[W] {
        &self.0
    }
}

impl<W> DerefMut for Fleet<W> {
    fn deref_mut(&mut self) -> &mut [W] {
        &mut self.0
    }
}
