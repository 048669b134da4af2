//! Algorithms and key sets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_compact::alg::Rsa;
use jwt_compact::{Algorithm as _, AlgorithmSignature as _};
use rsa::RsaPrivateKey;
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

use super::says;
use crate::differential::case::{Group, Outcome, extended, get, passes, refused, status};
use crate::differential::world::{ISSUER, World, claims, local};
use crate::support::tokens::{SigningKey, jwks};

fn every_key() -> Vec<SigningKey> {
    SigningKey::ALGORITHMS.into_iter().map(|name| SigningKey::generate(name, name)).collect()
}

pub fn groups(world: &World) -> Vec<Group> {
    let mut groups = algorithms(world);
    groups.extend(key_sets(world));
    groups
}

fn alice() -> Outcome {
    passes().with("x-sub", "alice")
}

fn sign(key: &SigningKey, header: Value) -> String {
    key.sign_with_header(&header, &claims(ISSUER, "alice", json!({})))
}

fn with_keys(world: &World, jwks: Value) -> Value {
    world.only(json!({ "local_jwks": local(&jwks) }))
}

/// All algorithms in one set, each used well and badly.
fn algorithms(world: &World) -> Vec<Group> {
    let keys = every_key();
    let group = Group::new("algorithms", with_keys(world, jwks(&keys)));
    let group = group.for_each(&keys, |group, key| {
        let name = key.algorithm();
        let good = sign(key, json!({}));
        let [header, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[10] ^= 1;
        let flipped = URL_SAFE_NO_PAD.encode(&bytes);
        let zeros = URL_SAFE_NO_PAD.encode(vec![0; bytes.len()]);
        let other_payload = URL_SAFE_NO_PAD.encode(claims(ISSUER, "root", json!({})).to_string());
        group
            .case(format!("{name}: good"), get("/").bearer(&good), alice())
            .case(
                format!("{name}: without the key id"),
                get("/").bearer(&sign(key, json!({ "kid": null }))),
                alice(),
            )
            .case(
                format!("{name}: a flipped bit"),
                get("/").bearer(&format!("{header}.{payload}.{flipped}")),
                refused(says::FAILS),
            )
            .case(
                format!("{name}: a signature of zeros"),
                get("/").bearer(&format!("{header}.{payload}.{zeros}")),
                refused(says::FAILS),
            )
            .case(
                format!("{name}: another payload"),
                get("/").bearer(&format!("{header}.{other_payload}.{signature}")),
                refused(says::FAILS),
            )
    });
    let confused = keys.iter().flat_map(|key| keys.iter().map(move |other| (key, other.algorithm())));
    let group =
        group.for_each(confused.filter(|(key, other)| key.algorithm() != *other), |group, (key, other)| {
            let token = sign(key, json!({ "alg": other }));
            group.case(
                format!("{} with the header of {other}", key.algorithm()),
                get("/").bearer(&token),
                refused(says::NO_KEY),
            )
        });
    vec![group, unbound(world, &keys), secret_of_a_public_key(world), ecdsa_lengths(world)]
}

/// Keys that do not say for what they are.
fn unbound(world: &World, keys: &[SigningKey]) -> Group {
    let bare = |key: &SigningKey| {
        let mut jwk = key.jwk();
        for name in ["alg", "use"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
        jwk
    };
    let set: Vec<_> = keys.iter().map(bare).collect();
    let pairs = keys.iter().flat_map(|key| keys.iter().map(move |other| (key, other.algorithm())));
    Group::new("keys without an algorithm", with_keys(world, json!({ "keys": set }))).for_each(
        pairs,
        |group, (key, other)| {
            let name = key.algorithm();
            let case = format!("{name} with the header of {other}");
            let request = get("/").bearer(&sign(key, json!({ "alg": other })));
            if name == other {
                group.case(case, request, alice())
            } else if name == "EdDSA" || (!is_rsa(name) && hash_taken(name, other) == hash(name)) {
                group.case(case, request, alice()).differs("algorithm-binding", status(401))
            } else if (is_rsa(name) && is_rsa(other)) || is_weaker_hmac(other, name) {
                group.case(case, request, refused(says::FAILS))
            } else {
                let group = group.case(case, request, refused(says::FAILS));
                group.differs_in_compat("reasons", refused(says::NO_KEY))
            }
        },
    )
}

fn is_rsa(algorithm: &str) -> bool {
    algorithm.starts_with("RS") || algorithm.starts_with("PS")
}

/// Whether a secret for `key` is long enough for `other` too.
fn is_weaker_hmac(other: &str, key: &str) -> bool {
    family(key) == "HS" && family(other) == "HS" && hash(other) < hash(key)
}

fn family(algorithm: &str) -> &str {
    &algorithm[..2]
}

fn hash(algorithm: &str) -> &str {
    &algorithm[2..]
}

/// The hash that `jwt_authn` takes for a key of no algorithm: that of the header if it is of the key's family.
fn hash_taken<'a>(key: &str, header: &'a str) -> &'a str {
    if family(key) == family(header) { hash(header) } else { "256" }
}

/// The public key of an RSA pair as the secret of an HMAC.
fn secret_of_a_public_key(world: &World) -> Group {
    let rsa = SigningKey::rs256("k1");
    let jwk = rsa.jwk();
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let forge = |secret: &[u8]| get("/").bearer(&sign(&SigningKey::hs256("k1", secret), json!({})));
    let mut bare = jwk.clone();
    bare.as_object_mut().unwrap().remove("alg");
    Group::new("a public key as a secret", with_keys(world, json!({ "keys": [bare] })))
        .case("the real key", get("/").bearer(&sign(&rsa, json!({}))), alice())
        .case("its modulus", forge(&n), refused(says::FAILS))
        .differs_in_compat("reasons", refused(says::NO_KEY))
        .case("its document", forge(jwk.to_string().as_bytes()), refused(says::FAILS))
        .differs_in_compat("reasons", refused(says::NO_KEY))
        .case("an empty secret", forge(b""), refused(says::FAILS))
        .differs_in_compat("reasons", refused(says::NO_KEY))
}

/// Signatures of ECDSA that are not as long as they must be.
fn ecdsa_lengths(world: &World) -> Group {
    let key = SigningKey::es256("k1");
    let good = sign(&key, json!({}));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = bytes.split_at(32);
    let with =
        |signature: Vec<u8>| get("/").bearer(&format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)));
    Group::new("lengths of ECDSA signatures", with_keys(world, jwks([&key])))
        .case("as it is", with(bytes.clone()), alice())
        .case("a zero before each half", with([&[0], r, &[0], s].concat()), alice())
        .differs("ecdsa-length", status(401))
        .case("ten zeros before each half", with([&[0; 10], r, &[0; 10], s].concat()), alice())
        .differs("ecdsa-length", status(401))
        .case("a byte behind", with([r, s, &[0]].concat()), alice())
        .differs("ecdsa-length", status(401))
        .case("two bytes behind", with([r, s, &[0, 0]].concat()), refused(says::FAILS))
        .case("a byte less", with(bytes[..63].to_vec()), refused(says::FAILS))
        .case("half of it", with(r.to_vec()), refused(says::FAILS))
        .case("halves in another order", with([s, r].concat()), refused(says::FAILS))
        .case("DER", with(der(r, s)), refused(says::FAILS))
}

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let sign = if bytes[0] & 0x80 == 0 { vec![] } else { vec![0] };
        [vec![2, u8::try_from(bytes.len() + sign.len()).unwrap()], sign, bytes.to_vec()].concat()
    };
    let content = [integer(r), integer(s)].concat();
    [vec![0x30, u8::try_from(content.len()).unwrap()], content].concat()
}

/// RSA keys of odd sizes, beside a key that is as it should be.
fn rsa_sizes(world: &World) -> Group {
    let size = |kid: &str, bits: usize, exponent: u32| {
        let key = RsaPrivateKey::new_with_exp(&mut OsRng, bits, &exponent.into()).unwrap();
        let encode = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
        let (n, e) = (encode(key.n().to_bytes_be()), encode(key.e().to_bytes_be()));
        let header = encode(json!({ "alg": "RS256", "kid": kid }).to_string().into_bytes());
        let payload = encode(claims(ISSUER, "alice", json!({})).to_string().into_bytes());
        let input = format!("{header}.{payload}");
        let signature = encode(Rsa::rs256().sign(&key, input.as_bytes()).as_bytes().into_owned());
        (json!({ "kty": "RSA", "kid": kid, "n": n, "e": e }), format!("{input}.{signature}"))
    };
    let (small, of_small) = size("small", 1024, 65537);
    let (three, of_three) = size("three", 2048, 3);
    let (odd, of_odd) = size("odd", 2048, 17);
    Group::new("sizes of RSA keys", with_keys(world, json!({ "keys": [small, three, odd, world.key.jwk()] })))
        .case("1024 bits", get("/").bearer(&of_small), alice())
        .differs("rsa-size", status(401))
        .case("the exponent 3", get("/").bearer(&of_three), alice())
        .case("the exponent 17", get("/").bearer(&of_odd), refused(says::NO_KEY))
        .differs("rsa-size", alice())
}

fn key_sets(world: &World) -> Vec<Group> {
    let key = &world.key;
    let other = &world.other_key;
    let good = || get("/").bearer(&world.token());
    let without_kid = || get("/").bearer(&sign(key, json!({ "kid": null })));
    let with = |fields: Value| extended(key.jwk(), fields);
    let without = |name: &str| {
        let mut jwk = key.jwk();
        jwk.as_object_mut().unwrap().remove(name);
        jwk
    };
    let set = |keys: Vec<Value>| with_keys(world, json!({ "keys": keys }));
    let mut impostor = other.jwk();
    impostor["kid"] = json!("k1");
    let odd = || {
        vec![
            json!({}),
            json!({ "kty": 5 }),
            json!({ "kty": "unknown", "kid": "k1" }),
            json!({ "kty": "EC", "kid": "k1", "crv": "P-256", "x": "AA", "y": "AA" }),
            json!({ "kty": "RSA", "kid": "k1", "n": "AQAB", "e": "AQAB" }),
            json!({ "kty": "OKP", "kid": "k1", "crv": "X25519", "x": key.jwk()["x"] }),
        ]
    };
    vec![
        Group::new("a key without an id", set(vec![without("kid")]))
            .case("a token with an id", good(), alice())
            .case("a token without an id", without_kid(), alice())
            .case("a token of another key", get("/").bearer(&sign(other, json!({}))), refused(says::FAILS)),
        Group::new("two keys", set(vec![other.jwk(), key.jwk()]))
            .case("the first", get("/").bearer(&sign(other, json!({}))), alice())
            .case("the second", good(), alice())
            .case("the second without an id", without_kid(), alice())
            .case("the second with the id of the first", get("/").bearer(&sign(key, json!({ "kid": "k2" }))), refused(says::FAILS)),
        Group::new("two keys with one id", set(vec![impostor.clone(), key.jwk()]))
            .case("the first", get("/").bearer(&sign(other, json!({ "kid": "k1" }))), alice())
            .case("the second", good(), alice()),
        Group::new("odd keys in the set", set([odd(), vec![key.jwk()]].concat()))
            .case("the good one", good(), alice())
            .case("the good one without an id", without_kid(), alice()),
        Group::new("a key for encryption", set(vec![with(json!({ "use": "enc" })), other.jwk()]))
            .case("used for a signature", good(), alice())
            .differs("key-use", status(401))
            .case("the other key", get("/").bearer(&sign(other, json!({}))), alice()),
        Group::new("a key for signing alone", set(vec![with(json!({ "key_ops": ["sign"] })), other.jwk()]))
            .case("used for a signature", good(), alice())
            .differs("key-use", status(401)),
        Group::new("a key for verifying", set(vec![with(json!({ "key_ops": ["verify"] }))])).case("used for a signature", good(), alice()),
        Group::new("a key of another algorithm", set(vec![with(json!({ "alg": "ES256" })), other.jwk()]))
            .case("used for its own", good(), refused(says::NO_KEY)),
        Group::new("members of no meaning", with_keys(world, json!({ "keys": [with(json!({ "extra": 1, "x5c": ["AAAA"], "exp": 1 }))], "y": 2 })))
            .case("beside the key", good(), alice()),
        Group::new("keys as bytes", world.only(json!({ "local_jwks": { "inline_bytes": base64::engine::general_purpose::STANDARD.encode(jwks([key]).to_string()) } })))
            .case("a good token", good(), alice())
            .case("no token", get("/"), refused(says::MISSING)),
        small_order(world),
        rsa_sizes(world),
    ]
}

/// The point of order one, for which a signature of zeros verifies everything where that is not refused.
fn small_order(world: &World) -> Group {
    let mut point = [0; 32];
    point[0] = 1;
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "s", "x": URL_SAFE_NO_PAD.encode(point) });
    let mut signature = [0; 64];
    signature[0] = 1;
    let token = sign(&world.key, json!({ "kid": "s" }));
    let (input, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
    Group::new("a key of small order", with_keys(world, json!({ "keys": [jwk, world.key.jwk()] })))
        .case("with a signature for everything", get("/").bearer(&forged), alice())
        .differs("key-use", status(401))
        .case("the good key", get("/").bearer(&world.token()), alice())
}
