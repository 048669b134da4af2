//! Request paths as rules see them.
//!
//! Takes the raw request target, gives its normal form and says whether the two mean the same to everybody. Backends
//! disagree about `//`, `..`, `%2f`, `;`, `\` and control bytes, and a rule that was chosen by one reading must not be
//! walked around by another. Deliberately never changes the path that the upstream receives.

use std::borrow::Cow;

use crate::request::{hex_pair, percent_decode, split_target};

/// What a request target can be read as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestPath {
    /// Raw and normal form are the same: every backend reads this path alike.
    Plain(String),
    /// They are not. Rules must hold for each reading.
    Ambiguous {
        /// The distinct readings: as sent, normalised, and normalised after everything was percent-decoded.
        readings: Vec<String>,
    },
}

impl RequestPath {
    /// The path of a request target; its query does not count.
    ///
    /// A target without a path (`*`, an authority, nothing) is ambiguous and reads as `/`.
    pub fn of(target: &[u8]) -> Self {
        let (raw, _) = split_target(target);
        if is_plain(raw)
            && let Ok(path) = std::str::from_utf8(raw)
        {
            return Self::Plain(path.to_owned());
        }
        let mut readings =
            vec![as_text(raw), as_text(&normalise(raw)), as_text(&normalise(&fully_decoded(raw)))];
        for reading in &mut readings {
            if !reading.starts_with('/') {
                *reading = "/".to_owned();
            }
        }
        readings.dedup();
        Self::Ambiguous { readings }
    }
}

/// The normal form of a path: unreserved characters percent-decoded, slashes merged, `;params` cut, dot segments
/// resolved, a fragment cut.
pub fn normalise(raw: &[u8]) -> Vec<u8> {
    let raw = raw.split(|&byte| byte == b'#').next().unwrap_or_default();
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

/// Whether every backend reads `raw` as what it looks like.
fn is_plain(raw: &[u8]) -> bool {
    raw.starts_with(b"/")
        && raw.iter().all(|byte| is_unambiguous(*byte))
        && encodes_text(raw)
        && normalise(raw) == raw
}

fn is_unambiguous(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b';' | b'#')
}

/// Whether the percent-encodings of `raw` are well-formed and hide nothing: no slash, no control byte, no further
/// percent sign, no byte sequence outside UTF-8 (overlong forms).
fn encodes_text(raw: &[u8]) -> bool {
    if !raw.contains(&b'%') {
        return true;
    }
    let hides_nothing =
        |decoded: u8| !matches!(decoded, b'/' | b'\\' | b';' | b'%') && !decoded.is_ascii_control();
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' && !hex_pair(rest.next(), rest.next()).is_some_and(hides_nothing) {
            return false;
        }
    }
    percent_decode(raw).is_some_and(|decoded| std::str::from_utf8(&decoded).is_ok())
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

/// The most generous reading: percent-decoded until nothing changes (at most four times), backslashes as slashes.
fn fully_decoded(raw: &[u8]) -> Vec<u8> {
    let mut path = raw.to_vec();
    for _ in 0..4 {
        match percent_decode(&path) {
            Some(decoded) if decoded != path => path = decoded,
            _ => break,
        }
    }
    for byte in &mut path {
        if *byte == b'\\' {
            *byte = b'/';
        }
    }
    path
}

fn as_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(path: &str) -> String {
        String::from_utf8(normalise(path.as_bytes())).unwrap()
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
            ("/a#b", "/a"),
            ("/%zz", "/%zz"),
            ("/%", "/%"),
        ] {
            assert_eq!(normal(raw), expected, "{raw}");
        }
    }

    #[test]
    fn ordinary_paths_are_plain() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.c-d_e~f",
            "/a%20b",
            "/%C3%A9",
            "/%c3%a9",
            "/a:b@c!$&'()*+,=",
            "/a..b",
            "/..a",
        ] {
            assert_eq!(RequestPath::of(path.as_bytes()), RequestPath::Plain(path.to_owned()));
        }
        assert_eq!(RequestPath::of(b"/a?x=/../%2f"), RequestPath::Plain("/a".to_owned()));
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
            "//admin",
            "/public//admin",
            "/./admin",
            "/admin/.",
            "/public/%c0%ae%c0%ae/admin",
            "/admin%00",
            "/admin%0a",
            "/admin%7f",
            "/%61dmin",
            "/admin;x",
            "/admin%3bx",
            "/admin%",
            "/admin%zz",
            "/admin#x",
            "*",
            "",
            "admin",
            "http://host/admin",
            "/ad min",
            "/adm\u{e9}n",
        ] {
            assert!(matches!(RequestPath::of(path.as_bytes()), RequestPath::Ambiguous { .. }), "{path}");
        }
        for path in [&b"/\xff"[..], b"/a\0", b"/a\x7f", b"/a\t"] {
            assert!(matches!(RequestPath::of(path), RequestPath::Ambiguous { .. }), "{path:?}");
        }
    }

    #[test]
    fn an_ambiguous_path_lists_what_it_can_be_read_as() {
        let RequestPath::Ambiguous { readings } = RequestPath::of(b"/public/..%252fadmin") else { panic!() };
        assert_eq!(readings, ["/public/..%252fadmin", "/admin"]);
        let RequestPath::Ambiguous { readings } = RequestPath::of(b"/public/../admin") else { panic!() };
        assert_eq!(readings, ["/public/../admin", "/admin"]);
        let RequestPath::Ambiguous { readings } = RequestPath::of(b"*") else { panic!() };
        assert_eq!(readings, ["/", "/*"]);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(path in prop::collection::vec(any::<u8>(), 0..60)) {
            let once = normalise(&path);
            prop_assert!(once.starts_with(b"/"));
            // A decoded `%2e` can complete another encoding only by hostile design (`%%32e`): then it is ambiguous.
            if !path.contains(&b'%') {
                prop_assert_eq!(normalise(&once), once);
            }
        }

        #[test]
        fn a_plain_path_is_its_own_normal_form(path in "(/[a-z.%2ef;/\\\\]{0,6}){0,4}") {
            if let RequestPath::Plain(plain) = RequestPath::of(path.as_bytes()) {
                prop_assert_eq!(&plain, &path);
                prop_assert_eq!(normal(&plain), plain);
            }
        }
    }
}
