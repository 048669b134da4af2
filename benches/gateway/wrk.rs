//! One turn of one contender: wrk sends as much as it can, and Envoy's own counters and clock say what came of it.
//!
//! Fails loudly when an answer had another class of status than it should have, or when a connection broke.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::contender::Contender;
use crate::pool::Pool;
use crate::process;
use crate::settings::Settings;
use crate::support::Envoy;

/// What is sent.
#[derive(Clone)]
pub struct Load {
    /// A token a line.
    pub tokens: PathBuf,
    /// `name: value` a line, if there are any.
    pub headers: Option<PathBuf>,
    pub path: String,
    /// The status of every answer.
    pub status: u16,
}

impl Load {
    /// Good tokens and nothing else.
    pub fn of(tokens: &Pool, path: &str) -> Self {
        Self { tokens: tokens.file.clone(), headers: None, path: path.to_owned(), status: 200 }
    }
}

/// What a turn came to.
#[derive(Clone, Copy)]
pub struct Turn {
    pub requests: u64,
    pub requests_per_second: f64,
    /// The time that Envoy computed for one request, in microseconds.
    pub cpu_per_request: f64,
}

/// Loads the listener of a contender for so many seconds, starting after so many tokens.
pub async fn turn(
    settings: &Settings,
    envoy: &Envoy,
    contender: Contender,
    load: &Load,
    seconds: u64,
    passed_over: u64,
) -> Turn {
    let Answered { good: good_before, bad: bad_before } = answered(envoy, contender, load.status).await;
    let cpu_before = process::cpu_time(envoy.id());
    let total = run(settings, &url(envoy, contender, &load.path), load, seconds, passed_over).await;
    let cpu = process::cpu_time(envoy.id()) - cpu_before;
    let Answered { good, bad } = answered(envoy, contender, load.status).await;

    let what = || format!("{} at {}: {total:?}", contender.title(), load.path);
    assert_eq!(bad, bad_before, "answers of another class than {}: {}", load.status, what());
    assert_eq!(total.broken, 0, "broken connections: {}", what());
    let refused = if load.status >= 400 { total.requests } else { 0 };
    assert_eq!(total.refused, refused, "answers of another class than {}: {}", load.status, what());
    let requests = good - good_before;
    assert!(requests >= total.requests && requests > 0, "Envoy counted {requests}: {}", what());
    Turn {
        requests,
        requests_per_second: total.requests as f64 / total.time.as_secs_f64(),
        cpu_per_request: cpu.as_secs_f64() * 1e6 / requests as f64,
    }
}

fn url(envoy: &Envoy, contender: Contender, path: &str) -> String {
    format!("http://{}{path}", envoy.address(contender.listener()))
}

/// What wrk counted.
#[derive(Debug)]
struct Total {
    requests: u64,
    time: Duration,
    /// Answers with a status of 400 or more.
    refused: u64,
    broken: u64,
}

async fn run(settings: &Settings, url: &str, load: &Load, seconds: u64, passed_over: u64) -> Total {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gateway/request.lua");
    let mut command = if settings.pins { Command::new("taskset") } else { Command::new(&settings.wrk) };
    if settings.pins {
        command.args(["-c", "1", &settings.wrk]);
    }
    command
        .args(["--threads", "1", "--connections", &settings.connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--timeout", "10s"])
        .arg("--script")
        .arg(script)
        .arg(url)
        .arg("--")
        .arg(&load.tokens)
        .arg(load.headers.as_deref().unwrap_or(Path::new("/dev/null")))
        .arg(passed_over.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.expect("wrk can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = || format!("wrk says {text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.strip_prefix("TOTAL "));
    let line = line.unwrap_or_else(|| panic!("{}", complaint()));
    let figures: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
    let [requests, micros, refused, broken] = figures[..] else { panic!("{}", complaint()) };
    Total { requests, time: Duration::from_micros(micros), refused, broken }
}

/// How many answers Envoy has given so far on a listener: of the class of a status, and of the others.
struct Answered {
    good: u64,
    bad: u64,
}

async fn answered(envoy: &Envoy, contender: Contender, status: u16) -> Answered {
    let prefix = format!("http.{}.downstream_rq_", contender.listener());
    let stats = envoy.stats(&prefix).await;
    let count = |class: u16| stats.get(&format!("{prefix}{class}xx")).copied().unwrap_or(0);
    let good = count(status / 100);
    Answered { good, bad: (1..=5).map(count).sum::<u64>() - good }
}
