# SPDX-License-Identifier: GPL-3.0-or-later
"""The only way to the chain: a JSON-RPC URL, and the only import of web3.

Everything here is synchronous and raises Unavailable when the chain does not answer, at once or after the
`Patience` it was given; asking twice does no harm, because a signed transaction is carried out once.
Transactions go through `payments/chain/sending.py`, which makes what was meant happen once; events
are followed by `payments/chain/events.py`.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests

from farm_protocol.errors import Conflict, FarmError, InvalidInput, Unavailable
from payments.chain.secret_urls import keep_out_of_logs
from payments.messages.units import Wei

_limit = sys.getrecursionlimit()
from web3 import HTTPProvider, Web3  # noqa: E402
from web3.exceptions import (  # noqa: E402
    BadFunctionCallOutput,
    BlockNotFound,
    ContractLogicError,
    TransactionNotFound,
    Web3Exception,
    Web3RPCError,
)
from web3.middleware import ExtraDataToPOAMiddleware  # noqa: E402

# web3 loads py_ecc, which raises the limit beyond what a stack holds: deep JSON would then end the process.
sys.setrecursionlimit(_limit)

T = TypeVar("T")
TIMEOUT_SECONDS = 10.0
SILENT_SECONDS = 3.0
"""How long the chain is waited for before that is said."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two questions to a chain that does not answer."""
_FAUCET: Any = "farm_fund"
MOST_BLOCKS = 2000
"""Asked for events at a time: public endpoints refuse more."""


class WrongChain(InvalidInput):
    """The URL leads to another chain than the one that was named."""

    code = "wrong_chain"


class Reverted(Conflict):
    """The contract refuses the call. `data` is what it returned: its error's selector first."""

    code = "reverted"

    def __init__(self, sentence: str, data: str) -> None:
        super().__init__(sentence)
        self.data = data


class NoFunds(Conflict):
    """The wallet cannot pay for a transaction."""

    code = "no_funds"


class NoFaucet(Conflict):
    """The chain gives nothing away."""

    code = "no_faucet"


class NotTaken(FarmError):
    """The chain did not take a transaction. `said` is its own sentence."""

    code = "not_taken"

    def __init__(self, said: str) -> None:
        super().__init__(f"The chain did not take the transaction: {said}")
        self.said = said


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a mined transaction. `fee` is what it cost; `created` the contract it made."""

    transaction: str
    block: int
    success: bool
    fee: Wei
    created: str | None


@dataclass(frozen=True, slots=True)
class Log:
    """One event of a contract as its ABI reads it. `block_hash` and `index` together tell it apart."""

    name: str
    address: str
    values: dict[str, Any]
    block: int
    block_hash: str
    index: int
    transaction: str

    @property
    def id(self) -> str:
        """Its name: the same whenever it is read."""
        return f"{self.block_hash}:{self.index}"


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds a chain that does not answer is asked again; `say` gets a sentence when that takes
    longer than a moment, and one when it answers again.
    """

    seconds: float = 0.0
    say: Callable[[str], None] = lambda _: None


class Chain:
    """A chain behind a JSON-RPC URL. Raises WrongChain or Unavailable when it is made. Without a `chain_id`
    it is whichever chain answers.
    """

    def __init__(
        self,
        url: str,
        chain_id: int | None,
        timeout: float = TIMEOUT_SECONDS,
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._patience = patience
        # A URL may carry a secret in its path or user part: only its host is ever shown.
        self.host = _host(url)
        keep_out_of_logs()
        # No retries below us: what may be repeated is decided where it is known what was meant.
        provider = HTTPProvider(url, {"timeout": timeout}, exception_retry_configuration=None)
        self._web3 = Web3(provider)
        # It asks for the chain's id before every call.
        self._web3.middleware_onion.remove("validation")
        # Blocks of chains with authorities are signed in a field that is longer than elsewhere.
        self._web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        self._contracts: dict[tuple[str, int], tuple[list[dict[str, Any]], Any]] = {}
        found = self._ask(lambda: self._web3.eth.chain_id)
        self.chain_id = int(found)
        if chain_id is not None and found != chain_id:
            raise WrongChain(f"{self.host} is chain {found}, and the farm is set up for chain {chain_id}.")

    def head(self) -> int:
        """The last block's number."""
        return int(self._ask(lambda: self._web3.eth.block_number))

    def latest(self) -> tuple[int, str, int]:
        """The last block's number, hash (0x hexadecimal) and time in seconds since the epoch."""
        block = self._ask(lambda: self._web3.eth.get_block("latest"))
        return int(block["number"]), str(block["hash"].to_0x_hex()), int(block["timestamp"])

    def block_hash(self, number: int) -> str | None:
        """The hash of block `number` as 0x hexadecimal; None where it does not exist (any more)."""
        try:
            return str(self._ask(lambda: self._web3.eth.get_block(number))["hash"].to_0x_hex())
        except BlockNotFound:
            return None

    def time(self) -> int:
        """The last block's time, in seconds since the epoch."""
        return int(self._ask(lambda: self._web3.eth.get_block("latest"))["timestamp"])

    def balance(self, address: str) -> Wei:
        """Of the chain's own coin."""
        return Wei(self._ask(lambda: self._web3.eth.get_balance(self._address(address))))

    def count(self, address: str, block: int | None = None) -> int:
        """How many transactions of a wallet were mined, now or up to a block."""
        at: Any = "latest" if block is None else block
        return int(self._ask(lambda: self._web3.eth.get_transaction_count(self._address(address), at)))

    def fees(self) -> tuple[int, int]:
        """The next block's base fee and a usual priority fee, in Wei a gas."""
        history = self._ask(lambda: self._web3.eth.fee_history(1, "latest", []))
        tip = self._ask(lambda: self._web3.eth.max_priority_fee)
        return int(history["baseFeePerGas"][-1]), int(tip)

    def estimate(self, sender: str, to: str, data: str, value: Wei) -> int:
        """Gas that a call of `to` with `data` and `value` (Wei) by `sender` takes. Raises Reverted where the
        contract would refuse it, NoFunds.
        """
        # Not every chain looks at the wallet before it estimates.
        if value > 0 and value > self.balance(sender):
            raise NoFunds("The wallet cannot pay for the transaction: it holds less than is to be sent.")
        return int(self._ask(lambda: self._web3.eth.estimate_gas(_call(sender, to, data, value))))

    def send(self, raw: str) -> None:
        """Hand a signed transaction over. Raises NotTaken, NoFunds; Unavailable may mean it was taken."""
        try:
            self._ask(lambda: self._web3.eth.send_raw_transaction(bytes.fromhex(raw[2:])))
        except Web3RPCError as error:
            raise NotTaken(_said(error)) from error

    def fund(self, address: str, amount: Wei) -> None:
        """Ask the faucet of a local chain for its coin. Raises NoFaucet where it has no faucet."""
        asked = [self._address(address), hex(amount)]
        # Asked once: what got lost may have been given.
        with _translated(self.host):
            answer = self._web3.provider.make_request(_FAUCET, asked)
        if "error" in answer:
            raise NoFaucet(f"The chain at {self.host} gives nothing away: it has no faucet, or refuses.")

    def receipt(self, digest: str) -> Receipt | None:
        """What came of the transaction with this hash (hexadecimal); None while it is not mined."""
        try:
            found = self._ask(lambda: self._web3.eth.get_transaction_receipt(_hash(digest)))
        except TransactionNotFound:
            return None
        fee = Wei(found["gasUsed"] * found["effectiveGasPrice"])
        return Receipt(digest, found["blockNumber"], found["status"] == 1, fee, found["contractAddress"])

    def known(self, digest: str) -> bool:
        """Whether the chain knows the transaction, mined or waiting."""
        try:
            self._ask(lambda: self._web3.eth.get_transaction(_hash(digest)))
        except TransactionNotFound:
            return False
        return True

    def encode(self, abi: list[dict[str, Any]], function: str, *arguments: Any) -> str:
        """The data of a contract call. Raises InvalidInput for arguments that do not fit."""
        try:
            return str(self._contract("", abi).encode_abi(function, args=list(arguments)))
        except (Web3Exception, TypeError, ValueError) as error:
            raise InvalidInput(f"{function} cannot be called with these arguments: {error}") from error

    def read(self, address: str, abi: list[dict[str, Any]], function: str, *arguments: Any) -> Any:
        """What a contract's view returns. Raises Reverted."""
        contract = self._contract(address, abi)
        return self._ask(contract.functions[function](*arguments).call)

    def events(self, address: str, abi: list[dict[str, Any]], first: int, last: int) -> tuple[Log, ...]:
        """All events of a contract in the blocks from `first` to `last`, in their order; events that the
        ABI does not know are left out.
        """
        contract = self._contract(address, abi)
        kinds = {_topic(one): one["name"] for one in abi if one["type"] == "event"}
        wanted: Any = {"address": contract.address, "fromBlock": first, "toBlock": last}
        found: Any = self._ask(lambda: self._web3.eth.get_logs(wanted))
        logs = [log for log in found if log["topics"] and log["topics"][0].to_0x_hex() in kinds]
        return tuple(_log(contract, kinds[log["topics"][0].to_0x_hex()], log) for log in logs)

    def _contract(self, address: str, abi: list[dict[str, Any]]) -> Any:
        """Kept, because making one takes milliseconds; with its ABI, which is known by where it lies."""
        place = (address, id(abi))
        if place not in self._contracts:
            where = {"address": self._address(address)} if address else {}
            self._contracts[place] = (abi, self._web3.eth.contract(abi=abi, **where))
        return self._contracts[place][1]

    def _address(self, address: str) -> Any:
        return self._web3.to_checksum_address(address)

    def _ask(self, ask: Callable[[], T]) -> T:
        began, pause, told = time.monotonic(), FIRST_PAUSE, False
        while True:
            try:
                with _translated(self.host):
                    answer = ask()
                if told:
                    self._patience.say(f"The chain at {self.host} answers again.")
                return answer
            except Unavailable as error:
                waited = time.monotonic() - began
                if waited + pause > self._patience.seconds:
                    raise
                if waited > SILENT_SECONDS and not told:
                    self._patience.say(f"{error.sentence} Waiting for it ...")
                    told = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in ("http", "https") else None
    except ValueError:
        host = None
    if not host:
        raise InvalidInput("The chain's URL (FARM_CHAIN_URL) is not an http:// or https:// address.")
    return host


@contextmanager
def _translated(host: str) -> Iterator[None]:
    """Errors of web3 and requests as the farm's own. Those that mean "it does not exist" pass."""
    try:
        yield
    except (TransactionNotFound, BlockNotFound):
        raise
    except ContractLogicError as error:
        raise Reverted(f"The contract refuses: {error.message}", str(error.data or "0x")) from error
    except Web3RPCError as error:
        said = _said(error)
        if "insufficient funds" in said.lower():
            raise NoFunds(f"The wallet cannot pay for the transaction: {said}") from error
        raise
    except BadFunctionCallOutput as error:
        raise Reverted("There is no such contract at that address.", "0x") from error
    # The words of requests contain the URL; what went wrong is told by their kind alone.
    except requests.RequestException as error:
        raise Unavailable(f"The chain at {host} does not answer ({type(error).__name__}).") from None
    except (Web3Exception, ValueError) as error:
        raise Unavailable(f"The chain at {host} answers nonsense ({type(error).__name__}).") from None


def _said(error: Web3RPCError) -> str:
    answer = error.rpc_response or {}
    found = answer.get("error")
    return str(found.get("message", ""))[:500] if isinstance(found, dict) else "no reason given"


def _call(sender: str, to: str, data: str, value: Wei) -> Any:
    where = {"to": Web3.to_checksum_address(to)} if to else {}
    return {"from": Web3.to_checksum_address(sender), **where, "data": data, "value": value}


def _hash(digest: str) -> Any:
    return "0x" + digest


def _topic(abi: dict[str, Any]) -> str:
    kinds = ",".join(_kind(one) for one in abi["inputs"])
    return str(Web3.keccak(text=f"{abi['name']}({kinds})").to_0x_hex())


def _kind(abi: dict[str, Any]) -> str:
    if not abi["type"].startswith("tuple"):
        return str(abi["type"])
    inner = ",".join(_kind(one) for one in abi["components"])
    return f"({inner}){abi['type'][5:]}"


def _log(contract: Any, name: str, log: Any) -> Log:
    read = contract.events[name]().process_log(log)
    return Log(
        name=name,
        address=str(read["address"]),
        values=dict(read["args"]),
        block=int(read["blockNumber"]),
        block_hash=read["blockHash"].to_0x_hex(),
        index=int(read["logIndex"]),
        transaction=read["transactionHash"].to_0x_hex(),
    )
