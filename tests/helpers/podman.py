"""Podman and Buildah, on the PATH or behind the command that PODMAN_PREFIX names."""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from helpers import programs

# A command that runs podman and buildah, where they are not on the PATH.
PREFIX = shlex.split(os.environ.get("PODMAN_PREFIX", ""))


def skip_without_podman() -> None:
    """Skip a test where there is no Podman."""
    if not PREFIX and not shutil.which("podman"):
        pytest.skip("podman is not installed, and PODMAN_PREFIX names no command that has it")


def run(*command: str, cwd: Path | None = None, check: bool = True) -> str:
    """Run podman or buildah and return what it prints; a failure raises AssertionError."""
    return programs.run(*PREFIX, *command, cwd=cwd, check=check).stdout


def layers(image: str) -> list[str]:
    """Return the digests of the layers of an image of Podman's."""
    template = "--format={{json .RootFS.Layers}}"
    found: list[str] = json.loads(run("podman", "image", "inspect", template, image))
    return found
