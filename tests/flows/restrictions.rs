//! What tokens of a provider must be like beyond what RFC 7519 registers: `issuers`, `typ`, `authorized_parties`,
//! `required_claims`.

use edge_authn::config::Config;
use serde_json::{Value, json};

use crate::support::*;

/// What becomes of a token with these header members and claims at a provider with these fields.
fn outcome(fields: &Value, header: Value, extra: Value) -> &'static str {
    let token = KEY.sign_with_header(&header, &claims(extra));
    let mut gateway = Gateway::with_provider(fields.clone());
    match gateway.decide(&get_with("/", &token)) {
        edge_authn::engine::Decision::Forward(_) => "passes",
        edge_authn::engine::Decision::Refuse(rejection) => rejection.label(),
        waits => panic!("{waits:?}"),
    }
}

#[test]
fn a_provider_may_have_several_issuers_and_no_others() {
    let fields = json!({ "issuers": ["https://other.example"] });
    for (issuer, expected) in [
        (ISSUER, "passes"),
        ("https://other.example", "passes"),
        ("https://other.example/", "invalid_token"),
        ("", "invalid_token"),
    ] {
        assert_eq!(outcome(&fields, json!({}), json!({ "iss": issuer })), expected, "{issuer}");
    }
    assert_eq!(outcome(&fields, json!({}), json!({ "iss": null })), "invalid_token");
}

#[test]
fn a_token_of_another_kind_is_not_taken_for_an_access_token() {
    let access = json!({ "typ": ["at+jwt"] });
    for (header, expected) in [
        (json!({ "typ": "at+jwt" }), "passes"),
        (json!({ "typ": "application/AT+JWT" }), "passes"),
        (json!({ "typ": "JWT" }), "token_type"),
        (json!({ "typ": null }), "token_type"),
    ] {
        assert_eq!(outcome(&access, header.clone(), json!({})), expected, "{header}");
    }
    let jwt_or_none = json!({ "typ": ["JWT", ""] });
    assert_eq!(outcome(&jwt_or_none, json!({ "typ": null }), json!({})), "passes");
    assert_eq!(outcome(&jwt_or_none, json!({ "typ": "jwt" }), json!({})), "passes");
    assert_eq!(outcome(&jwt_or_none, json!({ "typ": "at+jwt" }), json!({})), "token_type");
}

#[test]
fn a_missing_azp_is_not_an_authorized_party() {
    let fields = json!({ "authorized_parties": ["https://app.example", "https://admin.example"] });
    for (azp, expected) in [
        (json!("https://app.example"), "passes"),
        (json!("https://admin.example"), "passes"),
        (json!("https://app.example/"), "authorized_party"),
        (json!("https://evil.example"), "authorized_party"),
        (json!(["https://app.example"]), "authorized_party"),
        (json!(""), "authorized_party"),
        (json!(null), "authorized_party"),
    ] {
        assert_eq!(outcome(&fields, json!({}), json!({ "azp": azp })), expected, "{azp}");
    }
}

fn requiring(requirement: Value) -> Value {
    json!({ "required_claims": [requirement] })
}

#[test]
fn a_required_claim_is_there_and_as_required() {
    let access = requiring(json!({ "claim_name": "token_use", "string_match": { "exact": "access" } }));
    for (value, expected) in [
        (json!("access"), "passes"),
        (json!(["id", "access"]), "passes"),
        (json!("id"), "claim"),
        (json!(["id"]), "claim"),
        (json!([]), "claim"),
        (json!({ "access": true }), "claim"),
        (json!([["access"]]), "claim"),
        (json!(null), "claim"),
    ] {
        assert_eq!(outcome(&access, json!({}), json!({ "token_use": value })), expected, "{value}");
    }
}

#[test]
fn a_claim_that_is_ruled_out_may_be_missing_only_where_that_is_written() {
    let rule = |optional: bool| {
        requiring(json!({ "claim_name": "sts", "string_match": { "exact": "pending" },
            "invert_match": true, "optional": optional }))
    };
    for (value, strict, lenient) in [
        (json!("active"), "passes", "passes"),
        (json!("pending"), "claim", "claim"),
        (json!(["active", "pending"]), "claim", "claim"),
        (json!({}), "claim", "claim"),
        (json!(null), "claim", "passes"),
    ] {
        assert_eq!(outcome(&rule(false), json!({}), json!({ "sts": value })), strict, "{value}");
        assert_eq!(outcome(&rule(true), json!({}), json!({ "sts": value })), lenient, "{value}");
    }
}

#[test]
fn numbers_and_booleans_are_compared_as_json_and_paths_lead_into_objects() {
    let rule = requiring(json!({ "claim_path": [{ "key": "https://idp.example/claims" }, { "key": "v" }],
        "string_match": { "exact": "2" } }));
    let at = |value: Value| json!({ "https://idp.example/claims": { "v": value } });
    assert_eq!(outcome(&rule, json!({}), at(json!(2))), "passes");
    assert_eq!(outcome(&rule, json!({}), at(json!("2"))), "passes");
    assert_eq!(outcome(&rule, json!({}), at(json!(20))), "claim");
    assert_eq!(outcome(&rule, json!({}), json!({ "https://idp.example/claims": 2 })), "claim");
    let verified = requiring(json!({ "claim_name": "email_verified", "string_match": { "exact": "true" } }));
    assert_eq!(outcome(&verified, json!({}), json!({ "email_verified": true })), "passes");
    assert_eq!(outcome(&verified, json!({}), json!({ "email_verified": false })), "claim");
}

#[test]
fn members_of_the_header_are_required_apart_from_claims() {
    let rule =
        requiring(json!({ "claim_name": "cat", "in": "header", "string_match": { "exact": "session" } }));
    assert_eq!(outcome(&rule, json!({ "cat": "session" }), json!({})), "passes");
    assert_eq!(outcome(&rule, json!({ "cat": "template" }), json!({ "cat": "session" })), "claim");
    assert_eq!(outcome(&rule, json!({}), json!({ "cat": "session" })), "claim");
}

#[test]
fn a_claim_may_be_required_to_be_there_or_not_to_be_there() {
    let rule = |is_there: bool| requiring(json!({ "claim_name": "act.sub", "present_match": is_there }));
    for (act, when_required, when_ruled_out) in [
        (json!({ "sub": "root" }), "passes", "claim"),
        (json!({ "sub": "" }), "passes", "claim"),
        (json!({ "sub": { "x": [] } }), "passes", "claim"),
        (json!({ "sub": null }), "claim", "passes"),
        (json!({}), "claim", "passes"),
        (json!("root"), "claim", "passes"),
        (json!(null), "claim", "passes"),
    ] {
        assert_eq!(outcome(&rule(true), json!({}), json!({ "act": act })), when_required, "{act}");
        assert_eq!(outcome(&rule(false), json!({}), json!({ "act": act })), when_ruled_out, "{act}");
    }
}

#[test]
fn of_several_lists_of_claims_one_must_hold_as_a_whole() {
    let is = |name: &str, value: &str| json!({ "claim_name": name, "string_match": { "exact": value } });
    let rule = requiring(json!({ "any_of": [
        [is("kind", "guest"), { "claim_name": "email", "present_match": false }],
        [is("kind", "member"), { "claim_name": "email", "present_match": true }, { "any_of": [[is("aal", "2")], [is("amr", "key")]] }],
    ] }));
    for (extra, expected) in [
        (json!({ "kind": "guest" }), "passes"),
        (json!({ "kind": "guest", "email": "a@acme.example" }), "claim"),
        (json!({ "kind": "member", "email": "a@acme.example", "aal": 2 }), "passes"),
        (json!({ "kind": "member", "email": "a@acme.example", "amr": ["pwd", "key"] }), "passes"),
        (json!({ "kind": "member", "email": "a@acme.example" }), "claim"),
        (json!({ "kind": "member", "aal": 2 }), "claim"),
        (json!({}), "claim"),
    ] {
        assert_eq!(outcome(&rule, json!({}), extra.clone()), expected, "{extra}");
    }
}

#[test]
fn nothing_of_all_this_is_told_before_the_signature_is_verified() {
    for fields in [
        json!({ "typ": ["at+jwt"] }),
        json!({ "authorized_parties": ["x"] }),
        requiring(json!({ "claim_name": "x", "string_match": { "exact": "y" } })),
    ] {
        let mut gateway = Gateway::with_provider(fields);
        let forged = STRANGER.sign(&claims(json!({})));
        assert_eq!(gateway.refuse(&get_with("/", &forged)).label(), "invalid_token");
    }
}

#[test]
fn a_restriction_that_could_not_restrict_is_refused() {
    for (fields, message) in [
        (json!({ "typ": "at+jwt" }), "typ: found"),
        (json!({ "typ": [] }), "typ: found no type"),
        (json!({ "typ": null }), "typ: found null"),
        (json!({ "authorized_parties": [""] }), "authorized_parties[0]: found"),
        (
            requiring(json!({ "claim_name": "x" })),
            "required_claims[0]: found nothing, expected the field \"string_match\"",
        ),
        (requiring(json!({ "string_match": { "exact": "" } })), "required_claims[0]: found no claim"),
        (
            requiring(json!({ "claim_name": "x", "string_match": {} })),
            "required_claims[0].string_match: found no pattern",
        ),
        (
            requiring(json!({ "claim_name": "x", "string_match": { "exact": "" }, "in": "body" })),
            "required_claims[0].in: found",
        ),
        (
            requiring(json!({ "claim_name": "x", "string_match": { "exact": "" }, "present_match": true })),
            "required_claims[0].string_match: found a second pattern",
        ),
        (
            requiring(json!({ "claim_name": "x", "present_match": true, "optional": true })),
            "required_claims[0].optional: found an unknown field",
        ),
        (
            requiring(json!({ "claim_name": "x", "present_match": 1 })),
            "required_claims[0].present_match: found",
        ),
        (requiring(json!({ "any_of": [] })), "required_claims[0].any_of: found"),
        (requiring(json!({ "any_of": [[]] })), "required_claims[0].any_of[0]: found"),
        (
            requiring(json!({ "any_of": [[{ "claim_name": "x" }]] })),
            "required_claims[0].any_of[0][0]: found nothing, expected the field \"string_match\"",
        ),
        (
            requiring(
                json!({ "any_of": [[{ "claim_name": "x", "present_match": true }]], "claim_name": "x" }),
            ),
            "required_claims[0].claim_name: found an unknown field",
        ),
    ] {
        let configuration = configuration(fields.clone());
        let error =
            Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string();
        assert!(error.contains(message), "{fields}: {error}");
    }
}
