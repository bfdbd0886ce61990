"""What every service does, whatever its framework, server and image: one set of tests for all."""

import http.client
import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.engine import HARDENED, Container, Engine, docker
from helpers.project import PYTHON, Copy, uv
from helpers.repository import ROOT
from helpers.service import ACCEPT, ORDER, RESOURCES
from helpers.template import ASKED, DEFAULT_PYTHON, PINS, choices, extension
from helpers.template import SERVICES as EVERY_SERVICE

pytestmark = pytest.mark.image

IMAGES = choices(ASKED["image"])


# Those that answer requests; what takes jobs has tests of its own.
SLIM = [
    (service["framework"], service["server"], "slim", DEFAULT_PYTHON)
    for service in EVERY_SERVICE
    if "app.py" in extension(service["framework"])["src"]
]
ASGI = [service for service in SLIM if service[0] not in {"flask", "django"}]
# One for each way to serve, a server and what it calls: for what the framework has no part in.
ONE_A_SERVER = [*{(s[1], s in ASGI): s for s in reversed(SLIM)}.values()]
# The slim ones come first: in the same place in SLIM, they share their images with the other tests.
SERVICES = [
    *SLIM,
    # Of the other images one for each framework, and one for each way to serve.
    *(
        (framework, server, image, DEFAULT_PYTHON)
        for image in IMAGES
        if image != "slim"
        for framework, server, *_ in SLIM
        if server == next(iter(extension(framework)["servers"]))
        or (framework, server, "slim", DEFAULT_PYTHON) in ONE_A_SERVER
    ),
    # Beside the first framework, which the tests of the image build with every Python.
    ("flask", "gunicorn", "slim", "3.11"),
    ("flask", "gunicorn", "slim", "3.15"),
]

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
    # What has come could be taken for all of it.
    "gone-after-an-order": f"Content-Length: 100000\r\n\r\n{json.dumps(ORDER)}",
    # A version of MCP that its SDK takes another way for.
    "gone-in-newer-mcp": f"MCP-Protocol-Version: 2026-07-28\r\n{LENGTH}{{",
}

# What a client may send by mistake or on purpose, in the place of a price.
MISTAKES = {
    "no number": "NaN",
    "no end": "Infinity",
    "a large exponent": "1e99999999",
    "many digits": "9" * 5000,
    "half a character": '"\\ud800"',
    "no text": '"\xff"',
    "no end of brackets": "[" * 50_000,
    "deep brackets": "[" * 50_000 + "]" * 50_000,
}

# An application whose start fails after its import.
NO_DATABASE = """
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

def create_app():
    return app
"""

# Of all that Python prints by itself, what a request can cause.
OUTBURST = """
    import threading, warnings
    class Unraisable:
        def __del__(self):
            raise ValueError("an unraisable error")
    warnings.warn("a warning")
    thread = threading.Thread(target=lambda: [][0])
    thread.start()
    thread.join()
    del Unraisable().unknown
"""

# Settings as a team may extend them: in groups, and with rules for more than one.
GROUPED = """
from pydantic import BaseModel, model_validator

class Pool(BaseModel):
    size: int = 1

class Grouped(Settings, env_nested_delimiter="__"):
    pool: Pool = Pool()

    @model_validator(mode="after")
    def refuse(self):
        raise ValueError("they do not fit together")

Settings = Grouped
"""

# What clients hold a connection with that never send the rest.
HELD = {
    "silence": "",
    "half a header": "POST /quotes HTTP/1.1\r\nHost: local",
    "half a body": f"POST /quotes HTTP/1.1\r\nHost: localhost\r\n{BROKEN['gone-in-its-body']}",
}

# A route for WebSockets, and how a client asks for it.
LIVE = """

from fastapi import WebSocket

@router.websocket("/live")
async def live(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()
"""
UPGRADE = (
    b"GET /quotes/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

# A program that does not wait for another one, whose end it sees by that one's output.
ORPHAN = """
    import subprocess, sys
    leave = "import os; os.fork() or os._exit(0)"
    subprocess.run([sys.executable, "-c", leave], check=True)
"""

# A first process that waits for whatever becomes its child, as a pod's does.
INIT = """
import os, time
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.05)
"""

# How many processes have ended and are waited for by nobody.
ZOMBIES = """
import glob, pathlib
states = [pathlib.Path(name).read_text() for name in glob.glob("/proc/[0-9]*/stat")]
print(sum(") Z " in state for state in states))
"""

# A collector for OpenTelemetry that prints what it gets as a line of JSON, for a minute at most.
COLLECTOR = """
import signal
from google.protobuf.json_format import MessageToJson
from http.server import BaseHTTPRequestHandler, HTTPServer
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import *
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import *

KINDS = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}

class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(MessageToJson(KINDS[self.path].FromString(body), indent=None), flush=True)
        self.send_response(200)
        self.end_headers()

signal.alarm(60)
server = HTTPServer(("127.0.0.1", 4318), Collector)
print("ready", flush=True)
server.serve_forever()
"""

# A container that has the loopback of IPv6 on any engine.
IPV6 = ["--sysctl=net.ipv6.conf.all.disable_ipv6=0", "--sysctl=net.ipv6.conf.lo.disable_ipv6=0"]

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
        self.framework = framework
        self.path, self.body = RESOURCES.get(framework, ("/quotes", ORDER))
        self.base = f"python:{python}-slim-{PINS['suite']}"
        self.folder = f"/app/.venv/lib/python{python}/site-packages/my_service"
        self.project = project
        self.sources = project / "src" / "my_service"
        self.image = engine.build(project, f"{project.parent.name}-{project.name}")

    def ask(self, container: Container, **headers: str) -> tuple[int, dict[str, str], Any]:
        """Send one request to the resource; return its status, headers (small letters) and JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        status, got, body = container.request("POST", self.path, self.body, ACCEPT | sent)
        return status, {name.lower(): value for name, value in got.items()}, body

    def with_source(self, name: str, content: str, folder: Path) -> list[str]:
        """Return the options of docker run that put another source in the place of one."""
        shutil.copytree(self.sources, folder, dirs_exist_ok=True)
        (folder / name).write_text(content)
        folder.chmod(0o755)
        return [f"--volume={folder}:{self.folder}:ro"]

    def that_first(self, does: str, folder: Path) -> list[str]:
        """Return such options with which each price of an order first does something else."""
        pricing = (self.sources / "pricing.py").read_text()
        head = "def price(order: Order) -> Quote:\n"
        assert head in pricing
        return self.with_source("pricing.py", pricing.replace(head, head + does), folder)


def made(
    engine: Engine, copy: Copy, folder: Path, framework: str, server: str, image: str, python: str
) -> Service:
    """Make a project of these answers in a folder, and its image."""
    project = folder / f"{framework}-{python}" / f"{server}-{image}"
    copy(project, framework=framework, server=server, image=image, python_version=python)
    return Service(engine, project, framework, python)


def each(services: list[tuple[str, str, str, str]]) -> pytest.MarkDecorator:
    """Return the mark of a test that asks only these.

    Such a test starts containers of its own. test_image.py has what another image or Python does at
    startup and at a stop.
    """
    return pytest.mark.parametrize("service", services, indirect=True, ids="-".join)


@pytest.fixture(scope="module", params=SERVICES, ids=lambda param: "-".join(param))
def service(
    request: pytest.FixtureRequest,
    engine: Engine,
    copy: Copy,
    tmp_path_factory: pytest.TempPathFactory,
) -> Service:
    """Return a service of each framework on each server and image."""
    return made(engine, copy, tmp_path_factory.mktemp("service"), *request.param)


@pytest.fixture(scope="module")
def running(service: Service) -> Iterator[Container]:
    """Yield a container of it, hardened, with two processes and on another port."""
    options = ["--env=PORT=9000", "--env=WEB_CONCURRENCY=2"]
    with service.engine.serve_hardened(service.image, *options, port=9000) as container:
        yield container


def records(container: Container) -> list[dict[str, Any]]:
    """Return what the service logged; a line that is no JSON object raises ValueError."""
    found = [json.loads(line) for line in container.logs().splitlines()]
    assert all(isinstance(record, dict) for record in found)
    return found


def talk(container: Container, sent: bytes) -> tuple[int, bytes]:
    """Send bytes on a connection, read to its end; return the status, 0 for none, and the body."""
    got = b""
    with socket.create_connection(container.address, timeout=30) as client:
        # A server that refuses need not read to the end.
        with suppress(OSError):
            client.sendall(sent)
        with suppress(OSError):
            while some := client.recv(65536):
                got += some
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def posting(service: Service, body: bytes, *headers: str) -> bytes:
    """Return a request to the resource, whose headers say how long its body is."""
    lines = [
        f"POST {service.path} HTTP/1.1",
        "Host: localhost:9000",
        "Connection: close",
        f"Accept: {ACCEPT['Accept']}",
        "Content-Type: application/json",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_health_is_answered_and_not_logged(running: Container) -> None:
    status, _, body = running.request("GET", "/healthz")
    assert (status, body) == (200, {"status": "ok"})
    # As some load balancers ask.
    head = b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert talk(running, head)[0] == 200
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


def test_mistake_of_a_client_is_none_of_the_service(service: Service, running: Container) -> None:
    """One for which the parser of JSON, the model or the answer has no place."""
    whole = json.dumps(service.body)
    for mistake, value in MISTAKES.items():
        body = whole.replace('"9.99"', value).encode("latin-1")
        sent = posting(service, body, f"Content-Length: {len(body)}", f"X-Request-ID: {mistake}")
        status, answer = talk(running, sent)
        assert 400 <= status < 500 or json.loads(answer)["result"]["isError"], (mistake, answer)
        running.wait_for_log(f'"request_id": "{mistake}"')
    caused = [record for record in records(running) if record.get("request_id") in MISTAKES]
    assert not [record for record in caused if record["level"] == "ERROR"]
    assert max(len(json.dumps(record)) for record in caused) < 10_000


def test_body_has_a_bound(service: Service, running: Container) -> None:
    status, _ = talk(running, posting(service, b"", "Content-Length: 20000000"))
    assert status == 413
    # One that does not say how long it is; what Django reads has its length before it.
    if service.framework != "django":
        chunks = b"100000\r\n%s\r\n" % (b" " * 0x100000) * 12 + b"0\r\n\r\n"
        status, _ = talk(running, posting(service, chunks, "Transfer-Encoding: chunked"))
        assert status == 413


def test_headers_have_a_bound(running: Container) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"a" * 20_000_000
    status, _ = talk(running, head)
    assert status in {0, 400, 431}
    assert running.request("GET", "/healthz")[0] == 200


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


@each(ONE_A_SERVER)
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
    with service.engine.serve_hardened(service.image, *options) as container:
        service.ask(container, X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https")
        container.wait_for_log('"status"')
        (record,) = [record for record in records(container) if "status" in record]
    assert record["path"] == scheme


@each(SLIM)
def test_error_has_its_traceback_in_the_log_alone(service: Service, tmp_path: Path) -> None:
    options = service.that_first('    raise RuntimeError("broken on purpose")\n', tmp_path)
    with service.engine.serve_hardened(service.image, *options) as container:
        status, headers, body = service.ask(container, X_Request_ID="abc-123")
        assert status == 500 or body["result"]["isError"]
        assert "Traceback" not in json.dumps(body)
        assert headers["content-type"].startswith("application/json")
        container.wait_for_log("Traceback")
        (record,) = [record for record in records(container) if "exc_info" in record]
        assert "broken on purpose" in record["exc_info"]
        assert record["request_id"] == "abc-123"


@each(SLIM)
def test_wrong_setting_stops_it_with_one_line(service: Service) -> None:
    """Each of the others is refused in the same place; a project's own tests try them all."""
    done = service.engine.run(*HARDENED, "--env=PORT=http", service.image, check=False)
    assert done.returncode != 0
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.startswith("PORT: ")


@each(SLIM[:1])
@pytest.mark.parametrize(
    ("size", "line"),
    [
        ("a-secret", "POOL__SIZE: Input should be a valid integer"),
        ("2", ": Value error, they do not fit together"),
    ],
)
def test_wrong_setting_of_a_group_stops_it_with_one_line(
    service: Service, tmp_path: Path, size: str, line: str
) -> None:
    source = (service.sources / "settings.py").read_text() + GROUPED
    options = [*service.with_source("settings.py", source, tmp_path), f"--env=POOL__SIZE={size}"]
    done = service.engine.run(*HARDENED, *options, service.image, check=False)
    assert done.returncode != 0
    (told,) = (done.stdout + done.stderr).splitlines()
    assert told.startswith(line)
    assert "a-secret" not in told


@each(ONE_A_SERVER)
@pytest.mark.parametrize("workers", [1, 2])
def test_crash_at_the_start_ends_it(service: Service, tmp_path: Path, workers: int) -> None:
    options = service.with_source("app.py", "raise RuntimeError('no app')\n", tmp_path)
    options.append(f"--env=WEB_CONCURRENCY={workers}")
    with service.engine.serve(service.image, *HARDENED, *options) as container:
        container.wait_for("{{.State.Status}}", "exited", seconds=20)
        assert container.inspect("{{.State.ExitCode}}") != "0"
        (crash, *_) = [record for record in records(container) if "exc_info" in record]
        assert "no app" in crash["exc_info"]


@each([service for service in ONE_A_SERVER if service in ASGI])
@pytest.mark.parametrize("workers", [1, 2])
def test_failure_in_the_lifespan_ends_it(service: Service, tmp_path: Path, workers: int) -> None:
    options = service.with_source("app.py", NO_DATABASE, tmp_path)
    options.append(f"--env=WEB_CONCURRENCY={workers}")
    with service.engine.serve(service.image, *HARDENED, *options) as container:
        container.wait_for("{{.State.Status}}", "exited", seconds=40)
        assert container.inspect("{{.State.ExitCode}}") != "0"
        assert "no database" in {record["message"] for record in records(container)}


@each(ONE_A_SERVER)
@pytest.mark.parametrize("workers", [1, 2])
def test_port_that_is_taken_ends_it(service: Service, workers: int) -> None:
    """By something else, since two of Granian share a port."""
    listen = (
        "import signal, socket; taken = socket.create_server(('', 8000)); print('taken')\n"
        "signal.pause()"
    )
    with service.engine.serve(service.image, command=["python", "-c", listen]) as container:
        container.wait_for_log("taken")
        options = [f"--network=container:{container.name}", f"--env=WEB_CONCURRENCY={workers}"]
        run = service.engine.run(*HARDENED, *options, service.image, check=False)
    assert run.returncode != 0
    assert "address already in use" in run.stdout.lower()


@each(SLIM)
def test_what_python_prints_is_a_line_of_json(service: Service, tmp_path: Path) -> None:
    """Warnings, and errors that nobody catches, in a worker process."""
    options = service.that_first(OUTBURST, tmp_path)
    with service.engine.serve_hardened(service.image, *options) as container:
        service.ask(container)
        container.wait_for_log('"status"')
        found = records(container)
    assert [record for record in found if "a warning" in record["message"]]
    errors = " ".join(record.get("exc_info", "") for record in found)
    assert "IndexError" in errors
    assert "an unraisable error" in errors


def stop_under_load(service: Service, workers: int, signals: int) -> None:
    """Stop a service with hundreds of requests in flight and arriving; none may be lost."""
    options = [*HARDENED, f"--env=WEB_CONCURRENCY={workers}"]
    with service.engine.serve(service.image, *options) as container:
        container.wait_until_healthy()
        client = subprocess.Popen(
            [
                *("docker", "run", "--rm", f"--network=container:{container.name}", service.base),
                *("python", "-u", "-c", (ROOT / "tests/helpers/load.py").read_text()),
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


@each(ONE_A_SERVER)
def test_two_signals_under_load_lose_nothing(service: Service) -> None:
    stop_under_load(service, workers=1, signals=2)


# MCP's SDK has tasks of its own to end.
@each([service for service in SLIM if service in ONE_A_SERVER or service[0] == "mcp"])
def test_one_signal_to_two_processes_loses_nothing(service: Service) -> None:
    stop_under_load(service, workers=2, signals=1)


def logged_as_errors(service: Service) -> str:
    """Start and stop a service that logs errors alone; return what it has logged."""
    with service.engine.serve_hardened(service.image, "--env=LOG_LEVEL=ERROR") as container:
        assert service.ask(container)[0] == 200
        assert container.stop(seconds=10) == 0
        return container.logs()


def test_level_of_the_log_is_the_servers_too(engine: Engine, copy: Copy, tmp_path: Path) -> None:
    services = [made(engine, copy, tmp_path, *service) for service in ONE_A_SERVER]
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(logged_as_errors, services)) == [""] * len(services)


def stopped_with_a_client(service: Service) -> tuple[int, float]:
    """Stop a service while it waits for the body of a request; return its exit code and seconds."""
    with service.engine.serve_hardened(service.image) as container:
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


@each(SLIM[:1])
def test_stop_in_an_import_that_hides_exceptions(service: Service, tmp_path: Path) -> None:
    """As extension modules do, which make another error of what a signal raises in them."""
    stopped = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    hidden = f"{stopped}except SystemExit:\n    raise RuntimeError\n"
    options = service.with_source("settings.py", hidden, tmp_path)
    run = service.engine.run(*HARDENED, *options, service.image, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@each(SLIM)
@pytest.mark.parametrize("seconds", [0, 0.3])
def test_stop_while_it_starts(service: Service, seconds: float) -> None:
    """So many seconds after its first line has run; before, the kernel keeps the signal from it."""
    with service.engine.serve(service.image, *HARDENED) as container:
        container.wait_until_it_catches(signal.SIGTERM)
        time.sleep(seconds)
        assert container.stop(seconds=10) == 0, container.logs()


@contextmanager
def holding(container: Container, sent: str, clients: int) -> Iterator[None]:
    """Hold connections of so many clients that send the same, until the end of the block."""
    with ExitStack() as stack:
        for _ in range(clients):
            client = stack.enter_context(socket.create_connection(container.address, timeout=10))
            client.sendall(sent.encode())
        # The service has taken them before it is asked.
        time.sleep(1)
        yield


def is_alive(container: Container) -> bool:
    """Ask for health with the patience of the image's own health check; say if it is answered."""
    with closing(http.client.HTTPConnection(*container.address, timeout=2)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False


@each([service for service in ONE_A_SERVER if service in ASGI])
@pytest.mark.parametrize("held", HELD)
def test_slow_clients_keep_nobody_from_health(
    service: Service, running: Container, held: str
) -> None:
    with holding(running, HELD[held], clients=100):
        # A busy machine may let it wait once; clients that are not let go would let it wait always.
        assert any(is_alive(running) for _ in range(5))


@each([service for service in ONE_A_SERVER if service not in ASGI])
def test_slow_clients_hold_the_threads_of_wsgi(service: Service, running: Container) -> None:
    """The limit that a project's README tells, and why it wants a proxy in front."""
    with holding(running, HELD["half a body"], clients=40):
        assert not is_alive(running)
    deadline = time.monotonic() + 30
    while not is_alive(running):
        assert time.monotonic() < deadline


@each(ONE_A_SERVER)
def test_host_decides_about_ipv6(service: Service) -> None:
    ask = "import http.client as h; c = h.HTTPConnection('{}', 8000); c.request('GET', '/healthz')"
    with service.engine.serve(service.image, "--env=HOST=::", *IPV6) as container:
        container.wait_until_healthy()
        for address in ("127.0.0.1", "::1"):
            docker("exec", container.name, "python", "-c", ask.format(address))


@each(ONE_A_SERVER)
def test_load_balancer_can_go_first(service: Service) -> None:
    """From SIGTERM on it is told to, and until the delay is over each request is answered."""
    # Django is not ready without a database that it can open.
    database = "--env=DATABASE_URL=sqlite://:memory:"
    options = [*HARDENED, database, "--env=STOP_DELAY=8", "--env=WEB_CONCURRENCY=2"]
    with service.engine.serve(service.image, *options) as container:
        container.wait_until_healthy()
        assert container.request("GET", "/readyz")[::2] == (200, {"status": "ok"})
        docker("kill", "--signal=TERM", container.name)
        time.sleep(1)
        assert container.request("GET", "/readyz")[::2] == (503, {"status": "stopping"})
        assert service.ask(container)[0] == 200
        assert container.request("GET", "/healthz")[0] == 200
        container.wait_for("{{.State.Status}}", "exited")
        assert container.inspect("{{.State.ExitCode}}") == "0"
        assert "/readyz" not in container.logs()


@each([service for service in ONE_A_SERVER if service[0] == "fastapi"])
def test_websocket_is_answered_unless_the_readme_names_a_library(
    service: Service, tmp_path: Path
) -> None:
    quotes = (service.sources / "quotes.py").read_text() + LIVE
    options = service.with_source("quotes.py", quotes, tmp_path)
    with (
        service.engine.serve_hardened(service.image, *options) as container,
        socket.create_connection(container.address, timeout=30) as client,
    ):
        client.sendall(UPGRADE)
        answer = client.recv(1000)
    needs = "`uv add websockets`" in (service.project / "README.md").read_text()
    assert answer.startswith(b"HTTP/1.1 404 " if needs else b"HTTP/1.1 101 ")


@each(SLIM[:1])
def test_orphans_need_another_first_process(service: Service, tmp_path: Path) -> None:
    """Python waits for its own children; in a shared namespace the pod's process does for all."""
    options = [*HARDENED, *service.that_first(ORPHAN, tmp_path)]
    with service.engine.serve(service.image, command=["python", "-c", INIT]) as init:
        for namespace, expected in ([], 1), ([f"--pid=container:{init.name}"], 0):
            with service.engine.serve(service.image, *options, *namespace) as container:
                container.wait_until_healthy()
                assert service.ask(container)[0] == 200
                # The orphan ends at once; a busy machine needs a moment for it.
                time.sleep(1)
                count = ["exec", container.name, "python", "-c", ZOMBIES]
                deadline = time.monotonic() + 20
                while int(docker(*count).stdout) != expected:
                    assert time.monotonic() < deadline
                assert container.stop(seconds=10) == 0


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_traces_have_the_id_of_the_request(
    engine: Engine, copy: Copy, tmp_path: Path, framework: str
) -> None:
    """By the packages, the command and the variables that a project's README names."""
    project = copy(tmp_path / framework, framework=framework, python_version=PYTHON)
    readme = (project / "README.md").read_text()
    (add,) = re.findall(r"^uv add opentelemetry.+$", readme, re.MULTILINE)
    (block,) = re.findall(r"^```yaml\n(command: .+?)^```$", readme, re.MULTILINE | re.DOTALL)
    run = yaml.safe_load(block)
    uv(project, *add.split()[1:], "--no-sync")
    service = Service(engine, project, framework, PYTHON)

    here = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", "WEB_CONCURRENCY": "2"}
    soon = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "100"}
    options = [f"--env={n}={value}" for n, value in (run["environment"] | here | soon).items()]
    spans: list[dict[str, Any]] = []
    metrics: set[str] = set()
    with engine.serve_hardened(service.image, *options, command=run["command"]) as container:
        collect = ["docker", "exec", container.name, "python", "-c", COLLECTOR]
        with subprocess.Popen(collect, stdout=subprocess.PIPE, text=True) as collector:
            assert collector.stdout
            assert collector.stdout.readline() == "ready\n"
            _, headers, _ = service.ask(container)
            while not (spans and metrics) and (line := collector.stdout.readline()):
                sent = json.loads(line)
                for scope in (s for r in sent.get("resourceSpans", []) for s in r["scopeSpans"]):
                    spans += [span for span in scope["spans"] if span["kind"] == "SPAN_KIND_SERVER"]
                for scope in (
                    s for r in sent.get("resourceMetrics", []) for s in r["scopeMetrics"]
                ):
                    metrics |= {m["name"] for m in scope["metrics"] if "http.server" in m["name"]}
            container.stop(seconds=10)

    (span,) = spans
    attributes = {attribute["key"]: attribute["value"] for attribute in span["attributes"]}
    (identity,) = attributes["http.request.header.x_request_id"]["arrayValue"]["values"]
    assert identity == {"stringValue": headers["x-request-id"]}
    assert metrics
