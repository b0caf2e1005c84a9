# SPDX-License-Identifier: GPL-3.0-or-later
"""What the own node's renders of a whole tile say about what was submitted. Pure; replays repeat it.

On a device that adds in order roots are compared: the check has found the submitted file to have the one its
node signed, and the own node signs its renders like any others. On a device that adds in any order no two
renders have the same root, and what the check found between the pictures decides.
"""

from collections.abc import Sequence

from farm_protocol.audits import CheckReport
from farm_protocol.device_classes import Summation, summation_of
from verification.records import AuditRecord, SubmissionRecord
from verification.verdict import SecondLook

RENDERS = 2
"""How often the own node renders a tile before anybody is blamed: two that differ prove that nobody is."""


def renders_of(one: SubmissionRecord) -> list[AuditRecord]:
    """The own node's renders of the whole tile, as its node was asked to."""
    return [
        audit
        for audit in one.audits
        if audit.own and audit.attestation is not None and audit.order.is_whole(one.task.tile)
    ]


def second_look(one: SubmissionRecord, report: CheckReport | None) -> SecondLook:
    """What they found. One that is equal is enough, and so is one pair that is not alike. `report`: what the
    last check found.
    """
    done = renders_of(one)
    same = [audit for audit in done if audit.same_class]
    in_bits = summation_of(one.device_class) is Summation.IN_ORDER
    if _unlike_in_bits(same) if in_bits else _any_of(same, report.unlike if report else ()):
        return SecondLook.UNREPEATABLE
    if _equal_in_bits(one, same) if in_bits else _any_of(same, report.confirmed if report else ()):
        return SecondLook.EQUAL
    if len(same) >= RENDERS:
        return SecondLook.DIFFERENT
    return SecondLook.OTHER_CLASS if len(done) >= RENDERS else SecondLook.NONE


def _unlike_in_bits(renders: Sequence[AuditRecord]) -> bool:
    return len(_roots(renders)) > 1


def _equal_in_bits(one: SubmissionRecord, renders: Sequence[AuditRecord]) -> bool:
    return one.attestation.pixelRoot in _roots(renders)


def _roots(renders: Sequence[AuditRecord]) -> set[str]:
    return {audit.attestation.pixelRoot for audit in renders if audit.attestation is not None}


def _any_of(renders: Sequence[AuditRecord], tasks: Sequence[str]) -> bool:
    return any(audit.task in tasks for audit in renders)
