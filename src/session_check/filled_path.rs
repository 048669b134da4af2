//! A path with claims in it + the claims of a token -> the path that is asked for.
//!
//! Takes the parts of the path and verified claims, gives the path or the claim that is not fit for it. What a claim holds may be chosen by a user, so it must stay one part of one segment, also for servers that decode a
//! path before they look at it, or twice: what would mean something to one of them is refused, not encoded.

use crate::config::PathPart;
use crate::json::{Json, Object};
use crate::request::percent_encode;
use crate::session_check::question::QuestionError;

/// The longest claim that becomes a part of a path, in bytes.
const MAX_CLAIM_BYTES: usize = 256;

/// The path, with the claims in their places.
///
/// # Errors
///
/// [`QuestionError::Claim`]: one is missing, no string, empty, too long, or could lead to another path.
pub(super) fn filled(parts: &[PathPart], claims: Option<&Object<'_>>) -> Result<String, QuestionError> {
    let mut path = String::new();
    let mut last = None;
    for part in parts {
        match part {
            PathPart::Text(text) => path.push_str(text),
            PathPart::Claim(names) => {
                let name = || QuestionError::Claim { name: names.join(".") };
                let value = claims.and_then(|claims| claims.at(names)).and_then(Json::as_str);
                let value = value.filter(|value| may_be_part(value)).ok_or_else(name)?;
                path.push_str(&percent_encode(value.as_bytes()));
                last = Some(name);
            }
        }
    }
    let is_dots = |segment: &str| segment == "." || segment == "..";
    let segments = path.split('?').next().unwrap_or_default().split('/');
    match last.filter(|_| segments.into_iter().any(is_dots)) {
        Some(name) => Err(name()),
        None => Ok(path),
    }
}

/// Whether `value` stays one part of one segment, however it is encoded and decoded.
fn may_be_part(value: &str) -> bool {
    // Separators and what begins an encoding, to servers that decode; other bytes may be taken for such a one.
    let is_safe = |byte: u8| (byte == b' ' || byte.is_ascii_graphic()) && !b"/\\%?#;".contains(&byte);
    !value.is_empty() && value.len() <= MAX_CLAIM_BYTES && value.bytes().all(is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fill(claims: &str) -> Result<String, QuestionError> {
        let text = |text: &str| PathPart::Text(text.to_owned());
        let claim = |names: &[&str]| PathPart::Claim(names.iter().map(|&name| name.to_owned()).collect());
        let parts = [text("/s/"), claim(&["sid"]), text("/of/"), claim(&["o", "id"]), text("?x=/./")];
        filled(&parts, Some(&Object::parse(claims.as_bytes()).unwrap()))
    }

    fn fill_with(sid: &str) -> Result<String, QuestionError> {
        fill(&format!(r#"{{"sid":{},"o":{{"id":"o1"}}}}"#, serde_json::Value::from(sid)))
    }

    #[test]
    fn a_claim_becomes_one_part_of_one_segment() {
        let filled = |sid: &str| fill_with(sid).unwrap();
        assert_eq!(filled("sess_2xYz-~."), "/s/sess_2xYz-~./of/o1?x=/./");
        assert_eq!(filled("a b@c:d|e+f&g=h"), "/s/a%20b%40c%3Ad%7Ce%2Bf%26g%3Dh/of/o1?x=/./");
        assert_eq!(filled("..."), "/s/.../of/o1?x=/./");
        assert_eq!(filled(&"x".repeat(256)).len(), "/s//of/o1?x=/./".len() + 256);
    }

    #[test]
    fn what_could_lead_to_another_path_is_refused() {
        let refused = Err(QuestionError::Claim { name: "sid".to_owned() });
        for sid in [
            "", "a/b", "/", "a\\b", "a%2Fb", "%", "a?b", "a#b", "a;b", "a\nb", "a\r", "\0", "\t", "\x7f",
            "\u{e9}", "\u{ff0f}",
        ] {
            assert_eq!(fill_with(sid), refused, "{sid:?}");
        }
        assert_eq!(fill_with(&"x".repeat(257)), refused);
        for sid in [".", ".."] {
            assert!(matches!(fill_with(sid), Err(QuestionError::Claim { .. })), "{sid:?}");
        }
    }

    #[test]
    fn a_claim_must_be_there_and_a_string() {
        for (claims, name) in [
            (r#"{"o":{"id":"o1"}}"#, "sid"),
            (r#"{"sid":5,"o":{"id":"o1"}}"#, "sid"),
            (r#"{"sid":["a"],"o":{"id":"o1"}}"#, "sid"),
            (r#"{"sid":null,"o":{"id":"o1"}}"#, "sid"),
            (r#"{"sid":"s"}"#, "o.id"),
            (r#"{"sid":"s","o":"o1"}"#, "o.id"),
            (r#"{"sid":"s","o.id":"o1"}"#, "o.id"),
        ] {
            assert_eq!(fill(claims), Err(QuestionError::Claim { name: name.to_owned() }), "{claims}");
        }
    }

    proptest! {
        #[test]
        fn no_claim_changes_the_shape_of_the_path(sid in "[ -~\u{e9}\n]{1,9}|[a-z./%]{1,4}") {
            if let Ok(path) = fill_with(&sid) {
                let segments: Vec<_> = path.split(['/', '?']).collect();
                prop_assert_eq!(segments.len(), 8);
                prop_assert_eq!(segments[3], "of");
                prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
                let decoded = crate::request::percent_decode(segments[2].as_bytes()).unwrap();
                prop_assert_eq!(decoded, sid.into_bytes());
            }
        }
    }
}
