//! How long a verification takes inside the VM of a host, by algorithm and by who does it.
//!
//! A Wasm module of its own, run by `scripts/bench-crypto.sh` in an Envoy and no part of the filter. Each tick is one
//! round in which all contenders take their turn, so that a machine that is slow for a while is slow for all of them;
//! what counts is the median of a contender. It logs a table, and the end of it.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement that cannot be made is to stop with a message"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge_authn::host_crypto::HostCrypto;
use edge_authn::jose::algorithm::{Algorithm, NobodyElse, SignatureVerifier};
use edge_authn::jose::base64url;
use edge_authn::jose::jwk::{JwkSet, KeyOrigin};
use edge_authn::jose::token::CompactToken;
use jwt_compact::alg::{Hs256, Hs256Key, Hs384, Hs384Key, Hs512, Hs512Key, Rsa};
use jwt_compact::{Algorithm as _, AlgorithmSignature as _};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, RootContext};
use proxy_wasm::types::LogLevel;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use serde::Deserialize;
use serde_json::json;

const ROUNDS: usize = 15;
/// How long a contender's turn takes.
const TURN: Duration = Duration::from_millis(10);
const SECRET: &[u8; 64] = &[7; 64];

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Bench { contenders: contenders() }));
}}

struct Bench {
    contenders: Vec<Contender>,
}

/// Who verifies a token.
struct Contender {
    /// What is verified, and by whom: a row and a column of the table.
    name: (String, &'static str),
    verify: Box<dyn Fn() -> bool>,
    /// The microseconds of a verification in each round.
    rounds: Vec<f64>,
}

/// Keys and tokens that OpenSSL made.
#[derive(Deserialize)]
struct Keys {
    usable: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    key: String,
    forms: BTreeMap<String, String>,
    tokens: BTreeMap<String, String>,
}

const FILTER: &str = "filter";
const HOST: &str = "host";
const JWT_COMPACT: &str = "jwt-compact";

fn contenders() -> Vec<Contender> {
    let keys: Keys = serde_json::from_str(include_str!("../../tests/vectors/openssl_keys.json")).unwrap();
    let mut contenders = Vec::new();
    for Key { key, forms, tokens } in keys.usable {
        let is_common = matches!(key.as_str(), "RSA 2048" | "RSA 4096") || !key.starts_with("RSA");
        for (algorithm, token) in tokens.into_iter().filter(|_| is_common) {
            let document = &forms["public_key"];
            let name = format!("{algorithm}, {key}");
            contenders.push(Contender::ours(&name, FILTER, document, &token, NobodyElse));
            let call = |argument: &[u8]| {
                let result = hostcalls::call_foreign_function("verify_signature", Some(argument));
                result.map(Option::unwrap_or_default).map_err(|status| format!("{status:?}"))
            };
            let algorithm = Algorithm::from_name(&algorithm).unwrap();
            let host = HostCrypto::probe(Box::new(call), &[algorithm]);
            if matches!(algorithm.name().get(..2), Some("RS" | "ES")) {
                assert_eq!(host.unfit(), [], "{name}");
                contenders.push(Contender::ours(&name, HOST, document, &token, host));
            }
            if algorithm.name().starts_with('R') {
                contenders.push(Contender::jwt_compact(
                    &name,
                    algorithm.name(),
                    &forms["rsa_public_key"],
                    &token,
                ));
            }
        }
    }
    for algorithm in ["HS256", "HS384", "HS512"] {
        let head = base64url::encode(json!({ "alg": algorithm }).to_string().as_bytes());
        let input = format!("{head}.{}", base64url::encode(&[b'p'; 300]));
        let signature = match algorithm {
            "HS256" => Hs256.sign(&Hs256Key::new(SECRET), input.as_bytes()).as_bytes().to_vec(),
            "HS384" => Hs384.sign(&Hs384Key::new(SECRET), input.as_bytes()).as_bytes().to_vec(),
            _ => Hs512.sign(&Hs512Key::new(SECRET), input.as_bytes()).as_bytes().to_vec(),
        };
        let token = format!("{input}.{}", base64url::encode(&signature));
        let document = json!({ "keys": [{ "kty": "oct", "k": base64url::encode(SECRET) }] }).to_string();
        contenders.push(Contender::ours(algorithm, FILTER, &document, &token, NobodyElse));
    }
    contenders
}

impl Contender {
    fn ours(
        name: &str,
        by: &'static str,
        document: &str,
        token: &str,
        other: impl SignatureVerifier + 'static,
    ) -> Self {
        let keys = JwkSet::parse(document.as_bytes(), KeyOrigin::Configuration).unwrap();
        let token = token.to_owned();
        // Decoded once: only the signature is measured.
        let compact = CompactToken::decode(token.leak()).unwrap();
        let header = compact.header().unwrap();
        let verify = move || keys.verify_with(&header, &compact, &Algorithm::ALL, |_| true, &other).is_ok();
        Self { name: (name.to_owned(), by), verify: Box::new(verify), rounds: Vec::new() }
    }

    /// The path of `jwt-compact` itself, through the `rsa` crate.
    fn jwt_compact(name: &str, algorithm: &'static str, key: &str, token: &str) -> Self {
        let base64: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        let key = RsaPublicKey::from_pkcs1_der(&STANDARD.decode(base64).unwrap()).unwrap();
        let (input, signature) = token.rsplit_once('.').unwrap();
        let (input, signature) = (input.to_owned(), base64url::decode(signature.as_bytes()).unwrap());
        let scheme = Rsa::with_name(algorithm);
        let verify = move || {
            let signature = rsa_signature(&scheme, &signature);
            scheme.verify_signature(&signature, &key, input.as_bytes())
        };
        Self { name: (name.to_owned(), JWT_COMPACT), verify: Box::new(verify), rounds: Vec::new() }
    }

    fn take_turn(&mut self) {
        assert!((self.verify)(), "{:?}", self.name);
        let start = Instant::now();
        let mut count = 0_u32;
        while start.elapsed() < TURN {
            (self.verify)();
            count += 1;
        }
        self.rounds.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(count));
    }

    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }
}

fn rsa_signature<A: jwt_compact::Algorithm>(_: &A, bytes: &[u8]) -> A::Signature {
    A::Signature::try_from_slice(bytes).unwrap()
}

impl Context for Bench {}

impl RootContext for Bench {
    fn on_configure(&mut self, _: usize) -> bool {
        hostcalls::set_tick_period(Duration::from_millis(1)).unwrap();
        true
    }

    fn on_tick(&mut self) {
        self.contenders.iter_mut().for_each(Contender::take_turn);
        if self.contenders[0].rounds.len() == ROUNDS {
            self.report();
        }
    }
}

impl Bench {
    fn report(&self) {
        let say = |line: &str| hostcalls::log(LogLevel::Warn, &format!("bench-crypto: {line}")).unwrap();
        let time = |name: &str, by| {
            let contender = self.contenders.iter().find(|one| one.name == (name.to_owned(), by));
            contender.map(Contender::median)
        };
        let shown = |time: Option<f64>| time.map_or_else(String::new, |time| format!("{time:.0}"));
        say(&format!("| microseconds | {FILTER} | {HOST} | {JWT_COMPACT} | {JWT_COMPACT} / {FILTER} |"));
        say("|---|---|---|---|---|");
        for Contender { name: (name, by), .. } in &self.contenders {
            if *by == FILTER {
                let [filter, host, other] = [FILTER, HOST, JWT_COMPACT].map(|by| time(name, by));
                let ratio = other.zip(filter).map(|(other, filter)| format!("{:.1}", other / filter));
                let [filter, host, other] = [filter, host, other].map(shown);
                let ratio = ratio.unwrap_or_default();
                say(&format!("| {name} | {filter} | {host} | {other} | {ratio} |"));
            }
        }
        say("end");
    }
}
