//! The numbers of the proxy-wasm ABI 0.2.1: statuses, map and buffer types, log levels.
//!
//! Takes nothing, gives names for the integers that cross the boundary and the one error type of
//! a host call. Knows nothing of what a call does.

use std::fmt;

/// What a host call answers when it is not `0`, ok.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    NotFound = 1,
    BadArgument = 2,
    SerializationFailure = 3,
    ParseFailure = 4,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
    BrokenConnection = 11,
    Unimplemented = 12,
}

/// Why a host call did not do what it was asked.
#[derive(Debug)]
pub enum Fault {
    /// The guest is told by a status and may go on.
    Status(Status),
    /// The guest is told by a number of the test's choice, which may be no status at all.
    Number(u32),
    /// The guest is dead: it trapped while the host called back into its allocator.
    Trap(wasmtime::Error),
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// The integer that a host call answers, or the trap that goes on through the guest.
pub fn answer(result: Result<(), Fault>) -> wasmtime::Result<u32> {
    match result {
        Ok(()) => Ok(0),
        Err(Fault::Status(status)) => Ok(status as u32),
        Err(Fault::Number(number)) => Ok(number),
        Err(Fault::Trap(trap)) => Err(trap),
    }
}

/// The header maps that this host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    RequestHeaders,
    ResponseHeaders,
    CallResponseHeaders,
    /// A map of the ABI that is always absent here: trailers, gRPC metadata.
    Absent,
}

impl MapType {
    pub fn from_abi(number: u32) -> Result<Self, Status> {
        match number {
            0 => Ok(Self::RequestHeaders),
            2 => Ok(Self::ResponseHeaders),
            6 => Ok(Self::CallResponseHeaders),
            1 | 3 | 4 | 5 | 7 => Ok(Self::Absent),
            _ => Err(Status::BadArgument),
        }
    }
}

/// The buffers that this host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferType {
    CallResponseBody,
    VmConfiguration,
    PluginConfiguration,
    /// A buffer of the ABI that is always absent here: request and response bodies, TCP data, gRPC.
    Absent,
}

impl BufferType {
    pub fn from_abi(number: u32) -> Result<Self, Status> {
        match number {
            4 => Ok(Self::CallResponseBody),
            6 => Ok(Self::VmConfiguration),
            7 => Ok(Self::PluginConfiguration),
            0..=8 => Ok(Self::Absent),
            _ => Err(Status::BadArgument),
        }
    }
}

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl Level {
    pub fn from_abi(number: u32) -> Result<Self, Status> {
        const LEVELS: [Level; 6] =
            [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];
        LEVELS.get(number as usize).copied().ok_or(Status::BadArgument)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
