#!/usr/bin/env bash
# Ensures that the Rust toolchain of rust-toolchain.toml, both wasm targets and a C linker are there.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cc >/dev/null; then
  scripts/debian-packages.sh gcc libc6-dev
fi
if ! command -v cargo >/dev/null; then
  echo "error: cargo is not on PATH: install Rust from https://rustup.rs" >&2
  exit 1
fi
# With RUSTUP_AUTO_INSTALL=0 rustup neither fetches the toolchain of the file nor its targets by itself.
if command -v rustup >/dev/null && ! rustc --version >/dev/null 2>&1; then
  echo "installing the Rust toolchain" >&2
  rustup toolchain install >&2
fi

for target in wasm32-wasip1 wasm32-unknown-unknown; do
  if [ -d "$(rustc --print target-libdir --target "$target")" ]; then
    continue
  fi
  if ! command -v rustup >/dev/null; then
    echo "error: this Rust has no standard library for $target: use one from https://rustup.rs" >&2
    exit 1
  fi
  rustup target add "$target" >&2
done
