# SPDX-License-Identifier: GPL-3.0-or-later
"""The settler as a process: what it refuses to start with, and the embedded farm's money, killed anywhere."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from farm_protocol.errors import FarmError
from payments import keystore, network
from payments.chain import Chain
from payments.market import Market
from render_farm.settle import start
from render_farm.settlement import embedded
from render_farm.settlement.config import read
from tests.local_chain import local_chain

KEY = {"FARM_SIGNING_KEY": "07" * 32, "FARM_CHAIN_URL": "http://127.0.0.1:9/secret"}


@pytest.mark.parametrize(
    ("words", "environment", "sentence"),
    [
        ([], KEY, "needs --chain"),
        (["--chain", "x"], {**KEY, "FARM_CHAIN_URL": ""}, "needs FARM_CHAIN_URL"),
        (["--chain", "x"], {**KEY, "FARM_SIGNING_KEY": "07" * 31}, "64 hexadecimal digits"),
        (["--chain", "nowhere/chain.toml"], KEY, "nowhere/chain.toml"),
    ],
)
def test_it_says_what_it_cannot_start_with(words, environment, sentence) -> None:
    with pytest.raises(FarmError) as refused:
        start(read(words, environment))
    assert sentence in refused.value.sentence
    assert "secret" not in refused.value.sentence
    assert "0707" not in refused.value.sentence


def test_neither_key_nor_url_is_in_what_the_settings_show() -> None:
    shown = repr(read(["--chain", "x"], KEY))
    assert "secret" not in shown
    assert "7\\x07" not in shown


class Killed(BaseException):
    pass


@dataclass
class Steps:
    """Ends the setup after so many steps."""

    left: int

    def after(self, work):
        def stepped(*given, **named):
            if self.left == 0:
                raise Killed
            self.left -= 1
            return work(*given, **named)

        return stepped


def test_play_money_is_made_once_however_often_it_is_killed(tmp_path, monkeypatch) -> None:
    """Killed before each file that is put in its place, each transaction and each saved intent in turn."""
    folder = tmp_path / "chain"
    folder.mkdir()
    with local_chain(folder, controls=False) as local:
        deaths, done = 0, False
        while not done:
            with monkeypatch.context() as patched:
                steps = Steps(deaths % 7)
                patched.setattr(embedded, "_keep", steps.after(embedded._keep))
                patched.setattr(Chain, "send", steps.after(Chain.send))
                patched.setattr(Chain, "fund", steps.after(Chain.fund))
                patched.setattr(embedded.FileOutbox, "save", steps.after(embedded.FileOutbox.save))
                try:
                    made = embedded.prepare(folder, local.url)
                    done = True
                except Killed:
                    deaths += 1
        assert deaths >= 6
        market = Market(Chain(local.url, local.chain_id), made)
        password = keystore.read_password(folder / "wallets" / "password")
        names = {one: keystore.load(folder / "wallets" / f"{one}.json", password) for one in embedded.WALLETS}
        assert market.token_balance(names["client"].address) == embedded.CLIENT_TOKENS
        assert market.stake(names["operator"].address).free == embedded.OPERATOR_STAKE
        for path in (folder / "wallets").glob("*.json"):
            assert path.stat().st_mode & 0o77 == 0
        blocks = local.number("eth_blockNumber")
        assert embedded.prepare(folder, local.url) == made == network.load(folder / "chain.toml")
        assert local.number("eth_blockNumber") == blocks, "nothing is made again"


def test_the_process_says_that_it_settles_and_ends_when_told(tmp_path, valkey_server) -> None:
    folder = tmp_path / "chain"
    folder.mkdir()
    with local_chain(folder, controls=False) as local:
        words = ["--redis-url", valkey_server.url, "--embedded", str(folder)]
        environment = {**os.environ, **KEY, "FARM_CHAIN_URL": local.url}
        with subprocess.Popen(
            [sys.executable, "-m", "render_farm.settle", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            said = json.loads(running.stdout.readline())
            assert said == {"settling": network.load(folder / "chain.toml").market}
            running.terminate()
            assert running.wait(20) == 0
