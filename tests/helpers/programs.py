"""Run a program and show what it printed when it fails; skip or fail where one is missing."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its exit code and what it printed.

    Args:
        command: the program and its arguments.
        cwd: the working directory.
        env: variables beside those of this process.
        check: whether another exit code than 0 is an error.

    Raises:
        AssertionError: it failed; with all that it printed.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    if check and done.returncode:
        printed = f"{done.stdout}{done.stderr}"
        raise AssertionError(f"{shlex.join(words)}: exit code {done.returncode}\n{printed}")
    return done


def make_program(folder: Path, name: str, script: str) -> None:
    """Make a program of a shell script in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def skip_or_fail(reason: str) -> NoReturn:
    """Skip a test that needs what is not here, or fail it where REQUIRE_ENGINE=1."""
    if os.environ.get("REQUIRE_ENGINE") == "1":
        pytest.fail(f"REQUIRE_ENGINE=1, but {reason}")
    pytest.skip(reason)
