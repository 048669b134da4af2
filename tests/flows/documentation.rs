//! The tables of the README that mirror code are equal to it.

use edge_authn::config;
use edge_authn::rejection::Answer;
use serde_json::{Value, json};

use crate::support::configuration;

const README: &str = include_str!("../../README.md");

/// The cells of the table behind a marker comment, without its head.
fn table(marker: &str) -> Vec<Vec<String>> {
    let (_, rest) = README.split_once(&format!("<!-- {marker} -->\n")).expect(marker);
    let rows = rest.lines().take_while(|line| line.starts_with('|')).skip(2);
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
    rows.map(cells).collect()
}

fn first_column(marker: &str) -> Vec<String> {
    table(marker).into_iter().map(|row| row[0].clone()).collect()
}

#[test]
fn the_tables_of_fields_name_every_field_that_is_read() {
    assert_eq!(first_column("fields: top level"), config::fields().0);
    assert_eq!(first_column("fields: provider"), config::provider_fields().0);
    assert_eq!(first_column("fields: rule"), config::rule_fields().0);
    assert_eq!(first_column("fields: session_check"), config::session_check_fields());
    assert_eq!(first_column("fields: browser_session"), config::browser_session_fields());
    assert_eq!(first_column("fields: keys"), config::KEY_SCHEDULE_FIELDS);
}

#[test]
fn the_fields_that_are_read_are_those_that_are_listed() {
    let error = |provider| error(&configuration(provider));
    let known = error(json!({ "nothing-of-the-kind": 1 }));
    let listed = config::provider_fields().0.join(", ");
    assert!(known.ends_with(&format!("expected one of {listed}")), "{known}");
    for source in ["remote_jwks", "discovery"] {
        let place = json!({ "uri": "https://a/", "cluster": "c" });
        let known =
            error(json!({ source: { "http_uri": place, "nothing-of-the-kind": 1 }, "local_jwks": null }));
        assert!(known.ends_with(&config::KEY_SCHEDULE_FIELDS.join(", ")), "{known}");
    }
    for refused in config::provider_fields().1 {
        assert!(error(json!({ *refused: 1 })).contains("does not support"), "{refused}");
    }
    let top = |name: &str| {
        let mut configuration = configuration(json!({}));
        configuration[name] = json!(1);
        self::error(&configuration)
    };
    let listed = config::fields().0.join(", ");
    assert!(top("nothing-of-the-kind").ends_with(&format!("expected one of {listed}")));
    for refused in config::fields().1 {
        assert!(top(refused).contains("does not support"), "{refused}");
    }
}

#[test]
fn the_table_of_presets_names_every_preset_and_what_it_needs() {
    let rows: Vec<_> = table("presets").into_iter().map(|row| row[..2].to_vec()).collect();
    let presets = config::presets().map(|(name, needed)| vec![name.to_owned(), needed.join(", ")]);
    assert_eq!(rows, presets.collect::<Vec<_>>());
}

#[test]
fn the_page_of_presets_shows_each_as_it_is() {
    const PAGE: &str = include_str!("../../docs/presets.md");
    let sections: Vec<_> = PAGE.split("\n## ").skip(1).collect();
    assert_eq!(sections.len(), config::presets().count());
    for (section, (name, _)) in sections.into_iter().zip(config::presets()) {
        assert_eq!(section.lines().next(), Some(name));
        let block = |marker: &str| {
            let (_, rest) = section.split_once(marker).expect(name);
            rest.split("\n```").next().unwrap().to_owned()
        };
        let example: Value = serde_json::from_str(&block("```json\n")).expect(name);
        assert_eq!(example["preset"], name);
        let configuration = json!({ "providers": { "it": example }, "rules": [] });
        let environment = |_: &str| Some("a secret".to_owned());
        config::Config::parse(configuration.to_string().as_bytes(), &environment).expect(name);
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(plain(&block("```text\n")), plain(config::preset_fields(name).unwrap()), "{name}");
        let shown: Vec<_> = section.lines().filter(|line| line.starts_with("| `{")).collect();
        let levels = config::preset_levels(name).map(|(parameter, placeholder, value, text)| {
            assert!(section.contains(&format!("| placeholder | `{parameter}` | adds |")), "{name}");
            let text = if text.is_empty() { String::new() } else { format!("`{text}`") };
            format!("| `{{{placeholder}}}` | `\"{value}\"` | {text} |")
        });
        assert_eq!(shown, levels.collect::<Vec<_>>(), "{name}");
    }
}

fn error(configuration: &Value) -> String {
    config::Config::parse(configuration.to_string().as_bytes(), &|_| None)
        .expect_err("a wrong configuration")
        .to_string()
}

#[test]
fn the_table_of_envoy_versions_names_those_that_the_suite_runs_in() {
    const VERSIONS: &str = include_str!("../../scripts/envoy-versions.txt");
    let rows: Vec<_> = table("envoy versions").into_iter().map(|row| row[..2].to_vec()).collect();
    let versions = VERSIONS.lines().filter(|line| !line.starts_with('#')).map(|patch| {
        let (minor, _) = patch.rsplit_once('.').expect(patch);
        vec![minor.to_owned(), patch.to_owned()]
    });
    assert_eq!(rows, versions.collect::<Vec<_>>());
}

#[test]
fn the_table_of_metrics_names_every_counter() {
    assert_eq!(first_column("metrics"), edge_authn::metric::Metric::NAMES);
}

#[test]
fn the_table_of_refusals_is_what_is_answered() {
    let rows: Vec<_> = table("refusals").into_iter().map(|row| row[..4].to_vec()).collect();
    let answers = Answer::ALL.iter().map(|answer| {
        let Answer { label, status, error, description } = answer;
        [label, status.to_string().as_str(), error.unwrap_or_default(), description]
            .map(str::to_owned)
            .to_vec()
    });
    assert_eq!(rows, answers.collect::<Vec<_>>());
}
