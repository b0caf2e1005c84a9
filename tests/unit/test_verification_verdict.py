# SPDX-License-Identifier: GPL-3.0-or-later
"""From report to verdict: every outcome, in the words an artist reads."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm_protocol.audits import CheckReport, CropFinding, Fault
from farm_protocol.device_classes import Summation
from farm_protocol.fields import Tile, decode, encode
from render_farm.settlement.slashing import DISHONEST
from verification.verdict import Case, Outcome, Twin, Verdict, judge

CASE = Case(frame=12, samples=64, audits=1)
PLACES = [Tile(x, 0, x + 16, 16) for x in (0, 64, 128, 192)]


def finding(place, different=256, **more):
    facts = {"noise": 0.1, "relative": 0.2, "rmse": 0.1, "cluster": different, "darker": 0.5, "coarse": 0.06}
    return CropFinding(place, different, **(facts | more if different else {"noise": 0.1}))


def report(*different, region=None, samples=None, **more):
    crops = tuple(finding(*pair, **more) for pair in zip(PLACES, different, strict=False))
    return CheckReport(crops=crops, region=region, samples=samples, noise=0.1)


def test_equal_crops_are_accepted():
    verdict = judge(report(0, 0, 0), CASE)
    assert verdict == Verdict(Outcome.ACCEPTED, "accepted", "Equal to the audit in every float of 3 crops.")


def test_equal_crops_are_accepted_whatever_else_looks_odd():
    odd = replace(report(0, 0), flat=True, suspicion=99.0, noise=7.0)
    case = replace(CASE, twin=Twin(13, True), noise=(0.1, 0.2), own=False, same_class=False)
    assert judge(odd, case).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_rejects_without_an_audit_in_a_sentence(fault):
    verdict = judge(CheckReport(fault=fault), replace(CASE, audits=0))
    assert (verdict.outcome, verdict.code) == (Outcome.REJECTED, fault.value)
    assert verdict.reason.endswith(".")
    told = judge(CheckReport(fault=fault, detail="The pass Z is missing."), CASE)
    assert told.reason == "The pass Z is missing."


@pytest.mark.parametrize(
    ("found", "code", "words"),
    [
        (report(256, 256, samples=31.2, noise_ratio=2.0), "too_few_samples", "about 31 of 64 samples"),
        (report(256, 256, samples=60.0, noise_ratio=1.1), "too_few_samples", "about 60 of 64 samples"),
        (report(256, 0, region=Tile(3, 5, 43, 23)), "region", "A 40x18 px region differs"),
        (report(80, 100, region=Tile(0, 0, 8, 16)), "region", "An 8x16 px region differs"),
        (report(256, 256, noise_ratio=0.01), "differs", "denoised, or rendered smaller and enlarged"),
        (report(256, 256, darker=1.0, coarse=0.6), "differs", "Light is missing, as with fewer bounces"),
        (report(256, 256), "differs", "another seed"),
        (report(256, 256, noise_ratio=1.5), "differs", "another seed"),
        (report(256, 256, relative=0.01), "other_noise", "Some of the noise is another"),
        (report(256, 256, coarse=0.9), "differs", "something else"),
        (report(256, 256, coarse=0.5, noise_ratio=9.0), "differs", "Far noisier"),
        (report(256, 256, relative=1e-6), "other_device", "another kind of device than stated"),
        (report(256, 256, relative=0.0), "differs", "another pass is not"),
        (replace(report(256, 256), flat=True), "differs", "One colour all over"),
    ],
)
def test_what_differs_is_rejected_with_its_reason(found, code, words):
    verdict = judge(found, CASE)
    assert (verdict.outcome, verdict.code) == (Outcome.REJECTED, code)
    assert words in verdict.reason
    assert "differ" in verdict.reason


ANY = replace(CASE, summation=Summation.ANY_ORDER)


@pytest.mark.parametrize(
    ("bounds", "flipped", "said"),
    [
        ((0.0, 0.002), 0, "in 2 crops up to the order of sums, with less than 1 % of what that explains."),
        ((0.12, 0.05), 0, "in 2 crops up to the order of sums, with 12 % of what that explains."),
        ((0.3,), 9, "in its crop up to the order of sums, with 30 % of what that explains; 9 pixels stopped"),
    ],
)
def test_how_far_sums_in_another_order_may_lie_apart_is_said(bounds, flipped, said):
    found = CheckReport(
        crops=tuple(CropFinding(PLACES[n], 0, bound=one, flipped=flipped) for n, one in enumerate(bounds))
    )
    verdict = judge(found, ANY)
    assert verdict.outcome is Outcome.ACCEPTED
    assert said in verdict.reason


@pytest.mark.parametrize("different", [1, 2])
def test_a_pixel_that_a_broken_memory_changed_is_rejected_and_costs_no_stake(different):
    verdict = judge(report(0, different, cluster=1), ANY)
    assert (verdict.outcome, verdict.code) == (Outcome.REJECTED, "damaged")
    assert "memory" in verdict.reason
    assert verdict.code not in DISHONEST


def test_a_pixel_that_stopped_elsewhere_with_a_bright_sample_blames_nobody():
    verdict = judge(report(0, 9, doubtful=9), ANY)
    assert (verdict.outcome, verdict.code) == (Outcome.UNRESOLVED, "recounted")
    assert "nobody is blamed" in verdict.reason
    assert judge(report(9, 9, doubtful=8), ANY).outcome is Outcome.REJECTED


def test_a_strangers_doubt_leaves_no_tile_unpaid_that_the_own_node_finds_equal():
    doubtful = report(0, 9, doubtful=9)
    assert judge(doubtful, replace(ANY, own=False)).code == "unconfirmed"
    equal = replace(doubtful, crops=(*doubtful.crops, CropFinding(PLACES[1], 0)))
    assert judge(equal, ANY).outcome is Outcome.ACCEPTED
    false = replace(equal, crops=(*equal.crops, finding(PLACES[0])))
    assert judge(false, ANY).outcome is Outcome.REJECTED


@pytest.mark.parametrize("crops", [(3, {"cluster": 1}), (2, {"cluster": 2})])
def test_more_than_a_pixel_or_two_is_a_region(crops):
    different, more = crops
    assert judge(report(0, different, **more), ANY).code == "region"


def test_what_another_driver_may_render_costs_no_stake():
    for found in (report(256, 256, relative=1e-6), report(256, 256, relative=0.02)):
        verdict = judge(found, ANY)
        assert verdict.outcome is Outcome.REJECTED
        assert verdict.code not in DISHONEST


@pytest.mark.parametrize("share", [1.0, 0.8, 0.6])
def test_another_seed_costs_stake_for_it_hides_how_many_samples_there_are(share):
    unrelated = 0.1 * (1 + 1 / share) ** 0.5
    verdict = judge(report(256, 256, relative=unrelated, noise_ratio=1 / share), ANY)
    assert verdict.code in DISHONEST


def test_two_pictures_that_are_equal_in_every_bit_are_odd_where_sums_never_are():
    twin = replace(ANY, audits=0, twin=Twin(12, False))
    assert judge(CheckReport(noise=0.15), twin).code == "twin"
    assert judge(CheckReport(noise=0.15), replace(twin, twin=None)).outcome is Outcome.ACCEPTED


def test_a_single_bit_is_enough():
    assert judge(report(0, 0, 1, region=Tile(128, 3, 129, 4)), CASE).outcome is Outcome.REJECTED


def test_another_frames_pixels_are_named():
    verdict = judge(report(256, 256), replace(CASE, twin=Twin(13, False)))
    assert (verdict.outcome, verdict.code) == (Outcome.REJECTED, "other_frame")
    assert "Pixels of frame 13 where frame 12 was asked" in verdict.reason


def test_a_strangers_word_alone_rejects_nobody():
    verdict = judge(report(256, 256, samples=31.0), replace(CASE, own=False))
    assert (verdict.outcome, verdict.code) == (Outcome.ESCALATED, "unconfirmed")
    assert "about 31 of 64 samples" in verdict.reason
    assert judge(report(256, 256, samples=31.0), CASE).outcome is Outcome.REJECTED


@pytest.mark.parametrize(
    ("found", "case", "code"),
    [
        (CheckReport(flat=True), {}, "flat"),
        (CheckReport(), {"twin": Twin(13, False)}, "twin"),
        (CheckReport(), {"twin": Twin(12, True)}, "twin"),
        (CheckReport(noise=0.9), {"noise": (0.1, 0.2)}, "noise"),
        (CheckReport(noise=0.01), {"noise": (0.1, 0.2)}, "noise"),
    ],
)
def test_what_looks_odd_is_audited_and_not_rejected(found, case, code):
    verdict = judge(found, replace(CASE, audits=0, **case))
    assert (verdict.outcome, verdict.code) == (Outcome.ESCALATED, code)


@pytest.mark.parametrize("case", [{}, {"twin": Twin(12, False)}, {"noise": (0.1, 0.2)}])
def test_what_looks_usual_is_accepted_without_an_audit(case):
    assert judge(CheckReport(noise=0.15), replace(CASE, audits=0, **case)).outcome is Outcome.ACCEPTED


def test_an_audit_without_crops_decides_nothing():
    assert judge(CheckReport(), CASE).outcome is Outcome.ESCALATED


# --- another device class ---------------------------------------------------------------------------

OTHER = replace(CASE, same_class=False)


def test_another_class_accepts_what_is_alike():
    verdict = judge(report(256, 256, relative=0.01, bias=0.001, noise_ratio=1.02), OTHER)
    assert (verdict.outcome, verdict.code) == (Outcome.ACCEPTED, "alike")


def test_another_class_in_doubt_escalates_once_and_is_unresolved_after_two():
    doubtful = report(256, 256, relative=0.2, noise_ratio=1.0)
    assert judge(doubtful, OTHER).outcome is Outcome.ESCALATED
    assert judge(doubtful, replace(OTHER, audits=2)).outcome is Outcome.UNRESOLVED


@pytest.mark.parametrize("gross", [{"noise_ratio": 0.02}, {"noise_ratio": 8.0}, {"bias": -1.0}])
def test_another_class_rejects_what_no_device_does_unless_a_stranger_says_so(gross):
    found = report(256, 256, **gross)
    assert judge(found, OTHER).outcome is Outcome.REJECTED
    assert judge(found, replace(OTHER, own=False)).outcome is Outcome.ESCALATED
    assert judge(found, replace(OTHER, own=False, audits=2)).outcome is Outcome.UNRESOLVED


def test_another_class_never_rejects_for_other_noise_alone():
    assert judge(report(256, 256, relative=0.3, noise_ratio=1.5), OTHER).outcome is Outcome.ESCALATED


NUMBERS = st.floats(-1e30, 1e30)
FINDINGS = st.builds(
    CropFinding,
    st.sampled_from(PLACES),
    st.integers(0, 256),
    *[NUMBERS, NUMBERS],
    st.integers(0, 256),
    *[NUMBERS] * 5,
)


@given(
    st.lists(FINDINGS, max_size=6),
    st.booleans(),
    st.none() | st.floats(0, 64),
    st.builds(Case, st.just(1), st.just(64), st.integers(0, 3), st.booleans(), own=st.booleans()),
)
def test_every_report_has_a_verdict_that_can_be_sent_and_equal_floats_are_never_rejected(
    crops, flat, samples, case
):
    verdict = judge(CheckReport(crops=tuple(crops), flat=flat, samples=samples), case)
    assert decode(encode(verdict), Verdict) == verdict
    assert verdict.reason.endswith(".")
    if not any(crop.different for crop in crops) or case.audits == 0:
        assert verdict.outcome in {Outcome.ACCEPTED, Outcome.ESCALATED}
    if not case.own:
        assert verdict.outcome is not Outcome.REJECTED


def test_a_flat_tile_is_called_flat_even_where_another_frame_was_flat_too():
    verdict = judge(replace(report(256, 256), flat=True), replace(CASE, twin=Twin(13, True)))
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.reason.startswith("One colour all over")


def test_values_that_are_no_numbers_are_audited_and_nobody_is_blamed_for_them():
    odd = CheckReport(noise=0.1, not_finite=3)
    verdict = judge(odd, replace(CASE, audits=0))
    assert (verdict.outcome, verdict.code) == (Outcome.ESCALATED, "not_finite")
    assert judge(replace(report(0, 0), not_finite=3), CASE).outcome is Outcome.ACCEPTED, "Blender's own"
