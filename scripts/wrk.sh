#!/usr/bin/env bash
# Ensures that there is a wrk: $WRK, else one on PATH, else Debian's for root on Debian.
# Prints its path on stdout, progress and its version on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

name=${WRK:-wrk}
if [ -n "${WRK:-}" ] && ! command -v "$WRK" >/dev/null; then
  echo "error: WRK is set to \`$WRK\`, which is not a program" >&2
  exit 1
fi
if ! command -v "$name" >/dev/null; then
  scripts/debian-packages.sh wrk
fi
# Asked for its version, it ends as if it had failed.
("$name" --version 2>&1 || true) | head -n 1 >&2
command -v "$name"
