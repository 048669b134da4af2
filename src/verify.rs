//! Credential + keys + time -> identity, or why not.
//!
//! Takes a parsed token, the provider it is held against, its keys and the time; gives a [`VerifiedIdentity`], which
//! can be made nowhere else. No claim is trusted or reported before the signature; `iss` alone is compared
//! before it, to know whose keys must agree. Knows no
//! rule and no HTTP, and deliberately does no fetching: keys are an argument.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fmt;
use std::rc::Rc;

use crate::clerk_claims;
use crate::config::{
    Audiences, ClaimMatch, ClaimPattern, ClaimsFormat, IssuerTemplate, Provider, RequiredClaim, TokenPart,
    is_uuid,
};
use crate::jose::algorithm::SignatureVerifier;
use crate::jose::base64url;
use crate::jose::claims::{NumericDate, RegisteredClaims};
use crate::jose::jwk::{JwkSet, KeyDigest, SetDigest, SignatureError};
use crate::jose::token::{TokenError, UnverifiedToken};
use crate::json::{Json, Object};
use crate::request::HeaderEdit;
use crate::session_check::Confirmed;
use crate::time::UnixTime;

/// Whose credential it is: the claims of one that was verified for a provider.
#[derive(Clone, Debug)]
pub struct VerifiedIdentity<'t> {
    claims: Claims<'t>,
    /// The token that was verified, if it was one.
    token: Option<&'t UnverifiedToken<'t>>,
    /// What was found out about the token earlier, if it alone says who it is.
    proof: Option<Rc<Proof>>,
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
    /// The browser that sends it has signed in or out since it was issued.
    Superseded,
    /// Its `typ` is not one that the provider allows.
    Type,
    /// Its `iss` is not that of a provider that takes tokens from where it was found.
    UnknownIssuer,
}

/// A token whose signature the keys of a provider have verified. Its claims may still be too old or for others.
#[derive(Clone, Debug)]
pub struct SignedToken<'t> {
    token: &'t UnverifiedToken<'t>,
    provider: &'t Provider,
    basis: Basis,
}

/// What is known of a token besides its signature.
#[derive(Clone, Debug)]
enum Basis {
    /// This key has just made it out, among these.
    Verified(KeyDigest, SetDigest),
    /// All that can be.
    Proven(Rc<Proof>),
}

/// That a token was once good for a provider, and all that follows from that whatever the time and the request: the key
/// that made its signature, and its claims as far as they were found to be in order. For the same token, provider and
/// configuration it saves everything but the comparisons with the keys, the time and the audiences of a request.
#[derive(Debug)]
pub struct Proof {
    key: KeyDigest,
    /// The keys that the key was last seen among.
    set: Cell<SetDigest>,
    /// The claims in the form that the provider asks for, if that is not the token's.
    normalised: Option<Rc<Object<'static>>>,
    dates: Dates,
    audiences: Vec<String>,
    /// What the request gets for it where nobody else is verified, once it was needed.
    pub headers: OnceCell<Rc<[HeaderEdit]>>,
    /// The claims as text, once they were needed.
    pub exported: OnceCell<Rc<str>>,
}

/// The claims that are compared with the clock.
#[derive(Clone, Copy, Debug)]
struct Dates {
    expires: Option<NumericDate>,
    not_before: Option<NumericDate>,
    issued: Option<NumericDate>,
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
    if provider.takes_any_issuer() || claimed.is_some_and(|issuer| is_of(provider, issuer, &token.payload)) {
        Ok(())
    } else {
        Err(VerifyError::UnknownIssuer)
    }
}

/// Whether `issuer` is one of those of `provider`, with these claims.
fn is_of(provider: &Provider, issuer: &str, claims: &Object<'_>) -> bool {
    provider.issuers.iter().any(|known| known == issuer)
        || provider.issuer_template.as_ref().is_some_and(|template| {
            let IssuerTemplate { before, after, .. } = template;
            let value =
                issuer.strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(after.as_str()));
            value.is_some() && value == template_value(template, claims)
        })
}

/// What stands in an issuer in place of the claim: nothing but a UUID, which means nothing in a URL.
fn template_value<'c>(template: &IssuerTemplate, claims: &'c Object<'_>) -> Option<&'c str> {
    claims.get(&template.claim).and_then(Json::as_str).filter(|value| is_uuid(value))
}

/// Whether a key that names its issuer is one for this token, where that has a claim in it: by the same value in the
/// same place.
fn is_key_for(key_issuer: Option<&str>, token: &UnverifiedToken<'_>, provider: &Provider) -> bool {
    let (Some(template), Some(key_issuer)) = (&provider.issuer_template, key_issuer) else { return true };
    let issuer = token.payload.get("iss").and_then(Json::as_str);
    let filled =
        match key_issuer.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1))) {
            None => Some(key_issuer.to_owned()),
            Some((before, after)) => {
                template_value(template, &token.payload).map(|value| format!("{before}{value}{after}"))
            }
        };
    issuer.is_some() && issuer == filled.as_deref()
}

/// Verifies that `token` is of `provider`, with its `keys`, and by `other` as far as they can say.
///
/// # Errors
///
/// Those of [`check_header`], and [`VerifyError::Signature`].
pub fn verify_signature<'t>(
    token: &'t UnverifiedToken<'t>,
    provider: &'t Provider,
    keys: &JwkSet,
    other: &dyn SignatureVerifier,
) -> Result<SignedToken<'t>, VerifyError> {
    check_header(token, provider)?;
    let is_for_it = |key_issuer: Option<&str>| is_key_for(key_issuer, token, provider);
    let verified = keys.verify_with(&token.header, &token.compact, &provider.algorithms, is_for_it, other);
    let key = verified.map_err(VerifyError::Signature)?;
    Ok(SignedToken { token, provider, basis: Basis::Verified(key, keys.digest()) })
}

/// The same for a token of which this was proven for this provider: it counts as long as the key that made the signature
/// is one that would be tried. `None` when it is not any more.
pub fn recognise<'t>(
    token: &'t UnverifiedToken<'t>,
    provider: &'t Provider,
    keys: &JwkSet,
    proof: Rc<Proof>,
) -> Option<SignedToken<'t>> {
    let is_for_it = |key_issuer: Option<&str>| is_key_for(key_issuer, token, provider);
    if proof.set.get() != keys.digest() {
        if !keys.would_try(proof.key, &token.header, is_for_it) {
            return None;
        }
        proof.set.set(keys.digest());
    }
    Some(SignedToken { token, provider, basis: Basis::Proven(proof) })
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
    pub fn identity(
        &self,
        audiences: &Audiences,
        now: UnixTime,
    ) -> Result<VerifiedIdentity<'t>, VerifyError> {
        let Self { token, provider, basis } = self;
        let (claims, proof) = match basis {
            Basis::Verified(..) => {
                let claims = Claims::of(token, provider);
                check_claims(token, claims.get(), provider, audiences, now)?;
                (claims, None)
            }
            Basis::Proven(proof) => {
                proof.check(provider, audiences, now)?;
                let normalised = proof.normalised.clone();
                let claims = normalised.map_or(Claims::Token(&token.payload), Claims::Normalised);
                (claims, Some(Rc::clone(proof)))
            }
        };
        Ok(VerifiedIdentity { claims, token: Some(token), proof })
    }

    /// Whether it was proven before.
    pub const fn is_proven(&self) -> bool {
        matches!(self.basis, Basis::Proven(_))
    }

    /// What is to be kept of it, now that its claims were found in order by [`identity`](Self::identity); `None` when it
    /// was proven before.
    pub fn proof(&self, identity: &VerifiedIdentity<'t>) -> Option<Proof> {
        let Basis::Verified(key, set) = self.basis else { return None };
        let claims = RegisteredClaims::of(identity.claims(), self.provider.allows_numeric_subject).ok()?;
        Some(Proof {
            key,
            set: Cell::new(set),
            normalised: match &identity.claims {
                Claims::Normalised(claims) => Some(Rc::new(claims.as_ref().clone().into_owned())),
                Claims::Token(_) | Claims::Answer(_) => None,
            },
            dates: Dates::of(&claims),
            audiences: claims.audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            headers: OnceCell::new(),
            exported: OnceCell::new(),
        })
    }
}

impl Proof {
    /// The checks of [`SignedToken::identity`] that may come out differently now, in the same order.
    fn check(&self, provider: &Provider, audiences: &Audiences, now: UnixTime) -> Result<(), VerifyError> {
        self.dates.check(provider, now)?;
        check_audience(self.audiences.iter().map(String::as_str), audiences)?;
        self.dates.check_lifetime(provider, now)
    }

    /// The memory that it holds besides itself, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let normalised = self.normalised.as_ref().map_or(0, |claims| claims.heap_bytes());
        let audiences: usize =
            self.audiences.iter().map(|audience| size_of_val(audience) + audience.len()).sum();
        let headers = self.headers.get().into_iter().flat_map(|edits| edits.iter()).map(HeaderEdit::bytes);
        let exported = self.exported.get().map_or(0, |text| text.len());
        normalised + audiences + headers.sum::<usize>() + exported
    }
}

impl Dates {
    const fn of(claims: &RegisteredClaims<'_>) -> Self {
        let RegisteredClaims { expires, not_before, issued, .. } = *claims;
        Self { expires, not_before, issued }
    }

    fn check(self, provider: &Provider, now: UnixTime) -> Result<(), VerifyError> {
        let skew = provider.clock_skew;
        if self.expires.is_some_and(|expires| expires.has_expired(now, skew)) {
            return Err(VerifyError::Expired);
        }
        if self.not_before.is_some_and(|not_before| not_before.lies_ahead(now, skew)) {
            return Err(VerifyError::NotYetValid);
        }
        Ok(())
    }

    fn check_lifetime(self, provider: &Provider, now: UnixTime) -> Result<(), VerifyError> {
        match (provider.max_lifetime, self.expires) {
            (None, _) => Ok(()),
            (Some(max), Some(expires)) if expires.comes_within(now, max) => Ok(()),
            (Some(_), _) => Err(VerifyError::Lifetime),
        }
    }
}

/// Any of them that the request allows is enough.
fn check_audience<'c>(
    mut claimed: impl Iterator<Item = &'c str>,
    audiences: &Audiences,
) -> Result<(), VerifyError> {
    let Audiences { allowed, form } = audiences;
    let is_allowed = |audience: &str| allowed.iter().any(|allowed| *allowed == form.of(audience));
    if allowed.is_empty() || claimed.any(is_allowed) { Ok(()) } else { Err(VerifyError::Audience) }
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
    let dates = Dates::of(&claims);
    if dates.expires.is_none() && provider.require_expiration && is_token {
        return Err(VerifyError::MissingExpiration);
    }
    dates.check(provider, now)?;
    check_audience(claims.audiences.iter().copied(), audiences)?;
    if let Some(subjects) = &provider.subjects
        && !claims.subject.is_some_and(|subject| subjects.matches(subject.as_bytes()))
    {
        return Err(VerifyError::Subject);
    }
    if is_token || dates.expires.is_some() {
        dates.check_lifetime(provider, now)?;
    }
    let party = claimed.payload.get("azp").and_then(Json::as_str);
    let is_party = |allowed: &String| party == Some(allowed);
    if !provider.authorized_parties.is_empty() && !provider.authorized_parties.iter().any(is_party) {
        return Err(VerifyError::AuthorizedParty);
    }
    match provider.required_claims.iter().find(|required| !is_met(required, claimed)) {
        Some(RequiredClaim::One(required)) => Err(VerifyError::Claim { name: required.path.join(".") }),
        Some(RequiredClaim::AnyOf(_)) => Err(VerifyError::Claim { name: "any_of".to_owned() }),
        None => Ok(()),
    }
}

fn is_met(required: &RequiredClaim, claimed: &Claimed<'_>) -> bool {
    match required {
        RequiredClaim::One(required) => is_like(required, claimed),
        RequiredClaim::AnyOf(lists) => {
            lists.iter().any(|list| list.iter().all(|required| is_met(required, claimed)))
        }
    }
}

/// A list is like a text by one of its items, and unlike it by all. What is no scalar is neither.
fn is_like(required: &ClaimMatch, claimed: &Claimed<'_>) -> bool {
    let members = match required.part {
        TokenPart::Header => claimed.header,
        TokenPart::Payload => Some(claimed.payload),
    };
    let claim = members.and_then(|members| members.at(&required.path));
    let (pattern, is_inverted, is_optional) = match &required.pattern {
        ClaimPattern::IsThere(expected) => {
            return claim.is_some_and(|claim| !matches!(claim, Json::Null)) == *expected;
        }
        ClaimPattern::Text { pattern, is_inverted, is_optional } => (pattern, *is_inverted, *is_optional),
    };
    let items = match claim {
        None => return is_optional,
        Some(Json::Array(items)) => items.as_slice(),
        Some(item) => std::slice::from_ref(item),
    };
    let texts: Option<Vec<_>> = items.iter().map(scalar_text).collect();
    texts.is_some_and(|texts| texts.iter().any(|text| pattern.matches(text.as_bytes())) != is_inverted)
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
        let said: Rc<Object<'t>> = match provider.claims_format {
            ClaimsFormat::Clerk => clerk_claims::without_custom_ones(confirmed.claims()).map(Rc::new),
            ClaimsFormat::Plain => None,
        }
        .unwrap_or_else(|| Rc::<Object<'t>>::clone(confirmed.claims()));
        let (claims, token) = match token {
            None => (said, None),
            Some(Self { token, claims, .. }) => {
                let (of_token, of_answer) = (claims.get().get("sub"), said.get("sub"));
                if of_token.is_some() && of_answer.is_some() && of_token != of_answer {
                    return Err(VerifyError::Subject);
                }
                (Rc::new(claims.get().with(&said)), *token)
            }
        };
        let issuer = claims.get("iss").and_then(Json::as_str);
        if !provider.takes_any_issuer() && issuer.is_some_and(|issuer| !is_of(provider, issuer, &claims)) {
            return Err(VerifyError::UnknownIssuer);
        }
        let header = token.map(|token| &token.header_members);
        check_payload(&Claimed { header, payload: &claims }, provider, audiences, now)?;
        Ok(Self { claims: Claims::Answer(claims), token, proof: None })
    }

    /// The claims.
    pub fn claims(&self) -> &Object<'t> {
        self.claims.get()
    }

    /// What was found out about its token earlier, and what was made of that, if nothing else says who it is.
    pub fn proof(&self) -> Option<&Proof> {
        self.proof.as_deref()
    }

    /// From when on it counts no longer, by its `exp` and the provider's clock skew.
    pub fn expires(&self, provider: &Provider) -> Option<UnixTime> {
        Some(self.dates(provider)?.expires?.time().after(provider.clock_skew))
    }

    /// When it was issued, by its `iat`.
    pub fn issued(&self, provider: &Provider) -> Option<UnixTime> {
        Some(self.dates(provider)?.issued?.time())
    }

    fn dates(&self, provider: &Provider) -> Option<Dates> {
        if let Some(proof) = &self.proof {
            return Some(proof.dates);
        }
        let claims = RegisteredClaims::of(self.claims(), provider.allows_numeric_subject).ok()?;
        Some(Dates::of(&claims))
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
            Self::Superseded => f.write_str("the browser has signed in since iat"),
            Self::Type => f.write_str("typ is not allowed"),
            Self::UnknownIssuer => f.write_str("iss names no provider"),
        }
    }
}

impl std::error::Error for VerifyError {}

#[cfg(test)]
impl Proof {
    /// One that nobody has found out, with these audiences.
    pub(crate) fn for_test(audiences: Vec<String>) -> Self {
        Self {
            key: KeyDigest::for_test(),
            set: Cell::new(SetDigest::for_test()),
            normalised: None,
            dates: Dates { expires: None, not_before: None, issued: None },
            audiences,
            headers: OnceCell::new(),
            exported: OnceCell::new(),
        }
    }
}
