//! Workers of one process: one of them fetches, all of them have the keys, and whatever happens to one of them, or to
//! what they share, keeps no request waiting for long.

use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{CallId, Fleet, Host, Outcome, Profile, Sharing};
use super::scene::{
    IDLE_PICK_UP, KEY, LEASE, MOMENT, PATIENCE, PICK_UP, START, STRANGER, Scene, SigningKey, TIMEOUT,
    anonymous, configuration, good, host, jwks, signed_by, workers, workers_beside, workers_on,
};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a key server answers.
type Answer = fn(&mut Host, CallId);

const GOOD_KEYS: Answer = |host, call| host.answer(call, 200, Vec::new(), jwks([&*KEY]).to_string());
const SERVER_ERROR: Answer = |host, call| host.answer(call, 500, Vec::new(), "");

impl Fleet<Scene> {
    /// Lets time pass with a key server that answers every call at once. Gives how many calls each worker made.
    fn run(&mut self, duration: Duration, answer: Answer) -> Vec<usize> {
        let step = Duration::from_millis(20);
        let mut counts = vec![0; self.len()];
        let until = self.now() + duration;
        while self.now() < until {
            self.advance(step);
            for (worker, call) in self.calls() {
                answer(&mut self[worker].host, call.id);
                counts[worker] += 1;
            }
        }
        counts
    }

    /// Every worker gets another configuration, the old one of each ends.
    fn reload(&mut self, configuration: &Value) {
        for worker in self.iter_mut() {
            worker.root = worker.host.reload(worker.root, &configuration.to_string()).unwrap();
        }
    }

    /// One more worker starts, in a process that has been running.
    fn start_another(&mut self) {
        let host = self[0].host.beside().unwrap();
        self.join(Scene::start_on(host, &configuration(json!({}))));
    }
}

/// Keys from somewhere else.
fn fetching_from(uri: &str, cluster: &str) -> Value {
    let remote =
        json!({ "http_uri": { "uri": uri, "cluster": cluster, "timeout": "2s" }, "cache_duration": "300s" });
    configuration(json!({ "remote_jwks": remote }))
}

#[test]
fn a_configuration_that_is_only_tried_calls_no_one_and_leaves_nothing() {
    let scene = Scene::start();
    assert_eq!(scene.host.calls(), []);
    assert_eq!(scene.host.shared_data().entries(), []);
    assert!(scene.host.tick_period(scene.root).is_some_and(|period| period <= MOMENT));
}

#[test]
fn four_workers_that_start_make_one_call_and_all_who_wait_at_them_pass() {
    let mut fleet = workers(4, &configuration(json!({})));
    let waiting: Vec<_> = (0..3).map(|_| fleet.request(&good("/"))).collect();
    let call = fleet.call();
    fleet.advance(Duration::from_secs(1));
    assert_eq!(fleet.calls().len(), 1, "however long it takes");
    waiting.iter().for_each(|streams| fleet.assert_wait(streams));
    fleet.give_keys(&call, &[&KEY]);
    fleet.advance(PICK_UP);
    waiting.iter().for_each(|streams| fleet.assert_passed(streams));
    fleet.pass();
    fleet.assert_no_call();
}

#[test]
fn workers_have_the_keys_before_the_first_request() {
    let mut fleet = Fleet::with_keys(4);
    fleet.pass();
    fleet.refuse(&signed_by(&STRANGER), 401, "invalid_token");
    fleet.assert_no_call();
}

#[test]
fn a_request_that_comes_before_its_worker_has_noticed_waits_for_a_moment_at_most() {
    let mut fleet = workers(4, &configuration(json!({})));
    let call = fleet.call();
    fleet.give_keys(&call, &[&KEY]);
    let streams = fleet.request(&good("/"));
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
    fleet.assert_no_call();
}

#[test]
fn a_worker_that_waits_for_nothing_looks_at_most_once_a_second_or_so() {
    let fleet = Fleet::with_keys(2);
    for worker in fleet.iter() {
        let period = worker.host.tick_period(worker.root).unwrap();
        assert!((900..=1100).contains(&period.as_millis()), "{period:?}");
    }
}

#[test]
fn what_is_shared_is_named_after_the_filter() {
    let fleet = Fleet::with_keys(2);
    let entries = fleet[0].host.shared_data().entries();
    assert!(!entries.is_empty());
    for (name, _) in entries {
        assert!(name.starts_with(b"edge-authn"), "{:?}", String::from_utf8_lossy(&name));
    }
}

#[test]
fn each_refresh_is_one_call_of_the_fleet() {
    let mut fleet = Fleet::with_keys(4);
    for _ in 0..3 {
        fleet.advance(Duration::from_secs(200));
        assert_eq!(fleet.calls(), [], "not long before it is needed");
        let call = fleet.next_call_within(Duration::from_secs(100));
        fleet.pass();
        fleet.give_keys(&call, &[&KEY]);
        fleet.advance(IDLE_PICK_UP);
        fleet.pass();
        fleet.assert_no_call();
    }
}

#[test]
fn a_withdrawn_key_stops_counting_in_every_worker_with_the_refresh() {
    let mut fleet = Fleet::with_keys(4);
    let call = fleet.next_call_within(Duration::from_secs(300));
    // Another key of the same name.
    fleet.give_keys(&call, &[&STRANGER]);
    fleet.advance(IDLE_PICK_UP);
    fleet.refuse(&good("/"), 401, "invalid_token");
    let streams = fleet.request(&signed_by(&STRANGER));
    fleet.assert_passed(&streams);
    fleet.assert_no_call();
}

#[test]
fn a_new_key_is_fetched_once_for_the_fleet() {
    let mut fleet = Fleet::with_keys(4);
    fleet.advance(Duration::from_secs(11));
    let new = SigningKey::es256("k2");
    let streams = fleet.request(&signed_by(&new));
    let call = fleet.call();
    fleet.pass();
    fleet.assert_wait(&streams);
    fleet.give_keys(&call, &[&KEY, &new]);
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
    fleet.pass();
    fleet.assert_no_call();
}

#[test]
fn another_worker_takes_over_from_one_that_died_with_its_call() {
    let mut fleet = workers(4, &configuration(json!({})));
    let mut streams = fleet.request(&good("/"));
    let (leader, _) = fleet.call();
    fleet.kill(leader);
    streams.remove(leader);
    fleet.advance(TIMEOUT);
    assert_eq!(fleet.calls(), [], "its answer may still have come");
    let call = fleet.next_call_within(LEASE - TIMEOUT + PICK_UP);
    fleet.give_keys(&call, &[&KEY]);
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
    fleet.pass();
    fleet.assert_no_call();
}

#[test]
fn no_request_waits_for_ever_while_one_worker_after_the_other_dies() {
    let mut fleet = workers(6, &configuration(json!({})));
    let mut streams = fleet.request(&good("/"));
    let until = fleet.now() + PATIENCE;
    let mut deaths = 0;
    while fleet.now() < until {
        fleet.advance(MOMENT);
        if let Some((leader, _)) = fleet.calls().first().cloned() {
            fleet.kill(leader);
            streams.remove(leader);
            deaths += 1;
        }
    }
    assert!((2..=4).contains(&deaths), "{deaths} workers died");
    for (worker, stream) in fleet.iter().zip(&streams) {
        worker.assert_refused(*stream, 503, "keys_unavailable");
    }
}

#[test]
fn a_worker_that_goes_in_peace_hands_over_at_once() {
    for waits in [true, false] {
        let mut fleet = workers(4, &configuration(json!({})));
        let streams = if waits { fleet.request(&good("/")) } else { Vec::new() };
        let (leader, _) = fleet.call();
        if let Some(stream) = streams.get(leader) {
            fleet[leader].host.close(*stream);
        }
        let root = fleet[leader].root;
        fleet[leader].host.retire(root);
        fleet.advance(if waits { PICK_UP } else { IDLE_PICK_UP });
        let (successor, call) = fleet.call();
        assert_ne!(successor, leader);
        fleet[successor].give_keys(&call, &[&KEY]);
        fleet.advance(PICK_UP);
        for (worker, stream) in streams.iter().enumerate().filter(|(worker, _)| *worker != leader) {
            fleet[worker].assert_passed(*stream);
        }
    }
}

#[test]
fn a_reload_while_the_call_is_out_is_one_call_more_at_most() {
    let mut fleet = workers(4, &configuration(json!({})));
    fleet.call();
    fleet.reload(&configuration(json!({})));
    let streams = fleet.request(&good("/"));
    let call = fleet.call();
    fleet.give_keys(&call, &[&KEY]);
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
    fleet.assert_no_call();
}

#[test]
fn a_call_that_one_worker_has_lost_is_made_by_another() {
    let mut fleet = workers(2, &configuration(json!({})));
    let streams = fleet.request(&good("/"));
    let (leader, lost) = fleet.call();
    fleet[leader].host.forget_timeout(lost.id);
    fleet.advance(PATIENCE);
    for (worker, stream) in fleet.iter().zip(&streams) {
        assert_ne!(worker.host.outcome(*stream), Outcome::Paused);
    }
    assert!(fleet.calls().iter().any(|(_, call)| *call != lost) || fleet.calls().len() == 1);
    fleet.run(Duration::from_secs(10), GOOD_KEYS);
    fleet.pass();
}

/// Its answer was on its way before the one that the others have.
#[test]
fn a_worker_that_was_stuck_does_not_bring_back_what_was_withdrawn_meanwhile() {
    let mut fleet = workers(3, &configuration(json!({})));
    let (leader, stale) = fleet.call();
    let mut stuck = fleet.part_with(leader);
    let call = fleet.next_call_within(LEASE + IDLE_PICK_UP);
    fleet.give_keys(&call, &[&STRANGER]);
    fleet.advance(IDLE_PICK_UP);
    fleet.refuse(&good("/"), 401, "invalid_token");

    stuck.host.set_time(fleet.now());
    stuck.give_keys(&stale, &[&KEY]);
    fleet.join(stuck);
    fleet.advance(IDLE_PICK_UP);
    for worker in fleet.iter_mut().take(2) {
        worker.refuse(good("/"), 401, "invalid_token");
        worker.pass(signed_by(&STRANGER));
    }
}

#[test]
fn a_fetch_that_fails_is_a_503_at_every_worker_and_the_pause_is_everyones() {
    let mut fleet = workers(4, &configuration(json!({})));
    let streams = fleet.request(&good("/"));
    let (leader, call) = fleet.call();
    fleet[leader].host.answer(call.id, 500, Vec::new(), "");
    fleet.advance(PICK_UP);
    assert_eq!(fleet.calls(), []);
    for (worker, stream) in fleet.iter_mut().zip(streams) {
        worker.assert_keys_unavailable(stream, "1");
        worker.host.close(stream);
    }
    // New requests and a new worker change nothing about it.
    let mut calls = 1;
    for second in 0..15 {
        if second == 5 {
            fleet.start_another();
        }
        let streams = fleet.request(&good("/"));
        calls += fleet.run(Duration::from_secs(1), SERVER_ERROR).into_iter().sum::<usize>();
        for (worker, stream) in fleet.iter_mut().zip(streams) {
            worker.assert_refused(stream, 503, "keys_unavailable");
            worker.host.close(stream);
        }
    }
    assert!((4..=6).contains(&calls), "{calls} calls in 15 s: after pauses of about 1, 2, 4 and 8 s");
    fleet.run(Duration::from_secs(17), GOOD_KEYS);
    fleet.pass();
}

#[test]
fn an_hour_of_failures_is_one_or_two_calls_a_minute_for_the_whole_fleet() {
    let mut fleet = workers(3, &configuration(json!({})));
    fleet.run(Duration::from_secs(200), SERVER_ERROR);
    let calls: usize = fleet.run(HOUR, SERVER_ERROR).into_iter().sum();
    assert!((50..=130).contains(&calls), "{calls} calls in an hour: one or two a minute");
}

#[test]
fn a_client_that_leaves_while_another_worker_fetches_is_left_alone() {
    let mut fleet = workers(3, &configuration(json!({})));
    let streams = fleet.request(&good("/"));
    let call = fleet.call();
    let follower = (call.0 + 1) % 3;
    assert_eq!(fleet[follower].host.close(streams[follower]), Outcome::Paused);
    let open = fleet[follower].host.request(anonymous("/open"));
    fleet.give_keys(&call, &[&KEY]);
    fleet.advance(IDLE_PICK_UP);
    assert_eq!(fleet[follower].host.request_headers(open).get("x-user-id"), None);
    for worker in (0..3).filter(|worker| *worker != follower) {
        fleet[worker].assert_passed(streams[worker]);
    }
    assert_eq!(fleet[follower].host.contexts_alive(), 2);
}

#[test]
fn a_worker_that_starts_later_has_the_keys_without_a_call() {
    let mut fleet = Fleet::with_keys(2);
    fleet.advance(Duration::from_secs(60));
    fleet.start_another();
    let streams = fleet.request(&good("/"));
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
    fleet.assert_no_call();
}

#[test]
fn keys_that_a_worker_took_over_late_count_no_longer_than_for_the_others() {
    let mut fleet = Fleet::with_keys(1);
    let since = fleet.now();
    fleet.advance(Duration::from_secs(100));
    fleet.start_another();
    fleet.advance(IDLE_PICK_UP);
    fleet.kill(0);
    let call = fleet.next_call_within(Duration::from_secs(200));
    assert!(fleet.now() - since < Duration::from_secs(300), "before they expire: {:?}", fleet.now() - since);
    fleet.give_keys(&call, &[&KEY]);
    fleet.pass();
}

/// A process that was stopped and goes on: nobody has tried to refresh the keys, and one may have been withdrawn.
#[test]
fn keys_that_expired_while_nothing_ran_serve_at_no_worker_before_they_are_refreshed() {
    let mut fleet = Fleet::with_keys(3);
    let later = fleet.now() + HOUR;
    fleet.iter_mut().for_each(|worker| worker.host.set_time(later));
    let streams = fleet.request(&good("/"));
    let call = fleet.call();
    fleet.assert_wait(&streams);
    fleet.give_keys(&call, &[&STRANGER]);
    fleet.advance(PICK_UP);
    for (worker, stream) in fleet.iter().zip(streams) {
        worker.assert_refused(stream, 401, "invalid_token");
    }
}

#[test]
fn a_reload_with_other_rules_keeps_the_keys() {
    let mut fleet = Fleet::with_keys(3);
    let mut other = configuration(json!({ "audiences": ["api", "other"] }));
    other["realm"] = json!("other");
    fleet.reload(&other);
    let streams = fleet.request(&good("/"));
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
    fleet.advance(Duration::from_secs(5));
    fleet.assert_no_call();
}

#[test]
fn a_reload_with_another_source_fetches_anew() {
    for (uri, cluster) in
        [("https://idp.example/other.json", "idp"), ("https://idp.example/jwks.json", "elsewhere")]
    {
        let mut first = host(Profile::envoy());
        first.cluster("elsewhere");
        let mut fleet = workers_beside(first, 3, &configuration(json!({})));
        fleet.fetch_keys();
        fleet.reload(&fetching_from(uri, cluster));
        let streams = fleet.request(&good("/"));
        let (leader, call) = fleet.call();
        fleet.assert_wait(&streams);
        assert_eq!(call.cluster, cluster);
        assert_eq!(call.headers.get(":path"), uri.strip_prefix("https://idp.example").map(str::as_bytes));
        fleet.give_keys(&(leader, call), &[&STRANGER]);
        fleet.advance(PICK_UP);
        for (worker, stream) in fleet.iter().zip(streams) {
            worker.assert_refused(stream, 401, "invalid_token");
        }

        // What the first source said is still there for those who come back to it.
        fleet.reload(&configuration(json!({})));
        let streams = fleet.request(&good("/"));
        fleet.advance(PICK_UP);
        fleet.assert_passed(&streams);
        fleet.assert_no_call();
    }
}

#[test]
fn two_plugins_with_one_source_share_its_keys_and_nothing_else() {
    let mut fleet = Fleet::with_keys(2);
    let other = configuration(json!({ "audiences": ["other"] }));
    let roots: Vec<_> = fleet.iter_mut().map(|w| w.host.start(&other.to_string()).unwrap()).collect();
    fleet.advance(IDLE_PICK_UP);
    fleet.assert_no_call();
    for (worker, root) in fleet.iter_mut().zip(roots) {
        let stream = worker.host.request_to(root, good("/"));
        worker.assert_refused(stream, 401, "audience");
        let stream = worker.host.request_to(worker.root, good("/"));
        worker.assert_passed(stream);
    }
}

#[test]
fn data_that_is_wiped_takes_no_keys_away_and_is_written_again() {
    let mut fleet = Fleet::with_keys(3);
    fleet[0].host.shared_data().wipe();
    fleet.pass();
    fleet.advance(Duration::from_secs(10));
    fleet.pass();
    let calls: usize = fleet.run(Duration::from_secs(300), GOOD_KEYS).into_iter().sum();
    assert!((1..=2).contains(&calls), "{calls} calls");
    fleet.pass();
    fleet.start_another();
    let streams = fleet.request(&good("/"));
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
}

// Shared data that something else has written.

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What a worker has left that started at this time and then met this key server for a while; `None`: its call is out.
fn left_behind(since: Duration, server: Option<Answer>) -> Entries {
    let mut first = host(Profile::envoy());
    first.set_time(since);
    let mut fleet = workers_beside(first, 1, &configuration(json!({})));
    match server {
        Some(answer) => drop(fleet.run(Duration::from_secs(100), answer)),
        None => drop(fleet.call()),
    }
    let entries = fleet[0].host.shared_data().entries();
    assert!(!entries.is_empty(), "something is shared");
    entries
}

/// Workers that start in a process where these entries are.
fn workers_that_find(entries: &Entries) -> Fleet<Scene> {
    let first = host(Profile::envoy());
    first.shared_data().plant(entries.clone());
    workers_beside(first, 2, &configuration(json!({})))
}

/// What is found is no reason to wait, or to believe anybody but the key server.
#[track_caller]
fn assert_not_believed(entries: &Entries) {
    let mut fleet = workers_that_find(entries);
    let streams = fleet.request(&good("/"));
    let forged = fleet.request(&signed_by(&STRANGER));
    let calls = fleet.run(PATIENCE, GOOD_KEYS);
    assert_eq!(calls.iter().sum::<usize>(), 1, "{calls:?}");
    fleet.assert_passed(&streams);
    for (worker, stream) in fleet.iter().zip(forged) {
        worker.assert_refused(stream, 401, "invalid_token");
    }
}

#[test]
fn garbage_under_the_names_of_the_filter_is_not_believed() {
    let names: Vec<_> = left_behind(START, Some(GOOD_KEYS)).into_iter().map(|(name, _)| name).collect();
    let long = vec![b'x'; 2 << 20];
    let document = jwks([&*STRANGER]).to_string();
    for garbage in [
        b"".as_slice(),
        b"\0",
        b"\xff\xff\xff\xff",
        &[0xff; 64],
        &[0; 64],
        &[0x7f; 64],
        b"{}",
        b"null",
        document.as_bytes(),
        &long,
    ] {
        println!("{:?}", String::from_utf8_lossy(&garbage[..garbage.len().min(20)]));
        assert_not_believed(&names.iter().map(|name| (name.clone(), garbage.to_vec())).collect());
    }
}

#[test]
fn garbage_that_comes_while_the_workers_run_changes_nothing() {
    for garbage in [b"".as_slice(), b"\xff", &[0xff; 64], &[0; 64], &[0x7f; 64]] {
        let mut fleet = Fleet::with_keys(2);
        let shared = fleet[0].host.shared_data();
        for _ in 0..20 {
            shared.plant(shared.entries().into_iter().map(|(name, _)| (name, garbage.to_vec())));
            fleet.run(Duration::from_secs(30), GOOD_KEYS);
            fleet.pass();
            fleet.refuse(&signed_by(&STRANGER), 401, "invalid_token");
        }
    }
}

/// Each of them alone is cut short or changed in one byte; the keys themselves cannot become others by that.
#[test]
fn records_that_are_cut_short_or_changed_neither_trap_nor_keep_a_request_waiting() {
    for state in [Some(GOOD_KEYS), Some(SERVER_ERROR), None] {
        let entries = left_behind(START - Duration::from_secs(100), state);
        for index in 0..entries.len() {
            let value = entries[index].1.clone();
            let sizes = (0..value.len()).filter(|size| *size < 48 || size + 8 > value.len());
            let cut = sizes.clone().map(|size| value[..size].to_vec());
            let changed = sizes.map(|at| {
                let mut changed = value.clone();
                changed[at] ^= 0xff;
                changed
            });
            for odd in cut.chain(changed) {
                let mut entries = entries.clone();
                entries[index].1 = odd;
                let mut fleet = workers_that_find(&entries);
                let streams = fleet.request(&good("/"));
                fleet.run(PATIENCE, GOOD_KEYS);
                for (worker, stream) in fleet.iter().zip(streams) {
                    assert_ne!(worker.host.outcome(stream), Outcome::Paused, "{:?}", entries[index]);
                }
                // A pause after failures may be what it says.
                fleet.run(Duration::from_secs(70), GOOD_KEYS);
                fleet.refuse(&signed_by(&STRANGER), 401, "invalid_token");
                fleet.pass();
            }
        }
    }
}

#[test]
fn a_record_without_usable_keys_is_not_believed() {
    let entries = left_behind(START - Duration::from_secs(100), Some(GOOD_KEYS));
    let document = jwks([&*KEY]).to_string().into_bytes();
    let mut replaced = 0;
    for body in [r#"{"keys":[]}"#, "<html>", r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        let mut entries = entries.clone();
        for (_, value) in &mut entries {
            if let Some(at) = value.windows(document.len()).position(|window| window == document) {
                value[at..at + document.len()].fill(b' ');
                value[at..at + body.len()].copy_from_slice(body.as_bytes());
                replaced += 1;
            }
        }
        assert_not_believed(&entries);
    }
    assert_eq!(replaced, 3, "the document is kept as it came");
}

#[test]
fn what_was_written_in_the_future_is_not_believed_and_blocks_nothing() {
    for ahead in [HOUR, YEAR, 10 * YEAR, 200 * YEAR] {
        for state in [Some(GOOD_KEYS), None] {
            println!("{ahead:?}, answered {}", state.is_some());
            assert_not_believed(&left_behind(START + ahead, state));
        }
    }
}

#[test]
fn a_pause_that_was_written_in_the_future_is_no_longer_than_any() {
    for ahead in [HOUR, YEAR, 200 * YEAR] {
        let mut fleet = workers_that_find(&left_behind(START + ahead, Some(SERVER_ERROR)));
        let calls = fleet.run(Duration::from_secs(66), GOOD_KEYS);
        assert_eq!(calls.iter().sum::<usize>(), 1, "{calls:?} after {ahead:?}");
        fleet.pass();
    }
}

#[test]
fn what_was_written_long_ago_is_not_believed() {
    let old: Answer = |host, call| host.answer(call, 200, Vec::new(), jwks([&*STRANGER]).to_string());
    for age in [2 * 24 * HOUR, YEAR] {
        for state in [Some(old), Some(SERVER_ERROR), None] {
            assert_not_believed(&left_behind(START - age, state));
        }
    }
}

#[test]
fn a_lease_of_a_dead_process_is_waited_for_but_not_for_long() {
    let entries = left_behind(START - Duration::from_secs(1), None);
    let mut fleet = workers_that_find(&entries);
    let streams = fleet.request(&good("/"));
    let call = fleet.next_call_within(LEASE);
    fleet.give_keys(&call, &[&KEY]);
    fleet.advance(PICK_UP);
    fleet.assert_passed(&streams);
}

// Hosts that share nothing.

/// Hosts whose shared data is missing or of no use.
const CANNOT_SHARE: [Sharing; 12] = [
    Sharing::Absent,
    Sharing::CreatesByZeroAlone,
    Sharing::WritesAnswer(0),
    Sharing::WritesAnswer(8),
    Sharing::WritesAnswer(10),
    Sharing::WritesAnswer(12),
    Sharing::Answers(0),
    Sharing::Answers(1),
    Sharing::Answers(2),
    Sharing::Answers(8),
    Sharing::Answers(10),
    Sharing::Answers(4_000_000_000),
];

#[test]
fn workers_that_cannot_share_fetch_once_each_and_everything_else_is_as_good() {
    for sharing in CANNOT_SHARE {
        println!("{sharing:?}");
        let profile = Profile { shared_data: sharing, ..Profile::envoy() };
        let mut fleet = workers_on(profile, 2, &configuration(json!({})));
        let streams = fleet.request(&good("/"));
        assert_eq!(fleet.run(LEASE + IDLE_PICK_UP, GOOD_KEYS), [1, 1]);
        fleet.assert_passed(&streams);

        assert_eq!(fleet.run(Duration::from_secs(300), GOOD_KEYS), [1, 1], "one refresh each");
        fleet.pass();

        let new = SigningKey::eddsa("k2");
        let streams = fleet.request(&signed_by(&new));
        fleet.advance(PICK_UP);
        let calls = fleet.calls();
        assert_eq!(calls.iter().map(|(worker, _)| *worker).collect::<Vec<_>>(), [0, 1]);
        calls.iter().for_each(|call| fleet.give_keys(call, &[&KEY, &new]));
        fleet.assert_passed(&streams);
        fleet.pass();
    }
}

#[test]
fn a_worker_that_cannot_share_pauses_after_failures_like_any_other() {
    for sharing in CANNOT_SHARE {
        let profile = Profile { shared_data: sharing, ..Profile::envoy() };
        let mut fleet = workers_on(profile, 1, &configuration(json!({})));
        let calls = fleet.run(Duration::from_secs(15), SERVER_ERROR)[0];
        assert!((4..=6).contains(&calls), "{calls} calls in 15 s with {sharing:?}");
        fleet.run(Duration::from_secs(17), GOOD_KEYS);
        fleet.pass();
    }
}
