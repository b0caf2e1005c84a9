# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings errands to the chain with the settler's wallet. Synchronous: it runs in a thread, and only that
thread waits when the chain does.

One batch at a time: what comes together goes into one transaction, and the next is made out of what the
chain has after it. A batch is a new intent each time, because the contracts refuse what is there already.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby

import structlog

from farm_protocol.errors import Conflict
from farm_protocol.ids import JobId
from payments import artifacts, signing
from payments.chain import NoFunds, Reverted
from payments.market import Market
from payments.market_records import AgreementOnChain, AgreementState, Attested, Bench, Call
from payments.outbox import FileOutbox, Intent, Outcome
from payments.promises import Ruling, SignedVoucher, Slash
from payments.sending import Sender, SendingRules, Signer
from render_farm.settlement.errands import Errand, Kind
from render_farm.settlement.knowledge import Trouble
from render_farm.settlement.rulings import ruling

log = structlog.get_logger()

TOGETHER = 40
"""Errands in one transaction: about 7 million gas where all of them open agreements."""
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
    "OverCap": "it is more than the agreement's cap",
    "WrongState": "the agreement is closed, or a claim is pending",
    "TooEarly": "it is too early",
}
"""What the contracts' errors mean to people."""
STOPPING = (Kind.OPEN, Kind.RAISE)
PAYING = (Kind.REDEEM, Kind.REDEEM_FIRST)


@dataclass(frozen=True, slots=True)
class JobErrand:
    """An errand with the job it is for, and the job's bench where it is about a slash."""

    job: JobId
    number: int
    errand: Errand
    arbiters: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is told apart by."""
        return f"{self.job} {self.errand.name}"


class Undecided(Exception):
    """A claim is for work that nothing can be said about: then the receipts stand."""


@dataclass(slots=True)
class Refusal:
    """What the chain said no to, and when it is tried again."""

    trouble: Trouble
    again: float
    times: int = 1


class Courier:
    """One wallet's errands. `clock` in seconds since the epoch."""

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

    def run(self, errands: Sequence[JobErrand]) -> bool:
        """Go on with what was sent; where nothing is under way, send what is to be sent next. Returns whether
        something is under way. Raises Unavailable, and NoFunds where the wallet cannot pay.
        """
        if self._is_under_way():
            return True
        self._outbox.prune(KEPT)
        self._forget_refusals(errands)
        wanted = [one for one in errands if self._is_due(one) and not self._is_there(one)]
        for together in _grouped(wanted):
            self._submit(together)
        return self._is_under_way() if wanted else False

    def troubles(self) -> dict[tuple[JobId, str], Trouble]:
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

    def _forget_refusals(self, errands: Iterable[JobErrand]) -> None:
        """What is not to be done any more is no trouble."""
        wanted = {one.name for one in errands}
        self._refused = {name: found for name, found in self._refused.items() if name in wanted}

    def _is_due(self, one: JobErrand) -> bool:
        refusal = self._refused.get(one.name)
        return refusal is None or self._clock() >= refusal.again

    def _is_there(self, one: JobErrand) -> bool:
        """Whether the chain has it already, whoever brought it and however new it is."""
        errand, market = one.errand, self._market
        if errand.kind is Kind.REPORT:
            return False
        if errand.kind is Kind.REFUND:
            return market.available(one.number) == 0
        if errand.kind in (Kind.PROPOSE, Kind.EXECUTE):
            return market.slash_case(errand.case).stage != (0 if errand.kind is Kind.PROPOSE else 1)
        return _is_so(errand, market.agreement(errand.agreement))

    def _submit(self, together: Sequence[JobErrand]) -> None:
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
            done = {(one.job, one.errand.agreement) for one in together}
            for name in [name for name, about in self._about.items() if about in done]:
                self._refused.pop(name, None)

    def _send(self, together: Sequence[JobErrand]) -> None:
        call = self._call(together)
        digest = hashlib.sha256((call.to + call.data).encode()).hexdigest()[:16]
        key = f"{self._market.chain.head()} {digest}"
        try:
            self._sender.submit(key, call.to, call.data)
        except Conflict as error:
            if isinstance(error, Reverted | NoFunds):
                raise
            log.error("errand_not_sent", reason=error.sentence)
            return
        log.info("errands_sent", key=key, errands=[one.name for one in together])
        self._sender.advance()

    def _call(self, together: Sequence[JobErrand]) -> Call:
        made: list[Call] = []
        for kind, some in groupby(together, lambda one: one.errand.kind):
            if kind in PAYING:
                made.append(self._market.redeem(_vouchers(some)))
            else:
                made += [self._one_call(one) for one in some]
        return made[0] if len(made) == 1 else self._market.multicall(made)

    def _one_call(self, one: JobErrand) -> Call:
        market, errand = self._market, one.errand
        promise = errand.promise
        if errand.kind is Kind.OPEN and promise is not None:
            return market.open_agreement(promise.offer, promise.order)
        if errand.kind is Kind.RAISE and promise is not None and promise.cap_raise is not None:
            return market.raise_cap(promise.cap_raise)
        if errand.kind is Kind.RELEASE and errand.release is not None:
            return market.release_for(errand.release)
        if errand.kind is Kind.PROPOSE and errand.slash is not None:
            return market.propose_slash(errand.slash, self._bench(errand.slash, one))
        by_name: dict[Kind, Callable[[], Call]] = {
            Kind.RULE: lambda: self._ruling(one),
            Kind.REPORT: lambda: self._report(errand),
            Kind.EXECUTE: lambda: market.execute_slash(errand.case),
            Kind.SETTLE_CLAIM: lambda: market.settle_claim(errand.agreement),
            Kind.CLOSE: lambda: market.close(errand.agreement),
            Kind.REFUND: lambda: market.refund(one.number),
        }
        return by_name[errand.kind]()

    def _ruling(self, one: JobErrand) -> Call:
        market, errand = self._market, one.errand
        extra = market.claim(errand.agreement).extra
        told = ruling(errand.stands, errand.agreement, extra, lambda task: market.claimed(one.number, task))
        if told is None:
            raise Undecided
        said = Ruling(errand.agreement, told)
        return market.rule_claim(said, self._bench(said, one))

    def _report(self, errand: Errand) -> Call:
        twice = errand.twice
        assert twice is not None
        one, other = Attested(*astuple(twice.one)), Attested(*astuple(twice.other))
        return self._market.report_equivocation(
            errand.agreement, one, twice.one_signature, other, twice.other_signature
        )

    def _bench(self, said: Slash | Ruling, one: JobErrand) -> Bench:
        signed = signing.sign(said, self._market.network, self._key)
        return Bench(one.arbiters, 1, (signed,))

    def _refuse(self, one: JobErrand, error: Reverted) -> None:
        name = artifacts.error_name(error.data)
        why = REASONS.get(name, name or "the contract refuses")
        agreement = one.errand.agreement
        sentence = f"The chain refuses to {_VERBS[one.errand.kind]} agreement {agreement[:10]}: {why}."
        if one.errand.kind is Kind.REFUND:
            sentence = f"The chain refuses the refund: {why}."
        trouble = Trouble(sentence, one.errand.kind in STOPPING)
        times = self._refused[one.name].times + 1 if one.name in self._refused else 1
        if times == 1:
            log.warning("errand_refused", errand=one.name, error=name, reason=sentence)
        pause = min(AGAIN_SECONDS, FIRST_PAUSE * 2**times)
        self._refused[one.name] = Refusal(trouble, self._clock() + pause, times)
        self._about[one.name] = (one.job, agreement)


_VERBS = {
    Kind.OPEN: "open",
    Kind.REDEEM: "pay",
    Kind.REDEEM_FIRST: "pay",
    Kind.RAISE: "raise the cap of",
    Kind.RELEASE: "release",
    Kind.REPORT: "slash",
    Kind.PROPOSE: "slash",
    Kind.EXECUTE: "carry out the slash of",
    Kind.RULE: "rule on the claim under",
    Kind.SETTLE_CLAIM: "settle the claim under",
    Kind.CLOSE: "close",
    Kind.REFUND: "",
}


def _is_so(errand: Errand, found: AgreementOnChain) -> bool:
    """Whether an agreement is already as the errand would make it."""
    promise = errand.promise
    voucher = promise.voucher if promise else None
    more = promise.cap_raise if promise else None
    if errand.kind in PAYING:
        return voucher is None or found.paid >= voucher.message.cumulative
    if errand.kind is Kind.RAISE:
        return more is None or found.cap >= more.message.cap
    over = (AgreementState.NONE, AgreementState.OPEN, AgreementState.CLOSED)
    states = {
        Kind.RULE: over,
        Kind.OPEN: (AgreementState.OPEN, AgreementState.CLAIMED, AgreementState.CLOSED),
        Kind.SETTLE_CLAIM: over,
    }
    return found.state in states.get(errand.kind, (AgreementState.CLOSED, AgreementState.CLAIMED))


def _grouped(wanted: Sequence[JobErrand]) -> list[list[JobErrand]]:
    """What goes together: calls of the market, so many at a time; calls of the disputes contract alone."""
    alone = (Kind.REPORT, Kind.PROPOSE, Kind.EXECUTE, Kind.RULE)
    of_market = [one for one in wanted if one.errand.kind not in alone]
    groups = [of_market[first : first + TOGETHER] for first in range(0, len(of_market), TOGETHER)]
    return groups + [[one] for one in wanted if one.errand.kind in alone]


def _parts(together: Sequence[JobErrand]) -> list[list[JobErrand]]:
    """A batch that was refused, by agreement; of one agreement's errands the first, because what comes after
    it may need it to be mined.
    """
    by_agreement: dict[str, list[JobErrand]] = {}
    for one in together:
        by_agreement.setdefault(f"{one.job} {one.errand.agreement}", []).append(one)
    if len(by_agreement) > 1:
        return list(by_agreement.values())
    return [[together[0]]]


def _vouchers(some: Iterable[JobErrand]) -> list[SignedVoucher]:
    promises = [one.errand.promise for one in some]
    return [promise.voucher for promise in promises if promise is not None and promise.voucher is not None]


def _log_outcome(intent: Intent) -> None:
    said = log.info if intent.outcome is Outcome.DONE else log.warning
    said("transaction_over", key=intent.key, outcome=intent.outcome.value, transaction=intent.transaction)
