//! The head of a request as the host handed it over.
//!
//! Takes header pairs as bytes and what the host knows about their stream, gives look-ups. First stage of the flow.
//! Header values are bytes because proxies pass bytes that are no text; names are compared without case because not
//! every host folds them.
//! Deliberately has no opinion on what a header means.

use std::fmt::Write as _;

/// A header field: name and value.
pub type HeaderField = (Vec<u8>, Vec<u8>);

/// A change to the head of a request before it goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HeaderEdit {
    /// Every line of this name goes.
    Remove {
        /// The name, spelt as in the request.
        name: Vec<u8>,
    },
    /// One line of this name with this value, in place of all there are.
    Replace {
        /// The name.
        name: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
}

impl HeaderEdit {
    /// Takes out every line of this name.
    pub fn remove(name: &[u8]) -> Self {
        Self::Remove { name: name.to_vec() }
    }

    /// Leaves one line of this name.
    pub fn replace(name: &str, value: impl Into<Vec<u8>>) -> Self {
        Self::Replace { name: name.as_bytes().to_vec(), value: value.into() }
    }

    /// How long name and value are, in bytes.
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Remove { name } => name.len(),
            Self::Replace { name, value } => name.len() + value.len(),
        }
    }
}

/// The header fields of one request, pseudo-headers (`:method`, `:path`, ...) included, in their original order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RequestHead {
    fields: Vec<HeaderField>,
    attributes: Attributes,
}

/// What the host says of a request that is not in its header.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes {
    /// What the metadata of its route says.
    pub route: RoutePolicy,
    /// The value in its filter state that rules are chosen by.
    pub filter_state: Option<Vec<u8>>,
}

/// What a route asks for in place of the rules (`PerRouteConfig` of `jwt_authn`).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum RoutePolicy {
    /// Nothing: the rules decide.
    #[default]
    Rules,
    /// Requests pass without an identity.
    Disabled,
    /// The requirement of this name.
    Requirement(String),
}

impl RequestHead {
    /// The head made of these fields.
    pub fn new(fields: Vec<HeaderField>) -> Self {
        Self { fields, attributes: Attributes::default() }
    }

    /// The same head with what the host says of it.
    #[must_use]
    pub fn with_attributes(self, attributes: Attributes) -> Self {
        Self { attributes, ..self }
    }

    /// What the host says of the request.
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The first value of the field `name`; empty when there is none.
    pub fn value(&self, name: &str) -> &[u8] {
        self.values(name).next().unwrap_or_default()
    }

    /// Whether a browser asks with this request if it may send another one (a CORS preflight: `OPTIONS` with `origin`
    /// and `access-control-request-method`).
    pub fn is_cors_preflight(&self) -> bool {
        self.value(":method") == b"OPTIONS"
            && !self.value("origin").is_empty()
            && !self.value("access-control-request-method").is_empty()
    }

    /// The request target as it was sent, query included; empty when there is none (`CONNECT`).
    pub fn target(&self) -> &[u8] {
        self.value(":path")
    }

    /// The query of the target, without its question mark.
    pub fn query(&self) -> Option<&[u8]> {
        split_target(self.target()).1
    }

    /// Whether it asks for a tunnel (`CONNECT`).
    pub fn is_connect(&self) -> bool {
        self.values(":method").next() == Some(b"CONNECT")
    }

    /// Every value of the field `name`, one per line that was sent.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
    }

    /// Every field, as it was sent.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// The same head without the fields of these names, compared without case.
    #[must_use]
    pub fn without(&self, names: &[&[u8]]) -> Self {
        let is_kept = |field: &&HeaderField| !names.iter().any(|name| field.0.eq_ignore_ascii_case(name));
        let fields = self.fields.iter().filter(is_kept).cloned().collect();
        Self { fields, attributes: self.attributes.clone() }
    }

    /// Every field name, as it was sent and as often.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().map(|(name, _)| name.as_slice())
    }
}

/// A request target in front of and behind its first question mark.
pub fn split_target(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = target.splitn(2, |&byte| byte == b'?');
    (parts.next().unwrap_or_default(), parts.next())
}

/// The `name=value` pairs of a query, still encoded; a pair without `=` has an empty value.
pub fn query_pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').map(split_pair)
}

/// Whether an encoded parameter name stands for `name`.
pub fn is_named(encoded: &[u8], name: &str) -> bool {
    let is_decoded_name = |encoded| percent_decode(encoded).is_some_and(|decoded| decoded == name.as_bytes());
    encoded == name.as_bytes() || encoded.contains(&b'%') && is_decoded_name(encoded)
}

/// A pair in front of and behind its first `=`.
fn split_pair(pair: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = pair.splitn(2, |byte| *byte == b'=');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// The `name=value` pairs of one `cookie` line (RFC 6265 section 4.2.1).
pub(crate) fn cookie_pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|byte| *byte == b';').map(|pair| {
        let (name, value) = split_pair(pair);
        (trim_ows(name), trim_ows(value))
    })
}

/// `bytes` without white space (space, tab) at its ends: the `OWS` of RFC 9110 section 5.6.3.
pub fn trim_ows(bytes: &[u8]) -> &[u8] {
    let is_ows = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !is_ows(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_ows(byte)).map_or(start, |last| last + 1);
    bytes.get(start..end).unwrap_or_default()
}

/// `%XX` resolved once; `None` when a `%` is not followed by two hexadecimal digits.
pub fn percent_decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(if byte == b'%' { hex_pair(rest.next(), rest.next())? } else { byte });
    }
    Some(decoded)
}

/// `%XX` resolved once; a `%` that is not followed by two hexadecimal digits stays, as some servers have it.
pub fn percent_decode_leniently(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let pair = if byte == b'%' { hex_pair(after.first(), after.get(1)) } else { None };
        decoded.push(pair.unwrap_or(byte));
        rest = if pair.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    decoded
}

/// What is not unreserved (RFC 3986 section 2.3) as `%XX`: a part of a URL that means nothing in it.
pub fn percent_encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The byte that two hexadecimal digits stand for.
pub(crate) fn hex_pair(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit =
        |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_trimmed_at_the_ends_alone() {
        assert_eq!(trim_ows(b" \ta b\t "), b"a b");
        assert_eq!(trim_ows(b" \t "), b"");
        assert_eq!(trim_ows(b""), b"");
    }

    #[test]
    fn percent_encoding_is_resolved_once_or_refused() {
        assert_eq!(percent_decode(b"a%2Fb%2fc%2525").as_deref(), Some(&b"a/b/c%25"[..]));
        for broken in ["%", "%2", "%zz", "%+1", "a%"] {
            assert_eq!(percent_decode(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn the_query_starts_at_the_first_question_mark() {
        assert_eq!(split_target(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split_target(b"/a"), (&b"/a"[..], None));
    }
}
