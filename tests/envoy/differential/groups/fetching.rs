//! Keys that are fetched, or cannot be.

use serde_json::json;

use super::says;
use crate::differential::case::{Group, get, passes, refused, requiring, status};
use crate::differential::world::{ISSUER, World, claims};

pub fn groups(world: &World) -> Vec<Group> {
    let requires = || json!({ "provider_name": "a" });
    let remote = |cluster: &str, timeout: &str| json!({ "a": world.remote_provider(cluster, timeout) });
    let good = || get("/").bearer(&world.token());
    let secret = world.secret.sign(&claims(ISSUER, "alice", json!({})));
    let mut groups = vec![
        Group::new("fetched keys", requiring(remote("keys", "5s"), requires()))
            .case("a good token", good(), passes().with("x-sub", "alice"))
            .case("no token", get("/"), refused(says::MISSING))
            .case("an expired token", get("/").bearer(&world.expired_token()), refused(says::EXPIRED))
            .case("a forged token", get("/").bearer(&world.forged_token(json!({}))), refused(says::FAILS))
            .case(
                "a token of another key",
                get("/").bearer(&world.token_with_header(json!({ "kid": "k9" }))),
                refused(says::NO_KEY),
            ),
    ];
    for (name, cluster, timeout) in [
        ("an error of the key server", "keys-error", "5s"),
        ("an empty document", "keys-empty", "5s"),
        ("a document of junk", "keys-junk", "5s"),
        ("a document without keys", "keys-none", "5s"),
        ("a redirect of the key server", "keys-moved", "5s"),
        ("a reset connection", "keys-reset", "5s"),
        ("a silent key server", "keys-silent", "0.2s"),
        ("an unknown cluster", "nowhere", "5s"),
    ] {
        groups.push(
            Group::new(name, requiring(remote(cluster, timeout), requires()))
                .case("a good token", good(), refused(says::FETCH))
                .differs_by_default("fetch-failure", status(503))
                .case("no token", get("/"), refused(says::MISSING))
                .case("junk", get("/").bearer("junk"), refused(says::BAD_FORM))
                .case("an expired token", get("/").bearer(&world.expired_token()), refused(says::EXPIRED))
                .differs_by_default("fetch-failure", status(503))
                .differs_in_compat("uniform-answers", refused(says::FETCH))
                .case(
                    "a token of a stranger",
                    get("/").bearer(&world.stranger_token()),
                    refused(says::UNKNOWN_ISSUER),
                ),
        );
    }
    groups.push(
        Group::new("a published secret", requiring(remote("keys-secret", "5s"), requires()))
            .case("a token signed with it", get("/").bearer(&secret), passes().with("x-sub", "alice"))
            .differs("published-secret", status(401))
            .case("a token of the key beside it", good(), passes().with("x-sub", "alice")),
    );
    groups
}
