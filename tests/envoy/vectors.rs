//! The outside vectors over HTTP: what a client sees who sends each of the tokens, at the time it is now.
//!
//! One gateway has them all: each distinct pair of key set and configuration is a provider with a path of its own.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use edge_authn::config::Config;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Proxy;
use crate::scene::assert_no_vm_failure;
use crate::support::{JwksServer, Request, Upstream};

/// Instead of a status, for cases that need no gateway: their configuration is refused.
const NOT_LOADED: &str = "refused when it is loaded";

#[derive(Deserialize)]
struct Case {
    id: String,
    jwks: Value,
    token: String,
    config: Value,
    gateway: String,
}

/// A provider, and what sets it apart from the others.
struct Provider {
    name: String,
    fields: Value,
    /// Where its keys are, when they are not in the configuration.
    keys: Option<JwksServer>,
}

impl Provider {
    async fn of(case: &Case, name: String) -> Self {
        let config = &case.config;
        let mut fields = json!({
            "issuer": config["iss"].as_str().unwrap_or_default(),
            "audiences": match &config["aud"] {
                Value::Null => json!([]),
                Value::String(one) => json!([one]),
                several => several.clone(),
            },
            "require_expiration": config["require_exp"].as_bool().unwrap_or(false),
            "clock_skew_seconds": config["skew"],
        });
        // Shared secrets count as configured locally or, in a set that is fetched, not at all.
        if config["allow_hs"] == true {
            fields["local_jwks"] = json!({ "inline_string": case.jwks.to_string() });
            return Self { name, fields, keys: None };
        }
        let keys = JwksServer::start(&case.jwks).await;
        fields["remote_jwks"] = json!({ "http_uri": { "uri": keys.uri(), "cluster": name } });
        Self { name, fields, keys: Some(keys) }
    }

    fn is_loaded(&self) -> bool {
        let alone = json!({ "providers": { &self.name: self.fields } }).to_string();
        Config::parse(alone.as_bytes(), &|_| None).is_ok()
    }

    fn rule(&self) -> Value {
        json!({ "match": { "prefix": format!("/{}/", self.name) }, "requires": { "provider_name": self.name } })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_outside_vector_comes_out_over_http_as_it_must_where_the_filter_verifies() {
    assert_eq!(every_vector("wasm").await, BTreeMap::new());
}

/// Holds every case against this `crypto`, and gives the counters of signatures that the host had no answer to.
pub async fn every_vector(crypto: &str) -> BTreeMap<String, u64> {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../vectors/jws_cases.json")).unwrap();
    let mut providers: BTreeMap<String, Provider> = BTreeMap::new();
    let setup = |case: &Case| format!("{}{}", case.jwks, case.config);
    for case in &cases {
        let name = format!("p{}", providers.len());
        if let Entry::Vacant(free) = providers.entry(setup(case)) {
            free.insert(Provider::of(case, name).await);
        }
    }

    // A configuration that is refused refuses every token, and would refuse those of the others here too.
    let loaded: Vec<_> = providers.values().filter(|provider| provider.is_loaded()).collect();
    let fields: Map<_, _> = loaded.iter().map(|one| (one.name.clone(), one.fields.clone())).collect();
    let rules: Vec<_> = loaded.iter().map(|provider| provider.rule()).collect();
    let configuration = json!({ "providers": fields, "rules": rules, "default": "deny", "crypto": crypto });
    let upstream = Upstream::start().await;
    let mut proxy = Proxy::with_filter(configuration, &upstream);
    for provider in &loaded {
        if let Some(keys) = &provider.keys {
            proxy = proxy.cluster(&provider.name, keys.address());
        }
    }
    let proxy = proxy.start().await;

    let mut verdicts: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in &cases {
        let provider = &providers[&setup(case)];
        let (verdict, answer) = if provider.is_loaded() {
            let request = Request::get(&format!("/{}/", provider.name)).bearer(&case.token);
            let status = request.send(proxy.gateway()).await.status;
            (if status == 200 { "accept" } else { "reject" }, status.to_string())
        } else {
            ("reject", NOT_LOADED.to_owned())
        };
        if verdict != case.gateway {
            wrong.push(format!("{}: expected {}, got {answer}", case.id, case.gateway));
        }
        *verdicts.entry(answer).or_default() += 1;
    }

    println!("{verdicts:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(verdicts.values().sum::<usize>(), 682, "no case was left out");
    assert_eq!(verdicts[NOT_LOADED], 18, "sets of secrets that are too short, or whose alg is no HMAC");
    let known = ["200", "400", "401", "503", NOT_LOADED];
    assert!(verdicts.keys().all(|answer| known.contains(&answer.as_str())), "{verdicts:?}");
    assert_eq!(upstream.requests().len(), verdicts["200"], "nothing refused reached the upstream");
    assert_no_vm_failure(&proxy).await;
    proxy.stats("wasmcustom.edge_authn.host_crypto_failed").await
}
