//! Many requests over a few connections: a number of them, or as many as come until they are stopped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Http1, Http2, Reply, Request, eventually};

/// Held by whoever measures under load, so that no two do it at the same time.
pub async fn alone() -> MutexGuard<'static, ()> {
    static LOAD: Mutex<()> = Mutex::const_new(());
    LOAD.lock().await
}

/// A way for requests, one after the other. Clones of one HTTP/2 connection are ways side by side.
pub enum Lane {
    Http1(Http1),
    Http2(Http2),
}

impl Lane {
    /// So many HTTP/1.1 connections.
    pub async fn connections(address: SocketAddr, count: usize) -> Vec<Self> {
        let mut lanes = Vec::new();
        for _ in 0..count {
            lanes.push(Self::Http1(Http1::connect(address).await));
        }
        lanes
    }

    /// So many streams of one HTTP/2 connection.
    pub async fn streams(address: SocketAddr, count: usize) -> Vec<Self> {
        let connection = Http2::connect(address).await;
        (0..count).map(|_| Self::Http2(connection.clone())).collect()
    }

    async fn send(&mut self, address: SocketAddr, request: &Request) -> Reply {
        match self {
            Self::Http1(connection) => {
                let reply = connection.send(request).await;
                if reply.header("connection") == Some("close") {
                    *connection = Http1::connect(address).await;
                }
                reply
            }
            Self::Http2(connection) => connection.send(request).await,
        }
    }
}

/// Sends the requests of these indices over `lanes` side by side, and looks at each reply as it comes.
pub async fn send_all(
    address: SocketAddr,
    lanes: Vec<Lane>,
    indices: Range<usize>,
    build: impl Fn(usize) -> Request + Send + Sync + 'static,
    look: impl Fn(usize, &Reply) + Send + Sync + 'static,
) {
    let next = Arc::new(AtomicUsize::new(indices.start));
    let (build, look) = (Arc::new(build), Arc::new(look));
    let mut clients = JoinSet::new();
    for mut lane in lanes {
        let (next, build, look) = (Arc::clone(&next), Arc::clone(&build), Arc::clone(&look));
        clients.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= indices.end {
                    return;
                }
                look(index, &lane.send(address, &build(index)).await);
            }
        });
    }
    clients.join_all().await;
}

/// Sends `count` requests, each built from its index, over `connections` keep-alive connections side by side.
/// Gives the replies by index.
pub async fn load(
    address: SocketAddr,
    connections: usize,
    count: usize,
    build: impl Fn(usize) -> Request + Send + Sync + 'static,
) -> Vec<Reply> {
    let build = Arc::new(build);
    let mut clients = JoinSet::new();
    for first in 0..connections {
        let build = Arc::clone(&build);
        clients.spawn(async move {
            let mut client = Http1::connect(address).await;
            let mut replies = Vec::new();
            for index in (first..count).step_by(connections) {
                let reply = client.send(&build(index)).await;
                if reply.header("connection") == Some("close") {
                    client = Http1::connect(address).await;
                }
                replies.push((index, reply));
            }
            replies
        });
    }

    let mut replies: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    replies.sort_by_key(|(index, _)| *index);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

/// Sends a request over each of `count` connections and waits for no reply. Who drops them leaves.
pub async fn send_and_leave_open(address: SocketAddr, count: usize, request: &Request) -> Vec<Http1> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Http1::connect(address).await;
        client.write_request(request).await;
        clients.push(client);
    }
    clients
}

/// Clients that go on sending until they are stopped.
pub struct Traffic {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<Vec<Answer>>,
}

/// What became of one request of the traffic.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 0 when the connection ended without a reply.
    pub status: u16,
    pub retry_after: Option<String>,
    pub sent: Instant,
    pub latency: Duration,
}

impl Traffic {
    /// Each of `connections` clients sends a request every `pace`, later when it still waits for the last reply.
    /// Requests are built from an index that counts all of them.
    pub fn start(
        address: SocketAddr,
        connections: usize,
        pace: Duration,
        build: impl Fn(usize) -> Request + Send + Sync + 'static,
    ) -> Self {
        let build = Arc::new(build);
        let is_over = Arc::new(AtomicBool::new(false));
        let (begun, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            let (build, is_over) = (Arc::clone(&build), Arc::clone(&is_over));
            let (begun, answered) = (Arc::clone(&begun), Arc::clone(&answered));
            clients.spawn(async move {
                let mut ticks = interval(pace);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                let mut client = Http1::connect(address).await;
                let mut answers = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let request = build(begun.fetch_add(1, Ordering::Relaxed));
                    let sent = Instant::now();
                    let reply = client.try_send(&request).await;
                    answers.push(Answer::new(reply.as_ref(), sent));
                    answered.fetch_add(1, Ordering::Relaxed);
                    if reply.is_none_or(|reply| reply.header("connection") == Some("close")) {
                        client = Http1::connect(address).await;
                    }
                }
                answers
            });
        }
        Self { is_over, answered, clients }
    }

    /// Lets so many more requests be answered.
    pub async fn go_on_for(&self, count: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + count;
        let is_enough = async || self.answered.load(Ordering::Relaxed) >= enough;
        eventually("enough requests are answered", Duration::from_secs(60), is_enough).await;
    }

    /// Ends it, and gives all answers in the order of their requests.
    pub async fn stop(self) -> Vec<Answer> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut answers: Vec<_> = self.clients.join_all().await.into_iter().flatten().collect();
        answers.sort_by_key(|answer| answer.sent);
        answers
    }
}

impl Answer {
    fn new(reply: Option<&Reply>, sent: Instant) -> Self {
        Self {
            status: reply.map_or(0, |reply| reply.status),
            retry_after: reply.and_then(|reply| reply.header("retry-after")).map(ToOwned::to_owned),
            sent,
            latency: sent.elapsed(),
        }
    }
}

/// How often each status came.
pub fn statuses(answers: &[Answer]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    counts
}

/// The latency that so many of a hundred requests did not exceed.
pub fn percentile(answers: &[Answer], percent: usize) -> Duration {
    let mut latencies: Vec<_> = answers.iter().map(|answer| answer.latency).collect();
    latencies.sort_unstable();
    latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)]
}
