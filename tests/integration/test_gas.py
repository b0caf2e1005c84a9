# SPDX-License-Identifier: GPL-3.0-or-later
"""What paying costs stays within what was aimed at, with the caps that the farm's own policy signs."""

from pathlib import Path

import pytest

from benchmarks.gas_job import Ground, without_redeeming
from benchmarks.gas_policy import plan
from tests.support.local_chain import local_chain
from tests.support.money_stage import Stage

FRAMES = 10_000
OPERATORS = 10


@pytest.mark.parametrize("frames", [7, 100, 1000, FRAMES])
def test_every_node_gets_its_share_with_one_raise_at_most(frames: int) -> None:
    made = plan(frames, OPERATORS)
    assert sum(made.earned) == frames
    assert max(made.earned) - min(made.earned) <= 1
    assert made.count <= OPERATORS
    highest = dict(enumerate(made.first)) | {one.node: one.cap for moment in made.raises for one in moment}
    assert sum(highest.values()) <= made.budget
    assert sum(made.first) <= max(16 * OPERATORS, made.budget // 16 + OPERATORS)


def test_ten_thousand_frames_cost_what_was_aimed_at(tmp_path: Path) -> None:
    made = without_redeeming(plan(FRAMES, OPERATORS))
    with local_chain(tmp_path) as chain:
        ground = Ground(Stage(chain, tmp_path), OPERATORS)
        ground.run_job(made, together=True)
        # Of operators who were paid before, in a market with other jobs: all of them have their places in it.
        assert ground.redeem_only(made, together=True) <= 30 * FRAMES
        all_in = ground.run_job(made, together=True, prompt=True).total()
        assert all_in <= 300 * FRAMES
        assert ground.push_payment(1) > 100 * all_in / FRAMES
