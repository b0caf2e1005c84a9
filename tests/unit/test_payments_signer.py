# SPDX-License-Identifier: GPL-3.0-or-later
"""A signer elsewhere is asked for signatures, and believed nothing else."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from farm_protocol.errors import FarmError, Unavailable
from payments.keystore import Key, new_key
from payments.signer import MOST_BYTES, BadSigner, RemoteSigner

Say = Callable[[dict[str, Any]], bytes]
KEY = Key(b"\7" * 32)
FIELDS = {
    "chainId": 5,
    "nonce": 3,
    "to": "0x" + "Ab" * 20,
    "value": 9,
    "gas": 21000,
    "maxFeePerGas": 100,
    "maxPriorityFeePerGas": 2,
    "data": "0x01",
}


def signed(key: Key = KEY, **changes: Any) -> str:
    fields = {**FIELDS, "to": "0x" + "ab" * 20, **changes}
    return "0x" + key.sign_transaction(fields).hex()


def result(value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode()


class Server(HTTPServer):
    say: Say
    asked: dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        data = self.server.say(self.server.asked)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def remote(server: Server) -> RemoteSigner:
    return RemoteSigner(f"http://127.0.0.1:{server.server_address[1]}/secret", KEY.address)


@pytest.mark.parametrize("wrap", [lambda raw: raw, lambda raw: {"raw": raw, "tx": {}}])
def test_it_signs_what_it_is_asked_to(server: Server, wrap: Callable[[str], Any]) -> None:
    server.say = lambda _asked: result(wrap(signed()))
    assert "0x" + remote(server).sign_transaction(FIELDS).hex() == signed()
    assert server.asked["method"] == "eth_signTransaction"
    assert server.asked["params"][0]["from"] == KEY.address
    assert server.asked["params"][0]["value"] == "0x9"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (result(signed(new_key())), "and not as"),
        (result(signed(to="0x" + "cd" * 20)), "another to"),
        (result(signed(value=10)), "another value"),
        (result(signed(nonce=4)), "another nonce"),
        (result(signed(gas=22000)), "another gas"),
        (result(signed(chainId=6)), "another chainId"),
        (result(signed(data="0x02")), "another data"),
        (result(signed(maxFeePerGas=101)), "another maxFeePerGas"),
        (result(signed(accessList=[{"address": "0x" + "11" * 20, "storageKeys": []}])), "access list"),
        (result("0x02"), "no signed transaction"),
        (result("0xzz"), "no signed transaction"),
        (result(None), "no signed transaction"),
        (result(signed()[:-2]), "no signed transaction"),
        (b'{"error": {"code": 1, "message": "locked"}}', "refuses"),
    ],
)
def test_what_it_was_not_asked_for_is_not_taken(server: Server, answer: bytes, words: str) -> None:
    server.say = lambda _asked: answer
    with pytest.raises(BadSigner, match=words):
        remote(server).sign_transaction(FIELDS)


@pytest.mark.parametrize("answer", [b"", b"[]", b"[" * 100_000, b" " * (MOST_BYTES + 1)])
def test_nonsense_and_silence_are_said_without_the_address(server: Server, answer: bytes) -> None:
    server.say = lambda _asked: answer
    signer = remote(server)
    nobody = RemoteSigner("http://127.0.0.1:1/secret", KEY.address)
    for broken in (signer, nobody):
        with pytest.raises(Unavailable) as failure:
            broken.sign_transaction(FIELDS)
        assert isinstance(failure.value, FarmError)
        assert "secret" not in repr(failure.value) + repr(broken)
