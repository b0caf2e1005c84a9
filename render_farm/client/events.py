# SPDX-License-Identifier: GPL-3.0-or-later
"""What an event stream tells of a job, as the client reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from farm_protocol.fields import StoredFile, decode
from farm_protocol.records import FINAL_JOB_STATES
from payments.messages.statements import JobMoney
from render_farm.api_models import Job

FINAL_STATES = FINAL_JOB_STATES


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a job. `kind` is job, task, progress, frame, audit, verdict, head, lost,
    notice or money; `data` is JSON.
    """

    id: str
    kind: str
    data: bytes

    @property
    def is_last(self) -> bool:
        """Whether the job ended with it."""
        return self.kind == "job" and decode(self.data, Job).state in FINAL_STATES


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """A task changed its state."""

    task: str
    kind: str
    frame: int
    state: str
    node: str | None = None
    slot: str | None = None
    detail: Any = None


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """A leased task is `done` of `total` samples far."""

    task: str
    frame: int
    done: int = 0
    total: int = 0
    node: str | None = None
    slot: str | None = None


@dataclass(frozen=True, slots=True)
class FrameEvent:
    """A frame is done or failed; `files` as in `render_farm.api_models.Frame`."""

    frame: int
    state: str
    files: tuple[StoredFile, ...] = ()
    tiles: int = 1
    render_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A tile that `node` submitted is audited: `state` is ordered, or done by `auditor`."""

    task: str
    frame: int
    node: str
    state: str
    auditor: str | None = None


@dataclass(frozen=True, slots=True)
class VerdictEvent:
    """What was decided about a tile that `node` submitted: `outcome` is one of `verification.audit.verdict`,
    `reason` a sentence, `evidence` pictures.
    """

    task: str
    frame: int
    node: str
    outcome: str
    code: str = ""
    reason: str = ""
    evidence: tuple[StoredFile, ...] = ()


@dataclass(frozen=True, slots=True)
class LostEvent:
    """The farm's object store has lost `count` files of the job's scene, some of them `files`; `detail` says
    so. The job waits until the scene is sent again.
    """

    files: tuple[str, ...]
    count: int
    detail: str


@dataclass(frozen=True, slots=True)
class MoneyEvent:
    """A paid job's money moved. `notice` is why nothing went on then, '' where it did; `money` how all of it
    stands now.
    """

    notice: str
    money: JobMoney | None = None


@dataclass(frozen=True, slots=True)
class NoticeEvent:
    """A sentence for people: why nobody may take the job's tasks ('' once somebody does), or why its frames
    are rendered whole from here on, or what else everybody who waits for the job should know.
    """

    detail: str


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events from lines. An event cut off by the end of the stream is dropped."""
    data: list[str] = []
    kind, name = "message", ""
    for line in lines:
        if not line:
            if data:
                yield Event(name, kind, "\n".join(data).encode())
            kind, data = "message", []
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            kind = value
        elif key == "id":
            name = value
        elif key == "data":
            data.append(value)
