//! The dependency direction of ARCHITECTURE.md, held by a test: nothing points back or up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate and the modules that it may name.
const MAY_NAME: [(&str, &[&str]); 29] = [
    ("json", &[]),
    ("time", &[]),
    ("clerk_claims", &["json"]),
    ("metric", &[]),
    ("bytes", &[]),
    ("few", &[]),
    ("request", &["bytes"]),
    ("path", &["request"]),
    ("regex", &[]),
    ("uri_template", &["path", "regex", "request"]),
    ("rule_index", &[]),
    ("jose", &["json", "time"]),
    ("config", &["bytes", "jose", "json", "path", "regex", "rule_index", "uri_template"]),
    ("call", &["config", "request"]),
    ("host_crypto", &["config", "jose"]),
    ("keys", &["call", "config", "jose", "json", "request", "time"]),
    ("session_check", &["call", "config", "jose", "json", "request", "time"]),
    ("matcher", &["bytes", "config", "request"]),
    ("verify", &["clerk_claims", "config", "jose", "json", "matcher", "request", "session_check", "time"]),
    ("cache", &["bytes", "config", "jose", "verify"]),
    ("browser_session", &["config", "jose", "json", "request", "time", "verify"]),
    ("rejection", &["browser_session", "config", "jose", "request", "verify"]),
    ("rule", &["config", "matcher", "path", "rejection", "request"]),
    ("credential", &["browser_session", "cache", "config", "few", "json", "rejection", "request", "time"]),
    ("authorize", &["config", "credential", "few", "rejection", "session_check", "verify"]),
    ("export", &["authorize", "config", "json", "rejection"]),
    (
        "evidence",
        &[
            "authorize",
            "browser_session",
            "cache",
            "config",
            "credential",
            "export",
            "few",
            "jose",
            "keys",
            "rejection",
            "request",
            "session_check",
            "time",
            "verify",
        ],
    ),
    ("rewrite", &["authorize", "config", "credential", "few", "jose", "json", "request"]),
    (
        "engine",
        &[
            "authorize",
            "cache",
            "call",
            "config",
            "credential",
            "evidence",
            "export",
            "jose",
            "keys",
            "rejection",
            "request",
            "rewrite",
            "rule",
            "session_check",
            "time",
            "verify",
        ],
    ),
];

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).expect("a readable directory");
    entries.flat_map(|entry| files(&entry.expect("a readable entry").path())).collect()
}

/// The code of a file, without its unit tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a readable file");
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

fn module_path(module: &str) -> PathBuf {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = src.join(format!("{module}.rs"));
    if file.is_file() { file } else { src.join(module) }
}

/// The modules that `module` names, itself excepted.
fn named(module: &str) -> BTreeSet<String> {
    let word =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let names = files(&module_path(module));
    let names = names.iter().flat_map(|file| {
        let code = code(file);
        code.split("crate::").skip(1).map(word).collect::<Vec<_>>()
    });
    names.filter(|name| name != module).collect()
}

#[test]
fn every_module_names_only_those_below_it() {
    for (module, allowed) in MAY_NAME {
        for name in named(module) {
            assert!(allowed.contains(&name.as_str()), "{module} names {name}");
        }
    }
}

#[test]
fn every_module_has_its_place_in_the_order() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap();
        let is_placed = ["lib", "host"].contains(&module) || MAY_NAME.iter().any(|(name, _)| *name == module);
        assert!(is_placed, "{module} is not in MAY_NAME");
    }
}

#[test]
fn the_host_alone_names_the_sdk_and_one_of_its_calls() {
    for (module, _) in MAY_NAME {
        for file in files(&module_path(module)) {
            assert!(!code(&file).contains("proxy_wasm"), "{}", file.display());
        }
    }
    for file in files(&module_path("host")) {
        let code = code(&file);
        let calls = code.split("hostcalls::").skip(1);
        assert!(calls.into_iter().all(|call| call.starts_with("dispatch_http_call(")), "{}", file.display());
    }
}
