//! `RequirementRule`, `FilterStateRule` and `RouteMatch`.

use super::error::ConfigError;
use super::fields::Fields;
use super::requirement::{self, Names};
use super::value::Node;
use super::{FilterStateRules, PathMatch, PathPattern, Requirement, RequirementMap, Rule};
use crate::path::{RequestPath, normalise};

const MATCH_FIELDS: &[&str] = &["prefix", "path"];

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

/// The fields of a rule: those that are read, and those that are known and refused.
pub fn fields() -> (Vec<String>, Vec<&'static str>) {
    let matches = MATCH_FIELDS.iter().map(|name| format!("match.{name}"));
    let requires = requirement::FIELDS.iter().map(|name| format!("requires.{name}"));
    (matches.chain(requires).chain(["requirement_name".to_owned()]).collect(), MATCHES_NOT_BUILT.to_vec())
}

pub(super) fn parse_all(
    node: &Node<'_>,
    names: &Names<'_>,
    requirements: &RequirementMap,
) -> Result<Vec<Rule>, ConfigError> {
    node.items()?.into_iter().map(|item| parse(item, names, requirements)).collect()
}

fn parse(node: Node<'_>, names: &Names<'_>, requirements: &RequirementMap) -> Result<Rule, ConfigError> {
    let mut fields = Fields::of(node)?;
    let path = path_match(fields.require("match")?)?;
    for name in ["requires", "requirement_name"] {
        fields.refuse_null(name)?;
    }
    let requirement = match (fields.take("requires")?, fields.take("requirement_name")?) {
        (Some(node), None) => names.requirement(node)?,
        (None, Some(node)) => named(&node, requirements)?,
        (None, None) => Requirement::None,
        (Some(_), Some(name)) => {
            return Err(name.error("a second requirement", "requires or requirement_name alone"));
        }
    };
    fields.finish(&[])?;
    Ok(Rule { path, requirement })
}

fn named(node: &Node<'_>, requirements: &RequirementMap) -> Result<Requirement, ConfigError> {
    requirements.get(node.string()?).cloned().ok_or_else(|| {
        let known: Vec<_> = requirements.names().collect();
        node.expected(format!("a name in requirement_map: {}", known.join(", ")))
    })
}

pub(super) fn filter_state(node: Node<'_>, names: &Names<'_>) -> Result<FilterStateRules, ConfigError> {
    let mut fields = Fields::of(node)?;
    let name = fields.require("name")?.non_empty_string()?.to_owned();
    let requires = fields.take("requires")?;
    fields.finish(&[])?;
    let requires =
        requires.map_or_else(|| Ok(RequirementMap::default()), |node| names.requirement_map(&node))?;
    Ok(FilterStateRules { name, requires })
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
