//! The registered claims that decide whether a token counts (RFC 7519 section 4.1).
//!
//! Takes a payload object, gives typed claims. A claim that is present in a wrong form is an error, never "absent":
//! `exp` as a string must not mean a token that lives for ever. Deliberately does not compare anything with the clock
//! or with a configuration: that is `verify`'s.

use std::fmt;
use std::time::Duration;

use crate::json::{Json, Object};
use crate::time::UnixTime;

/// The last second of the year 9999: a later time is a mistake of unit (milliseconds) or an attack.
const LATEST_NUMERIC_DATE: f64 = 253_402_300_799.0;

/// Seconds since the epoch, fractions allowed (RFC 7519 section 2).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct NumericDate(f64);

/// The registered claims of one payload, borrowed from it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredClaims<'a> {
    /// `sub`: whom it is about.
    pub subject: Option<&'a str>,
    /// `aud`: for whom it is, empty when absent. One string counts as a list of one.
    pub audiences: Vec<&'a str>,
    /// `exp`: from when on it must be refused.
    pub expires: Option<NumericDate>,
    /// `nbf`: until when it must be refused.
    pub not_before: Option<NumericDate>,
    /// `iat`: when it was issued.
    pub issued: Option<NumericDate>,
}

/// A registered claim that is there in a form RFC 7519 does not allow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MalformedClaim {
    /// The claim's name.
    pub name: &'static str,
    /// What is wrong with it.
    pub fault: ClaimFault,
}

/// What is wrong with a claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimFault {
    /// It is of another JSON type.
    Type,
    /// It is a number that is no date before the year 10000.
    Range,
}

impl MalformedClaim {
    const fn of_type(name: &'static str) -> Self {
        Self { name, fault: ClaimFault::Type }
    }
}

impl fmt::Display for MalformedClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the claim {:?} is malformed", self.name)
    }
}

impl std::error::Error for MalformedClaim {}

impl<'a> RegisteredClaims<'a> {
    /// Reads the registered claims of `payload`. RFC 7519 has `sub` be a string; some providers have numbers.
    ///
    /// # Errors
    ///
    /// The first claim of `iss`, `sub`, `jti`, `aud`, `exp`, `nbf`, `iat` that is present in a wrong form.
    pub fn of(payload: &'a Object<'_>, allows_numeric_subject: bool) -> Result<Self, MalformedClaim> {
        let [mut iss, mut sub, mut jti, mut aud, mut exp, mut nbf, mut iat] = [None; 7];
        for (name, value) in payload.members() {
            let claim = match name {
                "iss" => &mut iss,
                "sub" => &mut sub,
                "jti" => &mut jti,
                "aud" => &mut aud,
                "exp" => &mut exp,
                "nbf" => &mut nbf,
                "iat" => &mut iat,
                _ => continue,
            };
            *claim = Some(value);
        }
        let claims = Self {
            subject: match sub {
                Some(Json::Number(number)) if allows_numeric_subject => Some(number.as_str()),
                _ => string(sub, "sub")?,
            },
            audiences: audiences(aud)?,
            expires: numeric_date(exp, "exp")?,
            not_before: numeric_date(nbf, "nbf")?,
            issued: numeric_date(iat, "iat")?,
        };
        // Not needed for the decision, but a token that lies about their type is not one to trust.
        string(iss, "iss")?;
        string(jti, "jti")?;
        Ok(claims)
    }
}

impl NumericDate {
    /// Whether a token with this `exp` is over at `now`: at and after `exp + skew` ("on or after", RFC 7519 section
    /// 4.1.4).
    pub fn has_expired(self, now: UnixTime, skew: Duration) -> bool {
        now.as_secs_f64() >= self.0 + skew.as_secs_f64()
    }

    /// This time; the epoch for one before it.
    pub fn time(self) -> UnixTime {
        UnixTime::new(Duration::try_from_secs_f64(self.0.max(0.0)).unwrap_or(Duration::MAX))
    }

    /// Whether this time is less than `span` ahead of `now`.
    pub fn comes_within(self, now: UnixTime, span: Duration) -> bool {
        self.0 - now.as_secs_f64() < span.as_secs_f64()
    }

    /// Whether a token with this `nbf` may not be used yet at `now`.
    pub fn lies_ahead(self, now: UnixTime, skew: Duration) -> bool {
        self.0 > now.as_secs_f64() + skew.as_secs_f64()
    }
}

fn string<'a>(claim: Option<&'a Json<'_>>, name: &'static str) -> Result<Option<&'a str>, MalformedClaim> {
    match claim {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(MalformedClaim::of_type(name)),
    }
}

fn audiences<'a>(claim: Option<&'a Json<'_>>) -> Result<Vec<&'a str>, MalformedClaim> {
    let malformed = MalformedClaim::of_type("aud");
    match claim {
        None => Ok(Vec::new()),
        Some(Json::String(audience)) => Ok(vec![audience]),
        Some(Json::Array(items)) => items.iter().map(|item| item.as_str().ok_or(malformed)).collect(),
        Some(_) => Err(malformed),
    }
}

fn numeric_date(claim: Option<&Json<'_>>, name: &'static str) -> Result<Option<NumericDate>, MalformedClaim> {
    match claim {
        None => Ok(None),
        Some(Json::Number(number)) => {
            let seconds = number.as_f64();
            // Also false for what overflowed to infinity, and for NaN.
            if (0.0..=LATEST_NUMERIC_DATE).contains(&seconds) {
                Ok(Some(NumericDate(seconds)))
            } else {
                Err(MalformedClaim { name, fault: ClaimFault::Range })
            }
        }
        Some(_) => Err(MalformedClaim::of_type(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expires(exp: &str) -> Result<Option<NumericDate>, MalformedClaim> {
        let text = format!("{{\"exp\":{exp}}}");
        let payload = Object::parse(text.as_bytes()).unwrap();
        RegisteredClaims::of(&payload, false).map(|claims| claims.expires)
    }

    #[test]
    fn an_expiry_of_zero_is_a_past_time_and_not_unset() {
        for exp in ["0", "-0", "0.5", "-0.0", "1e-9"] {
            let exp = expires(exp).unwrap().unwrap();
            assert!(exp.has_expired(UnixTime::from_secs(1_700_000_000), Duration::from_secs(60)), "{exp:?}");
        }
    }

    #[test]
    fn malformed_expiry_is_refused_and_never_read_as_absent() {
        for exp in [
            "\"1700000000\"",
            "\"\"",
            "-1",
            "null",
            "true",
            "[1700000000]",
            "{}",
            "1e400",
            "-1e400",
            "1e308",
            "18446744073709551615",
            "9223372036854775807",
            "1700000000000",
            "253402300800",
        ] {
            assert_eq!(expires(exp).map_err(|malformed| malformed.name), Err("exp"), "{exp}");
        }
    }

    #[test]
    fn a_token_is_refused_on_its_expiry_plus_skew_and_accepted_just_before() {
        let exp = expires("1000").unwrap().unwrap();
        let skew = Duration::from_secs(60);
        assert!(!exp.has_expired(UnixTime::from_secs(1059), skew));
        assert!(exp.has_expired(UnixTime::from_secs(1060), skew));
        let fraction = expires("1000.75").unwrap().unwrap();
        assert!(!fraction.has_expired(UnixTime::from_secs(1060), skew));
        assert!(fraction.has_expired(UnixTime::from_secs(1061), skew));
        assert!(!exp.lies_ahead(UnixTime::from_secs(940), skew));
        assert!(exp.lies_ahead(UnixTime::from_secs(939), skew));
    }

    #[test]
    fn audiences_are_one_string_or_an_array_of_strings() {
        let read = |text: &'static str| {
            let payload = Object::parse(text.as_bytes()).unwrap();
            RegisteredClaims::of(&payload, false).map(|claims| claims.audiences.join("|"))
        };
        assert_eq!(read(r#"{"aud":"a"}"#), Ok("a".to_owned()));
        assert_eq!(read(r#"{"aud":["a","b"]}"#), Ok("a|b".to_owned()));
        assert_eq!(read(r"{}"), Ok(String::new()));
        for aud in [
            r#"{"aud":["a",1]}"#,
            r#"{"aud":1}"#,
            r#"{"aud":{"a":1}}"#,
            r#"{"aud":null}"#,
            r#"{"aud":[["a"]]}"#,
        ] {
            assert_eq!(read(aud), Err(MalformedClaim::of_type("aud")));
        }
    }

    #[test]
    fn issuer_subject_and_token_id_must_be_strings() {
        for name in ["iss", "sub", "jti"] {
            let text = format!("{{\"{name}\":[\"x\"]}}");
            let payload = Object::parse(text.as_bytes()).unwrap();
            assert_eq!(RegisteredClaims::of(&payload, false).map_err(|error| error.name), Err(name));
        }
    }
}
