//! The WASI preview 1 imports that a Rust `wasm32-wasip1` module has.
//!
//! Takes what std asks for: the virtual clock, the environment (empty unless a test says otherwise),
//! a repeatable "random" source, output that becomes log lines, and an exit that is a trap. Whatever else a module imports from
//! WASI answers `ENOSYS`. There are no files, arguments or sockets.

use wasmtime::{Caller, Linker, Module, Val, bail};

use super::abi::{Level, Status};
use super::memory::{Guest, Span};
use super::state::State;

const WASI: &str = "wasi_snapshot_preview1";

const DEFINED: [&str; 6] =
    ["environ_sizes_get", "environ_get", "fd_write", "clock_time_get", "random_get", "proc_exit"];

const SUCCESS: u32 = 0;
const BADF: u32 = 8;
const FAULT: u32 = 21;
const INVAL: u32 = 28;
const ENOSYS: i32 = 52;
const NOTSUP: u32 = 58;

pub fn define(linker: &mut Linker<State>, module: &Module) -> wasmtime::Result<()> {
    linker.func_wrap(WASI, "environ_sizes_get", |c: Caller<'_, State>, count: u32, size: u32| {
        let mut guest = Guest(c);
        let variables = guest.state().environment.clone();
        let bytes: usize = variables.iter().map(Vec::len).sum();
        let written = guest.write_u32(count, variables.len() as u32);
        errno(written.and_then(|()| guest.write_u32(size, bytes as u32)))
    })?;
    linker.func_wrap(WASI, "environ_get", |c: Caller<'_, State>, pointers: u32, text: u32| {
        errno(environ_get(Guest(c), pointers, text))
    })?;
    linker.func_wrap(
        WASI,
        "fd_write",
        |c: Caller<'_, State>, fd: u32, slices: u32, count: u32, written_at: u32| {
            fd_write(Guest(c), fd, slices, count, written_at)
        },
    )?;
    linker.func_wrap(WASI, "clock_time_get", |c: Caller<'_, State>, clock: u32, _: u64, at: u32| {
        let mut guest = Guest(c);
        guest.state().count("clock_time_get");
        let now = guest.state().now_ns;
        if clock > 1 { NOTSUP } else { errno(guest.write_u64(at, now)) }
    })?;
    linker.func_wrap(WASI, "random_get", |c: Caller<'_, State>, at: u32, size: u32| {
        random_get(Guest(c), at, size)
    })?;
    linker.func_wrap(WASI, "proc_exit", |code: u32| -> wasmtime::Result<()> {
        bail!("the guest called proc_exit({code})")
    })?;
    for import in module.imports().filter(|import| import.module() == WASI) {
        let known = DEFINED.contains(&import.name());
        if let (false, Some(ty)) = (known, import.ty().func()) {
            linker.func_new(WASI, import.name(), ty.clone(), |_, _, results| {
                results.fill(Val::I32(ENOSYS));
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn errno(result: Result<(), Status>) -> u32 {
    if result.is_ok() { SUCCESS } else { FAULT }
}

fn environ_get(mut guest: Guest<'_>, pointers: u32, text: u32) -> Result<(), Status> {
    let (mut pointer_at, mut text_at) = (pointers, text);
    for variable in guest.state().environment.clone() {
        guest.write_u32(pointer_at, text_at)?;
        guest.write(text_at, &variable)?;
        pointer_at += 4;
        text_at += variable.len() as u32;
    }
    Ok(())
}

fn fd_write(mut guest: Guest<'_>, fd: u32, slices: u32, count: u32, written_at: u32) -> u32 {
    let level = match fd {
        1 => Level::Info,
        2 => Level::Error,
        _ => return BADF,
    };
    match gather(&mut guest, slices, count) {
        Err(_) => FAULT,
        Ok(text) => {
            if !text.is_empty() {
                guest.state().log(level, text.strip_suffix(b"\n").unwrap_or(&text));
            }
            errno(guest.write_u32(written_at, text.len() as u32))
        }
    }
}

fn gather(guest: &mut Guest<'_>, slices: u32, count: u32) -> Result<Vec<u8>, Status> {
    let table = guest.read(Span { pointer: slices, size: count.saturating_mul(8) })?;
    let mut text = Vec::new();
    for slice in table.chunks_exact(8) {
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| slice[at + byte]));
        text.extend(guest.read(Span { pointer: number(0), size: number(4) })?);
    }
    Ok(text)
}

/// A linear congruential generator: every run sees the same bytes.
fn random_get(mut guest: Guest<'_>, at: u32, size: u32) -> u32 {
    if size > 64 * 1024 {
        return INVAL;
    }
    let mut bytes = vec![0; size as usize];
    for byte in &mut bytes {
        let random = &mut guest.state().random;
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = random.to_be_bytes()[0];
    }
    errno(guest.write(at, &bytes))
}
