# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm audit` and what `node list` says of standing, against a farm that tells the truth or lies."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from farm_protocol.fields import encode
from render_farm.cli.program import run
from tests.fakes.scripted_server import Answer, Asked, scripted
from tests.verified_job import FARM, FARM_KEY, JOB, STRANGERS, honest_farm
from verification import replay
from verification.records import JobVerification

HEALTH = b'{"status": "ok", "version": "1", "store": true, "objects": true}'
NODE: dict[str, Any] = {
    "node": STRANGERS[0].node,
    "name": "desk",
    "own": False,
    "online": True,
    "last_seen": 1.0,
    "sandboxed": True,
    "device_class": "CPU",
    "slots": [],
}


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_STATE_DIR", str(tmp_path / "state"))


@contextmanager
def serving(record: JobVerification, *nodes: dict[str, Any]) -> Iterator[list[str]]:
    """A farm that has this to say; gives the words that name it."""

    def answers(asked: Asked) -> Answer:
        if asked.path.endswith("/health"):
            return Answer(body=HEALTH)
        if asked.path.endswith("/nodes"):
            return Answer(body=msgspec.json.encode({"nodes": nodes or (NODE,)}))
        assert asked.path == f"/api/v1/jobs/{JOB}/verification"
        return Answer(body=encode(record))

    with scripted(answers) as server, mock.patch.dict(os.environ, FARM_TOKEN="t"):
        yield ["--coordinator", server.url]


def told(
    capsys: pytest.CaptureFixture[str], record: JobVerification, *words: str
) -> tuple[int, dict[str, Any], str]:
    """Exit status, the answer as JSON, and as text."""
    with serving(record) as where:
        line = ["audit", *words, JOB, *where]
        status = run(line)
        text = capsys.readouterr().out
        assert run([*line, "--json"]) == status
        return status, json.loads(capsys.readouterr().out), text


def test_submissions_are_listed_with_audit_and_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    record = honest_farm().verification()
    status, answer, text = told(capsys, record, "list")
    assert status == 0
    assert len(answer["submissions"]) == len(record.submissions)
    (refused,) = [one for one in answer["submissions"] if one["verdict"] == "rejected"]
    assert (refused["name"], refused["rate"], refused["audited"]) == ("desk", 1_000_000, True)
    assert refused["auditors"]
    lines = text.splitlines()
    assert len(lines) == len(record.submissions) + 1
    (line,) = [line for line in lines if "rejected" in line]
    assert line.split()[:4] == ["3", str(refused["tile"]).split()[0], str(refused["tile"]).split()[1], "desk"]
    assert "100 %" in line
    assert any("yes, forced" in line for line in lines)
    assert any("the farm's own" in line for line in lines)
    assert any(STRANGERS[1].node in line for line in lines)


def test_what_is_not_decided_yet_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    record = honest_farm().verification()
    early = replace(record.submissions[0], audited=None, audits=(), report=None, verdict=None, case=None)
    _, answer, text = told(capsys, replace(record, submissions=(early,)), "list")
    assert answer["submissions"][0]["verdict"] is None
    assert "not drawn yet" in text
    _, _, text = told(capsys, replace(record, submissions=()), "list")
    assert text.startswith("No tile was submitted: ")


def test_a_farm_that_followed_its_rule_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    record = honest_farm().verification()
    status, answer, text = told(capsys, record, "replay")
    assert (status, answer["followed"], answer["findings"]) == (0, True, [])
    assert (answer["farm"], answer["submissions"]) == (FARM, len(record.submissions))
    assert "followed its own rule: 13 submissions" in text


def test_a_farm_that_spared_a_friend_is_found_out(capsys: pytest.CaptureFixture[str]) -> None:
    record = honest_farm().verification()
    spared = [replace(one, audited=False, audits=()) if one.audited else one for one in record.submissions]
    status, answer, text = told(
        capsys, replay.signed(replace(record, submissions=tuple(spared)), FARM_KEY), "replay"
    )
    assert (status, answer["followed"]) == (1, False)
    assert "did not follow its own rule" in text
    assert "its round says that it is audited, and it was not" in text
    assert len(answer["findings"]) >= len(text.splitlines()) - 2


def test_a_record_that_was_changed_is_found_out(capsys: pytest.CaptureFixture[str]) -> None:
    record = honest_farm().verification()
    status, _, text = told(capsys, replace(record, submissions=record.submissions[:-1]), "replay")
    assert status == 1
    assert "changed after it was signed" in text


def test_another_farm_than_the_one_named_is_found_out(capsys: pytest.CaptureFixture[str]) -> None:
    record = honest_farm().verification()
    assert told(capsys, record, "replay", "--farm", FARM)[0] == 0
    status, _, text = told(capsys, record, "replay", "--farm", "0x" + "00" * 20)
    assert status == 1
    assert f"of the farm {FARM}, not of 0x0000" in text


def test_nodes_are_listed_with_standing_and_next_audit(capsys: pytest.CaptureFixture[str]) -> None:
    proven = {**NODE, "standing": {"passed": 40, "failed": 2}, "audit_rate": 333_333}
    with serving(honest_farm().verification(), proven, {**NODE, "name": "new"}) as where:
        assert run(["node", "list", *where]) == 0
    heads, first, second = capsys.readouterr().out.splitlines()
    assert "STANDING" in heads
    assert "NEXT AUDIT" in heads
    assert "40 passed, 2 failed" in first
    assert "33.3 %" in first
    assert "passed" not in second
