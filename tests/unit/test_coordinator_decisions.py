# SPDX-License-Identifier: GPL-3.0-or-later
"""What a round decides about a submission, and what follows from a check: the pure parts."""

from dataclasses import replace

import pytest

from farm_protocol.appointments import Appointment
from farm_protocol.audits import AuditOrder, CheckReport, CropFinding, Fault
from farm_protocol.device_classes import Summation
from farm_protocol.documents import Attestation, Submission
from farm_protocol.fields import Tile
from farm_protocol.records import RenderSettings, Task, TaskKind
from render_farm.coordinator.audit_rounds import decide
from render_farm.coordinator.verdicts import conclude
from render_farm.policy import verification_rules as farm_rules
from render_farm.policy.auditor_selection import Online
from render_farm.policy.fallbacks import Scope
from render_farm.store.decisions import AuditWish
from render_farm.store.submissions import JobFacts, Progressed
from verification.audit.rate import Rates, Standing
from verification.audit.records import AuditRecord, SubmissionRecord
from verification.audit.sampling import MILLION, AuditPolicy
from verification.audit.verdict import FAULTS_OF_PIXELS, SecondLook, Twin

RULES = farm_rules.local(b"\x01" * 32, 0.5, AuditPolicy(), Rates())
TILE = Tile(0, 0, 64, 64)
JOB = JobFacts("ann", "s" * 64, RenderSettings(16, 0, 100, "PNG"), None)
SIGNED = Attestation("j.f1.t0", 1, "ab" * 32, "cd" * 32, "cpu:a:5", "5", 10)
ONE = SubmissionRecord(
    job="j",
    task=Task("j.f1.t0", "j", TaskKind.RENDER, 1, TILE),
    token=1,
    node="n",
    operator="bob",
    address="0x" + "1" * 40,
    own=False,
    device_class="cpu:a:5",
    attestation=SIGNED,
    signature="0x" + "0" * 130,
    appointment=Appointment("ef" * 32, "cd" * 32, 1, 7, "00" * 32, MILLION),
    appointment_signature="0x" + "0" * 130,
    receipt=Submission("ef" * 32, 1, 7, "00" * 32, MILLION),
    receipt_signature="0x" + "0" * 130,
    leaf=0,
    standing=Standing(),
    operator_standing=Standing(),
    croppable=True,
)
VALUE = "11" * 32
NODES = [Online("x", "eve", False, True, frozenset({"cpu:a:5"}))]


def with_rate(one, rate):
    return replace(one, appointment=replace(one.appointment, rate=rate))


def decided(one, forced=""):
    return decide(one, VALUE, forced, JOB, NODES, RULES)


def test_never_drawn_is_checked_or_accepted():
    assert decided(with_rate(ONE, 0)).how == "check"
    assert decided(with_rate(replace(ONE, own=True), 0)).how == "accept"


def test_always_drawn_is_audited_by_whom_the_draw_says():
    made = decided(ONE)
    assert (made.how, made.forced, made.candidates, made.wishes[0].ranked) == ("audit", "", ("x",), ("x",))
    assert made.wishes[0].audit.crops
    assert decided(ONE) == made, "the same value decides the same"
    other = decide(ONE, "22" * 32, "", JOB, NODES, RULES)
    assert other.wishes[0].audit != made.wishes[0].audit


def test_tiles_whose_crops_would_differ_are_rendered_whole():
    assert decided(replace(ONE, croppable=False)).wishes[0].audit == AuditOrder((TILE,))


AREA = Tile(0, 0, 128, 64)


def test_one_tile_of_a_large_job_also_gets_a_strip_with_more_around_it():
    job = replace(JOB, strip_of=AREA)
    made = decide(with_rate(ONE, 0), VALUE, "", job, NODES, RULES)
    first, strip = made.wishes
    assert (made.how, first) == ("audit", decided(with_rate(ONE, 0), "why").wishes[0])
    assert (strip.audit, strip.own_only) == (AuditOrder((Tile(56, 0, 64, 64),)), True)
    assert strip.context == 64
    assert "strip" in made.forced
    drawn = decide(ONE, VALUE, "", job, NODES, RULES)
    assert (drawn.forced, len(drawn.wishes)) == ("", 2)


def test_a_frame_that_is_not_cut_has_no_strips():
    assert decide(ONE, VALUE, "", replace(JOB, strip_of=TILE), NODES, RULES) == decided(ONE)


def test_a_reason_is_given_only_where_the_round_does_not_say_so_itself():
    assert decided(with_rate(ONE, 0), "caught since").forced == "caught since"
    assert decided(ONE, "caught since").forced == ""


# --- after a check ----------------------------------------------------------------------------------

CROP = Tile(0, 0, 8, 8)
EQUAL = CheckReport(channels=("a/Combined.R",), noise=0.5, crops=(CropFinding(CROP, 0, noise=1.0),))
WRONG = replace(EQUAL, crops=(CropFinding(CROP, 64, rmse=0.5, relative=0.9, cluster=64, noise=1.0),))
FIRST = AuditWish(AuditOrder((CROP,)), ("x",))


def audit(name, own=False, **fields):
    node = "mine" if own else "x"
    return AuditRecord(name, FIRST.audit, node=node, own=own, attestation=SIGNED, **fields)


def concluded(report, *audits, twin=None, suspects=0, escalated=0, audited=True, spared=False):
    record = replace(ONE, audits=audits, audited=audited)
    known = Progressed(record, VALUE, suspects, escalated, None, 0)
    return conclude(known, report, JOB, twin, FIRST, RULES, spared)


WHOLE = AuditOrder((TILE,))


def whole(name, root, **fields):
    """The own node's render of the tile as its node was asked to."""
    return replace(
        audit(name, own=True, **fields), order=WHOLE, attestation=replace(SIGNED, pixelRoot=root * 32)
    )


LOOKED = (whole("w1", "00"), whole("w2", "00"))
"""The second look, which confirms that the tile is false."""


def test_equal_is_accepted():
    assert concluded(EQUAL, audit("a1")).how == "accepted"
    assert concluded(replace(EQUAL, crops=()), audited=False).how == "accepted"


def test_own_nodes_word_rejects_and_a_strangers_alone_does_not():
    assert concluded(WRONG, audit("a1", own=True), *LOOKED).how == "rejected"
    made = concluded(WRONG, audit("a1"))
    assert (made.how, made.because, made.wishes[0].own_only) == ("more", "escalated", True)
    assert made.forced == "", "it was audited because its round said so"
    assert concluded(WRONG, audit("a1"), audit("a2", own=True), *LOOKED, escalated=1).how == "rejected"


@pytest.mark.parametrize("audits", [(audit("a1", own=True),), (audit("a1"), audit("a2", own=True))])
def test_nobody_is_rejected_for_pixels_before_a_second_look(audits):
    made = concluded(WRONG, *audits, escalated=len(audits) - 1)
    assert (made.how, made.because, made.fallback) == ("more", "looks", None)
    assert [(wish.audit, wish.ranked, wish.own_only) for wish in made.wishes] == [(WHOLE, (), True)] * 2


def test_what_equals_the_second_look_is_accepted_and_the_job_falls_back():
    made = concluded(WRONG, audit("a1", own=True), whole("w1", "ab"), whole("w2", "ab"))
    assert (made.how, made.verdict.code, made.wishes) == ("accepted", "as_asked", ())
    assert (made.fallback.scope, made.fallback.approximate) == (Scope.TILED, False)
    assert "nobody is blamed" in made.fallback.sentence


def test_own_renders_that_are_not_alike_blame_nobody():
    made = concluded(WRONG, audit("a1", own=True), whole("w1", "ab"), whole("w2", "00"))
    assert (made.how, made.verdict.code) == ("unresolved", "unrepeatable")
    assert (made.fallback.scope, made.fallback.approximate) == (Scope.OPEN, True)


def test_a_second_look_on_another_device_class_blames_nobody():
    others = (whole("w1", "00", same_class=False), whole("w2", "00", same_class=False))
    made = concluded(WRONG, audit("a1", own=True), *others)
    assert (made.how, made.verdict.code, made.fallback) == ("unresolved", "unknown", None)


@pytest.mark.parametrize(
    ("found", "how", "code"),
    [
        ({}, "rejected", None),
        ({"confirmed": ("w2",)}, "accepted", "as_asked"),
        ({"confirmed": ("w1", "w2")}, "accepted", "as_asked"),
        ({"confirmed": ("a1",)}, "rejected", None),  # an audit in crops is no second look
        ({"unlike": ("w1", "w2")}, "unresolved", "unrepeatable"),
        ({"unlike": ("w1", "w2"), "confirmed": ("w1",)}, "unresolved", "unrepeatable"),
    ],
)
def test_where_a_device_adds_in_any_order_pixels_and_not_roots_decide_the_second_look(found, how, code):
    """All roots differ there, and equal ones would prove nothing."""
    gpu = replace(ONE, device_class="cuda:NVIDIA L4:driver-550:bpy-5.0.1-x", audited=True)
    looks = (whole("w1", "01"), whole("w2", "02"))
    known = Progressed(replace(gpu, audits=(audit("a1", own=True), *looks)), VALUE, 0, 0, None, 0)
    made = conclude(known, replace(WRONG, **found), JOB, None, FIRST, RULES)
    assert made.how == how
    assert made.case.summation is Summation.ANY_ORDER
    assert code is None or made.verdict.code == code


def test_where_a_device_adds_in_order_the_roots_that_were_signed_decide():
    made = concluded(replace(WRONG, confirmed=("w1",), unlike=()), audit("a1", own=True), *LOOKED)
    assert (made.how, made.case.summation) == ("rejected", Summation.IN_ORDER)


def test_a_sample_of_many_confirmed_lies_is_enough():
    made = concluded(WRONG, audit("a1", own=True), spared=True)
    assert (made.how, made.case.second) == ("rejected", SecondLook.NONE)


def test_who_renders_frames_that_cannot_be_audited_in_crops_is_looked_at_once_more():
    """The own node's audit was of the whole tile already: one more, in case it is never alike."""
    report = replace(WRONG, crops=(replace(WRONG.crops[0], tile=TILE),))
    made = concluded(report, whole("w1", "00"))
    assert (made.how, [wish.audit for wish in made.wishes]) == ("more", [WHOLE])


def test_other_passes_than_the_jobs_get_a_second_look_after_the_audit_that_was_drawn():
    fault = CheckReport(fault=Fault.WRONG_PASSES)
    made = concluded(fault, audited=False)
    assert (made.how, [wish.audit for wish in made.wishes]) == ("more", [FIRST.audit, WHOLE, WHOLE])
    assert made.forced == made.verdict.reason
    assert concluded(fault, audit("a1", own=True), *LOOKED).how == "rejected"
    assert concluded(fault, audit("a1", own=True), whole("w1", "ab")).verdict.code == "as_asked"


def test_an_own_node_of_another_class_does_not_confirm_a_strangers_lie():
    assert concluded(WRONG, audit("a1"), audit("a2", own=True, same_class=False)).how == "more"
    again = concluded(WRONG, audit("a1"), audit("a2", own=True, same_class=False), escalated=1)
    assert again.how == "unresolved"


@pytest.mark.parametrize("fault", sorted(set(Fault) - FAULTS_OF_PIXELS))
def test_no_picture_is_rejected_without_any_audit(fault):
    assert concluded(CheckReport(fault=fault), audited=False).how == "rejected"


def test_suspects_are_rendered_once():
    report = replace(EQUAL, suspects=(Tile(8, 8, 16, 16),), suspicion=9.0)
    made = concluded(report, audit("a1", own=True))
    assert (made.how, made.because, made.wishes[0].audit) == (
        "more",
        "suspects",
        AuditOrder((Tile(8, 8, 16, 16),)),
    )
    assert concluded(report, audit("a1", own=True), audit("a2", own=True), suspects=1).how == "accepted"


def test_what_looks_odd_is_audited_with_the_reason():
    made = concluded(replace(EQUAL, crops=(), flat=True), audited=False)
    assert (made.how, made.because) == ("more", "escalated")
    assert "one colour" in made.forced
    copied = concluded(replace(EQUAL, crops=()), twin=Twin(2, rejected=False), audited=False)
    assert "frame 2" in copied.forced


def test_contradicted_audits_do_not_count():
    report = replace(WRONG, contradicted=("a1",))
    made = concluded(report, audit("a1"))
    assert (made.how, made.case.audits) == ("more", 0), "nothing is left that was compared with"
    both = concluded(replace(EQUAL, contradicted=("a1",)), audit("a1"), audit("a2", own=True, repeat=True))
    assert (both.how, both.case.audits) == ("accepted", 1)


def test_no_auditor_is_blamed_before_its_audit_is_repeated_in_a_fresh_blender():
    doubt = replace(EQUAL, doubted=("a1",))
    repeat = audit("a2", own=True, repeat=True)
    made = concluded(doubt, audit("a1"), repeat)
    assert (made.how, made.because, made.report.contradicted) == ("more", "doubts", ())
    assert [(one.audit, one.own_only, one.fresh) for one in made.wishes] == [(FIRST.audit, True, True)]
    confirmed = replace(EQUAL, contradicted=("a1",))
    made = concluded(confirmed, audit("a1"), repeat, audit("a3", own=True, fresh=True))
    assert (made.how, made.fallback, made.case.audits) == ("accepted", None, 2)


def test_repeats_that_are_not_alike_blame_nobody():
    doubt = replace(WRONG, doubted=("a1",))
    again = audit("a3", own=True, fresh=True)
    made = concluded(doubt, audit("a1"), audit("a2", own=True), again)
    assert (made.how, made.report.contradicted) == ("unresolved", ())
    assert (made.fallback.scope, made.fallback.approximate) == (Scope.OPEN, True)
    elsewhere = replace(again, same_class=False)
    made = concluded(doubt, audit("a1"), audit("a2", own=True), elsewhere)
    assert (made.how, made.fallback) == ("unresolved", None), "another class's floats tell nothing"


ELSEWHERE = Tile(48, 48, 56, 56)
SECOND = AuditOrder((ELSEWHERE,))


def test_suspects_done_by_a_stranger_are_repeated_by_the_own_node_before_they_count():
    """The own node has done the first crops, and a stranger lies about the suspects' blocks."""
    report = replace(EQUAL, crops=(*EQUAL.crops, replace(WRONG.crops[0], tile=ELSEWHERE)))
    lie = replace(audit("a2"), order=SECOND)
    made = concluded(report, audit("a1", own=True), lie, suspects=1)
    assert (made.how, made.because, made.case.own) == ("more", "escalated", False)
    assert [(wish.audit, wish.own_only) for wish in made.wishes] == [(SECOND, True)]
    confirmed = replace(audit("a3", own=True), order=SECOND)
    made = concluded(report, audit("a1", own=True), lie, confirmed, *LOOKED, suspects=1, escalated=1)
    assert made.how == "rejected"


def test_suspects_wait_until_a_strangers_word_is_confirmed_and_are_then_the_own_nodes():
    suspects = (Tile(8, 8, 16, 16),)
    made = concluded(replace(WRONG, suspects=suspects), audit("a1"))
    assert (made.because, made.wishes[0].audit) == ("escalated", FIRST.audit)
    slandered = replace(EQUAL, suspects=suspects, contradicted=("a1",))
    made = concluded(slandered, audit("a1"), audit("a2", own=True), escalated=1)
    assert (made.because, made.wishes[0].own_only) == ("suspects", True)


def test_doubt_ends_after_one_more_audit():
    doubtful = replace(EQUAL, crops=())
    assert concluded(doubtful, audit("a1")).how == "more"
    assert concluded(doubtful, audit("a1"), audit("a2", own=True), escalated=1).how == "unresolved"


def test_case_says_what_was_compared_with():
    made = concluded(EQUAL, audit("a1", own=True, same_class=False))
    assert (made.case.same_class, made.case.own, made.case.audits, made.case.samples) == (False, True, 1, 16)


def test_what_is_no_number_is_audited_by_the_own_node_in_all_of_its_blocks():
    blocks = tuple(Tile(x, 8, x + 8, 16) for x in range(8, 88, 8))
    odd = replace(EQUAL, crops=(), not_finite=99)
    made = concluded(odd, audited=False)
    assert (made.how, made.because, made.wishes[0].own_only) == ("more", "escalated", True)
    assert "not finite" in made.forced
    second = replace(EQUAL, not_finite=99, suspects=blocks, must=len(blocks))
    made = concluded(second, audit("a1", own=True), escalated=1, audited=False)
    assert (made.because, made.wishes[0].own_only) == ("suspects", True)
    assert made.wishes[0].audit.crops == blocks


def test_who_had_an_audit_repeated_looks_at_its_suspects_itself():
    report = replace(EQUAL, suspects=(Tile(8, 8, 16, 16),))
    both = concluded(report, audit("a1"), audit("a2", own=True, repeat=True))
    assert (both.because, both.wishes[0].own_only) == ("suspects", True)
    alone = concluded(report, audit("a1"))
    assert (alone.because, alone.wishes[0].own_only) == ("suspects", False)
