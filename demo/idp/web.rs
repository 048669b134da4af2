//! What the endpoints of the identity provider share: forms, cookies, answers, ids.
//!
//! Takes texts of HTTP messages, gives their parts. Deliberately no framework: what is read here is short.

use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CACHE_CONTROL,
    CONTENT_TYPE, COOKIE, HeaderName, HeaderValue, ORIGIN, VARY,
};
use hyper::{Method, Request, Response, StatusCode};
use rsa::rand_core::{OsRng, RngCore};
use serde_json::{Value, json};

use crate::http::Answer;

/// The field of a query or of a form, decoded; the first of that name.
pub fn field(text: &str, name: &str) -> Option<String> {
    pairs(text).find_map(|(other, value)| (other == name).then_some(value))
}

/// The fields of a query or of a form, decoded.
pub fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(name), percent_decoded(value))
    })
}

/// The body of a request as a text.
pub fn body(request: &Request<Bytes>) -> &str {
    std::str::from_utf8(request.body()).unwrap_or_default()
}

/// The query of a request.
pub fn query(request: &Request<Bytes>) -> &str {
    request.uri().query().unwrap_or_default()
}

/// The value of a header, when it is a text.
pub fn header(request: &Request<Bytes>, name: impl hyper::header::AsHeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

/// The value of a cookie; the first of that name.
pub fn cookie<'r>(request: &'r Request<Bytes>, name: &str) -> Option<&'r str> {
    let lines = request.headers().get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (other, value) = pair.split_once('=')?;
        (other.trim() == name).then_some(value.trim())
    })
}

/// What stands behind `Bearer` in `authorization`.
pub fn bearer(request: &Request<Bytes>) -> Option<&str> {
    let (scheme, token) = header(request, AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Which of these origins a browser says that the request comes from.
pub fn origin_among<'a>(request: &Request<Bytes>, origins: &'a [String]) -> Option<&'a String> {
    let origin = request.headers().get(ORIGIN)?;
    origins.iter().find(|own| origin.as_bytes() == own.as_bytes())
}

/// Whether this is a form that another site may have sent: browsers say where a `POST` comes from, and no client that
/// does not say it has cookies that it was not given.
pub fn is_foreign(request: &Request<Bytes>, own: &str) -> bool {
    let origin = request.headers().get(ORIGIN);
    request.method() == Method::POST && origin.is_some_and(|origin| origin.as_bytes() != own.as_bytes())
}

/// Lets scripts of `origin`, and no other, read the answer to what they sent with cookies.
pub fn readable_by(answer: Answer, origin: &str) -> Answer {
    let answer = with(answer, VARY, "origin");
    let answer = with(answer, ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    with(answer, ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")
}

/// The answer with one more header.
pub fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    let value = HeaderValue::from_str(value).expect("made of checked texts");
    answer.headers_mut().append(name, value);
    answer
}

pub fn text(status: StatusCode, body: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.to_owned(), "no-store")
}

pub fn document(value: &Value) -> Answer {
    answer(StatusCode::OK, "application/json", format!("{value:#}\n"), "public, max-age=300")
}

/// JSON that nobody may keep.
pub fn reply(status: StatusCode, value: &Value) -> Answer {
    answer(status, "application/json", format!("{value:#}\n"), "no-store")
}

/// The error of a switch that was used wrongly.
pub fn refusal(status: StatusCode, message: &str) -> Answer {
    reply(status, &json!({ "error": message }))
}

pub fn answer(status: StatusCode, content_type: &str, body: String, cache_control: &str) -> Answer {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .header(CACHE_CONTROL, cache_control)
        .body(Full::from(body))
        .expect("the headers are valid")
}

/// An id that nobody can guess.
pub fn fresh(prefix: &str) -> String {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    format!("{prefix}{:032x}", u128::from_be_bytes(bytes))
}

pub fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().replace('+', " ").into_bytes();
    for part in parts {
        let decoded =
            part.split_at_checked(2).and_then(|(hex, rest)| Some((u8::from_str_radix(hex, 16).ok()?, rest)));
        let (byte, rest) = decoded.unwrap_or((b'%', part));
        bytes.push(byte);
        bytes.extend_from_slice(rest.replace('+', " ").as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn unix_time() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "an issuer dates its tokens")]
    let now = SystemTime::now();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub mod testing {
    //! Requests and answers in a few words.

    use http_body_util::BodyExt as _;
    use hyper::body::Bytes;
    use hyper::{Request, Response};
    use serde_json::Value;

    use crate::http::Answer;

    pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Bytes> {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(Bytes::from(body.to_owned())).unwrap()
    }

    /// The status and the JSON of an answer; `null` when there is no body.
    pub async fn read(answer: Answer) -> (u16, Value) {
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
    }

    pub fn header<'a, B>(answer: &'a Response<B>, name: &str) -> Option<&'a str> {
        answer.headers().get(name).map(|value| value.to_str().unwrap())
    }

    pub fn set_cookies(answer: &Answer) -> Vec<String> {
        answer
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }
}
