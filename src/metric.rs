//! What is counted, and under which names.
//!
//! Takes what has happened, gives the name of its counter. Only refusals, calls and failures of the host are counted: a request that is let
//! through costs no host call for it. Names have no byte of a request in them, so their number is that of the reasons
//! and providers there are.

/// Something that is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Metric<'a> {
    /// A request was refused, with this label of its rejection.
    Refused(&'static str),
    /// New keys of this provider came.
    KeysFetched(&'a str),
    /// They did not.
    KeysFailed(&'a str),
    /// This provider said nothing about a session that could be used.
    CheckFailed(&'a str),
    /// This provider did not take what the gateway itself has sent, its secret or a path: a mistake in a configuration.
    CheckRejected(&'a str),
    /// The host had no answer to a signature of this algorithm, and the filter has verified it.
    HostCryptoFailed(&'static str),
}

impl Metric<'_> {
    /// The names of all, with what differs in angle brackets.
    pub const NAMES: [&'static str; 6] = [
        "refused.<reason>",
        "jwks_fetch_success.<provider>",
        "jwks_fetch_failed.<provider>",
        "session_check_failed.<provider>",
        "session_check_rejected.<provider>",
        "host_crypto_failed.<algorithm>",
    ];

    /// Its name behind `edge_authn.` and the prefix, if there is one.
    pub fn name(&self, prefix: &str) -> String {
        let [refused, fetched, failed, check_failed, check_rejected, host_crypto] = Self::NAMES;
        let (pattern, what) = match self {
            Self::Refused(label) => (refused, *label),
            Self::KeysFetched(provider) => (fetched, *provider),
            Self::KeysFailed(provider) => (failed, *provider),
            Self::CheckFailed(provider) => (check_failed, *provider),
            Self::CheckRejected(provider) => (check_rejected, *provider),
            Self::HostCryptoFailed(algorithm) => (host_crypto, *algorithm),
        };
        let start = pattern.split('<').next().unwrap_or_default();
        let prefix = plain(prefix);
        let dot = if prefix.is_empty() { "" } else { "." };
        format!("edge_authn.{prefix}{dot}{start}{}", plain(what))
    }
}

/// A text as a part of a name: what could be taken for a separator by a metrics system is `_`.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_prefix_where_there_is_one_and_nothing_that_separates() {
        assert_eq!(Metric::Refused("expired").name(""), "edge_authn.refused.expired");
        assert_eq!(Metric::KeysFetched("a").name("front"), "edge_authn.front.jwks_fetch_success.a");
        assert_eq!(Metric::KeysFailed("my idp.v2").name("x."), "edge_authn.x_.jwks_fetch_failed.my_idp_v2");
        assert_eq!(Metric::CheckFailed("a").name(""), "edge_authn.session_check_failed.a");
        assert_eq!(Metric::CheckRejected("é").name(""), "edge_authn.session_check_rejected._");
        assert_eq!(Metric::HostCryptoFailed("RS256").name(""), "edge_authn.host_crypto_failed.RS256");
    }
}
