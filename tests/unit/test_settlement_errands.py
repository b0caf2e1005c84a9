# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes to the chain together with a raise: redeeming costs gas, so only where stake is short."""

from dataclasses import replace

from farm_protocol.ids import JobId
from payments import accepted_tree
from payments.promises import SignedVoucher, Voucher
from render_farm.settlement.courier import JobErrand
from render_farm.settlement.errands import Errand, Kind, Moment, errands
from render_farm.settlement.patience import RELEASE_SECONDS, Patience
from render_farm.settlement.stakes import required
from tests.settling import FARM, NETWORK, OPERATOR, PRICE, Paper, facts

SHARE = 93_750
NOW = 1_900_000_000.0


def raised_after_ten_tasks() -> Paper:
    """A job with one agreement, ten tasks of which are vouched for and not paid, and a cap of 100."""
    paper = Paper()
    paper.opened()
    held = paper.order()
    paper.agreed(held)
    root, _ = accepted_tree.root(())
    said = Voucher(held.agreement, 10 * PRICE, root)
    promise = replace(held.promise, voucher=SignedVoucher(said, "0x" + "00" * 65))
    paper.book.promise(replace(held, promise=paper.pen.raised(promise, 100 * PRICE)))
    return paper


def kinds(paper: Paper, stake: int) -> list[Kind]:
    moment = Moment(NOW, FARM, NETWORK, {OPERATOR.lower(): stake})
    return [errand.kind for errand in errands(paper.book, facts(), {}, moment)]


def test_a_raise_goes_alone_where_there_is_stake_for_it_and_for_another() -> None:
    more = required(100 * PRICE, SHARE) - required(16 * PRICE, SHARE)
    paper = raised_after_ten_tasks()
    assert kinds(paper, 2 * more) == [Kind.RAISE]
    assert kinds(paper, 2 * more - 1) == [Kind.REDEEM_FIRST, Kind.RAISE]
    assert kinds(paper, 0) == [Kind.REDEEM_FIRST, Kind.RAISE]


def test_a_last_voucher_waits_a_moment_for_its_release_and_for_nothing_else() -> None:
    paper = raised_after_ten_tasks()
    (held,) = paper.book.held.values()
    ended = replace(held.promise, ended=True, cap_raise=None)
    redeem, release, close = (
        JobErrand(JobId("job1"), 1, Errand(kind, held.agreement, ended))
        for kind in (Kind.REDEEM, Kind.RELEASE, Kind.CLOSE)
    )
    patience = Patience()
    assert patience.due([redeem], NOW) == []
    assert patience.due([redeem], NOW + RELEASE_SECONDS - 0.1) == []
    assert patience.due([redeem], NOW + RELEASE_SECONDS) == [redeem]
    assert Patience().due([redeem, release], NOW) == [redeem, release]
    assert Patience().due([redeem, close], NOW) == [redeem, close]
    going_on = replace(redeem, errand=replace(redeem.errand, promise=held.promise))
    assert Patience().due([going_on], NOW) == [going_on]
