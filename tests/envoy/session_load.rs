//! What becomes of sessions under load: how soon one that has ended is refused, what an identity provider that is down
//! costs its users, what checks cost those who do not wait for them, and how often an identity provider is asked.
//!
//! Each case prints its figures.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::scene::{assert_no_vm_failure, claims};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{
    Answer, Asked, Envoy, Request, SessionReply, SessionServer, Traffic, Upstream, alone, eventually, load,
    percentile, report, statuses,
};

/// How long answers of `/always` count, and the time between two checks of `/background`.
const TTL: Duration = Duration::from_secs(1);
const NEGATIVE_TTL: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(2);
/// How much later than that something may be.
const SLACK: Duration = Duration::from_secs(1);
/// The clients of one credential: how many, and how often each of them sends.
const CLIENTS: usize = 5;
const PACE: Duration = Duration::from_millis(100);

type Revoked = Arc<Mutex<BTreeSet<String>>>;

/// An identity provider, and a gateway that asks it always at `/always`, in the background at `/background`, and never
/// at `/local`.
struct Scene {
    idp: SessionServer,
    revoked: Revoked,
    key: SigningKey,
    _upstream: Upstream,
    envoy: Envoy,
}

fn introspect(asked: &Asked, revoked: &Revoked) -> SessionReply {
    let token = asked.form("token").unwrap_or_default();
    let is_active = !revoked.lock().unwrap().contains(token);
    (200, Vec::new(), json!({ "active": is_active }).to_string())
}

impl Scene {
    async fn start(workers: usize) -> Self {
        let revoked = Revoked::default();
        let known = Arc::clone(&revoked);
        let idp = SessionServer::start(move |asked| introspect(asked, &known)).await;
        let (key, upstream) = (SigningKey::eddsa("k1"), Upstream::start_forgetful().await);
        let check = |extra: Value| {
            let mut check = json!({
                "kind": "introspection",
                "http_uri": { "uri": idp.uri("/introspect"), "cluster": "sessions", "timeout": "2s" },
                "client_id": "gw",
                "client_secret": "s3cret",
            });
            for (name, value) in extra.as_object().into_iter().flatten() {
                check[name] = value.clone();
            }
            check
        };
        let always = check(json!({ "cache_ttl": seconds(TTL), "negative_ttl": seconds(NEGATIVE_TTL) }));
        let background = check(json!({ "mode": "background", "interval": seconds(INTERVAL) }));
        let keys = json!({ "inline_string": jwks([&key]).to_string() });
        let rule = |name: &str| json!({ "match": { "path": format!("/{name}") }, "requires": { "provider_name": name } });
        let configuration = json!({
            "providers": {
                "always": { "session_check": always },
                "background": { "local_jwks": keys, "session_check": background },
                "local": { "local_jwks": keys },
            },
            "rules": [rule("always"), rule("background"), rule("local")],
            "default": "deny",
        });
        let envoy = Envoy::with_filter(configuration, &upstream)
            .cluster("sessions", idp.address())
            .workers(workers)
            .start()
            .await;
        Self { idp, revoked, key, _upstream: upstream, envoy }
    }

    fn gateway(&self) -> SocketAddr {
        self.envoy.gateway()
    }

    /// A credential for `/always`, or a token for the other two.
    fn credential(&self, path: &str, user: &str) -> String {
        if path == "/always" {
            format!("session-of-{user}")
        } else {
            self.key.sign(&claims(json!({ "sub": user })))
        }
    }

    fn revoke(&self, credential: &str) {
        self.revoked.lock().unwrap().insert(credential.to_owned());
    }

    /// A user who keeps sending.
    fn traffic(&self, path: &str, credential: &str) -> Traffic {
        let request = Request::get(path).bearer(credential);
        Traffic::start(self.gateway(), CLIENTS, PACE, move |_| request.clone())
    }

    /// How often the identity provider was asked about this.
    fn questions_about(&self, credential: &str) -> usize {
        self.idp.history().iter().filter(|asked| asked.form("token") == Some(credential)).count()
    }
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// The answers to requests that were sent within this time, without those that may have been answered after it.
fn between(answers: &[Answer], from: Instant, until: Instant) -> Vec<Answer> {
    let is_within = |answer: &&Answer| from <= answer.sent && answer.sent < until - SLACK / 2;
    answers.iter().filter(is_within).cloned().collect()
}

#[track_caller]
fn assert_all(what: &str, answers: &[Answer], status: u16) {
    assert!(answers.len() > 20, "{what}: {} requests show nothing", answers.len());
    assert_eq!(
        statuses(answers).into_keys().collect::<Vec<_>>(),
        [status],
        "{what}: {:?}",
        statuses(answers)
    );
}

/// How long after `since` the last request was sent that had this status.
fn last(answers: &[Answer], status: u16, since: Instant) -> Duration {
    let such = answers.iter().filter(|answer| answer.status == status);
    such.map(|answer| answer.sent.saturating_duration_since(since)).max().unwrap_or_default()
}

/// Users whose sessions end one after the other, so that they end at different times within what an answer counts for.
const ENDING: usize = 4;
const APART: Duration = Duration::from_millis(430);

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_session_that_ends_is_refused_in_time_and_an_outage_is_felt_only_by_those_who_wait() {
    const OUTAGE: Duration = Duration::from_secs(10);

    let (scene, _alone) = (Scene::start(2).await, alone().await);
    let started = Instant::now();
    let mut ending = Vec::new();
    for (path, counts_for) in [("/always", TTL), ("/background", INTERVAL)] {
        for user in 0..ENDING {
            let credential = scene.credential(path, &format!("ending-{user}"));
            ending.push((path, counts_for, scene.traffic(path, &credential), credential));
        }
    }
    let staying = ["/always", "/background"].map(|path| scene.credential(path, "bob"));
    let users = [("/always", &staying[0]), ("/background", &staying[1])]
        .map(|(path, credential)| scene.traffic(path, credential));
    sleep(Duration::from_secs(2)).await;

    let mut ended = Vec::new();
    for user in 0..ENDING {
        for (.., credential) in ending.iter().skip(user).step_by(ENDING) {
            scene.revoke(credential);
        }
        ended.push(Instant::now());
        sleep(APART).await;
    }
    sleep(INTERVAL + SLACK * 2).await;

    let down = Instant::now();
    scene.idp.go_down().await;
    sleep(OUTAGE).await;
    let up = Instant::now();
    scene.idp.come_back();
    sleep(TTL + SLACK + Duration::from_secs(1)).await;

    let ended_last = Instant::now();
    scene.revoke(&staying[1]);
    sleep(INTERVAL + SLACK * 3).await;
    let end = Instant::now();

    // Sessions that end.
    let mut count = 0;
    let mut refused_after = [Vec::new(), Vec::new()];
    for (place, (path, counts_for, traffic, _)) in ending.into_iter().enumerate() {
        let (answers, since) = (traffic.stop().await, ended[place % ENDING]);
        assert_all(path, &between(&answers, started, since), 200);
        let after = last(&answers, 200, since);
        assert!(after < counts_for + SLACK, "{path}: still good after {after:?}");
        // Neither does it come back while nobody can say anything: what always asks has no answer then.
        let until = if path == "/always" { down } else { end };
        assert_all(path, &between(&answers, since + counts_for + SLACK, until), 401);
        count += answers.len();
        refused_after[usize::from(path == "/background")].push(after);
    }
    let [always, background] = users;
    let (always, background) = (always.stop().await, background.stop().await);
    count += always.len() + background.len();
    // The provider is down.
    assert_all("always, before", &between(&always, started, down), 200);
    assert_all("always, once answers have run out", &between(&always, down + TTL + SLACK, up), 503);
    assert_all("background, before, during and after", &between(&background, started, ended_last), 200);
    // It is back.
    assert_all("always, again", &between(&always, up + SLACK, end), 200);
    assert_all("background, again", &between(&background, ended_last + INTERVAL + SLACK, end), 401);

    report(&format!(
        "sessions: {:.0} requests/s; the last good answers after {ENDING} sessions ended: always {:.1?} (ttl {TTL:?}), \
         background {:.1?} (interval {INTERVAL:?})",
        count as f64 / (end - started).as_secs_f64(),
        refused_after[0],
        refused_after[1],
    ));
    report(&format!(
        "sessions: provider down for {OUTAGE:?}: always {:?}, background {:?}; the last 503 came {:.1?} after it was back, and \
         background refused what ended then after {:.1?}",
        statuses(&between(&always, down, up)),
        statuses(&between(&background, down, up)),
        last(&always, 503, up),
        last(&background, 200, ended_last),
    ));
    assert_no_vm_failure(&scene.envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_checks_in_the_background_cost_their_users_next_to_nothing() {
    const ROUNDS: usize = 8;
    const ROUND: Duration = Duration::from_millis(700);
    const USERS: usize = 20;

    let (scene, _alone) = (Scene::start(2).await, alone().await);
    scene.idp.answer_after(Duration::from_millis(50));
    let tokens: Arc<Vec<_>> =
        Arc::new((0..USERS).map(|user| scene.credential("/local", &format!("user-{user}"))).collect());
    let measure = async |path: &'static str| {
        let tokens = Arc::clone(&tokens);
        let build = move |index: usize| Request::get(path).bearer(&tokens[index % USERS]);
        let traffic = Traffic::start(scene.gateway(), 10, Duration::from_millis(20), build);
        sleep(ROUND).await;
        traffic.stop().await
    };
    let _warm_up = (measure("/local").await, measure("/background").await);
    let (mut local, mut background) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        if round % 2 == 0 {
            local.extend(measure("/local").await);
            background.extend(measure("/background").await);
        } else {
            background.extend(measure("/background").await);
            local.extend(measure("/local").await);
        }
    }
    assert_all("local", &local, 200);
    assert_all("background", &background, 200);
    let checks = scene.idp.questions();
    assert!(checks >= USERS * 2, "{checks} checks are too few to cost anything");
    let ratio =
        |percent| percentile(&background, percent).as_secs_f64() / percentile(&local, percent).as_secs_f64();
    report(&format!(
        "sessions: {} requests by keys alone: p50 {:?}, p99 {:?}; {} in the background, {checks} checks: p50 {:?}, p99 {:?}; \
         ratios {:.2} and {:.2}",
        local.len(),
        percentile(&local, 50),
        percentile(&local, 99),
        background.len(),
        percentile(&background, 50),
        percentile(&background, 99),
        ratio(50),
        ratio(99),
    ));
    assert!(ratio(50) < 1.5, "p50 is {} times what it is without checks", ratio(50));
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_the_provider_is_asked_as_often_as_the_times_allow_and_no_more() {
    const WORKERS: usize = 4;
    const DURATION: Duration = Duration::from_secs(6);

    let (scene, _alone) = (Scene::start(WORKERS).await, alone().await);
    // What is asked about, how long an answer counts, and what the users get.
    let mut cases = Vec::new();
    for (what, path, counts_for, status) in [
        ("always, good", "/always", Some(TTL), 200),
        ("always, denied", "/always", Some(NEGATIVE_TTL), 401),
        ("background, good", "/background", Some(INTERVAL), 200),
        ("background, denied", "/background", None, 401),
    ] {
        let credential = scene.credential(path, &what.replace(", ", "-"));
        if status == 401 {
            scene.revoke(&credential);
        }
        cases.push((what, path, credential, counts_for, status));
    }

    let started = Instant::now();
    let traffics: Vec<_> = cases
        .iter()
        .map(|(_, path, credential, ..)| {
            let request = Request::get(path).bearer(credential);
            Traffic::start(scene.gateway(), 24, Duration::from_millis(100), move |_| request.clone())
        })
        .collect();
    sleep(DURATION).await;
    let mut answers = Vec::new();
    for traffic in traffics {
        answers.push(traffic.stop().await);
    }
    let took = started.elapsed();

    for ((what, _, credential, counts_for, status), answers) in cases.iter().zip(&answers) {
        let questions = scene.questions_about(credential);
        let (fewest, most) = match counts_for {
            Some(ttl) => {
                let rounds = |ttl: Duration| (took.as_secs_f64() / ttl.as_secs_f64()) as usize;
                // Each worker that has a client asks at its first request, and then when one comes after that time.
                (2 * rounds(*ttl + SLACK / 2), WORKERS * (rounds(*ttl) + 1))
            }
            // A session that is gone is never asked about again.
            None => (1, WORKERS),
        };
        assert!((fewest..=most).contains(&questions), "{what}: {questions} are not {fewest} to {most}");
        // The first requests pass before the provider has said anything.
        let settled = if counts_for.is_none() { started + SLACK } else { started };
        assert_all(what, &between(answers, settled, started + took), *status);
        report(&format!(
            "sessions: {what}: {questions} questions for {} requests in {took:.1?}, {fewest} to {most} allowed to {WORKERS} \
             workers",
            answers.len()
        ));
    }
    assert_no_vm_failure(&scene.envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_one_cold_credential_is_one_question_for_each_worker() {
    const WORKERS: usize = 4;

    let (scene, _alone) = (Scene::start(WORKERS).await, alone().await);
    scene.idp.answer_after(Duration::from_millis(300));
    for (path, waits) in [("/always", true), ("/background", false)] {
        for burst in 0..3 {
            let credential = scene.credential(path, &format!("user-{burst}"));
            let request = Request::get(path).bearer(&credential);
            let replies = load(scene.gateway(), 64, 64, move |_| request.clone()).await;
            assert!(replies.iter().all(|reply| reply.status == 200), "{path}");
            if !waits {
                eventually("it is asked about", Duration::from_secs(5), async || {
                    scene.questions_about(&credential) > 0
                })
                .await;
                sleep(Duration::from_millis(400)).await;
            }
            let questions = scene.questions_about(&credential);
            assert!((1..=WORKERS).contains(&questions), "{path}: {questions} questions");
        }
    }
    report(&format!(
        "sessions: 6 bursts of 64 requests over 64 connections: {} questions",
        scene.idp.questions()
    ));
}
