//! `JwtRequirement`: what must be proven, as a tree.
//!
//! Takes the text of a requirement and the providers that it may name, gives a [`Requirement`]. Nested at most
//! [`MAX_DEPTH`] deep.

use super::error::ConfigError;
use super::fields::Fields;
use super::header_name::HeaderName;
use super::provider::audiences;
use super::value::Node;
use super::{AudienceForm, Leniency, Provider, ProviderId, Requirement, RequirementMap};

/// The deepest nesting of `requires_any` and `requires_all`; a requirement without either has depth 0.
const MAX_DEPTH: usize = 8;

/// Names written by Envoy when a token was extracted but not verified (envoy `config.proto`,
/// `ExtractOnlyWithoutValidation`).
const DEFAULT_STATUS_HEADER: &str = "x-jwt-signature-verified";

pub(super) const FIELDS: &[&str] = &[
    "provider_name",
    "provider_and_audiences",
    "requires_any",
    "requires_all",
    "allow_missing",
    "allow_missing_or_failed",
    "extract_only_without_validation",
];

/// What a requirement may refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'p> {
    pub(super) providers: &'p [Provider],
    pub(super) form: AudienceForm,
}

impl Names<'_> {
    /// Requirements by their names, of which there are no two alike.
    pub(super) fn requirement_map(&self, node: &Node<'_>) -> Result<RequirementMap, ConfigError> {
        let members = node.members("an object of requirements by their names")?;
        let parse = |(name, node): (&str, Node<'_>)| Ok((name.to_owned(), self.requirement(node)?));
        members.into_iter().map(parse).collect()
    }

    /// One requirement.
    pub(super) fn requirement(&self, node: Node<'_>) -> Result<Requirement, ConfigError> {
        self.at_depth(node, 0)
    }

    fn at_depth(&self, node: Node<'_>, depth: usize) -> Result<Requirement, ConfigError> {
        if depth > MAX_DEPTH {
            return Err(node.error("a deeper requirement", format!("at most {MAX_DEPTH} levels")));
        }
        let mut fields = Fields::of(node.clone())?;
        let mut found = Vec::new();
        for name in FIELDS {
            if let Some(node) = fields.take(name)? {
                found.push((*name, node));
            }
        }
        fields.finish(&[])?;
        let expected = FIELDS.join(", ");
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            // `jwt_authn` takes this for "nothing is required". More likely a value is missing.
            (None, _) => Err(node.error(
                "no requirement",
                format!("one of {expected}; to open the rule, leave \"requires\" out"),
            )),
            (Some((name, node)), None) => self.variant(name, node, depth),
            (Some(_), Some(_)) => Err(node.error("more than one requirement", format!("one of {expected}"))),
        }
    }

    fn variant(&self, name: &str, node: Node<'_>, depth: usize) -> Result<Requirement, ConfigError> {
        match name {
            "provider_name" => Ok(Requirement::Provider { id: self.provider(&node)?, audiences: None }),
            "provider_and_audiences" => {
                let mut fields = Fields::of(node.clone())?;
                let id = self.provider(&fields.require("provider_name")?)?;
                fields.refuse_null("audiences")?;
                let audiences = audiences(fields.take("audiences")?, self.form)?;
                fields.finish(&[])?;
                // They take the place of the provider's: none at all would mean that any audience will do.
                let is_narrowed =
                    self.providers.get(id.0).is_some_and(|known| !known.audiences.allowed.is_empty());
                if audiences.allowed.is_empty() && is_narrowed {
                    return Err(node.error("no audiences", "at least one, as the provider has some"));
                }
                Ok(Requirement::Provider { id, audiences: Some(audiences) })
            }
            "requires_any" => self.any(node, depth),
            "requires_all" => Ok(Requirement::All(self.list(node, depth)?)),
            "extract_only_without_validation" => {
                let mut fields = Fields::of(node)?;
                let status_header = match fields.take("verification_status_header")? {
                    Some(node) if node.string()?.is_empty() => None,
                    Some(node) => Some(HeaderName::parse_output(&node)?),
                    None => None,
                };
                fields.finish(&[])?;
                let status_header = status_header.unwrap_or_else(|| HeaderName::known(DEFAULT_STATUS_HEADER));
                Ok(Requirement::ExtractOnly { status_header })
            }
            lenient => {
                Fields::of(node)?.finish(&[])?;
                Ok(match lenient {
                    "allow_missing" => Requirement::AllowMissing,
                    _ => Requirement::AllowMissingOrFailed,
                })
            }
        }
    }

    /// `allow_missing` and `allow_missing_or_failed` in a list of alternatives are no alternatives of their own: they
    /// say what becomes of a request for which all others fail. Alone in the list, one is what it is elsewhere.
    fn any(&self, node: Node<'_>, depth: usize) -> Result<Requirement, ConfigError> {
        let mut leniency = Leniency::None;
        let mut of = Vec::new();
        for requirement in self.list(node, depth)? {
            match requirement {
                Requirement::AllowMissing => leniency = leniency.max(Leniency::Missing),
                Requirement::AllowMissingOrFailed => leniency = Leniency::MissingOrFailed,
                other => of.push(other),
            }
        }
        Ok(match (of.is_empty(), leniency) {
            (true, Leniency::Missing) => Requirement::AllowMissing,
            (true, Leniency::MissingOrFailed) => Requirement::AllowMissingOrFailed,
            _ => Requirement::Any { of, leniency },
        })
    }

    fn list(&self, node: Node<'_>, depth: usize) -> Result<Vec<Requirement>, ConfigError> {
        let mut fields = Fields::of(node)?;
        let list = fields.require("requirements")?;
        fields.finish(&[])?;
        let items = list.items()?;
        if items.len() < 2 {
            return Err(list.error(format!("{} requirements", items.len()), "two or more"));
        }
        items.into_iter().map(|item| self.at_depth(item, depth + 1)).collect()
    }

    fn provider(&self, node: &Node<'_>) -> Result<ProviderId, ConfigError> {
        let wanted = node.string()?;
        let found = self.providers.iter().position(|provider| provider.name == wanted);
        found.map(ProviderId).ok_or_else(|| {
            let names: Vec<_> = self.providers.iter().map(|provider| provider.name.as_str()).collect();
            node.expected(format!("the name of a provider: {}", names.join(", ")))
        })
    }
}
