# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that a page lets lead to 127.0.0.1: what comes to a loopback address must be for this farm."""

import asyncio
import socket

import pytest

from render_farm.coordinator.api.hosts import OwnNamesOnly, own_names

NAMES = own_names("0.0.0.0", "https://farm.example:8700")


def status(server: str | None, *hosts: str) -> int:
    """What a request that came to `server` is answered."""
    said = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        said.append(message)

    headers = [(b"host", host.encode()) for host in hosts]
    scope = {"type": "http", "headers": headers, "server": server and (server, 8700)}
    asyncio.run(OwnNamesOnly(app, NAMES)(scope, None, send))
    return said[0]["status"]


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.1.1", "::1"])
def test_a_loopback_address_answers_to_own_names_only(server):
    """Also where the coordinator listens for the whole network besides."""
    for own in ("localhost", "127.0.0.1:8700", "[::1]:8700", "FARM.example", socket.gethostname()):
        assert status(server, own) == 200
    for foreign in ("evil.example", "evil.example:8700", "127.0.0.1.evil.example", "", "a b"):
        assert status(server, foreign) == 421
    assert status(server) == 421
    assert status(server, "localhost", "evil.example") == 421


def test_from_the_network_it_has_any_name():
    assert status("192.0.2.10", "render.lan") == 200
    assert status(None, "render.lan") == 200
