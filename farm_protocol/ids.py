# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of things, as types, so that a task id cannot be passed where a job id is meant."""

from typing import NewType

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""

SceneId = NewType("SceneId", str)
"""The sha256 of a scene's manifest."""

JobId = NewType("JobId", str)
TaskId = NewType("TaskId", str)
NodeId = NewType("NodeId", str)
OwnerId = NewType("OwnerId", str)

OPERATOR = OwnerId("admin")
"""The farm's operator, who is an owner too."""

LeaseToken = NewType("LeaseToken", int)
"""Fencing token: grows with every lease of a task; only the newest may act on it."""

DeviceClass = NewType("DeviceClass", str)
"""What must match for two renders to give the same floats."""
