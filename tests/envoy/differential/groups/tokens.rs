//! Tokens of odd form.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::says;
use crate::differential::case::{Group, Outcome, get, passes, refused, status};
use crate::differential::world::{ISSUER, World, claims};
use crate::scene::now;

pub fn groups(world: &World) -> Vec<Group> {
    vec![spellings(world), json_forms(world), headers(world)]
}

fn alice() -> Outcome {
    passes().with("x-sub", "alice")
}

/// Other ways to write the three segments of a good token. The header takes any byte here, so the token can be odd.
fn spellings(world: &World) -> Group {
    let good = world.token();
    let [header, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let (rest, last) = signature.split_at(signature.len() - 1);
    // 64 bytes leave four bits of the last character unused.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let loose = &alphabet[alphabet.find(last).unwrap() + 1..][..1];
    let configuration = world.only(json!({ "from_headers": [{ "name": "x-token" }] }));
    let with = |token: String| get("/").header("x-token", token);
    Group::new("spellings of a token", configuration)
        .case("as it is", with(good.clone()), alice())
        .case("a dot before", with(format!(".{good}")), alice())
        .differs("token-form", status(401))
        .case("a dot behind", with(format!("{good}.")), alice())
        .differs("token-form", status(401))
        .case("two dots in the middle", with(format!("{header}..{payload}.{signature}")), alice())
        .differs("token-form", status(401))
        .case("padding of the signature", with(format!("{good}==")), alice())
        .differs("token-form", status(401))
        .case("half of the padding", with(format!("{good}=")), refused(says::BAD_SIGNATURE))
        .case("unused bits of the signature", with(format!("{header}.{payload}.{rest}{loose}")), alice())
        .differs("token-form", status(401))
        .case(
            "a space in the signature",
            with(format!("{header}.{payload}.{} {}", &signature[..5], &signature[5..])),
            alice(),
        )
        .differs("token-form", status(401))
        .case(
            "a space in the payload",
            with(format!("{header}.{} {}.{signature}", &payload[..5], &payload[5..])),
            refused(says::FAILS),
        )
        .differs_in_compat("reasons", refused(says::BAD_FORM))
        .case(
            "a comma in the signature",
            with(format!("{header}.{payload}.{},{}", &signature[..5], &signature[5..])),
            refused(says::BAD_SIGNATURE),
        )
        .differs_in_compat("reasons", refused(says::BAD_FORM))
        .case("no signature", with(format!("{header}.{payload}.")), refused(says::BAD_FORM))
        .differs_in_compat("reasons", refused(says::FAILS))
        .case("two segments", with(format!("{header}.{payload}")), refused(says::BAD_FORM))
        .case("four segments", with(format!("{good}.{signature}")), refused(says::BAD_FORM))
        .case("five segments", with(format!("{good}.{signature}.{signature}")), refused(says::BAD_FORM))
        .case("one segment", with(header.to_owned()), refused(says::BAD_FORM))
        .case("dots alone", with("..".to_owned()), refused(says::BAD_FORM))
        .differs_in_compat("reasons", refused(says::HEADER_JSON))
        .case(
            "a signature that is a byte short",
            with(good[..good.len() - 2].to_owned()),
            refused(says::SIGNATURE_LENGTH),
        )
        .differs_in_compat("reasons", refused(says::FAILS))
        .case(
            // Its last character has bits of no byte, which a signature that is only cut off has in most runs.
            "a signature that ends within a byte",
            with(format!("{}B", &good[..good.len() - 5])),
            refused(says::SIGNATURE_LENGTH),
        )
        .differs_in_compat("reasons", refused(says::BAD_SIGNATURE))
        .case("a longer signature", with(format!("{good}AAAA")), refused(says::SIGNATURE_LENGTH))
        .differs_in_compat("reasons", refused(says::FAILS))
        .case(
            "the alphabet of other base64",
            with(format!("{header}.{payload}.+/{}", &signature[2..])),
            refused(says::BAD_SIGNATURE),
        )
        .case(
            "bytes that are not ASCII",
            get("/").header("x-token", [good.as_bytes(), b"\xff"].concat()),
            refused(says::BAD_SIGNATURE),
        )
        .differs_in_compat("reasons", refused(says::BAD_FORM))
        .case("a header of no base64", with(format!("*.{payload}.{signature}")), refused(says::BAD_HEADER))
        .differs_in_compat("reasons", refused(says::BAD_FORM))
        .case("a payload of no base64", with(format!("{header}.*.{signature}")), refused(says::BAD_PAYLOAD))
        .differs_in_compat("reasons", refused(says::BAD_FORM))
}

/// Headers and payloads whose JSON is odd.
fn json_forms(world: &World) -> Group {
    let claims = claims(ISSUER, "alice", json!({})).to_string();
    let members = &claims[1..claims.len() - 1];
    let header = r#"{"alg":"EdDSA","kid":"k1"}"#;
    let nested = |depth: usize| format!("{{{members},\"c\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let signed = |header: &str, payload: &str| {
        get("/").bearer(&world.key.sign_raw(header.as_bytes(), payload.as_bytes()))
    };
    let payload = |payload: String| signed(header, &payload);
    let bytes = |payload: &[u8]| get("/").bearer(&world.key.sign_raw(header.as_bytes(), payload));
    let form = |group: Group| group.differs("token-form", status(401));
    let group = Group::new("JSON of a token", world.only(json!({})))
        .case("as it is", payload(claims.clone()), alice())
        .case("white space", payload(format!(" \n{{\t{members} }}\r\n")), alice())
        .case(
            "a duplicate claim",
            payload(format!("{{\"sub\":\"bob\",{members}}}")),
            refused(says::PAYLOAD_JSON),
        )
        .case(
            "a duplicate claim of no meaning",
            payload(format!("{{\"x\":1,{members},\"x\":2}}")),
            refused(says::PAYLOAD_JSON),
        )
        .case(
            "a duplicate member further down",
            payload(format!("{{{members},\"x\":{{\"y\":1,\"y\":2}}}}")),
            refused(says::PAYLOAD_JSON),
        )
        .case(
            "a duplicate member of the header",
            signed(r#"{"alg":"EdDSA","kid":"k1","alg":"EdDSA"}"#, &claims),
            refused(says::HEADER_JSON),
        )
        .case("a list as the payload", payload("[]".to_owned()), refused(says::PAYLOAD_JSON))
        .case("a word as the payload", payload("\"alice\"".to_owned()), refused(says::PAYLOAD_JSON))
        .case("an empty payload", payload(String::new()), refused(says::BAD_FORM))
        .differs_in_compat("reasons", refused(says::PAYLOAD_JSON))
        .case("an empty object", payload("{}".to_owned()), refused(says::UNKNOWN_ISSUER))
        .case("a list as the header", signed("[]", &claims), refused(says::HEADER_JSON))
        .case("an empty header", signed("{}", &claims), refused(says::BAD_ALGORITHM))
        .case("something behind the payload", payload(format!("{claims}x")), refused(says::PAYLOAD_JSON))
        .case("a byte order mark", payload(format!("\u{feff}{claims}")), refused(says::PAYLOAD_JSON))
        .case(
            "a payload that is not UTF-8",
            bytes(&[b"{\"x\":\"\xff\",", members.as_bytes(), b"}"].concat()),
            refused(says::PAYLOAD_JSON),
        )
        .case(
            "half a surrogate pair",
            payload(format!("{{{members},\"x\":\"\\ud800\"}}")),
            refused(says::PAYLOAD_JSON),
        )
        .case("30 levels", payload(nested(30)), alice());
    let group =
        form(group.case("a trailing comma in the payload", payload(format!("{{{members},}}")), alice()));
    let group = form(group.case(
        "a trailing comma in the header",
        signed(r#"{"alg":"EdDSA","kid":"k1",}"#, &claims),
        alice(),
    ));
    let group = form(group.case("single quotes", payload(format!("{{{members},'x':'y'}}")), alice()));
    let group = form(group.case("a name without quotes", payload(format!("{{{members},x:1}}")), alice()));
    let group = form(group.case("60 levels", payload(nested(60)), alice()));
    let group = group.case("200 levels", payload(nested(200)), refused(says::PAYLOAD_JSON));
    let long = format!("{{{members},\"x\":\"{}\"}}", "x".repeat(16 << 10));
    form(group.case("more than 16 KiB", payload(long), alice()))
}

/// Members of the header.
fn headers(world: &World) -> Group {
    let with = |header: Value| get("/").bearer(&world.token_with_header(header));
    let critical = [
        ("crit", json!({ "crit": ["exp"] })),
        ("crit of an extension", json!({ "crit": ["x"], "x": 1 })),
        ("an empty crit", json!({ "crit": [] })),
        ("b64", json!({ "b64": false, "crit": ["b64"] })),
        ("b64 without crit", json!({ "b64": false })),
        ("zip", json!({ "zip": "DEF" })),
        ("a nested token", json!({ "cty": "JWT" })),
        ("a logout token", json!({ "typ": "logout+jwt" })),
        ("a proof of possession", json!({ "typ": "dpop+jwt" })),
        ("a security event", json!({ "typ": "application/secevent+jwt" })),
        ("an answer of introspection", json!({ "typ": "token-introspection+jwt" })),
        ("a status list", json!({ "typ": "statuslist+jwt" })),
    ];
    let harmless = [
        ("no type", json!({ "typ": null })),
        ("an access token", json!({ "typ": "at+jwt" })),
        ("another type", json!({ "typ": "x" })),
        ("a type in small letters", json!({ "typ": "jwt" })),
        ("an address of keys", json!({ "jku": "https://nobody.example/jwks.json" })),
        ("an address of a certificate", json!({ "x5u": "https://nobody.example/cert.pem" })),
        ("a key", json!({ "jwk": { "kty": "oct", "k": "AAAA" } })),
        ("a member of no meaning", json!({ "x": [1, { "y": null }] })),
        ("no key id", json!({ "kid": null })),
    ];
    Group::new("members of the header", world.only(json!({})))
        .for_each(critical, |group, (name, header)| {
            group.case(name, with(header), alice()).differs("critical-header", status(401))
        })
        .for_each(harmless, |group, (name, header)| group.case(name, with(header), alice()))
        .case("no algorithm", with(json!({ "alg": null })), refused(says::BAD_ALGORITHM))
        .case("an algorithm that is a number", with(json!({ "alg": 5 })), refused(says::BAD_ALGORITHM))
        .for_each(["none", "None", "NONE", "", "eddsa", "ES256K", "RSA1_5", "HS1"], |group, alg| {
            group.case(
                format!("the algorithm {alg:?}"),
                with(json!({ "alg": alg })),
                refused(says::UNSUPPORTED),
            )
        })
        .case("the algorithm of RFC 9864", with(json!({ "alg": "Ed25519" })), refused(says::UNSUPPORTED))
        .differs("algorithm-names", alice())
        .case(
            "a key id that is a number",
            with(json!({ "kid": 1 })),
            refused("Jwt header [kid] field is not a string"),
        )
        .case("an empty key id", with(json!({ "kid": "" })), alice())
        .differs("key-id", status(401))
        .case("an unknown key id", with(json!({ "kid": "k9" })), refused(says::NO_KEY))
        .case("a key id in capitals", with(json!({ "kid": "K1" })), refused(says::NO_KEY))
        .case("an unsigned token", get("/").bearer(&unsigned()), refused(says::BAD_FORM))
        .differs_in_compat("reasons", refused(says::UNSUPPORTED))
}

fn unsigned() -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let payload = json!({ "iss": ISSUER, "sub": "mallory", "exp": now() + 3600 });
    format!("{}.{}.", encode(json!({ "alg": "none" })), encode(payload))
}
