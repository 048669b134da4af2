//! What was seen of a request at one listener, and how two such sights differ.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::case::Outcome;
use crate::support::{ReceivedRequest, Reply};

/// Tells the requests of all cases and modes apart at the upstream.
pub const CASE_HEADER: &str = "x-case";

/// What Envoy adds or what differs with each connection.
const NOISE: &[&str] =
    &[CASE_HEADER, "x-envoy-expected-rq-timeout-ms", "x-forwarded-for", "x-forwarded-proto", "x-request-id"];

/// What clients see of a refusal.
const REPLY_HEADERS: &[&str] = &["www-authenticate", "grpc-status", "grpc-message", "content-type"];

/// An answer, and the request that the upstream received if it was let through.
pub struct Sight {
    pub reply: Reply,
    pub forwarded: Option<ReceivedRequest>,
}

/// One aspect in which two sights differ.
#[derive(Debug)]
pub struct Aspect {
    pub kind: Kind,
    text: String,
}

/// What an aspect is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// What becomes of the request.
    Decision,
    /// How a refusal is put.
    Wording,
    /// How much of the URL the challenge names.
    Realm,
}

impl Sight {
    /// Where this is not the expected outcome.
    pub fn contradictions(&self, expected: &Outcome) -> Vec<String> {
        let mut found = Vec::new();
        let mut expect = |what: &str, seen: &dyn fmt::Debug, wanted: &dyn fmt::Debug, holds: bool| {
            if !holds {
                found.push(format!("{what} is {seen:?}, expected {wanted:?}"));
            }
        };
        let status = self.reply.status;
        expect("the status", &status, &expected.status, status == expected.status);
        if let Some(body) = &expected.body {
            let seen = self.reply.text();
            expect("the body", &seen, body, seen == *body);
        }
        let replied = joined(&self.reply.headers);
        for (name, wanted) in &expected.reply_headers {
            let seen = replied.get(*name).cloned();
            expect(&format!("{name} of the answer"), &seen, wanted, seen == *wanted);
        }
        let forwarded = self.forwarded.as_ref();
        if let Some(path) = &expected.path {
            let seen = forwarded.map(|request| request.path.clone());
            expect("the forwarded path", &seen, path, seen.as_ref() == Some(path));
        }
        let headers = forwarded.map(|request| joined(&request.headers));
        for (name, wanted) in &expected.headers {
            let seen = headers.as_ref().and_then(|headers| headers.get(*name).cloned());
            let holds =
                headers.is_some() && seen.as_deref().map(comparable) == wanted.as_deref().map(comparable);
            expect(&format!("forwarded {name}"), &seen, wanted, holds);
        }
        found
    }

    /// Where the two differ.
    pub fn differences(&self, other: &Self) -> Vec<Aspect> {
        let mut found = Vec::new();
        let mut compare = |kind: Kind, what: &str, one: Option<String>, two: Option<String>| {
            if one.as_deref().map(comparable) != two.as_deref().map(comparable) {
                found.push(Aspect { kind, text: format!("{what}: {one:?} / {two:?}") });
            }
        };
        let text = |value: &dyn ToString| Some(value.to_string());
        compare(Kind::Decision, "status", text(&self.reply.status), text(&other.reply.status));
        let (one, two) = (self.forwarded.as_ref(), other.forwarded.as_ref());
        compare(Kind::Decision, "forwarded", text(&one.is_some()), text(&two.is_some()));
        if let (Some(one), Some(two)) = (one, two) {
            compare(Kind::Decision, "method", text(&one.method), text(&two.method));
            compare(Kind::Decision, "path", text(&one.path), text(&two.path));
            let (one, two) = (joined(&one.headers), joined(&two.headers));
            let names = one.keys().chain(two.keys().filter(|name| !one.contains_key(*name)));
            for name in names.filter(|name| !NOISE.contains(&name.as_str())) {
                compare(Kind::Decision, name, one.get(name).cloned(), two.get(name).cloned());
            }
        } else {
            let (replied, other_replied) = (joined(&self.reply.headers), joined(&other.reply.headers));
            for name in REPLY_HEADERS {
                let (one, two) = (replied.get(*name).cloned(), other_replied.get(*name).cloned());
                let kind = match *name {
                    "grpc-status" => Kind::Decision,
                    "www-authenticate" if differ_in_realm(one.as_deref(), two.as_deref()) => Kind::Realm,
                    _ => Kind::Wording,
                };
                compare(kind, name, one, two);
            }
            compare(Kind::Wording, "body", text(&self.reply.text()), text(&other.reply.text()));
        }
        found
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reply.status)?;
        match &self.forwarded {
            Some(request) => {
                write!(f, ", forwarded as {} {}", request.method, request.path)?;
                let headers = joined(&request.headers);
                for (name, value) in headers.iter().filter(|(name, _)| !NOISE.contains(&name.as_str())) {
                    write!(f, ", {name}: {}", shown(value))?;
                }
            }
            None => {
                let headers = joined(&self.reply.headers);
                for name in REPLY_HEADERS {
                    if let Some(value) = headers.get(*name) {
                        write!(f, ", {name}: {value}")?;
                    }
                }
                write!(f, ", {:?}", self.reply.text())?;
            }
        }
        Ok(())
    }
}

/// Whether two challenges say the same but for their realm.
fn differ_in_realm(one: Option<&str>, two: Option<&str>) -> bool {
    const ERROR: &str = ", error=\"invalid_token\"";
    let split = |challenge: &str| {
        let (start, error) = match challenge.strip_suffix(ERROR) {
            Some(start) => (start, ERROR),
            None => (challenge, ""),
        };
        let is_bearer = start.starts_with("Bearer realm=\"") && start.ends_with('"');
        is_bearer.then(|| error.to_owned())
    };
    let (one, two) = (one.and_then(split), two.and_then(split));
    one.is_some() && one == two
}

/// Header lines by name. Several lines of one name mean the same as one line with their values joined by a comma (RFC
/// 9110 section 5.3).
fn joined(headers: &[(String, Vec<u8>)]) -> BTreeMap<String, String> {
    let mut map = BTreeMap::<_, Vec<String>>::new();
    for (name, value) in headers {
        map.entry(name.clone()).or_default().push(readable(value));
    }
    map.into_iter().map(|(name, values)| (name, values.join(","))).collect()
}

/// The text, with the bytes that are not UTF-8 escaped.
fn readable(value: &[u8]) -> String {
    value.utf8_chunks().map(|chunk| format!("{}{}", chunk.valid(), chunk.invalid().escape_ascii())).collect()
}

/// A value, or the JSON that it encodes: the native filter writes the members of objects in any order.
fn comparable(value: &str) -> Value {
    let decoded = STANDARD.decode(value).or_else(|_| URL_SAFE_NO_PAD.decode(value)).ok();
    let json = decoded.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    match json {
        Some(json @ (Value::Array(_) | Value::Object(_))) => json,
        _ => Value::String(value.to_owned()),
    }
}

fn shown(value: &str) -> String {
    const LONGEST: usize = 60;
    if value.len() > LONGEST { format!("{}...", &value[..LONGEST]) } else { value.to_owned() }
}
