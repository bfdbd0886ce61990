"""A generated project is green by its own tools, on the Python that runs these tests."""

import json
from pathlib import Path

import pytest
from helpers.project import PYTHON, Copy, uv
from helpers.repository import ROOT, commit, git
from helpers.template import PINS, SERVICES, extension

pytestmark = pytest.mark.project


@pytest.fixture(scope="module", params=SERVICES, ids=lambda param: "-".join(param.values()))
def project(
    request: pytest.FixtureRequest, copy: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a project of each service that is committed as generated and has its environment."""
    project = tmp_path_factory.mktemp("project") / "-".join(request.param.values())
    copy(project, python_version=PYTHON, **request.param)
    commit(project)
    uv(project, "sync", "--locked", "--quiet")
    return project


@pytest.mark.parametrize(
    "check", ["ruff format --check", "ruff check", "mypy", "pytest"], ids=lambda check: check
)
def test_own_checks_pass_and_leave_no_file(project: Path, check: str) -> None:
    uv(project, "run", "--locked", *check.split())
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("title", ["Aaa", "Orders API", "Zzz"])
def test_lock_is_what_uv_would_write(copy: Copy, tmp_path: Path, title: str) -> None:
    """The name of the project sorts before, between and after those of its dependencies."""
    project = copy(tmp_path / "project", project_name=title, python_version=PYTHON)
    uv(project, "lock", "--check")
    rendered = (project / "uv.lock").read_text()
    uv(project, "lock")
    if PYTHON == "3.11":
        # It was resolved for this one, so that here not even its form may differ.
        assert (project / "uv.lock").read_text() == rendered


def test_scheduled_update_has_its_copier_by_the_date_of_what_that_needs(tmp_path: Path) -> None:
    """Who moves the one pin has to move the other."""
    copier = f"copier@{PINS['copier']}"
    version = uv(tmp_path, "tool", "run", f"--exclude-newer={PINS['copier_before']}", copier, "-v")
    assert version.split()[-1] == PINS["copier"]


def test_no_package_can_hide_a_module_of_a_dependency(project: Path) -> None:
    """Each name that the environment can import is taken, so that no package can have it."""
    script = """
import importlib.metadata, json
print(json.dumps(sorted(importlib.metadata.packages_distributions())))
"""
    modules = set(json.loads(uv(project, "run", "--locked", "python", "-c", script)))
    framework, server = project.name.split("-")
    lock = (ROOT / "extensions" / framework / f"{server}.lock").read_text()
    locked = {
        line.split('"')[1].replace("-", "_")
        for line in lock.splitlines()
        if line.startswith("name = ")
    }
    candidates = {name for name in modules if name.isidentifier() and name[0] != "_"}
    assert candidates - {"my_service"} <= locked | set(extension(framework)["import_names"])
