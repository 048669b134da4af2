//! Signatures that a host verifies: the same verdicts, and what becomes of hosts that cannot be believed.

use std::cell::Cell;
use std::rc::Rc;

use edge_authn::config::Config;
use edge_authn::host_crypto::{HostCrypto, Unfit};
use edge_authn::jose::algorithm::{Algorithm, SignatureVerifier};
use serde_json::json;

use crate::foreign;
use crate::run;

/// What a host may be asked about.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
];

fn honest() -> HostCrypto {
    HostCrypto::probe(Box::new(|argument| Ok(foreign::verify_signature(argument))), &Algorithm::ALL)
}

/// A host that gives this for whatever it is asked.
fn saying(result: Result<Vec<u8>, &'static str>) -> HostCrypto {
    HostCrypto::probe(Box::new(move |_| result.clone().map_err(str::to_owned)), &Algorithm::ALL)
}

fn of(crypto: &str, algorithms: &[&str], host: HostAnswer) -> Result<Option<HostCrypto>, String> {
    let configuration = json!({ "crypto": crypto, "providers": { "p": {
        "issuer": "https://idp.example",
        "algorithms": algorithms,
        "remote_jwks": { "http_uri": { "uri": "https://idp.example/jwks", "cluster": "idp" } },
    } } });
    let config = Config::parse(configuration.to_string().as_bytes(), &|_| None).expect("a configuration");
    HostCrypto::of(&config, Box::new(move |argument| host(argument).map_err(str::to_owned)))
        .map_err(|error| error.to_string())
}

type HostAnswer = fn(&[u8]) -> Result<Vec<u8>, &'static str>;

#[test]
fn every_outside_vector_comes_out_the_same_where_the_host_verifies() {
    let host = honest();
    assert_eq!(host.unfit(), []);
    let summary = run::run(&host);
    assert!(summary.wrong.is_empty(), "{}", summary.wrong.join("\n"));
    assert_eq!(summary.total(), 682, "no case was left out");
    assert_eq!(host.take_failures(), [], "the host had an answer to all of them");
}

#[test]
fn a_host_that_is_wrong_about_a_known_signature_is_not_asked_again() {
    let silent = Unfit::Silent { reason: "status 12".to_owned() };
    for (result, reason) in [
        (Ok(foreign::good()), Unfit::Accepts),
        (Ok(foreign::bad("no")), Unfit::Refuses),
        (Ok(Vec::new()), Unfit::Refuses),
        (Ok(b"garbage".to_vec()), Unfit::Refuses),
        (Err("status 12"), silent),
    ] {
        let host = saying(result.clone());
        let unfit: Vec<_> = host.unfit().iter().map(|(_, reason)| reason.clone()).collect();
        assert_eq!(unfit, vec![reason; ALGORITHMS.len()], "{result:?}");
        for algorithm in Algorithm::ALL {
            assert_eq!(host.verifies(algorithm, b"key", b"text", b"signature"), None);
        }
        assert_eq!(host.take_failures(), [], "nothing was asked");
        let summary = run::run(&host);
        assert!(summary.wrong.is_empty(), "{}", summary.wrong.join("\n"));
    }
}

#[test]
fn what_a_host_did_not_say_of_a_known_signature_means_nothing_later() {
    let now_says = Rc::new(Cell::new(None::<&'static [u8]>));
    let said = Rc::clone(&now_says);
    let host = HostCrypto::probe(
        Box::new(move |argument| match said.get() {
            None => Ok(foreign::verify_signature(argument)),
            Some(b"") => Err("status 12".to_owned()),
            Some(result) => Ok(result.to_vec()),
        }),
        &ALGORITHMS,
    );
    assert_eq!(host.unfit(), []);
    for result in [&b""[..], b"\x12\x02no", b"\x08\x01\x12\x02no", b"\x08\x00", b"garbage"] {
        now_says.set(Some(result));
        assert_eq!(host.verifies(Algorithm::Rs256, b"key", b"text", b"signature"), None, "{result:?}");
        assert_eq!(host.take_failures(), [Algorithm::Rs256], "{result:?}");
        assert_eq!(host.take_failures(), []);
        let summary = run::run(&host);
        assert!(summary.wrong.is_empty(), "{}", summary.wrong.join("\n"));
        host.take_failures();
    }
}

#[test]
fn a_host_is_probed_for_what_the_configuration_may_ask_of_it_and_for_nothing_else() {
    fn no_es384(argument: &[u8]) -> Result<Vec<u8>, &'static str> {
        // With the length of the key.
        let is_es384 = argument.starts_with(b"\x0a\x06sha384\x12\x78");
        Ok(if is_es384 { foreign::bad("no") } else { foreign::verify_signature(argument) })
    }
    fn none(_: &[u8]) -> Result<Vec<u8>, &'static str> {
        Err("status 1")
    }
    assert!(of("wasm", &["RS256"], |_| panic!("nothing is to be asked")).unwrap().is_none());
    assert_eq!(of("host", &["RS256", "ES256"], no_es384).unwrap().unwrap().unfit(), []);
    assert_eq!(of("host", &["PS256", "ES512", "EdDSA"], none).unwrap().unwrap().unfit(), []);
    let unfit = [(Algorithm::Es384, Unfit::Refuses)];
    assert_eq!(of("auto", &["RS256", "ES384"], no_es384).unwrap().unwrap().unfit(), unfit);
    let refused = of("host", &["RS256", "ES384"], no_es384).unwrap_err();
    assert!(
        refused.starts_with("crypto: found \"host\" on a host that cannot be used for ES384: it"),
        "{refused}"
    );
    let refused = of("host", &["RS256"], none).unwrap_err();
    assert!(refused.contains("RS256: status 1, expected \"auto\" or \"wasm\""), "{refused}");
}
