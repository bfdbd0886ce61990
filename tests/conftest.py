"""What the tests share: the template as a release, projects rendered from it, an engine."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from copier import _template, run_copy
from engine import Engine
from jinja2 import Environment
from package_index import Index, package_index

if TYPE_CHECKING:
    from updates import Workshop

ROOT = Path(__file__).resolve().parents[1]

# Of git's settings none is the person's; and no commit looks for something to tidy up.
GIT_SETTINGS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "maintenance.auto",
    "GIT_CONFIG_VALUE_0": "false",
    **{f"GIT_{role}_NAME": "Test" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "test@example.com" for role in ("AUTHOR", "COMMITTER")},
}
GIT_ENV = os.environ | GIT_SETTINGS

Copy = Callable[..., Path]


# Fixtures of a module that take long to make: projects, their images.
PARAMETERS = {"rendered", "project", "image", "service"}
ONCE = {"distroless", "validator", "clusters"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one process run all tests of a shared fixture, so that it is made once."""
    for item in items:
        if isinstance(item, pytest.Function):
            indices = item.callspec.indices if hasattr(item, "callspec") else {}
            made = [f"{name}{indices[name]}" for name in sorted(PARAMETERS) if name in indices]
            if made or ONCE & {*item.fixturenames}:
                group = " ".join([item.module.__name__, *made])
                item.add_marker(pytest.mark.xdist_group(group))


def git(directory: Path, *arguments: str) -> str:
    """Run git in a directory and give what it prints; a failure raises CalledProcessError."""
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=directory, env=GIT_ENV, check=True, capture_output=True, text=True
    ).stdout


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write files below a folder and return it."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def commit(directory: Path, message: str = "Work") -> None:
    """Commit everything in a directory, which becomes a repository if it is none."""
    if not (directory / ".git").exists():
        git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "--message", message)


def release(tree: Path, directory: Path, version: str) -> Path:
    """Clone a checkout, lay its working tree over it, commit, and tag that as a release.

    Copier takes the last tag of a local template, not the working tree; this makes them the same.
    """
    git(tree, "clone", "--quiet", "--no-local", str(tree), str(directory))
    git(directory, "rm", "-r", "--quiet", "--ignore-unmatch", ".")
    listed = git(tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (tree / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, directory / name)
    commit(directory, version)
    git(directory, "tag", version)
    for name, made_of in releases().items():
        git(directory, "tag", "--force", name, made_of)
    return directory


def run_tests(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a copy of this repository, in one process that leaves nothing there."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["-n0", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
        command = [sys.executable, "-m", "pytest", *options, *arguments]
        return subprocess.run(command, cwd=tree, capture_output=True, text=True)


@functools.cache
def releases() -> dict[str, str]:
    """Give the commit of each release by its tag, the oldest first.

    One that no commit holds, as in a shallow clone, raises LookupError.
    """
    named = tomllib.loads((ROOT / "releases.toml").read_text())["releases"]
    log = git(ROOT, "log", "--format=%T %H").splitlines()
    commits = dict(line.split() for line in log)
    if lost := {version: tree for version, tree in named.items() if tree not in commits}:
        raise LookupError(f"no commit of this branch has the content of {lost}; is all of it here?")
    return {f"v{version}": commits[tree] for version, tree in named.items()}


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


def cloned_once(clone: Callable[[str, str], str]) -> Callable[..., str]:
    """Give Copier's clone of a template as one that asks git once for each tag."""
    clone = functools.cache(clone)

    def copied(url: str, ref: str, location: str | None = None) -> str:
        there = location or tempfile.mkdtemp()
        shutil.copytree(
            clone(url, ref), there, copy_function=os.link, symlinks=True, dirs_exist_ok=True
        )
        return there

    return copied


def compiled_once(compile: Callable[..., Any]) -> Callable[..., Any]:
    """Give Jinja's compile as one that keeps the code of a template for all environments alike."""
    kept: dict[object, Any] = {}

    def compiled(environment: Environment, source: str, name: str | None = None, *rest: Any) -> Any:
        # Copier's part of Jinja takes notes of what it parses.
        environment.parse(source, name)
        key = type(environment), environment.lexer, source, name
        if key not in kept:
            kept[key] = compile(environment, source, name, *rest)
        return kept[key]

    return compiled


def quicken(patch: pytest.MonkeyPatch) -> None:
    """Have Copier clone and compile each release of a template once in this process."""
    patch.setattr(_template, "clone", cloned_once(vars(_template)["clone"]))
    patch.setattr(Environment, "compile", compiled_once(Environment.compile))


@pytest.fixture(scope="session", autouse=True)
def _quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have Copier clone and compile the template once, in memory where there is room for that.

    An update clones and compiles the template five times, and writes the project three times;
    without all that it takes a quarter of its time.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    folder = Path(tempfile.mkdtemp(dir=memory)) if roomy else tmp_path_factory.mktemp("quick")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        quicken(patch)
        yield
    shutil.rmtree(folder)


def without(reason: str) -> NoReturn:
    """Skip a test that needs what is not here, or fail it where REQUIRE_ENGINE=1."""
    if os.environ.get("REQUIRE_ENGINE") == "1":
        pytest.fail(f"REQUIRE_ENGINE=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a clone in which the working tree, committed or not, is the newest release."""
    return release(ROOT, tmp_path_factory.mktemp("template") / "clone", "v9999.0.0")


@pytest.fixture(scope="session")
def workshop(template: Path) -> "Iterator[Workshop]":
    """Give projects of each release to update."""
    from updates import Workshop

    with tempfile.TemporaryDirectory() as folder:
        git(template, "clone", "--quiet", str(template), f"{folder}/template")
        yield Workshop(Path(folder), Path(folder) / "template")


@pytest.fixture(scope="session")
def copy(template: Path) -> Copy:
    """Copy the template as a stranger does: no trust, defaults but for the answers given."""

    def copy(directory: Path, **answers: str) -> Path:
        run_copy(str(template), directory, data=answers, defaults=True, quiet=True, unsafe=False)
        return directory

    return copy


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Give a private package index."""
    with package_index(tmp_path_factory.mktemp("index")) as served:
        yield served


@pytest.fixture(scope="session")
def engine(worker_id: str) -> Iterator[Engine]:
    """Give a Docker engine; without one skip, or fail where REQUIRE_ENGINE=1."""
    if reason := Engine.unavailable():
        without(reason)
    engine = Engine(f"copier-uv-docker-{worker_id}")
    yield engine
    # What CI runs on is thrown away, with its images.
    if "CI" not in os.environ:
        engine.remove_images()
