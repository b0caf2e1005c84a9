# SPDX-License-Identifier: GPL-3.0-or-later
"""The object store as the coordinator sees it: links, looking, and everything that can answer wrongly."""

import asyncio
import hashlib
import os
import socket
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
import urllib3

from farm_protocol.errors import Unavailable
from render_farm import heads
from render_farm.objects import Found, Objects, Place

HTTP = urllib3.PoolManager(retries=False)


@pytest.fixture(scope="module")
def place(seaweed_server):
    url = seaweed_server.url
    return Place(url, url, "objects-test", "us-east-1", seaweed_server.key, seaweed_server.secret)


def using(place, work):
    """Run `await work(objects)` on a fresh Objects."""

    async def run():
        objects = Objects(place)
        try:
            return await work(objects)
        finally:
            await objects.close()

    return asyncio.run(run())


@pytest.fixture(scope="module", autouse=True)
def _bucket(place):
    using(place, lambda objects: objects.prepare())
    using(place, lambda objects: objects.prepare())  # once more: it is there already


def put(place, key, content, checked=True):
    objects = Objects(place)
    if checked:
        link, headers = objects.put_link(key, hashlib.sha256(content).hexdigest(), len(content))
    else:
        link, headers = objects._link("PUT", key, {}), {}
    return HTTP.request("PUT", link, headers=headers, body=content).status


def test_look_tells_size_and_checksum(place):
    content = os.urandom(70_000)
    assert using(place, lambda objects: objects.look("never/put")) is None
    assert put(place, "a/b", content) == 200
    found = Found(len(content), hashlib.sha256(content).hexdigest())
    assert using(place, lambda objects: objects.look("a/b")) == found


def test_object_without_checksum_is_hashed(place):
    content = os.urandom(3 << 20)
    assert put(place, "plain", content, checked=False) == 200
    found = using(place, lambda objects: objects.look("plain"))
    assert found in {Found(len(content), None), Found(len(content), hashlib.sha256(content).hexdigest())}
    assert using(place, lambda objects: objects.hash("plain")) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("key", ["with space/ä ö/#1+2%20?.png", "日本/レンダー.exr", "a/'quote'&=~.png"])
def test_awkward_names_travel(place, key):
    assert put(place, key, b"pixels") == 200
    assert using(place, lambda objects: objects.look(key)).size == 6
    link = Objects(place).get_link(key)
    assert HTTP.request("GET", link).data == b"pixels"


def test_empty_object(place):
    assert put(place, "empty", b"") == 200
    assert using(place, lambda objects: objects.look("empty")).size == 0


def test_links_name_the_public_endpoint(place):
    objects = Objects(replace(place, public="https://s3.example:9000/"))
    assert objects.get_link("k").startswith("https://s3.example:9000/objects-test/k?")
    assert objects.put_link("k", "0" * 64, 1)[0].startswith("https://s3.example:9000/objects-test/k?")


def test_link_opens_one_object_only(place):
    put(place, "mine", b"1")
    put(place, "yours", b"2")
    link = Objects(place).get_link("mine")
    assert HTTP.request("GET", link.replace("mine", "yours")).status == 403
    assert HTTP.request("PUT", link, body=b"x").status == 403


def test_wrong_keys_are_said(place):
    with pytest.raises(Unavailable, match="refuses the coordinator's keys"):
        using(replace(place, secret="wrong"), lambda objects: objects.look("a/b"))


def test_nobody_listens(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = replace(place, endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}")
        for work in (lambda o: o.look("k"), lambda o: o.hash("k"), lambda o: o.prepare()):
            with pytest.raises(Unavailable):
                using(nobody, work)
        assert using(nobody, lambda objects: objects.ready()) is False


@contextmanager
def answering(*answers):
    """A server that gives one raw answer to each request of a connection, then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link:
                    for answer in answers:
                        if not link.recv(65536):
                            break
                        link.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 503 Slow Down\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000],
)
def test_wrong_answers_are_not_taken_for_yes(place, answer):
    with answering(answer) as url, pytest.raises(Unavailable):
        using(replace(place, endpoint=url), lambda objects: objects.look("k"))


def test_connection_closed_while_idle_is_replaced(place):
    async def twice(objects):
        first = await objects.look("k")
        await asyncio.sleep(0.05)
        return first, await objects.look("k")

    with answering(GOOD) as url:
        found = using(replace(place, endpoint=url), twice)
    assert found == (Found(5, None), Found(5, None))


def test_silence_has_an_end(place, monkeypatch):
    monkeypatch.setattr(heads, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable):
            using(replace(place, endpoint=url), lambda objects: objects.look("k"))


@pytest.mark.parametrize("checksum", [b"", b"!!!", b"AAAA-3"])
def test_odd_checksums_count_as_none(place, checksum):
    answer = GOOD.replace(b"\r\n\r\n", b"\r\nx-amz-checksum-sha256: " + checksum + b"\r\n\r\n")
    with answering(answer) as url:
        assert using(replace(place, endpoint=url), lambda objects: objects.look("k")) == Found(5, None)
