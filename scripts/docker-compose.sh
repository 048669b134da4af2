#!/usr/bin/env bash
# Ensures that there is a Docker Compose: $COMPOSE, else `docker compose`, else docker-compose on PATH, else Debian's for root
# on Debian. Prints its command on stdout, progress on stderr. A Docker that runs is not needed to check a file.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${COMPOSE:-}" ]; then
  if ! $COMPOSE version >/dev/null 2>&1; then
    echo "error: COMPOSE is set to \`$COMPOSE\`, which is no Docker Compose" >&2
    exit 1
  fi
  echo "$COMPOSE"
elif docker compose version >/dev/null 2>&1; then
  echo docker compose
else
  if ! command -v docker-compose >/dev/null; then
    scripts/debian-packages.sh docker-compose
  fi
  echo docker-compose
fi
