# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down before it is sent can be read back, and does not grow for ever."""

import time
from dataclasses import replace

from payments.chain.outbox import Attempt, FileOutbox, Intent, Outcome

NOW = Attempt("ab" * 32, "0x00", 1, 1, time.time())


def intent(number: int, outcome: Outcome = Outcome.DONE) -> Intent:
    return Intent(f"key {number}", "", "0x", "0", number, 21_000, (NOW,), outcome)


def again(path):
    found = FileOutbox(path)
    found.close()
    return found.all()


def test_what_was_sent_today_is_read_back(tmp_path) -> None:
    outbox = FileOutbox(tmp_path / "box")
    outbox.save(intent(1))
    outbox.close()
    assert again(tmp_path / "box") == (intent(1),)


def test_what_is_over_is_forgotten_but_for_the_newest_and_what_is_not_over_never(tmp_path) -> None:
    outbox = FileOutbox(tmp_path / "box")
    outbox.save(intent(0, Outcome.PENDING))
    for number in range(1, 12):
        outbox.save(intent(number))
        outbox.prune(5)
    outbox.close()
    left = again(tmp_path / "box")
    assert left[0] == replace(intent(0), outcome=Outcome.PENDING)
    assert [one.nonce for one in left[1:]] == [7, 8, 9, 10, 11]
