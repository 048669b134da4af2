//! What most cases stand on: the built filter with one provider, an identity provider that answers when it is told to,
//! and requests that are good until something is added to them. One worker is a [`Scene`], several are a [`Fleet`] of
//! them.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Call, Fleet, Host, Kind, Level, Outcome, Profile, Program, RootId, StreamId};

#[path = "../../demo/tokens.rs"]
#[allow(dead_code, reason = "the demo and the suites each use their part of it")]
pub mod tokens;

#[path = "../envoy/support/wasm.rs"]
mod wasm;

pub use tokens::{SigningKey, jwks};

/// Where the virtual clock of every scene starts.
pub const START: Duration = Duration::from_secs(1_800_000_000);

pub const ISSUER: &str = "https://idp.example";

/// More than the filter needs to act on something that is due, less than any of its pauses.
pub const MOMENT: Duration = Duration::from_millis(10);

/// More than a worker needs to notice what another one has done, when a request waits for it and when none does.
pub const PICK_UP: Duration = Duration::from_millis(30);
pub const IDLE_PICK_UP: Duration = Duration::from_millis(1100);

/// How long a fetch of [`provider`] may take, and how long after that a worker that has died counts as alive.
pub const TIMEOUT: Duration = Duration::from_secs(2);
pub const LEASE: Duration = Duration::from_secs(3);

/// The longest that a request waits, whatever happens to the fetches it waits for.
pub const PATIENCE: Duration = Duration::from_millis(7500);

/// The first pause after a fetch that failed, and a moment.
pub const BACK_OFF: Duration = Duration::from_millis(1010);

/// The key of the provider `acme`.
pub static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::eddsa("k1"));

/// A key that no provider knows, under the name of one that they do.
pub static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::eddsa("k1"));

/// The built filter; panics with what to do when it is missing or older than its sources.
pub fn filter() -> Program {
    Program::open(filter_path()).unwrap_or_else(|error| panic!("{error}"))
}

/// Where the built filter is.
pub fn filter_path() -> std::path::PathBuf {
    wasm::path()
}

/// A VM with the filter and without a configuration, in a world that has the cluster `idp`.
pub fn host(profile: Profile) -> Host {
    let mut host = Host::new(&filter(), profile).unwrap_or_else(|error| panic!("{error}"));
    host.set_time(START);
    host.cluster(upstream(profile));
    host
}

/// What a host of this kind finds the identity provider by: the cluster that is configured, or the address in the URI.
pub const fn upstream(profile: Profile) -> &'static str {
    match profile.kind {
        Kind::Envoy => "idp",
        Kind::Bare | Kind::Nginx => "idp.example:443",
    }
}

/// A running filter and the world around it.
pub struct Scene {
    pub host: Host,
    pub root: RootId,
}

impl Scene {
    /// On a host like Envoy, with the configuration of [`configuration`].
    pub fn start() -> Self {
        Self::start_with(json!({}))
    }

    /// The same with `extra` fields of the provider.
    pub fn start_with(extra: Value) -> Self {
        Self::start_on(host(Profile::envoy()), &configuration(extra))
    }

    pub fn start_on(mut host: Host, configuration: &Value) -> Self {
        let root = host.start(&configuration.to_string()).unwrap_or_else(|refused| panic!("{refused}"));
        Self { host, root }
    }

    /// With keys that have just been fetched.
    pub fn with_keys() -> Self {
        Self::with_keys_and(json!({}))
    }

    pub fn with_keys_and(extra: Value) -> Self {
        let mut scene = Self::start_with(extra);
        scene.fetch_keys();
        scene
    }

    /// The filter fetches its keys, on its own or for a good request, which passes.
    pub fn fetch_keys(&mut self) {
        let stream = self.host.request(good("/"));
        let call = self.call();
        self.give_keys(&call, &[&KEY]);
        assert_eq!(self.host.close(stream), Outcome::Continued);
    }

    /// Sends a request to a host without timers: it is paused only while a call of its own is out; otherwise it would
    /// hang, or crash APISIX.
    #[track_caller]
    pub fn send(&mut self, request: Headers) -> StreamId {
        let stream = self.host.request(request);
        let own = self.host.calls().iter().filter(|call| call.owner == stream.0).count();
        let waits = self.host.outcome(stream) == Outcome::Paused;
        assert_eq!(own, usize::from(waits), "{:?}", self.host.outcome(stream));
        stream
    }

    /// The call of this request.
    #[track_caller]
    pub fn call_of(&self, stream: StreamId) -> Call {
        let calls = self.host.calls();
        calls.iter().find(|call| call.owner == stream.0).unwrap_or_else(|| panic!("{calls:?}")).clone()
    }

    /// Ends the calls of clients that have gone, which nginx waits for.
    pub fn end_calls_of_the_gone(&mut self) {
        for call in self.host.calls() {
            assert!(self.host.is_leaving(StreamId(call.owner)), "{call:?}");
            self.host.answer_reset(call.id);
        }
    }

    /// A request fetches the keys that it needs, and passes.
    #[track_caller]
    pub fn fetch_own(&mut self) {
        let stream = self.send(good("/"));
        let call = self.call_of(stream);
        self.give_keys(&call, &[&KEY]);
        assert_eq!(self.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }

    /// Lets the filter act, and gives the one call that it waits for.
    #[track_caller]
    pub fn call(&mut self) -> Call {
        self.host.advance(MOMENT);
        let calls = self.host.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls[0].clone()
    }

    /// Lets the filter act, and gives all calls that it waits for.
    pub fn calls(&mut self) -> Vec<Call> {
        self.host.advance(MOMENT);
        self.host.calls()
    }

    /// Lets the filter act, and fails if it waits for a call.
    #[track_caller]
    pub fn assert_no_call(&mut self) {
        self.host.advance(MOMENT);
        assert_eq!(self.host.calls(), []);
    }

    /// Lets time pass until the filter calls by itself, at most for `limit`.
    #[track_caller]
    pub fn next_call_within(&mut self, limit: Duration) -> Call {
        let until = self.host.now() + limit;
        while self.host.calls().is_empty() {
            assert!(self.host.now() < until, "no call within {limit:?}");
            self.host.advance(Duration::from_millis(100));
        }
        self.call()
    }

    pub fn give_keys(&mut self, call: &Call, keys: &[&SigningKey]) {
        self.host.answer(call.id, 200, Vec::new(), jwks(keys.iter().copied()).to_string());
    }

    /// Sends a request that must be forwarded at once, and gives the user that the upstream sees.
    #[track_caller]
    pub fn pass(&mut self, request: Headers) -> Option<Vec<u8>> {
        let stream = self.host.request(request);
        self.assert_passed(stream)
    }

    /// The user that the upstream sees of a request that went on.
    #[track_caller]
    pub fn assert_passed(&mut self, stream: StreamId) -> Option<Vec<u8>> {
        let user = self.host.request_headers(stream).get("x-user-id").map(<[u8]>::to_vec);
        let outcome = self.host.close(stream);
        assert_eq!(outcome, Outcome::Continued);
        user
    }

    /// Sends a request that must be refused at once with this status and label.
    #[track_caller]
    pub fn refuse(&mut self, request: Headers, status: u32, label: &str) {
        let stream = self.host.request(request);
        self.assert_refused(stream, status, label);
        self.host.close(stream);
    }

    #[track_caller]
    pub fn assert_refused(&self, stream: StreamId, status: u32, label: &str) {
        let reply = self.host.reply(stream);
        let details = String::from_utf8(reply.details.clone()).unwrap();
        assert_eq!((reply.status, details.strip_prefix("edge_authn_")), (status, Some(label)), "{reply:?}");
        assert!(!reply.body.is_empty(), "some hosts put a page of their own in place of an empty body");
        let retry_after = reply.headers.get("retry-after");
        assert_eq!(retry_after.is_some(), status == 503, "{reply:?}");
    }

    #[track_caller]
    pub fn assert_keys_unavailable(&self, stream: StreamId, retry_after: &str) {
        self.assert_refused(stream, 503, "keys_unavailable");
        let reply = self.host.reply(stream);
        assert_eq!(reply.headers.get("retry-after"), Some(retry_after.as_bytes()), "{reply:?}");
    }

    #[track_caller]
    pub fn assert_waits(&self, stream: StreamId) {
        assert_eq!(self.host.outcome(stream), Outcome::Paused);
    }

    /// The log lines of at least this level.
    pub fn logged(&self, level: Level) -> Vec<&str> {
        let lines = self.host.logs().iter().filter(|log| log.level >= level);
        lines.map(|log| log.text.as_str()).collect()
    }
}

impl AsRef<Host> for Scene {
    fn as_ref(&self) -> &Host {
        &self.host
    }
}

impl AsMut<Host> for Scene {
    fn as_mut(&mut self) -> &mut Host {
        &mut self.host
    }
}

/// `count` workers of one process, each with a running filter.
pub fn workers(count: usize, configuration: &Value) -> Fleet<Scene> {
    workers_on(Profile::envoy(), count, configuration)
}

pub fn workers_on(profile: Profile, count: usize, configuration: &Value) -> Fleet<Scene> {
    workers_beside(host(profile), count, configuration)
}

/// `first` is one of the workers, and what it shares is there from the start.
pub fn workers_beside(first: Host, count: usize, configuration: &Value) -> Fleet<Scene> {
    let others: Vec<_> =
        (1..count).map(|_| first.beside().unwrap_or_else(|error| panic!("{error}"))).collect();
    let hosts = [first].into_iter().chain(others);
    Fleet::new(hosts.map(|host| Scene::start_on(host, configuration)))
}

impl Fleet<Scene> {
    /// Workers that have the keys, fetched by one of them.
    pub fn with_keys(count: usize) -> Self {
        let mut fleet = workers(count, &configuration(json!({})));
        fleet.fetch_keys();
        fleet
    }

    /// One worker fetches the keys, and the others have noticed.
    #[track_caller]
    pub fn fetch_keys(&mut self) {
        let call = self.call();
        self.give_keys(&call, &[&KEY]);
        self.advance(IDLE_PICK_UP);
        self.assert_no_call();
    }

    /// Lets the workers act, and gives the one call that all of them wait for, with the worker that made it.
    #[track_caller]
    pub fn call(&mut self) -> (usize, Call) {
        self.advance(PICK_UP);
        let calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls[0].clone()
    }

    #[track_caller]
    pub fn assert_no_call(&mut self) {
        self.advance(PICK_UP);
        assert_eq!(self.calls(), []);
    }

    /// Lets time pass until a worker calls, at most for `limit`.
    #[track_caller]
    pub fn next_call_within(&mut self, limit: Duration) -> (usize, Call) {
        let until = self.now() + limit;
        while self.calls().is_empty() {
            assert!(self.now() < until, "no call within {limit:?}");
            self.advance(Duration::from_millis(100));
        }
        self.call()
    }

    pub fn give_keys(&mut self, (worker, call): &(usize, Call), keys: &[&SigningKey]) {
        self[*worker].give_keys(call, keys);
    }

    /// This request arrives at each worker.
    pub fn request(&mut self, request: &Headers) -> Vec<StreamId> {
        self.iter_mut().map(|worker| worker.host.request(request.clone())).collect()
    }

    /// Each worker's request of [`request`](Self::request) has gone on as `alice`.
    #[track_caller]
    pub fn assert_passed(&mut self, streams: &[StreamId]) {
        assert_eq!(self.len(), streams.len());
        for (worker, stream) in self.iter_mut().zip(streams) {
            assert_eq!(worker.assert_passed(*stream).as_deref(), Some(b"alice".as_slice()));
        }
    }

    /// Each worker lets a good request pass at once.
    #[track_caller]
    pub fn pass(&mut self) {
        let streams = self.request(&good("/"));
        self.assert_passed(&streams);
    }

    /// Each worker refuses this at once.
    #[track_caller]
    pub fn refuse(&mut self, request: &Headers, status: u32, label: &str) {
        self.iter_mut().for_each(|worker| worker.refuse(request.clone(), status, label));
    }

    #[track_caller]
    pub fn assert_wait(&self, streams: &[StreamId]) {
        self.iter().zip(streams).for_each(|(worker, stream)| worker.assert_waits(*stream));
    }
}

/// `/open` is open, `/optional` takes a missing token, everything else needs a good one. The provider has `extra`.
pub fn configuration(extra: Value) -> Value {
    json!({
        "providers": { "acme": provider("idp", extra) },
        "realm": "acme",
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "prefix": "/optional" }, "requires": { "allow_missing": {} } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } },
        ],
    })
}

/// A provider whose keys are at `cluster`, good for five minutes. In `extra`, null takes a field away.
pub fn provider(cluster: &str, extra: Value) -> Value {
    let mut provider = json!({
        "issuer": ISSUER,
        "audiences": ["api"],
        "remote_jwks": {
            "http_uri": { "uri": "https://idp.example/jwks.json", "cluster": cluster, "timeout": "2s" },
            "cache_duration": "300s",
        },
        "claim_to_headers": [
            { "header_name": "x-user-id", "claim_name": "sub" },
            { "header_name": "x-roles", "claim_name": "roles" },
        ],
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        provider[name] = value.clone();
    }
    provider.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    provider
}

/// Claims that are good for a week, with `extra` on top.
pub fn claims(extra: Value) -> Value {
    let expires = START.as_secs() + 7 * 24 * 3600;
    let mut claims = json!({ "iss": ISSUER, "aud": "api", "sub": "alice", "exp": expires });
    for (name, value) in extra.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    claims
}

/// The headers of a request.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// A `GET` of `path` with these fields.
pub fn get<N: AsRef<[u8]>, V: AsRef<[u8]>>(path: impl AsRef<[u8]>, fields: &[(N, V)]) -> Headers {
    let pseudo = [
        (":method", b"GET".as_slice()),
        (":path", path.as_ref()),
        (":authority", b"gw"),
        (":scheme", b"http"),
    ];
    let pseudo = pseudo.map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()));
    let fields = fields.iter().map(|(name, value)| (name.as_ref().to_vec(), value.as_ref().to_vec()));
    pseudo.into_iter().chain(fields).collect()
}

/// A `GET` with a bearer token.
pub fn bearer(path: &str, token: &str) -> Headers {
    get(path, &[("authorization", format!("Bearer {token}"))])
}

/// A request that passes as `alice` once there are keys.
pub fn good(path: &str) -> Headers {
    bearer(path, &KEY.sign(&claims(json!({}))))
}

/// A request whose token is signed by `key`, and good wherever that key is known.
pub fn signed_by(key: &SigningKey) -> Headers {
    bearer("/", &key.sign(&claims(json!({}))))
}

/// A request without a credential.
pub fn anonymous(path: &str) -> Headers {
    get(path, &[("accept", "*/*")])
}

pub fn with(mut request: Headers, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Headers {
    request.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
    request
}
