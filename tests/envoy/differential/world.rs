//! Who issues tokens: two identity providers, a forger, and servers of keys that answer well or badly.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::case::{extended, requiring};
use crate::scene::now;
use crate::support::tokens::{SigningKey, jwks};
use crate::support::{JwksReply, JwksServer};

pub const ISSUER: &str = "https://a.example";
pub const OTHER_ISSUER: &str = "https://b.example";

pub struct World {
    pub key: SigningKey,
    pub other_key: SigningKey,
    /// A shared secret that a key server publishes.
    pub secret: SigningKey,
    forger: SigningKey,
    /// By the names of their clusters.
    servers: Vec<(&'static str, JwksServer)>,
}

impl World {
    pub async fn start() -> Self {
        let key = SigningKey::eddsa("k1");
        let secret = SigningKey::hs256("shared", b"a secret of exactly 32 bytes, ok");
        let document = jwks([&key]);
        let with_secret = jwks([&key, &secret]).to_string().into_bytes();
        let mut servers = Vec::new();
        for (cluster, reply) in [
            ("keys", None),
            ("keys-error", Some(JwksReply::Status(500))),
            ("keys-empty", Some(JwksReply::Status(200))),
            ("keys-junk", Some(JwksReply::Body(b"<html>".to_vec()))),
            ("keys-none", Some(JwksReply::Body(b"{\"keys\":[]}".to_vec()))),
            ("keys-secret", Some(JwksReply::Body(with_secret))),
            ("keys-moved", Some(JwksReply::Redirect("/elsewhere".to_owned()))),
            ("keys-reset", Some(JwksReply::Reset)),
            ("keys-silent", Some(JwksReply::Never)),
        ] {
            let server = JwksServer::start(&document).await;
            if let Some(reply) = reply {
                server.answer_with(reply);
            }
            servers.push((cluster, server));
        }
        let (other_key, forger) = (SigningKey::eddsa("k2"), SigningKey::eddsa("k1"));
        Self { key, other_key, secret, forger, servers }
    }

    /// The clusters that providers can name.
    pub fn clusters(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.servers.iter().map(|(name, server)| (*name, server.address()))
    }

    /// The provider of [`ISSUER`], with `extra` fields. `sub` goes to `x-sub`.
    pub fn provider(&self, extra: Value) -> Value {
        let provider = json!({
            "issuer": ISSUER,
            "local_jwks": local(&jwks([&self.key])),
            "claim_to_headers": [{ "header_name": "x-sub", "claim_name": "sub" }],
        });
        extended(provider, extra)
    }

    /// A configuration that needs a token of the provider of [`ISSUER`], which has `extra` fields.
    pub fn only(&self, extra: Value) -> Value {
        requiring(json!({ "a": self.provider(extra) }), json!({ "provider_name": "a" }))
    }

    /// The provider of [`OTHER_ISSUER`], with `extra` fields. `sub` goes to `x-other-sub`.
    pub fn other_provider(&self, extra: Value) -> Value {
        let provider = json!({
            "issuer": OTHER_ISSUER,
            "local_jwks": local(&jwks([&self.other_key])),
            "claim_to_headers": [{ "header_name": "x-other-sub", "claim_name": "sub" }],
        });
        extended(provider, extra)
    }

    /// The provider of [`ISSUER`] with its keys on a server.
    pub fn remote_provider(&self, cluster: &str, timeout: &str) -> Value {
        let mut provider = self.provider(json!({
            "remote_jwks": {
                "http_uri": { "uri": "http://keys.example/jwks.json", "cluster": cluster, "timeout": timeout },
                "cache_duration": "300s",
            },
        }));
        provider.as_object_mut().unwrap().remove("local_jwks");
        provider
    }

    /// A good token of alice at [`ISSUER`].
    pub fn token(&self) -> String {
        self.token_with(json!({}))
    }

    /// The same with claims added or replaced, or left out when they are `null`.
    pub fn token_with(&self, claims: Value) -> String {
        self.key.sign(&self::claims(ISSUER, "alice", claims))
    }

    /// A good token of alice with members of the header added or replaced, or left out when they are `null`.
    pub fn token_with_header(&self, header: Value) -> String {
        self.key.sign_with_header(&header, &claims(ISSUER, "alice", json!({})))
    }

    /// A good token of bob at [`OTHER_ISSUER`].
    pub fn other_token(&self) -> String {
        self.other_key.sign(&claims(OTHER_ISSUER, "bob", json!({})))
    }

    /// A token of an issuer that nobody knows.
    pub fn stranger_token(&self) -> String {
        self.forger.sign(&claims("https://nobody.example", "mallory", json!({})))
    }

    /// Like [`token_with`](Self::token_with), but signed by a forger who claims to have the same key.
    pub fn forged_token(&self, claims: Value) -> String {
        self.forger.sign(&self::claims(ISSUER, "mallory", claims))
    }

    pub fn expired_token(&self) -> String {
        self.token_with(json!({ "exp": now() - 3600 }))
    }
}

/// A key set as `local_jwks`.
pub fn local(jwks: &Value) -> Value {
    json!({ "inline_string": jwks.to_string() })
}

/// Claims that are good for an hour, with `extra` on top, of which `null` leaves one out.
pub fn claims(issuer: &str, subject: &str, extra: Value) -> Value {
    let base = json!({ "iss": issuer, "sub": subject, "aud": "api", "exp": now() + 3600 });
    let mut claims = extended(base, extra);
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}
