"""Measure how long Copier takes to make a project, and to update one to the next release.

    uv run python benchmarks/template.py

It needs neither Docker nor a network.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

from common import machine, released, say
from helpers.repository import commit, git

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
FIRST, NEXT = "v9999.0.0", "v9999.1.0"


def copier(*arguments: str, directory: Path) -> float:
    """Run copier in a process of its own; return its wall seconds."""
    # An installed Copier has its bytecode; without, it would be compiled at each run.
    environment = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}
    command = [sys.executable, "-m", "copier", *arguments]
    before = time.perf_counter()
    subprocess.run(command, cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before


def next_release(template: Path) -> str:
    """Tag a second release that bumps the pin of uv; return the new pin."""
    questions = template / "copier.yml"
    text = questions.read_text()
    found = re.search(r'^ +uv: "(\d+\.\d+\.)(\d+)"$', text, re.MULTILINE)
    assert found, "copier.yml pins no uv"
    pin = f"{found[1]}{int(found[2]) + 1}"
    questions.write_text(text[: found.start(1)] + pin + text[found.end(2) :])
    commit(template, NEXT)
    git(template, "tag", NEXT)
    # As a host serves it, in one file.
    git(template, "gc", "--quiet", "--prune=now")
    return pin


def copy(template: Path, directory: Path) -> float:
    """Copy the first release with all defaults; return the seconds."""
    arguments = ["--defaults", "--quiet", f"--vcs-ref={FIRST}", str(template), str(directory)]
    return copier("copy", *arguments, directory=template)


def update(project: Path, directory: Path, pin: str) -> float:
    """Update a clone of a project to the next release; return the seconds."""
    git(project, "clone", "--quiet", str(project), str(directory))
    seconds = copier("update", "--defaults", "--quiet", directory=directory)
    assert f"uv:{pin}" in (directory / "Dockerfile").read_text(), "the update did not arrive"
    return seconds


def measured(rounds: int, folder: Path) -> dict[str, list[float]]:
    """Time each command by turns; return the seconds of each round."""
    template = released(folder, FIRST)
    pin = next_release(template)
    project = folder / "project"
    copy(template, project)
    commit(project)
    commands: dict[str, Callable[[Path], float]] = {
        "`copier --version`, the start of the program alone": lambda _: copier(
            "--version", directory=folder
        ),
        "`copier copy --defaults`": lambda directory: copy(template, directory / "copy"),
        "`copier update --defaults` to the next release": lambda directory: update(
            project, directory / "update", pin
        ),
    }
    values: dict[str, list[float]] = {name: [] for name in commands}
    # One round more than is counted, for all that is cold.
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}")
        for name, command in commands.items():
            with tempfile.TemporaryDirectory(dir=folder) as directory:
                values[name].append(command(Path(directory)))
    return {name: seconds[1:] for name, seconds in values.items()}


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description="Measure copier copy and copier update.")
    parser.add_argument("--rounds", type=int, default=11, help="how many (11)")
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        values = measured(rounds, Path(folder))
    about = machine()
    python = sys.version.partition(" ")[0]
    print(
        f"Medians of {rounds} rounds on {about['machine']}, Copier {version('copier')}, "
        f"Python {python}, {about['date']}.\n\n| command | seconds |\n| --- | --- |"
    )
    for name, seconds in values.items():
        print(f"| {name} | {median(seconds):.2f} |")


if __name__ == "__main__":
    main()
