//! Sends every request to `jwt_authn` and to the filter, all in one Envoy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Mode;
use super::case::{Case, Group, Protocol, Sent};
use super::compare::{CASE_HEADER, Sight};
use super::world::World;
use crate::scene::now;
use crate::support::{Envoy, Reply, Request, Upstream};

/// Few enough that the slowest signature does not make another request wait for long.
const REQUESTS_AT_ONCE: usize = 16;

/// The authority of every request that names no other, so that what is said about it is the same at every listener.
const HOST: &str = "gateway.example";

/// What one case showed: without a sight of the filter in modes in which it refuses the configuration.
pub struct Shown<'a> {
    pub group: &'a Group,
    pub case: &'a Case,
    pub native: Sight,
    pub ours: BTreeMap<Mode, Sight>,
}

/// Runs all cases of all groups.
pub async fn run<'a>(world: &World, groups: &'a [Group]) -> Vec<Shown<'a>> {
    let upstream = Upstream::start().await;
    let envoy = start(world, groups, &upstream).await;

    let (timed, untimed): (Vec<_>, Vec<_>) = targets(groups, &envoy)
        .into_iter()
        .partition(|(_, case, _)| matches!(case.request, Sent::InSecond(_)));
    let mut replies = exchange(untimed, now()).await;
    if !timed.is_empty() {
        replies.extend(exchange(timed, next_second().await).await);
    }
    let mut forwarded: BTreeMap<String, _> = upstream
        .requests()
        .into_iter()
        .map(|request| (String::from_utf8_lossy(request.header(CASE_HEADER)[0]).into_owned(), request))
        .collect();
    let mut sight = |id: &str| {
        let reply = replies.remove(id)?;
        Some(Sight { reply, forwarded: forwarded.remove(id) })
    };

    let cases = groups.iter().flat_map(|group| group.cases.iter().enumerate().map(move |case| (group, case)));
    cases
        .map(|(group, (index, case))| Shown {
            group,
            case,
            native: sight(&id(group, index, None)).expect("every case is sent to the native filter"),
            ours: Mode::ALL
                .into_iter()
                .filter_map(|mode| Some((mode, sight(&id(group, index, Some(mode)))?)))
                .collect(),
        })
        .collect()
}

/// Sends all requests and gives the replies by id.
async fn exchange(targets: Vec<(String, &Case, SocketAddr)>, second: u64) -> BTreeMap<String, Reply> {
    let permits = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
    let mut exchanges = JoinSet::new();
    for (id, case, address) in targets {
        let request = match &case.request {
            Sent::Always(request) => request.clone(),
            Sent::InSecond(request) => request(second),
        };
        let (request, protocol, permits) = (prepared(request, &id), case.protocol, Arc::clone(&permits));
        exchanges.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let reply = tokio::spawn(send(request, protocol, address)).await;
            (id.clone(), reply.unwrap_or_else(|_| panic!("no answer to {id}")))
        });
    }
    exchanges.join_all().await.into_iter().collect()
}

/// Waits until a second begins: what follows at once happens within it.
async fn next_second() -> u64 {
    let current = now();
    while now() == current {
        sleep(Duration::from_millis(1)).await;
    }
    current + 1
}

async fn start(world: &World, groups: &[Group], upstream: &Upstream) -> Envoy {
    let mut envoy = Envoy::without_listeners(upstream).bootstrap(answer_connect);
    for (name, address) in world.clusters() {
        envoy = envoy.cluster(name, address);
    }
    for group in groups {
        envoy = envoy.jwt_authn(&listener(group, None), group.configuration.clone());
        for mode in group.modes() {
            let configuration = mode.configuration(&group.configuration);
            envoy = envoy.filter(&listener(group, Some(mode)), configuration);
        }
    }
    envoy.start().await
}

/// Upstreams cannot be asked to CONNECT, so Envoy answers in their place.
fn answer_connect(bootstrap: &mut Value) {
    for listener in bootstrap["static_resources"]["listeners"].as_array_mut().unwrap() {
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        manager["upgrade_configs"] = json!([{ "upgrade_type": "CONNECT" }]);
        let routes = manager["route_config"]["virtual_hosts"][0]["routes"].as_array_mut().unwrap();
        let connected = json!({ "match": { "connect_matcher": {} }, "direct_response": { "status": 200 } });
        routes.insert(0, connected);
    }
}

fn targets<'a>(groups: &'a [Group], envoy: &Envoy) -> Vec<(String, &'a Case, SocketAddr)> {
    let mut targets = Vec::new();
    for group in groups {
        for mode in [None].into_iter().chain(group.modes().map(Some)) {
            let address = envoy.address(&listener(group, mode));
            let cases = group.cases.iter().enumerate();
            targets.extend(cases.map(|(index, case)| (id(group, index, mode), case, address)));
        }
    }
    targets
}

/// The listener of a group; without a mode that of `jwt_authn`.
fn listener(group: &Group, mode: Option<Mode>) -> String {
    format!("{}: {}", group.name, mode.map_or("jwt_authn", Mode::name))
}

fn id(group: &Group, index: usize, mode: Option<Mode>) -> String {
    format!("{} #{index}", listener(group, mode))
}

fn prepared(request: Request, id: &str) -> Request {
    let mut request = request.header(CASE_HEADER, id);
    if !request.headers.iter().any(|(name, _)| name == "host") {
        request = request.header("host", HOST);
    }
    request
}

async fn send(request: Request, protocol: Protocol, address: SocketAddr) -> Reply {
    match protocol {
        Protocol::Http1 => request.send(address).await,
        Protocol::Http2 => request.send_http2(address).await,
    }
}
