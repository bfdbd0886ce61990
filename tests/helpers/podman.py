"""Podman and Buildah, on the PATH or behind the command that PODMAN_PREFIX names."""

import json
import os
import shlex
import subprocess
from pathlib import Path

# A command that runs podman and buildah, where they are not on the PATH.
PREFIX = shlex.split(os.environ.get("PODMAN_PREFIX", ""))


def run(*command: str, cwd: Path | None = None) -> str:
    """Run podman or buildah and return what it prints; a failure raises AssertionError."""
    done = subprocess.run([*PREFIX, *command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def layers(image: str) -> list[str]:
    """Return the digests of the layers of an image of Podman's."""
    template = "--format={{json .RootFS.Layers}}"
    found: list[str] = json.loads(run("podman", "image", "inspect", template, image))
    return found
