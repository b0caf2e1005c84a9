# SPDX-License-Identifier: GPL-3.0-or-later
"""The client and the node are told the same by the same answers, of a coordinator and of an object store."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from farm_protocol.errors import (
    Conflict,
    FarmError,
    Forbidden,
    InvalidInput,
    NotFound,
    RoundClosed,
    StaleLease,
    Unauthorized,
    Unavailable,
)
from farm_protocol.fields import StoredFile
from farm_protocol.records import Upload
from farm_protocol.transfer import LinkExpired, ObjectDamaged, ObjectLost, StoreRefuses
from gpu_worker.farm import transfer
from gpu_worker.farm.coordinator import Coordinator
from render_farm.client.farm_client import FarmClient
from tests.fakes.scripted_server import Answer, Scripted, scripted

SELF = {"node": "n", "name": "n", "own": False, "farm": "0x" + "1" * 40, "address": None}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits between tries."""
    monkeypatch.setattr("farm_protocol.retry.backoff", lambda *_: 0.0)


@pytest.fixture
def answers() -> list[Answer]:
    """What the server says, in order; the last again and again."""
    return []


@pytest.fixture
def server(answers: list[Answer]) -> Iterator[Scripted]:
    with scripted(lambda _: answers.pop(0) if len(answers) > 1 else answers[0]) as running:
        yield running


# --- the coordinator --------------------------------------------------------------------------------------

Ask = Callable[[str], object]


def as_node(url: str) -> object:
    return Coordinator(url, "secret", tries=3).myself()


def as_client(url: str) -> object:
    with FarmClient(url, "secret", patience=0.5) as client:
        return client.myself()


both = pytest.mark.parametrize("ask", [as_node, as_client])


def problem(status: int, code: str) -> Answer:
    return Answer(status, msgspec.json.encode({"code": code, "detail": "What to do."}))


@both
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthorized", Unauthorized),
        (403, "forbidden", Forbidden),
        (404, "not_found", NotFound),
        (409, "conflict", Conflict),
        (409, "stale_lease", StaleLease),
        (409, "round_closed", RoundClosed),
        (409, "something_new", Conflict),
        (413, "too_large", InvalidInput),
        (418, "teapot", InvalidInput),
        (422, "invalid_input", InvalidInput),
        (507, "storage_full", Unavailable),
    ],
)
def test_a_refusal_is_the_same_error_to_both_and_said_once(
    ask: Ask, status: int, code: str, kind: type[FarmError], server: Scripted, answers: list[Answer]
) -> None:
    answers.append(problem(status, code))
    with pytest.raises(kind, match=r"^What to do\.$") as caught:
        ask(server.url)
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert len(server.asked) == 1


@both
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again_by_both(
    ask: Ask, status: int, server: Scripted, answers: list[Answer]
) -> None:
    answers += [problem(status, "x"), Answer(status, b"<html>"), Answer(body=msgspec.json.encode(SELF))]
    assert ask(server.url).node == "n"  # type: ignore[attr-defined]
    assert len(server.asked) == 3


@both
def test_what_does_not_pass_ends_with_the_coordinators_words_for_both(
    ask: Ask, server: Scripted, answers: list[Answer]
) -> None:
    answers.append(problem(500, "internal"))
    with pytest.raises(Unavailable, match=r"What to do\."):
        ask(server.url)


@both
def test_neither_follows_an_address_that_moved(ask: Ask, server: Scripted, answers: list[Answer]) -> None:
    answers.append(Answer(302, headers={"Location": "http://127.0.0.1:9/"}))
    with pytest.raises(InvalidInput, match="moved"):
        ask(server.url)
    assert len(server.asked) == 1


@both
def test_both_read_so_much_and_no_more(
    ask: Ask, server: Scripted, answers: list[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farm_protocol.http_client.LARGEST_ANSWER", 1000)
    answers.append(Answer(body=msgspec.json.encode(SELF) + b" " * 2000))
    with pytest.raises(InvalidInput, match="too large"):
        ask(server.url)


@both
@pytest.mark.parametrize("url", ["", "ftp://farm", "file:///etc/passwd", "http://me:secret@farm", "http://["])
def test_both_refuse_what_is_no_address_of_a_coordinator(ask: Ask, url: str) -> None:
    with pytest.raises(InvalidInput, match="not a coordinator's address"):
        ask(url)


# --- the object store -------------------------------------------------------------------------------------

Get = Callable[[str, StoredFile, Path], object]
Put = Callable[[str, Upload, Path], object]


def node_gets(_: str, file: StoredFile, target: Path) -> None:
    transfer.download(file, target, threading.Event())


def client_gets(url: str, file: StoredFile, target: Path) -> None:
    with FarmClient(url, "secret", patience=0.5) as client:
        client.download(file, target)


def node_puts(_: str, to: Upload, path: Path) -> None:
    transfer.upload(path, to)


def client_puts(url: str, to: Upload, path: Path) -> None:
    with FarmClient(url, "secret", patience=0.5) as client:
        client._transfers.upload(path, to.url, to.headers)


getting = pytest.mark.parametrize("get", [node_gets, client_gets])
putting = pytest.mark.parametrize("put", [node_puts, client_puts])


def stored(server: Scripted, data: bytes) -> StoredFile:
    return StoredFile("f", hashlib.sha256(data).hexdigest(), len(data), f"{server.url}/f")


@getting
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, LinkExpired),
        (403, LinkExpired),
        (404, ObjectLost),
        (400, StoreRefuses),
        (302, StoreRefuses),
        (503, Unavailable),
        (408, Unavailable),
    ],
)
def test_a_download_that_the_store_refuses_is_the_same_error_to_both(
    get: Get, status: int, kind: type[FarmError], server: Scripted, answers: list[Answer], tmp_path: Path
) -> None:
    answers.append(Answer(status, headers={"Location": "http://127.0.0.1:9/"}))
    with pytest.raises(kind):
        get(server.url, stored(server, b"pixels"), tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


@getting
@pytest.mark.parametrize("sent", [b"pixelz", b"pixels and more", b"pix", b""])
def test_a_download_that_was_damaged_on_the_way_is_fetched_again_by_both(
    get: Get, sent: bytes, server: Scripted, answers: list[Answer], tmp_path: Path
) -> None:
    answers += [Answer(body=sent), Answer(500), Answer(body=b"pixels")]
    get(server.url, stored(server, b"pixels"), tmp_path / "f")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"pixels"]
    assert len(server.asked) == 3


@getting
def test_other_bytes_than_the_right_ones_are_given_up_by_both(
    get: Get, server: Scripted, answers: list[Answer], tmp_path: Path
) -> None:
    answers.append(Answer(body=b"pixelz"))
    with pytest.raises(ObjectDamaged):
        get(server.url, stored(server, b"pixels"), tmp_path / "f")
    assert len(server.asked) == 3
    assert list(tmp_path.iterdir()) == []


@getting
def test_an_empty_file_is_fetched_by_both(
    get: Get, server: Scripted, answers: list[Answer], tmp_path: Path
) -> None:
    answers.append(Answer())
    get(server.url, stored(server, b""), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b""


@putting
@pytest.mark.parametrize("data", [b"pixels", b""])
def test_a_file_is_sent_whole_with_its_length_by_both(
    put: Put, data: bytes, server: Scripted, answers: list[Answer], tmp_path: Path
) -> None:
    """The store refuses chunks, in which a file of no bytes would be sent."""
    answers.append(Answer())
    (tmp_path / "f").write_bytes(data)
    signed = {"content-length": "999", "content-type": "x/y"}
    for _ in range(2):
        put(server.url, Upload("f", f"{server.url}/f", signed), tmp_path / "f")
    asked, again = server.asked
    assert again.body == data, "the connection is good for another"
    assert (asked.method, asked.body) == ("PUT", data)
    assert asked.headers["content-length"] == str(len(data))
    assert asked.headers["content-type"] == "x/y"
    assert "transfer-encoding" not in asked.headers
    assert "authorization" not in asked.headers


@putting
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, LinkExpired),
        (403, LinkExpired),
        (404, StoreRefuses),
        (400, StoreRefuses),
        (307, StoreRefuses),
        (500, Unavailable),
        (408, Unavailable),
    ],
)
def test_an_upload_that_the_store_refuses_is_the_same_error_to_both(
    put: Put, status: int, kind: type[FarmError], server: Scripted, answers: list[Answer], tmp_path: Path
) -> None:
    answers.append(Answer(status, headers={"Location": "http://127.0.0.1:9/"}))
    (tmp_path / "f").write_bytes(b"pixels")
    with pytest.raises(kind):
        put(server.url, Upload("f", f"{server.url}/f", {}), tmp_path / "f")


def test_only_the_user_is_told_what_a_store_says(
    server: Scripted, answers: list[Answer], tmp_path: Path
) -> None:
    """What the node says goes to the farm, which may have named whatever it likes as its store."""
    answers.append(Answer(400, b"InvalidDigest"))
    (tmp_path / "f").write_bytes(b"pixels")
    to = Upload("f", f"{server.url}/f", {})
    with pytest.raises(FarmError, match="400: InvalidDigest"):
        client_puts(server.url, to, tmp_path / "f")
    with pytest.raises(FarmError) as caught:
        node_puts(server.url, to, tmp_path / "f")
    assert not {"400", "InvalidDigest"} & set(caught.value.sentence.replace(".", " ").split())
