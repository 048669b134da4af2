//! How long a request takes at a rate that every contender can bear: three tenths of what `jwt_authn` without a cache can.

use tokio::task::spawn_blocking;

use crate::contender::{self, Contender, Setup};
use crate::paced;
use crate::pool::{Pool, RS256};
use crate::report::Table;
use crate::settings::Settings;
use crate::statistics::{figure, median, percentile};
use crate::support::Upstream;
use crate::wrk::{self, Load};

const CONTENDERS: [Contender; 5] =
    [Contender::Bare, Contender::Noop, Contender::Native, Contender::NativeCached, Contender::Ours];
const TOKENS: usize = 1000;
const SHARE: f64 = 0.3;
const SECONDS: f64 = 5.0;
/// What the columns are called, and the share of requests that took no longer.
const PERCENTILES: [(&str, f64); 3] = [("p50, µs", 0.5), ("p99, µs", 0.99), ("p99.9, µs", 0.999)];

pub async fn run(settings: &Settings, upstream: &Upstream, name: &str) -> Table {
    let tokens = Pool::get(&settings.directory, RS256).first(&settings.directory, TOKENS);
    let configuration = contender::configuration(&[&tokens.jwk]);
    let setup = Setup {
        settings,
        upstream,
        contenders: &CONTENDERS,
        configuration,
        cache_size: 2 * TOKENS,
        own_cache_size: None,
    };
    let envoy = setup.start().await;
    if settings.pins {
        crate::process::pin(envoy.id(), 0);
    }

    let load = Load::of(&tokens, "/orders/42");
    for contender in CONTENDERS {
        wrk::turn(settings, &envoy, contender, &load, 1, 0).await;
    }
    let mut bearable = Vec::new();
    for _ in 0..3 {
        let turn = wrk::turn(settings, &envoy, Contender::Native, &load, 1, 0).await;
        bearable.push(turn.requests_per_second);
    }
    let rate = (median(&bearable) * SHARE).round();

    let send = async |contender: Contender, count: usize| {
        let address = envoy.address(contender.listener());
        let requests: Vec<Vec<u8>> =
            tokens.tokens.iter().map(|token| paced::request(address, &load.path, token)).collect();
        let job =
            move || paced::send(address, rate, requests.iter().map(Vec::as_slice).cycle().take(count), 200);
        spawn_blocking(job).await.unwrap()
    };
    let mut rounds: Vec<Vec<[f64; 3]>> = vec![Vec::new(); CONTENDERS.len()];
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = (rate * SECONDS) as usize;
    for _ in 0..settings.rounds {
        for (contender, rounds) in CONTENDERS.iter().zip(&mut rounds) {
            let latencies = send(*contender, count).await;
            rounds.push(PERCENTILES.map(|(_, share)| percentile(&latencies, share)));
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
