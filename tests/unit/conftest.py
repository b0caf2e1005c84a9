# SPDX-License-Identifier: GPL-3.0-or-later
"""What several unit tests start from, and what none of them does: start a process."""

import os
import subprocess
from collections.abc import Iterator
from typing import NoReturn

import pytest
from hypothesis import settings

# CI tries the same values every time: new ones are for people, who can look at what they find.
settings.register_profile("shared-machine", deadline=None, database=None, derandomize="CI" in os.environ)
settings.load_profile("shared-machine")


def _refuse(*_: object, **__: object) -> NoReturn:
    pytest.fail("A unit test starts no process: this one belongs in tests/integration.")


@pytest.fixture(scope="module", autouse=True)
def no_process() -> Iterator[None]:
    """Whatever starts a process fails the test, so that `make test-fast` stays fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "_execute_child", _refuse)
        for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system"):
            patch.setattr(os, name, _refuse)
        yield
