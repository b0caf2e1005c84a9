# SPDX-License-Identifier: GPL-3.0-or-later
"""What a paid job is opened with: the terms that the farm signs once, when the job is made. Pure."""

import hashlib
import json

import msgspec

from farm_protocol.ids import JobId, SceneId
from farm_protocol.records import RenderSettings
from farm_protocol.typed_data import address_of
from payments.messages.network import Network
from payments.messages.promises import Signed, Terms, job_name
from payments.messages.session import session_key
from payments.messages.signing import signed
from payments.messages.statements import Payment
from render_farm.policy.verification_rules import Arbiters, Rules
from verification.audit.rate import STAKE
from verification.audit.sampling import AuditPolicy

FIRST_TASKS = 16
"""Tasks' worth of a first cap."""
MOST_CLAIM_TASKS = 256
"""Tasks that may be claimed without voucher: more than a frame has tiles, or nodes wait for each other."""
WHOLE = 10_000
STAKE_SHARE = -(-STAKE * WHOLE // FIRST_TASKS)
"""Stake behind a cap, in ten-thousandths of it: the first cap is backed by so many rewards of a tile that no
cheat pays."""
DEADLINE_SECONDS = 30 * 24 * 3600
LONGEST_SECONDS = 365 * 24 * 3600
"""A day less than the contract's own limit: its clock may differ."""


def terms_hash(scene: SceneId, settings: RenderSettings, price_cap: int, policy: AuditPolicy) -> str:
    """What the terms say of the work: sha256 over `scene`, `settings`, `price_cap` and the audits' `policy`
    as JSON.
    """
    said = {
        "scene": scene,
        "settings": msgspec.to_builtins(settings),
        "price_cap": price_cap,
        "audits": msgspec.to_builtins(policy),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def make(
    job: JobId, payment: Payment, work: str, rules: Rules, network: Network, arbiters: Arbiters, now: float
) -> Signed[Terms]:
    """A job's terms, signed by the farm. `work` is the hash over what is to be done."""
    terms = Terms(
        client=payment.client,
        refundTo=payment.refund_to,
        farm=rules.address,
        name=job_name(job),
        deadline=payment.deadline or int(now) + DEADLINE_SECONDS,
        sessionKey=address_of(session_key(rules.key, job)),
        priceCap=payment.price_cap,
        stakeShare=STAKE_SHARE,
        watcher=payment.watcher,
        arbiters=arbiters.addresses,
        threshold=arbiters.threshold,
        termsHash=work,
    )
    return signed(terms, network, rules.key)
