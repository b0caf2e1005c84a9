# SPDX-License-Identifier: GPL-3.0-or-later
"""The contracts on a chain, everybody who signs something about a job's money, and what they sign."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from farm_protocol import documents
from farm_protocol.ids import JobId
from payments.chain.artifacts import error_name
from payments.chain.deploy import deploy
from payments.chain.market import Market
from payments.chain.market_records import ArbiterPanel, Call, Unpaid
from payments.chain.outbox import FileOutbox
from payments.chain.rpc import Chain, Reverted
from payments.messages import accepted_tree, signing
from payments.messages.network import Windows
from payments.messages.promises import (
    Credit,
    Message,
    Offer,
    Order,
    Raise,
    Release,
    Ruling,
    Signed,
    Slash,
    Terms,
    Voucher,
    job_name,
)
from payments.wallet.keystore import Key, new_key
from tests.support.local_chain import LocalChain
from verification.protocol import attestation

DAY = 86_400
WINDOWS = Windows(claim=DAY, decision=2 * DAY, grace=DAY // 2, unbonding=4 * DAY, slash=DAY // 4)
LIFE = 7 * DAY
TOKEN = 10**18
DEPOSIT = 1000 * TOKEN
CAP = 100 * TOKEN
TASK_CAP = 10 * TOKEN
STAKE = 1000 * TOKEN
MOST_GAS = 10_000_000
"""Of one transaction; contracts are deployed by `payments/chain/deploy.py`."""


class Stage:
    """A market on `chain`, with one of everybody."""

    def __init__(self, chain: LocalChain, folder: Path) -> None:
        self.local = chain
        self.bank = chain.rich_key(1000)
        way = Chain(chain.url, chain.chain_id)
        outbox = FileOutbox(folder / "bank")
        self.network = deploy(way, self.bank, outbox, WINDOWS, wait=60)
        outbox.close()
        self.market = Market(way, self.network)
        self.farm, self.session, self.arbiter, self.node = (new_key() for _ in range(4))
        self.client, self.operator, self.stranger, self.watcher = (chain.rich_key(1000) for _ in range(4))
        self.payee = new_key().address
        self._nonces: dict[str, int] = {}
        self._names = itertools.count(1)
        self.pay(self.client.address, 100 * DEPOSIT)
        self.send(self.client, self.market.approve(self.network.market, 100 * DEPOSIT))
        self.send(self.bank, self.market.approve(self.network.vault, 10**6 * STAKE))
        self.add_stake(self.operator)

    # --- the chain ------------------------------------------------------------------------------

    def send(self, key: Key, *calls: Call) -> dict[str, Any]:
        """Carry calls out in one transaction: its receipt."""
        digest = self.hand_in(key, *calls)
        receipt = self.receipt(digest)
        assert receipt["status"] == "0x1", self.refusal(key, *calls)
        return receipt

    def hand_in(self, key: Key, *calls: Call) -> str:
        """Send one transaction and do not wait for it: its hash."""
        call = calls[0] if len(calls) == 1 else self.market.multicall(calls)
        nonce = self._nonces.get(key.address)
        if nonce is None:
            nonce = self.market.chain.count(key.address)
        fields = {
            "chainId": self.local.chain_id,
            "nonce": nonce,
            "to": call.to,
            "value": 0,
            "data": call.data,
        }
        fees = {"gas": MOST_GAS, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
        raw = key.sign_transaction({**fields, **fees})
        digest = self.local.rpc("eth_sendRawTransaction", "0x" + raw.hex())
        self._nonces[key.address] = nonce + 1
        return str(digest)

    def receipt(self, digest: str) -> dict[str, Any]:
        """What came of a transaction, once it is mined."""
        found = None
        while found is None:
            found = self.local.rpc("eth_getTransactionReceipt", digest)
        return dict(found)

    def refusal(self, key: Key, *calls: Call) -> str:
        """The contract's name for why it refuses; '' where it does not. Nothing is carried out."""
        call = calls[0] if len(calls) == 1 else self.market.multicall(calls)
        try:
            self.market.chain.estimate(key.address, call.to, call.data, 0)
        except Reverted as error:
            return error_name(error.data)
        return ""

    def later(self, seconds: int) -> None:
        """Let time pass."""
        self.local.rpc("evm_increaseTime", seconds)
        self.local.rpc("evm_mine")

    def balance(self, address: str) -> int:
        """What of the token a wallet has."""
        return int(self.market.token_balance(address))

    def pay(self, to: str, amount: int) -> None:
        """Token out of the bank."""
        self.send(self.bank, self.market.transfer(to, amount))

    def add_stake(self, operator: Key, amount: int = STAKE) -> None:
        """Free stake for an operator."""
        self.send(self.bank, self.market.add_stake(operator.address, amount))

    # --- what is signed -------------------------------------------------------------------------

    def sign(self, message: Message, key: Key) -> str:
        """A signature as everybody here makes it."""
        return signing.sign(message, self.network, key.reveal())

    def terms(self, **other: Any) -> Signed[Terms]:
        """A new job's terms, signed by the farm."""
        said = Terms(
            client=self.client.address,
            refundTo=self.client.address,
            farm=self.farm.address,
            name=job_name(JobId(f"j{next(self._names)}")),
            deadline=self.market.chain.time() + LIFE,
            sessionKey=self.session.address,
            priceCap=TOKEN,
            stakeShare=10_000,
            watcher=self.watcher.address,
            arbiters=(self.arbiter.address,),
            threshold=1,
            termsHash=sha256(b"terms").hexdigest(),
        )
        said = replace(said, **other)
        return Signed(said, self.sign(said, self.farm))

    def open_job(self, deposit: int = DEPOSIT, **other: Any) -> int:
        """A new job's number."""
        terms = self.terms(**other)
        self.send(self.client, self.market.open_job(terms, deposit))
        return self.number(terms)

    def number(self, terms: Signed[Terms]) -> int:
        """The number of the job that has these terms."""
        name = bytes.fromhex(terms.message.name).rstrip(b"\0").decode()
        return self.market.number_of(terms.message.farm, JobId(name))

    def offer(self, key: Key | None = None, **other: Any) -> Signed[Offer]:
        """An operator's offer."""
        said = Offer(
            farm=self.farm.address,
            node=self.node.address,
            payee=self.payee,
            deviceClass="CPU:x86_64:avx2:5.0.1",
            price=TOKEN // 1000,
            capacity=10**9,
            stakeShare=10_000,
            expiry=self.market.chain.time() + 1000 * DAY,
            number=1,
        )
        said = replace(said, **other)
        return Signed(said, self.sign(said, key or self.operator))

    def order(self, job: int, offer: Signed[Offer], key: Key | None = None, **other: Any) -> Signed[Order]:
        """The session key's order for an offer."""
        taken = signing.struct_hash(offer.message).hex()
        said = replace(Order(job, taken, CAP, TASK_CAP, 4, next(self._names)), **other)
        return Signed(said, self.sign(said, key or self.session))

    def open_agreement(self, job: int, offer: Signed[Offer] | None = None, **other: Any) -> str:
        """A new agreement's id."""
        offer = offer or self.offer()
        order = self.order(job, offer, **other)
        self.send(self.stranger, self.market.open_agreement(offer, order))
        return signing.agreement_id(order.message, self.network)

    def voucher(
        self, agreement: str, cumulative: int, key: Key | None = None, root: str = "0" * 64
    ) -> Signed[Voucher]:
        """All that was earned so far."""
        said = Voucher(agreement, cumulative, root)
        return Signed(said, self.sign(said, key or self.session))

    def voucher_for(self, agreement: str, accepted: Sequence[Credit]) -> Signed[Voucher]:
        """A voucher over what was accepted."""
        root, total = accepted_tree.root(accepted)
        return self.voucher(agreement, total, root=root)

    def raised(self, agreement: str, cap: int, key: Key | None = None) -> Signed[Raise]:
        """A higher cap."""
        said = Raise(agreement, cap)
        return Signed(said, self.sign(said, key or self.session))

    def released(self, agreement: str, cumulative: int, key: Key | None = None) -> Signed[Release]:
        """The operator gives up the rest."""
        said = Release(agreement, cumulative)
        return Signed(said, self.sign(said, key or self.operator))

    def panel(self, message: Message, key: Key | None = None) -> ArbiterPanel:
        """The job's one arbiter says something."""
        return ArbiterPanel((self.arbiter.address,), 1, (self.sign(message, key or self.arbiter),))

    def slash(self, agreement: str, amount: int, price: int) -> tuple[Slash, str, ArbiterPanel]:
        """A slash, its id, and who signed it."""
        said = Slash(agreement, amount, price, sha256(b"verdict").hexdigest())
        return said, signing.digest(said, self.network).hex(), self.panel(said)

    def ruling(self, agreement: str, extra: int) -> tuple[Ruling, ArbiterPanel]:
        """So much of a claim stands."""
        said = Ruling(agreement, extra)
        return said, self.panel(said)

    # --- what nodes and the farm sign about work ------------------------------------------------

    def attested(
        self, task: str, pixels: bytes = b"pixels", key: Key | None = None
    ) -> tuple[documents.Attestation, str]:
        """A node's attestation, and its signature."""
        said = documents.Attestation(
            task, 3, sha256(pixels).hexdigest(), sha256(b"object").hexdigest(), "CPU", "5.0.1", 1234
        )
        signature = attestation.sign(said, self.farm.address, (key or self.node).reveal())
        return said, signature

    def unpaid(
        self, job: int, task: str, amount: int, farm: Key | None = None, node: Key | None = None
    ) -> Unpaid:
        """A task that was submitted, with the farm's receipt, as its operator keeps it. `task` is what
        follows the job's name.
        """
        name = bytes.fromhex(self.market.job(job).name).rstrip(b"\0").decode()
        said, signature = self.attested(f"{name}.{task}", key=node)
        digest = attestation.digest(said, self.farm.address).hex()
        receipt = documents.Submission(digest, 1_800_000_000_123, 77, "0" * 64, 100_000)
        by_farm = attestation.sign(receipt, self.farm.address, (farm or self.farm).reveal())
        return Unpaid(said, signature, receipt, by_farm, amount)
