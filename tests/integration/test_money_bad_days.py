# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad days of a job's money on the real contracts, by the calls and signatures that the farm makes; on the
farm's own chain and on anvil.
"""

from collections.abc import Iterator
from dataclasses import astuple, replace

import pytest
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address

from farm_protocol import typed_data
from farm_protocol.typed_data import BadSignature
from payments.chain.artifacts import artifact
from payments.chain.market import Market
from payments.chain.market_records import AgreementState, Call
from payments.chain.refusals import SENTENCES
from payments.chain.rpc import Chain, WrongChain
from payments.messages import accepted_tree, signing
from payments.messages.promises import Credit, Signed, Voucher, job_name
from payments.messages.session import session_key
from payments.wallet.keystore import new_key
from tests.support.anvil import anvil, without_anvil
from tests.support.local_chain import local_chain
from tests.support.money_stage import CAP, DAY, DEPOSIT, LIFE, STAKE, TOKEN, WINDOWS, Stage

CURVE = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
BURN = "0x" + "00" * 18 + "dEaD"
CHAINS = [
    pytest.param(local_chain, id="local"),
    pytest.param(anvil, id="anvil", marks=without_anvil),
]


@pytest.fixture(scope="module", params=CHAINS)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with request.param(tmp_path_factory.mktemp("chain")) as running:
        yield Stage(running, tmp_path_factory.mktemp("bank"))


@pytest.fixture
def job(stage: Stage) -> int:
    """A job of its own for each test, and operators without debts from the tests before."""
    stage.payee = new_key().address
    stage.operator = stage.local.rich_key(1000)
    stage.add_stake(stage.operator)
    return stage.open_job()


def paid(stage: Stage, agreement: str) -> int:
    return int(stage.market.agreement(agreement).paid)


def redeem(stage: Stage, *vouchers: Signed[Voucher]) -> None:
    stage.send(stage.stranger, stage.market.redeem(vouchers))


def test_a_job_from_its_deposit_to_the_last_unit(stage: Stage, job: int) -> None:
    one, two = stage.open_agreement(job), stage.open_agreement(job)
    before = stage.balance(stage.client.address)
    raised = stage.raised(one, 2 * CAP)
    stage.send(stage.bank, stage.market.raise_cap(raised), stage.market.redeem([stage.voucher(two, CAP)]))
    last, release = stage.voucher(one, 2 * CAP - 7), stage.released(one, 2 * CAP - 7)
    ending = [stage.market.redeem([last]), stage.market.release_for(release)]
    stage.send(stage.stranger, *ending, stage.market.release_for(stage.released(two, CAP)))
    left = int(stage.market.available(job))
    stage.send(stage.client, stage.market.take_back(job, left))
    assert stage.balance(stage.payee) == 3 * CAP - 7
    assert stage.balance(stage.client.address) - before == DEPOSIT - (3 * CAP - 7)
    assert stage.market.job(job).budget == stage.market.job(job).committed == 3 * CAP - 7


# --- vouchers


def test_vouchers_replayed_lowered_and_out_of_order_pay_each_unit_once(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    rising = [stage.voucher(agreement, TOKEN * figure) for figure in (1, 5, 3, 5, 2)]
    for voucher in rising:
        redeem(stage, voucher)
    redeem(stage, *rising)
    assert stage.balance(stage.payee) == paid(stage, agreement) == 5 * TOKEN


def test_a_voucher_is_worth_nothing_at_another_agreement(stage: Stage, job: int) -> None:
    one, two = stage.open_agreement(job), stage.open_agreement(job)
    said = stage.voucher(one, 5 * TOKEN)
    other = Signed(replace(said.message, agreement=two), said.signature)
    assert stage.refusal(stage.stranger, stage.market.redeem([other])) == "NoSession"
    higher = Signed(replace(said.message, cumulative=6 * TOKEN), said.signature)
    assert stage.refusal(stage.stranger, stage.market.redeem([higher])) == "NoSession"
    with pytest.raises(BadSignature):
        signing.require_signer(other.message, stage.network, other.signature, stage.session.address)


def test_a_session_key_signs_for_its_own_job_only(stage: Stage, job: int) -> None:
    thief = new_key()
    stage.open_job(sessionKey=thief.address)
    agreement = stage.open_agreement(job)
    stolen = stage.voucher(agreement, 5 * TOKEN, thief)
    assert stage.refusal(stage.stranger, stage.market.redeem([stolen])) == "NoSession"


def test_a_voucher_over_the_cap_pays_nothing_not_even_the_cap(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    over = stage.market.redeem([stage.voucher(agreement, CAP + 1)])
    assert stage.refusal(stage.stranger, over) == "OverCap"
    redeem(stage, stage.voucher(agreement, CAP))
    assert stage.balance(stage.payee) == CAP


def malleated(signature: str) -> str:
    """The other signature of the same key for the same message: r, order - s, and the other v."""
    raw = bytes.fromhex(signature[2:])
    s = (CURVE - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
    return "0x" + (raw[:32] + s + bytes([27 + 28 - raw[64]])).hex()


def test_a_malleated_signature_is_refused_by_the_contract_and_by_the_farm(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    said = stage.voucher(agreement, 5 * TOKEN)
    other = Signed(said.message, malleated(said.signature))
    assert stage.refusal(stage.stranger, stage.market.redeem([other])) == "ECDSAInvalidSignatureS"
    with pytest.raises(BadSignature, match="canonical"):
        signing.signer(other.message, stage.network, other.signature)
    # It does recover to the session key: nothing but its form tells it apart.
    assert malleated(other.signature) == said.signature


def test_what_is_signed_for_another_chain_or_market_is_nothing_here(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    message = Voucher(agreement, 5 * TOKEN, "0" * 64)
    for elsewhere in (
        replace(stage.network, chain_id=stage.network.chain_id + 1),
        replace(stage.network, market=stage.network.vault),
    ):
        signature = signing.sign(message, elsewhere, stage.session.reveal())
        brought = stage.market.redeem([Signed(message, signature)])
        assert stage.refusal(stage.stranger, brought) == "NoSession"
        with pytest.raises(BadSignature):
            signing.require_signer(message, stage.network, signature, stage.session.address)


def test_a_wrong_chain_token_or_market_is_said_before_anything_is_signed(stage: Stage) -> None:
    with pytest.raises(WrongChain, match="set up for chain 5"):
        Chain(stage.local.url, 5)
    for wrong in (
        replace(stage.network, token=stage.network.vault),
        replace(stage.network, market=stage.network.token),
        replace(stage.network, disputes=stage.network.vault),
        replace(stage.network, decimals=6),
    ):
        with pytest.raises(WrongChain):
            Market(stage.market.chain, wrong).check()
    stage.market.check()


# --- strangers


def test_a_stranger_gets_nothing_out_of_somebodys_offer(stage: Stage, job: int) -> None:
    offer, market = stage.offer(), stage.market
    own = stage.order(job, offer, stage.stranger)
    assert stage.refusal(stage.stranger, market.open_agreement(offer, own)) == "NoSession"
    # A job of the stranger's own: it needs the farm's signature, or another farm.
    alone = stage.terms(client=stage.stranger.address, sessionKey=stage.stranger.address)
    forged = replace(alone, signature=stage.sign(alone.message, stage.stranger))
    assert stage.refusal(stage.stranger, market.open_job(forged, 0)) == "WrongSigner"
    foreign = replace(alone.message, farm=stage.stranger.address)
    opened = replace(alone, message=foreign, signature=stage.sign(foreign, stage.stranger))
    stage.send(stage.stranger, market.open_job(opened, 0))
    taken = stage.order(stage.number(opened), offer, stage.stranger)
    assert stage.refusal(stage.stranger, market.open_agreement(offer, taken)) == "OfferUnfit"


def test_what_a_stranger_may_bring_is_done_as_it_was_signed_and_once(stage: Stage, job: int) -> None:
    offer = stage.offer()
    order = stage.order(job, offer)
    richer = Signed(replace(order.message, cap=2 * CAP), order.signature)
    assert stage.refusal(stage.stranger, stage.market.open_agreement(offer, richer)) == "NoSession"
    own = replace(offer, message=replace(offer.message, payee=stage.stranger.address))
    assert stage.refusal(stage.stranger, stage.market.open_agreement(own, order)) == "OtherOffer"
    stage.send(stage.stranger, stage.market.open_agreement(offer, order))
    assert stage.refusal(stage.stranger, stage.market.open_agreement(offer, order)) == "AlreadyOpen"
    agreement = signing.agreement_id(order.message, stage.network)
    redeem(stage, stage.voucher(agreement, TOKEN))
    assert stage.balance(stage.payee) == TOKEN
    assert stage.balance(stage.stranger.address) == 0


def test_a_strangers_signature_on_an_offer_locks_only_the_strangers_stake(stage: Stage, job: int) -> None:
    forged = stage.offer(stage.stranger)
    order = stage.order(job, forged)
    assert stage.refusal(stage.stranger, stage.market.open_agreement(forged, order)) == "TooLittleStake"


def test_terms_are_of_use_to_their_client_alone(stage: Stage) -> None:
    terms = stage.terms()
    assert stage.refusal(stage.stranger, stage.market.open_job(terms, 0)) == "NotClient"


def test_two_coordinators_of_one_farm_cannot_do_a_thing_twice(stage: Stage) -> None:
    farm_key, name = stage.farm.reveal(), "jtwice" + new_key().address[2:12]
    keys = {session_key(farm_key, name) for _ in range(2)}  # type: ignore[arg-type]
    assert len(keys) == 1
    terms = stage.terms(name=job_name(name), sessionKey=typed_data.address_of(keys.pop()))  # type: ignore[arg-type]
    stage.send(stage.client, stage.market.open_job(terms, DEPOSIT))
    assert stage.refusal(stage.client, stage.market.open_job(terms, DEPOSIT)) == "NameTaken"
    number, offer = stage.number(terms), stage.offer()
    message = stage.order(number, offer, salt=0).message
    both = [
        signing.signed(message, stage.network, session_key(farm_key, name))  # type: ignore[arg-type]
        for _ in range(2)
    ]
    assert both[0] == both[1]
    stage.send(stage.bank, stage.market.open_agreement(offer, both[0]))
    assert stage.refusal(stage.bank, stage.market.open_agreement(offer, both[1])) == "AlreadyOpen"


# --- somebody is gone


def test_the_client_lost_its_key_and_gets_the_rest_all_the_same(stage: Stage) -> None:
    cold = new_key().address
    number = stage.open_job(refundTo=cold)
    agreement = stage.open_agreement(number)
    redeem(stage, stage.voucher(agreement, 5 * TOKEN))
    assert stage.refusal(stage.stranger, stage.market.refund(number)) == "TooEarly"
    assert stage.refusal(stage.stranger, stage.market.take_back(number, 1)) == "NotClient"
    stage.later(LIFE + WINDOWS.grace)
    stage.send(stage.stranger, stage.market.close(agreement), stage.market.refund(number))
    assert stage.balance(cold) == DEPOSIT - 5 * TOKEN


def test_an_operator_that_is_gone_holds_nothing_back(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    over = stage.market.take_back(job, DEPOSIT - CAP + 1)
    assert stage.refusal(stage.client, over) == "OverBudget"
    stage.send(stage.client, stage.market.end(job))
    assert stage.refusal(stage.client, stage.market.close(agreement)) == "TooEarly"
    stage.later(WINDOWS.grace)
    stage.send(stage.client, stage.market.close(agreement), stage.market.take_back(job, DEPOSIT))
    assert stage.market.job(job).budget == 0


def test_the_coordinator_is_dead_for_ever_and_the_contract_pays(stage: Stage) -> None:
    cold = new_key().address
    stage.payee = new_key().address
    number = stage.open_job(refundTo=cold)
    agreement = stage.open_agreement(number)
    last = stage.voucher(agreement, 20 * TOKEN)
    tasks = [stage.unpaid(number, f"f{frame}.t0", 7 * TOKEN) for frame in range(3)]
    stage.later(LIFE - DAY)
    stage.send(stage.operator, stage.market.claim_unpaid(agreement, last, tasks))
    assert stage.balance(stage.payee) == 20 * TOKEN
    stage.later(WINDOWS.claim)
    stage.send(stage.stranger, stage.market.settle_claim(agreement))
    assert stage.balance(stage.payee) == 41 * TOKEN
    redeem(stage, last)
    stage.later(WINDOWS.grace)
    stage.send(stage.stranger, stage.market.close(agreement), stage.market.refund(number))
    assert stage.balance(cold) == DEPOSIT - 41 * TOKEN


# --- claims for what is not owed


def test_a_claim_for_work_never_done_is_contested_and_refused(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    stage.send(
        stage.operator, stage.market.claim_unpaid(agreement, None, [stage.unpaid(job, "f1.t0", 9 * TOKEN)])
    )
    before = stage.balance(stage.client.address)
    assert stage.refusal(stage.stranger, stage.market.contest(agreement)) == "CannotContest"
    stage.send(stage.client, stage.market.contest(agreement))
    assert stage.balance(stage.client.address) == before - 9 * TOKEN // 10
    ruling, panel = stage.ruling(agreement, 0)
    forged = replace(panel, signatures=(stage.sign(ruling, stage.operator),))
    assert stage.refusal(stage.operator, stage.market.rule_claim(ruling, forged)) == "NotTheBench"
    stage.send(stage.stranger, stage.market.rule_claim(ruling, panel))
    assert stage.balance(stage.client.address) == before
    assert stage.balance(stage.payee) == paid(stage, agreement) == 0
    again = stage.market.claim_unpaid(agreement, None, [stage.unpaid(job, "f2.t0", TOKEN)])
    assert stage.refusal(stage.operator, again) == "ClaimedBefore"


def test_claims_need_the_farms_receipt_for_a_task_of_the_job(stage: Stage, job: int) -> None:
    agreement, other = stage.open_agreement(job), stage.open_job()

    def refusal(*tasks: object) -> str:
        return stage.refusal(stage.operator, stage.market.claim_unpaid(agreement, None, tasks))  # type: ignore[arg-type]

    assert refusal(stage.unpaid(job, "f1.t0", TOKEN, farm=stage.operator)) == "WrongSigner"
    assert refusal(stage.unpaid(job, "f1.t0", TOKEN, node=stage.operator)) == "WrongSigner"
    assert refusal(stage.unpaid(other, "f1.t0", TOKEN)) == "BadTask"
    assert refusal(stage.unpaid(job, "f1.t0", 11 * TOKEN)) == "BadTask"
    same = stage.unpaid(job, "f1.t0", TOKEN)
    assert refusal(same, same) == "BadTask"
    assert refusal(*[stage.unpaid(job, f"f{frame}.t0", TOKEN) for frame in range(5)]) == "TaskCount"
    assert refusal(same) == ""
    mine = stage.market.claim_unpaid(agreement, None, [same])
    assert stage.refusal(stage.stranger, mine) == "NotOperator"


def test_a_task_that_a_voucher_paid_is_struck_from_the_claim(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    name = bytes.fromhex(stage.market.job(job).name).rstrip(b"\0").decode()
    accepted = [Credit(f"{name}.f{frame}.t0", f"{frame:064x}", (frame + 1) * TOKEN) for frame in range(5)]
    last = stage.voucher_for(agreement, accepted)
    tasks = [stage.unpaid(job, "f2.t0", 3 * TOKEN), stage.unpaid(job, "f9.t0", 4 * TOKEN)]
    stage.send(stage.operator, stage.market.claim_unpaid(agreement, last, tasks))
    wrong = stage.market.show_paid(agreement, accepted[2], accepted_tree.way(accepted, 1))
    assert stage.refusal(stage.stranger, wrong) == "NotShown"
    shown = stage.market.show_paid(agreement, accepted[2], accepted_tree.way(accepted, 2))
    stage.send(stage.stranger, shown)
    stage.later(WINDOWS.claim)
    stage.send(stage.stranger, stage.market.settle_claim(agreement))
    assert stage.balance(stage.payee) == (15 + 4) * TOKEN


def test_a_claim_and_a_later_voucher_pay_the_greater_never_the_sum(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    stage.send(
        stage.operator, stage.market.claim_unpaid(agreement, None, [stage.unpaid(job, "f1.t0", 7 * TOKEN)])
    )
    assert stage.refusal(stage.operator, stage.market.release(agreement)) == "WrongState"
    redeem(stage, stage.voucher(agreement, 9 * TOKEN))
    stage.later(WINDOWS.claim)
    stage.send(stage.stranger, stage.market.settle_claim(agreement))
    assert stage.balance(stage.payee) == 9 * TOKEN


# --- the session key is stolen


def test_a_stolen_session_key_costs_at_most_the_caps_that_are_open(stage: Stage, job: int) -> None:
    thief, accomplice = stage.session, stage.local.rich_key(10)
    honest = stage.open_agreement(job)
    stage.add_stake(accomplice, STAKE)
    offer = stage.offer(accomplice, payee=accomplice.address)
    false = stage.open_agreement(job, offer)
    stage.send(stage.client, stage.market.revoke(job, thief.address))
    new = stage.market.open_agreement(offer, stage.order(job, offer, thief))
    assert stage.refusal(accomplice, new) == "NoSession"
    more = stage.market.raise_cap(stage.raised(false, 2 * CAP, thief))
    assert stage.refusal(accomplice, more) == "NoSession"
    redeem(stage, stage.voucher(honest, 5 * TOKEN), stage.voucher(false, CAP, thief))
    assert stage.balance(accomplice.address) == CAP
    stage.later(WINDOWS.claim + 1)
    late = stage.market.redeem([stage.voucher(honest, 6 * TOKEN)])
    assert stage.refusal(stage.stranger, late) == "NoSession"
    # A new key goes on where the stolen one was.
    fresh = new_key()
    stage.send(stage.client, stage.market.appoint(job, fresh.address))
    redeem(stage, stage.voucher(honest, 6 * TOKEN, fresh))
    assert stage.balance(stage.payee) == 6 * TOKEN


# --- stake


def test_stake_that_is_being_withdrawn_is_slashed_all_the_same(stage: Stage, job: int) -> None:
    operator, market = stage.operator, stage.market
    agreement = stage.open_agreement(job)
    redeem(stage, stage.voucher(agreement, 30 * TOKEN))
    stage.send(operator, market.release(agreement))
    assert stage.refusal(operator, market.withdraw(STAKE - CAP + 1)) == "TooLittleStake"
    stage.send(operator, market.withdraw(STAKE - CAP))
    stage.later(WINDOWS.unbonding - 60)
    assert stage.refusal(operator, market.free(operator.address, agreement)) == "StillBound"
    said, case, panel = stage.slash(agreement, 50 * TOKEN, 10 * TOKEN)
    stage.send(stage.stranger, market.propose_slash(said, panel))
    stage.later(61)
    assert stage.refusal(operator, market.free(operator.address, agreement)) == "StillBound"
    assert stage.refusal(stage.stranger, market.execute_slash(case)) == "TooEarly"
    stage.later(WINDOWS.slash)
    before, burnt = stage.balance(stage.client.address), stage.balance(BURN)
    stage.send(stage.stranger, market.execute_slash(case))
    assert stage.balance(stage.client.address) == before + 10 * TOKEN
    assert stage.balance(BURN) == burnt + 40 * TOKEN
    stage.send(operator, market.free(operator.address, agreement))
    assert market.stake(operator.address).free == CAP - 50 * TOKEN
    assert stage.refusal(stage.stranger, market.execute_slash(case)) == "WrongStage"


def test_two_pictures_under_one_lease_cost_the_stake_behind_the_agreement(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    redeem(stage, stage.voucher(agreement, 30 * TOKEN))
    name = bytes.fromhex(stage.market.job(job).name).rstrip(b"\0").decode()
    (one, by_one), (other, by_other) = (
        stage.attested(f"{name}.f1.t0", pixels) for pixels in (b"these", b"those")
    )
    told = stage.market.report_equivocation(agreement, one, by_one, other, by_other)
    same = stage.market.report_equivocation(agreement, one, by_one, one, by_one)
    assert stage.refusal(stage.stranger, same) == "NoEquivocation"
    forged = stage.attested(f"{name}.f1.t0", b"others", key=stage.stranger)
    framed = stage.market.report_equivocation(agreement, one, by_one, *forged)
    assert stage.refusal(stage.stranger, framed) == "NoEquivocation"
    before = stage.balance(stage.stranger.address)
    stage.send(stage.stranger, told)
    assert stage.balance(stage.stranger.address) - before == CAP // 10
    assert stage.market.backing(stage.operator.address, agreement).amount == 0
    assert stage.refusal(stage.stranger, told) == "NoEquivocation"
    more = stage.market.raise_cap(stage.raised(agreement, 2 * CAP))
    assert stage.refusal(stage.stranger, more) == "AgreementSlashed"


# --- the chain stands still


def test_an_hour_without_blocks_and_then_a_burst_in_any_order(stage: Stage, job: int) -> None:
    agreement = stage.open_agreement(job)
    figures = [3, 9, 1, 7, 5]
    hands = [stage.local.rich_key(10) for _ in figures]
    stage.local.rpc("evm_setAutomine", False)
    sent = [
        stage.hand_in(hand, stage.market.redeem([stage.voucher(agreement, figure * TOKEN)]))
        for hand, figure in zip(hands, figures, strict=True)
    ]
    assert paid(stage, agreement) == 0
    stage.local.rpc("evm_increaseTime", 3600)
    stage.local.rpc("evm_setAutomine", True)
    assert {stage.receipt(one)["status"] for one in sent} == {"0x1"}
    assert stage.balance(stage.payee) == paid(stage, agreement) == 9 * TOKEN
    assert stage.market.agreement(agreement).state is AgreementState.OPEN


# --- tokens that are not plain


def made(stage: Stage, code: str) -> str:
    receipt = stage.receipt(stage.hand_in(stage.bank, Call("", "0x" + code)))
    assert receipt["status"] == "0x1"
    return to_checksum_address(receipt["contractAddress"])


def token_that_answers(word: int) -> str:
    """The code of a contract that does nothing and answers every call with this word: PUSH32 word, MSTORE,
    RETURN, behind the code that puts it there.
    """
    does = "7f" + f"{word:064x}" + "5f52" + "60205ff3"
    return f"60{len(does) // 2:02x}8060095f395ff3" + does


@pytest.mark.parametrize(
    ("word", "refusal"),
    [(0, "SafeERC20FailedOperation"), (1, "NotPlain")],
    ids=["says that it failed", "says that it worked and brings nothing"],
)
def test_a_token_that_is_not_plain_is_refused_when_a_job_is_opened(
    stage: Stage, word: int, refusal: str
) -> None:
    token = made(stage, token_that_answers(word))
    windows = tuple(astuple(WINDOWS))
    told = encode(["address", "(uint64,uint64,uint64,uint64,uint64)"], [token, windows]).hex()
    place = made(stage, artifact("RenderMarket").bytecode.removeprefix("0x") + told)
    there = replace(stage.network, token=token, market=place)
    message = stage.terms().message
    terms = signing.signed(message, there, stage.farm.reveal())
    opening = Market(stage.market.chain, there).open_job(terms, DEPOSIT)
    assert stage.refusal(stage.client, opening) == refusal
    assert "token" in SENTENCES[refusal]
