# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a node is: a private key in its state folder, and the farm it signs for.

The key is read by the node's own process only: neither slots nor sandboxes ever see it.
"""

import os
import secrets
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from farm_protocol.documents import Enrolment, Signed
from farm_protocol.errors import Conflict, InvalidInput, Unavailable
from farm_protocol.fields import Address
from farm_protocol.files import write_private
from farm_protocol.http_client import Distrusted
from farm_protocol.node_answers import NodeSelf
from farm_protocol.retry import backoff
from farm_protocol.typed_data import BadSignature, address_of
from gpu_worker.farm.pins import first_said
from verification.protocol.attestation import sign

T = TypeVar("T")

KEY_FILE = "node.key"
FARMS_FILE = "farms.json"
LONGEST_KEY_FILE = 200
"""Bytes: 64 digits, a prefix, and what an editor may add."""

LONGEST_WAIT = 5.0
"""Seconds between two tries to reach the farm."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """A private key (32 bytes) and the address it signs as."""

    key: bytes
    address: str

    def sign(self, message: Signed, farm: str) -> str:
        """The signature over `message` for the farm at `farm`."""
        return sign(message, farm, self.key)


def load_identity(state: Path) -> Identity:
    """The identity in a node's state folder, made where it does not exist yet.

    Raises InvalidInput for a key that others may read, or that is not one.
    """
    path = state / KEY_FILE
    try:
        if not path.is_symlink() and not path.exists():
            _make_key(path)
        text = _read_key(path)
    except OSError as error:
        raise InvalidInput(f"This node's key {path} cannot be used: {error}") from error
    try:
        key = bytes.fromhex(text.decode().strip().removeprefix("0x"))
        if len(key) != 32:
            raise ValueError("a key has 32 bytes")
        return Identity(key, address_of(key))
    except Exception as error:  # the library has many names for numbers that are no key
        raise InvalidInput(
            f"{path} holds no private key (64 hexadecimal digits). Put the right one there; or remove the "
            f"file, then the node makes a new key and needs a new token."
        ) from error


def _make_key(path: Path) -> None:
    """A new key appears whole, or not at all."""
    write_private(path, f"{_new_key().hex()}\n".encode())


def _new_key() -> bytes:
    while True:
        key = secrets.token_bytes(32)
        try:
            address_of(key)
        except Exception:  # noqa: S112 - one in 2^128 numbers is not a key
            continue
        return key


def _read_key(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LONGEST_KEY_FILE:
            raise InvalidInput(f"{path} is no file with a private key.")
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise InvalidInput(
                f"{path} is this node's private key, but others may read or change it: make it your own with "
                f"`chmod 600`, or remove it if somebody may have."
            )
        return os.read(descriptor, LONGEST_KEY_FILE)
    finally:
        os.close(descriptor)


class Farm(Protocol):
    """The coordinator, as enrolling needs it."""

    def myself(self) -> NodeSelf:
        """What the farm knows of this node."""

    def enrol(self, address: Address, signature: str) -> NodeSelf:
        """Bind this node's address to its token."""


def meet(farm: Farm) -> NodeSelf:
    """What the farm says of this node. Waits for a farm that is away."""
    return _patiently(farm.myself)


def enrol(farm: Farm, url: str, identity: Identity, state: Path) -> NodeSelf:
    """Show the farm at `url` the node's key, and remember the farm's. Waits for a farm that is away.

    Raises Conflict where the farm has another key of this node, or signs with another key than before.
    """
    known = meet(farm)
    _remember(state / FARMS_FILE, url, known.farm)
    message = Enrolment(known.node, identity.address)
    signature = identity.sign(message, known.farm)
    answer = _patiently(lambda: farm.enrol(identity.address, signature))
    if answer.farm != known.farm or (answer.address or "").lower() != identity.address.lower():
        raise BadSignature("The farm answered with another address than this node's own.")
    return answer


def _patiently(ask: Callable[[], T]) -> T:
    attempt = 0
    while True:
        try:
            return ask()
        except Distrusted:
            raise
        except Unavailable as error:
            attempt += 1
            if attempt == 1:
                log.warning("coordinator_unreachable", reason=error.sentence)
            threading.Event().wait(backoff(attempt, LONGEST_WAIT))


def _remember(path: Path, url: str, address: Address) -> None:
    """The address the farm at `url` signs with, kept from the first time on."""
    before = first_said(path, Address, url, address)
    if before.lower() != address.lower():
        raise Conflict(
            f"The farm at {url} signs as {address}, but was {before} before: receipts of another farm are "
            f"worth nothing here. If that change is right, remove {path}."
        )
