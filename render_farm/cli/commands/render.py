# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm render`: its options and its help; `rendering` does it."""

import click

from frame_splitter.command_line import Command, option
from render_farm.cli.display.console import Console
from render_farm.cli.options import (
    PAYING,
    FarmChoice,
    SceneChoice,
    WalletChoice,
    Wish,
    farm_options,
    job_options,
    output_option,
    receipts_option,
    scene_options,
    wallet_options,
)

_EXAMPLES = """examples:
  render-farm render still.blend --frames 1 --tiles 4x2
  render-farm render shot.blend --frames 1-100x5,200 --samples 64 --resolution-percentage 50
  render-farm render shot.blend --format OPEN_EXR --output /renders/shot/####
  render-farm render shot.blend --allow-outside /studio/textures
  render-farm render shot.blend --json | jq .frames
  render-farm render shot.blend --budget 12.5          pay for it: quote, deposit, frames, the rest back

The same command again goes on with a job that was not finished; the frames of a finished one are there
already, and are rendered anew with --again.
Frame numbers take the place of #### as in Blender; without --output frames go to shot-frames/.
Files outside of the scene's folder are sent only after a yes, which is remembered for these files, or with
--allow-outside. Without a sandbox (bubblewrap) the scene is opened only after a yes, or with --trust-file.
"""


@click.command("render", cls=Command, help="render a scene and fetch its frames", epilog=_EXAMPLES)
@farm_options
@scene_options
@job_options
@output_option(help="where frames go (default: SCENE-frames/####)")
@option("--again", is_flag=True, help="render a job anew that was finished before")
@receipts_option
@option("--budget", metavar="AMOUNT", section=PAYING, help="pay, at most so much of the token, such as 12.5")
@option(
    "--price-cap",
    metavar="P",
    section=PAYING,
    help="the most a render unit may cost (default: the quote's price)",
)
@wallet_options(PAYING)
@click.pass_obj
def render(
    console: Console,
    farm: FarmChoice,
    chosen: SceneChoice,
    wish: Wish,
    output: str,
    again: bool,
    receipts: bool,
    budget: str | None,
    price_cap: str | None,
    wallet: WalletChoice,
) -> int:
    """Render; 1 where a receipt is missing or wrong."""
    # What speaks to farms, and what runs one, take long to load.
    from render_farm.cli.rendering import RenderChoice, render_scene  # noqa: PLC0415

    asked = RenderChoice(farm, chosen, wish, output, again, receipts, budget, price_cap, wallet)
    return render_scene(asked, console)
