# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from a check's report: a verdict, or another look first."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from farm_protocol.audits import AuditOrder, CheckReport
from farm_protocol.device_classes import summation_of
from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile
from farm_protocol.ids import DeviceClass
from farm_protocol.records import TaskResult
from render_farm.coordinator.audit_rounds import draws_of
from render_farm.policy import auditor_selection
from render_farm.policy.auditor_selection import Audited
from render_farm.policy.fallbacks import no_crops, not_alike
from render_farm.policy.verification_rules import Rules
from render_farm.store.decisions import AuditWish, Conclusion
from render_farm.store.known_leases import Holding
from render_farm.store.submissions import JobFacts, Progressed, Submissions
from verification.audit import sampling, selection
from verification.audit.records import AuditRecord, SubmissionRecord
from verification.audit.second_look import RENDERS, renders_of, second_look
from verification.audit.verdict import (
    AS_ASKED,
    DOUBTED,
    UNKNOWN,
    UNREPEATABLE,
    Case,
    Outcome,
    Twin,
    judge,
    needs_second_look,
)

log = structlog.get_logger()

MOST_ESCALATIONS = 1
"""How often one more audit is made where a verdict is in doubt."""


class Verdicts:
    """Takes what auditors and checks bring. `online_seconds` as the ticker has it."""

    def __init__(
        self,
        submissions: Submissions,
        rules: Rules,
        online_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._submissions = submissions
        self._rules = rules
        self._online_seconds = online_seconds
        self._clock = clock

    async def check(self, held: Holding, result: TaskResult) -> None:
        """Take a check's report and do what follows from it. Raises StaleLease."""
        report = result.report
        if report is None:
            raise InvalidInput("A check's result needs its report.")
        of, token = await self._submissions.checked(held.task)
        known = await self._submissions.progressed(of, token)
        if known is None:
            raise InvalidInput("The submission that was checked is not there.")
        twin = await self._submissions.twin(known.record)
        job = await self._submissions.job(held.job)
        rules = self._rules.of_job(job.rules)
        online = await self._submissions.online(self._clock() - self._online_seconds)
        one = known.record
        draws = draws_of(one, known.value, rules)
        device_class = DeviceClass(one.device_class)
        audited = Audited(one.node, one.operator, device_class, job.owner, job.excluded, job.ordered)
        met = await self._submissions.meetings(one.operator)
        possible = auditor_selection.possible(audited, online, met.met)
        asked = AuditWish(
            sampling.first_order(draws, one.task.tile, job.settings.samples, rules.policy, one.croppable),
            selection.order(draws, possible, met.audits, rules.policy),
        )
        confirmed = await self._submissions.confirmed(held.job, one.node)
        spared = not sampling.is_looked_at_again(draws, confirmed)
        made = conclude(known, report, job, twin, asked, rules, spared)
        await self._submissions.conclude(held, result, one, made, self._clock())
        log.info(
            "submission_checked",
            task=of,
            token=token,
            node=one.node,
            how=made.how,
            because=made.because,
            code=made.verdict.code,
            reason=made.verdict.reason,
        )


def conclude(
    known: Progressed,
    report: CheckReport,
    job: JobFacts,
    twin: Twin | None,
    first: AuditWish,
    rules: Rules,
    spared: bool = False,
) -> Conclusion:
    """What follows from a report. `first` is the audit that the round drew, with who would be asked now;
    `spared`: enough of the node's tiles were looked at a second time. Pure.
    """
    one = known.record
    earlier = (audit.task for audit in one.audits if audit.contradicted)
    report = replace(report, contradicted=tuple(dict.fromkeys((*earlier, *report.contradicted))))
    done = [audit for audit in one.audits if audit.attestation is not None]
    counted = [audit for audit in done if not audit.contradicted and audit.task not in report.contradicted]
    case = Case(
        frame=one.task.frame,
        samples=job.settings.samples,
        audits=len(counted),
        same_class=any(audit.same_class for audit in counted) if done else True,
        noise=job.noise,
        twin=twin,
        own=_own_says_so(counted, report),
        second=second_look(one, report),
        summation=summation_of(DeviceClass(one.device_class)),
    )
    verdict = judge(report, case)
    plain = Conclusion(verdict.outcome.value, verdict, case, report)
    by_own = replace(first, ranked=(), own_only=True)
    certain = report.fault is not None or bool(counted) or not done
    decided = _decided(plain, one, by_own, certain, spared)
    if decided is not None:
        return decided
    if done and not counted:
        return replace(plain, how="more", because="escalated", wishes=(by_own,))
    doubted = _doubted(counted, report)
    suspects = sampling.second_order(one.task.tile, report.suspects, rules.policy, report.must)
    if counted and suspects is not None and not known.suspects and not doubted:
        # What was escalated once is not again, and who had another's audit repeated looks further itself.
        own_looked = known.escalated or report.contradicted or any(audit.own for audit in counted)
        wish = replace(by_own if own_looked else first, audit=suspects)
        return replace(plain, how="more", because="suspects", wishes=(wish,))
    if verdict.outcome is not Outcome.ESCALATED:
        return plain
    if known.escalated >= MOST_ESCALATIONS:
        return replace(plain, how="unresolved")
    forced = "" if one.audited else verdict.reason
    again = tuple(replace(by_own, audit=order) for order in doubted) or (by_own,)
    return replace(plain, how="more", because="escalated", wishes=again, forced=forced)


def _decided(
    plain: Conclusion, one: SubmissionRecord, by_own: AuditWish, certain: bool, spared: bool
) -> Conclusion | None:
    """The end of a rejection, of a second look or of a doubted audit; None where nothing ends. `certain`:
    there is something to reject for.
    """
    verdict, case = plain.verdict, plain.case
    if verdict.code == DOUBTED:
        return _doubted_again(plain, one, by_own)
    if verdict.outcome is Outcome.REJECTED:
        if not certain:
            return None
        again = needs_second_look(verdict, plain.report, case) and not spared
        return _looked_at_again(plain, one, by_own) if again else plain
    if verdict.code == AS_ASKED:
        return replace(plain, fallback=no_crops(one.task.frame))
    if verdict.code == UNREPEATABLE:
        return replace(plain, how="unresolved", fallback=not_alike(one.task.frame))
    return replace(plain, how="unresolved") if verdict.code == UNKNOWN else None


def _looked_at_again(plain: Conclusion, one: SubmissionRecord, by_own: AuditWish) -> Conclusion:
    """Nobody is rejected for pixels before the own node has rendered the tile as its node was asked to."""
    whole = replace(by_own, audit=sampling.whole_order(one.task.tile))
    first = () if one.audits else (by_own,)
    known = len(renders_of(one)) + sum(wish.audit == whole.audit for wish in first)
    forced = "" if one.audited else plain.verdict.reason
    wishes = (*first, *(whole,) * (RENDERS - known))
    return replace(plain, how="more", because="looks", wishes=wishes, forced=forced)


def _doubted_again(plain: Conclusion, one: SubmissionRecord, by_own: AuditWish) -> Conclusion:
    """No auditor is blamed before the own node has repeated its audit in a fresh Blender."""
    orders = dict.fromkeys(audit.order for audit in one.audits if audit.task in plain.report.doubted)
    fresh = [audit for audit in one.audits if audit.fresh and audit.attestation is not None]
    left = [order for order in orders if not any(audit.order == order for audit in fresh)]
    if left:
        wishes = tuple(replace(by_own, audit=order, fresh=True) for order in left)
        return replace(plain, how="more", because="doubts", wishes=wishes)
    alike = all(audit.same_class for audit in fresh)
    return replace(plain, how="unresolved", fallback=not_alike(one.task.frame) if alike else None)


def _own_says_so(audits: Sequence[AuditRecord], report: CheckReport) -> bool:
    """Whether the farm's own node rendered one of the crops that differ, or any crop where none do. On
    another device class than strangers did it can confirm nothing of theirs.
    """
    wrong = _wrong_crops(report)
    of_the_class = any(audit.same_class for audit in audits)
    mine = [audit for audit in audits if audit.own and (audit.same_class or not of_the_class)]
    return any(wrong & set(audit.order.crops) for audit in mine) if wrong else bool(mine)


def _doubted(audits: Sequence[AuditRecord], report: CheckReport) -> tuple[AuditOrder, ...]:
    """The orders of strangers whose crops differ: the own node must do the very same ones again, or an
    auditor could lie about whatever crops the own node does not render.
    """
    wrong = _wrong_crops(report)
    orders = (audit.order for audit in audits if not audit.own and wrong & set(audit.order.crops))
    return () if _own_says_so(audits, report) else tuple(dict.fromkeys(orders))


def _wrong_crops(report: CheckReport) -> set[Tile]:
    return {crop.tile for crop in report.crops if crop.different}
