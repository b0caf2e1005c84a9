# SPDX-License-Identifier: GPL-3.0-or-later
"""What several unit tests start from."""

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings

from farm_protocol.facts import SceneFacts
from tests.plain_facts import PLAIN_SCENE

# CI tries the same values every time: new ones are for people, who can look at what they find.
settings.register_profile("shared-machine", deadline=None, database=None, derandomize="CI" in os.environ)
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def make_facts() -> Callable[..., SceneFacts]:
    """A plain Cycles scene with whatever fields the test changes."""

    def make(**changes: Any) -> SceneFacts:
        return replace(PLAIN_SCENE, **changes)

    return make
