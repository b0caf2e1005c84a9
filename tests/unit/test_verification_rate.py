# SPDX-License-Identifier: GPL-3.0-or-later
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verification.audit import detection
from verification.audit.rate import (
    MILLION,
    STAKE,
    Rates,
    Standing,
    audit_rate,
    chance_caught,
    least_stake,
    profit,
)
from verification.audit.sampling import AuditPolicy

RATES = Rates()
POLICY = AuditPolicy()
COUNTS = st.integers(0, 10**6)
SHARES = st.floats(0, 1)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "cheating_pays.py"
    spec = importlib.util.spec_from_file_location("cheating_pays", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["cheating_pays"] = module
    spec.loader.exec_module(module)
    return module


def test_new_nodes_are_always_audited() -> None:
    assert audit_rate(Standing(), Standing(), False, RATES) == MILLION
    assert audit_rate(Standing(passed=500), Standing(), False, RATES) == MILLION
    assert audit_rate(Standing(), Standing(passed=500), False, RATES) == MILLION


@given(node=COUNTS, operator=COUNTS, more=COUNTS)
def test_more_passed_audits_never_raise_the_rate_and_never_pass_the_floor(
    node: int, operator: int, more: int
) -> None:
    before = audit_rate(Standing(node), Standing(operator), False, RATES)
    after = audit_rate(Standing(node + more), Standing(operator + more), False, RATES)
    assert RATES.floor <= after <= before <= MILLION


def test_the_rate_has_halved_after_the_halving() -> None:
    standing = Standing(passed=RATES.halving)
    assert audit_rate(standing, standing, False, RATES) == MILLION // 2


def test_own_nodes_have_a_rate_of_their_own() -> None:
    assert audit_rate(Standing(), Standing(), True, RATES) == RATES.own


@given(p=SHARES, d=SHARES, r=SHARES, q=SHARES, stake=st.floats(0, 1e4), gain=SHARES)
def test_the_least_stake_is_where_profit_ends(
    p: float, d: float, r: float, q: float, stake: float, gain: float
) -> None:
    caught = chance_caught(p, d, r, q)
    assert 0 <= caught <= 1
    least = least_stake(caught, 1.0, gain)
    if caught > 1e-6:
        assert profit(caught, 1.0, least + 1, gain) < 0
        assert profit(caught, 1.0, least, gain) <= 1e-9
    assert profit(caught, 1.0, stake, gain) >= profit(caught, 1.0, stake + 1, gain)


def test_accomplices_only_help_where_audits_are_not_repeated() -> None:
    assert chance_caught(0.5, 0.5, 1.0, 0.0) == 0
    assert chance_caught(0.5, 0.5, 1.0, 1.0) == chance_caught(0.5, 0.5, 0.0, 0.0) == 0.25
    assert least_stake(0.0, 1.0, 0.5) == float("inf")


def test_cheating_does_not_pay_at_the_shipped_figures_were_all_strangers_accomplices() -> None:
    repeat, own_first = POLICY.repeat / MILLION, POLICY.own_first / MILLION
    caught = chance_caught(RATES.floor / MILLION, 0.05, 1.0, repeat, own_first)
    assert profit(caught, 1.0, STAKE, 0.9) < 0
    assert profit(caught, 1.0, STAKE / 2, 0.9) > 0


def test_audits_cost_at_most_a_hundredth_of_the_job() -> None:
    repeated = (1 - POLICY.own_first / MILLION) * POLICY.repeat / MILLION
    assert RATES.floor / MILLION * (1 + repeated) * 0.05 <= 0.01


def test_the_benchmark_sees_that_wrong_figures_pay_and_shipped_ones_do_not(benchmark: ModuleType) -> None:
    shipped = benchmark.judged(benchmark.SHIPPED, 2_000, seed=1)
    wrong = benchmark.judged(benchmark.Rule(0.02, 20, 20, 0.0), 2_000, seed=1)
    assert shipped["paying_cells"] == 0
    assert wrong["paying_cells"] > 20
    assert wrong["cells"][0]["mean"] > 0 > shipped["cells"][0]["mean"]


def test_the_benchmark_plays_the_same_episodes_again(benchmark: ModuleType) -> None:
    assert benchmark.judged(benchmark.SHIPPED, 500, 3) == benchmark.judged(benchmark.SHIPPED, 500, 3)


def test_the_benchmark_writes_its_table(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["--episodes", "450", "--json", str(tmp_path / "found.json")]) == 0
    assert "<- shipped" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "found.json").read_text())) == len(benchmark.RULES)


# --- what a receipt says of its chances ---------------------------------------------------------------


def test_chances_follow_the_formula() -> None:
    assert detection.chance_whole([MILLION], 1.0) == 1.0
    assert detection.chance_whole([500_000, 500_000], 1.0) == 0.75
    assert detection.chance_whole([MILLION] * 10, 0.1) == pytest.approx(1 - 0.9**10)


@given(rates=st.lists(st.integers(0, MILLION), max_size=20))
def test_the_curve_rises_with_the_share_and_stays_a_chance(rates: list[int]) -> None:
    chances = [chance for _, chance in detection.curve(rates)]
    assert chances == sorted(chances)
    assert all(0 <= chance <= MILLION for chance in chances)
