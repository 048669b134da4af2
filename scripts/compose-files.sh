#!/usr/bin/env bash
# Puts what the gateways of docker-compose.yaml read into a folder: the built filter, and envoy.yaml with its listener on
# every interface. Usage: compose-files.sh <folder>
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1

# Gateways are not root in their containers.
install -m 644 target/edge_authn.wasm "$folder/edge_authn.wasm"

# A port that a container publishes does not lead to its loopback interface. The admin interface stays there.
sed 's/address: 127\.0\.0\.1, port_value: 10000 }/address: 0.0.0.0, port_value: 10000 }/' envoy.yaml > "$folder/envoy.yaml"
if cmp --quiet envoy.yaml "$folder/envoy.yaml"; then
  echo "error: envoy.yaml has no listener at 127.0.0.1, port 10000" >&2
  exit 1
fi
chmod 644 "$folder/envoy.yaml"
