//! Credential + keys + time -> identity, or why not.
//!
//! Takes a parsed token, the provider it is held against, its keys and the time; gives a [`VerifiedIdentity`], which
//! can be made nowhere else. No claim is trusted or reported before the signature; `iss` alone is compared
//! before it, to know whose keys must agree. Knows no
//! rule and no HTTP, and deliberately does no fetching: keys are an argument.

use std::fmt;

use crate::config::{Audiences, Provider, RequiredClaim, TokenPart};
use crate::jose::claims::RegisteredClaims;
use crate::jose::jwk::{JwkSet, SignatureError};
use crate::jose::token::{TokenError, UnverifiedToken};
use crate::json::{Json, Object};
use crate::time::UnixTime;

/// Whose token it is: the claims of a token that was verified for a provider.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedIdentity<'t> {
    token: &'t UnverifiedToken<'t>,
}

/// Why a token does not count.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum VerifyError {
    /// Its `azp` is missing or not one that the provider allows.
    AuthorizedParty,
    /// No audience of the token is one that the provider allows.
    Audience,
    /// A claim is missing or not like the configuration says.
    Claim {
        /// The claim, by its name in the configuration.
        name: String,
    },
    /// Its `exp` has passed.
    Expired,
    /// It is not a token of the accepted form.
    Form(TokenError),
    /// Its `exp` lies too far ahead, or is missing where it must not lie too far ahead.
    Lifetime,
    /// It has no `exp`, and the provider requires one.
    MissingExpiration,
    /// Its `nbf` lies ahead.
    NotYetValid,
    /// No key of the provider made its signature.
    Signature(SignatureError),
    /// Its `sub` is missing or not one that the provider allows.
    Subject,
    /// Its `typ` is not one that the provider allows.
    Type,
    /// Its `iss` is not that of a provider that takes tokens from where it was found.
    UnknownIssuer,
}

/// A token whose signature the keys of a provider have verified. Its claims may still be too old or for others.
#[derive(Clone, Copy, Debug)]
pub struct SignedToken<'t> {
    token: &'t UnverifiedToken<'t>,
    provider: &'t Provider,
}

/// Whether `token` could be for `provider` at all: of its issuer (exactly) and of an algorithm that it allows.
/// Unverified, this decides nothing but whose keys must agree.
///
/// # Errors
///
/// [`VerifyError::UnknownIssuer`], [`VerifyError::Signature`].
pub fn check_header(token: &UnverifiedToken<'_>, provider: &Provider) -> Result<(), VerifyError> {
    let claimed = token.payload.get("iss").and_then(Json::as_str);
    let is_one_of_its = |issuer: &&String| claimed == Some(issuer.as_str());
    if !provider.issuers.is_empty() && !provider.issuers.iter().any(|issuer| is_one_of_its(&issuer)) {
        return Err(VerifyError::UnknownIssuer);
    }
    if !provider.algorithms.contains(&token.header.algorithm) {
        return Err(VerifyError::Signature(SignatureError::NoKey));
    }
    Ok(())
}

/// Verifies that `token` is of `provider`, with its `keys`.
///
/// # Errors
///
/// Those of [`check_header`], and [`VerifyError::Signature`].
pub fn verify_signature<'t>(
    token: &'t UnverifiedToken<'t>,
    provider: &'t Provider,
    keys: &JwkSet,
) -> Result<SignedToken<'t>, VerifyError> {
    check_header(token, provider)?;
    keys.verify(&token.header, token.compact, &provider.algorithms).map_err(VerifyError::Signature)?;
    Ok(SignedToken { token, provider })
}

/// Whether `token` could be good at the time `now` if its signature were, whatever its audience. Unverified, this
/// decides nothing but whether its key is worth a fetch.
pub fn may_be_good(token: &UnverifiedToken<'_>, provider: &Provider, now: UnixTime) -> bool {
    let any = Audiences { allowed: Vec::new(), form: provider.audiences.form };
    check_claims(token, provider, &any, now).is_ok()
}

impl<'t> SignedToken<'t> {
    /// Whose token it is at the time `now`; `audiences` are those that hold for this request.
    ///
    /// In this order: `typ`, `exp` and `nbf` (with the provider's clock skew), `aud` (any match), `sub`, the time until
    /// `exp`, `azp`, further claims.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn identity(self, audiences: &Audiences, now: UnixTime) -> Result<VerifiedIdentity<'t>, VerifyError> {
        check_claims(self.token, self.provider, audiences, now)?;
        Ok(VerifiedIdentity { token: self.token })
    }
}

fn check_claims(
    token: &UnverifiedToken<'_>,
    provider: &Provider,
    audiences: &Audiences,
    now: UnixTime,
) -> Result<(), VerifyError> {
    if !provider.types.is_empty() {
        let typ = token.header.media_type.as_deref().unwrap_or_default();
        if !provider.types.iter().any(|allowed| allowed == typ) {
            return Err(VerifyError::Type);
        }
    }
    let claims = RegisteredClaims::of(&token.payload, provider.allows_numeric_subject)
        .map_err(|malformed| VerifyError::Form(TokenError::Claim(malformed)))?;
    match claims.expires {
        Some(expires) if expires.has_expired(now, provider.clock_skew) => return Err(VerifyError::Expired),
        None if provider.require_expiration => return Err(VerifyError::MissingExpiration),
        _ => {}
    }
    if claims.not_before.is_some_and(|not_before| not_before.lies_ahead(now, provider.clock_skew)) {
        return Err(VerifyError::NotYetValid);
    }
    let is_allowed =
        |audience: &&str| audiences.allowed.iter().any(|allowed| *allowed == audiences.form.of(audience));
    if !audiences.allowed.is_empty() && !claims.audiences.iter().any(is_allowed) {
        return Err(VerifyError::Audience);
    }
    if let Some(subjects) = &provider.subjects
        && !claims.subject.is_some_and(|subject| subjects.matches(subject.as_bytes()))
    {
        return Err(VerifyError::Subject);
    }
    match (provider.max_lifetime, claims.expires) {
        (None, _) => {}
        (Some(max), Some(expires)) if expires.comes_within(now, max) => {}
        (Some(_), _) => return Err(VerifyError::Lifetime),
    }
    let party = token.payload.get("azp").and_then(Json::as_str);
    let is_party = |allowed: &String| party == Some(allowed);
    if !provider.authorized_parties.is_empty() && !provider.authorized_parties.iter().any(is_party) {
        return Err(VerifyError::AuthorizedParty);
    }
    match provider.required_claims.iter().find(|required| !is_met(required, token)) {
        Some(required) => Err(VerifyError::Claim { name: required.path.join(".") }),
        None => Ok(()),
    }
}

/// A list meets a requirement by one of its items, and an inverted one by none. What is no scalar meets neither.
fn is_met(required: &RequiredClaim, token: &UnverifiedToken<'_>) -> bool {
    let members = match required.part {
        TokenPart::Header => &token.header_members,
        TokenPart::Payload => &token.payload,
    };
    let items = match members.at(&required.path) {
        None => return required.is_optional,
        Some(Json::Array(items)) => items.as_slice(),
        Some(item) => std::slice::from_ref(item),
    };
    let texts: Option<Vec<_>> = items.iter().map(scalar_text).collect();
    texts.is_some_and(|texts| {
        let is_there = texts.iter().any(|text| required.pattern.matches(text.as_bytes()));
        is_there != required.is_inverted
    })
}

/// A string as it is, a number or a boolean as JSON.
fn scalar_text(value: &Json<'_>) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone().into_owned()),
        Json::Number(_) | Json::Bool(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

impl<'t> VerifiedIdentity<'t> {
    /// The claims of the token.
    pub const fn claims(&self) -> &'t Object<'t> {
        &self.token.payload
    }

    /// The payload of the token as it was sent, base64url without padding.
    pub const fn payload_segment(&self) -> &'t str {
        self.token.compact.payload_segment()
    }

    /// The JOSE header of the token, as the JSON text that was signed.
    pub fn header_text(&self) -> &'t [u8] {
        self.token.compact.header_text()
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audience => f.write_str("no audience of the token is allowed"),
            Self::AuthorizedParty => f.write_str("azp is not allowed"),
            Self::Claim { name } => write!(f, "the claim {name:?} is not as required"),
            Self::Expired => f.write_str("exp has passed"),
            Self::Form(error) => write!(f, "{error}"),
            Self::Lifetime => f.write_str("exp is missing or lies too far ahead"),
            Self::MissingExpiration => f.write_str("exp is missing"),
            Self::NotYetValid => f.write_str("nbf lies ahead"),
            Self::Signature(SignatureError::Mismatch) => f.write_str("no key made the signature"),
            Self::Signature(SignatureError::NoKey) => f.write_str("no key has this kid and alg"),
            Self::Signature(SignatureError::UnknownKeyId) => f.write_str("no key has this kid"),
            Self::Subject => f.write_str("sub is not allowed"),
            Self::Type => f.write_str("typ is not allowed"),
            Self::UnknownIssuer => f.write_str("iss names no provider"),
        }
    }
}

impl std::error::Error for VerifyError {}
