# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to do with keys stays where it belongs."""

import subprocess
import sys
from pathlib import Path

import pytest

from frame_splitter.errors import FarmError, InvalidInput
from payments.keystore import Key
from payments.wallets import open_signer
from render_farm.settlement.config import Config, read

ADDRESS = Key(b"\7" * 32).address
KNOWN = {
    "FARM_CHAIN_URL": "http://chain/hidden",
    "FARM_SIGNER_URL": "http://signer/hidden",
    "FARM_SIGNING_KEY": "01" * 32,
    "FARM_CHAIN": "/farm/chain.toml",
}


def settling(*words: str) -> Config:
    return read(words, KNOWN)


def test_the_settlers_wallet_may_be_an_address_with_one_outbox_beside_the_network() -> None:
    chosen, plain = settling("--wallet", ADDRESS), settling("--wallet", ADDRESS.lower())
    assert chosen.outbox == plain.outbox == Path(f"/farm/{ADDRESS.lower()}.settler.outbox")
    assert chosen.signer_url == "http://signer/hidden"
    assert "hidden" not in repr(chosen)
    assert "01" * 32 not in repr(chosen)


def test_a_signers_wallet_is_opened_without_a_password() -> None:
    def password() -> str:
        raise AssertionError("asked for a password")

    signer = open_signer(Path(ADDRESS.lower()), password, "http://signer/hidden")
    assert signer.address == ADDRESS
    assert "hidden" not in repr(signer)
    with pytest.raises(InvalidInput, match="FARM_SIGNER_URL"):
        open_signer(Path(ADDRESS), password, "")


def test_a_keystore_is_asked_for_its_password_whatever_signer_there_is(tmp_path: Path) -> None:
    with pytest.raises(FarmError, match="cannot be read"):
        open_signer(tmp_path / "none.json", lambda: "x", "http://signer/hidden")


def test_the_coordinator_keeps_pythons_recursion_limit_and_loads_no_web3() -> None:
    program = "import sys, render_farm.serve; print(sys.getrecursionlimit(), 'web3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1000", "False"], done.stderr
