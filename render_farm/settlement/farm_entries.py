# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm's scripts write into a paid job's ledger."""

from dataclasses import dataclass

from farm_protocol.fields import Digest, Name


@dataclass(frozen=True, slots=True)
class FarmEntry:
    """What the farm's scripts wrote into the ledger. `units` of work, `frame` None for an audit."""

    kind: Name
    task: Name = ""
    token: int = 0
    node: Name = ""
    agreement: Name = ""
    units: int = 0
    root: Digest = "0" * 64
    frame: int | None = None
    code: Name = ""
    reason: str = ""
