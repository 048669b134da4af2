//! Calls to identity providers: what is asked, and what comes back.
//!
//! The one description that key fetches and session checks share, and all that the host needs to know to make a call.
//! Deliberately knows nothing of what a call is for.

use std::borrow::Cow;
use std::time::Duration;

use crate::config::Endpoint;
use crate::request::HeaderField;

/// The longest body of an answer that is read.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// A header field of a call.
pub type CallField = (Cow<'static, str>, String);

/// A request of our own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Its header fields, names in lower case, those of HTTP/2 that begin with a colon left out.
    pub headers: Vec<CallField>,
    /// Its body; none when empty.
    pub body: Vec<u8>,
    /// How long it may take; never zero, which would mean for ever.
    pub timeout: Duration,
}

/// What a server answered.
#[derive(Clone, Copy, Debug)]
pub enum CallReply<'b> {
    /// A response.
    Response {
        /// Its HTTP status.
        status: u16,
        /// Its header.
        headers: &'b [HeaderField],
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

impl Call {
    /// A request with this method, without a body, that says who asks.
    pub fn new(method: &'static str, endpoint: Endpoint, timeout: Duration) -> Self {
        let user_agent = concat!("edge-authn/", env!("CARGO_PKG_VERSION"));
        let headers = vec![("user-agent".into(), user_agent.to_owned())];
        Self { method, endpoint, headers, body: Vec::new(), timeout }
    }

    /// The same with another header field, in place of any of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }
}
