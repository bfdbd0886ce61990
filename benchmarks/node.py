"""A second Docker engine, in a network of its own, that has no image: a new node of a cluster.

    python benchmarks/node.py FOLDER

The program reads names of images from stdin, a line each, and answers with the seconds from "docker
run" to the service's first answer. What it ran is gone before the next line. The images come from a
registry on the node's loopback that keeps them in FOLDER/images. It needs root, for the network.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import common  # noqa: F401  (finds the tests' helpers)
from helpers.engine import Engine, docker
from helpers.pipelines import registry
from measure import OPTIONS, PORT, first_answer

SECONDS = 60


def unavailable() -> str | None:
    """Say why no second engine can be started here, or nothing when it can."""
    if os.geteuid():
        return "a second engine needs root"
    missing = [name for name in ("dockerd", "docker-registry", "unshare") if not shutil.which(name)]
    return f"a second engine needs {missing}" if missing else None


class Node:
    """The program above, from outside."""

    def __init__(self, folder: Path) -> None:
        """Start it in a network without a way out; its files are in the folder."""
        self.folder = folder
        # Two registries, one in each network, have the same images.
        (folder / "images").mkdir()
        (folder / "node").mkdir()
        (folder / "node" / "images").symlink_to(folder / "images")
        command = ["unshare", "--net", "--mount", sys.executable, __file__, str(folder / "node")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def first_answer(self, image: str) -> float:
        """Return the seconds from "docker run" until the first answer, without any layer before."""
        assert self.process.stdin
        assert self.process.stdout
        print(image, file=self.process.stdin, flush=True)
        return float(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """Stop it, and the engine with it."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def engine(folder: Path) -> Iterator[None]:
    """Run an engine whose images are in the folder, and let this process's docker talk to it."""
    socket = f"unix://{folder}/docker.sock"
    settings = {
        "data-root": f"{folder}/data",
        "exec-root": f"{folder}/exec",
        "pidfile": f"{folder}/docker.pid",
        "hosts": [socket],
        "features": {"containerd-snapshotter": True},
    }
    (folder / "daemon.json").write_text(json.dumps(settings))
    with (folder / "dockerd.log").open("w") as log:
        process = subprocess.Popen(
            ["dockerd", f"--config-file={folder}/daemon.json"], stdout=log, stderr=log
        )
    os.environ["DOCKER_HOST"] = socket
    try:
        deadline = time.monotonic() + SECONDS
        while Engine.unavailable():
            assert time.monotonic() < deadline, (folder / "dockerd.log").read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def answered(image: str) -> float:
    """Run an image that is not there, until the service's first answer; return the seconds."""
    begun = time.time()
    # Its network is the node's: what a bridge costs is the same for all.
    run = ["run", "--detach", "--network=host", f"--env=PORT={PORT}", "--no-healthcheck"]
    container = docker(*run, *OPTIONS, image).stdout.strip()
    seconds = first_answer(PORT) - begun
    docker("rm", "--force", container)
    docker("system", "prune", "--all", "--force")
    assert not docker("image", "ls", "--quiet").stdout
    return seconds


def main(folder: Path) -> None:
    """Serve the lines of stdin."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with registry(folder) as served, engine(folder):
        for line in sys.stdin:
            print(json.dumps(answered(f"{served.address}/{line.strip()}")), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
