//! Header names that the configuration mentions.

use std::fmt;
use std::sync::Arc;

use super::error::ConfigError;
use super::value::Node;
use crate::bytes::are_same;

/// Fields that frame or route a message: a claim must not reach them.
const RESERVED: [&str; 10] = [
    "connection",
    "content-length",
    "cookie",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header field name (RFC 9110 section 5.1), in lower case.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HeaderName(Arc<str>);

impl HeaderName {
    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What backends may fold this name to: lower case, and everything that is no letter or digit as `-`.
    ///
    /// CGI and its heirs hand `X-User-Id` and `X_User_Id` to the application under one name (CVE-2025-64484).
    pub fn folded(&self) -> Vec<u8> {
        fold(self.0.as_bytes())
    }

    /// A name that is known to be one, in lower case.
    pub(super) fn known(name: &'static str) -> Self {
        Self(name.into())
    }

    pub(super) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        Self::from_text(node.string()?).ok_or_else(|| node.expected("a header name"))
    }

    /// `name`, if it is one.
    pub(super) fn from_text(name: &str) -> Option<Self> {
        let is_name = !name.is_empty() && name.bytes().all(is_token_char);
        is_name.then(|| Self(name.to_ascii_lowercase().into()))
    }

    /// A header that the filter will write.
    pub(super) fn parse_output(node: &Node<'_>) -> Result<Self, ConfigError> {
        let name = Self::parse(node)?;
        if RESERVED.iter().any(|reserved| reserved.as_bytes() == name.folded()) {
            return Err(node.expected("a header that does not frame or route the request"));
        }
        Ok(name)
    }
}

/// Header names that are removed from requests: one, or all with the same beginning.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderPattern {
    /// See [`HeaderName::folded`].
    folded: Vec<u8>,
    is_prefix: bool,
}

impl HeaderPattern {
    /// Whether a folded name is one of them.
    pub fn matches(&self, folded: &[u8]) -> bool {
        if self.is_prefix { folded.starts_with(&self.folded) } else { folded == self.folded }
    }

    /// The one folded name, unless they are all with the same beginning.
    pub fn name(&self) -> Option<&[u8]> {
        (!self.is_prefix).then_some(&*self.folded)
    }

    /// The folded beginning, unless it is one name.
    pub fn beginning(&self) -> Option<&[u8]> {
        self.is_prefix.then_some(&*self.folded)
    }

    /// A name, or the beginning of names and a `*`.
    pub(super) fn parse(node: &Node<'_>) -> Result<Self, ConfigError> {
        let text = node.string()?;
        let name = text.strip_suffix('*').unwrap_or(text);
        let is_prefix = name.len() < text.len();
        let folded = fold(name.as_bytes());
        // A shorter beginning is that of headers nobody thought of.
        let is_long_enough = !is_prefix || name.len() >= 3;
        let is_valid = !name.is_empty() && name.bytes().all(|byte| is_token_char(byte) && byte != b'*');
        let pattern = Self { folded, is_prefix };
        if !is_valid || !is_long_enough {
            return Err(node.expected("a header name, or at least three characters of it and a \"*\""));
        }
        if RESERVED.iter().any(|reserved| pattern.matches(reserved.as_bytes())) {
            return Err(node.expected("headers that do not frame or route the request"));
        }
        Ok(pattern)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a byte may be part of a header name or of an authentication scheme (`tchar`, RFC 9110 section 5.6.2).
pub(crate) fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// See [`HeaderName::folded`].
pub(crate) fn fold(name: &[u8]) -> Vec<u8> {
    name.iter().copied().map(fold_byte).collect()
}

/// See [`HeaderName::folded`].
const fn fold_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

/// Whether backends may fold both names to the same.
pub(crate) fn fold_alike(name: &[u8], other: &[u8]) -> bool {
    let are_alike = |(byte, other): (&u8, &u8)| fold_byte(*byte) == fold_byte(*other);
    // Most are spelt alike.
    name.len() == other.len() && (are_same(name, other) || name.iter().zip(other).all(are_alike))
}

#[cfg(test)]
impl HeaderName {
    pub(crate) fn for_test(name: &str) -> Self {
        Self(name.into())
    }
}
