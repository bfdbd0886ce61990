"""git, and this repository as the releases of the template."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from helpers.programs import run

ROOT = Path(__file__).resolve().parents[2]
# Of git's settings none is the person's; and no commit looks for something to tidy up.
GIT_SETTINGS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "maintenance.auto",
    "GIT_CONFIG_VALUE_0": "false",
    **{f"GIT_{role}_NAME": "Test" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "test@example.com" for role in ("AUTHOR", "COMMITTER")},
}


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory and return what it prints; a failure raises AssertionError."""
    return run("git", *arguments, cwd=directory, env=GIT_SETTINGS).stdout


def commit(directory: Path, message: str = "Work") -> None:
    """Commit everything in a directory, which becomes a repository if it is none."""
    if not (directory / ".git").exists():
        git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", message)


def release(tree: Path, directory: Path, version: str) -> Path:
    """Clone a checkout, lay its working tree over it, commit, and tag that as a release.

    Copier takes the last tag of a local template, not the working tree; this makes them the same.
    """
    git(tree, "clone", "--quiet", "--no-local", str(tree), str(directory))
    git(directory, "rm", "-r", "--quiet", "--ignore-unmatch", ".")
    listed = git(tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (tree / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, directory / name)
    commit(directory, version)
    git(directory, "tag", version)
    for name, made_of in releases().items():
        git(directory, "tag", "--force", name, made_of)
    return directory


def run_tests(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a copy of this repository, in one process that leaves nothing there."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["-n0", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
        pytest = [sys.executable, "-m", "pytest", *options, *arguments]
        return run(*pytest, cwd=tree, check=False)


@functools.cache
def releases() -> dict[str, str]:
    """Return the commit of each release by its tag, the oldest first.

    One that no commit holds, as in a shallow clone, raises LookupError.
    """
    named = tomllib.loads((ROOT / "releases.toml").read_text())["releases"]
    log = git(ROOT, "log", "--format=%T %H").splitlines()
    commits = dict(line.split() for line in log)
    if lost := {version: tree for version, tree in named.items() if tree not in commits}:
        raise LookupError(f"no commit of this branch has the content of {lost}; is all of it here?")
    return {f"v{version}": commits[tree] for version, tree in named.items()}
