//! Outside vectors, natively: what others found worth testing must come out here as it must.
#![cfg(not(target_family = "wasm"))]
// A failed expectation is how a test fails.
#![allow(clippy::expect_used)]

mod run;

#[test]
fn every_outside_vector_comes_out_as_it_must() {
    let summary = run::run();
    let run::Summary { accepted, refused, unsupported, other_policy, .. } = &summary;
    println!(
        "{accepted} accepted, {refused} refused, {unsupported} unsupported, {other_policy} by another policy"
    );
    assert!(summary.wrong.is_empty(), "{}", summary.wrong.join("\n"));
    assert_eq!(summary.total(), 682, "no case was left out");
}
