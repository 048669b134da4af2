//! Sessions that are checked off the path of requests.

use std::time::Duration;

use edge_authn::engine::Decision;
use edge_authn::request::RequestHead;
use edge_authn::session_check::Check;
use serde_json::{Value, json};

use crate::session_check::{check, introspection};
use crate::support::*;

/// A provider with the key of [`KEY`] that is asked in the background, and `extra` fields of the check.
fn gateway(extra: Value) -> Gateway {
    let mut settings = introspection(json!({ "mode": "background" }));
    for (name, value) in extra.as_object().into_iter().flatten() {
        settings[name] = value.clone();
    }
    Gateway::with_provider(json!({
        "session_check": settings,
        "claim_to_headers": [{ "header_name": "x-user-id", "claim_name": "sub" }],
    }))
}

/// A request of a user whose token is good for a long time.
fn of(user: &str) -> RequestHead {
    get_with("/", &KEY.sign(&claims(json!({ "sub": user, "exp": START + 100_000 }))))
}

impl Gateway {
    #[track_caller]
    fn one_check(&mut self) -> Check {
        let mut checks = self.checks();
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks.remove(0)
    }

    fn fail_check(&mut self, check: Check) {
        assert!(!self.answer_check(check, 503, &[], b""));
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_verified_token_passes_at_once_and_is_asked_about_afterwards() {
    let mut gateway = gateway(json!({}));
    let head = of("alice");
    for _ in 0..10 {
        assert_eq!(gateway.forward(&head).values("x-user-id"), ["alice"]);
    }
    assert!(gateway.engine.wake_at().is_some_and(|wake_at| wake_at <= gateway.now));
    let check = gateway.one_check();
    gateway.forward(&head);
    assert_eq!(gateway.checks(), [], "it is on its way");
    gateway.confirm(check, json!({ "sub": "alice", "roles": ["admin"] }));
    gateway.forward(&head);
}

#[test]
fn a_session_in_use_is_checked_once_an_interval_and_one_that_is_not_never() {
    let mut gateway = gateway(json!({ "interval": "15s" }));
    let head = of("alice");
    gateway.forward(&head);
    gateway.advance(Duration::from_millis(1));
    let check = gateway.one_check();
    gateway.confirm(check, json!({}));
    gateway.advance(seconds(100));
    assert_eq!(gateway.checks(), [], "it has not been used since");
    gateway.forward(&head);
    let check = gateway.one_check();
    gateway.confirm(check, json!({}));
    let mut asked = 0;
    for _ in 0..60 {
        gateway.advance(seconds(1));
        gateway.forward(&head);
        for check in gateway.checks() {
            asked += 1;
            gateway.confirm(check, json!({}));
        }
    }
    assert_eq!(asked, 4);
    // The last use is checked without another one.
    gateway.advance(Duration::from_millis(1));
    gateway.forward(&head);
    let due = gateway.engine.wake_at().unwrap();
    assert!(gateway.now.until(due) <= seconds(15));
    gateway.advance(seconds(15));
    gateway.one_check();
}

#[test]
fn a_session_that_is_denied_is_refused_until_its_token_expires() {
    let mut gateway = gateway(json!({}));
    let head = get_with("/", &KEY.sign(&claims(json!({ "exp": START + 3600 }))));
    gateway.forward(&head);
    let check = gateway.one_check();
    gateway.deny(check);
    for _ in 0..36 {
        assert_eq!(gateway.refuse(&head).label(), "session_denied");
        assert_eq!(gateway.checks(), []);
        gateway.advance(seconds(100));
    }
    gateway.advance(seconds(60));
    assert_eq!(gateway.refuse(&head).label(), "expired");
    gateway.forward(&of("bob"));
}

#[test]
fn nothing_else_in_a_request_makes_another_session_of_a_token() {
    let settings = check(
        json!({ "kind": "forward_auth", "mode": "background" }),
        json!({ "request_headers": ["authorization", "x-device"] }),
    );
    let mut gateway = Gateway::with_provider(json!({ "session_check": settings }));
    let token = good_token();
    let from = |device: &str| {
        get("/", &[("authorization", format!("Bearer {token}")), ("x-device", device.to_owned())])
    };
    gateway.forward(&from("1"));
    let check = gateway.one_check();
    assert!(gateway.answer_check(check, 401, &[], b""));
    for device in ["1", "2", "3"] {
        assert_eq!(gateway.refuse(&from(device)).label(), "session_denied");
    }
}

#[test]
fn a_provider_that_is_down_changes_nothing_until_sessions_have_been_unchecked_for_too_long() {
    let mut gateway = gateway(json!({ "interval": "15s", "max_unchecked": "60s" }));
    let (known, new) = (of("alice"), of("bob"));
    gateway.forward(&known);
    let check = gateway.one_check();
    gateway.confirm(check, json!({}));
    gateway.advance(seconds(30));
    let mut failed = 0;
    for second in 30..60 {
        gateway.forward(&known);
        if second >= 50 {
            gateway.forward(&new);
        }
        for check in gateway.checks() {
            failed += 1;
            gateway.fail_check(check);
        }
        gateway.advance(seconds(1));
    }
    assert!((2..=4).contains(&failed), "{failed} checks");
    // A minute after it was confirmed the one has to wait; the other was first seen ten seconds ago.
    gateway.forward(&new);
    gateway.assert_waits(&known);
    let arrived = gateway.now;
    gateway.advance(Duration::from_millis(10));
    for check in gateway.checks() {
        gateway.fail_check(check);
    }
    let decision = gateway.decide_late(&known, arrived);
    let Decision::Refuse(rejection) = decision else { panic!("{decision:?}") };
    assert_eq!(rejection.label(), "check_unavailable");
    gateway.advance(seconds(1));
    let check = gateway.ask(&known);
    gateway.confirm(check, json!({}));
    gateway.forward(&known);
    gateway.advance(seconds(30));
    assert_eq!(gateway.forward(&known).values("x-user-id"), ["alice"], "without waiting again");
}

#[test]
fn what_is_no_token_is_asked_about_first() {
    let mut gateway = gateway(json!({}));
    let head = get_with("/", "opaque-1");
    let check = gateway.ask(&head);
    gateway.confirm(check, json!({ "sub": "bob" }));
    assert_eq!(gateway.forward(&head).values("x-user-id"), ["bob"]);
    gateway.advance(seconds(11));
    gateway.ask(&head);
}

#[test]
fn a_token_that_the_keys_refuse_is_never_asked_about() {
    let mut gateway = gateway(json!({}));
    gateway.refuse(&get_with("/", &STRANGER.sign(&claims(json!({})))));
    gateway.refuse(&get_with("/", &KEY.sign(&claims(json!({ "exp": 1 })))));
    assert_eq!(gateway.checks(), []);
    // Nor one that has expired since.
    let head = get_with("/", &KEY.sign(&claims(json!({ "exp": START + 1 }))));
    gateway.forward(&head);
    let check = gateway.one_check();
    gateway.confirm(check, json!({}));
    gateway.advance(seconds(1));
    gateway.forward(&head);
    gateway.advance(seconds(70));
    assert_eq!(gateway.checks(), []);
    assert_eq!(gateway.engine.wake_at(), None);
}

#[test]
fn an_older_denial_does_not_take_back_a_newer_confirmation() {
    let mut gateway = gateway(json!({ "interval": "1s", "max_unchecked": "5s" }));
    let head = of("alice");
    gateway.forward(&head);
    let older = gateway.one_check();
    gateway.forward(&head);
    // It counts as lost.
    gateway.advance(seconds(4));
    gateway.forward(&head);
    let newer = gateway.checks().pop().unwrap();
    gateway.confirm(newer, json!({}));
    gateway.deny(older);
    gateway.forward(&head);
}

#[test]
fn the_sessions_that_are_watched_and_remembered_are_bounded() {
    let mut gateway = gateway(json!({}));
    let revoked = of("revoked");
    gateway.forward(&revoked);
    let check = gateway.one_check();
    gateway.deny(check);
    for number in 0..1500 {
        gateway.forward(&of(&format!("user-{number}")));
        gateway.advance(Duration::from_millis(1));
        for check in gateway.checks() {
            gateway.confirm(check, json!({}));
        }
    }
    assert_eq!(gateway.refuse(&revoked).label(), "session_denied");
}

#[test]
fn an_answer_in_the_background_takes_the_place_of_none_that_is_waited_for() {
    let mut gateway = gateway(json!({ "cache_ttl": "60s" }));
    let opaque = get_with("/", "opaque-1");
    let check = gateway.ask(&opaque);
    gateway.confirm(check, json!({ "sub": "bob" }));
    for number in 0..1100 {
        gateway.forward(&of(&format!("user-{number}")));
        gateway.advance(Duration::from_millis(1));
        for check in gateway.checks() {
            gateway.confirm(check, json!({}));
        }
    }
    gateway.forward(&opaque);
}

#[test]
fn without_timers_the_request_that_finds_its_session_due_asks_and_waits() {
    let mut gateway = gateway(json!({ "interval": "15s" }));
    gateway.engine.without_timers();
    let head = of("alice");
    let mut asked = 0;
    for _ in 0..31 {
        gateway.forward(&head);
        if let Some(check) = gateway.engine.own_check(gateway.now) {
            asked += 1;
            gateway.confirm(check, json!({}));
        }
        gateway.forward(&head);
        assert_eq!(gateway.engine.own_check(gateway.now), None, "not at once again");
        gateway.advance(seconds(1));
    }
    assert!((2..=3).contains(&asked), "{asked}");
    gateway.advance(seconds(20));
    gateway.forward(&head);
    let check = gateway.engine.own_check(gateway.now).unwrap();
    gateway.deny(check);
    gateway.refuse(&head);
}

#[test]
fn the_mode_needs_keys_and_its_fields_need_the_mode() {
    let error = |provider: Value| {
        let configuration = configuration(provider);
        edge_authn::config::Config::parse(configuration.to_string().as_bytes(), &|_| None)
            .expect_err("a wrong configuration")
            .to_string()
    };
    let with = |extra: Value| introspection(extra);
    let background = with(json!({ "mode": "background" }));
    let message = error(json!({ "local_jwks": null, "session_check": background }));
    assert!(message.contains("session_check.mode"), "{message}");
    for extra in [
        json!({ "interval": "5s" }),
        json!({ "mode": "opaque", "max_unchecked": "5s" }),
        json!({ "mode": "background", "interval": "0.5s" }),
        json!({ "mode": "background", "interval": "60s", "max_unchecked": "30s" }),
        json!({ "mode": "background", "interval": null }),
    ] {
        let message = error(json!({ "session_check": with(extra) }));
        assert!(message.contains("interval") || message.contains("max_unchecked"), "{message}");
    }
}
