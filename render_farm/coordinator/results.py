# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes bring back: where to upload it, whether it is really there, and links for its owner."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from farm_protocol.appointments import AuditTerms
from farm_protocol.audits import AuditAnswer, CheckOrder
from farm_protocol.errors import Conflict, InvalidInput, NotFound
from farm_protocol.fields import StoredFile, Tile
from farm_protocol.ids import JobId, TaskId
from farm_protocol.node_answers import LeasedScene, ResultAnswer
from farm_protocol.records import (
    FINAL_JOB_STATES,
    FailureCode,
    Lease,
    OutputFile,
    Task,
    TaskFailure,
    TaskResult,
    TaskState,
    TileInput,
    Upload,
)
from frame_splitter.outputs import safe_relative
from render_farm.api_models import Frame, Job
from render_farm.coordinator.dispatch import Bell
from render_farm.coordinator.gates import Workshop
from render_farm.coordinator.losses import Losses
from render_farm.coordinator.object_store import LARGEST_OBJECT, Objects, blob_key, result_key
from render_farm.coordinator.result_receiver import Counter, Signer
from render_farm.coordinator.verdicts import Verdicts
from render_farm.policy.fallbacks import Fallback, fails, seams
from render_farm.store.identities import Caller
from render_farm.store.jobs import StoredEvent, StoredFrame
from render_farm.store.known_leases import Holding
from render_farm.store.leases import Leases, StoredAudit, StoredCheck, Taken
from render_farm.store.scenes import Scenes
from render_farm.store.states import TILE_LANES

T = TypeVar("T")
Item = TypeVar("Item")
log = structlog.get_logger()

MOST_FILES = 1000
LARGEST_RESULT = 50 * 1000**3
"""Bytes of all files of one result."""

FEW_LINKS = 16
"""So many are signed at once: a signature takes a tenth of a millisecond or two."""

MOST_SAID = 500
"""Letters of a node's sentence that are repeated in a job's."""


class Results:
    """Everything that goes in and out under a lease, and the links to it."""

    def __init__(
        self,
        leases: Leases,
        scenes: Scenes,
        objects: Objects,
        bell: Bell,
        counter: Counter,
        verdicts: Verdicts,
        losses: Losses,
        workshop: Workshop,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._workshop = workshop
        self._leases = leases
        self._scenes = scenes
        self._objects = objects
        self._bell = bell
        self._counter = counter
        self._verdicts = verdicts
        self._losses = losses
        self._clock = clock

    async def leases(self, caller: Caller, taken: Sequence[Taken], expires_in: float) -> tuple[Lease, ...]:
        """Leases as the node is told them, with links to what they start from."""
        links = sum(_links(one) for one in taken)
        return tuple(await self._linked(caller, links, taken, lambda one: self._lease(one, expires_in)))

    async def _linked(
        self, caller: Caller, links: int, items: Sequence[Item], work: Callable[[Item], T]
    ) -> list[T]:
        """Work on each item that signs so many links in all: a few at once, many aside and in pieces, since
        each takes a while.
        """
        if links <= FEW_LINKS:
            return [work(one) for one in items]
        return await self._workshop.each(caller, items, work)

    def _lease(self, taken: Taken, expires_in: float) -> Lease:
        inputs = tuple(
            TileInput(
                entry.task.id,
                entry.task.tile,
                self.stored(entry.task.job, entry.task.id, entry.token, entry.file),
            )
            for entry in taken.inputs
        )
        return Lease(
            task=taken.task,
            token=taken.token,
            slot=taken.slot,
            expires_in=expires_in,
            scene=taken.scene,
            owner=taken.owner,
            settings=taken.settings,
            width=taken.width,
            height=taken.height,
            area=taken.area,
            canvas=taken.canvas,
            inputs=inputs,
            audit=taken.audit,
            check=None if taken.check is None else self._check(taken.task, taken.check),
            probe=taken.probe,
            agreement=taken.agreement,
            units=taken.units,
            seam=taken.seam,
            fresh=taken.fresh,
            asked=taken.asked,
        )

    def _check(self, task: Task, check: StoredCheck) -> CheckOrder:
        answers = tuple(
            AuditAnswer(
                audit.task,
                audit.order,
                tuple(self.stored(task.job, audit.task, audit.token, file) for file in audit.files),
                audit.own,
                audit.same_class,
            )
            for audit in compared(task.tile, check.audits)
        )
        return CheckOrder(check.pixel_root, check.channels, answers, check.sums)

    async def scene(self, caller: Caller, task: TaskId, token: int) -> LeasedScene:
        """The scene of a lease the node holds now. Raises StaleLease for any other."""
        owner, scene = await self._leases.scene_of(await self._leases.holding(task, token, caller.node))
        found = await self._scenes.get(owner, scene)
        if found is None:
            raise NotFound("The scene of this lease is gone.")
        blobs = tuple(found.manifest.files.values())
        if not caller.own:
            await self._objects.publish(
                {blob_key(owner, blob.sha256): (blob.sha256, blob.size) for blob in blobs}
            )
        keys = [blob_key(owner, blob.sha256) for blob in blobs]
        links = await self._linked(caller, len(keys), keys, self._objects.get_link)
        files = {
            name: StoredFile(name, blob.sha256, blob.size, link)
            for name, blob, link in zip(found.manifest.files, blobs, links, strict=True)
        }
        return LeasedScene(scene, found.manifest.main, files, found.manifest.color_config)

    async def uploads(
        self, caller: Caller, task: TaskId, token: int, files: tuple[OutputFile, ...]
    ) -> tuple[Upload, ...]:
        """Where to PUT each file of a live lease."""
        check_files(files)
        held = await self._leases.holding(task, token, caller.node)

        def upload(file: OutputFile) -> Upload:
            return Upload(file.name, *self._objects.put_link(_key(held, file), file.sha256, file.size))

        return tuple(await self._linked(caller, len(files), files, upload))

    async def terms(self, caller: Caller, task: TaskId, token: int, attempt: int) -> AuditTerms:
        """The terms for the result of a tile that the node holds now. Raises StaleLease for any other."""
        return await self._counter.terms(caller, task, token, attempt)

    async def submit(self, caller: Caller, task: TaskId, token: int, result: TaskResult) -> ResultAnswer:
        """Take a signed result once its objects are there. The same submit again is answered alike."""
        check_files(result.files)
        signer = await self._counter.signer(caller, task, token, result)
        receipt = await self._counter.before(signer, result)
        if receipt is not None:
            return ResultAnswer(signer.known.state, receipt)
        held = signer.known.submitting(result)
        if held is not None and held.lane == "probe" and result.probe is None:
            raise InvalidInput("A probe's result must say what was measured.")
        if held is None:
            return ResultAnswer(TaskState.ACCEPTED)
        await asyncio.gather(*(self._must_be_there(held, file) for file in result.files))
        answer = await self._take(caller, held, result, signer)
        self._bell.ring()
        log.info("task_submitted", task=task, token=token, node=caller.node, seconds=result.seconds)
        return answer

    async def _take(self, caller: Caller, held: Holding, result: TaskResult, signer: Signer) -> ResultAnswer:
        if held.lane in TILE_LANES:
            return ResultAnswer(*await self._counter.take(caller, held, result, signer))
        if held.lane == "audit":
            await self._counter.take_audit(caller, held, result, signer)
        elif held.lane == "check":
            await self._verdicts.check(held, result)
        else:
            await self._leases.submit(held, result, self._clock(), fallback=await self._seams(held, result))
        return ResultAnswer(TaskState.ACCEPTED)

    async def _seams(self, held: Holding, result: TaskResult) -> Fallback | None:
        """Why the job falls back, where a finished frame was compared and is another than Blender's."""
        if result.seam is None or not result.seam.different:
            return None
        frame = await self._leases.frame_of(held.task)
        return seams(frame, _printable(result.seam.different))

    async def _must_be_there(self, held: Holding, file: OutputFile) -> None:
        found = await self._objects.look(_key(held, file))
        if found is None:
            raise Conflict(f"'{file.name}' was not uploaded: upload it, then submit again.")
        if found.size != file.size:
            raise Conflict(f"'{file.name}' was stored with {found.size} bytes instead of {file.size}.")
        if (found.sha256 or await self._objects.hash(_key(held, file))) != file.sha256:
            raise Conflict(f"'{file.name}' was stored with other contents than its sha256 says.")

    async def give_back(self, caller: Caller, task: TaskId, token: int, failure: TaskFailure) -> TaskState:
        """A node could not do its task."""
        failure = replace(failure, message=_printable(failure.message))
        if failure.code is FailureCode.LOST and failure.lost:
            held = await self._leases.holding(task, token, caller.node)
            owner, scene = await self._leases.scene_of(held)
            await self._losses.heed(caller, owner, scene, held.job, failure)
        fallback = await self._fails_in_tiles(caller, task, token, failure)
        state = await self._leases.give_back(
            task, token, caller.node, failure, self._clock(), fallback=fallback
        )
        self._bell.ring()
        log.warning(
            "task_given_back",
            task=task,
            token=token,
            node=caller.node,
            code=failure.code,
            message=failure.message,
            state=state,
        )
        return state

    async def _fails_in_tiles(
        self, caller: Caller, task: TaskId, token: int, failure: TaskFailure
    ) -> Fallback | None:
        """Why whole frames may do what tiles cannot: a crash or too little memory is no such reason."""
        if not caller.own or failure.code not in {FailureCode.SCENE, FailureCode.BAD_OUTPUT}:
            return None
        held = await self._leases.holding(task, token, caller.node)
        return fails(await self._leases.frame_of(held.task), failure.message[:MOST_SAID])

    async def frames(self, caller: Caller, job: Job, stored: Sequence[StoredFrame]) -> list[Frame]:
        """Frames with links to their files."""
        links = sum(len(one.files) for one in stored)
        return await self._linked(caller, links, stored, lambda one: self._frame(job, one))

    def _frame(self, job: Job, stored: StoredFrame) -> Frame:
        unfinished = stored.state == "rendering" and job.state in FINAL_JOB_STATES
        return Frame(
            frame=stored.frame,
            state="cancelled" if unfinished else stored.state,
            tiles=stored.tiles,
            tiles_accepted=stored.tiles_accepted,
            render_seconds=stored.render_seconds,
            files=tuple(self.stored(job.job, stored.by, stored.by_token, file) for file in stored.files),
        )

    async def frame_event(self, caller: Caller, job: JobId, event: StoredEvent) -> dict[str, Any]:
        """A frame's event with links to its files."""
        data = dict(event.data)
        by, token = TaskId(data.pop("by", "")), int(data.pop("by_token", 0))
        files = [
            OutputFile(file["name"], file["sha256"], int(file["size"])) for file in data.get("files", [])
        ]
        seconds = data.get("render_seconds", 0.0)
        return data | {
            "files": await self._all_stored(caller, job, by, token, files),
            "render_seconds": seconds,
        }

    async def verdict_event(self, caller: Caller, job: JobId, event: StoredEvent) -> dict[str, Any]:
        """A verdict's event with links to its evidence."""
        data = dict(event.data)
        by, token = TaskId(data.pop("by", "")), int(data.pop("by_token", 0))
        files = [OutputFile(file["name"], file["sha256"], int(file["size"])) for file in data["evidence"]]
        return data | {"evidence": await self._all_stored(caller, job, by, token, files)}

    async def _all_stored(
        self, caller: Caller, job: JobId, task: TaskId, token: int, files: Sequence[OutputFile]
    ) -> list[StoredFile]:
        return await self._linked(caller, len(files), files, lambda file: self.stored(job, task, token, file))

    def stored(self, job: JobId, task: TaskId, token: int, file: OutputFile) -> StoredFile:
        """A file of a result, with a link to fetch it."""
        link = self._objects.get_link(result_key(job, task, token, file))
        return StoredFile(file.name, file.sha256, file.size, link)


def compared(tile: Tile, audits: Sequence[StoredAudit]) -> tuple[StoredAudit, ...]:
    """The audits that a check looks at: renders of the whole tile are compared by their roots, and tell
    nothing more of why crops differ. Where there are no others, the own node's first of them.
    """
    crops = tuple(audit for audit in audits if not audit.order.is_whole(tile))
    mine = [audit for audit in audits if audit.own]
    return crops or tuple(audit for audit in audits if not audit.own or audit is mine[0])


def _links(taken: Taken) -> int:
    """How many links a lease is told with."""
    audits = taken.check.audits if taken.check else ()
    return len(taken.inputs) + sum(len(audit.files) for audit in audits)


def check_files(files: tuple[OutputFile, ...]) -> None:
    """Raises InvalidInput for names that leave their folder, repeat, or are too many, and for sizes."""
    if not 1 <= len(files) <= MOST_FILES:
        raise InvalidInput(f"A result has from 1 to {MOST_FILES} files, not {len(files)}.")
    if sum(file.size for file in files) > LARGEST_RESULT:
        raise InvalidInput(f"A result has at most {LARGEST_RESULT // 1000**3} GB in all.")
    seen = set()
    for file in files:
        safe_relative(file.name)
        if file.name in seen:
            raise InvalidInput(f"'{file.name}' is listed twice.")
        if file.size > LARGEST_OBJECT:
            raise InvalidInput(f"'{file.name}' is larger than {LARGEST_OBJECT // 1000**3} GB.")
        seen.add(file.name)


def _printable(text: str) -> str:
    """A node's words without what could steer the terminal of who reads them."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _key(held: Holding, file: OutputFile) -> str:
    return result_key(held.job, held.task, held.token, file)
