# SPDX-License-Identifier: GPL-3.0-or-later
"""Repeating a farm's choices from what it published of a job, to see whether it followed its own rule.

`replay` says in sentences what is wrong. What is signed or drawn is recomputed: signatures, receipts,
commitments, chances of audits, which submissions were audited, crops, auditors, repeats and verdicts.
What only the farm has seen (its look at the pixels, a node's standing from other jobs, who was online)
is taken as told; the farm's signature over the whole record holds it to that. A submission that the
farm left out altogether shows only where its task was never accepted.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from farm_protocol.device_classes import summation_of
from farm_protocol.errors import FarmError
from farm_protocol.fields import decode, encode
from verification import attestation, selection
from verification.receipt_records import canonical
from verification.records import AuditRecord, JobVerification, SubmissionRecord
from verification.sampling import is_looked_at_again, is_repeated
from verification.second_look import second_look
from verification.submission_checks import Facts, draws_of, wrong_rounds, wrong_submission
from verification.verdict import Outcome, SecondLook, judge, needs_second_look

EQUIVOCATION = "equivocation"
FEWEST_AUDITS = 4
"""Strangers' audits from which on it is looked at who did them: now and then one is there late."""


def signed(verification: JobVerification, key: bytes) -> JobVerification:
    """The job's record as the farm publishes it, signed with its key."""
    plain = decode(encode(replace(verification, signature=None)), JobVerification)
    return replace(plain, signature=attestation.sign_document(canonical(plain), key))


def replay(verification: JobVerification, farm: str | None = None) -> list[str]:
    """What the farm did against its own rule, or has not signed; nothing where all holds. `farm` is the
    address that the record should be of.
    """
    return list(_findings(verification, farm))


def _findings(verification: JobVerification, farm: str | None) -> Iterator[str]:
    facts = facts_of(verification)
    if farm is not None and facts.farm.lower() != farm.lower():
        yield f"The record is of the farm {facts.farm}, not of {farm}."
    yield from _wrong_signature(verification)
    yield from wrong_rounds(facts)
    yield from _wrong_together(verification)
    for one in verification.submissions:
        name = f"{one.task.id} by {one.node}"
        yield from (f"{name}: {wrong}" for wrong in wrong_submission(one, one.task.id, one.task.tile, facts))
        yield from (f"{name}: {wrong}" for wrong in _wrong_record(verification, one, facts))
        yield from (f"{name}: {wrong}" for wrong in _wrong_audits(one, facts))
        yield from (f"{name}: {wrong}" for wrong in _wrong_verdict(one, facts))
        yield from (f"{name}: {wrong}" for wrong in _wrong_second(one, facts))


def facts_of(verification: JobVerification) -> Facts:
    """What the job's submissions are checked against."""
    farm = verification.farm
    return Facts(
        farm=farm.address,
        beacon=farm.beacon,
        genesis=farm.genesis,
        period=farm.period,
        policy=farm.policy,
        rates=farm.rates,
        samples=verification.settings.samples,
        rounds=verification.rounds,
    )


def _wrong_signature(verification: JobVerification) -> Iterator[str]:
    document = canonical(replace(verification, signature=None))
    try:
        signer = attestation.document_signer(document, verification.signature)
    except FarmError as error:
        yield f"The farm's signature of the record: {error.sentence}"
        return
    if signer.lower() != verification.farm.address.lower():
        yield "The record was changed after it was signed, or not signed by its farm."


def _wrong_together(verification: JobVerification) -> Iterator[str]:
    """What shows only between submissions."""
    submissions = verification.submissions
    leases = Counter((one.task.id, one.token) for one in submissions)
    yield from (
        f"{task}: the farm took two submissions under one lease, so it could draw twice."
        for (task, _), count in leases.items()
        if count > 1
    )
    leaves = Counter(one.leaf for one in submissions)
    yield from (f"Two submissions claim leaf {leaf} of the log." for leaf in leaves if leaves[leaf] > 1)
    identities = {(one.node, one.operator, one.address.lower(), one.own) for one in submissions}
    nodes = Counter(node for node, *_ in identities)
    yield from (f"{node} has two operators or two keys." for node in nodes if nodes[node] > 1)
    yield from _wrong_auditors(verification)
    yield from _unlooked(verification)


def _unlooked(verification: JobVerification) -> Iterator[str]:
    """Rejections for pixels without a second look, where the rule asks for one. In which order verdicts
    came is not told, so a node with enough confirmed ones may have been spared any that was drawn so.
    """
    confirmed = Counter(
        one.node
        for one in verification.submissions
        if _is_rejected(one) and one.case is not None and one.case.second is SecondLook.DIFFERENT
    )
    facts = facts_of(verification)
    for one in verification.submissions:
        if one.case is None or one.report is None or one.verdict is None:
            continue
        draws = draws_of(one, facts)
        due = draws is None or is_looked_at_again(draws, confirmed[one.node])
        plain = one.verdict.code != EQUIVOCATION and needs_second_look(one.verdict, one.report, one.case)
        if due and plain:
            yield f"{one.task.id} by {one.node}: it was rejected for its pixels without a second look."


def _wrong_auditors(verification: JobVerification) -> Iterator[str]:
    """Nodes that came after the draw may take what those drawn leave; that must stay the exception."""
    by_strangers = [
        (one, audit)
        for one in verification.submissions
        for audit in one.audits
        if audit.attestation is not None and not audit.own
    ]
    strange = sum(audit.node not in one.candidates for one, audit in by_strangers)
    if len(by_strangers) >= FEWEST_AUDITS and 2 * strange > len(by_strangers):
        yield f"{strange} of {len(by_strangers)} audits were done by nodes that nobody drew from."


def _wrong_record(verification: JobVerification, one: SubmissionRecord, facts: Facts) -> Iterator[str]:
    """Fields that must agree with each other."""
    if one.job != verification.job or one.task.job != verification.job:
        yield "it is of another job."
    if not one.task.id.startswith(f"{verification.job}.f{one.task.frame}.t"):
        yield "its task's id is not of its frame."
    if one.attestation.token != one.token:
        yield "its node signed another lease."
    if one.attestation.deviceClass != one.device_class:
        yield "its node signed another device class."
    if one.attestation.build != one.device_class.rpartition(":")[2]:
        yield "its node signed another Blender build."
    named = facts.by_number.get(one.receipt.round)
    if named is not None and one.leaf >= named.size:
        yield "it was not in the log that was closed for its round."


def _wrong_audits(one: SubmissionRecord, facts: Facts) -> Iterator[str]:
    """Who audited it, and whether it was audited again where that was drawn."""
    draws = draws_of(one, facts)
    if draws is None or not one.audits:
        return
    if one.node in one.candidates:
        yield "its own node stands among its possible auditors."
    if one.asked and one.candidates != selection.order(draws, one.asked, one.audits_before, facts.policy):
        yield "its auditors were not asked in the order that was drawn."
    first = one.audits[0]
    by_stranger = first.attestation is not None and not first.own
    spared = selection.spared(draws, one.asked, one.audits_before, facts.policy)
    # Farms of earlier versions did not tell whom they could ask, and repeated all strangers' audits alike.
    repeats = first.node not in spared if one.asked else is_repeated(draws, facts.policy.repeat)
    due = by_stranger and repeats
    if any(audit.repeat for audit in one.audits) and not due:
        yield "an audit of it was repeated although its round does not say so."
    if due and is_accepted(one) and not any(_repeats(audit, first) for audit in one.audits[1:]):
        yield "its audit was drawn to be repeated by the farm's own node, and was not."
    told = set(one.report.contradicted) if one.report is not None else set()
    if told != {audit.task for audit in one.audits if audit.contradicted}:
        yield "the audits said to be contradicted are not those of the report."


def _repeats(audit: AuditRecord, first: AuditRecord) -> bool:
    return audit.own and audit.attestation is not None and audit.order == first.order


def _is_rejected(one: SubmissionRecord) -> bool:
    return one.verdict is not None and one.verdict.outcome is Outcome.REJECTED


def is_accepted(one: SubmissionRecord) -> bool:
    """Whether a verdict accepted it."""
    return one.verdict is not None and one.verdict.outcome is Outcome.ACCEPTED


def _wrong_verdict(one: SubmissionRecord, facts: Facts) -> Iterator[str]:
    """Whether the verdict follows from what was found."""
    if one.verdict is None:
        return
    if one.report is None:
        if is_accepted(one) and not (one.own and not one.audited):
            yield "it was accepted without a look at it."
        return
    if one.case is None:
        yield "what its verdict was made from is not told."
        return
    yield from _wrong_case(one, facts)
    expected = judge(one.report, one.case)
    if one.verdict.outcome is Outcome.UNRESOLVED and expected.outcome is Outcome.ESCALATED:
        expected = replace(expected, outcome=Outcome.UNRESOLVED)
    if expected != one.verdict and one.second is None:
        yield f"the verdict should be '{expected.outcome}': {expected.reason}"


def _wrong_second(one: SubmissionRecord, facts: Facts) -> Iterator[str]:
    """Whether the node really signed two pictures under one lease, where that is said."""
    other = one.second
    if other is None:
        if one.verdict is not None and one.verdict.code == EQUIVOCATION:
            yield "it was rejected for a second picture that is not told."
        return
    mine = one.attestation
    if (other.task, other.token) != (mine.task, mine.token) or other.pixelRoot == mine.pixelRoot:
        yield "what is told as a second picture under its lease is none."
    if one.verdict is None or one.verdict.outcome is not Outcome.REJECTED:
        yield "its node signed two pictures under one lease, and it was not rejected."
    try:
        attestation.require_signer(other, facts.farm, one.second_signature, one.address)
    except FarmError as error:
        yield f"the second picture: {error.sentence}"


def _wrong_case(one: SubmissionRecord, facts: Facts) -> Iterator[str]:
    case, done = one.case, [audit for audit in one.audits if audit.attestation is not None]
    if case is None:
        return
    hidden = case.second is SecondLook.NONE and not is_accepted(one)
    if case.second is not second_look(one, one.report) and (hidden or case.second is not SecondLook.NONE):
        yield "what its verdict takes for the own node's second look is not what that signed."
    if (case.frame, case.samples) != (one.task.frame, facts.samples):
        yield "its verdict was made for another frame or another number of samples."
    if case.summation is not summation_of(one.device_class):
        yield "its verdict takes its device for one that adds in another way."
    counted = [audit for audit in done if not audit.contradicted]
    if not len(counted) <= case.audits <= len(done):
        yield f"its verdict counts {case.audits} audits, and {len(counted)} were done."
    if is_accepted(one) and one.audited and not counted:
        yield "it was to be audited, and was accepted without an audit."
    if case.same_class and done and not any(audit.same_class for audit in counted):
        yield "its verdict takes audits of another device class for audits of its own."
