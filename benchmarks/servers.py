"""Measure each framework on each of its servers: requests per second, memory, and the image.

    uv run python benchmarks/servers.py

It needs a Docker engine and Debian's package index. The load is wrk's (32 connections, from a
container beside the service), on the resource of each service. With one worker process the service
has the first core and wrk the second; with two, both share what there is.

    uv run python benchmarks/servers.py --since v0.2.0

compares with the services of an earlier release, which take turns with today's.
"""

import argparse
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from common import machine, released, say
from copier import run_copy
from helpers.engine import Container, Engine, docker
from helpers.service import ORDER, RESOURCES
from helpers.template import DEFAULT_PYTHON, SERVICES, extension
from measure import SECONDS, Sizes, Wrk, started

VERSION = "v9999.0.0"
PRELOADED = "/preloaded.so"


def memory(container: Container) -> float:
    """Return the megabytes (10^6 bytes) of all its processes, as docker stats counts them."""
    options = ["--no-stream", "--format={{.MemUsage}}"]
    used = docker("stats", *options, container.name).stdout.split("/")[0].strip()
    number, unit = used[:-3], used[-3:]
    return float(number) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit] / 1e6


@dataclass(frozen=True)
class Service:
    """A service as one release renders it, run with an allocator and a number of processes."""

    framework: str
    server: str
    release: str
    preload: str
    workers: int

    def run(self, wrk: Wrk, image: str, more: int) -> list[float]:
        """Start it, load it.

        Return the seconds until its first answer, requests per second, megabytes, and megabytes
        after at least `more` requests more.
        """
        path, body = RESOURCES.get(self.framework, ("/quotes", ORDER))
        options = [f"--env=WEB_CONCURRENCY={self.workers}"]
        if self.preload:
            options += [f"--volume={self.preload}:{PRELOADED}:ro", f"--env=LD_PRELOAD={PRELOADED}"]
        own, other = ([f"--cpuset-cpus={n}"] if self.workers == 1 else [] for n in (0, 1))
        with started(image, *options, *own) as start:
            rate = wrk.rate(start.container, path, body, *other)
            used = memory(start.container)
            while more > 0:
                more -= int(wrk.rate(start.container, path, body, *other) * SECONDS)
            return [start.seconds, rate, used, memory(start.container)]


def images_of(
    engine: Engine, template: Path, folder: Path, framework: str | None, releases: list[str]
) -> dict[tuple[str, str, str], str]:
    """Build each service of each release; return the images by framework, server and release."""
    images = {}
    for release, service in itertools.product(releases, SERVICES):
        name, server = service["framework"], service["server"]
        if "app.py" in extension(name)["src"] and framework in (None, name):
            project = folder / "-".join([name, server, release.replace(".", "-")])
            run_copy(
                str(template), project, data=service, defaults=True, quiet=True, vcs_ref=release
            )
            images[name, server, release] = engine.build(project, project.name)
    return images


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description="Measure the servers.")
    parser.add_argument("--rounds", type=int, default=3, help="how many, by turns (3)")
    parser.add_argument("--framework", help="only this one")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes (1 2)")
    preload = "a library, such as another allocator, to run each service with as well"
    parser.add_argument("--preload", nargs="+", default=[], metavar="PATH", help=preload)
    since = "a release whose services are measured as well, such as v0.2.0"
    parser.add_argument("--since", nargs="+", default=[], metavar="RELEASE", help=since)
    more = "requests to send before memory is read a second time (0)"
    parser.add_argument("--more", type=int, default=0, metavar="REQUESTS", help=more)
    arguments = parser.parse_args()
    engine = Engine("copier-uv-docker-servers")
    values: dict[Service, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wrk = Wrk.built(engine, folder / "wrk")
        template = released(folder, VERSION)
        releases = [*arguments.since, VERSION]
        images = images_of(engine, template, folder, arguments.framework, releases)
        sizes = {image: sum(Sizes(engine).of(image).values()) / 1e6 for image in images.values()}
        services = [
            Service(*key, preload, workers)
            for key in sorted(images)
            for preload in ["", *arguments.preload]
            for workers in arguments.workers
        ]
        for number, service in itertools.product(range(arguments.rounds), services):
            say(f"round {number + 1} of {arguments.rounds}: {service}")
            image = images[service.framework, service.server, service.release]
            values.setdefault(service, []).append(service.run(wrk, image, arguments.more))
            time.sleep(0.5)
    engine.remove_images()
    about = machine() | {"rounds": arguments.rounds, "seconds": SECONDS, "python": DEFAULT_PYTHON}
    said = "Medians of {rounds} rounds of {seconds} s on {machine}, Python {python}, {date}."
    print(said.format_map(about) + "\n")
    head = ["framework", "server", "processes", "first answer, s", "requests/s", "MB"]
    head += [f"MB, {arguments.more} more"] * bool(arguments.more) + ["image, MB"]
    print(f"| {' | '.join(head)} |\n| {' | '.join('---' for _ in head)} |")
    for service, runs in values.items():
        seconds, rate, *used = (median(column) for column in zip(*runs, strict=True))
        release = "" if service.release == VERSION else service.release
        server = " ".join(filter(None, [service.server, Path(service.preload).name, release]))
        size = sizes[images[service.framework, service.server, service.release]]
        cells = [service.framework, server, str(service.workers), f"{seconds:.2f}", f"{rate:.0f}"]
        cells += [f"{megabytes:.1f}" for megabytes in used[: 1 + bool(arguments.more)]]
        print(f"| {' | '.join([*cells, f'{size:.1f}'])} |")


if __name__ == "__main__":
    main()
