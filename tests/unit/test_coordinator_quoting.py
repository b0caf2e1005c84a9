# SPDX-License-Identifier: GPL-3.0-or-later
"""Quotes from made-up probes: what they say, and how it is told."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import decode, encode
from farm_protocol.probes import Measure, ProbeReport
from farm_protocol.records import Demand, JobSpec, JobState
from payments.quotes import Quote, QuoteState
from render_farm import quoting
from render_farm.cli import quote_command
from render_farm.cli.options import UsageError, parse
from render_farm.cli.program import Interrupted
from render_farm.quoting import Market, finish_time
from render_farm.store.quotes import Probed, StoredQuote
from tests.plain_facts import PLAIN_SCENE

FACTS = replace(PLAIN_SCENE, resolution_x=640, resolution_y=640, samples=4)
AREA = 640 * 640
SPEED = 2_000_000
MARKET = Market(speeds=(2e6,), prices=(), unit_price=10**16, audit_ppm=50_000)


def asked(frames=(1,), **wish):
    spec = JobSpec("0" * 64, frames, tiles=wish.pop("tiles", "1x1"), **wish)
    return StoredQuote("q1", "ann", JobState.COMPLETE, spec, FACTS, "0" * 64, "", None)


def probed(frames=(1,), seconds=4.0, cold=0.0):
    """Whole frames take so many seconds of the slot that probed."""
    small = Measure(frames[0], AREA // 64, seconds / 64 + cold, seconds / 64, True, True)
    others = [
        Measure(frame, AREA // 16, seconds / 16, seconds / 16, number > 0, False)
        for number, frame in enumerate(frames)
    ]
    return Probed(ProbeReport(SPEED, (small, *others)), "cpu:x", 10**9, 3 * 10**8)


def made(market=MARKET, frames=(1,), **wish):
    return quoting.make(asked(frames, **wish), probed(frames), market)


def test_a_quote_is_work_and_money_and_time() -> None:
    quote = made(frames=(1, 2))
    assert quote.frame_units == (8_000_000, 8_000_000)
    assert quote.units_of() == {1: 8_000_000, 2: 8_000_000}
    assert sum(quote.frame_units) == quote.units.p50
    assert quote.cost.p50 == 16 * 10**16
    assert (quote.audit_units, quote.audit_cost) == (800_000, 8 * 10**15)
    assert quote.slot_seconds.p50 == pytest.approx(8.0)
    assert quote.finish_seconds.p50 > 8.0
    assert quote.probed == (1, 2)
    assert quote.peak_memory > 10**9
    assert quote.device_memory == 0, "a CPU's count says nothing of a GPU"
    assert decode(encode(quote), Quote) == quote


def test_a_quote_says_which_device_its_figures_are_of_and_what_that_promises() -> None:
    cpu, exact = made(), made(exactness=Demand.BIT)
    assert (cpu.device_class, cpu.exactness, exact.exactness) == ("cpu:x", "bit-exact", "bit-exact")
    gpu = quoting.make(asked(), replace(probed(), device_class="optix:L4"), MARKET)
    assert gpu.device_memory == 3 * 10**8 + 256 * (AREA - AREA // 16)
    assert (gpu.device_class, gpu.exactness) == ("optix:L4", "float-exact")
    assert "on optix:L4, where the job is float-exact" in quote_command.text(gpu, "RENDER", 18)
    assert decode(encode(gpu), Quote) == gpu


def test_the_price_is_the_middle_of_what_nodes_ask() -> None:
    selling = replace(MARKET, prices=(30, 10, 20))
    quote = made(selling)
    assert (quote.price, quote.price_low) == (20, 10)
    assert quote.cost.p50 == 160
    assert any("of 3 offers; the dearest asks 3 times the cheapest" in note for note in quote.notes)
    assert made().price == MARKET.unit_price
    # One that half of the sellers would refuse is no price: of two, the dearer.
    assert made(replace(MARKET, prices=(10, 20))).price == 20


def test_nobody_online_is_said() -> None:
    quote = made(replace(MARKET, speeds=()))
    assert quote.slots == 0
    assert quote.finish_seconds.p90 == 0.0
    assert any("online" in note for note in quote.notes)


def test_frames_that_were_not_probed_are_said() -> None:
    quote = quoting.make(asked(tuple(range(1, 11))), probed((1, 10, 5)), MARKET)
    alone = quoting.make(asked(tuple(range(1, 11))), probed((1,)), MARKET)
    assert any("3 of 10 frames" in note for note in quote.notes)
    assert any("Only frame 1" in note for note in alone.notes)
    assert alone.units.p90 / alone.units.p50 > quote.units.p90 / quote.units.p50


def test_tiles_make_a_frame_dearer_and_each_counts_for_something() -> None:
    whole, cut = made(), made(tiles="4x4")
    assert cut.units.p50 >= whole.units.p50
    nothing = Probed(ProbeReport(1, (Measure(1, 1, 0.0, 0.0, True, True),)), "cpu:x", 0)
    assert quoting.make(asked(tiles="4x4"), nothing, MARKET).frame_units == (16,)


@given(
    some.lists(some.floats(1, 1e9), min_size=1, max_size=60),
    some.lists(some.floats(1e3, 1e9), min_size=1, max_size=9),
)
def test_a_finish_time_is_one_that_slots_can_keep(tasks: list[float], speeds: list[float]) -> None:
    took = finish_time(tasks, speeds)
    assert took * (1 + 1e-9) >= sum(tasks) / sum(speeds)
    assert took * (1 + 1e-9) >= max(tasks) / max(speeds)
    assert took <= (sum(tasks) / sum(speeds) + max(tasks) / min(speeds)) * (1 + 1e-9)


def test_who_is_free_first_takes_the_next_task() -> None:
    assert finish_time([10.0], [1.0, 10.0]) == pytest.approx(1.0)
    assert finish_time([10.0, 10.0], [1.0, 10.0]) == pytest.approx(10.0)
    assert finish_time([10.0] * 20, [10.0, 10.0]) == pytest.approx(10.0)


def test_many_tasks_are_not_scheduled_one_by_one() -> None:
    assert finish_time([1.0] * 30_000, [10.0, 10.0]) == pytest.approx(1500.0, rel=1e-3)


# --- the command ------------------------------------------------------------------------------------


def test_the_words_of_a_quote_name_each_figure() -> None:
    quote = replace(
        made(frames=(1, 2)), peak_memory=2_000_000_000, device_memory=398_000_000, notes=("A note.",)
    )
    words = quote_command.text(quote, "RENDER", 18)
    assert "16 render units" in words
    assert "0.16 RENDER" in words
    assert "0.01 RENDER a unit" in words
    assert "with 1 slot" in words
    assert "2000 MB for a slot, 398 MB of a GPU's video memory" in words
    assert "video memory" not in quote_command.text(replace(quote, device_memory=0), "RENDER", 18)
    assert words.endswith("A note.")


def test_another_price_changes_the_money_and_nothing_else() -> None:
    quote = made()
    dearer = quote_command.at_price(quote, 2 * quote.price)
    assert dearer.cost.p50 == 2 * quote.cost.p50
    assert dearer.audit_cost == 2 * quote.audit_cost
    assert replace(dearer, price=quote.price, cost=quote.cost, audit_cost=quote.audit_cost) == quote
    assert quote_command.at_price(quote, None) == quote
    with pytest.raises(InvalidInput):
        quote_command.at_price(quote, 0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.23, "4.2 s"), (42.0, "42 s"), (59.9, "1 min 0 s"), (200.0, "3 min 20 s"), (18_600.0, "5 h 10 min")],
)
def test_seconds_as_people_say_them(seconds: float, words: str) -> None:
    assert quote_command.duration(seconds) == words


class Farm:
    """A farm that answers with these states, one after the other, and notes what is cancelled."""

    def __init__(self, *states):
        self.states, self.cancelled = list(states), []

    def quoted(self, quote, wait):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, BaseException):
            raise state
        return replace(QUOTE, state=state, failure="no camera" if state is QuoteState.FAILED else "")

    def cancel(self, quote):
        self.cancelled.append(quote)


QUOTE = Quote("q1", QuoteState.PROBING, "0" * 64)


def test_a_quote_is_waited_for() -> None:
    farm = Farm(QuoteState.PROBING, QuoteState.PROBING, QuoteState.READY)
    assert quote_command.finished(farm, QUOTE).state is QuoteState.READY
    assert farm.cancelled == []


@pytest.mark.parametrize(
    ("state", "words"), [(QuoteState.FAILED, "no camera"), (QuoteState.CANCELLED, "cancelled")]
)
def test_a_quote_that_cannot_be_made_says_why(state: QuoteState, words: str) -> None:
    with pytest.raises(quote_command.NoQuote, match=words):
        quote_command.finished(Farm(state), QUOTE)


def test_a_farm_that_never_gets_to_it_is_not_waited_for() -> None:
    farm = Farm(QuoteState.PROBING)
    with pytest.raises(quote_command.NoQuote, match="online"):
        quote_command.finished(farm, QUOTE, patience=-1.0)
    assert farm.cancelled == ["q1"]


def test_ctrl_c_ends_the_probes() -> None:
    farm = Farm(QuoteState.PROBING, KeyboardInterrupt())
    with pytest.raises(Interrupted):
        quote_command.finished(farm, QUOTE)
    assert farm.cancelled == ["q1"]


def test_the_options_are_those_of_render_and_a_price() -> None:
    chosen = parse(["quote", "a.blend", "--frames", "1-4", "--samples", "8", "--price", "0.02", "--json"], {})
    assert (chosen.command, chosen.frames, chosen.samples, chosen.price) == ("quote", "1-4", 8, "0.02")
    with pytest.raises(UsageError):
        parse(["quote"], {})
