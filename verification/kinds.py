# SPDX-License-Identifier: GPL-3.0-or-later
"""What kind of difference there is between crops and their re-renders, in a sentence for people. Pure.

The numbers were calibrated as docs/verification.md says; they choose words, not verdicts.
"""

from collections.abc import Callable, Sequence
from math import inf
from statistics import median

from farm_protocol.audits import CropFinding

DUST = 1e-4
"""Relative error below which differing floats are another device's rounding, not another picture."""

VERY_SMOOTH, SMOOTH = 0.1, 0.3
"""Noise over what it must be: below this it was smoothed, or enlarged."""

VERY_NOISY = 8.0
"""Noise over what it must be, of no render with any number of samples."""

GRAIN = (0.6, 1.7)
"""Noise over what it must be, of honest noise from another seed."""

TURNS = 0.25
"""The difference's energy over that of the re-render's noise, below which the samples are the same and some
paths took other turns. That of another seed is above 1, and the more so the fewer samples it has; between
them lies what textures add to the noise.
"""

WHITE = 0.13
"""Share of a difference that averaging leaves, where it is noise and nothing else."""

COARSE, VERY_COARSE = 0.5, 0.9
"""Share of a difference that averaging leaves, where it is another picture."""

MISSING_LIGHT = 0.95
"""Share of values that are darker, where light is missing."""

TOO_SMOOTH = "Far smoother than its samples make it, so denoised, or rendered smaller and enlarged: {where}."
TOO_NOISY = "Far noisier than its samples make it: {where}."
SOMETHING_ELSE = "It shows something else than the scene does there: {where}."

DIFFERS, OTHER_DEVICE, OTHER_NOISE = "differs", "other_device", "other_noise"
"""Codes. Another driver or processor than the class says rounds otherwise: the floats differ slightly, or
some paths take other turns, and some of the noise is another. Nobody gains by that; by the noise of another
seed one does, for nobody can tell then how many samples were taken.
"""


def _is_other_grain(crops: Sequence[CropFinding]) -> bool:
    """Whether the difference is noise, and there is as much of it as there must be."""
    white = median(crop.coarse for crop in crops) < WHITE
    return white and GRAIN[0] < median(crop.noise_ratio for crop in crops) < GRAIN[1]


def _turned(crop: CropFinding) -> float:
    """The difference's energy over that of the re-render's noise."""
    return (crop.relative / crop.noise) ** 2 if crop.noise > 0 else inf


Rule = tuple[Callable[[Sequence[CropFinding]], bool], str, str]

KINDS: tuple[Rule, ...] = (
    (
        lambda crops: max(crop.relative for crop in crops) == 0,
        DIFFERS,
        "The colours are right, but another pass is not: {where}.",
    ),
    (
        lambda crops: max(crop.relative for crop in crops) < DUST,
        OTHER_DEVICE,
        "The floats differ slightly everywhere, as those of another kind of device than stated: {where}.",
    ),
    (
        lambda crops: median(crop.darker for crop in crops) > MISSING_LIGHT,
        DIFFERS,
        "Light is missing, as with fewer bounces, lights or samples: {where}, and all of that is darker.",
    ),
    (
        lambda crops: (
            median(crop.noise_ratio for crop in crops) < VERY_SMOOTH
            and median(crop.coarse for crop in crops) < VERY_COARSE
        ),
        DIFFERS,
        TOO_SMOOTH,
    ),
    (lambda crops: median(crop.noise_ratio for crop in crops) > VERY_NOISY, DIFFERS, TOO_NOISY),
    (lambda crops: median(crop.coarse for crop in crops) > COARSE, DIFFERS, SOMETHING_ELSE),
    (lambda crops: median(crop.noise_ratio for crop in crops) < SMOOTH, DIFFERS, TOO_SMOOTH),
    (
        lambda crops: _is_other_grain(crops) and median(map(_turned, crops)) < TURNS,
        OTHER_NOISE,
        "Some of the noise is another, as with another driver or processor than stated: {where}.",
    ),
    (
        _is_other_grain,
        DIFFERS,
        "The same picture with other noise, so another seed or other settings of sampling: {where}.",
    ),
    (lambda crops: median(crop.noise_ratio for crop in crops) > GRAIN[1], DIFFERS, TOO_NOISY),
    (lambda crops: True, DIFFERS, SOMETHING_ELSE),
)
"""What kind of difference it is, the first that fits."""


def kind_of_difference(crops: Sequence[CropFinding], where: str) -> tuple[str, str]:
    """A code and a sentence, the first that fits; `where`: how many crops it is about, in words."""
    code, sentence = next((code, sentence) for fits, code, sentence in KINDS if fits(crops))
    return code, sentence.format(where=where)
