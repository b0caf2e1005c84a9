# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenes: the manifest in, links for what is missing out, and the seal."""

from fastapi import APIRouter, Request, Response

from farm_protocol.ids import SceneId
from farm_protocol.records import Manifest
from render_farm.answers import SceneAnswer, SealAnswer
from render_farm.api.edge import Owner, answer, described, farm_of, large_body, plain

router = APIRouter(prefix="/scenes", tags=["scenes"])


@router.post("", **described(SceneAnswer, Manifest))
async def add_scene(request: Request, caller: Owner) -> Response:
    """Note a scene; the answer says which blobs to upload and where."""
    async with large_body(request, caller, Manifest) as (manifest, _):
        return answer(await farm_of(request).intake.scene(caller, manifest))


@router.post("/{scene}/seal", **described(SealAnswer))
async def seal_scene(scene: str, request: Request, caller: Owner) -> Response:
    """Check the uploaded blobs; only then may jobs use the scene."""
    await farm_of(request).intake.seal(caller, SceneId(plain(scene, "scene")))
    return answer(SealAnswer(SceneId(scene), True))
