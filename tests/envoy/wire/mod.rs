//! The protocols of identity providers, row by row, on the wire: what the client gets, what the upstream sees, and what
//! the identity provider is asked.
//!
//! A [`Row`] has the name of a row of what is known of the protocol. Each is sent twice, over HTTP/1.1 and, where that
//! is spoken, over HTTP/2, with everything forged that a client could forge: the second time shows whether the answer
//! counts for a while, which a failure never does.

mod authgear;
mod stack;

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::Proxy;
use crate::support::{ReceivedRequest, Reply, Request, SessionServer, Upstream};

/// One situation of a protocol.
pub struct Row {
    pub name: &'static str,
    pub sent: Request,
    /// Besides what every question has. Nobody is asked where there is nothing.
    pub asks: Vec<(&'static str, &'static str)>,
    pub expected: Expected,
}

/// What becomes of a request.
#[derive(Clone)]
pub enum Expected {
    /// The upstream sees exactly these identity headers, names in order.
    Passes(Vec<(&'static str, &'static str)>),
    /// The answer counts for a while.
    Refused(&'static Refusal),
    /// The answer says nothing, and counts for nobody else.
    Fails,
}

/// Status, challenge and body.
pub struct Refusal(pub u16, pub Option<&'static str>, pub &'static str);

pub static MISSING: Refusal = Refusal(401, Some("Bearer realm=\"edge-authn\""), "Authentication is required");
pub static DENIED: Refusal = Refusal(
    401,
    Some(
        "Bearer realm=\"edge-authn\", error=\"invalid_token\", error_description=\"The access token is not valid\"",
    ),
    "The access token is not valid",
);
pub static FORBIDDEN: Refusal = Refusal(403, None, "Access is denied");
pub static CROSS_SITE: Refusal = Refusal(403, None, "The request comes from another site");
pub static SEVERAL: Refusal = Refusal(
    400,
    Some(
        "Bearer realm=\"edge-authn\", error=\"invalid_request\", error_description=\"More than one access token was sent\"",
    ),
    "More than one access token was sent",
);
pub static UNAVAILABLE: Refusal = Refusal(503, None, "The session behind the access token cannot be checked");

/// Prefixes of headers that tell the upstream, or an identity provider, something that no client may say. Folded.
const IDENTITY: [&str; 4] = ["x-authgear-", "x-auth-", "x-stack-", "x-hexclave-"];

/// Where rows are sent.
pub struct Wire<'s> {
    pub proxy: &'s Proxy,
    pub listener: &'static str,
    pub upstream: &'s Upstream,
    pub idp: &'s SessionServer,
    pub host: &'static str,
    pub path: &'static str,
    pub forged: &'s [String],
}

impl Wire<'_> {
    /// Sends every row.
    pub async fn hold(&self, rows: Vec<Row>) {
        let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len(), "each row has a name of its own");
        for row in &rows {
            self.hold_row(row).await;
        }
    }

    async fn hold_row(&self, row: &Row) {
        let Row { name, sent, asks, expected } = row;
        let address = self.proxy.address(self.listener);
        let request = self.with_forged(sent);
        for is_repeated in [false, true] {
            let name = format!("{name}{}", if is_repeated { ", again" } else { "" });
            let (asked, arrived) = (self.idp.questions(), self.upstream.requests().len());
            let reply = match is_repeated {
                true if Proxy::SPEAKS_HTTP2 => request.send_http2(address).await,
                _ => request.send(address).await,
            };
            let received = self.upstream.requests().split_off(arrived);
            match expected {
                Expected::Passes(headers) => {
                    assert_eq!(reply.status, 200, "{name}: {reply:?}");
                    let [received] = received.as_slice() else { panic!("{name}: {received:?}") };
                    assert_seen(&name, received, headers);
                }
                Expected::Refused(refusal) => {
                    assert_refused(&name, &reply, refusal);
                    assert!(received.is_empty(), "{name}: {received:?}");
                }
                Expected::Fails => {
                    assert_refused(&name, &reply, &UNAVAILABLE);
                    assert!(received.is_empty(), "{name}: {received:?}");
                }
            }
            let questions = self.idp.questions() - asked;
            let is_kept = is_repeated && !matches!(expected, Expected::Fails);
            assert_eq!(questions, usize::from(!asks.is_empty() && !is_kept), "{name}: questions");
            if questions == 1 {
                self.assert_asked(&name, asks);
            }
        }
    }

    /// Nothing but these headers, to the right place, with the right method and no body.
    fn assert_asked(&self, name: &str, asks: &[(&'static str, &'static str)]) {
        let asked = self.idp.last_question();
        assert_eq!(asked.line(), format!("GET {}", self.path), "{name}");
        assert_eq!(asked.body, "", "{name}");
        let mut expected: Vec<_> =
            asks.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // By whom, which is the filter and its host.
        let by = [("host", self.host), ("user-agent", concat!("edge-authn/", env!("CARGO_PKG_VERSION")))];
        for (name, value) in by.into_iter().chain(Proxy::ADDED_TO_CALLS) {
            expected.push((name.to_owned(), value.to_owned()));
        }
        expected.sort();
        assert_eq!(asked.headers(), expected, "{name}");
    }

    /// The request between what a browser sends along, and with every header that it may not say anything by.
    fn with_forged(&self, sent: &Request) -> Request {
        let mut request = sent.clone();
        let is_cookie = |(name, _): &(String, Vec<u8>)| name == "cookie";
        let cookies: Vec<_> = request.headers.extract_if(.., |field| is_cookie(field)).collect();
        let mut line = "analytics=1".to_owned();
        for (_, cookie) in cookies {
            line = format!("{line}; {}", String::from_utf8(cookie).unwrap());
        }
        request = request.header("cookie", format!("{line}; theme=dark"));
        for name in self.forged {
            request = request.header(name, "forged");
        }
        for (name, value) in [
            ("x-forwarded-host", "forged.example"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-for", "192.0.2.66"),
            ("x-forwarded-uri", "/forged"),
            ("x-forwarded-method", "DELETE"),
            ("x-original-host", "forged.example"),
            ("x-original-proto", "http"),
            ("x-original-url", "/forged"),
            ("forwarded", "host=forged.example;proto=http"),
            ("user-agent", "browser"),
            ("accept-language", "en"),
        ] {
            request = request.header(name, value);
        }
        request
    }
}

/// The identity headers of a request, names folded and in order.
pub fn identity(received: &ReceivedRequest) -> Vec<(String, String)> {
    let fields = received.headers.iter();
    let fields =
        fields.map(|(name, value)| (name.replace('_', "-"), String::from_utf8_lossy(value).into_owned()));
    let mut fields: Vec<_> =
        fields.filter(|(name, _)| IDENTITY.iter().any(|start| name.starts_with(start))).collect();
    fields.sort();
    fields
}

fn assert_seen(name: &str, received: &ReceivedRequest, headers: &[(&str, &str)]) {
    let expected: Vec<_> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(identity(received), expected, "{name}: {received:?}");
    assert!(received.header("authorization").is_empty(), "{name}: {received:?}");
    assert_eq!(received.header("cookie"), [b"analytics=1; theme=dark"], "{name}");
    assert!(received.header("set-cookie").is_empty(), "{name}");
}

/// A refusal is not to be kept by anybody. `vary` would add nothing to it: it tells caches which requests a stored
/// response is for (RFC 9111 section 4.1), and with `no-store` there is none (section 5.2.2.5).
pub fn assert_refused(name: &str, reply: &Reply, Refusal(status, challenge, body): &Refusal) {
    assert_eq!(reply.status, *status, "{name}: {reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{name}: {reply:?}");
    assert_eq!(reply.header("vary"), None, "{name}: {reply:?}");
    assert_eq!(reply.header("www-authenticate"), *challenge, "{name}: {reply:?}");
    assert_eq!(reply.text(), *body, "{name}");
    assert_eq!(reply.header("retry-after"), (*status == 503).then_some("1"), "{name}: {reply:?}");
    let is_told = |name: &str| name == "set-cookie" || IDENTITY.iter().any(|start| name.starts_with(start));
    assert!(!reply.headers.iter().any(|(name, _)| is_told(name)), "{name}: {reply:?}");
}

/// Compact JWS with these claims, whose signature only its issuer would look at.
pub fn unsigned(claims: &Value) -> String {
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let header = json!({ "alg": "ES256", "kid": "k" });
    [encode(header.to_string()), encode(claims.to_string()), encode("signature".to_owned())].join(".")
}
