# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay between a wallet and its chain that loses, refuses and repeats calls as a test says."""

import contextlib
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Fault(Enum):
    NONE = "none"
    REFUSE = "the call does not arrive"
    LOSE = "the call arrives, its answer is lost"
    REPEAT = "the call arrives twice"
    BUSY = "the relay answers 503"
    NONSENSE = "the answer is no JSON"


Plan = Callable[[str], Fault]


class FlakyRpc(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str) -> None:
        self.target = target
        self.plan: Plan = lambda _method: Fault.NONE
        self.calls: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/secret-in-the-path"

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    server: FlakyRpc

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        method = json.loads(body)["method"]
        self.server.calls.append(method)
        fault = self.server.plan(method)
        if fault is Fault.REFUSE:
            return
        answer = self.forward(body)
        if fault is Fault.LOSE:
            return
        if fault is Fault.REPEAT:
            answer = self.forward(body)
        self.reply(503 if fault is Fault.BUSY else 200, b"<html>" if fault is Fault.NONSENSE else answer)

    def forward(self, body: bytes) -> bytes:
        asked = urllib.request.Request(self.server.target, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.read()

    def reply(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def flaky_rpc(target: str) -> Iterator[FlakyRpc]:
    relay = FlakyRpc(target)
    thread = threading.Thread(target=relay.serve_forever)
    thread.start()
    try:
        yield relay
    finally:
        relay.shutdown()
        thread.join()
        relay.server_close()
