#!/bin/sh
# What uv installs of the repository itself: the project, the members of its workspace and its libraries.
#   project.sh skip               print the options with which uv sync leaves them out
#   project.sh install OPTION...  build those that uv.lock names for these options, and install them in /rootfs
set -eu

has_source() {
  [ -n "$(find "$1" -type f -not -name pyproject.toml -print -quit)" ]
}

# A library whose source is mounted is installed like any other dependency.
skip() {
  awk -F '"' '/^name = / { name = $2 } /^source = { (directory|editable|virtual) = / { print name, $2 }' uv.lock \
    | while read -r name path; do
      [ "$path" != . ] && has_source "$path" || echo "--no-install-package=$name"
    done
}

# uv builds a wheel of the project even where no-build forbids it for dependencies.
install() {
  mkdir -p /rootfs/app
  uv export --quiet --frozen --no-default-groups --no-editable --no-hashes --no-annotate --no-header "$@" \
    | sed -nE 's/^([.][^ ;]*).*/\1/p' >/local
  while read -r path; do
    # Where even its pyproject.toml is missing, it was mounted and installed as a dependency.
    [ -e "$path" ] || continue
    has_source "$path" || { echo "uv.lock names $path, but no COPY in the Dockerfile copies its source." >&2; exit 1; }
    uv build --no-cache --wheel --out-dir=/wheels "$path"
  done </local
  [ ! -d /wheels ] \
    || uv pip install --no-config --no-cache --no-deps --python=/app/.venv --prefix=/rootfs/app/.venv /wheels/*.whl
  # Nobody needs these at run time, and the first two change with each build.
  find /rootfs \( -path '*/.venv/.lock' -o -path '*.dist-info/RECORD' -o -path '*.dist-info/WHEEL' \) -delete
}

"$@"
