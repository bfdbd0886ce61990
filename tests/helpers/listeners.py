"""Programs that listen on a port of loopback while a test runs."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, socket

from helpers.programs import skip_or_fail

SECONDS = 30
PROXY_USER, PROXY_PASSWORD = "proxied", "the-planted-proxy-password"


def free_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def listening(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a program, from when it listens on a port until the end of the block.

    Args:
        command: the program and its arguments.
        port: where it listens on localhost.
        log: the file that gets what it prints.

    Raises:
        AssertionError: it ended, or does not listen after SECONDS; with its log.
    """
    with log.open("a") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=printed)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                create_connection(("localhost", port)).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def proxy(folder: Path) -> Iterator[tuple[str, Path]]:
    """Run a proxy that wants a login; yield its address with the login, and its log."""
    port = free_port()
    if not shutil.which("tinyproxy"):
        skip_or_fail("tinyproxy is not installed")
    settings, log = folder / "tinyproxy.conf", folder / "tinyproxy.log"
    settings.write_text(
        f"Port {port}\nListen 127.0.0.1\nBasicAuth {PROXY_USER} {PROXY_PASSWORD}\n"
        f'LogFile "{log}"\nLogLevel Connect\n'
    )
    log.touch()
    command = ["tinyproxy", "-d", "-c", str(settings)]
    with listening(command, port, folder / "tinyproxy.out"):
        yield f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{port}", log
