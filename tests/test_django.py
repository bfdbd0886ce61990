"""What Django does with a real PostgreSQL and with its static files, on a real engine."""

import http.client
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from helpers.engine import HARDENED, Container, Engine, docker
from helpers.files import append, write
from helpers.project import Copy
from helpers.service import fetch

pytestmark = pytest.mark.image

# Debian's, set up by the variable that the image of compose.yaml takes.
POSTGRES = """\
FROM python:3.13-slim-trixie
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql \\
    && echo "host all all all scram-sha-256" | tee --append /etc/postgresql/*/main/pg_hba.conf
COPY --chmod=755 start.sh /
USER postgres
CMD ["/start.sh"]
"""
START = """\
#!/bin/sh
set -eu
postgres=$(echo /usr/lib/postgresql/*/bin/postgres)
cd /etc/postgresql/*/main
echo "ALTER USER postgres PASSWORD '$POSTGRES_PASSWORD'" | "$postgres" --single -D . postgres
exec "$postgres" -D . -c 'listen_addresses=*'
"""

# Both servers and both images.
KINDS = [("gunicorn", "slim"), ("granian", "distroless")]
MANAGE = ["python", "-m", "my_service.manage"]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def project(
    request: pytest.FixtureRequest, copy: Copy, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a project of each kind."""
    server, image = request.param
    folder = tmp_path_factory.mktemp("django") / f"{server}-{image}"
    return copy(folder, framework="django", server=server, image=image)


@pytest.fixture(scope="module")
def image(engine: Engine, project: Path) -> str:
    """Return the image of a project."""
    return engine.build(project, f"django-{project.name}")


@pytest.fixture(scope="module")
def postgres_image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an image of Debian's PostgreSQL."""
    files = {"Dockerfile": POSTGRES, "start.sh": START}
    return engine.build(write(tmp_path_factory.mktemp("postgres"), files), "postgres")


@pytest.fixture
def at(network: str) -> list[str]:
    """Return the options that lead a container to the database, started or not."""
    url = "postgres://postgres:a%20secret@postgres/postgres"
    return [f"--network={network}", f"--env=DATABASE_URL={url}"]


@pytest.fixture
def postgres(engine: Engine, postgres_image: str, at: list[str]) -> Iterator[Container]:
    """Yield a database that answers; its tables are not made."""
    options = [at[0], "--network-alias=postgres", "--env=POSTGRES_PASSWORD=a secret"]
    with engine.serve(postgres_image, *options) as container:
        container.wait_for_log("ready to accept connections")
        yield container


def migrate(engine: Engine, image: str, at: list[str], *options: str) -> None:
    """Run the migrations as a README of a project says, in a hardened container."""
    engine.run(*HARDENED, *at, image, *MANAGE, "migrate", *options)


def cookies(headers: http.client.HTTPMessage) -> dict[str, str]:
    """Return the cookies that an answer sets."""
    found = SimpleCookie("\n".join(headers.get_all("Set-Cookie", [])))
    return {name: morsel.value for name, morsel in found.items()}


def readiness(container: Container, requests: int = 16) -> set[int]:
    """Return the status of many requests for readiness, which reach all threads of the service."""
    with ThreadPoolExecutor(requests) as pool:
        found = pool.map(lambda _: fetch(container, "/readyz")[0], range(requests))
        return set(found)


def wait_until_ready(container: Container) -> None:
    """Wait until each of many requests for readiness is answered with 200."""
    deadline = time.monotonic() + 60
    while (found := readiness(container)) != {200}:
        assert time.monotonic() < deadline, f"{found}\n{container.logs()}"
        time.sleep(0.5)


def test_person_logs_in_to_the_admin_after_the_migrations(
    engine: Engine, image: str, postgres: Container, at: list[str]
) -> None:
    """The migrations, the person and the session are written by hardened containers, and read."""
    migrate(engine, image, at)
    migrate(engine, image, at, "--check")
    person = ["--username=ada", "--email=ada@example.com"]
    password = "--env=DJANGO_SUPERUSER_PASSWORD=correct horse"
    engine.run(*HARDENED, *at, password, image, *MANAGE, "createsuperuser", "--no-input", *person)
    with engine.serve_hardened(image, *at) as service:
        token = cookies(fetch(service, "/admin/login/")[1])["csrftoken"]
        form = {"username": "ada", "password": "correct horse", "csrfmiddlewaretoken": token}
        status, headers, _ = fetch(service, "/admin/login/", form, f"csrftoken={token}")
        assert status == 302, service.logs()
        session = cookies(headers)["sessionid"]
        status, _, page = fetch(service, "/admin/my_service/user/", None, f"sessionid={session}")
    assert status == 200
    assert "ada@example.com" in page


def test_readiness_is_that_of_the_database_and_health_is_not(
    engine: Engine, image: str, postgres: Container, at: list[str]
) -> None:
    docker("stop", postgres.name)
    with engine.serve_hardened(image, *at) as service:
        assert readiness(service, 1) == {503}
        assert "cannot query the database" in service.logs()
        docker("start", postgres.name)
        wait_until_ready(service)
        # Each thread has a connection, which is lost.
        docker("stop", postgres.name)
        assert readiness(service) == {503}
        assert fetch(service, "/healthz")[0] == 200
        docker("start", postgres.name)
        wait_until_ready(service)
        assert "Traceback" not in service.logs()


def test_process_has_no_more_connections_than_threads(
    engine: Engine, image: str, postgres: Container, at: list[str]
) -> None:
    with engine.serve_hardened(image, *at) as service:
        for _ in range(8):
            assert readiness(service, 32) == {200}
        query = "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL"
        psql = ["exec", postgres.name, "psql", "--tuples-only", f"--command={query}"]
        assert 1 <= int(docker(*psql).stdout) <= 8


def test_admin_has_its_style_under_a_name_for_good(engine: Engine, image: str) -> None:
    with engine.serve_hardened(image) as service:
        status, _, page = fetch(service, "/admin/login/")
        assert status == 200
        styles = re.findall(r'<link rel="stylesheet" href="(.+?)"', page)
        scripts = re.findall(r'<script src="(.+?)"', page)
        assert styles
        assert scripts
        for path in styles + scripts:
            assert re.fullmatch(r"/static/admin/\w+/\w+\.[0-9a-f]{12}\.(css|js)", path)
            status, headers, text = fetch(service, path)
            assert status == 200
            assert headers["Content-Type"].startswith(("text/css", "text/javascript"))
            assert headers["Cache-Control"] == "max-age=315360000, public, immutable"
            assert "{" in text


def test_static_files_are_the_same_from_each_build(
    engine: Engine, project: Path, image: str
) -> None:
    layers = engine.layers(image)
    again = engine.build(project, f"django-again-{project.name}", "--no-cache-filter=static")
    assert engine.layers(again) == layers
    append(project, "src/my_service/pricing.py", "# An edit.\n")
    edited = engine.layers(engine.build(project, f"django-edited-{project.name}"))
    assert [new for new, old in zip(edited, layers, strict=True) if new != old] == edited[-1:]


def test_files_of_the_image_are_roots_and_have_one_date(
    engine: Engine, project: Path, image: str
) -> None:
    script = """
import pathlib
paths = list(pathlib.Path("/app/staticfiles").rglob("*"))
print(len(paths) > 200, {path.stat().st_mtime for path in paths})
"""
    assert engine.run(image, "python", "-c", script).stdout == "True {315532800.0}\n"
    check = (project / "scripts" / "read_only.py").read_text()
    engine.run(image, "python", "-c", check)


def test_compose_makes_the_tables_and_then_starts_the_service(
    engine: Engine, postgres_image: str, copy: Copy, tmp_path: Path
) -> None:
    answers = {"framework": "django", "port": "18438", "package_name": "shop"}
    project = copy(tmp_path / "shop", **answers)
    beside = f"services:\n  postgres:\n    image: {postgres_image}\n"
    write(project, {"compose.override.yaml": beside})
    with engine.compose(project) as compose:
        # As a person does, and then as the pipelines do.
        compose("up", "--build", "--detach")
        compose("up", "--detach", "--no-build", "--wait", "--wait-timeout=60", "app")
        with closing(http.client.HTTPConnection("127.0.0.1", 18438, timeout=30)) as connection:
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == 200
        compose("run", "--rm", "app", "python", "-m", "shop.manage", "migrate", "--check")
        compose("run", "--rm", "migrate")
        compose("stop")
        shown = compose("ps", "--all", "--format=json").splitlines()
        ended = {c["Service"]: c["ExitCode"] for c in map(json.loads, shown)}
        assert ended == {"app": 0, "migrate": 0, "postgres": 0}
