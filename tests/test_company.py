"""A build inside a company: its registry, git servers, indexes and proxy; no secret stays."""

import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.engine import Engine, docker, secret_options, uncompressed
from helpers.files import write
from helpers.git_server import TOKEN, USER, GitServer, https_server, ssh_server
from helpers.image import BASES, assert_no_trace, traces
from helpers.listeners import PROXY_PASSWORD, proxy
from helpers.package_index import PASSWORD as INDEX_PASSWORD
from helpers.package_index import USER as INDEX_USER
from helpers.package_index import Index, package_index
from helpers.pipelines import MIRROR_PASSWORD, mirror
from helpers.project import PYTHON, Copy
from helpers.repository import commit
from helpers.shapes import resolve

pytestmark = pytest.mark.image

IMAGES = [*BASES, "docker/dockerfile:1"]
NO_GIT = "import shutil; assert not shutil.which('git') and not shutil.which('ssh')"
# What uv resolves here with a build backend and a dependency, all of it from one index.
PACKAGE = {
    "pyproject.toml": """
[project]
name = "orders"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["acme-greeting"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[[tool.uv.index]]
name = "acme-pypi"
url = "{url}"
default = true
""",
    "src/orders/__init__.py": "",
    "src/orders/__main__.py": "import acme_greeting\n\nprint(acme_greeting.HELLO)\n",
}


@pytest.fixture(scope="module", params=["https", "ssh"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, index: Index
) -> Iterator[GitServer]:
    """Yield a git server whose certificate is of the authority of the index."""
    folder = tmp_path_factory.mktemp("git")
    with ExitStack() as stack:
        if request.param == "ssh":
            yield stack.enter_context(ssh_server(folder))
        else:
            yield stack.enter_context(https_server(folder, index.signed_by, index.trusted()))


def test_package_of_a_private_repository_arrives_and_git_does_not(
    engine: Engine, copy: Copy, index: Index, tmp_path: Path, server: GitServer
) -> None:
    company = "company" if server.answer.startswith("https") else "public"
    project = copy(
        tmp_path / "project",
        python_version=PYTHON,
        git_server=server.answer,
        certificates=company,
    )
    server.add_its_package(project)
    certificates = {"CA_BUNDLE": index.authority} if company == "company" else {}
    options = ["--network=host", *secret_options(tmp_path, certificates), *server.options(tmp_path)]
    image = engine.build(project, f"git-{company}", *options)
    script = f"import acme_private; {NO_GIT}; print(acme_private.HELLO)"
    assert engine.run(image, "python", "-c", script).stdout == "hello from git\n"
    again = engine.build(project, f"git-{company}-again", "--no-cache", *options)
    assert engine.layers(again) == engine.layers(image)
    assert_no_trace(traces(certificates, server.secrets), engine, image)


def test_wrong_login_of_git_fails_the_build_and_is_not_in_the_log(
    engine: Engine, copy: Copy, index: Index, tmp_path: Path
) -> None:
    with https_server(tmp_path, index.signed_by, index.trusted()) as server:
        answers = {"git_server": server.answer, "certificates": "company"}
        project = copy(tmp_path / "project", python_version=PYTHON, **answers)
        server.add_its_package(project)
        wrong = {"GIT_USERNAME": USER, "GIT_PASSWORD": f"not-{TOKEN}", "CA_BUNDLE": index.authority}
        with pytest.raises(AssertionError, match="Authentication failed") as error:
            engine.build(project, "git-wrong", "--network=host", *secret_options(tmp_path, wrong))
    assert TOKEN not in str(error.value)


def test_git_server_with_another_key_than_the_known_one_is_refused(
    engine: Engine, copy: Copy, tmp_path: Path
) -> None:
    with ssh_server(tmp_path) as server:
        project = copy(tmp_path / "project", python_version=PYTHON, git_server=server.answer)
        server.add_its_package(project)
        host = server.secrets["SSH_KNOWN_HOSTS"].split()[0]
        # A key, but not the server's.
        known = {"SSH_KNOWN_HOSTS": f"{host} {(tmp_path / 'user.pub').read_text()}"}
        options = ["--network=host", *replace(server, secrets=known).options(tmp_path)]
        with pytest.raises(AssertionError, match="Host key verification failed"):
            engine.build(project, "git-other-key", *options)


def test_default_index_with_a_login_serves_the_build_backend_too(
    engine: Engine, copy: Copy, tmp_path: Path
) -> None:
    with package_index(tmp_path, everything=True) as index:
        files = {name: text.replace("{url}", index.url) for name, text in PACKAGE.items()}
        project = write(tmp_path / "project", files)
        login = {
            "UV_INDEX_ACME_PYPI_USERNAME": INDEX_USER,
            "UV_INDEX_ACME_PYPI_PASSWORD": INDEX_PASSWORD,
        }
        resolve(project, **index.environment(), **login)
        commit(project)
        answers = {"framework": "existing", "index_names": "acme-pypi", "certificates": "company"}
        command = ["python", "-m", "orders"]
        copy(project, command=command, port="", health_path="", python_version=PYTHON, **answers)
        secrets = login | {"CA_BUNDLE": index.authority}
        image = engine.build(
            project, "default-index", "--network=host", *secret_options(tmp_path, secrets)
        )
        assert engine.run(image).stdout == "hello from the index\n"
        assert_no_trace(traces(secrets), engine, image)


def test_images_come_from_the_registry_that_was_named(
    engine: Engine, copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a login; the layers are those of the public images."""
    plain = copy(tmp_path / "plain", python_version=PYTHON)
    expected = engine.layers(engine.build(plain, "public-registry"))
    with mirror(tmp_path, monkeypatch, IMAGES) as prefix:
        project = copy(tmp_path / "project", python_version=PYTHON, registry=prefix)
        image = engine.build(project, "mirror", "--pull")
        assert engine.layers(image) == expected
        docker("logout", prefix.partition("/")[0])
        with pytest.raises(AssertionError, match=r"(?i)unauthorized|no basic auth"):
            engine.build(project, "mirror-without-login", "--pull", "--no-cache")


def test_build_goes_through_a_proxy_and_leaves_no_trace_of_it(
    engine: Engine, copy: Copy, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        index = stack.enter_context(package_index(tmp_path))
        project = copy(tmp_path / "project", python_version=PYTHON, **index.answers)
        index.add_its_package(project)
        address, log = stack.enter_context(proxy(tmp_path))
        proxies = [f"--build-arg={name}_PROXY={address}" for name in ("HTTP", "HTTPS")]
        image = engine.build(project, "proxy", *index.options, *proxies)
        asked = index.url.removeprefix("https://").partition("/")[0]
        assert f"CONNECT {asked}" in log.read_text()
        plain = engine.build(project, "no-proxy", *index.options)
    assert engine.layers(plain) == engine.layers(image)
    assert_no_trace([PROXY_PASSWORD.encode()], engine, image)


def test_no_secret_is_in_what_a_build_exports(
    copy: Copy, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all answers at once: the image, its provenance, the cache and the log."""
    with ExitStack() as stack:
        server = stack.enter_context(https_server(tmp_path, index.signed_by, index.trusted()))
        project = copy(
            tmp_path / "project",
            python_version=PYTHON,
            registry=stack.enter_context(mirror(tmp_path, monkeypatch, IMAGES)),
            git_server=server.answer,
            **index.answers,
        )
        server.add_its_package(project)
        index.add_its_package(project)
        secrets = index.secrets | server.secrets
        done = docker(
            "buildx",
            "build",
            "--progress=plain",
            "--no-cache",
            "--pull",
            "--provenance=mode=max",
            f"--output=type=oci,dest={tmp_path / 'image.tar'}",
            f"--cache-to=type=local,mode=max,dest={tmp_path / 'cache'}",
            "--network=host",
            *secret_options(tmp_path, secrets),
            str(project),
        )
    with tarfile.open(tmp_path / "image.tar") as archive:
        archive.extractall(tmp_path / "image", filter="data")
    files = [p for name in ("image", "cache") for p in (tmp_path / name).rglob("*") if p.is_file()]
    assert any(b"slsa" in path.read_bytes() for path in files)
    contents = [done.stdout.encode(), done.stderr.encode()]
    for path in files:
        contents.append(uncompressed(path.read_bytes()))
    for secret in traces(secrets, {"mirror": MIRROR_PASSWORD}):
        assert not any(secret in content for content in contents), secret
