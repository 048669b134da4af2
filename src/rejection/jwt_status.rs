//! What `jwt_authn` calls a refusal.
//!
//! Takes a [`Rejection`], gives the number and the text of the native filter (envoy `source/common/jwt/status.h` and
//! `status.cc`), for `"compat": "envoy"` and for `failed_status_in_metadata`. Refusals that the native filter does not
//! know get the nearest status that it does.

use super::Rejection;
use crate::jose::claims::{ClaimFault, MalformedClaim};
use crate::jose::jwk::SignatureError;
use crate::jose::token::TokenError;
use crate::verify::VerifyError;

/// A status of the native filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JwtStatus {
    /// Its number.
    pub code: u8,
    /// Its text, which is the body of the native answer.
    pub text: &'static str,
}

const fn status(code: u8, text: &'static str) -> JwtStatus {
    JwtStatus { code, text }
}

const MISSED: JwtStatus = status(1, "Jwt is missing");
const NOT_YET_VALID: JwtStatus = status(2, "Jwt not yet valid");
const EXPIRED: JwtStatus = status(3, "Jwt is expired");
const BAD_FORMAT: JwtStatus =
    status(4, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections");
const UNKNOWN_ISSUER: JwtStatus = status(24, "Jwt issuer is not configured");
const AUDIENCE_NOT_ALLOWED: JwtStatus = status(25, "Audiences in Jwt are not allowed");
const VERIFICATION_FAIL: JwtStatus = status(26, "Jwt verification fails");
const MULTIPLE_TOKENS: JwtStatus = status(27, "Found multiple Jwt tokens");
const KID_ALG_MISMATCH: JwtStatus = status(32, "Jwks doesn't have key to match kid or alg from Jwt");
const FETCH_FAIL: JwtStatus = status(40, "Jwks remote fetch is failed");

impl JwtStatus {
    /// The HTTP status that the native filter answers with.
    pub const fn http_status(self) -> u16 {
        if self.code == AUDIENCE_NOT_ALLOWED.code { 403 } else { 401 }
    }

    /// Whether the native challenge has `error="invalid_token"`.
    pub const fn has_error(self) -> bool {
        self.code != MISSED.code
    }
}

impl Rejection {
    /// What the native filter calls this refusal.
    pub fn jwt_status(&self) -> JwtStatus {
        match self {
            Self::InvalidToken(error) => of_token(error),
            Self::CheckUnavailable { .. } | Self::KeysUnavailable { .. } | Self::Overloaded => FETCH_FAIL,
            Self::MalformedCredential => BAD_FORMAT,
            Self::MissingCredential => MISSED,
            Self::SignedOut(signed_out) => match &signed_out.error {
                Some(error) => of_token(error),
                None => MISSED,
            },
            Self::MultipleCredentials => MULTIPLE_TOKENS,
            Self::AmbiguousRequest
            | Self::CrossSite
            | Self::ForgedHeader
            | Self::HostFailure { .. }
            | Self::NoRule
            | Self::SessionDenied(_)
            | Self::UnknownRequirementName { .. }
            | Self::UnreadableHeader { .. } => VERIFICATION_FAIL,
        }
    }
}

const fn of_token(error: &VerifyError) -> JwtStatus {
    match error {
        VerifyError::Audience => AUDIENCE_NOT_ALLOWED,
        VerifyError::Expired => EXPIRED,
        VerifyError::Form(error) => of_form(error),
        VerifyError::NotYetValid => NOT_YET_VALID,
        VerifyError::Signature(SignatureError::NoKey | SignatureError::UnknownKeyId) => KID_ALG_MISMATCH,
        VerifyError::AuthorizedParty
        | VerifyError::Claim { .. }
        | VerifyError::Lifetime
        | VerifyError::MissingExpiration
        | VerifyError::Subject
        | VerifyError::Superseded
        | VerifyError::Type
        | VerifyError::Signature(SignatureError::Mismatch) => VERIFICATION_FAIL,
        VerifyError::UnknownIssuer => UNKNOWN_ISSUER,
    }
}

const fn of_form(error: &TokenError) -> JwtStatus {
    match error {
        TokenError::Segments | TokenError::TooLong => BAD_FORMAT,
        TokenError::NotBase64url { part } => match part.as_bytes() {
            b"header" => status(5, "Jwt header is an invalid Base64url encoded"),
            b"payload" => status(10, "Jwt payload is an invalid Base64url encoded"),
            _ => status(22, "Jwt signature is an invalid Base64url encoded"),
        },
        TokenError::NotJson { part, .. } => match part.as_bytes() {
            b"header" => status(6, "Jwt header is an invalid JSON"),
            _ => status(11, "Jwt payload is an invalid JSON"),
        },
        TokenError::Algorithm => status(7, "Jwt header [alg] field is required and must be a string"),
        TokenError::UnsupportedAlgorithm => status(8, "Jwt header [alg] is not supported"),
        TokenError::KeyId => status(9, "Jwt header [kid] field is not a string"),
        TokenError::Claim(claim) => of_claim(claim),
        // The native filter takes these tokens.
        TokenError::CriticalHeader { .. } | TokenError::Nested | TokenError::Type => VERIFICATION_FAIL,
    }
}

const fn of_claim(claim: &MalformedClaim) -> JwtStatus {
    match (claim.name.as_bytes(), claim.fault) {
        (b"iss", _) => status(12, "Jwt payload [iss] field is not a string"),
        (b"sub", _) => status(13, "Jwt payload [sub] field is not a string"),
        (b"iat", ClaimFault::Type) => status(14, "Jwt payload [iat] field is not an integer"),
        (b"iat", ClaimFault::Range) => status(15, "Jwt payload [iat] field is not a positive 64 bit integer"),
        (b"nbf", ClaimFault::Type) => status(16, "Jwt payload [nbf] field is not an integer"),
        (b"nbf", ClaimFault::Range) => status(17, "Jwt payload [nbf] field is not a positive 64 bit integer"),
        (b"exp", ClaimFault::Type) => status(18, "Jwt payload [exp] field is not an integer"),
        (b"exp", ClaimFault::Range) => status(19, "Jwt payload [exp] field is not a positive 64 bit integer"),
        (b"jti", _) => status(20, "Jwt payload [jti] field is not a string"),
        _ => status(21, "Jwt payload [aud] field is not a string or string list"),
    }
}
