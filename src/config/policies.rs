//! The differences from `jwt_authn` that a configuration may take back.
//!
//! Takes the field `"compat"`, gives one value that the rest of the configuration is read with. What is not in here
//! differs from the native filter for good: taking it back would open a hole.

/// What holds for all providers and rules unless they say otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policies {
    /// How refusals look.
    pub wording: Wording,
    /// How audiences are compared.
    pub audience_form: AudienceForm,
    /// What becomes of several credentials for one provider.
    pub several_credentials: SeveralCredentials,
    /// Whether a token without `exp` is refused where the provider does not say.
    pub require_expiration: bool,
    /// How claims become header values where the mapping does not say.
    pub claim_encoding: ClaimEncoding,
}

impl Policies {
    /// The safe and standard answers.
    pub const fn standard() -> Self {
        Self {
            wording: Wording::Standard,
            audience_form: AudienceForm::Exact,
            several_credentials: SeveralCredentials::Refuse,
            require_expiration: true,
            claim_encoding: ClaimEncoding::Csv,
        }
    }

    /// Those of `jwt_authn` (`"compat": "envoy"`).
    pub const fn envoy() -> Self {
        Self {
            wording: Wording::Envoy,
            audience_form: AudienceForm::WithoutScheme,
            several_credentials: SeveralCredentials::VerifyAll,
            require_expiration: false,
            claim_encoding: ClaimEncoding::Envoy,
        }
    }
}

/// How refusals look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wording {
    /// RFC 6750: uniform before the signature, with a fixed realm and a description.
    Standard,
    /// The status, body and challenge of `jwt_authn` (envoy `source/common/jwt/status.cc`).
    Envoy,
}

/// How audiences are compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AudienceForm {
    /// Character by character (RFC 7519 section 4.1.3).
    Exact,
    /// Without `http://` or `https://` in front and one slash at the end (envoy `source/common/jwt/check_audience.cc`).
    WithoutScheme,
}

impl AudienceForm {
    /// What is compared of an audience.
    pub fn of(self, audience: &str) -> &str {
        match self {
            Self::Exact => audience,
            Self::WithoutScheme => {
                let audience = audience
                    .strip_prefix("https://")
                    .or_else(|| audience.strip_prefix("http://"))
                    .unwrap_or(audience);
                audience.strip_suffix('/').unwrap_or(audience)
            }
        }
    }
}

/// What becomes of several credentials for one provider.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SeveralCredentials {
    /// They are refused (RFC 6750 section 2).
    Refuse,
    /// Every one of them must be good.
    VerifyAll,
}

/// How a claim becomes a header value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimEncoding {
    /// Text; lists joined by commas, objects as JSON.
    Csv,
    /// Compact JSON, whatever the claim is.
    Json,
    /// The same, as base64url without padding.
    Base64url,
    /// Text; lists joined by spaces, objects as JSON.
    Space,
    /// That of `jwt_authn`: text, but lists and objects as standard base64 of JSON, and numbers that are no whole
    /// number from zero on with six decimals.
    Envoy,
}
