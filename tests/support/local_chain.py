# SPDX-License-Identifier: GPL-3.0-or-later
"""A local chain as a process, for tests, and a bare JSON-RPC caller that believes nothing."""

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from payments.local_chain import process as embedded_chain
from payments.wallet.keystore import Key, new_key

ETHER = 10**18


class RpcFailure(Exception):
    """The chain answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]
        self.data = error.get("data")


@dataclass
class LocalChain:
    """The process on `folder`; it can be killed and started again: on another port, where none is given."""

    folder: Path
    controls: bool = True
    chain_id: int = embedded_chain.CHAIN_ID
    port: int = 0
    url: str = ""
    child: "subprocess.Popen[str] | None" = None
    keys: list[Key] = field(default_factory=list)

    def start(self) -> None:
        line = embedded_chain.command(
            self.folder, port=self.port, chain_id=self.chain_id, controls=self.controls
        )
        self.child = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = self.child.stdout.readline()
        if not said:
            raise RuntimeError(self.child.stderr.read())
        self.url = json.loads(said)["url"]

    def kill(self) -> None:
        self.child.kill()
        self.child.communicate()

    def rpc(self, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
        status, answer = self.post(body)
        assert status == 200
        assert answer["id"] == 7
        if "error" in answer:
            raise RpcFailure(answer["error"])
        return answer["result"]

    def post(self, body: str | bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        link = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        with contextlib.closing(link):
            link.request("POST", "/", body, {"Content-Type": "application/json", **headers})
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

    def number(self, method: str, *params: Any) -> int:
        return int(self.rpc(method, *params), 16)

    def rich_key(self, ether: int = 10) -> Key:
        """A new wallet with money in it."""
        key = new_key()
        self.rpc("farm_fund", key.address, hex(ether * ETHER))
        return key

    def transfer(self, key: Key, nonce: int, to: str = "0x" + "22" * 20, value: int = 1, **more: Any) -> str:
        """A signed transfer, not sent."""
        fields = {
            "chainId": self.chain_id,
            "nonce": nonce,
            "to": to,
            "value": value,
            "gas": 100_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 10**9,
            "data": "0x",
            **more,
        }
        return "0x" + key.sign_transaction(fields).hex()

    def catch_up(self) -> None:
        """Wait until what was sent is mined: here it is before the answer."""

    def blocks(self) -> list[str]:
        """All blocks' hashes."""
        last = self.number("eth_blockNumber")
        return [self.rpc("eth_getBlockByNumber", hex(n), False)["hash"] for n in range(last + 1)]


@contextlib.contextmanager
def local_chain(folder: Path, **settings: Any) -> Iterator[LocalChain]:
    """A chain that is ended with -9."""
    running = LocalChain(folder, **settings)
    running.start()
    try:
        yield running
    finally:
        running.kill()
