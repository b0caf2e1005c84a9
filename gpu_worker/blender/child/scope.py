# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is to decide from: which scenes take part in its picture, and what they are made of."""

from dataclasses import dataclass
from typing import Any

from gpu_worker.blender.child.participants import Participant, participants
from gpu_worker.blender.child.walk import Evaluated, evaluated

ENGINES = frozenset({"CYCLES", "BLENDER_EEVEE", "BLENDER_WORKBENCH"})
"""What a farm renders with; others are add-ons."""


@dataclass(frozen=True)
class Scope:
    """The active scene, the scenes that are rendered for it, and what their renders evaluate."""

    scene: Any
    participants: list[Participant]
    evaluated: Evaluated

    @property
    def scenes(self) -> list[Any]:
        """The rendered scenes."""
        return [one.scene for one in self.participants]

    @property
    def alone(self) -> bool:
        """Whether no other scene is rendered for the picture."""
        return self.scenes in ([], [self.scene])

    @property
    def cycles(self) -> list[Any]:
        """Those of them that Cycles renders."""
        return [scene for scene in self.scenes if scene.render.engine == "CYCLES"]


def scope_of(scene: Any) -> Scope:
    """Evaluate what the picture of `scene` is made of, at the frame the file is at. Raises SceneError."""
    rendered = participants(scene)
    known = [one for one in rendered if one.camera is not None and one.scene.render.engine in ENGINES]
    return Scope(scene, rendered, evaluated(known))
