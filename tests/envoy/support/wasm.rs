//! The built filter, and the proof that it is the one of these sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The module that `make wasm` has built. Panics when there is none or when the sources are newer.
pub fn path() -> PathBuf {
    let root = Path::new(ROOT);
    let module = root.join("target/edge_authn.wasm");
    let Some(built) = modified(&module) else {
        panic!("there is no {}: run `make wasm`", module.display());
    };
    let newest = newest_below(&root.join("src")).max(modified(&root.join("Cargo.lock")));
    assert!(newest <= Some(built), "{} is older than the sources: run `make wasm`", module.display());
    module
}

fn newest_below(directory: &Path) -> Option<SystemTime> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| if path.is_dir() { newest_below(&path) } else { modified(&path) })
        .max()
        .flatten()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
