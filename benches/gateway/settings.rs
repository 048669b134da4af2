//! What the environment decides about a run. The Makefile's help and BENCH.md name the variables.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub struct Settings {
    /// `ROUNDS`: how often each contender has its turn, after one that does not count.
    pub rounds: usize,
    /// `ROUND_SECONDS`: how long a turn is.
    pub round_seconds: u64,
    /// `CONNECTIONS`: of wrk.
    pub connections: usize,
    /// `SCENARIO`: names with commas between them; all scenarios when there is none.
    scenarios: Vec<String>,
    /// `RESPONSE=upstream`: what passes goes to an upstream, not to a direct response of Envoy.
    pub asks_upstream: bool,
    /// `PIN=1`: Envoy on the first core, wrk on the second.
    pub pins: bool,
    /// `UNCACHED=1`: this filter without its cache has its turn where that says something.
    pub with_uncached: bool,
    /// `BESIDE`: another build of this filter that has its turn, too.
    pub beside: Option<PathBuf>,
    /// `UPDATE=1`: the tables in BENCH.md are written anew.
    pub updates: bool,
    /// `WRK`, which the Makefile sets.
    pub wrk: String,
    /// `ENVOY`, likewise.
    pub envoy: String,
    /// Where tokens, scripts and tables go.
    pub directory: PathBuf,
    /// The document with the tables.
    pub document: PathBuf,
}

impl Settings {
    pub fn from_environment() -> Self {
        let directory = Path::new(ROOT).join("target/bench");
        fs::create_dir_all(&directory).unwrap();
        let scenarios = text("SCENARIO").unwrap_or_default();
        Self {
            rounds: number("ROUNDS", 5),
            round_seconds: number("ROUND_SECONDS", 2),
            connections: number("CONNECTIONS", 32),
            scenarios: scenarios.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect(),
            asks_upstream: text("RESPONSE").is_some_and(|response| response == "upstream"),
            pins: is_on("PIN"),
            with_uncached: is_on("UNCACHED"),
            beside: text("BESIDE").map(PathBuf::from),
            updates: is_on("UPDATE"),
            wrk: text("WRK").expect("WRK names no wrk: run `make bench`, which brings one"),
            envoy: text("ENVOY").expect("ENVOY names no Envoy: run `make bench`, which brings one"),
            directory,
            document: Path::new(ROOT).join("BENCH.md"),
        }
    }

    /// Whether this scenario is to be run.
    pub fn wants(&self, scenario: &str) -> bool {
        self.wants_all() || self.scenarios.iter().any(|name| name == scenario)
    }

    pub fn wants_all(&self) -> bool {
        self.scenarios.is_empty()
    }

    /// Fails when a scenario is asked for that is none of these.
    pub fn check_scenarios(&self, known: &[&str]) {
        for name in &self.scenarios {
            assert!(
                known.contains(&name.as_str()),
                "there is no scenario {name:?}, only {}",
                known.join(", ")
            );
        }
    }
}

fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_on(name: &str) -> bool {
    text(name).is_some_and(|value| value != "0")
}

fn number<N: FromStr>(name: &str, otherwise: N) -> N {
    match text(name) {
        None => otherwise,
        Some(value) => value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}, which is no number")),
    }
}
