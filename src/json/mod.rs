//! Strict JSON (RFC 8259) for everything that comes from outside: token parts, key sets, configuration.
//!
//! Takes bytes, gives a tree. Stricter than most parsers where two parsers could read one text differently: the text
//! must be UTF-8 without a byte order mark, an object that names a member twice is refused at any level, nesting
//! deeper than [`MAX_DEPTH`] is refused before it is followed, and numbers stay the text they were, so that an integer
//! of any size survives. Deliberately knows nothing of the meaning of a member.

mod reader;

use std::borrow::Cow;
use std::fmt;

use self::reader::Reader;

/// The deepest nesting of arrays and objects that is accepted; a bare scalar has depth 0.
pub const MAX_DEPTH: usize = 32;

/// A JSON value that borrows from its text where it can.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(Number<'a>),
    /// A string with its escapes resolved.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Object<'a>),
}

/// The members of an object in the order of the text, each name once.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

/// A number by its text, which is valid JSON number syntax.
#[derive(Clone, Debug, PartialEq)]
pub struct Number<'a>(Cow<'a, str>);

/// Why a text was not taken as JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum JsonError {
    /// An object names this member more than once.
    DuplicateMember {
        /// The name, escapes resolved.
        name: String,
    },
    /// Not JSON, or not UTF-8. The message carries a position but no part of the text.
    Syntax {
        /// What is missing, with its line and column.
        message: String,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateMember { name } => write!(f, "the member {name:?} is given twice"),
            Self::Syntax { message } => write!(f, "not valid JSON: {message}"),
            Self::TooDeep => write!(f, "nested deeper than {MAX_DEPTH} levels"),
        }
    }
}

impl std::error::Error for JsonError {}

impl<'a> Json<'a> {
    /// Reads one JSON text; white space may stand around it, nothing else.
    ///
    /// # Errors
    ///
    /// See [`JsonError`].
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        Reader::of(text)?.only_value()
    }

    /// The string, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(string) => Some(string),
            _ => None,
        }
    }

    /// The object, if this is one.
    pub const fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The same value, borrowing from nothing.
    pub fn into_owned(self) -> Json<'static> {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Number(Number(text)) => Json::Number(Number(Cow::Owned(text.into_owned()))),
            Self::String(string) => Json::String(Cow::Owned(string.into_owned())),
            Self::Array(items) => Json::Array(items.into_iter().map(Self::into_owned).collect()),
            Self::Object(object) => Json::Object(object.into_owned()),
        }
    }

    /// The memory that it holds besides itself, in bytes, when it borrows from nothing.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 0,
            Self::Number(Number(text)) | Self::String(text) => allocated(text.len()),
            Self::Array(items) => items.iter().map(|item| size_of::<Self>() + item.heap_bytes()).sum(),
            Self::Object(object) => object.heap_bytes(),
        }
    }

    /// The kind of value with its article, for messages: `a string`, `an object`, `null`, ...
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// Writes the value as compact JSON, members in their original order, numbers as they were.
impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(number) => f.write_str(number.as_str()),
            Self::String(string) => write_string(f, string),
            Self::Array(items) => {
                f.write_str("[")?;
                for (position, item) in items.iter().enumerate() {
                    let comma = if position == 0 { "" } else { "," };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::Object(object) => write!(f, "{object}"),
        }
    }
}

/// Like [`Json`].
impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (position, (name, value)) in self.members().enumerate() {
            f.write_str(if position == 0 { "" } else { "," })?;
            write_string(f, name)?;
            write!(f, ":{value}")?;
        }
        f.write_str("}")
    }
}

impl<'a> Object<'a> {
    /// One without members.
    pub const EMPTY: Self = Self(Vec::new());

    /// Reads one JSON text that must be an object.
    ///
    /// # Errors
    ///
    /// See [`JsonError`]; anything but an object is a [`JsonError::Syntax`].
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        Reader::of(text)?.only_object()
    }

    /// An object of strings. Of those with one name, the first is taken.
    pub fn of_texts(members: impl IntoIterator<Item = (String, String)>) -> Object<'static> {
        let mut texts: Vec<(Cow<'static, str>, Json<'static>)> = Vec::new();
        for (name, text) in members {
            if !texts.iter().any(|(known, _)| *known == name) {
                texts.push((Cow::Owned(name), Json::String(Cow::Owned(text))));
            }
        }
        Object(texts)
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.members().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The value behind these names, one level each.
    pub fn at(&self, path: &[String]) -> Option<&Json<'a>> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.get(first)?, |value, name| value.as_object()?.get(name))
    }

    /// The same object, borrowing from nothing.
    pub fn into_owned(self) -> Object<'static> {
        let members = self.0.into_iter();
        Object(members.map(|(name, value)| (Cow::Owned(name.into_owned()), value.into_owned())).collect())
    }

    /// The memory that it holds besides itself, in bytes, when it borrows from nothing.
    pub fn heap_bytes(&self) -> usize {
        let member = |(name, value): &(Cow<'a, str>, Json<'a>)| allocated(name.len()) + value.heap_bytes();
        self.0.iter().map(|pair| size_of_val(pair) + member(pair)).sum()
    }

    /// The members of both; of a name that both have, the value in `over`.
    #[must_use]
    pub fn with(&self, over: &Self) -> Self {
        let kept = self.0.iter().filter(|(name, _)| over.get(name).is_none());
        Self(kept.chain(&over.0).cloned().collect())
    }

    /// The same with this value in place of any of that name, or with none.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: Option<Json<'a>>) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.extend(value.map(|value| (Cow::Borrowed(name), value)));
        self
    }

    /// All members in the order of the text.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Json<'a>)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

impl Number<'_> {
    /// The number as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest double; infinite when it is out of a double's range.
    pub fn as_f64(&self) -> f64 {
        // The text is a JSON number, and each of those is a Rust float literal.
        self.0.parse().unwrap_or(f64::NAN)
    }
}

/// What a text of this length takes of an allocator: it has a header, and a smallest piece.
const fn allocated(length: usize) -> usize {
    if length == 0 { 0 } else { length + 16 }
}

fn write_string(f: &mut fmt::Formatter<'_>, string: &str) -> fmt::Result {
    f.write_str(&serde_json::to_string(string).map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Json<'_>, JsonError> {
        Json::parse(text.as_bytes())
    }

    #[test]
    fn numbers_keep_their_text() {
        let value = parse("[12345678901234567890123, 1.50, -0, 1e400]").unwrap();
        assert_eq!(value.to_string(), "[12345678901234567890123,1.50,-0,1e400]");
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for text in [
            "{\"a\":1,}",
            "[1,]",
            "{'a':1}",
            "{a:1}",
            "// c\n1",
            "01",
            "+1",
            ".5",
            "NaN",
            "0x1",
            "1 2",
            "",
            " ",
            "\u{feff}{}",
            "\"\\ud800\"",
            "\"\u{1}\"",
            "{\"a\":\"\t\"}",
            "tru",
            "{\"a\" 1}",
            "\"\\x41\"",
        ] {
            assert!(matches!(parse(text), Err(JsonError::Syntax { .. })), "{text:?}");
        }
        for bytes in [&b"\"\xff\""[..], b"{\"\xc0\xae\":1}", b"\xff\xfe{\0}\0", b"\"\xed\xa0\x80\""] {
            assert!(matches!(Json::parse(bytes), Err(JsonError::Syntax { .. })), "{bytes:?}");
        }
    }

    #[test]
    fn a_member_given_twice_is_refused_at_every_level_and_behind_escapes() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"b":[{"a":1,"\u0061":2}]}"#, r#"{"":1,"":2}"#] {
            assert!(matches!(parse(text), Err(JsonError::DuplicateMember { .. })), "{text}");
        }
        assert!(parse(r#"{"a":{"a":1},"A":1}"#).is_ok(), "names are case-sensitive and per object");
    }

    #[test]
    fn depth_is_bounded_without_recursion_into_the_text() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        let objects = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
        assert_eq!(parse(&objects), Err(JsonError::TooDeep));
        assert!(parse(&nested(100_000)).is_err());
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_back_the_same(value in any_json()) {
            let text = value.to_string();
            prop_assert_eq!(parse(&text).unwrap().to_string(), text);
        }

        #[test]
        fn nothing_is_accepted_that_serde_json_refuses(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if Json::parse(&bytes).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            }
        }

        #[test]
        fn mutated_text_never_panics(value in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = value.to_string().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            let _ = Json::parse(&text);
        }
    }
}
