"""What is sent to a service, and the broker beside one."""

import http.client
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

from helpers.engine import Container

BROKER = """\
FROM python:3.13-slim-trixie
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server
ENTRYPOINT ["redis-server", "--protected-mode", "no", "--save", "", "--dir", "/tmp"]
"""
ORDER = {"lines": [{"sku": "A-1", "quantity": 10, "unit_price": "9.99"}]}
# What is sent where, when the resource is no route of its own.
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
TOOL = {"name": "create_quote", "arguments": {"order": ORDER}}
RESOURCES: dict[str, tuple[str, Any]] = {"mcp": ("/mcp", CALL | {"params": TOOL})}
ACCEPT = {"Accept": "application/json, text/event-stream"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def fetch(
    container: Container, path: str, form: dict[str, str] | None = None, cookies: str = ""
) -> tuple[int, http.client.HTTPMessage, str]:
    """Request a page, or post a form; return the status, the headers and the text."""
    with closing(http.client.HTTPConnection(*container.address, timeout=30)) as connection:
        method, body = ("GET", None) if form is None else ("POST", urlencode(form))
        connection.request(method, path, body, {"Cookie": cookies, **FORM})
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
