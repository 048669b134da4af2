//! `issuer_template`: an identity provider with one issuer for each of its customers.

use edge_authn::config::Config;
use serde_json::{Value, json};

use crate::support::*;

const TENANT: &str = "aaaabbbb-0000-cccc-1111-dddd2222eeee";
const OTHER: &str = "bbbbcccc-1111-dddd-2222-eeee3333ffff";
const TEMPLATE: &str = "https://login.example/{tid}/v2.0";

fn issuer_of(tenant: &str) -> String {
    format!("https://login.example/{tenant}/v2.0")
}

/// A gateway whose key has this `issuer`.
fn gateway(key_issuer: Option<Value>, extra: Value) -> Gateway {
    let mut jwk = KEY.jwk();
    if let Some(issuer) = key_issuer {
        jwk["issuer"] = issuer;
    }
    let mut configuration = configuration(json!({
        "local_jwks": { "inline_string": json!({ "keys": [jwk] }).to_string() },
        "issuer_template": TEMPLATE,
    }));
    let provider = configuration["providers"]["acme"].as_object_mut().unwrap();
    provider.remove("issuer");
    for (name, value) in extra.as_object().unwrap() {
        provider.insert(name.clone(), value.clone());
    }
    Gateway::new(&configuration)
}

fn outcome(gateway: &mut Gateway, extra: Value) -> &'static str {
    match gateway.decide(&get_with("/", &KEY.sign(&claims(extra)))) {
        edge_authn::engine::Decision::Forward(_) => "passes",
        edge_authn::engine::Decision::Refuse(rejection) => rejection.label(),
        waits => panic!("{waits:?}"),
    }
}

#[test]
fn the_issuer_is_that_of_the_tenant_which_the_token_names() {
    let mut gateway = gateway(None, json!({}));
    for tenant in [TENANT, OTHER, "AAAABBBB-0000-CCCC-1111-DDDD2222EEEE"] {
        let claims = json!({ "iss": issuer_of(tenant), "tid": tenant });
        assert_eq!(outcome(&mut gateway, claims), "passes", "{tenant}");
    }
    for (issuer, tenant) in [
        (issuer_of(OTHER), json!(TENANT)),
        (issuer_of(TENANT), json!(null)),
        (issuer_of(TENANT), json!("AAAABBBB-0000-CCCC-1111-DDDD2222EEEE")),
        (issuer_of(TENANT), json!([TENANT])),
        (TEMPLATE.to_owned(), json!("{tid}")),
        (TEMPLATE.to_owned(), json!(TENANT)),
        (format!("{}/", issuer_of(TENANT)), json!(TENANT)),
        (format!("https://evil.example/{TENANT}/v2.0"), json!(TENANT)),
        (TENANT.to_owned(), json!(TENANT)),
        (ISSUER.to_owned(), json!(TENANT)),
    ] {
        let claims = json!({ "iss": issuer, "tid": tenant });
        assert_eq!(outcome(&mut gateway, claims), "invalid_token", "{issuer} {tenant}");
    }
    let without = KEY.sign(&claims(json!({ "iss": null, "tid": TENANT })));
    assert_eq!(gateway.refuse(&get_with("/", &without)).label(), "invalid_token");
}

#[test]
fn what_is_no_uuid_is_no_tenant() {
    let mut gateway = gateway(None, json!({}));
    for tenant in [
        "",
        "common",
        "aaaabbbb0000cccc1111dddd2222eeee",
        "aaaabbbb-0000-cccc-1111-dddd2222eee",
        "aaaabbbb-0000-cccc-1111-dddd2222eeeg",
        "aaaabbbb-0000-cccc-1111-dddd2222eeee-",
        "aaaabbb-b0000-cccc-1111-dddd2222eeee",
        "{aaaabbbb-0000-cccc-1111-dddd2222eeee}",
        "../evil/-0000-cccc-1111-dddd2222eeee",
    ] {
        let claims = json!({ "iss": issuer_of(tenant), "tid": tenant });
        assert_eq!(outcome(&mut gateway, claims), "invalid_token", "{tenant}");
    }
}

#[test]
fn a_key_that_names_its_issuer_counts_for_that_one_alone() {
    let mine = || json!({ "iss": issuer_of(TENANT), "tid": TENANT });
    for (key_issuer, expected) in [
        (None, "passes"),
        (Some(json!("https://login.example/{tenantid}/v2.0")), "passes"),
        (Some(json!(issuer_of(TENANT))), "passes"),
        (Some(json!(issuer_of(OTHER))), "invalid_token"),
        (Some(json!("https://login.example/{tenantid}/v1.0")), "invalid_token"),
        (Some(json!("https://evil.example/{tenantid}/v2.0")), "invalid_token"),
        (Some(json!("{tenantid}")), "invalid_token"),
        (Some(json!("https://login.example/{tenantid/v2.0")), "invalid_token"),
        (Some(json!("")), "invalid_token"),
        (Some(json!(1)), "invalid_token"),
        (Some(json!(null)), "invalid_token"),
    ] {
        assert_eq!(outcome(&mut gateway(key_issuer.clone(), json!({})), mine()), expected, "{key_issuer:?}");
    }
}

#[test]
fn where_there_is_no_template_the_issuer_of_a_key_means_nothing() {
    let mut jwk = KEY.jwk();
    jwk["issuer"] = json!("https://other.example");
    let keys = json!({ "keys": [jwk] }).to_string();
    let mut gateway = Gateway::with_provider(json!({ "local_jwks": { "inline_string": keys } }));
    assert_eq!(outcome(&mut gateway, json!({})), "passes");
}

#[test]
fn issuers_that_are_written_count_beside_the_template() {
    let mut gateway = gateway(None, json!({ "issuers": [ISSUER] }));
    assert_eq!(outcome(&mut gateway, json!({ "iss": ISSUER })), "passes");
    assert_eq!(outcome(&mut gateway, json!({ "iss": issuer_of(TENANT), "tid": TENANT })), "passes");
    assert_eq!(outcome(&mut gateway, json!({ "iss": issuer_of(TENANT), "tid": OTHER })), "invalid_token");
}

#[test]
fn tenants_can_be_listed() {
    let is = |tenant: &str| json!([{ "claim_name": "tid", "string_match": { "exact": tenant } }]);
    let third = "ccccdddd-2222-eeee-3333-ffff4444aaaa";
    let mut gateway = gateway(None, json!({ "required_claims": [{ "any_of": [is(TENANT), is(OTHER)] }] }));
    for (tenant, expected) in [(TENANT, "passes"), (OTHER, "passes"), (third, "claim")] {
        let claims = json!({ "iss": issuer_of(tenant), "tid": tenant });
        assert_eq!(outcome(&mut gateway, claims), expected, "{tenant}");
    }
}

#[test]
fn a_template_without_one_claim_is_refused() {
    for wrong in
        ["", "https://a.example/", "{tid}", "https://{}/", "https://{a}/{b}", "https://{a", "https://a}{b}"]
    {
        let configuration = configuration(json!({ "issuer": null, "issuer_template": wrong })).to_string();
        let error = Config::parse(configuration.as_bytes(), &|_| None).expect_err("refused").to_string();
        assert!(error.contains("issuer"), "{wrong}: {error}");
    }
    let mut configuration = configuration(json!({ "issuer_template": "https://a.example/" }));
    let error =
        Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string();
    assert!(error.starts_with("providers.acme.issuer_template: found the string"), "{error}");
    configuration["providers"]["acme"]["issuer_template"] = json!(null);
    let error =
        Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string();
    assert!(error.starts_with("providers.acme.issuer_template: found null"), "{error}");
}
