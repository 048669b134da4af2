//! Requests and replies as the clients see them: header lists in order, values as bytes.

use std::fmt;
use std::net::SocketAddr;

use serde_json::Value;

use super::{Http1, Http2};

/// A request that any of the clients can send.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// In order, with duplicates, in the spelling given. `host` is added by the client when it is not there.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Sent over HTTP/2 only.
    pub trailers: Vec<(String, Vec<u8>)>,
}

/// A complete response.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    /// In order, with duplicates, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// HTTP/2 only.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A gRPC call without a message, for HTTP/2.
    pub fn grpc(path: &str) -> Self {
        Self::new("POST", path).header("content-type", "application/grpc").header("te", "trailers")
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sends it over an HTTP/1.1 connection of its own.
    pub async fn send(&self, address: SocketAddr) -> Reply {
        Http1::connect(address).await.send(self).await
    }

    /// Sends it over an HTTP/2 connection of its own.
    pub async fn send_http2(&self, address: SocketAddr) -> Reply {
        Http2::connect(address).await.send(self).await
    }
}

impl Reply {
    /// The only value of a header, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = values(&self.headers, name);
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} is there more than once: {self:?}");
        Some(str::from_utf8(value).unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("headers", &readable(&self.headers))
            .field("body", &self.text())
            .field("trailers", &readable(&self.trailers))
            .finish()
    }
}

/// Header lines for a message of a failing case.
pub fn readable(headers: &[(String, Vec<u8>)]) -> Vec<String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect()
}

/// All values of a header whose name is spelt like this, but for case.
pub fn values<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
}
