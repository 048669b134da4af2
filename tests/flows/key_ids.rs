//! Tokens with a key id that the keys do not have: rotation, and those who make one up.

use serde_json::json;

use crate::support::remote_configuration;
use crate::timeline::{Workers, play};

#[test]
fn a_new_key_is_found_by_the_first_token_that_it_signed() {
    play(
        &remote_configuration("300s"),
        "t=0 tick -> fetch
         t=0 keys old -> -
         t=1 request old -> pass
         t=1 request new -> wait
         t=1 request new -> wait
         t=1 tick -> fetch
         t=1 tick -> -
         t=1 request new -> wait
         t=1 request old -> pass
         t=2 keys new -> -
         t=2 request new -> pass
         t=2 request old -> 401
         t=2 tick -> -",
    );
}

#[test]
fn a_key_that_was_withdrawn_verifies_nothing_after_the_next_refresh() {
    play(
        &remote_configuration("10s"),
        "t=0 tick -> fetch
         t=0 keys old new -> -
         t=1 request old -> pass
         t=6 tick -> fetch
         t=6 request old -> pass
         t=6 keys new -> -
         t=6 request old -> 401
         t=7 request old -> wait
         t=7 tick -> fetch
         t=7 keys new -> -
         t=7 request old -> 401
         t=7 request new -> pass",
    );
}

#[test]
fn made_up_key_ids_cause_one_fetch_an_interval() {
    play(
        &remote_configuration("300s"),
        "t=0 tick -> fetch
         t=0 keys good -> -
         t=1 request bad1 -> wait
         t=1 request bad2 -> wait
         t=1 tick -> fetch
         t=1 keys good -> -
         t=1 request bad1 -> 401
         t=1 request bad2 -> 401
         t=2 request bad3 -> 401
         t=10.9 request bad4 -> 401
         t=10.9 tick -> -
         t=11 request bad4 -> wait
         t=11 tick -> fetch
         t=11 keys good -> -
         t=11 request bad4 -> 401
         t=11 request good -> pass",
    );
}

#[test]
fn a_key_id_that_was_looked_for_in_vain_is_looked_for_less_and_less() {
    play(
        &remote_configuration("300s"),
        "t=0 tick -> fetch
         t=0 keys good -> -
         t=1 request old -> wait
         t=1 tick -> fetch
         t=1 keys good -> -
         t=10 request old -> 401
         t=11 request old -> wait
         t=11 tick -> fetch
         t=11 keys good -> -
         t=21 request old -> 401
         t=30 request old -> 401
         t=30 request new -> wait
         t=30 tick -> fetch
         t=30 keys good new -> -
         t=30 request new -> pass
         t=41 request old -> wait",
    );
}

#[test]
fn a_key_id_that_someone_asked_for_too_early_is_found_soon_after_it_exists() {
    play(
        &remote_configuration("3600s"),
        "t=0 tick -> fetch
         t=0 keys good -> -
         t=1 request next -> wait
         t=1 tick -> fetch
         t=1 keys good -> -
         t=6 request next -> 401
         t=11 request next -> wait
         t=11 tick -> fetch
         t=11 keys good next -> -
         t=11 request next -> pass",
    );
}

#[test]
fn a_signature_that_is_wrong_or_a_token_that_is_over_looks_for_nothing() {
    play(
        &remote_configuration("300s"),
        "t=0 tick -> fetch
         t=0 keys good -> -
         t=1 request good forged -> 401
         t=1 request other expired -> 401
         t=1 tick -> -",
    );
}

#[test]
fn while_it_cannot_be_known_whether_there_is_a_key_nobody_is_told_that_there_is_none() {
    play(
        &remote_configuration("300s"),
        "t=0 tick -> fetch
         t=0 keys good -> -
         t=1 request new -> wait
         t=1 tick -> fetch
         t=1 503 -> -
         t=1 request new -> 503 1
         t=1 request good -> pass
         t=1.5 tick -> -
         t=12 request new -> wait
         t=12 tick -> fetch
         t=12 keys good new -> -
         t=12 request new -> pass",
    );
}

#[test]
fn a_request_joins_the_refresh_that_is_under_way() {
    play(
        &remote_configuration("10s"),
        "t=0 tick -> fetch
         t=0 keys old -> -
         t=6 tick -> fetch
         t=6 request new -> wait
         t=6 tick -> -
         t=6 keys old new -> -
         t=6 request new -> pass
         t=6 tick -> -",
    );
}

#[test]
fn the_interval_is_the_one_that_is_configured() {
    let mut configuration = remote_configuration("300s");
    configuration["providers"]["acme"]["remote_jwks"]["kid_refetch_interval"] = json!("60s");
    play(
        &configuration,
        "t=0 tick -> fetch
         t=0 keys good -> -
         t=1 request bad -> wait
         t=1 tick -> fetch
         t=1 keys good -> -
         t=60 request other -> 401
         t=61 request other -> wait
         t=61 tick -> fetch",
    );
}

#[test]
fn any_number_of_made_up_key_ids_costs_one_fetch_an_interval_and_no_memory() {
    let mut workers = Workers::of(&remote_configuration("300s"));
    workers.play("t=0 tick -> fetch\nt=0 keys good -> -\nt=1 request bad -> wait\nt=1 tick -> fetch");
    for index in 0..200 {
        workers.play(&format!("t=1 request bad{index} -> wait"));
    }
    workers.play("t=1 keys good -> -");
    for index in 0..200 {
        workers.play(&format!("t=1 request bad{index} -> 401\nt=1 tick -> -"));
    }
    assert!(workers.shared_bytes() < 8 * 1024, "{}", workers.shared_bytes());
}
