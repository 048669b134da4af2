//! One pass over a JSON text.
//!
//! Takes a text, gives the tree of [`Json`], which borrows every string without an escape and every number. Each byte is
//! looked at once, but for UTF-8, which is checked for the whole text before. A level is entered only when it is not too
//! deep, so that nothing of what a client sends decides how far this recurses. Messages say what is missing and where,
//! and deliberately never what is there. Knows nothing of serde; the tests hold it against `serde_json`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Json, JsonError, MAX_DEPTH, Number, Object};

/// As many names are compared one by one.
const FEW: usize = 16;

/// A text, and how much of it has been read.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// In front of the value in this text.
    pub(super) fn of(text: &'a [u8]) -> Result<Self, JsonError> {
        match std::str::from_utf8(text) {
            Ok(text) => {
                let mut reader = Self { text, at: 0 };
                reader.skip_space();
                Ok(reader)
            }
            Err(error) => Err(fault("UTF-8", text, error.valid_up_to())),
        }
    }

    /// All that there is.
    pub(super) fn only_value(mut self) -> Result<Json<'a>, JsonError> {
        let value = self.value(0)?;
        self.end()?;
        Ok(value)
    }

    /// All that there is, which must be an object.
    pub(super) fn only_object(mut self) -> Result<Object<'a>, JsonError> {
        self.expect(b'{', "object")?;
        let object = self.object(1)?;
        self.end()?;
        Ok(object)
    }

    /// `depth` is that of what it stands in.
    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string().map(Json::String)
            }
            Some(b'{') => {
                self.at += 1;
                self.object(depth + 1).map(Json::Object)
            }
            Some(b'[') => {
                self.at += 1;
                self.array(depth + 1).map(Json::Array)
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Number),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.fault("value")),
        }
    }

    /// Behind its brace.
    fn object(&mut self, depth: usize) -> Result<Object<'a>, JsonError> {
        check_depth(depth)?;
        let mut members = Vec::new();
        self.skip_space();
        if !self.take(b'}') {
            loop {
                self.expect(b'"', "name of a member")?;
                let name = self.string()?;
                self.skip_space();
                self.expect(b':', "`:`")?;
                self.skip_space();
                members.push((name, self.value(depth)?));
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                self.expect(b',', "`,` or `}`")?;
                self.skip_space();
            }
        }
        match name_given_twice(&members) {
            Some(name) => Err(JsonError::DuplicateMember { name: name.to_owned() }),
            None => Ok(Object(members)),
        }
    }

    /// Behind its bracket.
    fn array(&mut self, depth: usize) -> Result<Vec<Json<'a>>, JsonError> {
        check_depth(depth)?;
        let mut items = Vec::new();
        self.skip_space();
        if !self.take(b']') {
            loop {
                items.push(self.value(depth)?);
                self.skip_space();
                if self.take(b']') {
                    break;
                }
                self.expect(b',', "`,` or `]`")?;
                self.skip_space();
            }
        }
        Ok(items)
    }

    /// Behind its first quote.
    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let plain = self.plain()?;
        if self.take(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut string = plain.to_owned();
        loop {
            self.expect(b'\\', "character or `\"`")?;
            string.push(self.escape()?);
            string.push_str(self.plain()?);
            if self.take(b'"') {
                return Ok(Cow::Owned(string));
            }
        }
    }

    /// What stands for itself, up to what does not.
    fn plain(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        self.at += plain_length(self.text.as_bytes().get(start..).unwrap_or_default());
        self.since(start)
    }

    /// Behind its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let character = match self.peek() {
            Some(character @ (b'"' | b'\\' | b'/')) => char::from(character),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.character();
            }
            _ => return Err(self.fault("escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// Behind `\u`: a character by one or two units of UTF-16.
    fn character(&mut self) -> Result<char, JsonError> {
        let code = match self.unit()? {
            high @ 0xd800..=0xdbff => {
                let is_followed = self.take(b'\\') && self.take(b'u');
                match if is_followed { self.unit()? } else { 0 } {
                    low @ 0xdc00..=0xdfff => 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00),
                    _ => return Err(self.fault("other half of a character")),
                }
            }
            unit => unit,
        };
        char::from_u32(code).ok_or_else(|| self.fault("character"))
    }

    fn unit(&mut self) -> Result<u32, JsonError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit << 4 | digit.ok_or_else(|| self.fault("hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<Number<'a>, JsonError> {
        let start = self.at;
        self.take(b'-');
        // Nothing but a point or an exponent stands behind a zero in front.
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Number(Cow::Borrowed(self.since(start)?)))
    }

    /// At least one.
    fn digits(&mut self) -> Result<(), JsonError> {
        let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
        if !is_digit(self.peek()) {
            return Err(self.fault("digit"));
        }
        while is_digit(self.peek()) {
            self.at += 1;
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str, value: Json<'a>) -> Result<Json<'a>, JsonError> {
        word.bytes().try_for_each(|byte| self.expect(byte, "`true`, `false` or `null`"))?;
        Ok(value)
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.peek().is_some() { Err(self.fault("end")) } else { Ok(()) }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether this comes next; it is behind us then.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(self.fault(what)) }
    }

    fn since(&self, start: usize) -> Result<&'a str, JsonError> {
        // Both ends are beside ASCII, and never inside a character.
        self.text.get(start..self.at).ok_or_else(|| self.fault("character"))
    }

    #[cold]
    fn fault(&self, missing: &'static str) -> JsonError {
        fault(missing, self.text.as_bytes(), self.at)
    }
}

fn fault(missing: &'static str, text: &[u8], at: usize) -> JsonError {
    let before = text.get(..at).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let end = if at < text.len() { "" } else { ", where it ends" };
    JsonError::Syntax { message: format!("no {missing} at line {line} column {column}{end}") }
}

fn check_depth(depth: usize) -> Result<(), JsonError> {
    if depth > MAX_DEPTH { Err(JsonError::TooDeep) } else { Ok(()) }
}

/// How many bytes of a string stand for themselves, up to a quote, a backslash or a control character: eight at a time,
/// since most of a token is strings.
fn plain_length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        match special(u64::from_le_bytes(*word)) {
            0 => length += 8,
            special => return length + usize::try_from(special.trailing_zeros() / 8).unwrap_or_default(),
        }
    }
    let is_plain = |byte: &&u8| !matches!(**byte, b'"' | b'\\' | 0..=0x1f);
    length + rest.iter().take_while(is_plain).count()
}

/// The highest bit of each byte that does not stand for itself; the lowest one that is set is right. What is taken from a
/// byte that is too small for it is borrowed from the next one, so that those above may be wrong.
const fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x80 * ONES;
    let (quote, backslash) = (word ^ (0x22 * ONES), word ^ (0x5c * ONES));
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    let control = word.wrapping_sub(0x20 * ONES) & !word;
    (quote | backslash | control) & HIGHEST
}

fn name_given_twice<'m>(members: &'m [(Cow<'_, str>, Json<'_>)]) -> Option<&'m str> {
    let mut names = members.iter().map(|(name, _)| name.as_ref());
    if members.len() > FEW {
        let mut seen = BTreeSet::new();
        return names.find(|name| !seen.insert(*name));
    }
    let is_before =
        |(position, name): &(usize, &str)| members.iter().take(*position).any(|(before, _)| before == name);
    names.enumerate().find(is_before).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use proptest::prelude::*;
    use proptest::sample::Index;
    use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
    use serde_json::value::RawValue;

    use super::*;

    /// What `serde_json` makes of a text under the same rules. Each level is split into raw values and descended into
    /// afterwards, which is how numbers keep their text and duplicates are seen.
    fn by_serde(text: &[u8]) -> Option<Json<'_>> {
        of_raw(serde_json::from_slice(text).ok()?, 0)
    }

    fn of_raw(raw: &RawValue, depth: usize) -> Option<Json<'_>> {
        let text = raw.get();
        let is_too_deep = depth >= MAX_DEPTH;
        Some(match text.as_bytes()[0] {
            b'{' | b'[' if is_too_deep => return None,
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let names: BTreeSet<_> = members.iter().map(|(name, _)| name).collect();
                if names.len() < members.len() {
                    return None;
                }
                let members =
                    members.into_iter().map(|(name, raw)| Some((name.into(), of_raw(raw, depth + 1)?)));
                Json::Object(Object(members.collect::<Option<_>>()?))
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Json::Array(items.into_iter().map(|raw| of_raw(raw, depth + 1)).collect::<Option<_>>()?)
            }
            b'"' => Json::String(serde_json::from_str::<String>(text).ok()?.into()),
            b't' => Json::Bool(true),
            b'f' => Json::Bool(false),
            b'n' => Json::Null,
            _ => Json::Number(Number(text.into())),
        })
    }

    /// The members of one object, not descended into.
    struct Members<'a>(Vec<(String, &'a RawValue)>);

    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct MembersVisitor;

            impl<'de> Visitor<'de> for MembersVisitor {
                type Value = Members<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }

            deserializer.deserialize_map(MembersVisitor)
        }
    }

    /// White space, mostly none.
    fn space() -> impl Strategy<Value = String> {
        prop_oneof![6 => Just(String::new()), 1 => "[ \t\n\r]{1,3}"]
    }

    /// The text of a string: few different ones, so that names are given twice, and in every spelling.
    fn string() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            4 => "[ab]".boxed(),
            1 => "[ -!#-\\[\\]-~]{0,20}".boxed(),
            1 => "\\\\[\"\\\\/bfnrt]".boxed(),
            1 => "\\\\u00(61|62|6[12]|0a|1F)".boxed(),
            1 => "\\\\u[dD][89abAB][0-9a-f]{2}\\\\u[dD][c-fC-F][0-9A-F]{2}".boxed(),
            1 => "\\\\u[0-9a-fA-F]{4}".boxed(),
            1 => "\\PC{1,3}".boxed(),
            1 => Just("\u{10ffff}\u{7f}\u{e9}\u{2028}".to_owned()).boxed(),
        ];
        prop::collection::vec(part, 0..4).prop_map(|parts| format!("\"{}\"", parts.concat()))
    }

    fn number() -> impl Strategy<Value = String> {
        prop_oneof![
            "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| serde_json::Value::from(number).to_string()),
        ]
    }

    /// Texts that are JSON, but that a name may be given twice and a surrogate may stand alone.
    fn document() -> impl Strategy<Value = String> {
        let word = prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(str::to_owned);
        let leaf = prop_oneof![word, number(), string()];
        let value = leaf.prop_recursive(5, 48, 6, |inner| {
            let inner = (space(), inner, space())
                .prop_map(|(before, value, behind)| before + &value + &behind)
                .boxed();
            let member = (space(), string(), space(), inner.clone());
            let member =
                member.prop_map(|(before, name, behind, value)| format!("{before}{name}{behind}:{value}"));
            let list = |items: Vec<String>| items.join(",");
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(move |items| format!("[{}]", list(items))),
                prop::collection::vec(member, 0..6).prop_map(move |members| format!("{{{}}}", list(members))),
            ]
        });
        (space(), value, space()).prop_map(|(before, value, behind)| before + &value + &behind)
    }

    /// A byte that means something in JSON, more often than not.
    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![
            8 => prop::sample::select(b"{}[]\",:\\ \n0123456789-+.eEtrufalsn/bD8".as_slice()),
            1 => prop::sample::select(&[0_u8, 0x1f, 0x20, 0x7f, 0x80, 0xbf, 0xc2, 0xed, 0xef, 0xf0, 0xff][..]),
            1 => any::<u8>(),
        ]
    }

    #[derive(Clone, Debug)]
    enum Change {
        Flip(Index, u8),
        Set(Index, u8),
        Insert(Index, u8),
        Remove(Index),
        Truncate(Index),
        Repeat(Index, Index),
    }

    fn change() -> impl Strategy<Value = Change> {
        let at = any::<Index>;
        prop_oneof![
            2 => (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
            3 => (at(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
            3 => (at(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
            2 => at().prop_map(Change::Remove),
            1 => at().prop_map(Change::Truncate),
            1 => (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
        ]
    }

    fn changed(text: String, changes: Vec<Change>) -> Vec<u8> {
        changes.into_iter().fold(text.into_bytes(), |mut text, change| {
            let place = |index: Index| index.index(text.len() + 1);
            match change {
                Change::Insert(at, byte) => text.insert(place(at), byte),
                Change::Truncate(at) => text.truncate(place(at)),
                Change::Repeat(from, to) => {
                    let (from, to) = (place(from).min(place(to)), place(from).max(place(to)));
                    let repeated = text[from..to].to_vec();
                    text.splice(from..from, repeated);
                }
                _ if text.is_empty() => {}
                Change::Flip(at, bits) => *at.get_mut(&mut text) ^= bits,
                Change::Set(at, byte) => *at.get_mut(&mut text) = byte,
                Change::Remove(at) => drop(text.remove(at.index(text.len()))),
            }
            text
        })
    }

    /// Fails where `serde_json` does not read the same in it.
    fn hold_against_serde(text: &[u8]) -> Result<(), TestCaseError> {
        let read = Json::parse(text).ok();
        prop_assert_eq!(&read, &by_serde(text), "{:?}", String::from_utf8_lossy(text));
        let object = read.as_ref().and_then(Json::as_object).cloned();
        prop_assert_eq!(Object::parse(text).ok(), object);
        if let (Some(read), Ok(plain)) = (&read, serde_json::from_slice::<serde_json::Value>(text)) {
            let again: serde_json::Value = serde_json::from_str(&read.to_string()).unwrap();
            prop_assert_eq!(again, plain);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_document_is_read_as_serde_json_reads_it(text in document()) {
            hold_against_serde(text.as_bytes())?;
        }

        #[test]
        fn a_changed_document_is_read_or_refused_as_serde_json_does(
            text in document(),
            changes in prop::collection::vec(change(), 1..4),
        ) {
            hold_against_serde(&changed(text, changes))?;
        }

        #[test]
        fn bytes_that_look_like_json_are_read_or_refused_as_serde_json_does(
            bytes in prop::collection::vec(byte(), 0..24),
        ) {
            hold_against_serde(&bytes)?;
        }

        #[test]
        fn what_is_nested_is_as_deep_as_it_is_by_serde_json(
            levels in prop::collection::vec(any::<bool>(), MAX_DEPTH - 2..MAX_DEPTH + 3),
        ) {
            let open = levels.iter().map(|is_array| if *is_array { "[0," } else { "{\"a\":" });
            let close = levels.iter().rev().map(|is_array| if *is_array { "]" } else { "}" });
            let text = open.chain(["0"]).chain(close).collect::<String>();
            hold_against_serde(text.as_bytes())?;
            prop_assert_eq!(Json::parse(text.as_bytes()).is_ok(), levels.len() <= MAX_DEPTH);
        }

        #[test]
        fn a_string_of_any_bytes_ends_where_serde_json_ends_it(
            start in 0..18_usize,
            bytes in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let text = [b"\"", " ".repeat(start).as_bytes(), &bytes, b"\""].concat();
            hold_against_serde(&text)?;
        }
    }

    #[test]
    fn documents_are_mostly_taken_and_changed_ones_mostly_not() {
        use proptest::strategy::ValueTree as _;
        use proptest::test_runner::TestRunner;

        let mut runner = TestRunner::deterministic();
        let mut taken = |strategy: BoxedStrategy<Vec<u8>>| {
            let texts = (0..500).map(|_| strategy.new_tree(&mut runner).unwrap().current());
            texts.filter(|text| Json::parse(text).is_ok()).count()
        };
        let whole = taken(document().prop_map(String::into_bytes).boxed());
        let changes = prop::collection::vec(change(), 1..4);
        let changed = taken((document(), changes).prop_map(|(text, changes)| changed(text, changes)).boxed());
        assert!((250..500).contains(&whole), "{whole}");
        assert!((25..300).contains(&changed), "{changed}");
    }

    #[test]
    fn strings_without_escapes_and_numbers_are_not_copied() {
        let text = br#"{"name":["text",12,"with \u0065scape"]}"#;
        let object = Object::parse(text).unwrap();
        let Object(members) = &object;
        let (Cow::Borrowed("name"), Json::Array(items)) = &members[0] else { panic!("{object:?}") };
        assert!(matches!(items[0], Json::String(Cow::Borrowed("text"))));
        assert!(matches!(items[1], Json::Number(Number(Cow::Borrowed("12")))));
        assert!(matches!(&items[2], Json::String(Cow::Owned(text)) if text == "with escape"));
    }

    #[test]
    fn a_hundred_thousand_members_are_read_and_the_last_is_found_to_be_given_twice() {
        let member = |index: usize| format!("\"m{index}\":0");
        let mut members: Vec<_> = (0..100_000).map(member).collect();
        let text = |members: &[String]| format!("{{{}}}", members.join(","));
        assert_eq!(Object::parse(text(&members).as_bytes()).unwrap().members().count(), members.len());
        members.push(member(17));
        let error = Object::parse(text(&members).as_bytes()).unwrap_err();
        assert_eq!(error, JsonError::DuplicateMember { name: "m17".to_owned() });
    }

    #[test]
    fn a_name_is_found_to_be_given_twice_however_many_there_are() {
        for count in 1..=2 * FEW {
            for twice in 0..count {
                let members = (0..count).chain([twice]).map(|index| format!("\"m{index}\":0"));
                let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
                let expected = JsonError::DuplicateMember { name: format!("m{twice}") };
                assert_eq!(Json::parse(text.as_bytes()), Err(expected));
            }
        }
    }

    #[test]
    fn a_message_says_what_is_missing_and_where_and_nothing_of_what_is_there() {
        for (text, missing) in [
            ("", "value at line 1 column 1, where it ends"),
            ("{", "name of a member at line 1 column 2, where it ends"),
            ("{\n \"a\": secret", "value at line 2 column 7"),
            ("{\"secret\" 1}", "`:` at line 1 column 11"),
            ("{\"a\":1;", "`,` or `}` at line 1 column 7"),
            ("[1,", "value at line 1 column 4, where it ends"),
            ("[1 secret", "`,` or `]` at line 1 column 4"),
            ("\"secret", "character or `\"` at line 1 column 8, where it ends"),
            ("\"secret\n\"", "character or `\"` at line 1 column 8"),
            ("\"\\secret\"", "escape at line 1 column 3"),
            ("\"\\u00x0\"", "hexadecimal digit at line 1 column 6"),
            ("\"\\ud800\"", "other half of a character at line 1 column 8"),
            ("\"\\udc00\"", "character at line 1 column 8"),
            ("-secret", "digit at line 1 column 2"),
            ("trust", "`true`, `false` or `null` at line 1 column 4"),
            ("1\r\n\nsecret", "end at line 3 column 1"),
        ] {
            let message = format!("no {missing}");
            assert_eq!(Json::parse(text.as_bytes()), Err(JsonError::Syntax { message }), "{text:?}");
        }
        let syntax = |message: &str| JsonError::Syntax { message: message.to_owned() };
        let error = Json::parse(b"[\n\"secret\xff\"]").unwrap_err();
        assert_eq!(error, syntax("no UTF-8 at line 2 column 8"));
        let error = Object::parse(b" [\"secret\"]").unwrap_err();
        assert_eq!(error, syntax("no object at line 1 column 2"));
    }
}
