//! Request paths as rules see them.
//!
//! Takes the raw request target, gives its normal form and says whether the two mean the same to everybody. Backends
//! disagree about `//`, `..`, `%2f`, `;`, `\` and control bytes, and a rule that was chosen by one reading must not be
//! walked around by another. Deliberately never changes the path that the upstream receives.

use std::borrow::Cow;

use crate::request::{hex_pair, percent_decode, split_target};

/// What a request target can be read as.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestPath<'t> {
    /// Every backend reads this path alike.
    Plain {
        /// As it was sent.
        sent: &'t str,
        /// With its percent-encoding resolved as far as it does not change its meaning, and in capitals where it stays:
        /// what normalising proxies make of it.
        normal: Cow<'t, str>,
        /// With its percent-encoding resolved, so that no spelling of a character (`%40`, `@`) is missed by a rule.
        decoded: Cow<'t, str>,
    },
    /// Backends may read it differently. Rules must hold for each reading.
    Ambiguous {
        /// As it was sent, and normalised: percent-encoding is left where it means something.
        encoded: Vec<String>,
        /// Percent-decoded: as sent, normalised, and normalised after it was decoded.
        decoded: Vec<String>,
    },
    /// Backends may read it in more ways than can be listed: it climbs (`..`), has a backslash, a hidden `?`, `#` or
    /// encoding, a host in front, or what is neither well-formed encoding nor text.
    Unreadable,
}

impl<'t> RequestPath<'t> {
    /// The path of a request target; its query does not count.
    pub fn of(target: &'t [u8]) -> Self {
        // Most paths have nothing to decode, and end with the target or where a query begins.
        let is_unencoded = |byte: u8| is_unambiguous(byte) && !matches!(byte, b'%' | b'?');
        let end = target.iter().position(|byte| !is_unencoded(*byte)).unwrap_or(target.len());
        if matches!(target.get(end), None | Some(b'?'))
            && let Some(Ok(sent)) = target.get(..end).map(str::from_utf8)
            && is_resolved(sent.as_bytes())
        {
            return Self::Plain { sent, normal: Cow::Borrowed(sent), decoded: Cow::Borrowed(sent) };
        }
        let (raw, _) = split_target(target);
        let Ok(sent) = str::from_utf8(raw) else { return Self::Unreadable };
        let Some(decoded) = text_of(raw) else { return Self::Unreadable };
        // Nothing is lost here: what is not a letter or digit of an encoding stays as it is.
        let Ok(normal) = String::from_utf8(normalise(&in_capitals(raw))) else { return Self::Unreadable };
        if is_plain(raw, &decoded) {
            return Self::Plain { sent, normal: normal.into(), decoded: decoded.into() };
        }
        let has_one_root = decoded.starts_with('/') && !raw.starts_with(b"//");
        let is_listed = has_one_root
            && !decoded.split('/').any(|segment| segment.starts_with(".."))
            && !decoded.contains(['\\', '?', '#'])
            && !hides_encoding(&decoded);
        match (is_listed, text_of(&normalise(raw)), text_of(&normalise(decoded.as_bytes()))) {
            (true, Some(normalised), Some(decoded_first)) => {
                let (mut encoded, mut decoded) =
                    (vec![sent.to_owned(), normal], vec![decoded, normalised, decoded_first]);
                encoded.dedup();
                decoded.dedup();
                Self::Ambiguous { encoded, decoded }
            }
            _ => Self::Unreadable,
        }
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

/// The path with its percent-encoding resolved once; `None` when that is not well-formed or the result is no text.
fn text_of(path: &[u8]) -> Option<String> {
    String::from_utf8(percent_decode(path)?).ok()
}

/// Whether every backend reads `raw`, and `decoded`, as what it looks like.
fn is_plain(raw: &[u8], decoded: &str) -> bool {
    raw.iter().all(|byte| is_unambiguous(*byte))
        && !encodes_delimiter(raw)
        && !hides_encoding(decoded)
        && is_resolved(&decode_unreserved(raw))
}

const fn is_unambiguous(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b';' | b'#')
}

/// Whether a path without parameters has nothing in it that [`normalise`] would resolve.
fn is_resolved(path: &[u8]) -> bool {
    // Few paths have a segment that is empty or begins with a dot, and so need to be taken apart.
    if path.starts_with(b"/") && !path.windows(2).any(|pair| matches!(pair, b"//" | b"/.")) {
        return true;
    }
    let mut segments = path.split(|byte| *byte == b'/');
    let (before_root, last) = (segments.next(), segments.next_back());
    before_root == Some(b"")
        && last.is_some_and(|last| !matches!(last, b"." | b".."))
        && !segments.any(|segment| matches!(segment, b"" | b"." | b".."))
}

/// Whether a percent-encoding of `raw` stands for a delimiter or a control byte.
fn encodes_delimiter(raw: &[u8]) -> bool {
    let is_delimiter =
        |byte: u8| matches!(byte, b'/' | b'\\' | b';' | b'#' | b'?') || byte.is_ascii_control();
    let mut rest = raw.iter();
    while let Some(&byte) = rest.next() {
        if byte == b'%' && hex_pair(rest.next(), rest.next()).is_none_or(is_delimiter) {
            return true;
        }
    }
    false
}

/// Whether a decoded path could be decoded again: `%2e`, or the `%u002e` of some servers. A lone percent sign is one.
fn hides_encoding(decoded: &str) -> bool {
    let starts_encoding = |rest: &str| {
        let mut rest = rest.bytes();
        let (first, second) = (rest.next(), rest.next());
        matches!(first, Some(b'u' | b'U')) || hex_pair(first.as_ref(), second.as_ref()).is_some()
    };
    decoded.split('%').skip(1).any(starts_encoding)
}

/// `%c3` as `%C3` (RFC 3986 section 6.2.2.1).
fn in_capitals(raw: &[u8]) -> Vec<u8> {
    let mut capitals = raw.to_vec();
    let mut digits = 0;
    for byte in &mut capitals {
        if *byte == b'%' {
            digits = 2;
        } else if digits > 0 {
            byte.make_ascii_uppercase();
            digits -= 1;
        }
    }
    capitals
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(path: &str) -> String {
        String::from_utf8(normalise(path.as_bytes())).unwrap()
    }

    fn readings(path: &str) -> Vec<String> {
        match RequestPath::of(path.as_bytes()) {
            RequestPath::Ambiguous { decoded, .. } => decoded,
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
            ("/%7Ealice/a%2Ejs", "/~alice/a.js"),
            ("/100%25", "/100%"),
            ("/50%25%20off", "/50% off"),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
            ("/a..b", "/a..b"),
            ("/..a", "/..a"),
            ("/a?x=/../%2f", "/a"),
        ] {
            let RequestPath::Plain { sent, decoded, .. } = RequestPath::of(path.as_bytes()) else {
                panic!("{path}")
            };
            assert_eq!(decoded, expected);
            assert_eq!(sent, path.split('?').next().unwrap());
        }
    }

    #[test]
    fn a_path_in_which_nothing_is_encoded_is_not_copied() {
        for path in ["/", "/a/b.c-d_e~f/?x=%2F"] {
            let path = RequestPath::of(path.as_bytes());
            let is_borrowed = |form: &Cow<'_, str>| matches!(form, Cow::Borrowed(_));
            assert!(
                matches!(&path, RequestPath::Plain { normal, decoded, .. } if is_borrowed(normal) && is_borrowed(decoded)),
                "{path:?}"
            );
        }
    }

    #[test]
    fn what_backends_may_read_differently_lists_its_readings() {
        for (path, expected) in [
            ("/a//b", &["/a//b", "/a/b"][..]),
            ("/./admin", &["/./admin", "/admin"]),
            ("/admin/%2e/", &["/admin/./", "/admin/"]),
            ("/admin;x/y", &["/admin;x/y", "/admin/y"]),
            ("/admin%3bx", &["/admin;x", "/admin"]),
            ("/a%2fadmin", &["/a/admin"]),
            ("/admin%00", &["/admin\0"]),
            ("/adm in", &["/adm in"]),
            ("/caf\u{e9}", &["/caf\u{e9}"]),
        ] {
            assert_eq!(readings(path), expected, "{path}");
        }
    }

    #[test]
    fn what_backends_read_in_more_ways_than_can_be_listed_is_unreadable() {
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
            "/public\\admin",
            "/public/x%23/../../admin",
            "/admin%3fx",
            "/admin#x",
            "//admin",
            "//host/admin",
            "/admin%",
            "/admin%zz",
            "/x/..%2fadmin%zz",
            "/public/%c0%ae%c0%ae/admin",
            "/public/%u002e%u002e/admin",
            "/public/%25u002e%25u002e/admin",
            "/%2561dmin",
            "/%25252525252e",
            "*",
            "",
            "admin",
            "http://host/admin",
        ] {
            assert_eq!(RequestPath::of(path.as_bytes()), RequestPath::Unreadable, "{path}");
        }
        assert_eq!(RequestPath::of(b"/\xff"), RequestPath::Unreadable);
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
        fn what_is_resolved_stays_as_it_is(path in "[/.a]{0,8}") {
            prop_assert_eq!(is_resolved(path.as_bytes()), normalise(path.as_bytes()) == path.as_bytes());
        }

        #[test]
        fn a_plain_path_is_its_own_normal_form(path in "(/[a-z.%2ef;/\\\\]{0,6}){0,4}") {
            if let RequestPath::Plain { sent, decoded, .. } = RequestPath::of(path.as_bytes()) {
                prop_assert_eq!(normal(&decoded), &*decoded);
                prop_assert_eq!(sent, &path);
            }
        }
    }
}
