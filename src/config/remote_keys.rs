//! Keys that are fetched: `RemoteJwks`, and `discovery`, which is ours.

use std::time::Duration;

use super::error::ConfigError;
use super::fields::Fields;
use super::value::{LONGEST_DURATION, Node};
use super::{CallBy, Discovery, Endpoint, JwksHost, KeyPlace, KeySchedule, RemoteKeys, Surroundings};

/// The fields of `remote_jwks`, `remote_keys_by_kid` and `discovery` that say when keys are fetched.
pub const SCHEDULE_FIELDS: [&str; 6] = [
    "cache_duration",
    "min_cache_duration",
    "max_stale",
    "kid_refetch_interval",
    "async_fetch",
    "retry_policy",
];

const SHORTEST: Duration = Duration::from_millis(1);
/// As in `jwt_authn` (envoy `jwks_cache.cc`).
const DEFAULT_CACHE_DURATION: Duration = Duration::from_secs(600);
/// No key server is called for every request, whatever is asked for.
const SHORTEST_CACHE_DURATION: Duration = Duration::from_secs(1);
/// Servers that forbid caching by default are many. None of them means that keys change every second.
const DEFAULT_MIN_CACHE_DURATION: Duration = Duration::from_secs(60);
const DEFAULT_MAX_STALE: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_KID_REFETCH_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
const LONGEST_FIRST_BACK_OFF: Duration = Duration::from_secs(3600);
/// As in `jwt_authn` (envoy `config.proto`, `JwksAsyncFetch`).
const DEFAULT_FAILED_REFETCH_DURATION: Duration = Duration::from_secs(1);

/// OpenID Connect Discovery 1.0, section 4: behind the path of the issuer.
const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";
/// RFC 8414 section 3: before the path of the issuer.
const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";

pub(super) fn remote_jwks(
    node: &Node<'_>,
    surroundings: Surroundings<'_>,
) -> Result<RemoteKeys, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    let http_uri = fields.require("http_uri")?;
    let schedule = schedule(&mut fields)?;
    fields.finish(&[])?;
    let (endpoint, timeout) = http_uri_of(http_uri, "https://host/jwks.json", surroundings)?;
    Ok(RemoteKeys { place: KeyPlace::Jwks(endpoint), timeout, schedule })
}

/// `provider_issuer` is what tokens must name, when the provider says so.
pub(super) fn discovery(
    node: &Node<'_>,
    provider_issuer: Option<&str>,
    surroundings: Surroundings<'_>,
) -> Result<RemoteKeys, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    let issuer = fields.take("issuer")?;
    let cluster = fields.take("cluster")?;
    let timeout = fields.take("timeout")?;
    let http_uri = fields.take("http_uri")?;
    let jwks_hosts = fields.take("jwks_hosts")?;
    let schedule = schedule(&mut fields)?;
    fields.finish(&[])?;

    let given = [("issuer", &issuer), ("cluster", &cluster), ("timeout", &timeout)];
    let (issuer, metadata, fallback, timeout) = match (http_uri, &issuer, &cluster) {
        (Some(http_uri), _, _) => {
            let mut given = given.into_iter().filter(|(name, _)| *name != "issuer");
            if let Some(second) = given.find_map(|(_, node)| node.as_ref()) {
                return Err(second.error("a second place", "cluster and timeout in http_uri alone"));
            }
            let (endpoint, timeout) =
                http_uri_of(http_uri, &format!("https://host{OPENID_CONFIGURATION}"), surroundings)?;
            let written = issuer.as_ref().map(Node::non_empty_string).transpose()?;
            let issuer = written.or(provider_issuer).ok_or_else(|| {
                node.error("no issuer", "an \"issuer\" that the metadata can be held against")
            })?;
            (issuer, endpoint, None, timeout)
        }
        (None, Some(issuer), cluster) if cluster.is_some() || surroundings.call_by == CallBy::Address => {
            let cluster = cluster.as_ref().map_or(Ok(""), |node| surroundings.cluster_named(node))?;
            let (metadata, fallback) = places_of(issuer, cluster)?;
            (issuer.non_empty_string()?, metadata, Some(fallback), timeout_of(timeout)?)
        }
        (None, _, _) => {
            return Err(node.error("no place of the metadata", "\"issuer\" and \"cluster\", or \"http_uri\""));
        }
    };
    if provider_issuer.is_some_and(|wanted| wanted != issuer) {
        return Err(node.error("an issuer that is not the provider's", "the same issuer in both"));
    }
    let mut hosts =
        jwks_hosts.map_or(Ok(Vec::new()), |node| jwks_hosts_of(&node, &metadata.cluster, surroundings))?;
    let Endpoint { authority, cluster, .. } = metadata.clone();
    // Behind those that are named, which may have the same server at another cluster.
    hosts.push(JwksHost { authority, cluster });
    let discovery = Discovery { issuer: issuer.to_owned(), metadata, fallback, jwks_hosts: hosts };
    Ok(RemoteKeys { place: KeyPlace::Discovery(discovery), timeout, schedule })
}

/// Where the metadata of an issuer is, and where it is otherwise.
fn places_of(issuer: &Node<'_>, cluster: &str) -> Result<(Endpoint, Endpoint), ConfigError> {
    let text = issuer.non_empty_string()?;
    let endpoint = Endpoint::parse(text, cluster).filter(|_| !text.contains(['?', '#']));
    let endpoint = endpoint.ok_or_else(|| {
        issuer.expected("an absolute URI without query and fragment, such as \"https://issuer.example\"")
    })?;
    let path = endpoint.path.trim_end_matches('/');
    let [first, second] = [format!("{path}{OPENID_CONFIGURATION}"), format!("{AUTHORIZATION_SERVER}{path}")];
    Ok((endpoint.with_path(first), endpoint.with_path(second)))
}

fn jwks_hosts_of(
    node: &Node<'_>,
    default_cluster: &str,
    surroundings: Surroundings<'_>,
) -> Result<Vec<JwksHost>, ConfigError> {
    const EXPECTED: &str = "a host with its port, if it has one, such as \"keys.example:8443\"";
    let read = |item: Node<'_>| {
        let mut fields = Fields::of(item)?;
        let host = fields.require("host")?;
        let cluster = fields.take("cluster")?;
        fields.finish(&[])?;
        let authority = host.non_empty_string()?;
        let endpoint = Endpoint::parse(&format!("https://{authority}"), "");
        if endpoint.is_none_or(|endpoint| endpoint.authority != authority) {
            return Err(host.expected(EXPECTED));
        }
        let cluster = match &cluster {
            Some(cluster) => surroundings.cluster_named(cluster)?,
            None => default_cluster,
        };
        Ok(JwksHost { authority: authority.to_owned(), cluster: cluster.to_owned() })
    };
    let hosts = node.items()?.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if hosts.is_empty() {
        Err(node.error("no host", "at least one host, or no such field"))
    } else {
        Ok(hosts)
    }
}

pub(super) fn http_uri_of(
    node: Node<'_>,
    example: &str,
    surroundings: Surroundings<'_>,
) -> Result<(Endpoint, Duration), ConfigError> {
    http_uri_within(node, example, (DEFAULT_TIMEOUT, LONGEST_TIMEOUT), surroundings)
}

/// `HttpUri`: where, and for how long.
pub(super) fn http_uri_within(
    node: Node<'_>,
    example: &str,
    (default, longest): (Duration, Duration),
    surroundings: Surroundings<'_>,
) -> Result<(Endpoint, Duration), ConfigError> {
    let mut fields = Fields::of(node)?;
    let uri = fields.require("uri")?;
    let cluster = surroundings.cluster(&mut fields)?;
    let timeout = fields.take("timeout")?.map_or(Ok(default), |node| node.duration(SHORTEST, longest))?;
    fields.finish(&[])?;
    let endpoint = Endpoint::parse(uri.string()?, cluster)
        .ok_or_else(|| uri.error("another string", format!("an absolute URI such as {example:?}")))?;
    Ok((endpoint, timeout))
}

fn timeout_of(node: Option<Node<'_>>) -> Result<Duration, ConfigError> {
    node.map_or(Ok(DEFAULT_TIMEOUT), |node| node.duration(SHORTEST, LONGEST_TIMEOUT))
}

pub(super) fn schedule(fields: &mut Fields<'_>) -> Result<KeySchedule, ConfigError> {
    let mut duration = |name, default: Duration, min, max| {
        fields.take(name)?.map_or(Ok(default), |node| node.duration(min, max))
    };
    let cache_duration = duration("cache_duration", DEFAULT_CACHE_DURATION, SHORTEST, LONGEST_DURATION)?
        .max(SHORTEST_CACHE_DURATION);
    let default = DEFAULT_MIN_CACHE_DURATION.min(cache_duration);
    let min_cache_duration =
        duration("min_cache_duration", default, SHORTEST_CACHE_DURATION, cache_duration)?;
    let max_stale = duration("max_stale", DEFAULT_MAX_STALE, Duration::ZERO, LONGEST_DURATION)?;
    let kid_refetch_interval = duration(
        "kid_refetch_interval",
        DEFAULT_KID_REFETCH_INTERVAL,
        Duration::from_secs(1),
        LONGEST_DURATION,
    )?;
    let failed_refetch_duration =
        fields.take("async_fetch")?.map_or(Ok(DEFAULT_FAILED_REFETCH_DURATION), failed_refetch_duration)?;
    let (retries, base_interval) = fields.take("retry_policy")?.map_or(Ok((0, None)), retry_policy)?;
    let first_back_off = base_interval.unwrap_or(failed_refetch_duration);
    Ok(KeySchedule {
        cache_duration,
        min_cache_duration,
        max_stale,
        kid_refetch_interval,
        first_back_off,
        retries,
    })
}

/// Of `JwksAsyncFetch`. Keys are always fetched ahead where the host can; a listener cannot be held back from Wasm, so
/// `fast_listener` is read and means nothing.
fn failed_refetch_duration(node: Node<'_>) -> Result<Duration, ConfigError> {
    let mut fields = Fields::of(node)?;
    fields.boolean_or("fast_listener", false)?;
    let duration = match fields.take("failed_refetch_duration")? {
        Some(node) => node.duration(SHORTEST, LONGEST_FIRST_BACK_OFF)?,
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
    let base = fields.require("base_interval")?.duration(SHORTEST, LONGEST_FIRST_BACK_OFF)?;
    // Pauses double up to the key keeper's own bound.
    if let Some(node) = fields.take("max_interval")? {
        node.duration(SHORTEST, LONGEST_DURATION)?;
    }
    fields.finish(&[])?;
    Ok((retries, Some(base)))
}
