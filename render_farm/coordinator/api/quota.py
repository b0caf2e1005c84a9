# SPDX-License-Identifier: GPL-3.0-or-later
"""What an owner may have, and what of it is used."""

from fastapi import APIRouter, Request, Response

from render_farm.api_models import QuotaView, Share
from render_farm.coordinator.api.edge import Owner, answer, described, farm_of
from render_farm.coordinator.intake import USUAL_PRIORITY
from render_farm.coordinator.quotes import MOST_AT_ONCE
from render_farm.store.identities import Role

router = APIRouter(tags=["people and machines"])

HIGHEST_PRIORITY = 100


@router.get("/quota", **described(QuotaView))
async def show_quota(request: Request, caller: Owner) -> Response:
    """What the caller may have on this farm, and has. The operator's own jobs and scenes have no limit."""
    farm, owner = farm_of(request), caller.owner
    quota, unlimited = farm.config.limits.quota, caller.role is Role.ADMIN
    jobs, tasks = await farm.jobs.unfinished(owner)
    quotes, _ = await farm.jobs.unfinished(owner, quotes=True)
    return answer(
        QuotaView(
            jobs=Share(jobs, None if unlimited else quota.jobs),
            tasks=Share(tasks, None if unlimited else quota.tasks),
            bytes=Share(await farm.scenes.bytes_of(owner), None if unlimited else quota.bytes),
            nodes=Share(await farm.identities.count_nodes(owner), None if unlimited else quota.nodes),
            quotes=Share(quotes, MOST_AT_ONCE),
            streams=Share(farm.streams.used(caller), farm.streams.allowed(caller)),
            priority=HIGHEST_PRIORITY if unlimited else USUAL_PRIORITY,
            retention=farm.config.limits.retention,
        )
    )
