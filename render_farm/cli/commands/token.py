# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm token`: which tokens there are, taken back, rotated."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

import click

from frame_splitter.command_line import Group, option
from frame_splitter.ids import NodeId
from frame_splitter.option_types import Span
from render_farm.answers import TokenList, TokenView
from render_farm.cli.access import open_farm
from render_farm.cli.display.console import Console
from render_farm.cli.display.table import table
from render_farm.cli.options import FarmChoice, farm_options

_TOKENS = """examples:
  render-farm token list                               whose they are, last used, and when they end
  render-farm token revoke 3f2a91c07b5e                it works no longer
  render-farm token rotate 3f2a91c07b5e --overlap 1d   a new one; the old one works for a day more

You see your own and your machines'; the farm's operator sees all. The operator's own token is none of them:
change it in FARM_ADMIN_TOKEN, or in secrets.json of the folder of `render-farm up`, and start the farm again.
"""

token = Group("token", help="see the tokens that were given out, take them back", epilog=_TOKENS)
_token_argument = click.argument("token_id", metavar="TOKEN", help="the token's id, from `token list`")


@token.command("list", help="tokens, whose they are, and when they end", epilog=_TOKENS)
@farm_options
@click.pass_obj
def list_tokens(console: Console, farm: FarmChoice) -> None:
    """List tokens."""
    with open_farm(farm, console.say, node=False) as access:
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


@token.command("revoke", help="take a token back, for good", epilog=_TOKENS)
@farm_options
@_token_argument
@click.pass_obj
def revoke_token(console: Console, farm: FarmChoice, token_id: str) -> None:
    """Take a token back."""
    with open_farm(farm, console.say, node=False) as access:
        revoked = access.client.revoke_token(token_id)
    console.result(revoked, f"Token {revoked.id} of {revoked.node or revoked.owner} works no longer.")


@token.command("rotate", help="give its holder another one instead", epilog=_TOKENS)
@farm_options
@_token_argument
@option(
    "--overlap",
    metavar="TIME",
    type=Span(least=1),
    default=0,
    help="how long the old one goes on, such as 1h or 7d at most (default: not at all)",
)
@click.pass_obj
def rotate_token(console: Console, farm: FarmChoice, token_id: str, overlap: int) -> None:
    """Rotate a token."""
    with open_farm(farm, console.say, node=False) as access:
        made = access.client.rotate_token(token_id, overlap=overlap)
    holder = made.node or made.owner
    console.say(f"{holder} works with this token from now on, which is shown this once.")
    if made.overlap_seconds:
        ends = time.time() + made.overlap_seconds
        console.say(f"The old one works until {_day(ends)} UTC.")
    console.result(made, made.token)
