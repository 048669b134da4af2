//! `RequirementRule`, `RouteMatch` and `JwtRequirement`.

use super::error::ConfigError;
use super::fields::Fields;
use super::value::Node;
use super::{PathMatch, PathPattern, Provider, ProviderId, Requirement, Rule};
use crate::path::{RequestPath, normalise};

const FIELDS: &[&str] = &[
    "match.prefix",
    "match.path",
    "requires.provider_name",
    "requires.allow_missing",
    "requires.allow_missing_or_failed",
];

const MATCHES_NOT_BUILT: &[&str] = &[
    "safe_regex",
    "connect_matcher",
    "path_separated_prefix",
    "path_match_policy",
    "case_sensitive",
    "headers",
    "query_parameters",
    "runtime_fraction",
    "grpc",
    "tls_context",
    "dynamic_metadata",
];

const REQUIREMENTS_NOT_BUILT: &[&str] =
    &["provider_and_audiences", "requires_any", "requires_all", "extract_only_without_validation"];

/// The fields of a rule: those that are read, and those that are known and refused.
pub fn fields() -> (Vec<&'static str>, Vec<&'static str>) {
    let mut refused = vec!["requirement_name"];
    refused.extend(MATCHES_NOT_BUILT);
    refused.extend(REQUIREMENTS_NOT_BUILT);
    (FIELDS.to_vec(), refused)
}

pub(super) fn parse_all(node: &Node<'_>, providers: &[Provider]) -> Result<Vec<Rule>, ConfigError> {
    node.items()?.into_iter().map(|item| parse(item, providers)).collect()
}

fn parse(node: Node<'_>, providers: &[Provider]) -> Result<Rule, ConfigError> {
    let mut fields = Fields::of(node)?;
    let path = path_match(fields.require("match")?)?;
    fields.refuse_null("requires")?;
    let requirement = match fields.take("requires")? {
        Some(node) => requirement(node, providers)?,
        None => Requirement::None,
    };
    fields.finish(&["requirement_name"])?;
    Ok(Rule { path, requirement })
}

fn path_match(node: Node<'_>) -> Result<PathMatch, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    let prefix = fields.take("prefix")?;
    let path = fields.take("path")?;
    fields.finish(MATCHES_NOT_BUILT)?;
    match (prefix, path) {
        (Some(prefix), None) => Ok(PathMatch::Prefix(pattern(&prefix)?)),
        (None, Some(path)) => Ok(PathMatch::Path(pattern(&path)?)),
        (Some(_), Some(path)) => Err(path.error("a second way to match the path", "prefix or path alone")),
        (None, None) => Err(node.error("no way to match a path", "\"prefix\" or \"path\"")),
    }
}

/// A path that requests can have as it is written. Another would never match, and the rule would protect nothing.
fn pattern(node: &Node<'_>) -> Result<PathPattern, ConfigError> {
    let path = node.string()?;
    if path.contains('?') {
        return Err(node.expected("a path without a query"));
    }
    if let RequestPath::Plain { sent, decoded } = RequestPath::of(path.as_bytes()) {
        return Ok(PathPattern { written: sent, decoded });
    }
    match RequestPath::of(&normalise(path.as_bytes())) {
        RequestPath::Plain { sent, .. } => {
            Err(node.expected(format!("a path in its normal form, such as {sent:?}")))
        }
        _ => Err(node.expected(
            "a path that starts with \"/\", without \"//\", dot segments, \";\", \"#\", \"\\\", encoded delimiters, \
             and with other bytes than printable ASCII percent-encoded",
        )),
    }
}

fn requirement(node: Node<'_>, providers: &[Provider]) -> Result<Requirement, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    let mut found = Vec::new();
    if let Some(name) = fields.take("provider_name")? {
        let wanted = name.string()?;
        let index = providers.iter().position(|provider| provider.name == wanted).ok_or_else(|| {
            let names: Vec<_> = providers.iter().map(|provider| provider.name.as_str()).collect();
            name.expected(format!("the name of a provider: {}", names.join(", ")))
        })?;
        found.push(Requirement::Provider(ProviderId(index)));
    }
    for (name, requirement) in [
        ("allow_missing", Requirement::AllowMissing),
        ("allow_missing_or_failed", Requirement::AllowMissingOrFailed),
    ] {
        if let Some(node) = fields.take(name)? {
            Fields::of(node)?.finish(&[])?;
            found.push(requirement);
        }
    }
    fields.finish(REQUIREMENTS_NOT_BUILT)?;
    match found.as_slice() {
        // `jwt_authn` takes this for "nothing is required". More likely a value is missing.
        [] => Err(node.error(
            "no requirement",
            "one of provider_name, allow_missing, allow_missing_or_failed; to open the rule, leave \"requires\" out",
        )),
        [requirement] => Ok(*requirement),
        _ => Err(node.error(
            "more than one requirement",
            "one of provider_name, allow_missing, allow_missing_or_failed",
        )),
    }
}
