//! `required_claims` and `typ`: what tokens of a provider must be like beyond what RFC 7519 registers. Ours.

use super::error::ConfigError;
use super::fields::Fields;
use super::value::Node;
use super::{ClaimMatch, ClaimPattern, RequiredClaim, StringMatcher, TokenPart};
use crate::jose::token::comparable_media_type;

pub(super) fn required_claim(node: Node<'_>) -> Result<RequiredClaim, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    if let Some(lists) = fields.take("any_of")? {
        let lists = any_of(&lists)?;
        fields.finish(&[])?;
        return Ok(RequiredClaim::AnyOf(lists));
    }
    let path = claim_path(&mut fields, &node)?;
    let pattern = match fields.take("present_match")? {
        Some(is_there) => {
            if let Some(second) = fields.take("string_match")? {
                return Err(second.error("a second pattern", "string_match or present_match alone"));
            }
            ClaimPattern::IsThere(is_there.boolean()?)
        }
        None => ClaimPattern::Text {
            pattern: StringMatcher::parse(&fields.require("string_match")?)?,
            is_inverted: fields.boolean_or("invert_match", false)?,
            is_optional: fields.boolean_or("optional", false)?,
        },
    };
    let part = match fields.take("in")? {
        None => TokenPart::Payload,
        Some(node) => match node.string()? {
            "payload" => TokenPart::Payload,
            "header" => TokenPart::Header,
            _ => return Err(node.expected("\"payload\" or \"header\"")),
        },
    };
    fields.finish(&[])?;
    Ok(RequiredClaim::One(ClaimMatch { part, path, pattern }))
}

/// `any_of`: an empty list would hold for every token, and none at all for no token.
fn any_of(node: &Node<'_>) -> Result<Vec<Vec<RequiredClaim>>, ConfigError> {
    let lists: Vec<Vec<_>> = node
        .items()?
        .iter()
        .map(|list| {
            let claims: Vec<_> =
                list.items()?.into_iter().map(required_claim).collect::<Result<_, ConfigError>>()?;
            if claims.is_empty() { Err(list.expected("at least one claim")) } else { Ok(claims) }
        })
        .collect::<Result<_, _>>()?;
    if lists.is_empty() { Err(node.expected("at least one list of claims")) } else { Ok(lists) }
}

/// `claim_name`, with dots between the names of nested claims, or `claim_path`, with a list of them.
pub(super) fn claim_path(fields: &mut Fields<'_>, node: &Node<'_>) -> Result<Vec<String>, ConfigError> {
    match (fields.take("claim_name")?, fields.take("claim_path")?) {
        (Some(name), None) => {
            let path = dotted_path(name.non_empty_string()?);
            path.ok_or_else(|| name.expected("claim names joined by single dots"))
        }
        (None, Some(segments)) => {
            let path: Vec<_> = segments.items()?.into_iter().map(path_segment).collect::<Result<_, _>>()?;
            if path.is_empty() {
                return Err(segments.expected("at least one {\"key\": ...}"));
            }
            Ok(path)
        }
        (Some(_), Some(path)) => Err(path.error("a second claim", "claim_name or claim_path alone")),
        (None, None) => Err(node.error("no claim", "\"claim_name\" or \"claim_path\"")),
    }
}

/// The names of nested claims, with dots between them.
pub(super) fn dotted_path(text: &str) -> Option<Vec<String>> {
    let path: Vec<_> = text.split('.').map(str::to_owned).collect();
    path.iter().all(|name| !name.is_empty()).then_some(path)
}

/// One step of a `claim_path`.
fn path_segment(node: Node<'_>) -> Result<String, ConfigError> {
    let mut fields = Fields::of(node)?;
    let key = fields.require("key")?.non_empty_string()?.to_owned();
    fields.finish(&[])?;
    Ok(key)
}

/// `typ`: media types that the header may name; an empty string stands for none.
pub(super) fn types(node: Option<Node<'_>>) -> Result<Vec<String>, ConfigError> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let types = node.items()?.into_iter().map(|item| item.string().map(comparable_media_type));
    let types = types.collect::<Result<Vec<_>, _>>()?;
    if types.is_empty() { Err(node.error("no type", "at least one, or no such field")) } else { Ok(types) }
}
