//! Scenarios in which wrk sends as much as one worker answers.
//!
//! Contenders take turns, so that what disturbs the machine for a while disturbs all of them, and every ratio is made of
//! turns of one round. In each scenario all contenders get the same requests, and Envoy's counters are held against what
//! the scenario says that the answers are.

use std::fs;

use serde_json::{Value, json};

use crate::contender::{self, Contender, Setup};
use crate::pool::{MANY, Pool, RS256, Wanted};
use crate::report::Table;
use crate::settings::Settings;
use crate::statistics::{figure, median, median_and_range, ratio};
use crate::support::{Request, Upstream};
use crate::wrk::{self, Load, Turn};

pub struct Scenario {
    pub name: &'static str,
    /// How it is called in the summary.
    title: &'static str,
    kind: Kind,
}

enum Kind {
    /// RS256 tokens, so many, which come again and again.
    Hot(usize),
    /// Tokens of an algorithm, each of which comes once. (More than any cache holds, in the same order again and again.)
    New(&'static str),
    BadSignatures,
    NoToken,
    /// So many rules over so many providers.
    Rules(usize, usize),
    Claims,
    Headers,
}

const CLAIMS: usize = 20;
const HEADERS: usize = 30;

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "hot-token", title: "one token, RS256", kind: Kind::Hot(1) },
    Scenario { name: "hot-1000", title: "1,000 tokens in turn, RS256", kind: Kind::Hot(1000) },
    Scenario { name: "new-rs256", title: "only new tokens, RS256", kind: Kind::New("RS256") },
    Scenario { name: "new-ps256", title: "only new tokens, PS256", kind: Kind::New("PS256") },
    Scenario { name: "new-es256", title: "only new tokens, ES256", kind: Kind::New("ES256") },
    Scenario { name: "new-es384", title: "only new tokens, ES384", kind: Kind::New("ES384") },
    Scenario { name: "new-eddsa", title: "only new tokens, EdDSA", kind: Kind::New("EdDSA") },
    Scenario { name: "bad-signatures", title: "only bad signatures, RS256", kind: Kind::BadSignatures },
    Scenario { name: "no-token", title: "no token", kind: Kind::NoToken },
    Scenario { name: "rules-1", title: "1 rule, 1 provider", kind: Kind::Rules(1, 1) },
    Scenario { name: "rules-100", title: "100 rules, 100 providers", kind: Kind::Rules(100, 100) },
    Scenario { name: "rules-1000", title: "1,000 rules, 100 providers", kind: Kind::Rules(1000, 100) },
    Scenario { name: "claims-20", title: "20 claims to headers", kind: Kind::Claims },
    Scenario { name: "headers-30", title: "30 headers in the request", kind: Kind::Headers },
];

/// What a scenario is made of.
struct Plan {
    contenders: Vec<Contender>,
    configuration: Value,
    cache_size: usize,
    own_cache_size: Option<usize>,
    tokens: Pool,
    headers: Vec<(String, String)>,
    path: String,
    status: u16,
}

/// The turns of each contender, one a round.
pub struct Results {
    title: &'static str,
    turns: Vec<(Contender, Vec<Turn>)>,
}

/// Runs a scenario.
pub async fn run(settings: &Settings, upstream: &Upstream, scenario: &Scenario) -> Results {
    let plan = scenario.kind.plan(settings);
    let contenders: Vec<Contender> =
        plan.contenders.iter().copied().filter(|one| one.is_there(&plan.configuration)).collect();
    let setup = Setup {
        settings,
        upstream,
        contenders: &contenders,
        configuration: plan.configuration,
        cache_size: plan.cache_size,
        own_cache_size: plan.own_cache_size,
    };
    let envoy = setup.start().await;
    if settings.pins {
        crate::process::pin(envoy.id(), 0);
    }
    let headers = settings.directory.join(format!("{}.headers", scenario.name));
    let lines: String = plan.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    fs::write(&headers, lines).unwrap();

    let load = Load { headers: Some(headers), status: plan.status, ..Load::of(&plan.tokens, &plan.path) };
    let mut turns: Vec<(Contender, Vec<Turn>)> = contenders.iter().map(|one| (*one, Vec::new())).collect();
    for contender in &contenders {
        // wrk counts classes of statuses; the status itself is looked at once.
        let mut request = Request::get(&load.path);
        for (name, value) in &plan.headers {
            request = request.header(name, value);
        }
        if !plan.tokens.tokens[0].is_empty() {
            request = request.bearer(&plan.tokens.tokens[0]);
        }
        let reply = request.send(envoy.address(contender.listener())).await;
        let expected = contender.status(load.status);
        assert_eq!(reply.status, expected, "{}: {reply:?}", contender.title());
    }
    let mut sent = vec![1_u64; contenders.len()];
    for round in 0..=settings.rounds {
        let seconds = if round == 0 { 1 } else { settings.round_seconds };
        for (index, (contender, turns)) in turns.iter_mut().enumerate() {
            let load = Load { status: contender.status(load.status), ..load.clone() };
            let turn = wrk::turn(settings, &envoy, *contender, &load, seconds, sent[index]).await;
            sent[index] += turn.requests;
            // The first turn is for compilers and caches.
            if round > 0 {
                turns.push(turn);
            }
        }
    }
    Results { title: scenario.title, turns }
}

impl Contender {
    /// What it answers where filters that look at tokens answer with this status.
    fn status(self, status: u16) -> u16 {
        if matches!(self, Self::Bare | Self::Noop) { 200 } else { status }
    }
}

impl Kind {
    fn plan(&self, settings: &Settings) -> Plan {
        use Contender::{Bare, Native, NativeCached, Noop, Ours, OursInWasm};

        let directory = &settings.directory;
        let pool = |name, algorithm, count, further_claims| {
            Pool::get(directory, Wanted { name, algorithm, count, further_claims })
        };
        let rs256 = || Pool::get(directory, RS256);
        let mut path = "/orders/42".to_owned();
        let mut headers = Vec::new();
        let mut status = 200;
        let mut contenders = vec![Noop, Native, NativeCached, Ours];
        let tokens = match self {
            Self::Hot(count) => {
                contenders.insert(0, Bare);
                rs256().first(directory, *count)
            }
            Self::New(algorithm) => {
                contenders = vec![Noop, Native, Ours, OursInWasm];
                match *algorithm {
                    "PS256" => pool("ps256", "PS256", MANY, 0),
                    "ES256" => pool("es256", "ES256", MANY, 0),
                    "ES384" => pool("es384", "ES384", MANY, 0),
                    "EdDSA" => pool("eddsa", "EdDSA", MANY, 0),
                    _ => rs256(),
                }
            }
            Self::BadSignatures => {
                contenders = vec![Noop, Native, Ours, OursInWasm];
                status = 401;
                rs256().with_bad_signatures(directory)
            }
            Self::NoToken => {
                contenders = vec![Noop, Native, Ours];
                status = 401;
                rs256().without_tokens(directory)
            }
            Self::Rules(..) | Self::Headers => rs256().first(directory, 1),
            Self::Claims => pool("claims", "RS256", 1, CLAIMS),
        };
        if settings.with_uncached && matches!(self, Self::Hot(_) | Self::New(_)) {
            contenders.push(Contender::OursUncached);
        }
        if settings.beside.is_some() {
            contenders.push(Contender::Beside);
        }
        let mut configuration = contender::configuration(&[&tokens.jwk]);
        match self {
            Self::Rules(rules, providers) => {
                path = with_rules(&mut configuration, &tokens.jwk, *rules, *providers);
            }
            Self::Claims => configuration["providers"]["acme"]["claim_to_headers"] = (0..CLAIMS)
                .map(|number| {
                    json!({ "header_name": format!("x-claim-{number}"), "claim_name": format!("claim-{number}") })
                })
                .collect(),
            Self::Headers => headers = many_headers(),
            _ => {}
        }
        // Full from the first token on, so that none of the pool is known when its turn comes again.
        let own_cache_size = matches!(self, Self::New(_)).then_some(1);
        let cache_size = 2 * tokens.tokens.len();
        Plan { contenders, configuration, cache_size, own_cache_size, tokens, headers, path, status }
    }
}

/// Gives the configuration so many rules over so many providers, and gives a path that only the last rule matches.
fn with_rules(configuration: &mut Value, key: &Value, rules: usize, providers: usize) -> String {
    const AREAS: [&str; 10] = [
        "accounts", "billing", "catalog", "delivery", "events", "finance", "identity", "media", "partners",
        "search",
    ];
    const THINGS: [&str; 20] = [
        "addresses",
        "baskets",
        "contracts",
        "devices",
        "entries",
        "files",
        "groups",
        "histories",
        "invoices",
        "jobs",
        "keys",
        "labels",
        "members",
        "notes",
        "orders",
        "payments",
        "quotes",
        "reports",
        "sessions",
        "tickets",
    ];
    let prefix = |index: usize| {
        let (area, thing) = (AREAS[index % AREAS.len()], THINGS[index / AREAS.len() % THINGS.len()]);
        format!("/api/v{}/{area}/{thing}/", index / (AREAS.len() * THINGS.len()) + 1)
    };
    let name = |index: usize| if index == 0 { "acme".to_owned() } else { format!("tenant-{index}") };
    for index in 1..providers {
        let issuer = format!("https://tenant-{index}.example.com");
        configuration["providers"][name(index)] = contender::provider(&issuer, &[key]);
    }
    let provider = |index: usize| name((rules - 1 - index) % providers);
    let prefixes: Vec<String> = (0..rules).map(prefix).collect();
    configuration["rules"] = prefixes
        .iter()
        .enumerate()
        .map(|(index, prefix)| {
            json!({ "match": { "prefix": prefix }, "requires": { "provider_name": provider(index) } })
        })
        .collect();
    let path = format!("{}42", prefixes[rules - 1]);
    assert_eq!(
        prefixes.iter().filter(|prefix| path.starts_with(*prefix)).count(),
        1,
        "only the last one matches"
    );
    path
}

/// What browsers, proxies and tracing put on a request.
fn many_headers() -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = [
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.8,fr;q=0.7"),
        ("cache-control", "no-cache"),
        ("cookie", "theme=dark; locale=en-GB; consent=necessary; visitor=4f6f1b0d2a7c4be1b8e2d8b1f1f3a0c5"),
        ("dnt", "1"),
        ("origin", "https://www.example.com"),
        ("pragma", "no-cache"),
        ("priority", "u=1, i"),
        ("referer", "https://www.example.com/shop/category/books?page=3"),
        ("sec-ch-ua", "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\""),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Linux\""),
        ("sec-fetch-dest", "empty"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-site", "same-origin"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "vendor=t61rcWkgMzE"),
        ("baggage", "tenant=acme,plan=enterprise"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for number in headers.len()..HEADERS {
        headers.push((format!("x-application-field-{number}"), format!("value-of-field-{number}")));
    }
    headers
}

impl Results {
    /// How one contender stands beside another, by a figure of their turns, as the median over rounds.
    fn compare(
        &self,
        one: Contender,
        other: Contender,
        by: impl Fn(f64, f64) -> f64,
        of: fn(&Turn) -> f64,
    ) -> Option<f64> {
        let figures: Vec<f64> =
            self.of(one)?.iter().zip(self.of(other)?).map(|(one, other)| by(of(one), of(other))).collect();
        Some(median(&figures))
    }

    fn of(&self, contender: Contender) -> Option<&[Turn]> {
        self.turns.iter().find(|(one, _)| *one == contender).map(|(_, turns)| turns.as_slice())
    }

    pub fn table(&self, name: &str) -> Table {
        let columns =
            ["", "requests/s", "beside `jwt_authn`", "CPU, µs a request", "above the do-nothing filter, µs"];
        let mut table = Table::new(name, &columns);
        let speed = |turn: &Turn| turn.requests_per_second;
        let cost = |turn: &Turn| turn.cpu_per_request;
        for (contender, turns) in &self.turns {
            let speeds: Vec<f64> = turns.iter().map(speed).collect();
            let costs: Vec<f64> = turns.iter().map(cost).collect();
            let beside = self.compare(*contender, Contender::Native, |one, other| one / other, speed);
            let above = self.compare(*contender, Contender::Noop, |one, other| one - other, cost);
            table.row(&[
                contender.title(),
                &median_and_range(&speeds),
                &beside.map(ratio).unwrap_or_default(),
                &median_and_range(&costs),
                &above.filter(|_| *contender != Contender::Noop).map(figure).unwrap_or_default(),
            ]);
        }
        table
    }

    /// A row of the summary: this filter beside `jwt_authn`, without and with its cache.
    fn summary(&self) -> [String; 5] {
        let speed = |turn: &Turn| turn.requests_per_second;
        let cost = |turn: &Turn| turn.cpu_per_request;
        let cell = |other, of| {
            let share = self.compare(Contender::Ours, other, |one, other| one / other, of);
            share.map_or("-".to_owned(), ratio)
        };
        [
            self.title.to_owned(),
            cell(Contender::Native, speed),
            cell(Contender::Native, cost),
            cell(Contender::NativeCached, speed),
            cell(Contender::NativeCached, cost),
        ]
    }
}

/// All scenarios on one page.
pub fn summary(all: &[Results]) -> Table {
    let columns = [
        "edge-authn beside",
        "`jwt_authn`: requests/s",
        "CPU a request",
        "with `jwt_cache_config`: requests/s",
        "CPU a request",
    ];
    let mut table = Table::new("summary", &columns);
    all.iter().for_each(|results| table.row(&results.summary()));
    table
}
