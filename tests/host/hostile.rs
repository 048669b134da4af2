//! Requests and documents that no honest party sends: each has its right answer, and none takes the VM down.

use serde_json::{Value, json};

use super::harness::Outcome;
use super::scene::{
    BACK_OFF, Headers, KEY, Scene, SigningKey, anonymous, bearer, claims, get, good, jwks, with,
};

/// With keys, and with every kind of place that a token can be in.
fn scene() -> Scene {
    Scene::with_keys_and(json!({
        "from_headers": [{ "name": "authorization", "value_prefix": "Bearer " }, { "name": "x-token" }],
        "from_params": ["access_token"],
        "from_cookies": ["session"],
    }))
}

fn token() -> String {
    KEY.sign(&claims(json!({})))
}

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

const MISSING: (u32, &str) = (401, "missing_credential");
const MALFORMED: (u32, &str) = (401, "malformed_credential");
const INVALID: (u32, &str) = (401, "invalid_token");
const MULTIPLE: (u32, &str) = (400, "multiple_credentials");

fn assert_refusals(cases: Vec<(&str, Headers, (u32, &str))>) {
    let mut scene = scene();
    for (kind, request, (status, label)) in cases {
        println!("{kind}");
        scene.refuse(request, status, label);
        assert_eq!(scene.pass(good("/")).as_deref(), Some(b"alice".as_slice()), "after {kind}");
    }
    assert_eq!(scene.host.calls(), [], "none of them has keys fetched");
    assert_eq!(scene.host.contexts_alive(), 1);
}

#[test]
fn bytes_that_are_no_text_are_refused_wherever_a_token_may_be() {
    let token = token();
    let token = token.as_bytes();
    assert_refusals(vec![
        ("as a token", get("/", &[("authorization", b"Bearer \xff\xfe\x80")]), MALFORMED),
        ("behind a token", get("/", &[("authorization", bytes(&[b"Bearer ", token, b"\xff"]))]), MALFORMED),
        ("before a token", get("/", &[("authorization", bytes(&[b"Bearer \xff", token]))]), MALFORMED),
        ("as a scheme", get("/", &[("authorization", bytes(&[b"Bearer\xff ", token]))]), MALFORMED),
        ("before the scheme", get("/", &[("authorization", bytes(&[b"\xffBearer ", token]))]), MISSING),
        ("alone", get("/", &[("authorization", b"\xff")]), MISSING),
        ("as white space", get("/", &[("authorization", bytes(&[b"Bearer\xc2\xa0", token]))]), MALFORMED),
        ("in a segment", get("/", &[("authorization", b"Bearer a.\xc3\xa9.c")]), MALFORMED),
        ("in a header of its own", get("/", &[("x-token", bytes(&[token, b"\xff"]))]), MALFORMED),
        ("as the value of a cookie", get("/", &[("cookie", b"session=\xff\xfe")]), MALFORMED),
        (
            "behind a token in a cookie",
            get("/", &[("cookie", bytes(&[b"session=", token, b"\x80"]))]),
            MALFORMED,
        ),
        ("as a cookie", get("/", &[("cookie", b"\xff=\xff; \xfe")]), MISSING),
        ("in the name of a cookie", get("/", &[("cookie", bytes(&[b"session\xff=", token]))]), MISSING),
        ("as a parameter", anonymous_at(b"/?access_token=\xff"), MALFORMED),
        ("as an encoded parameter", anonymous_at(b"/?access_token=%ff%fe"), MALFORMED),
        ("in a parameter's name", anonymous_at(&bytes(&[b"/?access_token\xff=", token])), MISSING),
        ("in a query", anonymous_at(b"/?\xff=\xff&%ff=%ff&%&=&&"), MISSING),
        ("in a path", anonymous_at(b"/a\xff"), MISSING),
        ("in an open path", anonymous_at(b"/open\xff"), MISSING),
        ("in an optional path", anonymous_at(b"/optional/\xff"), MISSING),
        ("as a path", anonymous_at(b"\xff\xfe"), MISSING),
    ]);
}

fn anonymous_at(path: &[u8]) -> Headers {
    get(path, &[("accept", "*/*")])
}

#[test]
fn bytes_that_are_no_text_pass_with_a_good_token_and_are_left_as_they_are() {
    let mut scene = scene();
    for (name, value) in [
        ("x-odd", b"\xff\xfe\x80".as_slice()),
        ("cookie", b"a=\xff; b=\xfe"),
        ("accept", b""),
        ("x-b\u{e9}", b"1"),
        ("", b""),
        ("", b"\xff"),
    ]
    .map(|(name, value)| (name.as_bytes(), value))
    .into_iter()
    .chain([
        (b"x-\xff\xfe".as_slice(), b"v".as_slice()),
        (b"x-user-id\xff", b"root"),
        (b"\xffx-user-id", b"root"),
    ]) {
        let stream = scene.host.request(with(good("/a\u{e9}"), name, value));
        assert_eq!(scene.host.outcome(stream), Outcome::Continued, "{name:?}");
        let values: Vec<_> = scene.host.request_headers(stream).all(name).collect();
        assert_eq!(values, [value], "{name:?}");
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
}

#[test]
fn forged_headers_are_removed_whatever_their_bytes_their_number_and_their_spelling() {
    let mut scene = scene();
    let long = "r".repeat(100_000);
    for value in [b"root".as_slice(), b"\xff\xfe", b"", b"a,b", long.as_bytes()] {
        for name in ["x-user-id", "X-USER-ID", "x_user_id", "X_User-Id", "x-user_id", "x_roles"] {
            for request in [anonymous("/open"), anonymous("/optional"), good("/"), good("/open")] {
                let is_authenticated = request.iter().any(|(name, value)| {
                    name == b":path" && value == b"/" // Open paths give no identity, whatever the token.
                });
                let request = (0..5).fold(request, |request, _| with(request, name, value));
                let stream = scene.host.request(with(request, "x-last", "kept"));
                assert_eq!(scene.host.outcome(stream), Outcome::Continued);
                let headers = scene.host.request_headers(stream);
                let owned: Vec<_> = headers
                    .pairs()
                    .iter()
                    .filter(|(name, _)| {
                        let name = String::from_utf8_lossy(name).replace('_', "-");
                        ["x-user-id", "x-roles"].contains(&name.as_str())
                    })
                    .collect();
                let expected = (b"x-user-id".to_vec(), b"alice".to_vec());
                assert_eq!(owned, [&expected][..usize::from(is_authenticated)], "{name}");
                assert_eq!(headers.get("x-last"), Some(b"kept".as_slice()));
                scene.host.close(stream);
            }
        }
    }
}

#[test]
fn values_of_a_hundred_kilobytes_have_the_answer_of_short_ones() {
    let long = "a".repeat(100_000);
    let dots = ".".repeat(100_000);
    let spaces = " ".repeat(100_000);
    let semicolons = ";".repeat(100_000);
    let pairs = "session&access_token&".repeat(5000);
    assert_refusals(vec![
        ("token", bearer("/", &long), INVALID),
        ("dots", bearer("/", &dots), INVALID),
        ("segments", bearer("/", &format!("{long}.{long}.{long}")), INVALID),
        ("token in a header of its own", get("/", &[("x-token", &long)]), INVALID),
        ("token in a cookie", get("/", &[("cookie", format!("session={long}"))]), INVALID),
        ("token in the query", anonymous(&format!("/?access_token={long}")), INVALID),
        ("scheme", get("/", &[("authorization", &long)]), MISSING),
        ("spaces", get("/", &[("authorization", format!("Bearer{spaces}"))]), MALFORMED),
        ("cookies", get("/", &[("cookie", &semicolons)]), MISSING),
        ("query", anonymous(&format!("/?{pairs}")), MISSING),
        ("path", anonymous(&format!("/{long}")), MISSING),
        ("slashes", anonymous(&"/".repeat(100_000)), MISSING),
        ("dot segments", anonymous(&"/..".repeat(33_000)), MISSING),
        ("percent", anonymous(&"/%25".repeat(25_000)), MISSING),
        ("nested percent", anonymous(&format!("/%{}41", "25".repeat(50_000))), MISSING),
    ]);
    let mut scene = scene();
    let request = with(good(&format!("/{long}?{pairs}")), "x-long", &long);
    assert_eq!(scene.pass(with(request, "cookie", semicolons)).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn nine_hundred_fields_have_the_answer_of_few() {
    let many = |name: &str, value: &str, request: Headers| {
        (0..900).fold(request, |request, _| with(request, name, value))
    };
    let distinct =
        (0..900).fold(good("/"), |request, index| with(request, format!("x-{index}"), format!("{index}")));
    let mut scene = scene();
    assert_eq!(scene.pass(distinct).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.pass(many("x-user-id", "root", good("/"))).as_deref(), Some(b"alice".as_slice()));
    assert_eq!(scene.pass(many("x_user_id", "root", anonymous("/open"))), None);
    let good_bearer = format!("Bearer {}", token());
    assert_refusals(vec![
        ("tokens", many("authorization", &good_bearer, anonymous("/")), MULTIPLE),
        ("empty tokens and a good one", many("authorization", "", good("/")), MULTIPLE),
        ("cookies", many("cookie", &format!("session={}", token()), anonymous("/")), MULTIPLE),
        ("own header", many("x-token", &token(), anonymous("/")), MULTIPLE),
        ("without a token", many("x-user-id", "root", anonymous("/")), MISSING),
        ("parameters", anonymous(&format!("/?{}", "access_token=a&".repeat(900))), MULTIPLE),
    ]);
}

#[test]
fn a_second_credential_is_refused_wherever_it_is() {
    let token = token();
    let header = format!("Bearer {token}");
    assert_refusals(vec![
        ("the same line twice", with(good("/"), "authorization", &header), MULTIPLE),
        ("in another spelling", with(good("/"), "AUTHORIZATION", &header), MULTIPLE),
        ("an empty line", with(good("/"), "authorization", ""), MULTIPLE),
        ("odd bytes", with(good("/"), "authorization", b"\xff"), MULTIPLE),
        ("another scheme", with(good("/"), "authorization", "Basic YTpi"), MULTIPLE),
        ("joined", get("/", &[("authorization", format!("{header},{header}"))]), MULTIPLE),
        ("in the query", good(&format!("/?access_token={token}")), MULTIPLE),
        ("in a cookie", with(good("/"), "cookie", format!("session={token}")), MULTIPLE),
        ("in a header of its own", with(good("/"), "x-token", &token), MULTIPLE),
    ]);
}

#[test]
fn empty_names_and_values_are_nothing() {
    assert_refusals(vec![
        ("authorization", get("/", &[("authorization", "")]), MISSING),
        ("scheme alone", get("/", &[("authorization", "Bearer")]), MALFORMED),
        ("cookie", get("/", &[("cookie", "")]), MISSING),
        ("session", get("/", &[("cookie", "session=")]), MISSING),
        ("own header", get("/", &[("x-token", "")]), MISSING),
        ("no name", get("/", &[("", "Bearer a.b.c")]), MISSING),
        ("no name and no value", get("/", &[("", "")]), MISSING),
        ("path", anonymous(""), MISSING),
        ("query", anonymous("/?"), MISSING),
        ("parameter", anonymous("/?access_token="), MISSING),
    ]);
}

#[test]
fn a_request_without_headers_or_without_a_path_does_not_pass_by_that() {
    let mut scene = scene();
    scene.refuse(Vec::new(), 500, "host_failure");
    let without_path =
        |request: Headers| -> Headers { request.into_iter().filter(|(name, _)| name != b":path").collect() };
    scene.refuse(without_path(anonymous("/open")), 401, "missing_credential");
    assert_eq!(scene.pass(without_path(good("/"))).as_deref(), Some(b"alice".as_slice()));
    let two_paths = with(anonymous("/a"), ":path", "/open");
    scene.refuse(two_paths, 401, "missing_credential");
    let nothing_but_a_token: Headers =
        good("/").into_iter().filter(|(name, _)| !name.starts_with(b":")).collect();
    assert_eq!(scene.pass(nothing_but_a_token).as_deref(), Some(b"alice".as_slice()));
}

#[test]
fn tokens_of_odd_json_are_refused_even_when_they_are_signed() {
    let header = json!({ "alg": "EdDSA", "kid": "k1" }).to_string();
    let payload = claims(json!({})).to_string();
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let deep_member = |document: &str| format!("{},\"deep\":{deep}}}", &document[..document.len() - 1]);
    let raw = |header: &[u8], payload: &[u8]| bearer("/", &KEY.sign_raw(header, payload));
    assert_refusals(vec![
        ("no header", raw(b"", payload.as_bytes()), INVALID),
        ("no payload", raw(header.as_bytes(), b""), INVALID),
        ("bytes", raw(header.as_bytes(), b"\xff\xfe"), INVALID),
        ("a zero byte", raw(header.as_bytes(), b"\0"), INVALID),
        ("bytes in a claim", raw(header.as_bytes(), b"{\"sub\":\"\xff\"}"), INVALID),
        ("half a character", raw(header.as_bytes(), b"{\"sub\":\"\\ud800\"}"), INVALID),
        ("brackets", raw(header.as_bytes(), deep.as_bytes()), INVALID),
        ("brackets in a claim", raw(header.as_bytes(), deep_member(&payload).as_bytes()), INVALID),
        ("brackets in the header", raw(deep_member(&header).as_bytes(), payload.as_bytes()), INVALID),
        ("an array", raw(header.as_bytes(), b"[]"), INVALID),
        ("null", raw(header.as_bytes(), b"null"), INVALID),
    ]);
}

#[test]
fn claims_cannot_break_out_of_their_header() {
    // The harness fails on a line break or NUL in a header.
    let mut scene = scene();
    for (claim, value) in [
        (json!("a\r\nx-user-id: root"), "a%0D%0Ax-user-id: root"),
        (json!("\0\u{7f}\u{e9}"), "%00%7F%C3%A9"),
        (json!(" %41 "), "%20%2541%20"),
    ] {
        let token = KEY.sign(&claims(json!({ "sub": claim })));
        assert_eq!(scene.pass(bearer("/", &token)).as_deref(), Some(value.as_bytes()));
    }
    for left_out in [json!(""), json!(null), json!("x".repeat(9000)), json!([]), json!([null])] {
        let token = KEY.sign(&claims(json!({ "roles": left_out })));
        let stream = scene.host.request(with(bearer("/", &token), "x-roles", "root"));
        assert_eq!(scene.host.request_headers(stream).get("x-roles"), None, "{left_out}");
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
    }
}

/// Sends a good request, answers the fetch with `body`, and says whether the request passed.
fn passes_with_keys(body: impl Into<Vec<u8>>) -> bool {
    let mut scene = Scene::start();
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    scene.host.answer(call.id, 200, Vec::new(), body);
    if scene.host.outcome(stream) == Outcome::Continued {
        assert_eq!(scene.assert_passed(stream).as_deref(), Some(b"alice".as_slice()));
        return true;
    }
    scene.assert_keys_unavailable(stream, "1");
    scene.host.close(stream);
    scene.host.advance(BACK_OFF);
    let call = scene.call();
    scene.give_keys(&call, &[&KEY]);
    scene.pass(good("/"));
    false
}

#[test]
fn documents_that_are_no_key_sets_are_a_503_and_the_next_one_counts() {
    let brackets = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let numbers: Vec<_> = (0..100).collect();
    let strangers: Vec<_> = (0..129).map(|index| json!({ "kty": "oct", "kid": index.to_string() })).collect();
    let mut too_many = strangers;
    too_many[0] = KEY.jwk();
    let twice = format!(r#"{{"keys":[{0}],"keys":[{0}]}}"#, KEY.jwk());
    let good = jwks([&*KEY]).to_string();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a zero byte", vec![0]),
        ("ten megabytes", format!("{good}{}", " ".repeat(10 << 20)).into_bytes()),
        ("ten megabytes of zeros", vec![0; 10 << 20]),
        ("brackets", brackets.clone().into_bytes()),
        ("brackets as keys", format!(r#"{{"keys":{brackets}}}"#).into_bytes()),
        ("open brackets", "[".repeat(10_000).into_bytes()),
        ("open objects", r#"{"keys":"#.repeat(10_000).into_bytes()),
        ("129 keys", json!({ "keys": too_many }).to_string().into_bytes()),
        ("keys that are numbers", json!({ "keys": numbers }).to_string().into_bytes()),
        ("keys of all kinds", json!({ "keys": [null, true, "x", 1.5, [], {}] }).to_string().into_bytes()),
        ("keys that are an object", json!({ "keys": { "a": KEY.jwk() } }).to_string().into_bytes()),
        ("one key without a set", KEY.jwk().to_string().into_bytes()),
        ("keys given twice", twice.into_bytes()),
        ("cut short", good.as_bytes()[..good.len() - 2].to_vec()),
        ("something behind", format!("{good}x").into_bytes()),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes()),
        ("a key of bytes that are no text", b"{\"keys\":[{\"kty\":\"\xff\"}]}".to_vec()),
        ("a shared secret", json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }).to_string().into_bytes()),
    ];
    for (kind, body) in cases {
        assert!(!passes_with_keys(body), "{kind}");
    }
}

#[test]
fn odd_neighbours_do_not_spoil_a_good_key() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let huge = "A".repeat(100_000);
    let wide: serde_json::Map<_, _> = (0..1000).map(|index| (format!("m{index}"), json!(index))).collect();
    let neighbours: Vec<(&str, String)> = vec![
        ("null", "null".to_owned()),
        ("an empty object", "{}".to_owned()),
        ("a key of another kind", json!({ "kty": "AKP", "alg": "ML-DSA-44" }).to_string()),
        ("deep nesting", deep.clone()),
        ("deep nesting in a key", format!(r#"{{"kty":"OKP","x":{deep}}}"#)),
        ("a huge RSA key", json!({ "kty": "RSA", "n": huge, "e": "AQAB" }).to_string()),
        ("an RSA key of zeros", json!({ "kty": "RSA", "n": "A".repeat(400), "e": "AQAB" }).to_string()),
        ("an even RSA key", json!({ "kty": "RSA", "n": "_".repeat(341) + "g", "e": "AQAB" }).to_string()),
        ("no exponent", json!({ "kty": "RSA", "n": "_".repeat(342), "e": "" }).to_string()),
        ("an exponent of one", json!({ "kty": "RSA", "n": "_".repeat(342), "e": "AQ" }).to_string()),
        ("a huge exponent", json!({ "kty": "RSA", "n": "_".repeat(342), "e": "_".repeat(342) }).to_string()),
        (
            "a point off the curve",
            json!({ "kty": "EC", "crv": "P-256", "x": "A".repeat(43), "y": "A".repeat(43) }).to_string(),
        ),
        ("a short point", json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "" }).to_string()),
        ("a weak Ed25519 key", json!({ "kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43) }).to_string()),
        ("the same kid", json!({ "kty": "oct", "kid": "k1", "k": "A".repeat(43) }).to_string()),
        ("a kid that is a number", json!({ "kty": "OKP", "kid": 1 }).to_string()),
        ("many members", Value::Object(wide).to_string()),
    ];
    for (kind, neighbour) in &neighbours {
        assert!(passes_with_keys(format!(r#"{{"keys":[{neighbour},{}]}}"#, KEY.jwk())), "{kind}");
        assert!(passes_with_keys(format!(r#"{{"keys":[{},{neighbour}]}}"#, KEY.jwk())), "{kind}, behind");
        assert!(!passes_with_keys(format!(r#"{{"keys":[{neighbour}]}}"#)), "{kind}, alone");
    }
    assert!(
        passes_with_keys(format!(r#"{{"x5u":{deep},"keys":[{}]}}"#, KEY.jwk())),
        "nesting beside the keys"
    );
    let full: Vec<_> = (0..127).map(|index| json!({ "kty": "oct", "kid": index.to_string() })).collect();
    let full: Vec<_> = full.into_iter().chain([KEY.jwk()]).collect();
    assert!(passes_with_keys(json!({ "keys": full }).to_string()), "128 keys");
}

#[test]
fn keys_without_names_are_tried_but_not_without_end() {
    let nameless = |key: &SigningKey| {
        let mut jwk = key.jwk();
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let mut keys: Vec<_> = (0..3).map(|_| nameless(&SigningKey::eddsa("x"))).collect();
    keys.push(nameless(&KEY));
    assert!(passes_with_keys(json!({ "keys": keys }).to_string()));
}

#[test]
fn headers_of_a_key_server_may_be_odd_too() {
    let mut scene = Scene::start();
    let stream = scene.host.request(good("/"));
    let call = scene.call();
    let mut headers = vec![(b"x-\xff".to_vec(), b"\xfe".to_vec()), (Vec::new(), Vec::new())];
    headers.extend((0..900).map(|index| (format!("x-{index}").into_bytes(), vec![b'a'; 100])));
    scene.host.answer(call.id, 200, headers, jwks([&*KEY]).to_string());
    scene.assert_passed(stream);
}
