"""A project that the template renders: the paths that tests name, and uv in it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Copy = Callable[..., Path]
WORKFLOW = ".github/workflows/ci.yml"
DEPLOYMENT = "deploy/base/deployment.yaml"
PRODUCTION = "deploy/overlays/production/kustomization.yaml"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def uv(project: Path, *arguments: str) -> str:
    """Run uv in a project on this Python; return what it prints."""
    command = ["uv", *arguments]
    environment = os.environ | {"UV_PYTHON": sys.executable}
    run = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout
