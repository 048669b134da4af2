//! Signatures and keys: outside vectors, keys that OpenSSL made, and what must never verify.
#![cfg(not(target_family = "wasm"))]
// A failed expectation is how a test fails.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, unreachable_pub)]

mod algorithms;
mod configuration;
mod documents;
mod foreign;
mod host_crypto;
mod key_forms;
mod run;

#[path = "../../demo/tokens.rs"]
#[allow(dead_code, reason = "the demo and the suites each use their part of it")]
mod tokens;

use edge_authn::jose::algorithm::NobodyElse;

#[test]
fn every_outside_vector_comes_out_as_it_must() {
    let summary = run::run(&NobodyElse);
    let run::Summary { accepted, refused, other_policy, .. } = &summary;
    println!("{accepted} accepted, {refused} refused, {other_policy} by another policy");
    assert!(summary.wrong.is_empty(), "{}", summary.wrong.join("\n"));
    assert_eq!(*other_policy, 2, "the two cases of `policy:roca`");
    assert_eq!(summary.total(), 682, "no case was left out");
}

#[test]
fn keys_of_every_form_and_size_verify_the_tokens_of_their_own_and_no_others() {
    assert_eq!(key_forms::run(), key_forms::TO_PASS);
}
