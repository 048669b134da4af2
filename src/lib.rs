//! Gateway authentication as a proxy-wasm filter.
//!
//! The crate is one flow, and its modules stand in the order of that flow:
//!
//! ```text
//! request -> rule -> credential -> verify -> authorize -> rewrite -> forward
//! ```
//!
//! Each arrow is a value that the next stage asks for: a [`RequestHead`](request::RequestHead), the
//! [`Requirement`](config::Requirement) of the first matching rule, a [`Credential`](credential::Credential), a
//! [`VerifiedIdentity`](verify::VerifiedIdentity), a [`Grant`](authorize::Grant), and the
//! [`HeaderEdits`](rewrite::HeaderEdits) that every forwarded request goes through. The last three have private fields
//! and one maker each, so code that skips a stage does not compile. [`Engine`](engine::Engine) runs the flow.
//!
//! Everything here is sans-IO: time, replies and header bytes are arguments, and what should be done comes back as a
//! value. Only the `host` module, which is built for WASI alone, talks to a proxy.

#![cfg_attr(not(target_os = "wasi"), forbid(unsafe_code))]

pub mod request;

pub mod config;

pub mod matcher;
pub mod path;
pub mod regex;
pub mod rule;
pub mod rule_index;
pub mod uri_template;

pub mod browser_session;
pub mod credential;

pub mod call;
pub mod clerk_claims;
pub mod host_crypto;
pub mod jose;
pub mod keys;
pub mod session_check;
pub mod verify;

pub mod authorize;
pub mod cache;
pub mod evidence;

pub mod export;
pub mod rewrite;

pub mod rejection;

pub mod engine;

pub mod bytes;
pub mod few;
pub mod json;
pub mod metric;
pub mod time;

#[cfg(all(target_os = "wasi", not(feature = "bench")))]
mod host;
