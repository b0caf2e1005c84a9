# SPDX-License-Identifier: GPL-3.0-or-later
"""A market on a chain of the tests', and wallets that use it."""

from pathlib import Path

from farm_protocol import typed_data
from farm_protocol.ids import JobId
from payments.chain.deploy import deploy
from payments.chain.market import Market
from payments.chain.outbox import FileOutbox
from payments.chain.rpc import Chain
from payments.messages import signing
from payments.messages.network import Windows
from payments.messages.promises import Message, Signed, Terms, job_name
from payments.wallet.keystore import Key
from payments.wallet.wallet import Wallet
from tests.support.local_chain import LocalChain

WINDOWS = Windows(claim=600, decision=600, grace=600, unbonding=2000, slash=60)
UNIT = 10**18
FARM_KEY = bytes(31) + b"\x07"
NOBODY = "0x" + "0" * 40
WAIT = 30.0


class Place:
    """A market on a chain, and wallets that use it."""

    def __init__(self, chain: LocalChain, folder: Path) -> None:
        self.chain, self.folder = chain, folder
        self.rpc = Chain(chain.url, chain.chain_id)
        bank = chain.rich_key()
        outbox = FileOutbox(folder / "bank")
        self.network = deploy(self.rpc, bank, outbox, WINDOWS)
        self.market = Market(self.rpc, self.network)
        self.bank = Wallet(self.market, bank, outbox)

    def wallet(self, name: str, tokens: int = 0) -> tuple[Key, Wallet]:
        key = self.chain.rich_key()
        if tokens:
            self.bank.transfer(f"to {name}", key.address, tokens, WAIT)
        return key, Wallet(self.market, key, FileOutbox(self.folder / name))

    def signed(self, message: Message, key: bytes) -> str:
        return signing.sign(message, self.network, key)


def terms_of(place: Place, job: JobId, client: str, session: bytes) -> Signed[Terms]:
    farm = typed_data.address_of(FARM_KEY)
    terms = Terms(
        client=client,
        refundTo=client,
        farm=farm,
        name=job_name(job),
        deadline=place.rpc.time() + 100_000,
        sessionKey=typed_data.address_of(session),
        priceCap=UNIT,
        stakeShare=10_000,
        watcher=NOBODY,
        arbiters=(farm,),
        threshold=1,
        termsHash="ab" * 32,
    )
    return Signed(terms, place.signed(terms, FARM_KEY))
