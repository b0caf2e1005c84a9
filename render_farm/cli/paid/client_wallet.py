# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's wallet on a chain: what it has, and what is sent from it, each thing once.

Beside the outbox lies a record of each job that was asked for: what the terms are held against, and what
finds the job's money again when its farm is gone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from command_line.program import UsageError
from farm_protocol.errors import Conflict, InvalidInput
from farm_protocol.fields import decode, encode
from farm_protocol.files import write_private
from farm_protocol.ids import JobId
from payments.accounting import amounts
from payments.chain.chain_events import AgreementOpened, AnyEvent, SessionAppointed
from payments.chain.outbox import FileOutbox
from payments.messages.network import Network, load
from payments.messages.promises import NEVER_REVOKED, Signed, Terms
from payments.messages.statements import Payment
from payments.messages.units import Wei
from payments.wallet.wallets import is_remote
from render_farm.cli.access import Access
from render_farm.cli.options import ChainChoice, FarmChoice, WalletChoice
from render_farm.cli.paid.signers import open_signer
from render_farm.embedded.money import money_folder

if TYPE_CHECKING:
    from payments.chain.market import Market
    from payments.chain.market_records import AgreementOnChain, ClaimOnChain, JobOnChain
    from payments.chain.sending import Signer
    from payments.wallet.wallet import Wallet

CHAIN_SECONDS = 60.0
"""How long a chain that does not answer is waited for, at each question."""
SENDING_SECONDS = 120.0
"""How long a transaction may take; what is under way is gone on with the next time."""
BUSY_SECONDS = 30.0
"""How long to wait for another command that sends from the same wallet."""
BUSY_LOOK = 0.2


STILL_OPEN = (1, 2)
"""States of agreements that reserve something: open, and open with a claim (`AgreementState`)."""


class TooPoor(Conflict):
    """The wallet has less than what is to be paid."""

    code = "no_funds"


@dataclass(frozen=True, slots=True)
class Kept:
    """A job that was asked for: which farm's, and how it was to be paid."""

    job: JobId
    farm: str
    payment: Payment


@dataclass(frozen=True, slots=True)
class Place:
    """Which chain a command pays on, by which wallet; `folder` is where it remembers what it sent. `signer`
    is the URL that signs for a wallet that is named by its address.
    """

    url: str
    network: Path
    wallet: Path
    password: Path | None
    folder: Path
    signer: str = ""


def place(farm: FarmChoice, chosen: WalletChoice, access: Access | None) -> Place:
    """As it was said, or else the embedded farm's. Raises UsageError where neither tells."""
    home = money_folder(farm.folder)
    network, url = chosen_chain(farm, chosen, access)
    wallet = chosen.wallet or (home.wallet("client") if chosen.chain is None else None)
    if wallet is None:
        raise UsageError("Which wallet pays? Name its keystore with --wallet (or FARM_WALLET).")
    password = chosen.password_file
    if password is None and wallet.absolute() == home.wallet("client"):
        password = home.password
    if password is None and not is_remote(wallet):
        raise UsageError("The wallet's password is needed: --password-file (or FARM_WALLET_PASSWORD_FILE).")
    # What a throw-away wallet sent goes when it goes.
    beside = home.path if wallet.absolute().is_relative_to(home.path) else farm.folder.path
    return Place(url, network, wallet, password, beside / "purse", chosen.signer_url)


def chosen_chain(farm: FarmChoice, chosen: ChainChoice, access: Access | None) -> tuple[Path, str]:
    """The file that names the contracts, and the chain's URL. Raises UsageError without a chain."""
    if chosen.chain is not None:
        if not chosen.chain_url:
            raise UsageError("--chain needs the chain's URL as well, in FARM_CHAIN_URL.")
        return chosen.chain, chosen.chain_url
    if access is None or not access.chain:
        raise UsageError("Which chain? Name it with --chain FILE, and its URL in FARM_CHAIN_URL.")
    return money_folder(farm.folder).network, access.chain


def open_market(
    network: Network, url: str, say: Callable[[str], None] = lambda _: None, seconds: float = CHAIN_SECONDS
) -> "Market":
    """The contracts on their chain, which is waited for, so many seconds at each question. Raises FarmError
    where it does not come, or is another than is named, or has other contracts.
    """
    # web3 takes seconds to load: only for who pays.
    from payments.chain.market import Market  # noqa: PLC0415
    from payments.chain.rpc import Chain, Patience  # noqa: PLC0415

    chain = Chain(url, network.chain_id, patience=Patience(seconds, say))
    market = Market(chain, network)
    market.check()
    return market


def history(market: "Market") -> list[AnyEvent]:
    """All that the contracts ever told, some blocks at a time."""
    from payments.chain.rpc import MOST_BLOCKS  # noqa: PLC0415 - web3 takes seconds to load

    first, head = market.network.first_block, market.chain.head()
    starts = range(first, head + 1, MOST_BLOCKS)
    return [event for start in starts for event in market.events(start, min(start + MOST_BLOCKS - 1, head))]


def open_purse(where: Place, say: Callable[[str], None] = lambda _: None) -> "ClientWallet":
    """The wallet on its chain; `say` gets a sentence while that does not answer. Raises FarmError where a
    file is missing, the password wrong, or the chain not as it is named.
    """
    network = load(where.network)
    key = open_signer(where.wallet, where.password, where.signer)
    folder = where.folder / f"{network.chain_id}-{network.market[2:10].lower()}-{key.address.lower()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ClientWallet(open_market(network, where.url, say), key, folder)


class ClientWallet:
    """One wallet on one chain. Calls that send wait until the chain has carried them out."""

    def __init__(self, market: "Market", key: "Signer", folder: Path) -> None:
        self._market, self._key, self._folder = market, key, folder

    @property
    def network(self) -> Network:
        """Where the wallet's money is."""
        return self._market.network

    @property
    def address(self) -> str:
        """The wallet."""
        return self._key.address

    def balance(self, address: str = "") -> Wei:
        """What the wallet has of the token, or somebody else's."""
        return self._market.token_balance(address or self.address)

    def check_funds(self, amount: Wei) -> None:
        """Raises TooPoor where the wallet has less."""
        has = self.balance()
        if has < amount:
            said = [amounts.format(one, self.network.decimals) for one in (has, amount)]
            raise TooPoor(
                f"The wallet {self.address} has {said[0]} {self.network.symbol}, less than {said[1]}. "
                "Nothing was sent."
            )

    def number_of(self, farm: str, job: JobId) -> int:
        """The job's number in the contract; 0 before it is opened."""
        return self._market.number_of(farm, job)

    def job(self, number: int) -> "JobOnChain":
        """A job as the contract has it."""
        return self._market.job(number)

    def open_agreements(self, number: int) -> "dict[str, AgreementOnChain]":
        """A job's agreements that are not closed, by their ids."""
        opened = [one for one in history(self._market) if isinstance(one, AgreementOpened)]
        found = {one.agreement: self._market.agreement(one.agreement) for one in opened if one.job == number}
        return {name: one for name, one in found.items() if one.state in STILL_OPEN}

    def close(self, name: str, claimed: bool) -> None:
        """Close an agreement whose time is over, or settle the claim that keeps it open. Raises Refused where
        it is too early for that.
        """
        call = self._market.settle_claim(name) if claimed else self._market.close(name)
        with self._wallet() as wallet:
            wallet.do(f"{'settle' if claimed else 'close'} {name}", call, wait=SENDING_SECONDS)

    def contestable(self, number: int) -> "dict[str, ClaimOnChain]":
        """A job's claims that its client may contest now, by their agreements' ids."""
        claims = {name: self._market.claim(name) for name in self.open_agreements(number)}
        now, window = self.time(), self.network.windows.claim
        return {
            name: claim
            for name, claim in claims.items()
            if claim.filed_at and not claim.contested_at and claim.extra and now < claim.filed_at + window
        }

    def contest(self, name: str, bond: int) -> str:
        """Contest an agreement's claim, with a bond."""
        with self._wallet() as wallet:
            return "0x" + wallet.contest(f"contest {name}", name, bond, wait=SENDING_SECONDS)

    def session_keys(self, number: int) -> tuple[str, ...]:
        """The keys that may sign for a job, in the order in which they were appointed."""
        told = [one for one in history(self._market) if isinstance(one, SessionAppointed)]
        keys = dict.fromkeys(one.key for one in told if one.job == number)
        return tuple(key for key in keys if self.session(number, key) == NEVER_REVOKED)

    def session(self, number: int, key: str) -> int:
        """Until when what a key signs for a job counts, in seconds since the epoch."""
        return self._market.session(number, key)

    def revoke(self, job: JobId, number: int, key: str) -> str:
        """Let a key sign nothing new for a job; the transaction's hash."""
        with self._wallet() as wallet:
            call = self._market.revoke(number, key)
            return "0x" + wallet.repeat(f"revoke {job}", call, wait=SENDING_SECONDS)

    def appoint(self, job: JobId, number: int, key: str) -> str:
        """Let a key sign for a job; the transaction's hash."""
        with self._wallet() as wallet:
            call = self._market.appoint(number, key)
            return "0x" + wallet.repeat(f"appoint {job}", call, wait=SENDING_SECONDS)

    def time(self) -> int:
        """The chain's."""
        return self._market.chain.time()

    def available(self, number: int) -> Wei:
        """What of a job's budget is neither reserved nor paid."""
        return self._market.available(number)

    def open_job(self, job: JobId, terms: Signed[Terms], deposit: Wei) -> str:
        """Open the job with its deposit, once; the transaction's hash."""
        with self._wallet() as wallet:
            return "0x" + wallet.open_job(_opening(job), terms, deposit, wait=SENDING_SECONDS)

    def top_up(self, job: JobId, number: int, amount: Wei) -> str:
        """Add to a job's budget. What was cut off before is finished, and not done twice."""
        with self._wallet() as wallet:
            return "0x" + wallet.top_up(f"fund {job}", number, amount, wait=SENDING_SECONDS)

    def take_back(self, job: JobId, number: int, amount: Wei) -> str:
        """Take back what is not reserved."""
        with self._wallet() as wallet:
            return "0x" + wallet.take_back(f"back {job}", number, amount, wait=SENDING_SECONDS)

    def end(self, job: JobId, number: int) -> None:
        """End a job: nothing new is agreed, and its grace begins."""
        with self._wallet() as wallet:
            wallet.do(f"end {job}", self._market.end(number), wait=SENDING_SECONDS)

    def is_opening(self, job: JobId) -> bool:
        """Whether a deposit for the job is on its way."""
        with self._outbox() as outbox:
            return any(intent.key == _opening(job) for intent in outbox.all())

    def keep(self, kept: Kept) -> None:
        """Remember a job that was asked for."""
        write_private(self._record(kept.job), encode(kept))

    def kept(self, job: JobId) -> Kept | None:
        """What is remembered of a job, or None."""
        path = self._record(job)
        return decode(path.read_bytes(), Kept) if path.exists() else None

    def _record(self, job: JobId) -> Path:
        if not job.isalnum():
            raise InvalidInput(f"'{job[:40]}' is no job's id.")
        return self._folder / f"{job}.json"

    @contextmanager
    def _wallet(self) -> Iterator["Wallet"]:
        from payments.wallet.wallet import Wallet  # noqa: PLC0415 - web3 takes seconds to load

        with self._outbox() as outbox:
            yield Wallet(self._market, self._key, outbox, time.time)

    def _outbox(self) -> AbstractContextManager[FileOutbox]:
        return held_outbox(self._folder / "outbox.json")


@contextmanager
def held_outbox(path: Path) -> Iterator[FileOutbox]:
    """An outbox, which one process holds at a time: waited for. Raises Conflict where that takes too long."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            outbox = FileOutbox(path)
            break
        except Conflict:
            if time.monotonic() > end:
                raise
            time.sleep(BUSY_LOOK)
    try:
        yield outbox
    finally:
        outbox.close()


def _opening(job: JobId) -> str:
    return f"open {job}"
