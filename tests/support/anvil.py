# SPDX-License-Identifier: GPL-3.0-or-later
"""anvil as a process: another EVM than the farm's own local chain, with other words and other fees."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from payments.wallet.keystore import Key, new_key
from tests.support.local_chain import ETHER, LocalChain, RpcFailure

MODULES = Path(__file__).parents[2] / "payments" / "contracts" / "node_modules" / "@foundry-rs"
SECONDS = 60.0


def program() -> Path | None:
    """Where anvil is: beside forge, as `make contracts-test` installs both, or on the path."""
    beside = MODULES / "anvil-linux-amd64" / "bin" / "anvil"
    found = str(beside) if beside.exists() else shutil.which("anvil")
    return Path(found) if found else None


without_anvil = pytest.mark.skipif(
    program() is None, reason="anvil is not there: `make contracts-test` installs it"
)


class Anvil(LocalChain):
    """anvil behind the same calls as the farm's own local chain; it keeps nothing on the disk."""

    mining = True

    def start(self, *more: str) -> None:
        port = _free_port()
        line = [str(program()), "--port", str(port), "--chain-id", str(self.chain_id), "--silent", *more]
        # It may write to its folder under HOME, and to nobody else's.
        where = {"HOME": str(self.folder)}
        self.child = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=where)
        self.url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + SECONDS
        while not self._answers():
            if self.child.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"anvil did not start: {self.child.stderr.read()}")
            time.sleep(0.02)

    def rpc(self, method: str, *params: Any) -> Any:
        if method == "evm_setAutomine":
            self.mining = params[0]
        answer = super().rpc(method, *params)
        if method == "evm_setAutomine" and self.mining:
            # What waited is mined with the next transaction only.
            super().rpc("evm_mine")
        return answer

    def catch_up(self) -> None:
        """A transaction's hash is answered before it is mined."""
        until = time.monotonic() + SECONDS
        while self.mining and self.rpc("txpool_status")["pending"] != "0x0":
            if time.monotonic() > until:
                raise RuntimeError("anvil does not mine what it was sent")

    def rich_key(self, ether: int = 10) -> Key:
        key = new_key()
        self.rpc("anvil_setBalance", key.address, hex(ether * ETHER))
        return key

    def _answers(self) -> bool:
        try:
            return bool(self.number("eth_chainId") == self.chain_id)
        except (OSError, RpcFailure):
            return False


@contextlib.contextmanager
def anvil(folder: Path, *more: str, **settings: Any) -> Iterator[Anvil]:
    """anvil with `more` options, ended with -9."""
    running = Anvil(folder, **settings)
    try:
        running.start(*more)
        yield running
    finally:
        running.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
