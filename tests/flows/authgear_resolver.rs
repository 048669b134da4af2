//! The resolver of Authgear and the cookies of its sessions: which are asked about, and what becomes of them.

use std::time::Duration;

use edge_authn::config::Config;
use edge_authn::engine::Decision;
use edge_authn::request::{HeaderField, RequestHead};
use edge_authn::session_check::Check;
use edge_authn::time::UnixTime;
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens;

fn configured(extra: Value) -> Value {
    let mut provider = json!({ "preset": "authgear_resolver", "endpoint": "https://acme.authgear.cloud", "cluster": "authgear" });
    for (name, value) in extra.as_object().unwrap() {
        provider[name] = value.clone();
    }
    json!({
        "providers": { "it": provider },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "it" } }],
    })
}

fn gateway(extra: Value) -> Gateway {
    Gateway::new(&configured(extra))
}

fn with_cookies(cookies: &str) -> RequestHead {
    get("/", &[("cookie", cookies)])
}

/// The cookies that a check sends.
fn cookies(check: &Check) -> Option<&str> {
    let headers = check.call().headers.iter();
    headers.filter(|(name, _)| name == "cookie").map(|(_, value)| value.as_str()).next()
}

fn valid(user: &str) -> Vec<HeaderField> {
    let fields = [("x-authgear-session-valid", "true"), ("x-authgear-user-id", user)];
    fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).to_vec()
}

#[test]
fn a_stale_cookie_does_not_hide_a_good_one() {
    let mut gateway = gateway(json!({}));
    let request = with_cookies("analytics=1; session=good.1; app_session=stale.1; theme=dark");
    let check = gateway.ask(&request);
    assert_eq!(cookies(&check), Some("app_session=stale.1; session=good.1"), "in one question");
    assert!(!check.call().headers.iter().any(|(name, _)| name == "authorization"));
    assert!(gateway.answer_check(check, 200, &valid("alice"), b""));
    let received = gateway.forward(&request);
    assert_eq!(received.values("x-authgear-user-id"), ["alice"]);
    assert_eq!(received.values("cookie"), ["analytics=1; theme=dark"], "none of them goes on");
    assert_eq!(gateway.checks(), []);
}

#[test]
fn all_cookies_that_are_there_are_sent_without_a_bearer_token_and_none_with_one() {
    for (sent, expected) in [
        ("session=s1", "session=s1"),
        ("app_access_token=t1; session=s1", "app_access_token=t1; session=s1"),
        (
            "session=s1; app_access_token=t1; app_session=a1",
            "app_session=a1; app_access_token=t1; session=s1",
        ),
        ("app_session=a1; Session=x; my_session=y", "app_session=a1"),
    ] {
        assert_eq!(cookies(&gateway(json!({})).ask(&with_cookies(sent))), Some(expected), "{sent}");
        let both = get("/", &[("authorization", "Bearer opaque"), ("cookie", sent)]);
        assert_eq!(cookies(&gateway(json!({})).ask(&both)), None, "{sent}");
    }
}

#[test]
fn an_answer_counts_for_exactly_the_cookies_that_were_sent() {
    let mut gateway = gateway(json!({}));
    let known = with_cookies("app_session=a1; session=s1");
    let check = gateway.ask(&known);
    assert!(gateway.answer_check(check, 200, &valid("alice"), b""));
    for other in [
        "app_session=a1",
        "session=s1",
        "app_session=a1; session=s2",
        "app_session=a2; session=s1",
        "app_session=a1; app_access_token=t1; session=s1",
        "app_access_token=a1; session=s1",
        "app_session=s1; session=a1",
    ] {
        gateway.assert_waits(&with_cookies(other));
    }
    assert_eq!(gateway.checks().len(), 7, "each is asked about for itself");
    assert_eq!(gateway.forward(&known).values("x-authgear-user-id"), ["alice"]);
    let reordered = with_cookies("other=1; session=s1;app_session=a1");
    assert_eq!(gateway.forward(&reordered).values("x-authgear-user-id"), ["alice"]);
}

#[test]
fn a_cookie_of_the_same_name_twice_is_refused_whichever_it_is() {
    for twice in
        ["app_session=a; app_session=b", "app_session=a; session=b; session=c", "session=b; session=b"]
    {
        let mut gateway = gateway(json!({}));
        let rejection = gateway.refuse(&with_cookies(twice));
        assert_eq!((rejection.label(), rejection.status()), ("multiple_credentials", 400), "{twice}");
        assert_eq!(gateway.checks(), []);
    }
}

#[test]
fn another_site_cannot_use_any_of_the_cookies() {
    for cookie in ["app_session=a1", "app_access_token=t1", "session=s1", "session=s1; app_session=a1"] {
        let request = RequestHead::new(
            [
                (":method", "POST"),
                (":path", "/"),
                (":authority", "gateway.example"),
                ("cookie", cookie),
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://evil.example"),
            ]
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .to_vec(),
        );
        let mut gateway = gateway(json!({}));
        assert_eq!(gateway.refuse(&request).label(), "cross_site", "{cookie}");
        assert_eq!(gateway.checks(), []);
    }
}

#[test]
fn cookies_may_have_the_prefix_of_the_project() {
    let mut gateway = gateway(json!({ "cookie_prefix": "acme_" }));
    let request = with_cookies("session=x; acme_session=s1; acme_app_session=a1; app_session=y");
    let check = gateway.ask(&request);
    assert_eq!(cookies(&check), Some("acme_app_session=a1; acme_session=s1"));
    assert!(gateway.answer_check(check, 200, &valid("alice"), b""));
    let received = gateway.forward(&request);
    assert_eq!(received.values("cookie"), ["session=x; app_session=y"]);
    assert_eq!(gateway.refuse(&with_cookies("session=x")).label(), "missing_credential");
    for wrong in [json!("a;b"), json!("a=b"), json!("a b"), json!("a\"b"), json!(1)] {
        let configuration = configured(json!({ "cookie_prefix": wrong })).to_string();
        let error = Config::parse(configuration.as_bytes(), &|_| None).expect_err("refused").to_string();
        assert!(error.starts_with("providers.it.cookie_prefix: found "), "{error}");
    }
    assert!(
        Config::parse(configured(json!({ "cookie_prefix": "" })).to_string().as_bytes(), &|_| None).is_ok()
    );
}

#[test]
fn cookies_are_not_asked_about_together_beside_keys() {
    let configuration =
        configured(json!({ "local_jwks": { "inline_string": tokens::jwks([&*KEY]).to_string() } }));
    let error =
        Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string();
    assert_eq!(
        error,
        "providers.it.session_check.cookies_together: found cookies that are asked about as one, and keys, \
         expected no keys, or false"
    );
}

#[test]
fn a_denial_of_all_cookies_is_remembered_for_them_alone() {
    let mut gateway = gateway(json!({}));
    let request = with_cookies("app_session=a1; session=s1");
    let check = gateway.ask(&request);
    assert!(gateway.answer_check(check, 200, &[], b""));
    gateway.advance(Duration::from_secs(1));
    assert_eq!(gateway.refuse(&request).label(), "session_denied");
    assert_eq!(gateway.checks(), []);
    assert!(matches!(gateway.decide(&with_cookies("session=s1")), Decision::Await(_)));
}

/// The preset with a `session_check` of its own fields, and of `extra`.
fn checking(extra: Value) -> Gateway {
    let mut check = json!({
        "kind": "forward_auth", "http_uri": { "uri": "https://acme.authgear.cloud/_resolver/resolve", "cluster": "authgear" },
        "cookies": ["app_session", "app_access_token", "session"], "cookies_together": true,
        "allow": { "status": [200], "header": "x-authgear-session-valid", "value": "true" },
    });
    for (name, value) in extra.as_object().unwrap() {
        check[name] = value.clone();
    }
    gateway(json!({ "session_check": check }))
}

const CLEARING: &str = "session=; Path=/; Domain=acme.example; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax";

/// A denial, with these cookies set.
fn denial(set_cookies: &[&str]) -> Vec<HeaderField> {
    let fields = set_cookies.iter().map(|value| ("set-cookie", *value));
    let fields = fields.chain([("x-authgear-session-valid", "false")]);
    fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

const SECOND: Duration = Duration::from_secs(1);

/// What is set at the client of a request that waited for this answer, and of one that came afterwards.
fn set_cookies(
    gateway: &mut Gateway,
    request: &RequestHead,
    status: u16,
    answer: &[HeaderField],
) -> [Vec<String>; 2] {
    let arrived = gateway.now;
    let check = gateway.ask(request);
    gateway.advance(SECOND);
    gateway.answer_check(check, status, answer, b"");
    let waited = gateway.engine.decide_again(request, arrived, gateway.now);
    let later = gateway.engine.decide(request, gateway.now);
    [waited, later].map(|decided| {
        assert!(!matches!(decided.decision, Decision::Await(_)), "{:?}", decided.decision);
        decided.set_cookies
    })
}

#[test]
fn a_cookie_is_cleared_for_those_who_waited_for_the_denial_and_for_nobody_else() {
    let mut gateway = checking(json!({ "relay_set_cookie": ["session"] }));
    let request = with_cookies("session=stale");
    let answer = denial(&[CLEARING, "other=; Max-Age=0", "session=evil; Path=/"]);
    let [waited, later] = set_cookies(&mut gateway, &request, 200, &answer);
    assert_eq!(waited, [CLEARING]);
    assert_eq!(later, [""; 0], "the denial still counts, its cookie does not");
    gateway.advance(SECOND);
    assert_eq!(gateway.engine.decide(&request, gateway.now).set_cookies, [""; 0]);
    assert_eq!(gateway.refuse(&request).label(), "session_denied");
    assert_eq!(gateway.checks(), []);
    let other = with_cookies("session=another");
    let unheard = gateway.engine.decide_again(&other, UnixTime::from_secs(START), gateway.now);
    assert!(matches!(unheard.decision, Decision::Await(_)) && unheard.set_cookies.is_empty());
}

#[test]
fn no_cookie_is_set_where_that_is_not_asked_for_or_nothing_is_denied() {
    let request = with_cookies("session=s1");
    let relaying = || checking(json!({ "relay_set_cookie": ["session"] }));
    let none = [Vec::<String>::new(), Vec::new()];
    assert_eq!(
        set_cookies(&mut gateway(json!({})), &request, 200, &denial(&[CLEARING])),
        none,
        "off by default"
    );
    assert_eq!(set_cookies(&mut checking(json!({})), &request, 200, &denial(&[CLEARING])), none);
    let elsewhere = &mut checking(json!({ "relay_set_cookie": ["app_session"] }));
    assert_eq!(set_cookies(elsewhere, &request, 200, &denial(&[CLEARING])), none);
    let mut good = valid("alice");
    good.extend(denial(&[CLEARING]).into_iter().take(1));
    assert_eq!(set_cookies(&mut relaying(), &request, 200, &good), none, "a good answer");
    let mut gateway = relaying();
    let check = gateway.ask(&request);
    let arrived = gateway.now;
    gateway.advance(SECOND);
    gateway.answer_check(check, 500, &denial(&[CLEARING]), b"");
    let failed = gateway.engine.decide_again(&request, arrived, gateway.now);
    assert!(
        matches!(&failed.decision, Decision::Refuse(rejection) if rejection.status() == 503),
        "{failed:?}"
    );
    assert_eq!(failed.set_cookies, [""; 0], "an answer that says nothing");
}

#[test]
fn a_cookie_is_not_cleared_where_the_request_goes_on() {
    let mut configuration = configured(json!({}));
    configuration["rules"][0]["requires"] = json!({ "allow_missing_or_failed": {} });
    configuration["providers"]["it"]["session_check"] = json!({
        "kind": "forward_auth", "http_uri": { "uri": "https://acme.authgear.cloud/", "cluster": "authgear" },
        "cookies": ["session"], "relay_set_cookie": ["session"],
        "allow": { "header": "x-authgear-session-valid", "value": "true" },
    });
    let mut gateway = Gateway::new(&configuration);
    let request = with_cookies("session=stale");
    let decided = set_cookies(&mut gateway, &request, 200, &denial(&[CLEARING]));
    assert_eq!(decided, [Vec::<String>::new(), Vec::new()]);
    assert!(gateway.forward(&request).values("x-authgear-user-id").is_empty());
}

#[test]
fn only_cookies_can_be_relayed() {
    for wrong in [json!(["a=b"]), json!([""]), json!("session"), json!(["a b"]), json!(null)] {
        let mut configuration = configured(json!({}));
        configuration["providers"]["it"]["session_check"] = json!({
            "kind": "forward_auth", "http_uri": { "uri": "https://a.example/", "cluster": "a" }, "relay_set_cookie": wrong });
        let error =
            Config::parse(configuration.to_string().as_bytes(), &|_| None).expect_err("refused").to_string();
        assert!(error.starts_with("providers.it.session_check.relay_set_cookie"), "{error}");
    }
}
