# SPDX-License-Identifier: GPL-3.0-or-later
"""Wallets as encrypted keystore files (Web3 Secret Storage, version 3), and what signs with them.

A key is read from a file and a password, never from a command line; what shows a `Key` shows its address.
"""

import json
import secrets
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import is_hex_address, to_checksum_address
from hexbytes import HexBytes

from farm_protocol.errors import Conflict, InvalidInput, NotFound
from farm_protocol.files import create_private
from payments.json_input import read_json

MOST_BYTES = 16 * 1024
"""Of a keystore file; they have about 500."""
MOST_MEMORY = 1 << 30
"""Bytes that deriving a key may take: the file says how many, and may be anybody's."""


class Key:
    """A private key that does not show itself."""

    __slots__ = ("_account",)

    def __init__(self, secret: bytes) -> None:
        self._account = Account.from_key(secret)

    @property
    def address(self) -> str:
        """Whom it signs as, with the address's checksum."""
        return str(self._account.address)

    def sign_transaction(self, fields: dict[str, Any]) -> bytes:
        """A transaction's fields as the bytes that are sent."""
        # As bytes: the library takes written addresses with their checksum only.
        to = bytes.fromhex(fields["to"].removeprefix("0x"))
        return bytes(self._account.sign_transaction({**fields, "to": to}).raw_transaction)

    def reveal(self) -> bytes:
        """The 32 secret bytes, for what signs typed data. They are not to be kept or shown."""
        return bytes(self._account.key)

    def __repr__(self) -> str:
        return f"Key({self.address})"

    def __reduce__(self) -> Any:
        raise TypeError("A key is not to be pickled.")


def read_transaction(raw: bytes) -> tuple[str, dict[str, Any]]:
    """Who signed a transaction (of type 1 or above), and its fields. Raises ValueError for what is not a
    signed transaction.
    """
    try:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        return str(Account.recover_transaction(raw)), dict(fields)
    except Exception as error:  # the libraries raise many kinds for bytes that are no transaction
        raise ValueError("no signed transaction") from error


def new_key() -> Key:
    """A key that nobody had before."""
    return Key(secrets.token_bytes(32))


def save(key: Key, path: Path, password: str, iterations: int | None = None) -> None:
    """Write a keystore file for its user alone. Raises Conflict where there is a file already.

    `iterations` of PBKDF2 instead of a second of scrypt: only for passwords that cannot be guessed anyway.
    """
    kind = {"kdf": "scrypt"} if iterations is None else {"kdf": "pbkdf2", "iterations": iterations}
    text = json.dumps(Account.encrypt(key.reveal(), password, **kind))
    write_private(path, text)


def write_private(path: Path, text: str) -> None:
    """Write a new file, on the disk when this returns, that only its user may read. Raises Conflict where
    there is one already.
    """
    try:
        create_private(path, text.encode())
    except FileExistsError as error:
        raise Conflict(f"{path} is there already: a wallet is never written over.") from error


def load(path: Path, password: str) -> Key:
    """The key of a keystore file. Raises NotFound without a file, InvalidInput for what is no keystore, asks
    for too much memory, or does not open with this password.
    """
    record = _read(path)
    _check_cost(record, path)
    try:
        return Key(bytes(Account.decrypt(record, password)))
    except ValueError as error:
        # The library's words are left out: no more than needed is told of a secret.
        raise InvalidInput(f"{path} does not open with this password.") from error
    except (KeyError, TypeError, NotImplementedError) as error:
        raise InvalidInput(f"{path} is not a keystore file of version 3.") from error


def address_in(path: Path) -> str:
    """Whose keystore it is by its own words, with the address's checksum. Raises NotFound, InvalidInput."""
    told = _read(path).get("address")
    if not isinstance(told, str) or not is_hex_address(told):
        raise InvalidInput(f"{path} does not say whose it is.")
    return str(to_checksum_address(told))


def read_password(path: Path) -> str:
    """The first line of a password file. Raises NotFound, InvalidInput for an empty one."""
    try:
        with path.open(encoding="utf-8") as file:
            password = file.readline(MOST_BYTES).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"The password file {path} cannot be read.") from error
    if not password:
        raise InvalidInput(f"The password file {path} is empty.")
    return password


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise NotFound(f"The keystore file {path} cannot be read: {error.strerror}.") from error
    try:
        record = read_json(data) if len(data) <= MOST_BYTES else None
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("version") != 3:
        raise InvalidInput(f"{path} is not a keystore file of version 3.")
    return record


def _check_cost(record: dict[str, Any], path: Path) -> None:
    crypto = record.get("crypto", record.get("Crypto"))
    values = crypto.get("kdfparams") if isinstance(crypto, dict) else None
    if not isinstance(values, dict):
        raise InvalidInput(f"{path} is not a keystore file of version 3.")
    numbers = {name: values.get(name, 1) for name in ("n", "r", "p", "c", "dklen")}
    if not all(isinstance(number, int) and 0 < number <= 1 << 24 for number in numbers.values()):
        raise InvalidInput(f"{path} has parameters that no keystore has.")
    if 128 * numbers["n"] * numbers["r"] * numbers["p"] > MOST_MEMORY:
        raise InvalidInput(f"{path} asks for more memory than any keystore needs.")
