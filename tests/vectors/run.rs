//! The outside vectors as a function: which cases come out otherwise than they must.
//!
//! Shared by the native suite and the one on 32-bit WebAssembly, so that both run the very same cases.

use edge_authn::config::{Config, Provider};
use edge_authn::jose::algorithm::{Algorithm, SignatureVerifier};
use edge_authn::jose::jwk::{JwkSet, KeyOrigin};
use edge_authn::jose::token::CompactToken;
use edge_authn::time::UnixTime;
use edge_authn::verify::verify_signature;
use serde::Deserialize;
use serde_json::Value;

/// 2026-01-01, for cases that hold at any date.
const ANY_DATE: u64 = 1_767_225_600;

#[derive(Deserialize)]
struct Case {
    id: String,
    layer: String,
    jwks: Value,
    token: String,
    now: Option<u64>,
    expect: String,
    config: CaseConfig,
    tags: Vec<String>,
}

/// Policies that vectors may ask for and that are deliberately not ours: the ROCA fingerprint of one vendor's RSA keys
/// (CVE-2017-15361) is for whoever issues keys to check.
const OTHER_POLICIES: [&str; 1] = ["policy:roca"];

#[derive(Deserialize)]
struct CaseConfig {
    skew: u64,
    #[serde(default)]
    allow_hs: bool,
    #[serde(default)]
    require_exp: bool,
    iss: Option<String>,
    /// One audience or several.
    #[serde(default)]
    aud: Value,
}

/// What the run found.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// Cases that were accepted and must be.
    pub(crate) accepted: usize,
    /// Cases that were refused and must be.
    pub(crate) refused: usize,
    /// Cases to refuse by a policy that is not ours; they were accepted.
    pub(crate) other_policy: usize,
    /// Everything else, with the reason.
    pub(crate) wrong: Vec<String>,
}

impl Summary {
    /// How many cases were run.
    pub(crate) fn total(&self) -> usize {
        self.accepted + self.refused + self.other_policy + self.wrong.len()
    }
}

/// Runs every case, with somebody else who may verify signatures.
pub(crate) fn run(other: &dyn SignatureVerifier) -> Summary {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("jws_cases.json")).expect("the vectors are JSON");
    let mut summary = Summary::default();
    for case in &cases {
        let verdict = case.verdict(other);
        match (case.expect.as_str(), &verdict) {
            ("accept", Ok(())) => summary.accepted += 1,
            ("reject", Err(_)) => summary.refused += 1,
            ("reject", Ok(())) if case.has_other_policy() => summary.other_policy += 1,
            _ => summary.wrong.push(format!("{}: expected {}, got {verdict:?}", case.id, case.expect)),
        }
    }
    summary
}

impl Case {
    fn verdict(&self, other: &dyn SignatureVerifier) -> Result<(), String> {
        let origin = if self.config.allow_hs { KeyOrigin::Configuration } else { KeyOrigin::Fetched };
        let keys =
            JwkSet::parse(self.jwks.to_string().as_bytes(), origin).map_err(|error| error.to_string())?;
        let compact = CompactToken::decode(&self.token).map_err(|error| error.to_string())?;
        if self.layer == "jws" {
            let header = compact.header().map_err(|error| error.to_string())?;
            let verified = keys.verify_with(&header, &compact, &Algorithm::ALL, |_| true, other);
            return verified.map(drop).map_err(|error| format!("{error:?}"));
        }
        let token = compact.parse().map_err(|error| error.to_string())?;
        let now = UnixTime::from_secs(self.now.unwrap_or(ANY_DATE));
        let provider = self.provider();
        let signed = verify_signature(&token, &provider, &keys, other).map_err(|error| error.to_string())?;
        signed.identity(&provider.audiences, now).map(|_| ()).map_err(|error| error.to_string())
    }

    fn provider(&self) -> Provider {
        let configuration = serde_json::json!({ "providers": { "p": {
            "issuer": self.config.iss.as_deref().unwrap_or_default(),
            "audiences": self.audiences(),
            "require_expiration": self.config.require_exp,
            "clock_skew_seconds": self.config.skew,
            "remote_jwks": { "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" } },
        } } });
        let mut config =
            Config::parse(configuration.to_string().as_bytes(), &|_| None).expect("a valid configuration");
        let mut provider = config.providers.pop().expect("one provider");
        // The keys are the case's, whoever vouches for them.
        provider.algorithms = Algorithm::ALL.to_vec();
        provider
    }

    fn audiences(&self) -> Value {
        match &self.config.aud {
            Value::Null => serde_json::json!([]),
            Value::String(one) => serde_json::json!([one]),
            several => several.clone(),
        }
    }

    fn has_other_policy(&self) -> bool {
        self.tags.iter().any(|tag| OTHER_POLICIES.contains(&tag.as_str()))
    }
}
