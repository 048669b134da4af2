//! The whole flow under random requests: it never panics, and never lets anybody be who they did not prove to be.

use edge_authn::engine::Decision;
use edge_authn::request::HeaderEdit;
use edge_authn::request::HeaderField;
use proptest::prelude::*;
use serde_json::json;

use crate::support::*;

/// Values that are a good credential, nearly one, or nothing of the kind.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let good = good_token();
    let near =
        (Just(good.clone()), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(token, at, byte)| {
            let mut bytes = token.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        });
    let cut = (Just(good.clone()), any::<prop::sample::Index>())
        .prop_map(|(token, at)| token.as_bytes()[..at.index(token.len())].to_vec());
    let token = prop_oneof![Just(good.into_bytes()), near, cut, prop::collection::vec(any::<u8>(), 0..30)];
    let around =
        prop::sample::select(vec!["", "Bearer ", "bearer  ", "Basic ", "s=", "a=1; s=", "Bearer x,Bearer "]);
    (around, token).prop_map(|(around, token)| [around.as_bytes(), &token].concat())
}

fn field() -> impl Strategy<Value = HeaderField> {
    let names = [
        "authorization",
        "Authorization",
        "cookie",
        "x-token",
        "x-user-id",
        "X_User_Id",
        "connection",
        "x",
        "\u{e9}",
    ];
    (prop::sample::select(names.to_vec()), value())
        .prop_map(|(name, value)| (name.as_bytes().to_vec(), value))
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["/", "/open", "/optional", "/whatever", "/x"]).prop_map(str::to_owned),
        "(/|/open|/optional|\\.\\.|%2[eEfF5]|;|\\\\|//|%00|x){0,6}",
        value().prop_map(|value| format!("/open?t={}", String::from_utf8_lossy(&value))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_identity_reaches_the_upstream_only_with_exactly_the_good_token(
        path in path(),
        fields in prop::collection::vec(field(), 0..5),
    ) {
        let mut gateway = Gateway::with_provider(json!({
            "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
            "from_params": ["t"],
            "from_cookies": ["s"],
            "claim_to_headers": [{ "header_name": "x-user-id", "claim_name": "sub" }],
        }));
        let good = good_token();
        let holds_good = |bytes: &[u8]| bytes.windows(good.len()).any(|window| window == good.as_bytes());
        let sent_good = holds_good(path.as_bytes()) || fields.iter().any(|(_, value)| holds_good(value));
        let head = get(&path, &fields);
        if let Decision::Forward(edits) = gateway.decide(&head) {
            let mut forged: Vec<_> = head
                .names()
                .filter(|name| name.eq_ignore_ascii_case(b"x-user-id") || name.eq_ignore_ascii_case(b"x_user_id"))
                .collect();
            let mut identity = None;
            for edit in edits.iter() {
                match edit {
                    HeaderEdit::Remove { name } => forged.retain(|left| !left.eq_ignore_ascii_case(name)),
                    HeaderEdit::Replace { name, value } if name == b"x-user-id" => identity = Some(value.clone()),
                    HeaderEdit::Replace { .. } => {}
                }
            }
            prop_assert!(forged.is_empty(), "forged headers survive: {forged:?}");
            if let Some(identity) = identity {
                prop_assert_eq!(identity, b"alice");
                prop_assert!(sent_good, "an identity from nowhere");
            }
        }
    }
}
