"""A build takes packages from a private index, and nothing of what opens it stays."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from helpers.engine import Engine
from helpers.image import assert_no_trace, traces
from helpers.package_index import SECRETS, Index
from helpers.project import PYTHON, Copy

pytestmark = pytest.mark.image

# As the README of a project says, but for the network.
WAYS = {
    "docker build": [
        *("docker", "build", "--network=host", "--tag=my-service"),
        *(f"--secret=id={name}" for name in SECRETS),
        ".",
    ],
    "docker buildx bake": ["docker", "buildx", "bake", "--allow=network.host"],
    "docker compose build": ["docker", "compose", "build"],
}

# What BuildKit, buildx and the Dockerfile say, in this order.
REASONS = "not found|no such file or directory|is a secret of this build"


def make(copy: Copy, index: Index, folder: Path, name: str, kind: str) -> Path:
    """Make a project that depends on the package of an index."""
    project = copy(folder, package_name=name, image=kind, python_version=PYTHON, **index.answers)
    index.add_its_package(project)
    return project


def build(
    engine: Engine, project: Path, way: str, secrets: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Build a project in one of WAYS, with these variables alone."""
    tag = f"{engine.prefix}-{project.name}"
    others = {name: value for name, value in os.environ.items() if name not in SECRETS}
    return subprocess.run(
        [argument.replace("my-service", tag) for argument in WAYS[way]],
        cwd=project,
        env=others | secrets | {"IMAGE": tag, "BUILDKIT_PROGRESS": "plain"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("way", "kind"), [*((way, "slim") for way in WAYS), ("docker build", "distroless")]
)
def test_a_package_of_the_index_arrives_and_no_secret_stays(
    engine: Engine, copy: Copy, index: Index, tmp_path: Path, way: str, kind: str
) -> None:
    # Each its own, since they may be built at the same time.
    name = f"{way.replace(' ', '_')}_{kind}"
    project = make(copy, index, tmp_path / name, name, kind)
    done = build(engine, project, way, index.secrets)
    assert done.returncode == 0, done.stdout + done.stderr
    image = f"{engine.prefix}-{name}"
    engine.built.add(image)

    script = "import acme_greeting; print(acme_greeting.HELLO)"
    assert engine.run(image, "python", "-c", script).stdout == "hello from the index\n"

    assert_no_trace(traces(index.secrets), engine, image, done.stdout, done.stderr)


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_secret_fails_the_build_and_is_named(
    engine: Engine, copy: Copy, index: Index, tmp_path: Path, way: str
) -> None:
    """Not set at all, or empty, as a pipeline passes what nobody has set."""
    project = make(copy, index, tmp_path / "project", f"missing_{way.split()[-1]}", "slim")
    for missing in SECRETS:
        given = {name: value for name, value in index.secrets.items() if name != missing}
        for secrets in (given, given | {missing: ""}):
            done = build(engine, project, way, secrets)
            said = done.stdout + done.stderr
            assert done.returncode != 0, said
            named = re.findall(rf"(\w+)\"?: (?:{REASONS})$", said, re.MULTILINE)
            assert set(named) == {missing}, said
