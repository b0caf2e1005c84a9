# SPDX-License-Identifier: GPL-3.0-or-later
"""The tokens people and nodes prove themselves with: whose they are, how long they work, taken back, rotated.

A token itself is never stored, only its sha256, whose beginning is the token's id.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from farm_protocol.errors import Conflict, NotFound
from farm_protocol.ids import NodeId, OwnerId
from render_farm.store import keys
from render_farm.store.calls import Call
from render_farm.store.connection import Connection
from render_farm.store.identities import ADMIN, Caller, Repeat, Role, token_digest

ID_DIGITS = 12


class LookUpToken(Call, frozen=True):
    """A token's digest, and when it is used."""

    digest: str
    now: str


class Rotate(Call, frozen=True):
    """Digests of an owner's `old` and `new` token; the old one works `overlap` seconds more. `again`,
    `asked`, `remembered` as of CreateJob.
    """

    owner: OwnerId
    old: str
    new: str
    now: str
    overlap: str
    again: str
    asked: str
    remembered: int


@dataclass(frozen=True, slots=True)
class Token:
    """What the store knows of a token. Times in seconds since the epoch: 0 for `made` of tokens of before
    they were written down, for `used` where it never was, for `ends` where it has no end.
    """

    digest: str
    role: Role
    owner: OwnerId
    node: NodeId
    made: float
    used: float
    ends: float
    revoked: bool

    def works(self, now: float) -> bool:
        """Whether it neither has ended nor was taken back."""
        return not self.revoked and not 0 < self.ends <= now

    @property
    def id(self) -> str:
        """What people call it by."""
        return self.digest[:ID_DIGITS]


class Tokens:
    """The store's tokens."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def caller(self, token: str, now: float) -> tuple[Caller, float] | None:
        """Whose token it is, and when it ends (0: never); None for one that does not work."""
        digest = token_digest(token)
        found = await self._store.call(LookUpToken(digest, f"{now:.3f}"))
        if not found:
            return None
        role, owner, node, own, ends = found
        return Caller(Role(role), OwnerId(owner), NodeId(node), own == "1"), float(ends or 0)

    async def listed(self, owner: OwnerId | None, now: float) -> list[Token]:
        """The tokens that work of an owner and its nodes, or of everybody; the newest last."""
        return [one for one in await self._all(owner) if one.works(now)]

    async def find(self, token: str, owner: OwnerId | None) -> Token:
        """The token of an owner (None: of anybody) with this id, whether or not it works. Raises NotFound."""
        found = [one for one in await self._all(owner) if one.id == token]
        if len(found) != 1:
            raise NotFound(f"There is no token '{token[:40]}': `render-farm token list` shows them.")
        return found[0]

    async def revoke(self, tokens: Sequence[Token], now: float) -> None:
        """Take tokens back, for good."""
        for one in tokens:
            await self._store.keep("HSET", keys.token(one.digest), "revoked", f"{now:.3f}")

    async def revoke_all(self, owner: OwnerId, now: float, node: NodeId | None = None) -> None:
        """Take back the tokens of an owner and its nodes, or of one of its nodes."""
        mine = await self.listed(owner, now)
        await self.revoke([one for one in mine if node is None or one.node == node], now)

    async def rotate(self, old: Token, new: str, overlap: float, repeat: Repeat, now: float) -> None:
        """Let `new` work in place of a token, which goes on for `overlap` seconds. Raises Conflict."""
        call = Rotate(
            owner=old.owner,
            old=old.digest,
            new=token_digest(new),
            now=f"{now:.3f}",
            overlap=f"{overlap:.3f}",
            again=repeat.place,
            asked=repeat.digest,
            remembered=repeat.seconds,
        )
        outcome = await self._store.call(call)
        if outcome == "other":
            raise Conflict("This Idempotency-Key was used for another request: use a new key.")
        if outcome == "gone":
            raise Conflict("This token has ended or was taken back meanwhile: add its holder anew.")

    async def _all(self, owner: OwnerId | None) -> list[Token]:
        owners = [owner] if owner is not None else [ADMIN, *await self._store.do("SMEMBERS", keys.OWNERS)]
        sets = await self._store.read([("SMEMBERS", keys.owner_tokens(one)) for one in owners])
        digests = [digest for members in sets for digest in members]
        found = await self._store.hashes([keys.token(digest) for digest in digests])
        read = [_read(digest, fields) for digest, fields in zip(digests, found, strict=True) if fields]
        return sorted(read, key=lambda one: (one.made, one.digest))


def _read(digest: str, fields: dict[str, str]) -> Token:
    made, used, ends = (float(fields.get(name) or 0) for name in ("made", "used", "ends"))
    return Token(
        digest=digest,
        role=Role(fields["role"]),
        owner=OwnerId(fields["owner"]),
        node=NodeId(fields.get("node", "")),
        made=made,
        used=used,
        ends=ends,
        revoked=bool(fields.get("revoked")),
    )
