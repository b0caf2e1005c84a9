# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts of `scripts/` are told: each has one record, named as the script is.

A script reads its record as `arg`, without what is None. Numbers come to it as the text that the store
keeps (its own JSON has 14 digits only), records as their JSON, which the store keeps as it is; lists and
mappings come as they are. Scripts derive the names of the store's keys from the ids in it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from farm_protocol.audits import CheckReport
from farm_protocol.documents import Attestation
from farm_protocol.fields import encode
from farm_protocol.ids import DeviceClass, JobId, NodeId, OwnerId, TaskId
from render_farm.api_models import Failure
from render_farm.policy.fallbacks import Fallback
from render_farm.policy.verification_rules import JobRules
from verification.audit.records import SignedHead, SubmissionRecord
from verification.audit.verdict import Case, Verdict


class Call(msgspec.Struct, frozen=True):
    """One call of a script."""

    def argument(self) -> bytes:
        """The record as the script gets it."""
        told = {name: getattr(self, name) for name in self.__struct_fields__}
        return msgspec.json.encode({name: _told(one) for name, one in told.items() if one is not None})


@cache
def script_of(call: type[Call]) -> str:
    """The script that takes a record: SubmitAudit is for submit_audit."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", call.__name__).lower()


def _told(value: Any) -> Any:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str | list | tuple | Mapping):
        return value
    if isinstance(value, int | float):
        return repr(value)
    return value.decode() if isinstance(value, bytes) else encode(value).decode()


# --- leases -----------------------------------------------------------------------------------------


class Candidates(Call, frozen=True):
    """What a node could be given. `owner`: whose jobs only, None for everybody's; `lanes` it may be given;
    `classes` of devices it offers, and for `audits`; `refuses` (JSON list): jobs it renders nothing more for;
    `offers`: each slot to its SlotOffer (JSON); `job`: only to see what it could be given of that one, which
    is no word from the node.
    """

    node: NodeId
    now: float
    owner: OwnerId | None
    classes: Sequence[str]
    lanes: Sequence[str]
    audits: Sequence[str]
    refuses: bytes
    offers: Mapping[str, str]
    sandboxed: bool
    most_jobs: int
    most_tasks: int
    job: JobId | None = None


class Take(Call, frozen=True):
    """`wanted`: task, slot, its device class, and its bytes of video memory, 0 for none or unknown."""

    node: NodeId
    now: float
    ends: float
    wanted: Sequence[tuple[TaskId, str, DeviceClass, str]]


class Renew(Call, frozen=True):
    """`beats`: {task, token, progress (JSON), done, total}; `troubles` (JSON): slots it cannot use."""

    node: NodeId
    now: float
    ends: float
    beats: Sequence[Mapping[str, object]]
    troubles: bytes


class OfLease(Call, frozen=True):
    """A lease that a node has, or had."""

    task: TaskId
    token: int
    node: NodeId


class ReadLease(OfLease, frozen=True):
    """`rules`: those that the farm has now; None where nothing is to be fixed."""

    operator: OwnerId = OwnerId("")
    rules: JobRules | None = None


class HandIn(OfLease, frozen=True):
    """`digest`: of the result (JSON), tells one that is handed in again from another."""

    now: float
    result: bytes
    digest: str


class Submit(HandIn, frozen=True):
    """With a submission: `how` it goes on,
    accept (at once) or wait (for its round), its `record`, and the digests of the `attestation` and of the
    `receipt`, the log's leaf. `fallback`: a finished frame is another than the one rendered whole.
    """

    render_seconds: float
    how: str | None = None
    record: SubmissionRecord | None = None
    attestation: str | None = None
    receipt: str | None = None
    round: int | None = None
    pixel_root: str | None = None
    operator: OwnerId | None = None
    fallback: Fallback | None = None


class GiveBack(OfLease, frozen=True):
    """`is_fault`: it counts against the scene, `most_faults` of which fail a task; `bad_inputs`: tiles a
    finish task could not use, rendered again, or audits a check could not look at; `fallback`: why the job's
    frames are rendered whole from now on if a task of tiles fails of this.
    """

    now: float
    code: str
    is_fault: bool
    failure: Failure
    sentence: str
    most_faults: int
    bad_inputs: Sequence[TaskId]
    fallback: Fallback | None


class Expire(Call, frozen=True):
    """At most `limit` leases."""

    now: float
    limit: int


class Grace(Call, frozen=True):
    """No lease ends before `until_then`, and all count from `now`."""

    now: float
    until_then: float


# --- submissions and rounds -------------------------------------------------------------------------


class SubmitAudit(HandIn, frozen=True):
    """`address` and `operator` are the auditor's; `own`: it is the farm's."""

    address: str
    operator: OwnerId
    own: bool


class Decide(Call, frozen=True):
    """`how`: accept, check or audit, by the round's `value` (hexadecimal); `forced`: why it is audited
    although its round did not say so, or ''; `audits` to order (`_wishes`). JSON lists: `candidates` that
    could audit it, what is known of who was `asked`, and those whose audit is `spared` a repeat.
    """

    task: TaskId
    token: int
    now: float
    how: str
    value: str
    forced: str
    audits: Sequence[Mapping[str, object]]
    candidates: bytes
    asked: bytes
    spared: bytes
    audits_before: int


class Conclude(HandIn, frozen=True):
    """What a check brought, and `how` its submission goes on: accepted, rejected, unresolved, or more,
    `because` of suspects, escalated, looks or doubts; `forced` as of Decide; `audits` to order and those that
    are `contradicted`; `evidence` (JSON list of files); `channels` (JSON) and `noise` of the tile; `failure`
    of the task, where rejected.
    """

    how: str
    because: str
    forced: str
    verdict: Verdict
    case: Case
    report: CheckReport
    evidence: bytes
    audits: Sequence[Mapping[str, object]]
    contradicted: Sequence[TaskId]
    channels: bytes
    noise: float
    failure: Failure
    fallback: Fallback | None


class Equivocate(Call, frozen=True):
    """The `second` picture that a node signed under a lease, its `signature`, and what is made of it."""

    task: TaskId
    token: int
    now: float
    second: Attestation
    signature: str
    verdict: Verdict
    failure: Failure


class CloseRound(Call, frozen=True):
    """`late`: the round's value may be known already."""

    round: int
    late: bool


class PublishHead(Call, frozen=True):
    """The log's head as it was signed for a round."""

    round: int
    head: SignedHead


class RecordRound(Call, frozen=True):
    """`value` (hexadecimal) and the public beacon's signature, '' for none."""

    round: int
    value: str
    beacon_signature: str


# --- jobs -------------------------------------------------------------------------------------------


class AddTasks(Call, frozen=True):
    """Some tasks and frames (`new_jobs.written`) of a job whose making `began` then."""

    job: JobId
    began: float
    tasks: Sequence[Mapping[str, object]]
    frames: Sequence[Mapping[str, object]]


class CreateJob(Call, frozen=True):
    """`fields` of the job's hash; `total` tasks, of them `waiting` ones that finish, of so many `frames`.
    `again`: where an earlier try under the same key is `remembered` so many seconds, told apart by what was
    `asked`. `lists` it can be found in; `going_on`: the owner's unfinished jobs, of which there may be
    `most_jobs` with `most_tasks` (0: any).
    """

    job: JobId
    created: float
    fields: Mapping[str, str]
    total: int
    waiting: int
    frames: int
    again: str
    asked: str
    remembered: int
    lists: Sequence[str]
    going_on: str
    most_jobs: int
    most_tasks: int


class Intend(Call, frozen=True):
    """`intent`: cancel, pause or resume."""

    job: JobId
    intent: str


class EndTasks(Call, frozen=True):
    """At most `limit` tasks."""

    job: JobId
    limit: int


class ClearJob(Call, frozen=True):
    """At most `limit` tasks and frames."""

    job: JobId
    limit: int


class StandStill(Call, frozen=True):
    """Why nobody may take any of a job's tasks, or ''."""

    job: JobId
    sentence: str


class Notice(Call, frozen=True):
    """A sentence for all jobs that are worked on."""

    sentence: str


class Keep(Call, frozen=True):
    """A `command`, its `key`, and what comes after it."""

    command: str
    key: str
    words: Sequence[str]


# --- people and nodes -------------------------------------------------------------------------------


class Enrol(Call, frozen=True):
    """An owner or a node with this `id`, to be kept with its `fields` under `key` and listed in `members`;
    what is kept of its `token` (a digest) in `whose`. `again`, `asked`, `remembered` as of CreateJob.
    """

    id: str
    key: str
    members: str
    fields: Mapping[str, str]
    token: str
    whose: Mapping[str, str]
    again: str
    asked: str
    remembered: int


class Bind(Call, frozen=True):
    """The address that a node of the operator's signs with."""

    node: NodeId
    operator: OwnerId
    address: str


# --- money ------------------------------------------------------------------------------------------


class MarkPaid(Call, frozen=True):
    """Some of `fields` funded, held, settled, money and statement."""

    job: JobId
    fields: Mapping[str, str]


class RecordChain(Call, frozen=True):
    """How far the chain was read `before` and now, and what it said of each job (lists of JSON)."""

    before: str
    cursor: str
    entries: Mapping[JobId, Sequence[str]]


class HoldLock(Call, frozen=True):
    """Who holds it, and for how many milliseconds; 0 lets it go."""

    who: str
    milliseconds: int


class Promise(Call, frozen=True):
    """A node may do `units_cap` micro-units of a job under an agreement; what was signed at its beginning
    (`base`, JSON), and what is new, with the newest of each (`news`, JSON).
    """

    job: JobId
    node: NodeId
    agreement: str
    units_cap: int
    base: bytes
    news: bytes
