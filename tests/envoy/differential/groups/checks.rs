//! What is checked of claims: audience, subject, times, and in which order with the signature.

use serde_json::{Value, json};

use super::says;
use crate::differential::case::{Group, Outcome, get, passes, refused, requiring, status};
use crate::differential::world::World;
use crate::scene::now;
use crate::support::Request;

pub fn groups(world: &World) -> Vec<Group> {
    let mut groups = subjects(world);
    groups.extend([audiences(world), replaced_audiences(world), order(world)]);
    groups.extend([
        times(world),
        last_second(world),
        no_skew(world),
        small_skew(world),
        required(world),
        lifetime(world),
    ]);
    groups.extend([malformed(world), issuers(world)]);
    groups
}

fn bearer(world: &World, claims: Value) -> Request {
    get("/").bearer(&world.token_with(claims))
}

fn alice() -> Outcome {
    passes().with("x-sub", "alice")
}

fn forbidden() -> Outcome {
    status(403).saying(says::AUDIENCE)
}

fn audiences(world: &World) -> Group {
    let configuration = world.only(json!({ "audiences": ["api", "https://x.example/", "http://y.example"] }));
    let exact = ["api", "https://x.example/", "http://y.example"];
    let normalised =
        ["api/", "https://api", "http://api/", "x.example", "http://x.example", "https://y.example/"];
    let others = [
        "",
        "API",
        "ap",
        "api//",
        "HTTPS://x.example/",
        "https://x.example//",
        "https://x.example/a",
        "ftp://api",
    ];
    Group::new("audiences", configuration)
        .for_each(exact, |group, aud| group.case(aud, bearer(world, json!({ "aud": aud })), alice()))
        .for_each(normalised, |group, aud| {
            group
                .case(format!("{aud} by another spelling"), bearer(world, json!({ "aud": aud })), alice())
                .differs_by_default("audience-form", status(401))
        })
        .for_each(others, |group, aud| {
            group
                .case(format!("another one: {aud:?}"), bearer(world, json!({ "aud": aud })), forbidden())
                .differs_by_default("audience-status", status(401))
        })
        .case("a list of one", bearer(world, json!({ "aud": ["api"] })), alice())
        .case("a list with another one", bearer(world, json!({ "aud": ["other", "api"] })), alice())
        .case("a list of others", bearer(world, json!({ "aud": ["other", "another"] })), forbidden())
        .differs_by_default("audience-status", status(401))
        .case("an empty list", bearer(world, json!({ "aud": [] })), forbidden())
        .differs_by_default("audience-status", status(401))
        .case("no audience", bearer(world, json!({ "aud": null })), forbidden())
        .differs_by_default("audience-status", status(401))
}

fn replaced_audiences(world: &World) -> Group {
    let requires = json!({ "provider_and_audiences": { "provider_name": "a", "audiences": ["special"] } });
    let providers = json!({ "a": world.provider(json!({ "audiences": ["api"] })) });
    Group::new("audiences of a rule", requiring(providers, requires))
        .case("that of the rule", bearer(world, json!({ "aud": "special" })), alice())
        .case("that of the provider", bearer(world, json!({ "aud": "api" })), forbidden())
        .differs_by_default("audience-status", status(401))
        .case("both", bearer(world, json!({ "aud": ["api", "special"] })), alice())
        .case("no token", get("/"), refused(says::MISSING))
        .case(
            "an expired token",
            bearer(world, json!({ "aud": "special", "exp": 1 })),
            refused(says::EXPIRED),
        )
}

fn subjects(world: &World) -> Vec<Group> {
    let group = |name, matcher: Value, matched: &[&str], others: &[&str]| {
        Group::new(name, world.only(json!({ "subjects": matcher })))
            .for_each(matched, |group, sub| {
                group.case(
                    format!("{sub:?} matches"),
                    bearer(world, json!({ "sub": sub })),
                    passes().with("x-sub", *sub),
                )
            })
            .for_each(others, |group, sub| {
                group.case(
                    format!("{sub:?} does not match"),
                    bearer(world, json!({ "sub": sub })),
                    refused(says::FAILS),
                )
            })
            .case("no subject", bearer(world, json!({ "sub": null })), refused(says::FAILS))
    };
    vec![
        group("an exact subject", json!({ "exact": "alice" }), &["alice"], &["Alice", "alice2", "bob", ""]),
        group(
            "an exact subject without case",
            json!({ "exact": "Alice", "ignore_case": true }),
            &["alice", "ALICE"],
            &["bob"],
        ),
        group(
            "a prefix of subjects",
            json!({ "prefix": "user:" }),
            &["user:", "user:1"],
            &["USER:1", "xuser:1"],
        ),
        group(
            "a suffix of subjects",
            json!({ "suffix": "@a.example" }),
            &["x@a.example"],
            &["x@a.example.org", "x@A.example"],
        ),
        group(
            "a suffix of subjects without case",
            json!({ "suffix": "@a.example", "ignore_case": true }),
            &["x@A.example"],
            &["x@b.example"],
        ),
        group("a part of subjects", json!({ "contains": "lic" }), &["alice", "lic"], &["aLice", "li"]),
        group(
            "a part of subjects without case",
            json!({ "contains": "LIC", "ignore_case": true }),
            &["alice"],
            &["bob"],
        ),
        group(
            "a pattern of subjects",
            json!({ "safe_regex": { "regex": "spiffe://a.example/[a-z]+" } }),
            &["spiffe://a.example/api"],
            &["spiffe://a.example/api/x", "xspiffe://a.example/api", "spiffe://aXexample/API"],
        ),
    ]
}

/// Requests with tokens whose claims depend on the second in which they are sent.
fn in_second(world: &World, claims: impl Fn(u64) -> Value) -> impl Fn(u64) -> Request + 'static {
    // A busy machine may take a minute to start an Envoy.
    const SECONDS: u64 = 300;
    let start = now();
    let requests: Vec<_> = (start..start + SECONDS).map(|second| bearer(world, claims(second))).collect();
    move |second| requests[usize::try_from(second - start).unwrap()].clone()
}

/// The second in which a token expires or becomes valid with the skew.
fn last_second(world: &World) -> Group {
    Group::new("seconds", world.only(json!({})))
        .case_in_a_second(
            "expires in this second",
            in_second(world, |second| json!({ "exp": second - 60 })),
            alice(),
        )
        .differs("expiration", status(401))
        .case_in_a_second(
            "becomes valid in this second",
            in_second(world, |second| json!({ "nbf": second + 60 })),
            alice(),
        )
}

fn times(world: &World) -> Group {
    let at = |claims: Value| bearer(world, claims);
    Group::new("times", world.only(json!({ "clock_skew_seconds": 60 })))
        .case_in_a_second(
            "expired within the skew",
            in_second(world, |second| json!({ "exp": second - 30 })),
            alice(),
        )
        .case("expired beyond the skew", at(json!({ "exp": now() - 90 })), refused(says::EXPIRED))
        .case("expired long ago", at(json!({ "exp": 1 })), refused(says::EXPIRED))
        .case("valid for centuries", at(json!({ "exp": 13_569_465_600_u64 })), alice())
        .case("valid beyond the year 9999", at(json!({ "exp": 253_402_300_800_u64 })), alice())
        .differs("expiration", status(401))
        .case("no expiration", at(json!({ "exp": null })), alice())
        .differs_by_default("expiration", status(401))
        .case("an expiration of 0", at(json!({ "exp": 0 })), alice())
        .differs("expiration", status(401))
        .case("an expiration with a fraction", at(json!({ "exp": now() as f64 + 3600.5 })), alice())
        .case("an expired fraction", at(json!({ "exp": now() as f64 - 3600.5 })), refused(says::EXPIRED))
        .case("valid from a moment within the skew", at(json!({ "nbf": now() + 30 })), alice())
        .case(
            "valid from a moment beyond the skew",
            at(json!({ "nbf": now() + 900 })),
            refused(says::NOT_YET_VALID),
        )
        .case("valid since long", at(json!({ "nbf": 1 })), alice())
        .case("valid since 0", at(json!({ "nbf": 0 })), alice())
        .case(
            "valid from centuries on",
            at(json!({ "nbf": 13_569_465_600_u64 })),
            refused(says::NOT_YET_VALID),
        )
        .case(
            "not yet valid and expired",
            at(json!({ "nbf": now() + 900, "exp": now() - 90 })),
            refused(says::NOT_YET_VALID),
        )
        .differs_in_compat("reasons", refused(says::EXPIRED))
        .case("issued in the future", at(json!({ "iat": now() + 3600 })), alice())
        .case("issued long ago", at(json!({ "iat": 1 })), alice())
}

fn no_skew(world: &World) -> Group {
    Group::new("no clock skew", world.only(json!({ "clock_skew_seconds": 0 })))
        .case("valid", get("/").bearer(&world.token()), alice())
        .case_in_a_second("just expired", in_second(world, |second| json!({ "exp": second - 30 })), alice())
        .differs("expiration", status(401))
        .case("expired", bearer(world, json!({ "exp": now() - 90 })), refused(says::EXPIRED))
        .case_in_a_second(
            "not yet valid for a moment",
            in_second(world, |second| json!({ "nbf": second + 30 })),
            alice(),
        )
        .differs("expiration", status(401))
}

fn small_skew(world: &World) -> Group {
    Group::new("another clock skew", world.only(json!({ "clock_skew_seconds": 5 })))
        .case("valid", get("/").bearer(&world.token()), alice())
        .case(
            "expired within the usual skew",
            bearer(world, json!({ "exp": now() - 30 })),
            refused(says::EXPIRED),
        )
        .case_in_a_second(
            "not yet valid within the usual skew",
            in_second(world, |second| json!({ "nbf": second + 30 })),
            refused(says::NOT_YET_VALID),
        )
}

fn required(world: &World) -> Group {
    Group::new("a required expiration", world.only(json!({ "require_expiration": true })))
        .case("with one", get("/").bearer(&world.token()), alice())
        .case("without one", bearer(world, json!({ "exp": null })), refused(says::FAILS))
        .case("of 0", bearer(world, json!({ "exp": 0 })), refused(says::FAILS))
        .differs_in_compat("expiration", refused(says::EXPIRED))
        .case("expired", get("/").bearer(&world.expired_token()), refused(says::EXPIRED))
}

fn lifetime(world: &World) -> Group {
    Group::new("a longest lifetime", world.only(json!({ "max_lifetime": "600s" })))
        .case("shorter", bearer(world, json!({ "exp": now() + 300 })), alice())
        .case("longer", bearer(world, json!({ "exp": now() + 900 })), refused(says::FAILS))
        .case("issued long ago", bearer(world, json!({ "exp": now() + 300, "iat": now() - 9000 })), alice())
        .case("without an expiration", bearer(world, json!({ "exp": null })), refused(says::FAILS))
        .case_in_a_second(
            "expired within the skew",
            in_second(world, |second| json!({ "exp": second - 30 })),
            alice(),
        )
        .case("expired", get("/").bearer(&world.expired_token()), refused(says::EXPIRED))
}

/// Registered claims of the wrong type.
fn malformed(world: &World) -> Group {
    let refused_at = |claim: &str, what: &str| refused(&format!("Jwt payload [{claim}] field is not {what}"));
    Group::new("malformed claims", world.only(json!({})))
        .case("an issuer that is a number", bearer(world, json!({ "iss": 5 })), refused_at("iss", "a string"))
        .differs_in_compat("reasons", refused(says::UNKNOWN_ISSUER))
        .case("a subject that is a number", bearer(world, json!({ "sub": 5 })), refused_at("sub", "a string"))
        .case("an id that is a number", bearer(world, json!({ "jti": 5 })), refused_at("jti", "a string"))
        .case(
            "an expiration in words",
            bearer(world, json!({ "exp": "never" })),
            refused_at("exp", "an integer"),
        )
        .case(
            "an expiration as a string",
            bearer(world, json!({ "exp": (now() + 3600).to_string() })),
            refused_at("exp", "an integer"),
        )
        .case(
            "a negative expiration",
            bearer(world, json!({ "exp": -1 })),
            refused_at("exp", "a positive 64 bit integer"),
        )
        .case(
            "a huge expiration",
            bearer(world, json!({ "exp": 1e30 })),
            refused_at("exp", "a positive 64 bit integer"),
        )
        .case(
            "an expiration that is true",
            bearer(world, json!({ "exp": true })),
            refused_at("exp", "an integer"),
        )
        .case("a start as a string", bearer(world, json!({ "nbf": "1" })), refused_at("nbf", "an integer"))
        .case(
            "a negative start",
            bearer(world, json!({ "nbf": -1 })),
            refused_at("nbf", "a positive 64 bit integer"),
        )
        .case(
            "an issue time as a string",
            bearer(world, json!({ "iat": "1" })),
            refused_at("iat", "an integer"),
        )
        .case(
            "a negative issue time",
            bearer(world, json!({ "iat": -1 })),
            refused_at("iat", "a positive 64 bit integer"),
        )
        .case("an issue time with a fraction", bearer(world, json!({ "iat": 1.5 })), alice())
        .case(
            "an audience that is a number",
            bearer(world, json!({ "aud": 5 })),
            refused_at("aud", "a string or string list"),
        )
        .case(
            "an audience in a list that is a number",
            bearer(world, json!({ "aud": ["api", 5] })),
            refused_at("aud", "a string or string list"),
        )
        .case(
            "an audience that is an object",
            bearer(world, json!({ "aud": { "api": true } })),
            refused_at("aud", "a string or string list"),
        )
}

fn issuers(world: &World) -> Group {
    Group::new("issuers", world.only(json!({})))
        .case("no issuer", bearer(world, json!({ "iss": null })), refused(says::UNKNOWN_ISSUER))
        .case("an empty issuer", bearer(world, json!({ "iss": "" })), refused(says::UNKNOWN_ISSUER))
        .case(
            "a slash more",
            bearer(world, json!({ "iss": "https://a.example/" })),
            refused(says::UNKNOWN_ISSUER),
        )
        .case(
            "another case",
            bearer(world, json!({ "iss": "https://A.example" })),
            refused(says::UNKNOWN_ISSUER),
        )
        .case("the right one", get("/").bearer(&world.token()), alice())
}

/// What is said about a token with more than one fault.
fn order(world: &World) -> Group {
    let forged = |claims: Value| get("/").bearer(&world.forged_token(claims));
    Group::new(
        "several faults",
        world.only(json!({ "audiences": ["api"], "subjects": { "exact": "alice" } })),
    )
    .case("forged", forged(json!({ "sub": "alice" })), refused(says::FAILS))
    .case("forged and expired", forged(json!({ "exp": 1, "sub": "alice" })), refused(says::EXPIRED))
    .differs_in_compat("uniform-answers", refused(says::FAILS))
    .case(
        "forged and not yet valid",
        forged(json!({ "nbf": now() + 900, "sub": "alice" })),
        refused(says::NOT_YET_VALID),
    )
    .differs_in_compat("uniform-answers", refused(says::FAILS))
    .case("forged for another audience", forged(json!({ "aud": "other", "sub": "alice" })), forbidden())
    .differs("uniform-answers", status(401))
    .case("forged for another subject", forged(json!({})), refused(says::FAILS))
    .case(
        "forged from another issuer",
        forged(json!({ "iss": "https://nobody.example" })),
        refused(says::UNKNOWN_ISSUER),
    )
    .case(
        "expired and for another audience",
        bearer(world, json!({ "exp": 1, "aud": "other" })),
        refused(says::EXPIRED),
    )
    .case(
        "for another audience and another subject",
        bearer(world, json!({ "aud": "other", "sub": "bob" })),
        forbidden(),
    )
    .differs_by_default("audience-status", status(401))
    .case(
        "from another issuer and expired",
        bearer(world, json!({ "iss": "https://nobody.example", "exp": 1 })),
        refused(says::UNKNOWN_ISSUER),
    )
    .case(
        "of an unknown key and expired",
        get("/").bearer(&world.other_key.sign(&crate::differential::world::claims(
            "https://a.example",
            "alice",
            json!({ "exp": 1 }),
        ))),
        refused(says::EXPIRED),
    )
    .differs_in_compat("uniform-answers", refused(says::NO_KEY))
    .case(
        "an unknown algorithm and expired",
        get("/").bearer(&world.token_with_header(json!({ "alg": "XX" }))),
        refused(says::UNSUPPORTED),
    )
}
