# SPDX-License-Identifier: GPL-3.0-or-later
"""From what was found in a tile to what is decided about it, in a sentence for people. Pure.

Within a device class that adds in order any float that differs from the re-render rejects a tile; within one
that adds in any order, any that differs by more than that explains (`metrics.rounding`). The
rest of the numbers only say why. They were calibrated as docs/verification.md says.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from farm_protocol.audits import CheckReport, CropFinding, Fault
from farm_protocol.device_classes import Summation
from farm_protocol.fields import FrameNumber, Name, Sentence, about
from verification.audit.kinds import DIFFERS, kind_of_difference

QUIET = 1e-3
"""Relative noise below which a crop is the same however it was rendered: empty sky, say."""

ODD_NOISE = 4.0
"""How many times more or less noise than the job's other tiles calls for an audit."""

ALIKE_RELATIVE = 0.03
ALIKE_NOISE = (0.8, 1.25)
ALIKE_BIAS = 0.01
"""What crops of two device classes may differ by and still show the same."""

APART_BIAS = 0.25
APART_NOISE = (0.4, 2.5)
"""What no two device classes differ by."""


MOST_DAMAGED = 2
"""Pixels. So few, apart from each other, in a picture that is right otherwise are a machine's fault: nobody
gains by them.
"""

MOST_COUNTED = 1 << 17
"""Pixels. Records count no further."""


class Outcome(StrEnum):
    """ESCALATED: not decided yet, it takes an audit, or one more. UNRESOLVED: it cannot be decided; the
    tile is rendered again, unpaid, and nobody is blamed.
    """

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ESCALATED = "escalated"
    UNRESOLVED = "unresolved"


class SecondLook(StrEnum):
    """What the farm's own node found when it rendered the very tile as its node was asked to: twice, each
    time in a fresh Blender. NONE: it has not (yet). EQUAL, DIFFERENT: to what was submitted. UNREPEATABLE:
    its own two renders differ from each other. OTHER_CLASS: only nodes of other device classes were there,
    whose floats tell nothing.
    """

    NONE = "none"
    EQUAL = "equal"
    DIFFERENT = "different"
    UNREPEATABLE = "unrepeatable"
    OTHER_CLASS = "other_class"


@dataclass(frozen=True, slots=True)
class Twin:
    """Another submission with the same pixel root: its frame, and whether it was rejected."""

    frame: Annotated[FrameNumber, about("number of the frame")]
    rejected: Annotated[bool, about("whether it was rejected")]


@dataclass(frozen=True, slots=True)
class Case:
    """What a verdict depends on beside the report. Nobody is rejected on a stranger's word alone."""

    frame: Annotated[FrameNumber, about("number of the frame")]
    samples: Annotated[int, about("samples a pixel, as the job pins them")]
    audits: Annotated[int, about("how many audits the report compares with; 0: only the file was looked at")]
    same_class: Annotated[bool, about("whether one of them was on the tile's own device class")] = True
    noise: Annotated[
        tuple[float, float] | None,
        about("least and greatest of the job's tiles accepted after audits; null: none yet"),
    ] = None
    twin: Annotated[Twin | None, about("another submission with the same pixels")] = None
    own: Annotated[bool, about("whether an own node did one of the audits, or none could")] = True
    second: Annotated[SecondLook, about("what the own node found when it rendered the whole tile again")] = (
        SecondLook.NONE
    )
    summation: Annotated[Summation, about("how the tile's device adds")] = Summation.IN_ORDER


@dataclass(frozen=True, slots=True)
class Verdict:
    """`code` is for programs (`accepted`, a Fault's value, `too_few_samples`, `other_frame`, ...)."""

    outcome: Annotated[Outcome, about("accepted, rejected, and the like")]
    code: Annotated[
        Name, about("why, for programs: `accepted`, a fault, `too_few_samples`, `other_frame` ...")
    ]
    reason: Annotated[Sentence, about("why, for people")]


AS_ASKED = "as_asked"
"""The code of a verdict that accepts what differs from its audit: the tile is what its node was asked for."""

UNREPEATABLE, UNKNOWN = "unrepeatable", "unknown"
"""Codes of verdicts in doubt: the own node's renders are not alike, or of another device class."""

DOUBTED = "doubted"
"""The code of a verdict that waits: an own node's repeat differs from a stranger's audit."""

FAULTS_OF_PIXELS = frozenset({Fault.WRONG_PASSES})
"""Faults that come of comparing a picture with others: a scene may be the reason, too."""


def judge(report: CheckReport, case: Case) -> Verdict:
    """Decide about a tile. Whoever carries out a rejection for pixels looks a second time first
    (`needs_second_look`).
    """
    verdict = _first_look(report, case)
    return _second_look(verdict, case) if is_for_pixels(verdict, report) else verdict


def is_for_pixels(verdict: Verdict, report: CheckReport) -> bool:
    """Whether the verdict rejects because pixels were compared, not because the file is broken."""
    by_pixels = report.fault is None or report.fault in FAULTS_OF_PIXELS
    return verdict.outcome is Outcome.REJECTED and by_pixels


def needs_second_look(verdict: Verdict, report: CheckReport, case: Case) -> bool:
    """Whether the own node has to render the whole tile before anybody is blamed."""
    return is_for_pixels(verdict, report) and case.second is SecondLook.NONE


def _second_look(rejected: Verdict, case: Case) -> Verdict:
    if case.second is SecondLook.EQUAL:
        reason = (
            "Equal to the farm's own render of the whole tile, which its audit is not: this scene cannot be "
            "audited in crops, and nobody is blamed."
        )
        return Verdict(Outcome.ACCEPTED, AS_ASKED, reason)
    if case.second is SecondLook.UNREPEATABLE:
        reason = (
            "The farm's own node rendered this tile twice, and not alike: nobody can say, nobody is blamed."
        )
        return _audit(UNREPEATABLE, reason)
    if case.second is SecondLook.OTHER_CLASS:
        reason = "No own node of its device class could render this tile again, so nobody is blamed."
        return _audit(UNKNOWN, reason)
    return rejected


def _first_look(report: CheckReport, case: Case) -> Verdict:
    if report.fault is not None:
        return Verdict(Outcome.REJECTED, report.fault.value, _fault_sentence(report.fault, report.detail))
    if report.doubted:
        return _audit(DOUBTED, DOUBTED_REASON)
    if case.audits == 0:
        return _unaudited(report, case)
    if not report.crops:
        return _audit("no_crops", "The audits hold nothing to compare the tile with.")
    if not _wrong(report):
        return Verdict(Outcome.ACCEPTED, "accepted", _equal(report, case))
    return _same_class(report, case) if case.same_class else _other_class(report, case)


DOUBTED_REASON = (
    "The farm's own node did an audit of this tile again and got another picture; it does so in a fresh "
    "Blender before anybody is blamed."
)


RECOUNTED = "recounted"
"""The code of a verdict in doubt: adaptive sampling stopped pixels elsewhere, and one was very bright."""


def _same_class(report: CheckReport, case: Case) -> Verdict:
    if case.own and all(crop.different == crop.doubtful for crop in _wrong(report)):
        count = sum(crop.doubtful for crop in _wrong(report))
        reason = (
            f"{count} pixels stopped at another number of samples, as they may on such a device, but moved "
            "more than noise explains: it is rendered again, and nobody is blamed."
        )
        return Verdict(Outcome.UNRESOLVED, RECOUNTED, reason)
    code, reason = _why(report, case)
    if not case.own:
        doubt = f"{reason} So says another node; the farm's own looks before anybody is blamed."
        return Verdict(Outcome.ESCALATED, "unconfirmed", doubt)
    return Verdict(Outcome.REJECTED, code, reason)


def _wrong(report: CheckReport) -> list[CropFinding]:
    """The crops that differ. What is only doubtful in one audit and equal in another is right: else any
    auditor could leave a tile unpaid by one pixel.
    """
    equal = {crop.tile for crop in report.crops if not crop.different}
    return [
        crop
        for crop in report.crops
        if crop.different and not (crop.different == crop.doubtful and crop.tile in equal)
    ]


def _equal(report: CheckReport, case: Case) -> str:
    crops = len(report.crops)
    where = "its crop" if crops == 1 else f"{crops} crops"
    if case.summation is Summation.IN_ORDER or not case.same_class:
        return f"Equal to the audit in every float of {where}."
    most = max(crop.bound for crop in report.crops)
    share = "less than 1" if most < 0.01 else f"{100 * most:.0f}"
    said = f"Equal to the audit in {where} up to the order of sums, with {share} % of what that explains"
    flipped = sum(crop.flipped for crop in report.crops)
    return f"{said}; {flipped} pixels stopped at another number of samples." if flipped else f"{said}."


FAULTS = {
    Fault.UNDECODABLE: "The picture cannot be decoded.",
    Fault.TOO_LARGE: "The picture is larger than any render of its size.",
    Fault.WRONG_SIZE: "The picture has another size than its tile.",
    Fault.WRONG_PASSES: "The picture has other passes than the job's.",
    Fault.NOT_FINITE: "The picture holds values that are not finite numbers.",
    Fault.WRONG_ROOT: "The picture's pixels are not those its node signed.",
}


def _fault_sentence(fault: Fault, detail: str) -> str:
    return detail or FAULTS[fault]


# --- before any audit -----------------------------------------------------------------------------


def _unaudited(report: CheckReport, case: Case) -> Verdict:
    """What looks odd is audited; nothing is rejected for its looks."""
    if report.flat:
        return _audit("flat", "The tile is one colour all over, so it is audited.")
    if report.not_finite:
        return _audit("not_finite", "The tile holds values that are not finite numbers, so they are audited.")
    if case.twin is not None and (odd := _twin(case.twin, case)):
        return _audit("twin", odd)
    if case.noise is not None and not _usual(report.noise, case.noise):
        more = "more" if report.noise > case.noise[1] else "less"
        return _audit("noise", f"The tile has far {more} noise than the job's others, so it is audited.")
    return Verdict(Outcome.ACCEPTED, "accepted", "Not audited.")


def _twin(twin: Twin, case: Case) -> str:
    """Why a tile is audited that has the pixels of another submission; '' where that is nothing."""
    if twin.frame != case.frame:
        return f"The pixels are those of frame {twin.frame}, too, so the tile is audited."
    if twin.rejected:
        return "The pixels are those of a tile that was rejected, so it is audited."
    if case.summation is Summation.ANY_ORDER:
        same = (
            "The pixels are in every bit those of another submission, which two renders on such a device are"
        )
        return f"{same} not, so the tile is audited."
    return ""


def _audit(code: str, reason: str) -> Verdict:
    return Verdict(Outcome.ESCALATED, code, reason)


def _usual(noise: float, others: tuple[float, float]) -> bool:
    return others[0] / ODD_NOISE <= noise <= others[1] * ODD_NOISE


# --- why it differs -------------------------------------------------------------------------------


def _why(report: CheckReport, case: Case) -> tuple[str, str]:
    """A code and a sentence: the first explanation that fits, the surest first."""
    crops = _wrong(report)
    where = f"{len(crops)} of {len(report.crops)} crops differ from the audit"
    if report.flat:
        return DIFFERS, f"One colour all over where the audit shows a picture: {where}."
    if case.twin is not None and case.twin.frame != case.frame:
        return (
            "other_frame",
            f"Pixels of frame {case.twin.frame} where frame {case.frame} was asked; {where}.",
        )
    if all(crop.different <= MOST_DAMAGED and crop.cluster <= 1 for crop in crops):
        most = max(crop.different for crop in crops)
        pixels = "One pixel differs" if most == 1 else f"{most} single pixels differ"
        return "damaged", f"{pixels} from the audit, as where a machine's memory is damaged: have it tested."
    if _is_local(report):
        return "region", _region_sentence(report, where)
    if report.samples is not None and report.samples <= case.samples - 0.5:
        about = max(1, round(report.samples))
        return "too_few_samples", f"Rendered with about {about} of {case.samples} samples: {where}."
    return kind_of_difference(crops, where)


def _is_local(report: CheckReport) -> bool:
    """Some of what the tile's noise must have changed is untouched: a crop with noise, or part of one."""
    noisy = [crop for crop in report.crops if crop.noise > QUIET]
    if any(crop.different == 0 for crop in noisy):
        return True
    return bool(noisy) and all(2 * crop.different < min(crop.tile.area, MOST_COUNTED) for crop in noisy)


def _region_sentence(report: CheckReport, where: str) -> str:
    if report.region is None:
        return f"A part of the tile differs: {where}, the others are equal."
    width, height = report.region.width, report.region.height
    article = "An" if str(width)[0] == "8" or width in (11, 18) else "A"
    return f"{article} {width}x{height} px region differs from the audit; what lies around it is equal."


# --- another device class -------------------------------------------------------------------------


def _other_class(report: CheckReport, case: Case) -> Verdict:
    """Floats of two device classes differ, so statistics decide, and doubt never rejects."""
    crops = _wrong(report)
    if all(_shows_the_same(crop) for crop in crops):
        reason = "Alike within what two kinds of devices differ by; nobody of its own kind could audit it."
        return Verdict(Outcome.ACCEPTED, "alike", reason)
    if case.own and all(_shows_another(crop) for crop in crops) and not _is_local(report):
        code, reason = _why(report, case)
        return Verdict(Outcome.REJECTED, code, reason)
    if case.audits >= 2:
        reason = (
            "Two audits on other kinds of devices could not tell; it is rendered again, and nobody is blamed."
        )
        return Verdict(Outcome.UNRESOLVED, "unresolved", reason)
    return _audit(
        "other_class", "It differs from an audit on another kind of device, so it is audited again."
    )


def _shows_the_same(crop: CropFinding) -> bool:
    least, most = ALIKE_NOISE
    return (
        crop.relative < ALIKE_RELATIVE
        and abs(crop.bias) < ALIKE_BIAS
        and (least < crop.noise_ratio < most or crop.noise < QUIET)
    )


def _shows_another(crop: CropFinding) -> bool:
    least, most = APART_NOISE
    return abs(crop.bias) > APART_BIAS or (crop.noise > QUIET and not least < crop.noise_ratio < most)
