//! As much HTTP as the demo and the test suites share: serve a function, ask for a path.
//!
//! Takes listeners and addresses, moves whole messages. Deliberately no streaming, no connection reuse, no TLS.

use std::error::Error;
use std::future::ready;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

/// An answer with its whole body.
pub type Answer = Response<Full<Bytes>>;

/// The trailers of a request, in its extensions.
#[derive(Clone)]
#[allow(dead_code, reason = "the suites look at them")]
pub struct Trailers(pub HeaderMap);

/// Answers every request on `listener` with `handler`, over HTTP/1.1 or HTTP/2 with prior knowledge.
pub async fn serve<H>(listener: TcpListener, handler: H)
where
    H: Fn(&Request<Bytes>) -> Answer + Clone + Send + 'static,
{
    serve_later(listener, move |request| ready(handler(&request))).await;
}

/// The same for a handler that has to ask somebody first.
pub async fn serve_later<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_connection(stream, handler.clone()));
    }
}

async fn serve_connection<H, F>(stream: TcpStream, handler: H)
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut start = [0; 3];
    let is_http2 = stream.peek(&mut start).await.is_ok() && &start == b"PRI";
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            let body = body.collect().await?;
            parts.extensions.insert(Trailers(body.trailers().cloned().unwrap_or_default()));
            Ok::<_, hyper::Error>(handler(Request::from_parts(parts, body.to_bytes())).await)
        }
    });
    // An error here is a client that went away.
    let _ = if is_http2 {
        let server = server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), service).await
    } else {
        let server = server::conn::http1::Builder::new();
        server.serve_connection(TokioIo::new(stream), service).await
    };
}

/// Asks for `path` over a connection of its own and returns the answer with its whole body.
pub async fn get(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response<Bytes>, String> {
    try_get(address, path, headers).await.map_err(|error| format!("no answer from {address}: {error}"))
}

async fn try_get(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response<Bytes>, Box<dyn Error>> {
    let mut request = Request::get(path).header(HOST, address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new())?;

    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);

    let (parts, body) = sender.send_request(request).await?.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}
