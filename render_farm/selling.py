# SPDX-License-Identifier: GPL-3.0-or-later
"""What nodes bring of money: offers, and releases at the end. What the farm promised them goes out here."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from farm_protocol.errors import Conflict, Forbidden, InvalidInput, NotFound
from farm_protocol.ids import NodeId
from payments.network import Network
from payments.promises import Offer, Promises, SignedOffer, SignedRelease
from payments.signing import require_signer, signer, struct_hash
from payments.statements import NOBODY
from render_farm.store.connection import is_event_id
from render_farm.store.identities import Caller, Identities
from render_farm.store.money import BEGINNING, Money

if TYPE_CHECKING:
    from render_farm.waking import Waking

log = structlog.get_logger()

LONGEST_OFFER_SECONDS = 366 * 24 * 3600
LOOK_AGAIN_SECONDS = 5.0


class NoChain(Conflict):
    """The farm takes no payments."""

    code = "no_chain"

    def __init__(self) -> None:
        super().__init__("This farm takes no payments: it was started without --chain.")


class Selling:
    """Takes offers and releases, and hands promises out. `network` is None at a farm without a chain."""

    def __init__(
        self,
        money: Money,
        identities: Identities,
        network: Network | None,
        farm: str,
        waking: "Waking",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._money = money
        self._identities = identities
        self._network = network
        self._farm = farm
        self._waking = waking
        self._clock = clock

    async def offer(self, caller: Caller, signed: SignedOffer) -> str:
        """A node sells from now on. Returns the offer's struct hash. Whoever signed it is its operator."""
        if self._network is None:
            raise NoChain
        _, address = await self._identities.itself(caller.node)
        self._check(signed.message, address)
        seller = signer(signed.message, self._network, signed.signature)
        digest = struct_hash(signed.message).hex()
        await self._money.put_offer(caller.node, signed, digest, seller)
        log.info("offer_taken", node=caller.node, seller=seller, price=str(signed.message.price))
        return digest

    def _check(self, offer: Offer, address: str | None) -> None:
        now = self._clock()
        if address is None or offer.node.lower() != address.lower():
            raise InvalidInput(f"The offer is for another node than this one, which signs as {address}.")
        if offer.farm.lower() != self._farm.lower():
            raise InvalidInput(f"The offer is for another farm than this one, which signs as {self._farm}.")
        if not now < offer.expiry <= now + LONGEST_OFFER_SECONDS:
            raise InvalidInput("The offer must end in the future, and within a year.")
        if offer.price == 0 or offer.capacity == 0:
            raise InvalidInput("The offer must have a price and a capacity above 0.")
        if offer.payee == NOBODY:
            raise InvalidInput("The offer must name a payee.")
        if not offer.deviceClass.isprintable():
            raise InvalidInput("The offer's device class must be printable: people read it.")

    async def withdraw(self, caller: Caller) -> None:
        """A node sells no longer. What it agreed to stays agreed."""
        await self._money.drop_offer(caller.node)
        log.info("offer_withdrawn", node=caller.node)

    async def promises(self, node: NodeId, after: str, wait: float, closing: asyncio.Event) -> Promises:
        """What a node was promised since `after` ('' for all); waits for the first up to `wait` seconds."""
        if after and not is_event_id(after):
            raise InvalidInput("'after' is not what an earlier answer said as 'last'.")
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            told = self._waking.promised(node)
            found = await self._money.promises(node, after or BEGINNING)
            left = deadline - asyncio.get_running_loop().time()
            if found.promises or left <= 0 or closing.is_set():
                return found
            await _rung(told, min(left, LOOK_AGAIN_SECONDS))

    async def release(self, caller: Caller, signed: SignedRelease) -> None:
        """Keep what the operator of one of the node's agreements signed at its end."""
        if self._network is None:
            raise NoChain
        known = await self._money.agreement(signed.message.agreement)
        if known is None or known.node != caller.node:
            raise NotFound("This node has no such agreement.")
        offer = known.promise.offer
        try:
            operator = signer(offer.message, self._network, offer.signature)
            require_signer(signed.message, self._network, signed.signature, operator)
        except Forbidden as error:
            raise InvalidInput("Only the operator who signed the offer can release its agreement.") from error
        await self._money.put_release(known.job, signed)
        log.info("agreement_released", node=caller.node, job=known.job, agreement=known.agreement)


async def _rung(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
