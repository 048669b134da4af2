//! Keys whose place the identity provider says itself, as timelines.

use edge_authn::config::{Config, KeyPlace, KeySource};
use serde_json::{Value, json};

use crate::support::*;
use crate::timeline::{Workers, play};

fn discovery(fields: Value) -> Value {
    let mut configuration = configuration(json!({ "local_jwks": null }));
    let mut discovery =
        json!({ "issuer": ISSUER, "cluster": "idp", "timeout": "2s", "cache_duration": "300s" });
    for (name, value) in fields.as_object().unwrap() {
        discovery[name] = value.clone();
    }
    configuration["providers"]["acme"]["discovery"] = discovery;
    configuration
}

fn error(configuration: &Value) -> String {
    Config::parse(configuration.to_string().as_bytes(), &|_| None)
        .expect_err("a wrong configuration")
        .to_string()
}

#[test]
fn metadata_says_where_the_keys_are() {
    play(
        &discovery(json!({})),
        "t=0 tick -> fetch /.well-known/openid-configuration
         t=0 request -> wait
         t=0.5 metadata https://idp.example https://idp.example/keys?v=1 -> fetch /keys?v=1
         t=0.5 tick -> -
         t=0.5 request -> wait
         t=1 keys etag=one -> -
         t=1 request -> pass
         t=271 tick -> fetch /keys?v=1 \"one\"
         t=271 304 -> -",
    );
}

#[test]
fn metadata_is_also_looked_for_where_rfc_8414_has_it() {
    play(
        &discovery(json!({ "issuer": "https://idp.example/tenant/" }))
            .with_issuer("https://idp.example/tenant/"),
        "t=0 tick -> fetch /tenant/.well-known/openid-configuration
         t=0 404 -> fetch /.well-known/oauth-authorization-server/tenant
         t=0 metadata https://idp.example/tenant/ https://idp.example/jwks.json -> fetch
         t=0 keys -> -",
    );
    play(
        &discovery(json!({})),
        "t=0 tick -> fetch /.well-known/openid-configuration
         t=0 404 -> fetch /.well-known/oauth-authorization-server
         t=0 404 -> -
         t=0 request -> 503 1
         t=1 tick -> fetch /.well-known/openid-configuration",
    );
}

#[test]
fn metadata_of_another_issuer_or_with_keys_elsewhere_is_not_believed() {
    for metadata in [
        "metadata https://evil.example https://idp.example/jwks.json",
        "metadata https://idp.example/ https://idp.example/jwks.json",
        "metadata https://IDP.example https://idp.example/jwks.json",
        "metadata https://idp.example https://evil.example/jwks.json",
        "metadata https://idp.example https://idp.example.evil/jwks.json",
        "metadata https://idp.example https://idp.example@evil.example/jwks.json",
        "metadata https://idp.example http://idp.example/jwks.json",
        "metadata https://idp.example https://idp.example:8443/jwks.json",
        "metadata https://idp.example /jwks.json",
        "metadata https://idp.example file:///etc/passwd",
        "metadata https://idp.example",
        "keys",
        "reset",
    ] {
        play(
            &discovery(json!({})),
            &format!(
                "t=0 tick -> fetch /.well-known/openid-configuration
                 t=0 {metadata} -> -
                 t=0 request -> 503 1
                 t=1 tick -> fetch /.well-known/openid-configuration
                 t=1 metadata https://idp.example https://idp.example/jwks.json -> fetch
                 t=1 keys -> -
                 t=1 request -> pass"
            ),
        );
    }
}

#[test]
fn keys_may_be_on_another_server_where_the_configuration_allows_it() {
    let hosts =
        json!({ "jwks_hosts": [{ "host": "keys.example", "cluster": "keys" }, { "host": "k:8443" }] });
    for uri in ["https://keys.example/k", "https://KEYS.example:443/k", "https://k:8443/k"] {
        play(
            &discovery(hosts.clone()),
            &format!(
                "t=0 tick -> fetch /.well-known/openid-configuration
                 t=0 metadata https://idp.example {uri} -> fetch /k
                 t=0 keys -> -"
            ),
        );
    }
    play(
        &discovery(hosts.clone()),
        "t=0 tick -> fetch /.well-known/openid-configuration
         t=0 metadata https://idp.example https://idp.example/k -> fetch /k",
    );
    play(
        &discovery(hosts),
        "t=0 tick -> fetch /.well-known/openid-configuration
         t=0 metadata https://idp.example https://other.example/k -> -",
    );
}

#[test]
fn a_key_server_that_has_moved_is_found_again() {
    play(
        &discovery(json!({ "cache_duration": "10s" })),
        "t=0 tick -> fetch /.well-known/openid-configuration
         t=0 metadata https://idp.example https://idp.example/old -> fetch /old
         t=0 keys -> -
         t=6 tick -> fetch /old
         t=6 404 -> -
         t=7 tick -> fetch /.well-known/openid-configuration
         t=7 request -> pass
         t=7 metadata https://idp.example https://idp.example/new -> fetch /new
         t=7 keys -> -
         t=13 tick -> fetch /new",
    );
}

#[test]
fn metadata_counts_for_an_hour_and_for_all_workers() {
    let mut workers = Workers::of(&discovery(json!({})));
    workers.play(
        "t=0 a tick -> fetch /.well-known/openid-configuration
         t=0 a metadata https://idp.example https://idp.example/k -> fetch /k
         t=0 a keys -> -
         t=270 b tick -> fetch /k
         t=270 b keys -> -
         t=3600 b tick -> fetch /.well-known/openid-configuration",
    );
}

#[test]
fn a_fetch_in_two_steps_is_one_fetch_and_one_lease() {
    play(
        &discovery(json!({})),
        "t=0 a tick -> fetch /.well-known/openid-configuration
         t=0 b request -> wait
         t=1.9 a metadata https://idp.example https://idp.example/k -> fetch /k
         t=3.5 b tick -> -
         t=3.8 a keys -> -
         t=3.8 b tick -> -
         t=3.8 b request -> pass",
    );
}

#[test]
fn tokens_are_of_the_issuer_that_was_discovered() {
    let mut configuration = discovery(json!({}));
    configuration["providers"]["acme"].as_object_mut().unwrap().remove("issuer");
    let config = Config::parse(configuration.to_string().as_bytes(), &|_| None).unwrap();
    assert_eq!(config.providers[0].issuers, [ISSUER]);
}

#[test]
fn the_place_of_the_metadata_can_be_written_out() {
    let place = json!({ "issuer": null, "cluster": null, "timeout": null,
        "http_uri": { "uri": "http://10.0.0.1:8080/meta", "cluster": "idp", "timeout": "2s" } });
    let config = discovery(place.clone());
    let parsed = Config::parse(config.to_string().as_bytes(), &|_| None).unwrap();
    let KeySource::Remote(remote) = &parsed.providers[0].keys else { panic!() };
    let KeyPlace::Discovery(found) = &remote.place else { panic!() };
    assert_eq!((found.issuer.as_str(), found.fallback.as_ref()), (ISSUER, None));
    play(
        &config,
        "t=0 tick -> fetch /meta
         t=0 metadata https://idp.example http://10.0.0.1:8080/jwks.json -> fetch
         t=0 keys -> -",
    );
    let mut without_issuer = config;
    without_issuer["providers"]["acme"].as_object_mut().unwrap().remove("issuer");
    assert!(error(&without_issuer).contains("providers.acme.discovery: found no issuer"));
}

#[test]
fn a_discovery_that_could_not_work_is_refused_with_what_to_mend() {
    for (fields, message) in [
        (
            json!({ "issuer": null }),
            "discovery: found no place of the metadata, expected \"issuer\" and \"cluster\", or \"http_uri\"",
        ),
        (json!({ "cluster": null }), "discovery: found no place of the metadata"),
        (
            json!({ "issuer": "idp.example" }),
            "discovery.issuer: found the string \"idp.example\", expected an absolute URI",
        ),
        (json!({ "issuer": "https://idp.example?x" }), "expected an absolute URI"),
        (
            json!({ "issuer": "https://other.example" }),
            "discovery: found an issuer that is not the provider's",
        ),
        (json!({ "cluster": "" }), "discovery.cluster: found the string \"\""),
        (
            json!({ "http_uri": { "uri": "https://a/", "cluster": "c" } }),
            "discovery.cluster: found a second place",
        ),
        (json!({ "jwks_hosts": [] }), "discovery.jwks_hosts: found no host"),
        (
            json!({ "jwks_hosts": [{ "host": "https://a" }] }),
            "discovery.jwks_hosts[0].host: found the string \"https://a\"",
        ),
        (
            json!({ "jwks_hosts": [{ "host": "a/b" }] }),
            "discovery.jwks_hosts[0].host: found the string \"a/b\"",
        ),
        (json!({ "jwks_host": [] }), "expected \"jwks_hosts\"?"),
        (
            json!({ "min_cache_duration": "301s" }),
            "min_cache_duration: found the string \"301s\", expected a duration such as \"5s\" or \"1.5s\", from 1s to 300s",
        ),
        (json!({ "kid_refetch_interval": "0s" }), "kid_refetch_interval: found the string \"0s\""),
        (json!({ "max_stale": "-1s" }), "max_stale: found the string \"-1s\""),
    ] {
        let error = error(&discovery(fields.clone()));
        assert!(error.contains(message), "{fields}: {error}");
    }
    let mut both = discovery(json!({}));
    both["providers"]["acme"]["remote_jwks"] = json!({ "http_uri": { "uri": "https://a/", "cluster": "c" } });
    assert!(error(&both).contains("found a second source of keys"));
}

trait WithIssuer {
    fn with_issuer(self, issuer: &str) -> Self;
}

impl WithIssuer for Value {
    fn with_issuer(mut self, issuer: &str) -> Self {
        self["providers"]["acme"]["issuer"] = json!(issuer);
        self
    }
}
