//! The signature arithmetic on 32-bit WebAssembly, in Node.js: the outside vectors must come out as they do natively.
#![cfg(target_family = "wasm")]

use wasm_bindgen_test::wasm_bindgen_test;

#[path = "vectors/run.rs"]
mod run;

#[wasm_bindgen_test]
fn every_outside_vector_comes_out_on_32_bits_as_it_does_natively() {
    let summary = run::run();
    assert!(summary.wrong.is_empty(), "{}", summary.wrong.join("\n"));
    assert_eq!(summary.total(), 682, "no case was left out");
}
