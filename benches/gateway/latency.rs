//! How long a request takes at a rate that every contender can bear: three tenths of what `jwt_authn` without a cache can.

use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::contender::{self, Contender, Setup};
use crate::paced::{self, Pace};
use crate::pool::{Pool, RS256};
use crate::report::Table;
use crate::settings::Settings;
use crate::statistics::{figure, median, percentile};
use crate::support::Upstream;

const CONTENDERS: [Contender; 5] =
    [Contender::Bare, Contender::Noop, Contender::Native, Contender::NativeCached, Contender::Ours];
const TOKENS: usize = 1000;
const SHARE: f64 = 0.3;
/// How many are waited for at once, and how many are sent so, to find out what `jwt_authn` can bear.
const SIDE_BY_SIDE: usize = 32;
const PROBE: usize = 10_000;
const SECONDS: f64 = 5.0;
/// What the columns are called, and the share of requests that took no longer.
const PERCENTILES: [(&str, f64); 3] = [("p50, µs", 0.5), ("p99, µs", 0.99), ("p99.9, µs", 0.999)];

pub async fn run(settings: &Settings, upstream: &Upstream, name: &str) -> Table {
    let tokens = Pool::get(&settings.directory, RS256).first(&settings.directory, TOKENS);
    let configuration = contender::configuration(&[&tokens.jwk]);
    let setup = Setup { settings, upstream, contenders: &CONTENDERS, configuration, cache_size: 2 * TOKENS };
    let envoy = setup.start().await;
    if settings.pins {
        crate::process::pin(envoy.id(), 0);
    }

    let send = async |contender: Contender, pace: Pace, count: usize| {
        let address = envoy.address(contender.listener());
        let requests: Vec<Vec<u8>> =
            tokens.tokens.iter().map(|token| paced::request(address, "/orders/42", token)).collect();
        let job =
            move || paced::send(address, pace, requests.iter().map(Vec::as_slice).cycle().take(count), 200);
        spawn_blocking(job).await.unwrap()
    };
    for contender in CONTENDERS {
        send(contender, Pace::SideBySide(SIDE_BY_SIDE), 2 * TOKENS).await;
    }
    let mut bearable = Vec::new();
    for _ in 0..3 {
        let started = tokio::time::Instant::now();
        send(Contender::Native, Pace::SideBySide(SIDE_BY_SIDE), PROBE).await;
        bearable.push(PROBE as f64 / started.elapsed().as_secs_f64());
    }
    let rate = (median(&bearable) * SHARE).round();

    let mut rounds: Vec<Vec<[f64; 3]>> = vec![Vec::new(); CONTENDERS.len()];
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = (rate * SECONDS) as usize;
    for _ in 0..settings.rounds {
        for (contender, rounds) in CONTENDERS.iter().zip(&mut rounds) {
            let latencies = send(*contender, Pace::PerSecond(rate), count).await;
            rounds.push(PERCENTILES.map(|(_, share)| percentile(&latencies, share)));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    let at_rate = format!("at {} requests/s", figure(rate));
    let columns: Vec<&str> =
        [at_rate.as_str()].into_iter().chain(PERCENTILES.iter().map(|(title, _)| *title)).collect();
    let mut table = Table::new(name, &columns);
    for (contender, rounds) in CONTENDERS.iter().zip(&rounds) {
        let cell = |column: usize| {
            figure(median(&rounds.iter().map(|percentiles| percentiles[column]).collect::<Vec<_>>()))
        };
        table.row(&[contender.title().to_owned(), cell(0), cell(1), cell(2)]);
    }
    table
}
