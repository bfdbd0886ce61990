"""What a cluster is given runs: Podman plays the rendered objects, and a proxy obeys readiness."""

import csv
import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from helpers.cluster import CLUSTER, Cluster, Object, render
from helpers.engine import Engine, docker
from helpers.files import write
from helpers.podman import PREFIX, skip_without_podman
from helpers.project import Copy
from helpers.service import BROKER, ORDER

# Each call of PODMAN_PREFIX is like a machine that has just started: what ran before is forgotten.
# So no other test may call it meanwhile.
pytestmark = [pytest.mark.image, pytest.mark.xdist_group("podman")]

SUBNET = "10.77.0"
PROXY, REDIS, PODS = f"{SUBNET}.2", f"{SUBNET}.3", f"{SUBNET}.1{{}}"

# A proxy, and what sends requests to it.
TOOLS = """\
FROM python:3.13-slim-trixie
RUN apt-get update && apt-get install --yes --no-install-recommends haproxy wrk
"""
# It tries nothing again, so that what a pod does not answer is lost; each pod has a place.
HAPROXY = """\
global
  stats socket ipv4@127.0.0.1:9999 level admin
defaults
  mode http
  # wrk connects once without a word.
  option http-ignore-probes
  retries 0
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend requests
  bind :8080
  default_backend pods
backend pods
  option httpchk GET {path}
  default-server check inter 1s fall {failures} rise 1 disabled
{places}
"""
QUOTE = f"""\
wrk.method, wrk.body = "POST", '{json.dumps(ORDER)}'
wrk.headers["Content-Type"] = "application/json"
"""
ASK_PROXY = """\
import socket, sys
with socket.create_connection(("127.0.0.1", 9999)) as proxy:
    proxy.sendall(sys.argv[1].encode() + b"\\n")
    print(proxy.makefile().read())
"""
# The kubelet's part of readiness: a proxy hears of a pod when it is ready for the first time.
ASK_POD = """\
import sys, time, urllib.request
deadline = time.monotonic() + 60
while True:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=3)
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.2)
"""
# What a process of the container may do, and where it can write.
LOOK_AROUND = """\
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
kept = {name: status[name].strip() for name in ("Uid", "Gid", "CapEff", "NoNewPrivs", "Seccomp")}
mounts = dict(line.split()[1:3] for line in open("/proc/self/mounts"))
kept["in memory"] = [folder for folder in ("/tmp", "/dev/shm") if mounts[folder] == "tmpfs"]
kept["written"] = []
for folder in ("/", "/app", "/usr/local", "/tmp", "/dev/shm"):
    try:
        open(f"{folder}/probe", "w").close()
        kept["written"].append(folder)
    except OSError:
        pass
print(json.dumps(kept))
"""
RESTRICTED = {
    "Uid": "\t".join(["10001"] * 4),
    "Gid": "\t".join(["10001"] * 4),
    "CapEff": "0" * 16,
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "in memory": ["/tmp", "/dev/shm"],
    "written": ["/tmp", "/dev/shm"],
}

# Requests that a rolling exchange must survive, and clients that send them without a pause.
REQUESTS, CLIENTS = 20_000, 50
# Seconds until a proxy knows that a pod is to go; preStop must be longer.
HEARSAY = 2


class Host:
    """A shell with Podman in it, in a network of its own if PODMAN_PREFIX can make one."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.images: set[str] = set()
        self.played: list[Path] = []
        self.shell = subprocess.Popen(
            [*PREFIX, "sh"],
            cwd=folder,
            env=os.environ | {"NETWORK": "none"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command and return what it prints; with check, a failure raises AssertionError."""
        assert self.shell.stdin
        assert self.shell.stdout
        mark = uuid4().hex
        line = f"{shlex.join(command)} 2>&1 </dev/null; code=$?; echo; echo {mark} $code\n"
        self.shell.stdin.write(line)
        self.shell.stdin.flush()
        printed: list[str] = []
        for line in self.shell.stdout:
            if line.startswith(mark):
                output = "".join(printed).removesuffix("\n")
                if check and line != f"{mark} 0\n":
                    raise AssertionError(f"{shlex.join(command)}\n{output}")
                return output
            printed.append(line)
        raise AssertionError(f"{shlex.join(command)} ended the shell\n{''.join(printed)}")

    def podman(self, *arguments: str, check: bool = True) -> str:
        """Run podman and return what it prints."""
        return self.run("podman", *arguments, check=check)

    def load(self, image: str) -> str:
        """Take an image over from the Docker engine; return its name with its digest."""
        self.images.add(image)
        archive = self.folder / "image.tar"
        docker("save", f"--output={archive}", image)
        self.podman("load", "--quiet", f"--input={archive}")
        digest = self.podman("image", "inspect", "--format={{.Digest}}", image).strip()
        return f"docker.io/library/{image}@{digest}"

    def start(self, image: str, address: str, *command: str) -> str:
        """Start a container that sees the folder as /files; return its name."""
        name = f"{self.prefix}-proxy"
        options = [f"--name={name}", f"--network={self.prefix}:ip={address}"]
        options.append(f"--volume={self.folder}:/files:ro")
        self.podman("run", "--detach", *options, image, *command)
        return name

    def play(self, objects: list[Object], address: str) -> None:
        """Play objects; the pod that they make gets this address."""
        file = self.folder / f"objects-{len(self.played)}.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        self.played.append(file)
        self.podman("kube", "play", f"--network={self.prefix}:ip={address}", str(file))

    def python(self, container: str, script: str, *arguments: str, check: bool = True) -> str:
        """Run a script by the Python of a container."""
        return self.podman("exec", container, "python", "-c", script, *arguments, check=check)

    def close(self) -> None:
        """Remove what was played, started and loaded, and end the shell."""
        for file in self.played:
            self.podman("kube", "down", "--force", str(file), check=False)
        for arguments in (
            ["rm", "--time=0", f"{self.prefix}-proxy"],
            ["network", "rm", self.prefix],
            ["image", "rm", *self.images],
        ):
            self.podman(*arguments, "--force", check=False)
        self.shell.communicate("exit\n")


@pytest.fixture
def host(engine: Engine, tmp_path: Path) -> Iterator[Host]:
    """Yield Podman and a network of the test's own."""
    skip_without_podman()
    host = Host(tmp_path, f"{engine.prefix}-kube")
    try:
        host.podman("network", "create", f"--subnet={SUBNET}.0/24", host.prefix)
        yield host
    finally:
        host.close()


def cluster_of(host: Host, engine: Engine, copy: Copy, framework: str) -> Cluster:
    """Return what a project gives to a cluster, with an image that Podman has."""
    project = copy(host.folder / "project", framework=framework, **CLUSTER)
    image = host.load(engine.build(project, f"kube-{framework}"))
    cluster = Cluster(project, host.folder / "rendered.yaml")
    cluster.rendered.write_text(render(project, image=image))
    return cluster


def playable(cluster: Cluster, name: str) -> list[Object]:
    """Return the objects with a Deployment of another name, and without probes over HTTP.

    Podman sends those with curl from inside the container, which the image does not have.
    """
    objects: list[Object] = json.loads(json.dumps(cluster.objects))
    for found in objects:
        if found["kind"] == "Deployment":
            found["metadata"]["name"] = name
            for container in found["spec"]["template"]["spec"]["containers"]:
                for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                    container.pop(probe, None)
    return objects


def exit_code(host: Host, container: str) -> int:
    """Return the code with which a container has ended."""
    return int(host.podman("inspect", "--format={{.State.ExitCode}}", container))


def succeed(host: Host, container: str, command: list[str]) -> None:
    """Run a command in a container until it succeeds, as the kubelet does, at most a minute."""
    deadline = time.monotonic() + 60
    while True:
        try:
            host.podman("exec", container, *command)
            return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)


def seen_inside(host: Host, container: str) -> Any:
    """Return what a process of a container may do, and where it can write."""
    return json.loads(host.python(container, LOOK_AROUND))


class Proxy:
    """HAProxy, which asks each pod whether it is ready, and is told which pods there are."""

    def __init__(self, host: Host, image: str, cluster: Cluster) -> None:
        self.host = host
        self.cluster = cluster
        probe = cluster.app["readinessProbe"]
        self.path = probe["httpGet"]["path"]
        places = (f"  server {n} {PODS.format(n)}:{cluster.port}" for n in range(1, 5))
        settings = HAPROXY.format(
            path=self.path, failures=probe["failureThreshold"], places="\n".join(places)
        )
        write(host.folder, {"haproxy.cfg": settings, "quote.lua": QUOTE})
        self.name = host.start(image, PROXY, "haproxy", "-f", "/files/haproxy.cfg")

    def ask(self, command: str) -> str:
        """Send a command to its runtime interface and return the answer."""
        return self.host.python(self.name, ASK_PROXY, command)

    def rows(self) -> dict[str, dict[str, str]]:
        """Return its statistics, by the name of a frontend, a backend or a pod."""
        text = self.ask("show stat").lstrip("# ")
        return {
            row["svname"] if row["pxname"] == "pods" else row["pxname"]: row
            for row in csv.DictReader(text.splitlines())
        }

    def load(self) -> None:
        """Begin to send requests from CLIENTS connections, until `unload`."""
        wrk = f"wrk --threads=1 --connections={CLIENTS} --duration=10m --timeout=30s"
        wrk += " --script=/files/quote.lua http://127.0.0.1:8080/quotes >/tmp/wrk 2>&1"
        script = f"echo $$ >/tmp/pid; exec {wrk}"
        self.host.podman("exec", "--detach", self.name, "sh", "-c", script)

    def unload(self) -> str:
        """End the load and return what it says of itself."""
        self.host.podman("exec", self.name, "sh", "-c", "kill -INT $(cat /tmp/pid)")
        while "Requests/sec" not in (
            told := self.host.podman("exec", self.name, "cat", "/tmp/wrk")
        ):
            time.sleep(0.2)
        return told

    def start(self, pod: int) -> None:
        """Start a pod, and send requests to it as soon as it is ready."""
        self.host.play(playable(self.cluster, self.pod(pod)), PODS.format(pod))
        address = f"http://{PODS.format(pod)}:{self.cluster.port}{self.path}"
        self.host.python(self.name, ASK_POD, address)
        self.ask(f"set server pods/{pod} state ready")

    def end(self, pod: int) -> None:
        """Delete a pod as a cluster does.

        preStop begins, the proxy hears of it a while later, and SIGTERM comes when preStop ends.
        """
        waits = self.cluster.app["lifecycle"]["preStop"]["sleep"]["seconds"]
        time.sleep(HEARSAY)
        self.ask(f"set server pods/{pod} state drain")
        time.sleep(waits - HEARSAY)
        self.host.podman("pod", "stop", f"{self.pod(pod)}-pod")

    def wait_for(self, pod: int, status: str) -> None:
        """Wait until its own check of a pod says so, at most a minute."""
        deadline = time.monotonic() + 60
        while not (seen := self.rows()[str(pod)]["status"]).startswith(status):
            assert time.monotonic() < deadline, f"pod {pod} is {seen}, not {status}"
            time.sleep(0.2)

    def pod(self, pod: int) -> str:
        """Return the name of the Deployment that makes a pod."""
        return f"{self.host.prefix}-{pod}"


def test_a_rolling_exchange_loses_no_request(host: Host, engine: Engine, copy: Copy) -> None:
    """Two pods of a release are exchanged for two of the next, one after the other."""
    folder = write(host.folder / "tools", {"Dockerfile": TOOLS})
    tools = host.load(engine.build(folder, "kube-tools"))
    proxy = Proxy(host, tools, cluster_of(host, engine, copy, "fastapi"))
    for pod in (1, 2):
        proxy.start(pod)
    assert seen_inside(host, f"{proxy.pod(1)}-pod-app") == RESTRICTED

    proxy.load()
    for old, new in ((1, 3), (2, 4)):
        proxy.start(new)
        proxy.end(old)
        assert exit_code(host, f"{proxy.pod(old)}-pod-app") == 0
        proxy.wait_for(old, "DOWN")
    while int(proxy.rows()["requests"]["req_tot"]) < REQUESTS:
        time.sleep(1)
    told = proxy.unload()
    rows = proxy.rows()

    assert "errors" not in told
    assert "Non-2xx" not in told
    # wrk leaves while answers to its clients are under way.
    lost = int(rows["requests"]["req_tot"]) - int(rows["requests"]["hrsp_2xx"])
    assert 0 <= lost <= CLIENTS
    assert not [kind for kind in ("4xx", "5xx") if int(rows["requests"][f"hrsp_{kind}"])]
    assert all(int(rows[str(pod)]["hrsp_2xx"]) for pod in range(1, 5))


def test_a_pod_answers_and_ends(host: Host, engine: Engine, copy: Copy) -> None:
    cluster = cluster_of(host, engine, copy, "flask")
    host.play(playable(cluster, host.prefix), PODS.format(1))
    app = f"{host.prefix}-pod-app"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = cluster.app[probe]["httpGet"]["path"]
        host.python(app, ASK_POD, f"http://{PODS.format(1)}:{cluster.port}{path}")
    assert seen_inside(host, app) == RESTRICTED
    host.podman("pod", "stop", f"{host.prefix}-pod")
    assert exit_code(host, app) == 0


def test_a_worker_works_and_ends(host: Host, engine: Engine, copy: Copy) -> None:
    broker = host.load(engine.build(write(host.folder / "redis", {"Dockerfile": BROKER}), "broker"))
    queue: Object = {"apiVersion": "v1", "kind": "Pod"}
    queue["metadata"] = {"name": f"{host.prefix}-queue"}
    queue["spec"] = {"terminationGracePeriodSeconds": 1}
    queue["spec"]["containers"] = [{"name": "redis", "image": broker}]
    host.play([queue], REDIS)

    cluster = cluster_of(host, engine, copy, "worker")
    secret: Object = {"apiVersion": "v1", "kind": "Secret"}
    secret["metadata"] = {"name": cluster.app["envFrom"][1]["secretRef"]["name"]}
    secret["stringData"] = {"REDIS_URL": f"redis://{REDIS}:6379/0"}
    host.play([secret, *playable(cluster, host.prefix)], PODS.format(1))
    app = f"{host.prefix}-pod-app"
    for probe in ("startupProbe", "readinessProbe"):
        succeed(host, app, cluster.app[probe]["exec"]["command"])
    assert seen_inside(host, app) == RESTRICTED
    job = ["python", "-m", "my_service.enqueue", "quote", json.dumps({"order": ORDER})]
    assert json.loads(host.podman("exec", app, *job)) == {"total": "99.90"}
    host.podman("exec", app, *cluster.app["livenessProbe"]["exec"]["command"])
    host.podman("pod", "stop", f"{host.prefix}-pod")
    assert exit_code(host, app) == 0
