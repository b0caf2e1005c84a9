# SPDX-License-Identifier: GPL-3.0-or-later
"""Money: a paid job's terms and statement; what a node sells, what it was promised, what it gives up."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from farm_protocol.errors import Conflict
from farm_protocol.node_answers import OfferAnswer
from payments.messages.network import Network
from payments.messages.promises import Offer, Promises, Release, Signed
from payments.messages.statements import Statement
from render_farm.api_models import Job, TermsAnswer
from render_farm.coordinator.api.edge import Node, Owner, answer, body, described, farm_of
from render_farm.coordinator.api.jobs import visible
from render_farm.coordinator.offers import NoChain

router = APIRouter(tags=["money"])

LONGEST_WAIT = 30.0


@router.get("/jobs/{job}/terms", **described(TermsAnswer))
async def show_terms(job: str, request: Request, caller: Owner) -> Response:
    """What a paid job is opened with on the chain, signed by the farm, and where."""
    found = _paid(await visible(request, caller, job))
    signed = await farm_of(request).money.terms(found.job)
    assert signed is not None
    return answer(TermsAnswer(signed, _network(request)))


@router.get("/jobs/{job}/statement", **described(Statement))
async def show_statement(job: str, request: Request, caller: Owner) -> Response:
    """All of a paid job's money, as it was known last."""
    found = _paid(await visible(request, caller, job))
    statement = await farm_of(request).money.statement(found.job)
    if statement is None:
        raise Conflict(f"The books of job '{job}' are not open yet: ask again in a moment.")
    return answer(statement)


@router.post("/nodes/self/offer", **described(OfferAnswer, Signed[Offer]))
async def offer(request: Request, caller: Node) -> Response:
    """A node sells from now on: paid jobs may take it on, and it does nothing for free."""
    signed, _ = await body(request, Signed[Offer])
    return answer(OfferAnswer(await farm_of(request).selling.offer(caller, signed)))


@router.delete("/nodes/self/offer", status_code=204)
async def withdraw(request: Request, caller: Node) -> Response:
    """A node sells no longer. What it agreed to stays agreed."""
    farm = farm_of(request)
    await farm.selling.withdraw(caller)
    farm.dispatch.bell.ring()
    return Response(status_code=204)


@router.get("/nodes/self/promises", **described(Promises))
async def promises(
    request: Request,
    caller: Node,
    after: str = "",
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0.0,
) -> Response:
    """What the farm promised the node since `after`; held open up to `wait` seconds for the first."""
    farm = farm_of(request)
    with farm.waits.inside(caller):
        return answer(await farm.selling.promises(caller.node, after, wait, farm.closing))


@router.post("/nodes/self/releases", **described(Signed[Release], Signed[Release]))
async def release(request: Request, caller: Node) -> Response:
    """An operator gives up what an agreement could still earn, once its last voucher is paid."""
    signed, _ = await body(request, Signed[Release])
    await farm_of(request).selling.release(caller, signed)
    return answer(signed)


def _paid(job: Job) -> Job:
    if job.money is None:
        raise Conflict(f"Job '{job.job}' is free: it has no money to tell of.")
    return job


def _network(request: Request) -> Network:
    network = farm_of(request).config.network
    if network is None:
        raise NoChain
    return network
