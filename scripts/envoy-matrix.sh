#!/usr/bin/env bash
# Runs a command with ENVOY set to each Envoy of scripts/envoy-versions.txt, or to those that VERSIONS names (`1.36 1.37`),
# and shows which cases failed in which. The command is a `cargo test` of one suite, which says `not compared` of what is
# left out in a version.
set -uo pipefail
cd "$(dirname "$0")/.."

logs="target/envoy-matrix"
mkdir -p "$logs"
rows=()
failures=()
ended=0

for version in ${VERSIONS:-$(grep -v '^#' scripts/envoy-versions.txt)}; do
  log="$logs/$version.log"
  passed=- failed=- left_out=-
  echo "== Envoy $version"
  # One version that cannot be run says nothing of the others.
  if ENVOY=$(scripts/envoy.sh "$version") && export ENVOY; then
    "$@" 2>&1 | tee "$log" || ended=1
    left_out=$(grep -c '^not compared' "$log")
    read -r passed failed < <(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$log")
    [ -n "${passed:-}" ] || ended=1
    failures+=("$(sed -nE "s/^test (.*) \.\.\. FAILED$/$version: \1/p" "$log")")
  else
    ended=1
  fi
  rows+=("$(printf '%-10s%10s%10s%16s' "$version" "${passed:--}" "${failed:--}" "$left_out")")
done

echo
printf '%-10s%10s%10s%16s\n' Envoy passed failed 'not compared'
printf '%s\n' "${rows[@]}"
printf '%s\n' "${failures[@]}" | sed '/^$/d'
exit "$ended"
