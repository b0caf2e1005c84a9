# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that take long to make: a page at a time, one of an owner at a time, for who is still there."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Query, Request, Response
from starlette.requests import ClientDisconnect

from farm_protocol.fields import encode
from render_farm.api.edge import farm_of
from render_farm.store.identities import Caller

PAGE = 1000
"""Tasks or frames that one answer has at most."""

After = Annotated[int, Query(ge=0, le=1 << 31)]
Limit = Annotated[int, Query(ge=1, le=PAGE)]


@asynccontextmanager
async def turn(request: Request, caller: Caller) -> AsyncIterator[None]:
    """Until the block ends no other long answer of the owner's is made. Raises Busy where too many of the
    caller's wait, ClientDisconnect where the caller has left meanwhile.
    """
    async with farm_of(request).reads.taken(caller):
        await require_there(request)
        yield


async def require_there(request: Request) -> None:
    """Raises ClientDisconnect where nobody waits for the answer any more."""
    if await request.is_disconnected():
        raise ClientDisconnect


async def aside(request: Request, caller: Caller, record: Callable[[], object]) -> Response:
    """The answer, made and written in a thread."""
    raw = await farm_of(request).workshop.do(caller, lambda: encode(record()))
    return Response(raw, media_type="application/json")
