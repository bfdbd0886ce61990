"""Resolve the uv.lock of every extension again and show what moved.

    uv run python scripts/refresh_locks.py            # every dependency at its newest
    uv run python scripts/refresh_locks.py --keep     # only what a change of an extension.yml needs

It needs the package index, and any Python that the template offers.
"""

import argparse
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
    """Return the versions of each package that a lock names; a fork for some Pythons adds one."""
    found = re.findall(r'^name = "(.+)"\nversion = "(.+)"$', lock, re.MULTILINE)
    return {name: ", ".join(v for n, v in found if n == name) for name, _ in found}


def refresh(extension: Path, server: str, keep: bool) -> None:
    """Render a project of one extension and server, resolve it for the oldest Python, keep it.

    Args:
        extension: the folder of the extension.
        server: which of its servers.
        keep: leave what the lock has already at its version.

    Raises CalledProcessError when uv finds no resolution; the old lock then stays.
    """
    lock = extension / f"{server}.lock"
    old = lock.read_text() if lock.exists() else ""
    before = versions(old)
    facts = yaml.safe_load((extension / "extension.yml").read_text())
    answers = {
        "framework": extension.name,
        "server": server,
        "project_name": NAME,
        "package_name": NAME,
        "python_version": facts.get("python_versions", [OLDEST_PYTHON])[0],
    }
    # The project's lower bounds are the versions in the lock, so the first round resolves without
    # any, and the second writes those of the first into the lock.
    lock.write_text(old if keep else "")
    try:
        for _ in range(2):
            with tempfile.TemporaryDirectory() as folder:
                run_copy(str(ROOT), folder, answers, vcs_ref="HEAD", defaults=True, quiet=True)
                if not lock.read_text():
                    (Path(folder) / "uv.lock").unlink()
                command = ["uv", "lock", "--no-config", "--quiet"]
                subprocess.run(command, cwd=folder, check=True)
                lock.write_text((Path(folder) / "uv.lock").read_text())
    except subprocess.CalledProcessError:
        lock.write_text(old)
        raise
    after = versions(lock.read_text())
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            old, new = before.get(name, "-"), after.get(name, "-")
            print(f"{extension.name}, {server}: {name} {old} -> {new}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Resolve the lock of every extension anew.")
    parser.add_argument("--keep", action="store_true", help="leave every version as it is")
    keep = parser.parse_args().keep
    warnings.simplefilter("ignore", DirtyLocalWarning)
    for path in sorted(ROOT.glob("extensions/*/extension.yml")):
        for server in yaml.safe_load(path.read_text())["servers"]:
            refresh(path.parent, server, keep)
