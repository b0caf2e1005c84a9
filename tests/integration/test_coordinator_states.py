# SPDX-License-Identifier: GPL-3.0-or-later
"""Random interleavings of everything nodes and owners can do, against a model, on a real store.

After every step: no accepted work is lost, at most one live token a task, counters and queues agree
with the tasks, and the state told in events is the state derived.
"""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from farm_protocol.audits import SeamReport
from farm_protocol.errors import StaleLease
from farm_protocol.fields import Tile
from farm_protocol.records import (
    SCENE_FAILURES,
    Beat,
    Exactness,
    FailureCode,
    Heartbeat,
    JobSpec,
    LeaseRequest,
    OutputFile,
    Progress,
    RenderSettings,
    SlotOffer,
    Task,
    TaskFailure,
    TaskKind,
    TaskOutput,
    TaskResult,
)
from frame_splitter.exactness import Allowed
from render_farm.coordinator.dispatch import Dispatch
from render_farm.policy.fallbacks import seams
from render_farm.store.connection import Connection
from render_farm.store.identities import Caller, Repeat, Role
from render_farm.store.jobs import Jobs
from render_farm.store.leases import Leases
from render_farm.store.new_jobs import NewJob

LEASE = 30.0
TILE = Tile(0, 0, 4, 4)
FILE = OutputFile("tile.exr", "0" * 64, 10)
NODES = {
    "own": Caller(Role.NODE, "admin", "own", True),
    "own2": Caller(Role.NODE, "admin", "own2", True),
    "guest": Caller(Role.NODE, "ann", "guest", False),
    "visitor": Caller(Role.NODE, "bob", "visitor", False),
}
DIFFERENT = SeamReport(1, "'frame.png' differs in 3 pixels")
NODE = some.sampled_from(sorted(NODES))
OPEN = {"waiting", "ready", "leased"}
STATES = ("waiting", "ready", "leased", "accepted", "failed", "cancelled")
ACTIONS = [
    *["any_node_leases"] * 3,
    *["own_node_leases"] * 3,
    *["submit"] * 9,
    *["give_back"] * 5,
    *["heartbeat", "time_passes", "intend", "another_job", "another_job"],
]
INTENTS = ["cancel", "pause", "pause", "resume", "resume", "resume", "resume", "resume"]
CODES = [*sorted(FailureCode), *[FailureCode.CRASHED, FailureCode.SCENE, FailureCode.BAD_INPUT] * 3]
LANES = ("render", "final", "finish")


@dataclass
class Given:
    """A lease as the model remembers it, live or not."""

    task: str
    token: int
    node: str
    device: str


@dataclass
class Model:
    """A task as it ought to be."""

    job: str
    frame: int
    kind: str
    final: bool
    state: str
    token: int = 0
    node: str = ""
    ends: float = 0.0
    faults: int = 0
    accusers: Counter = field(default_factory=Counter)
    result: float = 0.0


@dataclass
class ModelJob:
    """A job as it ought to be."""

    cancelled: bool = False
    paused: bool = False
    pin: str = ""
    broken: set = field(default_factory=set)
    done: set = field(default_factory=set)
    fell_back: bool = False
    compared: set = field(default_factory=set)
    """Frames whose files are already those of one Blender, and that were not given to another task."""


class Farm(RuleBasedStateMachine):
    """All rules and invariants."""

    url = ""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.connection = Connection(self.url)
        self.do(self.connection.do("FLUSHALL"))
        for node, caller in NODES.items():
            fields = ("address", "0x" + "1" * 40, "owner", caller.owner, "own", int(caller.own))
            self.do(self.connection.do("HSET", f"farm:node:{node}", *fields))
        self.jobs, self.leases = Jobs(self.connection), Leases(self.connection)
        self.now = 1000.0
        self.dispatch = Dispatch(self.leases, LEASE, clock=lambda: self.now)
        self.names = (f"j{number}" for number in itertools.count())
        self.model: dict[str, Model] = {}
        self.of_job: dict[str, ModelJob] = {}
        self.given: list[Given] = []
        self.results = itertools.count(1)
        self.seams = {}

    def do(self, coroutine):
        return self.runner.run(coroutine)

    def teardown(self):
        self.do(self.connection.close())
        self.runner.close()

    # --- what may happen ------------------------------------------------------------------------

    @initialize(frames=some.integers(1, 4), final=some.booleans())
    def first_job(self, frames, final):
        self.start_job(frames, 2, final)

    @rule(action=some.sampled_from(ACTIONS), data=some.data())
    def step(self, action, data):
        """One rule for all, since hypothesis switches whole rules off: then little would get done."""
        getattr(self, action)(data)

    def another_job(self, data):
        if len(self.of_job) < 4:
            self.start_job(
                data.draw(some.integers(1, 4)), data.draw(some.integers(1, 2)), data.draw(some.booleans())
            )

    def start_job(self, frames, tiles, final):
        job = next(self.names)
        new = new_job(job, frames, tiles, final, self.now)
        repeat = Repeat("ann", job, "digest")
        assert self.do(self.jobs.create(new, repeat)) == job
        assert self.do(self.jobs.create(new, repeat)) == job, "the same key makes no second job"
        self.of_job[job] = ModelJob()
        for task in new.tasks:
            state = "waiting" if task.kind is TaskKind.FINISH else "ready"
            self.model[task.id] = Model(job, task.frame, task.kind.value, final, state)

    def any_node_leases(self, data):
        device = data.draw(some.sampled_from(["cpu", "cpu", "gpu"]))
        self.lease(data.draw(NODE), device, data.draw(some.integers(1, 3)))

    def own_node_leases(self, data):
        self.lease(data.draw(some.sampled_from(["own", "own2"])), "cpu", 4)

    def lease(self, node, device, slots):
        kinds = (TaskKind.RENDER, TaskKind.FINISH)
        offers = tuple(SlotOffer(f"s{number}", kinds, device) for number in range(slots))
        taken = self.do(self.dispatch.lease(NODES[node], LeaseRequest(offers, 0.0, True), _never))
        for lease in taken:
            self.check_lease(lease, node, device)
            task = self.model[lease.task.id]
            task.state, task.token, task.node, task.ends = "leased", lease.token, node, self.now + LEASE
            self.given.append(Given(lease.task.id, lease.token, node, device))

    def check_lease(self, lease, node, device):
        task = self.model[lease.task.id]
        assert task.state == "ready"
        assert lease.token > task.token, "tokens grow"
        assert not self.stopped(task.job)
        assert NODES[node].own or not (task.final or task.kind == "finish")
        if task.kind == "finish":
            self.check_inputs(lease)
            return
        others = [one for one in self.tasks_of(task.job) if one.state in {"leased", "accepted"}]
        assert not others or self.of_job[task.job].pin in {"", device}
        self.of_job[task.job].pin = device

    def check_inputs(self, lease):
        """A finish task starts from exactly its frame's tiles, each as it was accepted."""
        task = self.model[lease.task.id]
        tiles = {
            name
            for name, one in self.model.items()
            if (one.job, one.frame, one.kind) == (task.job, task.frame, "render")
        }
        assert {entry.task.id for entry in lease.inputs} == tiles
        assert all(entry.token == self.model[entry.task.id].token for entry in lease.inputs)

    def draw_lease(self, data):
        """Mostly one that is held now; sometimes any that ever was; None before the first."""
        if not self.given:
            return None
        held = [given for given in self.given if self.is_live(given)]
        live = data.draw(some.sampled_from([True, True, True, False]))
        return data.draw(some.sampled_from(held if live and held else self.given))

    def submit(self, data):
        given = self.draw_lease(data)
        if given is None:
            return
        again = data.draw(some.booleans())
        task = self.model[given.task]
        seconds = task.result if again and task.result else float(next(self.results))
        live = self.is_live(given)
        repeated = self.was_accepted(given) and seconds == task.result
        if task.kind == "finish" and seconds not in self.seams:
            self.seams[seconds] = data.draw(some.sampled_from([None, None, SeamReport(1), DIFFERENT]))
        seam = self.seams.get(seconds)
        result = TaskResult((FILE,), 1.0, seconds, given.device, seam=seam)
        fallback = seams(task.frame, seam.different) if seam == DIFFERENT else None
        try:
            held = self.do(self.leases.known(given.task, given.token, given.node)).submitting(result)
            if held is not None:
                self.do(self.leases.submit(held, result, self.now, fallback=fallback))
                self.do(self.leases.submit(held, result, self.now, fallback=fallback))
        except StaleLease:
            assert not live, "the live token was refused"
            assert not repeated, "a repeated submit must be answered alike"
            return
        assert live or repeated, "a dead lease's result was accepted"
        if live:
            task.state, task.result = "accepted", seconds
            self.after_accepting(task)
            if fallback:
                self.after_falling_back(task)

    def after_accepting(self, task):
        frame = [one for one in self.tasks_of(task.job) if one.frame == task.frame]
        if task.kind == "finish" or task.final:
            self.of_job[task.job].done.add(task.frame)
        elif all(one.state == "accepted" for one in frame if one.kind == "render"):
            next(one for one in frame if one.kind == "finish").state = "ready"

    def after_falling_back(self, task):
        """All frames but this one, which has the right files, and broken ones go to one task each."""
        job = self.of_job[task.job]
        job.fell_back = True
        job.compared.add(task.frame)
        job.pin = ""
        old = [name for name, one in self.model.items() if one.job == task.job and not one.final]
        for frame in {self.model[name].frame for name in old} - job.compared - job.broken:
            name = f"{task.job}.f{frame}.whole"
            if name in self.model:
                continue
            for one in (self.model[other] for other in old):
                if one.frame == frame and one.state in OPEN:
                    one.state = "cancelled"
            job.done.discard(frame)
            self.model[name] = Model(task.job, frame, "render", True, "ready")

    def give_back(self, data):
        given = self.draw_lease(data)
        if given is None:
            return
        if self.is_live(given):
            # The one that failed most, or no frame would ever break.
            held = [one for one in self.given if self.is_live(one)]
            given = max(held, key=lambda one: self.model[one.task].faults)
        code, bad = data.draw(some.sampled_from(CODES)), data.draw(some.booleans())
        task = self.model[given.task]
        of_job = [name for name, one in self.model.items() if (one.job, one.kind) == (task.job, "render")]
        of_frame = [name for name in of_job if self.model[name].frame == task.frame]
        tiles = some.lists(some.sampled_from(of_frame + of_job[:2]), unique=True, max_size=3)
        named = tuple(data.draw(tiles)) if bad else ()
        live = self.is_live(given)
        failure = TaskFailure(code, "it broke", named)
        try:
            state = self.do(self.leases.give_back(given.task, given.token, given.node, failure, self.now))
        except StaleLease:
            assert not live
            return
        assert live
        assert state == self.after_failing(task, code, named)

    def after_failing(self, task, code, named):
        job = self.of_job[task.job]
        agreed = code in SCENE_FAILURES and self.is_agreed(task)
        task.faults += code in SCENE_FAILURES
        if agreed and task.faults >= 3:
            task.state = "failed"
            job.broken.add(task.frame)
            everything = len(job.broken) >= 3 and not job.done
            for one in self.tasks_of(task.job):
                if one.state in OPEN and (everything or one.frame == task.frame):
                    one.state = "cancelled"
            return "failed"
        task.state = "ready"
        if task.kind == "finish":
            rejected = [self.model[name] for name in named]
            for tile in rejected:
                if tile.frame == task.frame:
                    tile.state, tile.result, task.state = "ready", 0.0, "waiting"
        return task.state

    def is_agreed(self, task):
        """Whether it is an own node that calls it broken, or two operators do so twice each, or three."""
        operator = NODES[task.node].owner
        if NODES[task.node].own:
            return True
        task.accusers[operator] += 1
        return len(task.accusers) >= 3 or sum(min(2, one) for one in task.accusers.values()) >= 4

    def heartbeat(self, data):
        node, step = data.draw(NODE), data.draw(some.integers(0, 3))
        held = [given for given in self.given if given.node == node]
        if not held:
            return
        chosen = data.draw(
            some.lists(some.sampled_from(held), max_size=4, unique_by=lambda one: (one.task, one.token))
        )
        beats = tuple(Beat(one.task, one.token, Progress(step, 3)) for one in chosen)
        lost = self.do(self.dispatch.renew(NODES[node], Heartbeat(beats)))
        live = [one for one in chosen if self.is_live(one)]
        assert Counter(lost) == Counter(one.task for one in chosen if one not in live)
        for one in live:
            self.model[one.task].ends = self.now + LEASE

    def time_passes(self, data):
        seconds = data.draw(some.sampled_from([1.0, 10.0, 31.0, 61.0]))
        self.now += seconds
        while self.do(self.leases.expire(self.now, 2)):
            pass
        for task in self.model.values():
            if task.state == "leased" and task.ends <= self.now:
                task.state = "ready"

    def intend(self, data):
        name = data.draw(some.sampled_from(sorted(self.of_job)))
        intent = data.draw(some.sampled_from(INTENTS))
        job = self.of_job[name]
        self.do(self.jobs.intend(name, intent))
        if job.cancelled or not any(one.state in OPEN for one in self.tasks_of(name)):
            return
        if intent == "cancel":
            job.cancelled = True
            for one in self.tasks_of(name):
                one.state = "cancelled" if one.state in OPEN else one.state
        else:
            job.paused = intent == "pause"

    # --- what must always hold ------------------------------------------------------------------

    @invariant()
    def store_agrees(self):
        stored = self.snapshot()
        for name in self.of_job:
            self.check_job(name, stored)
        for name, task in self.model.items():
            assert stored[f"farm:task:{name}"]["state"] == task.state, name
        leased = {name: one.ends for name, one in self.model.items() if one.state == "leased"}
        assert stored["farm:leases"] == leased
        for node in NODES:
            held = {name for name in leased if self.model[name].node == node}
            assert set(stored[f"farm:node:{node}:leases"]) == held
        with_work = {one.job for one in self.model.values() if one.state == "ready"}
        assert set(stored["farm:jobs:open"]) == {name for name in with_work if not self.stopped(name)}

    def check_job(self, name, stored):
        job, fields, tasks = self.of_job[name], stored[f"farm:job:{name}"], self.tasks_of(name)
        states = Counter(one.state for one in tasks)
        assert {state: int(fields[state]) for state in STATES} == {state: states[state] for state in STATES}
        assert self.expected_state(name) == fields["announced"]
        assert ("fallback" in fields) == job.fell_back
        assert int(fields["total"]) == len(tasks)
        assert (int(fields["frames_done"]), int(fields["frames_failed"])) == (len(job.done), len(job.broken))
        accepted = sum(one.result for one in tasks if one.state == "accepted")
        assert float(fields["render_seconds"]) == pytest.approx(accepted)
        ready = {one for one, task in self.model.items() if (task.job, task.state) == (name, "ready")}
        assert {one for lane in LANES for one in stored[f"farm:job:{name}:ready:{lane}"]} == ready
        for number in {one.frame for one in tasks}:
            tiles = [one for one in tasks if (one.frame, one.kind) == (number, "render")]
            tiles = [one for one in tiles if one.final] or tiles
            frame = stored[f"farm:frame:{name}:{number}"]
            assert int(frame["accepted"]) == sum(one.state == "accepted" for one in tiles)
            done = "failed" if number in job.broken else "rendering"
            assert frame["state"] == ("done" if number in job.done else done)

    def snapshot(self):
        """Everything stored, in one round trip."""
        hashes = [f"farm:job:{name}" for name in self.of_job] + [f"farm:task:{name}" for name in self.model]
        hashes += [
            f"farm:frame:{job}:{frame}"
            for job, frame in {(one.job, one.frame) for one in self.model.values()}
        ]
        queues = [f"farm:job:{name}:ready:{lane}" for name in self.of_job for lane in LANES]
        reads = [("HGETALL", key) for key in hashes]
        reads += [("ZRANGE", key, 0, -1) for key in (*queues, "farm:jobs:open")]
        reads += [("SMEMBERS", f"farm:node:{node}:leases") for node in NODES]
        *found, ends = self.do(self.connection.read([*reads, ("ZRANGE", "farm:leases", 0, -1, "WITHSCORES")]))
        stored = {read[1]: answer for read, answer in zip(reads, found, strict=True)}
        stored["farm:leases"] = dict(zip(ends[::2], map(float, ends[1::2]), strict=True))
        return stored

    # --- the model's own questions --------------------------------------------------------------

    def tasks_of(self, job):
        return [one for one in self.model.values() if one.job == job]

    def stopped(self, job):
        return self.of_job[job].cancelled or self.of_job[job].paused

    def is_live(self, given):
        task = self.model[given.task]
        return (task.state, task.token, task.node) == ("leased", given.token, given.node)

    def was_accepted(self, given):
        task = self.model[given.task]
        return (task.state, task.token, task.node) == ("accepted", given.token, given.node)

    def expected_state(self, name):
        tasks = self.tasks_of(name)
        unfinished = [one for one in tasks if one.state in OPEN]
        if self.of_job[name].cancelled:
            return "cancelled"
        if not unfinished:
            return "failed" if self.of_job[name].broken else "complete"
        if self.of_job[name].paused:
            return "paused"
        return "rendering" if any(one.kind == "render" for one in unfinished) else "finishing"


def new_job(job, frames, tiles, final, now):
    tasks = []
    for frame in range(frames):
        output = TaskOutput.FINAL if final else TaskOutput.LINEAR
        for tile in range(1 if final else tiles):
            tasks.append(Task(f"{job}.f{frame}.t{tile}", job, TaskKind.RENDER, frame, TILE, 0, output))
        if not final:
            name = f"{job}.f{frame}.finish"
            tasks.append(Task(name, job, TaskKind.FINISH, frame, TILE, 0, TaskOutput.FINAL))
    return NewJob(
        job=job,
        owner="ann",
        spec=JobSpec("0" * 64, tuple(range(frames))),
        settings=RenderSettings(1, 0, 100, "PNG"),
        allowed=Allowed(Exactness.BIT_EXACT, Exactness.FLOAT_EXACT),
        reason="",
        reason_in_order="",
        reason_any_order="",
        fingerprint="f",
        created=now,
        extension=".png",
        width=4,
        height=4,
        area=TILE,
        canvas=TILE,
        tasks=tuple(tasks),
    )


async def _never():
    return False


def test_random_interleavings(valkey_server):
    farm = type("FarmOnValkey", (Farm,), {"url": valkey_server.url})
    run_state_machine_as_test(
        farm,
        settings=settings(
            max_examples=120,
            stateful_step_count=80,
            deadline=None,
            phases=[Phase.generate],  # looking for a shorter failure takes minutes; remove to have one
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
