//! The cases, by topic.

mod answers;
mod locations;
mod requirements;

use super::case::Group;
use super::world::World;

pub fn all(world: &World) -> Vec<Group> {
    [answers::groups(world), requirements::groups(world), locations::groups(world)]
        .into_iter()
        .flatten()
        .collect()
}

/// What `jwt_authn` says.
mod says {
    pub const MISSING: &str = "Jwt is missing";
    pub const EXPIRED: &str = "Jwt is expired";
    pub const NOT_YET_VALID: &str = "Jwt not yet valid";
    pub const BAD_FORM: &str =
        "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    pub const UNKNOWN_ISSUER: &str = "Jwt issuer is not configured";
    pub const AUDIENCE: &str = "Audiences in Jwt are not allowed";
    pub const BAD_HEADER: &str = "Jwt header is an invalid Base64url encoded";
    pub const SIGNATURE_LENGTH: &str = "Jwt ED25519 signature is wrong length";
    pub const BAD_SIGNATURE: &str = "Jwt signature is an invalid Base64url encoded";
    pub const FAILS: &str = "Jwt verification fails";
    pub const NO_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt";
    pub const FETCH: &str = "Jwks remote fetch is failed";
}
