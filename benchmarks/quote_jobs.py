# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs that quotes are measured on, and others that they are calibrated on: no scene is in both lists."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "samples"
SHARED = ROOT.parent / "shared" / "scenes"


@dataclass(frozen=True)
class Job:
    """A scene's name, the resolution in per cent, samples, frames. `variant`: of tests/variants/."""

    scene: str
    percentage: int
    samples: int
    frames: tuple[int, ...]

    @property
    def variant(self) -> bool:
        """Whether tests/variants/ makes the scene."""
        return not (SAMPLES / f"{self.scene}.blend").exists() and self.scene not in {"bmw27", "cubes"}

    def blend(self, variants: Path) -> Path:
        """Where the scene's file is."""
        if self.variant:
            return variants / f"{self.scene}.blend"
        folder = SHARED if self.scene in {"bmw27", "cubes"} else SAMPLES
        return folder / f"{self.scene}.blend"


def _frames(first: int, last: int, step: int = 1) -> tuple[int, ...]:
    return tuple(range(first, last + 1, step))


CALIBRATION = (
    Job("defaults", 8, 64, (1,)),
    Job("defaults", 15, 32, (1,)),
    Job("defaults", 10, 256, (1,)),
    Job("defaults", 20, 16, (1,)),
    Job("cubes", 20, 32, (1,)),
    Job("cubes", 30, 12, (1,)),
    Job("cubes", 12, 96, (1,)),
    Job("plain", 300, 64, (1,)),
    Job("plain", 200, 64, _frames(1, 6)),
    Job("plain", 300, 16, _frames(1, 10)),
    Job("plain", 100, 32, _frames(1, 12)),
    Job("adaptive", 400, 64, (4,)),
    Job("adaptive", 250, 128, _frames(1, 8, 2)),
    Job("adaptive", 600, 32, (1,)),
    Job("denoised", 300, 64, (3,)),
    Job("denoised", 200, 32, _frames(1, 8)),
    Job("motion_blur", 250, 64, _frames(1, 6)),
    Job("motion_blur", 400, 64, (5,)),
    Job("two_layers_adaptive_denoised", 300, 48, (1,)),
    Job("two_layers_adaptive_denoised", 200, 64, _frames(2, 8, 2)),
    Job("light_groups_and_aov", 300, 64, (1,)),
    Job("light_groups_and_aov", 150, 64, _frames(1, 10)),
    Job("border_cropped", 500, 64, _frames(1, 4)),
    Job("filmic_curves", 250, 48, _frames(1, 10, 3)),
    Job("cycles_tiles_adaptive", 400, 32, _frames(1, 3)),
    Job("alpha_and_depth", 300, 100, _frames(1, 4)),
)

MEASURED = (
    Job("bmw27", 30, 16, (1,)),
    Job("bmw27", 50, 16, (1,)),
    Job("bmw27", 50, 64, (1,)),
    Job("bmw27", 25, 128, (1,)),
    Job("bmw27", 100, 4, (1,)),
    Job("orbit", 50, 16, (1,)),
    Job("orbit", 100, 8, (3,)),
    Job("orbit", 40, 32, _frames(1, 4)),
    Job("orbit", 30, 16, _frames(1, 12)),
    Job("orbit", 25, 32, _frames(1, 12, 2)),
    Job("orbit", 20, 64, _frames(1, 12, 3)),
    Job("layers", 50, 16, (1,)),
    Job("layers", 100, 8, (1,)),
    Job("layers", 30, 64, (1,)),
    Job("layers", 60, 32, (1,)),
    Job("eevee", 50, 16, _frames(1, 4)),
    Job("volume", 300, 64, (1,)),
    Job("volume", 150, 32, _frames(1, 8)),
    Job("panorama", 400, 64, (1,)),
    Job("panorama", 200, 64, _frames(1, 6)),
    Job("transparent", 300, 64, _frames(1, 3)),
    Job("transparent", 200, 128, (7,)),
    Job("shadow_catcher", 300, 64, (1,)),
    Job("shadow_catcher", 150, 64, _frames(1, 10)),
    Job("adaptive_subdivision", 300, 64, (1,)),
    Job("adaptive_subdivision", 200, 32, _frames(1, 6)),
    Job("camera_markers", 200, 64, _frames(1, 8)),
    Job("camera_markers", 150, 48, _frames(1, 10)),
    Job("two_layers_uncomposited", 300, 48, (1,)),
    Job("two_layers_uncomposited", 200, 32, _frames(1, 6)),
    Job("layer_with_own_samples", 300, 32, _frames(1, 4)),
    Job("sample_subset", 500, 8, _frames(1, 6)),
    Job("two_layers_cryptomatte_outputs", 200, 32, _frames(1, 5)),
    Job("denoised_adaptive_float", 300, 128, _frames(1, 3)),
    Job("adaptive_automatic", 300, 256, (1,)),
    Job("adaptive_automatic", 200, 128, _frames(1, 8)),
    Job("odd_size", 300, 64, _frames(1, 4)),
    Job("bloom", 300, 32, _frames(1, 6)),
    Job("path_guiding", 200, 64, _frames(1, 3)),
    Job("sampling_patterns", 300, 64, (2,)),
    Job("animated_seed", 200, 64, _frames(1, 8)),
    Job("border_kept", 500, 64, (1,)),
    Job("camera_markers", 150, 8, _frames(1, 200)),
    Job("transparent", 200, 4, _frames(1, 300)),
)
