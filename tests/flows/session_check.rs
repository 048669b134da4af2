//! When an identity provider is asked about a credential, and for whom and how long its answer counts.

use std::time::Duration;

use edge_authn::call::{Call, CallReply};
use edge_authn::engine::Decision;
use edge_authn::rejection::Rejection;
use edge_authn::request::{HeaderField, RequestHead};
use edge_authn::session_check::Check;
use serde_json::{Value, json};

use crate::support::*;

/// Token introspection, with `extra` fields.
pub fn introspection(extra: Value) -> Value {
    check(json!({ "kind": "introspection", "client_id": "gw", "client_secret": "s3cret" }), extra)
}

/// A session check of this kind, with `extra` fields.
pub fn check(mut check: Value, extra: Value) -> Value {
    check["http_uri"] = json!({ "uri": "https://idp.example/check?x=1", "cluster": "idp", "timeout": "2s" });
    for (name, value) in extra.as_object().into_iter().flatten() {
        check[name] = value.clone();
    }
    check
}

/// A gateway whose provider has no keys but this session check, and `extra` fields.
pub fn gateway(check: Value, extra: Value) -> Gateway {
    let mut provider = json!({
        "local_jwks": null,
        "issuer": "",
        "session_check": check,
        "claim_to_headers": [{ "header_name": "x-user-id", "claim_name": "sub" }],
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        provider[name] = value.clone();
    }
    Gateway::with_provider(provider)
}

/// The same with the key of [`KEY`], whose tokens are for `alice`.
fn gateway_with_key(check: Value, extra: Value) -> Gateway {
    let mut provider = json!({
        "issuer": ISSUER,
        "local_jwks": { "inline_string": jwks() },
    });
    for (name, value) in extra.as_object().into_iter().flatten() {
        provider[name] = value.clone();
    }
    gateway(check, provider)
}

impl Gateway {
    /// Asks what is to be asked.
    pub fn checks(&mut self) -> Vec<Check> {
        self.engine.checks(self.now)
    }

    /// Decides a request that must wait, and asks the one question that it waits for.
    #[track_caller]
    pub fn ask(&mut self, head: &RequestHead) -> Check {
        self.assert_waits(head);
        let mut checks = self.checks();
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks.remove(0)
    }

    #[track_caller]
    pub fn assert_waits(&mut self, head: &RequestHead) {
        let decision = self.decide(head);
        assert!(matches!(decision, Decision::Await(_)), "{decision:?}");
    }

    pub fn answer_check(&mut self, check: Check, status: u16, headers: &[HeaderField], body: &[u8]) -> bool {
        let reply = CallReply::Response { status, headers, body };
        self.engine.settle_check(check, reply, self.now).is_ok()
    }

    /// What a request that has arrived at the start is told now.
    pub fn decide_late(&mut self, head: &RequestHead, arrived: edge_authn::time::UnixTime) -> Decision {
        self.engine.decide_again(head, arrived, self.now).decision
    }

    pub fn confirm(&mut self, check: Check, claims: Value) {
        let mut body = json!({ "active": true });
        for (name, value) in claims.as_object().unwrap() {
            body[name] = value.clone();
        }
        assert!(self.answer_check(check, 200, &[], body.to_string().as_bytes()));
    }

    pub fn deny(&mut self, check: Check) {
        assert!(self.answer_check(check, 200, &[], br#"{"active":false}"#));
    }
}

pub fn header<'c>(call: &'c Call, name: &str) -> Option<&'c str> {
    let mut values = call.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let value = values.next();
    assert_eq!(values.next(), None, "{name} is sent twice");
    value
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_good_answer_counts_for_its_time_and_is_asked_for_again_after_it() {
    let mut gateway = gateway(introspection(json!({ "cache_ttl": "10s" })), json!({}));
    let head = get_with("/", "opaque-1");
    let check = gateway.ask(&head);
    gateway.confirm(check, json!({ "sub": "alice" }));
    for _ in 0..10 {
        assert_eq!(gateway.forward(&head).values("x-user-id"), ["alice"]);
        assert_eq!(gateway.checks(), []);
        gateway.advance(Duration::from_millis(999));
    }
    gateway.advance(Duration::from_millis(10));
    gateway.ask(&head);
}

#[test]
fn a_denial_is_a_401_for_its_time() {
    let mut gateway = gateway(introspection(json!({ "negative_ttl": "5s" })), json!({}));
    let head = get_with("/", "opaque-1");
    let check = gateway.ask(&head);
    gateway.deny(check);
    let reply = gateway.reply(&head);
    assert_eq!((reply.status, reply.details.as_str()), (401, "edge_authn_session_denied"));
    gateway.advance(Duration::from_millis(4999));
    assert_eq!(gateway.refuse(&head).label(), "session_denied");
    assert_eq!(gateway.checks(), []);
    gateway.advance(Duration::from_millis(1));
    gateway.ask(&head);
}

#[test]
fn a_failure_counts_for_those_who_waited_for_it_and_for_nobody_else() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    let head = get_with("/", "opaque-1");
    let replies = [
        CallReply::Failure,
        CallReply::TooLarge { bytes: 1_000_000 },
        CallReply::Response { status: 503, headers: &[], body: b"" },
        CallReply::Response { status: 200, headers: &[], body: b"<html>" },
    ];
    for reply in replies {
        let check = gateway.ask(&head);
        let arrived = gateway.now;
        gateway.advance(Duration::from_millis(500));
        assert!(gateway.engine.settle_check(check, reply, gateway.now).is_err());
        let Decision::Refuse(rejection) = gateway.decide_late(&head, arrived) else { panic!() };
        assert_eq!((rejection.label(), rejection.status()), ("check_unavailable", 503));
        gateway.advance(Duration::from_millis(1));
    }
    gateway.ask(&head);
}

#[test]
fn a_good_answer_never_counts_past_its_expiration() {
    let mut gateway =
        gateway(introspection(json!({ "cache_ttl": "600s" })), json!({ "clock_skew_seconds": 0 }));
    let head = get_with("/", "opaque-1");
    let check = gateway.ask(&head);
    gateway.confirm(check, json!({ "sub": "alice", "exp": START + 3 }));
    gateway.advance(Duration::from_millis(2999));
    gateway.forward(&head);
    gateway.advance(Duration::from_millis(1));
    let check = gateway.ask(&head);
    gateway.confirm(check, json!({ "sub": "alice", "exp": START + 3 }));
    assert_eq!(gateway.refuse(&head).label(), "expired");
}

#[test]
fn those_with_the_same_question_wait_for_one_call_and_others_have_theirs() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    let (first, second) = (get_with("/", "opaque-1"), get_with("/", "opaque-2"));
    for _ in 0..100 {
        gateway.assert_waits(&first);
        gateway.assert_waits(&second);
    }
    let mut checks = gateway.checks();
    assert_eq!(checks.len(), 2);
    gateway.assert_waits(&first);
    assert_eq!(gateway.checks(), [], "both are on their way");
    let (of_second, of_first) = (checks.pop().unwrap(), checks.pop().unwrap());
    gateway.confirm(of_second, json!({ "sub": "bob" }));
    assert_eq!(gateway.engine.take_answered().len(), 1);
    gateway.assert_waits(&first);
    assert_eq!(gateway.forward(&second).values("x-user-id"), ["bob"]);
    gateway.confirm(of_first, json!({ "sub": "alice" }));
    assert_eq!(gateway.forward(&first).values("x-user-id"), ["alice"]);
    assert_eq!(gateway.forward(&second).values("x-user-id"), ["bob"]);
}

#[test]
fn without_a_cache_every_request_is_asked_about_and_gets_its_own_answer() {
    let mut gateway = gateway(introspection(json!({ "cache_ttl": "0s", "negative_ttl": "0s" })), json!({}));
    let head = get_with("/", "opaque-1");
    for is_good in [true, false, true] {
        let check = gateway.ask(&head);
        let arrived = gateway.now;
        gateway.advance(Duration::from_millis(3));
        if is_good {
            gateway.confirm(check, json!({}))
        } else {
            gateway.deny(check)
        }
        let decision = gateway.decide_late(&head, arrived);
        assert_eq!(matches!(decision, Decision::Forward(_)), is_good, "{decision:?}");
        gateway.advance(Duration::from_millis(1));
    }
}

#[test]
fn a_denial_takes_a_good_answer_back_and_the_other_way_round() {
    let mut gateway = gateway(introspection(json!({ "cache_ttl": "1s", "negative_ttl": "1s" })), json!({}));
    let head = get_with("/", "opaque-1");
    for is_good in [true, false, true] {
        let check = gateway.ask(&head);
        if is_good {
            gateway.confirm(check, json!({}))
        } else {
            gateway.deny(check)
        }
        let decision = gateway.decide(&head);
        assert_eq!(matches!(decision, Decision::Forward(_)), is_good, "{decision:?}");
        gateway.advance(seconds(1));
    }
}

#[test]
fn an_older_answer_never_replaces_a_newer_one() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    gateway.engine.without_timers();
    let head = get_with("/", "opaque-1");
    gateway.assert_waits(&head);
    let older = gateway.engine.own_check(gateway.now).unwrap();
    gateway.advance(Duration::from_millis(10));
    gateway.assert_waits(&head);
    let newer = gateway.engine.own_check(gateway.now).unwrap();
    gateway.deny(newer);
    gateway.confirm(older, json!({}));
    assert_eq!(gateway.engine.take_answered(), [], "nobody takes it there");
    assert_eq!(gateway.refuse(&head).label(), "session_denied");
}

#[test]
fn a_failure_takes_nothing_back_that_is_known() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    gateway.engine.without_timers();
    let head = get_with("/", "opaque-1");
    gateway.assert_waits(&head);
    let first = gateway.engine.own_check(gateway.now).unwrap();
    gateway.assert_waits(&head);
    let second = gateway.engine.own_check(gateway.now).unwrap();
    gateway.confirm(first, json!({}));
    assert!(!gateway.answer_check(second, 500, &[], b""));
    gateway.forward(&head);
}

#[test]
fn a_call_that_is_never_answered_is_given_up_and_asked_again() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    let head = get_with("/", "opaque-1");
    let lost = gateway.ask(&head);
    let arrived = gateway.now;
    assert_eq!(gateway.engine.wake_at(), Some(gateway.now.after(seconds(3))));
    gateway.advance(seconds(3));
    assert_eq!(gateway.checks(), []);
    assert_eq!(gateway.engine.take_answered().len(), 1);
    let decision = gateway.decide_late(&head, arrived);
    assert!(matches!(decision, Decision::Refuse(Rejection::CheckUnavailable { .. })), "{decision:?}");
    gateway.advance(Duration::from_millis(1));
    let again = gateway.ask(&head);
    // The lost answer comes after all, and counts until the newer one is there.
    gateway.confirm(lost, json!({}));
    gateway.forward(&head);
    gateway.deny(again);
    gateway.refuse(&head);
}

#[test]
fn made_up_credentials_do_not_push_out_good_answers_and_all_is_bounded() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    let good = get_with("/", "opaque-good");
    let check = gateway.ask(&good);
    gateway.confirm(check, json!({}));
    for number in 0..300 {
        gateway.advance(Duration::from_millis(1));
        let check = gateway.ask(&get_with("/", &format!("made-up-{number}")));
        gateway.deny(check);
    }
    gateway.forward(&good);
    gateway.ask(&get_with("/", "made-up-0"));
    assert_eq!(gateway.refuse(&get_with("/", "made-up-299")).label(), "session_denied");

    // The one that ends first makes room.
    for number in 0..1024 {
        gateway.advance(Duration::from_millis(1));
        let check = gateway.ask(&get_with("/", &format!("good-{number}")));
        gateway.confirm(check, json!({}));
    }
    gateway.forward(&get_with("/", "good-1023"));
    gateway.ask(&good);
}

#[test]
fn no_more_than_so_many_questions_are_open_at_a_time() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    for number in 0..1024 {
        gateway.assert_waits(&get_with("/", &format!("t{number}")));
    }
    assert_eq!(gateway.refuse(&get_with("/", "one-more")).label(), "overloaded");
    let checks = gateway.checks();
    assert_eq!(checks.len(), 1024);
    assert_eq!(gateway.refuse(&get_with("/", "one-more")).label(), "overloaded");
    checks.into_iter().for_each(|check| gateway.deny(check));
    gateway.ask(&get_with("/", "one-more"));
}

#[test]
fn a_token_that_the_keys_refuse_is_never_asked_about() {
    for mode in ["always", "opaque"] {
        let mut gateway =
            gateway_with_key(introspection(json!({ "mode": mode })), json!({ "audiences": ["api"] }));
        for (token, label) in [
            (STRANGER.sign(&claims(json!({ "aud": "api" }))), "invalid_token"),
            (KEY.sign(&claims(json!({ "aud": "api", "exp": 1 }))), "expired"),
            (KEY.sign(&claims(json!({ "aud": "other" }))), "audience"),
            (KEY.sign(&claims(json!({ "aud": "api", "iss": "https://other.example" }))), "invalid_token"),
            (KEY.sign_with_header(&json!({ "alg": "none" }), &claims(json!({}))), "invalid_token"),
            (KEY.sign_with_header(&json!({ "crit": ["x"] }), &claims(json!({}))), "invalid_token"),
            (KEY.sign_raw(b"{\"alg\":\"ES256\",}", b"{}"), "invalid_token"),
            (format!("{}AAAA", KEY.sign(&claims(json!({ "aud": "api" })))), "invalid_token"),
        ] {
            assert_eq!(gateway.refuse(&get_with("/", &token)).label(), label, "{mode}: {token}");
        }
        assert_eq!(gateway.checks(), []);
    }
}

#[test]
fn a_token_that_the_keys_verify_is_asked_about_always_or_not_at_all() {
    let head = get_with("/", &good_token());
    let mut opaque = gateway_with_key(introspection(json!({ "mode": "opaque" })), json!({}));
    assert_eq!(opaque.forward(&head).values("x-user-id"), ["alice"]);
    assert_eq!(opaque.checks(), []);
    for credential in ["opaque-1", "a.b", "a.b.c", "a.b.c.d.e", "v2.local.x", "..", "e30"] {
        let check = opaque.ask(&get_with("/", credential));
        opaque.confirm(check, json!({ "sub": "bob" }));
        assert_eq!(opaque.forward(&get_with("/", credential)).values("x-user-id"), ["bob"], "{credential}");
    }
    let mut always = gateway_with_key(introspection(json!({})), json!({}));
    let check = always.ask(&head);
    always.deny(check);
    assert_eq!(always.refuse(&head).label(), "session_denied");
    let check = always.ask(&get_with("/", "opaque-1"));
    always.confirm(check, json!({ "sub": "bob" }));
    assert_eq!(always.forward(&get_with("/", "opaque-1")).values("x-user-id"), ["bob"]);
}

#[test]
fn a_cached_answer_does_not_outlive_the_token_it_is_about() {
    let mut gateway = gateway_with_key(introspection(json!({ "cache_ttl": "600s" })), json!({}));
    let head = get_with("/", &KEY.sign(&claims(json!({ "exp": START + 5 }))));
    let check = gateway.ask(&head);
    gateway.confirm(check, json!({}));
    gateway.forward(&head);
    gateway.advance(seconds(5 + 60));
    assert_eq!(gateway.refuse(&head).label(), "expired");
}

#[test]
fn without_keys_an_answer_about_a_token_counts_until_the_token_expires_by_its_own_words() {
    let mut gateway = gateway(introspection(json!({ "cache_ttl": "600s" })), json!({}));
    for (extra, counts_for) in [
        (json!({ "exp": START + 5 }), 5),
        (json!({ "exp": START + 5000 }), 600),
        (json!({ "exp": "soon" }), 600),
        (json!({}), 600),
    ] {
        let mut all = claims(extra.clone());
        if extra.get("exp").is_none() {
            all.as_object_mut().unwrap().remove("exp");
        }
        let head = get_with("/", &KEY.sign(&all));
        let mut gateway = self::gateway(introspection(json!({ "cache_ttl": "600s" })), json!({}));
        let check = gateway.ask(&head);
        gateway.confirm(check, json!({ "sub": "alice" }));
        gateway.advance(Duration::from_millis(counts_for * 1000 - 1));
        gateway.forward(&head);
        gateway.advance(Duration::from_millis(1));
        gateway.ask(&head);
    }
    // Once it has expired, only those who have waited get the answer.
    let head = get_with("/", &KEY.sign(&claims(json!({ "exp": START - 1 }))));
    for _ in 0..2 {
        let check = gateway.ask(&head);
        gateway.confirm(check, json!({ "sub": "alice" }));
        assert_eq!(gateway.forward(&head).values("x-user-id"), ["alice"]);
        gateway.advance(Duration::from_millis(1));
    }
}

#[test]
fn without_keys_opaque_takes_no_tokens_and_always_asks_about_those_of_its_issuers() {
    let token = good_token();
    let mut opaque = gateway(introspection(json!({ "mode": "opaque" })), json!({}));
    assert_eq!(opaque.refuse(&get_with("/", &token)).label(), "invalid_token");
    opaque.ask(&get_with("/", "opaque-1"));
    let mut always = gateway(introspection(json!({})), json!({}));
    always.ask(&get_with("/", &token));
    let mut always = gateway(introspection(json!({})), json!({ "issuer": "https://other.example" }));
    assert_eq!(always.refuse(&get_with("/", &token)).label(), "invalid_token");
    assert_eq!(always.checks(), [], "a token of somebody else is not shown");
    let long = "x".repeat(16 * 1024 + 1);
    assert_eq!(always.refuse(&get_with("/", &long)).label(), "invalid_token");
}

#[test]
fn what_is_said_is_held_against_the_provider_like_a_token() {
    let restricted = json!({ "issuer": ISSUER, "audiences": ["api"], "subjects": { "prefix": "a" } });
    for (said, label) in [
        (json!({}), Some("audience")),
        (json!({ "aud": "api" }), Some("subject")),
        (json!({ "aud": ["x", "api"], "sub": "alice" }), None),
        (json!({ "aud": "other", "sub": "alice" }), Some("audience")),
        (json!({ "aud": "api", "sub": "bob" }), Some("subject")),
        (json!({ "aud": "api", "sub": "alice", "iss": ISSUER }), None),
        (json!({ "aud": "api", "sub": "alice", "iss": "https://other.example" }), Some("invalid_token")),
        (json!({ "aud": "api", "sub": "alice", "nbf": START + 100 }), Some("not_yet_valid")),
        (json!({ "aud": "api", "sub": "alice", "exp": START - 100 }), Some("expired")),
        (json!({ "aud": "api", "sub": "alice", "exp": START + 100, "nbf": START }), None),
    ] {
        let mut gateway = gateway(introspection(json!({})), restricted.clone());
        let head = get_with("/", "opaque-1");
        let check = gateway.ask(&head);
        gateway.confirm(check, said.clone());
        match label {
            Some(label) => assert_eq!(gateway.refuse(&head).label(), label, "{said}"),
            None => assert_eq!(gateway.forward(&head).values("x-user-id"), ["alice"], "{said}"),
        }
    }
}

#[test]
fn the_audiences_of_a_rule_hold_for_what_is_said() {
    let mut configuration =
        configuration(json!({ "local_jwks": null, "session_check": introspection(json!({})) }));
    configuration["rules"][0] = json!({
        "match": { "path": "/narrow" },
        "requires": { "provider_and_audiences": { "provider_name": "acme", "audiences": ["narrow"] } },
    });
    let mut gateway = Gateway::new(&configuration);
    let check = gateway.ask(&get_with("/", "opaque-1"));
    gateway.confirm(check, json!({ "aud": "wide" }));
    gateway.forward(&get_with("/", "opaque-1"));
    assert_eq!(gateway.refuse(&get_with("/narrow", "opaque-1")).label(), "audience");
}

#[test]
fn claims_are_those_of_the_answer_and_of_the_token_behind_it() {
    let mapped = json!({
        "claim_to_headers": [
            { "header_name": "x-user-id", "claim_name": "sub" },
            { "header_name": "x-role", "claim_name": "role" },
            { "header_name": "x-team", "claim_name": "team" },
            { "header_name": "x-number", "claim_name": "n" },
        ],
        "forward_payload_header": "x-payload",
    });
    let mut gateway = gateway_with_key(introspection(json!({})), mapped);
    let head = get_with("/", &KEY.sign(&claims(json!({ "role": "old", "team": "blue" }))));
    let check = gateway.ask(&head);
    gateway.confirm(check, json!({ "role": "new", "n": 12345678901234567890_u64 }));
    let received = gateway.forward(&head);
    for (name, value) in
        [("x-user-id", "alice"), ("x-role", "new"), ("x-team", "blue"), ("x-number", "12345678901234567890")]
    {
        assert_eq!(received.values(name), [value], "{name}");
    }
    let payload = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        received.values("x-payload")[0],
    );
    let payload: Value = serde_json::from_slice(&payload.unwrap()).unwrap();
    assert_eq!((&payload["role"], &payload["team"]), (&json!("new"), &json!("blue")));
}

#[test]
fn an_answer_about_somebody_else_is_refused() {
    let mut gateway = gateway_with_key(introspection(json!({})), json!({}));
    let head = get_with("/", &good_token());
    let check = gateway.ask(&head);
    gateway.confirm(check, json!({ "sub": "bob" }));
    assert_eq!(gateway.refuse(&head).label(), "subject");
}

#[test]
fn what_cannot_be_found_out_is_refused_or_counts_as_missing_and_never_as_good() {
    for (mode, path, label) in [
        ("closed", "/", Some("check_unavailable")),
        ("closed", "/optional", Some("check_unavailable")),
        ("closed", "/whatever", None),
        ("anonymous", "/", Some("missing_credential")),
        ("anonymous", "/optional", None),
        ("anonymous", "/whatever", None),
    ] {
        let mut gateway = gateway(introspection(json!({ "failure_mode": mode })), json!({}));
        let head = get(path, &[("authorization", "Bearer opaque-1"), ("x-user-id", "root")]);
        let check = gateway.ask(&head);
        assert!(!gateway.answer_check(check, 500, &[], b""));
        match label {
            Some(label) => assert_eq!(gateway.refuse(&head).label(), label, "{mode} {path}"),
            None => assert_eq!(gateway.forward(&head).values("x-user-id"), [""; 0], "{mode} {path}"),
        }
    }
}

#[test]
fn a_denial_is_anonymous_only_where_failures_are_forgiven() {
    let mut gateway = gateway(introspection(json!({ "failure_mode": "anonymous" })), json!({}));
    let check = gateway.ask(&get_with("/", "opaque-1"));
    gateway.deny(check);
    for (path, passes) in [("/", false), ("/optional", false), ("/whatever", true), ("/open", true)] {
        let decision = gateway.decide(&get_with(path, "opaque-1"));
        assert_eq!(matches!(decision, Decision::Forward(_)), passes, "{path}");
    }
}

#[test]
fn those_who_present_nothing_or_need_nothing_are_not_asked_about() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    gateway.forward(&get_with("/open", "opaque-1"));
    gateway.forward(&without_credential("/optional"));
    assert_eq!(gateway.refuse(&without_credential("/")).label(), "missing_credential");
    assert_eq!(gateway.checks(), []);
}

#[test]
fn a_credential_is_shown_to_its_own_provider_alone() {
    let with_keys = json!({ "issuer": ISSUER, "local_jwks": { "inline_string": jwks() } });
    let check = introspection(json!({}));
    let configuration = json!({
        "providers": {
            "keys": with_keys,
            "asked": { "issuer": "https://asked.example", "session_check": check },
        },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "allow_missing": {} } }],
    });
    let mut gateway = Gateway::new(&configuration);
    gateway.forward(&get_with("/", &good_token()));
    let stranger = KEY.sign(&claims(json!({ "iss": "https://else.example" })));
    gateway.refuse(&get_with("/", &stranger));
    assert_eq!(gateway.checks(), []);
    let of_asked = KEY.sign(&claims(json!({ "iss": "https://asked.example" })));
    gateway.ask(&get_with("/", &of_asked));
    gateway.ask(&get_with("/", "opaque-1"));
}

#[test]
fn two_providers_that_are_asked_give_answers_of_their_own() {
    let provider = |header: &str| {
        json!({
            "session_check": introspection(json!({ "cache_ttl": "0s" })),
            "claim_to_headers": [{ "header_name": header, "claim_name": "sub" }],
        })
    };
    let names = |names: [&str; 2]| names.map(|name| json!({ "provider_name": name })).to_vec();
    let configuration = json!({
        "providers": { "a": provider("x-a"), "b": provider("x-b") },
        "rules": [
            { "match": { "path": "/any" }, "requires": { "requires_any": { "requirements": names(["a", "b"]) } } },
            { "match": { "prefix": "/" }, "requires": { "requires_all": { "requirements": names(["a", "b"]) } } },
        ],
    });
    let mut gateway = Gateway::new(&configuration);
    let head = get_with("/", "opaque-1");
    let arrived = gateway.now;
    let of_a = gateway.ask(&head);
    gateway.advance(seconds(1));
    gateway.confirm(of_a, json!({ "sub": "alice" }));
    assert!(matches!(gateway.decide_late(&head, arrived), Decision::Await(_)));
    let of_b = gateway.checks().remove(0);
    gateway.advance(seconds(1));
    gateway.confirm(of_b, json!({ "sub": "bob" }));
    // The answer of the first is still known to who has waited for it.
    let decision = gateway.decide_late(&head, arrived);
    assert!(matches!(decision, Decision::Forward(_)), "{decision:?}");

    gateway.advance(seconds(60));
    let head = get_with("/any", "opaque-1");
    let of_a = gateway.ask(&head);
    gateway.deny(of_a);
    let of_b = gateway.ask(&head);
    gateway.confirm(of_b, json!({ "sub": "bob" }));
    assert_eq!(gateway.forward(&head).values("x-b"), ["bob"]);
}

#[test]
fn a_clock_that_is_set_back_makes_no_answer_count_longer() {
    let mut gateway = gateway(introspection(json!({})), json!({}));
    let head = get_with("/", "opaque-1");
    let check = gateway.ask(&head);
    gateway.confirm(check, json!({}));
    gateway.now = edge_authn::time::UnixTime::from_secs(START - 3600);
    gateway.ask(&head);
}
