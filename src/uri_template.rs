//! URI templates: `/users/{id}`, `/files/**`.
//!
//! Takes a template of a configuration, gives what says whether a path is one of its kind. The grammar and its limits
//! are those of Envoy's `envoy.path.match.uri_template.uri_template_matcher` (envoy
//! `api/envoy/extensions/path/match/uri_template/v3/uri_template_match.proto`), checked against 1.40. Deliberately does
//! not give the values of variables.

use crate::path::RequestPath;
use crate::regex::Regex;
use crate::request::percent_decode;

const MAX_LENGTH: usize = 256;
const MAX_VARIABLES: usize = 5;
const MAX_NAME_LENGTH: usize = 16;

/// What `*` stands for in a path as it was sent: one or more of these. `**` takes `/` too, and nothing.
const SENT_CHARACTERS: &str = "-a-zA-Z0-9._~%!$&'()*+,;=:@";

/// A compiled template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UriTemplate {
    sent: Regex,
    decoded: Regex,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Piece<'t> {
    Literal(&'t str),
    /// `*`
    Segment,
    /// `**`
    Rest,
}

impl UriTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(written: &str) -> Result<Self, String> {
        let pieces = parse(written)?;
        let example: String = pieces.iter().map(Piece::example).collect();
        if !matches!(RequestPath::of(example.as_bytes()), RequestPath::Plain { .. }) {
            return Err(format!("a path such as {example:?} is not in its normal form"));
        }
        let [mut sent, mut decoded] = [String::new(), String::new()];
        for piece in pieces {
            sent.push_str(&piece.sent());
            decoded.push_str(&piece.decoded());
        }
        Ok(Self { sent: Regex::new(&sent)?, decoded: Regex::new(&decoded)? })
    }

    /// Whether a path is one of these as it was sent, in the characters that Envoy allows for its variable parts.
    pub fn is_match_sent(&self, sent: &str) -> bool {
        self.sent.is_match(sent.as_bytes())
    }

    /// Whether a percent-decoded path is one of these, whatever stands in its variable parts.
    pub fn is_match_decoded(&self, decoded: &str) -> bool {
        self.decoded.is_match(decoded.as_bytes())
    }
}

impl Piece<'_> {
    /// What it could stand for.
    fn example(&self) -> &str {
        match self {
            Self::Literal(text) => text,
            Self::Segment | Self::Rest => "x",
        }
    }

    fn sent(&self) -> String {
        match self {
            Self::Literal(text) => regex_lite::escape(text),
            Self::Segment => format!("[{SENT_CHARACTERS}]+"),
            Self::Rest => format!("[{SENT_CHARACTERS}/]*"),
        }
    }

    fn decoded(&self) -> String {
        match self {
            Self::Literal(text) => {
                let decoded = percent_decode(text.as_bytes()).and_then(|text| String::from_utf8(text).ok());
                regex_lite::escape(decoded.as_deref().unwrap_or(text))
            }
            Self::Segment => "[^/]+".to_owned(),
            Self::Rest => "(?s:.*)".to_owned(),
        }
    }
}

fn parse(template: &str) -> Result<Vec<Piece<'_>>, String> {
    if template.len() > MAX_LENGTH {
        return Err(format!("it has more than {MAX_LENGTH} characters"));
    }
    let mut pieces = Vec::new();
    let mut names = Vec::new();
    let mut rest = template.strip_prefix('/').ok_or("it does not start with \"/\"")?;
    pieces.push(Piece::Literal("/"));
    while !rest.is_empty() {
        rest = segment(rest, &mut pieces, &mut names)?;
        if let Some(next) = rest.strip_prefix('/') {
            pieces.push(Piece::Literal("/"));
            rest = next;
        }
    }
    let behind_rest = pieces.iter().skip_while(|piece| **piece != Piece::Rest).skip(1);
    if behind_rest.into_iter().any(|piece| !matches!(piece, Piece::Literal(_))) {
        return Err("a wildcard stands behind \"**\"".to_owned());
    }
    Ok(pieces)
}

/// Reads one segment, or the several of a variable, and gives what stands behind it.
fn segment<'t>(
    text: &'t str,
    pieces: &mut Vec<Piece<'t>>,
    names: &mut Vec<&'t str>,
) -> Result<&'t str, String> {
    let wildcard = text.strip_prefix("**").map(|rest| (Piece::Rest, rest));
    if let Some((piece, rest)) =
        wildcard.or_else(|| text.strip_prefix('*').map(|rest| (Piece::Segment, rest)))
    {
        pieces.push(piece);
        return match rest {
            "" => Ok(rest),
            _ if rest.starts_with('/') => Ok(rest),
            _ if rest.contains('/') => Err(format!("{rest:?} behind a wildcard does not end the template")),
            _ => literal(rest, pieces).map(|()| ""),
        };
    }
    let (before, rest) =
        text.split_at_checked(text.find(['{', '/']).unwrap_or(text.len())).unwrap_or((text, ""));
    let Some(variable) = rest.strip_prefix('{') else {
        return literal(before, pieces).map(|()| rest);
    };
    let (inner, rest) = variable.split_once('}').ok_or("a variable has no \"}\"")?;
    let (name, pattern) = inner.split_once('=').unwrap_or((inner, "*"));
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name || name.len() > MAX_NAME_LENGTH || names.contains(&name) {
        return Err(format!("{name:?} is no name for a variable, or is taken"));
    }
    names.push(name);
    if names.len() > MAX_VARIABLES {
        return Err(format!("it has more than {MAX_VARIABLES} variables"));
    }
    if !before.is_empty() {
        if pattern.contains('/') {
            return Err(format!("{before:?} stands before a variable of several segments"));
        }
        literal(before, pieces)?;
    }
    for (index, part) in pattern.split('/').enumerate() {
        if index > 0 {
            pieces.push(Piece::Literal("/"));
        }
        match part {
            "**" => pieces.push(Piece::Rest),
            "*" => pieces.push(Piece::Segment),
            _ => literal(part, pieces)?,
        }
    }
    let (after, rest) = rest.split_at_checked(rest.find('/').unwrap_or(rest.len())).unwrap_or((rest, ""));
    if !after.is_empty() {
        literal(after, pieces)?;
    }
    Ok(rest)
}

/// Text that stands for itself. Envoy lets a `*` in it pass and means "the character before, any number of times".
fn literal<'t>(text: &'t str, pieces: &mut Vec<Piece<'t>>) -> Result<(), String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;=:@".contains(&byte);
    match text {
        "" => Err("a segment is empty".to_owned()),
        _ if !text.bytes().all(is_allowed) => {
            Err(format!("{text:?} is not text, \"*\", \"**\" or one variable"))
        }
        _ => {
            pieces.push(Piece::Literal(text));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_template_matches_as_in_envoy() {
        for (template, paths, others) in [
            (
                "/**",
                &["/", "/a", "/a/", "/a/b=c", "/a//c", "/a/%C3%A9"][..],
                &["/a/b\"c", "/a/[x]", "/a|c", ""][..],
            ),
            ("/*", &["/a", "/a=b", "/x.js", "/*", "/a%20b"], &["/", "/a/", "/a/b"]),
            ("/a/{x}", &["/a/b", "/a/b=c", "/a/b*", "/a/%C3%A9"], &["/a", "/a/", "/a/b/", "/a/b/c", "/A/b"]),
            ("/a/{x=*}", &["/a/b"], &["/a/", "/a/b/c"]),
            ("/a/{x=b/*}", &["/a/b/c"], &["/a/b", "/a/b/", "/a/c/c", "/a/b/c/d"]),
            ("/a/{x=**}", &["/a/", "/a/b", "/a/b/c/"], &["/a", "/ab"]),
            ("/a/{x}/c", &["/a/b/c"], &["/a/c", "/a//c", "/a/b/c/", "/a/b/d/c"]),
            ("/**.mpd", &["/content/123/india/dash/55/manifest.mpd", "/.mpd"], &["/a/mpd", "/a.mpd/b"]),
            (
                "/videos/*/*/*.m4s",
                &["/videos/123414/hls/1080p5000_00001.m4s"],
                &["/videos/1/2.m4s", "/videos/1/2/.m4s"],
            ),
            ("/videos/{file}", &["/videos/1080p5000_00001.m4s"], &["/videos/a/b"]),
            ("/{x}.js", &["/x.js"], &["/x/y.js", "/.js", "/xajs"]),
            ("/{x}b/c", &["/axb/c"], &["/b/c", "/axb"]),
            ("/a{x}b/c", &["/axxb/c"], &["/ab/c"]),
            ("/a{x=**}", &["/a", "/ab/c", "/a/"], &["/", "/b"]),
            ("/**:get", &["/v1:get", "/v1/x:get"], &["/v1", "/v1:get/"]),
            ("/a/**/c", &["/a/b/c", "/a//c"], &["/a/c", "/a/b/c/d"]),
            ("/{a=**}/c", &["/a/c", "/a/b/c"], &["/c", "/c/"]),
            ("/{x=*/**}", &["/a/", "/a/b/c"], &["/a", "/"]),
            ("/a=b", &["/a=b"], &["/a", "/a=c"]),
            ("/(a)$+.", &["/(a)$+."], &["/a", "/(a)$+x", "/(a)$."]),
            ("/a/", &["/a/"], &["/a", "/a/b"]),
            ("/", &["/"], &["/a", ""]),
            ("/{a}/{b}/{c}/{d}/{abcdefghijklmn_1}", &["/1/2/3/4/5"], &["/1/2/3/4"]),
        ] {
            let compiled = UriTemplate::new(template).unwrap();
            for path in paths {
                assert!(compiled.is_match_sent(path) && compiled.is_match_decoded(path), "{template} {path}");
            }
            for path in others {
                assert!(!compiled.is_match_sent(path), "{template} {path}");
            }
        }
    }

    #[test]
    fn a_decoded_path_may_hold_any_character() {
        for (template, path) in [
            ("/**", "/a\n[\u{e9}]"),
            ("/a/{x}", "/a/[b c]"),
            ("/caf%C3%A9/{x}", "/caf\u{e9}/\u{e9}"),
            ("/%40{x}", "/@a"),
        ] {
            assert!(UriTemplate::new(template).unwrap().is_match_decoded(path), "{template}");
        }
        let template = UriTemplate::new("/a/{x}").unwrap();
        assert!(!template.is_match_decoded("/a/b/c") && !template.is_match_decoded("/a/"));
    }

    #[test]
    fn a_template_outside_the_grammar_says_why() {
        for (template, reason) in [
            ("", "it does not start with \"/\""),
            ("a/b", "it does not start with \"/\""),
            ("/a//b", "a segment is empty"),
            ("//", "a segment is empty"),
            ("/{x}/{x}", "\"x\" is no name for a variable, or is taken"),
            ("/{1x}", "\"1x\" is no name for a variable, or is taken"),
            ("/{}", "\"\" is no name for a variable, or is taken"),
            ("/{x-y}", "\"x-y\" is no name for a variable, or is taken"),
            ("/{abcdefghijklmnopq}", "\"abcdefghijklmnopq\" is no name for a variable, or is taken"),
            ("/{a}/{b}/{c}/{d}/{e}/{f}", "it has more than 5 variables"),
            ("/**/**", "a wildcard stands behind \"**\""),
            ("/**/*", "a wildcard stands behind \"**\""),
            ("/**/{x}", "a wildcard stands behind \"**\""),
            ("/{x=**}/*", "a wildcard stands behind \"**\""),
            ("/{x=**/*}", "a wildcard stands behind \"**\""),
            ("/{x=}", "a segment is empty"),
            ("/{x=/b}", "a segment is empty"),
            ("/{x=b/}", "a segment is empty"),
            ("/{x", "a variable has no \"}\""),
            ("/x}", "\"x}\" is not text, \"*\", \"**\" or one variable"),
            ("/{x}{y}", "\"{y}\" is not text, \"*\", \"**\" or one variable"),
            ("/{x}.{y}", "\".{y}\" is not text, \"*\", \"**\" or one variable"),
            ("/*{x}", "\"{x}\" is not text, \"*\", \"**\" or one variable"),
            ("/a*", "\"a*\" is not text, \"*\", \"**\" or one variable"),
            ("/***", "\"*\" is not text, \"*\", \"**\" or one variable"),
            ("/{x=*b}", "\"*b\" is not text, \"*\", \"**\" or one variable"),
            ("/a?b", "\"a?b\" is not text, \"*\", \"**\" or one variable"),
            ("/a b", "\"a b\" is not text, \"*\", \"**\" or one variable"),
            ("/\u{e9}", "\"\u{e9}\" is not text, \"*\", \"**\" or one variable"),
            ("/*x/y", "\"x/y\" behind a wildcard does not end the template"),
            ("/a{x=b/*}", "\"a\" stands before a variable of several segments"),
            ("/../{x}", "a path such as \"/../x\" is not in its normal form"),
            ("/a;b/*", "a path such as \"/a;b/x\" is not in its normal form"),
            ("/a%2fb/*", "a path such as \"/a%2fb/x\" is not in its normal form"),
            ("/%zz", "a path such as \"/%zz\" is not in its normal form"),
        ] {
            assert_eq!(UriTemplate::new(template), Err(reason.to_owned()), "{template}");
        }
        assert!(UriTemplate::new(&"/a".repeat(128)).is_ok());
        assert!(UriTemplate::new(&"/*".repeat(128)).is_ok());
        assert!(UriTemplate::new(&"/a".repeat(129)).is_err());
    }

    proptest! {
        #[test]
        fn no_template_panics_and_each_matches_its_example(template in r"/[ab*{}=/.%4é]{0,24}") {
            if let Ok(compiled) = UriTemplate::new(&template) {
                let example: String = parse(&template).unwrap().iter().map(Piece::example).collect();
                prop_assert!(compiled.is_match_sent(&example));
            }
        }
    }
}
