//! HTTP calls of the guest.
//!
//! Takes what the guest dispatched, refuses what Envoy refuses, keeps the rest until the test
//! answers it or its timeout passes. Sends nothing anywhere.

use std::collections::BTreeMap;

use super::abi::Status;
use super::header_map::HeaderMap;

/// A call that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub id: CallId,
    pub cluster: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
    /// In milliseconds; `0` is none.
    pub timeout_ms: u32,
    /// The effective context at dispatch: a stream or a root.
    pub asked_by: u32,
    /// The context that is called back: the root, unless the profile leaves calls to the streams.
    pub owner: u32,
    /// When the timeout passes, on the virtual clock.
    pub(super) deadline_ns: Option<u64>,
}

/// The token of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u32);

/// What the guest reads during the callback.
#[derive(Debug)]
pub struct CallResponse {
    /// The root whose contexts may read it.
    pub root: u32,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cluster {
    Healthy,
    /// Refuses inline: no healthy host, open circuit breaker.
    Failing,
}

#[derive(Debug, Default)]
pub struct HttpCalls {
    clusters: BTreeMap<String, Cluster>,
    pending: BTreeMap<CallId, Call>,
    last_id: u32,
}

impl HttpCalls {
    pub fn add_cluster(&mut self, name: &str, failing: bool) {
        let cluster = if failing { Cluster::Failing } else { Cluster::Healthy };
        self.clusters.insert(name.to_owned(), cluster);
    }

    /// The same clusters, and no calls: those of another VM.
    pub fn beside(&self) -> Self {
        Self { clusters: self.clusters.clone(), ..Self::default() }
    }

    /// Takes a call in, under a token of its own, if Envoy would.
    pub fn dispatch(&mut self, call: Call) -> Result<CallId, Status> {
        let cluster = self.clusters.get(&call.cluster).ok_or(Status::BadArgument)?;
        let named = |name| call.headers.get(name).is_some();
        if !(named(":path") && named(":method") && named(":authority")) {
            return Err(Status::BadArgument);
        }
        if i32::try_from(call.timeout_ms).is_err() {
            return Err(Status::BadArgument);
        }
        if *cluster == Cluster::Failing {
            return Err(Status::InternalFailure);
        }
        Ok(self.take_in(call))
    }

    /// Takes a call in, under a token of its own, if nginx would: to any host, but for one that is said to fail.
    pub fn dispatch_to_address(&mut self, call: Call) -> Result<CallId, Status> {
        match self.clusters.get(&call.cluster) {
            Some(Cluster::Failing) => Err(Status::InternalFailure),
            Some(Cluster::Healthy) | None => Ok(self.take_in(call)),
        }
    }

    /// Takes a call in, under a token of its own.
    fn take_in(&mut self, mut call: Call) -> CallId {
        self.last_id += 1;
        call.id = CallId(self.last_id);
        let id = call.id;
        self.pending.insert(id, call);
        id
    }

    pub fn take(&mut self, id: CallId) -> Option<Call> {
        self.pending.remove(&id)
    }

    pub fn forget_timeout(&mut self, id: CallId) {
        if let Some(call) = self.pending.get_mut(&id) {
            call.deadline_ns = None;
        }
    }

    pub fn cancel_of(&mut self, owner: u32) {
        self.pending.retain(|_, call| call.owner != owner);
    }

    pub fn pending(&self) -> impl Iterator<Item = &Call> {
        self.pending.values()
    }
}
