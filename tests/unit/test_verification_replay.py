# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaying a job: an honest farm's record holds, and one that was changed or made up does not."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile, decode, encode
from tests import verified_job
from tests.verified_job import FARM, FARM_KEY, OWN, STRANGERS
from verification import attestation
from verification.rate import Standing
from verification.records import JobVerification, SubmissionRecord
from verification.replay import replay, signed
from verification.verdict import Outcome, Verdict

HONEST = verified_job.honest_farm().verification()
PLAIN = json.loads(encode(HONEST))
Change = Callable[[SubmissionRecord], SubmissionRecord]


def test_an_honest_farm_followed_its_rule() -> None:
    assert replay(HONEST) == []
    assert replay(HONEST, FARM) == []
    assert replay(decode(encode(HONEST), JobVerification)) == []


def test_the_honest_job_has_all_that_can_happen() -> None:
    audits = [audit for one in HONEST.submissions for audit in one.audits]
    assert any(audit.repeat for audit in audits)
    assert any(one.audited is False for one in HONEST.submissions)
    assert any(one.forced for one in HONEST.submissions)
    assert any(one.appointment.attempt > 1 for one in HONEST.submissions)
    assert {one.verdict.outcome for one in HONEST.submissions if one.verdict} == {
        Outcome.ACCEPTED, Outcome.REJECTED
    }  # fmt: skip


def test_a_record_of_another_farm_is_not_this_farms() -> None:
    assert any("not of" in wrong for wrong in replay(HONEST, STRANGERS[0].address))


def test_an_unsigned_record_holds_nobody_to_it() -> None:
    assert any("signature is missing" in wrong for wrong in replay(replace(HONEST, signature=None)))


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))
    if not inner:
        yield path


def other_value(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1") if value else "x"
    return None if isinstance(value, list) else True


def test_every_single_change_is_found() -> None:
    """By what it breaks, or at the least by the farm's signature; or it is no record any more."""
    shapes = {tuple(step for step in path if isinstance(step, str)): path for path in places(PLAIN)}
    found = 0
    for path in shapes.values():
        changed = json.loads(json.dumps(PLAIN))
        inner = changed
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = other_value(inner[path[-1]])
        try:
            record = decode(json.dumps(changed), JobVerification)
        except InvalidInput:
            continue
        found += 1
        assert replay(record), path
    assert found > 60


def lying(which: Callable[[SubmissionRecord], bool], change: Change) -> list[str]:
    """What replay says when the farm itself changes a submission and signs the record."""
    chosen = next(index for index, one in enumerate(HONEST.submissions) if which(one))
    submissions = list(HONEST.submissions)
    submissions[chosen] = change(submissions[chosen])
    return replay(signed(replace(HONEST, submissions=tuple(submissions)), FARM_KEY))


def audited(one: SubmissionRecord) -> bool:
    return bool(one.audited) and not one.forced and one.receipt.rate == 1_000_000


def unaudited(one: SubmissionRecord) -> bool:
    return one.audited is False and not one.own


def rejected(one: SubmissionRecord) -> bool:
    return one.verdict is not None and one.verdict.outcome is Outcome.REJECTED


def repeated(one: SubmissionRecord) -> bool:
    return any(audit.repeat for audit in one.audits)


def first_audit(**changes: Any) -> Change:
    return lambda one: replace(one, audits=(replace(one.audits[0], **changes), *one.audits[1:]))


def moved_crop(one: SubmissionRecord) -> SubmissionRecord:
    order, side = one.audits[0].order, 8
    crop = order.crops[0]
    step = side if crop.x0 == one.task.tile.x0 else -side
    moved = Tile(crop.x0 + step, crop.y0, crop.x1 + step, crop.y1)
    return first_audit(order=replace(order, crops=(moved, *order.crops[1:])))(one)


def second_picture(key: bytes) -> Change:
    def change(one: SubmissionRecord) -> SubmissionRecord:
        other = replace(one.attestation, pixelRoot="77" * 32)
        return replace(one, second=other, second_signature=attestation.sign(other, FARM, key))

    return change


ACCEPTED = Verdict(Outcome.ACCEPTED, "accepted", "Equal.")
LIES: dict[str, tuple[Callable[[SubmissionRecord], bool], Change, str]] = {
    "audit skipped": (audited, lambda one: replace(one, audited=False, audits=()), "it was not"),
    "audit without reason": (unaudited, lambda one: replace(one, audited=True), "no reason is given"),
    "false reason": (audited, lambda one: replace(one, forced="A whim."), "for another reason"),
    "better standing": (audited, lambda one: replace(one, standing=Standing(50)) and
                        replace(one, standing=Standing(50), operator_standing=Standing(50)), "should be"),
    "other crops": (audited, moved_crop, "crops that were drawn"),
    "easier samples": (audited, lambda one: first_audit(
        order=replace(one.audits[0].order, sparse=None))(one), "crops that were drawn"),
    "auditor of the operator": (lambda one: audited(one) and not one.audits[0].own,
                                lambda one: first_audit(operator=one.operator)(one), "same operator"),
    "auditor's key": (audited, first_audit(address=FARM), "its auditor"),
    "auditor unknown": (audited, first_audit(address=None), "its auditor"),
    "class not told": (audited, first_audit(same_class=False), "device class"),
    "rejected and accepted": (rejected, lambda one: replace(one, verdict=ACCEPTED), "the verdict should be"),
    "accepted and rejected": (audited, lambda one: replace(
        one, verdict=Verdict(Outcome.REJECTED, "differs", "No.")), "the verdict should be"),
    "no look": (unaudited, lambda one: replace(one, report=None), "without a look"),
    "no case": (audited, lambda one: replace(one, case=None), "not told"),
    "repeat left out": (lambda one: repeated(one) and one.verdict is not None,
                        lambda one: replace(one, audits=one.audits[:1]), "to be repeated"),
    "repeat not drawn": (lambda one: audited(one) and not repeated(one),
                         first_audit(repeat=True), "although its round does not say so"),
    "contradicted": (audited, first_audit(contradicted=True), "contradicted"),
    "own node as auditor of itself": (audited, lambda one: replace(
        one, candidates=(*one.candidates, one.node)), "possible auditors"),
    "other lease": (audited, lambda one: replace(one, token=9), "another lease"),
    "other class": (audited, lambda one: replace(one, device_class="GPU:x:y"), "another device class"),
    "other job": (audited, lambda one: replace(one, job="job-2"), "another job"),
    "other task": (audited, lambda one:
        replace(one, task=replace(one.task, id="job-1.f1.t9")), "another task"),
    "other frame": (audited, lambda one: replace(one, task=replace(one.task, frame=9)), "not of its frame"),
    "not in the log": (audited, lambda one: replace(one, leaf=9_999), "not in the log"),
    "other address": (audited, lambda one: replace(one, address=OWN.address), "attestation"),
    "later time": (audited, lambda one:
        replace(one, receipt=replace(one.receipt, time=9_999_999)), "already closed"),
    "equivocation made up": (audited, second_picture(STRANGERS[2].key), "second picture"),
    "equivocation accepted": (audited, lambda one: second_picture(
        next(machine.key for machine in STRANGERS if machine.node == one.node))(one), "was not rejected"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_farm_that_signs_a_lie_is_found(name: str) -> None:
    which, change, sentence = LIES[name]
    found = lying(which, change)
    assert not any("changed after" in wrong for wrong in found)
    assert any(sentence in wrong for wrong in found), found


def resigned(**changes: Any) -> list[str]:
    return replay(signed(replace(HONEST, **changes), FARM_KEY))


def test_two_receipts_for_one_lease_are_found() -> None:
    again = (*HONEST.submissions, HONEST.submissions[0])
    found = resigned(submissions=again)
    assert any("could draw twice" in wrong for wrong in found)
    assert any("claim leaf" in wrong for wrong in found)


def test_a_node_with_two_operators_is_found() -> None:
    first, *rest = HONEST.submissions
    assert any(
        "two operators" in wrong for wrong in resigned(submissions=(replace(first, operator="x"), *rest))
    )


def test_rounds_that_are_wrong_are_found() -> None:
    first, *rest = HONEST.rounds
    assert any("is missing" in wrong for wrong in resigned(rounds=tuple(rest)))
    assert any("told twice" in wrong for wrong in resigned(rounds=(first, first, *rest)))
    assert any("committed to" in w for w in resigned(rounds=(replace(first, value="11" * 32), *rest)))
    assert any("log's head" in wrong for wrong in resigned(rounds=(replace(first, size=9), *rest)))
    assert any("shorter" in wrong for wrong in resigned(rounds=(replace(first, size=9), *rest)))
    assert any("draw from" in wrong for wrong in resigned(rounds=tuple(rest)))
    with pytest.raises(InvalidInput):
        resigned(rounds=(replace(first, value=""), *rest))


def test_rules_that_are_not_those_of_the_draws_are_found() -> None:
    farm = HONEST.farm
    assert any("should be" in w for w in resigned(farm=replace(farm, rates=replace(farm.rates, floor=1))))
    policy = replace(farm.policy, sparse_samples=9)
    assert any("crops that were drawn" in w for w in resigned(farm=replace(farm, policy=policy)))
    assert any("known here" in w for w in resigned(farm=replace(farm, beacon="00" * 32)))
    assert any("frame or another number of samples" in w for w in resigned(
        settings=replace(HONEST.settings, samples=17)))  # fmt: skip


def test_auditors_that_nobody_drew_are_found_where_they_are_the_rule() -> None:
    submissions = tuple(replace(one, candidates=()) for one in HONEST.submissions)
    assert any("nobody drew from" in wrong for wrong in resigned(submissions=submissions))
