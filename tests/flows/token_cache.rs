//! Tokens that were good and come again: what is remembered of them, and what is asked of each request all the same.

use std::time::Duration;

use edge_authn::cache::MAX_BYTES;
use edge_authn::engine::Decision;
use edge_authn::rejection::Rejection;
use edge_authn::request::RequestHead;
use edge_authn::verify::VerifyError;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::{SigningKey, jwks as jwks_of};

fn gateway(extra: Value) -> Gateway {
    let mut provider = json!({ "claim_to_headers": [{ "header_name": "x-user-id", "claim_name": "sub" }] });
    for (name, value) in extra.as_object().into_iter().flatten() {
        provider[name] = value.clone();
    }
    Gateway::with_provider(provider)
}

fn token_of(user: &str) -> String {
    KEY.sign(&claims(json!({ "sub": user })))
}

impl Gateway {
    fn known(&self) -> usize {
        self.engine.known_tokens().len()
    }

    /// With keys that have just been fetched.
    fn with_fetched_keys(keys: &[&SigningKey]) -> Self {
        let mut gateway = Self::new(&remote_configuration("10s"));
        gateway.fetch(keys);
        gateway
    }

    fn fetch(&mut self, keys: &[&SigningKey]) {
        assert_eq!(self.tick(), 1);
        assert!(self.answer(200, &jwks_of(keys.iter().copied()).to_string()));
    }
}

const fn expired() -> Rejection {
    Rejection::InvalidToken(VerifyError::Expired)
}

#[test]
fn a_token_that_was_good_is_kept_once() {
    let mut gateway = gateway(json!({}));
    let head = get_with("/", &good_token());
    let first = gateway.forward(&head);
    assert_eq!(gateway.known(), 1);
    assert_eq!(first.values("x-user-id"), ["alice"]);
    for _ in 0..3 {
        assert_eq!(gateway.forward(&head), first);
    }
    assert_eq!(gateway.known(), 1);
    assert_eq!(gateway.forward(&get_with("/", &token_of("bob"))).values("x-user-id"), ["bob"]);
    assert_eq!(gateway.known(), 2);
}

#[test]
fn nothing_is_kept_of_a_token_that_was_not_good() {
    let mut gateway = gateway(json!({ "audiences": ["api"], "required_claims": [
        { "claim_name": "plan", "string_match": { "exact": "paid" } },
    ] }));
    let good = json!({ "aud": "api", "plan": "paid" });
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    for bad in [
        KEY.sign(&claims(with("exp", json!(START - 3600)))),
        KEY.sign(&claims(with("nbf", json!(START + 3600)))),
        KEY.sign(&claims(with("aud", json!("other")))),
        KEY.sign(&claims(with("plan", json!("free")))),
        KEY.sign(&claims(with("iss", json!("https://other.example")))),
        STRANGER.sign(&claims(good.clone())),
        "opaque".to_owned(),
    ] {
        gateway.refuse(&get_with("/", &bad));
        assert_eq!(gateway.known(), 0, "{bad}");
    }
    gateway.forward(&get_with("/", &KEY.sign(&claims(good))));
    assert_eq!(gateway.known(), 1);
}

#[test]
fn a_kept_token_is_refused_as_soon_as_its_exp_has_passed_and_forgotten() {
    let mut gateway = gateway(json!({ "clock_skew_seconds": 5 }));
    let head = get_with("/", &KEY.sign(&claims(json!({ "exp": START + 100 }))));
    gateway.forward(&head);
    gateway.advance(Duration::from_secs(104));
    gateway.forward(&head);
    gateway.advance(Duration::from_secs(1));
    assert_eq!(gateway.refuse(&head), expired());
    assert_eq!(gateway.known(), 0);
    assert_eq!(gateway.refuse(&head), expired());
}

#[test]
fn a_kept_token_is_refused_before_its_nbf_when_the_clock_is_set_back() {
    let mut gateway = gateway(json!({ "clock_skew_seconds": 0 }));
    let head = get_with("/", &KEY.sign(&claims(json!({ "nbf": START }))));
    gateway.forward(&head);
    gateway.now = edge_authn::time::UnixTime::from_secs(START - 1);
    assert_eq!(gateway.refuse(&head), Rejection::InvalidToken(VerifyError::NotYetValid));
    gateway.now = edge_authn::time::UnixTime::from_secs(START);
    gateway.forward(&head);
}

#[test]
fn a_kept_token_whose_exp_lies_too_far_ahead_once_the_clock_is_set_back_is_refused() {
    let mut gateway = gateway(json!({ "max_lifetime": "3601s" }));
    let head = get_with("/", &good_token());
    gateway.forward(&head);
    gateway.now = edge_authn::time::UnixTime::from_secs(START - 60);
    assert_eq!(gateway.refuse(&head), Rejection::InvalidToken(VerifyError::Lifetime));
}

#[test]
fn a_kept_token_is_held_against_the_audiences_of_each_rule() {
    let mut configuration = configuration(json!({ "audiences": ["a", "b"] }));
    for audience in ["b", "a"] {
        let requires =
            json!({ "provider_and_audiences": { "provider_name": "acme", "audiences": [audience] } });
        let rule = json!({ "match": { "prefix": format!("/{audience}") }, "requires": requires });
        configuration["rules"].as_array_mut().unwrap().insert(0, rule);
    }
    let mut gateway = Gateway::new(&configuration);
    let token = KEY.sign(&claims(json!({ "aud": "a" })));
    for _ in 0..2 {
        gateway.forward(&get_with("/a", &token));
        gateway.forward(&get_with("/", &token));
        assert_eq!(gateway.refuse(&get_with("/b", &token)), Rejection::InvalidToken(VerifyError::Audience));
    }
    assert_eq!(gateway.known(), 1);
}

#[test]
fn a_kept_token_is_refused_as_soon_as_its_key_has_left_the_set() {
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let mut gateway = Gateway::with_fetched_keys(&[&old]);
    let head = get_with("/", &old.sign(&claims(json!({}))));
    gateway.forward(&head);
    assert_eq!(gateway.known(), 1);
    gateway.advance(Duration::from_secs(9));
    gateway.fetch(&[&new, &old]);
    gateway.forward(&head);
    assert_eq!(gateway.known(), 1, "its key is still there");
    gateway.advance(Duration::from_secs(9));
    gateway.fetch(&[&new]);
    let refused = gateway.refuse(&head);
    assert!(matches!(refused, Rejection::InvalidToken(VerifyError::Signature(_))), "{refused:?}");
    assert_eq!(gateway.known(), 0);
}

#[test]
fn a_kept_token_is_refused_when_its_kid_is_another_keys_name_now() {
    let (old, new) = (SigningKey::es256("k"), SigningKey::es256("k"));
    let mut gateway = Gateway::with_fetched_keys(&[&old]);
    let head = get_with("/", &old.sign(&claims(json!({}))));
    gateway.forward(&head);
    gateway.advance(Duration::from_secs(9));
    gateway.fetch(&[&new]);
    gateway.refuse(&head);
    assert_eq!(gateway.known(), 0);
}

#[test]
fn a_kept_token_waits_for_keys_like_any_other_once_there_are_none() {
    let mut configuration = remote_configuration("10s");
    configuration["providers"]["acme"]["remote_jwks"]["max_stale"] = json!("0s");
    let mut gateway = Gateway::new(&configuration);
    gateway.fetch(&[&KEY]);
    let head = get_with("/", &good_token());
    gateway.forward(&head);
    gateway.advance(Duration::from_secs(11));
    assert!(matches!(gateway.decide(&head), Decision::Await(_)));
}

#[test]
fn a_token_that_was_good_for_one_provider_is_verified_for_another() {
    let other = SigningKey::es256("acme-1");
    let local = |key: &SigningKey| json!({ "inline_string": jwks_of([key]).to_string() });
    let provider = |key, header: &str| {
        json!({
            "issuer": ISSUER,
            "local_jwks": local(key),
            "claim_to_headers": [{ "header_name": header, "claim_name": "sub" }],
        })
    };
    let rule = |path: &str, name: &str| json!({ "match": { "prefix": path }, "requires": { "provider_name": name } });
    let mut gateway = Gateway::new(&json!({
        "providers": {
            "a": provider(&KEY, "x-a"), "b": provider(&other, "x-b"), "same": provider(&KEY, "x-same"),
        },
        "rules": [rule("/a", "a"), rule("/b", "b"), rule("/same", "same")],
    }));
    let token = good_token();
    for _ in 0..3 {
        let of_a = gateway.forward(&get_with("/a", &token));
        assert_eq!((of_a.values("x-a"), of_a.values("x-same")), (vec!["alice"], vec![]));
        let same = gateway.forward(&get_with("/same", &token));
        assert_eq!((same.values("x-a"), same.values("x-same")), (vec![], vec!["alice"]));
        gateway.refuse(&get_with("/b", &token));
    }
}

#[test]
fn no_token_is_taken_for_another_by_a_part_of_it() {
    let mut gateway = gateway(json!({}));
    let token = good_token();
    gateway.forward(&get_with("/", &token));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = input.split_once('.').unwrap();
    let other = token_of("root");
    let other_payload = other.split('.').nth(1).unwrap();
    for forged in [
        format!("{header}.{other_payload}.{signature}"),
        format!("{header}.{payload}x.{signature}"),
        format!(".{payload}.{signature}"),
        format!("{payload}.{signature}"),
        signature.to_owned(),
        format!("{token}="),
        format!("x{token}"),
        format!("{}A.{payload}.{signature}", header.strip_suffix(|_: char| true).unwrap()),
    ] {
        gateway.refuse(&get_with("/", &forged));
    }
    for position in (0..token.len()).step_by(7) {
        let mut forged = token.clone().into_bytes();
        forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
        gateway.refuse(&get_with("/", &String::from_utf8(forged).unwrap()));
    }
    assert_eq!(gateway.known(), 1);
    gateway.forward(&get_with("/", &token));
}

#[test]
fn forged_headers_are_removed_for_a_kept_token_as_well() {
    let mut gateway = gateway(json!({}));
    let token = good_token();
    for _ in 0..2 {
        let fields = [("authorization", format!("Bearer {token}")), ("X_User-Id", "root".to_owned())];
        let received = gateway.forward(&get("/", &fields));
        assert_eq!(received.values("x-user-id"), ["alice"]);
        assert_eq!(received.values("x_user-id"), Vec::<&str>::new());
        assert_eq!(received.values("authorization"), Vec::<&str>::new());
    }
}

#[test]
fn a_kept_token_in_a_wrong_place_is_not_found() {
    let mut gateway = gateway(json!({ "from_headers": [{ "name": "x-token" }] }));
    let token = good_token();
    gateway.forward(&get("/", &[("x-token", &token)]));
    assert_eq!(gateway.known(), 1);
    assert_eq!(gateway.refuse(&get_with("/", &token)), Rejection::MissingCredential);
}

#[test]
fn a_kept_token_stays_one_of_several() {
    let mut gateway = gateway(json!({}));
    let token = good_token();
    gateway.forward(&get_with("/", &token));
    let path = format!("/?access_token={token}");
    assert_eq!(gateway.refuse(&get_with(&path, &token)), Rejection::MultipleCredentials);
}

#[test]
fn a_size_of_zero_keeps_nothing_and_another_one_as_many_as_it_says() {
    for (size, kept) in [(json!(0), 0), (json!(3), 3), (json!("5"), 5)] {
        let mut gateway = gateway(json!({ "jwt_cache_config": { "jwt_cache_size": size } }));
        for user in 0..20 {
            gateway.forward(&get_with("/", &token_of(&format!("user-{user}"))));
        }
        assert_eq!(gateway.known(), kept);
    }
}

#[test]
fn a_token_longer_than_the_bound_is_verified_each_time_and_not_kept() {
    let token = good_token();
    for (bound, kept) in [(token.len(), 1), (token.len() - 1, 0)] {
        let mut gateway = gateway(json!({ "jwt_cache_config": { "jwt_max_token_size": bound } }));
        for _ in 0..2 {
            gateway.forward(&get_with("/", &token));
        }
        assert_eq!(gateway.known(), kept);
    }
    let long = KEY.sign(&claims(json!({ "padding": "x".repeat(4096) })));
    let mut gateway = gateway(json!({}));
    gateway.forward(&get_with("/", &long));
    assert_eq!(gateway.known(), 0);
}

#[test]
fn what_is_used_stays_when_others_come_and_go() {
    let mut gateway = gateway(json!({ "jwt_cache_config": { "jwt_cache_size": 4 } }));
    let head = get_with("/", &good_token());
    gateway.forward(&head);
    for user in 0..50 {
        gateway.forward(&get_with("/", &token_of(&format!("user-{user}"))));
        let known = gateway.engine.known_tokens();
        assert!(known.get(good_token_in(&head)).is_some(), "after {user}");
        gateway.forward(&head);
    }
    assert_eq!(gateway.known(), 4);
}

#[test]
fn where_there_is_no_room_a_token_gets_it_when_it_comes_for_the_second_time() {
    let mut gateway = gateway(json!({ "jwt_cache_config": { "jwt_cache_size": 2 } }));
    let heads = ["alice", "bob", "carol", "dave"].map(|user| get_with("/", &token_of(user)));
    heads.iter().for_each(|head| drop(gateway.forward(head)));
    let are_known = |gateway: &Gateway| {
        heads.each_ref().map(|head| gateway.engine.known_tokens().get(good_token_in(head)).is_some())
    };
    assert_eq!(are_known(&gateway), [true, true, false, false]);
    gateway.forward(&heads[2]);
    assert_eq!(gateway.known(), 2);
    assert!(are_known(&gateway)[2]);
}

fn good_token_in(head: &RequestHead) -> &[u8] {
    head.value("authorization").strip_prefix(b"Bearer ").unwrap()
}

#[test]
fn made_up_tokens_push_nothing_out() {
    let mut gateway = gateway(json!({ "jwt_cache_config": { "jwt_cache_size": 2 } }));
    let heads = ["alice", "bob"].map(|user| get_with("/", &token_of(user)));
    heads.iter().for_each(|head| drop(gateway.forward(head)));
    for user in 0..20 {
        gateway.refuse(&get_with("/", &STRANGER.sign(&claims(json!({ "sub": format!("user-{user}") })))));
        gateway.refuse(&get_with("/", &format!("junk-{user}.of.that-is-long-enough-to-be-looked-up")));
    }
    assert_eq!(gateway.known(), 2);
    let known = gateway.engine.known_tokens();
    assert!(heads.iter().all(|head| known.get(good_token_in(head)).is_some()));
}

#[test]
fn what_is_kept_is_bounded_in_bytes_with_all_that_is_made_of_it() {
    let headers: Vec<_> =
        (0..20).map(|number| json!({ "header_name": format!("x-{number}"), "claim_name": "long" })).collect();
    let mut gateway = gateway(json!({ "claim_to_headers": headers }));
    let mut most = 0;
    for user in 0..150 {
        let token = KEY.sign(&claims(json!({ "sub": format!("user-{user}"), "long": "é".repeat(1000) })));
        for _ in 0..2 {
            gateway.forward(&get_with("/", &token));
        }
        assert!(gateway.engine.known_tokens().bytes() <= MAX_BYTES);
        most = most.max(gateway.known());
    }
    // Each has 120,000 bytes of header values.
    assert!((40..80).contains(&most), "{most}");
}

/// What comes to a gateway, in any order.
#[derive(Clone, Debug)]
enum Event {
    Request { token: usize, path: usize },
    Wait { seconds: u64 },
    Keys { first: bool, second: bool },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..8_usize, 0..4_usize).prop_map(|(token, path)| Event::Request { token, path }),
        2 => (0..60_u64).prop_map(|seconds| Event::Wait { seconds }),
        1 => any::<(bool, bool)>().prop_map(|(first, second)| Event::Keys { first, second }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_changes_no_decision(events in prop::collection::vec(event(), 1..60)) {
        let (first, second) = (SigningKey::eddsa("first"), SigningKey::eddsa("second"));
        let mut configuration = remote_configuration("10s");
        let provider = &mut configuration["providers"]["acme"];
        provider["audiences"] = json!(["a", "b"]);
        provider["clock_skew_seconds"] = json!(0);
        provider["forward_payload_header"] = json!("x-payload");
        provider["payload_in_metadata"] = json!("claims");
        provider["claim_to_headers"] = json!([{ "header_name": "x-user-id", "claim_name": "sub" }]);
        let only_b = json!({ "provider_and_audiences": { "provider_name": "acme", "audiences": ["b"] } });
        let rule = json!({ "match": { "path": "/b" }, "requires": only_b });
        configuration["rules"].as_array_mut().unwrap().insert(0, rule);
        let paths = ["/", "/b", "/optional", "/whatever"];
        let tokens: Vec<_> = (0..8_u64)
            .map(|number| {
                let key = if number % 2 == 0 { &first } else { &second };
                let audience = if number % 3 == 0 { "b" } else { "a" };
                let times = json!({ "exp": START + 20 * number, "nbf": START + 5 * number, "aud": audience });
                key.sign(&claims(times))
            })
            .collect();

        let mut with = Gateway::new(&configuration);
        configuration["providers"]["acme"]["jwt_cache_config"] = json!({ "jwt_cache_size": 0 });
        let mut without = Gateway::new(&configuration);
        for gateway in [&mut with, &mut without] {
            gateway.fetch(&[&first, &second]);
        }
        for event in events {
            match event {
                Event::Request { token, path } => {
                    let head = get_with(paths[path], &tokens[token]);
                    let decided = with.engine.decide(&head, with.now);
                    prop_assert_eq!(decided, without.engine.decide(&head, without.now));
                }
                Event::Wait { seconds } => {
                    with.advance(Duration::from_secs(seconds));
                    without.advance(Duration::from_secs(seconds));
                }
                Event::Keys { first: has_first, second: has_second } => {
                    let keys = [(has_first, &first), (has_second, &second)];
                    let keys = keys.iter().filter(|(is_there, _)| *is_there).map(|(_, key)| *key);
                    let document = jwks_of(keys).to_string();
                    for gateway in [&mut with, &mut without] {
                        gateway.tick();
                        if !gateway.in_flight.is_empty() {
                            gateway.answer(200, &document);
                        }
                    }
                }
            }
        }
        prop_assert_eq!(without.known(), 0);
    }
}
