#!/bin/sh
# What the Dockerfile does to the files of a layer, so that the same input gives the same layer.
#   layer.sh compile ROOT FOLDER   compile the modules in ROOT/FOLDER; in the image they are in /FOLDER
#   layer.sh date ROOT...          give each file the date that all files have
#   layer.sh normalize ROOT...     the same, and let everybody read and nobody but root write
#   layer.sh name_user ROOT        add the users of Debian and the one of the image to ROOT/etc
#   layer.sh strip VENV            remove what only uv and shells read
#   layer.sh split APP ROOT HEAVY  move APP into ROOT, and what has 1 MiB or more in site-packages into HEAVY
#   layer.sh refuse_secrets ROOT   fail if a file there looks like a secret
set -eu

# Bytecode depends on what its process has compiled before. So each process gets a fixed share of the modules, and the
# number of cores only decides how many processes run at once.
compile() {
  cd "$1"
  find "$2" -name '*.py' -print0 | LC_ALL=C sort -z \
    | PYTHONDONTWRITEBYTECODE=1 xargs -r -0 -n 300 -P "$(nproc)" \
      python -P -X no_debug_ranges -m compileall -qf --invalidation-mode=unchecked-hash -p /
}

# The first day that a ZIP file can hold. With the current date, each build would make another layer.
date() {
  find "$@" -exec touch -h -d @315532800 {} +
}

normalize() {
  chmod -R u=rwX,go=rX "$@"
  date "$@"
}

# A package of apt may add users: the /etc of its stage is then mounted as /packages.
name_user() {
  etc=/packages
  [ -d "$etc" ] || etc=/etc
  mkdir -p "$1/etc"
  sed '$a app:x:10001:10001::/tmp:/usr/sbin/nologin' "$etc/passwd" >"$1/etc/passwd"
  sed '$a app:x:10001:' "$etc/group" >"$1/etc/group"
}

# Nobody needs these at run time, and they change with the version of uv.
strip() {
  cd "$1"
  sed -i '/^uv = /d' pyvenv.cfg
  rm -f bin/*activate* bin/*.bat .[lg]* CACHEDIR.TAG
}

split() {
  mkdir -p "$2"
  mv "$1" "$2"
  cd "$2"
  for site in app/.venv/lib/python3.*/site-packages; do
    mkdir -p "$3/$site"
    for part in "$site"/*; do
      [ -e "$part" ] || continue
      bytes=$(($(find "$part" -type f -printf '%s+')0))
      [ "$bytes" -lt 1048576 ] || mv "$part" "$3/$site"
    done
  done
}

# Private keys are found by their content, so public certificates are allowed.
refuse_secrets() {
  found=$(
    find "$1" \( -name .env -o -name '.env.*' -o -name .netrc -o -name .pypirc \) -not -name '*.example'
    grep -rlE '^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----' "$1" || true
  )
  [ -z "$found" ] && return
  printf 'Looks like a secret, and would be in the image: %s\n' $found >&2
  echo 'Move it out of the source, or list it in .dockerignore.' >&2
  exit 1
}

"$@"
