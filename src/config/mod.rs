//! Configuration: text in, compiled value out, or one message that says what to mend.
//!
//! Takes what the host hands over (JSON text from a `StringValue` of Envoy, Istio's `pluginConfig`, APISIX's `conf`; the
//! binary form of a `Struct` of Envoy), gives a [`Config`] that needs no further checks. The shape is that of Envoy's `JwtAuthentication` message (envoy
//! `api/envoy/extensions/filters/http/jwt_authn/v3/config.proto`), in `snake_case` or `camelCase`, with additions of our
//! own. A field that is not known, or known and not built yet, is refused by name: nothing is ever ignored silently.
//! Deliberately has no behaviour beyond parsing.

mod error;
mod fields;
mod header_name;
mod protobuf_struct;
mod provider;
mod route_match;
mod rules;
mod string_matcher;
mod value;

use std::time::Duration;

pub use error::ConfigError;
pub use header_name::HeaderName;
pub(crate) use header_name::{fold, is_token_char};
pub use provider::fields as provider_fields;
pub use route_match::{
    HeaderMatchSpecifier, HeaderMatcher, PathPattern, PathSpecifier, QueryParameterMatchSpecifier,
    QueryParameterMatcher, RouteMatch,
};
pub use rules::fields as rule_fields;
pub use string_matcher::{StringMatcher, StringPattern};

use crate::jose::jwk::JwkSet;
use crate::json::Json;
use fields::Fields;
use value::Node;

/// A whole configuration, ready for use.
#[derive(Debug)]
pub struct Config {
    /// The providers in the order of the text; [`ProviderId`] points into it.
    pub providers: Vec<Provider>,
    /// The rules in order; the first that matches counts.
    pub rules: Vec<Rule>,
    /// What becomes of a request that no rule matches.
    pub when_no_rule_matches: NoRule,
    /// The `realm` of challenges; printable ASCII without quote and backslash.
    pub realm: String,
    /// What is allowed but probably not meant, one sentence each.
    pub warnings: Vec<String>,
}

/// The place of a provider in [`Config::providers`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProviderId(pub usize);

/// An identity provider: whose tokens, where they travel, and what becomes of their claims.
#[derive(Debug)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// What `iss` must be; not checked when `None`.
    pub issuer: Option<String>,
    /// What `aud` may be; not checked when empty.
    pub audiences: Vec<String>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Where its tokens travel; never empty.
    pub locations: Vec<Location>,
    /// Whether the token goes on to the upstream.
    pub forward: bool,
    /// The header that receives the token's payload.
    pub forward_payload_header: Option<HeaderName>,
    /// The headers that receive claims.
    pub claim_to_headers: Vec<ClaimToHeader>,
    /// How far clocks may differ when `exp` and `nbf` are compared.
    pub clock_skew: Duration,
    /// Whether a token without `exp` is refused.
    pub require_expiration: bool,
}

/// Where the keys of a provider come from.
#[derive(Debug)]
pub enum KeySource {
    /// The configuration itself.
    Local(JwkSet),
    /// A document that is fetched.
    Remote(RemoteJwks),
}

/// A JWKS document that is fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteJwks {
    /// `http` or `https`, for hosts that choose the transport by it.
    pub scheme: &'static str,
    /// Host and port, as they go into `:authority`.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// The host's name for the server: an Envoy cluster.
    pub cluster: String,
    /// How long one fetch may take; never zero, which would mean for ever.
    pub timeout: Duration,
    /// How long a fetched document is current.
    pub cache_duration: Duration,
}

/// A place where a token may travel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Location {
    /// A request header.
    Header {
        /// Its name.
        name: HeaderName,
        /// What stands before the token; empty when the token is the whole value.
        value_prefix: String,
    },
    /// A query parameter, by its decoded name.
    Query(String),
    /// A cookie.
    Cookie(String),
}

/// A claim that becomes a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimToHeader {
    /// The header.
    pub header: HeaderName,
    /// The claim, as the names of the members that lead to it.
    pub path: Vec<String>,
}

/// What requests a requirement is for, and the requirement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Which requests it is for.
    pub matcher: RouteMatch,
    /// What it asks for.
    pub requirement: Requirement,
}

/// What a rule asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Requirement {
    /// Nothing: the rule is open.
    None,
    /// A verified token of this provider.
    Provider(ProviderId),
    /// A verified token of any provider, or no token at all.
    AllowMissing,
    /// Nothing, but a token that verifies counts.
    AllowMissingOrFailed,
}

/// What becomes of a request that no rule matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoRule {
    /// It passes without an identity, as in `jwt_authn`.
    Allow,
    /// It is refused.
    Deny,
}

/// The fields of the top level: those that are read, and those that are known and refused.
pub fn fields() -> (Vec<&'static str>, &'static [&'static str]) {
    (vec!["providers", "rules", "default", "realm"], NOT_BUILT)
}

const NOT_BUILT: &[&str] = &[
    "filter_state_rules",
    "bypass_cors_preflight",
    "requirement_map",
    "strip_failure_response",
    "stat_prefix",
    "compat",
    "crypto",
];

const DEFAULT_REALM: &str = "edge-authn";

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// The first thing found that must be mended.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        if text.is_empty() {
            return Err(ConfigError::nothing());
        }
        match Json::parse(text) {
            Ok(json) => Self::from_json(&json),
            Err(error) => {
                let decoded = protobuf_struct::to_json(text).ok_or_else(|| ConfigError::not_json(&error))?;
                let json = Json::parse(decoded.as_bytes()).map_err(|error| ConfigError::not_json(&error))?;
                Self::from_json(&json)
            }
        }
    }

    fn from_json(json: &Json<'_>) -> Result<Self, ConfigError> {
        let mut top = Fields::of(Node::root(json))?;
        top.ignore("@type");
        for name in ["providers", "rules", "default"] {
            top.refuse_null(name)?;
        }
        let providers = match top.take("providers")? {
            Some(node) => provider::parse_all(&node)?,
            None => Vec::new(),
        };
        let rules = match top.take("rules")? {
            Some(node) => rules::parse_all(&node, &providers)?,
            None => Vec::new(),
        };
        let default = match top.take("default")? {
            None => None,
            Some(node) => Some(match node.string()? {
                "allow" => NoRule::Allow,
                "deny" => NoRule::Deny,
                _ => return Err(node.expected("\"allow\" or \"deny\"")),
            }),
        };
        let realm = match top.take("realm")? {
            None => DEFAULT_REALM.to_owned(),
            Some(node) => realm(&node)?,
        };
        top.finish(NOT_BUILT)?;
        let warnings = warnings(&providers, &rules, default);
        Ok(Self { providers, rules, when_no_rule_matches: default.unwrap_or(NoRule::Allow), realm, warnings })
    }

    /// The provider behind an id of this configuration.
    pub fn provider(&self, id: ProviderId) -> Option<&Provider> {
        self.providers.get(id.0)
    }

    /// Every provider with its id.
    pub fn providers(&self) -> impl Iterator<Item = (ProviderId, &Provider)> {
        self.providers.iter().enumerate().map(|(index, provider)| (ProviderId(index), provider))
    }
}

impl Provider {
    /// Every header that this provider can write.
    pub fn output_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let claims = self.claim_to_headers.iter().map(|mapping| &mapping.header);
        claims.chain(&self.forward_payload_header)
    }
}

impl Rule {
    /// Whether a request may pass this rule without a verified token.
    pub const fn relaxes_authentication(&self) -> bool {
        !matches!(self.requirement, Requirement::Provider(_))
    }
}

fn realm(node: &Node<'_>) -> Result<String, ConfigError> {
    let realm = node.string()?;
    let is_allowed = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && byte != b'"' && byte != b'\\';
    if realm.bytes().all(is_allowed) {
        Ok(realm.to_owned())
    } else {
        Err(node.expected("printable ASCII without quotes and backslashes"))
    }
}

fn warnings(providers: &[Provider], rules: &[Rule], default: Option<NoRule>) -> Vec<String> {
    let mut warnings = Vec::new();
    if default.is_none() && !rules.iter().any(|rule| rule.matcher.catches_all()) {
        warnings.push(
            "requests that no rule matches pass without authentication: end the rules with a prefix \"/\", \
             or write \"default\": \"allow\" or \"deny\""
                .to_owned(),
        );
    }
    for provider in providers {
        if let KeySource::Local(keys) = &provider.keys {
            let name = &provider.name;
            let skipped = keys.skipped().iter();
            warnings.extend(skipped.map(|key| format!("providers.{name}.local_jwks: not used: {key}")));
        }
    }
    warnings
}
