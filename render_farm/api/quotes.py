# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes: what a job would take, from rendering a few of its frames very small."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from frame_splitter.errors import NotFound
from frame_splitter.ids import JobId
from payments.quotes import Quote
from render_farm.api.edge import LARGE_BODY, Owner, answer, body, described, farm_of, repeat_of
from render_farm.intake import JobOrder
from render_farm.store.identities import Role

router = APIRouter(prefix="/quotes", tags=["quotes"])

LONGEST_WAIT = 30.0


@router.post("", **described(Quote, JobOrder, 201))
async def ask(request: Request, caller: Owner) -> Response:
    """Ask what a job on a sealed scene would take. Its id ends it, too: `POST /jobs/{quote}/cancel`."""
    order, raw = await body(request, JobOrder, LARGE_BODY)
    farm = farm_of(request)
    quote = await farm.quotes.ask(caller.owner, order, repeat_of(request, caller, raw))
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
    owner = None if caller.role is Role.ADMIN else caller.owner
    found = await farm_of(request).quotes.get(owner, JobId(quote), wait) if quote.isalnum() else None
    if found is None:
        raise NotFound(f"You have no quote '{quote}'.")
    return answer(found)
