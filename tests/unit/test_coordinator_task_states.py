# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of task states: what is drawn of it, and what the scripts do with it."""

from pathlib import Path

from farm_protocol.records import FINAL_JOB_STATES, JobState, TaskState
from render_farm.store.states import BEGINNINGS, TRANSITIONS, UNFINISHED, USES_UNITS, as_lua, drawing

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_page_draws_the_table():
    assert f"```mermaid\n{drawing()}\n```" in PAGE.read_text(), "draw docs/states.md anew from the table"


def test_every_state_is_in_the_table_and_can_be_reached():
    assert set(TRANSITIONS) == set(TaskState)
    reached = set(BEGINNINGS).union(*TRANSITIONS.values())
    assert reached == set(TaskState)


def test_what_is_unfinished_can_be_given_up_and_what_failed_stays_so():
    assert all(TaskState.CANCELLED in TRANSITIONS[state] for state in UNFINISHED)
    assert not TRANSITIONS[TaskState.FAILED]
    assert not TRANSITIONS[TaskState.CANCELLED]
    assert {TaskState.ACCEPTED} == USES_UNITS - UNFINISHED


def test_the_scripts_read_the_same_table():
    text = as_lua()
    assert "\n" not in text, "a script's line numbers stay what they are"
    for state, after in TRANSITIONS.items():
        inner = ", ".join(f"{one} = true" for one in sorted(after))
        assert f"{state} = {{ {inner} }}" in text
    assert {
        state for state in JobState if f"{state} = true" in text.partition("ENDED = ")[2]
    } == FINAL_JOB_STATES
