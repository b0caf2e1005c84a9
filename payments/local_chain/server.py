# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON-RPC over HTTP, on loopback only, for programs and not for web pages."""

import ipaddress
import json
import threading
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

Answer = Callable[[str, list[Any]], Any]


class Server(ThreadingHTTPServer):
    """Answers calls with `answer`; `port` 0 takes a free one. Raises InvalidInput for an address that is not
    loopback. NotKept goes to `broken`, and nothing is answered.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, answer: Answer, broken: Callable[[BaseException], None]) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise InvalidInput(f"The local chain listens on loopback only, not on {host}.")
        self.answer = answer
        self.broken = broken
        threading.stack_size(STACK)
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread a connection, up to a number; further ones are hung up on."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Give the place back when the connection ends."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is nobody's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave together: apart, the second would wait for the first's acknowledgement.
    wbufsize = -1
    timeout = IDLE_SECONDS
    server: Server

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
