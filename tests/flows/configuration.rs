//! Configurations: what is read, and the one message that a wrong one gets.

use edge_authn::config::{Config, KeyPlace, Location, NoRule, PathSpecifier, Requirement};
use serde_json::{Value, json};

use crate::support::configuration;

fn error(text: &str) -> String {
    Config::parse(text.as_bytes(), &|_| None).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
}

fn error_with(provider: Value) -> String {
    error(&configuration(provider).to_string())
}

fn error_with_rule(rule: &Value) -> String {
    let mut configuration = configuration(json!({}));
    configuration["rules"] = json!([rule]);
    error(&configuration.to_string())
}

#[test]
fn both_spellings_of_protobuf_json_mean_the_same() {
    let snake = r#"{"@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"a": {"issuer": "i", "remote_jwks": {"http_uri": {"uri": "https://h/k", "cluster": "c", "timeout": "1.5s"},
        "cache_duration": "60s"}, "from_headers": [{"name": "X-Token", "value_prefix": "JWT "}], "from_params": ["p"],
        "from_cookies": ["c"], "clock_skew_seconds": 5, "forward_payload_header": "x-p", "audiences": ["b"],
        "claim_to_headers": [{"header_name": "x-c", "claim_name": "a.b"}]}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "a"}}]}"#;
    let camel = snake
        .replace("remote_jwks", "remoteJwks")
        .replace("http_uri", "httpUri")
        .replace("cache_duration", "cacheDuration")
        .replace("from_headers", "fromHeaders")
        .replace("value_prefix", "valuePrefix")
        .replace("from_params", "fromParams")
        .replace("from_cookies", "fromCookies")
        .replace("clock_skew_seconds", "clockSkewSeconds")
        .replace("forward_payload_header", "forwardPayloadHeader")
        .replace("claim_to_headers", "claimToHeaders")
        .replace("header_name", "headerName")
        .replace("claim_name", "claimName")
        .replace("provider_name", "providerName");
    assert_ne!(snake, camel);
    let read = |text: &str| format!("{:?}", Config::parse(text.as_bytes(), &|_| None).unwrap());
    assert_eq!(read(snake), read(&camel));
}

#[test]
fn what_is_not_written_has_the_value_of_jwt_authn() {
    let text = r#"{"providers": {"a": {"remote_jwks": {"http_uri": {"uri": "https://h:1/k?x", "cluster": "c"}}, "issuer": "", "audiences": {}}},
        "rules": [{"match": {"path": "/x"}}]}"#;
    let config = Config::parse(text.as_bytes(), &|_| None).unwrap();
    let provider = &config.providers[0];
    assert!(provider.issuers.is_empty());
    assert_eq!(provider.clock_skew.as_secs(), 60);
    assert!(!provider.forward && provider.require_expiration && provider.audiences.allowed.is_empty());
    assert_eq!(provider.locations.len(), 2);
    assert!(matches!(&provider.locations[1], Location::Query(name) if **name == *"access_token"));
    let edge_authn::config::KeySource::Remote(remote) = &provider.keys else { panic!() };
    assert_eq!((remote.schedule.cache_duration.as_secs(), remote.timeout.as_secs()), (600, 5));
    let KeyPlace::Jwks(endpoint) = &remote.place else { panic!() };
    assert_eq!((endpoint.authority.as_str(), endpoint.path.as_str()), ("h:1", "/k?x"));
    assert!(matches!(&config.rules[0].matcher.path, PathSpecifier::Path(path) if path.decoded == "/x"));
    assert_eq!(config.rules[0].requirement, Requirement::None);
    assert_eq!(config.when_no_rule_matches, NoRule::Allow);
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
}

const NO_REQUIREMENT: &str = "rules[0].requires: found no requirement, expected one of provider_name, provider_and_audiences, requires_any, requires_all, allow_missing, allow_missing_or_failed, extract_only_without_validation; to open the rule, leave \"requires\" out";

#[test]
fn an_error_names_the_path_what_was_found_and_what_was_expected() {
    for (found, expected) in [
        (
            error("{"),
            "configuration: found not valid JSON: no name of a member at line 1 column 2, where it ends, expected a JSON object",
        ),
        (error(""), "configuration: found nothing, expected a JSON object"),
        (error("[]"), "configuration: found an empty array, expected an object"),
        (
            error(r#"{"rules":[],"rules":[]}"#),
            "configuration: found the member \"rules\" is given twice, expected a JSON object",
        ),
        (error_with(json!({ "issuer": 5 })), "providers.acme.issuer: found the number 5, expected a string"),
        (
            error_with(json!({ "isuer": "x" })),
            "providers.acme.isuer: found an unknown field, expected \"issuer\"?",
        ),
        (
            error_with(json!({ "claimToHeader": [] })),
            "providers.acme.claimToHeader: found an unknown field, expected \"claim_to_headers\"?",
        ),
        (
            error_with(json!({ "subjects": {} })),
            "providers.acme.subjects: found no pattern, expected one of exact, prefix, suffix, contains, safe_regex",
        ),
        (
            error_with(json!({ "audiences": ["a", 1] })),
            "providers.acme.audiences[1]: found the number 1, expected a string",
        ),
        (
            error_with(json!({ "audiences": "a" })),
            "providers.acme.audiences: found the string \"a\", expected an array",
        ),
        (
            error_with(json!({ "clock_skew_seconds": -1 })),
            "providers.acme.clock_skew_seconds: found the number -1, expected a whole number between 0 and 4294967295",
        ),
        (
            error_with(json!({ "forward": "yes" })),
            "providers.acme.forward: found the string \"yes\", expected true or false",
        ),
        (
            error_with(json!({ "forward_payload_header": "content-length" })),
            "providers.acme.forward_payload_header: found the string \"content-length\", expected a header that does not frame or route the request",
        ),
        (
            error_with(json!({ "claim_to_headers": [{ "header_name": ":path", "claim_name": "sub" }] })),
            "providers.acme.claim_to_headers[0].header_name: found the string \":path\", expected a header name",
        ),
        (
            error_with(json!({ "claim_to_headers": [{ "header_name": "x" }] })),
            "providers.acme.claim_to_headers[0]: found no claim, expected \"claim_name\" or \"claim_path\"",
        ),
        (
            error_with(json!({ "local_jwks": null })),
            "providers.acme: found no source of keys and no session check, expected \"remote_jwks\", \"discovery\", \"local_jwks\", \"jwt_key\" or \"session_check\"",
        ),
        (
            error_with(json!({ "local_jwks": { "filename": "/k" } })),
            "providers.acme.local_jwks.filename: found the name of a file, expected inline_string, environment_variable or remote_jwks: a Wasm filter cannot read files",
        ),
        (
            error_with(json!({ "local_jwks": { "inline_string": "{}" } })),
            "providers.acme.local_jwks.inline_string: found not a JSON object with a \"keys\" array, expected a JWKS document with at least one usable key",
        ),
        (
            error_with(json!({ "local_jwks": { "inline_string": "{\"keys\":[]}" } })),
            "providers.acme.local_jwks.inline_string: found the key set is empty, expected a JWKS document with at least one usable key",
        ),
        (
            error_with_rule(&json!({ "match": { "prefix": "/a" }, "requires": { "provider_name": "acne" } })),
            "rules[0].requires.provider_name: found the string \"acne\", expected the name of a provider: acme",
        ),
        (
            error_with_rule(&json!({ "match": { "prefix": "/a/../b" } })),
            "rules[0].match.prefix: found the string \"/a/../b\", expected a path in its normal form, such as \"/b\"",
        ),
        (
            error_with_rule(&json!({ "match": { "path": "/a?b" } })),
            "rules[0].match.path: found the string \"/a?b\", expected a path without a query",
        ),
        (
            error_with_rule(&json!({ "match": {} })),
            "rules[0].match: found no way to match a path, expected one of prefix, path, path_separated_prefix, safe_regex, path_match_policy, connect_matcher",
        ),
        (
            error_with_rule(&json!({ "match": { "prefix": "/", "runtime_fraction": {} } })),
            "rules[0].match.runtime_fraction: found a field that this version does not support, expected no such field",
        ),
        (
            error_with_rule(&json!({ "requires": {} })),
            "rules[0]: found nothing, expected the field \"match\"",
        ),
        (
            error_with_rule(
                &json!({ "match": { "prefix": "/" }, "requires": { "allow_missing": {}, "provider_name": "acme" } }),
            ),
            "rules[0].requires: found more than one requirement, expected one of provider_name, provider_and_audiences, requires_any, requires_all, allow_missing, allow_missing_or_failed, extract_only_without_validation",
        ),
        (
            error_with_rule(&json!({ "match": { "prefix": "/" }, "requires": { "requires_any": {} } })),
            "rules[0].requires.requires_any: found nothing, expected the field \"requirements\"",
        ),
        (error(r#"{"rules":null}"#), "rules: found null, expected a value, or no such field"),
        (
            error_with(json!({ "issuer": null })),
            "providers.acme.issuer: found null, expected a value, or no such field",
        ),
        (
            error_with(json!({ "audiences": null })),
            "providers.acme.audiences: found null, expected a value, or no such field",
        ),
        (error_with_rule(&json!({ "match": { "prefix": "/" }, "requires": {} })), NO_REQUIREMENT),
        (
            error_with_rule(&json!({ "match": { "prefix": "/" }, "requires": { "provider_name": null } })),
            NO_REQUIREMENT,
        ),
        (
            error_with_rule(&json!({ "match": { "prefix": "/" }, "requires": null })),
            "rules[0].requires: found null, expected a value, or no such field",
        ),
        (
            error_with_rule(&json!({ "match": { "prefix": "/%zz" } })),
            "rules[0].match.prefix: found the string \"/%zz\", expected a path that starts with \"/\", without \"//\", dot segments, \";\", \"#\", \"\\\", encoded delimiters, and with other bytes than printable ASCII percent-encoded",
        ),
        (
            error_with(json!({ "forward_payload_header": "Transfer_Encoding" })),
            "providers.acme.forward_payload_header: found the string \"Transfer_Encoding\", expected a header that does not frame or route the request",
        ),
        (
            error(r#"{"default":"maybe"}"#),
            "default: found the string \"maybe\", expected \"allow\" or \"deny\"",
        ),
        (
            error(r#"{"realm":"a\"b"}"#),
            "realm: found the string \"a\\\"b\", expected printable ASCII without quotes and backslashes",
        ),
        (
            error(r#"{"providers":{"a b":{"issuer":1}}}"#),
            "providers[\"a b\"].issuer: found the number 1, expected a string",
        ),
        (
            error(r#"{"crypto":"native"}"#),
            "crypto: found the string \"native\", expected \"auto\", \"wasm\" or \"host\"",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_timeout_is_never_zero_and_a_uri_is_absolute() {
    let remote = |uri: &str, timeout: &str| {
        let remote = json!({ "http_uri": { "uri": uri, "cluster": "c", "timeout": timeout } });
        error_with(json!({ "local_jwks": null, "remote_jwks": remote }))
    };
    assert_eq!(
        remote("https://h/", "0s"),
        "providers.acme.remote_jwks.http_uri.timeout: found the string \"0s\", expected a duration such as \"5s\" or \"1.5s\", from 0.001s to 3600s"
    );
    assert_eq!(
        remote("h/jwks", "1s"),
        "providers.acme.remote_jwks.http_uri.uri: found another string, expected an absolute URI such as \"https://host/jwks.json\""
    );
}

#[test]
fn a_weak_secret_is_refused_and_no_secret_is_ever_shown() {
    let weak = crate::tokens::SigningKey::hs256("weak", b"secret-of-24-bytes-only!");
    let keys = crate::tokens::jwks([&*crate::support::KEY, &weak]);
    let message = error_with(json!({ "local_jwks": { "inline_string": keys.to_string() } }));
    assert_eq!(
        message,
        "providers.acme.local_jwks.inline_string: found keys[1]: the secret has 24 bytes and needs at least 32, expected a secret at least as long as the hash"
    );
    let secret = weak.jwk()["k"].as_str().unwrap().to_owned();
    for local in [
        json!({ "inline_string": [weak.jwk()] }),
        json!({ "inline_string": { "keys": [weak.jwk()] } }),
        json!({ "inline_string": json!({ "keys": [secret] }).to_string() }),
        json!({ "inline_string": secret }),
        json!(secret),
        json!({ "keys": [weak.jwk()] }),
    ] {
        let message = error_with(json!({ "local_jwks": local }));
        assert!(!message.is_empty() && !message.contains(secret.get(..8).unwrap()), "{message}");
    }
    let remote = json!({ "http_uri": { "uri": "https://user:passw0rd@idp/jwks", "cluster": "c" } });
    let message = error_with(json!({ "local_jwks": null, "remote_jwks": remote }));
    assert!(message.contains("http_uri.uri") && !message.contains("passw0rd"), "{message}");
}

#[test]
fn one_field_in_two_spellings_is_refused() {
    let message = error_with(json!({ "from_params": ["a"], "fromParams": ["b"] }));
    assert_eq!(
        message,
        "providers.acme.fromParams: found the same field as \"from_params\" a second time, expected one of the two"
    );
}

#[test]
fn probable_mistakes_are_warned_about() {
    let keys =
        json!({ "keys": [crate::support::KEY.jwk(), { "kty": "EC", "crv": "secp256k1" }] }).to_string();
    let configuration = configuration(json!({ "local_jwks": { "inline_string": keys } }));
    let config = Config::parse(configuration.to_string().as_bytes(), &|_| None).unwrap();
    assert_eq!(config.warnings, ["providers.acme.local_jwks: not used: keys[1]: the curve is not supported"]);
}

#[test]
fn a_header_has_one_meaning_and_no_rule_looks_at_it() {
    let claims = json!([{ "header_name": "X-User-Id", "claim_name": "sub" }]);
    let with = |extra: Value, rule: Value| {
        let mut provider = extra;
        provider["claim_to_headers"] = claims.clone();
        let mut configuration = configuration(provider);
        configuration["rules"] = json!([rule]);
        error(&configuration.to_string())
    };
    let open = || json!({ "match": { "prefix": "/" } });
    assert_eq!(
        with(json!({ "forward_payload_header": "x_user_id" }), open()),
        "providers.acme.forward_payload_header: found the header \"x_user_id\", expected a header that no claim is written to"
    );
    let extract = |header: &str| {
        let requires = json!({ "extract_only_without_validation": { "verification_status_header": header } });
        json!({ "match": { "prefix": "/" }, "requires": requires })
    };
    assert_eq!(with(json!({}), extract("x-status")), "");
    assert_eq!(
        with(json!({}), extract("x-user-id")),
        "extract_only_without_validation.verification_status_header: found the header \"x-user-id\", expected a header that no provider writes"
    );
    let looking_at = |header: &str| {
        let headers = json!([{ "name": header, "present_match": true }]);
        json!({ "match": { "prefix": "/", "headers": headers } })
    };
    assert_eq!(with(json!({}), looking_at("x-tenant")), "");
    assert_eq!(
        with(json!({}), looking_at("x_user_id")),
        "rules[0].match.headers[0].name: found the header \"x_user_id\", expected a header that the filter does not write"
    );
}
