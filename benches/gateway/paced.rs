//! A client that sends on time, whether or not earlier requests have been answered, and measures from when a request was
//! due: nobody who waits is left out.
//!
//! Takes requests as bytes, gives latencies. It spins on sockets that do not block, so it needs a core for itself and is
//! precise to some microseconds. Deliberately only as much HTTP as Envoy's short answers need.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Without an answer for so long, a measurement has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// More requests at once wait for one another, and that counts.
const CONNECTIONS: usize = 256;

/// Sends the requests in their order, on average `rate` a second with the gaps of independent clients (a Poisson process, the
/// same one every time), and gives the latency of each, in microseconds. Fails unless all are answered with `status`.
pub fn send<'a>(
    address: SocketAddr,
    rate: f64,
    requests: impl Iterator<Item = &'a [u8]>,
    status: u16,
) -> Vec<f64> {
    let expected = format!("HTTP/1.1 {status} ");
    let mut connections: Vec<Connection> = Vec::new();
    let mut latencies = Vec::new();
    let mut gaps = Gaps::new();
    let mut due = Instant::now();
    let mut requests = requests.peekable();
    while requests.peek().is_some() || connections.iter().any(Connection::is_busy) {
        if due <= Instant::now()
            && let Some(idle) = idle(&mut connections, address)
            && let Some(request) = requests.next()
        {
            idle.ask(request, due);
            due += Duration::from_secs_f64(gaps.next() / rate);
        }
        for connection in &mut connections {
            latencies.extend(connection.look(&expected));
        }
    }
    latencies
}

/// A connection that waits for nothing; `None` when there are no more.
fn idle(connections: &mut Vec<Connection>, address: SocketAddr) -> Option<&mut Connection> {
    let index = match connections.iter().position(|connection| !connection.is_busy()) {
        Some(index) => index,
        None if connections.len() < CONNECTIONS => {
            connections.push(Connection::open(address));
            connections.len() - 1
        }
        None => return None,
    };
    connections.get_mut(index)
}

/// A GET as bytes.
pub fn request(address: SocketAddr, path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n").into_bytes()
}

struct Connection {
    stream: TcpStream,
    /// When what it waits for was due.
    asked_at: Option<Instant>,
    answer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, asked_at: None, answer: Vec::new() }
    }

    fn is_busy(&self) -> bool {
        self.asked_at.is_some()
    }

    fn ask(&mut self, request: &[u8], asked_at: Instant) {
        // A request is much smaller than the buffer of a socket that has been read empty.
        self.stream.write_all(request).unwrap();
        self.asked_at = Some(asked_at);
    }

    /// The latency, if the answer has come to its end.
    fn look(&mut self, expected: &str) -> Option<f64> {
        let asked_at = self.asked_at?;
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => panic!("the connection ended"),
            Ok(count) => self.answer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(asked_at.elapsed() < ANSWER_TIMEOUT, "no answer within {ANSWER_TIMEOUT:?}");
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        let text = String::from_utf8_lossy(&self.answer);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.expect("an answer says its length").parse().unwrap();
        if body.len() < length {
            return None;
        }
        assert!(text.starts_with(expected), "not {expected}: {text}");
        self.answer.clear();
        self.asked_at = None;
        Some(asked_at.elapsed().as_secs_f64() * 1e6)
    }
}

/// Gaps between independent events, of length 1 on average: any numbers that are spread well would do, these are
/// of xorshift.
struct Gaps(u64);

impl Gaps {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let share = ((self.0 >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        -share.ln()
    }
}
