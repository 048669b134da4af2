//! Verdicts: which cases are surprises, and what the README's table of differences says about the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Mode;
use super::case::{Group, Outcome};
use super::compare::Kind;
use super::run::Shown;
use crate::versions;

const README: &str = include_str!("../../../README.md");

/// The row that every refusal falls under by default.
const WORDING: &str = "wording";
/// The row that refusals fall under with `compat` when the URL of the request has a query or odd characters.
const REALM: &str = "realm";

/// How many cases agree, how many differ for which row, and what nobody expected.
#[derive(Default)]
pub struct Report {
    pub surprises: Vec<String>,
    cases: usize,
    groups: BTreeSet<&'static str>,
    agreeing: BTreeMap<Mode, usize>,
    differing: BTreeMap<String, BTreeMap<Mode, usize>>,
}

impl Report {
    pub fn of(groups: &[Group], shown: &[Shown<'_>]) -> Self {
        let mut report = Self::default();
        for (group, mode) in groups.iter().flat_map(|group| Mode::ALL.map(|mode| (group, mode))) {
            if let Some(refusal) = mode.refusal(&group.configuration) {
                report.surprises.push(format!("{} / {}: refused: {refusal}", group.name, mode.name()));
            }
        }
        for shown in shown {
            report.judge(shown);
        }
        report
    }

    fn judge(&mut self, shown: &Shown<'_>) {
        self.cases += 1;
        self.groups.insert(shown.group.name);
        let earlier = self.surprises.len();
        self.compare(shown);
        let name = shown.group.name_of(shown.case);
        if let Some(older) = versions::other_answer(&name) {
            let found = self.surprises.split_off(earlier);
            if found.is_empty() {
                self.surprise(
                    shown,
                    "jwt_authn",
                    &format!("nothing is seen of what `versions` says: {older}"),
                );
            }
            versions::report_left_out(&name, older);
            self.judge_without_native(shown);
        }
    }

    fn compare(&mut self, shown: &Shown<'_>) {
        for contradiction in shown.native.contradictions(&shown.case.native) {
            self.surprise(shown, "jwt_authn", &contradiction);
        }
        for mode in Mode::ALL {
            for difference in shown.case.differences.iter().filter(|difference| difference.mode == mode) {
                *self.differing.entry(difference.row.clone()).or_default().entry(mode).or_default() += 1;
            }
            if shown.ours.contains_key(&mode) {
                self.judge_mode(shown, mode);
            }
        }
    }

    /// Looks at the filter alone: it does what it would do beside the newest `jwt_authn`.
    fn judge_without_native(&mut self, shown: &Shown<'_>) {
        for (mode, ours) in &shown.ours {
            let difference = shown.case.differences.iter().find(|difference| difference.mode == *mode);
            let expected = match (difference, mode) {
                (Some(difference), _) => difference.outcome.clone(),
                (None, Mode::Compat) => shown.case.native.clone(),
                // Refusals are put in its own words.
                (None, Mode::Default) => {
                    Outcome { body: None, reply_headers: Vec::new(), ..shown.case.native.clone() }
                }
            };
            for contradiction in ours.contradictions(&expected) {
                self.surprise(shown, mode.name(), &contradiction);
            }
        }
    }

    fn judge_mode(&mut self, shown: &Shown<'_>, mode: Mode) {
        let ours = &shown.ours[&mode];
        let aspects = shown.native.differences(ours);
        let row_of = |kind| match (kind, mode) {
            (Kind::Decision, _) | (Kind::Wording, Mode::Compat) => None,
            (Kind::Wording | Kind::Realm, Mode::Default) => Some(WORDING),
            (Kind::Realm, Mode::Compat) => Some(REALM),
        };
        let (wording, decisions): (Vec<_>, Vec<_>) =
            aspects.into_iter().partition(|aspect| row_of(aspect.kind).is_some());
        let expected = shown.case.differences.iter().find(|difference| difference.mode == mode);
        match expected {
            Some(difference) => {
                if decisions.is_empty() {
                    let row = &difference.row;
                    self.surprise(
                        shown,
                        mode.name(),
                        &format!("agrees, although it should differ for {row}"),
                    );
                }
                for contradiction in ours.contradictions(&difference.outcome) {
                    self.surprise(shown, mode.name(), &contradiction);
                }
            }
            None => {
                for decision in &decisions {
                    self.surprise(shown, mode.name(), &format!("differs: {decision}"));
                }
                if let Some(row) = wording.first().and_then(|aspect| row_of(aspect.kind)) {
                    *self.differing.entry(row.to_owned()).or_default().entry(mode).or_default() += 1;
                } else if decisions.is_empty() {
                    *self.agreeing.entry(mode).or_default() += 1;
                }
            }
        }
    }

    fn surprise(&mut self, shown: &Shown<'_>, who: &str, what: &str) {
        let mut text = format!("{} / {} / {who}: {what}", shown.group.name, shown.case.name);
        write!(text, "\n    jwt_authn: {}", shown.native).unwrap();
        for (mode, sight) in &shown.ours {
            write!(text, "\n    {}: {sight}", mode.name()).unwrap();
        }
        self.surprises.push(text);
    }

    /// Adds what is wrong between the rows of the README and those that cases differ for. `elsewhere` are rows that are
    /// shown otherwise than by requests.
    pub fn compare_with_readme(&mut self, elsewhere: &[&str]) {
        let documented: BTreeSet<_> = documented_rows().into_iter().collect();
        let seen: BTreeSet<_> =
            self.differing.keys().map(String::as_str).chain(elsewhere.iter().copied()).collect();
        let unseen = documented
            .difference(&seen)
            .map(|row| format!("the README has a row {row:?}, but no case differs for it"));
        let undocumented = seen
            .difference(&documented)
            .map(|row| format!("cases differ for {row:?}, but the README has no such row"));
        let surprises: Vec<_> = unseen.chain(undocumented).collect();
        self.surprises.extend(surprises);
    }

    /// The numbers, as a table.
    pub fn summary(&self) -> String {
        let mut text = format!("{} cases in {} configurations", self.cases, self.groups.len());
        let mut line = |name: &str, count: &dyn Fn(Mode) -> usize| {
            write!(text, "\n  {name:<24}{:>12}{:>12}", count(Mode::Default), count(Mode::Compat)).unwrap();
        };
        let of = |map: &BTreeMap<Mode, usize>, mode| map.get(&mode).copied().unwrap_or_default();
        line("agree", &|mode| of(&self.agreeing, mode));
        for (row, counts) in &self.differing {
            line(&format!("differ: {row}"), &|mode| of(counts, mode));
        }
        let head = format!("{:<26}{:>12}{:>12}", "", Mode::Default.name(), Mode::Compat.name());
        text.replacen('\n', &format!("\n{head}\n"), 1)
    }
}

/// The first cells of the table of differences.
fn documented_rows() -> Vec<&'static str> {
    let (_, rest) =
        README.split_once("<!-- differences -->\n").expect("the README has the marker of the table");
    let rows = rest.lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('`').nth(1).expect("a row starts with its id")).collect()
}
