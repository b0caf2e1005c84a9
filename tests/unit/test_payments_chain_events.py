# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of the contracts as records, and as ledgers keep them: under the names they always had."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from farm_protocol.fields import convert
from payments.chain.artifacts import artifact
from payments.chain.chain_events import AnyEvent, decoded
from payments.chain.rpc import Log

KEPT: dict[str, tuple[str, dict[str, str]]] = {
    "JobOpened": ("opened", {"total": "job", "who": "client", "mark": "termsHash"}),
    "Funded": ("funded", {"amount": "amount"}),
    "Refunded": ("refunded", {"amount": "amount"}),
    "SessionAppointed": ("appointed", {"who": "key"}),
    "SessionRevoked": ("revoked", {"who": "key", "total": "validUntil"}),
    "JobEnded": ("ended", {"total": "deadline"}),
    "AgreementOpened": ("agreement", {"total": "cap", "who": "operator"}),
    "CapRaised": ("raised", {"total": "cap"}),
    "Paid": ("paid", {"amount": "amount", "total": "cumulative", "mark": "acceptedRoot"}),
    "AgreementClosed": ("closed", {"total": "paid"}),
    "ClaimFiled": ("claimed", {"amount": "extra", "total": "base"}),
    "ClaimStruck": ("struck", {"amount": "amount", "mark": "task"}),
    "ClaimContested": ("contested", {"amount": "bond", "who": "contester"}),
    "ClaimSettled": ("claim_settled", {"amount": "extra", "total": "cumulative"}),
    "Locked": ("locked", {"amount": "amount", "who": "operator"}),
    "Slashed": ("slashed", {"total": "client", "who": "operator"}),
    "SlashProposed": ("proposed", {"amount": "amount", "total": "executeAt", "mark": "slash"}),
    "SlashExecuted": ("executed", {"amount": "amount", "mark": "slash"}),
    "SlashWithdrawn": ("withdrawn", {"mark": "slash"}),
    "ClaimRuled": ("ruled", {"amount": "extra"}),
    "Equivocation": ("equivocation", {"total": "token", "who": "node", "mark": "task"}),
}
"""Each event's kind in a ledger, and which of its values stands there under which name."""


def logged(name: str) -> Log:
    """An event whose values all differ."""
    makers = {
        "bytes32": lambda n: bytes([n]) * 32,
        "address": lambda n: f"0x{n:040x}",
        "string": "task{}".format,
    }
    abi = [one for contract in ("RenderMarket", "StakeVault", "Disputes") for one in artifact(contract).abi]
    inputs = next(one["inputs"] for one in abi if one["type"] == "event" and one["name"] == name)
    values = {
        given["name"]: makers.get(given["type"], lambda n: 100 + n)(number)
        for number, given in enumerate(inputs, 1)
    }
    return Log(name, "0xaa", values, 5, "0xbb", 2, "0xcc")


def plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


@pytest.mark.parametrize("name", KEPT)
def test_an_event_is_kept_under_the_names_that_ledgers_have(name) -> None:
    log = logged(name)
    (event,) = decoded([log])
    kind, named = KEPT[name]
    wanted = {"kind": kind, "event": "0xbb:2", "block": 5, "transaction": "0xcc"}
    wanted |= {kept: plain(log.values[said]) for kept, said in named.items()}
    if "agreement" in log.values:
        wanted["agreement"] = plain(log.values["agreement"])
    if name == "Slashed":
        wanted["amount"] = sum(log.values[part] for part in ("client", "reporter", "burned"))
    kept = msgspec.to_builtins(event)
    assert wanted.items() <= kept.items()
    assert convert(kept, AnyEvent) == event
    of_old = convert(
        {"after": 3, "agreement": "", "amount": 0, "total": 0, "who": "", "mark": ""} | wanted, AnyEvent
    )
    assert (type(of_old), of_old.after, of_old.event) == (type(event), 3, event.event)
    assert {name: kept.get(name) for name in wanted} == {
        name: msgspec.to_builtins(of_old).get(name) for name in wanted
    }


def test_events_about_no_job_are_left_out() -> None:
    assert decoded([logged("Staked"), logged("OfferCancelled"), logged("Withdrawn")]) == []


def test_the_greatest_token_that_a_node_can_sign_is_read_again() -> None:
    told = logged("Equivocation")
    (event,) = decoded([replace(told, values=told.values | {"token": (1 << 64) - 1})])
    assert convert(msgspec.to_builtins(event), AnyEvent) == event
