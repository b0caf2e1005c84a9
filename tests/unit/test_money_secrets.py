# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to do with keys stays where it belongs."""

from pathlib import Path

import pytest

from farm_protocol.errors import FarmError, InvalidInput
from payments.chain.rpc import Chain
from payments.wallet.keystore import Key
from payments.wallet.wallets import open_signer
from render_farm.settlement.config import Config, read
from tests.support.understood import environment_of

ADDRESS = Key(b"\7" * 32).address
KNOWN = {
    "FARM_CHAIN_URL": "http://chain/hidden",
    "FARM_SIGNER_URL": "http://signer/hidden",
    "FARM_SIGNING_KEY": "01" * 32,
    "FARM_CHAIN": "/farm/chain.toml",
}


def settling(*words: str) -> Config:
    with environment_of(KNOWN):
        return read(words)


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


@pytest.mark.parametrize("url", ["http://[x", "ftp://chain.example/secret", "chain.example/secret", ""])
def test_a_chain_that_has_no_address_is_refused_without_showing_what_was_given(url: str) -> None:
    with pytest.raises(InvalidInput, match="FARM_CHAIN_URL") as caught:
        Chain(url, 1)
    assert "secret" not in str(caught.value)
