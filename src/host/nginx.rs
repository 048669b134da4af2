//! Requests in nginx, as its Wasm module (wasm-nginx-module, in Apache APISIX) handles them.
//!
//! Takes the running request, gives its header where all of it can be seen; writes what nginx wants written elsewhere.
//! It lists at most 100 fields, silently, and its worker dies when the fields of a request without `host` are listed
//! (HTTP/1.0 has such requests). So a header is listed only when that is safe, and counts only when it is complete:
//! whoever could hide fields behind the first hundred would get forged ones past the filter. Reading by names in its
//! place would show the first of several lines alone, and no spelling but the one asked for.

use crate::host::calls::{self, MapType};
use crate::host::gateway::host_failure;
use crate::rejection::{Rejection, Reply};
use crate::request::{HeaderFields, split_target};

/// A variable that nginx has for every request, and no other host.
const VERSION: &str = "nginx_version";
/// Its query, which nginx puts behind whatever path it sends.
const QUERY: &str = "args";
/// What APISIX sends in place of the request target, when it is not empty.
const UPSTREAM_TARGET: &str = "upstream_uri";

/// The most fields that are listed, pseudo-headers not counted.
const MOST_FIELDS: usize = 100;

/// Whether the running request is one of nginx.
pub(super) fn is_host() -> bool {
    calls::property(VERSION).is_some()
}

/// The fields of the running request.
pub(super) fn header_fields() -> Result<HeaderFields, Rejection> {
    if calls::header_value(MapType::HttpRequestHeaders, b"host").is_none() {
        return Err(Rejection::UnreadableHeader { reason: "there is no host" });
    }
    let fields = calls::header_pairs(MapType::HttpRequestHeaders).map_err(host_failure)?;
    let is_pseudo = |name: &[u8]| name.starts_with(b":");
    if fields.iter().filter(|(name, _)| !is_pseudo(name)).count() >= MOST_FIELDS {
        return Err(Rejection::UnreadableHeader { reason: "there are more fields than the host shows" });
    }
    Ok(fields)
}

/// The same reply with a body: nginx has a page of its own for an answer without.
pub(super) fn with_body(reply: Reply) -> Reply {
    let mut headers = reply.headers;
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        headers.push(("content-type", "text/plain".to_owned()));
    }
    Reply { headers, body: "\n".into(), ..reply }
}

/// Sends the request on with the target `to`, which differs from its own, `from`, in the query alone. Setting `:path`
/// would make a path of the whole of it, and leave the query that the client has sent behind it. Where something before
/// the filter has rewritten the path, that stays; where it has rewritten the query, what of it may go on cannot be told.
pub(super) fn set_target(from: &[u8], to: &[u8]) -> Result<(), Rejection> {
    let (_, sent) = split_target(from);
    let (_, query) = split_target(to);
    let rewritten = calls::property(UPSTREAM_TARGET).filter(|target| !target.is_empty());
    let target = match rewritten.as_deref().map(split_target) {
        None => to.to_vec(),
        Some((path, None)) => path.to_vec(),
        Some((path, there)) if there == sent => match query {
            Some(query) => [path, b"?", query].concat(),
            None => path.to_vec(),
        },
        Some(_) => {
            let detail = "the query was rewritten before the token in it was taken out".to_owned();
            return Err(Rejection::HostFailure { detail });
        }
    };
    calls::set_property(QUERY, query.unwrap_or_default()).map_err(host_failure)?;
    // Without APISIX there is no such variable, and nginx makes the target of path and query itself.
    let _ = calls::set_property(UPSTREAM_TARGET, &target);
    Ok(())
}
