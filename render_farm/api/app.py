# SPDX-License-Identifier: GPL-3.0-or-later
"""The API as one application."""

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from frame_splitter.records import Heartbeat, HeartbeatAnswer, LeaseRequest, Manifest, TaskFailure, TaskResult
from render_farm import answers
from render_farm.api import events, jobs, leases, people, problems, scenes
from render_farm.api.edge import schemas
from render_farm.farm import Farm
from render_farm.intake import JobOrder

_RECORDS = [
    answers.Health,
    answers.NewOwner,
    answers.NewNode,
    answers.NodeList,
    answers.SceneAnswer,
    answers.SealAnswer,
    answers.Job,
    answers.JobList,
    answers.FrameList,
    answers.TaskList,
    answers.LeaseList,
    answers.LeasedScene,
    answers.UploadList,
    answers.StateAnswer,
    answers.Problem,
    people.OwnerOrder,
    people.NodeOrder,
    leases.UploadOrder,
    JobOrder,
    Manifest,
    LeaseRequest,
    Heartbeat,
    HeartbeatAnswer,
    TaskResult,
    TaskFailure,
]


def create(farm: Farm) -> FastAPI:
    """The application over a farm; its lifespan runs the farm's background work."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with farm.running():
            yield

    app = FastAPI(
        title="Render farm",
        version=version("render-farm"),
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.farm = farm
    app.state.streams = events.Streams()
    problems.install(app)
    # Routes are tried in order: those that every task passes through come first.
    for module in (leases, events, jobs, scenes, people):
        app.include_router(module.router, prefix="/api/v1")
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        told = get_openapi(title=app.title, version=app.version, routes=app.routes)
        parts = told.setdefault("components", {})
        parts.setdefault("schemas", {}).update(schemas(_RECORDS))
        parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        told["security"] = [{"bearer": []}]
        refused = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for path in told["paths"].values():
            for call in path.values():
                call["responses"].pop("422", None)
                call["responses"]["default"] = {"description": "What went wrong.", "content": refused}
        app.openapi_schema = told
    return app.openapi_schema
