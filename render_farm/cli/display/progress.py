# SPDX-License-Identifier: GPL-3.0-or-later
"""How a running job is shown: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from render_farm.cli.display.console import printable
from render_farm.cli.verdicts import Audits
from render_farm.job_events import ProgressEvent, TaskEvent

if TYPE_CHECKING:
    from rich.console import RenderableType

REDRAWS_A_SECOND = 4
MOST_SLOTS = 16
EXTRA_KINDS = ("audit", "check")
"""Kinds of tasks that are no part of the job's work: nobody knows beforehand how many there will be."""
RENDERED_STATES = ("submitted", "auditing", "accepted")
DOING = {"audit": "auditing ", "check": "checking ", "finish": "finishing "}


@dataclass
class Status:
    """What is known of the job's way: tasks rendered, samples of those under way, who does what.

    A tile counts from its submission; one that is rejected counts no more. Events are told again from
    the start when a job is taken up, so tasks are kept by name.
    """

    total: int
    frames_total: int
    frames_done: int = 0
    began: float = field(default_factory=time.monotonic)
    at_start: float = 0.0
    rendered: set[str] = field(default_factory=set)
    running: dict[str, ProgressEvent] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    slots: dict[tuple[str, str], str] = field(default_factory=dict)
    audits: Audits = field(default_factory=Audits)
    state: str = ""
    money: str = ""
    notices: set[str] = field(default_factory=set)
    """Said once each, however often they are told."""

    def task(self, event: TaskEvent) -> None:
        """A task was leased, submitted, ended or went back."""
        if event.state == "leased":
            self.kinds[event.task] = event.kind
            self.progress(ProgressEvent(event.task, event.frame, 0, 0, event.node, event.slot))
            return
        last = self.running.pop(event.task, None)
        if last is not None:
            self.slots[_place(last)] = ""
        if event.state in RENDERED_STATES and event.kind not in EXTRA_KINDS:
            self.rendered.add(event.task)
        else:
            self.rendered.discard(event.task)

    def progress(self, event: ProgressEvent) -> None:
        """Samples of a task."""
        self.running[event.task] = event
        self.slots[_place(event)] = event.task

    def activity(self) -> list[tuple[str, str]]:
        """What each slot does, by its name; nodes are named where there are several."""
        # Copied at once: the display's thread asks while events come in.
        slots, running = dict(self.slots), dict(self.running)
        several = len({node for node, _ in slots}) > 1
        rows = []
        for (node, slot), task in sorted(slots.items()):
            event = running.get(task)
            doing = _doing(event, self.kinds.get(task, "")) if event else "-"
            rows.append((f"{node[:8]}/{slot}" if several else slot, doing))
        return rows

    @property
    def fraction(self) -> float:
        """Of the work, 0 to 1. Finish tasks count like renders, which errs early and mends itself."""
        running = list(self.running.values())
        work = [one for one in running if one.total and self.kinds.get(one.task) not in EXTRA_KINDS]
        partly = sum(one.done / one.total for one in work)
        return min(1.0, (len(self.rendered) + partly) / max(1, self.total))

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the pace so far; None before there is one."""
        gained = self.fraction - self.at_start
        if gained <= 0:
            return None
        return (time.monotonic() - self.began) * (1 - self.fraction) / gained


def _place(event: ProgressEvent) -> tuple[str, str]:
    return event.node or "", event.slot or ""


def _doing(event: ProgressEvent, kind: str) -> str:
    samples = f", {event.done} of {event.total} samples" if event.total else ""
    return f"{DOING.get(kind, '')}frame {event.frame}{samples}"


class Display(Protocol):
    """Shows a Status as it changes."""

    def changed(self) -> None:
        """Something in the status changed."""

    def line(self, text: str) -> None:
        """Say a sentence that stays."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class PlainDisplay:
    """Lines only: for logs, pipes and CI."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.line = say

    def changed(self) -> None:
        """Nothing: only sentences are shown."""

    def close(self) -> None:
        """Nothing to leave behind."""


class LiveDisplay:
    """Bar, samples, time left and a line for each slot, redrawn in place."""

    def __init__(self, status: Status) -> None:
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs rich
        from rich.live import Live  # noqa: PLC0415

        self._status = status
        self._console = Console(stderr=True)
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=REDRAWS_A_SECOND,
            transient=True,
        )
        self._live.start()

    def changed(self) -> None:
        """The next redraw shows it."""

    def line(self, text: str) -> None:
        """Print above the bar."""
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        self._live.stop()

    def _draw(self) -> "RenderableType":
        from rich.console import Group  # noqa: PLC0415
        from rich.progress_bar import ProgressBar  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415 - names of nodes are no markup

        status = self._status
        left = status.seconds_left
        head, slots = Table.grid(padding=(0, 1)), Table.grid(padding=(0, 2))
        head.add_row(
            f"{status.frames_done}/{status.frames_total} frames",
            ProgressBar(total=1.0, completed=status.fraction, width=40),
            f"{status.fraction:4.0%}",
            f"{_clock(left)} left" if left is not None else status.state,
        )
        for name, doing in status.activity()[:MOST_SLOTS]:
            slots.add_row("", Text(printable(name)), doing)
        asides = (str(status.audits) if status.audits else "", printable(status.money))
        return Group(head, *(Text(f"  {aside}") for aside in asides if aside), slots)


def display(status: Status, say: Callable[[str], None]) -> Display:
    """The display that suits stderr."""
    return LiveDisplay(status) if sys.stderr.isatty() else PlainDisplay(say)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
