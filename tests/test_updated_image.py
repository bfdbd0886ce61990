"""A project that was edited and updated still builds, and runs with its edits in it."""

import re

import pytest
from helpers.edits import EDITS
from helpers.engine import Engine
from helpers.repository import releases
from helpers.service import fetch
from helpers.updates import NOW, Answers, UpdateMatrix, unmerged, update

pytestmark = pytest.mark.image

RUN_TIME = [
    "a command in app",
    "an environment variable",
    "another copy",
    "a build argument",
    "a label",
    "another interval of the health check",
    "a variable in compose",
]
FIRST, *_ = [*releases()]
*_, LAST = [*releases()]


@pytest.mark.parametrize(
    ("version", "answers"),
    [
        pytest.param(FIRST, {}, id="the first release"),
        pytest.param(FIRST, {"python_version": "3.11", "uv_version": "0.8.0"}, id="old tools"),
        pytest.param(LAST, {"image": "distroless"}, id="distroless"),
    ],
)
def test_updated_project_builds_and_serves(
    update_matrix: UpdateMatrix, engine: Engine, version: str, answers: Answers
) -> None:
    with update_matrix.edited(version, answers, *(EDITS[name] for name in RUN_TIME)) as project:
        update(project, NOW)
        assert not unmerged(project)
        image = engine.build(project, f"updated-{version}-{len(answers)}")
    with engine.serve(image) as container:
        container.wait_until_healthy()
        assert container.request("GET", "/healthz")[0] == 200
        assert (
            container.inspect('{{index .Config.Labels "org.opencontainers.image.vendor"}}') == "A"
        )
        environment = container.inspect('{{join .Config.Env " "}}')
        assert "TZ=Europe/Berlin" in environment
        assert "REV=none" in environment
        assert container.inspect("{{.Config.Healthcheck.Interval}}") == "10s"
    shown = ["python", "-c", "print(open('/app/static/logo.txt').read(), end='')"]
    assert engine.run(image, *shown).stdout == "a logo\n"


@pytest.mark.parametrize("version", releases())
def test_updated_django_serves_its_static_files_as_before(
    update_matrix: UpdateMatrix, engine: Engine, version: str
) -> None:
    """Under names with a hash, unless its source has no place to collect them in."""
    with update_matrix.edited(version, {"framework": "django"}) as project:
        update(project, NOW)
        assert not unmerged(project)
        (package,) = (project / "src").iterdir()
        hashed = "STATIC_ROOT" in (package / "settings.py").read_text()
        image = engine.build(project, f"updated-django-{version}")
    with engine.serve_hardened(image) as container:
        page = fetch(container, "/admin/login/")[2]
        (styles,) = re.findall(r'href="(/static/admin/css/base\b.*?\.css)"', page)
        status, headers, _ = fetch(container, styles)
    assert (styles != "/static/admin/css/base.css") == hashed
    cached = "max-age=315360000, public, immutable" if hashed else "max-age=60, public"
    assert (status, headers["Cache-Control"]) == (200, cached)
