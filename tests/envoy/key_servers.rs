//! What a key server may do in place of giving keys, and that it costs nobody more than it must.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Proxy;
use crate::scene::{PATIENCE, Scene, assert_no_vm_failure};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Answer, JwksReply, JwksServer, Request, Traffic, eventually, load, report, statuses};

const WORKERS: usize = 4;
/// How old what one worker knows of another's fetch may be, and some more.
pub const PICKED_UP: Duration = Duration::from_secs(3);

/// Whether this is the status on every worker, seen over so many connections that hardly one is left out.
pub async fn all_answer(listener: SocketAddr, request: &Request, status: u16) -> bool {
    let request = request.clone();
    let replies = load(listener, 32, 32, move |_| request.clone()).await;
    replies.iter().all(|reply| reply.status == status)
}

pub fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Whole seconds that a client is asked to wait, within what the longest pause between fetches allows.
pub fn assert_says_when_to_come_back(retry_after: Option<&str>) {
    let seconds = retry_after.and_then(|value| value.parse::<u64>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=64).contains(&seconds)), "{retry_after:?}");
}

/// In every bad reply that has a text, so that it would be found in an answer.
const MARK: &str = "text-of-the-key-server";

/// All that a key server can do in place of giving keys. `elsewhere` is where it redirects to.
fn bad_replies(good: &SigningKey, elsewhere: &JwksServer) -> Vec<(&'static str, JwksReply)> {
    let bytes = |document: Value| document.to_string().into_bytes();
    let document = jwks([good]);
    let secret = SigningKey::hs256(MARK, &[9; 32]);
    let odd =
        json!([null, { "kty": MARK }, { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "k1" }]);
    let many: Vec<_> = (0..129).map(|_| good.jwk()).collect();
    let page = format!("<html><title>{MARK}</title></html>").into_bytes();
    let html = || vec![("content-type", "text/html".to_owned())];
    vec![
        ("never answers", JwksReply::Never),
        ("reset", JwksReply::Reset),
        ("cut off", JwksReply::Truncated(bytes(document.clone()))),
        ("nothing", JwksReply::Body(Vec::new())),
        ("a page", JwksReply::Full(200, html(), page.clone())),
        ("a page with an error", JwksReply::Full(500, html(), page)),
        ("not found", JwksReply::Status(404)),
        ("keys with another status", JwksReply::Full(203, Vec::new(), bytes(document.clone()))),
        ("unchanged, unasked", JwksReply::Status(304)),
        ("elsewhere", JwksReply::Redirect(elsewhere.uri())),
        ("null", JwksReply::Body(b"null".to_vec())),
        ("another JSON", JwksReply::Body(bytes(json!({ "error": MARK })))),
        ("broken JSON", JwksReply::Body(bytes(document.clone())[1..].to_vec())),
        ("no keys", JwksReply::Body(bytes(jwks([])))),
        ("a shared secret", JwksReply::Body(bytes(jwks([&secret])))),
        ("odd keys", JwksReply::Body(bytes(json!({ "keys": odd })))),
        ("too many keys", JwksReply::Body(bytes(json!({ "keys": many })))),
        ("ten megabytes", {
            JwksReply::Body(bytes(json!({ "keys": [good.jwk()], "padding": "x".repeat(10 << 20) })))
        }),
    ]
}

/// A key server that misbehaves in one way, and the listener that depends on it.
struct Victim {
    name: &'static str,
    idp: JwksServer,
    /// `None`: it is gone.
    bad: Option<JwksReply>,
}

impl Victim {
    async fn start(name: &'static str, bad: Option<JwksReply>) -> Self {
        let victim = Self { name, idp: JwksServer::start(&jwks([])).await, bad };
        victim.fail().await;
        victim
    }

    async fn fail(&self) {
        match &self.bad {
            Some(bad) => self.idp.answer_with(bad.clone()),
            None => self.idp.go_down().await,
        }
    }

    fn recover(&self, key: &SigningKey) {
        self.idp.answer_with(&jwks([key]));
        if self.bad.is_none() {
            self.idp.come_back();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_key_server_does_it_costs_a_503_at_the_start_and_nothing_later() {
    const TIMEOUT: Duration = Duration::from_secs(1);
    const CACHE_DURATION: Duration = Duration::from_secs(2);

    let scene = Scene::start().await;
    let mut victims = vec![Victim::start("gone", None).await];
    for (name, bad) in bad_replies(&scene.key, &scene.idp) {
        victims.push(Victim::start(name, Some(bad)).await);
    }
    let mut builder = Proxy::without_listeners(&scene.upstream).workers(WORKERS);
    for victim in &victims {
        let remote = json!({
            "http_uri": { "uri": victim.idp.uri(), "cluster": victim.name, "timeout": "1s" },
            "cache_duration": "2s",
        });
        let configuration = scene.configuration_with_keys(&victim.idp, victim.name, remote);
        builder = builder.filter(victim.name, configuration).cluster(victim.name, victim.idp.address());
    }
    let proxy = builder.start().await;

    for Victim { name, .. } in &victims {
        let address = proxy.address(name);
        let started = Instant::now();
        let reply = scene.good_request("/").send(address).await;
        assert_eq!(reply.status, 503, "{name}");
        assert!(started.elapsed() < TIMEOUT + PICKED_UP, "{name}: {:?}", started.elapsed());
        assert_says_when_to_come_back(reply.header("retry-after"));
        assert_eq!(reply.header("www-authenticate"), None, "{name}");
        assert!(!format!("{reply:?}").contains(MARK), "{name}: {reply:?}");
        assert_eq!(Request::get("/").send(address).await.status, 401, "{name}: no token needs no keys");
    }
    assert!(proxy.log().contains("more than the 262144 allowed"), "the log says what is wrong");

    for victim in &victims {
        victim.recover(&scene.key);
    }
    for Victim { name, .. } in &victims {
        let recovers = async || all_answer(proxy.address(name), &scene.good_request("/"), 200).await;
        eventually(&format!("recovered from: {name}"), PATIENCE, recovers).await;
    }

    let users: Vec<_> = victims
        .iter()
        .map(|victim| {
            let request = scene.good_request("/user");
            Traffic::start(proxy.address(victim.name), 4, Duration::from_millis(100), move |_| {
                request.clone()
            })
        })
        .collect();
    let failing_at = Instant::now();
    for victim in &victims {
        victim.fail().await;
    }
    sleep(CACHE_DURATION + Duration::from_secs(1)).await;
    for Victim { name, idp, bad } in victims.iter().filter(|victim| victim.bad.is_some()) {
        let failed = async || idp.history().iter().filter(|fetch| fetch.at > failing_at).count() >= 2;
        eventually(&format!("refreshed in vain, {bad:?}: {name}"), PATIENCE, failed).await;
    }
    let mut served = 0;
    for (victim, users) in victims.iter().zip(users) {
        let answers = users.stop().await;
        assert_eq!(count(&answers, 200), answers.len(), "{}: {:?}", victim.name, statuses(&answers));
        served += answers.len();
    }
    report(&format!(
        "outages: | {} kinds of bad replies while keys are held: good requests served | {served} of {served} | |",
        victims.len(),
    ));
    assert_eq!(scene.idp.fetches(), 0, "no redirect is followed");
    assert_no_vm_failure(&proxy).await;
}
