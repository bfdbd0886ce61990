"""Measure each framework on each of its servers: requests per second, memory, and the image.

    uv run python benchmarks/servers.py

It needs a Docker engine and Debian's package index. The load is wrk's (32 connections, from a
container beside the service), on the resource of each service. With one worker process the service
has the first core and wrk the second; with two, both share what there is.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from common import machine, released, say
from copier import run_copy
from engine import CLOSED, Container, Engine, docker
from measure import Sizes
from test_contract import ACCEPT, ORDER, PYTHON, RESOURCES
from test_render import PINS, SERVICES, extension

VERSION = "v9999.0.0"
SECONDS = 4
WRK = """
FROM python:3.13-slim-{suite}
RUN apt-get update && apt-get install --yes --no-install-recommends wrk
"""


def script(path: str, body: object) -> str:
    """Give what wrk is to send, in its language."""
    headers = {"Content-Type": "application/json"} | ACCEPT
    lines = [
        'wrk.method = "POST"',
        f"wrk.path = {json.dumps(path)}",
        f"wrk.body = {json.dumps(json.dumps(body))}",
        *(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items()),
        "done = function(s) io.write(s.requests / s.duration * 1e6, ' ', s.errors.status) end",
    ]
    return "\n".join(lines)


def memory(container: Container) -> float:
    """Give the megabytes (10^6 bytes) that all its processes hold, as docker stats counts them."""
    options = ["--no-stream", "--format={{.MemUsage}}"]
    used = docker("stats", *options, container.name).stdout.split("/")[0].strip()
    number, unit = used[:-3], used[-3:]
    return float(number) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit] / 1e6


def measure(engine: Engine, image: str, wrk: str, framework: str, workers: int) -> list[float]:
    """Run a service and load it; give requests per second and megabytes."""
    path, body = RESOURCES.get(framework, ("/quotes", ORDER))
    options = [*CLOSED, f"--env=WEB_CONCURRENCY={workers}"]
    cores = ["--cpuset-cpus=0"] if workers == 1 else []
    with engine.serve(image, *options, *cores) as container:
        container.wait_until_healthy()
        command = ["sh", "-c", 'echo "$0" >/tmp/s && exec wrk "$@"', script(path, body)]
        command += ["-t1", "-c32", f"-d{SECONDS}s", "-s", "/tmp/s", "http://localhost:8000"]
        network = f"--network=container:{container.name}"
        pinned = ["--cpuset-cpus=1"] if workers == 1 else []
        printed = engine.run(network, *pinned, wrk, *command).stdout
        rate, errors = printed.splitlines()[-1].split()
        assert errors == "0", printed
        return [float(rate), memory(container)]


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description="Measure the servers.")
    parser.add_argument("--rounds", type=int, default=3, help="how many, by turns (3)")
    parser.add_argument("--framework", help="only this one")
    arguments = parser.parse_args()
    rounds: int = arguments.rounds
    engine = Engine("copier-uv-docker-servers")
    services = [
        service
        for service in SERVICES
        if "app.py" in extension(service["framework"])["src"]
        and arguments.framework in (None, service["framework"])
    ]
    values: dict[tuple[str, str, int], list[list[float]]] = {}
    sizes: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wrk").mkdir()
        (folder / "wrk" / "Dockerfile").write_text(WRK.format(suite=PINS["suite"]))
        wrk = engine.build(folder / "wrk", "wrk")
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
                for workers in (1, 2):
                    say(f"round {number + 1} of {rounds}: {framework}, {server}, {workers}")
                    values.setdefault((framework, server, workers), []).append(
                        measure(engine, image, wrk, framework, workers)
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
    for (framework, server), megabytes in sizes.items():
        one, two = values[framework, server, 1], values[framework, server, 2]
        rates = [f"{median(run[0] for run in runs):.0f}" for runs in (one, two)]
        used = [f"{median(run[1] for run in runs):.0f}" for runs in (one, two)]
        cells = [framework, server, *rates, *used, f"{megabytes:.1f}"]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
