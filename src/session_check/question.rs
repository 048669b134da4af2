//! A credential and what stands beside it in the request -> the call that asks about it.
//!
//! Takes the request head, a credential and where it was, gives a [`Question`]; or the claims of a token that keys have
//! verified. Nothing of the client goes out but the credential, or the claims that name its session, and what is
//! listed, each of it once and only in a form that is a header value or a part of a path. Two questions are the same
//! when all that is sent is.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::call::Call;
use crate::config::{
    AuthMethod, CheckKind, FixedHeader, ForwardAuth, HeaderName, Introspection, Location, Provider,
    ProviderId, SessionCheck, SessionStatus, UserInfo, is_header_value,
};
use crate::json::Object;
use crate::request::{RequestHead, cookie_pairs};
use crate::session_check::filled_path::filled;
use crate::time::UnixTime;

const AUTHORIZATION: &str = "authorization";
const JSON: &str = "application/json";

/// A digest of the provider and of everything that is sent, or of a part of it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct QuestionId([u8; 32]);

/// What is asked about a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// Whose session check it is.
    pub provider: ProviderId,
    /// What tells it from others.
    pub id: QuestionId,
    /// The same of what its session is known by: the credential alone, or the question itself where that names the
    /// session and no credential.
    pub session: QuestionId,
    /// How it is asked.
    pub call: Call,
    /// When the credential expires, by its own words, which nobody has verified: a good answer counts no longer.
    pub expires: Option<UnixTime>,
}

/// Where in the request a credential was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier<'r> {
    /// In this header.
    Header(&'r HeaderName),
    /// In this cookie.
    Cookie(&'r str),
    /// Elsewhere.
    Other,
}

/// Why nothing can be asked about a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum QuestionError {
    /// A claim that would be sent is missing or cannot be a part of a path.
    Claim {
        /// Its name in the configuration.
        name: String,
    },
    /// Something that would be sent is no header value.
    Malformed,
    /// Something that would be sent is there more than once: the identity provider could look at the other one.
    Several,
}

impl Question {
    /// The question of `check`, which is that of `provider`, about the credential `token`, found by `carrier`; `claims`
    /// are those that keys of the provider have verified, if it is a token.
    ///
    /// # Errors
    ///
    /// See [`QuestionError`].
    pub fn about(
        token: &str,
        claims: Option<&Object<'_>>,
        carrier: Carrier<'_>,
        head: &RequestHead,
        (id, provider): (ProviderId, &Provider),
        check: &SessionCheck,
    ) -> Result<Self, QuestionError> {
        let SessionCheck { kind, endpoint, timeout, .. } = check;
        let method = match kind {
            CheckKind::ForwardAuth(_) | CheckKind::UserInfo(_) => "GET",
            CheckKind::Introspection(_) => "POST",
            CheckKind::SessionStatus(settings) => settings.method,
        };
        let call = Call::new(method, endpoint.clone(), *timeout);
        let call = match kind {
            CheckKind::ForwardAuth(settings) => forward_auth(call, settings, token, carrier, head, provider)?,
            CheckKind::UserInfo(settings) => user_info(call, settings, token, carrier),
            CheckKind::Introspection(settings) => introspection(call, settings, token),
            CheckKind::SessionStatus(settings) => session_status(call, settings, claims)?,
        };
        let question_id = QuestionId::of(id, &call);
        let session = if check.is_by_claims() { question_id } else { QuestionId::of_credential(id, token) };
        Ok(Self { provider: id, id: question_id, session, call, expires: None })
    }
}

impl QuestionId {
    fn of(provider: ProviderId, call: &Call) -> Self {
        let headers = call.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
        let (path, body) = (call.endpoint.path.as_bytes(), call.body.as_slice());
        Self::of_parts(provider, headers.chain([path, body]))
    }

    fn of_credential(provider: ProviderId, token: &str) -> Self {
        Self::of_parts(provider, [token.as_bytes()])
    }

    /// Each part with its length, so that no two lists of them have the same text.
    fn of_parts<'p>(ProviderId(provider): ProviderId, parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            digest.update(part);
        };
        add(provider.to_string().as_bytes());
        parts.into_iter().for_each(add);
        Self(digest.finalize().into())
    }
}

/// The listed headers and cookies. Of those that may carry credentials, only the one that carries this one: asked about
/// two, the identity provider would choose. Where it is to choose between cookies, all of them. A credential that none of
/// them carries is a bearer token.
fn forward_auth(
    mut call: Call,
    settings: &ForwardAuth,
    token: &str,
    carrier: Carrier<'_>,
    head: &RequestHead,
    provider: &Provider,
) -> Result<Call, QuestionError> {
    let mut is_sent = false;
    for name in &settings.request_headers {
        let carries_it = carrier == Carrier::Header(name);
        let may_carry =
            |location: &Location| matches!(location, Location::Header { name: other, .. } if other == name);
        if !carries_it && provider.locations.iter().any(may_carry) {
            continue;
        }
        if let Some(value) = only_one(head.values(name.as_str()))? {
            call = call.with(name.as_str().to_owned(), header_value(value)?);
            is_sent |= carries_it;
        }
    }
    let is_listed = |carrier| matches!(carrier, Carrier::Cookie(name) if settings.cookies.iter().any(|known| known == name));
    let are_together = settings.sends_cookies_together && is_listed(carrier);
    let mut cookies = String::new();
    for name in &settings.cookies {
        let carries_it = carrier == Carrier::Cookie(name);
        let may_carry =
            |location: &Location| matches!(location, Location::Cookie(other) if **other == **name);
        if !carries_it && !are_together && provider.locations.iter().any(may_carry) {
            continue;
        }
        let pairs = head.values("cookie").flat_map(cookie_pairs);
        let values = pairs.filter(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value);
        if let Some(value) = only_one(values)? {
            let separator = if cookies.is_empty() { "" } else { "; " };
            // Writing to a string does not fail.
            let _ = write!(cookies, "{separator}{name}={}", header_value(value)?);
            is_sent |= carries_it;
        }
    }
    if !cookies.is_empty() {
        call = call.with("cookie", cookies);
    }
    if !is_sent {
        call = call.with(AUTHORIZATION, format!("Bearer {token}"));
    }
    Ok(with_fixed(call, &settings.headers))
}

fn user_info(call: Call, settings: &UserInfo, token: &str, carrier: Carrier<'_>) -> Call {
    if let Carrier::Cookie(name) = carrier
        && settings.cookies.iter().any(|known| known == name)
    {
        let call = with_fixed(call.with("accept", JSON), &settings.headers);
        return call.with("cookie", format!("{name}={token}"));
    }
    let name = settings.credential_header.as_str();
    let value = if name == AUTHORIZATION { format!("Bearer {token}") } else { token.to_owned() };
    with_fixed(call.with("accept", JSON), &settings.headers).with(name.to_owned(), value)
}

/// RFC 7662 section 2.1.
fn introspection(call: Call, settings: &Introspection, token: &str) -> Call {
    let Introspection { client_id, client_secret, auth_method } = settings;
    let (id, secret) = (form_encode(client_id), form_encode(client_secret.reveal()));
    let mut body = format!("token={}&token_type_hint=access_token", form_encode(token));
    let call = call.with("accept", JSON).with("content-type", "application/x-www-form-urlencoded");
    let call = match auth_method {
        AuthMethod::Basic => {
            call.with(AUTHORIZATION, format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
        }
        AuthMethod::Post => {
            let _ = write!(body, "&client_id={id}&client_secret={secret}");
            call
        }
    };
    // Hosts that do not count bodies themselves, and servers that need to know.
    let call = call.with("content-length", body.len().to_string());
    Call { body: body.into_bytes(), ..call }
}

/// The credential stays here: its session has a name.
fn session_status(
    call: Call,
    settings: &SessionStatus,
    claims: Option<&Object<'_>>,
) -> Result<Call, QuestionError> {
    let path = filled(&settings.path, claims)?;
    let endpoint = call.endpoint.with_path(path);
    let call = with_fixed(Call { endpoint, ..call }.with("accept", JSON), &settings.headers);
    // Hosts that do not count bodies themselves, and servers that need to know.
    Ok(if call.method == "POST" { call.with("content-length", "0") } else { call })
}

fn with_fixed(call: Call, headers: &[FixedHeader]) -> Call {
    let fixed = headers.iter();
    fixed.fold(call, |call, FixedHeader { name, value }| call.with(name.as_str().to_owned(), value.reveal()))
}

fn only_one<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Result<Option<&'v [u8]>, QuestionError> {
    let first = values.next();
    if values.next().is_some() { Err(QuestionError::Several) } else { Ok(first) }
}

/// A text that can be sent as it is; the host takes no other bytes.
fn header_value(value: &[u8]) -> Result<&str, QuestionError> {
    let text = std::str::from_utf8(value.trim_ascii()).map_err(|_| QuestionError::Malformed)?;
    if is_header_value(text) { Ok(text) } else { Err(QuestionError::Malformed) }
}

/// `application/x-www-form-urlencoded` (RFC 6749 appendix B).
fn form_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'*' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_form_comes_back_as_it_was() {
        assert_eq!(form_encode("aZ0*-._"), "aZ0*-._");
        assert_eq!(form_encode("a b&c=d%+~/:\u{e9}\n"), "a+b%26c%3Dd%25%2B%7E%2F%3A%C3%A9%0A");
    }

    #[test]
    fn no_two_questions_share_an_id() {
        let endpoint = crate::config::Endpoint::parse("https://a/", "c").unwrap();
        let call = Call::new("GET", endpoint, std::time::Duration::from_secs(1));
        let calls = [
            call.clone(),
            call.clone().with("a", "bc"),
            call.clone().with("ab", "c"),
            call.clone().with("a", "b").with("c", ""),
            Call { body: b"abc".to_vec(), ..call.clone() },
            Call { endpoint: call.endpoint.with_path("/abc".to_owned()), ..call },
        ];
        let ids = calls.iter().flat_map(|call| [0, 1, 11].map(|id| QuestionId::of(ProviderId(id), call)));
        let distinct: std::collections::BTreeSet<_> = ids.collect();
        assert_eq!(distinct.len(), 18);
    }
}
