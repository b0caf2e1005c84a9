# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm node`: let machines join, and see them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from frame_splitter.addresses import is_clear
from frame_splitter.command_line import Group, option
from frame_splitter.errors import Conflict, InvalidInput, NotFound
from frame_splitter.records import SlotState
from render_farm.answers import NodeList, NodeView
from render_farm.cli.access import Access, open_farm
from render_farm.cli.commands.owner import expires_option, owner_of
from render_farm.cli.display.console import Console
from render_farm.cli.display.table import table
from render_farm.cli.options import FarmChoice, farm_options

if TYPE_CHECKING:
    from render_farm.client import FarmClient

_NODES = """examples:
  render-farm node add workstation-2                   prints its token, and what to do with it there
  render-farm node list                                which machines are online, and what they do
  render-farm node remove workstation-2                takes its token back
"""

_ADD = """examples:
  render-farm node add workstation-2                   a machine of yours
  render-farm node add rig-1 --owner ann               a machine of Ann's, whom `owner add ann` made
  render-farm node add rig-2 --expires 90d             its token works for 90 days
  render-farm node add rig-3 | ssh rig-3 'umask 077; cat > node.token'
  ssh rig-3 gpu-worker run --coordinator URL --token-file node.token

Prints the token, this once: put it into a file there that only you may read. Machines of one owner share a
standing and never audit each other: give everybody else's an owner of its own.
"""

node = Group("node", help="add a machine to the farm, or list them", epilog=_NODES)


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


@node.command("add", help="issue a machine's token", epilog=_ADD)
@farm_options
@click.argument("name", metavar="NAME", help="what to call the machine")
@option("--owner", metavar="OWNER", default="", help="whose machine it is (default: yours)")
@expires_option
@click.pass_obj
def add_node(console: Console, farm: FarmChoice, name: str, owner: str, expires: int) -> None:
    """Add a node."""
    with open_farm(farm, console.say, node=False) as access:
        _add(access, name.strip(), owner, expires, console)
        if access.own is not None:
            console.say("Start the farm with `render-farm up` before the machine joins it.")


@node.command("remove", help="take a machine's token back", epilog=_NODES)
@farm_options
@click.argument("name", metavar="NODE", help="the machine, by its name or id")
@click.pass_obj
def remove_node(console: Console, farm: FarmChoice, name: str) -> None:
    """Remove a node."""
    with open_farm(farm, console.say, node=False) as access:
        removed = access.client.remove_node(_node_of(access.client.nodes(), name))
        console.result(removed, f"{removed.name}: its token works no longer, and it is listed no longer.")


@node.command("list", help="the farm's machines and what they do", epilog=_NODES)
@farm_options
@click.pass_obj
def list_nodes(console: Console, farm: FarmChoice) -> None:
    """List the nodes."""
    with open_farm(farm, console.say, node=False) as access:
        _list(access.client, console)


def _add(access: Access, name: str, owner: str, expires: int, console: Console) -> None:
    if not name or len(name) > 200:
        raise InvalidInput("A node's name has 1 to 200 characters.")
    whose = owner_of(access.client, owner) if owner else ""
    added = access.client.add_node(name, owner=whose, expires=expires)
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


def _list(client: "FarmClient", console: Console) -> None:
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
