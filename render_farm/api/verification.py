# SPDX-License-Identifier: GPL-3.0-or-later
"""What anybody may check: the farm's rules and log, and to its owner a job's verification and receipts."""

from dataclasses import fields
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from farm_protocol.errors import NotFound
from render_farm.answers import FarmView
from render_farm.api.edge import Owner, answer, described, farm_of
from render_farm.api.jobs import visible
from render_farm.api.reading import aside, turn
from verification.receipt_records import SignedReceipt
from verification.records import (
    FarmRules,
    JobVerification,
    LogConsistency,
    LogProof,
    Round,
    SignedHead,
)

router = APIRouter(tags=["verification"])

LARGEST = 1 << 53


@router.get("/farm", **described(FarmView))
async def show_farm(request: Request) -> Response:
    """Whom the farm signs as, the rules it verifies by, and where it settles."""
    farm = farm_of(request)
    known = _fields(farm.rules.public())
    return answer(FarmView(**known, network=farm.config.network, objects=farm.objects.origins))


def _fields(rules: FarmRules) -> dict[str, Any]:
    return {field.name: getattr(rules, field.name) for field in fields(rules)}


@router.get("/jobs/{job}/verification", **described(JobVerification))
async def show_verification(job: str, request: Request, caller: Owner) -> Response:
    """All submissions of a job with what was signed, drawn, found and decided, signed by the farm."""
    async with turn(request, caller):
        found = await visible(request, caller, job)
        told = await farm_of(request).publication.signed(found)
        return await aside(request, caller, lambda: told)


@router.get("/jobs/{job}/frames/{frame}/receipt", **described(SignedReceipt))
async def show_receipt(job: str, frame: int, request: Request, caller: Owner) -> Response:
    """A finished frame's receipt, byte for byte as it was signed."""
    found = await visible(request, caller, job)
    document = await farm_of(request).publication.receipt(found, frame)
    return Response(document, media_type="application/json")


@router.get("/log/rounds/{number}", **described(Round))
async def show_round(number: int, request: Request) -> Response:
    """A beacon round that receipts named, and the log's signed head when it was out."""
    found = await farm_of(request).rounds.get(number) if 0 < number < LARGEST else None
    if found is None:
        raise NotFound(f"No receipt named round {number}, or it is not out yet.")
    return answer(found)


@router.get("/log/head", **described(SignedHead))
async def show_newest_head(request: Request) -> Response:
    """The newest signed head of the log. It is signed before its round is out."""
    return answer(_there(await farm_of(request).rounds.head(), "The log has no head yet."))


@router.get("/log/heads/{number}", **described(SignedHead))
async def show_head(number: int, request: Request) -> Response:
    """The head of the log for a round, from when it was closed for it."""
    found = await farm_of(request).rounds.head(number) if 0 < number < LARGEST else None
    return answer(_there(found, f"No appointment named round {number}, or the log is still open for it."))


def _there(head: SignedHead | None, otherwise: str) -> SignedHead:
    if head is None:
        raise NotFound(otherwise)
    return head


@router.get("/log/consistency", **described(LogConsistency))
async def show_consistency(request: Request, first: Annotated[int, Query(alias="from")], to: int) -> Response:
    """That the log of `to` leaves begins with the log of `from`."""
    return answer(await farm_of(request).rounds.consistency(first, to))


@router.get("/log/proof", **described(LogProof))
async def show_proof(leaf: int, size: int, request: Request) -> Response:
    """That a leaf was in the log when it had `size` leaves."""
    return answer(await farm_of(request).rounds.proof(leaf, size))
