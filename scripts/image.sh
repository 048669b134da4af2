#!/usr/bin/env bash
# Makes an image of a module for `oci://` in Istio and Envoy Gateway, without Docker: image.sh <module.wasm> <layout> <tag>
#
# The image is what the Wasm image specification calls "compat": one layer with one file, plugin.wasm, in an OCI image layout.
# The same module and the same tools make the same bytes. Prints the digest of the image on stdout.
set -euo pipefail
module=$1 layout=$2 tag=$3

"$(dirname "$0")/oci-tools.sh"
epoch=1970-01-01T00:00:00Z
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$module" "$work/plugin.wasm"
tar --create --file "$work/layer.tar" --format ustar --mtime "$epoch" --owner 0 --group 0 --numeric-owner --mode 644 \
  --directory "$work" plugin.wasm

rm -rf "$layout"
umoci init --layout "$layout"
umoci new --image "$layout:$tag"
umoci raw add-layer --image "$layout:$tag" --history.created "$epoch" --history.created_by image.sh "$work/layer.tar"
umoci config --no-history --image "$layout:$tag" --created "$epoch" --architecture wasm --os wasip1 \
  --manifest.annotation module.wasm.image/variant=compat
umoci gc --layout "$layout"

skopeo inspect --format '{{.Digest}}' "oci:$layout:$tag"
