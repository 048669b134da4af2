//! Credentials + keys -> evidence for requirements.
//!
//! Takes what a request presents, the keys and the time; gives [`Evidence`], one identity for each credential that
//! verifies. However often a requirement asks for the same provider, a signature is verified once. What was not good is
//! noted for [`export`].

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use crate::authorize::{Authenticated, Awaited, Evidence, Stop};
use crate::browser_session::{Browser, SignedOut};
use crate::cache::{KnownToken, TokenCache};
use crate::config::{
    Audiences, CheckMode, Config, FailureMode, KeySource, Provider, ProviderId, Requirement, SessionCheck,
    SeveralCredentials,
};
use crate::credential::{Credential, Credentials, Place, wrapped_headers};
use crate::export::{self, Property};
use crate::few::Few;
use crate::jose::algorithm::SignatureVerifier;
use crate::jose::claims::RegisteredClaims;
use crate::jose::jwk::{JwkSet, SignatureError};
use crate::jose::token::{CompactToken, MAX_TOKEN_BYTES, Spelling, TokenError, UnverifiedToken, is_token};
use crate::keys::{KeyStore, Keys, LookUp};
use crate::rejection::Rejection;
use crate::request::RequestHead;
use crate::session_check::{
    Carrier, Checker, Confirmed, Question, QuestionError, QuestionId, Standing, Verdict,
};
use crate::time::UnixTime;
use crate::verify::{
    Proof, SignedToken, VerifiedIdentity, VerifyError, check_header, check_issuer, may_be_good, recognise,
    verify_signature,
};

/// When to come back while an identity provider does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A credential with its segments decoded, but for what is known of it.
#[derive(Debug)]
pub struct Decoded<'t> {
    credential: &'t Credential<'t>,
    /// `None` where it is known.
    standard: Option<Result<CompactToken<'t>, TokenError>>,
    /// With padding: where there is some, for those of its providers that take it; `None` where it is known.
    padded: Option<Result<CompactToken<'t>, TokenError>>,
}

/// A credential and what it was read as.
#[derive(Debug)]
pub struct Parsed<'t> {
    credential: &'t Credential<'t>,
    standard: Reading<'t>,
    /// What it is for providers whose tokens have padding, if it has some. For all others it is what it was without.
    padded: Option<Reading<'t>>,
}

/// What a credential was read as.
#[derive(Debug)]
struct Reading<'t> {
    /// Whether it means to be a token of the form that keys verify.
    is_token: bool,
    spelling: Spelling,
    token: Result<ReadToken<'t>, TokenError>,
}

/// A token that was read now, or is known.
#[derive(Debug)]
enum ReadToken<'t> {
    New(Box<UnverifiedToken<'t>>),
    Known(&'t UnverifiedToken<'t>),
}

impl<'t> Reading<'t> {
    fn of(
        credential: &Credential<'_>,
        compact: &'t Result<CompactToken<'t>, TokenError>,
        spelling: Spelling,
    ) -> Self {
        let token = compact.as_ref().map_err(Clone::clone).and_then(CompactToken::parse);
        let is_token = match compact {
            Ok(compact) => compact.header_text().trim_ascii_start().starts_with(b"{"),
            Err(_) => is_token(credential.token(), spelling),
        };
        Self { is_token, spelling, token: token.map(|token| ReadToken::New(Box::new(token))) }
    }

    const fn of_known(known: &'t KnownToken) -> Self {
        Self { is_token: true, spelling: known.spelling, token: Ok(ReadToken::Known(&known.token)) }
    }

    fn token(&self) -> Result<&UnverifiedToken<'t>, &TokenError> {
        match &self.token {
            Ok(ReadToken::New(token)) => Ok(token),
            Ok(ReadToken::Known(token)) => Ok(*token),
            Err(error) => Err(error),
        }
    }
}

impl<'t> Parsed<'t> {
    /// What it is for `provider`: what decides whose it is, and what is verified.
    fn read_by(&self, provider: &Provider) -> &Reading<'t> {
        self.padded.as_ref().filter(|_| provider.padded_segments).unwrap_or(&self.standard)
    }

    /// Whether it is the keys of `provider` that must verify it: always, unless it can be asked about what is opaque.
    fn is_to_be_verified(&self, provider: &Provider) -> bool {
        self.read_by(provider).is_token
            || provider.session_check.as_ref().is_none_or(SessionCheck::is_by_claims)
    }

    /// What was found out about it for this provider.
    fn proof(&self, id: ProviderId, provider: &Provider) -> Option<Rc<Proof>> {
        let known =
            self.credential.known().filter(|known| known.spelling == self.read_by(provider).spelling)?;
        known.proof(id)
    }

    const fn is_cookie(&self) -> bool {
        matches!(self.credential.place, Place::Cookie(_))
    }

    /// Whether `provider` could say anything about it.
    fn may_be_of(&self, provider: &Provider) -> bool {
        let check = provider.session_check.as_ref().filter(|check| !check.is_by_claims());
        let mode = check.map(|check| check.mode);
        let reading = self.read_by(provider);
        let can_be_asked = match reading.is_token {
            true => mode == Some(CheckMode::Always) && !has_keys(provider),
            false => mode.is_some(),
        };
        match reading.token() {
            Ok(token) if has_keys(provider) || can_be_asked => check_issuer(token, provider).is_ok(),
            Ok(_) => false,
            Err(_) => can_be_asked,
        }
    }
}

const fn has_keys(provider: &Provider) -> bool {
    !matches!(provider.keys, KeySource::None)
}

/// The credentials with their segments decoded, where they are not known.
pub fn decode<'t>(credentials: &'t Credentials<'t>, config: &Config) -> Few<Decoded<'t>> {
    let may_be_padded = |credential: &Credential<'_>| {
        let mut providers = credential.providers.iter().filter_map(|id| config.provider(*id));
        providers.any(|provider| provider.padded_segments) && credential.token().contains('=')
    };
    let decode = |credential: &'t Credential<'t>| {
        let known_as = credential.known().map(|known| known.spelling);
        let token = credential.token();
        Decoded {
            credential,
            standard: (known_as != Some(Spelling::Standard)).then(|| CompactToken::decode(token)),
            padded: (known_as.is_none() && may_be_padded(credential))
                .then(|| CompactToken::decode_as(token, Spelling::Padded)),
        }
    };
    credentials.iter().map(decode).collect()
}

/// The credentials as tokens.
pub fn parse<'t>(decoded: &'t Few<Decoded<'t>>) -> Few<Parsed<'t>> {
    let parse = |Decoded { credential, standard, padded }: &'t Decoded<'t>| {
        let known = credential.known();
        let known_as = |spelling| known.filter(|known| known.spelling == spelling).map(Reading::of_known);
        let read = |compact: &'t Option<_>, spelling| {
            let compact = compact.as_ref().map(|compact| Reading::of(credential, compact, spelling));
            compact.or_else(|| known_as(spelling))
        };
        Some(Parsed {
            credential,
            standard: read(standard, Spelling::Standard)?,
            padded: read(padded, Spelling::Padded),
        })
    };
    decoded.iter().filter_map(parse).collect()
}

/// The providers whose credentials a requirement may ask for, each once, in configuration order. Only where any provider
/// will do does it matter how many there are.
pub fn asked_providers<'c>(config: &'c Config, requirement: &Requirement) -> Few<(ProviderId, &'c Provider)> {
    let known = |id| Some((id, config.provider(id)?));
    if let Requirement::Provider { id, .. } = requirement {
        return known(*id).into_iter().collect();
    }
    let mut named = Vec::new();
    if ask(requirement, &mut named) {
        return config.providers().collect();
    }
    named.sort_unstable();
    named.dedup();
    named.into_iter().filter_map(known).collect()
}

/// Collects the providers that a requirement names, unless any will do. Whether any will.
fn ask(requirement: &Requirement, named: &mut Vec<ProviderId>) -> bool {
    match requirement {
        Requirement::None => false,
        Requirement::Provider { id, .. } => {
            named.push(*id);
            false
        }
        Requirement::Any { of, .. } | Requirement::All(of) => {
            of.iter().any(|requirement| ask(requirement, named))
        }
        Requirement::AllowMissing | Requirement::AllowMissingOrFailed | Requirement::ExtractOnly { .. } => {
            true
        }
    }
}

/// A request that is decided.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Its head.
    pub head: &'r RequestHead,
    /// When it arrived.
    pub arrived: UnixTime,
    /// When it is decided.
    pub now: UnixTime,
    /// Who else verifies signatures.
    pub other: &'r dyn SignatureVerifier,
}

/// What a request presents, and what it takes to verify it.
#[derive(Debug)]
pub struct Presented<'t, 'k> {
    config: &'t Config,
    credentials: &'t Credentials<'t>,
    tokens: &'t Few<Parsed<'t>>,
    request: Request<'t>,
    keys: &'k mut KeyStore,
    sessions: &'k mut Checker,
    cache: &'k mut TokenCache,
    /// What is known of the signature of a token (by its place in `tokens`) and the keys of a provider.
    signatures: Few<(usize, ProviderId, Result<SignedToken<'t>, VerifyError>)>,
    failures: Vec<Property>,
    /// What takes cookies back from the client.
    clearing: Vec<String>,
}

impl<'t> Evidence<'t> for Presented<'t, '_> {
    fn of_provider(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
    ) -> Result<Few<Authenticated<'t>>, Stop> {
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
                // Treated like one that is not there.
                Err(Stop::Reject(rejection)) if rejection.is_of_missing_credential() => {}
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
        credentials: &'t Credentials<'t>,
        tokens: &'t Few<Parsed<'t>>,
        request: Request<'t>,
        keys: &'k mut KeyStore,
        sessions: &'k mut Checker,
        cache: &'k mut TokenCache,
    ) -> Self {
        Self {
            config,
            credentials,
            tokens,
            request,
            keys,
            sessions,
            cache,
            signatures: Few::new(),
            failures: Vec::new(),
            clearing: Vec::new(),
        }
    }

    /// The `set-cookie` lines of the denials that this request has waited for.
    pub fn take_clearing_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.clearing)
    }

    /// The status of everything that was not good, where the configuration asks for it.
    pub fn take_failures(&mut self) -> Vec<Property> {
        std::mem::take(&mut self.failures)
    }

    const fn several(&self) -> SeveralCredentials {
        self.config.several_credentials
    }

    /// Every credential at the provider's places, the last one first, as `jwt_authn` does it.
    fn try_provider(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
    ) -> Result<Few<Authenticated<'t>>, Stop> {
        self.credentials.check(id, self.several())?;
        let mut found = Few::new();
        for position in (0..self.tokens.len()).rev() {
            if self.parsed(position)?.credential.providers.contains(&id) {
                found.push(self.verify(id, audiences, position)?);
            }
        }
        if found.is_empty() { Err(self.missing(id).into()) } else { Ok(found.into_iter().rev().collect()) }
    }

    /// That there is no credential for this provider.
    fn missing(&self, id: ProviderId) -> Rejection {
        let provider = self.config.provider(id);
        match provider.and_then(|provider| provider.browser_session.as_ref()) {
            Some(session) => {
                let browser = Browser::of(self.request.head, self.config, session, self.request.now);
                Rejection::SignedOut(Box::new(browser.without_token()))
            }
            None => Rejection::MissingCredential,
        }
    }

    fn verify(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
        position: usize,
    ) -> Result<Authenticated<'t>, Stop> {
        let parsed = self.parsed(position)?;
        let provider = self.config.provider(id).ok_or_else(unknown_issuer)?;
        let Some(session) = &provider.browser_session else {
            return self.authenticate(id, provider, audiences, position);
        };
        let Request { head, now, .. } = self.request;
        let (token, is_cookie) = (parsed.read_by(provider).token().ok(), parsed.is_cookie());
        let browser = Browser::of(head, self.config, session, now);
        let signed_out = |signed_out: SignedOut| Stop::Reject(Rejection::SignedOut(Box::new(signed_out)));
        if let Some(outdated) = browser.outdated(token).filter(|_| is_cookie) {
            return Err(signed_out(outdated));
        }
        match self.authenticate(id, provider, audiences, position) {
            Err(Stop::Reject(Rejection::InvalidToken(error))) => {
                Err(signed_out(browser.refused(error, parsed.credential.token(), token, is_cookie)))
            }
            Err(stop) => Err(stop),
            Ok(authenticated) => {
                let latest = now.after(provider.clock_skew);
                match token.and_then(|token| browser.unfit(token, is_cookie, latest)) {
                    Some(unfit) => Err(signed_out(unfit)),
                    None => Ok(authenticated),
                }
            }
        }
    }

    fn authenticate(
        &mut self,
        id: ProviderId,
        provider: &'t Provider,
        audiences: Option<&Audiences>,
        position: usize,
    ) -> Result<Authenticated<'t>, Stop> {
        let parsed = self.parsed(position)?;
        let audiences = audiences.unwrap_or(&provider.audiences);
        let local = match has_keys(provider) && parsed.is_to_be_verified(provider) {
            true => Some(self.locally(id, provider, audiences, position)?),
            false => None,
        };
        let identity = match (&provider.session_check, local) {
            (Some(check), None) if parsed.read_by(provider).is_token && check.mode == CheckMode::Opaque => {
                return Err(unknown_issuer().into());
            }
            (Some(check), Some(local))
                if matches!(check.mode, CheckMode::Background { .. }) || check.is_by_claims() =>
            {
                self.still_there(check, (id, provider), parsed, &local)?;
                local
            }
            (Some(check), local) if local.is_none() || check.mode == CheckMode::Always => {
                self.remotely(check, (id, provider), audiences, parsed, local.as_ref())?
            }
            (_, Some(local)) => local,
            (_, None) => return Err(unknown_issuer().into()),
        };
        Ok(Authenticated { identity, provider, place: &parsed.credential.place })
    }

    /// By the keys of the provider.
    fn locally(
        &mut self,
        id: ProviderId,
        provider: &'t Provider,
        audiences: &Audiences,
        position: usize,
    ) -> Result<VerifiedIdentity<'t>, Stop> {
        let parsed = self.parsed(position)?;
        let token = self.token(position, provider)?;
        let signed = self.signed(id, provider, position, token)?.map_err(Rejection::InvalidToken)?;
        let identity = signed.identity(audiences, self.request.now);
        match &identity {
            Ok(identity) => {
                // Most of the work is in the proof.
                if !signed.is_proven()
                    && self.cache.has_room_for(parsed.credential.token(), id)
                    && let Some(proof) = signed.proof(identity)
                {
                    self.cache.add(token, parsed.read_by(provider).spelling, id, proof);
                }
            }
            Err(VerifyError::Expired) => self.cache.remove(parsed.credential.token()),
            Err(_) => {}
        }
        Ok(identity.map_err(Rejection::InvalidToken)?)
    }

    /// By what the provider says itself.
    fn remotely(
        &mut self,
        check: &SessionCheck,
        (id, provider): (ProviderId, &'t Provider),
        audiences: &Audiences,
        parsed: &'t Parsed<'t>,
        local: Option<&VerifiedIdentity<'t>>,
    ) -> Result<VerifiedIdentity<'t>, Stop> {
        let Request { arrived, now, .. } = self.request;
        let token = parsed.read_by(provider).token();
        if let (None, Ok(token)) = (local, token) {
            // A token of somebody else is not shown to this provider.
            check_issuer(token, provider).map_err(Rejection::InvalidToken)?;
        }
        let mut question = self.question(check, (id, provider), parsed, local)?;
        if let (None, Ok(token)) = (local, token) {
            // Who has keys holds every request against the clock.
            let claims = RegisteredClaims::of(&token.payload, provider.allows_numeric_subject);
            question.expires = claims.ok().and_then(|claims| claims.expires).map(|expires| expires.time());
        }
        let question_id = question.id;
        let standing = self.sessions.ask(question, arrived, now);
        self.note_clearing_lines(&question_id);
        let confirmed = confirmed(standing, Awaited::Answer(id, question_id), check.failure_mode)?;
        let identity = VerifiedIdentity::of_answer(&confirmed, local, provider, audiences, now);
        Ok(identity.map_err(Rejection::InvalidToken)?)
    }

    /// Whether the provider has said, or is to say first, that there is no session behind what its keys have verified.
    /// What else it says does not count.
    fn still_there(
        &mut self,
        check: &SessionCheck,
        (id, provider): (ProviderId, &'t Provider),
        parsed: &'t Parsed<'t>,
        local: &VerifiedIdentity<'t>,
    ) -> Result<(), Stop> {
        let Request { arrived, now, .. } = self.request;
        let question = self.question(check, (id, provider), parsed, Some(local))?;
        let question_id = question.id;
        match self.sessions.watch(question, (local.issued(provider), local.expires(provider)), arrived, now) {
            None => Ok(()),
            Some(standing) => {
                self.note_clearing_lines(&question_id);
                confirmed(standing, Awaited::Answer(id, question_id), check.failure_mode).map(drop)
            }
        }
    }

    fn note_clearing_lines(&mut self, question: &QuestionId) {
        let Request { arrived, now, .. } = self.request;
        for line in self.sessions.clearing_lines(question, arrived, now) {
            if !self.clearing.contains(line) {
                self.clearing.push(line.clone());
            }
        }
    }

    /// What is to be asked about a credential, which is `local` if the keys have verified it.
    fn question(
        &self,
        check: &SessionCheck,
        provider: (ProviderId, &Provider),
        parsed: &Parsed<'_>,
        local: Option<&VerifiedIdentity<'_>>,
    ) -> Result<Question, Rejection> {
        let Credential { place, is_wrapped, .. } = parsed.credential;
        let token = parsed.credential.token();
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::InvalidToken(VerifyError::Form(TokenError::TooLong)));
        }
        let carrier = match place {
            Place::Header(name) if !is_wrapped => Carrier::Header(name),
            Place::Cookie(name) => Carrier::Cookie(name),
            Place::Header(_) | Place::Query(_) => Carrier::Other,
        };
        let wrapped = wrapped_headers(self.request.head, self.config);
        let head = match wrapped.as_slice() {
            [] => Cow::Borrowed(self.request.head),
            wrapped => Cow::Owned(self.request.head.without(wrapped)),
        };
        let claims = local.map(VerifiedIdentity::claims);
        let question = Question::about(token, claims, carrier, &head, provider, check);
        question.map_err(|error| match error {
            QuestionError::Claim { name } => Rejection::InvalidToken(VerifyError::Claim { name }),
            QuestionError::Malformed => Rejection::MalformedCredential,
            QuestionError::Several => Rejection::MultipleCredentials,
        })
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
        let proof = self.parsed(position)?.proof(id, provider);
        // Before the keys: a token that they could not be for must not cause a fetch.
        if proof.is_none()
            && let Err(error) = check_header(token, provider)
        {
            return Ok(Err(error));
        }
        let was_good = proof.is_some();
        if matches!(provider.keys, KeySource::ByKid(_)) {
            let signed = self.signed_by_kid(id, provider, token, proof)?;
            self.note_signature(&signed, was_good, id, position);
            return Ok(signed);
        }
        let signed = match self.keys.keys(id, provider, self.request.now) {
            Keys::Ready(keys) => recognised_or_verified(token, provider, keys, proof, self.request.other),
            Keys::Pending => return Err(Stop::Await(Awaited::Keys(id))),
            Keys::Unavailable { retry_after } => {
                return Err(Rejection::KeysUnavailable { retry_after }.into());
            }
        };
        if let (Err(VerifyError::Signature(SignatureError::UnknownKeyId)), Some(key_id)) =
            (&signed, &token.header.key_id)
            // Nothing is fetched for a token that would be refused anyway.
            && may_be_good(token, provider, self.request.now)
        {
            self.look_up(id, key_id)?;
        }
        self.note_signature(&signed, was_good, id, position);
        Ok(signed)
    }

    /// Keeps what was found out for as long as the request is decided; what `was_good` before and is recognised would be
    /// so again as fast. A token that was good for a provider and whose key has left its set is one like any other. That
    /// it was never good for this one says nothing about those for whom it is known.
    fn note_signature(
        &mut self,
        signed: &Result<SignedToken<'t>, VerifyError>,
        was_good: bool,
        id: ProviderId,
        position: usize,
    ) {
        if !was_good || !signed.as_ref().is_ok_and(SignedToken::is_proven) {
            self.signatures.push((position, id, signed.clone()));
        }
        if was_good
            && signed.is_err()
            && let Some(known) = self.tokens.get(position).and_then(|parsed| parsed.credential.known())
        {
            self.cache.remove(known.text());
        }
    }

    /// The same with the one key that the token names, where keys are fetched one by one.
    fn signed_by_kid(
        &mut self,
        id: ProviderId,
        provider: &'t Provider,
        token: &'t UnverifiedToken<'t>,
        proof: Option<Rc<Proof>>,
    ) -> Result<Result<SignedToken<'t>, VerifyError>, Stop> {
        let now = self.request.now;
        let unknown = Err(VerifyError::Signature(SignatureError::UnknownKeyId));
        let Some(key_id) = &token.header.key_id else { return Ok(unknown) };
        if let Some(keys) = self.keys.key(id, key_id, now) {
            let signed = recognised_or_verified(token, provider, keys, proof, self.request.other);
            if signed.is_ok() {
                self.keys.note_good(id, key_id, now);
            }
            return Ok(signed);
        }
        // Nothing is fetched for a token that would be refused anyway.
        if may_be_good(token, provider, now) {
            self.look_up(id, key_id)?;
        }
        Ok(unknown)
    }

    /// Stops where a key may still be found; goes on where there is none.
    fn look_up(&mut self, id: ProviderId, key_id: &str) -> Result<(), Stop> {
        match self.keys.look_up(id, key_id, self.request.now) {
            LookUp::Absent => Ok(()),
            LookUp::Pending => Err(Stop::Await(Awaited::KeyId(id))),
            LookUp::Unavailable { retry_after } => Err(Rejection::KeysUnavailable { retry_after }.into()),
        }
    }

    fn parsed(&self, position: usize) -> Result<&'t Parsed<'t>, Rejection> {
        self.tokens.get(position).ok_or(Rejection::MissingCredential)
    }

    /// The token that a credential is for `provider`.
    fn token(&self, position: usize, provider: &Provider) -> Result<&'t UnverifiedToken<'t>, Rejection> {
        let token = self.parsed(position)?.read_by(provider).token();
        token.map_err(|error| Rejection::InvalidToken(VerifyError::Form(error.clone())))
    }

    /// Which provider a credential is held against where any will do: of a token, the first whose issuer it names, else
    /// the first that takes any issuer; else the first that can be asked.
    fn issuing_provider(&self, position: usize) -> Result<ProviderId, Rejection> {
        let parsed = self.parsed(position)?;
        let named = parsed.credential.providers.iter().copied().filter_map(|id| {
            let provider = self.config.provider(id)?;
            let is_token = parsed.read_by(provider).is_token;
            parsed.may_be_of(provider).then_some((provider.takes_any_issuer() && is_token, id))
        });
        match (named.min(), parsed.padded.as_ref().unwrap_or(&parsed.standard).token()) {
            (Some((_, id)), _) => Ok(id),
            (None, Err(error)) => Err(Rejection::InvalidToken(VerifyError::Form(error.clone()))),
            (None, Ok(_)) => Err(unknown_issuer()),
        }
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

/// The token with its signature verified, now or before.
fn recognised_or_verified<'t>(
    token: &'t UnverifiedToken<'t>,
    provider: &'t Provider,
    keys: &JwkSet,
    proof: Option<Rc<Proof>>,
    other: &dyn SignatureVerifier,
) -> Result<SignedToken<'t>, VerifyError> {
    let recognised = proof.and_then(|proof| recognise(token, provider, keys, proof));
    recognised.map_or_else(|| verify_signature(token, provider, keys, other), Ok)
}

/// What was said, or why the request cannot go on.
fn confirmed(standing: Standing, awaited: Awaited, failure_mode: FailureMode) -> Result<Confirmed, Stop> {
    let rejection = match standing {
        Standing::Known(Verdict::Confirmed(confirmed)) => return Ok(confirmed),
        Standing::Pending => return Err(Stop::Await(awaited)),
        Standing::Known(Verdict::Denied(denial)) => Rejection::SessionDenied(denial),
        Standing::Overloaded => Rejection::Overloaded,
        Standing::Unavailable => match failure_mode {
            FailureMode::Closed => Rejection::CheckUnavailable { retry_after: RETRY_AFTER },
            FailureMode::Anonymous => Rejection::MissingCredential,
        },
    };
    Err(rejection.into())
}

const fn unknown_issuer() -> Rejection {
    Rejection::InvalidToken(VerifyError::UnknownIssuer)
}
