#!/usr/bin/env bash
# Ensures that the Debian packages given as arguments are installed; callers ask only when something is missing.
# Root on a machine with apt-get gets them installed, everybody else one sentence that says what to run.
set -euo pipefail

if ! command -v apt-get >/dev/null; then
  echo "error: this machine lacks what Debian calls \`$*\`: install it with your package manager" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "error: run \`sudo apt-get update && sudo apt-get install -y --no-install-recommends $*\` first" >&2
  exit 1
fi

echo "installing Debian packages: $*" >&2
apt-get update -qq >&2
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
