//! Request paths as rules see them.
//!
//! Takes the raw request target, gives its normal form and says whether the two mean the same to everybody. Backends
//! disagree about `//`, `..`, `%2f`, `;`, `\` and control bytes, and a rule that was chosen by one reading must not be
//! walked around by another. Deliberately never changes the path that the upstream receives.

use std::borrow::Cow;

use crate::request::{hex_pair, percent_decode, split_target};

/// What a request target can be read as. Paths are compared with their percent-encoding resolved, so that no spelling
/// of a character (`%40`, `@`) is missed by a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestPath {
    /// Raw and normal form are the same: every backend reads this path alike.
    Plain(String),
    /// They are not. Rules must hold for each reading.
    Ambiguous {
        /// As sent, normalised, and normalised after everything was percent-decoded; the last two with and without
        /// what stands behind a `#`.
        readings: Vec<String>,
    },
    /// It has encodings about which no two backends need agree (`%zz`, `%u002e`, bytes outside UTF-8, encodings of
    /// encodings): its readings cannot be listed.
    Unreadable,
}

/// How often percent-encoding is resolved before a path counts as unreadable.
const MAX_ENCODINGS: usize = 4;

impl RequestPath {
    /// The path of a request target; its query does not count.
    ///
    /// A target without a path (`*`, an authority, nothing) is ambiguous and reads as `/`.
    pub fn of(target: &[u8]) -> Self {
        let (raw, _) = split_target(target);
        let Some(decoded) = text_of(raw) else { return Self::Unreadable };
        if is_plain(raw) {
            return Self::Plain(decoded);
        }
        let Some(fully_decoded) = fully_decoded(raw) else { return Self::Unreadable };
        let forms = [
            raw.to_vec(),
            normalise(cut_fragment(raw)),
            normalise(raw),
            normalise(cut_fragment(&fully_decoded)),
            normalise(&fully_decoded),
        ];
        let readings: Option<Vec<String>> = forms.iter().map(|form| text_of(form).map(rooted)).collect();
        readings.map_or(Self::Unreadable, |mut readings| {
            readings.dedup();
            Self::Ambiguous { readings }
        })
    }
}

/// The normal form of a path: unreserved characters percent-decoded, slashes merged, `;params` cut, dot segments
/// resolved.
pub fn normalise(raw: &[u8]) -> Vec<u8> {
    let decoded = decode_unreserved(raw);
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut is_directory = false;
    for segment in decoded.split(|&byte| byte == b'/') {
        let segment = segment.split(|&byte| byte == b';').next().unwrap_or_default();
        is_directory = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let mut normal = Vec::with_capacity(decoded.len());
    for segment in &segments {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if is_directory || segments.is_empty() {
        normal.push(b'/');
    }
    normal
}

fn cut_fragment(path: &[u8]) -> &[u8] {
    path.split(|&byte| byte == b'#').next().unwrap_or_default()
}

/// A path as rules are compared with it, from the root.
fn rooted(path: String) -> String {
    if path.starts_with('/') { path } else { "/".to_owned() }
}

/// The path with its percent-encoding resolved once; `None` when that is not well-formed or the result is no text.
fn text_of(path: &[u8]) -> Option<String> {
    String::from_utf8(percent_decode(path)?).ok()
}

/// Whether every backend reads `raw` as what it looks like.
fn is_plain(raw: &[u8]) -> bool {
    raw.starts_with(b"/")
        && raw.iter().all(|byte| is_unambiguous(*byte))
        && hides_nothing(raw)
        && normalise(raw) == raw
}

fn is_unambiguous(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b';' | b'#')
}

/// Whether no percent-encoding of `raw` stands for a delimiter, a control byte or a further percent sign.
fn hides_nothing(raw: &[u8]) -> bool {
    let is_harmless = |decoded: u8| {
        !matches!(decoded, b'/' | b'\\' | b';' | b'%' | b'#' | b'?') && !decoded.is_ascii_control()
    };
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' && !hex_pair(rest.next(), rest.next()).is_some_and(is_harmless) {
            return false;
        }
    }
    true
}

/// `%XX` resolved where it stands for a character that means the same without (RFC 3986 section 2.3).
fn decode_unreserved(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'%') {
        return Cow::Borrowed(raw);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let pair = if byte == b'%' { hex_pair(after.first(), after.get(1)) } else { None };
        match pair {
            Some(pair) if pair.is_ascii_alphanumeric() || matches!(pair, b'-' | b'.' | b'_' | b'~') => {
                decoded.push(pair);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(decoded)
}

/// The most generous reading: percent-decoded until nothing changes, backslashes as slashes. `None` when that does not
/// end soon, or in something that cannot be decoded.
fn fully_decoded(raw: &[u8]) -> Option<Vec<u8>> {
    let mut path = raw.to_vec();
    for _ in 0..MAX_ENCODINGS {
        let decoded = percent_decode(&path)?;
        if decoded == path {
            for byte in &mut path {
                if *byte == b'\\' {
                    *byte = b'/';
                }
            }
            return Some(path);
        }
        path = decoded;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(path: &str) -> String {
        String::from_utf8(normalise(path.as_bytes())).unwrap()
    }

    fn readings(path: &str) -> Vec<String> {
        match RequestPath::of(path.as_bytes()) {
            RequestPath::Ambiguous { readings } => readings,
            other => panic!("{path} is {other:?}"),
        }
    }

    #[test]
    fn the_normal_form_resolves_what_backends_resolve() {
        for (raw, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a///b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%61%2D%7e", "/a-~"),
            ("/a;v=1/b;x", "/a/b"),
            ("/a/..;/b", "/b"),
            ("/%2e%2e/b", "/b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/%zz", "/%zz"),
            ("/%", "/%"),
        ] {
            assert_eq!(normal(raw), expected, "{raw}");
        }
    }

    #[test]
    fn ordinary_paths_are_plain_and_compared_decoded() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/", "/a/"),
            ("/a/b.c-d_e~f", "/a/b.c-d_e~f"),
            ("/a%20b", "/a b"),
            ("/%C3%A9", "/\u{e9}"),
            ("/%c3%a9", "/\u{e9}"),
            ("/%40admin", "/@admin"),
            ("/books%3Adelete", "/books:delete"),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
            ("/a..b", "/a..b"),
            ("/..a", "/..a"),
            ("/a?x=/../%2f", "/a"),
        ] {
            assert_eq!(RequestPath::of(path.as_bytes()), RequestPath::Plain(expected.to_owned()), "{path}");
        }
    }

    #[test]
    fn every_way_to_write_a_parent_directory_or_a_hidden_slash_is_ambiguous() {
        for path in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/.%2E/admin",
            "/public/..%2fadmin",
            "/public/%252e%252e/admin",
            "/public%2f..%2fadmin",
            "/public/..;/admin",
            "/public/..;x=1/admin",
            "/public/..\\admin",
            "/public/..%5cadmin",
            "/public/x%23/../../admin",
            "//admin",
            "/public//admin",
            "/./admin",
            "/admin%00",
            "/admin%0a",
            "/admin%7f",
            "/%61dmin",
            "/admin;x",
            "/admin%3bx",
            "/admin%3fx",
            "/admin#x",
            "*",
            "",
            "admin",
            "http://host/admin",
            "/ad min",
        ] {
            let readings = readings(path);
            assert!(readings.iter().all(|reading| reading.starts_with('/')), "{path}");
        }
    }

    #[test]
    fn encodings_that_backends_need_not_agree_about_are_unreadable() {
        for path in [
            "/admin%",
            "/admin%zz",
            "/x/..%2fadmin%zz",
            "/public/%c0%ae%c0%ae/admin",
            "/public/%u002e%u002e/admin",
            "/%25252525252e",
            "/x%25zz",
        ] {
            assert_eq!(RequestPath::of(path.as_bytes()), RequestPath::Unreadable, "{path}");
        }
        assert_eq!(RequestPath::of(b"/\xff"), RequestPath::Unreadable);
    }

    #[test]
    fn an_ambiguous_path_lists_what_it_can_be_read_as() {
        assert_eq!(readings("/public/..%252fadmin"), ["/public/..%2fadmin", "/admin"]);
        assert_eq!(readings("/public/../admin"), ["/public/../admin", "/admin"]);
        assert_eq!(readings("/x%23/..%2fadmin"), ["/x#/../admin", "/x", "/admin"]);
        assert_eq!(readings("*"), ["/", "/*"]);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in prop::collection::vec(any::<u8>(), 0..60)) {
            let once = normalise(&path);
            prop_assert!(once.starts_with(b"/"));
            // A decoded `%2e` can complete another encoding only by hostile design (`%%32e`): that is unreadable.
            if !path.contains(&b'%') {
                prop_assert_eq!(normalise(&once), once);
            }
        }

        #[test]
        fn a_plain_path_is_its_own_normal_form(path in "(/[a-z.%2ef;/\\\\]{0,6}){0,4}") {
            if let RequestPath::Plain(_) = RequestPath::of(path.as_bytes()) {
                prop_assert_eq!(normal(&path), path);
            }
        }
    }
}
