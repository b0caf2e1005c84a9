# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes to the chain together with a raise: redeeming costs gas, so only where stake is short."""

from dataclasses import replace

from farm_protocol.ids import JobId
from payments.messages import accepted_tree
from payments.messages.promises import Signed, Voucher
from render_farm.settlement.chain_actions import ActionKind, ChainAction, Context, due_actions
from render_farm.settlement.redeem_debounce import RELEASE_SECONDS, RedeemDebounce
from render_farm.settlement.stakes import required
from tests.support.settling import FARM, NETWORK, OPERATOR, PRICE, Paper, facts

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
    promise = replace(held.promise, voucher=Signed(said, "0x" + "00" * 65))
    paper.ledger.promise(replace(held, promise=paper.signer.raised(promise, 100 * PRICE)))
    return paper


def kinds(paper: Paper, stake: int) -> list[ActionKind]:
    context = Context(NOW, FARM, NETWORK, {OPERATOR.lower(): stake})
    return [action.kind for action in due_actions(paper.ledger, facts(), {}, context)]


def test_a_raise_goes_alone_where_there_is_stake_for_it_and_for_another() -> None:
    more = required(100 * PRICE, SHARE) - required(16 * PRICE, SHARE)
    paper = raised_after_ten_tasks()
    assert kinds(paper, 2 * more) == [ActionKind.RAISE]
    assert kinds(paper, 2 * more - 1) == [ActionKind.REDEEM_FIRST, ActionKind.RAISE]
    assert kinds(paper, 0) == [ActionKind.REDEEM_FIRST, ActionKind.RAISE]


def test_a_last_voucher_waits_a_moment_for_its_release_and_for_nothing_else() -> None:
    paper = raised_after_ten_tasks()
    (held,) = paper.ledger.held.values()
    ended = replace(held.promise, ended=True, cap_raise=None)
    redeem, release, close = (
        ChainAction(kind, held.agreement, ended, job=JobId("job1"), number=1)
        for kind in (ActionKind.REDEEM, ActionKind.RELEASE, ActionKind.CLOSE)
    )
    debounce = RedeemDebounce()
    assert debounce.due([redeem], NOW) == []
    assert debounce.due([redeem], NOW + RELEASE_SECONDS - 0.1) == []
    assert debounce.due([redeem], NOW + RELEASE_SECONDS) == [redeem]
    assert RedeemDebounce().due([redeem, release], NOW) == [redeem, release]
    assert RedeemDebounce().due([redeem, close], NOW) == [redeem, close]
    going_on = replace(redeem, promise=held.promise)
    assert RedeemDebounce().due([going_on], NOW) == [going_on]


def test_of_a_claim_is_struck_what_its_voucher_paid_and_nothing_later() -> None:
    paper = Paper()
    paper.opened()
    held = paper.order()
    paper.agreed(held)
    for frame in (1, 2):
        paper.accept(f"f{frame}.t0", held, frame=frame)
        paper.farm("settled", frame=frame)
    paper.chain("claimed", held.agreement, amount=2 * PRICE, total=0)
    assert ActionKind.STRIKE not in kinds(paper, 0), "its claim stands on no voucher"
    paper.chain("claim_settled", held.agreement)
    paper.chain("paid", held.agreement, amount=PRICE, total=PRICE)
    paper.chain("claimed", held.agreement, amount=2 * PRICE, total=PRICE)
    context = Context(NOW, FARM, NETWORK)
    (strike,) = (
        one for one in due_actions(paper.ledger, facts(), {}, context) if one.kind is ActionKind.STRIKE
    )
    assert [credit.task for credit in strike.paid] == ["f1.t0"]
