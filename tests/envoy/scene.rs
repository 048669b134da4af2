//! What most cases stand on: one provider with one key, an upstream, and a configuration that uses every kind of rule.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::Proxy;
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{JwksServer, Request, Upstream};

pub const ISSUER: &str = "https://idp.example";

/// Far more than anything here takes, for what must come but may be late on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Making one takes seconds.
pub static RSA: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::rs256("rsa"));

/// An identity provider with an Ed25519 key, and an upstream.
pub struct Scene {
    pub key: SigningKey,
    pub idp: JwksServer,
    pub upstream: Upstream,
}

impl Scene {
    pub async fn start() -> Self {
        let key = SigningKey::eddsa("k1");
        let idp = JwksServer::start(&jwks([&key])).await;
        Self { key, idp, upstream: Upstream::start().await }
    }

    /// One worker with the filter and the configuration of [`configuration`](Self::configuration).
    pub async fn proxy(&self) -> Proxy {
        self.proxy_with(json!({})).await
    }

    /// The same with `extra` fields of the provider.
    pub async fn proxy_with(&self, extra: Value) -> Proxy {
        Proxy::with_filter(self.configuration(extra), &self.upstream)
            .cluster("idp", self.idp.address())
            .start()
            .await
    }

    /// `/open` is open, `/optional` takes a missing token, everything else needs a good one.
    pub fn configuration(&self, extra: Value) -> Value {
        let mut provider = json!({
            "issuer": ISSUER,
            "audiences": ["api"],
            "remote_jwks": {
                "http_uri": { "uri": self.idp.uri(), "cluster": "idp", "timeout": "2s" },
                "cache_duration": "300s",
            },
            "claim_to_headers": [
                { "header_name": "x-user-id", "claim_name": "sub" },
                { "header_name": "x-roles", "claim_name": "roles" },
            ],
            "forward_payload_header": "x-payload",
        });
        for (name, value) in extra.as_object().into_iter().flatten() {
            provider[name] = value.clone();
        }
        json!({
            "providers": { "acme": provider },
            "realm": "acme",
            "rules": [
                { "match": { "path": "/open" } },
                { "match": { "prefix": "/optional" }, "requires": { "allow_missing": {} } },
                { "match": { "prefix": "/" }, "requires": { "provider_name": "acme" } },
            ],
        })
    }

    /// The same, with keys from `idp` behind `cluster` and `extra` fields of `remote_jwks`.
    pub fn configuration_with_keys(&self, idp: &JwksServer, cluster: &str, extra: Value) -> Value {
        let mut remote = json!({
            "http_uri": { "uri": idp.uri(), "cluster": cluster, "timeout": "2s" },
            "cache_duration": "300s",
        });
        for (name, value) in extra.as_object().into_iter().flatten() {
            remote[name] = value.clone();
        }
        self.configuration(json!({ "remote_jwks": remote }))
    }

    /// What `jwt_authn` needs to ask for the same tokens.
    pub fn native_configuration(&self, idp: &JwksServer, cluster: &str, cache_duration: &str) -> Value {
        let extra = json!({ "cache_duration": cache_duration });
        let mut configuration = self.configuration_with_keys(idp, cluster, extra);
        configuration.as_object_mut().unwrap().remove("realm");
        configuration
    }

    pub fn token(&self) -> String {
        self.key.sign(&claims(json!({})))
    }

    /// A request that must pass.
    pub fn good_request(&self, path: &str) -> Request {
        Request::get(path).bearer(&self.token())
    }
}

/// Claims that are good for an hour, with `extra` on top.
pub fn claims(extra: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "aud": "api", "sub": "alice", "exp": now() + 3600 });
    for (name, value) in extra.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    claims
}

pub fn now() -> u64 {
    since_epoch().as_secs()
}

#[expect(clippy::disallowed_methods, reason = "real gateways run in real time")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Fields of `remote_jwks` for a server that holds its answers back, so that nothing times out meanwhile.
pub fn patient(idp: &JwksServer, cluster: &str) -> Value {
    json!({ "http_uri": { "uri": idp.uri(), "cluster": cluster, "timeout": "30s" } })
}

/// Fails unless the filter never crashed in this proxy.
pub async fn assert_no_vm_failure(proxy: &Proxy) {
    let log = proxy.log();
    for sign in ["panic", "unreachable", "Wasm VM failed", "wasm_fail"] {
        assert!(!log.contains(sign), "{sign:?} in the log:\n{log}");
    }
    proxy.assert_vm_was_never_replaced().await;
}

/// A good request is answered, which a worker with a dead VM does not.
pub async fn assert_alive(scene: &Scene, address: SocketAddr) {
    assert_eq!(scene.good_request("/alive").send(address).await.status, 200);
}
