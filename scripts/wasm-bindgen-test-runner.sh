#!/usr/bin/env bash
# Ensures that the test runner of wasm-bindgen is there, in the release that belongs to wasm-bindgen-test 0.3.80.
# Prints its path on stdout, progress on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.2.130
runner="$PWD/target/tools/bin/wasm-bindgen-test-runner"

if [ "$("$runner" --version 2>/dev/null)" != "wasm-bindgen-test-runner $version" ]; then
  # It reads modules of some megabytes: to make it fast takes longer than it is slow.
  install=(cargo install --debug wasm-bindgen-cli --version "$version" --root target/tools)
  # Its lock file may name a release that a mirror of the registry does not have.
  "${install[@]}" --locked >&2 || "${install[@]}" >&2
fi

echo "$runner"
