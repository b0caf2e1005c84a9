# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided about a job before it starts."""

from dataclasses import replace

import pytest

from farm_protocol.audits import Sums
from farm_protocol.facts import Adaptive
from farm_protocol.ids import OwnerId, SceneId
from farm_protocol.records import JobSpec
from render_farm.intake import JobOrder, plan
from tests.api_calls import FACTS

SPEC = JobSpec(SceneId("0" * 64), (1,))


@pytest.mark.parametrize(
    ("facts", "sums"),
    [
        ({}, Sums(FACTS.samples)),
        ({"layer_samples": 2}, Sums(FACTS.samples)),
        ({"layer_samples": 4096}, Sums(4096)),
        ({"adaptive": Adaptive(True, 0.02, 8)}, Sums(FACTS.samples, noise_threshold=0.02, min_samples=8)),
        ({"adaptive": Adaptive(True, 0.0, 0)}, Sums(FACTS.samples, noise_threshold=0.0)),
        ({"adaptive": Adaptive(True, 1e9, 0)}, Sums(FACTS.samples, noise_threshold=1.0)),
        ({"adaptive": Adaptive(False, 0.5, 8)}, Sums(FACTS.samples, min_samples=8)),
    ],
)
def test_the_bound_of_a_gpus_rounding_follows_from_the_samples_that_are_taken(facts, sums):
    assert plan(OwnerId("ann"), JobOrder(SPEC, replace(FACTS, **facts)), 0.0).sums == sums
