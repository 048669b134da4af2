//! An upstream that remembers what it received.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::message::{readable, values};
use super::{echo, http};

/// A running upstream. It answers with what the demo upstream answers, over HTTP/1.1 and HTTP/2.
pub struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<ReceivedRequest>>>,
    arrived: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// A request as it came out of the gateway.
#[derive(Clone)]
pub struct ReceivedRequest {
    pub method: String,
    /// With query.
    pub path: String,
    /// In order, except that values of one name stand together; names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body_length: usize,
    /// Like `headers`.
    pub trailers: Vec<(String, Vec<u8>)>,
}

impl Upstream {
    pub async fn start() -> Self {
        Self::start_with(true).await
    }

    /// One that only answers, for more requests than anybody wants to keep.
    pub async fn start_forgetful() -> Self {
        Self::start_with(false).await
    }

    async fn start_with(remembers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let arrived = Arc::new(AtomicUsize::new(0));
        let (shared, counted) = (Arc::clone(&received), Arc::clone(&arrived));
        let task = tokio::spawn(http::serve(listener, move |request| {
            counted.fetch_add(1, Ordering::Relaxed);
            if remembers {
                shared.lock().unwrap().push(ReceivedRequest::from(request));
            }
            echo::echo(request)
        }));
        Self { address, received, arrived, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests have arrived, remembered or not.
    #[allow(dead_code, reason = "measurements do not count them")]
    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Everything received so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.received.lock().unwrap().clone()
    }

    /// The newest request received.
    pub fn last_request(&self) -> ReceivedRequest {
        self.requests().pop().expect("the upstream received a request")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ReceivedRequest {
    /// All values of a header in exactly this spelling (but for case).
    pub fn header(&self, name: &str) -> Vec<&[u8]> {
        values(&self.headers, name).collect()
    }

    /// All values of a header in any spelling that a backend could take for it: `_` is `-` to many.
    pub fn header_in_any_spelling(&self, name: &str) -> Vec<&[u8]> {
        self.headers
            .iter()
            .filter(|(other, _)| other.replace('_', "-").eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
            .collect()
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &readable(&self.headers))
            .field("body_length", &self.body_length)
            .field("trailers", &readable(&self.trailers))
            .finish()
    }
}

impl From<&hyper::Request<Bytes>> for ReceivedRequest {
    fn from(request: &hyper::Request<Bytes>) -> Self {
        let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            (name.to_string(), value.as_bytes().to_vec())
        };
        let trailers = request.extensions().get::<http::Trailers>();
        Self {
            trailers: trailers.map(|trailers| trailers.0.iter().map(header).collect()).unwrap_or_default(),
            method: request.method().to_string(),
            path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: request.headers().iter().map(header).collect(),
            body_length: request.body().len(),
        }
    }
}
