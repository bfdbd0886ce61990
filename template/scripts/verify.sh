#!/bin/sh
# sh scripts/verify.sh IMAGE@DIGEST COMMIT
# Asks the registry: does each platform of the image say that this commit is in it, and what else?
set -eu

count() {
  docker buildx imagetools inspect --format "{{json $1}}" "$image" | grep -o "$2" | wc -l
}

image=$1
platforms=$(count .Manifest '"os": "linux"')
provenance=$(count .Provenance "\"label:org.opencontainers.image.revision\": \"$2\"")
sbom=$(count .SBOM '"SPDXID": "SPDXRef-DOCUMENT"')

echo "$image: $platforms platforms, $provenance with the provenance of $2, $sbom with an SBOM"
test "$platforms" -gt 0 && test "$provenance" -eq "$platforms" && test "$sbom" -eq "$platforms"
