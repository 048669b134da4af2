//! The `env` imports: every `proxy_*` function that SDK 0.2.5 can import.
//!
//! Takes the guest's arguments, checks them in Envoy's order (memory, then capability, then
//! meaning), acts on the effective context and answers a status. Queues and gRPC are defined, since
//! a module that imports them must load, and answer `Unimplemented`.

use wasmtime::{Caller, Linker};

use super::abi::{BufferType, Fault, Level, MapType, Status, answer};
use super::header_map::HeaderMap;
use super::http_call::{Call, CallId};
use super::memory::Guest;
use super::state::{Effect, State, Tick};
use super::stream::{Access, LocalReply};

type Context<'a> = Caller<'a, State>;
type Done = Result<(), Fault>;

pub fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    define_process(linker)?;
    define_headers(linker)?;
    define_streams(linker)?;
    define_sharing(linker)?;
    define_unimplemented(linker)
}

fn define_process(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_log",
        |c: Context<'_>, level: u32, text: u32, size: u32| {
            answer(log(Guest(c), level, (text, size)))
        },
    )?;
    linker.func_wrap("env", "proxy_get_log_level", |c: Context<'_>, at: u32| {
        let mut guest = Guest(c);
        let level = guest.state().log_level;
        answer(guest.write_u32(at, level).map_err(Fault::from))
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_current_time_nanoseconds",
        |c: Context<'_>, at: u32| {
            let mut guest = Guest(c);
            let now = guest.state().now_ns;
            answer(guest.write_u64(at, now).map_err(Fault::from))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |c: Context<'_>, ms: u32| answer(set_tick_period(Guest(c), ms)),
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |c: Context<'_>, buffer: u32, start: u32, max: u32, at: u32, size_at: u32| {
            answer(get_buffer(Guest(c), buffer, start, max, (at, size_at)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_buffer_bytes",
        |_: Context<'_>, buffer: u32, _: u32, _: u32, _: u32, _: u32| {
            let refusal = BufferType::from_abi(buffer)
                .err()
                .unwrap_or(Status::NotFound);
            answer(Err(refusal.into()))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |c: Context<'_>, path: u32, size: u32, at: u32, size_at: u32| {
            answer(get_property(Guest(c), (path, size), (at, size_at)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |c: Context<'_>, path: u32, path_size: u32, value: u32, size: u32| {
            answer(set_property(Guest(c), (path, path_size), (value, size)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_call_foreign_function",
        |c: Context<'_>, name: u32, name_size: u32, args: u32, size: u32, at: u32, size_at: u32| {
            answer(call_foreign(
                Guest(c),
                (name, name_size),
                (args, size),
                (at, size_at),
            ))
        },
    )?;
    Ok(())
}

fn define_headers(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |c: Context<'_>, map: u32, at: u32, size_at: u32| {
            answer(get_pairs(Guest(c), map, (at, size_at)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_header_map_pairs",
        |c: Context<'_>, map: u32, pairs: u32, size: u32| {
            answer(set_pairs(Guest(c), map, (pairs, size)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |c: Context<'_>, map: u32, name: u32, size: u32, at: u32, size_at: u32| {
            answer(get_value(Guest(c), map, (name, size), (at, size_at)))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |c: Context<'_>, map: u32, name: u32, size: u32| {
            answer(edit(Guest(c), map, (name, size), None, |map, name, _| {
                map.remove(name)
            }))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |c: Context<'_>, map: u32, name: u32, name_size: u32, value: u32, size: u32| {
            answer(edit(
                Guest(c),
                map,
                (name, name_size),
                Some((value, size)),
                HeaderMap::replace,
            ))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_add_header_map_value",
        |c: Context<'_>, map: u32, name: u32, name_size: u32, value: u32, size: u32| {
            answer(edit(
                Guest(c),
                map,
                (name, name_size),
                Some((value, size)),
                HeaderMap::add,
            ))
        },
    )?;
    Ok(())
}

fn define_streams(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_set_effective_context",
        |c: Context<'_>, id: u32| answer(set_effective_context(Guest(c), id)),
    )?;
    linker.func_wrap(
        "env",
        "proxy_continue_stream",
        |c: Context<'_>, kind: u32| answer(continue_stream(Guest(c), kind)),
    )?;
    linker.func_wrap("env", "proxy_close_stream", |c: Context<'_>, kind: u32| {
        answer(close_stream(Guest(c), kind))
    })?;
    linker.func_wrap("env", "proxy_done", |c: Context<'_>| answer(done(Guest(c))))?;
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |c: Context<'_>,
         status: u32,
         details: u32,
         details_size: u32,
         body: u32,
         body_size: u32,
         headers: u32,
         headers_size: u32,
         grpc_status: i32| {
            let parts = [
                (details, details_size),
                (body, body_size),
                (headers, headers_size),
            ];
            answer(send_local_response(Guest(c), status, parts, grpc_status))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |c: Context<'_>,
         upstream: u32,
         upstream_size: u32,
         headers: u32,
         headers_size: u32,
         body: u32,
         body_size: u32,
         trailers: u32,
         trailers_size: u32,
         timeout: u32,
         token_at: u32| {
            let maps = [(headers, headers_size), (trailers, trailers_size)];
            let texts = [(upstream, upstream_size), (body, body_size)];
            answer(http_call(Guest(c), texts, maps, timeout, token_at))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_status",
        |c: Context<'_>, code_at: u32, at: u32, size_at: u32| {
            let mut guest = Guest(c);
            let (code, message) = guest.state().call_status;
            let written = guest.write_u32(code_at, code).map_err(Fault::from);
            answer(written.and_then(|()| guest.give(message.as_bytes(), at, size_at)))
        },
    )?;
    Ok(())
}

fn define_sharing(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |c: Context<'_>, key: u32, size: u32, at: u32, size_at: u32, cas_at: u32| {
            answer(get_shared_data(
                Guest(c),
                (key, size),
                (at, size_at),
                cas_at,
            ))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |c: Context<'_>, key: u32, key_size: u32, value: u32, size: u32, cas: u32| {
            answer(set_shared_data(
                Guest(c),
                (key, key_size),
                (value, size),
                cas,
            ))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |c: Context<'_>, kind: u32, name: u32, size: u32, id_at: u32| {
            answer(define_metric(Guest(c), kind, (name, size), id_at))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_increment_metric",
        |c: Context<'_>, id: u32, by: i64| {
            answer(with_metrics(Guest(c), |state| {
                state.metrics.increment(id, by)
            }))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_record_metric",
        |c: Context<'_>, id: u32, value: u64| {
            answer(with_metrics(Guest(c), |state| {
                state.metrics.record(id, value)
            }))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_metric",
        |c: Context<'_>, id: u32, at: u32| {
            let mut guest = Guest(c);
            let value = require(guest.state().profile.metrics)
                .and_then(|()| guest.state().metrics.get(id))
                .and_then(|value| guest.write_u64(at, value));
            answer(value.map_err(Fault::from))
        },
    )?;
    Ok(())
}

fn define_unimplemented(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    /// Name and number of parameters; all are `i32`, all answer a status.
    const UNIMPLEMENTED: [(&str, usize); 9] = [
        ("proxy_register_shared_queue", 3),
        ("proxy_resolve_shared_queue", 5),
        ("proxy_dequeue_shared_queue", 3),
        ("proxy_enqueue_shared_queue", 3),
        ("proxy_grpc_call", 12),
        ("proxy_grpc_stream", 9),
        ("proxy_grpc_send", 4),
        ("proxy_grpc_cancel", 1),
        ("proxy_grpc_close", 1),
    ];
    for (name, params) in UNIMPLEMENTED {
        super::wasi::define_constant(linker, "env", name, params, Status::Unimplemented as i32)?;
    }
    Ok(())
}

fn require(capability: bool) -> Result<(), Status> {
    if capability {
        Ok(())
    } else {
        Err(Status::Unimplemented)
    }
}

fn log(mut guest: Guest<'_>, level: u32, text: (u32, u32)) -> Done {
    let text = guest.read(text.0, text.1)?;
    let level = Level::from_abi(level)?;
    guest.state().log(level, &text);
    Ok(())
}

fn set_tick_period(mut guest: Guest<'_>, milliseconds: u32) -> Done {
    let state = guest.state();
    require(state.profile.ticks)?;
    let root = state.root_of(state.effective());
    let period_ns = u64::from(milliseconds) * 1_000_000;
    let due_ns = state.now_ns + period_ns;
    let root = state.roots.get_mut(&root).ok_or(Status::BadArgument)?;
    root.tick = (milliseconds != 0).then_some(Tick { period_ns, due_ns });
    Ok(())
}

fn get_buffer(mut guest: Guest<'_>, buffer: u32, start: u32, max: u32, at: (u32, u32)) -> Done {
    let state = guest.state();
    let bytes = match BufferType::from_abi(buffer)? {
        BufferType::CallResponseBody => state.call_response().map(|response| &response.body),
        BufferType::VmConfiguration => Some(&state.vm_configuration),
        BufferType::PluginConfiguration => state.plugin_configuration.as_ref(),
        BufferType::Absent => None,
    };
    let bytes = bytes.ok_or(Status::NotFound)?;
    let start = bytes.len().min(start as usize);
    let end = bytes.len().min(start.saturating_add(max as usize));
    let part = bytes[start..end].to_vec();
    guest.give(&part, at.0, at.1)
}

fn get_property(mut guest: Guest<'_>, path: (u32, u32), at: (u32, u32)) -> Done {
    let path = guest.read(path.0, path.1)?;
    let value = guest
        .state()
        .properties
        .get(&path)
        .cloned()
        .ok_or(Status::NotFound)?;
    guest.give(&value, at.0, at.1)
}

fn set_property(mut guest: Guest<'_>, path: (u32, u32), value: (u32, u32)) -> Done {
    let path = guest.read(path.0, path.1)?;
    let value = guest.read(value.0, value.1)?;
    let state = guest.state();
    let context = state.effective();
    if !state.streams.contains_key(&context) {
        return Err(Status::NotFound.into());
    }
    state.written_properties.insert((context, path), value);
    Ok(())
}

fn call_foreign(
    mut guest: Guest<'_>,
    name: (u32, u32),
    arguments: (u32, u32),
    at: (u32, u32),
) -> Done {
    let name = guest.read(name.0, name.1)?;
    let arguments = guest.read(arguments.0, arguments.1)?;
    let state = guest.state();
    require(state.profile.foreign_functions)?;
    let name = String::from_utf8(name).map_err(|_| Status::NotFound)?;
    let function = state.foreign.get_mut(&name).ok_or(Status::NotFound)?;
    let result = function(&arguments)?;
    guest.give(&result, at.0, at.1)
}

fn get_pairs(mut guest: Guest<'_>, map: u32, at: (u32, u32)) -> Done {
    let map = MapType::from_abi(map)?;
    let pairs = guest
        .state()
        .map(map)
        .map(HeaderMap::serialize)
        .unwrap_or_default();
    guest.give(&pairs, at.0, at.1)
}

fn set_pairs(mut guest: Guest<'_>, map: u32, pairs: (u32, u32)) -> Done {
    let map = MapType::from_abi(map)?;
    let pairs = read_map(&mut guest, pairs)?;
    guest
        .state()
        .map_mut(map)
        .ok_or(Status::BadArgument)?
        .clone_from(&pairs);
    Ok(())
}

fn get_value(mut guest: Guest<'_>, map: u32, name: (u32, u32), at: (u32, u32)) -> Done {
    let map = MapType::from_abi(map)?;
    let name = guest.read(name.0, name.1)?;
    let map = guest.state().map(map).ok_or(Status::BadArgument)?;
    let value = map.get(name).ok_or(Status::NotFound)?.to_vec();
    guest.give(&value, at.0, at.1)
}

fn edit(
    mut guest: Guest<'_>,
    map: u32,
    name: (u32, u32),
    value: Option<(u32, u32)>,
    edit: impl FnOnce(&mut HeaderMap, &[u8], &[u8]),
) -> Done {
    let map = MapType::from_abi(map)?;
    let name = guest.read(name.0, name.1)?;
    let value = value.map_or(Ok(Vec::new()), |value| guest.read(value.0, value.1))?;
    forbid_line_breaks(guest.state(), &name, &value);
    edit(
        guest.state().map_mut(map).ok_or(Status::BadArgument)?,
        &name,
        &value,
    );
    Ok(())
}

/// A map that the guest serialised. Envoy takes a malformed one for an empty one.
fn read_map(guest: &mut Guest<'_>, pairs: (u32, u32)) -> Result<HeaderMap, Fault> {
    let bytes = guest.read(pairs.0, pairs.1)?;
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
    if name
        .iter()
        .chain(value)
        .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
    {
        let name = String::from_utf8_lossy(name).into_owned();
        state
            .misuse
            .push(format!("a line break or NUL in header {name:?}"));
    }
}

fn set_effective_context(mut guest: Guest<'_>, id: u32) -> Done {
    let state = guest.state();
    if !state.knows(id) {
        return Err(Status::BadArgument.into());
    }
    state.effective = Some(id);
    Ok(())
}

fn continue_stream(mut guest: Guest<'_>, kind: u32) -> Done {
    let state = guest.state();
    let context = state.effective();
    match kind {
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

fn close_stream(mut guest: Guest<'_>, kind: u32) -> Done {
    if kind > 3 {
        return Err(Status::BadArgument.into());
    }
    let context = guest.state().effective();
    guest.state().effects.push(Effect::Reset { context });
    Ok(())
}

fn done(mut guest: Guest<'_>) -> Done {
    let state = guest.state();
    let root = state.effective();
    if !state.roots.get(&root).is_some_and(|root| root.draining) {
        return Err(Status::NotFound.into());
    }
    state.effects.push(Effect::Done { root });
    Ok(())
}

fn send_local_response(
    mut guest: Guest<'_>,
    status: u32,
    [details, body, headers]: [(u32, u32); 3],
    grpc_status: i32,
) -> Done {
    let details = guest.read(details.0, details.1)?;
    let body = guest.read(body.0, body.1)?;
    let headers = read_map(&mut guest, headers)?;
    let state = guest.state();
    let reply = LocalReply {
        status,
        headers,
        body,
        grpc_status,
        details,
    };
    let context = state.effective();
    state.effects.push(Effect::Reply { context, reply });
    state.stop_iteration = true;
    Ok(())
}

fn http_call(
    mut guest: Guest<'_>,
    [upstream, body]: [(u32, u32); 2],
    [headers, trailers]: [(u32, u32); 2],
    timeout_ms: u32,
    token_at: u32,
) -> Done {
    let cluster = guest.read(upstream.0, upstream.1)?;
    let body = guest.read(body.0, body.1)?;
    let headers = read_map(&mut guest, headers)?;
    let trailers = read_map(&mut guest, trailers)?;
    guest.write_u32(token_at, 0)?;
    let state = guest.state();
    let asked_by = state.effective();
    let root = state.root_of(asked_by);
    let owner = if state.profile.calls_belong_to_root {
        root
    } else {
        asked_by
    };
    let deadline = state.now_ns + u64::from(timeout_ms) * 1_000_000;
    let id = state.calls.dispatch(Call {
        id: CallId(0),
        cluster: String::from_utf8_lossy(&cluster).into_owned(),
        headers,
        body,
        trailers,
        timeout_ms,
        asked_by,
        owner,
        deadline_ns: (timeout_ms != 0).then_some(deadline),
    })?;
    Ok(guest.write_u32(token_at, id.0)?)
}

fn get_shared_data(mut guest: Guest<'_>, key: (u32, u32), at: (u32, u32), cas_at: u32) -> Done {
    let key = guest.read(key.0, key.1)?;
    let state = guest.state();
    require(state.profile.shared_data)?;
    let (value, cas) = state.shared.get(&key).ok_or(Status::NotFound)?;
    guest.give(&value, at.0, at.1)?;
    Ok(guest.write_u32(cas_at, cas)?)
}

fn set_shared_data(mut guest: Guest<'_>, key: (u32, u32), value: (u32, u32), cas: u32) -> Done {
    let key = guest.read(key.0, key.1)?;
    let value = guest.read(value.0, value.1)?;
    let state = guest.state();
    require(state.profile.shared_data)?;
    Ok(state.shared.set(&key, &value, cas)?)
}

fn define_metric(mut guest: Guest<'_>, kind: u32, name: (u32, u32), id_at: u32) -> Done {
    let name = guest.read(name.0, name.1)?;
    let state = guest.state();
    require(state.profile.metrics)?;
    let id = state
        .metrics
        .define(kind, String::from_utf8_lossy(&name).into_owned())?;
    Ok(guest.write_u32(id_at, id)?)
}

fn with_metrics(
    mut guest: Guest<'_>,
    change: impl FnOnce(&mut State) -> Result<(), Status>,
) -> Done {
    let state = guest.state();
    require(state.profile.metrics)?;
    Ok(change(state)?)
}
