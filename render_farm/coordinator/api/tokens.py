# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens: which there are, taken back, rotated. The operator's own is in its settings instead."""

import secrets
from dataclasses import dataclass
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response

from farm_protocol.fields import about
from farm_protocol.ids import OwnerId
from render_farm.api_models import NewToken, TokenList, TokenView
from render_farm.coordinator.api.edge import AT_ONCE, Owner, answer, body, described, farm_of, repeat_of
from render_farm.coordinator.api.people import require_few_issued
from render_farm.store.identities import Caller, Role, token_digest
from render_farm.store.jobs import digest_of
from render_farm.store.tokens import ID_DIGITS, Token

router = APIRouter(tags=["people and machines"])

LONGEST_OVERLAP = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Rotation:
    """For how many seconds the old token works beside the new one."""

    overlap_seconds: Annotated[
        int,
        msgspec.Meta(ge=0, le=LONGEST_OVERLAP),
        about("for how many seconds the old token works beside the new one"),
    ] = 0


@router.get("/tokens", **described(TokenList))
async def list_tokens(request: Request, caller: Owner) -> Response:
    """The caller's tokens and its nodes'; the operator sees all."""
    farm = farm_of(request)
    found = await farm.tokens.listed(_whose(caller), farm.clock())
    return answer(TokenList(tuple(map(_view, found))))


@router.delete("/tokens/{token}", **described(TokenView))
async def revoke_token(token: str, request: Request, caller: Owner) -> Response:
    """Take a token back, for good."""
    farm = farm_of(request)
    found = await farm.tokens.find(token, _whose(caller))
    await farm.tokens.revoke([found], farm.clock())
    farm.forget_tokens()
    return answer(_view(found))


@router.post("/tokens/{token}/rotate", **described(NewToken, Rotation))
async def rotate_token(token: str, request: Request, caller: Owner) -> Response:
    """Give another token to who has this one, which ends."""
    order, raw = await body(request, Rotation, AT_ONCE)
    farm, repeat = farm_of(request), repeat_of(request, caller, digest_of(raw))
    now = farm.clock()
    found = await farm.tokens.find(token, _whose(caller))
    await require_few_issued(farm, caller)
    parts = (repeat.owner, repeat.key, repeat.digest)
    new = farm.derive("token", "rotate", *parts) if repeat.key else secrets.token_hex(32)
    await farm.tokens.rotate(found, new, order.overlap_seconds, repeat, now)
    farm.forget_tokens()
    return answer(
        NewToken(token_digest(new)[:ID_DIGITS], found.owner, found.node, new, order.overlap_seconds)
    )


def _whose(caller: Caller) -> OwnerId | None:
    return None if caller.role is Role.ADMIN else caller.owner


def _view(token: Token) -> TokenView:
    return TokenView(
        token.id,
        token.role,
        token.owner,
        token.node,
        token.made or None,
        token.used or None,
        token.ends or None,
    )
