//! The requests that wait, and who waits for what.
//!
//! Found by what they wait for, so that an answer has those decided again that waited for it and nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::authorize::Awaited;
use crate::config::ProviderId;
use crate::host::gateway::Fate;
use crate::request::RequestHead;
use crate::session_check::QuestionId;
use crate::time::UnixTime;

/// The most requests that wait at one time; each holds a copy of its header.
const MAX_WAITING: usize = 1024;

/// The most of them that wait for a key that there may not be, and for answers: anyone can ask for those.
const MAX_WAITING_FOR_KEY_IDS: usize = 512;
const MAX_WAITING_FOR_ANSWERS: usize = 768;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) head: RequestHead,
    pub(super) fate: Fate,
    pub(super) arrived: UnixTime,
    /// What for; `None` for one that only makes a call on its way.
    pub(super) awaited: Option<Awaited>,
    /// When it gives up.
    pub(super) until: UnixTime,
    /// How many calls it has made for itself after the first.
    pub(super) own_calls: u8,
}

/// The requests that wait, by their contexts.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    waiting: BTreeMap<u32, Waiting>,
    /// Who waits for answers, in order.
    by_question: Vec<(QuestionId, u32)>,
}

impl Waiting {
    /// Has it wait for this from now on. For an answer that it has not waited for yet it has the time that one takes.
    pub(super) fn goes_on_for(&mut self, awaited: Awaited, now: UnixTime, patience: Duration) {
        if matches!(awaited, Awaited::Answer(..)) && self.awaited != Some(awaited) {
            self.until = self.until.max(now.after(patience));
        }
        self.awaited = Some(awaited);
    }

    const fn question(&self) -> Option<QuestionId> {
        match self.awaited {
            Some(Awaited::Answer(_, question)) => Some(question),
            _ => None,
        }
    }
}

impl WaitingRoom {
    /// Whether no further request can wait for this.
    pub(super) fn is_full_for(&self, awaited: Option<Awaited>) -> bool {
        let count = |is_such: fn(Awaited) -> bool| {
            self.waiting.values().filter(|waiting| waiting.awaited.is_some_and(is_such)).count()
        };
        let is_full_of_such = match awaited {
            Some(Awaited::KeyId(_)) => {
                count(|awaited| matches!(awaited, Awaited::KeyId(_))) >= MAX_WAITING_FOR_KEY_IDS
            }
            Some(Awaited::Answer(..)) => {
                count(|awaited| matches!(awaited, Awaited::Answer(..))) >= MAX_WAITING_FOR_ANSWERS
            }
            Some(Awaited::Keys(_)) | None => false,
        };
        self.waiting.len() >= MAX_WAITING || is_full_of_such
    }

    pub(super) fn insert(&mut self, context_id: u32, waiting: Waiting) {
        self.remove(context_id);
        if let Some(question) = waiting.question() {
            let place = self.by_question.partition_point(|known| *known < (question, context_id));
            self.by_question.insert(place, (question, context_id));
        }
        self.waiting.insert(context_id, waiting);
    }

    pub(super) fn remove(&mut self, context_id: u32) -> Option<Waiting> {
        let waiting = self.waiting.remove(&context_id)?;
        if let Some(question) = waiting.question()
            && let Ok(place) = self.by_question.binary_search(&(question, context_id))
            // As it is: the look leaves the panic of `Vec::remove` out of the module.
            && place < self.by_question.len()
        {
            self.by_question.remove(place);
        }
        Some(waiting)
    }

    pub(super) fn contains(&self, context_id: u32) -> bool {
        self.waiting.contains_key(&context_id)
    }

    /// Everybody.
    pub(super) fn all(&self) -> Vec<u32> {
        self.waiting.keys().copied().collect()
    }

    /// Those who wait for keys of these providers or answers to these questions, or have waited long enough.
    pub(super) fn due(&self, providers: &[ProviderId], questions: &[QuestionId], now: UnixTime) -> Vec<u32> {
        let is_due = |waiting: &Waiting| {
            let is_settled = match waiting.awaited {
                Some(Awaited::Keys(provider)) => providers.contains(&provider),
                // Of several providers that may have the key, only one is noted.
                Some(Awaited::KeyId(_)) => !providers.is_empty(),
                Some(Awaited::Answer(..)) | None => false,
            };
            is_settled || waiting.until <= now
        };
        let due = self.waiting.iter().filter(|(_, waiting)| is_due(waiting));
        let mut due: Vec<_> = due.map(|(context_id, _)| *context_id).collect();
        for question in questions {
            let first = self.by_question.partition_point(|(known, _)| known < question);
            let theirs = self.by_question.iter().skip(first).take_while(|(known, _)| known == question);
            due.extend(theirs.map(|(_, context_id)| *context_id));
        }
        // One whose time is over may be among the answered, too; the second time it is not there any more.
        due
    }

    /// When the first of them gives up.
    pub(super) fn next_to_give_up(&self) -> Option<UnixTime> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }
}
