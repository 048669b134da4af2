//! The presets of Stack Auth beyond the one shape that `presets.rs` has: kinds of users, and what tokens travel in.

use std::sync::LazyLock;
use std::time::Duration;

use edge_authn::config::Config;
use edge_authn::engine::Decision;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::{self, SigningKey};

static P256: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::es256("stack-1"));

const PROJECT: &str = "5b4ac1c2-7ae0-4b1c-a8a1-5c0b9f2b3d4e";

fn configured(preset: &str, extra: Value) -> Value {
    let mut provider = json!({ "preset": preset, "project_id": PROJECT, "cluster": "stack" });
    for (name, value) in extra.as_object().unwrap() {
        provider[name] = value.clone();
    }
    json!({
        "providers": { "stack": provider },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "path": "/optional" }, "requires": { "allow_missing": {} } },
            { "match": { "path": "/whatever" }, "requires": { "allow_missing_or_failed": {} } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "stack" } },
        ],
    })
}

/// A gateway with the keys of the project.
fn gateway(extra: Value) -> Gateway {
    let mut gateway = Gateway::new(&configured("stack_auth", extra));
    assert_eq!(gateway.tick(), 1);
    assert!(gateway.answer(200, &tokens::jwks([&*P256]).to_string()));
    gateway
}

/// The kinds of users: what their tokens have in issuer and audience, and say of them.
const NORMAL: (&str, &str, &str) = ("projects", "", "null");
const RESTRICTED: (&str, &str, &str) =
    ("projects-restricted-users", ":restricted", r#"{"type":"email_not_verified"}"#);
const ANONYMOUS: (&str, &str, &str) = ("projects-anonymous-users", ":anon", r#"{"type":"anonymous"}"#);
const KINDS: [(&str, &str, &str); 3] = [NORMAL, RESTRICTED, ANONYMOUS];

fn claims_of(kind: (&str, &str, &str), url: &str) -> Value {
    let (place, suffix, reason) = kind;
    json!({ "iss": format!("{url}/api/v1/{place}/{PROJECT}"), "aud": format!("{PROJECT}{suffix}"), "sub": "u-1",
        "project_id": PROJECT, "branch_id": "main", "refresh_token_id": "r-1", "role": "authenticated",
        "is_anonymous": kind == ANONYMOUS, "is_restricted": kind != NORMAL,
        "restricted_reason": serde_json::from_str::<Value>(reason).unwrap(), "exp": START + 600 })
}

fn signed(claims: &Value, changes: &Value) -> String {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    P256.sign_with_header(&json!({ "typ": null }), &claims)
}

fn passes(gateway: &mut Gateway, token: &str) -> bool {
    match gateway.decide(&get("/", &[("x-stack-access-token", token)])) {
        Decision::Forward(_) => true,
        Decision::Refuse(rejection) => {
            assert_eq!(rejection.status(), 401, "{rejection}");
            false
        }
        waits => panic!("{waits:?}"),
    }
}

const STACK_AUTH: &str = "https://api.stack-auth.com";
const HEXCLAVE: &str = "https://api.hexclave.com";

#[test]
fn each_user_type_takes_the_users_of_those_before_it_too() {
    for (index, user_types) in ["normal", "restricted", "anonymous"].into_iter().enumerate() {
        let mut gateway = gateway(json!({ "user_types": user_types }));
        for (place, kind) in KINDS.into_iter().enumerate() {
            for url in [STACK_AUTH, HEXCLAVE] {
                let token = signed(&claims_of(kind, url), &json!({}));
                assert_eq!(passes(&mut gateway, &token), place <= index, "{user_types}: {kind:?} {url}");
            }
        }
    }
    let token = signed(&claims_of(RESTRICTED, STACK_AUTH), &json!({}));
    assert!(!passes(&mut gateway(json!({})), &token), "normal users unless something else is written");
}

#[test]
fn a_backend_can_tell_the_kinds_of_users() {
    let mut gateway = gateway(json!({ "user_types": "anonymous" }));
    for (kind, anonymous, restricted) in
        [(NORMAL, "false", "false"), (RESTRICTED, "false", "true"), (ANONYMOUS, "true", "true")]
    {
        let token = signed(&claims_of(kind, STACK_AUTH), &json!({}));
        let received = gateway.forward(&get("/", &[("x-stack-access-token", token)]));
        assert_eq!(received.values("x-auth-anonymous"), [anonymous]);
        assert_eq!(received.values("x-auth-restricted"), [restricted]);
    }
}

#[test]
fn the_keys_are_asked_for_by_the_kinds_of_users_that_count() {
    for (user_types, query) in [
        ("normal", ""),
        ("restricted", "?include_restricted=true"),
        ("anonymous", "?include_restricted=true&include_anonymous=true"),
    ] {
        let mut gateway = Gateway::new(&configured("stack_auth", json!({ "user_types": user_types })));
        assert_eq!(gateway.tick(), 1);
        let endpoint = &gateway.in_flight[0].endpoint;
        let path = format!("/api/v1/projects/{PROJECT}/.well-known/jwks.json{query}");
        assert_eq!((endpoint.authority.as_str(), &endpoint.path), ("api.stack-auth.com", &path));
    }
}

#[test]
fn what_a_token_says_of_its_user_must_fit_together() {
    let mut gateway = gateway(json!({ "user_types": "anonymous" }));
    let issuer = |(place, _, _): (&str, &str, &str)| format!("{STACK_AUTH}/api/v1/{place}/{PROJECT}");
    for kind in KINDS {
        let claims = claims_of(kind, STACK_AUTH);
        assert!(passes(&mut gateway, &signed(&claims, &json!({}))), "{kind:?}");
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            let audience = format!("{PROJECT}{}", other.1);
            for changes in [json!({ "iss": issuer(other) }), json!({ "aud": audience })] {
                assert!(!passes(&mut gateway, &signed(&claims, &changes)), "{kind:?}: {changes}");
            }
        }
        let (anonymous, restricted) = (kind == ANONYMOUS, kind != NORMAL);
        let reason = if restricted { json!(null) } else { json!({ "type": "email_not_verified" }) };
        for changes in [
            json!({ "is_anonymous": !anonymous }),
            json!({ "is_restricted": !restricted }),
            json!({ "restricted_reason": reason }),
            json!({ "branch_id": "dev" }),
            json!({ "branch_id": null }),
            json!({ "project_id": "other" }),
            json!({ "iss": format!("https://evil.example/api/v1/{}/{PROJECT}", kind.0) }),
        ] {
            assert!(!passes(&mut gateway, &signed(&claims, &changes)), "{kind:?}: {changes}");
        }
    }
}

#[test]
fn a_server_of_ones_own_is_the_only_issuer() {
    let own = "https://stack.acme.example";
    let mut gateway = gateway(json!({ "url": own, "user_types": "restricted" }));
    for kind in [NORMAL, RESTRICTED] {
        assert!(passes(&mut gateway, &signed(&claims_of(kind, own), &json!({}))), "{kind:?}");
        for other in [STACK_AUTH, HEXCLAVE] {
            assert!(!passes(&mut gateway, &signed(&claims_of(kind, other), &json!({}))), "{other}");
        }
    }
    let mut gateway = Gateway::new(&configured("stack_auth", json!({ "url": HEXCLAVE })));
    assert_eq!(gateway.tick(), 1);
    assert_eq!(gateway.in_flight[0].endpoint.authority, "api.hexclave.com");
    assert!(gateway.answer(200, &tokens::jwks([&*P256]).to_string()));
    for url in [STACK_AUTH, HEXCLAVE] {
        assert!(passes(&mut gateway, &signed(&claims_of(NORMAL, url), &json!({}))), "{url}");
    }
}

#[test]
fn a_user_type_that_is_not_known_is_refused() {
    for wrong in [json!("all"), json!(""), json!(["normal"])] {
        let configuration = configured("stack_auth", json!({ "user_types": wrong }));
        let error = Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused");
        let error = error.to_string();
        assert!(error.starts_with("providers.stack.user_types: found "), "{error}");
    }
}

fn rest(extra: Value) -> Gateway {
    let mut configuration = configured("stack_auth_rest", extra);
    configuration["providers"]["stack"]["secret_key"] = json!({ "environment_variable": "STACK_KEY" });
    let environment = |name: &str| (name == "STACK_KEY").then(|| "ssk_secret".to_owned());
    Gateway::of(Config::parse(configuration.to_string().as_bytes(), &environment).expect("valid"))
}

#[test]
fn the_rest_api_is_asked_to_let_the_users_pass_that_count() {
    for (user_types, allowed, url) in [
        ("normal", &[][..], STACK_AUTH),
        ("restricted", &["x-stack-allow-restricted-user"], HEXCLAVE),
        ("anonymous", &["x-stack-allow-restricted-user", "x-stack-allow-anonymous-user"], STACK_AUTH),
    ] {
        let mut gateway = rest(json!({ "user_types": user_types, "url": url }));
        let check = gateway
            .ask(&get("/", &[("x-stack-access-token", "t1"), ("x-stack-allow-anonymous-user", "true")]));
        let headers = check.call().headers.iter();
        let sent: Vec<_> = headers
            .filter(|(name, _)| name.starts_with("x-stack-allow"))
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
            .collect();
        assert_eq!(sent, allowed.iter().map(|name| (*name, "true")).collect::<Vec<(&str, &str)>>());
        assert_eq!(format!("https://{}", check.call().endpoint.authority), url);
        assert_eq!(check.call().endpoint.path, "/api/v1/users/me");
    }
}

#[test]
fn what_the_rest_api_says_of_a_user_must_fit_the_users_that_count() {
    let user = |anonymous: bool, restricted: bool, reason: Value| json!({ "id": "u-1", "is_anonymous": anonymous, "is_restricted": restricted, "restricted_reason": reason });
    let reason = json!({ "type": "email_not_verified" });
    for (said, least) in [
        (json!({ "id": "u-1" }), 0),
        (user(false, false, json!(null)), 0),
        (user(false, true, reason.clone()), 1),
        (user(true, true, json!({ "type": "anonymous" })), 2),
        (user(true, false, json!(null)), 3),
        (user(false, false, reason), 3),
        (user(false, true, json!(null)), 3),
    ] {
        for (index, user_types) in ["normal", "restricted", "anonymous"].into_iter().enumerate() {
            let mut gateway = rest(json!({ "user_types": user_types }));
            let request = get("/", &[("x-stack-access-token", "t1")]);
            let check = gateway.ask(&request);
            assert!(gateway.answer_check(check, 200, &[], said.to_string().as_bytes()));
            let passes = matches!(gateway.decide(&request), Decision::Forward(_));
            assert_eq!(passes, least <= index, "{user_types}: {said}");
            if !passes {
                assert_eq!(gateway.refuse(&request).label(), "claim");
            }
        }
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// What the SDK sends in one header.
fn tokens_as_json(access: &str) -> String {
    json!({ "accessToken": access, "refreshToken": "r3fr35h" }).to_string()
}

/// The token in each of the places that it travels in.
fn carriers(token: &str) -> Vec<(&'static str, String)> {
    let json = tokens_as_json(token);
    vec![
        ("x-hexclave-access-token", token.to_owned()),
        ("x-stack-access-token", token.to_owned()),
        ("x-hexclave-auth", json.clone()),
        ("X-Stack-Auth", json.clone()),
        ("authorization", format!("Bearer hexclave_{}", base64(&json))),
        ("authorization", format!("bearer  stackauth_{}", base64(&json).trim_end_matches('='))),
        ("authorization", format!("Bearer {token}")),
    ]
}

const WRAPPED: std::ops::Range<usize> = 2..6;

#[test]
fn the_token_counts_wherever_it_travels() {
    let mut gateway = gateway(json!({}));
    let token = signed(&claims_of(NORMAL, STACK_AUTH), &json!({}));
    for carrier in carriers(&token) {
        let received = gateway.forward(&get("/", &[("accept", "*/*".to_owned()), carrier.clone()]));
        assert_eq!(received.values("x-auth-user-id"), ["u-1"], "{carrier:?}");
        assert!(received.values("authorization").is_empty(), "{carrier:?}");
        assert!(!received.0.iter().any(|(name, _)| name.starts_with("x-stack") || name.starts_with("x-hex")));
        let bad = carriers(&signed(&claims_of(ANONYMOUS, STACK_AUTH), &json!({})));
        let bad = bad.into_iter().find(|(name, _)| *name == carrier.0).unwrap();
        assert_eq!(gateway.refuse(&get("/", &[bad])).status(), 401, "{carrier:?}");
    }
}

#[test]
fn one_token_may_be_at_several_places_and_two_tokens_may_not() {
    let mut gateway = gateway(json!({}));
    let one = signed(&claims_of(NORMAL, STACK_AUTH), &json!({}));
    let other = signed(&claims_of(NORMAL, STACK_AUTH), &json!({ "sub": "u-2" }));
    let (ones, others) = (carriers(&one), carriers(&other));
    for (first, mine) in ones.iter().enumerate() {
        for second in first + 1..ones.len() {
            if mine.0 == ones[second].0 {
                let both = get("/", &[mine.clone(), ones[second].clone()]);
                assert_eq!(gateway.refuse(&both).status(), 400, "two lines of one header: {mine:?}");
                continue;
            }
            let received = gateway.forward(&get("/", &[mine.clone(), ones[second].clone()]));
            assert_eq!(received.values("x-auth-user-id"), ["u-1"]);
            assert!(received.values("authorization").is_empty(), "{mine:?} {:?}", ones[second]);
            assert!(
                !received.0.iter().any(|(name, _)| name.starts_with("x-stack") || name.starts_with("x-hex"))
            );
            for two in [[mine.clone(), others[second].clone()], [others[second].clone(), mine.clone()]] {
                let rejection = gateway.refuse(&get("/", &two));
                assert_eq!((rejection.label(), rejection.status()), ("multiple_credentials", 400), "{two:?}");
            }
        }
    }
}

#[test]
fn the_refresh_token_reaches_no_upstream_on_any_path() {
    let good = signed(&claims_of(NORMAL, STACK_AUTH), &json!({}));
    for extra in [json!({}), json!({ "forward": true }), json!({ "remove_headers": [] })] {
        let mut gateway = gateway(extra.clone());
        for (path, token) in [
            ("/", good.as_str()),
            ("/open", good.as_str()),
            ("/open", "a.b.c"),
            ("/optional", good.as_str()),
            ("/whatever", good.as_str()),
            ("/whatever", "a.b.c"),
            ("/open", "not a token"),
        ] {
            for carrier in &carriers(token)[WRAPPED] {
                for more in [("accept", "*/*"), ("authorization", "Basic YTpi"), ("x_stack_auth", "{}")] {
                    if more.0 != "accept" && path != "/open" {
                        continue;
                    }
                    let received =
                        gateway.forward(&get(path, &[(more.0, more.1.to_owned()), carrier.clone()]));
                    let secrets = ["r3fr35h", "stackauth_", "hexclave_", "refreshToken"];
                    for secret in secrets {
                        assert!(
                            received.0.iter().all(|(_, value)| !value.contains(secret)),
                            "{extra} {path} {carrier:?}: {received:?}"
                        );
                    }
                }
            }
        }
        // Lines that the proxy has joined.
        let joined = format!("Basic YTpi, Bearer stackauth_{}", base64(&tokens_as_json(&good)));
        assert!(
            gateway.forward(&get("/open", &[("authorization", joined)])).values("authorization").is_empty()
        );
        let basic = gateway.forward(&get("/open", &[("authorization", "Basic YTpi")]));
        assert_eq!(basic.values("authorization"), ["Basic YTpi"]);
    }
    let received = gateway(json!({ "forward": true })).forward(&get_with("/", &good));
    assert_eq!(
        received.values("authorization"),
        [format!("Bearer {good}")],
        "what is the token alone goes on"
    );
}

#[test]
fn a_carrier_without_an_access_token_is_no_credential() {
    let mut gateway = gateway(json!({}));
    for json in [r#"{"accessToken":null,"refreshToken":"r3fr35h"}"#, r#"{"refreshToken":"r3fr35h"}"#, "{}"] {
        for carrier in [
            ("x-stack-auth", json.to_owned()),
            ("authorization", format!("Bearer stackauth_{}", base64(json))),
        ] {
            let head = |path| get(path, std::slice::from_ref(&carrier));
            assert_eq!(gateway.refuse(&head("/")).label(), "missing_credential", "{carrier:?}");
            let received = gateway.forward(&head("/optional"));
            assert!(received.values(carrier.0).is_empty(), "{carrier:?}");
        }
    }
    let token = signed(&claims_of(NORMAL, STACK_AUTH), &json!({}));
    let signed_out = ("x-stack-auth", r#"{"accessToken":null}"#.to_owned());
    let received = gateway.forward(&get("/", &[signed_out, ("x-stack-access-token", token)]));
    assert_eq!(received.values("x-auth-user-id"), ["u-1"]);
}

#[test]
fn a_carrier_that_cannot_be_read_is_refused() {
    let mut gateway = gateway(json!({}));
    let token = signed(&claims_of(NORMAL, STACK_AUTH), &json!({}));
    let good = tokens_as_json(&token);
    let twice = format!(r#"{{"accessToken":"{token}","accessToken":"a.b.c"}}"#);
    for value in [
        "x",
        "[]",
        "\"a.b.c\"",
        "null",
        r#"{"accessToken":1}"#,
        r#"{"accessToken":["a.b.c"]}"#,
        r#"{"accessToken":"a b"}"#,
        &twice,
        &format!("{good},{good}"),
        good.strip_prefix('{').unwrap(),
        &format!("{{\"accessToken\":\"{}\"}}", "a".repeat(70_000)),
    ] {
        for carrier in [
            ("x-stack-auth", value.to_owned()),
            ("authorization", format!("Bearer stackauth_{}", base64(value))),
        ] {
            let rejection = gateway.refuse(&get("/", std::slice::from_ref(&carrier)));
            assert_eq!((rejection.label(), rejection.status()), ("malformed_credential", 401), "{carrier:?}");
        }
    }
    for value in ["Bearer stackauth_", "Bearer stackauth_!", "Bearer stackauth_e30 x", "Bearer stackauth_e"] {
        assert_eq!(
            gateway.refuse(&get("/", &[("authorization", value)])).label(),
            "malformed_credential",
            "{value}"
        );
    }
    let spelt =
        gateway.refuse(&get("/", &[("x_stack_auth", good.as_str()), ("x-stack-auth", good.as_str())]));
    assert_eq!(spelt.status(), 400);
}

#[test]
fn no_identity_provider_is_sent_what_stands_beside_the_token() {
    let token = "t1.t2.t3";
    let mut gateway = rest(json!({}));
    for carrier in carriers(token) {
        let check = gateway.ask(&get("/", std::slice::from_ref(&carrier)));
        let sent = &check.call().headers;
        let of =
            |name: &str| sent.iter().find(|(known, _)| known == name).map(|(_, value)| value.to_string());
        assert_eq!(of("x-stack-access-token").as_deref(), Some(token), "{carrier:?}");
        assert!(!sent.iter().any(|(_, value)| value.contains("r3fr35h")), "{carrier:?}");
        gateway.answer_check(check, 500, &[], b"");
        gateway.advance(Duration::from_secs(1));
    }
    // Another provider takes bearer tokens of any form, and asks with the client's own header.
    let mut configuration = configured("stack_auth", json!({}));
    configuration["providers"]["other"] = json!({
        "session_check": { "kind": "forward_auth", "http_uri": { "uri": "https://other.example/", "cluster": "o" },
            "request_headers": ["authorization", "x-stack-auth", "x-device"] },
        "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
    });
    configuration["rules"] =
        json!([{ "match": { "prefix": "/" }, "requires": { "provider_name": "other" } }]);
    let mut gateway = Gateway::new(&configuration);
    let wrapped = carriers(token);
    for carrier in &wrapped[WRAPPED] {
        let alone = gateway.refuse(&get("/", std::slice::from_ref(carrier)));
        assert_eq!(alone.label(), "missing_credential", "{carrier:?}");
        let request =
            get("/", &[carrier.clone(), ("x-token", "t9".to_owned()), ("x-device", "d".to_owned())]);
        let check = gateway.ask(&request);
        let sent: Vec<_> =
            check.call().headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        assert!(
            sent.contains(&("authorization", "Bearer t9")) && sent.contains(&("x-device", "d")),
            "{sent:?}"
        );
        assert!(!sent.iter().any(|(name, _)| *name == "x-stack-auth"), "{sent:?}");
        gateway.answer_check(check, 500, &[], b"");
        gateway.advance(Duration::from_secs(1));
    }
}

#[test]
fn what_a_token_is_wrapped_in_must_be_said_in_full() {
    let message = |header: Value| {
        let configuration = configured("stack_auth", json!({ "from_headers": [header] }));
        Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string()
    };
    for (header, expected) in [
        (
            json!({ "name": "x-a", "value_encoding": "base64" }),
            "value_encoding: found an encoding of nothing",
        ),
        (
            json!({ "name": "x-a", "json_member": "t", "value_encoding": "hex" }),
            "value_encoding: found the string",
        ),
        (json!({ "name": "x-a", "json_member": "" }), "json_member: found"),
        (json!({ "name": "x-a", "json_member": 1 }), "json_member: found"),
    ] {
        let error = message(header.clone());
        assert!(
            error.starts_with(&format!("providers.stack.from_headers[0].{expected}")),
            "{header}: {error}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_is_sent_no_carrier_reaches_an_upstream(
        path in prop::sample::select(vec!["/", "/open", "/optional", "/whatever"]),
        fields in prop::collection::vec(
            (
                prop::sample::select(vec!["authorization", "Authorization", "x-stack-auth", "X_Stack_Auth", "x-hexclave-auth", "x-stack-access-token"]),
                prop::sample::select(vec!["", "Bearer ", "bearer   stackauth_", "Bearer hexclave_", "Basic x, Bearer stackauth_", " "]),
                prop_oneof![
                    Just(tokens_as_json("a.b.c")),
                    Just(base64(&tokens_as_json("a.b.c"))),
                    Just(r#"{"accessToken":null}"#.to_owned()),
                    "[ -~]{0,12}",
                ],
            ),
            0..4,
        ),
    ) {
        let fields: Vec<_> =
            fields.into_iter().map(|(name, prefix, value)| (name, format!("{prefix}{value}"))).collect();
        let mut gateway = gateway(json!({ "forward": true }));
        let head = get(path, &fields);
        if matches!(gateway.decide(&head), Decision::Forward(_)) {
            let received = gateway.forward(&head);
            for (name, value) in &received.0 {
                let value = value.to_ascii_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
                let is_carrier = ["x-stack-auth", "x_stack_auth", "x-hexclave-auth"].contains(&name.as_str());
                prop_assert!(!is_carrier, "{name}: {value}");
                let holds_more = value.contains("bearer stackauth_") || value.contains("bearer hexclave_");
                prop_assert!(name != "authorization" || !holds_more, "{value}");
            }
        }
    }
}
