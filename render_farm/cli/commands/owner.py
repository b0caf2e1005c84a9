# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm owner`: people whose jobs and machines are kept apart from each other."""

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from frame_splitter.command_line import Group, option
from frame_splitter.errors import Conflict, InvalidInput, NotFound
from frame_splitter.option_types import Span
from render_farm.answers import OwnerList, OwnerView
from render_farm.cli.access import Access, open_farm
from render_farm.cli.display.console import Console
from render_farm.cli.display.table import table
from render_farm.cli.options import FarmChoice, farm_options

if TYPE_CHECKING:
    from render_farm.client import FarmClient

_OWNERS = """examples:
  render-farm owner add ann                            prints the token Ann works with
  render-farm node add rig-1 --owner ann               lets a machine of hers join
  render-farm owner add ben --expires 30d              whose token works for 30 days
  render-farm owner list
  render-farm owner remove ann                         takes back her token and her machines'

An owner sees its own jobs, files and machines only. The operator of the farm is the owner `admin`.
"""

owner = Group("owner", help="let somebody else use the farm, or list who does", epilog=_OWNERS)
expires_option = option(
    "--expires",
    metavar="TIME",
    type=Span(least=1),
    default=0,
    help="how long the token works, such as 90d (default: until it is taken back)",
)


@dataclass(frozen=True, slots=True)
class OwnerAdded:
    """An owner, its token, and the line that lets a machine of its join."""

    owner: str
    name: str
    token: str
    command: str


@owner.command("add", help="issue a person's token", epilog=_OWNERS)
@farm_options
@click.argument("name", metavar="NAME", help="what to call the person")
@expires_option
@click.pass_obj
def add_owner(console: Console, farm: FarmChoice, name: str, expires: int) -> None:
    """Add an owner."""
    with open_farm(farm, console.say, node=False) as access:
        _add(access, name.strip(), expires, console)


@owner.command("remove", help="take back a person's token and its machines'", epilog=_OWNERS)
@farm_options
@click.argument("name", metavar="OWNER", help="the person, by name or id")
@click.pass_obj
def remove_owner(console: Console, farm: FarmChoice, name: str) -> None:
    """Remove an owner."""
    with open_farm(farm, console.say, node=False) as access:
        removed = access.client.remove_owner(owner_of(access.client, name))
        what = f"this owner's token and those of {len(removed.nodes)} machines"
        console.result(removed, f"{name}: {what} work no longer.")


@owner.command("list", help="owners, their machines and standing", epilog=_OWNERS)
@farm_options
@click.pass_obj
def list_owners(console: Console, farm: FarmChoice) -> None:
    """List the owners."""
    with open_farm(farm, console.say, node=False) as access:
        owners = access.client.owners()
        rows = list(map(_row, owners))
        console.result(OwnerList(owners), table(("OWNER", "NAME", "NODES", "STANDING"), rows))


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


def _row(one: OwnerView) -> tuple[str, ...]:
    failed = f", {one.standing.failed} failed" if one.standing.failed else ""
    return one.owner, one.name, str(one.nodes), f"{one.standing.passed} passed{failed}"


def owner_of(client: "FarmClient", wanted: str) -> str:
    """The id of the owner with this id or name. Raises NotFound, or Conflict where several have the name."""
    owners = client.owners()
    found = [one.owner for one in owners if one.owner == wanted]
    found = found or [one.owner for one in owners if one.name == wanted]
    if not found:
        raise NotFound(f"The farm has no owner '{wanted}': `render-farm owner add NAME` makes one.")
    if len(found) > 1:
        raise Conflict(f"Several owners are called '{wanted}': name one by its id, {' or '.join(found)}.")
    return found[0]
