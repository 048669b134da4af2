//! The key keepers: when keys are fetched, how long they count, and what a request is told meanwhile.
//!
//! Takes events (a request needs keys or a key id, time has passed, a call was answered) with the time as an argument,
//! gives states and orders to fetch. One [`KeyKeeper`] per provider whose keys are fetched together, one [`KeysById`]
//! where they are fetched one by one. Makes no call and reads no clock, so a schedule can be tested as a script. What the
//! workers of a process must agree on is a [`Record`] in a [`SharedSpace`]; a host that has none gets a [`LocalSpace`] for
//! each configuration, and nothing else changes.
//!
//! [`Record`]: record::Record

pub mod by_id;
pub mod cache_headers;
pub mod discovery;
pub mod keeper;
pub mod key_ids;
pub mod pace;
pub mod record;
pub mod space;

use std::collections::BTreeMap;

use crate::call::CallReply;
use crate::config::{Config, KeySource, Provider, ProviderId};
use crate::jose::jwk::JwkSet;
use crate::keys::by_id::KeysById;
use crate::keys::keeper::KeyKeeper;
use crate::time::UnixTime;

pub use keeper::{Fetch, FetchError, Keys, LookUp};
pub use pace::Jitter;
pub use space::{LocalSpace, SharedSpace, Version};

/// The keys of all providers.
#[derive(Debug)]
pub struct KeyStore {
    /// One for each provider, `None` for those whose keys are local or fetched one by one.
    keepers: Vec<Option<KeyKeeper>>,
    /// Of providers whose keys are fetched one by one.
    by_id: BTreeMap<ProviderId, KeysById>,
    /// Whose keys the request decided last asked for.
    asked: Vec<ProviderId>,
    /// When that request arrived.
    arrived: UnixTime,
}

impl KeyStore {
    /// Keepers without keys for the providers of `config`; `jitter` should differ between workers.
    pub fn of(config: &Config, mut jitter: Jitter) -> Self {
        let mut keeper = |(id, provider): (ProviderId, &Provider)| match &provider.keys {
            KeySource::None | KeySource::Local(_) | KeySource::ByKid(_) => None,
            KeySource::Remote(remote) => Some(KeyKeeper::new(id, remote, jitter.split())),
        };
        let keepers = config.providers().map(&mut keeper).collect();
        let by_id = config.providers().filter_map(|(id, provider)| match &provider.keys {
            KeySource::ByKid(source) => Some((id, KeysById::new(id, source, jitter.split()))),
            KeySource::None | KeySource::Local(_) | KeySource::Remote(_) => None,
        });
        Self { by_id: by_id.collect(), keepers, asked: Vec::new(), arrived: UnixTime::from_secs(0) }
    }

    /// Has every request fetch for itself, on a host where nothing else can.
    pub fn without_timers(&mut self) {
        self.all().for_each(|keeper| keeper.without_timers());
        self.by_id.values_mut().for_each(KeysById::without_timers);
    }

    /// A request that has `arrived` then is decided, for the first time or again.
    pub fn begin_request(&mut self, arrived: UnixTime) {
        self.asked.clear();
        self.arrived = arrived;
    }

    /// The keys of `provider`, whose id this is, for a request at `now`.
    pub fn keys<'k>(&'k mut self, id: ProviderId, provider: &'k Provider, now: UnixTime) -> Keys<'k> {
        if let KeySource::Local(keys) = &provider.keys {
            return Keys::Ready(keys);
        }
        self.asked.push(id);
        self.keeper(id).map_or(Keys::Pending, |keeper| keeper.keys(now))
    }

    /// The key of this `kid`, for a request at `now`, of a provider whose keys are fetched one by one; `None` when it has
    /// to be looked up.
    pub fn key(&mut self, id: ProviderId, key_id: &str, now: UnixTime) -> Option<&JwkSet> {
        self.asked.push(id);
        self.by_id.get_mut(&id)?.key(key_id, now)
    }

    /// The key of this `kid` has verified a signature.
    pub fn note_good(&mut self, id: ProviderId, key_id: &str, now: UnixTime) {
        if let Some(keys) = self.by_id.get_mut(&id) {
            keys.note_good(key_id, now);
        }
    }

    /// What a request can do about a key id that the keys of a provider do not have.
    pub fn look_up(&mut self, id: ProviderId, key_id: &str, now: UnixTime) -> LookUp {
        let arrived = self.arrived;
        if let Some(keys) = self.by_id.get_mut(&id) {
            return keys.look_up(key_id, now);
        }
        self.keeper(id).map_or(LookUp::Absent, |keeper| keeper.look_up(key_id, arrived, now))
    }

    /// Takes over what other workers have published.
    pub fn sync(&mut self, now: UnixTime, space: &mut dyn SharedSpace) {
        self.all().for_each(|keeper| keeper.sync(now, space));
    }

    /// The documents that must be fetched at `now`. Each is under way afterwards, until [`settle`](Self::settle).
    pub fn fetches(&mut self, now: UnixTime, space: &mut dyn SharedSpace) -> Vec<Fetch> {
        let mut fetches: Vec<_> = self.all().filter_map(|keeper| keeper.next_fetch(now, space)).collect();
        fetches.extend(self.by_id.values_mut().filter_map(|keys| keys.next_fetch(now)));
        fetches
    }

    /// The first document that is due of those that the request decided last asked for, or of the provider that it has to
    /// wait for. It is under way afterwards.
    pub fn own_fetch(
        &mut self,
        awaited: Option<ProviderId>,
        now: UnixTime,
        space: &mut dyn SharedSpace,
    ) -> Option<Fetch> {
        let asked = std::mem::take(&mut self.asked);
        let asked = awaited.map_or(asked, |awaited| vec![awaited]);
        asked.into_iter().find_map(|id| match self.by_id.get_mut(&id) {
            Some(keys) => keys.next_fetch(now),
            None => self.keeper(id)?.next_fetch(now, space),
        })
    }

    /// A fetch of these keys for one request alone, whatever others do.
    pub fn fetch_for_one(&mut self, id: ProviderId, now: UnixTime) -> Option<Fetch> {
        self.keeper(id)?.fetch_for_one(now)
    }

    /// Takes in the answer to a call. `Ok(Some)` is the next call of the same fetch.
    ///
    /// # Errors
    ///
    /// Why there are no new keys. What was held before is still held.
    pub fn settle(
        &mut self,
        fetch: Fetch,
        reply: CallReply<'_>,
        now: UnixTime,
        space: &mut dyn SharedSpace,
    ) -> Result<Option<Fetch>, FetchError> {
        if let Some(keys) = self.by_id.get_mut(&fetch.provider) {
            return keys.settle(&fetch, reply, now).map(|()| None);
        }
        match self.keeper(fetch.provider) {
            Some(keeper) => keeper.settle(fetch, reply, now, space),
            None => Ok(None),
        }
    }

    /// A call will not be answered, since the request that made it has gone.
    pub fn abandon(&mut self, fetch: &Fetch, now: UnixTime, space: &mut dyn SharedSpace) {
        if let Some(keeper) = self.keeper(fetch.provider) {
            keeper.abandon(fetch, now, space);
        }
        if let Some(keys) = self.by_id.get_mut(&fetch.provider) {
            keys.abandon(fetch);
        }
    }

    /// The providers about which something has changed since this was last asked, so that waiting requests may have an
    /// answer now.
    pub fn take_settled(&mut self) -> Vec<ProviderId> {
        let mut settled: Vec<_> = self.all().filter_map(KeyKeeper::take_settled).collect();
        settled.extend(self.by_id.values_mut().filter_map(KeysById::take_settled));
        settled
    }

    /// When [`fetches`](Self::fetches) should be asked next, if ever; may lie in the past.
    pub fn wake_at(&self) -> Option<UnixTime> {
        let documents = self.keepers.iter().flatten().filter_map(KeyKeeper::wake_at);
        documents.chain(self.by_id.values().filter_map(KeysById::wake_at)).min()
    }

    /// Leaves what is under way to other workers: this one ends.
    pub fn release(&mut self, space: &mut dyn SharedSpace) {
        self.all().for_each(|keeper| keeper.release(space));
    }

    fn keeper(&mut self, id: ProviderId) -> Option<&mut KeyKeeper> {
        self.keepers.get_mut(id.0)?.as_mut()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut KeyKeeper> {
        self.keepers.iter_mut().flatten()
    }
}
