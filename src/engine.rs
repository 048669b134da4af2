//! One request through all stages: forward, reply, or wait for keys.
//!
//! Takes request heads, replies of key servers, the time and what workers share; gives decisions and orders to fetch.
//! Holds what lives longer than a request: the configuration and the key keepers. A request that waits is simply decided
//! again when its keys have settled, so nothing half-decided is ever kept. Sans-IO: it makes no call and reads no clock.

use std::rc::Rc;
use std::time::Duration;

use crate::authorize::{Authenticated, Awaited, Grant, Stop, authorize, without_evidence};
use crate::cache::TokenCache;
use crate::call::CallReply;
use crate::config::{Config, KeySource, ProviderId};
use crate::credential::{Credential, Credentials};
use crate::evidence::{self, Presented, Request, asked_providers};
use crate::export::{self, Property};
use crate::jose::algorithm::{NobodyElse, SignatureVerifier};
use crate::keys::keeper::{GRACE, PATIENCE};
use crate::keys::{Fetch, FetchError, Jitter, KeyStore, SharedSpace};
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::rewrite::{HeaderEdits, OwnedHeaders};
use crate::rule;
use crate::session_check::{AnswerError, Check, Checker, QuestionId};
use crate::time::UnixTime;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It goes on, with these edits made first.
    Forward(HeaderEdits),
    /// It is refused.
    Refuse(Rejection),
    /// It waits until the keys of a provider or an answer of it have settled, and is decided again then.
    Await(Awaited),
}

/// A decision and what it leaves for access logs and other filters.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// What becomes of the request.
    pub decision: Decision,
    /// Values for its filter state.
    pub properties: Vec<Property>,
    /// Whether its route is to be chosen anew.
    pub clears_route: bool,
    /// `set-cookie` lines for the answer to it, if it is told to authenticate.
    pub set_cookies: Vec<String>,
}

/// The filter's logic for one configuration.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    owned_headers: OwnedHeaders,
    keys: KeyStore,
    sessions: Checker,
    cache: TokenCache,
    /// Who else verifies signatures.
    other: Rc<dyn SignatureVerifier>,
}

impl Engine {
    /// An engine without keys for `config`; `jitter` should differ between workers.
    pub fn new(config: Config, jitter: Jitter) -> Self {
        let (keys, sessions) = (KeyStore::of(&config, jitter), Checker::of(&config));
        let cache = TokenCache::of(&config);
        let (owned_headers, other) = (OwnedHeaders::of(&config), Rc::new(NobodyElse));
        Self { owned_headers, keys, sessions, cache, other, config }
    }

    /// Says who else can verify signatures.
    pub fn verify_by(&mut self, other: Rc<dyn SignatureVerifier>) {
        self.other = other;
    }

    /// Says that the host has no timers: nothing but a request of its own can be waited for then.
    pub fn without_timers(&mut self) {
        self.keys.without_timers();
        self.sessions.without_timers();
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The tokens that were good and are kept.
    pub const fn known_tokens(&self) -> &TokenCache {
        &self.cache
    }

    /// The headers that no client may send.
    pub const fn owned_headers(&self) -> &OwnedHeaders {
        &self.owned_headers
    }

    /// Decides about a request that arrives at the time `now`.
    pub fn decide(&mut self, head: &RequestHead, now: UnixTime) -> Decided {
        self.decide_again(head, now, now)
    }

    /// Decides at the time `now` about a request that has `arrived` before that, and waited.
    pub fn decide_again(&mut self, head: &RequestHead, arrived: UnixTime, now: UnixTime) -> Decided {
        let Self { config, owned_headers, keys, sessions, cache, other } = self;
        keys.begin_request(arrived);
        sessions.begin_request();
        let requirement = match rule::select(config, head) {
            Ok(requirement) => requirement,
            Err(rejection) => return Decided::refuse(rejection),
        };
        if owned_headers.may_have_chosen_the_route(head, config) {
            return Decided::refuse(Rejection::ForgedHeader);
        }
        if let Some(grant) = without_evidence(requirement) {
            let edits = HeaderEdits::for_grant(head, config, owned_headers, &grant);
            return Decided::of(Decision::Forward(edits));
        }
        let credentials = Credentials::of(head, config, asked_providers(config, requirement), cache, now);
        let decoded = evidence::decode(&credentials, config);
        let tokens = evidence::parse(&decoded);
        let request = Request { head, arrived, now, other: other.as_ref() };
        let mut evidence = Presented::new(config, &credentials, &tokens, request, keys, sessions, cache);
        let granted = authorize(requirement, &mut evidence);
        let set_cookies = evidence.take_clearing_lines();
        let mut properties = evidence.take_failures();
        match granted {
            Ok(grant) => {
                properties.extend(export::of_grant(&grant));
                let decision = Decision::Forward(HeaderEdits::for_grant(head, config, owned_headers, &grant));
                // What was made of their claims is kept with them.
                credentials.iter().filter_map(Credential::known).for_each(|known| cache.account(known));
                let (clears_route, set_cookies) = (clears_route(&grant), Vec::new());
                Decided { decision, properties, clears_route, set_cookies }
            }
            Err(Stop::Reject(rejection)) => {
                let set_cookies = if rejection.is_challenge() { set_cookies } else { Vec::new() };
                Decided { properties, set_cookies, ..Decided::refuse(rejection) }
            }
            Err(Stop::Await(awaited)) => Decided::of(Decision::Await(awaited)),
        }
    }

    /// Takes over what other workers have published.
    pub fn sync(&mut self, now: UnixTime, space: &mut dyn SharedSpace) {
        self.keys.sync(now, space);
    }

    /// The calls that must be made at `now`. Each is under way afterwards, until [`settle`](Self::settle).
    pub fn fetches(&mut self, now: UnixTime, space: &mut dyn SharedSpace) -> Vec<Fetch> {
        self.keys.fetches(now, space)
    }

    /// The call that the request decided last must make itself, on a host where nothing else can: for what it waits for,
    /// else the first that is due of the keys it asked for.
    pub fn own_fetch(
        &mut self,
        decision: &Decision,
        now: UnixTime,
        space: &mut dyn SharedSpace,
    ) -> Option<Fetch> {
        let awaited = match decision {
            Decision::Await(awaited) => Some(awaited.provider()),
            Decision::Forward(_) | Decision::Refuse(_) => None,
        };
        match decision {
            // Another request's fetch would not wake this one.
            Decision::Await(Awaited::Keys(provider)) => {
                let due = self.keys.own_fetch(awaited, now, space);
                due.or_else(|| self.keys.fetch_for_one(*provider, now))
            }
            // A request makes one call at a time, and needs another one. What is due is left to those who need none.
            Decision::Await(Awaited::Answer(..)) => None,
            Decision::Await(Awaited::KeyId(_)) | Decision::Forward(_) | Decision::Refuse(_) => {
                self.keys.own_fetch(awaited, now, space)
            }
        }
    }

    /// The question that the request decided last must ask itself, on a host where nothing else can.
    pub fn own_check(&mut self, now: UnixTime) -> Option<Check> {
        self.sessions.own(now)
    }

    /// Whether something is to be done sooner than was planned when this was last asked, and no request waits for it.
    pub const fn take_sooner(&mut self) -> bool {
        self.sessions.take_sooner()
    }

    /// The questions that must be asked at `now`. Each is on its way afterwards, until
    /// [`settle_check`](Self::settle_check).
    pub fn checks(&mut self, now: UnixTime) -> Vec<Check> {
        self.sessions.due(now)
    }

    /// Takes in the answer to a question.
    ///
    /// # Errors
    ///
    /// Why nothing was found out, for the log.
    pub fn settle_check(
        &mut self,
        check: Check,
        reply: CallReply<'_>,
        now: UnixTime,
    ) -> Result<(), AnswerError> {
        self.sessions.settle(check, reply, now)
    }

    /// The questions that have been settled since this was last asked: requests that wait for them can be decided again.
    pub fn take_answered(&mut self) -> Vec<QuestionId> {
        self.sessions.take_answered()
    }

    /// The longest that a request waits for this, however often a call is repeated and whoever makes it.
    pub fn patience(&self, awaited: Awaited) -> Duration {
        let provider = awaited.provider();
        if let Awaited::Answer(..) = awaited {
            return self.sessions.patience(provider);
        }
        let timeout = match self.config.provider(provider).map(|provider| &provider.keys) {
            Some(KeySource::Remote(remote)) => remote.timeout,
            Some(KeySource::ByKid(source)) => source.timeout,
            _ => Duration::ZERO,
        };
        timeout.saturating_mul(PATIENCE).saturating_add(GRACE)
    }

    /// When [`fetches`](Self::fetches) and [`checks`](Self::checks) should be asked again, which may be in the past;
    /// `None` when nothing is planned.
    pub fn wake_at(&self) -> Option<UnixTime> {
        self.keys.wake_at().into_iter().chain(self.sessions.wake_at()).min()
    }

    /// The providers whose keys have changed, or failed to, since this was last asked: requests that wait for them can
    /// be decided again.
    pub fn take_settled(&mut self) -> Vec<ProviderId> {
        self.keys.take_settled()
    }

    /// Takes in the answer to a call. `Ok(Some)` is the next call of the same fetch.
    ///
    /// # Errors
    ///
    /// Why there are no new keys, for the log. What was held before is still held.
    pub fn settle(
        &mut self,
        fetch: Fetch,
        reply: CallReply<'_>,
        now: UnixTime,
        space: &mut dyn SharedSpace,
    ) -> Result<Option<Fetch>, FetchError> {
        self.keys.settle(fetch, reply, now, space)
    }

    /// A call will not be answered, since the request that made it has gone.
    pub fn abandon(&mut self, fetch: &Fetch, now: UnixTime, space: &mut dyn SharedSpace) {
        self.keys.abandon(fetch, now, space);
    }

    /// Leaves what is under way to other workers: this engine ends.
    pub fn release(&mut self, space: &mut dyn SharedSpace) {
        self.keys.release(space);
    }
}

impl Decided {
    /// A refusal that leaves nothing.
    pub const fn refuse(rejection: Rejection) -> Self {
        Self::of(Decision::Refuse(rejection))
    }

    const fn of(decision: Decision) -> Self {
        Self { decision, properties: Vec::new(), clears_route: false, set_cookies: Vec::new() }
    }
}

/// As in `jwt_authn`: only where the configuration asks for it and there is something new to choose by.
fn clears_route(grant: &Grant<'_>) -> bool {
    grant.identities().any(|Authenticated { provider, .. }| {
        provider.clear_route_cache
            && (!provider.claim_to_headers.is_empty() || provider.exports.payload.is_some())
    })
}
