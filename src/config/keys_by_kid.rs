//! `remote_keys_by_kid`: keys that are fetched one by one. Ours.

use std::time::Duration;

use super::error::ConfigError;
use super::fields::Fields;
use super::remote_keys::{http_uri_of, schedule};
use super::value::Node;
use super::{Endpoint, KeysByKid, Surroundings};

/// What stands for the `kid` in the URI.
const KID: &str = "{kid}";
/// An identity provider needs one at a time and two while it changes them.
const DEFAULT_MAX_KEYS: u32 = 8;
const FEWEST_KEYS: u32 = 2;
const MOST_KEYS: u32 = 64;

impl KeysByKid {
    /// Where the key of this `kid` is. It goes into the path as it is: nothing but a UUID may be asked for.
    pub fn place(&self, key_id: &str) -> Endpoint {
        self.before.with_path(format!("{}{key_id}{}", self.before.path, self.after))
    }
}

/// Whether `text` is a UUID (RFC 9562), which means nothing in a URL.
pub(crate) fn is_uuid(text: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let groups = text.split('-').map(str::len);
    groups.eq(GROUPS) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

pub(super) fn keys_by_kid(node: &Node<'_>, surroundings: Surroundings<'_>) -> Result<KeysByKid, ConfigError> {
    const EXPECTED: &str = "a URI with \"{kid}\" once, in its path, such as \"https://host/keys/{kid}\"";
    let mut fields = Fields::of(node.clone())?;
    let http_uri = fields.require("http_uri")?;
    let max_keys = match fields.take("max_keys")? {
        None => DEFAULT_MAX_KEYS,
        Some(node) => {
            let max_keys = node.u32()?;
            if !(FEWEST_KEYS..=MOST_KEYS).contains(&max_keys) {
                return Err(node.expected(format!("a number from {FEWEST_KEYS} to {MOST_KEYS}")));
            }
            max_keys
        }
    };
    let schedule = schedule(&mut fields)?;
    fields.finish(&[])?;
    let (endpoint, timeout): (Endpoint, Duration) =
        http_uri_of(http_uri.clone(), "https://host/keys/{kid}", surroundings)?;
    let parts = endpoint.path.split_once(KID).filter(|(before, after)| {
        let is_plain = |text: &str| !text.contains(['{', '}']);
        is_plain(before) && is_plain(after) && is_plain(&endpoint.authority) && !before.contains('?')
    });
    let (before, after) = parts
        .ok_or_else(|| http_uri.error("a URI that is the same for every key, or malformed", EXPECTED))?;
    Ok(KeysByKid {
        before: endpoint.with_path(before.to_owned()),
        after: after.to_owned(),
        timeout,
        max_keys: max_keys.try_into().unwrap_or(usize::MAX),
        schedule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_five_groups_of_hexadecimal_digits_and_nothing_else() {
        for uuid in ["8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3", "8E4DDC9B-7A9C-4B2E-9D2A-0D5CE5D1A1F3"] {
            assert!(is_uuid(uuid), "{uuid}");
        }
        for other in [
            "",
            "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f",
            "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3-",
            "8e4ddc9b7a9c4b2e9d2a0d5ce5d1a1f3",
            "{8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3}",
            "../../9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3",
            "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1%3",
            "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1/3",
            "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3\n",
            "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a\u{e9}3",
        ] {
            assert!(!is_uuid(other), "{other}");
        }
    }
}
