"""What a container and an image cost, in seconds and bytes.

The engine must run on this machine: the processes of a container are looked up here.
"""

import gzip
import http.client
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from os import sysconf
from pathlib import Path

from helpers.engine import HARDENED, Container, Engine, docker
from helpers.listeners import free_port
from helpers.service import ACCEPT, ORDER
from helpers.template import PINS

# The port inside the container.
PORT = 8000
CGROUPS = Path("/sys/fs/cgroup")
SECONDS = 4
WRK = """
FROM python:3.13-slim-{suite}
RUN apt-get update && apt-get install --yes --no-install-recommends wrk
"""
# Hardened as the README says, but as the image's own user.
OPTIONS = [option for option in HARDENED if not option.startswith("--user")]


@dataclass
class Sizes:
    """The size of each layer as a registry would hold it, remembered by its digest."""

    engine: Engine
    known: dict[str, int] = field(default_factory=dict)

    def of(self, image: str) -> dict[str, int]:
        """Return the bytes of each layer of an image after gzip -6."""
        layers = self.engine.layers(image)
        if set(layers) - set(self.known):
            for digest, content in self.engine.saved_layers(image).items():
                if digest not in self.known:
                    self.known[digest] = len(gzip.compress(content, 6, mtime=0))
        return {digest: self.known[digest] for digest in layers}

    def pushed(self, image: str, before: str) -> int:
        """Return the bytes of the layers that an image has and the one before it had not."""
        new = set(self.engine.layers(image)) - set(self.engine.layers(before))
        return sum(size for digest, size in self.of(image).items() if digest in new)


@dataclass
class Wrk:
    """The program that loads a service, in an image of its own."""

    engine: Engine
    image: str

    @classmethod
    def built(cls, engine: Engine, folder: Path) -> "Wrk":
        """Build the image from Debian's package."""
        folder.mkdir()
        (folder / "Dockerfile").write_text(WRK.format(suite=PINS["suite"]))
        return cls(engine, engine.build(folder, "wrk"))

    def rate(self, container: Container, path: str, body: object, *options: str) -> float:
        """Send POST requests for SECONDS over 32 connections; return how many a second.

        Raises:
            AssertionError: an answer was no success.
        """
        headers = {"Content-Type": "application/json"} | ACCEPT
        script = [
            'wrk.method = "POST"',
            f"wrk.path = {json.dumps(path)}",
            f"wrk.body = {json.dumps(json.dumps(body))}",
            *(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items()),
            "done = function(s) io.write(s.requests / s.duration * 1e6, ' ', s.errors.status) end",
        ]
        command = ["sh", "-c", 'echo "$0" >/tmp/s && exec wrk "$@"', "\n".join(script)]
        command += ["-t1", "-c32", f"-d{SECONDS}s", "-s", "/tmp/s", f"http://localhost:{PORT}"]
        network = f"--network=container:{container.name}"
        printed = self.engine.run(network, *options, self.image, *command).stdout
        rate, errors = printed.splitlines()[-1].split()
        assert errors == "0", printed
        return float(rate)


@dataclass
class Process:
    """The first process of a container, as this machine sees it."""

    container: Container

    @property
    def id(self) -> int:
        """Its number on this machine; AssertionError when it is not here."""
        number, container = self.container.inspect("{{.State.Pid}} {{.Id}}").split()
        seen = Path("/proc", number, "cgroup")
        # With an engine in a virtual machine, the number is that of any process here.
        here = seen.exists() and container in seen.read_text()
        assert here, "the engine does not run on this machine"
        return int(number)

    def all(self) -> list[Path]:
        """Return the folder below /proc of each process of the container."""
        lines = docker("top", self.container.name, "-eo", "pid").stdout.splitlines()
        return [Path("/proc", line.strip()) for line in lines[1:]]

    def cgroup(self, controller: str, name: str) -> str | None:
        """Read a file of its control group: of version 1, or 2, or nothing where neither has it."""
        for line in Path("/proc", str(self.id), "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            one = controller if controller in controllers.split(",") else ""
            if one or not controllers:
                file = CGROUPS / one / path.lstrip("/") / name
                if file.is_file():
                    return file.read_text()
        return None

    def cpu(self) -> float:
        """Return the CPU seconds that the container has used."""
        if nanoseconds := self.cgroup("cpuacct", "cpuacct.usage"):
            return int(nanoseconds) / 1e9
        if (text := self.cgroup("", "cpu.stat")) and (used := entry("usage_usec", text)):
            return used / 1e6
        fields = [(p / "stat").read_text().rpartition(")")[2].split() for p in self.all()]
        return sum(int(f[11]) + int(f[12]) for f in fields) / sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return the bytes of memory that belong to no file."""
        if (text := self.cgroup("memory", "memory.stat")) and (
            used := entry("anon", text) or entry("total_rss", text)
        ):
            return used
        return sum(
            entry("RssAnon:", (process / "status").read_text()) * 1024 for process in self.all()
        )


def entry(key: str, text: str) -> int:
    """Return the number behind a key that begins a line, or 0."""
    found = re.search(rf"^{key}\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def healthy(port: int) -> bool:
    """Say whether the service answers 200 on its health path."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


def first_answer(port: int) -> float:
    """Return the time of the first good answer, in seconds since the epoch; wait 60 s at most."""
    deadline = time.monotonic() + 60
    while not healthy(port):
        assert time.monotonic() < deadline, "the service does not answer"
        # Asking all the time would take the CPU that the service starts with.
        time.sleep(0.002)
    return time.time()


@dataclass
class Start:
    """A container that has just answered for the first time."""

    container: Container
    port: int
    seconds: float
    cpu: float

    def memory_after(self, requests: int) -> float:
        """Send so many requests, one after another; return the bytes it then holds."""
        body, headers = json.dumps(ORDER), {"Content-Type": "application/json"}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port)) as connection:
            for _ in range(requests):
                connection.request("POST", "/quotes", body, headers)
                response = connection.getresponse()
                assert response.status == 200, response.read()
                response.read()
        return Process(self.container).memory()


@contextmanager
def started(image: str, *options: str) -> Iterator[Start]:
    """Start an image; measure from when its process runs to the first answer; remove it.

    The image's health check is off: it would be measured as well.
    """
    port = free_port()
    published = [f"--publish=127.0.0.1:{port}:{PORT}", f"--env=PORT={PORT}", "--no-healthcheck"]
    container = Container(docker("create", *published, *OPTIONS, *options, image).stdout.strip())
    try:
        # Not waited for, because the service may answer before the command ends.
        with subprocess.Popen(["docker", "start", container.name], stdout=subprocess.DEVNULL):
            answered = first_answer(port)
        cpu = Process(container).cpu()
        begun = datetime.fromisoformat(container.inspect("{{.State.StartedAt}}")).timestamp()
        yield Start(container, port, answered - begun, cpu)
    except AssertionError as error:
        error.add_note(container.logs())
        raise
    finally:
        docker("rm", "--force", "--volumes", container.name)
