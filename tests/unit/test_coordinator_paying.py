# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job must bring to be paid, what its terms say, and what its tiles count as."""

import asyncio
import json
from dataclasses import replace
from hashlib import sha256

import pytest

from farm_protocol import typed_data
from farm_protocol.errors import InvalidInput, NotFound
from farm_protocol.fields import Tile
from farm_protocol.records import JobSpec, JobState, RenderSettings, Task, TaskKind, TaskOutput
from frame_splitter.split import fingerprint
from payments.accounting import pricing
from payments.messages import signing
from payments.messages.network import Network, Windows
from payments.messages.quotes import Quote, QuoteState, WorkBand
from payments.messages.session import session_key
from payments.messages.statements import NOBODY, Payment
from render_farm.coordinator.intake import JobOrder, plan
from render_farm.coordinator.offers import NoChain
from render_farm.coordinator.paying import MOST_TILES, BelowQuote, Cashier, NoQuote, audit_share, tile_units
from render_farm.policy import payment_terms, verification_rules
from render_farm.policy.verification_rules import Arbiters, JobRules
from render_farm.store.quotes import StoredQuote
from tests.support.coordinator_api import FACTS
from verification.audit.rate import STAKE, Rates
from verification.audit.sampling import AuditPolicy

NOW = 1_700_000_000.0
ANN = "0x" + "a1" * 20
NETWORK = Network(
    chain_id=7,
    token="0x" + "01" * 20,
    market="0x" + "02" * 20,
    vault="0x" + "03" * 20,
    disputes="0x" + "04" * 20,
    windows=Windows(1, 1, 1, 4, 1),
    symbol="TEST",
    decimals=18,
)
RULES = verification_rules.local(b"\x05" * 32, 0.5, AuditPolicy(), Rates())
QUOTE = Quote(
    quote="q1",
    state=QuoteState.READY,
    fingerprint="ab" * 32,
    frames=(1, 2),
    frame_units=(3_000_000, 1_000_000),
    units=WorkBand(3_000_000, 4_000_000, 6_000_000),
)
SPEC = JobSpec("5c" * 32, (1, 2), tiles="2x1")
PAYMENT = Payment(budget=40 * 10**18, price_cap=10**19, client=ANN, refund_to=ANN, quote="q1")


class Known:
    """Ann's quotes, made for SPEC and FACTS."""

    def __init__(self, *quotes):
        self.quotes = {one.quote: one for one in quotes}

    async def get(self, job):
        made = self.quotes.get(job)
        if made is None:
            return None
        made = None if made.state is QuoteState.PROBING else made
        facts = replace(FACTS, assets=())
        return StoredQuote(job, "ann", JobState.COMPLETE, SPEC, facts, fingerprint(SPEC), "", made)


def cashier(*quotes, network=NETWORK, arbiters=None):
    return Cashier(Known(*quotes), RULES, network, arbiters, lambda: NOW)


def quoted(payment=PAYMENT, quote=QUOTE, owner="ann", spec=SPEC, facts=FACTS, **changes):
    return asyncio.run(cashier(quote, **changes).quote(owner, payment, spec, facts))


def job():
    return plan("ann", JobOrder(SPEC, FACTS), NOW)


def test_a_ready_quote_for_this_very_job_is_taken():
    assert quoted() == QUOTE


def test_without_a_chain_there_is_nothing_to_pay_with():
    with pytest.raises(NoChain, match="--chain"):
        quoted(network=None)


@pytest.mark.parametrize("owner", ["bob", ""])
def test_somebody_elses_quote_is_not_there(owner):
    with pytest.raises(NotFound):
        quoted(owner=owner)


@pytest.mark.parametrize("state", [QuoteState.PROBING, QuoteState.FAILED, QuoteState.CANCELLED])
def test_a_quote_without_figures_is_refused(state):
    with pytest.raises(NoQuote, match="not ready"):
        quoted(quote=replace(QUOTE, state=state))


def test_a_quote_for_another_job_is_refused():
    others = [
        {"spec": replace(SPEC, frames=(1, 2, 3))},
        {"spec": replace(SPEC, samples=64)},
        {"spec": replace(SPEC, scene="5d" * 32)},
        {"facts": replace(FACTS, resolution_x=640)},
    ]
    for other in others:
        with pytest.raises(NoQuote, match="another scene or other settings"):
            quoted(**other)
    assert quoted(spec=replace(SPEC, name="mine", priority=1)) == QUOTE


def test_an_id_that_is_none_reaches_no_other_key():
    with pytest.raises(NotFound):
        quoted(replace(PAYMENT, quote="q1:x"), quote=replace(QUOTE, quote="q1:x"))


def test_a_budget_below_the_quote_is_refused_with_figures():
    assert quoted(replace(PAYMENT, budget=40 * 10**18)) == QUOTE
    with pytest.raises(BelowQuote) as refused:
        quoted(replace(PAYMENT, budget=40 * 10**18 - 1))
    assert "4 render units" in refused.value.sentence
    assert str(40 * 10**18) in refused.value.sentence
    assert "1 short" in refused.value.sentence


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 0},
        {"budget": 1 << 128},
        {"price_cap": 0},
        {"price_cap": 1 << 96},
        {"client": NOBODY},
        {"refund_to": NOBODY},
        {"refund_to": NETWORK.market},
        {"client": NETWORK.vault},
        {"refund_to": NETWORK.token.upper().replace("X", "x")},
        {"deadline": int(NOW)},
        {"deadline": int(NOW) + 366 * 24 * 3600},
    ],
)
def test_payments_that_cannot_be_are_refused(wrong):
    with pytest.raises(InvalidInput):
        quoted(replace(PAYMENT, **wrong))


def test_terms_are_the_payments_signed_by_the_farm():
    new = job()
    signed = cashier().money(PAYMENT, QUOTE, new).terms
    said = signed.message
    signing.require_signer(said, NETWORK, signed.signature, RULES.address)
    assert (said.client, said.refundTo, said.priceCap, said.farm) == (ANN, ANN, 10**19, RULES.address)
    assert bytes.fromhex(said.name).rstrip(b"\0").decode() == new.job
    assert said.sessionKey == typed_data.address_of(session_key(RULES.key, new.job))
    assert said.deadline == NOW + 30 * 24 * 3600
    assert (said.arbiters, said.threshold, said.watcher) == ((RULES.address,), 1, NOBODY)


def test_terms_keep_what_the_client_and_the_farm_chose():
    chosen = Arbiters(("0x" + "11" * 20, "0x" + "22" * 20), 2)
    payment = replace(PAYMENT, deadline=int(NOW) + 60, watcher="0x" + "33" * 20)
    said = cashier(arbiters=chosen).money(payment, QUOTE, job()).terms.message
    assert (said.arbiters, said.threshold) == (chosen.addresses, 2)
    assert (said.deadline, said.watcher) == (NOW + 60, "0x" + "33" * 20)


def test_the_first_cap_is_backed_by_what_no_cheat_pays_against():
    first_cap = payment_terms.FIRST_TASKS * 1000
    assert first_cap * payment_terms.STAKE_SHARE // payment_terms.WHOLE >= STAKE * 1000


def test_the_hash_of_the_work_is_over_what_decides_about_it():
    settings, policy = RenderSettings(16, 3, 50, "PNG"), AuditPolicy()
    said = payment_terms.terms_hash("5c" * 32, settings, 7, policy)
    spelled = {
        "audits": {name: getattr(policy, name) for name in AuditPolicy.__dataclass_fields__},
        "price_cap": 7,
        "scene": "5c" * 32,
        "settings": {"format": "PNG", "resolution_percentage": 50, "samples": 16, "seed": 3},
    }
    text = json.dumps(spelled, sort_keys=True, separators=(",", ":"))
    assert said == sha256(text.encode()).hexdigest()
    others = [
        payment_terms.terms_hash("5d" * 32, settings, 7, policy),
        payment_terms.terms_hash("5c" * 32, replace(settings, samples=17), 7, policy),
        payment_terms.terms_hash("5c" * 32, settings, 8, policy),
        payment_terms.terms_hash("5c" * 32, settings, 7, replace(policy, crops=5)),
    ]
    assert len({said, *others}) == 5


def test_frames_count_as_quoted_and_tiles_by_the_pixels_they_render():
    money = cashier().money(PAYMENT, QUOTE, job())
    by_frame = {1: 0, 2: 0}
    for task, units in money.units.items():
        by_frame[int(task.split(".f")[1][0])] += units
        assert money.audit_units[task] == pricing.audit_units(units, money.audit_ppm)
    assert by_frame == {1: 3_000_000, 2: 1_000_000}
    assert not any("finish" in task for task in money.units)
    assert money.audit_ppm == audit_share(RULES.policy, FACTS.samples)


def test_a_paid_job_is_audited_as_its_terms_say():
    assert cashier().money(PAYMENT, QUOTE, job()).rules == JobRules(RULES.policy, RULES.rates)


def test_overscan_counts_as_far_as_it_is_rendered():
    area = Tile(0, 0, 100, 10)
    left = Task("j.f1.t0", "j", TaskKind.RENDER, 1, Tile(0, 0, 40, 10), 10)
    right = replace(left, id="j.f1.t1", tile=Tile(40, 0, 100, 10))
    finish = Task("j.f1.finish", "j", TaskKind.FINISH, 1, area, 0, TaskOutput.FINAL)
    units = tile_units((left, right, finish), area, {1: 1_200_000})
    assert units == {"j.f1.t0": 500_000, "j.f1.t1": 700_000}


def test_a_frame_has_no_more_tiles_than_one_node_can_do_before_its_voucher():
    one = Task("j1.f1.x", "j1", TaskKind.RENDER, 1, Tile(0, 0, 8, 8))
    many = tuple(replace(one, id=f"j1.f1.{number}") for number in range(MOST_TILES + 1))
    assert len(tile_units(many[:-1], Tile(0, 0, 8, 8), {1: 10**6})) == MOST_TILES
    with pytest.raises(InvalidInput, match="at most 128 tiles"):
        tile_units(many, Tile(0, 0, 8, 8), {1: 10**6})
