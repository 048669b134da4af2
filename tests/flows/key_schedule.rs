//! When keys are fetched and how long they count, as timelines of one worker.

use std::time::Duration;

use edge_authn::call::CallReply;
use edge_authn::rejection::Rejection;
use serde_json::{Value, json};

use crate::support::*;
use crate::timeline::{Workers, play};

#[test]
fn keys_are_fetched_before_the_first_request_and_once_for_everybody() {
    play(
        &remote_configuration("300s"),
        "t=0 tick -> fetch
         t=0 request -> wait
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
        &remote_configuration("300s"),
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
        &remote_configuration("300s"),
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
        &remote_configuration("10s"),
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
        &remote_configuration("10s"),
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
        &remote_configuration("10s"),
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
        &remote_configuration("300s"),
        "t=0 request -> wait
         t=0 tick -> fetch
         t=2.9 tick -> -
         t=3 tick -> -
         t=3 request -> 503 1
         t=4 tick -> fetch",
    );
}

#[test]
fn held_keys_serve_while_a_refresh_that_began_in_time_is_slow() {
    play(
        &remote_configuration("4s"),
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
    let mut gateway = Gateway::new(&remote_configuration("300s"));
    gateway.engine.without_timers();
    let request = get_with("/", &good_token());
    for _ in 0..3 {
        assert!(gateway.fetch_itself(&request), "each request that waits makes a call");
    }
    assert!(!gateway.answer(503, ""));
    assert!(!gateway.settle(CallReply::Failure));
    assert!(!gateway.answer(503, ""));
    let rejection = gateway.refuse(&request);
    assert_eq!(rejection, Rejection::KeysUnavailable { retry_after: Duration::from_secs(1) });
}

#[test]
fn a_clock_that_is_set_back_does_not_put_the_next_fetch_out_of_reach() {
    play(
        &remote_configuration("300s"),
        "t=300000000 request -> wait
         t=300000000 tick -> fetch
         t=300000000 keys -> -
         t=0 request -> pass
         t=300 tick -> fetch
         t=300 keys -> -
         t=301 request -> pass",
    );
    play(
        &remote_configuration("300s"),
        "t=300000000 request -> wait
         t=300000000 tick -> fetch
         t=300000000 503 -> -
         t=0 request -> wait
         t=0 tick -> fetch",
    );
    play(
        &remote_configuration("300s"),
        "t=300000000 request -> wait
         t=300000000 tick -> fetch
         t=0 request -> wait
         t=3 tick -> -
         t=3.5 request -> 503 0.5
         t=4 tick -> fetch",
    );
}

/// The usual configuration with these fields of `remote_jwks` on top.
fn with(cache_duration: &str, fields: Value) -> Value {
    let mut configuration = remote_configuration(cache_duration);
    let remote = &mut configuration["providers"]["acme"]["remote_jwks"];
    for (name, value) in fields.as_object().unwrap() {
        remote[name] = value.clone();
    }
    configuration
}

#[test]
fn keys_are_not_used_for_longer_than_their_server_says() {
    play(
        &with("300s", json!({ "min_cache_duration": "20s" })),
        "t=0 tick -> fetch
         t=0 keys max-age=100 -> -
         t=89 tick -> -
         t=90 tick -> fetch
         t=90 keys max-age=1 -> -
         t=99 tick -> -
         t=106 tick -> fetch
         t=106 keys max-age=100000 -> -
         t=375 tick -> -
         t=376 tick -> fetch",
    );
    play(
        &with("10s", json!({})),
        "t=0 tick -> fetch
         t=0 keys max-age=0 -> -
         t=5 tick -> -
         t=6 tick -> fetch",
    );
}

#[test]
fn a_document_that_has_not_changed_is_not_sent_again() {
    play(
        &with("10s", json!({})),
        "t=0 tick -> fetch
         t=0 keys etag=one -> -
         t=6 tick -> fetch \"one\"
         t=6 304 -> -
         t=11 request -> pass
         t=12 tick -> fetch \"one\"
         t=12 keys etag=two -> -
         t=18 tick -> fetch \"two\"
         t=18 503 -> -
         t=19 tick -> fetch \"two\"
         t=19 304 max-age=0 -> -
         t=24 tick -> -
         t=25 tick -> fetch \"two\"
         t=25 keys -> -
         t=31 tick -> fetch",
    );
}

#[test]
fn not_modified_without_having_been_asked_is_a_failure() {
    play(
        &with("10s", json!({})),
        "t=0 tick -> fetch
         t=0 304 -> -
         t=0 request -> 503 1
         t=1 tick -> fetch
         t=1 keys -> -
         t=7 tick -> fetch
         t=7 304 -> -
         t=7.5 tick -> -
         t=8 tick -> fetch",
    );
}

#[test]
fn expired_keys_serve_for_max_stale_and_no_longer() {
    play(
        &with("10s", json!({ "max_stale": "5s" })),
        "t=0 tick -> fetch
         t=0 keys -> -
         t=6 tick -> fetch
         t=6 503 -> -
         t=14.9 request -> pass
         t=15 tick -> fetch
         t=15 503 -> -
         t=15 request -> 503 2
         t=17 tick -> fetch
         t=17 keys -> -
         t=17 request -> pass",
    );
}

#[test]
fn without_max_stale_expired_keys_serve_nobody() {
    play(
        &with("10s", json!({ "max_stale": "0s" })),
        "t=0 tick -> fetch
         t=0 keys -> -
         t=6 tick -> fetch
         t=6 503 -> -
         t=9.9 request -> pass
         t=10 tick -> fetch
         t=10 request -> wait
         t=10 reset -> -
         t=10 request -> 503 2",
    );
}

#[test]
fn refreshes_of_many_gateways_are_spread_and_never_late() {
    let mut refreshed_at = Vec::new();
    for seed in 0..20 {
        let mut workers = Workers::spread(&remote_configuration("300s"), seed);
        workers.play("t=0 tick -> fetch\nt=0 keys -> -");
        refreshed_at.push((0..300).find(|second| workers.is_due(*second)).unwrap());
    }
    let (first, last) = (refreshed_at.iter().min().unwrap(), refreshed_at.iter().max().unwrap());
    assert!(*first >= 255 && *last <= 270, "{refreshed_at:?}");
    assert!(last - first > 5, "{refreshed_at:?}");
}

#[test]
fn back_offs_of_many_gateways_are_spread_and_bounded() {
    for seed in 0..20 {
        let mut workers = Workers::spread(&remote_configuration("300s"), seed);
        workers.play("t=0 tick -> fetch\nt=0 503 -> -\nt=0.49 tick -> -\nt=1 tick -> fetch\nt=1 503 -> -");
        workers.play("t=1.99 tick -> -\nt=3 tick -> fetch");
    }
}
