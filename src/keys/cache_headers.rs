//! What the header of a reply says about how long it may be kept (RFC 9111) and how to ask for changes (RFC 9110).
//!
//! Takes header fields, gives the age that the document may reach from now on and its entity tag. Deliberately ignores
//! `Expires` and `s-maxage`: the first needs the server's clock, the second is for caches that many share.

use std::time::Duration;

use crate::request::HeaderField;

/// A longer entity tag is not kept.
const MAX_ETAG_BYTES: usize = 256;

/// How a document may be kept.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CacheHeaders {
    /// For how long; zero also for what must not be stored, or has a time that cannot be read (RFC 9111 section 4.2.1).
    pub max_age: Option<Duration>,
    /// What names this state of the document.
    pub etag: Option<String>,
}

impl CacheHeaders {
    /// What these header fields say.
    pub fn of(fields: &[HeaderField]) -> Self {
        let values = |name: &'static str| {
            let named = fields.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()));
            named.map(|(_, value)| value.as_slice())
        };
        let directives = values("cache-control").flat_map(|value| value.split(|byte| *byte == b','));
        let max_age = directives.filter_map(|directive| lifetime(directive.trim_ascii())).min();
        let age = values("age").next().map_or(0, seconds);
        Self {
            max_age: max_age.map(|max_age| Duration::from_secs(max_age.saturating_sub(age))),
            etag: values("etag").next().and_then(entity_tag),
        }
    }
}

/// The seconds that a directive of `Cache-Control` allows, if it is about that.
fn lifetime(directive: &[u8]) -> Option<u64> {
    let mut parts = directive.splitn(2, |byte| *byte == b'=');
    let name = parts.next()?.trim_ascii().to_ascii_lowercase();
    match name.as_slice() {
        b"no-store" | b"no-cache" => Some(0),
        b"max-age" => Some(parts.next().map_or(0, seconds)),
        _ => None,
    }
}

/// `delta-seconds`, also in quotes; as many as there can be for more digits than fit, zero for anything else.
fn seconds(text: &[u8]) -> u64 {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    match std::str::from_utf8(text) {
        Ok(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().unwrap_or(u64::MAX)
        }
        _ => 0,
    }
}

/// An entity tag as it may be sent back: quoted, weak or not, graphic ASCII.
fn entity_tag(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let opaque = text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?;
    let is_valid =
        text.len() <= MAX_ETAG_BYTES && opaque.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    is_valid.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> CacheHeaders {
        let bytes = |text: &str| text.as_bytes().to_vec();
        CacheHeaders::of(&fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect::<Vec<_>>())
    }

    #[test]
    fn max_age_is_what_is_left_of_it() {
        for (fields, expected) in [
            (&[][..], None),
            (&[("cache-control", "public, max-age=300")], Some(300)),
            (&[("Cache-Control", "MAX-AGE = \"300\"")], Some(300)),
            (&[("cache-control", "max-age=300"), ("age", "100")], Some(200)),
            (&[("cache-control", "max-age=300"), ("age", "301")], Some(0)),
            (&[("cache-control", "max-age=300, max-age=20")], Some(20)),
            (&[("cache-control", "max-age=300"), ("cache-control", "max-age=20")], Some(20)),
            (&[("cache-control", "no-store, max-age=300")], Some(0)),
            (&[("cache-control", "no-cache")], Some(0)),
            (&[("cache-control", "max-age=soon")], Some(0)),
            (&[("cache-control", "max-age=-1")], Some(0)),
            (&[("cache-control", "max-age")], Some(0)),
            (&[("cache-control", "max-age=99999999999999999999999")], Some(u64::MAX)),
            (&[("cache-control", "s-maxage=5, must-revalidate, x-max-age=1")], None),
            (&[("cache-control", "")], None),
            (&[("age", "5")], None),
        ] {
            assert_eq!(of(fields).max_age, expected.map(Duration::from_secs), "{fields:?}");
        }
    }

    #[test]
    fn an_entity_tag_is_kept_only_in_the_form_in_which_it_may_be_sent_back() {
        for etag in ["\"a\"", "W/\"a-b\"", "\"\""] {
            assert_eq!(of(&[("ETag", etag)]).etag.as_deref(), Some(etag));
        }
        let long = format!("\"{}\"", "x".repeat(255));
        for etag in ["", "a", "\"a", "\"a\"b\"", "\"a b\"", "\"\u{e9}\"", "w/\"a\"", "\"a\r\nx: y\"", &long] {
            assert_eq!(of(&[("etag", etag)]).etag, None, "{etag:?}");
        }
    }
}
