//! Credential + keys + time -> identity, or why not.
//!
//! Takes a parsed token, the provider it is held against, its keys and the time; gives a [`VerifiedIdentity`], which
//! can be made nowhere else. No claim is trusted or reported before the signature; `iss` alone is compared
//! before it, to know whose keys must agree. Knows no
//! rule and no HTTP, and deliberately does no fetching: keys are an argument.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use crate::clerk_claims;
use crate::config::{Audiences, ClaimsFormat, Provider, RequiredClaim, TokenPart};
use crate::jose::base64url;
use crate::jose::claims::RegisteredClaims;
use crate::jose::jwk::{JwkSet, SignatureError};
use crate::jose::token::{TokenError, UnverifiedToken};
use crate::json::{Json, Object};
use crate::session_check::Confirmed;
use crate::time::UnixTime;

/// Whose credential it is: the claims of one that was verified for a provider.
#[derive(Clone, Debug)]
pub struct VerifiedIdentity<'t> {
    claims: Claims<'t>,
    /// The token that was verified, if it was one.
    token: Option<&'t UnverifiedToken<'t>>,
}

/// Where claims are kept.
#[derive(Clone, Debug)]
enum Claims<'t> {
    /// In the token.
    Token(&'t Object<'t>),
    /// In the token, and here in the form that its provider asks for.
    Normalised(Rc<Object<'t>>),
    /// In what the identity provider said, and in the token if there is one.
    Answer(Rc<Object<'t>>),
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
    check_issuer(token, provider)?;
    if !provider.algorithms.contains(&token.header.algorithm) {
        return Err(VerifyError::Signature(SignatureError::NoKey));
    }
    Ok(())
}

/// Whether `token` is of an issuer of `provider`, by what it says itself.
///
/// # Errors
///
/// [`VerifyError::UnknownIssuer`].
pub fn check_issuer(token: &UnverifiedToken<'_>, provider: &Provider) -> Result<(), VerifyError> {
    let claimed = token.payload.get("iss").and_then(Json::as_str);
    let is_one_of_its = |issuer: &String| claimed == Some(issuer.as_str());
    if provider.issuers.is_empty() || provider.issuers.iter().any(is_one_of_its) {
        Ok(())
    } else {
        Err(VerifyError::UnknownIssuer)
    }
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
    let claims = Claims::of(token, provider);
    check_claims(token, claims.get(), provider, &any, now).is_ok()
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
        let Self { token, provider } = self;
        let claims = Claims::of(token, provider);
        check_claims(token, claims.get(), provider, audiences, now)?;
        Ok(VerifiedIdentity { claims, token: Some(token) })
    }
}

fn check_claims(
    token: &UnverifiedToken<'_>,
    payload: &Object<'_>,
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
    let claims = Claimed { header: Some(&token.header_members), payload };
    check_payload(&claims, provider, audiences, now)
}

/// The members that a credential is judged by.
struct Claimed<'c> {
    /// Of the JOSE header; `None` for what an identity provider has said, which need not have `exp`.
    header: Option<&'c Object<'c>>,
    payload: &'c Object<'c>,
}

fn check_payload(
    claimed: &Claimed<'_>,
    provider: &Provider,
    audiences: &Audiences,
    now: UnixTime,
) -> Result<(), VerifyError> {
    let is_token = claimed.header.is_some();
    let claims = RegisteredClaims::of(claimed.payload, provider.allows_numeric_subject)
        .map_err(|malformed| VerifyError::Form(TokenError::Claim(malformed)))?;
    match claims.expires {
        Some(expires) if expires.has_expired(now, provider.clock_skew) => return Err(VerifyError::Expired),
        None if provider.require_expiration && is_token => return Err(VerifyError::MissingExpiration),
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
        (Some(_), None) if !is_token => {}
        (Some(_), _) => return Err(VerifyError::Lifetime),
    }
    let party = claimed.payload.get("azp").and_then(Json::as_str);
    let is_party = |allowed: &String| party == Some(allowed);
    if !provider.authorized_parties.is_empty() && !provider.authorized_parties.iter().any(is_party) {
        return Err(VerifyError::AuthorizedParty);
    }
    match provider.required_claims.iter().find(|required| !is_met(required, claimed)) {
        Some(required) => Err(VerifyError::Claim { name: required.path.join(".") }),
        None => Ok(()),
    }
}

/// A list meets a requirement by one of its items, and an inverted one by none. What is no scalar meets neither.
fn is_met(required: &RequiredClaim, claimed: &Claimed<'_>) -> bool {
    let members = match required.part {
        TokenPart::Header => claimed.header,
        TokenPart::Payload => Some(claimed.payload),
    };
    let items = match members.and_then(|members| members.at(&required.path)) {
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
    /// Whose credential it is at the time `now`, by what the identity provider has said of it, and by its `token` if it
    /// is one that was verified. Of a claim that both have, what was said counts.
    ///
    /// What was said is held against the provider like the claims of a token, but for `exp` and `iss`, which it need not
    /// have.
    ///
    /// # Errors
    ///
    /// The first check that fails; [`VerifyError::Subject`] also when the two are not about the same `sub`.
    pub fn of_answer(
        confirmed: &Confirmed,
        token: Option<&Self>,
        provider: &Provider,
        audiences: &Audiences,
        now: UnixTime,
    ) -> Result<Self, VerifyError> {
        let said = confirmed.claims();
        let (claims, token) = match token {
            None => (Rc::<Object<'t>>::clone(said), None),
            Some(Self { token, claims }) => {
                let (of_token, of_answer) = (claims.get().get("sub"), said.get("sub"));
                if of_token.is_some() && of_answer.is_some() && of_token != of_answer {
                    return Err(VerifyError::Subject);
                }
                (Rc::new(claims.get().with(said)), *token)
            }
        };
        let issuer = claims.get("iss").and_then(Json::as_str);
        let is_of = |issuer: &str| provider.issuers.iter().any(|known| known == issuer);
        if !provider.issuers.is_empty() && issuer.is_some_and(|issuer| !is_of(issuer)) {
            return Err(VerifyError::UnknownIssuer);
        }
        let header = token.map(|token| &token.header_members);
        check_payload(&Claimed { header, payload: &claims }, provider, audiences, now)?;
        Ok(Self { claims: Claims::Answer(claims), token })
    }

    /// The claims.
    pub fn claims(&self) -> &Object<'t> {
        self.claims.get()
    }

    /// From when on it counts no longer, by its `exp` and the provider's clock skew.
    pub fn expires(&self, provider: &Provider) -> Option<UnixTime> {
        let claims = RegisteredClaims::of(self.claims(), provider.allows_numeric_subject).ok()?;
        Some(claims.expires?.time().after(provider.clock_skew))
    }

    /// The claims as base64url without padding: the payload of the token as it was sent, unless more was said.
    pub fn payload_segment(&self) -> Cow<'t, str> {
        match (&self.claims, self.token) {
            (Claims::Token(_) | Claims::Normalised(_), Some(token)) => {
                Cow::Borrowed(token.compact.payload_segment())
            }
            _ => Cow::Owned(base64url::encode(self.claims().to_string().as_bytes())),
        }
    }

    /// The JOSE header of the token, as the JSON text that was signed.
    pub fn header_text(&self) -> Option<&'t [u8]> {
        self.token.map(|token| token.compact.header_text())
    }
}

impl<'t> Claims<'t> {
    fn of(token: &'t UnverifiedToken<'t>, provider: &Provider) -> Self {
        let normalised = match provider.claims_format {
            ClaimsFormat::Plain => None,
            ClaimsFormat::Clerk => clerk_claims::normalised(&token.payload),
        };
        normalised.map_or(Self::Token(&token.payload), |claims| Self::Normalised(Rc::new(claims)))
    }

    fn get(&self) -> &Object<'t> {
        match self {
            Self::Token(claims) => claims,
            Self::Normalised(claims) | Self::Answer(claims) => claims,
        }
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
