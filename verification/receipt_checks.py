# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of a frame's receipt, without network: a sentence for each thing that is wrong."""

from collections.abc import Iterator, Sequence

from farm_protocol.errors import FarmError
from farm_protocol.fields import Tile
from verification import attestation, detection, merkle
from verification.receipt_records import (
    Receipt,
    ReceiptTile,
    SignedReceipt,
    canonical,
    policy_of,
    rates_of,
    read,
)
from verification.submission_checks import Facts, wrong_rounds, wrong_submission
from verification.verdict import Outcome


def verify(document: bytes, farm: str | None = None) -> list[str]:
    """What is wrong with a receipt; nothing where it holds. `farm` is the address it should be signed by:
    without it, any farm's receipt holds, so a reader compares `farm` in it with the one known.
    """
    try:
        return list(_findings(read(document), farm))
    except FarmError as error:
        return [error.sentence]


def _findings(signed: SignedReceipt, farm: str | None) -> Iterator[str]:
    receipt = signed.receipt
    facts = facts_of(receipt)
    if farm is not None and receipt.farm.lower() != farm.lower():
        yield f"The receipt is of the farm {receipt.farm}, not of {farm}."
    signer = attestation.document_signer(canonical(receipt), signed.signature)
    if signer.lower() != receipt.farm.lower():
        yield "The receipt was changed after it was signed, or not signed by its farm."
    yield from wrong_rounds(facts)
    yield from _wrong_cover(receipt)
    for tile in receipt.tiles:
        yield from (f"{tile.task}: {wrong}" for wrong in _wrong_tile(tile, facts))
        yield from (f"{tile.task}: {wrong}" for wrong in _wrong_acceptance(receipt, tile))
    for tile in receipt.refused:
        yield from (f"{tile.task} (refused): {wrong}" for wrong in _wrong_tile(tile, facts))
    if receipt.detection != detection.curve([tile.receipt.rate for tile in receipt.tiles]):
        yield "The chances of meeting a cheat do not follow from the rates."


def facts_of(receipt: Receipt) -> Facts:
    """What the receipt's submissions are checked against."""
    return Facts(
        farm=receipt.farm,
        beacon=receipt.rules.beacon,
        genesis=receipt.rules.genesis_ms / 1000,
        period=receipt.rules.period_ms / 1000,
        policy=policy_of(receipt.rules),
        rates=rates_of(receipt.rules),
        samples=receipt.settings.samples,
        rounds=receipt.rounds,
    )


def _wrong_cover(receipt: Receipt) -> Iterator[str]:
    """Tiles are a grid from the top left, in the order of their tasks, so none can stand for another."""
    names = [f"{receipt.job}.f{receipt.frame}.t{index}" for index in range(len(receipt.tiles))]
    if [tile.task for tile in receipt.tiles] != names:
        yield f"The tiles are not those of frame {receipt.frame} of {receipt.job}, each once and in order."
    if not is_grid([tile.tile for tile in receipt.tiles], receipt.area):
        yield "The tiles do not cover the frame exactly."
    if not {tile.task for tile in receipt.refused} <= set(names):
        yield "A refused submission is of another frame."


def is_grid(tiles: Sequence[Tile], area: Tile) -> bool:
    """Whether the tiles are the rows and columns of a grid over `area`, from the top left on."""
    columns = sorted({(tile.x0, tile.x1) for tile in tiles})
    rows = sorted({(tile.y0, tile.y1) for tile in tiles})
    if len(columns) * len(rows) != len(tiles):
        return False
    chained = _is_chain(columns, area.x0, area.x1) and _is_chain(rows, area.y0, area.y1)
    wanted = [Tile(x0, y0, x1, y1) for y0, y1 in reversed(rows) for x0, x1 in columns]
    return chained and list(tiles) == wanted


def _is_chain(spans: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Whether each span begins where the one before it ended, from `start` to `end`."""
    for first, last in spans:
        if first != start or last <= first:
            return False
        start = last
    return start == end


def _wrong_tile(tile: ReceiptTile, facts: Facts) -> Iterator[str]:
    """What is wrong with a submission, accepted or not."""
    yield from wrong_submission(tile, tile.task, tile.tile, facts)
    proof = tile.proof
    leaf = merkle.leaf_hash(attestation.digest(tile.receipt, facts.farm))
    path = [bytes.fromhex(step) for step in proof.path]
    if not merkle.verify(leaf, proof.leaf, proof.size, path, bytes.fromhex(proof.root)):
        yield "its place in the farm's log is not proved."
    one = facts.by_number.get(tile.receipt.round)
    if one is not None and (proof.size, proof.root) != (one.size, one.root):
        yield "its place in the log is not proved for the log of its round."


def _wrong_acceptance(receipt: Receipt, tile: ReceiptTile) -> Iterator[str]:
    """What must hold of an accepted tile."""
    if tile.verdict.outcome is not Outcome.ACCEPTED:
        yield f"it was not accepted: {tile.verdict.reason}"
    if (tile.attestation.deviceClass, tile.attestation.build) != (receipt.device_class, receipt.build):
        yield "it was rendered on another device class or by another Blender than the frame."
    counted = [audit for audit in tile.audits if not audit.contradicted]
    if tile.audited and not counted:
        yield "it was to be audited, and no audit of it was done."
    if tile.metric is not None and tile.metric.different and any(audit.same_class for audit in counted):
        yield f"{tile.metric.different} pixels differ from its audit, and yet it was accepted."
