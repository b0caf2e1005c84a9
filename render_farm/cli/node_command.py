# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm node`: let machines join, and see them."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from farm_protocol.addresses import is_clear
from farm_protocol.errors import Conflict, InvalidInput, NotFound
from farm_protocol.records import SlotState
from render_farm.answers import NodeList, NodeView
from render_farm.cli.access import Access, open_farm
from render_farm.cli.console import Console
from render_farm.cli.owner_command import owner_of
from render_farm.cli.table import table
from render_farm.client import FarmClient


@dataclass(frozen=True, slots=True)
class NodeAdded:
    """A node, its token, and the line to give on its machine, where the token is in the file node.token.
    `trust` are the options that it needs besides where it has no sandbox: it then opens nothing but its
    owner's scenes, by the word of this farm's key.
    """

    node: str
    name: str
    token: str
    command: str
    trust: str = ""


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Add a node, remove one, or list them."""
    with open_farm(chosen, console.say, node=False) as access:
        if chosen.action == "add":
            _add(access, chosen, console)
            if access.own is not None:
                console.say("Start the farm with `render-farm up` before the machine joins it.")
        elif chosen.action == "remove":
            removed = access.client.remove_node(_node_of(access.client.nodes(), chosen.name))
            console.result(removed, f"{removed.name}: its token works no longer, and it is listed no longer.")
        else:
            _list(access.client, console)
    return 0


def _add(access: Access, chosen: argparse.Namespace, console: Console) -> None:
    name = chosen.name.strip()
    if not name or len(name) > 200:
        raise InvalidInput("A node's name has 1 to 200 characters.")
    whose = owner_of(access.client, chosen.owner) if chosen.owner else ""
    added = access.client.add_node(name, owner=whose, expires=chosen.expires)
    command = f"gpu-worker run --coordinator {shlex.quote(access.public_url)} --token-file node.token"
    if is_clear(access.public_url):
        command += " --insecure"
        console.say("This farm is reached in clear: let nobody on the way read it (docs/tls.md).")
    trust = f"--trust-farm {access.client.rules().address} --owner {shlex.quote(added.owner)}"
    console.say(f"{added.name} works with this token, which is shown this once. On its machine put it into a")
    console.say(f"file: (umask 077; cat > node.token), then give: {command}")
    console.say(f"Where that machine has no sandbox, add {trust}: it opens scenes of that owner only.")
    console.result(NodeAdded(added.node, added.name, added.token, command, trust), added.token)


def _node_of(nodes: Sequence[NodeView], wanted: str) -> str:
    """The id of the node with this id or name. Raises NotFound, or Conflict where several have the name."""
    found = [one.node for one in nodes if one.node == wanted]
    found = found or [one.node for one in nodes if one.name == wanted]
    if not found:
        raise NotFound(f"The farm has no machine '{wanted[:100]}': `render-farm node list` shows them.")
    if len(found) > 1:
        raise Conflict(f"Several machines have that name: name one by its id, {' or '.join(found)}.")
    return found[0]


def _list(client: FarmClient, console: Console) -> None:
    nodes = client.nodes()
    rows = [_row(node) for node in nodes]
    shown = table(
        ("NODE", "NAME", "OWNER", "ONLINE", "SLOTS", "BUSY", "SANDBOX", "STANDING", "NEXT AUDIT", "DEVICE"),
        rows,
    )
    told = "\n".join((shown, *_away(nodes)))
    console.result(NodeList(nodes), told if nodes else "The farm has no machines yet.")


def _away(nodes: Sequence[NodeView]) -> list[str]:
    """Why nodes get no work, and why slots of those that are online cannot be had, a line each."""
    return [f"{node.name}: {node.held_back}" for node in nodes if node.held_back] + [
        f"{node.name}, {slot.slot}: {slot.state}. {slot.reason}"
        for node in nodes
        for slot in node.slots
        if node.online and slot.reason
    ]


def _row(node: NodeView) -> tuple[str, ...]:
    busy = sum(slot.task is not None for slot in node.slots)
    name = f"{node.name}, own" if node.own and "own" not in node.name else node.name
    yes_no = ("no", "yes")
    return (
        node.node,
        name,
        node.owner or "-",
        yes_no[node.online],
        _slots(node),
        str(busy),
        yes_no[node.sandboxed],
        _standing(node),
        "-" if node.audit_rate is None else f"{node.audit_rate / 1e4:.3g} %",
        node.device_class or "-",
    )


def _slots(node: NodeView) -> str:
    """How many slots there are, and how many of them cannot be had."""
    away = sum(slot.state is not SlotState.READY for slot in node.slots)
    return f"{len(node.slots)}, {away} away" if away else str(len(node.slots))


def _standing(node: NodeView) -> str:
    """Audits passed since the last that failed, and those that ever failed."""
    if node.standing is None:
        return "-"
    failed = f", {node.standing.failed} failed" if node.standing.failed else ""
    return f"{node.standing.passed} passed{failed}"
