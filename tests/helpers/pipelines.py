"""The pipelines of a generated project, run by programs that read them as their hosts do."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import yaml

from helpers.engine import Engine, docker, uncompressed
from helpers.listeners import free_port, listening
from helpers.programs import run
from helpers.project import WORKFLOW
from helpers.repository import ROOT, commit, git

# The versions that run GitLab's pipeline; Node because it needs a newer one than Debian has.
NPM_PACKAGES = ("gitlab-ci-local@4.75.1", "node@24.21.0")

SCANNER = "docker/buildkit-syft-scanner:stable-1"
MIRROR_PASSWORD = "the-planted-mirror-password"

# What only the internet can do, by how the line begins; docs/delivery.md names the same.
NOT_RUN = {
    "docker compose run --rm scan": "Trivy's image and its list of vulnerabilities are downloaded",
    "cosign": "Sigstore's certificate authority and log are public services",
    "apk add": "cosign comes from Alpine's packages, into the image of GitLab's jobs",
}
# What stands for an action: the tools are there, and a registry on loopback asks for no name.
ACTIONS = {
    "actions/checkout": "true",
    "astral-sh/setup-uv": "uv --version",
    "depot/setup-action": 'echo "$DEPOT" >>"$GITHUB_PATH"',
    "docker/login-action": "true",
    "docker/setup-buildx-action": "docker buildx version",
    "sigstore/cosign-installer": "true",
}
# Depot's command has buildx's options, so that its builders can be this machine.
DEPOT = '#!/bin/sh\nexec docker buildx "$@"\n'
# What a registry may answer with: an image of one platform, or the index of several.
MANIFESTS = [f"application/vnd.oci.image.{kind}.v1+json" for kind in ("index", "manifest")]


@dataclass
class Registry:
    """A registry on loopback, and the folder in which it keeps everything."""

    address: str
    folder: Path

    def ask(self, path: str) -> Any:
        """Return the JSON behind a path of the registry's interface."""
        with urllib.request.urlopen(f"http://{self.address}/v2/{path}", timeout=10) as response:
            return json.load(response)

    def images(self) -> list[str]:
        """Return the names of all images that were pushed."""
        return list(self.ask("_catalog")["repositories"])

    def contents(self) -> Iterator[bytes]:
        """Yield all that it keeps, uncompressed."""
        for path in self.folder.rglob("data"):
            yield uncompressed(path.read_bytes())

    def digests(self, image: str) -> dict[str, str]:
        """Return the digest behind each tag of an image."""
        digests = {}
        for tag in self.ask(f"{image}/tags/list")["tags"]:
            request = urllib.request.Request(
                f"http://{self.address}/v2/{image}/manifests/{tag}",
                headers={"Accept": ", ".join(MANIFESTS)},
            )
            with urllib.request.urlopen(request, timeout=10) as response:
                digests[tag] = response.headers["Docker-Content-Digest"]
        return digests


@contextlib.contextmanager
def registry(folder: Path, login: tuple[str, str] | None = None) -> Iterator[Registry]:
    """Run a registry that keeps its images in a folder, until the end of the block.

    Args:
        folder: where its images, its settings and its log are.
        login: the user and the password without which it answers nothing.
    """
    port = free_port()
    address = f"localhost:{port}"
    settings: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": address},
    }
    if login:
        users = folder / "users"
        users.write_bytes(
            login[0].encode() + b":" + bcrypt.hashpw(login[1].encode(), bcrypt.gensalt(4))
        )
        settings["auth"] = {"htpasswd": {"realm": "mirror", "path": str(users)}}
    (folder / "registry.yml").write_text(yaml.safe_dump(settings))
    command = ["docker-registry", "serve", str(folder / "registry.yml")]
    with listening(command, port, folder / "registry.log"):
        try:
            yield Registry(address, folder / "images")
        finally:
            forget(address)


@contextlib.contextmanager
def scanner(engine: Engine, users: Path, process: str) -> Iterator[None]:
    """Pull BuildKit's scanner for SBOMs, or tag what stands for it until the end of the block.

    Args:
        engine: where it is needed.
        users: a folder of the run, with a file for each process that uses the stand-in.
        process: the name of this one.
    """
    label = docker("image", "inspect", "--format={{.Config.Labels}}", SCANNER, check=False)
    pulled = label.returncode == 0 or not docker("pull", "--quiet", SCANNER, check=False).returncode
    if pulled and "copier-uv-docker" not in label.stdout:
        yield
        return
    users.mkdir(exist_ok=True)
    with locked(users):
        (users / process).touch()
        docker("tag", engine.build(ROOT / "tests" / "scanner", "scanner"), SCANNER)
    try:
        yield
    finally:
        with locked(users):
            (users / process).unlink()
            if not [*users.iterdir()]:
                docker("image", "rm", SCANNER)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep the other processes that lock a folder out of the block."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def forget(address: str) -> None:
    """Remove the names that images of this engine have in a registry; other names of them stay."""
    name = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"
    of_registry = [f"--filter=reference={address}/{path}" for path in ("*/*", "*/*/*")]
    listed = docker("image", "ls", "--digests", f"--format={name}", *of_registry).stdout
    for tagged, by_digest in map(str.split, listed.splitlines()):
        docker("image", "rm", by_digest if tagged.endswith(":<none>") else tagged, check=False)


def own_login(folder: Path) -> Path:
    """Return a folder with a copy of Docker's settings, so that a login there is none outside."""
    settings = folder / "docker"
    mine = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    if not settings.exists() and mine.exists():
        ignored = shutil.ignore_patterns("buildx", "desktop")
        shutil.copytree(mine, settings, symlinks=True, ignore=ignored)
    settings.mkdir(exist_ok=True)
    return settings


def push_to_mirror(prefix: str, image: str, public: str) -> None:
    """Push an image of this engine to a mirror, as the public one of a name."""
    mirrored = f"{prefix}/{public.removeprefix('ghcr.io/')}"
    docker("tag", image, mirrored)
    try:
        docker("push", mirrored)
    finally:
        docker("image", "rm", mirrored)


@contextlib.contextmanager
def mirror(folder: Path, patch: pytest.MonkeyPatch, images: list[str]) -> Iterator[str]:
    """Run a registry with a login that has images of this engine; log in, and yield its prefix."""
    user = "mirror-user"
    patch.setenv("DOCKER_CONFIG", str(own_login(folder)))
    with registry(folder, (user, MIRROR_PASSWORD)) as served:
        # A Podman in a tree of its own need not know the name localhost.
        address = served.address.replace("localhost", "127.0.0.1")
        docker("login", f"--username={user}", f"--password={MIRROR_PASSWORD}", address)
        prefix = f"{address}/mirror"
        for public in images:
            push_to_mirror(prefix, public, public)
        yield prefix


def npm_tools() -> Path:
    """Return the folder with the commands of NPM_PACKAGES, installed there if they are not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "copier-uv-docker"
    folder = cache / "-".join(NPM_PACKAGES).replace("@", "-")
    if not folder.exists():
        fresh = cache / f"npm-{os.getpid()}"
        install = ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(fresh)]
        run(*install, *NPM_PACKAGES)
        # Another process may have been faster.
        with contextlib.suppress(OSError):
            fresh.rename(folder)
    return folder / "node_modules" / ".bin"


@dataclass
class Run:
    """What a pipeline did: the result of each job by its name, the step that failed, the log."""

    jobs: dict[str, bool]
    failed: str | None
    log: str


@dataclass
class Host:
    """One of the hosts, and what it takes to run its pipeline on this machine."""

    name: str
    run: Callable[["Host", Path, str], Run]
    folder: Path
    registry: Registry
    # What the settings of the repository hold for its pipeline.
    settings: dict[str, str] = field(default_factory=dict)

    def image(self, project: Path) -> str:
        """Return the name under which a project's image is in the registry."""
        return f"acme/{project.name}"

    def environment(self, project: Path) -> dict[str, str]:
        """Return what a runner would set: a login of its own, this Python, a name for compose."""
        return {
            "COMPOSE_PROJECT_NAME": project.name,
            "DEPOT": str(self.folder / "depot"),
            "DOCKER_CONFIG": str(own_login(self.folder)),
            "UV_PYTHON": sys.executable,
        }

    def clean(self, project: Path) -> None:
        """Remove the containers and images that a run left; the build cache stays."""
        docker("compose", f"--project-name={project.name}", "down", "--volumes", check=False)
        for name in (f"{self.registry.address}/{self.image(project)}", f"*/{self.image(project)}"):
            listed = docker("image", "ls", "--quiet", "--no-trunc", f"--filter=reference={name}*")
            if listed.stdout:
                docker("image", "rm", "--force", *set(listed.stdout.split()), check=False)


def as_here(host: Host, project: Path, lines: list[str]) -> list[str]:
    """Return the lines of a script as they run here: those of NOT_RUN are printed instead.

    A build may use this machine's network, on which the private index is. It pulls its base images
    where they come from the host's own registry; the public ones are out of reach.
    """
    options = "--allow=network.host"
    # A project may be a folder of the repository.
    (dockerfile,) = project.rglob("Dockerfile")
    if host.registry.address not in dockerfile.read_text():
        options += " --set=*.pull=false"
    printed = [f"echo {line}" if line.startswith(tuple(NOT_RUN)) else line for line in lines]
    return [line.replace(" bake ", f" bake {options} ") for line in printed]


def is_adapted(project: Path) -> bool:
    """Return whether a project's pipeline was adapted to this machine by an earlier run."""
    return bool(git(project, "remote"))


def adapt_github(host: Host, project: Path) -> None:
    """Commit the workflow of a project as it runs here, in a repository with an address."""
    path = project / WORKFLOW
    text = path.read_text().replace("ghcr.io", host.registry.address)
    workflow = yaml.safe_load(text)
    # YAML reads the key `on` as true.
    workflow["on"] = workflow.pop(True)
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if "run" in step:
                kept = as_here(host, project, step["run"].splitlines())
                # There is no arm64 on this machine, and nothing of it to join.
                step["run"] = "\n".join(kept).replace(' "$IMAGE@$ARM64"', "")
    path.write_text(yaml.safe_dump(workflow, sort_keys=False))
    git(project, "remote", "add", "origin", f"https://github.com/{host.image(project)}")
    commit(project, "As it runs here")


def run_github(host: Host, project: Path, event: str, *options: str) -> Run:
    """Run the workflow of a project with act, on this machine and for its architecture alone."""
    if not is_adapted(project):
        adapt_github(host, project)
    jobs_of = yaml.safe_load((project / WORKFLOW).read_text())["jobs"].values()
    used = {step["uses"] for job in jobs_of for step in job["steps"] if "uses" in step}
    stand_ins = []
    for use in used:
        name = use.partition("@")[0]
        folder = host.folder / "actions" / name
        folder.mkdir(parents=True, exist_ok=True)
        step = {"shell": "bash", "run": ACTIONS[name]}
        action = {"name": name, "runs": {"using": "composite", "steps": [step]}}
        (folder / "action.yml").write_text(yaml.safe_dump(action))
        stand_ins.append(f"--local-repository={use}={folder}")
    (host.folder / "depot").mkdir(exist_ok=True)
    (host.folder / "depot" / "depot").write_text(DEPOT)
    (host.folder / "depot" / "depot").chmod(0o755)
    fork = {"pull_request": {"head": {"ref": "fix", "repo": {"fork": True}}}}
    event_file = host.folder / "event.json"
    event_file.write_text(json.dumps(fork if event == "pull_request" else {}))

    # On a schedule the project has another workflow, too.
    act = ["act", event, f"--workflows={WORKFLOW}", *options, "--json", "--no-cache-server"]
    act += ["--matrix=arch:amd64", *stand_ins]
    act += [f"--platform={name}=-self-hosted" for name in ("ubuntu-24.04", "ubuntu-24.04-arm")]
    act += [f"--eventpath={event_file}", "--secret=GITHUB_TOKEN=none"]
    act += [f"--env={name}={value}" for name, value in host.environment(project).items()]
    for name, value in host.settings.items():
        act += [f"--secret={name}={value}", f"--var={name}={value}"]
    cache = {"XDG_CACHE_HOME": str(host.folder / "cache")}
    done = run(*act, cwd=project, env=cache, check=False)

    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    jobs = {r["jobID"]: r["jobResult"] == "success" for r in records if "jobResult" in r}
    failures = [r["step"] for r in records if r.get("stepResult") == "failure"]
    log = "".join(record["msg"].rstrip() + "\n" for record in records) + done.stderr
    assert (done.returncode == 0) == all(jobs.values()), log
    return Run(jobs, failures[0] if failures else None, log)


def adapt_gitlab(host: Host, project: Path) -> None:
    """Commit the pipeline of a project as it runs here, in a repository with an address."""
    path = project / ".gitlab-ci.yml"
    pipeline = yaml.safe_load(path.read_text())
    # The engine of this machine serves the jobs, in place of a service beside each.
    del pipeline[".docker"]["services"]
    for job in pipeline.values():
        if "script" in job:
            kept = as_here(host, project, job["script"])
            job["script"] = [line.replace(' "$IMAGE@$DIGEST_arm64"', "") for line in kept]
        if "parallel" in job:
            job["parallel"] = {"matrix": [{"ARCH": ["amd64"]}]}
    path.write_text(yaml.safe_dump(pipeline, sort_keys=False))
    git(project, "remote", "add", "origin", f"https://gitlab.com/{host.image(project)}.git")
    commit(project, "As it runs here")


def run_gitlab(host: Host, project: Path, event: str) -> Run:
    """Run the pipeline of a project with gitlab-ci-local, in shells of this machine."""
    if not is_adapted(project):
        adapt_gitlab(host, project)
    # Its own pip, into which the pipeline installs uv.
    python = host.folder / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", python)
    npm = npm_tools()
    variables = {
        "CI_REGISTRY": host.registry.address,
        "CI_REGISTRY_IMAGE": f"{host.registry.address}/{host.image(project)}",
        "CI_REGISTRY_USER": "runner",
        "CI_REGISTRY_PASSWORD": "none",
        "CI_PIPELINE_SOURCE": {"pull_request": "merge_request_event"}.get(event, event),
        **host.settings,
    }
    if event == "pull_request":
        variables |= {"CI_PROJECT_ID": "1", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1"}
    command = [str(npm / "gitlab-ci-local"), "--force-shell-executor", f"--home={host.folder}"]
    for name, value in variables.items():
        command += ["--variable", f"{name}={value}"]
    path = os.pathsep.join([str(npm), str(python / "bin"), os.environ["PATH"]])
    environment = host.environment(project) | {"PATH": path}
    done = run(*command, cwd=project, env=environment, check=False)

    log = done.stdout + done.stderr
    results = re.findall(r"^ (PASS|FAIL)  ([a-z-]+)", log, re.MULTILINE)
    jobs = {job: result == "PASS" for result, job in results}
    assert (done.returncode == 0) == all(jobs.values()), log
    failed = next((job for job, passed in jobs.items() if not passed), None)
    own = "\n".join(line for line in log.splitlines() if line.startswith(f"{failed}"))
    own, _, _ = own.partition("Running after script")
    commands = re.findall(r" \$ (.+)$", own, re.MULTILINE)
    return Run(jobs, commands[-1] if commands else None, log)


def missing_tools() -> list[str]:
    """Return the programs that the pipelines need here and that are not installed."""
    return [
        t for t in ("act", "docker-registry", "npm", "rsync", "zstd") if shutil.which(t) is None
    ]
