//! `session_check`: a question to the identity provider about the session behind a credential.
//!
//! Takes the object in a provider, gives a [`SessionCheck`]. Whatever could make the gateway send more of a client's
//! request than is listed, or trust more of an answer, is refused here. Secrets are never shown in messages.

use std::fmt;
use std::time::Duration;

use super::error::ConfigError;
use super::fields::Fields;
use super::header_name::HeaderName;
use super::remote_keys::http_uri_within;
use super::session_status::session_status;
use super::value::Node;
use super::{Endpoint, KeySource, Location, SessionStatus, Surroundings};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_CACHE_TTL: Duration = Duration::from_secs(10);
const DEFAULT_NEGATIVE_TTL: Duration = Duration::from_secs(5);
const LONGEST_TTL: Duration = Duration::from_secs(3600);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
const DEFAULT_MAX_UNCHECKED: Duration = Duration::from_secs(600);
const LONGEST_UNCHECKED: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_CODE_MEMBER: &str = "code";

/// The fields of every kind.
const COMMON_FIELDS: [&str; 8] =
    ["kind", "mode", "interval", "max_unchecked", "http_uri", "cache_ttl", "negative_ttl", "failure_mode"];
const FORWARD_AUTH_FIELDS: [&str; 8] = [
    "request_headers",
    "cookies",
    "cookies_together",
    "headers",
    "allow",
    "deny_status",
    "relay_set_cookie",
    "claims_from_headers",
];
const USER_INFO_FIELDS: [&str; 5] = ["credential_header", "cookies", "headers", "deny", "code_member"];
const INTROSPECTION_FIELDS: [&str; 3] = ["client_id", "client_secret", "auth_method"];
const SESSION_STATUS_FIELDS: [&str; 4] = ["method", "headers", "deny", "code_member"];

/// Header fields of a client that must not go out, and that a configuration must not add: they frame or route a
/// message, or name its connection (RFC 9110 section 7.6.1). Folded.
const CONNECTION_HEADERS: [&str; 14] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that say who the client is and what it asked for, to servers that believe them. Folded.
const FORWARDED_HEADERS: [&str; 3] = ["forwarded", "x-forwarded-", "x-original-"];

/// A question to the identity provider about the session behind a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionCheck {
    /// What is asked, and how the answer is read.
    pub kind: CheckKind,
    /// Which credentials it is asked about.
    pub mode: CheckMode,
    /// Where it is asked.
    pub endpoint: Endpoint,
    /// How long it may take; never zero.
    pub timeout: Duration,
    /// How long a good answer counts.
    pub cache_ttl: Duration,
    /// How long a denial counts.
    pub negative_ttl: Duration,
    /// What becomes of a credential about which nothing can be found out.
    pub failure_mode: FailureMode,
}

/// Which credentials are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CheckMode {
    /// Every one; JWTs behind their signature, if there are keys.
    Always,
    /// Those that are no JWT.
    Opaque,
    /// Those, and JWTs off the path of requests.
    Background {
        /// The shortest time between two checks of one session.
        interval: Duration,
        /// How long a session counts since it was last confirmed, or first seen.
        max_unchecked: Duration,
    },
}

/// What becomes of a credential while the identity provider cannot be asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureMode {
    /// The request is refused.
    Closed,
    /// It counts as missing.
    Anonymous,
}

/// What is asked, and how the answer is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CheckKind {
    /// Headers in, headers out.
    ForwardAuth(ForwardAuth),
    /// The credential in, JSON out.
    UserInfo(UserInfo),
    /// OAuth 2.0 token introspection (RFC 7662).
    Introspection(Introspection),
    /// The claims that name a session in, its status out.
    SessionStatus(SessionStatus),
}

/// Headers in, headers out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForwardAuth {
    /// The client's headers that are sent.
    pub request_headers: Vec<HeaderName>,
    /// The client's cookies that are sent.
    pub cookies: Vec<String>,
    /// Whether those that may be credentials are sent together when one of them is the credential: the identity provider
    /// takes the first that is good.
    pub sends_cookies_together: bool,
    /// What else is sent.
    pub headers: Vec<FixedHeader>,
    /// Which answers are good.
    pub allow: Allow,
    /// The statuses of a denial.
    pub denied_statuses: Vec<u16>,
    /// The cookies that a denial may clear at the client.
    pub relayed_cookies: Vec<String>,
    /// What becomes claims.
    pub claims: Vec<HeaderToClaim>,
}

/// Which answers are good.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Allow {
    /// Their statuses; every 2xx when `None`.
    pub statuses: Option<Vec<u16>>,
    /// A header that they have, and its value. An answer of such a status that does not have it is a denial.
    pub header: Option<(HeaderName, String)>,
}

/// The credential in, JSON out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserInfo {
    /// The header that carries the credential; behind `Bearer` in `authorization`.
    pub credential_header: HeaderName,
    /// The cookies that carry it in place of the header when they have done so in the request.
    pub cookies: Vec<String>,
    /// What else is sent.
    pub headers: Vec<FixedHeader>,
    /// The answers that are denials.
    pub denials: Denials,
}

/// Which answers are denials.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denials {
    /// One of these; the first counts.
    pub rules: Vec<DenyRule>,
    /// The member of the body that `code` of a rule is compared with.
    pub code_member: String,
}

/// Which answer is a denial.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DenyRule {
    /// Its status.
    pub status: u16,
    /// Its code; any when `None`.
    pub code: Option<String>,
    /// What is denied.
    pub denial: Denial,
}

/// What an identity provider denies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// That there is such a session (401).
    Session,
    /// That it may be used here (403).
    Access,
}

/// How the gateway introspects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Introspection {
    /// Who asks.
    pub client_id: String,
    /// The proof of it.
    pub client_secret: Secret,
    /// How both are sent.
    pub auth_method: AuthMethod,
}

/// How a client authenticates (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuthMethod {
    /// In `authorization`.
    Basic,
    /// In the form.
    Post,
}

/// A header that is sent with every question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FixedHeader {
    /// Its name.
    pub name: HeaderName,
    /// Its value, which may be a secret.
    pub value: Secret,
}

/// A header of the answer that becomes a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderToClaim {
    /// The header.
    pub header: HeaderName,
    /// The claim.
    pub claim: String,
}

/// A text that no message shows.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// The text, to be sent to whom it is for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The fields of a session check.
pub fn fields() -> Vec<&'static str> {
    let mut fields = COMMON_FIELDS.to_vec();
    let others = FORWARD_AUTH_FIELDS.iter().chain(&USER_INFO_FIELDS).chain(&INTROSPECTION_FIELDS);
    for name in others.chain(&SESSION_STATUS_FIELDS) {
        if !fields.contains(name) {
            fields.push(name);
        }
    }
    fields
}

/// The session check of a provider, which without keys must have one.
pub(super) fn session_check(
    provider_fields: &mut Fields<'_>,
    provider: &Node<'_>,
    (keys, locations): (&KeySource, &[Location]),
    surroundings: Surroundings<'_>,
) -> Result<Option<SessionCheck>, ConfigError> {
    provider_fields.refuse_null("session_check")?;
    match (provider_fields.nested("session_check")?, keys) {
        (Some(fields), keys) => parse(fields, (keys, locations), surroundings).map(Some),
        (None, KeySource::None) => {
            let expected = "\"remote_jwks\", \"discovery\", \"local_jwks\", \"jwt_key\" or \"session_check\"";
            Err(provider.error("no source of keys and no session check", expected))
        }
        (None, _) => Ok(None),
    }
}

fn parse(
    fields: Fields<'_>,
    (keys, locations): (&KeySource, &[Location]),
    surroundings: Surroundings<'_>,
) -> Result<SessionCheck, ConfigError> {
    for name in self::fields() {
        fields.refuse_null(name)?;
    }
    // Those of a preset are for the kind that it asks in.
    let mut fields = fields.unless_other("kind")?;
    let kind = fields.require("kind")?;
    let mode = mode(&mut fields, keys)?;
    let http_uri = fields.require("http_uri")?;
    let (endpoint, timeout) = http_uri_within(
        http_uri.clone(),
        "https://host/session",
        (DEFAULT_TIMEOUT, LONGEST_TIMEOUT),
        surroundings,
    )?;
    let mut ttl = |name, default| {
        fields.take(name)?.map_or(Ok(default), |node: Node<'_>| node.duration(Duration::ZERO, LONGEST_TTL))
    };
    let cache_ttl = ttl("cache_ttl", DEFAULT_CACHE_TTL)?;
    let negative_ttl = ttl("negative_ttl", DEFAULT_NEGATIVE_TTL)?;
    let failure_mode = match fields.take("failure_mode")? {
        None => FailureMode::Closed,
        Some(node) => match node.string()? {
            "closed" => FailureMode::Closed,
            "anonymous" => FailureMode::Anonymous,
            _ => return Err(node.expected("\"closed\" or \"anonymous\"")),
        },
    };
    let kind = match kind.string()? {
        "forward_auth" => CheckKind::ForwardAuth(forward_auth(&mut fields, (keys, locations), surroundings)?),
        "user_info" => CheckKind::UserInfo(user_info(&mut fields, surroundings)?),
        "introspection" => CheckKind::Introspection(introspection(&mut fields, surroundings)?),
        "session_status" => {
            let about_tokens = (&kind, keys, mode);
            let status = session_status(&mut fields, about_tokens, (&http_uri, &endpoint), surroundings)?;
            CheckKind::SessionStatus(status)
        }
        _ => {
            let kinds = "\"forward_auth\", \"user_info\", \"introspection\" or \"session_status\"";
            return Err(kind.expected(kinds));
        }
    };
    fields.finish(&[])?;
    Ok(SessionCheck { kind, mode, endpoint, timeout, cache_ttl, negative_ttl, failure_mode })
}

fn mode(fields: &mut Fields<'_>, keys: &KeySource) -> Result<CheckMode, ConfigError> {
    const MODES: &str = "\"always\", \"opaque\" or \"background\"";
    let mode = fields.take("mode")?;
    let interval = fields.written("interval")?;
    let max_unchecked = fields.written("max_unchecked")?;
    let name = mode.as_ref().map_or(Ok("always"), Node::string)?;
    let mode = match (name, &mode) {
        ("always", _) => CheckMode::Always,
        ("opaque", _) => CheckMode::Opaque,
        ("background", Some(node)) if matches!(keys, KeySource::None) => {
            return Err(
                node.error("a mode for what keys have verified, and no keys", "keys, or another mode")
            );
        }
        ("background", _) => {
            // Those of a preset mean nothing in another mode.
            let interval = match interval.or_else(|| fields.default("interval")) {
                None => DEFAULT_INTERVAL,
                Some(node) => node.duration(SHORTEST_INTERVAL, LONGEST_INTERVAL)?,
            };
            let max_unchecked = match max_unchecked.or_else(|| fields.default("max_unchecked")) {
                None => DEFAULT_MAX_UNCHECKED.max(interval),
                Some(node) => node.duration(interval, LONGEST_UNCHECKED)?,
            };
            return Ok(CheckMode::Background { interval, max_unchecked });
        }
        (_, Some(node)) => return Err(node.expected(MODES)),
        (_, None) => CheckMode::Always,
    };
    match interval.or(max_unchecked) {
        Some(node) => {
            Err(node.error("a field of another mode", "\"mode\": \"background\", or no such field"))
        }
        None => Ok(mode),
    }
}

fn forward_auth(
    fields: &mut Fields<'_>,
    (keys, locations): (&KeySource, &[Location]),
    surroundings: Surroundings<'_>,
) -> Result<ForwardAuth, ConfigError> {
    // What is not written is sent only where the provider takes credentials from it. Elsewhere it would be one that
    // nobody has looked at, for the identity provider to choose from, or one of another provider.
    let is_header = |name: &HeaderName| {
        locations.iter().any(|place| matches!(place, Location::Header { name: other, .. } if other == name))
    };
    let is_cookie = |name: &String| {
        locations.iter().any(|place| matches!(place, Location::Cookie(other) if **other == **name))
    };
    let request_headers: Vec<_> =
        match (fields.written("request_headers")?, fields.default("request_headers")) {
            (Some(node), _) => client_headers(&node)?,
            (None, Some(node)) => client_headers(&node)?.into_iter().filter(is_header).collect(),
            (None, None) => Some(HeaderName::known("authorization")).into_iter().filter(is_header).collect(),
        };
    let cookies = match fields.written("cookies")? {
        Some(node) => cookie_names(Some(node))?,
        None => cookie_names(fields.default("cookies"))?.into_iter().filter(is_cookie).collect(),
    };
    let together = fields.take("cookies_together")?;
    let sends_cookies_together = together.as_ref().map_or(Ok(false), Node::boolean)?;
    if let (Some(node), true, KeySource::Local(_) | KeySource::Remote(_) | KeySource::ByKid(_)) =
        (&together, sends_cookies_together, keys)
    {
        // What keys have verified is one of them, and the answer may be about another one.
        return Err(node.error("cookies that are asked about as one, and keys", "no keys, or false"));
    }
    // A credential that is in none of these goes there.
    let sent = [request_headers.as_slice(), &[HeaderName::known("authorization")]].concat();
    let headers = fixed_headers(fields.take("headers")?, surroundings, &sent)?;
    let allow = fields.take("allow")?.map_or(Ok(Allow::default()), allow)?;
    let denied_statuses = match fields.take("deny_status")? {
        None => vec![401, 403],
        Some(node) => node.items()?.iter().map(status).collect::<Result<_, _>>()?,
    };
    let relayed_cookies = cookie_names(fields.take("relay_set_cookie")?)?;
    let claims = match fields.take("claims_from_headers")? {
        None => Vec::new(),
        Some(node) => node.items()?.into_iter().map(header_to_claim).collect::<Result<Vec<_>, _>>()?,
    };
    Ok(ForwardAuth {
        request_headers,
        cookies,
        sends_cookies_together,
        headers,
        allow,
        denied_statuses,
        relayed_cookies,
        claims,
    })
}

fn user_info(fields: &mut Fields<'_>, surroundings: Surroundings<'_>) -> Result<UserInfo, ConfigError> {
    let credential_header = match fields.take("credential_header")? {
        None => HeaderName::known("authorization"),
        Some(node) => fixed_name(&node, HeaderName::parse(&node)?)?,
    };
    let cookies = cookie_names(fields.take("cookies")?)?;
    let others = std::slice::from_ref(&credential_header);
    let headers = fixed_headers(fields.take("headers")?, surroundings, others)?;
    let denials = denials(fields, 401)?;
    Ok(UserInfo { credential_header, cookies, headers, denials })
}

/// `deny` and `code_member`. Without the former, the one status means that there is no such session.
pub(super) fn denials(fields: &mut Fields<'_>, default: u16) -> Result<Denials, ConfigError> {
    let rules = match fields.take("deny")? {
        None => vec![DenyRule { status: default, code: None, denial: Denial::Session }],
        Some(node) => node.items()?.into_iter().map(deny_rule).collect::<Result<_, _>>()?,
    };
    let code_member =
        fields.take("code_member")?.map_or(Ok(DEFAULT_CODE_MEMBER), |node| node.non_empty_string())?;
    Ok(Denials { rules, code_member: code_member.to_owned() })
}

fn introspection(
    fields: &mut Fields<'_>,
    surroundings: Surroundings<'_>,
) -> Result<Introspection, ConfigError> {
    let client_id = fields.require("client_id")?.non_empty_string()?.to_owned();
    let client_secret = secret(&fields.require("client_secret")?, surroundings)?;
    let auth_method = match fields.take("auth_method")? {
        None => AuthMethod::Basic,
        Some(node) => match node.string()? {
            "basic" => AuthMethod::Basic,
            "post" => AuthMethod::Post,
            _ => return Err(node.expected("\"basic\" or \"post\"")),
        },
    };
    Ok(Introspection { client_id, client_secret, auth_method })
}

fn client_headers(node: &Node<'_>) -> Result<Vec<HeaderName>, ConfigError> {
    node.items()?.iter().map(client_header).collect()
}

/// A header of the client that may be sent.
fn client_header(node: &Node<'_>) -> Result<HeaderName, ConfigError> {
    let name = HeaderName::parse(node)?;
    let folded = name.folded();
    let is_forwarded = |start: &&str| folded.starts_with(start.as_bytes());
    if is_about_connection(&name) || FORWARDED_HEADERS.iter().any(is_forwarded) {
        return Err(node.expected("a header that a client may have sent to the identity provider"));
    }
    Ok(name)
}

fn is_about_connection(name: &HeaderName) -> bool {
    CONNECTION_HEADERS.iter().any(|known| known.as_bytes() == name.folded())
}

/// A header that the configuration adds.
fn fixed_name(node: &Node<'_>, name: HeaderName) -> Result<HeaderName, ConfigError> {
    if is_about_connection(&name) || name.folded() == b"content-type" {
        return Err(
            node.error(format!("the header {:?}", name.as_str()), "one that does not frame the request")
        );
    }
    Ok(name)
}

pub(super) fn fixed_headers(
    node: Option<Node<'_>>,
    surroundings: Surroundings<'_>,
    others: &[HeaderName],
) -> Result<Vec<FixedHeader>, ConfigError> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let mut headers: Vec<FixedHeader> = Vec::new();
    for (name, node) in node.members("an object of header values by their names")? {
        let name = fixed_name(
            &node,
            HeaderName::from_text(name).ok_or_else(|| node.error("something else", "a header name"))?,
        )?;
        let known = headers.iter().map(|header| &header.name).chain(others);
        if known.into_iter().any(|known| known.folded() == name.folded()) {
            return Err(node.error("a header that is sent already", "each header once"));
        }
        let value = secret(&node, surroundings)?;
        if !is_header_value(value.reveal()) {
            return Err(node.error("something else", "a header value"));
        }
        headers.push(FixedHeader { name, value });
    }
    Ok(headers)
}

/// A text, here or in the environment. Not shown in messages.
fn secret(node: &Node<'_>, surroundings: Surroundings<'_>) -> Result<Secret, ConfigError> {
    const EXPECTED: &str = "a string that is not empty, or {\"environment_variable\": ...}";
    let text = match node.value.as_str() {
        Some(text) => text.to_owned(),
        None if node.value.as_object().is_none() => return Err(node.error(node.value.kind(), EXPECTED)),
        None => {
            let mut fields = Fields::of(node.clone())?;
            let variable = fields.require("environment_variable")?;
            fields.finish(&[])?;
            let value = variable.value.as_str().and_then(surroundings.variable);
            value.ok_or_else(|| super::key_source::no_variable(&variable))?
        }
    };
    if text.is_empty() { Err(node.error("nothing", EXPECTED)) } else { Ok(Secret(text)) }
}

fn cookie_names(node: Option<Node<'_>>) -> Result<Vec<String>, ConfigError> {
    node.map_or(Ok(Vec::new()), |node| node.items()?.iter().map(cookie_name).collect())
}

fn cookie_name(node: &Node<'_>) -> Result<String, ConfigError> {
    let name = node.string()?;
    if !name.is_empty() && name.bytes().all(super::is_token_char) {
        Ok(name.to_owned())
    } else {
        Err(node.expected("the name of a cookie"))
    }
}

/// `allow`: statuses, and what a header must say.
fn allow(node: Node<'_>) -> Result<Allow, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    let statuses = match fields.take("status")? {
        None => None,
        Some(node) => {
            let statuses: Vec<_> = node.items()?.iter().map(status).collect::<Result<_, _>>()?;
            if statuses.is_empty() {
                return Err(node.expected("at least one status"));
            }
            Some(statuses)
        }
    };
    let header = fields.take("header")?.map(|node| HeaderName::parse(&node)).transpose()?;
    let value = fields.take("value")?.map(|node| node.non_empty_string()).transpose()?;
    fields.finish(&[])?;
    match (statuses, header, value) {
        (statuses, Some(header), Some(value)) => {
            Ok(Allow { statuses, header: Some((header, value.to_owned())) })
        }
        (Some(statuses), None, None) => Ok(Allow { statuses: Some(statuses), header: None }),
        _ => Err(node.error("something else", "\"status\", or \"header\" and its \"value\", or all three")),
    }
}

fn header_to_claim(node: Node<'_>) -> Result<HeaderToClaim, ConfigError> {
    let mut fields = Fields::of(node)?;
    let header = HeaderName::parse(&fields.require("header")?)?;
    let claim = fields.require("claim")?;
    fields.finish(&[])?;
    let name = claim.non_empty_string()?;
    // Their values are numbers, and those of headers are texts.
    if ["exp", "iat", "nbf"].contains(&name) {
        return Err(claim.expected("a claim that is a text"));
    }
    Ok(HeaderToClaim { header, claim: name.to_owned() })
}

fn deny_rule(node: Node<'_>) -> Result<DenyRule, ConfigError> {
    let mut fields = Fields::of(node)?;
    let status = status(&fields.require("status")?)?;
    let code = fields.take("code")?.map(|node| node.non_empty_string().map(str::to_owned)).transpose()?;
    let denial = match fields.take("answer")? {
        None => Denial::Session,
        Some(node) => match node.u32()? {
            401 => Denial::Session,
            403 => Denial::Access,
            _ => return Err(node.expected("401 or 403")),
        },
    };
    fields.finish(&[])?;
    Ok(DenyRule { status, code, denial })
}

fn status(node: &Node<'_>) -> Result<u16, ConfigError> {
    let status = u16::try_from(node.u32()?).ok().filter(|status| (200..600).contains(status));
    status.ok_or_else(|| node.expected("an HTTP status from 200 to 599"))
}

/// Whether a text can be the value of a header field as it is (RFC 9110 section 5.5).
pub(crate) fn is_header_value(text: &str) -> bool {
    text.trim_matches([' ', '\t']).len() == text.len()
        && text.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}

impl SessionCheck {
    /// The headers of a client that are sent.
    pub fn request_headers(&self) -> &[HeaderName] {
        match &self.kind {
            CheckKind::ForwardAuth(forward_auth) => &forward_auth.request_headers,
            CheckKind::UserInfo(_) | CheckKind::Introspection(_) | CheckKind::SessionStatus(_) => &[],
        }
    }

    /// Whether it is asked about sessions by their name in tokens that keys have verified, and about nothing else.
    pub const fn is_by_claims(&self) -> bool {
        matches!(self.kind, CheckKind::SessionStatus(_))
    }
}
