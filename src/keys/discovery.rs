//! An identity provider's metadata: where its keys are (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3).
//!
//! Takes the document and what the configuration expects of it, gives the endpoint of the keys. Whoever can answer for
//! the metadata chooses the keys, so its `issuer` must be the configured one to the letter (RFC 8414 section 3.3), and
//! the keys must be on a server that the configuration allows. Deliberately reads nothing else of it.

use std::fmt;

use crate::config::{Discovery, Endpoint};
use crate::json::{Json, Object};

/// The longest URI of keys.
const MAX_URI_BYTES: usize = 2048;
/// How much of a value a message shows.
const MAX_SHOWN_CHARS: usize = 100;

/// Why metadata does not say where the keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MetadataError {
    /// Not a strict JSON object.
    NotMetadata,
    /// `issuer` is another one, or missing.
    Issuer {
        /// What was found.
        found: Option<String>,
    },
    /// `jwks_uri` is missing or not an absolute URI.
    JwksUri {
        /// What was found.
        found: Option<String>,
    },
    /// `jwks_uri` is on a server that the configuration does not allow.
    JwksHost {
        /// Host and port that were found.
        found: String,
    },
    /// `jwks_uri` is `http` although the metadata is `https`.
    Downgrade,
}

/// The URI of the keys in the metadata `body`, which was fetched as `discovery` says.
///
/// # Errors
///
/// See [`MetadataError`].
pub fn jwks_uri(discovery: &Discovery, body: &[u8]) -> Result<String, MetadataError> {
    let metadata = Object::parse(body).map_err(|_| MetadataError::NotMetadata)?;
    let text = |name| metadata.get(name).and_then(Json::as_str);
    if text("issuer") != Some(&discovery.issuer) {
        return Err(MetadataError::Issuer { found: text("issuer").map(shown) });
    }
    let uri = text("jwks_uri").ok_or(MetadataError::JwksUri { found: None })?;
    endpoint(discovery, uri).map(|_| uri.to_owned())
}

/// The endpoint that a URI of keys is, where the configuration allows it.
///
/// # Errors
///
/// [`MetadataError::JwksUri`], [`MetadataError::JwksHost`], [`MetadataError::Downgrade`].
pub fn endpoint(discovery: &Discovery, uri: &str) -> Result<Endpoint, MetadataError> {
    let endpoint = Endpoint::parse(uri, "").filter(|_| uri.len() <= MAX_URI_BYTES);
    let endpoint = endpoint.ok_or_else(|| MetadataError::JwksUri { found: Some(shown(uri)) })?;
    let mut hosts = discovery.jwks_hosts.iter();
    let Some(host) = hosts.find(|host| endpoint.is_on(&host.authority)) else {
        return Err(MetadataError::JwksHost { found: shown(&endpoint.authority) });
    };
    if discovery.metadata.scheme == "https" && endpoint.scheme != "https" {
        return Err(MetadataError::Downgrade);
    }
    Ok(Endpoint { cluster: host.cluster.clone(), ..endpoint })
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMetadata => f.write_str("the metadata is not a strict JSON object"),
            Self::Issuer { found: None } => f.write_str("the metadata has no issuer"),
            Self::Issuer { found: Some(found) } => {
                write!(f, "the issuer of the metadata is {found:?}, not the configured one")
            }
            Self::JwksUri { found: None } => f.write_str("the metadata has no jwks_uri"),
            Self::JwksUri { found: Some(found) } => write!(f, "the jwks_uri {found:?} is no absolute URI"),
            Self::JwksHost { found } => {
                write!(f, "the jwks_uri is on {found:?}, which jwks_hosts does not have")
            }
            Self::Downgrade => f.write_str("the jwks_uri is http, the metadata https"),
        }
    }
}

impl std::error::Error for MetadataError {}
