# SPDX-License-Identifier: GPL-3.0-or-later
"""An HTTP server on loopback that answers what a test says, and remembers what it was asked."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    """One request; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What to say. `cut` closes the connection after the body, though more was promised."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Scripted:
    """`answers` is asked for each request; it may look at `asked`, this one included."""

    url: str
    asked: list[Asked] = field(default_factory=list)

    def to(self, path: str) -> list[Asked]:
        """Requests whose path starts so."""
        return [one for one in self.asked if one.path.startswith(path)]


@contextlib.contextmanager
def scripted(answers: Callable[[Asked], Answer], port: int = 0) -> Iterator[Scripted]:
    """Serve until the block ends."""
    known: Scripted

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, self.rfile.read(length))
            known.asked.append(asked)
            answer = answers(asked)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            promised = len(answer.body) + (1000 if answer.cut else 0)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(answer.body)
            if answer.cut:
                self.close_connection = True

        do_GET = do_POST = do_PUT = _serve  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    known = Scripted(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
