# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm token`: which tokens there are, taken back, rotated."""

import argparse
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from farm_protocol.ids import NodeId
from render_farm.answers import TokenList, TokenView
from render_farm.cli.access import Access, open_farm
from render_farm.cli.console import Console
from render_farm.cli.table import table


def run(chosen: argparse.Namespace, console: Console) -> int:
    """List tokens, take one back, or rotate it."""
    with open_farm(chosen, console.say, node=False) as access:
        _ACTIONS[chosen.action](access, chosen, console)
    return 0


def _list(access: Access, chosen: argparse.Namespace, console: Console) -> None:
    tokens = access.client.tokens()
    names = {node.node: node.name for node in access.client.nodes()} if tokens else {}
    rows = [_row(one, names) for one in tokens]
    shown = table(("TOKEN", "OWNER", "NODE", "MADE", "LAST USED", "ENDS"), rows)
    console.result(TokenList(tokens), shown if tokens else "The farm has given out no tokens.")


def _row(one: TokenView, names: Mapping[NodeId, str]) -> tuple[str, ...]:
    node = f"{one.node}, {names[one.node]}" if one.node in names else one.node
    made, used, ends = (_day(seconds) for seconds in (one.made, one.used, one.ends))
    return one.id, one.owner, node or "-", made, used, ends if one.ends else "never"


def _day(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") if seconds else "-"


def _revoke(access: Access, chosen: argparse.Namespace, console: Console) -> None:
    revoked = access.client.revoke_token(chosen.token_id)
    console.result(revoked, f"Token {revoked.id} of {revoked.node or revoked.owner} works no longer.")


def _rotate(access: Access, chosen: argparse.Namespace, console: Console) -> None:
    made = access.client.rotate_token(chosen.token_id, overlap=chosen.overlap)
    holder = made.node or made.owner
    console.say(f"{holder} works with this token from now on, which is shown this once.")
    if made.overlap_seconds:
        ends = time.time() + made.overlap_seconds
        console.say(f"The old one works until {_day(ends)} UTC.")
    console.result(made, made.token)


_ACTIONS: dict[str, Callable[[Access, argparse.Namespace, Console], None]] = {
    "list": _list,
    "revoke": _revoke,
    "rotate": _rotate,
}
