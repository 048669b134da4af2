//! What a host holds besides the VM: everything that host calls read and change.
//!
//! Takes the changes that imports make, keeps those that Envoy defers (resume, local reply, done)
//! until the VM call has returned. Calls no guest.

use std::collections::BTreeMap;

use wasmtime::StoreLimits;

use super::abi::{Level, MapType, Status};
use super::header_map::HeaderMap;
use super::http_call::{CallResponse, HttpCalls};
use super::metrics::Metrics;
use super::shared_data::SharedData;
use super::stream::{Access, LocalReply, Stream};
use super::{Log, Profile};

/// A registered foreign function.
pub type ForeignFunction = Box<dyn FnMut(&[u8]) -> Result<Vec<u8>, Status>>;

#[derive(Default)]
pub struct State {
    pub profile: Profile,
    /// The virtual wall clock, nanoseconds since the epoch.
    pub now_ns: u64,
    pub random: u64,
    /// What the process passes on: `NAME=value` and a NUL each.
    pub environment: Vec<Vec<u8>>,
    pub limits: StoreLimits,
    pub logs: Vec<Log>,
    pub log_level: u32,
    pub roots: BTreeMap<u32, Root>,
    pub streams: BTreeMap<u32, Stream>,
    /// The context that the host called, and the one the guest chose instead.
    pub current: u32,
    pub effective: Option<u32>,
    pub effects: Vec<Effect>,
    /// A local reply was sent in this VM call: Envoy stops the iteration whatever the guest returns.
    pub stop_iteration: bool,
    /// An HTTP call was made in this VM call.
    pub dispatched: bool,
    /// What no correct filter does; the host panics with it once the VM call has returned.
    pub misuse: Vec<String>,
    pub calls: HttpCalls,
    pub response: Option<CallResponse>,
    /// `proxy_get_status`: what went wrong with the call that is being answered.
    pub call_status: (u32, &'static str),
    pub shared: SharedData,
    pub metrics: Metrics,
    pub properties: BTreeMap<Vec<u8>, Vec<u8>>,
    pub written_properties: BTreeMap<(u32, Vec<u8>), Vec<u8>>,
    pub foreign: BTreeMap<String, ForeignFunction>,
    /// How often the guest called each import that is counted.
    pub host_calls: BTreeMap<&'static str, u64>,
    /// How often it was asked for memory.
    pub allocations: u64,
    pub vm_configuration: Vec<u8>,
    /// Readable while a plugin starts or configures itself.
    pub plugin_configuration: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
pub struct Root {
    pub tick: Option<Tick>,
    /// Replaced; goes as soon as its last stream has gone.
    pub retired: bool,
    /// `proxy_on_done` answered false: deleted by `proxy_done`.
    pub draining: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Tick {
    pub period_ns: u64,
    pub due_ns: u64,
}

/// What Envoy does after the VM call that asked for it has returned.
#[derive(Debug)]
pub enum Effect {
    Resume { context: u32 },
    Reply { context: u32, reply: LocalReply },
    Reset { context: u32 },
    Done { root: u32 },
}

impl State {
    pub fn knows(&self, context: u32) -> bool {
        self.roots.contains_key(&context) || self.streams.contains_key(&context)
    }

    /// The context that a host call acts on.
    pub fn effective(&self) -> u32 {
        self.effective.filter(|id| self.knows(*id)).unwrap_or(self.current)
    }

    pub fn count(&mut self, import: &'static str) {
        *self.host_calls.entry(import).or_default() += 1;
    }

    pub fn root_of(&self, context: u32) -> u32 {
        self.streams.get(&context).map_or(context, |stream| stream.root)
    }

    pub fn log(&mut self, level: Level, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.logs.push(Log { level, text, context: self.current });
    }

    pub fn map(&self, map: MapType) -> Option<&HeaderMap> {
        let context = self.effective();
        if map == MapType::CallResponseHeaders {
            return self.call_response().map(|response| &response.headers);
        }
        let stream = self.streams.get(&context)?;
        let (map, access) = match map {
            MapType::RequestHeaders => (&stream.request, stream.request_access),
            MapType::ResponseHeaders => (&stream.response, stream.response_access),
            MapType::CallResponseHeaders | MapType::Absent => return None,
        };
        (access != Access::Closed).then_some(map)
    }

    pub fn map_mut(&mut self, map: MapType) -> Option<&mut HeaderMap> {
        let context = self.effective();
        let stream = self.streams.get_mut(&context)?;
        let (map, access) = match map {
            MapType::RequestHeaders => (&mut stream.request, stream.request_access),
            MapType::ResponseHeaders => (&mut stream.response, stream.response_access),
            MapType::CallResponseHeaders | MapType::Absent => return None,
        };
        (access == Access::Open).then_some(map)
    }

    /// The answer that is being delivered, if it is for the effective context's root.
    pub fn call_response(&self) -> Option<&CallResponse> {
        let root = self.root_of(self.effective());
        self.response.as_ref().filter(|response| response.root == root)
    }
}
