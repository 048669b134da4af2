//! `remote_keys_by_kid`: when keys are fetched that a server gives one by one, and what requests are told meanwhile.

use std::time::Duration;

use edge_authn::call::CallReply;
use edge_authn::config::Config;
use edge_authn::engine::Decision;
use edge_authn::keys::by_id::MAX_LOOK_UPS;
use edge_authn::rejection::Rejection;
use edge_authn::time::UnixTime;
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::SigningKey;

const KID: &str = "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3";

/// The `kid` of this number.
fn kid(number: usize) -> String {
    format!("8e4ddc9b-7a9c-4b2e-9d2a-{number:012x}")
}

fn key(number: usize) -> SigningKey {
    SigningKey::es256(&kid(number))
}

fn configuration_of(source: Value) -> Value {
    let mut keys = json!({
        "http_uri": { "uri": "https://keys.example/v1/{kid}.pem", "cluster": "keys", "timeout": "2s" },
        "cache_duration": "100s",
    });
    for (name, value) in source.as_object().unwrap() {
        keys[name] = value.clone();
    }
    configuration(json!({
        "local_jwks": null,
        "remote_keys_by_kid": keys,
        "algorithms": ["ES256"],
        "required_claims": [{ "claim_name": "signer", "in": "header", "string_match": { "exact": "arn:ours" } }],
    }))
}

fn gateway(source: Value) -> Gateway {
    Gateway::new(&configuration_of(source))
}

fn token(key: &SigningKey) -> String {
    signed(key, &json!({}), &json!({}))
}

fn signed(key: &SigningKey, header: &Value, extra: &Value) -> String {
    let mut full = json!({ "signer": "arn:ours" });
    for (name, value) in header.as_object().unwrap() {
        full[name] = value.clone();
    }
    let mut claims = claims(json!({ "exp": START + 1_000_000 }));
    for (name, value) in extra.as_object().unwrap() {
        claims[name] = value.clone();
    }
    key.sign_with_header(&full, &claims)
}

fn outcome(gateway: &mut Gateway, token: &str) -> String {
    match gateway.decide(&get_with("/", token)) {
        Decision::Forward(_) => "pass".to_owned(),
        Decision::Await(_) => "wait".to_owned(),
        Decision::Refuse(Rejection::KeysUnavailable { retry_after }) => {
            format!("503 {}", retry_after.as_secs_f64())
        }
        Decision::Refuse(rejection) => format!("{} {}", rejection.status(), rejection.label()),
    }
}

const REFUSED: &str = "401 invalid_token";

/// Goes to the second `t`.
fn at(gateway: &mut Gateway, t: u64) {
    gateway.now = UnixTime::from_secs(START + t);
}

/// Has the key fetched by its first token.
#[track_caller]
fn learn(gateway: &mut Gateway, key: &SigningKey) {
    assert_eq!(outcome(gateway, &token(key)), "wait");
    assert_eq!(gateway.tick(), 1);
    assert!(gateway.answer(200, &key.pem()));
    assert_eq!(outcome(gateway, &token(key)), "pass");
}

#[test]
fn a_key_is_fetched_once_for_the_first_tokens_that_name_it() {
    let (mut gateway, key) = (gateway(json!({})), SigningKey::es256(KID));
    assert_eq!(gateway.tick(), 0, "nobody has asked");
    let token = token(&key);
    assert_eq!(outcome(&mut gateway, &token), "wait");
    assert_eq!(outcome(&mut gateway, &token), "wait");
    assert_eq!(gateway.tick(), 1);
    assert_eq!(gateway.tick(), 0, "under way");
    assert_eq!(outcome(&mut gateway, &token), "wait");
    let call = gateway.in_flight[0].call();
    assert_eq!(call.endpoint.path, format!("/v1/{KID}.pem"));
    assert_eq!((call.endpoint.authority.as_str(), call.endpoint.cluster.as_str()), ("keys.example", "keys"));
    assert!(gateway.answer(200, &key.pem()));
    assert_eq!(gateway.engine.take_settled().len(), 1, "those who wait are told");
    assert_eq!(outcome(&mut gateway, &token), "pass");
    assert_eq!(gateway.tick(), 0);
}

#[test]
fn nothing_is_fetched_for_a_token_that_would_be_refused_anyway() {
    let mut gateway = gateway(json!({}));
    let key = SigningKey::es256(KID);
    for (header, claims) in [
        (json!({ "signer": "arn:theirs" }), json!({})),
        (json!({ "signer": null }), json!({})),
        (json!({}), json!({ "exp": START - 100 })),
        (json!({}), json!({ "exp": null })),
        (json!({}), json!({ "iss": "https://other.example" })),
        (json!({}), json!({ "nbf": START + 1000 })),
        (json!({ "alg": "RS256" }), json!({})),
        (json!({ "crit": ["x"] }), json!({})),
        (json!({ "kid": null }), json!({})),
    ] {
        assert_eq!(outcome(&mut gateway, &signed(&key, &header, &claims)), REFUSED, "{header} {claims}");
    }
    assert_eq!((gateway.tick(), gateway.engine.wake_at()), (0, None));
}

#[test]
fn nothing_but_a_uuid_goes_into_a_url() {
    let mut gateway = gateway(json!({}));
    for kid in [
        "",
        "k1",
        "../../../8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3",
        "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3/../x",
        "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3?x=y",
        "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3#",
        "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3\r\nhost: evil",
        "8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a%2f",
        "@evil.example/8e4ddc9b-7a9c-4b2e-9d2a-0d5ce5d1a1f3",
        "{kid}",
    ] {
        let token = token(&SigningKey::es256(kid));
        assert_eq!(outcome(&mut gateway, &token), REFUSED, "{kid}");
    }
    assert_eq!((gateway.tick(), gateway.engine.wake_at()), (0, None));
}

#[test]
fn a_key_verifies_only_what_names_it() {
    let mut gateway = gateway(json!({}));
    let (one, other) = (key(1), key(2));
    learn(&mut gateway, &one);
    learn(&mut gateway, &other);
    let crossed = signed(&one, &json!({ "kid": other.kid }), &json!({}));
    assert_eq!(outcome(&mut gateway, &crossed), REFUSED);
    assert_eq!(outcome(&mut gateway, &token(&SigningKey::es256(&one.kid))), REFUSED, "forged");
    assert_eq!(gateway.tick(), 0, "a wrong signature causes no fetch");
    assert_eq!(outcome(&mut gateway, &token(&one)), "pass");
}

#[test]
fn a_kid_that_is_not_there_is_looked_for_less_and_less() {
    let mut gateway = gateway(json!({}));
    let token = token(&key(1));
    for (t, status) in [(0, 404), (10, 403), (30, 410), (70, 404)] {
        if t > 0 {
            at(&mut gateway, t - 1);
            assert_eq!(outcome(&mut gateway, &token), REFUSED, "t={t}");
            assert_eq!(gateway.tick(), 0);
        }
        at(&mut gateway, t);
        assert_eq!(outcome(&mut gateway, &token), "wait", "t={t}");
        assert_eq!(gateway.tick(), 1, "t={t}");
        assert!(!gateway.answer(status, "not there"));
        assert_eq!(outcome(&mut gateway, &token), REFUSED, "t={t}");
    }
}

#[test]
fn made_up_kids_cost_a_few_fetches_an_interval_one_at_a_time_and_nobody_is_told_that_their_key_is_not_there()
{
    let mut gateway = gateway(json!({}));
    let good = key(0);
    learn(&mut gateway, &good);
    let mut fetches = 1;
    for number in 1..200 {
        outcome(&mut gateway, &token(&key(number)));
        let due = gateway.tick();
        assert!(due <= 1);
        fetches += due;
        if due > 0 {
            assert_eq!(gateway.tick(), 0, "one at a time");
            assert!(!gateway.answer(404, ""));
        }
    }
    assert_eq!(fetches, MAX_LOOK_UPS);
    let newcomer = key(1000);
    assert_eq!(outcome(&mut gateway, &token(&newcomer)), "503 10", "its key may be there");
    assert_eq!(outcome(&mut gateway, &token(&good)), "pass");
    at(&mut gateway, 10);
    learn(&mut gateway, &newcomer);
}

#[test]
fn kids_that_wait_for_their_turn_are_few() {
    let mut gateway = gateway(json!({}));
    let outcomes: Vec<_> = (0..20).map(|number| outcome(&mut gateway, &token(&key(number)))).collect();
    assert!(outcomes[..MAX_LOOK_UPS].iter().all(|outcome| outcome == "wait"));
    assert!(outcomes[MAX_LOOK_UPS..].iter().all(|outcome| outcome == "503 1"), "{outcomes:?}");
    for _ in 0..MAX_LOOK_UPS {
        assert_eq!(gateway.tick(), 1);
        assert!(!gateway.answer(404, ""));
    }
    assert_eq!(gateway.tick(), 0);
}

#[test]
fn while_the_server_fails_those_with_a_new_kid_are_told_when_to_come_back() {
    let mut gateway = gateway(json!({}));
    let (held, new) = (key(1), key(2));
    learn(&mut gateway, &held);
    let mut t = 0;
    for pause in [1, 2, 4] {
        at(&mut gateway, t);
        assert_eq!(outcome(&mut gateway, &token(&new)), "wait");
        assert_eq!(gateway.tick(), 1);
        let reply = CallReply::Response { status: 503, headers: &[], body: b"" };
        assert!(!gateway.settle(if t == 0 { CallReply::Failure } else { reply }));
        assert_eq!(outcome(&mut gateway, &token(&new)), format!("503 {pause}"));
        assert_eq!(outcome(&mut gateway, &token(&held)), "pass");
        assert_eq!(gateway.tick(), 0);
        t += pause;
    }
    at(&mut gateway, t);
    learn(&mut gateway, &new);
}

#[test]
fn what_is_not_one_public_key_is_no_key() {
    let key = key(1);
    let private = "-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n";
    for body in [
        String::new(),
        "<html>".to_owned(),
        jwks(),
        format!("{}{}", key.pem(), SigningKey::es256("other").pem()),
        format!("{}{private}", key.pem()),
        format!("{}-----BEGIN X-----\nAAEC\n-----END X-----\n", key.pem()),
        format!("{}{}", key.pem(), " ".repeat(16 * 1024)),
    ] {
        let mut gateway = gateway(json!({}));
        assert_eq!(outcome(&mut gateway, &token(&key)), "wait");
        assert_eq!(gateway.tick(), 1);
        assert!(!gateway.answer(200, &body), "{body}");
        assert_eq!(outcome(&mut gateway, &token(&key)), "503 1", "{body}");
    }
}

#[test]
fn a_call_that_is_never_answered_counts_as_failed_and_what_comes_later_as_nothing() {
    let mut gateway = gateway(json!({}));
    let key = key(1);
    assert_eq!(outcome(&mut gateway, &token(&key)), "wait");
    assert_eq!(gateway.tick(), 1);
    at(&mut gateway, 3);
    assert_eq!(gateway.engine.wake_at(), Some(gateway.now));
    assert_eq!(gateway.tick(), 0);
    assert_eq!(outcome(&mut gateway, &token(&key)), "503 1");
    gateway.answer(404, "");
    at(&mut gateway, 4);
    learn(&mut gateway, &key);
}

#[test]
fn a_key_in_use_is_refreshed_ahead_and_serves_while_that_fails() {
    let mut gateway = gateway(json!({ "max_stale": "50s" }));
    let key = key(1);
    learn(&mut gateway, &key);
    at(&mut gateway, 89);
    assert_eq!(gateway.tick(), 0);
    at(&mut gateway, 90);
    assert_eq!(gateway.tick(), 1);
    assert_eq!(outcome(&mut gateway, &token(&key)), "pass", "nobody waits for it");
    assert!(!gateway.answer(403, ""));
    assert_eq!(outcome(&mut gateway, &token(&key)), "pass");
    at(&mut gateway, 149);
    assert_eq!(outcome(&mut gateway, &token(&key)), "pass");
    assert_eq!(gateway.tick(), 1);
    assert!(!gateway.answer(500, ""));
    at(&mut gateway, 150);
    assert_eq!(outcome(&mut gateway, &token(&key)), "wait", "as if it had never been there");
    assert_eq!(gateway.tick(), 1);
    assert!(gateway.answer(200, &key.pem()));
    assert_eq!(outcome(&mut gateway, &token(&key)), "pass");
}

#[test]
fn a_refresh_that_fails_for_ever_keeps_no_other_key_away() {
    let mut gateway = gateway(json!({}));
    let (old, new) = (key(1), key(2));
    learn(&mut gateway, &old);
    for t in 90..200 {
        at(&mut gateway, t);
        assert_eq!(outcome(&mut gateway, &token(&old)), "pass");
        if gateway.tick() > 0 {
            assert!(!gateway.answer(403, ""));
        }
    }
    learn(&mut gateway, &new);
}

#[test]
fn a_key_that_nobody_needs_is_not_refreshed_and_does_not_serve_once_it_has_expired() {
    let mut gateway = gateway(json!({}));
    let key = key(1);
    learn(&mut gateway, &key);
    at(&mut gateway, 95);
    assert_eq!(gateway.tick(), 1);
    assert!(gateway.answer(200, &key.pem()));
    at(&mut gateway, 194);
    assert_eq!((gateway.tick(), gateway.engine.wake_at()), (0, None), "no token has come since");
    at(&mut gateway, 195);
    assert_eq!(outcome(&mut gateway, &token(&key)), "wait");
    assert_eq!(gateway.tick(), 1);
    assert!(!gateway.answer(503, ""));
    assert_eq!(outcome(&mut gateway, &token(&key)), "pass", "it was asked for");
}

#[test]
fn a_key_that_was_withdrawn_verifies_nothing_from_the_next_refresh_on() {
    for status in [404, 410] {
        let mut gateway = gateway(json!({}));
        let key = key(1);
        learn(&mut gateway, &key);
        at(&mut gateway, 90);
        assert_eq!(gateway.tick(), 1);
        assert!(!gateway.answer(status, ""));
        assert_eq!(outcome(&mut gateway, &token(&key)), REFUSED);
        assert_eq!(gateway.tick(), 0);
    }
}

#[test]
fn the_reply_says_how_long_a_key_is_current_within_the_bounds() {
    for (max_age, refreshed_at) in [("1", 54), ("70", 63), ("9999", 90)] {
        let mut gateway = gateway(json!({}));
        let key = key(1);
        assert_eq!(outcome(&mut gateway, &token(&key)), "wait");
        assert_eq!(gateway.tick(), 1);
        let headers = [(b"cache-control".to_vec(), format!("max-age={max_age}").into_bytes())];
        assert!(gateway.settle(CallReply::Response {
            status: 200,
            headers: &headers,
            body: key.pem().as_bytes()
        }));
        assert_eq!(outcome(&mut gateway, &token(&key)), "pass");
        let due = UnixTime::from_secs(START + refreshed_at);
        assert_eq!(gateway.engine.wake_at(), Some(due), "{max_age}");
    }
}

#[test]
fn keys_that_verify_nothing_take_the_place_of_none_that_does() {
    let mut gateway = gateway(json!({ "max_keys": 2 }));
    let good = key(0);
    learn(&mut gateway, &good);
    // Keys that are there, of somebody else: named by tokens that they did not sign.
    for number in 1..6 {
        let stranger = key(number);
        let forged = token(&stranger);
        let theirs = SigningKey::es256(&stranger.kid);
        assert_eq!(outcome(&mut gateway, &forged), "wait");
        assert_eq!(gateway.tick(), 1);
        assert!(gateway.answer(200, &theirs.pem()));
        assert_eq!(outcome(&mut gateway, &forged), REFUSED);
    }
    assert_eq!(outcome(&mut gateway, &token(&good)), "pass");
    assert_eq!(gateway.tick(), 0, "it is held");
}

#[test]
fn of_keys_that_verify_the_one_that_did_so_last_stays() {
    let mut gateway = gateway(json!({ "max_keys": 2 }));
    let (one, two, three) = (key(1), key(2), key(3));
    learn(&mut gateway, &one);
    at(&mut gateway, 1);
    learn(&mut gateway, &two);
    at(&mut gateway, 2);
    assert_eq!(outcome(&mut gateway, &token(&one)), "pass");
    at(&mut gateway, 3);
    learn(&mut gateway, &three);
    assert_eq!(outcome(&mut gateway, &token(&one)), "pass");
    assert_eq!(outcome(&mut gateway, &token(&two)), "wait");
}

#[test]
fn with_a_retry_policy_requests_wait_through_a_failure() {
    let mut gateway = gateway(json!({ "retry_policy": { "num_retries": 1 } }));
    let key = key(1);
    assert_eq!(outcome(&mut gateway, &token(&key)), "wait");
    assert_eq!(gateway.tick(), 1);
    assert!(!gateway.answer(503, ""));
    assert_eq!(outcome(&mut gateway, &token(&key)), "wait");
    assert_eq!(gateway.tick(), 0);
    at(&mut gateway, 1);
    assert_eq!(gateway.tick(), 1);
    assert!(gateway.answer(200, &key.pem()));
    assert_eq!(outcome(&mut gateway, &token(&key)), "pass");
}

#[test]
fn a_clock_that_is_set_back_stops_nothing() {
    let mut gateway = gateway(json!({}));
    let (one, two) = (key(1), key(2));
    learn(&mut gateway, &one);
    for number in 3..(2 + MAX_LOOK_UPS) {
        assert_eq!(outcome(&mut gateway, &token(&key(number))), "wait");
        assert_eq!(gateway.tick(), 1);
        assert!(!gateway.answer(500, ""));
        gateway.advance(Duration::from_secs(200));
    }
    gateway.now = UnixTime::from_secs(START - 500_000);
    assert_eq!(outcome(&mut gateway, &token(&one)), "pass", "by this clock it is current");
    assert_eq!(outcome(&mut gateway, &token(&two)), "wait");
}

#[test]
fn without_timers_each_request_makes_the_call_for_its_key() {
    let mut gateway = gateway(json!({}));
    gateway.engine.without_timers();
    let key = key(1);
    let request = get_with("/", &token(&key));
    assert!(gateway.fetch_itself(&request));
    assert_eq!(outcome(&mut gateway, &token(&key)), "503 1", "the call of another request wakes nobody");
    assert!(gateway.answer(200, &key.pem()));
    assert_eq!(outcome(&mut gateway, &token(&key)), "pass");

    let gone = get_with("/", &token(&self::key(2)));
    assert!(gateway.fetch_itself(&gone));
    let fetch = gateway.in_flight.remove(0);
    gateway.engine.abandon(&fetch, gateway.now, &mut gateway.space);
    assert!(gateway.fetch_itself(&gone), "nobody's failure");
}

#[test]
fn wrong_configurations_say_what_to_mend() {
    for (source, expected) in [
        (
            json!({ "http_uri": { "uri": "https://a/keys", "cluster": "c" } }),
            "with \"{kid}\" once, in its path",
        ),
        (
            json!({ "http_uri": { "uri": "https://{kid}/", "cluster": "c" } }),
            "with \"{kid}\" once, in its path",
        ),
        (json!({ "http_uri": { "uri": "https://a/?k={kid}", "cluster": "c" } }), "once, in its path"),
        (json!({ "http_uri": { "uri": "https://a/{kid}/{kid}", "cluster": "c" } }), "once, in its path"),
        (json!({ "http_uri": { "uri": "https://a/{x}/{kid}", "cluster": "c" } }), "once, in its path"),
        (json!({ "max_keys": 1 }), "a number from 2 to 64"),
        (json!({ "max_keys": 65 }), "a number from 2 to 64"),
        (json!({ "max_key": 5 }), "max_keys"),
    ] {
        let configuration = configuration_of(source.clone()).to_string();
        let error = Config::parse(configuration.as_bytes(), &|_| None).expect_err("wrong").to_string();
        assert!(error.starts_with("providers.acme.remote_keys_by_kid"), "{error}");
        assert!(error.contains(expected), "{source}: {error}");
    }
    let mut both = configuration_of(json!({}));
    both["providers"]["acme"]["jwt_key"] = json!("x");
    let error = Config::parse(both.to_string().as_bytes(), &|_| None).expect_err("two").to_string();
    assert!(error.contains("a second source of keys"), "{error}");
    let mut secret = configuration_of(json!({}));
    secret["providers"]["acme"]["algorithms"] = json!(["HS256"]);
    let error = Config::parse(secret.to_string().as_bytes(), &|_| None).expect_err("a secret").to_string();
    assert!(error.starts_with("providers.acme.algorithms[0]"), "{error}");
}
