#!/usr/bin/env bash
# Runs the module of benches/crypto/module.rs in an Envoy and prints its table.
# Usage: bench-crypto.sh <envoy> <module.wasm>
set -euo pipefail
envoy=$1 module=$2

directory=$(mktemp -d)
log=$directory/envoy.log
cat > "$directory/envoy.json" <<EOF
{ "bootstrap_extensions": [{
  "name": "envoy.bootstrap.wasm",
  "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.wasm.v3.WasmService",
    "singleton": true,
    "config": {
      "name": "bench-crypto",
      "vm_config": { "runtime": "envoy.wasm.runtime.v8", "code": { "local": { "filename": "$module" } } }
    }
  }
}] }
EOF

timeout 300 "$envoy" --config-path "$directory/envoy.json" --concurrency 1 --disable-hot-restart \
  --log-level warning --log-format '%v' > "$log" 2>&1 &
pid=$!
trap 'kill "$pid" 2> /dev/null || true; wait "$pid" 2> /dev/null || true; rm -rf "$directory"' EXIT

until grep -q 'bench-crypto: end' "$log"; do
  if ! kill -0 "$pid" 2> /dev/null; then
    cat "$log" >&2
    exit 1
  fi
  sleep 0.2
done
sed -n 's/^.*bench-crypto: |/|/p' "$log"
