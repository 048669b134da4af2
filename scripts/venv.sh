#!/usr/bin/env bash
# Ensures that target/tools/NAME is a Python environment that holds the packages given as `name==version` behind the NAME.
# Prints its path on stdout, progress on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="$PWD/target/tools/$1"
shift

if [ ! -x "$venv/bin/pip" ]; then
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    scripts/debian-packages.sh python3-venv
  fi
  mkdir -p target/tools
  python3 -m venv --clear "$venv" >&2
fi

for requirement in "$@"; do
  # The installed version is read from the directory name, because starting pip takes half a second.
  metadata="${requirement//-/_}"
  if ! compgen -G "$venv/lib/python*/site-packages/${metadata/==/-}.dist-info" >/dev/null; then
    echo "installing $requirement" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$requirement" >&2
  fi
done

echo "$venv"
