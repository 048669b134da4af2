//! The demo application behind the gateway: a page for people, and what a backend sees for its script.
//!
//! Takes requests that the gateway let through, gives a page, who the identity headers say it is, the end of a handshake,
//! or the echo of the upstream. Deliberately without any code that verifies something: the identity is in the headers.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, LOCATION,
    REFERRER_POLICY, SET_COOKIE,
};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::http::{self, Answer};
use crate::idp::{NONCE, SECRET_HEADER, SECRET_KEY, web};
use crate::upstream::{self, printable};

const PAGE: &str = include_str!("page.html");

/// Below this path browsers sign in by handshakes.
const HANDSHAKES: &str = "/oneauxilia/";
/// The cookies that a handshake may set, whatever the provider says.
const HANDSHAKE_COOKIES: [&str; 2] = ["__session", "__client_uat"];

/// Where the page is: without an identity, and with one of each provider.
const PAGES: [&str; 4] = ["/", HANDSHAKES, "/authgear/", "/stack/"];

/// The headers that the gateway writes, and which it lets nobody else write.
const IDENTITY_HEADERS: [&str; 3] = ["x-auth-", "x-authgear-", "x-user-"];
/// Those that say who it is.
const USER_HEADERS: [&str; 3] = ["x-auth-user-id", "x-authgear-user-id", "x-user-id"];
const NAME_HEADER: &str = "x-auth-name";

/// The application, with what it must know of its surroundings.
pub struct App {
    identity_provider: SocketAddr,
    /// The origins at which it can be reached. The first is where it belongs if somebody has come another way.
    gateways: Vec<String>,
    page: String,
    policy: String,
}

impl App {
    /// An application at the origins `gateways` whose users sign in at the identity provider.
    pub fn new(gateways: &[String], identity_provider: SocketAddr) -> Self {
        let provider = format!("http://{identity_provider}");
        let page = PAGE.replace("{{identity_provider}}", &provider);
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self' {provider}; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash_of(&page, "script"),
            hash_of(&page, "style"),
        );
        Self { identity_provider, gateways: gateways.to_vec(), page, policy }
    }

    /// Answers one HTTP request.
    pub async fn answer(self: Arc<Self>, request: Request<Bytes>) -> Answer {
        let path = request.uri().path();
        let nonce = web::field(web::query(&request), NONCE);
        // First of all: the gateway lets these through without an identity.
        if let Some(nonce) = nonce.filter(|_| path.starts_with(HANDSHAKES)) {
            return self.end_handshake(&nonce, &request).await;
        }
        let wants_page = request.method() == Method::GET
            && PAGES.contains(&path)
            && (path == "/"
                || web::header(&request, ACCEPT).is_some_and(|accept| accept.contains("text/html")));
        if wants_page {
            self.page(&request)
        } else if path.ends_with("/whoami") {
            web::reply(StatusCode::OK, &who_am_i(&request))
        } else {
            upstream::echo(&request)
        }
    }

    /// The page for the origin that the browser is at. A header that a client makes up only chooses among them.
    fn page(&self, request: &Request<Bytes>) -> Answer {
        let host = web::header(request, HOST).unwrap_or_default();
        let is_here = |origin: &&String| origin.strip_prefix("http://") == Some(host);
        let gateway = self.gateways.iter().find(is_here).or(self.gateways.first());
        let page = self.page.replace("{{gateway}}", gateway.map_or("", String::as_str));
        Response::builder()
            .header(CONTENT_TYPE, "text/html; charset=utf-8")
            .header(CONTENT_SECURITY_POLICY, &self.policy)
            .header(REFERRER_POLICY, "no-referrer")
            .header("x-content-type-options", "nosniff")
            .header(CACHE_CONTROL, "no-store")
            .body(Full::from(page))
            .expect("the headers are valid")
    }

    /// Asks the provider what the browser shall get for its nonce, and sends it to where it wanted to go.
    async fn end_handshake(&self, nonce: &str, request: &Request<Bytes>) -> Answer {
        let failure = |message| web::text(StatusCode::BAD_REQUEST, message);
        let is_nonce = !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if request.method() != Method::GET || !is_nonce {
            return failure("This is no handshake.\n");
        }
        let path = format!("/oneauxilia/v1/clients/handshake_payload?nonce={nonce}");
        let reply = http::get(self.identity_provider, &path, &[(SECRET_HEADER, SECRET_KEY)]).await;
        let payload = match reply {
            Ok(reply) if reply.status() == StatusCode::OK => {
                serde_json::from_slice::<Value>(reply.body()).unwrap_or_default()
            }
            Ok(_) => return failure("The handshake is over. Sign in again.\n"),
            Err(_) => return web::text(StatusCode::BAD_GATEWAY, "The identity provider does not answer.\n"),
        };
        let directives = payload["directives"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let allowed = directives.filter(|directive| {
            let name = directive.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| HANDSHAKE_COOKIES.contains(&name))
        });
        let answer = web::text(StatusCode::TEMPORARY_REDIRECT, "");
        let answer = web::with(answer, LOCATION, &without_nonce(request));
        allowed.fold(answer, |answer, directive| web::with(answer, SET_COOKIE, directive))
    }
}

/// The path and the query that the browser wanted. It starts with [`HANDSHAKES`], so it is on this site.
fn without_nonce(request: &Request<Bytes>) -> String {
    let path = request.uri().path();
    let rest: Vec<&str> = web::query(request)
        .split('&')
        .filter(|pair| {
            !pair.is_empty() && web::percent_decoded(pair.split('=').next().unwrap_or_default()) != NONCE
        })
        .collect();
    if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) }
}

/// What a backend without any code for authentication knows of the user: the identity headers, in any spelling.
fn who_am_i(request: &Request<Bytes>) -> Value {
    let folded = |name: &HeaderName| name.as_str().replace('_', "-");
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .filter(|(name, _)| IDENTITY_HEADERS.iter().any(|prefix| folded(name).starts_with(prefix)))
        .map(|(name, value)| (name.to_string(), printable(value.as_bytes())))
        .collect();
    let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let user = USER_HEADERS.into_iter().find_map(|name| Some((name, value(name)?)));
    json!({
        "user": user.map(|(_, value)| value),
        "name": value(NAME_HEADER),
        "user_header": user.map(|(name, _)| name),
        "headers": headers,
    })
}

/// What a content security policy calls the text of the one element of this kind.
fn hash_of(page: &str, element: &str) -> String {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    let text = page.split_once(&start).and_then(|(_, rest)| rest.split_once(&end)).map(|(text, _)| text);
    let text = text.expect("the page has this element, without attributes");
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::idp::web::testing::{header, read, request, set_cookies};

    /// An application whose provider answers everything with these directives.
    async fn app(directives: Value) -> Arc<App> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, move |request| {
            let is_right = web::header(request, SECRET_HEADER) == Some(SECRET_KEY)
                && web::field(web::query(request), "nonce").as_deref() == Some("n1");
            let status = if is_right { StatusCode::OK } else { StatusCode::NOT_FOUND };
            web::reply(status, &json!({ "directives": directives }))
        }));
        let gateways = ["http://127.0.0.1:10000", "http://127.0.0.1:9080"].map(str::to_owned);
        Arc::new(App::new(&gateways, address))
    }

    async fn get(app: &Arc<App>, path: &str, headers: &[(&str, &str)]) -> Answer {
        Arc::clone(app).answer(request("GET", path, headers, "")).await
    }

    #[tokio::test]
    async fn a_handshake_ends_with_its_cookies_at_the_url_without_the_nonce() {
        let app =
            app(json!(["__session=t; Path=/", "evil=1", "__session_x=1", "__client_uat=7; Path=/"])).await;
        for (path, clean) in [
            ("/oneauxilia/?__clerk_handshake_nonce=n1", "/oneauxilia/"),
            ("/oneauxilia/a?b=%2F&__clerk_handshake_nonce=n1&c", "/oneauxilia/a?b=%2F&c"),
            ("/oneauxilia/?%5f_clerk_handshake_nonce=n1", "/oneauxilia/"),
        ] {
            let answer = get(&app, path, &[]).await;
            assert_eq!((answer.status().as_u16(), header(&answer, "location")), (307, Some(clean)));
            assert_eq!(set_cookies(&answer), ["__session=t; Path=/", "__client_uat=7; Path=/"]);
            assert_eq!(header(&answer, "cache-control"), Some("no-store"));
        }
    }

    #[tokio::test]
    async fn a_request_with_a_nonce_is_never_anything_but_a_handshake() {
        let app = app(json!(["__session=t"])).await;
        let forged = [("x-auth-user-id", "root")];
        for nonce in ["n2", "", "n1%26x=1", "n1/../..", "%00"] {
            let path = format!("/oneauxilia/whoami?__clerk_handshake_nonce={nonce}");
            let answer = get(&app, &path, &forged).await;
            assert_eq!((answer.status().as_u16(), set_cookies(&answer).len()), (400, 0), "{nonce}");
        }
        let post = request("POST", "/oneauxilia/x?__clerk_handshake_nonce=n1", &[], "");
        assert_eq!(Arc::clone(&app).answer(post).await.status(), 400);
        // Elsewhere the gateway asks for an identity, and the parameter means nothing.
        let answer = read(get(&app, "/stack/whoami?__clerk_handshake_nonce=n1", &forged).await).await;
        assert_eq!((answer.0, &answer.1["user"]), (200, &json!("root")));
    }

    #[tokio::test]
    async fn a_backend_knows_what_the_identity_headers_say() {
        let app = app(json!([])).await;
        let headers = [
            ("x-auth-user-id", "u1"),
            ("x-auth-name", "Al<b>"),
            ("cookie", "session=secret"),
            ("x_authgear_user_id", "root"),
        ];
        let (_, seen) = read(get(&app, "/stack/whoami", &headers).await).await;
        assert_eq!(
            seen,
            json!({ "user": "u1", "name": "Al<b>", "user_header": "x-auth-user-id", "headers": [
                ["x-auth-user-id", "u1"], ["x-auth-name", "Al<b>"], ["x_authgear_user_id", "root"],
            ] })
        );
        let (_, nobody) = read(get(&app, "/whoami", &[]).await).await;
        assert_eq!(nobody["user"], Value::Null);
    }

    #[tokio::test]
    async fn the_page_belongs_to_the_gateway_that_it_came_through() {
        let app = app(json!([])).await;
        for (host, gateway) in [
            ("127.0.0.1:10000", "http://127.0.0.1:10000"),
            ("127.0.0.1:9080", "http://127.0.0.1:9080"),
            ("evil.example\"><script>", "http://127.0.0.1:10000"),
        ] {
            let page =
                get(&app, "/", &[("host", host)]).await.into_body().collect().await.unwrap().to_bytes();
            let page = String::from_utf8(page.to_vec()).unwrap();
            assert!(page.contains(&format!("<meta name=\"gateway\" content=\"{gateway}\">")), "{host}");
            assert!(!page.contains("evil"), "{host}");
        }
    }

    #[tokio::test]
    async fn the_page_lets_no_script_run_but_its_own() {
        let app = app(json!([])).await;
        let answer = get(&app, "/", &[]).await;
        let policy = header(&answer, "content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(app.page.matches("<script").count(), 1);
        assert!(!app.page.contains("innerHTML") && !app.page.replace("{{gateway}}", "").contains("{{"));
        let echo = get(&app, "/authgear/", &[("accept", "application/json")]).await;
        assert_eq!(header(&echo, "content-type"), Some("application/json"));
    }
}
