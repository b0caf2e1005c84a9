# SPDX-License-Identifier: GPL-3.0-or-later
"""What the own node's renders of a whole tile say about what was submitted. Pure; replays repeat it.

Roots are compared: the check has found the submitted file to have the one its node signed, and the own
node signs its renders like any others.
"""

from collections.abc import Iterable

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


def second_look(one: SubmissionRecord) -> SecondLook:
    """What they found. One that is equal is enough, and so is one pair that is not alike."""
    done = renders_of(one)
    same = _roots(audit for audit in done if audit.same_class)
    if len(set(same)) > 1:
        return SecondLook.UNREPEATABLE
    if one.attestation.pixelRoot in same:
        return SecondLook.EQUAL
    if len(same) >= RENDERS:
        return SecondLook.DIFFERENT
    return SecondLook.OTHER_CLASS if len(done) >= RENDERS else SecondLook.NONE


def _roots(audits: Iterable[AuditRecord]) -> list[str]:
    return [audit.attestation.pixelRoot for audit in audits if audit.attestation is not None]
