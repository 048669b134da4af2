#!/usr/bin/env bash
# Ensures that umoci, which makes images without Docker, and skopeo, which looks at them and pushes them, are on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
for tool in umoci skopeo; do
  if ! command -v "$tool" >/dev/null; then
    missing+=("$tool")
  fi
done
if [ "${#missing[@]}" -gt 0 ]; then
  scripts/debian-packages.sh "${missing[@]}"
fi
