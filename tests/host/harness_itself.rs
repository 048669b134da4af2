//! The harness held against what it says of itself, with guests written in place.
//!
//! Takes no built filter. What a real guest can do is proven by the other tests; here are the
//! rules that a mistake in the harness would silently relax.

use std::time::Duration;

use super::harness::{Fleet, Host, LoadError, Outcome, Profile, Program, SharedData, Sharing, Status};

/// Memory, an allocator that never frees, and texts at known places.
const PRELUDE: &str = r#"
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 4096))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32)
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 0))))
"#;

/// Imports have to come before everything else in a module.
fn host(imports: &str, body: &str, profile: Profile) -> Host {
    let program = Program::from_wat(&format!("(module {imports} {PRELUDE} {body})")).unwrap();
    Host::new(&program, profile).unwrap()
}

fn get() -> Vec<(Vec<u8>, Vec<u8>)> {
    [(":method", "GET"), (":path", "/"), (":authority", "a"), ("X-Name", "\u{e9}")]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
}

/// Pauses each request; on a tick, resumes stream 2 from the root.
const WAITS_FOR_TICK: (&str, &str) = (
    r#"(import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
       (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
       (import "env" "proxy_continue_stream" (func $resume (param i32) (result i32)))"#,
    r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
         (i32.eqz (call $tick (i32.const 100))))
       (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 1))
       (func (export "proxy_on_tick") (param i32)
         (if (i32.eqz (call $effective (i32.const 2))) (then
           (drop (call $resume (i32.const 0))))))"#,
);

#[test]
fn a_paused_request_is_resumed_by_a_tick_of_the_root() {
    let mut host = host(WAITS_FOR_TICK.0, WAITS_FOR_TICK.1, Profile::envoy());
    let root = host.start("").unwrap();
    assert_eq!(host.tick_period(root), Some(Duration::from_millis(100)));
    let stream = host.request(get());
    host.advance(Duration::from_millis(99));
    assert_eq!(host.outcome(stream), Outcome::Paused);
    host.advance(Duration::from_millis(1));
    assert_eq!(host.outcome(stream), Outcome::Continued);
    assert_eq!(host.request_headers(stream).get("x-name"), Some("\u{e9}".as_bytes()));
    assert_eq!(host.contexts_alive(), 2);
    assert_eq!(host.close(stream), Outcome::Continued);
    assert_eq!(host.contexts_alive(), 1);
    host.advance(Duration::from_secs(1));
}

#[test]
#[should_panic(expected = "a resume of a request that is not paused")]
fn a_second_resume_fails_the_test() {
    let mut host = host(WAITS_FOR_TICK.0, WAITS_FOR_TICK.1, Profile::envoy());
    host.start("").unwrap();
    host.request(get());
    host.advance(Duration::from_millis(200));
}

#[test]
fn a_host_without_ticks_says_so() {
    let mut host = host(WAITS_FOR_TICK.0, WAITS_FOR_TICK.1, Profile::minimal());
    let refused = host.start("").unwrap_err();
    assert_eq!(refused.by, "proxy_on_configure");
    assert_eq!(host.contexts_alive(), 0);
}

#[test]
#[should_panic(expected = "proxy_on_request_headers trapped")]
fn a_trap_fails_the_test() {
    let body = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                    unreachable)"#;
    let mut host = host("", body, Profile::envoy());
    host.start("").unwrap();
    host.request(get());
}

#[test]
fn proc_exit_is_a_trap_that_the_host_remembers() {
    let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    let body = r#"(func (export "proxy_on_tick") (param i32))
                  (func (export "proxy_on_log") (param i32) (call $exit (i32.const 7)))"#;
    let mut host = host(import, body, Profile::envoy());
    host.start("").unwrap();
    let stream = host.request(get());
    let close = std::panic::AssertUnwindSafe(|| host.close(stream));
    assert!(std::panic::catch_unwind(close).is_err());
    assert!(host.trapped().unwrap().contains("proc_exit(7)"), "{:?}", host.trapped());
}

/// A map of `:method`, `:path` and `:authority`, and the name of a cluster.
const CALL_DATA: &str = r#"
  (data (i32.const 0) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
  (data (i32.const 100) "idp")
"#;

const CALL_IMPORT: &str = r#"
  (import "env" "proxy_http_call" (func $call
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
"#;

/// Each request asks cluster `idp` and pauses, or is answered with the status of the refusal. An
/// answer is passed to stream 2 as a status of the number of its headers and of its map's size.
const ASKS: &str = r#"
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (local $status i32)
    (local.set $status (call $call (i32.const 100) (i32.const 3) (i32.const 0) (i32.const 61)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2000) (i32.const 200)))
    (if (local.get $status) (then (drop (call $reply (local.get $status)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const -1)))))
    (i32.const 1))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (drop (call $pairs (i32.const 6) (i32.const 204) (i32.const 208)))
    (if (i32.eqz (call $effective (i32.const 2))) (then (drop (call $reply
      (i32.add (i32.mul (local.get 2) (i32.const 100)) (i32.load (i32.const 208)))
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const -1))))))
"#;

fn asking(profile: Profile) -> Host {
    host(CALL_IMPORT, &format!("{CALL_DATA}{ASKS}"), profile)
}

#[test]
fn an_answer_reaches_the_request_that_waits_for_it() {
    let mut host = asking(Profile::envoy());
    host.cluster("idp");
    let root = host.start("").unwrap();
    let stream = host.request(get());
    let call = host.calls().pop().unwrap();
    assert_eq!((call.owner, call.asked_by), (root.0, stream.0));
    assert_eq!((call.cluster.as_str(), call.timeout_ms), ("idp", 2000));
    assert_eq!(call.headers.get(":path"), Some(b"/".as_slice()));
    host.answer(call.id, 200, Vec::new(), "");
    // One header; its map takes 4 + 8 + ":status" + "200" + 2 bytes.
    assert_eq!(host.reply(stream).status, 100 + 24);
    assert_eq!(host.response_headers(stream).get(":status"), Some(b"124".as_slice()));
}

#[test]
fn a_reset_call_has_no_headers() {
    let mut host = asking(Profile::envoy());
    host.cluster("idp");
    host.start("").unwrap();
    let stream = host.request(get());
    host.answer_reset(host.calls()[0].id);
    assert_eq!(host.reply(stream).status, 0);
}

#[test]
fn a_call_times_out_on_the_virtual_clock() {
    let mut host = asking(Profile::envoy());
    host.cluster("idp");
    host.start("").unwrap();
    let stream = host.request(get());
    host.advance(Duration::from_millis(1999));
    assert_eq!(host.outcome(stream), Outcome::Paused);
    host.advance(Duration::from_millis(1));
    assert_eq!(host.reply(stream).status, 124);
}

#[test]
fn an_unknown_cluster_is_a_bad_argument_and_a_failing_one_an_internal_failure() {
    let mut host = asking(Profile::envoy());
    host.start("").unwrap();
    let stream = host.request(get());
    assert_eq!(host.reply(stream).status, Status::BadArgument as u32);
    host.failing_cluster("idp");
    let stream = host.request(get());
    assert_eq!(host.reply(stream).status, Status::InternalFailure as u32);
    assert!(host.calls().is_empty());
}

#[test]
fn a_call_outlives_its_stream_only_where_calls_belong_to_the_root() {
    for (profile, left) in [(Profile::envoy(), 1), (Profile::minimal(), 0)] {
        let mut host = asking(profile);
        host.cluster("idp");
        host.start("").unwrap();
        let stream = host.request(get());
        host.close(stream);
        assert_eq!(host.calls().len(), left);
    }
}

#[test]
fn a_pointer_outside_the_memory_is_a_status_and_not_a_trap() {
    let import = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;
    let body = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
                    (i32.eq (i32.const 6)
                      (call $log (i32.const 2) (i32.const -1) (i32.const 10))))"#;
    host(import, body, Profile::envoy()).start("").unwrap();
}

#[test]
fn an_import_that_no_host_has_is_named() {
    let import = r#"(import "env" "proxy_teleport" (func (param i32) (result i32)))
                    (import "env" "proxy_log" (func (param i64) (result i32)))"#;
    let program = Program::from_wat(&format!("(module {import})")).unwrap();
    let error = Host::new(&program, Profile::envoy()).unwrap_err();
    assert!(matches!(&error, LoadError::UnknownImports(unknown) if unknown.len() == 2));
    assert!(error.to_string().contains("env.proxy_teleport: func(i32) -> i32"), "{error}");
}

#[test]
fn a_large_cas_creates_and_does_not_replace() {
    let shared = SharedData::default();
    assert_eq!(shared.set(b"k", b"1", u32::MAX), Ok(()));
    assert_eq!(shared.set(b"k", b"2", u32::MAX), Err(Status::CasMismatch));
    assert_eq!(shared.get(b"k"), Some((b"1".to_vec(), 1)));
    assert_eq!(shared.set(b"k", b"3", 1), Ok(()));
    assert_eq!(shared.set(b"k", b"4", 1), Err(Status::CasMismatch));
    assert_eq!(shared.set(b"k", b"5", 0), Ok(()));
    assert_eq!(shared.get(b"k"), Some((b"5".to_vec(), 3)));
}

#[test]
#[should_panic(expected = "stream 2 waits for nothing")]
fn a_callback_that_decides_nothing_fails_the_test_where_a_request_is_held_by_its_call() {
    let body = ASKS.replace("(i32.eqz (call $effective (i32.const 2)))", "(i32.const 0)");
    let mut host = host(CALL_IMPORT, &format!("{CALL_DATA}{body}"), Profile::minimal());
    host.cluster("idp");
    host.start("").unwrap();
    host.request(get());
    host.answer(host.calls()[0].id, 200, Vec::new(), "");
}

#[test]
#[should_panic(expected = "a local reply in the callback that made a call")]
fn a_reply_beside_a_call_fails_the_test_where_a_request_is_held_by_its_call() {
    let body = ASKS.replace("(if (local.get $status)", "(if (i32.eqz (local.get $status))");
    let mut host = host(CALL_IMPORT, &format!("{CALL_DATA}{body}"), Profile::minimal());
    host.cluster("idp");
    host.start("").unwrap();
    host.request(get());
}

/// Ticks every so many milliseconds as its configuration has bytes. Each tick appends a letter to the shared `k`: `a`
/// for two milliseconds, `b` for three.
const APPENDS: (&str, &str) = (
    r#"(import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
       (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
       (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))"#,
    r#"(data (i32.const 100) "k")
       (global $letter (mut i32) (i32.const 0))
       (func (export "proxy_on_configure") (param i32 i32) (result i32)
         (global.set $letter (i32.add (i32.const 95) (local.get 1)))
         (i32.eqz (call $tick (local.get 1))))
       (func (export "proxy_on_tick") (param i32)
         (i32.store (i32.const 200) (i32.const 1000))
         (i32.store (i32.const 204) (i32.const 0))
         (drop (call $get (i32.const 100) (i32.const 1)
           (i32.const 200) (i32.const 204) (i32.const 208)))
         (i32.store8 (i32.add (i32.load (i32.const 200)) (i32.load (i32.const 204))) (global.get $letter))
         (drop (call $set (i32.const 100) (i32.const 1)
           (i32.load (i32.const 200)) (i32.add (i32.const 1) (i32.load (i32.const 204))) (i32.const 0))))"#,
);

/// Workers that append; one for each period.
fn appending(periods: &[&str]) -> Fleet {
    let first = host(APPENDS.0, APPENDS.1, Profile::envoy());
    let others: Vec<_> = periods[1..].iter().map(|_| first.beside().unwrap()).collect();
    let mut fleet = Fleet::new([first].into_iter().chain(others));
    for (host, period) in fleet.iter_mut().zip(periods) {
        host.start(period).unwrap();
    }
    fleet
}

#[test]
fn the_ticks_of_a_fleet_interleave_by_the_clock_and_then_by_the_order_of_the_workers() {
    let mut fleet = appending(&["xxx", "xx"]);
    fleet.advance(Duration::from_millis(6));
    assert_eq!(fleet[0].shared_data().get(b"k").unwrap().0, b"ababa", "at 2, 3, 4, 6 and 6 ms");
}

#[test]
fn a_vm_that_dies_does_nothing_more_and_leaves_what_it_shared() {
    let mut fleet = appending(&["xx", "xxx"]);
    fleet.advance(Duration::from_millis(2));
    fleet.kill(0);
    assert_eq!(fleet.len(), 1);
    fleet.advance(Duration::from_millis(4));
    assert_eq!(fleet[0].shared_data().get(b"k").unwrap().0, b"abb");
}

#[test]
fn a_fleet_says_whose_each_call_is_and_the_calls_of_the_dead_are_gone() {
    let mut first = asking(Profile::envoy());
    first.cluster("idp");
    let second = first.beside().unwrap();
    let mut fleet = Fleet::new([first, second]);
    for host in fleet.iter_mut() {
        host.start("").unwrap();
        host.request(get());
    }
    let calls = fleet.calls();
    assert_eq!(calls.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0, 1], "{calls:?}");
    fleet.kill(0);
    assert_eq!(fleet.calls().len(), 1);
    fleet.advance(Duration::from_secs(2));
    assert_eq!(fleet[0].reply(super::harness::StreamId(2)).status, 124, "its timeout passes as for one host");
}

#[test]
#[should_panic(expected = "a worker whose clock stands elsewhere")]
fn a_fleet_takes_no_worker_of_another_time() {
    let first = host("", "", Profile::envoy());
    let mut second = first.beside().unwrap();
    second.advance(Duration::from_millis(1));
    Fleet::new([first, second]);
}

/// Starts when a look at the absent key `k`, its creation by a compare-and-swap, and an unconditional write are
/// answered by these numbers.
fn sharing_answers(sharing: Sharing, [get, create, set]: [u32; 3]) -> Option<Vec<u8>> {
    let (imports, _) = APPENDS;
    let body = format!(
        r#"(data (i32.const 100) "k")
           (func (export "proxy_on_configure") (param i32 i32) (result i32)
             (drop (call $tick (i32.const 0)))
             (i32.and (i32.and
               (i32.eq (i32.const {get}) (call $get
                 (i32.const 100) (i32.const 1) (i32.const 200) (i32.const 204) (i32.const 208)))
               (i32.eq (i32.const {create}) (call $set
                 (i32.const 100) (i32.const 1) (i32.const 100) (i32.const 1) (i32.const -1))))
               (i32.eq (i32.const {set}) (call $set
                 (i32.const 100) (i32.const 1) (i32.const 100) (i32.const 1) (i32.const 0)))))"#
    );
    let mut host = host(imports, &body, Profile { shared_data: sharing, ..Profile::envoy() });
    host.start("").unwrap_or_else(|refused| panic!("{sharing:?}: {refused}"));
    host.shared_data().get(b"k").map(|(value, _)| value)
}

#[test]
fn hosts_share_data_in_their_own_ways() {
    let (not_found, mismatch) = (Status::NotFound as u32, Status::CasMismatch as u32);
    let written = Some(b"k".to_vec());
    assert_eq!(sharing_answers(Sharing::AsEnvoy, [not_found, 0, 0]), written);
    assert_eq!(sharing_answers(Sharing::Absent, [Status::Unimplemented as u32; 3]), None);
    assert_eq!(sharing_answers(Sharing::CreatesByZeroAlone, [not_found, mismatch, 0]), written);
    assert_eq!(sharing_answers(Sharing::WritesAnswer(99), [not_found, 99, 99]), None);
    assert_eq!(sharing_answers(Sharing::Answers(0), [0; 3]), None, "ok, and nothing done");
}

#[test]
fn what_is_planted_is_there_and_what_is_wiped_is_gone() {
    let shared = SharedData::default();
    shared.set(b"k", b"1", 0).unwrap();
    shared.plant([(b"k".to_vec(), b"2".to_vec()), (b"l".to_vec(), Vec::new())]);
    assert_eq!(shared.entries(), [(b"k".to_vec(), b"2".to_vec()), (b"l".to_vec(), Vec::new())]);
    shared.wipe();
    assert_eq!(shared.entries(), []);
}

#[test]
fn a_root_is_configured_again_in_place_and_lives_on_when_it_refuses() {
    let body = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
                    (i32.ne (local.get 1) (i32.const 3)))"#;
    let mut host = host("", body, Profile::envoy());
    let root = host.start("").unwrap();
    host.configure_again(root, "ab").unwrap();
    let refused = host.configure_again(root, "abc").unwrap_err();
    assert_eq!(refused.by, "proxy_on_configure");
    assert_eq!(host.contexts_alive(), 1);
    host.retire(root);
    assert_eq!(host.contexts_alive(), 0);
}

#[test]
fn no_two_workers_draw_the_same_random_bytes() {
    let imports = r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
                     (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;
    let body = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
                    (drop (call $random (i32.const 200) (i32.const 8)))
                    (i32.eqz (call $log (i32.const 2) (i32.const 200) (i32.const 8))))"#;
    let mut first = host(imports, body, Profile::envoy());
    let mut second = first.beside().unwrap();
    first.start("").unwrap();
    second.start("").unwrap();
    assert_ne!(first.logs()[0].text, second.logs()[0].text);
}
