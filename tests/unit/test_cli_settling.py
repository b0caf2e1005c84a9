# SPDX-License-Identifier: GPL-3.0-or-later
"""A client takes back only what nobody earned, however old the statement is that it is shown."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from farm_protocol.ids import JobId
from payments.statements import Statement
from render_farm.cli import settling

JOB = JobId("job1")
OLD = Statement(
    job=JOB,
    number=1,
    state="rendering",
    settled=False,
    token="0x" + "01" * 20,
    symbol="RND",
    decimals=18,
    budget=100,
    deposit=100,
    paid=0,
    owed=0,
    refunded=0,
    refundable=100,
    compensated=0,
    audits=0,
    audits_amount=0,
    terms="ab" * 32,
)


@dataclass
class Story:
    """A farm's statements one after the other, the last for ever, and what the client took back."""

    told: list[Statement]
    free: int = 100
    taken: list[int] = field(default_factory=list)

    def statement(self, _job: JobId) -> Statement:
        found = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        return replace(found, settled=True) if self.taken else found

    def number_of(self, _farm: str, _job: JobId) -> int:
        return 1

    def available(self, _number: int) -> int:
        return self.free

    def take_back(self, _job: JobId, _number: int, amount: int) -> str:
        self.taken.append(amount)
        self.free -= amount
        return "0x1"


def settle(story: Story, monkeypatch: pytest.MonkeyPatch) -> Statement:
    monkeypatch.setattr(settling, "LOOKS_SECONDS", 0.0)
    parts: Any = story
    return settling.settle(parts, parts, "0xfa", JOB, lambda _line: None, seconds=0.2)


def test_a_statement_from_before_the_work_lets_nothing_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story([OLD])
    assert not settle(story, monkeypatch).settled
    assert story.taken == []


def test_what_is_owed_is_waited_for_and_the_rest_taken_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done = replace(OLD, state="complete", owed=60, refundable=40)
    story = Story([OLD, OLD, done, done, replace(done, owed=0, paid=60)], free=40)
    assert settle(story, monkeypatch).settled
    assert story.taken == [40]
