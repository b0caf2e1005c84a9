# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules a farm verifies by, and the key it signs with."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from farm_protocol.typed_data import address_of
from verification.audit.rate import Rates
from verification.audit.records import FarmRules
from verification.audit.sampling import AuditPolicy
from verification.protocol import drand as public_beacon
from verification.protocol.beacon import LOCAL, Beacon, LocalBeacon


@dataclass(frozen=True, slots=True)
class JobRules:
    """What stays of the rules for a job, whatever the farm's become later."""

    policy: AuditPolicy
    rates: Rates


@dataclass(frozen=True, slots=True)
class Rules:
    """A farm's key and rules. `name` is the beacon's: `local`, or a drand chain's hash."""

    key: bytes = field(repr=False)
    address: str
    beacon: Beacon
    name: str
    policy: AuditPolicy
    rates: Rates

    def of_job(self, kept: JobRules | None) -> "Rules":
        """The rules a job is verified by: what it kept of them, however the farm's were changed since."""
        return self if kept is None else replace(self, policy=kept.policy, rates=kept.rates)

    def public(self) -> FarmRules:
        """What everybody may know."""
        beacon = self.beacon
        return FarmRules(self.address, self.name, beacon.genesis, beacon.period, self.policy, self.rates)


@dataclass(frozen=True, slots=True)
class Arbiters:
    """Who decides about stake and contested claims: `threshold` of them."""

    addresses: tuple[str, ...]
    threshold: int


def local(key: bytes, period: float, policy: AuditPolicy, rates: Rates) -> Rules:
    """Rules with a beacon of the farm's own, a round every `period` seconds. Its secret comes from the farm's
    `key`, so that it survives restarts. `policy` and `rates` are those of audits.
    """
    beacon = LocalBeacon(hmac.digest(key, b"beacon", "sha256"), period=period)
    return Rules(key, address_of(key), beacon, LOCAL, policy, rates)


def drand(key: bytes, urls: Sequence[str], policy: AuditPolicy, rates: Rates) -> Rules:
    """Rules with a public beacon, read from whichever of `urls` has its rounds."""
    beacon = public_beacon.Drand(urls)
    return Rules(key, address_of(key), beacon, public_beacon.QUICKNET.hash, policy, rates)
