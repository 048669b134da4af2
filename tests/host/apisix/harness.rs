//! The profile held against what nginx was seen to do, with guests written in place: a filter that would crash it, or
//! let a request through undecided, must not get past a test.

use super::super::harness::{Host, LoadError, Outcome, Program, StreamId};
use super::super::scene::{Headers, anonymous};
use super::PROFILE;

/// What every guest here can ask for; at 0 are the names, at 300 there is room for what comes.
const PRELUDE: &str = r#"
  (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $resume (param i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply
    (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $http_call
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 4096))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32)
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 0))))
  (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
  (data (i32.const 0) "idp.example:443")
  (data (i32.const 20) "http://idp/")
  (data (i32.const 40) ":authority")
  (data (i32.const 60) "x-name")
  (data (i32.const 80) "nginx_version")
  (data (i32.const 100) "plugin_root_id")
  (data (i32.const 120) ":path")
  (data (i32.const 130) "/b?c")
  (func $call (result i32)
    (call $http_call (i32.const 0) (i32.const 15) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 2000) (i32.const 300)))
  ;; Answers with this status.
  (func $say (param $status i32)
    (drop (call $reply (local.get $status) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const -1))))
"#;

const CONFIGURES: &str = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))"#;

fn host(body: &str) -> Host {
    let program = Program::from_wat(&format!("(module {PRELUDE} {body})")).unwrap();
    Host::new(&program, PROFILE).unwrap()
}

/// A guest that does this with each request, and returns the last of it.
fn on_request(instructions: &str) -> Host {
    let callback = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {instructions})"#
    );
    let mut host = host(&format!("{CONFIGURES} {callback}"));
    host.start("{}").unwrap();
    host
}

/// The same, for one that calls and pauses, and does this with the answer.
fn on_answer(instructions: &str) -> Host {
    let callbacks = format!(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
             (drop (call $call)) (i32.const 1))
           (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32) {instructions})"#
    );
    let mut host = host(&format!("{CONFIGURES} {callbacks}"));
    host.start("{}").unwrap();
    host
}

/// The status that a guest was given, as it tells it.
fn told(host: &mut Host, request: Headers) -> u32 {
    let stream = host.request(request);
    host.reply(stream).status
}

fn status_of(call: &str) -> u32 {
    told(&mut on_request(&format!("(call $say {call}) (i32.const 1)")), anonymous("/a?b"))
}

fn without_host() -> Headers {
    anonymous("/").into_iter().filter(|(name, _)| name != b":authority").collect()
}

#[test]
#[should_panic(expected = "waits for nothing")]
fn a_pause_without_a_call_fails_the_test() {
    on_request("(i32.const 1)").request(anonymous("/"));
}

#[test]
#[should_panic(expected = "a local reply in the callback that made a call")]
fn a_reply_beside_a_call_fails_the_test() {
    on_request("(drop (call $call)) (call $say (i32.const 401)) (i32.const 1)").request(anonymous("/"));
}

#[test]
fn a_callback_that_does_nothing_lets_the_request_through() {
    for instructions in ["", "(drop (call $effective (i32.const 2)))", "(drop (call $resume (i32.const 0)))"]
    {
        let mut host = on_answer(instructions);
        let stream = host.request(anonymous("/"));
        assert_eq!(host.outcome(stream), Outcome::Paused);
        host.answer_reset(host.calls()[0].id);
        assert_eq!(host.outcome(stream), Outcome::Continued);
    }
}

#[test]
fn a_call_is_waited_for_whatever_the_guest_says() {
    let mut host = on_request("(drop (call $call)) (i32.const 0)");
    let stream = host.request(anonymous("/"));
    assert_eq!(host.outcome(stream), Outcome::Paused);
}

#[test]
fn a_second_call_at_one_time_is_an_internal_failure() {
    let traps_otherwise =
        "(drop (call $call)) (if (i32.ne (call $call) (i32.const 10)) (then unreachable)) (i32.const 1)";
    let mut host = on_request(traps_otherwise);
    let stream = host.request(anonymous("/"));
    assert_eq!((host.outcome(stream), host.calls().len()), (Outcome::Paused, 1));
}

#[test]
fn an_answer_can_be_followed_by_another_call() {
    let mut host = on_answer("(drop (call $call))");
    let stream = host.request(anonymous("/"));
    for _ in 0..3 {
        host.answer_reset(host.calls()[0].id);
        assert_eq!(host.outcome(stream), Outcome::Paused);
    }
}

#[test]
fn a_client_that_leaves_is_let_go_of_when_its_call_has_ended() {
    let mut host = on_answer("(call $say (i32.const 403))");
    let stream = host.request(anonymous("/"));
    assert_eq!(host.close(stream), Outcome::Paused);
    assert_eq!(host.contexts_alive(), 2);
    host.answer_reset(host.calls()[0].id);
    assert_eq!(host.contexts_alive(), 1);
}

#[test]
fn a_call_is_made_to_an_address_and_within_a_request_alone() {
    let to_uri = "(call $http_call (i32.const 20) (i32.const 11) (i32.const 0) (i32.const 0) (i32.const 0) \
                  (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2000) (i32.const 300))";
    let to_nobody = to_uri.replace("(i32.const 11)", "(i32.const 0)");
    assert_eq!((status_of(to_uri), status_of(&to_nobody)), (2, 2));
    let configures = r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
                          (i32.eq (call $call) (i32.const 2)))"#;
    host(configures).start("{}").unwrap();
}

#[test]
#[should_panic(expected = "a listing of a header without host: the worker crashes")]
fn a_listing_without_host_fails_the_test() {
    on_request("(drop (call $pairs (i32.const 0) (i32.const 300) (i32.const 304))) (i32.const 0)")
        .request(without_host());
}

#[test]
#[should_panic(expected = "a look at :authority where there is no host: the worker crashes")]
fn a_look_at_the_authority_without_host_fails_the_test() {
    let look = "(call $value (i32.const 0) (i32.const 40) (i32.const 10) (i32.const 300) (i32.const 304))";
    on_request(&format!("(drop {look}) (i32.const 0)")).request(without_host());
}

#[test]
fn at_most_a_hundred_fields_are_listed() {
    let list = "(drop (call $pairs (i32.const 0) (i32.const 300) (i32.const 304))) \
                (call $say (i32.load (i32.load (i32.const 300)))) (i32.const 1)";
    let mut request = anonymous("/");
    assert_eq!(told(&mut on_request(list), request.clone()), 4 + 2, "four that are none, accept and host");
    request.extend((0..200).map(|index| (format!("x-{index}").into_bytes(), Vec::new())));
    assert_eq!(told(&mut on_request(list), request), 4 + 100);
}

#[test]
fn properties_are_variables_of_the_request() {
    let property = |at: u32, size: u32| {
        format!("(call $property (i32.const {at}) (i32.const {size}) (i32.const 300) (i32.const 304))")
    };
    let statuses = [(80, 13), (100, 14), (60, 6)].map(|(at, size)| status_of(&property(at, size)));
    assert_eq!(statuses, [0, 0, 1]);
    let configures = |at, size, status: u32| {
        let property = property(at, size);
        format!(
            r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
                 (i32.eq {property} (i32.const {status})))"#
        )
    };
    host(&configures(80, 13, 2)).start("{}").unwrap();
    host(&configures(100, 14, 0)).start("{}").unwrap();
}

#[test]
fn there_are_no_timers() {
    assert_eq!(status_of("(call $tick (i32.const 100))"), 12);
}

#[test]
fn removing_one_spelling_leaves_the_others_and_a_pseudo_header_cannot_be_removed() {
    let remove = "(drop (call $remove (i32.const 0) (i32.const 60) (i32.const 6))) (i32.const 0)";
    let mut host = on_request(remove);
    let mut request = anonymous("/");
    request.extend(["X-Name", "x_name", "X-NAME"].map(|name| (name.into(), b"1".to_vec())));
    let stream = host.request(request);
    let seen = host.request_headers(stream);
    assert_eq!((seen.get("x-name"), seen.get("x_name")), (None, Some(b"1".as_slice())));
    assert_eq!(status_of("(call $remove (i32.const 0) (i32.const 120) (i32.const 5))"), 2);
}

#[test]
fn setting_the_path_sets_no_query() {
    let set = "(drop (call $replace (i32.const 0) (i32.const 120) (i32.const 5) (i32.const 130) (i32.const 4))) \
               (i32.const 0)";
    let mut host = on_request(set);
    let stream = host.request(anonymous("/a?d"));
    assert_eq!(host.upstream_target(stream), b"/b%3Fc?d");
}

#[test]
fn an_empty_answer_becomes_a_page() {
    let mut host = on_request("(call $say (i32.const 401)) (i32.const 1)");
    let stream = host.request(anonymous("/"));
    assert!(host.reply(stream).body.starts_with(b"<html>"));
}

#[test]
fn imports_that_it_lacks_or_has_with_another_type_keep_a_module_from_loading() {
    for import in [
        r#"(import "env" "proxy_get_log_level" (func (param i32) (result i32)))"#,
        r#"(import "env" "proxy_get_metric" (func (param i32 i32) (result i32)))"#,
    ] {
        let program = Program::from_wat(&format!("(module {import})")).unwrap();
        assert!(matches!(Host::new(&program, PROFILE), Err(LoadError::UnknownImports(_))), "{import}");
    }
}

#[test]
#[should_panic(expected = "is not done")]
fn a_module_that_is_never_done_fails_the_test() {
    let program =
        Program::from_wat(&format!("(module {} {CONFIGURES})", PRELUDE.replace("proxy_on_done", "_")));
    let mut host = Host::new(&program.unwrap(), PROFILE).unwrap();
    host.start("{}").unwrap();
    let stream: StreamId = host.request(anonymous("/"));
    host.close(stream);
}
