# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of a frame's receipt, without network: a sentence for each thing that is wrong."""

from collections.abc import Iterator, Mapping

from frame_splitter.errors import FarmError
from frame_splitter.fields import Tile
from verification import attestation, beacon, detection, merkle, sampling
from verification.attestation import LogHead
from verification.receipt_records import (
    Receipt,
    ReceiptAudit,
    ReceiptTile,
    SignedReceipt,
    canonical,
    policy_of,
    read,
)
from verification.records import Round
from verification.verdict import Outcome


def verify(document: bytes, farm: str | None = None) -> list[str]:
    """What is wrong with a receipt; nothing where it holds. `farm` is the address it should be signed by:
    without it, any farm's receipt holds, so a reader compares `farm` in it with the one known.
    """
    try:
        signed = read(document)
        return list(_findings(signed, farm))
    except FarmError as error:
        return [error.sentence]


def _findings(signed: SignedReceipt, farm: str | None) -> Iterator[str]:
    receipt = signed.receipt
    if farm is not None and receipt.farm.lower() != farm.lower():
        yield f"The receipt is of the farm {receipt.farm}, not of {farm}."
    try:
        signer = attestation.document_signer(canonical(receipt), signed.signature)
        if signer.lower() != receipt.farm.lower():
            yield "The receipt was changed after it was signed, or not signed by its farm."
    except FarmError as error:
        yield f"The receipt: {error.sentence}"
    rounds = {one.round: one for one in receipt.rounds}
    yield from _wrong_rounds(receipt, rounds)
    yield from _wrong_cover(receipt)
    for tile in receipt.tiles:
        yield from (f"{tile.task}: {wrong}" for wrong in _wrong_tile(receipt, tile, rounds))
        yield from (f"{tile.task}: {wrong}" for wrong in _wrong_acceptance(receipt, tile))
    for tile in receipt.refused:
        yield from (f"{tile.task} (refused): {wrong}" for wrong in _wrong_tile(receipt, tile, rounds))
    if receipt.detection != detection.curve([tile.receipt.rate for tile in receipt.tiles]):
        yield "The chances of meeting a cheat do not follow from the rates."


def _wrong_rounds(receipt: Receipt, rounds: Mapping[int, Round]) -> Iterator[str]:
    if len(rounds) != len(receipt.rounds):
        yield "A beacon round is told twice."
    for one in receipt.rounds:
        head = LogHead(one.round, one.size, one.root)
        try:
            attestation.require_signer(head, receipt.farm, one.signature, receipt.farm)
        except FarmError as error:
            yield f"The log's head of round {one.round}: {error.sentence}"


def _wrong_cover(receipt: Receipt) -> Iterator[str]:
    """Tiles are a grid from the top left, in the order of their tasks, so none can stand for another."""
    names = [f"{receipt.job}.f{receipt.frame}.t{index}" for index in range(len(receipt.tiles))]
    if [tile.task for tile in receipt.tiles] != names:
        yield f"The tiles are not those of frame {receipt.frame} of {receipt.job}, each once and in order."
    if not is_grid([tile.tile for tile in receipt.tiles], receipt.area):
        yield "The tiles do not cover the frame exactly."
    if not {tile.task for tile in receipt.refused} <= set(names):
        yield "A refused submission is of another frame."


def is_grid(tiles: list[Tile], area: Tile) -> bool:
    """Whether the tiles are the rows and columns of a grid over `area`, from the top left on."""
    columns = sorted({(tile.x0, tile.x1) for tile in tiles})
    rows = sorted({(tile.y0, tile.y1) for tile in tiles})
    if len(columns) * len(rows) != len(tiles):
        return False
    chained = _is_chain(columns, area.x0, area.x1) and _is_chain(rows, area.y0, area.y1)
    return chained and tiles == [Tile(x0, y0, x1, y1) for y0, y1 in reversed(rows) for x0, x1 in columns]


def _is_chain(spans: list[tuple[int, int]], start: int, end: int) -> bool:
    edges = [start, *(last for _, last in spans)]
    return edges[-1] == end and all(
        first == edge < last for edge, (first, last) in zip(edges, spans, strict=False)
    )


def _wrong_tile(receipt: Receipt, tile: ReceiptTile, rounds: Mapping[int, Round]) -> Iterator[str]:
    """What is wrong with a submission, accepted or not."""
    if tile.attestation.task != tile.task:
        yield "its node signed another task."
    yield from _wrong_signatures(receipt, tile)
    one = rounds.get(tile.receipt.round)
    if one is None:
        yield f"round {tile.receipt.round}, which decides about it, is missing."
        return
    yield from _wrong_place(receipt, tile, one)
    yield from _wrong_choice(receipt, tile, one, rounds)


def _wrong_signatures(receipt: Receipt, tile: ReceiptTile) -> Iterator[str]:
    try:
        attestation.require_signer(tile.attestation, receipt.farm, tile.signature, tile.address)
    except FarmError as error:
        yield f"the node's attestation: {error.sentence}"
    try:
        attestation.require_signer(tile.receipt, receipt.farm, tile.receipt_signature, receipt.farm)
    except FarmError as error:
        yield f"the farm's receipt of submission: {error.sentence}"
    if attestation.digest(tile.attestation, receipt.farm).hex() != tile.receipt.attestation:
        yield "the farm's receipt of submission is of another attestation."
    for audit in tile.audits:
        try:
            attestation.require_signer(audit.attestation, receipt.farm, audit.signature, audit.address)
        except FarmError as error:
            yield f"audit {audit.task}: {error.sentence}"
        if audit.attestation.task != audit.task:
            yield f"audit {audit.task}: its auditor signed another task."


def _wrong_place(receipt: Receipt, tile: ReceiptTile, one: Round) -> Iterator[str]:
    proof = tile.proof
    leaf = merkle.leaf_hash(attestation.digest(tile.receipt, receipt.farm))
    path = [bytes.fromhex(step) for step in proof.path]
    if not merkle.verify(leaf, proof.leaf, proof.size, path, bytes.fromhex(proof.root)):
        yield "its place in the farm's log is not proved."
    if (proof.size, proof.root) != (one.size, one.root):
        yield "its place in the log is not proved for the log of its round."
    if tile.receipt.time >= receipt.rules.genesis_ms + (one.round - 1) * receipt.rules.period_ms:
        yield "its round was already out when it was submitted."
    if one.value and not beacon.keeps_commitment(bytes.fromhex(one.value), tile.receipt.commitment):
        yield "the round's value is not the one that was committed to."


def _wrong_choice(
    receipt: Receipt, tile: ReceiptTile, one: Round, rounds: Mapping[int, Round]
) -> Iterator[str]:
    """Audited or not, and where, as the round's value says; everything where there was no value."""
    drawn = one if one.value else _next(rounds, one.round)
    if drawn is None:
        yield "no round's value is there to draw its crops from."
        return
    draws = sampling.Draws(bytes.fromhex(drawn.value), attestation.digest(tile.receipt, receipt.farm))
    due = not one.value or sampling.is_audited(draws, tile.receipt.rate)
    if due and not tile.audited:
        yield "its round says that it is audited, and it was not."
    if tile.audited and not due and not tile.forced:
        yield "it was audited although its round does not say so, and no reason is given."
    if tile.audited and tile.audits:
        order = sampling.first_order(
            draws, tile.tile, receipt.settings.samples, policy_of(receipt.rules), tile.croppable
        )
        if (tile.audits[0].crops, tile.audits[0].sparse) != (order.crops, order.sparse):
            yield "its first audit is not of the crops that were drawn."


def _next(rounds: Mapping[int, Round], number: int) -> Round | None:
    return next((rounds[later] for later in sorted(rounds) if later > number and rounds[later].value), None)


def _wrong_acceptance(receipt: Receipt, tile: ReceiptTile) -> Iterator[str]:
    """What must hold of an accepted tile."""
    if tile.verdict.outcome is not Outcome.ACCEPTED:
        yield f"it was not accepted: {tile.verdict.reason}"
    same_build = (tile.attestation.deviceClass, tile.attestation.build) == (
        receipt.device_class,
        receipt.build,
    )
    if not same_build:
        yield "it was rendered on another device class or by another Blender than the frame."
    counted = [audit for audit in tile.audits if not audit.contradicted]
    if tile.audited and not counted:
        yield "it was to be audited, and no audit of it was done."
    yield from (f"audit {audit.task}: {wrong}" for audit in counted for wrong in _wrong_audit(tile, audit))
    if tile.metric is not None and tile.metric.different and any(audit.same_class for audit in counted):
        yield f"{tile.metric.different} pixels differ from its audit, and yet it was accepted."


def _wrong_audit(tile: ReceiptTile, audit: ReceiptAudit) -> Iterator[str]:
    if not audit.own and (audit.operator == tile.operator or audit.node == tile.node):
        yield "its auditor is of the same operator as its node."
    if audit.same_class and audit.attestation.deviceClass != tile.attestation.deviceClass:
        yield "its auditor's device class is not the one told."
    inside = all(
        tile.tile.x0 <= crop.x0 < crop.x1 <= tile.tile.x1
        and tile.tile.y0 <= crop.y0 < crop.y1 <= tile.tile.y1
        for crop in audit.crops
    )
    if not inside:
        yield "a crop lies outside the tile."
