//! Cookies of a browser + what became of its token -> why it is signed out, and whether it can be helped.
//!
//! Takes the request head, the [`BrowserSession`] of a provider and the time. Before the credentials are looked for it
//! says which cookie holds the session; around the verification it gives the reason of a refusal in the words of Clerk's
//! SDKs, and for a page that a browser opens the place to send it to for a new token (the handshake). Source: the backend
//! package of clerk/javascript. What cookies say selects and refuses, and never grants. Deliberately resolves no
//! handshake and renews no token: both take the provider's secret key, which is the application's.

use crate::config::{BrowserSession, Config, Handshake, Instance, Location};
use crate::jose::jwk::SignatureError;
use crate::jose::token::{CompactToken, TokenError, UnverifiedToken};
use crate::json::{Json, Object};
use crate::request::{
    RequestHead, cookie_pairs, is_named, percent_encode, query_pairs, split_target, trim_ows,
};
use crate::time::UnixTime;
use crate::verify::VerifyError;

/// The cookie that counts the redirects of a browser; the provider knows it by this name.
const REDIRECT_COUNT_COOKIE: &str = "__clerk_redirect_count";

/// A browser that has been sent this often within two seconds is not sent again.
const MAX_REDIRECTS: u8 = 3;

/// The token of a browser in development, as a cookie and as a query parameter.
const DEV_BROWSER: &str = "__clerk_db_jwt";

/// Query parameters that are not for the page.
const DEV_PARAMETERS: [&str; 2] = [DEV_BROWSER, "__dev_session"];

/// The cookie of a refresh token, which is there with a suffix alone.
const REFRESH_COOKIE: &str = "__refresh";

/// How the names of the provider's own cookies start, beside that of the session.
const OTHER_COOKIES: [&str; 3] = [REFRESH_COOKIE, "__client", "__clerk_handshake"];

/// The longest URL that a browser is sent to, in bytes.
const MAX_LOCATION_BYTES: usize = 8 * 1024;

/// `cat` of session tokens, and of tokens whose kind is not to be looked at.
const SESSION_CATEGORIES: [&str; 2] = ["cl_B7d4PD111AAA", "cl_I7d4PD111III"];

/// How opaque tokens of machines start.
const MACHINE_PREFIXES: [&str; 4] = ["mt_", "oat_", "ak_", "m2m_"];

/// A browser, as one request shows it.
#[derive(Clone, Copy, Debug)]
pub struct Browser<'r> {
    head: &'r RequestHead,
    config: &'r Config,
    session: &'r BrowserSession,
    /// The instance by whose suffix the cookies that count are named.
    suffix: Option<&'r Instance>,
}

/// Why a request counts as signed out.
#[derive(Clone, Debug, PartialEq)]
pub struct SignedOut {
    /// The reason in the words of the provider.
    pub reason: Reason,
    /// What is wrong with its token; nothing when it has none that counts.
    pub error: Option<VerifyError>,
    /// Whether the token is a cookie's, or would be.
    pub is_cookie: bool,
    /// Whether the reason is shown in the header of the reply.
    pub is_shown: bool,
    /// Where to send the browser for a token.
    pub redirect: Option<Redirect>,
}

/// Where a browser is sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// The URL.
    pub location: String,
    /// The cookie that counts it.
    pub cookie: String,
}

/// Declares the reasons and their words.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a browser is signed out (`AuthErrorReason` and `TokenVerificationErrorReason` of clerk/javascript).
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// The reason as the provider's SDKs write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The browser has signed in, and sends no token.
    ClientUatButNoSessionToken = "client-uat-but-no-session-token",
    /// The key set has no such key.
    KidMismatch = "jwk-kid-mismatch",
    /// The browser has signed out, and still sends a token.
    SessionTokenButNoClientUat = "session-token-but-no-client-uat",
    /// The token is over, and there is no refresh token.
    ExpiredWithoutRefreshToken = "session-token-expired-refresh-non-eligible-no-refresh-cookie",
    /// The token is over, and only a `GET` is worth another one.
    ExpiredAndNoGet = "session-token-expired-refresh-non-eligible-non-get",
    /// The token is over, and the gateway has no secret key to renew it with.
    ExpiredWithoutApiClient = "session-token-expired-refresh-missing-api-client",
    /// The token was issued before the browser signed in last.
    IssuedBeforeClientUat = "session-token-iat-before-client-uat",
    /// The token was issued in the future.
    IssuedInTheFuture = "session-token-iat-in-the-future",
    /// There is no token.
    SessionTokenMissing = "session-token-missing",
    /// The token counts in the future.
    NotBefore = "session-token-nbf",
    /// There is no token, and the browser has not signed in.
    SessionTokenAndUatMissing = "session-token-and-uat-missing",
    /// The token is that of another party.
    AuthorizedParty = "token-invalid-authorized-parties",
    /// The token cannot be read.
    Invalid = "token-invalid",
    /// The token is signed with an algorithm that is not allowed.
    InvalidAlgorithm = "token-invalid-algorithm",
    /// No key made the signature.
    InvalidSignature = "token-invalid-signature",
    /// The token is not of a session.
    TypeMismatch = "token-type-mismatch",
    /// Another check has failed.
    VerificationFailed = "token-verification-failed",
}

impl Reason {
    /// Whether a new token would help.
    const fn is_mendable(self) -> bool {
        matches!(
            self,
            Self::ClientUatButNoSessionToken
                | Self::SessionTokenButNoClientUat
                | Self::ExpiredWithoutRefreshToken
                | Self::ExpiredAndNoGet
                | Self::ExpiredWithoutApiClient
                | Self::IssuedBeforeClientUat
                | Self::IssuedInTheFuture
                | Self::NotBefore
        )
    }
}

impl<'r> Browser<'r> {
    /// The browser that sent `head`, by the cookies of `session`, which a provider of `config` keeps.
    pub fn of(head: &'r RequestHead, config: &'r Config, session: &'r BrowserSession, now: UnixTime) -> Self {
        let plain = Self { head, config, session, suffix: None };
        let suffix = session.instance.as_ref().filter(|instance| plain.uses_suffix(instance, now));
        Self { suffix, ..plain }
    }

    /// The name of the cookie that holds the session.
    pub fn session_cookie(&self) -> String {
        named(&self.session.session_cookie, self.suffix)
    }

    /// Whether the cookies with the suffix of the instance count. A browser has both kinds: those without a suffix may be
    /// of another instance on the same domain, or older.
    fn uses_suffix(&self, instance: &Instance, now: UnixTime) -> bool {
        let session = self.session;
        let Some(uat_cookie) = &session.client_uat_cookie else { return false };
        let value = |name: &str, suffix| self.cookie(&named(name, suffix)).unwrap_or_default();
        let plain = value(&session.session_cookie, None);
        let suffixed = value(&session.session_cookie, Some(instance));
        let plain_uat = value(uat_cookie, None);
        let suffixed_uat = value(uat_cookie, Some(instance));
        let plain_claims = Unverified::of(plain);
        if !plain.is_empty() {
            let Some(issuer) = &plain_claims.issuer else { return false };
            let host = issuer.split_once("://").map_or(issuer.as_str(), |(_, host)| host);
            if host != instance.frontend_api {
                return true;
            }
        }
        if suffixed.is_empty() && suffixed_uat.is_empty() {
            return false;
        }
        let suffixed_claims = Unverified::of(suffixed);
        let is_over = || suffixed_claims.expires.is_some_and(|expires| expires <= now.as_secs_f64());
        if suffixed_uat != b"0" && plain_uat != b"0" && plain_claims.issued > suffixed_claims.issued {
            return false;
        }
        if suffixed_uat == b"0" && plain_uat != b"0" {
            return false;
        }
        if !instance.is_production && suffixed_uat != b"0" && plain_uat == b"0" && is_over() {
            return false;
        }
        !suffixed_uat.is_empty()
    }

    /// Why a request without a token is signed out.
    pub fn without_token(&self) -> SignedOut {
        let reason = match self.client_uat() {
            None => Reason::SessionTokenMissing,
            Some(0) => Reason::SessionTokenAndUatMissing,
            Some(_) => Reason::ClientUatButNoSessionToken,
        };
        self.signed_out(reason, None, true)
    }

    /// Why a cookie does not count, whatever it holds: the browser has signed out or in since it was issued.
    pub fn outdated(&self, token: Option<&UnverifiedToken<'_>>) -> Option<SignedOut> {
        let client_uat = self.client_uat()?;
        if client_uat == 0 {
            return Some(self.signed_out(Reason::SessionTokenButNoClientUat, None, true));
        }
        let token = token.filter(|token| !is_of_another_kind(token))?;
        let is_older = number(&token.payload, "iat")? < seconds(client_uat);
        let error = Some(VerifyError::Superseded);
        is_older.then(|| self.signed_out(Reason::IssuedBeforeClientUat, error, true))
    }

    /// Why a token that was verified is still not that of a session here; `latest` is when it may have been issued.
    pub fn unfit(&self, token: &UnverifiedToken<'_>, is_cookie: bool, latest: UnixTime) -> Option<SignedOut> {
        if is_of_another_kind(token) {
            return Some(self.signed_out(Reason::TypeMismatch, Some(VerifyError::Type), is_cookie));
        }
        let is_ahead = number(&token.payload, "iat")? > latest.as_secs_f64();
        let error = Some(VerifyError::NotYetValid);
        is_ahead.then(|| self.signed_out(Reason::IssuedInTheFuture, error, is_cookie))
    }

    /// Why a token that was not verified is not.
    pub fn refused(
        &self,
        error: VerifyError,
        credential: &str,
        token: Option<&UnverifiedToken<'_>>,
        is_cookie: bool,
    ) -> SignedOut {
        let is_of_machine = || MACHINE_PREFIXES.iter().any(|prefix| credential.starts_with(prefix));
        let reason = match &error {
            _ if token.is_some_and(is_of_another_kind) || is_of_machine() => Reason::TypeMismatch,
            VerifyError::Expired => self.expired(),
            VerifyError::NotYetValid => Reason::NotBefore,
            VerifyError::AuthorizedParty => Reason::AuthorizedParty,
            VerifyError::Form(TokenError::Algorithm | TokenError::UnsupportedAlgorithm)
            | VerifyError::Signature(SignatureError::NoKey) => Reason::InvalidAlgorithm,
            VerifyError::Form(_) | VerifyError::Type => Reason::Invalid,
            VerifyError::Signature(SignatureError::Mismatch) => Reason::InvalidSignature,
            VerifyError::Signature(SignatureError::UnknownKeyId) => Reason::KidMismatch,
            _ => Reason::VerificationFailed,
        };
        self.signed_out(reason, Some(error), is_cookie)
    }

    /// Why an expired token is not renewed here.
    fn expired(&self) -> Reason {
        let has_refresh_token =
            self.suffix.is_some_and(|instance| self.cookie(&named(REFRESH_COOKIE, Some(instance))).is_some());
        if self.head.value(":method") != b"GET" {
            Reason::ExpiredAndNoGet
        } else if has_refresh_token {
            Reason::ExpiredWithoutApiClient
        } else {
            Reason::ExpiredWithoutRefreshToken
        }
    }

    fn signed_out(&self, reason: Reason, error: Option<VerifyError>, is_cookie: bool) -> SignedOut {
        let handshake = self.session.handshake.as_ref().filter(|_| reason.is_mendable());
        let redirect = handshake.and_then(|handshake| self.redirect(handshake, reason));
        SignedOut { reason, error, is_cookie, is_shown: self.session.shows_reasons, redirect }
    }

    /// When the browser signed in last: 0 when it has not, or has signed out.
    fn client_uat(&self) -> Option<i64> {
        let name = self.session.client_uat_cookie.as_ref()?;
        Some(leading_integer(self.cookie(&named(name, self.suffix)).unwrap_or_default()))
    }

    /// The first cookie of this name, as servers in JavaScript have it; a second session cookie is refused elsewhere.
    fn cookie(&self, name: &str) -> Option<&'r [u8]> {
        let mut pairs = self.head.values("cookie").flat_map(cookie_pairs);
        pairs.find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
    }

    /// Where a browser gets a new token, if it opens a page with this request and has not been there just now.
    fn redirect(&self, handshake: &Handshake, reason: Reason) -> Option<Redirect> {
        let head = self.head;
        let opens_page = match head.values("sec-fetch-dest").next() {
            Some(destination) => matches!(destination, b"document" | b"iframe"),
            None => head.value("accept").starts_with(b"text/html"),
        };
        let count = u8::try_from(leading_integer(self.cookie(REDIRECT_COUNT_COOKIE).unwrap_or_default()));
        let count = count.unwrap_or(MAX_REDIRECTS);
        if head.value(":method") != b"GET" || !opens_page || count >= MAX_REDIRECTS {
            return None;
        }
        let suffixed = self.suffix.is_some().to_string();
        let mut parameters = vec![("redirect_url", self.page_url()?)];
        if let Some(version) = &handshake.api_version {
            parameters.push(("__clerk_api_version", version.clone().into_bytes()));
        }
        parameters.push(("suffixed_cookies", suffixed.into_bytes()));
        parameters.push(("__clerk_hs_reason", reason.as_str().as_bytes().to_vec()));
        parameters.push(("format", b"nonce".to_vec()));
        parameters.extend(self.dev_browser().map(|token| (DEV_BROWSER, token.to_vec())));
        let parameters: Vec<_> = parameters
            .into_iter()
            .map(|(name, value)| format!("{name}={}", percent_encode(&value)))
            .collect();
        let location = format!("{}?{}", handshake.uri, parameters.join("&"));
        let cookie =
            format!("{REDIRECT_COUNT_COOKIE}={}; SameSite=Lax; HttpOnly; Max-Age=2", count.saturating_add(1));
        (location.len() <= MAX_LOCATION_BYTES).then_some(Redirect { location, cookie })
    }

    /// The token that tells one browser in development from others.
    fn dev_browser(&self) -> Option<&'r [u8]> {
        let instance = self.session.instance.as_ref().filter(|instance| !instance.is_production)?;
        let in_query = query_pairs(self.head.query().unwrap_or_default())
            .find(|(name, value)| is_named(name, DEV_BROWSER) && !value.is_empty())
            .map(|(_, value)| value);
        let suffixed = self.suffix.map(|_| named(DEV_BROWSER, Some(instance)));
        let in_cookie = || self.cookie(suffixed.as_deref().unwrap_or(DEV_BROWSER));
        in_query.or_else(in_cookie)
    }

    /// The URL of the page as the browser knows it, without what is for development, and without parameters that are
    /// credentials, which are none of the provider's business: proxies in front of this one say in `x-forwarded-proto`
    /// and `x-forwarded-host` what it was.
    fn page_url(&self) -> Option<Vec<u8>> {
        let head = self.head;
        let first = |name| trim_ows(head.value(name).split(|byte| *byte == b',').next().unwrap_or_default());
        let or = |value: &'r [u8], other: &'r [u8]| if value.is_empty() { other } else { value };
        let scheme = or(first("x-forwarded-proto"), head.value(":scheme"));
        let host = or(first("x-forwarded-host"), or(head.value(":authority"), head.value("host")));
        let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte);
        if !matches!(scheme, b"http" | b"https") || host.is_empty() || !host.iter().all(is_host) {
            return None;
        }
        let (path, query) = split_target(head.target());
        if !path.starts_with(b"/") {
            return None;
        }
        let mut url = [scheme, b"://", host, path].concat();
        let locations = self.config.providers.iter().flat_map(|provider| &provider.locations);
        let credentials = locations.filter_map(|location| match location {
            Location::Query(parameter) => Some(&**parameter),
            Location::Header { .. } | Location::Cookie(_) => None,
        });
        let hidden: Vec<_> = DEV_PARAMETERS.into_iter().chain(credentials).collect();
        let is_for_page = |pair: &&[u8]| {
            let mut names = query_pairs(pair).map(|(name, _)| name);
            !names.any(|name| hidden.iter().any(|parameter| is_named(name, parameter)))
        };
        let kept: Vec<_> =
            query.unwrap_or_default().split(|byte| *byte == b'&').filter(is_for_page).collect();
        let kept = kept.join(&b'&');
        if !kept.is_empty() {
            url.push(b'?');
            url.extend(kept);
        }
        Some(url)
    }
}

/// The names of the cookies in `head` that are the provider's own: they hold a credential, or what leads to one.
pub fn own_cookies(head: &RequestHead, session: &BrowserSession) -> Vec<String> {
    let is_own = |name: &str| {
        let starts_so = |start: &str| {
            name.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        starts_so(&session.session_cookie) || OTHER_COOKIES.iter().any(|start| starts_so(start))
    };
    let names = head.values("cookie").flat_map(cookie_pairs);
    let names = names.filter_map(|(name, _)| std::str::from_utf8(name).ok());
    names.filter(|name| is_own(name)).map(str::to_owned).collect()
}

/// A cookie's name with the suffix of an instance.
fn named(name: &str, suffix: Option<&Instance>) -> String {
    match suffix {
        None => name.to_owned(),
        Some(instance) => format!("{name}_{}", instance.cookie_suffix),
    }
}

/// What a cookie says of itself, which nobody has verified: good enough to choose between two.
#[derive(Default)]
struct Unverified {
    issuer: Option<String>,
    issued: f64,
    expires: Option<f64>,
}

impl Unverified {
    fn of(cookie: &[u8]) -> Self {
        let Ok(compact) = std::str::from_utf8(cookie)
            .map_err(drop)
            .and_then(|text| CompactToken::decode(text).map_err(drop))
        else {
            return Self::default();
        };
        let Ok(token) = compact.parse() else { return Self::default() };
        Self {
            issuer: token.payload.get("iss").and_then(Json::as_str).map(str::to_owned),
            issued: number(&token.payload, "iat").unwrap_or_default(),
            expires: number(&token.payload, "exp"),
        }
    }
}

/// Whether a token is not one of a session: one for a machine or an OAuth client, or made from a template, which outlives
/// the session.
fn is_of_another_kind(token: &UnverifiedToken<'_>) -> bool {
    let category = token.header_members.get("cat");
    let is_session =
        |category: &Json<'_>| category.as_str().is_some_and(|name| SESSION_CATEGORIES.contains(&name));
    let subject = token.payload.get("sub").and_then(Json::as_str).unwrap_or_default();
    category.is_some_and(|category| !is_session(category))
        || token.header.media_type.as_deref() == Some("at+jwt")
        || subject.starts_with("mch_")
}

fn number(claims: &Object<'_>, name: &str) -> Option<f64> {
    match claims.get(name)? {
        Json::Number(number) => Some(number.as_f64()),
        _ => None,
    }
}

/// Seconds since the epoch, as far as there is a use for them.
fn seconds(value: i64) -> f64 {
    u32::try_from(value.max(0)).map_or(f64::INFINITY, f64::from)
}

/// The integer that a text starts with, as JavaScript's `parseInt` reads it; 0 when there is none.
fn leading_integer(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits.fold(0_i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit.saturating_sub(b'0')))
    });
    if is_negative { value.saturating_neg() } else { value }
}
