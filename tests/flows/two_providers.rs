//! Two providers with a key each, and tokens of theirs.

use std::sync::LazyLock;

use edge_authn::engine::Decision;
use edge_authn::request::RequestHead;
use serde_json::{Value, json};

use crate::support::{Gateway, claims};
use crate::tokens::{SigningKey, jwks};

/// The key of the provider `a`.
pub static A: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::eddsa("a"));

/// The key of the provider `b`.
pub static B: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::eddsa("b"));

/// A key that nobody knows, under the name of one that is known.
pub static FORGER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::eddsa("a"));

/// A provider that tells its subject in `header`.
pub fn provider(issuer: &str, key: &SigningKey, header: &str) -> Value {
    json!({
        "issuer": issuer,
        "local_jwks": { "inline_string": jwks([key]).to_string() },
        "claim_to_headers": [{ "header_name": header, "claim_name": "sub" }],
    })
}

/// Both providers, in the default places, with these rules.
pub fn rules(rules: Value) -> Value {
    json!({
        "providers": { "a": provider("a", &A, "x-a-sub"), "b": provider("b", &B, "x-b-sub") },
        "rules": rules,
    })
}

/// A token that names `issuer`, good for an hour, with `extra` on top.
pub fn token(key: &SigningKey, issuer: &str, extra: Value) -> String {
    let mut all = claims(extra);
    all["iss"] = json!(issuer);
    key.sign(&all)
}

pub fn of_a() -> String {
    token(&A, "a", json!({}))
}

pub fn of_b() -> String {
    token(&B, "b", json!({}))
}

/// What becomes of a request: `passes`, `waits` or the label of the refusal.
pub fn outcome(configuration: &Value, head: &RequestHead) -> &'static str {
    match Gateway::new(configuration).decide(head) {
        Decision::Forward(_) => "passes",
        Decision::Refuse(rejection) => rejection.label(),
        Decision::Await(_) => "waits",
    }
}
