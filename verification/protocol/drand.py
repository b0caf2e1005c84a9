# SPDX-License-Identifier: GPL-3.0-or-later
"""drand, a public beacon: rounds signed by a threshold of independent organisations (https://drand.love).

Its rounds need no trust in whoever hands them over: the signature is checked here (BLS12-381, scheme
bls-unchained-g1-rfc9380: message sha256 of the round as 8 bytes big-endian, hashed to G1 as RFC 9380
says; signature on G1, public key on G2), and the round's value is the sha256 of the signature.
"""

import asyncio
import functools
import hashlib
import importlib
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated

import msgspec
import urllib3

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Digest, decode
from verification.protocol.beacon import NO_COMMITMENT

URLS = (
    "https://api.drand.sh",
    "https://api2.drand.sh",
    "https://api3.drand.sh",
    "https://drand.cloudflare.com",
)
MOST_BYTES = 4096
TIMEOUT = 4.0
"""Seconds for one address: connecting, asking and reading."""

KEPT_SIGNATURES = 4096
CURVES = ("py_ecc.optimized_bls12_381", "py_ecc.bls.hash_to_curve", "py_ecc.bls.point_compression")
"""Loaded when a public beacon is read: they take half a second."""

RECURSION = 6_000
"""Calls within calls that a pairing makes at most, with some room."""

HASH_TO_G1 = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"


@dataclass(frozen=True, slots=True)
class Chain:
    """A drand chain: its hash, public key (compressed point of G2, hexadecimal), the time of its first
    round and the seconds between rounds.
    """

    hash: str
    public_key: str
    genesis: float
    period: float


QUICKNET = Chain(
    hash="52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
    public_key="83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c"
    "8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb"
    "5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
    genesis=1692803367.0,
    period=3.0,
)
CHAINS = {QUICKNET.hash: QUICKNET}


@dataclass(frozen=True, slots=True)
class PublicRound:
    """A round as drand's HTTP API tells it."""

    round: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]
    randomness: Digest
    signature: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{96}$", max_length=96)]


def wrong(chain_hash: str, round_number: int, value: str, signature: str) -> str:
    """What is wrong with the `value` and `signature` (both hexadecimal) of round `round_number` of the chain
    `chain_hash`, as a sentence; '' where they hold.
    """
    chain = CHAINS.get(chain_hash)
    if chain is None:
        return f"there is no public beacon '{chain_hash}' known here."
    try:
        raw = bytes.fromhex(signature)
    except ValueError:
        return "its signature is not hexadecimal."
    if hashlib.sha256(raw).hexdigest() != value:
        return "its value is not that of its signature."
    if not is_signed(chain, round_number, raw):
        return "its signature is not that of the public beacon."
    return ""


@functools.cache
def _curves() -> list[ModuleType]:
    """The curve's library. It raises Python's recursion limit beyond what a thread's stack holds, so that
    deep JSON from a stranger would end the process; it does not need that much.
    """
    limit = sys.getrecursionlimit()
    loaded = [importlib.import_module(name) for name in CURVES]
    sys.setrecursionlimit(max(limit, RECURSION))
    return loaded


@functools.lru_cache(maxsize=1024)
def is_signed(chain: Chain, round_number: int, signature: bytes) -> bool:
    """Whether the chain signed this round: e(H(m), key) = e(signature, generator of G2)."""
    if len(signature) != 48 or not 0 < round_number < 1 << 64:
        return False
    curve, hash_to_curve, point_compression = _curves()
    try:
        point = point_compression.decompress_G1(int.from_bytes(signature, "big"))
    except ValueError:
        return False
    if curve.is_inf(point) or not curve.is_inf(curve.multiply(point, curve.curve_order)):
        return False
    key = bytes.fromhex(chain.public_key)
    halves = int.from_bytes(key[:48], "big"), int.from_bytes(key[48:], "big")
    public = point_compression.decompress_G2(halves)
    digest = hashlib.sha256(round_number.to_bytes(8, "big")).digest()
    message = hash_to_curve.hash_to_G1(digest, HASH_TO_G1, hashlib.sha256)
    product = curve.pairing(public, message, final_exponentiate=False) * curve.pairing(
        curve.neg(curve.G2), point, final_exponentiate=False
    )
    return bool(curve.final_exponentiate(product) == curve.FQ12.one())


class Drand:
    """A chain's rounds, over HTTP from whichever of `urls` has them. Nothing is believed unsigned."""

    def __init__(self, urls: Sequence[str] = URLS, chain: Chain = QUICKNET, timeout: float = TIMEOUT) -> None:
        if not urls:
            raise InvalidInput("A public beacon needs at least one address to be read from.")
        self.genesis = chain.genesis
        self.period = chain.period
        self._chain = chain
        self._urls = tuple(urls)
        self._timeout = timeout
        self._signatures: OrderedDict[int, str] = OrderedDict()
        self._http = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(timeout))

    def commitment(self, round_number: int) -> str:
        """Nobody can commit to what nobody knows."""
        return NO_COMMITMENT

    async def value(self, round_number: int) -> bytes | None:
        """The round's value, from the first address that has it, signed; None where none has."""
        for url in self._urls:
            try:
                asked = asyncio.to_thread(self._fetch, url, round_number)
                found = await asyncio.wait_for(asked, 2 * self._timeout)
            except (urllib3.exceptions.HTTPError, InvalidInput, OSError):  # a late answer is an OSError
                continue
            self._keep(found)
            return bytes.fromhex(found.randomness)
        return None

    def signature(self, round_number: int) -> str:
        """The chain's signature of a round that was read lately, '' where it was not."""
        return self._signatures.get(round_number, "")

    def _keep(self, found: PublicRound) -> None:
        self._signatures[found.round] = found.signature
        while len(self._signatures) > KEPT_SIGNATURES:
            self._signatures.popitem(last=False)

    def _fetch(self, url: str, round_number: int) -> PublicRound:
        """One address's answer, checked. Raises InvalidInput for anything but this round, signed."""
        answer = self._http.request(
            "GET",
            f"{url}/{self._chain.hash}/public/{round_number}",
            redirect=False,
            preload_content=False,
            headers={"Accept-Encoding": "identity"},
        )
        try:
            if answer.status != 200:
                raise InvalidInput(f"The beacon at {url} answered with status {answer.status}.")
            found = decode(self._body(answer, url), PublicRound)
        finally:
            answer.close()
        if found.round != round_number:
            raise InvalidInput(f"The beacon at {url} answered with another round.")
        if sentence := wrong(self._chain.hash, round_number, found.randomness, found.signature):
            raise InvalidInput(f"The beacon at {url} gave a round that cannot be used: {sentence}")
        return found

    def _body(self, answer: urllib3.BaseHTTPResponse, url: str) -> bytes:
        """The answer's body, bounded in bytes and in time."""
        end, body = time.monotonic() + self._timeout, b""
        while piece := answer.read1(MOST_BYTES, decode_content=False):
            body += piece
            if len(body) > MOST_BYTES or time.monotonic() > end:
                raise InvalidInput(f"The beacon at {url} answered with too much, or too slowly.")
        return body
