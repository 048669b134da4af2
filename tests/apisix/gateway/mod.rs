//! A gateway in the way of Apache APISIX for one case, on real sockets: the built filter in the proxy-wasm host made for
//! tests, as nginx with its Wasm module would have it.
//!
//! Takes configurations, each for a listener of its own, and servers by the host and port of their URIs, as a resolver
//! would know them; all are reached without TLS. Gives addresses to send requests to, and the log. Its face is that of
//! `support::Envoy` as far as suites that run in both need it. A trap and a misuse of the host end it, and fail the case
//! when it is dropped at the latest.
//!
//! Deliberately absent: what nginx and APISIX decide before a filter is asked (a second `authorization` line is refused by
//! nginx itself), limits on sizes, several worker processes (they share nothing there, so each is one of these), and
//! routing: everything that passes goes to one upstream.

mod call;
mod front;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::Program;
use crate::support::Upstream;
use worker::{Plan, Worker};

/// The listener whose name need not be said.
const GATEWAY: &str = "gateway";
/// How much of the log a failing case shows.
const LOG_TAIL_LINES: usize = 60;

/// A running gateway. Dropping it ends it, and fails the case if the filter has crashed or misused its host.
pub struct Apisix {
    worker: Worker,
    addresses: BTreeMap<String, SocketAddr>,
    fronts: Vec<JoinHandle<()>>,
}

/// What is to be started.
pub struct ApisixBuilder {
    upstream: SocketAddr,
    plan: Plan,
}

/// What the filter has said, and how it has ended if it has.
#[derive(Debug, Default)]
struct Record {
    log: Vec<String>,
    failure: Option<String>,
}

type SharedRecord = Arc<Mutex<Record>>;

impl Apisix {
    /// Whether the filter does something while no request comes: here it fetches and asks for a request that waits.
    pub const ACTS_BY_ITSELF: bool = false;
    /// Whether it takes HTTP/2 without TLS.
    pub const SPEAKS_HTTP2: bool = false;
    /// Header fields that the gateway adds to each call.
    pub const ADDED_TO_CALLS: [(&str, &str); 0] = [];

    /// A gateway with the filter, whose configuration is JSON.
    pub fn with_filter(configuration: impl ToString, upstream: &Upstream) -> ApisixBuilder {
        Self::without_listeners(upstream).filter(GATEWAY, configuration)
    }

    /// A gateway without a listener, for cases that name theirs.
    pub fn without_listeners(upstream: &Upstream) -> ApisixBuilder {
        ApisixBuilder { upstream: upstream.address(), plan: Plan::default() }
    }

    /// Where requests pass the filter.
    pub fn gateway(&self) -> SocketAddr {
        self.address(GATEWAY)
    }

    /// Where a listener of this name is.
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self.addresses.get(listener).unwrap_or_else(|| panic!("there is no listener {listener:?}"))
    }

    /// Nothing is counted: what nginx has for counters does nothing.
    pub async fn stats(&self, _prefix: &str) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Everything that the filter has logged so far.
    pub fn log(&self) -> String {
        self.worker.log()
    }

    /// Fails unless the filter still runs in the VM that it was started in.
    pub async fn assert_vm_was_never_replaced(&self) {
        assert_eq!(self.worker.failure(), None);
    }
}

impl ApisixBuilder {
    /// A listener of this name with the filter: a route of its own, in the same VM.
    #[must_use]
    pub fn filter(mut self, listener: &str, configuration: impl ToString) -> Self {
        self.plan.configurations.insert(listener.to_owned(), configuration.to_string());
        self
    }

    /// A server whose URIs have its address: whoever finds servers so needs no more.
    #[must_use]
    pub fn cluster(self, _: &str, _: SocketAddr) -> Self {
        self
    }

    /// A server whose URIs have one of these hosts and ports.
    #[must_use]
    pub fn cluster_of(mut self, _: &str, hosts: &[&str], address: SocketAddr) -> Self {
        self.plan.hosts.extend(hosts.iter().map(|host| ((*host).to_owned(), address)));
        self
    }

    /// There is one worker, however many are asked for.
    #[must_use]
    pub fn workers(self, _: usize) -> Self {
        self
    }

    /// A variable that nginx passes on, as it does for those in `nginx_config.envs` of APISIX.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.plan.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another module in place of the built filter.
    #[must_use]
    pub fn program(mut self, program: Program) -> Self {
        self.plan.program = Some(program);
        self
    }

    /// Starts it and waits until it takes requests.
    pub async fn start(self) -> Apisix {
        let listeners: Vec<String> = self.plan.configurations.keys().cloned().collect();
        let worker = Worker::start(self.plan).await;
        let (mut addresses, mut fronts) = (BTreeMap::new(), Vec::new());
        for name in listeners {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.insert(name.clone(), listener.local_addr().unwrap());
            fronts.push(tokio::spawn(front::serve(listener, name, worker.requests(), self.upstream)));
        }
        Apisix { worker, addresses, fronts }
    }
}

impl Drop for Apisix {
    fn drop(&mut self) {
        self.fronts.iter().for_each(JoinHandle::abort);
        self.worker.end();
        if thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_TAIL_LINES);
            eprintln!("--- the end of the log");
            log.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
        } else if let Some(failure) = self.worker.failure() {
            panic!("the filter's host has failed: {failure}");
        }
    }
}
