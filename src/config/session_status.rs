//! `session_check` of the kind `session_status`: a question about a session by the name that its tokens have for it.
//!
//! Takes the fields of such a check, gives a [`SessionStatus`]. The name of a session is a claim, so there must be keys
//! that verify it, and nothing can be asked about what is no token.

use super::error::ConfigError;
use super::fields::Fields;
use super::required_claim::dotted_path;
use super::session_check::{denials, fixed_headers};
use super::value::Node;
use super::{CheckMode, Denials, Endpoint, FixedHeader, KeySource, Surroundings};

/// The claims that name a session in, its status out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionStatus {
    /// The method.
    pub method: &'static str,
    /// The path and query of the question; at least one claim.
    pub path: Vec<PathPart>,
    /// What else is sent.
    pub headers: Vec<FixedHeader>,
    /// The answers that are denials.
    pub denials: Denials,
}

/// A part of a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathPart {
    /// As it is.
    Text(String),
    /// The claim that these names of members lead to.
    Claim(Vec<String>),
}

/// `http_uri` is where `endpoint` was read from.
pub(super) fn session_status(
    fields: &mut Fields<'_>,
    (kind, keys, mode): (&Node<'_>, &KeySource, CheckMode),
    (http_uri, endpoint): (&Node<'_>, &Endpoint),
    surroundings: Surroundings<'_>,
) -> Result<SessionStatus, ConfigError> {
    if matches!(keys, KeySource::None) {
        return Err(kind.error("a kind for what keys have verified, and no keys", "keys, or another kind"));
    }
    if mode == CheckMode::Opaque {
        let mode = fields.take("mode")?;
        let found = "a mode for what is no token, and a kind for tokens alone";
        return Err(mode.as_ref().unwrap_or(kind).error(found, "another mode, or another kind"));
    }
    let method = match fields.take("method")? {
        None => "GET",
        Some(node) => match node.string()? {
            "GET" => "GET",
            "POST" => "POST",
            _ => return Err(node.expected("\"GET\" or \"POST\"")),
        },
    };
    let path = path(endpoint).ok_or_else(|| {
        let uri = http_uri.value.as_object().and_then(|object| object.get("uri"));
        uri.map_or_else(|| http_uri.clone(), |uri| http_uri.member("uri", uri)).expected(
            "a URI with the name of a claim in braces in its path, such as \"https://host/sessions/{sid}\"",
        )
    })?;
    let headers = fixed_headers(fields.take("headers")?, surroundings, &[])?;
    let denials = denials(fields, 404)?;
    Ok(SessionStatus { method, path, headers, denials })
}

/// The parts of a path with claims in braces. `None` when there is no claim, or a brace elsewhere.
fn path(endpoint: &Endpoint) -> Option<Vec<PathPart>> {
    let Endpoint { authority, path, .. } = endpoint;
    let (path, query) = path.find('?').and_then(|end| path.split_at_checked(end)).unwrap_or((path, ""));
    let mut parts = Vec::new();
    let mut pieces = path.split('{');
    parts.push(PathPart::Text(pieces.next()?.to_owned()));
    for piece in pieces {
        let (claim, text) = piece.split_once('}')?;
        parts.push(PathPart::Claim(dotted_path(claim)?));
        parts.push(PathPart::Text(text.to_owned()));
    }
    parts.push(PathPart::Text(query.to_owned()));
    let has_claim = parts.iter().any(|part| matches!(part, PathPart::Claim(_)));
    parts.retain(|part| *part != PathPart::Text(String::new()));
    let texts = parts.iter().filter_map(|part| match part {
        PathPart::Text(text) => Some(text.as_str()),
        PathPart::Claim(_) => None,
    });
    let has_brace = texts.chain([authority.as_str()]).any(|text| text.contains(['{', '}']));
    (has_claim && !has_brace).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str) -> Option<String> {
        let parts = path(&Endpoint::parse(uri, "c")?)?;
        let show = |part| match part {
            PathPart::Text(text) => text,
            PathPart::Claim(names) => format!("<{}>", names.join("|")),
        };
        Some(parts.into_iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_path_is_split_at_the_claims_in_it() {
        for (uri, expected) in [
            ("https://a/s/{sid}/verify/", "/s/ <sid> /verify/"),
            ("https://a/{sid}", "/ <sid>"),
            ("https://a/{iss.id}/{sid}?x=1", "/ <iss|id> / <sid> ?x=1"),
            ("https://a/{a}{b}", "/ <a> <b>"),
        ] {
            assert_eq!(parts(uri).as_deref(), Some(expected), "{uri}");
        }
        for uri in [
            "https://a/",
            "https://a/s",
            "https://{sid}/s/{sid}",
            "https://a/s?sid={sid}",
            "https://a/{sid}?sid={sid}",
            "https://a/{}",
            "https://a/{sid",
            "https://a/sid}",
            "https://a/{{sid}}",
            "https://a/{sid}}",
            "https://a/{a..b}",
            "https://a/{sid#}",
        ] {
            assert_eq!(parts(uri), None, "{uri}");
        }
    }
}
