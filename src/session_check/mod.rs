//! Session checks: who is asked about a credential, what was answered, and how long that counts.
//!
//! Takes events (a request has a question, time has passed, a call was answered) with the time as an argument, gives
//! [`Standing`]s and orders to ask. One [`Checker`] for all providers of a worker. A question that is on its way is not
//! asked again. Good answers and denials count for a while and are kept apart, so that made-up credentials cannot push
//! out good ones; errors count for those who have waited for them and for nobody else. Makes no call and reads no clock.

mod answer;
mod background;
mod clearing;
mod filled_path;
mod question;
mod table;

use std::time::Duration;

use crate::call::{Call, CallReply};
use crate::config::{CheckMode, Config, ProviderId, SessionCheck};
use crate::session_check::background::{Pace, Sessions, Watch};
use crate::session_check::table::Table;
use crate::time::UnixTime;

pub use answer::{AnswerError, Confirmed, Verdict};
pub use question::{Carrier, Question, QuestionError, QuestionId};

/// The most good answers that are kept.
const MAX_GOOD: usize = 1024;
/// The most denials, and the most errors.
const MAX_BAD: usize = 256;
/// The most questions that are open.
const MAX_OPEN: usize = 1024;
/// How much longer than its timeout a call is waited for, should the host lose it.
const GRACE: Duration = Duration::from_secs(1);
/// How long an answer is kept for those who have waited for it, even if it counts for nobody else: they may have to wait
/// for something else as well.
const KEPT: Duration = Duration::from_secs(15);

/// Where a request stands with its question.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It has an answer.
    Known(Verdict),
    /// It has to wait for one.
    Pending,
    /// There will be none: asking has failed.
    Unavailable,
    /// There will be none: too many questions are open.
    Overloaded,
}

/// A question to be asked. It goes back to [`Checker::settle`] with its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    question: Question,
    asked_at: UnixTime,
}

impl Check {
    /// Whose session check it is.
    pub const fn provider(&self) -> ProviderId {
        self.question.provider
    }

    /// What is asked.
    pub const fn call(&self) -> &Call {
        &self.question.call
    }
}

/// What is known of sessions, and what is being asked.
#[derive(Debug)]
pub struct Checker {
    /// One for each provider, `None` for those that are not asked.
    checks: Vec<Option<SessionCheck>>,
    /// Whose subjects may be numbers.
    allow_numeric_subjects: Vec<ProviderId>,
    good: Table<Answer>,
    denied: Table<Answer>,
    failed: Table<Answer>,
    open: Table<Box<Open>>,
    /// Those that are checked off the path of requests.
    sessions: Sessions,
    /// Those of them that are still to be asked.
    to_ask: Vec<QuestionId>,
    /// What the request decided last waits for, where every request asks for itself.
    own: Option<Question>,
    has_timers: bool,
    is_sooner: bool,
    answered: Vec<QuestionId>,
}

/// What was found out.
#[derive(Debug)]
struct Answer {
    asked_at: UnixTime,
    settled_at: UnixTime,
    /// Until when it counts.
    until: UnixTime,
    said: Said,
    /// Of a denial: what takes cookies back from the client, for those who have waited for it.
    clearing: Vec<String>,
}

#[derive(Clone, Debug)]
enum Said {
    Verdict(Verdict),
    Nothing,
}

#[derive(Debug)]
struct Open {
    question: Question,
    /// When its call counts as lost; `None` while it is still to be made.
    until: Option<UnixTime>,
    /// Whether a request waits for it.
    is_awaited: bool,
}

impl Answer {
    /// What it says to a request that has `arrived` then, if anything: it still counts, or the request has waited for it.
    fn to(&self, arrived: UnixTime, now: UnixTime) -> Option<Standing> {
        // An answer of the future is one from before the clock was set back.
        let is_for_it = self.settled_at <= now && (now < self.until || arrived <= self.settled_at);
        is_for_it.then(|| match &self.said {
            Said::Verdict(verdict) => Standing::Known(verdict.clone()),
            Said::Nothing => Standing::Unavailable,
        })
    }

    /// Whether a request that has `arrived` then has waited for it, rather than found it.
    fn was_awaited(&self, arrived: UnixTime, now: UnixTime) -> bool {
        arrived < now && arrived <= self.settled_at && self.settled_at <= now
    }

    /// When it is of no more use to anybody.
    fn ends(&self) -> UnixTime {
        self.until.max(self.settled_at.after(KEPT))
    }
}

impl Checker {
    /// One that knows nothing yet.
    pub fn of(config: &Config) -> Self {
        let providers = config.providers().filter(|(_, provider)| provider.allows_numeric_subject);
        let allow_numeric_subjects = providers.map(|(id, _)| id);
        Self {
            checks: config.providers.iter().map(|provider| provider.session_check.clone()).collect(),
            allow_numeric_subjects: allow_numeric_subjects.collect(),
            good: Table::new(MAX_GOOD),
            denied: Table::new(MAX_BAD),
            failed: Table::new(MAX_BAD),
            open: Table::new(MAX_OPEN),
            sessions: Sessions::new(),
            to_ask: Vec::new(),
            own: None,
            has_timers: true,
            is_sooner: false,
            answered: Vec::new(),
        }
    }

    /// Has every request ask for itself, on a host where nothing else can.
    pub const fn without_timers(&mut self) {
        self.has_timers = false;
    }

    /// A request is decided, for the first time or again.
    pub fn begin_request(&mut self) {
        self.own = None;
    }

    /// Where a request that has `arrived` then stands with its question at `now`.
    pub fn ask(&mut self, question: Question, arrived: UnixTime, now: UnixTime) -> Standing {
        let known = [&self.denied, &self.good, &self.failed].map(|table| table.get(&question.id));
        let standing = known.into_iter().flatten().find_map(|answer| answer.to(arrived, now));
        if let Some(standing) = standing {
            return standing;
        }
        if !self.has_timers {
            self.own = Some(question);
        } else if !self.open(question, true) {
            return Standing::Overloaded;
        }
        Standing::Pending
    }

    /// The `set-cookie` lines that a denial has for a request which has `arrived` then and waited for it. One that finds
    /// the denial gets none: the cookies of its client may be newer.
    pub fn clearing_lines(&self, question: &QuestionId, arrived: UnixTime, now: UnixTime) -> &[String] {
        let denial = self.denied.get(question).filter(|denial| denial.was_awaited(arrived, now));
        denial.map(|denial| denial.clearing.as_slice()).unwrap_or_default()
    }

    /// Where a request stands whose credential its keys have verified, and which expires at `ends`. `None` when it goes
    /// on at once, and its session is checked off its path.
    pub fn watch(
        &mut self,
        question: Question,
        (issued, ends): (Option<UnixTime>, Option<UnixTime>),
        arrived: UnixTime,
        now: UnixTime,
    ) -> Option<Standing> {
        let settings = self.checks.get(question.provider.0).and_then(Option::as_ref);
        let CheckMode::Background { interval, max_unchecked } = settings?.mode else {
            return Some(self.ask(question, arrived, now));
        };
        let planned = self.sessions.wake_at();
        match self.sessions.watch(&question, Pace { interval, max_unchecked }, (issued, ends), now) {
            Watch::Denied(denial) => Some(Standing::Known(Verdict::Denied(denial))),
            Watch::MustBeAsked => Some(self.ask(question, arrived, now)),
            Watch::Passes => {
                if self.has_timers {
                    self.is_sooner |= self.sessions.wake_at() != planned;
                } else if self.sessions.is_due(&question.session, now) {
                    self.own = Some(question);
                }
                None
            }
        }
    }

    /// Whether something is to be done sooner than was planned when this was last asked, and no request waits for it.
    pub const fn take_sooner(&mut self) -> bool {
        std::mem::replace(&mut self.is_sooner, false)
    }

    /// Has a question asked, unless it is being asked. False when too many are.
    fn open(&mut self, question: Question, is_awaited: bool) -> bool {
        if let Some(open) = self.open.get_mut(&question.id) {
            open.is_awaited |= is_awaited;
        } else if self.open.is_full() {
            return false;
        } else {
            let id = question.id;
            self.to_ask.push(id);
            self.open.put(id, Box::new(Open { question, until: None, is_awaited }), |open| open.until);
        }
        true
    }

    /// The questions that must be asked at `now`. Each is on its way afterwards, until [`settle`](Self::settle).
    pub fn due(&mut self, now: UnixTime) -> Vec<Check> {
        let is_lost = |open: &Open| open.until.is_some_and(|until| until <= now);
        let lost: Vec<_> = self.open.iter().filter(|(_, open)| is_lost(open)).map(|(id, _)| *id).collect();
        for id in lost {
            self.keep_failure(id, now, now);
        }
        for question in self.sessions.due(now) {
            self.open(question, false);
        }
        let mut due = Vec::new();
        for id in std::mem::take(&mut self.to_ask) {
            if let Some(open) = self.open.get_mut(&id) {
                self.sessions.asked(&open.question.session, now);
                open.until = Some(now.after(open.question.call.timeout).after(GRACE));
                due.push(Check { question: open.question.clone(), asked_at: now });
            }
        }
        due
    }

    /// The question that the request decided last must ask itself, whatever is on its way for others.
    pub fn own(&mut self, now: UnixTime) -> Option<Check> {
        let question = self.own.take()?;
        self.sessions.asked(&question.session, now);
        Some(Check { question, asked_at: now })
    }

    /// Takes in the answer to a question.
    ///
    /// # Errors
    ///
    /// Why nothing was found out. What is known already still counts.
    pub fn settle(&mut self, check: Check, reply: CallReply<'_>, now: UnixTime) -> Result<(), AnswerError> {
        let Check { question: Question { provider, id, session, expires, .. }, asked_at } = check;
        let Some(settings) = self.checks.get(provider.0).and_then(Option::as_ref) else { return Ok(()) };
        let verdict = match answer::read(settings, self.allow_numeric_subjects.contains(&provider), reply) {
            Ok(verdict) => verdict,
            Err(error) => {
                self.keep_failure(id, asked_at, now);
                return Err(error);
            }
        };
        match &verdict {
            Verdict::Confirmed(_) => self.sessions.confirm(&session, asked_at, now),
            Verdict::Denied(denial) => self.sessions.deny(&session, *denial, asked_at, now),
        }
        let tables = [&self.denied, &self.good];
        let newest = tables.into_iter().filter_map(|table| table.get(&id)).map(|known| known.asked_at).max();
        // An older answer never replaces a newer one, and one that nobody waits for takes nobody's place. What it
        // contradicts is over whoever waits.
        let is_newest = newest.is_none_or(|newest| newest <= asked_at);
        if is_newest {
            let contradicted = match &verdict {
                Verdict::Denied(_) => &mut self.good,
                Verdict::Confirmed(_) => &mut self.denied,
            };
            contradicted.remove(&id);
        }
        if is_newest && self.is_awaited(&id) {
            let until = match &verdict {
                Verdict::Denied(_) => now.after(settings.negative_ttl),
                Verdict::Confirmed(confirmed) => {
                    let ends = confirmed.expires().into_iter().chain(expires);
                    ends.fold(now.after(settings.cache_ttl), UnixTime::min)
                }
            };
            let table = match &verdict {
                Verdict::Denied(_) => &mut self.denied,
                Verdict::Confirmed(_) => &mut self.good,
            };
            let clearing = match &verdict {
                Verdict::Denied(_) => answer::clearing_lines(settings, reply),
                Verdict::Confirmed(_) => Vec::new(),
            };
            let answer = Answer { asked_at, settled_at: now, until, said: Said::Verdict(verdict), clearing };
            table.put(id, answer, Answer::ends);
            self.failed.remove(&id);
        }
        self.close(id);
        Ok(())
    }

    /// A failure counts for those who have waited for it.
    fn keep_failure(&mut self, id: QuestionId, asked_at: UnixTime, now: UnixTime) {
        if self.is_awaited(&id) {
            let (said, clearing) = (Said::Nothing, Vec::new());
            let answer = Answer { asked_at, settled_at: now, until: now, said, clearing };
            self.failed.put(id, answer, Answer::ends);
        }
        self.close(id);
    }

    /// Whether a request may wait for the answer, which it does for one that is late or its own.
    fn is_awaited(&self, id: &QuestionId) -> bool {
        self.open.get(id).is_none_or(|open| open.is_awaited)
    }

    fn close(&mut self, id: QuestionId) {
        self.open.remove(&id);
        // Without timers an answer wakes nobody but the request that asked, and nobody takes this.
        if self.has_timers {
            self.answered.push(id);
        }
    }

    /// When [`due`](Self::due) should be asked next, if ever; may lie in the past.
    pub fn wake_at(&self) -> Option<UnixTime> {
        if !self.to_ask.is_empty() {
            return Some(UnixTime::from_secs(0));
        }
        let lost = self.open.iter().filter_map(|(_, open)| open.until);
        lost.chain(self.sessions.wake_at()).min()
    }

    /// The questions that have been settled since this was last asked: requests that wait for them can be decided again.
    pub fn take_answered(&mut self) -> Vec<QuestionId> {
        std::mem::take(&mut self.answered)
    }

    /// The longest that a request waits for the answer of a provider.
    pub fn patience(&self, provider: ProviderId) -> Duration {
        let check = self.checks.get(provider.0).and_then(Option::as_ref);
        // Longer than the call counts as lost, after which the request has its answer.
        check.map_or(Duration::ZERO, |check| check.timeout.saturating_add(GRACE * 2))
    }
}
