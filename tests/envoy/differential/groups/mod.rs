//! The cases, by topic.

mod answers;
mod bypasses;
mod checks;
mod claims;
mod fetching;
mod keys;
mod locations;
mod matching;
pub mod requirements;
mod tokens;

use super::case::Group;
use super::world::World;

pub fn all(world: &World) -> Vec<Group> {
    [
        answers::groups(world),
        requirements::groups(world),
        locations::groups(world),
        claims::groups(world),
        matching::groups(world),
        checks::groups(world),
        tokens::groups(world),
        keys::groups(world),
        fetching::groups(world),
        bypasses::groups(world),
    ]
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
    pub const BAD_PAYLOAD: &str = "Jwt payload is an invalid Base64url encoded";
    pub const HEADER_JSON: &str = "Jwt header is an invalid JSON";
    pub const PAYLOAD_JSON: &str = "Jwt payload is an invalid JSON";
    pub const BAD_ALGORITHM: &str = "Jwt header [alg] field is required and must be a string";
    pub const UNSUPPORTED: &str = "Jwt header [alg] is not supported";
    /// Never said by `jwt_authn` itself, although it has the text.
    pub const MULTIPLE: &str = "Found multiple Jwt tokens";
    pub const FAILS: &str = "Jwt verification fails";
    pub const NO_KEY: &str = "Jwks doesn't have key to match kid or alg from Jwt";
    pub const FETCH: &str = "Jwks remote fetch is failed";
}
