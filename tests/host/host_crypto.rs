//! Hosts that verify signatures: honest ones, and those that cannot be believed.

use std::cell::Cell;
use std::rc::Rc;

use serde_json::{Value, json};

use super::foreign;
use super::harness::{Host, Level, Profile, Refused, Status};
use super::scene::{Scene, SigningKey, bearer, claims, configuration, host, jwks, signed_by};

const FUNCTION: &str = "verify_signature";

fn keys(algorithms: &[&'static str]) -> Vec<SigningKey> {
    algorithms.iter().map(|algorithm| SigningKey::generate(algorithm, algorithm)).collect()
}

/// Claims under the signature of others.
fn tampered(key: &SigningKey) -> String {
    let [signed, other] = ["alice", "root"].map(|sub| key.sign(&claims(json!({ "sub": sub }))));
    let (_, signature) = signed.rsplit_once('.').unwrap();
    let (input, _) = other.rsplit_once('.').unwrap();
    format!("{input}.{signature}")
}

fn with_keys(keys: &[SigningKey], crypto: &str) -> Value {
    let keys = jwks(keys).to_string();
    // No token is remembered: each signature is verified each time.
    let provider = json!({
        "remote_jwks": null,
        "local_jwks": { "inline_string": keys },
        "jwt_cache_config": { "jwt_cache_size": 0 },
    });
    let mut configuration = configuration(provider);
    configuration["crypto"] = json!(crypto);
    configuration
}

fn honest(argument: &[u8]) -> Result<Vec<u8>, Status> {
    Ok(foreign::verify_signature(argument))
}

/// A host like Envoy whose function answers this.
fn answering(answer: impl FnMut(&[u8]) -> Result<Vec<u8>, Status> + 'static) -> Host {
    let mut host = host(Profile::envoy());
    host.foreign_function(FUNCTION, answer);
    host
}

impl Scene {
    /// Lets tokens of these keys pass, and those that were tampered with not.
    #[track_caller]
    fn tell_apart(&mut self, keys: &[SigningKey]) {
        for key in keys {
            assert_eq!(self.pass(signed_by(key)).as_deref(), Some(b"alice".as_slice()));
            self.refuse(bearer("/", &tampered(key)), 401, "invalid_token");
        }
    }

    fn unanswered(&self, algorithm: &str) -> Option<i64> {
        self.host.metric(&format!("edge_authn.host_crypto_failed.{algorithm}"))
    }
}

#[test]
fn a_host_that_can_verifies_each_signature_that_it_is_faster_at_with_one_call_and_no_other() {
    for (algorithm, calls) in [
        ("RS256", 2),
        ("RS384", 2),
        ("RS512", 2),
        ("ES256", 2),
        ("ES384", 2),
        ("ES512", 0),
        ("PS256", 0),
        ("EdDSA", 0),
    ] {
        let keys = keys(&[algorithm]);
        let asked = Rc::new(Cell::new(0));
        let count = Rc::clone(&asked);
        let host = answering(move |argument| {
            count.set(count.get() + 1);
            honest(argument)
        });
        let mut scene = Scene::start_on(host, &with_keys(&keys, "auto"));
        asked.set(0);
        scene.tell_apart(&keys);
        assert_eq!(asked.get(), calls, "{algorithm}");
        assert_eq!(scene.unanswered(algorithm), None);
        assert_eq!(scene.logged(Level::Warn), [""; 0]);
    }
}

#[test]
fn a_host_that_lies_or_has_no_answer_changes_nothing() {
    type Liar = (&'static str, fn(&[u8]) -> Result<Vec<u8>, Status>);
    const LIARS: [Liar; 6] = [
        ("takes everything for good", |_| Ok(foreign::good())),
        ("takes nothing for good", |_| Ok(foreign::bad("Failed to verify digest. Error code: 0"))),
        ("says nothing", |_| Ok(Vec::new())),
        ("says something else", |_| Ok(b"\xff\xff\xff\xff\xff".to_vec())),
        ("has no such function in it", |_| Err(Status::Unimplemented)),
        ("does not take the argument", |_| Err(Status::BadArgument)),
    ];
    let keys = keys(&["RS256", "ES256", "EdDSA"]);
    for (lie, liar) in LIARS {
        let mut scene = Scene::start_on(answering(liar), &with_keys(&keys, "auto"));
        scene.tell_apart(&keys);
        assert_eq!(scene.unanswered("RS256"), None, "{lie}: it is not asked again");
        assert_eq!(scene.logged(Level::Warn), [""; 0], "{lie}");
    }
    for profile in [Profile::envoy(), Profile::minimal(), Profile::apisix()] {
        let mut scene = Scene::start_on(host(profile), &with_keys(&keys, "auto"));
        scene.tell_apart(&keys);
    }
}

#[test]
fn a_host_that_fails_after_it_was_believed_is_replaced_and_counted() {
    let keys = keys(&["RS256", "ES256"]);
    for failure in [
        Err(Status::InternalFailure),
        Err(Status::NotFound),
        Ok(foreign::bad("another error")),
        Ok(b"garbage".to_vec()),
        Ok(Vec::new()),
    ] {
        let fails = Rc::new(Cell::new(false));
        let (failing, result) = (Rc::clone(&fails), failure.clone());
        let host = answering(move |argument| if failing.get() { result.clone() } else { honest(argument) });
        let mut scene = Scene::start_on(host, &with_keys(&keys, "host"));
        scene.tell_apart(&keys);
        assert_eq!(scene.unanswered("RS256"), None);
        fails.set(true);
        scene.tell_apart(&keys);
        assert_eq!(scene.unanswered("RS256"), Some(2), "{failure:?}");
        assert_eq!(scene.unanswered("ES256"), Some(2), "{failure:?}");
    }
}

#[test]
fn a_configuration_that_needs_the_host_is_refused_where_it_cannot_be_used() {
    let both = keys(&["RS256", "EdDSA"]);
    let refusal = |host: Host| {
        let mut host = host;
        let Refused { by, logs } = host.start(&with_keys(&both, "host").to_string()).unwrap_err();
        assert_eq!(by, "proxy_on_configure");
        logs.iter().map(|log| log.text.clone()).collect::<String>()
    };
    let absent = refusal(host(Profile::envoy()));
    assert!(
        absent.contains("configuration refused: crypto: found \"host\" on a host that cannot be used for"),
        "{absent}"
    );
    assert!(absent.contains("with status 1, expected"), "{absent}");
    let lying = refusal(answering(|_| Ok(foreign::good())));
    assert!(lying.contains("it does not refuse a bad signature"), "{lying}");

    let only_ours = keys(&["EdDSA"]);
    let mut scene = Scene::start_on(host(Profile::envoy()), &with_keys(&only_ours, "host"));
    scene.tell_apart(&only_ours);
}

#[test]
fn a_configuration_that_wants_no_host_has_none_asked() {
    let keys = keys(&["RS256", "ES256"]);
    let host = answering(|_| panic!("nothing is to be asked"));
    Scene::start_on(host, &with_keys(&keys, "wasm")).tell_apart(&keys);
}
