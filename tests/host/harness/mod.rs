//! A proxy-wasm host for tests: the real filter in a real Wasm VM, the world around it in the
//! hands of the test.
//!
//! Takes a compiled filter and a [`Profile`] and behaves as a host of that kind does, Envoy unless
//! it is another, with a virtual clock and with HTTP calls that the test answers. Gives what a client, an upstream and an operator would
//! see: the [`Outcome`] of each stream, the request headers that go on, pending calls, logs and
//! metrics. A trap and a misuse of the host (a resume of a request that is not paused, a second
//! reply, a line break in a header) panic with the logs, so no test passes over them.
//!
//! Deliberately absent: bodies and trailers of streams, TCP, gRPC, queues, threads, sockets, time
//! that passes by itself, and Envoy's main-thread trial run of a configuration.
#![allow(dead_code, unused_imports, reason = "each test uses a part of the host")]

mod abi;
mod env;
mod fleet;
mod header_map;
mod host;
mod http_call;
mod memory;
mod metrics;
mod nginx;
mod program;
mod shared_data;
mod state;
mod stream;
mod vm;
mod wasi;

use std::fmt;

pub use abi::{Level, Status};
pub use fleet::Fleet;
pub use header_map::HeaderMap;
pub use host::{Effort, Host, RootId, StreamId};
pub use http_call::{Call, CallId};
pub use program::{Import, Program};
pub use shared_data::{SharedData, Sharing};
pub use stream::{LocalReply, Outcome};

/// Whose ways a host has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Envoy,
    /// Those of Envoy as far as the ABI has words for them; it finds servers by their addresses.
    Bare,
    /// Those of nginx with its Wasm module.
    Nginx,
}

/// What a kind of host can do. A capability that is missing answers `Unimplemented`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub kind: Kind,
    pub ticks: bool,
    pub shared_data: Sharing,
    pub foreign_functions: bool,
    pub metrics: bool,
    /// Whether there are calls, and contexts that a guest may choose.
    pub calls: bool,
    pub properties: bool,
    /// Every HTTP call is its root's, also one that a stream asked for: it outlives that stream,
    /// and the root is called back. Otherwise a call is cancelled with the stream that asked.
    pub calls_belong_to_root: bool,
}

impl Profile {
    pub const fn envoy() -> Self {
        Self {
            kind: Kind::Envoy,
            ticks: true,
            shared_data: Sharing::AsEnvoy,
            foreign_functions: true,
            metrics: true,
            calls: true,
            properties: true,
            calls_belong_to_root: true,
        }
    }

    /// Apache APISIX. It has none of it either, and ways of its own.
    pub const fn apisix() -> Self {
        Self { kind: Kind::Nginx, ..Self::minimal() }
    }

    /// Istio's: an Envoy whose filters all share one space, since none of them can have a `vm_id`.
    pub const fn istio() -> Self {
        Self::envoy()
    }

    /// Every host on which nothing happens between requests.
    pub const WITHOUT_TIMERS: [Self; 2] = [Self::minimal(), Self::apisix()];

    /// One that has requests and nothing else.
    pub const fn bare() -> Self {
        Self { calls: false, properties: false, ..Self::minimal() }
    }

    /// A host that has none of it but calls.
    pub const fn minimal() -> Self {
        Self {
            kind: Kind::Bare,
            ticks: false,
            shared_data: Sharing::Absent,
            foreign_functions: false,
            metrics: false,
            calls: true,
            properties: true,
            calls_belong_to_root: false,
        }
    }
}

/// One line that the guest logged or printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: Level,
    /// Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The context that the host had called.
    pub context: u32,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.context, self.level, self.text)
    }
}

/// Why a module did not become a running host.
#[derive(Clone, Debug)]
pub enum LoadError {
    /// The file cannot be read or is not a valid module.
    Compile(String),
    /// The module imports what no host of this kind defines, or with another type.
    UnknownImports(Vec<Import>),
    /// The module trapped while it was initialised.
    Trapped(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compile(problem) => write!(f, "the module does not compile: {problem}"),
            Self::UnknownImports(imports) => {
                write!(f, "the module imports what this host does not define:")?;
                imports.iter().try_for_each(|i| write!(f, "\n    {}.{}: {}", i.module, i.name, i.ty))
            }
            Self::Trapped(trap) => write!(f, "the module trapped while it was initialised: {trap}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// The guest did not accept its configuration.
#[derive(Clone, Debug)]
pub struct Refused {
    /// `proxy_on_vm_start` or `proxy_on_configure`.
    pub by: &'static str,
    /// What the guest said during the attempt.
    pub logs: Vec<Log>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused", self.by)?;
        self.logs.iter().try_for_each(|log| write!(f, "\n    {log}"))
    }
}

impl std::error::Error for Refused {}
