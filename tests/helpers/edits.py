"""What people edit in a project, as data: each edit, and how to see that it is where it was."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.files import append, change, loaded, sections
from helpers.project import DEPLOYMENT, PRODUCTION, WORKFLOW

APT = "RUN apt-get update && apt-get install --yes --no-install-recommends"
DIGEST = "sha256:" + "0" * 64
STAGING = "deploy/overlays/staging/kustomization.yaml"
SIDECAR = """\
        - name: proxy
          image: envoyproxy/envoy:v1.37.0
"""


@dataclass(frozen=True)
class Edit:
    """An edit of a project, its place, and the answers that it needs."""

    apply: Callable[[Path], None]
    is_there: Callable[[Path], bool]
    needs: dict[str, str] = field(default_factory=dict)
    # It takes away what another edit stands on.
    alone: bool = False


def stages(dockerfile: str) -> dict[str, str]:
    """Return the text of each stage by its name, with the comment that heads it."""
    return sections(dockerfile, r"(?:# --- |FROM \S+ AS )(\w+)")


def stage(project: Path, name: str) -> str:
    """Return the text of one stage of the Dockerfile."""
    return stages((project / "Dockerfile").read_text())[name]


def steps(project: Path, job: str) -> list[str]:
    """Return the names of the steps of a job, in order."""
    return [step["name"] for step in loaded(project, WORKFLOW)["jobs"][job]["steps"]]


def service(project: Path, name: str = "app") -> Any:
    """Return one service of compose.yaml."""
    return loaded(project, "compose.yaml")["services"][name]


def editing(path: str, pattern: str, replacement: str) -> Callable[[Path], None]:
    """Return the edit that replaces the one match of a pattern in a file."""
    return lambda project: change(project, path, pattern, replacement)


def appending(path: str, text: str) -> Callable[[Path], None]:
    """Return the edit that adds to the end of a file."""
    return lambda project: append(project, path, text)


def contains(path: str, text: str) -> Callable[[Path], bool]:
    """Return whether a file has a line."""
    return lambda project: text in (project / path).read_text().splitlines()


def contains_match(path: str, pattern: str) -> Callable[[Path], bool]:
    """Return whether a line of a file ends as a pattern says."""
    return lambda project: bool(re.search(pattern, (project / path).read_text(), re.MULTILINE))


def package(project: Path) -> Path:
    """Return the folder of the package, whatever its name."""
    (folder,) = (project / "src").iterdir()
    return folder


def copy_a_folder(project: Path) -> None:
    (project / "static").mkdir()
    (project / "static" / "logo.txt").write_text("a logo\n")
    change(project, "Dockerfile", r"(COPY --link --from=app .*\n)", r"\1COPY static /app/static\n")
    change(project, ".dockerignore", r"(!src\n)", r"\1!static\n")


def add_a_folder_beside_the_source(project: Path) -> None:
    (project / "pages").mkdir()
    (project / "pages" / "index.html").write_text("<p>a page</p>\n")
    source = r"^(COPY pyproject\.toml.* \./\nCOPY src src\n)"
    change(project, "Dockerfile", source, r"\1COPY pages /rootfs/app/pages\n")
    change(project, ".dockerignore", r"(!src\n)", r"\1!pages\n")


def add_a_service_and_a_port(project: Path) -> None:
    if "ports" in service(project):
        change(project, "compose.yaml", r'^( +- "127.*\n)', r'\1      - "127.0.0.1:9090:9090"\n')
    append(project, "compose.yaml", "\n  db:\n    image: postgres:18\n")


def change_the_runner_and_the_branches(project: Path) -> None:
    change(project, WORKFLOW, r"^(    branches: \[main)", r"\1, develop")
    change(project, WORKFLOW, r"^(  image:\n(?:.*\n)*?    runs-on: ).+", r"\1self-hosted")


def add_lines_to_the_small_files(project: Path) -> None:
    append(project, ".dockerignore", "**/*.sqlite\n")
    append(project, ".gitignore", "*.sqlite\n")
    change(project, "renovate.json", r"^(  .extends.*\n)", r'\1  "timezone": "UTC",\n')


def add_a_dependency(project: Path) -> None:
    change(project, "pyproject.toml", r"^(dependencies = \[\n)", r'\1    "stamina",\n')
    append(project, "uv.lock", '\n[[package]]\nname = "stamina"\nversion = "25.1.0"\n')


def delete_files(project: Path) -> None:
    (project / "compose.yaml").unlink()
    (project / ".gitattributes").unlink()
    next((project / "tests").glob("test_*.py")).unlink()
    (project / "README.md").unlink()


def rename_the_package(project: Path) -> None:
    name = package(project).name
    package(project).rename(project / "src" / "renamed")
    for file in [*project.glob("tests/*.py"), *project.glob("src/renamed/*.py")]:
        file.write_text(file.read_text().replace(name, "renamed"))
    change(project, "Dockerfile", r'^(CMD \["python", "-m", ").+("\])', r"\1renamed\2")


def add_files(project: Path) -> None:
    """Add text, bytes that are no text, and a name that needs quotes."""
    (project / "docs").mkdir()
    (project / "docs" / "a plan — für später.md").write_text("# A plan\n")
    (package(project) / "logo.png").write_bytes(bytes(range(256)) * 8)


def add_an_overlay(project: Path) -> None:
    """Add an environment, which is its owner's alone."""
    staging = project / STAGING
    staging.parent.mkdir()
    staging.write_text("namespace: staging\nresources:\n  - ../production\n")


def pods(project: Path) -> Any:
    """Return what the Deployment says of a pod."""
    return loaded(project, DEPLOYMENT)["spec"]["template"]["spec"]


def has_files(project: Path) -> bool:
    logo = package(project) / "logo.png"
    return (project / "docs" / "a plan — für später.md").exists() and len(logo.read_bytes()) == 2048


GITHUB = {"ci": "github"}
SLIM = {"image": "slim"}
CLUSTER = {"deploy": "kubernetes"}

EDITS: dict[str, Edit] = {
    "none": Edit(lambda project: None, lambda project: True),
    "packages in the image": Edit(
        editing("Dockerfile", r"^(FROM python AS runtime\n)", rf"\1{APT} libmagic1\n"),
        lambda project: "libmagic1" in stage(project, "runtime"),
        SLIM,
    ),
    "a compiler": Edit(
        editing("Dockerfile", r"^(FROM python AS build\n)", rf"\1{APT} g++\n"),
        lambda project: "g++" in stage(project, "build"),
    ),
    "an index in build": Edit(
        editing("Dockerfile", r"^(WORKDIR /src\n)", r"ENV UV_DEFAULT_INDEX=https://pypi.corp\n\1"),
        lambda project: "UV_DEFAULT_INDEX" in stage(project, "build"),
    ),
    "a secret mount": Edit(
        editing(
            "Dockerfile",
            r"^(    uv sync --locked .*\n)",
            r"    --mount=type=secret,id=netrc,target=/root/.netrc \\\n\1",
        ),
        lambda project: "id=netrc" in stage(project, "deps"),
    ),
    "a command in app": Edit(
        editing(
            "Dockerfile",
            r"^(FROM build AS app\n(?:.*\n)*?COPY src src\n)",
            r"\1RUN test -d src/*/\n",
        ),
        lambda project: "RUN test -d" in stage(project, "app"),
    ),
    "an environment variable": Edit(
        editing("Dockerfile", r"^(    PYTHONUNBUFFERED=1\n)", r"\1ENV TZ=Europe/Berlin\n"),
        lambda project: "ENV TZ=Europe/Berlin" in stage(project, "runtime"),
    ),
    "another copy": Edit(
        copy_a_folder,
        lambda project: (
            "COPY static" in stage(project, "runtime")
            and contains(".dockerignore", "!static")(project)
        ),
    ),
    "a folder beside the source": Edit(
        add_a_folder_beside_the_source,
        lambda project: (
            "COPY pages" in stage(project, "app") and contains(".dockerignore", "!pages")(project)
        ),
    ),
    "another command": Edit(
        editing("Dockerfile", r'^(CMD \["python", "-m", .+)"\]', r'\1", "--verbose"]'),
        lambda project: stage(project, "runtime").endswith('", "--verbose"]\n'),
        alone=True,
    ),
    "a build argument": Edit(
        editing(
            "Dockerfile", r"^(# Root owns the files)", r"ARG REVISION=none\nENV REV=$REVISION\n\n\1"
        ),
        lambda project: "ARG REVISION" in stage(project, "runtime"),
    ),
    "a label": Edit(
        editing(
            "Dockerfile",
            r"^(# Where it listens|# What it touches)",
            r'LABEL org.opencontainers.image.vendor="A"\n\n\1',
        ),
        lambda project: "LABEL" in stage(project, "runtime"),
    ),
    "another interval of the health check": Edit(
        editing("Dockerfile", r"^(HEALTHCHECK --interval=)30s", r"\g<1>10s"),
        lambda project: "--interval=10s" in stage(project, "runtime"),
    ),
    "another user": Edit(
        editing("Dockerfile", r"^USER .+", "USER 20000:20000"),
        lambda project: "USER 20000:20000" in stage(project, "runtime"),
    ),
    "a stage for tests": Edit(
        editing(
            "Dockerfile",
            r"^(# --- runtime)",
            r"# --- test: the tests, in what ships ---\nFROM build AS test\nCOPY tests tests\n\n\1",
        ),
        lambda project: "COPY tests tests" in stage(project, "test"),
        SLIM,
    ),
    "a digest of Python": Edit(
        editing("Dockerfile", r"^(FROM (?:\S+/)?python:\S+)", rf"\1@{DIGEST}"),
        lambda project: DIGEST in stage(project, "python"),
    ),
    "a service and a port": Edit(
        add_a_service_and_a_port,
        lambda project: (
            service(project, "db")["image"] == "postgres:18"
            # What takes jobs has no ports.
            and service(project).get("ports", ["", "127.0.0.1:9090:9090"])[1:]
            == ["127.0.0.1:9090:9090"]
        ),
    ),
    "a variable in compose": Edit(
        editing("compose.yaml", r"^(    environment:\n)", r"\1      CACHE_URL: redis://cache\n"),
        lambda project: "CACHE_URL" in service(project)["environment"],
    ),
    "a job": Edit(
        appending(
            WORKFLOW,
            "\n  docs:\n    runs-on: ubuntu-24.04\n"
            "    steps:\n      - name: Say\n        run: echo docs\n",
        ),
        lambda project: steps(project, "docs") == ["Say"],
        GITHUB,
    ),
    "a step": Edit(
        editing(
            WORKFLOW,
            r"^(      - name: Tests\n)",
            r"      - name: Audit\n        run: uv audit\n\n\1",
        ),
        lambda project: (
            steps(project, "check")[-2:] == ["Audit", "Tests"]
            and "Audit" not in steps(project, "image")
        ),
        GITHUB,
    ),
    "another runner and branch": Edit(
        change_the_runner_and_the_branches,
        lambda project: (
            loaded(project, WORKFLOW)["jobs"]["image"]["runs-on"] == "self-hosted"
            and loaded(project, WORKFLOW)["on"]["push"]["branches"] == ["main", "develop"]
        ),
        GITHUB,
    ),
    "lines in the small files": Edit(
        add_lines_to_the_small_files,
        lambda project: (
            contains(".dockerignore", "**/*.sqlite")(project)
            and contains(".gitignore", "*.sqlite")(project)
            and loaded(project, "renovate.json")["timezone"] == "UTC"
        ),
    ),
    "a section in .editorconfig": Edit(
        appending(".editorconfig", "\n[Makefile]\nindent_style = tab\n"),
        contains(".editorconfig", "[Makefile]"),
    ),
    "a dependency": Edit(add_a_dependency, contains("pyproject.toml", '    "stamina",')),
    "files of their own": Edit(add_files, has_files),
    "deleted files": Edit(
        delete_files,
        lambda project: (
            not any(
                (project / name).exists()
                for name in ("compose.yaml", ".gitattributes", "README.md")
            )
        ),
        alone=True,
    ),
    "another name of the package": Edit(
        rename_the_package,
        lambda project: (
            package(project).name == "renamed"
            and 'CMD ["python", "-m", "renamed"]' in stage(project, "runtime")
        ),
    ),
    "a job for GitLab": Edit(
        appending(".gitlab-ci.yml", "\ndocs:\n  script:\n    - echo docs\n"),
        lambda project: loaded(project, ".gitlab-ci.yml")["docs"] == {"script": ["echo docs"]},
        {"ci": "gitlab"},
    ),
    "more replicas": Edit(
        editing(PRODUCTION, r"^( +(?:value|count): )3$", r"\g<1>5"),
        contains_match(PRODUCTION, r"(value|count): 5$"),
        CLUSTER,
    ),
    "more memory": Edit(
        editing(
            DEPLOYMENT,
            r"memory: 256Mi((?:\n.*)+?)memory: 256Mi",
            r"memory: 512Mi\1memory: 512Mi",
        ),
        lambda project: (
            pods(project)["containers"][0]["resources"]["requests"]["memory"]
            == pods(project)["containers"][0]["resources"]["limits"]["memory"]
            == "512Mi"
        ),
        CLUSTER,
    ),
    "another variable of a container": Edit(
        editing(
            DEPLOYMENT,
            r"^( +)(resources:\n)",
            r"\1env:\n\1  - name: TZ\n\1    value: Europe/Berlin\n\1\2",
        ),
        lambda project: pods(project)["containers"][0]["env"][0]["name"] == "TZ",
        CLUSTER,
    ),
    "a setting of production": Edit(
        editing(PRODUCTION, r"^( +)(- LOG_LEVEL=INFO\n)", r"\1\2\1- CONCURRENCY=20\n"),
        lambda project: (
            "CONCURRENCY=20" in loaded(project, PRODUCTION)["configMapGenerator"][0]["literals"]
        ),
        CLUSTER,
    ),
    "a sidecar": Edit(
        editing(DEPLOYMENT, r"^(      volumes:\n)", rf"{SIDECAR}\1"),
        lambda project: [c["name"] for c in pods(project)["containers"]] == ["app", "proxy"],
        CLUSTER,
    ),
    "another overlay": Edit(
        add_an_overlay,
        lambda project: loaded(project, STAGING)["resources"] == ["../production"],
        CLUSTER,
    ),
    "an object of their own": Edit(
        editing(
            "deploy/base/kustomization.yaml",
            r"^(  - serviceaccount.yaml\n)",
            r"\1  - ingress.yaml\n",
        ),
        lambda project: (
            loaded(project, "deploy/base/kustomization.yaml")["resources"][-1] == "ingress.yaml"
        ),
        CLUSTER,
    ),
}


# The answers that the edits need, where a project was asked nothing.
DEFAULTS = GITHUB | SLIM


def fitting(answers: dict[str, str]) -> dict[str, Edit]:
    """Return the edits that people can make in a project of these answers."""
    known = DEFAULTS | answers
    return {name: edit for name, edit in EDITS.items() if edit.needs.items() <= known.items()}


def together(answers: dict[str, str]) -> list[Edit]:
    """Return all edits that can be in one project of these answers at the same time."""
    return [edit for edit in fitting(answers).values() if not edit.alone]
