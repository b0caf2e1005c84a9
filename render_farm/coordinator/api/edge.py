# SPDX-License-Identifier: GPL-3.0-or-later
"""What every call goes through: who asks, the bounded body, the answer's bytes, and its description."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Request, Response

from farm_protocol.documents import FarmAnswer
from farm_protocol.errors import Forbidden, InvalidInput, NotFound, Unauthorized
from farm_protocol.fields import decode, encode, name_of
from render_farm.coordinator.composition import Farm
from render_farm.store.identities import Caller, Repeat, Role
from render_farm.store.jobs import digest_of
from verification.protocol.attestation import sign

T = TypeVar("T")

SMALL_BODY = 1 << 20
LARGE_BODY = 32 << 20
"""Bytes: for manifests and jobs, which name every file and frame."""

MOST_ITEMS = 1_000_000
"""Commas of a large body: reading one with more would keep others waiting."""

AT_ONCE = 64 << 10
"""Bytes of a body that is read and understood without waiting for a turn."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")

BODY_SECONDS = 60.0
LONGEST_KEY = 200


class TooLarge(InvalidInput):
    """The body is larger than the call takes."""

    code = "too_large"
    status = 413


class TooSlow(InvalidInput):
    """The body did not arrive in time."""

    code = "too_slow"
    status = 408


class Encoded(InvalidInput):
    """The body is compressed, which could make much of little."""

    code = "unsupported_encoding"
    status = 415


def farm_of(request: Request) -> Farm:
    """The coordinator's parts."""
    farm: Farm = request.app.state.farm
    return farm


async def caller_of(request: Request) -> Caller:
    """Who asks. Raises Unauthorized."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("This needs a token: send 'Authorization: Bearer TOKEN'.")
    caller = await farm_of(request).caller(token.strip())
    if caller is None:
        raise Unauthorized("The farm does not know this token: it may have ended, or was taken back.")
    request.state.caller = caller
    return caller


async def admin_of(request: Request) -> Caller:
    """The operator. Raises Forbidden for anybody else."""
    caller = await caller_of(request)
    if caller.role is not Role.ADMIN:
        raise Forbidden("Only the farm's operator may do this: use the admin token.")
    return caller


async def owner_of(request: Request) -> Caller:
    """An owner, or the operator. Raises Forbidden for a node."""
    caller = await caller_of(request)
    if caller.role is Role.NODE:
        raise Forbidden("A node's token cannot do this: use an owner's token.")
    return caller


async def node_of(request: Request) -> Caller:
    """A node. Raises Forbidden for anybody else."""
    caller = await caller_of(request)
    if caller.role is not Role.NODE:
        raise Forbidden("Only nodes lease tasks: use the token that `node add` printed.")
    return caller


Admin = Annotated[Caller, Depends(admin_of)]
Owner = Annotated[Caller, Depends(owner_of)]
Node = Annotated[Caller, Depends(node_of)]


async def body(request: Request, kind: type[T], limit: int = SMALL_BODY) -> tuple[T, bytes]:
    """The body as a record, and its bytes. Raises TooLarge before reading more than `limit` bytes; a long one
    is understood when it is the caller's turn.
    """
    raw = await _read(request, limit)
    if len(raw) <= AT_ONCE:
        return decode(raw, kind), raw
    return await farm_of(request).workshop.do(request.state.caller, lambda: decode(raw, kind)), raw


@asynccontextmanager
async def large_body(request: Request, caller: Caller, kind: type[T]) -> AsyncIterator[tuple[T, str]]:
    """The body of a call that may bring much, as a record, and its digest. Until the block ends it is the
    caller's turn. Raises as `body`, and where too many of the caller's wait.
    """
    if 0 < _announced(request) <= AT_ONCE:
        record, raw = await body(request, kind, AT_ONCE)
        yield record, digest_of(raw)
        return
    farm = farm_of(request)
    async with farm.bodies.taken(caller):
        raw = await _read(request, LARGE_BODY)
        yield await farm.workshop.do(caller, lambda: (_decode(raw, kind), digest_of(raw)))


def _decode(raw: bytes, kind: type[T]) -> T:
    if raw.count(b",") > MOST_ITEMS:
        raise TooLarge(f"The body has more than {MOST_ITEMS} items: make several scenes or jobs of it.")
    return decode(raw, kind)


def is_plain(name: str) -> bool:
    """Whether it could be the name of something that the farm named: others would reach other things."""
    return _PLAIN.fullmatch(name) is not None


def plain(name: str, what: str) -> str:
    """A name out of an address, if it could be one. Raises NotFound."""
    if not is_plain(name):
        raise NotFound(f"There is no {what} of this name.")
    return name


def _announced(request: Request) -> int:
    """Bytes of the body as the caller says, 0 where it does not."""
    said = request.headers.get("content-length", "")
    return int(said[:16]) if said.isascii() and said.isdecimal() else 0


async def _read(request: Request, limit: int) -> bytes:
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise Encoded("Bodies must be sent as they are: leave Content-Encoding out.")
    announced = _announced(request)
    if announced > limit:
        raise TooLarge(f"The body has {announced} bytes, but this call takes {limit} at most.")
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                received += chunk
                if len(received) > limit:
                    raise TooLarge(f"The body is longer than the {limit} bytes this call takes.")
    except TimeoutError as error:
        raise TooSlow(f"The body did not arrive within {BODY_SECONDS:g} seconds.") from error
    return bytes(received)


def repeat_of(request: Request, caller: Caller, digest: str) -> Repeat:
    """The request's Idempotency-Key, if it has one, which counts for this call only. `digest`: its body's."""
    key = request.headers.get("idempotency-key", "")
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise InvalidInput(f"The Idempotency-Key must be printable and at most {LONGEST_KEY} letters.")
    place = f"{request.url.path}:{key}" if key else ""
    return Repeat(caller.owner, place, digest)


def answer(record: object, status: int = 200) -> Response:
    """A record as the answer."""
    return Response(encode(record), status, media_type="application/json")


async def shown(request: Request, response: Response) -> Response:
    """The answer, with the farm's signature over it where the caller wants to see whose it is: it sent a
    challenge of its own, 64 hexadecimal digits.
    """
    challenge = request.headers.get("farm-challenge", "")
    if re.fullmatch("[0-9a-f]{64}", challenge):
        rules = farm_of(request).rules
        told = FarmAnswer(challenge, hashlib.sha256(bytes(response.body)).hexdigest())
        response.headers["farm-signature"] = await asyncio.to_thread(sign, told, rules.address, rules.key)
    return response


def described(answers: type, body_of: type | None = None, status: int = 200) -> dict[str, Any]:
    """What OpenAPI says of a call; the records are named, `api.description` spells them out."""
    told: dict[str, Any] = {
        "status_code": status,
        "response_class": Response,
        "responses": {status: {"description": answers.__doc__, "content": _json(answers)}},
    }
    if body_of is not None:
        told["openapi_extra"] = {"requestBody": {"required": True, "content": _json(body_of)}}
    return told


def _json(kind: type) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name_of(kind)}"}}}


def schemas(kinds: list[type]) -> dict[str, Any]:
    """JSON schemas of records by name, for OpenAPI's components."""
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    # A generic record's schema goes by the record's own name.
    told: dict[str, Any] = json.loads(
        re.sub(r'Signed(_|\[)(\w+?)(_|\])"', r'Signed\2"', json.dumps(components))
    )
    return told
