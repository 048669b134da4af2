//! Sessions of Ory Kratos: what is asked with, and what its answers mean.

use edge_authn::engine::Decision;
use edge_authn::session_check::Check;
use serde_json::{Value, json};

use crate::support::*;

fn gateway(extra: Value) -> Gateway {
    let mut provider =
        json!({ "preset": "kratos", "url": "https://kratos.acme.example", "cluster": "kratos" });
    for (name, value) in extra.as_object().unwrap() {
        provider[name] = value.clone();
    }
    Gateway::new(&json!({
        "providers": { "it": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "it" } }],
    }))
}

/// What a check sends under these names, in their order.
fn sent<'c>(check: &'c Check, names: &[&str]) -> Vec<(&'c str, &'c str)> {
    let headers = check.call().headers.iter().map(|(name, value)| (name.as_ref(), value.as_str()));
    headers.filter(|(name, _)| names.contains(name)).collect()
}

const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "x-session-token"];

fn session(active: Value) -> String {
    json!({ "id": "ses-1", "active": active, "authenticator_assurance_level": "aal1",
        "expires_at": "2027-01-15T08:00:00Z",
        "identity": { "id": "9f425a8d-7efc-4768-8f23-7647a74fdf13", "traits": { "email": "a@acme.example" } } })
    .to_string()
}

#[test]
fn a_session_is_asked_about_as_it_came() {
    for (request, expected) in [
        (("cookie", "a=1; ory_kratos_session=MTY.s_-=; b=2"), ("cookie", "ory_kratos_session=MTY.s_-=")),
        (("cookie", "ory_kratos_session=\"MTY\""), ("cookie", "ory_kratos_session=MTY")),
        (("x-session-token", "ory_st_1"), ("x-session-token", "ory_st_1")),
        (("authorization", "Bearer ory_st_1"), ("x-session-token", "ory_st_1")),
    ] {
        let mut gateway = gateway(json!({}));
        let head = get("/", &[request, ("x-forwarded-for", "10.0.0.1"), ("x-auth-user-id", "root")]);
        let check = gateway.ask(&head);
        let endpoint = &check.call().endpoint;
        assert_eq!(
            (check.call().method, endpoint.authority.as_str(), endpoint.path.as_str()),
            ("GET", "kratos.acme.example", "/sessions/whoami")
        );
        assert_eq!(sent(&check, &CREDENTIALS), [expected], "{request:?}");
        assert!(sent(&check, &["x-forwarded-for", "x-auth-user-id"]).is_empty());
        assert!(gateway.answer_check(check, 200, &[], session(json!(true)).as_bytes()));
        let received = gateway.forward(&head);
        for (name, value) in [
            ("x-auth-user-id", "9f425a8d-7efc-4768-8f23-7647a74fdf13"),
            ("x-auth-session-id", "ses-1"),
            ("x-auth-assurance", "aal1"),
        ] {
            assert_eq!(received.values(name), [value], "{name}");
        }
        assert!(!received.values("cookie").iter().any(|cookies| cookies.contains("ory_kratos_session")));
        assert!(received.values("x-session-token").is_empty() && received.values("authorization").is_empty());
    }
}

#[test]
fn each_answer_is_taken_for_what_it_means() {
    let good = session(json!(true));
    for (name, status, body, expected) in [
        ("a session", 200, good.as_str(), None),
        ("one that is over", 200, &session(json!(false)), Some(("claim", 401))),
        ("one of which that is not said", 200, r#"{"id":"s","identity":{"id":"u"}}"#, Some(("claim", 401))),
        (
            "no session",
            401,
            r#"{"error":{"id":"session_inactive","code":401}}"#,
            Some(("session_denied", 401)),
        ),
        (
            "a second factor is missing",
            403,
            r#"{"error":{"id":"session_aal2_required"}}"#,
            Some(("access_denied", 403)),
        ),
        ("a redirect", 303, "", Some(("check_unavailable", 503))),
        ("the wrong place", 404, "", Some(("check_unavailable", 503))),
        ("too many questions", 429, "", Some(("check_unavailable", 503))),
        ("its database is gone", 500, "", Some(("check_unavailable", 503))),
        ("no JSON", 200, "<html>", Some(("check_unavailable", 503))),
    ] {
        let mut gateway = gateway(json!({}));
        let head = get("/", &[("cookie", "ory_kratos_session=s1")]);
        let check = gateway.ask(&head);
        gateway.answer_check(check, status, &[], body.as_bytes());
        let outcome = match gateway.decide(&head) {
            Decision::Forward(_) => None,
            Decision::Refuse(rejection) => Some((rejection.label(), rejection.status())),
            waits => panic!("{waits:?}"),
        };
        assert_eq!(outcome, expected, "{name}");
    }
}

#[test]
fn the_cookie_may_have_another_name_and_a_token_comes_before_it() {
    let mut gateway = gateway(json!({ "cookie": "ory_session_acme" }));
    assert_eq!(
        gateway.refuse(&get("/", &[("cookie", "ory_kratos_session=s1")])).label(),
        "missing_credential"
    );
    let check = gateway.ask(&get("/", &[("cookie", "ory_session_acme=s1; ory_kratos_session=s2")]));
    assert_eq!(sent(&check, &CREDENTIALS), [("cookie", "ory_session_acme=s1")]);
    let both = get("/", &[("cookie", "ory_session_acme=s1"), ("x-session-token", "ory_st_1")]);
    gateway.assert_waits(&both);
    let checks = gateway.checks();
    assert_eq!(sent(&checks[0], &CREDENTIALS), [("x-session-token", "ory_st_1")]);
}

#[test]
fn a_session_cookie_and_a_session_token_of_the_same_text_are_two_questions() {
    let mut gateway = gateway(json!({}));
    let check = gateway.ask(&get("/", &[("cookie", "ory_kratos_session=same")]));
    assert!(gateway.answer_check(check, 200, &[], session(json!(true)).as_bytes()));
    gateway.assert_waits(&get("/", &[("x-session-token", "same")]));
}
