//! Where credentials travel, and what was found there.
//!
//! Takes the request head and the providers that may be meant, gives the credentials for each of them. More than one for
//! a provider is refused (RFC 6750 section 2) or has to be good as a whole, as the configuration says; never is it "any
//! that verifies". The scheme is matched without case and anchored, and nothing may stand behind the token. A token in
//! JSON is taken out of it. Deliberately does not look inside the token; which of two session cookies of a browser is
//! meant is asked of `browser_session`, which does.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::browser_session::{Browser, own_cookies};
use crate::config::{
    Config, Csrf, HeaderName, Location, Provider, ProviderId, SeveralCredentials, Wrapping, fold,
    is_token_char,
};
use crate::json::{Json, Object};
use crate::rejection::Rejection;
use crate::request::{RequestHead, cookie_pairs, is_named, percent_decode, query_pairs, trim_ows};
use crate::time::UnixTime;

/// A credential, as it was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credential {
    /// The token, of the characters that RFC 6750 section 2.1 allows.
    pub token: String,
    /// Where it was.
    pub place: Place,
    /// Whether there was more than the token.
    pub is_wrapped: bool,
    /// The providers that take credentials from there, in configuration order.
    pub providers: Vec<ProviderId>,
}

/// All that a request presents to some providers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Credentials {
    found: Vec<Credential>,
    /// For whom there is something that is no credential, and what it is.
    faults: Vec<(ProviderId, Fault)>,
}

/// The most credentials that are looked at in one request: bounds the signatures that a request can have verified.
const MAX_CREDENTIALS: usize = 8;

/// The longest value that a token is taken out of, in bytes: one of the longest, another one beside it, and base64.
const MAX_WRAPPED_BYTES: usize = 64 * 1024;

/// What is wrong with what was found at a place.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fault {
    Malformed,
    /// A cookie in a request that another site may have had a browser send.
    CrossSite,
    Several,
}

/// A place in a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// A header.
    Header(HeaderName),
    /// A query parameter, by its decoded name.
    Query(String),
    /// A cookie.
    Cookie(String),
}

/// What a place holds.
#[derive(Debug, Eq, PartialEq)]
enum Presented {
    Nothing,
    Token(String),
    Malformed,
    Several,
}

impl Credentials {
    /// What `head` presents to `providers`, which are some of those of `config`.
    pub fn of<'p>(
        head: &RequestHead,
        config: &Config,
        providers: impl IntoIterator<Item = (ProviderId, &'p Provider)>,
        now: UnixTime,
    ) -> Self {
        let several = config.several_credentials;
        let wrapped = wrapped_headers(head, config);
        let mut credentials = Self::default();
        for (id, provider) in providers {
            let mut seen: Vec<Place> = Vec::new();
            for location in &provider.locations {
                let location = &*location_in(head, config, provider, location, now);
                let place = location.place();
                if seen.contains(&place) || (!location.is_wrapped() && is_among(&place, &wrapped)) {
                    continue;
                }
                if provider.takes_first_place && credentials.has_anything_for(id) {
                    break;
                }
                let presented = look(head, location, reader_for(provider), several);
                // The same value under a shorter prefix is no second credential. Where all must be good, all lines of a
                // header are looked at under each prefix.
                let is_token = |item: &Presented| matches!(item, Presented::Token(_));
                if several == SeveralCredentials::Refuse && presented.iter().any(is_token) {
                    seen.push(place.clone());
                }
                for item in presented {
                    match item {
                        Presented::Nothing => {}
                        Presented::Malformed => credentials.faults.push((id, Fault::Malformed)),
                        Presented::Several => credentials.faults.push((id, Fault::Several)),
                        Presented::Token(_) if is_cross_site(head, &place, provider.csrf.as_ref()) => {
                            credentials.faults.push((id, Fault::CrossSite));
                        }
                        Presented::Token(token)
                            if provider.takes_same_token && credentials.has_token_for(id, &token) => {}
                        Presented::Token(token) => {
                            credentials.add(token, &place, location.is_wrapped(), id);
                        }
                    }
                }
            }
        }
        credentials
    }

    fn add(&mut self, token: String, place: &Place, is_wrapped: bool, id: ProviderId) {
        let are_too_many = self.found.len() > MAX_CREDENTIALS;
        let mut known = self.found.iter_mut();
        match known.find(|known| known.place == *place && known.token == token) {
            Some(known) if known.providers.contains(&id) => {}
            Some(known) => known.providers.push(id),
            // One more than the bound says that there are too many.
            None if are_too_many => {}
            None => {
                self.found.push(Credential { token, place: place.clone(), is_wrapped, providers: vec![id] });
            }
        }
    }

    fn has_token_for(&self, id: ProviderId, token: &str) -> bool {
        self.found.iter().any(|known| known.token == token && known.providers.contains(&id))
    }

    fn has_anything_for(&self, id: ProviderId) -> bool {
        self.faults.iter().any(|(for_id, _)| *for_id == id)
            || self.found.iter().any(|credential| credential.providers.contains(&id))
    }

    /// All credentials, for whichever provider.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.found.iter()
    }

    /// Refuses what this provider must not be asked about.
    ///
    /// # Errors
    ///
    /// [`Rejection::MultipleCredentials`], [`Rejection::MalformedCredential`], [`Rejection::CrossSite`].
    pub fn check(&self, id: ProviderId, several: SeveralCredentials) -> Result<(), Rejection> {
        let fault = self.faults.iter().filter(|(for_id, _)| *for_id == id).map(|(_, fault)| *fault).max();
        let count = self.found.iter().filter(|credential| credential.providers.contains(&id)).count();
        match fault {
            Some(Fault::Several) => Err(Rejection::MultipleCredentials),
            _ if self.found.len() > MAX_CREDENTIALS => Err(Rejection::MultipleCredentials),
            _ if count > 1 && several == SeveralCredentials::Refuse => Err(Rejection::MultipleCredentials),
            Some(Fault::CrossSite) => Err(Rejection::CrossSite),
            Some(Fault::Malformed) => Err(Rejection::MalformedCredential),
            None => Ok(()),
        }
    }
}

/// The names of headers in `head` that hold more than a token, for whichever provider of `config`: nobody but the filter
/// is to see what else is in them.
pub fn wrapped_headers<'h>(head: &'h RequestHead, config: &Config) -> Vec<&'h [u8]> {
    let locations = config.providers.iter().flat_map(|provider| &provider.locations);
    let locations: Vec<_> = locations.filter(|location| location.is_wrapped()).collect();
    let is_such = |(name, value): &(&[u8], &[u8])| {
        locations.iter().any(|location| match location {
            Location::Header { name: header, value_prefix, .. } => {
                header.folded() == fold(name) && may_have_prefix(value, value_prefix)
            }
            Location::Query(_) | Location::Cookie(_) => false,
        })
    };
    if locations.is_empty() {
        Vec::new()
    } else {
        head.fields().filter(is_such).map(|(name, _)| name).collect()
    }
}

fn is_among(place: &Place, names: &[&[u8]]) -> bool {
    matches!(place, Place::Header(header) if names.iter().any(|name| header.folded() == fold(name)))
}

/// The places beside `spent` where there is something of `provider` that goes with it: the other cookies of a browser's
/// session; where the first place counts what is behind it, which nobody has verified; and where all must have the same
/// token, the others that have it.
pub fn passed_over(head: &RequestHead, provider: &Provider, spent: &Place) -> Vec<Place> {
    let mut passed_over: Vec<_> = match &provider.browser_session {
        Some(session) => own_cookies(head, session).into_iter().map(Place::Cookie).collect(),
        None => Vec::new(),
    };
    if !provider.takes_first_place && !provider.takes_same_token {
        return passed_over;
    }
    let is_filled = |location: &&Location| {
        let presented = look(head, location, reader_for(provider), SeveralCredentials::Refuse);
        presented.iter().any(|item| *item != Presented::Nothing)
    };
    let places = provider.locations.iter().filter(is_filled).map(Location::place);
    passed_over.extend(places.filter(|place| place != spent));
    passed_over
}

/// The place that is meant in this request: the cookie of a browser session may have a suffix to its name.
fn location_in<'l>(
    head: &RequestHead,
    config: &Config,
    provider: &Provider,
    location: &'l Location,
    now: UnixTime,
) -> Cow<'l, Location> {
    match (location, &provider.browser_session) {
        (Location::Cookie(name), Some(session)) if *name == session.session_cookie => {
            Cow::Owned(Location::Cookie(Browser::of(head, config, session, now).session_cookie()))
        }
        _ => Cow::Borrowed(location),
    }
}

impl Location {
    fn place(&self) -> Place {
        match self {
            Self::Header { name, .. } => Place::Header(name.clone()),
            Self::Query(name) => Place::Query(name.clone()),
            Self::Cookie(name) => Place::Cookie(name.clone()),
        }
    }
}

/// Whether a browser may have added this cookie to a request that another site had it make, and the request may change
/// something: by its method, or because it opens a WebSocket, which starts as a `GET` and is not held back by CORS.
fn is_cross_site(head: &RequestHead, place: &Place, csrf: Option<&Csrf>) -> bool {
    let (Place::Cookie(_), Some(csrf)) = (place, csrf) else { return false };
    let is_safe = [b"GET".as_slice(), b"HEAD", b"OPTIONS"].contains(&head.value(":method"));
    // A WebSocket over HTTP/2 is an extended `CONNECT` (RFC 8441).
    if is_safe && head.value("upgrade").is_empty() {
        return false;
    }
    // One line of each: a second one is not a browser's.
    let only = |name| match head.values(name).collect::<Vec<_>>().as_slice() {
        [value] => String::from_utf8_lossy(value).to_ascii_lowercase(),
        _ => String::new(),
    };
    let origin = only("origin");
    if csrf.allowed_origins.contains(&origin) {
        return false;
    }
    match only("sec-fetch-site").as_str() {
        "same-origin" | "none" => false,
        "same-site" => !csrf.allows_same_site,
        "" if head.values("sec-fetch-site").next().is_none() => {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let authority = String::from_utf8_lossy(head.value(":authority")).to_ascii_lowercase();
            host.is_none_or(|host| host.is_empty() || host != authority)
        }
        _ => true,
    }
}

/// How a whole value is read.
type Reader = fn(&[u8]) -> Presented;

fn reader_for(provider: &Provider) -> Reader {
    if provider.padded_segments { padded_token } else { token }
}

fn look(
    head: &RequestHead,
    location: &Location,
    read: Reader,
    several: SeveralCredentials,
) -> Vec<Presented> {
    let item = match location {
        // A second spelling that a backend could take for this header holds a credential that nobody verified.
        Location::Header { name, .. } if has_other_spelling(head, name) => Presented::Several,
        Location::Header { name, value_prefix, wrapping } => {
            let in_line = |value| in_header(value, value_prefix, wrapping.as_ref(), read);
            let lines = head.values(name.as_str()).map(in_line);
            match several {
                SeveralCredentials::Refuse => one_of(lines),
                SeveralCredentials::VerifyAll => return lines.collect(),
            }
        }
        Location::Query(name) => {
            let pairs = query_pairs(head.query().unwrap_or_default());
            one_of(pairs.filter(|(key, _)| is_named(key, name)).map(|(_, value)| {
                match percent_decode(value) {
                    Some(value) => read(&value),
                    None => Presented::Malformed,
                }
            }))
        }
        Location::Cookie(name) => {
            let pairs = head.values("cookie").flat_map(cookie_pairs);
            one_of(pairs.filter(|(key, _)| *key == name.as_bytes()).map(|(_, value)| read(unquote(value))))
        }
    };
    vec![item]
}

fn has_other_spelling(head: &RequestHead, name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    let mut names =
        head.names().filter(|other| other.len() == name.len() && !other.eq_ignore_ascii_case(name));
    names.any(|other| fold(other) == fold(name))
}

/// The one thing presented. A second line, parameter or cookie of the same name is one too many, whatever it holds:
/// the next server may look at that one.
fn one_of(presented: impl Iterator<Item = Presented>) -> Presented {
    let presented: Vec<_> = presented.collect();
    let count = presented.len();
    let mut something = presented.into_iter().filter(|item| *item != Presented::Nothing);
    match something.next() {
        None => Presented::Nothing,
        Some(_) if count > 1 => Presented::Several,
        Some(item) => item,
    }
}

fn in_header(value: &[u8], prefix: &str, wrapping: Option<&Wrapping>, read: Reader) -> Presented {
    let value = trim_ows(value);
    let (rest, has_scheme) = match (scheme_of(prefix), behind_prefix(value, prefix)) {
        (scheme, Some(rest)) => (rest, scheme.is_some()),
        // Envoy joins repeated `authorization` lines with a comma before a filter sees them.
        (Some(_), None) if may_have_prefix(value, prefix) => return Presented::Several,
        (_, None) => return Presented::Nothing,
    };
    match wrapping {
        Some(wrapping) if !wrapping.is_base64 => wrapped(rest, wrapping, read),
        _ if has_scheme && rest.contains(&b',') => Presented::Several,
        _ if has_scheme && rest.is_empty() => Presented::Malformed,
        Some(wrapping) => wrapped(rest, wrapping, read),
        None => read(if has_scheme { rest } else { trim_ows(rest) }),
    }
}

/// The authentication scheme of a prefix: what stands before its last space, if there is one.
fn scheme_of(prefix: &str) -> Option<(&str, &str)> {
    prefix.rsplit_once(' ').filter(|(scheme, _)| !scheme.is_empty())
}

/// What stands behind `prefix` in a value that starts with it: its scheme without case, any number of spaces, and the
/// rest of it as written. Without a scheme all of it as written.
fn behind_prefix<'v>(value: &'v [u8], prefix: &str) -> Option<&'v [u8]> {
    let Some((scheme, literal)) = scheme_of(prefix) else {
        return value.strip_prefix(prefix.as_bytes());
    };
    let (start, rest) = value.split_at_checked(scheme.len())?;
    // Whatever cannot be part of the scheme's name ends it, and only spaces may stand before the token.
    let ends = rest.first().is_none_or(|byte| !is_token_char(*byte));
    let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
    let rest = rest.get(spaces..).unwrap_or_default();
    if ends && start.eq_ignore_ascii_case(scheme.as_bytes()) {
        rest.strip_prefix(literal.as_bytes())
    } else {
        None
    }
}

/// Whether a value starts with `prefix`, or an item of it does that was another line once.
fn may_have_prefix(value: &[u8], prefix: &str) -> bool {
    value.split(|byte| *byte == b',').any(|item| behind_prefix(trim_ows(item), prefix).is_some())
}

/// A token in a JSON object. One that is not there was taken back.
fn wrapped(value: &[u8], wrapping: &Wrapping, read: Reader) -> Presented {
    if value.is_empty() {
        return Presented::Nothing;
    }
    if value.len() > MAX_WRAPPED_BYTES {
        return Presented::Malformed;
    }
    let decoded = if wrapping.is_base64 { decode_base64(value) } else { Some(value.to_vec()) };
    let object = decoded.as_deref().and_then(|text| Object::parse(text).ok());
    match object.as_ref().map(|object| object.get(&wrapping.member)) {
        Some(None | Some(Json::Null)) => Presented::Nothing,
        Some(Some(Json::String(text))) => read(text.as_bytes()),
        Some(Some(_)) | None => Presented::Malformed,
    }
}

/// Base64 in either alphabet, with or without padding.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let is_for_urls = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if is_for_urls { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

/// A whole value as a `b64token` (RFC 6750 section 2.1). An empty value is a credential that was taken back.
fn token(value: &[u8]) -> Presented {
    presented_if(value, is_b64token)
}

/// A whole value as parts with dots between them, each of which may be padded.
fn padded_token(value: &[u8]) -> Presented {
    presented_if(value, |value| is_b64token(value) || value.split(|byte| *byte == b'.').all(is_b64token))
}

fn presented_if(value: &[u8], is_credential: impl Fn(&[u8]) -> bool) -> Presented {
    if value.is_empty() {
        Presented::Nothing
    } else if is_credential(value) {
        String::from_utf8(value.to_vec()).map_or(Presented::Malformed, Presented::Token)
    } else {
        Presented::Malformed
    }
}

fn is_b64token(value: &[u8]) -> bool {
    let end = value.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (body, _padding) = value.split_at_checked(end).unwrap_or_default();
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    !body.is_empty() && body.iter().all(is_allowed)
}

/// A cookie value without the quotes that RFC 6265 section 4.1.1 allows around it.
fn unquote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(value: &str) -> Presented {
        in_header(value.as_bytes(), "Bearer ", None, token)
    }

    fn some(token: &str) -> Presented {
        Presented::Token(token.to_owned())
    }

    #[test]
    fn the_scheme_is_anchored_and_without_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "Bearer   a.b.c", " Bearer a.b.c \t"] {
            assert_eq!(bearer(value), some("a.b.c"), "{value}");
        }
        for value in ["Basic Bearer a.b.c", "xBearer a.b.c", "Bearera.b.c", "a.b.c", "Basic YTpi", ""] {
            assert_eq!(bearer(value), Presented::Nothing, "{value}");
        }
    }

    #[test]
    fn nothing_may_stand_behind_the_token() {
        for value in [
            "Bearer",
            "Bearer\ta.b.c",
            "Bearer\u{a0}a.b.c",
            "Bearer=a.b.c",
            "Bearer \ta.b.c",
            "Bearer ",
            "Bearer a.b.c x",
            "Bearer a.b.c\tx",
            "Bearer a.b.c;x",
            "Bearer \"a\"",
            "Bearer =",
            "Bearer a=b",
            "Bearer \u{e9}",
        ] {
            assert_eq!(bearer(value), Presented::Malformed, "{value}");
        }
        assert_eq!(in_header(b"Bearer a\xff", "Bearer ", None, token), Presented::Malformed);
    }

    #[test]
    fn a_comma_hides_no_second_credential() {
        for value in
            ["Bearer a,Bearer b", "Bearer a, b", "Basic x,Bearer a", "Basic x, bearer a", "Bearer a,"]
        {
            assert_eq!(bearer(value), Presented::Several, "{value}");
        }
        assert_eq!(bearer("Digest a=\"b\", c=\"d\""), Presented::Nothing);
    }

    #[test]
    fn a_literal_prefix_is_matched_as_written_at_the_start() {
        assert_eq!(in_header(b"JWT=a.b", "JWT=", None, token), some("a.b"));
        assert_eq!(in_header(b"jwt=a.b", "JWT=", None, token), Presented::Nothing);
        assert_eq!(in_header(b" a.b ", "", None, token), some("a.b"));
        assert_eq!(in_header(b"a b", "", None, token), Presented::Malformed);
        assert_eq!(in_header(b"", "", None, token), Presented::Nothing);
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let bytes = |text: &str| text.as_bytes().to_vec();
        RequestHead::new(fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect())
    }

    fn look_in(fields: &[(&str, &str)], location: Location) -> Presented {
        look(&head(fields), &location, token, SeveralCredentials::Refuse).pop().unwrap()
    }

    #[test]
    fn a_query_parameter_is_found_by_its_decoded_name_once() {
        let param = || Location::Query("access_token".to_owned());
        let look = |path: &str| look_in(&[(":path", path)], param());
        assert_eq!(look("/?x=1&access_token=a.b"), some("a.b"));
        assert_eq!(look("/?access%5Ftoken=a%2Eb"), some("a.b"));
        assert_eq!(look("/?access_token=a&access_token=b"), Presented::Several);
        assert_eq!(look("/?access_token=a&access%5ftoken="), Presented::Several);
        assert_eq!(look("/?access_token=%zz"), Presented::Malformed);
        for path in ["/", "/?", "/?access_token", "/?access_token=", "/?xaccess_token=a", "/access_token=a"] {
            assert_eq!(look(path), Presented::Nothing, "{path}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_once() {
        let cookie = || Location::Cookie("s".to_owned());
        let look = |line: &str| look_in(&[("cookie", line)], cookie());
        assert_eq!(look("a=1; s=t.t; b=2"), some("t.t"));
        assert_eq!(look("s=\"t.t\""), some("t.t"));
        assert_eq!(look("s=a; s=b"), Presented::Several);
        assert_eq!(look("s=a; s="), Presented::Several);
        assert_eq!(look("s=a,b"), Presented::Malformed);
        for line in ["", "s", "s=", "ss=a", "S=a", "as=s=a", ";;;", "=s"] {
            assert_eq!(look(line), Presented::Nothing, "{line}");
        }
        assert_eq!(look_in(&[("cookie", "s=a"), ("Cookie", "s=b")], cookie()), Presented::Several);
    }

    #[test]
    fn repeated_authorization_lines_are_refused() {
        let location = || Location::Header {
            name: HeaderName::for_test("authorization"),
            value_prefix: "Bearer ".to_owned(),
            wrapping: None,
        };
        for second in ["Bearer b", "Bearer a", "Basic x", ""] {
            let fields = [("authorization", "Bearer a"), ("Authorization", second)];
            assert_eq!(look_in(&fields, location()), Presented::Several, "{second}");
        }
        assert_eq!(
            look_in(&[("authorization", "Basic x"), ("authorization", "")], location()),
            Presented::Nothing
        );
    }
}
