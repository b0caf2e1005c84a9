# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settler's loops tell each other."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from farm_protocol.ids import JobId


@dataclass(frozen=True, slots=True)
class Trouble:
    """What could not be brought to the chain, as a sentence. `stops`: no more work is done under the
    agreement while it is so.
    """

    sentence: str
    stops: bool


@dataclass(slots=True)
class Knowledge:
    """What was seen on the chain last. `stakes`: operators' free stake, by address in small letters;
    `troubles`: what could not be brought to the chain, by job and agreement; `halted`: why nothing may go on.
    """

    stakes: dict[str, int] = field(default_factory=dict)
    troubles: dict[tuple[JobId, str], Trouble] = field(default_factory=dict)
    halted: str = ""
    chain_time: float = 0.0

    def now(self, clock: float) -> float:
        """The time that deadlines are held against: the contracts go by the chain's, which may be ahead."""
        return max(clock, self.chain_time)

    def stake(self, operator: str) -> int:
        """An operator's free stake as it was seen last; none where it was never seen."""
        return self.stakes.get(operator.lower(), 0)

    def knows(self, operators: Iterable[str]) -> bool:
        """Whether the stake of all these was seen."""
        return all(operator.lower() in self.stakes for operator in operators)

    def is_in_trouble(self, job: JobId, agreement: str) -> bool:
        """Whether the chain refuses an agreement."""
        trouble = self.troubles.get((job, agreement))
        return trouble is not None and trouble.stops

    def of_job(self, job: JobId) -> list[str]:
        """What is in the way of a job, as sentences."""
        return [trouble.sentence for (of, _), trouble in self.troubles.items() if of == job]
