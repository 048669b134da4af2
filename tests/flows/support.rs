//! A gateway without a host: an engine, a clock that is set by hand, and an upstream that shows what it would receive.

use std::sync::LazyLock;
use std::time::Duration;

use edge_authn::call::CallReply;
use edge_authn::config::{Answers, Config};
use edge_authn::engine::{Decision, Engine};
use edge_authn::keys::{Fetch, Jitter, LocalSpace};
use edge_authn::rejection::{Rejection, Reply};
use edge_authn::request::HeaderEdit;
use edge_authn::request::RequestHead;
use edge_authn::time::UnixTime;
use serde_json::{Value, json};

use crate::tokens::{self, SigningKey};

/// The time at which every flow starts.
pub const START: u64 = 1_800_000_000;

pub const ISSUER: &str = "https://idp.example";

/// The key of the provider `acme`.
pub static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::es256("acme-1"));

/// A key that no provider knows.
pub static STRANGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::es256("acme-1"));

pub struct Gateway {
    pub engine: Engine,
    pub now: UnixTime,
    pub space: LocalSpace,
    /// The fetches that have not been answered, in their order.
    pub in_flight: Vec<Fetch>,
}

/// A request that reached the upstream: its fields in order.
#[derive(Debug, PartialEq)]
pub struct Received(pub Vec<(String, String)>);

impl Gateway {
    pub fn new(configuration: &Value) -> Self {
        let config =
            Config::parse(configuration.to_string().as_bytes(), &|_| None).expect("a valid configuration");
        Self::of(config)
    }

    pub fn of(config: Config) -> Self {
        Self {
            engine: Engine::new(config, Jitter::even(1)),
            now: UnixTime::from_secs(START),
            space: LocalSpace::default(),
            in_flight: Vec::new(),
        }
    }

    /// One provider `acme` with the local key, one rule that needs it everywhere, `/open` open, `/optional` optional;
    /// the provider has `extra` on top.
    pub fn with_provider(extra: Value) -> Self {
        Self::new(&configuration(extra))
    }

    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    pub fn decide(&mut self, head: &RequestHead) -> Decision {
        self.engine.decide(head, self.now).decision
    }

    /// What the upstream receives of this request.
    #[track_caller]
    pub fn forward(&mut self, head: &RequestHead) -> Received {
        match self.decide(head) {
            Decision::Forward(edits) => Received::of(head, edits.iter()),
            other => panic!("expected the request to be forwarded, got {other:?}"),
        }
    }

    #[track_caller]
    pub fn refuse(&mut self, head: &RequestHead) -> Rejection {
        match self.decide(head) {
            Decision::Refuse(rejection) => rejection,
            other => panic!("expected the request to be refused, got {other:?}"),
        }
    }

    #[track_caller]
    pub fn reply(&mut self, head: &RequestHead) -> Reply {
        self.refuse(head).reply(&Answers { realm: "test".to_owned(), ..Answers::default() }, head)
    }

    /// Lets the gateway fetch what is due. How many fetches that are.
    pub fn tick(&mut self) -> usize {
        let due = self.engine.fetches(self.now, &mut self.space);
        let count = due.len();
        self.in_flight.extend(due);
        count
    }

    /// Decides a request on a host without timers. Whether it has to fetch by itself.
    pub fn fetch_itself(&mut self, head: &RequestHead) -> bool {
        let decision = self.decide(head);
        let fetch = self.engine.own_fetch(&decision, self.now, &mut self.space);
        let is_there = fetch.is_some();
        self.in_flight.extend(fetch);
        is_there
    }

    /// Answers the oldest fetch that is under way. Whether there are keys now.
    pub fn answer(&mut self, status: u16, body: &str) -> bool {
        self.settle(CallReply::Response { status, headers: &[], body: body.as_bytes() })
    }

    /// The same with any kind of reply.
    pub fn settle(&mut self, reply: CallReply<'_>) -> bool {
        let fetch = self.in_flight.remove(0);
        self.engine.settle(fetch, reply, self.now, &mut self.space).is_ok()
    }
}

impl Received {
    fn of<'e>(head: &RequestHead, edits: impl Iterator<Item = &'e HeaderEdit>) -> Self {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for name in head.names() {
            if !fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                let text = std::str::from_utf8(name).unwrap();
                fields.extend(head.values(text).map(|value| (name.to_vec(), value.to_vec())));
            }
        }
        for edit in edits {
            match edit {
                HeaderEdit::Remove { name } => fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name)),
                HeaderEdit::Replace { name, value } => {
                    fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
                    fields.push((name.clone(), value.clone()));
                }
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self(fields.into_iter().map(|(name, value)| (text(name).to_ascii_lowercase(), text(value))).collect())
    }

    /// Every value of one field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

pub fn configuration(extra: Value) -> Value {
    let mut provider = json!({
        "issuer": ISSUER,
        "local_jwks": { "inline_string": tokens::jwks([&*KEY]).to_string() },
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        provider[name] = value.clone();
    }
    json!({
        "providers": { "acme": provider },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "path": "/optional" }, "requires": { "allow_missing": {} } },
            { "match": { "path": "/whatever" }, "requires": { "allow_missing_or_failed": {} } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } },
        ],
    })
}

/// The same with its keys at a server.
pub fn remote_configuration(cache_duration: &str) -> Value {
    let mut configuration = configuration(json!({ "local_jwks": null }));
    configuration["providers"]["acme"]["remote_jwks"] = json!({
        "http_uri": { "uri": "https://idp.example/jwks.json", "cluster": "idp", "timeout": "2s" },
        "cache_duration": cache_duration,
    });
    configuration
}

pub fn jwks() -> String {
    tokens::jwks([&*KEY]).to_string()
}

/// Claims that are good for an hour, with `extra` added or (by `null`) taken away.
pub fn claims(extra: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "sub": "alice", "exp": START + 3600 });
    for (name, value) in extra.as_object().into_iter().flatten() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

pub fn good_token() -> String {
    KEY.sign(&claims(json!({})))
}

/// A `GET` of `path` with these fields.
pub fn get<N: AsRef<[u8]>, V: AsRef<[u8]>>(path: &str, fields: &[(N, V)]) -> RequestHead {
    let pseudo =
        [(":method", "GET"), (":path", path), (":authority", "gateway.example"), (":scheme", "http")];
    let pseudo = pseudo.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let fields = fields.iter().map(|(name, value)| (name.as_ref().to_vec(), value.as_ref().to_vec()));
    RequestHead::new(pseudo.into_iter().chain(fields).collect())
}

/// A `GET` of `path` with a bearer token.
pub fn get_with(path: &str, token: &str) -> RequestHead {
    get(path, &[("authorization", format!("Bearer {token}"))])
}

pub fn without_credential(path: &str) -> RequestHead {
    get(path, &[("accept", "*/*")])
}
