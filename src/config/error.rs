//! What is wrong with a configuration: where, what was found, what was expected.

use std::fmt;

use crate::json::{Json, JsonError};

/// The longest value that is shown in a message, in characters.
const MAX_SHOWN: usize = 60;

/// The first thing in a configuration that must be mended.
///
/// Reads as `providers.acme.issuer: found the number 5, expected a string`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The JSON path of the value; empty for the whole configuration.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What should stand there, or how to mend it.
    pub expected: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "configuration" } else { &self.path };
        write!(f, "{path}: found {}, expected {}", self.found, self.expected)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    pub(super) fn nothing() -> Self {
        Self { path: String::new(), found: "nothing".to_owned(), expected: "a JSON object".to_owned() }
    }

    pub(super) fn not_json(error: &JsonError) -> Self {
        Self { path: String::new(), found: error.to_string(), expected: "a JSON object".to_owned() }
    }
}

/// A value as messages show it: its kind, and the value itself when it is short.
pub(super) fn describe(value: &Json<'_>) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => format!("{value}"),
        Json::Number(number) => format!("the number {}", shorten(number.as_str())),
        Json::String(string) => format!("the string {:?}", shorten(string)),
        Json::Array(items) if items.is_empty() => "an empty array".to_owned(),
        Json::Object(object) if object.members().next().is_none() => "an empty object".to_owned(),
        Json::Array(_) | Json::Object(_) => value.kind().to_owned(),
    }
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}
