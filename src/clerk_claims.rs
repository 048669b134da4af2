//! The organisation in a session token of Clerk's version 2 -> the claims that version 1 has for it.
//!
//! Version 2 (`v: 2`) has the active organisation in `o`, the features of user and organisation in `fea`, and what the
//! user may do with each of the latter as bits of decimal numbers. Takes claims, gives them with `org_id`, `org_slug`,
//! `org_role` and `org_permissions`. In version 2 these four names are free for custom claims, which users may have
//! chosen, so those of a token never survive, whether there is an organisation or not.
//!
//! Whatever is malformed, unknown or beyond the bounds below makes it a token without an organisation: half of what
//! somebody may do could be more than that, once places in a list have moved.

use std::borrow::Cow;

use crate::json::{Json, Object};

const ID: &str = "org_id";
const SLUG: &str = "org_slug";
const ROLE: &str = "org_role";
const PERMISSIONS: &str = "org_permissions";

/// The most features of an organisation.
pub const MAX_FEATURES: usize = 256;
/// The most kinds of permissions: the bits that are kept of a number, however long it is.
pub const MAX_KINDS: usize = 128;
/// The most permissions, each a kind for a feature. Far less already makes a header that is left out.
pub const MAX_PERMISSIONS: usize = 1024;

/// The active organisation, and what the user is in it.
struct Organisation<'c> {
    id: &'c str,
    slug: &'c str,
    role: &'c str,
    permissions: Vec<String>,
}

/// The claims as version 1 has them. `None` when they are of that version, or of none, and stay as they are. A version
/// after 2 is not known here: what it says of organisations is left out.
pub fn normalised<'c>(claims: &Object<'c>) -> Option<Object<'c>> {
    let version = version(claims).filter(|version| *version >= 2.0)?;
    let organisation = if version == 2.0 { Organisation::of(claims) } else { None };
    let text = |text: String| Json::String(Cow::Owned(text));
    let (id, slug, role, permissions) = match organisation {
        None => (None, None, None, None),
        Some(Organisation { id, slug, role, permissions }) => (
            Some(text(id.to_owned())),
            (!slug.is_empty()).then(|| text(slug.to_owned())),
            (!role.is_empty()).then(|| text(format!("org:{role}"))),
            Some(Json::Array(permissions.into_iter().map(text).collect())),
        ),
    };
    let members = [(ID, id), (SLUG, slug), (ROLE, role), (PERMISSIONS, permissions)];
    let claims = claims.clone();
    Some(members.into_iter().fold(claims, |claims, (name, value)| claims.with_member(name, value)))
}

/// What an identity provider said of a token, without the four names where it repeats the claims of version 2. `None` when
/// it does not, and stays as it is.
pub fn without_custom_ones<'c>(said: &Object<'c>) -> Option<Object<'c>> {
    version(said).filter(|version| *version >= 2.0)?;
    let names = [ID, SLUG, ROLE, PERMISSIONS];
    Some(names.into_iter().fold(said.clone(), |said, name| said.with_member(name, None)))
}

/// A `v` that is no number is somebody's custom claim.
fn version(claims: &Object<'_>) -> Option<f64> {
    match claims.get("v")? {
        Json::Number(version) => Some(version.as_f64()),
        _ => None,
    }
}

impl<'c> Organisation<'c> {
    fn of(claims: &'c Object<'_>) -> Option<Self> {
        let organisation = claims.get("o")?.as_object()?;
        let id = text(organisation, "id")?;
        let features = features(text(claims, "fea")?)?;
        let permissions = permissions(&features, text(organisation, "per")?, text(organisation, "fpm")?)?;
        let (slug, role) = (text(organisation, "slg")?, text(organisation, "rol")?);
        (!id.is_empty()).then_some(Self { id, slug, role, permissions })
    }
}

/// A member that is a string; an empty one when it is not there. `None` when it is something else.
fn text<'o>(object: &'o Object<'_>, name: &str) -> Option<&'o str> {
    match object.get(name) {
        None | Some(Json::Null) => Some(""),
        Some(value) => value.as_str(),
    }
}

/// The items of a list with commas between them; none of an empty text.
fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|_| !list.is_empty())
}

/// The features of the organisation, in order: those of the user alone do not count among them.
fn features(list: &str) -> Option<Vec<&str>> {
    let mut features = Vec::new();
    for item in items(list) {
        let (scope, name) = item.split_once(':')?;
        if name.is_empty() || name.contains(':') {
            return None;
        }
        match scope {
            "o" | "ou" | "uo" => features.push(name),
            "u" => {}
            _ => return None,
        }
    }
    (features.len() <= MAX_FEATURES).then_some(features)
}

/// `org:<feature>:<kind>` for each kind whose bit is set in the number of the feature, the lowest bit for the first
/// kind. Features without a number have none; numbers without a feature and bits without a kind mean nothing.
fn permissions(features: &[&str], kinds: &str, numbers: &str) -> Option<Vec<String>> {
    let kinds: Vec<_> = items(kinds).collect();
    let numbers: Vec<_> = items(numbers).map(lowest_bits).collect::<Option<_>>()?;
    if kinds.len() > MAX_KINDS || kinds.contains(&"") {
        return None;
    }
    let mut permissions = Vec::new();
    for (feature, number) in features.iter().zip(numbers) {
        let mut bits = number;
        for kind in &kinds {
            if bits & 1 == 1 {
                permissions.push(format!("org:{feature}:{kind}"));
            }
            bits >>= 1;
        }
        if permissions.len() > MAX_PERMISSIONS {
            return None;
        }
    }
    Some(permissions)
}

/// The lowest 128 bits of a decimal number of any length: what overflows are the bits above them. `None` when it is no
/// such number.
fn lowest_bits(decimal: &str) -> Option<u128> {
    let digit = |byte: u8| byte.checked_sub(b'0').filter(|digit| *digit < 10).map(u128::from);
    let append = |bits: u128, byte| Some(bits.wrapping_mul(10).wrapping_add(digit(byte)?));
    if decimal.is_empty() { None } else { decimal.bytes().try_fold(0, append) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const ORGANISATION: [&str; 4] = [ID, SLUG, ROLE, PERMISSIONS];

    fn normalise(claims: &Value) -> Option<Value> {
        let text = claims.to_string();
        let normalised = normalised(&Object::parse(text.as_bytes()).unwrap())?;
        Some(serde_json::from_str(&normalised.to_string()).unwrap())
    }

    /// Claims of version 2 of an administrator, with these features and this in `o`.
    fn claims(fea: &str, organisation: Value) -> Value {
        let mut o = json!({ "id": "org_1", "slg": "acme", "rol": "admin" });
        for (name, value) in organisation.as_object().unwrap() {
            o[name] = value.clone();
        }
        json!({ "v": 2, "sub": "user_1", "fea": fea, "o": o })
    }

    fn permissions_of(fea: &str, per: &str, fpm: &str) -> Option<Vec<String>> {
        let normalised = normalise(&claims(fea, json!({ "per": per, "fpm": fpm }))).unwrap();
        let permissions = normalised.get(PERMISSIONS)?.as_array().unwrap();
        assert_eq!(normalised[ID], "org_1");
        Some(permissions.iter().map(|item| item.as_str().unwrap().to_owned()).collect())
    }

    fn has_no_organisation(claims: &Value) -> bool {
        let normalised = normalise(claims).unwrap();
        ORGANISATION.iter().all(|name| normalised.get(name).is_none())
    }

    #[test]
    fn permissions_are_those_that_clerk_derives() {
        for (fea, per, fpm, expected) in [
            (
                "o:impersonation,o:memberships",
                "read,manage",
                "1,3",
                &["org:impersonation:read", "org:memberships:read", "org:memberships:manage"][..],
            ),
            (
                "uo:impersonation,o:memberships,uo:feature3",
                "read,manage",
                "1,3,1",
                &[
                    "org:impersonation:read",
                    "org:memberships:read",
                    "org:memberships:manage",
                    "org:feature3:read",
                ],
            ),
            ("o:a", "read,manage", "3", &["org:a:read", "org:a:manage"]),
            // A feature without a number.
            ("o:a,o:b,o:c", "read,manage", "1,3", &["org:a:read", "org:b:read", "org:b:manage"]),
            ("ou:a,u:b", "read,manage", "3", &["org:a:read", "org:a:manage"]),
            // Those of the user alone have no number, wherever they stand.
            ("u:x,o:a,u:y,o:b", "read,manage", "1,2", &["org:a:read", "org:b:manage"]),
            (
                "o:a,uo:b,u:c",
                "r,c,u,d,x",
                "7,21",
                &["org:a:r", "org:a:c", "org:a:u", "org:b:r", "org:b:u", "org:b:x"],
            ),
            (
                "o:a,o:b,o:c,o:d",
                "read,manage",
                "1,2,3",
                &["org:a:read", "org:b:manage", "org:c:read", "org:c:manage"],
            ),
            (" o:a , o:b ", " read , manage ", " 1 , 2 ", &["org:a:read", "org:b:manage"]),
            // Bits that stand for nothing, and numbers that do.
            ("o:a", "read", "255", &["org:a:read"]),
            ("o:a", "read", "1,1,1", &["org:a:read"]),
            ("o:a", "read", "0", &[]),
            ("o:a", "read", "0001", &["org:a:read"]),
            ("o:a", "a:b", "1", &["org:a:a:b"]),
            ("u:a,u:b", "", "", &[]),
            ("", "", "", &[]),
            ("o:a", "", "1", &[]),
            ("o:a", "read", "", &[]),
        ] {
            assert_eq!(permissions_of(fea, per, fpm).unwrap(), expected, "{fea} {per} {fpm}");
        }
    }

    #[test]
    fn an_organisation_is_what_version_1_says_of_it() {
        let claims = claims("o:a", json!({ "per": "read", "fpm": "1" }));
        let mut expected = claims.clone();
        expected["org_id"] = json!("org_1");
        expected["org_slug"] = json!("acme");
        expected["org_role"] = json!("org:admin");
        expected["org_permissions"] = json!(["org:a:read"]);
        assert_eq!(normalise(&claims), Some(expected));
        let bare = normalise(&json!({ "v": 2.0, "o": { "id": "org_1", "slg": null, "rol": "" } })).unwrap();
        assert_eq!((&bare["org_id"], &bare["org_permissions"]), (&json!("org_1"), &json!([])));
        assert_eq!((bare.get("org_slug"), bare.get("org_role")), (None, None));
    }

    #[test]
    fn claims_of_version_1_stay_as_they_are() {
        for v in [json!(null), json!(1), json!(0), json!(-2), json!("2"), json!([2]), json!(true), json!({})]
        {
            let claims = json!({ "v": v, "org_id": "org_1", "o": { "id": "org_2" } });
            assert_eq!(normalise(&claims), None, "{claims}");
        }
        assert_eq!(normalise(&json!({ "org_id": "org_1", "o": { "id": "org_2" } })), None);
    }

    #[test]
    fn custom_claims_are_never_taken_for_the_organisation() {
        let forged = json!({
            "org_id": "org_evil", "org_slug": "evil", "org_role": "org:owner", "org_permissions": ["org:a:all"],
        });
        let with_forged = |mut claims: Value| {
            for (name, value) in forged.as_object().unwrap() {
                claims[name] = value.clone();
            }
            claims
        };
        let normalised =
            normalise(&with_forged(claims("o:a", json!({ "per": "read", "fpm": "1" })))).unwrap();
        assert_eq!(normalised["org_id"], "org_1");
        assert_eq!(normalised["org_slug"], "acme");
        assert_eq!(normalised["org_role"], "org:admin");
        assert_eq!(normalised["org_permissions"], json!(["org:a:read"]));
        // What the organisation does not have does not come from elsewhere.
        let normalised = normalise(&with_forged(json!({ "v": 2, "o": { "id": "org_1" } }))).unwrap();
        assert_eq!((normalised.get("org_slug"), normalised.get("org_role")), (None, None));
        assert_eq!(normalised["org_permissions"], json!([]));
        for claims in [
            json!({ "v": 2 }),
            json!({ "v": 2, "o": null }),
            json!({ "v": 3, "o": { "id": "org_1" } }),
            json!({ "v": 2.5, "o": { "id": "org_1" } }),
            json!({ "v": 1e300 }),
        ] {
            assert!(has_no_organisation(&with_forged(claims.clone())), "{claims}");
        }
    }

    #[test]
    fn what_is_malformed_is_no_organisation() {
        assert!(!has_no_organisation(&claims("o:a", json!({}))));
        for o in [json!("org_1"), json!(["org_1"]), json!(true), json!({}), json!({ "slg": "acme" })] {
            assert!(has_no_organisation(&json!({ "v": 2, "o": o })), "{o}");
        }
        for (name, value) in [
            ("id", json!("")),
            ("id", json!(5)),
            ("id", json!(null)),
            ("slg", json!(5)),
            ("rol", json!(["admin"])),
            ("per", json!(["read"])),
            ("per", json!("read,,manage")),
            ("per", json!("read,")),
            ("fpm", json!(3)),
            ("fpm", json!("1,")),
            ("fpm", json!("-1")),
            ("fpm", json!("+1")),
            ("fpm", json!("1.0")),
            ("fpm", json!("0x1")),
            ("fpm", json!("1e3")),
            ("fpm", json!("1 1")),
            ("fpm", json!("\u{661}")),
        ] {
            assert!(has_no_organisation(&claims("o:a", json!({ name: value.clone() }))), "{name}: {value}");
        }
        for fea in ["a", "o:a,", ",o:a", "o:", ":a", "o:a:b", "O:a", "x:a", "o:a,b", "ouo:a", "o :a"] {
            assert!(has_no_organisation(&claims(fea, json!({ "per": "read", "fpm": "1" }))), "{fea}");
        }
        let mut claims = claims("o:a", json!({}));
        claims["fea"] = json!(["o:a"]);
        assert!(has_no_organisation(&claims));
    }

    #[test]
    fn bits_are_those_of_the_whole_number_however_long_it_is() {
        let kinds: Vec<_> = (0..128).map(|number| format!("k{number}")).collect();
        let per = kinds.join(",");
        let of = |fpm: &str| permissions_of("o:a", &per, fpm).unwrap();
        assert_eq!(of("9007199254740993"), ["org:a:k0", "org:a:k53"], "2^53 + 1");
        assert_eq!(of("18446744073709551616"), ["org:a:k64"], "2^64");
        assert_eq!(of("170141183460469231731687303715884105728"), ["org:a:k127"], "2^127");
        assert_eq!(of("340282366920938463463374607431768211456"), [""; 0], "2^128");
        assert_eq!(of("340282366920938463463374607431768211457"), ["org:a:k0"], "2^128 + 1");
        assert_eq!(of("340282366920938463463374607431768211455").len(), 128);
        assert_eq!(of(&format!("{}3", "0".repeat(10_000))), ["org:a:k0", "org:a:k1"]);
    }

    #[test]
    fn the_work_and_what_comes_of_it_are_bounded() {
        let list = |most: usize, start: &str| {
            (0..most).map(|number| format!("{start}{number}")).collect::<Vec<_>>().join(",")
        };
        let ones = |most: usize| vec!["1"; most].join(",");
        assert_eq!(permissions_of(&list(256, "o:f"), "read", &ones(256)).unwrap().len(), 256);
        assert_eq!(
            permissions_of(&list(256, "o:f"), &list(4, "k"), &vec!["15"; 256].join(",")).unwrap().len(),
            1024
        );
        for (fea, per, fpm) in [
            (list(257, "o:f"), "read".to_owned(), ones(1)),
            ("o:a".to_owned(), list(129, "k"), ones(1)),
            (list(205, "o:f"), list(5, "k"), vec!["31"; 205].join(",")),
        ] {
            assert!(has_no_organisation(&claims(&fea, json!({ "per": per, "fpm": fpm }))));
        }
        assert!(permissions_of(&list(2000, "u:f"), "read", "1").is_some());
    }

    /// The number with these bits, lowest first, by doubling a decimal text.
    fn decimal(bits: &[bool]) -> String {
        let mut digits = vec![0_u8];
        for bit in bits.iter().rev() {
            let mut carry = u8::from(*bit);
            for digit in &mut digits {
                let doubled = *digit * 2 + carry;
                (*digit, carry) = (doubled % 10, doubled / 10);
            }
            if carry > 0 {
                digits.push(carry);
            }
        }
        digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
    }

    proptest! {
        #[test]
        fn a_permission_is_there_when_its_bit_is(
            numbers in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..300), 1..7),
            kinds in 1..=128_usize,
        ) {
            let names: Vec<_> = (0..kinds).map(|number| format!("k{number}")).collect();
            let features: Vec<_> = (0..numbers.len()).map(|number| format!("o:f{number}")).collect();
            let fpm: Vec<_> = numbers.iter().map(|bits| decimal(bits)).collect();
            let derived = permissions_of(&features.join(","), &names.join(","), &fpm.join(",")).unwrap();
            let expected: Vec<_> = numbers
                .iter()
                .enumerate()
                .flat_map(|(feature, bits)| {
                    let set = bits.iter().take(kinds).enumerate().filter(|(_, bit)| **bit);
                    set.map(move |(kind, _)| format!("org:f{feature}:k{kind}"))
                })
                .collect();
            prop_assert_eq!(derived, expected);
        }

        #[test]
        fn nothing_is_permitted_that_is_not_named(
            fea in "([ou]{0,2}:?[a-c]{0,2},? ?){0,4}",
            per in "([a-c:]{0,2},? ?){0,4}",
            fpm in "([0-9]{0,40},? ?){0,4}",
            id in "[a-z]{0,2}",
        ) {
            let claims = json!({
                "v": 2, "fea": fea, "o": { "id": id, "per": per, "fpm": fpm },
                "org_id": "forged", "org_permissions": ["forged"],
            });
            let normalised = normalise(&claims).unwrap();
            match normalised.get(PERMISSIONS) {
                None => prop_assert!(ORGANISATION.iter().all(|name| normalised.get(name).is_none())),
                Some(permissions) => {
                    prop_assert_eq!(&normalised[ID], &json!(id));
                    for permission in permissions.as_array().unwrap() {
                        let mut parts = permission.as_str().unwrap().splitn(3, ':').skip(1);
                        let (feature, kind) = (parts.next().unwrap(), parts.next().unwrap());
                        let is_named = |item: &str| {
                            item.trim().split_once(':').is_some_and(|(scope, name)| name == feature && scope.contains('o'))
                        };
                        prop_assert!(fea.split(',').any(is_named));
                        prop_assert!(per.split(',').any(|item| item.trim() == kind));
                    }
                }
            }
        }

        #[test]
        fn any_text_is_taken_without_harm(fea: String, per: String, fpm: String) {
            let _ = normalise(&claims(&fea, json!({ "per": per, "fpm": fpm })));
        }
    }
}
