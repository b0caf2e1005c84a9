# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may audit, and when."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from render_farm.policy.auditor_selection import (
    OTHER_CLASS_SECONDS,
    STEP_SECONDS,
    Audited,
    Online,
    Seat,
    may_audit,
    possible,
)
from verification.audit.rate import Standing
from verification.audit.sampling import MILLION, AuditPolicy, Draws
from verification.audit.selection import Asked, is_left_out, order, repeat_rate, spared

DRAWS = Draws(b"value", b"receipt")
WORK = Audited("liar", "bob", "cpu:a", "ann")
SEAT = Seat("cpu:a", "liar", "bob", ("x", "y", "mine"), 100.0)


def online(node, operator="eve", own=False, sandboxed=True, classes=("cpu:a",)):
    return Online(node, operator, own, sandboxed, frozenset(classes))


STRANGERS_FIRST = AuditPolicy(own_first=0)


def candidates(work, nodes, draws, audits=0, policy=STRANGERS_FIRST, **met):
    return order(draws, possible(work, nodes, met), audits, policy)


def test_strangers_come_before_own_nodes():
    nodes = [online("mine", "admin", own=True), online("x"), online("y", "zoe")]
    found = candidates(WORK, nodes, DRAWS)
    assert set(found[:2]) == {"x", "y"}
    assert found[2] == "mine"


@pytest.mark.parametrize(
    "unfit",
    [
        online("liar"),
        online("brother", "bob"),
        online("other class", classes=("cuda:a",)),
        online("not sandboxed", sandboxed=False),
    ],
    ids=lambda one: one.node,
)
def test_who_cannot_audit(unfit):
    assert candidates(WORK, [unfit, online("x")], DRAWS) == ("x",)


def test_a_node_outside_a_sandbox_sees_its_own_operators_scenes():
    assert candidates(WORK, [online("hers", "ann", sandboxed=False)], DRAWS) == ("hers",)


def test_only_who_has_an_agreement_is_asked_to_audit_paid_work():
    nodes = [online("x"), replace(online("seller", "zoe"), sells=True), online("mine", "admin", own=True)]
    paid = replace(WORK, ordered=frozenset({"seller", "liar"}))
    assert candidates(paid, nodes, DRAWS) == ("seller", "mine")
    assert candidates(WORK, nodes, DRAWS) == ("x", "mine"), "who sells audits nothing for free"
    assert candidates(replace(WORK, ordered=frozenset()), nodes, DRAWS) == ("mine",)


def test_own_nodes_of_another_class_only_where_there_is_nobody_else():
    other = online("mine", "admin", own=True, classes=("cuda:a",))
    assert candidates(WORK, [other], DRAWS) == ("mine",)
    assert candidates(WORK, [other, online("x")], DRAWS) == ("x",)
    same = online("mine too", "admin", own=True)
    assert candidates(WORK, [other, same], DRAWS) == ("mine too",)


def test_own_nodes_work_is_audited_by_its_others_and_never_listed_itself():
    mine = Audited("mine", "admin", "cpu:a", "ann")
    nodes = [online("mine", "admin", own=True), online("other", "admin", own=True), online("x")]
    assert candidates(mine, nodes, DRAWS) == ("x", "other")
    assert candidates(mine, nodes[:1], DRAWS) == ()


@given(some.lists(some.text(min_size=1), unique=True, max_size=8), some.randoms())
def test_order_depends_on_the_draws_only(names, random):
    nodes = [online(name) for name in names if name != "liar"]
    shuffled = list(nodes)
    random.shuffle(shuffled)
    assert candidates(WORK, nodes, DRAWS) == candidates(WORK, shuffled, DRAWS)


def asked(node, now, seat=SEAT, operator="eve", own=False, device="cpu:a"):
    return may_audit(seat, node, operator, own, device, now)


def test_one_after_the_other():
    for number, node in enumerate(SEAT.ranked):
        turn = 100.0 + number * STEP_SECONDS
        assert not asked(node, turn - 0.1, own=node == "mine")
        assert asked(node, turn, own=node == "mine")
    late = 100 + 3 * STEP_SECONDS
    assert not asked("another", late - 0.1, own=True)
    assert asked("another", late, own=True), "any of the farm's own, after those that were asked"
    assert not asked("newcomer", late), "nobody drew a stranger that came later"


def test_those_who_tried_are_left_out_and_the_others_move_up():
    seat = replace(SEAT, tried=("x",))
    assert asked("y", 100, seat)
    assert not asked("x", 1e9, seat)


@pytest.mark.parametrize(
    "who",
    [
        {"node": "liar"},
        {"node": "z", "operator": "bob"},
        {"node": "z", "device": "cuda:a"},
    ],
)
def test_never(who):
    assert not asked(**{"now": 1e9, **who})


def test_the_own_node_audits_itself_where_there_is_nobody_else():
    seat = replace(SEAT, node="mine", operator="admin", ranked=())
    assert asked("mine", 100, seat, operator="admin", own=True)
    seat = replace(seat, ranked=("x",))
    assert not asked("mine", 100, seat, operator="admin", own=True)


def test_own_only_seats():
    seat = replace(SEAT, own_only=True)
    assert not asked("x", 1e9, seat)
    assert asked("mine", 100, seat, own=True)
    assert not asked("gpu", 100, seat, own=True, device="cuda:a")
    assert asked("gpu", 100 + OTHER_CLASS_SECONDS, seat, own=True, device="cuda:a")


# --- accomplices ------------------------------------------------------------------------------------

POLICY = AuditPolicy()
MINE = online("mine", "admin", own=True)


def drawn(number):
    return Draws(number.to_bytes(4, "big"), b"receipt")


def test_the_own_node_comes_first_as_often_as_the_rule_says():
    nodes = [MINE, *(online(f"n{number}", f"o{number}") for number in range(5))]
    own = sum(candidates(WORK, nodes, drawn(number), policy=POLICY) == ("mine",) for number in range(2000))
    assert own / 2000 == pytest.approx(POLICY.own_first / MILLION, abs=0.04)


def test_where_it_should_have_come_first_and_was_not_there_every_audit_is_repeated():
    asked_ones = possible(WORK, [online("x")], {})
    first = next(one for one in map(drawn, range(99)) if one.happens("own", POLICY.own_first))
    assert spared(first, asked_ones, 0, POLICY) == ()


def test_no_operator_does_more_than_its_share_of_anothers_audits():
    nodes, met = [MINE, online("x", "eve")], {"eve": 0}
    for number in range(300):
        (first, *_) = candidates(WORK, nodes, drawn(number), number, **met)
        met["eve"] += first == "x"
    assert met["eve"] / 300 == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize(("passed", "failed", "out"), [(0, 0, False), (199, 1, True), (200, 1, False)])
def test_who_failed_audits_does_none_until_it_proved_itself(passed, failed, out):
    one = Asked("x", "eve", standing=Standing(passed, failed))
    assert is_left_out(one, 100, POLICY) == out
    assert not is_left_out(replace(one, own=True, standing=Standing(0, 9)), 100, POLICY)


def test_pairs_that_meet_more_often_than_chance_are_repeated_more_often():
    def rate(met, audits=100):
        others = [Asked(f"n{number}", f"o{number}") for number in range(9)]
        friend = Asked("x", "eve", met=met)
        return repeat_rate(friend, [*others, friend], audits, POLICY)

    assert rate(0, 0) == rate(1, 1) == rate(10) == rate(15) == POLICY.repeat
    assert POLICY.repeat < rate(18) < rate(20) < MILLION
    assert rate(30) == MILLION


def test_chance_alone_seldom_makes_a_pair_conspicuous():
    """Nine honest operators in a long job: nearly all of their audits stay at the least share."""
    nodes, met, more = [online(f"n{number}", f"o{number}") for number in range(9)], Counter(), 0
    for number in range(500):
        found = possible(WORK, nodes, met)
        (first, *_) = order(drawn(number), found, number, STRANGERS_FIRST)
        chosen = next(one for one in found if one.node == first)
        more += repeat_rate(chosen, found, number, POLICY) > 2 * POLICY.repeat
        met[chosen.operator] += 1
    assert more / 500 < 0.05
