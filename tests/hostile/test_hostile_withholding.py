# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that take work and do not do it: each costs the farm a few tiles for a while, and no more."""

import asyncio
import time
from collections import Counter

import pytest
import redis

from farm_protocol.records import Beat, Heartbeat, LeaseRequest, Progress, SlotOffer, TaskFailure
from render_farm.dispatch import Dispatch
from render_farm.farm import BEAT_SECONDS, BEATS_AT_ONCE, LOOK_SECONDS, LOOKS
from render_farm.pacing import Pace
from render_farm.store.candidates import Found
from render_farm.store.identities import Caller, Role
from tests import servers
from tests.api_calls import KINDS, STRANGERS_ONLY, Api, events, under

LATE = 121.0
"""Seconds of work after which a tile of a job is late whose tiles take no time."""

LATE_OF_NEW = 1201.0
"""The same of a node of which nothing was accepted yet, from its lease, if it says that it gets on."""

LATEST_END = 1800.0 + 4 * 120.0
STALLED = 601.0
LIMIT = 20.0


class Farm:
    """A coordinator for which time passes as a test says; each test has owners and nodes of its own."""

    def __init__(self, running, passed, store):
        self.admin, self._passed = Api(running.url, running.admin_token), passed
        self.store = redis.Redis.from_url(store, decode_responses=True)
        self.ann = self.own = None

    def begin(self):
        """Everybody of the tests before is forgotten."""
        self.passes(20_000)
        self.ann, self.own = self.admin.owner(), self.admin.node("own", own=True)

    def end(self):
        for job in self.ann.ok("GET", "/jobs?unfinished=true")["jobs"]:
            self.ann.call("POST", f"/jobs/{job['job']}/cancel")

    def passes(self, seconds):
        draft = self._passed.with_suffix(".new")
        draft.write_text(str(float(self._passed.read_text()) + seconds))
        draft.rename(self._passed)

    def stranger(self, name="stranger"):
        """A node of an operator of its own."""
        return self.admin.owner(name).node(name)

    def state(self, job):
        return self.ann.ok("GET", f"/jobs/{job}")["state"]

    def rendered(self, job):
        """How many tiles were accepted."""
        found = self.ann.ok("GET", f"/jobs/{job}/tasks")["tasks"]
        return sum(one["state"] == "accepted" for one in found if one["task"]["kind"] == "render")

    def node(self, node):
        return next(one for one in self.admin.ok("GET", "/nodes")["nodes"] if one["node"] == node.id)

    def strikes(self, node):
        return float(self.store.hget(f"farm:node:{node.id}", "strikes") or 0)

    def job_with_a_median(self, frames):
        """A job of which the own node did all frames but as many, in no time."""
        job = self.ann.job(frames=tuple(range(1, frames + 5)))
        for _ in range(4):
            (lease,) = self.own.lease(kinds=("render",))
            self.own.do(lease)
        return job

    def settles(self, what):
        """Own nodes check and finish what there is, until it is so."""
        end = time.monotonic() + LIMIT
        while not what():
            assert time.monotonic() < end
            for lease in self.own.lease(wait=0.1, kinds=("audit", "check", "finish")):
                self.own.do(lease)


@pytest.fixture(scope="module")
def running_farm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("withholding")
    passed = folder / "clock.passed"
    passed.write_text("0")
    options = ("--lease-seconds", "3600", "--beacon-period", "0.05")
    with (
        servers.valkey(folder / "valkey") as store,
        servers.seaweed(folder / "seaweed") as objects,
        servers.coordinator(folder / "c", store.url, objects, *options, *STRANGERS_ONLY, clock=passed) as one,
    ):
        yield Farm(one, passed, store.url)


@pytest.fixture
def farm(running_farm):
    running_farm.begin()
    yield running_farm
    running_farm.end()


def beat(node, leases, done=0, activity="rendering", total=1 << 20):
    """What the node is told it has lost."""
    progress = Progress(done, total, activity)
    beats = tuple(Beat(lease["task"]["id"], lease["token"], progress) for lease in leases)
    return node.ok("POST", "/leases/heartbeat", Heartbeat(beats))["lost"]


def renders(farm, node, leases, seconds):
    """So long a node says that it gets on; what it is told then that it has lost."""
    steps = 4
    for step in range(steps):
        beat(node, leases, step + 1)
        farm.passes(seconds / steps)
    return beat(node, leases, steps + 1)


def give_back(node, lease, code="node"):
    path = f"{under(lease)}/failure?token={lease['token']}"
    return node.ok("POST", path, TaskFailure(code, "I do not like it."))["state"]


def made_up(node, call, slots=200):
    offers = tuple(SlotOffer(f"made up {call}-{number}", KINDS, node.device) for number in range(slots))
    return node.ok("POST", "/leases", LeaseRequest(offers, 0.0, True))["leases"]


def tasks(leases):
    return {lease["task"]["id"] for lease in leases}


def test_made_up_slots_get_a_few_leases_and_the_rest_is_left_to_others(farm):
    farm.ann.job(frames=tuple(range(1, 101)))
    owner = farm.admin.owner("mallory")
    nodes = [owner.node(f"mallory {number}") for number in range(4)]
    held = [lease for node in nodes for call in range(4) for lease in made_up(node, call)]
    assert 1 <= len(held) <= 8, "however many slots a node offers, and however many nodes its operator has"
    assert len(farm.node(nodes[0])["slots"]) <= 300, "made-up slots are forgotten again"
    left = [lease for _ in range(8) for lease in farm.own.lease(slots=16, kinds=("render",))]
    assert len(left) == 100 - len(held)


def test_an_honest_node_comes_to_all_its_slots_in_a_few_rounds(farm):
    job = farm.ann.job(frames=tuple(range(1, 60)))
    node, sizes = farm.stranger(), []
    while not sizes or (sizes[-1] < 8 and len(sizes) < 8):
        leases = node.lease(slots=8, kinds=("render",))
        for lease in leases:
            node.do(lease)
        sizes.append(len(leases))
        farm.settles(lambda: farm.rendered(job) == sum(sizes))
    assert sizes[-1] == 8
    assert len(sizes) <= 3


def test_a_late_tile_goes_to_somebody_else_and_the_late_node_is_told(farm):
    farm.job_with_a_median(1)
    late, other = farm.stranger("late"), farm.stranger("other")
    (held,) = late.lease()
    assert renders(farm, late, [held], LATE_OF_NEW) == [], "nobody else is there: it may go on"
    (taken,) = other.lease()
    assert taken["task"]["id"] == held["task"]["id"]
    assert beat(late, [held], 99) == [held["task"]["id"]]
    refused = late.submit(held, other.upload(taken, b"pixels"))
    assert (refused.status, refused.body["code"]) == (409, "stale_lease")
    other.do(taken)
    assert (farm.node(late)["held_back"], farm.strikes(late)) == ("", 0), "slowness is no offence"


def test_a_node_that_is_known_is_believed_longer(farm):
    job, known = farm.job_with_a_median(3), farm.stranger("known")
    for _ in range(2):
        for lease in known.lease(kinds=("render",)):
            known.do(lease)
    farm.settles(lambda: farm.rendered(job) == 6)
    held = known.lease(kinds=("render",))
    farm.passes(LATE)
    assert beat(known, held, 1) == []
    assert farm.own.lease(kinds=("render",)) == [], "a heavy frame may go on"
    farm.passes(590)
    beat(known, held, 2)
    farm.passes(590)
    beat(known, held, 3)
    farm.passes(590)
    beat(known, held, 4)
    farm.passes(60)
    assert beat(known, held, 5) == []
    assert tasks(farm.own.lease(kinds=("render",))) == tasks(held)
    assert beat(known, held, 6) == [held[0]["task"]["id"]]


def test_a_new_laptop_keeps_a_tile_of_a_quarter_of_an_hour(farm):
    """Others take no time for such tiles; it fetches and opens the scene half of that time."""
    farm.job_with_a_median(1)
    laptop, other = farm.stranger("laptop"), farm.stranger("other")
    (held,) = laptop.lease()
    for activity in ("fetching the scene", "opening the scene"):
        assert beat(laptop, [held], 0, activity, 0) == []
        farm.passes(225)
    for step in range(4):
        assert beat(laptop, [held], step) == []
        assert other.lease() == []
        farm.passes(110)
    assert laptop.submit(held, laptop.upload(held, b"pixels")).status == 200


def test_who_fetches_a_scene_for_ever_is_late(farm):
    farm.job_with_a_median(1)
    idle, other = farm.stranger("idle"), farm.stranger("other")
    held = idle.lease()
    for step in range(5):
        beat(idle, held, 0, f"fetching the scene, part {step}", 0)
        farm.passes(400)
    beat(idle, held, 0, "fetching the scene, nearly there", 0)
    assert tasks(other.lease()) == tasks(held)
    assert farm.strikes(idle) > 0, "it never rendered"


def test_who_says_nothing_is_late_at_once(farm):
    farm.job_with_a_median(1)
    silent, other = farm.stranger("silent"), farm.stranger("other")
    held = silent.lease()
    farm.passes(LATE)
    beat(silent, held, 0, "", 0)
    assert tasks(other.lease()) == tasks(held)


def test_a_heartbeat_names_a_task_once(farm):
    """Each of two thousand was a piece of work for the store, and one more event."""
    farm.ann.job(frames=(1,))
    (held,) = (node := farm.stranger()).lease()
    beats = tuple(Beat(held["task"]["id"], held["token"], Progress(done, 9)) for done in range(1000))
    assert "once" in node.refused(422, "invalid_input", "POST", "/leases/heartbeat", Heartbeat(beats))
    assert beat(node, [held], 1) == []


def test_a_node_that_never_stops_beating_is_told_to_wait(farm):
    farm.ann.job(frames=(1,))
    node, began, heard = farm.stranger(), time.monotonic(), []
    held = node.lease()
    for done in range(300):
        beats = (Beat(held[0]["task"]["id"], held[0]["token"], Progress(done, 999)),)
        heard.append(node.call("POST", "/leases/heartbeat", Heartbeat(beats)))
    lasted = time.monotonic() - began
    refused = [one for one in heard if one.status == 429]
    assert len(heard) - len(refused) <= BEATS_AT_ONCE + 1 + lasted / BEAT_SECONDS
    assert all(one.headers["Retry-After"] for one in refused)
    assert farm.stranger("another").call("POST", "/leases/heartbeat", Heartbeat(())).status == 200


def test_progress_pushes_no_event_out(farm):
    job = farm.ann.job(frames=(1, 2))
    node, began = farm.stranger(), time.monotonic()
    held = node.lease()
    for done in range(15):
        beat(node, held, done)
    told = farm.store.xlen(f"farm:job:{job}:progress")
    assert 1 <= told <= 2 + time.monotonic() - began, "a task's is told once a second"
    second = node.lease()[0]["task"]["id"]
    with events(farm.ann, job) as stream:
        until_then = []
        for event in stream:
            until_then.append(event["event"])
            if event["data"].get("task") == second:
                break
    assert "progress" not in until_then


def test_a_node_that_never_stops_asking_is_told_to_wait(farm):
    node, began = farm.stranger(), time.monotonic()
    offers = LeaseRequest((SlotOffer("slot", KINDS, "cpu"),), 0.0, True)
    heard = [node.call("POST", "/leases", offers) for _ in range(4 * LOOKS)]
    refused = [one for one in heard if one.status == 429]
    assert len(heard) - len(refused) <= 2 * LOOKS + 1 + (time.monotonic() - began) / LOOK_SECONDS
    assert all(one.headers["Retry-After"] for one in refused)
    farm.ann.job(frames=(1,))
    assert farm.stranger("another").lease()


class Nothing:
    """Leases of a farm where nothing is to be had; counts who looked."""

    def __init__(self):
        self.looked = Counter()

    async def find(self, asker, request, now):
        self.looked[asker.node] += 1
        return Found([], None)


def test_questions_in_vain_are_answered_without_a_look():
    """Each look goes through all jobs of the farm, in the store."""
    leases, passed = Nothing(), [0.0]
    pace = Pace("questions", LOOK_SECONDS, LOOKS, lambda node: node.owner, lambda: passed[0])
    dispatch = Dispatch(leases, 30.0, pace=pace)
    request = LeaseRequest((SlotOffer("slot", KINDS, "cpu"),), 0.0, True)

    async def ask(node, owner, own=False):
        async def gone():
            return False

        for _ in range(2 * LOOKS):
            assert await dispatch.lease(Caller(Role.NODE, owner, node, own), request, gone) == []

    async def story():
        for one in (("one", "mallory"), ("two", "mallory"), ("own", "admin", True), ("other", "bob")):
            await ask(*one)
        passed[0] += 10 * LOOK_SECONDS
        await ask("two", "mallory")

    asyncio.run(story())
    assert leases.looked == {"one": LOOKS, "two": 10, "own": 2 * LOOKS, "other": LOOKS}


def test_what_is_not_begun_is_given_out_before_what_is_late(farm):
    farm.job_with_a_median(3)
    late, other = farm.stranger("late"), farm.stranger("other")
    (held,) = late.lease()
    renders(farm, late, [held], LATE_OF_NEW)
    first = [other.lease()[0]["task"]["id"] for _ in range(2)]
    assert held["task"]["id"] not in first
    assert late.submit(held, late.upload(held, b"pixels")).status == 200


def test_an_accomplice_does_not_take_over(farm):
    farm.job_with_a_median(1)
    owner = farm.admin.owner("mallory")
    one, two = owner.node("one"), owner.node("two")
    held = one.lease()
    renders(farm, one, held, LATE_OF_NEW)
    assert two.lease() == []
    farm.passes(LATEST_END)
    assert beat(one, held, 99) == [held[0]["task"]["id"]]
    assert farm.stranger("somebody").lease(kinds=("audit",)) == []
    assert two.lease() == [], "nor takes it anew while others are there"


def test_progress_that_always_rises_ends_at_the_latest_end(farm):
    farm.job_with_a_median(1)
    liar = farm.stranger()
    held = liar.lease()
    for step in range(int(LATEST_END // 300)):
        farm.passes(300)
        assert beat(liar, held, step + 1) == []
    farm.passes(300)
    assert beat(liar, held, 99) == [held[0]["task"]["id"]]
    assert farm.own.lease(kinds=("render",))[0]["task"]["id"] == held[0]["task"]["id"]


@pytest.mark.parametrize("progress", [(5, "rendering", 100), (0, "", 0)])
def test_heartbeats_without_progress_lapse(farm, progress):
    farm.job_with_a_median(1)
    idle = farm.stranger()
    held = idle.lease()
    beat(idle, held, *progress)
    farm.passes(STALLED)
    assert beat(idle, held, *progress) == [held[0]["task"]["id"]]


def test_a_slow_honest_node_keeps_its_first_tile(farm):
    """Half an hour to fetch the scene and compile kernels, an hour and a half to render; nothing is known."""
    farm.ann.job(frames=(1,))
    slow = farm.stranger()
    (held,) = slow.lease()
    for activity in ("fetching the scene", "opening the scene"):
        assert beat(slow, [held], 0, activity, 0) == []
        farm.passes(900)
    for step in range(9):
        assert beat(slow, [held], step) == []
        farm.passes(590)
    assert slow.submit(held, slow.upload(held, b"pixels")).status == 200


def test_who_looks_at_tasks_and_gives_them_back_waits(farm):
    farm.ann.job(frames=tuple(range(1, 100)))
    picky = farm.stranger()
    looked = 0
    while leases := picky.lease():
        give_back(picky, leases[0])
        looked += 1
        assert looked < 17, "it may look at all there is"
    assert "given back" in farm.node(picky)["held_back"]
    farm.passes(3600)
    assert picky.lease(), "and may come back later"


def test_a_node_that_is_stopped_may_come_back_at_once(farm):
    farm.ann.job(frames=tuple(range(1, 10)))
    node = farm.stranger()
    for _ in range(2):
        for lease in node.lease(slots=8):
            give_back(node, lease)
    assert node.lease(slots=8)


def fail_all(farm, node, job, tries=60):
    for _ in range(tries):
        for lease in node.lease(slots=8, kinds=("render",)):
            give_back(node, lease, "crashed")
        farm.passes(61)
        if farm.state(job) == "failed":
            return


def test_one_operator_fails_no_job(farm):
    farm.passes(200)
    job = farm.ann.job(frames=tuple(range(1, 51)))
    owner = farm.admin.owner("mallory")
    for node in (owner.node("one"), owner.node("two")):
        fail_all(farm, node, job)
    found = farm.ann.ok("GET", f"/jobs/{job}")
    assert (found["state"], found["frames"]["failed"]) == ("rendering", 0)
    with events(farm.ann, job) as told:
        said = next(one for one in told if one["event"] == "notice" and "broken" in one["data"]["detail"])
    assert "calls it broken" in said["data"]["detail"]
    assert farm.own.lease(kinds=("render",)), "the own node may still try"


def test_two_operators_fail_a_broken_frame(farm):
    farm.passes(200)
    job = farm.ann.job(frames=(1,))
    for name in ("one", "two"):
        fail_all(farm, farm.stranger(name), job, 5)
    assert farm.state(job) == "failed"


def test_a_held_audit_goes_to_another(farm):
    farm.ann.job(frames=(1, 2))
    worker, idle, other = farm.stranger("worker"), farm.stranger("idle"), farm.stranger("other")
    for auditor in (idle, other):
        auditor.lease(kinds=("audit",))
    for lease in [*worker.lease(kinds=("render",)), *worker.lease(kinds=("render",))]:
        worker.do(lease)
    held, end = [], time.monotonic() + LIMIT
    while not held and time.monotonic() < end:
        farm.passes(11)
        held = idle.lease(wait=0.2, kinds=("audit",))
    assert held
    for step in range(5):
        farm.passes(2000 if step else 1)
        lost = beat(idle, held, step)
    assert lost == [held[0]["task"]["id"]]
    farm.passes(11)
    again = [lease for node in (other, farm.own) for lease in node.lease(slots=2, kinds=("audit",))]
    assert held[0]["task"]["id"] in tasks(again)


def test_a_made_up_device_class_does_not_keep_a_job_for_itself(farm):
    farm.ann.job(frames=(1, 2, 3))
    odd = farm.stranger("odd")
    odd.device = "abacus"
    held = odd.lease()
    assert farm.own.lease(kinds=("render",)) == [], "one job is rendered on one class"
    farm.passes(601)
    sent = odd.upload(held[0], b"pixels")
    (lease,) = farm.own.lease(kinds=("render",))
    assert (odd.submit(held[0], sent).status, beat(odd, held)) == (409, [held[0]["task"]["id"]])
    farm.own.do(lease)
    assert len(farm.own.lease(slots=3, kinds=("render",))) == 1, (
        "what it held comes back with its lease's end"
    )
