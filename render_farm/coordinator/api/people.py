# SPDX-License-Identifier: GPL-3.0-or-later
"""Health, owners and nodes."""

import secrets
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated

import msgspec
from fastapi import APIRouter, Request, Response

from farm_protocol.documents import Enrolment
from farm_protocol.errors import Conflict, Forbidden, InvalidInput, NotFound
from farm_protocol.fields import Address, Name, Signature, about
from farm_protocol.ids import NodeId, OwnerId
from farm_protocol.node_answers import NodeSelf
from render_farm.api_models import (
    Health,
    NewNode,
    NewOwner,
    NodeList,
    NodeView,
    OwnerList,
    OwnerRemoved,
    OwnerView,
    SlotView,
)
from render_farm.coordinator.api.edge import (
    AT_ONCE,
    Admin,
    Node,
    Owner,
    answer,
    body,
    described,
    farm_of,
    plain,
    repeat_of,
    shown,
)
from render_farm.coordinator.composition import Farm
from render_farm.store.identities import ADMIN, Caller, Life, Repeat, Role
from render_farm.store.identities import Node as StoredNode
from render_farm.store.jobs import digest_of
from render_farm.store.new_jobs import OverQuota
from verification.audit.rate import audit_rate
from verification.protocol.attestation import require_signer

router = APIRouter(tags=["people and machines"])

LONGEST_LIFE = 10 * 366 * 24 * 3600
"""Seconds a token may work that has an end."""


LEAST_ISSUED, ISSUED_PER_NODE = 100, 4
"""Tokens an owner may issue in a day: so many at least, and so many for each node it may have."""

Lasting = Annotated[int, msgspec.Meta(ge=0, le=LONGEST_LIFE)]


@dataclass(frozen=True, slots=True)
class OwnerOrder:
    """A new owner."""

    name: Annotated[Name, about("name for people")]
    expires_seconds: Annotated[Lasting, about("for how many seconds its token works; 0: without end")] = 0


@dataclass(frozen=True, slots=True)
class NodeOrder:
    """A new node."""

    name: Annotated[Name, about("name for people")]
    own: Annotated[bool, about("whether the farm's operator runs and trusts it")] = False
    owner: Annotated[
        str, msgspec.Meta(max_length=64), about("id of the owner whose node it is; '' for the caller's")
    ] = ""
    expires_seconds: Annotated[Lasting, about("for how many seconds its token works; 0: without end")] = 0


@dataclass(frozen=True, slots=True)
class Binding:
    """The address a node signs with, and its signature over `Enrolment`."""

    address: Annotated[Address, about("address that the node signs with")]
    signature: Annotated[Signature, about("its signature over the enrolment")]


@router.get("/health", **described(Health))
async def health(request: Request) -> Response:
    """Whether the coordinator and the parts it stands on answer."""
    farm = farm_of(request)
    store, objects = await farm.parts_answer()
    status = "ok" if store and objects else "degraded"
    time, notices = farm.clock(), (*farm.timekeeper.notices(), *farm.objects.notices())
    return answer(Health(status, version("render-farm"), store, objects, time, notices))


@router.post("/owners", **described(NewOwner, OwnerOrder, 201))
async def add_owner(request: Request, caller: Admin) -> Response:
    """Add an owner; the answer holds its token."""
    order, raw = await body(request, OwnerOrder, AT_ONCE)
    farm, repeat = farm_of(request), repeat_of(request, caller, digest_of(raw))
    owner, token = _new(farm, "owner", repeat)
    made = await farm.identities.create_owner(
        OwnerId(owner), _named(order.name), token, Life(farm.clock(), order.expires_seconds), repeat
    )
    _same(made, owner)
    return answer(NewOwner(made, token), 201)


@router.post("/nodes", **described(NewNode, NodeOrder, 201))
async def add_node(request: Request, caller: Owner) -> Response:
    """Add a node of the caller's, or of whom the operator names; the answer holds its token."""
    order, raw = await body(request, NodeOrder, AT_ONCE)
    farm, repeat = farm_of(request), repeat_of(request, caller, digest_of(raw))
    owner = await _whose(farm, caller, order)
    await _require_room(farm, caller, owner)
    node, token = _new(farm, "node", repeat)
    name = _named(order.name)
    life = Life(farm.clock(), order.expires_seconds)
    made = await farm.identities.create_node(NodeId(node), owner, name, order.own, token, life, repeat)
    _same(made, node)
    return answer(NewNode(made, name, token, owner), 201)


async def _require_room(farm: Farm, caller: Caller, owner: OwnerId) -> None:
    most = farm.config.limits.quota.nodes
    if caller.role is not Role.ADMIN and await farm.identities.count_nodes(owner) >= most:
        raise OverQuota(f"You have {most} nodes, which is the most: retire one first.")
    await require_few_issued(farm, caller)


async def require_few_issued(farm: Farm, caller: Caller) -> None:
    """Count a token that the caller issues: the farm knows each for good. Raises OverQuota."""
    most = max(LEAST_ISSUED, ISSUED_PER_NODE * farm.config.limits.quota.nodes)
    if caller.role is not Role.ADMIN and await farm.identities.count_issued(caller.owner) > most:
        raise OverQuota(f"You issued {most} tokens today, which is the most: go on tomorrow.")


async def _whose(farm: Farm, caller: Caller, order: NodeOrder) -> OwnerId:
    """Who the new node belongs to."""
    owner = OwnerId(order.owner or caller.owner)
    if caller.role is not Role.ADMIN and (order.own or owner != caller.owner):
        raise Forbidden(
            "Only the farm's operator may add own nodes, or nodes of others: leave those words out."
        )
    if order.own and owner != caller.owner:
        raise InvalidInput("An own node is the operator's: leave 'owner' out, or 'own'.")
    if owner != caller.owner and not await farm.identities.owns(owner):
        raise NotFound(f"The farm has no owner '{owner}': `render-farm owner list` shows them.")
    return owner


@router.get("/owners", **described(OwnerList))
async def list_owners(request: Request, caller: Admin) -> Response:
    """All owners, the operator first."""
    found = await farm_of(request).identities.owners()
    return answer(OwnerList(tuple(OwnerView(*one) for one in found)))


@router.delete("/owners/{owner}", **described(OwnerRemoved))
async def remove_owner(owner: str, request: Request, caller: Admin) -> Response:
    """Take back an owner's tokens and its nodes', and list none of them any longer. Its jobs go on until the
    operator cancels them.
    """
    farm, name = farm_of(request), OwnerId(owner)
    if name == ADMIN:
        raise InvalidInput("The farm's operator is no owner that can be removed.")
    await farm.tokens.revoke_all(name, farm.clock())
    farm.forget_tokens()
    nodes = await farm.identities.remove_owner(name)
    # Once more: it may just have been adding a node.
    await farm.tokens.revoke_all(name, farm.clock())
    farm.forget_tokens()
    return answer(OwnerRemoved(name, tuple(nodes)))


@router.delete("/nodes/{node}", **described(NodeSelf))
async def remove_node(node: str, request: Request, caller: Owner) -> Response:
    """Take back a node's tokens and list it no longer. Its leases end by themselves; what it did stays
    valid.
    """
    farm = farm_of(request)
    whose = None if caller.role is Role.ADMIN else caller.owner
    found = await farm.identities.retire(NodeId(plain(node, "node")), whose)
    await farm.tokens.revoke_all(found.owner, farm.clock(), found.node)
    farm.forget_tokens()
    return answer(NodeSelf(found.node, found.name, found.own, farm.rules.address, found.address))


@router.get("/nodes/self", **described(NodeSelf))
async def show_myself(request: Request, caller: Node) -> Response:
    """What a node must know of itself before it signs anything."""
    return await shown(request, answer(await _myself(farm_of(request), caller)))


@router.post("/nodes/self", **described(NodeSelf, Binding))
async def bind(request: Request, caller: Node) -> Response:
    """Bind the address a node signs with to its token, for good."""
    binding, _ = await body(request, Binding, AT_ONCE)
    farm = farm_of(request)
    message = Enrolment(caller.node, binding.address)
    address = farm.rules.address
    await farm.workshop.do(
        caller, lambda: require_signer(message, address, binding.signature, binding.address)
    )
    await farm.identities.bind(caller.node, caller.owner, binding.address)
    return await shown(request, answer(await _myself(farm, caller)))


async def _myself(farm: Farm, caller: Caller) -> NodeSelf:
    name, address = await farm.identities.itself(caller.node)
    objects = farm.objects.origins
    return NodeSelf(caller.node, name, caller.own, farm.rules.address, address, objects, caller.owner)


@router.get("/nodes", **described(NodeList))
async def list_nodes(request: Request, caller: Owner) -> Response:
    """The caller's nodes; the operator sees all."""
    farm = farm_of(request)
    nodes = await farm.identities.nodes(None if caller.role is Role.ADMIN else caller.owner)
    now = farm.clock()
    operators = await farm.identities.standings({node.owner for node in nodes})
    rates = farm.rules.rates
    views = (
        _view(
            node,
            now,
            farm.dispatch.online_seconds,
            audit_rate(node.standing, operators[node.owner], node.own, rates),
        )
        for node in nodes
    )
    return answer(NodeList(tuple(views)))


def _new(farm: Farm, kind: str, repeat: Repeat) -> tuple[str, str]:
    """An id and a token: the same ones again for the same key, though no token is stored."""
    if not repeat.key:
        # Hexadecimal, as derived ones are: a token on a command line must not begin with a minus.
        return f"{kind[0]}{secrets.token_hex(6)}", secrets.token_hex(32)
    parts = (repeat.owner, repeat.key, repeat.digest)
    return f"{kind[0]}{farm.derive('id', kind, *parts)[:12]}", farm.derive("token", kind, *parts)


def _same(made: str, wanted: str) -> None:
    if made != wanted:
        raise Conflict("This was made before under another admin token: its own token cannot be shown again.")


def _named(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise InvalidInput("The name must have at least one letter, and printable ones only.")
    return name.strip()


def _held_back(node: StoredNode, now: float) -> str:
    """Why a node gets no leases at the moment."""
    left = node.reliance.paused_until - now
    if left <= 0 or node.own:
        return ""
    return (
        f"It gets no work for {left:.0f} s more: it, or others of its owner's, took much and did not do it "
        f"({node.reliance.given_back} tasks given back, {node.reliance.kept} kept until their leases ended)."
    )


def _view(node: StoredNode, now: float, online_seconds: float, rate: int) -> NodeView:
    return NodeView(
        node=node.node,
        name=node.name,
        own=node.own,
        online=node.last_seen >= now - online_seconds,
        last_seen=node.last_seen or None,
        sandboxed=node.sandboxed,
        device_class=node.device_class,
        slots=tuple(
            SlotView(slot.slot, slot.task, slot.progress, slot.state, slot.reason) for slot in node.slots
        ),
        standing=node.standing,
        audit_rate=rate,
        owner=node.owner,
        held_back=_held_back(node, now),
    )
