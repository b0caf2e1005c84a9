# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a job takes on and up to what: budgets, stake, prices and what is left to do bound every cap."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render_farm.policy.payment_terms import FIRST_TASKS
from render_farm.settlement import orders, stakes
from render_farm.settlement.orders import Grown, Need
from tests.support.settling import CLASS, FARM, PRICE, UNIT, Paper, seller

NOW = 1_900_000_000.0
NEED = Need(
    units_left=1000 * UNIT,
    tasks_left=1000,
    dearest=UNIT,
    frame=UNIT,
    tiles=1,
    audit_ppm=0,
    price_cap=2 * PRICE,
    stake_share=93_750,
    farm=FARM,
)


def caps(need=NEED, sellers=None, budget=10**21, held=0):
    return orders.first_caps(need, sellers if sellers is not None else [seller()], budget, held, NOW)


def test_a_first_cap_is_some_tasks_worth_and_no_more_than_the_job_has_left() -> None:
    (first,) = caps(replace(NEED, units_left=100 * UNIT, tasks_left=100))
    assert (first.cap, first.task_cap, first.claim_tasks) == (FIRST_TASKS * PRICE, PRICE, orders.CLAIM_TASKS)
    (last,) = caps(replace(NEED, units_left=3 * UNIT, tasks_left=3))
    assert last.cap == 3 * PRICE


def test_a_long_job_begins_with_a_small_part_of_each_ones_share() -> None:
    sellers = [seller(f"n{number}") for number in range(5)]
    assert [cap.cap for cap in caps(sellers=sellers)] == [16 * PRICE] * 5
    long = replace(NEED, units_left=8000 * UNIT, tasks_left=8000)
    assert [cap.cap for cap in caps(long, sellers)] == [100 * PRICE] * 5


def test_a_first_cap_holds_a_whole_frame_and_claims_more_tasks_than_a_frame_has() -> None:
    """Or a node that is alone would wait for ever for the rest of its own frame."""
    (first,) = caps(replace(NEED, units_left=400 * UNIT, frame=40 * UNIT, tiles=40))
    assert first.cap == 40 * PRICE
    assert first.claim_tasks == 80


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"farm": "0x" + "77" * 20}, "another farm"),
        ({"price": 2 * PRICE + 1}, "costs more"),
        ({"stakeShare": 93_749}, "less stake"),
        ({"expiry": int(NOW) + 60}, "expires"),
    ],
)
def test_offers_that_do_not_fit_are_left(changes, why) -> None:
    assert caps(sellers=[seller(**changes)]) == []
    assert why in orders.fits(NEED, seller(**changes).offer.message, NOW)


def test_a_pinned_class_is_respected_and_without_one_all_orders_are_for_one_class() -> None:
    odd = seller("odd", deviceClass="gpu:x")
    sellers = [odd, seller("n1"), seller("n2")]
    assert [cap.seller.node for cap in caps(sellers=sellers)] == ["n1", "n2"]
    pinned = replace(NEED, device_class="gpu:x")
    assert [cap.seller.node for cap in caps(pinned, sellers)] == ["odd"]
    assert odd.offer.message.deviceClass != CLASS


def test_no_more_agreements_than_tasks_and_the_cheapest_first() -> None:
    sellers = [seller("dear", price=2 * PRICE), seller("cheap"), seller("also")]
    few = replace(NEED, tasks_left=2, units_left=2 * UNIT)
    assert [cap.seller.node for cap in caps(few, sellers)] == ["also", "cheap"]
    assert [cap.seller.node for cap in caps(few, sellers, held=1)] == ["also"]


def test_a_short_budget_is_shared() -> None:
    made = caps(sellers=[seller("n1"), seller("n2"), seller("n3")], budget=7 * PRICE)
    assert sum(cap.cap for cap in made) <= 7 * PRICE
    assert len(made) == 3
    assert caps(budget=PRICE - 1) == []


def test_stake_bounds_the_first_cap_and_too_little_of_it_gets_none() -> None:
    long = replace(NEED, units_left=8000 * UNIT, tasks_left=8000)
    (small,) = caps(long, sellers=[seller(stake=200 * PRICE)])
    assert small.cap == stakes.most_open(200 * PRICE, 93_750, PRICE)


@pytest.mark.parametrize("tasks", [1, 3, 1000])
def test_behind_however_little_work_stand_150_rewards_of_its_largest_task_or_there_is_none(tasks) -> None:
    need = replace(NEED, units_left=tasks * UNIT, tasks_left=tasks)
    assert stakes.least(PRICE, 93_750) == 150 * PRICE
    assert len(caps(need, [seller(stake=150 * PRICE)])) == 1
    assert caps(need, [seller(stake=150 * PRICE - 1)]) == []
    assert orders.stake_wanted(need, [seller(stake=150 * PRICE - 1), seller("n2", stake=0)]) == 150 * PRICE
    assert orders.stake_wanted(need, [seller(stake=0), seller("n2", stake=150 * PRICE)]) == 0


def test_one_open_task_keeps_as_much_stake_aside_as_sixteen() -> None:
    paper = Paper()
    paper.opened()
    held = paper.order(cap=PRICE)
    assert stakes.free_stake(held.operator, 150 * PRICE, [paper.ledger]) == 0
    paper.agreed(held)
    locked = held.chain.locked
    assert 0 < locked < 150 * PRICE, "the chain locks by the share alone"
    assert stakes.free_stake(held.operator, 150 * PRICE - locked, [paper.ledger]) == 0
    assert stakes.free_stake(held.operator, 149 * PRICE - locked, [paper.ledger]) < 0, "it took stake back"
    paper.chain("paid", held.agreement, amount=PRICE, total=PRICE)
    assert stakes.free_stake(held.operator, 0, [paper.ledger]) == 0, "nothing can be earned any more"


def grown(**changes) -> Grown:
    made = Grown(price=PRICE, share=10_000, cap=16 * PRICE, accepted=0, used=0, behind=16 * PRICE, vouched=0)
    return replace(made, **{name: value * PRICE for name, value in changes.items()})


def raised(now, need=NEED, budget=10**21, capacity=10**21, stake=10**21):
    cap = orders.raised(need, now, budget, capacity, stake)
    return None if cap is None else cap / PRICE


def test_a_cap_grows_with_what_was_accepted_and_by_much_at_a_time() -> None:
    assert raised(grown(accepted=3, used=3)) is None, "there is room still"
    assert raised(grown(accepted=1, used=12)) is None, "a raise by one task is not worth its gas"
    assert raised(grown(accepted=6, used=12)) == 102
    assert raised(grown(cap=54, accepted=50, used=50)) == 850
    last = replace(NEED, units_left=30 * UNIT)
    assert raised(grown(cap=54, accepted=50, used=50), last) == 80


def test_a_whole_run_needs_few_raises() -> None:
    cap, count = 16.0, 0
    for done in range(1000):
        now = grown(cap=1, accepted=1, used=1)
        now = replace(now, cap=int(cap * PRICE), accepted=done * PRICE, used=(done + 1) * PRICE)
        more = raised(now, replace(NEED, units_left=(1000 - done) * UNIT))
        if more is not None:
            cap, count = more, count + 1
        assert done < cap
    assert (cap, count) == (1000, 2)


def test_nodes_that_raise_one_after_the_other_end_with_the_same_room() -> None:
    rooms, budget = [7, 3, 10, 0], 81
    for place in range(4):
        more = orders.fair(budget, rooms, rooms[place])
        rooms[place], budget = rooms[place] + more, budget - more
    assert rooms == [25, 25, 25, 25]
    assert budget == 1
    assert orders.fair(5, [9, 0], 9) == 0, "who has more than its share waits"
    assert orders.fair(-3, [0], 0) == 0


def test_a_raise_is_bounded_by_budget_capacity_and_stake() -> None:
    now = grown(accepted=10, used=16, vouched=10)
    assert raised(now, budget=5 * PRICE) == 21
    assert raised(now, capacity=4 * PRICE) == 20
    assert raised(now, budget=PRICE // 2) is None
    assert raised(now, stake=0) == 26, "what vouchers say is paid first, and frees what was behind it"
    assert raised(grown(accepted=10, used=16), stake=0) is None


@settings(max_examples=200, deadline=None)
@given(
    numbers=st.tuples(*[st.integers(0, 2000)] * 7),
    share=st.integers(10_000, 100_000),
    left=st.integers(0, 3000),
)
def test_whatever_the_figures_a_raise_stays_within_them(numbers, share, left) -> None:
    cap, accepted, used, behind, budget, stake, capacity = numbers
    accepted, used = min(accepted, cap), min(max(used, accepted), cap)
    now = Grown(3, share, cap, accepted, used, behind, accepted)
    need = replace(NEED, units_left=left * UNIT)
    new = orders.raised(need, now, budget, capacity, stake)
    if new is not None:
        assert cap < new <= cap + min(budget, capacity)
        assert stakes.required(new - accepted, share) <= behind + stake
        assert new <= accepted + orders.cost(need.most_units, 3)


def test_a_budget_is_short_when_nothing_more_can_be_given() -> None:
    rest = replace(NEED, units_left=10 * UNIT, tasks_left=10)
    assert orders.missing(rest, [], 5 * PRICE, PRICE) == 0
    assert orders.missing(rest, [(PRICE, PRICE)], 0, PRICE) == 0
    assert orders.missing(rest, [(PRICE - 1, PRICE)], PRICE - 1, PRICE) == 9 * PRICE + 1
    assert orders.missing(replace(rest, tasks_left=0), [], 0, PRICE) == 0


def test_stake_is_counted_for_promises_that_the_chain_has_not_heard_of() -> None:
    paper = Paper()
    paper.opened()
    held = paper.order(cap=16 * PRICE)
    assert stakes.free_stake(held.operator, 200 * PRICE, [paper.ledger]) == 50 * PRICE
    paper.agreed(held)
    # Locked now: what is free on the chain has become less, and nothing is missing any more.
    assert stakes.free_stake(held.operator.lower(), 50 * PRICE, [paper.ledger]) == 50 * PRICE
    paper.chain("closed", held.agreement)
    assert stakes.capacity_left(held.operator, PRICE, 20, 1, [paper.ledger]) == 20 * PRICE
