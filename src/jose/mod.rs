//! JOSE: compact tokens, algorithms, keys and registered claims (RFC 7515, 7517, 7518, 7519, 8037).
//!
//! Takes bytes, gives parsed or verified values. Knows nothing of HTTP, of rules, of configuration or of the clock, and
//! deliberately supports only signatures: no encryption (JWE), no compression, no nested tokens, no `crit` extension.

pub mod algorithm;
pub mod base64url;
pub mod claims;
mod der;
pub mod jwk;
pub mod pem;
pub mod public_key;
pub mod token;
