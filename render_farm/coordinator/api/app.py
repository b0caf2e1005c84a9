# SPDX-License-Identifier: GPL-3.0-or-later
"""The API as one application."""

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import FastAPI

from render_farm.coordinator.api import (
    description,
    events,
    hosts,
    jobs,
    leases,
    money,
    people,
    problems,
    quota,
    quotes,
    scenes,
    tokens,
    verification,
)
from render_farm.coordinator.api.forwarded import PerForwarded
from render_farm.coordinator.composition import Farm


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
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.farm = farm
    if farm.config.limits.connections.trusted:
        app.add_middleware(PerForwarded, limits=farm.config.limits.connections)
    problems.install(app)
    names = hosts.own_names(farm.config.bind, farm.config.public_url)
    app.add_middleware(hosts.OwnNamesOnly, names=names)
    # Routes are tried in order: those that every task passes through come first.
    for module in (leases, events, jobs, scenes, people, tokens, verification, money, quotes, quota):
        app.include_router(module.router, prefix="/api/v1")
    app.include_router(description.router)
    app.openapi = lambda: description.openapi(app)  # type: ignore[method-assign]
    return app
