"""A service that is there already gets an image by answers alone, and keeps every file that it has."""

import dataclasses
import http.client
import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from copier import run_copy, run_recopy
from helpers.answers import BAD_EXISTING, assert_refusal_fits_the_prompt
from helpers.engine import HARDENED, Engine, docker
from helpers.files import texts, write
from helpers.image import empty_package_cache
from helpers.programs import run
from helpers.project import Copy, copier
from helpers.repository import commit, git
from helpers.shapes import OWNED, SHAPES, Shape, app, project, resolve
from helpers.updates import NOW, UpdateMatrix, unmerged, update

IMAGE = pytest.mark.image
RENDER = pytest.mark.render


def adopt(template: Path, folder: Path, **answers: object) -> Path:
    """Copy the template over a service, as its README says."""
    run_copy(
        str(template), folder, answers, defaults=True, overwrite=True, quiet=True, unsafe=False
    )
    return folder


def lock(name: str = "mine", source: str = 'editable = "."', **more: str) -> str:
    """Return a uv.lock as far as the template reads it."""
    table = {"version": 'version = "1.2.3"', "dependencies": "", "requires": ">=3.11"} | more
    text = f"""\
version = 1
revision = 3
requires-python = "{table["requires"]}"

[[package]]
name = "aaa"
version = "1.0"
source = {{ registry = "https://pypi.org/simple" }}

[[package]]
name = "{name}"
{table["version"]}
source = {{ {source} }}
dependencies = [
{table["dependencies"]}]

[package.dev-dependencies]
dev = [
    {{ name = "mypy" }},
    {{ name = "ruff" }},
]
"""
    return text.replace(f'"{name}"\n\n', f'"{name}"\n')


MINE = OWNED | {"pyproject.toml": "[project]\n", "uv.lock": lock(), "src/mine/__init__.py": ""}
SERVED = {"command": ["mine"]}


def kept(project: Path) -> dict[str, str]:
    """Return what the owner had before."""
    return {path: (project / path).read_text() for path in MINE}


@RENDER
def test_nothing_of_the_owners_changes_at_copy_update_and_recopy(
    template: Path, update_matrix: UpdateMatrix, tmp_path: Path
) -> None:
    folder = write(tmp_path / "mine", MINE)
    commit(folder)
    adopt(template, folder, **SERVED)
    assert kept(folder) == MINE
    assert git(folder, "diff", "--name-only") == ""
    assert not (folder / "src" / "my_service").exists()

    answers = folder / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace(str(template), str(update_matrix.template)))
    commit(folder)
    update(folder, update_matrix.future("all pins"))
    assert not unmerged(folder)
    assert kept(folder) == MINE
    changed = git(folder, "diff", "--name-only").split()
    assert "Dockerfile" in changed

    run_recopy(folder, defaults=True, overwrite=True, quiet=True, unsafe=False)
    assert kept(folder) == MINE


@RENDER
def test_flat_project_gets_no_empty_folder(template: Path, tmp_path: Path) -> None:
    """An empty src would be a layout of its own for setuptools, and in the way of an import."""
    folder = write(tmp_path / "mine", {"uv.lock": lock(source='virtual = "."'), "app.py": ""})
    adopt(template, folder, **SERVED)
    commit(folder)
    update(folder, port="9000")
    assert not {"src", "tests"} & {path.name for path in folder.iterdir()}


@RENDER
def test_deleted_files_of_the_owners_stay_deleted(template: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "mine", MINE)
    adopt(template, folder, **SERVED)
    for path in (".gitignore", "README.md", "tests/test_app.py"):
        (folder / path).unlink()
    commit(folder)
    update(folder, port="9000")
    assert git(folder, "ls-files", "--others").split() == []
    assert not (folder / ".gitignore").exists()


@RENDER
def test_what_will_be_replaced_is_named_before_anything_is_written(
    template: Path, tmp_path: Path
) -> None:
    folder = write(
        tmp_path / "it's [mine]", MINE | {"Dockerfile": "FROM mine\n", "compose.yaml": "a: b\n"}
    )
    commit(folder)
    options = ["--defaults", "--overwrite", '--data=command=["mine"]']
    done = copier("copy", *options, template, ".", cwd=folder)
    before, _, after = done.stderr.partition("Copying from template")
    assert "Dockerfile exists" in before
    assert "compose.yaml exists" in before
    assert ".dockerignore" not in before
    (command,) = [line.strip() for line in after.splitlines() if "stash push" in line]
    run("sh", "-c", command, cwd=folder)
    assert git(folder, "status", "--porcelain") == ""
    assert (folder / "Dockerfile").read_text() == "FROM mine\n"


@RENDER
def test_framework_is_that_of_existing_code_only_where_there_is_a_lock(
    copy: Copy, template: Path, tmp_path: Path
) -> None:
    fresh = copy(tmp_path / "fresh")
    assert yaml.safe_load((fresh / ".copier-answers.yml").read_text())["framework"] == "fastapi"
    adopted = adopt(template, write(tmp_path / "mine", MINE), **SERVED)
    answers = yaml.safe_load((adopted / ".copier-answers.yml").read_text())
    assert answers["framework"] == "existing"
    # The one that a project was made with stays, although it has a lock by now.
    copy(fresh)
    assert yaml.safe_load((fresh / ".copier-answers.yml").read_text())["framework"] == "fastapi"


def stored(
    template: Path, folder: Path, files: dict[str, str], **answers: object
) -> dict[str, object]:
    """Adopt a service and return the answers that it keeps."""
    adopt(template, write(folder, files), **answers)
    found: dict[str, object] = yaml.safe_load((folder / ".copier-answers.yml").read_text())
    return found


UVICORN = '    { name = "uvicorn" },\n'
GUNICORN = '    { name = "gunicorn" },\n'
# Compiled, for the versions that it was released for.
COMPILED = """
[[package]]
name = "fast"
version = "1.0"
source = { registry = "https://pypi/simple" }
wheels = [
    { url = "https://files/fast-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", hash = "sha256:0" },
    { url = "https://files/fast-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", hash = "sha256:0" },
    { url = "https://files/fast-1.0-cp314-cp314t-manylinux_2_28_x86_64.whl", hash = "sha256:0" },
]
"""
STABLE = COMPILED.replace("fast", "stable").replace("cp312-cp312", "cp311-abi3")
PRIVATE = """
[[package]]
name = "prices"
version = "1.0"
source = { git = "ssh://git@git.corp:2222/acme/prices.git?rev=v1#0123" }
"""


@RENDER
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"uv.lock": lock("my-orders", dependencies=UVICORN), "src/my_orders/main.py": ""},
            {
                "package_name": "my_orders",
                "command": ["uvicorn", "my_orders.main:app", "--host=0.0.0.0", "--port=8000"],
                "sources": "src",
                "checks": ["Format", "Lint", "Types"],
            },
        ),
        (
            {"uv.lock": lock(source='virtual = "."', dependencies=GUNICORN), "site/wsgi.py": ""},
            {
                "command": ["gunicorn", "--bind=0.0.0.0:8000", "site.wsgi:application"],
                "sources": "",
                "files": "site",
            },
        ),
        (
            {"uv.lock": lock(version="", dependencies=UVICORN), "app.py": ""},
            {"version_from": "git"},
        ),
        (
            {"uv.lock": lock(dependencies=UVICORN), "app.py": "", "LICENSE": "", "uv.toml": "", "mine/__init__.py": ""},
            {"version_from": "file", "sources": "LICENSE mine", "manifests": "uv.toml"},
        ),
        ({"uv.lock": lock(dependencies=UVICORN) + PRIVATE, "app.py": ""}, {"git_server": "ssh://git@git.corp:2222"}),
        ({"uv.lock": lock(dependencies=UVICORN, requires=">=3.12, <3.13"), "app.py": ""}, {"python_version": "3.12"}),
        ({"uv.lock": lock(dependencies=UVICORN, requires="==3.13.*"), "app.py": ""}, {"python_version": "3.13"}),
        ({"uv.lock": lock(dependencies=UVICORN, requires=">=3.15"), "app.py": ""}, {"python_version": "3.15"}),
        ({"uv.lock": lock(dependencies=UVICORN), "app.py": "", ".python-version": "3.12\n"}, {"python_version": "3.12"}),
        ({"uv.lock": lock(dependencies=UVICORN), "app.py": ""}, {"python_version": "3.14"}),
        ({"uv.lock": lock(dependencies=UVICORN) + COMPILED, "app.py": ""}, {"python_version": "3.13"}),
        ({"uv.lock": lock(dependencies=UVICORN) + STABLE, "app.py": ""}, {"python_version": "3.14"}),
        (
            {"uv.lock": lock(dependencies=GUNICORN + UVICORN), "app.py": ""},
            {"command": ["uvicorn", "app:app", "--host=0.0.0.0", "--port=8000"]},
        ),
        (
            {"uv.lock": lock(dependencies=GUNICORN), "site/asgi.py": "", "site/wsgi.py": ""},
            {"command": ["gunicorn", "--bind=0.0.0.0:8000", "site.wsgi:application"]},
        ),
    ],
)  # fmt: skip
def test_defaults_are_read_from_the_lock(
    template: Path, tmp_path: Path, files: dict[str, str], expected: dict[str, object]
) -> None:
    found = stored(template, tmp_path / "mine", files)
    assert {name: found[name] for name in expected} == expected


@RENDER
def test_stored_answers_stay_when_the_lock_changes(template: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    before = stored(template, folder, MINE | {"uv.lock": lock(dependencies=UVICORN), "app.py": ""})
    commit(folder)
    (folder / "uv.lock").write_text(
        lock("other", 'virtual = "."', requires=">=3.13", dependencies=GUNICORN)
    )
    commit(folder)
    update(folder, port="9000")
    after = yaml.safe_load((folder / ".copier-answers.yml").read_text())
    assert after == before | {"port": "9000"}
    assert not unmerged(folder)


@RENDER
@pytest.mark.parametrize(("question", "value", "allowed"), BAD_EXISTING)
def test_bad_answer_is_refused_by_name_and_nothing_is_written(
    template: Path, tmp_path: Path, question: str, value: str, allowed: str
) -> None:
    folder = write(tmp_path / "mine", MINE)
    answers = {"command": '["mine"]'} | {question: value}
    with pytest.raises(ValueError, match=allowed) as error:
        adopt(template, folder, **answers)
    assert question in str(error.value)
    assert_refusal_fits_the_prompt(str(error.value))
    assert texts(folder) == MINE


@RENDER
def test_service_without_a_port_has_none_anywhere(template: Path, tmp_path: Path) -> None:
    folder = adopt(template, write(tmp_path / "mine", MINE), port="", **SERVED)
    for name in ("Dockerfile", "compose.yaml"):
        text = (folder / name).read_text()
        assert "8000" not in text
        assert "HEALTHCHECK" not in text
        assert "ports:" not in text


@RENDER
@pytest.mark.parametrize(
    ("version", "revision", "expected"),
    [
        ("v1.2.3", "c0ffee" * 7, "1.2.3"),
        ("2.0.0rc1", "c0ffee" * 7, "2.0.0rc1"),
        ("main", "c0ffee" * 7, "0.0.0.dev0+c0ffeec0ffee"),
        ("", "", "0.0.0.dev0"),
    ],
)
@pytest.mark.image
def test_version_of_a_build_is_one_that_python_takes(
    engine: Engine, template: Path, tmp_path: Path, version: str, revision: str, expected: str
) -> None:
    folder = adopt(template, write(tmp_path / "mine", MINE), version_from="git", **SERVED)
    given = {"VERSION": version, "REVISION": revision}
    printed = run("docker", "buildx", "bake", "--print", "image", cwd=folder, env=given).stdout
    assert json.loads(printed)["target"]["image"]["args"] == {"VERSION": expected}


def answer(address: tuple[str, int]) -> str:
    """Return the body of the answer to GET /."""
    with closing(http.client.HTTPConnection(*address, timeout=30)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    """Return the name of a shape."""
    return str(request.param)


@pytest.fixture(scope="module")
def service(shape: str, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a service of that shape, adopted and committed."""
    described = SHAPES[shape]
    folder = dataclasses.replace(described, files=OWNED | described.files).make(
        tmp_path_factory.mktemp("shape") / "service"
    )
    adopt(template, folder, **described.answers)
    assert git(folder, "diff", "--name-only") == "", "a file of the owner's"
    commit(folder)
    return folder


@IMAGE
@pytest.mark.parametrize("kind", ["slim", "distroless"])
def test_shape_answers_hardened_and_an_edit_pushes_one_layer(
    engine: Engine, service: Path, shape: str, kind: str, tmp_path: Path
) -> None:
    """Built by answers alone; two builds are equal, and an edit leaves the dependencies alone."""
    expected = SHAPES[shape]
    folder = tmp_path / "service"
    run("cp", "-a", service, folder)
    update(folder, image=kind)
    name = f"shape-{sorted(SHAPES).index(shape)}-{kind}"
    image = engine.build(folder, name)
    with engine.serve_hardened(image, "--tmpfs=/tmp") as container:
        assert answer(container.address) == expected.answer
        assert container.stop(seconds=20) in (0, 143)

    # Both have the same stages below.
    if kind == "distroless":
        return
    for path in folder.rglob("*"):
        os.utime(path, (0, time.time() - 86_400), follow_symlinks=False)
    with empty_package_cache(folder):
        again = engine.build(folder, f"{name}-2", "--no-cache")
    assert engine.layers(again) == engine.layers(image)

    code = folder / expected.code
    code.write_text(code.read_text() + "\n# An edit.\nEDITED = 1\n")
    *below, own = engine.layers(engine.build(folder, f"{name}-edited"))
    *below_before, own_before = engine.layers(image)
    assert below == below_before
    assert own != own_before


@RENDER
@pytest.mark.parametrize("version", ["all pins", "mount", "stage below", "environment"])
def test_update_of_a_service_that_was_adopted_is_clean(
    update_matrix: UpdateMatrix, tmp_path: Path, version: str
) -> None:
    folder = write(tmp_path / "mine", MINE | {"libs/x/pyproject.toml": "", "alembic.ini": ""})
    run_copy(
        str(update_matrix.template),
        folder,
        SERVED
        | {"manifests": "libs/x/pyproject.toml", "sources": "src libs/x", "files": "alembic.ini"},
        vcs_ref=NOW,
        defaults=True,
        overwrite=True,
        quiet=True,
    )
    commit(folder)
    update(folder, update_matrix.future(version))
    assert not unmerged(folder)
    assert kept(folder) == MINE


@IMAGE
def test_second_process_is_the_same_image_with_another_command(
    engine: Engine, template: Path, tmp_path: Path
) -> None:
    """In compose.yaml, with no health check, as docs/existing.md says."""
    second = Shape(
        {"pyproject.toml": project("second"), "main.py": app(), "worker.py": 'print("works")\n'}
    )
    folder = second.make(tmp_path / "second")
    adopt(template, folder, port="18438", health_path="/")
    page = (Path(__file__).parents[1] / "docs" / "existing.md").read_text()
    snippet = page.partition("```yaml\n  worker:")[2].partition("```")[0]
    compose = folder / "compose.yaml"
    compose.write_text(compose.read_text() + "\n  worker:" + snippet)
    with engine.compose(folder) as docker_compose:
        docker_compose("up", "--build", "--detach", "--wait", "app")
        docker_compose("up", "--detach", "worker")
        shown = json.loads(docker_compose("ps", "--all", "--format=json", "worker"))
        assert docker("wait", shown["ID"]).stdout == "0\n"
        assert docker("logs", shown["ID"]).stdout == "works\n"
        assert shown["Health"] == ""


@IMAGE
def test_documented_edit_collects_the_static_files_of_django(
    engine: Engine, template: Path, tmp_path: Path
) -> None:
    shape = SHAPES["Django"]
    settings = shape.files["site_of_mine/settings.py"].replace('"static"', 'BASE_DIR / "collected"')
    settings += 'INSTALLED_APPS = ["django.contrib.staticfiles"]\nSTATICFILES_DIRS = [BASE_DIR / "static"]\n'
    files = shape.files | {"site_of_mine/settings.py": settings}
    folder = dataclasses.replace(shape, files=files).make(tmp_path / "django")
    adopt(template, folder, **shape.answers)
    page = (Path(__file__).parents[1] / "docs" / "existing.md").read_text()
    snippet = (
        "RUN --mount=type=bind,from=deps"
        + page.partition("RUN --mount=type=bind,from=deps")[2].partition("```")[0]
    )
    dockerfile = folder / "Dockerfile"
    head, last, tail = dockerfile.read_text().partition("# With --no-cache")
    dockerfile.write_text(head + snippet + last + tail)
    image = engine.build(folder, "collectstatic")
    script = "print(open('collected/site.css').read())"
    assert engine.run(*HARDENED, image, "python", "-c", script).stdout == "css\n"


@IMAGE
def test_plain_script_needs_neither_port_nor_server(
    engine: Engine, template: Path, tmp_path: Path
) -> None:
    """As docs/existing.md says of a fresh `uv init` project."""
    folder = tmp_path / "script"
    run("uv", "init", "--quiet", f"--python={sys.executable}", folder)
    resolve(folder)
    commit(folder)
    adopt(template, folder, port="", command=["script"])
    assert "Hello from script" in engine.run(*HARDENED, engine.build(folder, "script")).stdout
