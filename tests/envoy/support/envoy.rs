//! An Envoy process for one case.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use super::bootstrap::{self, GATEWAY, NATIVE};
use super::{Upstream, http, wasm};

/// Compiling the module takes seconds, and other cases do it at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How much of the log a failing case shows.
const LOG_TAIL_LINES: usize = 60;

/// A running Envoy. Dropping it ends the process and, when the case is failing, prints the end of its log.
pub struct Envoy {
    process: EnvoyProcess,
    admin: SocketAddr,
    ports: BTreeMap<String, SocketAddr>,
}

/// What is to be started.
pub struct EnvoyBuilder {
    /// Names and filters of the listeners.
    listeners: Vec<(String, Option<Value>)>,
    upstream: SocketAddr,
    clusters: Vec<(String, SocketAddr)>,
    environment: Map<String, Value>,
    workers: usize,
    log_level: String,
    changes: Vec<BootstrapChange>,
}

type BootstrapChange = Box<dyn FnOnce(&mut Value) + Send>;

impl Envoy {
    /// Whether the filter does something while no request comes.
    pub const ACTS_BY_ITSELF: bool = true;
    /// Whether it takes HTTP/2 without TLS.
    pub const SPEAKS_HTTP2: bool = true;
    /// Header fields that it adds to each call that times out after two seconds.
    pub const ADDED_TO_CALLS: [(&str, &str); 2] =
        [("x-envoy-expected-rq-timeout-ms", "2000"), ("x-envoy-internal", "true")];

    /// An Envoy with the filter, whose configuration is JSON or whatever else a case wants it to read.
    pub fn with_filter(configuration: impl ToString, upstream: &Upstream) -> EnvoyBuilder {
        EnvoyBuilder::new(upstream).filter(GATEWAY, configuration)
    }

    /// An Envoy that only forwards.
    pub fn without_filter(upstream: &Upstream) -> EnvoyBuilder {
        EnvoyBuilder::new(upstream).listener(GATEWAY, None)
    }

    /// An Envoy without a listener, for cases that name theirs.
    pub fn without_listeners(upstream: &Upstream) -> EnvoyBuilder {
        EnvoyBuilder::new(upstream)
    }

    /// Where requests pass the filter.
    pub fn gateway(&self) -> SocketAddr {
        self.ports[GATEWAY]
    }

    /// Where requests pass Envoy's own `jwt_authn`.
    pub fn native(&self) -> SocketAddr {
        self.ports[NATIVE]
    }

    /// Where a listener of this name is.
    pub fn address(&self, listener: &str) -> SocketAddr {
        *self.ports.get(listener).unwrap_or_else(|| panic!("there is no listener {listener:?}"))
    }

    /// Counters and gauges whose name starts with `prefix`.
    pub async fn stats(&self, prefix: &str) -> BTreeMap<String, u64> {
        let answer = http::get(self.admin, "/stats", &[]).await.unwrap();
        str::from_utf8(answer.body())
            .unwrap()
            .lines()
            .filter(|line| line.starts_with(prefix))
            .filter_map(|line| line.split_once(": "))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// The value of one counter or gauge.
    pub async fn stat(&self, name: &str) -> u64 {
        let stats = self.stats(name).await;
        *stats.get(name).unwrap_or_else(|| panic!("there is no {name}: {stats:?}"))
    }

    /// Fails unless the filter still runs in the VMs that it was started in.
    pub async fn assert_vm_was_never_replaced(&self) {
        for (name, value) in self.stats("wasm").await {
            assert!(!name.contains("vm_reload") || value == 0, "{name} is {value}");
        }
    }

    /// The memory that the process has in use, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says it");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// The id of the process.
    #[allow(dead_code, reason = "only measurements ask the system about it")]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Everything that Envoy and the filter have logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl EnvoyBuilder {
    fn new(upstream: &Upstream) -> Self {
        Self {
            listeners: Vec::new(),
            upstream: upstream.address(),
            clusters: Vec::new(),
            environment: Map::new(),
            workers: 1,
            log_level: "info".to_owned(),
            changes: Vec::new(),
        }
    }

    /// A second listener with Envoy's own `jwt_authn`, configured by its message without `@type`.
    #[must_use]
    pub fn native(self, jwt_authn: Value) -> Self {
        self.jwt_authn(NATIVE, jwt_authn)
    }

    /// A listener of this name with the filter.
    #[must_use]
    pub fn filter(self, listener: &str, configuration: impl ToString) -> Self {
        let filter = bootstrap::edge_authn(&wasm::path(), &configuration.to_string());
        self.listener(listener, Some(filter))
    }

    /// A listener of this name with Envoy's own `jwt_authn`, configured by its message without `@type`.
    #[must_use]
    pub fn jwt_authn(self, listener: &str, jwt_authn: Value) -> Self {
        self.listener(listener, Some(bootstrap::jwt_authn(jwt_authn)))
    }

    /// A listener of this name with any filter, or none.
    #[must_use]
    pub fn listener(mut self, name: &str, filter: Option<Value>) -> Self {
        self.listeners.push((name.to_owned(), filter));
        self
    }

    /// A cluster that the filters can call. The upstream's is there anyway.
    #[must_use]
    pub fn cluster(mut self, name: &str, address: SocketAddr) -> Self {
        self.clusters.push((name.to_owned(), address));
        self
    }

    /// The same for a server whose URIs have one of these hosts and ports, which nobody looks up here.
    #[must_use]
    pub fn cluster_of(self, name: &str, _hosts: &[&str], address: SocketAddr) -> Self {
        self.cluster(name, address)
    }

    /// A variable that every filter is given.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Worker threads, each with a VM of its own; one unless said otherwise.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// `info` unless said otherwise.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = level.to_owned();
        self
    }

    /// A last change to the bootstrap, for what only one case needs.
    #[must_use]
    pub fn bootstrap(mut self, change: impl FnOnce(&mut Value) + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Starts it and waits until it takes requests.
    pub async fn start(self) -> Envoy {
        let mut process = self.spawn();
        let started = Instant::now();
        loop {
            if let Some((admin, ports)) = process.addresses().await {
                return Envoy { process, admin, ports };
            }
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "Envoy ended at its start: {ended:?}");
            assert!(started.elapsed() < START_TIMEOUT, "Envoy is not ready after {START_TIMEOUT:?}");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Expects Envoy to refuse its configuration, and gives what it logged.
    pub async fn refused(self) -> String {
        let mut process = self.spawn();
        let started = Instant::now();
        loop {
            if let Some(status) = process.child.try_wait().unwrap() {
                assert!(!status.success(), "Envoy ended as if all were well");
                return process.log();
            }
            assert!(process.addresses().await.is_none(), "Envoy took the configuration");
            assert!(started.elapsed() < START_TIMEOUT, "Envoy has not decided after {START_TIMEOUT:?}");
            sleep(POLL_INTERVAL).await;
        }
    }

    fn spawn(self) -> EnvoyProcess {
        let listeners: Vec<Value> =
            self.listeners.into_iter().map(|(name, filter)| bootstrap::listener(&name, filter)).collect();

        let mut bootstrap = bootstrap::bootstrap(&listeners, self.upstream, &self.clusters);
        if !self.environment.is_empty() {
            bootstrap::pass_on(&mut bootstrap, &self.environment);
        }
        for change in self.changes {
            change(&mut bootstrap);
        }
        EnvoyProcess::spawn(&bootstrap, self.workers, &self.log_level)
    }
}

/// The process and its directory.
struct EnvoyProcess {
    child: Child,
    directory: PathBuf,
}

impl EnvoyProcess {
    fn spawn(bootstrap: &Value, workers: usize, log_level: &str) -> Self {
        let Ok(envoy) = env::var("ENVOY") else {
            panic!("ENVOY does not name an Envoy: run `make test-envoy`, which brings one");
        };
        let directory = fresh_directory();
        let configuration = directory.join("envoy.json");
        fs::write(&configuration, bootstrap.to_string()).unwrap();
        let log = File::create(directory.join(LOG)).unwrap();
        let child = Command::new(&envoy)
            .arg("--config-path")
            .arg(configuration)
            .arg("--admin-address-path")
            .arg(directory.join(ADMIN_ADDRESS))
            .args(["--concurrency", &workers.to_string(), "--log-level", log_level])
            // At its start Envoy lists its hundreds of extensions.
            .args(["--component-log-level", "main:warning"])
            // Access logs wait for seconds otherwise.
            .args(["--file-flush-interval-msec", "50"])
            // Envoys on one machine would find each other's shared memory.
            .arg("--disable-hot-restart")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start ENVOY={envoy}: {error}"));
        Self { child, directory }
    }

    /// The addresses of the admin interface and of the listeners, as soon as Envoy takes requests.
    async fn addresses(&self) -> Option<(SocketAddr, BTreeMap<String, SocketAddr>)> {
        let admin = fs::read_to_string(self.directory.join(ADMIN_ADDRESS)).ok()?;
        let admin = admin.parse().ok()?;
        let ready = http::get(admin, "/ready", &[]).await.ok()?;
        if ready.status() != 200 {
            return None;
        }
        let listeners = http::get(admin, "/listeners?format=json", &[]).await.ok()?;
        let listeners: Value = serde_json::from_slice(listeners.body()).unwrap();
        let address = |listener: &Value| {
            let name = listener["name"].as_str()?.to_owned();
            let port = listener["local_address"]["socket_address"]["port_value"].as_u64()?;
            Some((name, ([127, 0, 0, 1], u16::try_from(port).ok()?).into()))
        };
        Some((admin, listeners["listener_statuses"].as_array()?.iter().filter_map(address).collect()))
    }

    fn log(&self) -> String {
        let log = fs::read(self.directory.join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for EnvoyProcess {
    fn drop(&mut self) {
        // Both fail only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let skipped = log.lines().count().saturating_sub(LOG_TAIL_LINES);
            eprintln!("--- the end of the log in {}", self.directory.display());
            log.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
        } else {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

const ADMIN_ADDRESS: &str = "admin-address";
const LOG: &str = "envoy.log";

fn fresh_directory() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("envoy-{}-{count}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    directory
}
