//! Every refusal, in one place: status, challenge, body, metric label and log text.
//!
//! Takes the reason a stage gives, gives the local reply. The only home of status codes. Until a signature has been
//! verified every reason inside the token gives one uniform answer, so that a forger learns nothing; the precise
//! reason goes to the log alone. Nothing of the request is reflected, except its URL in the wording of Envoy.

mod jwt_status;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::browser_session::{Redirect, SignedOut};
use crate::config::{Answers, Denial, Wording};
use crate::request::{RequestHead, split_target};
use crate::verify::VerifyError;

pub use jwt_status::JwtStatus;

/// The longest URL in a challenge in Envoy's wording, in bytes (envoy `jwt_authn/filter.cc`).
const MAX_URL_BYTES: usize = 256;

/// Why a request is not let through.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rejection {
    /// The path can be read in ways that fall under different rules.
    AmbiguousRequest,
    /// A cookie is the credential, and another site may have had the browser make the request.
    CrossSite,
    /// A header that only the filter may write, where it may have chosen the route whose policy counts.
    ForgedHeader,
    /// What the identity provider would say of the session cannot be found out.
    CheckUnavailable {
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
    /// The host did not do what the filter needed, such as removing a header.
    HostFailure {
        /// The host call and its status, for the log.
        detail: String,
    },
    /// The credential is not a verified one.
    InvalidToken(VerifyError),
    /// No usable keys are held and none could be fetched.
    KeysUnavailable {
        /// When it makes sense to ask again.
        retry_after: Duration,
    },
    /// The credential is not of the form its place asks for, such as `Bearer` without a token.
    MalformedCredential,
    /// The rule needs a credential and the request has none.
    MissingCredential,
    /// More than one credential (RFC 6750 section 2).
    MultipleCredentials,
    /// No rule matches and the configuration says `"default": "deny"`.
    NoRule,
    /// The identity provider says no.
    SessionDenied(Denial),
    /// The browser is signed out.
    SignedOut(Box<SignedOut>),
    /// Too many requests wait for keys or answers already.
    Overloaded,
    /// The host does not show all of its header.
    UnreadableHeader {
        /// Why, for the log.
        reason: &'static str,
    },
    /// The route asks for a requirement that the configuration does not have.
    UnknownRequirementName {
        /// The name in the route's metadata.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
}

/// A response that the gateway gives in place of the upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body, `text/plain`. Empty only on request: some hosts put a page of their own in place of an empty one.
    pub body: Cow<'static, str>,
    /// A short name of the reason for access logs, `edge_authn_` and the rejection's label.
    pub details: String,
}

/// How a refusal looks from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its name in metrics and access logs.
    pub label: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The error code of the challenge (RFC 6750 section 3.1).
    pub error: Option<&'static str>,
    /// The body, and the `error_description` of the challenge.
    pub description: &'static str,
}

const INVALID_REQUEST: Option<&str> = Some("invalid_request");
const INVALID_TOKEN: Option<&str> = Some("invalid_token");

/// Declares the answers and their list, so that none is missing from it.
macro_rules! answers {
    ($($name:ident = $label:literal, $status:literal, $error:expr, $description:literal;)*) => {
        $(const $name: Answer =
            Answer { label: $label, status: $status, error: $error, description: $description };)*

        impl Answer {
            /// Every answer there is; the README's table of refusals is held equal to these by a test.
            pub const ALL: &[Self] = &[$($name),*];
        }
    };
}

answers! {
    MISSING_CREDENTIAL = "missing_credential", 401, None, "Authentication is required";
    MALFORMED_CREDENTIAL = "malformed_credential", 401, INVALID_TOKEN, "The access token is not valid";
    MULTIPLE_CREDENTIALS = "multiple_credentials", 400, INVALID_REQUEST, "More than one access token was sent";
    NOT_VERIFIED = "invalid_token", 401, INVALID_TOKEN, "The access token is not valid";
    EXPIRED = "expired", 401, INVALID_TOKEN, "The access token expired";
    NO_EXPIRATION = "no_expiration", 401, INVALID_TOKEN, "The access token has no expiration time";
    NOT_YET_VALID = "not_yet_valid", 401, INVALID_TOKEN, "The access token is not valid yet";
    SUBJECT = "subject", 401, INVALID_TOKEN, "The subject of the access token is not allowed";
    LIFETIME = "lifetime", 401, INVALID_TOKEN, "The access token lives too long";
    AUDIENCE = "audience", 401, INVALID_TOKEN, "The access token is not meant for this service";
    SUPERSEDED = "superseded", 401, INVALID_TOKEN, "The access token was replaced by another one";
    HANDSHAKE = "handshake", 307, None, "The session is to be renewed";
    TOKEN_TYPE = "token_type", 401, INVALID_TOKEN, "The access token is of another kind";
    AUTHORIZED_PARTY =
        "authorized_party", 401, INVALID_TOKEN, "The access token was issued to another party";
    CLAIM = "claim", 401, INVALID_TOKEN, "A claim of the access token is not allowed";
    SESSION_DENIED = "session_denied", 401, INVALID_TOKEN, "The access token is not valid";
    ACCESS_DENIED = "access_denied", 403, None, "Access is denied";
    AMBIGUOUS_REQUEST = "ambiguous_request", 400, None, "The request is ambiguous";
    CROSS_SITE = "cross_site", 403, None, "The request comes from another site";
    FORGED_HEADER = "forged_header", 400, None, "The request has a header that it must not have";
    UNREADABLE_HEADER = "unreadable_header", 400, None, "The header of the request cannot be read";
    NO_RULE = "no_rule", 403, None, "Access is denied";
    UNKNOWN_REQUIREMENT = "unknown_requirement", 403, None, "Access is denied";
    KEYS_UNAVAILABLE =
        "keys_unavailable", 503, None, "The keys to verify the access token are not available";
    CHECK_UNAVAILABLE =
        "check_unavailable", 503, None, "The session behind the access token cannot be checked";
    OVERLOADED = "overloaded", 503, None, "Too many requests are waiting to be authenticated";
    HOST_FAILURE = "host_failure", 500, None, "The gateway could not process the request";
}

impl Rejection {
    /// The name of this refusal in metrics and access logs.
    pub fn label(&self) -> &'static str {
        self.answer().label
    }

    /// The HTTP status of this refusal.
    pub fn status(&self) -> u16 {
        self.answer().status
    }

    /// Whether it tells the client to authenticate (401).
    pub fn is_challenge(&self) -> bool {
        self.status() == 401
    }

    /// The response to give to the request of this `head`.
    pub fn reply(&self, answers: &Answers, head: &RequestHead) -> Reply {
        let (status, body, challenge) = match answers.wording {
            Wording::Envoy if self.is_known_to_envoy() => self.in_envoys_words(head),
            _ => {
                let Answer { status, error, description, .. } = *self.answer();
                let challenge = challenge(status, &answers.realm, error, description);
                (status, Cow::Borrowed(description), challenge)
            }
        };
        let is_stripped = answers.strip && matches!(status, 401 | 403);
        let mut headers = vec![("cache-control", "no-store".to_owned())];
        if !is_stripped {
            headers.push(("content-type", "text/plain".to_owned()));
            headers.extend(challenge.map(|challenge| ("www-authenticate", challenge)));
        }
        if let Self::SignedOut(signed_out) = self {
            headers.extend(session_headers(signed_out, body.as_ref(), is_stripped));
        }
        if status == 503 {
            headers.push(("retry-after", self.retry_after().to_string()));
        }
        let body = if is_stripped { Cow::Borrowed("") } else { body };
        Reply { status, headers, body, details: format!("edge_authn_{}", self.label()) }
    }

    /// Whether there is no credential that counts, rather than one that is not good.
    pub fn is_of_missing_credential(&self) -> bool {
        match self {
            Self::MissingCredential => true,
            Self::SignedOut(signed_out) => signed_out.error.is_none(),
            _ => false,
        }
    }

    /// Whether `jwt_authn` refuses for this reason, too.
    fn is_known_to_envoy(&self) -> bool {
        if let Self::SignedOut(signed_out) = self {
            return signed_out.redirect.is_none();
        }
        !matches!(
            self,
            Self::AmbiguousRequest
                | Self::ForgedHeader
                | Self::HostFailure { .. }
                | Self::NoRule
                | Self::Overloaded
                | Self::CheckUnavailable { .. }
                | Self::SessionDenied(_)
                | Self::UnreadableHeader { .. }
        )
    }

    /// Status, body and challenge of `jwt_authn` (envoy `jwt_authn/filter.cc`).
    fn in_envoys_words(&self, head: &RequestHead) -> (u16, Cow<'static, str>, Option<String>) {
        if let Self::UnknownRequirementName { name, known } = self {
            let known = known.join(",");
            let body = format!(
                "Failed JWT authentication: Wrong requirement_name: {name}. It should be one of [{known}]"
            );
            return (403, Cow::Owned(body), None);
        }
        let status = self.jwt_status();
        let error = if status.has_error() { ", error=\"invalid_token\"" } else { "" };
        let challenge = format!("Bearer realm=\"{}\"{error}", url(head));
        (status.http_status(), Cow::Borrowed(status.text), Some(challenge))
    }

    /// Whole seconds until it makes sense to ask again, at least one.
    fn retry_after(&self) -> u64 {
        match self {
            Self::KeysUnavailable { retry_after } | Self::CheckUnavailable { retry_after } => {
                retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0)).max(1)
            }
            _ => 1,
        }
    }

    /// How this refusal looks from outside.
    pub fn answer(&self) -> &'static Answer {
        match self {
            Self::AmbiguousRequest => &AMBIGUOUS_REQUEST,
            Self::CheckUnavailable { .. } => &CHECK_UNAVAILABLE,
            Self::ForgedHeader => &FORGED_HEADER,
            Self::HostFailure { .. } => &HOST_FAILURE,
            Self::InvalidToken(error) => of_token(error),
            Self::SignedOut(signed_out) => match (&signed_out.redirect, &signed_out.error) {
                (Some(_), _) => &HANDSHAKE,
                (None, Some(error)) => of_token(error),
                (None, None) => &MISSING_CREDENTIAL,
            },
            Self::CrossSite => &CROSS_SITE,
            Self::KeysUnavailable { .. } => &KEYS_UNAVAILABLE,
            Self::MalformedCredential => &MALFORMED_CREDENTIAL,
            Self::MissingCredential => &MISSING_CREDENTIAL,
            Self::MultipleCredentials => &MULTIPLE_CREDENTIALS,
            Self::NoRule => &NO_RULE,
            Self::Overloaded => &OVERLOADED,
            Self::SessionDenied(Denial::Session) => &SESSION_DENIED,
            Self::SessionDenied(Denial::Access) => &ACCESS_DENIED,
            Self::UnknownRequirementName { .. } => &UNKNOWN_REQUIREMENT,
            Self::UnreadableHeader { .. } => &UNREADABLE_HEADER,
        }
    }
}

const fn of_token(error: &VerifyError) -> &'static Answer {
    match error {
        VerifyError::Audience => &AUDIENCE,
        VerifyError::AuthorizedParty => &AUTHORIZED_PARTY,
        VerifyError::Claim { .. } => &CLAIM,
        VerifyError::Expired => &EXPIRED,
        VerifyError::Form(_) | VerifyError::Signature(_) | VerifyError::UnknownIssuer => &NOT_VERIFIED,
        VerifyError::Lifetime => &LIFETIME,
        VerifyError::MissingExpiration => &NO_EXPIRATION,
        VerifyError::NotYetValid => &NOT_YET_VALID,
        VerifyError::Subject => &SUBJECT,
        VerifyError::Superseded => &SUPERSEDED,
        VerifyError::Type => &TOKEN_TYPE,
    }
}

/// What a browser is told of its session, and what its developer is told where the configuration asks for it.
fn session_headers(signed_out: &SignedOut, message: &str, is_stripped: bool) -> Vec<(&'static str, String)> {
    let SignedOut { reason, redirect, .. } = signed_out;
    let mut headers = Vec::new();
    if let Some(Redirect { location, cookie }) = redirect {
        headers.push(("location", location.clone()));
        headers.push(("set-cookie", cookie.clone()));
    }
    if signed_out.is_shown && !is_stripped {
        let status = if redirect.is_some() { "handshake" } else { "signed-out" };
        let carrier = if signed_out.is_cookie { "cookie" } else { "header" };
        let reason = reason.as_str();
        headers.push(("x-clerk-auth-status", status.to_owned()));
        headers.push(("x-clerk-auth-reason", reason.to_owned()));
        let message = format!("{message} (reason={reason}, token-carrier={carrier})");
        headers.push(("x-clerk-auth-message", message));
    }
    headers
}

/// The text for the log: precise, but without any part of the request.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        match self {
            Self::HostFailure { detail } => write!(f, ": {detail}"),
            Self::InvalidToken(error) => write!(f, ": {error}"),
            Self::SignedOut(signed_out) => write!(f, ": {}", signed_out.reason.as_str()),
            Self::UnknownRequirementName { name, .. } => write!(f, ": {name:?}"),
            Self::UnreadableHeader { reason } => write!(f, ": {reason}"),
            _ => Ok(()),
        }
    }
}

/// The URL of a request as `jwt_authn` gives it for the realm, but without the query, in which a token may travel, and
/// with quotes and backslashes encoded, which would end the realm.
fn url(head: &RequestHead) -> String {
    let (path, _) = split_target(head.target());
    if path.is_empty() {
        return String::new();
    }
    let url = [head.value(":scheme"), b"://", head.value(":authority"), path].concat();
    let mut shown = String::new();
    for byte in url.into_iter().take(MAX_URL_BYTES) {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' {
            shown.push(char::from(byte));
        } else {
            shown.push_str(&format!("%{byte:02X}"));
        }
    }
    shown
}

/// The challenge of RFC 6750 section 3: with an error only when a credential was presented.
fn challenge(status: u16, realm: &str, error: Option<&str>, description: &str) -> Option<String> {
    match error {
        Some(error) => {
            Some(format!("Bearer realm=\"{realm}\", error=\"{error}\", error_description=\"{description}\""))
        }
        None if status == 401 => Some(format!("Bearer realm=\"{realm}\"")),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::jwk::SignatureError;
    use crate::jose::token::TokenError;

    fn reply_to(rejection: &Rejection) -> Reply {
        let answers = Answers { wording: Wording::Standard, realm: "api".to_owned(), strip: false };
        rejection.reply(&answers, &RequestHead::default())
    }

    fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_missing_credential_is_challenged_without_an_error() {
        let reply = reply_to(&Rejection::MissingCredential);
        assert_eq!(reply.status, 401);
        assert_eq!(header(&reply, "www-authenticate"), Some("Bearer realm=\"api\""));
        assert_eq!(header(&reply, "cache-control"), Some("no-store"));
    }

    #[test]
    fn everything_before_the_signature_has_one_uniform_answer() {
        let replies = [
            VerifyError::Form(TokenError::Segments),
            VerifyError::Form(TokenError::Algorithm),
            VerifyError::Signature(SignatureError::NoKey),
            VerifyError::Signature(SignatureError::Mismatch),
            VerifyError::UnknownIssuer,
        ]
        .map(|error| reply_to(&Rejection::InvalidToken(error)));
        assert!(replies.iter().all(|reply| *reply == replies[0]));
        let malformed = reply_to(&Rejection::MalformedCredential);
        assert_eq!((malformed.status, malformed.headers, malformed.body), {
            let first = replies[0].clone();
            (first.status, first.headers, first.body)
        });
    }

    #[test]
    fn unavailable_keys_are_a_503_that_says_when_to_come_back() {
        for (delay, expected) in [(0, "1"), (1, "1"), (1500, "2"), (30_000, "30")] {
            let reply = reply_to(&Rejection::KeysUnavailable { retry_after: Duration::from_millis(delay) });
            assert_eq!((reply.status, header(&reply, "retry-after")), (503, Some(expected)));
            assert_eq!(header(&reply, "www-authenticate"), None);
        }
    }
}
