//! One instance of a module, and the way into it.
//!
//! Takes a program and the state that its imports act on, gives calls of exports by name. A trap
//! is handed back to the caller, and a VM that was killed is never entered again. Does not know in
//! which order a host calls, nor what the guest asked for meanwhile.

use wasmtime::{Extern, Instance, Linker, Store, StoreLimitsBuilder, WasmParams, WasmResults};

use super::program::{Import, Program};
use super::state::State;
use super::{LoadError, env, wasi};

/// Envoy's limit on the memory of one VM.
const MEMORY_LIMIT: usize = 1 << 30;

pub struct Vm {
    store: Store<State>,
    instance: Instance,
    trap: Option<String>,
}

impl Vm {
    pub fn instantiate(program: &Program, mut state: State) -> Result<Self, LoadError> {
        let kind = state.profile.kind;
        let failed = |error: wasmtime::Error| LoadError::Trapped(format!("{error:?}"));
        state.limits = StoreLimitsBuilder::new().memory_size(MEMORY_LIMIT).build();
        let mut store = Store::new(program.0.engine(), state);
        store.limiter(|state| &mut state.limits);
        // Fails where nothing is counted.
        let _ = store.set_fuel(u64::MAX);

        let mut linker = Linker::new(program.0.engine());
        env::define(&mut linker, kind).map_err(failed)?;
        wasi::define(&mut linker, &program.0).map_err(failed)?;
        let unknown = unknown_imports(program, &linker, &mut store);
        if !unknown.is_empty() {
            return Err(LoadError::UnknownImports(unknown));
        }
        let instance = linker.instantiate(&mut store, &program.0).map_err(failed)?;
        Ok(Self { store, instance, trap: None })
    }

    /// Calls the export `name` on behalf of `context`. `None`: there is no such export.
    pub fn enter<P: WasmParams, R: WasmResults>(
        &mut self,
        context: u32,
        name: &str,
        params: P,
    ) -> wasmtime::Result<Option<R>> {
        if let Some(trap) = &self.trap {
            panic!("{name} in a VM that is dead since: {trap}");
        }
        let Some(export) = self.instance.get_func(&mut self.store, name) else {
            return Ok(None);
        };
        let export = export.typed::<P, R>(&self.store)?;
        let state = self.store.data_mut();
        (state.current, state.effective, state.stop_iteration) = (context, None, false);
        state.dispatched = false;
        export.call(&mut self.store, params).map(Some)
    }

    pub fn kill(&mut self, trap: String) {
        self.trap = Some(trap);
    }

    pub fn trap(&self) -> Option<&str> {
        self.trap.as_deref()
    }

    pub fn state(&self) -> &State {
        self.store.data()
    }

    pub fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }

    /// How many instructions it has executed, about; `None` where they are not counted.
    pub fn instructions(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| u64::MAX - left)
    }

    pub fn memory_pages(&mut self) -> u64 {
        let memory = self.instance.get_memory(&mut self.store, "memory");
        memory.map_or(0, |memory| memory.size(&self.store))
    }
}

/// The imports that are not defined, or are with another type.
fn unknown_imports(program: &Program, linker: &Linker<State>, store: &mut Store<State>) -> Vec<Import> {
    let imports = program.0.imports().zip(program.imports());
    let unknown = imports.filter(|(import, _)| {
        let Some(Extern::Func(defined)) = linker.get_by_import(&mut *store, import) else {
            return true;
        };
        let defined = defined.ty(&mut *store);
        !import.ty().func().is_some_and(|wanted| wanted.matches(&defined))
    });
    unknown.map(|(_, described)| described).collect()
}
