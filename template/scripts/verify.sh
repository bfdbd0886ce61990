#!/bin/sh
# sh scripts/verify.sh IMAGE@DIGEST COMMIT
# Asks the registry: does each platform of the image say that this commit is in it, and what else?
set -eu

inspect() {
  docker buildx imagetools inspect --format "{{json $1}}" "$image"
}

count() {
  inspect "$1" | grep -o "$2" | wc -l
}

image=$1
platforms=$(count .Manifest '"os": "linux"')
# BuildKit says a label once or twice, of the build and of the request behind it; it counts once for each platform.
provenance=$(inspect .Provenance \
  | grep -oE "\"SLSA\": |\"label:org.opencontainers.image.revision\": \"$2\"" | uniq | grep -c label || true)
sbom=$(count .SBOM '"SPDXID": "SPDXRef-DOCUMENT"')

echo "$image: $platforms platforms, $provenance with the provenance of $2, $sbom with an SBOM"
test "$platforms" -gt 0 && test "$provenance" -eq "$platforms" && test "$sbom" -eq "$platforms"
