# SPDX-License-Identifier: GPL-3.0-or-later
"""The store or the chain restarts under a command of the user's: it is waited for, and nothing is lost."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from farm_protocol.ids import JobId
from payments.chain import Chain, Patience
from render_farm.client import FarmClient
from render_farm.embedded.seaweed import free_port
from tests import servers
from tests.api_calls import Api
from tests.e2e.conftest import COMMAND_SECONDS, SAMPLES, LiveFarm
from tests.local_chain import LocalChain

pytestmark = [pytest.mark.farm, pytest.mark.timeout(600)]

OPTIONS = ("--samples", 4, "--resolution-percentage", 10, "--slots", 1)


def test_events_are_followed_through_restarts_of_the_store(
    tmp_path: Path, seaweed_server: servers.ObjectStore
) -> None:
    with (
        servers.valkey(tmp_path / "valkey") as store,
        servers.coordinator(tmp_path / "coordinator", store.url, seaweed_server) as coordinator,
        FarmClient(coordinator.url, coordinator.admin_token, patience=60) as client,
    ):
        admin = Api(coordinator.url, coordinator.admin_token)
        job = JobId(admin.job(frames=(1, 2, 3)))
        node = admin.node("own", own=True)
        seen: list[str] = []
        more = threading.Condition()

        def follow() -> None:
            for event in client.events(job):
                with more:
                    seen.append(event.id)
                    more.notify()

        following = threading.Thread(target=follow)
        following.start()
        for _ in range(3):
            before = len(seen)
            store.kill()
            with beginning_to_follow(coordinator, job) as first:
                store.start()
                node.do(node.lease(wait=5.0)[0])
                with more:
                    assert more.wait_for(partial(_is_longer, seen, before), 60)
            assert first == seen[:1]
        node.work()
        following.join(60)
        assert client.job(job).state.value == "complete"
        assert len(seen) == len(set(seen))


def _is_longer(seen: list[str], than: int) -> bool:
    return len(seen) > than


@contextmanager
def beginning_to_follow(coordinator: servers.Coordinator, job: JobId) -> Iterator[list[str]]:
    """Somebody who asks for the events while the block lasts; at its end with the id of the first."""
    first: list[str] = []
    with FarmClient(coordinator.url, coordinator.admin_token, patience=60) as client:
        asking = threading.Thread(target=lambda: first.append(next(client.events(job)).id))
        asking.start()
        yield first
        asking.join(60)


def test_a_chain_that_restarts_is_waited_for_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payments.chain.SILENT_SECONDS", 0.0)
    said: list[str] = []
    away = threading.Event()

    def say(sentence: str) -> None:
        said.append(sentence)
        away.set()

    chain = LocalChain(tmp_path, port=free_port())
    chain.start()
    try:
        way = Chain(chain.url, chain.chain_id, patience=Patience(120, say))
        head = way.head()
        chain.kill()
        heads: list[int] = []
        asking = threading.Thread(target=lambda: heads.append(way.head()))
        asking.start()
        assert away.wait(60)
        chain.start()
        asking.join(120)
    finally:
        chain.kill()
    assert heads == [head]
    assert [sentence.rsplit(" ", 2)[-1] for sentence in said] == ["...", "again."]


def render(farm: LiveFarm, act: Callable[[str], None], *words: object) -> dict[str, Any]:
    """`render` on a farm of its own; `act` hears each line that is said."""
    process = farm.command("render", SAMPLES / "orbit.blend", *OPTIONS, *words, "--json")
    said = []
    assert process.stderr
    for line in process.stderr:
        said.append(line)
        act(line)
    try:
        out, _ = process.communicate(timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, "".join(said) + out + farm.logs()
    answer: dict[str, Any] = json.loads(out)
    return answer


def test_a_render_outlives_the_store_of_its_own_farm(tmp_path: Path) -> None:
    farm = LiveFarm(tmp_path / "state")
    kills = []

    def act(line: str) -> None:
        if line.startswith("Frame "):
            kills.append(farm.parts()["valkey"])
            os.kill(kills[-1], signal.SIGKILL)

    answer = render(farm, act, "--frames", "1-3", "--output", tmp_path / "####")
    assert [frame["frame"] for frame in answer["frames"]] == [1, 2, 3]
    assert len(set(kills)) == 3


def test_a_chain_that_restarts_just_before_the_deposit_is_waited_for(tmp_path: Path) -> None:
    farm = LiveFarm(tmp_path / "state")
    kills = []

    def act(line: str) -> None:
        if "Your wallet" in line and not kills:
            kills.append(farm.parts()["chain"])
            os.kill(kills[0], signal.SIGKILL)

    answer = render(farm, act, "--frames", "1", "--output", tmp_path / "####", "--budget", "5")
    assert kills
    assert [frame["frame"] for frame in answer["frames"]] == [1]
    assert answer["statement"]["settled"]
