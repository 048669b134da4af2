//! One request through all stages: forward, reply, or wait for keys.
//!
//! Takes request heads, replies of key servers and the time; gives decisions and orders to fetch. Holds what lives
//! longer than a request: the configuration and the key keepers. A request that waits is simply decided again when its
//! keys have settled, so nothing half-decided is ever kept. Sans-IO: it makes no call and reads no clock.

use std::fmt;

use crate::authorize::{Authenticated, Grant, Stop, authorize};
use crate::config::{Config, KeySource, ProviderId, RemoteJwks};
use crate::credential::Credentials;
use crate::evidence::{self, Presented, asked_providers};
use crate::export::{self, Property};
use crate::jose::jwk::{JwkSet, JwksError, KeyOrigin};
use crate::keys::KeyStore;
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::rewrite::{HeaderEdits, OwnedHeaders};
use crate::rule;
use crate::time::UnixTime;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It goes on, with these edits made first.
    Forward(HeaderEdits),
    /// It is refused.
    Refuse(Rejection),
    /// It waits until the keys of this provider have settled, and is decided again then.
    Await(ProviderId),
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
}

/// What a key server answered.
#[derive(Clone, Copy, Debug)]
pub enum FetchReply<'b> {
    /// A response.
    Response {
        /// Its HTTP status.
        status: u16,
        /// Its body.
        body: &'b [u8],
    },
    /// One whose body is too large to be copied out of the host.
    TooLarge {
        /// The size of the body.
        bytes: usize,
    },
    /// None: refused, reset, timed out or lost.
    Failure,
}

/// Why a fetch brought no keys.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FetchError {
    /// The document is not a usable key set.
    Jwks(JwksError),
    /// There was no response.
    NoResponse,
    /// A status other than 200. Redirects are not followed.
    Status(u16),
}

/// The filter's logic for one configuration.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    owned_headers: OwnedHeaders,
    keys: KeyStore,
}

impl Engine {
    /// An engine without keys for `config`.
    pub fn new(config: Config) -> Self {
        Self { owned_headers: OwnedHeaders::of(&config), keys: KeyStore::of(&config), config }
    }

    /// Says that the host has no timers: nothing but a request of its own can be waited for then.
    pub fn without_timers(&mut self) {
        self.keys.without_retries();
    }

    /// The configuration.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The headers that no client may send.
    pub const fn owned_headers(&self) -> &OwnedHeaders {
        &self.owned_headers
    }

    /// Decides about a request at the time `now`.
    pub fn decide(&mut self, head: &RequestHead, now: UnixTime) -> Decided {
        let Self { config, owned_headers, keys } = self;
        keys.asked = None;
        let requirement = match rule::select(config, head) {
            Ok(requirement) => requirement,
            Err(rejection) => return Decided::refuse(rejection),
        };
        if owned_headers.may_have_chosen_the_route(head, config) {
            return Decided::refuse(Rejection::ForgedHeader);
        }
        let credentials =
            Credentials::of(head, asked_providers(config, requirement), config.several_credentials);
        let decoded = evidence::decode(&credentials);
        let tokens = evidence::parse(&decoded);
        let mut evidence = Presented::new(config, &credentials, &tokens, keys, now);
        let granted = authorize(requirement, &mut evidence);
        let mut properties = evidence.into_failures();
        match granted {
            Ok(grant) => {
                properties.extend(export::of_grant(&grant));
                let decision = Decision::Forward(HeaderEdits::for_grant(head, owned_headers, &grant));
                Decided { decision, properties, clears_route: clears_route(&grant) }
            }
            Err(Stop::Reject(rejection)) => Decided { properties, ..Decided::refuse(rejection) },
            Err(Stop::Await(provider)) => {
                Decided { decision: Decision::Await(provider), properties: Vec::new(), clears_route: false }
            }
        }
    }

    /// The documents that must be fetched at `now`. Each is under way afterwards, until [`settle`](Self::settle).
    pub fn fetches(&mut self, now: UnixTime) -> Vec<ProviderId> {
        let due = self.keys.keepers().filter_map(|(id, keeper)| keeper.next_fetch(now).then_some(id));
        due.collect()
    }

    /// The document that the request decided last needed and that is due, which on a host where nothing else can is
    /// fetched by that request. It is under way afterwards.
    pub fn own_fetch(&mut self, now: UnixTime) -> Option<ProviderId> {
        let id = self.keys.asked.take()?;
        self.keys.keeper(id)?.next_fetch(now).then_some(id)
    }

    /// The remote document of a provider.
    pub fn remote(&self, provider: ProviderId) -> Option<&RemoteJwks> {
        match &self.config.provider(provider)?.keys {
            KeySource::Remote(remote) => Some(remote),
            KeySource::Local(_) => None,
        }
    }

    /// When [`fetches`](Self::fetches) should be asked again, which may be in the past; `None` when nothing is planned.
    pub fn wake_at(&self) -> Option<UnixTime> {
        self.keys.wake_at()
    }

    /// Takes in what came of a fetch, after which waiting requests can be decided again.
    ///
    /// # Errors
    ///
    /// Why there are no new keys, for the log. What was held before is still held.
    pub fn settle(
        &mut self,
        provider: ProviderId,
        reply: FetchReply<'_>,
        now: UnixTime,
    ) -> Result<(), FetchError> {
        let Some(keeper) = self.keys.keeper(provider) else { return Ok(()) };
        match read_keys(reply) {
            Ok(keys) => {
                keeper.fetched(keys, now);
                Ok(())
            }
            Err(error) => {
                keeper.failed(now);
                Err(error)
            }
        }
    }
}

fn read_keys(reply: FetchReply<'_>) -> Result<JwkSet, FetchError> {
    match reply {
        FetchReply::Response { status: 200, body } => {
            JwkSet::parse(body, KeyOrigin::Fetched).map_err(FetchError::Jwks)
        }
        FetchReply::Response { status, .. } => Err(FetchError::Status(status)),
        FetchReply::TooLarge { bytes } => Err(FetchError::Jwks(JwksError::TooLarge { bytes })),
        FetchReply::Failure => Err(FetchError::NoResponse),
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwks(error) => write!(f, "{error}"),
            Self::NoResponse => f.write_str("no response"),
            Self::Status(status) => write!(f, "status {status}, expected 200"),
        }
    }
}

impl std::error::Error for FetchError {}

impl Decided {
    /// A refusal that leaves nothing.
    pub const fn refuse(rejection: Rejection) -> Self {
        Self { decision: Decision::Refuse(rejection), properties: Vec::new(), clears_route: false }
    }
}

/// As in `jwt_authn`: only where the configuration asks for it and there is something new to choose by.
fn clears_route(grant: &Grant<'_>) -> bool {
    grant.identities().any(|Authenticated { provider, .. }| {
        provider.clear_route_cache
            && (!provider.claim_to_headers.is_empty() || provider.exports.payload.is_some())
    })
}
