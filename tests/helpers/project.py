"""A project that the template renders: the paths that tests name, and uv in it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from helpers.programs import run

Copy = Callable[..., Path]
WORKFLOW = ".github/workflows/ci.yml"
DEPLOYMENT = "deploy/base/deployment.yaml"
PRODUCTION = "deploy/overlays/production/kustomization.yaml"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def uv(project: Path, *arguments: str) -> str:
    """Run uv in a project on this Python; return what it prints."""
    return run("uv", *arguments, cwd=project, env={"UV_PYTHON": sys.executable}).stdout


def copier(
    *arguments: str | Path, cwd: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run Copier's command, as a person does; with check, a failure raises AssertionError."""
    return run(sys.executable, "-m", "copier", *arguments, cwd=cwd, check=check)
