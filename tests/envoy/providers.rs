//! OneAuxilia, Authgear and Stack Auth side by side behind one gateway, by their presets.

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Proxy;
use crate::scene::{RSA, assert_no_vm_failure, now};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{JwksServer, Request, Upstream, eventually, load};

static P256: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::es256("p256"));

const PROJECT: &str = "5b4ac1c2-7ae0-4b1c-a8a1-5c0b9f2b3d4e";
const APP: &str = "https://app.example";

struct Providers {
    proxy: Proxy,
    upstream: Upstream,
    /// Of OneAuxilia, Authgear and Stack Auth, which their clusters lead to whatever the presets' URLs are.
    servers: [JwksServer; 3],
}

impl Providers {
    async fn start() -> Self {
        let servers = [
            JwksServer::start(&jwks([&*RSA])).await,
            JwksServer::start(&jwks([&*RSA])).await,
            JwksServer::start(&jwks([&*P256])).await,
        ];
        let upstream = Upstream::start().await;
        let rule = |prefix: &str, provider: &str| json!({ "match": { "prefix": prefix }, "requires": { "provider_name": provider } });
        let configuration = json!({
            "providers": {
                "oneauxilia": { "preset": "oneauxilia", "instance": "https://oneauxilia.acme.example", "cluster": "oneauxilia",
                    "authorized_parties": [APP] },
                "authgear": { "preset": "authgear", "endpoint": "https://acme.authgear.cloud", "cluster": "authgear" },
                "stack": { "preset": "stack_auth", "project_id": PROJECT, "cluster": "stack" },
            },
            "rules": [
                rule("/oneauxilia/", "oneauxilia"),
                rule("/authgear/", "authgear"),
                rule("/stack/", "stack"),
                { "match": { "path": "/open" } },
            ],
            "default": "deny",
        });
        let [oneauxilia, authgear, stack] = servers.each_ref().map(JwksServer::address);
        let proxy = Proxy::with_filter(configuration, &upstream)
            .workers(2)
            .cluster_of("oneauxilia", &["oneauxilia.acme.example:443"], oneauxilia)
            .cluster_of("authgear", &["acme.authgear.cloud:443"], authgear)
            .cluster_of("stack", &["api.stack-auth.com:443"], stack)
            .start()
            .await;
        Self { proxy, upstream, servers }
    }
}

fn session(user: &str) -> String {
    RSA.sign(&json!({ "iss": "https://oneauxilia.acme.example", "sub": user, "sid": format!("sess_{user}"), "azp": APP, "exp": now() + 300 }))
}

fn authgear(user: &str) -> String {
    let claims = json!({ "iss": "https://acme.authgear.cloud", "aud": ["https://acme.authgear.cloud"], "sub": user, "exp": now() + 300,
        "amr": ["pwd", "otp"], "https://authgear.com/claims/user/is_verified": true });
    RSA.sign_with_header(&json!({ "typ": "at+jwt" }), &claims)
}

fn stack(user: &str) -> String {
    let claims = json!({ "iss": format!("https://api.stack-auth.com/api/v1/projects/{PROJECT}"), "aud": PROJECT, "sub": user,
        "project_id": PROJECT, "branch_id": "main", "is_anonymous": false, "is_restricted": false, "exp": now() + 300 });
    P256.sign_with_header(&json!({ "typ": null }), &claims)
}

/// A way to present a credential: where, the header that tells the upstream who it is, and the request.
type Way = (&'static str, &'static str, fn(&str) -> Request);

const WAYS: [Way; 7] = [
    ("OneAuxilia, cookie", "x-auth-user-id", |user| {
        Request::get("/oneauxilia/x").header("cookie", format!("a=1; __session={}", session(user)))
    }),
    ("OneAuxilia, bearer", "x-auth-user-id", |user| Request::get("/oneauxilia/x").bearer(&session(user))),
    ("Authgear, bearer", "x-authgear-user-id", |user| Request::get("/authgear/x").bearer(&authgear(user))),
    ("Stack Auth, header", "x-auth-user-id", |user| {
        Request::get("/stack/x").header("x-stack-access-token", stack(user))
    }),
    ("Stack Auth, bearer", "x-auth-user-id", |user| Request::get("/stack/x").bearer(&stack(user))),
    ("Stack Auth, JSON", "x-auth-user-id", |user| {
        Request::get("/stack/x").header("x-stack-auth", stack_json(user))
    }),
    ("Stack Auth, JSON as bearer", "x-auth-user-id", |user| {
        Request::get("/stack/x").bearer(&format!("stackauth_{}", STANDARD.encode(stack_json(user))))
    }),
];

/// What the SDK of Stack Auth sends in one header.
fn stack_json(user: &str) -> String {
    json!({ "accessToken": stack(user), "refreshToken": "r3fr35h" }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_is_asked_for_its_keys_at_its_place_and_takes_its_tokens_alone() {
    let scene = Providers::start().await;
    if !Proxy::ACTS_BY_ITSELF {
        for (name, _, request) in WAYS {
            assert_eq!(request("alice").send(scene.proxy.gateway()).await.status, 200, "{name}");
        }
    }
    eventually("all keys are there", Duration::from_secs(10), async || {
        scene.servers.iter().all(|server| server.fetches() > 0)
    })
    .await;
    let paths = scene.servers.each_ref().map(|server| server.history()[0].path().to_owned());
    let stack_path = format!("/api/v1/projects/{PROJECT}/.well-known/jwks.json");
    assert_eq!(paths, ["/.well-known/jwks.json", "/oauth2/jwks", stack_path.as_str()]);
    let hosts = scene.servers.each_ref().map(|server| server.history()[0].header("host").map(str::to_owned));
    let expected = ["oneauxilia.acme.example", "acme.authgear.cloud", "api.stack-auth.com"];
    assert_eq!(hosts.map(Option::unwrap), expected);

    for (name, header, request) in WAYS {
        let reply = request("alice")
            .header(header, "root")
            .header("x_auth_user_id", "root")
            .send(scene.proxy.gateway())
            .await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
        let received = scene.upstream.last_request();
        assert_eq!(received.header_in_any_spelling(header), [b"alice"], "{name}");
        for spent in ["authorization", "x-stack-access-token", "x-stack-auth"] {
            assert!(received.header(spent).is_empty(), "{name}: {spent}");
        }
        assert!(
            !received
                .header("cookie")
                .iter()
                .any(|cookie| cookie.windows(9).any(|part| part == b"__session")),
            "{name}"
        );
    }
    for (path, token) in [
        ("/authgear/x", session("alice")),
        ("/stack/x", session("alice")),
        ("/oneauxilia/x", authgear("alice")),
        ("/stack/x", authgear("alice")),
        ("/oneauxilia/x", stack("alice")),
        ("/authgear/x", stack("alice")),
    ] {
        let reply = Request::get(path).bearer(&token).send(scene.proxy.gateway()).await;
        assert_eq!(reply.status, 401, "{path}");
    }
    assert_no_vm_failure(&scene.proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_the_sdks_trust_never_come_from_a_client() {
    let scene = Providers::start().await;
    let forged = [
        "x-authgear-user-roles",
        "X-Authgear-Session-Valid",
        "x_authgear_user_id",
        "x-clerk-auth-status",
        "x-stack-secret-server-key",
        "x-hexclave-override-error-status",
        "x-auth-org-role",
        "OneAuxiliaAuth",
    ];
    for (name, _, request) in WAYS {
        let request = forged.iter().fold(request("alice"), |request, name| request.header(name, "forged"));
        assert_eq!(request.send(scene.proxy.gateway()).await.status, 200, "{name}");
        let received = scene.upstream.last_request();
        for header in forged {
            assert!(
                !received.header_in_any_spelling(header).contains(&b"forged".as_slice()),
                "{name}: {header}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_travels_beside_a_token_reaches_no_backend_on_an_open_path_either() {
    let scene = Providers::start().await;
    for (name, _, request) in [WAYS[5], WAYS[6]] {
        let mut request = request("alice");
        request.path = "/open".to_owned();
        assert_eq!(request.send(scene.proxy.gateway()).await.status, 200, "{name}");
        let received = scene.upstream.last_request();
        for header in ["authorization", "x-stack-auth"] {
            assert!(received.header(header).is_empty(), "{name}: {header}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_cannot_use_the_session_cookie() {
    let scene = Providers::start().await;
    let post = |site: &str| {
        let mut request = (WAYS[0].2)("alice").header("sec-fetch-site", site);
        request.method = "POST".to_owned();
        request
    };
    assert_eq!(post("same-origin").send(scene.proxy.gateway()).await.status, 200);
    let reply = post("cross-site").send(scene.proxy.gateway()).await;
    assert_eq!((reply.status, reply.text().as_str()), (403, "The request comes from another site"));
    let mut bearer = (WAYS[1].2)("alice").header("sec-fetch-site", "cross-site");
    bearer.method = "POST".to_owned();
    assert_eq!(bearer.send(scene.proxy.gateway()).await.status, 200, "no browser adds that by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_user_is_ever_taken_for_another_whatever_the_provider_and_the_connection() {
    let scene = Providers::start().await;
    let users = ["alice", "bob", "carol"];
    let requests: Vec<_> = WAYS
        .iter()
        .flat_map(|(_, header, request)| users.map(|user| (user, *header, request(user))))
        .collect();
    let count = requests.len();
    let expected: Vec<_> = requests.iter().map(|(user, header, _)| (*user, *header)).collect();
    for connections in [1, 16] {
        let requests: Vec<_> = requests.iter().map(|(_, _, request)| request.clone()).collect();
        let replies =
            load(scene.proxy.gateway(), connections, 1500, move |index| requests[index * 7 % count].clone())
                .await;
        for (index, reply) in replies.iter().enumerate() {
            assert_eq!(reply.status, 200);
            let (user, header) = expected[index * 7 % count];
            let seen: Value = reply.json();
            let text = seen.to_string();
            let identity = json!([header, user]).to_string();
            assert!(text.contains(&identity), "{index}: no {identity} in {text}");
            for other in users.iter().filter(|other| **other != user) {
                assert!(!text.contains(other), "{index}: {other} in the request of {user}: {text}");
            }
        }
    }
}
