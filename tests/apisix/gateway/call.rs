//! A call of the filter, made for real.
//!
//! Takes what the filter has dispatched and the servers by host and port, gives the answer in the order in which nginx's
//! driver hands it over, or nothing, whatever has gone wrong. As there, the timeout is for connecting, for sending and for
//! each read; redirects are not followed, and the whole body is read. No TLS, and no connection serves twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::Call;

/// What stands for no timeout.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Header fields, the status last, and the body.
pub(super) type Answer = (Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

/// Where servers are, by host and port.
pub(super) type Hosts = BTreeMap<String, SocketAddr>;

/// Makes a call. `None`: there was no answer, or not all of it.
pub(super) async fn make(call: &Call, hosts: &Hosts) -> Option<Answer> {
    let address = resolve(&call.cluster, hosts)?;
    let wait = match call.timeout_ms {
        0 => DEFAULT_TIMEOUT,
        milliseconds => Duration::from_millis(milliseconds.into()),
    };
    let stream = timeout(wait, TcpStream::connect(address)).await.ok()?.ok()?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    let connection = AbortOnDrop(tokio::spawn(async move {
        // Its end is seen by whoever waits for the answer.
        let _ = connection.await;
    }));
    let (parts, mut body) = timeout(wait, sender.send_request(request(call)?)).await.ok()?.ok()?.into_parts();
    let mut bytes = Vec::new();
    while let Some(frame) = timeout(wait, body.frame()).await.ok()? {
        bytes.extend(frame.ok()?.into_data().unwrap_or_default());
    }
    drop(connection);
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()));
    let status = (b":status".to_vec(), parts.status.as_str().as_bytes().to_vec());
    Some((fields.chain([status]).collect(), bytes))
}

/// An address stands for itself.
fn resolve(host_and_port: &str, hosts: &Hosts) -> Option<SocketAddr> {
    hosts.get(host_and_port).copied().or_else(|| host_and_port.parse().ok())
}

fn request(call: &Call) -> Option<hyper::Request<Full<Bytes>>> {
    let text = |name: &str| call.headers.get(name).and_then(|value| str::from_utf8(value).ok());
    let (method, path) = (text(":method").unwrap_or("GET"), text(":path").unwrap_or("/"));
    let mut request = hyper::Request::builder().method(method).uri(path);
    let headers = request.headers_mut()?;
    let host = text(":authority").unwrap_or(&call.cluster);
    headers.insert(HOST, HeaderValue::from_str(host).ok()?);
    for (name, value) in call.headers.pairs().iter().filter(|(name, _)| !name.starts_with(b":")) {
        headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, HeaderValue::from_static("lua-resty-http"));
    }
    if call.body.is_empty() && matches!(method, "POST" | "PUT" | "PATCH") {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    request.body(Full::from(call.body.clone())).ok()
}

/// Closes the connection of a call that has ended.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
