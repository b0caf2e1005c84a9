# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches a coordinator by a loopback address must ask for it under one of its own names.

A page in the browser of the machine could otherwise come under a name of its own that it lets lead to
127.0.0.1 (DNS rebinding), and read the answers as if they were its site's.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from render_farm.coordinator.api.problems import problem

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d*)?", re.ASCII)


def own_names(bind: str, public_url: str) -> frozenset[str]:
    """The names a coordinator goes by on its own machine, and behind a proxy there."""
    public = urlsplit(public_url).hostname
    # A machine's own name may lead to 127.0.1.1 on it.
    return LOOPBACK | {bind, socket.gethostname().lower()} | ({public} if public else set())


class OwnNamesOnly:
    """Refuses requests to a loopback address whose Host is not in `names`, with 421; ASGI middleware."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or not _is_local(scope) or _host(scope) in self._names:
            await self._app(scope, receive, send)
            return
        sentence = "This farm has another name: ask it by its address, or start it with --public-url."
        await problem(421, "foreign_host", sentence)(scope, receive, send)


def _is_local(scope: Scope) -> bool:
    """Whether the connection came to a loopback address."""
    try:
        return ipaddress.ip_address(scope["server"][0]).is_loopback
    except (KeyError, TypeError, ValueError):
        return False


def _host(scope: Scope) -> str:
    """The name a request is for, without its port; '' where there is none, or more than one."""
    found = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    whole = _HOST.fullmatch(found[0]) if len(found) == 1 else None
    return (whole[1] or whole[2]).lower() if whole else ""
