//! Lines of the log that are not written again and again.
//!
//! For hosts where requests do what a timer does elsewhere: what is wrong is then found out by each of them. nginx also
//! writes the line of the request behind each line of its log, which may have a token in it.

use std::cell::Cell;
use std::time::Duration;

use crate::host::clock;
use crate::time::UnixTime;

/// For how long the same is not said again.
const QUIET: Duration = Duration::from_secs(60);

/// The most lines that are remembered.
const MOST_LINES: usize = 32;

thread_local! {
    /// What was said last, and when.
    static SAID: Cell<Vec<(String, UnixTime)>> = Cell::default();
}

/// Whether this has not been said just now. It counts as said from now on.
pub(super) fn is_news(line: &str) -> bool {
    let now = clock::now();
    let note = |said: &Cell<Vec<(String, UnixTime)>>| {
        let mut lines = said.take();
        lines.retain(|(_, at)| *at <= now && now < at.after(QUIET));
        let is_news = !lines.iter().any(|(known, _)| known == line);
        if is_news && lines.len() < MOST_LINES {
            lines.push((line.to_owned(), now));
        }
        said.set(lines);
        is_news
    };
    SAID.try_with(note).unwrap_or(true)
}
