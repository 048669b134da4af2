//! The keys of one provider: fetched by one worker, kept by all.
//!
//! Takes requests' questions, the time, answers to calls, and the [`Record`] that the workers of a process share; gives
//! [`Keys`], [`LookUp`] and [`Fetch`]. A fetch is single-flight over all workers: whoever writes its lease into the record
//! makes it, the others read what came of it. Keys that were good are kept while fetches fail; keys that were never
//! there are "unavailable", which is not the client's fault. A key id that the keys do not have is worth a fetch, at
//! most one per interval; a signature that is wrong never is.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::call::{Call, CallReply};
use crate::config::{Endpoint, KeyPlace, KeySchedule, KeysByKid, ProviderId, RemoteKeys};
use crate::jose::jwk::{JwkSet, JwksError, KeyOrigin};
use crate::keys::cache_headers::CacheHeaders;
use crate::keys::discovery::{self, MetadataError};
use crate::keys::key_ids::KeyIdDigest;
use crate::keys::pace::{Jitter, LONGEST_BACK_OFF, back_off};
use crate::keys::record::{self, Document, JwksUri, Lease, Record, Schedule};
use crate::keys::space::{SharedSpace, Version};
use crate::time::UnixTime;

/// For how many timeouts of a call requests wait, however often it is repeated.
pub const PATIENCE: u32 = 3;
/// How much longer than its timeout a call is waited for, should the host lose it.
pub const GRACE: Duration = Duration::from_secs(1);
/// How far ahead of this worker's clock that of another may be.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
/// When to come back while another request finds out what there is.
pub(super) const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// How often a worker looks for what others have published while a request of its own waits.
const IMPATIENT_POLL: Duration = Duration::from_millis(10);
/// How often it looks while nobody waits.
const POLL: Duration = Duration::from_secs(1);
/// How long metadata counts. A key server that has moved is also found when a fetch from the old one fails.
const METADATA_LIFETIME: Duration = Duration::from_secs(3600);
/// The most key ids that one fetch is made for.
const MAX_WANTED_KEY_IDS: usize = 32;
/// How often a change to the record is tried while others change it, too.
const MAX_UPDATES: usize = 8;

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

/// What a request can do about a key id that is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LookUp {
    /// There is no such key: it was looked for, or others were, so short a time ago that it is not looked for again.
    Absent,
    /// Wait: a fetch is on its way, or will be as soon as [`KeyKeeper::next_fetch`] is asked.
    Pending,
    /// Give up: whether there is such a key cannot be known now.
    Unavailable {
        /// Until the next attempt.
        retry_after: Duration,
    },
}

/// A call to be made. It goes back to [`KeyKeeper::settle`] with its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// Whose keys it is for.
    pub provider: ProviderId,
    /// What is asked for.
    pub endpoint: Endpoint,
    /// How long the call may take.
    pub timeout: Duration,
    /// The state of the document that is known already.
    pub if_none_match: Option<String>,
    step: Step,
    began: UnixTime,
    /// Whether it is made for one request, whatever is under way.
    is_for_one: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    /// The metadata, and where it is if it is not there.
    Metadata { fallback: Option<Endpoint> },
    /// The keys, at this URI of the metadata if it has just been read.
    Jwks { found_at: Option<String> },
    /// One key, by its `kid`.
    Key { key_id: String },
}

/// What the answer to a call comes to.
enum Answer {
    /// Another call must be made.
    Next(Fetch),
    Keys {
        keys: JwkSet,
        document: Document,
    },
    NotModified {
        max_age: Option<Duration>,
    },
}

/// Why a fetch brought no keys.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FetchError {
    /// The document is not a usable key set.
    Jwks(JwksError),
    /// The metadata does not say where the keys are.
    Metadata(MetadataError),
    /// There was no response.
    NoResponse,
    /// The document is not one public key.
    NotOneKey,
    /// A status other than 200. Redirects are not followed.
    Status(u16),
}

impl Fetch {
    /// What is asked.
    pub fn call(&self) -> Call {
        let accept = match self.step {
            Step::Metadata { .. } | Step::Jwks { .. } => "application/jwk-set+json, application/json",
            Step::Key { .. } => "application/x-pem-file, text/plain",
        };
        let call = Call::new("GET", self.endpoint.clone(), self.timeout).with("accept", accept);
        match &self.if_none_match {
            Some(etag) => call.with("if-none-match", etag),
            None => call,
        }
    }

    /// A call for the key of one `kid`, which must be a UUID: it goes into the URL.
    pub(super) fn of_key(provider: ProviderId, source: &KeysByKid, key_id: String, began: UnixTime) -> Self {
        Self {
            provider,
            endpoint: source.place(&key_id),
            timeout: source.timeout,
            if_none_match: None,
            step: Step::Key { key_id },
            began,
            is_for_one: false,
        }
    }

    /// Whether it is the call for this key that began then.
    pub(super) fn is_for_key(&self, wanted: &str, began: UnixTime) -> bool {
        matches!(&self.step, Step::Key { key_id } if key_id == wanted) && self.began == began
    }
}

/// The keys of one provider.
#[derive(Debug)]
pub struct KeyKeeper {
    provider: ProviderId,
    place: KeyPlace,
    timeout: Duration,
    settings: KeySchedule,
    record_name: String,
    jitter: Jitter,
    /// Whether every request has to fetch for itself.
    has_timers: bool,
    /// Whether other workers may change the record.
    is_shared: bool,
    held: Option<Held>,
    schedule: Schedule,
    /// The record that was read last, and when.
    version: Option<Version>,
    read_at: Option<UnixTime>,
    flight: Option<Flight>,
    /// The lease of another worker.
    elsewhere: Option<Lease>,
    /// Whether keys are to be fetched because there are none that serve.
    is_wanted: bool,
    wanted_key_ids: Vec<KeyIdDigest>,
    /// Whether a request has been told to wait since anything changed.
    is_awaited: bool,
    has_settled: bool,
}

/// A fetch of this worker that is under way.
#[derive(Debug)]
struct Flight {
    lease: Lease,
    began: UnixTime,
    /// When it counts as lost.
    until: UnixTime,
    /// The key ids that it is made for.
    key_ids: Vec<KeyIdDigest>,
}

#[derive(Debug)]
struct Held {
    keys: JwkSet,
    /// Of the document.
    digest: [u8; 32],
    asked_at: UnixTime,
    fetched_at: UnixTime,
    max_age: Option<Duration>,
    refresh_at: UnixTime,
    fresh_until: UnixTime,
}

impl KeyKeeper {
    /// A keeper without keys. They are wanted at once, so that no request needs to wait for them.
    pub fn new(provider: ProviderId, remote: &RemoteKeys, jitter: Jitter) -> Self {
        Self {
            provider,
            place: remote.place.clone(),
            timeout: remote.timeout,
            settings: remote.schedule.clone(),
            record_name: record::name(remote),
            jitter,
            has_timers: true,
            is_shared: false,
            held: None,
            schedule: Schedule::default(),
            version: None,
            read_at: None,
            flight: None,
            elsewhere: None,
            is_wanted: true,
            wanted_key_ids: Vec::new(),
            is_awaited: false,
            has_settled: false,
        }
    }

    /// Says that nothing happens between requests: nothing but a request's own call can be waited for then.
    pub const fn without_timers(&mut self) {
        self.has_timers = false;
    }

    // What requests ask.

    /// The keys for a request at `now`.
    pub fn keys(&mut self, now: UnixTime) -> Keys<'_> {
        self.mind_the_clock(now);
        if let Some(held) = &self.held
            && (now < held.fresh_until
                || (self.may_serve_stale(held) && now < held.fresh_until.after(self.settings.max_stale)))
        {
            return Keys::Ready(&held.keys);
        }
        self.is_wanted = true;
        // Where nobody can wait for the call of another, a server that fails is tried by one request at a time.
        if !self.has_timers && self.schedule.failures > 0 && self.is_under_way() {
            return Keys::Unavailable { retry_after: SHORT_PAUSE };
        }
        match self.pause(now) {
            Some(retry_after) => Keys::Unavailable { retry_after },
            None => {
                self.is_awaited = true;
                Keys::Pending
            }
        }
    }

    /// What a request at `now` can do about a key id that the keys it was given do not have. If these were asked for
    /// when the request had `arrived`, they are its answer.
    pub fn look_up(&mut self, key_id: &str, arrived: UnixTime, now: UnixTime) -> LookUp {
        self.mind_the_clock(now);
        if self.held.as_ref().is_some_and(|held| to_millis(arrived) <= held.asked_at) {
            return LookUp::Absent;
        }
        let interval = self.settings.kid_refetch_interval;
        let key_id = KeyIdDigest::of(key_id);
        if self.schedule.absent.contains(&key_id, now, interval) {
            return LookUp::Absent;
        }
        if self.is_under_way() {
            // The answer wakes nobody but the request that made the call.
            if !self.has_timers {
                return LookUp::Unavailable { retry_after: SHORT_PAUSE };
            }
        } else if let Some(retry_after) = self.pause(now) {
            return LookUp::Unavailable { retry_after };
        } else if let Some(next) = self.schedule.key_ids_not_before.filter(|next| now < *next) {
            // Those whose clients have gone have found out nothing.
            return match self.schedule.abandoned {
                0 => LookUp::Absent,
                _ => LookUp::Unavailable { retry_after: now.until(next) },
            };
        } else if !self.wanted_key_ids.contains(&key_id) && self.wanted_key_ids.len() < MAX_WANTED_KEY_IDS {
            self.wanted_key_ids.push(key_id);
        }
        self.is_awaited = true;
        LookUp::Pending
    }

    /// How long requests are to be turned away, because fetches have failed and none is under way or worth waiting for.
    fn pause(&self, now: UnixTime) -> Option<Duration> {
        let next_attempt = self.schedule.not_before.filter(|not_before| now < *not_before)?;
        (!self.is_under_way() && !self.is_worth_waiting(next_attempt)).then(|| now.until(next_attempt))
    }

    /// Whether requests wait for another attempt although one has failed.
    fn is_worth_waiting(&self, next_attempt: UnixTime) -> bool {
        let patience = self.timeout.saturating_mul(PATIENCE);
        self.has_timers
            && self.schedule.failures <= self.settings.retries
            && self.schedule.failing_since.is_none_or(|since| since.until(next_attempt) < patience)
    }

    /// Expired keys serve when a refresh has failed, and while one that began in time is under way. Without an attempt
    /// they do not: one of them may have been withdrawn.
    fn may_serve_stale(&self, held: &Held) -> bool {
        let began = self.flight.as_ref().map(|flight| flight.began);
        let began = began.or_else(|| self.elsewhere.map(|lease| lease.began));
        self.schedule.failures > 0 || began.is_some_and(|began| began < held.fresh_until)
    }

    const fn is_under_way(&self) -> bool {
        self.flight.is_some() || self.elsewhere.is_some()
    }

    // What is done about it.

    /// The call that is due at `now`, if one is and no other worker makes it. It is under way afterwards, until
    /// [`settle`](Self::settle) is called or it counts as lost.
    pub fn next_fetch(&mut self, now: UnixTime, space: &mut dyn SharedSpace) -> Option<Fetch> {
        self.mind_the_clock(now);
        if let Some(lost) = self.flight.take_if(|flight| flight.until <= now) {
            self.fail(&lost, now, space);
        }
        if self.flight.is_some() {
            return None;
        }
        let read = self.read(now, space);
        let is_due = self.elsewhere.is_none() && self.due_at().is_some_and(|due| due <= now);
        if is_due { self.claim(read, now, space) } else { None }
    }

    /// A call for one request alone, whatever is under way. None when keys have come meanwhile: from another root context
    /// of the same VM.
    pub fn fetch_for_one(&self, now: UnixTime) -> Option<Fetch> {
        self.is_wanted.then(|| Fetch { is_for_one: true, ..self.first_step(None, now) })
    }

    /// Takes over what other workers have published.
    pub fn sync(&mut self, now: UnixTime, space: &mut dyn SharedSpace) {
        self.read(now, space);
    }

    /// When [`next_fetch`](Self::next_fetch) should be asked next, if ever; may lie in the past.
    pub fn wake_at(&self) -> Option<UnixTime> {
        if let Some(flight) = &self.flight {
            return Some(flight.until);
        }
        let look = self.read_at.filter(|_| self.is_shared).map(|read_at| {
            let is_impatient = self.elsewhere.is_some() && self.is_awaited;
            read_at.after(if is_impatient { IMPATIENT_POLL } else { POLL })
        });
        let act = self.elsewhere.map(|lease| lease.until).or_else(|| self.due_at());
        look.into_iter().chain(act).min()
    }

    /// Whether something has changed since this was last asked, so that waiting requests may have an answer now.
    pub fn take_settled(&mut self) -> Option<ProviderId> {
        std::mem::take(&mut self.has_settled).then_some(self.provider)
    }

    /// A call will not be answered, since the request that made it has gone. That is nobody's failure, but who asks for
    /// key ids and leaves must not cause any number of calls.
    pub fn abandon(&mut self, fetch: &Fetch, now: UnixTime, space: &mut dyn SharedSpace) {
        if !self.is_own(fetch) {
            return;
        }
        let Some(flight) = self.flight.take() else { return };
        let mut jitter = self.jitter.split();
        let first = self.settings.first_back_off;
        self.update(Some(&flight), space, |record, _| {
            if !flight.key_ids.is_empty() {
                let schedule = &mut record.schedule;
                let pause = back_off(first, schedule.abandoned, &mut jitter);
                schedule.key_ids_not_before = Some(now.after(pause));
                schedule.abandoned = schedule.abandoned.saturating_add(1);
            }
        });
    }

    /// Whether this call is part of the fetch that is under way, not one for a single request.
    fn is_own(&self, fetch: &Fetch) -> bool {
        !fetch.is_for_one && self.flight.as_ref().is_some_and(|flight| flight.began == fetch.began)
    }

    /// Leaves a fetch that is under way to other workers.
    pub fn release(&mut self, space: &mut dyn SharedSpace) {
        if let Some(flight) = self.flight.take() {
            self.update(Some(&flight), space, |_, _| ());
        }
    }

    /// When a fetch is due, if none is under way: at once when keys are wanted, else for key ids or the refresh of held
    /// keys, but not during a back-off.
    fn due_at(&self) -> Option<UnixTime> {
        let at_once = UnixTime::from_secs(0);
        let wanted = self.is_wanted.then_some(at_once);
        let key_ids =
            (!self.wanted_key_ids.is_empty()).then(|| self.schedule.key_ids_not_before.unwrap_or(at_once));
        let refresh = self.held.as_ref().map(|held| held.refresh_at);
        let due = [wanted, key_ids, refresh].into_iter().flatten().min()?;
        Some(self.schedule.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    /// Writes the lease into the record that was read, and so wins the right to fetch or learns who has.
    fn claim(&mut self, read: Read, now: UnixTime, space: &mut dyn SharedSpace) -> Option<Fetch> {
        let mut record = self.record_of(&read);
        let version = read.map(|(_, version)| version);
        let until = to_millis(now.after(self.longest_call()));
        let over = version.map_or(0, |Version(version)| version);
        let lease = Lease { over, began: to_millis(now), until };
        record.lease = Some(lease);
        if !self.write(&record, version, space) {
            self.read(now, space);
            return None;
        }
        self.schedule = record.schedule;
        let key_ids = std::mem::take(&mut self.wanted_key_ids);
        self.flight = Some(Flight { lease, began: now, until, key_ids });
        // Only a document that is there for the others, too, may be answered by "not modified".
        let document = record
            .document
            .filter(|document| self.held.as_ref().is_some_and(|held| held.fetched_at == document.fetched_at));
        Some(self.first_step(document.and_then(|document| document.etag), now))
    }

    /// Prolongs the lease for another call of the same fetch.
    fn prolong(&mut self, now: UnixTime, space: &mut dyn SharedSpace) {
        let Some(mut flight) = self.flight.take() else { return };
        flight.until = to_millis(now.after(self.longest_call()));
        let read = space.get(&self.record_name);
        let mut record = self.record_of(&read);
        // Where others are faster it is not prolonged, and at worst they fetch, too.
        if record.lease == Some(flight.lease) {
            flight.lease.until = flight.until;
            record.lease = Some(flight.lease);
            self.write(&record, read.map(|(_, version)| version), space);
        }
        self.flight = Some(flight);
    }

    /// How long a call that is under way may be waited for.
    const fn longest_call(&self) -> Duration {
        self.timeout.saturating_add(GRACE)
    }

    fn first_step(&self, if_none_match: Option<String>, now: UnixTime) -> Fetch {
        let discovery = match &self.place {
            KeyPlace::Jwks(endpoint) => return self.fetch(endpoint.clone(), JWKS, if_none_match, now),
            KeyPlace::Discovery(discovery) => discovery,
        };
        // Metadata is not read for every refresh, but again after a failure.
        let known = self.schedule.jwks_uri.as_ref().filter(|known| {
            let age = known.read_at.until(now);
            self.schedule.failures == 0 && known.read_at <= now && age < METADATA_LIFETIME
        });
        match known.and_then(|known| discovery::endpoint(discovery, &known.uri).ok()) {
            Some(endpoint) => self.fetch(endpoint, JWKS, if_none_match, now),
            None => {
                let endpoint = discovery.metadata.clone();
                self.fetch(endpoint, Step::Metadata { fallback: discovery.fallback.clone() }, None, now)
            }
        }
    }

    const fn fetch(
        &self,
        endpoint: Endpoint,
        step: Step,
        if_none_match: Option<String>,
        began: UnixTime,
    ) -> Fetch {
        let Self { provider, timeout, .. } = *self;
        Fetch { provider, endpoint, timeout, if_none_match, step, began, is_for_one: false }
    }

    /// Takes in the answer to a call. `Ok(Some)` is the next call of the same fetch.
    ///
    /// # Errors
    ///
    /// Why there are no new keys. What was held before is still held. Calls for one request, and those that have been
    /// given up, bring keys like any other, but their failure is not the provider's.
    pub fn settle(
        &mut self,
        fetch: Fetch,
        reply: CallReply<'_>,
        now: UnixTime,
        space: &mut dyn SharedSpace,
    ) -> Result<Option<Fetch>, FetchError> {
        self.read(now, space);
        let is_own = self.is_own(&fetch);
        match self.read_answer(&fetch, reply, now) {
            Ok(Answer::Next(next)) => {
                if is_own {
                    self.prolong(now, space);
                }
                Ok(Some(next))
            }
            Ok(Answer::Keys { keys, document }) => {
                let flight = self.flight.take_if(|_| is_own);
                self.publish(flight, keys, document, fetch, space);
                Ok(None)
            }
            Ok(Answer::NotModified { max_age }) => {
                let flight = self.flight.take_if(|_| is_own);
                self.renew(flight, max_age, &fetch, to_millis(now), space);
                Ok(None)
            }
            Err(error) => {
                if let Some(flight) = self.flight.take_if(|_| is_own) {
                    self.fail(&flight, now, space);
                }
                Err(error)
            }
        }
    }

    fn read_answer(&self, fetch: &Fetch, reply: CallReply<'_>, now: UnixTime) -> Result<Answer, FetchError> {
        match (&fetch.step, reply) {
            (Step::Metadata { .. }, CallReply::Response { status: 200, body, .. }) => {
                self.read_metadata(fetch, body)
            }
            // Some have it at one place, some at the other.
            (Step::Metadata { fallback: Some(fallback) }, CallReply::Response { status: 300..=499, .. }) => {
                let (endpoint, step) = (fallback.clone(), Step::Metadata { fallback: None });
                Ok(Answer::Next(Fetch { endpoint, step, ..fetch.clone() }))
            }
            (Step::Jwks { .. }, CallReply::Response { status: 200, headers, body }) => {
                let keys = JwkSet::parse(body, KeyOrigin::Fetched).map_err(FetchError::Jwks)?;
                let CacheHeaders { max_age, etag } = CacheHeaders::of(headers);
                let (asked_at, fetched_at) = (to_millis(fetch.began), to_millis(now));
                let document = Document { asked_at, fetched_at, max_age, etag, body: body.to_vec() };
                Ok(Answer::Keys { keys, document })
            }
            (Step::Jwks { .. }, CallReply::Response { status: 304, headers, .. })
                if fetch.if_none_match.is_some() && self.held.is_some() =>
            {
                let max_age = CacheHeaders::of(headers).max_age.or_else(|| self.held.as_ref()?.max_age);
                Ok(Answer::NotModified { max_age })
            }
            (_, CallReply::Response { status, .. }) => Err(FetchError::Status(status)),
            (_, CallReply::TooLarge { bytes }) => Err(FetchError::Jwks(JwksError::TooLarge { bytes })),
            (_, CallReply::Failure) => Err(FetchError::NoResponse),
        }
    }

    fn read_metadata(&self, fetch: &Fetch, body: &[u8]) -> Result<Answer, FetchError> {
        let KeyPlace::Discovery(discovery) = &self.place else { return Err(FetchError::NoResponse) };
        let uri = discovery::jwks_uri(discovery, body).map_err(FetchError::Metadata)?;
        let endpoint = discovery::endpoint(discovery, &uri).map_err(FetchError::Metadata)?;
        let step = Step::Jwks { found_at: Some(uri) };
        Ok(Answer::Next(Fetch { endpoint, step, ..fetch.clone() }))
    }

    /// A call brought keys.
    fn publish(
        &mut self,
        flight: Option<Flight>,
        keys: JwkSet,
        document: Document,
        fetch: Fetch,
        space: &mut dyn SharedSpace,
    ) {
        // What is held was asked for later.
        if self.held.as_ref().is_some_and(|held| document.asked_at < held.asked_at) {
            self.update(flight.as_ref(), space, |_, _| ());
            return;
        }
        let now = document.fetched_at;
        let found: Vec<_> = keys.key_ids().map(KeyIdDigest::of).collect();
        let interval = self.settings.kid_refetch_interval;
        self.hold(keys, &document);
        let jwks_uri = match fetch.step {
            Step::Jwks { found_at: Some(uri) } => Some(JwksUri { uri, read_at: now }),
            _ => None,
        };
        self.update(flight.as_ref(), space, |record, _| {
            // Another worker may have been faster just now, with what it asked for later.
            let is_older = |known: &Document| known.asked_at <= now && document.asked_at < known.asked_at;
            if record.document.as_ref().is_some_and(is_older) {
                return;
            }
            record.document = Some(document.clone());
            record.schedule.succeed(flight.as_ref(), &found, now, interval);
            if jwks_uri.is_some() {
                record.schedule.jwks_uri.clone_from(&jwks_uri);
            }
        });
    }

    /// The server says that the document has not changed.
    fn renew(
        &mut self,
        flight: Option<Flight>,
        max_age: Option<Duration>,
        fetch: &Fetch,
        now: UnixTime,
        space: &mut dyn SharedSpace,
    ) {
        let asked_at = to_millis(fetch.began);
        let interval = self.settings.kid_refetch_interval;
        self.current(asked_at, now, max_age);
        self.update(flight.as_ref(), space, |record, _| {
            let document = record.document.as_mut();
            if let Some(document) = document.filter(|document| document.etag == fetch.if_none_match) {
                document.asked_at = asked_at;
                document.fetched_at = now;
                document.max_age = max_age.or(document.max_age);
            }
            record.schedule.succeed(flight.as_ref(), &[], now, interval);
        });
    }

    /// A fetch of this worker brought no usable keys. What is held stays.
    fn fail(&mut self, flight: &Flight, now: UnixTime, space: &mut dyn SharedSpace) {
        let mut jitter = self.jitter.split();
        let first = self.settings.first_back_off;
        self.update(Some(flight), space, |record, is_ours| {
            // Otherwise another worker has taken over, and says itself what came of it.
            if is_ours {
                let schedule = &mut record.schedule;
                schedule.not_before = Some(now.after(back_off(first, schedule.failures, &mut jitter)));
                schedule.failures = schedule.failures.saturating_add(1);
                schedule.failing_since.get_or_insert(now);
            }
        });
    }

    // What workers know together.

    /// Changes the record, whatever others do to it meanwhile, and gives back the lease of a fetch that has ended.
    /// `change` is also told whether the lease still was that fetch's. When others are always faster, the change is made
    /// here alone.
    fn update(
        &mut self,
        ended: Option<&Flight>,
        space: &mut dyn SharedSpace,
        mut change: impl FnMut(&mut Record, bool),
    ) {
        let mut record = Record::default();
        let lease = ended.map(|flight| flight.lease);
        let known = self.version;
        for _ in 0..MAX_UPDATES {
            let read = space.get(&self.record_name);
            let found = read.as_ref().and_then(|(bytes, _)| Record::decode(bytes));
            // A lease that got lost with the record was not taken by anybody.
            let is_ours = lease.is_some() && found.as_ref().is_none_or(|found| found.lease == lease);
            record = self.or_own(found);
            if is_ours {
                record.lease = None;
            }
            change(&mut record, is_ours);
            let over = read.map(|(_, version)| version);
            if self.write(&record, over, space) {
                // What others have written meanwhile is still to be read.
                if over != known {
                    self.version = None;
                }
                break;
            }
        }
        self.schedule = record.schedule;
        self.has_settled = true;
        self.is_awaited = false;
    }

    /// Writes the record over this version of it. What this worker has written is no news to it.
    fn write(&mut self, record: &Record, over: Option<Version>, space: &mut dyn SharedSpace) -> bool {
        let bytes = record.encode();
        let is_written = space.put(&self.record_name, &bytes, over);
        if is_written {
            let read = space.get(&self.record_name).filter(|(read, _)| *read == bytes);
            self.version = read.map(|(_, version)| version);
        }
        is_written
    }

    /// The record that was read. What is none is replaced by what is known here.
    fn record_of(&self, read: &Read) -> Record {
        self.or_own(read.as_ref().and_then(|(bytes, _)| Record::decode(bytes)))
    }

    fn or_own(&self, found: Option<Record>) -> Record {
        found.unwrap_or_else(|| Record { schedule: self.schedule.clone(), ..Record::default() })
    }

    fn read(&mut self, now: UnixTime, space: &mut dyn SharedSpace) -> Read {
        let read = space.get(&self.record_name);
        let version = read.as_ref().map(|(_, version)| *version);
        self.is_shared = space.is_shared();
        self.read_at = Some(now);
        if self.elsewhere.is_some_and(|lease| lease.until <= now) {
            self.elsewhere = None;
            self.has_settled = true;
        }
        if version != self.version {
            self.version = version;
            let record = read.as_ref().and_then(|(bytes, _)| Record::decode(bytes));
            self.adopt(record, now);
        }
        read
    }

    /// Takes over a record that has changed.
    fn adopt(&mut self, record: Option<Record>, now: UnixTime) {
        let asked_at = self.held.as_ref().map(|held| held.asked_at);
        self.take_over(record, now);
        // That somebody fetches is no news to those who wait, and deciding them all again is much work.
        if self.elsewhere.is_none() || self.held.as_ref().map(|held| held.asked_at) != asked_at {
            self.has_settled = true;
            self.is_awaited = false;
        }
    }

    fn take_over(&mut self, record: Option<Record>, now: UnixTime) {
        self.elsewhere = None;
        let Some(record) = record else { return };
        let own = self.flight.as_ref().map(|flight| flight.lease);
        self.elsewhere = record.lease.filter(|lease| own != Some(*lease) && now < lease.until);
        self.schedule = record.schedule;
        self.mind_the_clock(now);
        if let Some(document) = record.document {
            self.adopt_document(&document, now);
        }
        let known = self.held.as_ref().map(|held| &held.keys);
        self.wanted_key_ids.retain(|wanted| {
            !known.is_some_and(|keys| keys.key_ids().any(|key_id| KeyIdDigest::of(key_id) == *wanted))
        });
        // Those who asked have been refused.
        if self.schedule.key_ids_not_before.is_some_and(|next| now < next) {
            self.wanted_key_ids.clear();
        }
    }

    fn adopt_document(&mut self, document: &Document, now: UnixTime) {
        // A time that has not come yet was written by another clock, or by somebody who has no business here.
        if document.fetched_at > now.after(CLOCK_TOLERANCE) {
            return;
        }
        match &self.held {
            Some(held) if document.asked_at <= held.asked_at => {}
            Some(held) if held.digest == digest(&document.body) => {
                self.current(document.asked_at, document.fetched_at, document.max_age);
            }
            // Read like a reply: others can write here.
            _ => {
                if let Ok(keys) = JwkSet::parse(&document.body, KeyOrigin::Fetched) {
                    self.hold(keys, document);
                }
            }
        }
    }

    fn hold(&mut self, keys: JwkSet, document: &Document) {
        let Document { asked_at, fetched_at, max_age, .. } = *document;
        let digest = digest(&document.body);
        let (refresh_at, fresh_until) = (fetched_at, fetched_at);
        self.held = Some(Held { keys, digest, asked_at, fetched_at, max_age, refresh_at, fresh_until });
        self.current(asked_at, fetched_at, max_age);
    }

    /// The keys held were current at `fetched_at`, when the answer to what was `asked_at` came.
    fn current(&mut self, asked_at: UnixTime, fetched_at: UnixTime, max_age: Option<Duration>) {
        let KeySchedule { cache_duration, min_cache_duration, .. } = self.settings;
        let lifetime = max_age.map_or(cache_duration, |age| age.max(min_cache_duration).min(cache_duration));
        // Ahead of expiry by a tenth, and by enough for a slow fetch and one more attempt where that fits.
        let lead = (lifetime / 10).max(self.timeout.saturating_mul(2)).min(lifetime / 2);
        let lead = lead.saturating_add(self.jitter.up_to(lead / 2));
        if let Some(held) = &mut self.held {
            held.asked_at = asked_at;
            held.fetched_at = fetched_at;
            held.max_age = max_age;
            held.refresh_at = fetched_at.after(lifetime.saturating_sub(lead));
            held.fresh_until = fetched_at.after(lifetime);
        }
        self.is_wanted = false;
    }

    /// Brings times back that a clock which was set back has moved out of reach: none of them may lie further ahead than
    /// it could have been set now. A pause that does is none.
    fn mind_the_clock(&mut self, now: UnixTime) {
        let longest_call = now.after(self.longest_call());
        let cache_duration = self.settings.cache_duration;
        if let Some(flight) = &mut self.flight {
            flight.until = flight.until.min(longest_call);
        }
        if let Some(held) = &mut self.held {
            // When it was asked for cannot be told any more: whatever is asked for from now on is newer.
            if held.asked_at > now {
                held.asked_at = UnixTime::from_secs(0);
            }
            held.fetched_at = held.fetched_at.min(now);
            held.refresh_at = held.refresh_at.min(now.after(cache_duration));
            held.fresh_until = held.fresh_until.min(now.after(cache_duration));
        }
        let longest = LONGEST_BACK_OFF.max(self.settings.first_back_off);
        let interval = self.settings.kid_refetch_interval.max(longest);
        let Schedule { failing_since, not_before, key_ids_not_before, .. } = &mut self.schedule;
        *failing_since = failing_since.map(|since| since.min(now));
        *not_before = not_before.filter(|not_before| *not_before <= now.after(longest));
        *key_ids_not_before = key_ids_not_before.filter(|not_before| *not_before <= now.after(interval));
        if let Some(lease) = &mut self.elsewhere {
            lease.until = lease.until.min(longest_call);
        }
    }
}

/// Keys at an address that is known.
const JWKS: Step = Step::Jwks { found_at: None };

type Read = Option<(Vec<u8>, Version)>;

impl Schedule {
    /// A fetch has brought keys at `now`, these among them.
    fn succeed(&mut self, flight: Option<&Flight>, found: &[KeyIdDigest], now: UnixTime, interval: Duration) {
        self.failures = 0;
        self.failing_since = None;
        self.not_before = None;
        let Some(Flight { began, key_ids, .. }) = flight else { return };
        if !key_ids.is_empty() {
            self.key_ids_not_before = Some(began.after(interval));
            self.abandoned = 0;
        }
        for key_id in key_ids.iter().filter(|key_id| !found.contains(key_id)) {
            self.absent.note(key_id.clone(), now, interval);
        }
    }
}

fn digest(body: &[u8]) -> [u8; 32] {
    Sha256::digest(body).into()
}

/// As precise as a record.
fn to_millis(time: UnixTime) -> UnixTime {
    UnixTime::from_millis(time.as_millis())
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwks(error) => write!(f, "{error}"),
            Self::Metadata(error) => write!(f, "{error}"),
            Self::NoResponse => f.write_str("no response"),
            Self::NotOneKey => f.write_str("not one public key in PEM of at most 16 KiB"),
            Self::Status(status) => write!(f, "status {status}, expected 200"),
        }
    }
}

impl std::error::Error for FetchError {}
