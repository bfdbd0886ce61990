"""Services of every shape that the template can adopt, as data: their files, and the answers that it cannot read."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from helpers.files import write
from helpers.programs import run
from helpers.repository import commit

APP = """\
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
{imports}

def index(request):
    return PlainTextResponse({answer})


app = Starlette(routes=[Route("/", index)])
"""
PROJECT = """\
[project]
name = "{name}"
{version}
requires-python = ">=3.11"
dependencies = [{dependencies}]
"""
SERVER = '"starlette", "uvicorn"'
HATCH = '\n[build-system]\nrequires = ["hatchling"{more}]\nbuild-backend = "hatchling.build"\n'
SETUPTOOLS = (
    '\n[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
)
POETRY = (
    '\n[build-system]\nrequires = ["poetry-core>=2"]\nbuild-backend = "poetry.core.masonry.api"\n'
)
STATIC = 'version = "1.2.3"'


def app(answer: str = '"here"', imports: str = "") -> str:
    """Return the source of a service that answers a request for / with the value of an expression."""
    return APP.format(answer=answer, imports=imports + "\n" if imports else "")


def project(name: str, dependencies: str = SERVER, version: str = STATIC) -> str:
    """Return the [project] table of a pyproject.toml."""
    return PROJECT.format(name=name, dependencies=dependencies, version=version)


def resolve(folder: Path, **environment: str) -> None:
    """Write the lock of a project with uv, with variables beside those of this process."""
    # The Python of these tests, since the one of .python-version need not be on this machine.
    run("uv", "lock", "--quiet", f"--python={sys.executable}", cwd=folder, env=environment)


@dataclass(frozen=True)
class Shape:
    """A service that is there already."""

    files: dict[str, str]
    # What it answers, started in the folder in which the image starts it.
    answer: str = "here"
    # The file that an edit of the code changes.
    code: str = ""
    answers: dict[str, object] = field(default_factory=dict)

    def make(self, folder: Path) -> Path:
        """Write the service into a folder, resolve its lock and commit all of it."""
        commit(write(folder, self.files))
        resolve(folder)
        commit(folder)
        return folder


OWNED = {
    ".gitignore": "mine\n",
    ".editorconfig": "root = true\n",
    ".gitattributes": "* text\n",
    ".python-version": "3.12\n",
    "README.md": "# Mine\n",
    "tests/test_app.py": "def test_nothing(): ...\n",
}

DJANGO_SETTINGS = """\
from pathlib import Path

BASE_DIR = Path(__file__).parents[1]
SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site_of_mine.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE_DIR / "templates"]}]
STATIC_URL = "static/"
STATIC_ROOT = "static"
"""
DJANGO_URLS = """\
from pathlib import Path

from django.http import HttpResponse
from django.template.loader import render_to_string
from django.urls import path


def index(request):
    return HttpResponse(render_to_string("index.html") + Path("static/site.css").read_text())


urlpatterns = [path("", index)]
"""
DJANGO_MANAGE = """\
import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_mine.settings")
execute_from_command_line(sys.argv)
"""
DJANGO_WSGI = """\
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_mine.settings")
application = get_wsgi_application()
"""
WORKSPACE = '\n[tool.uv.workspace]\nmembers = ["libs/*", "services/*"]\n'
CORE = "\n[tool.uv.sources]\ncore = { workspace = true }\n"

SHAPES = {
    "flat, no package": Shape(
        {
            "pyproject.toml": project("flat"),
            "main.py": app(
                '(pathlib.Path("static") / "a.txt").read_text() + lib.NAME',
                "import pathlib\n\nimport lib",
            ),
            "lib/__init__.py": 'NAME = "lib"\n',
            "static/a.txt": "static ",
        },
        answer="static lib",
        code="lib/__init__.py",
        answers={"health_path": "/"},
    ),
    "src, hatchling, README": Shape(
        {
            "pyproject.toml": project(
                "my-orders", version=STATIC + '\nreadme = "README.md"\nlicense-files = ["LICENSE"]'
            )
            + HATCH.format(more=""),
            "LICENSE": "MIT\n",
            "src/my_orders/__init__.py": "",
            "src/my_orders/main.py": app(
                'version("my-orders")', "from importlib.metadata import version"
            ),
        },
        answer="1.2.3",
        code="src/my_orders/main.py",
        answers={"health_path": "/"},
    ),
    "workspace": Shape(
        {
            "pyproject.toml": project("everything", "") + WORKSPACE,
            "services/api/pyproject.toml": project("api", SERVER + ', "core"')
            + CORE
            + HATCH.format(more=""),
            "services/api/api/__init__.py": "",
            "services/api/api/main.py": app("core.NAME", "import core"),
            "services/other/pyproject.toml": project("other", '"tomlkit"') + HATCH.format(more=""),
            "services/other/other/__init__.py": "",
            "libs/core/pyproject.toml": project("core", "") + SETUPTOOLS,
            "libs/core/core/__init__.py": 'NAME = "core"\n',
        },
        answer="core",
        code="services/api/api/main.py",
        answers={
            "uv_options": "--package api",
            "command": ["uvicorn", "api.main:app", "--host=0.0.0.0", "--port=8000"],
            "health_path": "/",
        },
    ),
    "version from git": Shape(
        {
            "pyproject.toml": project("tagged", version='dynamic = ["version"]')
            + '\n[tool.hatch.version]\nsource = "vcs"\n'
            + HATCH.format(more=', "hatch-vcs"'),
            "src/tagged/__init__.py": "",
            "src/tagged/app.py": app('version("tagged")', "from importlib.metadata import version"),
        },
        answer="0.0.0.dev0",
        code="src/tagged/app.py",
        answers={"health_path": "/"},
    ),
    "extras and groups": Shape(
        {
            "pyproject.toml": project("extra", '"starlette"')
            + '\n[project.optional-dependencies]\nserver = ["uvicorn"]\n'
            + '\n[dependency-groups]\nproduction = ["tomlkit"]\ndev = ["pytest", "ruff"]\n'
            + POETRY,
            "src/extra/__init__.py": "",
            "src/extra/main.py": app("tomlkit.dumps({})" + ' + "both"', "import tomlkit"),
        },
        answer="both",
        code="src/extra/main.py",
        answers={
            "uv_options": "--extra server --group production",
            "command": ["uvicorn", "extra.main:app", "--host", "0.0.0.0", "--port", 8000],
            "health_path": "/",
        },
    ),
    "Django": Shape(
        {
            "pyproject.toml": project("shop", '"django", "gunicorn"'),
            "manage.py": DJANGO_MANAGE,
            "site_of_mine/__init__.py": "",
            "site_of_mine/settings.py": DJANGO_SETTINGS,
            "site_of_mine/urls.py": DJANGO_URLS,
            "site_of_mine/wsgi.py": DJANGO_WSGI,
            "templates/index.html": "template ",
            "static/site.css": "css",
        },
        answer="template css",
        code="site_of_mine/urls.py",
        answers={
            "health_path": "/",
            "command": ["gunicorn", "--bind=0.0.0.0:8000", "site_of_mine.wsgi"],
        },
    ),
    "libraries, uv.toml": Shape(
        {
            "pyproject.toml": project("flatly", SERVER + ', "rates"')
            + '\n[tool.uv.sources]\nrates = { path = "libs/rates" }\n'
            + '\n[build-system]\nrequires = ["uv_build>=0.8,<1"]\nbuild-backend = "uv_build"\n'
            + '\n[tool.uv.build-backend]\nmodule-root = ""\n',
            "uv.toml": 'exclude-newer = "2026-11-01T00:00:00Z"\n',
            "libs/rates/pyproject.toml": project("rates", "") + HATCH.format(more=""),
            "libs/rates/rates/__init__.py": 'NAME = "rates"\n',
            "flatly/__init__.py": "",
            "flatly/main.py": app("rates.NAME", "import rates"),
        },
        answer="rates",
        code="flatly/main.py",
        answers={"health_path": "/"},
    ),
}
