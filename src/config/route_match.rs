//! `RouteMatch`: which requests a rule is for.
//!
//! Takes the object, gives conditions that are compiled. The fields are those of envoy
//! `api/envoy/config/route/v3/route_components.proto` that the native `jwt_authn` looks at; the others it ignores in
//! silence, and they are refused here. What the conditions match is in `src/matcher.rs`.

use super::error::ConfigError;
use super::fields::Fields;
use super::header_name::is_token_char;
use super::string_matcher::{StringMatcher, StringPattern, TextPattern, regex};
use super::value::Node;
use crate::path::{RequestPath, normalise};
use crate::regex::Regex;
use crate::uri_template::UriTemplate;

/// The fields that are read, in the order of the README.
pub(super) const FIELDS: &[&str] = &[
    "match.prefix",
    "match.path",
    "match.path_separated_prefix",
    "match.safe_regex",
    "match.path_match_policy",
    "match.connect_matcher",
    "match.case_sensitive",
    "match.headers",
    "match.query_parameters",
];

pub(super) const NOT_BUILT: &[&str] =
    &["runtime_fraction", "grpc", "tls_context", "dynamic_metadata", "filter_state", "cookies"];

const SPECIFIERS: &str =
    "one of prefix, path, path_separated_prefix, safe_regex, path_match_policy, connect_matcher";

const URI_TEMPLATE: &str =
    "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";

const DEPRECATED_TEXTS: [(&str, TextPattern); 3] = [
    ("prefix_match", StringPattern::Prefix),
    ("suffix_match", StringPattern::Suffix),
    ("contains_match", StringPattern::Contains),
];

/// Which requests a rule is for: those for which all of this holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteMatch {
    /// The path, or that there is none.
    pub path: PathSpecifier,
    /// The headers.
    pub headers: Vec<HeaderMatcher>,
    /// The parameters of the query.
    pub query_parameters: Vec<QueryParameterMatcher>,
}

/// Which paths a rule is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathSpecifier {
    /// The path starts with this.
    Prefix(PathPattern),
    /// The path is this.
    Path(PathPattern),
    /// The path is this, or starts with this and a slash.
    PathSeparatedPrefix(PathPattern),
    /// The whole path matches this expression.
    SafeRegex(Regex),
    /// The path is one of this template.
    UriTemplate(UriTemplate),
    /// The request is a `CONNECT`, which has no path.
    Connect,
}

/// A path in a rule; it is plain (see [`RequestPath`]).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPattern {
    /// As it stands in the configuration.
    pub written: String,
    /// With its percent-encoding resolved.
    pub decoded: String,
    /// Whether ASCII letters match in their own case alone.
    pub case_sensitive: bool,
}

/// A condition on a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderMatcher {
    /// The field, in lower case; pseudo-headers are fields too.
    pub name: String,
    /// What its values must be like.
    pub specifier: HeaderMatchSpecifier,
    /// Whether the condition holds when the values are not like that.
    pub invert_match: bool,
    /// Whether a field that is not there counts as an empty one.
    pub treat_missing_header_as_empty: bool,
}

/// What the values of a header must be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HeaderMatchSpecifier {
    /// There are values, or there are none.
    Present(bool),
    /// One of them is a whole number in `start..end`.
    Range {
        /// The first number.
        start: i64,
        /// The first number that is too large.
        end: i64,
    },
    /// One of them is like this.
    String(StringMatcher),
}

/// A condition on a parameter of the query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QueryParameterMatcher {
    /// Its name, decoded.
    pub name: String,
    /// What its value must be like.
    pub specifier: QueryParameterMatchSpecifier,
}

/// What the value of a parameter must be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum QueryParameterMatchSpecifier {
    /// It is there, or it is not.
    Present(bool),
    /// It is like this.
    String(StringMatcher),
}

impl RouteMatch {
    pub(super) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let mut fields = Fields::of(node.clone())?;
        for name in ["headers", "query_parameters"] {
            fields.refuse_null(name)?;
        }
        let path = path_specifier(node, &mut fields)?;
        let headers = match fields.take("headers")? {
            Some(node) => node.items()?.iter().map(HeaderMatcher::parse).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let query_parameters = match fields.take("query_parameters")? {
            Some(node) => node.items()?.iter().map(QueryParameterMatcher::parse).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        fields.finish(NOT_BUILT)?;
        Ok(Self { path, headers, query_parameters })
    }

    /// Whether every request that has a path is meant.
    pub fn catches_all(&self) -> bool {
        let is_root = matches!(&self.path, PathSpecifier::Prefix(prefix) if prefix.written == "/");
        is_root && !self.has_conditions()
    }

    /// Whether it asks for more than a path.
    pub fn has_conditions(&self) -> bool {
        self.path == PathSpecifier::Connect || !self.headers.is_empty() || !self.query_parameters.is_empty()
    }
}

fn path_specifier(node: &Node<'_>, fields: &mut Fields<'_>) -> Result<PathSpecifier, ConfigError> {
    let [prefix, path, separated, expression, policy, connect] =
        ["prefix", "path", "path_separated_prefix", "safe_regex", "path_match_policy", "connect_matcher"]
            .map(|name| fields.take(name));
    let case_sensitive = match fields.take("case_sensitive")? {
        Some(node) => node.boolean()?,
        None => true,
    };
    let mut found = Vec::new();
    if let Some(node) = prefix? {
        found.push(PathSpecifier::Prefix(pattern(&node, case_sensitive)?));
    }
    if let Some(node) = path? {
        found.push(PathSpecifier::Path(pattern(&node, case_sensitive)?));
    }
    if let Some(node) = separated? {
        if node.string()?.ends_with('/') {
            return Err(node.expected("a path without a slash at its end"));
        }
        found.push(PathSpecifier::PathSeparatedPrefix(pattern(&node, case_sensitive)?));
    }
    if let Some(node) = expression? {
        found.push(PathSpecifier::SafeRegex(regex(&node)?));
    }
    if let Some(node) = policy? {
        found.push(PathSpecifier::UriTemplate(path_match_policy(node)?));
    }
    if let Some(node) = connect? {
        Fields::of(node)?.finish(&[])?;
        found.push(PathSpecifier::Connect);
    }
    match (found.pop(), found.is_empty()) {
        (Some(specifier), true) => Ok(specifier),
        (None, _) => Err(node.error("no way to match a path", SPECIFIERS)),
        (Some(_), false) => Err(node.error("more than one way to match a path", SPECIFIERS)),
    }
}

/// A path that requests can have as it is written. Another would never match, and the rule would protect nothing.
fn pattern(node: &Node<'_>, case_sensitive: bool) -> Result<PathPattern, ConfigError> {
    let path = node.string()?;
    if path.contains('?') {
        return Err(node.expected("a path without a query"));
    }
    if let RequestPath::Plain { sent, decoded, .. } = RequestPath::of(path.as_bytes()) {
        return Ok(PathPattern { written: sent.to_owned(), decoded: decoded.into_owned(), case_sensitive });
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

/// A typed extension, of which there is one: `envoy.path.match.uri_template.uri_template_matcher`.
fn path_match_policy(node: Node<'_>) -> Result<UriTemplate, ConfigError> {
    let mut fields = Fields::of(node)?;
    fields.require("name")?.non_empty_string()?;
    let config = fields.require("typed_config")?;
    fields.finish(&[])?;
    let mut fields = Fields::of(config)?;
    let kind = fields.require("@type")?;
    if !kind.string()?.ends_with(".UriTemplateMatchConfig") {
        return Err(kind.expected(format!("{URI_TEMPLATE:?}, the only policy there is")));
    }
    let template = fields.require("path_template")?;
    fields.finish(&[])?;
    UriTemplate::new(template.non_empty_string()?)
        .map_err(|reason| template.expected(format!("a URI template ({reason})")))
}

impl HeaderMatcher {
    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let mut fields = Fields::of(node.clone())?;
        let name = header_name(&fields.require("name")?)?;
        let mut found = Vec::new();
        if let Some(node) = take_value(&mut fields, "string_match")? {
            found.push(HeaderMatchSpecifier::String(StringMatcher::parse(&node)?));
        }
        if let Some(node) = take_value(&mut fields, "present_match")? {
            found.push(HeaderMatchSpecifier::Present(node.boolean()?));
        }
        if let Some(node) = take_value(&mut fields, "range_match")? {
            found.push(range(&node)?);
        }
        if let Some(node) = take_value(&mut fields, "exact_match")? {
            found.push(exact_match(node.string()?));
        }
        if let Some(node) = take_value(&mut fields, "safe_regex_match")? {
            found.push(string(StringPattern::SafeRegex(regex(&node)?)));
        }
        for (name, pattern) in DEPRECATED_TEXTS {
            if let Some(node) = take_value(&mut fields, name)? {
                found.push(string(pattern(node.non_empty_string()?.to_owned())));
            }
        }
        let [invert_match, treat_missing_header_as_empty] = ["invert_match", "treat_missing_header_as_empty"]
            .map(|name| match fields.take(name)? {
                Some(node) => node.boolean(),
                None => Ok(false),
            });
        fields.finish(&[])?;
        let specifier = found.pop().unwrap_or(HeaderMatchSpecifier::Present(true));
        if !found.is_empty() {
            return Err(node.error("more than one condition", "one condition for each item of \"headers\""));
        }
        Ok(Self {
            name,
            specifier,
            invert_match: invert_match?,
            treat_missing_header_as_empty: treat_missing_header_as_empty?,
        })
    }
}

const fn string(pattern: StringPattern) -> HeaderMatchSpecifier {
    HeaderMatchSpecifier::String(StringMatcher::of(pattern))
}

/// The deprecated field, in which an empty value means any value.
fn exact_match(value: &str) -> HeaderMatchSpecifier {
    string(match value {
        "" => StringPattern::Prefix(String::new()),
        _ => StringPattern::Exact(value.to_owned()),
    })
}

/// The name of a field as hosts hand it over, in lower case.
fn header_name(node: &Node<'_>) -> Result<String, ConfigError> {
    let name = node.string()?.to_ascii_lowercase();
    match name.as_str() {
        "host" => Ok(":authority".to_owned()),
        ":authority" | ":method" | ":scheme" => Ok(name),
        // A header condition looks at one spelling of a path, and would be walked around with another.
        ":path" => Err(node.expected("another header; a path is matched by prefix, path or safe_regex")),
        _ if !name.is_empty() && name.bytes().all(is_token_char) => Ok(name),
        _ => Err(node.expected("a header name")),
    }
}

fn range(node: &Node<'_>) -> Result<HeaderMatchSpecifier, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    let [start, end] = ["start", "end"].map(|name| match fields.take(name)? {
        Some(node) => node.i64(),
        None => Ok(0),
    });
    fields.finish(&[])?;
    let (start, end) = (start?, end?);
    if start >= end {
        return Err(node.error("a range without a number in it", "a \"start\" below \"end\""));
    }
    Ok(HeaderMatchSpecifier::Range { start, end })
}

impl QueryParameterMatcher {
    fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let mut fields = Fields::of(node.clone())?;
        let name = fields.require("name")?.non_empty_string()?.to_owned();
        let string = take_value(&mut fields, "string_match")?;
        let present = take_value(&mut fields, "present_match")?;
        fields.finish(&[])?;
        let specifier = match (string, present) {
            (Some(string), None) => QueryParameterMatchSpecifier::String(StringMatcher::parse(&string)?),
            (None, Some(present)) => QueryParameterMatchSpecifier::Present(present.boolean()?),
            (None, None) => QueryParameterMatchSpecifier::Present(true),
            (Some(_), Some(present)) => return Err(present.error("a second condition", "one condition")),
        };
        Ok(Self { name, specifier })
    }
}

/// A field without which a condition would hold for more requests.
fn take_value<'a>(fields: &mut Fields<'a>, name: &'static str) -> Result<Option<Node<'a>>, ConfigError> {
    fields.refuse_null(name)?;
    fields.take(name)
}
