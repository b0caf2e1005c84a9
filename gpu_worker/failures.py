# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with a task on a node, as errors that carry the record's failure code."""

from farm_protocol.errors import FarmError
from farm_protocol.ids import TaskId
from farm_protocol.records import FailureCode, TaskFailure

LONGEST = 2000
"""Characters of a failure's sentence."""


class TaskError(FarmError):
    """The task is given back. `failure` says why; `bad_inputs` are tiles to be rendered again."""

    code = "task_failed"

    def __init__(self, failure: FailureCode, sentence: str, bad_inputs: tuple[TaskId, ...] = ()) -> None:
        super().__init__(plain(sentence))
        self.failure = failure
        self.bad_inputs = bad_inputs

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross from a slot's process to the agent's."""
        return TaskError, (self.failure, self.sentence, self.bad_inputs)

    def record(self) -> TaskFailure:
        """As the coordinator reads it."""
        return TaskFailure(self.failure, self.sentence, self.bad_inputs)


class Cancelled(TaskError):
    """The task was taken away while it was worked on."""

    def __init__(self, sentence: str = "The task was cancelled.") -> None:
        super().__init__(FailureCode.NODE, sentence)


def plain(text: str) -> str:
    """A stranger's text as one that is safe to log and show: printable and bounded."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text[:LONGEST])
