//! What an identity provider says about a credential.
//!
//! Takes the reply to a question and how the configuration reads it, gives a [`Verdict`]. What is neither clearly good
//! nor clearly a denial is an error, which says nothing about the user: a denial by mistake sends people to log in, and
//! a 401 may be about the gateway's own credentials. [`Confirmed`] can be made nowhere else.

use std::fmt;
use std::rc::Rc;

use crate::call::CallReply;
use crate::config::{
    CheckKind, Denial, Denials, ForwardAuth, HeaderName, HeaderToClaim, SessionCheck, UserInfo,
};
use crate::jose::claims::RegisteredClaims;
use crate::json::{Json, Object};
use crate::request::HeaderField;
use crate::session_check::clearing;
use crate::time::UnixTime;

/// What an identity provider said about a credential.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// There is a session behind it.
    Confirmed(Confirmed),
    /// There is none, or it may not be used here.
    Denied(Denial),
}

/// That there is a session behind a credential, and what the identity provider said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirmed {
    claims: Rc<Object<'static>>,
    /// `exp` of the claims.
    expires: Option<UnixTime>,
}

/// Why nothing was found out about a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AnswerError {
    /// There was no response.
    NoResponse,
    /// The introspection endpoint does not take the gateway's own credentials.
    OwnCredentials,
    /// A status that is neither good nor a denial. Redirects are not followed.
    Status(u16),
    /// The body is too large.
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is not of the form that it must have.
    Unreadable(&'static str),
}

impl AnswerError {
    /// Whether it is about what the gateway has sent of its own, its secret above all, rather than a passing failure.
    pub const fn is_of_gateway(&self) -> bool {
        matches!(self, Self::OwnCredentials | Self::Status(400..=407 | 409..=428 | 430..=499))
    }
}

impl Confirmed {
    fn new(claims: Object<'static>, allows_numeric_subject: bool) -> Result<Self, AnswerError> {
        let registered = RegisteredClaims::of(&claims, allows_numeric_subject);
        let registered =
            registered.map_err(|_| AnswerError::Unreadable("a registered claim is malformed"))?;
        let expires = registered.expires.map(|expires| expires.time());
        Ok(Self { expires, claims: Rc::new(claims) })
    }

    /// What was said.
    pub const fn claims(&self) -> &Rc<Object<'static>> {
        &self.claims
    }

    /// Until when it was said to count.
    pub const fn expires(&self) -> Option<UnixTime> {
        self.expires
    }
}

/// Reads the reply to a question of `check`, whose provider may have numbers for subjects.
///
/// # Errors
///
/// See [`AnswerError`].
pub(super) fn read(
    check: &SessionCheck,
    allows_numeric_subject: bool,
    reply: CallReply<'_>,
) -> Result<Verdict, AnswerError> {
    let (status, headers, body) = match reply {
        CallReply::Response { status, headers, body } => (status, headers, body),
        CallReply::TooLarge { bytes } => return Err(AnswerError::TooLarge { bytes }),
        CallReply::Failure => return Err(AnswerError::NoResponse),
    };
    let said = match &check.kind {
        CheckKind::ForwardAuth(settings) => forward_auth(settings, status, headers)?,
        CheckKind::UserInfo(settings) => user_info(settings, status, body)?,
        CheckKind::Introspection(_) => introspection(status, body)?,
        CheckKind::SessionStatus(settings) => session_status(&settings.denials, status, body)?,
    };
    match said {
        Ok(claims) => Confirmed::new(claims, allows_numeric_subject).map(Verdict::Confirmed),
        Err(denial) => Ok(Verdict::Denied(denial)),
    }
}

/// The lines of a denial that clear cookies of the client, where the configuration has them passed on.
pub(super) fn clearing_lines(check: &SessionCheck, reply: CallReply<'_>) -> Vec<String> {
    match (&check.kind, reply) {
        (CheckKind::ForwardAuth(settings), CallReply::Response { headers, .. }) => {
            clearing::clearing_lines(headers, &settings.relayed_cookies)
        }
        _ => Vec::new(),
    }
}

/// The claims of a good answer, or what is denied.
type Said = Result<Object<'static>, Denial>;

fn forward_auth(settings: &ForwardAuth, status: u16, headers: &[HeaderField]) -> Result<Said, AnswerError> {
    let is_good = match &settings.allow.statuses {
        Some(statuses) => statuses.contains(&status),
        None => (200..300).contains(&status),
    };
    if !is_good {
        return if settings.denied_statuses.contains(&status) {
            Ok(Err(Denial::Session))
        } else {
            Err(AnswerError::Status(status))
        };
    }
    if let Some((name, value)) = &settings.allow.header
        && header(headers, name)? != Some(value)
    {
        return Ok(Err(Denial::Session));
    }
    let mut claims = Vec::new();
    for HeaderToClaim { header: name, claim } in &settings.claims {
        if let Some(value) = header(headers, name)? {
            claims.push((claim.clone(), value.to_owned()));
        }
    }
    Ok(Ok(Object::of_texts(claims)))
}

/// The one value of a header.
fn header<'h>(headers: &'h [HeaderField], name: &HeaderName) -> Result<Option<&'h str>, AnswerError> {
    let is_named = |field: &&HeaderField| field.0.eq_ignore_ascii_case(name.as_str().as_bytes());
    let mut named = headers.iter().filter(is_named);
    let first = named.next();
    if named.next().is_some() {
        return Err(AnswerError::Unreadable("a header that counts is there more than once"));
    }
    let text = first.map(|(_, value)| std::str::from_utf8(value)).transpose();
    text.map_err(|_| AnswerError::Unreadable("a header that counts is not UTF-8"))
}

fn user_info(settings: &UserInfo, status: u16, body: &[u8]) -> Result<Said, AnswerError> {
    let parsed = Object::parse(body);
    if let Some(denial) = denial(&settings.denials, status, parsed.as_ref().ok()) {
        return Ok(Err(denial));
    }
    match (status, parsed) {
        (200, Ok(claims)) => Ok(Ok(claims.into_owned())),
        (200, Err(_)) => Err(NO_OBJECT),
        (status, _) => Err(AnswerError::Status(status)),
    }
}

fn denial(denials: &Denials, status: u16, body: Option<&Object<'_>>) -> Option<Denial> {
    let code = body.and_then(|body| body.get(&denials.code_member)).and_then(Json::as_str);
    let mut rules = denials.rules.iter().filter(|rule| rule.status == status);
    rules.find(|rule| rule.code.is_none() || rule.code.as_deref() == code).map(|rule| rule.denial)
}

/// What the body says besides is nobody's claim.
fn session_status(denials: &Denials, status: u16, body: &[u8]) -> Result<Said, AnswerError> {
    let parsed = Object::parse(body).ok();
    match (denial(denials, status, parsed.as_ref()), status) {
        (Some(denial), _) => Ok(Err(denial)),
        (None, 200) => Ok(Ok(Object::of_texts([]))),
        (None, status) => Err(AnswerError::Status(status)),
    }
}

/// RFC 7662 section 2.2 and 2.3.
fn introspection(status: u16, body: &[u8]) -> Result<Said, AnswerError> {
    match status {
        200 => {}
        401 => return Err(AnswerError::OwnCredentials),
        status => return Err(AnswerError::Status(status)),
    }
    let claims = Object::parse(body).map_err(|_| NO_OBJECT)?;
    match claims.get("active") {
        Some(Json::Bool(true)) => Ok(Ok(claims.into_owned())),
        Some(Json::Bool(false)) => Ok(Err(Denial::Session)),
        _ => Err(AnswerError::Unreadable("\"active\" is not true or false")),
    }
}

const NO_OBJECT: AnswerError = AnswerError::Unreadable("the body is not a strict JSON object");

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoResponse => f.write_str("no response"),
            Self::OwnCredentials => {
                f.write_str("status 401: the endpoint does not take client_id and client_secret")
            }
            Self::Status(status) => write!(f, "status {status}"),
            Self::TooLarge { bytes } => write!(f, "a body of {bytes} bytes"),
            Self::Unreadable(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for AnswerError {}
