"""The single values that guard something in what is rendered: where each stands, and why.

A row is a path in a parsed file (tests/helpers/parsed.py), what is there, and the reason. To hold one value more, add a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


def words(value: Any) -> str:
    """Return a text, or the lines of a list, with one space between the words."""
    return " ".join((" ".join(value) if isinstance(value, list) else str(value)).split())


class Has:
    """Equal to what contains these texts, whatever the spaces between its words."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def __eq__(self, found: object) -> bool:
        return all(words(text) in words(found) for text in self.texts)

    def __repr__(self) -> str:
        return f"what has {', '.join(self.texts)}"


class Lines(Has):
    """Equal to what has these as whole lines, so that nothing stands behind them such as `|| true`."""

    def __eq__(self, found: object) -> bool:
        text = "\n".join(found) if isinstance(found, list) else str(found)
        return {*self.texts} <= {line.strip() for line in text.splitlines()}


class Anything:
    """Equal to everything that is there."""

    def __eq__(self, found: object) -> bool:
        return found is not None

    def __repr__(self) -> str:
        return "anything"


ANY = Anything()

Row = tuple[str, Any, str]


@dataclass(frozen=True)
class Group:
    """The rows of one file in the project of some answers."""

    file: str
    rows: Sequence[Row]
    answers: dict[str, Any] = field(default_factory=dict)


# A row is a line where it fits 120 columns.
# fmt: off
REPOSITORY = {"repository": "Acme/Orders.api"}
# All that a company answers, so that each secret and each mount is there.
COMPANY = {
    "registry": "registry.corp/mirror",
    "index_url": "https://pypi.corp/simple",
    "index_names": "acme-gpu",
    "git_server": "ssh://git@git.corp",
    "certificates": "company",
    "apt_packages": "libpq5",
    "build_packages": "gcc",
}
# What a build is given.
SECRETS = [
    "UV_INDEX_PRIVATE_USERNAME", "UV_INDEX_PRIVATE_PASSWORD", "UV_INDEX_ACME_GPU_USERNAME",
    "UV_INDEX_ACME_GPU_PASSWORD", "SSH_KNOWN_HOSTS", "CA_BUNDLE",
]
EXISTING = {
    "framework": "existing",
    "command": ["python", "-m", "orders"],
    "sources": "src libs/rates",
    "files": "static",
    "manifests": "libs/rates/pyproject.toml",
    "uv_options": "--extra postgres",
    "version_from": "git",
}

# --- What a build sees ------------------------------------------------------------------------

LEFT_OUT = [
    "**/__pycache__", "**/*.py[cod]", "**/.*_cache", "**/.*.sw[op]", "**/.DS_Store", "**/.git", "**/id_rsa*",
    "**/id_ecdsa*", "**/id_ed25519*",
]
DOCKERIGNORE: list[Row] = [
    ("", ["**", "!pyproject.toml", "!uv.lock", "!scripts/image", "!src", *LEFT_OUT],
     "`**` first closes the context, and each line behind it opens one path"),
]
DOCKERIGNORE_EXISTING: list[Row] = [
    ("", [
        *("**", "!pyproject.toml", "!uv.lock", "!scripts/image"),
        *("!libs/rates/pyproject.toml", "!src", "!libs/rates", "!static"),
        *LEFT_OUT,
    ], "what the answers name, and nothing else"),
]

# --- The image --------------------------------------------------------------------------------

HEALTH = "--interval=30s --timeout=3s --start-period=30s --start-interval=1s"
RUNTIME_ENV = {
    "PATH": "/app/.venv/bin:$PATH",
    "HOME": "/tmp",
    "USER": "app",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUNBUFFERED": "1",
}
DOCKERFILE: list[Row] = [
    ("above", {"syntax": "docker/dockerfile:1"}, "no frontend of another major version"),
    ("build > ENV", {
        "UV_LINK_MODE": "copy",
        "UV_NO_INSTALLER_METADATA": "1",
        "UV_PROJECT_ENVIRONMENT": "/app/.venv",
        "UV_NO_EDITABLE": "1",
        "PYTHONNODEBUGRANGES": "1",
        "UV_PYTHON": "/usr/local/bin/python",
        "UV_PYTHON_DOWNLOADS": "never",
    }, "rules C3, C7, L5 and S4 of docs/dockerfile.md"),
    *(
        (f"{stage} > FROM", base, "what a stage can see")
        for stage, base in {
            "system": "python",
            "build": "python",
            "deps": "build",
            "app": "build",
        }.items()
    ),
    ("build > WORKDIR", "/src", "what is built is not where it runs"),
    ("build > COPY", "--chmod=755 scripts/image/ /usr/local/bin/", "the same modes from each checkout"),
    ("system > RUN", Has(
        "--mount=type=bind,source=scripts/image,target=/scripts mkdir -p /rootfs/app &&",
        "find usr/local/lib/python3.* -name '*.py' -not -path '*/site-packages/*' -exec cp --parents -t /rootfs {} + &&",
        "layer.sh compile /rootfs usr", "find /rootfs -name '*.py' -delete && cp -a /rootfs/usr /",
        "layer.sh name_user /rootfs", "layer.sh normalize /rootfs",
    ), "the library compiled, without pip's and a second source; a user with a name"),
    ("deps > RUN", Has(
        "--mount=from=uv,source=/uv,target=/usr/local/bin/uv", "--mount=type=cache,target=/root/.cache/uv",
        "--mount=type=bind,source=pyproject.toml,target=pyproject.toml",
        "--mount=type=bind,source=uv.lock,target=uv.lock",
        "uv sync --locked --no-default-groups --no-install-project $(project.sh skip) &&",
        "{ layer.sh compile / app/.venv/lib >/dev/null || true; } &&",
        "layer.sh strip /app/.venv && layer.sh split /app /rootfs /heavy", "layer.sh normalize /rootfs /heavy",
    ), "what the lock names and nothing else, in layers that are the same each time"),
    ("app > COPY", "pyproject.toml uv.lock ./\nsrc src", "the project, and no file beside it"),
    ("app > RUN", Has(
        "--mount=from=uv,source=/uv,target=/usr/local/bin/uv uv venv /app/.venv",
        "--mount=from=uv,source=/uv,target=/usr/local/bin/uv --mount=from=system",
        "--mount=from=system,source=/usr/local/lib,target=/usr/local/lib",
        "project.sh install && layer.sh refuse_secrets /rootfs && layer.sh compile /rootfs app",
        "&& layer.sh normalize /rootfs",
    ), "no secret of the source is shipped, and nobody can write what is"),
    ("app > ARG", None, "a version from a file needs no argument"),
    ("runtime > FROM", "python", "the base that the lock was compiled on"),
    ("runtime > ENV", RUNTIME_ENV | {"PORT": "9000"}, "rule R3; the port is the answer"),
    ("runtime > COPY", "\n".join(
        [
            "--link --from=system /rootfs/ /", "--link --from=deps /heavy/ /", "--link --from=deps /rootfs/ /",
            "--link --from=app /rootfs/ /",
        ],
    ), "the steadiest tree first, so that an edit pushes the last alone"),
    ("runtime > WORKDIR", "/app", "a relative path means the same as outside"),
    ("runtime > USER", "10001:10001", "Kubernetes' runAsNonRoot wants a number, and root is none of the service's"),
    ("runtime > EXPOSE", "9000", "what `docker run -P` and others publish"),
    ("runtime > HEALTHCHECK", Has(
        f'{HEALTH} CMD ["python", "-ISc", "import http.client as h, os; ',
        "h.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=2); c.request('GET', '/healthz');",
        'raise SystemExit(c.getresponse().status != 200)"]',
    ), "asked once a second for 30 s until it is good, each time with an end; only in a start period does BuildKit's start interval count"),
    ("runtime > CMD", '["python", "-m", "my_service"]', "no shell keeps SIGTERM from it"),
    ("runtime > ENTRYPOINT", None, "any other command can be run"),
    ("runtime > VOLUME", None, "a volume would be writable in a hardened container"),
    ("runtime > RUN", None, "what changes the image is a tree of a stage"),
]
DOCKERFILE_DISTROLESS: list[Row] = [
    ("python > RUN", Has(
        "-path '*/bin/pip*' -o -path '*/site-packages/pip*' -o -name ensurepip -o -name 'idle*' -o -name pydoc_data -o -name '*tkinter*' -o -name 'turtle*' -o -path '*/lib-dynload/*test*'",
        "-prune -exec rm -rf {} +",
    ), "what installs, needs a screen or tests Python"),
    ("packages > RUN", Has(
        "SOURCE_DATE_EPOCH=315532800 apt-get install --yes --no-install-recommends --reinstall libpq5",
        "rm -rf /var/lib/apt/lists/*",
        "-path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /rootfs -o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path '/etc/host*' -o -path /etc/resolv.conf -o -path /scripts",
        "--mount=type=bind,source=scripts/image,target=/scripts touch /before && apt-get update",
        "mkdir /rootfs && find / -xdev \\( -path",
        "\\) -prune -o -cnewer /before \\( -not -type d -o -empty \\) -exec cp -a --parents -t /rootfs {} +",
        "sh /scripts/layer.sh date /rootfs",
    ), "no cache, no log and no date of the build; all of a package that the base has"),
    ("system > RUN", Has("--mount=type=bind,from=packages,source=/etc,target=/packages"), "users that apt added"),
    ("debian > FROM", "packages", "with what apt added"),
    ("debian > RUN", Has(
        "--mount=type=bind,from=deps,target=/deps --mount=type=bind,from=python,target=/python",
        "bash /scripts/distroless.sh libpq5 && sh /scripts/layer.sh date /rootfs",
    ), "what Python, the wheels and the packages need"),
    ("runtime > FROM", "scratch", "nothing of Debian that is not named"),
    ("runtime > ENV", {"LANG": "C.UTF-8"} | RUNTIME_ENV | {"PORT": "8000"}, "a base without a locale has ASCII"),
    ("runtime > COPY", Has("--link --from=debian /rootfs/ / --link --from=system /rootfs/ /"), "the steadiest first"),
]
DOCKERFILE_COMPANY: list[Row] = [
    ("uv > FROM", Has("registry.corp/mirror/astral-sh/uv:"), "no image of another registry"),
    ("python > FROM", Has("registry.corp/mirror/python:"), "no image of another registry"),
    ("build > RUN",
     "apt-get update && apt-get install --yes --no-install-recommends gcc git openssh-client && rm -rf /var/lib/apt/lists/*",
     "what a build needs, and nothing that is recommended"),
    ("build > ENV > LDFLAGS", "-s", "debug information has a folder that is another each time"),
    *(
        (
            f"{stage} > RUN",
            Has(
                *(
                    f"--mount=type=secret,id={name},required=true"
                    for name in [
                        *(
                            f"UV_INDEX_{index}_{part}"
                            for index in ("PRIVATE", "ACME_GPU")
                            for part in ("USERNAME", "PASSWORD")
                        ),
                        *("SSH_KNOWN_HOSTS", "CA_BUNDLE"),
                    ]
                ),
                "--mount=type=ssh,required=true",
                "--mount=type=tmpfs,target=/run/tls",
                ". access.sh &&",
                '{ cat /etc/ssl/certs/ca-certificates.crt; echo "$CA_BUNDLE"; } >/run/tls/all && export SSL_CERT_FILE=/run/tls/all &&',
            ),
            "a step that may ask an index has all that opens it, and none of it is in a layer",
        )
        for stage in ("deps", "app")
    ),
    ("deps > RUN", Has(*(f': "${{{name}:?is a secret of this build}}" &&' for name in SECRETS)),
     "an empty secret stops the build with its name"),
    ("runtime > COPY", Has("--link --from=packages /rootfs/ / --link --from=system /rootfs/ /"),
     "what apt added changes least"),
]
DOCKERFILE_WORKER: list[Row] = [
    ("runtime > ENV > HEARTBEAT_FILE", "/dev/shm/heartbeat", "in memory, where any user of a hardened container writes"),
    ("runtime > HEALTHCHECK", Has(
        f'{HEALTH} CMD ["python", "-ISc", "import os, time; raise SystemExit(time.time()',
        "os.stat(os.environ['HEARTBEAT_FILE']).st_mtime > 15)\"]",
    ), "three beats of 5 s may be missed"),
    ("runtime > EXPOSE", None, "it has no port"),
]
DOCKERFILE_DJANGO: list[Row] = [
    ("static > FROM", "build", "nothing of it is shipped but what it makes"),
    ("static > COPY", "--from=deps /heavy/ /rootfs/ /\n--from=app /rootfs/ /", "what it needs"),
    ("static > ENV", {"STATIC_ROOT": "/rootfs/app/staticfiles"}, "where they are collected"),
    ("static > RUN", Has(
        "--mount=from=system,source=/usr/local/lib,target=/usr/local/lib",
        'mkdir -p "$STATIC_ROOT" && { ! grep -rq static_root src || /app/.venv/bin/python -m my_service.manage collectstatic --no-input --verbosity=0; } &&',
        "layer.sh normalize /rootfs",
    ), "the same layer from each build"),
    ("runtime > ENV > STATIC_ROOT", "/app/staticfiles", "where the service looks"),
    ("runtime > COPY", Has("--link --from=static /rootfs/ / --link --from=app /rootfs/ /"),
     "they change less than the code"),
]
DOCKERFILE_EXISTING: list[Row] = [
    ("deps > RUN", Has(
        "--mount=type=bind,source=libs/rates/pyproject.toml,target=libs/rates/pyproject.toml",
        "--no-install-project $(project.sh skip) --extra postgres &&",
    ), "the options of uv reach both steps"),
    ("app > ARG", "VERSION=0.0.0.dev0", "a version that nobody takes for a release"),
    ("app > ENV", {"SETUPTOOLS_SCM_PRETEND_VERSION": "$VERSION", "UV_DYNAMIC_VERSIONING_BYPASS": "$VERSION"},
     "every backend that asks git is told"),
    ("app > COPY", "\n".join(
        [
            "pyproject.toml uv.lock ./", "libs/rates/pyproject.toml libs/rates/pyproject.toml", "src src",
            "libs/rates libs/rates", "static /rootfs/app/static",
        ],
    ), "what the answers name, where they say"),
    ("app > RUN", Has("project.sh install --extra postgres &&"), "the options of uv reach both steps"),
    ("runtime > CMD", '["python", "-m", "orders"]', "no shell keeps SIGTERM from it"),
    ("runtime > HEALTHCHECK", None, "a path that nobody named is not asked"),
]
DISTROLESS: list[Row] = [
    ("", Lines(
        "set -euo pipefail", "mkdir -p /rootfs/tmp && chmod 1777 /rootfs/tmp",
        "cp -a --parents /usr/local/bin/python* /usr/local/lib/* /rootfs",
        "find /etc/ssl/certs/ca-certificates.crt /etc/ssl/openssl.cnf /usr/lib/ssl /usr/lib/*/ossl-modules \\",
        "/usr/share/zoneinfo /usr/lib/locale/C.utf8 /usr/lib/terminfo /etc/localtime /etc/timezone /etc/services \\",
        "/etc/protocols /etc/nsswitch.conf /etc/host.conf /etc/ld.so.conf /etc/ld.so.conf.d /etc/os-release \\",
        "/etc/debian_version /usr/lib/*/libnss_*.so.* /usr/lib/*/libgcc_s.so.* /sbin/ldconfig \\",
        "find /usr/local /deps/rootfs /deps/heavy /rootfs -type f \\( -name '*.so*' -o -perm /111 \\) -exec ldd {} + 2>/dev/null \\",
        "-maxdepth 0 >/paths 2>/dev/null || true", "for link in /bin /lib /lib64 /sbin; do",
        r"""| sed -nE 's#^\s(.* => )?(/[^ ]+) \(0x.*#\2#p' | grep -vE '^/(deps|rootfs)/' >>/paths || true""",
        'for file in "$(readlink -f "${path%/*}")/${path##*/}" "$(readlink -f "$path")"; do',
        'cp -a --parents "$file" /rootfs', 'echo "$file ${file#/usr}" >>/files',
        "echo /usr/share/ca-certificates >>/files",
        r"""xargs dpkg-query --search </files 2>/dev/null | sed '/^diversion/d; s/: .*//; s/, /\n/g' >/packages || true""",
        r"""printf '%s\n' "$@" | sed '/^$/d; /[^a-z0-9+.-]/d' >>/packages""",
        "comm -13 <(dpkg-query --admindir=/python/var/lib/dpkg --show | sort) <(dpkg-query --show | sort) | cut -f1 >>/packages",
        "rm -rf /rootfs/var/lib/dpkg && mkdir -p /rootfs/var/lib/dpkg/status.d",
        'dpkg-query --status "$package" >"/rootfs/var/lib/dpkg/status.d/${package%:*}"',
        "ldconfig -r /rootfs && rm -rf /rootfs/var/cache",
    ), "rules D1 to D4; the sticky bit keeps one user from the files of another"),
]

# --- compose.yaml and docker-bake.hcl ---------------------------------------------------------

SCAN: dict[str, Any] = {
    "profiles": ["scan"],
    "command": [
        "image", "--input=/image.tar", "--scanners=vuln", "--severity=HIGH,CRITICAL", "--ignore-unfixed",
        "--ignorefile=/.trivyignore.yaml", "--exit-code=1",
    ],
    "volumes": ["./image.tar:/image.tar:ro", "./.trivyignore.yaml:/.trivyignore.yaml:ro"],
}
HARDENED: dict[str, Any] = {
    "user": "12345:0",
    "read_only": "true",
    "tmpfs": ["/tmp"],
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "stop_grace_period": "30s",
}
COMPOSE: list[Row] = [
    ("services > scan > profiles", SCAN["profiles"], "`up` starts the service alone"),
    ("services > scan > command", SCAN["command"],
     "a finding stops a release; a lower severity, and one without a mend, does not"),
    ("services > scan > volumes", SCAN["volumes"], "an archive and no engine, and nothing that it could write"),
    ("services > scan > environment", None, "no credential"),
    *(
        (f"services > app > {key}", value, "hardened as in production; any user will do")
        for key, value in HARDENED.items()
    ),
    ("services > app > ports", ["127.0.0.1:8000:8000"], "only this machine reaches it"),
    ("services > app > image", "${IMAGE:-ghcr.io/acme/orders.api}", "a pipeline tests what it built"),
    ("services > app > build", ".", "no argument and no secret that nobody asked for"),
    ("services > app > environment", {"LOG_LEVEL": "${LOG_LEVEL:-INFO}"}, "the defaults of the image otherwise"),
    ("services > * > privileged", {}, "no container has the machine"),
    ("services > * > network_mode", {}, "nor its network"),
    ("services > * > cap_add", {}, "nor a capability"),
    ("services > app > volumes", None, "what is tested is what ships, not a mounted source"),
    ("services > app > restart", None, "a crash of a developer's service is seen"),
    ("services > app > develop > watch",
     [{"action": "rebuild", "path": path} for path in ("src", "pyproject.toml", "uv.lock")],
     "an image in which code can be exchanged is another than ships"),
]
COMPOSE_DATABASE: list[Row] = [
    ("services > app > environment > DATABASE_URL", "postgres://postgres:local@postgres/postgres",
     "the database beside it"),
    ("services > app > depends_on", {"migrate": {"condition": "service_completed_successfully"}},
     "the tables are there first"),
    ("services > migrate", {
        "image": "${IMAGE:-ghcr.io/acme/orders.api}",
        "pull_policy": "never",
        "command": ["python", "-m", "my_service.manage", "migrate"],
        "environment": {"DATABASE_URL": "postgres://postgres:local@postgres/postgres"},
        "depends_on": {"postgres": {"condition": "service_healthy"}},
        "user": "12345:0",
        "read_only": "true",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }, "the image that was built, hardened as the service is"),
    ("services > postgres > ports", None, "only the containers beside it reach it"),
    ("services > postgres > volumes", None, "nothing that it holds outlives it"),
    ("services > postgres > healthcheck", {
        "test": ["CMD", "pg_isready", "--host=127.0.0.1", "--username=postgres"],
        "interval": "1s",
        "retries": "60",
    }, "over TCP, which it does not answer while it sets itself up"),
]
COMPOSE_WORKER: list[Row] = [
    ("services > app > restart", "on-failure", "it ends when it has lost its queue"),
    ("services > app > ports", None, "it has none"),
    ("services > app > environment", {"LOG_LEVEL": "${LOG_LEVEL:-INFO}", "REDIS_URL": "redis://redis:6379/0"},
     "the queue beside it"),
    ("services > redis", {"image": "redis:8-alpine"}, "no port, no volume"),
    *((f"services > app > {key}", value, "hardened as in production") for key, value in HARDENED.items()),
]
COMPOSE_COMPANY: list[Row] = [
    ("secrets", {name: {"environment": name} for name in SECRETS}, "from variables of these names"),
    ("services > app > build", {"context": ".", "ssh": ["default"], "secrets": SECRETS},
     "secrets and no arguments, which stay in the history"),
    ("services > scan > image", Has("registry.corp/mirror/aquasec/trivy:"), "no image of another registry"),
]

BAKE: list[Row] = [
    ("group > default > targets", ["image"], "without a word nothing is pushed"),
    ("variable > * > default", {
        "IMAGE": "ghcr.io/acme/orders.api",
        **dict.fromkeys(("CACHE", "REVISION", "SOURCE", "VERSION", "SOURCE_DATE_EPOCH"), ""),
        "ARCH": "amd64",
        "COMPRESSION": "",
    }, "what nobody says"),
    ("function > dated > result", Has(
        "${output},source-date-epoch=${SOURCE_DATE_EPOCH}",
        ',compression=${COMPRESSION == "" ? "gzip" : COMPRESSION},force-compression=true,oci-mediatypes=true',
    ), "the same bytes from each builder; gzip, which everything pulls, by default"),
    ("target > * > output", {
        "image": ["type=docker,source-date-epoch=${SOURCE_DATE_EPOCH}"],
        "release": ['${dated("type=registry")}'],
        "rebuild": ['${dated("type=oci,dest=rebuild.tar")}'],
    }, "the second build is pushed nowhere"),
    ("target > * > tags", {"image": ["IMAGE"], "release": ["${IMAGE}:build-${REVISION}-${ARCH}"]},
     "no name of a release before it is verified"),
    ("target > * > inherits", {"release": ["image"], "rebuild": ["release"]}, "one description"),
    ("target > * > attest", {
        "release": ["type=provenance,mode=max", "type=sbom"],
        "rebuild": ["type=provenance,disabled=true", "type=sbom,disabled=true"],
    }, "verify.sh asks for both; they say when they were made"),
    ("target > * > no-cache", {"rebuild": True}, "a second build, and not the first one's layers"),
    ("target > * > cache-from", {"image": '${CACHE == "" ? [] : ["type=registry,ref=${CACHE}"]}'},
     "the name that the pipeline gives"),
    ("target > * > cache-to", {"release": '${CACHE == "" ? [] : ["type=registry,ref=${CACHE},mode=max"]}'},
     "the stages that are not shipped are the slow ones; a proposed change pushes nothing"),
    ("target > * > args", {"image": '${SOURCE_DATE_EPOCH == "" ? {} : {SOURCE_DATE_EPOCH = "4102444800"}}'},
     "a date behind every commit's, or each would install the dependencies again"),
    ("target > * > labels", {
        "release": {
            "org.opencontainers.image.revision": "REVISION",
            "org.opencontainers.image.source": "SOURCE",
            "org.opencontainers.image.version": "VERSION",
        },
    }, "verify.sh asks for the revision"),
    ("target > * > secret", {}, "none that nobody asked for"),
    ("target > * > pull", {"release": True}, "bases are what their tags name today"),
    ("target > * > platforms", {}, "each machine builds for its own"),
]
BAKE_COMPANY: list[Row] = [
    ("variable > IMAGE > default", "registry.gitlab.com/acme/orders.api", "GitLab's registry, as Docker spells it"),
    ("target > image > secret", [f"id={name},env={name}" for name in SECRETS], "no layer and no history has them"),
    ("target > image > ssh", ["default"], "the agent keeps the key"),
    ("target > image > no-cache-filter", '${REVISION == "" ? [] : ["packages", "build"]}',
     "Debian of today in both builds"),
    ("target > release > output", ['${dated("type=registry,oci-artifact=false")}'],
     "GitLab refuses what is attached to an image that it does not have yet"),
    ("target > release > attest", [
        "type=provenance,mode=max", "type=sbom,generator=registry.corp/mirror/docker/buildkit-syft-scanner:stable-1",
    ], "no image of another registry"),
]
BAKE_EXISTING: list[Row] = [
    ("target > image > args", Has(
        'regex("^v?([0-9][0-9A-Za-z.+]*)$", VERSION)[0]',
        'REVISION == "" ? "0.0.0.dev0" : "0.0.0.dev0+${substr(REVISION, 0, 12)}"',
    ), "the name of a branch is no version"),
]

# --- The pipelines ----------------------------------------------------------------------------

GITHUB_CHECKS = {
    "Is uv.lock up to date?": "uv lock --check",
    "Format": "uv run --locked ruff format --check",
    "Lint": "uv run --locked ruff check",
    "Types": "uv run --locked mypy",
    "Tests": "uv run --locked pytest",
}
SMOKE = [
    "docker compose up --detach --no-build --wait --wait-timeout 60 app", "docker compose stop",
    "test \"$(docker compose ps --all --format '{{.ExitCode}}' app)\" = 0",
]
READ_ONLY = 'docker run --rm --interactive "$IMAGE" python - <scripts/read_only.py'
SCANNED = ['docker image save --output image.tar "$IMAGE"', "docker compose run --rm scan"]
CONFIG = 'config=$(sed -n \'s/.*"containerimage.config.digest": "sha256:\\(.*\\)".*/\\1/p\' rebuild.json)'
COMPARE = 'tar -xOf rebuild.tar "blobs/sha256/$config" | cat rebuild.json - | tr -d \'"\' | grep -F "${FIRST:?}"'
DIGEST = 'digest=$(sed -n \'s/.*"containerimage.digest": "\\(.*\\)".*/\\1/p\' build.json)'
MANIFEST = (
    "manifest=$(docker buildx imagetools inspect --format '{{range .Manifest.Manifests}}"
    '{{if ne .Platform.OS "unknown"}}{{.Digest}}{{end}}{{end}}\' "$IMAGE@$digest")'
)
BUILDKIT = (
    "buildkit=$(docker buildx inspect --bootstrap | sed -n 's/+/-/g; s/^BuildKit version: *//p')"
)
BUILD = 'SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) CACHE="$IMAGE:cache-$ARCH-$buildkit" docker buildx bake{} --metadata-file build.json "$TARGET"'
REBUILD = "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) docker buildx bake{} --metadata-file rebuild.json rebuild"
VERIFY = 'cosign verify --certificate-oidc-issuer "$ISSUER" --certificate-identity "$IDENTITY" "$IMAGE@$DIGEST"'
LABELS = {
    "ARCH": "${{ matrix.arch }}",
    "COMPRESSION": "${{ vars.COMPRESSION }}",
    "REVISION": "${{ github.sha }}",
    "SOURCE": "${{ github.server_url }}/${{ github.repository }}",
    "VERSION": "${{ github.ref_name }}",
}
IMAGE = {"IMAGE": "${{ needs.image.outputs.name }}"}
RELEASED = IMAGE | {"DIGEST": "${{ needs.publish.outputs.digest }}"}
LOGIN = {"registry": "ghcr.io", "username": "${{ github.actor }}", "password": "${{ github.token }}"}
FIRST = "${{ matrix.arch == 'arm64' && needs.image.outputs.first-arm64 || needs.image.outputs.first-amd64 }}"
RUNS = "jobs > {} > steps > {} > run"
PERMISSIONS = {
    "check": {"contents": "read"},
    "image": {"contents": "read", "packages": "write"},
    "reproduce": {"contents": "read"},
    "publish": {"packages": "write", "id-token": "write"},
    "verify": {"contents": "read", "packages": "read"},
    "release": {"packages": "write"},
}

CHECKOUT, TO_LOG_IN = Has("actions/checkout@"), Has("docker/login-action@")
BUILDX, COSIGN = Has("docker/setup-buildx-action@"), Has("sigstore/cosign-installer@")

GITHUB: list[Row] = [
    ("on", {
        "push": {"branches": ["main"], "tags": ["v*"]},
        "pull_request": "",
        "schedule": [{"cron": "43 4 * * 2"}],
        "workflow_dispatch": "",
    }, "a branch or a tag more would release, without a schedule no fix of the base would; pull_request_target would run a fork's code with secrets"),
    ("permissions", {}, "each job asks for its own"),
    ("concurrency", {
        "group": "ci-${{ github.ref }}",
        "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
    }, "no push cancels the one before, in the midst of a release"),
    ("env", None, "each job has its own"),
    ("jobs > * > permissions", PERMISSIONS, "the table of docs/delivery.md"),
    ("jobs > * > timeout-minutes", {
        "check": "10",
        "image": "20",
        "reproduce": "20",
        "publish": "10",
        "verify": "10",
        "release": "10",
    }, "GitHub's own is six hours"),
    ("jobs > * > needs", {
        "image": "check",
        "reproduce": "image",
        "publish": ["image", "reproduce"],
        "verify": ["image", "publish"],
        "release": ["image", "publish", "verify"],
    }, "nothing has a name before all that is above it passed"),
    ("jobs > * > if", {"publish": "github.event_name != 'pull_request'"}, "a proposed change is not published"),
    ("jobs > * > runs-on", {
        "check": "ubuntu-24.04",
        "image": "${{ matrix.runner }}",
        "reproduce": "${{ matrix.arch == 'arm64' && 'ubuntu-24.04-arm' || 'ubuntu-24.04' }}",
        **dict.fromkeys(("publish", "verify", "release"), "ubuntu-24.04"),
    }, "a runner with a number does not change overnight"),
    ("jobs > * > strategy", {
        "image": {
            "matrix": {
                "include": [
                    {"arch": "amd64", "runner": "ubuntu-24.04"},
                    {"arch": "arm64", "runner": "ubuntu-24.04-arm"},
                ],
            },
        },
        "reproduce": {"matrix": {"arch": ["amd64", "arm64"]}},
    }, "each architecture on its own kind, twice"),
    ("jobs > * > environment", {}, "without secrets there is none"),
    ("jobs > * > continue-on-error", {}, "a failure stops"),
    ("jobs > * > steps > * > continue-on-error", {name: {} for name in PERMISSIONS}, "a failure stops"),
    ("jobs > * > steps > * > if",
     {name: {} for name in PERMISSIONS} | {"image": {"Log in to the registry": "github.event.pull_request.head.repo.fork != true", "Pull what was pushed": "github.event_name != 'pull_request'", "Say why it did not run": "failure()"}, "publish": {"Sign": "steps.released.outputs.digest == ''"}},
     "no step is left out but for these reasons"),
    ("jobs > * > steps > * > with > persist-credentials", {
        "check": {"Check out": "false"},
        "image": {"Check out the source": "false"},
        "reproduce": {"Check out the same source": "false"},
        "publish": {},
        "verify": {"Check out the scripts": "false"},
        "release": {},
    }, "no step finds the token in .git"),
    ("jobs > * > steps > * > uses", {
        "check": {"Check out": CHECKOUT, "Install uv": Has("astral-sh/setup-uv@")},
        "image": {"Check out the source": CHECKOUT, "Set up Buildx": BUILDX, "Log in to the registry": TO_LOG_IN},
        "reproduce": {"Check out the same source": CHECKOUT, "Set up Buildx once more": BUILDX},
        "publish": {"Install cosign": COSIGN, "Log in to push": TO_LOG_IN},
        "verify": {"Check out the scripts": CHECKOUT, "Install cosign to verify": COSIGN, "Log in to read": TO_LOG_IN},
        "release": {"Log in to name it": TO_LOG_IN},
    }, "what a command needs is there before it, and nobody else's action runs"),
    ("jobs > check > steps > Install uv > with > enable-cache", "false", "what another run filled is not run here"),
    *(
        (f"jobs > {job} > steps > {step} > with", LOGIN, "the token of the job, and no password")
        for job, step in [
            ("image", "Log in to the registry"),
            ("publish", "Log in to push"),
            ("verify", "Log in to read"),
            ("release", "Log in to name it"),
        ]
    ),
    ("jobs > * > env", {
        "image": LABELS | {"TARGET": "${{ github.event_name == 'pull_request' && 'image' || 'release' }}"},
        "reproduce": LABELS | IMAGE,
        "publish": IMAGE,
        "verify": RELEASED,
        "release": RELEASED,
    }, "a proposed change stays on its runner; both builds have the same labels; what is released is what was signed"),
    ("jobs > * > outputs", {
        "image": {
            "name": "${{ steps.name.outputs.name }}",
            **{
                f"first-{arch}": f"${{{{ steps.digest.outputs.manifest-{arch} || steps.layers.outputs.{arch} }}}}"
                for arch in ("amd64", "arm64")
            },
            **{arch: f"${{{{ steps.digest.outputs.{arch} }}}}" for arch in ("amd64", "arm64")},
        },
        "publish": {"digest": "${{ steps.released.outputs.digest || steps.join.outputs.digest }}"},
    }, "by digest, since a tag can be moved"),
    ("jobs > * > steps > * > env",
     {name: {} for name in PERMISSIONS} | {"reproduce": {"Compare": {"FIRST": FIRST}}, "publish": {"Join the architectures": {"AMD64": "${{ needs.image.outputs.amd64 }}", "ARM64": "${{ needs.image.outputs.arm64 }}"}, "Is the same released already?": {"BUILT": "${{ steps.join.outputs.digest }}"}, "Sign": {"DIGEST": "${{ steps.join.outputs.digest }}"}}, "verify": {"Did this workflow sign it?": {"ISSUER": "https://token.actions.githubusercontent.com", "IDENTITY": "${{ github.server_url }}/${{ github.workflow_ref }}"}}},
     "anybody can sign in another name; no secret is there"),
    ("jobs > check > steps > * > run", GITHUB_CHECKS, "each check, with the lock that is committed"),
    (RUNS.format("image", "Name the image"), Lines(
        'echo "IMAGE=ghcr.io/${GITHUB_REPOSITORY,,}" >>"$GITHUB_ENV"',
        'echo "name=ghcr.io/${GITHUB_REPOSITORY,,}" >>"$GITHUB_OUTPUT"',
    ), "a registry takes no capitals"),
    (RUNS.format("image", "Build"), Lines(BUILDKIT, BUILD.format("")),
     "the date of the commit, and a cache for each version of BuildKit"),
    (RUNS.format("image", "Pull what was pushed"), Lines(
        DIGEST, 'docker pull "$IMAGE@$digest"', 'docker tag "$IMAGE@$digest" "$IMAGE"',
        'echo "$ARCH=$digest" >>"$GITHUB_OUTPUT"', MANIFEST, 'echo "manifest-$ARCH=$manifest" >>"$GITHUB_OUTPUT"',
    ), "what is tested is what others pull"),
    (RUNS.format("image", "List its layers"), Lines(
        'layers=$(docker image inspect --format \'{{join .RootFS.Layers ","}}\' "$IMAGE")',
        'echo "$ARCH=$layers" >>"$GITHUB_OUTPUT"',
    ), "what was not pushed is compared too"),
    (RUNS.format("image", "Is its code read-only?"), READ_ONLY, "a writable folder stops it"),
    (RUNS.format("image", "Smoke-run"), Lines(*SMOKE), "healthy in a minute, and 0 at a stop"),
    (RUNS.format("image", "Say why it did not run"), "docker compose logs", "a failure is explained"),
    (RUNS.format("image", "Scan"), Lines(*SCANNED), "a vulnerability stops it"),
    (RUNS.format("reproduce", "Build again, from nothing"), REBUILD.format(""), "the target without a cache"),
    (RUNS.format("reproduce", "Compare"), Lines(CONFIG, COMPARE), "nothing to compare with is an error"),
    (RUNS.format("publish", "Join the architectures"), Lines(
        'docker buildx imagetools create --tag "$IMAGE:build-$GITHUB_RUN_ID" "$IMAGE@$AMD64" "$IMAGE@$ARM64"',
        'echo "digest=$(docker buildx imagetools inspect --format \'{{println .Manifest.Digest}}\' "$IMAGE:build-$GITHUB_RUN_ID")" >>"$GITHUB_OUTPUT"',
    ), "both, under a name that is no release"),
    (RUNS.format("publish", "Is the same released already?"), Lines(
        "built=$(docker buildx imagetools inspect --format '{{json .Image}}' \"$IMAGE@$BUILT\")",
        'released=$(docker buildx imagetools inspect --format \'{{json .Image}}\' "$IMAGE:sha-$GITHUB_SHA" || true)',
        'if [ "$built" = "$released" ]; then',
    ), "a scheduled build releases what differs from the released image, and nothing else"),
    (RUNS.format("publish", "Sign"), 'cosign sign --yes "$IMAGE@$DIGEST"', "a digest, since a tag can be moved"),
    (RUNS.format("verify", "Did this workflow sign it?"), VERIFY, "the exact issuer and identity"),
    (RUNS.format("verify", "Does it say what it is made of?"), 'sh scripts/verify.sh "$IMAGE@$DIGEST" "$GITHUB_SHA"',
     "of this commit"),
    (RUNS.format("release", "Push"), Lines(
        'tags=("${GITHUB_REF_NAME//[^A-Za-z0-9_.-]/-}")', '[ "$GITHUB_REF_TYPE" = tag ] || tags+=("sha-$GITHUB_SHA")',
        'docker buildx imagetools create --tag "$IMAGE:$tag" "$IMAGE@$DIGEST"',
    ), "the digest that was verified"),
]

MIRROR = {
    "registry": "registry.corp",
    "username": "${{ vars.REGISTRY_USERNAME }}",
    "password": "${{ secrets.REGISTRY_PASSWORD }}",
}
KEPT_IN = {name: "secrets" if "PASSWORD" in name else "vars" for name in SECRETS}
GIVEN = {name: f"${{{{ {kept}.{name} }}}}" for name, kept in KEPT_IN.items()}
KEY = {"SSH_KNOWN_HOSTS": "${{ vars.SSH_KNOWN_HOSTS }}", "SSH_PRIVATE_KEY": "${{ secrets.SSH_PRIVATE_KEY }}"}
GITHUB_COMPANY: list[Row] = [
    ("jobs > * > environment", dict.fromkeys(("check", "image", "reproduce"), "package-index"),
     "what opens the index is for these jobs"),
    ("jobs > check > env", GIVEN | KEY,
     "a password is a secret; a user and what is public are variables, since GitHub drops outputs that have a secret in them"),
    ("jobs > image > steps > * > env", {"Load the key of git": KEY, "Build": GIVEN},
     "the step that needs them has them alone"),
    ("jobs > reproduce > steps > * > env", {
        "Load the key of git once more": KEY,
        "Build again, from nothing": GIVEN,
        "Compare": {"FIRST": FIRST},
    }, "the second build as the first"),
    ("jobs > * > steps > * > if",
     {name: {} for name in PERMISSIONS} | {"image": {"Log in to registry.corp": "vars.REGISTRY_USERNAME", "Log in to the registry": "github.event.pull_request.head.repo.fork != true", "Pull what was pushed": "github.event_name != 'pull_request'", "Say why it did not run": "failure()"}, "reproduce": {"Log in to registry.corp once more": "vars.REGISTRY_USERNAME"}, "publish": {"Sign": "steps.released.outputs.digest == ''"}},
     "a registry without a login has no such variable"),
    ("jobs > image > steps > Log in to registry.corp > with", MIRROR, "the password is a secret"),
    ("jobs > reproduce > steps > Log in to registry.corp once more > with", MIRROR, "the password is a secret"),
    ("jobs > image > steps > Set up Buildx > with > driver-opts",
     "image=registry.corp/mirror/moby/buildkit:buildx-stable-1",
     "no image of another registry"),
    ("jobs > reproduce > steps > Set up Buildx once more > with > driver-opts",
     "image=registry.corp/mirror/moby/buildkit:buildx-stable-1",
     "no image of another registry"),
    ("jobs > check > steps > * > run", {
        "Are the settings of this repository there?": "".join(
            f': "${{{name}:?is not set}}"\n' for name in [*SECRETS, "SSH_PRIVATE_KEY"]
        ),
        "Trust the company's certificates": '{ cat /etc/ssl/certs/ca-certificates.crt; echo "$CA_BUNDLE"; } >"$RUNNER_TEMP/certificates.pem"\necho "SSL_CERT_FILE=$RUNNER_TEMP/certificates.pem" >>"$GITHUB_ENV"\necho "GIT_SSL_CAINFO=$RUNNER_TEMP/certificates.pem" >>"$GITHUB_ENV"\n',
        "Open the git server": '. scripts/image/access.sh\nenv | grep -E \'^(GIT_(CONFIG|SSH|TERMINAL)_|SSH_AUTH_SOCK)\' >>"$GITHUB_ENV"\n',
        **GITHUB_CHECKS,
    }, "an empty setting stops it with its name; the key itself is not handed on"),
    *(
        (
            RUNS.format(job, step),
            Lines(
                ". scripts/image/access.sh", 'echo "SSH_AUTH_SOCK=$SSH_AUTH_SOCK" >>"$GITHUB_ENV"'
            ),
            "the agent and not the key",
        )
        for job, step in [
            ("image", "Load the key of git"),
            ("reproduce", "Load the key of git once more"),
        ]
    ),
    (RUNS.format("image", "Build"), Lines(BUILDKIT, BUILD.format(" --allow=ssh")),
     "bake asks before it hands an agent on"),
    (RUNS.format("reproduce", "Build again, from nothing"), REBUILD.format(" --allow=ssh"),
     "bake asks before it hands an agent on"),
]
GITHUB_TOKEN: list[Row] = [
    ("jobs > check > env", {"GIT_USERNAME": "${{ vars.GIT_USERNAME }}", "GIT_PASSWORD": "${{ secrets.GIT_PASSWORD }}"},
     "a token is a secret"),
    ("jobs > image > steps > Build > env", {
        "GIT_USERNAME": "${{ vars.GIT_USERNAME }}",
        "GIT_PASSWORD": "${{ secrets.GIT_PASSWORD }}",
    }, "a token is a secret"),
]
GITHUB_DEPOT: list[Row] = [
    ("jobs > * > permissions",
     PERMISSIONS | {"image": PERMISSIONS["image"] | {"id-token": "write"}, "reproduce": PERMISSIONS["reproduce"] | {"id-token": "write"}},
     "Depot knows a job by its token"),
    ("jobs > image > steps > Set up Depot > with", {"oidc": "true"}, "no token that could leak"),
    ("jobs > reproduce > steps > Set up Depot once more > with", {"oidc": "true"}, "no token that could leak"),
    (RUNS.format("image", "Build"),
     'SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) depot bake --metadata-file build.json "$TARGET"',
     "Depot keeps the cache"),
    (RUNS.format("reproduce", "Build again, from nothing"),
     "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) depot bake --metadata-file rebuild.json rebuild",
     "the target without a cache"),
]
UPDATE: list[Row] = [
    ("on", {"schedule": [{"cron": "17 5 * * 1"}], "workflow_dispatch": ""},
     "once a week, and by hand; a push never sees the token"),
    ("permissions", {}, "the job asks for its own"),
    ("concurrency", {"group": "template-update", "cancel-in-progress": "false"},
     "no run ends another between its push and its pull request"),
    ("jobs > * > timeout-minutes", {"update": "10"}, "GitHub's own is six hours"),
    ("jobs > * > permissions", {"update": {"contents": "read"}}, "it writes with the token"),
    ("jobs > * > environment", {"update": "template-update"}, "the branches that may ask for the token"),
    ("jobs > * > env", {}, "no step but the last has the token"),
    ("jobs > * > runs-on", {"update": "ubuntu-24.04"}, "a runner with a number does not change overnight"),
    ("jobs > update > steps > * > with > persist-credentials", {"Check out": "false"},
     "git has the token and no other"),
    ("jobs > update > steps > * > uses", {"Check out": CHECKOUT, "Install uv": Has("astral-sh/setup-uv@")},
     "what runs beside a token is pinned, and nobody else's action is there"),
    ("jobs > update > steps > Install uv > with > enable-cache", "false",
     "what another run filled is not run beside a token"),
    ("jobs > update > steps > * > env", {
        "Propose": {
            "GH_TOKEN": "${{ secrets.TEMPLATE_UPDATE_TOKEN }}",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "url.https://github.com/.insteadOf",
            "GIT_CONFIG_VALUE_0": "git@github.com:",
        },
    }, "a secret, and not the token of the job, whose pull requests start no checks"),
    ("jobs > update > steps > Propose > run", Has(
        'copier="uvx --exclude-newer 20', '[ "$code" = 2 ] || exit "$code"',
        "$copier update --defaults --quiet release=", 'git ls-remote --exit-code origin "refs/heads/$branch"',
        'git push --quiet origin "$branch"', "gh pr list --state all --head",
    ), "pinned and dated, no trust, no question, no force; a closed request stays closed"),
]

SHARED_RULE = [{"if": '$TARGET != "template"'}]
GITLAB: list[Row] = [
    ("workflow > rules", [
        {
            "if": "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID != null && $CI_MERGE_REQUEST_SOURCE_PROJECT_ID != $CI_PROJECT_ID",
            "when": "never",
        },
        {
            "if": '$CI_PIPELINE_SOURCE == "merge_request_event"',
            "variables": {"TARGET": "image"},
            "auto_cancel": {"on_new_commit": "interruptible"},
        },
        {"if": '$CI_PIPELINE_SOURCE == "schedule" && $TEMPLATE_UPDATE_TOKEN', "variables": {"TARGET": "template"}},
        {"if": "$CI_COMMIT_TAG =~ /^v/", "variables": {"REF": "refs/tags/$CI_COMMIT_TAG"}},
        {
            "if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH",
            "variables": {"REF": "refs/heads/$CI_COMMIT_BRANCH"},
            "auto_cancel": {"on_new_commit": "conservative"},
        },
    ], "no fork sees the variables; merge requests push nothing; a push does not cancel a release"),
    ("stages", ["check", "build", "reproduce", "publish", "verify", "release"],
     "nothing has a name before it is verified"),
    ("variables", {
        "IMAGE": "$CI_REGISTRY_IMAGE",
        "TARGET": "release",
        "REVISION": "$CI_COMMIT_SHA",
        "SOURCE": "$CI_PROJECT_URL",
        "VERSION": "$CI_COMMIT_REF_NAME",
    }, "the labels of the image"),
    ("* > rules", {
        ".docker": SHARED_RULE,
        ".push": [{"if": '$TARGET == "release"'}],
        "check": SHARED_RULE,
        "template-update": [{"if": '$TARGET == "template"'}],
        "workflow": ANY,
    }, "a merge request stops before publish, and an update of the template does nothing else"),
    ("* > stage", {name: name for name in ("check", "build", "reproduce", "publish", "verify", "release")},
     "one after the other"),
    (".docker > services", [{"name": Has("docker:", "-dind@sha256:"), "alias": "docker"}],
     "the engine under the name that its certificate has"),
    ("* > timeout", {".docker": "20m", "check": "10m"}, "the project's own may be hours"),
    ("* > interruptible", {"check": "true", "build": "true", "reproduce": "true"}, "what publishes is never cut short"),
    ("* > extends", {
        ".push": ".docker",
        "template-update": "check",
        **dict.fromkeys(("build", "reproduce"), ".docker"),
        **dict.fromkeys(("publish", "verify", "release"), ".push"),
    }, "where the rules and the time come from"),
    ("* > needs", {
        "build": ["check"],
        "reproduce": ["build"],
        "publish": ["build", "reproduce"],
        "verify": ["publish"],
        "release": ["publish", "verify"],
    }, "nothing has a name before all that is above it passed"),
    ("* > allow_failure", {}, "a failure stops"),
    ("* > when", {}, "no job waits for a person or runs after a failure"),
    ("* > parallel", {name: {"matrix": [{"ARCH": ["amd64", "arm64"]}]} for name in ("build", "reproduce")},
     "both architectures, twice"),
    ("* > tags", {name: ["saas-linux-small-$ARCH"] for name in ("build", "reproduce")}, "each on its own kind"),
    ("* > variables", {
        ".docker": {"DOCKER_TLS_CERTDIR": "/certs", "DOCKER_DRIVER": "overlayfs"},
        "verify": {"ISSUER": "$CI_SERVER_URL", "IDENTITY": "$CI_PROJECT_URL//.gitlab-ci.yml@$REF"},
    }, "the engine speaks TLS, and can push attestations; anybody can sign in another name"),
    ("* > id_tokens", {"publish": {"SIGSTORE_ID_TOKEN": {"aud": "sigstore"}}}, "one job can sign"),
    ("* > artifacts", {
        "build": {"reports": {"dotenv": "build.env"}},
        "publish": {"reports": {"dotenv": "publish.env"}},
    }, "digests are handed on, and nothing is kept"),
    (".docker > before_script", [
        'echo "$CI_REGISTRY_PASSWORD" | docker login --username "$CI_REGISTRY_USER" --password-stdin "$CI_REGISTRY"',
    ], "a password on a command line is seen by every process"),
    ("check > script", list(GITHUB_CHECKS.values()), "each check, with the lock that is committed"),
    ("build > script", Lines(
        *(BUILDKIT, BUILD.format("")),
        'if [ "$TARGET" = release ]; then',
        *(
            DIGEST, 'docker pull "$IMAGE@$digest"', 'docker tag "$IMAGE@$digest" "$IMAGE"',
            'echo "DIGEST_$ARCH=$digest" >>build.env', MANIFEST,
        ),
        'layers=$(docker image inspect --format \'{{join .RootFS.Layers ","}}\' "$IMAGE")',
        'echo "FIRST_$ARCH=${manifest:-$layers}" >>build.env',
        *(READ_ONLY, *SMOKE, *SCANNED),
    ), "what is tested is what others pull"),
    ("build > after_script", ["docker compose logs"], "a failure is explained"),
    ("reproduce > script", Lines(REBUILD.format(""), 'FIRST=$(printenv "FIRST_$ARCH")', CONFIG, COMPARE),
     "nothing to compare with is an error"),
    ("publish > script", Lines(
        "apk add --quiet cosign", ". ./publish.env",
        "built=$(docker buildx imagetools inspect --format '{{json .Image}}' \"$IMAGE@$DIGEST\")",
        'released=$(docker buildx imagetools inspect --format \'{{json .Image}}\' "$IMAGE:sha-$CI_COMMIT_SHA" || true)',
        'if [ "$built" = "$released" ]; then', "exit",
        'docker buildx imagetools create --tag "$IMAGE:build-$CI_PIPELINE_ID" "$IMAGE@$DIGEST_amd64" "$IMAGE@$DIGEST_arm64"',
        'echo "DIGEST=$(docker buildx imagetools inspect --format \'{{println .Manifest.Digest}}\' "$IMAGE:build-$CI_PIPELINE_ID")" >publish.env',
        'cosign sign --yes "$IMAGE@$DIGEST"',
    ), "both, signed by digest"),
    ("verify > script", Lines(
        "apk add --quiet cosign", VERIFY, 'sh scripts/verify.sh "$IMAGE@$DIGEST" "$CI_COMMIT_SHA"',
    ), "the exact issuer and identity, and this commit"),
    ("release > script", Lines(
        'test -n "$CI_COMMIT_TAG" || docker buildx imagetools create --tag "$IMAGE:sha-$CI_COMMIT_SHA" "$IMAGE@$DIGEST"',
        "CI_COMMIT_REF_NAME=$(printf %s \"$CI_COMMIT_REF_NAME\" | tr -c 'A-Za-z0-9_./-' -)",
        'docker buildx imagetools create --tag "$IMAGE:$(echo "$CI_COMMIT_REF_NAME" | tr / -)" "$IMAGE@$DIGEST"',
    ), "the digest that was verified"),
    ("template-update > script", Has(
        'copier="uvx --exclude-newer 20', '[ "$code" = 2 ] || exit "$code"',
        "$copier update --defaults --quiet release=",
        'if git ls-remote --exit-code "$remote" "refs/heads/$branch"; then exit; fi',
        "git push --quiet --push-option=merge_request.create", '%s\\n" "$TEMPLATE_UPDATE_TOKEN"; :',
    ), "pinned and dated, no trust, no question, no force; the token of the schedule"),
]
GITLAB_COMPANY: list[Row] = [
    ("check > before_script", [
        *(f': "${{{name}:?is not set}}"' for name in [*SECRETS, "SSH_PRIVATE_KEY"]),
        'SSL_CERT_FILE=$(mktemp)\n{ cat /etc/ssl/certs/ca-certificates.crt; echo "$CA_BUNDLE"; } >"$SSL_CERT_FILE"\nexport SSL_CERT_FILE PIP_CERT="$SSL_CERT_FILE" GIT_SSL_CAINFO="$SSL_CERT_FILE"\n',
        ". scripts/image/access.sh", ANY,
    ], "an empty variable stops it with its name; the public certificates as well"),
    (".docker > before_script", Lines(
        'test -z "$REGISTRY_USERNAME" || echo "$REGISTRY_PASSWORD" | docker login --username "$REGISTRY_USERNAME" --password-stdin registry.corp',
    ), "a password on a command line is seen by every process"),
    (".docker > image", Has("registry.corp/mirror/docker:"), "no image of another registry"),
    ("* > image", {
        ".docker": ANY,
        "check": Has("registry.corp/mirror/python:"),
        "template-update": Has("registry.corp/mirror/python:"),
    }, "no image of another registry"),
    ("build > script", Lines(". scripts/image/access.sh", BUILD.format(" --allow=ssh")), "the agent and not the key"),
    ("reproduce > script", Lines(". scripts/image/access.sh", REBUILD.format(" --allow=ssh")),
     "the agent and not the key"),
]

# --- A cluster --------------------------------------------------------------------------------

NAMED = {"app.kubernetes.io/name": "my-service"}
OF_THE_APP = NAMED | {"app.kubernetes.io/component": "app"}
SETTINGS_FROM = [{"configMapRef": {"name": "my-service"}}, {"secretRef": {"name": "my-service"}}]
NO_PRIVILEGES = {
    "allowPrivilegeEscalation": "false",
    "readOnlyRootFilesystem": "true",
    "capabilities": {"drop": ["ALL"]},
}
RESOURCES = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}}
TMP = [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}]
POD = "spec > template > spec"
OPEN_TO_NOBODY: list[Row] = [
    (f"{POD} > serviceAccountName", "my-service", "an account to which nothing is allowed"),
    (f"{POD} > automountServiceAccountToken", "false", "it asks nothing of the cluster"),
    (f"{POD} > enableServiceLinks", "false", "a variable of the cluster may pass for a setting"),
    (f"{POD} > securityContext", {
        "runAsNonRoot": "true",
        "runAsUser": "10001",
        "runAsGroup": "10001",
        "seccompProfile": {"type": "RuntimeDefault"},
    }, "Pod Security calls this restricted"),
    (f"{POD} > volumes", TMP, "in memory, with a bound"),
    (f"{POD} > hostNetwork", None, "nothing of the node"),
    (f"{POD} > containers > * > securityContext > privileged", {}, "nothing of the node"),
]
HTTP = {"path": "/healthz", "port": "http"}
DEPLOYMENT: list[Row] = [
    *OPEN_TO_NOBODY,
    ("spec > replicas", None, "the autoscaler's, which each apply would set back"),
    ("spec > selector > matchLabels", OF_THE_APP, "no pod of a Job is one of these"),
    ("spec > template > metadata > labels", OF_THE_APP, "what the Service and the budget select"),
    ("spec > strategy > rollingUpdate", {"maxUnavailable": "0", "maxSurge": "1"},
     "no pod goes before its successor is ready"),
    (f"{POD} > terminationGracePeriodSeconds", "35",
     "5 s in which proxies learn of it, 25 s in which requests finish, 5 s to spare"),
    (f"{POD} > topologySpreadConstraints", [
        {
            "topologyKey": "kubernetes.io/hostname",
            "maxSkew": "1",
            "whenUnsatisfiable": "ScheduleAnyway",
            "matchLabelKeys": ["pod-template-hash"],
            "labelSelector": {"matchLabels": OF_THE_APP},
        },
    ], "a node that is lost takes one of them"),
    (f"{POD} > containers > app", {
        "name": "app",
        "image": "ghcr.io/acme/orders.api",
        "ports": [{"name": "http", "containerPort": "8000"}],
        "envFrom": [SETTINGS_FROM[0], {"secretRef": {"name": "my-service", "optional": "true"}}],
        "startupProbe": {"httpGet": HTTP, "periodSeconds": "1", "timeoutSeconds": "3", "failureThreshold": "60"},
        "livenessProbe": {"httpGet": HTTP, "periodSeconds": "10", "timeoutSeconds": "3", "failureThreshold": "3"},
        "readinessProbe": {
            "httpGet": HTTP | {"path": "/readyz"},
            "periodSeconds": "5",
            "timeoutSeconds": "3",
            "failureThreshold": "2",
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": "5"}}},
        "resources": RESOURCES,
        "securityContext": NO_PRIVILEGES,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }, "a minute to start, half a minute until a hang is a restart; bounds; nothing to write to"),
]
DEPLOYMENT_WORKER: list[Row] = [
    *OPEN_TO_NOBODY,
    ("spec > replicas", "2", "one can be lost"),
    (f"{POD} > terminationGracePeriodSeconds", "30", "25 s in which jobs finish, 5 s to spare"),
    (f"{POD} > containers > app > livenessProbe > exec > command", Has(
        "python -ISc", "os.stat(os.environ['HEARTBEAT_FILE']).st_mtime > 15)",
    ), "three beats may be missed"),
    (f"{POD} > containers > app > readinessProbe > exec > command", ["python", "-m", "my_service.health", "--ready"],
     "a rollout waits for the queue"),
    (f"{POD} > containers > app > envFrom", SETTINGS_FROM, "the queue's address is needed"),
    (f"{POD} > containers > app > securityContext", NO_PRIVILEGES, "nothing to write to"),
    (f"{POD} > containers > app > resources", RESOURCES, "bounds"),
]
MIGRATION: list[Row] = [
    *OPEN_TO_NOBODY,
    ("metadata > annotations", {
        "argocd.argoproj.io/hook": "Sync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
        "kustomize.toolkit.fluxcd.io/force": "Enabled",
        "checkov.io/skip1": Has("CKV_K8S_35="),
    }, "a Job cannot be changed, so each release makes it anew"),
    ("spec > backoffLimit", "5", "a database that starts is waited for, a mistake is not"),
    (f"{POD} > restartPolicy", "Never", "what failed keeps its log"),
    ("spec > template > metadata > labels", NAMED | {"app.kubernetes.io/component": "migration"},
     "the Service sends it nothing"),
    (f"{POD} > containers > migration", {
        "name": "migration",
        "image": "ghcr.io/acme/orders.api",
        "command": ["python", "-m", "my_service.manage", "migrate"],
        "envFrom": SETTINGS_FROM,
        "resources": RESOURCES,
        "securityContext": NO_PRIVILEGES,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }, "the image and the settings of the service, hardened as it is"),
]
AFTER_MIGRATION: list[Row] = [
    (f"{POD} > initContainers", [
        {
            "name": "after-migration",
            "image": "ghcr.io/acme/orders.api",
            "command": ["python", "-m", "my_service.manage", "migrate", "--check", "--plan"],
            "envFrom": SETTINGS_FROM,
            "resources": RESOURCES,
            "securityContext": NO_PRIVILEGES,
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        },
    ], "a pod waits for the migration, and does not do it"),
]
AUTOSCALER: list[Row] = [
    ("spec > minReplicas", "2", "one can be lost"),
    ("spec > maxReplicas", "10", "a bound"),
    ("spec > metrics", [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": "80"}},
        },
    ], "of what a pod requests"),
]
NETWORK: list[Row] = [
    ("spec > podSelector > matchLabels", NAMED, "the migration too"),
    ("spec > policyTypes", ["Ingress", "Egress"], "what is not allowed is denied, both ways"),
    ("spec > ingress", [{"ports": [{"port": "http"}]}], "one port"),
    ("spec > egress", [
        {"ports": [{"port": "53", "protocol": "UDP"}, {"port": "53", "protocol": "TCP"}]},
        {"to": [{"namespaceSelector": {}}]},
        {
            "to": [
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
                {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::254/128", "fe80::/10"]}},
            ],
        },
    ], "a cloud's metadata has the credentials of the node"),
]
BUDGET: list[Row] = [
    ("spec", {
        "maxUnavailable": "1",
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": OF_THE_APP},
    }, "a drain takes one pod at a time, and is not held up by a pod that serves nobody"),
]
SERVICE: list[Row] = [
    ("spec > selector", OF_THE_APP, "no pod of a Job gets a request"),
    ("spec > ports", [{"name": "http", "port": "80", "targetPort": "http"}], "the port by its name"),
    ("spec > type", None, "inside the cluster alone"),
]
ACCOUNT: list[Row] = [("automountServiceAccountToken", "false", "nothing is allowed to it")]
BASE: list[Row] = [
    ("resources", [
        *("deployment.yaml", "horizontalpodautoscaler.yaml", "networkpolicy.yaml"),
        *("poddisruptionbudget.yaml", "service.yaml", "serviceaccount.yaml"),
    ], "no object is left out"),
    ("configMapGenerator", [{"name": "my-service", "literals": ["LOG_LEVEL=INFO"]}],
     "a hash of the settings is in the name, so that a change makes new pods"),
]
BASE_DJANGO: list[Row] = [
    ("resources", Has("migration.yaml"), "the tables are made"),
    ("patches", [{"path": "after-migration.yaml"}], "no pod starts before that"),
]
OVERLAY: list[Row] = [
    ("images", [{"name": "ghcr.io/acme/orders.api", "digest": f"sha256:{'0' * 64}"}],
     "without a release nothing can be pulled"),
    ("namespace", "my-service", "nothing in the default namespace"),
    ("patches", [{"target": {"kind": "HorizontalPodAutoscaler"}, "patch": Has("value: 3")}], "three in production"),
]
GITHUB_DEPLOY: list[Row] = [
    ("on", {"workflow_dispatch": {"inputs": {"release": ANY}}}, "a person starts it"),
    ("permissions", {}, "the job asks for its own"),
    ("concurrency", {"group": "deploy", "cancel-in-progress": "false"}, "one after the other"),
    ("jobs > * > permissions", {"production": {"contents": "write", "packages": "read"}},
     "it pushes a branch, and asks for a digest"),
    ("jobs > * > environment", {"production": "production"}, "where it is said who must agree"),
    ("jobs > * > timeout-minutes", {"production": "10"}, "GitHub's own is six hours"),
    ("jobs > production > steps > Check out > with", {"persist-credentials": "false"},
     "no step finds the token in .git"),
    ("jobs > production > steps > Log in to the registry > with", LOGIN, "the token of the job"),
    ("jobs > production > steps > Commit > env", {
        "RELEASE": "${{ inputs.release }}",
        "GH_TOKEN": "${{ github.token }}",
        "GIT_AUTHOR_NAME": "${{ github.actor }}",
        "GIT_AUTHOR_EMAIL": Has("${{ github.actor_id }}+${{ github.actor }}@users."),
        "GIT_COMMITTER_NAME": "github-actions[bot]",
        "GIT_COMMITTER_EMAIL": Has("github-actions[bot]@users."),
    }, "no input is part of a script; whoever ran it is the author"),
    ("jobs > production > steps > Commit > run", Lines(
        "image=ghcr.io/${GITHUB_REPOSITORY,,}",
        'digest=$(docker buildx imagetools inspect --format \'{{println .Manifest.Digest}}\' "$image:$RELEASE")',
        'sh deploy/commit.sh production "$image@$digest" "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"',
    ), "by digest, since a tag can be moved"),
]
GITLAB_DEPLOY: list[Row] = [
    ("deploy > rules", [{"if": '$TARGET == "release"', "when": "manual", "allow_failure": "true"}],
     "a person starts it, and what nobody deploys is green"),
    ("deploy > needs", ["publish", "release"], "what was verified"),
    ("deploy > timeout", "10m", "the project's own may be hours"),
    ("deploy > environment", "production", "where it is said who may start it"),
    ("deploy > interruptible", None, "a push does not end it"),
    ("deploy > script", Lines('sh deploy/commit.sh production "$IMAGE@$DIGEST" "$CI_REPOSITORY_URL"'),
     "by digest, since a tag can be moved"),
    ("stages", Has("verify release deploy"), "at the end"),
]

# --- The project's own settings ---------------------------------------------------------------

RUFF = ["ASYNC", "B", "C4", "E", "F", "I", "N", "PT", "RUF", "S", "SIM", "UP"]
PYPROJECT: list[Row] = [
    ("tool > mypy", {"strict": True, "files": ["src", "tests"]}, "types everywhere"),
    ("tool > pytest > ini_options", {
        "testpaths": ["tests"],
        "addopts": ["--strict-config", "--strict-markers"],
        "filterwarnings": ["error"],
    }, "a warning fails, and so does a mistyped marker"),
    ("tool > ruff", {
        "line-length": 100,
        "lint": {"select": RUFF, "ignore": ["S104"], "per-file-ignores": {"tests/**": ["S101", "S603"]}},
    }, "no rule is left out but for these reasons"),
    ("tool > uv > index", None, "no index that nobody asked for"),
    ("build-system", {"requires": ["uv_build>=0.8.0,<1"], "build-backend": "uv_build"},
     "the uv that is mounted builds it"),
    ("dependency-groups > dev", Has("httpx2>=", "mypy>=", "pytest>=", "ruff>="),
     "what is not shipped, with bounds, or Renovate would pass it over"),
    ("project > dependencies", Has("fastapi>=", "uvicorn>=", "uvloop>=", "; sys_platform != 'win32'"),
     "what is shipped, with bounds, or Renovate would pass it over"),
    ("project > optional-dependencies", None, "what is not shipped is in a group"),
]
PYPROJECT_WORKER: list[Row] = [
    ("tool > ruff > lint > ignore", None, "it listens nowhere"),
    ("project > dependencies", Has("streaq>=7"), "the first with the interface that the sources use"),
]
PYPROJECT_DJANGO: list[Row] = [
    ("tool > mypy", {"strict": True, "files": ["src", "tests"], "plugins": ["mypy_django_plugin.main"]},
     "types of models"),
    ("tool > django-stubs > django_settings_module", "my_service.settings", "what the plugin reads"),
    ("tool > ruff > lint > extend-per-file-ignores", {"**/migrations/**": ["E501", "RUF012"]}, "Django writes these"),
    ("tool > ruff > format > exclude", ["**/migrations/**"], "Django writes these"),
]
PYPROJECT_COMPANY: list[Row] = [
    ("tool > uv > index", [{"name": "private", "url": "https://pypi.corp/simple", "explicit": True}],
     "no package of it poses as another"),
]
MOVED = ["ghcr.io/astral-sh/uv", "astral-sh/uv", "ubuntu"]
ACTIONS = [
    "actions/checkout", "astral-sh/setup-uv", "depot/setup-action", "docker/login-action", "docker/setup-buildx-action",
    "sigstore/cosign-installer",
]
RENOVATE: list[Row] = [
    ("pep621", {"description": ANY, "rangeStrategy": "update-lockfile", "lockFileMaintenance": {"enabled": True}},
     "dependencies move, and what only the lock names too"),
    ("extends", ["config:recommended", "docker:pinDigests"], "digests are proposed"),
    ("packageRules", [
        {"description": ANY, "matchDepNames": [*MOVED, *ACTIONS, "aquasec/trivy", "docker"], "enabled": False},
        {
            "description": ANY,
            "matchDepNames": ["python"],
            "matchUpdateTypes": ["major", "minor", "patch"],
            "enabled": False,
        },
    ], "the template moves these, and not the digest of Python"),
]
RENOVATE_CLUSTER: list[Row] = [
    ("packageRules", [ANY, ANY, {"description": ANY, "matchDepNames": ["ghcr.io/acme/orders.api"], "enabled": False}],
     "whoever deploys decides which release runs"),
]
EDITORCONFIG: list[Row] = [
    ("", {
        "top": {"root": "true"},
        "*": {
            "charset": "utf-8",
            "end_of_line": "lf",
            "indent_style": "space",
            "indent_size": "2",
            "insert_final_newline": "true",
            "trim_trailing_whitespace": "true",
        },
        "*.py": {"indent_size": "4", "max_line_length": "100"},
        "*.toml": {"indent_size": "4"},
    }, "the same bytes on every machine, and Python as ruff has it"),
]
GITATTRIBUTES: list[Row] = [
    ("", ["* text=auto eol=lf", "uv.lock linguist-generated"],
     "the same bytes on every machine, and so the same layers"),
]
GITIGNORE: list[Row] = [
    ("", [
        ".venv/", "*.sqlite3", "build.env", "build.json", "image.tar", "publish.env", "__pycache__/", ".mypy_cache/",
        ".pytest_cache/", ".ruff_cache/", "/dist/", ".env",
    ], "neither secrets nor what the commands of the README leave"),
]
TRIVYIGNORE: list[Row] = [("vulnerabilities", [], "no finding waits from the first day")]

# --- The services -----------------------------------------------------------------------------

PORT = "Annotated[int, BeforeValidator(int), Field(ge=1, le=65535)]"
SERVED = {
    "host": "Field(default='0.0.0.0', pattern='^[0-9A-Fa-f.:]+$')",
    "port": 8000,
    "web_concurrency": "Field(default=1, ge=1, le=64)",
    "stop_delay": "Field(default=0, ge=0, le=3600)",
    "keep_alive": "Field(default=75, ge=1, le=3600)",
    "max_body_size": "Field(default=10000000, ge=0)",
    "log_level": "INFO",
    "forwarded_allow_ips": "Field(default='127.0.0.1', pattern='^[0-9A-Fa-f.:/*, ]*$')",
}
SETTINGS: list[Row] = [
    ("Port", PORT, "as the health check reads it"),
    *(
        (f"Settings > {name}", value, "each setting has a bound, and a default that is safe")
        for name, value in SERVED.items()
    ),
]
SETTINGS_MCP: list[Row] = [
    *SETTINGS,
    ("Settings > allowed_hosts", "localhost,localhost:*,127.0.0.1,127.0.0.1:*,[::1],[::1]:*",
     "no web page can call it by another name"),
]
SETTINGS_WORKER: list[Row] = [
    ("Settings > redis_url", "RedisDsn('redis://localhost:6379/0')", "the queue of this machine"),
    ("Settings > concurrency", "Field(default=10, ge=1, le=1000)", "a bound"),
    ("Settings > log_level", "INFO", "no lines of developers"),
    ("Settings > heartbeat_file", None, "the image says where"),
]
SETTINGS_DJANGO: list[Row] = [
    *SETTINGS,
    ("Settings > secret_key", "Field(default_factory=make_secret_key, min_length=50, repr=False)",
     "no guess, and not in a message"),
    ("Settings > debug", False, "no pages of developers in production"),
    ("Settings > allowed_hosts", "localhost,127.0.0.1,[::1]", "no other Host header is answered"),
    ("Settings > database_url", "Field(default='sqlite:///db.sqlite3', repr=False)",
     "its password is not in a message"),
    ("Settings > model_config", "SettingsConfigDict(hide_input_in_errors=True)", "no secret is in a message"),
    ("MIDDLEWARE", [
        "my_service.health.health", "django.middleware.security.SecurityMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware", "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware", "my_service.errors.ClientErrors",
    ], "in Django's order, health before what asks for a name"),
    ("AUTH_PASSWORD_VALIDATORS",
     [{"NAME": f"django.contrib.auth.password_validation.{name}Validator"} for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")],
     "Django's own four"),
    ("SILENCED_SYSTEM_CHECKS", ["security.W004", "security.W008"],
     "the proxy does these, and no other check is silent"),
    ("SESSION_COOKIE_SECURE", "not DEBUG", "no session without TLS"),
    ("CSRF_COOKIE_SECURE", "not DEBUG", "no token without TLS"),
    ("DATABASES", "{'default': dj_database_url.parse(env.database_url, conn_max_age=600, conn_health_checks=True)}",
     "a connection that died is made again"),
    ("DATA_UPLOAD_MAX_MEMORY_SIZE", None, "the middleware has the bound"),
    ("WHITENOISE_USE_FINDERS", "STATIC_ROOT is None", "static files where none were collected"),
]
UVICORN: list[Row] = [
    ("Protocol > data_received > if", "self.in_head and self.size > MAX_HEAD_SIZE", "the bound is of the head alone"),
    ("Protocol > data_received > self.transport.close()", "", "no more is read"),
    ("Protocol > data_received > self.transport.write()", "TOO_LARGE", "the bound is told"),
    ("Protocol > on_headers_complete > (self.in_head, self.size)", (False, 0), "a body is bounded by the application"),
    ("Protocol > on_message_complete > (self.in_head, self.size)", (True, 0),
     "each request of a connection has its own"),
    ("load > set_up_logs()", "Settings().log_level", "a worker process logs JSON"),
    ("serve > if", "settings.web_concurrency == 1\nnot started", "an exit code that is true"),
    ("serve > create_app()", "", "an error ends it before workers start again and again"),
    ("serve > sys.exit()", "STARTUP_FAILURE", "an application that does not start ends it"),
    ("MAX_HEAD_SIZE", 65536, "a bound on headers, of which uvicorn takes any number"),
    ("TOO_LARGE", Has("431 Request Header Fields Too Large", "Connection: close", "Content-Length: 44"),
     "the bound is told"),
    ("serve > http", "Protocol", "with the bound"),
    ("serve > timeout_keep_alive", "settings.keep_alive", "longer than the load balancer"),
    ("serve > timeout_graceful_shutdown", 25, "below the 30 s that a platform waits"),
    ("serve > timeout_worker_healthcheck", 15, "a request may hold the interpreter so long"),
    ("serve > forwarded_allow_ips", "settings.forwarded_allow_ips", "no proxy is believed unasked"),
    ("serve > access_log", False, "one line a request"),
    ("serve > log_config", "log_config(settings.log_level)", "JSON from the first line"),
    ("serve > host", "settings.host", "the setting decides"),
    ("serve > port", "settings.port", "the setting decides"),
    ("serve > workers", "settings.web_concurrency", "the setting decides"),
    ("serve > factory", True, "the application is built in its worker"),
]
GRANIAN: list[Row] = [
    ("load > set_up_logs()", "settings.log_level", "a worker process logs JSON"),
    ("serve > factory", True, "the application is built in its worker"),
    ("load > sys.exit()", "1", "an application that cannot be built ends it"),
    ("load > trusted_hosts", "settings.forwarded_allow_ips", "no proxy is believed unasked"),
    ("serve > address", "settings.host", "the setting decides"),
    ("serve > port", "settings.port", "the setting decides"),
    ("serve > workers", "settings.web_concurrency", "the setting decides"),
    ("serve > workers_kill_timeout", 25, "below the 30 s that a platform waits"),
    ("serve > header_read_timeout", "settings.keep_alive * 1000", "milliseconds"),
    ("serve > log_dictconfig", "log_config(settings.log_level) | {'loggers': {}}", "JSON from the first line"),
    ("serve > log_level", "LogLevels(settings.log_level.lower())", "the setting decides"),
]
GRANIAN_ASGI: list[Row] = [*GRANIAN, ("serve > interface", "Interfaces.ASGI", "what the framework speaks")]
GRANIAN_WSGI: list[Row] = [
    *GRANIAN,
    ("serve > interface", "Interfaces.WSGI", "what the framework speaks"),
    ("serve > blocking_threads", 8, "each may open a connection to the database"),
    ("serve > websockets", False, "WSGI has none"),
]
GUNICORN: list[Row] = [
    ("Server > load > set_up_logs()", "Settings().log_level", "a worker process logs JSON"),
    ("Server > load > sys.exit()", "Arbiter.APP_LOAD_ERROR", "the code at which no worker is started again"),
    ("serve > bind", "f'[{settings.host}]:{settings.port}'", "the settings decide; in brackets as IPv6 is written"),
    ("serve > workers", "settings.web_concurrency", "the setting decides"),
    ("serve > worker_class", "gthread", "a sync worker serves one request at a time"),
    ("serve > threads", 8, "each may open a connection to the database"),
    ("serve > keepalive", "settings.keep_alive", "longer than the load balancer"),
    ("serve > graceful_timeout", 25, "below the 30 s that a platform waits"),
    ("serve > forwarded_allow_ips", "settings.forwarded_allow_ips", "no proxy is believed unasked"),
    ("serve > loglevel", "settings.log_level", "the setting decides"),
    ("serve > logconfig_dict", "log_config(settings.log_level) | {'loggers': own}", "JSON from the first line"),
    ("serve > errorlog", None, "no handler of its own"),
    ("serve > worker_tmp_dir", "'/dev/shm' if Path('/dev/shm').is_dir() else None",
     "a hardened container has no other place"),
    ("serve > control_socket_disable", True, "a closed container has no place for it"),
    ("serve > propagate", True, "its lines are JSON too"),
]
WORKER: list[Row] = [
    ("serializer", "serialize", "not pickle, which runs what it reads"),
    ("deserializer", "json.loads", "not pickle, which runs what it reads"),
    ("prefetch", 1, "what waits here is nobody else's for a minute"),
    ("grace_period", 25, "below the 30 s that a platform waits"),
    ("concurrency", "settings.concurrency", "the setting decides"),
    ("redis_url", "str(settings.redis_url)", "the setting decides"),
]
WORKER_SERVER: list[Row] = [
    ("serve > sys.exit()", "1", "a worker that has lost its queue is started again"),
    ("HEARTBEAT", 5, "the health check lets two be missed"),
    ("TIMEOUT", 10, "Redis may take so long to answer"),
]
WORKER_HEALTH: list[Row] = [
    ("LIMIT", 15, "as in the image's health check"),
    ("problem > if", "age > LIMIT\nready and path.read_text() != READY", "alive by the heartbeat, ready by the queue"),
]
LOGS: list[Row] = [
    ("Formatter > process_log_record > request_id", "request_id.get()", "a line has its request"),
    ("log_uncaught > if", "not issubclass(kind, KeyboardInterrupt | SystemExit)", "a stop is no error"),
    ("log_uncaught > logger.critical()", "'uncaught error'", "an error that nobody caught is a line"),
    ("log_config > ()", "Formatter", "JSON, with the id"),
    ("log_config > fmt", ["levelname", "name", "message"], "what every line has"),
    ("log_config > rename_fields", {"levelname": "level", "name": "logger"}, "the names that people search for"),
    ("log_config > timestamp", True, "when it was"),
    ("log_config > stream", "ext://sys.stdout", "where a platform reads"),
    ("log_config > disable_existing_loggers", False, "a library's logger was there before"),
    ("set_up_logs > logging.captureWarnings()", "True", "a warning is a line of JSON"),
    ("log_config > root", "{'handlers': ['stdout'], 'level': level}", "everything goes there"),
    ("set_up_logs > sys.excepthook", "log_uncaught", "an uncaught error is a line of JSON"),
    ("set_up_logs > threading.excepthook", "lambda thread: log_uncaught(*thread[:3])", "that of a thread too"),
    ("set_up_logs > sys.unraisablehook", "lambda e: log_uncaught(e.exc_type, e.exc_value, e.exc_traceback)",
     "and one that nothing can catch"),
]
DRAIN: list[Row] = [
    ("serve > stop > threading.Timer()", "seconds, child.terminate", "it serves on for so long"),
    ("serve > environment", "os.environ | {'STOP_DELAY': '0', STOPPING: str(stopping)}",
     "the one that serves does not wait as well"),
    ("serve > sys.exit()", "0 if code == -signal.SIGTERM else code", "a stop is no failure, and a failure is no stop"),
    ("serve > signal.signal()", "signal.SIGTERM, stop", "a stop is told to the one that serves"),
]
MAIN: list[Row] = [
    ("main > if", "settings.stop_delay", "no second process unless somebody asks"),
    ("main > sys.exit()", Has("'\\n'.join(lines)"), "a wrong setting ends it, each in a line"),
    ("main > serve()", "settings", "what all of it is for"),
    ("end > os._exit()", "0", "a stop while it starts is no failure"),
    ("main > signal.signal()", "signal.SIGTERM, end\nsignal.SIGTERM, lambda *_: sys.exit(0)",
     "the first process of a container ignores a signal that nothing handles"),
    ("main > set_up_logs()", "settings.log_level", "JSON from the first line"),
    ("main > drain.serve()", "settings.stop_delay", "the setting decides"),
]
PRICING: list[Row] = [
    ("Line > sku", "Field(min_length=1, max_length=64)", "a bound"),
    ("Line > quantity", "Field(ge=1, le=10000)", "a bound"),
    ("Line > unit_price", "Field(ge=0, max_digits=10, decimal_places=2)", "a bound, and no part of a cent"),
    ("Order > lines", "Field(min_length=1, max_length=100)", "a bound"),
]

# --- What its README says in figures ----------------------------------------------------------

README: list[Row] = [
    ("", Has("finishes its requests within 25 seconds and exits with 0"), "the server's time to stop"),
    ("", Has("up --detach --no-build --wait --wait-timeout 60 app"), "as long as the pipeline waits"),
]
README_DJANGO: list[Row] = [
    ("", Has("Each process handles 8 requests at a time"), "the server's threads"),
    ("", Has("Each of the 8 threads of a process"), "the server's threads"),
]
README_WORKER: list[Row] = [
    ("", Has("within 25 seconds and exits with 0"), "the worker's time to stop"),
    ("", Has("a file to touch every 5 seconds"), "the worker's heartbeat"),
    ("", Has("it exits with 1, to be restarted"), "the worker's exit code"),
]

# --- The questions ----------------------------------------------------------------------------

QUESTIONS: list[Row] = [
    ("_min_copier_version", "9.15.1", "the first that has StrictUndefined"),
    ("_envops", {"undefined": "jinja2.StrictUndefined", "trim_blocks": "true", "lstrip_blocks": "true"},
     "a mistyped variable is an error and no empty text"),
    ("_subdirectory", "template", "nothing else of the repository is copied"),
    ("_tasks", None, "each copy would ask for trust"),
    ("_migrations", None, "each update would ask for trust"),
    ("_jinja_extensions", None, "each copy would ask for trust"),
    ("pins > default > uv_oldest", "0.8.0", "it never rises within a major release, and an older one builds no image"),
    ("pins > default > suite", "trixie", "the Debian of the python image"),
    ("uv_version > default", "tested", "a pin that is stored never moves"),
    *(
        (f"{name} > default", value, "what --defaults accepts")
        for name, value in {
            "certificates": "public",
            "image": "slim",
            "ci": "github",
            "builder": "buildx",
            **dict.fromkeys(
                (
                    *(
                        "registry",
                        "index_url",
                        "index_names",
                        "apt_packages",
                        "build_packages",
                        "repository",
                    ),
                    *("depot_project", "uv_options"),
                ),
                "",
            ),
        }.items()
    ),
    ("framework > choices", {
        "FastAPI": "fastapi",
        "Litestar": "litestar",
        "Starlette": "starlette",
        "Flask": "flask",
        "Django": "django",
        "MCP server": "mcp",
        "Worker, which takes jobs from a queue": "worker",
        "None, for existing code": "existing",
    }, "a choice that is gone replaces people's answers"),
    ("python_version > choices", ["3.11", "3.12", "3.13", "3.14", "3.15"],
     "a choice that is gone replaces people's answers"),
    ("image > choices", {"Debian slim": "slim", "Distroless, from the same Debian slim": "distroless"},
     "a choice that is gone replaces people's answers"),
    ("ci > choices", {"GitHub Actions": "github", "GitLab CI": "gitlab", "None": "none"},
     "a choice that is gone replaces people's answers"),
    ("builder > choices", {"Buildx, on the runner": "buildx", "Depot, on its builders": "depot"},
     "a choice that is gone replaces people's answers"),
    ("certificates > choices", {
        "Those of public authorities": "public",
        "Those and the company's, from CA_BUNDLE": "company",
    }, "a choice that is gone replaces people's answers"),
]

EVERY_ANSWER: list[Row] = [
    ("framework", "fastapi", "what --defaults accepts"),
    ("python_version", "3.14", "the newest that the frameworks have wheels for"),
    ("port", "8000", "above those of root"),
    ("package_name", "my_service", "from the title"),
]
SERVERS = {
    "fastapi": "uvicorn",
    "litestar": "uvicorn",
    "starlette": "uvicorn",
    "flask": "gunicorn",
    "django": "gunicorn",
    "mcp": "uvicorn",
}

# --- Which rows are of which file -------------------------------------------------------------

CI = ".github/workflows/ci.yml"
SERVER = "src/my_service/server.py"
ALL = COMPANY | REPOSITORY
CLUSTER = REPOSITORY | {"deploy": "kubernetes"}
DJANGO = CLUSTER | {"framework": "django"}
GROUPS = {
    "dockerignore": Group(".dockerignore", DOCKERIGNORE),
    "dockerignore existing": Group(".dockerignore", DOCKERIGNORE_EXISTING, EXISTING),
    "Dockerfile": Group("Dockerfile", DOCKERFILE, {"port": "9000"}),
    "Dockerfile distroless": Group(
        "Dockerfile", DOCKERFILE_DISTROLESS,
        {"image": "distroless", "apt_packages": "libpq5"},
    ),
    "Dockerfile company": Group("Dockerfile", DOCKERFILE_COMPANY, ALL),
    "Dockerfile worker": Group("Dockerfile", DOCKERFILE_WORKER, {"framework": "worker"}),
    "Dockerfile existing": Group("Dockerfile", DOCKERFILE_EXISTING, EXISTING),
    "distroless.sh": Group(
        "scripts/image/distroless.sh", DISTROLESS,
        {"image": "distroless", "apt_packages": "libpq5"},
    ),
    "compose": Group("compose.yaml", COMPOSE, REPOSITORY),
    "compose worker": Group("compose.yaml", COMPOSE_WORKER, {"framework": "worker"}),
    "compose company": Group("compose.yaml", COMPOSE_COMPANY, ALL),
    "bake": Group("docker-bake.hcl", BAKE, REPOSITORY),
    "bake company": Group("docker-bake.hcl", BAKE_COMPANY, ALL | {"ci": "gitlab"}),
    "bake existing": Group("docker-bake.hcl", BAKE_EXISTING, EXISTING),
    "Dockerfile django": Group("Dockerfile", DOCKERFILE_DJANGO, DJANGO),
    "compose database": Group("compose.yaml", COMPOSE_DATABASE, DJANGO),
    "deployment": Group("deploy/base/deployment.yaml", DEPLOYMENT, CLUSTER),
    "deployment worker": Group("deploy/base/deployment.yaml", DEPLOYMENT_WORKER, CLUSTER | {"framework": "worker"}),
    "migration": Group("deploy/base/migration.yaml", MIGRATION, DJANGO),
    "after migration": Group("deploy/base/after-migration.yaml", AFTER_MIGRATION, DJANGO),
    "autoscaler": Group("deploy/base/horizontalpodautoscaler.yaml", AUTOSCALER, CLUSTER),
    "network": Group("deploy/base/networkpolicy.yaml", NETWORK, CLUSTER),
    "budget": Group("deploy/base/poddisruptionbudget.yaml", BUDGET, CLUSTER),
    "service": Group("deploy/base/service.yaml", SERVICE, CLUSTER),
    "account": Group("deploy/base/serviceaccount.yaml", ACCOUNT, CLUSTER),
    "base": Group("deploy/base/kustomization.yaml", BASE, CLUSTER),
    "base django": Group("deploy/base/kustomization.yaml", BASE_DJANGO, DJANGO),
    "overlay": Group("deploy/overlays/production/kustomization.yaml", OVERLAY, CLUSTER),
    "github deploy": Group(".github/workflows/kubernetes.yml", GITHUB_DEPLOY, CLUSTER),
    "gitlab deploy": Group(".gitlab-ci.yml", GITLAB_DEPLOY, CLUSTER | {"ci": "gitlab", "framework": "worker"}),
    "github": Group(CI, GITHUB, REPOSITORY),
    "github company": Group(CI, GITHUB_COMPANY, ALL),
    "github token": Group(CI, GITHUB_TOKEN, {"git_server": "https://git.corp"}),
    "github depot": Group(CI, GITHUB_DEPOT, {"builder": "depot"}),
    "update": Group(".github/workflows/template-update.yml", UPDATE),
    "gitlab": Group(".gitlab-ci.yml", GITLAB, {"ci": "gitlab"}),
    "gitlab company": Group(".gitlab-ci.yml", GITLAB_COMPANY, ALL | {"ci": "gitlab"}),
    "pyproject": Group("pyproject.toml", PYPROJECT, REPOSITORY),
    "pyproject worker": Group("pyproject.toml", PYPROJECT_WORKER, {"framework": "worker"}),
    "pyproject django": Group("pyproject.toml", PYPROJECT_DJANGO, DJANGO),
    "pyproject company": Group("pyproject.toml", PYPROJECT_COMPANY, ALL),
    "renovate": Group("renovate.json", RENOVATE, REPOSITORY),
    "renovate cluster": Group("renovate.json", RENOVATE_CLUSTER, CLUSTER),
    "editorconfig": Group(".editorconfig", EDITORCONFIG),
    "gitattributes": Group(".gitattributes", GITATTRIBUTES),
    "gitignore": Group(".gitignore", GITIGNORE),
    "trivyignore": Group(".trivyignore.yaml", TRIVYIGNORE),
    "settings": Group("src/my_service/settings.py", SETTINGS),
    "settings mcp": Group("src/my_service/settings.py", SETTINGS_MCP, {"framework": "mcp"}),
    "settings worker": Group("src/my_service/settings.py", SETTINGS_WORKER, {"framework": "worker"}),
    "settings django": Group("src/my_service/settings.py", SETTINGS_DJANGO, DJANGO),
    "uvicorn": Group(SERVER, UVICORN),
    "granian asgi": Group(SERVER, GRANIAN_ASGI, {"server": "granian"}),
    "granian wsgi": Group(SERVER, GRANIAN_WSGI, {"framework": "flask", "server": "granian"}),
    "gunicorn": Group(SERVER, GUNICORN, {"framework": "flask"}),
    "worker": Group("src/my_service/worker.py", WORKER, {"framework": "worker"}),
    "worker server": Group(SERVER, WORKER_SERVER, {"framework": "worker"}),
    "worker health": Group("src/my_service/health.py", WORKER_HEALTH, {"framework": "worker"}),
    "main": Group("src/my_service/__main__.py", MAIN),
    "drain": Group("src/my_service/drain.py", DRAIN),
    "logs": Group("src/my_service/logs.py", LOGS),
    "pricing": Group("src/my_service/pricing.py", PRICING),
    "readme": Group("README.md", README, REPOSITORY),
    "readme django": Group("README.md", README_DJANGO, DJANGO),
    "readme worker": Group("README.md", README_WORKER, {"framework": "worker"}),
    "answers": Group(".copier-answers.yml", EVERY_ANSWER),
    **{
        f"answers {framework}": Group(
            ".copier-answers.yml",
            [("server", server, "docs/servers.md")],
            {"framework": framework},
        )
        for framework, server in SERVERS.items()
    },
}
# Of the template itself.
OWN = {"copier.yml": Group("copier.yml", QUESTIONS)}
