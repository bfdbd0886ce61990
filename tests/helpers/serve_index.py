"""A package index behind a password and TLS. A process of its own: pypiserver changes imports.

    python serve_index.py FOLDER CERTIFICATE USER PASSWORD [everything]

The certificate's file has its key as well. It serves on a free port of loopback and prints that.
What it does not have is refused, or looked for in the public index with "everything".
"""

import ssl
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

import pypiserver

folder, certificate, user, password, *everything = sys.argv[1:]


class Server(ThreadingMixIn, WSGIServer):
    """One thread a request, since uv sends several at a time."""

    daemon_threads = True


index = pypiserver.app(
    roots=[folder],
    disable_fallback=not everything,
    authenticate=["list", "download"],
    auther=lambda *given: given == (user, password),
)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
with make_server("127.0.0.1", 0, index, Server) as server:
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_port, flush=True)
    server.serve_forever()
