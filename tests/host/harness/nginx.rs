//! How nginx differs from Envoy as a host: the Wasm module of Apache APISIX (wasm-nginx-module 0.7.0), as it was seen to
//! behave.
//!
//! Takes what the guest asks for, gives nginx's answer to it. What would end a worker process there, or let a request
//! through that nobody has decided about, is a misuse here, which fails the test.

use super::abi::Status;
use super::header_map::HeaderMap;
use super::state::State;
use super::stream::LocalReply;

/// The most fields that a listing shows, pseudo-headers not counted.
const MOST_LISTED: usize = 100;

/// Imports that it does not have, or has with types that no SDK expects: a module with one of them is not instantiated.
pub const NOT_DEFINED: [&str; 2] = ["proxy_get_log_level", "proxy_get_metric"];

/// Imports that it has and does nothing in but to say so.
pub const UNIMPLEMENTED: [&str; 9] = [
    "proxy_get_current_time_nanoseconds",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_call_foreign_function",
    "proxy_done",
    "proxy_get_status",
    "proxy_set_buffer_bytes",
    "proxy_set_header_map_pairs",
];

/// Imports that it has and does nothing in, and says that all is well.
pub const DUMMIES: [&str; 6] = [
    "proxy_set_effective_context",
    "proxy_continue_stream",
    "proxy_close_stream",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
];

/// Variables that are there for each request, besides those that are made of it.
const VERSION: &str = "nginx_version";
/// Those that can be set: nginx's own and APISIX's.
const WRITABLE: [&str; 5] =
    ["args", "upstream_uri", "upstream_host", "wasm_process_req_body", "wasm_process_resp_body"];

/// The page that takes the place of an empty answer.
const PAGE: &[u8] = b"<html><center>nginx</center></html>";

/// The header as a listing shows it.
pub fn listed(headers: &HeaderMap) -> Result<HeaderMap, &'static str> {
    let (pseudo, fields): (Vec<_>, Vec<_>) =
        headers.pairs().iter().cloned().partition(|(name, _)| name.starts_with(b":"));
    let Some(host) = headers.get("host") else {
        return Err("a listing of a header without host: the worker crashes");
    };
    let authority = (b":authority".to_vec(), host.to_vec());
    let all = pseudo.into_iter().chain([authority]).chain(fields.into_iter().take(MOST_LISTED));
    Ok(HeaderMap::of_nginx(all))
}

/// The first value of a field.
pub fn value(headers: &HeaderMap, name: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    match (name, headers.get("host")) {
        (b":authority", None) => Err("a look at :authority where there is no host: the worker crashes"),
        (b":authority", Some(host)) => Ok(Some(host.to_vec())),
        (name, _) => Ok(headers.get(name).map(<[u8]>::to_vec)),
    }
}

/// Sets a field, or adds one.
pub fn set(headers: &mut HeaderMap, name: &[u8], value: &[u8], is_added: bool) -> Result<(), Status> {
    match name {
        // Whatever is written here becomes the method.
        b":authority" if value.contains(&b'.') => return Err(Status::BadArgument),
        b":authority" => headers.replace(b":method", value),
        b":method" if !value.iter().all(u8::is_ascii_alphabetic) => return Err(Status::BadArgument),
        b":method" => headers.replace(name, value),
        // The whole of it becomes the path, and the query stays as it was sent.
        b":path" => {
            let target = headers.get(":path").unwrap_or_default().to_vec();
            let query = target.iter().position(|byte| *byte == b'?').map_or(&[][..], |at| &target[at..]);
            let path: Vec<u8> = value
                .iter()
                .flat_map(|byte| match byte {
                    b'?' => b"%3F".to_vec(),
                    byte => vec![*byte],
                })
                .collect();
            headers.replace(b":path", &[&path, query].concat());
        }
        _ if name.starts_with(b":") => headers.add(&[b"%3A", &name[1..]].concat(), value),
        _ if is_added => headers.add(name, value),
        _ if value.is_empty() => headers.remove(name),
        _ => headers.replace(name, value),
    }
    Ok(())
}

/// A property: a variable of the request, if there is one.
pub fn property(state: &State, path: &[u8]) -> Result<Vec<u8>, Status> {
    if path == b"plugin_root_id" {
        return Ok(b"edge-authn".to_vec());
    }
    let context = state.effective();
    let Some(stream) = state.streams.get(&context) else { return Err(Status::BadArgument) };
    let name = std::str::from_utf8(path).map_err(|_| Status::NotFound)?;
    if let Some(written) = state.written_properties.get(&(context, path.to_vec())) {
        return Ok(written.clone());
    }
    let target = stream.request.get(":path").unwrap_or_default();
    let query = target.iter().position(|byte| *byte == b'?').map_or(&[][..], |at| &target[at + 1..]);
    match name {
        VERSION => Ok(b"1.29.2".to_vec()),
        "request_uri" => Ok(target.to_vec()),
        "args" => Ok(query.to_vec()),
        _ => Err(Status::NotFound),
    }
}

/// Sets a variable of the request, if it can be set.
pub fn set_property(state: &mut State, path: Vec<u8>, value: Vec<u8>) -> Result<(), Status> {
    let context = state.effective();
    if !state.streams.contains_key(&context) {
        return Err(Status::BadArgument);
    }
    if !WRITABLE.iter().any(|name| name.as_bytes() == path) {
        return Err(Status::NotFound);
    }
    state.written_properties.insert((context, path), value);
    Ok(())
}

/// The target that the upstream is sent.
pub fn upstream_target(state: &State, stream: u32) -> Vec<u8> {
    let written = |name: &str| state.written_properties.get(&(stream, name.as_bytes().to_vec()));
    if let Some(uri) = written("upstream_uri").filter(|uri| !uri.is_empty()) {
        return uri.clone();
    }
    let target = state.streams[&stream].request.get(":path").unwrap_or_default();
    let Some(args) = written("args") else { return target.to_vec() };
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if args.is_empty() { path.to_vec() } else { [path, b"?", args].concat() }
}

/// Whether a call can be made to this: a host, perhaps with a port, and nothing more.
pub fn is_address(upstream: &str) -> bool {
    !upstream.is_empty() && !upstream.contains(['/', ' ', '?'])
}

/// An answer as the client gets it.
pub fn reply(reply: LocalReply) -> LocalReply {
    if !reply.body.is_empty() {
        return reply;
    }
    let mut headers = reply.headers;
    headers.replace(b"content-type", b"text/html");
    LocalReply { headers, body: PAGE.to_vec(), ..reply }
}
