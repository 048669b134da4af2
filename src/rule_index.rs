//! Paths -> which rules may be for them.
//!
//! Takes the texts that the paths of rules start with, once, when the configuration is loaded; gives the numbers of the
//! rules that a request's path has to be held against, in their order and one by one, so that whoever has an answer
//! asks for no more. That takes one binary search and as many steps as texts stand one within another, however many
//! rules there are. Case does not count here, so that rules for which it does not are found like all others: this only
//! says where it is no use to look. Deliberately decides nothing: what it gives is compared in `matcher` as if there
//! were no index.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ptr;

/// What is known of the paths that a rule is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Paths<'r> {
    /// Each starts with one of these, in whatever case.
    StartWith([&'r str; 2]),
    /// Nothing.
    Unknown,
}

/// The rules of a configuration by the start of their paths.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuleIndex {
    /// In the order of the texts.
    starts: Vec<Start>,
    /// The rules of whose paths nothing is known.
    anywhere: Vec<usize>,
}

/// A text that paths start with.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Start {
    /// In lower case.
    text: Vec<u8>,
    /// The longest other text that this one starts with.
    within: Option<usize>,
    /// The rules for paths that start with it, in their order.
    rules: Vec<usize>,
}

impl RuleIndex {
    /// The index of rules for these paths; the first has the number 0.
    pub fn of<'r>(rules: impl IntoIterator<Item = Paths<'r>>) -> Self {
        let mut anywhere = Vec::new();
        let mut by_text: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (number, paths) in rules.into_iter().enumerate() {
            match paths {
                Paths::Unknown => anywhere.push(number),
                Paths::StartWith(texts) => {
                    for text in texts {
                        let rules = by_text.entry(in_lower_case(text).into_owned()).or_default();
                        if rules.last() != Some(&number) {
                            rules.push(number);
                        }
                    }
                }
            }
        }
        let mut starts: Vec<Start> = Vec::with_capacity(by_text.len());
        for (text, rules) in by_text {
            // Whatever the text before this one does not start with, this one does not start with either, or it would
            // stand between the two.
            let mut within = starts.len().checked_sub(1);
            while let Some(outer) = within.and_then(|outer| starts.get(outer)) {
                if text.starts_with(&outer.text) {
                    break;
                }
                within = outer.within;
            }
            starts.push(Start { text, within, rules });
        }
        Self { starts, anywhere }
    }

    /// The numbers of the rules that may be for a path that is written in these ways, in order and each once.
    pub fn candidates<const N: usize>(&self, paths: [&str; N]) -> Candidates<'_, N> {
        let mut known = None;
        let starts = paths.map(|path| {
            // Mostly they are one text.
            let is_known = known.replace(path).is_some_and(|known| ptr::eq(known, path) || known == path);
            if is_known { None } else { self.longest_start(path) }
        });
        Candidates { index: self, starts, next: 0 }
    }

    /// The longest text that a path starts with. All others that it starts with are those which that one is within.
    fn longest_start(&self, path: &str) -> Option<usize> {
        let path = &*in_lower_case(path);
        // Of the texts that do not come behind the path, the last is the one that shares most with it.
        let mut nearest = self.starts.partition_point(|start| *start.text <= *path).checked_sub(1);
        let last = self.starts.get(nearest?)?;
        let shared = last.text.iter().zip(path).take_while(|(of_text, of_path)| of_text == of_path).count();
        while let Some(start) = nearest.and_then(|nearest| self.starts.get(nearest)) {
            if start.text.len() <= shared {
                return nearest;
            }
            nearest = start.within;
        }
        None
    }
}

/// The rules that a path has to be held against. They are looked for as they are asked for.
#[derive(Clone, Debug)]
pub struct Candidates<'i, const N: usize> {
    index: &'i RuleIndex,
    /// The longest start of the path in each way to write it, unless that is known from another way.
    starts: [Option<usize>; N],
    /// What comes next is this one or one behind it.
    next: usize,
}

impl<const N: usize> Iterator for Candidates<'_, N> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let index = self.index;
        let mut first = first_from(self.next, &index.anywhere);
        for longest in self.starts {
            let mut at = longest;
            while let Some(start) = at.and_then(|at| index.starts.get(at)) {
                first = first.into_iter().chain(first_from(self.next, &start.rules)).min();
                at = start.within;
            }
        }
        self.next = first?.saturating_add(1);
        first
    }
}

/// The first of these numbers, which are in order, that is not below `least`.
fn first_from(least: usize, numbers: &[usize]) -> Option<usize> {
    numbers.get(numbers.partition_point(|number| *number < least)).copied()
}

fn in_lower_case(text: &str) -> Cow<'_, [u8]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.as_bytes().to_ascii_lowercase())
    } else {
        Cow::Borrowed(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(texts: &[&str]) -> RuleIndex {
        RuleIndex::of(texts.iter().map(|text| match *text {
            "" => Paths::Unknown,
            text => Paths::StartWith([text, text]),
        }))
    }

    fn candidates(index: &RuleIndex, path: &str) -> Vec<usize> {
        index.candidates([path]).collect()
    }

    #[test]
    fn a_path_is_held_against_the_rules_whose_text_it_starts_with_in_their_order() {
        let index = index(&["/a/b", "/", "/a", "/ab", "/a/b/c", "/a", "/b"]);
        for (path, expected) in [
            ("/", &[1][..]),
            ("/a", &[1, 2, 5]),
            ("/ab", &[1, 2, 3, 5]),
            ("/a/b", &[0, 1, 2, 5]),
            ("/a/b/cd", &[0, 1, 2, 4, 5]),
            ("/a/bb", &[0, 1, 2, 5]),
            ("/a/z", &[1, 2, 5]),
            ("/z", &[1]),
            ("", &[]),
            ("z", &[]),
        ] {
            assert_eq!(candidates(&index, path), expected, "{path}");
        }
    }

    #[test]
    fn rules_whose_paths_are_not_known_are_for_any_path_and_for_none() {
        let index = index(&["/a", "", "/b", ""]);
        assert_eq!(candidates(&index, "/b"), [1, 2, 3]);
        assert_eq!(candidates(&index, "/z"), [1, 3]);
        assert_eq!(index.candidates([]).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_path_is_looked_for_in_each_way_to_write_it_and_in_any_case() {
        let index = RuleIndex::of([
            Paths::StartWith(["/caf%C3%A9", "/caf\u{e9}"]),
            Paths::StartWith(["/A", "/A"]),
            Paths::StartWith(["/a", "/a"]),
        ]);
        assert_eq!(candidates(&index, "/Caf\u{e9}/x"), [0]);
        assert_eq!(index.candidates(["/caf%c3%a9", "/aB"]).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(index.candidates(["/x", "/aB", "/aB"]).collect::<Vec<_>>(), [1, 2]);
    }

    proptest! {
        #[test]
        fn no_rule_for_a_path_is_missed_and_none_given_in_vain(
            texts in prop::collection::vec("[/ab]{0,5}", 0..20),
            path in "[/ab]{0,6}",
        ) {
            let index = index(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let is_for = |number: &usize| path.starts_with(&texts[*number]);
            let expected: Vec<_> = (0..texts.len()).filter(is_for).collect();
            prop_assert_eq!(candidates(&index, &path), expected);
        }
    }
}
