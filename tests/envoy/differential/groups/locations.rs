//! Where tokens travel: headers with and without a prefix, query parameters, cookies; and what is taken out.

use serde_json::json;

use super::says;
use crate::differential::case::{Group, get, passes, refused, requiring, status};
use crate::differential::world::World;
use crate::support::Request;

pub fn groups(world: &World) -> Vec<Group> {
    vec![
        default_locations(world),
        default_parameter(world),
        prefixed_header(world),
        bare_header(world),
        parameters(world),
        cookies(world),
        kept_tokens(world),
        two_prefixes(world),
        two_tokens(world),
    ]
}

fn default_locations(world: &World) -> Group {
    let good = world.token();
    let alice = || passes().with("x-sub", "alice").without("authorization");
    let with = |value: String| get("/").header("authorization", value);
    Group::new("the authorization header", world.only(json!({})))
        .case("a token with its scheme", with(format!("Bearer {good}")), alice())
        .case("several spaces before the token", with(format!("Bearer    {good}")), alice())
        .case("spaces around everything", with(format!("  Bearer {good}  ")), alice())
        .case(
            "the name of the header in capitals",
            get("/").header("AUTHORIZATION", format!("Bearer {good}")),
            alice(),
        )
        .case("the scheme in small letters", with(format!("bearer {good}")), refused(says::MISSING))
        .differs("bearer", alice())
        .case("the scheme in capitals", with(format!("BEARER {good}")), refused(says::MISSING))
        .differs("bearer", alice())
        .case("another scheme before the scheme", with(format!("Basic Bearer {good}")), alice())
        .differs("bearer", status(401))
        .case("the scheme as the end of a word", with(format!("notBearer {good}")), alice())
        .differs("bearer", status(401))
        .case("signs before the token", with(format!("Bearer =\"{good}")), alice())
        .differs("bearer", status(401))
        .case("quotes around the token", with(format!("Bearer \"{good}\"")), refused(says::BAD_SIGNATURE))
        .differs_in_compat("reasons", refused(says::BAD_FORM))
        .case("a word behind the token", with(format!("Bearer {good} x")), refused(says::SIGNATURE_LENGTH))
        .differs_in_compat("reasons", refused(says::BAD_FORM))
        .case(
            "a second token behind a comma",
            with(format!("Bearer {good}, Bearer {good}")),
            refused(says::BAD_FORM),
        )
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("reasons", refused(says::MULTIPLE))
        .case("a tab for the space", with(format!("Bearer\t{good}")), refused(says::MISSING))
        .differs_in_compat("bearer", refused(says::BAD_FORM))
        .case("the scheme alone", with("Bearer".to_owned()), refused(says::MISSING))
        .differs_in_compat("bearer", refused(says::BAD_FORM))
        .case("the token without a scheme", with(good.clone()), refused(says::MISSING))
        .case("an empty value", with(String::new()), refused(says::MISSING))
        .case("another scheme", with("Basic YTpi".to_owned()), refused(says::MISSING))
        .case(
            "bytes that are not UTF-8",
            get("/").header("authorization", b"Bearer \xff\xfe"),
            refused(says::BAD_FORM),
        )
        .case("a token in another header", get("/").header("x-token", &good), refused(says::MISSING))
        .case(
            "a token in a cookie",
            get("/").header("cookie", format!("access_token={good}")),
            refused(says::MISSING),
        )
        .case(
            "a line of another scheme before",
            get("/").header("authorization", "Basic abc").bearer(&good),
            alice(),
        )
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("bearer", status(401))
        .case(
            "a line of another scheme behind",
            get("/").bearer(&good).header("authorization", "Basic abc"),
            refused(says::BAD_SIGNATURE),
        )
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("bearer", status(401))
        .case(
            "the other headers stay",
            get("/").bearer(&good).header("x-other", "1").header("cookie", "b=1"),
            alice().with("x-other", "1").with("cookie", "b=1"),
        )
}

fn default_parameter(world: &World) -> Group {
    let good = world.token();
    let expired = world.expired_token();
    let encoded = good.replace('.', "%2E");
    let alice = |path: &str| passes().with("x-sub", "alice").path(path);
    Group::new("the access_token parameter", world.only(json!({})))
        .case("the only parameter", get(&format!("/x?access_token={good}")), alice("/x"))
        .case("the last parameter", get(&format!("/x?b=1&access_token={good}")), alice("/x?b=1"))
        .case("the first parameter", get(&format!("/x?access_token={good}&b=1")), alice("/x?b=1"))
        .case("encoded dots", get(&format!("/x?access_token={encoded}")), alice("/x"))
        .case("an encoded name", get(&format!("/x?access%5Ftoken={good}")), alice("/x"))
        .case("the name in capitals", get(&format!("/x?ACCESS_TOKEN={good}")), refused(says::MISSING))
        .case("the longer name", get(&format!("/x?my_access_token={good}")), refused(says::MISSING))
        .case("no value", get("/x?access_token="), refused(says::BAD_FORM))
        .differs_in_compat("empty-credential", refused(says::MISSING))
        .case("no equals sign", get("/x?access_token"), refused(says::BAD_FORM))
        .differs_in_compat("empty-credential", refused(says::MISSING))
        .case("a semicolon between", get(&format!("/x?b=1;access_token={good}")), refused(says::MISSING))
        .case("good twice", get(&format!("/x?access_token={good}&access_token={good}")), alice("/x"))
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("several-credentials", refused(says::MULTIPLE))
        .case(
            "good, then expired",
            get(&format!("/x?access_token={good}&access_token={expired}")),
            alice("/x"),
        )
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("several-credentials", refused(says::MULTIPLE))
        .case(
            "expired, then good",
            get(&format!("/x?access_token={expired}&access_token={good}")),
            refused(says::EXPIRED),
        )
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("several-credentials", refused(says::MULTIPLE))
        .case("a broken encoding", get("/x?access_token=%zz"), refused(says::BAD_FORM))
        .case("a token in the path", get(&format!("/access_token={good}")), refused(says::MISSING))
        .case(
            "a token behind a second question mark",
            get(&format!("/x?b=?access_token={good}")),
            refused(says::MISSING),
        )
        .case("an unsorted query", get(&format!("/x?z=1&a=2&access_token={good}")), alice("/x?a=2&z=1"))
        .differs("credential-removal", alice("/x?z=1&a=2"))
        .case("an encoded query", get(&format!("/x?q=%2f%20%26&access_token={good}")), status(400))
        .differs("credential-removal", alice("/x?q=%2f%20%26"))
        .case("an encoded slash", get(&format!("/x?q=%2f&access_token={good}")), alice("/x?q=/"))
        .differs("credential-removal", alice("/x?q=%2f"))
        .case("a plus sign", get(&format!("/x?q=a+b&access_token={good}")), alice("/x?q=a+b"))
        .case("a flag", get(&format!("/x?flag&access_token={good}")), alice("/x?flag="))
        .differs("credential-removal", alice("/x?flag"))
        .case("an empty pair", get(&format!("/x?a=1&&access_token={good}")), alice("/x?=&a=1"))
        .differs("credential-removal", alice("/x?a=1&"))
        .case("repeated parameters", get(&format!("/x?a=2&a=1&access_token={good}")), alice("/x?a=2&a=1"))
}

fn prefixed_header(world: &World) -> Group {
    let good = world.token();
    let alice = || passes().with("x-sub", "alice").without("x-jwt");
    let with = |value: String| get("/").header("x-jwt", value);
    Group::new(
        "a header with a prefix",
        world.only(json!({ "from_headers": [{ "name": "X-JWT", "value_prefix": "JWT=" }] })),
    )
    .case("as written", with(format!("JWT={good}")), alice())
    .case("in small letters", with(format!("jwt={good}")), refused(says::MISSING))
    .case("a space behind the prefix", with(format!("JWT= {good}")), alice())
    .case("something before the prefix", with(format!("a=b JWT={good}")), alice())
    .differs("bearer", status(401))
    .case("something behind the token", with(format!("JWT={good};a=b")), refused(says::BAD_SIGNATURE))
    .differs_in_compat("reasons", refused(says::BAD_FORM))
    .case("no prefix", with(good.clone()), refused(says::MISSING))
    .case("nothing behind the prefix", with("JWT=".to_owned()), refused(says::BAD_FORM))
    .differs_in_compat("empty-credential", refused(says::MISSING))
    .case("the default header is not read", get("/").bearer(&good), refused(says::MISSING))
    .case("the default parameter is not read", get(&format!("/?access_token={good}")), refused(says::MISSING))
    .case(
        "two lines",
        with(format!("JWT={good}")).header("x-jwt", format!("JWT={good}")),
        passes().with("x-sub", "alice,alice").without("x-jwt"),
    )
    .differs_by_default("several-credentials", status(400))
    .differs_in_compat("several-credentials", passes().with("x-sub", "alice"))
    .case("two lines, one without the prefix", with(format!("JWT={good}")).header("x-jwt", "other"), alice())
    .differs_by_default("several-credentials", status(400))
}

fn bare_header(world: &World) -> Group {
    let good = world.token();
    let expired = world.expired_token();
    let alice = || passes().with("x-sub", "alice").without("x-token");
    let with = |value: &str| get("/").header("x-token", value);
    Group::new("a header without a prefix", world.only(json!({ "from_headers": [{ "name": "x-token" }] })))
        .case("a token", with(&good), alice())
        .case("spaces around it", with(&format!("  {good}  ")), alice())
        .case("a scheme before it", with(&format!("Bearer {good}")), refused(says::BAD_HEADER))
        .differs_in_compat("reasons", refused(says::BAD_FORM))
        .case("nothing", get("/"), refused(says::MISSING))
        .case("an empty value", with(""), refused(says::BAD_FORM))
        .differs_in_compat("empty-credential", refused(says::MISSING))
        .case("junk", with("junk"), refused(says::BAD_FORM))
        .case("another spelling", get("/").header("x_token", &good), refused(says::MISSING))
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("several-credentials", refused(says::MULTIPLE))
        .case(
            "another spelling beside it",
            with(&good).header("x_token", &good),
            alice().with("x_token", &good),
        )
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("several-credentials", refused(says::MULTIPLE))
        .case(
            "two lines",
            with(&good).header("x-token", &good),
            passes().with("x-sub", "alice,alice").without("x-token"),
        )
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("several-credentials", passes().with("x-sub", "alice"))
        .case("two lines, the first expired", with(&expired).header("x-token", &good), refused(says::EXPIRED))
        .differs_by_default("several-credentials", status(400))
        .case("two lines, the last expired", with(&good).header("x-token", &expired), refused(says::EXPIRED))
        .differs_by_default("several-credentials", status(400))
        .case("two lines, one empty", with(&good).header("x-token", ""), refused(says::BAD_FORM))
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("empty-credential", passes())
}

fn parameters(world: &World) -> Group {
    let good = world.token();
    let alice = |path: &str| passes().with("x-sub", "alice").path(path);
    Group::new("two parameters", world.only(json!({ "from_params": ["t", "a b"] })))
        .case("the first", get(&format!("/?t={good}")), alice("/"))
        .case("a name with a space", get(&format!("/?a%20b={good}")), alice("/"))
        .case(
            "the default parameter is not read",
            get(&format!("/?access_token={good}")),
            refused(says::MISSING),
        )
        .case("the default header is not read", get("/").bearer(&good), refused(says::MISSING))
        .case("no query", get("/"), refused(says::MISSING))
        .case("an empty query", get("/?"), refused(says::MISSING))
        .case("a fragment of the name", get(&format!("/?tt={good}")), refused(says::MISSING))
}

fn cookies(world: &World) -> Group {
    let good = world.token();
    let expired = world.expired_token();
    let alice = |cookie: &str| passes().with("x-sub", "alice").with("cookie", cookie);
    let without_cookie = || passes().with("x-sub", "alice").without("cookie");
    let with = |value: &str| get("/").header("cookie", value);
    let one = format!("s={good}");
    let among = format!("a=1; s={good}; b=2");
    let quoted = format!("s=\"{good}\"");
    let first = format!("s={good}; s={expired}");
    let last = format!("s={expired}; s={good}");
    Group::new("a cookie", world.only(json!({ "from_cookies": ["s"] })))
        .case("alone", with(&one), alice(&one))
        .differs("credential-removal", without_cookie())
        .case("among others", with(&among), alice(&among))
        .differs("credential-removal", alice("a=1; b=2"))
        .case("in quotes", with(&quoted), alice(&quoted))
        .differs("credential-removal", without_cookie())
        .case("on the second line", with("a=1").header("cookie", &one), passes().with("x-sub", "alice"))
        .differs("credential-removal", alice("a=1"))
        .case("twice, the last expired", with(&first), alice(&first))
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("several-credentials", refused(says::MULTIPLE))
        .case("twice, the first expired", with(&last), refused(says::EXPIRED))
        .differs_by_default("several-credentials", status(400))
        .differs_in_compat("several-credentials", refused(says::MULTIPLE))
        .case("with another case", with(&format!("S={good}")), refused(says::MISSING))
        .case("with a longer name", with(&format!("ss={good}")), refused(says::MISSING))
        .case("empty", with("s="), refused(says::BAD_FORM))
        .differs_in_compat("empty-credential", refused(says::MISSING))
        .case("no such cookie", with("a=1"), refused(says::MISSING))
        .case("the default header is not read", get("/").bearer(&good), refused(says::MISSING))
}

fn kept_tokens(world: &World) -> Group {
    let good = world.token();
    let bearer = format!("Bearer {good}");
    let fields = json!({
        "forward": true,
        "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }],
        "from_params": ["t"], "from_cookies": ["s"],
    });
    let query = format!("/x?z&t={good}&a=%2f");
    let cookie = format!("a=1; s={good}");
    let alice = || passes().with("x-sub", "alice");
    Group::new("tokens that are forwarded", world.only(fields))
        .case("in the header", get("/").bearer(&good), alice().with("authorization", &bearer))
        .case("in the query", get(&query), alice().path(&query))
        .case("in a cookie", get("/").header("cookie", &cookie), alice().with("cookie", &cookie))
}

fn two_prefixes(world: &World) -> Group {
    let (good, other) = (world.token(), world.other_token());
    let providers = json!({
        "a": world.provider(json!({ "from_headers": [{ "name": "x-auth", "value_prefix": "A " }] })),
        "b": world.other_provider(json!({ "from_headers": [{ "name": "x-auth", "value_prefix": "B " }] })),
    });
    let requires =
        json!({ "requires_any": { "requirements": [{ "provider_name": "a" }, { "provider_name": "b" }] } });
    let with = |value: String| get("/").header("x-auth", value);
    Group::new("one header with a prefix for each provider", requiring(providers, requires))
        .case("of a", with(format!("A {good}")), passes().with("x-sub", "alice").without("x-auth"))
        .case("of b", with(format!("B {other}")), passes().with("x-other-sub", "bob").without("x-auth"))
        .case("of a with the prefix of b", with(format!("B {good}")), refused(says::UNKNOWN_ISSUER))
        .case(
            "one line for each",
            with(format!("A {good}")).header("x-auth", format!("B {other}")),
            passes().with("x-sub", "alice").without("x-auth"),
        )
        .differs_by_default("several-credentials", status(400))
}

/// Puts a token into a request.
type Put = fn(Request, &str) -> Request;

/// A good token in one place and an expired one in another, for each two of four places.
fn two_tokens(world: &World) -> Group {
    let (good, expired) = (world.token(), world.expired_token());
    let fields = json!({
        "from_headers": [{ "name": "x-a" }, { "name": "authorization", "value_prefix": "Bearer " }],
        "from_params": ["t"], "from_cookies": ["s"],
    });
    let places: [(&str, Put); 4] = [
        ("the bare header", |request, token| request.header("x-a", token)),
        ("the authorization header", |request, token| request.bearer(token)),
        ("the parameter", |request, token| Request { path: format!("/?t={token}"), ..request }),
        ("the cookie", |request, token| request.header("cookie", format!("s={token}"))),
    ];
    let pairs = (0..4).flat_map(|first| (0..4).map(move |second| (first, second))).filter(|(a, b)| a != b);
    Group::new("two tokens", world.only(fields))
        .for_each(&places[..3], |group, (name, put)| {
            group.case(
                format!("a good token in {name}"),
                put(get("/"), &good),
                passes().with("x-sub", "alice"),
            )
        })
        .for_each(pairs, |group, (first, second)| {
            let ((one, put), (two, put_other)) = (places[first], places[second]);
            let request = put_other(put(get("/"), &good), &expired);
            group
                .case(
                    format!("a good token in {one}, an expired one in {two}"),
                    request,
                    refused(says::EXPIRED),
                )
                .differs_by_default("several-credentials", status(400))
        })
}
