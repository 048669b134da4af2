//! The `env` imports: every `proxy_*` function that SDK 0.2.5 can import.
//!
//! Takes the guest's arguments, checks them in Envoy's order (memory, then capability, then
//! meaning), acts on the effective context and answers a status. Queues and gRPC are defined, since
//! a module that imports them must load, and answer `Unimplemented`.

use wasmtime::{FuncType, Linker, Val, ValType};

use super::abi::{BufferType, Fault, Level, MapType, Status, answer};
use super::header_map::HeaderMap;
use super::http_call::{Call, CallId};
use super::memory::{Guest, Place, Span};
use super::state::{Effect, State, Tick};
use super::stream::{Access, LocalReply};
use super::{Kind, nginx};

type Done = Result<(), Fault>;

/// Name, parameters (`i` is an `i32`, `I` an `i64`) and function; each answers an `i32`, a status.
type Import = (&'static str, &'static str, fn(Guest<'_>, Args<'_>) -> Done);

#[rustfmt::skip]
const IMPORTS: [Import; 37] = [
    ("proxy_log", "iii", log),
    ("proxy_get_log_level", "i", get_log_level),
    ("proxy_get_current_time_nanoseconds", "i", get_current_time),
    ("proxy_set_tick_period_milliseconds", "i", set_tick_period),
    ("proxy_get_buffer_bytes", "iiiii", get_buffer),
    ("proxy_set_buffer_bytes", "iiiii", set_buffer),
    ("proxy_get_property", "iiii", get_property),
    ("proxy_set_property", "iiii", set_property),
    ("proxy_call_foreign_function", "iiiiii", call_foreign),
    ("proxy_get_header_map_pairs", "iii", get_pairs),
    ("proxy_set_header_map_pairs", "iii", set_pairs),
    ("proxy_get_header_map_value", "iiiii", get_value),
    ("proxy_remove_header_map_value", "iii", remove_value),
    ("proxy_replace_header_map_value", "iiiii", |guest, args| set_value(guest, args, false)),
    ("proxy_add_header_map_value", "iiiii", |guest, args| set_value(guest, args, true)),
    ("proxy_set_effective_context", "i", set_effective_context),
    ("proxy_continue_stream", "i", continue_stream),
    ("proxy_close_stream", "i", close_stream),
    ("proxy_done", "", done),
    ("proxy_send_local_response", "iiiiiiii", send_local_response),
    ("proxy_http_call", "iiiiiiiiii", http_call),
    ("proxy_get_status", "iii", get_status),
    ("proxy_get_shared_data", "iiiii", get_shared_data),
    ("proxy_set_shared_data", "iiiii", set_shared_data),
    ("proxy_define_metric", "iiii", define_metric),
    ("proxy_increment_metric", "iI", increment_metric),
    ("proxy_record_metric", "iI", record_metric),
    ("proxy_get_metric", "ii", get_metric),
    ("proxy_register_shared_queue", "iii", unimplemented),
    ("proxy_resolve_shared_queue", "iiiii", unimplemented),
    ("proxy_dequeue_shared_queue", "iii", unimplemented),
    ("proxy_enqueue_shared_queue", "iii", unimplemented),
    ("proxy_grpc_call", "iiiiiiiiiiii", unimplemented),
    ("proxy_grpc_stream", "iiiiiiiii", unimplemented),
    ("proxy_grpc_send", "iiii", unimplemented),
    ("proxy_grpc_cancel", "i", unimplemented),
    ("proxy_grpc_close", "i", unimplemented),
];

pub fn define(linker: &mut Linker<State>, kind: Kind) -> wasmtime::Result<()> {
    for (name, params, function) in IMPORTS {
        if kind == Kind::Nginx && nginx::NOT_DEFINED.contains(&name) {
            continue;
        }
        let params = params.chars().map(|c| if c == 'I' { ValType::I64 } else { ValType::I32 });
        let ty = FuncType::new(linker.engine(), params, [ValType::I32]);
        linker.func_new("env", name, ty, move |mut caller, arguments, results| {
            caller.data_mut().count(name);
            let is_nginx = kind == Kind::Nginx;
            let status = if is_nginx && nginx::UNIMPLEMENTED.contains(&name) {
                Status::Unimplemented as u32
            } else if is_nginx && nginx::DUMMIES.contains(&name) {
                0
            } else {
                answer(function(Guest(caller), Args(arguments.iter())))?
            };
            results[0] = Val::I32(status as i32);
            Ok(())
        })?;
    }
    Ok(())
}

/// The arguments of one call, taken in their order. The linker has checked number and types.
struct Args<'a>(std::slice::Iter<'a, Val>);

impl Args<'_> {
    fn int(&mut self) -> u32 {
        self.0.next().map_or(0, Val::unwrap_i32) as u32
    }

    fn long(&mut self) -> i64 {
        self.0.next().map_or(0, Val::unwrap_i64)
    }

    fn span(&mut self) -> Span {
        Span { pointer: self.int(), size: self.int() }
    }

    fn place(&mut self) -> Place {
        Place { pointer_at: self.int(), size_at: self.int() }
    }
}

fn require(capability: bool) -> Result<(), Status> {
    if capability { Ok(()) } else { Err(Status::Unimplemented) }
}

fn unimplemented(_: Guest<'_>, _: Args<'_>) -> Done {
    Err(Status::Unimplemented.into())
}

fn log(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let level = args.int();
    let text = guest.read(args.span())?;
    let level = Level::from_abi(level)?;
    guest.state().log(level, &text);
    Ok(())
}

fn get_log_level(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let level = guest.state().log_level;
    Ok(guest.write_u32(args.int(), level)?)
}

fn get_current_time(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let now = guest.state().now_ns;
    Ok(guest.write_u64(args.int(), now)?)
}

fn set_tick_period(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let milliseconds = args.int();
    let state = guest.state();
    require(state.profile.ticks)?;
    let root = state.root_of(state.effective());
    let period_ns = u64::from(milliseconds) * 1_000_000;
    let due_ns = state.now_ns + period_ns;
    let root = state.roots.get_mut(&root).ok_or(Status::BadArgument)?;
    root.tick = (milliseconds != 0).then_some(Tick { period_ns, due_ns });
    Ok(())
}

fn get_buffer(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let (buffer, start, max) = (args.int(), args.int() as usize, args.int() as usize);
    let state = guest.state();
    let is_nginx = state.profile.kind == Kind::Nginx;
    let bytes = match BufferType::from_abi(buffer)? {
        BufferType::VmConfiguration | BufferType::Absent if is_nginx => {
            return Err(Status::Unimplemented.into());
        }
        BufferType::CallResponseBody if is_nginx && (max == 0 || i32::try_from(max).is_err()) => {
            return Err(Status::BadArgument.into());
        }
        BufferType::CallResponseBody => state.call_response().map(|response| &response.body),
        BufferType::VmConfiguration => Some(&state.vm_configuration),
        BufferType::PluginConfiguration => state.plugin_configuration.as_ref(),
        BufferType::Absent => None,
    };
    let bytes = bytes.filter(|bytes| !is_nginx || !bytes.is_empty()).ok_or(Status::NotFound)?;
    let start = bytes.len().min(start);
    let end = bytes.len().min(start.saturating_add(max));
    let part = bytes[start..end].to_vec();
    guest.give(&part, args.place())
}

fn set_buffer(_: Guest<'_>, mut args: Args<'_>) -> Done {
    BufferType::from_abi(args.int())?;
    Err(Status::NotFound.into())
}

const ANY_ROUTE_METADATA: &[u8] = b"xds\0route_metadata";

fn get_property(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let path = guest.read(args.span())?;
    let state = guest.state();
    require(state.profile.properties)?;
    let value = match state.properties.get(&path) {
        Some(value) => value.clone(),
        None if state.profile.kind == Kind::Nginx => nginx::property(state, &path)?,
        None if path == b"plugin_name" && state.profile.kind == Kind::Envoy => b"edge_authn".to_vec(),
        // A message, which Envoy serialises.
        None if path == ANY_ROUTE_METADATA && state.profile.foreign_functions => {
            let is_in_it = |known: &Vec<u8>| known.starts_with(ANY_ROUTE_METADATA);
            if state.properties.keys().any(is_in_it) { b"\x0a\x00".to_vec() } else { Vec::new() }
        }
        None => return Err(Status::NotFound.into()),
    };
    guest.give(&value, args.place())
}

fn set_property(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let path = guest.read(args.span())?;
    let value = guest.read(args.span())?;
    let state = guest.state();
    if state.profile.kind == Kind::Nginx {
        return Ok(nginx::set_property(state, path, value)?);
    }
    let context = state.effective();
    if !state.streams.contains_key(&context) {
        return Err(Status::NotFound.into());
    }
    state.written_properties.insert((context, path), value);
    Ok(())
}

fn call_foreign(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let name = guest.read(args.span())?;
    let arguments = guest.read(args.span())?;
    let state = guest.state();
    require(state.profile.foreign_functions)?;
    let name = String::from_utf8(name).map_err(|_| Status::NotFound)?;
    let function = state.foreign.get_mut(&name).ok_or(Status::NotFound)?;
    let result = function(&arguments)?;
    guest.give(&result, args.place())
}

/// A map that nginx has at this moment. Of a root context it has none.
fn known_to_nginx(state: &State, map: MapType) -> Result<&HeaderMap, Status> {
    match map {
        MapType::Absent => Err(Status::Unimplemented),
        MapType::CallResponseHeaders => state.map(map).filter(|map| map.len() > 0).ok_or(Status::NotFound),
        MapType::RequestHeaders | MapType::ResponseHeaders => state.map(map).ok_or(Status::BadArgument),
    }
}

/// What came of it, if nginx survives it.
fn misused<T>(state: &mut State, result: Result<T, &'static str>) -> Result<T, Status> {
    result.map_err(|crash| {
        state.misuse.push(crash.to_owned());
        Status::BadArgument
    })
}

/// As on Envoy, a map that is absent is an empty one here and a `BadArgument` everywhere else.
fn get_pairs(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let map = MapType::from_abi(args.int())?;
    let state = guest.state();
    if state.profile.kind == Kind::Nginx {
        let headers = known_to_nginx(state, map)?.clone();
        let headers =
            if map == MapType::RequestHeaders { misused(state, nginx::listed(&headers))? } else { headers };
        return guest.give(&headers.serialize(), args.place());
    }
    let pairs = state.map(map).map(HeaderMap::serialize).unwrap_or_default();
    guest.give(&pairs, args.place())
}

fn set_pairs(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let map = MapType::from_abi(args.int())?;
    let pairs = read_map(&mut guest, args.span())?;
    *guest.state().map_mut(map).ok_or(Status::BadArgument)? = pairs;
    Ok(())
}

fn get_value(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let map = MapType::from_abi(args.int())?;
    let name = guest.read(args.span())?;
    let state = guest.state();
    let value = if state.profile.kind == Kind::Nginx {
        let headers = known_to_nginx(state, map)?.clone();
        misused(state, nginx::value(&headers, &name))?.ok_or(Status::NotFound)?
    } else {
        let map = state.map(map).ok_or(Status::BadArgument)?;
        map.get(name).ok_or(Status::NotFound)?.to_vec()
    };
    guest.give(&value, args.place())
}

fn remove_value(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let map = MapType::from_abi(args.int())?;
    let name = guest.read(args.span())?;
    if guest.state().profile.kind == Kind::Nginx && name.starts_with(b":") {
        return Err(Status::BadArgument.into());
    }
    guest.state().map_mut(map).ok_or(Status::BadArgument)?.remove(&name);
    Ok(())
}

fn set_value(mut guest: Guest<'_>, mut args: Args<'_>, is_added: bool) -> Done {
    let map = MapType::from_abi(args.int())?;
    let name = guest.read(args.span())?;
    let value = guest.read(args.span())?;
    forbid_line_breaks(guest.state(), &name, &value);
    let is_nginx = guest.state().profile.kind == Kind::Nginx;
    let map = guest.state().map_mut(map).ok_or(Status::BadArgument)?;
    match (is_nginx, is_added) {
        (true, _) => nginx::set(map, &name, &value, is_added)?,
        (false, true) => map.add(&name, &value),
        (false, false) => map.replace(&name, &value),
    }
    Ok(())
}

/// A map that the guest serialised. Envoy takes a malformed one for an empty one.
fn read_map(guest: &mut Guest<'_>, pairs: Span) -> Result<HeaderMap, Fault> {
    let bytes = guest.read(pairs)?;
    let state = guest.state();
    let map = HeaderMap::parse(&bytes).unwrap_or_else(|problem| {
        state.misuse.push(format!("a header map that {problem}"));
        HeaderMap::default()
    });
    for (name, value) in map.pairs() {
        forbid_line_breaks(state, name, value);
    }
    Ok(map)
}

/// Envoy asserts this in debug builds and forwards the bytes in release builds.
fn forbid_line_breaks(state: &mut State, name: &[u8], value: &[u8]) {
    if name.iter().chain(value).any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        let name = String::from_utf8_lossy(name).into_owned();
        state.misuse.push(format!("a line break or NUL in header {name:?}"));
    }
}

fn set_effective_context(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let id = args.int();
    let state = guest.state();
    require(state.profile.calls)?;
    if !state.knows(id) {
        return Err(Status::BadArgument.into());
    }
    state.effective = Some(id);
    Ok(())
}

/// The request headers are out of the guest's reach from here on, not only when the call returns.
fn continue_stream(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let state = guest.state();
    let context = state.effective();
    match args.int() {
        0 => {
            state.effects.push(Effect::Resume { context });
            if let Some(stream) = state.streams.get_mut(&context) {
                stream.request_access = Access::Closed;
            }
            Ok(())
        }
        1 => Ok(()),
        _ => Err(Status::BadArgument.into()),
    }
}

fn close_stream(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    if args.int() > 3 {
        return Err(Status::BadArgument.into());
    }
    let context = guest.state().effective();
    guest.state().effects.push(Effect::Reset { context });
    Ok(())
}

fn done(mut guest: Guest<'_>, _: Args<'_>) -> Done {
    let state = guest.state();
    let root = state.effective();
    if !state.roots.get(&root).is_some_and(|root| root.draining) {
        return Err(Status::NotFound.into());
    }
    state.effects.push(Effect::Done { root });
    Ok(())
}

fn send_local_response(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let status = args.int();
    let details = guest.read(args.span())?;
    let body = guest.read(args.span())?;
    let headers = read_map(&mut guest, args.span())?;
    let grpc_status = args.int() as i32;
    let state = guest.state();
    let mut reply = LocalReply { status, headers, body, grpc_status, details };
    if state.profile.kind == Kind::Nginx {
        reply = nginx::reply(reply);
    }
    let context = state.effective();
    state.effects.push(Effect::Reply { context, reply });
    state.stop_iteration = true;
    Ok(())
}

fn http_call(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let cluster = guest.read(args.span())?;
    let headers = read_map(&mut guest, args.span())?;
    let body = guest.read(args.span())?;
    let trailers = read_map(&mut guest, args.span())?;
    let (timeout_ms, token_at) = (args.int(), args.int());
    guest.write_u32(token_at, 0)?;
    let state = guest.state();
    require(state.profile.calls)?;
    let asked_by = state.effective();
    if state.profile.kind == Kind::Nginx {
        let is_address = std::str::from_utf8(&cluster).is_ok_and(nginx::is_address);
        // Only a request can wait, and only for one call.
        if !state.streams.contains_key(&asked_by) || !is_address || i32::try_from(timeout_ms).is_err() {
            return Err(Status::BadArgument.into());
        }
        if state.calls.pending().any(|call| call.owner == asked_by) {
            return Err(Status::InternalFailure.into());
        }
    }
    let root = state.root_of(asked_by);
    let owner = if state.profile.calls_belong_to_root { root } else { asked_by };
    let deadline_ns = state.now_ns + u64::from(timeout_ms) * 1_000_000;
    let call = Call {
        id: CallId(0),
        cluster: String::from_utf8_lossy(&cluster).into_owned(),
        headers,
        body,
        trailers,
        timeout_ms,
        asked_by,
        owner,
        deadline_ns: (timeout_ms != 0).then_some(deadline_ns),
    };
    let id = match state.profile.kind {
        Kind::Envoy | Kind::Bare => state.calls.dispatch(call)?,
        Kind::Nginx => state.calls.dispatch_to_address(call)?,
    };
    state.dispatched = true;
    Ok(guest.write_u32(token_at, id.0)?)
}

fn get_status(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let (code, message) = guest.state().call_status;
    guest.write_u32(args.int(), code)?;
    guest.give(message.as_bytes(), args.place())
}

fn get_shared_data(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let key = guest.read(args.span())?;
    let state = guest.state();
    state.profile.shared_data.may_read()?;
    let (value, cas) = state.shared.get(&key).ok_or(Status::NotFound)?;
    guest.give(&value, args.place())?;
    Ok(guest.write_u32(args.int(), cas)?)
}

fn set_shared_data(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let key = guest.read(args.span())?;
    let value = guest.read(args.span())?;
    let cas = args.int();
    let state = guest.state();
    state.profile.shared_data.may_write(state.shared.get(&key).is_some(), cas)?;
    Ok(state.shared.set(&key, &value, cas)?)
}

fn define_metric(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let kind = args.int();
    let name = guest.read(args.span())?;
    let state = guest.state();
    require(state.profile.metrics)?;
    let id = state.metrics.define(kind, String::from_utf8_lossy(&name).into_owned())?;
    Ok(guest.write_u32(args.int(), id)?)
}

fn increment_metric(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let state = guest.state();
    require(state.profile.metrics)?;
    Ok(state.metrics.increment(args.int(), args.long())?)
}

fn record_metric(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let state = guest.state();
    require(state.profile.metrics)?;
    Ok(state.metrics.record(args.int(), args.long() as u64)?)
}

fn get_metric(mut guest: Guest<'_>, mut args: Args<'_>) -> Done {
    let state = guest.state();
    require(state.profile.metrics)?;
    let value = state.metrics.get(args.int())?;
    Ok(guest.write_u64(args.int(), value)?)
}
