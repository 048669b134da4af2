//! The filter beside Envoy's own `jwt_authn`, measured: `make bench`.
//!
//! Each scenario starts an Envoy with one worker and one listener for each contender, loads them in turn, and gives a table
//! of medians. BENCH.md says what the figures are worth and has those of a run. Deliberately no verdict: nothing here fails
//! because a filter is slow, and everything does when an answer is not the one that the scenario expects.

#![allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a measurement fails by panicking, and is about time"
)]

mod contender;
mod first_request;
mod latency;
mod memory;
mod paced;
mod pool;
mod process;
mod report;
mod settings;
mod statistics;
#[allow(dead_code, unused_imports, reason = "the suite with real Envoys uses all of it")]
#[path = "../../tests/envoy/support/mod.rs"]
mod support;
mod throughput;
mod wrk;

use std::process::Command;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::report::Table;
use crate::settings::Settings;
use crate::support::Upstream;
use crate::throughput::SCENARIOS;

const LATENCY: &str = "latency";
const FIRST_REQUEST: &str = "first-request";
const MEMORY: &str = "memory";

#[tokio::main]
async fn main() {
    let settings = Settings::from_environment();
    let mut names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    names.extend([LATENCY, FIRST_REQUEST, MEMORY]);
    settings.check_scenarios(&names);

    let upstream = Upstream::start_forgetful().await;
    let circumstances = circumstances(&settings);
    report::show(&circumstances);
    let mut tables = Vec::new();
    let mut keep = |table: Table| {
        report::show(&table);
        tables.push(table);
    };
    let mut all_results = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| settings.wants(scenario.name)) {
        let results = throughput::run(&settings, &upstream, scenario).await;
        keep(results.table(scenario.name));
        all_results.push(results);
    }
    if settings.wants(LATENCY) {
        keep(latency::run(&settings, &upstream, LATENCY).await);
    }
    if settings.wants(FIRST_REQUEST) {
        keep(first_request::run(&settings, &upstream, FIRST_REQUEST).await);
    }
    if settings.wants(MEMORY) {
        keep(memory::run(&settings, &upstream, MEMORY).await);
    }
    if settings.wants_all() {
        keep(throughput::summary(&all_results));
        tables.push(circumstances);
    }

    let file = settings.directory.join("BENCH-tables.md");
    report::write(&file, &tables);
    println!("tables: {}", file.display());
    if settings.updates {
        report::update(&settings.document, &tables);
        println!("written into {}", settings.document.display());
    }
}

/// What the figures of a run depend on beside the contenders.
fn circumstances(settings: &Settings) -> Table {
    let says = |program: &str| {
        let output = Command::new(program).arg("--version").output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // `.../envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`, and `wrk debian/4.1.0-3 [epoll] ...`.
    let envoy = says(&settings.envoy);
    let envoy =
        envoy.rsplit_once("version: ").and_then(|(_, version)| version.split('/').nth(1)).unwrap_or("?");
    let wrk = says(&settings.wrk);
    let wrk = wrk.split(' ').nth(1).map_or("?", |version| version.trim_start_matches("debian/"));
    let cores = thread::available_parallelism().unwrap();
    let module = std::fs::metadata(support::filter_module()).unwrap().len() as f64;
    let answer = if settings.asks_upstream { "an upstream" } else { "a direct response" };
    let pinned = if settings.pins { ", Envoy and wrk on a core each" } else { "" };
    let text = format!(
        "Envoy {envoy}, wrk {wrk} with {connections} connections, {cores} cores{pinned}, {answer}; {rounds} rounds of \
         {seconds} s; load average {load} at the start; filter of {module} bytes.",
        connections = settings.connections,
        rounds = settings.rounds,
        seconds = settings.round_seconds,
        load = process::load_average(),
        module = statistics::figure(module),
    );
    Table::sentence("run", text)
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
