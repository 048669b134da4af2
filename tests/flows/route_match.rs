//! `match` of a rule: which requests it is for, and that no spelling of a request leads to another rule.
//!
//! The tables of headers, parameters and tunnels are what Envoy 1.40 does, except where a comment says otherwise.

use edge_authn::config::{Config, ProviderId, Requirement};
use edge_authn::rejection::Rejection;
use edge_authn::request::RequestHead;
use edge_authn::rule::select;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::get;

fn parse(rules: &[Value]) -> Result<Config, String> {
    let keys = json!({ "remote_jwks": { "http_uri": { "uri": "https://idp.example/", "cluster": "idp" } } });
    let configuration = json!({ "providers": { "a": keys, "b": keys }, "rules": rules, "default": "allow" });
    Config::parse(configuration.to_string().as_bytes(), &|_| None).map_err(|error| error.to_string())
}

fn config(rules: &[Value]) -> Config {
    parse(rules).unwrap_or_else(|error| panic!("{error}: {rules:?}"))
}

fn strict(matcher: &Value) -> Value {
    json!({ "match": matcher, "requires": { "provider_name": "a" } })
}

fn open(matcher: &Value) -> Value {
    json!({ "match": matcher })
}

/// Whether a lone rule that demands a token is for this request.
fn matches(matcher: &Value, head: &RequestHead) -> bool {
    *select(&config(&[strict(matcher)]), head).unwrap() != Requirement::None
}

/// Whether an open rule in front of one for everything is for this request.
fn opens(matcher: &Value, head: &RequestHead) -> bool {
    let config = config(&[open(matcher), strict(&json!({ "prefix": "/" }))]);
    *select(&config, head).unwrap() == Requirement::None
}

fn path(path: &str) -> RequestHead {
    get::<&str, &str>(path, &[])
}

fn template(template: &str) -> Value {
    json!({
        "name": "envoy.path.match.uri_template.uri_template_matcher",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
            "path_template": template,
        },
    })
}

const PROVIDERS: [Requirement; 2] = [
    Requirement::Provider { id: ProviderId(0), audiences: None },
    Requirement::Provider { id: ProviderId(1), audiences: None },
];

static OF_A: &Requirement = &PROVIDERS[0];
static OF_B: &Requirement = &PROVIDERS[1];

#[test]
fn a_path_specifier_matches_its_paths_and_not_their_neighbours() {
    for (matcher, paths, others) in [
        (json!({ "prefix": "/a" }), &["/a", "/ab", "/a/b", "/a?x", "/a/"][..], &["/", "/A", "/b/a"][..]),
        (json!({ "path": "/a" }), &["/a", "/a?x", "/%61"], &["/a/", "/ab", "/A", "/"]),
        (
            json!({ "path_separated_prefix": "/a" }),
            &["/a", "/a/", "/a/b", "/a?x", "/a/b?c", "/%61/b"],
            &["/ab", "/A", "/", "/a%2db", "/b/a"],
        ),
        (
            json!({ "safe_regex": { "regex": "/a[0-9]+" } }),
            &["/a1", "/a12?x", "/%611"],
            &["/a", "/a1/", "/xa1", "/A1"],
        ),
        (json!({ "safe_regex": { "regex": "^/(a|b)$", "google_re2": {} } }), &["/a", "/b"], &["/ab", "/c"]),
        (
            json!({ "path_match_policy": template("/a/{x}/c") }),
            &["/a/b/c", "/a/b/c?d"],
            &["/a/c", "/a/b/c/", "/A/b/c"],
        ),
        (
            json!({ "path_match_policy": template("/**.mpd") }),
            &["/x/y.mpd", "/.mpd"],
            &["/x/y.mpd/z", "/mpd"],
        ),
        (json!({ "prefix": "/a/B", "case_sensitive": false }), &["/a/b", "/A/bc"], &["/a", "/b"]),
        (json!({ "path": "/a", "case_sensitive": false }), &["/a", "/A", "/%41"], &["/AB"]),
        (json!({ "path_separated_prefix": "/a", "case_sensitive": false }), &["/A/b", "/a"], &["/AB"]),
        (json!({ "path": "/caf%C3%A9", "case_sensitive": false }), &["/CAF%c3%a9"], &["/CAF%C3%89"]),
        (json!({ "path": "/a", "case_sensitive": true }), &["/a"], &["/A"]),
        // As in Envoy, case always counts in an expression.
        (json!({ "safe_regex": { "regex": "/a" }, "case_sensitive": false }), &["/a"], &["/A"]),
    ] {
        for matching in paths {
            assert!(matches(&matcher, &path(matching)), "{matcher} {matching}");
        }
        for other in others {
            assert!(!matches(&matcher, &path(other)), "{matcher} {other}");
            assert!(!opens(&matcher, &path(other)), "{matcher} {other}");
        }
    }
}

#[test]
fn an_open_rule_of_each_kind_is_for_its_paths_as_they_are_written() {
    for (matcher, paths, others) in [
        (json!({ "prefix": "/@p/" }), &["/@p/x", "/@p/%40"][..], &["/%40p/x"][..]),
        (json!({ "path_separated_prefix": "/@p" }), &["/@p", "/@p/x"], &["/%40p", "/@p%2fx"]),
        (
            json!({ "safe_regex": { "regex": "/p/[a-z %0-9]+" } }),
            &["/p/x", "/p/a%20b"],
            &["/%70/x", "/p/%40"],
        ),
        (
            json!({ "path_match_policy": template("/@p/{x}") }),
            &["/@p/x", "/@p/a%20b", "/@p/%40"],
            &["/%40p/x", "/@p/[x]"],
        ),
        (json!({ "path": "/p", "case_sensitive": false }), &["/p", "/P"], &["/%50"]),
    ] {
        for matching in paths {
            assert!(opens(&matcher, &path(matching)), "{matcher} {matching}");
        }
        for other in others {
            assert!(!opens(&matcher, &path(other)), "{matcher} {other}");
        }
    }
}

/// The specifiers that match `/p` or what lies below it, one way or another.
fn specifiers(segment: &str) -> Vec<Value> {
    vec![
        json!({ "prefix": format!("/{segment}") }),
        json!({ "prefix": format!("/{segment}"), "case_sensitive": false }),
        json!({ "path": format!("/{segment}/x") }),
        json!({ "path_separated_prefix": format!("/{segment}") }),
        json!({ "safe_regex": { "regex": format!("/{segment}/.*") } }),
        json!({ "path_match_policy": template(&format!("/{segment}/**")) }),
        json!({ "path_match_policy": template(&format!("/{segment}/{{x}}")) }),
    ]
}

#[test]
fn h2_no_spelling_of_another_path_reaches_an_open_rule_of_any_kind() {
    for matcher in specifiers("public") {
        assert!(opens(&matcher, &path("/public/x")), "{matcher}");
        for evasion in [
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/.%2E/admin",
            "/public/..%2fadmin",
            "/public/%252e%252e/admin",
            "/public/%252e%252e%252fadmin",
            "/public/..;/admin",
            "/public/..;x=1/admin",
            "/public/..\\admin",
            "/public/..%5cadmin",
            "/public/%u002e%u002e/admin",
            "/public/%c0%ae%c0%ae/admin",
            "/public/x%2f..%2f..%2fadmin",
            "/public/x/../../admin",
            "/public//x",
            "/public/./x",
            "/public/;x",
            "/public/x%00",
            "/public/x%0a",
            "/public/x#/../../admin",
            "/public/x%23",
            "/public/x%3f",
            "/public/%zz",
            "//public/x",
            "/%70ublic/x",
            "/public%2fx",
            "/PUBLIC/../admin",
        ] {
            assert!(!opens(&matcher, &path(evasion)), "{matcher} {evasion}");
        }
    }
}

#[test]
fn h2_no_spelling_of_a_strict_path_of_any_kind_reaches_an_open_rule() {
    for matcher in specifiers("admin") {
        let config = config(&[strict(&matcher), open(&json!({ "prefix": "/" }))]);
        assert_eq!(select(&config, &path("/public")), Ok(&Requirement::None));
        for spelling in [
            "/admin/x",
            "/%61dmin/x",
            "/admin/%78",
            "/%61%64%6d%69%6e/x",
            "/%2561dmin/x",
            "//admin/x",
            "/admin//x",
            "/./admin/x",
            "/admin/./x",
            "/admin/%2e/x",
            "/admin;v=1/x",
            "/admin/x;v=1",
            "/admin%2fx",
            "/y/../admin/x",
            "/y/%2e%2e/admin/x",
            "/y/..%2fadmin/x",
            "/y/..;/admin/x",
            "/y\\..\\admin\\x",
            "/admin/x%23",
            "/admin/x#y",
            "/admin/x%3fy",
            "http://gateway.example/admin/x",
            "admin/x",
        ] {
            let selected = select(&config, &path(spelling));
            let is_held =
                matches!(selected, Ok(Requirement::Provider { .. }) | Err(Rejection::AmbiguousRequest));
            assert!(is_held, "{matcher} {spelling}: {selected:?}");
        }
    }
}

#[test]
fn a_strict_expression_matches_the_path_as_it_was_sent_too() {
    for (expression, target) in [
        ("/files/.*%2F.*", "/files/a%2Fb"),
        ("/a%20b", "/a%20b"),
        ("/[^/]*[^a-z/][^/]*", "/a%40"),
        ("/caf..", "/caf%C3%A9"),
    ] {
        assert!(matches(&json!({ "safe_regex": { "regex": expression } }), &path(target)), "{expression}");
    }
}

#[test]
fn a_strict_template_matches_characters_that_envoy_leaves_out() {
    for target in ["/files/a\"b", "/files/[a]", "/files/a|b", "/files/%5Ba%5D", "/files/%C3%A9"] {
        assert!(matches(&json!({ "path_match_policy": template("/files/{x}") }), &path(target)), "{target}");
    }
}

const ABSENT: &[&[u8]] = &[];

/// Lines of the header `x`, in the order of the columns below.
const HEADERS: [&[&[u8]]; 8] = [ABSENT, &[b""], &[b"a"], &[b"A"], &[b"ab"], &[b"5"], &[b"-5"], &[b"a\xe9"]];

#[test]
fn a_header_condition_holds_as_in_envoy() {
    let plain = json!({});
    let invert = json!({ "invert_match": true });
    let empty = json!({ "treat_missing_header_as_empty": true });
    let both = json!({ "invert_match": true, "treat_missing_header_as_empty": true });
    for (specifier, plain_holds, invert_holds, empty_holds, both_holds) in [
        (json!({}), "-MMMMMMM", "M-------", "MMMMMMMM", "--------"),
        (json!({ "present_match": true }), "-MMMMMMM", "M-------", "MMMMMMMM", "--------"),
        (json!({ "present_match": false }), "M-------", "-MMMMMMM", "--------", "MMMMMMMM"),
        (json!({ "exact_match": "" }), "-MMMMMMM", "--------", "MMMMMMMM", "--------"),
        (json!({ "exact_match": "a" }), "--M-----", "-M-MMMMM", "--M-----", "MM-MMMMM"),
        (json!({ "string_match": { "exact": "" } }), "-M------", "--MMMMMM", "MM------", "--MMMMMM"),
        (json!({ "string_match": { "exact": "a" } }), "--M-----", "-M-MMMMM", "--M-----", "MM-MMMMM"),
        (
            json!({ "string_match": { "exact": "A", "ignore_case": true } }),
            "--MM----",
            "-M--MMMM",
            "--MM----",
            "MM--MMMM",
        ),
        (json!({ "string_match": { "prefix": "a" } }), "--M-M--M", "-M-M-MM-", "--M-M--M", "MM-M-MM-"),
        (
            json!({ "string_match": { "prefix": "A", "ignore_case": true } }),
            "--MMM--M",
            "-M---MM-",
            "--MMM--M",
            "MM---MM-",
        ),
        (
            json!({ "string_match": { "suffix": "B", "ignore_case": true } }),
            "----M---",
            "-MMM-MMM",
            "----M---",
            "MMMM-MMM",
        ),
        (
            json!({ "string_match": { "contains": "A", "ignore_case": true } }),
            "--MMM--M",
            "-M---MM-",
            "--MMM--M",
            "MM---MM-",
        ),
        (
            json!({ "string_match": { "safe_regex": { "regex": "a" } } }),
            "--M-----",
            "-M-MMMMM",
            "--M-----",
            "MM-MMMMM",
        ),
        (
            json!({ "string_match": { "safe_regex": { "regex": "a.*" } } }),
            "--M-M--M",
            "-M-M-MM-",
            "--M-M--M",
            "MM-M-MM-",
        ),
        (json!({ "safe_regex_match": { "regex": ".*" } }), "-MMMMMMM", "--------", "MMMMMMMM", "--------"),
        (
            json!({ "range_match": { "start": -5, "end": "5" } }),
            "------M-",
            "-MMMMM-M",
            "------M-",
            "MMMMMM-M",
        ),
        (json!({ "range_match": { "end": 6 } }), "-----M--", "-MMMM-MM", "-----M--", "MMMMM-MM"),
        (json!({ "prefix_match": "a" }), "--M-M--M", "-M-M-MM-", "--M-M--M", "MM-M-MM-"),
        (json!({ "suffix_match": "b" }), "----M---", "-MMM-MMM", "----M---", "MMMM-MMM"),
        (json!({ "contains_match": "b" }), "----M---", "-MMM-MMM", "----M---", "MMMM-MMM"),
    ] {
        for (extra, expected) in
            [(&plain, plain_holds), (&invert, invert_holds), (&empty, empty_holds), (&both, both_holds)]
        {
            let mut header = json!({ "name": "X" });
            for (name, value) in specifier.as_object().into_iter().chain(extra.as_object()).flatten() {
                header[name] = value.clone();
            }
            let matcher = json!({ "prefix": "/", "headers": [header] });
            let [strict, open] = [matches, opens].map(|holds| {
                let column = |lines: &&[&[u8]]| {
                    let fields: Vec<_> = lines.iter().map(|line| ("x", line)).collect();
                    if holds(&matcher, &get("/", &fields)) { 'M' } else { '-' }
                };
                HEADERS.iter().map(column).collect::<String>()
            });
            assert_eq!([strict.as_str(), open.as_str()], [expected; 2], "{matcher}");
        }
    }
}

#[test]
fn one_line_of_a_header_is_enough_for_a_strict_rule_and_all_must_fit_for_an_open_one() {
    let header = |specifier: Value| json!({ "prefix": "/", "headers": [specifier] });
    let is_a = header(json!({ "name": "x", "string_match": { "exact": "a" } }));
    let is_not_a = header(json!({ "name": "x", "string_match": { "exact": "a" }, "invert_match": true }));
    let is_joined = header(json!({ "name": "x", "string_match": { "exact": "a,b" } }));
    let both = get("/", &[("x", "a"), ("X", "b")]);
    assert!(matches(&is_a, &both) && matches(&is_not_a, &both) && !matches(&is_joined, &both));
    assert!(!opens(&is_a, &both) && !opens(&is_not_a, &both));
    let twice = get("/", &[("x", "a"), ("x", "a")]);
    assert!(opens(&is_a, &twice) && !opens(&is_not_a, &twice));
    let folded = get("/", &[("x_y", "a")]);
    assert!(!opens(&header(json!({ "name": "x-y" })), &folded));
}

#[test]
fn a_header_condition_reaches_the_method_and_the_host() {
    for (name, value) in [
        (":method", "GET"),
        (":authority", "gateway.example"),
        ("Host", "gateway.example"),
        (":scheme", "http"),
    ] {
        let header = |value: &str| json!({ "prefix": "/", "headers": [{ "name": name, "string_match": { "exact": value } }] });
        assert!(matches(&header(value), &path("/")), "{name}");
        assert!(!matches(&header("x"), &path("/")), "{name}");
    }
}

#[test]
fn a_query_condition_holds_for_what_was_sent() {
    let parameter = |specifier: Value| {
        let mut parameter = json!({ "name": "p" });
        for (name, value) in specifier.as_object().into_iter().flatten() {
            parameter[name] = value.clone();
        }
        json!({ "prefix": "/", "query_parameters": [parameter] })
    };
    for (specifier, queries, others) in [
        (
            json!({}),
            &["?p", "?p=", "?p=a", "?a&p", "?p==", "?p=?"][..],
            &["", "?", "?q=p", "?P=a", "?x;p=a", "?pp=a"][..],
        ),
        (json!({ "present_match": true }), &["?p", "?p=a"], &["", "?q"]),
        (json!({ "present_match": false }), &["", "?", "?q=p", "?P"], &["?p", "?p=a"]),
        (
            json!({ "string_match": { "exact": "a" } }),
            &["?p=a", "?x&p=a"],
            &["", "?p", "?p=ab", "?p=A", "?p==a"],
        ),
        (json!({ "string_match": { "exact": "" } }), &["?p", "?p="], &["", "?p=a"]),
        (json!({ "string_match": { "exact": "a%20b" } }), &["?p=a%20b"], &["?p=a+b", "?p=a"]),
        (json!({ "string_match": { "prefix": "A", "ignore_case": true } }), &["?p=ab"], &["?p=b"]),
        (
            json!({ "string_match": { "safe_regex": { "regex": "[a-z]?" } } }),
            &["?p", "?p=b"],
            &["?p=bb", "?p=1"],
        ),
    ] {
        let matcher = parameter(specifier);
        for query in queries {
            let head = path(&format!("/{query}"));
            assert!(matches(&matcher, &head) && opens(&matcher, &head), "{matcher} {query}");
        }
        for query in others {
            let head = path(&format!("/{query}"));
            assert!(!matches(&matcher, &head) && !opens(&matcher, &head), "{matcher} {query}");
        }
    }
    // Envoy takes the first value alone and decodes nothing. Each of these would be a way around a rule there.
    for (specifier, queries) in [
        (
            json!({ "string_match": { "exact": "a" } }),
            &["?p=%61", "?%70=a", "?p=x&p=a", "?p=a&p=x", "?p=%zz&p=a"][..],
        ),
        (json!({ "present_match": true }), &["?%70"]),
        (json!({ "present_match": false }), &["?%70"]),
    ] {
        for query in queries {
            let (matcher, head) = (parameter(specifier.clone()), path(&format!("/{query}")));
            assert!(matches(&matcher, &head) && !opens(&matcher, &head), "{matcher} {query}");
        }
    }
}

#[test]
fn all_conditions_of_a_match_must_hold() {
    let matcher = json!({
        "path": "/a",
        "headers": [{ "name": "x" }, { "name": "y", "present_match": false }],
        "query_parameters": [{ "name": "p" }, { "name": "q" }],
    });
    assert!(matches(&matcher, &get("/a?p&q", &[("x", "1")])));
    for (target, fields) in [
        ("/b?p&q", &[("x", "1")][..]),
        ("/a?p", &[("x", "1")]),
        ("/a?p&q", &[]),
        ("/a?p&q", &[("x", "1"), ("y", "1")]),
    ] {
        assert!(!matches(&matcher, &get(target, fields)), "{target} {fields:?}");
    }
}

fn connect(path: Option<&str>) -> RequestHead {
    let fields = [(":method", Some("CONNECT")), (":authority", Some("h:443")), (":path", path)];
    let field = |(name, value): (&str, Option<&str>)| Some((name.into(), value?.into()));
    RequestHead::new(fields.into_iter().filter_map(field).collect())
}

#[test]
fn a_tunnel_is_for_the_rules_of_tunnels() {
    let tunnel = json!({ "connect_matcher": {} });
    let everything = json!({ "prefix": "/" });
    let b = |matcher: &Value| json!({ "match": matcher, "requires": { "provider_name": "b" } });
    let of_a = || Ok(OF_A);
    for (rules, expected) in [
        (vec![strict(&tunnel)], of_a()),
        (vec![open(&tunnel), strict(&everything)], Ok(&Requirement::None)),
        (vec![b(&everything), strict(&tunnel)], of_a()),
        (vec![strict(&tunnel), open(&tunnel), b(&everything)], of_a()),
        // Envoy lets these pass.
        (vec![strict(&everything)], of_a()),
        (vec![open(&json!({ "path": "/x" })), strict(&everything)], of_a()),
        (vec![strict(&everything), b(&json!({ "prefix": "/b" }))], of_a()),
        (vec![b(&json!({ "prefix": "/b" })), strict(&everything)], Err(Rejection::AmbiguousRequest)),
        (vec![open(&everything)], Ok(&Requirement::None)),
    ] {
        assert_eq!(select(&config(&rules), &connect(None)), expected, "{rules:?}");
    }
    assert!(!matches(&tunnel, &path("/")) && !opens(&tunnel, &path("/")));
    assert!(!opens(&tunnel, &path("*")) && !opens(&tunnel, &path("")));
}

#[test]
fn a_tunnel_with_a_path_is_for_the_first_rule_of_either_kind() {
    let rules = [
        strict(&json!({ "path": "/x" })),
        open(&json!({ "connect_matcher": {} })),
        strict(&json!({ "prefix": "/" })),
    ];
    let config = config(&rules);
    assert_eq!(select(&config, &connect(Some("/x"))), Ok(OF_A));
    assert_eq!(select(&config, &connect(Some("/y"))), Ok(&Requirement::None));
    assert_eq!(select(&config, &connect(Some("/y/../x"))), Ok(OF_A));
}

#[test]
fn conditions_narrow_the_rules_for_a_path_that_is_not_plain() {
    let b = json!({ "match": { "prefix": "/" }, "requires": { "provider_name": "b" } });
    let rules = [strict(&json!({ "prefix": "/", "headers": [{ "name": "x" }] })), b];
    let config = config(&rules);
    let with = |target: &str| get(target, &[("x", "1")]);
    assert_eq!(select(&config, &path("/y//z")), Ok(OF_B));
    assert_eq!(select(&config, &path("/y/../z")), Ok(OF_B));
    assert_eq!(select(&config, &with("/y//z")), Ok(OF_A));
    assert_eq!(select(&config, &with("/y/../z")), Err(Rejection::AmbiguousRequest));
}

#[test]
fn a_wrong_match_is_refused_with_its_path() {
    let policy = |config: Value| json!({ "path_match_policy": { "name": "p", "typed_config": config } });
    let header = |header: Value| json!({ "prefix": "/", "headers": [header] });
    let specifiers =
        "one of prefix, path, path_separated_prefix, safe_regex, path_match_policy, connect_matcher";
    let patterns = "one of exact, prefix, suffix, contains, safe_regex";
    for (matcher, expected) in [
        (json!({ "prefix": "/", "connect_matcher": {} }), format!(": found more than one way to match a path, expected {specifiers}")),
        (json!({ "case_sensitive": false }), format!(": found no way to match a path, expected {specifiers}")),
        (json!({ "path_separated_prefix": "/a/" }), ".path_separated_prefix: found the string \"/a/\", expected a path without a slash at its end".into()),
        (json!({ "pathSeparatedPrefix": "/a?b" }), ".pathSeparatedPrefix: found the string \"/a?b\", expected a path without a query".into()),
        (json!({ "safe_regex": { "regex": "(" } }), ".safe_regex.regex: found the string \"(\", expected a regular expression (found open group without closing ')')".into()),
        (json!({ "safe_regex": { "regex": "(a{999}){999}" } }), ".safe_regex.regex: found the string \"(a{999}){999}\", expected a regular expression (compiled regex exceeded size limit)".into()),
        (json!({ "safe_regex": { "regex": "" } }), ".safe_regex.regex: found the string \"\", expected a string that is not empty".into()),
        (json!({ "safe_regex": {} }), ".safe_regex: found nothing, expected the field \"regex\"".into()),
        (json!({ "safe_regex": { "regx": "a" } }), ".safe_regex: found nothing, expected the field \"regex\"".into()),
        (json!({ "safe_regex": { "regex": "a", "google_re2": { "max_program_size": 5 } } }), ".safe_regex.google_re2.max_program_size: found a field that this version does not support, expected no such field".into()),
        (json!({ "connect_matcher": { "x": 1 } }), ".connect_matcher.x: found an unknown field, expected one of ".into()),
        (policy(json!({ "@type": "type.googleapis.com/x.Y" })), ".path_match_policy.typed_config[\"@type\"]: found the string \"type.googleapis.com/x.Y\", expected \"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig\", the only policy there is".into()),
        (policy(json!({ "path_template": "/**" })), ".path_match_policy.typed_config: found nothing, expected the field \"@type\"".into()),
        (json!({ "path_match_policy": template("/**/*") }), ".path_match_policy.typed_config.path_template: found the string \"/**/*\", expected a URI template (a wildcard stands behind \"**\")".into()),
        (json!({ "path_match_policy": template("/{x}/../y") }), ".path_match_policy.typed_config.path_template: found the string \"/{x}/../y\", expected a URI template (a path such as \"/x/../y\" is not in its normal form)".into()),
        (header(json!({})), ".headers[0]: found nothing, expected the field \"name\"".into()),
        (header(json!({ "name": "" })), ".headers[0].name: found the string \"\", expected a header name".into()),
        (header(json!({ "name": ":x" })), ".headers[0].name: found the string \":x\", expected a header name".into()),
        (header(json!({ "name": ":path" })), ".headers[0].name: found the string \":path\", expected another header; a path is matched by prefix, path or safe_regex".into()),
        (header(json!({ "name": "x", "exact_match": "a", "present_match": true })), ".headers[0]: found more than one condition, expected one condition for each item of \"headers\"".into()),
        (header(json!({ "name": "x", "stringMatch": null })), ".headers[0].stringMatch: found null, expected a value, or no such field".into()),
        (header(json!({ "name": "x", "string_match": {} })), format!(".headers[0].string_match: found no pattern, expected {patterns}")),
        (header(json!({ "name": "x", "string_match": { "exact": "a", "prefix": "a" } })), format!(".headers[0].string_match: found more than one pattern, expected {patterns}")),
        (header(json!({ "name": "x", "string_match": { "contains": "" } })), ".headers[0].string_match.contains: found the string \"\", expected a string that is not empty".into()),
        (header(json!({ "name": "x", "string_match": { "custom": {} } })), ".headers[0].string_match.custom: found a field that this version does not support, expected no such field".into()),
        (header(json!({ "name": "x", "string_match": { "safe_regex": { "regex": "a" }, "ignore_case": true } })), ".headers[0].string_match.ignore_case: found true, expected (?i) in the expression instead".into()),
        (header(json!({ "name": "x", "range_match": { "start": 5, "end": 5 } })), ".headers[0].range_match: found a range without a number in it, expected a \"start\" below \"end\"".into()),
        (header(json!({ "name": "x", "range_match": { "end": 1.5 } })), ".headers[0].range_match.end: found the number 1.5, expected a whole number of 64 bits".into()),
        (header(json!({ "name": "x", "presentmatch": true })), ".headers[0].presentmatch: found an unknown field, expected \"present_match\"?".into()),
        (json!({ "prefix": "/", "headers": null }), ".headers: found null, expected a value, or no such field".into()),
        (json!({ "prefix": "/", "queryParameters": null }), ".queryParameters: found null, expected a value, or no such field".into()),
        (json!({ "prefix": "/", "query_parameters": [{ "name": "" }] }), ".query_parameters[0].name: found the string \"\", expected a string that is not empty".into()),
        (json!({ "prefix": "/", "query_parameters": [{ "name": "x", "string_match": { "exact": "" }, "present_match": true }] }), ".query_parameters[0].present_match: found a second condition, expected one condition".into()),
    ] {
        assert_eq!(parse(&[open(&matcher)]).unwrap_err(), format!("rules[0].match{expected}"));
    }
    for refused in ["runtime_fraction", "grpc", "tls_context", "dynamic_metadata", "filter_state", "cookies"]
    {
        let error = parse(&[open(&json!({ "prefix": "/", refused: {} }))]).unwrap_err();
        assert_eq!(
            error,
            format!(
                "rules[0].match.{refused}: found a field that this version does not support, expected no such field"
            )
        );
    }
}

#[test]
fn both_spellings_of_protobuf_json_mean_the_same() {
    let snake = json!({
        "path_separated_prefix": "/a", "case_sensitive": false,
        "headers": [
            { "name": "x", "string_match": { "exact": "a", "ignore_case": true }, "invert_match": true },
            { "name": "y", "range_match": { "end": 5 }, "treat_missing_header_as_empty": true },
        ],
        "query_parameters": [{ "name": "p", "present_match": false }],
    });
    let camel = [
        ("path_separated_prefix", "pathSeparatedPrefix"),
        ("case_sensitive", "caseSensitive"),
        ("string_match", "stringMatch"),
        ("ignore_case", "ignoreCase"),
        ("invert_match", "invertMatch"),
        ("range_match", "rangeMatch"),
        ("treat_missing_header_as_empty", "treatMissingHeaderAsEmpty"),
        ("query_parameters", "queryParameters"),
        ("present_match", "presentMatch"),
    ]
    .iter()
    .fold(snake.to_string(), |text, (snake, camel)| text.replace(snake, camel));
    let camel: Value = serde_json::from_str(&camel).unwrap();
    assert_eq!(config(&[open(&snake)]).rules, config(&[open(&camel)]).rules);
}

#[test]
fn only_an_unconditional_prefix_catches_all() {
    for (matcher, expected) in [
        (json!({ "prefix": "/" }), true),
        (json!({ "prefix": "/a" }), false),
        (json!({ "path": "/" }), false),
        (json!({ "prefix": "/", "headers": [{ "name": "x" }] }), false),
        (json!({ "prefix": "/", "query_parameters": [{ "name": "x" }] }), false),
        (json!({ "connect_matcher": {} }), false),
    ] {
        assert_eq!(config(&[open(&matcher)]).rules[0].matcher.catches_all(), expected, "{matcher}");
    }
}

/// A path with characters encoded, once or more often, and noise that backends take away again.
fn respelled(path: &'static str) -> impl Strategy<Value = String> {
    let character = |character: char| {
        let code = u32::from(character);
        let noise = prop::sample::select(vec!["", "", "", "", "/", "./", ";x", "/..;/y", "%2e/"]);
        let spelling = prop_oneof![
            4 => Just(character.to_string()),
            2 => Just(format!("%{code:02x}")),
            1 => Just(format!("%{code:02X}")),
            1 => Just(format!("%25{code:02x}")),
            1 => Just(format!("%u00{code:02x}")),
        ];
        (spelling, noise).prop_map(move |(spelling, noise)| match character {
            '/' => format!("{spelling}{noise}"),
            _ => spelling,
        })
    };
    path.chars().map(character).collect::<Vec<_>>().prop_map(|characters| characters.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_encoding_of_a_strict_path_turns_its_rule_into_a_pass(target in respelled("/admin/x"), query in "[?&=%a-f0-9]{0,8}") {
        for matcher in specifiers("admin") {
            let config = config(&[strict(&matcher), open(&json!({ "prefix": "/" }))]);
            let selected = select(&config, &path(&format!("{target}?{query}")));
            prop_assert!(selected != Ok(&Requirement::None), "{} {}", matcher, target);
        }
    }

    #[test]
    fn no_request_makes_a_condition_panic(
        target in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..20),
        text in "[ -~é]{1,3}",
    ) {
        let string = json!({ "contains": text, "ignore_case": true });
        let suffix = json!({ "suffix": text });
        let matcher = json!({
            "prefix": "/", "case_sensitive": false,
            "headers": [{ "name": "x", "string_match": string }, { "name": "x", "range_match": { "end": 9 }, "invert_match": true }],
            "query_parameters": [{ "name": text, "string_match": suffix }],
        });
        let head = RequestHead::new(vec![(b":path".to_vec(), target), (b"x".to_vec(), value)]);
        for rule in [strict(&matcher), open(&matcher)] {
            let _ = select(&config(&[rule]), &head);
        }
    }
}
