//! `RequirementRule` and `FilterStateRule`.

use super::error::ConfigError;
use super::fields::Fields;
use super::requirement::{self, Names};
use super::route_match::{self, RouteMatch};
use super::value::Node;
use super::{FilterStateRules, Requirement, RequirementMap, Rule};

/// The fields of a rule: those that are read, and those that are known and refused.
pub fn fields() -> (Vec<String>, &'static [&'static str]) {
    let matches = route_match::FIELDS.iter().map(|name| (*name).to_owned());
    let requires = requirement::FIELDS.iter().map(|name| format!("requires.{name}"));
    (matches.chain(requires).chain(["requirement_name".to_owned()]).collect(), route_match::NOT_BUILT)
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
    let matcher = RouteMatch::parse(&fields.require("match")?)?;
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
    Ok(Rule { matcher, requirement })
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
    fields.refuse_null("requires")?;
    let requires = fields.take("requires")?;
    fields.finish(&[])?;
    let requires =
        requires.map_or_else(|| Ok(RequirementMap::default()), |node| names.requirement_map(&node))?;
    Ok(FilterStateRules { name, requires })
}
