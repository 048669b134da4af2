//! An HTTP/1.1 client that sends exactly the bytes it is told to: no library would send what an attacker sends.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use super::message::values;
use super::{ANSWER_TIMEOUT, Reply, Request};

/// A connection that stays open between requests.
pub struct Http1 {
    address: SocketAddr,
    connection: Connection,
}

impl Http1 {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { address, connection: Connection::new(stream) }
    }

    /// Sends a request and waits for its reply.
    pub async fn send(&mut self, request: &Request) -> Reply {
        self.write_request(request).await;
        self.read_reply(&request.method).await
    }

    /// The same, but `None` when the connection ends without a reply.
    pub async fn try_send(&mut self, request: &Request) -> Option<Reply> {
        self.connection.stream.write_all(&self.serialize(request)).await.ok()?;
        timeout(ANSWER_TIMEOUT, self.try_read_reply(&request.method))
            .await
            .unwrap_or_else(|_| panic!("no reply within {ANSWER_TIMEOUT:?}"))
    }

    /// Sends a request; its reply is left to [`read_reply`](Self::read_reply).
    pub async fn write_request(&mut self, request: &Request) {
        self.write(&self.serialize(request)).await;
    }

    /// Sends these bytes, whatever they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.connection.stream.write_all(bytes).await.unwrap();
    }

    /// Waits for the next reply. The method of its request tells whether it has a body.
    pub async fn read_reply(&mut self, method: &str) -> Reply {
        timeout(ANSWER_TIMEOUT, self.try_read_reply(method))
            .await
            .unwrap_or_else(|_| panic!("no reply within {ANSWER_TIMEOUT:?}"))
            .unwrap_or_else(|| {
                panic!("connection closed after {:?}", self.connection.pending.escape_ascii().to_string())
            })
    }

    /// Whether the server closes the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        assert!(self.connection.pending.is_empty(), "there is an unread reply");
        timeout(ANSWER_TIMEOUT, self.connection.read_more()).await.is_ok_and(|more| more.is_none())
    }

    fn serialize(&self, request: &Request) -> Vec<u8> {
        let Request { method, path, headers, body, trailers: _ } = request;
        let has = |name: &str| values(headers, name).next().is_some();

        let mut bytes = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
        if !has("host") {
            bytes.extend_from_slice(format!("host: {}\r\n", self.address).as_bytes());
        }
        if !body.is_empty() && !has("content-length") {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        for (name, value) in headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes
    }

    /// `None` when the connection ends before the reply does.
    async fn try_read_reply(&mut self, method: &str) -> Option<Reply> {
        let head = self.connection.take_through(b"\r\n\r\n").await?;
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);

        let status_line = String::from_utf8_lossy(lines.next()?).into_owned();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
        let headers: Vec<_> = lines.filter(|line| !line.is_empty()).map(parse_header).collect();

        let header = |name| values(&headers, name).next().map(String::from_utf8_lossy);
        let has_no_body =
            method == "HEAD" || (method == "CONNECT" && status < 300) || matches!(status, 204 | 304);
        let body = if has_no_body {
            Vec::new()
        } else if header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            self.connection.take_chunks().await?
        } else {
            let length = header("content-length").expect("a reply says where it ends");
            self.connection.take(length.parse().unwrap()).await?
        };
        Some(Reply { status, headers, body, trailers: Vec::new() })
    }
}

fn parse_header(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|byte| *byte == b':').expect("a header has a colon");
    let (name, value) = line.split_at(colon);
    (String::from_utf8_lossy(name).to_lowercase(), value[1..].trim_ascii().to_vec())
}
