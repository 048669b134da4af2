//! One request through all stages: forward, reply, or wait for keys.
//!
//! Takes request heads, replies of key servers and the time; gives decisions and orders to fetch. Holds what lives
//! longer than a request: the configuration and the key keepers. A request that waits is simply decided again when its
//! keys have settled, so nothing half-decided is ever kept. Sans-IO: it makes no call and reads no clock.

use std::fmt;

use crate::authorize::{Authenticated, Evidence, Grant, Stop, authorize};
use crate::config::{Audiences, Config, KeySource, Provider, ProviderId, RemoteJwks, Requirement};
use crate::credential::{Credential, Credentials};
use crate::export::{self, Property};
use crate::jose::jwk::{JwkSet, JwksError, KeyOrigin};
use crate::jose::token::{CompactToken, TokenError, UnverifiedToken};
use crate::keys::{KeyKeeper, Keys};
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::rewrite::{HeaderEdits, OwnedHeaders};
use crate::rule;
use crate::time::UnixTime;
use crate::verify::{VerifyError, names_issuer, verify};

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

/// The keepers of all providers.
#[derive(Debug)]
struct KeyStore {
    /// One for each provider, `None` for those with local keys.
    keepers: Vec<Option<KeyKeeper>>,
    /// Whose keys the request decided last asked for.
    asked: Option<ProviderId>,
}

impl KeyStore {
    fn keeper(&mut self, id: ProviderId) -> Option<&mut KeyKeeper> {
        self.keepers.get_mut(id.0)?.as_mut()
    }

    fn keys<'k>(&'k mut self, id: ProviderId, provider: &'k Provider, now: UnixTime) -> Keys<'k> {
        if let KeySource::Local(keys) = &provider.keys {
            return Keys::Ready(keys);
        }
        self.asked = Some(id);
        self.keeper(id).map_or(Keys::Pending, |keeper| keeper.keys(now))
    }
}

impl Engine {
    /// An engine without keys for `config`.
    pub fn new(config: Config) -> Self {
        let keeper = |keys: &KeySource| match keys {
            KeySource::Local(_) => None,
            KeySource::Remote(remote) => Some(KeyKeeper::new(remote)),
        };
        Self {
            owned_headers: OwnedHeaders::of(&config),
            keys: KeyStore {
                keepers: config.providers.iter().map(|provider| keeper(&provider.keys)).collect(),
                asked: None,
            },
            config,
        }
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
        let asked = asked_providers(config, requirement);
        let credentials = Credentials::of(head, asked, config.several_credentials);
        let compacts: Vec<_> = credentials
            .iter()
            .map(|credential| (credential, CompactToken::decode(&credential.token)))
            .collect();
        let tokens: Vec<_> = compacts
            .iter()
            .map(|(credential, compact)| {
                let token = compact.as_ref().map_err(Clone::clone).and_then(CompactToken::parse);
                Presented { credential, token }
            })
            .collect();
        let mut evidence =
            Request { config, credentials: &credentials, tokens: &tokens, keys, now, failures: Vec::new() };
        let granted = authorize(requirement, &mut evidence);
        let mut properties = evidence.failures;
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
        let keepers = self.keys.keepers.iter_mut().enumerate();
        let due = keepers
            .filter_map(|(index, keeper)| keeper.as_mut()?.next_fetch(now).then_some(ProviderId(index)));
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
        self.keys.keepers.iter().flatten().filter_map(KeyKeeper::wake_at).min()
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

/// The providers whose credentials a requirement may ask for, each once, in configuration order.
fn asked_providers<'c>(
    config: &'c Config,
    requirement: &Requirement,
) -> impl Iterator<Item = (ProviderId, &'c Provider)> {
    let mut asked = vec![false; config.providers.len()];
    ask(requirement, &mut asked);
    config.providers().filter(move |(id, _)| asked.get(id.0).copied().unwrap_or_default())
}

fn ask(requirement: &Requirement, asked: &mut [bool]) {
    match requirement {
        Requirement::None => {}
        Requirement::Provider { id, .. } => {
            if let Some(asked) = asked.get_mut(id.0) {
                *asked = true;
            }
        }
        Requirement::Any { of, .. } | Requirement::All(of) => {
            of.iter().for_each(|requirement| ask(requirement, asked));
        }
        Requirement::AllowMissing | Requirement::AllowMissingOrFailed | Requirement::ExtractOnly { .. } => {
            asked.fill(true);
        }
    }
}

/// As in `jwt_authn`: only where the configuration asks for it and there is something new to choose by.
fn clears_route(grant: &Grant<'_>) -> bool {
    grant.identities().any(|Authenticated { provider, .. }| {
        provider.clear_route_cache
            && (!provider.claim_to_headers.is_empty() || provider.exports.payload.is_some())
    })
}

/// A credential and what it was read as.
struct Presented<'t> {
    credential: &'t Credential,
    token: Result<UnverifiedToken<'t>, TokenError>,
}

/// What a request presents, and what it takes to verify it.
struct Request<'t, 'k> {
    config: &'t Config,
    credentials: &'t Credentials,
    tokens: &'t [Presented<'t>],
    keys: &'k mut KeyStore,
    now: UnixTime,
    failures: Vec<Property>,
}

impl<'t> Evidence<'t> for Request<'t, '_> {
    fn of_provider(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
    ) -> Result<Vec<Authenticated<'t>>, Stop> {
        let identities = self.try_provider(id, audiences);
        if let Err(Stop::Reject(rejection)) = &identities {
            self.note_failure(Some(id), rejection);
        }
        identities
    }

    fn of_all_providers(&mut self) -> Result<Vec<Result<Authenticated<'t>, Rejection>>, Stop> {
        let several = self.config.several_credentials;
        let checks = self.config.providers().map(|(id, _)| self.credentials.check(id, several));
        // With something in it that must not be looked at, nothing of the request counts.
        let faults: Vec<_> = checks.filter_map(Result::err).map(Err).collect();
        if !faults.is_empty() {
            return Ok(faults);
        }
        let mut found = Vec::new();
        for presented in self.tokens {
            let id = self.issuing_provider(presented);
            let outcome = match id {
                Ok(id) => self.verify(id, None, presented),
                Err(ref rejection) => Err(rejection.clone().into()),
            };
            match outcome {
                Ok(authenticated) => found.push(Ok(authenticated)),
                Err(Stop::Reject(rejection)) => {
                    self.note_failure(id.ok(), &rejection);
                    found.push(Err(rejection));
                }
                Err(stop @ Stop::Await(_)) => return Err(stop),
            }
        }
        Ok(found)
    }
}

impl<'t> Request<'t, '_> {
    /// Every credential at the provider's places, the last one first, as `jwt_authn` does it.
    fn try_provider(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
    ) -> Result<Vec<Authenticated<'t>>, Stop> {
        self.credentials.check(id, self.config.several_credentials)?;
        let mut found = Vec::new();
        for presented in self.tokens.iter().rev() {
            if presented.credential.providers.contains(&id) {
                found.push(self.verify(id, audiences, presented)?);
            }
        }
        found.reverse();
        if found.is_empty() { Err(Rejection::MissingCredential.into()) } else { Ok(found) }
    }

    fn verify(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
        presented: &'t Presented<'t>,
    ) -> Result<Authenticated<'t>, Stop> {
        let token = presented.token.as_ref().map_err(malformed)?;
        let provider = self.config.provider(id).ok_or_else(unknown_issuer)?;
        // Before the keys: a token from somebody else must not cause a fetch.
        if !names_issuer(token, provider) {
            return Err(unknown_issuer().into());
        }
        let keys = match self.keys.keys(id, provider, self.now) {
            Keys::Ready(keys) => keys,
            Keys::Pending => return Err(Stop::Await(id)),
            Keys::Unavailable { retry_after } => {
                return Err(Rejection::KeysUnavailable { retry_after }.into());
            }
        };
        let audiences = audiences.unwrap_or(&provider.audiences);
        let identity = verify(token, provider, audiences, keys, self.now).map_err(Rejection::InvalidToken)?;
        Ok(Authenticated { identity, provider, place: &presented.credential.place })
    }

    /// Which provider a token is held against where any will do: the first whose issuer it names, else the first that
    /// takes any issuer.
    fn issuing_provider(&self, presented: &Presented<'_>) -> Result<ProviderId, Rejection> {
        let token = presented.token.as_ref().map_err(malformed)?;
        let named = presented.credential.providers.iter().copied().filter_map(|id| {
            let provider = self.config.provider(id)?;
            names_issuer(token, provider).then_some((provider.issuer.is_none(), id))
        });
        named.min().map(|(_, id)| id).ok_or_else(unknown_issuer)
    }

    /// Leaves the status of a token that was not good. Of a token that is nobody's, only where there is no question
    /// whose it would be.
    fn note_failure(&mut self, id: Option<ProviderId>, rejection: &Rejection) {
        let provider = match (id, self.config.providers.as_slice()) {
            (Some(id), _) => self.config.provider(id),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        self.failures.extend(provider.and_then(|provider| export::of_failure(provider, rejection)));
    }
}

fn malformed(error: &TokenError) -> Rejection {
    Rejection::InvalidToken(VerifyError::Form(error.clone()))
}

const fn unknown_issuer() -> Rejection {
    Rejection::InvalidToken(VerifyError::UnknownIssuer)
}
