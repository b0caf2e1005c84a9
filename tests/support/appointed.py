# SPDX-License-Identifier: GPL-3.0-or-later
"""A result as a node hands it in at a coordinator's counter: by its terms."""

from dataclasses import replace

from farm_protocol.records import TaskResult
from render_farm.coordinator.result_receiver import Counter
from render_farm.store.identities import Caller
from render_farm.store.known_leases import Holding
from verification.protocol import attestation


async def by_terms(
    counter: Counter,
    caller: Caller,
    held: Holding,
    result: TaskResult,
    key: bytes,
    farm: str,
    attempt: int = 1,
) -> TaskResult:
    """The result with an appointment by what the counter offers now."""
    terms = await counter.terms(caller, held.task, held.token, attempt)
    message = attestation.attest(held.task, held.token, result)
    one = attestation.appoint(message, terms, attempt, farm)
    return replace(result, appointment=one, appointment_signature=attestation.sign(one, farm, key))
