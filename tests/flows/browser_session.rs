//! Sessions in the cookies of a browser: which cookie counts, why a request is signed out, and where a page is sent then.
//! The numbers in names are those of the steps of Clerk's SDKs (`authenticateRequest` of clerk/javascript).

use std::time::Duration;

use edge_authn::config::Config;
use edge_authn::engine::Decision;
use edge_authn::rejection::Reply;
use edge_authn::request::RequestHead;
use serde_json::{Value, json};

use crate::support::*;

/// Of an instance in development, whose frontend API is `clerk.clerk.dev`, and its suffix.
const DEV_KEY: (&str, &str) = ("pk_test_Y2xlcmsuY2xlcmsuZGV2JA", "QvfNY2dr");

/// Of one in production, `clerk.inspired.puma-74.lcl.dev`.
const LIVE_KEY: (&str, &str) = ("pk_live_Y2xlcmsuaW5zcGlyZWQucHVtYS03NC5sY2wuZGV2JA", "MqCvchyS");
const LIVE_ISSUER: &str = "https://clerk.inspired.puma-74.lcl.dev";

const HANDSHAKE: &str = "https://clerk.acme.example/v1/client/handshake";

/// Names and values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn gateway_with(session: Value, extra: Value) -> Gateway {
    let mut browser_session = json!({
        "client_uat_cookie": "__client_uat",
        "handshake": { "uri": HANDSHAKE },
        "debug_headers": true,
    });
    for (name, value) in session.as_object().unwrap() {
        browser_session[name] = value.clone();
    }
    let mut fields = json!({
        "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }],
        "from_cookies": ["__session"],
        "multiple_credentials": "first",
        "csrf": true,
        "clock_skew_seconds": 5,
        "authorized_parties": ["https://app.example"],
        "claim_to_headers": [{ "header_name": "x-user", "claim_name": "sub" }],
        "browser_session": browser_session,
    });
    for (name, value) in extra.as_object().unwrap() {
        fields[name] = value.clone();
    }
    Gateway::with_provider(fields)
}

fn gateway() -> Gateway {
    gateway_with(json!({}), json!({}))
}

fn session(extra: Value) -> String {
    let mut of_session = json!({ "azp": "https://app.example", "iat": START - 10, "exp": START + 50 });
    for (name, value) in extra.as_object().unwrap() {
        of_session[name] = value.clone();
    }
    KEY.sign(&claims(of_session))
}

/// A page that a browser opens.
fn page(cookie: &str, fields: &[(&str, &str)]) -> RequestHead {
    request("GET", &[&[("sec-fetch-dest", "document"), ("cookie", cookie)], fields].concat())
}

fn request(method: &str, fields: &[(&str, &str)]) -> RequestHead {
    let pseudo = [
        (":method", method),
        (":path", "/orders?page=2"),
        (":authority", "app.example"),
        (":scheme", "https"),
    ];
    let bytes = |text: &&str| text.as_bytes().to_vec();
    let fields = pseudo.iter().chain(fields);
    RequestHead::new(fields.map(|(name, value)| (bytes(name), bytes(value))).collect())
}

/// What a browser sees: whose request it is, or the status, the state and the reason.
fn seen(gateway: &mut Gateway, head: &RequestHead) -> String {
    match gateway.decide(head) {
        Decision::Forward(_) => {
            let received = gateway.forward(head);
            received.values("x-user").first().map_or("anonymous".to_owned(), |user| (*user).to_owned())
        }
        Decision::Refuse(_) => {
            let reply = gateway.reply(head);
            let value = |name| header(&reply, name).unwrap_or_default();
            format!("{} {} {}", reply.status, value("x-clerk-auth-status"), value("x-clerk-auth-reason"))
        }
        waits => panic!("{waits:?}"),
    }
}

fn header<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
    reply.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

#[test]
fn every_state_of_a_page_request_is_that_of_the_sdk() {
    let with = |token: &str, rest: &str| format!("__session={token}; __client_uat={rest}");
    let signed_in = START - 20;
    let good = session(json!({}));
    let stranger = STRANGER.sign(&claims(json!({ "iat": START - 10 })));
    let template = KEY.sign_with_header(
        &json!({ "alg": "ES256", "kid": "acme-1", "typ": "JWT", "cat": "cl_B7d4PD222AAA" }),
        &claims(json!({ "azp": "https://app.example", "iat": START - 10 })),
    );
    let of_session = KEY.sign_with_header(
        &json!({ "alg": "ES256", "kid": "acme-1", "typ": "JWT", "cat": "cl_B7d4PD111AAA" }),
        &claims(json!({ "azp": "https://app.example", "iat": START - 10 })),
    );
    let expired = "session-token-expired-refresh-non-eligible-no-refresh-cookie";
    let rows: Vec<(&str, String, String)> = vec![
        ("6 no uat, no session", String::new(), "401 signed-out session-token-and-uat-missing".into()),
        (
            "6 uat of 0, no session",
            "__client_uat=0".into(),
            "401 signed-out session-token-and-uat-missing".into(),
        ),
        (
            "6 uat without a number",
            "__client_uat=x".into(),
            "401 signed-out session-token-and-uat-missing".into(),
        ),
        ("7 session, uat of 0", with(&good, "0"), "307 handshake session-token-but-no-client-uat".into()),
        (
            "7 session, no uat",
            format!("__session={good}"),
            "307 handshake session-token-but-no-client-uat".into(),
        ),
        (
            "8 uat, no session",
            format!("__client_uat={signed_in}"),
            "307 handshake client-uat-but-no-session-token".into(),
        ),
        (
            "8 uat with a tail",
            format!("__client_uat={signed_in}x"),
            "307 handshake client-uat-but-no-session-token".into(),
        ),
        ("9 no token", with("abc", &signed_in.to_string()), "401 signed-out token-invalid".into()),
        (
            "9 no token of three parts",
            with("a.b.c", &signed_in.to_string()),
            "401 signed-out token-invalid".into(),
        ),
        (
            "10 a token of a template",
            with(&template, &signed_in.to_string()),
            "401 signed-out token-type-mismatch".into(),
        ),
        ("10 a token of a session", with(&of_session, &signed_in.to_string()), "alice".into()),
        (
            "10 a token of a machine",
            with(&session(json!({ "sub": "mch_1" })), &signed_in.to_string()),
            "401 signed-out token-type-mismatch".into(),
        ),
        (
            "11 issued before the uat",
            with(&good, &(START - 9).to_string()),
            "307 handshake session-token-iat-before-client-uat".into(),
        ),
        ("11 issued in the second of the uat", with(&good, &(START - 10).to_string()), "alice".into()),
        ("12 verified", with(&good, &signed_in.to_string()), "alice".into()),
        (
            "12 over",
            with(&session(json!({ "exp": START - 5 })), &signed_in.to_string()),
            format!("307 handshake {expired}"),
        ),
        (
            "12 over for less than the skew",
            with(&session(json!({ "exp": START - 4 })), &signed_in.to_string()),
            "alice".into(),
        ),
        (
            "12 not valid yet",
            with(&session(json!({ "nbf": START + 6 })), &signed_in.to_string()),
            "307 handshake session-token-nbf".into(),
        ),
        (
            "12 issued in the future",
            with(&session(json!({ "iat": START + 6 })), &signed_in.to_string()),
            "307 handshake session-token-iat-in-the-future".into(),
        ),
        (
            "12 issued within the skew",
            with(&session(json!({ "iat": START + 5 })), &signed_in.to_string()),
            "alice".into(),
        ),
        (
            "12 of another party",
            with(&session(json!({ "azp": "https://evil.example" })), &signed_in.to_string()),
            "401 signed-out token-invalid-authorized-parties".into(),
        ),
        (
            "12 without a party",
            with(&session(json!({ "azp": null })), &signed_in.to_string()),
            "401 signed-out token-invalid-authorized-parties".into(),
        ),
        (
            "12 signed by a stranger",
            with(&stranger, &signed_in.to_string()),
            "401 signed-out token-invalid-signature".into(),
        ),
        (
            "12 of another issuer",
            with(&session(json!({ "iss": "https://other.example" })), &signed_in.to_string()),
            "401 signed-out token-verification-failed".into(),
        ),
    ];
    let mut gateway = gateway();
    for (name, cookie, expected) in &rows {
        assert_eq!(seen(&mut gateway, &page(cookie, &[])), *expected, "{name}");
    }
}

#[test]
fn a_token_in_the_header_is_the_only_one_that_is_looked_at() {
    let cookie = format!("__session={}; __client_uat=1", session(json!({ "sub": "bob" })));
    let bearer = |token: &str| format!("Bearer {token}");
    let m2m = KEY.sign(&claims(json!({ "sub": "mch_1", "azp": "https://app.example" })));
    let oauth = KEY.sign_with_header(
        &json!({ "alg": "ES256", "kid": "acme-1", "typ": "application/at+jwt" }),
        &claims(json!({ "azp": "https://app.example" })),
    );
    let mut gateway = gateway();
    for (name, token, expected) in [
        ("A verified", session(json!({})), "alice"),
        ("A a token of a machine", m2m, "401 signed-out token-type-mismatch"),
        ("A a token of an OAuth client", oauth, "401 signed-out token-type-mismatch"),
        ("A an opaque token of a machine", "mt_abcdef".to_owned(), "401 signed-out token-type-mismatch"),
        ("A an opaque OAuth token", "oat_abcdef".to_owned(), "401 signed-out token-type-mismatch"),
        ("A an API key", "ak_abcdef".to_owned(), "401 signed-out token-type-mismatch"),
        ("A no token", "abc".to_owned(), "401 signed-out token-invalid"),
        (
            "E over, on a page",
            session(json!({ "exp": START - 60 })),
            "307 handshake session-token-expired-refresh-non-eligible-no-refresh-cookie",
        ),
        ("E older than the uat, which is for cookies", session(json!({ "iat": START - 5000 })), "alice"),
    ] {
        let head = page(&cookie, &[("authorization", &bearer(&token))]);
        assert_eq!(seen(&mut gateway, &head), expected, "{name}");
    }
    let uat_of_zero = page("__client_uat=0", &[("authorization", &bearer(&session(json!({}))))]);
    assert_eq!(seen(&mut gateway, &uat_of_zero), "alice", "a header is not of the browser's cookies");
    let basic = page(&cookie, &[("authorization", "Basic YTpi")]);
    assert_eq!(seen(&mut gateway, &basic), "bob", "another scheme is no token");
}

#[test]
fn only_a_page_that_a_browser_opens_is_sent_to_the_handshake() {
    let cookie = format!("__client_uat={}", START - 20);
    let reason = "client-uat-but-no-session-token";
    let (sent, refused) = (format!("307 handshake {reason}"), format!("401 signed-out {reason}"));
    let mut gateway = gateway();
    let rows: [(&str, Pairs<'_>, bool); 13] = [
        ("GET", &[("sec-fetch-dest", "document")], true),
        ("GET", &[("sec-fetch-dest", "iframe")], true),
        ("GET", &[("sec-fetch-dest", "empty"), ("accept", "text/html")], false),
        ("GET", &[("sec-fetch-dest", "image")], false),
        ("GET", &[("sec-fetch-dest", "")], false),
        ("GET", &[("accept", "text/html,application/xhtml+xml")], true),
        ("GET", &[("accept", "text/html")], true),
        ("GET", &[("accept", "application/json, text/html")], false),
        ("GET", &[("accept", "*/*")], false),
        ("GET", &[], false),
        ("HEAD", &[("sec-fetch-dest", "document")], false),
        ("POST", &[("sec-fetch-dest", "document")], false),
        ("OPTIONS", &[("sec-fetch-dest", "document")], false),
    ];
    for (method, fields, is_sent) in rows {
        let head = request(method, &[fields, &[("cookie", cookie.as_str())]].concat());
        let expected = if is_sent { &sent } else { &refused };
        assert_eq!(seen(&mut gateway, &head), *expected, "{method} {fields:?}");
    }
}

#[test]
fn an_expired_token_says_why_it_is_not_renewed() {
    let expired = session(json!({ "exp": START - 60 }));
    let mut gateway =
        gateway_with(json!({ "publishable_key": LIVE_KEY.0 }), json!({ "issuer": ISSUER, "csrf": false }));
    let suffix = LIVE_KEY.1;
    let cookie = format!("__session_{suffix}={expired}; __client_uat_{suffix}=1");
    let with_refresh = format!("{cookie}; __refresh_{suffix}=r");
    let start = "session-token-expired-refresh";
    for (method, cookie, reason) in [
        ("GET", &cookie, "non-eligible-no-refresh-cookie"),
        ("GET", &format!("{cookie}; __refresh=r"), "non-eligible-no-refresh-cookie"),
        ("GET", &with_refresh, "missing-api-client"),
        ("POST", &with_refresh, "non-eligible-non-get"),
    ] {
        let head = request(method, &[("cookie", cookie)]);
        assert_eq!(
            seen(&mut gateway, &head),
            format!("401 signed-out {start}-{reason}"),
            "{method} {cookie}"
        );
    }
}

#[test]
fn the_redirect_has_what_the_provider_needs_and_no_token() {
    let expired = session(json!({ "exp": START - 60 }));
    let cookie = format!("__session={expired}; __client_uat=1");
    let head =
        page(&cookie, &[("x-forwarded-proto", "https, http"), ("x-forwarded-host", "www.app.example, x")]);
    let reply = gateway().reply(&head);
    assert_eq!(reply.status, 307);
    assert_eq!(
        header(&reply, "location"),
        Some(
            "https://clerk.acme.example/v1/client/handshake\
             ?redirect_url=https%3A%2F%2Fwww.app.example%2Forders%3Fpage%3D2&suffixed_cookies=false\
             &__clerk_hs_reason=session-token-expired-refresh-non-eligible-no-refresh-cookie&format=nonce"
        )
    );
    assert_eq!(
        header(&reply, "set-cookie"),
        Some("__clerk_redirect_count=1; SameSite=Lax; HttpOnly; Max-Age=2")
    );
    assert_eq!(header(&reply, "cache-control"), Some("no-store"));
    assert_eq!(header(&reply, "www-authenticate"), None);
    assert!(reply.headers.iter().all(|(_, value)| !value.contains(expired.as_str())));
    let message = header(&reply, "x-clerk-auth-message").unwrap();
    assert!(message.ends_with(
        "(reason=session-token-expired-refresh-non-eligible-no-refresh-cookie, token-carrier=cookie)"
    ));
}

#[test]
fn a_page_in_development_is_sent_with_the_token_of_its_browser() {
    let session_extra = json!({ "publishable_key": DEV_KEY.0, "handshake": { "uri": HANDSHAKE, "api_version": "2025-04-10" } });
    let mut gateway = gateway_with(session_extra, json!({}));
    let mut location = |head: &RequestHead| header(&gateway.reply(head), "location").unwrap().to_owned();
    let suffix = DEV_KEY.1;
    let start =
        "https://clerk.acme.example/v1/client/handshake?redirect_url=https%3A%2F%2Fapp.example%2Forders";
    let middle = "&__clerk_api_version=2025-04-10";
    let end = "&__clerk_hs_reason=client-uat-but-no-session-token&format=nonce";
    let cookie = "__client_uat=1; __clerk_db_jwt=dvb_1";
    assert_eq!(
        location(&page(cookie, &[])),
        format!("{start}%3Fpage%3D2{middle}&suffixed_cookies=false{end}&__clerk_db_jwt=dvb_1")
    );
    let cookie = format!("__client_uat_{suffix}=1; __clerk_db_jwt=dvb_1; __clerk_db_jwt_{suffix}=dvb_2");
    assert_eq!(
        location(&page(&cookie, &[])),
        format!("{start}%3Fpage%3D2{middle}&suffixed_cookies=true{end}&__clerk_db_jwt=dvb_2")
    );
    let path = "/orders?__clerk_db_jwt=dvb_3&a=1&__dev_session=x&%5F_clerk_db_jwt=y&b=2";
    let head = get(path, &[("sec-fetch-dest", "document"), ("cookie", "__client_uat=1")]);
    assert_eq!(
        location(&head),
        format!("{start}%3Fa%3D1%26b%3D2{middle}&suffixed_cookies=false{end}&__clerk_db_jwt=dvb_3")
            .replace("https%3A%2F%2Fapp.example", "http%3A%2F%2Fgateway.example")
    );
}

#[test]
fn a_browser_that_comes_back_without_a_token_is_sent_three_times() {
    let mut gateway = gateway();
    let reason = "client-uat-but-no-session-token";
    for (count, expected) in [
        ("1", Some("2")),
        ("2", Some("3")),
        ("3", None),
        ("4", None),
        ("99999999999999999999", None),
        ("-1", None),
        ("x", Some("1")),
    ] {
        let head = page(&format!("__client_uat=1; __clerk_redirect_count={count}"), &[]);
        let reply = gateway.reply(&head);
        let cookie =
            expected.map(|next| format!("__clerk_redirect_count={next}; SameSite=Lax; HttpOnly; Max-Age=2"));
        assert_eq!(header(&reply, "set-cookie"), cookie.as_deref(), "{count}");
        assert_eq!(reply.status, if expected.is_some() { 307 } else { 401 }, "{count}");
        assert_eq!(header(&reply, "x-clerk-auth-reason"), Some(reason), "{count}");
    }
}

#[test]
fn the_redirect_cannot_be_bent_by_what_a_client_sends() {
    let mut gateway = gateway();
    let cookie = "__client_uat=1";
    for (name, value) in [
        ("x-forwarded-host", "evil.example/x?"),
        ("x-forwarded-host", "a b"),
        ("x-forwarded-host", "a@b"),
        ("x-forwarded-proto", "javascript"),
        ("x-forwarded-proto", "ftp"),
    ] {
        let head = page(cookie, &[(name, value)]);
        assert_eq!(
            seen(&mut gateway, &head),
            "401 signed-out client-uat-but-no-session-token",
            "{name}: {value}"
        );
    }
    let bent =
        get("/a&__session=x\r\nset-cookie: y#z", &[("sec-fetch-dest", "document"), ("cookie", cookie)]);
    let location = header(&gateway.reply(&bent), "location").unwrap().to_owned();
    assert!(
        location.contains(
            "redirect_url=http%3A%2F%2Fgateway.example%2Fa%26__session%3Dx%0D%0Aset-cookie%3A%20y%23z&"
        ),
        "{location}"
    );
    let long = format!("/{}", "a".repeat(9000));
    let head = get(&long, &[("sec-fetch-dest", "document"), ("cookie", cookie)]);
    assert_eq!(gateway.reply(&head).status, 401, "no browser takes such a URL");
}

#[test]
fn without_a_handshake_every_state_is_a_refusal() {
    let configuration = json!({ "client_uat_cookie": "__client_uat", "debug_headers": true });
    let mut gateway = gateway_with(json!({}), json!({ "browser_session": configuration }));
    for (cookie, reason) in [
        ("__client_uat=1".to_owned(), "client-uat-but-no-session-token"),
        (format!("__session={}", session(json!({}))), "session-token-but-no-client-uat"),
        (
            format!("__client_uat=1; __session={}", session(json!({ "exp": START - 60 }))),
            "session-token-expired-refresh-non-eligible-no-refresh-cookie",
        ),
    ] {
        assert_eq!(seen(&mut gateway, &page(&cookie, &[])), format!("401 signed-out {reason}"));
    }
}

#[test]
fn a_path_where_a_credential_is_optional_serves_a_browser_that_is_signed_out() {
    let mut gateway = gateway();
    let good = session(json!({}));
    let expired = session(json!({ "exp": START - 60 }));
    let optional = |cookie: String| {
        let fields = [("cookie", cookie), ("sec-fetch-dest", "document".to_owned())];
        get("/optional", &fields)
    };
    for (cookie, expected) in [
        (String::new(), "anonymous"),
        ("__client_uat=1".to_owned(), "anonymous"),
        (format!("__session={good}; __client_uat=0"), "anonymous"),
        (format!("__session={good}; __client_uat=1"), "alice"),
        (
            format!("__session={expired}; __client_uat=1"),
            "307 handshake session-token-expired-refresh-non-eligible-no-refresh-cookie",
        ),
    ] {
        assert_eq!(seen(&mut gateway, &optional(cookie.clone())), expected, "{cookie}");
    }
}

#[test]
fn the_cookies_of_the_session_go_nowhere_and_those_of_others_stay() {
    let mut gateway =
        gateway_with(json!({ "publishable_key": LIVE_KEY.0 }), json!({ "issuer": LIVE_ISSUER }));
    let suffix = LIVE_KEY.1;
    let good = session(json!({ "iss": LIVE_ISSUER }));
    let cookie = format!(
        "a=1; __session={good}; __session_{suffix}={good}; __client_uat=5; __client_uat_{suffix}=5; \
         __refresh_{suffix}=r; __clerk_handshake=h; __sessions=2; __clerk_db_jwt=d; b=3"
    );
    let received = gateway.forward(&page(&cookie, &[]));
    assert_eq!(received.values("x-user"), ["alice"]);
    assert_eq!(received.values("cookie"), ["a=1; __sessions=2; __clerk_db_jwt=d; b=3"]);
    let bearer = format!("Bearer {}", session(json!({ "iss": LIVE_ISSUER, "sub": "bob" })));
    let received = gateway.forward(&page(&cookie, &[("authorization", &bearer)]));
    assert_eq!(received.values("x-user"), ["bob"]);
    assert_eq!(received.values("cookie"), ["a=1; __sessions=2; __clerk_db_jwt=d; b=3"]);
}

/// The choice of clerk/javascript's `usesSuffixedCookies`, case by case.
#[test]
fn of_two_session_cookies_the_one_of_this_instance_counts() {
    let of = |user: &str, extra: Value| {
        let mut all = json!({ "sub": user, "iss": LIVE_ISSUER });
        for (name, value) in extra.as_object().unwrap() {
            all[name] = value.clone();
        }
        session(all)
    };
    let plain = of("plain", json!({}));
    let suffixed = of("suffixed", json!({}));
    let newer = of("plain", json!({ "iat": START - 5 }));
    let without_issuer = of("plain", json!({ "iss": null }));
    let of_other = of("plain", json!({ "iss": "https://clerk.other.example" }));
    let over = of("suffixed", json!({ "exp": START - 60 }));
    let cookies = |parts: &[(&str, &str)], suffix: &str| {
        let pairs = parts.iter().map(|(name, value)| format!("{}={value}", name.replace('*', suffix)));
        pairs.collect::<Vec<_>>().join("; ")
    };
    let no_uat = "401 signed-out session-token-but-no-client-uat";
    let uat_but_no_token = "401 signed-out client-uat-but-no-session-token";
    let rows: [(&str, Pairs<'_>, &str); 12] = [
        (
            "both, of one instance",
            &[
                ("__session", &plain),
                ("__client_uat", "1"),
                ("__session_*", &suffixed),
                ("__client_uat_*", "1"),
            ],
            "suffixed",
        ),
        (
            "a: the plain one has no issuer",
            &[
                ("__session", &without_issuer),
                ("__client_uat", "1"),
                ("__session_*", &suffixed),
                ("__client_uat_*", "1"),
            ],
            "401 signed-out token-verification-failed",
        ),
        (
            "a: the plain one cannot be read",
            &[
                ("__session", "abc"),
                ("__client_uat", "1"),
                ("__session_*", &suffixed),
                ("__client_uat_*", "1"),
            ],
            "401 signed-out token-invalid",
        ),
        (
            "b: the plain one is of another instance",
            &[
                ("__session", &of_other),
                ("__client_uat", "1"),
                ("__session_*", &suffixed),
                ("__client_uat_*", "1"),
            ],
            "suffixed",
        ),
        (
            "b: and there is no other",
            &[("__session", &of_other), ("__client_uat", "1")],
            "401 signed-out session-token-and-uat-missing",
        ),
        ("c: none has a suffix", &[("__session", &plain), ("__client_uat", "1")], "plain"),
        (
            "d: the plain one is newer",
            &[
                ("__session", &newer),
                ("__client_uat", "1"),
                ("__session_*", &suffixed),
                ("__client_uat_*", "1"),
            ],
            "plain",
        ),
        (
            "d: not when the plain uat is 0",
            &[
                ("__session", &newer),
                ("__client_uat", "0"),
                ("__session_*", &suffixed),
                ("__client_uat_*", "1"),
            ],
            "suffixed",
        ),
        (
            "e: signed out by suffix alone",
            &[("__session", &plain), ("__client_uat", "1"), ("__client_uat_*", "0")],
            "plain",
        ),
        (
            "e: signed out by both",
            &[
                ("__session", &plain),
                ("__client_uat", "0"),
                ("__session_*", &suffixed),
                ("__client_uat_*", "0"),
            ],
            no_uat,
        ),
        (
            "g: a suffixed session without its uat",
            &[("__client_uat", "1"), ("__session_*", &suffixed)],
            uat_but_no_token,
        ),
        ("only suffixed ones", &[("__session_*", &suffixed), ("__client_uat_*", "1")], "suffixed"),
    ];
    let mut live = gateway_with(json!({ "publishable_key": LIVE_KEY.0 }), json!({ "issuer": LIVE_ISSUER }));
    for (name, parts, expected) in rows {
        let head = request("GET", &[("cookie", &cookies(parts, LIVE_KEY.1))]);
        assert_eq!(seen(&mut live, &head), expected, "{name}");
    }
    // f: in development alone.
    let over_by_suffix: &[(&str, &str)] =
        &[("__client_uat", "0"), ("__session_*", &over), ("__client_uat_*", "1")];
    let head = request("GET", &[("cookie", &cookies(over_by_suffix, LIVE_KEY.1))]);
    assert_eq!(
        seen(&mut live, &head),
        "401 signed-out session-token-expired-refresh-non-eligible-no-refresh-cookie"
    );
    let mut dev = gateway_with(json!({ "publishable_key": DEV_KEY.0 }), json!({ "issuer": LIVE_ISSUER }));
    let head = request("GET", &[("cookie", &cookies(over_by_suffix, DEV_KEY.1))]);
    assert_eq!(seen(&mut dev, &head), "401 signed-out session-token-and-uat-missing");
}

#[test]
fn reasons_are_shown_only_where_they_are_asked_for() {
    let mut gateway = gateway_with(json!({ "debug_headers": false }), json!({}));
    for cookie in ["", "__client_uat=1", "__session=abc; __client_uat=1"] {
        let reply = gateway.reply(&page(cookie, &[]));
        assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("x-clerk")), "{cookie}");
    }
}

#[test]
fn a_browser_that_is_signed_out_does_not_hide_that_keys_are_missing() {
    let mut configuration = remote_configuration("300s");
    configuration["providers"]["acme"]["browser_session"] = json!({ "handshake": { "uri": HANDSHAKE } });
    let mut gateway = Gateway::new(&configuration);
    gateway.tick();
    gateway.answer(500, "");
    gateway.advance(Duration::from_millis(10));
    let head = page("", &[("authorization", &format!("Bearer {}", good_token()))]);
    assert_eq!(gateway.reply(&head).status, 503);
}

#[test]
fn a_wrong_browser_session_is_refused_with_what_to_write() {
    let error = |session: Value, extra: Value| {
        let mut fields = json!({ "from_cookies": ["__session"], "browser_session": session });
        for (name, value) in extra.as_object().unwrap() {
            fields[name] = value.clone();
        }
        Config::parse(configuration(fields).to_string().as_bytes(), &|_| None).unwrap_err().to_string()
    };
    let path = "providers.acme.browser_session";
    for (session, expected) in [
        (json!(true), format!("{path}: found true, expected an object")),
        (
            json!({ "session_cookie": "a b" }),
            format!("{path}.session_cookie: found the string \"a b\", expected the name of a cookie"),
        ),
        (
            json!({ "session_cookie": "other" }),
            format!(
                "{path}.session_cookie: found \"other\", a cookie that no credential is taken from, expected one of \"from_cookies\""
            ),
        ),
        (
            json!({ "publishable_key": LIVE_KEY.0 }),
            format!(
                "{path}.publishable_key: found a publishable key, and nothing to choose between its cookies by, expected also \"client_uat_cookie\""
            ),
        ),
        (
            json!({ "client_uat_cookie": "u", "publishable_key": "sk_live_x" }),
            format!(
                "{path}.publishable_key: found a publishable key that cannot be read, expected one as the provider shows it: \"pk_live_...\""
            ),
        ),
        (json!({ "handshake": {} }), format!("{path}.handshake: found nothing, expected the field \"uri\"")),
        (
            json!({ "handshake": { "uri": "/handshake" } }),
            format!(
                "{path}.handshake.uri: found the string \"/handshake\", expected a URL without a query, such as \"https://clerk.example/v1/client/handshake\""
            ),
        ),
        (
            json!({ "handshake": { "uri": "https://a/?b" } }),
            format!(
                "{path}.handshake.uri: found the string \"https://a/?b\", expected a URL without a query, such as \"https://clerk.example/v1/client/handshake\""
            ),
        ),
        (
            json!({ "handshake": { "uri": "https://a/", "api_version": "1&2" } }),
            format!(
                "{path}.handshake.api_version: found the string \"1&2\", expected a version such as \"2025-04-10\""
            ),
        ),
        (
            json!({ "debug_headers": null }),
            format!("{path}.debug_headers: found null, expected a value, or no such field"),
        ),
        (
            json!({ "debug_header": true }),
            format!("{path}.debug_header: found an unknown field, expected \"debug_headers\"?"),
        ),
    ] {
        assert_eq!(error(session.clone(), json!({})), expected, "{session}");
    }
    assert_eq!(
        error(json!(null), json!({})),
        format!("{path}: found null, expected a value, or no such field")
    );
}

#[test]
fn what_is_written_is_added_to_the_browser_session_of_a_preset() {
    let provider = json!({
        "preset": "clerk", "frontend_api": "clerk.acme.example", "cluster": "clerk",
        "browser_session": { "publishable_key": DEV_KEY.0, "handshake": { "uri": HANDSHAKE } },
    });
    let parse = |provider: &Value| {
        let configuration = json!({ "providers": { "it": provider }, "rules": [] });
        Config::parse(configuration.to_string().as_bytes(), &|_| None).unwrap().providers.remove(0)
    };
    let session = parse(&provider).browser_session.unwrap();
    assert_eq!(session.client_uat_cookie.as_deref(), Some("__client_uat"));
    assert_eq!(session.instance.unwrap().cookie_suffix, DEV_KEY.1);
    assert!(session.handshake.is_some() && session.shows_reasons);
    let mut without = provider;
    without["browser_session"] = json!({ "client_uat_cookie": "" });
    let session = parse(&without).browser_session.unwrap();
    assert_eq!((session.client_uat_cookie, session.handshake), (None, None));
}
