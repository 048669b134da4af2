//! One request through all stages: forward, reply, or wait for keys.
//!
//! Takes request heads, replies of key servers and the time; gives decisions and orders to fetch. Holds what lives
//! longer than a request: the configuration and the key keepers. A request that waits is simply decided again when its
//! keys have settled, so nothing half-decided is ever kept. Sans-IO: it makes no call and reads no clock.

use std::fmt;

use crate::authorize::{Authenticated, authorize};
use crate::config::{Config, KeySource, Provider, ProviderId, RemoteJwks, Requirement};
use crate::credential::{self, Credential};
use crate::jose::jwk::{JwkSet, JwksError, KeyOrigin};
use crate::jose::token::{CompactToken, TokenError, UnverifiedToken};
use crate::json::Json;
use crate::keys::{KeyKeeper, Keys};
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::rewrite::{HeaderEdits, OwnedHeaders};
use crate::rule;
use crate::time::UnixTime;
use crate::verify::{VerifyError, verify};

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

/// Why a request is not forwarded now.
enum Stop {
    Reject(Rejection),
    Await(ProviderId),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection)
    }
}

impl Engine {
    /// An engine without keys for `config`.
    pub fn new(config: Config) -> Self {
        let keeper = |keys: &KeySource| match keys {
            KeySource::Local(_) => None,
            KeySource::Remote(remote) => Some(KeyKeeper::new(remote.cache_duration, remote.timeout)),
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
    pub fn decide(&mut self, head: &RequestHead, now: UnixTime) -> Decision {
        match self.evaluate(head, now) {
            Ok(edits) => Decision::Forward(edits),
            Err(Stop::Reject(rejection)) => Decision::Refuse(rejection),
            Err(Stop::Await(provider)) => Decision::Await(provider),
        }
    }

    fn evaluate(&mut self, head: &RequestHead, now: UnixTime) -> Result<HeaderEdits, Stop> {
        let Self { config, owned_headers, keys } = self;
        keys.asked = None;
        let requirement = *rule::select(config, head)?;
        let credential = match requirement {
            Requirement::None => Ok(None),
            Requirement::Provider(id) => {
                credential::find(head, config.providers().filter(|(other, _)| *other == id))
            }
            Requirement::AllowMissing | Requirement::AllowMissingOrFailed => {
                credential::find(head, config.providers())
            }
        };
        let compact = match &credential {
            Ok(Some(credential)) => Some((credential, CompactToken::decode(&credential.token))),
            _ => None,
        };
        let verification = match (&credential, &compact) {
            (_, Some((credential, Ok(compact)))) => {
                match authenticate(config, keys, credential, compact, now) {
                    Ok(authenticated) => Ok(authenticated),
                    Err(Stop::Reject(rejection)) => Err(rejection),
                    Err(Stop::Await(provider)) => return Err(Stop::Await(provider)),
                }
            }
            (_, Some((_, Err(error)))) => Err(malformed(error.clone())),
            (Err(rejection), None) => Err(rejection.clone()),
            (Ok(_), None) => Err(Rejection::MissingCredential),
        };
        let grant = authorize(requirement, verification)?;
        Ok(HeaderEdits::for_grant(head, owned_headers, &grant))
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

/// The credential as a verified identity of one of the providers that it may belong to.
fn authenticate<'t>(
    config: &'t Config,
    keys: &mut KeyStore,
    credential: &'t Credential,
    compact: &'t CompactToken<'t>,
    now: UnixTime,
) -> Result<Authenticated<'t>, Stop> {
    let token = compact.parse().map_err(malformed)?;
    let id = issuing_provider(config, credential, &token);
    let (id, provider) = id
        .and_then(|id| Some((id, config.provider(id)?)))
        .ok_or(Rejection::InvalidToken(VerifyError::UnknownIssuer))?;
    let keys = match keys.keys(id, provider, now) {
        Keys::Ready(keys) => keys,
        Keys::Pending => return Err(Stop::Await(id)),
        Keys::Unavailable { retry_after } => return Err(Rejection::KeysUnavailable { retry_after }.into()),
    };
    let identity = verify(token, provider, keys, now).map_err(Rejection::InvalidToken)?;
    Ok(Authenticated { identity, provider, place: &credential.place })
}

const fn malformed(error: TokenError) -> Rejection {
    Rejection::InvalidToken(VerifyError::Form(error))
}

/// Which provider a token is held against: the only one in question, else the first whose issuer it names, else the
/// first that takes any issuer. The token's `iss` is unverified here and decides nothing but whose keys must agree.
fn issuing_provider(
    config: &Config,
    credential: &Credential,
    token: &UnverifiedToken<'_>,
) -> Option<ProviderId> {
    if let [only] = credential.providers.as_slice() {
        return Some(*only);
    }
    let claimed = token.payload.get("iss").and_then(Json::as_str);
    let first_with = |issuer: Option<&str>| {
        let mut candidates = credential.providers.iter().copied();
        candidates
            .find(|id| config.provider(*id).is_some_and(|provider| provider.issuer.as_deref() == issuer))
    };
    claimed.and_then(|claimed| first_with(Some(claimed))).or_else(|| first_with(None))
}
