//! One HTTP stream as the host keeps it, and what became of it.
//!
//! Takes the decisions of the guest one after another and holds them against what an HTTP stream
//! can still do: a decision that comes too late or twice is an error that says so. Calls no guest.

use std::fmt;

use super::header_map::HeaderMap;

/// What the client or the upstream would see at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request went to the upstream.
    Continued,
    /// The request waits.
    Paused,
    /// The guest answered in place of the upstream.
    Replied(LocalReply),
    /// The guest reset the stream.
    Reset,
}

/// An answer that the guest gave itself.
#[derive(Clone, PartialEq, Eq)]
pub struct LocalReply {
    pub status: u32,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// `-1`: not a gRPC answer.
    pub grpc_status: i32,
    /// Envoy's response code details.
    pub details: Vec<u8>,
}

impl fmt::Debug for LocalReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.status, String::from_utf8_lossy(&self.body))?;
        for (name, value) in self.headers.pairs() {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            write!(f, "\n    {name}: {value}")?;
        }
        Ok(())
    }
}

/// Whether the guest can get at a header map. Envoy takes it away once the headers have moved on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Closed,
    ReadOnly,
    Open,
}

#[derive(Debug)]
pub struct Stream {
    pub root: u32,
    pub request: HeaderMap,
    pub request_access: Access,
    pub response: HeaderMap,
    pub response_access: Access,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The guest is looking at the request headers.
    Deciding,
    Settled(Outcome),
    /// The stream has ended; its context hears of it.
    Over(Outcome),
}

impl Stream {
    pub fn new(root: u32, request: HeaderMap) -> Self {
        Self {
            root,
            request,
            request_access: Access::Open,
            response: HeaderMap::default(),
            response_access: Access::Closed,
            phase: Phase::Deciding,
        }
    }

    /// The state of a stream whose headers callback has returned.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Deciding => None,
            Phase::Settled(outcome) | Phase::Over(outcome) => Some(outcome),
        }
    }

    /// The headers callback returned; a reply or a reset within it has precedence.
    pub fn decide(&mut self, pause: bool) {
        if let Phase::Deciding = self.phase {
            self.phase = Phase::Settled(if pause { Outcome::Paused } else { Outcome::Continued });
        }
        if let Phase::Settled(Outcome::Continued) = self.phase {
            self.request_access = Access::Closed;
        }
    }

    pub fn resume(&mut self) -> Result<(), &'static str> {
        match &self.phase {
            Phase::Settled(Outcome::Paused) => {
                self.phase = Phase::Settled(Outcome::Continued);
                Ok(())
            }
            Phase::Deciding => Err("a resume within the callback that decides about the request"),
            Phase::Settled(Outcome::Continued) => Err("a resume of a request that is not paused"),
            Phase::Settled(_) => Err("a resume of a request that was already answered"),
            Phase::Over(_) => Err("a resume of a stream that is over"),
        }
    }

    /// The host lets the request pass, decided or not.
    pub fn decide_anyway(&mut self) {
        self.phase = Phase::Settled(Outcome::Continued);
        self.request_access = Access::Closed;
    }

    pub fn reply(&mut self, reply: LocalReply) -> Result<(), &'static str> {
        match &self.phase {
            Phase::Deciding | Phase::Settled(Outcome::Paused) => {
                self.phase = Phase::Settled(Outcome::Replied(reply));
                Ok(())
            }
            Phase::Settled(Outcome::Continued) => {
                Err("a local reply to a request that already went to the upstream")
            }
            Phase::Settled(_) => Err("a second local reply"),
            Phase::Over(_) => Err("a local reply to a stream that is over"),
        }
    }

    pub fn reset(&mut self) {
        if !matches!(self.phase, Phase::Over(_)) {
            self.phase = Phase::Settled(Outcome::Reset);
        }
    }

    /// The stream ends: nothing can be decided any more, the maps are there for the log alone.
    pub fn end(&mut self) {
        if let Some(outcome) = self.outcome().cloned() {
            self.phase = Phase::Over(outcome);
        }
        self.request_access = Access::ReadOnly;
        self.response_access = Access::ReadOnly;
    }
}
