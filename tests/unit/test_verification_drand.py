# SPDX-License-Identifier: GPL-3.0-or-later
"""A public beacon's rounds, recorded, from servers that tell them right and wrong."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from farm_protocol.errors import InvalidInput
from verification import drand
from verification.beacon import NO_COMMITMENT, next_round, round_time
from verification.drand import QUICKNET, Chain, Drand

ROUND = 1000
SIGNATURE = "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39"
VALUE = "fe290beca10872ef2fb164d2aa4442de4566183ec51c56ff3cd603d930e54fdd"
INFINITY = "c0" + "00" * 47
TOLD = {"round": ROUND, "randomness": VALUE, "signature": SIGNATURE}
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A server that gives every request this answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def saying(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(asked: BaseHTTPRequestHandler) -> None:
        asked.send_response(status)
        for name, value in headers.items():
            asked.send_header(name, value)
        asked.end_headers()
        asked.wfile.write(body)

    return answer


def telling(**changes: object) -> Answer:
    return saying(json.dumps(TOLD | changes).encode())


def value(*answers: Answer, round_number: int = ROUND) -> tuple[bytes | None, str]:
    """What a beacon with these servers says of a round, and its signature."""

    def ask(urls: list[str], left: list[Answer]) -> tuple[bytes | None, str]:
        if left:
            with serving(left[0]) as url:
                return ask([*urls, url], left[1:])
        beacon = Drand(urls, timeout=2.0)
        return asyncio.run(beacon.value(round_number)), beacon.signature(round_number)

    return ask([], list(answers))


def test_a_recorded_round_is_signed() -> None:
    assert drand.wrong(QUICKNET.hash, ROUND, VALUE, SIGNATURE) == ""


def test_a_round_is_read_and_its_signature_kept() -> None:
    assert value(telling()) == (bytes.fromhex(VALUE), SIGNATURE)


def test_the_right_path_is_asked() -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        telling()(handler)

    value(answer)
    assert asked == [f"/{QUICKNET.hash}/public/{ROUND}"]


def other_key() -> Chain:
    """A chain with another key: the generator of G2, which signs nothing here."""
    return Chain("other", "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5"
                 "ac7d055d042b7e024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805"
                 "bbefd48056c8c121bdb8", 0.0, 3.0)  # fmt: skip


def test_a_round_of_another_chain_is_not_this_ones() -> None:
    assert not drand.is_signed(other_key(), ROUND, bytes.fromhex(SIGNATURE))
    assert "known here" in drand.wrong("00" * 32, ROUND, VALUE, SIGNATURE)


@pytest.mark.parametrize(
    "signature",
    ["", "zz", SIGNATURE[:-2], INFINITY, "00" * 48, "ff" * 48, SIGNATURE[:-1] + "8", "94" + SIGNATURE[2:]],
)
def test_a_tampered_signature_does_not_hold(signature: str) -> None:
    try:
        hashed = hashlib.sha256(bytes.fromhex(signature)).hexdigest()
    except ValueError:
        hashed = VALUE
    assert drand.wrong(QUICKNET.hash, ROUND, hashed, signature)


def test_another_rounds_signature_does_not_hold() -> None:
    assert "not that of the public beacon" in drand.wrong(QUICKNET.hash, ROUND + 1, VALUE, SIGNATURE)


def test_a_value_that_is_not_the_signatures_hash_does_not_hold() -> None:
    assert "not that of its signature" in drand.wrong(QUICKNET.hash, ROUND, "11" * 32, SIGNATURE)


BAD = {
    "another round": telling(round=ROUND + 1),
    "another value": telling(randomness="11" * 32),
    "another signature": telling(signature="11" * 48),
    "no signature": saying(b'{"round":1000}'),
    "not there": saying(b"{}", 404),
    "too early": saying(json.dumps(TOLD).encode(), 425),
    "garbage": saying(b"\xff\x00 good morning"),
    "empty": saying(b""),
    "too much": saying(json.dumps(TOLD).encode() + b" " * drand.MOST_BYTES),
    "compressed": saying(b"\x1f\x8b garbage", **{"Content-Encoding": "gzip"}),
    "longer than said": saying(b"{", **{"Content-Length": "1000"}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_the_round_is_not_believed(name: str) -> None:
    assert value(BAD[name]) == (None, "")


@pytest.mark.parametrize("name", BAD)
def test_the_next_address_is_asked(name: str) -> None:
    assert value(BAD[name], telling())[0] == bytes.fromhex(VALUE)


def test_redirects_are_not_followed() -> None:
    with serving(telling()) as right:
        assert value(saying(b"", 302, Location=f"{right}/{QUICKNET.hash}/public/{ROUND}"))[0] is None


def test_no_server_at_all_is_no_value() -> None:
    assert asyncio.run(Drand(["http://127.0.0.1:9"], timeout=2.0).value(ROUND)) is None


def test_a_server_that_says_nothing_is_left() -> None:
    """It holds the request until the beacon has given it up and asked the other."""
    over = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        over.wait(30)

    def last(handler: BaseHTTPRequestHandler) -> None:
        telling()(handler)
        over.set()

    with serving(silent) as first, serving(last) as second:
        beacon = Drand([first, second], timeout=0.2)
        assert asyncio.run(beacon.value(ROUND)) == bytes.fromhex(VALUE)


def test_signatures_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drand, "KEPT_SIGNATURES", 2)
    beacon = Drand(["http://127.0.0.1:9"])
    for number in range(1, 5):
        beacon._keep(drand.PublicRound(number, VALUE, SIGNATURE))
    assert [beacon.signature(number) for number in range(1, 5)] == ["", "", SIGNATURE, SIGNATURE]


def test_rounds_are_counted_as_drand_counts_them() -> None:
    beacon = Drand()
    assert round_time(beacon, ROUND) == 1692803367 + 999 * 3
    assert next_round(beacon, round_time(beacon, ROUND) - 0.01) == ROUND
    assert next_round(beacon, round_time(beacon, ROUND)) == ROUND + 1
    assert beacon.commitment(ROUND) == NO_COMMITMENT


def test_a_beacon_needs_an_address() -> None:
    with pytest.raises(InvalidInput, match="at least one address"):
        Drand([])
