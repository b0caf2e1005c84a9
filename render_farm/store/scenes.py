# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and checked blobs, kept apart by owner: a known hash opens nobody else's asset."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from farm_protocol.fields import decode
from farm_protocol.ids import JobId, OwnerId, SceneId, Sha256
from farm_protocol.records import Manifest
from render_farm.store import keys
from render_farm.store.calls import Call
from render_farm.store.connection import Connection
from render_farm.store.new_jobs import OverQuota, batched

GIGABYTE, MEGABYTE = 1000**3, 1000**2
AT_ONCE = 1000
"""Blobs that the store is asked about in one go."""


class OfScene(Call, frozen=True):
    """A scene of an owner's."""

    owner: OwnerId
    scene: SceneId


class PutScene(OfScene, frozen=True):
    """All of the owner's manifests (JSON) have `most` bytes at most, 0: any number."""

    now: float
    manifest: bytes
    most: int


class UseScene(OfScene, frozen=True):
    """It is used now."""

    now: float


class Seal(OfScene, frozen=True):
    """All its blobs are there."""


class Unseal(OfScene, frozen=True):
    """The job whose node missed some `blobs`; `why` its jobs wait, and the event (JSON) that says so."""

    job: JobId
    why: str
    event: bytes
    blobs: Sequence[Sha256]


class Announce(Call, frozen=True):
    """Blobs with their sizes; all of the owner's have `most` bytes at most, 0: any number."""

    owner: OwnerId
    sizes: Mapping[Sha256, int]
    most: int


@dataclass(frozen=True, slots=True)
class StoredScene:
    """A manifest, and whether every blob of it was checked."""

    manifest: Manifest
    sealed: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """Blobs of a scene that the object store has lost, names of some of its files, and that as a sentence."""

    blobs: tuple[Sha256, ...]
    files: tuple[str, ...]
    sentence: str


class Scenes:
    """The store's scenes."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def put(self, owner: OwnerId, scene: SceneId, manifest: bytes, most: int = 0) -> bool:
        """Keep a manifest (JSON). Returns whether it is new; one that is there stays, sealed or not. Raises
        OverQuota where the owner's would have more than `most` bytes (0: any).
        """
        outcome = await self._store.call(PutScene(owner, scene, time.time(), manifest, most))
        if outcome == "full":
            raise OverQuota(
                f"The lists of files of your scenes have {most / MEGABYTE:g} MB at most: the farm deletes "
                "scenes that no job has used for a while."
            )
        return bool(outcome == "new")

    async def get(self, owner: OwnerId, scene: SceneId) -> StoredScene | None:
        """The owner's scene, or None."""
        found = await self._store.hash(keys.scene(owner, scene))
        if not found:
            return None
        return StoredScene(decode(found["manifest"], Manifest), found.get("sealed") == "1")

    async def sealed(self, owner: OwnerId, scene: SceneId) -> bool:
        """Whether the owner has this scene with all its blobs; asking counts as using it."""
        return bool(await self._store.call(UseScene(owner, scene, time.time())))

    async def drop(self, owner: OwnerId, scene: SceneId) -> None:
        """Forget a scene that was just put."""
        await self._store.do("ZREM", keys.owner_manifests(owner), scene)
        await self._store.do("UNLINK", keys.scene(owner, scene))

    async def lacking(self, owner: OwnerId, blobs: dict[Sha256, int]) -> dict[Sha256, int]:
        """Those of the blobs that were never checked for this owner, or had another size when they were."""
        known = await self._sizes(keys.owner_blobs(owner), blobs)
        return {sha: size for sha, size in blobs.items() if known[sha] != size}

    async def _sizes(self, place: str, blobs: dict[Sha256, int]) -> dict[Sha256, int | None]:
        found: dict[Sha256, int | None] = {}
        for some in batched(list(blobs), AT_ONCE):
            sizes = await self._store.do("HMGET", place, *some)
            found |= {sha: int(size) if size else None for sha, size in zip(some, sizes, strict=True)}
        return found

    async def bytes_of(self, owner: OwnerId) -> int:
        """How many bytes count against an owner's room."""
        return int(await self._store.do("GET", keys.owner_bytes(owner)) or 0)

    async def announce(self, owner: OwnerId, blobs: dict[Sha256, int], most: int) -> None:
        """Count blobs against the owner's room of `most` bytes (0: any), each once, with the largest size
        told for it. Raises OverQuota, and counts none then, unless others of the owner's came between.
        """
        sizes = await self._sizes(keys.owner_announced(owner), blobs)
        counted = {sha: -1 if size is None else size for sha, size in sizes.items()}
        new = {sha: size for sha, size in blobs.items() if size > counted[sha]}
        has, more = await self.bytes_of(owner), sum(size - max(counted[sha], 0) for sha, size in new.items())
        fits = not most or not more or has + more <= most
        for some in batched(list(new), AT_ONCE):
            call = Announce(owner, {sha: new[sha] for sha in some}, most)
            fits = fits and bool(await self._store.call(call))
        if not fits:
            raise OverQuota(
                f"Your scenes have {has / GIGABYTE:.1f} GB of {most / GIGABYTE:g} GB at most, and this one "
                f"adds {more / GIGABYTE:.1f} GB: the farm deletes scenes that no job has used for a while."
            )

    async def remember(self, owner: OwnerId, checked: dict[Sha256, int]) -> None:
        """Note blobs that were checked before the whole scene is there."""
        for some in batched(list(checked.items()), AT_ONCE):
            await self._store.keep("HSET", keys.owner_blobs(owner), *(item for pair in some for item in pair))

    async def seal(self, owner: OwnerId, scene: SceneId, checked: dict[Sha256, int]) -> None:
        """Remember the checked blobs and open the scene for jobs."""
        await self.remember(owner, checked)
        await self._store.call(Seal(owner, scene))

    async def unseal(self, owner: OwnerId, scene: SceneId, job: JobId, lost: Lost) -> int:
        """Forget blobs that are there no more; `job` and the others of the scene wait. Returns how many do
        that did not before.
        """
        told = msgspec.json.encode({"files": lost.files, "count": len(lost.blobs), "detail": lost.sentence})
        return int(await self._store.call(Unseal(owner, scene, job, lost.sentence, told, lost.blobs)))
