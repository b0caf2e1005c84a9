# SPDX-License-Identifier: GPL-3.0-or-later
"""Random days of a farm with liars, lying auditors and dying nodes, on a real store.

After every step the counters agree with the tasks, leases with their holders, and nobody audits its own
operator's work; at the end honest nodes finish every job that was not cancelled.
"""

import asyncio
import contextlib
import random
from collections import Counter as Count
from dataclasses import replace

import pytest

from farm_protocol import typed_data
from farm_protocol.audits import CheckReport, Fault
from farm_protocol.errors import StaleLease
from farm_protocol.fields import decode, encode
from farm_protocol.records import (
    FailureCode,
    LeaseRequest,
    OutputFile,
    SlotOffer,
    TaskFailure,
    TaskKind,
    TaskResult,
)
from render_farm.coordinator.audit_rounds import Ticker
from render_farm.coordinator.dispatch import Bell, Dispatch
from render_farm.coordinator.result_receiver import Counter, Equivocation
from render_farm.coordinator.verdicts import Verdicts
from render_farm.policy import verification_rules as farm_rules
from render_farm.store.connection import Connection
from render_farm.store.identities import Caller, Repeat, Role
from render_farm.store.jobs import Jobs
from render_farm.store.leases import Leases
from render_farm.store.rounds import Rounds
from render_farm.store.states import TILE_LANES
from render_farm.store.submissions import Submissions
from tests.integration.test_coordinator_states import new_job
from tests.support.appointed import by_terms
from tests.support.coordinator_api import fine
from verification.audit.rate import Rates
from verification.audit.sampling import AuditPolicy
from verification.protocol import attestation

KEY = b"\x07" * 32
LEASE = 30.0
NODES = {
    "own": Caller(Role.NODE, "admin", "own", True),
    "own2": Caller(Role.NODE, "admin", "own2", True),
    "bob1": Caller(Role.NODE, "bob", "bob1", False),
    "bob2": Caller(Role.NODE, "bob", "bob2", False),
    "eve": Caller(Role.NODE, "eve", "eve", False),
}
STATES = ("waiting", "ready", "leased", "submitted", "auditing", "accepted", "failed", "cancelled")
UNFINISHED = {"waiting", "ready", "leased", "submitted", "auditing"}
KINDS = tuple(kind for kind in TaskKind if kind is not TaskKind.PROBE)
CODES = [FailureCode.NODE, FailureCode.DEVICE, FailureCode.CRASHED, FailureCode.BAD_INPUT]


def expected_state(fields):
    """A job's state from its intents and counters; `job_state` in shared.lua should say the same."""
    if fields["cancel"] == "1":
        return "cancelled"
    if not any(int(fields.get(name, 0)) for name in UNFINISHED):
        if int(fields["failed"]) + int(fields["frames_failed"]):
            return "failed"
        return "settled" if fields.get("settled") == "1" else "complete"
    if fields.get("paid") == "1" and fields.get("funded") != "1":
        return "awaiting_funds"
    if fields["pause"] == "1" or fields.get("held") or fields.get("lacks"):
        return "paused"
    return "rendering" if int(fields["rendering"]) else "finishing"


class Day:
    """A farm, its nodes' moves drawn from `seed`."""

    def __init__(self, connection, seed):
        self.store, self.random, self.now = connection, random.Random(seed), 1000.0
        rates = Rates(floor=300_000, halving=2, own=200_000)
        self.rules = farm_rules.local(KEY, 1.0, AuditPolicy(repeat=500_000, own_first=0), rates)
        self.jobs, self.leases = Jobs(connection), Leases(connection)
        self.submissions, self.rounds = Submissions(connection), Rounds(connection)
        clock = self.clock
        self.dispatch = Dispatch(self.leases, LEASE, clock)
        self.counter = Counter(self.leases, self.submissions, self.rules, lambda _: None, clock)
        self.verdicts = Verdicts(self.submissions, self.rules, 40.0, clock)
        self.ticker = Ticker(self.rounds, self.submissions, self.rules, Bell(), 40.0, clock)
        self.held = []
        self.done = []
        self.names = []
        self.cancelled = set()
        self.refuses = ()
        self.fallen = set()

    def clock(self):
        return self.now

    async def start(self):
        await self.store.do("FLUSHALL")
        address = typed_data.address_of(KEY)
        for name, caller in NODES.items():
            flag = "1" if caller.own else "0"
            fields = ("address", address, "owner", caller.owner, "own", flag)
            await self.store.do("HSET", f"farm:node:{name}", *fields)
        for number in range(3):
            await self.add_job(f"j{number}")

    async def add_job(self, name):
        new = replace(new_job(name, 2, 2, False, self.now), croppable=True)
        await self.jobs.create(new, Repeat("ann", name, ""))
        self.names.append(name)

    # --- moves ----------------------------------------------------------------------------------

    async def take(self, node, slots=2):
        offers = tuple(SlotOffer(f"s{number}", KINDS, "cpu:5") for number in range(slots))
        taken = await self.dispatch.lease(NODES[node], LeaseRequest(offers, 0.0, True, self.refuses), _never)
        for lease in taken:
            assert NODES[node].own or lease.task.kind in {TaskKind.RENDER, TaskKind.AUDIT}
            if lease.task.kind is TaskKind.AUDIT and not NODES[node].own:
                of = await self.store.do("HGET", f"farm:task:{lease.task.id}", "of_operator")
                assert of != NODES[node].owner, "nobody audits its own operator's work"
            excluded = await self.store.do("HGET", f"farm:task:{lease.task.id}", "excluded")
            assert node not in decode(excluded or "[]", list[str]), "an excluded node never gets the task"
            self.held.append((node, lease))

    async def submit(self, node, lease, honest=True):
        root = "ab" * 32 if honest else f"{self.random.randrange(16**8):064x}"
        file = OutputFile("tile.exr", "cd" * 32, 1)
        result = TaskResult((file,), 1.0, 0.5, "cpu:5", pixel_root=root)
        message = attestation.attest(lease.task.id, lease.token, result)
        result = replace(result, signature=attestation.sign(message, self.rules.address, KEY))
        caller, task = NODES[node], lease.task.id
        signer = await self.counter.signer(caller, task, lease.token, result)
        if await self.counter.before(signer, result):
            return
        held = signer.known.submitting(result)
        if held is None:
            return
        if held.lane in TILE_LANES:
            result = await by_terms(self.counter, caller, held, result, KEY, self.rules.address)
            signer = await self.counter.signer(caller, task, lease.token, result)
            await self.counter.take(caller, held, result, signer)
            self.done.append((node, lease))
        elif lease.task.kind is TaskKind.AUDIT:
            await self.counter.take_audit(caller, held, result, signer)
        elif lease.task.kind is TaskKind.CHECK:
            report = self.report(lease, honest)
            await self.verdicts.check(held, replace(result, report=report))
        else:
            await self.leases.submit(held, result, self.now)

    def report(self, lease, honest):
        audits = [{"task": one.task, "order": decode(encode(one.order), dict)} for one in lease.check.audits]
        found = fine({"check": {"audits": audits}})
        if honest:
            return found
        kind = self.random.choice(["fault", "differs", "suspects", "contradicted", "nothing"])
        if kind == "fault":
            return CheckReport(fault=Fault.NOT_FINITE)
        if kind == "suspects" and audits:
            return replace(found, suspects=(lease.task.tile,))
        if kind == "contradicted" and audits:
            return replace(found, contradicted=(audits[0]["task"],))
        if kind == "differs" and found.crops:
            return replace(found, crops=tuple(replace(one, different=4, noise=1.0) for one in found.crops))
        return replace(found, crops=(), flat=not audits)

    async def move(self):
        """One thing that happens."""
        name = self.random.choice(
            ["take"] * 4
            + ["submit"] * 6
            + ["lie"] * 2
            + ["give back", "twice", "time", "round", "round", "pause", "job"]
        )
        if name == "take":
            await self.take(self.random.choice(sorted(NODES)))
        elif name in {"submit", "lie"} and self.held:
            node, lease = self.held.pop(self.random.randrange(len(self.held)))
            looks = lease.task.kind is TaskKind.CHECK
            honest = name == "submit" and not (looks and self.random.random() < 0.5)
            await self.tolerant(self.submit(node, lease, honest))
        elif name == "twice" and self.done:
            node, lease = self.random.choice(self.done)
            await self.tolerant(self.submit(node, lease, honest=self.random.random() < 0.9))
        elif name == "give back" and self.held:
            node, lease = self.held.pop(self.random.randrange(len(self.held)))
            bad = tuple(one.task for one in lease.check.audits) if lease.check else ()
            code = self.random.choice(
                CODES if lease.task.kind in {TaskKind.AUDIT, TaskKind.CHECK} else CODES[:2]
            )
            failure = TaskFailure(code, "it broke", bad if self.random.random() < 0.5 else ())
            await self.tolerant(self.leases.give_back(lease.task.id, lease.token, node, failure, self.now))
        elif name == "time":
            await self.pass_time(self.random.choice([1.0, 11.0, 31.0]))
        elif name == "round":
            await self.tick()
        elif name in {"pause", "job"}:
            await self.intend(name)

    async def intend(self, name):
        job = self.random.choice(self.names)
        if name == "job" and self.random.random() < 0.1:
            self.cancelled.add(job)
            await self.jobs.intend(job, "cancel")
        else:
            await self.jobs.intend(job, self.random.choice(["pause", "resume", "resume"]))

    async def pass_time(self, seconds):
        self.now += seconds
        while await self.leases.expire(self.now, 2):
            pass

    async def tick(self):
        self.now += 1.0
        while await self.ticker.step() == 0.0:
            pass

    async def tolerant(self, moving):
        with contextlib.suppress(StaleLease, Equivocation):
            await moving

    # --- what must hold -------------------------------------------------------------------------

    async def check(self):
        leased = set(await self.store.do("ZRANGE", "farm:leases", 0, -1))
        seen = set()
        for job in self.names:
            seen |= await self.check_job(job)
        assert leased == seen
        for node in NODES:
            held = set(await self.store.do("SMEMBERS", f"farm:node:{node}:leases"))
            holders = await self.store.read([("HGET", f"farm:task:{task}", "node") for task in sorted(held)])
            assert set(holders) <= {node}

    async def check_job(self, job):
        """Counters, lanes and frames against the tasks; returns what is leased."""
        fields = await self.store.hash(f"farm:job:{job}")
        names = await self.store.do("LRANGE", f"farm:job:{job}:tasks", 0, -1)
        tasks = dict(
            zip(names, await self.store.hashes([f"farm:task:{name}" for name in names]), strict=True)
        )
        states = Count(one["state"] for one in tasks.values())
        assert {state: int(fields.get(state, 0)) for state in STATES} == {
            state: states[state] for state in STATES
        }
        assert fields["announced"] == expected_state(fields)
        unfinished = [one for one in tasks.values() if one["state"] in UNFINISHED and one["kind"] == "render"]
        assert int(fields["rendering"]) == len(unfinished)
        extras = await self.store.do("SMEMBERS", f"farm:job:{job}:extras")
        extra = dict(
            zip(extras, await self.store.hashes([f"farm:task:{name}" for name in extras]), strict=True)
        )
        assert all(one["state"] in {"ready", "leased"} for one in extra.values())
        counts = Count(one["state"] for one in extra.values())
        for state in ("ready", "leased"):
            assert int(fields.get(f"extra_{state}", 0)) == counts[state]
        for one in extra.values():
            assert tasks[one["of"]]["state"] in {"submitted", "auditing"}
            assert tasks[one["of"]]["token"] == one["of_token"]
        ready = {name for name, one in {**tasks, **extra}.items() if one["state"] == "ready"}
        lanes = ("render", "kept", "final", "finish", "audit", "check")
        queued = await self.store.read([("ZRANGE", f"farm:job:{job}:ready:{lane}", 0, -1) for lane in lanes])
        assert {name for lane in queued for name in lane} == ready
        await self.check_frames(job, tasks, "fallback" in fields)
        return {name for name, one in {**tasks, **extra}.items() if one["state"] == "leased"}

    async def check_frames(self, job, tasks, fell_back):
        for frame in range(2):
            fields = await self.store.hash(f"farm:frame:{job}:{frame}")
            whole = tasks.get(f"{job}.f{frame}.whole")
            assert (fields.get("whole") == "1") == (whole is not None)
            if whole is not None:
                assert fell_back
                old = [one for one in tasks.values() if int(one["frame"]) == frame and one is not whole]
                assert all(one["replaced"] == "1" and one["state"] not in UNFINISHED for one in old)
                assert int(fields["accepted"]) == (whole["state"] == "accepted")
                assert (fields["state"] == "done") == (whole["state"] == "accepted")
                self.fallen.add(job)
                continue
            if fell_back:
                assert fields["state"] in {"done", "failed"} or int(fields["tiles"]) == 1
            mine = [one for one in tasks.values() if int(one["frame"]) == frame and one["kind"] == "render"]
            accepted = sum(one["state"] == "accepted" for one in mine)
            assert int(fields["accepted"]) == accepted
            finish = tasks[f"{job}.f{frame}.finish"]["state"]
            if finish in {"ready", "leased", "accepted"}:
                assert accepted == len(mine), "a frame is finished when all its tiles are accepted"
            if accepted == len(mine):
                assert finish != "waiting"

    async def finish(self):
        """Honest nodes do what is left."""
        for job in self.names:
            await self.jobs.intend(job, "resume")
        await self.pass_time(LEASE + 61)
        self.held = []
        honest = NODES | {"new": Caller(Role.NODE, "zoe", "new", False)}
        await self.store.do(
            "HSET", "farm:node:new", "address", typed_data.address_of(KEY), "owner", "zoe", "own", "0"
        )
        NODES["new"] = honest["new"]
        try:
            for _ in range(200):
                await self.check()
                for node in honest:
                    await self.take(node)
                for node, lease in self.held:
                    await self.tolerant(self.submit(node, lease))
                self.held = []
                await self.tick()
                await self.pass_time(11.0)
                if await self.ended():
                    return
            raise AssertionError("the jobs do not end")
        finally:
            del NODES["new"]

    async def ended(self):
        jobs = [await self.jobs.get(name) for name in self.names]
        return all(one.state in {"complete", "cancelled", "failed"} for one in jobs)


async def _never():
    return False


@pytest.mark.parametrize("seed", range(20))
def test_random_days(valkey_server, seed):
    async def inside():
        connection = Connection(valkey_server.url)
        try:
            day = Day(connection, seed)
            await day.start()
            for _ in range(160):
                await day.move()
                await day.check()
            await day.finish()
            states = {name: (await day.jobs.get(name)).state for name in day.names}
            assert all(state == "complete" or name in day.cancelled for name, state in states.items()), states
        finally:
            await connection.close()

    asyncio.run(inside())
