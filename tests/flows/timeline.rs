//! Schedules of keys as scripts: what happens when, and what comes of it.
//!
//! A line is `t=<seconds> [<worker>] <event> -> <outcome>`. Workers are letters (`a` when none is named), each with an
//! engine of its own, over one shared space.
//!
//! | event | outcome |
//! |---|---|
//! | `request` | `pass`, `wait`, `401`, or `503 <seconds>` of a token of the provider's first key |
//! | `request <kid>` | the same of a token of another key; with `forged`, `expired` behind it, one that is not good |
//! | `tick` | `-`, or `fetch` with the path, if it is not that of the keys, and the entity tag that is sent |
//! | `keys <kid>...` | the answer to the oldest call of this worker: `-`, or the call that follows from it; with `max-age=<seconds>` and `etag=<tag>` |
//! | `metadata <issuer> <jwks_uri>` | the same for metadata |
//! | `<status>`, `reset` | another answer |
//! | `ends`, `dies` | the worker is gone, with or without a last word: `-` |

use std::collections::BTreeMap;
use std::time::Duration;

use edge_authn::call::CallReply;
use edge_authn::config::{Config, KeySource};
use edge_authn::engine::{Decision, Engine};
use edge_authn::keys::{Fetch, Jitter, LocalSpace, SharedSpace as _, record};
use edge_authn::rejection::Rejection;
use edge_authn::request::{HeaderField, RequestHead};
use edge_authn::time::UnixTime;
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::{self, SigningKey};

/// The workers of one process.
pub struct Workers {
    configuration: Value,
    workers: BTreeMap<char, Worker>,
    space: LocalSpace,
    keys: BTreeMap<String, SigningKey>,
    /// What pauses differ by, if they do.
    seed: Option<u64>,
}

struct Worker {
    engine: Engine,
    in_flight: Vec<Fetch>,
}

/// Plays a script; a line whose outcome is another one fails.
#[track_caller]
pub fn play(configuration: &Value, script: &str) {
    Workers::of(configuration).play(script);
}

impl Workers {
    /// Workers whose pauses are as long as they may be.
    pub fn of(configuration: &Value) -> Self {
        Self {
            configuration: configuration.clone(),
            workers: BTreeMap::new(),
            space: LocalSpace::default(),
            keys: BTreeMap::new(),
            seed: None,
        }
    }

    /// Workers of a gateway whose pauses differ from those of others.
    pub fn spread(configuration: &Value, seed: u64) -> Self {
        Self { seed: Some(seed), ..Self::of(configuration) }
    }

    /// Whether the worker `a` fetches something at `t=second`, which is under way then.
    pub fn is_due(&mut self, second: u64) -> bool {
        self.event('a', &["tick"], UnixTime::from_secs(START + second), "tick") != "-"
    }

    /// The configuration that workers from now on have.
    pub fn reconfigure(&mut self, configuration: &Value) {
        self.configuration = configuration.clone();
    }

    /// The record that the workers share, if there is just one.
    pub fn shared(&mut self) -> Option<Vec<u8>> {
        let name = self.record_name();
        self.space.get(&name).map(|(record, _)| record)
    }

    pub fn shared_bytes(&mut self) -> usize {
        self.shared().unwrap().len()
    }

    /// Writes over it, as any filter of the process could.
    pub fn write_shared(&mut self, bytes: &[u8]) {
        let name = self.record_name();
        let (_, version) = self.space.get(&name).unwrap();
        assert!(self.space.put(&name, bytes, Some(version)));
    }

    fn record_name(&self) -> String {
        let config = Config::parse(self.configuration.to_string().as_bytes(), &|_| None).expect("valid");
        let KeySource::Remote(remote) = &config.providers[0].keys else { panic!("local keys") };
        record::name(remote)
    }

    #[track_caller]
    pub fn play(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (at, rest) = line.strip_prefix("t=").and_then(|line| line.split_once(' ')).expect(line);
            let (event, expected) = rest.split_once("->").expect(line);
            let at = Duration::from_secs(START) + Duration::from_secs_f64(at.parse().expect(line));
            let mut words: Vec<_> = event.split_whitespace().collect();
            let name = match words.first().and_then(|word| word.chars().next().filter(|_| word.len() == 1)) {
                Some(name) => {
                    words.remove(0);
                    name
                }
                None => 'a',
            };
            let outcome = self.event(name, &words, UnixTime::new(at), line);
            assert_eq!(outcome, expected.trim(), "{line}");
        }
    }

    fn event(&mut self, name: char, words: &[&str], now: UnixTime, line: &str) -> String {
        if !self.workers.contains_key(&name) {
            let config = Config::parse(self.configuration.to_string().as_bytes(), &|_| None).expect("valid");
            let jitter = self.seed.map_or(Jitter::even(1), Jitter::from_seed);
            let mut engine = Engine::new(config, jitter);
            engine.sync(now, &mut self.space);
            self.workers.insert(name, Worker { engine, in_flight: Vec::new() });
        }
        let (event, words) = words.split_first().expect(line);
        let request = (*event == "request").then(|| self.request(words));
        let reply = (*event == "keys").then(|| self.key_set(words));
        let worker = self.workers.get_mut(&name).expect(line);
        match *event {
            "request" => outcome(worker.engine.decide(&request.expect(line), now).decision, line),
            "tick" => {
                let due = worker.engine.fetches(now, &mut self.space);
                let calls: Vec<_> = due.iter().map(describe).collect();
                worker.in_flight.extend(due);
                if calls.is_empty() { "-".to_owned() } else { calls.join(", ") }
            }
            "ends" => {
                worker.engine.release(&mut self.space);
                self.workers.remove(&name);
                "-".to_owned()
            }
            "dies" => {
                self.workers.remove(&name);
                "-".to_owned()
            }
            "keys" => {
                let (headers, body) = reply.expect(line);
                let reply = CallReply::Response { status: 200, headers: &headers, body: body.as_bytes() };
                self.settle(name, reply, now)
            }
            "metadata" => {
                let body = json!({ "issuer": words[0], "jwks_uri": words.get(1) }).to_string();
                let reply = CallReply::Response { status: 200, headers: &[], body: body.as_bytes() };
                self.settle(name, reply, now)
            }
            "reset" => self.settle(name, CallReply::Failure, now),
            status => {
                let headers = self.headers(words);
                let status = status.parse().expect(line);
                self.settle(name, CallReply::Response { status, headers: &headers, body: b"no keys" }, now)
            }
        }
    }

    fn settle(&mut self, name: char, reply: CallReply<'_>, now: UnixTime) -> String {
        let worker = self.workers.get_mut(&name).unwrap();
        let fetch = worker.in_flight.remove(0);
        match worker.engine.settle(fetch, reply, now, &mut self.space) {
            Ok(Some(next)) => {
                let call = describe(&next);
                worker.in_flight.insert(0, next);
                call
            }
            _ => "-".to_owned(),
        }
    }

    fn key(&mut self, key_id: &str) -> &SigningKey {
        self.keys.entry(key_id.to_owned()).or_insert_with(|| SigningKey::es256(key_id))
    }

    fn request(&mut self, words: &[&str]) -> RequestHead {
        let exp = START + 1_000_000_000;
        let good = claims(json!({ "exp": exp }));
        let token = match words {
            [] => KEY.sign(&good),
            [key_id] => self.key(key_id).sign(&good),
            [key_id, "expired"] => self.key(key_id).sign(&claims(json!({ "exp": START - 1000 }))),
            [key_id, "forged"] => SigningKey::es256(key_id).sign(&good),
            other => panic!("{other:?}"),
        };
        get_with("/", &token)
    }

    fn key_set(&mut self, words: &[&str]) -> (Vec<HeaderField>, String) {
        let key_ids: Vec<_> = words.iter().filter(|word| !word.contains('=')).collect();
        let document = if key_ids.is_empty() {
            jwks()
        } else {
            for key_id in &key_ids {
                self.key(key_id);
            }
            tokens::jwks(key_ids.iter().map(|key_id| &self.keys[**key_id])).to_string()
        };
        (self.headers(words), document)
    }

    fn headers(&self, words: &[&str]) -> Vec<HeaderField> {
        let field = |name: &str, value: String| (name.as_bytes().to_vec(), value.into_bytes());
        let fields = words.iter().filter_map(|word| match word.split_once('=')? {
            ("max-age", seconds) => Some(field("cache-control", format!("max-age={seconds}"))),
            ("etag", tag) => Some(field("etag", format!("\"{tag}\""))),
            other => panic!("{other:?}"),
        });
        fields.collect()
    }
}

fn outcome(decision: Decision, line: &str) -> String {
    match decision {
        Decision::Forward(_) => "pass".to_owned(),
        Decision::Await(_) => "wait".to_owned(),
        Decision::Refuse(Rejection::KeysUnavailable { retry_after }) => {
            format!("503 {}", retry_after.as_secs_f64())
        }
        Decision::Refuse(rejection) if rejection.status() == 401 => "401".to_owned(),
        Decision::Refuse(other) => panic!("{line}: {other}"),
    }
}

fn describe(fetch: &Fetch) -> String {
    let mut words = vec!["fetch".to_owned()];
    words.extend(Some(fetch.endpoint.path.clone()).filter(|path| path != "/jwks.json"));
    words.extend(fetch.if_none_match.clone());
    words.join(" ")
}
