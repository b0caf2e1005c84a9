# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `node`, `owner` and `token`: machines, the people they belong to, and what proves it."""

import argparse
import re

from render_farm.cli.money_options import Adder

NODES = """examples:
  render-farm node add workstation-2                   prints its token, and what to do with it there
  render-farm node list                                which machines are online, and what they do
  render-farm node remove workstation-2                takes its token back
"""

_NODE_ADD = """examples:
  render-farm node add workstation-2                   a machine of yours
  render-farm node add rig-1 --owner ann               a machine of Ann's, whom `owner add ann` made
  render-farm node add rig-2 --expires 90d             its token works for 90 days
  render-farm node add rig-3 | ssh rig-3 'umask 077; cat > node.token'
  ssh rig-3 gpu-worker run --coordinator URL --token-file node.token

Prints the token, this once: put it into a file there that only you may read. Machines of one owner share a
standing and never audit each other: give everybody else's an owner of its own.
"""

OWNERS = """examples:
  render-farm owner add ann                            prints the token Ann works with
  render-farm node add rig-1 --owner ann               lets a machine of hers join
  render-farm owner add ben --expires 30d              whose token works for 30 days
  render-farm owner list
  render-farm owner remove ann                         takes back her token and her machines'

An owner sees its own jobs, files and machines only. The operator of the farm is the owner `admin`.
"""


TOKENS = """examples:
  render-farm token list                               whose they are, last used, and when they end
  render-farm token revoke 3f2a91c07b5e                it works no longer
  render-farm token rotate 3f2a91c07b5e --overlap 1d   a new one; the old one works for a day more

You see your own and your machines'; the farm's operator sees all. The operator's own token is none of them:
change it in FARM_ADMIN_TOKEN, or in secrets.json of the folder of `render-farm up`, and start the farm again.
"""

_SPAN = re.compile(r"([1-9]\d{0,5})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """A time such as 90d, 12h, 30m or 45s, in seconds."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text[:20]}' is no time: write for example 90d, 12h or 30m")
    return int(found[1]) * _SECONDS[found[2]]


def add_node_actions(command: Adder, common: argparse.ArgumentParser) -> None:
    """`node add`, `node list` and `node remove`."""
    add = command("add", parents=[common], help="issue a machine's token", epilog=_NODE_ADD)
    add.add_argument("name", metavar="NAME", help="what to call the machine")
    add.add_argument("--owner", metavar="OWNER", default="", help="whose machine it is (default: yours)")
    _add_expires(add)
    remove = command("remove", parents=[common], help="take a machine's token back", epilog=NODES)
    remove.add_argument("name", metavar="NODE", help="the machine, by its name or id")
    command("list", parents=[common], help="the farm's machines and what they do", epilog=NODES)


def add_owner_actions(command: Adder, common: argparse.ArgumentParser) -> None:
    """`owner add`, `owner list` and `owner remove`."""
    add = command("add", parents=[common], help="issue a person's token", epilog=OWNERS)
    add.add_argument("name", metavar="NAME", help="what to call the person")
    _add_expires(add)
    remove = command(
        "remove", parents=[common], help="take back a person's token and its machines'", epilog=OWNERS
    )
    remove.add_argument("name", metavar="OWNER", help="the person, by name or id")
    command("list", parents=[common], help="owners, their machines and standing", epilog=OWNERS)


def add_token_actions(command: Adder, common: argparse.ArgumentParser) -> None:
    """`token list`, `token revoke` and `token rotate`."""
    command("list", parents=[common], help="tokens, whose they are, and when they end", epilog=TOKENS)
    revoke = command("revoke", parents=[common], help="take a token back, for good", epilog=TOKENS)
    rotate = command("rotate", parents=[common], help="give its holder another one instead", epilog=TOKENS)
    for action in (revoke, rotate):
        action.add_argument("token_id", metavar="TOKEN", help="the token's id, from `token list`")
    rotate.add_argument(
        "--overlap",
        metavar="TIME",
        type=seconds,
        default=0,
        help="how long the old one goes on, such as 1h or 7d at most (default: not at all)",
    )


def _add_expires(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "--expires",
        metavar="TIME",
        type=seconds,
        default=0,
        help="how long the token works, such as 90d (default: until it is taken back)",
    )
