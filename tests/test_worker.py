"""What a worker does, which has no port: with a real broker, on a real engine."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from helpers.engine import HARDENED, Container, Engine, docker
from helpers.project import Copy
from helpers.service import BROKER, ORDER
from helpers.template import ASKED, choices

pytestmark = pytest.mark.image


# How another program hands in many jobs.
JOBS = 1000
ENQUEUE = f"""
import asyncio
from my_service.jobs import quote, worker
async def main():
    async with worker:
        await worker.enqueue_many([quote.enqueue({ORDER}) for _ in range({JOBS})])
asyncio.run(main())
"""


@pytest.fixture(scope="module", params=choices(ASKED["image"]))
def image(
    request: pytest.FixtureRequest,
    engine: Engine,
    copy: Copy,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """Return the image of a worker."""
    folder = tmp_path_factory.mktemp(f"worker-{request.param}") / "project"
    project = copy(folder, framework="worker", image=request.param)
    return engine.build(project, f"worker-{request.param}")


@pytest.fixture(scope="module")
def broker_image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the image of a broker that keeps nothing."""
    folder = tmp_path_factory.mktemp("broker")
    (folder / "Dockerfile").write_text(BROKER)
    return engine.build(folder, "broker")


@pytest.fixture
def at(network: str) -> list[str]:
    """Return the options that lead a container to the broker, started or not."""
    return [f"--network={network}", "--env=REDIS_URL=redis://broker:6379/0"]


@contextmanager
def running_broker(engine: Engine, broker_image: str, network: str) -> Iterator[Container]:
    """Start a broker, and remove it at the end."""
    options = [f"--network={network}", "--network-alias=broker"]
    with engine.serve(broker_image, *options) as container:
        container.wait_for_log("Ready to accept connections")
        yield container


@pytest.fixture
def broker(engine: Engine, broker_image: str, network: str) -> Iterator[Container]:
    """Yield a broker that has started."""
    with running_broker(engine, broker_image, network) as container:
        yield container


def ended(worker: Container) -> list[dict[str, Any]]:
    """Return what the worker has logged of the jobs that it ended; every line must be JSON."""
    records = [json.loads(line) for line in worker.logs().splitlines()]
    return [record for record in records if record["message"] == "job"]


def redis(broker: Container, *command: str) -> str:
    """Ask the broker itself."""
    return docker("exec", broker.name, "redis-cli", *command).stdout.strip()


def counts(broker: Container) -> tuple[int, int]:
    """Return how many jobs are done, and how many wait or are under way."""
    done = redis(broker, "ZCARD", "streaq:default:index:results")
    return int(done), int(redis(broker, "XLEN", "streaq:default:queues:normal"))


def ask(worker: Container, order: Any) -> Any:
    """Hand in a job as a project's README says, and return its result."""
    command = ["python", "-m", "my_service.enqueue", "quote", json.dumps({"order": order})]
    return json.loads(docker("exec", worker.name, *command).stdout)


def probe(worker: Container, *options: str) -> int:
    """Run the command that a project's README has for Kubernetes; return its exit code."""
    command = ["python", "-m", "my_service.health", *options]
    return docker("exec", worker.name, *command, check=False).returncode


def test_hardened_worker_turns_healthy_does_a_job_and_stops(
    engine: Engine, image: str, broker: Container, at: list[str]
) -> None:
    with engine.serve_hardened(image, *at) as worker:
        worker.wait_for_log("connected to Redis")
        assert ask(worker, ORDER) == {"total": "99.90"}
        assert worker.stop(seconds=10) == 0
        (record,) = ended(worker)

    assert record["request_id"]
    assert (record["function"], record["status"]) == ("quote", "complete")


def test_failed_job_is_logged_with_its_id_and_traceback(
    engine: Engine, image: str, broker: Container, at: list[str]
) -> None:
    with engine.serve_hardened(image, *at) as worker:
        with pytest.raises(AssertionError, match="ValueError: job"):
            ask(worker, {"lines": []})
        assert ask(worker, ORDER) == {"total": "99.90"}
        worker.stop(seconds=10)
        failed, _ = ended(worker)
        records = [json.loads(line) for line in worker.logs().splitlines()]

    assert failed["status"] == "failed"
    (error,) = (record for record in records if record["level"] == "ERROR")
    assert "ValidationError" in error["exc_info"]
    assert error["request_id"] == failed["request_id"]


@pytest.mark.parametrize("signals", [1, 2])
def test_stop_under_load_loses_no_job(
    engine: Engine, image: str, broker: Container, at: list[str], signals: int
) -> None:
    """The broker is silent for a while, so that jobs are under way when the signals come."""
    engine.run(*at, image, "python", "-c", ENQUEUE)
    with engine.serve(image, *HARDENED, *at, "--env=CONCURRENCY=50") as worker:
        worker.wait_for_log('"message": "job"')
        redis(broker, "CLIENT", "PAUSE", "2000", "ALL")
        for _ in range(signals - 1):
            docker("kill", "--signal=TERM", worker.name)
        assert worker.stop(seconds=25) == 0
        jobs = ended(worker)

    assert 0 < len(jobs) < JOBS
    assert len({job["request_id"] for job in jobs}) == len(jobs)
    assert {job["status"] for job in jobs} == {"complete"}
    assert counts(broker) == (len(jobs), JOBS - len(jobs))


@pytest.mark.parametrize("image", ["slim"], indirect=True)
def test_jobs_of_a_killed_worker_are_done_by_another(
    engine: Engine, image: str, broker: Container, at: list[str]
) -> None:
    """It takes more than a minute; the kind of image decides nothing of it."""
    engine.run(*at, image, "python", "-c", ENQUEUE)
    with engine.serve(image, *HARDENED, *at) as worker:
        worker.wait_for_log('"message": "job"')
        docker("kill", worker.name)
    assert counts(broker)[0] < JOBS
    with engine.serve(image, *HARDENED, *at):
        # They are taken over after a minute without a word of the first worker.
        deadline = time.monotonic() + 180
        while counts(broker) != (JOBS, 0) and time.monotonic() < deadline:
            time.sleep(1)
    assert counts(broker) == (JOBS, 0)


def test_broker_that_comes_late_is_waited_for(
    engine: Engine, image: str, broker_image: str, network: str, at: list[str]
) -> None:
    with engine.serve_hardened(image, *at) as worker:
        worker.wait_for_log("cannot connect to Redis")
        assert (probe(worker), probe(worker, "--ready")) == (0, 1)
        with running_broker(engine, broker_image, network):
            assert ask(worker, ORDER) == {"total": "99.90"}
            assert (probe(worker), probe(worker, "--ready")) == (0, 0)
        # When it is lost, the worker ends and says so; who runs it starts it again.
        assert docker("wait", worker.name).stdout.strip() == "1"
        *_, last = (json.loads(line) for line in worker.logs().splitlines())
    assert last["level"] == "ERROR"
    assert "coredis" in last["exc_info"]


@pytest.mark.parametrize("image", ["slim"], indirect=True)
def test_broker_that_never_answers_is_told_once(
    engine: Engine, image: str, broker: Container, network: str
) -> None:
    """One without TLS waits without end for the rest of what it takes for a command."""
    options = [f"--network={network}", "--env=REDIS_URL=rediss://broker:6379/0"]
    with engine.serve(image, *HARDENED, *options) as worker:
        worker.wait_for_log("cannot connect to Redis")
        time.sleep(15)
        assert worker.logs().count("cannot connect to Redis") == 1


def test_stop_ends_with_0_while_the_broker_is_away(
    engine: Engine, image: str, at: list[str]
) -> None:
    with engine.serve_hardened(image, *at) as worker:
        assert worker.stop(seconds=25) == 0


def test_stop_while_it_starts_ends_with_0(engine: Engine, image: str, at: list[str]) -> None:
    with engine.serve(image, *HARDENED, *at) as worker:
        # Before, the kernel keeps the signal from the first process.
        worker.wait_until_it_catches(signal.SIGTERM)
        assert worker.stop(seconds=10) == 0


def test_event_loop_that_hangs_is_unhealthy(
    engine: Engine, image: str, broker: Container, at: list[str]
) -> None:
    often = ["--health-interval=1s", "--health-retries=1"]
    with engine.serve_hardened(image, *at, *often) as worker:
        docker("kill", "--signal=STOP", worker.name)
        worker.wait_for("{{.State.Health.Status}}", "unhealthy")
        assert (probe(worker), probe(worker, "--ready")) == (1, 1)
        docker("kill", "--signal=CONT", worker.name)
        worker.wait_until_healthy()
        assert probe(worker) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "broker:6379"),
        ("CONCURRENCY", "0"),
        ("LOG_LEVEL", "loud"),
        ("HEARTBEAT_FILE", "/nonexistent/heartbeat"),
    ],
)
def test_wrong_setting_stops_it_at_once_with_one_line(
    engine: Engine, image: str, name: str, value: str
) -> None:
    run = engine.run(f"--env={name}={value}", image, check=False)
    assert run.returncode == 1
    (line,) = (run.stdout + run.stderr).splitlines()
    assert line.startswith(f"{name}: ")


def test_image_has_no_port(image: str) -> None:
    config = json.loads(docker("image", "inspect", "--format={{json .Config}}", image).stdout)
    assert not config.get("ExposedPorts")
    assert not [variable for variable in config["Env"] if variable.startswith("PORT=")]
