# SPDX-License-Identifier: GPL-3.0-or-later
"""Behind a reverse proxy all connections are the proxy's: there the requests of one address are counted."""

from collections import Counter
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from render_farm.coordinator.api.problems import AGAIN, problem
from render_farm.serving.connection_limits import Limits, household

HEADER = b"x-forwarded-for"


class PerForwarded:
    """Refuses more requests at a time for one address than it may have connections. Only a proxy that is
    named as trusted is believed, and only the address that it added itself, the last.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._of: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        address = self._address(scope)
        if not address:
            return await self._app(scope, receive, send)
        if self._of[address] >= self._limits.per_address:
            refusal = problem(
                429, "quota", "Too many requests of your address are open: wait for some.", AGAIN
            )
            return await refusal(scope, receive, send)
        self._of[address] += 1
        try:
            return await self._app(scope, receive, send)
        finally:
            self._of[address] -= 1
            if not self._of[address]:
                del self._of[address]

    def _address(self, scope: Scope) -> str:
        peer = scope.get("client") or ("",)
        if scope["type"] != "http" or peer[0] not in self._limits.trusted:
            return ""
        named = [value for name, value in scope["headers"] if name == HEADER]
        last = named[-1].rpartition(b",")[2].strip().decode("latin-1") if named else ""
        try:
            return household(str(ip_address(last)))
        except ValueError:
            return ""
