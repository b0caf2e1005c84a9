# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes each guard out of the contracts, one at a time, and sees that a test then fails.

    python -m payments.contracts.mutants [NAME ...]

A guard is named with the tests that must notice; `InvariantsTest` are the stateful ones. Works in a copy.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
STATEFUL = "InvariantsTest"
SECONDS = 900
SETTINGS = {
    "CONTRACTS_FROM": "sources",
    "FOUNDRY_DENY": "never",
    "FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "0",
}
"""Deploy what is compiled here instead of the artifacts; unused names are no errors; a failure is enough."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """`changes` are (file in src, text, other text); each text is there exactly once."""

    name: str
    tests: str
    changes: tuple[tuple[str, str, str], ...]


MUTANTS = (
    Mutant(
        "what is taken back is still in the budget",
        STATEFUL,
        (("Jobs.sol", "_jobs[job].budget -= amount;", ""),),
    ),
    Mutant(
        "caps may pass the budget",
        STATEFUL,
        (
            ("Jobs.sol", "return _jobs[job].budget - _jobs[job].committed;", "return type(uint128).max;"),
            ("Jobs.sol", "uint128 left = found.budget - committed;", "uint128 left = type(uint128).max;"),
            ("Jobs.sol", "_jobs[job].budget -= amount;", "unchecked { _jobs[job].budget -= amount; }"),
        ),
    ),
    Mutant(
        "paid may pass the cap",
        STATEFUL,
        (("Agreements.sol", "if (cumulative > cap) revert OverCap(cap, cumulative);", ""),),
    ),
    Mutant(
        "paid may fall",
        STATEFUL,
        (
            (
                "Agreements.sol",
                "if (cumulative <= paid) return 0;",
                "if (cumulative <= paid) { agreement.paid = cumulative; return 0; }",
            ),
        ),
    ),
    Mutant(
        "a claim is added to what was paid since",
        STATEFUL,
        (("Claims.sol", "claim.base + claim.extra,", "agreement.paid + claim.extra,"),),
    ),
    Mutant("a claim settles again", STATEFUL, (("Claims.sol", "agreement.state = State.Open;", ""),)),
    Mutant(
        "an agreement closes while its claim is pending",
        STATEFUL,
        (
            (
                "Agreements.sol",
                "if (agreement.state != State.Open) revert",
                "if (agreement.state != State.Open && agreement.state != State.Claimed) revert",
            ),
        ),
    ),
    Mutant(
        "a closed agreement still pays",
        STATEFUL,
        (
            (
                "Agreements.sol",
                "if (agreement.state == State.Closed) revert WrongState(id, State.Closed);",
                "",
            ),
        ),
    ),
    Mutant(
        "what is left at the close stays reserved",
        STATEFUL,
        (("Agreements.sol", "_jobs[job].committed -= left;", ""),),
    ),
    Mutant(
        "a slash may pass what is behind the agreement",
        STATEFUL,
        (
            ("Disputes.sol", "amount = most < there ? most : there;", "amount = most;"),
            ("StakeVault.sol", "if (amount > backing.amount) revert OverSlash(amount, backing.amount);", ""),
            ("StakeVault.sol", "backing.amount -= amount;", "unchecked { backing.amount -= amount; }"),
        ),
    ),
    Mutant(
        "what is slashed stays in the operator's account",
        STATEFUL,
        (("StakeVault.sol", "backing.amount -= amount;", "if (false) backing.amount -= amount;"),),
    ),
    Mutant(
        "the client may gain by a slash",
        STATEFUL,
        (("Disputes.sol", "_least(price, agreement.paid - compensated[id])", "price"),),
    ),
    Mutant(
        "raised caps lock no stake",
        STATEFUL,
        (
            (
                "Agreements.sol",
                "_vault().back(operator, raise.agreement, _required(job, raise.cap - paid));",
                "",
            ),
        ),
    ),
    Mutant(
        "offers may be over-used",
        STATEFUL,
        (("Agreements.sol", "if (used > limit) revert OverOffer(limit, used);", ""),),
    ),
    Mutant("a bond is paid out twice", STATEFUL, (("Claims.sol", "claim.bond = 0;", ""),)),
    Mutant(
        "a task is struck twice",
        "ClaimsTest",
        (("Claims.sol", "task.amount = 0;", ""), ("Claims.sol", "&& task.amount > 0", "")),
    ),
    Mutant(
        "a task is claimed twice",
        "ClaimsTest",
        (
            (
                "Claims.sol",
                'if (claimed.agreement != 0) revert BadTask(unpaid.attestation.task, "claimed before");',
                "",
            ),
        ),
    ),
    Mutant(
        "claims need no receipt of the farm",
        "ClaimsTest",
        (("Claims.sol", "if (farm != job.farm) revert WrongSigner(job.farm, farm);", ""),),
    ),
    Mutant(
        "anybody rules on claims",
        "ClaimsTest",
        (("Claims.sol", "if (msg.sender != _disputes()) revert NotDisputes(msg.sender);", ""),),
    ),
    Mutant(
        "any key signs vouchers",
        "MarketTest",
        (("Jobs.sol", "if (sessions[job][key] < block.timestamp) revert NoSession(key);", ""),),
    ),
    Mutant(
        "any key takes offers",
        "MarketTest",
        (
            (
                "Jobs.sol",
                "if (sessions[job][key] != type(uint64).max) revert NoSession(key);\n    }\n\n    /// @dev"
                " The key must be appointed, or",
                "}\n\n    /// @dev The key must be appointed, or",
            ),
        ),
    ),
    Mutant(
        "offers are good for any farm",
        "MarketTest",
        (("Agreements.sol", 'if (offer.farm != job.farm) revert OfferUnfit("farm");', ""),),
    ),
    Mutant(
        "one arbiter counts twice",
        "DisputesTest",
        (
            (
                "Disputes.sol",
                "if (next == bench.arbiters.length) revert NotTheBench();\n            next++;",
                "if (next == bench.arbiters.length) revert NotTheBench();",
            ),
        ),
    ),
    Mutant(
        "the same pixels are an equivocation",
        "DisputesTest",
        (
            (
                "Disputes.sol",
                'if (one.pixelRoot == other.pixelRoot) revert NoEquivocation("the same pixels");',
                "",
            ),
        ),
    ),
    Mutant(
        "stake is free before its unbonding is over",
        "DisputesTest",
        (("StakeVault.sol", "backing.releaseAt <= block.timestamp && ", ""),),
    ),
    Mutant(
        "an open case does not hold stake",
        "DisputesTest",
        (("StakeVault.sol", " && backing.cases == 0", ""),),
    ),
    Mutant(
        "tokens may take a fee",
        "TokensTest",
        (("PlainToken.sol", "if (arrived != amount) revert NotPlain(amount, arrived);", ""),),
    ),
    Mutant(
        "refunds may be entered twice",
        "TokensTest",
        (
            (
                "Jobs.sol",
                "function refund(uint64 job) external nonReentrant",
                "function refund(uint64 job) external",
            ),
        ),
    ),
)


def survivors(names: list[str]) -> list[str]:
    """The mutants that no test noticed; prints each as it goes. No names: all of them."""
    found = []
    for mutant in MUTANTS:
        if not names or mutant.name in names:
            noticed = _is_noticed(mutant)
            print(f"{'noticed' if noticed else 'SURVIVED'}: {mutant.name}", flush=True)
            found += [] if noticed else [mutant.name]
    return found


def _is_noticed(mutant: Mutant) -> bool:
    """Raises RuntimeError where the guard is not found, or the mutant does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "contracts"
        shutil.copytree(HERE, copy, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        (copy / "node_modules").symlink_to(HERE / "node_modules")
        for name, text, other in mutant.changes:
            _change(copy / "src" / name, text, other)
        done = _forge(copy, mutant.tests)
    if "Encountered" not in done.stdout and done.returncode != 0:
        raise RuntimeError(f"{mutant.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode != 0


def _change(path: Path, text: str, other: str) -> None:
    content = path.read_text()
    if content.count(text) != 1:
        raise RuntimeError(f"{path.name} has this {content.count(text)} times: {text}")
    path.write_text(content.replace(text, other))


def _forge(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    path = f"test/{tests.removesuffix('Test')}.t.sol"
    command = [str(folder / "tools" / "forge.mjs"), "test", "--match-path", path]
    environment = {**os.environ, **SETTINGS}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )


if __name__ == "__main__":
    sys.exit(1 if survivors(sys.argv[1:]) else 0)
