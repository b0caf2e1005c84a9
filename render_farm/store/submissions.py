# SPDX-License-Identifier: GPL-3.0-or-later
"""Submissions as the scripts keep them: who submits, what was signed, and what became of it."""

from dataclasses import dataclass, replace

from frame_splitter.fields import decode
from frame_splitter.ids import LeaseToken, NodeId, OwnerId, TaskId
from frame_splitter.records import Task
from render_farm.store import keys
from render_farm.store.connection import Connection
from verification.rate import Standing
from verification.records import SubmissionRecord


@dataclass(frozen=True, slots=True)
class Submitter:
    """A node as its submit is judged: its address, and its and its operator's standing now."""

    address: str
    standing: Standing
    operator_standing: Standing


@dataclass(frozen=True, slots=True)
class Work:
    """What of a task and its job a submission depends on."""

    task: Task
    croppable: bool


class Submissions:
    """The store's submissions."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def submitter(self, node: NodeId, operator: OwnerId) -> Submitter:
        """Who submits. The address is '' where none is bound."""
        mine, theirs = await self._store.read(
            [
                ("HMGET", keys.node(node), "address", "passed", "failed"),
                ("HMGET", keys.owner(operator), "passed", "failed"),
            ]
        )
        return Submitter(mine[0] or "", _standing(*mine[1:]), _standing(*theirs))

    async def work(self, task: TaskId) -> Work:
        """A task that exists."""
        record = decode(await self._store.do("HGET", keys.task(task), "task"), Task)
        croppable = await self._store.do("HGET", keys.job(record.job), "croppable")
        return Work(record, croppable == "1")

    async def get(self, task: TaskId, token: int) -> SubmissionRecord | None:
        """What was submitted under a lease, or None."""
        fields = await self._store.hash(keys.submission(task, LeaseToken(token)))
        return _record(fields) if fields else None


def _standing(passed: str | None, failed: str | None) -> Standing:
    return Standing(int(passed or 0), int(failed or 0))


def _record(fields: dict[str, str]) -> SubmissionRecord:
    return replace(decode(fields["base"], SubmissionRecord), leaf=int(fields["leaf"]))
