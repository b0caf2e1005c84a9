# SPDX-License-Identifier: GPL-3.0-or-later
"""The last lines of `render` and `job download`, and their exit status where a receipt is wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from render_farm.answers import AuditCounts
from render_farm.cli.program import run
from render_farm.cli.render_result import FrameResult, RenderResult, summary
from tests.fakes.own_work import JOB, RULES, SCENE, SETTINGS, receipt_of
from tests.fakes.scripted_server import Answer, Asked, scripted
from tests.unit.test_cli_following import Coordinator, job_record

DONE = RenderResult(
    job="j1",
    exactness="bit-exact",
    reason="",
    wall_seconds=12.34,
    slots=1,
    efficiency=0.9,
    frames=(FrameResult(1, "/out/0001.png", "bit-exact", 1, 1.0, (), "/out/0001.png.receipt.json"),),
    other_files=(),
    notes=(),
    audits=AuditCounts(),
    doubts=(),
)
TWO = (*DONE.frames, FrameResult(2, "/out/0002.png", "bit-exact", 12, 1.0, (), "/out/0002.png.receipt.json"))


def test_one_frame_is_one_frame() -> None:
    assert summary(DONE) == (
        "1 frame in 12.3 s (bit-exact): /out/0001.png\n"
        "1 tile, 0 audited, 0 rejected; receipt in /out/0001.png.receipt.json"
    )


def test_audits_and_receipts_are_summed_up() -> None:
    result = replace(DONE, frames=TWO, audits=AuditCounts(5, 3, 1, 1))
    assert summary(result).splitlines() == [
        "2 frames in 12.3 s (bit-exact): /out/0001.png ... /out/0002.png",
        "13 tiles, 5 audited, 1 rejected, 1 undecided; receipts in /out",
    ]


def test_missing_and_wrong_receipts_are_counted() -> None:
    missing = replace(DONE, frames=(TWO[0], replace(TWO[1], receipt="")), doubts=("Frame 2 has no receipt.",))
    assert summary(missing).endswith(
        "; 1 of 2 receipts in /out. 1 thing is wrong with the receipts, it is said above."
    )
    assert summary(replace(DONE, frames=(replace(DONE.frames[0], receipt=""),))).endswith("0 rejected.")


@pytest.fixture
def shot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def serve(receipt: Answer) -> Callable[[Asked], Answer]:
    """A farm with one finished frame, `picture`, and this receipt of it."""
    coordinator = Coordinator()
    coordinator.record = json.loads(
        msgspec.json.encode({**job_record("complete"), "job": JOB, "scene": SCENE, "settings": SETTINGS})
    )
    coordinator.record["spec"]["frames"] = [1]

    def answers(asked: Asked) -> Answer:
        coordinator.url = f"http://{asked.headers['host']}"
        if not coordinator.frames:
            coordinator.frame(1, coordinator.file("0001.png", b"picture"))
        if asked.path.endswith("/receipt"):
            return receipt
        if asked.path.endswith("/farm"):
            return Answer(body=msgspec.json.encode(RULES))
        if asked.path.endswith("/health"):
            return Answer(body=b'{"status": "ok", "version": "1", "store": true, "objects": true}')
        return coordinator(asked)

    return answers


@pytest.mark.parametrize(
    ("document", "status", "sentence"),
    [
        (receipt_of(1, b"picture"), 0, "1 frame fetched."),
        (receipt_of(1, b"other"), 1, "The receipt of frame 1 is wrong: It names another file"),
        (b"{}", 1, "Frame 1 has no receipt: This is no receipt"),
    ],
    ids=["true", "false", "none"],
)
def test_a_download_with_a_wrong_receipt_fails_and_keeps_the_frame(
    shot: Path,
    document: bytes,
    status: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FARM_TOKEN", "t")
    with scripted(serve(Answer(body=document))) as server:
        line = ["job", "download", JOB, "--coordinator", server.url, "--output", "got/#"]
        assert run(line) == status
        told = capsys.readouterr()
        assert sentence in told.out + told.err
        assert run([*line, "--json"]) == status
        answer = json.loads(capsys.readouterr().out)
        assert len(answer["doubts"]) == status
        assert run([*line, "--no-receipts"]) == 0
    assert (shot / "got" / "1.png").read_bytes() == b"picture"


@pytest.mark.parametrize(("doubts", "status"), [((), 0), (("The receipt of frame 1 is wrong: No.",), 1)])
def test_a_render_with_a_wrong_receipt_fails(
    doubts: tuple[str, ...], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from render_farm.cli import rendering as module

    class Nothing:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self) -> "Nothing":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def access(self) -> None:
            pass

        def prepare(self) -> None:
            pass

        def run(self) -> RenderResult:
            return replace(DONE, doubts=doubts)

    for name in ("_Door", "checked_scene", "_Rendering", "_targets"):
        monkeypatch.setattr(module, name, Nothing)
    monkeypatch.setattr(module, "check_scene", lambda *_: None)
    assert run(["render", "s.blend", "--json"]) == status
    answer = json.loads(capsys.readouterr().out)
    assert answer["doubts"] == list(doubts)
    assert answer["frames"][0]["receipt"] == "/out/0001.png.receipt.json"
    assert answer["audits"] == {"audited": 0, "passed": 0, "rejected": 0, "unresolved": 0}
