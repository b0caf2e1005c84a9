# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and checked blobs, kept apart by owner: a known hash opens nobody else's asset."""

from dataclasses import dataclass

import msgspec

from frame_splitter.fields import decode, encode
from frame_splitter.ids import JobId, OwnerId, SceneId, Sha256
from frame_splitter.records import Manifest
from render_farm.store import keys
from render_farm.store.connection import Argument, Connection


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

    async def put(self, owner: OwnerId, scene: SceneId, manifest: Manifest) -> bool:
        """Keep a manifest. Returns whether it is new; one that is there stays, sealed or not."""
        return bool(await self._store.do("HSETNX", keys.scene(owner, scene), "manifest", encode(manifest)))

    async def get(self, owner: OwnerId, scene: SceneId) -> StoredScene | None:
        """The owner's scene, or None."""
        found = await self._store.hash(keys.scene(owner, scene))
        if not found:
            return None
        return StoredScene(decode(found["manifest"], Manifest), found.get("sealed") == "1")

    async def sealed(self, owner: OwnerId, scene: SceneId) -> bool:
        """Whether the owner has this scene with all its blobs."""
        return bool(await self._store.do("HGET", keys.scene(owner, scene), "sealed") == "1")

    async def lacking(self, owner: OwnerId, blobs: dict[Sha256, int]) -> dict[Sha256, int]:
        """Those of the blobs that were never checked for this owner."""
        wanted = list(blobs)
        known = await self._store.do("HMGET", keys.owner_blobs(owner), *wanted)
        return {sha: blobs[sha] for sha, size in zip(wanted, known, strict=True) if size is None}

    async def remember(self, owner: OwnerId, checked: dict[Sha256, int]) -> None:
        """Note blobs that were checked before the whole scene is there."""
        if checked:
            flat = [item for sha, size in checked.items() for item in (sha, size)]
            await self._store.do("HSET", keys.owner_blobs(owner), *flat)

    async def seal(self, owner: OwnerId, scene: SceneId, checked: dict[Sha256, int]) -> None:
        """Remember the checked blobs and open the scene for jobs."""
        flat = [item for sha, size in checked.items() for item in (sha, size)]
        await self._store.run("seal", _places(owner, scene), *flat)

    async def unseal(self, owner: OwnerId, scene: SceneId, job: JobId, lost: Lost) -> int:
        """Forget blobs that are there no more; `job` and the others of the scene wait. Returns how many do
        that did not before.
        """
        told = msgspec.json.encode({"files": lost.files, "count": len(lost.blobs), "detail": lost.sentence})
        words: tuple[Argument, ...] = (job, owner, scene, lost.sentence, told, *lost.blobs)
        return int(await self._store.run("unseal", _places(owner, scene), *words))


def _places(owner: OwnerId, scene: SceneId) -> list[str]:
    return [keys.scene(owner, scene), keys.owner_blobs(owner), keys.scene_waiting(owner, scene)]
