# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger against a model that counts everything afresh, with replays, reorders and crashes anywhere."""

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.ids import LeaseToken, TaskId
from payments.entries import (
    Accepted,
    Capped,
    Closed,
    Deposited,
    Entry,
    Paid,
    Refunded,
    Returned,
    Settled,
    Slashed,
)
from payments.ledger import Balance, Contradiction, Ledger, NoAgreement, OverBudget, OverCap
from payments.money import Wei

ROOT = "ab" * 32
NAMES = [f"{number:064x}" for number in range(3)]
AMOUNTS = st.one_of(st.integers(0, 50), st.integers(10**20, 10**21))


def accepted(
    task: str, amount: int, agreement: str = NAMES[0], frame: int | None = 1, token: int = 1
) -> Accepted:
    return Accepted(TaskId(task), LeaseToken(token), agreement, Wei(amount), ROOT, frame)


def ledger_of(*entries: Entry) -> Ledger:
    ledger = Ledger()
    for entry in entries:
        ledger.apply(entry)
    return ledger


class Market:
    """What the contract keeps, in its own words: budget, committed, caps, paid."""

    def __init__(self) -> None:
        self.budget = self.committed = self.taken = self.put_in = 0
        self.caps: dict[str, int] = {}
        self.paid: dict[str, int] = {}
        self.closed: set[str] = set()

    def available(self) -> int:
        return self.budget - self.committed


def owed_afresh(entries: list[Entry], market: Market) -> dict[str, int]:
    """What every agreement was credited, counted from all that was ever taken in."""
    settled = {entry.frame for entry in entries if isinstance(entry, Settled)}
    returned = {(entry.task, entry.token) for entry in entries if isinstance(entry, Returned)}
    credited = dict.fromkeys(market.caps, 0)
    for entry in {entry for entry in entries if isinstance(entry, Accepted)}:
        counts = entry.frame is None or entry.frame in settled
        if counts and (entry.task, entry.token) not in returned:
            credited[entry.agreement] += entry.amount
    return credited


class Days(RuleBasedStateMachine):
    """The market decides, the ledger hears of it later; farm and ledger die between any two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.market, self.heard = Market(), Market()
        self.ledger = Ledger()
        self.journal: list[Entry] = []
        self.chain: list[tuple[Entry, Callable[[Market], None]]] = []
        self.vouchers: dict[str, int] = {}
        self.events = self.tasks = 0

    def happen(self, entry: Entry, change: Callable[[Market], None]) -> None:
        change(self.market)
        self.chain.append((entry, change))

    def event(self) -> str:
        self.events += 1
        return f"event {self.events}"

    @initialize()
    def begin(self) -> None:
        self.deposit(10**22)
        self.cap(NAMES[0], 30)
        self.cap(NAMES[1], 30)
        self.hear(3)

    @rule(amount=AMOUNTS)
    def deposit(self, amount: int) -> None:
        def change(market: Market) -> None:
            market.budget += amount
            market.put_in += amount

        self.happen(Deposited(self.event(), Wei(amount)), change)

    @rule(share=st.integers(0, 100))
    def refund(self, share: int) -> None:
        amount = self.market.available() * share // 100

        def change(market: Market) -> None:
            market.budget -= amount
            market.taken += amount

        self.happen(Refunded(self.event(), Wei(amount)), change)

    @rule(name=st.sampled_from(NAMES), share=st.integers(1, 100))
    def cap(self, name: str, share: int) -> None:
        before = self.market.caps.get(name, 0)
        more = self.market.available() * share // 100
        if more == 0 or name in self.market.closed:
            return

        def change(market: Market) -> None:
            market.caps[name] = before + more
            market.committed += more

        self.happen(Capped(name, Wei(before + more)), change)

    @rule(name=st.sampled_from(NAMES))
    def redeem(self, name: str) -> None:
        self.pay(name, self.vouchers.get(name, 0))

    @rule(name=st.sampled_from(NAMES), share=st.integers(0, 100))
    def claim(self, name: str, share: int) -> None:
        """Paid without a voucher: the ledger never said that this was owed."""
        self.pay(name, self.market.caps.get(name, 0) * share // 100)

    def pay(self, name: str, cumulative: int) -> None:
        if cumulative <= self.market.paid.get(name, 0) or name in self.market.closed:
            return
        assert cumulative <= self.market.caps[name], "a voucher above its cap"

        def change(market: Market) -> None:
            market.paid[name] = cumulative

        self.happen(Paid(name, Wei(cumulative)), change)

    @rule(name=st.sampled_from(NAMES))
    def close(self, name: str) -> None:
        if name not in self.market.caps or name in self.market.closed:
            return

        def change(market: Market) -> None:
            market.closed.add(name)
            market.committed -= market.caps[name] - market.paid.get(name, 0)

        self.happen(Closed(name), change)

    @rule(name=st.sampled_from(NAMES), amount=AMOUNTS)
    def slash(self, name: str, amount: int) -> None:
        self.happen(Slashed(self.event(), name, Wei(amount), Wei(amount // 2)), lambda _market: None)

    @precondition(lambda self: self.chain)
    @rule(count=st.integers(1, 12))
    def hear(self, count: int) -> None:
        for entry, change in self.chain[:count]:
            self.take(entry)
            change(self.heard)
        del self.chain[:count]

    @rule(data=st.data(), amounts=st.lists(AMOUNTS, min_size=2, max_size=8))
    def accept(self, data: st.DataObject, amounts: list[int]) -> None:
        frame = data.draw(st.sampled_from([1, 2, 3, None]))
        for amount in amounts:
            self.tasks += 1
            name = data.draw(st.sampled_from(NAMES[:2] + sorted(self.heard.caps)))
            self.try_to_take(accepted(f"task {self.tasks}", amount, name, frame))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), amount=AMOUNTS)
    def accept_or_return_again(self, data: st.DataObject, amount: int) -> None:
        """Another lease of an old task, or the old lease given back."""
        for _ in range(4):
            task = f"task {data.draw(st.integers(1, self.tasks))}"
            if data.draw(st.booleans()):
                self.try_to_take(Returned(TaskId(task), LeaseToken(1)))
            self.try_to_take(accepted(task, amount, NAMES[0], 1, data.draw(st.sampled_from([1, 2]))))

    @rule(frame=st.sampled_from([1, 2, 3]))
    def settle(self, frame: int) -> None:
        self.take(Settled(frame))

    @precondition(lambda self: self.journal)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        before = self.ledger.balance()
        self.ledger.apply(data.draw(st.sampled_from(self.journal)))
        assert self.ledger.balance() == before

    @rule(seed=st.integers(0, 1 << 32))
    def crash(self, seed: int) -> None:
        """Whatever was in the journal is read back, some of it twice."""
        before, chance = self.ledger.balance(), random.Random(seed)
        again = Ledger()
        for number, entry in enumerate(self.journal):
            again.apply(entry)
            again.apply(chance.choice(self.journal[: number + 1]))
        assert again.balance() == before
        assert [again.credits(name) for name in self.heard.caps] == [
            self.ledger.credits(name) for name in self.heard.caps
        ]
        self.ledger = again

    @rule()
    def hear_of_the_farm_late(self) -> None:
        """All entries of the chain first, then those of the farm: what is closed takes and owes nothing."""
        of_the_farm = (Accepted, Returned, Settled)
        late = ledger_of(*(entry for entry in self.journal if not isinstance(entry, of_the_farm)))
        for entry in self.journal:
            if isinstance(entry, of_the_farm):
                try:
                    late.apply(entry)
                except NoAgreement:
                    assert entry.agreement in self.heard.closed
        assert late.balance() == self.ledger.balance()

    def take(self, entry: Entry) -> None:
        self.ledger.apply(entry)
        self.journal.append(entry)

    def try_to_take(self, entry: Entry) -> None:
        before = self.ledger.balance()
        try:
            self.take(entry)
        except Conflict:
            assert self.ledger.balance() == before

    @invariant()
    def value_in_is_value_out(self) -> None:
        balance, market = self.ledger.balance(), self.heard
        credited = owed_afresh(self.journal, market)
        assert balance == Balance(
            deposited=market.put_in,
            paid=sum(market.paid.values()),
            owed=sum(
                max(0, credited[name] - market.paid.get(name, 0))
                for name in market.caps
                if name not in market.closed
            ),
            refunded=market.taken,
            refundable=balance.refundable,
            available=market.available(),
        )
        assert balance.deposited == balance.paid + balance.owed + balance.refunded + balance.refundable
        assert 0 <= balance.available <= balance.refundable
        assert {name: self.ledger.cumulative(name) for name in market.caps} == credited

    @invariant()
    def vouchers_grow_and_stay_below_their_caps(self) -> None:
        for name, cap in self.heard.caps.items():
            cumulative = self.ledger.cumulative(name)
            assert self.vouchers.get(name, 0) <= cumulative <= cap
            assert cumulative == sum(entry.amount for entry in self.ledger.credits(name))
            assert self.ledger.room(name) >= 0
            self.vouchers[name] = cumulative


TestDays = Days.TestCase
TestDays.settings = settings(max_examples=200, stateful_step_count=80, deadline=None)


OPEN = (Deposited("d", Wei(100)), Capped(NAMES[0], Wei(60)))


def test_a_frame_is_owed_once_all_of_it_is_accepted_and_its_tiles_once_it_is_cancelled() -> None:
    ledger = ledger_of(*OPEN, accepted("a", 10), accepted("b", 5, frame=2))
    assert ledger.balance().owed == 0
    ledger.apply(Settled(1))
    assert ledger.balance().owed == 10
    assert ledger.balance() == Balance(Wei(100), Wei(0), Wei(10), Wei(0), Wei(90), Wei(40))
    ledger.apply(Settled(2))
    ledger.apply(accepted("late", 2, frame=2))
    ledger.apply(accepted("audit", 1, frame=None))
    assert ledger.balance().owed == 18
    assert [entry.task for entry in ledger.credits(NAMES[0])] == ["a", "b", "late", "audit"]


def test_a_tile_that_was_returned_is_paid_to_whoever_renders_it_again() -> None:
    other = (Capped(NAMES[1], Wei(40)),)
    again = accepted("a", 12, NAMES[1], token=2)
    ledger = ledger_of(*OPEN, *other, accepted("a", 10))
    with pytest.raises(Contradiction, match="under another lease"):
        ledger.apply(again)
    ledger = ledger_of(
        *OPEN, *other, accepted("a", 10), Returned(TaskId("a"), LeaseToken(1)), again, Settled(1)
    )
    assert (ledger.cumulative(NAMES[0]), ledger.cumulative(NAMES[1])) == (0, 12)
    ledger.apply(Returned(TaskId("a"), LeaseToken(1)))
    assert ledger.room(NAMES[0]) == 60
    with pytest.raises(Contradiction, match="owed already"):
        ledger.apply(Returned(TaskId("a"), LeaseToken(2)))


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        (accepted("a", 61), OverCap, "its agreement has 60"),
        (accepted("a", 1, NAMES[1]), NoAgreement, "on the chain yet"),
        (Capped(NAMES[0], Wei(101)), OverBudget, "40 is free"),
        (Capped(NAMES[1], Wei(41)), OverBudget, "40 is free"),
        (Refunded("r", Wei(41)), OverBudget, "40 was free"),
        (Paid(NAMES[0], Wei(61)), OverCap, "cap of 60"),
        (Paid(NAMES[1], Wei(1)), NoAgreement, "on the chain yet"),
        (Deposited("d", Wei(99)), Contradiction, "said before"),
        (Deposited("e", Wei(-1)), InvalidInput, "no amount"),
        (Deposited("e", Wei(1 << 128)), InvalidInput, "no amount"),
        (accepted("a", -5), InvalidInput, "no amount"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    entry: Entry, error: type[Exception], words: str
) -> None:
    ledger = ledger_of(*OPEN)
    before = ledger.balance()
    with pytest.raises(error, match=words):
        ledger.apply(entry)
    assert ledger.balance() == before


def test_after_the_end_nothing_is_accepted_paid_or_raised_and_the_rest_goes_back() -> None:
    ledger = ledger_of(*OPEN, accepted("a", 10), Settled(1), Paid(NAMES[0], Wei(7)), Closed(NAMES[0]))
    assert ledger.balance() == Balance(Wei(100), Wei(7), Wei(0), Wei(0), Wei(93), Wei(93))
    assert ledger.room(NAMES[0]) == 0
    for entry in (accepted("b", 1), Paid(NAMES[0], Wei(8)), Capped(NAMES[0], Wei(61))):
        with pytest.raises(NoAgreement, match="is closed"):
            ledger.apply(entry)
    ledger.apply(Refunded("r", Wei(93)))
    assert ledger.balance().available == 0


def test_a_slash_is_no_part_of_the_deposit() -> None:
    ledger = ledger_of(*OPEN)
    before = ledger.balance()
    for _ in range(2):
        ledger.apply(Slashed("s", NAMES[0], Wei(20), Wei(8)))
    assert ledger.balance() == before
    assert ledger.compensated() == 8
