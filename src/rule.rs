//! Request -> requirement.
//!
//! Takes the request head, gives what must be proven before it may pass: what its route says, else the first rule that
//! matches, else the rule for its filter state. A path that different backends read differently is held against the
//! rules once for each reading: a reading never relaxes what another one demands.

use crate::config::{Config, NoRule, PathSpecifier, Requirement, Rule};
use crate::matcher::{Form, Scrutiny};
use crate::path::RequestPath;
use crate::rejection::Rejection;
use crate::request::{RequestHead, RoutePolicy};

/// What is asked of this request.
///
/// # Errors
///
/// [`Rejection::UnknownRequirementName`] when its route names a requirement that there is not, [`Rejection::NoRule`] when
/// nothing matches and the configuration denies that, [`Rejection::AmbiguousRequest`] when the path can be read in ways for
/// which no single rule speaks.
pub fn select<'c>(config: &'c Config, head: &RequestHead) -> Result<&'c Requirement, Rejection> {
    if config.bypass_cors_preflight && head.is_cors_preflight() {
        return Ok(&Requirement::None);
    }
    let by_route = match &head.attributes().route {
        RoutePolicy::Rules => return by_rules(config, head),
        RoutePolicy::Disabled => &Requirement::None,
        RoutePolicy::Requirement(name) => {
            config.requirement_map.get(name).ok_or_else(|| Rejection::UnknownRequirementName {
                name: name.clone(),
                known: config.requirement_map.names().map(str::to_owned).collect(),
            })?
        }
    };
    if by_route.needs_token() || matches!(RequestPath::of(head.target()), RequestPath::Plain { .. }) {
        return Ok(by_route);
    }
    // The route was chosen by one reading of the path: it relaxes nothing that the rules ask of another.
    let by_rules = by_rules(config, head)?;
    Ok(if rank(by_rules) > rank(by_route) { by_rules } else { by_route })
}

fn by_rules<'c>(config: &'c Config, head: &RequestHead) -> Result<&'c Requirement, Rejection> {
    let has_strict_rule = config.rules.iter().any(|rule| !rule.relaxes_authentication());
    let mut outcomes = Outcomes::default();
    // A tunnel has no path to be read in one way or another. A rule for paths is not for it, as in Envoy, but does not
    // let it pass either, as it does there.
    if head.target().is_empty() {
        let is_tunnel = |rule: &Rule, _| rule.matcher.path == PathSpecifier::Connect;
        if outcomes.add(head, config.rules.iter(), is_tunnel, |_| true) {
            return outcomes.agreed(false);
        }
        outcomes.add_unreadable(config, head, has_strict_rule);
        return outcomes.agreed(has_strict_rule);
    }
    match RequestPath::of(head.target()) {
        RequestPath::Plain { sent, normal, decoded } => {
            let forms = [Form::Encoded(&sent), Form::Decoded(&decoded), Form::Encoded(&normal)];
            // The proxy routes by the path as it was sent: what it takes for another path is not open. What a
            // normalising proxy would take it for counts for those rules alone that demand a token.
            let [sent, decoded, _] = forms;
            let is_for = |rule: &Rule, scrutiny| match scrutiny {
                Scrutiny::Any => rule.matcher.is_for_path(&forms, scrutiny),
                Scrutiny::Every => rule.matcher.is_for_path(&[sent, decoded], scrutiny),
            };
            // Who reads it as it was sent goes on to the next rule.
            let is_as_sent = |rule: &Rule| rule.matcher.is_for_path(&[sent], Scrutiny::Every);
            if !outcomes.add(head, config.rules.iter(), is_for, is_as_sent) {
                outcomes.add_fallback(config, head);
            }
            outcomes.agreed(false)
        }
        RequestPath::Ambiguous { encoded, decoded } => {
            let encoded = encoded.iter().map(|path| Form::Encoded(path));
            for reading in encoded.chain(decoded.iter().map(|path| Form::Decoded(path))) {
                let is_for = |rule: &Rule, scrutiny| rule.matcher.is_for_path(&[reading], scrutiny);
                let rules = config.rules.iter().filter(|rule| counts_in_doubt(rule, has_strict_rule));
                if !outcomes.add(head, rules, is_for, |_| true) {
                    outcomes.add_fallback(config, head);
                }
            }
            outcomes.agreed(has_strict_rule)
        }
        RequestPath::Unreadable => {
            outcomes.add_unreadable(config, head, has_strict_rule);
            outcomes.agreed(has_strict_rule)
        }
    }
}

/// Whether a rule counts for a path that is not plain: only those that demand a verified token do or, where there is
/// none of them to walk around, those that look at a token at all; and those behind which there is nothing more.
fn counts_in_doubt(rule: &Rule, has_strict_rule: bool) -> bool {
    let is_guarding =
        if has_strict_rule { !rule.relaxes_authentication() } else { rule.requirement != Requirement::None };
    is_guarding || rule.matcher.catches_all()
}

/// What each way to read a request asks for.
#[derive(Debug, Default)]
struct Outcomes<'c>(Vec<Result<&'c Requirement, Rejection>>);

impl<'c> Outcomes<'c> {
    /// Adds what the first matching rule asks for, and what later ones ask for as long as it is in doubt whether an
    /// earlier one matches: by its conditions, or because it is not for the path as it was sent (`is_as_sent`). Whether
    /// it was without doubt in the end.
    fn add(
        &mut self,
        head: &RequestHead,
        rules: impl Iterator<Item = &'c Rule>,
        is_for_path: impl Fn(&Rule, Scrutiny) -> bool,
        is_as_sent: impl Fn(&Rule) -> bool,
    ) -> bool {
        for rule in rules {
            let scrutiny = rule.scrutiny();
            if is_for_path(rule, scrutiny) && rule.matcher.conditions_hold(head, scrutiny) {
                self.0.push(Ok(&rule.requirement));
                if is_as_sent(rule) && rule.matcher.conditions_hold(head, Scrutiny::Every) {
                    return true;
                }
            }
        }
        false
    }

    /// Adds what any path may be asked for.
    fn add_unreadable(&mut self, config: &'c Config, head: &RequestHead, has_strict_rule: bool) {
        for rule in config.rules.iter().filter(|rule| counts_in_doubt(rule, has_strict_rule)) {
            let scrutiny = rule.scrutiny();
            if rule.matcher.conditions_hold(head, scrutiny) {
                self.0.push(Ok(&rule.requirement));
            }
            if rule.matcher.catches_all() {
                return;
            }
        }
        self.add_fallback(config, head);
    }

    /// Adds what is asked for where no rule matches.
    fn add_fallback(&mut self, config: &'c Config, head: &RequestHead) {
        self.0.push(when_no_rule_matches(config, head));
    }

    /// What all of them ask for, if those that ask for something ask for the same. With `is_guarded`, asking for
    /// nothing is not enough.
    fn agreed(self, is_guarded: bool) -> Result<&'c Requirement, Rejection> {
        let mut outcomes = self.0.into_iter();
        let Some(mut agreed) = outcomes.next() else { return Err(Rejection::AmbiguousRequest) };
        for outcome in outcomes {
            agreed = match (agreed, outcome) {
                (first, second) if first == second => first,
                // Of a requirement that needs a token and one that does not, the former holds for both.
                (Ok(first), Ok(second)) if rank(first) > rank(second) => Ok(first),
                (Ok(first), Ok(second)) if rank(first) < rank(second) => Ok(second),
                _ => return Err(Rejection::AmbiguousRequest),
            };
        }
        match agreed {
            Ok(requirement) if is_guarded && !requirement.needs_token() => Err(Rejection::AmbiguousRequest),
            agreed => agreed,
        }
    }
}

impl Rule {
    /// How much of what a request can be read as must be meant by this rule.
    fn scrutiny(&self) -> Scrutiny {
        if self.relaxes_authentication() { Scrutiny::Every } else { Scrutiny::Any }
    }
}

/// How much a requirement asks for: nothing, something, or a token that verifies.
fn rank(requirement: &Requirement) -> u8 {
    match requirement {
        Requirement::None => 0,
        requirement if requirement.needs_token() => 2,
        _ => 1,
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
            "/%61dmin",
        ] {
            assert_eq!(select(&config, path.as_bytes()), Err(Rejection::AmbiguousRequest), "{path}");
        }
        for path in ["/admin//x", "/admin/./x", "/admin;v=1", "/admin%20x"] {
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
    fn an_ambiguous_request_outside_every_strict_rule_is_refused_too() {
        let config = config(&[PUBLIC, ADMIN_B].join(","));
        assert_eq!(select(&config, b"/public//x"), Err(Rejection::AmbiguousRequest));
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
