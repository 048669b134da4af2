//! Where credentials travel, and what was found there.
//!
//! Takes the request head and the providers that may be meant, gives the credentials for each of them. More than one for
//! a provider is refused (RFC 6750 section 2) or has to be good as a whole, as the configuration says; never is it "any
//! that verifies". The scheme is matched without case and anchored, and nothing may stand behind the token. Deliberately
//! does not look inside the token.

use std::borrow::Cow;

use crate::browser_session::{Browser, own_cookies};
use crate::config::{
    Csrf, HeaderName, Location, Provider, ProviderId, SeveralCredentials, fold, is_token_char,
};
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
    /// What `head` presents to `providers`.
    pub fn of<'p>(
        head: &RequestHead,
        providers: impl IntoIterator<Item = (ProviderId, &'p Provider)>,
        several: SeveralCredentials,
        now: UnixTime,
    ) -> Self {
        let mut credentials = Self::default();
        for (id, provider) in providers {
            let mut seen: Vec<Place> = Vec::new();
            for location in &provider.locations {
                let location = &*location_in(head, provider, location, now);
                let place = location.place();
                if seen.contains(&place) {
                    continue;
                }
                if provider.takes_first_place && credentials.has_anything_for(id) {
                    break;
                }
                let presented = look(head, location, several);
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
                        Presented::Token(token) => credentials.add(token, &place, id),
                    }
                }
            }
        }
        credentials
    }

    fn add(&mut self, token: String, place: &Place, id: ProviderId) {
        let are_too_many = self.found.len() > MAX_CREDENTIALS;
        let mut known = self.found.iter_mut();
        match known.find(|known| known.place == *place && known.token == token) {
            Some(known) if known.providers.contains(&id) => {}
            Some(known) => known.providers.push(id),
            // One more than the bound says that there are too many.
            None if are_too_many => {}
            None => self.found.push(Credential { token, place: place.clone(), providers: vec![id] }),
        }
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

/// The places beside `spent` where there is something of `provider` that goes with it: the other cookies of a browser's
/// session, and where the first place counts what is behind it, which nobody has verified.
pub fn passed_over(head: &RequestHead, provider: &Provider, spent: &Place) -> Vec<Place> {
    let mut passed_over: Vec<_> = match &provider.browser_session {
        Some(session) => own_cookies(head, session).into_iter().map(Place::Cookie).collect(),
        None => Vec::new(),
    };
    if !provider.takes_first_place {
        return passed_over;
    }
    let is_filled = |location: &&Location| {
        let presented = look(head, location, SeveralCredentials::Refuse);
        presented.iter().any(|item| *item != Presented::Nothing)
    };
    let places = provider.locations.iter().filter(is_filled).map(Location::place);
    passed_over.extend(places.filter(|place| place != spent));
    passed_over
}

/// The place that is meant in this request: the cookie of a browser session may have a suffix to its name.
fn location_in<'l>(
    head: &RequestHead,
    provider: &Provider,
    location: &'l Location,
    now: UnixTime,
) -> Cow<'l, Location> {
    match (location, &provider.browser_session) {
        (Location::Cookie(name), Some(session)) if *name == session.session_cookie => {
            Cow::Owned(Location::Cookie(Browser::of(head, session, now).session_cookie()))
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

fn look(head: &RequestHead, location: &Location, several: SeveralCredentials) -> Vec<Presented> {
    let item = match location {
        // A second spelling that a backend could take for this header holds a credential that nobody verified.
        Location::Header { name, .. } if has_other_spelling(head, name) => Presented::Several,
        Location::Header { name, value_prefix } => {
            let lines = head.values(name.as_str()).map(|value| in_header(value, value_prefix));
            match several {
                SeveralCredentials::Refuse => one_of(lines),
                SeveralCredentials::VerifyAll => return lines.collect(),
            }
        }
        Location::Query(name) => {
            let pairs = query_pairs(head.query().unwrap_or_default());
            one_of(pairs.filter(|(key, _)| is_named(key, name)).map(|(_, value)| {
                match percent_decode(value) {
                    Some(value) => token(&value),
                    None => Presented::Malformed,
                }
            }))
        }
        Location::Cookie(name) => {
            let pairs = head.values("cookie").flat_map(cookie_pairs);
            one_of(pairs.filter(|(key, _)| *key == name.as_bytes()).map(|(_, value)| token(unquote(value))))
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

fn in_header(value: &[u8], prefix: &str) -> Presented {
    let value = trim_ows(value);
    let Some(scheme) = prefix.strip_suffix(' ').filter(|scheme| !scheme.is_empty()) else {
        // No authentication scheme but a literal prefix, or none: as written, at the start.
        return value
            .strip_prefix(prefix.as_bytes())
            .map_or(Presented::Nothing, |rest| token(trim_ows(rest)));
    };
    let has_scheme = |value: &[u8]| {
        let (start, rest) = value.split_at_checked(scheme.len())?;
        // Whatever cannot be part of the scheme's name ends it, and only spaces may stand before the token.
        let ends = rest.first().is_none_or(|byte| !is_token_char(*byte));
        let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
        (ends && start.eq_ignore_ascii_case(scheme.as_bytes()))
            .then(|| rest.get(spaces..).unwrap_or_default().to_vec())
    };
    match has_scheme(value) {
        Some(rest) if rest.contains(&b',') => Presented::Several,
        Some(rest) if rest.is_empty() => Presented::Malformed,
        Some(rest) => token(&rest),
        // Envoy joins repeated `authorization` lines with a comma before a filter sees them.
        None if value.split(|byte| *byte == b',').any(|item| has_scheme(trim_ows(item)).is_some()) => {
            Presented::Several
        }
        None => Presented::Nothing,
    }
}

/// A whole value as a `b64token` (RFC 6750 section 2.1). An empty value is a credential that was taken back.
fn token(value: &[u8]) -> Presented {
    let end = value.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (body, _padding) = value.split_at_checked(end).unwrap_or_default();
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    if value.is_empty() {
        Presented::Nothing
    } else if !body.is_empty() && body.iter().all(is_allowed) {
        String::from_utf8(value.to_vec()).map_or(Presented::Malformed, Presented::Token)
    } else {
        Presented::Malformed
    }
}

/// A cookie value without the quotes that RFC 6265 section 4.1.1 allows around it.
fn unquote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(value: &str) -> Presented {
        in_header(value.as_bytes(), "Bearer ")
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
        assert_eq!(in_header(b"Bearer a\xff", "Bearer "), Presented::Malformed);
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
        assert_eq!(in_header(b"JWT=a.b", "JWT="), some("a.b"));
        assert_eq!(in_header(b"jwt=a.b", "JWT="), Presented::Nothing);
        assert_eq!(in_header(b" a.b ", ""), some("a.b"));
        assert_eq!(in_header(b"a b", ""), Presented::Malformed);
        assert_eq!(in_header(b"", ""), Presented::Nothing);
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let bytes = |text: &str| text.as_bytes().to_vec();
        RequestHead::new(fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect())
    }

    fn look_in(fields: &[(&str, &str)], location: Location) -> Presented {
        look(&head(fields), &location, SeveralCredentials::Refuse).pop().unwrap()
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
