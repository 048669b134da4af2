//! Where the keys of a provider come from: `RemoteJwks`, `DataSource`, `jwt_key`, and what they may be used for.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::ConfigError;
use super::fields::Fields;
use super::value::{LONGEST_DURATION, Node};
use super::{Environment, KeySource, RemoteJwks};
use crate::jose::algorithm::{Algorithm, KeyError};
use crate::jose::jwk::{JwkSet, KeyOrigin, UnusableKey};

/// As in `jwt_authn` (envoy `jwks_cache.cc`).
const DEFAULT_CACHE_DURATION: Duration = Duration::from_secs(600);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(3600);
/// As in `jwt_authn` (envoy `config.proto`, `JwksAsyncFetch`).
const DEFAULT_FAILED_REFETCH_DURATION: Duration = Duration::from_secs(1);

/// The one source of keys that there must be.
pub(super) fn key_source(
    fields: &mut Fields<'_>,
    provider: &Node<'_>,
    environment: Environment<'_>,
) -> Result<KeySource, ConfigError> {
    let remote = fields.take("remote_jwks")?;
    let local = fields.take("local_jwks")?;
    let jwt_key = fields.take("jwt_key")?;
    match (remote, local, jwt_key) {
        (Some(remote), None, None) => remote_jwks(remote).map(KeySource::Remote),
        (None, Some(local), None) => local_jwks(local, environment).map(KeySource::Local),
        (None, None, Some(key)) => jwt_key_pem(&key).map(KeySource::Local),
        (None, None, None) => {
            Err(provider.error("no source of keys", "\"remote_jwks\", \"local_jwks\" or \"jwt_key\""))
        }
        (_, Some(second), None) | (_, _, Some(second)) => {
            Err(second.error("a second source of keys", "one of remote_jwks, local_jwks and jwt_key"))
        }
    }
}

/// The allow-list of a provider; every algorithm that its keys may be for when there is none.
pub(super) fn algorithms(fields: &mut Fields<'_>, keys: &KeySource) -> Result<Vec<Algorithm>, ConfigError> {
    fields.refuse_null("algorithms")?;
    let usable: Vec<_> = match keys {
        KeySource::Local(keys) => keys.algorithms().collect(),
        KeySource::Remote(_) => Algorithm::ALL.into_iter().filter(|name| !name.is_symmetric()).collect(),
    };
    let Some(node) = fields.take("algorithms")? else { return Ok(usable) };
    let one_of = |algorithms: &[Algorithm]| {
        let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        format!("at least one of {}", names.join(", "))
    };
    let mut allowed = Vec::new();
    for item in node.items()? {
        let algorithm = Algorithm::from_name(item.string()?);
        let algorithm = algorithm.ok_or_else(|| item.expected(one_of(&Algorithm::ALL)))?;
        // Of keys that are fetched, none is a shared secret.
        if algorithm.is_symmetric() && matches!(keys, KeySource::Remote(_)) {
            return Err(item.expected(one_of(&usable)));
        }
        allowed.push(algorithm);
    }
    if allowed.iter().any(|algorithm| usable.contains(algorithm)) {
        Ok(allowed)
    } else {
        Err(node.error("no algorithm that the keys could verify", one_of(&usable)))
    }
}

/// Nothing that stands here is shown in a message: it may be a shared secret.
fn local_jwks(node: Node<'_>, environment: Environment<'_>) -> Result<JwkSet, ConfigError> {
    if node.value.as_object().is_none() {
        return Err(node.error(node.value.kind(), "an object"));
    }
    let mut fields = Fields::of(node.clone())?;
    let text = fields.take("inline_string")?;
    let bytes = fields.take("inline_bytes")?;
    let variable = fields.take("environment_variable")?;
    if let Some(filename) = fields.take("filename")? {
        let expected = "inline_string, environment_variable or remote_jwks: a Wasm filter cannot read files";
        return Err(filename.error("the name of a file", expected));
    }
    fields.finish(&["watched_directory"])?;
    let (inline, document) = match (text, bytes, variable) {
        (Some(inline), None, None) => {
            let text = inline_string(&inline)?;
            (inline, Cow::Borrowed(text.as_bytes()))
        }
        (None, Some(inline), None) => {
            let bytes = decode_base64(inline_string(&inline)?)
                .ok_or_else(|| inline.error("a string that is not base64", "a JWKS document in base64"))?;
            (inline, Cow::Owned(bytes))
        }
        (None, None, Some(variable)) => {
            let value =
                variable.value.as_str().and_then(environment).ok_or_else(|| no_variable(&variable))?;
            (variable, Cow::Owned(value.into_bytes()))
        }
        (None, None, None) => {
            let expected = "\"inline_string\", \"inline_bytes\" or \"environment_variable\"";
            return Err(node.error("nothing", expected));
        }
        (_, Some(second), None) | (_, _, Some(second)) => {
            let expected = "one of inline_string, inline_bytes and environment_variable";
            return Err(second.error("a second document", expected));
        }
    };
    let set = JwkSet::parse(&document, KeyOrigin::Configuration)
        .map_err(|error| inline.error(error.to_string(), "a JWKS document with at least one usable key"))?;
    // A weak secret is not an odd neighbour to be skipped: whoever wrote it relies on it.
    let weak = |reason: &UnusableKey| matches!(reason, UnusableKey::Material(KeyError::ShortSecret { .. }));
    match set.skipped().iter().find(|key| weak(&key.reason)) {
        Some(key) => Err(inline.error(key.to_string(), "a secret at least as long as the hash")),
        None => Ok(set),
    }
}

fn inline_string<'a>(inline: &Node<'a>) -> Result<&'a str, ConfigError> {
    let text = inline.value.as_str();
    text.ok_or_else(|| inline.error(inline.value.kind(), "a JWKS document as a string"))
}

/// Shows what could be a name; anything else could be the secret itself.
fn no_variable(variable: &Node<'_>) -> ConfigError {
    let expected = "the name of a variable in vm_config.environment_variables of the plugin";
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match variable.value.as_str() {
        Some(name) if name.len() <= 64 && is_name(name) => variable.expected(expected),
        _ => variable.error("something else", expected),
    }
}

/// `bytes` as protobuf JSON writes them: either alphabet, with padding or without.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

/// `jwt_key`: public keys in PEM. Not shown in messages either, since a private key may have been put here by mistake.
fn jwt_key_pem(node: &Node<'_>) -> Result<JwkSet, ConfigError> {
    const EXPECTED: &str = "a public key in PEM (\"-----BEGIN PUBLIC KEY-----\")";
    let text = node.value.as_str().ok_or_else(|| node.error(node.value.kind(), EXPECTED))?;
    let keys = JwkSet::parse_pem(text.as_bytes()).map_err(|error| node.error(error.to_string(), EXPECTED))?;
    match keys.skipped().first() {
        Some(key) => Err(node.error(key.to_string(), EXPECTED)),
        None => Ok(keys),
    }
}

fn remote_jwks(node: Node<'_>) -> Result<RemoteJwks, ConfigError> {
    let mut fields = Fields::of(node)?;
    let http_uri = fields.require("http_uri")?;
    let cache_duration = match fields.take("cache_duration")? {
        Some(node) => node.duration(Duration::from_millis(1), LONGEST_DURATION)?,
        None => DEFAULT_CACHE_DURATION,
    };
    let async_fetch = fields.take("async_fetch")?;
    let is_prefetched = async_fetch.is_some();
    let failed_refetch_duration =
        async_fetch.map_or(Ok(DEFAULT_FAILED_REFETCH_DURATION), failed_refetch_duration)?;
    let (retries, base_interval) = fields.take("retry_policy")?.map_or(Ok((0, None)), retry_policy)?;
    let first_back_off = base_interval.unwrap_or(failed_refetch_duration);
    fields.finish(&[])?;

    let mut fields = Fields::of(http_uri)?;
    let uri = fields.require("uri")?;
    let cluster = fields.require("cluster")?.non_empty_string()?.to_owned();
    let timeout = match fields.take("timeout")? {
        Some(node) => node.duration(Duration::from_millis(1), Duration::from_secs(3600))?,
        None => DEFAULT_TIMEOUT,
    };
    fields.finish(&[])?;
    let (scheme, authority, path) = split_uri(uri.string()?)
        .ok_or_else(|| uri.error("another string", "an absolute URI such as \"https://host/jwks.json\""))?;
    let authority = authority.to_owned();
    Ok(RemoteJwks {
        scheme,
        authority,
        path,
        cluster,
        timeout,
        cache_duration,
        is_prefetched,
        first_back_off,
        retries,
    })
}

/// Of `JwksAsyncFetch`. A listener cannot be held back from Wasm, so `fast_listener` is read and means nothing.
fn failed_refetch_duration(node: Node<'_>) -> Result<Duration, ConfigError> {
    let mut fields = Fields::of(node)?;
    fields.boolean_or("fast_listener", false)?;
    let duration = match fields.take("failed_refetch_duration")? {
        Some(node) => node.duration(Duration::from_millis(1), LONGEST_BACK_OFF)?,
        None => DEFAULT_FAILED_REFETCH_DURATION,
    };
    fields.finish(&[])?;
    Ok(duration)
}

/// Of `RetryPolicy`, as far as `jwt_authn` looks at it: how often, and the first pause.
fn retry_policy(node: Node<'_>) -> Result<(u32, Option<Duration>), ConfigError> {
    let mut fields = Fields::of(node)?;
    // Fixed in `jwt_authn`, whatever is written.
    fields.ignore("retry_on");
    let retries = fields.take("num_retries")?.map_or(Ok(1), |node| node.u32())?;
    let back_off = fields.take("retry_back_off")?;
    fields.finish(&[])?;
    let Some(back_off) = back_off else { return Ok((retries, None)) };
    let mut fields = Fields::of(back_off)?;
    let base = fields.require("base_interval")?.duration(Duration::from_millis(1), LONGEST_BACK_OFF)?;
    // Pauses double up to the key keeper's own bound.
    if let Some(node) = fields.take("max_interval")? {
        node.duration(Duration::from_millis(1), LONGEST_DURATION)?;
    }
    fields.finish(&[])?;
    Ok((retries, Some(base)))
}

/// Scheme, authority and path with query of an `http` or `https` URI without user information.
fn split_uri(uri: &str) -> Option<(&'static str, &str, String)> {
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => "http",
        "https" => "https",
        _ => return None,
    };
    let rest = rest.split('#').next()?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    let path = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let is_valid = !authority.is_empty()
        && !authority.contains('@')
        && authority.bytes().chain(path.bytes()).all(|byte| byte.is_ascii_graphic());
    is_valid.then_some((scheme, authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_split_into_what_a_request_needs() {
        let split =
            |uri| split_uri(uri).map(|(scheme, authority, path)| format!("{scheme}|{authority}|{path}"));
        assert_eq!(split("https://a.example/jwks.json").as_deref(), Some("https|a.example|/jwks.json"));
        assert_eq!(split("HTTP://127.0.0.1:8080").as_deref(), Some("http|127.0.0.1:8080|/"));
        assert_eq!(split("https://a?x=/y").as_deref(), Some("https|a|/?x=/y"));
        assert_eq!(split("https://a/b#c").as_deref(), Some("https|a|/b"));
        for bad in [
            "",
            "a.example/jwks",
            "ftp://a/b",
            "https://",
            "https:///x",
            "https://u:p@a/",
            "https://a b/",
            "https://a/\u{e9}",
        ] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
