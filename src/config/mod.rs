//! Configuration: text in, compiled value out, or one message that says what to mend.
//!
//! Takes what the host hands over (JSON text from a `StringValue` of Envoy, Istio's `pluginConfig`, APISIX's `conf`; the
//! binary form of a `Struct` of Envoy), gives a [`Config`] that needs no further checks. The shape is that of Envoy's `JwtAuthentication` message (envoy
//! `api/envoy/extensions/filters/http/jwt_authn/v3/config.proto`), in `snake_case` or `camelCase`, with additions of our
//! own. A field that is not known, or known and not built yet, is refused by name: nothing is ever ignored silently.
//! Deliberately has no behaviour beyond parsing.

mod browser_session;
mod csrf;
mod endpoint;
mod error;
mod fields;
mod header_name;
mod key_source;
mod keys_by_kid;
mod policies;
mod preset;
mod preset_levels;
mod protobuf_struct;
mod provider;
mod remote_keys;
mod required_claim;
mod requirement;
mod route_match;
mod rules;
mod session_check;
mod session_status;
mod string_matcher;
mod surroundings;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use browser_session::fields as browser_session_fields;
pub use error::ConfigError;
pub use header_name::{HeaderName, HeaderPattern};
pub(crate) use header_name::{fold, fold_alike, is_token_char};
pub(crate) use keys_by_kid::is_uuid;
pub use policies::{AudienceForm, ClaimEncoding, Policies, SeveralCredentials, Wording};
pub use preset::{preset_fields, presets};
pub use preset_levels::preset_levels;
pub use provider::fields as provider_fields;
pub use remote_keys::SCHEDULE_FIELDS as KEY_SCHEDULE_FIELDS;
pub use route_match::{
    HeaderMatchSpecifier, HeaderMatcher, PathPattern, PathSpecifier, QueryParameterMatchSpecifier,
    QueryParameterMatcher, RouteMatch,
};
pub use rules::{Rules, fields as rule_fields};
pub(crate) use session_check::is_header_value;
pub use session_check::{
    Allow, AuthMethod, CheckKind, CheckMode, Denial, Denials, DenyRule, FailureMode, FixedHeader,
    ForwardAuth, HeaderToClaim, Introspection, Secret, SessionCheck, UserInfo,
    fields as session_check_fields,
};
pub use session_status::{PathPart, SessionStatus};
pub use string_matcher::{StringMatcher, StringPattern};
pub use surroundings::{CallBy, Surroundings};

use crate::jose::algorithm::Algorithm;
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
    pub rules: Rules,
    /// Requirements for requests that no rule matches, by what the filter state of the request says.
    pub filter_state_rules: Option<FilterStateRules>,
    /// What becomes of a request that neither a rule nor the filter state speaks for.
    pub when_no_rule_matches: NoRule,
    /// Requirements by name, for routes.
    pub requirement_map: RequirementMap,
    /// Whether CORS preflights pass without an identity.
    pub bypass_cors_preflight: bool,
    /// How refusals look.
    pub answers: Answers,
    /// What becomes of several credentials for one provider.
    pub several_credentials: SeveralCredentials,
    /// Whether some provider takes credentials that are wrapped in something else.
    pub has_wrapped_credentials: bool,
    /// What stands in the names of metrics; nothing when empty.
    pub stat_prefix: String,
    /// Who verifies signatures.
    pub crypto: Crypto,
    /// How the servers are found that are called.
    pub call_by: CallBy,
    /// What is allowed but probably not meant, one sentence each.
    pub warnings: Vec<String>,
}

/// Who verifies signatures of `RS*`, `ES256` and `ES384`; all others are verified by the filter itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Crypto {
    /// The host where it can, else the filter.
    #[default]
    Auto,
    /// The filter.
    Wasm,
    /// The host, which must be able to.
    Host,
}

/// The place of a provider in [`Config::providers`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProviderId(pub usize);

/// An identity provider: whose tokens, where they travel, and what becomes of their claims.
#[derive(Debug)]
pub struct Provider {
    /// Its name in the configuration.
    pub name: String,
    /// What `iss` may be; not checked when empty and there is no template either.
    pub issuers: Vec<String>,
    /// What else `iss` may be, with a claim in it.
    pub issuer_template: Option<IssuerTemplate>,
    /// What `aud` may be.
    pub audiences: Audiences,
    /// What `sub` must be like; not checked when `None`.
    pub subjects: Option<StringMatcher>,
    /// What `typ` in the header may be, as `comparable_media_type` has it, and the empty string for none; not checked
    /// when empty.
    pub types: Vec<String>,
    /// What `azp` must be one of; not checked when empty.
    pub authorized_parties: Vec<String>,
    /// What further claims must be like.
    pub required_claims: Vec<RequiredClaim>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// What it is asked about the sessions behind its credentials.
    pub session_check: Option<SessionCheck>,
    /// What its tokens may be signed with; empty when there are no keys.
    pub algorithms: Vec<Algorithm>,
    /// Where its tokens travel; never empty.
    pub locations: Vec<Location>,
    /// Whether the token goes on to the upstream.
    pub forward: bool,
    /// The header that receives the token's payload.
    pub forward_payload_header: Option<PayloadHeader>,
    /// The headers that receive claims.
    pub claim_to_headers: Vec<ClaimToHeader>,
    /// Further headers that are removed from every request.
    pub removed_headers: Vec<HeaderPattern>,
    /// Whether of credentials at several places the first one counts: header, query parameter, cookie. Otherwise they
    /// are [`several_credentials`](Config::several_credentials).
    pub takes_first_place: bool,
    /// Whether several places may have the same token.
    pub takes_same_token: bool,
    /// What an unsafe request must show when its credential is a cookie; nothing when `None`.
    pub csrf: Option<Csrf>,
    /// The session that it keeps in the cookies of a browser.
    pub browser_session: Option<BrowserSession>,
    /// Whether `sub` may be a number.
    pub allows_numeric_subject: bool,
    /// Whether the parts of its tokens may be padded.
    pub padded_segments: bool,
    /// What its tokens have for claims.
    pub claims_format: ClaimsFormat,
    /// How far clocks may differ when `exp` and `nbf` are compared.
    pub clock_skew: Duration,
    /// Whether a token without `exp` is refused.
    pub require_expiration: bool,
    /// How far ahead `exp` may lie; such a token must have one.
    pub max_lifetime: Option<Duration>,
    /// What is left for access logs and other filters.
    pub exports: Exports,
    /// Whether the route is chosen anew once claims are in headers.
    pub clear_route_cache: bool,
    /// How many of its tokens are kept once they were verified.
    pub jwt_cache: JwtCache,
}

/// How many verified tokens of a provider are kept, besides the bound that all providers share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JwtCache {
    /// The most tokens; none are kept when it is 0.
    pub max_tokens: usize,
    /// The longest token that is kept, in bytes.
    pub max_token_bytes: usize,
}

/// An issuer with a claim in its name: one for each customer of an identity provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuerTemplate {
    /// What stands before the claim.
    pub before: String,
    /// The claim, which must be a UUID.
    pub claim: String,
    /// What stands behind it.
    pub after: String,
}

/// What `aud` of a token may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audiences {
    /// The audiences, of which the token must name one, in the form below; not checked when empty.
    pub allowed: Vec<String>,
    /// How they are compared.
    pub form: AudienceForm,
}

/// How a request that a browser makes for another site is told from one of the own site.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Csrf {
    /// Origins whose requests count as own ones, in lower case.
    pub allowed_origins: Vec<String>,
    /// Whether sibling hosts count as own ones.
    pub allows_same_site: bool,
}

/// The session that a provider keeps in the cookies of a browser.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BrowserSession {
    /// The cookie that holds the token of the session.
    pub session_cookie: String,
    /// The cookie that says when the browser signed in last, in seconds since the epoch, and `0` when it has signed out;
    /// not looked at when `None`.
    pub client_uat_cookie: Option<String>,
    /// The instance whose cookies have a suffix; none have when `None`.
    pub instance: Option<Instance>,
    /// Where a page request without a good token is sent for one; nowhere when `None`.
    pub handshake: Option<Handshake>,
    /// Whether refusals say in `x-clerk-auth-status`, `x-clerk-auth-reason` and `x-clerk-auth-message` what they are for.
    pub shows_reasons: bool,
}

/// An instance of a provider, by its publishable key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Instance {
    /// What the names of its cookies end in, behind a `_`.
    pub cookie_suffix: String,
    /// The host that issues its tokens.
    pub frontend_api: String,
    /// Whether it is one in production, else in development.
    pub is_production: bool,
}

/// Where a browser gets a new token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Handshake {
    /// The URL, without a query.
    pub uri: String,
    /// The version of the provider's interface, as it dates it.
    pub api_version: Option<String>,
}

/// What claims must be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequiredClaim {
    /// A claim is like this.
    One(ClaimMatch),
    /// All that one of these lists asks for holds.
    AnyOf(Vec<Vec<Self>>),
}

/// What a claim must be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimMatch {
    /// Where it is.
    pub part: TokenPart,
    /// The names that lead to it, one level each.
    pub path: Vec<String>,
    /// What is asked of it.
    pub pattern: ClaimPattern,
}

/// What is asked of a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimPattern {
    /// Its value.
    Text {
        /// What it, or an item of it when it is a list, must be like. Numbers and booleans are compared as JSON.
        pattern: StringMatcher,
        /// Whether it must not be like that.
        is_inverted: bool,
        /// Whether it may be missing.
        is_optional: bool,
    },
    /// Whether it is there; `null` is not.
    IsThere(bool),
}

/// A part of a token that has members.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenPart {
    /// The JOSE header.
    Header,
    /// The claims.
    Payload,
}

/// What claims of tokens are brought into, before anything is made of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimsFormat {
    /// Nothing: they are taken as they are.
    Plain,
    /// Organisations in the claims of Clerk's version 1, also those of version 2.
    Clerk,
}

/// A header that receives the payload of a token, base64url.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PayloadHeader {
    /// The header.
    pub name: HeaderName,
    /// Whether padding is added.
    pub is_padded: bool,
}

/// What a provider's tokens leave in the filter state of the request, each under the name given (see
/// [`export_name`]). In `jwt_authn` these are dynamic metadata, which no Wasm filter can write.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exports {
    /// `payload_in_metadata`: the claims.
    pub payload: Option<String>,
    /// `normalize_payload_in_metadata`: claims that are lists with spaces between the items.
    pub space_delimited_claims: Vec<String>,
    /// `header_in_metadata`: the JOSE header.
    pub header: Option<String>,
    /// `failed_status_in_metadata`: why a token was not good.
    pub failed_status: Option<String>,
}

/// How refusals look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answers {
    /// Status, body and challenge.
    pub wording: Wording,
    /// The `realm` of challenges; printable ASCII without quote and backslash. Not used in Envoy's wording.
    pub realm: String,
    /// Whether 401 and 403 have neither body nor challenge.
    pub strip: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self { wording: Wording::Standard, realm: DEFAULT_REALM.to_owned(), strip: false }
    }
}

/// Requirements by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequirementMap {
    /// In the order of the text.
    list: Vec<(String, Requirement)>,
    /// The places of the names in the list.
    places: BTreeMap<String, usize>,
}

impl RequirementMap {
    /// The requirement of this name.
    pub fn get(&self, name: &str) -> Option<&Requirement> {
        self.list.get(*self.places.get(name)?).map(|(_, requirement)| requirement)
    }

    /// All requirements, in the order of the text.
    pub fn all(&self) -> impl Iterator<Item = &Requirement> {
        self.list.iter().map(|(_, requirement)| requirement)
    }

    /// All names, in the order of the text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(name, _)| name.as_str())
    }
}

impl FromIterator<(String, Requirement)> for RequirementMap {
    fn from_iter<I: IntoIterator<Item = (String, Requirement)>>(requirements: I) -> Self {
        let list: Vec<_> = requirements.into_iter().collect();
        let places = list.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
        Self { list, places }
    }
}

/// Requirements by a value that an earlier filter has left in the filter state of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterStateRules {
    /// The name of the value.
    pub name: String,
    /// What each value asks for.
    pub requires: RequirementMap,
}

/// Where the keys of a provider come from.
#[derive(Debug)]
pub enum KeySource {
    /// Nowhere: there is a session check in their place.
    None,
    /// The configuration itself.
    Local(JwkSet),
    /// A document that is fetched.
    Remote(Box<RemoteKeys>),
    /// Keys that are fetched one by one, by their `kid`.
    ByKid(Box<KeysByKid>),
}

/// Keys that are fetched one by one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeysByKid {
    /// Where they are, but for the end of the path.
    before: Endpoint,
    /// What stands behind the `kid` in the path.
    after: String,
    /// How long one call may take; never zero, which would mean for ever.
    pub timeout: Duration,
    /// The most keys that are kept; at least two.
    pub max_keys: usize,
    /// When they are fetched and how long they count.
    pub schedule: KeySchedule,
}

/// Keys that are fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RemoteKeys {
    /// Where they are.
    pub place: KeyPlace,
    /// How long one call may take; never zero, which would mean for ever.
    pub timeout: Duration,
    /// When they are fetched and how long they count.
    pub schedule: KeySchedule,
}

/// Where keys are fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum KeyPlace {
    /// At this address.
    Jwks(Endpoint),
    /// At the address that the identity provider's metadata names.
    Discovery(Discovery),
}

/// A document of another server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// `http` or `https`, for hosts that choose the transport by it.
    pub scheme: &'static str,
    /// Host and port, as they go into `:authority`.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// The host's name for the server: an Envoy cluster. Empty only where servers are found by their addresses.
    pub cluster: String,
}

/// An identity provider that says itself where its keys are (OpenID Connect Discovery 1.0, RFC 8414).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Discovery {
    /// What its metadata must have as `issuer`, exactly.
    pub issuer: String,
    /// Where its metadata is.
    pub metadata: Endpoint,
    /// Where it is if it is not there.
    pub fallback: Option<Endpoint>,
    /// The servers that keys may be on: those that are named, and that of the metadata.
    pub jwks_hosts: Vec<JwksHost>,
}

/// A server that metadata may name as that of the keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwksHost {
    /// Host and port, as in a URI.
    pub authority: String,
    /// The host's name for it.
    pub cluster: String,
}

/// When keys are fetched and how long they count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySchedule {
    /// The longest that a fetched document is current; at least a second.
    pub cache_duration: Duration,
    /// The shortest that it is, whatever its server says.
    pub min_cache_duration: Duration,
    /// How much longer than that keys serve while they cannot be refreshed.
    pub max_stale: Duration,
    /// The shortest time between two fetches that are made for key ids that are not known.
    pub kid_refetch_interval: Duration,
    /// The pause after a fetch has failed for the first time.
    pub first_back_off: Duration,
    /// How often a failed fetch is repeated before requests are told so.
    pub retries: u32,
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
        /// What the token is wrapped in; `None` when it is the rest of the value.
        wrapping: Option<Wrapping>,
    },
    /// A query parameter, by its decoded name.
    Query(Arc<str>),
    /// A cookie.
    Cookie(Arc<str>),
}

/// A JSON object that a token travels in, with what is no business of the upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrapping {
    /// The member that is the token.
    pub member: String,
    /// Whether the object is in base64.
    pub is_base64: bool,
}

/// A claim that becomes a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimToHeader {
    /// The header.
    pub header: HeaderName,
    /// What is written to it.
    pub source: HeaderSource,
    /// How it is written.
    pub encoding: ClaimEncoding,
}

/// What becomes a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HeaderSource {
    /// The claim that these names of members lead to.
    Claim(Vec<String>),
    /// Always the same text, for whoever was verified.
    Text(String),
}

/// What requests a requirement is for, and the requirement.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which requests it is for.
    pub matcher: RouteMatch,
    /// What it asks for.
    pub requirement: Requirement,
}

/// What must be proven before a request may pass (`JwtRequirement`).
#[derive(Clone, Debug, PartialEq)]
pub enum Requirement {
    /// Nothing: the rule is open.
    None,
    /// A verified token of this provider.
    Provider {
        /// The provider.
        id: ProviderId,
        /// The audiences that hold here in place of the provider's.
        audiences: Option<Audiences>,
    },
    /// One of these; the first that is met counts.
    Any {
        /// The requirements in order.
        of: Vec<Self>,
        /// Whether it is enough that all of them fail, and how.
        leniency: Leniency,
    },
    /// All of these.
    All(Vec<Self>),
    /// No token that is not good, of whichever provider.
    AllowMissing,
    /// Nothing, but tokens that verify count.
    AllowMissingOrFailed,
    /// Nothing, but tokens that verify count, and a header tells of those that do not.
    ExtractOnly {
        /// The header; it reads `false` when a token was there and none of them verified.
        status_header: HeaderName,
    },
}

/// What a list of alternatives forgives when none of them is met.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Leniency {
    /// Nothing.
    #[default]
    None,
    /// That there is no token.
    Missing,
    /// Whatever is wrong.
    MissingOrFailed,
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
    (FIELDS.to_vec(), NOT_BUILT)
}

const FIELDS: &[&str] = &[
    "compat",
    "call_by",
    "providers",
    "requirement_map",
    "rules",
    "filter_state_rules",
    "default",
    "bypass_cors_preflight",
    "strip_failure_response",
    "realm",
    "stat_prefix",
    "crypto",
];

const NOT_BUILT: &[&str] = &[];

const DEFAULT_REALM: &str = "edge-authn";

impl Config {
    /// Reads a configuration for a host that has clusters; `variable` gives the values of the environment variables that
    /// it names.
    ///
    /// # Errors
    ///
    /// The first thing found that must be mended.
    pub fn parse(text: &[u8], variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::parse_in(text, Surroundings { variable, call_by: CallBy::Cluster })
    }

    /// Reads a configuration for any host.
    ///
    /// # Errors
    ///
    /// The first thing found that must be mended.
    pub fn parse_in(text: &[u8], surroundings: Surroundings<'_>) -> Result<Self, ConfigError> {
        if text.is_empty() {
            return Err(ConfigError::nothing());
        }
        match Json::parse(text) {
            Ok(json) => Self::from_json(&json, surroundings),
            Err(error) => {
                let decoded = protobuf_struct::to_json(text).ok_or_else(|| ConfigError::not_json(&error))?;
                let json = Json::parse(decoded.as_bytes()).map_err(|error| ConfigError::not_json(&error))?;
                Self::from_json(&json, surroundings)
            }
        }
    }

    fn from_json(json: &Json<'_>, surroundings: Surroundings<'_>) -> Result<Self, ConfigError> {
        let mut top = Fields::of(Node::root(json))?;
        top.ignore("@type");
        for name in ["providers", "requirement_map", "rules", "filter_state_rules", "default"] {
            top.refuse_null(name)?;
        }
        let policies = match top.take("compat")? {
            None => Policies::standard(),
            Some(node) if node.string()? == "envoy" => Policies::envoy(),
            Some(node) => return Err(node.expected("\"envoy\"")),
        };
        let surroundings = surroundings.with_calls(top.take("call_by")?.as_ref())?;
        let providers = match top.take("providers")? {
            Some(node) => provider::parse_all(&node, &policies, surroundings)?,
            None => Vec::new(),
        };
        let names = requirement::Names { providers: &providers, form: policies.audience_form };
        let requirement_map = match top.take("requirement_map")? {
            Some(node) => names.requirement_map(&node)?,
            None => RequirementMap::default(),
        };
        let rules = match top.take("rules")? {
            Some(node) => rules::parse_all(&node, &names, &requirement_map)?,
            None => Rules::default(),
        };
        let filter_state_rules =
            top.take("filter_state_rules")?.map(|node| rules::filter_state(node, &names));
        let default = match top.take("default")? {
            None => None,
            Some(node) => Some(match node.string()? {
                "allow" => NoRule::Allow,
                "deny" => NoRule::Deny,
                _ => return Err(node.expected("\"allow\" or \"deny\"")),
            }),
        };
        let bypass_cors_preflight = top.boolean_or("bypass_cors_preflight", false)?;
        let strip = top.boolean_or("strip_failure_response", false)?;
        let realm = match top.take("realm")? {
            None => DEFAULT_REALM.to_owned(),
            Some(node) => realm(&node)?,
        };
        // For the names of metrics, which are those of the host.
        let stat_prefix = top.take("stat_prefix")?.map_or(Ok(""), |node| node.string())?.to_owned();
        let crypto = match top.take("crypto")? {
            None => Crypto::default(),
            Some(node) => match node.string()? {
                "auto" => Crypto::Auto,
                "wasm" => Crypto::Wasm,
                "host" => Crypto::Host,
                _ => return Err(node.expected("\"auto\", \"wasm\" or \"host\"")),
            },
        };
        top.finish(NOT_BUILT)?;
        let mut locations = providers.iter().flat_map(|provider| &provider.locations);
        let has_wrapped_credentials = locations.any(Location::is_wrapped);
        let mut config = Self {
            rules,
            filter_state_rules: filter_state_rules.transpose()?,
            when_no_rule_matches: default.unwrap_or(NoRule::Allow),
            requirement_map,
            bypass_cors_preflight,
            answers: Answers { wording: policies.wording, realm, strip },
            several_credentials: policies.several_credentials,
            has_wrapped_credentials,
            stat_prefix,
            crypto,
            call_by: surroundings.call_by,
            warnings: Vec::new(),
            providers,
        };
        config.warnings = warnings(&config, default.is_some());
        config.check_headers()?;
        Ok(config)
    }

    /// A header that the filter writes has one meaning, and no rule looks at what a client puts there.
    fn check_headers(&self) -> Result<(), ConfigError> {
        let folded = HeaderName::folded;
        let claims = self.providers.iter().flat_map(|provider| &provider.claim_to_headers);
        let claims: BTreeSet<_> = claims.map(|claim| folded(&claim.header)).collect();
        let outputs = self.providers.iter().flat_map(Provider::output_headers);
        let outputs: BTreeSet<_> = outputs.map(folded).collect();
        let statuses: BTreeSet<_> =
            self.requirements().flat_map(Requirement::status_headers).map(folded).collect();
        let error = |path: String, name: &str, expected: &str| {
            Err(ConfigError { path, found: format!("the header {name:?}"), expected: expected.to_owned() })
        };
        for Provider { name, forward_payload_header, .. } in &self.providers {
            let payload = forward_payload_header.as_ref().map(|payload| &payload.name);
            if let Some(header) = payload.filter(|header| claims.contains(&folded(header))) {
                let path = format!("providers.{name}.forward_payload_header");
                return error(path, header.as_str(), "a header that no claim is written to");
            }
        }
        if let Some(header) = self
            .requirements()
            .flat_map(Requirement::status_headers)
            .find(|header| outputs.contains(&folded(header)))
        {
            let path = "extract_only_without_validation.verification_status_header".to_owned();
            return error(path, header.as_str(), "a header that no provider writes");
        }
        for Provider { name, locations, .. } in &self.providers {
            let header = locations.iter().find_map(|location| match location {
                Location::Header { name, .. } => {
                    let name_folded = folded(name);
                    (outputs.contains(&name_folded) || statuses.contains(&name_folded)).then_some(name)
                }
                Location::Query(_) | Location::Cookie(_) => None,
            });
            if let Some(header) = header {
                let path = format!("providers.{name}.from_headers");
                return error(path, header.as_str(), "a header that the filter does not write");
            }
        }
        for Provider { name, session_check, .. } in &self.providers {
            let sent = session_check.iter().flat_map(SessionCheck::request_headers);
            let is_written = |header: &&HeaderName| {
                outputs.contains(&folded(header)) || statuses.contains(&folded(header))
            };
            if let Some(header) = sent.into_iter().find(is_written) {
                let path = format!("providers.{name}.session_check.request_headers");
                return error(path, header.as_str(), "a header that the filter does not write");
            }
        }
        for (index, rule) in self.rules.iter().enumerate() {
            for (position, header) in rule.matcher.headers.iter().enumerate() {
                let name = fold(header.name.as_bytes());
                let mut removed = self.providers.iter().flat_map(|provider| &provider.removed_headers);
                if outputs.contains(&name)
                    || statuses.contains(&name)
                    || removed.any(|pattern| pattern.matches(&name))
                {
                    let path = format!("rules[{index}].match.headers[{position}].name");
                    return error(path, &header.name, "a header that the filter does not write");
                }
            }
        }
        Ok(())
    }

    /// The provider behind an id of this configuration.
    pub fn provider(&self, id: ProviderId) -> Option<&Provider> {
        self.providers.get(id.0)
    }

    /// Every requirement that a request may meet.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        let by_state = self.filter_state_rules.iter().flat_map(|rules| rules.requires.all());
        self.rules.iter().map(|rule| &rule.requirement).chain(self.requirement_map.all()).chain(by_state)
    }

    /// Whether a request may be granted as several providers' at once.
    pub fn may_grant_several(&self) -> bool {
        self.providers.len() > 1 && self.requirements().any(Requirement::may_grant_several)
    }

    /// Every provider with its id.
    pub fn providers(&self) -> impl Iterator<Item = (ProviderId, &Provider)> {
        self.providers.iter().enumerate().map(|(index, provider)| (ProviderId(index), provider))
    }
}

impl Location {
    /// Whether there is more than the token in what is found there.
    pub const fn is_wrapped(&self) -> bool {
        matches!(self, Self::Header { wrapping: Some(_), .. })
    }
}

impl Provider {
    /// Whether a token may be of any issuer.
    pub const fn takes_any_issuer(&self) -> bool {
        self.issuers.is_empty() && self.issuer_template.is_none()
    }

    /// Every header that this provider can write.
    pub fn output_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let claims = self.claim_to_headers.iter().map(|mapping| &mapping.header);
        claims.chain(self.forward_payload_header.as_ref().map(|payload| &payload.name))
    }
}

impl Rule {
    /// Whether a request may pass this rule without a verified token.
    pub fn relaxes_authentication(&self) -> bool {
        !self.requirement.needs_token()
    }
}

impl Requirement {
    /// Whether it cannot be met without a verified token.
    pub fn needs_token(&self) -> bool {
        match self {
            Self::Provider { .. } => true,
            Self::Any { of, leniency } => *leniency == Leniency::None && of.iter().all(Self::needs_token),
            Self::All(all) => all.iter().any(Self::needs_token),
            Self::None | Self::AllowMissing | Self::AllowMissingOrFailed | Self::ExtractOnly { .. } => false,
        }
    }

    /// Whether it may be met by tokens of several providers together.
    fn may_grant_several(&self) -> bool {
        match self {
            Self::None | Self::Provider { .. } => false,
            Self::Any { of, .. } => of.iter().any(Self::may_grant_several),
            Self::All(_) | Self::AllowMissing | Self::AllowMissingOrFailed | Self::ExtractOnly { .. } => true,
        }
    }

    /// Every header that tells of tokens that were not verified.
    pub fn status_headers(&self) -> Vec<&HeaderName> {
        match self {
            Self::ExtractOnly { status_header } => vec![status_header],
            Self::Any { of, .. } | Self::All(of) => of.iter().flat_map(Self::status_headers).collect(),
            Self::None | Self::Provider { .. } | Self::AllowMissing | Self::AllowMissingOrFailed => {
                Vec::new()
            }
        }
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

fn warnings(config: &Config, has_default: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !has_default && !config.rules.iter().any(|rule| rule.matcher.catches_all()) {
        warnings.push(
            "requests that no rule matches pass without authentication: end the rules with a prefix \"/\", \
             or write \"default\": \"allow\" or \"deny\""
                .to_owned(),
        );
    }
    for provider in &config.providers {
        if let KeySource::Local(keys) = &provider.keys {
            let name = &provider.name;
            let skipped = keys.skipped().iter();
            warnings.extend(skipped.map(|key| format!("providers.{name}.local_jwks: not used: {key}")));
        }
    }
    let exported = config.providers.iter().flat_map(|provider| provider.exports.names());
    let exported: Vec<_> = exported.map(|name| format!("wasm.{}", export_name(name))).collect();
    if !exported.is_empty() {
        warnings.push(format!(
            "a Wasm filter cannot write dynamic metadata: what jwt_authn leaves there is in the filter state, as {}",
            exported.join(", ")
        ));
    }
    warnings
}

impl Exports {
    /// Every name that is exported.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.payload, &self.header, &self.failed_status].into_iter().flatten().map(String::as_str)
    }
}

/// What a configured name is called in the filter state, where the host puts `wasm.` in front.
pub fn export_name(name: &str) -> String {
    format!("edge_authn.{name}")
}
