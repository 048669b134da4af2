//! The head of a request as the host handed it over.
//!
//! Takes header pairs as bytes and what the host knows about their stream, gives look-ups. First stage of the flow.
//! Header values are bytes because proxies pass bytes that are no text; names are compared without case because not
//! every host folds them.
//! Deliberately has no opinion on what a header means.

use std::fmt::Write as _;

use crate::bytes::are_same;

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

/// Header fields in their original order, in the one piece of memory that a host hands over.
#[derive(Clone, Debug, Default)]
pub struct HeaderFields {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// Where a field is in the bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    name: usize,
    name_length: usize,
    value: usize,
    value_length: usize,
}

/// The header fields of one request, pseudo-headers (`:method`, `:path`, ...) included, in their original order.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    fields: HeaderFields,
    /// The first `:path`, which is asked for more often than anything else.
    target: Option<Span>,
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

impl HeaderFields {
    /// Reads the wire form of proxy-wasm: a count, the lengths of each name and value, then each of them with a NUL
    /// behind; numbers are 32 bits, little endian. No bytes are no fields. `None` when the bytes are cut short.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let number = |number: [u8; 4]| usize::try_from(u32::from_le_bytes(number)).ok();
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        // Before room is made for as many: a count is not to be believed.
        let lengths_end = number(*count)?.checked_mul(8)?;
        let (lengths, _) = rest.get(..lengths_end)?.as_chunks::<8>();
        let mut at = lengths_end.checked_add(4)?;
        let mut spans = Vec::with_capacity(lengths.len());
        for [n0, n1, n2, n3, v0, v1, v2, v3] in lengths {
            let (name_length, value_length) = (number([*n0, *n1, *n2, *n3])?, number([*v0, *v1, *v2, *v3])?);
            let (name, value) = (at, at.checked_add(name_length)?.checked_add(1)?);
            at = value.checked_add(value_length)?.checked_add(1)?;
            spans.push(Span { name, name_length, value, value_length });
        }
        // The last NUL is not everybody's.
        bytes.get(..at.saturating_sub(1))?;
        Some(Self { bytes, spans })
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Every name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|span| (self.name(span), self.value(span)))
    }

    /// Every value of the field `name`, which is compared without case.
    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.spans_of(name).map(|span| self.value(span))
    }

    fn spans_of(&self, name: &str) -> impl Iterator<Item = &Span> {
        // Most names are told apart by their length, before anything else is looked at.
        let spans = self.spans.iter().filter(move |span| span.name_length == name.len());
        spans.filter(move |span| is_same_name(self.name(span), name.as_bytes()))
    }

    fn name(&self, span: &Span) -> &[u8] {
        self.bytes.get(span.name..span.name + span.name_length).unwrap_or_default()
    }

    fn value(&self, span: &Span) -> &[u8] {
        self.bytes.get(span.value..span.value + span.value_length).unwrap_or_default()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderFields {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(fields: T) -> Self {
        let mut all = Self::default();
        for (name, value) in fields {
            let (name, value) = (name.as_ref(), value.as_ref());
            let start = all.bytes.len();
            all.bytes.extend_from_slice(name);
            all.bytes.extend_from_slice(value);
            let (name_length, value_length) = (name.len(), value.len());
            all.spans.push(Span { name: start, name_length, value: start + name_length, value_length });
        }
        all
    }
}

impl RequestHead {
    /// The head made of these fields.
    pub fn new(fields: Vec<HeaderField>) -> Self {
        Self::of(fields.into_iter().collect())
    }

    /// The head that has these fields.
    pub fn of(fields: HeaderFields) -> Self {
        let target = fields.spans_of(":path").next().copied();
        Self { fields, target, attributes: Attributes::default() }
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
        self.target.as_ref().map(|span| self.fields.value(span)).unwrap_or_default()
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
        self.fields.values(name)
    }

    /// Every field, as it was sent.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter()
    }

    /// The same head without the fields of these names, compared without case.
    #[must_use]
    pub fn without(&self, names: &[&[u8]]) -> Self {
        let is_kept = |field: &(&[u8], &[u8])| !names.iter().any(|name| field.0.eq_ignore_ascii_case(name));
        let fields = self.fields.iter().filter(is_kept).collect();
        Self::of(fields).with_attributes(self.attributes.clone())
    }

    /// Every field name of a length, in bytes, that is looked for, as it was sent and as often.
    pub fn names_of_lengths<'h, F: Fn(usize) -> bool>(
        &'h self,
        is_looked_for: F,
    ) -> impl Iterator<Item = &'h [u8]> + use<'h, F> {
        let spans = self.fields.spans.iter().filter(move |span| is_looked_for(span.name_length));
        spans.map(|span| self.fields.name(span))
    }

    /// Every field name, as it was sent and as often.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.names_of_lengths(|_| true)
    }
}

/// Whether two names of header fields are the same, however they are spelt.
pub fn is_same_name(name: &[u8], other: &[u8]) -> bool {
    // Most are spelt alike.
    are_same(name, other) || name.eq_ignore_ascii_case(other)
}

/// A request target in front of and behind its first question mark.
pub fn split_target(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mark = target.iter().position(|byte| *byte == b'?');
    let parts = mark.and_then(|mark| Some((target.get(..mark)?, target.get(mark + 1..)?)));
    parts.map_or((target, None), |(path, query)| (path, Some(query)))
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
    use proptest::prelude::*;

    use super::*;

    /// The wire form of these fields.
    fn wire(fields: &[(&str, &str)]) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let mut bytes = number(fields.len()).to_vec();
        for (name, value) in fields {
            bytes.extend([number(name.len()), number(value.len())].concat());
        }
        for (name, value) in fields {
            bytes.extend(format!("{name}\0{value}\0").bytes());
        }
        bytes
    }

    #[test]
    fn fields_are_read_from_their_wire_form() {
        let fields = [(":method", "GET"), ("a", ""), ("x-b", "c d"), ("", "e")];
        let parsed = HeaderFields::parse(wire(&fields)).unwrap();
        let expected: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(parsed.iter().collect::<Vec<_>>(), expected);
        assert!(HeaderFields::parse(Vec::new()).unwrap().is_empty());
        assert!(HeaderFields::parse(wire(&[])).unwrap().is_empty());
    }

    #[test]
    fn a_wire_form_that_is_cut_short_or_lies_about_lengths_is_none() {
        let whole = wire(&[("name", "value"), ("b", "c")]);
        for end in 1..whole.len() - 1 {
            assert!(HeaderFields::parse(whole[..end].to_vec()).is_none(), "{end}");
        }
        for count in [3, 1 << 20, u32::MAX] {
            let mut lying = whole.clone();
            lying[..4].copy_from_slice(&count.to_le_bytes());
            assert!(HeaderFields::parse(lying).is_none(), "{count}");
        }
        let mut lying = whole;
        lying[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(HeaderFields::parse(lying).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_fields_or_none(count in 0..4_u32, lengths: Vec<u8>, text: Vec<u8>) {
            let lengths = lengths.into_iter().map(u32::from).flat_map(u32::to_le_bytes);
            let bytes: Vec<u8> = count.to_le_bytes().into_iter().chain(lengths).chain(text).collect();
            if let Some(fields) = HeaderFields::parse(bytes.clone()) {
                // Of what is there nothing is lost, and nothing comes from elsewhere.
                prop_assert_eq!(fields.iter().count(), usize::try_from(count).unwrap());
                let lengths = bytes[4..].chunks(4).take(2 * fields.iter().count());
                let lengths = lengths.map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
                let found = fields.iter().flat_map(|(name, value)| [name.len(), value.len()]);
                prop_assert!(lengths.map(|length| usize::try_from(length).unwrap()).eq(found));
                for (position, name) in fields.iter().map(|(name, _)| name).enumerate() {
                    let name = String::from_utf8_lossy(name).into_owned();
                    let head = RequestHead::of(HeaderFields::parse(bytes.clone()).unwrap());
                    prop_assert!(name.contains('\u{fffd}') || head.values(&name).count() > 0, "{}", position);
                }
            }
        }
    }

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
