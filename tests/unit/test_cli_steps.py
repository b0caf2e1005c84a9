# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of a command are said when they take long, and not otherwise."""

import threading

import pytest

from render_farm.cli.display import steps


def test_a_long_step_is_said_and_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(steps, "NEXT_SECONDS", 0.02)
    said: list[str] = []
    twice, counts = threading.Event(), iter(range(100))

    def say(sentence: str) -> None:
        said.append(sentence)
        if len(said) == 2:
            twice.set()

    with steps.step(say, lambda: f"Reading, {next(counts)} files"):
        assert twice.wait(60)
    assert said[:2] == ["Reading, 0 files ...", "Reading, 1 files, 0 s so far ..."]


def test_a_short_step_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "FIRST_SECONDS", 3600.0)
    said: list[str] = []
    with steps.step(said.append, lambda: "Reading"):
        pass
    assert said == []


def test_what_goes_wrong_in_a_step_ends_it() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="wrong"), steps.step(lambda _: None, lambda: ""):
        raise ValueError("wrong")
    assert threading.active_count() == before
