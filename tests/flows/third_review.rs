//! Holes that a third review found. Each test says what should hold.

use edge_authn::config::Config;
use edge_authn::engine::Decision;
use edge_authn::request::RequestHead;
use edge_authn::session_check::Check;
use serde_json::{Value, json};

use crate::session_check::{check, header};
use crate::support::*;
use crate::two_providers::{A, B, of_a, of_b, outcome, provider, rules, token};

const HANDSHAKE: &str = "https://clerk.acme.example/v1/client/handshake";

fn resolver(extra: Value) -> Gateway {
    let mut provider = json!({ "preset": "authgear_resolver", "endpoint": "https://acme.authgear.cloud", "cluster": "authgear" });
    for (name, value) in extra.as_object().unwrap() {
        provider[name] = value.clone();
    }
    let requires = json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "it" } }]);
    Gateway::new(&json!({ "providers": { "it": provider }, "rules": requires }))
}

fn sent<'c>(check: &'c Check, name: &str) -> Option<&'c str> {
    header(check.call(), name)
}

/// A page of another site can make a browser send them, beside a token of its own in the URL that no resolver takes.
#[test]
fn cookies_of_a_preset_are_not_sent_where_no_credential_is_taken_from_them() {
    let mut gateway = resolver(json!({ "from_params": ["access_token"] }));
    let check = gateway.ask(&get("/?access_token=none", &[("cookie", "session=s1; app_session=a1")]));
    assert_eq!((sent(&check, "authorization"), sent(&check, "cookie")), (Some("Bearer none"), None));

    let mut gateway = resolver(json!({ "from_cookies": ["session"] }));
    let check = gateway.ask(&get("/", &[("cookie", "session=s1; app_session=a1")]));
    assert_eq!(sent(&check, "cookie"), Some("session=s1"), "the other one would count first there");
}

/// The token of one provider is none of another one's business.
#[test]
fn the_header_of_another_providers_token_is_not_sent_unless_it_is_listed() {
    let asked = |extra: Value| {
        let mut of_b = provider("b", &B, "x-b-sub");
        of_b["local_jwks"] = json!(null);
        of_b["issuer"] = json!(null);
        of_b["session_check"] = check(json!({ "kind": "forward_auth", "cookies": ["sid"] }), extra);
        of_b["from_cookies"] = json!(["sid"]);
        let of_b = of_b.as_object().unwrap().iter().filter(|(_, value)| !value.is_null());
        let of_b: serde_json::Map<_, _> = of_b.map(|(name, value)| (name.clone(), value.clone())).collect();
        let both = json!({ "requires_all": { "requirements": [{ "provider_name": "b" }, { "provider_name": "a" }] } });
        let mut gateway = Gateway::new(&json!({
            "providers": { "a": provider("a", &A, "x-a-sub"), "b": of_b },
            "rules": [{ "match": { "prefix": "/" }, "requires": both }],
        }));
        let bearer = format!("Bearer {}", of_a());
        let check = gateway.ask(&get("/", &[("cookie", "sid=s1"), ("authorization", &bearer)]));
        assert_eq!(sent(&check, "cookie"), Some("sid=s1"));
        sent(&check, "authorization").map(str::to_owned)
    };
    assert_eq!(asked(json!({})), None);
    assert!(asked(json!({ "request_headers": ["authorization"] })).is_some());
}

/// `a` keeps sessions of browsers and has a handshake.
fn with_handshake(requires: Value) -> Value {
    let mut configuration = rules(json!([{ "match": { "prefix": "/" }, "requires": requires }]));
    let a = &mut configuration["providers"]["a"];
    a["from_cookies"] = json!(["__session"]);
    a["from_headers"] = json!([{ "name": "authorization", "value_prefix": "Bearer " }]);
    a["multiple_credentials"] = json!("first");
    a["browser_session"] = json!({ "client_uat_cookie": "__client_uat", "handshake": { "uri": HANDSHAKE } });
    configuration
}

fn any(first: &str, second: &str) -> Value {
    json!({ "requires_any": { "requirements": [{ "provider_name": first }, { "provider_name": second }] } })
}

fn page(path: &str, fields: &[(&str, &str)]) -> RequestHead {
    get(path, &[&[("sec-fetch-dest", "document")], fields].concat())
}

#[test]
fn a_browser_is_sent_to_the_handshake_wherever_its_provider_stands_among_others() {
    for (first, second) in [("a", "b"), ("b", "a")] {
        let configuration = with_handshake(any(first, second));
        let head = page("/", &[("cookie", "__client_uat=1")]);
        assert_eq!(outcome(&configuration, &head), "handshake", "{first} {second}");
        let head = page("/", &[("cookie", "__client_uat=0")]);
        assert_eq!(outcome(&configuration, &head), "missing_credential", "{first} {second}");
    }
    let optional =
        json!({ "requires_any": { "requirements": [{ "provider_name": "a" }, { "allow_missing": {} }] } });
    let head = page("/", &[("cookie", "__client_uat=1")]);
    assert_eq!(outcome(&with_handshake(optional), &head), "passes");
}

#[test]
fn what_is_wrong_with_a_token_is_said_by_the_provider_that_issued_it_also_beside_sessions_of_browsers() {
    let expired = token(&B, "b", json!({ "exp": START - 3600 }));
    for (first, second) in [("a", "b"), ("b", "a")] {
        let configuration = with_handshake(any(first, second));
        assert_eq!(outcome(&configuration, &get_with("/", &expired)), "expired", "{first} {second}");
    }
}

#[test]
fn no_token_in_a_query_goes_into_the_url_of_the_handshake() {
    let mut gateway = Gateway::new(&with_handshake(json!({ "provider_name": "a" })));
    let path = format!("/orders?page=2&access_token={}&access%5ftoken=x&sort=asc", of_b());
    let reply = gateway.reply(&page(&path, &[("cookie", "__client_uat=1")]));
    let location =
        reply.headers.iter().find(|(name, _)| *name == "location").map(|(_, value)| value.as_str());
    let page = "redirect_url=http%3A%2F%2Fgateway.example%2Forders%3Fpage%3D2%26sort%3Dasc&";
    assert!(location.is_some_and(|location| location.contains(page)), "{location:?}");
}

/// A request of a user. Each cookie compared with all others would take minutes.
#[test]
fn thousands_of_cookies_of_a_provider_are_taken_out_in_one_pass() {
    let mut gateway = Gateway::new(&with_handshake(json!({ "provider_name": "a" })));
    let cookies: Vec<_> = (0..100_000).map(|number| format!("__client_{number:x}")).collect();
    let token = token(&A, "a", json!({ "iat": START }));
    let cookies = format!("__session={token}; __client_uat=1; kept=1; {}", cookies.join("; "));
    let path = format!("/?{}", "&".repeat(100_000));
    let received = gateway.forward(&get(&path, &[("cookie", cookies)]));
    assert_eq!(received.values("cookie"), ["kept=1"]);
}

#[test]
fn a_session_of_nobody_is_none() {
    for (identity, expected) in [
        (json!({ "id": "u1" }), "passes"),
        (json!(null), "claim"),
        (json!({}), "claim"),
        (json!({ "id": "" }), "claim"),
        (json!({ "id": null }), "claim"),
    ] {
        let kratos = json!({ "preset": "kratos", "url": "https://kratos.acme.example", "cluster": "kratos" });
        let mut gateway = Gateway::new(&json!({
            "providers": { "it": kratos },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "it" } }],
        }));
        let head = get("/", &[("x-session-token", "ory_st_1")]);
        let check = gateway.ask(&head);
        let session = json!({ "id": "ses-1", "active": true, "identity": identity });
        assert!(gateway.answer_check(check, 200, &[], session.to_string().as_bytes()));
        let seen = match gateway.decide(&head) {
            Decision::Forward(_) => "passes",
            Decision::Refuse(rejection) => rejection.label(),
            Decision::Await(_) => "waits",
        };
        assert_eq!(seen, expected, "{identity}");
    }
}

/// A template whose value is missing writes them.
#[test]
fn nothing_in_place_of_what_a_preset_knows_is_refused() {
    let error = |preset: &str, extra: Value| {
        let mut provider = json!({ "preset": preset, "cluster": "keys", "audiences": ["app"] });
        for (name, value) in extra.as_object().unwrap() {
            provider[name] = value.clone();
        }
        let configuration = json!({ "providers": { "it": provider }, "rules": [] });
        Config::parse(configuration.to_string().as_bytes(), &|_| None)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let workos = json!({ "client_id": "c", "audiences": [] });
    assert_eq!(error("workos", workos), Ok(()), "one that knows none");
    for preset in ["google", "entra_multi_tenant", "iap"] {
        assert_eq!(error(preset, json!({})), Ok(()));
        for (extra, expected) in [
            (
                json!({ "audiences": [] }),
                "providers.it.audiences: found none, which means any, expected at least one",
            ),
            (
                json!({ "audiences": {} }),
                "providers.it.audiences: found none, which means any, expected at least one",
            ),
            (
                json!({ "issuer": "" }),
                "providers.it.issuer: found an empty text, expected an issuer, or no such field",
            ),
        ] {
            let message = error(preset, extra.clone()).unwrap_err();
            assert!(message.starts_with(expected), "{preset} {extra}: {message}");
        }
    }
}

/// What users choose for themselves in a token of version 2 is in what an introspection endpoint repeats of it, too.
#[test]
fn an_answer_that_repeats_the_claims_of_a_token_does_not_choose_the_organisation() {
    let settings =
        check(json!({ "kind": "introspection", "client_id": "gw", "client_secret": "s" }), json!({}));
    let mut gateway = Gateway::with_provider(json!({
        "claims_format": "clerk",
        "session_check": settings,
        "claim_to_headers": [
            { "header_name": "x-org", "claim_name": "org_id" },
            { "header_name": "x-role", "claim_name": "org_role" },
        ],
    }));
    let version_2 = json!({ "v": 2, "org_id": "org_evil", "org_role": "org:owner", "o": { "id": "org_1", "rol": "member" } });
    for (said, org, role) in
        [(version_2.clone(), "org_1", "org:member"), (json!({ "org_id": "org_2" }), "org_2", "org:member")]
    {
        let head = get_with("/", &KEY.sign(&claims(version_2.clone())));
        let check = gateway.ask(&head);
        gateway.confirm(check, said);
        let received = gateway.forward(&head);
        assert_eq!((received.values("x-org"), received.values("x-role")), (vec![org], vec![role]));
        gateway.advance(std::time::Duration::from_secs(60));
    }
}

#[test]
fn an_empty_list_of_parties_is_refused_like_one_of_types() {
    for list in [json!([]), json!({})] {
        let configuration = configuration(json!({ "authorized_parties": list }));
        let error = Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "providers.acme.authorized_parties: found no party, expected at least one, or no such field"
        );
    }
}
