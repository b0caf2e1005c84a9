# SPDX-License-Identifier: GPL-3.0-or-later
"""Owners and nodes by a command: whose machine `node add` adds, and what `node list` says."""

from dataclasses import replace

import pytest

from farm_protocol.errors import Conflict, NotFound
from farm_protocol.records import SlotState
from render_farm.answers import NodeView, OwnerView, SlotView
from render_farm.cli import node_command
from render_farm.cli.options import parse
from render_farm.cli.owner_command import owner_of
from verification.rate import Standing


class Client:
    """A farm with these owners."""

    def __init__(self, *owners: tuple[str, str]) -> None:
        self._owners = tuple(OwnerView(owner, name, 0, Standing()) for owner, name in owners)

    def owners(self) -> tuple[OwnerView, ...]:
        """All of them."""
        return self._owners


def test_an_owner_is_found_by_id_before_name() -> None:
    client = Client(("o1", "ann"), ("o2", "bob"), ("o3", "o1"), ("o4", "bob"))
    assert owner_of(client, "ann") == "o1"
    assert owner_of(client, "o1") == "o1"
    with pytest.raises(NotFound, match="owner add"):
        owner_of(client, "eve")
    with pytest.raises(Conflict, match="o2 or o4"):
        owner_of(client, "bob")


def test_the_words_of_the_commands() -> None:
    added = parse(["node", "add", "rig", "--owner", "ann"], {})
    assert (added.command, added.action, added.name, added.owner) == ("node", "add", "rig", "ann")
    assert parse(["node", "add", "rig"], {}).owner == ""
    assert parse(["owner", "add", "ann"], {}).name == "ann"
    assert parse(["owner", "list"], {}).command == "owner"


def test_node_list_says_why_slots_of_nodes_that_are_there_are_away() -> None:
    slots = (
        SlotView(
            "gpu-0", None, None, SlotState.STARTING, "Compiling the kernels for NVIDIA L4: 40 s so far."
        ),
        SlotView("finish-0", None, None),
    )
    rig = NodeView("n1", "rig", True, True, 1.0, True, "optix:a", slots)
    gone = replace(rig, node="n2", name="gone", online=False)
    assert node_command._away((rig, gone)) == [
        "rig, gpu-0: starting. Compiling the kernels for NVIDIA L4: 40 s so far."
    ]
