# SPDX-License-Identifier: GPL-3.0-or-later
"""What owners bring: scenes, checked before they are sealed, and jobs, cut into tasks."""

import asyncio
import math
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import structlog

from farm_protocol.audits import Sums
from farm_protocol.errors import Conflict, Forbidden, InvalidInput, NotFound
from farm_protocol.facts import SceneFacts
from farm_protocol.fields import about, encode
from farm_protocol.ids import JobId, OwnerId, SceneId, Sha256
from farm_protocol.records import JobSpec, Manifest, RenderSettings, TaskOutput, blob_digests
from farm_protocol.scene_ids import scene_id
from frame_splitter import seams
from frame_splitter.exactness import Plan, classify
from frame_splitter.outputs import is_color_config, laid_out_name
from frame_splitter.split import extension, fingerprint, pin, split
from frame_splitter.tiles import border_area, frame_size
from payments.messages.quotes import Quote
from payments.messages.statements import Payment
from render_farm.api_models import Job, MissingBlob, SceneAnswer
from render_farm.coordinator.gates import Workshop
from render_farm.coordinator.limits import Quota
from render_farm.coordinator.object_store import LARGEST_OBJECT, Found, Objects, blob_key
from render_farm.coordinator.paying import Cashier
from render_farm.store.identities import Caller, Repeat, Role
from render_farm.store.jobs import Jobs
from render_farm.store.new_jobs import ANY_ROOM, NewJob, OverQuota, Room, batched
from render_farm.store.scenes import Scenes

log = structlog.get_logger()

MOST_FILES = 100_000
MOST_FOLDERS = 32
"""That a file of a scene may lie in, one in another."""

MOST_PARTS = 1_000_000
"""Folders in the names of all files of a scene, each counted as often as it is named."""

MOST_FRAMES = 250_000
NAMED = 10
"""How many files a message names before it says how many more there are."""

MOST_TASKS = 100_000
"""So many that the store is held up for a second or two when the job starts or is cancelled."""

MOST_TILES = 4096
"""Of a frame."""

USUAL_PRIORITY = 50
LOOKS_AT_ONCE = 16
_SCENE = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class JobOrder:
    """The body of a job's creation. With a payment it waits for its deposit."""

    spec: Annotated[JobSpec, about("what is asked for")]
    facts: Annotated[SceneFacts, about("what is known of the .blend")]
    payment: Annotated[Payment | None, about("how it is paid for; null: it is free")] = None


def check_manifest(manifest: Manifest) -> None:
    """Raises InvalidInput for a manifest that could not, or must not, be laid out on a disk."""
    if manifest.main not in manifest.files:
        raise InvalidInput(f"The manifest's main file '{manifest.main}' is not among its files.")
    if not is_color_config(manifest.color_config, manifest.files):
        raise InvalidInput("The manifest's OCIO configuration is none of its files.")
    if len(manifest.files) > MOST_FILES:
        raise InvalidInput(f"The scene has more than {MOST_FILES} files.")
    if sum(name.count("/") for name in manifest.files) > MOST_PARTS:
        raise InvalidInput("The scene's files lie in too many folders, all in all.")
    sizes: dict[str, int] = {}
    for name, blob in manifest.files.items():
        laid_out_name(name)
        if name.count("/") > MOST_FOLDERS:
            raise InvalidInput(f"'{name[:80]}' lies in more than {MOST_FOLDERS} folders.")
        if blob.size > LARGEST_OBJECT:
            raise InvalidInput(f"'{name}' is larger than {LARGEST_OBJECT // 1000**3} GB.")
        if sizes.setdefault(blob.sha256, blob.size) != blob.size:
            raise InvalidInput(f"'{name}' has the sha256 of another file but not its size.")
    _check_folders(set(manifest.files))


def _check_folders(names: set[str]) -> None:
    """A name cannot be a file and, in another name, a folder. Each folder is looked at once."""
    seen: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in seen:
            if folder in names:
                raise InvalidInput(f"'{folder}' is a file and, in '{name}', also a folder.")
            seen.add(folder)
            folder = folder.rpartition("/")[0]


def checked_scene(manifest: Manifest) -> SceneId:
    """The name of a manifest that can be laid out. Raises as `check_manifest`."""
    check_manifest(manifest)
    return scene_id(manifest)


def require_scene_id(scene: str) -> None:
    """Raises InvalidInput for what is the name of no scene."""
    if not _SCENE.fullmatch(scene):
        raise InvalidInput("A scene's name is the sha256 of its manifest: 64 hexadecimal digits.")


def require_priority(caller: Caller, priority: int) -> None:
    """Raises Forbidden for more than the usual, which would go before everybody's."""
    if priority > USUAL_PRIORITY and caller.role is not Role.ADMIN:
        raise Forbidden(
            f"Only the farm's operator may give a job a priority above {USUAL_PRIORITY}: leave it out."
        )


class Intake:
    """Takes scenes and jobs."""

    def __init__(
        self,
        scenes: Scenes,
        jobs: Jobs,
        objects: Objects,
        cashier: Cashier,
        workshop: Workshop,
        quota: Quota,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._scenes = scenes
        self._jobs = jobs
        self._objects = objects
        self._cashier = cashier
        self._workshop = workshop
        self._quota = quota
        self._clock = clock

    async def scene(self, caller: Caller, manifest: Manifest) -> SceneAnswer:
        """Note a scene; says which blobs are still to be uploaded, and where."""
        owner = caller.owner
        scene, text = await self._workshop.do(caller, lambda: (checked_scene(manifest), encode(manifest)))
        blobs = blob_digests(manifest)
        most, lists = self._quota.bytes, self._quota.records // 2
        if caller.role is Role.ADMIN:
            most = lists = 0
        is_new = await self._scenes.put(owner, scene, text, lists)
        try:
            await self._scenes.announce(owner, blobs, most)
        except OverQuota:
            if is_new:
                await self._scenes.drop(owner, scene)
            raise
        lacking = await self._scenes.lacking(owner, blobs)
        # Of a scene never heard of nothing is looked for: thousands of answers would all be no.
        if is_new:
            found = await asyncio.to_thread(self._handed, owner, lacking)
        else:
            found = await self._look_at(owner, lacking)
        checked = {sha: size for sha, size in lacking.items() if found[sha] == Found(size, sha)}
        if len(checked) == len(lacking):
            await self._scenes.seal(owner, scene, checked)
            return SceneAnswer(scene, True)
        await self._scenes.remember(owner, checked)
        # What is there without a checksum is hashed when the scene is sealed, not for every question.
        absent = {
            sha: size
            for sha, size in lacking.items()
            if found[sha] not in {Found(size, sha), Found(size, None)}
        }
        missing = await self._workshop.each(caller, list(absent.items()), partial(self._missing, owner))
        return SceneAnswer(scene, False, tuple(missing))

    def _handed(self, owner: OwnerId, blobs: dict[Sha256, int]) -> dict[Sha256, Found | None]:
        return {sha: self._objects.handed(blob_key(owner, sha)) for sha in blobs}

    async def _look_at(self, owner: OwnerId, blobs: dict[Sha256, int]) -> dict[Sha256, Found | None]:
        """What is stored of some blobs, looked at a few at a time."""
        found: dict[Sha256, Found | None] = {}
        for some in batched(list(blobs), LOOKS_AT_ONCE):
            looks = (self._objects.look(blob_key(owner, sha)) for sha in some)
            found |= zip(some, await asyncio.gather(*looks), strict=True)
        return found

    def _missing(self, owner: OwnerId, blob: tuple[Sha256, int]) -> MissingBlob:
        sha, size = blob
        return MissingBlob(sha, size, *self._objects.put_link(blob_key(owner, sha), sha, size))

    async def seal(self, caller: Caller, scene: SceneId) -> None:
        """Check every uploaded blob's size and sha256. Raises Conflict naming those that are wrong."""
        owner = caller.owner
        stored = await self._scenes.get(owner, scene)
        if stored is None:
            raise NotFound("There is no such scene: send its manifest first.")
        lacking = await self._scenes.lacking(owner, blob_digests(stored.manifest))
        found = await self._look_at(owner, lacking)
        complaints = {}
        for sha, size in lacking.items():
            wrong = await self._what_is_wrong(blob_key(owner, sha), sha, size, found[sha])
            if wrong:
                complaints[sha] = wrong
        if complaints:
            raise Conflict(_complain(stored.manifest, complaints))
        await self._scenes.seal(owner, scene, lacking)
        log.info("scene_sealed", scene=scene, owner=owner, checked=len(lacking))

    async def _what_is_wrong(self, key: str, sha: Sha256, size: int, found: Found | None) -> str:
        if found is None:
            return "was not uploaded"
        if found.size != size:
            return f"has {found.size} bytes instead of {size}"
        if (found.sha256 or await self._objects.hash(key)) != sha:
            return "has other contents than the manifest says"
        return ""

    async def job(self, caller: Caller, order: JobOrder, repeat: Repeat) -> Job:
        """Start a job. Raises InvalidInput for what cannot be rendered, Conflict for an unsealed scene."""
        before = await self._jobs.made_before(repeat)
        if before is None:
            require_scene_id(order.spec.scene)
            require_priority(caller, order.spec.priority)
            if not await self._scenes.sealed(caller.owner, order.spec.scene):
                raise Conflict("The job's scene is not sealed: upload it and seal it first.")
            before = await self._start(caller, order, repeat)
        job = await self._jobs.get(before)
        if job is None:
            raise NotFound("The job is gone.")
        return job

    async def _start(self, caller: Caller, order: JobOrder, repeat: Repeat) -> JobId:
        quote, owner = None, caller.owner
        if order.payment is not None:
            quote = await self._cashier.quote(owner, order.payment, order.spec, order.facts)
        # Cutting a long job takes a while, and other requests are waiting.
        new = await self._workshop.do(caller, lambda: self._plan(owner, order, quote))
        job = await self._jobs.create(new, repeat, self._room(caller))
        paid = new.money is not None
        scene = new.allowed.in_order
        log.info("job_created", job=job, owner=owner, tasks=len(new.tasks), exactness=scene, paid=paid)
        return job

    def _room(self, caller: Caller) -> Room:
        return ANY_ROOM if caller.role is Role.ADMIN else Room(self._quota.jobs, self._quota.tasks)

    def _plan(self, owner: OwnerId, order: JobOrder, quote: Quote | None) -> NewJob:
        new = plan(owner, order, self._clock())
        if order.payment is None or quote is None:
            return new
        return replace(new, money=self._cashier.money(order.payment, quote, new))


def plan(owner: OwnerId, order: JobOrder, now: float) -> NewJob:
    """Pin, classify and split: everything decided about a job before it starts."""
    spec, facts = order.spec, order.facts
    if not 1 <= len(spec.frames) <= MOST_FRAMES:
        raise InvalidInput(f"A job has from 1 to {MOST_FRAMES} frames, not {len(spec.frames)}.")
    if not spec.name.isprintable():
        raise InvalidInput("The job's name must be printable.")
    settings = pin(spec, facts)
    decided = classify(facts, settings, spec.frames, spec.exactness)
    width, height = frame_size(facts, settings.resolution_percentage)
    area, canvas = border_area(facts, width, height)
    job = JobId(f"j{secrets.token_hex(6)}")
    if math.prod(map(int, spec.tiles.split("x")) if spec.tiles != "auto" else ()) > MOST_TILES:
        raise InvalidInput(f"A frame has at most {MOST_TILES} tiles.")
    tasks = split(job, spec, facts, decided, settings)
    looks = _seams(spec, decided, area.area * settings.samples)
    if len(tasks) > MOST_TASKS:
        raise InvalidInput(f"The job has more than {MOST_TASKS} tasks: use fewer tiles, or several jobs.")
    return NewJob(
        job=job,
        owner=owner,
        spec=spec,
        settings=settings,
        allowed=decided.allowed,
        reason=decided.reason,
        reason_in_order=decided.reason_in_order,
        reason_any_order=decided.reason_any_order,
        fingerprint=fingerprint(spec),
        created=now,
        extension=extension(settings, facts),
        width=width,
        height=height,
        area=area,
        canvas=canvas,
        tasks=tasks,
        croppable=decided.tileable,
        overscan=decided.overscan if decided.tileable else 0,
        seams=looks,
        strip=decided.tileable and seams.wants_strip(len(tasks), len(spec.frames), looks),
        sums=_sums(facts, settings),
    )


def _sums(facts: SceneFacts, settings: RenderSettings) -> Sums:
    """What a pixel's sums are made of, for devices that add in any order."""
    adaptive = facts.adaptive
    threshold = min(1.0, max(0.0, adaptive.threshold)) if adaptive.use else None
    most = max(settings.samples, facts.layer_samples)
    return Sums(most, noise_threshold=threshold, min_samples=adaptive.min_samples)


def _seams(spec: JobSpec, decided: Plan, work: int) -> tuple[int, ...]:
    """Which finished frames are compared with whole ones; none where one Blender writes them anyway."""
    if decided.output is TaskOutput.FINAL:
        return ()
    return seams.looks(len(spec.frames), work, secrets.randbelow)


def _complain(manifest: Manifest, complaints: dict[Sha256, str]) -> str:
    named = [
        f"'{name}' {complaints[Sha256(blob.sha256)]}"
        for name, blob in sorted(manifest.files.items())
        if blob.sha256 in complaints
    ]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return f"The scene cannot be sealed: {', '.join(named[:NAMED])}{more}."
