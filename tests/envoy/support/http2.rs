//! An HTTP/2 client with prior knowledge, for what HTTP/1.1 cannot show: trailers, gRPC, many streams at once.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::message::values;
use super::{ANSWER_TIMEOUT, Reply, Request};

/// A connection; its clones share it and may send at the same time.
#[derive(Clone)]
pub struct Http2 {
    address: SocketAddr,
    sender: SendRequest<Body>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self { address, sender }
    }

    /// Sends a request and waits for its reply. Names must be in lower case, as HTTP/2 wants them; a `host` is sent as
    /// the authority.
    pub async fn send(&mut self, request: &Request) -> Reply {
        let Request { method, path, headers, body, trailers } = request;
        let host = values(headers, "host").next().map(|host| str::from_utf8(host).unwrap().to_owned());
        let authority = host.unwrap_or_else(|| self.address.to_string());
        let mut request =
            hyper::Request::builder().method(method.as_str()).uri(format!("http://{authority}{path}"));
        for (name, value) in headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value.as_slice());
        }
        let body = Full::<Bytes>::from(body.clone());
        let body = match trailers.as_slice() {
            [] => body.boxed_unsync(),
            trailers => {
                let trailers: HeaderMap = trailers
                    .iter()
                    .map(|(name, value)| {
                        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap())
                    })
                    .collect();
                body.with_trailers(async { Some(Ok(trailers)) }).boxed_unsync()
            }
        };
        let request = request.body(body).unwrap();

        timeout(ANSWER_TIMEOUT, self.exchange(request))
            .await
            .unwrap_or_else(|_| panic!("no reply within {ANSWER_TIMEOUT:?}"))
            .unwrap()
    }

    async fn exchange(&mut self, request: hyper::Request<Body>) -> hyper::Result<Reply> {
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        Ok(Reply {
            status: parts.status.as_u16(),
            headers: list(&parts.headers),
            trailers: body.trailers().map(list).unwrap_or_default(),
            body: body.to_bytes().to_vec(),
        })
    }
}

fn list(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}
