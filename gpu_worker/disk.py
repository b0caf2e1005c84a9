# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full: not the scene's failure, whatever it looks like."""

import shutil
from pathlib import Path

from farm_protocol.records import SCENE_FAILURES, FailureCode
from gpu_worker.failures import TaskError

LEAST_FREE = 32 << 20
"""Bytes. With less, what Blender writes is cut off, or not there."""


def is_full(folder: Path) -> bool:
    """Whether the disk that `folder` is on has no room for another picture."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free < LEAST_FREE


def blamed(error: TaskError, folder: Path) -> TaskError:
    """The failure, as the node's where its disk is the likely reason."""
    if error.failure in SCENE_FAILURES and is_full(folder):
        return TaskError(FailureCode.NODE, f"The disk of this node is full ({folder}): {error.sentence}")
    return error
