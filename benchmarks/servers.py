"""Measure each framework on each of its servers: requests per second, memory, and the image.

    uv run python benchmarks/servers.py

It needs a Docker engine and Debian's package index. The load is wrk's (32 connections, from a
container beside the service), on the resource of each service. With one worker process the service
has the first core and wrk the second; with two, both share what there is.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from statistics import median

from common import machine, released, say
from copier import run_copy
from engine import CLOSED, Container, Engine, docker
from measure import SECONDS, Sizes, Wrk
from test_contract import ORDER, PYTHON, RESOURCES
from test_render import SERVICES, extension

VERSION = "v9999.0.0"
PRELOADED = "/preloaded.so"


def memory(container: Container) -> float:
    """Give the megabytes (10^6 bytes) that all its processes hold, as docker stats counts them."""
    options = ["--no-stream", "--format={{.MemUsage}}"]
    used = docker("stats", *options, container.name).stdout.split("/")[0].strip()
    number, unit = used[:-3], used[-3:]
    return float(number) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit] / 1e6


def measure(wrk: Wrk, image: str, framework: str, workers: int, preload: str) -> list[float]:
    """Run a service and load it; give requests per second and megabytes."""
    path, body = RESOURCES.get(framework, ("/quotes", ORDER))
    options = [*CLOSED, f"--env=WEB_CONCURRENCY={workers}"]
    if preload:
        options += [f"--volume={preload}:{PRELOADED}:ro", f"--env=LD_PRELOAD={PRELOADED}"]
    own, other = (["--cpuset-cpus=0"], ["--cpuset-cpus=1"]) if workers == 1 else ([], [])
    with wrk.engine.serve(image, *options, *own) as container:
        container.wait_until_healthy()
        return [wrk.rate(container, path, body, *other), memory(container)]


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description="Measure the servers.")
    parser.add_argument("--rounds", type=int, default=3, help="how many, by turns (3)")
    parser.add_argument("--framework", help="only this one")
    preload = "a library, such as another allocator, to run each service with as well"
    parser.add_argument("--preload", nargs="+", default=[], metavar="PATH", help=preload)
    arguments = parser.parse_args()
    rounds: int = arguments.rounds
    engine = Engine("copier-uv-docker-servers")
    services = [
        service
        for service in SERVICES
        if "app.py" in extension(service["framework"])["src"]
        and arguments.framework in (None, service["framework"])
    ]
    values: dict[tuple[str, str, str, int], list[list[float]]] = {}
    sizes: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wrk = Wrk.built(engine, folder / "wrk")
        template = released(folder, VERSION)
        images = {}
        for service in services:
            project = folder / "-".join(service.values())
            run_copy(str(template), project, data=service, defaults=True, quiet=True)
            image = engine.build(project, project.name)
            images[service["framework"], service["server"]] = image
            size = sum(Sizes(engine).of(image).values()) / 1e6
            sizes[service["framework"], service["server"]] = size
        for number in range(rounds):
            for (framework, server), image in images.items():
                for preload, workers in itertools.product(["", *arguments.preload], (1, 2)):
                    name = f"{server} {Path(preload).name}".strip()
                    say(f"round {number + 1} of {rounds}: {framework}, {name}, {workers}")
                    values.setdefault((framework, server, preload, workers), []).append(
                        measure(wrk, image, framework, workers, preload)
                    )
                    time.sleep(0.5)
    engine.remove_images()
    about = machine()
    print(
        f"Medians of {rounds} rounds of {SECONDS} s on {about['machine']}, Python {PYTHON}, "
        f"{about['date']}.\n"
    )
    print("| framework | server | requests/s, 1 | requests/s, 2 | MB, 1 | MB, 2 | image, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (framework, server), preload in itertools.product(sizes, ["", *arguments.preload]):
        one, two = (values[framework, server, preload, workers] for workers in (1, 2))
        rates = [f"{median(run[0] for run in runs):.0f}" for runs in (one, two)]
        used = [f"{median(run[1] for run in runs):.0f}" for runs in (one, two)]
        name = f"{server} {Path(preload).name}".strip()
        cells = [framework, name, *rates, *used, f"{sizes[framework, server]:.1f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
