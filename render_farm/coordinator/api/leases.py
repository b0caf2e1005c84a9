# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's side: leases, heartbeats, the leased scene, uploads, results and failures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from farm_protocol.appointments import AuditTerms
from farm_protocol.errors import InvalidInput, StaleLease
from farm_protocol.fields import about
from farm_protocol.ids import TaskId
from farm_protocol.node_answers import LeasedScene, LeaseList, ResultAnswer, StateAnswer, UploadList
from farm_protocol.records import (
    Heartbeat,
    HeartbeatAnswer,
    LeaseRequest,
    OutputFile,
    TaskFailure,
    TaskResult,
)
from render_farm.coordinator.api.edge import Node, answer, body, described, farm_of, is_plain, shown
from render_farm.store.known_leases import STALE

router = APIRouter(prefix="/leases", tags=["leases"])

MOST_OFFERS = 256


@dataclass(frozen=True, slots=True)
class UploadOrder:
    """The files a node wants to upload under a lease."""

    files: Annotated[tuple[OutputFile, ...], about("the files that will be sent")]


@router.post("", **described(LeaseList, LeaseRequest))
async def lease(request: Request, caller: Node) -> Response:
    """Offer free slots; held open up to `wait` seconds while there is nothing to do."""
    farm = farm_of(request)
    if not caller.own:
        farm.ask_pace.enter(caller)
    offered, _ = await body(request, LeaseRequest)
    _check_offers(offered)
    with farm.waits.inside(caller):
        taken = await farm.dispatch.lease(caller, offered, request.is_disconnected)
    if taken and not caller.own:
        farm.ask_pace.forgive(caller)
    leases = LeaseList(await farm.results.leases(caller, taken, farm.dispatch.lease_seconds))
    return await shown(request, answer(leases))


@router.post("/heartbeat", **described(HeartbeatAnswer, Heartbeat))
async def heartbeat(request: Request, caller: Node) -> Response:
    """Renew all leases the node holds; the answer names those it has lost."""
    farm = farm_of(request)
    farm.beat_pace.enter(caller)
    with farm.beats.inside(caller):
        beat, _ = await body(request, Heartbeat)
        _check_beats([one.task for one in beat.beats])
        return answer(HeartbeatAnswer(await farm.dispatch.renew(caller, beat)))


@router.get("/{task}/scene", **described(LeasedScene))
async def leased_scene(task: str, token: int, request: Request, caller: Node) -> Response:
    """The scene of a lease held now, with links to its files."""
    return answer(await farm_of(request).results.scene(caller, _task(task), token))


@router.post("/{task}/uploads", **described(UploadList, UploadOrder))
async def uploads(task: str, token: int, request: Request, caller: Node) -> Response:
    """Links to PUT a result's files, each for exactly its sha256 and size."""
    order, _ = await body(request, UploadOrder)
    links = await farm_of(request).results.uploads(caller, _task(task), token, order.files)
    return answer(UploadList(links))


@router.get("/{task}/terms", **described(AuditTerms))
async def terms(
    task: str,
    token: int,
    request: Request,
    caller: Node,
    attempt: Annotated[int, Query(ge=1, le=1 << 31)] = 1,
) -> Response:
    """By which round, and with what chance, it will be decided whether a tile is audited. The node signs them
    before it submits; `attempt` counts what it asked for one result.
    """
    return answer(await farm_of(request).results.terms(caller, TaskId(task), token, attempt))


@router.post("/{task}/result", **described(ResultAnswer, TaskResult))
async def result(task: str, token: int, request: Request, caller: Node) -> Response:
    """Submit a result whose files are uploaded. The same submit again is answered alike."""
    done, _ = await body(request, TaskResult)
    return answer(await farm_of(request).results.submit(caller, _task(task), token, done))


@router.post("/{task}/failure", **described(StateAnswer, TaskFailure))
async def failure(task: str, token: int, request: Request, caller: Node) -> Response:
    """Give a task back."""
    failed, _ = await body(request, TaskFailure)
    _check_names(failed.bad_inputs)
    return answer(StateAnswer(await farm_of(request).results.give_back(caller, _task(task), token, failed)))


def _task(name: str) -> TaskId:
    if not is_plain(name):
        raise StaleLease(STALE)
    return TaskId(name)


def _check_names(names: Iterable[str]) -> None:
    if not all(map(is_plain, names)):
        raise InvalidInput("The request names a task as none is called.")


def _check_beats(tasks: Sequence[TaskId]) -> None:
    _check_names(tasks)
    if len(set(tasks)) != len(tasks):
        raise InvalidInput("A heartbeat names each task once.")


def _check_offers(offered: LeaseRequest) -> None:
    names = [offer.slot for offer in offered.offers]
    if len(names) > MOST_OFFERS or len(set(names)) != len(names):
        raise InvalidInput(f"Offer at most {MOST_OFFERS} slots, each under a name of its own.")
    shown = [text for offer in offered.offers for text in (offer.slot, offer.device_class)]
    if not all(text.isprintable() for text in shown):
        raise InvalidInput("Names of slots and device classes must be printable: people read them.")
