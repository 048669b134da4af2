//! Request -> requirement.
//!
//! Takes the request head, gives what must be proven before it may pass: what its route says, else the first rule that
//! matches, else the rule for its filter state. A path that different backends read differently is held against the
//! rules once for each reading: a reading never relaxes what another one demands.
//! Looks at those rules alone that the index of the configuration does not rule out, until one decides.

use std::mem;

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
    let rules = &config.rules;
    let mut outcomes = Outcomes::default();
    // A tunnel has no path to be read in one way or another. A rule for paths is not for it, as in Envoy, but does not
    // let it pass either, as it does there.
    if head.target().is_empty() {
        let is_tunnel = |rule: &Rule, _| rule.matcher.path == PathSpecifier::Connect;
        if outcomes.add(head, rules.candidates([]), is_tunnel, |_| true) {
            return outcomes.agreed(false);
        }
        outcomes.add_unreadable(config, head);
        return outcomes.agreed(rules.has_strict_rule());
    }
    match RequestPath::of(head.target()) {
        RequestPath::Plain { sent, normal, decoded } => {
            let candidates = rules.candidates([sent, &decoded, &normal]);
            let forms = [Form::Encoded(sent), Form::Decoded(&decoded), Form::Encoded(&normal)];
            // The proxy routes by the path as it was sent: what it takes for another path is not open. What a
            // normalising proxy would take it for counts for those rules alone that demand a token.
            let [sent, decoded, _] = forms;
            let is_for = |rule: &Rule, scrutiny| match scrutiny {
                Scrutiny::Any => rule.matcher.is_for_path(&forms, scrutiny),
                Scrutiny::Every => rule.matcher.is_for_path(&[sent, decoded], scrutiny),
            };
            // Who reads it as it was sent goes on to the next rule.
            let is_as_sent = |rule: &Rule| rule.matcher.is_for_path(&[sent], Scrutiny::Every);
            if !outcomes.add(head, candidates, is_for, is_as_sent) {
                outcomes.add_fallback(config, head);
            }
            outcomes.agreed(false)
        }
        RequestPath::Ambiguous { encoded, decoded } => {
            let encoded = encoded.iter().map(|path| Form::Encoded(path));
            for reading in encoded.chain(decoded.iter().map(|path| Form::Decoded(path))) {
                let is_for = |rule: &Rule, scrutiny| rule.matcher.is_for_path(&[reading], scrutiny);
                let candidates =
                    rules.candidates([reading.text()]).filter(|rule| rules.counts_in_doubt(rule));
                if !outcomes.add(head, candidates, is_for, |_| true) {
                    outcomes.add_fallback(config, head);
                }
            }
            outcomes.agreed(rules.has_strict_rule())
        }
        RequestPath::Unreadable => {
            outcomes.add_unreadable(config, head);
            outcomes.agreed(rules.has_strict_rule())
        }
    }
}

/// What all the ways to read a request ask for that have been looked at.
#[derive(Debug, Default)]
enum Outcomes<'c> {
    /// There was none.
    #[default]
    None,
    /// Those that ask for something ask for the same.
    Agreed(Result<&'c Requirement, Rejection>),
    /// They do not, whatever else there is.
    Disagreed,
}

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
                self.add_one(Ok(&rule.requirement));
                if is_as_sent(rule) && rule.matcher.conditions_hold(head, Scrutiny::Every) {
                    return true;
                }
            }
        }
        false
    }

    /// Adds what any path may be asked for.
    fn add_unreadable(&mut self, config: &'c Config, head: &RequestHead) {
        for rule in config.rules.for_any_path() {
            if rule.matcher.conditions_hold(head, rule.scrutiny()) {
                self.add_one(Ok(&rule.requirement));
            }
            if rule.matcher.catches_all() || matches!(self, Self::Disagreed) {
                return;
            }
        }
        self.add_fallback(config, head);
    }

    /// Adds what is asked for where no rule matches.
    fn add_fallback(&mut self, config: &'c Config, head: &RequestHead) {
        self.add_one(when_no_rule_matches(config, head));
    }

    fn add_one(&mut self, outcome: Result<&'c Requirement, Rejection>) {
        *self = match (mem::take(self), outcome) {
            (Self::None, first) => Self::Agreed(first),
            (Self::Agreed(first), second) if first == second => Self::Agreed(first),
            // Of a requirement that needs a token and one that does not, the former holds for both.
            (Self::Agreed(Ok(first)), Ok(second)) if rank(first) > rank(second) => Self::Agreed(Ok(first)),
            (Self::Agreed(Ok(first)), Ok(second)) if rank(first) < rank(second) => Self::Agreed(Ok(second)),
            _ => Self::Disagreed,
        };
    }

    /// What all of them ask for. With `is_guarded`, asking for nothing is not enough.
    fn agreed(self, is_guarded: bool) -> Result<&'c Requirement, Rejection> {
        match self {
            Self::None | Self::Disagreed => Err(Rejection::AmbiguousRequest),
            Self::Agreed(Ok(requirement)) if is_guarded && !requirement.needs_token() => {
                Err(Rejection::AmbiguousRequest)
            }
            Self::Agreed(agreed) => agreed,
        }
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

impl Rule {
    /// How much of what a request can be read as must be meant by this rule: asked first of each that is looked at.
    fn scrutiny(&self) -> Scrutiny {
        #[cfg(test)]
        tests::LOOKED_AT.set(tests::LOOKED_AT.get() + 1);
        if self.relaxes_authentication() { Scrutiny::Every } else { Scrutiny::Any }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::config::ProviderId;

    thread_local! {
        /// How many rules have been looked at.
        pub(super) static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
    }

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

    /// How many rules a request is held against, of so many that are for one path each and demand a token of `a`.
    fn looked_at(number: usize, method: &str, target: &str) -> usize {
        let requires = r#""requires":{"provider_name":"a"}"#;
        let rule = |number| format!(r#"{{"match":{{"prefix":"/service-{number:04}/"}},{requires}}}"#);
        let config = config(&(0..number).map(rule).collect::<Vec<_>>().join(","));
        let fields = [(":method", method), (":path", target)];
        let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        LOOKED_AT.set(0);
        let _ = super::select(&config, &RequestHead::new(fields.to_vec()));
        LOOKED_AT.get()
    }

    #[test]
    fn no_more_rules_are_looked_at_where_there_are_more() {
        for (number, name) in [(10, "service-0009"), (1_000, "service-0999")] {
            let looked_at = |method, target: &str| looked_at(number, method, &target.replace("NAME", name));
            assert_eq!(looked_at("GET", "/NAME/x?y"), 1, "plain, of {number}");
            assert_eq!(looked_at("GET", "/NAME/caf%C3%A9"), 1, "encoded, of {number}");
            assert_eq!(looked_at("GET", "/elsewhere"), 0, "with no rule, of {number}");
            assert_eq!(looked_at("GET", "/NAME/./x"), 4, "once for each reading, of {number}");
            assert_eq!(looked_at("GET", "/NAME/../x"), 1, "unreadable, of {number}");
            assert_eq!(looked_at("CONNECT", ""), 1, "a tunnel, of {number}");
        }
    }

    const SEGMENTS: &str = "a|A|ab|aB|b|%41|%61b|%c3%a9|%C3%A9|@|%40|a%20b";

    fn text(expression: &str) -> impl Strategy<Value = String> + use<> {
        prop::string::string_regex(expression).unwrap()
    }

    fn rule() -> impl Strategy<Value = String> {
        let literal = prop_oneof![1 => Just("/".to_owned()), 6 => text(&format!("(/({SEGMENTS})){{1,3}}/?"))];
        let kinds = prop::sample::select(vec!["prefix", "prefix", "path", "path_separated_prefix"]);
        let literal = (literal, kinds, prop::bool::weighted(0.3)).prop_map(|(literal, kind, any_case)| {
            let is_separated = kind == "path_separated_prefix";
            let literal = if is_separated { literal.trim_end_matches('/') } else { &literal };
            let kind = if literal.is_empty() { "prefix" } else { kind };
            let literal = if literal.is_empty() { "/" } else { literal };
            format!(r#""{kind}":"{literal}","case_sensitive":{}"#, !any_case)
        });
        let template = |template: &str| {
            let kind =
                "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
            let typed_config = format!(r#"{{"@type":"{kind}","path_template":"{template}"}}"#);
            format!(r#""path_match_policy":{{"name":"t","typed_config":{typed_config}}}"#)
        };
        let others = vec![
            r#""safe_regex":{"regex":"/a.*"}"#.to_owned(),
            r#""safe_regex":{"regex":"/[^/]*/[aA]"}"#.to_owned(),
            r#""connect_matcher":{}"#.to_owned(),
            template("/a/{x}"),
            template("/%40/**"),
        ];
        let path = prop_oneof![4 => literal, 1 => prop::sample::select(others)];
        let conditions = prop::sample::select(vec![
            "",
            "",
            "",
            r#","headers":[{"name":"x"}]"#,
            r#","headers":[{"name":"x","exact_match":"1"}]"#,
            r#","query_parameters":[{"name":"q","string_match":{"exact":"1"}}]"#,
        ]);
        let requires = prop::sample::select(vec![
            "",
            r#","requires":{"provider_name":"a"}"#,
            r#","requires":{"provider_name":"a"}"#,
            r#","requires":{"provider_name":"b"}"#,
            r#","requires":{"requires_any":{"requirements":[{"provider_name":"a"},{"provider_name":"b"}]}}"#,
            r#","requires":{"requires_any":{"requirements":[{"provider_name":"a"},{"allow_missing":{}}]}}"#,
            r#","requires":{"allow_missing":{}}"#,
            r#","requires":{"allow_missing_or_failed":{}}"#,
        ]);
        (path, conditions, requires).prop_map(|(path, conditions, requires)| {
            format!(r#"{{"match":{{{path}{conditions}}}{requires}}}"#)
        })
    }

    fn request() -> impl Strategy<Value = RequestHead> {
        let plain = text(&format!("(/({SEGMENTS})){{0,3}}/?"));
        let odd = text(&format!("(/({SEGMENTS}|\\.|;a|a;x|%2f|%3b|%00| |)){{1,3}}"));
        let unreadable = text(&format!("(/({SEGMENTS}|\\.\\.|%2e%2e|%zz|%25|\\\\)){{1,3}}"));
        let path = prop_oneof![6 => plain, 3 => odd, 2 => unreadable, 1 => text("[*a]?")];
        let query = prop::sample::select(vec!["", "", "?q=1", "?q=2&q=1", "?%71=1"]);
        let method = prop::sample::select(vec!["GET", "GET", "CONNECT"]);
        let lines = prop::collection::vec(prop::sample::select(vec!["1", "2"]), 0..3);
        (path, query, method, lines).prop_map(|(path, query, method, lines)| {
            let target = format!("{path}{query}");
            let fields = [(":method", method), (":path", &target)].into_iter();
            let fields = fields.chain(lines.into_iter().map(|line| ("x", line)));
            let bytes = |(name, value): (&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
            RequestHead::new(fields.map(bytes).collect())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn a_rule_that_is_not_looked_at_would_have_changed_nothing(
            rules in prop::collection::vec(rule(), 0..12),
            denies in any::<bool>(),
            requests in prop::collection::vec(request(), 10),
        ) {
            let mut config = config(&rules.join(","));
            config.when_no_rule_matches = if denies { NoRule::Deny } else { NoRule::Allow };
            let selected: Vec<_> =
                requests.iter().map(|head| super::select(&config, head).cloned()).collect();
            config.rules = config.rules.without_index();
            for (head, selected) in requests.iter().zip(selected) {
                prop_assert_eq!(selected, super::select(&config, head).cloned(), "{:?}", head);
            }
        }
    }
}
