//! Which rule speaks for a request.

use serde_json::{Value, json};

use super::says;
use crate::differential::case::{Group, extended, get, passes, refused, status};
use crate::differential::world::World;
use crate::support::Request;

pub fn groups(world: &World) -> Vec<Group> {
    let mut groups = paths(world);
    groups.extend([order(world), headers(world), parameters(world), hostile_paths(world), unmatched(world)]);
    groups
}

/// Rules that need a token.
fn strict(world: &World, matches: &[Value]) -> Value {
    let rules: Vec<_> = matches
        .iter()
        .map(|matches| json!({ "match": matches, "requires": { "provider_name": "a" } }))
        .collect();
    json!({ "providers": { "a": world.provider(json!({})) }, "rules": rules })
}

/// A rule that needs a token: whether it matches is seen by what becomes of requests without one.
fn matching(world: &World, name: &'static str, matches: Value, matched: &[&str], others: &[&str]) -> Group {
    Group::new(name, strict(world, &[matches]))
        .for_each(matched, |group, path| {
            group.case(format!("{path} matches"), get(path), refused(says::MISSING))
        })
        .for_each(others, |group, path| {
            group.case(format!("{path} does not match"), get(path), passes().path(path))
        })
}

fn paths(world: &World) -> Vec<Group> {
    let template = |template: &str| {
        json!({
            "name": "envoy.path.match.uri_template.uri_template_matcher",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                "path_template": template,
            },
        })
    };
    vec![
        matching(
            world,
            "a prefix",
            json!({ "prefix": "/api" }),
            &["/api", "/api?x", "/api/", "/api/x", "/apix", "/api.x"],
            &["/", "/ap", "/API", "/x/api", "/?/api"],
        ),
        matching(
            world,
            "a prefix without case",
            json!({ "prefix": "/Api", "case_sensitive": false }),
            &["/api", "/API/x", "/aPix"],
            &["/", "/ap"],
        ),
        matching(
            world,
            "a prefix that ends in a slash",
            json!({ "prefix": "/api/" }),
            &["/api/", "/api/x"],
            &["/apix"],
        ),
        matching(
            world,
            "a path",
            json!({ "path": "/api" }),
            &["/api", "/api?x", "/api?"],
            &["/", "/apix", "/API"],
        ),
        matching(
            world,
            "a path without case",
            json!({ "path": "/Api", "case_sensitive": false }),
            &["/api", "/API?x"],
            &["/", "/apix"],
        ),
        matching(
            world,
            "a separated prefix",
            json!({ "path_separated_prefix": "/api" }),
            &["/api", "/api?x", "/api/", "/api/x", "/api/?x"],
            &["/apix", "/API", "/api.x"],
        ),
        matching(
            world,
            "a separated prefix without case",
            json!({ "path_separated_prefix": "/api", "case_sensitive": false }),
            &["/API", "/Api/x"],
            &["/APIx"],
        ),
        matching(
            world,
            "a pattern",
            json!({ "safe_regex": { "regex": "/(api|v[0-9]+)/[a-z]*" } }),
            &["/api/", "/api/abc", "/v12/abc?x=1"],
            &["/api", "/api/ABC", "/v/abc", "/api/abc/d", "/x/api/abc"],
        ),
        matching(
            world,
            "a pattern with flags",
            json!({ "safe_regex": { "google_re2": {}, "regex": "(?i)/api(/.*)?" } }),
            &["/API", "/api/x/y"],
            &["/apix"],
        ),
        matching(
            world,
            "a template",
            json!({ "path_match_policy": template("/users/{id}/posts/*") }),
            &["/users/1/posts/2", "/users/a-b/posts/x?y"],
            &["/users/1/posts", "/users/1/2/posts/3", "/users/1/posts/2/3"],
        )
        .case("an empty segment", get("/users//posts/2"), passes())
        .differs("ambiguous-path", status(400)),
        matching(
            world,
            "a template with a rest",
            json!({ "path_match_policy": template("/files/{name=**}") }),
            &["/files/a", "/files/a/b/c"],
            &["/file/a", "/x/files/a"],
        ),
        connect(world),
    ]
}

fn connect(world: &World) -> Group {
    Group::new("CONNECT", strict(world, &[json!({ "connect_matcher": {} })]))
        .case(
            "a CONNECT request",
            Request::new("CONNECT", "other.example:443"),
            refused(says::MISSING).replying("www-authenticate", "Bearer realm=\"\""),
        )
        .case(
            "a CONNECT request with a token",
            Request::new("CONNECT", "other.example:443").bearer(&world.token()),
            status(200),
        )
        .case("another request", get("/"), passes())
}

fn order(world: &World) -> Group {
    let rules = json!({
        "providers": { "a": world.provider(json!({})) },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "prefix": "/optional" }, "requires": { "allow_missing": {} } },
            { "match": { "prefix": "/ope" }, "requires": { "provider_name": "a" } },
            { "match": { "path": "/open/x" } },
        ],
    });
    let expired = world.expired_token();
    let kept = |token: &str| passes().with("authorization", format!("Bearer {token}"));
    Group::new("the first rule that matches", rules)
        .case("the open one", get("/open"), passes())
        .case("the open one with a bad token", get("/open").bearer(&expired), kept(&expired))
        .case(
            "the open one with forged identity headers",
            get("/open").header("x-sub", "root"),
            passes().without("x-sub"),
        )
        .case("the optional one", get("/optional/x"), passes())
        .case(
            "the optional one with a bad token",
            get("/optional/x").bearer(&expired),
            refused(says::EXPIRED),
        )
        .case("the strict one", get("/openx"), refused(says::MISSING))
        .case("the strict one before another open one", get("/open/x"), refused(says::MISSING))
        .case("none", get("/x"), passes())
        .case("none with a bad token", get("/x").bearer(&expired), kept(&expired))
        .case("none with a good token", get("/x").bearer(&world.token()), passes().without("x-sub"))
        .case(
            "none with forged identity headers",
            get("/x").header("x-sub", "root"),
            passes().without("x-sub"),
        )
}

fn headers(world: &World) -> Group {
    let values: [(&str, &[&str]); 10] = [
        ("without it", &[]),
        ("one", &["one"]),
        ("ONE", &["ONE"]),
        ("two", &["two"]),
        ("nothing in it", &[""]),
        ("5", &["5"]),
        ("10", &["10"]),
        ("two lines", &["one", "two"]),
        ("two lines in another order", &["two", "one"]),
        ("a list", &["one,two"]),
    ];
    // A path, what the rule for it asks of the header, and which of the values match: `x` everywhere, `o` in the
    // filter alone.
    let rules = [
        ("/exact", json!({ "string_match": { "exact": "one" } }), "-x-----xx-"),
        ("/exact-old", json!({ "exact_match": "one" }), "-x-----xx-"),
        ("/exact-list", json!({ "string_match": { "exact": "one,two" } }), "---------x"),
        ("/folded", json!({ "string_match": { "exact": "ONE", "ignore_case": true } }), "-xx----xx-"),
        ("/prefix", json!({ "string_match": { "prefix": "on" } }), "-x-----xxx"),
        ("/suffix", json!({ "string_match": { "suffix": "ne" } }), "-x-----xx-"),
        ("/contains", json!({ "string_match": { "contains": "n" } }), "-x-----xxx"),
        ("/regex", json!({ "string_match": { "safe_regex": { "regex": "o.e" } } }), "-x-----xx-"),
        ("/range", json!({ "range_match": { "start": -1, "end": 10 } }), "-----x----"),
        ("/present", json!({ "present_match": true }), "-xxxxxxxxx"),
        ("/absent", json!({ "present_match": false }), "x---------"),
        ("/name-only", json!({}), "-xxxxxxxxx"),
        ("/not-exact", json!({ "string_match": { "exact": "one" }, "invert_match": true }), "--xxxxxoox"),
        ("/not-present", json!({ "present_match": true, "invert_match": true }), "x---------"),
        (
            "/empty-if-missing",
            json!({ "string_match": { "exact": "" }, "treat_missing_header_as_empty": true }),
            "x---x-----",
        ),
        (
            "/not-exact-if-missing",
            json!({
                "string_match": { "exact": "one" }, "invert_match": true, "treat_missing_header_as_empty": true,
            }),
            "x-xxxxxoox",
        ),
        ("/method", json!({ "name": ":method", "string_match": { "exact": "GET" } }), "xxxxxxxxxx"),
        (
            "/authority",
            json!({ "name": ":authority", "string_match": { "suffix": ".example" } }),
            "xxxxxxxxxx",
        ),
    ];
    let matches: Vec<_> = rules
        .iter()
        .map(|(path, matcher, _)| {
            let matcher = extended(json!({ "name": "x-m" }), matcher.clone());
            json!({ "path": path, "headers": [matcher] })
        })
        .collect();
    let cases = rules.iter().flat_map(|(path, _, matched)| {
        values.iter().zip(matched.chars()).map(move |(value, matched)| (*path, value, matched))
    });
    Group::new("headers of a rule", strict(world, &matches)).for_each(
        cases,
        |group, (path, (name, lines), matched)| {
            let request = lines.iter().fold(get(path), |request, line| request.header("x-m", line));
            conditional(group, format!("{path} {name}"), request, matched)
        },
    )
}

fn parameters(world: &World) -> Group {
    let queries = [
        "", "?k=v", "?k=vv", "?k=w", "?k", "?k=", "?kk=v", "?a=1&k=v", "?k=v&k=w", "?k=w&k=v", "?%6b=v",
        "?k=%76", "?K=v",
    ];
    // A path, what the rule for it asks of the parameter, and which of the queries match: `x` everywhere, `o` in the
    // filter alone.
    let rules = [
        ("/exact", json!({ "string_match": { "exact": "v" } }), "-x-----xxooo-"),
        ("/prefix", json!({ "string_match": { "prefix": "v" } }), "-xx----xxooo-"),
        ("/regex", json!({ "string_match": { "safe_regex": { "regex": "v+" } } }), "-xx----xxooo-"),
        ("/present", json!({ "present_match": true }), "-xxxxx-xxxox-"),
        ("/name-only", json!({}), "-xxxxx-xxxox-"),
    ];
    let matches: Vec<_> = rules
        .iter()
        .map(|(path, matcher, _)| {
            let matcher = extended(json!({ "name": "k" }), matcher.clone());
            json!({ "path": path, "query_parameters": [matcher] })
        })
        .collect();
    let cases = rules.iter().flat_map(|(path, _, matched)| {
        queries.iter().zip(matched.chars()).map(move |(query, matched)| (format!("{path}{query}"), matched))
    });
    Group::new("parameters of a rule", strict(world, &matches)).for_each(cases, |group, (path, matched)| {
        let request = get(&path);
        conditional(group, path, request, matched)
    })
}

/// A request for a rule with a condition, which holds as a sign of the tables says.
fn conditional(group: Group, name: String, request: Request, sign: char) -> Group {
    match sign {
        'x' => group.case(name, request, refused(says::MISSING)),
        '-' => group.case(name, request, passes()),
        'o' => group.case(name, request, passes()).differs("rule-conditions", status(401)),
        other => panic!("{other} is no sign"),
    }
}

/// Paths that a backend may read as another one.
fn hostile_paths(world: &World) -> Group {
    let rules = json!({
        "providers": { "a": world.provider(json!({})) },
        "rules": [
            { "match": { "path": "/open" } },
            { "match": { "prefix": "/open/" } },
            { "match": { "prefix": "/admin" }, "requires": { "provider_name": "a" } },
            { "match": { "prefix": "/optional" }, "requires": { "allow_missing": {} } },
        ],
    });
    let walks = [
        "/open/../admin",
        "/open/%2e%2e/admin",
        "/open/..;/admin",
        "/open/..%2fadmin",
        "/open/x\\..\\..\\admin",
        "//admin",
        "/./admin",
        "/%61dmin",
        "/open//../admin",
        "/x/../admin",
        "/optional/../admin",
        "/open/%252e%252e/admin",
    ];
    Group::new("hostile paths", rules)
        .case("the open path", get("/open"), passes())
        .case("the strict path", get("/admin/x"), refused(says::MISSING))
        .case("a path under the open one", get("/open/x"), passes())
        .for_each(walks, |group, path| {
            group.case(path, get(path), passes().path(path)).differs("ambiguous-path", status(401))
        })
        .case("a doubled slash in a harmless place", get("/open//x"), passes().path("/open//x"))
        .differs("ambiguous-path", status(400))
}

fn unmatched(world: &World) -> Group {
    let configuration = json!({ "providers": { "a": world.provider(json!({})) } });
    Group::new("no rules", configuration)
        .case("nothing", get("/"), passes())
        .case("a token", get("/").bearer(&world.token()), passes().without("x-sub"))
        .case("forged identity headers", get("/").header("x-sub", "root"), passes().without("x-sub"))
}
