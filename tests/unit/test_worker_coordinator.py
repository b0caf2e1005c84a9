# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's HTTP calls against servers that fail, lie and send too much."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from farm_protocol.addresses import checked_url
from farm_protocol.errors import Conflict, InvalidInput, NotFound, StaleLease, Unauthorized, Unavailable
from farm_protocol.fields import StoredFile, Tile
from farm_protocol.ids import JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import (
    FailureCode,
    Heartbeat,
    Lease,
    LeaseRequest,
    RenderSettings,
    Task,
    TaskFailure,
    TaskKind,
    Upload,
)
from farm_protocol.retry import backoff
from farm_protocol.transfer import LinkExpired
from gpu_worker.farm import transfer
from gpu_worker.farm.coordinator import Coordinator

WHOLE = Tile(0, 0, 8, 8)
TASK = Task(TaskId("job/1 ä?&"), JobId("j"), TaskKind.RENDER, 1, WHOLE)
SETTINGS = RenderSettings(1, 0, 100, "PNG")
SCENE, OWNER = SceneId("s"), OwnerId("o")
LEASE = Lease(TASK, LeaseToken(7), "cpu-0", 30.0, SCENE, OWNER, SETTINGS, 8, 8, WHOLE, WHOLE)
FAILURE = TaskFailure(FailureCode.NODE, "Away.")


class Server:
    """Answers each request with the next of `answers`, the last one again and again."""

    def __init__(self):
        self.answers, self.seen = [], []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server.seen.append((self.command, self.path, dict(self.headers), body))
                answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, data = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do  # noqa: N815

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, *answers):
        self.answers = [answer and (answer[0], {}, answer[1].encode()) for answer in answers]


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def node(server, monkeypatch):
    monkeypatch.setattr("farm_protocol.retry.backoff", lambda *_: 0.0)
    return Coordinator(server.url, "secret", tries=3)


def test_calls_carry_the_token_and_quote_the_task(server, node):
    server.answer((200, '{"uploads": []}'))
    node.uploads(LEASE, ())
    method, path, headers, body = server.seen[0]
    assert (method, path) == ("POST", "/api/v1/leases/job%2F1%20%C3%A4%3F%26/uploads?token=7")
    assert headers["Authorization"] == "Bearer secret"
    assert body == b'{"files":[]}'


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "stale_lease", StaleLease),
        (409, "something_new", Conflict),
        (404, "not_found", NotFound),
        (401, "unauthorized", Unauthorized),
        (422, "invalid_input", InvalidInput),
        (418, "teapot", InvalidInput),
    ],
)
def test_problems_become_the_farms_errors(server, node, status, code, kind):
    server.answer((status, f'{{"code": "{code}", "detail": "A sentence."}}'))
    with pytest.raises(kind, match=r"A sentence\.") as caught:
        node.heartbeat(Heartbeat(()))
    assert type(caught.value) is kind


def test_what_may_be_heard_twice_is_said_again(server, node):
    server.answer((503, ""), None, (200, "{}"))
    node.give_back(LEASE, FAILURE)
    assert len(server.seen) == 3


def test_asking_for_work_is_not_repeated(server, node):
    server.answer((503, "not json"), (200, '{"leases": []}'))
    with pytest.raises(Unavailable, match="503"):
        node.lease(LeaseRequest(()))
    assert len(server.seen) == 1


def test_a_coordinator_that_is_not_there_is_unavailable(monkeypatch):
    monkeypatch.setattr("farm_protocol.retry.backoff", lambda *_: 0.0)
    with pytest.raises(Unavailable, match="does not answer"):
        Coordinator("http://127.0.0.1:9", "t").heartbeat(Heartbeat(()))


def test_answers_are_bounded(server, node, monkeypatch):
    monkeypatch.setattr("farm_protocol.http_client.LARGEST_ANSWER", 1000)
    server.answer((200, '{"lost": []}' + " " * 2000))
    with pytest.raises(InvalidInput, match="too large"):
        node.heartbeat(Heartbeat(()))


@pytest.mark.parametrize("body", ["", "[]", '{"lost": 7}', '{"leases": [{}]}', "\xff"])
def test_nonsense_is_an_error_with_a_name(server, node, body):
    server.answer((200, body))
    with pytest.raises(InvalidInput):
        node.lease(LeaseRequest(())) if "leases" in body else node.heartbeat(Heartbeat(()))


def test_redirects_are_not_followed(server, node):
    server.answers = [(302, {"Location": "http://127.0.0.1:9/"}, b"")]
    with pytest.raises(InvalidInput, match="moved"):
        node.heartbeat(Heartbeat(()))
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/", "http://", "x", "http://user:pw@host/", "http://[::1"]
)
def test_only_http_addresses_are_called(url, tmp_path):
    with pytest.raises(InvalidInput):
        checked_url(url)
    with pytest.raises(InvalidInput):
        transfer.download(StoredFile("f", "0" * 64, 1, url), tmp_path / "f", threading.Event())


def test_backoff_grows_and_ends():
    assert 0.125 <= backoff(1, 10) <= 0.25
    assert 5 <= backoff(50, 10) <= 10


def stored(server, body, size=None):
    return StoredFile("f", hashlib.sha256(body).hexdigest(), size or len(body), server.url + "/f")


def test_downloads_are_checked(server, node, tmp_path):
    server.answer((200, "hello"))
    transfer.download(stored(server, b"hello"), tmp_path / "f", threading.Event())
    assert (tmp_path / "f").read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("body", "listed", "size", "sentence"),
    [
        ("other", b"hello", None, "other bytes"),
        ("hello you", b"hello", None, "larger"),
        ("hel", b"hel", 5, "other bytes"),
    ],
)
def test_wrong_bytes_leave_nothing(server, node, tmp_path, body, listed, size, sentence):
    server.answer((200, body))
    with pytest.raises(InvalidInput, match=sentence):
        transfer.download(stored(server, listed, size), tmp_path / "f", threading.Event())
    assert not (tmp_path / "f").exists()


def test_an_endless_download_is_cut_at_its_size(server, node, tmp_path):
    server.answers = [(200, {"Content-Length": str(1 << 40)}, bytes(3 << 20))]
    with pytest.raises(InvalidInput, match="larger"):
        transfer.download(StoredFile("f", "0" * 64, 10, server.url), tmp_path / "f", threading.Event())


def test_a_store_that_comes_back_is_used(server, node, tmp_path):
    server.answer((503, ""), None, (200, "hello"))
    transfer.download(stored(server, b"hello"), tmp_path / "f", threading.Event())
    assert len(server.seen) == 3


def test_a_cut_connection_is_tried_again(server, node, tmp_path):
    server.answers = [(200, {"Content-Length": "5"}, b"he"), (200, {}, b"hello")]
    # Of this version a server closes after every answer, here before it is whole.
    server.http.RequestHandlerClass.protocol_version = "HTTP/1.0"
    transfer.download(stored(server, b"hello"), tmp_path / "f", threading.Event())
    assert len(server.seen) == 2


def test_uploads_send_what_was_signed(server, node, tmp_path):
    (tmp_path / "f").write_bytes(b"pixels")
    server.answer((200, ""))
    transfer.upload(tmp_path / "f", Upload("f", server.url + "/put", {"x-amz-checksum-sha256": "abc"}))
    method, path, headers, body = server.seen[0]
    assert (method, path, body) == ("PUT", "/put", b"pixels")
    assert headers["x-amz-checksum-sha256"] == "abc"
    assert headers["Content-Length"] == "6"
    assert "Transfer-Encoding" not in headers


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, LinkExpired), (500, Unavailable), (400, InvalidInput), (302, InvalidInput)],
)
def test_uploads_that_are_refused(server, node, tmp_path, status, kind):
    (tmp_path / "f").write_bytes(b"pixels")
    server.answer((status, ""))
    with pytest.raises(kind):
        transfer.upload(tmp_path / "f", Upload("f", server.url + "/put", {}))
