//! The same requests through Envoy's own `jwt_authn` and through the filter, which must decide the same.
//!
//! A group is a configuration of `jwt_authn` with cases. The filter gets the same configuration twice: as it is, and
//! with `"compat": "envoy"`. Where it differs on purpose, the case names the row of the README's table "Differences from
//! `jwt_authn`". Every row needs a case, every difference a row, and a case that should differ must not agree. By default
//! every refusal is put in other words; that alone is counted under the row `wording` and not said by each case.
//!
//! What `jwt_authn` is said to do is what it does in the newest Envoy. Older ones are held to the same, but for the changes
//! that `versions` lists. The filter is held to it with all of them.

mod case;
mod compare;
mod configurations;
mod groups;
mod report;
mod run;
mod world;

use std::io::{self, Write as _};

use edge_authn::config::Config;
use serde_json::{Value, json};

use self::case::Group;
use self::report::Report;
use self::world::World;
use crate::versions;

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

    /// Why the filter does not load a configuration of `jwt_authn`.
    fn refusal(self, native: &Value) -> Option<String> {
        let configuration = self.configuration(native).to_string();
        Config::parse(configuration.as_bytes(), &|_| None).err().map(|error| error.to_string())
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
    for name in versions::CHANGES.iter().flat_map(|change| change.cases) {
        assert!(
            configurations::is_one(name) || groups.iter().any(|group| group.is_or_has(name)),
            "{name} in `versions` is no case"
        );
    }
    // A case of a group that this Envoy refuses is not asked either.
    let (left_out, groups): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| versions::complaint(group.name).is_some());
    let shown = run::run(&world, &groups).await;
    let mut report = Report::of(&groups, &shown);
    report.surprises.extend(configurations::too_young_for_envoy(&left_out).await);
    let rows: Vec<_> = left_out.iter().flat_map(Group::rows).chain(configurations::rows()).collect();
    report.compare_with_readme(&rows);
    // Past the capture of the test harness: the numbers are for whoever runs the suite.
    writeln!(io::stderr(), "\n{}", report.summary()).unwrap();
    let surprises = &report.surprises;
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}
