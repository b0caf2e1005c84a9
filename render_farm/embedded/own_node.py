# SPDX-License-Identifier: GPL-3.0-or-later
"""The own node's place at the farm: its token, whether it is heard, and a new one where its key is gone."""

import socket
from collections.abc import Callable
from contextlib import suppress

import structlog

from farm_protocol.errors import Conflict, FarmError
from render_farm.api_models import NewNode
from render_farm.client.farm_client import FarmClient
from render_farm.embedded.state import Folder, OwnNode

KEY_FILE = "node.key"
"""In the node's folder: what it signs with. The farm binds the key's address to the node for good."""

TAKEN_BACK = "revoked"
"""The farm's code for what an Idempotency-Key made and was taken back."""

log = structlog.get_logger()


class OwnNodeStart:
    """One start of the own node after the other. `token` is that of the last `begin`."""

    def __init__(self, folder: Folder, url: str, token: str) -> None:
        self._folder, self._url, self._admin = folder, url, token
        self._node, self._since = "", 0.0
        self.token = ""

    def begin(self, say: Callable[[str], None]) -> None:
        """Before every start: which node it is. A node whose folder was removed has a new key, which the farm
        would not take for the old one: it is enrolled again, and the old one removed. So is one that the farm
        knows no longer. Raises FarmError.
        """
        with FarmClient(self._url, self._admin, own=True) as client:
            made = self._made(client, say)
            if not self._has_key() and _is_bound(self._url, made):
                client.remove_node(made.node)
                made = self._anew(client, say, "The own node's folder with its key was removed")
            # The time by which the farm tells when it last heard of a node.
            self._since = client.health().time
        self._node, self.token = made.node, made.token

    def is_online(self) -> bool:
        """Whether the node has spoken since it was started: it may count as online from before."""
        with suppress(FarmError), FarmClient(self._url, self._admin, patience=1.0, own=True) as client:
            return any(
                one.node == self._node and (one.last_seen or 0) >= self._since for one in client.nodes()
            )
        return False

    def _made(self, client: FarmClient, say: Callable[[str], None]) -> NewNode:
        try:
            return self._enrolled(client, self._folder.own_node())
        except Conflict as error:
            if error.code != TAKEN_BACK:
                raise
            return self._anew(client, say, "The own node was removed from the farm")

    def _anew(self, client: FarmClient, say: Callable[[str], None], reason: str) -> NewNode:
        """Enrol the own node as another one."""
        known = OwnNode(self._folder.own_node().enrolled_anew + 1)
        self._folder.remember_own_node(known)
        log.warning("own_node_enrolled_anew", reason=reason)
        say(f"{reason}: it is enrolled anew.")
        return self._enrolled(client, known)

    def _enrolled(self, client: FarmClient, known: OwnNode) -> NewNode:
        """The same node at every start, by the idempotency key."""
        name = f"{socket.gethostname()[:100]} (own)"
        again = f"-{known.enrolled_anew}" if known.enrolled_anew else ""
        key = f"own-node-{self._folder.secrets().instance}-{name}{again}"
        return client.add_node(name, own=True, key=key)

    def _has_key(self) -> bool:
        return (self._folder.path / "node" / KEY_FILE).exists()


def _is_bound(url: str, node: NewNode) -> bool:
    """Whether the farm knows the address that a node signs with."""
    with FarmClient(url, node.token, own=True) as client:
        return client.myself().address is not None
