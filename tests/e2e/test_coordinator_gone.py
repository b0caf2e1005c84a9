# SPDX-License-Identifier: GPL-3.0-or-later
"""The farm is gone for ever in the middle of a paid job: operators and client get what is theirs from the
contract alone, by the commands that they type.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gpu_worker.earnings.claims import unpaid
from gpu_worker.earnings.earnings_journal import EarningsJournal
from payments.chain.market import Market
from payments.chain.market_records import AgreementState
from payments.chain.outbox import FileOutbox
from payments.chain.refusals import Refused
from payments.chain.rpc import Chain
from payments.messages.network import load
from payments.wallet import keystore
from payments.wallet.wallet import Wallet
from tests.e2e.conftest import FARM, SAMPLES
from tests.support.local_chain import LocalChain

pytestmark = [pytest.mark.farm, pytest.mark.timeout(600)]

WAIT = 60.0
BUDGET = 5 * 10**18


def begin(state: Path, output: Path) -> "subprocess.Popen[bytes]":
    """`render-farm render --budget`, on a farm of its own, which lives and dies with the command."""
    options = ("--samples", "4", "--resolution-percentage", "10", "--slots", "2", "--tiles", "2x2")
    words = ("render", str(SAMPLES / "orbit.blend"), "--frames", "1-40", *options, "--budget", "5")
    return subprocess.Popen(
        [*FARM, *words, "--output", str(output / "####"), "--state-dir", str(state)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def until_work_is_owed(state: Path, render: "subprocess.Popen[bytes]") -> None:
    """Until the node has a voucher, and receipts for work that is not in it."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert render.poll() is None, render.stderr.read().decode() if render.stderr else ""
        for job in EarningsJournal(state / "node").jobs.values():
            if any(one.vouched and unpaid(job, name) for name, one in job.agreements.items()):
                return
        time.sleep(0.05)
    raise AssertionError("nothing came to be owed")


def kill_all(render: "subprocess.Popen[bytes]") -> None:
    """kill -9 for the command and everything it started, at once."""
    if render.poll() is not None:
        return
    everyone = [*psutil.Process(render.pid).children(recursive=True), psutil.Process(render.pid)]
    for process in everyone:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    render.wait()
    psutil.wait_procs(everyone, timeout=30)


class Operator:
    """The node's owner, who has its folder, a wallet and a chain, and nothing else."""

    def __init__(self, state: Path, chain: LocalChain) -> None:
        self.state = state
        money = state / "chain"
        self.environment = os.environ | {
            "FARM_CHAIN_URL": chain.url,
            "FARM_CHAIN": str(money / "chain.toml"),
            "FARM_WALLET": str(money / "wallets" / "operator.json"),
            "FARM_WALLET_PASSWORD_FILE": str(money / "wallets" / "password"),
        }

    def json(self, *words: str) -> dict[str, Any]:
        """What `gpu-worker ... --json` prints."""
        line = [sys.executable, "-m", "gpu_worker", *words, "--state-dir", str(self.state / "node"), "--json"]
        done = subprocess.run(
            line, env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def client(self, *words: str) -> dict[str, Any]:
        """What `render-farm ... --json` prints to the farm's client, whose wallet lies in the same folder."""
        wallet = {"FARM_WALLET": str(self.state / "chain" / "wallets" / "client.json")}
        done = subprocess.run(
            [*FARM, *words, "--state-dir", str(self.state), "--json"],
            env=self.environment | wallet,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def test_operator_and_client_are_paid_without_the_farm(tmp_path: Path) -> None:
    state = tmp_path / "state"
    render = begin(state, tmp_path / "out")
    try:
        until_work_is_owed(state, render)
    finally:
        kill_all(render)
    chain = LocalChain(state / "chain")
    chain.start()
    try:
        settle_without_the_farm(state, chain)
    finally:
        chain.kill()


def settle_without_the_farm(state: Path, chain: LocalChain) -> None:
    network = load(state / "chain" / "chain.toml")
    rpc = Chain(chain.url, network.chain_id)
    market = Market(rpc, network)
    operator = Operator(state, chain)
    (line,) = operator.json("earnings")["agreements"]
    job, agreement = line["job"], line["agreement"]
    assert line["vouched"] > 0
    assert line["unpaid"] > 0
    assert operator.json("earnings", "--offline")["agreements"][0]["unpaid"] == line["unpaid"]

    before = operator.json("earnings")["balance"]
    redeemed = operator.json("redeem")["redeemed"]
    assert line["paid"] + redeemed == line["vouched"]
    assert operator.json("redeem") == {"redeemed": 0, "agreements": 0, "transactions": []}
    (early,) = operator.json("claim")["claims"]
    assert early["step"] == "early"
    (claimed,) = operator.json("claim", "--now")["claims"]
    assert (claimed["step"], claimed["amount"]) == ("claim", line["unpaid"])
    (waits,) = operator.json("claim")["claims"]
    assert waits["step"] == "wait"
    assert market.agreement(agreement).state is AgreementState.CLAIMED

    chain.rpc("evm_increaseTime", network.windows.claim)
    chain.rpc("evm_mine")
    (settled,) = operator.json("claim")["claims"]
    assert settled["step"] == "settle"
    earned = line["vouched"] + line["unpaid"]
    assert market.agreement(agreement).paid == earned
    assert operator.json("earnings")["balance"] == before + redeemed + line["unpaid"]

    # The client takes what is free at once, and ends the job.
    number = market.agreement(agreement).job
    client = market.job(number).refund_to
    had = market.token_balance(client)
    free = market.available(number)
    taken = operator.client("job", "refund", job, "--offline")
    assert (taken["amount"], taken["reserved"]) == (free, BUDGET - free - earned)
    assert market.token_balance(client) - had == free
    assert taken["until"] == market.job(number).deadline + network.windows.grace

    # Its key may be lost then: anybody sends back what is left, when the time has come.
    key = keystore.load(
        state / "chain" / "wallets" / "bank.json",
        keystore.read_password(state / "chain" / "wallets" / "password"),
    )
    anybody = Wallet(market, key, FileOutbox(state / "anybody"))
    with pytest.raises(Refused, match="too early"):
        anybody.do("too early", market.refund(number), wait=WAIT)
    left = market.job(number).deadline + network.windows.grace - rpc.time()
    chain.rpc("evm_increaseTime", left + 1)
    chain.rpc("evm_mine")
    anybody.do("close", market.close(agreement), wait=WAIT)
    anybody.do("refund", market.refund(number), wait=WAIT)
    assert market.token_balance(client) - had == BUDGET - earned
    assert market.token_balance(network.market) == 0, f"nothing of {job} is stuck"
    staked = market.stake(operator.json("earnings")["operator"])
    chain.rpc("evm_increaseTime", network.windows.unbonding + 1)
    chain.rpc("evm_mine")
    taken = operator.json("unstake")
    assert taken["unstaked"] == staked.free + staked.bound
