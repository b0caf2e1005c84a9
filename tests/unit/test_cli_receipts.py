# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts fetched with frames, kept beside them, and checked: true ones, false ones, and what is none."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm_protocol.errors import InvalidInput
from render_farm.api_models import Frame, Job
from render_farm.cli.fetching import Fetched, Fetcher, receipt_path
from render_farm.cli.outputs import Targets, targets
from render_farm.cli.program import run
from render_farm.cli.receipts import Receipts, write_receipt
from render_farm.client.farm_client import FarmClient
from tests.fakes.own_work import FARM, JOB, RULES, SCENE, SETTINGS, receipt_of
from tests.fakes.scripted_server import Answer, Asked, Scripted, scripted
from tests.unit.test_cli_following import job_record

PICTURE = b"picture"
Change = Callable[[bytes], bytes]


class Farm:
    """Has frame 1, and answers for its receipt as told."""

    def __init__(self, *receipts: Answer) -> None:
        self.receipts = list(receipts)
        self.url = ""

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.endswith("/receipt"):
            return self.receipts.pop(0) if len(self.receipts) > 1 else self.receipts[0]
        if asked.path.endswith("/farm"):
            return Answer(body=msgspec.json.encode(RULES))
        return Answer(body=PICTURE)


def job() -> Job:
    record = {**job_record("complete"), "job": JOB, "scene": SCENE, "settings": SETTINGS}
    return msgspec.convert(msgspec.to_builtins(record), Job)


@pytest.fixture
def goals(tmp_path: Path) -> Targets:
    return targets(f"{tmp_path}/out/####", "", (1, 2), ".png", ())


@contextmanager
def serving(*receipts: Answer) -> Iterator[tuple[FarmClient, Scripted]]:
    farm = Farm(*receipts)
    with scripted(farm) as server, FarmClient(server.url, "t", patience=3) as client:
        farm.url = server.url
        yield client, server


def fetch(
    client: FarmClient, goals: Targets, receipts: bool = True, say: Callable[[str], None] = print
) -> Fetched:
    stored = msgspec.json.decode(receipt_of(1, PICTURE))["receipt"]["files"][0]
    frame = msgspec.convert(
        {
            "frame": 1,
            "state": "done",
            "tiles": 1,
            "tiles_accepted": 1,
            "render_seconds": 1.0,
            "files": [{**stored, "url": f"{client.url}/file"}],
        },
        Frame,
    )
    wanted = Receipts(client, job(), goals) if receipts else None
    with closing(Fetcher(client, JOB, goals, lambda one: say(str(one.path)), say, wanted)) as fetcher:
        fetcher.take(frame)
        return fetcher.finish()[1]


def kept(goals: Targets) -> Path:
    return goals.frames[1].with_name("0001.png.receipt.json")


def changed(document: bytes, **fields: Any) -> bytes:
    found = json.loads(document)
    found["receipt"].update(fields)
    return json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_receipt_is_kept_beside_its_frame(goals: Targets) -> None:
    document = receipt_of(1, PICTURE)
    with serving(Answer(body=document)) as (client, _):
        fetched = fetch(client, goals)
    assert fetched.receipt is not None
    assert (fetched.receipt.path, fetched.doubts) == (kept(goals), ())
    assert kept(goals).read_bytes() == document
    assert sorted(path.name for path in kept(goals).parent.iterdir()) == ["0001.png", "0001.png.receipt.json"]


def test_no_receipt_is_asked_for_where_none_is_wanted(goals: Targets) -> None:
    with serving(Answer(404)) as (client, server):
        assert fetch(client, goals, receipts=False).doubts == ()
        assert server.to(f"/api/v1/jobs/{JOB}/frames") == []


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (receipt_of(2, PICTURE), "frame 2 of job j1"),
        (receipt_of(1, b"another picture"), "another file than the one the farm delivered"),
        (receipt_of(1, PICTURE, key=b"\x33" * 32), "changed after it was signed"),
        (changed(receipt_of(1, PICTURE), scene="1" * 64), "another scene"),
        (changed(receipt_of(1, PICTURE), farm="0x" + "00" * 20), "not of"),
        (changed(receipt_of(1, PICTURE), tiles=[]), "no receipt"),
        (receipt_of(1, PICTURE) + b" ", "canonical"),
        (b"", "no receipt"),
        (b"[" * 100_000, "no receipt"),
        (b" " * (33 << 20), "larger than any receipt"),
    ],
    ids=["frame", "file", "key", "scene", "farm", "tiles", "spaces", "empty", "nested", "huge"],
)
def test_a_receipt_that_is_wrong_is_doubted(goals: Targets, document: bytes, sentence: str) -> None:
    with serving(Answer(body=document)) as (client, _):
        fetched = fetch(client, goals)
    assert any(sentence in doubt for doubt in fetched.doubts), fetched.doubts
    assert goals.frames[1].read_bytes() == PICTURE


def test_what_is_no_receipt_is_not_written(goals: Targets) -> None:
    with serving(Answer(body=b"{}")) as (client, _):
        fetched = fetch(client, goals)
    assert fetched.receipt is not None
    assert fetched.receipt.path is None
    assert not kept(goals).exists()


def test_a_frame_that_can_have_no_receipt_is_noted_once(goals: Targets) -> None:
    none = Answer(404, b'{"code": "not_found", "detail": "It was written whole."}')
    with serving(none) as (client, _):
        fetched = fetch(client, goals)
        assert (fetched.doubts, receipt_path(fetched)) == ((), "")
        assert fetched.refused == ("No receipt: It was written whole.",)
        receipts = Receipts(client, job(), goals)
        assert [bool(receipts.keep(1, "").note) for _ in range(3)] == [True, False, False]


def test_a_farm_that_cannot_make_a_receipt_is_doubted(goals: Targets) -> None:
    with serving(Answer(500)) as (client, _):
        assert fetch(client, goals).doubts[0].startswith("Frame 1 has no receipt: ")


def test_a_receipt_that_is_not_ready_is_asked_for_again(goals: Targets) -> None:
    early = Answer(409, b'{"code": "conflict", "detail": "Not yet."}')
    with serving(early, early, Answer(body=receipt_of(1, PICTURE))) as (client, server):
        assert fetch(client, goals).doubts == ()
        assert len(server.to(f"/api/v1/jobs/{JOB}/frames")) == 3


def test_an_older_receipt_is_replaced(goals: Targets) -> None:
    kept(goals).parent.mkdir()
    kept(goals).write_bytes(receipt_of(1, b"an older picture"))
    with serving(Answer(body=receipt_of(1, PICTURE))) as (client, _):
        assert fetch(client, goals).doubts == ()
    assert kept(goals).read_bytes() == receipt_of(1, PICTURE)


def test_the_same_receipt_is_not_written_again(goals: Targets) -> None:
    kept(goals).parent.mkdir()
    for _ in range(2):
        write_receipt(kept(goals), receipt_of(1, PICTURE))
        os.utime(kept(goals), ns=(1, 1))
    write_receipt(kept(goals), receipt_of(1, PICTURE))
    assert kept(goals).stat().st_mtime_ns == 1


def test_a_frame_is_told_before_its_receipt_is_there(goals: Targets) -> None:
    said: list[str] = []
    wrong = Answer(body=receipt_of(2, PICTURE))
    with serving(wrong) as (client, _):
        fetch(client, goals, say=said.append)
    assert said[0] == f"{goals.frames[1]}"
    assert said[1].startswith("The receipt of frame 1 is wrong: ")


def test_something_else_is_never_overwritten(goals: Targets, tmp_path: Path) -> None:
    kept(goals).parent.mkdir()
    kept(goals).write_bytes(b'{"mine": 1}')
    with serving(Answer(body=receipt_of(1, PICTURE))) as (client, _):
        assert "is no receipt: it was left as it is" in fetch(client, goals).doubts[0]
    assert kept(goals).read_bytes() == b'{"mine": 1}'
    kept(goals).unlink()
    victim = tmp_path / "victim"
    victim.write_bytes(receipt_of(1, b"older"))
    for place in (lambda: kept(goals).symlink_to(victim), lambda: kept(goals).mkdir()):
        place()
        with pytest.raises(InvalidInput, match="left as it is"):
            write_receipt(kept(goals), receipt_of(1, PICTURE))
        kept(goals).unlink() if kept(goals).is_symlink() else kept(goals).rmdir()
    assert victim.read_bytes() == receipt_of(1, b"older")


def test_a_receipt_never_takes_the_place_of_a_file_of_the_scene(goals: Targets) -> None:
    with pytest.raises(InvalidInput, match="the scene reads"):
        replace(goals, inputs=frozenset({str(kept(goals))})).receipt(1)


def test_no_file_output_passes_for_a_receipt(goals: Targets) -> None:
    for name in ("0001.png.Receipt.JSON", "outputs/0001.png.receipt.json"):
        with pytest.raises(InvalidInput, match="not fetched"):
            goals.other(1, name)


# --- render-farm receipt verify -------------------------------------------------------------------


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    path = tmp_path / "0001.png.receipt.json"
    path.write_bytes(receipt_of(1, PICTURE))
    return path


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a receipt is checked without network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def verified(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    """Exit status, the answer as JSON, and as text."""
    line = ["receipt", "verify", *map(str, words)]
    status = run(line)
    text = capsys.readouterr().out
    assert run([*line, "--json"]) == status
    return status, json.loads(capsys.readouterr().out), text


@pytest.mark.usefixtures("_offline")
def test_a_receipt_that_holds_is_told_in_plain_lines(
    receipt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer, text = verified(capsys, receipt, "--farm", FARM.lower())
    assert (status, answer["holds"], answer["problems"]) == (0, True, [])
    assert (answer["frame"], answer["tiles"], answer["farm"], answer["beside"]) == (1, 1, FARM, None)
    assert text.startswith(f"{receipt} holds.\n")
    assert "1 tile by 1 node, 0 audited." in text
    assert "not beside the receipt" in text


def test_the_frame_beside_a_receipt_is_compared(receipt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = receipt.with_name("0001.png")
    frame.write_bytes(PICTURE)
    status, answer, text = verified(capsys, receipt)
    assert (status, answer["beside"]) == (0, {"path": str(frame), "matches": True})
    assert f"as {frame} is" in text
    frame.write_bytes(b"retouched")
    status, answer, text = verified(capsys, receipt)
    assert (status, answer["holds"]) == (1, False)
    assert f"{frame} is not the file the receipt is about." in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data.replace(b'"frame":1', b'"frame":2', 1), "changed after it was signed"),
        (lambda data: data[:-10], "no receipt"),
        (lambda data: b"\xff\xfe", "no receipt"),
        (lambda data: json.dumps(json.loads(data), indent=1).encode(), "canonical"),
    ],
    ids=["frame", "cut", "bytes", "indented"],
)
def test_a_changed_receipt_does_not_hold(
    receipt: Path, change: Change, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt.write_bytes(change(receipt.read_bytes()))
    status, answer, text = verified(capsys, receipt)
    assert (status, answer["holds"]) == (1, False)
    assert "does not hold" in text
    assert sentence in text


def test_another_farms_receipt_does_not_hold(receipt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, text = verified(capsys, receipt, "--farm", "0x" + "00" * 20)
    assert status == 1
    assert "not of 0x0000" in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere.json"], "nowhere.json cannot be read: No such file"),
        (["."], "cannot be read: Is a directory"),
        (["x", "--farm", "vitalik"], "'vitalik' is no farm's address"),
    ],
)
def test_what_cannot_be_checked_is_named(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["receipt", "verify", *words]) == 1
    assert sentence in capsys.readouterr().err


def test_an_endless_file_is_not_read_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["receipt", "verify", "/dev/zero"]) == 1
    assert "longer than any receipt" in capsys.readouterr().err
