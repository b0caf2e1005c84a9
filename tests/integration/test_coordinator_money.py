# SPDX-License-Identifier: GPL-3.0-or-later
"""Paid jobs, offers, promises and releases at a coordinator: who may do what, and what is told to whom."""

import asyncio
import secrets
import threading
import time
from dataclasses import replace

import pytest

from farm_protocol import typed_data
from farm_protocol.fields import decode, encode
from farm_protocol.probes import Measure, ProbeReport
from farm_protocol.records import FailureCode, LeaseRequest, SlotOffer, TaskFailure, TaskKind, TaskResult
from payments.accounting import pricing
from payments.accounting.pricing import MICRO
from payments.messages import network, promises, signing
from payments.messages.promises import Offer, Release, Signed, Terms
from payments.messages.statements import JobMoney, Statement
from render_farm.coordinator.intake import JobOrder, JobSpec, plan
from render_farm.store.connection import Connection
from render_farm.store.identities import Repeat
from render_farm.store.jobs import Jobs
from render_farm.store.money import Money
from tests.support import paid_jobs, servers
from tests.support.coordinator_api import FACTS, Api, events
from tests.unit.test_coordinator_paying import NETWORK, PAYMENT

KEY = b"\x21" * 32
OPERATOR = typed_data.address_of(KEY)
CLASS = "cpu:money:bpy"
UNITS = 1_000_000
BUDGET = paid_jobs.PAYMENT.budget
STOPPED = TaskFailure(FailureCode.NODE, "stopped")


@pytest.fixture(scope="module")
def farm(tmp_path_factory, seaweed_server):
    """A coordinator with a chain's file, and its store."""
    folder = tmp_path_factory.mktemp("money")
    (folder / "chain.toml").write_text(network.text(NETWORK))
    options = ("--chain", str(folder / "chain.toml"), "--audit-floor", "0", "--beacon-period", "0.05")
    with (
        servers.valkey(folder / "valkey") as store,
        servers.coordinator(folder / "process", store.url, seaweed_server, *options) as running,
    ):
        yield running, store.url


class Market:
    """An artist, a stranger's node with its operator's key, an own node, and the store behind."""

    def __init__(self, coordinator, store_url):
        self.store_url = store_url
        self.admin = Api(coordinator.url, coordinator.admin_token)
        self.ann = self.admin.owner()
        self.node = self.admin.owner("bob").node("seller")
        self.own = self.admin.node("own", own=True)
        self.node.device = self.own.device = CLASS

    def store(self, doing):
        """Something done as the settler does it: `doing(money)`."""

        async def inside():
            connection = Connection(self.store_url)
            try:
                return await doing(Money(connection))
            finally:
                await connection.close()

        return asyncio.run(inside())

    def paid_job(self, frames=(1, 2), facts=FACTS):
        """A paid job, as it is once its quote was looked at."""
        scene = self.ann.scene()
        free = self.ann.ok("POST", "/jobs", {"spec": JobSpec(scene, frames, tiles="1x1"), "facts": FACTS})
        self.ann.ok("POST", f"/jobs/{free['job']}/cancel")
        order = JobOrder(JobSpec(scene, frames, tiles="1x1"), facts)
        new = paid_jobs.paid(plan(free["owner"], order, time.time()), UNITS)

        async def inside():
            connection = Connection(self.store_url)
            try:
                return await Jobs(connection).create(new, Repeat(new.owner, "", ""))
            finally:
                await connection.close()

        return asyncio.run(inside())

    def quote(self, spec):
        """A quote that is ready, from a probe that the own node made up."""
        asked = self.ann.ok("POST", "/quotes", {"spec": spec, "facts": FACTS})["quote"]
        lease = self.own.lease(kinds=(TaskKind.PROBE,))[0]
        small = Measure(spec.frames[0], 256, 0.3, 0.2, True, True)
        large = Measure(spec.frames[0], 1024, 0.9, 0.8, False, False)
        report = ProbeReport(MICRO, (small, large))
        result = replace(self.own.upload(lease, b"probe"), probe=report)
        assert self.own.submit(lease, result).status == 200
        made = self.ann.ok("GET", f"/quotes/{asked}?wait=10")
        assert made["state"] == "ready"
        return made

    def offer(self, **changes):
        """The node's offer, as its operator signs it."""
        plain = Offer(
            farm=self.node.farm,
            node=self.node.address,
            payee=OPERATOR,
            deviceClass=CLASS,
            price=10**15,
            capacity=1000,
            stakeShare=10_000,
            expiry=int(time.time()) + 3600,
            number=1,
        )
        message = replace(plain, **changes)
        return signing.signed(message, NETWORK, KEY)

    def sell(self):
        self.node.ok("POST", "/nodes/self/offer", self.offer())
        self.node.lease()

    def agree(self, job, units, agreement=None):
        """The settler takes the node's offer for a job."""
        agreement = agreement or secrets.token_hex(32)
        told = replace(paid_jobs.promise(job, agreement), offer=self.offer())
        self.store(lambda money: money.promise(job, self.node.id, told, units))
        return agreement

    def fund(self, job, funded=True):
        self.store(lambda money: money.set_funded(job, funded))

    def online(self, node):
        """Whether the node was heard of."""
        return any(one["online"] for one in self.admin.ok("GET", "/nodes")["nodes"] if one["node"] == node.id)

    def state(self, job):
        return self.ann.ok("GET", f"/jobs/{job}")["state"]


@pytest.fixture
def market(farm):
    """What earlier tests left is cancelled, so that nobody is given work of theirs."""
    made = Market(*farm)
    yield made
    for job in made.admin.ok("GET", "/jobs?unfinished=true")["jobs"]:
        made.admin.ok("POST", f"/jobs/{job['job']}/cancel")


def statement(job, settled=False):
    zero = dict.fromkeys(("paid", "owed", "refunded", "refundable", "compensated", "audits_amount"), 0)
    return Statement(
        job=job,
        number=1,
        state="complete",
        settled=settled,
        token=NETWORK.token,
        symbol="TEST",
        decimals=18,
        budget=10,
        deposit=10,
        audits=0,
        terms="00" * 32,
        **zero,
    )


# --- jobs ---------------------------------------------------------------------------------------


def test_the_farm_says_where_it_settles(market, coordinator_server):
    assert market.ann.ok("GET", "/farm")["network"]["market"] == NETWORK.market
    assert Api(coordinator_server.url, "").ok("GET", "/farm")["network"] is None


def test_a_farm_without_a_chain_takes_no_payment(coordinator_server):
    ann = Api(coordinator_server.url, coordinator_server.admin_token).owner()
    order = JobOrder(JobSpec(ann.scene(), (1,)), FACTS, PAYMENT)
    assert "--chain" in ann.refused(409, "no_chain", "POST", "/jobs", order)


def test_a_payment_needs_a_quote(market):
    order = JobOrder(JobSpec(market.ann.scene(), (1,)), FACTS, PAYMENT)
    market.ann.refused(404, "not_found", "POST", "/jobs", order)
    wrong = encode(order).replace(b'"budget":40', b'"budget":-4')
    market.ann.refused(422, "invalid_input", "POST", "/jobs", wrong)


def test_a_job_is_paid_for_as_its_quote_says(market):
    spec = JobSpec(market.ann.scene(), (1, 2), tiles="2x1")
    quote = market.quote(spec)
    cap = 10**12
    needed = pricing.reward(quote["units"]["p50"], cap)
    payment = replace(PAYMENT, quote=quote["quote"], budget=needed, price_cap=cap)
    order = JobOrder(spec, FACTS, payment)
    poor = replace(order, payment=replace(payment, budget=needed - 1))
    assert str(needed) in market.ann.refused(422, "below_quote", "POST", "/jobs", poor)
    larger = replace(order, facts=replace(FACTS, resolution_x=6400))
    market.ann.refused(422, "no_quote", "POST", "/jobs", larger)
    market.admin.owner("eve").refused(409, "conflict", "POST", "/jobs", order)
    job = market.ann.ok("POST", "/jobs", order, Idempotency_Key="once")
    assert (job["state"], job["money"]["budget"]) == ("awaiting_funds", needed)
    assert market.ann.ok("POST", "/jobs", order, Idempotency_Key="once")["job"] == job["job"]
    signed = decode(encode(market.ann.ok("GET", f"/jobs/{job['job']}/terms")["terms"]), Signed[Terms])
    signing.require_signer(signed.message, NETWORK, signed.signature, market.node.farm)
    assert promises.job_name(job["job"]) == signed.message.name
    market.fund(job["job"])
    leases = market.own.lease(slots=4)
    assert sum(one["units"] for one in leases) == sum(quote["frame_units"])


def test_the_rules_of_a_paid_job_are_those_it_was_made_with(market):
    job = market.paid_job()
    told = market.ann.ok("GET", f"/jobs/{job}/verification")["farm"]
    now = market.ann.ok("GET", "/farm")
    assert told["rates"]["halving"] == paid_jobs.RULES.rates.halving != now["rates"]["halving"]


def test_a_quote_without_figures_pays_for_nothing(market):
    spec = JobSpec(market.ann.scene(), (1,), tiles="1x1")
    asked = market.ann.ok("POST", "/quotes", {"spec": spec, "facts": FACTS})
    order = JobOrder(spec, FACTS, replace(PAYMENT, quote=asked["quote"]))
    market.ann.refused(422, "no_quote", "POST", "/jobs", order)
    market.ann.ok("POST", f"/jobs/{asked['quote']}/cancel")


def test_nothing_of_a_paid_job_is_rendered_before_its_deposit(market):
    job = market.paid_job()
    assert market.state(job) == "awaiting_funds"
    assert market.own.lease() == []
    told = market.ann.ok("GET", f"/jobs/{job}")["money"]
    assert (told["budget"], told["deposited"], told["symbol"]) == (BUDGET, 0, "TEST")
    market.ann.ok("POST", f"/jobs/{job}/pause")
    assert market.state(job) == "awaiting_funds"
    market.ann.ok("POST", f"/jobs/{job}/resume")
    market.fund(job)
    assert market.state(job) == "rendering"
    assert [one["units"] for one in market.own.lease()] == [UNITS]


def test_a_deposit_wakes_who_waits_for_work(market):
    job = market.paid_job()
    found = []
    asking = threading.Thread(target=lambda: found.extend(market.own.lease(wait=20.0)))
    asking.start()
    while not market.online(market.own):
        assert asking.is_alive()
    market.fund(job)
    asking.join(4.0)
    assert [one["task"]["job"] for one in found] == [job], "sooner than who waits looks again by itself"


def test_who_sells_works_under_an_agreement_and_only_as_far_as_it_goes(market):
    market.sell()
    job = market.paid_job(frames=(1, 2, 3))
    market.fund(job)
    assert market.node.lease(slots=3) == []
    agreement = market.agree(job, 2 * UNITS + 1)
    leases = market.node.lease(slots=3)
    assert [(one["agreement"], one["units"]) for one in leases] == [
        (agreement, UNITS),
        (agreement, UNITS + 1),
    ]
    assert market.node.lease() == []
    lease = leases[0]
    market.node.ok("POST", f"/leases/{lease['task']['id']}/failure?token={lease['token']}", STOPPED)
    order = market.store(lambda money: money.order(job, market.node.id))
    assert (order.units_used, order.units_cap) == (UNITS + 1, 2 * UNITS + 1)


def test_a_node_that_refuses_a_job_gets_nothing_of_it(market):
    market.sell()
    job = market.paid_job()
    market.fund(job)
    market.agree(job, 9 * UNITS)
    offers = (SlotOffer("s", (TaskKind.RENDER, TaskKind.AUDIT), CLASS),)
    wish = LeaseRequest(offers, 0.0, True, refuses=(job,))
    assert market.node.ok("POST", "/leases", wish)["leases"] == []
    assert market.node.ok("POST", "/leases", replace(wish, refuses=()))["leases"]


def test_who_sells_does_nothing_for_free_until_it_sells_no_longer(market):
    market.sell()
    job = market.ann.job()
    assert market.node.lease() == []
    market.node.call("DELETE", "/nodes/self/offer")
    assert [one["task"]["job"] for one in market.node.lease()] == [job]
    market.ann.ok("POST", f"/jobs/{job}/cancel")


def test_a_job_that_is_set_aside_says_why(market):
    job = market.paid_job()
    market.fund(job)
    lease = market.own.lease()[0]
    market.store(lambda money: money.hold(job, "3 TEST are missing"))
    found = market.ann.ok("GET", f"/jobs/{job}")
    assert (found["state"], found["money"]["notice"]) == ("paused", "3 TEST are missing")
    market.own.do(lease)
    assert market.own.lease() == []
    market.store(lambda money: money.unhold(job))
    assert market.own.work() == 3
    assert market.state(job) == "complete"
    with events(market.ann, job) as stream:
        told = [one["data"]["notice"] for one in stream if one["event"] == "money"]
    assert told == ["3 TEST are missing", ""]


def test_terms_and_statements_are_the_owners(market):
    job = market.paid_job()
    told = market.ann.ok("GET", f"/jobs/{job}/terms")
    assert told["network"]["chain_id"] == NETWORK.chain_id
    assert told["terms"]["message"]["sessionKey"] == paid_jobs.TERMS.sessionKey
    market.ann.refused(409, "conflict", "GET", f"/jobs/{job}/statement")
    shown = replace(JobMoney(10, symbol="TEST"), deposited=10, refundable=10)
    market.store(lambda money: money.show(job, shown, statement(job), False))
    assert market.ann.ok("GET", f"/jobs/{job}/statement")["deposit"] == 10
    assert market.ann.ok("GET", f"/jobs/{job}")["money"]["deposited"] == 10
    with events(market.ann, job) as stream:
        moved = next(one["data"] for one in stream if one["event"] == "money")
    assert (moved["notice"], moved["money"]["deposited"]) == ("", 10)
    eve = market.admin.owner("eve")
    for path in ("terms", "statement"):
        eve.refused(404, "not_found", "GET", f"/jobs/{job}/{path}")
        market.node.refused(403, "forbidden", "GET", f"/jobs/{job}/{path}")


def test_a_free_job_has_no_money(market):
    job = market.ann.job()
    assert market.ann.ok("GET", f"/jobs/{job}")["money"] is None
    market.ann.refused(409, "conflict", "GET", f"/jobs/{job}/terms")
    market.ann.refused(409, "conflict", "GET", f"/jobs/{job}/statement")
    market.ann.ok("POST", f"/jobs/{job}/cancel")


def test_a_complete_job_is_settled_once_its_money_is_where_it_belongs(market):
    job = market.paid_job(frames=(1,))
    market.fund(job)
    assert market.own.work() == 2
    assert market.state(job) == "complete"
    assert job in market.store(lambda money: money.paid_jobs())
    market.store(lambda money: money.show(job, JobMoney(10), statement(job, True), True))
    assert market.state(job) == "settled"
    assert job not in market.store(lambda money: money.paid_jobs())
    assert market.ann.ok("POST", f"/jobs/{job}/cancel")["state"] == "settled"
    kinds = [one["kind"] for one in market.store(lambda money: money.entries(job))]
    assert kinds == ["accepted", "settled"]


def test_what_is_accepted_of_a_cancelled_job_is_in_its_books(market):
    job = market.paid_job(frames=(1, 2))
    market.fund(job)
    first, second = market.own.lease(slots=2)
    market.own.do(first)
    market.ann.ok("POST", f"/jobs/{job}/cancel")
    entries = market.store(lambda money: money.entries(job))
    assert [(one["kind"], one.get("task"), one["frame"]) for one in entries] == [
        ("accepted", first["task"]["id"], first["task"]["frame"]),
        ("settled", None, 1),
        ("settled", None, 2),
    ]
    assert market.store(lambda money: money.job(job)).units_left == 0
    path = f"/leases/{second['task']['id']}/failure?token={second['token']}"
    market.own.refused(409, "stale_lease", "POST", path, STOPPED)


def test_a_broken_job_settles_every_frame_for_good(market):
    """A second picture for a tile that was accepted takes nothing back once the books are closed."""
    job = market.paid_job(frames=(1, 2, 3, 4))
    market.fund(job)
    other = market.admin.node("own too", own=True)
    other.device = CLASS
    *broken, last = market.own.lease(slots=4, kinds=(TaskKind.RENDER,))
    market.own.do(last)
    failure = TaskFailure(FailureCode.CRASHED, "it cannot be rendered")
    for node, after in ((market.own, other), (other, market.own), (market.own, other)):
        for lease in broken:
            node.ok("POST", f"/leases/{lease['task']['id']}/failure?token={lease['token']}", failure)
        broken = after.lease(slots=4, kinds=(TaskKind.RENDER,))
    assert market.state(job) == "failed"
    again = market.own.submit(last, replace(accepted(market, last), pixel_root="77" * 32))
    assert (again.status, again.body["code"]) == (409, "equivocation")
    assert market.state(job) == "failed"
    entries = market.store(lambda money: money.entries(job))
    kinds = [(one["kind"], one.get("frame")) for one in entries]
    assert kinds[0] == ("accepted", 4)
    assert sorted(kinds[1:5]) == [("settled", frame) for frame in (1, 2, 3, 4)]
    assert [(one["kind"], one["code"]) for one in entries[5:]] == [("rejected", "equivocation")]


def test_frames_that_own_nodes_write_whole_are_in_the_books_too(market):
    job = market.paid_job(frames=(1,), facts=replace(FACTS, final_only=("EEVEE.",)))
    market.fund(job)
    lease = market.own.lease()[0]
    assert (lease["task"]["output"], lease["units"]) == ("final", UNITS)
    result = market.own.upload(lease, b"a frame", "frame.png")
    assert market.own.submit(lease, result).status == 200
    first, second = market.store(lambda money: money.entries(job))
    assert (first["kind"], first["root"], first["units"]) == ("accepted", result.pixel_root, UNITS)
    assert (second["kind"], second["frame"]) == ("settled", 1)


def accepted(market, lease):
    """The result that a lease's task was accepted with."""

    async def inside():
        connection = Connection(market.store_url)
        found = await connection.do("HGET", f"farm:task:{lease['task']['id']}", "result")
        await connection.close()
        return decode(found, TaskResult)

    return asyncio.run(inside())


# --- offers -------------------------------------------------------------------------------------


def test_an_offer_stands_as_its_operator_signed_it(market):
    signed = market.offer()
    digest = market.node.ok("POST", "/nodes/self/offer", signed)["offer"]
    assert digest == signing.struct_hash(signed.message).hex()
    market.node.lease()
    found = market.store(lambda money: money.offers(time.time() - 30))
    mine = next(one for one in found if one.node == market.node.id)
    assert (mine.seller, mine.offer, mine.digest, mine.own) == (OPERATOR, signed, digest, False)
    assert mine.device_class == CLASS
    assert market.store(lambda money: money.offers(time.time() + 9)) == []
    assert market.node.call("DELETE", "/nodes/self/offer").status == 204
    assert mine.node not in {one.node for one in market.store(lambda money: money.offers(0.0))}


@pytest.mark.parametrize(
    "wrong",
    [
        {"node": "0x" + "99" * 20},
        {"farm": "0x" + "99" * 20},
        {"expiry": 1},
        {"expiry": 2**40},
        {"price": 0},
        {"capacity": 0},
        {"payee": "0x" + "00" * 20},
        {"deviceClass": "cpu\x1b[2J"},
    ],
)
def test_offers_that_cannot_be_are_refused(market, wrong):
    market.node.refused(422, "invalid_input", "POST", "/nodes/self/offer", market.offer(**wrong))


def test_an_offer_with_the_other_form_of_its_signature_is_refused(market):
    signed = market.offer()
    raw = bytes.fromhex(signed.signature[2:])
    order = typed_data.ORDER
    other = raw[:32] + (order - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
    forged = "0x" + (other + bytes([55 - raw[64]])).hex()
    body = Signed(signed.message, forged)
    market.node.refused(403, "bad_signature", "POST", "/nodes/self/offer", body)
    market.ann.refused(403, "forbidden", "POST", "/nodes/self/offer", signed)


# --- promises and releases ----------------------------------------------------------------------


def voucher(promise, cumulative):
    told = paid_jobs.promise(promise.job, promise.agreement, cumulative)
    return replace(promise, voucher=told.voucher)


def test_a_node_hears_of_promises_at_once_and_of_each_once(market):
    job = market.paid_job()
    first = market.node.ok("GET", "/nodes/self/promises")
    assert first == {"promises": [], "last": "0"}
    agreement = secrets.token_hex(32)
    plain = paid_jobs.promise(job, agreement)
    found = []
    asking = threading.Thread(
        target=lambda: found.append(market.node.ok("GET", "/nodes/self/promises?after=0&wait=20"))
    )
    asking.start()
    market.store(lambda money: money.promise(job, market.node.id, plain, UNITS))
    asking.join(4.0)
    assert [one["agreement"] for one in found[0]["promises"]] == [agreement]
    for _ in range(2):
        market.store(lambda money: money.promise(job, market.node.id, voucher(plain, 7), UNITS))
    rest = market.node.ok("GET", f"/nodes/self/promises?after={found[0]['last']}")["promises"]
    assert [one["voucher"]["message"]["cumulative"] for one in rest] == [7], (
        "the same again is not told again"
    )
    everything = market.node.ok("GET", "/nodes/self/promises")["promises"]
    assert everything[0] == found[0]["promises"][0]
    assert market.own.ok("GET", "/nodes/self/promises")["promises"] == []


@pytest.mark.parametrize("query", ["after=x", "after=1-", "wait=31", "wait=-1", "after=" + "1" * 30])
def test_promises_are_asked_for_as_they_were_told(market, query):
    market.node.refused(422, "invalid_input", "GET", f"/nodes/self/promises?{query}")


def test_only_the_operator_releases_an_agreement(market):
    job = market.paid_job()
    agreement = market.agree(job, UNITS)
    message = Release(agreement, 5)
    signed = signing.signed(message, NETWORK, KEY)
    by_other = replace(signed, signature=signing.sign(message, NETWORK, b"\x09" * 32))
    market.node.refused(422, "invalid_input", "POST", "/nodes/self/releases", by_other)
    unknown = replace(signed, message=Release("ee" * 32, 5))
    market.node.refused(404, "not_found", "POST", "/nodes/self/releases", unknown)
    market.own.refused(404, "not_found", "POST", "/nodes/self/releases", signed)
    market.node.ok("POST", "/nodes/self/releases", signed)
    assert market.store(lambda money: money.releases(job)) == {agreement: signed}


# --- the books ----------------------------------------------------------------------------------


def test_an_agreement_that_was_replaced_keeps_its_vouchers_but_not_the_work(market):
    job = market.paid_job()
    market.sell()
    market.fund(job)
    old = market.agree(job, UNITS)
    lease = market.node.lease()[0]
    new = market.agree(job, 5 * UNITS)
    told = market.store(lambda money: money.agreement(old)).promise
    market.store(lambda money: money.promise(job, market.node.id, voucher(told, 3), UNITS))
    found = {one.agreement: one for one in market.store(lambda money: money.orders(job))}
    assert (found[old].current, found[new].current) == (False, True)
    assert found[old].promise.voucher.message.cumulative == 3
    assert found[new].units_used == 0, "the lease uses the old one's"
    assert lease["agreement"] == old
    assert market.node.lease()[0]["agreement"] == new
    market.node.ok("POST", f"/leases/{lease['task']['id']}/failure?token={lease['token']}", STOPPED)
    assert market.store(lambda money: money.order(job, market.node.id)).units_used == UNITS + 1


def test_the_chain_is_taken_in_once_however_many_read_it(market):
    job = market.paid_job()

    async def read_twice(money):
        before = await money.cursor()
        entries = {job: [{"kind": "funded", "amount": 10**20}]}
        first = await money.record_chain("7:1", entries, before=before)
        second = await money.record_chain("7:1", entries, before=before)
        return first, second, await money.cursor(), await money.chain_entries(job)

    found = market.store(read_twice)
    assert found == (True, False, "7:1", [{"kind": "funded", "amount": 10**20}])


def test_one_process_keeps_the_books(market):
    async def two(money):
        return [
            await money.hold_lock("first", 5.0),
            await money.hold_lock("second", 5.0),
            await money.hold_lock("first", 0.05),
            await asyncio.sleep(0.1),
            await money.hold_lock("second", 5.0),
            await money.hold_lock("first", 5.0),
            await money.let_go("first"),
            await money.hold_lock("first", 5.0),
            await money.let_go("second"),
            await money.hold_lock("first", 5.0),
            await money.let_go("first"),
        ]

    assert market.store(two) == [True, False, True, None, True, False, None, False, None, True, None]


def test_who_keeps_the_books_hears_of_changes(market):
    async def inside(money):
        last = await money.changed("", 0.0)
        assert await money.changed(last, 0.05) == last
        market.ann.ok("GET", "/jobs")
        waiting = asyncio.create_task(money.changed(last, 10.0))
        await asyncio.to_thread(market.node.ok, "POST", "/nodes/self/offer", market.offer())
        return last != await asyncio.wait_for(waiting, 5.0)

    assert market.store(inside)


def test_units_are_kept_to_the_last_one(market):
    """The scripts' own JSON keeps fourteen digits of a number."""
    scene, many = market.ann.scene(), (1 << 53) - 7
    order = JobOrder(JobSpec(scene, (1,), tiles="1x1"), FACTS)
    new = paid_jobs.paid(plan("nobody", order, time.time()), many)

    async def inside(money):
        connection = Connection(market.store_url)
        await Jobs(connection).create(new, Repeat("nobody", "", ""))
        await money.set_funded(new.job, True)
        await connection.close()

    market.store(inside)
    assert market.store(lambda money: money.job(new.job)).units_left == many
    assert market.store(lambda money: money.frame_units(new.job)) == {1: many}
    lease = market.own.lease()[0]
    assert lease["units"] == many
    market.own.do(lease)
    assert market.store(lambda money: money.entries(new.job))[0]["units"] == many
