# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of scenes that the object store has lost: seen by nodes, looked up here, sent again by owners."""

import asyncio

import structlog

from farm_protocol.ids import JobId, OwnerId, SceneId, Sha256
from farm_protocol.records import Manifest, TaskFailure, blob_digests
from render_farm.coordinator.object_store import Objects, blob_key
from render_farm.store.identities import Caller
from render_farm.store.scenes import Lost, Scenes

log = structlog.get_logger()

MOST_LOOKED_AT = 8
"""Files that one report of a node is believed to be about: each costs the object store two questions."""

LOOKS_AT_ONCE = 16
NAMED = 10


class Losses:
    """Heeds nodes that miss files. A node's word is a reason to look, and nothing more."""

    def __init__(self, scenes: Scenes, objects: Objects) -> None:
        self._scenes = scenes
        self._objects = objects

    async def heed(
        self, caller: Caller, owner: OwnerId, scene: SceneId, job: JobId, failure: TaskFailure
    ) -> None:
        """Unseal the `owner`'s `scene`, of which the node `caller` had a task of `job`, where one of the
        files that the `failure` names is really gone: its jobs then wait for all that are. An own node is
        also believed enough to read what it calls damaged.
        """
        stored = await self._scenes.get(owner, scene)
        if stored is None or not failure.lost:
            return
        blobs = blob_digests(stored.manifest)
        named = {Sha256(sha): blobs[Sha256(sha)] for sha in failure.lost[:MOST_LOOKED_AT] if sha in blobs}
        lost = await self._gone(owner, named)
        if caller.own:
            lost |= await self._damaged(owner, named.keys() - lost)
        if not lost:
            log.warning("loss_not_confirmed", scene=scene, node=caller.node, files=len(failure.lost))
            return
        # Where one is gone, others may be: the owner is to send them all at once.
        lost |= await self._gone(owner, {sha: size for sha, size in blobs.items() if sha not in named})
        told = described(stored.manifest, lost)
        waiting = await self._scenes.unseal(owner, scene, job, told)
        log.error("scene_lost_files", scene=scene, owner=owner, files=told.files, waiting=waiting)

    async def _gone(self, owner: OwnerId, blobs: dict[Sha256, int]) -> set[Sha256]:
        gate = asyncio.Semaphore(LOOKS_AT_ONCE)

        async def gone(sha: Sha256) -> bool:
            async with gate:
                return not await self._objects.is_there(blob_key(owner, sha), blobs[sha])

        found = await asyncio.gather(*map(gone, blobs))
        return {sha for sha, is_gone in zip(blobs, found, strict=True) if is_gone}

    async def _damaged(self, owner: OwnerId, blobs: set[Sha256]) -> set[Sha256]:
        """Those whose bytes are others than they were. They are thrown away: else nobody would be asked."""
        found = {sha for sha in blobs if await self._objects.hash(blob_key(owner, sha)) != sha}
        for sha in found:
            await self._objects.remove(blob_key(owner, sha))
        return found


def described(manifest: Manifest, lost: set[Sha256]) -> Lost:
    """The lost blobs as people know them."""
    names = sorted(name for name, blob in manifest.files.items() if blob.sha256 in lost)
    more = f" and {len(names) - NAMED} more files" if len(names) > NAMED else ""
    listed = ", ".join(f"'{name}'" for name in names[:NAMED])
    sentence = (
        f"The farm's object store has lost {listed}{more} of the job's scene. The job waits: the same "
        "`render-farm render` or `job submit` command again sends them anew, and it goes on."
    )
    return Lost(tuple(sorted(lost)), tuple(names[:NAMED]), sentence)
