"""Resolve the uv.lock of every extension anew and show what moved.

    uv run python scripts/refresh_locks.py

It needs the package index, and any Python that the template offers.
"""

import re
import subprocess
import tempfile
import warnings
from pathlib import Path

import yaml
from copier import run_copy
from copier.errors import DirtyLocalWarning

ROOT = Path(__file__).resolve().parents[1]

# template/uv.lock.jinja puts the project's own name and Python in the place of these.
NAME = "placeholder"
OLDEST_PYTHON = "3.11"


def versions(lock: str) -> dict[str, str]:
    """Give the versions of each package that a lock names; a fork for some Pythons adds one."""
    found = re.findall(r'^name = "(.+)"\nversion = "(.+)"$', lock, re.MULTILINE)
    return {name: ", ".join(v for n, v in found if n == name) for name, _ in found}


def refresh(extension: Path, server: str) -> None:
    """Render a project of one extension and server, resolve it for the oldest Python, keep it.

    Raises CalledProcessError when uv finds no resolution; the old lock then stays.
    """
    lock = extension / f"{server}.lock"
    if not lock.exists():
        lock.touch()
    before = versions(lock.read_text())
    facts = yaml.safe_load((extension / "extension.yml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        answers = {
            "framework": extension.name,
            "server": server,
            "project_name": NAME,
            "package_name": NAME,
            "python_version": facts.get("python_versions", [OLDEST_PYTHON])[0],
        }
        run_copy(str(ROOT), folder, answers, vcs_ref="HEAD", defaults=True, quiet=True)
        (Path(folder) / "uv.lock").unlink()
        command = ["uv", "lock", "--no-config", "--quiet"]
        subprocess.run(command, cwd=folder, check=True)
        lock.write_text((Path(folder) / "uv.lock").read_text())
    after = versions(lock.read_text())
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            old, new = before.get(name, "-"), after.get(name, "-")
            print(f"{extension.name}, {server}: {name} {old} -> {new}")


if __name__ == "__main__":
    warnings.simplefilter("ignore", DirtyLocalWarning)
    for path in sorted(ROOT.glob("extensions/*/extension.yml")):
        for server in yaml.safe_load(path.read_text())["servers"]:
            refresh(path.parent, server)
