//! Keys that a server gives one by one, by their `kid`: each is fetched for the first token that names it.
//!
//! Takes what a [`KeyKeeper`](super::keeper::KeyKeeper) takes, gives the same answers. Anyone can make up key ids, so
//! what they cost is bounded: one fetch at a time, a few for unknown key ids in an interval, a few keys. A key that has
//! verified something is refreshed ahead of its expiry, and gives way last. Deliberately not shared between workers: a
//! key is small, and each worker that needs it asks once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::call::CallReply;
use crate::config::{KeysByKid, ProviderId, is_uuid};
use crate::jose::jwk::JwkSet;
use crate::keys::cache_headers::CacheHeaders;
use crate::keys::keeper::{Fetch, FetchError, GRACE, LookUp, PATIENCE, SHORT_PAUSE};
use crate::keys::key_ids::{AbsentKeyIds, KeyIdDigest};
use crate::keys::pace::{Jitter, LONGEST_BACK_OFF, back_off};
use crate::time::UnixTime;

/// The most fetches for key ids that are not held, in one `kid_refetch_interval`.
pub const MAX_LOOK_UPS: usize = 8;
/// The longest answer that is read as a key.
const MAX_KEY_BYTES: usize = 16 * 1024;

/// The keys of one provider that have been asked for.
#[derive(Debug)]
pub struct KeysById {
    provider: ProviderId,
    source: KeysByKid,
    jitter: Jitter,
    has_timers: bool,
    held: Vec<HeldKey>,
    absent: AbsentKeyIds,
    /// Key ids that requests wait for, in the order in which they asked.
    wanted: VecDeque<String>,
    flight: Option<Flight>,
    /// When fetches for key ids that were not held have begun, within the last interval.
    look_ups: Vec<UnixTime>,
    /// How often they have failed since one had an answer.
    failures: u32,
    failing_since: Option<UnixTime>,
    not_before: Option<UnixTime>,
    has_settled: bool,
}

#[derive(Debug)]
struct HeldKey {
    key_id: String,
    keys: JwkSet,
    fetched_at: UnixTime,
    refresh_at: UnixTime,
    fresh_until: UnixTime,
    /// When it has verified a signature last.
    last_good: Option<UnixTime>,
    /// Whether somebody needs it since it was fetched, so that a refresh is worth a call.
    is_needed: bool,
    /// How often its refresh has failed since it was fetched.
    failures: u32,
}

#[derive(Debug)]
struct Flight {
    key_id: String,
    began: UnixTime,
    /// When it counts as lost.
    until: UnixTime,
}

impl KeysById {
    /// Without keys: which there are is known when tokens name them.
    pub fn new(provider: ProviderId, source: &KeysByKid, jitter: Jitter) -> Self {
        Self {
            provider,
            source: source.clone(),
            jitter,
            has_timers: true,
            held: Vec::new(),
            absent: AbsentKeyIds::default(),
            wanted: VecDeque::new(),
            flight: None,
            look_ups: Vec::new(),
            failures: 0,
            failing_since: None,
            not_before: None,
            has_settled: false,
        }
    }

    /// Says that nothing happens between requests: nothing but a request's own call can be waited for then.
    pub const fn without_timers(&mut self) {
        self.has_timers = false;
    }

    // What requests ask.

    /// The key of this `kid` as a set of one, if it is held and serves at `now`.
    pub fn key(&mut self, key_id: &str, now: UnixTime) -> Option<&JwkSet> {
        self.mind_the_clock(now);
        let held = self.held.iter().find(|held| held.key_id == key_id)?;
        (now < held.fresh_until || self.may_serve_stale(held)).then_some(&held.keys)
    }

    /// The key of this `kid` has verified a signature.
    pub fn note_good(&mut self, key_id: &str, now: UnixTime) {
        if let Some(held) = self.held_mut(key_id) {
            held.last_good = Some(now);
            held.is_needed = true;
        }
    }

    /// What a request at `now` can do about a `kid` whose key does not serve. Nothing but a UUID goes into a URL.
    pub fn look_up(&mut self, key_id: &str, now: UnixTime) -> LookUp {
        self.mind_the_clock(now);
        let interval = self.source.schedule.kid_refetch_interval;
        if !is_uuid(key_id) || self.absent.contains(&KeyIdDigest::of(key_id), now, interval) {
            return LookUp::Absent;
        }
        if let Some(flight) = &self.flight {
            // The answer wakes nobody but the request that made the call.
            if !self.has_timers {
                return LookUp::Unavailable { retry_after: SHORT_PAUSE };
            }
            if flight.key_id == key_id {
                return LookUp::Pending;
            }
        }
        if let Some(held) = self.held_mut(key_id) {
            held.is_needed = true;
            return LookUp::Pending;
        }
        if self.wanted.iter().any(|wanted| wanted == key_id) {
            return LookUp::Pending;
        }
        if let Some(retry_after) = self.pause(now) {
            return LookUp::Unavailable { retry_after };
        }
        if self.wanted.len().saturating_add(self.look_ups.len()) >= MAX_LOOK_UPS {
            let next = self.look_ups.iter().min().map(|began| now.until(began.after(interval)));
            return LookUp::Unavailable { retry_after: next.unwrap_or(SHORT_PAUSE) };
        }
        self.wanted.push_back(key_id.to_owned());
        LookUp::Pending
    }

    /// How long requests are to be turned away, because fetches have failed and the next is not worth waiting for.
    fn pause(&self, now: UnixTime) -> Option<Duration> {
        let next_attempt = self.not_before.filter(|not_before| now < *not_before)?;
        let patience = self.source.timeout.saturating_mul(PATIENCE);
        let is_worth_waiting = self.has_timers
            && self.failures <= self.source.schedule.retries
            && self.failing_since.is_none_or(|since| since.until(next_attempt) < patience);
        (!is_worth_waiting).then(|| now.until(next_attempt))
    }

    /// An expired key serves when its refresh has failed, and while one that began in time is under way.
    fn may_serve_stale(&self, held: &HeldKey) -> bool {
        let flight = self.flight.as_ref().filter(|flight| flight.key_id == held.key_id);
        held.failures > 0 || flight.is_some_and(|flight| flight.began < held.fresh_until)
    }

    // What is done about it.

    /// The call that is due at `now`, if one is. It is under way afterwards, until [`settle`](Self::settle) is called or
    /// it counts as lost.
    pub fn next_fetch(&mut self, now: UnixTime) -> Option<Fetch> {
        self.mind_the_clock(now);
        if let Some(lost) = self.flight.take_if(|flight| flight.until <= now) {
            self.fail(&lost.key_id, now);
        }
        if self.flight.is_some() {
            return None;
        }
        let key_id = self.next_wanted(now).or_else(|| self.due_refresh(now))?;
        let until = now.after(self.longest_call());
        self.flight = Some(Flight { key_id: key_id.clone(), began: now, until });
        Some(Fetch::of_key(self.provider, &self.source, key_id, now))
    }

    /// The next key id to be looked for, before what is held: there are few of them in an interval.
    fn next_wanted(&mut self, now: UnixTime) -> Option<String> {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return None;
        }
        // Without timers it is the request that has asked last which makes the call.
        let next = if self.has_timers { self.wanted.pop_front() } else { self.wanted.pop_back() }?;
        self.look_ups.push(now);
        Some(next)
    }

    /// The key whose refresh has been due for the longest time.
    fn due_refresh(&self, now: UnixTime) -> Option<String> {
        let due = self.held.iter().filter(|held| held.is_needed && held.refresh_at <= now);
        due.min_by_key(|held| held.refresh_at).map(|held| held.key_id.clone())
    }

    /// When a fetch is due, if none is under way.
    fn due_at(&self) -> Option<UnixTime> {
        let refreshes = self.held.iter().filter(|held| held.is_needed).map(|held| held.refresh_at);
        let at_once = UnixTime::from_secs(0);
        let wanted = (!self.wanted.is_empty()).then(|| self.not_before.unwrap_or(at_once));
        refreshes.chain(wanted).min()
    }

    /// When [`next_fetch`](Self::next_fetch) should be asked next, if ever; may lie in the past.
    pub fn wake_at(&self) -> Option<UnixTime> {
        self.flight.as_ref().map_or_else(|| self.due_at(), |flight| Some(flight.until))
    }

    /// Whether something has changed since this was last asked, so that waiting requests may have an answer now.
    pub fn take_settled(&mut self) -> Option<ProviderId> {
        std::mem::take(&mut self.has_settled).then_some(self.provider)
    }

    /// A call will not be answered, since the request that made it has gone. What it has cost has been counted.
    pub fn abandon(&mut self, fetch: &Fetch) {
        if self.flight.take_if(|flight| fetch.is_for_key(&flight.key_id, flight.began)).is_some() {
            self.has_settled = true;
        }
    }

    /// Takes in the answer to a call.
    ///
    /// # Errors
    ///
    /// Why there is no new key. What was held before is still held, unless the server says that it is gone.
    pub fn settle(&mut self, fetch: &Fetch, reply: CallReply<'_>, now: UnixTime) -> Result<(), FetchError> {
        self.mind_the_clock(now);
        // What comes after it was given up is somebody else's business now.
        let Some(Flight { key_id, .. }) =
            self.flight.take_if(|flight| fetch.is_for_key(&flight.key_id, flight.began))
        else {
            return Ok(());
        };
        let (status, error) = match reply {
            CallReply::Response { status: 200, headers, body } => match read_key(body) {
                Ok(keys) => {
                    self.hold(key_id, keys, CacheHeaders::of(headers).max_age, now);
                    return Ok(());
                }
                Err(error) => (200, error),
            },
            CallReply::Response { status, .. } => (status, FetchError::Status(status)),
            CallReply::TooLarge { .. } => (200, FetchError::NotOneKey),
            CallReply::Failure => (0, FetchError::NoResponse),
        };
        let is_held = self.held.iter().any(|held| held.key_id == key_id);
        match status {
            404 | 410 => self.forget(&key_id, now),
            // What object stores say of what is not there, and by mistake of what is.
            403 if !is_held => self.forget(&key_id, now),
            _ => self.fail(&key_id, now),
        }
        Err(error)
    }

    fn hold(&mut self, key_id: String, keys: JwkSet, max_age: Option<Duration>, now: UnixTime) {
        let schedule = &self.source.schedule;
        let lifetime = max_age.map_or(schedule.cache_duration, |age| {
            age.max(schedule.min_cache_duration).min(schedule.cache_duration)
        });
        // Ahead of expiry by a tenth, and by enough for a slow fetch and one more attempt where that fits.
        let lead = (lifetime / 10).max(self.source.timeout.saturating_mul(2)).min(lifetime / 2);
        let lead = lead.saturating_add(self.jitter.up_to(lead / 2));
        let known = self.held.extract_if(.., |held| held.key_id == key_id).next();
        let last_good = known.and_then(|held| held.last_good);
        if self.held.len() >= self.source.max_keys {
            // Those first that have verified nothing: anyone can name the key of somebody else.
            let rank = |held: &HeldKey| (held.last_good, held.fetched_at);
            let least = self.held.iter().map(rank).min();
            self.held.extract_if(.., |held| Some(rank(held)) == least).next();
        }
        self.held.push(HeldKey {
            key_id,
            keys,
            fetched_at: now,
            refresh_at: now.after(lifetime.saturating_sub(lead)),
            fresh_until: now.after(lifetime),
            last_good,
            is_needed: false,
            failures: 0,
        });
        self.succeed();
    }

    /// The server does not have this key.
    fn forget(&mut self, key_id: &str, now: UnixTime) {
        self.held.retain(|held| held.key_id != key_id);
        self.absent.note(KeyIdDigest::of(key_id), now, self.source.schedule.kid_refetch_interval);
        self.succeed();
    }

    const fn succeed(&mut self) {
        self.failures = 0;
        self.failing_since = None;
        self.not_before = None;
        self.has_settled = true;
    }

    /// A fetch brought no key. That of a held one says nothing about others.
    fn fail(&mut self, key_id: &str, now: UnixTime) {
        let first = self.source.schedule.first_back_off;
        let mut jitter = self.jitter.split();
        match self.held_mut(key_id) {
            Some(held) => {
                held.refresh_at = now.after(back_off(first, held.failures, &mut jitter));
                held.failures = held.failures.saturating_add(1);
            }
            None => {
                self.not_before = Some(now.after(back_off(first, self.failures, &mut jitter)));
                self.failures = self.failures.saturating_add(1);
                self.failing_since.get_or_insert(now);
                // Those who still wait ask again.
                self.wanted.clear();
            }
        }
        self.has_settled = true;
    }

    fn held_mut(&mut self, key_id: &str) -> Option<&mut HeldKey> {
        self.held.iter_mut().find(|held| held.key_id == key_id)
    }

    /// How long a call that is under way may be waited for.
    const fn longest_call(&self) -> Duration {
        self.source.timeout.saturating_add(GRACE)
    }

    /// Forgets what counts no longer, and brings times back that a clock which was set back has moved out of reach.
    fn mind_the_clock(&mut self, now: UnixTime) {
        let longest_call = now.after(self.longest_call());
        let schedule = &self.source.schedule;
        if let Some(flight) = &mut self.flight {
            flight.until = flight.until.min(longest_call);
        }
        let longest = LONGEST_BACK_OFF.max(schedule.first_back_off);
        for held in &mut self.held {
            held.fetched_at = held.fetched_at.min(now);
            held.refresh_at = held.refresh_at.min(now.after(schedule.cache_duration.max(longest)));
            held.fresh_until = held.fresh_until.min(now.after(schedule.cache_duration));
        }
        self.held.retain(|held| now < held.fresh_until.after(schedule.max_stale));
        self.look_ups.retain(|began| *began <= now && now < began.after(schedule.kid_refetch_interval));
        self.failing_since = self.failing_since.map(|since| since.min(now));
        self.not_before = self.not_before.filter(|not_before| *not_before <= now.after(longest));
    }
}

/// One public key in PEM, and nothing else.
fn read_key(body: &[u8]) -> Result<JwkSet, FetchError> {
    if body.len() > MAX_KEY_BYTES {
        return Err(FetchError::NotOneKey);
    }
    let keys = JwkSet::parse_pem(body).map_err(FetchError::Jwks)?;
    if keys.len() == 1 && keys.skipped().is_empty() { Ok(keys) } else { Err(FetchError::NotOneKey) }
}
