//! `RequirementRule` and `FilterStateRule`.
//!
//! Takes their text, gives [`Rules`]: a list with what is worked out once for all requests, so that a request is not held
//! against each of a thousand rules. Deliberately does not choose among them: that is done in `src/rule.rs`.

use std::ops::Deref;

use super::error::ConfigError;
use super::fields::Fields;
use super::requirement::{self, Names};
use super::route_match::{self, PathSpecifier, RouteMatch};
use super::value::Node;
use super::{FilterStateRules, Requirement, RequirementMap, Rule};
use crate::rule_index::{Paths, RuleIndex};

/// The rules in order; the first that matches counts. Nobody can change the list without what is known of it.
#[derive(Debug, Default, PartialEq)]
pub struct Rules {
    list: Vec<Rule>,
    by_path: RuleIndex,
    /// Whether one of them demands a verified token.
    has_strict_rule: bool,
    /// Those for a request whose path cannot be read, by their places.
    for_any_path: Vec<usize>,
}

impl Rules {
    pub(super) fn of(list: Vec<Rule>) -> Self {
        let by_path = RuleIndex::of(list.iter().map(|rule| rule.matcher.path.known()));
        let has_strict_rule = list.iter().any(|rule| !rule.relaxes_authentication());
        let mut rules = Self { list, by_path, has_strict_rule, for_any_path: Vec::new() };
        rules.for_any_path = rules.places_for_any_path();
        rules
    }

    /// Whether one of them demands a verified token.
    pub const fn has_strict_rule(&self) -> bool {
        self.has_strict_rule
    }

    /// Those that may be for a path that is written in these ways, in order; without a path, those that may be for a
    /// request that has none. All others are not.
    pub fn candidates<const N: usize>(&self, paths: [&str; N]) -> impl Iterator<Item = &Rule> {
        self.by_path.candidates(paths).filter_map(|place| self.list.get(place))
    }

    /// Those that count for a path that can be read as any path, in order.
    pub fn for_any_path(&self) -> impl Iterator<Item = &Rule> {
        self.for_any_path.iter().filter_map(|place| self.list.get(*place))
    }

    /// Whether a rule counts for a path that is not plain: only those that demand a verified token do or, where there is
    /// none of them to walk around, those that look at a token at all; and those behind which there is nothing more.
    pub fn counts_in_doubt(&self, rule: &Rule) -> bool {
        let is_guarding = match self.has_strict_rule {
            true => !rule.relaxes_authentication(),
            false => rule.requirement != Requirement::None,
        };
        is_guarding || rule.matcher.catches_all()
    }

    /// Those that count in doubt, but for those that ask for nothing new: what a rule without conditions asks for, every
    /// such request is asked for.
    fn places_for_any_path(&self) -> Vec<usize> {
        let mut places = Vec::new();
        let mut asked = None;
        for (place, rule) in self.list.iter().enumerate().filter(|(_, rule)| self.counts_in_doubt(rule)) {
            let is_asked = asked == Some(&rule.requirement);
            if rule.matcher.catches_all() {
                places.push(place);
                break;
            }
            if !is_asked {
                places.push(place);
            }
            if !rule.matcher.has_conditions() {
                asked = asked.or(Some(&rule.requirement));
            }
        }
        places
    }
}

impl Deref for Rules {
    type Target = [Rule];

    fn deref(&self) -> &[Rule] {
        &self.list
    }
}

impl PathSpecifier {
    /// What paths of this kind start with, as sent or decoded.
    fn known(&self) -> Paths<'_> {
        match self {
            Self::Prefix(pattern) | Self::Path(pattern) | Self::PathSeparatedPrefix(pattern) => {
                Paths::StartWith([&pattern.written, &pattern.decoded])
            }
            Self::SafeRegex(_) | Self::UriTemplate(_) | Self::Connect => Paths::Unknown,
        }
    }
}

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
) -> Result<Rules, ConfigError> {
    let rules = node.items()?.into_iter().map(|item| parse(item, names, requirements));
    rules.collect::<Result<_, _>>().map(Rules::of)
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

#[cfg(test)]
impl Rules {
    /// The same rules, all of which are looked at for every request until one decides.
    pub(crate) fn without_index(&self) -> Self {
        let list = self.list.clone();
        let by_path = RuleIndex::of(list.iter().map(|_| Paths::Unknown));
        let for_any_path = (0..list.len()).filter(|place| self.counts_in_doubt(&list[*place])).collect();
        Self { list, by_path, has_strict_rule: self.has_strict_rule, for_any_path }
    }
}
