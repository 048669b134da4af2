//! Where credentials travel, and what was found there.
//!
//! Takes the request head and the providers that may be meant, gives the credentials for each of them. More than one for
//! a provider is refused (RFC 6750 section 2) or has to be good as a whole, as the configuration says; never is it "any
//! that verifies". The scheme is matched without case and anchored, and nothing may stand behind the token. A token in
//! JSON is taken out of it. Deliberately does not look inside the token; which of two session cookies of a browser is
//! meant is asked of `browser_session`, which does.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::browser_session::{Browser, own_cookies};
use crate::cache::{KnownToken, TokenCache};
use crate::config::{
    Config, Csrf, HeaderName, Location, Provider, ProviderId, SeveralCredentials, Wrapping, fold_alike,
    is_token_char,
};
use crate::few::Few;
use crate::json::{Json, Object};
use crate::rejection::Rejection;
use crate::request::{
    RequestHead, cookie_pairs, is_named, is_same_name, percent_decode, query_pairs, trim_ows,
};
use crate::time::UnixTime;

/// A credential, as it was found.
#[derive(Clone, Debug)]
pub struct Credential<'r> {
    token: Token<'r>,
    /// Where it was.
    pub place: Place,
    /// Whether there was more than the token.
    pub is_wrapped: bool,
    /// The providers that take credentials from there, in configuration order.
    pub providers: Few<ProviderId>,
}

/// A token, of the characters that RFC 6750 section 2.1 allows.
#[derive(Clone, Debug)]
enum Token<'r> {
    /// One that was good before, and so has no other characters but padding.
    Known(Rc<KnownToken>),
    New(Cow<'r, str>),
}

/// All that a request presents to some providers.
#[derive(Clone, Debug, Default)]
pub struct Credentials<'r> {
    found: Few<Credential<'r>>,
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
    Query(Arc<str>),
    /// A cookie.
    Cookie(Arc<str>),
}

/// What a place holds.
#[derive(Debug)]
enum Presented<'r> {
    Nothing,
    Token(Token<'r>),
    Malformed,
    Several,
}

impl Credential<'_> {
    /// The token.
    pub fn token(&self) -> &str {
        self.token.text()
    }

    /// What is known of it.
    pub fn known(&self) -> Option<&KnownToken> {
        match &self.token {
            Token::Known(known) => Some(known),
            Token::New(_) => None,
        }
    }
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Known(known) => known.text(),
            Self::New(text) => text,
        }
    }

    fn into_owned(self) -> Token<'static> {
        match self {
            Self::Known(known) => Token::Known(known),
            Self::New(text) => Token::New(Cow::Owned(text.into_owned())),
        }
    }
}

impl Presented<'_> {
    const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    fn into_owned(self) -> Presented<'static> {
        match self {
            Self::Nothing => Presented::Nothing,
            Self::Token(token) => Presented::Token(token.into_owned()),
            Self::Malformed => Presented::Malformed,
            Self::Several => Presented::Several,
        }
    }
}

impl<'r> Credentials<'r> {
    /// What `head` presents to `providers`, which are some of those of `config`; `cache` knows the tokens that were good.
    pub fn of<'p>(
        head: &'r RequestHead,
        config: &Config,
        providers: impl IntoIterator<Item = (ProviderId, &'p Provider)>,
        cache: &TokenCache,
        now: UnixTime,
    ) -> Self {
        let several = config.several_credentials;
        let wrapped = wrapped_headers(head, config);
        let mut credentials = Self::default();
        for (id, provider) in providers {
            let reader = Reader { cache: Some(cache), ..Reader::of(provider) };
            let mut seen: Few<Place> = Few::new();
            for location in &provider.locations {
                let location = &*location_in(head, config, provider, location, now);
                let place = location.place();
                if seen.contains(&place) || (!location.is_wrapped() && is_among(&place, &wrapped)) {
                    continue;
                }
                if provider.takes_first_place && credentials.has_anything_for(id) {
                    break;
                }
                look(head, location, reader, several, &mut |item| {
                    // The same value under a shorter prefix is no second credential. Where all must be good, all lines of
                    // a header are looked at under each prefix.
                    if several == SeveralCredentials::Refuse && matches!(item, Presented::Token(_)) {
                        seen.push(place.clone());
                    }
                    match item {
                        Presented::Nothing => {}
                        Presented::Malformed => credentials.faults.push((id, Fault::Malformed)),
                        Presented::Several => credentials.faults.push((id, Fault::Several)),
                        Presented::Token(_) if is_cross_site(head, &place, provider.csrf.as_ref()) => {
                            credentials.faults.push((id, Fault::CrossSite));
                        }
                        Presented::Token(token)
                            if provider.takes_same_token && credentials.has_token_for(id, token.text()) => {}
                        Presented::Token(token) => {
                            credentials.add(token, &place, location.is_wrapped(), id);
                        }
                    }
                });
            }
        }
        credentials
    }

    fn add(&mut self, token: Token<'r>, place: &Place, is_wrapped: bool, id: ProviderId) {
        let are_too_many = self.found.len() > MAX_CREDENTIALS;
        let mut known = self.found.iter_mut();
        match known.find(|known| known.place == *place && known.token.text() == token.text()) {
            Some(known) if known.providers.contains(&id) => {}
            Some(known) => known.providers.push(id),
            // One more than the bound says that there are too many.
            None if are_too_many => {}
            None => {
                let providers = [id].into_iter().collect();
                self.found.push(Credential { token, place: place.clone(), is_wrapped, providers });
            }
        }
    }

    fn has_token_for(&self, id: ProviderId, token: &str) -> bool {
        self.found.iter().any(|known| known.token.text() == token && known.providers.contains(&id))
    }

    fn has_anything_for(&self, id: ProviderId) -> bool {
        self.faults.iter().any(|(for_id, _)| *for_id == id)
            || self.found.iter().any(|credential| credential.providers.contains(&id))
    }

    /// All credentials, for whichever provider.
    pub fn iter(&self) -> impl Iterator<Item = &Credential<'r>> {
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
    if !config.has_wrapped_credentials {
        return Vec::new();
    }
    let locations = config.providers.iter().flat_map(|provider| &provider.locations);
    let locations: Vec<_> = locations.filter(|location| location.is_wrapped()).collect();
    let is_such = |(name, value): &(&[u8], &[u8])| {
        locations.iter().any(|location| match location {
            Location::Header { name: header, value_prefix, .. } => {
                fold_alike(header.as_str().as_bytes(), name) && may_have_prefix(value, value_prefix)
            }
            Location::Query(_) | Location::Cookie(_) => false,
        })
    };
    head.fields().filter(is_such).map(|(name, _)| name).collect()
}

fn is_among(place: &Place, names: &[&[u8]]) -> bool {
    let is_it = |header: &HeaderName| names.iter().any(|name| fold_alike(header.as_str().as_bytes(), name));
    matches!(place, Place::Header(header) if is_it(header))
}

/// The places beside `spent` where there is something of `provider` that goes with it: the other cookies of a browser's
/// session; where the first place counts what is behind it, which nobody has verified; and where all must have the same
/// token, the others that have it.
pub fn passed_over(head: &RequestHead, provider: &Provider, spent: &Place) -> Vec<Place> {
    let mut passed_over: Vec<_> = match &provider.browser_session {
        Some(session) => {
            own_cookies(head, session).into_iter().map(|name| Place::Cookie(name.into())).collect()
        }
        None => Vec::new(),
    };
    if !provider.takes_first_place && !provider.takes_same_token {
        return passed_over;
    }
    let is_filled = |location: &&Location| {
        let mut is_filled = false;
        let mut see = |item: Presented<'_>| is_filled |= !item.is_nothing();
        look(head, location, Reader::of(provider), SeveralCredentials::Refuse, &mut see);
        is_filled
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
        (Location::Cookie(name), Some(session)) if **name == *session.session_cookie => {
            Cow::Owned(Location::Cookie(Browser::of(head, config, session, now).session_cookie().into()))
        }
        _ => Cow::Borrowed(location),
    }
}

impl Place {
    /// The header, if it is one.
    pub const fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name) => Some(name),
            Self::Query(_) | Self::Cookie(_) => None,
        }
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
#[derive(Clone, Copy, Debug)]
struct Reader<'c> {
    /// Whether it is of parts with dots between them, each of which may be padded.
    is_padded: bool,
    /// Who knows tokens that were good.
    cache: Option<&'c TokenCache>,
}

impl Reader<'_> {
    const fn of(provider: &Provider) -> Self {
        Self { is_padded: provider.padded_segments, cache: None }
    }

    /// A whole value as a `b64token` (RFC 6750 section 2.1). An empty value is a credential that was taken back.
    fn read(self, value: &[u8]) -> Presented<'_> {
        if value.is_empty() {
            return Presented::Nothing;
        }
        if let Some(known) = self.cache.and_then(|cache| cache.get(value))
            // What is padded is a credential for those alone who take it.
            && (self.is_padded || !known.is_padded())
        {
            return Presented::Token(Token::Known(known));
        }
        let is_padded = || self.is_padded && value.split(|byte| *byte == b'.').all(is_b64token);
        let is_credential = is_b64token(value) || is_padded();
        match std::str::from_utf8(value) {
            Ok(text) if is_credential => Presented::Token(Token::New(Cow::Borrowed(text))),
            _ => Presented::Malformed,
        }
    }
}

/// Has each thing that is presented at a place seen.
fn look<'r>(
    head: &'r RequestHead,
    location: &Location,
    reader: Reader<'_>,
    several: SeveralCredentials,
    see: &mut dyn FnMut(Presented<'r>),
) {
    match location {
        // A second spelling that a backend could take for this header holds a credential that nobody verified.
        Location::Header { name, .. } if has_other_spelling(head, name) => see(Presented::Several),
        Location::Header { name, value_prefix, wrapping } => {
            let in_line = |value| in_header(value, value_prefix, wrapping.as_ref(), reader);
            let lines = head.values(name.as_str()).map(in_line);
            match several {
                SeveralCredentials::Refuse => see(one_of(lines)),
                SeveralCredentials::VerifyAll => lines.for_each(see),
            }
        }
        Location::Query(name) => {
            let Some(query) = head.query() else { return see(Presented::Nothing) };
            let pairs = query_pairs(query);
            see(one_of(pairs.filter(|(key, _)| is_named(key, name)).map(|(_, value)| {
                if !value.contains(&b'%') {
                    return reader.read(value);
                }
                let decoded = percent_decode(value);
                decoded.map_or(Presented::Malformed, |value| reader.read(&value).into_owned())
            })));
        }
        Location::Cookie(name) => {
            let pairs = head.values("cookie").flat_map(cookie_pairs);
            let values = pairs.filter(|(key, _)| *key == name.as_bytes()).map(|(_, value)| unquote(value));
            see(one_of(values.map(|value| reader.read(value))));
        }
    }
}

fn has_other_spelling(head: &RequestHead, name: &HeaderName) -> bool {
    spellings(head, name).any(|spelling| !is_same_name(spelling, name.as_str().as_bytes()))
}

/// The names in `head` that a backend could take for this one, as they were sent.
pub fn spellings<'h>(head: &'h RequestHead, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let name = name.as_str().as_bytes();
    head.names_of_lengths(move |length| length == name.len()).filter(move |other| fold_alike(name, other))
}

/// The one thing presented. A second line, parameter or cookie of the same name is one too many, whatever it holds:
/// the next server may look at that one.
fn one_of<'r>(presented: impl Iterator<Item = Presented<'r>>) -> Presented<'r> {
    let (mut count, mut first) = (0, Presented::Nothing);
    for item in presented {
        count += 1;
        if first.is_nothing() {
            first = item;
        }
    }
    match first {
        Presented::Nothing => Presented::Nothing,
        _ if count > 1 => Presented::Several,
        first => first,
    }
}

fn in_header<'r>(
    value: &'r [u8],
    prefix: &str,
    wrapping: Option<&Wrapping>,
    reader: Reader<'_>,
) -> Presented<'r> {
    let value = trim_ows(value);
    let (rest, has_scheme) = match (scheme_of(prefix), behind_prefix(value, prefix)) {
        (scheme, Some(rest)) => (rest, scheme.is_some()),
        // Envoy joins repeated `authorization` lines with a comma before a filter sees them.
        (Some(_), None) if may_have_prefix(value, prefix) => return Presented::Several,
        (_, None) => return Presented::Nothing,
    };
    match wrapping {
        Some(wrapping) if !wrapping.is_base64 => wrapped(rest, wrapping, reader),
        _ if has_scheme && rest.is_empty() => Presented::Malformed,
        None => match reader.read(if has_scheme { rest } else { trim_ows(rest) }) {
            Presented::Malformed if has_scheme && rest.contains(&b',') => Presented::Several,
            presented => presented,
        },
        Some(_) if has_scheme && rest.contains(&b',') => Presented::Several,
        Some(wrapping) => wrapped(rest, wrapping, reader),
    }
}

/// The authentication scheme of a prefix: what stands before its last space, if there is one.
fn scheme_of(prefix: &str) -> Option<(&[u8], &[u8])> {
    let prefix = prefix.as_bytes();
    let space = prefix.iter().rposition(|byte| *byte == b' ')?;
    let (scheme, literal) = (prefix.get(..space)?, prefix.get(space + 1..)?);
    (!scheme.is_empty()).then_some((scheme, literal))
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
    if ends && is_same_name(start, scheme) { rest.strip_prefix(literal) } else { None }
}

/// Whether a value starts with `prefix`, or an item of it does that was another line once.
fn may_have_prefix(value: &[u8], prefix: &str) -> bool {
    value.split(|byte| *byte == b',').any(|item| behind_prefix(trim_ows(item), prefix).is_some())
}

/// A token in a JSON object. One that is not there was taken back.
fn wrapped(value: &[u8], wrapping: &Wrapping, reader: Reader<'_>) -> Presented<'static> {
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
        Some(Some(Json::String(text))) => reader.read(text.as_bytes()).into_owned(),
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

fn is_b64token(value: &[u8]) -> bool {
    let end = value.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (body, _padding) = value.split_at_checked(end).unwrap_or_default();
    // All of it, without a branch for each byte: tokens are long, and mostly what they should be.
    let is_allowed = |byte: &u8| IN_B64TOKEN.get(usize::from(*byte)).copied().unwrap_or_default();
    !body.is_empty() && body.iter().fold(true, |are_allowed, byte| are_allowed & is_allowed(byte))
}

/// Whether each byte may stand in a `b64token`, before its padding.
const IN_B64TOKEN: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0_u8;
    loop {
        let is_allowed =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        #[expect(clippy::as_conversions, clippy::indexing_slicing, reason = "evaluated by the compiler")]
        {
            allowed[byte as usize] = is_allowed;
        }
        if byte == u8::MAX {
            break allowed;
        }
        byte += 1;
    }
};

/// A cookie value without the quotes that RFC 6265 section 4.1.1 allows around it.
fn unquote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is presented, in a form that can be compared.
    #[derive(Debug, PartialEq)]
    enum Seen {
        Nothing,
        Token(String),
        Malformed,
        Several,
    }

    impl From<Presented<'_>> for Seen {
        fn from(presented: Presented<'_>) -> Self {
            match presented {
                Presented::Nothing => Self::Nothing,
                Presented::Token(token) => Self::Token(token.text().to_owned()),
                Presented::Malformed => Self::Malformed,
                Presented::Several => Self::Several,
            }
        }
    }

    const READER: Reader<'static> = Reader { is_padded: false, cache: None };

    fn in_line(value: &[u8], prefix: &str) -> Seen {
        in_header(value, prefix, None, READER).into()
    }

    fn bearer(value: &str) -> Seen {
        in_line(value.as_bytes(), "Bearer ")
    }

    fn some(token: &str) -> Seen {
        Seen::Token(token.to_owned())
    }

    #[test]
    fn the_scheme_is_anchored_and_without_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "Bearer   a.b.c", " Bearer a.b.c \t"] {
            assert_eq!(bearer(value), some("a.b.c"), "{value}");
        }
        for value in ["Basic Bearer a.b.c", "xBearer a.b.c", "Bearera.b.c", "a.b.c", "Basic YTpi", ""] {
            assert_eq!(bearer(value), Seen::Nothing, "{value}");
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
            assert_eq!(bearer(value), Seen::Malformed, "{value}");
        }
        assert_eq!(in_line(b"Bearer a\xff", "Bearer "), Seen::Malformed);
    }

    #[test]
    fn a_comma_hides_no_second_credential() {
        for value in
            ["Bearer a,Bearer b", "Bearer a, b", "Basic x,Bearer a", "Basic x, bearer a", "Bearer a,"]
        {
            assert_eq!(bearer(value), Seen::Several, "{value}");
        }
        assert_eq!(bearer("Digest a=\"b\", c=\"d\""), Seen::Nothing);
    }

    #[test]
    fn a_literal_prefix_is_matched_as_written_at_the_start() {
        assert_eq!(in_line(b"JWT=a.b", "JWT="), some("a.b"));
        assert_eq!(in_line(b"jwt=a.b", "JWT="), Seen::Nothing);
        assert_eq!(in_line(b" a.b ", ""), some("a.b"));
        assert_eq!(in_line(b"a b", ""), Seen::Malformed);
        assert_eq!(in_line(b"", ""), Seen::Nothing);
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let bytes = |text: &str| text.as_bytes().to_vec();
        RequestHead::new(fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect())
    }

    fn look_in(fields: &[(&str, &str)], location: Location) -> Seen {
        let mut seen = None;
        let head = head(fields);
        look(&head, &location, READER, SeveralCredentials::Refuse, &mut |item| seen = Some(item.into()));
        seen.unwrap()
    }

    #[test]
    fn a_query_parameter_is_found_by_its_decoded_name_once() {
        let param = || Location::Query("access_token".into());
        let look = |path: &str| look_in(&[(":path", path)], param());
        assert_eq!(look("/?x=1&access_token=a.b"), some("a.b"));
        assert_eq!(look("/?access%5Ftoken=a%2Eb"), some("a.b"));
        assert_eq!(look("/?access_token=a&access_token=b"), Seen::Several);
        assert_eq!(look("/?access_token=a&access%5ftoken="), Seen::Several);
        assert_eq!(look("/?access_token=%zz"), Seen::Malformed);
        for path in ["/", "/?", "/?access_token", "/?access_token=", "/?xaccess_token=a", "/access_token=a"] {
            assert_eq!(look(path), Seen::Nothing, "{path}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name_once() {
        let cookie = || Location::Cookie("s".into());
        let look = |line: &str| look_in(&[("cookie", line)], cookie());
        assert_eq!(look("a=1; s=t.t; b=2"), some("t.t"));
        assert_eq!(look("s=\"t.t\""), some("t.t"));
        assert_eq!(look("s=a; s=b"), Seen::Several);
        assert_eq!(look("s=a; s="), Seen::Several);
        assert_eq!(look("s=a,b"), Seen::Malformed);
        for line in ["", "s", "s=", "ss=a", "S=a", "as=s=a", ";;;", "=s"] {
            assert_eq!(look(line), Seen::Nothing, "{line}");
        }
        assert_eq!(look_in(&[("cookie", "s=a"), ("Cookie", "s=b")], cookie()), Seen::Several);
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
            assert_eq!(look_in(&fields, location()), Seen::Several, "{second}");
        }
        assert_eq!(
            look_in(&[("authorization", "Basic x"), ("authorization", "")], location()),
            Seen::Nothing
        );
    }
}
