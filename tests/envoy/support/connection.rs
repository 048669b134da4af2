//! One side of an HTTP/1.1 connection, read as it is framed.
//!
//! Takes a socket, gives the bytes up to a mark, of a length, or in chunks. `None` is an end that came too early. Knows no
//! request and no reply.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

pub struct Connection {
    pub stream: TcpStream,
    /// What has arrived and was not taken yet.
    pub pending: Vec<u8>,
}

impl Connection {
    pub const fn new(stream: TcpStream) -> Self {
        Self { stream, pending: Vec::new() }
    }

    pub async fn take_chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.take_through(b"\r\n").await?;
            let size = usize::from_str_radix(str::from_utf8(size.trim_ascii()).ok()?, 16).ok()?;
            let chunk = self.take(size + 2).await?;
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    pub async fn take_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.pending.windows(end.len()).position(|window| window == end);
            if let Some(position) = found {
                return self.take(position + end.len()).await;
            }
            self.read_more().await?;
        }
    }

    pub async fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.pending.len() < length {
            self.read_more().await?;
        }
        Some(self.pending.drain(..length).collect())
    }

    pub async fn read_more(&mut self) -> Option<()> {
        // A connection that is reset has ended too.
        let read = self.stream.read_buf(&mut self.pending).await.unwrap_or(0);
        (read > 0).then_some(())
    }
}
