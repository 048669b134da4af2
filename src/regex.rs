//! Regular expressions as Envoy has them.
//!
//! Takes an expression of a configuration, gives one that is compiled and says whether it matches the whole of a value.
//! Works on bytes, one character each, as Envoy's RE2 does (seen on 1.40): values are often no text, and must not have to
//! be. Time is linear in the value. Deliberately has no searching, capturing or replacing.

use std::borrow::Cow;

use regex_lite::RegexBuilder;

/// The most memory that a compiled expression may take: room for an alternation of a hundred paths. States that are all
/// alive at once (`.*[ab]{1500}`) cost a step each for each byte: two seconds, for the longest path that Envoy takes.
const MAX_SIZE: usize = 64 * 1024;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Regex {
    written: String,
    compiled: regex_lite::Regex,
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Regex {}

impl Regex {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or that it is too large.
    pub fn new(written: &str) -> Result<Self, String> {
        if let Some(escape) = read_differently(written) {
            return Err(format!("{escape} means something else to Envoy"));
        }
        let expression = characters(written.as_bytes());
        let compile = |expression: &str| {
            RegexBuilder::new(expression).size_limit(MAX_SIZE).build().map_err(|e| e.to_string())
        };
        // For itself first: `a)|(b` would pass with a group around it.
        compile(&expression)?;
        let compiled = compile(&format!(r"\A(?:{expression})\z"))?;
        Ok(Self { written: written.to_owned(), compiled })
    }

    /// Whether it matches the whole of `value`.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.compiled.is_match(&characters(value))
    }
}

/// Every byte as the character of that number, which for ASCII is the character itself.
fn characters(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// What RE2 takes for something else (`\<`, `\>`, `\b{`) or does not know (`\u`, `(?x)`, `(?R)`), if there is any.
fn read_differently(expression: &str) -> Option<&'static str> {
    let mut rest = expression.chars();
    while let Some(character) = rest.next() {
        if character == '(' && rest.as_str().starts_with('?') {
            let mut flags = rest.as_str().chars().skip(1).take_while(char::is_ascii_alphabetic);
            if flags.any(|flag| matches!(flag, 'x' | 'R')) {
                return Some("(?x) or (?R)");
            }
        }
        if character != '\\' {
            continue;
        }
        match rest.next() {
            Some('<') => return Some(r"\<"),
            Some('>') => return Some(r"\>"),
            Some('u' | 'U') => return Some(r"\u"),
            Some('b') if rest.as_str().starts_with('{') => return Some(r"\b{"),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_match(expression: &str, value: &[u8]) -> bool {
        Regex::new(expression).unwrap().is_match(value)
    }

    #[test]
    fn the_whole_value_must_match() {
        for (expression, value) in [
            ("/a", "/a"),
            ("^/a$", "/a"),
            ("/a|/ab", "/ab"),
            ("/a.*", "/a/b"),
            ("(?i)/A", "/a"),
            ("a|", ""),
            (r"\\<", r"\<"),
            ("[[:alpha:]]+", "ab"),
        ] {
            assert!(is_match(expression, value.as_bytes()), "{expression} {value}");
        }
        for (expression, value) in [
            ("/a", "/ab"),
            ("/a", "x/a"),
            ("/a|/b", "/ab"),
            ("/a.", "/a\n"),
            ("(?m)^/a$", "/a\n/b"),
            ("/a", "/A"),
            ("a|b", "ab"),
        ] {
            assert!(!is_match(expression, value.as_bytes()), "{expression} {value}");
        }
    }

    #[test]
    fn a_byte_is_a_character_text_or_not() {
        assert!(is_match("a.", b"a\xe9") && is_match(r"a\xe9", b"a\xe9") && is_match("[^b]", b"\xff"));
        assert!(is_match("..", "\u{e9}".as_bytes()) && !is_match(".", "\u{e9}".as_bytes()));
        assert!(is_match("\u{e9}", "\u{e9}".as_bytes()) && !is_match("\u{e9}", b"\xe9"));
    }

    #[test]
    fn what_does_not_compile_says_why() {
        for (expression, reason) in [
            ("(", "found open group without closing ')'"),
            ("a)|(b", "found closing ')' without matching '('"),
            ("(?=a)", "look-around is not supported"),
            (r"(a)\1", "backreferences are not supported"),
            ("(a{1000}){1000}", "compiled regex exceeded size limit"),
            (r"\pL", "Unicode character classes are not supported"),
            (r"a\<b", r"\< means something else to Envoy"),
            (r"\\\b{start}", r"\b{ means something else to Envoy"),
        ] {
            assert_eq!(Regex::new(expression), Err(reason.to_owned()), "{expression}");
        }
    }

    proptest! {
        #[test]
        fn no_expression_and_no_value_panics(
            expression in r"[ab.*+?|(){}\[\]\\^$,<>:=!0-9é-]{0,24}",
            value in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(regex) = Regex::new(&expression) {
                regex.is_match(&value);
            }
        }

        #[test]
        fn an_escaped_text_matches_itself_alone(text in "[ -~]{0,20}", other in "[ -~]{0,20}") {
            let regex = Regex::new(&regex_lite::escape(&text)).unwrap();
            prop_assert!(regex.is_match(text.as_bytes()));
            prop_assert_eq!(regex.is_match(other.as_bytes()), text == other);
        }
    }
}
