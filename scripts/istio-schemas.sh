#!/usr/bin/env bash
# Ensures that what tests/manifests/istio-schemas/package-lock.json names is installed under target/tools, for the Node.js
# given as the argument. Prints the folder on stdout, progress on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."
node=$1

source=tests/manifests/istio-schemas
installed="$PWD/target/tools/istio-schemas"

if ! cmp --quiet "$source/package-lock.json" "$installed/installed.json"; then
  npm=(npm)
  if ! command -v npm >/dev/null; then
    npm=("$node" "$(dirname "$node")/../lib/node_modules/npm/bin/npm-cli.js")
  fi
  echo "installing Istio's schemas" >&2
  mkdir -p "$installed"
  cp "$source"/package*.json "$installed"
  # The package of the schemas asks for a newer Node.js, of which nothing here needs anything.
  (cd "$installed" && PATH="$(dirname "$node"):$PATH" "${npm[@]}" ci --ignore-scripts --no-audit --no-fund --silent >&2)
  cp "$source/package-lock.json" "$installed/installed.json"
fi
# Modules are looked for from where the program is.
cp "$source/check.mjs" "$installed"
echo "$installed"
