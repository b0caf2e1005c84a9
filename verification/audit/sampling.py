# SPDX-License-Identifier: GPL-3.0-or-later
"""What a beacon round decides about a submission: audited or not, where, and by whom.

Everything is drawn from the round's value and the digest of the node's appointment, which was signed before
the value was out, by HMAC-SHA256 under a name for each purpose, so that anybody who has both can repeat every
choice. Nothing that the farm says afterwards enters.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.audits import MOST_CROPS, AuditOrder, SampleRange
from farm_protocol.fields import Tile, about

MILLION = 1_000_000

Count = Annotated[int, msgspec.Meta(ge=1, le=MOST_CROPS)]
Side = Annotated[int, msgspec.Meta(ge=1, le=1024)]


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """How an audited tile is looked at. The sparse pass has two samples at least, because Blender 5.0
    corrupts its memory when it renders cryptomattes of several layers with one. Own nodes repeat so many of
    strangers' audits that cheating loses even where all strangers are accomplices.
    """

    crops: Annotated[Count, about("crops drawn at random")] = 4
    suspects: Annotated[Count, about("blocks rendered after the sparse pass")] = 3
    side: Annotated[Side, about("side of a crop, pixels")] = 16
    small_side: Annotated[Side, about("side of a crop in small tiles, pixels")] = 8
    small_area: Annotated[
        int, msgspec.Meta(ge=0, le=1 << 34), about("pixels below which a tile is small")
    ] = 65_536
    share: Annotated[
        float,
        msgspec.Meta(ge=0, le=1),
        about("the most of a tile that crops cover, but always one of each kind"),
    ] = 0.03
    sparse_samples: Annotated[
        int, msgspec.Meta(ge=1, le=1 << 24), about("samples of the sparse pass; two at least")
    ] = 2
    repeat: Annotated[
        int,
        msgspec.Meta(ge=0, le=MILLION),
        about("share of strangers' audits that an own node repeats, at least, in a million"),
    ] = 100_000
    own_first: Annotated[
        int, msgspec.Meta(ge=0, le=MILLION), about("share of audits that are the own nodes', in a million")
    ] = 700_000
    most_of_one: Annotated[
        int,
        msgspec.Meta(ge=1, le=MILLION),
        about("share of another's audits that one operator may do, in a million"),
    ] = 333_334
    proven: Annotated[
        int,
        msgspec.Meta(ge=0, le=MILLION),
        about("audits that an operator must have passed since its last failure to audit"),
    ] = 200


class Draws:
    """The draws of one submission. `value` is the beacon round's, `appointment` the appointment's digest."""

    def __init__(self, value: bytes, appointment: bytes) -> None:
        self._seed = hmac.digest(value, appointment, "sha256")

    def number(self, purpose: str, below: int) -> int:
        """A whole number from 0 to `below` - 1; 256 bits make the bias of the remainder nothing."""
        return int.from_bytes(hmac.digest(self._seed, purpose.encode(), "sha256"), "big") % below

    def happens(self, purpose: str, rate: int) -> bool:
        """An event with a chance of `rate` in a million."""
        return self.number(purpose, MILLION) < rate


def is_audited(draws: Draws, rate: int) -> bool:
    """Whether the submission is audited. `rate` in a million stands in its appointment."""
    return draws.happens("audit", rate)


def is_own_first(draws: Draws, policy: AuditPolicy) -> bool:
    """Whether the farm's own node is to audit, and no stranger."""
    return draws.happens("own", policy.own_first)


def is_repeated(draws: Draws, rate: int) -> bool:
    """Whether the farm's own node repeats the audit, at a chance of `rate` in a million."""
    return draws.happens("repeat", rate)


CONFIRMED_LIES = 3
"""After so many tiles of a node that a second look confirmed to be false in a job, a sample is enough."""

SECOND_LOOKS = MILLION // 8
"""That sample, in a million."""


def is_looked_at_again(draws: Draws, confirmed: int) -> bool:
    """Whether the own node renders a tile again before it is rejected for its pixels. `confirmed`: second
    looks that confirmed rejections of the same node in the same job.
    """
    return confirmed < CONFIRMED_LIES or draws.happens("second look", SECOND_LOOKS)


STRIP = 8
"""Pixels from a tile's edge inwards that are rendered with more around them."""

CONTEXT = 64
"""How many pixels more than a tile's own overscan are rendered around a strip."""


def edge_strip(draws: Draws, tile: Tile, area: Tile) -> Tile | None:
    """Strip along one of the tile's edges inside the rendered area; None where no edge lies there, or where
    it would be all of the tile.
    """
    outer = _outer_edges(tile, area)
    strips = [strip for edge, strip in _strips(tile).items() if edge not in outer and strip != tile]
    return strips[draws.number("strip", len(strips))] if strips else None


def is_strip(order: AuditOrder, tile: Tile) -> bool:
    """Whether the order is for one strip along an edge of the tile."""
    return order.sparse is None and len(order.crops) == 1 and order.crops[0] in _strips(tile).values()


def _strips(tile: Tile) -> dict[str, Tile]:
    across, up = min(STRIP, tile.width), min(STRIP, tile.height)
    return {
        "left": Tile(tile.x0, tile.y0, tile.x0 + across, tile.y1),
        "right": Tile(tile.x1 - across, tile.y0, tile.x1, tile.y1),
        "bottom": Tile(tile.x0, tile.y0, tile.x1, tile.y0 + up),
        "top": Tile(tile.x0, tile.y1 - up, tile.x1, tile.y1),
    }


def _outer_edges(tile: Tile, area: Tile) -> set[str]:
    """The edges where the rendered area ends with the tile."""
    ends = {
        "left": tile.x0 == area.x0,
        "right": tile.x1 == area.x1,
        "bottom": tile.y0 == area.y0,
        "top": tile.y1 == area.y1,
    }
    return {edge for edge, there in ends.items() if there}


def whole_order(tile: Tile) -> AuditOrder:
    """What the second look renders: the tile as its node was asked to."""
    return AuditOrder((tile,))


def ranked(draws: Draws, nodes: Iterable[str]) -> tuple[str, ...]:
    """Possible auditors in the order in which they are asked."""
    return tuple(sorted(nodes, key=lambda node: (draws.number(f"auditor:{node}", 1 << 128), node)))


def side_of(tile: Tile, policy: AuditPolicy) -> int:
    """The edge of the crops of a tile, in pixels."""
    return policy.side if tile.area >= policy.small_area else policy.small_side


def crop_count(tile: Tile, wanted: int, policy: AuditPolicy) -> int:
    """How many crops a tile gets where `wanted` are meant: fewer in small tiles, one at least."""
    share = wanted / max(1, policy.crops + policy.suspects) * policy.share
    return max(1, min(wanted, int(share * tile.area / side_of(tile, policy) ** 2)))


def cell_count(tile: Tile, side: int) -> int:
    """How many squares of `side` pixels the tile's grid has; those at its upper and right edge may be cut."""
    return -(-tile.width // side) * -(-tile.height // side)


def cell(tile: Tile, side: int, number: int) -> Tile:
    """A square of the tile's grid, in the frame's pixels, counted in rows from its lower left corner."""
    row, column = divmod(number, -(-tile.width // side))
    x, y = tile.x0 + column * side, tile.y0 + row * side
    return Tile(x, y, min(x + side, tile.x1), min(y + side, tile.y1))


def cells(tile: Tile, side: int) -> Sequence[Tile]:
    """All squares of the tile's grid, in order."""
    return [cell(tile, side, number) for number in range(cell_count(tile, side))]


def random_crops(draws: Draws, tile: Tile, policy: AuditPolicy) -> tuple[Tile, ...]:
    """The random crops of a tile, all different, in the order they were drawn: each is a number among the
    cells that are left.
    """
    side = side_of(tile, policy)
    total = cell_count(tile, side)
    chosen: list[int] = []
    for index in range(min(crop_count(tile, policy.crops, policy), total)):
        number = draws.number(f"crop:{index}", total - index)
        for taken in sorted(chosen):
            number += number >= taken
        chosen.append(number)
    return tuple(cell(tile, side, number) for number in chosen)


def first_order(
    draws: Draws, tile: Tile, samples: int, policy: AuditPolicy, croppable: bool = True
) -> AuditOrder:
    """What the first auditor renders. A tile whose crops would not equal it (`croppable` False) is
    rendered whole.
    """
    if not croppable:
        return AuditOrder((tile,))
    count = min(policy.sparse_samples, samples)
    first = draws.number("sparse", samples - count + 1)
    return AuditOrder(random_crops(draws, tile, policy), SampleRange(first, count))


def second_order(
    tile: Tile, suspects: Sequence[Tile], policy: AuditPolicy, must: int = 0
) -> AuditOrder | None:
    """What is rendered after the sparse pass: its most suspicious blocks, the first `must` of them in any
    case; None where there are none.
    """
    chosen = tuple(suspects[: max(must, crop_count(tile, policy.suspects, policy))])
    return AuditOrder(chosen) if chosen else None
