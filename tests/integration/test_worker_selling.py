# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that sells: which leases it works on, when it stops, and what is in its folder whenever it dies."""

import queue
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from farm_protocol import typed_data
from farm_protocol.errors import Unavailable
from farm_protocol.fields import Tile
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import FailureCode, Lease, RenderSettings, Task, TaskFailure, TaskKind
from gpu_worker.agent.agent import Agent
from gpu_worker.agent.records import Bench, Pace
from gpu_worker.earnings import selling as sellings
from gpu_worker.earnings.agreements import Seller
from gpu_worker.earnings.claims import as_unpaid
from gpu_worker.earnings.earnings_journal import EarningsJournal
from gpu_worker.earnings.selling import Operator, Selling
from gpu_worker.farm.coordinator import Coordinator
from gpu_worker.farm.identity import load_identity
from gpu_worker.farm.result_signer import Notary
from payments.messages import accepted_tree, signing
from payments.messages.promises import Credit, Order, Promise, Promises, Voucher
from tests.support import settling
from tests.support.settling import NETWORK, OPERATOR, OPERATOR_KEY, PRICE
from verification.protocol.attestation import require_signer

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
sys.path.insert(0, str(Path(__file__).parent))
from fake_coordinator import FARM, KEY, TOKEN, FakeCoordinator
from test_worker_agent import FakeSlot

JOB = JobId("job1")
SESSION = bytes([4]) * 32
NOW = 1_999_000_000.0
WHOLE = Tile(0, 0, 8, 8)
SETTINGS = RenderSettings(4, 0, 100, "PNG")


class Desk:
    """The farm's side of the money: gives out what a test puts in."""

    def __init__(self):
        self.ready = queue.Queue()
        self.offers = []
        self.number = 0

    def network(self):
        return NETWORK

    def offer(self, offer):
        self.offers.append(offer)
        return signing.struct_hash(offer.message).hex()

    def withdraw_offer(self):
        pass

    def release(self, release):
        pass

    def promises(self, after, wait):
        found = self.ready.get()
        if found is None:
            raise Unavailable("over")
        self.number += 1
        return Promises((found,), f"{self.number}-0")


def order_for(offer, claim_tasks=2):
    """The farm takes the node's offer."""
    plain = settling.terms(JOB).message
    said = replace(plain, farm=FARM, sessionKey=typed_data.address_of(SESSION), arbiters=(FARM,))
    terms = signing.signed(said, NETWORK, KEY)
    order = Order(1, settling.digest(offer), 10 * PRICE, PRICE, claim_tasks, 0)
    signed = signing.signed(order, NETWORK, SESSION)
    return Promise(JOB, signing.agreement_id(order, NETWORK), terms, offer, signed)


def vouched(promise, credited, new):
    root, total = accepted_tree.root(credited)
    said = Voucher(promise.agreement, total, root)
    return replace(promise, voucher=signing.signed(said, NETWORK, SESSION), credits=tuple(new))


def lease_of(number, agreement):
    task = Task(TaskId(f"{JOB}.f{number}"), JOB, TaskKind.RENDER, number, WHOLE)
    scene, owner = SceneId("s" * 64), OwnerId("o")
    plain = Lease(task, LeaseToken(3), "", 30.0, scene, owner, SETTINGS, 8, 8, WHOLE, WHOLE)
    return replace(plain, agreement=agreement, units=1_000_000)


@pytest.fixture
def farm():
    farm = FakeCoordinator()
    yield farm
    farm.close()


@pytest.fixture
def node(farm, tmp_path, monkeypatch):
    """An agent that sells, with its folder, and what it hears from."""
    monkeypatch.setattr(sellings, "PROMISE_SECONDS", 0.2)
    identity = load_identity(tmp_path)
    farm.address = identity.address
    desk, journal = Desk(), EarningsJournal(tmp_path, lambda: NOW)
    operator = Operator(OPERATOR_KEY, OPERATOR, OPERATOR, PRICE, 1000, 30.0, NETWORK)
    device = DeviceClass("cpu:test")
    selling = Selling(desk, operator, journal, identity.address, FARM, device, lambda: NOW, own=False)
    slot = FakeSlot("cpu-0", tmp_path)
    notary = Notary(identity, FARM, tmp_path, selling)
    pace = Pace(wait=0.2, beat=0.02, retry=0.1, rest=0.1, store_away=0.5, drain=2.0)
    agent = Agent(
        Coordinator(farm.url, TOKEN, tries=2), [Bench(slot, slot.describe())], notary, pace, selling
    )
    selling.start()
    thread = threading.Thread(target=agent.run)
    thread.start()
    yield farm, desk, slot, journal
    selling.stop()
    agent.stop()
    desk.ready.put(None)
    thread.join(20)
    assert not thread.is_alive()


def test_paid_work_is_done_under_promises_up_to_what_can_be_claimed(node, tmp_path):
    farm, desk, slot, _ = node
    promise = order_for(desk.offers[0])
    desk.ready.put(promise)
    farm.put(lease_of(1, promise.agreement), lease_of(2, promise.agreement))
    farm.wait_for(lambda: len(farm.results) == 2 and farm.requests[-1].refuses == (JOB,))

    kept = EarningsJournal(tmp_path).jobs[JOB]
    assert [work.amount for work in kept.unpaid(promise.agreement)] == [PRICE, PRICE]
    one = as_unpaid(kept.unpaid(promise.agreement)[0])
    (work,) = (work for work in kept.work.values() if work.attestation.task == one.attestation.task)
    require_signer(work.attestation, FARM, one.node_signature, farm.address)
    require_signer(work.submission, FARM, one.farm_signature, FARM)

    paid = [Credit(work.attestation.task, work.attestation.pixelRoot, PRICE) for work in kept.work.values()]
    desk.ready.put(vouched(promise, paid, paid))
    farm.wait_for(lambda: farm.requests[-1].refuses == ())
    farm.put(lease_of(3, promise.agreement))
    farm.wait_for(lambda: len(farm.results) == 3)
    assert len(slot.ran) == 3


@pytest.mark.parametrize("agreement", ["", "ab" * 32], ids=["for nothing", "that was never promised"])
def test_a_lease_under_no_agreement_is_given_back_unrendered(node, agreement):
    farm, _, slot, _ = node
    farm.put(lease_of(1, agreement))
    farm.wait_for(lambda: farm.failures)
    (_, failure), *_ = farm.failures["job1.f1"]
    assert isinstance(failure, TaskFailure)
    assert failure.code is FailureCode.NODE
    assert slot.ran == []


def test_a_lease_that_is_worth_more_than_its_agreement_pays_is_given_back(node):
    farm, desk, slot, _ = node
    promise = order_for(desk.offers[0])
    desk.ready.put(promise)
    farm.put(replace(lease_of(1, promise.agreement), units=1_000_001))
    farm.wait_for(lambda: farm.failures)
    assert "more than its agreement" in farm.failures["job1.f1"][0][1].message
    assert slot.ran == []


# --- killed at any moment ---------------------------------------------------------------------------

KEEPER = """
import sys
from pathlib import Path
from test_worker_selling import keep
keep(Path(sys.argv[1]))
"""


def offered():
    return settling.offer(farm=FARM, price=PRICE)


def steps():
    """What a node hears, one after the other."""
    promise = order_for(offered())
    credited = [Credit(f"{JOB}.f{number}", "ab" * 32, PRICE // 100) for number in range(200)]
    yield promise
    for number in range(1, len(credited)):
        yield vouched(promise, credited[:number], credited[number - 1 : number])


def keep(folder):
    """Take promises without end, and say each that is kept."""
    journal = EarningsJournal(folder, lambda: NOW)
    seller = Seller(NETWORK, FARM, OPERATOR, {settling.digest(offered()): offered()})
    for promise in steps():
        held = journal.take(promise, seller)
        print(held.vouched, flush=True)


def test_what_a_node_held_when_it_was_killed_it_holds_afterwards(tmp_path):
    here = Path(__file__)
    path = [str(here.parents[2]), str(here.parent)]
    code = f"import sys; sys.path[:0] = {path!r}\n{KEEPER}"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    said = [int(child.stdout.readline()) for _ in range(40)]
    child.kill()
    said += [int(line) for line in child.communicate()[0].splitlines() if line]
    kept = EarningsJournal(tmp_path).jobs[JOB].agreements[order_for(offered()).agreement]
    assert kept.vouched >= said[-1] > 0
    root = accepted_tree.root(kept.credits)
    assert root == (kept.promise.voucher.message.acceptedRoot, kept.vouched)


def test_a_folder_cut_off_at_any_byte_is_one_that_was_kept(tmp_path):
    journal = EarningsJournal(tmp_path, lambda: NOW)
    seller = Seller(NETWORK, FARM, OPERATOR, {settling.digest(offered()): offered()})
    held = [journal.take(promise, seller) for promise in islice(steps(), 4)]
    path = tmp_path / "money" / JOB / "promises.jsonl"
    whole = path.read_bytes()
    for cut in range(0, len(whole), 61):
        path.write_bytes(whole[:cut])
        found = list(EarningsJournal(tmp_path).jobs[JOB].agreements.values())
        assert found == held[whole[:cut].count(b"\n") - 1 :][:1] if b"\n" in whole[:cut] else found == []
