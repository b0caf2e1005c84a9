# SPDX-License-Identifier: GPL-3.0-or-later
"""Random days of a farm that is paid: liars, lying auditors, dying nodes, orders that grow and are replaced.

After every step the units that orders say are used are those of the tasks done under them, nobody has more
than its order allows, and the books have each accepted tile once and each ended frame once.
"""

import asyncio
from collections import Counter as Count
from dataclasses import replace

import msgspec
import pytest

from farm_protocol.records import FINAL_JOB_STATES
from render_farm.policy.verification_rules import JobRules
from render_farm.store.connection import Connection
from render_farm.store.money import Money
from tests.integration.test_coordinator_states import new_job
from tests.integration.test_coordinator_verified_states import NODES, UNFINISHED, Day, Repeat
from tests.support import paid_jobs

TILE_UNITS = 1_000_000
SELLERS = ("bob1", "eve", "own2")
USES = {"leased", "submitted", "auditing", "accepted"}


class PaidDay(Day):
    """The same farm with one free job and two paid ones; some of its nodes sell."""

    def __init__(self, connection, seed):
        super().__init__(connection, seed)
        self.money = Money(connection)
        self.agreements = 0

    async def start(self):
        await super().start()
        for node in SELLERS:
            await self.store.do("HSET", f"farm:node:{node}", "offer", "x")
        for job in self.paid():
            assert (await self.jobs.get(job)).state == "awaiting_funds"
            await self.money.set_funded(job, True)
            for node in SELLERS:
                await self.order(job, node)

    def paid(self):
        return [name for name in self.names if name != "j0"]

    async def add_job(self, name):
        new = replace(new_job(name, 2, 2, False, self.now), croppable=True)
        new = (
            new
            if name == "j0"
            else paid_jobs.paid(new, TILE_UNITS, rules=JobRules(self.rules.policy, self.rules.rates))
        )
        await self.jobs.create(new, Repeat("ann", name, ""))
        self.names.append(name)

    async def order(self, job, node):
        """A new agreement, which replaces the one before."""
        self.agreements += 1
        agreement = f"{self.agreements:064x}"
        cap = self.random.choice([0, 2, 3]) * TILE_UNITS
        await self.money.promise(job, node, paid_jobs.promise(job, agreement), cap)

    # --- moves ----------------------------------------------------------------------------------

    async def move(self):
        if self.random.random() < 0.85:
            await super().move()
            return
        job, node = self.random.choice(self.paid()), self.random.choice(SELLERS)
        name = self.random.choice(["raise", "raise", "raise", "replace", "funds", "hold"])
        known = await self.money.order(job, node)
        if name == "raise":
            cap = known.units_cap + TILE_UNITS
            await self.money.promise(job, node, replace(known.promise, credits=()), cap)
        elif name == "replace":
            await self.order(job, node)
        elif name == "funds":
            await self.money.set_funded(job, self.random.random() < 0.7)
        elif self.random.random() < 0.5:
            await self.money.hold(job, "too little")
        else:
            await self.money.unhold(job)

    async def take(self, node, slots=2):
        before = len(self.held)
        states = {job: (await self.jobs.get(job)).state for job in self.names}
        refused = frozenset({self.random.choice(self.paid())}) if self.random.random() < 0.1 else frozenset()
        self.refuses = tuple(refused)
        await super().take(node, slots)
        for _, lease in self.held[before:]:
            job, own, kind = lease.task.job, NODES[node].own, lease.task.kind.value
            assert states[job] in {"rendering", "finishing"}
            assert job not in refused or kind in {"finish", "check"}
            await self.check_lease(node, lease, job, own, kind)

    async def check_lease(self, node, lease, job, own, kind):
        current = await self.money.order(job, node)
        if job == "j0":
            assert own or node not in SELLERS, "who sells does nothing for free"
            assert (lease.agreement, lease.units) == ("", 0)
        elif kind in {"finish", "check"}:
            assert (own, lease.agreement, lease.units) == (True, "", 0)
        else:
            assert lease.units == (50_000 if kind == "audit" else lease.units) > 0
            assert own or lease.agreement, "strangers work under an agreement only"
            assert lease.agreement in {"", current.agreement if current else ""}

    # --- what must hold -------------------------------------------------------------------------

    async def check_job(self, job):
        leased = await super().check_job(job)
        if job != "j0":
            await self.check_money(job)
        else:
            assert await self.money.entries(job) == []
        return leased

    async def check_money(self, job):
        names = await self.store.do("KEYS", f"farm:task:{job}.*")
        names = [name for name in names if not name.endswith(":extras")]
        tasks = dict(zip(names, await self.store.hashes(names), strict=True))
        tasks = {name.removeprefix("farm:task:"): fields for name, fields in tasks.items()}
        await self.check_orders(job, tasks)
        await self.check_books(job, tasks)
        left = [
            int(one["units"])
            for one in tasks.values()
            if one["kind"] == "render" and one["state"] in UNFINISHED
        ]
        assert (await self.money.job(job)).units_left == sum(left)
        await self.check_speeds()

    async def check_speeds(self):
        """A node's work is that of its tiles that are accepted now."""
        names = [name for job in self.paid() for name in await self.store.do("KEYS", f"farm:task:{job}.*.t?")]
        done = Count()
        for one in await self.store.hashes(names):
            if one["state"] == "accepted" and one["kind"] == "render":
                done[one["node"]] += int(one["units"])
        for node in NODES:
            units = await self.store.do("HGET", f"farm:node:{node}", "work_units")
            assert int(units or 0) == done[node]

    async def check_orders(self, job, tasks):
        used = Count()
        for one in tasks.values():
            if one.get("agreement"):
                assert one["state"] in USES
                used[one["agreement"]] += int(one["units"])
        for order in await self.money.orders(job):
            if order.current:
                assert order.units_used == used[order.agreement] <= order.units_cap

    async def check_books(self, job, tasks):
        live, settled, seen = {}, set(), set()
        for one in await self.money.entries(job):
            if one["kind"] == "accepted":
                lease = (one["task"], one["token"])
                assert lease not in seen, "accepted once"
                assert one["frame"] not in settled
                seen.add(lease)
                live[lease] = one
            elif one["kind"] == "returned":
                assert live.pop((one["task"], one["token"]))["frame"] not in settled
            elif one["kind"] == "settled":
                assert one["frame"] not in settled
                settled.add(one["frame"])
        await self.check_rejected(job)
        await self.check_frames_settled(job, settled)
        self.check_accepted(job, tasks, live)

    async def check_rejected(self, job):
        """What was found false is in the books with the agreement it was done under."""
        entries = [one for one in await self.money.entries(job) if one["kind"] == "rejected"]
        counted = await self.store.do("HGET", f"farm:job:{job}", "rejected")
        assert len(entries) == int(counted or 0)
        for one in entries:
            key = f"farm:submission:{one['task']}:{one['token']}"
            node, agreement = await self.store.do("HMGET", key, "node", "agreement")
            assert (one["node"], one["agreement"]) == (node, agreement)
            assert one["code"]

    async def check_frames_settled(self, job, settled):
        states = await self.money.frame_states(job)
        ended = (await self.jobs.get(job)).state in FINAL_JOB_STATES
        assert settled == {frame for frame, state in states.items() if ended or state != "rendering"}

    def check_accepted(self, job, tasks, live):
        """Tiles that are accepted are in the books once, with what they were done under; so are audits that
        count, once it is known that they do."""
        tiles = {
            (name, int(one["token"])): one
            for name, one in tasks.items()
            if one["kind"] == "render" and one["state"] == "accepted"
        }
        assert {lease for lease, one in live.items() if one["frame"] is not None} == set(tiles)
        for lease, one in tiles.items():
            assert (live[lease]["units"], live[lease]["node"]) == (int(one["units"]), one["node"])
            assert live[lease]["agreement"] == one["agreement"]
            assert live[lease]["root"] == msgspec.json.decode(one["result"])["pixel_root"]
        for name, one in tasks.items():
            if one["kind"] == "audit":
                self.check_audit(name, one, tasks[one["of"]], live)

    def check_audit(self, name, one, of, live):
        counted = (name, int(one.get("token", 0))) in live
        decided = of["state"] != "auditing" or of["token"] != one["of_token"]
        if one["state"] != "accepted":
            assert not counted
        elif one.get("contradicted") == "1":
            assert not counted
            assert not (decided and one["agreement"]), "its units are free again"
        elif decided:
            assert counted, "an audit that was done is paid for, whatever became of its tile"

    async def finish(self):
        for job in self.paid():
            await self.money.unhold(job)
            await self.money.set_funded(job, True)
        await super().finish()


@pytest.mark.parametrize("seed", range(8))
def test_random_paid_days(valkey_server, seed):
    async def inside():
        connection = Connection(valkey_server.url)
        try:
            day = PaidDay(connection, seed)
            await day.start()
            for _ in range(150):
                await day.move()
                await day.check()
            await day.finish()
            await day.check()
            states = {name: (await day.jobs.get(name)).state for name in day.names}
            assert all(state == "complete" or name in day.cancelled for name, state in states.items()), states
        finally:
            await connection.close()

    asyncio.run(inside())
