//! Two users with credentials of every kind, interleaved on shared connections: nobody is ever taken for another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Proxy;
use crate::scene::{ISSUER, assert_no_vm_failure, claims, now};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{
    Asked, Lane, Reply, Request, SessionReply, SessionServer, Upstream, alone, report, send_all,
};

const WORKERS: usize = if Proxy::ACTS_BY_ITSELF { 4 } else { 1 };
/// Over one HTTP/1.1 connection, over the streams of one HTTP/2 connection, and over many connections of both.
const REQUESTS: [usize; 3] = [5_000, 35_000, 60_000];
const USERS: [&str; 2] = ["alice", "bob"];
/// How many different credentials of each sort there are.
const CREDENTIALS: usize = 4;
/// Short enough for answers to run out all the time.
const TTL: &str = "1s";

/// Where each kind of credential is wanted, and the header that then says who it is of.
const KINDS: [(&str, &str); 6] = [
    ("jwt", "x-jwt-user"),
    ("always", "x-always-user"),
    ("background", "x-background-user"),
    ("opaque", "x-opaque-user"),
    ("cookie", "x-cookie-user"),
    ("stack", "x-auth-user-id"),
];

/// What comes with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Presented {
    Good,
    /// A token that has expired or a session that is over.
    Over,
    /// What nobody has issued.
    Forged,
    Nothing,
    /// A good credential where none is needed.
    GoodAtOptional,
    /// Nothing where nothing is needed.
    NothingAtOptional,
    /// A good credential where nobody looks.
    GoodAtOpen,
}

/// Every request there is, from its index alone.
struct Plan {
    /// By kind, user and number: good ones, those that are over, and forged ones.
    credentials: Vec<[[Vec<String>; 3]; 2]>,
}

impl Plan {
    fn new(key: &SigningKey) -> Self {
        let forger = secret(b'f');
        let credential = |kind: &str, user: &str, sort: usize, number: usize| {
            let is_signed = matches!(kind, "jwt" | "always" | "background");
            let expires = if sort == 1 { now() - 3600 } else { now() + 3600 };
            let claims = claims(json!({ "sub": user, "jti": number.to_string(), "exp": expires }));
            match (is_signed, sort) {
                (true, 2) => forger.sign(&claims),
                (true, _) => key.sign(&claims),
                (false, 0) => format!("session-{number}-of-{user}"),
                (false, 1) => format!("over-{number}-of-{user}"),
                (false, _) => format!("forged-{number}-{user}"),
            }
        };
        let of_kind = |kind: &str| {
            USERS.map(|user| {
                [0, 1, 2]
                    .map(|sort| (0..CREDENTIALS).map(|number| credential(kind, user, sort, number)).collect())
            })
        };
        Self { credentials: KINDS.iter().map(|(kind, _)| of_kind(kind)).collect() }
    }

    /// Kind, user, number and what is presented; neighbours differ in all of them.
    fn case(index: usize) -> (usize, usize, usize, Presented) {
        let mixed = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
        let presented = match mixed % 16 {
            0 => Presented::Over,
            1 => Presented::Forged,
            2 => Presented::Nothing,
            3 | 4 => Presented::GoodAtOptional,
            5 => Presented::NothingAtOptional,
            6 => Presented::GoodAtOpen,
            _ => Presented::Good,
        };
        ((mixed >> 4) % KINDS.len(), (mixed >> 12) % USERS.len(), (mixed >> 16) % CREDENTIALS, presented)
    }

    fn path(index: usize) -> String {
        let (kind, .., presented) = Self::case(index);
        let start = match presented {
            Presented::GoodAtOptional | Presented::NothingAtOptional => "/optional",
            Presented::GoodAtOpen => "/open",
            _ => "",
        };
        format!("{start}/{}/{index}", KINDS[kind].0)
    }

    /// With the name of the other user wherever the upstream could look for it.
    fn request(&self, index: usize) -> Request {
        let (kind, user, number, presented) = Self::case(index);
        let other = USERS[1 - user];
        let (header, next) = (KINDS[kind].1, KINDS[(kind + 1) % KINDS.len()].1);
        let mut request = Request::get(&Self::path(index));
        for name in [header, &header.replace('-', "_"), next] {
            request = request.header(name, other);
        }
        let sort = match presented {
            Presented::Nothing | Presented::NothingAtOptional => return request,
            Presented::Over => 1,
            Presented::Forged => 2,
            Presented::Good | Presented::GoodAtOptional | Presented::GoodAtOpen => 0,
        };
        let credential = &self.credentials[kind][user][sort][number];
        match KINDS[kind].0 {
            "cookie" => request.header("cookie", format!("a=1; sid={credential}; b=2")),
            "stack" => request.header("x-stack-access-token", credential),
            _ => request.bearer(credential),
        }
    }

    /// The identity of this very request, or none.
    fn look(index: usize, reply: &Reply) {
        let (kind, user, _, presented) = Self::case(index);
        let about = || format!("request {index}, {presented:?} at {}: {reply:?}", KINDS[kind].0);
        let expected = match presented {
            Presented::Over | Presented::Forged | Presented::Nothing => {
                assert_eq!(reply.status, 401, "{}", about());
                assert_eq!(reply.header("cache-control"), Some("no-store"), "{}", about());
                return;
            }
            Presented::Good | Presented::GoodAtOptional => {
                vec![format!("[\"{}\",\"{}\"]", KINDS[kind].1, USERS[user])]
            }
            Presented::NothingAtOptional | Presented::GoodAtOpen => vec![],
        };
        assert_eq!(reply.status, 200, "{}", about());
        let seen = str::from_utf8(&reply.body).unwrap();
        let path = format!("\"path\": \"{}\"", Self::path(index));
        assert!(seen.contains(&path), "an answer to another request: {}", about());
        // One header a line.
        let lines = seen.lines().map(|line| line.trim_matches([' ', ',']));
        let is_identity = |line: &&str| {
            let name = line.strip_prefix("[\"").and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let name = name.replace('_', "-");
            KINDS.iter().any(|(_, header)| name == *header)
        };
        let identities: Vec<_> = lines.filter(is_identity).collect();
        assert_eq!(identities, expected, "{}", about());
    }
}

/// A shared secret: the cheapest signature there is, since it is not the arithmetic that this is about.
fn secret(byte: u8) -> SigningKey {
    SigningKey::hs256("k1", &[byte; 32])
}

/// `session-<number>-of-<user>`
fn user_of(session: &str) -> Option<&str> {
    session.strip_prefix("session-").and_then(|rest| rest.split_once("-of-")).map(|(_, user)| user)
}

/// Introspection, a resolver of cookies and a REST API in one, told apart by their paths.
fn answer(asked: &Asked, subjects: &[(String, String)]) -> SessionReply {
    match asked.line() {
        "POST /introspect" => {
            let token = asked.form("token").unwrap_or_default();
            let signed = subjects.iter().find(|(known, _)| known == token).map(|(_, user)| user.as_str());
            let body = match signed.or_else(|| user_of(token)) {
                Some(user) => json!({ "active": true, "sub": user }),
                None => json!({ "active": false }),
            };
            (200, Vec::new(), body.to_string())
        }
        "GET /resolve" => match asked.cookie("sid").and_then(user_of) {
            Some(user) => (200, vec![("x-session-user", user.to_owned())], String::new()),
            None => (401, Vec::new(), String::new()),
        },
        "GET /api/v1/users/me" => {
            match (
                asked.header("x-stack-secret-server-key"),
                asked.header("x-stack-access-token").and_then(user_of),
            ) {
                (Some("ssk"), Some(user)) => (200, Vec::new(), json!({ "id": user }).to_string()),
                _ => (401, Vec::new(), json!({ "code": "UNPARSABLE_ACCESS_TOKEN" }).to_string()),
            }
        }
        line => panic!("nobody asks {line}"),
    }
}

fn configuration(idp: &SessionServer, key: &SigningKey) -> Value {
    let introspection = |mode: &str| {
        json!({
            "kind": "introspection", "mode": mode, "client_id": "gw", "client_secret": "s3cret",
            "http_uri": { "uri": idp.uri("/introspect"), "cluster": "idp", "timeout": "10s" },
            "cache_ttl": TTL, "negative_ttl": TTL,
        })
    };
    let signed = |mut extra: Value| {
        extra["issuer"] = json!(ISSUER);
        extra["local_jwks"] = json!({ "inline_string": jwks([key]).to_string() });
        extra
    };
    let mut background = introspection("background");
    background["interval"] = json!("1s");
    let mut providers = json!({
        "jwt": signed(json!({})),
        "always": signed(json!({ "session_check": introspection("always") })),
        "background": signed(json!({ "session_check": background })),
        "opaque": { "session_check": introspection("always") },
        "cookie": {
            "from_cookies": ["sid"],
            "session_check": {
                "kind": "forward_auth", "cookies": ["sid"], "cache_ttl": TTL, "negative_ttl": TTL,
                "http_uri": { "uri": idp.uri("/resolve"), "cluster": "idp", "timeout": "10s" },
                "claims_from_headers": [{ "header": "x-session-user", "claim": "sub" }],
            },
        },
    });
    for (kind, header) in KINDS {
        if let Some(provider) = providers.get_mut(kind) {
            provider["claim_to_headers"] = json!([{ "header_name": header, "claim_name": "sub" }]);
        }
    }
    providers["stack"] = json!({ "preset": "stack_auth_rest", "project_id": "p", "secret_key": { "environment_variable": "KEY" }, "cluster": "idp" });
    let mut rules = vec![json!({ "match": { "prefix": "/open/" } })];
    for (kind, _) in KINDS {
        let named = json!({ "provider_name": kind });
        let optional = json!({ "requires_any": { "requirements": [named, { "allow_missing": {} }] } });
        rules.push(json!({ "match": { "prefix": format!("/optional/{kind}/") }, "requires": optional }));
        rules.push(json!({ "match": { "prefix": format!("/{kind}/") }, "requires": named }));
    }
    json!({ "providers": providers, "rules": rules, "default": "deny" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_requests_of_two_users_with_every_kind_of_credential_are_never_mixed_up() {
    let key = secret(b'k');
    let plan = Arc::new(Plan::new(&key));
    let tokens = |user: usize| plan.credentials.iter().take(3).flat_map(move |kind| &kind[user][0]);
    let subjects: Vec<_> = [0, 1]
        .into_iter()
        .flat_map(|user| tokens(user).map(move |token| (token.clone(), USERS[user].to_owned())))
        .collect();
    let idp = SessionServer::start(move |asked| answer(asked, &subjects)).await;
    idp.answer_after(Duration::from_millis(5));
    let upstream = Upstream::start_forgetful().await;
    let proxy = Proxy::with_filter(configuration(&idp, &key), &upstream)
        .cluster_of("idp", &["api.stack-auth.com:443"], idp.address())
        .workers(WORKERS)
        .environment("KEY", "ssk")
        .start()
        .await;

    let _alone = alone().await;
    let gateway = proxy.gateway();
    let ways = ways(gateway).await;
    let looked_at = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut first = 0;
    let mut sending = tokio::task::JoinSet::new();
    for (lanes, count) in ways.into_iter().zip(REQUESTS) {
        let (plan, looked_at) = (Arc::clone(&plan), Arc::clone(&looked_at));
        let indices = first..first + count;
        first += count;
        sending.spawn(async move {
            let look = move |index: usize, reply: &Reply| {
                Plan::look(index, reply);
                looked_at.fetch_add(1, Ordering::Relaxed);
            };
            send_all(gateway, lanes, indices, move |index| plan.request(index), look).await;
            started.elapsed()
        });
    }
    let mut times = sending.join_all().await;
    times.sort();
    let took = started.elapsed();
    let count: usize = REQUESTS.iter().sum();
    assert_eq!(looked_at.load(Ordering::Relaxed), count);
    assert_eq!(upstream.arrived(), passing(count));
    report(&format!(
        "sessions: {count} requests of two users with six kinds of credentials on {WORKERS} workers in {took:.1?} \
         ({:.0}/s; the ways took {times:.1?}), {} questions",
        count as f64 / took.as_secs_f64(),
        idp.questions(),
    ));
    assert!(idp.questions() > 500, "answers ran out all the time");
    assert_no_vm_failure(&proxy).await;
}

/// For as many requests each as [`REQUESTS`] says. Where there is no HTTP/2, there are connections in place of streams.
async fn ways(gateway: SocketAddr) -> [Vec<Lane>; 3] {
    let mut many = Lane::connections(gateway, 32).await;
    if !Proxy::SPEAKS_HTTP2 {
        return [Lane::connections(gateway, 1).await, Lane::connections(gateway, 64).await, many];
    }
    for _ in 0..8 {
        many.extend(Lane::streams(gateway, 4).await);
    }
    [Lane::connections(gateway, 1).await, Lane::streams(gateway, 64).await, many]
}

/// How many of the first requests reach the upstream.
fn passing(count: usize) -> usize {
    let is_refused =
        |presented| matches!(presented, Presented::Over | Presented::Forged | Presented::Nothing);
    (0..count).filter(|index| !is_refused(Plan::case(*index).3)).count()
}
