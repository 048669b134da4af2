//! The same requests through Envoy's own `jwt_authn` and through the filter, which must decide the same.
//!
//! A group is a configuration of `jwt_authn` with cases. The filter gets the same configuration twice: as it is, and
//! with `"compat": "envoy"`. Where it differs on purpose, the case names the row of the README's table "Differences from
//! `jwt_authn`". Every row needs a case, every difference a row, and a case that should differ must not agree. By default
//! every refusal is put in other words; that alone is counted under the row `wording` and not said by each case.

mod case;
mod compare;
mod configurations;
mod groups;
mod report;
mod run;
mod world;

use std::io::{self, Write as _};

use serde_json::{Value, json};

use self::report::Report;
use self::world::World;

/// Groups, configurations and modes that the filter cannot be asked about yet; `jwt_authn` alone is.
const PENDING: &[&str] = &[
    "compat",
    "stripped answers",
    "any of a and b",
    "any of b and a",
    "all of a and b",
    "any of a and allow_missing",
    "any of allow_missing and a",
    "any of a and allow_missing_or_failed",
    "all of a and allow_missing",
    "all of a and allow_missing_or_failed",
    "any of a, and all of a and b",
    "all of a, and any of a and b",
    "any of allow_missing, and all of a and b",
    "as Istio generates it",
    "extract_only_without_validation",
    "any of a and extract_only_without_validation",
    "all of a and extract_only_without_validation",
    "one header with a prefix for each provider",
    "claims by their paths",
    "the payload",
    "the padded payload",
    "a prefix without case",
    "a path without case",
    "a separated prefix",
    "a separated prefix without case",
    "a pattern",
    "a pattern with flags",
    "a template",
    "a template with a rest",
    "CONNECT",
    "headers of a rule",
    "parameters of a rule",
    "an exact subject",
    "an exact subject without case",
    "a prefix of subjects",
    "a suffix of subjects",
    "a suffix of subjects without case",
    "a part of subjects",
    "a part of subjects without case",
    "a pattern of subjects",
    "audiences of a rule",
    "several faults",
    "a longest lifetime",
    "keys as bytes",
    "preflights that are let through",
    "preflights that are not let through",
    "the header for tokens that are not verified",
    "requirements by their names",
    "fields that decide nothing",
    "one issuer with two keys, either",
    "one issuer with two audiences",
    "a provider without an issuer, either",
    "an example with preflights",
    "an example with a stripped answer",
    "subjects",
    "expirations",
    "an optional token",
    "a pattern for paths",
    "all of two",
    "any of two",
    "requirements for routes",
    "a route cache that is cleared",
    "a token cache",
    "a prefix of statistics",
    "a padded payload",
    "a claim by its path",
    "a claim with a name and a path",
    "a pattern that is none",
    "keys that are fetched ahead",
    "keys that are fetched again",
    "local keys as bytes",
    "deeply nested requirements",
    "claims without a verified token",
    "an empty requirement among others",
    "any of one",
    "all of none",
    "a template that is none",
];

/// How the filter is configured.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mode {
    Default,
    Compat,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Default, Self::Compat];

    const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Compat => "compat",
        }
    }

    fn configuration(self, native: &Value) -> Value {
        let mut configuration = native.clone();
        if self == Self::Compat {
            configuration["compat"] = json!("envoy");
        }
        configuration
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_decides_as_jwt_authn_does_where_the_readme_names_no_difference() {
    let world = World::start().await;
    let groups = groups::all(&world);
    let shown = run::run(&world, &groups).await;
    let mut report = Report::of(&groups, &shown);
    report.compare_with_readme(&configurations::rows());
    // Past the capture of the test harness: the numbers are for whoever runs the suite.
    writeln!(io::stderr(), "\n{}", report.summary()).unwrap();
    let surprises = &report.surprises;
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}
