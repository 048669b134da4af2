//! What the upstream receives.

use serde_json::json;

use crate::support::*;

#[test]
fn the_verified_identity_arrives_and_the_token_does_not() {
    let mut gateway = Gateway::with_provider(json!({
        "claim_to_headers": [
            { "header_name": "X-User-Id", "claim_name": "sub" },
            { "header_name": "x-roles", "claim_name": "realm.roles" },
            { "header_name": "x-missing", "claim_name": "nothing.here" },
        ],
        "forward_payload_header": "x-payload",
    }));
    let token = KEY.sign(&claims(json!({ "realm": { "roles": ["admin", "a,b"] } })));
    let received = gateway.forward(&get_with("/", &token));
    assert_eq!(received.values("x-user-id"), ["alice"]);
    assert_eq!(received.values("x-roles"), ["admin,a%2Cb"]);
    assert_eq!(received.values("x-missing"), Vec::<&str>::new());
    assert_eq!(received.values("x-payload"), [token.split('.').nth(1).unwrap()]);
    assert_eq!(received.values("authorization"), Vec::<&str>::new());
}

#[test]
fn the_token_goes_on_where_forward_is_set() {
    let mut gateway = Gateway::with_provider(json!({ "forward": true }));
    let bearer = format!("Bearer {}", good_token());
    assert_eq!(gateway.forward(&get("/", &[("authorization", &bearer)])).values("authorization"), [bearer]);
}

#[test]
fn a_token_in_the_query_or_a_cookie_is_cut_out_and_nothing_else() {
    let mut gateway = Gateway::with_provider(json!({ "from_params": ["t"], "from_cookies": ["s"] }));
    let token = good_token();
    let received = gateway.forward(&get(&format!("/a?x=%2F&t={token}&y"), &[("cookie", "b=\"2\"; ss=1")]));
    assert_eq!(received.values(":path"), ["/a?x=%2F&y"]);
    assert_eq!(received.values("cookie"), ["b=\"2\"; ss=1"]);
    let received = gateway.forward(&get("/a?x", &[("cookie", format!("b=\"2\"; s={token}; ss=1"))]));
    assert_eq!(received.values("cookie"), ["b=\"2\"; ss=1"]);
    assert_eq!(received.values(":path"), ["/a?x"]);
}

#[test]
fn two_claims_for_one_header_become_one_list() {
    let mut gateway = Gateway::with_provider(json!({ "claim_to_headers": [
        { "header_name": "x-groups", "claim_name": "groups" },
        { "header_name": "x-groups", "claim_name": "team" },
    ] }));
    let token = KEY.sign(&claims(json!({ "groups": ["a", "b"], "team": "c" })));
    assert_eq!(gateway.forward(&get_with("/", &token)).values("x-groups"), ["a,b,c"]);
}

#[test]
fn a_claim_too_large_for_a_header_is_left_out_whole() {
    let mut gateway = Gateway::with_provider(
        json!({ "claim_to_headers": [{ "header_name": "x-big", "claim_name": "big" }] }),
    );
    for (length, arrives) in [(8192, true), (8193, false)] {
        let token = KEY.sign(&claims(json!({ "big": "x".repeat(length) })));
        assert_eq!(gateway.forward(&get_with("/", &token)).values("x-big").len(), usize::from(arrives));
    }
}

#[test]
fn bytes_that_are_no_text_pass_untouched() {
    let mut gateway = Gateway::with_provider(json!({}));
    let token = format!("Bearer {}", good_token()).into_bytes();
    let received =
        gateway.forward(&get("/", &[("authorization", token), ("x-raw", b"\xff\xfe\x80".to_vec())]));
    assert_eq!(received.values("x-raw").len(), 1);
}
