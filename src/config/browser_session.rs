//! `browser_session`: the session that a provider keeps in the cookies of a browser, as Clerk and OneAuxilia do. Ours.
//!
//! Takes the object in a provider, gives a [`BrowserSession`]. Deliberately knows no cookie's value: which of them counts
//! is decided for each request, in `src/browser_session.rs`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest as _, Sha1};

use super::error::ConfigError;
use super::fields::Fields;
use super::value::Node;
use super::{BrowserSession, Handshake, Instance, Location};

/// How many characters of the digest tell the cookies of one instance from those of another.
const SUFFIX_LENGTH: usize = 8;

/// Of a publishable key: its start, and whether it is that of an instance in production.
const KEY_PREFIXES: [(&str, bool); 4] =
    [("pk_live_", true), ("pk_test_", false), ("pk_prod_", true), ("pk_dev_", false)];

/// Some keys have padding and some have not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The fields of a browser session.
pub fn fields() -> Vec<&'static str> {
    FIELDS.to_vec()
}

const FIELDS: [&str; 5] =
    ["session_cookie", "client_uat_cookie", "publishable_key", "handshake", "debug_headers"];

/// Reads the fields of a browser session of a provider that takes credentials from these places.
pub(super) fn browser_session(
    mut fields: Fields<'_>,
    locations: &[Location],
) -> Result<BrowserSession, ConfigError> {
    for name in FIELDS {
        fields.refuse_null(name)?;
    }
    let session_cookie = match fields.take("session_cookie")? {
        None => "__session",
        Some(node) => {
            let name = cookie_name(&node)?;
            let is_it =
                |location: &Location| matches!(location, Location::Cookie(cookie) if **cookie == *name);
            if !locations.iter().any(is_it) {
                let found = format!("{name:?}, a cookie that no credential is taken from");
                return Err(node.error(found, "one of \"from_cookies\""));
            }
            name
        }
    };
    let client_uat_cookie = match fields.take("client_uat_cookie")? {
        None => None,
        Some(node) if node.string()?.is_empty() => None,
        Some(node) => Some(cookie_name(&node)?.to_owned()),
    };
    let instance = match fields.take("publishable_key")? {
        None => None,
        Some(node) if node.string()?.is_empty() => None,
        Some(node) if client_uat_cookie.is_none() => {
            let found = "a publishable key, and nothing to choose between its cookies by";
            return Err(node.error(found, "also \"client_uat_cookie\""));
        }
        Some(node) => Some(instance(&node)?),
    };
    let handshake = fields.take("handshake")?.map(handshake).transpose()?;
    let shows_reasons = fields.boolean_or("debug_headers", false)?;
    fields.finish(&[])?;
    let session_cookie = session_cookie.to_owned();
    Ok(BrowserSession { session_cookie, client_uat_cookie, instance, handshake, shows_reasons })
}

fn cookie_name<'a>(node: &Node<'a>) -> Result<&'a str, ConfigError> {
    let name = node.string()?;
    let is_token = !name.is_empty() && name.bytes().all(super::is_token_char);
    if is_token { Ok(name) } else { Err(node.expected("the name of a cookie")) }
}

/// What a publishable key says: `pk_live_` or `pk_test_`, and the host of the frontend API in base64, which ends in `$`.
/// Those of OneAuxilia are `pk_prod_` and `pk_dev_`, and end in nothing.
fn instance(node: &Node<'_>) -> Result<Instance, ConfigError> {
    let key = node.string()?;
    let expected = || {
        node.error("a publishable key that cannot be read", "one as the provider shows it: \"pk_live_...\"")
    };
    let mut prefixes = KEY_PREFIXES.iter();
    let split =
        prefixes.find_map(|(prefix, is_production)| Some((key.strip_prefix(prefix)?, *is_production)));
    let (encoded, is_production) = split.ok_or_else(expected)?;
    let decoded = BASE64.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(expected)?;
    let frontend_api = decoded.strip_suffix('$').unwrap_or(&decoded);
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
    if frontend_api.is_empty() || !frontend_api.bytes().all(is_host) {
        return Err(expected());
    }
    let digest = URL_SAFE.encode(Sha1::digest(key.as_bytes()));
    let suffix = digest.chars().take(SUFFIX_LENGTH).collect();
    Ok(Instance { cookie_suffix: suffix, frontend_api: frontend_api.to_owned(), is_production })
}

fn handshake(node: Node<'_>) -> Result<Handshake, ConfigError> {
    let mut fields = Fields::of(node)?;
    let uri = fields.require("uri")?;
    let api_version = fields.take("api_version")?;
    fields.finish(&[])?;
    let text = uri.string()?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%[]".contains(&byte);
    let is_host = |rest: &str| !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(is_allowed);
    if !rest.is_some_and(is_host) {
        return Err(
            uri.expected("a URL without a query, such as \"https://clerk.example/v1/client/handshake\"")
        );
    }
    let is_version =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let api_version = match api_version {
        None => None,
        Some(node) if is_version(node.non_empty_string()?) => Some(node.string()?.to_owned()),
        Some(node) => return Err(node.expected("a version such as \"2025-04-10\"")),
    };
    Ok(Handshake { uri: text.to_owned(), api_version })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Json;

    fn read(key: &str) -> Option<Instance> {
        let text = format!("\"{key}\"");
        let value = Json::parse(text.as_bytes()).unwrap();
        instance(&Node::root(&value)).ok()
    }

    /// The cookie suffixes that Clerk's own SDK gives for these keys.
    #[test]
    fn cookies_have_the_suffix_that_the_provider_gives_them() {
        for (key, suffix, frontend_api, is_production) in [
            (
                "pk_live_ZmFrZS1jbGVyay10ZXN0LmNsZXJrLmFjY291bnRzLmRldiQ=",
                "qReyu04C",
                "fake-clerk-test.clerk.accounts.dev",
                true,
            ),
            ("pk_test_Y2xlcmsuY2xlcmsuZGV2JA", "QvfNY2dr", "clerk.clerk.dev", false),
            (
                "pk_live_Y2xlcmsuaW5zcGlyZWQucHVtYS03NC5sY2wuZGV2JA",
                "MqCvchyS",
                "clerk.inspired.puma-74.lcl.dev",
                true,
            ),
        ] {
            let expected = Instance {
                cookie_suffix: suffix.to_owned(),
                frontend_api: frontend_api.to_owned(),
                is_production,
            };
            assert_eq!(read(key), Some(expected), "{key}");
        }
    }

    #[test]
    fn a_key_of_oneauxilia_ends_in_nothing() {
        let instance = read("pk_dev_bXlhcHAub25lYXV4aWxpYS5pbw==").unwrap();
        assert_eq!((instance.frontend_api.as_str(), instance.is_production), ("myapp.oneauxilia.io", false));
    }

    #[test]
    fn what_is_no_publishable_key_is_refused() {
        for key in [
            "",
            "sk_live_abc",
            "pk_live_",
            "pk_live_!!",
            "pk_test_L2V2aWwvJA",
            "pk_live_JA==",
            "pk_live_/w==",
        ] {
            assert_eq!(read(key), None, "{key}");
        }
    }
}
