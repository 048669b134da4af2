//! What the first requests after a start cost: each contender starts alone in a fresh Envoy, again and again.

use serde_json::Value;
use tokio::time::Instant;

use crate::contender::{self, Contender, Setup};
use crate::pool::{Pool, RS256};
use crate::report::Table;
use crate::settings::Settings;
use crate::statistics::{median, median_and_range};
use crate::support::{Http1, Request, Upstream};

const CONTENDERS: [Contender; 4] = [Contender::Bare, Contender::Noop, Contender::Native, Contender::Ours];
/// The request that stands for those after the first.
const LATER: usize = 100;

/// Milliseconds and microseconds of one start.
struct Start {
    /// From the start of the process until it takes requests, in milliseconds.
    ready: f64,
    /// In microseconds.
    first: f64,
    /// The median of the hundred after it, in microseconds.
    later: f64,
}

pub async fn run(settings: &Settings, upstream: &Upstream, name: &str) -> Table {
    let tokens = Pool::get(&settings.directory, RS256);
    let configuration = contender::configuration(&[&tokens.jwk]);

    let mut starts: Vec<Vec<Start>> = CONTENDERS.iter().map(|_| Vec::new()).collect();
    for _ in 0..settings.rounds {
        for (contender, starts) in CONTENDERS.iter().zip(&mut starts) {
            starts.push(start(settings, upstream, *contender, &configuration, &tokens.tokens).await);
        }
    }

    let columns = ["", "until ready, ms", "first request, µs", "later ones, each with a new token, µs"];
    let mut table = Table::new(name, &columns);
    for (contender, starts) in CONTENDERS.iter().zip(&starts) {
        let cell = |of: fn(&Start) -> f64| median_and_range(&starts.iter().map(of).collect::<Vec<_>>());
        let row = [cell(|start| start.ready), cell(|start| start.first), cell(|start| start.later)];
        table.row(&[contender.title(), &row[0], &row[1], &row[2]]);
    }
    table
}

async fn start(
    settings: &Settings,
    upstream: &Upstream,
    contender: Contender,
    configuration: &Value,
    tokens: &[String],
) -> Start {
    let configuration = configuration.clone();
    let setup = Setup {
        settings,
        upstream,
        contenders: &[contender],
        configuration,
        cache_size: 0,
        own_cache_size: None,
    };
    let begun = Instant::now();
    let envoy = setup.start().await;
    let ready = begun.elapsed().as_secs_f64() * 1e3;

    let mut client = Http1::connect(envoy.address(contender.listener())).await;
    let mut latencies = Vec::new();
    for token in &tokens[..=LATER] {
        let request = Request::get("/orders/42").bearer(token);
        let sent = Instant::now();
        let reply = client.send(&request).await;
        latencies.push(sent.elapsed().as_secs_f64() * 1e6);
        assert_eq!(reply.status, 200, "{}: {reply:?}", contender.title());
    }
    Start { ready, first: latencies[0], later: median(&latencies[1..]) }
}
