# SPDX-License-Identifier: GPL-3.0-or-later
"""The contracts on a chain: every call and every view of them that the farm, clients and operators use.

Digests are hexadecimal without 0x, as in `promises.py`. Views raise Unavailable where the chain does not
answer; nothing here sends anything.
"""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from eth_utils.address import to_checksum_address

from farm_protocol.errors import InvalidInput
from farm_protocol.ids import JobId
from payments.accepted_tree import Beside, task_hash
from payments.artifacts import artifact
from payments.chain import Chain, Event, Reverted, WrongChain
from payments.market_records import (
    AgreementOnChain,
    AgreementState,
    Attested,
    Backing,
    Bench,
    Call,
    ClaimOnChain,
    JobOnChain,
    SlashCase,
    Stake,
    Unpaid,
)
from payments.money import Wei
from payments.network import Network, Windows
from payments.promises import (
    Credit,
    Message,
    Ruling,
    SignedOffer,
    SignedOrder,
    SignedRaise,
    SignedRelease,
    SignedTerms,
    SignedVoucher,
    Slash,
    Voucher,
    job_name,
)
from payments.signing import TYPES

NO_VOUCHER = Voucher("0" * 64, 0, "0" * 64)


class Market:
    """The contracts of a network, as a chain has them."""

    def __init__(self, chain: Chain, network: Network) -> None:
        self.chain = chain
        self.network = network

    def check(self) -> None:
        """Raises WrongChain unless the contracts that the network names are there, know each other, and are
        as it says.
        """
        said = self.network
        try:
            there = tuple(str(self._market(name)).lower() for name in ("token", "vault", "disputes"))
        except (Reverted, InvalidInput) as error:
            raise WrongChain(f"There is no render market at {said.market} on this chain.") from error
        for what, found, named in zip(
            ("token", "vault", "disputes"), there, (said.token, said.vault, said.disputes), strict=True
        ):
            if found != named.lower():
                raise WrongChain(f"The market's {what} is {found}, and not {named}, which the network names.")
        if self._windows() != said.windows:
            raise WrongChain(f"The market's times are {self._windows()}, and not as the network says.")
        symbol, decimals = self._token("symbol"), self._token("decimals")
        if (symbol, decimals) != (said.symbol, said.decimals):
            raise WrongChain(
                f"The token is called {symbol[:40]!r} and has {decimals} decimals: not as the network says."
            )

    # --- views ----------------------------------------------------------------------------------

    def job(self, number: int) -> JobOnChain:
        """A job by its number in the market; all zeros where there is none."""
        return JobOnChain(*map(_plain, self._market("jobOf", number)))

    def number_of(self, farm: str, job: JobId) -> int:
        """A job's number by its farm and id; 0 for none."""
        return int(self._market("numbers", to_checksum_address(farm), bytes.fromhex(job_name(job))))

    def available(self, number: int) -> Wei:
        """What of a job's budget is neither reserved nor paid."""
        return Wei(self._market("available", number))

    def session(self, number: int, key: str) -> int:
        """Until when what a key signs for a job counts; 0 for a key it never had."""
        return int(self._market("sessions", number, to_checksum_address(key)))

    def agreement(self, agreement: str) -> AgreementOnChain:
        """An agreement by its id."""
        found = dict(
            zip(
                _fields("RenderMarket", "agreementOf"),
                self._market("agreementOf", _bytes(agreement)),
                strict=True,
            )
        )
        return AgreementOnChain(
            Wei(found["cap"]),
            Wei(found["paid"]),
            found["payee"],
            found["job"],
            AgreementState(found["state"]),
            found["operator"],
            found["offer"],
            found["claimTasks"],
            found["node"],
            Wei(found["taskCap"]),
        )

    def claim(self, agreement: str) -> ClaimOnChain:
        """The claim of an agreement."""
        return ClaimOnChain(*map(_plain, self._market("claimOf", _bytes(agreement))))

    def claimed(self, number: int, task: str) -> tuple[int, str]:
        """What is claimed for a task of a job, and how the agreement's id begins (20 bytes, hexadecimal)."""
        amount, agreement = self._market("claimedTasks", number, task_hash(task))
        return int(amount), agreement.hex()

    def stake(self, operator: str) -> Stake:
        """An operator's stake."""
        return Stake(*self._vault("accounts", to_checksum_address(operator)))

    def backing(self, operator: str, agreement: str) -> Backing:
        """What stands behind an agreement."""
        return Backing(*self._vault("backings", to_checksum_address(operator), _bytes(agreement)))

    def slash_case(self, slash: str) -> SlashCase:
        """A slash by its digest."""
        return SlashCase(*map(_plain, self._disputes("cases", _bytes(slash))))

    def token_balance(self, address: str) -> Wei:
        """What a wallet has of the token."""
        return Wei(self._token("balanceOf", to_checksum_address(address)))

    def allowance(self, owner: str, spender: str) -> Wei:
        """What `spender` may take from `owner`."""
        return Wei(self._token("allowance", to_checksum_address(owner), to_checksum_address(spender)))

    def events(self, first: int, last: int) -> tuple[Event, ...]:
        """What market, vault and disputes told in the blocks from `first` to `last`, in their order."""
        found: list[Event] = []
        for address, name in self._places():
            found += self.chain.events(address, artifact(name).abi, first, last)
        return tuple(sorted(found, key=lambda event: (event.block, event.index)))

    # --- calls of clients -----------------------------------------------------------------------

    def approve(self, spender: str, amount: int) -> Call:
        """Let a contract take so much of the token."""
        return self._call("RenderToken", "approve", to_checksum_address(spender), amount)

    def transfer(self, to: str, amount: int) -> Call:
        """Send token to a wallet."""
        return self._call("RenderToken", "transfer", to_checksum_address(to), amount)

    def open_job(self, terms: SignedTerms, deposit: int) -> Call:
        """Open a job with its deposit, which must be approved."""
        return self._call("RenderMarket", "openJob", *_signed(terms.message, terms.signature), deposit)

    def top_up(self, number: int, amount: int) -> Call:
        """Add to a job's budget."""
        return self._call("RenderMarket", "topUp", number, amount)

    def take_back(self, number: int, amount: int) -> Call:
        """The client takes back what is not reserved."""
        return self._call("RenderMarket", "takeBack", number, amount)

    def refund(self, number: int) -> Call:
        """Anybody sends what is not reserved back, after deadline and grace."""
        return self._call("RenderMarket", "refund", number)

    def end(self, number: int) -> Call:
        """The client ends the job: its deadline is now."""
        return self._call("RenderMarket", "end", number)

    def revoke(self, number: int, key: str) -> Call:
        """The client revokes a session key."""
        return self._call("RenderMarket", "revoke", number, to_checksum_address(key))

    def appoint(self, number: int, key: str) -> Call:
        """The client appoints a session key."""
        return self._call("RenderMarket", "appoint", number, to_checksum_address(key))

    def contest(self, agreement: str) -> Call:
        """Client or watcher contest a claim, with a bond that must be approved."""
        return self._call("RenderMarket", "contest", _bytes(agreement))

    # --- calls about agreements -----------------------------------------------------------------

    def open_agreement(self, offer: SignedOffer, order: SignedOrder) -> Call:
        """Make an operator's offer and a job's order an agreement."""
        told = (*_signed(offer.message, offer.signature), *_signed(order.message, order.signature))
        return self._call("RenderMarket", "openAgreement", *told)

    def raise_cap(self, more: SignedRaise) -> Call:
        """Let an agreement earn more."""
        return self._call("RenderMarket", "raiseCap", *_signed(more.message, more.signature))

    def redeem(self, vouchers: Sequence[SignedVoucher]) -> Call:
        """Pay what vouchers say beyond what was paid."""
        if len(vouchers) == 1:
            one = vouchers[0]
            return self._call("RenderMarket", "redeem", *_signed(one.message, one.signature))
        messages = [_values(one.message) for one in vouchers]
        signatures = [_raw(one.signature) for one in vouchers]
        return self._call("RenderMarket", "redeemAll", messages, signatures)

    def release_for(self, release: SignedRelease) -> Call:
        """Give up what an agreement could still earn, as its operator signed."""
        return self._call("RenderMarket", "releaseFor", *_signed(release.message, release.signature))

    def release(self, agreement: str) -> Call:
        """The operator gives up what its agreement could still earn."""
        return self._call("RenderMarket", "release", _bytes(agreement))

    def close(self, agreement: str) -> Call:
        """Anybody closes an agreement after deadline and grace."""
        return self._call("RenderMarket", "close", _bytes(agreement))

    def claim_unpaid(self, agreement: str, last: SignedVoucher | None, tasks: Sequence[Unpaid]) -> Call:
        """The operator claims tasks beyond its last voucher."""
        message, signature = (last.message, _raw(last.signature)) if last else (NO_VOUCHER, b"")
        told = [_unpaid(task) for task in tasks]
        return self._call("RenderMarket", "claimUnpaid", _bytes(agreement), _values(message), signature, told)

    def show_paid(self, agreement: str, credit: Credit, way: Sequence[Beside]) -> Call:
        """Show that a claimed task was paid by the voucher its claim stands on."""
        leaf = (task_hash(credit.task), _bytes(credit.pixel_root), credit.amount)
        steps = [(_bytes(one.hash), one.sum, one.left) for one in way]
        return self._call("RenderMarket", "showPaid", _bytes(agreement), leaf, steps)

    def settle_claim(self, agreement: str) -> Call:
        """Settle a claim whose window is over."""
        return self._call("RenderMarket", "settleClaim", _bytes(agreement))

    def multicall(self, calls: Sequence[Call]) -> Call:
        """Several calls of the market in one transaction. Raises InvalidInput for calls of others."""
        if any(call.to.lower() != self.network.market.lower() for call in calls):
            raise InvalidInput("Only calls of the market go together into one transaction.")
        return self._call("RenderMarket", "multicall", [_raw(call.data) for call in calls])

    # --- calls about stake ----------------------------------------------------------------------

    def add_stake(self, operator: str, amount: int) -> Call:
        """Add to an operator's free stake; it must be approved."""
        return self._call("StakeVault", "stake", to_checksum_address(operator), amount)

    def withdraw(self, amount: int) -> Call:
        """The operator takes free stake back."""
        return self._call("StakeVault", "withdraw", amount)

    def free(self, operator: str, agreement: str) -> Call:
        """Free stake whose unbonding is over."""
        return self._call("StakeVault", "free", to_checksum_address(operator), _bytes(agreement))

    def propose_slash(self, slash: Slash, bench: Bench) -> Call:
        """Bring a slash that a job's arbiters signed."""
        return self._call("Disputes", "proposeSlash", _values(slash), _bench(bench))

    def execute_slash(self, slash: str) -> Call:
        """Carry a slash out, after its delay."""
        return self._call("Disputes", "executeSlash", _bytes(slash))

    def rule_claim(self, ruling: Ruling, bench: Bench) -> Call:
        """Bring the arbiters' word on a contested claim."""
        return self._call("Disputes", "ruleClaim", _values(ruling), _bench(bench))

    def report_equivocation(
        self, agreement: str, one: Attested, one_signature: str, other: Attested, other_signature: str
    ) -> Call:
        """Show that an agreement's node signed two pictures under one lease."""
        told = (_attested(one), _raw(one_signature), _attested(other), _raw(other_signature))
        return self._call("Disputes", "reportEquivocation", _bytes(agreement), *told)

    # --- ways -----------------------------------------------------------------------------------

    def _windows(self) -> Windows:
        claim, decision, grace = (int(self._market(f)) for f in ("claimWindow", "decisionWindow", "grace"))
        return Windows(claim, decision, grace, int(self._vault("unbonding")), int(self._disputes("delay")))

    def _places(self) -> tuple[tuple[str, str], ...]:
        named = self.network
        return ((named.market, "RenderMarket"), (named.vault, "StakeVault"), (named.disputes, "Disputes"))

    def _call(self, contract: str, function: str, *arguments: Any) -> Call:
        to = {name: place for place, name in self._places()}.get(contract, self.network.token)
        return Call(to, self.chain.encode(artifact(contract).abi, function, *arguments))

    def _view(self, address: str, contract: str, function: str, *arguments: Any) -> Any:
        return self.chain.read(address, artifact(contract).abi, function, *arguments)

    def _market(self, function: str, *arguments: Any) -> Any:
        return self._view(self.network.market, "RenderMarket", function, *arguments)

    def _vault(self, function: str, *arguments: Any) -> Any:
        return self._view(self.network.vault, "StakeVault", function, *arguments)

    def _disputes(self, function: str, *arguments: Any) -> Any:
        return self._view(self.network.disputes, "Disputes", function, *arguments)

    def _token(self, function: str, *arguments: Any) -> Any:
        return self._view(self.network.token, "RenderToken", function, *arguments)


def _fields(contract: str, function: str) -> list[str]:
    """Names of the fields of the struct that a view returns: their order is the contract's own business."""
    found = next(one for one in artifact(contract).abi if one.get("name") == function)
    return [field["name"] for field in found["outputs"][0]["components"]]


def _values(message: Message) -> tuple[Any, ...]:
    """A message as the contract's struct."""
    made: list[Any] = []
    for (_, solidity), value in zip(TYPES[type(message)], astuple(message), strict=True):
        if solidity == "bytes32":
            made.append(_bytes(value))
        elif solidity == "address":
            made.append(to_checksum_address(value))
        elif solidity == "address[]":
            made.append([to_checksum_address(one) for one in value])
        else:
            made.append(value)
    return tuple(made)


def _signed(message: Message, signature: str) -> tuple[Any, bytes]:
    return _values(message), _raw(signature)


def _unpaid(task: Unpaid) -> tuple[Any, ...]:
    receipt = task.receipt
    received = (
        _bytes(receipt.attestation),
        receipt.time,
        receipt.round,
        _bytes(receipt.commitment),
        receipt.rate,
    )
    signatures = _raw(task.node_signature), _raw(task.farm_signature)
    return _attested(task.attestation), signatures[0], received, signatures[1], task.amount


def _attested(one: Attested) -> tuple[Any, ...]:
    return (
        one.task,
        one.token,
        _bytes(one.pixel_root),
        _bytes(one.object),
        one.device_class,
        one.build,
        one.render_milliseconds,
    )


def _bench(bench: Bench) -> tuple[Any, ...]:
    named = [to_checksum_address(one) for one in bench.arbiters]
    return named, bench.threshold, [_raw(one) for one in bench.signatures]


def _raw(written: str) -> bytes:
    return bytes.fromhex(written.removeprefix("0x"))


def _bytes(digest: str) -> bytes:
    found = _raw(digest)
    if len(found) != 32:
        raise InvalidInput(f"'{digest[:80]}' is not 64 hexadecimal digits.")
    return found


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
