#!/bin/sh
# sh scripts/verify.sh IMAGE@DIGEST COMMIT
# Checks in the registry that each platform of the image has a provenance with this commit, and an SBOM.
set -eu

inspect() {
  docker buildx imagetools inspect --format "{{json $1}}" "$image"
}

count() {
  inspect "$1" | grep -o "$2" | wc -l
}

image=$1
platforms=$(count .Manifest '"os": "linux"')
# BuildKit writes a label once or twice, for the build and for its request; it counts once for each platform.
provenance=$(inspect .Provenance \
  | grep -oE "\"SLSA\": |\"label:org.opencontainers.image.revision\": \"$2\"" | uniq | grep -c label || true)
sbom=$(count .SBOM '"SPDXID": "SPDXRef-DOCUMENT"')

echo "$image: $platforms platforms, $provenance with the provenance of $2, $sbom with an SBOM"
test "$platforms" -gt 0 && test "$provenance" -eq "$platforms" && test "$sbom" -eq "$platforms"
