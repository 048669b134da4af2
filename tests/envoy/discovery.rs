//! Key servers that are found through the metadata of their issuer (OpenID Connect Discovery 1.0, RFC 8414).

use std::time::Duration;

use serde_json::{Value, json};

use crate::Proxy;
use crate::scene::{Scene, assert_no_vm_failure, claims};
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{JwksReply, JwksServer, Request, eventually};

const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// An issuer with metadata, whose name is its address.
struct Issuer {
    name: &'static str,
    server: JwksServer,
}

impl Issuer {
    /// It has its keys, and nothing else yet.
    async fn start(name: &'static str, key: &SigningKey) -> Self {
        let server = JwksServer::start(&json!({})).await;
        server.answer_with(JwksReply::Status(404));
        server.answer_at("/jwks.json", &jwks([key]));
        Self { name, server }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn metadata(&self) -> Value {
        json!({ "issuer": self.url(), "jwks_uri": self.server.uri(), "authorization_endpoint": self.url() })
    }

    /// Whose tokens are asked for where only this issuer is known.
    fn configuration(&self) -> Value {
        let discovery =
            json!({ "issuer": self.url(), "cluster": self.name, "timeout": "2s", "cache_duration": "300s" });
        json!({
            "providers": { "p": { "audiences": ["api"], "discovery": discovery } },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "p" } }],
        })
    }

    fn request(&self, key: &SigningKey) -> Request {
        Request::get("/").bearer(&key.sign(&claims(json!({ "iss": self.url() }))))
    }

    fn asked_for(&self) -> Vec<String> {
        self.server.history().iter().map(|fetch| fetch.path().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_found_through_the_issuer_and_through_nobody_else() {
    let scene = Scene::start().await;
    let key = &scene.key;
    let key_host = JwksServer::start(&jwks([key])).await;
    let openid = Issuer::start("openid", key).await;
    openid.server.answer_at(OPENID, &openid.metadata());
    let oauth = Issuer::start("oauth", key).await;
    oauth.server.answer_at(OAUTH, &oauth.metadata());
    let another_issuer = Issuer::start("another-issuer", key).await;
    let mut metadata = another_issuer.metadata();
    metadata["issuer"] = json!(openid.url());
    another_issuer.server.answer_at(OPENID, &metadata);
    let another_host = Issuer::start("another-host", key).await;
    let mut metadata = another_host.metadata();
    metadata["jwks_uri"] = json!(key_host.uri());
    another_host.server.answer_at(OPENID, &metadata);
    let allowed_host = Issuer::start("allowed-host", key).await;
    metadata["issuer"] = json!(allowed_host.url());
    allowed_host.server.answer_at(OPENID, &metadata);
    let without_keys = Issuer::start("without-keys", key).await;
    without_keys.server.answer_at(OPENID, &json!({ "issuer": without_keys.url() }));

    let mut builder =
        Proxy::without_listeners(&scene.upstream).workers(4).cluster("key-host", key_host.address());
    for issuer in [&openid, &oauth, &another_issuer, &another_host, &allowed_host, &without_keys] {
        let mut configuration = issuer.configuration();
        if issuer.name == allowed_host.name {
            configuration["providers"]["p"]["discovery"]["jwks_hosts"] =
                json!([{ "host": key_host.address().to_string(), "cluster": "key-host" }]);
        }
        builder = builder.filter(issuer.name, configuration).cluster(issuer.name, issuer.server.address());
    }
    let proxy = builder.start().await;

    for issuer in [&openid, &oauth, &allowed_host] {
        assert_eq!(issuer.request(key).send(proxy.address(issuer.name)).await.status, 200, "{}", issuer.name);
        // Its own name is what `iss` must be.
        let stranger = Request::get("/").bearer(&scene.token());
        assert_eq!(stranger.send(proxy.address(issuer.name)).await.status, 401, "{}", issuer.name);
    }
    assert_eq!(openid.asked_for(), [OPENID, "/jwks.json"]);
    assert_eq!(oauth.asked_for(), [OPENID, OAUTH, "/jwks.json"]);
    for issuer in [&another_issuer, &another_host, &without_keys] {
        let reply = issuer.request(key).send(proxy.address(issuer.name)).await;
        assert_eq!(reply.status, 503, "{}", issuer.name);
        assert!(reply.header("retry-after").is_some(), "{}", issuer.name);
        assert!(!issuer.asked_for().contains(&"/jwks.json".to_owned()), "{}", issuer.name);
    }
    assert_eq!(key_host.fetches(), 1, "keys of another host are asked for where that is allowed alone");

    another_host.server.answer_at(OPENID, &another_host.metadata());
    let recovers =
        async || another_host.request(key).send(proxy.address(another_host.name)).await.status == 200;
    eventually("metadata that is mended is read again", Duration::from_secs(20), recovers).await;
    assert_no_vm_failure(&proxy).await;
}
