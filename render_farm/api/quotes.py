# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes: what a job would take, from rendering a few of its frames very small."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from farm_protocol.errors import NotFound
from farm_protocol.ids import JobId
from payments.quotes import Quote
from render_farm.api.edge import Owner, answer, described, farm_of, large_body, plain, repeat_of
from render_farm.intake import JobOrder
from render_farm.store.identities import Role

router = APIRouter(prefix="/quotes", tags=["quotes"])

LONGEST_WAIT = 30.0


@router.post("", **described(Quote, JobOrder, 201))
async def ask(request: Request, caller: Owner) -> Response:
    """Ask what a job on a sealed scene would take. Its id ends it, too: `POST /jobs/{quote}/cancel`."""
    farm = farm_of(request)
    async with large_body(request, caller, JobOrder) as (order, digest):
        await farm.make_room(caller)
        quote = await farm.quotes.ask(caller, order, repeat_of(request, caller, digest))
    farm.dispatch.bell.ring()
    return answer(quote, 201)


@router.get("/{quote}", **described(Quote))
async def show(
    quote: str,
    request: Request,
    caller: Owner,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0.0,
) -> Response:
    """A quote; while it is being made, the answer is held back up to `wait` seconds."""
    owner, farm = None if caller.role is Role.ADMIN else caller.owner, farm_of(request)
    with farm.waits.inside(caller):
        found = await farm.quotes.get(owner, JobId(plain(quote, "quote")), wait)
    if found is None:
        raise NotFound(f"You have no quote '{quote}'.")
    return answer(found)
