# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be checked of any submission by whoever has its record: who signed what, when, and whether the
round decided what was done. Receipts and replays are made of these checks; each yields sentences.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from frame_splitter.audits import MOST_CROPS, AuditOrder
from frame_splitter.errors import FarmError
from frame_splitter.fields import Tile
from verification import attestation, beacon, drand, sampling
from verification.attestation import LogHead
from verification.rate import Rates, audit_rate
from verification.receipt_records import ReceiptAudit, ReceiptTile
from verification.records import AuditRecord, Round, SubmissionRecord
from verification.sampling import AuditPolicy, Draws

Audited = AuditRecord | ReceiptAudit
Submitted = SubmissionRecord | ReceiptTile


@dataclass(frozen=True)
class Facts:
    """What all submissions of a job are checked against. `beacon` is `local` or a drand chain's hash;
    `genesis` and `period` in seconds, `samples` a pixel as the job pins them.
    """

    farm: str
    beacon: str
    genesis: float
    period: float
    policy: AuditPolicy
    rates: Rates
    samples: int
    rounds: tuple[Round, ...]

    @cached_property
    def by_number(self) -> Mapping[int, Round]:
        """The rounds, the last of those that are told twice."""
        return {one.round: one for one in self.rounds}

    @cached_property
    def told(self) -> Sequence[Round]:
        """The rounds that have a value, in order."""
        return [one for _, one in sorted(self.by_number.items()) if one.value]

    def drawn(self, number: int) -> Round | None:
        """The round whose value is used where a receipt names this one: it, or the next that came."""
        return next((one for one in self.told if one.round >= number), None)


def draws_of(submitted: Submitted, facts: Facts) -> Draws | None:
    """The draws of a submission; None where no round came."""
    drawn = facts.drawn(submitted.receipt.round)
    if drawn is None:
        return None
    return Draws(bytes.fromhex(drawn.value), attestation.digest(submitted.receipt, facts.farm))


def wrong_rounds(facts: Facts) -> Iterator[str]:
    """Rounds told twice, heads of the log that the farm did not sign, values of a public beacon that are
    not its own, and logs that became shorter.
    """
    if len(facts.by_number) != len(facts.rounds):
        yield "A beacon round is told twice."
    size = 0
    for number, one in sorted(facts.by_number.items()):
        head = LogHead(one.round, one.size, one.root)
        yield from _wrong_signer(f"the log's head of round {number}", head, facts, one.signature, facts.farm)
        if one.size < size:
            yield f"round {number}: the log is shorter than before."
        size = max(size, one.size)
        if facts.beacon != beacon.LOCAL and one.value:
            wrong = drand.wrong(facts.beacon, number, one.value, one.beacon_signature)
            yield from [f"round {number}: {wrong}"] if wrong else []


def wrong_submission(submitted: Submitted, task: str, tile: Tile, facts: Facts) -> Iterator[str]:
    """All that can be said against a submission of a task, whatever was decided about it."""
    if submitted.attestation.task != task:
        yield "its node signed another task."
    yield from _wrong_signatures(submitted, facts)
    yield from _wrong_time(submitted, facts)
    expected = audit_rate(submitted.standing, submitted.operator_standing, submitted.own, facts.rates)
    if submitted.receipt.rate != expected:
        yield f"its chance of an audit was {submitted.receipt.rate} in a million, and should be {expected}."
    for audit in submitted.audits:
        yield from (f"audit {audit.task}: {wrong}" for wrong in _wrong_audit(submitted, audit, tile, facts))
    yield from _wrong_choice(submitted, tile, facts)


def _wrong_signer(
    what: str, message: attestation.Signed, facts: Facts, signature: str | None, address: str
) -> Iterator[str]:
    try:
        attestation.require_signer(message, facts.farm, signature, address)
    except FarmError as error:
        yield f"{what}: {error.sentence}"


def _wrong_signatures(submitted: Submitted, facts: Facts) -> Iterator[str]:
    signed, receipt = submitted.attestation, submitted.receipt
    yield from _wrong_signer("the node's attestation", signed, facts, submitted.signature, submitted.address)
    yield from _wrong_signer(
        "the farm's receipt of submission", receipt, facts, submitted.receipt_signature, facts.farm
    )
    if attestation.digest(signed, facts.farm).hex() != receipt.attestation:
        yield "the farm's receipt of submission is of another attestation."


def _wrong_time(submitted: Submitted, facts: Facts) -> Iterator[str]:
    receipt = submitted.receipt
    one = facts.by_number.get(receipt.round)
    if one is None:
        yield f"round {receipt.round}, which decides about it, is missing."
    elif one.value and not beacon.keeps_commitment(bytes.fromhex(one.value), receipt.commitment):
        yield "its round's value is not the one that was committed to."
    if facts.beacon == beacon.LOCAL and receipt.commitment == beacon.NO_COMMITMENT:
        yield "the farm did not commit to its round's value."
    if receipt.time >= (facts.genesis + (receipt.round - 1) * facts.period) * 1000:
        yield "its round was already out when it was submitted."


def _wrong_audit(submitted: Submitted, audit: Audited, tile: Tile, facts: Facts) -> Iterator[str]:
    if not all(_inside(crop, tile) for crop in audit.order.crops):
        yield "a crop lies outside the tile."
    if audit.attestation is None:
        return
    address = audit.address or "an unknown auditor"
    yield from _wrong_signer("its auditor", audit.attestation, facts, audit.signature, address)
    if audit.attestation.task != audit.task:
        yield "its auditor signed another task."
    if not audit.own and (audit.operator == submitted.operator or audit.node == submitted.node):
        yield "its auditor is of the same operator as its node."
    if audit.same_class != (audit.attestation.deviceClass == submitted.attestation.deviceClass):
        yield "its auditor's device class is not the one told."
    if not audit.own and not audit.same_class:
        yield "it was done on another device class by a node that is not the farm's own."


def _inside(crop: Tile, tile: Tile) -> bool:
    across = tile.x0 <= crop.x0 < crop.x1 <= tile.x1
    return across and tile.y0 <= crop.y0 < crop.y1 <= tile.y1


def _wrong_choice(submitted: Submitted, tile: Tile, facts: Facts) -> Iterator[str]:
    """Audited or not, where, and whether again, as the round's value says."""
    draws = draws_of(submitted, facts)
    if draws is None:
        yield "no round's value is there to draw from."
        return
    named = facts.by_number.get(submitted.receipt.round)
    missed = named is not None and not named.value
    due = missed or sampling.is_audited(draws, submitted.receipt.rate)
    if due and not submitted.audited:
        yield "its round says that it is audited, and it was not."
    if submitted.audited and not due and not submitted.forced:
        yield "it was audited although its round does not say so, and no reason is given."
    if submitted.forced and due and not missed:
        yield "it is said to be audited for another reason, but its round says that it is."
    yield from _wrong_orders(submitted, tile, draws, facts)


def _wrong_orders(submitted: Submitted, tile: Tile, draws: Draws, facts: Facts) -> Iterator[str]:
    if not submitted.audits:
        return
    if not submitted.audited:
        yield "it has audits and is said not to be audited."
    first = sampling.first_order(draws, tile, facts.samples, facts.policy, submitted.croppable)
    if submitted.audits[0].order != first:
        yield "its first audit is not of the crops that were drawn."
    for audit in submitted.audits[1:]:
        if not (
            audit.order == first
            or audit.order.is_whole(tile)
            or (audit.own and sampling.is_strip(audit.order, tile))
            or _is_second(audit.order, first, tile, facts.policy)
        ):
            yield f"audit {audit.task}: it is neither of the crops that were drawn nor of suspects' blocks."


def _is_second(order: AuditOrder, first: AuditOrder, tile: Tile, policy: AuditPolicy) -> bool:
    """Whether the order could be of the sparse pass's suspects: some blocks not rendered before. Where values
    are not finite numbers, all of their blocks are rendered, or all of the tile.
    """
    side = sampling.side_of(tile, policy)
    blocks = set(order.crops)
    if order == AuditOrder((tile,)):
        return True
    on_grid = all(_is_block(block, tile, side) for block in blocks)
    fresh = not blocks & set(first.crops) and len(blocks) == len(order.crops)
    return order.sparse is None and 0 < len(blocks) <= MOST_CROPS and fresh and on_grid


def _is_block(block: Tile, tile: Tile, side: int) -> bool:
    if (block.x0 - tile.x0) % side or (block.y0 - tile.y0) % side:
        return False
    return (block.x1, block.y1) == (min(block.x0 + side, tile.x1), min(block.y0 + side, tile.y1))
