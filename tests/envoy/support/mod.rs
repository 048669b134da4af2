//! What a case needs around the filter: an Envoy, an upstream, an identity provider, and clients.
//!
//! A case reads as: start the servers, start an Envoy that knows their addresses, send requests, look at the replies, at
//! what the upstream received, at Envoy's stats and log. All of it ends when it is dropped. Nothing here knows what the
//! filter should answer.

mod bootstrap;
mod connection;
mod envoy;
mod http1;
mod http2;
mod jwks_server;
mod load;
mod message;
mod session_server;
mod upstream;
mod wasm;

#[path = "../../../demo/upstream.rs"]
mod echo;
#[path = "../../../demo/http.rs"]
mod http;
#[allow(dead_code, reason = "the demo and the suites each use their part of it")]
#[path = "../../../demo/tokens.rs"]
pub mod tokens;

use std::io::{self, Write as _};
use std::time::Duration;

use tokio::time::{Instant, sleep};

#[allow(unused_imports, reason = "only the gateway in the way of APISIX names it")]
pub use self::connection::Connection;
pub use self::envoy::Envoy;
pub use self::http1::Http1;
pub use self::http2::Http2;
pub use self::jwks_server::{Fetch, JwksReply, JwksServer};
pub use self::load::{
    Answer, Lane, Traffic, alone, load, percentile, send_all, send_and_leave_open, statuses,
};
pub use self::message::{Reply, Request};
pub use self::session_server::{Asked, RAW, SILENCE, SessionReply, SessionServer};
pub use self::upstream::{ReceivedRequest, Upstream};
pub use self::wasm::path as filter_module;
#[allow(unused_imports, reason = "only measurements name them")]
pub use self::{bootstrap::edge_authn as edge_authn_of, envoy::EnvoyBuilder};

/// After this time without an answer a case has failed, so that a hanging filter does not hang the suite.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Shows a figure, also where the case passes: what `print` writes is shown for failing cases alone.
pub fn report(line: &str) {
    // Nobody's failure when nobody reads it.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Waits until something holds, which must be `within` a time, and gives how long it took.
pub async fn eventually(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}
