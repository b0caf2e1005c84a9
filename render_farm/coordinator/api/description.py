# SPDX-License-Identifier: GPL-3.0-or-later
"""The API described: as OpenAPI for programs, and as one plain page for people.

The page needs no scripts, so that nothing foreign runs where tokens are typed.
"""

from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from farm_protocol import node_answers
from farm_protocol.appointments import AuditTerms
from farm_protocol.problems import Problem
from farm_protocol.records import Heartbeat, HeartbeatAnswer, LeaseRequest, Manifest, TaskFailure, TaskResult
from payments.messages.promises import Offer, Promises, Release, Signed
from payments.messages.quotes import Quote
from payments.messages.statements import Statement
from render_farm import api_models
from render_farm.coordinator.api import leases, people, tokens
from render_farm.coordinator.api.edge import schemas
from render_farm.coordinator.intake import JobOrder
from verification.audit.records import JobVerification, LogConsistency, LogProof, Round, SignedHead
from verification.receipts.records import SignedReceipt

_RECORDS = [
    api_models.Health,
    api_models.NewOwner,
    api_models.OwnerList,
    api_models.OwnerRemoved,
    api_models.TokenList,
    api_models.TokenView,
    api_models.NewToken,
    api_models.NewNode,
    api_models.NodeList,
    api_models.SceneAnswer,
    api_models.SealAnswer,
    api_models.Job,
    api_models.JobList,
    api_models.FrameList,
    api_models.TaskList,
    node_answers.LeaseList,
    node_answers.LeasedScene,
    node_answers.UploadList,
    node_answers.StateAnswer,
    node_answers.ResultAnswer,
    node_answers.NodeSelf,
    api_models.FarmView,
    api_models.TermsAnswer,
    node_answers.OfferAnswer,
    Quote,
    Statement,
    Signed[Offer],
    Signed[Release],
    Promises,
    JobVerification,
    SignedReceipt,
    Round,
    LogProof,
    LogConsistency,
    SignedHead,
    AuditTerms,
    api_models.QuotaView,
    Problem,
    people.OwnerOrder,
    people.NodeOrder,
    people.Binding,
    tokens.Rotation,
    leases.UploadOrder,
    JobOrder,
    Manifest,
    LeaseRequest,
    Heartbeat,
    HeartbeatAnswer,
    TaskResult,
    TaskFailure,
]

_STYLE = "body{font:16px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}code{font-size:1.1em}"
_STRICT = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

router = APIRouter(include_in_schema=False)


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, made once."""
    if app.openapi_schema is None:
        told = get_openapi(title=app.title, version=app.version, routes=app.routes)
        parts = told.setdefault("components", {})
        parts.setdefault("schemas", {}).update(schemas(_RECORDS))
        parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        told["security"] = [{"bearer": []}]
        refused = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for _, _, call in _calls(told):
            call["responses"].pop("422", None)
            call["responses"]["default"] = {"description": "What went wrong.", "content": refused}
        app.openapi_schema = told
    return app.openapi_schema


@router.get("/api/v1/openapi.json")
async def document(request: Request) -> Response:
    """All calls, for programs."""
    return Response(_written(request.app)[0], media_type="application/json")


@router.get("/docs")
async def page(request: Request) -> Response:
    """All calls on one page."""
    return Response(_written(request.app)[1], media_type="text/html", headers=_STRICT)


def _written(app: FastAPI) -> tuple[bytes, bytes]:
    """The document and the page, written once: anybody may ask for them."""
    if not hasattr(app.state, "described"):
        told = app.openapi()
        app.state.described = (msgspec.json.encode(told), _page(told).encode())
    written: tuple[bytes, bytes] = app.state.described
    return written


def _page(told: dict[str, Any]) -> str:
    rows = "".join(_row(method, path, call) for path, method, call in _calls(told))
    return (
        f"<!doctype html><meta charset=utf-8><title>{escape(told['info']['title'])}</title>"
        f"<style>{_STYLE}</style><h1>{escape(told['info']['title'])} {escape(told['info']['version'])}</h1>"
        f"<p>Send <code>Authorization: Bearer TOKEN</code>. Programs read "
        f"<a href=/api/v1/openapi.json>openapi.json</a>.</p><dl>{rows}</dl>"
    )


def _calls(told: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, calls in told["paths"].items():
        for method, call in calls.items():
            yield path, method, call


def _row(method: str, path: str, call: dict[str, Any]) -> str:
    body = _named(call.get("requestBody", {}))
    answered = next((_named(one) for status, one in call["responses"].items() if status < "3"), "")
    wire = " &rarr; ".join(filter(None, (body, answered)))
    return (
        f"<dt><code><b>{method.upper()}</b> {escape(path)}</code></dt>"
        f"<dd><p>{escape(call.get('description', ''))}<br><i>{wire}</i></p></dd>"
    )


def _named(part: dict[str, Any]) -> str:
    """The record a body or an answer is."""
    for content in part.get("content", {}).values():
        return escape(content["schema"].get("$ref", "").rpartition("/")[2])
    return ""
