"""Measure how the cost of an image grows with its dependencies and with the project.

    uv run python benchmarks/growth.py --json docs/growth.json --svg docs/growth.svg

It needs a Docker engine on this machine and the package index; the builds on one core need root. A
round takes about six minutes on two cores. The table goes to stdout.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from os import geteuid, getpid
from pathlib import Path

from common import released, say
from helpers.engine import Engine
from image import LAYOUTS, Bench, Facts, Layout, about, prepare, render
from measure import CGROUPS, Sizes
from report import Curve, Results, curves, table

# What is added to the generated service: packages, and modules of the project.
PACKAGES = ["", "pandas", "pandas scipy scikit-learn matplotlib alembic boto3"]
MODULES = [0, 100, 1000]
MODULE = '''"""Part {number} of the project."""


def total_{number}(prices: list[int], discount: int = 0) -> int:
    """Add prices up, less a discount."""
    return max(sum(prices) - discount, 0)


class Shelf{number}:
    """A shelf with things on it."""

    def __init__(self) -> None:
        self.things: dict[str, int] = {{}}

    def put(self, name: str, count: int) -> None:
        if count < 1:
            raise ValueError(f"{{count}} of {{name}}")
        self.things[name] = self.things.get(name, 0) + count

    def take(self, name: str) -> int:
        return self.things.pop(name, 0)
'''
CURVES = [
    Curve("cold", "clean build by packages", "packages"),
    Curve("cold", "clean build by modules of the project", "modules"),
    Curve("code", "rebuild after a code edit by packages", "packages"),
    Curve("code", "rebuild after a code edit by modules", "modules"),
]


@contextmanager
def one_core() -> Iterator[list[str]]:
    """Yield the options of docker build for a control group with one core, of version 1 or 2."""
    old = CGROUPS / "cpuset"
    group = (old if old.is_dir() else CGROUPS) / f"bench-{getpid()}"
    if not old.is_dir():
        (CGROUPS / "cgroup.subtree_control").write_text("+cpuset")
    group.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        (group / name).write_text("0")
    try:
        yield [f"--cgroup-parent={group.name}"]
    finally:
        # The last build's own group may end later than its build.
        time.sleep(1)
        for folder in sorted(group.rglob("*/"), reverse=True):
            folder.rmdir()
        group.rmdir()


def packages(prepared: Path) -> int:
    """Count what is installed."""
    lines = (prepared / "after" / "requirements.txt").read_text().splitlines()
    return sum("==" in line for line in lines)


def points(template: Path, folder: Path) -> Iterator[tuple[str, list[Layout], Path, Facts]]:
    """Yield title, layouts, prepared files and facts of each size of the project."""
    for number, (added, modules) in enumerate(
        [*((name, 0) for name in PACKAGES), *(("", count) for count in MODULES[1:])]
    ):
        here = folder / str(number)
        own = render(template, here)
        facts = Facts.of(own[0].project)
        # It has pydantic already, so that nothing is added.
        prepared = prepare(own[0].project, facts, here / "prepared", added or "pydantic")
        file = f"--file={LAYOUTS / 'reference'}.Dockerfile"
        for layout in own:
            for name in ("pyproject.toml", "uv.lock"):
                shutil.copy2(prepared / "after" / name, layout.project)
            (package,) = (layout.project / "src").iterdir()
            for module in range(modules):
                (package / f"part_{module}.py").write_text(MODULE.format(number=module))
        count = len([*(own[0].project / "src").rglob("*.py")])
        other = Path(shutil.copytree(own[0].project, here / "reference", symlinks=True))
        layouts = [*own, Layout("reference", other, [file, *facts.arguments])]
        title = f"{packages(prepared)} packages, {count} modules"
        yield title, layouts, prepared, facts


def turn(bench: Bench, layout: Layout, single: bool) -> dict[str, list[float]]:
    """Measure one layout of one size once."""
    _, cold = bench.build(layout.project, layout, "--no-cache")
    values = {"cold": [cold]}
    if single and not geteuid():
        with one_core() as options:
            _, seconds = bench.build(layout.project, layout, "--no-cache", *options)
        values["cold_one"] = [seconds]
    before, _ = bench.build(layout.project, layout)
    with bench.edited(layout, "code", next(bench.edits)) as project:
        edited, seconds = bench.build(project, layout)
    values |= {"code": [seconds], "pushed_code": [float(bench.sizes.pushed(edited, before))]}
    values["size"] = [float(sum(bench.sizes.of(before).values()))]
    bench.forget()
    return values


def measured(rounds: int) -> dict[str, Results]:
    """Measure all sizes by turns; return the results of each by its title."""
    if reason := Engine.unavailable():
        raise SystemExit(reason)
    engine = Engine(f"growth-{getpid()}")
    results: dict[str, Results] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = [*points(released(folder, "v9999.0.0"), folder)]
        benches = {
            title: Bench(engine, Sizes(engine), facts, prepared, int(time.time()))
            for title, _, prepared, facts in sizes
        }
        try:
            for title, layouts, _, _ in sizes:
                results[title] = Results(about(rounds, benches[title].facts))
                for layout in layouts:
                    say(f"warm-up: {title}, {layout.name}")
                    benches[title].build(layout.project, layout)
            for number in range(1, rounds + 1):
                for title, layouts, _, _ in sizes:
                    for layout in layouts:
                        say(f"round {number} of {rounds}: {title}, {layout.name}")
                        single = title == sizes[len(PACKAGES) - 1][0]
                        results[title].add(layout.name, turn(benches[title], layout, single))
        finally:
            engine.remove_images()
    return results


def main() -> None:
    """Measure, or take what was measured; print the tables and write the files asked for."""
    parser = argparse.ArgumentParser(description="Measure how the cost of an image grows.")
    parser.add_argument("--rounds", type=int, default=5, help="how many (5)")
    parser.add_argument("--from", dest="kept", type=Path, metavar="PATH", help="JSON to draw again")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to keep every value")
    parser.add_argument("--svg", type=Path, metavar="PATH", help="where to draw the curves")
    options = parser.parse_args()
    kept: Path | None = options.kept
    if kept:
        results = {title: Results(**v) for title, v in json.loads(kept.read_text()).items()}
    else:
        results = measured(options.rounds)
    if options.json:
        values = {title: asdict(result) for title, result in results.items()}
        options.json.write_text(json.dumps(values, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(curves(results, CURVES))
    for title, result in results.items():
        print(f"{title}:\n\n{table(result)}\n")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
