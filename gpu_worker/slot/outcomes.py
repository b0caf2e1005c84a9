# SPDX-License-Identifier: GPL-3.0-or-later
"""What a part of a task's work came to: its result, or the record of why it failed."""

from collections.abc import Callable
from typing import TypeVar

import structlog

from farm_protocol.errors import FarmError
from farm_protocol.http_client import Unreachable
from farm_protocol.links import LinkRefused
from farm_protocol.records import FailureCode, TaskFailure
from farm_protocol.transfer import AWAY, ObjectLost
from gpu_worker.failures import TaskError

T = TypeVar("T")

log = structlog.get_logger()


def outcome_of(action: Callable[[], T]) -> T | TaskFailure:
    """What `action` gives, or the record of why it failed."""
    try:
        return action()
    except TaskError as error:
        return error.record()
    except ObjectLost as error:
        return TaskFailure(FailureCode.LOST, error.sentence, lost=(error.sha256,))
    except FarmError as error:
        return TaskFailure(FailureCode.NODE, _for_the_farm(error))
    except OSError as error:
        return TaskFailure(FailureCode.NODE, f"This node's disk failed: {error}")
    except Exception:  # a slot outlives whatever a stranger's scene provokes
        log.exception("task_failed_unexpectedly")
        return TaskFailure(FailureCode.NODE, "This node failed in a way it did not expect; its log says how.")


def _for_the_farm(error: FarmError) -> str:
    """What a farm hears of an error: not what is at an address it named, and no words of a socket's."""
    told = {Unreachable: "The coordinator does not answer.", LinkRefused: AWAY}.get(type(error))
    if told:
        log.warning("not_told_to_the_farm", reason=error.sentence)
    return told or error.sentence
