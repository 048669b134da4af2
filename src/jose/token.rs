//! The compact serialisation of a signed token (RFC 7515 section 7.1), parsed but not yet believed.
//!
//! Takes the characters of a credential, gives its decoded parts. Everything that can be refused without a key is
//! refused here, so that junk never causes a key to be fetched. Deliberately ignores every header member through which
//! a token could bring its own key (`jwk`, `jku`, `x5u`, `x5c`).

use std::borrow::Cow;
use std::fmt;

use crate::jose::algorithm::Algorithm;
use crate::jose::base64url;
use crate::jose::claims::MalformedClaim;
use crate::json::{Json, JsonError, Object};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The longest `kid` that is looked at, in bytes.
const MAX_KID_BYTES: usize = 512;

/// Kinds of token that are never an access credential, by their `typ` (RFC 8725 section 3.11): whoever signs them
/// signs with the same keys, for another purpose.
const FOREIGN_TYPES: [&str; 5] =
    ["dpop+jwt", "logout+jwt", "secevent+jwt", "statuslist+jwt", "token-introspection+jwt"];

/// The three parts of a token, decoded; [`UnverifiedToken`] borrows them.
#[derive(Clone, Debug)]
pub struct CompactToken<'t> {
    text: Cow<'t, str>,
    /// Where the two dots are.
    dots: (usize, usize),
    header: Cow<'t, [u8]>,
    payload: Cow<'t, [u8]>,
    signature: Cow<'t, [u8]>,
}

/// A token whose form is right and whose signature is still unknown. Nothing in it may be trusted or reported.
#[derive(Debug)]
pub struct UnverifiedToken<'t> {
    /// The parts it was read from; without the payload, which is below.
    pub compact: CompactToken<'t>,
    /// The header.
    pub header: JoseHeader,
    /// All members of the header.
    pub header_members: Object<'t>,
    /// The payload.
    pub payload: Object<'t>,
}

/// What a token's header says about its signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JoseHeader {
    /// `alg`, as the token claims it.
    pub algorithm: Algorithm,
    /// `kid`, as the token claims it; an empty one is a `kid`, not "none".
    pub key_id: Option<String>,
    /// `typ`, in the form of [`comparable_media_type`].
    pub media_type: Option<String>,
}

/// Why a credential is not a token that a key could verify.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TokenError {
    /// `alg` is missing or not a string (RFC 7515 section 4.1.1).
    Algorithm,
    /// A registered claim has a wrong form.
    Claim(MalformedClaim),
    /// The header names extensions that must be understood, or changes how the payload is read (`crit`, `b64`, `zip`):
    /// none is supported (RFC 7515 section 4.1.11, RFC 7797 section 7).
    CriticalHeader {
        /// The header member.
        name: &'static str,
    },
    /// The payload is itself a token (`cty: JWT`).
    Nested,
    /// `kid` is not a string, or longer than 512 bytes.
    KeyId,
    /// A part is not canonical base64url.
    NotBase64url {
        /// `header`, `payload` or `signature`.
        part: &'static str,
    },
    /// The header or the payload is not a strict JSON object.
    NotJson {
        /// `header` or `payload`.
        part: &'static str,
        /// What is wrong with it.
        error: JsonError,
    },
    /// Not three parts with a dot between each.
    Segments,
    /// Longer than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// `alg` is not one that can be verified.
    UnsupportedAlgorithm,
    /// `typ` is not a string, or names a kind of token that is never a credential.
    Type,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm => f.write_str("alg is missing or not a string"),
            Self::Claim(error) => write!(f, "{error}"),
            Self::CriticalHeader { name } => write!(f, "the header member {name:?} is not supported"),
            Self::Nested => f.write_str("a token inside a token"),
            Self::KeyId => write!(f, "kid is not a string of at most {MAX_KID_BYTES} bytes"),
            Self::NotBase64url { part } => write!(f, "the {part} is not canonical base64url"),
            // Without the error, which may name a member of the token.
            Self::NotJson { part, .. } => write!(f, "the {part} is not a strict JSON object"),
            Self::Segments => f.write_str("not three segments"),
            Self::TooLong => write!(f, "longer than {MAX_TOKEN_BYTES} bytes"),
            Self::UnsupportedAlgorithm => f.write_str("alg is not supported"),
            Self::Type => f.write_str("typ is not that of a credential"),
        }
    }
}

impl std::error::Error for TokenError {}

/// How the parts of a token are spelled. Either way each has one spelling alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spelling {
    /// As RFC 7515 has it: without padding.
    Standard,
    /// With padding, all three of them.
    Padded,
}

impl Spelling {
    fn decode(self, part: &str) -> Option<Vec<u8>> {
        match self {
            Self::Standard => base64url::decode(part.as_bytes()),
            Self::Padded => base64url::decode_padded(part.as_bytes()),
        }
    }
}

/// Whether a credential means to be such a token: of three parts, the first of which begins like a JSON object. All
/// others are opaque.
pub fn is_token(credential: &str, spelling: Spelling) -> bool {
    let mut parts = credential.split('.');
    let header = parts.next().and_then(|part| spelling.decode(part));
    parts.count() == 2 && header.is_some_and(|header| header.trim_ascii_start().starts_with(b"{"))
}

impl<'t> CompactToken<'t> {
    /// Splits `token` at its two dots and decodes the three parts, which have no padding.
    ///
    /// # Errors
    ///
    /// [`TokenError::TooLong`], [`TokenError::Segments`], [`TokenError::NotBase64url`].
    pub fn decode(token: &'t str) -> Result<Self, TokenError> {
        Self::decode_as(token, Spelling::Standard)
    }

    /// The same with parts that are spelled like this.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    pub fn decode_as(token: &'t str, spelling: Spelling) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let (header, rest) = token.split_once('.').ok_or(TokenError::Segments)?;
        let (payload_segment, signature) = rest.split_once('.').ok_or(TokenError::Segments)?;
        let decode = |segment: &str, part| match spelling.decode(segment) {
            Some(bytes) => Ok(Cow::Owned(bytes)),
            // A third dot is no base64url either.
            None if signature.contains('.') => Err(TokenError::Segments),
            None => Err(TokenError::NotBase64url { part }),
        };
        Ok(Self {
            text: Cow::Borrowed(token),
            dots: (header.len(), header.len() + 1 + payload_segment.len()),
            header: decode(header, "header")?,
            payload: decode(payload_segment, "payload")?,
            signature: decode(signature, "signature")?,
        })
    }

    /// The whole token as it was sent.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What was signed: header and payload as they were sent, with the dot between.
    pub fn signing_input(&self) -> &[u8] {
        self.text.as_bytes().get(..self.dots.1).unwrap_or_default()
    }

    /// The decoded header.
    pub fn header_text(&self) -> &[u8] {
        &self.header
    }

    /// The payload segment as it was sent, but for its padding.
    pub fn payload_segment(&self) -> &str {
        let (first, second) = self.dots;
        self.text.get(first + 1..second).unwrap_or_default().trim_end_matches('=')
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Reads header and payload.
    ///
    /// # Errors
    ///
    /// Those of [`header`](Self::header), and [`TokenError::NotJson`] for the payload.
    pub fn parse(&'t self) -> Result<UnverifiedToken<'t>, TokenError> {
        let header_members = self.header_members()?;
        let header = JoseHeader::of(&header_members)?;
        let payload =
            Object::parse(&self.payload).map_err(|error| TokenError::NotJson { part: "payload", error })?;
        Ok(UnverifiedToken { compact: self.without_payload(), header, header_members, payload })
    }

    fn without_payload(&self) -> CompactToken<'_> {
        CompactToken {
            text: Cow::Borrowed(&self.text),
            dots: self.dots,
            header: Cow::Borrowed(&self.header),
            payload: Cow::Borrowed(&[]),
            signature: Cow::Borrowed(&self.signature),
        }
    }

    /// Reads the header alone.
    ///
    /// # Errors
    ///
    /// [`TokenError::NotJson`], [`TokenError::CriticalHeader`], [`TokenError::Type`], [`TokenError::Nested`],
    /// [`TokenError::Algorithm`], [`TokenError::UnsupportedAlgorithm`], [`TokenError::KeyId`].
    pub fn header(&self) -> Result<JoseHeader, TokenError> {
        JoseHeader::of(&self.header_members()?)
    }

    fn header_members(&self) -> Result<Object<'_>, TokenError> {
        Object::parse(&self.header).map_err(|error| TokenError::NotJson { part: "header", error })
    }
}

impl UnverifiedToken<'_> {
    /// The memory that it holds besides itself, in bytes, when it borrows from nothing.
    pub fn heap_bytes(&self) -> usize {
        let CompactToken { text, header, payload, signature, .. } = &self.compact;
        let compact = text.len() + header.len() + payload.len() + signature.len();
        compact + self.header_members.heap_bytes() + self.payload.heap_bytes()
    }

    /// The same token, borrowing from nothing.
    pub fn to_owned(&self) -> UnverifiedToken<'static> {
        let CompactToken { text, dots, header, payload, signature } = self.compact.clone();
        UnverifiedToken {
            compact: CompactToken {
                text: Cow::Owned(text.into_owned()),
                dots,
                header: Cow::Owned(header.into_owned()),
                payload: Cow::Owned(payload.into_owned()),
                signature: Cow::Owned(signature.into_owned()),
            },
            header: self.header.clone(),
            header_members: self.header_members.clone().into_owned(),
            payload: self.payload.clone().into_owned(),
        }
    }
}

impl JoseHeader {
    fn of(header: &Object<'_>) -> Result<Self, TokenError> {
        for name in ["crit", "b64", "zip"] {
            if header.get(name).is_some() {
                return Err(TokenError::CriticalHeader { name });
            }
        }
        let media_type = media_type(header)?;
        let algorithm = header.get("alg").and_then(Json::as_str).ok_or(TokenError::Algorithm)?;
        let algorithm = Algorithm::from_name(algorithm).ok_or(TokenError::UnsupportedAlgorithm)?;
        let key_id = match header.get("kid") {
            None => None,
            Some(Json::String(kid)) if kid.len() <= MAX_KID_BYTES => Some(kid.clone().into_owned()),
            Some(_) => return Err(TokenError::KeyId),
        };
        Ok(Self { algorithm, key_id, media_type })
    }
}

/// `typ` as it is compared; `typ` and `cty` are media types, whose `application/` may be left out and whose case does
/// not matter (RFC 7515 sections 4.1.9 and 4.1.10).
fn media_type(header: &Object<'_>) -> Result<Option<String>, TokenError> {
    let typ = match header.get("typ") {
        None => None,
        Some(Json::String(typ)) => Some(comparable_media_type(typ)),
        Some(_) => return Err(TokenError::Type),
    };
    if typ.as_deref().is_some_and(|typ| FOREIGN_TYPES.contains(&typ)) {
        return Err(TokenError::Type);
    }
    match header.get("cty") {
        None => Ok(typ),
        Some(Json::String(cty)) if comparable_media_type(cty) != "jwt" => Ok(typ),
        Some(_) => Err(TokenError::Nested),
    }
}

/// A media type in lower case, without an `application/` in front.
pub fn comparable_media_type(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    match text.strip_prefix("application/") {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.AAAA", base64url::encode(header.as_bytes()), base64url::encode(payload.as_bytes()))
    }

    fn parse(token: &str) -> Result<(), TokenError> {
        CompactToken::decode(token)?.parse().map(|_| ())
    }

    fn parse_header(header: &str) -> Result<(), TokenError> {
        parse(&token(header, "{}"))
    }

    #[test]
    fn a_token_has_exactly_three_segments() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        assert_eq!(parse(&good), Ok(()));
        for bad in [
            format!(".{good}"),
            format!("{good}."),
            format!("{good}.AAAA"),
            good.replacen('.', "..", 1),
            good.rsplit_once('.').unwrap().0.to_owned(),
            "e30".to_owned(),
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            ".".repeat(8000),
        ] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_with_padding_is_one_only_where_it_may_have_it_and_only_with_all_of_it() {
        let parts = ["eyJhbGciOiJSUzI1NiJ9", "e30=", "AA=="];
        let token = parts.join(".");
        assert_eq!(parse(&token), Err(TokenError::NotBase64url { part: "payload" }));
        let padded = CompactToken::decode_as(&token, Spelling::Padded).unwrap();
        assert!(padded.parse().is_ok());
        assert_eq!(padded.signing_input(), parts[..2].join(".").as_bytes(), "as it was sent");
        assert_eq!((padded.payload_segment(), padded.signature()), ("e30", &[0][..]));
        for bad in [
            token.replace("e30=", "e30"),
            token.replace("AA==", "AA"),
            token.replace("AA==", "AA="),
            token.replace("AA==", "AB=="),
            format!("{token}="),
            token.replacen('.', "=.", 1),
        ] {
            assert!(CompactToken::decode_as(&bad, Spelling::Padded).is_err(), "{bad}");
        }
        assert!(is_token("eyJhIjowfQ==.e30=.AA==", Spelling::Padded));
        assert!(!is_token("eyJhIjowfQ==.e30=.AA==", Spelling::Standard));
    }

    #[test]
    fn a_token_longer_than_the_limit_is_refused_before_it_is_decoded() {
        let long = format!("{}.e30.AAAA", "A".repeat(MAX_TOKEN_BYTES));
        assert_eq!(parse(&long), Err(TokenError::TooLong));
    }

    #[test]
    fn extensions_that_change_the_meaning_of_a_token_are_refused() {
        for name in ["crit", "b64", "zip"] {
            for value in ["[]", r#"["b64"]"#, "true", "null", r#""DEF""#] {
                let header = format!(r#"{{"alg":"RS256","{name}":{value}}}"#);
                assert_eq!(parse_header(&header), Err(TokenError::CriticalHeader { name }), "{header}");
            }
        }
        assert_eq!(parse_header(r#"{"alg":"RS256","cty":"JWT"}"#), Err(TokenError::Nested));
        assert_eq!(parse_header(r#"{"alg":"RS256","cty":"application/jwt"}"#), Err(TokenError::Nested));
    }

    #[test]
    fn tokens_of_another_kind_are_never_credentials() {
        for typ in [
            "dpop+jwt",
            "application/logout+jwt",
            "SecEvent+JWT",
            "statuslist+jwt",
            "token-introspection+jwt",
        ] {
            let header = format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#);
            assert_eq!(parse_header(&header), Err(TokenError::Type), "{typ}");
        }
        for typ in [r#""JWT""#, r#""at+jwt""#, r#""application/at+jwt""#, r#""""#] {
            assert_eq!(parse_header(&format!(r#"{{"alg":"RS256","typ":{typ}}}"#)), Ok(()), "{typ}");
        }
        assert_eq!(parse_header(r#"{"alg":"RS256","typ":1}"#), Err(TokenError::Type));
    }

    #[test]
    fn algorithm_and_key_id_are_strings() {
        for header in ["{}", r#"{"alg":null}"#, r#"{"alg":0}"#, r#"{"alg":["RS256"]}"#] {
            assert_eq!(parse_header(header), Err(TokenError::Algorithm), "{header}");
        }
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(513));
        for header in [r#"{"alg":"RS256","kid":null}"#, r#"{"alg":"RS256","kid":1}"#, &long] {
            assert_eq!(parse_header(header), Err(TokenError::KeyId), "{header}");
        }
    }

    #[test]
    fn the_payload_is_one_strict_object() {
        for payload in ["[]", "1", "\"x\"", "null", "", "{} {}", r#"{"sub":"a","sub":"b"}"#, "{'a':1}"] {
            let error = parse(&token(r#"{"alg":"RS256"}"#, payload));
            assert!(matches!(error, Err(TokenError::NotJson { part: "payload", .. })), "{payload}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn any_bytes_as_parts_are_parsed_or_refused(header: Vec<u8>, payload: Vec<u8>, signature: Vec<u8>) {
            let parts = [header, payload, signature].map(|part| base64url::encode(&part));
            let _ = parse(&parts.join("."));
        }
    }
}
