//! An identity provider that is asked about sessions, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// A running identity provider. It answers what its handler says.
pub struct SessionServer {
    address: SocketAddr,
    /// Bound and never listening: nobody else gets the port while it is down.
    _port: TcpSocket,
    state: Arc<Mutex<State>>,
    /// `None` while it is down.
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A question as it arrived.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Request line and header lines.
    pub head: String,
    pub body: String,
}

/// Status, header fields and body; or [`RAW`] or [`SILENCE`].
pub type SessionReply = (u16, Vec<(&'static str, String)>, String);

/// In place of a status: the body is all that is sent, byte by byte, and then the connection ends.
pub const RAW: u16 = 0;
/// In place of a status: nothing is sent for as long as the client keeps the connection.
pub const SILENCE: u16 = 1;

type Handler = Arc<dyn Fn(&Asked) -> SessionReply + Send + Sync>;

struct State {
    handler: Handler,
    delay: Duration,
    asked: Vec<Asked>,
}

impl SessionServer {
    pub async fn start(handler: impl Fn(&Asked) -> SessionReply + Send + Sync + 'static) -> Self {
        let port = socket();
        port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let state = State { handler: Arc::new(handler), delay: Duration::ZERO, asked: Vec::new() };
        let server = Self {
            address: port.local_addr().unwrap(),
            _port: port,
            state: Arc::new(Mutex::new(state)),
            task: Mutex::new(None),
        };
        server.come_back();
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn answer_after(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Stops listening: connections are refused.
    pub async fn go_down(&self) {
        let task = self.task.lock().unwrap().take().expect("it is up");
        task.abort();
        let _ = task.await;
    }

    /// Listens again, on the same port.
    pub fn come_back(&self) {
        let socket = socket();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let task = tokio::spawn(serve(listener, Arc::clone(&self.state)));
        assert!(self.task.lock().unwrap().replace(task).is_none(), "it is up already");
    }

    /// Every question that has arrived.
    pub fn history(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    pub fn questions(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// The newest question.
    pub fn last_question(&self) -> Asked {
        self.state.lock().unwrap().asked.last().cloned().expect("it was asked")
    }
}

impl Drop for SessionServer {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }
}

impl Asked {
    /// Method and path.
    pub fn line(&self) -> &str {
        self.head.lines().next().and_then(|line| line.rsplit_once(' ')).expect("a request line").0
    }

    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut values =
            fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is there twice: {self:?}");
        value
    }

    /// All header fields, names in lower case, in the order of names.
    pub fn headers(&self) -> Vec<(String, String)> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut fields: Vec<_> =
            fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        fields.sort();
        fields
    }

    /// The value of a cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.header("cookie")?.split("; ").filter_map(|pair| pair.split_once('='));
        pairs.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
    }

    /// The value of a form field, as it was sent.
    pub fn form(&self, name: &str) -> Option<&str> {
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
    }
}

/// A socket that shares its port with others of this process.
fn socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket
}

/// Its connections end with it.
async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer_all(stream, Arc::clone(&state)));
    }
}

/// Answers one question after the other, until the client has no more.
async fn answer_all(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Some(asked) = read(&mut stream).await {
        let (handler, delay) = {
            let mut state = state.lock().unwrap();
            state.asked.push(asked.clone());
            (Arc::clone(&state.handler), state.delay)
        };
        sleep(delay).await;
        let (status, headers, body) = handler(&asked);
        if status == SILENCE {
            let _ = read(&mut stream).await;
            return;
        }
        if status == RAW {
            // A client that has gone is nobody's failure.
            let _ = stream.write_all(body.as_bytes()).await;
            return;
        }
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("HTTP/1.1 {status} -\r\n{lines}content-length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut asked = Asked { head, body: String::new() };
            let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
            while bytes.len() < end + 4 + length {
                if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                    return None;
                }
            }
            asked.body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
            return Some(asked);
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
            return None;
        }
    }
}
