//! The REST API of Stack Auth, which tells its users' faults from ours by codes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{DENIED, Expected, FORBIDDEN, MISSING, Refusal, Row, SEVERAL, Wire, assert_refused, unsigned};
use crate::Proxy;
use crate::scene::{assert_no_vm_failure, now};
use crate::support::{Asked, RAW, Request, SILENCE, SessionReply, SessionServer, Upstream, eventually};

const HOST: &str = "api.stack-auth.com";
const PATH: &str = "/api/v1/users/me";
const PROJECT: &str = "5b4ac1c2-7ae0-4b1c-a8a1-5c0b9f2b3d4e";
const KEY: &str = "ssk_n3w";
const OLD_KEY: &str = "ssk_0ld";

const ALICE: [(&str, &str); 7] = [
    ("x-auth-anonymous", "false"),
    ("x-auth-email", "alice@acme.example"),
    ("x-auth-email-verified", "true"),
    ("x-auth-name", "Al%C3%AFce"),
    ("x-auth-restricted", "false"),
    ("x-auth-team-id", "t34m"),
    ("x-auth-user-id", "a11ce"),
];

/// With nothing that may be missing.
const BOB: [(&str, &str); 4] = [
    ("x-auth-anonymous", "false"),
    ("x-auth-email-verified", "false"),
    ("x-auth-restricted", "false"),
    ("x-auth-user-id", "b0b"),
];

fn user(id: &str, rest: Value) -> Value {
    let mut user = json!({
        "id": id, "primary_email": null, "primary_email_verified": false, "primary_email_auth_enabled": false,
        "display_name": null, "selected_team": null, "selected_team_id": null, "profile_image_url": null,
        "signed_up_at_millis": 1_700_000_000_000_u64, "has_password": true, "otp_auth_enabled": false,
        "passkey_auth_enabled": false, "client_metadata": null, "client_read_only_metadata": null,
        "server_metadata": { "plan": "x-auth-user-id: root" }, "last_active_at_millis": 1_700_000_000_000_u64,
        "is_anonymous": false, "is_restricted": false, "restricted_reason": null, "country_code": null,
        "risk_scores": {}, "oauth_providers": [], "auth_with_email": true, "requires_totp_mfa": false,
    });
    for (name, value) in rest.as_object().into_iter().flatten() {
        user[name] = value.clone();
    }
    user
}

/// The API: first who asks, then about whom. `<status>.<code>` is a token for that error, and what stands behind a tilde
/// in a token makes another one of it.
fn users_me(asked: &Asked) -> SessionReply {
    // The newer of two names counts.
    let header = |name: &str| {
        let newer = asked.header(&format!("x-hexclave-{name}"));
        newer.or_else(|| asked.header(&format!("x-stack-{name}")))
    };
    let error = |status: u16, code: &str| {
        let headers =
            vec![("x-stack-known-error", code.to_owned()), ("x-hexclave-known-error", code.to_owned())];
        let body =
            json!({ "code": code, "error": "What went wrong.", "details": { "expired_at_millis": 1 } });
        match header("override-error-status") {
            Some(_) => {
                answer(200, [headers, vec![("x-stack-actual-status", status.to_string())]].concat(), body)
            }
            None => answer(status, headers, body),
        }
    };
    if asked.line() != format!("GET {PATH}") || asked.header("host") != Some(HOST) {
        return answer(404, Vec::new(), json!("not found"));
    }
    match (header("access-type"), header("project-id"), header("secret-server-key")) {
        (None, None, None) => return error(400, "ACCESS_TYPE_REQUIRED"),
        (None, ..) => return error(400, "PROJECT_KEY_WITHOUT_ACCESS_TYPE"),
        (Some("server"), Some(PROJECT), Some(KEY)) => {}
        (Some("server"), Some(PROJECT), Some(_)) => return error(401, "INVALID_SECRET_SERVER_KEY"),
        (Some("server"), Some(PROJECT), None) => return error(401, "SERVER_AUTHENTICATION_REQUIRED"),
        (Some("server"), Some(_), _) => return error(400, "CURRENT_PROJECT_NOT_FOUND"),
        (Some("server"), None, _) => return error(400, "ACCESS_TYPE_WITHOUT_PROJECT_ID"),
        (Some(_), ..) => return error(400, "INVALID_ACCESS_TYPE"),
    }
    let token = header("access-token").unwrap_or_default();
    let known_as = token.split('~').next().unwrap_or_default();
    let good = Vec::new;
    match known_as {
        "" => error(400, "CANNOT_GET_OWN_USER_WITHOUT_USER"),
        "alice" => {
            let rest = json!({ "primary_email": "alice@acme.example", "primary_email_verified": true,
                "display_name": "Al\u{ef}ce", "selected_team_id": "t34m" });
            answer(200, good(), user("a11ce", rest))
        }
        "bob" => answer(200, good(), user("b0b", json!({}))),
        "disguised" => {
            let error = json!({ "code": "UNPARSABLE_ACCESS_TOKEN", "error": "What went wrong." });
            answer(200, vec![("x-stack-actual-status", "401".to_owned())], error)
        }
        "nobody" => answer(200, good(), json!({ "primary_email": "root@acme.example" })),
        "null" => answer(200, good(), user("", json!({ "id": null }))),
        "list" => answer(200, good(), json!([user("a11ce", json!({}))])),
        "twice" => (200, good(), "{\"id\":\"a11ce\",\"id\":\"b0b\"}".to_owned()),
        "empty" => (200, good(), String::new()),
        "page" => (200, good(), "<!doctype html>".to_owned()),
        "huge" => answer(200, good(), user("a11ce", json!({ "server_metadata": "x".repeat(256 * 1024) }))),
        "201" => answer(201, good(), user("a11ce", json!({}))),
        "302" => answer(302, vec![("location", format!("https://{HOST}{PATH}"))], user("a11ce", json!({}))),
        "429" => {
            let error = json!("Too many requests");
            answer(429, vec![("retry-after", "30".to_owned())], error)
        }
        "500" => (500, good(), "Internal Server Error".to_owned()),
        "silent" => (SILENCE, good(), String::new()),
        "gone" => (RAW, good(), String::new()),
        "cut" => (RAW, good(), "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\":\"a11ce\"".to_owned()),
        token => match (expiration(token), known_as.split_once('.')) {
            (Some(expires), _) if expires <= now() => error(401, "ACCESS_TOKEN_EXPIRED"),
            (Some(_), _) => answer(200, good(), user("a11ce", json!({}))),
            (None, Some((status, code))) => error(status.parse().unwrap(), code),
            (None, None) => error(401, "UNPARSABLE_ACCESS_TOKEN"),
        },
    }
}

/// `exp` of a token.
fn expiration(token: &str) -> Option<u64> {
    let payload = token.strip_prefix("eyJ")?.split('.').nth(1)?;
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    payload["exp"].as_u64()
}

fn answer(status: u16, mut headers: Vec<(&'static str, String)>, body: Value) -> SessionReply {
    headers.push(("cache-control", "no-store, max-age=0".to_owned()));
    headers.push(("content-type", "application/json".to_owned()));
    headers.push(("x-stack-request-id", "r3q".to_owned()));
    (status, headers, body.to_string())
}

/// Both tokens of a client, as Stack Auth's SDKs send them to backends.
fn in_json(token: &str) -> String {
    json!({ "accessToken": token, "refreshToken": "r-1" }).to_string()
}

/// All that a client could tell the API or the upstream, in both names, as it is and with underscores.
fn forged() -> Vec<String> {
    let told = [
        "secret-server-key",
        "super-secret-admin-key",
        "admin-access-token",
        "access-type",
        "project-id",
        "publishable-client-key",
        "allow-anonymous-user",
        "allow-restricted-user",
        "override-error-status",
        "development-override-key",
        "branch-id",
        "actual-status",
        "known-error",
        "refresh-token",
    ];
    let told = told.iter().flat_map(|name| [format!("x-stack-{name}"), format!("X-Hexclave-{name}")]);
    let names = told.chain(ALICE.iter().map(|(name, _)| (*name).to_owned()));
    names.flat_map(|name| [name.replace('-', "_"), name]).collect()
}

fn configuration(variable: &str, project: &str) -> Value {
    json!({
        "providers": { "stack": {
            "preset": "stack_auth_rest", "project_id": project, "secret_key": { "environment_variable": variable }, "cluster": "stack",
        } },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "stack" } },
        ],
    })
}

/// What the API is asked about this token, names in order.
fn asks_with(
    key: &'static str,
    project: &'static str,
    token: &'static str,
) -> Vec<(&'static str, &'static str)> {
    vec![
        ("accept", "application/json"),
        ("x-stack-access-token", token),
        ("x-stack-access-type", "server"),
        ("x-stack-project-id", project),
        ("x-stack-secret-server-key", key),
    ]
}

fn row(name: &'static str, token: &'static str, expected: Expected) -> Row {
    let sent = Request::get("/x").header("x-stack-access-token", token);
    Row { name, sent, asks: asks_with(KEY, PROJECT, token), expected }
}

/// A known error by its status and code, which is also the name of the row.
fn error(name: &'static str, expected: Expected) -> Row {
    row(name, name, expected)
}

static NO_USER: Refusal = Refusal(
    401,
    Some(
        "Bearer realm=\"edge-authn\", error=\"invalid_token\", error_description=\"A claim of the access token is not allowed\"",
    ),
    "A claim of the access token is not allowed",
);

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_api_of_stack_auth_row_by_row() {
    let (idp, upstream) = (SessionServer::start(users_me).await, Upstream::start().await);
    let proxy = Proxy::with_filter(configuration("STACK_KEY", PROJECT), &upstream)
        .filter("old-key", configuration("STACK_OLD_KEY", PROJECT))
        .filter("other-project", configuration("STACK_KEY", "0th3r"))
        .cluster_of("stack", &["api.stack-auth.com:443"], idp.address())
        .environment("STACK_KEY", KEY)
        .environment("STACK_OLD_KEY", OLD_KEY)
        .start()
        .await;
    let forged = forged();
    let wire = Wire {
        proxy: &proxy,
        listener: "gateway",
        upstream: &upstream,
        idp: &idp,
        host: HOST,
        path: PATH,
        forged: &forged,
    };
    let by = |name: &str, value: &str| Request::get("/x").header(name, value);
    let is = |user: &[(&'static str, &'static str)]| Expected::Passes(user.to_vec());
    let denied = || Expected::Refused(&DENIED);
    let asks = |token| asks_with(KEY, PROJECT, token);
    wire.hold(vec![
        // Who asks, and by which header (3.1, 3.4).
        row("200, x-stack-access-token", "alice", is(&ALICE)),
        Row {
            sent: by("x-hexclave-access-token", "alice~1"),
            ..row("200, x-hexclave-access-token", "alice~1", is(&ALICE))
        },
        Row { sent: by("authorization", "Bearer alice~2"), ..row("200, Bearer", "alice~2", is(&ALICE)) },
        row("200 with nulls", "bob", is(&BOB)),
        Row {
            sent: Request {
                method: "DELETE".to_owned(),
                ..by("x-stack-access-token", "alice~3").body("a=b")
            },
            ..row("a method other than GET, and a body", "alice~3", is(&ALICE))
        },
        Row {
            name: "no access token",
            sent: Request::get("/x"),
            asks: vec![],
            expected: Expected::Refused(&MISSING),
        },
        Row { name: "open route", sent: Request::get("/open"), asks: vec![], expected: is(&[]) },
        Row {
            name: "two tokens by two names",
            sent: by("x-stack-access-token", "alice").header("x-hexclave-access-token", "bob"),
            asks: vec![],
            expected: Expected::Refused(&SEVERAL),
        },
        Row {
            name: "two tokens, one of them a Bearer",
            sent: by("x-stack-access-token", "alice").bearer("bob"),
            asks: vec![],
            expected: Expected::Refused(&SEVERAL),
        },
        Row {
            name: "two tokens, one of them in JSON",
            sent: by("x-stack-access-token", "alice").header("x-stack-auth", in_json("bob")),
            asks: vec![],
            expected: Expected::Refused(&SEVERAL),
        },
        Row {
            sent: by("x-stack-access-token", "alice~24").bearer("alice~24"),
            ..row("200, one token by two names", "alice~24", is(&ALICE))
        },
        Row {
            sent: by("x-stack-auth", &in_json("alice~25")),
            ..row("200, x-stack-auth with a refresh token", "alice~25", is(&ALICE))
        },
        Row {
            sent: by("x-hexclave-auth", &in_json("alice~26")),
            ..row("200, x-hexclave-auth with a refresh token", "alice~26", is(&ALICE))
        },
        Row {
            sent: by("authorization", &format!("Bearer stackauth_{}", STANDARD.encode(in_json("alice~27")))),
            ..row("200, Bearer stackauth_ with a refresh token", "alice~27", is(&ALICE))
        },
        Row {
            name: "JSON that is none",
            sent: by("x-stack-auth", "forged"),
            asks: vec![],
            expected: Expected::Refused(&DENIED),
        },
        Row {
            name: "open route, with a refresh token",
            sent: Request::get("/open")
                .header("x-stack-auth", in_json("alice"))
                .header("X_Hexclave_Auth", "forged"),
            asks: vec![],
            expected: is(&[]),
        },
        Row {
            name: "a token in two spellings of its header",
            sent: by("x-stack-access-token", "alice").header("x_stack_access_token", "bob"),
            asks: vec![],
            expected: Expected::Refused(&SEVERAL),
        },
        // What is the user's fault (3.5).
        error("400.CANNOT_GET_OWN_USER_WITHOUT_USER", denied()),
        error("401.UNPARSABLE_ACCESS_TOKEN", denied()),
        error("401.ACCESS_TOKEN_EXPIRED", denied()),
        error("401.INVALID_PROJECT_FOR_ACCESS_TOKEN", denied()),
        error("401.ANONYMOUS_AUTHENTICATION_NOT_ALLOWED", denied()),
        error("403.RESTRICTED_USER_NOT_ALLOWED", Expected::Refused(&FORBIDDEN)),
        // What is ours.
        error("401.INVALID_SECRET_SERVER_KEY", Expected::Fails),
        error("401.SERVER_AUTHENTICATION_REQUIRED", Expected::Fails),
        error("401.INVALID_PUBLISHABLE_CLIENT_KEY", Expected::Fails),
        error("400.CURRENT_PROJECT_NOT_FOUND", Expected::Fails),
        error("400.ACCESS_TYPE_WITHOUT_PROJECT_ID", Expected::Fails),
        error("400.PROJECT_KEY_WITHOUT_ACCESS_TYPE", Expected::Fails),
        error("400.INVALID_ACCESS_TYPE", Expected::Fails),
        error("400.ACCESS_TYPE_REQUIRED", Expected::Fails),
        error("400.SCHEMA_ERROR", Expected::Fails),
        error("400.BRANCH_DOES_NOT_EXIST", Expected::Fails),
        row("429 with Retry-After", "429", Expected::Fails),
        // A code counts with its status alone, and a status with its code.
        error("403.UNPARSABLE_ACCESS_TOKEN", Expected::Fails),
        error("401.RESTRICTED_USER_NOT_ALLOWED", Expected::Fails),
        error("401.SOMETHING_NEW", Expected::Fails),
        error("403.SOMETHING_NEW", Expected::Fails),
        // What is nobody's.
        row("500", "500", Expected::Fails),
        row("timeout: no answer in two seconds", "silent", Expected::Fails),
        row("reset: the connection ends without an answer", "gone", Expected::Fails),
        row("reset: the connection ends amid the body", "cut", Expected::Fails),
        row("a redirect is not followed", "302", Expected::Fails),
        row("201 with a user", "201", Expected::Fails),
        row("200 with a list", "list", Expected::Fails),
        row("200 without a body", "empty", Expected::Fails),
        row("200 with a page", "page", Expected::Fails),
        row("200 with two ids", "twice", Expected::Fails),
        row("200 with more than 256 KiB", "huge", Expected::Fails),
        // What is no user.
        row("200 with x-stack-actual-status: 401", "disguised", Expected::Refused(&NO_USER)),
        row("200 without an id", "nobody", Expected::Refused(&NO_USER)),
        row("200 with null for an id", "null", Expected::Refused(&NO_USER)),
    ])
    .await;
    let denied_with_key = Row { asks: asks("alice~4"), ..row("200 after all that", "alice~4", is(&ALICE)) };
    wire.hold(vec![denied_with_key]).await;

    let old_key = Wire { listener: "old-key", ..wire };
    let row_of = |name, key, project, token| Row {
        asks: asks_with(key, project, token),
        ..row(name, token, Expected::Fails)
    };
    old_key
        .hold(vec![
            row_of("our own server key is wrong, good token", OLD_KEY, PROJECT, "alice~5"),
            row_of("our own server key is wrong, bad token", OLD_KEY, PROJECT, "wrong~5"),
        ])
        .await;
    let other_project = Wire { listener: "other-project", ..old_key };
    other_project.hold(vec![row_of("our own project is wrong", KEY, "0th3r", "alice~6")]).await;

    let log = proxy.log();
    for secret in [KEY, OLD_KEY, "alice", "UNPARSABLE"] {
        assert!(!log.contains(secret), "{secret} in the log");
    }
    assert_no_vm_failure(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_a_token_is_not_kept_past_the_expiration_of_the_token() {
    let (idp, upstream) = (SessionServer::start(users_me).await, Upstream::start().await);
    let proxy = Proxy::with_filter(configuration("STACK_KEY", PROJECT), &upstream)
        .cluster_of("stack", &["api.stack-auth.com:443"], idp.address())
        .environment("STACK_KEY", KEY)
        .environment("STACK_OLD_KEY", OLD_KEY)
        .start()
        .await;
    let token = unsigned(&json!({ "sub": "a11ce", "exp": now() + 2 }));
    let request = Request::get("/x").header("x-stack-access-token", &token);
    for _ in 0..5 {
        assert_eq!(request.send(proxy.gateway()).await.status, 200);
    }
    assert_eq!(idp.questions(), 1);
    eventually("it is refused when it has expired", Duration::from_secs(3), async || {
        request.send(proxy.gateway()).await.status == 401
    })
    .await;
    assert_refused("expired", &request.send(proxy.gateway()).await, &DENIED);
    assert_eq!(idp.questions(), 2, "and asked about once more");
}
