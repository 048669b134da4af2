//! Conditions of a rule -> whether they hold for a request.
//!
//! Takes the request head and one reading of its path. Conditions mean what they mean in Envoy 1.40 (`HeaderUtility`,
//! `ConfigUtility::QueryParameterMatcher`, `StringMatcherImpl`), except where a request can be read in more than one
//! way: no reading may lead from a rule that demands a token to one that does not. Deliberately knows nothing of
//! requirements and of the order of rules.

use crate::bytes::are_same;
use crate::config::{
    HeaderMatchSpecifier, HeaderMatcher, PathPattern, PathSpecifier, QueryParameterMatchSpecifier,
    QueryParameterMatcher, RouteMatch, StringMatcher, StringPattern,
};
use crate::request::{RequestHead, is_named, percent_decode_leniently, query_pairs};

/// How much of what a request can be read as must meet a condition: each form of its path, each line of a header, each
/// value of a parameter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scrutiny {
    /// One is enough: for a rule that demands a verified token.
    Any,
    /// All must: for a rule that does not.
    Every,
}

/// A path in one of its forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form<'p> {
    /// With percent-encoding in it.
    Encoded(&'p str),
    /// With its percent-encoding resolved.
    Decoded(&'p str),
}

impl<'p> Form<'p> {
    /// The path.
    pub const fn text(self) -> &'p str {
        match self {
            Self::Encoded(path) | Self::Decoded(path) => path,
        }
    }
}

impl Scrutiny {
    fn holds<T>(self, mut items: impl Iterator<Item = T>, condition: impl FnMut(T) -> bool) -> bool {
        match self {
            Self::Any => items.any(condition),
            Self::Every => items.all(condition),
        }
    }
}

impl RouteMatch {
    /// Whether a path in these forms, which mean the same, is meant.
    pub fn is_for_path(&self, forms: &[Form<'_>], scrutiny: Scrutiny) -> bool {
        scrutiny.holds(forms.iter(), |form| self.path.matches(*form))
    }

    /// Whether everything but the path is as the rule asks.
    pub fn conditions_hold(&self, head: &RequestHead, scrutiny: Scrutiny) -> bool {
        // Most rules have no condition on it, and looking for it takes a while.
        let query = || head.query().unwrap_or_default();
        (self.path != PathSpecifier::Connect || head.is_connect())
            && self.headers.iter().all(|header| header.matches(head, scrutiny))
            && self.query_parameters.iter().all(|parameter| parameter.matches(query(), scrutiny))
    }
}

impl PathSpecifier {
    fn matches(&self, form: Form<'_>) -> bool {
        match (self, form) {
            (Self::Prefix(pattern), _) => pattern.cut_from(form).is_some(),
            (Self::Path(pattern), _) => pattern.cut_from(form) == Some(""),
            (Self::PathSeparatedPrefix(pattern), _) => {
                pattern.cut_from(form).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            (Self::SafeRegex(regex), _) => regex.is_match(form.text().as_bytes()),
            (Self::UriTemplate(template), Form::Encoded(path)) => template.is_match_sent(path),
            (Self::UriTemplate(template), Form::Decoded(path)) => template.is_match_decoded(path),
            // Whether the request is a tunnel is a condition like the others.
            (Self::Connect, _) => true,
        }
    }
}

impl PathPattern {
    /// What stands behind this in a path that starts with it.
    fn cut_from<'p>(&self, form: Form<'p>) -> Option<&'p str> {
        let pattern = match form {
            Form::Encoded(_) => &self.written,
            Form::Decoded(_) => &self.decoded,
        };
        let (start, rest) = form.text().split_at_checked(pattern.len())?;
        are_equal(start.as_bytes(), pattern, !self.case_sensitive).then_some(rest)
    }
}

impl HeaderMatcher {
    /// Lines are compared one by one, as Envoy does since it stopped to join them.
    fn matches(&self, head: &RequestHead, scrutiny: Scrutiny) -> bool {
        let is_there = head.values(&self.name).next().is_some();
        let treated_as_empty = (!is_there && self.treat_missing_header_as_empty).then_some(&b""[..]);
        let mut lines = head.values(&self.name).chain(treated_as_empty).peekable();
        let fits = |line: &[u8]| match &self.specifier {
            HeaderMatchSpecifier::Present(present) => *present,
            HeaderMatchSpecifier::Range { start, end } => {
                whole_number(line).is_some_and(|number| (*start..*end).contains(&number))
            }
            HeaderMatchSpecifier::String(matcher) => matcher.matches(line),
        };
        let is_host = matches!(self.name.as_str(), ":authority" | "host");
        match &self.specifier {
            HeaderMatchSpecifier::Present(present) if lines.peek().is_none() => *present == self.invert_match,
            // Inverted or not, a header that is not there meets no condition on its value.
            _ if lines.peek().is_none() => false,
            _ => scrutiny.holds(lines, |line| {
                let holds = fits(line) != self.invert_match;
                let as_host =
                    || is_host && scrutiny == Scrutiny::Any && fits(&plain_host(line)) != self.invert_match;
                holds || as_host()
            }),
        }
    }
}

/// A host as servers understand it: without case, port and final dot.
fn plain_host(host: &[u8]) -> Vec<u8> {
    let port = host.iter().rposition(|byte| *byte == b':');
    let (name, port) = host.split_at_checked(port.unwrap_or(host.len())).unwrap_or_default();
    let is_port = port.iter().skip(1).all(u8::is_ascii_digit);
    let name = if is_port { name } else { host };
    name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase()
}

fn whole_number(line: &[u8]) -> Option<i64> {
    str::from_utf8(line).ok()?.trim_ascii().parse().ok()
}

impl QueryParameterMatcher {
    /// Envoy decodes nothing, and looks at the first value alone.
    fn matches(&self, query: &[u8], scrutiny: Scrutiny) -> bool {
        let is_there_as_written = query_pairs(query).any(|(name, _)| name == self.name.as_bytes());
        let pairs = query_pairs(query).filter(|(name, _)| is_named(name, &self.name));
        let mut values = pairs.map(|(_, value)| value).peekable();
        match (&self.specifier, scrutiny) {
            (QueryParameterMatchSpecifier::Present(present), _) => {
                let readings = [is_there_as_written, values.peek().is_some()];
                scrutiny.holds(readings.into_iter(), |is_there| is_there == *present)
            }
            (QueryParameterMatchSpecifier::String(matcher), Scrutiny::Any) => {
                // Some servers end a parameter at a semicolon, too.
                let parts = query.split(|byte| *byte == b';').flat_map(query_pairs);
                let parts = parts.filter(|(name, _)| is_named(name, &self.name)).map(|(_, value)| value);
                values.chain(parts).any(|value| matcher.matches(value) || matches_decoded(matcher, value))
            }
            (QueryParameterMatchSpecifier::String(matcher), Scrutiny::Every) => {
                is_there_as_written && values.all(|value| matcher.matches(value))
            }
        }
    }
}

/// Whether a value as a server may decode it is like this. Servers differ in `+` and in what is no encoding.
fn matches_decoded(matcher: &StringMatcher, value: &[u8]) -> bool {
    let with_spaces: Vec<u8> = value.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    [value, &with_spaces].into_iter().any(|value| matcher.matches(&percent_decode_leniently(value)))
}

impl StringMatcher {
    /// Whether a value, text or not, is like this.
    pub fn matches(&self, value: &[u8]) -> bool {
        let are_equal = |part: &[u8], text: &str| are_equal(part, text, self.ignore_case);
        match &self.pattern {
            StringPattern::Exact(text) => are_equal(value, text),
            StringPattern::Prefix(text) => {
                value.get(..text.len()).is_some_and(|start| are_equal(start, text))
            }
            StringPattern::Suffix(text) => {
                let start = value.len().checked_sub(text.len());
                start.and_then(|start| value.get(start..)).is_some_and(|end| are_equal(end, text))
            }
            StringPattern::Contains(text) => {
                value.windows(text.len().max(1)).any(|part| are_equal(part, text))
            }
            StringPattern::SafeRegex(regex) => regex.is_match(value),
        }
    }
}

fn are_equal(part: &[u8], text: &str, ignore_case: bool) -> bool {
    are_same(part, text.as_bytes()) || (ignore_case && part.eq_ignore_ascii_case(text.as_bytes()))
}
