//! Every shape of a requirement with every kind of token, as one table.

use serde_json::{Value, json};

use super::says;
use crate::differential::case::{Group, Outcome, extended, get, passes, refused, requiring, status};
use crate::differential::world::World;
use crate::support::Request;

/// What becomes of a request.
#[derive(Clone, Copy)]
enum Cell {
    /// It passes without an identity.
    Open,
    Alice,
    Bob,
    /// It passes with the identities of alice and bob.
    Both,
    /// It is refused with 401 and this text.
    No(&'static str),
    /// By default the filter refuses with 400, because more than one credential was sent.
    Several(&'static Self),
    /// By default the filter passes it without an identity, because more than one credential was sent.
    Unread(&'static Self),
    /// The filter does something else for the reason of a row: by default, and with `compat`.
    Differs(&'static Self, &'static str, &'static Self),
    /// Like [`Several`](Self::Several), and with `compat` something else for the reason of a row.
    SeveralAnd(&'static Self, &'static str, &'static Self),
    /// The filter does something else for the reason of a row, but only with `compat`.
    OnlyCompat(&'static Self, &'static str, &'static Self),
}

use Cell::{Alice, Bob, Both, Differs, No, OnlyCompat, Open, Several, SeveralAnd, Unread};

const MISSING: Cell = No(says::MISSING);
const EXPIRED: Cell = No(says::EXPIRED);
const STRANGER: Cell = No(says::UNKNOWN_ISSUER);
const FORGED: Cell = No(says::FAILS);
const JUNK: Cell = No(says::BAD_FORM);

/// The columns of the table.
const REQUESTS: usize = 13;

/// What is sent, in the order of the columns. All tokens are in the default places, where both providers look.
fn requests(world: &World) -> [(&'static str, Request); REQUESTS] {
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

/// Name, requirement, and what becomes of each request.
fn table() -> Vec<(&'static str, Value, [Cell; REQUESTS])> {
    let a = || json!({ "provider_name": "a" });
    let b = || json!({ "provider_name": "b" });
    let allow_missing = || json!({ "allow_missing": {} });
    let allow_failed = || json!({ "allow_missing_or_failed": {} });
    let extract = || json!({ "extract_only_without_validation": {} });
    const ONE_OF_A: [Cell; REQUESTS] = [
        MISSING,
        Alice,
        STRANGER,
        EXPIRED,
        STRANGER,
        FORGED,
        JUNK,
        MISSING,
        Several(&EXPIRED),
        Several(&EXPIRED),
        Several(&STRANGER),
        Several(&JUNK),
        MISSING,
    ];
    const ANYTHING: [Cell; REQUESTS] = [
        Open,
        Alice,
        Bob,
        Open,
        Open,
        Open,
        Open,
        Open,
        Unread(&Alice),
        Unread(&Alice),
        Unread(&Both),
        Open,
        Open,
    ];
    const NOTHING_IS_READ: [Cell; REQUESTS] = [Open; REQUESTS];
    vec![
        ("a", a(), ONE_OF_A),
        (
            "any of a and b",
            any([a(), b()]),
            [
                MISSING,
                Alice,
                Bob,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                MISSING,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                MISSING,
            ],
        ),
        (
            "any of b and a",
            any([b(), a()]),
            [
                MISSING,
                Alice,
                Bob,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                MISSING,
                Several(&EXPIRED),
                Several(&EXPIRED),
                SeveralAnd(&Both, "failed-members", &STRANGER),
                Several(&JUNK),
                MISSING,
            ],
        ),
        (
            "all of a and b",
            all([a(), b()]),
            [
                MISSING,
                Differs(&MISSING, "all-members", &STRANGER),
                STRANGER,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                MISSING,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                MISSING,
            ],
        ),
        (
            "allow_missing",
            allow_missing(),
            [
                Open,
                Alice,
                Bob,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                Open,
                SeveralAnd(&Alice, "optional-tokens", &EXPIRED),
                Several(&EXPIRED),
                Several(&Both),
                Several(&JUNK),
                Open,
            ],
        ),
        ("allow_missing_or_failed", allow_failed(), ANYTHING),
        (
            "any of a and allow_missing",
            any([a(), allow_missing()]),
            [
                Open,
                Alice,
                STRANGER,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                Open,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                Open,
            ],
        ),
        (
            "any of allow_missing and a",
            any([allow_missing(), a()]),
            [
                Open,
                Alice,
                STRANGER,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                Open,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                Open,
            ],
        ),
        (
            "any of a and allow_missing_or_failed",
            any([a(), allow_failed()]),
            [Open, Alice, Open, Open, Open, Open, Open, Open, Open, Unread(&Alice), Open, Open, Open],
        ),
        (
            "all of a and allow_missing",
            all([a(), allow_missing()]),
            [
                MISSING,
                Differs(&Open, "all-members", &Alice),
                STRANGER,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                MISSING,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                MISSING,
            ],
        ),
        (
            "all of a and allow_missing_or_failed",
            all([a(), allow_failed()]),
            [
                MISSING,
                Differs(&Open, "all-members", &Alice),
                STRANGER,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                MISSING,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                MISSING,
            ],
        ),
        ("any of a, and all of a and b", any([a(), all([a(), b()])]), ONE_OF_A),
        (
            "all of a, and any of a and b",
            all([a(), any([a(), b()])]),
            [
                MISSING,
                Differs(&MISSING, "all-members", &Alice),
                STRANGER,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                MISSING,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                MISSING,
            ],
        ),
        (
            "any of allow_missing, and all of a and b",
            any([all([a(), b()]), allow_missing()]),
            [
                Open,
                Differs(&Alice, "failed-members", &STRANGER),
                STRANGER,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                Open,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                Open,
            ],
        ),
        (
            "as Istio generates it",
            any([a(), b(), all([any([a(), allow_missing()]), any([b(), allow_missing()])])]),
            [
                Open,
                Alice,
                Bob,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                Open,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&Alice),
                Several(&JUNK),
                Open,
            ],
        ),
        ("extract_only_without_validation", extract(), ANYTHING),
        (
            "any of a and extract_only_without_validation",
            any([a(), extract()]),
            [
                Open,
                Alice,
                Bob,
                Open,
                Open,
                Open,
                Open,
                Open,
                Unread(&Alice),
                OnlyCompat(&Open, "failed-members", &Alice),
                Unread(&Both),
                Open,
                Open,
            ],
        ),
        (
            "all of a and extract_only_without_validation",
            all([a(), extract()]),
            [
                MISSING,
                Differs(&Open, "all-members", &Alice),
                STRANGER,
                EXPIRED,
                STRANGER,
                FORGED,
                JUNK,
                MISSING,
                Several(&EXPIRED),
                Several(&EXPIRED),
                Several(&STRANGER),
                Several(&JUNK),
                MISSING,
            ],
        ),
        ("a rule without a requirement", Value::Null, NOTHING_IS_READ),
    ]
}

pub fn groups(world: &World) -> Vec<Group> {
    let providers = json!({ "a": world.provider(json!({})), "b": world.other_provider(json!({})) });
    let requests = requests(world);
    table()
        .into_iter()
        .map(|(name, requirement, cells)| {
            let group = Group::new(name, configuration(&providers, requirement));
            group.for_each(requests.iter().zip(cells), |group, ((name, request), cell)| {
                group.case_of(name, request.clone(), cell)
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

fn any<const N: usize>(requirements: [Value; N]) -> Value {
    json!({ "requires_any": { "requirements": requirements.as_slice() } })
}

fn all<const N: usize>(requirements: [Value; N]) -> Value {
    json!({ "requires_all": { "requirements": requirements.as_slice() } })
}

impl Group {
    fn case_of(self, name: &str, request: Request, cell: Cell) -> Self {
        let group = self.case(name, request, cell.native());
        match cell {
            Several(_) => group.differs_by_default("several-credentials", status(400)),
            Unread(_) => group.differs_by_default("several-credentials", Open.native()),
            OnlyCompat(_, row, compat) => group.differs_in_compat(row, compat.native()),
            SeveralAnd(_, row, compat) => group
                .differs_by_default("several-credentials", status(400))
                .differs_in_compat(row, compat.native()),
            Differs(_, row, ours) => group.differs(row, ours.native()),
            _ => group,
        }
    }
}

impl Cell {
    fn native(self) -> Outcome {
        match self {
            Open => passes().without("x-sub").without("x-other-sub"),
            Alice => passes().with("x-sub", "alice").without("x-other-sub"),
            Bob => passes().without("x-sub").with("x-other-sub", "bob"),
            Both => passes().with("x-sub", "alice").with("x-other-sub", "bob"),
            No(text) => refused(text),
            Several(native)
            | Unread(native)
            | SeveralAnd(native, ..)
            | OnlyCompat(native, ..)
            | Differs(native, ..) => native.native(),
        }
    }
}
