"""A git server on loopback, with a package behind a login: over HTTPS, and over SSH."""

import base64
import contextlib
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

from helpers.engine import secret_options
from helpers.files import write
from helpers.listeners import free_port, listening
from helpers.programs import run, skip_or_fail
from helpers.repository import commit, git

USER, TOKEN = "the-git-user", "the-planted-token"
PACKAGE = {
    "pyproject.toml": """
[project]
name = "acme-private"
version = "1.0"
requires-python = ">=3.11"

[build-system]
requires = ["uv_build>=0.8"]
build-backend = "uv_build"
""",
    "src/acme_private/__init__.py": 'HELLO = "hello from git"\n',
}


@dataclass
class GitServer:
    """Where a repository is, and what opens it."""

    answer: str
    address: str
    # The values of the secrets of a build.
    secrets: dict[str, str]
    # The values of what a pipeline has beside them.
    private_key: dict[str, str]
    # What a developer has in the environment.
    environment: dict[str, str]

    @property
    def pipeline_secrets(self) -> dict[str, str]:
        """The variables of a pipeline that open it."""
        return self.secrets | self.private_key

    def options(self, folder: Path) -> list[str]:
        """Return the options of docker build that open it; files are written to a folder."""
        options = secret_options(folder, self.secrets)
        if agent := self.environment.get("SSH_AUTH_SOCK"):
            options.append(f"--ssh=default={agent}")
        return options

    def add_its_package(self, project: Path) -> None:
        """Make a project depend on the package of the repository."""
        add = ["uv", "add", "--quiet", "--no-sync", f"acme-private @ git+{self.address}"]
        run(*add, cwd=project, env=self.environment)


def repository(folder: Path) -> Path:
    """Make a repository with a package in a folder; return the bare one that is served."""
    source, bare = folder / "source", folder / "acme-private.git"
    commit(write(source, PACKAGE))
    git(folder, "clone", "--quiet", "--bare", str(source), str(bare))
    return bare


class Backend(BaseHTTPRequestHandler):
    """Hands each request to git's own CGI program, if it has the login (git-http-backend(1))."""

    protocol_version = "HTTP/1.0"
    root: Path

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer GET and POST alike."""
        login = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {login}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": USER,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815


@contextlib.contextmanager
def https_server(folder: Path, authority: trustme.CA, trusted: Path) -> Iterator[GitServer]:
    """Serve a repository with a token, and with a certificate of a company's authority.

    Args:
        folder: where the repository is made.
        authority: signs the certificate.
        trusted: the file of certificates that a developer's machine trusts.
    """
    bare = repository(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    handler = type("Handler", (Backend,), {"root": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        helper = f'!printf "username=%s\\npassword=%s\\n" {USER} {TOKEN}; :'
        environment = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"credential.https://{host}.helper",
            "GIT_CONFIG_VALUE_0": helper,
            "GIT_SSL_CAINFO": str(trusted),
        }
        secrets = {"GIT_USERNAME": USER, "GIT_PASSWORD": TOKEN}
        yield GitServer(f"https://{host}", f"https://{host}/{bare.name}", secrets, {}, environment)
        server.shutdown()


@contextlib.contextmanager
def ssh_agent(folder: Path) -> Iterator[Path]:
    """Run an agent without keys; yield its socket, which is in a folder."""
    agent = folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL)
    try:
        while not agent.exists():
            time.sleep(0.05)
        yield agent
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[GitServer]:
    """Serve a repository over SSH to whoever has a key; its agent is in the environment given."""
    bare = repository(folder)
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    port = free_port()
    user = run("id", "-un").stdout.strip()
    options = {
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PidFile": "none",
    }
    # sshd wants its whole path, and as root a folder that Debian makes at a boot.
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        skip_or_fail("openssh-server is not installed")
    if not os.geteuid():
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [program, "-D", "-e", "-f", os.devnull]
    command += [f"-o{name}={value}" for name, value in options.items()]
    with ssh_agent(folder) as agent:
        environment = {"SSH_AUTH_SOCK": str(agent)}
        run("ssh-add", "-q", folder / "user", env=environment)
        known = folder / "known_hosts"
        public = (folder / "host.pub").read_text()
        known.write_text(f"[127.0.0.1]:{port} {public}")
        environment["GIT_SSH_COMMAND"] = f"ssh -o UserKnownHostsFile={known}"
        answer = f"ssh://{user}@127.0.0.1:{port}"
        secrets = {"SSH_KNOWN_HOSTS": known.read_text().strip()}
        key = {"SSH_PRIVATE_KEY": (folder / "user").read_text()}
        with listening(command, port, folder / "sshd.log"):
            yield GitServer(answer, f"{answer}{bare}", secrets, key, environment)
