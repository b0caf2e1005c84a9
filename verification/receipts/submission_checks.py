# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be checked of any submission by whoever has its record: who signed what, when, and whether the
round decided what was done. Receipts and replays are made of these checks; each yields sentences.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from farm_protocol import documents
from farm_protocol.audits import MOST_CROPS, AuditOrder
from farm_protocol.documents import LogHead
from farm_protocol.errors import FarmError
from farm_protocol.fields import Tile
from verification.audit import sampling
from verification.audit.rate import Rates, appointed_rate
from verification.audit.records import AuditRecord, Round, SubmissionRecord
from verification.audit.sampling import AuditPolicy, Draws
from verification.protocol import attestation, beacon, drand
from verification.receipts.records import ReceiptAudit, ReceiptTile

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


def draws_of(submitted: Submitted, facts: Facts) -> Draws | None:
    """The draws of a submission: by the round that its node named, and no other; None where it is missing."""
    one = facts.by_number.get(submitted.appointment.round)
    if one is None:
        return None
    return Draws(bytes.fromhex(one.value), attestation.digest(submitted.appointment, facts.farm))


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
        if facts.beacon != beacon.LOCAL:
            wrong = drand.wrong(facts.beacon, number, one.value, one.beacon_signature)
            yield from [f"round {number}: {wrong}"] if wrong else []


def wrong_submission(submitted: Submitted, task: str, tile: Tile, facts: Facts) -> Iterator[str]:
    """All that can be said against what was `submitted` for the part `tile` under the id `task`, in
    sentences, whatever was decided about it. `facts` is what the document says of farm, rounds and rules.
    """
    if submitted.attestation.task != task:
        yield "its node signed another task."
    yield from _wrong_signatures(submitted, facts)
    yield from _wrong_time(submitted, facts)
    yield from _wrong_rate(submitted, facts)
    for audit in submitted.audits:
        yield from (f"audit {audit.task}: {wrong}" for wrong in _wrong_audit(submitted, audit, tile, facts))
    yield from _wrong_choice(submitted, tile, facts)


def _wrong_signer(
    what: str, message: documents.Signed, facts: Facts, signature: str | None, address: str
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
    appointed, by = submitted.appointment, submitted.appointment_signature
    yield from _wrong_signer("the node's appointment", appointed, facts, by, submitted.address)
    if attestation.digest(signed, facts.farm).hex() != appointed.attestation:
        yield "its node's appointment is for another attestation."
    if not attestation.is_receipt_of(receipt, appointed):
        yield "the farm's receipt of submission is not of its node's appointment."


def _wrong_rate(submitted: Submitted, facts: Facts) -> Iterator[str]:
    told = submitted.appointment.rate
    expected = appointed_rate(
        submitted.standing,
        submitted.operator_standing,
        submitted.own,
        submitted.appointment.attempt,
        facts.rates,
    )
    if told != expected:
        yield f"its chance of an audit was {told} in a million, and should be {expected}."


def _wrong_time(submitted: Submitted, facts: Facts) -> Iterator[str]:
    receipt = submitted.receipt
    one = facts.by_number.get(receipt.round)
    if one is None:
        yield f"round {receipt.round}, which decides about it, is missing."
    elif not beacon.keeps_commitment(bytes.fromhex(one.value), receipt.commitment):
        yield "its round's value is not the one that was committed to."
    if facts.beacon == beacon.LOCAL and receipt.commitment == beacon.NO_COMMITMENT:
        yield "the farm did not commit to its round's value."
    # The log is closed for a round when the one before it is out (`beacon.closing_time`).
    if receipt.time >= (facts.genesis + (receipt.round - 2) * facts.period) * 1000:
        yield "the log was already closed for its round when it was submitted."


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
    due = sampling.is_audited(draws, submitted.appointment.rate)
    if due and not submitted.audited:
        yield "its round says that it is audited, and it was not."
    if submitted.audited and not due and not submitted.forced:
        yield "it was audited although its round does not say so, and no reason is given."
    if submitted.forced and due:
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
