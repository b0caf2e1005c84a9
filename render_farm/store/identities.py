# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners, nodes and their tokens. A token itself is never stored, only its sha256."""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

from farm_protocol.errors import Conflict, NotFound
from farm_protocol.fields import decode
from farm_protocol.ids import OPERATOR, NodeId, OwnerId, TaskId
from farm_protocol.records import Progress, SlotState, SlotTrouble
from render_farm.store import keys
from render_farm.store.calls import Bind, Enrol
from render_farm.store.connection import Connection
from verification.audit.rate import Standing

REMEMBERED_SECONDS = 7 * 24 * 3600
"""How long an Idempotency-Key gives the same answer."""

DAY = 24 * 3600
ADMIN = OPERATOR


class Role(StrEnum):
    """What a token may do. An admin is also an owner."""

    ADMIN = "admin"
    OWNER = "owner"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking. `owner` is the owner itself, or whose node it is; `node` only for nodes."""

    role: Role
    owner: OwnerId
    node: NodeId
    own: bool = False


@dataclass(frozen=True, slots=True)
class Repeat:
    """A creation that may be sent twice: the key ('' has none) and a digest of what is asked for."""

    owner: OwnerId
    key: str
    digest: str

    @property
    def place(self) -> str:
        """The store's key of what it made."""
        return keys.repeated(self.owner, self.key)

    @property
    def seconds(self) -> int:
        """How long it is remembered."""
        return REMEMBERED_SECONDS if self.key else 0


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of a node: the task it holds and how far it is, if any; `reason`: why it cannot be had."""

    slot: str
    task: TaskId | None = None
    progress: Progress | None = None
    state: SlotState = SlotState.READY
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reliance:
    """What a stranger's node did with its leases: how many it gave back, or kept to their end without doing
    them. It is given nothing before `paused_until`, in seconds since the epoch.
    """

    given_back: int = 0
    kept: int = 0
    paused_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the store knows it. `last_seen` in seconds since the epoch, 0 when never."""

    node: NodeId
    name: str
    owner: OwnerId
    own: bool
    last_seen: float
    sandboxed: bool
    device_class: str
    slots: tuple[Slot, ...]
    standing: Standing
    reliance: Reliance


@dataclass(frozen=True, slots=True)
class Retired:
    """A node that is listed no longer."""

    node: NodeId
    owner: OwnerId
    name: str
    own: bool
    address: str | None


@dataclass(frozen=True, slots=True)
class Life:
    """When a token is made, in seconds since the epoch, and how many seconds it works; 0: without end."""

    made: float
    lasts: int = 0

    @property
    def fields(self) -> dict[str, str]:
        """As the store keeps it."""
        ends = f"{self.made + self.lasts:.3f}" if self.lasts else ""
        return {"made": f"{self.made:.3f}", "lasts": str(self.lasts), "ends": ends}


class Revoked(Conflict):
    """What an Idempotency-Key made was taken back since, or has ended."""

    code = "revoked"


def told_apart(outcome: list[str]) -> str:
    """The id a creation script made or found. Raises Conflict for a key used for something else, Revoked."""
    if outcome[0] == "other":
        raise Conflict("This Idempotency-Key was used for another request: use a new key.")
    if outcome[0] == "revoked":
        raise Revoked(
            "What was made under this Idempotency-Key has ended or was taken back since: use a new key."
        )
    return outcome[1]


class Identities:
    """The store's owners, nodes and tokens."""

    def __init__(self, connection: Connection) -> None:
        self._store = connection

    async def create_owner(
        self, owner: OwnerId, name: str, token: str, life: Life, repeat: Repeat
    ) -> OwnerId:
        """Add an owner with its token; the same creation again gives the first one's id."""
        whose = {"role": Role.OWNER, "owner": owner, **life.fields}
        return OwnerId(
            await self._enrol(owner, keys.owner(owner), keys.OWNERS, {"name": name}, whose, token, repeat)
        )

    async def remove_owner(self, owner: OwnerId) -> list[NodeId]:
        """Know an owner no longer; which nodes it had. Raises NotFound."""
        if not await self._store.do("SREM", keys.OWNERS, owner):
            raise NotFound(f"The farm has no owner '{owner}': `render-farm owner list` shows them.")
        nodes = sorted(await self._store.do("SMEMBERS", keys.owner_nodes(owner)))
        for node in nodes:
            await self.retire(NodeId(node), owner)
        return [NodeId(node) for node in nodes]

    async def owns(self, owner: OwnerId) -> bool:
        """Whether there is such an owner."""
        return owner == ADMIN or bool(await self._store.do("SISMEMBER", keys.OWNERS, owner))

    async def owners(self) -> list[tuple[OwnerId, str, int, Standing]]:
        """Every owner with its name, how many nodes it has, and what audits have shown of them; the operator
        first.
        """
        names = [ADMIN, *sorted(await self._store.do("SMEMBERS", keys.OWNERS))]
        wanted = ("name", "passed", "failed")
        found = await self._store.read([("HMGET", keys.owner(name), *wanted) for name in names])
        nodes = await self._store.read([("SCARD", keys.owner_nodes(name)) for name in names])
        return [
            (OwnerId(name), told or "the operator", int(count), Standing(int(passed or 0), int(failed or 0)))
            for name, (told, passed, failed), count in zip(names, found, nodes, strict=True)
        ]

    async def count_nodes(self, owner: OwnerId) -> int:
        """How many nodes an owner has."""
        return int(await self._store.do("SCARD", keys.owner_nodes(owner)))

    async def count_issued(self, owner: OwnerId) -> int:
        """One more token that an owner issues; how many in the day that began with the first."""
        place = keys.owner_issued(owner)
        await self._store.keep("SET", place, 0, "EX", DAY, "NX")
        return int(await self._store.keep("INCR", place))

    async def create_node(
        self, node: NodeId, owner: OwnerId, name: str, own: bool, token: str, life: Life, repeat: Repeat
    ) -> NodeId:
        """Add a node of `owner` with its token; the same creation again gives the first one's id."""
        flag = "1" if own else "0"
        fields = {"name": name, "owner": owner, "own": flag}
        whose = {"role": Role.NODE, "owner": owner, "node": node, "own": flag, **life.fields}
        members = keys.owner_nodes(owner)
        return NodeId(await self._enrol(node, keys.node(node), members, fields, whose, token, repeat))

    async def _enrol(
        self,
        name: str,
        key: str,
        members: str,
        fields: dict[str, str],
        whose: dict[str, str],
        token: str,
        repeat: Repeat,
    ) -> str:
        call = Enrol(
            id=name,
            key=key,
            members=members,
            fields=fields,
            token=token_digest(token),
            whose=whose,
            again=repeat.place,
            asked=repeat.digest,
            remembered=repeat.seconds,
        )
        return told_apart(await self._store.call(call))

    async def bind(self, node: NodeId, operator: OwnerId, address: str) -> None:
        """Bind the address a node signs with to it, for good. Raises Conflict for another than before,
        and for an address of another operator's.
        """
        outcome = await self._store.call(Bind(node, operator, address))
        if outcome == "other":
            raise Conflict(
                "This node's token is bound to another address: start it with the state folder it had, or "
                "add a new node."
            )
        if outcome == "taken":
            raise Conflict("This address signs for another operator's node: every operator has its own keys.")

    async def itself(self, node: NodeId) -> tuple[str, str | None]:
        """A node's name, and the address bound to it, if any."""
        name, address = await self._store.do("HMGET", keys.node(node), "name", "address")
        return str(name), address or None

    async def retire(self, node: NodeId, owner: OwnerId | None) -> "Retired":
        """List a node of `owner` (None: of anybody) no longer. Raises NotFound."""
        read = ("HMGET", keys.node(node), "owner", "name", "own", "address")
        whose, name, own, address = await self._store.do(*read)
        if not whose or owner not in (None, whose):
            raise NotFound("This farm has no such node.")
        await self._store.do("SREM", keys.owner_nodes(OwnerId(whose)), node)
        return Retired(node, OwnerId(whose), name, own == "1", address or None)

    async def nodes(self, owner: OwnerId | None) -> list[Node]:
        """An owner's nodes, or everybody's."""
        if owner is None:
            names = await self._all_nodes()
        else:
            names = sorted(await self._store.do("SMEMBERS", keys.owner_nodes(owner)))
        found = await self._store.hashes([keys.node(name) for name in names])
        slots = await self._slots(names)
        operators = [OwnerId(fields.get("owner", "")) for fields in found]
        paused = await self._store.read([("HGET", keys.owner(name), "paused_until") for name in operators])
        return [
            _node(
                NodeId(name),
                fields,
                _with_troubles(slots[name], fields.get("troubles", "")),
                float(until or 0),
            )
            for name, fields, until in zip(names, found, paused, strict=True)
            if fields
        ]

    async def standings(self, owners: set[OwnerId]) -> dict[OwnerId, Standing]:
        """What audits of their nodes' work have shown of some operators."""
        names = sorted(owners)
        found = await self._store.read([("HMGET", keys.owner(name), "passed", "failed") for name in names])
        return {
            name: Standing(int(passed or 0), int(failed or 0))
            for name, (passed, failed) in zip(names, found, strict=True)
        }

    async def _all_nodes(self) -> list[str]:
        owners = await self._store.do("SMEMBERS", keys.OWNERS)
        sets = await self._store.read(
            [("SMEMBERS", keys.owner_nodes(owner)) for owner in (ADMIN, *sorted(owners))]
        )
        return [name for members in sets for name in sorted(members)]

    async def _slots(self, nodes: list[str]) -> dict[str, tuple[Slot, ...]]:
        reads = [
            command
            for node in nodes
            for command in (
                ("ZRANGE", keys.node_slots(node), 0, -1),
                ("SMEMBERS", keys.node_leases(node)),
            )
        ]
        answers = await self._store.read(reads)
        names, leases = answers[::2], answers[1::2]
        held = [task for tasks in leases for task in tasks]
        found = await self._store.read([("HMGET", keys.task(task), "slot", "progress") for task in held])
        doing = dict(zip(held, found, strict=True))
        return {
            node: _slots_of(slots, {doing[task][0]: (task, doing[task][1]) for task in tasks})
            for node, slots, tasks in zip(nodes, names, leases, strict=True)
        }


def _slots_of(names: list[str], busy: dict[str, tuple[str, str]]) -> tuple[Slot, ...]:
    def describe(name: str) -> Slot:
        if name not in busy:
            return Slot(name)
        task, progress = busy[name]
        return Slot(name, TaskId(task), decode(progress, Progress) if progress else Progress())

    return tuple(describe(name) for name in sorted({*names, *busy}))


def _with_troubles(slots: tuple[Slot, ...], stored: str) -> tuple[Slot, ...]:
    """The slots, with what the node said of those that cannot be had."""
    said = {one.slot: one for one in decode(stored, tuple[SlotTrouble, ...])} if stored else {}
    known = {slot.slot: slot for slot in slots}
    return tuple(
        replace(known.get(name, Slot(name)), state=said[name].state, reason=said[name].reason)
        if name in said
        else known[name]
        for name in sorted({*known, *said})
    )


def _node(node: NodeId, fields: dict[str, str], slots: tuple[Slot, ...], operator_paused: float) -> Node:
    return Node(
        node,
        fields["name"],
        OwnerId(fields["owner"]),
        fields["own"] == "1",
        float(fields.get("last_seen", 0)),
        fields.get("sandboxed") == "1",
        fields.get("device_class", ""),
        slots,
        Standing(int(fields.get("passed", 0)), int(fields.get("failed", 0))),
        Reliance(
            int(fields.get("given_back", 0)),
            int(fields.get("kept", 0)),
            max(float(fields.get("paused_until", 0)), operator_paused),
        ),
    )


def token_digest(token: str) -> str:
    """What the store knows a token by."""
    return hashlib.sha256(token.encode()).hexdigest()
