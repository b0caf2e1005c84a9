# SPDX-License-Identifier: GPL-3.0-or-later
"""Who signed what about money; and the tree of a voucher, which shows what was paid and nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm_protocol import typed_data
from farm_protocol.errors import InvalidInput
from farm_protocol.ids import JobId
from farm_protocol.typed_data import BadSignature
from payments.messages import accepted_tree, signing
from payments.messages.accepted_tree import Beside
from payments.messages.promises import Credit, Offer, Order, Raise, Slash, Terms, Voucher
from payments.messages.session import session_key
from tests.unit.test_payments_vectors import AGREEMENT, KEY, MESSAGES, NETWORK

ADDRESS = typed_data.address_of(KEY)
VOUCHER = Voucher(AGREEMENT, 5, "ac" * 32)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_signature_is_its_signers(name: str) -> None:
    message = MESSAGES[name]
    signature = signing.sign(message, NETWORK, KEY)
    signing.require_signer(message, NETWORK, signature, ADDRESS.lower())
    with pytest.raises(BadSignature, match="not that of"):
        signing.require_signer(message, NETWORK, signature, "0x" + "11" * 20)


def test_the_domain_is_chain_and_contract() -> None:
    slash = MESSAGES["slash"]
    signed = [(VOUCHER, signing.sign(VOUCHER, NETWORK, KEY)), (slash, signing.sign(slash, NETWORK, KEY))]
    others = [replace(NETWORK, chain_id=1), replace(NETWORK, market="0x" + "99" * 20)]
    others.append(replace(NETWORK, disputes="0x" + "99" * 20))
    found = [
        [signing.signer(message, other, signature) == ADDRESS for other in others]
        for message, signature in signed
    ]
    assert found == [[False, False, True], [False, True, False]]


def malleated(signature: str) -> str:
    """The other signature that says the same to those who do not look."""
    raw = bytes.fromhex(signature[2:])
    s = typed_data.ORDER - int.from_bytes(raw[32:64], "big")
    return "0x" + (raw[:32] + s.to_bytes(32, "big") + bytes([55 - raw[64]])).hex()


def test_the_other_signature_that_says_the_same_is_refused() -> None:
    signature = malleated(signing.sign(VOUCHER, NETWORK, KEY))
    with pytest.raises(BadSignature, match="canonical"):
        signing.signer(VOUCHER, NETWORK, signature)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "0x",
        "0xzz",
        "0x" + "00" * 65,
        "0x" + "11" * 64 + "1b" + "00",
        "0x" + "ff" * 32 + "11" * 32 + "1b",
    ],
)
def test_what_is_no_signature_is_refused(signature: str | None) -> None:
    with pytest.raises(BadSignature):
        signing.signer(VOUCHER, NETWORK, signature)


def test_signatures_end_with_27_or_28() -> None:
    signature = signing.sign(VOUCHER, NETWORK, KEY)
    other = 55 - int(signature[-2:], 16)
    assert signing.signer(VOUCHER, NETWORK, f"{signature[:-2]}{other:02x}") != ADDRESS
    for last in set(range(256)) - {27, 28}:
        with pytest.raises(BadSignature):
            signing.signer(VOUCHER, NETWORK, f"{signature[:-2]}{last:02x}")


@given(st.binary(min_size=65, max_size=65))
@settings(max_examples=60, deadline=None)
def test_65_bytes_of_anybody_are_a_signature_of_somebody_else_or_none(raw: bytes) -> None:
    try:
        found = signing.signer(VOUCHER, NETWORK, "0x" + raw.hex())
    except BadSignature:
        return
    assert found != ADDRESS


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (Raise(AGREEMENT, 1 << 128), "cap"),
        (Voucher(AGREEMENT, -1, "ac" * 32), "cumulative"),
        (replace(MESSAGES["order"], taskCap=1 << 96), "taskCap"),
        (replace(MESSAGES["order"], claimTasks=1 << 16), "claimTasks"),
        (replace(MESSAGES["offer"], price=1 << 96), "price"),
        (replace(MESSAGES["terms"], threshold=256), "threshold"),
        (replace(MESSAGES["terms"], deadline=1 << 64), "deadline"),
        (replace(MESSAGES["slash"], amount=1 << 200), "amount"),
    ],
)
def test_figures_that_the_contract_cannot_hold_are_refused(
    message: Raise | Voucher | Order | Offer | Terms | Slash, name: str
) -> None:
    with pytest.raises(InvalidInput, match=name):
        signing.sign(message, NETWORK, KEY)


def test_an_agreements_id_is_its_orders_digest() -> None:
    order = MESSAGES["order"]
    assert isinstance(order, Order)
    assert signing.agreement_id(order, NETWORK) == signing.digest(order, NETWORK).hex()
    assert signing.agreement_id(replace(order, salt=13), NETWORK) != signing.agreement_id(order, NETWORK)


def test_session_keys_are_one_a_job_and_always_the_same() -> None:
    jobs = [JobId(f"j{number}") for number in range(50)]
    keys = {session_key(KEY, job) for job in jobs}
    assert len(keys) == 50
    assert keys == {session_key(KEY, job) for job in jobs}
    assert session_key(bytes(31) + b"\x01", jobs[0]) not in keys
    assert KEY not in keys


CREDITS = st.lists(
    st.builds(
        Credit,
        st.text(min_size=1, max_size=20),
        st.binary(min_size=32, max_size=32).map(bytes.hex),
        st.integers(0, (1 << 96) - 1),
    ),
    min_size=1,
    max_size=40,
)


@given(CREDITS)
@settings(deadline=None)
def test_every_leaf_has_its_way_and_the_sums_add_up(credited: list[Credit]) -> None:
    root, total = accepted_tree.root(credited)
    assert total == sum(credit.amount for credit in credited)
    for index, credit in enumerate(credited):
        way = accepted_tree.way(credited, index)
        assert len(way) <= (len(credited) - 1).bit_length()
        assert accepted_tree.holds(root, total, credit, way)


@given(CREDITS, st.data())
@settings(deadline=None)
def test_what_was_changed_never_holds(credited: list[Credit], data: st.DataObject) -> None:
    root, total = accepted_tree.root(credited)
    index = data.draw(st.integers(0, len(credited) - 1))
    credit, way = credited[index], accepted_tree.way(credited, index)
    more = data.draw(st.integers(1, 1000))
    changed = [
        replace(credit, amount=credit.amount + more),
        replace(credit, task=credit.task + "x"),
        replace(credit, pixel_root=bytes(b ^ 1 for b in bytes.fromhex(credit.pixel_root)).hex()),
    ]
    assert not any(accepted_tree.holds(root, total, one, way) for one in changed)
    assert not accepted_tree.holds(root, total + more, credit, way)
    if way:
        step = data.draw(st.integers(0, len(way) - 1))
        for other in _changes(way[step], more):
            assert not accepted_tree.holds(root, total, credit, [*way[:step], other, *way[step + 1 :]])
        assert not accepted_tree.holds(root, total, credit, way[:-1])
    assert not accepted_tree.holds(root, total, credit, [*way, Beside("00" * 32, 0, False)])


def _changes(step: Beside, more: int) -> list[Beside]:
    # The side is left out: with two leaves alike it says nothing.
    return [replace(step, sum=step.sum + more), replace(step, hash="00" * 32)]


@given(CREDITS, CREDITS)
@settings(deadline=None)
def test_a_root_is_of_one_list_in_one_order(one: list[Credit], other: list[Credit]) -> None:
    if one != other:
        assert accepted_tree.root(one) != accepted_tree.root(other)
    if one[::-1] != one:
        assert accepted_tree.root(one[::-1]) != accepted_tree.root(one)


def test_nothing_credited_has_a_root_of_zeros() -> None:
    assert accepted_tree.root([]) == ("0" * 64, 0)
    with pytest.raises(IndexError):
        accepted_tree.way([], 0)


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    credited = [Credit(f"j.f{i}", "cd" * 32, i + 1) for i in range(4)]
    root, total = accepted_tree.root(credited)
    left = accepted_tree.root(credited[:2])
    forged = Credit("j.f0", left[0], left[1])
    assert not accepted_tree.holds(root, total, forged, accepted_tree.way(credited, 0)[1:])
