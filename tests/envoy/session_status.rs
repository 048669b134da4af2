//! A real server that is asked about sessions by their names, through a gateway.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::Proxy;
use crate::scene::assert_no_vm_failure;
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{Request, SessionServer, Upstream, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_takes_all_of_its_tokens_with_it() {
    let ended: Arc<Mutex<BTreeSet<&str>>> = Arc::default();
    let known = Arc::clone(&ended);
    let server = SessionServer::start(move |asked| {
        let line = asked.line();
        let session =
            line.strip_prefix("POST /api/v1/sessions/").and_then(|rest| rest.strip_suffix("/verify/"));
        let status = match (asked.header("oneauxiliaauth"), session) {
            (Some("sk_1"), Some(session)) if known.lock().unwrap().contains(session) => 404,
            (Some("sk_1"), Some("sess_1" | "sess_2%20b")) => 200,
            _ => 500,
        };
        (status, Vec::new(), json!({ "code": status, "data": {}, "message": "text" }).to_string())
    })
    .await;
    let upstream = Upstream::start().await;
    let key = SigningKey::eddsa("k1");
    let place = server.uri("/");
    let provider = |mode: &str| {
        json!({
            "preset": "oneauxilia_rest",
            "instance": "https://idp.example",
            "api": place.trim_end_matches('/'),
            "cluster": "sessions",
            "secret_key": "sk_1",
            "algorithms": ["EdDSA"],
            "local_jwks": { "inline_string": jwks([&key]).to_string() },
            "session_check": if mode == "always" { json!({ "cache_ttl": "0.2s" }) } else { json!({ "mode": mode, "interval": "1s" }) },
        })
    };
    for mode in ["always", "background"] {
        ended.lock().unwrap().clear();
        let configuration = json!({
            "providers": { "it": provider(mode) },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "it" } }],
        });
        let proxy =
            Proxy::with_filter(configuration, &upstream).cluster("sessions", server.address()).start().await;
        let send = async |session: &str, number: u32| {
            let claims = json!({ "sub": "alice", "sid": session, "jti": format!("{number}") });
            let token = key.sign(&crate::scene::claims(claims));
            Request::get("/")
                .bearer(&token)
                .header("oneauxiliaauth", "sk_forged")
                .send(proxy.gateway())
                .await
                .status
        };
        assert_eq!(send("sess_1", 1).await, 200, "{mode}");
        let received = upstream.last_request();
        assert_eq!(
            (received.header("x-auth-user-id"), received.header("x-auth-session-id")),
            (vec![&b"alice"[..]], vec![&b"sess_1"[..]])
        );
        assert!(received.header("oneauxiliaauth").is_empty());
        assert_eq!(send("sess_2 b", 1).await, 200, "{mode}");
        assert_eq!(send("../users/1", 1).await, 401, "{mode}");
        ended.lock().unwrap().insert("sess_1");
        eventually("the session is gone", Duration::from_secs(3), async || send("sess_1", 2).await == 401)
            .await;
        assert_eq!(send("sess_1", 3).await, 401, "{mode}: one that has just been refreshed");
        assert_eq!(send("sess_2 b", 2).await, 200, "{mode}");
        let asked = server.history().pop().unwrap();
        for (name, value) in
            [("authorization", None), ("content-length", Some("0")), ("transfer-encoding", None)]
        {
            assert_eq!(asked.header(name), value, "{mode}: {name}");
        }
        assert!(!proxy.log().contains("sk_1"), "{mode}");
        assert_no_vm_failure(&proxy).await;
    }
}
