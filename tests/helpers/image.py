"""What tests of images share: base images, the one date of files, an empty package cache."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from helpers.engine import docker
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
    """Yield the builds of a project a package cache of their own, which is empty and goes again."""
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
