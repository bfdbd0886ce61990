"""Put each fault of faults.py into a copy of this repository, and see whether its tests fail.

uv run python tests/mutations.py [--only TEXT] [--jobs 2] [--no-engine]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue

from faults import FAULTS, Fault
from helpers.repository import ROOT, git, release, run_tests
from helpers.updates import NOW


@contextmanager
def copied() -> Iterator[Path]:
    """Yield a copy of this repository to put faults into, with the working tree as a commit."""
    with tempfile.TemporaryDirectory() as folder:
        tree = release(ROOT, Path(folder) / "tree", NOW)
        git(tree, "tag", "--delete", NOW)
        yield tree


def noticed(fault: Fault, tree: Path) -> str:
    """Put a fault into a copy and take it out again; return what failed, or nothing.

    Tests that cannot be run raise ValueError.
    """
    fault.apply(tree)
    try:
        run = run_tests(tree, "-x", *(f"tests/{test}" for test in fault.tests))
    finally:
        git(tree, "reset", "--quiet", "--hard")
        git(tree, "clean", "--quiet", "--force", "-d")
    if run.returncode not in (0, 1):
        raise ValueError(f"{fault.name}: {' '.join(fault.tests)}\n{run.stdout}{run.stderr}")
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return "\n".join(failed)


def main() -> int:
    """Try the faults that the command line asks for and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="those with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--no-engine", action="store_true", help="leave out what needs Docker")
    asked = parser.parse_args()
    faults = [fault for fault in FAULTS if asked.only in fault.name]
    faults = [fault for fault in faults if not (asked.no_engine and fault.needs_engine)]
    start = time.monotonic()
    survivors: list[Fault] = []

    with ExitStack() as stack, ThreadPoolExecutor(asked.jobs) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for _ in range(asked.jobs):
            trees.put(stack.enter_context(copied()))

        def attempt(fault: Fault) -> None:
            tree, begun = trees.get(), time.monotonic()
            try:
                found = noticed(fault, tree)
            finally:
                trees.put(tree)
            if not found:
                survivors.append(fault)
            verdict = "noticed" if found else "SURVIVES"
            print(f"{verdict:9}{time.monotonic() - begun:6.1f} s  {fault.name}", flush=True)

        # An error in one is raised here, when the others are done.
        list(pool.map(attempt, faults))

    killed = len(faults) - len(survivors)
    score = 100 * killed / max(len(faults), 1)
    minutes = (time.monotonic() - start) / 60
    print(f"\n{killed} of {len(faults)} noticed, {score:.1f} %, in {minutes:.1f} min")
    for fault in survivors:
        print(f"survives: {fault.name}: {fault.survives or 'nobody knows why'}")
    return int(any(not fault.survives for fault in survivors))


if __name__ == "__main__":
    sys.exit(main())
