//! When keys are fetched and what requests are told meanwhile, as timelines.
//!
//! A script has one event a line: `t=SECONDS EVENT -> OUTCOME`. Events: `request` (with a good token), `tick` (the
//! timer fires), `keys` (the key server answers with the keys), `STATUS` (it answers with that and no keys), `reset`
//! (no answer). Outcomes: `pass`, `wait`, `503 IN` (come back in so many seconds), `fetch` (one is sent), `-` (nothing).

use std::time::Duration;

use edge_authn::config::ProviderId;
use edge_authn::engine::{Decision, FetchReply};
use edge_authn::rejection::Rejection;
use edge_authn::time::UnixTime;

use crate::support::*;

fn play(cache_duration: &str, script: &str) {
    let mut gateway = Gateway::new(&remote_configuration(cache_duration));
    let token = KEY.sign(&claims(serde_json::json!({ "exp": START + 1_000_000_000 })));
    let request = get_with("/", &token);
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (at, rest) = line.strip_prefix("t=").and_then(|line| line.split_once(' ')).expect(line);
        let (event, expected) = rest.split_once("->").expect(line);
        let at = Duration::from_secs(START) + Duration::from_secs_f64(at.parse().expect(line));
        gateway.now = UnixTime::new(at);
        let outcome = match event.trim() {
            "request" => match gateway.decide(&request) {
                Decision::Forward(_) => "pass".to_owned(),
                Decision::Await(_) => "wait".to_owned(),
                Decision::Refuse(Rejection::KeysUnavailable { retry_after }) => {
                    format!("503 {}", retry_after.as_secs_f64())
                }
                Decision::Refuse(other) => panic!("{line}: {other}"),
            },
            "tick" => match gateway.engine.fetches(gateway.now).len() {
                0 => "-".to_owned(),
                1 => "fetch".to_owned(),
                many => panic!("{line}: {many} fetches"),
            },
            "keys" => {
                assert!(gateway.answer(200, &jwks()), "{line}");
                "-".to_owned()
            }
            "reset" => {
                assert!(
                    gateway.engine.settle(ProviderId(0), FetchReply::Failure, gateway.now).is_err(),
                    "{line}"
                );
                "-".to_owned()
            }
            status => {
                assert!(!gateway.answer(status.parse().expect(line), "no keys"), "{line}");
                "-".to_owned()
            }
        };
        assert_eq!(outcome, expected.trim(), "{line}");
    }
}

#[test]
fn keys_are_fetched_when_first_needed_and_once_for_everybody() {
    play(
        "300s",
        "t=0 tick -> -
         t=0 request -> wait
         t=0 request -> wait
         t=0 tick -> fetch
         t=0.1 request -> wait
         t=0.1 tick -> -
         t=0.2 keys -> -
         t=0.2 request -> pass
         t=0.2 tick -> -",
    );
}

#[test]
fn keys_are_refreshed_before_they_expire_and_serve_meanwhile() {
    play(
        "300s",
        "t=0 request -> wait
         t=0 tick -> fetch
         t=0 keys -> -
         t=269 tick -> -
         t=270 tick -> fetch
         t=271 request -> pass
         t=272 keys -> -
         t=301 request -> pass
         t=541 tick -> -
         t=542 tick -> fetch",
    );
}

#[test]
fn without_keys_requests_get_a_503_during_the_back_off_and_recover_after_it() {
    play(
        "300s",
        "t=0 request -> wait
         t=0 tick -> fetch
         t=1 503 -> -
         t=1 request -> 503 1
         t=1.5 request -> 503 0.5
         t=1.5 tick -> -
         t=2 tick -> fetch
         t=2 request -> wait
         t=3 reset -> -
         t=3 request -> 503 2
         t=5 tick -> fetch
         t=5 404 -> -
         t=8.9 tick -> -
         t=9 tick -> fetch
         t=9 keys -> -
         t=9 request -> pass",
    );
}

#[test]
fn h4_a_refresh_that_fails_does_not_take_good_keys_away() {
    play(
        "10s",
        "t=0 request -> wait
         t=0 tick -> fetch
         t=0 keys -> -
         t=6 tick -> fetch
         t=7 503 -> -
         t=7.5 request -> pass
         t=8 tick -> fetch
         t=8 reset -> -
         t=10 tick -> fetch
         t=12 request -> pass
         t=12 500 -> -
         t=15 request -> pass
         t=16 tick -> fetch
         t=16 keys -> -
         t=17 request -> pass",
    );
}

#[test]
fn stale_keys_serve_for_a_day_and_no_longer() {
    play(
        "10s",
        "t=0 request -> wait
         t=0 tick -> fetch
         t=0 keys -> -
         t=6 tick -> fetch
         t=7 503 -> -
         t=86400 request -> pass
         t=86410 request -> wait",
    );
}

#[test]
fn expired_keys_are_not_used_before_a_refresh_was_tried() {
    play(
        "10s",
        "t=0 request -> wait
         t=0 tick -> fetch
         t=0 keys -> -
         t=11 request -> wait
         t=11 tick -> fetch
         t=11 keys -> -
         t=11 request -> pass",
    );
}

#[test]
fn a_fetch_that_the_host_lost_counts_as_failed_after_its_timeout() {
    play(
        "300s",
        "t=0 request -> wait
         t=0 tick -> fetch
         t=2.9 tick -> -
         t=3 request -> 503 1
         t=4 tick -> fetch",
    );
}

#[test]
fn held_keys_serve_while_a_refresh_that_began_in_time_is_slow() {
    play(
        "4s",
        "t=0 request -> wait
         t=0 tick -> fetch
         t=0 keys -> -
         t=3 tick -> fetch
         t=4.5 request -> pass
         t=5.5 keys -> -
         t=5.5 request -> pass",
    );
}

#[test]
fn calls_that_fail_together_are_one_failure() {
    play(
        "300s",
        "t=0 request -> wait
         t=0 tick -> fetch
         t=1 503 -> -
         t=1 reset -> -
         t=1 503 -> -
         t=1 request -> 503 1",
    );
}

#[test]
fn a_clock_that_is_set_back_does_not_put_the_next_fetch_out_of_reach() {
    play(
        "300s",
        "t=300000000 request -> wait
         t=300000000 tick -> fetch
         t=300000000 keys -> -
         t=0 request -> pass
         t=300 tick -> fetch
         t=300 keys -> -
         t=301 request -> pass",
    );
    play(
        "300s",
        "t=300000000 request -> wait
         t=300000000 tick -> fetch
         t=300000000 503 -> -
         t=0 request -> 503 64
         t=64 tick -> fetch",
    );
    play(
        "300s",
        "t=300000000 request -> wait
         t=300000000 tick -> fetch
         t=0 request -> wait
         t=4 request -> 503 1
         t=5 tick -> fetch",
    );
}

#[test]
fn the_back_off_doubles_up_to_a_bound() {
    let mut gateway = Gateway::new(&remote_configuration("300s"));
    let request = get_with("/", &good_token());
    let mut pauses = Vec::new();
    for _ in 0..9 {
        gateway.decide(&request);
        assert_eq!(gateway.engine.fetches(gateway.now).len(), 1);
        gateway.answer(503, "");
        let pause = gateway.now.until(gateway.engine.wake_at().unwrap());
        pauses.push(pause.as_secs());
        gateway.advance(pause);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
}
