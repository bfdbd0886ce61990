"""What tests of images share: base images, the one date of files, caches, traces of secrets."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from helpers.engine import Engine, docker
from helpers.project import PYTHON
from helpers.template import PINS

BASES = [f"python:{PYTHON}-slim-{PINS['suite']}", f"ghcr.io/astral-sh/uv:{PINS['uv']}"]
# The date of every file that the Dockerfile adds: the first day that a ZIP file can hold.
EPOCH_1980 = 315532800


def base_of(project: Path) -> str:
    """Return the image that a project's Dockerfile starts from."""
    (base,) = re.findall(r"FROM (python:\S+)", (project / "Dockerfile").read_text())
    return str(base)


@contextmanager
def empty_package_cache(project: Path) -> Iterator[None]:
    """Have the builds of a project use an empty package cache of their own, in the block only."""
    name = uuid4().hex
    dockerfile = project / "Dockerfile"
    shared = dockerfile.read_text()
    own = shared.replace("type=cache,target=", f"type=cache,id={name},target=")
    assert own.count(name) == shared.count("type=cache") > 0
    dockerfile.write_text(own)
    try:
        yield
    finally:
        dockerfile.write_text(shared)
        docker("buildx", "prune", "--force", f"--filter=description~={name}")


def traces(*secrets: dict[str, str]) -> list[bytes]:
    """Return a line of each secret by which its value is recognised; known hosts are public."""
    values = {name: value for more in secrets for name, value in more.items()}
    values.pop("SSH_KNOWN_HOSTS", None)
    lines = [value.strip().splitlines() for value in values.values()]
    return [found[len(found) // 2].encode() for found in lines]


def assert_no_trace(secrets: list[bytes], engine: Engine, image: str, *said: str) -> None:
    """Raise AssertionError if a secret is in a layer, in the history or in what was printed."""
    seen = docker("history", "--no-trunc", "--format=json", image).stdout.encode()
    seen += docker("image", "inspect", image).stdout.encode() + "".join(said).encode()
    contents = [seen, *engine.saved_layers(image).values()]
    for secret in secrets:
        assert not any(secret in content for content in contents), secret
