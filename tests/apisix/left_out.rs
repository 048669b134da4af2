//! The cases of `tests/envoy` that are not run here, each with the reason, and a test that there are no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Modules of `tests/envoy` all of whose cases are run here.
const SHARED: [&str; 13] = [
    "clerk_states",
    "discovery",
    "headers",
    "key_servers",
    "keys",
    "mixed_load",
    "providers",
    "refusals",
    "session_check",
    "session_status",
    "vectors",
    "wire::authgear",
    "wire::stack",
];

const BY_ITSELF: &str = "without timers the filter does nothing while no request comes";
const BESIDE_JWT_AUTHN: &str =
    "it is about jwt_authn beside the filter; `apisix::outages` has what it says of the filter";
const OF_ENVOY: &str = "it is about what an operator can set in Envoy alone";
const THROUGHPUT: &str = "a figure from a host that is made for tests says nothing about nginx";

/// A module, or a case by its path, and why it is not run.
const LEFT_OUT: &[(&str, &str)] = &[
    ("configuration::a_struct_is_read_like_the_json_it_stands_for", "APISIX hands over JSON alone"),
    (
        "configuration::a_wrong_configuration_is_refused_with_one_message",
        "APISIX has no start that could fail: it answers 503 (`tests/host`)",
    ),
    ("configuration::the_committed_envoy_yaml_is_valid", OF_ENVOY),
    ("configuration::the_envoy_yaml_of_docker_compose_is_valid_where_it_is_put", OF_ENVOY),
    ("differential", "it is about jwt_authn, which APISIX does not have"),
    (
        "headers_in_envoy::header_values_of_a_hundred_kilobytes_are_judged_where_envoy_lets_them_in",
        "nginx refuses such a header itself, whatever the filter",
    ),
    (
        "headers_in_envoy::no_identity_header_comes_in_through_the_trailers",
        "nginx neither shows trailers of requests nor sends them on",
    ),
    (
        "headers_in_envoy::the_body_of_an_undecided_request_does_not_release_it",
        "it is about allow_on_headers_stop_iteration; nginx shows no body",
    ),
    ("keys_in_envoy::a_cluster_that_is_not_there_is_a_503_and_named_in_the_log", "there are no clusters"),
    ("keys_in_envoy::a_server_may_ask_for_its_keys_to_be_refreshed_earlier_within_bounds", BY_ITSELF),
    ("keys_in_envoy::keys_are_refreshed_before_they_expire_without_a_request_that_waits", BY_ITSELF),
    ("keys_in_envoy::keys_are_there_before_the_first_request", BY_ITSELF),
    (
        "keys_in_envoy::more_requests_than_may_wait_are_turned_away_and_nothing_breaks",
        "each waits for a call of its own, of which there are fewer: `apisix::outages`",
    ),
    ("load_test", THROUGHPUT),
    ("outages::a_key_that_is_replaced_at_once_turns_no_user_away", BESIDE_JWT_AUTHN),
    ("outages::an_outage_longer_than_max_stale_is_a_503_and_ends_without_a_restart", BESIDE_JWT_AUTHN),
    (
        "outages::an_outage_longer_than_the_keys_live_turns_no_user_away_and_ends_with_fresh_keys",
        BESIDE_JWT_AUTHN,
    ),
    (
        "outages::clients_that_leave_while_they_wait_take_nothing_with_them",
        "here each takes its own call with it: `apisix::outages`",
    ),
    (
        "outages::ten_thousand_tokens_with_invented_key_ids_cost_one_fetch_and_hold_up_nobody",
        "it measures latency and memory of the process; `apisix::outages` counts the fetches",
    ),
    (
        "outages::the_first_requests_of_all_workers_wait_for_one_fetch",
        "here each makes a call of its own: `apisix::outages`",
    ),
    ("refusals_in_envoy::grpc_clients_get_the_matching_grpc_status", "nginx cannot send such an answer"),
    ("refusals_in_envoy::http2_requests_are_judged_like_http1_requests", "nginx hands both over alike"),
    ("refusals_in_envoy::refusals_are_counted_by_their_reasons", "nginx counts nothing"),
    ("refusals_in_envoy::the_reason_is_in_the_response_code_details", "nginx has no such details"),
    ("self_test", "it is about the support; what is different here has `self_test` in its place"),
    (
        "session_check_in_envoy::in_the_background_nobody_waits_and_an_ended_session_is_refused_within_an_interval",
        "the request that finds its session due waits: `apisix::background`",
    ),
    (
        "session_load::a_burst_of_one_cold_credential_is_one_question_for_each_worker",
        "a request cannot wait for the call of another one: each asks for itself",
    ),
    (
        "session_load::under_load_a_session_that_ends_is_refused_in_time_and_an_outage_is_felt_only_by_those_who_wait",
        THROUGHPUT,
    ),
    ("session_load::under_load_checks_in_the_background_cost_their_users_next_to_nothing", BY_ITSELF),
    ("session_load::under_load_the_provider_is_asked_as_often_as_the_times_allow_and_no_more", THROUGHPUT),
    ("surroundings::a_forged_header_does_not_choose_what_is_asked_for_on_the_route_that_is_taken", OF_ENVOY),
    ("surroundings::a_route_may_switch_the_filter_off_or_name_a_requirement", OF_ENVOY),
    ("surroundings::access_logs_show_what_jwt_authn_leaves_in_metadata", OF_ENVOY),
    (
        "surroundings::keys_may_come_from_an_environment_variable_that_the_plugin_passes_on",
        "the variable of `wire::stack` comes the way that APISIX has for them",
    ),
    (
        "surroundings::routes_speak_through_their_metadata_as_they_do_to_jwt_authn_through_their_configuration",
        OF_ENVOY,
    ),
    ("surroundings::the_filter_state_chooses_a_requirement_where_no_rule_matches", OF_ENVOY),
    ("surroundings::with_async_fetch_keys_are_there_before_the_first_request_as_without_it", BY_ITSELF),
    ("vectors_in_envoy", "nginx verifies no signatures"),
    ("versions", "it is about versions of jwt_authn"),
    ("surroundings::what_the_route_that_is_taken_asks_for_holds_though_another_was_chosen_first", OF_ENVOY),
];

#[test]
fn every_case_with_envoys_is_run_here_or_left_out_for_a_reason() {
    let mut cases = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/envoy"), "", &mut cases);
    let modules: BTreeSet<_> = cases.iter().filter_map(|case| case.rsplit_once("::")).collect();
    let modules: BTreeSet<_> = modules.into_iter().map(|(module, _)| module).collect();
    for module in SHARED {
        assert!(modules.contains(module), "there are no cases in {module}");
    }
    let says = |entry: &str, case: &str| {
        case == entry || case.strip_prefix(entry).is_some_and(|rest| rest.starts_with("::"))
    };
    let is_shared = |case: &str| SHARED.iter().any(|module| says(module, case));
    for case in &cases {
        let reasons = LEFT_OUT.iter().filter(|(entry, _)| says(entry, case)).count();
        assert_eq!(reasons, usize::from(!is_shared(case)), "{case}");
    }
    for (entry, _) in LEFT_OUT {
        assert!(cases.iter().any(|case| says(entry, case)), "there is no {entry}");
    }
}

/// The paths of all tests in the files below a folder.
fn collect(folder: &Path, module: &str, cases: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let below = if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
        if path.is_dir() {
            collect(&path, &below, cases);
            continue;
        }
        let module = if matches!(name, "mod" | "main") { module } else { &below };
        let text = fs::read_to_string(&path).unwrap();
        for after in text.split("#[tokio::test").skip(1).chain(text.split("#[test]").skip(1)) {
            let (_, name) = after.split_once("fn ").unwrap();
            cases.insert(format!("{module}::{}", name.split('(').next().unwrap()));
        }
    }
}
