//! Sessions that are checked off the path of requests.
//!
//! Takes uses of credentials that their keys have verified, the time, and what the identity provider said; gives whether
//! a request passes, and whom to ask about. A credential passes until the provider denies its session, and from then on
//! not again. One that nothing has been heard of for too long has to wait. A session is known by its credential alone, or
//! by the name that its tokens have for it, so that nothing else in a request makes another session of it.
//!
//! Where sessions have names, one outlives each of its tokens. It is watched, and remembered as gone, until the last of
//! them that has been seen expires: each use moves its end on, so that a token that was got before the session ended
//! finds it gone however late it comes, as long as others keep coming. One that comes alone, when all that were seen
//! have expired, is asked about anew. So is one that was issued after the denial, before it passes: no provider renews a
//! session that is gone, so the denial may have been a mistake.

use std::time::Duration;

use crate::config::Denial;
use crate::session_check::question::{Question, QuestionId};
use crate::session_check::table::Table;
use crate::time::UnixTime;

/// The most sessions that are watched. The one that was used least lately makes room.
const MAX_WATCHED: usize = 4096;
/// The most that are remembered as gone. The one whose credential expires first makes room.
const MAX_GONE: usize = 4096;
/// For how long one without an expiration is remembered.
const GONE_WITHOUT_EXPIRATION: Duration = Duration::from_secs(24 * 3600);

/// What becomes of a request in whose session nothing is asked first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Watch {
    Passes,
    Denied(Denial),
    /// Nothing has been heard of it for too long.
    MustBeAsked,
}

/// When sessions are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pace {
    /// The shortest time between two checks.
    pub(super) interval: Duration,
    /// How long a session counts since it was last confirmed, or first seen.
    pub(super) max_unchecked: Duration,
}

#[derive(Debug)]
pub(super) struct Sessions {
    watched: Table<Box<Session>>,
    gone: Table<Gone>,
    /// No check is due before this time.
    next_due: Option<UnixTime>,
}

#[derive(Debug)]
struct Session {
    question: Question,
    pace: Pace,
    /// When its credential expires, or the last of its tokens.
    ends: Option<UnixTime>,
    used_at: UnixTime,
    asked_at: Option<UnixTime>,
    /// When it was confirmed last, or seen first.
    known_at: UnixTime,
    /// When the question was asked whose answer counts.
    confirmed_by: Option<UnixTime>,
}

#[derive(Debug)]
struct Gone {
    denial: Denial,
    /// When it was denied last.
    since: UnixTime,
    until: UnixTime,
}

impl Session {
    /// When it is to be checked; never while it is not used.
    fn due_at(&self) -> Option<UnixTime> {
        match self.asked_at {
            None => Some(self.used_at),
            Some(asked_at) => (self.used_at > asked_at).then(|| asked_at.after(self.pace.interval)),
        }
    }

    fn is_over(&self, now: UnixTime) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

/// How long one that ends then is remembered.
fn gone_until(ends: Option<UnixTime>, now: UnixTime) -> UnixTime {
    ends.unwrap_or_else(|| now.after(GONE_WITHOUT_EXPIRATION))
}

impl Sessions {
    pub(super) const fn new() -> Self {
        Self { watched: Table::new(MAX_WATCHED), gone: Table::new(MAX_GONE), next_due: None }
    }

    /// A credential that was `issued` then and expires at `ends` is used at `now`.
    pub(super) fn watch(
        &mut self,
        question: &Question,
        pace: Pace,
        (issued, ends): (Option<UnixTime>, Option<UnixTime>),
        now: UnixTime,
    ) -> Watch {
        let id = question.session;
        if let Some(gone) = self.gone.get_mut(&id).filter(|gone| now < gone.until) {
            gone.until = gone.until.max(gone_until(ends, now));
            return match issued {
                Some(issued) if issued > gone.since => Watch::MustBeAsked,
                _ => Watch::Denied(gone.denial),
            };
        }
        if self.watched.get(&id).is_none() {
            let session = Session {
                question: question.clone(),
                pace,
                ends,
                used_at: now,
                asked_at: None,
                known_at: now,
                confirmed_by: None,
            };
            self.watched.put(id, Box::new(session), |session| session.used_at);
        }
        let Some(session) = self.watched.get_mut(&id) else { return Watch::MustBeAsked };
        session.used_at = now;
        session.ends = session.ends.zip(ends).map(|(known, ends)| known.max(ends));
        if session.question.id != question.id {
            session.question = question.clone();
        }
        let due_at = session.due_at();
        let is_known = session.known_at <= now && now < session.known_at.after(pace.max_unchecked);
        self.next_due = self.next_due.into_iter().chain(due_at).min();
        if is_known { Watch::Passes } else { Watch::MustBeAsked }
    }

    /// Whether this session is to be checked at `now`.
    pub(super) fn is_due(&self, session: &QuestionId, now: UnixTime) -> bool {
        let due_at = self.watched.get(session).and_then(|session| session.due_at());
        due_at.is_some_and(|due_at| due_at <= now)
    }

    /// A question about this session is asked.
    pub(super) fn asked(&mut self, session: &QuestionId, now: UnixTime) {
        if let Some(session) = self.watched.get_mut(session) {
            session.asked_at = Some(now);
        }
    }

    /// The questions that are to be asked at `now`, and are from then on.
    pub(super) fn due(&mut self, now: UnixTime) -> Vec<Question> {
        if self.next_due.is_none_or(|next_due| now < next_due) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for session in self.watched.values_mut() {
            if session.due_at().is_some_and(|due_at| due_at <= now) && !session.is_over(now) {
                session.asked_at = Some(now);
                due.push(session.question.clone());
            }
        }
        let open = self.watched.iter().filter(|(_, session)| !session.is_over(now));
        self.next_due = open.filter_map(|(_, session)| session.due_at()).min();
        due
    }

    /// When [`due`](Self::due) should be asked next.
    pub(super) const fn wake_at(&self) -> Option<UnixTime> {
        self.next_due
    }

    /// The session is there, by the answer to a question that was asked then.
    pub(super) fn confirm(&mut self, session: &QuestionId, asked_at: UnixTime, now: UnixTime) {
        if let Some(session) = self.watched.get_mut(session) {
            session.known_at = now;
            session.confirmed_by = session.confirmed_by.max(Some(asked_at));
        }
        if self.gone.get(session).is_some_and(|gone| gone.since <= asked_at) {
            self.gone.remove(session);
        }
    }

    /// The session is gone, by the answer to a question that was asked then. Whether that is news: an older answer never
    /// replaces a newer one.
    pub(super) fn deny(&mut self, id: &QuestionId, denial: Denial, asked_at: UnixTime, now: UnixTime) {
        if let Some(gone) = self.gone.get_mut(id) {
            gone.since = gone.since.max(now);
        }
        let Some(session) = self.watched.get(id) else { return };
        if session.confirmed_by.is_some_and(|confirmed_by| confirmed_by > asked_at) {
            return;
        }
        let until = gone_until(session.ends, now);
        self.watched.remove(id);
        self.gone.put(*id, Gone { denial, since: now, until }, |gone| gone.until);
    }
}
