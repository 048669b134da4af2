//! The page of the demo in a real Chromium: what a person sees who signs in, is shut out, and signs out.
//!
//! A case starts the demo and a browser on its own, clicks, and reads what the page shows. `make test-browser` builds the
//! filter, finds an Envoy and a Chromium and runs them. One at a time: the demo's files have fixed names.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking, and a browser runs in real time"
)]

mod chromium;
mod demo;

use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chromium::Chromium;
use crate::demo::Demo;

/// How long an answer may count in `envoy.yaml`, the pause between two requests of the page, and what machines need.
const NOTICED_WITHIN: Duration = Duration::from_secs(6);
const SHOWN_WITHIN: Duration = Duration::from_secs(15);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The demo, and the page of it in a browser.
struct Scene {
    browser: Chromium,
    demo: Demo,
    _turn: MutexGuard<'static, ()>,
}

/// What a provider is called, and what its card shows for users, in which header.
struct Provider {
    id: &'static str,
    alice: &'static str,
    bob: &'static str,
    user_header: &'static str,
    user_of_alice: &'static str,
    revoke: &'static str,
}

const PROVIDERS: [Provider; 3] = [
    Provider {
        id: "oneauxilia",
        alice: "user_alice",
        bob: "user_bob",
        user_header: "x-auth-user-id",
        user_of_alice: "user_alice",
        revoke: "Revoke session",
    },
    Provider {
        id: "authgear",
        alice: "alice",
        bob: "bob",
        user_header: "x-authgear-user-id",
        user_of_alice: "alice",
        revoke: "Revoke session",
    },
    Provider {
        id: "stack",
        alice: "Alice (alice)",
        bob: "Bob (bob)",
        user_header: "x-auth-user-id",
        user_of_alice: "alice",
        revoke: "Delete user",
    },
];

impl Scene {
    fn start() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let demo = Demo::start();
        let mut browser = Chromium::start();
        browser.open(&format!("{}/", demo.gateway()));
        Self { browser, demo, _turn: turn }
    }

    fn text(&mut self, provider: &Provider, selector: &str) -> String {
        let selector = format!("#{} {selector}", provider.id);
        self.browser
            .evaluate(&format!("document.querySelector({selector:?})?.textContent ?? ''"))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    fn click(&mut self, provider: &Provider, action: &str) {
        self.browser.click(&format!("#{} [data-action={action:?}]", provider.id));
    }

    /// Waits until the card of a provider shows this name and this status, and gives how long it took.
    fn await_shown(&mut self, provider: &Provider, name: &str, status: &str, within: Duration) -> Duration {
        let started = Instant::now();
        loop {
            let shown = (self.text(provider, ".name"), self.text(provider, ".status"));
            if shown.0 == name && shown.1.starts_with(status) {
                return started.elapsed();
            }
            assert!(
                started.elapsed() < within,
                "{}: {name}, {status} is not shown within {within:?}, but {shown:?}",
                provider.id
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn await_nobody(&mut self, provider: &Provider, within: Duration) -> Duration {
        self.await_shown(provider, "Nobody", "401", within)
    }
}

fn report(line: &str) {
    // Nobody's failure when nobody reads it.
    let _ = writeln!(io::stdout(), "{line}");
}

#[test]
fn with_each_provider_a_person_signs_in_sees_revocation_arrive_and_signs_out() {
    let mut scene = Scene::start();
    for provider in &PROVIDERS {
        let Provider { id, alice, bob, user_header, user_of_alice, revoke } = provider;
        scene.await_nobody(provider, SHOWN_WITHIN);

        scene.click(provider, "alice");
        scene.await_shown(provider, alice, "200", SHOWN_WITHIN);
        let rows = scene.text(provider, "tbody");
        assert!(rows.contains(&format!("{user_header}{user_of_alice}")), "{id}: {rows}");
        assert!(scene.text(provider, ".status").ends_with(&format!("→ {user_header}")));

        scene.click(provider, "revoke");
        let took = scene.await_nobody(provider, NOTICED_WITHIN);
        report(&format!("{id}: a person saw revocation after {took:.1?}"));
        let challenge = scene.text(provider, ".challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{id}: {challenge}");
        let log = scene.text(provider, "ol");
        assert!(log.contains("401, Nobody, ") && log.contains(&format!("s after “{revoke}”")), "{id}: {log}");

        scene.click(provider, "bob");
        scene.await_shown(provider, bob, "200", SHOWN_WITHIN);
        scene.click(provider, "sign-out");
        scene.await_nobody(provider, SHOWN_WITHIN);
        assert_eq!(scene.text(provider, ".challenge"), "Bearer realm=\"edge-authn\"", "{id}: no credential");
    }
    scene.browser.assert_no_complaint();
}

#[test]
fn a_disabled_user_is_shut_out_and_let_in_again() {
    let mut scene = Scene::start();
    for provider in &PROVIDERS {
        let Provider { id, alice, .. } = provider;
        scene.click(provider, "alice");
        scene.await_shown(provider, alice, "200", SHOWN_WITHIN);
        scene.click(provider, "disable");
        let took = scene.await_nobody(provider, NOTICED_WITHIN);
        report(&format!("{id}: a person saw that the user is shut out after {took:.1?}"));
        scene.click(provider, "enable");
        scene.click(provider, "alice");
        scene.await_shown(provider, alice, "200", SHOWN_WITHIN);
    }
    scene.browser.assert_no_complaint();
}

#[test]
fn a_token_that_is_lost_is_fetched_anew_while_its_session_lives() {
    let mut scene = Scene::start();
    let provider = &PROVIDERS[0];
    scene.click(provider, "alice");
    scene.await_shown(provider, "user_alice", "200", SHOWN_WITHIN);
    let lose = "document.cookie = '__session=; Path=/; Max-Age=0'; document.cookie.includes('__session=')";
    assert_eq!(scene.browser.evaluate(lose), false);
    scene.await_nobody(provider, SHOWN_WITHIN);
    scene.await_shown(provider, "user_alice", "200", SHOWN_WITHIN);

    // The same without a script: the gateway sends whoever opens a page to the provider, and gets the browser back.
    assert_eq!(scene.browser.evaluate(lose), false);
    let page = format!("{}/oneauxilia/", scene.demo.gateway());
    scene.browser.open(&page);
    scene.await_shown(provider, "user_alice", "200", SHOWN_WITHIN);
    scene.browser.assert_no_complaint();
}

#[test]
fn forged_headers_and_another_users_text_never_reach_the_page() {
    let mut scene = Scene::start();
    scene.click(&PROVIDERS[2], "alice");
    scene.await_shown(&PROVIDERS[2], "Alice (alice)", "200", SHOWN_WITHIN);
    scene.browser.click("#forge");
    let sent = "window.sent = 0; const before = fetch; \
                window.fetch = (url, options) => { window.sent += options?.headers?.['x-auth-user-id'] === 'root'; \
                return before(url, options); }; true";
    assert_eq!(scene.browser.evaluate(sent), true);
    let started = Instant::now();
    while scene.browser.evaluate("window.sent").as_u64().unwrap() < 9 {
        assert!(started.elapsed() < SHOWN_WITHIN, "forged headers are not sent");
        std::thread::sleep(Duration::from_millis(100));
    }
    let page = scene.browser.evaluate("document.getElementById('cards').textContent");
    assert!(!page.as_str().unwrap().contains("root"), "{page}");
    assert_eq!(scene.text(&PROVIDERS[2], ".name"), "Alice (alice)");

    // What a backend is told may be a text of anybody's: it is shown, not run.
    let text = "<img src=x onerror=window.ran=1>";
    let hostile = format!(
        "window.fetch = async () => new Response(JSON.stringify({{ user: {text:?}, name: null, \
         user_header: {text:?}, headers: [[{text:?}, {text:?}]] }})); true"
    );
    assert_eq!(scene.browser.evaluate(&hostile), true);
    scene.await_shown(&PROVIDERS[2], text, "200", SHOWN_WITHIN);
    assert_eq!(scene.text(&PROVIDERS[2], "tbody"), format!("{text}{text}"));
    assert_eq!(scene.browser.evaluate("document.querySelectorAll('img').length + (window.ran ?? 0)"), 0);
    let inline = "const script = document.createElement('script'); script.textContent = 'window.ran = 1'; \
                  document.body.append(script); window.ran ?? 0";
    assert_eq!(scene.browser.evaluate(inline), 0, "the policy of the page lets no other script run");
}

#[test]
fn the_page_works_by_keyboard_alone() {
    let mut scene = Scene::start();
    let provider = &PROVIDERS[1];
    let focused = "document.activeElement.dataset?.action && document.activeElement.closest('section')?.id + ' ' \
                   + document.activeElement.dataset.action";
    for (wanted, shown, status) in
        [("authgear alice", "alice", "200"), ("authgear sign-out", "Nobody", "401")]
    {
        let mut steps = 0;
        while scene.browser.evaluate(focused) != wanted {
            assert!(steps < 40, "{wanted} is not reached by Tab");
            scene.browser.press("Tab", "");
            steps += 1;
        }
        let outline = "getComputedStyle(document.activeElement).outlineStyle";
        assert_eq!(scene.browser.evaluate(outline), "solid", "the focus is seen");
        scene.browser.press("Enter", "\r");
        scene.await_shown(provider, shown, status, SHOWN_WITHIN);
    }
    let unnamed = "[...document.querySelectorAll('button, input')].filter(element => \
                   !(element.textContent || element.labels?.[0]?.textContent)).length";
    assert_eq!(scene.browser.evaluate(unnamed), 0);
    if let Ok(file) = std::env::var("SCREENSHOT") {
        scene.browser.screenshot(&file);
    }
    assert!(scene.demo.is_running());
}
