# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON-RPC over HTTP, on loopback only, for programs and not for web pages."""

import contextlib
import ipaddress
import json
import select
import socket
import threading
import time
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from farm_protocol.errors import InvalidInput
from payments.json_input import read_json
from payments.local_chain.errors import INTERNAL, PARSE, REQUEST, RpcError
from payments.local_chain.journal import NotKept

MOST_BYTES = 256 * 1024
"""Of a request: a contract's creation has at most 48 KiB of code, in hexadecimal digits."""
MOST_CONNECTIONS = 64
STACK = 64 << 20
"""Bytes a thread, for contracts that call each other 1024 deep."""
IDLE_SECONDS = 60
MOST_UNREAD = 16 << 20
"""Bytes of a refused body that are thrown away: closing upon them would reset the connection, and the refusal
might be lost with it.
"""
LINGER_SECONDS = 5.0
"""How long that may take."""

Answer = Callable[[str, list[Any]], Any]


class _Places:
    """The connections; those that wait for a request are kept in the order they began to."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._waiting: dict[socket.socket, None] = {}

    def enter(self, request: socket.socket) -> bool:
        """Let one in, for which the one that has waited longest makes room; False where none waits."""
        with self._lock:
            if len(self._open) >= self._most and not self._make_room():
                return False
            self._open.add(request)
            self._waiting[request] = None
            return True

    def _make_room(self) -> bool:
        first = next(filter(_is_silent, self._waiting), None)
        if first is None:
            return False
        self._forget(first)
        with contextlib.suppress(OSError):
            first.shutdown(socket.SHUT_RDWR)  # its thread wakes up, and closes it
        return True

    def waits(self, request: socket.socket) -> None:
        with self._lock:
            if request in self._open:
                self._waiting.setdefault(request)

    def works(self, request: socket.socket) -> None:
        with self._lock:
            self._waiting.pop(request, None)

    def leave(self, request: socket.socket) -> None:
        with self._lock:
            self._forget(request)

    def _forget(self, request: socket.socket) -> None:
        self._open.discard(request)
        self._waiting.pop(request, None)


def _is_silent(request: socket.socket) -> bool:
    """Whether nothing has come that its thread has yet to read."""
    poll = select.poll()
    poll.register(request, select.POLLIN)
    return not poll.poll(0)


class Server(ThreadingHTTPServer):
    """Answers calls with `answer`; `port` 0 takes a free one. Raises InvalidInput for an address that is not
    loopback. NotKept goes to `broken`, and nothing is answered.
    """

    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, host: str, port: int, answer: Answer, broken: Callable[[BaseException], None]) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise InvalidInput(f"The local chain listens on loopback only, not on {host}.")
        self.answer = answer
        self.broken = broken
        threading.stack_size(STACK)
        self._places = _Places(MOST_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread a connection, up to a number; a further one is hung up on where all are busy."""
        if self._places.enter(request):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Give the place back when the connection ends."""
        self._places.leave(request)
        super().shutdown_request(request)

    def waits(self, request: socket.socket) -> None:
        """The connection has no request that is being answered: it makes room for others."""
        self._places.waits(request)

    def works(self, request: socket.socket) -> None:
        """A request of the connection's has begun: nobody takes its place."""
        self._places.works(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is nobody's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave together: apart, the second would wait for the first's acknowledgement.
    wbufsize = -1
    timeout = IDLE_SECONDS
    server: Server

    def handle_one_request(self) -> None:
        """Wait for a request and answer it."""
        self.server.waits(self.connection)
        super().handle_one_request()

    def parse_request(self) -> bool:
        """Its first line has come."""
        self.server.works(self.connection)
        return super().parse_request()

    def handle_expect_100(self) -> bool:
        """Say at once that the body may come."""
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def do_POST(self) -> None:
        problem = self._problem()
        if problem:
            self._refuse(*problem)
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self._send(200, respond(body, self.server.answer))
        except NotKept as error:
            self.close_connection = True
            self.server.broken(error)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Requests are not logged: a busy client would fill the disk."""

    def _problem(self) -> tuple[int, str] | None:
        """Why a request is not even read. A page in somebody's browser can send requests to loopback, but not
        with this content type, not without Origin, and under another name not with this Host.
        """
        if self.headers.get("Origin") is not None or not _is_local(self.headers.get("Host", "")):
            return 403, "this server is for programs on this machine, not for web pages"
        if self.headers.get_content_type() != "application/json":
            return 415, "the body must be application/json"
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or self.headers.get("Transfer-Encoding"):
            return 411, "the body's length must be given"
        if len(length) > 9 or int(length) > MOST_BYTES:
            return 413, f"the body may have {MOST_BYTES} bytes"
        return None

    def _refuse(self, status: int, sentence: str) -> None:
        self.close_connection = True
        self._send(status, _failure(None, RpcError(REQUEST, sentence)))
        with contextlib.suppress(OSError):
            self._linger()

    def _linger(self) -> None:
        """Have the answer read: the client may read nothing before it has sent all."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.server.waits(self.connection)
        left, end = MOST_UNREAD, time.monotonic() + LINGER_SECONDS
        while left > 0 and (seconds := end - time.monotonic()) > 0:
            self.connection.settimeout(seconds)
            chunk = self.connection.recv(1 << 16)
            if not chunk:
                return
            left -= len(chunk)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)


def respond(body: bytes, answer: Answer) -> dict[str, Any]:
    """The JSON-RPC response to a request's body."""
    number = None
    try:
        request = _parse(body)
        number = request.get("id")
        return {"jsonrpc": "2.0", "id": number, "result": answer(request["method"], request["params"])}
    except RpcError as error:
        return _failure(number, error)
    except NotKept:
        raise
    except Exception as error:  # whatever a stranger's transaction does to py-evm, the chain goes on
        traceback.print_exc()
        return _failure(number, RpcError(INTERNAL, f"internal error: {type(error).__name__}"))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = read_json(body)
    except ValueError as error:
        raise RpcError(PARSE, "the body is not JSON, or has too many brackets") from error
    if not isinstance(request, dict):
        raise RpcError(REQUEST, "one call at a time: the body must be an object")
    if not isinstance(request.get("method"), str) or not isinstance(request.get("id"), int | str | None):
        raise RpcError(REQUEST, "method must be a string, and id a number or a string")
    if not isinstance(request.setdefault("params", []), list):
        raise RpcError(REQUEST, "params must be a list")
    return request


def _failure(number: int | str | None, error: RpcError) -> dict[str, Any]:
    said: dict[str, Any] = {"code": error.code, "message": error.sentence}
    if error.data is not None:
        said["data"] = error.data
    return {"jsonrpc": "2.0", "id": number, "error": said}


def _is_local(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name in ("localhost", "127.0.0.1", "[::1]")
