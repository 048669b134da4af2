//! Every shape of a requirement with every kind of token, as one table.
//!
//! A word of the table is what `jwt_authn` does with a request: `open` (it passes without an identity), `alice`, `bob`,
//! `both` (it passes with these), or the name of a refusal. Behind it stands where the filter differs: `*` (by default it
//! refuses more than one credential), `~` (by default it reads no identity from them), `!row=word` (it does that for the
//! reason of a row), `?row=word` (the same, but only with `compat`).

use serde_json::{Value, json};

use super::says;
use crate::differential::case::{Group, Outcome, get, passes, refused, requiring, status};
use crate::differential::world::World;
use crate::support::Request;

/// What is sent, in the order of the words. All tokens are in the default places, where both providers look.
fn requests(world: &World) -> [(&'static str, Request); 13] {
    let (good, other, expired) = (world.token(), world.other_token(), world.expired_token());
    let query = |token: &str| get(&format!("/?access_token={token}"));
    [
        ("nothing", get("/")),
        ("a token of a", get("/").bearer(&good)),
        ("a token of b", get("/").bearer(&other)),
        ("an expired token", get("/").bearer(&expired)),
        ("a token of a stranger", get("/").bearer(&world.stranger_token())),
        ("a forged token", get("/").bearer(&world.forged_token(json!({})))),
        ("junk", get("/").bearer("junk")),
        ("another scheme", get("/").header("authorization", "Basic abc")),
        ("a good token and an expired one in the query", query(&expired).bearer(&good)),
        ("an expired token and a good one in the query", query(&good).bearer(&expired)),
        ("a token of a and one of b in the query", query(&other).bearer(&good)),
        ("the same token twice", get("/").bearer(&good).bearer(&good)),
        ("forged identity headers", get("/").header("x-sub", "root").header("x-other-sub", "root")),
    ]
}

const ONE_OF_A: &str = "missing alice stranger expired stranger forged junk missing \
                        expired* expired* stranger* junk*?reasons=multiple missing";
const ONE_OF_A_IF_ANY: &str = "open alice stranger expired stranger forged junk open \
                               expired* expired* stranger* junk*?reasons=multiple open";
const ONE_OF_A_IN_ALL: &str = "missing open!all-members=alice stranger expired stranger forged junk missing \
                               expired* expired* stranger* junk*?reasons=multiple missing";

/// Name, requirement, and what becomes of each request.
fn table() -> Vec<(&'static str, Value, &'static str)> {
    let a = || json!({ "provider_name": "a" });
    let b = || json!({ "provider_name": "b" });
    let allow_missing = || json!({ "allow_missing": {} });
    let allow_failed = || json!({ "allow_missing_or_failed": {} });
    let extract = || json!({ "extract_only_without_validation": {} });
    vec![
        ("a", a(), ONE_OF_A),
        (
            "any of a and b",
            any([a(), b()]),
            "missing alice bob expired stranger forged junk missing \
             expired* expired* stranger* junk*?reasons=multiple missing",
        ),
        (
            "any of b and a",
            any([b(), a()]),
            "missing alice bob expired stranger forged junk missing \
             expired* expired* both*?failed-members=stranger junk*?reasons=multiple missing",
        ),
        (
            "all of a and b",
            all([a(), b()]),
            "missing missing?all-members=stranger stranger expired stranger forged junk missing \
             expired* expired* stranger* junk*?reasons=multiple missing",
        ),
        (
            "allow_missing",
            allow_missing(),
            "open alice bob expired stranger forged junk open \
             alice*?optional-tokens=expired expired* both* junk*?reasons=multiple open",
        ),
        (
            "allow_missing_or_failed",
            allow_failed(),
            "open alice bob open open open open open alice~ alice~ both~ open open",
        ),
        ("any of a and allow_missing", any([a(), allow_missing()]), ONE_OF_A_IF_ANY),
        ("any of allow_missing and a", any([allow_missing(), a()]), ONE_OF_A_IF_ANY),
        (
            "any of a and allow_missing_or_failed",
            any([a(), allow_failed()]),
            "open alice open open open open open open open alice~?failed-members=open open open open",
        ),
        ("all of a and allow_missing", all([a(), allow_missing()]), ONE_OF_A_IN_ALL),
        ("all of a and allow_missing_or_failed", all([a(), allow_failed()]), ONE_OF_A_IN_ALL),
        ("any of a, and all of a and b", any([a(), all([a(), b()])]), ONE_OF_A),
        (
            "all of a, and any of a and b",
            all([a(), any([a(), b()])]),
            "missing missing!all-members=alice stranger expired stranger forged junk missing \
             expired* expired* stranger* junk*?reasons=multiple missing",
        ),
        (
            "any of allow_missing, and all of a and b",
            any([all([a(), b()]), allow_missing()]),
            "open alice!failed-members=stranger stranger expired stranger forged junk open \
             expired* expired* stranger* junk*?reasons=multiple open",
        ),
        (
            "as Istio generates it",
            any([a(), b(), all([any([a(), allow_missing()]), any([b(), allow_missing()])])]),
            "open alice bob expired stranger forged junk open expired* expired* alice*?failed-members=stranger junk*?reasons=multiple open",
        ),
        (
            "extract_only_without_validation",
            extract(),
            "open alice bob open open open open open alice~?extract-only=alice alice~ both~ open open",
        ),
        (
            "any of a and extract_only_without_validation",
            any([a(), extract()]),
            "open alice bob open open open open open \
             alice~?extract-only=alice open~?failed-members=alice both~ open open",
        ),
        ("all of a and extract_only_without_validation", all([a(), extract()]), ONE_OF_A_IN_ALL),
        (
            "a rule without a requirement",
            Value::Null,
            "open open open open open open open open open open open open open",
        ),
    ]
}

pub fn groups(world: &World) -> Vec<Group> {
    let providers = json!({ "a": world.provider(json!({})), "b": world.other_provider(json!({})) });
    let requests = requests(world);
    table()
        .into_iter()
        .map(|(name, requirement, words)| {
            let words: Vec<_> = words.split_ascii_whitespace().collect();
            assert_eq!(words.len(), requests.len(), "{name} has a word for each request");
            let group = Group::new(name, configuration(&providers, requirement));
            group.for_each(requests.iter().zip(words), |group, ((name, request), word)| {
                case(group, name, request.clone(), word)
            })
        })
        .collect()
}

fn configuration(providers: &Value, requirement: Value) -> Value {
    match requirement {
        Value::Null => json!({ "providers": providers, "rules": [{ "match": { "prefix": "/" } }] }),
        requirement => requiring(providers.clone(), requirement),
    }
}

pub fn any<const N: usize>(requirements: [Value; N]) -> Value {
    json!({ "requires_any": { "requirements": requirements.as_slice() } })
}

pub fn all<const N: usize>(requirements: [Value; N]) -> Value {
    json!({ "requires_all": { "requirements": requirements.as_slice() } })
}

/// Adds the case that a word of the table stands for.
fn case(group: Group, name: &str, request: Request, word: &str) -> Group {
    let (word, reason) = match word.find(['!', '?']) {
        Some(position) => (&word[..position], Some(word[position..].split_once('=').unwrap())),
        None => (word, None),
    };
    let native = word.trim_end_matches(['*', '~']);
    let mut group = group.case(name, request, outcome(native));
    if word.ends_with('*') {
        group = group.differs_by_default("several-credentials", status(400));
    } else if word.ends_with('~') {
        group = group.differs_by_default("several-credentials", outcome("open"));
    }
    match reason {
        Some((row, ours)) if row.starts_with('!') => group
            .differs_by_default(&row[1..], outcome(ours).in_any_words())
            .differs_in_compat(&row[1..], outcome(ours)),
        Some((row, ours)) => group.differs_in_compat(&row[1..], outcome(ours)),
        None => group,
    }
}

fn outcome(word: &str) -> Outcome {
    match word {
        "open" => passes().without("x-sub").without("x-other-sub"),
        "alice" => passes().with("x-sub", "alice").without("x-other-sub"),
        "bob" => passes().without("x-sub").with("x-other-sub", "bob"),
        "both" => passes().with("x-sub", "alice").with("x-other-sub", "bob"),
        "missing" => refused(says::MISSING),
        "expired" => refused(says::EXPIRED),
        "stranger" => refused(says::UNKNOWN_ISSUER),
        "forged" => refused(says::FAILS),
        "junk" => refused(says::BAD_FORM),
        "multiple" => refused(says::MULTIPLE),
        other => panic!("{other} is no outcome"),
    }
}
