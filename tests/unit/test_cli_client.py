# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against a server that restarts, lies, cuts connections and redirects."""

import hashlib
import threading
from pathlib import Path

import msgspec
import pytest

from farm_protocol.errors import Conflict, FarmError, InvalidInput, NotFound, StaleLease, Unavailable
from farm_protocol.fields import StoredFile
from farm_protocol.ids import JobId
from farm_protocol.records import Blob, Manifest
from farm_protocol.transfer import LinkExpired, ObjectDamaged
from render_farm.client.connection import Gone, Stopped
from render_farm.client.farm_client import FarmClient
from render_farm.embedded.seaweed import free_port
from tests.fakes.scripted_server import Answer, Asked, scripted

HEALTH = b'{"status": "ok", "version": "1", "store": true, "objects": true}'
JOB = JobId("j1")


def job_json(state: str) -> bytes:
    sha = "0" * 64
    return msgspec.json.encode(
        {
            "job": "j1",
            "owner": "o1",
            "name": "",
            "state": state,
            "scene": sha,
            "spec": {"scene": sha, "frames": [1]},
            "settings": {"samples": 1, "seed": 0, "resolution_percentage": 100, "format": "PNG"},
            "exactness": "bit-exact",
            "reason": "",
            "fingerprint": sha,
            "created": 0.0,
            "frames": {"total": 1, "done": 0, "failed": 0},
            "tasks": {"total": 1, "ready": 0, "leased": 0, "accepted": 0, "failed": 0},
            "device_class": None,
            "extension": ".png",
            "width": 1,
            "height": 1,
            "render_seconds": 0.0,
            "failure": None,
        }
    )


def event(name: str, kind: str, data: bytes) -> bytes:
    return f"id: {name}\nevent: {kind}\ndata: ".encode() + data + b"\n\n"


def problem(status: int, code: str, detail: str) -> Answer:
    body = msgspec.json.encode({"title": "no", "status": status, "code": code, "detail": detail})
    return Answer(status, body, {"Content-Type": "application/problem+json"})


def stored(data: bytes, url: str) -> StoredFile:
    return StoredFile("frame.png", hashlib.sha256(data).hexdigest(), len(data), url)


def test_the_token_is_sent_and_the_answer_decoded() -> None:
    with scripted(lambda _: Answer(body=HEALTH)) as server, FarmClient(server.url, "secret") as client:
        assert client.health().store
        assert server.asked[0].headers["authorization"] == "Bearer secret"
        assert server.asked[0].path == "/api/v1/health"


def test_a_coordinator_that_restarts_is_waited_for() -> None:
    port = free_port()
    with FarmClient(f"http://127.0.0.1:{port}", "t", patience=20) as client:
        states: list[str] = []
        asking = threading.Thread(target=lambda: states.append(client.health().status))
        asking.start()
        with scripted(lambda _: Answer(body=HEALTH), port=port):
            asking.join(20)
        assert states == ["ok"]


def test_a_store_that_is_away_for_a_moment_is_waited_for() -> None:
    def answers(asked: Asked) -> Answer:
        return problem(503, "unavailable", "away") if len(server.asked) < 3 else Answer(body=HEALTH)

    with scripted(answers) as server, FarmClient(server.url, "t", patience=20) as client:
        assert client.health().status == "ok"
        assert len(server.asked) == 3


def test_patience_ends_with_the_coordinators_own_sentence() -> None:
    with (
        scripted(lambda _: problem(503, "unavailable", "The store is away.")) as server,
        FarmClient(server.url, "t", patience=0.2) as client,
        pytest.raises(Unavailable, match=r"The store is away\."),
    ):
        client.health()


def test_closing_ends_the_waiting_of_other_threads() -> None:
    client = FarmClient(f"http://127.0.0.1:{free_port()}", "t", patience=60)
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            client.health()
        except FarmError as error:
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    client.close()
    asking.join(10)
    assert not asking.is_alive()
    assert isinstance(failures[0], Stopped)


def test_a_farm_that_is_gone_is_not_waited_for() -> None:
    with (
        FarmClient(f"http://127.0.0.1:{free_port()}", "t", patience=600, gone=lambda: True) as client,
        pytest.raises(Gone, match="has stopped"),
    ):
        client.health()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "not_found", NotFound),
        (409, "stale_lease", StaleLease),
        (409, "conflict", Conflict),
        (422, "invalid_input", InvalidInput),
        (418, "teapot", FarmError),
    ],
)
def test_a_problem_becomes_the_error_it_was(status: int, code: str, kind: type[FarmError]) -> None:
    with (
        scripted(lambda _: problem(status, code, "What to do.")) as server,
        FarmClient(server.url, "t") as client,
        pytest.raises(kind, match=r"What to do\.") as caught,
    ):
        client.job(JOB)
    assert caught.value.code == code


def test_a_redirect_is_not_followed_with_the_token() -> None:
    with scripted(lambda _: Answer(body=HEALTH)) as elsewhere:
        away = {"Location": f"{elsewhere.url}/api/v1/health"}
        with (
            scripted(lambda _: Answer(302, headers=away)) as server,
            FarmClient(server.url, "t") as client,
            pytest.raises(FarmError),
        ):
            client.health()
        assert elsewhere.asked == []


def test_an_answer_that_is_no_json_is_refused() -> None:
    with (
        scripted(lambda _: Answer(body=b"<html>")) as server,
        FarmClient(server.url, "t") as client,
        pytest.raises(InvalidInput, match="not a valid Health"),
    ):
        client.health()


def test_a_job_id_stays_one_part_of_the_path() -> None:
    with (
        scripted(lambda _: problem(404, "not_found", "no")) as server,
        FarmClient(server.url, "t") as client,
    ):
        with pytest.raises(NotFound):
            client.job(JobId("../nodes?x=1"))
        assert server.asked[0].path == "/api/v1/jobs/..%2Fnodes%3Fx%3D1"


@pytest.mark.parametrize("url", ["", "farm:8700", "ftp://farm", "file:///etc/passwd", "http://["])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        FarmClient(url, "t")


# --- events -------------------------------------------------------------------------------------


def test_events_go_on_after_a_cut_where_they_were() -> None:
    progress = b'{"task":"t","frame":1}'

    def answers(asked: Asked) -> Answer:
        if "last-event-id" not in asked.headers:
            body = b": hello\n\n" + event("1", "progress", progress) + b"id: 2\nevent: progress\ndata: {"
            return Answer(body=body, cut=True)
        return Answer(body=event("2", "progress", progress) + event("3", "job", job_json("complete")))

    with scripted(answers) as server, FarmClient(server.url, "t", patience=10) as client:
        seen = [(one.id, one.kind) for one in client.events(JOB)]
        assert seen == [("1", "progress"), ("2", "progress"), ("3", "job")]
        assert [one.headers.get("last-event-id") for one in server.to("/api/v1/jobs/j1/events")] == [
            None,
            "1",
        ]


def test_events_end_with_the_jobs_last_one() -> None:
    body = event("1", "job", job_json("rendering")) + event("2", "job", job_json("failed"))
    more = event("3", "progress", b"{}")
    with scripted(lambda _: Answer(body=body + more)) as server, FarmClient(server.url, "t") as client:
        assert [one.id for one in client.events(JOB)] == ["1", "2"]


def test_events_of_a_job_that_ended_before_end_at_once() -> None:
    def answers(asked: Asked) -> Answer:
        return Answer(body=b"" if asked.path.endswith("events") else job_json("complete"))

    with scripted(answers) as server, FarmClient(server.url, "t", patience=5) as client:
        assert list(client.events(JOB, last_id="9")) == []


def test_events_of_a_coordinator_that_stays_away_end_with_a_sentence() -> None:
    with (
        FarmClient(f"http://127.0.0.1:{free_port()}", "t", patience=0.2) as client,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        list(client.events(JOB))


def test_events_wait_for_a_store_that_is_away_for_a_moment() -> None:
    def answers(asked: Asked) -> Answer:
        if len(server.asked) < 4:
            return problem(503, "unavailable", "The store is away.")
        return Answer(body=event("1", "job", job_json("complete")))

    with scripted(answers) as server, FarmClient(server.url, "t", patience=20) as client:
        assert [one.id for one in client.events(JOB)] == ["1"]


def test_events_of_a_store_that_stays_away_end_with_the_coordinators_own_sentence() -> None:
    with (
        scripted(lambda _: problem(503, "unavailable", "The store is away.")) as server,
        FarmClient(server.url, "t", patience=0.2) as client,
        pytest.raises(Unavailable, match=r"The store is away\."),
    ):
        list(client.events(JOB))


def test_a_quiet_stream_that_breaks_late_is_waited_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is for a coordinator that is away, and a job that waits tells nothing for hours."""
    monkeypatch.setattr("render_farm.client.farm_client.STEADY_SECONDS", 0.3)
    nobody = threading.Event()

    def answers(asked: Asked) -> Answer:
        if len(server.asked) == 1:
            nobody.wait(0.5)
            return Answer(body=b": still here\n\n", cut=True)
        return Answer(body=event("1", "job", job_json("complete")))

    with scripted(answers) as server, FarmClient(server.url, "t", patience=0.2) as client:
        assert [one.id for one in client.events(JOB)] == ["1"]


def test_a_long_wait_is_said_once_and_so_is_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render_farm.client.connection.SILENT_SECONDS", 0.0)
    said: list[str] = []

    def answers(asked: Asked) -> Answer:
        if len(server.asked) < 5:
            return problem(503, "unavailable", "The store is away.")
        return Answer(body=HEALTH)

    with scripted(answers) as server, FarmClient(server.url, "t", patience=20, say=said.append) as client:
        client.health()
        client.health()
        assert said == ["The store is away. Waiting for it ...", "It answers again."]


def test_events_of_somebody_elses_job_are_refused() -> None:
    with (
        scripted(lambda _: problem(404, "not_found", "You have no job 'j1'.")) as server,
        FarmClient(server.url, "t", patience=5) as client,
        pytest.raises(NotFound, match="You have no job"),
    ):
        list(client.events(JOB))


# --- files --------------------------------------------------------------------------------------


def test_a_download_is_complete_and_right_or_not_there(tmp_path: Path) -> None:
    with scripted(lambda _: Answer(body=b"pixels")) as server, FarmClient(server.url, "t") as client:
        target = tmp_path / "deep" / "0001.png"
        client.download(stored(b"pixels", f"{server.url}/x"), target)
        assert target.read_bytes() == b"pixels"
        assert "authorization" not in server.asked[0].headers
        assert [path.name for path in target.parent.iterdir()] == ["0001.png"]


@pytest.mark.parametrize("sent", [b"pixelz", b"pixels and more", b"pix", b""])
def test_a_damaged_download_leaves_nothing(tmp_path: Path, sent: bytes) -> None:
    with (
        scripted(lambda _: Answer(body=sent)) as server,
        FarmClient(server.url, "t", patience=3) as client,
        pytest.raises(ObjectDamaged),
    ):
        client.download(stored(b"pixels", f"{server.url}/x"), tmp_path / "f.png")
    assert list(tmp_path.iterdir()) == []


def test_a_cut_download_is_tried_again(tmp_path: Path) -> None:
    def answers(asked: Asked) -> Answer:
        first = len(server.asked) == 1
        return Answer(body=b"pix", cut=True) if first else Answer(body=b"pixels")

    with scripted(answers) as server, FarmClient(server.url, "t", patience=10) as client:
        client.download(stored(b"pixels", f"{server.url}/x"), tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes() == b"pixels"


def test_an_expired_link_is_renewed_once(tmp_path: Path) -> None:
    def answers(asked: Asked) -> Answer:
        return Answer(403) if asked.path == "/old" else Answer(body=b"pixels")

    with scripted(answers) as server, FarmClient(server.url, "t") as client:
        old, new = (stored(b"pixels", f"{server.url}/{name}") for name in ("old", "new"))
        client.download(old, tmp_path / "f.png", lambda: new)
        with pytest.raises(LinkExpired):
            client.download(old, tmp_path / "g.png")
    assert (tmp_path / "f.png").read_bytes() == b"pixels"


def test_a_file_that_is_there_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "f.png").write_bytes(b"pixels")
    with scripted(lambda _: Answer(500)) as server, FarmClient(server.url, "t") as client:
        client.download(stored(b"pixels", f"{server.url}/x"), tmp_path / "f.png")
        assert server.asked == []


def test_an_old_file_of_another_content_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "f.png").write_bytes(b"pixelZ")
    with scripted(lambda _: Answer(body=b"pixels")) as server, FarmClient(server.url, "t") as client:
        client.download(stored(b"pixels", f"{server.url}/x"), tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes() == b"pixels"


def test_a_link_that_is_not_http_is_refused(tmp_path: Path) -> None:
    with FarmClient("http://127.0.0.1:1", "t") as client, pytest.raises(InvalidInput, match="not http"):
        client.download(stored(b"x", "file:///etc/passwd"), tmp_path / "f.png")


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        scripted(lambda _: Answer(body=b"pixels")) as server,
        FarmClient(server.url, "t") as client,
        pytest.raises(FarmError, match="cannot be written"),
    ):
        client.download(stored(b"pixels", f"{server.url}/x"), tmp_path / "file" / "f.png")


def scene(folder: Path, **files: bytes) -> Manifest:
    blobs = {}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        blobs[name] = Blob(hashlib.sha256(data).hexdigest(), len(data))
    return Manifest(next(iter(files)), blobs)


class FakeFarm:
    """Scenes and blobs; the first link to each blob is refused as expired when `expire` is set."""

    def __init__(self, expire: bool = False) -> None:
        self.blobs: dict[str, bytes] = {}
        self.sealed = False
        self.offers = 0
        self.expire = expire
        self.url = ""

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/api/v1/scenes":
            return self._offer(msgspec.json.decode(asked.body, type=Manifest))
        if asked.path.endswith("/seal"):
            self.sealed = True
            return Answer(body=b'{"scene": "s", "sealed": true}')
        if self.expire and self.offers == 1:
            return Answer(403)
        self.blobs[asked.path.rpartition("/")[2]] = asked.body
        return Answer()

    def _offer(self, manifest: Manifest) -> Answer:
        self.offers += 1
        missing = [
            {
                "sha256": b.sha256,
                "size": b.size,
                "url": f"{self.url}/put/{b.sha256}",
                "headers": {"content-type": "1"},
            }
            for b in manifest.files.values()
            if b.sha256 not in self.blobs
        ]
        body = {"scene": "s", "sealed": self.sealed, "missing": missing}
        return Answer(body=msgspec.json.encode(body))


@pytest.mark.parametrize("expire", [False, True])
def test_a_scene_is_uploaded_once_and_sealed(tmp_path: Path, expire: bool) -> None:
    farm = FakeFarm(expire)
    manifest = scene(tmp_path, main=b"BLENDER", tex=b"png", empty=b"")
    with scripted(farm) as server, FarmClient(server.url, "t", patience=5) as client:
        farm.url = server.url
        assert client.upload_scene(manifest, tmp_path) == "s"
        assert sorted(farm.blobs.values()) == [b"", b"BLENDER", b"png"]
        puts = server.to("/put")
        assert all(one.headers["content-type"] == "1" and "authorization" not in one.headers for one in puts)
        before = len(puts)
        client.upload_scene(manifest, tmp_path)
        assert len(server.to("/put")) == before


def test_links_that_never_work_end_with_a_sentence(tmp_path: Path) -> None:
    farm = FakeFarm()
    manifest = scene(tmp_path, main=b"BLENDER")

    def answers(asked: Asked) -> Answer:
        return Answer(403) if asked.method == "PUT" else farm(asked)

    with scripted(answers) as server, FarmClient(server.url, "t", patience=5) as client:
        farm.url = server.url
        with pytest.raises(FarmError, match="takes no uploads"):
            client.upload_scene(manifest, tmp_path)


def test_a_coordinator_asking_for_other_files_gets_none(tmp_path: Path) -> None:
    wanted = {"sha256": "f" * 64, "size": 1, "url": "http://127.0.0.1:1/", "headers": {}}
    body = msgspec.json.encode({"scene": "s", "sealed": False, "missing": [wanted]})
    with (
        scripted(lambda _: Answer(body=body)) as server,
        FarmClient(server.url, "t", patience=5) as client,
        pytest.raises(FarmError, match="not in the scene"),
    ):
        client.upload_scene(scene(tmp_path, main=b"BLENDER"), tmp_path)
