"""What the built image is and does, on a real engine."""

import json
import os
import re
import shutil
import signal
import tarfile
import tomllib
import zlib
from datetime import datetime
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import pytest
from helpers.edits import EDITS
from helpers.engine import HARDENED, Engine, docker
from helpers.files import append, change, texts
from helpers.image import EPOCH_1980, base_of, empty_package_cache
from helpers.project import PYTHON, Copy, uv
from helpers.repository import ROOT, commit
from helpers.service import ORDER
from helpers.template import ASKED, DEFAULT_PYTHON, PINS, choices

pytestmark = pytest.mark.image

PYTHONS = choices(ASKED["python_version"])
IMAGES = choices(ASKED["image"])
# Each kind with the default Python, each other Python with one kind; EVERY_IMAGE=1 does all.
PAIRS = [
    (python, kind)
    for number, python in enumerate(PYTHONS)
    for kind in IMAGES
    if python == DEFAULT_PYTHON
    or kind == IMAGES[number % len(IMAGES)]
    or os.environ.get("EVERY_IMAGE") == "1"
]


# A library, a program with a group of its own, two that the base has already, and a user.
APT = "libpq5 openssh-client openssl gzip dbus-system-bus-common"

# What distroless leaves out of the standard library: it installs, needs a screen, or tests Python.
LEFT_OUT = re.compile(r"ensurepip|idlelib|pydoc_data|_?tkinter|turtle|turtledemo|_\w*test\w*")


def added_to(engine: Engine, base: list[str], image: str) -> list[tarfile.TarInfo]:
    """Return every file and folder in the layers of an image that are not among its base's."""
    return [
        member
        for digest, content in engine.saved_layers(image).items()
        if digest not in base
        for member in tarfile.open(fileobj=BytesIO(content)).getmembers()
    ]


def set_up_uv(project: Path, line: str) -> None:
    """Add a line to uv's settings in a project."""
    pyproject = project / "pyproject.toml"
    before, found, after = pyproject.read_text().partition("[tool.uv]\n")
    assert found
    pyproject.write_text(f"{before}{found}{line}\n{after}")


@pytest.fixture(scope="module", params=PAIRS, ids=lambda param: "-".join(param))
def project(
    request: pytest.FixtureRequest, copy: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a project of each Python and kind of image, with secrets lying about."""
    python, kind = request.param
    folder = tmp_path_factory.mktemp(f"{kind}-{python}") / "project"
    project = copy(folder, python_version=python, image=kind)
    commit(project)
    for name in (".env", "id_rsa", "server.key"):
        (project / name).write_text("a-planted-secret")
    (project / "src" / "my_service" / "id_rsa").write_text("a-planted-secret")
    return project


@pytest.fixture(scope="module")
def image(engine: Engine, project: Path) -> str:
    """Return the image of that project, built as its README says."""
    return engine.build(project, f"image-{project.parent.name}")


@pytest.fixture(scope="module")
def added(engine: Engine, project: Path, image: str) -> list[tarfile.TarInfo]:
    """Return every file and folder in the layers that the Dockerfile adds to its base."""
    return added_to(engine, engine.layers(base_of(project)), image)


@pytest.fixture
def plain(copy: Copy, tmp_path: Path) -> Path:
    """Return a slim project on the Python that runs the tests, to be edited."""
    return copy(tmp_path / "project", python_version=PYTHON)


@pytest.fixture
def edited(project: Path, tmp_path: Path) -> Path:
    """Return a copy of that project, to be edited."""
    return Path(shutil.copytree(project, tmp_path / "project", symlinks=True))


def test_hardened_container_answers_turns_healthy_and_stops(engine: Engine, image: str) -> None:
    with engine.serve_hardened(image) as container:
        assert container.request("GET", "/healthz")[0] == 200
        assert container.request("POST", "/quotes", ORDER)[2]["total"] == "99.90"
        assert container.stop(seconds=10) == 0


@pytest.mark.parametrize("python", PYTHONS)
def test_own_checks_pass_on(engine: Engine, copy: Copy, tmp_path: Path, python: str) -> None:
    """Ruff, mypy and pytest, and the lock for a name before and one after the dependencies'."""
    for name, stage in (("Aaa", "checks"), ("Zzz", "locks")):
        project = copy(tmp_path / name, project_name=name, python_version=python)
        base = f"{python}-slim-{PINS['suite']}"
        options = [f"--file={ROOT}/tests/checks.Dockerfile", f"--build-arg=PYTHON={base}"]
        options += [f"--build-arg=UV={PINS['uv']}", f"--target={stage}"]
        engine.build(project, f"{stage}-{python}", *options)


def test_same_input_gives_the_same_layers(engine: Engine, edited: Path, image: str) -> None:
    """In another folder, on files of another date and mode, with an empty package cache."""
    for path in [edited, *edited.rglob("*")]:
        # Another for each: BuildKit takes a file of one name, size and date for one that it has.
        os.utime(path, (0, path.stat().st_mtime - 86_400))
        path.chmod(0o700 if path.is_dir() else 0o600)
    with empty_package_cache(edited):
        again = engine.build(edited, "again", "--no-cache")
    assert engine.layers(again) == engine.layers(image)


@pytest.mark.parametrize(
    "project",
    [(DEFAULT_PYTHON, kind) for kind in IMAGES],
    indirect=True,
    ids="-".join,
)
@pytest.mark.parametrize("cores", [1, 8])
def test_bytecode_is_the_same_for_any_number_of_cores(
    engine: Engine, edited: Path, image: str, cores: int
) -> None:
    change(edited, "scripts/image/layer.sh", r"\$\(nproc\)", str(cores))
    again = engine.build(edited, f"cores-{cores}", "--no-cache")
    assert engine.layers(again) == engine.layers(image)


def test_every_file_has_the_one_date(added: list[tarfile.TarInfo]) -> None:
    """Then a build on another day has the same layers."""
    assert {member.mtime for member in added} == {EPOCH_1980}


def test_no_file_is_writable_or_owned_by_anyone_but_root(added: list[tarfile.TarInfo]) -> None:
    for member in added:
        assert (member.uid, member.gid) == (0, 0) or "/ssl/private" in member.name, member.name
        if not member.issym() and member.name != "tmp":
            assert not member.mode & 0o022, member.name
            assert not member.mode & 0o6000, member.name


def test_environment_has_the_python_of_the_image(added: list[tarfile.TarInfo]) -> None:
    (python,) = (member for member in added if member.name == "app/.venv/bin/python")
    assert python.issym()
    assert python.linkname == "/usr/local/bin/python"


def test_nothing_that_only_a_build_needs_is_added(
    project: Path, added: list[tarfile.TarInfo]
) -> None:
    names = {member.name for member in added}
    pyproject = tomllib.loads((project / "pyproject.toml").read_text())
    installed = {
        re.sub(r"(-[^-]+)?\.dist-info$", "", name.split("/site-packages/")[1].split("/")[0])
        for name in names
        if "/site-packages/" in name
    }

    def distributions(requirements: list[str]) -> set[str]:
        """Return the names that the folders of these have in site-packages."""
        found = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
        return {re.sub(r"[-_.]+", "_", match[0]).lower() for match in found if match}

    assert distributions(pyproject["project"]["dependencies"]) <= installed
    development = distributions(pyproject["dependency-groups"]["dev"])
    assert development
    assert not development & installed

    for name in names:
        parts = Path(name).parts
        assert not {"pip", "uv", "uvx", "gcc", ".cache"} & set(parts), name
        assert not re.search(r"(^|/)(tests|test)/", name.partition("site-packages/my_service")[2])


def test_every_module_has_bytecode_that_a_start_accepts(engine: Engine, image: str) -> None:
    """As root on a writable root, free to write bytecode, Python finds nothing to write."""
    script = """
import pathlib, sys, sysconfig
tag = sys.implementation.cache_tag
for root in sysconfig.get_path("stdlib"), "/app/.venv":
    for path in pathlib.Path(root).rglob("*.py"):
        if not (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").exists():
            if root == "/app/.venv" or "site-packages" not in path.parts:
                print(path)
"""
    assert engine.run(image, "python", "-c", script).stdout == ""

    with engine.serve(image, "--user=0", "--env=PYTHONDONTWRITEBYTECODE=") as container:
        container.wait_until_healthy()
        changed = docker("diff", container.name).stdout
    assert ".pyc" not in changed


def test_bytecode_has_no_columns(engine: Engine, image: str) -> None:
    script = """
import json.decoder, pydantic.main, my_service.app
for module in json.decoder, pydantic.main, my_service.app:
    code = module.__spec__.loader.get_code(module.__name__)
    assert all(column is None for *_, column, _ in code.co_positions()), module
"""
    engine.run(image, "python", "-c", script)


def test_code_edit_changes_one_small_layer(engine: Engine, edited: Path, image: str) -> None:
    code = edited / "src" / "my_service" / "pricing.py"
    code.write_text(code.read_text().replace("max_length=100", "max_length=200"))
    after = engine.build(edited, "edited")

    *below, project = engine.layers(after)
    *below_before, project_before = engine.layers(image)
    assert below == below_before
    assert project != project_before
    assert len(zlib.compress(engine.saved_layers(after)[project])) < 20_000

    script = """
from my_service.pricing import Order
print(Order.model_json_schema()["properties"]["lines"]["maxItems"])
"""
    assert engine.run(after, "python", "-c", script).stdout == "200\n"


def test_new_version_of_the_project_changes_one_layer(
    engine: Engine, edited: Path, image: str
) -> None:
    for name in ("pyproject.toml", "uv.lock"):
        text = (edited / name).read_text()
        before, found, after = text.partition('name = "my-service"\nversion = "0.1.0"')
        assert found, name
        (edited / name).write_text(before + found.replace("0.1.0", "0.2.0") + after)
    bumped = engine.build(edited, "bumped")

    assert len(set(engine.layers(bumped)) - set(engine.layers(image))) == 1


def test_small_dependency_pushes_less_than_a_third(engine: Engine, plain: Path) -> None:
    # A large module that is one file.
    uv(plain, "add", "--no-sync", "brotli")
    before = engine.build(plain, "before")
    uv(plain, "add", "--no-sync", "tomlkit")
    after = engine.build(plain, "after")

    layers, pushed = (
        engine.saved_layers(after),
        set(engine.layers(after)) - set(engine.layers(before)),
    )
    compressed = {digest: len(zlib.compress(content)) for digest, content in layers.items()}
    dependencies = sum(
        compressed[digest]
        for digest, content in layers.items()
        if b"site-packages/uvicorn/" in content or b"site-packages/uvloop/" in content
    )
    assert len(pushed) == 2, "the light dependencies, and the project whose metadata names them"
    assert 3 * sum(compressed[digest] for digest in pushed) < dependencies
    for digest in pushed:
        with tarfile.open(fileobj=BytesIO(layers[digest])) as content:
            assert max(member.size for member in content.getmembers()) < 2**20


def test_folder_beside_the_source_is_found_and_the_same_each_time(
    engine: Engine, plain: Path
) -> None:
    """Copied as the README of the project says; the date of a file is that of its checkout."""
    EDITS["a folder beside the source"].apply(plain)
    image = engine.build(plain, "folder")
    os.utime(plain / "pages" / "index.html", (0, 0))
    assert engine.layers(engine.build(plain, "folder-2", "--no-cache")) == engine.layers(image)
    script = "import os; print(open('pages/index.html').read(), os.stat('/app/pages').st_uid)"
    assert engine.run(*HARDENED, image, "python", "-c", script).stdout == "<p>a page</p>\n 0\n"


def mount_the_libraries(project: Path) -> None:
    """Mount the folder libs into the stage of the dependencies."""
    change(project, ".dockerignore", r"(!src\n)", r"\1!libs\n")
    mount = "    --mount=type=bind,source={0},target={0} \\\\\n"
    lock = mount.format("uv.lock")
    change(project, "Dockerfile", f"^({lock})", r"\1" + mount.format("libs"))


def test_library_of_the_repository_is_installed_as_it_is_now(engine: Engine, plain: Path) -> None:
    """Added as the README of the project says, and not as a link to a folder of the build."""
    uv(plain, "init", "--lib", "--no-workspace", "libs/rates")
    rates = plain / "libs" / "rates"
    append(rates, "pyproject.toml", '\n[tool.uv]\ncache-keys = [{ file = "**/*.py" }]\n')
    append(rates, "src/rates/__init__.py", "\nVAT = 19\n")
    uv(plain, "add", "--no-sync", "./libs/rates")
    mount_the_libraries(plain)
    script = "import rates; print(rates.VAT, rates.__file__.startswith('/app/'))"
    image = engine.build(plain, "library")
    assert engine.run(image, "python", "-c", script).stdout == "19 True\n"

    change(rates, "src/rates/__init__.py", "VAT = 19", "VAT = 20")
    assert engine.run(engine.build(plain, "library-2"), "python", "-c", script).stdout[:2] == "20"


def test_nothing_of_the_installer_is_in_the_image(
    engine: Engine, image: str, added: list[tarfile.TarInfo]
) -> None:
    """It has times in it, or changes with the version of uv."""
    names = {member.name for member in added}
    own = {Path(name).name for name in names if "/my_service-" in name}
    assert "METADATA" in own
    assert not own & {"RECORD", "WHEEL", "INSTALLER", "uv_cache.json"}
    assert not [name for name in names if re.search(r"/\.venv/bin/.*activate", name)]
    configured = engine.run(image, "python", "-c", "print(open('/app/.venv/pyvenv.cfg').read())")
    assert not re.search(r"^uv =", configured.stdout, re.MULTILINE)


def test_user_is_a_number(engine: Engine, image: str) -> None:
    """Kubernetes cannot tell of a name whether it is root's."""
    user = docker("image", "inspect", "--format={{.Config.User}}", image).stdout.strip()
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


PEM = "-----BEGIN {}-----\nMIIB\n-----END {}-----\n"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".env", "TOKEN=1\n"),
        (".env.production", "TOKEN=1\n"),
        ("config/.netrc", "machine example.com\n"),
        ("certs/server.key", PEM.replace("{}", "EC PRIVATE KEY")),
        ("certs/both.pem", "x\n" + PEM.replace("{}", "PRIVATE KEY")),
    ],
)
def test_secret_in_the_source_fails_the_build_and_is_named(
    engine: Engine, copy: Copy, tmp_path: Path, path: str, content: str
) -> None:
    project = copy(tmp_path / "project", python_version=PYTHON)
    secret = project / "src" / "my_service" / path
    secret.parent.mkdir(exist_ok=True)
    secret.write_text(content)
    with pytest.raises(AssertionError, match=rf"Looks like a secret.*/my_service/{path}\n"):
        engine.build(project, "secret")


def test_nothing_else_in_the_source_is_left_out(engine: Engine, plain: Path) -> None:
    package = plain / "src" / "my_service"
    kept = {
        "certs/global-bundle.pem": PEM.replace("{}", "CERTIFICATE"),
        "static/.well-known/security.txt": "Contact: mailto:security@example.com\n",
        ".env.example": "TOKEN=\n",
        "data/rates.key": "no key of cryptography\n",
    }
    left_behind = [".mypy_cache/x.json", "__pycache__/app.cpython-39.pyc", ".DS_Store"]
    for path, content in kept.items() | {(path, "") for path in left_behind}:
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(content)
    image = engine.build(plain, "kept")
    site = f"/app/.venv/lib/python{PYTHON}/site-packages/my_service"
    script = "import pathlib, sys; print([pathlib.Path(p).exists() for p in sys.argv[1:]])"
    found = [f"{site}/{path}" for path in (*kept, *left_behind)]
    expected = [True] * len(kept) + [False] * len(left_behind)
    assert engine.run(image, "python", "-c", script, *found).stdout == f"{expected}\n"


def test_service_starts_in_app_and_any_user_has_a_name(engine: Engine, image: str) -> None:
    script = "import getpass, os; print(os.getcwd(), getpass.getuser())"
    assert engine.run(*HARDENED, image, "python", "-c", script).stdout == "/app app\n"


def test_project_that_builds_no_dependency_from_source_builds(engine: Engine, plain: Path) -> None:
    set_up_uv(plain, "no-build = true")
    engine.build(plain, "no-build")


# What lies about in a checkout, and whether it arrives in a build.
PLANTED = {
    "src/my_service/static/.well-known/security.txt": True,
    "scripts/image/mine.sh": True,
    **dict.fromkeys(
        [
            *(".env", ".git/config", ".netrc", "id_rsa", "server.key", "secrets/token", "notes.md"),
            *("scripts/deploy.sh", "uv.lock.orig", "pyproject.toml.bak", "src.bak/app.py"),
            *(".venv/bin/python", "tests/fixtures/dump.sql", "Dockerfile.old", "data.sqlite3"),
            *("src/my_service/__pycache__/app.cpython-314.pyc", "src/my_service/app.pyd"),
            *("src/.mypy_cache/x.json", "src/my_service/.app.py.swp", "src/.DS_Store"),
            *("src/sub/.git/config", "src/my_service/id_rsa", "src/my_service/id_ecdsa.old"),
            *("src/id_ed25519", "scripts/image/id_rsa_deploy", "scripts/image/__pycache__/x.pyc"),
        ],
        False,
    ),
}


def test_nothing_arrives_in_a_build_but_what_is_let_through(
    engine: Engine, copy: Copy, tmp_path: Path
) -> None:
    """A build that copies all that it is given: the files are listed, and not those of an image."""
    project = copy(tmp_path / "project")
    let_through = ("src/", "scripts/image/", "pyproject.toml", "uv.lock")
    needed = {name for name in texts(project) if name.startswith(let_through)}
    for path in PLANTED:
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("planted")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    out = tmp_path / "out"
    docker("build", f"--file={tmp_path}/Dockerfile", f"--output={out}", str(project))
    arrived = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert arrived == needed | {path for path, arrives in PLANTED.items() if arrives}


def test_no_layer_holds_a_secret(engine: Engine, image: str, added: list[tarfile.TarInfo]) -> None:
    for layer in engine.saved_layers(image).values():
        assert b"a-planted-secret" not in layer
    names = {member.name for member in added}
    assert any(name.endswith("my_service/app.py") for name in names)
    for secret in (".env", "id_rsa", "server.key", ".git"):
        assert not [name for name in names if secret in Path(name).parts]


def test_group_that_a_project_made_default_stays_out(engine: Engine, plain: Path) -> None:
    set_up_uv(plain, 'default-groups = "all"')
    uv(plain, "add", "--no-sync", "--group=more", "tomlkit")
    image = engine.build(plain, "groups")
    missing = engine.run(image, "python", "-c", "import fastapi, tomlkit", check=False)
    assert "No module named 'tomlkit'" in missing.stderr


def test_build_packages_compile_a_dependency_and_stay_out(
    engine: Engine, copy: Copy, tmp_path: Path
) -> None:
    answers = {"python_version": PYTHON, "build_packages": "gcc libc6-dev"}
    project = copy(tmp_path / "project", **answers)
    # A program in C, so that it needs a compiler and no headers of Python's.
    set_up_uv(project, 'no-binary-package = ["dumb-init"]')
    uv(project, "add", "--no-sync", "dumb-init")
    # A wheel that was built before would need no compiler.
    with empty_package_cache(project):
        image = engine.build(project, "compiled")
    assert engine.run(*HARDENED, image, "dumb-init", "echo", "compiled").stdout == "compiled\n"
    compiler = engine.run(image, "gcc", "--version", check=False)
    assert "executable file not found" in compiler.stderr


def test_compiled_dependency_is_the_same_from_two_builds(
    engine: Engine, copy: Copy, tmp_path: Path
) -> None:
    """Its debug information would name the folder in which uv unpacked it, another each time."""
    answers = {"python_version": PYTHON, "build_packages": "gcc libc6-dev"}
    project = copy(tmp_path / "project", **answers)
    uv(project, "init", "--lib", "--no-workspace", "--build-backend=setuptools", "libs/native")
    native = project / "libs" / "native"
    extension = 'Extension("native.answer", ["answer.c"])'
    (native / "setup.py").write_text(
        f"from setuptools import Extension, setup\nsetup(ext_modules=[{extension}])\n"
    )
    (native / "answer.c").write_text("int answer(void) { return 42; }\n")
    uv(native, "build", "--sdist", "--out-dir=.")
    uv(project, "add", "--no-sync", "./libs/native/native-0.1.0.tar.gz")
    mount_the_libraries(project)

    with empty_package_cache(project):
        image = engine.build(project, "native")
    script = "import ctypes, glob; print(ctypes.CDLL(*glob.glob('{}')).answer())"
    library = "/app/.venv/lib/python3.*/site-packages/native/answer.*.so"
    assert engine.run(image, "python", "-c", script.format(library)).stdout == "42\n"
    with empty_package_cache(project):
        again = engine.build(project, "native-2", "--no-cache")
    assert engine.layers(again) == engine.layers(image)


def test_stale_lock_fails_the_build_and_says_so(engine: Engine, edited: Path) -> None:
    change(edited, "pyproject.toml", r"^dependencies = \[\n", r'\g<0>    "tomlkit",\n')
    with pytest.raises(AssertionError, match=r"lockfile at `uv\.lock` needs to be updated"):
        engine.build(edited, "stale")


def test_oldest_uv_that_may_be_asked_for_builds(engine: Engine, copy: Copy, tmp_path: Path) -> None:
    project = copy(tmp_path / "project", uv_version=PINS["uv_oldest"])
    with engine.serve_hardened(engine.build(project, "oldest-uv")):
        pass


def test_build_checks_find_nothing(engine: Engine, project: Path) -> None:
    docker("build", "--check", str(project))


def test_port_and_workers_come_from_the_environment(engine: Engine, image: str) -> None:
    options = ["--env=PORT=9001", "--env=WEB_CONCURRENCY=2"]
    with engine.serve_hardened(image, *options, port=9001) as container:
        assert container.request("GET", "/healthz")[0] == 200
        assert container.stop(seconds=10) == 0


def test_wrong_setting_stops_it_at_once_with_one_line(engine: Engine, image: str) -> None:
    run = engine.run("--env=PORT=http", image, check=False)
    assert run.returncode == 1
    (line,) = (run.stdout + run.stderr).splitlines()
    assert line.startswith("PORT: ")


def test_every_line_of_the_log_is_json(engine: Engine, image: str) -> None:
    with engine.serve_hardened(image) as container:
        headers = {"X-Request-ID": "from-the-proxy"}
        status, answered, _ = container.request("GET", "/nowhere", headers=headers)
        container.stop(seconds=10)
        records = [json.loads(line) for line in container.logs().splitlines()]

    assert status == 404
    assert answered["x-request-id"] == "from-the-proxy"
    requests = [record for record in records if record["message"] == "request"]
    assert [(r["path"], r["request_id"]) for r in requests] == [("/nowhere", "from-the-proxy")]


def test_stop_while_it_starts_ends_with_0(engine: Engine, image: str) -> None:
    with engine.serve(image, *HARDENED) as container:
        # Before, the kernel keeps the signal from the first process.
        container.wait_until_it_catches(signal.SIGTERM)
        assert container.stop(seconds=10) == 0


def test_any_command_can_be_run(engine: Engine, image: str) -> None:
    run = engine.run(*HARDENED, image, "python", "-m", "json.tool", "--help")
    assert run.stdout.startswith("usage:")


def test_request_in_flight_is_finished_after_sigterm(engine: Engine, image: str) -> None:
    body = json.dumps(ORDER).encode()
    with engine.serve_hardened(image) as container:
        connection = HTTPConnection(*container.address, timeout=20)
        connection.putrequest("POST", "/quotes")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10])
        # Another answer proves that the server has read what was sent before it.
        container.request("GET", "/healthz")
        docker("kill", "--signal=TERM", container.name)
        container.wait_for_log("Shutting down")
        connection.send(body[10:])
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())) == (200, {"total": "99.90"})
        connection.close()
        assert docker("wait", container.name).stdout.strip() == "0"


def test_health_is_asked_once_a_second_until_it_is_good(engine: Engine, image: str) -> None:
    """No probe of a service that is ready fails, so it is healthy within two seconds of that.

    An engine asks at the start interval in the start period alone, which is none by default.
    """
    with engine.serve_hardened(image) as container:
        check = json.loads(container.inspect("{{json .Config.Healthcheck}}"))
        probes = json.loads(container.inspect("{{json .State.Health.Log}}"))
        records = [json.loads(line) for line in container.logs().splitlines()]
        _, *probe = check["Test"]
        docker("exec", container.name, *probe)
        # Nothing listens on another port.
        deaf = docker("exec", "--env=PORT=9001", container.name, *probe, check=False)
        imported = docker("exec", container.name, probe[0], "-Ximporttime", *probe[1:]).stderr

    second = 1_000_000_000
    assert 0 < check["StartInterval"] <= second
    assert check["StartPeriod"] >= 20 * second
    assert check["Timeout"] < check["Interval"] <= 60 * second
    (ready,) = (r["timestamp"] for r in records if r["message"].startswith("Uvicorn running"))
    for seen in probes:
        if datetime.fromisoformat(seen["Start"]) > datetime.fromisoformat(ready):
            assert seen["ExitCode"] == 0, seen
    assert deaf.returncode == 1
    # Most of what Python does at startup is for programs with packages.
    assert re.search(r"\| +http\.client$", imported, re.MULTILINE)
    assert not re.search(r"\| +site$", imported, re.MULTILINE)


def test_crash_of_python_says_where(engine: Engine, image: str) -> None:
    crash = "import ctypes; ctypes.string_at(0)"
    run = engine.run(*HARDENED, image, "python", "-c", crash, check=False)
    assert run.returncode != 0
    assert 'File "<string>", line 1' in run.stderr


def test_user_without_a_home_has_one_and_loses_no_output(engine: Engine, image: str) -> None:
    script = """
import os, pathlib, sys
assert pathlib.Path.home().is_dir()
assert sys.dont_write_bytecode
print("out before a crash", end="")
os._exit(0)
"""
    assert engine.run(*HARDENED, image, "python", "-c", script).stdout == "out before a crash"


def test_standard_library_is_that_of_the_base(engine: Engine, project: Path, image: str) -> None:
    """All of it, but for what distroless leaves out by name."""
    script = """
import json, pathlib, sysconfig
root = pathlib.Path(sysconfig.get_path("stdlib"))
files = (path.relative_to(root) for path in root.rglob("*") if not path.is_dir())
own = (path for path in files if path.suffix != ".pyc" and path.parts[0] != "site-packages")
print(json.dumps([str(path) for path in own]))
"""
    base, kept = (
        set(json.loads(engine.run(which, "python", "-c", script).stdout))
        for which in (base_of(project), image)
    )

    def module(path: str) -> str:
        """Return the name that is imported for a file."""
        return path.removeprefix("lib-dynload/").split("/")[0].split(".")[0]

    distroless = "AS debian" in (project / "Dockerfile").read_text()
    left_out = {path for path in base if distroless and LEFT_OUT.fullmatch(module(path))}
    assert kept == base - left_out


def test_compose_runs_it_hardened_as_in_production(
    engine: Engine, copy: Copy, tmp_path: Path
) -> None:
    project = copy(tmp_path / "composed", port="18437")
    with engine.compose(project) as compose:
        compose("up", "--build", "--detach", "--wait")
        container = json.loads(compose("ps", "--format=json"))["ID"]
        host = json.loads(docker("inspect", "--format={{json .HostConfig}}", container).stdout)
        assert host["ReadonlyRootfs"]
        assert docker("inspect", "--format={{.Config.User}}", container).stdout == "12345:0\n"
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["PortBindings"] == {"18437/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18437"}]}
        compose("stop")
        assert docker("inspect", "--format={{.State.ExitCode}}", container).stdout == "0\n"


@pytest.fixture(scope="module")
def distroless(engine: Engine, copy: Copy, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a distroless image with a package of apt's and a wheel that links to Debian's."""
    answers = {"image": "distroless", "apt_packages": APT}
    project = copy(
        tmp_path_factory.mktemp("distroless") / "project", python_version=PYTHON, **answers
    )
    uv(project, "add", "--no-sync", "pyzmq")
    image = engine.build(project, "distroless")
    assert engine.layers(engine.build(project, "distroless-2", "--no-cache")) == engine.layers(
        image
    )
    return image


def test_apt_package_is_in_the_slim_image(engine: Engine, copy: Copy, tmp_path: Path) -> None:
    project = copy(tmp_path / "project", python_version=PYTHON, apt_packages=APT)
    image = engine.build(project, "apt")
    script = "import ctypes, grp; ctypes.CDLL('libpq.so.5'); grp.getgrnam('_ssh')"
    engine.run(*HARDENED, image, "python", "-c", script)
    users = engine.run("--user=0", image, "cat", "/etc/shadow").stdout
    (changed,) = re.findall(r"^messagebus:.*?:(\d+):", users, re.MULTILINE)
    assert int(changed) == EPOCH_1980 // 86_400, "the day of the build would be another layer"
    assert "libpq5" in engine.run(image, "dpkg-query", "--list", "libpq5").stdout
    assert engine.layers(engine.build(project, "apt-2", "--no-cache")) == engine.layers(image)


@pytest.mark.parametrize(
    "script",
    [
        "import zmq; zmq.Context()",
        "import ctypes; ctypes.CDLL('libpq.so.5')",
        "from ctypes.util import find_library; assert find_library('ssl') and find_library('pq')",
        "import ssl; assert ssl.create_default_context().get_ca_certs()",
        "import zoneinfo; zoneinfo.ZoneInfo('Europe/Rome')",
        "import socket; assert socket.getservbyname('https') == 443",
        "import socket; assert socket.gethostbyname('localhost') == '127.0.0.1'",
        "import getpass; assert getpass.getuser() == 'app'",
        "import grp; assert grp.getgrnam('_ssh') and grp.getgrgid(10001).gr_name == 'app'",
        "import curses; curses.setupterm('xterm')",
        "import sqlite3, lzma, bz2, zlib, decimal, uuid, readline, curses, hashlib, asyncio",
        "import locale; assert locale.getencoding().lower() == 'utf-8'",
        "import tempfile; tempfile.TemporaryFile()",
        "import subprocess; subprocess.run(['openssl', 'version'], check=True)",
    ],
)
def test_distroless_finds(engine: Engine, distroless: str, script: str) -> None:
    engine.run("--tmpfs=/tmp", *HARDENED[:3], distroless, "python", "-c", script)


@pytest.mark.parametrize("program", ["sh", "bash", "apt-get", "dpkg", "pip", "ls"])
def test_distroless_has_no(engine: Engine, distroless: str, program: str) -> None:
    run = engine.run(distroless, program, "--version", check=False)
    assert "executable file not found" in run.stderr


def test_distroless_has_no_module(engine: Engine, distroless: str) -> None:
    script = "import sys, importlib.util as u; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    left_out = ("pip", "ensurepip", "idlelib", "tkinter", "turtle", "turtledemo", "pydoc_data")
    assert engine.run(distroless, "python", "-c", script, *left_out).stdout == "[]\n"


def test_every_file_of_distroless_and_of_apt_has_the_one_date(
    engine: Engine, distroless: str
) -> None:
    assert {member.mtime for member in added_to(engine, [], distroless)} == {EPOCH_1980}


def test_no_link_of_distroless_leads_nowhere(engine: Engine, distroless: str) -> None:
    script = """
import pathlib
for root in "/etc/ssl", "/usr/lib", "/usr/local", "/app":
    for path in pathlib.Path(root).rglob("*"):
        if path.is_symlink():
            print(path.exists(), path)
"""
    links = engine.run("--user=0", distroless, "python", "-c", script).stdout.splitlines()
    assert "True /usr/lib/ssl/certs" in links
    # Keys of one machine, which an image has none of.
    assert {link for link in links if link.startswith("False")} <= {"False /usr/lib/ssl/private"}


def test_distroless_tells_scanners_what_it_is_made_of(engine: Engine, distroless: str) -> None:
    """Each library of Debian's in it has the record of its package where scanners look."""
    script = """
import json, pathlib
records = pathlib.Path("/var/lib/dpkg/status.d").iterdir()
libraries = pathlib.Path("/usr/lib").rglob("*.so*")
print(json.dumps([{r.name: r.read_text() for r in records}, [str(p.resolve()) for p in libraries]]))
"""
    records, libraries = json.loads(engine.run(distroless, "python", "-c", script).stdout)
    for name, record in records.items():
        assert f"Package: {name}\n" in record
        assert re.search(r"^Version: \S+$", record, re.MULTILINE)
    base = f"python:{PYTHON}-slim-{PINS['suite']}"
    owners = "for f in $0 $@; do dpkg-query -S $f ${f#/usr} 2>/dev/null; done"
    known = [library for library in libraries if "libpq" not in library]
    owned = engine.run(base, "sh", "-c", owners, *known, check=False).stdout
    found = {line.split(":")[0] for line in owned.splitlines() if "diversion" not in line}
    assert found
    expected = {*APT.split(), "ca-certificates", "tzdata", "libstdc++6"}
    assert found | expected <= set(records)
