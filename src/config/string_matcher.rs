//! `StringMatcher` and `RegexMatcher` (envoy `api/envoy/type/matcher/v3/string.proto` and `regex.proto`).
//!
//! Takes the object, gives a matcher that is compiled. What it matches is in `src/matcher.rs`.

use super::error::ConfigError;
use super::fields::Fields;
use super::value::Node;
use crate::regex::Regex;

/// What a value must be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StringMatcher {
    /// The pattern.
    pub pattern: StringPattern,
    /// Whether ASCII letters match in either case; never with an expression.
    pub ignore_case: bool,
}

/// The kinds of pattern. All work on bytes: a value may be no text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StringPattern {
    /// The value is this.
    Exact(String),
    /// The value starts with this.
    Prefix(String),
    /// The value ends with this.
    Suffix(String),
    /// The value has this in it.
    Contains(String),
    /// The whole value matches this expression.
    SafeRegex(Regex),
}

/// What a text becomes.
pub(super) type TextPattern = fn(String) -> StringPattern;

const TEXTS: [(&str, TextPattern); 4] = [
    ("exact", StringPattern::Exact),
    ("prefix", StringPattern::Prefix),
    ("suffix", StringPattern::Suffix),
    ("contains", StringPattern::Contains),
];

const ONE_OF: &str = "one of exact, prefix, suffix, contains, safe_regex";

impl StringMatcher {
    pub(super) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let mut fields = Fields::of(node.clone())?;
        let mut patterns = Vec::new();
        for (name, pattern) in TEXTS {
            if let Some(node) = fields.take(name)? {
                let text = if name == "exact" { node.string()? } else { node.non_empty_string()? };
                patterns.push(pattern(text.to_owned()));
            }
        }
        if let Some(node) = fields.take("safe_regex")? {
            patterns.push(StringPattern::SafeRegex(regex(&node)?));
        }
        let ignore_case = fields.take("ignore_case")?;
        fields.finish(&["custom"])?;
        let pattern = match (patterns.pop(), patterns.is_empty()) {
            (Some(pattern), true) => pattern,
            (None, _) => return Err(node.error("no pattern", ONE_OF)),
            (Some(_), false) => return Err(node.error("more than one pattern", ONE_OF)),
        };
        let Some(ignore_case) = ignore_case else { return Ok(Self::of(pattern)) };
        match (ignore_case.boolean()?, &pattern) {
            (true, StringPattern::SafeRegex(_)) => {
                Err(ignore_case.expected("(?i) in the expression instead"))
            }
            (ignore_case, _) => Ok(Self { pattern, ignore_case }),
        }
    }

    /// A matcher of one pattern, with case.
    pub(super) const fn of(pattern: StringPattern) -> Self {
        Self { pattern, ignore_case: false }
    }
}

/// A `RegexMatcher`: the expression, and the only engine there is.
pub(super) fn regex(node: &Node<'_>) -> Result<Regex, ConfigError> {
    let mut fields = Fields::of(node.clone())?;
    let expression = fields.require("regex")?;
    if let Some(engine) = fields.take("google_re2")? {
        Fields::of(engine)?.finish(&["max_program_size"])?;
    }
    fields.finish(&[])?;
    Regex::new(expression.non_empty_string()?)
        .map_err(|reason| expression.expected(format!("a regular expression ({reason})")))
}
