"""What a project gives to a cluster, as `deploy/render.sh` renders it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from helpers.programs import run

DIGEST = "sha256:" + "1" * 64
IMAGE = f"registry.example.com/acme/orders@{DIGEST}"
CLUSTER = {"deploy": "kubernetes"}
Object = dict[str, Any]


@dataclass
class Cluster:
    """What one project gives to a cluster."""

    project: Path
    rendered: Path

    @cached_property
    def objects(self) -> list[Object]:
        """All objects, in order."""
        return list(yaml.safe_load_all(self.rendered.read_text()))

    def of(self, kind: str) -> list[Object]:
        """Return the objects of a kind."""
        return [found for found in self.objects if found["kind"] == kind]

    @property
    def deployment(self) -> Object:
        """The one Deployment."""
        (found,) = self.of("Deployment")
        return found

    @property
    def pods(self) -> Iterator[Object]:
        """The template of each kind of pod."""
        for found in self.objects:
            if found["kind"] in {"Deployment", "Job"}:
                yield found["spec"]["template"]

    @property
    def app(self) -> Object:
        """The container of the service."""
        (found,) = self.deployment["spec"]["template"]["spec"]["containers"]
        return dict(found)

    @property
    def port(self) -> int | None:
        """Where the image listens, if it does."""
        found = re.search(r"^ENV PORT=(\d+)$", (self.project / "Dockerfile").read_text(), re.M)
        return int(found[1]) if found else None


def render(project: Path, overlay: str = "production", image: str = IMAGE) -> str:
    """Return what deploy/render.sh prints; a failure raises AssertionError."""
    return run("sh", "deploy/render.sh", overlay, image, cwd=project).stdout
