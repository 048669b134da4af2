//! An identity provider's key endpoint that can be slow, wrong, rotating or gone, and counts who asks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// A running key endpoint. What it answers may be changed at any time and counts for the fetches that start after that.
pub struct JwksServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// How a fetch is answered.
#[derive(Clone, Debug)]
pub enum JwksReply {
    /// 200 with these bytes.
    Body(Vec<u8>),
    /// Nothing, and the connection stays open.
    Never,
    /// 302 to this location.
    Redirect(String),
    /// The connection is reset.
    Reset,
    /// This status with an empty body.
    Status(u16),
}

struct State {
    reply: JwksReply,
    delay: Duration,
    /// The head of every request.
    fetches: Vec<String>,
}

impl JwksServer {
    /// Serves `document` at once.
    pub async fn start(document: &Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reply = JwksReply::from(document);
        let state = Arc::new(Mutex::new(State { reply, delay: Duration::ZERO, fetches: Vec::new() }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state, task }
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

    /// Changes how long a fetch waits for its answer.
    pub fn answer_after(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// How many fetches have arrived.
    pub fn fetches(&self) -> usize {
        self.state.lock().unwrap().fetches.len()
    }

    /// Request line and headers of the newest fetch.
    pub fn last_fetch(&self) -> String {
        let state = self.state.lock().unwrap();
        state.fetches.last().expect("the keys have been fetched").clone()
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl From<&Value> for JwksReply {
    fn from(document: &Value) -> Self {
        Self::Body(document.to_string().into_bytes())
    }
}

/// One request for each connection: after an error, a client must be able to come back.
async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    let (reply, delay) = {
        let mut state = state.lock().unwrap();
        state.fetches.push(String::from_utf8_lossy(&request).into_owned());
        (state.reply.clone(), state.delay)
    };
    sleep(delay).await;

    let (status, extra, body) = match reply {
        JwksReply::Body(body) => (200, String::new(), body),
        JwksReply::Never => std::future::pending().await,
        JwksReply::Redirect(location) => (302, format!("location: {location}\r\n"), Vec::new()),
        JwksReply::Reset => return stream.set_zero_linger().unwrap(),
        JwksReply::Status(status) => (status, String::new(), Vec::new()),
    };
    let length = body.len();
    let mut bytes = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\n{extra}content-length: {length}\r\nconnection: close\r\n\r\n"
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    // A client may go away in the middle of a huge body.
    let _ = stream.write_all(&bytes).await;
}
