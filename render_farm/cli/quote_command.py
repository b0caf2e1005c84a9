# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm quote`: what a job would take, before it is asked for."""

import argparse
import time
from contextlib import suppress
from dataclasses import replace

from farm_protocol.errors import FarmError, InvalidInput
from payments import amounts
from payments.pricing import MICRO, reward
from payments.quotes import Band, CostBand, Quote, QuoteState
from render_farm.blend_header import check_scene
from render_farm.cli.access import Access, open_farm
from render_farm.cli.console import Console
from render_farm.cli.program import Interrupted
from render_farm.cli.scene_options import (
    Wish,
    checked_scene,
    facts_to_send,
    read_wish,
    render_slots,
    send_scene,
)
from render_farm.cli.steps import step
from render_farm.client import FarmClient
from render_farm.doctor import Checked
from render_farm.wording import counted

WAIT_SECONDS = 10.0
PATIENCE_SECONDS = 900.0
"""For the farm's own nodes to have a slot, and the probes to be rendered."""

NO_CHAIN = ("tokens", 18)
"""What amounts are written in at a farm without a chain."""


class NoQuote(FarmError):
    """The farm could not make the quote."""

    code = "no_quote"


def run(chosen: argparse.Namespace, console: Console) -> int:
    """Check, upload, ask, wait, tell."""
    wish = read_wish(chosen)
    check_scene(chosen.scene)
    with (
        open_farm(chosen, console.say, node=True, slots=wish.slots) as access,
        checked_scene(chosen, console, wish) as checked,
    ):
        symbol, decimals = _token(access.client)
        price = None if chosen.price is None else amounts.parse(chosen.price, decimals)
        quote = at_price(_quoted(access, console, checked, wish), price)
    console.result(quote, text(quote, symbol, decimals))
    return 0


def _token(client: FarmClient) -> tuple[str, int]:
    network = client.rules().network
    return (network.symbol, network.decimals) if network else NO_CHAIN


def _quoted(access: Access, console: Console, checked: Checked, wish: Wish) -> Quote:
    client = access.client
    scene = send_scene(client, checked.bundle, console.say)
    if access.own is not None:
        with step(console.say, lambda: "Starting the node: Ray, and a Blender for each slot"):
            access.own.wait_for_node()
    slots = wish.slots or max(1, render_slots(client.nodes()))
    spec = wish.spec(scene, checked.facts, slots, checked.bundle.title)
    console.say("Rendering a few frames very small ...")
    quote = client.quote(spec, facts_to_send(checked.bundle, checked.facts))
    return finished(client, quote)


def finished(client: FarmClient, quote: Quote, patience: float = PATIENCE_SECONDS) -> Quote:
    """The quote once it is made. Ctrl-C ends its probes. Raises NoQuote where the farm cannot make it, or
    does not get to it.
    """
    try:
        return _waited(client, quote, time.monotonic() + patience)
    except KeyboardInterrupt:
        with suppress(FarmError):
            client.cancel(quote.quote)
        raise Interrupted("Stopped; the farm renders no more for this quote.") from None


def _waited(client: FarmClient, quote: Quote, end: float) -> Quote:
    while quote.state is QuoteState.PROBING:
        if time.monotonic() > end:
            client.cancel(quote.quote)
            raise NoQuote("The farm's own nodes did not get to the quote: is one online, with a free slot?")
        quote = client.quoted(quote.quote, wait=WAIT_SECONDS)
    if quote.state is not QuoteState.READY:
        raise NoQuote(quote.failure or "The quote was cancelled.")
    return quote


def at_price(quote: Quote, price: int | None) -> Quote:
    """The quote at another price of a unit; None: as it is."""
    if price is None:
        return quote
    if price <= 0:
        raise InvalidInput("A price is above 0.")
    units = quote.units
    return replace(
        quote,
        price=price,
        cost=CostBand(*(reward(one, price) for one in (units.p10, units.p50, units.p90))),
        audit_cost=reward(quote.audit_units, price),
    )


def text(quote: Quote, symbol: str, decimals: int) -> str:
    """The quote for people: each figure's middle, and what it lies between in eight cases of ten."""

    def money(amount: int) -> str:
        return f"{_short(amount, decimals)} {symbol}"

    units, cost = quote.units, quote.cost
    lines = [
        f"Work:     {_units(units.p50)} render units ({_units(units.p10)} to {_units(units.p90)}), "
        f"{counted(len(quote.frames), 'frame')}",
        f"Price:    {money(cost.p50)} ({money(cost.p10)} to {money(cost.p90)}) at {money(quote.price)} a unit"
        f", and {money(quote.audit_cost)} more if every tile is audited",
        f"One slot: {_band(quote.slot_seconds)}",
        f"Done in:  {_band(quote.finish_seconds)} with {counted(quote.slots, 'slot')}",
        f"Device:   all of this on {quote.device_class}, where the job is {quote.exactness}",
        f"Memory:   about {quote.peak_memory / 1e6:.0f} MB for a slot{_on_gpu(quote)}",
        f"Probes:   {counted(len(quote.probed), 'frame')}, {_units(quote.probe_units)} units",
        *quote.notes,
    ]
    return "\n".join(lines)


def _on_gpu(quote: Quote) -> str:
    memory = quote.device_memory / 1e6
    return f", {memory:.0f} MB of a GPU's video memory by Cycles' own count" if memory else ""


def _units(micro: int) -> str:
    return f"{micro / MICRO:.3g}" if micro < 1000 * MICRO else f"{micro / MICRO:.0f}"


def _short(amount: int, decimals: int) -> str:
    """Four figures are as many as a quote is worth; whole tokens stay whole."""
    digits = len(str(amount))
    rest = 10 ** max(0, min(digits - 4, decimals))
    return amounts.format(amount // rest * rest, decimals)


def _band(band: Band) -> str:
    return f"{duration(band.p50)} ({duration(band.p10)} to {duration(band.p90)})"


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 5 h 10 min."""
    if round(seconds) < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
