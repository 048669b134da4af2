//! Where the keys of a provider come from, the keys that stand in the configuration (`DataSource`, `jwt_key`), and what
//! keys may be used for.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::ConfigError;
use super::fields::Fields;
use super::keys_by_kid::keys_by_kid;
use super::remote_keys::{discovery, remote_jwks};
use super::value::Node;
use super::{KeySource, Surroundings};
use crate::jose::algorithm::{Algorithm, KeyError};
use crate::jose::jwk::{JwkSet, KeyOrigin, UnusableKey};

/// Where keys may come from.
pub(super) const KEY_SOURCES: [&str; 5] =
    ["remote_jwks", "remote_keys_by_kid", "discovery", "local_jwks", "jwt_key"];

/// The one source of keys that there may be. `issuer` is the provider's, if it has one.
pub(super) fn key_source(
    fields: &mut Fields<'_>,
    issuer: Option<&str>,
    surroundings: Surroundings<'_>,
) -> Result<KeySource, ConfigError> {
    let mut found = Vec::new();
    for name in KEY_SOURCES {
        found.extend(fields.take_unless(name, &KEY_SOURCES)?.map(|node| (name, node)));
    }
    match found.as_slice() {
        [("remote_jwks", node)] => remote_jwks(node, surroundings).map(Box::new).map(KeySource::Remote),
        [("remote_keys_by_kid", node)] => keys_by_kid(node, surroundings).map(Box::new).map(KeySource::ByKid),
        [("discovery", node)] => discovery(node, issuer, surroundings).map(Box::new).map(KeySource::Remote),
        [("local_jwks", node)] => local_jwks(node, surroundings).map(KeySource::Local),
        [(_, node)] => jwt_key_pem(node).map(KeySource::Local),
        [] => Ok(KeySource::None),
        [_, (_, second), ..] => {
            Err(second.error("a second source of keys", format!("one of {}", KEY_SOURCES.join(", "))))
        }
    }
}

/// The allow-list of a provider; every algorithm that its keys may be for when there is none.
pub(super) fn algorithms(fields: &mut Fields<'_>, keys: &KeySource) -> Result<Vec<Algorithm>, ConfigError> {
    fields.refuse_null("algorithms")?;
    let usable: Vec<_> = match keys {
        KeySource::None => Vec::new(),
        KeySource::Local(keys) => keys.algorithms().collect(),
        KeySource::Remote(_) | KeySource::ByKid(_) => {
            Algorithm::ALL.into_iter().filter(|name| !name.is_symmetric()).collect()
        }
    };
    let Some(node) = fields.take("algorithms")? else { return Ok(usable) };
    if matches!(keys, KeySource::None) {
        return Err(node.error("algorithms", "no such field where there are no keys"));
    }
    let one_of = |algorithms: &[Algorithm]| {
        let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        format!("at least one of {}", names.join(", "))
    };
    let mut allowed = Vec::new();
    for item in node.items()? {
        let algorithm = Algorithm::from_name(item.string()?);
        let algorithm = algorithm.ok_or_else(|| item.expected(one_of(&Algorithm::ALL)))?;
        // Of keys that are fetched, none is a shared secret.
        if algorithm.is_symmetric() && matches!(keys, KeySource::Remote(_) | KeySource::ByKid(_)) {
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
fn local_jwks(node: &Node<'_>, surroundings: Surroundings<'_>) -> Result<JwkSet, ConfigError> {
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
            let value = variable
                .value
                .as_str()
                .and_then(surroundings.variable)
                .ok_or_else(|| no_variable(&variable))?;
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
pub(super) fn no_variable(variable: &Node<'_>) -> ConfigError {
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
