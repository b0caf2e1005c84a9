# SPDX-License-Identifier: GPL-3.0-or-later
"""Days on which verification meets the rest: death, pause, cancel, proven liars, and many at once."""

import asyncio
import secrets
from dataclasses import replace

import pytest

from farm_protocol.documents import Enrolment
from farm_protocol.fields import decode, encode
from farm_protocol.records import FailureCode, TaskFailure, TaskKind
from render_farm.store.connection import Connection
from tests.support import servers
from tests.support.coordinator_api import STRANGERS_ONLY, Api, Node, events, fine, under
from verification.audit.records import JobVerification
from verification.protocol.attestation import sign
from verification.receipts import replay

DEVICE = "cpu:days:bpy-5.0.1"


@pytest.fixture
def parts(tmp_path, seaweed_server):
    """Starts a coordinator with its own store: `parts(options)` gives the store and the coordinator."""
    with servers.valkey(tmp_path / "valkey") as store:
        running = []

        def start(*options):
            context = servers.coordinator(tmp_path / f"c{len(running)}", store.url, seaweed_server, *options)
            running.append(context)
            return store, context.__enter__()

        yield start
        for context in running:
            context.__exit__(None, None, None)


class Day:
    """A farm with an artist, a stranger's node and an own one."""

    def __init__(self, coordinator, frames=(1,)):
        self.admin = Api(coordinator.url, coordinator.admin_token)
        self.ann = self.admin.owner()
        self.liar = self.node("liar")
        self.own = self.admin.node("own", own=True)
        self.own.device = DEVICE
        self.job = self.ann.job(frames=frames)

    def node(self, name):
        found = self.admin.owner(name).node(name)
        found.device = DEVICE
        return found

    def next_of(self, node, kind):
        for _ in range(20):
            if leases := node.lease(wait=1.0, kinds=(TaskKind(kind),)):
                return leases[0]
        raise AssertionError(f"there was no {kind}")

    def tile(self, number=0):
        tasks = self.ann.ok("GET", f"/jobs/{self.job}/tasks")["tasks"]
        return [one for one in tasks if one["task"]["kind"] == "render"][number]

    def verification(self):
        found = self.ann.ok("GET", f"/jobs/{self.job}/verification")
        return decode(encode(found), JobVerification)

    def audit(self):
        self.own.do(self.next_of(self.own, "audit"))

    def check(self, **changes):
        lease = self.next_of(self.own, "check")
        return self.own.do(lease, report=replace(fine(lease), **changes))

    def reject(self):
        """The own node finds that a crop differs, and so does the tile as it renders it."""
        wrong = self.doubt()
        for _ in range(2):
            self.own.do(self.next_of(self.own, "audit"), b"as its node was asked to")
        self.own.do(self.next_of(self.own, "check"), report=wrong)

    def doubt(self):
        """The own node's check finds that a crop differs; returns its report."""
        lease = self.next_of(self.own, "check")
        honest = fine(lease)
        crops = (replace(honest.crops[0], different=64, rmse=0.5, relative=1.0), *honest.crops[1:])
        wrong = replace(honest, crops=crops)
        self.own.do(lease, report=wrong)
        return wrong


ALL = (
    "--audit-own",
    "1",
    "--audit-floor",
    "1",
    *STRANGERS_ONLY,
    "--beacon-period",
    "0.05",
)
NONE_OF_OWN = (
    "--audit-floor",
    "0.01",
    *STRANGERS_ONLY,
    "--beacon-period",
    "0.05",
)


def test_receipts_and_audits_survive_the_coordinators_death(parts):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    lease = day.liar.lease()[0]
    result = day.liar.upload(lease, b"pixels")
    receipt = day.liar.submit(lease, result).body["receipt"]
    coordinator.kill()
    coordinator.start()
    assert day.liar.submit(lease, result).body["receipt"] == receipt
    audit = day.next_of(day.own, "audit")
    coordinator.kill()
    coordinator.start()
    day.own.do(audit, b"crops")
    check = day.next_of(day.own, "check")
    coordinator.kill()
    coordinator.start()
    day.own.do(check)
    assert day.tile()["state"] == "accepted"
    assert replay.replay(day.verification()) == []


def test_the_store_comes_back_with_everything(parts):
    store, coordinator = parts(*ALL)
    day = Day(coordinator)
    lease = day.liar.lease()[0]
    receipt = day.liar.do(lease)["receipt"]
    day.next_of(day.own, "audit")
    store.kill()
    store.start()
    found = day.verification().submissions[0]
    assert (found.leaf, found.receipt.round) == (receipt["leaf"], receipt["submission"]["round"])
    proof = day.ann.ok("GET", f"/log/proof?leaf={found.leaf}&size={found.leaf + 1}")
    assert proof["leaf"] == found.leaf


def test_two_coordinators_share_the_work(parts):
    _, first = parts(*ALL)
    _, second = parts(*ALL)
    second.stop()
    second.environment["FARM_SIGNING_KEY"] = first.environment["FARM_SIGNING_KEY"]
    second.environment["FARM_ADMIN_TOKEN"] = first.admin_token
    second.start()
    day = Day(first, frames=(1, 2, 3, 4))
    for lease in day.liar.lease(slots=4):
        day.liar.url = second.url if lease["task"]["frame"] % 2 else first.url
        day.liar.do(lease, str(lease["task"]["frame"]).encode())
    for number in range(4):
        day.own.url = (first, second)[number % 2].url
        day.audit()
        day.check()
    told = day.ann.ok("GET", f"/jobs/{day.job}")
    assert told["audits"] == {"audited": 4, "passed": 4, "rejected": 0, "unresolved": 0}
    assert replay.replay(day.verification()) == []


@pytest.mark.parametrize("at", ["submitted", "audit", "check"])
def test_cancel_ends_audits_and_checks(parts, at):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    day.liar.do(day.liar.lease()[0])
    held = None
    if at != "submitted":
        held = day.next_of(day.own, "audit")
    if at == "check":
        day.own.do(held)
        held = day.next_of(day.own, "check")
    assert day.ann.ok("POST", f"/jobs/{day.job}/cancel")["state"] == "cancelled"
    if held:
        beat = {"beats": [{"task": held["task"]["id"], "token": held["token"]}]}
        assert day.own.ok("POST", "/leases/heartbeat", beat)["lost"] == [held["task"]["id"]]
        failure = TaskFailure(FailureCode.NODE, "stopped")
        path = f"{under(held)}/failure?token={held['token']}"
        day.own.refused(409, "stale_lease", "POST", path, failure)
    assert day.own.lease(wait=0.3) == []
    with events(day.ann, day.job) as stream:
        assert [one["data"]["state"] for one in stream if one["event"] == "job"][-1] == "cancelled"


def test_a_paused_job_is_not_audited_until_it_goes_on(parts):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    lease = day.liar.lease()[0]
    assert day.ann.ok("POST", f"/jobs/{day.job}/pause")["state"] == "paused"
    day.liar.do(lease)
    assert day.own.lease(wait=0.3) == []
    assert day.ann.ok("POST", f"/jobs/{day.job}/resume")["state"] == "rendering"
    day.audit()
    assert day.ann.ok("GET", f"/jobs/{day.job}")["state"] == "rendering", "a tile is not accepted yet"
    day.check()
    assert day.ann.ok("GET", f"/jobs/{day.job}")["state"] == "finishing"


def test_an_ended_lease_of_an_audit_goes_to_the_next(parts):
    _, coordinator = parts(*ALL, "--lease-seconds", "0.3")
    day = Day(coordinator)
    day.liar.do(day.liar.lease()[0])
    audit = day.next_of(day.own, "audit")
    again = day.next_of(day.own, "audit")
    assert (again["task"]["id"], again["token"]) == (audit["task"]["id"], audit["token"] + 1)
    path = f"{under(audit)}/failure?token={audit['token']}"
    day.own.refused(409, "stale_lease", "POST", path, TaskFailure(FailureCode.NODE, "late"))


def trusted(day, store, node):
    """Gives a node and its operator a long good past, as audits of other jobs would have."""

    async def give():
        connection = Connection(store.url)
        owner = await connection.do("HGET", f"farm:node:{node.id}", "owner")
        for key in (f"farm:node:{node.id}", f"farm:owner:{owner}"):
            await connection.do("HSET", key, "passed", 10**6)
        await connection.close()

    asyncio.run(give())


def test_what_a_proven_liar_got_accepted_unaudited_is_rendered_again(parts):
    """Seven tiles are only looked at; the eighth is audited because it is a copy, and is false."""
    store, coordinator = parts("--audit-floor", "0", *STRANGERS_ONLY, "--beacon-period", "0.05")
    day = Day(coordinator, frames=(1, 2, 3))
    trusted(day, store, day.liar)
    first, second, third = day.liar.lease(slots=3)
    day.liar.do(first, b"one")
    day.check()
    day.own.do(day.next_of(day.own, "finish"))
    day.liar.do(second, b"two")
    day.check()
    assert day.tile(1)["state"] == "accepted"
    finish = day.next_of(day.own, "finish")
    day.liar.do(third, b"two")
    day.check(crops=())
    day.audit()
    day.reject()
    states = [day.tile(number)["state"] for number in range(3)]
    assert states == ["accepted", "ready", "ready"], "a frame that is done stays done"
    failure = TaskFailure(FailureCode.NODE, "x")
    day.own.refused(409, "stale_lease", "POST", f"{under(finish)}/failure?token={finish['token']}", failure)
    assert day.ann.ok("GET", f"/jobs/{day.job}")["frames"]["done"] == 1
    assert [one["state"] for one in day.admin.ok("GET", f"/jobs/{day.job}/tasks")["tasks"]][3] == "waiting"


def test_own_work_that_nothing_is_drawn_for_is_accepted_at_once_with_a_receipt(parts):
    _, coordinator = parts(*NONE_OF_OWN)
    day = Day(coordinator)
    answer = day.own.do(day.next_of(day.own, "render"))
    assert answer["state"] == "accepted"
    assert answer["receipt"]["submission"]["rate"] == 0
    day.own.do(day.next_of(day.own, "finish"))
    assert day.ann.ok("GET", f"/jobs/{day.job}")["state"] == "complete"


def test_own_work_can_be_audited_by_its_own_node_alone(parts):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    assert day.own.do(day.next_of(day.own, "render"))["state"] == "submitted"
    day.audit()
    day.check()
    assert day.tile()["state"] == "accepted"
    assert replay.replay(day.verification()) == []


def test_a_stranger_alone_rejects_nobody_and_a_false_one_loses_its_standing(parts):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    auditor = day.node("auditor")
    assert auditor.lease(kinds=(TaskKind.AUDIT,)) == []
    day.liar.do(day.liar.lease(kinds=(TaskKind.RENDER,))[0])
    audit = day.next_of(auditor, "audit")
    auditor.do(audit, b"other pixels")
    day.doubt()
    assert day.tile()["state"] == "auditing", "the farm's own looks before anybody is blamed"
    day.audit()
    day.check(contradicted=(audit["task"]["id"],))
    assert day.tile()["state"] == "accepted"
    views = {one["node"]: one["standing"] for one in day.admin.ok("GET", "/nodes")["nodes"]}
    assert views[auditor.id] == {"passed": 0, "failed": 1}
    assert views[day.liar.id] == {"passed": 1, "failed": 0}
    found = day.verification()
    assert [one.contradicted for one in found.submissions[0].audits] == [True, False]
    assert replay.replay(found) == []


@pytest.mark.parametrize("alike", [True, False])
def test_an_auditor_loses_standing_only_for_what_a_fresh_repeat_confirms(parts, alike):
    options = [*ALL]
    options[options.index("--audit-repeat") + 1] = "1"
    _, coordinator = parts(*options)
    day = Day(coordinator)
    auditor = day.node("auditor")
    assert auditor.lease(kinds=(TaskKind.AUDIT,)) == []
    day.liar.do(day.liar.lease(kinds=(TaskKind.RENDER,))[0])
    first = day.next_of(auditor, "audit")
    auditor.do(first, b"other pixels")
    day.audit()
    name = first["task"]["id"]
    day.check(doubted=(name,))
    assert day.tile()["state"] == "auditing"
    again = day.next_of(day.own, "audit")
    assert (again["audit"], again["fresh"], first["fresh"]) == (first["audit"], True, False)
    day.own.do(again)
    day.check(**{"contradicted" if alike else "doubted": (name,)})
    views = {one["node"]: one["standing"] for one in day.admin.ok("GET", "/nodes")["nodes"]}
    assert views[auditor.id] == {"passed": 0, "failed": int(alike)}
    found, job = day.verification(), day.ann.ok("GET", f"/jobs/{day.job}")
    assert found.submissions[0].verdict.code == ("accepted" if alike else "doubted")
    assert job["audits"]["unresolved"] == int(not alike)
    assert ("not rendered alike twice" in job["fallback"]) is not alike
    assert job["audits"]["rejected"] == 0
    assert replay.replay(found) == []


def test_a_drawn_repeat_is_done_by_the_own_node(parts):
    options = [*ALL]
    options[options.index("--audit-repeat") + 1] = "1"
    _, coordinator = parts(*options)
    day = Day(coordinator)
    auditor = day.node("auditor")
    assert auditor.lease(kinds=(TaskKind.AUDIT,)) == []
    day.liar.do(day.liar.lease(kinds=(TaskKind.RENDER,))[0])
    first = day.next_of(auditor, "audit")
    auditor.do(first)
    assert auditor.lease(kinds=(TaskKind.AUDIT,), wait=0.3) == []
    again = day.next_of(day.own, "audit")
    assert again["audit"] == first["audit"]
    day.own.do(again)
    day.check()
    audits = day.verification().submissions[0].audits
    assert [(one.own, one.repeat) for one in audits] == [(False, False), (True, True)]
    assert replay.replay(day.verification()) == []


def test_nobody_binds_anothers_address_or_works_without_one(parts):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    made = day.admin.owner("eve").ok("POST", "/nodes", {"name": "thief", "own": False})
    thief = Node(day.ann.url, made["token"], id=made["node"], farm=day.liar.farm)

    def bind(address, key):
        signature = sign(Enrolment(thief.id, address), thief.farm, key)
        return thief.call("POST", "/nodes/self", {"address": address, "signature": signature}).body["code"]

    assert bind(day.liar.address, day.liar.key) == "conflict", "another operator's key, leaked or lent"
    assert bind(day.liar.address, thief.key) == "bad_signature"
    assert thief.ok("GET", "/nodes/self")["address"] is None
    offer = {"slot": "s", "kinds": ["render"], "device_class": DEVICE}
    wish = {"offers": [offer], "wait": 0, "sandboxed": True}
    assert "POST /nodes/self" in thief.refused(403, "forbidden", "POST", "/leases", wish)
    assert day.ann.call("GET", "/nodes/self").status == 403
    replace(thief, key=secrets.token_bytes(32)).enrol()
    assert bind(thief.address, thief.key) == "conflict", "its token is bound to another address"


def test_two_nodes_of_one_operator_may_share_a_key(parts):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    owner = day.admin.owner("eve")
    first = owner.node("first")
    made = owner.ok("POST", "/nodes", {"name": "second", "own": False})
    second = Node(day.ann.url, made["token"], id=made["node"], key=first.key)
    second.enrol()
    assert second.ok("GET", "/nodes/self")["address"] == first.address


def give_back(day, lease, code, *bad):
    failure = TaskFailure(code, "it cannot be looked at", bad)
    return day.own.ok("POST", f"{under(lease)}/failure?token={lease['token']}", failure)["state"]


def test_audits_that_cannot_be_looked_at_do_not_count_and_cost_their_auditor(parts):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    auditor = day.node("auditor")
    assert auditor.lease(kinds=(TaskKind.AUDIT,)) == []
    day.liar.do(day.liar.lease(kinds=(TaskKind.RENDER,))[0])
    audit = day.next_of(auditor, "audit")
    auditor.do(audit, b"a picture that kills the decoder")
    check = day.next_of(day.own, "check")
    assert give_back(day, check, FailureCode.BAD_INPUT, audit["task"]["id"]) == "cancelled"
    again = day.next_of(day.own, "audit")
    assert again["audit"] == audit["audit"]
    day.own.do(again)
    check = day.next_of(day.own, "check")
    assert [one["task"] for one in check["check"]["audits"]] == [again["task"]["id"]]
    day.own.do(check)
    assert day.tile()["state"] == "accepted"
    views = {one["node"]: one["standing"] for one in day.admin.ok("GET", "/nodes")["nodes"]}
    assert views[auditor.id] == {"passed": 0, "failed": 1}
    assert replay.replay(day.verification()) == []


def test_a_tile_nobody_can_look_at_is_rendered_again_without_blame(parts):
    _, coordinator = parts(*ALL)
    day = Day(coordinator)
    lease = day.liar.lease()[0]
    day.liar.do(lease)
    day.audit()
    states = []
    for _ in range(3):
        check = day.next_of(day.own, "check")
        states.append(give_back(day, check, FailureCode.BAD_INPUT, lease["task"]["id"]))
    assert states == ["ready", "ready", "cancelled"]
    assert day.tile()["state"] == "ready"
    assert day.ann.ok("GET", f"/jobs/{day.job}")["audits"]["unresolved"] == 1


def test_another_jobs_audits_cannot_be_named(parts):
    """Only own nodes check; what one names by mistake touches nothing else."""
    _, coordinator = parts(*ALL)
    day = Day(coordinator, frames=(1, 2))
    first, second = day.liar.lease(slots=2)
    day.liar.do(first, b"one")
    day.liar.do(second, b"two")
    audits = [day.next_of(day.own, "audit") for _ in range(2)]
    for audit in audits:
        day.own.do(audit)
    check = day.next_of(day.own, "check")
    mine = check["check"]["audits"][0]["task"]
    other = next(one["task"]["id"] for one in audits if one["task"]["id"] != mine)
    assert give_back(day, check, FailureCode.BAD_INPUT, other) == "ready"
    marks = [audit.contradicted for one in day.verification().submissions for audit in one.audits]
    assert marks == [False, False]


def test_nobody_does_more_than_its_share_of_anothers_audits_and_who_failed_does_none(parts):
    """One person with two accounts: the second audits the first's work once, and then the own node does."""
    store, coordinator = parts(*ALL)
    day = Day(coordinator, frames=(1, 2, 3))
    friend = day.node("friend")
    assert friend.lease(kinds=(TaskKind.AUDIT,)) == day.own.lease(kinds=(TaskKind.AUDIT,)) == []
    leases = day.liar.lease(slots=3, kinds=(TaskKind.RENDER,))
    for number, auditor in enumerate((friend, day.own)):
        day.liar.do(leases[number], bytes([number]))
        auditor.do(day.next_of(auditor, "audit"))
        day.check()
    first, second = day.verification().submissions
    assert [(one.node, one.met) for one in first.asked if not one.own] == [(friend.id, 0)]
    assert first.candidates == (friend.id, day.own.id)
    assert [(one.node, one.met) for one in second.asked if not one.own] == [(friend.id, 1)]
    assert (second.audits_before, second.candidates) == (1, (day.own.id,))

    async def fail():
        connection = Connection(store.url)
        await connection.do("HSET", f"farm:node:{friend.id}", "failed", 1)
        await connection.do("DEL", f"farm:owner:{first.operator}:audited")
        await connection.close()

    asyncio.run(fail())
    day.liar.do(leases[2], b"third")
    assert friend.lease(kinds=(TaskKind.AUDIT,)) == []
    day.audit()
    day.check()
    third = day.verification().submissions[2]
    assert (third.audits_before, third.candidates) == (0, (day.own.id,))
    assert replay.replay(day.verification()) == []
