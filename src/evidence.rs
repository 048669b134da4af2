//! Credentials + keys -> evidence for requirements.
//!
//! Takes what a request presents, the keys and the time; gives [`Evidence`], one identity for each credential that
//! verifies. However often a requirement asks for the same provider, a signature is verified once. What was not good is
//! noted for [`export`].

use crate::authorize::{Authenticated, Awaited, Evidence, Stop};
use crate::config::{Audiences, Config, Provider, ProviderId, Requirement, SeveralCredentials};
use crate::credential::{Credential, Credentials};
use crate::export::{self, Property};
use crate::jose::jwk::SignatureError;
use crate::jose::token::{CompactToken, TokenError, UnverifiedToken};
use crate::keys::{KeyStore, Keys, LookUp};
use crate::rejection::Rejection;
use crate::time::UnixTime;
use crate::verify::{SignedToken, VerifyError, check_header, may_be_good, verify_signature};

/// A credential with its segments decoded.
pub type Decoded<'t> = (&'t Credential, Result<CompactToken<'t>, TokenError>);

/// A credential and what it was read as.
#[derive(Debug)]
pub struct Parsed<'t> {
    credential: &'t Credential,
    token: Result<UnverifiedToken<'t>, TokenError>,
}

/// The credentials with their segments decoded.
pub fn decode(credentials: &Credentials) -> Vec<Decoded<'_>> {
    credentials.iter().map(|credential| (credential, CompactToken::decode(&credential.token))).collect()
}

/// The credentials as tokens.
pub fn parse<'t>(decoded: &'t [Decoded<'t>]) -> Vec<Parsed<'t>> {
    let parse = |(credential, compact): &'t Decoded<'t>| Parsed {
        credential,
        token: compact.as_ref().map_err(Clone::clone).and_then(CompactToken::parse),
    };
    decoded.iter().map(parse).collect()
}

/// The providers whose credentials a requirement may ask for, each once, in configuration order.
pub fn asked_providers<'c>(
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

/// What a request presents, and what it takes to verify it.
#[derive(Debug)]
pub struct Presented<'t, 'k> {
    config: &'t Config,
    credentials: &'t Credentials,
    tokens: &'t [Parsed<'t>],
    keys: &'k mut KeyStore,
    now: UnixTime,
    /// What is known of the signature of a token (by its place in `tokens`) and the keys of a provider.
    signatures: Vec<(usize, ProviderId, Result<SignedToken<'t>, VerifyError>)>,
    failures: Vec<Property>,
}

impl<'t> Evidence<'t> for Presented<'t, '_> {
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
        let checks = self.config.providers().map(|(id, _)| self.credentials.check(id, self.several()));
        // With something in it that must not be looked at, nothing of the request counts.
        let faults: Vec<_> = checks.filter_map(Result::err).map(Err).collect();
        if !faults.is_empty() {
            return Ok(faults);
        }
        let mut found = Vec::new();
        for position in 0..self.tokens.len() {
            let id = self.issuing_provider(position);
            let outcome = match id {
                Ok(id) => self.verify(id, None, position),
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

impl<'t, 'k> Presented<'t, 'k> {
    /// The evidence of these credentials, which these tokens were read from.
    pub const fn new(
        config: &'t Config,
        credentials: &'t Credentials,
        tokens: &'t [Parsed<'t>],
        keys: &'k mut KeyStore,
        now: UnixTime,
    ) -> Self {
        Self { config, credentials, tokens, keys, now, signatures: Vec::new(), failures: Vec::new() }
    }

    /// The status of everything that was not good, where the configuration asks for it.
    pub fn into_failures(self) -> Vec<Property> {
        self.failures
    }

    const fn several(&self) -> SeveralCredentials {
        self.config.several_credentials
    }

    /// Every credential at the provider's places, the last one first, as `jwt_authn` does it.
    fn try_provider(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
    ) -> Result<Vec<Authenticated<'t>>, Stop> {
        self.credentials.check(id, self.several())?;
        let mut found = Vec::new();
        for (position, parsed) in self.tokens.iter().enumerate().rev() {
            if parsed.credential.providers.contains(&id) {
                found.push(self.verify(id, audiences, position)?);
            }
        }
        found.reverse();
        if found.is_empty() { Err(Rejection::MissingCredential.into()) } else { Ok(found) }
    }

    fn verify(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
        position: usize,
    ) -> Result<Authenticated<'t>, Stop> {
        let (parsed, token) = self.token(position)?;
        let provider = self.config.provider(id).ok_or_else(unknown_issuer)?;
        let signed = self.signed(id, provider, position, token)?.map_err(Rejection::InvalidToken)?;
        let identity = signed
            .identity(audiences.unwrap_or(&provider.audiences), self.now)
            .map_err(Rejection::InvalidToken)?;
        Ok(Authenticated { identity, provider, place: &parsed.credential.place })
    }

    /// The token with its signature verified, or why it is not.
    fn signed(
        &mut self,
        id: ProviderId,
        provider: &'t Provider,
        position: usize,
        token: &'t UnverifiedToken<'t>,
    ) -> Result<Result<SignedToken<'t>, VerifyError>, Stop> {
        let mut known = self.signatures.iter();
        if let Some((_, _, signed)) = known.find(|(of, by, _)| (*of, *by) == (position, id)) {
            return Ok(signed.clone());
        }
        // Before the keys: a token that they could not be for must not cause a fetch.
        if let Err(error) = check_header(token, provider) {
            return Ok(Err(error));
        }
        let signed = match self.keys.keys(id, provider, self.now) {
            Keys::Ready(keys) => verify_signature(token, provider, keys),
            Keys::Pending => return Err(Stop::Await(Awaited::Keys(id))),
            Keys::Unavailable { retry_after } => {
                return Err(Rejection::KeysUnavailable { retry_after }.into());
            }
        };
        if let (Err(VerifyError::Signature(SignatureError::UnknownKeyId)), Some(key_id)) =
            (&signed, &token.header.key_id)
            // Nothing is fetched for a token that would be refused anyway.
            && may_be_good(token, provider, self.now)
        {
            match self.keys.look_up(id, key_id, self.now) {
                LookUp::Absent => {}
                LookUp::Pending => return Err(Stop::Await(Awaited::KeyId(id))),
                LookUp::Unavailable { retry_after } => {
                    return Err(Rejection::KeysUnavailable { retry_after }.into());
                }
            }
        }
        self.signatures.push((position, id, signed.clone()));
        Ok(signed)
    }

    fn token(&self, position: usize) -> Result<(&'t Parsed<'t>, &'t UnverifiedToken<'t>), Rejection> {
        let parsed = self.tokens.get(position).ok_or(Rejection::MissingCredential)?;
        let token = parsed.token.as_ref();
        Ok((parsed, token.map_err(|error| Rejection::InvalidToken(VerifyError::Form(error.clone())))?))
    }

    /// Which provider a token is held against where any will do: the first whose issuer it names, else the first that
    /// takes any issuer.
    fn issuing_provider(&self, position: usize) -> Result<ProviderId, Rejection> {
        let (parsed, token) = self.token(position)?;
        let named = parsed.credential.providers.iter().copied().filter_map(|id| {
            let provider = self.config.provider(id)?;
            let is_named = check_header(token, provider) != Err(VerifyError::UnknownIssuer);
            is_named.then_some((provider.issuers.is_empty(), id))
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
        if let Some(failure) = provider.and_then(|provider| export::of_failure(provider, rejection)) {
            self.failures.retain(|known| known.name != failure.name);
            self.failures.push(failure);
        }
    }
}

const fn unknown_issuer() -> Rejection {
    Rejection::InvalidToken(VerifyError::UnknownIssuer)
}
