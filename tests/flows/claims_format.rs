//! Organisations in session tokens of Clerk's two versions, by the headers that come of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edge_authn::config::Config;
use edge_authn::request::RequestHead;
use serde_json::{Value, json};

use crate::session_check::check;
use crate::support::*;

const HEADERS: [&str; 4] = ["x-auth-org-id", "x-auth-org-slug", "x-auth-org-role", "x-auth-org-permissions"];

/// A gateway with this preset and the key of [`KEY`], with `extra` fields.
fn gateway(preset: &str, extra: Value) -> Gateway {
    let mut provider = json!({
        "preset": preset, "cluster": "idp", "frontend_api": "idp.example", "instance": ISSUER, "algorithms": ["ES256"],
        "local_jwks": { "inline_string": jwks() },
    });
    provider.as_object_mut().unwrap().remove(if preset == "clerk" { "instance" } else { "frontend_api" });
    for (name, value) in extra.as_object().unwrap() {
        provider[name] = value.clone();
    }
    Gateway::new(&json!({
        "providers": { "it": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "it" } }],
    }))
}

/// Claims of version 2, with `extra` ones.
fn version_2(extra: Value) -> Value {
    let mut claims = claims(json!({
        "v": 2,
        "sid": "sess_1",
        "fea": "u:x,o:dashboard,uo:reports",
        "o": { "id": "org_1", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3,1" },
        "act": { "sub": "user_admin" },
    }));
    for (name, value) in extra.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn bearer(claims: &Value) -> RequestHead {
    get(
        "/",
        &[
            ("authorization", format!("Bearer {}", KEY.sign(claims)).as_str()),
            ("x-auth-org-id", "org_forged"),
            ("X_Auth_Org_Role", "org:owner"),
        ],
    )
}

#[track_caller]
fn seen(gateway: &mut Gateway, claims: &Value) -> Vec<Vec<String>> {
    let received = gateway.forward(&bearer(claims));
    assert_eq!(received.values("x-auth-user-id"), ["alice"]);
    assert_eq!(received.values("x_auth_org_role"), [""; 0]);
    HEADERS.iter().map(|name| received.values(name).into_iter().map(str::to_owned).collect()).collect()
}

fn of_acme() -> Vec<Vec<String>> {
    let permissions = "org:dashboard:read,org:dashboard:manage,org:reports:read";
    ["org_1", "acme", "org:admin", permissions].map(|value| vec![value.to_owned()]).to_vec()
}

fn none() -> Vec<Vec<String>> {
    vec![Vec::new(); 4]
}

#[test]
fn both_versions_come_out_the_same() {
    for preset in ["clerk", "oneauxilia"] {
        let mut gateway = gateway(preset, json!({}));
        assert_eq!(seen(&mut gateway, &version_2(json!({}))), of_acme(), "{preset}");
        let version_1 = claims(json!({
            "org_id": "org_1", "org_slug": "acme", "org_role": "org:admin",
            "org_permissions": ["org:dashboard:read", "org:dashboard:manage", "org:reports:read"],
        }));
        assert_eq!(seen(&mut gateway, &version_1), of_acme(), "{preset}");
        assert_eq!(gateway.forward(&bearer(&version_2(json!({})))).values("x-auth-actor"), ["user_admin"]);
        assert_eq!(seen(&mut gateway, &claims(json!({}))), none(), "{preset}");
    }
}

#[test]
fn custom_claims_and_malformed_organisations_give_no_headers() {
    let mut gateway = gateway("clerk", json!({}));
    let custom = json!({
        "org_id": "org_evil", "org_slug": "evil", "org_role": "org:owner", "org_permissions": ["org:a:all"],
    });
    let mut beside = version_2(json!({}));
    for (name, value) in custom.as_object().unwrap() {
        beside[name] = value.clone();
    }
    assert_eq!(seen(&mut gateway, &beside), of_acme());
    for changes in [
        json!({ "o": null }),
        json!({ "o": "org_1" }),
        json!({ "o": { "slg": "acme", "rol": "admin" } }),
        json!({ "fea": "dashboard" }),
        json!({ "o": { "id": "org_1", "per": "read", "fpm": "x" } }),
        json!({ "v": 3 }),
    ] {
        for (name, value) in changes.as_object().unwrap() {
            let mut claims = beside.clone();
            claims[name] = value.clone();
            assert_eq!(seen(&mut gateway, &claims), none(), "{changes}");
        }
    }
}

#[test]
fn what_is_required_of_an_organisation_is_required_of_the_derived_claims() {
    let required = json!({ "required_claims": [{ "claim_name": "org_role", "string_match": { "exact": "org:admin" } }] });
    let mut gateway = gateway("clerk", required);
    assert_eq!(seen(&mut gateway, &version_2(json!({}))), of_acme());
    for claims in [
        version_2(json!({ "o": { "id": "org_1", "rol": "member" }, "org_role": "org:admin" })),
        version_2(json!({ "o": { "id": "org_1" }, "org_role": "org:admin" })),
        version_2(json!({ "o": null, "org_role": "org:admin" })),
    ] {
        assert_eq!(gateway.refuse(&bearer(&claims)).label(), "claim", "{claims}");
    }
}

#[test]
fn the_payload_stays_that_of_the_token_and_the_exported_claims_have_the_organisation() {
    let extra = json!({ "forward_payload_header": "x-payload", "payload_in_metadata": "jwt" });
    let mut gateway = gateway("clerk", extra);
    let claims = version_2(json!({ "org_id": "org_evil" }));
    let head = bearer(&claims);
    let received = gateway.forward(&head);
    let payload = URL_SAFE_NO_PAD.decode(received.values("x-payload")[0]).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), claims);
    let decided = gateway.engine.decide(&head, gateway.now);
    let exported: Value = serde_json::from_str(&decided.properties[0].value).unwrap();
    assert_eq!((&exported["org_id"], &exported["org_role"]), (&json!("org_1"), &json!("org:admin")));
    assert_eq!(exported["o"], claims["o"]);
}

#[test]
fn an_answer_about_the_session_stands_beside_the_organisation_of_the_token() {
    let settings = check(json!({ "kind": "user_info" }), json!({}));
    let mut gateway = gateway("clerk", json!({ "session_check": settings }));
    let claims = version_2(json!({ "org_slug": "evil" }));
    let asked = gateway.ask(&bearer(&claims));
    assert!(gateway.answer_check(asked, 200, &[], br#"{"sub":"alice","v":2,"o":{"id":"org_2"}}"#));
    assert_eq!(seen(&mut gateway, &claims), of_acme(), "it is no token");
}

#[test]
fn the_format_is_asked_for_and_can_be_left_out() {
    let mut plain = gateway("clerk", json!({ "claims_format": "plain" }));
    assert_eq!(seen(&mut plain, &version_2(json!({}))), none());
    let error = |format: Value| {
        let configuration = configuration(json!({ "claims_format": format }));
        Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string()
    };
    let start = "providers.acme.claims_format: found";
    assert_eq!(error(json!("v2")), format!("{start} the string \"v2\", expected \"plain\" or \"clerk\""));
    assert_eq!(error(json!(null)), format!("{start} null, expected a value, or no such field"));
}
