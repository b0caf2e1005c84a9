# SPDX-License-Identifier: GPL-3.0-or-later
"""One scene, one farm and one forger for the whole red team."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cheats.farm import CheatedFarm, running
from tests.cheats.forger import Forger, forging
from tests.support.reference import Plain, render_plainly, run

FRAMES = tuple(range(1, 13))


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene in which every cheat leaves a mark."""
    path = tmp_path_factory.mktemp("room") / "room.blend"
    run("cheats.scene", str(path))
    return path


@pytest.fixture(scope="session")
def plain_room(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of its frames as plain Blender writes them."""
    folder = tmp_path_factory.mktemp("plain")
    render_plainly(Plain(room, folder, FRAMES))
    return folder


@pytest.fixture(scope="session")
def plain_large(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of its frames at twice the size."""
    folder = tmp_path_factory.mktemp("plain-large")
    render_plainly(Plain(room, folder, FRAMES, resolution_percentage=200))
    return folder


@pytest.fixture(scope="session")
def forger(tmp_path_factory: pytest.TempPathFactory, room: Path) -> Iterator[Forger]:
    with forging(tmp_path_factory.mktemp("forger"), room) as one:
        yield one


@pytest.fixture(scope="session")
def cheated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheatedFarm]:
    """A farm with an own node and a liar, one slot each."""
    with running(tmp_path_factory.mktemp("cheated")) as farm:
        yield farm
