# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to do with keys stays where it belongs."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol.errors import FarmError, InvalidInput
from payments.chain import Chain
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


BROKEN = b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
ASKS = """
import logging, sys
logging.basicConfig(level=getattr(logging, sys.argv[2]))
from farm_protocol.errors import FarmError
from payments.chain import Chain
from payments.signer import RemoteSigner
names = ("chainId", "nonce", "value", "gas", "maxFeePerGas", "maxPriorityFeePerGas")
for ask in (
    lambda: RemoteSigner(sys.argv[1], "0x" + "ab" * 20).sign_transaction(dict.fromkeys(names, 1)),
    lambda: Chain(sys.argv[1], 1),
):
    try:
        ask()
    except FarmError as error:
        print(error.sentence)
"""


@pytest.fixture
def broken() -> Iterator[str]:
    """A server whose two answers have headers that are none: urllib3 warns of them with the whole URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            for _ in range(2):
                connection, _address = listening.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(BROKEN)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hidden"
        thread.join(10)


@pytest.mark.parametrize("level", ["WARNING", "DEBUG"])
def test_libraries_write_no_secret_url_into_a_log(broken: str, level: str) -> None:
    words = [sys.executable, "-c", ASKS, broken, level]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "signer" in done.stdout
    assert "chain" in done.stdout
    assert "hidden" not in done.stdout + done.stderr


@pytest.mark.parametrize("url", ["http://[x", "ftp://chain.example/secret", "chain.example/secret", ""])
def test_a_chain_that_has_no_address_is_refused_without_showing_what_was_given(url: str) -> None:
    with pytest.raises(InvalidInput, match="FARM_CHAIN_URL") as caught:
        Chain(url, 1)
    assert "secret" not in str(caught.value)
