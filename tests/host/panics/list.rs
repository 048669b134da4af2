//! The list of what is found and why it does not happen, or why nothing can be done about it: `allowed.txt`.
//!
//! Takes its text and what was found, gives what is not on it and what is on it in vain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::graph::{Finding, Findings, What};

/// Where [`List::updated`] puts what nobody has given a reason for.
const WITHOUT_REASON: &str = "Without a reason";

/// The sources of this crate, as they stand in the module.
const OWN_SOURCES: &str = "src/";

#[derive(Debug)]
pub struct List<'a> {
    head: Vec<&'a str>,
    groups: Vec<Group<'a>>,
}

#[derive(Debug)]
struct Group<'a> {
    title: &'a str,
    reason: Vec<&'a str>,
    entries: Vec<Entry<'a>>,
}

/// `function | what | file`, each of which may end in `*`, which is anything. The file is left out where it is not known. Behind one of this
/// crate is the number of lines that can panic like that, whatever function they have become part of.
#[derive(Debug)]
struct Entry<'a> {
    line: &'a str,
    function: &'a str,
    kind: &'a str,
    file: Option<&'a str>,
    places: Option<usize>,
}

impl<'a> List<'a> {
    pub fn parse(text: &'a str) -> Self {
        let mut list = Self { head: Vec::new(), groups: Vec::new() };
        for line in text.lines().map(str::trim_end) {
            match (line.strip_prefix("## "), list.groups.last_mut()) {
                (Some(title), _) => {
                    list.groups.push(Group { title, reason: Vec::new(), entries: Vec::new() });
                }
                (None, None) => list.head.push(line),
                (None, Some(group)) if line.contains(" | ") => group.entries.push(Entry::parse(line)),
                (None, Some(_)) if line.is_empty() => {}
                (None, Some(group)) => group.reason.push(line),
            }
        }
        list
    }

    /// What is wrong with the list of what a module made by `compiler` can do; empty if nothing is.
    pub fn complaints(&self, findings: &Findings, compiler: &str) -> String {
        let mut complaints = String::new();
        let (unlisted, in_vain) = (self.unlisted(findings), self.in_vain(findings));
        for (line, finding) in &unlisted {
            let (way, lines) = (finding.way.join("\n      -> "), &finding.lines);
            writeln!(complaints, "not on the list:\n{line}\n    lines {lines:?}, reached by\n         {way}")
                .unwrap();
        }
        for entry in &in_vain {
            writeln!(complaints, "on the list, and not in the module any more:\n{}", entry.line).unwrap();
        }
        for group in self.groups.iter().filter(|group| group.reason.is_empty()) {
            writeln!(complaints, "without a reason: {}", group.title).unwrap();
        }
        if !complaints.is_empty() && !self.head.contains(&made_by(compiler).as_str()) {
            writeln!(
                complaints,
                "The module is {}, the list is not: another compiler moves code between functions.",
                made_by(compiler).to_lowercase()
            )
            .unwrap();
        }
        complaints
    }

    fn entries(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.groups.iter().flat_map(|group| &group.entries)
    }

    /// By the line that would list it.
    fn unlisted<'f>(&self, findings: &'f Findings) -> BTreeMap<String, &'f Finding> {
        let found = findings.by_function.iter();
        let unlisted = found.filter(|((function, what), _)| {
            !self.entries().any(|entry| entry.covers(function, what) && entry.has_places(findings))
        });
        unlisted.map(|((function, what), finding)| (line(function, what, findings), finding)).collect()
    }

    /// What can be taken off the list.
    fn in_vain(&self, findings: &Findings) -> Vec<&Entry<'a>> {
        let is_found = |entry: &&Entry<'a>| {
            findings.by_function.keys().any(|(function, what)| entry.covers(function, what))
                && entry.has_places(findings)
        };
        self.entries().filter(|entry| !is_found(entry)).collect()
    }

    /// The list with nothing on it in vain, and with what is not on it under a heading of its own.
    pub fn updated(&self, findings: &Findings, compiler: &str) -> String {
        let in_vain: BTreeSet<_> = self.in_vain(findings).into_iter().map(|entry| entry.line).collect();
        let head = self.head.iter().map(|line| match line.starts_with(MADE_BY) {
            true => made_by(compiler),
            false => (*line).to_owned(),
        });
        let mut lines: Vec<String> = head.collect();
        for group in &self.groups {
            let kept = group.entries.iter().map(|entry| entry.line).filter(|line| !in_vain.contains(line));
            let kept: Vec<_> = kept.collect();
            if !kept.is_empty() {
                let (title, reason) = (format!("## {}", group.title), group.reason.iter().copied());
                lines.push(title);
                lines.extend(reason.chain([""]).chain(kept).chain([""]).map(str::to_owned));
            }
        }
        let unlisted = self.unlisted(findings).into_keys();
        lines.extend([format!("## {WITHOUT_REASON}"), String::new()].into_iter().chain(unlisted));
        let has_all = lines.last().is_some_and(String::is_empty);
        if has_all {
            lines.truncate(lines.len() - 2);
        }
        lines.join("\n").trim_end().to_owned() + "\n"
    }

    /// How many functions each reason stands for, and all of them.
    pub fn summary(&self, findings: &Findings) -> String {
        let functions = |covers: &dyn Fn(&str, &What) -> bool| {
            let found = findings.by_function.keys().filter(|(function, what)| covers(function, what));
            found.map(|(function, _)| function).collect::<BTreeSet<_>>().len()
        };
        let mut summary = format!("{} functions, {} listed\n", findings.functions, functions(&|_, _| true));
        for Group { title, entries, .. } in &self.groups {
            let count = functions(&|function, what| entries.iter().any(|entry| entry.covers(function, what)));
            writeln!(summary, "{count:4}  {title}").unwrap();
        }
        summary
    }
}

const MADE_BY: &str = "Made by ";

fn made_by(compiler: &str) -> String {
    format!("{MADE_BY}{compiler}")
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Self {
        let mut columns = line.split(" | ");
        let [function, kind] = [(); 2].map(|()| columns.next().unwrap_or_else(|| panic!("{line:?}")));
        let (file, places) = match columns.next().map(|file| file.split_once(" x").unwrap_or((file, ""))) {
            Some((file, places)) => (Some(file), places.parse().ok()),
            None => (None, None),
        };
        Self { line, function, kind, file, places }
    }

    fn covers(&self, function: &str, what: &What) -> bool {
        let is_like = |pattern: &str, found: &str| match pattern.strip_suffix('*') {
            Some(beginning) => found.starts_with(beginning),
            None => pattern == found,
        };
        let has_file = match (self.file, &what.file) {
            (Some(pattern), Some(file)) => is_like(pattern, file),
            (Some(pattern), None) => pattern == "*",
            (None, file) => file.is_none(),
        };
        is_like(self.function, function) && is_like(self.kind, &what.kind) && has_file
    }

    /// Whether there are as many lines as it says.
    fn has_places(&self, findings: &Findings) -> bool {
        let covered = findings.by_function.iter().filter(|((function, what), _)| self.covers(function, what));
        self.places.is_none_or(|places| count_lines(covered.map(|(_, finding)| finding)) == places)
    }
}

fn count_lines<'f>(findings: impl Iterator<Item = &'f Finding>) -> usize {
    findings.flat_map(|finding| &finding.lines).collect::<BTreeSet<_>>().len()
}

fn line(function: &str, what: &What, findings: &Findings) -> String {
    match &what.file {
        Some(file) if file.starts_with(OWN_SOURCES) => {
            let alike = findings.by_function.iter().filter(|((_, other), _)| other == what);
            let places = count_lines(alike.map(|(_, finding)| finding));
            format!("* | {} | {file} x{places}", what.kind)
        }
        Some(file) => format!("{function} | {} | {file}", what.kind),
        None => format!("{function} | {}", what.kind),
    }
}
