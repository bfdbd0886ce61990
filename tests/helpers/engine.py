"""A Docker engine as the tests use it: through its command line, as people do."""

import gzip
import http.client
import io
import json
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from helpers.programs import run

# How the README says that a service can run: hardened, and as a user whom the image lacks.
HARDENED = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--user=12345:0",
]


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run docker; with check, a failure raises AssertionError with all that it printed."""
    return run("docker", *arguments, check=check)


def uncompressed(content: bytes) -> bytes:
    """Return a layer as it was before gzip or zstd; an engine may keep either."""
    if content[:4] == b"\x28\xb5\x2f\xfd":
        # Before 3.14 Python has no zstd.
        command = ["zstd", "--decompress", "--stdout"]
        return subprocess.run(command, input=content, check=True, capture_output=True).stdout
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def secret_options(folder: Path, secrets: dict[str, str]) -> list[str]:
    """Return the options of docker build that hand secrets on; their files are in the folder."""
    for name, value in secrets.items():
        (folder / name).write_text(value)
    return [f"--secret=id={name},src={folder / name}" for name in secrets]


@dataclass
class Container:
    """A container that serves on a port of this machine."""

    name: str

    def inspect(self, template: str) -> str:
        """Return what docker inspect prints for a Go template."""
        return docker("inspect", f"--format={template}", self.name).stdout.strip()

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port on this machine that lead to the service."""
        host, _, port = docker("port", self.name).stdout.splitlines()[0].rpartition(":")
        return host.rpartition(" ")[2], int(port)

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Send one request; return its status, headers and the JSON of its body."""
        content = None if body is None else json.dumps(body)
        sent = {"Content-Type": "application/json"} if content else {}
        with closing(http.client.HTTPConnection(*self.address, timeout=30)) as connection:
            connection.request(method, path, content, sent | (headers or {}))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), json.loads(response.read())

    def wait_for(self, template: str, value: str, seconds: float = 180) -> None:
        """Wait until docker inspect prints a value for a Go template, at most so many seconds.

        It asks again when the engine says that health has changed or the container has ended.
        """
        now = time.time()
        command = ["docker", "events", f"--since={now:.9f}", f"--until={now + seconds:.9f}"]
        command += [f"--filter=container={self.name}", "--filter=event=health_status"]
        with subprocess.Popen([*command, "--filter=event=die"], stdout=subprocess.PIPE) as events:
            try:
                while (seen := self.inspect(template)) != value:
                    # It may have ended since the look before.
                    ended = self.inspect("{{.State.Status}}") == "exited"
                    if ended and self.inspect(template) == value:
                        return
                    assert events.stdout
                    if ended or not events.stdout.readline():
                        raise AssertionError(f"{template} is {seen}, not {value}\n{self.logs()}")
            finally:
                events.terminate()

    def wait_until_healthy(self) -> None:
        """Wait for the image's own health check to succeed."""
        self.wait_for("{{.State.Health.Status}}", "healthy")

    def wait_until_it_catches(self, signum: int, seconds: float = 30) -> None:
        """Wait until the container's process handles a signal; the first one has no default action.

        It reads the process's status on this machine (proc_pid_status(5)), so the engine runs here.
        """
        status = Path("/proc") / self.inspect("{{.State.Pid}}") / "status"
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            (caught,) = re.findall(r"^SigCgt:\s+(\w+)$", status.read_text(), re.MULTILINE)
            if int(caught, 16) & 1 << signum - 1:
                return
            time.sleep(0.005)
        raise AssertionError(f"signal {signum} is not handled after {seconds} s\n{self.logs()}")

    def wait_for_log(self, text: str, seconds: float = 30) -> None:
        """Wait until the container has printed a text, at most so many seconds."""
        deadline = time.monotonic() + seconds
        while text not in self.logs():
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} is not in the log:\n{self.logs()}")
            time.sleep(0.05)

    def stop(self, seconds: int) -> int:
        """Send SIGTERM, and SIGKILL after so many seconds; return the exit code, then 137."""
        docker("stop", f"--timeout={seconds}", self.name)
        return int(self.inspect("{{.State.ExitCode}}"))

    def logs(self) -> str:
        """Return all that the container printed, stdout and stderr."""
        done = docker("logs", self.name)
        return done.stdout + done.stderr


@dataclass
class Engine:
    """A Docker engine, and the images that one test process built on it.

    Whatever is made on the engine has the prefix in its name.
    """

    prefix: str
    built: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)

    @staticmethod
    def unavailable() -> str | None:
        """Return why there is no engine here, or nothing when there is one."""
        try:
            done = docker("version", "--format={{.Server.Version}}", check=False)
        except FileNotFoundError:
            return "docker is not installed"
        return f"no Docker engine answers: {done.stderr.strip()}" if done.returncode else None

    def build(self, directory: Path, name: str, *options: str) -> str:
        """Build a directory into an image and return its tag; a failure raises AssertionError."""
        tag = f"{self.prefix}-{name}"
        # A build that fails removes the file.
        with TemporaryDirectory() as folder:
            file = Path(folder) / "digest"
            named = [f"--tag={tag}", f"--iidfile={file}"]
            docker("build", "--progress=plain", *named, *options, str(directory))
            self.digests.add(file.read_text())
        self.built.add(tag)
        return tag

    def layers(self, image: str) -> list[str]:
        """Return the digests of the image's layers, the base's first."""
        layers: list[str] = json.loads(
            docker("image", "inspect", "--format={{json .RootFS.Layers}}", image).stdout
        )
        return layers

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a container to its end and remove it."""
        return docker("run", "--rm", *arguments, check=check)

    @contextmanager
    def serve(
        self, image: str, *options: str, port: int = 8000, command: Sequence[str] = ()
    ) -> Iterator[Container]:
        """Start a container whose port is published on loopback; remove it at the end."""
        published = f"--publish=127.0.0.1::{port}"
        name = docker("run", "--detach", published, *options, image, *command).stdout.strip()
        try:
            yield Container(name)
        finally:
            docker("rm", "--force", "--volumes", name)

    @contextmanager
    def serve_hardened(
        self, image: str, *options: str, port: int = 8000, command: Sequence[str] = ()
    ) -> Iterator[Container]:
        """Serve hardened as in production; yield the container when it is healthy."""
        hardened = [*HARDENED, *options]
        with self.serve(image, *hardened, port=port, command=command) as container:
            container.wait_until_healthy()
            yield container

    @contextmanager
    def compose(self, project: Path) -> Iterator[Callable[..., str]]:
        """Yield docker compose for a project; remove what it made at the end.

        Its containers and its image have the prefix, or they could be those of another project.
        """
        name = f"{self.prefix}-{project.name}"

        def compose(*arguments: str) -> str:
            names = {"COMPOSE_PROJECT_NAME": name, "IMAGE": name}
            return run("docker", "compose", *arguments, cwd=project, env=names).stdout

        try:
            yield compose
        finally:
            compose("down", "--volumes")
            docker("image", "rm", "--force", name, check=False)

    def saved_layers(self, image: str) -> dict[str, bytes]:
        """Return each layer of an image as an uncompressed archive, by its digest."""
        done = subprocess.run(["docker", "save", image], capture_output=True, check=True)
        layers = {}
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:

            def read(name: str) -> bytes:
                member = archive.extractfile(name)
                assert member is not None
                return member.read()

            (manifest,) = json.loads(read("manifest.json"))
            config = json.loads(read(manifest["Config"]))
            for digest, name in zip(config["rootfs"]["diff_ids"], manifest["Layers"], strict=True):
                layers[digest] = uncompressed(read(name))
        return layers

    def remove_images(self) -> None:
        """Remove what was built; the build cache stays."""
        if self.built:
            docker("image", "rm", "--force", *sorted(self.built), check=False)
        # What was built again under its tag has no name any more.
        nameless = docker("image", "ls", "--quiet", "--no-trunc", "--filter=dangling=true")
        if left := self.digests & {*nameless.stdout.split()}:
            docker("image", "rm", *left, check=False)
