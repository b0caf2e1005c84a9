# SPDX-License-Identifier: GPL-3.0-or-later
"""Who connects and sends nothing, half, too much, or reads nothing: others are answered all the same."""

import asyncio
import contextlib
import json
import resource
import socket
import subprocess
import sys
import threading
import time

import pytest

from render_farm.coordinator.api.forwarded import PerForwarded
from render_farm.embedded.seaweed import free_port
from render_farm.serving.connection_limits import Doors, Limits, Unsent, raise_open_files
from tests.support import servers
from tests.support.coordinator_api import Api, events

FEW = 40
"""Connections of one address that the coordinator of these tests takes."""


@pytest.fixture(scope="module")
def farm(tmp_path_factory, seaweed_server):
    """A coordinator that takes few connections, and waits as long as any does."""
    folder = tmp_path_factory.mktemp("doors")
    options = ("--max-connections-per-address", str(FEW), "--max-connections", str(2 * FEW))
    options += ("--head-seconds", "1")
    with (
        servers.valkey(folder / "valkey") as store,
        servers.coordinator(folder / "process", store.url, seaweed_server, *options) as running,
    ):
        yield running


def connect(url, sent=b""):
    host, port = url.removeprefix("http://").split(":")
    link = socket.create_connection((host, int(port)), timeout=30)
    link.sendall(sent)
    return link


def told(link):
    """All that is sent until the other side ends."""
    found = b""
    try:
        while some := link.recv(1 << 16):
            found += some
    except ConnectionError:
        pass
    return found


def status_of(answer):
    return int(answer.split(b" ", 2)[1])


def problem_of(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_headers_that_do_not_end_make_room_for_others(farm):
    held = [connect(farm.url, b"GET /api/v1/health HTTP/1.1\r\nX-Slow: ") for _ in range(3 * FEW)]
    try:
        assert Api(farm.url, "").ok("GET", "/health")["status"] == "ok"
        # The ones that waited longest were let go for those after them.
        assert told(held[0]) == b""
    finally:
        for link in held:
            link.close()


def test_headers_that_do_not_end_are_not_waited_for(farm):
    slow = connect(farm.url, b"GET /api/v1/health HTTP/1.1\r\nX-Slow: ")
    fed = connect(farm.url, b"GET /api/v1/health HTTP/1.1\r\n")
    stop = threading.Event()

    def feed():
        try:
            while not stop.wait(0.2):
                fed.sendall(b"A: b\r\n")
        except OSError:
            pass

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        for link in (slow, fed):
            answer = told(link)
            assert not answer or status_of(answer) == 408
    finally:
        stop.set()
        feeding.join()
        slow.close()
        fed.close()


def test_line_ends_before_a_request_keep_nothing_open(farm):
    link = connect(farm.url, b"\r\n")
    answer = told(link)
    assert status_of(answer) == 408
    assert problem_of(answer)["code"] == "too_slow"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /api/v1/health HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\n" + b"X: a\r\n" * 5000 + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /api/v1/health HTTP/1.1\r\nX: " + b"a" * 300_000,
    ],
    ids=["long", "many", "address", "endless"],
)
def test_heads_have_an_end(farm, head):
    link = connect(farm.url)
    threading.Thread(target=send_quietly, args=(link, head), daemon=True).start()
    answer = told(link)
    assert not answer or status_of(answer) == 431


def send_quietly(link, content):
    with contextlib.suppress(OSError):
        link.sendall(content)


def test_requests_are_not_queued_without_end(farm):
    link = connect(farm.url)
    many = b"GET /api/v1/farm HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000
    threading.Thread(target=send_quietly, args=(link, many), daemon=True).start()
    assert told(link).count(b"HTTP/1.1 200") < 2000
    assert Api(farm.url, "").ok("GET", "/health")["status"] == "ok"


def test_a_body_that_nobody_waits_for_does_not_go_on(farm):
    """A chunked body without an end after its answer."""
    link = connect(
        farm.url, b"POST /api/v1/nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert status_of(link.recv(1 << 16)) == 404
    ended, deadline = False, time.monotonic() + 60
    while not ended and time.monotonic() < deadline:
        try:
            link.sendall(b"4\r\naaaa\r\n")
            time.sleep(0.01)
        except OSError:
            ended = True
    assert ended


@pytest.mark.parametrize("method", ["TRACE", "PATCH", "PROPFIND", "CONNECT", "OPTIONS", "BREW", "get"])
@pytest.mark.parametrize("target", ["/api/v1/health", "*", "http://elsewhere/api/v1/health", "x:1"])
def test_odd_methods_and_targets_are_refused(farm, method, target):
    link = connect(
        farm.url, f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert 400 <= status_of(told(link)) < 500


def test_who_reads_nothing_is_let_go():
    stuck = Unsent(30.0)
    assert not stuck.is_stuck(1 << 20, 1 << 20, 0.0)
    assert not stuck.is_stuck(2 << 20, (2 << 20) - 1000, 29.0)
    assert stuck.is_stuck(2 << 20, (2 << 20) - 1000, 31.0)


def test_who_reads_slowly_is_not():
    slow, written = Unsent(30.0), 0
    for second in range(600):
        written += 3000
        assert not slow.is_stuck(written + 50_000, 50_000, float(second))
    assert not slow.is_stuck(written, 0, 601.0)
    assert not slow.is_stuck(written + 10, 10, 700.0)


class Somebody:
    def __init__(self, address="a"):
        self.address, self.left = address, False

    def leave(self):
        self.left = True

    def look(self, now):
        raise NotImplementedError


def test_who_is_answered_is_never_turned_out():
    doors = Doors(Limits(most=3, per_address=2))
    busy, idle, late = Somebody(), Somebody(), Somebody()
    assert doors.enter(busy)
    doors.works(busy)
    assert doors.enter(idle)
    assert doors.enter(late)
    assert (busy.left, idle.left) == (False, True)
    doors.works(late)
    assert not doors.enter(Somebody())
    assert doors.enter(Somebody("b"))
    assert doors.enter(Somebody("b"))
    assert doors.open == 3


def test_a_proxy_that_is_named_brings_many():
    doors = Doors(Limits(most=10, per_address=2, trusted=frozenset({"p"})))
    guests = [Somebody("p") for _ in range(8)]
    assert all(doors.enter(guest) for guest in guests)
    assert not any(guest.left for guest in guests)


def answered(app, peer, *forwarded):
    """The status of one request through `PerForwarded`, from a peer with such headers."""
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"x-forwarded-for", value) for value in forwarded]
    asyncio.run(app({"type": "http", "client": (peer, 1), "headers": headers}, None, send))
    return sent[0]["status"]


def test_behind_a_proxy_each_address_is_counted():
    """The last address is the proxy's word; what a client wrote before it, or to us directly, is nobody's."""

    async def nested(scope, receive, send):
        """Answers while the same address, and others, ask too."""
        inner = {}

        async def keep(message):
            inner.setdefault("status", message.get("status"))

        if depth:
            depth.pop()
            await app(dict(scope, **next_scope), receive, keep)
        await send({"type": "http.response.start", "status": inner.get("status", 200)})

    app = PerForwarded(nested, Limits(per_address=2, trusted=frozenset({"10.0.0.1"})))
    for peer, first, second, status in (
        ("10.0.0.1", b"192.0.2.1", b"192.0.2.1", 429),
        ("10.0.0.1", b"192.0.2.1", b"192.0.2.1, 192.0.2.2", 200),
        ("10.0.0.1", b"192.0.2.9, 192.0.2.1", b"192.0.2.8, 192.0.2.1", 429),
        ("10.0.0.2", b"192.0.2.1", b"192.0.2.1", 200),
        ("10.0.0.1", b"nonsense", b"nonsense", 200),
    ):
        depth = [None, None]
        next_scope = {"headers": [(b"x-forwarded-for", second)]}
        assert answered(app, peer, first) == status, (peer, first, second)


def test_as_many_files_may_be_open_as_are_allowed():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        assert raise_open_files() == min(hard, 1 << 16)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_stream_that_is_followed_stays(farm):
    """Those who wait for what happens are not the idle ones."""
    ann = Api(farm.url, farm.admin_token).owner()
    job = ann.job()
    with events(ann, job) as heard:
        assert next(heard)["event"] == "job"
        held = [connect(farm.url, b"GET ") for _ in range(2 * FEW)]
        ann.ok("POST", f"/jobs/{job}/cancel")
        assert any(event["data"].get("state") == "cancelled" for event in heard if event["event"] == "job")
        for link in held:
            link.close()


# --- the relay before the object store --------------------------------------------------------------------


@pytest.fixture(scope="module")
def relay(seaweed_server):
    """The way into the object store from other machines."""
    port, target = free_port(), int(seaweed_server.url.rpartition(":")[2])
    command = [sys.executable, "-m", "render_farm.embedded.relay", "127.0.0.1", str(port), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert "listening" in json.loads(process.stdout.readline())
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


ASKS = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX: "], ids=["silent", "half"])
def test_idle_connections_do_not_close_the_way_to_the_objects(relay, sent):
    held = [connect(relay, sent) for _ in range(400)]
    try:
        assert status_of(told(connect(relay, ASKS))) == 200
    finally:
        for link in held:
            link.close()


def test_the_relay_waits_for_no_head_without_end(relay):
    endless, slow = connect(relay), connect(relay, b"GET /healthz HTTP/1.1\r\nX: ")
    threading.Thread(target=send_quietly, args=(endless, b"a" * 300_000), daemon=True).start()
    assert told(endless) == told(slow) == b""


def test_a_transfer_goes_on_while_others_crowd(relay):
    """What moves is not stopped for those who come."""
    link = connect(relay, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status_of(link.recv(1 << 16)) == 200
    crowd = []
    for _ in range(3):
        crowd += [connect(relay) for _ in range(150)]
        link.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(link.recv(1 << 16)) == 200
    for other in crowd:
        other.close()
