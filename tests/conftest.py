# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: real servers, each started when the first test that may share it asks for it, and
plain facts."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm_protocol.facts import SceneFacts
from tests.support import servers
from tests.support.plain_facts import PLAIN_SCENE

# A runner in the background may itself have been started with Ctrl-C ignored; what the tests start
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Store]:
    """A store. Tests that need an empty one flush it, so nothing else may rely on its contents."""
    with servers.valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture(scope="session")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ObjectStore]:
    """An object store."""
    with servers.seaweed(tmp_path_factory.mktemp("seaweed")) as running:
        yield running


@pytest.fixture(scope="module")
def coordinator_server(
    tmp_path_factory: pytest.TempPathFactory, seaweed_server: servers.ObjectStore
) -> Iterator[servers.Coordinator]:
    """A coordinator on a store of its own: no job that another module left is leased here. A module's tests
    add owners and nodes of their own to it, and cancel what they leave unfinished.
    """
    folder: Path = tmp_path_factory.mktemp("coordinator")
    with (
        servers.valkey(folder / "valkey") as store,
        servers.coordinator(folder / "process", store.url, seaweed_server) as running,
    ):
        yield running


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by their argument: what compressors make may differ from process to process, and all
    runners must collect the same names.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for tokens, apart from what a test looks at."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def make_facts() -> Callable[..., SceneFacts]:
    """A plain Cycles scene with whatever fields the test changes."""

    def make(**changes: Any) -> SceneFacts:
        return replace(PLAIN_SCENE, **changes)

    return make
