# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job starts with, and how it is written into the store."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

import msgspec

from farm_protocol.audits import Sums
from farm_protocol.errors import Forbidden
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import Tile, encode
from farm_protocol.ids import JobId, OwnerId, TaskId
from farm_protocol.probes import ProbeOrder
from farm_protocol.records import Demand, Exactness, JobSpec, RenderSettings, Task, TaskKind, TaskOutput
from frame_splitter.exactness import Allowed
from payments.messages.promises import Signed, Terms
from payments.messages.statements import JobMoney, Payment
from render_farm.policy.scheduler import rank
from render_farm.policy.verification_rules import JobRules
from render_farm.store import keys

Item = TypeVar("Item")
Fields = Sequence[dict[str, object]]

BYTES_OF_TASK = 800
"""What the store takes for a task, its frame, and events of both."""

WRITTEN_AT_ONCE = 150
"""Tasks that the store makes in one go: a few hundredths of a second."""


@dataclass(frozen=True, slots=True)
class NewMoney:
    """What a paid job starts with. `units` are those of the tasks that are paid for, `audit_units` what an
    audit of each counts as, all in micro-units; `audit_ppm` what audits may add to the work in all.
    `rules` are those its terms promise, whatever the farm's become before its first submission (None: those).
    """

    payment: Payment
    terms: Signed[Terms]
    units: Mapping[TaskId, int]
    audit_units: Mapping[TaskId, int]
    audit_ppm: int
    symbol: str
    decimals: int
    rules: JobRules | None = None


@dataclass(frozen=True, slots=True)
class NewProbe:
    """What the probe of a quote starts with; `facts` are those of the job that is asked about."""

    order: ProbeOrder
    facts: SceneFacts


@dataclass(frozen=True, slots=True)
class NewJob:
    """All that is known of a job when it starts. `allowed`: what its scene allows. `created` in seconds
    since the epoch. `croppable`: crops rendered with `overscan` pixels around them equal the same pixels of
    a tile. `seams`: after how many frames one is rendered whole as well, and compared; `strip`: one of a
    tile is rendered with more around; `sums` of a device that adds in any order.
    """

    job: JobId
    owner: OwnerId
    spec: JobSpec
    settings: RenderSettings
    allowed: Allowed
    reason: str
    reason_in_order: str
    reason_any_order: str
    fingerprint: str
    created: float
    extension: str
    width: int
    height: int
    area: Tile
    canvas: Tile
    tasks: tuple[Task, ...]
    croppable: bool = False
    overscan: int = 0
    seams: tuple[int, ...] = ()
    strip: bool = False
    sums: Sums | None = None
    money: NewMoney | None = None
    probe: NewProbe | None = None


class OverQuota(Forbidden):
    """The owner has as much as it may have."""

    code = "quota"


@dataclass(frozen=True, slots=True)
class Room:
    """How many unfinished jobs an owner may have, and how many tasks in them; 0: any number."""

    jobs: int = 0
    tasks: int = 0

    def refusal(self, what: str, has: int, more: int) -> OverQuota:
        """Why there is no room for another job of `more` tasks."""
        if what == "jobs":
            return OverQuota(
                f"You have {has} unfinished jobs of {self.jobs} at most: wait for one to end, or cancel one."
            )
        return OverQuota(
            f"Your unfinished jobs have {has} tasks of {self.tasks} at most, and this one has {more}: "
            "wait for some to end, or use fewer frames or tiles."
        )


ANY_ROOM = Room()


def batched(items: Sequence[Item], size: int = 250) -> Iterator[Sequence[Item]]:
    """Some at a time, so that a long job's frames leave room for other requests."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def lane(task: Task) -> str:
    """Which queue of its job a task waits in: tasks of one lane may go to the same nodes."""
    final = task.kind is TaskKind.RENDER and task.output is TaskOutput.FINAL
    return "final" if final else task.kind.value


def lists(new: NewJob) -> list[str]:
    """Where the job can be found. A quote's is in no list of jobs."""
    if new.probe:
        of_owner = keys.owner_quotes(new.owner)
        return [keys.QUOTES, of_owner, of_owner]
    return [keys.ALL_JOBS, keys.owner_jobs(new.owner), keys.same_work(new.owner, new.fingerprint)]


def _in_order(new: NewJob) -> str:
    """Who may render it: '1' devices that add in order; 'own' those, and the farm's own; '0' all."""
    if new.spec.exactness is Demand.BIT:
        return "1"
    exact = new.allowed.in_order is Exactness.BIT_EXACT
    return "own" if exact and new.allowed.any_order is Exactness.APPROXIMATE else "0"


def job_fields(new: NewJob) -> dict[str, str]:
    """The job's hash."""
    return {
        "owner": new.owner,
        "weight": str(BYTES_OF_TASK * len(new.tasks) + 8 * len(new.spec.frames)),
        "name": new.spec.name,
        "scene": new.spec.scene,
        "spec": encode(new.spec).decode(),
        "settings": encode(new.settings).decode(),
        "exactness": new.allowed.in_order.value,
        "any_order": new.allowed.any_order.value,
        "in_order": _in_order(new),
        "reason": new.reason,
        "reason_in_order": new.reason_in_order,
        "reason_any_order": new.reason_any_order,
        "fingerprint": new.fingerprint,
        "created": repr(new.created),
        "rank": repr(rank(new.spec.priority, new.created)),
        "extension": new.extension,
        "width": str(new.width),
        "height": str(new.height),
        "area": encode(new.area).decode(),
        "canvas": encode(new.canvas).decode(),
        "croppable": "1" if new.croppable else "0",
        "overscan": str(new.overscan),
        "seams": encode(new.seams).decode(),
        "strip": "1" if new.strip else "0",
        "sums": encode(new.sums).decode() if new.sums else "",
        **(_money_fields(new.money) if new.money else {}),
        **(_probe_fields(new.probe) if new.probe else {}),
    }


def _probe_fields(probe: NewProbe) -> dict[str, str]:
    return {"probe": encode(probe.order).decode(), "facts": encode(probe.facts).decode()}


def _money_fields(money: NewMoney) -> dict[str, str]:
    shown = JobMoney(money.payment.budget, symbol=money.symbol, decimals=money.decimals)
    return {
        "paid": "1",
        "funded": "0",
        "payment": encode(money.payment).decode(),
        "terms": encode(money.terms).decode(),
        "money": encode(shown).decode(),
        "tiles": str(len(money.units)),
        "units": str(sum(money.units.values())),
        "units_left": str(sum(money.units.values())),
        "audit_ppm": str(money.audit_ppm),
        **({"rules": encode(money.rules).decode()} if money.rules else {}),
        "largest_units": str(max(money.units.values())),
    }


def written(new: NewJob) -> list[tuple[Fields, Fields]]:
    """The tasks and frames as `add_tasks` takes them, some at a time; frames go with the first of them."""
    tasks = [_task_fields(task, order, new.money) for order, task in enumerate(new.tasks, 1)]
    frames = _frames(new.tasks)
    some = batched(tasks, WRITTEN_AT_ONCE), batched(frames, WRITTEN_AT_ONCE)
    return list(zip_longest(*some, fillvalue=()))


def _frames(tasks: Sequence[Task]) -> list[dict[str, object]]:
    tiles: dict[int, list[str]] = {}
    finishes: dict[int, str] = {}
    for task in tasks:
        mine = tiles.setdefault(task.frame, [])
        if task.kind is TaskKind.FINISH:
            finishes[task.frame] = task.id
        else:
            mine.append(task.id)
    return [
        {
            "frame": frame,
            "tiles": len(some),
            "tasks": msgspec.json.encode(some).decode(),
            "finish": finishes.get(frame, ""),
        }
        for frame, some in tiles.items()
    ]


def _task_fields(task: Task, order: int, money: NewMoney | None) -> dict[str, object]:
    told: dict[str, object] = {
        "order": order,
        "id": task.id,
        "kind": task.kind,
        "lane": lane(task),
        "frame": task.frame,
        "task": encode(task).decode(),
    }
    if money is None or task.id not in money.units:
        return told
    # As strings: the scripts' JSON keeps fourteen digits of a number.
    return told | {"units": str(money.units[task.id]), "audit_units": str(money.audit_units[task.id])}
