//! The signature arithmetic on 32-bit WebAssembly, in Node.js: the outside vectors, and keys of every form and size, must
//! come out as they do natively.
#![cfg(target_family = "wasm")]

use wasm_bindgen_test::wasm_bindgen_test;

#[path = "vectors/key_forms.rs"]
mod key_forms;
#[path = "vectors/run.rs"]
mod run;

#[wasm_bindgen_test]
fn every_outside_vector_comes_out_on_32_bits_as_it_does_natively() {
    let summary = run::run(&edge_authn::jose::algorithm::NobodyElse);
    assert!(summary.wrong.is_empty(), "{}", summary.wrong.join("\n"));
    assert_eq!(summary.total(), 682, "no case was left out");
}

#[wasm_bindgen_test]
fn keys_of_every_form_and_size_verify_on_32_bits_as_they_do_natively() {
    assert_eq!(key_forms::run(), key_forms::TO_PASS);
}
