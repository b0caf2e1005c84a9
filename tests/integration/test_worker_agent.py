# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent against a coordinator that goes away, loses leases, and refuses."""

import dataclasses
import hashlib
import json
import sys
import threading
from pathlib import Path

import pytest

from farm_protocol.documents import Attestation, Submission
from farm_protocol.errors import FarmError, Unauthorized, Unavailable
from farm_protocol.fields import Tile
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import (
    FailureCode,
    Lease,
    OutputFile,
    Progress,
    RenderSettings,
    SlotState,
    SlotTrouble,
    Task,
    TaskFailure,
    TaskKind,
    TaskResult,
)
from gpu_worker.agent.agent import Agent
from gpu_worker.agent.records import Bench, Pace
from gpu_worker.farm import transfer
from gpu_worker.farm.coordinator import Coordinator
from gpu_worker.farm.identity import load_identity
from gpu_worker.farm.result_signer import Notary
from gpu_worker.slot.checking import Rendered
from gpu_worker.slot.readiness import Prepared, SlotInfo
from verification.protocol.attestation import digest, require_signer

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
from fake_coordinator import FARM, TOKEN, FakeCoordinator, receipt_of

CLASS = DeviceClass("cpu:test")
NEXT_CLASS = DeviceClass("cuda:test")
PACE = Pace(wait=5.0, beat=0.02, retry=0.1, rest=0.1, store_away=0.5, drain=2.0)
WHOLE = Tile(0, 0, 8, 8)


class FakeSlot:
    """Renders a few bytes; what happens to a task is in its name."""

    def __init__(self, name, folder, kinds=(TaskKind.RENDER,)):
        self.name, self.kinds, self.folder = name, kinds, folder
        self.ran, self.cancelled, self.discarded, self.restarted = [], [], [], []
        self.silent = False
        self.prepares, self.answers, self.doubts = False, [], []
        self.asked = 0
        self.news = threading.Condition()
        self.running = threading.Event()
        self.go_on = threading.Event()

    def describe(self):
        return SlotInfo(CLASS, True, prepares=self.prepares)

    def prepare(self, doubt=""):
        """What is in `answers`, one after the other and the last again and again; else ready."""
        self.doubts.append(doubt)
        if not self.answers:
            return Prepared(SlotInfo(NEXT_CLASS, True, 24 << 30, prepares=True))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def run(self, lease):
        self.ran.append(lease.task.id)
        if "crash" in lease.task.id:
            return TaskFailure(FailureCode.CRASHED, "Blender fell over.")
        if "device" in lease.task.id:
            return TaskFailure(FailureCode.DEVICE, "No such GPU.")
        if "raise" in lease.task.id:
            raise FarmError("The slot failed.")
        if "long" in lease.task.id:
            self.running.set()
            self.go_on.wait(20)
            if lease.task.id in self.cancelled:
                return TaskFailure(FailureCode.NODE, "The task was cancelled.")
        return Rendered(("tile.exr",), 0.0, 0.9, 0)

    def settle(self, lease, rendered):
        if "nan" in lease.task.id:
            return TaskFailure(FailureCode.BAD_OUTPUT, "Not finite.")
        body = lease.task.id.encode()
        (self.folder / lease.task.id).write_bytes(body)
        file = OutputFile("tile.exr", hashlib.sha256(body).hexdigest(), len(body))
        root = hashlib.sha256(b"pixels of " + body).hexdigest()
        return TaskResult((file,), 1.0, rendered.render_seconds, CLASS, pixel_root=root)

    def deliver(self, lease, uploads):
        for upload in uploads:
            transfer.upload(self.folder / lease.task.id, upload)

    def discard(self, lease):
        with self.news:
            self.discarded.append(lease.task.id)
            self.news.notify_all()

    def wait_discarded(self, task):
        with self.news:
            return self.news.wait_for(lambda: task in self.discarded, 60)

    def progress(self):
        self.asked += 1
        if self.silent:
            raise Unavailable("Slot did not answer.")
        # A little further at every look, like a render: else only the lease's length sets the pace.
        return Progress(min(self.asked, 99), 100, "rendering") if self.running.is_set() else Progress()

    def cancel(self, lease):
        self.cancelled.append(lease.task.id)
        self.go_on.set()

    def restart(self, reason):
        self.restarted.append(reason)
        self.silent = False
        self.go_on.set()


@pytest.fixture
def farm():
    farm = FakeCoordinator()
    yield farm
    farm.close()


@pytest.fixture
def slots(tmp_path):
    return [FakeSlot(f"cpu-{number}", tmp_path) for number in range(2)]


@pytest.fixture
def start(farm, tmp_path):
    """Start an agent in a thread; it must end when it is stopped."""
    started = []
    identity = load_identity(tmp_path)
    farm.address = identity.address
    notary = Notary(identity, FARM, tmp_path)

    def starter(slots, token=TOKEN, **pace):
        benches = [Bench(slot, slot.describe()) for slot in slots]
        coordinator = Coordinator(farm.url, token, tries=2)
        agent = Agent(coordinator, benches, notary, dataclasses.replace(PACE, **pace))
        agent.errors = []

        def run():
            try:
                agent.run()
            except FarmError as error:
                agent.errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        started.append((agent, thread))
        agent.thread = thread
        return agent

    yield starter
    for agent, thread in started:
        agent.stop()
        thread.join(20)
        assert not thread.is_alive()


def lease_of(name, kind=TaskKind.RENDER, expires_in=30.0):
    task = Task(TaskId(name), JobId("j"), kind, 7, WHOLE)
    settings = RenderSettings(4, 0, 100, "PNG")
    scene, owner = SceneId("s" * 64), OwnerId("o")
    return Lease(task, LeaseToken(3), "", expires_in, scene, owner, settings, 8, 8, WHOLE, WHOLE)


def test_tasks_are_leased_for_all_free_slots_rendered_uploaded_and_submitted(farm, slots, start):
    farm.put(*(lease_of(f"t{number}") for number in range(5)))
    start(slots)
    farm.wait_for(lambda: len(farm.results) == 5)
    assert [offer.slot for offer in farm.requests[0].offers] == ["cpu-0", "cpu-1"]
    assert farm.requests[0].sandboxed
    assert farm.objects["/store/t3/tile.exr"] == b"t3"
    token, result = farm.results["t3"]
    assert (token, result.render_seconds, result.device_class) == (3, 0.9, CLASS)
    last = [offer for request in farm.requests for offer in request.offers][-1]
    assert (last.warm_scene, last.warm_frame) == ("s" * 64, 7)
    assert sorted(slots[0].ran + slots[1].ran) == ["t0", "t1", "t2", "t3", "t4"]


def test_offers_name_the_kinds_a_slot_takes(farm, tmp_path, start):
    slots = [FakeSlot("cpu-0", tmp_path), FakeSlot("finish-0", tmp_path, (TaskKind.FINISH,))]
    farm.put(lease_of("f", TaskKind.FINISH))
    start(slots)
    farm.wait_for(lambda: "f" in farm.results)
    assert slots[1].ran == ["f"]


def test_a_check_leaves_what_a_slot_has_warm(farm, tmp_path, start):
    slot = FakeSlot("finish-0", tmp_path, (TaskKind.FINISH, TaskKind.CHECK))
    farm.put(lease_of("f", TaskKind.FINISH))
    start([slot])
    farm.wait_for(lambda: "f" in farm.results)
    farm.put(dataclasses.replace(lease_of("c", TaskKind.CHECK), scene=SceneId("other")))
    farm.wait_for(lambda: "c" in farm.results)
    asked = len(farm.requests)
    farm.put(lease_of("g", TaskKind.FINISH))
    farm.wait_for(lambda: "g" in farm.results and len(farm.requests) >= asked)
    assert {offer.warm_scene for one in farm.requests[1:] for offer in one.offers} == {"s" * 64}


def test_leases_are_renewed_with_progress(farm, slots, start):
    farm.put(lease_of("long"))
    start(slots)
    farm.wait_for(lambda: any(beat.progress.done >= 3 for beats in farm.beats for beat in beats))
    assert {(beat.task, beat.token) for beats in farm.beats for beat in beats} == {("long", 3)}


def test_leases_without_progress_are_renewed_three_times_in_their_life(farm, slots, start):
    for slot in slots:
        slot.progress = Progress
    farm.put(lease_of("long", expires_in=0.6))
    start(slots)
    farm.wait_for(lambda: len(farm.beats) >= 5)


def test_a_failure_is_given_back_and_the_slot_goes_on(farm, slots, start):
    farm.put(lease_of("crash"), lease_of("raise"), lease_of("nan"), lease_of("good"))
    start(slots)
    farm.wait_for(lambda: "good" in farm.results and len(farm.failures) == 3)
    assert farm.failures["crash"] == [(3, TaskFailure(FailureCode.CRASHED, "Blender fell over."))]
    assert farm.failures["raise"][0][1].code is FailureCode.NODE
    assert farm.failures["nan"][0][1].code is FailureCode.BAD_OUTPUT


def test_a_slot_without_its_device_rests(farm, slots, start):
    farm.put(lease_of("device"))
    start(slots[:1], rest=1000.0)
    farm.wait_for(lambda: farm.failures)
    asked = farm.calls["leases"]
    farm.put(lease_of("good"))
    with pytest.raises(AssertionError):
        farm.wait_for(lambda: "good" in farm.results, 0.5)
    assert farm.calls["leases"] == asked


def test_a_gpu_is_offered_when_its_kernels_are_there_and_says_so_meanwhile(farm, slots, start):
    gpu, _ = slots
    gpu.prepares, gpu.answers = True, [Prepared(sentence="Compiling the kernels for NVIDIA L4.")]
    start(slots)
    told = SlotTrouble("cpu-0", SlotState.STARTING, "Compiling the kernels for NVIDIA L4.")
    farm.wait_for(lambda: farm.troubles == (told,))
    farm.wait_for(lambda: farm.requests)
    assert {offer.slot for one in farm.requests for offer in one.offers} == {"cpu-1"}
    gpu.answers = []
    farm.wait_for(lambda: any(offer.slot == "cpu-0" for one in farm.requests for offer in one.offers))
    offer = next(offer for one in farm.requests for offer in one.offers if offer.slot == "cpu-0")
    assert (offer.device_class, offer.memory) == (NEXT_CLASS, 24 << 30)
    farm.wait_for(lambda: farm.troubles == ())


def test_a_gpu_whose_kernels_cannot_be_made_rests_and_is_tried_again(farm, slots, start):
    gpu = slots[0]
    gpu.prepares = True
    gpu.answers = [Prepared(sentence="The kernels cannot be made: no nvcc.", failed=True)]
    start(slots[:1])
    told = SlotTrouble("cpu-0", SlotState.RESTING, "The kernels cannot be made: no nvcc.")
    farm.wait_for(lambda: farm.troubles == (told,))
    assert not farm.requests
    gpu.answers = []
    farm.wait_for(lambda: farm.requests)
    assert gpu.doubts[0] == ""
    assert gpu.doubts[-1] == "It failed before."
    assert gpu.restarted == []


def test_after_a_crash_a_gpu_shows_that_it_still_renders(farm, slots, start):
    gpu = slots[0]
    gpu.prepares = True
    start(slots[:1])
    farm.wait_for(lambda: farm.requests)
    gpu.answers = [Prepared(sentence="The GPU is tried."), Prepared(sentence="ECC.", failed=True)]
    farm.put(lease_of("crash"))
    farm.wait_for(lambda: farm.troubles == (SlotTrouble("cpu-0", SlotState.RESTING, "ECC."),))
    assert "Blender fell over." in gpu.doubts
    asked = len(farm.requests)
    gpu.answers = []
    farm.wait_for(lambda: len(farm.requests) > asked)


def test_a_lost_lease_stops_its_render_and_submits_nothing(farm, slots, start):
    farm.put(lease_of("long"))
    start(slots[:1])
    assert slots[0].running.wait(10)
    farm.lost.add("long")
    farm.put(lease_of("next"))
    farm.wait_for(lambda: "next" in farm.results)
    assert slots[0].cancelled == ["long"]
    assert "long" not in farm.results
    assert not farm.failures


def test_a_late_submit_is_refused_and_forgotten(farm, slots, start):
    """The lease passed on while the node rendered, and no heartbeat told so in time."""
    farm.put(lease_of("t"))
    farm.lost.add("t")
    start(slots[:1], beat=1000.0)
    farm.put(lease_of("next"))
    farm.wait_for(lambda: "next" in farm.results)
    assert slots[0].wait_discarded("t")
    assert "t" not in farm.results


def test_work_goes_on_and_is_kept_while_the_coordinator_is_away(farm, slots, start):
    farm.put(lease_of("long"))
    agent = start(slots[:1])
    assert slots[0].running.wait(10)
    farm.away = True
    beats = farm.calls["heartbeat"]
    farm.wait_for(lambda: farm.calls["heartbeat"] >= beats + 2)
    slots[0].go_on.set()
    farm.wait_for(lambda: farm.calls["uploads"] >= 3)
    assert not farm.results
    farm.away = False
    farm.wait_for(lambda: "long" in farm.results)
    assert (slots[0].ran, slots[0].cancelled, agent.errors) == (["long"], [], [])


def test_uploads_are_repeated_while_the_store_is_away(farm, slots, start):
    farm.store_away = True
    farm.put(lease_of("t"), lease_of("u"))
    start(slots[:1], store_away=60.0)
    farm.wait_for(lambda: farm.calls["store PUT"] >= 4)
    assert slots[0].ran == ["t", "u"], "the slot goes on while its uploads wait"
    assert not farm.results
    farm.store_away = False
    farm.wait_for(lambda: len(farm.results) == 2)
    assert slots[0].ran == ["t", "u"]


def test_a_store_that_stays_away_gives_the_task_back(farm, slots, start):
    farm.store_away = True
    farm.put(lease_of("t"))
    start(slots[:1], store_away=0.3)
    farm.wait_for(lambda: farm.failures)
    assert farm.failures["t"][0][1].code is FailureCode.NODE
    assert "could not be delivered" in farm.failures["t"][0][1].message
    assert slots[0].wait_discarded("t")


def test_a_slot_does_not_pile_up_undelivered_work(farm, slots, start):
    farm.store_away = True
    farm.put(*(lease_of(f"t{number}") for number in range(8)))
    start(slots[:1], store_away=60.0)
    farm.wait_for(lambda: farm.calls["store PUT"] >= 12)
    assert len(slots[0].ran) == 4


def test_an_unknown_token_ends_the_node_with_the_reason(farm, slots, start):
    agent = start(slots, token="wrong")
    agent.thread.join(60)
    assert not agent.thread.is_alive()
    assert isinstance(agent.errors[0], Unauthorized)
    assert "does not know this token" in agent.errors[0].sentence


def test_draining_gives_back_what_is_unfinished(farm, slots, start):
    farm.put(lease_of("long"))
    agent = start(slots, wait=30.0)
    farm.wait_for(lambda: farm.beats)
    agent.stop()
    agent.thread.join(20)
    assert not agent.thread.is_alive(), "an open request for work must not hold the node up"
    assert [failure.message for _, failure in farm.failures["long"]] == ["The node is shutting down."]
    assert "long" in slots[0].cancelled + slots[1].cancelled


def test_a_lease_that_comes_while_draining_is_given_back(farm, slots, start):
    agent = start(slots[:1])
    farm.wait_for(lambda: farm.requests)
    agent._stop.set()
    farm.put(lease_of("t"))
    farm.wait_for(lambda: farm.failures["t"])
    assert slots[0].ran == []


def test_a_lease_for_a_slot_this_node_does_not_have_is_given_back(farm, slots, start):
    take = farm.take
    farm.take = lambda request: [dataclasses.replace(one, slot="gpu-9") for one in take(request)]
    farm.put(lease_of("t"))
    start(slots)
    farm.wait_for(lambda: farm.failures["t"])


def test_results_are_signed_and_their_receipts_kept(farm, slots, start, tmp_path):
    farm.put(lease_of("t"))
    start(slots)
    farm.wait_for(lambda: "t" in farm.results)
    assert slots[0].wait_discarded("t") if slots[0].ran else slots[1].wait_discarded("t")
    (line,) = map(json.loads, (tmp_path / "receipts.jsonl").read_text().splitlines())
    assert (line["attestation"]["task"], line["attestation"]["token"]) == ("t", 3)
    message = Attestation(**line["attestation"])
    require_signer(message, FARM, line["signature"], farm.address)
    require_signer(Submission(**line["submission"]), FARM, line["receipt_signature"], FARM)
    assert line["submission"]["attestation"] == digest(message, FARM).hex()


def test_a_wrong_receipt_is_not_believed_and_the_result_handed_in_again(farm, slots, start, tmp_path):
    """Once for another result, once signed by somebody else; then the right one."""
    other = Attestation("other", 3, "ab" * 32, "ab" * 32, CLASS, "b", 1)
    answers = [
        lambda answer: answer | {"receipt": receipt_of(other)},
        lambda answer: (
            answer | {"receipt": answer["receipt"] | {"signature": receipt_of(other)["signature"]}}
        ),
    ]
    farm.spoil = lambda answer: answers.pop(0)(answer) if answers else answer
    farm.put(lease_of("t"))
    start(slots[:1])
    farm.wait_for(lambda: "t" in farm.results)
    assert slots[0].wait_discarded("t")
    assert farm.calls["result"] == 3
    assert len((tmp_path / "receipts.jsonl").read_text().splitlines()) == 1
    assert not farm.failures


def test_a_farm_that_never_gives_a_receipt_gets_the_task_back(farm, slots, start):
    farm.spoil = lambda answer: {"state": "submitted", "receipt": None}
    farm.put(lease_of("t"))
    start(slots[:1])
    farm.wait_for(lambda: farm.failures)
    assert "no receipt" in farm.failures["t"][0][1].message
    assert farm.calls["result"] == 3


def test_a_lease_that_comes_again_with_other_pixels_is_not_signed_again(farm, slots, start):
    farm.put(lease_of("t"))
    start(slots[:1])
    farm.wait_for(lambda: "t" in farm.results)
    assert slots[0].wait_discarded("t")
    settle = slots[0].settle
    slots[0].settle = lambda lease, rendered: dataclasses.replace(
        settle(lease, rendered), pixel_root="ab" * 32
    )
    farm.put(lease_of("t"))
    farm.wait_for(lambda: farm.failures["t"])
    assert "taken for a cheat" in farm.failures["t"][0][1].message
    assert farm.calls["result"] == 1


def test_a_slot_that_does_not_answer_is_started_again_and_its_lease_not_renewed(farm, slots, start):
    start(slots[:1], silence=0.3)
    farm.put(lease_of("long"))
    slots[0].running.wait(10)
    slots[0].silent = True
    farm.wait_for(lambda: farm.failures["long"])
    assert farm.failures["long"][0][1].code is FailureCode.NODE
    assert "did not answer" in farm.failures["long"][0][1].message
    assert len(slots[0].restarted) == 1
    farm.put(lease_of("next"))
    farm.wait_for(lambda: "next" in farm.results)


def test_a_slot_that_answers_may_take_its_time(farm, slots, start):
    start(slots[:1], silence=0.3)
    farm.put(dataclasses.replace(lease_of("long"), expires_in=0.1))
    slots[0].running.wait(10)
    asked = slots[0].asked
    farm.wait_for(lambda: slots[0].asked > asked + 50)  # of one a fiftieth of a second
    assert not slots[0].restarted
    assert not farm.failures["long"]


def test_a_slot_that_cannot_be_had_is_not_offered_until_it_can(farm, slots, start):
    there = threading.Event()

    def describe():
        if not there.is_set():
            raise Unavailable("The cluster has no room for it.")
        return SlotInfo(CLASS, True)

    agent = start(slots[:1])
    slots[1].describe = describe
    agent.expect(slots[1])
    farm.put(lease_of("good-0"))
    farm.wait_for(lambda: "good-0" in farm.results)
    assert {offer.slot for one in farm.requests for offer in one.offers} == {"cpu-0"}
    farm.wait_for(lambda: any(one.slot == "cpu-1" for one in farm.troubles))
    assert farm.troubles[0].state is SlotState.UNREACHABLE
    assert farm.troubles[0].reason == "The cluster has no room for it."
    there.set()
    farm.wait_for(lambda: not farm.troubles)
    farm.wait_for(lambda: any(offer.slot == "cpu-1" for one in farm.requests for offer in one.offers))
