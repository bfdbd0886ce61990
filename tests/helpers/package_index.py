"""A private package index on loopback, with a password and a certificate of no public authority."""

import contextlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from helpers.engine import secret_options
from helpers.programs import run

SECRETS = ("UV_INDEX_PRIVATE_USERNAME", "UV_INDEX_PRIVATE_PASSWORD", "CA_BUNDLE")
USER, PASSWORD = "the-planted-user", "the-planted-password"
# The machine's own certificates, beside which uv is told the index's.
PUBLIC = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))

# The index is on loopback, so a build has to be on the network of this machine.
ON_THIS_NETWORK = {
    "docker-bake.override.hcl": 'target "image" {\n  network = "host"\n}\n',
    "compose.override.yaml": "services:\n  app:\n    build:\n      network: host\n",
}


@dataclass
class Index:
    """An index, and what a client must know to be served."""

    url: str
    signed_by: trustme.CA
    folder: Path

    @property
    def authority(self) -> str:
        """The certificate of the authority, as text."""
        return self.signed_by.cert_pem.bytes().decode()

    @property
    def secrets(self) -> dict[str, str]:
        """The variables from which a build takes its secrets."""
        return dict(zip(SECRETS, (USER, PASSWORD, self.authority), strict=True))

    @property
    def options(self) -> list[str]:
        """The options of docker build with which it finds the index and gets its secrets."""
        return ["--network=host", *secret_options(self.folder, self.secrets)]

    @property
    def answers(self) -> dict[str, str]:
        """The answers with which a project uses it."""
        return {"index_url": self.url, "certificates": "company"}

    def trusted(self) -> Path:
        """Return a file with the public certificates and the authority's."""
        trusted = self.folder / "trusted.pem"
        trusted.write_text(f"{PUBLIC.read_text()}\n{self.authority}")
        return trusted

    def environment(self) -> dict[str, str]:
        """Return the variables of a developer whose machine trusts the authority."""
        return self.secrets | {"SSL_CERT_FILE": str(self.trusted())}

    def add_its_package(self, project: Path) -> None:
        """Make a project depend on the package of the index, as its README says."""
        add = ["uv", "add", "acme-greeting", "--index=private", "--no-sync", "--quiet"]
        run(*add, cwd=project, env=self.environment())
        for name, override in ON_THIS_NETWORK.items():
            (project / name).write_text(override)


def write_wheel(folder: Path) -> None:
    """Write the wheel of a package with one module."""
    data = "acme_greeting-1.0.dist-info"
    with zipfile.ZipFile(folder / "acme_greeting-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("acme_greeting.py", 'HELLO = "hello from the index"\n')
        wheel.writestr(
            f"{data}/METADATA", "Metadata-Version: 2.1\nName: acme-greeting\nVersion: 1.0\n"
        )
        wheel.writestr(f"{data}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{data}/RECORD", "")


@contextlib.contextmanager
def package_index(folder: Path, everything: bool = False) -> Iterator[Index]:
    """Serve a package from a folder, until the end of the block.

    Args:
        folder: where the package is made.
        everything: send whoever asks for another package to the public index.
    """
    packages = folder / "packages"
    packages.mkdir()
    write_wheel(packages)
    authority = trustme.CA()
    certificate = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)

    script = Path(__file__).with_name("serve_index.py")
    command = [sys.executable, str(script), str(packages), str(certificate), USER, PASSWORD]
    command += ["everything"] * everything
    with (folder / "index.log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert server.stdout
    try:
        port = server.stdout.readline().strip()
        assert port, (folder / "index.log").read_text()
        url = f"https://127.0.0.1:{port}/simple"
        yield Index(url, authority, folder)
    finally:
        server.kill()
        server.communicate()
