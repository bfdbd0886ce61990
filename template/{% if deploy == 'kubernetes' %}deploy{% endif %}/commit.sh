#!/bin/sh
# sh deploy/commit.sh OVERLAY IMAGE@DIGEST REMOTE
# Commit the objects of an overlay, with this image in them, to the branch environment/OVERLAY of a repository.
set -eu

branch=environment/$1
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
sh "$(dirname "$0")/render.sh" "$1" "$2" >"$folder/objects.yaml"
blob=$(git hash-object -w "$folder/objects.yaml")
tree=$(printf '100644 blob %s\tobjects.yaml\n' "$blob" | git mktree)
# The first time there is no such branch. Where it could not be fetched, the push below is refused.
parent=$(git fetch --quiet "$3" "refs/heads/$branch" && git rev-parse FETCH_HEAD) || parent=
commit=$(git commit-tree "$tree" ${parent:+-p "$parent"} -m "Run $2" -m "Rendered from $(git rev-parse HEAD).")
git push --quiet "$3" "$commit:refs/heads/$branch"
