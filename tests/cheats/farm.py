# SPDX-License-Identifier: GPL-3.0-or-later
"""A farm with a cheat in it: all parts real, an own node, and a node of the artist's whose child lies.

The liar runs without a sandbox, so it gets only its owner's scenes: here it belongs to the artist, and the
own node to the farm's operator, as they would be in life the other way round.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile
from farm_protocol.ids import JobId
from farm_protocol.records import JobSpec, TaskKind, TaskState
from frame_splitter.split import pin
from payments.statements import Statement
from render_farm.bundle import bundle
from render_farm.cli.paying import Offered, Paying
from render_farm.cli.purse import Purse
from render_farm.client import FarmClient
from render_farm.doctor import inspect, trust_all
from render_farm.embedded.part import Program
from render_farm.embedded.state import Folder
from render_farm.embedded.supervisor import Farm, FarmOptions
from render_farm.job_events import Event
from tests.api_calls import Api
from tests.cheats import dishonest_child
from tests.cheats.money import Selling, artists_purse, sell_with_stake
from tests.cheats.raw_node import keyless_node
from tests.emulated import dishonest
from tests.emulated.packed import pack
from verification.records import JobVerification, SubmissionRecord

READY_SECONDS = 120.0
LIAR = "liar"
CPU, EMULATED = "CPU", "emulated-gpu"
"""Devices that a farm can be tried on."""


@dataclass(frozen=True)
class Lie:
    """One render in which the child cheated."""

    cheat: str
    frame: int
    region: Tile


@dataclass(frozen=True)
class Liar:
    """The dishonest node: its id at the farm, and its state folder."""

    node: str
    state: Path

    def is_told(self, cheat: str) -> None:
        """How it cheats from its next render on; '' for not at all."""
        draft = self.state / "cheat.new"
        draft.write_text(cheat)
        draft.rename(self.state / dishonest_child.TOLD)

    def lies(self) -> list[Lie]:
        """All it has told so far."""
        path = self.state / dishonest_child.LIES
        lines = path.read_text().splitlines() if path.exists() else []
        told = [json.loads(line) for line in lines]
        return [Lie(one["cheat"], one["frame"], Tile(**one["region"])) for one in told]


@dataclass
class Story:
    """What happened to one job: its events, its submissions, whose tiles were accepted, by frame and tile,
    what the liar did meanwhile, and why frames were rendered whole, '' where none was.
    """

    events: list[Event]
    record: JobVerification
    accepted: dict[tuple[int, Tile], str | None]
    lies: list[Lie]
    fallback: str = ""
    files: dict[int, Path] = field(default_factory=dict)
    statement: Statement | None = None

    def submissions(self, node: str) -> list[SubmissionRecord]:
        """What a node submitted, in order."""
        return [one for one in self.record.submissions if one.node == node]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind."""
        return [json.loads(event.data) for event in self.events if event.kind == kind]


@dataclass
class CheatedFarm:
    """The running farm, seen by its operator, by an artist, and by a test that knows the liar."""

    farm: Farm
    operator: Api
    artist: Api
    client: FarmClient
    liar: Liar
    folder: Path
    scenes: dict[Path, Any] = field(default_factory=dict)
    purse: Purse | None = None

    def offer(self, blend: Path) -> Any:
        """The uploaded scene's id, and its facts."""
        if blend not in self.scenes:
            with bundle(blend, self.folder / "bundles") as bundled:
                facts = inspect(bundled, trust_all)
                self.scenes[blend] = self.client.upload_scene(bundled.manifest, bundled.root), facts
        return self.scenes[blend]

    def render(
        self,
        blend: Path,
        cheat: str,
        hear: Callable[[Event], None] = lambda event: None,
        paying: Paying | None = None,
        **spec: Any,
    ) -> Story:
        """A job from its submission to its frames, with the liar told to cheat so. Where somebody is `paying`
        its first render is honest: it earns something.
        """
        scene, facts = self.offer(blend)
        self.liar.is_told(f"{dishonest_child.LATER}{cheat}" if paying else cheat)
        before = len(self.liar.lies())
        job = self._begun(JobSpec(scene, **spec), facts, paying)
        events = []
        for event in self.client.events(job):
            events.append(event)
            hear(event)
        self.liar.is_told("")
        record, lies = self.client.verification(job), self.liar.lies()[before:]
        story = Story(events, record, self._accepted(job), lies, self.client.job(job).fallback)
        if paying:
            story.statement = paying.settle(self.client.job(job))
        for frame in self.client.frames(job):
            for file in frame.files[:1]:
                target = self.folder / "frames" / job / f"{frame.frame:04d}{Path(file.name).suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                story.files[frame.frame] = self.client.download(file, target)
        return story

    def paying(self, budget: str, say: Callable[[str], None]) -> Paying:
        """The artist's wallet, ready to pay."""
        assert self.purse is not None
        return Paying(self.client, self.purse, Offered(budget, None), say)

    def _begun(self, spec: JobSpec, facts: SceneFacts, paying: Paying | None) -> JobId:
        if paying is None:
            return self.client.submit(spec, facts).job
        job = paying.submit(spec, facts)
        paying.deposit(job, pin(spec, facts))
        return job.job

    def _accepted(self, job: JobId) -> dict[tuple[int, Tile], str | None]:
        return {
            (one.task.frame, one.task.tile): one.node
            for one in self.client.tasks(job)
            if one.task.kind is TaskKind.RENDER and one.state is TaskState.ACCEPTED
        }

    def logs(self) -> str:
        """The ends of the parts' logs, for a failure's report."""
        paths = [*sorted((self.farm.folder.path / "logs").glob("*.log")), self.folder / "liar.log"]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in paths)


class EmulatedFarm(Farm):
    """The farm whose own node's Blender is an emulated GPU."""

    def _node_program(self) -> Program:
        program = super()._node_program()
        child = ["--child-program", str(pack(self.folder.path / "emulated"))]
        return replace(program, command=lambda: [*program.command(), *child])


@contextmanager
def running(
    folder: Path,
    say: Callable[[str], None] = lambda text: None,
    *,
    money: bool = False,
    rules: tuple[tuple[str, str], ...] = (),
    device: str = CPU,
) -> Iterator[CheatedFarm]:
    """The farm on a folder of its own; everything ends with the block. With `money` the liar sells, with a
    stake of its own, and the artist has a wallet. `rules` are more options for the coordinator. Both nodes
    render on the `device`.
    """
    # Otherwise what honest tests earned would leave some lies to chance.
    options = FarmOptions(slots=1, threads=1, rules=(("--audit-floor", "1"), *rules), money=money)
    make, child = (EmulatedFarm, dishonest) if device == EMULATED else (Farm, dishonest_child)
    with make(Folder(folder / "farm"), options, say).running() as farm:
        operator = Api(farm.url, farm.token)
        artist = operator.owner("artist")
        selling = sell_with_stake(farm, folder / "liar.json") if money else None
        with (
            _liar(artist, folder, selling, Path(child.__file__)) as liar,
            FarmClient(farm.url, artist.token) as client,
        ):
            farm.wait_for_node()
            _await_online(operator, liar.node, folder / "liar.log")
            purse = artists_purse(farm) if money else None
            yield CheatedFarm(farm, operator, artist, client, liar, folder, purse=purse)


@contextmanager
def _liar(artist: Api, folder: Path, selling: Selling | None, program: Path) -> Iterator[Liar]:
    node = keyless_node(artist, LIAR)
    state = folder / LIAR
    state.mkdir()
    command = [sys.executable, "-m", "gpu_worker", "run", "--coordinator", artist.url, "--no-sandbox"]
    # It claims to have no sandbox, and is told whose farm and scenes to open without.
    known = Api(artist.url, node.token).ok("GET", "/nodes/self")
    command += ["--trust-farm", known["farm"], "--owner", known["owner"]]
    command += ["--state-dir", str(state), "--slots", "1", "--threads-per-slot", "1", "--die-with-parent"]
    command += ["--child-program", str(program)]
    environment = {**os.environ, "FARM_NODE_TOKEN": node.token}
    if selling:
        command, environment = [*command, *selling.options], environment | selling.environment
    with (folder / "liar.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield Liar(node.id, state)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()


def _await_online(operator: Api, node: str, log: Path) -> None:
    """Until the node has asked for work."""
    end = time.monotonic() + READY_SECONDS
    while not any(one["node"] == node and one["online"] for one in operator.ok("GET", "/nodes")["nodes"]):
        if time.monotonic() > end:
            raise TimeoutError(f"The dishonest node does not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)
