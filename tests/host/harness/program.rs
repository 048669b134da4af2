//! Compiled modules.
//!
//! Takes a path or WAT text, gives a `Program` that any number of hosts instantiate. A path is
//! compiled once per process, whichever test thread comes first. Does not notice that a file
//! changed under it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wasmtime::{Config, Engine, ExternType, Module};

use super::LoadError;

type Slot = Arc<OnceLock<Result<Program, String>>>;

/// A compiled module.
#[derive(Clone)]
pub struct Program(pub(super) Module);

/// One import of a module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub module: String,
    pub name: String,
    /// Such as `func(i32, i64) -> i32`.
    pub ty: String,
}

impl Program {
    /// Compiles the module at `path`, or waits for the thread that already does.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        static PROGRAMS: OnceLock<Mutex<HashMap<PathBuf, Slot>>> = OnceLock::new();

        let path = path.as_ref();
        let mut programs =
            PROGRAMS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let slot = programs.entry(path.to_path_buf()).or_default().clone();
        drop(programs);
        let compiled = slot.get_or_init(|| {
            let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            compile(&bytes).map_err(|e| format!("{}: {e:#}", path.display()))
        });
        compiled.clone().map_err(LoadError::Compile)
    }

    /// The module at `path`, compiled so that what it executes is counted; slower.
    pub fn metered(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let failed = |problem: String| LoadError::Compile(format!("{}: {problem}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let engine = Engine::new(Config::new().consume_fuel(true));
        let module = engine.and_then(|engine| Module::new(&engine, bytes));
        module.map(Self).map_err(|error| failed(format!("{error:#}")))
    }

    /// Compiles a module written in place.
    pub fn from_wat(text: &str) -> Result<Self, LoadError> {
        compile(text.as_bytes()).map_err(|e| LoadError::Compile(format!("{e:#}")))
    }

    pub fn imports(&self) -> Vec<Import> {
        let imports = self.0.imports().map(|import| Import {
            module: import.module().to_owned(),
            name: import.name().to_owned(),
            ty: describe(&import.ty()),
        });
        imports.collect()
    }

    /// The names and types of the exports.
    pub fn exports(&self) -> Vec<(String, String)> {
        self.0.exports().map(|export| (export.name().to_owned(), describe(&export.ty()))).collect()
    }
}

/// One engine for all, since a module runs only on the engine that compiled it.
fn compile(bytes: &[u8]) -> wasmtime::Result<Program> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();

    Module::new(ENGINE.get_or_init(Engine::default), bytes).map(Program)
}

fn describe(ty: &ExternType) -> String {
    let ExternType::Func(func) = ty else {
        return format!("{ty:?}");
    };
    let list = |types: Vec<String>| types.join(", ");
    let params = list(func.params().map(|ty| ty.to_string()).collect());
    let results = list(func.results().map(|ty| ty.to_string()).collect());
    if results.is_empty() { format!("func({params})") } else { format!("func({params}) -> {results}") }
}
