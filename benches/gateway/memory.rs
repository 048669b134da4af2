//! What tokens that were seen leave in memory: each contender alone in a fresh Envoy, before and after many of them.
//!
//! Envoy does not tell how large a VM is, so this is the memory of the whole process that is in use.

use crate::contender::{self, Contender, Setup};
use crate::pool::{Pool, Wanted};
use crate::process::resident_kib;
use crate::report::Table;
use crate::settings::Settings;
use crate::statistics::figure;
use crate::support::Upstream;
use crate::wrk::{self, Load};

const CONTENDERS: [Contender; 5] =
    [Contender::Bare, Contender::Noop, Contender::Native, Contender::NativeCached, Contender::Ours];
/// Looked at after so many tokens.
const SEEN: [usize; 3] = [1, 1_000, 100_000];
/// Tokens that come again meanwhile leave nothing more.
const TURN_SECONDS: u64 = 2;

pub async fn run(settings: &Settings, upstream: &Upstream, name: &str) -> Table {
    let wanted = Wanted { name: "eddsa-many", algorithm: "EdDSA", count: SEEN[2], further_claims: 0 };
    let tokens = Pool::get(&settings.directory, wanted);
    let columns = ["", "MiB after 1 token", "more after 1,000 tokens, KiB", "more after 100,000 tokens, KiB"];
    let mut table = Table::new(name, &columns);
    for contender in CONTENDERS {
        let configuration = contender::configuration(&[&tokens.jwk]);
        let setup = Setup {
            settings,
            upstream,
            contenders: &[contender],
            configuration,
            cache_size: SEEN[2],
            own_cache_size: None,
        };
        let envoy = setup.start().await;
        let mut resident = Vec::new();
        for count in SEEN {
            let tokens = tokens.first(&settings.directory, count);
            let load = Load::of(&tokens, "/orders/42");
            let mut sent = 0;
            while sent < count as u64 {
                let turn = wrk::turn(settings, &envoy, contender, &load, TURN_SECONDS, sent).await;
                sent += turn.requests;
            }
            resident.push(resident_kib(envoy.id()) as f64);
        }
        table.row(&[
            contender.title(),
            &figure(resident[0] / 1024.0),
            &figure(resident[1] - resident[0]),
            &figure(resident[2] - resident[0]),
        ]);
    }
    table
}
