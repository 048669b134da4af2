#!/usr/bin/env bash
# Ensures that the module (first argument) is not larger than the number of bytes in the budget file (second argument).
set -euo pipefail

size=$(wc -c < "$1")
budget=$(< "$2")

echo "$1: $size bytes of a budget of $budget"
if (( size > budget )); then
  echo "error: the filter has outgrown its budget: find out why, or raise it in $2" >&2
  exit 1
fi
