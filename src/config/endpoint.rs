//! Absolute URIs, split into what a request needs.
//!
//! Takes the text of an `http` or `https` URI, gives an [`Endpoint`]. Also used for the URIs that an identity provider's
//! metadata names, so nothing here may be lenient. Deliberately knows no relative references and no user information.

use std::borrow::Cow;

use super::{CallBy, Endpoint};

impl Endpoint {
    /// What `uri` names, reached through `cluster`. `None` when it is no absolute URI of `http` or `https`, or has user
    /// information or a byte that is not graphic ASCII.
    pub fn parse(uri: &str, cluster: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => "http",
            "https" => "https",
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end)?;
        let path = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let is_valid = !authority.is_empty()
            && !authority.contains(['@', '\\'])
            && authority.bytes().chain(path.bytes()).all(|byte| byte.is_ascii_graphic());
        let authority = authority.to_owned();
        is_valid.then(|| Self { scheme, authority, path, cluster: cluster.to_owned() })
    }

    /// The same server's document at another path.
    #[must_use]
    pub fn with_path(&self, path: String) -> Self {
        Self { path, ..self.clone() }
    }

    /// Host and port of the server, the port also where the URI leaves it to the scheme.
    pub fn address(&self) -> Cow<'_, str> {
        // Behind the bracket of an IPv6 address there is a port or nothing.
        let rest = self.authority.rsplit_once(']').map_or(self.authority.as_str(), |(_, rest)| rest);
        let port = if self.scheme == "https" { 443 } else { 80 };
        match rest.contains(':') {
            true => Cow::Borrowed(&self.authority),
            false => Cow::Owned(format!("{}:{port}", self.authority)),
        }
    }

    /// What a host finds the server by.
    pub fn upstream(&self, call_by: CallBy) -> Cow<'_, str> {
        match call_by {
            CallBy::Cluster => Cow::Borrowed(&self.cluster),
            CallBy::Address => self.address(),
        }
    }

    /// Whether `authority` is that of this URI: without case, and with the scheme's own port left out or not.
    pub fn is_on(&self, authority: &str) -> bool {
        let port = if self.scheme == "https" { ":443" } else { ":80" };
        let without_port = |authority: &str| {
            let authority = authority.to_ascii_lowercase();
            authority.strip_suffix(port).map_or(authority.clone(), str::to_owned)
        };
        without_port(&self.authority) == without_port(authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_split_into_what_a_request_needs() {
        let split = |uri| {
            Endpoint::parse(uri, "c").map(|Endpoint { scheme, authority, path, cluster }| {
                assert_eq!(cluster, "c");
                format!("{scheme}|{authority}|{path}")
            })
        };
        assert_eq!(split("https://a.example/jwks.json").as_deref(), Some("https|a.example|/jwks.json"));
        assert_eq!(split("HTTP://127.0.0.1:8080").as_deref(), Some("http|127.0.0.1:8080|/"));
        assert_eq!(split("https://a?x=/y").as_deref(), Some("https|a|/?x=/y"));
        assert_eq!(split("https://a/b#c").as_deref(), Some("https|a|/b"));
        for bad in [
            "",
            "a.example/jwks",
            "ftp://a/b",
            "https://",
            "https:///x",
            "https://u:p@a/",
            "https://a\\b/",
            "https://a b/",
            "https://a/\u{e9}",
        ] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_without_clusters_finds_a_server_by_host_and_port() {
        let address = |uri| {
            let endpoint = Endpoint::parse(uri, "c").unwrap();
            assert_eq!(endpoint.upstream(CallBy::Cluster), "c");
            endpoint.upstream(CallBy::Address).into_owned()
        };
        assert_eq!(address("https://id.example/keys"), "id.example:443");
        assert_eq!(address("http://id.example/keys"), "id.example:80");
        assert_eq!(address("https://id.example:8443/"), "id.example:8443");
        assert_eq!(address("https://[2001:db8::1]/"), "[2001:db8::1]:443");
        assert_eq!(address("http://[2001:db8::1]:8080/"), "[2001:db8::1]:8080");
    }

    #[test]
    fn a_server_is_known_by_its_authority_and_nothing_like_it() {
        let endpoint = |uri| Endpoint::parse(uri, "c").unwrap();
        assert!(endpoint("https://A.example/x").is_on("a.example"));
        assert!(endpoint("https://a.example:443/").is_on("a.example"));
        assert!(endpoint("http://a.example/").is_on("a.example:80"));
        for other in ["a.example.evil", "evil", "a.example:80", "a.example:8443", ""] {
            assert!(!endpoint("https://a.example/").is_on(other), "{other}");
        }
    }
}
