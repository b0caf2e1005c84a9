# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm should say of each cheat with pixels."""

import re
from dataclasses import dataclass

from verification.audit.verdict import Verdict


@dataclass(frozen=True)
class Caught:
    """How a cheat ends: the verdict's code, and what its sentence says. `otherwise`: what four small
    crops may look like instead in some draws; the tile is rejected all the same.
    """

    code: str
    words: str
    otherwise: tuple["Caught", ...] = ()


SMOOTH = Caught("differs", "[Ff]ar smoother than its samples make it")
NOISY = Caught("differs", "[Ff]ar noisier than its samples make it")
ANOTHER = Caught("differs", "something else than the scene does there")
RESEEDED = Caught("differs", "same picture with other noise")
TURNED = Caught("other_noise", "[Ss]ome of the noise is another")
FEWER = Caught("too_few_samples", r"[Rr]endered with about \d+ of 16 samples")
FLAT = Caught("differs", "[Oo]ne colour all over")
REGION = Caught("region", r"\d+x\d+ px region differs")
PASSES = Caught("differs", "colours are right, but another pass is not")


def mostly(usual: Caught, *otherwise: Caught) -> Caught:
    return Caught(usual.code, usual.words, otherwise)


CAUGHT = {
    "half-samples": mostly(FEWER, NOISY),
    "three-quarters-samples": mostly(FEWER, RESEEDED),
    "nearly-all-samples": mostly(FEWER, RESEEDED, TURNED),
    "eighth-denoised": SMOOTH,
    "half-size": mostly(SMOOTH, ANOTHER),
    "other-frame": mostly(ANOTHER, NOISY, RESEEDED, FEWER),
    "wrong-seed": mostly(RESEEDED, NOISY, ANOTHER, FEWER),
    "other-device": Caught("other_device", "another kind of device than stated"),
    "fewer-bounces": Caught("differs", "Light is missing"),
    "dropped-texture": ANOTHER,
    "painted": REGION,
    "black": FLAT,
    "grey": FLAT,
    "noise": NOISY,
    "cryptomatte": PASSES,
    "depth": PASSES,
    "depth-patch": mostly(REGION, PASSES),
    "depth-nan": mostly(REGION, PASSES),
    "matte-patch": mostly(REGION, PASSES),
}


def is_said(caught: Caught, verdict: Verdict) -> bool:
    """Whether the verdict is the expected one."""
    return verdict.code == caught.code and re.search(caught.words, verdict.reason) is not None


def may_be_said(cheat: str, verdict: Verdict) -> bool:
    """Whether the verdict is one that the cheat may get."""
    return any(is_said(one, verdict) for one in (CAUGHT[cheat], *CAUGHT[cheat].otherwise))
