# SPDX-License-Identifier: GPL-3.0-or-later
"""What paying for frames costs in gas, on a real EVM.

    python benchmarks/gas.py [--chain local|anvil|URL] [--frames 100 1000 10000] [--operators 10] [--json]

A job is carried out from the deposit to the refund, with the caps and raises that the farm's own policy signs
for so many equal frames (benchmarks/gas_policy.py), and every transaction's gas is counted, whoever sent it:
approve, open job, open agreements, raises, redemptions, releases, taking back. `local` is the farm's own
chain (py-evm), `anvil` the one that `make contracts-test` installs; a URL must lead to a chain with the
faucet of either. Vouchers are as dear for one frame as for a million, so nothing is extrapolated but the
push payment: one token transfer for each frame, the mean of a sample times the frames.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.gas_job import Ground, without_redeeming
from benchmarks.gas_policy import Plan, plan
from tests.support.anvil import Anvil, anvil
from tests.support.local_chain import LocalChain, local_chain
from tests.support.money_stage import Stage

SAMPLE = 20
"""Transfers that are measured for the push payment."""


@contextmanager
def chain(which: str, folder: Path) -> Iterator[LocalChain]:
    """A chain of the run's own, or the one behind a URL."""
    with ExitStack() as stack:
        if which == "local":
            yield stack.enter_context(local_chain(folder))
        elif which == "anvil":
            yield stack.enter_context(anvil(folder))
        else:
            yield _running(which, folder)


def measure(ground: Ground, frames: int) -> dict[str, Any]:
    """All figures of a job with so many frames."""
    made = plan(frames, len(ground.operators))
    push = ground.push_payment(SAMPLE) * frames
    return {
        "frames": frames,
        "first caps": list(made.first),
        "raises": made.count,
        "all in": _side(ground, made, True, frames),
        "all in, releases with the last vouchers": _side(ground, made, True, frames, prompt=True),
        "all in, where stake is short": _side(ground, made, True, frames, redeeming=True),
        "all in, a transaction a call": _side(ground, made, False, frames),
        "redeem only": ground.redeem_only(made, True) / frames,
        "redeem only, a transaction a voucher": ground.redeem_only(made, False) / frames,
        "push": push / frames,
    }


def _side(
    ground: Ground, made: Plan, together: bool, frames: int, redeeming: bool = False, prompt: bool = False
) -> dict[str, Any]:
    used = ground.run_job(made if redeeming else without_redeeming(made), together, prompt)
    return {"a frame": used.total() / frames, "calls": dict(used)}


def table(found: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table."""
    sides = [name for name in found[0] if name.startswith("all in")]
    rows = {name: [one[name]["a frame"] for one in found] for name in sides}
    rows |= {name: [one[name] for one in found] for name in found[0] if name.startswith("redeem only")}
    rows["a transfer a frame"] = [one["push"] for one in found]
    lines = ["| gas per accepted frame | " + " | ".join(f"{one['frames']:,} frames" for one in found) + " |"]
    lines.append("|---|" + "---|" * len(found))
    lines += [
        f"| {name} | " + " | ".join(f"{row:,.1f}" for row in figures) + " |" for name, figures in rows.items()
    ]
    lines.append("| raises in all | " + " | ".join(str(one["raises"]) for one in found) + " |")
    return "\n".join(lines)


def calls(found: dict[str, Any]) -> str:
    """What a job's calls used, as lines."""
    return "\n".join(f"  {name:24} {gas:>10,}" for name, gas in found["all in"]["calls"].items())


def main() -> None:
    """The command."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as folder, chain(asked.chain, Path(folder)) as running:
        name = running.rpc("web3_clientVersion")
        ground = Ground(Stage(running, Path(folder)), asked.operators)
        first = _side(ground, plan(asked.frames[-1], asked.operators), True, asked.frames[-1])
        found = [measure(ground, frames) for frames in asked.frames]
    if asked.json:
        print(
            json.dumps(
                {"evm": name, "operators": asked.operators, "first job": first, "jobs": found}, indent=1
            )
        )
        return
    print(f"{name}, {asked.operators} operators\n\n{table(found)}\n")
    print(f"The calls at {asked.frames[-1]:,} frames, and the gas of their transactions:\n{calls(found[-1])}")
    print(f"The same as everybody's first job ever: {first['a frame']:,.1f} a frame.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chain", default="local")
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--operators", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _running(url: str, folder: Path) -> LocalChain:
    found = LocalChain(folder, url=url)
    found.chain_id = found.number("eth_chainId")
    if "anvil" in found.rpc("web3_clientVersion").lower():
        return Anvil(folder, chain_id=found.chain_id, url=url)
    return found


if __name__ == "__main__":
    main()
