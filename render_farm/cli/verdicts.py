# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of audits and verdicts while a job runs."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from farm_protocol.errors import FarmError
from farm_protocol.ids import JobId
from render_farm.client import FarmClient
from render_farm.job_events import AuditEvent, VerdictEvent
from verification.verdict import Outcome

ENDINGS = {
    Outcome.REJECTED.value: ("was rejected", "It is rendered again."),
    Outcome.UNRESOLVED.value: ("could not be decided", "It is rendered again, nobody is blamed."),
}
"""What a person is told of; everything else goes its way without a word."""


@dataclass
class Audits:
    """Audits and rejections told so far, each counted once however often it is told."""

    audited: set[tuple[str, str]] = field(default_factory=set)
    rejected: set[tuple[str, str]] = field(default_factory=set)

    def audit(self, event: AuditEvent) -> None:
        """A tile was chosen for an audit."""
        self.audited.add((event.task, event.node))

    def verdict(self, event: VerdictEvent) -> None:
        """A tile was decided about."""
        if event.outcome == Outcome.REJECTED:
            self.rejected.add((event.task, event.node))

    def __bool__(self) -> bool:
        return bool(self.audited or self.rejected)

    def __str__(self) -> str:
        return f"{len(self.audited)} audited, {len(self.rejected)} rejected"


class Names:
    """How people call a job's tiles and nodes; the farm is asked when the first name is needed."""

    def __init__(self, client: FarmClient, job: JobId) -> None:
        self._client, self._job = client, job

    def tile(self, task: str, frame: int) -> str:
        """`Tile 3 of frame 7`, or `Frame 7` where it is one tile."""
        index = task.rpartition(".t")[2]
        whole = self._tiles.get(frame, 1) == 1 or not index.isdigit()
        return f"Frame {frame}" if whole else f"Tile {int(index) + 1} of frame {frame}"

    def node(self, node: str) -> str:
        """A node's name; its id where it is somebody else's."""
        return self._nodes.get(node, node)

    @cached_property
    def _nodes(self) -> Mapping[str, str]:
        with suppress(FarmError):
            return {node.node: node.name for node in self._client.nodes()}
        return {}

    @cached_property
    def _tiles(self) -> Mapping[int, int]:
        with suppress(FarmError):
            return {frame.frame: frame.tiles for frame in self._client.frames(self._job)}
        return {}


def sentence(event: VerdictEvent, names: Names) -> str:
    """What to tell people of a verdict; empty where there is nothing to tell."""
    if event.outcome not in ENDINGS:
        return ""
    what, then = ENDINGS[event.outcome]
    where = f"{names.tile(event.task, event.frame)} from node {names.node(event.node)}"
    return f"{where} {what}: {_clause(event.reason)} {then}"


def _clause(reason: str) -> str:
    """A sentence as it stands after a colon; names written in capitals keep them."""
    text = (reason.strip() or "the farm gave no reason").rstrip(".")
    return f"{text if text[1:2].isupper() else text[0].lower() + text[1:]}."
