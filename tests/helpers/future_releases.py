"""What later releases may bring, as data: each changes a checkout of the template."""

from collections.abc import Callable
from pathlib import Path

from helpers.files import append, change, put, replace

DOCKERFILE = "template/Dockerfile.jinja"
GITLAB = "template/{% if ci == 'gitlab' %}.gitlab-ci.yml{% endif %}.jinja"
CI = "template/{% if ci == 'github' %}.github{% endif %}/workflows/{{ workflow }}.yml.jinja"
DEPLOY = "template/{% if deploy == 'kubernetes' %}deploy{% endif %}"
OBJECTS = ("deployment", "kustomization")

ABOVE = """\
# --- cacerts: what the company's own authority signs ---
FROM python AS cacerts
RUN mkdir -p /rootfs/etc/ssl && cp -a /etc/ssl/certs /rootfs/etc/ssl/ \\
    && find /rootfs -exec touch -h -d @315532800 {} +

"""
BELOW = """\
# --- assets: what a browser loads ---
FROM build AS assets
COPY src src
RUN --mount=from=uv,source=/uv,target=/usr/local/bin/uv \\
    mkdir -p /rootfs && find /rootfs -exec touch -h -d @315532800 {} +

"""
JOB = """\
  audit:
    name: Advisories
    needs: check
    runs-on: ubuntu-24.04
    timeout-minutes: 5
    permissions:
      contents: read
    steps:
      - name: Say
        run: echo audited

"""
STEP = """\
      - name: Spelling
        run: uvx codespell src

"""
GITLAB_JOB = """\
audit:
  stage: check
  script:
    - echo audited

"""
TARGET = """\
# The tests, in what ships.
target "test" {
  inherits = ["image"]
  target   = "test"
}

"""


def bump_images(tree: Path) -> None:
    for name in ("aquasec/trivy", "docker"):
        change(tree, "copier.yml", rf"^(      {name}: ).+", rf'\1"99.0.0@sha256:{"a" * 64}"')


def bump_everything(tree: Path) -> None:
    for name in ("uv", "suite", "action", "copier", "images"):
        FUTURE_RELEASES[name](tree)


def change_the_objects(tree: Path) -> None:
    """Change a probe, add a field beside each that people edit, and one object more."""
    deployment, kustomization = (f"{DEPLOY}/base/{name}.yaml.jinja" for name in OBJECTS)
    change(tree, deployment, "failureThreshold: 60", "failureThreshold: 120")
    change(tree, deployment, "^(      containers:\n)", "      hostUsers: false\n\\1")
    change(
        tree, deployment, r"^( +)(volumeMounts:\n)", r"\1terminationMessagePath: /tmp/last\n\1\2"
    )
    change(tree, deployment, "^  strategy:\n", "  revisionHistoryLimit: 3\n  strategy:\n")
    put(tree, kustomization, "  - deployment.yaml", "  - limitrange.yaml\n")
    limits = "apiVersion: v1\nkind: LimitRange\nmetadata:\n  name: defaults\n"
    (tree / DEPLOY / "base" / "limitrange.yaml").write_text(limits)
    production = f"{DEPLOY}/overlays/production/kustomization.yaml.jinja"
    put(tree, production, "resources:", "namePrefix: live-\n")


def add_a_question(tree: Path) -> None:
    change(tree, "copier.yml", r"^(repository:\n)", 'grace:\n  type: str\n  default: "30"\n\n\\1')
    replace(
        tree,
        "template/compose.yaml.jinja",
        "stop_grace_period: 30s",
        "stop_grace_period: {{ grace }}s",
    )
    put(tree, DOCKERFILE, "# Whole trees", "# How long a stop may take.\nENV GRACE={{ grace }}\n\n")


def rename_for_new_projects(tree: Path) -> None:
    """Rename a file for new projects; in the others a stored answer keeps the old name."""
    name = "{{ 'compose.yaml' if settled else 'compose.yml' }}"
    question = f'compose_file:\n  type: str\n  default: "{name}"\n\n'
    change(tree, "copier.yml", r"^(repository:\n)", question + r"\1")
    template = tree / "template"
    (template / "compose.yaml.jinja").rename(template / "{{ compose_file }}.jinja")


FUTURE_RELEASES: dict[str, Callable[[Path], None]] = {
    "uv": lambda tree: change(tree, "copier.yml", r'^    uv: ".+"', '    uv: "0.99.1"'),
    "suite": lambda tree: change(tree, "copier.yml", r"^    suite: .+", "    suite: forky"),
    "patch of Python": lambda tree: change(
        tree, DOCKERFILE, r"^(FROM \{\{ hub \}\}python:\{\{ python_version \}\})-", r"\1.7-"
    ),
    "action": lambda tree: change(
        tree, "copier.yml", r"(actions/checkout: ).+", rf'\1"{"a" * 40} # v99.0.0"'
    ),
    "copier": lambda tree: change(tree, "copier.yml", r'^    copier: ".+"', '    copier: "9.99.0"'),
    "images": bump_images,
    "all pins": bump_everything,
    "stage above": lambda tree: put(tree, DOCKERFILE, "# --- system", ABOVE),
    "stage below": lambda tree: put(tree, DOCKERFILE, "# --- app", BELOW),
    "environment": lambda tree: change(
        tree, DOCKERFILE, r"^(ENV PATH=/app/.venv/bin:\$PATH \\\n)", r"\1    PYTHONHASHSEED=0 \\\n"
    ),
    "mount": lambda tree: change(
        tree,
        DOCKERFILE,
        r"^(    --mount=type=cache,target=/root/.cache/uv \\\n)",
        r"\1    --mount=type=bind,source=README.md,target=README.md \\\n",
    ),
    "user": lambda tree: replace(tree, DOCKERFILE, "10001", "65532"),
    "job": lambda tree: put(tree, CI, "  image:", JOB),
    "job on GitLab": lambda tree: put(tree, GITLAB, "build:", GITLAB_JOB),
    "target": lambda tree: put(tree, "template/docker-bake.hcl.jinja", "# The same in", TARGET),
    "step": lambda tree: put(tree, CI, "{% for name in checks %}", STEP),
    "objects": change_the_objects,
    "question": add_a_question,
    "file": lambda tree: append(tree, "template/.hadolint.yaml", "failure-threshold: info\n"),
    "another name": rename_for_new_projects,
    "no file": lambda tree: (tree / "template" / ".editorconfig").unlink(),
}
