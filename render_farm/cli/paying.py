# SPDX-License-Identifier: GPL-3.0-or-later
"""How `render --budget` pays: quote, deposit, and at the end the rest back."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from farm_protocol.errors import Conflict, FarmError, InvalidInput
from farm_protocol.facts import SceneFacts
from farm_protocol.records import JobSpec, JobState, RenderSettings
from payments import amounts
from payments.money import Wei
from payments.pricing import reward
from payments.quotes import Quote
from payments.statements import Payment, Statement
from render_farm.answers import Job
from render_farm.cli.purse import Kept, Purse
from render_farm.cli.quote_command import at_price, finished, text
from render_farm.cli.settling import settle
from render_farm.cli.terms_check import check_network, check_terms, check_work
from render_farm.client import FarmClient

MOST_PAYEES = 5
"""Whose balance is said at the end."""


class BelowQuote(InvalidInput):
    """The budget is less than what the job will cost."""

    code = "below_quote"


class AlreadyPaid(Conflict):
    """The job has its deposit, and it is another than what was asked for now."""

    code = "already_paid"


@dataclass(frozen=True, slots=True)
class Offered:
    """What the user is ready to pay, as it was typed."""

    budget: str
    price_cap: str | None


class Paying:
    """Pays for one job out of one wallet. Nothing is sent before the farm's terms are checked."""

    def __init__(
        self, client: FarmClient, purse: Purse, offered: Offered, say: Callable[[str], None]
    ) -> None:
        self._client, self._purse, self._say = client, purse, say
        self._decimals, self._symbol = purse.network.decimals, purse.network.symbol
        self._budget = amounts.parse(offered.budget, self._decimals)
        self._cap = None if offered.price_cap is None else amounts.parse(offered.price_cap, self._decimals)
        if self._budget == 0 or self._cap == 0:
            raise InvalidInput("A budget and a price cap must be above 0.")
        rules = client.rules()
        self._farm, self._policy = rules.address, rules.policy
        check_network(rules.network, purse.network)

    def submit(self, spec: JobSpec, facts: SceneFacts) -> Job:
        """Ask for a quote, hold it against budget and wallet, and make the job, which waits for its deposit.
        Raises BelowQuote with the figures.
        """
        self._purse.check_funds(self._budget)
        quote = self._quoted(spec, facts)
        self._check_budget(quote)
        wallet = self._purse.address
        payment = Payment(self._budget, quote.price, client=wallet, refund_to=wallet, quote=quote.quote)
        job = self._client.submit(spec, facts, payment)
        self._purse.keep(Kept(job.job, self._farm, payment))
        return job

    def is_unsettled(self, job: Job) -> bool:
        """Whether a job is complete, and its money not all where it belongs."""
        money = job.money
        return job.state is JobState.COMPLETE and money is not None and money.owed + money.refundable > 0

    def goes_on_with(self, job: Job) -> bool:
        """Whether an unfinished job can be gone on with: it has its deposit, or waits for the very one that
        is offered now. Raises AlreadyPaid where another deposit is under way.
        """
        if self._purse.number_of(self._farm, job.job):
            return True
        kept = self._purse.kept(job.job)
        if kept is not None and self._is_as_offered(kept.payment):
            return True
        if kept is not None and self._purse.is_opening(job.job):
            raise AlreadyPaid(
                f"A deposit of {self._said(kept.payment.budget)} for job {job.job} is under way: "
                "give the same --budget and --price-cap to go on with it."
            )
        return False

    def _is_as_offered(self, payment: Payment) -> bool:
        return payment.budget == self._budget and self._cap in (None, payment.price_cap)

    def deposit(self, job: Job, settings: RenderSettings) -> None:
        """See that the job has its deposit: sent once, however often this is called."""
        if self._purse.number_of(self._farm, job.job):
            return
        kept = self._purse.kept(job.job)
        if kept is None:
            raise AlreadyPaid(f"Job {job.job} was not made by this wallet here: it pays nothing for it.")
        answer = self._client.terms(job.job)
        check_network(answer.network, self._purse.network)
        check_terms(answer.terms, answer.network, kept, time.time())
        check_work(answer.terms.message, job.scene, settings, self._policy)
        self._say(f"Your wallet {self._purse.address} has {self._said(self._purse.balance())}.")
        sent = self._purse.open_job(job.job, answer.terms, Wei(kept.payment.budget))
        self._say(f"Deposited {self._said(kept.payment.budget)} for job {job.job}: transaction {sent}.")

    def settle(self, job: Job) -> Statement:
        """At the end: see everybody paid, take back the rest, and say what every wallet has now."""
        statement = settle(self._client, self._purse, self._farm, job.job, self._say)
        payees = dict.fromkeys(line.payee for line in statement.nodes if line.payee and line.paid)
        self._say(f"Your wallet {self._purse.address} has {self._said(self._purse.balance())}.")
        for payee in list(payees)[:MOST_PAYEES]:
            self._say(f"The payee {payee} has {self._said(self._purse.balance(payee))}.")
        return statement

    def _quoted(self, spec: JobSpec, facts: SceneFacts) -> Quote:
        self._say("Rendering a few frames very small, for the quote ...")
        quote = self._client.quote(spec, facts)
        try:
            quote = finished(self._client, quote)
        except KeyboardInterrupt:
            with suppress(FarmError):
                self._client.cancel(quote.quote)
            raise
        quote = at_price(quote, self._cap)
        for line in text(quote, self._symbol, self._decimals).splitlines():
            self._say(f"  {line}")
        return quote

    def _check_budget(self, quote: Quote) -> None:
        work, audits = reward(quote.units.p50, quote.price), reward(quote.audit_units, quote.price)
        if self._budget < work:
            raise BelowQuote(
                f"The budget of {self._said(self._budget)} is below the quote of {self._said(work)}. With "
                f"--budget {amounts.format(work + audits, self._decimals)} all of it is paid, audits too; "
                "what is not needed comes back."
            )
        if self._budget < work + audits:
            self._say("Should every tile be audited, the budget will not do, and the job will wait for more.")

    def _said(self, amount: int) -> str:
        return f"{amounts.format(amount, self._decimals)} {self._symbol}"
