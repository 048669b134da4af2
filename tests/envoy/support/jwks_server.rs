//! An identity provider's key endpoint that can be slow, wrong, rotating or gone, and counts who asks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A running key endpoint. What it answers may be changed at any time and counts for the fetches that start after that.
pub struct JwksServer {
    address: SocketAddr,
    /// Bound and never listening: nobody else gets the port while the endpoint is down.
    _port: TcpSocket,
    state: Arc<Mutex<State>>,
    held: watch::Sender<bool>,
    /// `None` while the endpoint is down.
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How a fetch is answered.
#[derive(Clone, Debug)]
pub enum JwksReply {
    /// 200 with these bytes.
    Body(Vec<u8>),
    /// This status with these header fields, in which a `content-type` may stand, and these bytes. A fetch that names
    /// their `etag` in `if-none-match` gets a 304 in place of a 200.
    Full(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Nothing, and the connection stays open.
    Never,
    /// 302 to this location.
    Redirect(String),
    /// The connection is reset.
    Reset,
    /// This status with an empty body.
    Status(u16),
    /// 200 with half of these bytes, though all of them are promised; then the connection ends.
    Truncated(Vec<u8>),
}

/// A request that has arrived.
#[derive(Clone, Debug)]
pub struct Fetch {
    pub at: Instant,
    /// Request line and headers.
    pub head: String,
}

struct State {
    reply: JwksReply,
    /// Replies at these paths in place of `reply`.
    at_paths: BTreeMap<String, JwksReply>,
    delay: Duration,
    fetches: Vec<Fetch>,
}

impl JwksServer {
    /// Serves `document` at once.
    pub async fn start(document: &Value) -> Self {
        let port = socket();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let state = Arc::new(Mutex::new(State {
            reply: JwksReply::from(document),
            at_paths: BTreeMap::new(),
            delay: Duration::ZERO,
            fetches: Vec::new(),
        }));
        let server = Self {
            address: port.local_addr().unwrap(),
            _port: port,
            state,
            held: watch::Sender::new(false),
            task: Mutex::new(None),
        };
        server.come_back();
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the document is.
    pub fn uri(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// Changes how fetches are answered; `&Value` is a document.
    pub fn answer_with(&self, reply: impl Into<JwksReply>) {
        self.state.lock().unwrap().reply = reply.into();
    }

    /// Changes how fetches of this path are answered.
    pub fn answer_at(&self, path: &str, reply: impl Into<JwksReply>) {
        self.state.lock().unwrap().at_paths.insert(path.to_owned(), reply.into());
    }

    /// Changes how long a fetch waits for its answer.
    pub fn answer_after(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Keeps every answer back until [`release`](Self::release).
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Stops listening: connections are refused.
    pub async fn go_down(&self) {
        let task = self.task.lock().unwrap().take().expect("the endpoint is up");
        task.abort();
        // The listener is closed when its task has ended.
        let _ = task.await;
    }

    /// Listens again, on the same port.
    pub fn come_back(&self) {
        let socket = socket();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let task = tokio::spawn(serve(listener, Arc::clone(&self.state), self.held.subscribe()));
        assert!(self.task.lock().unwrap().replace(task).is_none(), "the endpoint is up already");
    }

    /// How many fetches have arrived.
    pub fn fetches(&self) -> usize {
        self.state.lock().unwrap().fetches.len()
    }

    /// Every fetch that has arrived.
    pub fn history(&self) -> Vec<Fetch> {
        self.state.lock().unwrap().fetches.clone()
    }

    /// Request line and headers of the newest fetch.
    pub fn last_fetch(&self) -> String {
        self.history().pop().expect("the keys have been fetched").head
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }
}

impl Fetch {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).expect("a request line has a path")
    }

    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim_ascii())
            .next()
    }
}

impl From<&Value> for JwksReply {
    fn from(document: &Value) -> Self {
        Self::Body(document.to_string().into_bytes())
    }
}

impl JwksReply {
    /// A document with header fields.
    pub fn with_headers(document: &Value, headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self::Full(200, headers, document.to_string().into_bytes())
    }

    /// Status, header lines and body, for a fetch with this head; `None` for those that are none.
    fn message(self, fetch: &Fetch) -> Option<(u16, String, Vec<u8>)> {
        let json = "content-type: application/json\r\n".to_owned();
        Some(match self {
            Self::Body(body) | Self::Truncated(body) => (200, json, body),
            Self::Full(status, headers, body) => {
                let etag = headers.iter().find(|(name, _)| *name == "etag").map(|(_, value)| value.as_str());
                let is_known = status == 200 && etag.is_some() && fetch.header("if-none-match") == etag;
                let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                if is_known { (304, lines, Vec::new()) } else { (status, lines, body) }
            }
            Self::Redirect(location) => (302, format!("location: {location}\r\n"), Vec::new()),
            Self::Status(status) => (status, json, Vec::new()),
            Self::Never | Self::Reset => return None,
        })
    }
}

/// A socket that shares its port with others of this process.
fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>, held: watch::Receiver<bool>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, Arc::clone(&state), held.clone()));
    }
}

/// One request for each connection: after an error, a client must be able to come back.
async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>, mut held: watch::Receiver<bool>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    let fetch = Fetch { at: Instant::now(), head: String::from_utf8_lossy(&request).into_owned() };
    let (reply, delay) = {
        let mut state = state.lock().unwrap();
        state.fetches.push(fetch.clone());
        (state.at_paths.get(fetch.path()).unwrap_or(&state.reply).clone(), state.delay)
    };
    if held.wait_for(|is_held| !is_held).await.is_err() {
        return;
    }
    sleep(delay).await;

    let is_truncated = matches!(reply, JwksReply::Truncated(_));
    let is_reset = matches!(reply, JwksReply::Reset);
    let Some((status, headers, body)) = reply.message(&fetch) else {
        if is_reset {
            return stream.set_zero_linger().unwrap();
        }
        return std::future::pending().await;
    };
    // A 304 has no body whatever its length says.
    let length = if status == 304 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let mut bytes = format!("HTTP/1.1 {status} -\r\n{headers}{length}connection: close\r\n\r\n").into_bytes();
    let sent = if is_truncated { body.len() / 2 } else { body.len() };
    bytes.extend_from_slice(&body[..sent]);
    // A client may go away in the middle of a huge body.
    let _ = stream.write_all(&bytes).await;
}
