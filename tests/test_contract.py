"""What every service does, whatever its framework, server and image: one set of tests for all."""

import http.client
import itertools
import json
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Copy
from engine import CLOSED, Container, Engine, docker
from test_render import ASKED, PINS, choices, extension
from test_render import SERVICES as EVERY_SERVICE
from updates import WITHOUT_A_LOCK

pytestmark = pytest.mark.image

IMAGES = choices(ASKED["image"])
# What a new project gets; the other versions are asked of one framework.
PYTHON = WITHOUT_A_LOCK["python_version"]

ORDER = {"lines": [{"sku": "A-1", "quantity": 10, "unit_price": "9.99"}]}
# What is sent where, when the resource is no route of its own.
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
TOOL = {"name": "create_quote", "arguments": {"order": ORDER}}
RESOURCES: dict[str, tuple[str, Any]] = {"mcp": ("/mcp", CALL | {"params": TOOL})}
ACCEPT = {"Accept": "application/json, text/event-stream"}


# Those that answer requests; what takes jobs has tests of its own.
# The slim ones come first: in the same place in SLIM, they share their images with the other tests.
SERVICES = [
    *(
        (service["framework"], service["server"], image, PYTHON)
        for image, service in itertools.product(IMAGES, EVERY_SERVICE)
        if "app.py" in extension(service["framework"])["src"]
    ),
    # Beside the first framework, which the tests of the image build with every Python.
    ("flask", "gunicorn", "slim", "3.11"),
    ("flask", "gunicorn", "slim", "3.15"),
]
SLIM = [service for service in SERVICES if service[2:] == ("slim", PYTHON)]
# One for each way to serve: a server, and what it calls.
ONE_A_SERVER = [*{(s[1], s[0] in ("flask", "django")): s for s in reversed(SLIM)}.values()]

# What the middleware logs as the path, and what tells the scheme in the same place.
SCHEMES = {
    '"path": scope["path"]': '"path": scope["scheme"]',
    '"path": path': '"path": environ["wsgi.url_scheme"]',
}

# How a client begins to send what it does not end, by the id of its request.
LENGTH, CHUNKS = "Content-Length: 90\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"
BROKEN = {
    "gone-in-its-body": f"{LENGTH}{{",
    "gone-in-a-chunk": f"{CHUNKS}9\r\n{{",
    "gone-after-a-chunk": f"{CHUNKS}1\r\n{{\r\n",
    "gone-with-no-size": f"{CHUNKS}zz\r\n",
    "gone-with-a-reset": f"{LENGTH}{{",
    # A version of MCP that its SDK takes another way for.
    "gone-in-newer-mcp": f"MCP-Protocol-Version: 2026-07-28\r\n{LENGTH}{{",
}

LOCKS = """
ARG UV PYTHON
FROM ghcr.io/astral-sh/uv:${UV} AS uv
FROM python:${PYTHON}
COPY --from=uv /uv /usr/local/bin/
COPY . /projects
RUN --mount=type=cache,target=/root/.cache/uv \\
    for project in /projects/*/; do uv lock --check --directory "$project" || exit 1; done
"""


@pytest.mark.parametrize("python", choices(ASKED["python_version"]))
def test_every_lock_fits_every_python(
    engine: Engine, copy: Copy, tmp_path: Path, python: str
) -> None:
    for service in EVERY_SERVICE:
        copy(tmp_path / "-".join(service.values()), python_version=python, **service)
    (tmp_path / "Dockerfile").write_text(LOCKS)
    base = f"{python}-slim-{PINS['suite']}"
    options = [f"--build-arg=PYTHON={base}", f"--build-arg=UV={PINS['uv']}"]
    engine.build(tmp_path, f"locks-{python}", *options)


class Service:
    """An image of a service, and how it is asked for what it does."""

    def __init__(self, engine: Engine, project: Path, framework: str, python: str) -> None:
        self.engine = engine
        self.path, self.body = RESOURCES.get(framework, ("/quotes", ORDER))
        self.base = f"python:{python}-slim-{PINS['suite']}"
        self.folder = f"/app/.venv/lib/python{python}/site-packages/my_service"
        self.sources = project / "src" / "my_service"
        self.image = engine.build(project, f"{project.parent.name}-{project.name}")

    def ask(self, container: Container, **headers: str) -> tuple[int, dict[str, str], Any]:
        """Send one request to the resource; give its status, headers (small letters) and JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        status, got, body = container.request("POST", self.path, self.body, ACCEPT | sent)
        return status, {name.lower(): value for name, value in got.items()}, body

    def with_source(self, name: str, content: str, folder: Path) -> list[str]:
        """Give the options of docker run that put another source in the place of one."""
        shutil.copytree(self.sources, folder, dirs_exist_ok=True)
        (folder / name).write_text(content)
        folder.chmod(0o755)
        return [f"--volume={folder}:{self.folder}:ro"]


def made(
    engine: Engine, copy: Copy, folder: Path, framework: str, server: str, image: str, python: str
) -> Service:
    """Make a project of these answers in a folder, and its image."""
    project = folder / f"{framework}-{python}" / f"{server}-{image}"
    copy(project, framework=framework, server=server, image=image, python_version=python)
    return Service(engine, project, framework, python)


@pytest.fixture(scope="module", params=SERVICES, ids=lambda param: "-".join(param))
def service(
    request: pytest.FixtureRequest,
    engine: Engine,
    copy: Copy,
    tmp_path_factory: pytest.TempPathFactory,
) -> Service:
    """Give a service of each framework on each server and image."""
    return made(engine, copy, tmp_path_factory.mktemp("service"), *request.param)


@pytest.fixture(scope="module")
def running(service: Service) -> Iterator[Container]:
    """Give a container of it, closed, with two processes and on another port."""
    options = ["--env=PORT=9000", "--env=WEB_CONCURRENCY=2"]
    with service.engine.serve(service.image, *CLOSED, *options, port=9000) as container:
        container.wait_until_healthy()
        yield container


def records(container: Container) -> list[dict[str, Any]]:
    """Give what the service logged; a line that is no JSON object raises ValueError."""
    found = [json.loads(line) for line in container.logs().splitlines()]
    assert all(isinstance(record, dict) for record in found)
    return found


def test_health_is_answered_and_not_logged(running: Container) -> None:
    status, _, body = running.request("GET", "/healthz")
    assert (status, body) == (200, {"status": "ok"})
    assert "/healthz" not in running.logs()


def test_resource_prices_an_order(service: Service, running: Container) -> None:
    status, _, body = service.ask(running)
    assert status == 200
    assert "99.90" in json.dumps(body)


def test_web_concurrency_is_the_number_of_workers(running: Container) -> None:
    """The process that is the container's, or that one and what it starts."""
    listed = docker("top", running.name, "-eo", "pid,args").stdout.splitlines()
    processes = [line for line in listed if "python" in line and "resource_tracker" not in line]
    assert len(processes) == 3


def test_request_is_logged_with_its_id(service: Service, running: Container) -> None:
    _, headers, _ = service.ask(running, X_Request_ID="abc-123")
    assert headers["x-request-id"] == "abc-123"
    running.wait_for_log("abc-123")
    caused = [record for record in records(running) if record.get("request_id") == "abc-123"]
    (record,) = [record for record in caused if "status" in record]
    expected = {"level": "INFO", "method": "POST", "path": service.path, "status": 200}
    assert expected.items() <= record.items()


def test_unknown_path_is_json(running: Container) -> None:
    status, _, body = running.request("GET", "/nowhere")
    assert status == 404
    assert body["detail"]


def test_bad_request_is_refused_as_json(service: Service, running: Container) -> None:
    body = json.loads(json.dumps(service.body).replace('"quantity": 10', '"quantity": 0'))
    status, _, answer = running.request("POST", service.path, body, ACCEPT)
    assert status in {400, 422} or answer["result"]["isError"]
    assert "Traceback" not in json.dumps(answer)


def test_body_that_is_no_text_is_refused_as_json(service: Service, running: Container) -> None:
    headers = ACCEPT | {"Content-Type": "application/json"}
    with closing(http.client.HTTPConnection(*running.address, timeout=10)) as connection:
        connection.request("POST", service.path, b"\xff{", headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    assert 400 <= response.status < 500
    assert "Traceback" not in json.dumps(answer)


def test_path_is_logged_as_the_text_that_it_is(running: Container) -> None:
    running.request("GET", "/caf%C3%A9")
    running.wait_for_log("/caf")
    assert "/café" in {record.get("path") for record in records(running)}


@pytest.mark.parametrize("broken", BROKEN)
def test_client_that_hangs_up_is_no_error_of_the_service(
    service: Service, running: Container, broken: str
) -> None:
    """In the middle of what it sends; not through Docker's proxy, which would hide how it ends."""
    sent = f"POST {service.path} HTTP/1.1\r\nHost: localhost:9000\r\nX-Request-ID: {broken}\r\n"
    sent += f"Accept: {ACCEPT['Accept']}\r\nContent-Type: application/json\r\n{BROKEN[broken]}"
    address = running.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
    with socket.create_connection((address, 9000), timeout=10) as client:
        if broken == "gone-with-a-reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(sent.encode())
        # Its first part is with the service before the end comes.
        time.sleep(0.3)
    running.wait_for_log(broken)
    caused = [record for record in records(running) if record.get("request_id") == broken]
    assert not [record for record in caused if record["level"] == "ERROR"]
    # The SDK of MCP answers 500 to nobody.
    assert service.path == "/mcp" or caused[-1]["status"] in {400, 422}


@pytest.mark.parametrize("service", SLIM, indirect=True, ids="-".join)
@pytest.mark.parametrize(
    ("options", "scheme"),
    [([], "http"), (["--env=FORWARDED_ALLOW_IPS=*"], "https")],
    ids=["default", "all"],
)
def test_proxy_is_believed_only_where_the_setting_says_so(
    service: Service, tmp_path: Path, options: list[str], scheme: str
) -> None:
    """What the proxy says of the scheme; Granian takes it together with the address alone."""
    middleware = (service.sources / "middleware.py").read_text()
    (path,) = [path for path in SCHEMES if path in middleware]
    changed = middleware.replace(path, SCHEMES[path])
    options = [*service.with_source("middleware.py", changed, tmp_path), *options]
    with service.engine.serve(service.image, *CLOSED, *options) as container:
        container.wait_until_healthy()
        service.ask(container, X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https")
        container.wait_for_log('"status"')
        (record,) = [record for record in records(container) if "status" in record]
    assert record["path"] == scheme


def test_error_has_its_traceback_in_the_log_alone(service: Service, tmp_path: Path) -> None:
    pricing = (service.sources / "pricing.py").read_text()
    head = "def price(order: Order) -> Quote:\n"
    assert head in pricing
    broken = pricing.replace(head, f'{head}    raise RuntimeError("broken on purpose")\n')
    options = service.with_source("pricing.py", broken, tmp_path)
    with service.engine.serve(service.image, *CLOSED, *options) as container:
        container.wait_until_healthy()
        status, headers, body = service.ask(container, X_Request_ID="abc-123")
        assert status == 500 or body["result"]["isError"]
        assert "Traceback" not in json.dumps(body)
        assert headers["content-type"].startswith("application/json")
        container.wait_for_log("Traceback")
        (record,) = [record for record in records(container) if "exc_info" in record]
        assert "broken on purpose" in record["exc_info"]
        assert record["request_id"] == "abc-123"


def test_wrong_setting_stops_it_with_one_line(service: Service) -> None:
    """Each of the others is refused in the same place; a project's own tests try them all."""
    done = service.engine.run(*CLOSED, "--env=PORT=http", service.image, check=False)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("PORT: ")


@pytest.mark.parametrize("workers", [1, 2])
def test_crash_at_the_start_ends_it(service: Service, tmp_path: Path, workers: int) -> None:
    options = service.with_source("app.py", "raise RuntimeError('no app')\n", tmp_path)
    options.append(f"--env=WEB_CONCURRENCY={workers}")
    with service.engine.serve(service.image, *CLOSED, *options) as container:
        container.wait_for("{{.State.Status}}", "exited", seconds=20)
        assert container.inspect("{{.State.ExitCode}}") != "0"
        assert "no app" in container.logs()


def stop_under_load(service: Service, workers: int, signals: int) -> None:
    """Stop a service with hundreds of requests in flight and arriving; none may be lost."""
    options = [*CLOSED, f"--env=WEB_CONCURRENCY={workers}"]
    with service.engine.serve(service.image, *options) as container:
        container.wait_until_healthy()
        client = subprocess.Popen(
            [
                *("docker", "run", "--rm", f"--network=container:{container.name}", service.base),
                *("python", "-u", "-c", (ROOT / "tests" / "load.py").read_text()),
                *("8000", service.path, json.dumps(service.body)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdout
        assert client.stdout.readline() == "ready\n"
        for _ in range(signals):
            docker("kill", "--signal=TERM", container.name)
        container.wait_for("{{.State.Status}}", "exited", seconds=25)
        results = json.loads(client.communicate(timeout=60)[0])
        assert container.inspect("{{.State.ExitCode}}") == "0", container.logs()
        answered = {"HTTP/1.1 200 OK", "refused", "not accepted", "held, HTTP/1.1 200 OK"}
        assert set(results) <= answered, results
        assert results["held, HTTP/1.1 200 OK"] == 200, results
        assert results["HTTP/1.1 200 OK"] >= 50, results


def test_two_signals_under_load_lose_nothing(service: Service) -> None:
    stop_under_load(service, workers=1, signals=2)


@pytest.mark.parametrize("service", SLIM, indirect=True, ids="-".join)
def test_one_signal_to_two_processes_loses_nothing(service: Service) -> None:
    stop_under_load(service, workers=2, signals=1)


def logged_as_errors(service: Service) -> str:
    """Start and stop a service that logs errors alone; give what it has logged."""
    with service.engine.serve(service.image, *CLOSED, "--env=LOG_LEVEL=ERROR") as container:
        container.wait_until_healthy()
        assert service.ask(container)[0] == 200
        assert container.stop(seconds=10) == 0
        return container.logs()


def test_level_of_the_log_is_the_servers_too(engine: Engine, copy: Copy, tmp_path: Path) -> None:
    services = [made(engine, copy, tmp_path, *service) for service in ONE_A_SERVER]
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(logged_as_errors, services)) == [""] * len(services)


def stopped_with_a_client(service: Service) -> tuple[int, float]:
    """Stop a service while it waits for the body of a request; give its exit code and seconds."""
    with service.engine.serve(service.image, *CLOSED) as container:
        container.wait_until_healthy()
        head = f"POST {service.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        with socket.create_connection(container.address, timeout=30) as client:
            client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert client.recv(100).startswith(b"HTTP/1.1 100 ")
            start = time.monotonic()
            return container.stop(seconds=29), time.monotonic() - start


def test_stop_does_not_wait_for_a_client_for_ever(
    engine: Engine, copy: Copy, tmp_path: Path
) -> None:
    """One whose body never comes is given up before the 30 seconds that a platform waits."""
    services = [made(engine, copy, tmp_path, *service) for service in ONE_A_SERVER]
    # All at once, since each takes its 25 seconds.
    with ThreadPoolExecutor() as pool:
        stops = list(pool.map(stopped_with_a_client, services))
    assert [code for code, _ in stops] == [0] * len(services)
    assert min(seconds for _, seconds in stops) > 20, f"given up before its 25 seconds: {stops}"


@pytest.mark.parametrize("service", SLIM[:1], indirect=True, ids="-".join)
def test_stop_in_an_import_that_hides_exceptions(service: Service, tmp_path: Path) -> None:
    """As extension modules do, which make another error of what a signal raises in them."""
    stopped = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    hidden = f"{stopped}except SystemExit:\n    raise RuntimeError\n"
    options = service.with_source("settings.py", hidden, tmp_path)
    run = service.engine.run(*CLOSED, *options, service.image, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_stop_while_it_starts(service: Service, seconds: float) -> None:
    """So many seconds after its first line has run; before, the kernel keeps the signal from it."""
    with service.engine.serve(service.image, *CLOSED) as container:
        container.wait_until_it_catches(signal.SIGTERM)
        time.sleep(seconds)
        assert container.stop(seconds=10) == 0, container.logs()
