# SPDX-License-Identifier: GPL-3.0-or-later
"""The states of tasks and jobs, and every way a task may go: the one table of them.

The scripts get it as Lua (`as_lua`): their `move` takes a task no other way. docs/states.md draws it.
"""

from collections.abc import Iterable, Mapping

from farm_protocol.records import FINAL_JOB_STATES, TaskState

WAITING, READY, LEASED, SUBMITTED = TaskState.WAITING, TaskState.READY, TaskState.LEASED, TaskState.SUBMITTED
AUDITING, ACCEPTED, FAILED, CANCELLED = (
    TaskState.AUDITING,
    TaskState.ACCEPTED,
    TaskState.FAILED,
    TaskState.CANCELLED,
)

BEGINNINGS = {
    READY: "a tile, a whole frame, an audit, a check or a probe",
    WAITING: "a finish task, until its tiles are accepted",
}
"""How a task begins."""

GIVEN_UP = "nobody needs it any more"
TRANSITIONS: Mapping[TaskState, Mapping[TaskState, str]] = {
    WAITING: {READY: "the frame's tiles are accepted", CANCELLED: GIVEN_UP},
    READY: {
        LEASED: "a node takes it",
        WAITING: "a tile of its frame is rendered again",
        CANCELLED: GIVEN_UP,
    },
    LEASED: {
        READY: "the lease ended, or the node gave it back",
        WAITING: "a tile of its frame is rendered again",
        SUBMITTED: "a tile is handed in, and waits for its beacon round",
        ACCEPTED: "handed in, and nothing is drawn for it",
        FAILED: "too many faults of the scene's own",
        CANCELLED: GIVEN_UP,
    },
    SUBMITTED: {
        AUDITING: "its round, or a check, asks for an audit",
        ACCEPTED: "its round asks for none, and a check found no fault",
        READY: "rejected or unresolved: it is rendered again",
        CANCELLED: GIVEN_UP,
    },
    AUDITING: {
        ACCEPTED: "the audits agree",
        READY: "rejected or unresolved: it is rendered again",
        CANCELLED: GIVEN_UP,
    },
    ACCEPTED: {
        READY: "its picture is unusable or lost, or its node proved dishonest",
        CANCELLED: "found false when its frame is rendered whole",
    },
    FAILED: {},
    CANCELLED: {},
}
"""From each state to those that may follow, and when."""

UNFINISHED = frozenset({WAITING, READY, LEASED, SUBMITTED, AUDITING})
"""States of tasks that a job still waits for."""

USES_UNITS = frozenset({LEASED, SUBMITTED, AUDITING, ACCEPTED})
"""States in which a task of a paid job uses up units of the agreement it is done under."""


TILE_LANES = frozenset({"render", "kept"})
"""Lanes whose tasks' results a round decides about. Nothing is compared with what own nodes write whole."""


def as_lua() -> str:
    """The table as the scripts see it, on one line."""
    moves = ", ".join(f"{state} = {_set(after)}" for state, after in TRANSITIONS.items())
    sets = {
        "UNFINISHED": UNFINISHED,
        "USES_UNITS": USES_UNITS,
        "TILE_LANES": TILE_LANES,
        "ENDED": FINAL_JOB_STATES,
    }
    rest = " ".join(f"local {name} = {_set(some)}" for name, some in sets.items())
    return f"local TRANSITIONS = {{ {moves} }} {rest}"


def _set(states: Iterable[str]) -> str:
    return "{ " + ", ".join(f"{state} = true" for state in sorted(states)) + " }"


def drawing() -> str:
    """The table as Mermaid draws it."""
    begins = [f"    [*] --> {state}: {why}" for state, why in BEGINNINGS.items()]
    moves = [
        f"    {state} --> {follows}: {why.replace(':', ',')}"
        for state, after in TRANSITIONS.items()
        for follows, why in after.items()
    ]
    ends = [f"    {state} --> [*]" for state in TaskState if state not in UNFINISHED]
    return "\n".join(["stateDiagram-v2", *begins, *moves, *ends])
