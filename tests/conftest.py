"""Fixtures of all modules: the template as a release, projects rendered from it, an engine."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from copier import run_copy
from helpers.engine import Engine, docker
from helpers.package_index import Index, package_index
from helpers.programs import skip_or_fail
from helpers.project import Copy
from helpers.repository import GIT_SETTINGS, ROOT, git, release
from helpers.updates import UpdateMatrix


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests that share a fixture of a module in one process, so that it is made once.

    A fixture of the session is made by each process: it is cheap, or keeps what it makes for all.
    """
    for item in items:
        if isinstance(item, pytest.Function) and not item.get_closest_marker("xdist_group"):
            fixtures = item._fixtureinfo.name2fixturedefs
            shared = {name for name, made in fixtures.items() if made[-1].scope == "module"}
            indices = item.callspec.indices if hasattr(item, "callspec") else {}
            of_each = [f"{name}{indices[name]}" for name in sorted(shared & indices.keys())]
            if shared:
                group = " ".join([item.module.__name__, *of_each])
                item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session", autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the settings of the person who runs the tests out of them."""
    settings = tmp_path_factory.mktemp("settings") / "settings.yml"
    settings.write_text("{}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COPIER_SETTINGS_PATH", str(settings))
        for name, value in GIT_SETTINGS.items():
            patch.setenv(name, value)
        # uv's own environment is the only one that the projects' commands should see.
        patch.delenv("VIRTUAL_ENV", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _temporary_files_in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have Copier clone and render in memory where there is room for that."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    folder = tmp_path_factory.mktemp("temporary")
    if roomy:
        folder = Path(tempfile.mkdtemp(prefix="copier-uv-docker-", dir=memory))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        yield
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clone in which the working tree, committed or not, is the newest release."""
    return release(ROOT, tmp_path_factory.mktemp("template") / "clone", "v9999.0.0")


@pytest.fixture(scope="session")
def update_matrix(template: Path) -> Iterator[UpdateMatrix]:
    """Yield projects of each release to update."""
    with tempfile.TemporaryDirectory() as folder:
        git(template, "clone", "--quiet", str(template), f"{folder}/template")
        yield UpdateMatrix(Path(folder), Path(folder) / "template")


@pytest.fixture(scope="session")
def copy(template: Path) -> Copy:
    """Copy the template as a stranger does: no trust, defaults but for the answers given."""

    def copy(directory: Path, **answers: str) -> Path:
        run_copy(str(template), directory, data=answers, defaults=True, quiet=True, unsafe=False)
        return directory

    return copy


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Yield a private package index."""
    with package_index(tmp_path_factory.mktemp("index")) as served:
        yield served


@pytest.fixture(scope="session")
def engine(worker_id: str) -> Iterator[Engine]:
    """Yield a Docker engine; without one skip, or fail where REQUIRE_ENGINE=1."""
    if reason := Engine.unavailable():
        skip_or_fail(reason)
    engine = Engine(f"copier-uv-docker-{worker_id}")
    yield engine
    # What CI runs on is thrown away, with its images.
    if "CI" not in os.environ:
        engine.remove_images()


@pytest.fixture
def network(engine: Engine) -> Iterator[str]:
    """Yield a network of the test's own on the engine."""
    name = docker("network", "create", f"{engine.prefix}-{uuid4().hex}").stdout.strip()
    yield name
    docker("network", "rm", name)
