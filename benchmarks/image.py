"""Measure the image of a rendered service beside the same service in other layouts.

    uv run python benchmarks/image.py --svg docs/benchmark.svg --json benchmark.json

It needs a Docker engine on this machine, the package index and Debian's; what an empty node takes
is measured where root may start a second engine. Each round takes about a minute a layout on two
cores. The table goes to stdout.
"""

import argparse
import re
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import count
from os import getpid
from pathlib import Path

import yaml
from common import machine, released, say
from copier import run_copy
from helpers.engine import Engine, docker
from helpers.pipelines import registry
from helpers.service import ORDER
from helpers.template import choices
from measure import Sizes, Wrk, started
from node import Node, unavailable
from report import Results, drawing, table

HERE = Path(__file__).parent
LAYOUTS = HERE / "layouts"
# One small package of pure Python that the service does not have.
DEPENDENCY = "tomlkit"
STARTS = 3
REQUESTS = 1000


@dataclass
class Layout:
    """A way to write the Dockerfile, and a project of its own to build with it."""

    name: str
    project: Path
    options: list[str]


@dataclass
class Facts:
    """What the layouts need to know of the service, read from the project as it was rendered."""

    package: str
    python: str
    uv: str

    @classmethod
    def of(cls, project: Path) -> "Facts":
        """Read a project; AssertionError when its Dockerfile names no Python or no uv."""
        (package,) = {path.parent.name for path in project.glob("src/*/__main__.py")}
        dockerfile = (project / "Dockerfile").read_text()
        python = re.search(r"\bpython:(\d\S*)", dockerfile)
        uv = re.search(r"astral-sh/uv:(\d\S*)", dockerfile)
        assert python, f"{project}/Dockerfile names no Python"
        assert uv, f"{project}/Dockerfile names no uv"
        return cls(package, python[1], uv[1])

    @property
    def arguments(self) -> list[str]:
        """Return them as options of docker build."""
        named = {"PACKAGE": self.package, "PYTHON": self.python, "UV": self.uv}
        return [f"--build-arg={name}={value}" for name, value in named.items()]


def about(rounds: int, facts: Facts) -> dict[str, str]:
    """Say how and on what the results come about."""
    made = {"rounds": str(rounds), "python": facts.python, "uv": facts.uv}
    version = docker("version", "--format={{.Server.Version}}").stdout.strip()
    return machine() | made | {"docker": version}


# --- The layouts ---


def images(template: Path) -> dict[str, dict[str, str]]:
    """Return the answers for each kind of image that the template offers, by the layout's name."""
    for name, question in yaml.safe_load((template / "copier.yml").read_text()).items():
        if isinstance(question, dict) and "choices" in question:
            values = choices(question)
            if "distroless" in values:
                return {f"here, {value}": {name: value} for value in values}
    return {"here": {}}


def render(template: Path, folder: Path) -> list[Layout]:
    """Render a project for each kind of image; the first is what the other layouts get."""
    layouts = []
    for name, answers in images(template).items():
        project = folder / name.replace(", ", "-")
        run_copy(str(template), project, answers, defaults=True, quiet=True)
        layouts.append(Layout(name, project, []))
    return layouts


def others(project: Path, facts: Facts, folder: Path) -> list[Layout]:
    """Copy a project for each of the layouts that were written for comparison; return them."""
    layouts = []
    for name in ("reference", "uv-guide", "single-stage", "pip"):
        copy = shutil.copytree(project, folder / name, symlinks=True)
        file = f"--file={LAYOUTS / name}.Dockerfile"
        # An argument that a Dockerfile does not declare is only worth a warning.
        layouts.append(Layout(name, copy, [file, *facts.arguments]))
    return layouts


def prepare(project: Path, facts: Facts, folder: Path, added: str = DEPENDENCY) -> Path:
    """Let uv write the lock with more dependencies, and requirements.txt before and after."""
    file = f"--file={HERE / 'prepare.Dockerfile'}"
    output = f"--output=type=local,dest={folder}"
    dependencies = f"--build-arg=DEPENDENCIES={added}"
    docker("build", file, output, dependencies, *facts.arguments, str(project))
    return folder


# --- The edits: each is unlike all before it, or the build cache would answer ---


def edit_code(project: Path, mark: str, _: Path) -> None:
    """Add one line to the package."""
    (module,) = project.glob("src/*/__init__.py")
    module.write_text(f'{module.read_text()}REVISION = "{mark}"\n')


def edit_dependency(project: Path, mark: str, prepared: Path) -> None:
    """Take the prepared files with one more dependency; a comment makes them new."""
    for file in (prepared / "after").iterdir():
        if (project / file.name).exists():
            (project / file.name).write_text(f"# {mark}\n{file.read_text()}")


def edit_version(project: Path, mark: str, _: Path) -> None:
    """Write a new version of the project into pyproject.toml and uv.lock."""
    known = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for name, before in (("pyproject.toml", ""), ("uv.lock", f'name = "{known["name"]}"\n')):
        text = (project / name).read_text()
        old = f'{before}version = "{known["version"]}"'
        assert text.count(old) == 1, name
        (project / name).write_text(text.replace(old, f'{before}version = "{mark}"'))


Edit = Callable[[Path, str, Path], None]
EDITS: dict[str, Edit] = {
    "code": edit_code,
    "dependency": edit_dependency,
    "version": edit_version,
}


# --- The rounds ---


@dataclass
class Bench:
    """What all rounds share."""

    engine: Engine
    sizes: Sizes
    facts: Facts
    prepared: Path
    begun: int
    # The number of each turn's edits, or a layout could take another's steps from the cache.
    edits: Iterator[int] = field(default_factory=lambda: count(1))
    wrk: Wrk | None = None
    node: Node | None = None

    def build(self, project: Path, layout: Layout, *options: str) -> tuple[str, float]:
        """Build a project in a layout; return the image and the seconds that it took."""
        name = re.sub(r"\W+", "-", layout.name) + f"-{len(self.engine.built)}"
        before = time.perf_counter()
        image = self.engine.build(project, name, *layout.options, *options)
        return image, time.perf_counter() - before

    @contextmanager
    def edited(self, layout: Layout, edit: str, number: int) -> Iterator[Path]:
        """Yield a copy of a layout's project with an edit in it that was never built."""
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copytree(layout.project, Path(folder) / "project", symlinks=True)
            EDITS[edit](copy, self.mark(number), self.prepared)
            yield copy

    def mark(self, number: int) -> str:
        """Return a text that no other round has, nor any other run; it is a valid version."""
        return f"1.{self.begun}.{number}"

    def check_code(self, image: str, number: int) -> None:
        """See to it that an image has the edited code and not an older wheel of it."""
        code = f"import {self.facts.package} as package; print(package.REVISION)"
        run = self.engine.run("--entrypoint=python", image, "-c", code)
        assert run.stdout.strip() == self.mark(number), f"{image} has old code"

    def rebuild(self, layout: Layout, number: int, before: str) -> dict[str, list[float]]:
        """Build after each edit; return the seconds and the bytes that a push would send."""
        values: dict[str, list[float]] = {}
        for edit in EDITS:
            with self.edited(layout, edit, number) as project:
                image, seconds = self.build(project, layout)
            if edit == "code":
                self.check_code(image, number)
            values[edit] = [seconds]
            values[f"pushed_{edit}"] = [float(self.sizes.pushed(image, before))]
        return values

    def serve(self, image: str) -> dict[str, list[float]]:
        """Start an image a few times; return seconds, CPU seconds, bytes of memory and the rate."""
        # The first start reads the image from the disk.
        with started(image):
            pass
        values: dict[str, list[float]] = {"start": [], "cpu": [], "memory": []}
        for last in [False] * (STARTS - 1) + [True]:
            with started(image) as start:
                values["start"].append(start.seconds)
                values["cpu"].append(start.cpu)
                if last:
                    values["memory"].append(start.memory_after(REQUESTS))
        assert self.wrk
        with started(image, "--cpuset-cpus=0") as start:
            rate = self.wrk.rate(start.container, "/quotes", ORDER, "--cpuset-cpus=1")
        return values | {"rate": [rate]}

    def from_empty_node(self, layout: Layout) -> dict[str, list[float]]:
        """Push an image with its layers in gzip and in zstd; return the seconds of a node."""
        if not self.node:
            return {}
        values = {}
        for compression, figure in (("gzip", "node"), ("zstd", "node_zstd")):
            with registry(self.node.folder) as served:
                name = f"{served.address}/{compression}"
                forms = f"compression={compression},force-compression=true,oci-mediatypes=true"
                output = f"--output=type=image,name={name},push=true,{forms}"
                docker("build", *layout.options, output, str(layout.project))
                docker("image", "rm", name)
            values[figure] = [self.node.first_answer(compression)]
        return values

    def turn(self, layout: Layout, number: int, clean: list[str]) -> dict[str, list[float]]:
        """Measure one layout once; clean is the layers of an earlier clean build of it."""
        image, seconds = self.build(layout.project, layout, "--no-cache")
        same = self.engine.layers(image) == clean
        # Steps that run at different times differ; the edits are compared with what the cache has.
        before, _ = self.build(layout.project, layout)
        size = sum(self.sizes.of(before).values())
        values = {"cold": [seconds], "same": [float(same)], "size": [float(size)]}
        values |= self.rebuild(layout, number, before) | self.serve(before)
        values |= self.from_empty_node(layout)
        self.forget()
        return values

    def warm_up(self, layout: Layout) -> list[str]:
        """Fill the caches with all that the rounds download; return the layers of a clean build."""
        image, _ = self.build(layout.project, layout, "--no-cache")
        with self.edited(layout, "dependency", 0) as project:
            self.build(project, layout)
        layers = self.engine.layers(image)
        self.forget()
        return layers

    def forget(self) -> None:
        """Remove the images of the layouts that were built so far."""
        if self.wrk:
            self.engine.built.discard(self.wrk.image)
        self.engine.remove_images()
        self.engine.built.clear()

    def run(self, layouts: list[Layout], rounds: int) -> Results:
        """Measure the layouts by turns, so that a slow minute does not hit only one."""
        results = Results(about(rounds, self.facts))
        clean = {}
        for layout in layouts:
            say(f"warm-up: {layout.name}")
            clean[layout.name] = self.warm_up(layout)
        for number in range(1, rounds + 1):
            for layout in layouts:
                say(f"round {number} of {rounds}: {layout.name}")
                results.add(layout.name, self.turn(layout, next(self.edits), clean[layout.name]))
        return results


def measured(rounds: int, only: list[str]) -> Results:
    """Render the service and measure it in all layouts or only some; leave no image behind."""
    if reason := Engine.unavailable():
        raise SystemExit(reason)
    engine = Engine(f"bench-{getpid()}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        own = render(released(folder, "v9999.0.0"), folder)
        facts = Facts.of(own[0].project)
        prepared = prepare(own[0].project, facts, folder / "prepared")
        layouts = own + others(own[0].project, facts, folder)
        for layout in layouts:
            if layout.name == "pip":
                shutil.copy2(prepared / "before" / "requirements.txt", layout.project)
        chosen = [layout for layout in layouts if not only or layout.name in only]
        if not chosen:
            raise SystemExit(f"--only takes {[layout.name for layout in layouts]}")
        wrk = Wrk.built(engine, folder / "wrk")
        stack.callback(docker, "image", "rm", wrk.image)
        node = None
        if reason := unavailable():
            say(f"nothing about an empty node: {reason}")
        else:
            (folder / "registry").mkdir()
            node = stack.enter_context(closing(Node(folder / "registry")))
        bench = Bench(engine, Sizes(engine), facts, prepared, int(time.time()), wrk=wrk, node=node)
        stack.callback(bench.forget)
        return bench.run(chosen, rounds)


def main() -> None:
    """Measure, or take what was measured; print the table and write the files asked for."""
    parser = argparse.ArgumentParser(description="Measure the image beside other layouts.")
    parser.add_argument("--rounds", type=int, default=5, help="how many (5)")
    parser.add_argument("--only", nargs="+", default=[], metavar="LAYOUT", help="its column's name")
    parser.add_argument("--from", dest="kept", type=Path, metavar="PATH", help="JSON to draw again")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to keep every value")
    parser.add_argument("--svg", type=Path, metavar="PATH", help="where to draw the bars")
    options = parser.parse_args()
    kept: Path | None = options.kept
    results = Results.read(kept) if kept else measured(options.rounds, options.only)
    if options.json:
        results.write(options.json)
    if options.svg:
        options.svg.write_text(drawing(results))
    print(table(results))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
