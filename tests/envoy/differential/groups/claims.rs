//! Claims of every type as header values.

use serde_json::{Value, json};

use super::says;
use crate::differential::case::{Group, get, passes, refused, status};
use crate::differential::world::{ISSUER, World, claims};
use crate::scene::now;

pub fn groups(world: &World) -> Vec<Group> {
    vec![types(world), dotted_names(world), paths(world), payload(world, false), payload(world, true)]
}

/// A token whose claim `c` is this JSON, to the letter.
fn token(world: &World, json: &str) -> String {
    let payload = format!("{{\"iss\":\"{ISSUER}\",\"exp\":{},\"c\":{json}}}", now() + 3600);
    world.key.sign_raw(br#"{"alg":"EdDSA","kid":"k1"}"#, payload.as_bytes())
}

const SAME: &str = "=";

/// Name, JSON, and the header that `jwt_authn`, the filter by default and the filter with `compat` make of it. Without
/// text there is no header.
const TYPES: &[(&str, &str, &str, &str, &str)] = &[
    ("a word", r#""alice""#, "alice", SAME, SAME),
    ("a sentence", r#""a b, c; \"d\"""#, r#"a b, c; "d""#, SAME, SAME),
    ("an empty string", r#""""#, "", SAME, SAME),
    ("umlauts", r#""zoë""#, "zoë", "zo%C3%AB", "zo%C3%AB"),
    ("an escaped umlaut", r#""zo\u00eb""#, "zoë", "zo%C3%AB", "zo%C3%AB"),
    ("a percent sign", r#""100%""#, "100%", "100%25", SAME),
    ("spaces around", r#"" a ""#, "a", "%20a%20", "%20a%20"),
    ("a tab", r#""a\tb""#, "a\tb", "a%09b", "a%09b"),
    ("zero", "0", "0", SAME, SAME),
    ("minus zero", "-0", "0", "-0", SAME),
    ("one", "1", "1", SAME, SAME),
    ("a negative number", "-5", "-5.000000", "-5", SAME),
    ("a number with a zero fraction", "5.0", "5", "5.0", SAME),
    ("a fraction", "1.5", "1.500000", "1.5", SAME),
    ("a small fraction", "0.0000001", "0.000000", "0.0000001", SAME),
    ("a number with an exponent", "1e3", "1000", "1e3", SAME),
    ("2^53", "9007199254740992", "9007199254740992", SAME, SAME),
    ("2^53 + 1", "9007199254740993", "9007199254740992", "9007199254740993", "9007199254740993"),
    ("2^63", "9223372036854775808", "9223372036854775808", SAME, SAME),
    (
        "2^64 - 1",
        "18446744073709551615",
        "18446744073709551616.000000",
        "18446744073709551615",
        "18446744073709551615",
    ),
    ("10^30", "1e30", "1000000000000000019884624838656.000000", "1e30", SAME),
    ("true", "true", "true", SAME, SAME),
    ("false", "false", "false", SAME, SAME),
    ("null", "null", "", SAME, SAME),
    ("an empty list", "[]", "W10=", "", SAME),
    ("a list of one", r#"["a"]"#, "WyJhIl0=", "a", SAME),
    ("a list of several", r#"["a","b c"]"#, "WyJhIiwiYiBjIl0=", "a,b c", SAME),
    ("a list with a comma", r#"["a,b"]"#, "WyJhLGIiXQ==", "a%2Cb", SAME),
    ("a list of numbers", "[1,2.5,-3]", "WzEsMi41LC0zXQ==", "1,2.5,-3", SAME),
    ("a mixed list", r#"["a",1,true,null]"#, "WyJhIiwxLHRydWUsbnVsbF0=", "a,1,true,", SAME),
    ("a list of lists", r#"[["a"],[]]"#, "W1siYSJdLFtdXQ==", r#"["a"],[]"#, SAME),
    ("a list of objects", r#"[{"a":1}]"#, "W3siYSI6MX1d", r#"{"a":1}"#, SAME),
    ("an empty object", "{}", "e30=", "{}", SAME),
    ("an object", r#"{"a":"b","n":1}"#, "eyJhIjoiYiIsIm4iOjF9", r#"{"a":"b","n":1}"#, SAME),
    ("a nested object", r#"{"a":{"b":["c"]}}"#, "eyJhIjp7ImIiOlsiYyJdfX0=", r#"{"a":{"b":["c"]}}"#, SAME),
    ("an object with umlauts", r#"{"ä":"ö"}"#, "eyLDpCI6IsO2In0=", r#"{"%C3%A4":"%C3%B6"}"#, SAME),
];

fn types(world: &World) -> Group {
    let mappings = json!({ "claim_to_headers": [{ "header_name": "X-C", "claim_name": "c" }] });
    let bearer = |json: &str| get("/").bearer(&token(world, json));
    let long = "x".repeat(8 << 10);
    let outcome = |value: &str| match value {
        "" => passes().without("x-c"),
        value => passes().with("x-c", value),
    };
    Group::new("claims of every type", world.only(mappings))
        .for_each(TYPES, |group, (name, json, native, default, compat)| {
            let group = group.case(*name, bearer(json), outcome(native));
            match (*default, *compat) {
                (SAME, SAME) => group,
                (default, SAME) => group.differs_by_default("claim-encoding", outcome(default)),
                (default, compat) => group
                    .differs_by_default("claim-encoding", outcome(default))
                    .differs_in_compat("claim-encoding", outcome(compat)),
            }
        })
        .case("a line break", bearer(r#""a\r\nx-admin: 1""#), status(503))
        .differs("claim-encoding", passes().with("x-c", "a%0D%0Ax-admin: 1"))
        .case("a NUL", bearer(r#""a\u0000b""#), status(503))
        .differs("claim-encoding", passes().with("x-c", "a%00b"))
        .case("a number that no double can hold", bearer("1e400"), refused(says::PAYLOAD_JSON))
        .differs("claim-encoding", passes())
        .case("8 KiB", bearer(&format!("\"{long}\"")), passes().with("x-c", long.clone()))
        .case("more than 8 KiB", bearer(&format!("\"{long}x\"")), passes().with("x-c", format!("{long}x")))
        .differs("claim-encoding", passes().without("x-c"))
        .case("no such claim", get("/").bearer(&world.token()), passes().without("x-c"))
        .case(
            "a header of the client",
            get("/").bearer(&world.token()).header("x-c", "root"),
            passes().without("x-c"),
        )
}

fn dotted_names(world: &World) -> Group {
    let mapping = |header: &str, claim: &str| json!({ "header_name": header, "claim_name": claim });
    let mappings = json!({ "claim_to_headers": [
        mapping("x-nested", "a.b.c"), mapping("x-dotted", "d.e"), mapping("x-two", "one"), mapping("x-two", "two"),
    ] });
    let bearer = |extra: Value| get("/").bearer(&world.key.sign(&claims(ISSUER, "alice", extra)));
    Group::new("claims by names with dots", world.only(mappings))
        .for_each(nested(), |group, (name, claims, value)| {
            let outcome = match value {
                Some(value) => passes().with("x-nested", value),
                None => passes().without("x-nested"),
            };
            group.case(name, bearer(claims), outcome)
        })
        .case("a name with a dot", bearer(json!({ "d.e": "dotted" })), passes().without("x-dotted"))
        .case(
            "a name with a dot beside a nested claim",
            bearer(json!({ "d.e": "dotted", "d": { "e": "nested" } })),
            passes().with("x-dotted", "nested"),
        )
        .case(
            "two claims for one header",
            bearer(json!({ "one": "1", "two": "2" })),
            passes().with("x-two", "1,2"),
        )
        .case("one of two claims for one header", bearer(json!({ "two": "2" })), passes().with("x-two", "2"))
        .case(
            "a list and a word for one header",
            bearer(json!({ "one": ["1", "2"], "two": "3" })),
            passes().with("x-two", "WyIxIiwiMiJd,3"),
        )
        .differs_by_default("claim-encoding", passes().with("x-two", "1,2,3"))
}

fn paths(world: &World) -> Group {
    let path = |header: &str, keys: &[&str]| {
        let segments: Vec<_> = keys.iter().map(|key| json!({ "key": key })).collect();
        json!({ "header_name": header, "claim_path": segments })
    };
    let mappings = json!({ "claim_to_headers": [
        path("x-path", &["a", "b", "c"]), path("x-url", &["https://example.com/roles"]), path("x-path-dot", &["d.e"]),
    ] });
    let bearer = |extra: Value| get("/").bearer(&world.key.sign(&claims(ISSUER, "alice", extra)));
    Group::new("claims by their paths", world.only(mappings))
        .for_each(nested(), |group, (name, claims, value)| {
            let outcome = match value {
                Some(value) => passes().with("x-path", value),
                None => passes().without("x-path"),
            };
            group.case(name, bearer(claims), outcome)
        })
        .case("a name with a dot", bearer(json!({ "d.e": "dotted" })), passes().with("x-path-dot", "dotted"))
        .case(
            "a name with a dot beside a nested claim",
            bearer(json!({ "d.e": "dotted", "d": { "e": "nested" } })),
            passes().with("x-path-dot", "dotted"),
        )
        .case(
            "a URL as a name",
            bearer(json!({ "https://example.com/roles": "admin" })),
            passes().with("x-url", "admin"),
        )
}

/// Claims around `a`, `b` and `c`, and what is at the end of that way.
fn nested() -> [(&'static str, Value, Option<&'static str>); 4] {
    [
        ("a nested claim", json!({ "a": { "b": { "c": "deep" } } }), Some("deep")),
        ("a path that ends early", json!({ "a": { "b": "c" } }), None),
        ("a path through a list", json!({ "a": [{ "b": { "c": "deep" } }] }), None),
        ("a path through null", json!({ "a": null }), None),
    ]
}

fn payload(world: &World, pad: bool) -> Group {
    let fields = json!({ "forward_payload_header": "X-Payload", "pad_forward_payload_header": pad, "claim_to_headers": [] });
    let (name, padding): (_, [&str; 3]) =
        if pad { ("the padded payload", ["", "==", "="]) } else { ("the payload", ["", "", ""]) };
    let segment = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    // Payloads whose length leaves no rest, one and two bytes over.
    let tokens: Vec<_> = (0..3)
        .map(|length| {
            let base = world.key.sign(&claims(ISSUER, "", json!({})));
            let rest = segment(&base).len() % 4;
            let fill = (length + [0, 0, 2, 1][rest]) % 3;
            world.key.sign(&claims(ISSUER, &"a".repeat(fill), json!({})))
        })
        .collect();
    Group::new(name, world.only(fields))
        .for_each(tokens.iter().zip(padding).enumerate(), |group, (index, (token, padding))| {
            let payload = format!("{}{padding}", segment(token));
            group.case(
                format!("with {index} bytes over"),
                get("/").bearer(token),
                passes().with("x-payload", payload),
            )
        })
        .case(
            "a header of the client",
            get("/").bearer(&tokens[0]).header("x-payload", "root"),
            passes().with("x-payload", segment(&tokens[0])),
        )
}
