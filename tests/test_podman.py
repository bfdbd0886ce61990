"""Podman and Buildah build the same image from the same Dockerfile."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.engine import HARDENED, Engine
from helpers.git_server import https_server, ssh_server
from helpers.image import BASES
from helpers.listeners import PROXY_PASSWORD, proxy
from helpers.package_index import Index, package_index
from helpers.pipelines import mirror
from helpers.podman import PREFIX, layers, run, skip_without_podman
from helpers.project import PYTHON, Copy

# All that uses Podman is one after the other: tests/test_kube_play.py says why.
pytestmark = [pytest.mark.image, pytest.mark.xdist_group("podman")]


# Docker writes a layer without a file for WORKDIR; Buildah writes none.
EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

BUILD = ["build", "--layers", "--pull=never", "--network=host", "--format=docker"]


@pytest.fixture(scope="module")
def bases(engine: Engine) -> Iterator[None]:
    """Load the base images of the Docker engine into Podman; remove those that are new to it."""
    skip_without_podman()
    known = run("podman", "image", "ls", "--format={{.Repository}}:{{.Tag}}")
    with subprocess.Popen(["docker", "save", *BASES], stdout=subprocess.PIPE) as saved:
        subprocess.run([*PREFIX, "podman", "load"], stdin=saved.stdout, check=True)
    yield
    for base in BASES:
        if base not in known:
            run("podman", "image", "rm", base, check=False)


@pytest.mark.usefixtures("bases")
@pytest.mark.parametrize(
    ("program", "answers"),
    [
        ("buildah", {"framework": "worker"}),
        ("podman", {"framework": "django", "image": "distroless"}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value.values()),
)
def test_layers_are_those_that_docker_builds(
    engine: Engine,
    copy: Copy,
    index: Index,
    tmp_path: Path,
    program: str,
    answers: dict[str, str],
) -> None:
    """With a package of a private index and of a git server, whose logins only the build has.

    The first project has the fewest stages, the second has them all.
    """
    tag = f"localhost/{engine.prefix}-podman"
    serving = (
        ssh_server(tmp_path)
        if program == "podman"
        else https_server(tmp_path, index.signed_by, index.trusted())
    )
    try:
        with serving as server:
            project = copy(
                tmp_path / "project",
                python_version=PYTHON,
                git_server=server.answer,
                **answers,
                **index.answers,
            )
            server.add_its_package(project)
            index.add_its_package(project)
            opened = [*index.options, *server.options(tmp_path)]
            expected = engine.layers(engine.build(project, "podman", *opened))
            opened.remove("--network=host")
            run(program, *BUILD, *opened, f"--tag={tag}", ".", cwd=project)
        assert layers(tag) == [layer for layer in expected if layer != EMPTY_LAYER]
        check = run("podman", "image", "inspect", "--format={{json .HealthCheck}}", tag)
        assert "-ISc" in json.loads(check)["Test"]
        script = "import os, my_service, acme_greeting, acme_private; print(os.getcwd())"
        options = ["--rm", "--network=none", *HARDENED]
        assert run("podman", "run", *options, tag, "python", "-c", script) == "/app\n"
    finally:
        run("podman", "image", "rm", "--force", tag, check=False)


@pytest.mark.usefixtures("bases")
def test_registry_and_proxy_want_a_login(
    engine: Engine, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its login the registry gives nothing."""
    tag = f"localhost/{engine.prefix}-podman-mirror"
    with ExitStack() as stack:
        # Nobody has its package, since it is on a port of its own.
        index = stack.enter_context(package_index(tmp_path))
        address, log = stack.enter_context(proxy(tmp_path))
        prefix = stack.enter_context(mirror(tmp_path, monkeypatch, BASES))
        project = copy(
            tmp_path / "project", python_version=PYTHON, registry=prefix, **index.answers
        )
        index.add_its_package(project)
        pull = [option for option in BUILD if not option.startswith("--pull")]
        # Podman pulls the images, and what a step asks goes through the proxy.
        pull += ["--pull=always", "--tls-verify=false", f"--build-arg=HTTPS_PROXY={address}"]
        secrets = [option for option in index.options if option.startswith("--secret")]
        command = ["podman", *pull, *secrets, f"--tag={tag}", "."]
        try:
            run(*command, f"--authfile={os.environ['DOCKER_CONFIG']}/config.json", cwd=project)
            asked = index.url.removeprefix("https://").partition("/")[0]
            assert f"CONNECT {asked}" in log.read_text()
            history = run("podman", "history", "--no-trunc", "--format=json", tag)
            assert PROXY_PASSWORD not in history + run("podman", "image", "inspect", tag)
            nobody = tmp_path / "nobody.json"
            nobody.write_text("{}")
            with pytest.raises(AssertionError, match=r"(?i)unauthorized|authentication required"):
                run(*command, f"--authfile={nobody}", cwd=project)
        finally:
            run("podman", "image", "rm", "--force", tag, check=False)
