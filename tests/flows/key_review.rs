//! What a review of the keys found: leases and news that get lost, fetches for nobody, and times that are believed.

use std::fmt;
use std::time::Duration;

use edge_authn::call::CallReply;
use edge_authn::config::Config;
use edge_authn::engine::{Decision, Engine};
use edge_authn::keys::{Jitter, LocalSpace, SharedSpace, Version};
use edge_authn::time::UnixTime;
use serde_json::{Value, json};

use crate::support::*;
use crate::timeline::{Workers, play};
use crate::tokens::{SigningKey, jwks as jwks_of};
use crate::two_providers::{A, B, token};

#[test]
fn a_worker_whose_fetch_was_lost_leaves_the_lease_to_the_one_who_has_taken_over() {
    play(
        &remote_configuration("10s"),
        "t=0 a tick -> fetch
         t=0 a keys -> -
         t=0 b tick -> -
         t=6 a tick -> fetch
         t=9 b tick -> fetch
         t=9.1 a tick -> -",
    );
}

#[test]
fn a_worker_whose_fetch_was_lost_takes_over_what_another_has_fetched_meanwhile() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 a keys old -> -
         t=0 b tick -> -
         t=1 a request new -> wait
         t=1 a tick -> fetch
         t=4 b request new -> wait
         t=4 b tick -> fetch
         t=4.1 b keys new -> -
         t=4.2 a tick -> -
         t=6 a tick -> -
         t=6 a request old -> 401
         t=6 a request new -> pass",
    );
}

#[test]
fn keys_that_were_fetched_right_after_the_clock_was_set_back_reach_every_worker() {
    play(
        &remote_configuration("300s"),
        "t=1000 a tick -> fetch
         t=1000 a keys old -> -
         t=1000 b tick -> -
         t=500 a tick -> -
         t=500.1 a request new -> wait
         t=500.1 a tick -> fetch
         t=500.2 a keys new -> -
         t=501 b tick -> -
         t=501 b request old -> 401
         t=501 b request new -> pass",
    );
}

#[test]
fn keys_that_were_asked_for_before_the_clock_was_set_back_are_not_the_answer_to_a_later_request() {
    play(
        &remote_configuration("300s"),
        "t=1000 tick -> fetch
         t=1000 keys old -> -
         t=500 request new -> wait",
    );
}

#[test]
fn nobody_fetches_for_a_key_id_that_was_refused_meanwhile() {
    play(
        &remote_configuration("300s"),
        "t=0 a tick -> fetch
         t=0 a keys good -> -
         t=0 b tick -> -
         t=0 c tick -> -
         t=1 a request bad1 -> wait
         t=1 b request bad2 -> wait
         t=1 c request bad3 -> wait
         t=1 a tick -> fetch
         t=1 b tick -> -
         t=1 c tick -> -
         t=1 a keys good -> -
         t=1 b tick -> -
         t=1 c tick -> -
         t=1 b request bad2 -> 401
         t=1 c request bad3 -> 401
         t=11 b tick -> -
         t=21 c tick -> -",
    );
}

#[test]
fn a_304_without_cache_control_keeps_that_of_the_document() {
    play(
        &remote_configuration("300s"),
        "t=0 tick -> fetch
         t=0 keys etag=one max-age=60 -> -
         t=54 tick -> fetch \"one\"
         t=54 304 -> -
         t=108 tick -> fetch \"one\"",
    );
}

#[test]
fn metadata_of_a_server_that_fails_are_not_looked_for_at_the_other_place() {
    let mut configuration = configuration(json!({ "local_jwks": null }));
    configuration["providers"]["acme"]["discovery"] =
        json!({ "issuer": ISSUER, "cluster": "idp", "timeout": "2s" });
    for status in [500, 503, 504] {
        play(
            &configuration,
            &format!(
                "t=0 tick -> fetch /.well-known/openid-configuration
                 t=0 {status} -> -
                 t=0 request -> 503 1"
            ),
        );
    }
}

#[test]
fn a_key_without_kid_that_cannot_have_signed_a_token_does_not_keep_its_key_from_being_found() {
    let mut gateway = Gateway::new(&remote_configuration("300s"));
    let (old, new, nameless) = (SigningKey::es256("old"), SigningKey::es256("new"), SigningKey::eddsa("x"));
    let document = |keys: &[&SigningKey]| {
        let mut document = jwks_of(keys.iter().copied());
        document["keys"][0].as_object_mut().unwrap().remove("kid");
        document.to_string()
    };
    assert_eq!(gateway.tick(), 1);
    assert!(gateway.answer(200, &document(&[&nameless, &old])));
    gateway.advance(Duration::from_secs(1));
    let decision = gateway.decide(&get_with("/", &new.sign(&claims(json!({})))));
    assert!(matches!(decision, Decision::Await(_)), "no Ed25519 key makes an ES256 token: {decision:?}");
}

/// What others do meanwhile.
type Meanwhile<'f> = Box<dyn FnOnce(&mut LocalSpace) + 'f>;

/// A space where something happens right after it was read for the first time.
struct Interleaved<'f> {
    space: &'f mut LocalSpace,
    meanwhile: Option<Meanwhile<'f>>,
}

impl fmt::Debug for Interleaved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.space.fmt(f)
    }
}

impl SharedSpace for Interleaved<'_> {
    fn get(&mut self, name: &str) -> Option<(Vec<u8>, Version)> {
        let found = self.space.get(name);
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile(self.space);
        }
        found
    }

    fn put(&mut self, name: &str, value: &[u8], replaces: Option<Version>) -> bool {
        self.space.put(name, value, replaces)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

fn engine(configuration: &Value) -> Engine {
    let config = Config::parse(configuration.to_string().as_bytes(), &|_| None).expect("valid");
    Engine::new(config, Jitter::even(1))
}

fn keys_reply(body: &str) -> CallReply<'_> {
    CallReply::Response { status: 200, headers: &[], body: body.as_bytes() }
}

#[test]
fn an_older_answer_replaces_no_newer_one_however_closely_they_follow_each_other() {
    let configuration = remote_configuration("300s");
    let (old, new) = (SigningKey::es256("old"), SigningKey::es256("new"));
    let (old_body, new_body) = (jwks_of([&old]).to_string(), jwks_of([&new]).to_string());
    let mut space = LocalSpace::default();
    let at = |millis| UnixTime::from_millis(START * 1000 + millis);

    let (mut slow, mut fast) = (engine(&configuration), engine(&configuration));
    let asked_first = slow.fetches(at(0), &mut space).remove(0);
    let asked_later = fast.fetches(at(3000), &mut space).remove(0);
    let meanwhile = |space: &mut LocalSpace| {
        fast.settle(asked_later, keys_reply(&new_body), at(3100), space).unwrap();
    };
    let mut interleaved = Interleaved { space: &mut space, meanwhile: Some(Box::new(meanwhile)) };
    slow.settle(asked_first, keys_reply(&old_body), at(3100), &mut interleaved).unwrap();
    drop(interleaved);

    let mut third = engine(&configuration);
    third.sync(at(3200), &mut space);
    let signed_by = |key: &SigningKey| get_with("/", &key.sign(&claims(json!({}))));
    let decision = third.decide(&signed_by(&new), at(3200)).decision;
    assert!(matches!(decision, Decision::Forward(_)), "the key that was fetched last: {decision:?}");
    let decision = third.decide(&signed_by(&old), at(3200)).decision;
    assert!(!matches!(decision, Decision::Forward(_)), "a key that was withdrawn");
}

#[test]
fn a_request_that_waits_is_not_decided_again_because_somebody_has_begun_to_fetch() {
    let configuration = remote_configuration("300s");
    let mut space = LocalSpace::default();
    let now = UnixTime::from_secs(START);
    let (mut idle, mut busy) = (engine(&configuration), engine(&configuration));
    idle.sync(now, &mut space);
    assert!(matches!(idle.decide(&get_with("/", &good_token()), now).decision, Decision::Await(_)));
    idle.take_settled();
    assert_eq!(busy.fetches(now, &mut space).len(), 1);
    assert!(idle.fetches(now, &mut space).is_empty());
    assert_eq!(idle.take_settled(), [], "there is nothing new for it");
}

/// A space that takes whatever is written and has nothing when it is read.
#[derive(Debug)]
struct Forgetful;

impl SharedSpace for Forgetful {
    fn get(&mut self, _: &str) -> Option<(Vec<u8>, Version)> {
        None
    }

    fn put(&mut self, _: &str, _: &[u8], _: Option<Version>) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        true
    }
}

#[test]
fn a_failure_is_followed_by_a_pause_also_where_what_is_shared_gets_lost() {
    let mut engine = engine(&remote_configuration("300s"));
    let now = UnixTime::from_secs(START);
    let mut calls = 0;
    for _ in 0..10 {
        for fetch in engine.fetches(now, &mut Forgetful) {
            calls += 1;
            let reply = CallReply::Response { status: 503, headers: &[], body: b"" };
            engine.settle(fetch, reply, now, &mut Forgetful).unwrap_err();
        }
    }
    assert_eq!(calls, 1);
}

#[test]
fn a_failure_is_followed_by_a_pause_also_when_somebody_has_written_over_what_is_shared() {
    let mut workers = Workers::of(&remote_configuration("300s"));
    workers.play("t=0 a tick -> fetch");
    workers.write_shared(b"of somebody else");
    workers.play("t=1 a 503 -> -\nt=1 a tick -> -\nt=1 a request -> 503 1");
}

/// Two providers with keys at servers of their own; `b` takes any issuer and has its token in `header_of_b`, if any.
fn two_servers(requirement: &Value, header_of_b: Option<&str>) -> Gateway {
    let remote = |name: &str| {
        json!({
            "http_uri": { "uri": format!("https://{name}.example/{name}"), "cluster": name, "timeout": "2s" },
            "cache_duration": "300s",
        })
    };
    let mut b = json!({ "remote_jwks": remote("b") });
    if let Some(header) = header_of_b {
        b["from_headers"] = json!([{ "name": header }]);
    }
    let mut gateway = Gateway::new(&json!({
        "providers": { "a": { "issuer": "a", "remote_jwks": remote("a") }, "b": b },
        "rules": [{ "match": { "prefix": "/" }, "requires": requirement }],
    }));
    gateway.engine.without_timers();
    gateway
}

/// Answers the oldest fetch with the keys of whom it asks. Gives that.
fn give_keys(gateway: &mut Gateway, extra: &[&SigningKey]) -> String {
    let path = gateway.in_flight[0].endpoint.path.clone();
    let own: &SigningKey = if path == "/a" { &A } else { &B };
    let keys = [own].into_iter().chain(extra.iter().copied().filter(|_| path == "/a"));
    assert!(gateway.answer(200, &jwks_of(keys).to_string()));
    path
}

#[test]
fn without_timers_every_provider_that_a_request_needs_is_refreshed() {
    let both =
        json!({ "requires_all": { "requirements": [{ "provider_name": "a" }, { "provider_name": "b" }] } });
    let mut gateway = two_servers(&both, Some("x-b"));
    let exp = json!({ "exp": START + 1_000_000 });
    let (of_a, of_b) = (token(&A, "a", exp.clone()), token(&B, "b", exp));
    let head = get("/", &[("authorization", format!("Bearer {of_a}")), ("x-b", of_b)]);
    for expected in ["/a", "/b"] {
        assert!(gateway.fetch_itself(&head));
        assert_eq!(give_keys(&mut gateway, &[]), expected);
    }
    gateway.forward(&head);

    gateway.advance(Duration::from_secs(301));
    assert!(gateway.fetch_itself(&head), "the keys of a have expired");
    assert!(!gateway.answer(503, ""), "from now on they serve although they have expired");
    assert!(gateway.fetch_itself(&head), "so have those of b");
    assert_eq!(give_keys(&mut gateway, &[]), "/b");
    gateway.forward(&head);

    gateway.advance(Duration::from_secs(100));
    assert!(gateway.fetch_itself(&head), "those of a are still to be refreshed");
    assert_eq!(give_keys(&mut gateway, &[]), "/a");
}

#[test]
fn without_timers_a_new_key_is_looked_for_at_the_provider_that_is_waited_for() {
    let any =
        json!({ "requires_any": { "requirements": [{ "provider_name": "a" }, { "provider_name": "b" }] } });
    let mut gateway = two_servers(&any, None);
    let head = |key: &SigningKey, issuer| get_with("/", &token(key, issuer, json!({})));
    for (key, issuer) in [(&*A, "a"), (&*B, "b")] {
        assert!(gateway.fetch_itself(&head(key, issuer)));
        give_keys(&mut gateway, &[]);
    }
    let new = SigningKey::eddsa("a-2");
    let mut asked = Vec::new();
    for _ in 0..3 {
        gateway.advance(Duration::from_secs(1));
        if gateway.fetch_itself(&head(&new, "a")) {
            asked.push(give_keys(&mut gateway, &[&new]));
        }
    }
    assert!(asked.contains(&"/a".to_owned()), "asked: {asked:?}");
    gateway.forward(&head(&new, "a"));
}

#[test]
fn without_timers_clients_that_leave_at_once_cause_no_fetch_each() {
    let mut gateway = Gateway::new(&remote_configuration("300s"));
    gateway.engine.without_timers();
    assert!(gateway.fetch_itself(&get_with("/", &good_token())));
    assert!(gateway.answer(200, &jwks()));
    gateway.advance(Duration::from_secs(1));
    let mut calls = 0;
    for index in 0..20 {
        let made_up = SigningKey::eddsa(&format!("bad{index}"));
        if gateway.fetch_itself(&get_with("/", &made_up.sign(&claims(json!({}))))) {
            calls += 1;
            let fetch = gateway.in_flight.remove(0);
            gateway.engine.abandon(&fetch, gateway.now, &mut gateway.space);
        }
        gateway.advance(Duration::from_millis(10));
    }
    assert!(calls <= 1, "{calls} calls within 200 ms, the interval is 10 s");
}
