# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node believes of a farm's promises, what it keeps of them, and when it stops working."""

import threading
from dataclasses import replace

import pytest

from farm_protocol import typed_data
from farm_protocol.documents import Attestation, Submission
from farm_protocol.errors import InvalidInput, Unavailable
from farm_protocol.fields import Tile
from farm_protocol.ids import DeviceClass, JobId, LeaseToken, OwnerId, SceneId, TaskId
from farm_protocol.records import Lease, RenderSettings, Task, TaskKind
from gpu_worker.earnings import earnings_journal
from gpu_worker.earnings.agreements import BadPromise, Seller, believed
from gpu_worker.earnings.earnings_journal import EarningsJournal, Work
from gpu_worker.earnings.funding_verifier import FundingVerifier
from gpu_worker.earnings.selling import Operator, OtherNetwork, Selling, check_network, stop_selling
from payments.messages import accepted_tree, signing
from payments.messages.promises import Credit, Offer, Order, Promise, Promises, Raise, Signed, Voucher
from payments.messages.session import session_key
from tests.support import settling
from tests.support.settling import FARM, NETWORK, OPERATOR, OPERATOR_KEY, PRICE

JOB = JobId("job1")
SESSION = session_key(settling.FARM_KEY, JOB)
OTHER_KEY = bytes([5]) * 32
NOW = 1_999_000_000.0
CAP = 4 * PRICE
TILE = Tile(0, 0, 8, 8)
SETTINGS = RenderSettings(1, 0, 100, "PNG")


def order(offer=None, key=SESSION, **changes):
    said = Order(7, settling.digest(offer or settling.offer()), CAP, PRICE, 3, 0)
    said = replace(said, **changes)
    return signing.signed(said, NETWORK, key)


def promise(terms=None, offer=None, signed=None, **changes):
    offer = offer or settling.offer()
    signed = signed or order(offer)
    agreement = signing.agreement_id(signed.message, NETWORK)
    return replace(Promise(JOB, agreement, terms or settling.terms(JOB), offer, signed), **changes)


def credits_of(*numbers, job=JOB, amount=PRICE):
    return tuple(Credit(f"{job}.f{number}", "ab" * 32, amount) for number in numbers)


def voucher(credited, agreement=None, key=SESSION, **changes):
    root, total = accepted_tree.root(credited)
    said = replace(Voucher(agreement or promise().agreement, total, root), **changes)
    return signing.signed(said, NETWORK, key)


def raised(cap, key=SESSION, agreement=None):
    said = Raise(agreement or promise().agreement, cap)
    return signing.signed(said, NETWORK, key)


def seller(offer=None):
    offer = offer or settling.offer()
    return Seller(NETWORK, FARM, OPERATOR, {settling.digest(offer): offer})


def take(*promises, of=None):
    held = None
    for one in promises:
        held = believed(one, held, of or seller(), NOW)
    return held


def test_promises_that_add_up_are_believed():
    first = credits_of(1, 2)
    held = take(
        promise(),
        promise(voucher=voucher(first), credits=first),
        promise(voucher=voucher(first), credits=first),
        promise(voucher=voucher(first), cap_raise=raised(2 * CAP)),
        promise(voucher=voucher(credits_of(1, 2, 3)), credits=credits_of(3), cap_raise=raised(2 * CAP)),
        promise(voucher=voucher(credits_of(1, 2, 3)), cap_raise=raised(2 * CAP), ended=True),
    )
    assert (held.cap, held.vouched, held.promise.ended) == (2 * CAP, 3 * PRICE, True)
    assert held.credited == {"job1.f1", "job1.f2", "job1.f3"}
    assert held.earns(500_000) == PRICE // 2


def malleated(signed):
    raw = bytes.fromhex(signed.signature[2:])
    high = typed_data.ORDER - int.from_bytes(raw[32:64], "big")
    flipped = raw[:32] + high.to_bytes(32, "big") + bytes([55 - raw[64]])
    return replace(signed, signature="0x" + flipped.hex())


def farms(key):
    address = typed_data.address_of(key)
    said = replace(settling.terms(JOB).message, farm=address)
    return replace(settling.terms(JOB), message=said, signature=signing.sign(said, NETWORK, key))


CHEAP = settling.offer(price=3 * PRICE)
BAD_BEGINNINGS = {
    "another farm's terms": lambda: promise(terms=farms(OTHER_KEY)),
    "terms that the farm did not sign": lambda: promise(
        terms=replace(settling.terms(JOB), signature=farms(OTHER_KEY).signature)
    ),
    "another job's terms": lambda: promise(terms=settling.terms("job2")),
    "a deadline in a moment": lambda: promise(terms=settling.terms(JOB, deadline=int(NOW) + 60)),
    "a deadline in a thousand days": lambda: promise(
        terms=settling.terms(JOB, deadline=int(NOW) + 86_400_000)
    ),
    "nobody to decide": lambda: promise(terms=settling.terms(JOB, arbiters=())),
    "more than all to decide": lambda: promise(terms=settling.terms(JOB, threshold=2)),
    "no threshold": lambda: promise(terms=settling.terms(JOB, threshold=0)),
    "an offer never made": lambda: promise(offer=settling.offer(number=9)),
    "an offer by another": lambda: promise(
        offer=replace(settling.offer(), signature=settling.offer(key=OTHER_KEY).signature)
    ),
    "a job that pays less": lambda: promise(terms=settling.terms(JOB, priceCap=PRICE - 1)),
    "more stake than offered": lambda: promise(terms=settling.terms(JOB, stakeShare=2_000_000)),
    "another agreement's id": lambda: promise(agreement="ab" * 32),
    "an order signed by another": lambda: promise(signed=order(key=OTHER_KEY)),
    "a malleated order": lambda: promise(signed=malleated(order())),
    "an order that pays nothing for a task": lambda: promise(signed=order(taskCap=0)),
    "an order without claims": lambda: promise(signed=order(claimTasks=0)),
    "an order over nothing": lambda: promise(signed=order(cap=0)),
}


@pytest.mark.parametrize("bad", BAD_BEGINNINGS)
def test_no_agreement_begins_with(bad):
    with pytest.raises(BadPromise):
        take(BAD_BEGINNINGS[bad]())


def test_an_offer_that_asks_more_than_the_job_pays_is_not_taken():
    with pytest.raises(BadPromise, match="pays less"):
        take(promise(offer=CHEAP, signed=order(CHEAP)), of=seller(CHEAP))


ONE, TWO = credits_of(1), credits_of(1, 2)
BAD_NEWS = {
    "a voucher signed by another": lambda: promise(
        voucher=voucher(TWO, key=OTHER_KEY), credits=credits_of(2)
    ),
    "a voucher by the farm's own key": lambda: promise(
        voucher=voucher(TWO, key=settling.FARM_KEY), credits=credits_of(2)
    ),
    "a malleated voucher": lambda: promise(voucher=malleated(voucher(TWO)), credits=credits_of(2)),
    "another agreement's voucher": lambda: promise(
        voucher=voucher(TWO, agreement="ab" * 32), credits=credits_of(2)
    ),
    "a voucher over the cap": lambda: promise(
        voucher=voucher(credits_of(*range(1, 6))), credits=credits_of(2, 3, 4, 5)
    ),
    "a voucher that falls": lambda: promise(voucher=voucher(credits_of(1, amount=PRICE // 2)), credits=()),
    "a voucher that is gone": promise,
    "credits that do not add up": lambda: promise(voucher=voucher(TWO), credits=credits_of(3)),
    "credits that are missing": lambda: promise(voucher=voucher(TWO), credits=()),
    "a sum that is not the tree's": lambda: promise(
        voucher=voucher(TWO, cumulative=3 * PRICE), credits=credits_of(2)
    ),
    "another job's tasks": lambda: promise(
        voucher=voucher((*ONE, *credits_of(2, job="job2"))), credits=credits_of(2, job="job2")
    ),
    "a cap that falls": lambda: promise(voucher=voucher(ONE), cap_raise=raised(CAP - 1)),
    "a raise signed by another": lambda: promise(
        voucher=voucher(ONE), cap_raise=raised(2 * CAP, key=OTHER_KEY)
    ),
    "another agreement's raise": lambda: promise(
        voucher=voucher(ONE), cap_raise=raised(2 * CAP, agreement="ab" * 32)
    ),
    "other terms": lambda: promise(terms=settling.terms(JOB, termsHash="cd" * 32), voucher=voucher(ONE)),
}


@pytest.mark.parametrize("bad", BAD_NEWS)
def test_an_agreement_does_not_become(bad):
    held = take(promise(), promise(voucher=voucher(ONE), credits=ONE))
    with pytest.raises(BadPromise):
        believed(BAD_NEWS[bad](), held, seller(), NOW)


def test_a_raise_does_not_go_away():
    held = take(promise(), promise(cap_raise=raised(2 * CAP)))
    with pytest.raises(BadPromise, match="raise is gone"):
        believed(promise(), held, seller(), NOW)


# --- what is kept -----------------------------------------------------------------------------------


def lease(task="job1.f1", job=JOB, units=1_000_000, agreement=None):
    made = Task(TaskId(task), JobId(job), TaskKind.RENDER, 1, TILE)
    plain = Lease(made, LeaseToken(7), "cpu-0", 30.0, SceneId("s"), OwnerId("o"), SETTINGS, 8, 8, TILE, TILE)
    return replace(plain, units=units, agreement=agreement or promise().agreement)


def work(task="job1.f1", token=7, amount=PRICE):
    said = Attestation(task, token, "aa" * 32, "bb" * 32, "cpu:x:b", "b", 5)
    receipt = Submission("cc" * 32, 1, 2, "00" * 32, 0)
    signature = "0x" + "ab" * 65
    return Work(promise().agreement, 1_000_000, amount, said, signature, receipt, signature)


@pytest.fixture
def journal(tmp_path):
    return EarningsJournal(tmp_path, lambda: NOW)


def test_a_node_that_is_started_again_holds_what_it_held(journal, tmp_path):
    journal.add_offer(settling.digest(settling.offer()), settling.offer())
    journal.take(promise(), seller())
    journal.take(promise(voucher=voucher(ONE), credits=ONE), seller())
    journal.take(promise(voucher=voucher(ONE), cap_raise=raised(2 * CAP)), seller())
    journal.add_work(lease(), work())
    journal.add_work(lease("job1.f2"), work("job1.f2"))
    journal.set_cursor("5-0")
    again = EarningsJournal(tmp_path, lambda: NOW)
    assert again.jobs == journal.jobs
    assert again.offers == journal.offers
    assert again.cursor() == "5-0"
    assert [one.attestation.task for one in again.jobs[JOB].unpaid(promise().agreement)] == ["job1.f2"]
    assert again.next_number() > settling.offer().message.number


def test_a_line_that_a_kill_cut_off_is_not_believed_and_does_no_harm(journal, tmp_path):
    journal.take(promise(), seller())
    path = tmp_path / "money" / JOB / "promises.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"job":"job1","agre')
    again = EarningsJournal(tmp_path, lambda: NOW)
    assert again.jobs == journal.jobs
    again.take(promise(voucher=voucher(ONE), credits=ONE), seller())
    assert EarningsJournal(tmp_path, lambda: NOW).jobs[JOB].agreements[promise().agreement].vouched == PRICE


def test_promises_without_end_are_not_kept(journal, monkeypatch):
    journal.take(promise(), seller())
    monkeypatch.setattr(earnings_journal, "MOST_BYTES", 5000)
    taken = 0
    with pytest.raises(BadPromise, match="too many"):  # noqa: PT012
        for taken in range(1, 9):
            journal.take(promise(cap_raise=raised(CAP + taken)), seller())
    assert taken > 1


def test_a_job_named_like_a_path_is_refused(journal):
    with pytest.raises(InvalidInput):
        journal.add_work(lease(job="../../etc"), work())


def test_a_node_stops_at_what_it_could_claim_and_goes_on_with_the_voucher(journal):
    journal.take(promise(), seller())
    for number in (1, 2):
        journal.add_work(lease(), work(f"job1.f{number}"))
    assert journal.refused() == ()
    journal.add_work(lease(), work("job1.f3"))
    assert journal.refused() == (JOB,)
    journal.take(promise(voucher=voucher(ONE), credits=ONE), seller())
    assert journal.refused() == ()


def test_credits_that_are_less_than_was_agreed_stop_the_node_as_missing_ones_do(journal):
    journal.take(promise(), seller())
    for number in (1, 2, 3):
        journal.add_work(lease(), work(f"job1.f{number}", amount=PRICE // 2 + 1))
    few = credits_of(1, 2, 3, amount=PRICE // 2)
    journal.take(promise(voucher=voucher(few), credits=few), seller())
    assert journal.jobs[JOB].unpaid(promise().agreement) == []
    assert journal.refused() == (JOB,)


def test_the_same_task_under_two_leases_is_waited_for_once(journal):
    journal.take(promise(), seller())
    for token in (1, 2, 3):
        journal.add_work(lease(), work(token=token))
    assert journal.refused() == ()


def test_credits_before_any_voucher_are_forgotten_at_the_next_start_too(journal, tmp_path):
    journal.take(promise(credits=ONE), seller())
    assert EarningsJournal(tmp_path).jobs == journal.jobs
    assert journal.jobs[JOB].agreements[promise().agreement].credited == frozenset()


def test_a_line_cut_off_within_a_letter_does_no_harm(journal, tmp_path):
    journal.take(promise(), seller())
    path = tmp_path / "money" / JOB / "work.jsonl"
    path.write_bytes('{"deviceClass":"é'.encode()[:-1])
    journal.add_work(lease(), work())
    assert EarningsJournal(tmp_path).jobs == journal.jobs


def test_promises_for_jobs_without_end_are_not_kept(journal, monkeypatch):
    journal.take(promise(), seller())
    monkeypatch.setattr(earnings_journal, "MOST_JOBS", 1)
    other = session_key(settling.FARM_KEY, JobId("job2"))
    offer = settling.offer()
    signed = order(offer, key=other)
    second = Promise(
        JobId("job2"),
        signing.agreement_id(signed.message, NETWORK),
        settling.terms("job2"),
        offer,
        signed,
    )
    with pytest.raises(BadPromise, match="too many jobs"):
        journal.take(second, seller())
    monkeypatch.setattr(earnings_journal, "MOST_JOBS", 2)
    monkeypatch.setattr(earnings_journal, "MOST_BYTES_IN_ALL", 100)
    with pytest.raises(BadPromise, match="too many promises"):
        journal.take(second, seller())
    assert list(journal.jobs) == [JOB]


def test_a_lease_may_be_a_moment_ahead_of_its_raise(journal):
    full = credits_of(1, 2, 3, 4)
    journal.take(promise(), seller())
    journal.take(promise(voucher=voucher(full), credits=full), seller())
    assert not journal.agreement(lease("job1.f5"), 0.0).has_room(1_000_000)
    found = []
    waiting = threading.Thread(target=lambda: found.append(journal.agreement(lease("job1.f5"), 30.0)))
    waiting.start()
    journal.take(promise(voucher=voucher(full), cap_raise=raised(2 * CAP)), seller())
    waiting.join()
    assert found[0].has_room(1_000_000)


# --- selling ----------------------------------------------------------------------------------------


class FakeMarket:
    """The coordinator as a seller meets it: gives out what a test has ready, and keeps what it is told."""

    def __init__(self, network=NETWORK):
        self.where = network
        self.offers, self.releases, self.ready = [], [], []
        self.withdrawn = False
        self.heard = threading.Event()

    def network(self):
        return self.where

    def offer(self, offer):
        self.offers.append(offer)
        return signing.struct_hash(offer.message).hex()

    def withdraw_offer(self):
        self.withdrawn = True

    def release(self, release):
        self.releases.append(release)

    def promises(self, after, wait):
        if not self.ready:
            self.heard.set()
            raise Unavailable("nothing more")
        return self.ready.pop(0)(self.offers[-1])


def operator():
    return Operator(OPERATOR_KEY, OPERATOR, OPERATOR, PRICE, 1000, 30.0, NETWORK)


def selling(journal, market, who=None, own=True, clock=lambda: NOW):
    return Selling(
        market, who or operator(), journal, settling.NODE, FARM, DeviceClass("cpu"), clock, own=own
    )


def under(offer: Signed[Offer], **changes):
    return promise(offer=offer, signed=order(offer), **changes)


def stop(seller):
    seller.stop()
    seller._thread.join()


def heard(journal, market, *answers):
    market.ready = list(answers)
    seller = selling(journal, market)
    seller.start()
    assert market.heard.wait(20)
    stop(seller)
    return seller


def test_a_seller_makes_an_offer_hears_promises_and_releases_at_the_end(journal):
    market = FakeMarket()

    def all_of_it(offer):
        agreement = under(offer).agreement
        paid = voucher(ONE, agreement=agreement)
        return Promises(
            (under(offer), under(offer, voucher=paid, credits=ONE), under(offer, voucher=paid, ended=True)),
            "3-0",
        )

    seller = heard(journal, market, all_of_it)
    made = market.offers[0]
    assert signing.signer(made.message, NETWORK, made.signature) == OPERATOR
    assert (made.message.price, made.message.node, market.withdrawn) == (PRICE, settling.NODE, True)
    (released,) = market.releases
    assert released.message.cumulative == PRICE
    assert signing.signer(released.message, NETWORK, released.signature) == OPERATOR
    assert journal.cursor() == "3-0"
    agreement = under(made).agreement
    assert seller.objection(lease(agreement=agreement)) == ""
    assert "earns nothing" in seller.objection(lease(agreement=agreement, units=2_000_000))
    assert "earns nothing" in seller.objection(lease(agreement=agreement, units=0))
    assert seller.objection(replace(lease(), agreement="")) == ""


def test_what_a_hostile_farm_says_does_not_hide_what_is_good(journal):
    market = FakeMarket()
    heard(
        journal,
        market,
        lambda offer: Promises((under(offer, agreement="ab" * 32), under(offer)), "2-0"),
    )
    assert list(journal.jobs[JOB].agreements) == [under(market.offers[0]).agreement]


def test_an_agreement_with_too_much_unpaid_work_is_not_given_up(journal):
    market = FakeMarket()

    def all_of_it(offer):
        agreement = under(offer).agreement
        journal.add_work(lease(), replace(work("job1.f2"), agreement=agreement))
        paid = voucher(ONE, agreement=agreement)
        return Promises((under(offer), under(offer, voucher=paid, credits=ONE, ended=True)), "3-0")

    heard(journal, market, all_of_it)
    assert market.releases == []


def test_a_node_that_is_started_again_makes_the_same_offer(journal, tmp_path):
    market = FakeMarket()
    heard(journal, market)
    heard(EarningsJournal(tmp_path, lambda: NOW), market)
    assert market.offers[0] == market.offers[1]


@pytest.mark.parametrize(
    "changed", [{"price": 2 * PRICE}, {"capacity": 7}, {"payee": FARM}, {"key": OTHER_KEY}]
)
def test_an_operator_that_asks_something_else_makes_another_offer(journal, changed):
    market = FakeMarket()
    first, second = (
        selling(journal, market),
        selling(journal, market, replace(operator(), **changed)),
    )
    if "key" in changed:
        who = replace(operator(), key=OTHER_KEY, address=typed_data.address_of(OTHER_KEY))
        second = selling(journal, market, who)
    for one in (first, second):
        one.start()
        stop(one)
    assert market.offers[0].message.number != market.offers[1].message.number


def test_an_old_offer_is_made_anew(journal):
    market = FakeMarket()
    for day in (0, 16):
        one = selling(journal, market, clock=lambda day=day: NOW + day * 86_400)
        one.start()
        stop(one)
    assert market.offers[1].message.expiry - market.offers[0].message.expiry == 16 * 86_400


def test_nothing_new_is_worked_on_for_an_older_lower_price(journal):
    market = FakeMarket()
    heard(journal, market)
    dear = replace(operator(), price=2 * PRICE)
    old = market.offers[0]
    market.ready = [lambda offer: Promises((under(old),), "1-0")]
    market.heard.clear()
    seller = selling(journal, market, dear)
    seller.start()
    assert market.heard.wait(20)
    stop(seller)
    assert journal.jobs == {}


def test_a_stranger_that_sells_does_nothing_for_nothing(journal):
    stranger = selling(journal, FakeMarket(), own=False)
    assert "under no agreement" in stranger.objection(replace(lease(), agreement=""))


def test_the_chain_is_asked_rarely_and_has_no_objection_while_it_is_away():
    now, asked = [0.0], []
    answers = ["no deposit", "", InvalidInput("no such chain"), Unavailable("away")]

    def look(promise):
        asked.append(now[0])
        answer = answers[len(asked) - 1]
        if isinstance(answer, str):
            return answer
        raise answer

    verifier = FundingVerifier(look, lambda: now[0])
    told = []
    for now[0] in (0, 5, 10, 300, 609, 610, 620):
        told.append(verifier.objection(promise()))
    assert told == ["no deposit", "no deposit", "", "", "", "no such chain", ""]
    assert asked == [0, 10, 610, 620]


def test_what_the_chain_says_of_a_promise_counts(journal):
    seller = selling(journal, FakeMarket())
    seller._verifier = FundingVerifier(lambda promise: "no deposit")
    journal.take(
        promise(), Seller(NETWORK, FARM, OPERATOR, {settling.digest(settling.offer()): settling.offer()})
    )
    assert seller.objection(lease()) == "no deposit"


def test_a_farm_that_is_away_is_offered_to_when_it_is_back(journal):
    class Away(FakeMarket):
        def network(self):
            if not self.ready:
                self.ready = [lambda offer: Promises((), "1-0")]
                raise Unavailable("not yet")
            return self.where

    market = Away()
    seller = selling(journal, market)
    seller.start()
    assert market.heard.wait(20)
    stop(seller)
    assert len(market.offers) == 1


def test_a_broken_answer_does_not_end_the_listening(journal):
    def broken(offer):
        raise RuntimeError("whatever")

    market = FakeMarket()
    heard(journal, market, broken, lambda offer: Promises((under(offer),), "1-0"))
    assert list(journal.jobs) == [JOB]


def test_a_node_that_sells_no_more_takes_its_offer_back(journal, tmp_path):
    market = FakeMarket()
    stop_selling(market, tmp_path)
    assert not market.withdrawn
    journal.add_offer(settling.digest(settling.offer()), settling.offer())
    stop_selling(market, tmp_path)
    assert market.withdrawn


@pytest.mark.parametrize("field", ["market", "vault", "disputes", "token"])
def test_a_farm_with_other_contracts_than_the_operator_named_is_refused(journal, field):
    with pytest.raises(OtherNetwork, match=field):
        selling(journal, FakeMarket(replace(NETWORK, **{field: "0x" + "99" * 20}))).start()
    with pytest.raises(OtherNetwork, match="chain_id"):
        check_network(replace(NETWORK, chain_id=1), NETWORK)
    with pytest.raises(OtherNetwork, match="no payments"):
        check_network(None, NETWORK)
