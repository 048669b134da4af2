//! Credential + keys + time -> identity, or why not.
//!
//! Takes a parsed token, the provider it is held against, its keys and the time; gives a [`VerifiedIdentity`], which
//! can be made nowhere else. The signature comes first: no claim is trusted, compared or reported before it. Knows no
//! rule and no HTTP, and deliberately does no fetching: keys are an argument.

use std::fmt;

use crate::config::Provider;
use crate::jose::claims::RegisteredClaims;
use crate::jose::jwk::{JwkSet, SignatureError};
use crate::jose::token::{TokenError, UnverifiedToken};
use crate::json::Object;
use crate::time::UnixTime;

/// Whose token it is: the claims of a token that was verified for a provider.
#[derive(Debug)]
pub struct VerifiedIdentity<'t> {
    claims: Object<'t>,
    payload_segment: &'t str,
}

/// Why a token does not count.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum VerifyError {
    /// No audience of the token is one that the provider allows.
    Audience,
    /// Its `exp` has passed.
    Expired,
    /// It is not a token of the accepted form.
    Form(TokenError),
    /// Its `iss` is not the provider's.
    Issuer,
    /// It has no `exp`, and the provider requires one.
    MissingExpiration,
    /// Its `nbf` lies ahead.
    NotYetValid,
    /// No key of the provider made its signature.
    Signature(SignatureError),
    /// Its `iss` names no provider that takes tokens from where it was found.
    UnknownIssuer,
}

/// Verifies `token` for `provider` with `keys` at the time `now`.
///
/// In this order: signature, `iss` (exact), `exp` and `nbf` (with the provider's clock skew), `aud` (exact, any match).
///
/// # Errors
///
/// The first check that fails.
pub fn verify<'t>(
    token: UnverifiedToken<'t>,
    provider: &Provider,
    keys: &JwkSet,
    now: UnixTime,
) -> Result<VerifiedIdentity<'t>, VerifyError> {
    keys.verify(&token.header, token.compact, &provider.algorithms).map_err(VerifyError::Signature)?;
    check_claims(&token, provider, now)?;
    Ok(VerifiedIdentity { claims: token.payload, payload_segment: token.compact.payload_segment() })
}

fn check_claims(token: &UnverifiedToken<'_>, provider: &Provider, now: UnixTime) -> Result<(), VerifyError> {
    let claims = RegisteredClaims::of(&token.payload)
        .map_err(|malformed| VerifyError::Form(TokenError::Claim(malformed)))?;
    if provider.issuer.as_deref().is_some_and(|issuer| claims.issuer != Some(issuer)) {
        return Err(VerifyError::Issuer);
    }
    match claims.expires {
        Some(expires) if expires.has_expired(now, provider.clock_skew) => return Err(VerifyError::Expired),
        None if provider.require_expiration => return Err(VerifyError::MissingExpiration),
        _ => {}
    }
    if claims.not_before.is_some_and(|not_before| not_before.lies_ahead(now, provider.clock_skew)) {
        return Err(VerifyError::NotYetValid);
    }
    let is_allowed = |audience: &&str| provider.audiences.iter().any(|allowed| allowed == audience);
    if !provider.audiences.is_empty() && !claims.audiences.iter().any(is_allowed) {
        return Err(VerifyError::Audience);
    }
    Ok(())
}

impl<'t> VerifiedIdentity<'t> {
    /// The claims of the token.
    pub const fn claims(&self) -> &Object<'t> {
        &self.claims
    }

    /// The payload of the token as it was sent, base64url without padding.
    pub const fn payload_segment(&self) -> &'t str {
        self.payload_segment
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audience => f.write_str("no audience of the token is allowed"),
            Self::Expired => f.write_str("exp has passed"),
            Self::Form(error) => write!(f, "{error}"),
            Self::Issuer => f.write_str("iss is not the provider's"),
            Self::MissingExpiration => f.write_str("exp is missing"),
            Self::NotYetValid => f.write_str("nbf lies ahead"),
            Self::Signature(SignatureError::Mismatch) => f.write_str("no key made the signature"),
            Self::Signature(SignatureError::NoKey) => f.write_str("no key has this kid and alg"),
            Self::UnknownIssuer => f.write_str("iss names no provider"),
        }
    }
}

impl std::error::Error for VerifyError {}
