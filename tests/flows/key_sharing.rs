//! What the workers of one process do about the same keys, as timelines of several workers.

use serde_json::json;

use crate::support::remote_configuration;
use crate::timeline::{Workers, play};

#[test]
fn one_worker_fetches_and_the_others_take_over_what_it_brought() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 b tick -> -
         t=0 b request -> wait
         t=0 c request -> wait
         t=0.1 b tick -> -
         t=0.2 a keys -> -
         t=0.2 a request -> pass
         t=0.2 b request -> wait
         t=0.2 b tick -> -
         t=0.2 b request -> pass
         t=0.3 c tick -> -
         t=0.3 c request -> pass
         t=269 a tick -> -
         t=270.5 b tick -> fetch
         t=270.5 a tick -> -
         t=270.5 c tick -> -
         t=271 b keys -> -
         t=271 a tick -> -
         t=541 c tick -> fetch",
    );
}

#[test]
fn a_worker_that_starts_later_finds_the_keys() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 a keys -> -
         t=100 b request -> pass
         t=100 b tick -> -",
    );
}

#[test]
fn a_leader_that_dies_is_replaced_when_its_lease_is_over() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 b request -> wait
         t=0 b tick -> -
         t=1 a dies -> -
         t=2.9 b tick -> -
         t=3 b tick -> fetch
         t=3 b request -> wait
         t=3.1 b keys -> -
         t=3.1 b request -> pass",
    );
}

#[test]
fn a_leader_that_ends_leaves_the_fetch_to_the_others_at_once() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 b tick -> -
         t=1 a ends -> -
         t=1 b tick -> fetch",
    );
}

#[test]
fn a_failure_is_everybodys_and_so_is_the_pause_after_it() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 b request -> wait
         t=0 b tick -> -
         t=0.5 a 503 -> -
         t=0.5 b tick -> -
         t=0.5 b request -> 503 1
         t=1.4 a tick -> -
         t=1.4 b tick -> -
         t=1.5 b tick -> fetch
         t=1.5 a tick -> -
         t=1.5 a request -> wait
         t=1.5 b 503 -> -
         t=1.6 a tick -> -
         t=1.6 a request -> 503 1.9
         t=3.5 a tick -> fetch
         t=3.5 a keys -> -
         t=3.5 b tick -> -
         t=3.5 b request -> pass",
    );
}

#[test]
fn a_new_key_is_looked_for_once_by_all_workers() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 a keys old -> -
         t=0 b tick -> -
         t=0 c tick -> -
         t=5 b request new -> wait
         t=5 b tick -> fetch
         t=5 a request new -> wait
         t=5 a tick -> -
         t=5.1 b keys new -> -
         t=5.1 a tick -> -
         t=5.1 a request new -> pass
         t=5.2 c request new -> wait
         t=5.2 c tick -> -
         t=5.2 c request new -> pass
         t=5.2 c request old -> 401
         t=5.2 c tick -> -",
    );
}

#[test]
fn made_up_key_ids_at_all_workers_cause_one_fetch_an_interval() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 a keys good -> -
         t=0 b tick -> -
         t=1 a request bad1 -> wait
         t=1 b request bad2 -> wait
         t=1 a tick -> fetch
         t=1 b tick -> -
         t=1 a keys good -> -
         t=1 b tick -> -
         t=1 a request bad1 -> 401
         t=1 b request bad2 -> 401
         t=9 b request bad1 -> 401
         t=9 a tick -> -
         t=9 b tick -> -",
    );
}

#[test]
fn a_withdrawn_key_stops_at_every_worker_with_its_next_look() {
    play(
        &remote_configuration("10s"),
        "t=0 a tick -> fetch
         t=0 a keys old new -> -
         t=0 b tick -> -
         t=0 b request old -> pass
         t=6 a tick -> fetch
         t=6 a keys new -> -
         t=7 b tick -> -
         t=7 b request new -> pass
         t=7 b request old -> wait",
    );
}

#[test]
fn an_answer_that_comes_after_a_newer_one_is_dropped() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=3 b request -> wait
         t=3 b tick -> fetch
         t=3.1 b keys new -> -
         t=3.2 a keys old -> -
         t=3.2 a tick -> -
         t=3.2 a request new -> pass
         t=3.2 b request new -> pass",
    );
}

#[test]
fn another_configuration_with_the_same_source_finds_the_keys_again() {
    let mut workers = Workers::of(&remote_configuration("300s"));
    workers.play("t=0 a tick -> fetch\nt=0 a keys -> -\nt=0 a request -> pass");
    let mut configuration = remote_configuration("100s");
    configuration["providers"]["acme"]["audiences"] = json!([]);
    configuration["realm"] = json!("other");
    workers.reconfigure(&configuration);
    workers.play("t=1 b request -> pass\nt=1 b tick -> -");
    configuration["providers"]["acme"]["remote_jwks"]["http_uri"]["uri"] = json!("https://other.example/");
    workers.reconfigure(&configuration);
    workers.play("t=1 c request -> wait\nt=1 c tick -> fetch /");
    configuration["providers"]["acme"]["remote_jwks"]["http_uri"] =
        json!({ "uri": "https://idp.example/jwks.json", "cluster": "another" });
    workers.reconfigure(&configuration);
    workers.play("t=1 d request -> wait\nt=1 d tick -> fetch");
}

#[test]
fn what_is_no_record_is_nobodys_and_is_written_over() {
    let record = |edit: fn(&str) -> String| {
        let mut workers = Workers::of(&remote_configuration("300s"));
        workers.play("t=0 a tick -> fetch\nt=0 a keys -> -");
        let text = String::from_utf8(workers.shared().unwrap()).unwrap();
        let edited = edit(&text);
        assert_ne!(edited, text);
        workers.write_shared(edited.as_bytes());
        workers
    };
    for edit in [
        |_: &str| String::new(),
        |_: &str| "\u{0}\u{1}\u{2}".to_owned(),
        |text: &str| text.chars().take(text.len() / 2).collect(),
        |text: &str| text.replace("\"keys\"", "\"kees\""),
        |text: &str| text.replace("\"format\":1", "\"format\":9"),
    ] {
        let mut workers = record(edit);
        workers.play(
            "t=1 b request -> wait
             t=1 a request -> pass
             t=1 b tick -> fetch
             t=1 b keys -> -
             t=1 b request -> pass
             t=2 a tick -> -
             t=2 a request -> pass",
        );
    }
}

#[test]
fn times_that_cannot_be_true_are_not_believed() {
    // A document from the future is nobody's.
    let mut workers = Workers::of(&remote_configuration("300s"));
    workers.play("t=1000 a tick -> fetch\nt=1000 a keys -> -");
    workers.play("t=0 b request -> wait\nt=0 b tick -> fetch\nt=0 b keys -> -\nt=0 b request -> pass");

    // A lease that never ends ends when the longest one would, and a pause that never ends is none.
    let lease = "\"lease\":{\"over\":9,\"began\":0,\"until\":9999999999999999}";
    let pause = "\"not_before\":9999999999999999";
    for (field, value, until) in [("\"lease\":null", lease, 5), ("\"not_before\":null", pause, 2)] {
        let mut workers = Workers::of(&remote_configuration("300s"));
        workers.play("t=0 a tick -> fetch\nt=0 a ends -> -");
        let text = String::from_utf8(workers.shared().unwrap()).unwrap();
        assert!(text.contains(field), "{text}");
        workers.write_shared(text.replace(field, value).as_bytes());
        for second in 2..until {
            workers.play(&format!("t={second} b tick -> -"));
        }
        workers.play(&format!("t={until} b tick -> fetch"));
    }
}

#[test]
fn keys_that_expired_while_nothing_ran_serve_nobody_before_they_are_refreshed() {
    play(
        &remote_configuration("10s"),
        "t=0 a tick -> fetch
         t=0 a keys -> -
         t=0 b tick -> -
         t=100 a tick -> fetch
         t=100 b tick -> -
         t=100 a request -> wait
         t=100 b request -> wait",
    );
}

#[test]
fn a_fetch_for_a_key_id_that_nobody_finished_counts_for_nothing() {
    for end in ["ends", "dies"] {
        play(
            &remote_configuration("300s"),
            &format!(
                "t=0 a tick -> fetch
                 t=0 a keys old -> -
                 t=0 b tick -> -
                 t=1 a request new -> wait
                 t=1 b request new -> wait
                 t=1 a tick -> fetch
                 t=1 b tick -> -
                 t=2 a {end} -> -
                 t=4.1 b tick -> fetch
                 t=4.1 b request new -> wait
                 t=4.1 b keys new -> -
                 t=4.1 b request new -> pass"
            ),
        );
    }
}
