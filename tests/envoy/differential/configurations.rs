//! Configurations of `jwt_authn`, of the shapes that its own tests and its fuzzer use: which of them Envoy loads, and
//! which of them the filter loads.
//!
//! What Envoy loads, the filter loads too, or refuses for the reason of a row of the README's table. Configurations of
//! single routes (`PerRouteConfig`) are not here: a Wasm filter has none.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Mode;
use super::case::{Group, extended, requiring};
use super::groups::requirements::{all, any};
use super::world::{ISSUER, OTHER_ISSUER, local};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Envoy, Upstream};
use crate::versions;

/// Those that load nothing need little, but the machine is small.
const ENVOYS_AT_ONCE: usize = 3;

/// What becomes of a configuration.
#[derive(Clone, Copy)]
enum Verdict {
    Loads,
    /// It is refused with a message that has this in it.
    Refused(&'static str),
}

use Verdict::{Loads, Refused};

struct Entry {
    name: &'static str,
    configuration: Value,
    /// In the newest Envoy.
    native: Verdict,
    ours: Verdict,
    /// The row of the README that says why the filter refuses what Envoy loads.
    row: Option<&'static str>,
}

/// The rows of the README that are shown here.
pub fn rows() -> Vec<&'static str> {
    let rows: BTreeSet<_> = entries().iter().filter_map(|entry| entry.row).collect();
    rows.into_iter().collect()
}

/// Whether there is a configuration of this name.
pub fn is_one(name: &str) -> bool {
    entries().iter().any(|entry| entry.name == name)
}

/// What is wrong with leaving out groups that need a younger Envoy: this one must refuse their configurations.
pub async fn too_young_for_envoy(groups: &[Group]) -> Vec<String> {
    let entries: Vec<_> = groups.iter().map(|group| both(group.name, group.configuration.clone())).collect();
    refused_by_envoy(&entries, &Upstream::start().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_load_as_in_jwt_authn_or_are_refused_for_a_documented_reason() {
    let upstream = Upstream::start().await;
    let entries = entries();
    let mut surprises = refused_by_envoy(&entries, &upstream).await;
    // Those that load do it in one Envoy; one that is refused needs an Envoy of its own.
    let loading = entries.iter().filter(|entry| matches!(entry.native(), Loads));
    let envoy = Envoy::without_listeners(&upstream).cluster("idp", upstream.address());
    loading
        .fold(envoy, |envoy, entry| envoy.jwt_authn(entry.name, entry.configuration.clone()))
        .start()
        .await;

    for entry in &entries {
        let must_explain = matches!((&entry.native, &entry.ours), (Loads, Refused(_)));
        assert_eq!(
            entry.row.is_some(),
            must_explain,
            "{}: only what Envoy alone loads has a row",
            entry.name
        );
        surprises.extend(Mode::ALL.into_iter().filter_map(|mode| entry.surprise(mode)));
    }
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

/// Starts an Envoy for each configuration that it must refuse.
async fn refused_by_envoy(entries: &[Entry], upstream: &Upstream) -> Vec<String> {
    let mut refusals = JoinSet::new();
    let permits = Arc::new(Semaphore::new(ENVOYS_AT_ONCE));
    for entry in entries {
        let Refused(reason) = entry.native() else { continue };
        if let Some(complaint) = versions::complaint(entry.name) {
            versions::report_left_out(entry.name, &format!("refused for {complaint}"));
        }
        let envoy = Envoy::without_listeners(upstream).jwt_authn(entry.name, entry.configuration.clone());
        let envoy = envoy.cluster("idp", upstream.address());
        let (name, permits) = (entry.name, Arc::clone(&permits));
        refusals.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            match tokio::spawn(envoy.refused()).await {
                Err(_) => {
                    Some(format!("{name} / jwt_authn: loads, although {reason:?} should stand against it"))
                }
                Ok(log) if log.contains(reason) => None,
                Ok(log) => Some(format!("{name} / jwt_authn: {reason:?} is not in\n{log}")),
            }
        });
    }
    refusals.join_all().await.into_iter().flatten().collect()
}

impl Entry {
    /// What becomes of it in the Envoy that the suite runs in.
    fn native(&self) -> Verdict {
        versions::complaint(self.name).map_or(self.native, Refused)
    }

    /// What the filter does with it, if that is not what it should do.
    fn surprise(&self, mode: Mode) -> Option<String> {
        let found = match (&self.ours, mode.refusal(&self.configuration)) {
            (Loads, None) => return None,
            (Refused(reason), Some(error)) if error.contains(reason) => return None,
            (Loads, Some(error)) => format!("is refused: {error}"),
            (Refused(reason), Some(error)) => format!("{reason:?} is not in {error:?}"),
            (Refused(reason), None) => format!("loads, although {reason:?} should stand against it"),
        };
        Some(format!("{} / {}: {found}", self.name, mode.name()))
    }
}

fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    entries.extend(whole_configurations());
    entries.extend(providers());
    entries.extend(key_sources());
    entries.extend(rules());
    entries
}

/// Both load it.
fn both(name: &'static str, configuration: Value) -> Entry {
    Entry { name, configuration, native: Loads, ours: Loads, row: None }
}

/// Neither loads it.
fn neither(name: &'static str, configuration: Value, native: &'static str, ours: &'static str) -> Entry {
    Entry { name, configuration, native: Refused(native), ours: Refused(ours), row: None }
}

/// Envoy loads it, the filter does not.
fn native_alone(name: &'static str, configuration: Value, row: &'static str, reason: &'static str) -> Entry {
    Entry { name, configuration, native: Loads, ours: Refused(reason), row: Some(row) }
}

/// The filter loads it, Envoy does not.
fn ours_alone(name: &'static str, configuration: Value, native: &'static str) -> Entry {
    Entry { name, configuration, native: Refused(native), ours: Loads, row: None }
}

fn key_set() -> Value {
    jwks([&SigningKey::eddsa("k1")])
}

/// A file with keys that Envoy can read.
fn key_file() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keys.json");
    fs::write(&path, key_set().to_string()).unwrap();
    path
}

fn provider(extra: Value) -> Value {
    extended(json!({ "issuer": ISSUER, "local_jwks": local(&key_set()) }), extra)
}

fn remote_provider(remote_jwks: Value) -> Value {
    json!({ "issuer": ISSUER, "remote_jwks": remote_jwks })
}

fn http_uri(extra: Value) -> Value {
    extended(json!({ "uri": "https://idp.example/jwks.json", "cluster": "idp", "timeout": "5s" }), extra)
}

fn a() -> Value {
    json!({ "provider_name": "a" })
}

fn b() -> Value {
    json!({ "provider_name": "b" })
}

/// A configuration with one provider that is needed everywhere.
fn needing(provider: Value) -> Value {
    requiring(json!({ "a": provider }), a())
}

/// Two providers and this requirement.
fn demanding(requirement: Value) -> Value {
    let other = provider(json!({ "issuer": OTHER_ISSUER }));
    requiring(json!({ "a": provider(json!({})), "b": other }), requirement)
}

/// The whole configurations that the tests of `jwt_authn` are built on.
fn whole_configurations() -> Vec<Entry> {
    let remote = || json!({ "http_uri": http_uri(json!({})), "cache_duration": "600s" });
    let example = |extra: Value| {
        let provider = json!({
            "issuer": ISSUER,
            "audiences": ["example_service", "http://example_service1", "https://example_service2/"],
            "remote_jwks": remote(),
            "forward_payload_header": "sec-istio-auth-userinfo",
        });
        extended(provider, extra)
    };
    let rules = |requires: Value| json!([{ "match": { "path": "/" }, "requires": requires }]);
    let with = |provider: Value, extra: Value| {
        let base = json!({ "providers": { "a": provider }, "rules": rules(a()) });
        extended(base, extra)
    };
    let headers = |name: &str| json!({ "from_headers": [{ "name": name, "value_prefix": "Bearer " }] });
    vec![
        both("an example", with(example(json!({})), json!({}))),
        both(
            "an example with preflights",
            with(example(json!({})), json!({ "bypass_cors_preflight": true })),
        ),
        both(
            "an example with a stripped answer",
            with(example(json!({})), json!({ "strip_failure_response": true })),
        ),
        both("subjects", with(example(json!({ "subjects": { "prefix": "spiffe://" } })), json!({}))),
        both(
            "expirations",
            with(example(json!({ "require_expiration": true, "max_lifetime": "86400s" })), json!({})),
        ),
        both(
            "an optional token",
            with(example(json!({})), json!({ "rules": rules(any([a(), json!({ "allow_missing": {} })])) })),
        ),
        both(
            "claims to headers",
            with(
                example(json!({ "claim_to_headers": [
            { "header_name": "x-jwt-claim-sub", "claim_name": "sub" },
            { "header_name": "x-jwt-claim-nested", "claim_name": "nested.claim.key" },
            { "header_name": "x-jwt-tenants", "claim_name": "tenants" },
        ] })),
                json!({}),
            ),
        ),
        both(
            "a pattern for paths",
            with(
                example(json!({})),
                json!({
                    "rules": [{ "match": { "safe_regex": { "google_re2": {}, "regex": "/somepath/.*" } }, "requires": a() }],
                }),
            ),
        ),
        both(
            "all of two",
            extended(
                demanding(all([a(), b()])),
                json!({
                    "providers": { "a": extended(example(json!({})), headers("x-a")), "b": extended(example(json!({ "issuer": OTHER_ISSUER })), headers("x-b")) },
                }),
            ),
        ),
        both(
            "any of two",
            extended(
                demanding(any([a(), b()])),
                json!({
                    "providers": { "a": extended(example(json!({})), headers("x-a")), "b": extended(example(json!({ "issuer": OTHER_ISSUER })), headers("x-b")) },
                }),
            ),
        ),
        both(
            "requirements for routes",
            with(
                example(json!({})),
                json!({
                    "requirement_map": { "one": a(), "both": all([a(), json!({ "allow_missing_or_failed": {} })]) },
                }),
            ),
        ),
        both("a route cache that is cleared", with(example(json!({ "clear_route_cache": true })), json!({}))),
        both(
            "a token cache",
            with(
                example(json!({ "jwt_cache_config": { "jwt_cache_size": 50, "jwt_max_token_size": 4096 } })),
                json!({}),
            ),
        ),
        both("a prefix of statistics", with(example(json!({})), json!({ "stat_prefix": "extra" }))),
        both(
            "names in camel case",
            json!({
                "providers": { "a": { "issuer": ISSUER, "localJwks": { "inlineString": key_set().to_string() }, "fromHeaders": [{ "name": "x", "valuePrefix": "y " }] } },
                "rules": [{ "match": { "prefix": "/" }, "requires": { "providerName": "a" } }],
            }),
        ),
        both("nothing", json!({})),
        both(
            "a payload in metadata",
            with(example(json!({ "payload_in_metadata": "my_payload" })), json!({})),
        ),
        both("a header in metadata", with(example(json!({ "header_in_metadata": "my_header" })), json!({}))),
        both(
            "a failure in metadata",
            with(example(json!({ "failed_status_in_metadata": "my_status" })), json!({})),
        ),
        both(
            "a normalised payload in metadata",
            with(
                example(json!({
                    "payload_in_metadata": "my_payload", "normalize_payload_in_metadata": { "space_delimited_claims": ["scope"] },
                })),
                json!({}),
            ),
        ),
        both(
            "requirements by filter state",
            with(
                example(json!({})),
                json!({
                    "filter_state_rules": { "name": "jwt_selector", "requires": { "selector": a() } },
                }),
            ),
        ),
    ]
}

fn providers() -> Vec<Entry> {
    let claim = |fields: Value| needing(provider(json!({ "claim_to_headers": [fields] })));
    vec![
        both("a provider without an issuer", needing(provider(json!({ "issuer": "" })))),
        both(
            "a header without a prefix",
            needing(provider(json!({ "from_headers": [{ "name": "x-token" }] }))),
        ),
        both(
            "parameters and cookies",
            needing(provider(json!({ "from_params": ["t"], "from_cookies": ["s"] }))),
        ),
        both(
            "a padded payload",
            needing(provider(json!({ "forward_payload_header": "x-p", "pad_forward_payload_header": true }))),
        ),
        both(
            "a claim by its path",
            claim(json!({ "header_name": "x-c", "claim_path": [{ "key": "a.b" }, { "key": "c" }] })),
        ),
        both("another clock skew", needing(provider(json!({ "clock_skew_seconds": 3600 })))),
        neither(
            "a negative clock skew",
            needing(provider(json!({ "clock_skew_seconds": -1 }))),
            "clock_skew_seconds",
            "clock_skew_seconds",
        ),
        neither(
            "a header without a name",
            needing(provider(json!({ "from_headers": [{ "name": "" }] }))),
            "value length must be at least 1",
            "from_headers[0].name",
        ),
        neither(
            "a line break in the name of a header",
            needing(provider(json!({ "forward_payload_header": "x\ny" }))),
            "ForwardPayloadHeader",
            "forward_payload_header",
        ),
        neither("a claim without a name", claim(json!({ "header_name": "x-c" })), "claim_name", "claim_name"),
        neither(
            "a claim with a name and a path",
            claim(json!({ "header_name": "x-c", "claim_name": "c", "claim_path": [{ "key": "c" }] })),
            "claim_name",
            "claim_name",
        ),
        neither("a field that nobody knows", needing(provider(json!({ "isuer": ISSUER }))), "isuer", "isuer"),
        neither(
            "a lifetime in the past",
            needing(provider(json!({ "max_lifetime": "-1s" }))),
            "Expected positive duration",
            "max_lifetime",
        ),
        neither(
            "a pattern that is none",
            needing(provider(json!({ "subjects": { "safe_regex": { "regex": "(" } } }))),
            "missing )",
            "safe_regex",
        ),
    ]
}

fn key_sources() -> Vec<Entry> {
    let local = |text: String| needing(provider(json!({ "local_jwks": { "inline_string": text } })));
    let remote = |fields: Value| needing(remote_provider(fields));
    let fetched = |fields: Value| remote(json!({ "http_uri": http_uri(fields) }));
    let cached =
        |duration: &str| remote(json!({ "http_uri": http_uri(json!({})), "cache_duration": duration }));
    let without = |name: &str| {
        let mut uri = http_uri(json!({}));
        uri.as_object_mut().unwrap().remove(name);
        remote(json!({ "http_uri": uri }))
    };
    let both_sources =
        extended(provider(json!({})), remote_provider(json!({ "http_uri": http_uri(json!({})) })));
    vec![
        both("fetched keys", fetched(json!({}))),
        both("fetched keys with a port", fetched(json!({ "uri": "http://127.0.0.1:8080/jwks?x=y" }))),
        both(
            "keys that are fetched ahead",
            remote(
                json!({ "http_uri": http_uri(json!({})), "async_fetch": { "fast_listener": true, "failed_refetch_duration": "2s" } }),
            ),
        ),
        both(
            "keys that are fetched again",
            remote(
                json!({ "http_uri": http_uri(json!({})), "retry_policy": { "num_retries": 3, "retry_back_off": { "base_interval": "0.1s", "max_interval": "10s" } } }),
            ),
        ),
        both("a timeout in fractions", fetched(json!({ "timeout": "0.250s" }))),
        ours_alone("no timeout", without("timeout"), "Timeout: value is required"),
        neither(
            "a negative timeout",
            fetched(json!({ "timeout": "-1s" })),
            "Expected positive duration",
            "timeout",
        ),
        neither("a timeout that is no duration", fetched(json!({ "timeout": "soon" })), "timeout", "timeout"),
        native_alone("a timeout of weeks", fetched(json!({ "timeout": "4000000s" })), "durations", "timeout"),
        native_alone("a timeout of 0", fetched(json!({ "timeout": "0s" })), "durations", "timeout"),
        native_alone("keys that are kept for years", cached("1000000000s"), "durations", "cache_duration"),
        neither("keys that are kept too long", cached("9000000000s"), "CacheDuration", "cache_duration"),
        neither("keys that are not kept", cached("0s"), "CacheDuration", "cache_duration"),
        neither("a duration out of range", cached("400000000000s"), "cache_duration", "cache_duration"),
        neither(
            "an address without a scheme",
            fetched(json!({ "uri": "idp.example/jwks.json" })),
            "invalid URI",
            "uri",
        ),
        neither("an address that is none", fetched(json!({ "uri": "http:" })), "invalid URI", "uri"),
        neither("an empty address", fetched(json!({ "uri": "" })), "Uri", "uri"),
        neither("no cluster", fetched(json!({ "cluster": "" })), "Cluster", "cluster"),
        both("a cluster that is not there", fetched(json!({ "cluster": "nowhere" }))),
        neither(
            "no source of keys",
            needing(json!({ "issuer": ISSUER })),
            "jwks_source_specifier",
            "no source of keys",
        ),
        neither("two sources of keys", needing(both_sources), "local_jwks", "a second source of keys"),
        neither("local keys that are no JSON", local("keys".to_owned()), "invalid local jwks", "local_jwks"),
        neither(
            "local keys without a usable one",
            local(json!({ "keys": [{ "kty": "unknown" }] }).to_string()),
            "invalid local jwks",
            "local_jwks",
        ),
        neither(
            "an empty set of local keys",
            local(json!({ "keys": [] }).to_string()),
            "invalid local jwks",
            "local_jwks",
        ),
        both(
            "local keys as bytes",
            needing(provider(
                json!({ "local_jwks": { "inline_bytes": "eyJrZXlzIjpbeyJrdHkiOiJvY3QiLCJrIjoiQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQSJ9XX0=" } }),
            )),
        ),
        native_alone(
            "a trailing comma in local keys",
            local(format!("{{\"keys\":[{},]}}", key_set()["keys"][0])),
            "key-set-form",
            "inline_string",
        ),
        both("certificates by their ids", local(json!({ "k1": CERTIFICATE }).to_string())),
        native_alone(
            "a short secret",
            local(jwks([&SigningKey::hs256("h", b"short")]).to_string()),
            "key-use",
            "at least 32",
        ),
        native_alone(
            "keys in a file",
            needing(provider(json!({ "local_jwks": { "filename": key_file() } }))),
            "key-files",
            "filename",
        ),
        neither(
            "keys in the environment",
            needing(provider(json!({ "local_jwks": { "environment_variable": "HOME" } }))),
            "invalid local jwks",
            "environment_variable",
        ),
    ]
}

fn rules() -> Vec<Entry> {
    let matching = |matches: Value| json!({ "providers": { "a": provider(json!({})) }, "rules": [{ "match": matches, "requires": a() }] });
    let one = |rule: Value| json!({ "providers": { "a": provider(json!({})) }, "rules": [rule] });
    vec![
        both("deeply nested requirements", demanding(any([all([a(), any([b(), all([a(), b()])])]), b()]))),
        both("a requirement of any token", demanding(json!({ "allow_missing_or_failed": {} }))),
        both("claims without a verified token", demanding(json!({ "extract_only_without_validation": {} }))),
        both(
            "audiences of a rule",
            demanding(json!({ "provider_and_audiences": { "provider_name": "a", "audiences": ["x"] } })),
        ),
        both("a rule without a requirement", one(json!({ "match": { "prefix": "/" } }))),
        native_alone(
            "an empty requirement",
            one(json!({ "match": { "prefix": "/" }, "requires": {} })),
            "empty-requirement",
            "no requirement",
        ),
        native_alone(
            "an empty requirement among others",
            demanding(any([a(), json!({})])),
            "empty-requirement",
            "requirement",
        ),
        neither("any of one", demanding(any([a()])), "value must contain at least 2", "requirements"),
        neither("all of none", demanding(all([])), "value must contain at least 2", "requirements"),
        neither(
            "a provider that is not there",
            demanding(json!({ "provider_name": "nobody" })),
            "Required provider ['nobody'] is not configured",
            "provider_name",
        ),
        neither(
            "a requirement that is not there",
            one(json!({ "match": { "prefix": "/" }, "requirement_name": "c" })),
            "Wrong requirement_name",
            "requirement_name",
        ),
        neither(
            "a rule without a match",
            one(json!({ "requires": a() })),
            "Match: value is required",
            "match",
        ),
        neither("an empty match", matching(json!({})), "path_specifier", "match"),
        neither(
            "a template that is none",
            matching(json!({ "path_match_policy": { "name": "t", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig", "path_template": "no/slash",
        } } })),
            "path_template",
            "path_template",
        ),
        neither(
            "a pattern of a rule that is none",
            matching(json!({ "safe_regex": { "regex": "[" } })),
            "missing ]",
            "safe_regex",
        ),
        neither(
            "a separated prefix with a slash at its end",
            matching(json!({ "path_separated_prefix": "/a/" })),
            "PathSeparatedPrefix",
            "path_separated_prefix",
        ),
        native_alone(
            "a part of all requests",
            matching(json!({ "prefix": "/", "runtime_fraction": { "default_value": { "numerator": 50 } } })),
            "partial-rules",
            "runtime_fraction",
        ),
        native_alone(
            "gRPC calls alone",
            matching(json!({ "prefix": "/", "grpc": {} })),
            "partial-rules",
            "grpc",
        ),
    ]
}

/// A self-signed certificate of an RSA key.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIC/TCCAeWgAwIBAgIUM6Y3rHrAtPkYAikJb1TxfzNlCxgwDQYJKoZIhvcNAQEL\n\
BQAwDTELMAkGA1UEAwwCazEwIBcNMjYxMTIyMTk1NjI5WhgPMjEyNjEwMjkxOTU2\n\
MjlaMA0xCzAJBgNVBAMMAmsxMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKC\n\
AQEAyjqKwUnJtX9WCaLWJC1QurPztM/UaeUvbEitm2QAkO0HyhVq+xL2XXFfrupx\n\
jUdIp38XL//guAKJmTMX5rVsZBPZySpkKZGbirhlLS7KL4kcPj3jicly7B4WRKpm\n\
+fjHZjBQk/KVuv4No/cqlxX5KRxUjkdcUI4R2IgWDeY43RkkWWqw9A9/uam2KLbW\n\
AEtOjCHmok7XmaFaBnLJ/lqZTqlimvGBq8c2SA2fquAsJl99oFWYP0ZHUfCAuC3C\n\
owG7ZRdLfcud6dC3hZxobVPEYRl66OxX7PHstbzni0/ytw8AgNmfKTuHwZkRuJs0\n\
8RnYuSkKtDfrRULUmTncwjgNLwIDAQABo1MwUTAdBgNVHQ4EFgQUdfXzSByIx7gO\n\
I6zzCZEWiasaj2MwHwYDVR0jBBgwFoAUdfXzSByIx7gOI6zzCZEWiasaj2MwDwYD\n\
VR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOCAQEAPQzAHOofy8i/fG5K+ZfM\n\
XUFmfA/83h0tuG+gPR/O/ZwJvcMvt9pGt2HN1ChKXrL6IEr8neJIAsqWBl7GHquw\n\
W9nKPPpsUjxQPTiv69dFkwuTPSBH5jr5yrM2aBAP1HhqRWaMDEoq/22XU0YxtnFr\n\
QCb2CuSD0/4ycOetoOKLGseqSSGZF+agtaWvFmLpeBulTigJtdO1WBVP8hZUXJPF\n\
JLklV1+xu1h/oHrm4edeBr+0FSPKo+lCJDcZAhUOGzrt6KXOe4bBN6S6kvE+nMUL\n\
aRipp0wP4q5/lWvBgZHBTin7p4X8VC9iC37Q7KdIum3FMVglGUMDLBEzYki9Yb0N\n\
ow==\n\
-----END CERTIFICATE-----\n";
