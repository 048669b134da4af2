//! Identities + requirement -> grant, or why not.
//!
//! Takes a requirement and the evidence for it, gives the [`Grant`] that the rewrite stage asks for and that can be made
//! nowhere else. "Optional" means anonymous here, never "authenticated": where a requirement lets a request pass without
//! a verified token, the grant carries no identity for it. Deliberately knows neither keys nor tokens: what was verified
//! is asked of [`Evidence`].

use crate::config::{Audiences, HeaderName, Leniency, Provider, ProviderId, Requirement};
use crate::credential::Place;
use crate::few::Few;
use crate::rejection::Rejection;
use crate::session_check::QuestionId;
use crate::verify::{VerifiedIdentity, VerifyError};

/// The permission to go on to the upstream, and as whom.
#[derive(Debug, Default)]
pub struct Grant<'t> {
    identities: Few<Authenticated<'t>>,
    /// Headers that tell of tokens which were there and not verified.
    status_headers: Vec<&'t HeaderName>,
}

/// A verified credential in its request.
#[derive(Clone, Debug)]
pub struct Authenticated<'t> {
    /// Whose it is.
    pub identity: VerifiedIdentity<'t>,
    /// The provider that it was verified for.
    pub provider: &'t Provider,
    /// Where it was found.
    pub place: &'t Place,
}

/// Why a request is not forwarded now.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// It is refused.
    Reject(Rejection),
    /// It waits.
    Await(Awaited),
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Awaited {
    /// The keys of this provider.
    Keys(ProviderId),
    /// To know whether this provider has a key that those fetched last do not have.
    KeyId(ProviderId),
    /// What this provider says of a session.
    Answer(ProviderId, QuestionId),
}

impl Awaited {
    /// The provider whose keys must settle, or that is asked.
    pub const fn provider(self) -> ProviderId {
        match self {
            Self::Keys(provider) | Self::KeyId(provider) | Self::Answer(provider, _) => provider,
        }
    }
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection)
    }
}

/// Verifies what a request presents, as far as a requirement asks for it.
pub trait Evidence<'t> {
    /// The identities of all that is presented to one provider; at least one.
    ///
    /// # Errors
    ///
    /// When there is nothing, or something that is not good.
    fn of_provider(
        &mut self,
        id: ProviderId,
        audiences: Option<&Audiences>,
    ) -> Result<Few<Authenticated<'t>>, Stop>;

    /// What comes of each thing that is presented to any provider.
    ///
    /// # Errors
    ///
    /// When it has to wait for keys.
    fn of_all_providers(&mut self) -> Result<Vec<Result<Authenticated<'t>, Rejection>>, Stop>;
}

/// The grant where nothing is asked for, and so no credential need be looked for.
pub fn without_evidence<'t>(requirement: &Requirement) -> Option<Grant<'t>> {
    matches!(requirement, Requirement::None).then(Grant::default)
}

/// Judges the evidence by what is required.
///
/// # Errors
///
/// The rejection that the requirement does not forgive, or what must be waited for.
pub fn authorize<'t>(
    requirement: &'t Requirement,
    evidence: &mut impl Evidence<'t>,
) -> Result<Grant<'t>, Stop> {
    match requirement {
        Requirement::None => Ok(Grant::default()),
        Requirement::Provider { id, audiences } => {
            let identities = evidence.of_provider(*id, audiences.as_ref())?;
            Ok(Grant { identities, ..Grant::default() })
        }
        Requirement::AllowMissing => {
            let identities = evidence.of_all_providers()?.into_iter().collect::<Result<_, _>>()?;
            Ok(Grant { identities, ..Grant::default() })
        }
        Requirement::AllowMissingOrFailed => {
            let identities = evidence.of_all_providers()?.into_iter().flatten().collect();
            Ok(Grant { identities, ..Grant::default() })
        }
        Requirement::ExtractOnly { status_header } => {
            let found = evidence.of_all_providers()?;
            let is_unverified = found.iter().any(Result::is_err);
            let status_headers = is_unverified.then_some(status_header).into_iter().collect();
            Ok(Grant { identities: found.into_iter().flatten().collect(), status_headers })
        }
        Requirement::All(all) => {
            let mut grant = Grant::default();
            for requirement in all {
                grant.join(authorize(requirement, evidence)?);
            }
            Ok(grant)
        }
        Requirement::Any { of, leniency } => any(of, *leniency, evidence),
    }
}

/// The first alternative that is met counts. When none is, the refusal is the one that says most.
fn any<'t>(
    of: &'t [Requirement],
    leniency: Leniency,
    evidence: &mut impl Evidence<'t>,
) -> Result<Grant<'t>, Stop> {
    let mut worst = Rejection::MissingCredential;
    let mut awaited = None;
    for requirement in of {
        match authorize(requirement, evidence) {
            // Of two that say the same, the later one, as in `jwt_authn` (envoy `verifier.cc`).
            Err(Stop::Reject(rejection)) if weight(&rejection) >= weight(&worst) => worst = rejection,
            Err(Stop::Reject(_)) => {}
            Ok(grant) => return Ok(grant),
            // With the keys that are held it is not met. What another alternative says does not hang on others.
            Err(stop @ Stop::Await(Awaited::KeyId(_))) => awaited = awaited.or(Some(stop)),
            Err(stop @ Stop::Await(Awaited::Keys(_) | Awaited::Answer(..))) => return Err(stop),
        }
    }
    if let Some(stop) = awaited {
        return Err(stop);
    }
    match (leniency, &worst) {
        (Leniency::MissingOrFailed, _) => Ok(Grant::default()),
        (Leniency::Missing, worst) if worst.is_of_missing_credential() => Ok(Grant::default()),
        _ => Err(worst.into()),
    }
}

/// How much a refusal says about a request to which several apply. That a browser can get a token says more than that
/// there is none. That keys or answers are missing says most: the token may be good, so nothing else may be said.
fn weight(rejection: &Rejection) -> u8 {
    let error = match rejection {
        Rejection::InvalidToken(error) => Some(error),
        Rejection::SignedOut(signed_out) => signed_out.error.as_ref(),
        _ => None,
    };
    match rejection {
        Rejection::SignedOut(signed_out) if error.is_none() => u8::from(signed_out.redirect.is_some()),
        missing if missing.is_of_missing_credential() => 0,
        _ if error == Some(&VerifyError::UnknownIssuer) => 2,
        Rejection::KeysUnavailable { .. } | Rejection::CheckUnavailable { .. } => 4,
        _ => 3,
    }
}

impl<'t> Grant<'t> {
    /// Who was verified; nobody for an anonymous request.
    pub fn identities(&self) -> impl Iterator<Item = &Authenticated<'t>> {
        self.identities.iter()
    }

    /// The headers that tell of tokens which were there and not verified.
    pub fn status_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.status_headers.iter().copied()
    }

    /// Adds what another requirement grants. A token that meets both counts once.
    fn join(&mut self, other: Self) {
        for added in other.identities {
            let is_known = self.identities.iter().any(|known| {
                std::ptr::eq(known.provider, added.provider) && std::ptr::eq(known.place, added.place)
            });
            if !is_known {
                self.identities.push(added);
            }
        }
        self.status_headers.extend(other.status_headers);
    }
}
