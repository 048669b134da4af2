//! Identity + requirement -> grant, or why not.
//!
//! Takes what verification found, gives the [`Grant`] that the rewrite stage asks for and that can be made nowhere
//! else. "Optional" means anonymous here, never "authenticated": where a requirement lets a request pass without a
//! verified token, the grant carries no identity.

use crate::config::{Provider, Requirement};
use crate::credential::Place;
use crate::rejection::Rejection;
use crate::verify::VerifiedIdentity;

/// The permission to go on to the upstream, and as whom.
#[derive(Debug)]
pub struct Grant<'t>(Option<Authenticated<'t>>);

/// A verified token in its request.
#[derive(Debug)]
pub struct Authenticated<'t> {
    /// Whose it is.
    pub identity: VerifiedIdentity<'t>,
    /// The provider that it was verified for.
    pub provider: &'t Provider,
    /// Where it was found.
    pub place: &'t Place,
}

/// Judges what verification found by what the rule asks for.
///
/// # Errors
///
/// The rejection that verification ended with, where the requirement does not forgive it.
pub fn authorize(
    requirement: Requirement,
    verification: Result<Authenticated<'_>, Rejection>,
) -> Result<Grant<'_>, Rejection> {
    match (requirement, verification) {
        (Requirement::None, _) => Ok(Grant(None)),
        (_, Ok(authenticated)) => Ok(Grant(Some(authenticated))),
        (Requirement::AllowMissing, Err(Rejection::MissingCredential))
        | (Requirement::AllowMissingOrFailed, Err(_)) => Ok(Grant(None)),
        (_, Err(rejection)) => Err(rejection),
    }
}

impl<'t> Grant<'t> {
    /// Who was verified; `None` for an anonymous request.
    pub const fn authenticated(&self) -> Option<&Authenticated<'t>> {
        self.0.as_ref()
    }
}
