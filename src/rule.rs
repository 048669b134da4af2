//! Request -> requirement.
//!
//! Takes the request head, gives what must be proven before it may pass: what its route says, else the first rule that
//! matches, else the rule for its filter state. A path that different backends read differently is held against the
//! rules once for each reading: a reading never relaxes what another one demands.

use crate::config::{Config, NoRule, PathSpecifier, Requirement, Rule};
use crate::matcher::Scrutiny;
use crate::path::RequestPath;
use crate::rejection::Rejection;
use crate::request::{RequestHead, RoutePolicy};

/// What is asked of this request.
///
/// # Errors
///
/// [`Rejection::UnknownRequirementName`] when its route names a requirement that there is not, [`Rejection::NoRule`] when
/// nothing matches and the configuration denies that, [`Rejection::AmbiguousPath`] when the path can be read in ways for
/// which no single rule speaks.
pub fn select<'c>(config: &'c Config, head: &RequestHead) -> Result<&'c Requirement, Rejection> {
    if config.bypass_cors_preflight && head.is_cors_preflight() {
        return Ok(&Requirement::None);
    }
    match &head.attributes().route {
        RoutePolicy::Rules => by_rules(config, head),
        RoutePolicy::Disabled => Ok(&Requirement::None),
        RoutePolicy::Requirement(name) => {
            config.requirement_map.get(name).ok_or_else(|| Rejection::UnknownRequirementName {
                name: name.clone(),
                known: config.requirement_map.names().map(str::to_owned).collect(),
            })
        }
    }
}

fn by_rules<'c>(config: &'c Config, head: &RequestHead) -> Result<&'c Requirement, Rejection> {
    // A tunnel has no path to be read in one way or another. A rule for paths is not for it, as in Envoy, but does not
    // let it pass either, as it does there.
    if head.target().is_empty() {
        let mut tunnels = config.rules.iter().filter(|rule| rule.matcher.path == PathSpecifier::Connect);
        if let Some(rule) = tunnels.find(|rule| rule.matcher.matches_apart_from_path(head, rule.scrutiny())) {
            return Ok(&rule.requirement);
        }
    }
    match RequestPath::of(head.target()) {
        RequestPath::Plain { sent, decoded } => {
            match config.rules.iter().find(|rule| rule.is_for(head, &sent, &decoded)) {
                Some(rule) => Ok(&rule.requirement),
                None => when_no_rule_matches(config, head),
            }
        }
        RequestPath::Ambiguous { sent, readings } => agreed(
            config,
            head,
            readings
                .iter()
                .filter_map(|reading| guarding(config).find(|rule| rule.is_for(head, &sent, reading))),
        ),
        RequestPath::Unreadable => agreed(
            config,
            head,
            guarding(config).filter(|rule| rule.matcher.matches_apart_from_path(head, rule.scrutiny())),
        ),
    }
}

/// The rules that count for a path that is not plain: those that demand a verified token or, where there is none of
/// them to walk around, those that look at a token at all.
fn guarding(config: &Config) -> impl Iterator<Item = &Rule> {
    let any_is_strict = strict(config).next().is_some();
    config.rules.iter().filter(move |rule| match any_is_strict {
        true => !rule.relaxes_authentication(),
        false => rule.requirement != Requirement::None,
    })
}

/// The rules that demand a verified token.
fn strict(config: &Config) -> impl Iterator<Item = &Rule> {
    config.rules.iter().filter(|rule| !rule.relaxes_authentication())
}

/// What all of `rules` demand, if they demand the same.
fn agreed<'c>(
    config: &'c Config,
    head: &RequestHead,
    rules: impl Iterator<Item = &'c Rule>,
) -> Result<&'c Requirement, Rejection> {
    let mut requirements = rules.map(|rule| &rule.requirement);
    match requirements.next() {
        Some(first) if requirements.all(|other| other == first) => Ok(first),
        Some(_) => Err(Rejection::AmbiguousPath),
        // With no strict rule in the whole configuration there is nothing to walk around.
        None if strict(config).next().is_none() => when_no_rule_matches(config, head),
        None => Err(Rejection::AmbiguousPath),
    }
}

fn when_no_rule_matches<'c>(config: &'c Config, head: &RequestHead) -> Result<&'c Requirement, Rejection> {
    let by_filter_state = config.filter_state_rules.as_ref().and_then(|rules| {
        let value = std::str::from_utf8(head.attributes().filter_state.as_deref()?).ok()?;
        rules.requires.get(value)
    });
    match (by_filter_state, config.when_no_rule_matches) {
        (Some(requirement), _) => Ok(requirement),
        (None, NoRule::Allow) => Ok(&Requirement::None),
        (None, NoRule::Deny) => Err(Rejection::NoRule),
    }
}

impl Rule {
    fn is_for(&self, head: &RequestHead, sent: &str, decoded: &str) -> bool {
        self.matcher.matches(head, sent, decoded, self.scrutiny())
    }

    fn scrutiny(&self) -> Scrutiny {
        if self.relaxes_authentication() { Scrutiny::Every } else { Scrutiny::Any }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ProviderId;

    fn config(rules: &str) -> Config {
        let keys = r#"{"remote_jwks":{"http_uri":{"uri":"https://a/","cluster":"a"}}}"#;
        let text = format!(r#"{{"providers":{{"a":{keys},"b":{keys}}},"rules":[{rules}]}}"#);
        Config::parse(text.as_bytes(), &|_| None).unwrap()
    }

    fn select<'c>(config: &'c Config, target: &[u8]) -> Result<&'c Requirement, Rejection> {
        super::select(config, &RequestHead::new(vec![(b":path".to_vec(), target.to_vec())]))
    }

    fn provider(index: usize) -> Requirement {
        Requirement::Provider { id: ProviderId(index), audiences: None }
    }

    const PUBLIC: &str = r#"{"match":{"prefix":"/public/"}}"#;
    const A: &str = r#"{"match":{"prefix":"/"},"requires":{"provider_name":"a"}}"#;
    const ADMIN_B: &str = r#"{"match":{"prefix":"/admin"},"requires":{"provider_name":"b"}}"#;

    #[test]
    fn the_first_matching_rule_counts_and_the_query_does_not() {
        let config = config(&[PUBLIC, ADMIN_B, A].join(","));
        assert_eq!(select(&config, b"/public/x?y=/admin"), Ok(&Requirement::None));
        assert_eq!(select(&config, b"/admin/x"), Ok(&provider(1)));
        assert_eq!(select(&config, b"/x?z=/public/"), Ok(&provider(0)));
    }

    #[test]
    fn h2_no_spelling_of_a_protected_path_reaches_an_open_rule() {
        let config = config(&[PUBLIC, A].join(","));
        for path in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/..%2fadmin",
            "/public/%252e%252e/admin",
            "/public/..;/admin",
            "/public\\..\\admin",
            "/public/..%5cadmin",
            "//public/x",
            "/public//x",
            "/public/;x",
            "/public/%00",
            "/public/%zz",
            "/public/\u{e9}",
            "*",
            "",
        ] {
            let selected = select(&config, path.as_bytes());
            assert_eq!(selected, Ok(&provider(0)), "{path}");
        }
    }

    #[test]
    fn no_encoding_of_a_character_misses_a_rule() {
        let requires = r#""requires":{"provider_name":"a"}"#;
        let rules: Vec<_> = ["/@admin", "/books:delete", "/caf%C3%A9", "/a%20b"]
            .iter()
            .map(|path| format!(r#"{{"match":{{"prefix":"{path}"}},{requires}}}"#))
            .collect();
        let config = config(&format!("{},{}", rules.join(","), r#"{"match":{"prefix":"/"}}"#));
        for path in [
            "/@admin",
            "/%40admin",
            "/books:delete",
            "/books%3Adelete",
            "/books%3adelete",
            "/caf%C3%A9",
            "/caf%c3%a9",
            "/a%20b",
        ] {
            assert_eq!(select(&config, path.as_bytes()), Ok(&provider(0)), "{path}");
        }
    }

    #[test]
    fn a_path_that_falls_under_two_strict_rules_is_refused() {
        let config = config(&[ADMIN_B, A].join(","));
        for path in [
            "/x/..%2fadmin",
            "/x/../admin",
            "//admin",
            "/x/..;/admin",
            "/x/..%252fadmin",
            "/x/..%2fadmin%zz",
            "/x/..%2fadmin/%",
            "/x%23/..%2fadmin",
            "/x#/../admin",
            "/x/%c0%ae%c0%ae/admin",
            "/x/%u002e%u002e/admin",
            "/x/%2525252525252e%2e/admin",
            "//host/admin",
            "/x/../admin/..;/y",
            "/x/../admin//../y",
            "/x/..;/admin/..;a/../../y",
            "/x/..%2fadmin%3f/../y",
            "/x/%252e%252e/admin/%25252e%25252e/y",
        ] {
            assert_eq!(select(&config, path.as_bytes()), Err(Rejection::AmbiguousPath), "{path}");
        }
        for path in ["/admin//x", "/admin/./x", "/admin;v=1", "/admin%20x", "/%61dmin"] {
            assert_eq!(select(&config, path.as_bytes()), Ok(&provider(1)), "{path}");
        }
        for path in ["/100%25", "/50%25%20off", "/a//b", "/a;v=1", "/caf%C3%A9"] {
            assert_eq!(select(&config, path.as_bytes()), Ok(&provider(0)), "{path}");
        }
    }

    #[test]
    fn an_open_rule_is_matched_in_its_own_spelling_alone() {
        let open = r#"{"match":{"prefix":"/@pub/"}}"#;
        let config = config(&[open, PUBLIC, A].join(","));
        for path in ["/@pub/x", "/@pub/a%40b", "/public/%7Ealice/a%2Ejs", "/public/100%25", "/public/a%20b"] {
            assert_eq!(select(&config, path.as_bytes()), Ok(&Requirement::None), "{path}");
        }
        for path in ["/%40pub/x", "/%70ublic/x", "/public%2fx"] {
            assert_eq!(select(&config, path.as_bytes()), Ok(&provider(0)), "{path}");
        }
    }

    #[test]
    fn an_ambiguous_path_outside_every_strict_rule_is_refused_too() {
        let config = config(&[PUBLIC, ADMIN_B].join(","));
        assert_eq!(select(&config, b"/public//x"), Err(Rejection::AmbiguousPath));
        assert_eq!(select(&config, b"/public/x"), Ok(&Requirement::None));
        assert_eq!(select(&config, b"/elsewhere"), Ok(&Requirement::None));
    }

    #[test]
    fn no_matching_rule_passes_or_is_denied_as_configured() {
        let mut config = config(ADMIN_B);
        assert_eq!(select(&config, b"/"), Ok(&Requirement::None));
        config.when_no_rule_matches = NoRule::Deny;
        assert_eq!(select(&config, b"/"), Err(Rejection::NoRule));
    }
}
