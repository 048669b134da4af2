//! `RequirementRule` and `JwtRequirement`.

use super::error::ConfigError;
use super::fields::Fields;
use super::route_match::{self, RouteMatch};
use super::value::Node;
use super::{Provider, ProviderId, Requirement, Rule};

const REQUIREMENTS: &[&str] =
    &["requires.provider_name", "requires.allow_missing", "requires.allow_missing_or_failed"];

const REQUIREMENTS_NOT_BUILT: &[&str] =
    &["provider_and_audiences", "requires_any", "requires_all", "extract_only_without_validation"];

/// The fields of a rule: those that are read, and those that are known and refused.
pub fn fields() -> (Vec<&'static str>, Vec<&'static str>) {
    let mut refused = vec!["requirement_name"];
    refused.extend(route_match::NOT_BUILT);
    refused.extend(REQUIREMENTS_NOT_BUILT);
    ([route_match::FIELDS, REQUIREMENTS].concat(), refused)
}

pub(super) fn parse_all(node: &Node<'_>, providers: &[Provider]) -> Result<Vec<Rule>, ConfigError> {
    node.items()?.into_iter().map(|item| parse(item, providers)).collect()
}

fn parse(node: Node<'_>, providers: &[Provider]) -> Result<Rule, ConfigError> {
    let mut fields = Fields::of(node)?;
    let matcher = RouteMatch::parse(&fields.require("match")?)?;
    fields.refuse_null("requires")?;
    let requirement = match fields.take("requires")? {
        Some(node) => requirement(node, providers)?,
        None => Requirement::None,
    };
    fields.finish(&["requirement_name"])?;
    Ok(Rule { matcher, requirement })
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
