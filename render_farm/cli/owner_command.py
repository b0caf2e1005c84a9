# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm owner`: people whose jobs and machines are kept apart from each other."""

import argparse
import shlex
from dataclasses import dataclass

from farm_protocol.errors import Conflict, InvalidInput, NotFound
from render_farm.answers import OwnerList, OwnerView
from render_farm.cli.access import Access, open_farm
from render_farm.cli.console import Console
from render_farm.cli.table import table
from render_farm.client import FarmClient


@dataclass(frozen=True, slots=True)
class OwnerAdded:
    """An owner, its token, and the line that lets a machine of its join."""

    owner: str
    name: str
    token: str
    command: str


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Add an owner, remove one, or list them."""
    with open_farm(chosen, console.say, node=False) as access:
        if chosen.action == "add":
            _add(access, chosen.name.strip(), chosen.expires, console)
        elif chosen.action == "remove":
            removed = access.client.remove_owner(owner_of(access.client, chosen.name))
            what = f"this owner's token and those of {len(removed.nodes)} machines"
            console.result(removed, f"{chosen.name}: {what} work no longer.")
        else:
            _list(access.client, console)
    return 0


def _add(access: Access, name: str, expires: int, console: Console) -> None:
    if not name or len(name) > 200:
        raise InvalidInput("An owner's name has 1 to 200 characters.")
    if any(name in (one.name, one.owner) for one in access.client.owners()):
        raise Conflict(f"The farm has an owner '{name}' already: choose another name.")
    added = access.client.add_owner(name, expires=expires)
    command = f"render-farm node add NAME --owner {shlex.quote(name)}"
    console.say(f"{name} sends jobs and adds machines with this token, which is shown this once.")
    console.say(f"Or add a machine for {name} here: {command}")
    console.result(OwnerAdded(added.owner, name, added.token, command), added.token)


def _list(client: FarmClient, console: Console) -> None:
    owners = client.owners()
    console.result(OwnerList(owners), table(("OWNER", "NAME", "NODES", "STANDING"), list(map(_row, owners))))


def _row(one: OwnerView) -> tuple[str, ...]:
    failed = f", {one.standing.failed} failed" if one.standing.failed else ""
    return one.owner, one.name, str(one.nodes), f"{one.standing.passed} passed{failed}"


def owner_of(client: FarmClient, wanted: str) -> str:
    """The id of the owner with this id or name. Raises NotFound, or Conflict where several have the name."""
    owners = client.owners()
    found = [one.owner for one in owners if one.owner == wanted]
    found = found or [one.owner for one in owners if one.name == wanted]
    if not found:
        raise NotFound(f"The farm has no owner '{wanted}': `render-farm owner add NAME` makes one.")
    if len(found) > 1:
        raise Conflict(f"Several owners are called '{wanted}': name one by its id, {' or '.join(found)}.")
    return found[0]
