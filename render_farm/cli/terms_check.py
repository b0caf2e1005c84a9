# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client looks at before its money moves: that the terms the farm signed are those it asked for."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from farm_protocol.errors import Forbidden, InvalidInput
from payments.network import Network
from payments.promises import SignedTerms, Terms, job_name
from payments.statements import Payment

if TYPE_CHECKING:
    from farm_protocol.ids import SceneId
    from farm_protocol.records import RenderSettings
    from render_farm.cli.purse import Kept
    from verification.sampling import AuditPolicy

LONGEST_DAYS = 92
"""A farm's own choice of a deadline beyond this is refused: until then nobody but the client gets the rest
of the money out.
"""
DAY = 86_400
WHOLE = 10_000
SHOWN = ("chain_id", "market", "vault", "disputes", "token", "decimals")


class BadTerms(Forbidden):
    """The farm's terms are not what was asked for."""

    code = "bad_terms"


class WrongNetwork(InvalidInput):
    """The farm settles elsewhere than where the client's money is."""

    code = "wrong_network"


def check_settles(farm: Network | None) -> Network:
    """Where a farm settles. Raises WrongNetwork for one that takes no payments."""
    if farm is None:
        raise WrongNetwork(
            "This farm takes no payments: it has no chain. One that a plain `render` has started has none; "
            "`render-farm up` has. Without --budget the job is free."
        )
    return farm


def check_network(farm: Network | None, mine: Network) -> None:
    """The farm must settle on the client's own chain, in its token, by the contracts it trusts. Raises
    WrongNetwork, naming what differs.
    """
    theirs, ours = asdict(check_settles(farm)), asdict(mine)
    for name in SHOWN:
        if str(theirs[name]).lower() != str(ours[name]).lower():
            what = name.replace("_", " ")
            raise WrongNetwork(
                f"The farm settles elsewhere: its {what} is {theirs[name]}, and yours is {ours[name]}. "
                "Nothing was paid."
            )


def check_terms(signed: SignedTerms, network: Network, kept: "Kept", now: float) -> None:
    """Raises Forbidden where the terms are not signed by the farm that the job was given to, or say something
    else than what was asked of it.
    """
    from payments.signing import require_signer  # noqa: PLC0415 - signatures take long to load

    terms, payment = signed.message, kept.payment
    require_signer(terms, network, signed.signature, kept.farm)
    wanted = {
        "farm": kept.farm,
        "client": payment.client,
        "refundTo": payment.refund_to,
        "name": job_name(kept.job),
        "priceCap": payment.price_cap,
        "watcher": payment.watcher,
    }
    for field, value in wanted.items():
        found = getattr(terms, field)
        if str(found).lower() != str(value).lower():
            raise BadTerms(f"The farm's terms name {field} {found}, and not {value}. Nothing was paid.")
    _check_deadline(terms, payment, now)
    if not terms.arbiters or not 0 < terms.threshold <= len(terms.arbiters):
        raise BadTerms("The farm's terms name no arbiters that could decide. Nothing was paid.")
    if terms.stakeShare < WHOLE:
        raise BadTerms("The farm's terms ask for less stake than the work is worth. Nothing was paid.")


def check_work(terms: Terms, scene: "SceneId", settings: "RenderSettings", policy: "AuditPolicy") -> None:
    """The hash in the terms must be over the scene, settings, price cap and audits that were asked for."""
    from render_farm.terms import terms_hash  # noqa: PLC0415 - signatures take long to load

    if terms.termsHash != terms_hash(scene, settings, terms.priceCap, policy):
        raise BadTerms("The farm's terms are over another scene or other settings. Nothing was paid.")


def _check_deadline(terms: Terms, payment: Payment, now: float) -> None:
    if payment.deadline and terms.deadline != payment.deadline:
        raise BadTerms("The farm's terms name another deadline than was asked for. Nothing was paid.")
    if terms.deadline <= now:
        raise BadTerms("The farm's terms are over already. Nothing was paid.")
    if not payment.deadline and terms.deadline > now + LONGEST_DAYS * DAY:
        raise BadTerms(f"The farm's terms run for more than {LONGEST_DAYS} days. Nothing was paid.")
