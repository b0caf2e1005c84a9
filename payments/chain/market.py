# SPDX-License-Identifier: GPL-3.0-or-later
"""The contracts on a chain: every call and every view of them that the farm, clients and operators use.

Digests are hexadecimal without 0x, as in `promises.py`. Views raise Unavailable where the chain does not
answer; nothing here sends anything.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from farm_protocol.errors import InvalidInput
from farm_protocol.ids import JobId
from payments.chain.abi import arguments, record
from payments.chain.artifacts import artifact, function_of
from payments.chain.chain_events import AnyEvent, decoded
from payments.chain.market_records import (
    AgreementOnChain,
    ArbiterPanel,
    Backing,
    Call,
    ClaimOnChain,
    JobOnChain,
    SlashCase,
    Stake,
    Unpaid,
)
from payments.chain.rpc import Chain, Log, Reverted, WrongChain
from payments.messages.accepted_tree import Beside, task_hash
from payments.messages.network import Network, Windows
from payments.messages.promises import (
    Credit,
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
from payments.messages.units import Wei

T = TypeVar("T")
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
        return self._record(JobOnChain, "RenderMarket", "jobOf", number)

    def number_of(self, farm: str, job: JobId) -> int:
        """A job's number by its farm and id; 0 for none."""
        return int(self._market("numbers", farm, job_name(job)))

    def available(self, number: int) -> Wei:
        """What of a job's budget is neither reserved nor paid."""
        return Wei(self._market("available", number))

    def session(self, number: int, key: str) -> int:
        """Until when what a key signs for a job counts; 0 for a key it never had."""
        return int(self._market("sessions", number, key))

    def agreement(self, agreement: str) -> AgreementOnChain:
        """An agreement by its id."""
        return self._record(AgreementOnChain, "RenderMarket", "agreementOf", agreement)

    def claim(self, agreement: str) -> ClaimOnChain:
        """The claim of an agreement."""
        return self._record(ClaimOnChain, "RenderMarket", "claimOf", agreement)

    def claimed(self, number: int, task: str) -> tuple[int, str]:
        """What is claimed for a task of a job, and how the agreement's id begins (20 bytes, hexadecimal)."""
        amount, agreement = self._market("claimedTasks", number, task_hash(task))
        return int(amount), agreement.hex()

    def stake(self, operator: str) -> Stake:
        """An operator's stake."""
        return self._record(Stake, "StakeVault", "accounts", operator)

    def backing(self, operator: str, agreement: str) -> Backing:
        """What stands behind an agreement."""
        return self._record(Backing, "StakeVault", "backings", operator, agreement)

    def slash_case(self, slash: str) -> SlashCase:
        """A slash by its digest."""
        return self._record(SlashCase, "Disputes", "cases", slash)

    def token_balance(self, address: str) -> Wei:
        """What a wallet has of the token."""
        return Wei(self._token("balanceOf", address))

    def allowance(self, owner: str, spender: str) -> Wei:
        """What `spender` may take from `owner`."""
        return Wei(self._token("allowance", owner, spender))

    def events(self, first: int, last: int) -> list[AnyEvent]:
        """What the contracts told of jobs in the blocks from `first` to `last`, in their order."""
        found: list[Log] = []
        for address, abi in self.interfaces():
            found += self.chain.events(address, abi, first, last)
        return decoded(sorted(found, key=lambda log: (log.block, log.index)))

    def interfaces(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Addresses of the contracts that tell events, with their ABIs."""
        return [(address, artifact(name).abi) for address, name in self._places()]

    # --- calls of clients -----------------------------------------------------------------------

    def approve(self, spender: str, amount: int) -> Call:
        """Let a contract take so much of the token."""
        return self._call("RenderToken", "approve", spender, amount)

    def transfer(self, to: str, amount: int) -> Call:
        """Send token to a wallet."""
        return self._call("RenderToken", "transfer", to, amount)

    def open_job(self, terms: Signed[Terms], deposit: int) -> Call:
        """Open a job with its deposit, which must be approved."""
        return self._call("RenderMarket", "openJob", terms.message, terms.signature, deposit)

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
        return self._call("RenderMarket", "revoke", number, key)

    def appoint(self, number: int, key: str) -> Call:
        """The client appoints a session key."""
        return self._call("RenderMarket", "appoint", number, key)

    def contest(self, agreement: str) -> Call:
        """Client or watcher contest a claim, with a bond that must be approved."""
        return self._call("RenderMarket", "contest", agreement)

    # --- calls about agreements -----------------------------------------------------------------

    def open_agreement(self, offer: Signed[Offer], order: Signed[Order]) -> Call:
        """Make an operator's offer and a job's order an agreement."""
        told = (offer.message, offer.signature, order.message, order.signature)
        return self._call("RenderMarket", "openAgreement", *told)

    def raise_cap(self, more: Signed[Raise]) -> Call:
        """Let an agreement earn more."""
        return self._call("RenderMarket", "raiseCap", more.message, more.signature)

    def redeem(self, vouchers: Sequence[Signed[Voucher]]) -> Call:
        """Pay what vouchers say beyond what was paid."""
        if len(vouchers) == 1:
            one = vouchers[0]
            return self._call("RenderMarket", "redeem", one.message, one.signature)
        messages, signatures = [one.message for one in vouchers], [one.signature for one in vouchers]
        return self._call("RenderMarket", "redeemAll", messages, signatures)

    def release_for(self, release: Signed[Release]) -> Call:
        """Give up what an agreement could still earn, as its operator signed."""
        return self._call("RenderMarket", "releaseFor", release.message, release.signature)

    def release(self, agreement: str) -> Call:
        """The operator gives up what its agreement could still earn."""
        return self._call("RenderMarket", "release", agreement)

    def close(self, agreement: str) -> Call:
        """Anybody closes an agreement after deadline and grace."""
        return self._call("RenderMarket", "close", agreement)

    def claim_unpaid(self, agreement: str, last: Signed[Voucher] | None, tasks: Sequence[Unpaid]) -> Call:
        """The operator claims tasks beyond its last voucher."""
        message, signature = (last.message, last.signature) if last else (NO_VOUCHER, "")
        return self._call("RenderMarket", "claimUnpaid", agreement, message, signature, tasks)

    def show_paid(self, agreement: str, credit: Credit, way: Sequence[Beside]) -> Call:
        """Show that a claimed task was paid by the voucher its claim stands on."""
        leaf = replace(credit, task=task_hash(credit.task).hex())
        return self._call("RenderMarket", "showPaid", agreement, leaf, way)

    def settle_claim(self, agreement: str) -> Call:
        """Settle a claim whose window is over."""
        return self._call("RenderMarket", "settleClaim", agreement)

    def multicall(self, calls: Sequence[Call]) -> Call:
        """Several calls of the market in one transaction. Raises InvalidInput for calls of others."""
        if any(call.to.lower() != self.network.market.lower() for call in calls):
            raise InvalidInput("Only calls of the market go together into one transaction.")
        return self._call("RenderMarket", "multicall", [call.data for call in calls])

    # --- calls about stake ----------------------------------------------------------------------

    def add_stake(self, operator: str, amount: int) -> Call:
        """Add to an operator's free stake; it must be approved."""
        return self._call("StakeVault", "stake", operator, amount)

    def withdraw(self, amount: int) -> Call:
        """The operator takes free stake back."""
        return self._call("StakeVault", "withdraw", amount)

    def free(self, operator: str, agreement: str) -> Call:
        """Free stake whose unbonding is over."""
        return self._call("StakeVault", "free", operator, agreement)

    def propose_slash(self, slash: Slash, panel: ArbiterPanel) -> Call:
        """Bring a slash that a job's arbiters signed."""
        return self._call("Disputes", "proposeSlash", slash, panel)

    def execute_slash(self, slash: str) -> Call:
        """Carry a slash out, after its delay."""
        return self._call("Disputes", "executeSlash", slash)

    def rule_claim(self, ruling: Ruling, panel: ArbiterPanel) -> Call:
        """Bring the arbiters' word on a contested claim."""
        return self._call("Disputes", "ruleClaim", ruling, panel)

    def report_equivocation(
        self, agreement: str, one: object, one_signature: str, other: object, other_signature: str
    ) -> Call:
        """Show that an agreement's node signed two pictures under one lease: two attestations."""
        told = (one, one_signature, other, other_signature)
        return self._call("Disputes", "reportEquivocation", agreement, *told)

    # --- ways -----------------------------------------------------------------------------------

    def _windows(self) -> Windows:
        claim, decision, grace = (int(self._market(f)) for f in ("claimWindow", "decisionWindow", "grace"))
        return Windows(
            claim,
            decision,
            grace,
            int(self._view("StakeVault", "unbonding")),
            int(self._view("Disputes", "delay")),
        )

    def _places(self) -> tuple[tuple[str, str], ...]:
        named = self.network
        return ((named.market, "RenderMarket"), (named.vault, "StakeVault"), (named.disputes, "Disputes"))

    def _call(self, contract: str, name: str, *given: Any) -> Call:
        data = self.chain.encode(artifact(contract).abi, name, *arguments(function_of(contract, name), given))
        return Call(self._address(contract), data)

    def _record(self, kind: type[T], contract: str, name: str, *given: Any) -> T:
        return record(kind, function_of(contract, name), self._view(contract, name, *given))

    def _view(self, contract: str, name: str, *given: Any) -> Any:
        values = arguments(function_of(contract, name), given)
        return self.chain.read(self._address(contract), artifact(contract).abi, name, *values)

    def _address(self, contract: str) -> str:
        return {name: place for place, name in self._places()}.get(contract, self.network.token)

    def _market(self, name: str, *given: Any) -> Any:
        return self._view("RenderMarket", name, *given)

    def _token(self, name: str, *given: Any) -> Any:
        return self._view("RenderToken", name, *given)
