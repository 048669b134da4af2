//! Gateway authentication as a proxy-wasm filter.
