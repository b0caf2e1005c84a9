# SPDX-License-Identifier: GPL-3.0-or-later
"""A wallet whose key is elsewhere: a URL that speaks `eth_signTransaction` (web3signer, clef).

It is asked for signatures and believed nothing else: what it returns must be the transaction that was asked
for, signed by the wallet that was named.
"""

from typing import Any
from urllib.parse import urlsplit

import urllib3
from eth_utils.address import is_checksum_address, to_checksum_address

from farm_protocol.errors import Forbidden, InvalidInput, Unavailable
from payments.chain.secret_urls import keep_out_of_logs
from payments.json_input import read_json
from payments.wallet.keystore import read_transaction

MOST_BYTES = 1 << 20
TIMEOUT_SECONDS = 10.0
_QUANTITIES = ("chainId", "nonce", "value", "gas", "maxFeePerGas", "maxPriorityFeePerGas")


class BadSigner(Forbidden):
    """The signer refuses, or signed something else than it was asked to."""

    code = "bad_signer"


class RemoteSigner:
    """The wallet `address` at a signer's URL. Raises InvalidInput for a wrong address or URL."""

    def __init__(self, url: str, address: str, timeout: float = TIMEOUT_SECONDS) -> None:
        # Letters of both kinds are a checksum, as everywhere.
        if address[2:] not in (address[2:].lower(), address[2:].upper()) and not is_checksum_address(address):
            raise InvalidInput(f"{address[:60]} is no address: there is a slip in it.")
        self._url, self._host = url, _host(url)
        keep_out_of_logs()
        self._address = str(to_checksum_address(address))
        self._pool = urllib3.PoolManager(
            timeout=timeout, retries=False, headers={"Accept": "application/json"}
        )

    @property
    def address(self) -> str:
        """The wallet."""
        return self._address

    def sign_transaction(self, fields: dict[str, Any]) -> bytes:
        """A transaction's fields as the bytes that are sent. Raises Unavailable, BadSigner."""
        raw = _raw(self._ask(fields))
        try:
            sender, signed = read_transaction(raw)
        except ValueError as error:
            raise BadSigner("The signer's answer is no signed transaction.") from error
        if sender.lower() != self._address.lower():
            raise BadSigner(f"The signer signed as {sender}, and not as {self._address}.")
        for name, value in fields.items():
            if _plain(signed.get(name)) != _plain(value):
                raise BadSigner(f"The signer signed another {name} than it was asked to.")
        if signed.get("accessList"):
            raise BadSigner("The signer added an access list.")
        return raw

    def __repr__(self) -> str:
        return f"RemoteSigner({self._address} at {self._host})"

    def _ask(self, fields: dict[str, Any]) -> Any:
        asked = {**fields, "from": self._address, **{name: hex(fields[name]) for name in _QUANTITIES}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_signTransaction", "params": [asked]}
        try:
            answer = self._pool.request("POST", self._url, json=body, preload_content=False, redirect=False)
            with answer:
                data = answer.read(MOST_BYTES + 1)
        # The words of urllib3 contain the URL, which may contain a secret.
        except urllib3.exceptions.HTTPError as error:
            reason = type(error).__name__
            raise Unavailable(f"The signer at {self._host} does not answer ({reason}).") from None
        return _result(answer.status, data)


def _host(url: str) -> str:
    """All of a signer's URL that may be shown: the rest may be a secret."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
    except ValueError:
        host = None
    if not host:
        raise InvalidInput("FARM_SIGNER_URL is no URL of a signer: it must begin with http:// or https://.")
    return host


def _result(status: int, data: bytes) -> Any:
    try:
        said = read_json(data) if status == 200 and len(data) <= MOST_BYTES else None
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise Unavailable(f"The signer answers nonsense (HTTP {status}).")
    if said.get("error") is not None or "result" not in said:
        raise BadSigner("The signer refuses to sign.")
    return said["result"]


def _raw(result: Any) -> bytes:
    """web3signer returns the bytes, clef an object that has them."""
    found = result.get("raw") if isinstance(result, dict) else result
    if not isinstance(found, str):
        raise BadSigner("The signer's answer is no signed transaction.")
    try:
        return bytes.fromhex(found.removeprefix("0x"))
    except ValueError as error:
        raise BadSigner("The signer's answer is no signed transaction.") from error


def _plain(value: Any) -> Any:
    """Addresses and data as lower-case hexadecimal digits, numbers as they are."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return (value.lower() or "0x") if isinstance(value, str) else value
