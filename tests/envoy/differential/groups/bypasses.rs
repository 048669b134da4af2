//! CORS preflights, identity headers that clients send, and providers that share an issuer or have none.

use serde_json::{Value, json};

use super::requirements::any;
use super::says;
use crate::differential::case::{Group, extended, get, passes, refused, requiring, status};
use crate::differential::world::{ISSUER, OTHER_ISSUER, World, claims};
use crate::support::Request;

pub fn groups(world: &World) -> Vec<Group> {
    let mut groups = vec![preflights(world, true), preflights(world, false), forged_headers(world)];
    groups.extend([
        status_header(world),
        named_status_header(world),
        named_requirement(world),
        forgotten_fields(world),
    ]);
    groups.extend(shared_issuers(world));
    groups
}

fn preflights(world: &World, bypass: bool) -> Group {
    let configuration = extended(world.only(json!({})), json!({ "bypass_cors_preflight": bypass }));
    let options = || Request::new("OPTIONS", "/");
    let asked = "access-control-request-method";
    let preflight = || options().header("origin", "https://app.example").header(asked, "PUT");
    let let_through = |outcome| if bypass { outcome } else { refused(says::MISSING) };
    let name = if bypass { "preflights that are let through" } else { "preflights that are not let through" };
    Group::new(name, configuration)
        .case("a preflight", preflight(), let_through(passes()))
        .case(
            "a preflight with a bad token",
            preflight().bearer("junk"),
            if bypass { passes() } else { refused(says::BAD_FORM) },
        )
        .case(
            "a preflight with a good token",
            preflight().bearer(&world.token()),
            if bypass { passes().without("x-sub") } else { passes().with("x-sub", "alice") },
        )
        .case(
            "a preflight with forged identity headers",
            preflight().header("x-sub", "root"),
            let_through(passes().without("x-sub")),
        )
        .case("a null origin", options().header("origin", "null").header(asked, "PUT"), let_through(passes()))
        .case("no origin", options().header(asked, "PUT"), refused(says::MISSING))
        .case("an empty origin", options().header("origin", "").header(asked, "PUT"), refused(says::MISSING))
        .case(
            "no method asked for",
            options().header("origin", "https://app.example"),
            refused(says::MISSING),
        )
        .case(
            "an empty method asked for",
            options().header("origin", "https://app.example").header(asked, ""),
            refused(says::MISSING),
        )
        .case(
            "another method",
            get("/").header("origin", "https://app.example").header(asked, "PUT"),
            refused(says::MISSING),
        )
        .case("OPTIONS alone", options(), refused(says::MISSING))
}

/// Identity headers in every spelling, where nothing is required, something may be missing, and something is there.
fn forged_headers(world: &World) -> Group {
    let a = world.provider(json!({ "forward_payload_header": "x-payload" }));
    let configuration = json!({
        "providers": { "a": a, "b": world.other_provider(json!({})) },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "path": "/optional" }, "requires": { "allow_missing": {} } },
            { "match": { "path": "/failed" }, "requires": { "allow_missing_or_failed": {} } },
            { "match": { "path": "/b" }, "requires": { "provider_name": "b" } },
        ],
    });
    let forged = |request: Request| {
        ["X-Sub", "X-Other-Sub", "X-Payload"]
            .into_iter()
            .fold(request, |request, name| request.header(name, "root"))
    };
    let clean = || passes().without("x-sub").without("x-other-sub").without("x-payload");
    let kept = || clean().with("x_sub", "root").with("x-sub_", "root");
    let removed = || clean().without("x_sub").with("x-sub_", "root");
    let folded = |request: Request| request.header("x_sub", "root").header("x-sub_", "root");
    Group::new("forged identity headers", configuration)
        .for_each(["/open", "/optional", "/failed", "/none"], |group, path| {
            group
                .case(format!("{path}: as configured"), forged(get(path)), clean())
                .case(format!("{path}: twice"), forged(forged(get(path))), clean())
                .case(format!("{path}: with underscores"), folded(get(path)), kept())
                .differs("header-removal", removed())
        })
        .case(
            "beside a token of b",
            forged(get("/b")).bearer(&world.other_token()),
            passes().without("x-sub").with("x-other-sub", "bob").without("x-payload"),
        )
        .case(
            "with underscores beside a token of b",
            get("/b").header("x_other_sub", "root").bearer(&world.other_token()),
            passes().with("x-other-sub", "bob").with("x_other_sub", "root"),
        )
        .differs("header-removal", passes().with("x-other-sub", "bob").without("x_other_sub"))
        .case("beside a bad token", forged(get("/failed")).bearer("junk"), clean())
}

/// The header in which `extract_only_without_validation` says that a token is not to be trusted.
fn status_header(world: &World) -> Group {
    let configuration = json!({
        "providers": { "a": world.provider(json!({ "forward_payload_header": "x-payload" })) },
        "rules": [
            { "match": { "path": "/" }, "requires": { "extract_only_without_validation": {} } },
            { "match": { "path": "/strict" }, "requires": { "provider_name": "a" } },
        ],
    });
    let unverified = |name| passes().with(name, "false").without("x-sub").without("x-payload");
    let usual = "x-jwt-signature-verified";
    Group::new("the header for tokens that are not verified", configuration)
        .case("a good token", get("/").bearer(&world.token()), passes().with("x-sub", "alice").without(usual))
        .case("no token", get("/"), passes().without("x-sub").without(usual))
        .case("an expired token", get("/").bearer(&world.expired_token()), unverified(usual))
        .case("a forged token", get("/").bearer(&world.forged_token(json!({}))), unverified(usual))
        .case("a token of a stranger", get("/").bearer(&world.stranger_token()), unverified(usual))
        .case("junk", get("/").bearer("junk"), unverified(usual))
        .case(
            "a client that claims to be verified",
            get("/").header(usual, "true"),
            passes().with(usual, "true"),
        )
        .differs("header-removal", passes().without(usual))
        .case(
            "a client that claims to be verified with junk",
            get("/").header(usual, "true").bearer("junk"),
            unverified(usual),
        )
        .case(
            "a client that claims to be verified with a good token",
            get("/").header(usual, "true").bearer(&world.token()),
            passes().with("x-sub", "alice").with(usual, "true"),
        )
        .differs("header-removal", passes().with("x-sub", "alice").without(usual))
        .case(
            "a client that claims to be verified at a strict rule",
            get("/strict").header(usual, "true").bearer(&world.token()),
            passes().with(usual, "true"),
        )
        .differs("header-removal", passes().without(usual))
}

/// The same under a name that is configured.
fn named_status_header(world: &World) -> Group {
    let requirement =
        json!({ "extract_only_without_validation": { "verification_status_header": "x-status" } });
    let configuration = requiring(json!({ "a": world.provider(json!({})) }), requirement);
    let usual = "x-jwt-signature-verified";
    Group::new("the header of another name for tokens that are not verified", configuration)
        .case(
            "a good token",
            get("/").bearer(&world.token()),
            passes().with("x-sub", "alice").without("x-status").without(usual),
        )
        .case("junk", get("/").bearer("junk"), passes().with("x-status", "false").without(usual))
}

fn named_requirement(world: &World) -> Group {
    let configuration = json!({
        "providers": { "a": world.provider(json!({})), "b": world.other_provider(json!({})) },
        "requirement_map": {
            "of a": { "provider_name": "a" },
            "optional": { "requires_any": { "requirements": [{ "provider_name": "b" }, { "allow_missing": {} }] } },
        },
        "rules": [
            { "match": { "prefix": "/a" }, "requirement_name": "of a" },
            { "match": { "prefix": "/" }, "requirement_name": "optional" },
        ],
    });
    Group::new("requirements by their names", configuration)
        .case("a good token", get("/a").bearer(&world.token()), passes().with("x-sub", "alice"))
        .case("no token", get("/a"), refused(says::MISSING))
        .case("a token of b", get("/a").bearer(&world.other_token()), refused(says::UNKNOWN_ISSUER))
        .case("nothing where it may be missing", get("/"), passes())
        .case(
            "a token of b where it may be missing",
            get("/").bearer(&world.other_token()),
            passes().with("x-other-sub", "bob"),
        )
        .case(
            "a token of a where it may be missing",
            get("/").bearer(&world.token()),
            refused(says::UNKNOWN_ISSUER),
        )
}

/// Fields that decide nothing about a request.
fn forgotten_fields(world: &World) -> Group {
    let provider = world.provider(json!({
        "jwt_cache_config": { "jwt_cache_size": 10, "jwt_max_token_size": 4096 }, "clear_route_cache": true,
    }));
    let configuration = extended(
        requiring(json!({ "a": provider }), json!({ "provider_name": "a" })),
        json!({ "stat_prefix": "extra" }),
    );
    Group::new("fields that decide nothing", configuration)
        .case("a good token", get("/").bearer(&world.token()), passes().with("x-sub", "alice"))
        .case("the same token again", get("/").bearer(&world.token()), passes().with("x-sub", "alice"))
        .case("no token", get("/"), refused(says::MISSING))
        .case("an expired token", get("/").bearer(&world.expired_token()), refused(says::EXPIRED))
}

/// Not here: `allow_missing` where two providers have one issuer. Which of them `jwt_authn` takes changes from one start of
/// Envoy to the next.
fn shared_issuers(world: &World) -> Vec<Group> {
    let same = |fields: Value| extended(world.other_provider(json!({ "issuer": ISSUER })), fields);
    let of_second = || get("/").bearer(&world.other_key.sign(&claims(ISSUER, "bob", json!({}))));
    let providers = || json!({ "a": world.provider(json!({})), "b": same(json!({})) });
    let either = || any([json!({ "provider_name": "a" }), json!({ "provider_name": "b" })]);
    let nameless =
        || json!({ "a": world.provider(json!({})), "n": world.other_provider(json!({ "issuer": "" })) });
    let stranger = |issuer: &str| get("/").bearer(&world.other_key.sign(&claims(issuer, "bob", json!({}))));
    let without_issuer =
        || get("/").bearer(&world.other_key.sign(&claims("", "bob", json!({ "iss": null }))));
    vec![
        Group::new("one issuer with two keys, either", requiring(providers(), either()))
            .case("a token of the first", get("/").bearer(&world.token()), passes().with("x-sub", "alice"))
            .case("a token of the second", of_second(), passes().with("x-other-sub", "bob")),
Group::new("one issuer with two audiences", requiring(json!({
            "a": world.provider(json!({ "audiences": ["one"] })),
            "b": extended(world.provider(json!({ "audiences": ["two"] })), json!({ "claim_to_headers": [{ "header_name": "x-other-sub", "claim_name": "sub" }] })),
        }), either()))
            .case("the first", get("/").bearer(&world.token_with(json!({ "aud": "one" }))), passes().with("x-sub", "alice").without("x-other-sub"))
            .case("the second", get("/").bearer(&world.token_with(json!({ "aud": "two" }))), passes().with("x-other-sub", "alice").without("x-sub"))
            .case("both", get("/").bearer(&world.token_with(json!({ "aud": ["two", "one"] }))), passes().with("x-sub", "alice").without("x-other-sub"))
            .case("neither", get("/").bearer(&world.token_with(json!({ "aud": "three" }))), status(403).saying(says::AUDIENCE))
            .differs_by_default("audience-status", status(401)),
        Group::new("a provider without an issuer", requiring(nameless(), json!({ "provider_name": "n" })))
            .case("any issuer", stranger("https://nobody.example"), passes().with("x-other-sub", "bob"))
            .case("no issuer", without_issuer(), passes().with("x-other-sub", "bob"))
            .case("another key", get("/").bearer(&world.token()), refused(says::NO_KEY)),
        Group::new("a provider without an issuer, optional", requiring(nameless(), json!({ "allow_missing": {} })))
            .case("any issuer", stranger("https://nobody.example"), passes().with("x-other-sub", "bob"))
            .case("no issuer", without_issuer(), passes().with("x-other-sub", "bob"))
            .case("the issuer of the other provider", get("/").bearer(&world.token()), passes().with("x-sub", "alice"))
            .case("the issuer of the other provider with this key", stranger(ISSUER), refused(says::NO_KEY))
            .case("no token", get("/"), passes()),
        Group::new("a provider without an issuer, either", requiring(nameless(), any([json!({ "provider_name": "a" }), json!({ "provider_name": "n" })])))
            .case("any issuer", stranger(OTHER_ISSUER), passes().with("x-other-sub", "bob"))
            .case("the issuer of the other provider", get("/").bearer(&world.token()), passes().with("x-sub", "alice"))
            .case("the issuer of the other provider with this key", stranger(ISSUER), passes().with("x-other-sub", "bob"))
            .case("no token", get("/"), refused(says::MISSING)),
    ]
}
