# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings actions to the chain with the settler's wallet. Synchronous: it runs in a thread, and only that
thread waits when the chain does.

One batch at a time: what comes together goes into one transaction, and the next is made out of what the
chain has after it. A batch is a new intent each time, because the contracts refuse what is there already.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import structlog

from farm_protocol.errors import Conflict
from farm_protocol.ids import JobId
from payments.chain import artifacts
from payments.chain.market import Market
from payments.chain.market_records import AgreementOnChain, AgreementState, ArbiterPanel, Call
from payments.chain.outbox import FileOutbox, Intent, Outcome
from payments.chain.rpc import NoFunds, Reverted
from payments.chain.sending import Sender, SendingRules, Signer
from payments.messages import accepted_tree, signing
from payments.messages.promises import Credit, Ruling, Signed, Slash, Voucher
from render_farm.settlement.chain_actions import ActionKind, ChainAction
from render_farm.settlement.chain_snapshot import ChainError
from render_farm.settlement.rulings import ruling

log = structlog.get_logger()

TOGETHER = 40
"""Actions in one transaction: about 7 million gas where all of them open agreements."""
FIRST_PAUSE, AGAIN_SECONDS = 0.5, 30.0
"""What the chain refused is tried again after a while: stake or money may have come."""
KEPT = 200
"""Intents that are over and still kept."""
REASONS = {
    "TooLittleStake": "its operator has too little free stake",
    "OverBudget": "the job's deposit does not cover it any more",
    "OfferGone": "its operator took the offer back",
    "OfferUnfit": "the offer does not fit the job any more",
    "OverOffer": "the offer is used up",
    "NoSession": "the farm's key for the job was revoked",
    "Over": "the job's deadline is over",
    "AgreementSlashed": "stake behind it was slashed",
    "NothingToSlash": "no stake stands behind it any more",
    "NotTheBench": "the job's arbiters are others",
    "PaidLess": "less was paid than its operator asks",
    "NotShown": "the voucher of the claim does not have it",
    "OverCap": "it is more than the agreement's cap",
    "WrongState": "the agreement is closed, or a claim is pending",
    "TooEarly": "it is too early",
}
"""What the contracts' errors mean to people."""
STOPPING = (ActionKind.OPEN, ActionKind.RAISE)
PAYING = (ActionKind.REDEEM, ActionKind.REDEEM_FIRST)


class Undecided(Exception):
    """A claim is for work that nothing can be said about: then the receipts stand."""


@dataclass(slots=True)
class Refusal:
    """What the chain said no to, and when it is tried again."""

    trouble: ChainError
    again: float
    times: int = 1


class TransactionSubmitter:
    """One wallet's actions. `clock` in seconds since the epoch."""

    def __init__(
        self,
        market: Market,
        signer: Signer,
        outbox: FileOutbox,
        farm_key: bytes,
        clock: Callable[[], float],
    ) -> None:
        self._market = market
        self._outbox = outbox
        self._key = farm_key
        self._clock = clock
        rules = SendingRules(confirmations=market.network.confirmations)
        self._sender = Sender(market.chain, signer, outbox, clock, rules)
        self._refused: dict[str, Refusal] = {}
        self._about: dict[str, tuple[JobId, str]] = {}
        self._named: dict[tuple[str, int], list[int]] = {}

    def run(self, actions: Sequence[ChainAction]) -> bool:
        """Go on with what was sent; where nothing is under way, send what is to be sent next. Returns whether
        something is under way. Raises Unavailable, and NoFunds where the wallet cannot pay.
        """
        if self._is_under_way():
            return True
        self._outbox.prune(KEPT)
        self._forget_refusals(actions)
        wanted = [one for one in actions if self._is_due(one) and not self._is_there(one)]
        for together in _grouped(wanted):
            self._submit(together)
        return self._is_under_way() if wanted else False

    def troubles(self) -> dict[tuple[JobId, str], ChainError]:
        """What the chain refuses now, by job and agreement."""
        return {self._about[name]: refusal.trouble for name, refusal in self._refused.items()}

    def _is_under_way(self) -> bool:
        before = {intent.key for intent in self._outbox.all() if intent.outcome is Outcome.PENDING}
        if not before:
            return False
        after = self._sender.advance()
        for intent in after:
            if intent.key in before and intent.outcome is not Outcome.PENDING:
                _log_outcome(intent)
        return any(intent.outcome is Outcome.PENDING for intent in after)

    def _forget_refusals(self, actions: Iterable[ChainAction]) -> None:
        """What is not to be done any more is no trouble."""
        wanted = {one.name for one in actions}
        self._refused = {name: found for name, found in self._refused.items() if name in wanted}

    def _is_due(self, one: ChainAction) -> bool:
        refusal = self._refused.get(one.name)
        return refusal is None or self._clock() >= refusal.again

    def _is_there(self, one: ChainAction) -> bool:
        """Whether the chain has it already, whoever brought it and however new it is."""
        market = self._market
        if one.kind is ActionKind.REPORT:
            return False
        if one.kind is ActionKind.STRIKE:
            return not self._strikable(one)
        if one.kind is ActionKind.REFUND:
            return market.available(one.number) == 0
        if one.kind in (ActionKind.PROPOSE, ActionKind.EXECUTE):
            return market.slash_case(one.case).stage != (0 if one.kind is ActionKind.PROPOSE else 1)
        return _is_so(one, market.agreement(one.agreement))

    def _submit(self, together: Sequence[ChainAction]) -> None:
        """Send them in one transaction; where the chain refuses that, each agreement's on their own."""
        try:
            self._send(together)
        except Undecided:
            return
        except Reverted as error:
            if len(together) == 1:
                self._refuse(together[0], error)
                return
            for part in _parts(together):
                self._submit(part)
        else:
            # What was refused for want of this may be tried again at once.
            done = {(one.job, one.agreement) for one in together}
            for name in [name for name, about in self._about.items() if about in done]:
                self._refused.pop(name, None)

    def _send(self, together: Sequence[ChainAction]) -> None:
        call = self._call(together)
        digest = hashlib.sha256((call.to + call.data).encode()).hexdigest()[:16]
        key = f"{self._market.chain.head()} {digest}"
        try:
            self._sender.submit(key, call.to, call.data)
        except Conflict as error:
            if isinstance(error, Reverted | NoFunds):
                raise
            log.error("action_not_sent", reason=error.sentence)
            return
        log.info("actions_sent", key=key, actions=[one.name for one in together])
        self._sender.advance()

    def _call(self, together: Sequence[ChainAction]) -> Call:
        made: list[Call] = []
        for kind, some in groupby(together, lambda one: one.kind):
            if kind in PAYING:
                made.append(self._market.redeem(_vouchers(some)))
            elif kind is ActionKind.STRIKE:
                made += [call for one in some for call in self._strikes(one)]
            else:
                made += [self._one_call(one) for one in some]
        if not made:
            raise Undecided
        return made[0] if len(made) == 1 else self._market.multicall(made)

    def _strikes(self, one: ChainAction) -> list[Call]:
        name, paid = one.agreement, one.paid
        return [
            self._market.show_paid(name, paid[index], accepted_tree.way(paid, index))
            for index in self._strikable(one)[:TOGETHER]
        ]

    def _strikable(self, one: ChainAction) -> list[int]:
        """Which of the credits that were paid are claimed again. What a claim names stays as it is, so all
        credits are looked up once.
        """
        name, paid = one.agreement, one.paid
        claim = self._market.claim(name)
        if self._market.agreement(name).state is not AgreementState.CLAIMED:
            return []
        known = self._named.get((name, claim.filed_at))
        if known is None:
            shown = accepted_tree.root(paid) == (claim.root, claim.base)
            known = [index for index in range(len(paid)) if shown and self._is_claimed(one, paid[index])]
            self._named[name, claim.filed_at] = known
        return [index for index in known if self._is_claimed(one, paid[index])]

    def _is_claimed(self, one: ChainAction, credit: Credit) -> bool:
        """Whether all that is claimed for a credit's task was paid. Where more is claimed, what is left of it
        after striking would be of no task, and nothing could be ruled about it: that is for who contests.
        """
        amount, begins = self._market.claimed(one.number, credit.task)
        return 0 < amount <= credit.amount and one.agreement.startswith(begins)

    def _one_call(self, one: ChainAction) -> Call:
        market = self._market
        promise = one.promise
        if one.kind is ActionKind.OPEN and promise is not None:
            return market.open_agreement(promise.offer, promise.order)
        if one.kind is ActionKind.RAISE and promise is not None and promise.cap_raise is not None:
            return market.raise_cap(promise.cap_raise)
        if one.kind is ActionKind.RELEASE and one.release is not None:
            return market.release_for(one.release)
        if one.kind is ActionKind.PROPOSE and one.slash is not None:
            return market.propose_slash(one.slash, self._panel(one.slash, one))
        by_name: dict[ActionKind, Callable[[], Call]] = {
            ActionKind.RULE: lambda: self._ruling(one),
            ActionKind.REPORT: lambda: self._report(one),
            ActionKind.EXECUTE: lambda: market.execute_slash(one.case),
            ActionKind.SETTLE_CLAIM: lambda: market.settle_claim(one.agreement),
            ActionKind.CLOSE: lambda: market.close(one.agreement),
            ActionKind.REFUND: lambda: market.refund(one.number),
        }
        return by_name[one.kind]()

    def _ruling(self, one: ChainAction) -> Call:
        market = self._market
        extra = market.claim(one.agreement).extra
        told = ruling(one.stands, one.agreement, extra, lambda task: market.claimed(one.number, task))
        if told is None:
            raise Undecided
        said = Ruling(one.agreement, told)
        return market.rule_claim(said, self._panel(said, one))

    def _report(self, one: ChainAction) -> Call:
        proof = one.proof
        assert proof is not None
        return self._market.report_equivocation(
            one.agreement, proof.one, proof.one_signature, proof.other, proof.other_signature
        )

    def _panel(self, said: Slash | Ruling, one: ChainAction) -> ArbiterPanel:
        signed = signing.sign(said, self._market.network, self._key)
        return ArbiterPanel(one.arbiters, 1, (signed,))

    def _refuse(self, one: ChainAction, error: Reverted) -> None:
        name = artifacts.error_name(error.data)
        why = REASONS.get(name, name or "the contract refuses")
        agreement = one.agreement
        sentence = f"The chain refuses to {_VERBS[one.kind]} agreement {agreement[:10]}: {why}."
        if one.kind is ActionKind.REFUND:
            sentence = f"The chain refuses the refund: {why}."
        trouble = ChainError(sentence, one.kind in STOPPING)
        times = self._refused[one.name].times + 1 if one.name in self._refused else 1
        if times == 1:
            log.warning("action_refused", action=one.name, error=name, reason=sentence)
        pause = min(AGAIN_SECONDS, FIRST_PAUSE * 2**times)
        self._refused[one.name] = Refusal(trouble, self._clock() + pause, times)
        self._about[one.name] = (one.job, agreement)


_VERBS = {
    ActionKind.OPEN: "open",
    ActionKind.REDEEM: "pay",
    ActionKind.REDEEM_FIRST: "pay",
    ActionKind.RAISE: "raise the cap of",
    ActionKind.STRIKE: "strike what was paid from the claim under",
    ActionKind.RELEASE: "release",
    ActionKind.REPORT: "slash",
    ActionKind.PROPOSE: "slash",
    ActionKind.EXECUTE: "carry out the slash of",
    ActionKind.RULE: "rule on the claim under",
    ActionKind.SETTLE_CLAIM: "settle the claim under",
    ActionKind.CLOSE: "close",
    ActionKind.REFUND: "",
}


def _is_so(action: ChainAction, found: AgreementOnChain) -> bool:
    """Whether an agreement is already as the action would make it."""
    promise = action.promise
    voucher = promise.voucher if promise else None
    more = promise.cap_raise if promise else None
    if action.kind in PAYING:
        return voucher is None or found.paid >= voucher.message.cumulative
    if action.kind is ActionKind.RAISE:
        return more is None or found.cap >= more.message.cap
    over = (AgreementState.NONE, AgreementState.OPEN, AgreementState.CLOSED)
    states = {
        ActionKind.RULE: over,
        ActionKind.OPEN: (AgreementState.OPEN, AgreementState.CLAIMED, AgreementState.CLOSED),
        ActionKind.SETTLE_CLAIM: over,
    }
    return found.state in states.get(action.kind, (AgreementState.CLOSED, AgreementState.CLAIMED))


def _grouped(wanted: Sequence[ChainAction]) -> list[list[ChainAction]]:
    """What goes together: calls of the market, so many at a time; calls of the disputes contract alone."""
    alone = (ActionKind.REPORT, ActionKind.PROPOSE, ActionKind.EXECUTE, ActionKind.RULE)
    of_market = [one for one in wanted if one.kind not in alone]
    groups = [of_market[first : first + TOGETHER] for first in range(0, len(of_market), TOGETHER)]
    return groups + [[one] for one in wanted if one.kind in alone]


def _parts(together: Sequence[ChainAction]) -> list[list[ChainAction]]:
    """A batch that was refused, by agreement; of one agreement's actions the first, because what comes after
    it may need it to be mined.
    """
    by_agreement: dict[str, list[ChainAction]] = {}
    for one in together:
        by_agreement.setdefault(f"{one.job} {one.agreement}", []).append(one)
    if len(by_agreement) > 1:
        return list(by_agreement.values())
    return [[together[0]]]


def _vouchers(some: Iterable[ChainAction]) -> list[Signed[Voucher]]:
    promises = [one.promise for one in some]
    return [promise.voucher for promise in promises if promise is not None and promise.voucher is not None]


def _log_outcome(intent: Intent) -> None:
    said = log.info if intent.outcome is Outcome.DONE else log.warning
    said("transaction_over", key=intent.key, outcome=intent.outcome.value, transaction=intent.transaction)
