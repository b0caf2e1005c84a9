# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether signed heads of a farm's log can be of one log. Two that cannot convict the farm that signed."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec

from farm_protocol.documents import LogHead
from farm_protocol.errors import FarmError
from farm_protocol.fields import Address, Sentence, convert
from verification.audit.records import LogConsistency, SignedHead
from verification.protocol import attestation, log

KIND: Final = "render farm: evidence of two logs"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two heads that the farm signed and that cannot be of one log. Where it takes a proof to see that,
    `proof` is what the farm gave; None where it gave none.
    """

    kind: Literal["render farm: evidence of two logs"]
    farm: Address
    why: Sentence
    first: SignedHead
    second: SignedHead
    proof: LogConsistency | None = None


def is_signed(head: SignedHead, farm: str) -> bool:
    """Whether the farm signed the head."""
    try:
        attestation.require_signer(LogHead(head.round, head.size, head.root), farm, head.signature, farm)
    except FarmError:
        return False
    return True


def contradiction(one: SignedHead, other: SignedHead) -> str:
    """Why two heads cannot be of one log; '' where they can."""
    first, second = sorted((one, other), key=lambda head: head.round)
    if first.round == second.round:
        same = (first.size, first.root) == (second.size, second.root)
        return "" if same else f"There are two heads of round {first.round}."
    if first.size > second.size:
        return f"The log of round {second.round} is shorter than that of round {first.round}."
    if first.size == second.size and first.root != second.root:
        return f"The logs of rounds {first.round} and {second.round} are as long and have different leaves."
    return ""


def continues(first: SignedHead, second: SignedHead, proof: LogConsistency) -> bool:
    """Whether the proof shows that the second head's log begins with the first's."""
    roots = bytes.fromhex(first.root), bytes.fromhex(second.root)
    path = [bytes.fromhex(step) for step in proof.path]
    if (proof.first, proof.second) != (first.size, second.size):
        return False
    return log.is_consistent(first.size, second.size, *roots, path)


def found_in(document: Any, farm: str = "") -> Iterator[tuple[str, SignedHead]]:
    """All heads in a document (a receipt, a job's record, kept heads, evidence), with the farm each is of,
    not checked yet.
    """
    if isinstance(document, list):
        for one in document:
            yield from found_in(one, farm)
    if not isinstance(document, dict):
        return
    named = document.get("farm")
    named = named.get("address") if isinstance(named, dict) else named
    farm = named if isinstance(named, str) else farm
    head = {name: document.get(name) for name in ("round", "size", "root", "signature")}
    if None not in head.values():
        with suppress(msgspec.ValidationError):
            yield farm, convert(head, SignedHead)
    for value in document.values():
        yield from found_in(value, farm)


def contradictions(heads: Sequence[SignedHead]) -> Iterator[tuple[SignedHead, SignedHead, str]]:
    """Heads of one farm that cannot be of one log, each with the one before it."""
    ordered = sorted(set(heads), key=lambda head: (head.round, head.size))
    for first, second in pairwise(ordered):
        why = contradiction(first, second)
        if why:
            yield first, second, why
