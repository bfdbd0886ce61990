"""Faults to put into the template, as data: a text of one file, another text, and the tests that notice.

Found by reading each file for what could be wrong in it, and not by asking what a test would see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from helpers.answers import BAD
from helpers.files import append, change, put, replace
from helpers.future_releases import CI, DOCKERFILE, GITLAB

COMPOSE = "template/compose.yaml.jinja"
BAKE = "template/docker-bake.hcl.jinja"
UPDATE = CI.replace("{{ workflow }}", "template-update")
LAYER = "template/scripts/image/layer.sh"
PROJECT = "template/scripts/image/project.sh"
ACCESS = "template/scripts/image/{% if build_secrets %}access.sh{% endif %}.jinja"
DISTROLESS = "template/scripts/image/{% if image == 'distroless' %}distroless.sh{% endif %}"
SHARED = "extensions/shared/src"
DEPLOY = "template/{% if deploy == 'kubernetes' %}deploy{% endif %}"
DEPLOY_GITHUB = UPDATE.replace(
    "template-update.yml", "{% if deploy == 'kubernetes' %}kubernetes.yml{% endif %}"
)

# Those that need a Docker engine.
ENGINE = {
    "test_company.py",
    "test_contract.py",
    "test_image.py",
    "test_pipelines.py",
    "test_private_index.py",
    "test_worker.py",
}
# One of the renderings of test_render.py.
SLIM = "fastapi uvicorn 3.11 tested slim"
FUTURE = "test_future_releases.py::test_a_future_release_merges_with_all_edits[uv-slim]"
KUBERNETES = (
    "test_kubernetes.py::test_what_cannot_be_rendered_is_refused",
    "test_kubernetes.py::test_an_image_that_nothing_takes_is_refused",
)
GIVEN = ("test_update.py::test_a_name_that_is_no_question_is_refused",)
ADDRESS = ("test_update.py::test_address_of_the_template_has_no_login_and_no_short_form",)

Tests = tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """A fault, how it is put into a checkout of the template, and the tests that fail then."""

    name: str
    apply: Callable[[Path], None]
    tests: Tests
    # Why nothing notices it, where that is known.
    survives: str = ""

    @property
    def needs_engine(self) -> bool:
        """Return whether one of its tests needs a Docker engine."""
        return any(test.partition("::")[0] in ENGINE for test in self.tests)


def swap(path: str, old: str, new: str) -> Callable[[Path], None]:
    """Return what replaces the one place of a text in a file."""

    def apply(tree: Path) -> None:
        file = tree / path
        text = file.read_text()
        assert old != new
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}"
        file.write_text(text.replace(old, new))

    return apply


def held(*groups: str) -> Tests:
    """Return the tests of groups of tests/guards.py."""
    return tuple(f"test_guards.py::test_values_are_held[{group}]" for group in groups)


def held_here() -> Tests:
    """Return the test of the group of copier.yml."""
    return ("test_guards.py::test_values_of_the_template_are_held[copier.yml]",)


def rendered(test: str, *parameters: str) -> Tests:
    """Return a test of test_render.py."""
    return tuple(f"test_render.py::{test}[{p}]" for p in parameters) or (f"test_render.py::{test}",)


def scripts(test: str) -> Tests:
    """Return a test of test_scripts.py."""
    return (f"test_scripts.py::test_{test}",)


def readme(project: str = "fastapi") -> Tests:
    """Return the tests that read the commands, files and settings of a project's README."""
    return tuple(
        f"test_commands.py::{test}[{project}]"
        for test in (
            "test_commands_of_a_projects_readme_can_be_typed",
            "test_shell_can_read_what_a_page_gives",
            "test_files_that_a_readme_names_are_there",
            "test_readme_has_each_setting_with_its_default",
        )
    )


def docker(project: str = "fastapi") -> Tests:
    """Return the test in which docker reads the commands of a project's README."""
    return (f"test_commands.py::test_docker_takes_the_commands_of_a_projects_readme[{project}]",)


def own(service: str, check: str = "pytest") -> Tests:
    """Return the test that runs a check of a generated service."""
    return (f"test_project.py::test_own_checks_pass_and_leave_no_file[{service}-{check}]",)


def refused(question: str, value: str) -> Tests:
    """Return the test that answers a question with a bad value."""
    (allowed,) = [allowed for asked, given, allowed in BAD if (asked, given) == (question, value)]
    name = f"{question}-{value}-{allowed}".encode("unicode_escape").decode()
    return (f"test_answers.py::test_bad_answer_is_refused_by_name[{name}]",)


# --- Changes that are no exchange of one text ---------------------------------------------------


def keep_the_pin(tree: Path) -> None:
    change(tree, "copier.yml", "^  default: tested$", '  default: "{{ pins.uv }}"')


def repeat_a_stage(tree: Path) -> None:
    text = (tree / DOCKERFILE).read_text()
    stage = text[
        text.index("# --- app") : text.index("{% if image == 'distroless' %}\n# --- debian")
    ]
    again = stage.replace("# --- app: the project, and nothing that it depends on ---\n", "")
    put(tree, DOCKERFILE, "# --- app", again.replace("AS app", "AS other"))


def close_up(tree: Path) -> None:
    change(tree, DOCKERFILE, r"(AS uv\n)\n", r"\1")


def move_a_command(tree: Path) -> None:
    """Move a stage's lines to another stage of the next release."""
    replace(
        tree, DOCKERFILE, "# Root owns the files", "FROM runtime AS last\n# Root owns the files"
    )


def forget_a_release(tree: Path) -> None:
    """Change the template after a release that nobody has named."""
    change(tree, "releases.toml", r"^.+\n\Z", "")
    append(tree, "template/.gitattributes", "*.svg binary\n")


# The gate tries these; the others are tried before a release.
GATE = [
    Fault("a pin in a stored default", keep_the_pin, (FUTURE,)),
    Fault(
        "a stage twice",
        repeat_a_stage,
        ("test_mergeability.py::test_every_edit_of_a_merged_file_has_one_place[defaults]",),
    ),
    Fault(
        "a stage split",
        move_a_command,
        ("test_mergeability.py::test_no_place_of_an_edit_moves_to_another_stage_or_job[v0.1.0]",),
    ),
    Fault("no line between a pin and an edit", close_up, (FUTURE,)),
    Fault(
        "a task",
        lambda tree: append(tree, "copier.yml", "\n_tasks: [uv lock]\n"),
        rendered("test_a_copy_needs_no_trust_and_changes_nothing_when_repeated"),
    ),
    Fault(
        "a removed file",
        lambda tree: (tree / "template" / ".gitattributes").unlink(),
        ("test_mergeability.py::test_no_file_that_updates_merge_was_removed_or_renamed[v0.1.0]",),
    ),
    Fault(
        "an update of what is yours",
        lambda tree: change(tree, "copier.yml", r"^.+}/README\.md{.+\n", ""),
        ("test_ownership.py::test_table_says_what_an_update_does[github]",),
    ),
    Fault(
        "a pin that Renovate moves too",
        swap("template/renovate.json.jinja", "'astral-sh/uv', 'ubuntu'", "'ubuntu'"),
        ("test_ownership.py::test_renovate_is_told_the_same[github]",),
    ),
    Fault(
        "a release without its commit",
        forget_a_release,
        ("test_releases.py::test_changelog_version_and_releases_agree",),
    ),
    Fault(
        "silence about conflicts",
        lambda tree: replace(tree, UPDATE, "title+=", "quiet+="),
        ("test_template_update.py::test_conflicts_are_in_the_title[github]",),
    ),
    Fault(
        "a context that is not closed",
        swap("template/.dockerignore.jinja", "**\n!pyproject", "!pyproject"),
        held("dockerignore"),
    ),
    Fault(
        "a scan that finds and passes",
        swap(COMPOSE, "      - --exit-code=1\n", ""),
        held("compose"),
    ),
    Fault(
        "a verdict without a platform",
        swap("template/scripts/verify.sh", "-gt 0 && test", "-ge 0 && test"),
        scripts("image_is_verified_on_each_platform"),
    ),
]

# --- A name, a text of the file, what replaces it, and the tests that notice --------------------

# fmt: off
TEXTS: dict[str, list[tuple[str, str, str, Tests]]] = {
    "template/.dockerignore.jinja": [
        ("context is not closed", "**\n!pyproject.toml", "!pyproject.toml", held("dockerignore")),
        ("context has all scripts", "!scripts/image", "!scripts", held("dockerignore")),
        ("context has every lock", "!uv.lock", "!*.lock", held("dockerignore")),
        ("bytecode in the context", "**/__pycache__\n", "", held("dockerignore")),
        ("compiled files in the context", "**/*.py[cod]\n", "", held("dockerignore")),
        ("caches in the context", "**/.*_cache\n", "", held("dockerignore")),
        ("swap files in the context", "**/.*.sw[op]\n", "", held("dockerignore")),
        ("git's folder in the context", "**/.git\n", "", held("dockerignore")),
        ("keys of RSA in the context", "**/id_rsa*\n", "", held("dockerignore")),
        ("keys of ed25519 in the context", "**/id_ed25519*\n", "**/id_ed25519\n", held("dockerignore")),
    ],
    "template/.editorconfig": [
        ("line ends of Windows", "end_of_line = lf", "end_of_line = crlf", held("editorconfig")),
        ("Python by two columns", "[*.py]\nindent_size = 4", "[*.py]\nindent_size = 2", held("editorconfig")),
        ("longer lines than ruff's", "max_line_length = 100", "max_line_length = 120", held("editorconfig")),
    ],
    "template/.gitattributes": [
        ("line ends of the machine", "* text=auto eol=lf", "* text=auto", held("gitattributes")),
    ],
    "template/.gitignore": [
        ("secrets are committed", "/dist/\n.env\n", "/dist/\n", held("gitignore")),
        ("the environment is committed", ".venv/\n", "", held("gitignore")),
        ("a database is committed", "*.sqlite3\n", "", held("gitignore")),
        ("an image is committed", "image.tar\n", "", held("gitignore")),
    ],
    "template/.trivyignore.yaml": [
        ("a finding is ignored", "vulnerabilities: []", "vulnerabilities: [{id: CVE-2026-1}]", held("trivyignore")),
        ("exceptions without an end", "#     expired_at: 2026-12-31\n", "", ("test_guards.py::test_example_of_an_exception_has_a_date_and_a_reason",)),
    ],
    DOCKERFILE: [
        ("project below its dependencies", "COPY --link --from=app /rootfs/ /\n", "COPY --link --from=app /rootfs/ /\nCOPY --link --from=deps /rootfs/ /\n", held("Dockerfile")),
        ("static files are not collected", "|| /app/.venv/bin/{{", "|| true {{", held("Dockerfile django")),
        ("static files with the dates of today", "    && layer.sh normalize /rootfs\n\n{% endif %}\n{% if image", "\n{% endif %}\n{% if image", held("Dockerfile django")),
        ("static files above the code", "COPY --link --from=static /rootfs/ /\n{% endif %}\nCOPY --link --from=app /rootfs/ /", "{% endif %}\nCOPY --link --from=app /rootfs/ /", held("Dockerfile django")),
        ("service looks elsewhere for static files", "ENV {{ extension.collected.setting }}=/{{ extension.collected.folder }}", "ENV {{ extension.collected.setting }}=/static", held("Dockerfile django")),
        ("frontend without a version", "docker/dockerfile:1", "docker/dockerfile", held("Dockerfile")),
        ("the full image of Python", "}}-slim-{{", "}}-{{", rendered("test_versions_tell_one_story", SLIM)),
        ("Debian without a name", "-slim-{{ pins.suite }}", "-slim", rendered("test_versions_tell_one_story", SLIM)),
        ("distroless keeps pip", "-path '*/bin/pip*' -o ", "", held("Dockerfile distroless")),
        ("distroless keeps ensurepip", "    -o -name ensurepip -o", "    -o", held("Dockerfile distroless")),
        ("apt brings what is recommended", "apt-get install --yes --no-install-recommends \\\n", "apt-get install --yes \\\n", held("Dockerfile distroless")),
        ("lists of apt in the image", "\\\n    && rm -rf /var/lib/apt/lists/* \\\n    && mkdir", "\\\n    && mkdir", held("Dockerfile distroless")),
        ("a user of apt has the day of the build", "SOURCE_DATE_EPOCH=315532800 apt-get", "apt-get", held("Dockerfile distroless")),
        ("programs of a package that was there", "{{ '--reinstall ' if image == 'distroless' }}", "", held("Dockerfile distroless")),
        ("logs of apt in the image", " -o -path /var/log", "", held("Dockerfile distroless")),
        ("the build's resolv.conf in the image", "    -o -path /etc/resolv.conf -o -path /scripts", "    -o -path /scripts", held("Dockerfile distroless")),
        ("dates of apt", "\\\n    && sh /scripts/layer.sh date /rootfs\n{% endif %}\n\n# --- system", "\n{% endif %}\n\n# --- system", held("Dockerfile distroless")),
        ("pip is compiled too", " -not -path '*/site-packages/*'", "", held("Dockerfile")),
        ("library without bytecode", "sh /scripts/layer.sh compile /rootfs usr && ", "", held("Dockerfile")),
        ("library twice", " && find /rootfs -name '*.py' -delete", "", held("Dockerfile")),
        ("user without a name", "sh /scripts/layer.sh name_user /rootfs && ", "", held("Dockerfile")),
        ("system with the dates of today", "name_user /rootfs && sh /scripts/layer.sh normalize /rootfs", "name_user /rootfs", held("Dockerfile")),
        ("compilers bring what is recommended", "--no-install-recommends {{ build_installs }}", "{{ build_installs }}", held("Dockerfile company")),
        ("debug information in compiled code", "ENV LDFLAGS=-s\n", "", held("Dockerfile company")),
        ("links into the cache", "UV_LINK_MODE=copy ", "", held("Dockerfile")),
        ("metadata of the installer", " UV_NO_INSTALLER_METADATA=1", "", held("Dockerfile")),
        ("project is a link", " UV_NO_EDITABLE=1", "", held("Dockerfile")),
        ("columns in bytecode", " PYTHONNODEBUGRANGES=1", "", held("Dockerfile")),
        ("any Python", "    UV_PYTHON=/usr/local/bin/python UV", "    UV", held("Dockerfile")),
        ("Python is downloaded", "UV_PYTHON_DOWNLOADS=never", "UV_PYTHON_DOWNLOADS=automatic", held("Dockerfile")),
        ("dependencies without a cache", "    --mount=type=cache,target=/root/.cache/uv \\\n", "", held("Dockerfile")),
        ("lock is not seen", "    --mount=type=bind,source=uv.lock,target=uv.lock \\\n", "", held("Dockerfile")),
        ("empty secret is taken", ":?is a secret", "?is a secret", held("Dockerfile company")),
        ("secrets are not opened", "    . access.sh && \\\n", "", held("Dockerfile company")),
        ("company is not trusted", "{% for part in build_trust %}\n    {{ part }} \\\n{% endfor %}\n", "", held("Dockerfile company")),
        ("stale lock is taken", "uv sync --locked --no", "uv sync --frozen --no", held("Dockerfile")),
        ("lock is made anew", "uv sync --locked --no", "uv sync --no", held("Dockerfile")),
        ("groups of developers", "--locked --no-default-groups", "--locked --no-dev", held("Dockerfile")),
        ("project among its dependencies", "--no-default-groups --no-install-project", "--no-default-groups", held("Dockerfile")),
        ("dependencies without bytecode", "layer.sh compile / app/.venv/lib >/dev/null || true", "true", held("Dockerfile")),
        ("a file that does not compile", ">/dev/null || true; }", ">/dev/null; }", held("Dockerfile")),
        ("what only uv reads", "layer.sh strip /app/.venv && ", "", held("Dockerfile")),
        ("heavy layer with the dates of today", "layer.sh normalize /rootfs /heavy", "layer.sh normalize /rootfs", held("Dockerfile")),
        ("a version that looks released", "ARG VERSION=0.0.0.dev0", "ARG VERSION=1.0.0", held("Dockerfile existing")),
        ("version is not told to hatch", " UV_DYNAMIC_VERSIONING_BYPASS=$VERSION", "", held("Dockerfile existing")),
        ("project without the indexes", "{% for part in build_mounts | reverse | list + build_opening %}", "{% for part in build_opening %}", held("Dockerfile company")),
        ("secrets in the source", "layer.sh refuse_secrets /rootfs && ", "", held("Dockerfile")),
        ("project without bytecode", "&& layer.sh compile /rootfs app && layer.sh normalize", "&& layer.sh normalize", held("Dockerfile")),
        ("files of the project writable", " && layer.sh normalize /rootfs\n\n{% if extension", "\n\n{% if extension", held("Dockerfile")),
        ("distroless on Debian", "FROM scratch AS runtime", "FROM python AS runtime", held("Dockerfile distroless")),
        ("no locale", "ENV LANG=C.UTF-8 PATH", "ENV PATH", held("Dockerfile distroless")),
        ("home of root", "HOME=/tmp USER=app", "HOME=/root USER=app", held("Dockerfile")),
        ("nobody's name", "HOME=/tmp USER=app", "HOME=/tmp", held("Dockerfile")),
        ("bytecode is written", " PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER", " PYTHONFAULTHANDLER", held("Dockerfile")),
        ("a crash says nothing", " PYTHONFAULTHANDLER=1", "", held("Dockerfile")),
        ("output is buffered", "    PYTHONUNBUFFERED=1\n", "    PYTHONUNBUFFERED=\n", held("Dockerfile")),
        ("environment is not on the path", "ENV PATH=/app/.venv/bin:$PATH", "ENV PATH=$PATH", held("Dockerfile")),
        ("starts in the root", "WORKDIR /app\n", "", held("Dockerfile")),
        ("heavy dependencies are missing", "COPY --link --from=deps /heavy/ /\n", "", held("Dockerfile")),
        ("layers depend on those below", "COPY --link --from=app /rootfs/ /", "COPY --from=app /rootfs/ /", held("Dockerfile")),
        ("runs as root", "USER 10001:10001", "USER 0:0", held("Dockerfile")),
        ("user is a name", "USER 10001:10001", "USER app", held("Dockerfile")),
        ("no user", "USER 10001:10001\n", "", held("Dockerfile")),
        ("worker is asked rarely until it is good", "HEARTBEAT_FILE={{ extension.heartbeat }}\nHEALTHCHECK --interval=30s --timeout=3s --start-period=30s --start-interval=1s", "HEARTBEAT_FILE={{ extension.heartbeat }}\nHEALTHCHECK --interval=30s --timeout=3s --start-period=30s", held("Dockerfile worker")),
        ("no time to start", "{% if health_path %}\nHEALTHCHECK --interval=30s --timeout=3s --start-period=30s", "{% if health_path %}\nHEALTHCHECK --interval=30s --timeout=3s", held("Dockerfile")),
        ("health is asked once an hour", "{% if health_path %}\nHEALTHCHECK --interval=30s", "{% if health_path %}\nHEALTHCHECK --interval=3600s", held("Dockerfile")),
        ("health may take a minute", "{% if health_path %}\nHEALTHCHECK --interval=30s --timeout=3s", "{% if health_path %}\nHEALTHCHECK --interval=30s --timeout=60s", held("Dockerfile")),
        ("health by another port", "int(os.environ['PORT'])", "8000", held("Dockerfile")),
        ("any answer is healthy", "raise SystemExit(c.getresponse().status != 200)", "c.getresponse()", held("Dockerfile")),
        ("health loads the packages", '{% if health_path %}\nHEALTHCHECK --interval=30s --timeout=3s --start-period=30s --start-interval=1s \\\n    CMD ["python", "-ISc"', '{% if health_path %}\nHEALTHCHECK --interval=30s --timeout=3s --start-period=30s --start-interval=1s \\\n    CMD ["python", "-c"', held("Dockerfile")),
        ("probe without an end", ", timeout=2)", ")", held("Dockerfile")),
        ("port is not exposed", "EXPOSE {{ port }}\n", "", held("Dockerfile")),
        ("port in the image is another", "ENV PORT={{ port }}", "ENV PORT=8000", held("Dockerfile")),
        ("a shell between", "CMD {{ command | map('string') | list | to_json }}", "CMD {{ command | join(' ') }}", held("Dockerfile")),
        ("an entrypoint", "CMD {{ command", "ENTRYPOINT {{ command", held("Dockerfile")),
    ],
    "template/README.md.jinja": [
        ("README: a command of Copier", "uvx copier check-update{{", "uvx copier check-updates{{", readme()),
        ("README: a mistyped program", "uv run mypy            #", "uv run mipy            #", readme()),
        ("README: a mistyped option", "docker compose up --build --watch` builds", "docker compose up --build --wach` builds", docker()),
        ("README: another option of bake", "docker image save --output image.tar", "docker image save --out image.tar", docker()),
        ("README: an option of Copier", "--vcs-ref :current: --defaults", "--vcs-tag :current: --defaults", readme()),
        ("README: an option of git", "--extended-regexp", "--extended-regex-p", readme()),
        ("README: a quote too much", "uv lock --check        # is", "uv lock --check'        # is", readme()),
        ("README: another script", "python - <scripts/read_only.py", "python - <scripts/readonly.py", readme()),
        ("README: a service of compose", "docker compose run --rm scan", "docker compose run --rm scanner", readme()),
        ("README: an option of uv", "`uv add NAME --index private`", "`uv add NAME --registry private`", readme()),
        ("README: a file that is not there", "`src/{{ package_name }}/settings.py` |", "`src/{{ package_name }}/config.py` |", readme()),
        ("README: a question that is not asked", "--data apt_packages=", "--data packages=", readme()),
    ],
    COMPOSE: [
        ("writable root", "    read_only: true\n    tmpfs:", "    tmpfs:", held("compose")),
        ("the user of the image", '    user: "12345:0"\n\n', "\n", held("compose")),
        ("no other image", "  app:\n    image: ${IMAGE:-{{ image_name }}}", "  app:\n    image: {{ image_name }}", held("compose")),
        ("migration can write", "    read_only: true\n    cap_drop: [ALL]\n", "    cap_drop: [ALL]\n", held("compose database")),
        ("migration with capabilities", "    cap_drop: [ALL]\n", "", held("compose database")),
        ("migration by the user of the image", '    user: "12345:0"\n    read_only: true\n    cap_drop: [ALL]', "    read_only: true\n    cap_drop: [ALL]", held("compose database")),
        ("migration of another image", "    pull_policy: never\n", "    pull_policy: always\n", held("compose database")),
        ("service starts before its tables", "service_completed_successfully", "service_started", held("compose database")),
        ("migration starts before the database", "condition: service_healthy", "condition: service_started", held("compose database")),
        ("the scan finds and passes", "      - --exit-code=1\n", "", held("compose")),
        ("the scan passes over high", "--severity=HIGH,CRITICAL", "--severity=CRITICAL", held("compose")),
        ("the scan looks for secrets", "--scanners=vuln", "--scanners=secret", held("compose")),
        ("the scan stops at what has no mend", "      - --ignore-unfixed\n", "", held("compose")),
        ("the scan knows no exceptions", "      - --ignorefile=/.trivyignore.yaml\n", "", held("compose")),
        ("the scanner starts with the service", "    profiles:\n      - scan\n", "", held("compose")),
        ("the scanner can write", "./image.tar:/image.tar:ro", "./image.tar:/image.tar", held("compose")),
        ("the scanner has the engine", "      - ./image.tar:/image.tar:ro\n", "      - /var/run/docker.sock:/var/run/docker.sock\n", held("compose")),
        ("everybody reaches it", '"127.0.0.1:{{ port }}:{{ port }}"', '"{{ port }}:{{ port }}"', held("compose")),
        ("some capabilities", "      - ALL\n", "      - NET_RAW\n", held("compose")),
        ("new privileges", "    security_opt:\n      - no-new-privileges:true\n", "", held("compose")),
        ("no memory for files", "    tmpfs:\n      - /tmp\n", "", held("compose")),
        ("less time than a stop needs", "stop_grace_period: 30s", "stop_grace_period: 10s", held("compose")),
        ("a worker is not started again", "    restart: on-failure\n", '    restart: "no"\n', held("compose worker")),
        ("code is exchanged", "action: rebuild", "action: sync", held("compose")),
        ("the log of developers", "${LOG_LEVEL:-INFO}", "${LOG_LEVEL:-DEBUG}", held("compose")),
        ("secrets are not handed on", "      secrets: {{ build_secrets | list | to_json }}\n", "", held("compose company")),
        ("agent is not handed on", "      ssh: [default]\n", "", held("compose company")),
        ("secrets by another variable", "    environment: {{ secret }}", "    file: {{ secret }}", held("compose company")),
    ],
    BAKE: [
        ("bases of last month", "  pull     = true\n", "", held("bake")),
        ("no revision in the name", '"${IMAGE}:build-${REVISION}-${ARCH}"', '"${IMAGE}:build-${ARCH}"', held("bake")),
        ("built under the released name", '"${IMAGE}:build-${REVISION}-${ARCH}"', '"${IMAGE}:main"', held("bake")),
        ("less provenance", "type=provenance,mode=max", "type=provenance,mode=min", held("bake")),
        ("no SBOM", '", "type=sbom{{ \',generator=\' ~ hub ~ \'docker/buildkit-syft-scanner:stable-1\' if hub }}"', '"', held("bake")),
        ("cache of the last stage alone", "ref=${CACHE},mode=max", "ref=${CACHE},mode=min", held("bake")),
        ("no revision on the image", '    "org.opencontainers.image.revision" = REVISION\n', "", held("bake")),
        ("source is the version", '"org.opencontainers.image.source"   = SOURCE', '"org.opencontainers.image.source"   = VERSION', held("bake")),
        ("rebuild with the cache", "  no-cache = true\n", "  no-cache = false\n", held("bake")),
        ("rebuild with attestations", '"type=provenance,disabled=true"', '"type=provenance,mode=max"', held("bake")),
        ("rebuild is pushed", 'dated("type=oci,dest=rebuild.tar")', 'dated("type=registry")', held("bake")),
        ("layers keep their compression", "force-compression=true", "force-compression=false", held("bake")),
        ("layers of Docker's form", ",oci-mediatypes=true", "", held("bake")),
        ("compression is always zstd", '? "gzip" : COMPRESSION', '? "zstd" : COMPRESSION', held("bake")),
        ("the image has the date of the build", "[\"type=docker,source-date-epoch=${SOURCE_DATE_EPOCH}\"]", '["type=docker"]', held("bake")),
        ("each commit installs the dependencies", 'SOURCE_DATE_EPOCH = "4102444800"', "SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH", held("bake")),
        ("a branch is a version", '"^v?([0-9][0-9A-Za-z.+]*)$"', '"^v?(.*)$"', held("bake existing")),
        ("Debian of last month", "(['packages'] * (apt_packages != '') + ['build'] * (build_installs != ''))", "(['build'] * (build_installs != ''))", held("bake company")),
        ("secrets are not given", "  secret     = {{", "  secrets    = {{", held("bake company")),
        ("no agent", '  ssh        = ["default"]\n', "", held("bake company")),
        ("everything is built", 'targets = ["image"]', 'targets = ["image", "release"]', held("bake")),
        ("GitLab refuses the attestation", "',oci-artifact=false' if ci == 'gitlab'", "''", held("bake company")),
        ("built for another machine", 'default     = "amd64"', 'default     = "arm64"', held("bake")),
        ("release is no image", 'inherits = ["image"]', "inherits = []", held("bake")),
    ],
    "template/pyproject.toml.jinja": [
        ("types are not strict", "strict = true", "strict = false", held("pyproject")),
        ("tests have no types", 'files = ["src", "tests"]', 'files = ["src"]', held("pyproject")),
        ("no lint for security", ', "S", "SIM"', ', "SIM"', held("pyproject")),
        ("no lint for bugs", '"ASYNC", "B", ', '"ASYNC", ', held("pyproject")),
        ("subprocesses are let through", '["S101", "S603"]', '["S"]', held("pyproject")),
        ("every address is let through in a worker", "{% if extension.heartbeat is not defined %}\n# The service listens", "{% if true %}\n# The service listens", held("pyproject worker")),
        ("warnings pass", 'filterwarnings = ["error"]', "filterwarnings = []", held("pyproject")),
        ("unknown markers pass", ', "--strict-markers"', "", held("pyproject")),
        ("unknown settings pass", '"--strict-config", ', "", held("pyproject")),
        ("any package may come from the index", "explicit = true", "default = true", held("pyproject company")),
        ("any uv", '[tool.uv]\nrequired-version = ">={{ pins.uv_oldest }}"\n', "[tool.uv]\n", rendered("test_versions_tell_one_story", SLIM)),
        ("any backend", '"uv_build>={{ pins.uv_oldest }},<1"', '"uv_build"', held("pyproject")),
        ("dependencies of developers are shipped", "[dependency-groups]\ndev = [\n", "[project.optional-dependencies]\ndev = [\n", held("pyproject")),
        ("longer lines", "line-length = 100", "line-length = 200", held("pyproject")),
    ],
    "template/renovate.json.jinja": [
        ("Renovate moves Python", '"matchUpdateTypes": ["major", "minor", "patch"],\n      "enabled": false', '"matchUpdateTypes": ["major", "minor", "patch"],\n      "enabled": true', held("renovate")),
        ("what only the lock names is never moved", '"lockFileMaintenance": { "enabled": true }', '"lockFileMaintenance": { "enabled": false }', held("renovate")),
        ("bounds are moved", '"rangeStrategy": "update-lockfile"', '"rangeStrategy": "bump"', held("renovate")),
        ("Renovate deploys", '"matchDepNames": ["{{ image_name }}"],\n      "enabled": false', '"matchDepNames": ["{{ image_name }}"],\n      "enabled": true', held("renovate cluster")),
        ("no digests", ', "docker:pinDigests"', "", held("renovate")),
        ("Renovate moves the actions", ' + pins.actions | list', "", held("renovate")),
        ("no digest of Python", '["major", "minor", "patch"]', '["major", "minor", "patch", "digest"]', held("renovate")),
        ("another preset", '"config:recommended"', '"config:base"', held("renovate")),
    ],
    LAYER: [
        ("scripts go on after an error", "set -eu\n", "set -u\n", scripts("what_cannot_be_done_fails")),
        ("order of the locale", "LC_ALL=C sort -z", "sort -z", scripts("each_process_compiles_a_fixed_share")),
        ("names with a space", "-print0 | LC_ALL=C sort -z", "-print | LC_ALL=C sort", scripts("bytecode_is_checked_by_nothing_and_names_the_image")),
        ("bytecode beside the compiler", "PYTHONDONTWRITEBYTECODE=1 xargs", "xargs", scripts("each_process_compiles_a_fixed_share")),
        ("shares of the cores", "-n 300", "-n $(nproc)00", scripts("each_process_compiles_a_fixed_share")),
        ("one core", '-P "$(nproc)"', "-P 1", scripts("as_many_processes_compile_as_there_are_cores")),
        ("columns in the library", " -X no_debug_ranges", "", scripts("bytecode_is_checked_by_nothing_and_names_the_image")),
        ("what is compiled already", "compileall -qf", "compileall -q", scripts("bytecode_is_checked_by_nothing_and_names_the_image")),
        ("bytecode with dates", "unchecked-hash", "timestamp", scripts("bytecode_is_checked_by_nothing_and_names_the_image")),
        ("bytecode that is checked", "unchecked-hash", "checked-hash", scripts("bytecode_is_checked_by_nothing_and_names_the_image")),
        ("tracebacks of the build", "-p /\n", "-p /rootfs\n", scripts("bytecode_is_checked_by_nothing_and_names_the_image")),
        ("the date of today", "touch -h -d @315532800", "touch -h", scripts("normalized_files_have_one_date_and_are_roots_to_write")),
        ("dates of what links lead to", "touch -h -d", "touch -d", scripts("normalized_files_have_one_date_and_are_roots_to_write")),
        ("everybody writes", "u=rwX,go=rX", "u=rwX,go=rwX", scripts("normalized_files_have_one_date_and_are_roots_to_write")),
        ("nobody else reads", "u=rwX,go=rX", "u=rwX,go=", scripts("normalized_files_have_one_date_and_are_roots_to_write")),
        ("modes without dates", 'go=rX "$@"\n  date "$@"', 'go=rX "$@"', scripts("normalized_files_have_one_date_and_are_roots_to_write")),
        ("the user is root", "app:x:10001:10001:", "app:x:0:0:", scripts("user_has_a_name_beside_those_of_debian")),
        ("the user can log in", "/usr/sbin/nologin", "/bin/bash", scripts("user_has_a_name_beside_those_of_debian")),
        ("the group has another number", "app:x:10001:'", "app:x:1001:'", scripts("user_has_a_name_beside_those_of_debian")),
        ("version of uv in the environment", "  sed -i '/^uv = /d' pyvenv.cfg\n", "", scripts("what_only_uv_and_shells_read_is_removed")),
        ("activation scripts", "rm -f bin/*activate* ", "rm -f ", scripts("what_only_uv_and_shells_read_is_removed")),
        ("heavy from 10 MiB on", "-lt 1048576", "-lt 10485760", scripts("what_has_a_mebibyte_is_in_the_heavy_layer")),
        ("links count", "-type f -printf", "-printf", scripts("what_has_a_mebibyte_is_in_the_heavy_layer")),
        (".env is no secret", "-name .env -o ", "", scripts("secret_is_refused_and_named")),
        (".netrc is no secret", " -o -name .netrc", "", scripts("secret_is_refused_and_named")),
        (".pypirc is no secret", " -o -name .pypirc", "", scripts("secret_is_refused_and_named")),
        ("private keys are no secrets", "    grep -rlE", "    : grep -rlE", scripts("secret_is_refused_and_named")),
        ("keys of one kind", "([A-Z0-9]+ )*PRIVATE KEY", "PRIVATE KEY", scripts("secret_is_refused_and_named")),
        ("examples are secrets", " -not -name '*.example'", "", scripts("what_only_looks_like_a_secret_is_let_through")),
        ("a secret is told and shipped", "  exit 1\n}\n\n\"$@\"", "}\n\n\"$@\"", scripts("secret_is_refused_and_named")),
    ],
    PROJECT: [
        ("members are installed as dependencies", '[ "$path" != . ] && has_source "$path" || echo', 'has_source "$path" || echo', scripts("project_and_what_has_no_source_here_is_left_out")),
        ("libraries are left out", "has_source \"$path\" || echo", "false || echo", scripts("project_and_what_has_no_source_here_is_left_out")),
        ("virtual members", "(directory|editable|virtual)", "(directory|editable)", scripts("project_and_what_has_no_source_here_is_left_out")),
        ("lock of the build is changed", "uv export --quiet --frozen", "uv export --quiet", scripts("libraries_are_built_anew_and_installed_alone")),
        ("developers' libraries", "--frozen --no-default-groups", "--frozen", scripts("libraries_are_built_anew_and_installed_alone")),
        ("libraries as links", " --no-editable --no-hashes", " --no-hashes", scripts("libraries_are_built_anew_and_installed_alone")),
        ("source that is not there", "copies its source.\" >&2; exit 1; }", "copies its source.\" >&2; continue; }", scripts("library_without_its_source_fails_the_build_and_is_named")),
        ("a wheel of older source", "uv build --no-cache", "uv build", scripts("libraries_are_built_anew_and_installed_alone")),
        ("dependencies again", "--no-cache --no-deps", "--no-cache", scripts("libraries_are_built_anew_and_installed_alone")),
        ("settings of the project decide", "uv pip install --no-config", "uv pip install", scripts("libraries_are_built_anew_and_installed_alone")),
        ("RECORD stays", " -o -path '*.dist-info/RECORD'", "", scripts("libraries_are_built_anew_and_installed_alone")),
        ("the lock of the environment stays", "-path '*/.venv/.lock' -o ", "", scripts("libraries_are_built_anew_and_installed_alone")),
    ],
    ACCESS: [
        ("secrets are not exported", "set -a\n", "", scripts("login_of_git_is_for_its_server_alone")),
        ("files are not read", "[ ! -f \"/run/secrets/$secret\" ] || ", "[ -f \"/run/secrets/$secret\" ] || ", scripts("login_of_git_is_for_its_server_alone")),
        ("git trusts nobody of the company", "[ ! -d /run/tls ] || GIT", "[ -d /run/tls ] || GIT", scripts("git_trusts_what_the_build_put_there")),
        ("git asks a person", "GIT_TERMINAL_PROMPT=0", "GIT_TERMINAL_PROMPT=1", scripts("login_of_git_is_for_its_server_alone")),
        ("SSH addresses stay closed", "GIT_CONFIG_COUNT=2", "GIT_CONFIG_COUNT=1", scripts("address_of_ssh_is_opened_by_the_token")),
        ("login for every server", "credential.{{ git_server }}.helper", "credential.helper", scripts("login_of_git_is_for_its_server_alone")),
        ("any key of a server", "StrictHostKeyChecking=yes", "StrictHostKeyChecking=no", scripts("server_of_git_is_known_by_its_key_alone")),
        ("the person's known hosts", "-o UserKnownHostsFile=$known_hosts ", "", scripts("server_of_git_is_known_by_its_key_alone")),
        ("no agent in a pipeline", "  eval \"$(ssh-agent)\" >/dev/null\n", "", scripts("pipeline_has_an_agent_with_its_key_and_says_nothing")),
        ("the key is printed", "ssh-add -q -", "tee /dev/stderr | ssh-add -q -", scripts("pipeline_has_an_agent_with_its_key_and_says_nothing")),
    ],
    DISTROLESS: [
        ("everybody deletes in /tmp", "chmod 1777", "chmod 0777", held("distroless.sh")),
        ("nobody writes in /tmp", " && chmod 1777 /rootfs/tmp", "", held("distroless.sh")),
        ("errors are passed over", "set -euo pipefail", "set -u", held("distroless.sh")),
        ("no certificates", "/etc/ssl/certs/ca-certificates.crt /etc/ssl/openssl.cnf", "/etc/ssl/openssl.cnf", held("distroless.sh")),
        ("no time zones", "  /usr/share/zoneinfo /usr/lib/locale/C.utf8", "  /usr/lib/locale/C.utf8", held("distroless.sh")),
        ("no name services", "/etc/nsswitch.conf ", "", held("distroless.sh")),
        ("no records for scanners", "mkdir -p /rootfs/var/lib/dpkg/status.d", "mkdir -p /rootfs/var/lib/dpkg/status.d && exit", held("distroless.sh")),
        ("no libraries of wheels", " /deps/rootfs /deps/heavy /rootfs -type f", " /rootfs -type f", held("distroless.sh")),
        ("packages of apt unknown", "comm -13 <(", "comm -23 <(", held("distroless.sh")),
        ("cache of the linker", "ldconfig -r /rootfs && ", "", held("distroless.sh")),
    ],
    "template/scripts/read_only.py": [
        ("the owner is not checked", "path.stat().st_uid or ", "", scripts("what_the_service_could_change_is_named")),
        ("the group is not checked", "0o022", "0o002", scripts("what_the_service_could_change_is_named")),
        ("others are not checked", "0o022", "0o020", scripts("what_the_service_could_change_is_named")),
        ("/app itself is not checked", '[app, *app.rglob("*")]', 'app.rglob("*")', scripts("what_the_service_could_change_is_named")),
        ("folders in folders are not checked", 'app.rglob("*")', 'app.glob("*")', scripts("what_the_service_could_change_is_named")),
        ("a writable file is told and passes", 'raise SystemExit("\\n".join(["Not root\'s alone:", *found]) if found else 0)', 'print("\\n".join(["Not root\'s alone:", *found]))', scripts("what_the_service_could_change_is_named")),
    ],
    "template/scripts/verify.sh": [
        ("no platform is enough", '-gt 0 && test', '-ge 0 && test', scripts("image_is_verified_on_each_platform")),
        ("provenance is not asked", ' && test "$provenance" -eq "$platforms"', "", scripts("image_is_verified_on_each_platform")),
        ("SBOM is not asked", ' && test "$sbom" -eq "$platforms"', "", scripts("image_is_verified_on_each_platform")),
        ("any commit", 'image.revision\\": \\"$2\\""', 'image.revision\\": \\""', scripts("image_is_verified_on_each_platform")),
        ("more is enough", '"$sbom" -eq', '"$sbom" -ge', scripts("image_is_verified_on_each_platform")),
        ("a label twice", " | uniq | grep -c", " | grep -c", scripts("image_is_verified_on_each_platform")),
        ("fewer are enough", '"$provenance" -eq', '"$provenance" -le', scripts("image_is_verified_on_each_platform")),
        ("other systems count", '\'"os": "linux"\'', '\'"os": "\'', scripts("image_is_verified_on_each_platform")),
    ],
    "template/uv.lock.jinja": [
        ("lock of another Python", "'requires-python = \">=' ~ python_version ~ '\"'", "'requires-python = \">=3.11\"'", rendered("test_versions_tell_one_story", "starlette uvicorn 3.12 tested slim")),
        ("lock of another project", "'name = \"' ~ project_slug ~ '\"'", "'name = \"' ~ package_name ~ '\"'", rendered("test_lock_is_of_the_project_and_of_what_it_depends_on", SLIM)),
        ("packages out of order", "for package in packages | sort %}", "for package in packages %}", ("test_project.py::test_lock_is_what_uv_would_write[Aaa]",)),
    ],
    UPDATE: [
        ("questions in the pipeline", "$copier update{{ answers_option }} --defaults --quiet", "$copier update{{ answers_option }} --quiet", held("update")),
        ("trust", "$copier update{{ answers_option }} --defaults", "$copier update{{ answers_option }} --trust --defaults", held("update")),
        ("updates are never looked for", '  schedule:\n    - cron: "17 5 * * 1"\n', "", held("update")),
        ("looked for each minute", '"17 5 * * 1"', '"* * * * *"', held("update")),
        ("nobody can start it", "  workflow_dispatch:\n", "", held("update")),
        ("everything is permitted", "permissions: {}", "permissions: write-all", held("update")),
        ("the job may write", "      contents: read\n", "      contents: write\n", held("update")),
        ("a push is cut short", "cancel-in-progress: false", "cancel-in-progress: true", held("update")),
        ("no environment for the token", "    environment: template-update\n", "", held("update")),
        ("credentials stay", "persist-credentials: false", "persist-credentials: true", held("update")),
        ("a cache that others filled", "enable-cache: false", "enable-cache: true", held("update")),
        ("six hours", "timeout-minutes: 10", "timeout-minutes: 360", held("update")),
        ("the token of the job", "secrets.TEMPLATE_UPDATE_TOKEN", "secrets.GITHUB_TOKEN", held("update")),
        ("token is a variable", "secrets.TEMPLATE_UPDATE_TOKEN", "vars.TEMPLATE_UPDATE_TOKEN", held("update")),
        ("what Copier needs is of today", "uvx --exclude-newer {{ pins.copier_before }} copier", "uvx copier", held("update")),
        ("each run proposes", '[ "$code" = 2 ] || exit "$code"', ":", ("test_template_update.py::test_the_newest_release_has_nothing_to_propose[github]",)),
        ("a resolution is overwritten", "git push --quiet origin", "git push --force --quiet origin", held("update")),
        ("closed requests come back", "--state all", "--state open", held("update")),
        ("a branch is made again", 'if ! git ls-remote --exit-code origin "refs/heads/$branch"; then', "if true; then", ("test_template_update.py::test_a_second_run_leaves_the_branch_to_people[github]",)),
    ],
    CI: [
        ("changes are not tested", "  pull_request:\n\n# Each job", "\n# Each job", held("github")),
        ("forks run with secrets", "  pull_request:\n\n# Each job", "  pull_request_target:\n\n# Each job", held("github")),
        ("fixes of the base image wait for a push", '  schedule:\n    - cron: "43 4 * * 2"\n', "", held("github")),
        ("built each minute", '"43 4 * * 2"', '"* * * * *"', held("github")),
        ("changes are pushed", "github.event_name == 'pull_request' && 'image' || 'release'", "'release'", held("github")),
        ("pushes push nothing", "github.event_name == 'pull_request' && 'image' || 'release'", "'image'", held("github")),
        ("changes are published", "    needs: [image, reproduce]\n    if: github.event_name != 'pull_request'\n", "    needs: [image, reproduce]\n", held("github")),
        ("the runner of tomorrow", "    if: github.event_name != 'pull_request'\n    runs-on: ubuntu-24.04", "    if: github.event_name != 'pull_request'\n    runs-on: ubuntu-latest", held("github")),
        ("the same image is released again", 'if [ "$built" = "$released" ]; then', "if false; then", held("github")),
        ("an old image stays released", 'if [ "$built" = "$released" ]; then', "if true; then", held("github")),
        ("what is released is signed again", "        if: steps.released.outputs.digest == ''\n", "", held("github")),
        ("another branch", "branches: [main]", "branches: [master]", held("github")),
        ("every branch releases", "    branches: [main]\n", '    branches: ["**"]\n', held("github")),
        ("tags start nothing", '    tags: ["v*"]\n', "", held("github")),
        ("every tag releases", 'tags: ["v*"]', 'tags: ["*"]', held("github")),
        ("permissions by default", "permissions: {}\n\nconcurrency", "concurrency", held("github")),
        ("a push cancels the one before", "{{ github.event_name == 'pull_request' }}", "{{ true }}", held("github")),
        ("all refs are one group", "group: {{ workflow }}-${{ '{{ github.ref }}' }}", "group: {{ workflow }}", held("github")),
        ("checks may take hours", "runs-on: ubuntu-24.04\n    timeout-minutes: 10\n    permissions:\n      contents: read\n{% if build_secrets %}\n    # Where", "runs-on: ubuntu-24.04\n    timeout-minutes: 360\n    permissions:\n      contents: read\n{% if build_secrets %}\n    # Where", held("github")),
        ("checks may write", "timeout-minutes: 10\n    permissions:\n      contents: read\n{% if build_secrets %}\n    # Where", "timeout-minutes: 10\n    permissions:\n      contents: write\n{% if build_secrets %}\n    # Where", held("github")),
        ("login of the index is open to any job", "    environment: package-index\n    env:", "    env:", held("github company")),
        ("checkout of the checks keeps credentials", "- name: Check out\n        uses: actions/checkout@{{ pins.actions['actions/checkout'] }}\n        with:\n          persist-credentials: false", "- name: Check out\n        uses: actions/checkout@{{ pins.actions['actions/checkout'] }}\n        with:\n          persist-credentials: true", held("github")),
        ("cache of uv on the runner", "enable-cache: false", "enable-cache: true", held("github")),
        ("empty settings pass", "':?is not set}\"' }}", "'?is not set}\"' }}", held("github company")),
        ("lock is not checked", "        run: uv lock --check\n", "        run: uv lock\n", held("github")),
        ("checks with another lock", "run: uv run --locked", "run: uv run", held("github")),
        ("images without checks", "name: Image (${{ '{{ matrix.arch }}' }})\n    needs: check", "name: Image (${{ '{{ matrix.arch }}' }})", held("github")),
        ("emulated arm", "runner: ubuntu-24.04-arm", "runner: ubuntu-24.04", held("github")),
        ("labels of another commit", "REVISION: ${{ '{{ github.sha }}' }}\n      SOURCE: ${{ '{{ github.server_url }}' }}/${{ '{{ github.repository }}' }}\n      VERSION: ${{ '{{ github.ref_name }}' }}\n    steps:\n      - name: Check out the source", "REVISION: ${{ '{{ github.ref }}' }}\n      SOURCE: ${{ '{{ github.server_url }}' }}/${{ '{{ github.repository }}' }}\n      VERSION: ${{ '{{ github.ref_name }}' }}\n    steps:\n      - name: Check out the source", held("github")),
        ("password of the registry is a variable", "          registry: {{ registry.split('/')[0] }}\n          username: ${{ '{{ vars.REGISTRY_USERNAME }}' }}\n          password: ${{ '{{ secrets.REGISTRY_PASSWORD }}' }}\n\n{% endif %}\n{% if git_server.startswith('ssh:') %}\n      - name: Load the key of git\n", "          registry: {{ registry.split('/')[0] }}\n          username: ${{ '{{ vars.REGISTRY_USERNAME }}' }}\n          password: ${{ '{{ vars.REGISTRY_PASSWORD }}' }}\n\n{% endif %}\n{% if git_server.startswith('ssh:') %}\n      - name: Load the key of git\n", held("github company")),
        ("Depot by a token", "Set up {{ 'Depot' if builder == 'depot' else 'Buildx' }}\n        uses: {{ setup }}@{{ pins.actions[setup] }}\n{% if builder == 'depot' %}\n        with:\n          oidc: true", "Set up {{ 'Depot' if builder == 'depot' else 'Buildx' }}\n        uses: {{ setup }}@{{ pins.actions[setup] }}\n{% if builder == 'depot' %}\n        with:\n          oidc: false", held("github depot")),
        ("forks log in", "        if: github.event.pull_request.head.repo.fork != true\n", "", held("github")),
        ("capitals in the name", 'echo "IMAGE=ghcr.io/${GITHUB_REPOSITORY,,}"', 'echo "IMAGE=ghcr.io/${GITHUB_REPOSITORY}"', held("github")),
        ("one cache for all builders", ':cache-$ARCH-$buildkit"', ':cache-$ARCH"', held("github")),
        ("date of the build", "SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) CACHE=", "CACHE=", held("github")),
        ("what is tested is not what is pulled", '          docker pull "$IMAGE@$digest"\n', "", held("github")),
        ("pulled by a tag", 'docker tag "$IMAGE@$digest" "$IMAGE"', 'docker tag "$IMAGE:main" "$IMAGE"', held("github")),
        ("code may be writable", "<scripts/read_only.py\n", "<scripts/read_only.py || true\n", held("github")),
        ("health is not waited for", "--detach --no-build --wait --wait-timeout 60 app", "--detach --no-build app", held("github")),
        ("smoke-run builds another image", "--detach --no-build --wait", "--detach --wait", held("github")),
        ("any exit code", "test \"$(docker compose ps --all --format '{{ '{{.ExitCode}}' }}' app)\" = 0", "docker compose ps --all", held("github")),
        ("no logs of a failure", "        if: failure()\n", "        if: success()\n", held("github")),
        ("no scan", "          docker compose run --rm scan\n", "", held("github")),
        ("second build on the first's machine", "    needs: image\n    strategy", "    needs: check\n    strategy", held("github")),
        ("second build of one architecture", "arch: [amd64, arm64]", "arch: [amd64]", held("github")),
        ("second build has no end", "|| 'ubuntu-24.04' }}\n    timeout-minutes: 20\n", "|| 'ubuntu-24.04' }}\n", held("github")),
        ("anything is equal", 'grep -F "${FIRST:?}"', 'grep -F "${FIRST:-}"', held("github")),
        ("nothing is compared", "    needs: [image, reproduce]\n    if", "    needs: [image]\n    if", held("github")),
        ("publish may read the code", "      packages: write # to push the joined image and its signature\n", "      contents: write\n      packages: write # to push the joined image and its signature\n", held("github")),
        ("one architecture is published", '"$IMAGE@$AMD64" "$IMAGE@$ARM64"', '"$IMAGE@$AMD64"', held("github")),
        ("nothing is signed", 'cosign sign --yes "$IMAGE@$DIGEST"', 'cosign version', held("github")),
        ("a tag is signed", 'cosign sign --yes "$IMAGE@$DIGEST"', 'cosign sign --yes "$IMAGE:build-$GITHUB_RUN_ID"', held("github")),
        ("any issuer", '--certificate-oidc-issuer "$ISSUER"', "--certificate-oidc-issuer-regexp '.*'", held("github")),
        ("any identity", '--certificate-identity "$IDENTITY"', "--certificate-identity-regexp '.*'", held("github")),
        ("another issuer", "ISSUER: https://token.actions.githubusercontent.com", "ISSUER: https://accounts.google.com", held("github")),
        ("any workflow of the repository", "github.workflow_ref }}' }}", "github.repository }}' }}", held("github")),
        ("verify may push", "packages: read # what", "packages: write # what", held("github")),
        ("SBOM and provenance are not verified", 'run: sh scripts/verify.sh "$IMAGE@$DIGEST" "$GITHUB_SHA"', 'run: sh scripts/verify.sh "$IMAGE@$DIGEST" "$GITHUB_SHA" || true', held("github")),
        ("released before it is verified", "needs: [image, publish, verify]", "needs: [image, publish]", held("github")),
        ("released by another digest", "name: Release\n    needs: [image, publish, verify]\n    runs-on: ubuntu-24.04\n    timeout-minutes: 10\n    permissions:\n      packages: write # to name what was verified\n    env:\n      IMAGE: ${{ '{{ needs.image.outputs.name }}' }}\n      DIGEST: ${{ '{{ needs.publish.outputs.digest }}' }}", "name: Release\n    needs: [image, publish, verify]\n    runs-on: ubuntu-24.04\n    timeout-minutes: 10\n    permissions:\n      packages: write # to name what was verified\n    env:\n      IMAGE: ${{ '{{ needs.image.outputs.name }}' }}\n      DIGEST: ${{ '{{ needs.image.outputs.amd64 }}' }}", held("github")),
        ("a tag takes the commit's name", '[ "$GITHUB_REF_TYPE" = tag ] || tags+=', "tags+=", rendered("test_names_of_a_release", "v1.2.0+3-True-names2-github")),
        ("a branch with a slash", "//[^A-Za-z0-9_.-]/-}", "//[^A-Za-z0-9_.-/]/-}", rendered("test_names_of_a_release", "fix/one+two-False-names1-github")),
        ("latest", 'tags=("${', 'tags=("latest" "${', rendered("test_names_of_a_release", "main-False-names0-github")),
    ],
    GITLAB: [
        ("stages in another order", "publish, verify, release{{", "publish, release, verify{{", held("gitlab")),
        ("merge requests publish", '  extends: .docker\n  rules:\n    - if: $TARGET == "release"', '  extends: .docker\n  rules:\n    - if: $TARGET != "template"', held("gitlab")),
        ("checks without an end on GitLab", "  interruptible: true\n  timeout: 10m\n", "  interruptible: true\n", held("gitlab")),
        ("the same image is released again on GitLab", 'if [ "$built" = "$released" ]; then', "if false; then", held("gitlab")),
        ("a push deploys on GitLab", "      when: manual\n      # A", "      # A", held("gitlab deploy")),
        ("what was not released is deployed", "needs: [publish, release]", "needs: [publish]", held("gitlab deploy")),
        ("no environment on GitLab", "  environment: production\n", "", held("gitlab deploy")),
        ("a tag is deployed on GitLab", 'sh deploy/commit.sh production "$IMAGE@$DIGEST"', 'sh deploy/commit.sh production "$IMAGE:main"', held("gitlab deploy")),
        ("tags start no pipeline on GitLab", "    - if: $CI_COMMIT_TAG =~ /^v/\n      variables:\n        REF: refs/tags/$CI_COMMIT_TAG\n", "", held("gitlab")),
        ("every tag releases on GitLab", "=~ /^v/", "", held("gitlab")),
        ("every branch releases on GitLab", "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", "$CI_COMMIT_BRANCH", held("gitlab")),
        ("forks run here", "      when: never\n", "      when: always\n", held("gitlab")),
        ("merge requests are pushed", "        TARGET: image\n", "        TARGET: release\n", held("gitlab")),
        ("a push cancels the one before on GitLab", "on_new_commit: conservative", "on_new_commit: interruptible", held("gitlab")),
        ("merge requests are not cancelled", "on_new_commit: interruptible", "on_new_commit: none", held("gitlab")),
        ("any schedule updates", '$CI_PIPELINE_SOURCE == "schedule" && $TEMPLATE_UPDATE_TOKEN', '$CI_PIPELINE_SOURCE == "schedule"', held("gitlab")),
        ("revision is the branch", "REVISION: $CI_COMMIT_SHA", "REVISION: $CI_COMMIT_REF_NAME", held("gitlab")),
        ("the engine without TLS", "DOCKER_TLS_CERTDIR: /certs", 'DOCKER_TLS_CERTDIR: ""', held("gitlab")),
        ("the driver of the runner", "DOCKER_DRIVER: overlayfs", "DOCKER_DRIVER: overlay2", held("gitlab")),
        ("builds without an end", "  timeout: 20m\n", "", held("gitlab")),
        ("password on the command line", 'echo "$CI_REGISTRY_PASSWORD" | docker login --username "$CI_REGISTRY_USER" --password-stdin "$CI_REGISTRY"', 'docker login --username "$CI_REGISTRY_USER" --password "$CI_REGISTRY_PASSWORD" "$CI_REGISTRY"', held("gitlab")),
        ("checks are not interrupted", "slim' }}-{{ pins.suite }}\n  interruptible: true", "slim' }}-{{ pins.suite }}\n  interruptible: false", held("gitlab")),
        ("checks run beside an update", "  timeout: 10m\n  rules:\n    - if: $TARGET != \"template\"", "  timeout: 10m\n  rules:\n    - when: always", held("gitlab")),
        ("another uv", "uv=={{ uv }}", "uv", rendered("test_versions_tell_one_story", "django granian gitlab   ")),
        ("lock is not checked on GitLab", "    - uv lock --check\n", "", held("gitlab")),
        ("checks with another lock on GitLab", "uv run --locked", "uv run", held("gitlab")),
        ("updates in each pipeline", '  rules:\n    - if: $TARGET == "template"', "  rules:\n    - when: always", held("gitlab")),
        ("job token pushes", '"$TEMPLATE_UPDATE_TOKEN"; :\'', '"$CI_JOB_TOKEN"; :\'', ("test_template_update.py::test_gitlab_is_shown_the_token_of_the_schedule[gitlab]",)),
        ("build is not interrupted", "build:\n  stage: build\n  extends: .docker\n  interruptible: true", "build:\n  stage: build\n  extends: .docker\n  interruptible: false", held("gitlab")),
        ("images without checks on GitLab", "  needs: [check]\n", "  needs: []\n", held("gitlab")),
        ("one architecture on GitLab", "  needs: [check]\n  # Each architecture on a native runner: emulated, a build takes many times as long.\n  parallel:\n    matrix:\n      - ARCH: [amd64, arm64]", "  needs: [check]\n  # Each architecture on a native runner: emulated, a build takes many times as long.\n  parallel:\n    matrix:\n      - ARCH: [amd64]", held("gitlab")),
        ("one cache for all builders on GitLab", 'CACHE="$IMAGE:cache-$ARCH-$buildkit"', 'CACHE="$IMAGE:cache-$ARCH"', held("gitlab")),
        ("code may be writable on GitLab", "<scripts/read_only.py\n", "<scripts/read_only.py || true\n", held("gitlab")),
        ("any exit code on GitLab", " app)\" = 0", ' app)" != 137', held("gitlab")),
        ("no scan on GitLab", "    - docker compose run --rm scan\n", "", held("gitlab")),
        ("no logs on GitLab", "    - docker compose logs\n", "    - true\n", held("gitlab")),
        ("values are not handed on", "      dotenv: build.env", "      junit: build.env", held("gitlab")),
        ("nothing is compared on GitLab", 'grep -F "${FIRST:?}"', 'grep -F "${FIRST:?}" || true', held("gitlab")),
        ("published without a second build", "needs: [build, reproduce]", "needs: [build]", held("gitlab")),
        ("audience of the token", "      aud: sigstore", "      aud: https://gitlab.com", held("gitlab")),
        ("nothing is signed on GitLab", '    - cosign sign --yes "$IMAGE@$DIGEST"\n', "", held("gitlab")),
        ("any identity on GitLab", '--certificate-identity "$IDENTITY"', '--certificate-identity-regexp "$CI_SERVER_URL"', held("gitlab")),
        ("another ref on GitLab", "//.gitlab-ci.yml@$REF", "//.gitlab-ci.yml@refs/heads/main", held("gitlab")),
        ("SBOM and provenance are not verified on GitLab", '    - sh scripts/verify.sh "$IMAGE@$DIGEST" "$CI_COMMIT_SHA"\n', "", held("gitlab")),
        ("released before it is verified on GitLab", "needs: [publish, verify]", "needs: [publish]", held("gitlab")),
        ("a tag takes the commit's name on GitLab", 'test -n "$CI_COMMIT_TAG" || docker', "docker", rendered("test_names_of_a_release", "v1.2.0+3-True-names2-gitlab")),
    ],
    "template/{{ _copier_conf.answers_file }}.jinja": [
        ("a login is committed", "regex_replace('^((git[+])?https?://)[^/@]*@', '\\\\1')", "string", ADDRESS),
        ("Renovate cannot read gh:", "'^gh:/?", "'^hg:/?", ADDRESS),
    ],
    "copier.yml": [
        ("updates bring the source back", "  - \"{% if _copier_operation == 'update' or settled %}/src/{% endif %}\"\n", "", ("test_update.py::test_deleted_files_of_the_users_stay_deleted",)),
        ("updates bring the tests back", "  - \"{% if _copier_operation == 'update' or settled %}/tests/{% endif %}\"\n", "", ("test_update.py::test_deleted_files_of_the_users_stay_deleted",)),
        ("updates write the lock", "  - \"{% if _copier_operation == 'update' or settled or framework == 'existing' %}/uv.lock{% endif %}\"\n", "", ("test_ownership.py::test_table_says_what_an_update_does[github]",)),
        ("updates write pyproject.toml", "  - \"{% if _copier_operation == 'update' or settled or framework == 'existing' %}/pyproject.toml{% endif %}\"\n", "", ("test_ownership.py::test_table_says_what_an_update_does[github]",)),
        ("replaced files are not named", "{% for name in ['Dockerfile', '.dockerignore', 'compose.yaml', 'docker-bake.hcl', '.gitlab-ci.yml'", "{% for name in ['compose.yaml'", ("test_existing.py::test_what_will_be_replaced_is_named_before_anything_is_written",)),
        ("the way back forgets new files", "  Or undo the update:\n\n    git -C {{ folder }} restore --source=HEAD --staged --worktree . && git -C {{ folder }} clean --force -d", "  Or undo the update:\n\n    git -C {{ folder }} restore --source=HEAD --staged --worktree .", ("test_update.py::test_an_update_can_be_taken_back[none]",)),
        ("longer titles", "0 < project_name | length <= 60", "0 < project_name | length <= 600", refused("project_name", "x" * 61)),
        ("names of dependencies are free", "if package_name in taken_names.split()\n", "if false\n", refused("package_name", "fastapi")),
        ("names with a line break", "regex_search('^[a-z0-9]+(_[a-z0-9]+)*\\\\Z')", "regex_search('^[a-z0-9]+(_[a-z0-9]+)*$')", refused("package_name", "a\n")),
        ("markup in titles", "default: '[\\\\`${}<>", "default: '[", refused("project_name", "${HOME}")),
        ("heartbeat of yesterday", ".st_mtime > 15)", ".st_mtime > 86400)", held("Dockerfile worker")),
        ("worker is never unhealthy", "import os, time; raise SystemExit(time", "import os, time; print(time", held("Dockerfile worker")),
        ("a variable that is not declared is empty", "  undefined: jinja2.StrictUndefined\n", "", held_here()),
        ("an older Copier", '_min_copier_version: "9.15.1"', '_min_copier_version: "9.0.0"', held_here()),
        ("renovate.json of existing code is replaced", "_skip_if_exists:\n  - \"{% if framework | default('') == 'existing' %}/renovate.json{% endif %}\"\n", "", ("test_existing.py::test_nothing_of_the_owners_changes_at_copy_update_and_recopy",)),
        ("lost answers are not named", "{{ name }} was {{ settled[name] | to_json }}, which is no longer allowed", "{{ name }} is no longer allowed", ("test_update.py::test_message_after_an_update_names_an_answer_that_was_lost",)),
        ("an older uv", 'uv_oldest: "0.8.0"', 'uv_oldest: "0.5.0"', held_here()),
        ("another Debian", "suite: trixie", "suite: bookworm", held_here()),
        ("an action by its tag", '"3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"', '"v7.0.1"', rendered("test_every_action_and_image_is_pinned_and_left_to_the_template", "flask granian github buildx  ")),
        ("an image by its tag", "@sha256:62b1e65e8869bc4b4c6aa4fa2b21595256c7c2f6018a9d9ad61caf87187c1969", "", rendered("test_every_action_and_image_is_pinned_and_left_to_the_template", "flask granian github buildx  ")),
        ("another default framework", "else 'fastapi') }}", "else 'flask') }}", held("answers")),
        ("a choice less", "    Litestar: litestar\n", "", ("test_extensions.py::test_every_extension_is_a_choice",)),
        ("framework can change", "{% if framework != settled.framework | default(framework) %}", "{% if false %}", ("test_update.py::test_what_decided_the_source_cannot_change_with_an_update[framework-another-fastapi]",)),
        ("another default port", "else '8000' }}", "else '8080' }}", held("answers")),
        ("ports of root", "not 1024 <= port", "not 1 <= port", refused("port", "1023")),
        ("ports that are none", "<= 65535) %}", "<= 99999) %}", refused("port", "65536")),
        ("another default Python", "select('le', 14) | list or allowed or [14]", "select('le', 13) | list or allowed or [13]", held("answers")),
        ("any version of uv", "default: tested\n", "default: latest\n", held_here()),
        ("uv that cannot build", "< pins.uv_oldest.split('.') | map('int') | list) %}", "< [0]) %}", refused("uv_version", "0.7.99")),
        ("an index without TLS", "'^https://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~+-]{1,100})*/?", "'^https?://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~+-]{1,100})*/?", refused("index_url", "http://pypi.example.com/simple")),
        ("a password in the index", "'^https://[A-Za-z0-9](", "'^https://([^@/]*@)?[A-Za-z0-9](", refused("index_url", "https://me:secret@pypi.example.com/simple")),
        ("password of the index is a variable", "_PASSWORD: secrets,{% endfor %}", "_PASSWORD: vars,{% endfor %}", held("github company")),
        ("user of the index is a secret", "_USERNAME: vars, UV_INDEX", "_USERNAME: secrets, UV_INDEX", held("github company")),
        ("token of git is a variable", "GIT_PASSWORD: secrets", "GIT_PASSWORD: vars", held("github token")),
        ("key of git is a variable", "{'SSH_PRIVATE_KEY': 'secrets'}", "{'SSH_PRIVATE_KEY': 'vars'}", held("github company")),
        ("a missing secret passes", "--mount=type=secret,id=\\\\1,required=true", "--mount=type=secret,id=\\\\1", held("Dockerfile company")),
        ("a missing agent passes", "'--mount=type=ssh,required=true'", "'--mount=type=ssh'", held("Dockerfile company")),
        ("certificates in a layer", "'--mount=type=tmpfs,target=/run/tls'", "'--mount=type=cache,target=/run/tls'", held("Dockerfile company")),
        ("the company's certificates alone", "{ cat /etc/ssl/certs/ca-certificates.crt; echo", "{ echo", held("Dockerfile company")),
        ("access is not opened for the project", "['. access.sh &&'] * (build_secrets | length > 0) + build_trust", "build_trust", held("Dockerfile company")),
        ("no certificates by default", "  default: public\n", "  default: company\n", held_here()),
        ("another default image", "  default: slim\n", "  default: distroless\n", held_here()),
        ("a shell in the packages", "{% if apt_packages and not apt_packages | regex_search('^[a-z0-9][a-z0-9+.-]+( [a-z0-9][a-z0-9+.-]+)*\\\\Z') %}", "{% if apt_packages and not apt_packages | regex_search('^[a-z0-9]') %}", refused("apt_packages", "libpq5; id")),
        ("git without its client", "'openssh-client' if git_server.startswith('ssh:')", "'' if git_server.startswith('ssh:')", held("Dockerfile company")),
        ("another default host", "  default: github\n", "  default: none\n", held_here()),
        ("an image's name with capitals", "~ repository | lower if repository", "~ repository if repository", ("test_guards.py::test_image_has_a_name_that_docker_takes",)),
        ("GitLab's registry", "'registry.gitlab.com/' if ci", "'gitlab.com/' if ci", ("test_answers.py::test_gitlab_has_groups_in_groups[acme/orders]",)),
        ("another default builder", "  default: buildx\n", "  default: depot\n", held_here()),
        ("bake does not allow the agent", "' --allow=ssh' if git_server", "'' if git_server", held("github company")),
        ("images of Docker Hub by another registry", "\"{{ registry ~ '/' if registry }}\"", "''", held("Dockerfile company")),
        ("uv of another registry", "\"{{ registry or 'ghcr.io' }}/\"", "ghcr.io/", held("Dockerfile company")),
        ("tests are not run", "    Tests: pytest\n", "    Tests: pytest --collect-only\n", held("github")),
        ("format is changed, not checked", "Format: ruff format --check", "Format: ruff format", held("github")),
        ("a build is told no secret", "{% for name in build_secrets %} --secret id={{ name }}{% endfor %} .", " .", ("test_answers.py::test_message_names_the_next_three_commands[answers2-closed network]",)),
        ("paths out of the project", "[.]{1,2}(/| |$))", "[.]{3}(/| |$))", ("test_existing.py::test_bad_answer_is_refused_by_name_and_nothing_is_written[sources-../x-relative paths]",)),
        ("any option of uv", "'^--(package|extra|group) [A-Za-z0-9]", "'^--[a-z-]+ [A-Za-z0-9]", ("test_existing.py::test_bad_answer_is_refused_by_name_and_nothing_is_written[uv_options---no-dev---package/--extra/--group NAME]",)),
        ("one name for all indexes", "map('regex_replace', '[^A-Z0-9]', '_') %}\n    UV_INDEX", "map('regex_replace', '[^A-Z0-9]', '') %}\n    UV_INDEX", held("github company")),
    ],
    "extensions/fastapi/src/app.py.jinja": [
        ("FastAPI: the log is inside", "await RequestLog(super().__call__)(scope", "await super().__call__(scope", own("fastapi-uvicorn")),
        ("FastAPI: a body of any size", "max_body_size=limit", "max_body_size=None", own("fastapi-uvicorn")),
        ("FastAPI: mistakes as they came", "RequestValidationError, answer_invalid_request)", "KeyError, answer_invalid_request)", own("fastapi-uvicorn")),
        ("FastAPI: errors are plain", "    app.add_exception_handler(Exception, answer_internal_error)\n", "", own("fastapi-uvicorn")),
        ("FastAPI: a mistake is the service's", "{\"detail\": detail}, 422)", "{\"detail\": detail}, 500)", own("fastapi-uvicorn")),
    ],
    "extensions/fastapi/src/health.py.jinja": [
        ("FastAPI: no HEAD of health", "@router.head(HEALTH_PATH, include_in_schema=False)\n", "", own("fastapi-uvicorn")),
        ("FastAPI: ready while it stops", "response.status_code = 503", "response.status_code = 200", own("fastapi-uvicorn")),
        ("FastAPI: another path of health", 'HEALTH_PATH = "/healthz"', 'HEALTH_PATH = "/health"', own("fastapi-uvicorn")),
        ("FastAPI: healthy by readiness", 'READY_PATH = "/readyz"', 'READY_PATH = "/ready"', rendered("test_health_path_is_one_string", SLIM)),
    ],
    "extensions/litestar/src/app.py.jinja": [
        ("Litestar: a body of any size", "request_max_body_size=Settings().max_body_size", "request_max_body_size=None", own("litestar-uvicorn")),
        ("Litestar: errors are not logged", "after_exception=[log_error],\n", "", own("litestar-uvicorn")),
        ("Litestar: no JSON is an error", "(UnicodeDecodeError, RecursionError)", "RecursionError", own("litestar-uvicorn")),
        ("Litestar: client's errors are logged", '"status_code", 500) >= 500', '"status_code", 500) >= 400', own("litestar-uvicorn")),
        ("Litestar: a log of its own", "logging_config=None", "", own("litestar-uvicorn")),
        ("Litestar: a client that hung up", "error.status_code = 400", "error.status_code = 500", own("litestar-uvicorn")),
    ],
    "extensions/litestar/src/health.py.jinja": [
        ("Litestar: ready while it stops", "status_code=503", "status_code=200", own("litestar-uvicorn")),
    ],
    "extensions/litestar/src/quotes.py.jinja": [
        ("Litestar: another status", "@post(status_code=HTTP_200_OK)", "@post()", own("litestar-uvicorn")),
    ],
    "extensions/starlette/src/app.py.jinja": [
        ("Starlette: a body of any size", "        max_body_size=Settings().max_body_size,\n", "", own("starlette-uvicorn")),
        ("Starlette: errors of the client are plain", "            HTTPException: answer_error,\n", "", own("starlette-uvicorn")),
        ("Starlette: a client that hung up is an error", "            ClientDisconnect: answer_disconnect,\n", "", own("starlette-uvicorn")),
        ("Starlette: no headers of an error", ", error.status_code, error.headers)", ", error.status_code)", own("starlette-uvicorn")),
    ],
    "extensions/starlette/src/quotes.py.jinja": [
        ("Starlette: input in the answer", "include_url=False, include_input=False", "include_url=False", own("starlette-uvicorn")),
        ("Starlette: any method", ', methods=["POST"]', ', methods=["POST", "GET"]', own("starlette-uvicorn")),
    ],
    "extensions/starlette/src/health.py.jinja": [
        ("Starlette: ready while it stops", '"stopping"}, 503)', '"stopping"}, 200)', own("starlette-uvicorn")),
    ],
    "extensions/flask/src/app.py.jinja": [
        ("Flask: no bound of a body", "RequestLog(app.wsgi_app, max_body_size)", "RequestLog(app.wsgi_app, 10**12)", own("flask-gunicorn")),
        ("Flask: pages of errors", "    app.register_error_handler(HTTPException, answer_error)\n", "", own("flask-gunicorn")),
        ("Flask: a client that hung up is an error", "    app.register_error_handler(DisconnectError, answer_disconnect)\n", "", own("flask-gunicorn")),
        ("Flask: too large is an error", "    app.register_error_handler(TooLargeError, answer_too_large)\n", "", own("flask-gunicorn")),
        ("Flask: no headers of an error", "response = error.get_response()", 'response = HTTPException().get_response()\n    response.status_code = error.code or 500', own("flask-gunicorn")),
    ],
    "extensions/flask/src/quotes.py.jinja": [
        ("Flask: a mistake is no answer", "return {\"detail\": detail}, 422", "return {\"detail\": detail}, 400", own("flask-gunicorn")),
    ],
    "extensions/flask/src/health.py.jinja": [
        ("Flask: ready while it stops", '"stopping"}, 503', '"stopping"}, 200', own("flask-gunicorn")),
    ],
    "extensions/django/src/settings.py.jinja": [
        ("Django: static files of the folder alone", "WHITENOISE_USE_FINDERS = STATIC_ROOT is None", "WHITENOISE_USE_FINDERS = False", own("django-gunicorn")),
        ("Django: a database that does not answer is waited for", '"PGCONNECT_TIMEOUT", "5"', '"PGCONNECT_TIMEOUT", "0"', held("settings django")),
        ("Django: any key", "min_length=50, ", "", own("django-gunicorn")),
        ("Django: the key in messages", "min_length=50, repr=False)", "min_length=50)", own("django-gunicorn")),
        ("Django: developers' pages", "debug: bool = False", "debug: bool = True", own("django-gunicorn")),
        ("Django: any host", 'allowed_hosts: str = "localhost,127.0.0.1,[::1]"', 'allowed_hosts: str = "*"', own("django-gunicorn")),
        ("Django: cookies of a session without TLS", "SESSION_COOKIE_SECURE = not DEBUG", "SESSION_COOKIE_SECURE = False", own("django-gunicorn")),
        ("Django: cookies of CSRF without TLS", "CSRF_COOKIE_SECURE = not DEBUG", "CSRF_COOKIE_SECURE = False", own("django-gunicorn")),
        ("Django: no middleware of security", '    "django.middleware.security.SecurityMiddleware",\n', "", own("django-gunicorn")),
        ("Django: frames", '    "django.middleware.clickjacking.XFrameOptionsMiddleware",\n', "", own("django-gunicorn")),
        ("Django: forged requests", '    "django.middleware.csrf.CsrfViewMiddleware",\n', "", own("django-gunicorn")),
        ("Django: health by the host", '    "{{ package_name }}.health.health",\n    "django.middleware.security', '    "django.middleware.security', own("django-gunicorn")),
        ("Django: short passwords", '    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},\n', "", own("django-gunicorn")),
        ("Django: dead connections", ", conn_health_checks=True", "", held("settings django")),
        ("Django: input in messages", "hide_input_in_errors=True", "hide_input_in_errors=False", own("django-gunicorn")),
        ("Django: a bound of its own", "DATA_UPLOAD_MAX_MEMORY_SIZE = None", "DATA_UPLOAD_MAX_MEMORY_SIZE = 1000", held("settings django")),
        ("Django: a port that is none", "Field(ge=1, le=65535)", "Field(ge=1, le=99999)", own("django-gunicorn")),
    ],
    "extensions/django/src/app.py.jinja": [
        ("Django: a missing key is not told", "env.secret_key.startswith(INSECURE)", "False", own("django-gunicorn")),
        ("Django: no bound of a body", "env.max_body_size)", "10**12)", own("django-gunicorn")),
    ],
    "extensions/django/src/health.py.jinja": [
        ("Django: ready while it stops", '{"status": "stopping"}, status=503', '{"status": "stopping"}, status=200', own("django-gunicorn")),
        ("Django: ready without its database", '{"status": "no database"}, status=503', '{"status": "no database"}, status=200', own("django-gunicorn")),
    ],
    "extensions/django/src/errors.py.jinja": [
        ("Django: too large is a mistake", "HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large", "HTTPStatus.BAD_REQUEST if too_large", own("django-gunicorn")),
    ],
    "extensions/django/src/urls.py.jinja": [
        ("Django: pages of errors", "handler404 = errors.answer(HTTPStatus.NOT_FOUND)\n", "", own("django-gunicorn")),
        ("Django: an error is a mistake", "handler500 = errors.answer(HTTPStatus.INTERNAL_SERVER_ERROR)", "handler500 = errors.answer(HTTPStatus.BAD_REQUEST)", own("django-gunicorn")),
    ],
    "extensions/mcp/src/app.py.jinja": [
        ("MCP: a body of any size", "max_request_body_size=settings.max_body_size", "max_request_body_size=10**12", own("mcp-uvicorn")),
        ("MCP: sessions", "stateless_http=True", "stateless_http=False", own("mcp-uvicorn")),
        ("MCP: any origin", "allowed_origins=origins", 'allowed_origins=["*"]', own("mcp-uvicorn")),
        ("MCP: listeners", 'route.methods = {"POST"}', 'route.methods = {"POST", "GET"}', own("mcp-uvicorn")),
        ("MCP: a name of any length", "[:200]", "", own("mcp-uvicorn")),
        ("MCP: no version", "version=version(name), ", "", own("mcp-uvicorn")),
        ("MCP: no name of the tool", ", middleware=[name_tool]", "", own("mcp-uvicorn")),
        ("MCP: ready by GET alone", 'health.READY_PATH, methods=["GET", "HEAD"]', 'health.READY_PATH, methods=["GET"]', own("mcp-uvicorn")),
        ("MCP: a client that hung up is an error", "    app.add_exception_handler(ClientDisconnect, answer_disconnect)\n", "", own("mcp-uvicorn")),
    ],
    "extensions/mcp/src/settings.py.jinja": [
        ("MCP: any host", '"localhost,localhost:*,127.0.0.1,127.0.0.1:*,[::1],[::1]:*"', '"*"', own("mcp-uvicorn")),
    ],
    f"{SHARED}/settings.py.jinja": [
        ("every address by name", 'pattern="^[0-9A-Fa-f.:]+$"', 'pattern=".*"', own("fastapi-uvicorn")),
        ("listens on this machine alone", 'default="0.0.0.0"', 'default="127.0.0.1"', held("settings")),
        ("ports that are none of a service", "Field(ge=1, le=65535)", "Field(ge=0, le=99999)", own("fastapi-uvicorn")),
        ("any number of workers", "ge=1, le=64)", "ge=1)", own("fastapi-uvicorn")),
        ("two workers", "web_concurrency: int = Field(default=1", "web_concurrency: int = Field(default=2", held("settings")),
        ("a stop without an end", "default=0, ge=0, le=3600)", "default=0, ge=0)", own("fastapi-uvicorn")),
        ("shorter than a load balancer", "keep_alive: int = Field(default=75", "keep_alive: int = Field(default=5", held("settings")),
        ("a body of a gigabyte", "default=10_000_000", "default=1_000_000_000", held("settings")),
        ("less than nothing", "max_body_size: int = Field(default=10_000_000, ge=0)", "max_body_size: int = Field(default=10_000_000)", own("fastapi-uvicorn")),
        ("every proxy is believed", 'default="127.0.0.1", pattern', 'default="*", pattern', held("settings")),
        ("the log of developers by default", 'log_level: LogLevel = "INFO"', 'log_level: LogLevel = "DEBUG"', own("fastapi-uvicorn")),
    ],
    f"{SHARED}/asgi/middleware.py.jinja": [
        ("ASGI: two ids", 'if header[0].lower() != b"x-request-id"]', "]", own("fastapi-uvicorn")),
        ("ASGI: an id of any length", "0 < len(identity) <= 200", "0 < len(identity)", own("fastapi-uvicorn")),
        ("ASGI: an id with control characters", " and identity.isprintable()", "", own("fastapi-uvicorn")),
        ("ASGI: no id of the client's", '.get(b"x-request-id", b"")', '.get(b"x-id", b"")', own("fastapi-uvicorn")),
        ("ASGI: health is logged", " in (HEALTH_PATH, READY_PATH)", " in ()", own("fastapi-uvicorn")),
        ("ASGI: readiness is logged", " in (HEALTH_PATH, READY_PATH)", " in (HEALTH_PATH,)", own("fastapi-uvicorn")),
        ("ASGI: logged twice", ' and not complete:\n                # What', ":\n                # What", own("fastapi-uvicorn")),
        ("ASGI: an error vanishes", "            if not complete:\n                raise\n", "", own("fastapi-uvicorn")),
    ],
    f"{SHARED}/wsgi/middleware.py.jinja": [
        ("WSGI: an id of any length", "0 < len(identity) <= 200", "0 < len(identity)", own("flask-gunicorn")),
        ("WSGI: an id with control characters", " and identity.isprintable()", "", own("flask-gunicorn")),
        ("WSGI: health is logged", " in (HEALTH_PATH, READY_PATH)", " in ()", own("flask-gunicorn")),
        ("WSGI: two ids", ' if header[0].lower() != "x-request-id"]', "]", own("flask-gunicorn")),
        ("WSGI: a cut body is whole", "            if size and not data:\n                raise DisconnectError\n", "", own("flask-gunicorn")),
        ("WSGI: a body of any size in chunks", "        if self.room < 0:\n            raise TooLargeError\n", "", own("flask-gunicorn")),
        ("WSGI: a length that is too large is read", "        if (self.missing or 0) > self.room:\n            raise TooLargeError\n", "", own("django-gunicorn")),
        ("WSGI: a stream is left open", '                getattr(chunks, "close", lambda: None)()\n', "", own("flask-gunicorn")),
        ("WSGI: the id stays", "                if complete:\n                    request_id.set(None)\n", "", own("flask-gunicorn")),
        ("WSGI: paths of bytes", '.encode("latin-1").decode(errors="replace")', "", own("flask-gunicorn")),
    ],
    f"{SHARED}/asgi/uvicorn.py.jinja": [
        ("uvicorn: headers of any size", "MAX_HEAD_SIZE = 65_536", "MAX_HEAD_SIZE = 2**40", held("uvicorn")),
        ("uvicorn: no time to stop", '"timeout_graceful_shutdown": 25', '"timeout_graceful_shutdown": 0', held("uvicorn")),
        ("uvicorn: more time than there is", '"timeout_graceful_shutdown": 25', '"timeout_graceful_shutdown": 60', held("uvicorn")),
        ("uvicorn: a worker is killed soon", '"timeout_worker_healthcheck": 15', '"timeout_worker_healthcheck": 5', held("uvicorn")),
        ("uvicorn: every proxy is believed", "settings.forwarded_allow_ips", '"*"', held("uvicorn")),
        ("uvicorn: a second line of each request", '"access_log": False', '"access_log": True', held("uvicorn")),
        ("uvicorn: ends well without a start", "    if not started:\n        sys.exit(STARTUP_FAILURE)\n", "", held("uvicorn")),
        ("uvicorn: keep-alive of its own", '        "timeout_keep_alive": settings.keep_alive,\n', "", held("uvicorn")),
        ("uvicorn: no HTTP of ours", '        "http": Protocol,\n', "", held("uvicorn")),
    ],
    f"{SHARED}/asgi/granian.py.jinja": [
        ("Granian: no time to stop", "workers_kill_timeout=25", "workers_kill_timeout=1", held("granian asgi")),
        ("Granian: nobody's word", "wrap_asgi_with_proxy_headers(app, trusted_hosts=settings.forwarded_allow_ips)", "app", held("granian asgi")),
        ("Granian: seconds for milliseconds", "settings.keep_alive * 1000", "settings.keep_alive", held("granian asgi")),
        ("Granian: a broken application is started again", "        sys.exit(1)\n", "        raise\n", held("granian asgi")),
        ("Granian: loggers of its own", ' | {"loggers": {}}', "", held("granian asgi")),
    ],
    f"{SHARED}/wsgi/granian.py.jinja": [
        ("Granian with WSGI: any number of threads", "        blocking_threads=8,\n", "", held("granian wsgi")),
        ("Granian with WSGI: no time to stop", "workers_kill_timeout=25", "workers_kill_timeout=1", held("granian wsgi")),
    ],
    f"{SHARED}/wsgi/gunicorn.py.jinja": [
        ("Gunicorn: one request at a time", '"worker_class": "gthread"', '"worker_class": "sync"', held("gunicorn")),
        ("Gunicorn: one thread", '"threads": 8', '"threads": 1', held("gunicorn")),
        ("Gunicorn: no time to stop", '"graceful_timeout": 25', '"graceful_timeout": 2', held("gunicorn")),
        ("Gunicorn: a socket in a closed container", '        "control_socket_disable": True,\n', "", held("gunicorn")),
        ("Gunicorn: every proxy is believed", "settings.forwarded_allow_ips", '"*"', held("gunicorn")),
        ("Gunicorn: a broken application is started again", "sys.exit(Arbiter.APP_LOAD_ERROR)", "raise", held("gunicorn")),
        ("Gunicorn: files where nobody writes", '"/dev/shm" if Path("/dev/shm").is_dir() else None', "None", held("gunicorn")),
    ],
    f"{SHARED}/logs.py.jinja": [
        ("text instead of JSON", '"()": Formatter,', '"class": "logging.Formatter",', held("logs")),
        ("no id in a line", '{"request_id": request_id.get()}', "{}", held("logs")),
        ("no time in a line", '        "timestamp": True,\n', "", held("logs")),
        ("logs on stderr", "ext://sys.stdout", "ext://sys.stderr", held("logs")),
        ("other loggers are silent", '"disable_existing_loggers": False', '"disable_existing_loggers": True', held("logs")),
        ("warnings are text", "    logging.captureWarnings(True)\n", "", held("logs")),
        ("uncaught errors are text", "    sys.excepthook = log_uncaught\n", "", held("logs")),
        ("errors of threads are text", "    threading.excepthook = lambda thread: log_uncaught(*thread[:3])\n", "", held("logs")),
        ("a stop is an uncaught error", "KeyboardInterrupt | SystemExit", "KeyboardInterrupt", held("logs")),
    ],
    f"{SHARED}/drain.py.jinja": [
        ("stops at once", "threading.Timer(seconds, child.terminate)", "threading.Timer(0, child.terminate)", held("drain")),
        ("ready until the end", "            stopping.touch()\n", "", ("test_contract.py::test_load_balancer_can_go_first[fastapi-uvicorn-slim-3.14]",)),
        ("a stop is a failure", "sys.exit(0 if code == -signal.SIGTERM else code)", "sys.exit(code)", held("drain")),
        ("waits without an end", '"STOP_DELAY": "0", ', "", held("drain")),
        ("a failure is none", "sys.exit(0 if code == -signal.SIGTERM else code)", "sys.exit(0)", held("drain")),
    ],
    f"{SHARED}/__main__.py.jinja": [
        ("a stop at the start is an error", "os._exit(0)", "os._exit(1)", held("main")),
        ("SIGTERM at the start is ignored", "    signal.signal(signal.SIGTERM, end)\n", "", held("main")),
        ("a wrong setting ends well", '        sys.exit("\\n".join(lines))', '        print("\\n".join(lines))\n        return', own("fastapi-uvicorn")),
        ("logs are not set up", "    set_up_logs(settings.log_level)\n", "", held("main")),
        ("no delay", "    if settings.stop_delay:", "    if False:", held("main")),
    ],
    f"{SHARED}/pricing.py.jinja": [
        ("orders of any length", "min_length=1, max_length=100)", "min_length=1)", own("fastapi-uvicorn")),
        ("fractions of a cent", ", decimal_places=2", "", own("fastapi-uvicorn")),
        ("negative prices", "unit_price: Decimal = Field(ge=0, ", "unit_price: Decimal = Field(", own("fastapi-uvicorn")),
    ],
    "extensions/worker/src/worker.py.jinja": [
        ("Worker: runs what it reads", "    serializer=serialize,\n    deserializer=json.loads,\n", "", own("worker-streaq")),
        ("Worker: keeps jobs from others", "prefetch=1", "prefetch=100", held("worker")),
        ("Worker: no time to stop", "grace_period=25", "grace_period=0", held("worker")),
        ("Worker: one job at a time", "    concurrency=settings.concurrency,\n", "    concurrency=1,\n", held("worker")),
        ("Worker: objects become text", "    if isinstance(value, BaseException):\n        return repr(value)\n    raise TypeError", "    return repr(value)\n    raise TypeError", own("worker-streaq")),
    ],
    "extensions/worker/src/server.py.jinja": [
        ("Worker: a heartbeat an hour", "HEARTBEAT = 5", "HEARTBEAT = 3600", held("worker server")),
        ("Worker: an hour's patience", "TIMEOUT = 10", "TIMEOUT = 3600", held("worker server")),
        ("Worker: ends well without its queue", "        sys.exit(1)\n", "        sys.exit(0)\n", held("worker server")),
        ("Worker: says it each second", "            if reason != logged:", "            if True:", own("worker-streaq")),
    ],
    "extensions/worker/src/settings.py.jinja": [
        ("Worker: a heartbeat that cannot be", "os.W_OK | os.X_OK", "os.F_OK", own("worker-streaq")),
        ("Worker: any number of jobs", "ge=1, le=1000)", "ge=1)", own("worker-streaq")),
        ("Worker: another queue", "redis://localhost:6379/0", "redis://redis:6379/0", own("worker-streaq")),
    ],
    "extensions/worker/extension.yml": [
        ("Worker: a heartbeat on a read-only disk", "heartbeat: /dev/shm/heartbeat", "heartbeat: /app/heartbeat", held("Dockerfile worker")),
        ("Worker: another Redis", "image: redis:8-alpine", "image: redis:latest", held("compose worker")),
        ("Worker: another queue in compose", "value: redis://redis:6379/0", "value: redis://localhost:6379/0", held("compose worker")),
    ],
    "extensions/fastapi/extension.yml": [
        ("FastAPI: a package without its module", "import_names: [dotenv, ", "import_names: [", refused("package_name", "dotenv")),
        ("FastAPI: a dependency that is not locked", "  - starlette\ndev", "  - anyio\n  - starlette\ndev", rendered("test_lock_is_of_the_project_and_of_what_it_depends_on", SLIM)),
        ("FastAPI: Windows gets uvloop", "uvloop; sys_platform != 'win32'", "uvloop", ("test_project.py::test_lock_is_what_uv_would_write[Aaa]",)),
        ("FastAPI: a source is missing", "  drain.py: shared/src/drain.py\n", "", own("fastapi-uvicorn")),
        ("FastAPI: another default server", "servers:\n  uvicorn:", "servers:\n  granian:\n    dependencies: [granian]\n    dev_dependencies: []\n  uvicorn:", held("answers fastapi")),
    ],
    "extensions/existing/extension.yml": [
        ("existing code on this machine alone", 'uvicorn: [uvicorn, "{app}", --host=0.0.0.0', 'uvicorn: [uvicorn, "{app}", --host=127.0.0.1', ("test_existing.py::test_defaults_are_read_from_the_lock",)),
    ],
    "extensions/reserved.txt": [
        ("a module of Python", " json ", " ", refused("package_name", "json")),
        ("a folder that Windows refuses", "con conftest", "conftest", refused("package_name", "con")),
    ],
    "extensions/shared/README/configure.md.jinja": [
        ("README: another default", "| `KEEP_ALIVE` | `75`", "| `KEEP_ALIVE` | `60`", readme()),
        ("README: a setting that is not there", "| `STOP_DELAY` |", "| `STOP_WAIT` |", readme()),
        ("README: another bound", "| `10000000` |", "| `1000000` |", readme()),
    ],
    "extensions/shared/README/run.md.jinja": [
        ("README: another port", "docker run --rm --publish {{ port }}:{{ port }}", "docker run --rm --publish 8000:8000", rendered("test_port_is_the_same_everywhere")),
        ("README: another module", "`uv run python -m {{ package_name }}`", "`uv run python -m {{ project_slug }}`", readme()),
        ("README: an option of docker", "docker run --rm --publish", "docker run --remove --publish", docker()),
    ],
    "extensions/shared/README/github/deliver.md.jinja": [
        ("README: an option of cosign", "--certificate-oidc-issuer https", "--certificate-issuer https", readme()),
        ("README: another issuer", "https://token.actions.githubusercontent.com", "https://token.github.com", ("test_commands.py::test_readme_verifies_as_the_pipeline_does[fastapi]",)),
        ("README: another script to verify", "sh scripts/verify.sh", "sh scripts/verified.sh", readme()),
    ],
    "extensions/shared/README/gitlab/deliver.md.jinja": [
        ("README: another identity on GitLab", "//.gitlab-ci.yml@refs/heads/main {{", "/.gitlab-ci.yml@refs/heads/main {{", ("test_commands.py::test_readme_verifies_as_the_pipeline_does[django]",)),
    ],
    "extensions/shared/README/distroless/debug.md.jinja": [
        ("README: an option of kubectl", "--image=debian --target", "--image=debian --container-target", readme("worker")),
    ],
    "extensions/worker/README/run.md.jinja": [
        ("README: another job", ".enqueue quote", ".enqueue price", readme("worker")),
        ("README: no JSON", '"unit_price": "9.99"}]}}\'', '"unit_price": "9.99"]}}\'', readme("worker")),
    ],
    "extensions/worker/README/configure.md.jinja": [
        ("README: another number of jobs", "| `CONCURRENCY` | `10` |", "| `CONCURRENCY` | `8` |", readme("worker")),
    ],
    f"{DEPLOY}/base/deployment.yaml.jinja": [
        ("pods may be root", "runAsNonRoot: true", "runAsNonRoot: false", held("deployment")),
        ("pods are root", "runAsUser: 10001", "runAsUser: 0", held("deployment")),
        ("any system call", "type: RuntimeDefault", "type: Unconfined", held("deployment")),
        ("pods gain privileges", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", held("deployment")),
        ("pods write to their root", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", held("deployment")),
        ("pods have capabilities", "              drop:\n                - ALL\n", "              add:\n                - ALL\n", held("deployment")),
        ("pods have a token", "automountServiceAccountToken: false", "automountServiceAccountToken: true", held("deployment")),
        ("variables of the cluster", "enableServiceLinks: false", "enableServiceLinks: true", held("deployment")),
        ("memory without a bound", "            limits:\n              cpu: \"1\"\n              memory: 256Mi\n", "            limits:\n              cpu: \"1\"\n", held("deployment")),
        ("less memory than is asked for", "            requests:\n              cpu: 250m\n              memory: 256Mi\n", "            requests:\n              cpu: 250m\n              memory: 16Mi\n", held("deployment")),
        ("files without a bound", "            sizeLimit: 64Mi\n", "", held("deployment")),
        ("files on the disk of the node", "            medium: Memory\n", "", held("deployment")),
        ("no pod before its successor", "maxUnavailable: 0", "maxUnavailable: 1", held("deployment")),
        ("less time than a stop needs in a cluster", "terminationGracePeriodSeconds: 35", "terminationGracePeriodSeconds: 10", held("deployment")),
        ("proxies are not waited for", "                seconds: 5\n", "                seconds: 0\n", held("deployment")),
        ("a second to start", "failureThreshold: 60", "failureThreshold: 1", held("deployment")),
        ("restarted at once", "periodSeconds: 10\n            timeoutSeconds: 3\n            failureThreshold: 3", "periodSeconds: 10\n            timeoutSeconds: 3\n            failureThreshold: 1", held("deployment")),
        ("restarted when it is not ready", "livenessProbe:\n            {{ alive }}", "livenessProbe:\n            {{ ready }}", held("deployment")),
        ("ready when it is alive", "readinessProbe:\n            {{ ready }}", "readinessProbe:\n            {{ alive }}", held("deployment")),
        ("all on one node", "whenUnsatisfiable: ScheduleAnyway", "whenUnsatisfiable: DoNotSchedule", held("deployment")),
        ("a secret that is needed is optional", "{% if extension.secrets is not defined %}\n", "{% if true %}\n", held("deployment worker")),
        ("one worker", "  replicas: 2\n", "  replicas: 1\n", held("deployment worker")),
    ],
    f"{DEPLOY}/base/networkpolicy.yaml.jinja": [
        ("everything goes out", "    - Egress\n", "", held("network")),
        ("everything comes in", "    - Ingress\n    - Egress", "    - Egress", held("network")),
        ("any port", "    - ports:\n        - port: http\n", "    - {}\n", held("network")),
        ("metadata of the cloud", "            except:\n              - 169.254.0.0/16\n", "", held("network")),
        ("metadata of the cloud by IPv6", "              - fd00:ec2::254/128\n", "", held("network")),
    ],
    f"{DEPLOY}/base/poddisruptionbudget.yaml.jinja": [
        ("a drain takes all", "maxUnavailable: 1", "maxUnavailable: 100%", held("budget")),
        ("a drain never ends", "maxUnavailable: 1", "maxUnavailable: 0", held("budget")),
        ("a broken pod holds up a drain", "AlwaysAllow", "IfHealthyBudget", held("budget")),
    ],
    f"{DEPLOY}/base/serviceaccount.yaml.jinja": [
        ("the account has a token", "automountServiceAccountToken: false", "automountServiceAccountToken: true", held("account")),
    ],
    f"{DEPLOY}/base/{{% if port %}}horizontalpodautoscaler.yaml{{% endif %}}.jinja": [
        ("one pod", "minReplicas: 2", "minReplicas: 1", held("autoscaler")),
        ("a thousand pods", "maxReplicas: 10", "maxReplicas: 1000", held("autoscaler")),
        ("scaled too late", "averageUtilization: 80", "averageUtilization: 300", held("autoscaler")),
    ],
    f"{DEPLOY}/base/{{% if port %}}service.yaml{{% endif %}}.jinja": [
        ("jobs get requests", "    app.kubernetes.io/component: app\n", "", held("service")),
        ("open to the world", "spec:\n  selector", "spec:\n  type: LoadBalancer\n  selector", held("service")),
        ("a port by its number", "targetPort: http", "targetPort: 8000", held("service")),
    ],
    f"{DEPLOY}/base/{{% if extension.migrate is defined %}}migration.yaml{{% endif %}}.jinja": [
        ("a migration that is never made again", "argocd.argoproj.io/hook-delete-policy: BeforeHookCreation", "argocd.argoproj.io/hook-delete-policy: HookFailed", held("migration")),
        ("a migration as root", "runAsNonRoot: true", "runAsNonRoot: false", held("migration")),
        ("a migration without a bound", "backoffLimit: 5", "backoffLimit: 5000", held("migration")),
        ("a migration gets requests", "component: migration", "component: app", held("migration")),
        ("a migration that writes", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", held("migration")),
    ],
    f"{DEPLOY}/base/{{% if extension.migrate is defined %}}after-migration.yaml{{% endif %}}.jinja": [
        ("each pod migrates", " + ['--check', '--plan']", "", held("after migration")),
        ("the wait has capabilities", "              drop:\n                - ALL\n", "              add:\n                - ALL\n", held("after migration")),
    ],
    f"{DEPLOY}/base/kustomization.yaml.jinja": [
        ("no policy of the network", "  - networkpolicy.yaml\n", "", held("base")),
        ("no budget", "  - poddisruptionbudget.yaml\n", "", held("base")),
        ("pods do not wait for the migration", "patches:\n  - path: after-migration.yaml\n", "", held("base django")),
        ("no migration", "  - migration.yaml\n", "", held("base django")),
    ],
    f"{DEPLOY}/overlays/production/kustomization.yaml.jinja": [
        ("one pod in production", "        value: 3\n", "        value: 1\n", held("overlay")),
        ("an overlay names a tag", "    digest: sha256:{{ '0' * 64 }}\n", "    newTag: main\n", held("overlay")),
        ("the default namespace", "namespace: {{ project_slug }}\n", "", held("overlay")),
    ],
    f"{DEPLOY}/render.sh.jinja": [
        ("an image without a digest is rendered", "  *) echo \"$2 has no digest\" >&2 && exit 1 ;;", "  *) ;;", KUBERNETES),
        ("an image that nothing takes", "replace\" >&2 && exit 1 ;;", "replace\" >&2 ;;", KUBERNETES),
    ],
    DEPLOY_GITHUB: [
        ("a push deploys", "on:\n  workflow_dispatch:", "on:\n  push:\n  workflow_dispatch:", held("github deploy")),
        ("nobody must agree", "    environment: production\n", "", held("github deploy")),
        ("deploys cut each other short", "cancel-in-progress: false", "cancel-in-progress: true", held("github deploy")),
        ("a job that may do everything", "permissions: {}\n", "permissions: write-all\n", held("github deploy")),
        ("packages may be written", "packages: read # to query", "packages: write # to query", held("github deploy")),
        ("an input in a script", '"$image:$RELEASE"', "\"$image:${{ '{{ inputs.release }}' }}\"", held("github deploy")),
        ("a tag is deployed", 'sh deploy/commit.sh production "$image@$digest"', 'sh deploy/commit.sh production "$image:$RELEASE"', held("github deploy")),
    ],
    "extensions/given.jinja": [
        ("a mistyped name is accepted", "name not in questions.split()", "false", GIVEN),
    ],
    "extensions/worker/src/health.py.jinja": [
        ("Worker: alive without a heartbeat", "LIMIT = 15", "LIMIT = 86400", held("worker health")),
        ("Worker: ready without its queue", "if ready and path", "if False and path", held("worker health")),
    ],
    "extensions/django/src/static.py.jinja": [
        ("Django: static files in the order of a disk", "dict(sorted(paths.items()))", "paths", ("test_project.py::test_own_checks_pass_and_leave_no_file[django-gunicorn-pytest]",)),
    ],
}
# fmt: on

FAULTS = GATE + [
    Fault(name, swap(path, old, new), tests)
    for path, rows in TEXTS.items()
    for name, old, new, tests in rows
]
