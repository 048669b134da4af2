//! The sockets: HTTP/1.1 with clients and with the upstream.
//!
//! Takes connections, reads each request whole and as it was sent, has the worker decide about it, and sends it to the
//! upstream as the worker says, or the worker's own reply to the client. A connection without a verdict ends without a
//! reply. Judges no request, but for what cannot be read at all.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::worker::{Fields, Requests, Verdict};
use crate::support::{Connection, Http1, Request};

/// Header fields that are about a connection, or about how a body travels: each side has its own.
const HOP_BY_HOP: [&[u8]; 4] = [b"connection", b"content-length", b"keep-alive", b"transfer-encoding"];

/// Takes connections for a listener; they end with it.
pub(super) async fn serve(listener: TcpListener, name: String, requests: Requests, upstream: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let client = Client { connection: Connection::new(stream) };
        connections.spawn(serve_client(client, name.clone(), requests.clone(), upstream));
        while connections.try_join_next().is_some() {}
    }
}

/// A request as it arrived.
struct Arrived {
    method: String,
    target: String,
    /// As they were sent.
    lines: Fields,
    body: Vec<u8>,
}

/// Answers one request after the other. An end without a reply is a client that has left, or a worker that has failed.
async fn serve_client(mut client: Client, listener: String, requests: Requests, upstream: SocketAddr) {
    while let Some(arrived) = client.read_request().await {
        let Some(Arrived { method, target, lines, body }) = arrived else {
            let _ = client.write_reply(400, &Vec::new(), b"bad request\n", true).await;
            return;
        };
        let is_last = lines.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case(b"connection") && value.eq_ignore_ascii_case(b"close")
        });
        let pseudo = [(":method", &method), (":path", &target), (":scheme", &"http".to_owned())]
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let decided = requests.ask(&listener, pseudo.into_iter().chain(lines).collect());
        let verdict = tokio::select! {
            verdict = decided => verdict,
            () = client.has_left() => return,
        };
        let has_body = method != "HEAD";
        let sent = match verdict {
            Err(_) => return,
            Ok(Verdict::Reply { status, mut fields, body }) => {
                if !fields.iter().any(|(name, _)| name == b"content-type") {
                    fields.push((b"content-type".to_vec(), b"text/plain".to_vec()));
                }
                client.write_reply(status, &fields, &body, has_body).await
            }
            Ok(Verdict::Forward { number, method, target, fields }) => {
                let request = Request { body, ..upstream_request(&method, &target, fields) };
                let reply = Http1::connect(upstream).await.try_send(&request).await;
                let Some(reply) = reply else { return requests.left(number) };
                let status = (b":status".to_vec(), reply.status.to_string().into_bytes());
                let fields = reply.headers.into_iter().map(|(name, value)| (name.into_bytes(), value));
                let Some(fields) =
                    requests.respond(number, [status].into_iter().chain(fields).collect()).await
                else {
                    return;
                };
                client.write_reply(reply.status, &fields, &reply.body, has_body).await
            }
        };
        if sent.is_err() || is_last {
            return;
        }
    }
}

fn upstream_request(method: &str, target: &str, fields: Fields) -> Request {
    fields
        .into_iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_slice()))
        .fold(Request::new(method, target), |request, (name, value)| {
            request.header(str::from_utf8(&name).unwrap(), value)
        })
}

struct Client {
    connection: Connection,
}

impl Client {
    /// The next request; `Some(None)` is none that can be read, `None` is the end of the connection.
    async fn read_request(&mut self) -> Option<Option<Arrived>> {
        let head = self.connection.take_through(b"\r\n\r\n").await?;
        let Some(mut arrived) = Arrived::parse(&head) else { return Some(None) };
        let value = |name: &str| {
            let mut lines = arrived.lines.iter();
            let line = lines.find(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
            line.and_then(|(_, value)| str::from_utf8(value).ok())
        };
        arrived.body = match (value("transfer-encoding"), value("content-length")) {
            (Some(_), _) => self.connection.take_chunks().await?,
            (None, Some(length)) => self.connection.take(length.parse().ok()?).await?,
            (None, None) => Vec::new(),
        };
        Some(Some(arrived))
    }

    /// Comes back when the client has gone.
    async fn has_left(&self) {
        // More bytes are its next request, for which there is time.
        if matches!(self.connection.stream.peek(&mut [0]).await, Ok(1..)) {
            std::future::pending::<()>().await;
        }
    }

    async fn write_reply(
        &mut self,
        status: u16,
        fields: &Fields,
        body: &[u8],
        has_body: bool,
    ) -> std::io::Result<()> {
        let mut bytes = format!("HTTP/1.1 {status} -\r\n").into_bytes();
        let is_shown = |name: &[u8]| !name.starts_with(b":") && !HOP_BY_HOP.contains(&name);
        for (name, value) in fields.iter().filter(|(name, _)| is_shown(name)) {
            bytes.extend([name, b": ".as_slice(), value, b"\r\n"].concat());
        }
        if !matches!(status, 204 | 304) && has_body {
            bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        if has_body {
            bytes.extend(body);
        }
        self.connection.stream.write_all(&bytes).await
    }
}

impl Arrived {
    fn parse(head: &[u8]) -> Option<Self> {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let first = str::from_utf8(lines.next()?).ok()?;
        let mut words = first.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || !version.starts_with("HTTP/1.") {
            return None;
        }
        let line = |line: &[u8]| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((line[..colon].to_vec(), line[colon + 1..].trim_ascii().to_vec()))
        };
        let lines = lines.filter(|bytes| !bytes.is_empty()).map(line).collect::<Option<Fields>>()?;
        Some(Self { method: method.to_owned(), target: target.to_owned(), lines, body: Vec::new() })
    }
}
