//! `JwtProvider` and what hangs off it: `RemoteJwks`, `DataSource`, `JwtHeader`, `JwtClaimToHeader`.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::ConfigError;
use super::fields::Fields;
use super::header_name::HeaderName;
use super::value::Node;
use super::{ClaimToHeader, KeySource, Location, Provider, RemoteJwks};
use crate::jose::algorithm::{Algorithm, KeyError};
use crate::jose::jwk::{JwkSet, KeyOrigin, UnusableKey};

/// What `jwt_authn` uses when the field is not given (envoy `jwt_authn` `kClockSkewInSecond`).
const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// As in `jwt_authn` (envoy `jwks_cache.cc`).
const DEFAULT_CACHE_DURATION: Duration = Duration::from_secs(600);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

const FIELDS: &[&str] = &[
    "issuer",
    "audiences",
    "require_expiration",
    "remote_jwks",
    "local_jwks",
    "jwt_key",
    "algorithms",
    "forward",
    "from_headers",
    "from_params",
    "from_cookies",
    "forward_payload_header",
    "clock_skew_seconds",
    "claim_to_headers",
];

const NOT_BUILT: &[&str] = &[
    "subjects",
    "max_lifetime",
    "pad_forward_payload_header",
    "payload_in_metadata",
    "normalize_payload_in_metadata",
    "header_in_metadata",
    "failed_status_in_metadata",
    "jwt_cache_config",
    "clear_route_cache",
    "preset",
    "session_check",
    "discovery",
    "multiple_credentials",
    "typ",
    "csrf",
];

/// The fields of a provider: those that are read, and those that are known and refused.
pub fn fields() -> (Vec<&'static str>, &'static [&'static str]) {
    (FIELDS.to_vec(), NOT_BUILT)
}

pub(super) fn parse_all(node: &Node<'_>) -> Result<Vec<Provider>, ConfigError> {
    // APISIX hands an empty map over as an empty list.
    if matches!(node.value, crate::json::Json::Array(items) if items.is_empty()) {
        return Ok(Vec::new());
    }
    let object =
        node.value.as_object().ok_or_else(|| node.expected("an object of providers by their names"))?;
    object.members().map(|(name, value)| parse(name, node.member(name, value))).collect()
}

fn parse(name: &str, node: Node<'_>) -> Result<Provider, ConfigError> {
    if name.is_empty() {
        return Err(node.error("an empty name", "a provider name"));
    }
    let mut fields = Fields::of(node.clone())?;
    fields.refuse_null("issuer")?;
    fields.refuse_null("audiences")?;
    let issuer = fields.take("issuer")?.map(|node| node.string()).transpose()?;
    let audiences = fields.take("audiences")?.map_or(Ok(Vec::new()), |node| node.strings())?;
    let require_expiration = fields.take("require_expiration")?.map_or(Ok(true), |node| node.boolean())?;
    let keys = key_source(&mut fields, &node)?;
    let algorithms = algorithms(&mut fields, &keys)?;
    let forward = fields.take("forward")?.map_or(Ok(false), |node| node.boolean())?;
    let locations = locations(&mut fields)?;
    let forward_payload_header = match fields.take("forward_payload_header")? {
        Some(node) if node.string()?.is_empty() => None,
        Some(node) => Some(HeaderName::parse_output(&node)?),
        None => None,
    };
    let clock_skew = match fields.take("clock_skew_seconds")? {
        Some(node) => Duration::from_secs(node.u32()?.into()),
        None => DEFAULT_CLOCK_SKEW,
    };
    let claim_to_headers = match fields.take("claim_to_headers")? {
        Some(node) => node.items()?.into_iter().map(claim_to_header).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    fields.finish(NOT_BUILT)?;
    Ok(Provider {
        name: name.to_owned(),
        issuer: issuer.filter(|issuer| !issuer.is_empty()).map(str::to_owned),
        audiences,
        keys,
        algorithms,
        locations,
        forward,
        forward_payload_header,
        claim_to_headers,
        clock_skew,
        require_expiration,
    })
}

/// Where tokens travel: the default places only when none is configured, as in `jwt_authn`.
fn locations(fields: &mut Fields<'_>) -> Result<Vec<Location>, ConfigError> {
    let mut locations = Vec::new();
    if let Some(node) = fields.take("from_headers")? {
        for item in node.items()? {
            let mut header = Fields::of(item)?;
            let name = HeaderName::parse(&header.require("name")?)?;
            let value_prefix = header.take("value_prefix")?.map_or(Ok(""), |node| node.string())?;
            header.finish(&[])?;
            locations.push(Location::Header { name, value_prefix: value_prefix.to_owned() });
        }
    }
    if let Some(node) = fields.take("from_params")? {
        locations.extend(node.strings()?.into_iter().map(Location::Query));
    }
    if let Some(node) = fields.take("from_cookies")? {
        locations.extend(node.strings()?.into_iter().map(Location::Cookie));
    }
    if locations.is_empty() {
        locations
            .push(Location::Header { name: HeaderName::authorization(), value_prefix: "Bearer ".to_owned() });
        locations.push(Location::Query("access_token".to_owned()));
    }
    // Of two prefixes of one header, the longer one is the better match.
    locations.sort_by_key(|location| match location {
        Location::Header { value_prefix, .. } => Reverse(value_prefix.len()),
        _ => Reverse(0),
    });
    Ok(locations)
}

fn claim_to_header(node: Node<'_>) -> Result<ClaimToHeader, ConfigError> {
    let mut fields = Fields::of(node)?;
    let header = HeaderName::parse_output(&fields.require("header_name")?)?;
    let claim = fields.require("claim_name")?;
    let path: Vec<_> = claim.non_empty_string()?.split('.').map(str::to_owned).collect();
    if path.iter().any(String::is_empty) {
        return Err(claim.expected("claim names joined by single dots"));
    }
    fields.finish(&["claim_path"])?;
    Ok(ClaimToHeader { header, path })
}

/// The one source of keys that there must be.
fn key_source(fields: &mut Fields<'_>, provider: &Node<'_>) -> Result<KeySource, ConfigError> {
    let remote = fields.take("remote_jwks")?;
    let local = fields.take("local_jwks")?;
    let jwt_key = fields.take("jwt_key")?;
    match (remote, local, jwt_key) {
        (Some(remote), None, None) => remote_jwks(remote).map(KeySource::Remote),
        (None, Some(local), None) => local_jwks(local).map(KeySource::Local),
        (None, None, Some(key)) => jwt_key_pem(&key).map(KeySource::Local),
        (None, None, None) => {
            Err(provider.error("no source of keys", "\"remote_jwks\", \"local_jwks\" or \"jwt_key\""))
        }
        (_, Some(second), None) | (_, _, Some(second)) => {
            Err(second.error("a second source of keys", "one of remote_jwks, local_jwks and jwt_key"))
        }
    }
}

/// The allow-list of a provider; every algorithm when there is none.
fn algorithms(fields: &mut Fields<'_>, keys: &KeySource) -> Result<Vec<Algorithm>, ConfigError> {
    fields.refuse_null("algorithms")?;
    let Some(node) = fields.take("algorithms")? else {
        return Ok(Algorithm::ALL.to_vec());
    };
    let usable: Vec<_> = match keys {
        KeySource::Local(keys) => keys.algorithms().collect(),
        KeySource::Remote(_) => Algorithm::ALL.into_iter().filter(|name| !name.is_symmetric()).collect(),
    };
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
fn local_jwks(node: Node<'_>) -> Result<JwkSet, ConfigError> {
    if node.value.as_object().is_none() {
        return Err(node.error(node.value.kind(), "an object"));
    }
    let mut fields = Fields::of(node.clone())?;
    let text = fields.take("inline_string")?;
    let bytes = fields.take("inline_bytes")?;
    if let Some(filename) = fields.take("filename")? {
        let expected = "inline_string, inline_bytes or remote_jwks: a Wasm filter cannot read files";
        return Err(filename.error("the name of a file", expected));
    }
    fields.finish(&["environment_variable", "watched_directory"])?;
    let (inline, document) = match (text, bytes) {
        (Some(inline), None) => {
            let text = inline_string(&inline)?;
            (inline, Cow::Borrowed(text.as_bytes()))
        }
        (None, Some(inline)) => {
            let bytes = decode_base64(inline_string(&inline)?)
                .ok_or_else(|| inline.error("a string that is not base64", "a JWKS document in base64"))?;
            (inline, Cow::Owned(bytes))
        }
        (Some(_), Some(second)) => {
            return Err(second.error("a second document", "one of inline_string and inline_bytes"));
        }
        (None, None) => {
            return Err(node.error("nothing", "the field \"inline_string\" or \"inline_bytes\""));
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
        Some(node) => node.duration(Duration::from_millis(1), Duration::from_secs(31_536_000))?,
        None => DEFAULT_CACHE_DURATION,
    };
    fields.finish(&["async_fetch", "retry_policy"])?;

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
    Ok(RemoteJwks { scheme, authority: authority.to_owned(), path, cluster, timeout, cache_duration })
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
