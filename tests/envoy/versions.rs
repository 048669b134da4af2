//! What `jwt_authn` did otherwise, or did not have, in the older Envoys that the suite runs in.
//!
//! The filter must do the same in all of `scripts/envoy-versions.txt`, and whatever is not in this table is held to the same
//! in all of them. What is in it cannot be compared in older ones, and the suite says so wherever it leaves it out. It fails
//! where an entry is not needed: where an older Envoy takes a configuration that it should refuse, or where a comparison
//! would have held. What the filter does with these cases is looked at in every Envoy that can be asked.

use std::env;
use std::process::Command;
use std::sync::LazyLock;

use crate::support::report;

/// Major and minor version of an Envoy.
pub type Version = (u32, u32);

/// A change to `jwt_authn`.
pub struct Change {
    /// The first Envoy with it.
    pub since: Version,
    pub older: Older,
    /// What cannot be compared in older ones: `group / case` of the differential suite, or the name of a group or of a
    /// configuration whose loading is older ones' affair.
    pub cases: &'static [&'static str],
}

/// What older Envoys do in place of what the cases say of `jwt_authn`.
pub enum Older {
    /// They refuse the configuration, with a message that has this in it.
    Refuse(&'static str),
    /// They answer otherwise; this says how.
    Answer(&'static str),
}

pub const CHANGES: &[Change] = &[
    Change {
        since: (1, 37),
        older: Older::Refuse("extract_only_without_validation"),
        cases: &[
            "extract_only_without_validation",
            "any of a and extract_only_without_validation",
            "all of a and extract_only_without_validation",
            "the header for tokens that are not verified",
            "the header of another name for tokens that are not verified",
            "claims without a verified token",
        ],
    },
    Change {
        since: (1, 39),
        older: Older::Refuse("verification_status_header"),
        cases: &["the header of another name for tokens that are not verified"],
    },
    Change {
        since: (1, 39),
        older: Older::Answer("extract_only_without_validation says nothing of a token that does not verify"),
        cases: &[
            "extract_only_without_validation / an expired token",
            "extract_only_without_validation / a token of a stranger",
            "extract_only_without_validation / a forged token",
            "extract_only_without_validation / junk",
            "extract_only_without_validation / the same token twice",
            "extract_only_without_validation / an expired token and a good one in the query",
            "any of a and extract_only_without_validation / an expired token",
            "any of a and extract_only_without_validation / a token of a stranger",
            "any of a and extract_only_without_validation / a forged token",
            "any of a and extract_only_without_validation / junk",
            "any of a and extract_only_without_validation / the same token twice",
            "the header for tokens that are not verified / an expired token",
            "the header for tokens that are not verified / a forged token",
            "the header for tokens that are not verified / a token of a stranger",
            "the header for tokens that are not verified / junk",
            "the header for tokens that are not verified / a client that claims to be verified with junk",
        ],
    },
    Change {
        since: (1, 39),
        older: Older::Answer("several lines of a header are matched as one, joined by commas"),
        cases: &[
            "headers of a rule / /exact two lines",
            "headers of a rule / /exact two lines in another order",
            "headers of a rule / /exact-list two lines",
            "headers of a rule / /exact-old two lines",
            "headers of a rule / /exact-old two lines in another order",
            "headers of a rule / /folded two lines",
            "headers of a rule / /folded two lines in another order",
            "headers of a rule / /not-exact two lines",
            "headers of a rule / /not-exact two lines in another order",
            "headers of a rule / /not-exact-if-missing two lines",
            "headers of a rule / /not-exact-if-missing two lines in another order",
            "headers of a rule / /prefix two lines in another order",
            "headers of a rule / /regex two lines",
            "headers of a rule / /regex two lines in another order",
            "headers of a rule / /suffix two lines",
        ],
    },
    Change {
        since: (1, 40),
        older: Older::Refuse("'claim_path'"),
        cases: &["claims by their paths", "a claim by its path", "a claim with a name and a path"],
    },
    Change {
        since: (1, 40),
        // It is the check of one field there, and of two since.
        older: Older::Refuse("ClaimName"),
        cases: &["a claim without a name"],
    },
    Change {
        since: (1, 40),
        older: Older::Answer(
            "identity headers of clients stay where no token of their provider is looked at",
        ),
        cases: &[
            "a rule without a requirement / forged identity headers",
            "any of a and allow_missing / forged identity headers",
            "any of a and allow_missing_or_failed / forged identity headers",
            "any of allow_missing and a / forged identity headers",
            "any of allow_missing, and all of a and b / forged identity headers",
            "forged identity headers / /none: as configured",
            "forged identity headers / /none: twice",
            "forged identity headers / /open: as configured",
            "forged identity headers / /open: twice",
            "forged identity headers / beside a token of b",
            "no rules / forged identity headers",
            "preflights that are let through / a preflight with forged identity headers",
            "the first rule that matches / none with forged identity headers",
            "the first rule that matches / the open one with forged identity headers",
        ],
    },
];

/// What must be in the message with which the Envoy that the suite runs in refuses a configuration, because it is too old
/// for it.
pub fn complaint(name: &str) -> Option<&'static str> {
    pending(name).find_map(|change| match change.older {
        Older::Refuse(complaint) => Some(complaint),
        Older::Answer(_) => None,
    })
}

/// What the Envoy that the suite runs in does otherwise with a `group / case`, because it is too old for it.
pub fn other_answer(name: &str) -> Option<&'static str> {
    pending(name).find_map(|change| match change.older {
        Older::Answer(answer) => Some(answer),
        Older::Refuse(_) => None,
    })
}

/// Says that something is not compared with this Envoy: nothing is left out in silence.
pub fn report_left_out(name: &str, reason: &str) {
    let (major, minor) = *RUNNING;
    report(&format!("not compared with Envoy {major}.{minor}: {name}: {reason}"));
}

/// The changes that a case waits for, the oldest first.
fn pending(name: &str) -> impl Iterator<Item = &'static Change> {
    CHANGES.iter().filter(move |change| *RUNNING < change.since && change.cases.contains(&name))
}

static RUNNING: LazyLock<Version> = LazyLock::new(|| {
    let envoy = env::var("ENVOY").expect("the suite is started by `make test-envoy`");
    let output = Command::new(envoy).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    version(&text).unwrap_or_else(|| panic!("there is no version in {text:?}"))
});

/// The version in `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`, in front of which the path is.
fn version(text: &str) -> Option<Version> {
    let (_, build) = text.rsplit_once("version: ")?;
    let mut numbers = build.split('/').nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[test]
fn the_readme_says_what_older_envoys_do_otherwise() {
    const README: &str = include_str!("../../README.md");
    let (_, table) = README.split_once("<!-- envoy versions -->\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let table = table.replace('`', "");
    for change in CHANGES {
        if let Older::Answer(answer) = change.older {
            assert!(table.contains(answer), "{answer}");
        }
    }
}

#[test]
fn the_version_is_read_from_what_envoy_says() {
    assert_eq!(version("\n/a/1.2/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n\n"), Some((1, 40)));
    assert_eq!(version("envoy  version: 9e55/1.41.0-dev/Modified/DEBUG/BoringSSL"), Some((1, 41)));
    assert_eq!(version("envoy: not found"), None);
}
