//! Host calls that return every status as a value and every header as bytes.
//!
//! The functions of the proxy-wasm ABI 0.2.1 that the filter needs, declared here because the SDK's wrappers panic on
//! any status they do not list and on any header that is not UTF-8. Hosts do answer statuses beyond the ABI's (APISIX:
//! 12, "unimplemented"). One call is still the SDK's: [`dispatch_http_call`], since only the SDK can route the answer
//! back; the statuses it knows are all that Envoy and APISIX give.

use std::fmt;
use std::time::Duration;

use crate::call::Call;
use crate::config::{CallBy, Endpoint};
use crate::rejection::Reply;
use crate::request::HeaderFields;

pub(super) use proxy_wasm::types::{BufferType, LogLevel, MapType};

/// A host call that did not end with the status OK.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostError {
    call: &'static str,
    status: u32,
}

impl HostError {
    /// The host handed over a request without a single header field, which no request is.
    pub(super) const NO_REQUEST: Self = Self { call: "proxy_get_header_map_pairs", status: STATUS_NOT_FOUND };

    /// The host makes no calls.
    pub(super) const NO_CALLS: Self = Self { call: "proxy_http_call", status: STATUS_UNIMPLEMENTED };
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host answered {} with status {}", self.call, self.status)
    }
}

/// A buffer that the host allocated in the VM's memory.
type OutPointer = *mut *mut u8;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: OutPointer, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: OutPointer,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: OutPointer,
        size: *mut usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_http_call(
        upstream: *const u8,
        upstream_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(context_id: u32) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: OutPointer, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_get_shared_data(
        name: *const u8,
        name_size: usize,
        data: OutPointer,
        size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
        version: u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        argument: *const u8,
        argument_size: usize,
        data: OutPointer,
        size: *mut usize,
    ) -> u32;
}

/// Stream type of an HTTP request in `proxy_continue_stream`.
const HTTP_REQUEST: u32 = 0;
/// Lets the host derive the gRPC status from the HTTP status.
const NO_GRPC_STATUS: i32 = -1;
/// Type of a metric that only grows.
const COUNTER: u32 = 0;
const STATUS_OK: u32 = 0;
const STATUS_NOT_FOUND: u32 = 1;
const STATUS_BAD_ARGUMENT: u32 = 2;
const STATUS_SERIALIZATION_FAILURE: u32 = 3;
const STATUS_CAS_MISMATCH: u32 = 8;
const STATUS_INTERNAL_FAILURE: u32 = 10;
/// Not among the ABI's, and given by every host for what it does not do.
const STATUS_UNIMPLEMENTED: u32 = 12;

/// Writes to the host's log. A host that cannot log is no reason to stop.
pub(super) fn log(level: LogLevel, message: &str) {
    // SAFETY: pointer and length are those of `message`, which outlives the call.
    unsafe { proxy_log(number(level), message.as_ptr(), message.len()) };
}

/// All fields of a header map; none when the stream has no such map.
pub(super) fn header_pairs(map: MapType) -> Result<HeaderFields, HostError> {
    const CALL: &str = "proxy_get_header_map_pairs";
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: both out-pointers are valid for writing.
    let status = unsafe { proxy_get_header_map_pairs(number(map), &raw mut data, &raw mut size) };
    let bytes = take_buffer(CALL, status, data, size)?;
    HeaderFields::parse(bytes).ok_or(HostError { call: CALL, status: STATUS_SERIALIZATION_FAILURE })
}

/// The first value of a header; `None` when there is none, or no such map.
pub(super) fn header_value(map: MapType, name: &[u8]) -> Option<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: pointer and length are those of `name`; both out-pointers are valid for writing.
    let status = unsafe {
        proxy_get_header_map_value(number(map), name.as_ptr(), name.len(), &raw mut data, &raw mut size)
    };
    match status {
        STATUS_OK => take_buffer("proxy_get_header_map_value", status, data, size).ok(),
        _ => None,
    }
}

/// Sets the one value of a header.
pub(super) fn replace_header(map: MapType, name: &[u8], value: &[u8]) -> Result<(), HostError> {
    // SAFETY: pointers and lengths are those of the slices, which outlive the call.
    let status = unsafe {
        proxy_replace_header_map_value(number(map), name.as_ptr(), name.len(), value.as_ptr(), value.len())
    };
    check("proxy_replace_header_map_value", status)
}

/// Removes every value of a header.
pub(super) fn remove_header(map: MapType, name: &[u8]) -> Result<(), HostError> {
    // SAFETY: pointer and length are those of `name`, which outlives the call.
    let status = unsafe { proxy_remove_header_map_value(number(map), name.as_ptr(), name.len()) };
    check("proxy_remove_header_map_value", status)
}

/// The first `size` bytes of a buffer.
pub(super) fn buffer(buffer: BufferType, size: usize) -> Result<Vec<u8>, HostError> {
    let mut data = std::ptr::null_mut();
    let mut found = 0;
    // SAFETY: both out-pointers are valid for writing.
    let status = unsafe { proxy_get_buffer_bytes(number(buffer), 0, size, &raw mut data, &raw mut found) };
    take_buffer("proxy_get_buffer_bytes", status, data, found)
}

/// Answers the request of the effective context.
pub(super) fn send_reply(reply: &Reply) -> Result<(), HostError> {
    let pairs: Vec<_> =
        reply.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let headers = serialize_pairs(&pairs);
    let (details, body) = (reply.details.as_bytes(), reply.body.as_bytes());
    // SAFETY: pointers and lengths are those of live slices.
    let status = unsafe {
        proxy_send_local_response(
            reply.status.into(),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    };
    check("proxy_send_local_response", status)
}

/// The id of the counter of this name.
pub(super) fn define_counter(name: &str) -> Result<u32, HostError> {
    let mut id = 0;
    // SAFETY: pointer and length are those of `name`, and the out-pointer is valid for writing.
    let status = unsafe { proxy_define_metric(COUNTER, name.as_ptr(), name.len(), &raw mut id) };
    check("proxy_define_metric", status).map(|()| id)
}

/// Counts one more.
pub(super) fn increment_counter(id: u32) -> Result<(), HostError> {
    // SAFETY: takes no pointers.
    let status = unsafe { proxy_increment_metric(id, 1) };
    check("proxy_increment_metric", status)
}

/// Lets the request of the effective context go on.
pub(super) fn resume_request() -> Result<(), HostError> {
    // SAFETY: takes no pointers.
    check("proxy_continue_stream", unsafe { proxy_continue_stream(HTTP_REQUEST) })
}

/// Makes another context the one that calls act on; fails when that context is gone.
pub(super) fn set_effective_context(context_id: u32) -> Result<(), HostError> {
    // SAFETY: takes no pointers.
    check("proxy_set_effective_context", unsafe { proxy_set_effective_context(context_id) })
}

/// Has the root context called every `period`, or never when it is `None`. Fails on hosts without timers.
pub(super) fn set_tick_period(period: Option<Duration>) -> Result<(), HostError> {
    let milliseconds =
        period.map_or(0, |period| u32::try_from(period.as_millis().max(1)).unwrap_or(u32::MAX));
    // SAFETY: takes no pointers.
    let status = unsafe { proxy_set_tick_period_milliseconds(milliseconds) };
    check("proxy_set_tick_period_milliseconds", status)
}

/// A property of the effective context, by the names that lead to it with a NUL between; `None` when the host has none
/// of this path.
pub(super) fn property(path: &str) -> Option<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: pointer and length are those of `path`; both out-pointers are valid for writing.
    let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) };
    match status {
        STATUS_OK => take_buffer("proxy_get_property", status, data, size).ok(),
        _ => None,
    }
}

/// Writes a property of the effective context. Envoy puts `wasm.` in front of its name.
pub(super) fn set_property(name: &str, value: &[u8]) -> Result<(), HostError> {
    // SAFETY: pointers and lengths are those of `name` and `value`, which outlive the call.
    let status = unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
    check("proxy_set_property", status)
}

/// A value that the VMs of this process share, and its version; `None` when there is none.
pub(super) fn shared_data(name: &str) -> Result<Option<(Vec<u8>, u32)>, HostError> {
    let mut data = std::ptr::null_mut();
    let (mut size, mut version) = (0, 0);
    // SAFETY: pointer and length are those of `name`; all three out-pointers are valid for writing.
    let status = unsafe {
        proxy_get_shared_data(name.as_ptr(), name.len(), &raw mut data, &raw mut size, &raw mut version)
    };
    match status {
        STATUS_NOT_FOUND => Ok(None),
        status => Ok(Some((take_buffer("proxy_get_shared_data", status, data, size)?, version))),
    }
}

/// Writes such a value over this version of it, or where there is none. False when another version is there.
pub(super) fn set_shared_data(name: &str, value: &[u8], version: u32) -> Result<bool, HostError> {
    // SAFETY: pointers and lengths are those of `name` and `value`, which outlive the call.
    let status =
        unsafe { proxy_set_shared_data(name.as_ptr(), name.len(), value.as_ptr(), value.len(), version) };
    match status {
        STATUS_CAS_MISMATCH => Ok(false),
        status => check("proxy_set_shared_data", status).map(|()| true),
    }
}

/// Has the route of the request of the effective context chosen anew.
pub(super) fn clear_route_cache() -> Result<(), HostError> {
    call_foreign_function("clear_route_cache", &[]).map(drop)
}

/// Has the host verify a signature, as Envoy's function of this name does it.
pub(super) fn verify_signature(argument: &[u8]) -> Result<Vec<u8>, HostError> {
    call_foreign_function("verify_signature", argument)
}

fn call_foreign_function(name: &str, argument: &[u8]) -> Result<Vec<u8>, HostError> {
    const CALL: &str = "proxy_call_foreign_function";
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: pointers and lengths are those of `name` and `argument`, which outlive the call; both out-pointers are
    // valid for writing.
    let status = unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            argument.as_ptr(),
            argument.len(),
            &raw mut data,
            &raw mut size,
        )
    };
    // Not like for other calls is "not found" an empty result.
    check(CALL, status).and_then(|()| take_buffer(CALL, status, data, size))
}

/// Whether [`dispatch_http_call`] may be used: the SDK's call under it panics on every status but three. Found out by a
/// call that goes nowhere, which a host that makes calls refuses.
pub(super) fn can_dispatch() -> bool {
    let none = std::ptr::null();
    let mut token = 0;
    // SAFETY: pointers to nothing have the length 0, and the out-pointer is valid for writing.
    let status = unsafe { proxy_http_call(none, 0, none, 0, none, 0, none, 0, 1, &raw mut token) };
    matches!(status, STATUS_BAD_ARGUMENT | STATUS_INTERNAL_FAILURE)
}

/// Sends a request of our own to the server that the host finds in this way; the answer comes to the context that is
/// active in the SDK, under the token returned.
pub(super) fn dispatch_http_call(call: &Call, call_by: CallBy) -> Result<u32, HostError> {
    let Call { method, endpoint, headers, body, timeout } = call;
    let Endpoint { scheme, authority, path, .. } = endpoint;
    let mut fields: Vec<(&str, &str)> =
        vec![(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)];
    fields.extend(headers.iter().map(|(name, value)| (name.as_ref(), value.as_str())));
    let body = Some(body.as_slice()).filter(|body| !body.is_empty());
    proxy_wasm::hostcalls::dispatch_http_call(&endpoint.upstream(call_by), fields, body, vec![], *timeout)
        .map_err(|status| HostError { call: "proxy_http_call", status: number(status) })
}

const fn check(call: &'static str, status: u32) -> Result<(), HostError> {
    match status {
        STATUS_OK => Ok(()),
        status => Err(HostError { call, status }),
    }
}

/// The bytes that the host has put into memory allocated for it; none for "not found".
fn take_buffer(call: &'static str, status: u32, data: *mut u8, size: usize) -> Result<Vec<u8>, HostError> {
    match status {
        STATUS_OK if data.is_null() => Ok(Vec::new()),
        // SAFETY: the host got this memory from `proxy_on_memory_allocate`, which hands out the buffer of a `Vec<u8>`
        // of exactly this capacity, filled all of it, and gave up its claim with the status OK.
        STATUS_OK => Ok(unsafe { Vec::from_raw_parts(data, size, size) }),
        STATUS_NOT_FOUND => Ok(Vec::new()),
        status => Err(HostError { call, status }),
    }
}

fn serialize_pairs(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let put_number = |number: usize, bytes: &mut Vec<u8>| {
        bytes.extend(u32::try_from(number).unwrap_or_default().to_le_bytes());
    };
    put_number(pairs.len(), &mut bytes);
    for (name, value) in pairs {
        put_number(name.len(), &mut bytes);
        put_number(value.len(), &mut bytes);
    }
    for (name, value) in pairs {
        for text in [name, value] {
            bytes.extend_from_slice(text);
            bytes.push(0);
        }
    }
    bytes
}

/// The ABI's number of one of the SDK's enumerations.
fn number(value: impl AbiNumber) -> u32 {
    value.number()
}

trait AbiNumber {
    fn number(self) -> u32;
}

macro_rules! abi_number {
    ($($type:ty),*) => {
        $(impl AbiNumber for $type {
            #[expect(clippy::as_conversions, reason = "the enumeration is `repr(u32)`; there is no other way to its number")]
            fn number(self) -> u32 {
                self as u32
            }
        })*
    };
}

abi_number!(BufferType, LogLevel, MapType, proxy_wasm::types::Status);
