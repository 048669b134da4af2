//! Grant -> header edits: removals first, then what was verified.
//!
//! Takes the request head and a [`Grant`], gives the edits that every forwarded request goes through. Every header that
//! the configuration can ever write is removed first, whoever sent it and in whatever spelling a backend could fold
//! together with it; only then are verified values set. Deliberately has no way to add to a header that is there.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::authorize::{Authenticated, Grant};
use crate::config::{
    ClaimEncoding, ClaimToHeader, Config, HeaderName, HeaderPattern, HeaderSource, Location, PayloadHeader,
    Provider, Requirement, fold, fold_alike,
};
use crate::credential::{Place, passed_over, spellings, wrapped_headers};
use crate::few::Few;
use crate::jose::base64url;
use crate::json::{Json, Number};
use crate::request::{
    HeaderEdit, RequestHead, RoutePolicy, cookie_pairs, is_named, percent_decode_leniently, query_pairs,
    split_target, trim_ows,
};

/// The longest value that a claim may become, in bytes after encoding. A longer one is left out, as if the claim were
/// missing: half a value could be somebody else's.
pub const MAX_VALUE_BYTES: usize = 8 * 1024;

/// As many names are compared one by one.
const FEW: usize = 8;

/// What is done to the head of a request before it goes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderEdits {
    removals: Few<HeaderEdit>,
    /// Who was verified.
    identity: Option<Rc<[HeaderEdit]>>,
    statuses: Vec<HeaderEdit>,
}

/// The headers that the configuration can ever write, folded as backends may fold them.
#[derive(Debug, Default)]
pub struct OwnedHeaders {
    /// Those that go, but for the ones below.
    names: FoldedNames,
    /// How others that go begin, folded, unless they carry credentials.
    beginnings: Vec<Vec<u8>>,
    /// Those that several claims of one request may go to.
    lists: BTreeSet<HeaderName>,
    /// Those that carry credentials, which are removed once they are spent.
    carriers: FoldedNames,
}

/// Names of headers, folded. Whether a name is among them is found out without a copy of it, and mostly by its length.
#[derive(Debug, Default)]
struct FoldedNames {
    /// Sorted, at the place of their length.
    by_length: Vec<Vec<Vec<u8>>>,
}

impl FoldedNames {
    fn insert(&mut self, folded: Vec<u8>) {
        let length = folded.len();
        if self.by_length.len() <= length {
            self.by_length.resize_with(length + 1, Vec::new);
        }
        if let Some(names) = self.by_length.get_mut(length)
            && let Err(place) = names.binary_search(&folded)
        {
            names.insert(place, folded);
        }
    }

    fn have_length(&self, length: usize) -> bool {
        self.by_length.get(length).is_some_and(|names| !names.is_empty())
    }

    fn contains(&self, name: &[u8]) -> bool {
        match self.by_length.get(name.len()) {
            None => false,
            Some(names) if names.len() > FEW => names.binary_search(&fold(name)).is_ok(),
            Some(names) => names.iter().any(|known| fold_alike(known, name)),
        }
    }
}

impl FromIterator<Vec<u8>> for FoldedNames {
    fn from_iter<T: IntoIterator<Item = Vec<u8>>>(folded: T) -> Self {
        let mut names = Self::default();
        folded.into_iter().for_each(|name| names.insert(name));
        names
    }
}

impl OwnedHeaders {
    /// Those of every provider and requirement, whichever a request is for.
    pub fn of(config: &Config) -> Self {
        let outputs = config.providers.iter().flat_map(Provider::output_headers);
        let statuses = config.requirements().flat_map(Requirement::status_headers);
        let mut names: FoldedNames = outputs.chain(statuses).map(HeaderName::folded).collect();
        let mut lists = BTreeSet::new();
        let mut written = BTreeSet::new();
        for provider in &config.providers {
            if !config.may_grant_several() {
                written.clear();
            }
            let headers = provider.claim_to_headers.iter().map(|mapping| &mapping.header);
            lists.extend(headers.filter(|header| !written.insert(*header)).cloned());
        }
        let locations = config.providers.iter().flat_map(|provider| &provider.locations);
        let carriers = locations.filter_map(|location| match location {
            Location::Header { name, .. } => Some(name.folded()),
            Location::Query(_) | Location::Cookie(_) => None,
        });
        let carriers: FoldedNames = carriers.collect();
        let removed = || config.providers.iter().flat_map(|provider| &provider.removed_headers);
        let removed_names = removed().filter_map(HeaderPattern::name).filter(|name| !carriers.contains(name));
        removed_names.for_each(|name| names.insert(name.to_vec()));
        let beginnings = removed().filter_map(HeaderPattern::beginning).map(<[u8]>::to_vec).collect();
        Self { names, beginnings, lists, carriers }
    }

    fn are(&self, name: &[u8]) -> bool {
        let begins = |beginning: &Vec<u8>| {
            name.get(..beginning.len()).is_some_and(|start| fold_alike(beginning, start))
        };
        self.names.contains(name) || (self.beginnings.iter().any(begins) && !self.carriers.contains(name))
    }

    /// Whether the proxy may have chosen a route with a policy by a header that goes: it chooses again once it is gone,
    /// and the policy that was read is that of another route.
    pub fn may_have_chosen_the_route(&self, head: &RequestHead, config: &Config) -> bool {
        let have_policies =
            head.attributes().route != RoutePolicy::Rules || config.requirement_map.names().next().is_some();
        have_policies && self.in_head(head).next().is_some()
    }

    /// The names among `names` that a client must not send, each spelling once.
    pub fn forged<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> Few<&'n [u8]> {
        each_once(self.among(names).collect())
    }

    fn in_head<'n>(&self, head: &'n RequestHead) -> impl Iterator<Item = &'n [u8]> {
        // Most names are told apart by their length, before anything else is looked at.
        let may_be = |length| !self.beginnings.is_empty() || self.names.have_length(length);
        self.among(head.names_of_lengths(may_be))
    }

    fn among<'n>(&self, names: impl Iterator<Item = &'n [u8]>) -> impl Iterator<Item = &'n [u8]> {
        names.filter(|name| !name.starts_with(b":") && self.are(name))
    }
}

fn each_once(names: Few<&[u8]>) -> Few<&[u8]> {
    if names.len() <= 1 {
        return names;
    }
    let names: BTreeSet<_> = names.into_iter().collect();
    names.into_iter().collect()
}

impl HeaderEdits {
    /// The edits for a request that was granted.
    pub fn for_grant(head: &RequestHead, config: &Config, owned: &OwnedHeaders, grant: &Grant<'_>) -> Self {
        let mut spent = Few::new();
        for Authenticated { provider, place, .. } in
            grant.identities().filter(|known| !known.provider.forward)
        {
            spent.push((*place).clone());
            spent.extend(passed_over(head, provider, place));
        }
        let mut gone: Few<_> = owned.in_head(head).collect();
        gone.extend(wrapped_headers(head, config));
        for name in spent.iter().filter_map(Place::header) {
            gone.extend(spellings(head, name));
        }
        let mut removals: Few<_> = each_once(gone).into_iter().map(HeaderEdit::remove).collect();
        removals.extend(without_nominations(head, owned));
        removals.extend(without_parameters(head, &spent));
        removals.extend(without_cookies(head, &spent));
        let statuses = grant.status_headers().map(|name| HeaderEdit::replace(name.as_str(), "false"));
        Self { removals, identity: of_identities(grant, owned), statuses: statuses.collect() }
    }

    /// The edits in the order in which they must be made.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderEdit> {
        let identity = self.identity.iter().flat_map(|edits| edits.iter());
        self.removals.iter().chain(identity).chain(&self.statuses)
    }
}

/// The target without the credentials in it; the rest of it stays byte for byte.
fn without_parameters(head: &RequestHead, places: &Few<Place>) -> Option<HeaderEdit> {
    let parameters = places.iter().filter_map(|place| match place {
        Place::Query(parameter) => Some(parameter),
        Place::Header(_) | Place::Cookie(_) => None,
    });
    let spent: Few<_> = parameters.collect();
    if spent.is_empty() {
        return None;
    }
    let is_spent = |name: &[u8]| spent.iter().any(|parameter| is_named(name, parameter));
    let (path, query) = split_target(head.target());
    let pairs: Vec<&[u8]> = query?.split(|byte| *byte == b'&').collect();
    let is_kept = |pair: &&[u8]| !query_pairs(pair).any(|(name, _)| is_spent(name));
    let kept: Vec<&[u8]> = pairs.iter().copied().filter(is_kept).collect();
    if kept.len() == pairs.len() {
        return None;
    }
    let mut target = path.to_vec();
    if !kept.is_empty() {
        target.push(b'?');
        target.extend(kept.join(&b'&'));
    }
    Some(HeaderEdit::replace(":path", target))
}

/// The cookies without those that were credentials; the rest of them stays byte for byte.
fn without_cookies(head: &RequestHead, places: &Few<Place>) -> Option<HeaderEdit> {
    // A client has as many cookies as it likes, and all of them may be spent.
    let cookies = places.iter().filter_map(|place| match place {
        Place::Cookie(cookie) => Some(cookie.as_bytes()),
        Place::Header(_) | Place::Query(_) => None,
    });
    let spent: BTreeSet<_> = cookies.collect();
    if spent.is_empty() {
        return None;
    }
    let is_spent = |name: &[u8]| spent.contains(name);
    let pairs: Vec<&[u8]> = head.values("cookie").flat_map(|line| line.split(|byte| *byte == b';')).collect();
    let is_kept = |pair: &&[u8]| !cookie_pairs(pair).any(|(name, _)| is_spent(name));
    let kept: Vec<&[u8]> = pairs.iter().copied().filter(is_kept).collect();
    if kept.len() == pairs.len() {
        return None;
    }
    let kept = kept.join(&b';');
    let kept = kept.trim_ascii_start();
    Some(if kept.is_empty() { HeaderEdit::remove(b"cookie") } else { HeaderEdit::replace("cookie", kept) })
}

/// What was verified, as headers; made once for a token that is known, and that nobody else goes with. `None` where nobody
/// was verified.
fn of_identities(grant: &Grant<'_>, owned: &OwnedHeaders) -> Option<Rc<[HeaderEdit]>> {
    let mut identities = grant.identities();
    let (first, second) = (identities.next()?, identities.next());
    let make = || identity_headers(grant, owned).into();
    Some(match (first.identity.proof(), second) {
        (Some(proof), None) => Rc::clone(proof.headers.get_or_init(make)),
        _ => make(),
    })
}

/// What was verified, as headers. A header that several claims or providers write is one list. Of several tokens for one
/// provider, the first tells who it is.
fn identity_headers(grant: &Grant<'_>, owned: &OwnedHeaders) -> Vec<HeaderEdit> {
    let mut identities: Vec<&Authenticated<'_>> = Vec::new();
    for identity in grant.identities() {
        if !identities.iter().any(|known| std::ptr::eq(known.provider, identity.provider)) {
            identities.push(identity);
        }
    }
    let mut claims: Vec<(&HeaderName, Vec<String>)> = Vec::new();
    for Authenticated { identity, provider, .. } in &identities {
        for mapping in &provider.claim_to_headers {
            let is_list = owned.lists.contains(&mapping.header);
            let items = match &mapping.source {
                HeaderSource::Text(text) => vec![encode(text, if is_list { b"%," } else { b"%" })],
                HeaderSource::Claim(path) => match identity.claims().at(path) {
                    Some(claim) => items(claim, mapping, is_list),
                    None => continue,
                },
            };
            match claims.iter_mut().find(|(known, _)| **known == mapping.header) {
                Some((_, known)) => known.extend(items),
                None => claims.push((&mapping.header, items)),
            }
        }
    }
    let claims = claims.into_iter().map(|(name, items)| (name, items.join(",")));
    let claims = claims.filter(|(_, value)| !value.is_empty() && value.len() <= MAX_VALUE_BYTES);
    let mut payloads: Vec<(&HeaderName, String)> = Vec::new();
    for Authenticated { identity, provider, .. } in &identities {
        let Some(PayloadHeader { name, is_padded }) = &provider.forward_payload_header else { continue };
        let segment = identity.payload_segment();
        let missing = if *is_padded { segment.len().wrapping_neg() % 4 } else { 0 };
        let payload = format!("{segment}{}", "=".repeat(missing));
        match payloads.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.extend([",", &payload]),
            None => payloads.push((name, payload)),
        }
    }
    // Payloads are bounded by the bound for tokens.
    claims.chain(payloads).map(|(name, value)| HeaderEdit::replace(name.as_str(), value)).collect()
}

/// `connection` without the owned headers that it nominates: the next proxy would remove them as hop-by-hop (RFC 9110
/// section 7.6.1), and the upstream would take the request for an anonymous one.
fn without_nominations(head: &RequestHead, owned: &OwnedHeaders) -> Option<HeaderEdit> {
    let options =
        || head.values("connection").flat_map(|line| line.split(|byte| *byte == b',')).map(trim_ows);
    if !options().any(|option| owned.are(option)) {
        return None;
    }
    let kept: Vec<&[u8]> = options().filter(|option| !owned.are(option)).collect();
    if kept.is_empty() {
        Some(HeaderEdit::remove(b"connection"))
    } else {
        Some(HeaderEdit::replace("connection", kept.join(&b", "[..])))
    }
}

/// A claim as the items of a header value. In a list, a comma must not make two items of one.
fn items(claim: &Json<'_>, mapping: &ClaimToHeader, is_list: bool) -> Vec<String> {
    let special: &[u8] = if is_list { b"%," } else { b"%" };
    match (mapping.encoding, claim) {
        (_, Json::Null) => Vec::new(),
        (ClaimEncoding::Csv, Json::Array(items)) => {
            items.iter().map(|item| encode(&plain_text(item), b"%,")).collect()
        }
        (ClaimEncoding::Csv, _) => vec![encode(&plain_text(claim), special)],
        (ClaimEncoding::Space, Json::Array(items)) => {
            let items: Vec<_> =
                items.iter().map(|item| encode(&plain_text(item), b"%").replace(' ', "%20")).collect();
            vec![if is_list { encode(&items.join(" "), b",") } else { items.join(" ") }]
        }
        (ClaimEncoding::Space, _) => vec![encode(&plain_text(claim), special)],
        (ClaimEncoding::Json, _) => vec![encode(&claim.to_string(), special)],
        (ClaimEncoding::Base64url, _) => vec![base64url::encode(claim.to_string().as_bytes())],
        (ClaimEncoding::Envoy, Json::Array(_) | Json::Object(_)) => vec![STANDARD.encode(claim.to_string())],
        (ClaimEncoding::Envoy, Json::Number(number)) => vec![envoys_number(number)],
        // As it is, which native backends expect, but for what could be taken for an encoding, or for another item.
        (ClaimEncoding::Envoy, _) => {
            let text = plain_text(claim);
            let looks_encoded =
                text.contains('%') && percent_decode_leniently(text.as_bytes()) != text.as_bytes();
            let special: &[u8] = match (looks_encoded, is_list) {
                (true, true) => b"%,",
                (true, false) => b"%",
                (false, true) => b",",
                (false, false) => b"",
            };
            vec![encode(&text, special)]
        }
    }
}

fn plain_text<'v>(value: &'v Json<'_>) -> Cow<'v, str> {
    match value {
        Json::String(string) => Cow::Borrowed(string),
        Json::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

/// A number as `jwt_authn` writes it: whole from zero on, else with six decimals. A whole number keeps its digits, where
/// the native filter rounds it to a double: two users must not become one.
fn envoys_number(number: &Number<'_>) -> String {
    let text = number.as_str();
    let value = number.as_f64();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.to_owned()
    } else if value >= 0.0 && value.fract() == 0.0 && value < 18_446_744_073_709_551_616.0 {
        format!("{:.0}", value.abs())
    } else {
        format!("{value:.6}")
    }
}

/// Printable ASCII as it is; every other byte, those in `special`, and a space at either end as `%XX`. The result is a
/// field value on every server (RFC 9110 section 5.5), and `%`-decoding gives back exactly what was signed.
fn encode(text: &str, special: &[u8]) -> String {
    let last = text.len().saturating_sub(1);
    let stays = |position: usize, byte: u8| {
        let is_inner_space = byte == b' ' && position != 0 && position != last;
        (byte.is_ascii_graphic() && !special.contains(&byte)) || is_inner_space
    };
    if text.bytes().enumerate().all(|(position, byte)| stays(position, byte)) {
        return text.to_owned();
    }
    let mut encoded = String::with_capacity(text.len());
    for (position, byte) in text.bytes().enumerate() {
        if stays(position, byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::percent_decode;
    use proptest::prelude::*;

    fn value(claim: &str) -> String {
        encoded(claim, ClaimEncoding::Csv)
    }

    fn encoded(claim: &str, encoding: ClaimEncoding) -> String {
        items(&Json::parse(claim.as_bytes()).unwrap(), &mapping(encoding), false).join(",")
    }

    fn mapping(encoding: ClaimEncoding) -> ClaimToHeader {
        ClaimToHeader {
            header: HeaderName::for_test("x"),
            source: HeaderSource::Claim(vec!["c".to_owned()]),
            encoding,
        }
    }

    #[test]
    fn claims_are_encoded_as_the_mapping_asks() {
        for (claim, json, base64url, envoy) in [
            (r#""a é,%""#, r#""a %C3%A9,%25""#, "ImEgw6ksJSI", "a %C3%A9,%"),
            ("5", "5", "NQ", "5"),
            (
                "18446744073709551617",
                "18446744073709551617",
                "MTg0NDY3NDQwNzM3MDk1NTE2MTc",
                "18446744073709551617",
            ),
            ("-5", "-5", "LTU", "-5.000000"),
            ("1.5", "1.5", "MS41", "1.500000"),
            ("1e2", "1e2", "MWUy", "100"),
            ("-0", "-0", "LTA", "0"),
            ("true", "true", "dHJ1ZQ", "true"),
            (r#"["a", "b"]"#, r#"["a","b"]"#, "WyJhIiwiYiJd", "WyJhIiwiYiJd"),
            (r#"{"a": 1}"#, r#"{"a":1}"#, "eyJhIjoxfQ", "eyJhIjoxfQ=="),
            ("[]", "[]", "W10", "W10="),
            ("null", "", "", ""),
        ] {
            assert_eq!(encoded(claim, ClaimEncoding::Json), json, "{claim}");
            assert_eq!(encoded(claim, ClaimEncoding::Base64url), base64url, "{claim}");
            assert_eq!(encoded(claim, ClaimEncoding::Envoy), envoy, "{claim}");
        }
    }

    #[test]
    fn claims_become_readable_values() {
        for (claim, expected) in [
            (r#""alice""#, "alice"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("-5", "-5"),
            ("1.50", "1.50"),
            ("true", "true"),
            (r#"["admin","dev"]"#, "admin,dev"),
            (r#"["a,b","c"]"#, "a%2Cb,c"),
            (r#"[1,true,{"a": [1, 2]}]"#, r#"1,true,{"a":[1%2C2]}"#),
            (r#"{"a": 1, "b": "é"}"#, r#"{"a":1,"b":"%C3%A9"}"#),
            (r#""a, b""#, "a, b"),
            ("null", ""),
            ("[]", ""),
            (r#""""#, ""),
        ] {
            assert_eq!(value(claim), expected, "{claim}");
        }
    }

    #[test]
    fn no_claim_can_put_a_control_byte_or_another_header_into_the_request() {
        assert_eq!(value(r#""a\r\nx-admin: 1\u0000\u007f\t""#), "a%0D%0Ax-admin: 1%00%7F%09");
        assert_eq!(value(r#""100%""#), "100%25");
        assert_eq!(value(r#"" admin ""#), "%20admin%20");
        assert_eq!(value("\"\u{85}\u{2028}\""), "%C2%85%E2%80%A8");
    }

    proptest! {
        #[test]
        fn every_string_is_a_field_value_and_decodes_to_itself(text: String) {
            let encoded = encode(&text, b"%");
            prop_assert!(encoded.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            prop_assert_eq!(encoded.trim(), &encoded);
            prop_assert_eq!(percent_decode(encoded.as_bytes()).unwrap(), text.as_bytes());
        }

        #[test]
        fn a_list_can_be_taken_apart_again(items in prop::collection::vec(".+", 1..5)) {
            let array = Json::Array(items.iter().map(|item| Json::String(item.as_str().into())).collect());
            let joined = super::items(&array, &mapping(ClaimEncoding::Csv), false).join(",");
            let back: Vec<_> = joined.split(',').map(|item| percent_decode(item.as_bytes()).unwrap()).collect();
            prop_assert_eq!(back, items.iter().map(|item| item.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }

    fn head(fields: &[(&str, &str)]) -> RequestHead {
        let bytes = |text: &str| text.as_bytes().to_vec();
        RequestHead::new(fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect())
    }

    #[test]
    fn only_the_credential_leaves_its_place() {
        let cookie = |line| {
            without_cookies(&head(&[("cookie", line)]), &[Place::Cookie("s".into())].into_iter().collect())
        };
        let replaced = |value: &str| Some(HeaderEdit::replace("cookie", value));
        assert_eq!(cookie("a=1; s=t; b=\"2\""), replaced("a=1; b=\"2\""));
        assert_eq!(cookie("s=t; b=2"), replaced("b=2"));
        assert_eq!(cookie("ss=1;s=t;  as=3"), replaced("ss=1;  as=3"));
        assert_eq!(cookie("s=t"), Some(HeaderEdit::remove(b"cookie")));

        let query = |path| {
            without_parameters(&head(&[(":path", path)]), &[Place::Query("t".into())].into_iter().collect())
        };
        let replaced = |value: &str| Some(HeaderEdit::replace(":path", value));
        assert_eq!(query("/a?x=%2F&t=s&&y"), replaced("/a?x=%2F&&y"));
        assert_eq!(query("/a?%74=s"), replaced("/a"));
    }

    #[test]
    fn a_client_cannot_have_the_next_proxy_remove_an_identity_header() {
        let owned =
            OwnedHeaders { names: [fold(b"x-user-id")].into_iter().collect(), ..OwnedHeaders::default() };
        let edit = |value| without_nominations(&head(&[("connection", value)]), &owned);
        assert_eq!(edit("Upgrade, X-User-Id"), Some(HeaderEdit::replace("connection", "Upgrade")));
        assert_eq!(edit("x_user_id"), Some(HeaderEdit::remove(b"connection")));
        assert_eq!(edit("keep-alive, Upgrade"), None);
        assert_eq!(without_nominations(&head(&[]), &owned), None);
    }

    #[test]
    fn every_spelling_of_an_owned_header_is_forged() {
        let owned =
            OwnedHeaders { names: [fold(b"x-user-id")].into_iter().collect(), ..OwnedHeaders::default() };
        let names =
            [&b"x-user-id"[..], b"X-User-Id", b"x_user_id", b"X-User_ID", b"x.user.id", b"x-user", b":path"];
        let forged = owned.forged(names.into_iter());
        assert_eq!(forged.len(), 5, "{forged:?}");
        assert!(!forged.contains(&&b"x-user"[..]));
    }
}
