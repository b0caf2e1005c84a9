# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of `node` and `owner`: machines, and the people they belong to."""

import argparse

from render_farm.cli.money_options import Adder

NODES = """examples:
  render-farm node add workstation-2                   prints the command to give on that machine
  render-farm node list                                which machines are online, and what they do
"""

_NODE_ADD = """examples:
  render-farm node add workstation-2                   a machine of yours
  render-farm node add rig-1 --owner ann               a machine of Ann's, whom `owner add ann` made

Prints the command to give on that machine. The token is shown this once. Machines of one owner share a
standing and never audit each other: give everybody else's an owner of its own.
"""

OWNERS = """examples:
  render-farm owner add ann                            prints the token Ann works with
  render-farm node add rig-1 --owner ann               lets a machine of hers join
  render-farm owner list

An owner sees its own jobs, files and machines only. The operator of the farm is the owner `admin`.
"""


def add_node_actions(command: Adder, common: argparse.ArgumentParser) -> None:
    """`node add` and `node list`."""
    add = command("add", parents=[common], help="issue a machine's token", epilog=_NODE_ADD)
    add.add_argument("name", metavar="NAME", help="what to call the machine")
    add.add_argument("--owner", metavar="OWNER", default="", help="whose machine it is (default: yours)")
    command("list", parents=[common], help="the farm's machines and what they do", epilog=NODES)


def add_owner_actions(command: Adder, common: argparse.ArgumentParser) -> None:
    """`owner add` and `owner list`."""
    add = command("add", parents=[common], help="issue a person's token", epilog=OWNERS)
    add.add_argument("name", metavar="NAME", help="what to call the person")
    command("list", parents=[common], help="owners, their machines and standing", epilog=OWNERS)
