//! The key keeper: when keys are fetched, how long they count, and what a request is told meanwhile.
//!
//! Takes events (a request needs keys, time has passed, a fetch ended) with the time as an argument, gives states and
//! orders to fetch. One keeper per provider with a remote document. It makes no call and reads no clock, so a schedule
//! can be tested as a script. A fetch is single-flight: however many requests wait, one order is out. Keys that were
//! good are kept while fetches fail; keys that were never there are "unavailable", which is not the client's fault.

use std::time::Duration;

use crate::config::{Config, KeySource, Provider, ProviderId, RemoteJwks};
use crate::jose::jwk::JwkSet;
use crate::time::UnixTime;

/// How long keys outlive their `cache_duration` while every attempt to refresh them fails.
pub const MAX_STALE: Duration = Duration::from_secs(24 * 3600);
const SHORTEST_CACHE_DURATION: Duration = Duration::from_secs(1);
/// The longest pause between failed fetches.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(64);
/// For how many timeouts of a fetch requests wait, however often it is repeated.
const PATIENCE: u32 = 3;
/// How much longer than its timeout a fetch is waited for, should the host lose it.
const GRACE: Duration = Duration::from_secs(1);

/// What a request can do about the keys it needs.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'k> {
    /// Verify with these.
    Ready(&'k JwkSet),
    /// Wait: a fetch is on its way, or will be as soon as [`KeyKeeper::next_fetch`] is asked.
    Pending,
    /// Give up: the last fetch failed and the next one is not due yet.
    Unavailable {
        /// Until the next attempt.
        retry_after: Duration,
    },
}

/// The keys of all providers.
#[derive(Debug)]
pub struct KeyStore {
    /// One for each provider, `None` for those with local keys.
    keepers: Vec<Option<KeyKeeper>>,
    /// Whose keys the request decided last asked for.
    pub(crate) asked: Option<ProviderId>,
}

impl KeyStore {
    /// Keepers without keys for the providers of `config`.
    pub fn of(config: &Config) -> Self {
        let keeper = |provider: &Provider| match &provider.keys {
            KeySource::Local(_) => None,
            KeySource::Remote(remote) => Some(KeyKeeper::new(remote)),
        };
        Self { keepers: config.providers.iter().map(keeper).collect(), asked: None }
    }

    /// The keeper of a provider whose keys are fetched.
    pub fn keeper(&mut self, id: ProviderId) -> Option<&mut KeyKeeper> {
        self.keepers.get_mut(id.0)?.as_mut()
    }

    /// All keepers, each with the provider it is for.
    pub fn keepers(&mut self) -> impl Iterator<Item = (ProviderId, &mut KeyKeeper)> {
        let keepers = self.keepers.iter_mut().enumerate();
        keepers.filter_map(|(index, keeper)| Some((ProviderId(index), keeper.as_mut()?)))
    }

    /// When the first of them wants to be asked again.
    pub fn wake_at(&self) -> Option<UnixTime> {
        self.keepers.iter().flatten().filter_map(KeyKeeper::wake_at).min()
    }

    /// The keys of `provider`, whose id this is, for a request at `now`.
    pub fn keys<'k>(&'k mut self, id: ProviderId, provider: &'k Provider, now: UnixTime) -> Keys<'k> {
        if let KeySource::Local(keys) = &provider.keys {
            return Keys::Ready(keys);
        }
        self.asked = Some(id);
        self.keeper(id).map_or(Keys::Pending, |keeper| keeper.keys(now))
    }

    /// Has requests told of every failure.
    pub fn without_retries(&mut self) {
        self.keepers.iter_mut().flatten().for_each(|keeper| keeper.retries = 0);
    }
}

/// The keys of one provider.
#[derive(Debug)]
pub struct KeyKeeper {
    cache_duration: Duration,
    timeout: Duration,
    /// The pause after the first failed fetch; doubled after each further one.
    first_back_off: Duration,
    /// How many failures in a row requests wait through.
    retries: u32,
    held: Option<Held>,
    in_flight: Option<Flight>,
    failures: u32,
    /// When the first of these failures was.
    failing_since: Option<UnixTime>,
    /// No fetch before this time.
    not_before: Option<UnixTime>,
    /// Whether a request has asked for keys that are not there.
    is_wanted: bool,
}

/// A fetch that is under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    began: UnixTime,
    /// When it counts as lost.
    until: UnixTime,
}

#[derive(Debug)]
struct Held {
    keys: JwkSet,
    refresh_at: UnixTime,
    fresh_until: UnixTime,
}

impl KeyKeeper {
    /// A keeper without keys. They are current for `cache_duration`, at least a second, whatever is asked for: a key
    /// server is not called for every request.
    pub fn new(remote: &RemoteJwks) -> Self {
        Self {
            cache_duration: remote.cache_duration.max(SHORTEST_CACHE_DURATION),
            timeout: remote.timeout,
            first_back_off: remote.first_back_off,
            retries: remote.retries,
            held: None,
            in_flight: None,
            failures: 0,
            failing_since: None,
            not_before: None,
            is_wanted: remote.is_prefetched,
        }
    }

    /// The keys for a request at `now`.
    pub fn keys(&mut self, now: UnixTime) -> Keys<'_> {
        self.take_notice_of(now);
        if let Some(held) = &self.held
            && (now < held.fresh_until
                || (self.may_serve_stale(held) && now < held.fresh_until.after(MAX_STALE)))
        {
            return Keys::Ready(&held.keys);
        }
        self.is_wanted = true;
        match self.not_before {
            Some(not_before)
                if self.in_flight.is_none() && now < not_before && !self.is_worth_waiting(not_before) =>
            {
                Keys::Unavailable { retry_after: now.until(not_before) }
            }
            _ => Keys::Pending,
        }
    }

    /// Whether requests wait for another attempt although one has failed.
    fn is_worth_waiting(&self, next_attempt: UnixTime) -> bool {
        let patience = self.timeout.saturating_mul(PATIENCE);
        self.failures <= self.retries
            && self.failing_since.is_none_or(|since| since.until(next_attempt) < patience)
    }

    /// Expired keys serve when a refresh has failed, and while one that began in time is under way. Without an attempt
    /// they do not: one of them may have been withdrawn.
    fn may_serve_stale(&self, held: &Held) -> bool {
        self.failures > 0 || self.in_flight.is_some_and(|flight| flight.began < held.fresh_until)
    }

    /// Whether a fetch is due at `now`. After `true` one is under way, until [`fetched`](Self::fetched) or
    /// [`failed`](Self::failed) is called or the fetch counts as lost.
    pub fn next_fetch(&mut self, now: UnixTime) -> bool {
        self.take_notice_of(now);
        let is_due = self.due_at().is_some_and(|due| due <= now);
        if is_due {
            self.in_flight = Some(Flight { began: now, until: self.lost_at(now) });
        }
        is_due
    }

    /// When [`next_fetch`](Self::next_fetch) should be asked next, if ever; may lie in the past.
    pub fn wake_at(&self) -> Option<UnixTime> {
        self.in_flight.map(|flight| flight.until).or_else(|| self.due_at())
    }

    /// A fetch brought `keys`.
    pub fn fetched(&mut self, keys: JwkSet, now: UnixTime) {
        // Ahead of expiry by a tenth, and by enough for a slow fetch and one more attempt where that fits.
        let lead =
            (self.cache_duration / 10).max(self.timeout.saturating_mul(2)).min(self.cache_duration / 2);
        self.held = Some(Held {
            keys,
            refresh_at: now.after(self.cache_duration.saturating_sub(lead)),
            fresh_until: now.after(self.cache_duration),
        });
        self.in_flight = None;
        self.failures = 0;
        self.failing_since = None;
        self.not_before = None;
        self.is_wanted = false;
    }

    /// A fetch brought no usable keys. What is held stays. When no fetch is under way, this is the answer to one that
    /// has been given up or overtaken, and counts for nothing: calls that fail together are one failure.
    pub fn failed(&mut self, now: UnixTime) {
        if self.in_flight.is_none() {
            return;
        }
        let back_off =
            self.first_back_off.saturating_mul(1 << self.failures.min(16)).min(self.longest_back_off());
        self.in_flight = None;
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        self.not_before = Some(now.after(back_off));
    }

    /// When a fetch is due, if none is under way: the refresh of held keys, or at once when keys are wanted, but not
    /// during a back-off.
    fn due_at(&self) -> Option<UnixTime> {
        let wanted_at = self.is_wanted.then_some(UnixTime::from_secs(0));
        let due = wanted_at.or_else(|| self.held.as_ref().map(|held| held.refresh_at));
        match self.in_flight {
            Some(_) => None,
            None => due.map(|due| self.not_before.map_or(due, |not_before| due.max(not_before))),
        }
    }

    fn longest_back_off(&self) -> Duration {
        LONGEST_BACK_OFF.max(self.first_back_off)
    }

    const fn lost_at(&self, began: UnixTime) -> UnixTime {
        began.after(self.timeout).after(GRACE)
    }

    /// Gives up a fetch that should have ended, and brings times back that a clock which was set back has moved out of
    /// reach: none of them may lie further ahead than it could have been set now.
    fn take_notice_of(&mut self, now: UnixTime) {
        let lost_at = self.lost_at(now);
        if let Some(flight) = &mut self.in_flight {
            flight.until = flight.until.min(lost_at);
        }
        if let Some(held) = &mut self.held {
            held.refresh_at = held.refresh_at.min(now.after(self.cache_duration));
            held.fresh_until = held.fresh_until.min(now.after(self.cache_duration));
        }
        self.failing_since = self.failing_since.map(|since| since.min(now));
        let longest = self.longest_back_off();
        self.not_before = self.not_before.map(|not_before| not_before.min(now.after(longest)));
        if self.in_flight.is_some_and(|flight| flight.until <= now) {
            self.failed(now);
        }
    }
}
