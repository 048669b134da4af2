//! The only place that talks to a proxy: callbacks in, host calls out.
//!
//! Takes what the host hands over, lets [`Engine`](crate::engine::Engine) decide, and does what it says. Holds what the
//! engine must not know: context ids, call tokens, the clock. Deliberately decides nothing about a request except when
//! the host fails it, and then against it.
//!
//! Header bytes and host statuses come from outside, and a panic takes the VM down with every request in it: the SDK's
//! calls, which panic on both, are replaced by those in [`calls`].

mod attributes;
mod calls;
mod capabilities;
mod clock;
mod gateway;
mod metrics;
mod nginx;
mod quiet;
mod root;
mod shared_data;
mod stream;
mod waiting_room;

use crate::host::calls::LogLevel;
use crate::host::root::Root;

unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Called once by the host, before everything else.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // SAFETY: the reactor's constructors, which the host leaves to this function to call once.
    unsafe { __wasm_call_ctors() };
    // The trap that follows a panic says nothing of its cause. The message itself is left out: it may quote a request.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        calls::log(LogLevel::Critical, &format!("edge-authn: panic at {place}"));
    }));
    proxy_wasm::set_root_context(|context_id| Box::new(Root::new(context_id)));
}

/// `proxy_on_done` of the module that is shipped (`scripts/wasm-split.py`), in place of the SDK's, which does the same and
/// looks the context up for it. Hosts call it for every stream: Envoy takes a module without it for one that says yes,
/// nginx for one that says no, and writes an error for each request.
#[unsafe(no_mangle)]
const extern "C" fn edge_authn_on_done(_context_id: u32) -> u32 {
    1
}
