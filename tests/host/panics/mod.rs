//! No input traps the VM: what the built module itself says about it.
//!
//! Lints look at the sources of this crate alone and see no panic in what they call. Here every function that the host
//! can reach is read as it was compiled, dependencies and standard library included; whatever in it can end in a trap is
//! on a list (`allowed.txt`) with the reason why it does not come to that. The list is exact: what is not on it fails the
//! test, and what is on it in vain does, too. Traps without an instruction of their own (a division, an address out of
//! memory) are not looked for: Rust looks before it divides, and addresses are what `unsafe` answers for.

mod graph;
mod list;

use std::fs;
use std::path::Path;

use wasmparser::{Parser, Payload};

use self::graph::{CALLS_ITSELF, Graph, NEVER_RETURNS, TRAP};
use self::list::List;
use super::scene::filter_path;

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/panics/allowed.txt");

const WHAT_TO_DO: &str = "
Whatever is not on the list is a way to end the VM for every request of a worker. Take it out of the code; if it is \
there to stay, and cannot happen whatever comes from outside, say why in tests/host/panics/allowed.txt.
`UPDATE=1 cargo test --features demo --test host panics` takes off the list what is not in the module any more, and puts \
at its end what needs a reason.";

/// The module with its names, entered as the shipped one is.
fn built() -> Graph {
    let shipped = fs::read(filter_path()).unwrap();
    let named = fs::read(filter_path().with_extension("symbols.wasm")).unwrap();
    assert!(
        sections(&shipped) == sections(&named),
        "the module with names has other code than the shipped one"
    );
    let exports = exports(&shipped);
    Graph::read(&named, |export| exports.iter().any(|name| name == export))
}

/// The contents of all sections that have a say in what runs, but for what is exported.
fn sections(wasm: &[u8]) -> Vec<(u8, &[u8])> {
    let payloads = Parser::new(0).parse_all(wasm).map(Result::unwrap);
    let sections =
        payloads.filter(|payload| !matches!(payload, Payload::CustomSection(_) | Payload::ExportSection(_)));
    sections.filter_map(|payload| payload.as_section()).map(|(id, range)| (id, &wasm[range])).collect()
}

fn exports(wasm: &[u8]) -> Vec<String> {
    let payloads = Parser::new(0).parse_all(wasm).map(Result::unwrap);
    let exports = payloads.filter_map(|payload| match payload {
        Payload::ExportSection(section) => Some(section),
        _ => None,
    });
    exports.flatten().map(|export| export.unwrap().name.to_owned()).collect()
}

#[test]
fn whatever_can_end_in_a_trap_is_known_and_has_a_reason_not_to() {
    let graph = built();
    let findings = graph.findings();
    if std::env::var_os("UPDATE").is_some() {
        let text = fs::read_to_string(LIST).unwrap();
        fs::write(LIST, List::parse(&text).updated(&findings, &graph.compiler)).unwrap();
    }
    let text = fs::read_to_string(LIST).unwrap();
    let list = List::parse(&text);
    println!("{}", list.summary(&findings));
    let complaints = list.complaints(&findings, &graph.compiler);
    assert!(complaints.is_empty(), "\n{complaints}{WHAT_TO_DO}");
}

/// The SDK's calls panic on what they do not expect. All are in the module, in the tables of its traits.
#[test]
fn of_the_calls_of_the_sdk_one_alone_is_made() {
    let calls = built().callers_from_elsewhere(&["proxy_wasm::hostcalls::", "proxy_wasm::traits::"]);
    let called: Vec<_> = calls.iter().map(|(_, callee)| callee.as_str()).collect();
    assert_eq!(called, ["proxy_wasm::hostcalls::dispatch_http_call"], "{calls:#?}");
}

#[test]
fn the_list_names_sources_that_there_are() {
    let text = fs::read_to_string(LIST).unwrap();
    let files =
        text.lines().filter_map(|line| line.split(" | ").nth(2)).filter(|file| file.starts_with("src/"));
    for file in files.filter_map(|file| file.split(' ').next()) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file(), "{file}");
    }
}

/// A host enters `tick`. It panics itself and by way of `helper`, calls one of the type of `in_table`, and recurses.
/// `unused` is exported and not entered; `of_another_type` is in the table and called by nobody.
const GUEST: &str = r#"(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (type $callback (func (param i32) (result i32)))
  (memory 1)
  (table 2 funcref)
  (elem (i32.const 0) $in_table $of_another_type)
  ;; A place: the file, line 7, column 1.
  (data (i32.const 64) "\00\00\00\00\0a\00\00\00\07\00\00\00\01\00\00\00src/own.rs")
  (data (i32.const 0) "src/own.rs")
  (func $"core::panicking::panic" (param i32) (call $"core::panicking::panic_fmt") unreachable)
  (func $"core::panicking::panic_fmt" (call $proc_exit (i32.const 1)) unreachable)
  (func $tick (export "tick") (param i32)
    (if (local.get 0) (then (call $"core::panicking::panic" (i32.const 64)) unreachable))
    (call $helper (i32.const 0))
    (drop (call_indirect (type $callback) (i32.const 1) (i32.const 0)))
    (call $recurses (local.get 0)))
  (func $helper (param i32)
    (block (br_if 0 (local.get 0)) (call $"core::panicking::panic_fmt") unreachable))
  (func $in_table (type $callback) (if (local.get 0) (then unreachable)) (i32.const 0))
  (func $recurses (param i32) (if (local.get 0) (then (call $recurses_too))))
  (func $recurses_too (call $recurses (i32.const 0)))
  (func $of_another_type (param i32 i32) (if (local.get 0) (then unreachable)))
  (func $unused (export "unused") (if (i32.const 1) (then unreachable)))
  (func $spins (loop (br 0)))
  (func $calls_what_spins (call $spins)))"#;

fn guest(of: &str) -> Graph {
    Graph::read(&wat::parse_str(of).unwrap(), |export| export == "tick")
}

/// Each as it would stand on the list.
fn found_in(graph: &Graph) -> Vec<String> {
    let nothing_listed = List::parse("").updated(&graph.findings(), "");
    nothing_listed.lines().filter(|line| line.contains(" | ")).map(str::to_owned).collect()
}

#[test]
fn panics_are_found_directly_by_way_of_others_and_through_the_table_and_not_where_nobody_comes() {
    let found = found_in(&guest(GUEST));
    let own = "* | core::panicking::panic | src/own.rs x1".to_owned();
    let others = [
        ("helper", "core::panicking::panic_fmt"),
        ("in_table", TRAP),
        ("recurses", CALLS_ITSELF),
        ("recurses_too", CALLS_ITSELF),
    ];
    let others = others.map(|(function, kind)| format!("{function} | {kind}"));
    assert_eq!(found, [own].into_iter().chain(others).collect::<Vec<_>>());
}

#[test]
fn a_function_that_ends_in_a_trap_whatever_happens_is_found_where_the_host_or_the_table_leads_to_it() {
    let entered = r#"(module (func $tick (export "tick") unreachable))"#;
    assert_eq!(found_in(&guest(entered)), [format!("tick | {NEVER_RETURNS}")]);
    let in_table = r#"(module (table 1 funcref) (elem (i32.const 0) $ends) (func $ends unreachable)
                        (func $tick (export "tick") (call_indirect (i32.const 0))))"#;
    assert_eq!(found_in(&guest(in_table)), [format!("ends | {NEVER_RETURNS}")]);
}

#[test]
fn what_cannot_be_reached_within_a_function_is_no_trap() {
    let guarded = r#"(module (func $tick (export "tick") (param i32)
                       (block (block (br_table 0 1 (local.get 0))) (return)) (return) unreachable))"#;
    assert_eq!(found_in(&guest(guarded)), [""; 0]);
    let default_of_a_table = guarded.replace("(return)) (return)", "(return))");
    assert_eq!(found_in(&guest(&default_of_a_table)), [format!("tick | {TRAP}")]);
}

/// All that is in [`GUEST`], and something that is not.
const LIST_OF_GUEST: &str = "Made by nobody

## Tried
It is there to be found.

* | core::panicking::panic | src/own.rs x1
helper | *
in_table | unreachable
* | calls itself
gone | unreachable
";

#[test]
fn what_is_not_on_the_list_is_shown_with_the_way_to_it() {
    let graph = guest(GUEST);
    let listed = LIST_OF_GUEST.replace("gone | unreachable\n", "");
    assert_eq!(List::parse(&listed).complaints(&graph.findings(), "nobody"), "");

    let unlisted = listed.replace("helper | *\n", "").replace("in_table | unreachable\n", "");
    let complaints = List::parse(&unlisted).complaints(&graph.findings(), "nobody");
    assert!(complaints.contains("tick\n      -> (by its type) in_table\n"), "{complaints}");
    assert!(complaints.contains("not on the list:\nhelper | core::panicking::panic_fmt\n"), "{complaints}");
    assert!(complaints.contains("tick\n      -> helper\n"), "{complaints}");
    let complaints = List::parse(&unlisted).complaints(&graph.findings(), "rustc 2");
    assert!(complaints.contains("made by rustc 2, the list is not"), "{complaints}");
}

#[test]
fn what_is_on_the_list_in_vain_is_shown_so_that_it_only_shrinks() {
    let findings = guest(GUEST).findings();
    let complaints = List::parse(LIST_OF_GUEST).complaints(&findings, "nobody");
    assert_eq!(complaints, "on the list, and not in the module any more:\ngone | unreachable\n");

    let more = LIST_OF_GUEST.replace("gone | unreachable\n", "").replace("x1", "x2");
    let complaints = List::parse(&more).complaints(&findings, "nobody");
    assert!(
        complaints.contains("not on the list:\n* | core::panicking::panic | src/own.rs x1\n"),
        "{complaints}"
    );
    assert!(complaints.contains("any more:\n* | core::panicking::panic | src/own.rs x2\n"), "{complaints}");
}

#[test]
fn an_update_keeps_reasons_and_asks_for_those_that_are_missing() {
    let findings = guest(GUEST).findings();
    let list = LIST_OF_GUEST.replace("helper | *\n", "");
    let updated = List::parse(&list).updated(&findings, "somebody");
    let expected = list.replace("Made by nobody", "Made by somebody").replace("gone | unreachable\n", "")
        + "\n## Without a reason\n\nhelper | core::panicking::panic_fmt\n";
    assert_eq!(updated, expected);
    let complaints = List::parse(&updated).complaints(&findings, "somebody");
    assert_eq!(complaints, "without a reason: Without a reason\n");

    let complete = LIST_OF_GUEST.replace("gone | unreachable\n", "");
    assert_eq!(List::parse(&complete).updated(&findings, "nobody"), complete);
}
