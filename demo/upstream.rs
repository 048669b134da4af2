//! The demo upstream: shows what a service behind the gateway gets to see.
//!
//! Takes any request, gives it back as JSON. Deliberately checks nothing: it stands for a backend without any code for
//! authentication.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response};
use serde_json::json;

use super::http::Answer;

/// Answers with the method, the path and the headers that arrived.
pub fn echo(request: &Request<Bytes>) -> Answer {
    let headers: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), printable(value.as_bytes())]))
        .map(|pair| format!("    {pair}"))
        .collect();
    let method = json!(request.method().as_str());
    let path = json!(request.uri().path_and_query().map_or("", |path| path.as_str()));
    // Laid out by hand for one header a line.
    let headers = headers.join(",\n");
    let seen =
        format!("{{\n  \"method\": {method},\n  \"path\": {path},\n  \"headers\": [\n{headers}\n  ]\n}}\n");

    Response::builder()
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(seen))
        .expect("the header is valid")
}

/// The text as it is, with every byte that is not UTF-8 as `\xff`.
pub fn printable(bytes: &[u8]) -> String {
    bytes.utf8_chunks().map(|chunk| format!("{}{}", chunk.valid(), chunk.invalid().escape_ascii())).collect()
}
