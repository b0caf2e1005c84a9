# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the store's keys. The scripts derive the same names; `scripts/shared.lua` lists them.

All keys start with `farm:`. The server is one server (or a primary with replicas), not a cluster:
scripts touch several keys of one job at once.
"""

from collections.abc import Callable

Of = Callable[[str | int], str]
OfTwo = Callable[[str, str | int], str]

OPEN_JOBS = "farm:jobs:open"
"""Sorted set: jobs with ready tasks, neither paused nor cancelled, most urgent first."""
ALL_JOBS = "farm:jobs"
"""Sorted set: every job by its time of creation."""
QUOTES = "farm:quotes"
"""Sorted set: the jobs of quotes by time of creation; they are in no other list."""
SPEEDS = "farm:speeds"
"""Hash: device class to micro-units a second, as the last probe on it measured."""
PAID_JOBS = "farm:jobs:paid"
"""Sorted set: paid jobs whose money is not all where it belongs, by time of creation."""
MONEY_CHANGED = "farm:money:changed"
"""Stream: jobs whose money changed, capped."""
WORK_CHANGED = "farm:work:changed"
"""Stream: jobs of which more may be leased because of their money, capped."""
MONEY_CURSOR = "farm:money:cursor"
"""String: up to where the chain was read."""
STAKES = "farm:money:stakes"
"""Hash: what operators' wallets had at stake and free, when the chain was last asked."""
SELLING = "farm:nodes:selling"
"""Set: nodes with an offer."""
CLOCK = "farm:clock"
"""String: how far the farm's time has come, in seconds since the epoch."""
MAKING_JOBS = "farm:jobs:making"
"""Sorted set: jobs that are being made, by when that began. Nothing else names them yet."""
ENDING_JOBS = "farm:jobs:ending"
"""Sorted set: jobs that were given up, and have tasks that were not ended yet."""
LEAVING_JOBS = "farm:jobs:leaving"
"""Sorted set: jobs that are in no list any more, and are being deleted."""
LOOSE_BLOBS = "farm:owners:loose"
"""Set: owners of whom a scene was deleted, and whose blobs were not looked through since."""
LEASES = "farm:leases"
"""Sorted set: every leased task by the time its lease ends."""
OWNERS = "farm:owners"
"""Set: every owner but the admin."""
LOG = "farm:log"
"""List: the leaves of the farm's log of submissions."""
LOG_NODES = "farm:log:nodes"
"""Hash: the complete subtrees of the log by level and index."""
LOG_SIZE = "farm:log:size"
"""String: how many leaves the subtrees span."""
ROUNDS = "farm:rounds"
"""Sorted set: beacon rounds that something waits for, by number."""
CLOSED = "farm:rounds:closed"
"""String: the last round that the log was closed for."""
LOG_HEAD = "farm:log:head"
"""String: the log's newest signed head."""
NODES = "farm:nodes"
"""Sorted set: every node by the time it was last heard of."""
job: Of = "farm:job:{}".format
"""Hash: a job's record, counters, intents and pins."""
job_tasks: Of = "farm:job:{}:tasks".format
"""List: ids of a job's tasks in order."""
job_lane: OfTwo = "farm:job:{}:ready:{}".format
"""Sorted set: a job's ready tasks of a lane, in order."""
job_frames: Of = "farm:job:{}:frames".format
"""List: a job's frame numbers in order."""
job_excluded: Of = "farm:job:{}:excluded".format
"""Set: nodes that get no more tasks of a job."""
job_lies: Of = "farm:job:{}:lies".format
"""Hash: nodes to how many of their rejections in the job a second look confirmed."""
job_entries: Of = "farm:job:{}:entries".format
"""List: what the farm adds to a paid job's books."""
job_chain: Of = "farm:job:{}:chain".format
"""List: what the chain adds to a paid job's books."""
job_orders: Of = "farm:job:{}:orders".format
"""Set: a job's agreements."""
job_ordered: Of = "farm:job:{}:ordered".format
"""Set: nodes that a job has agreements with."""
order: OfTwo = "farm:job:{}:order:{}".format
"""Hash: a node's agreement for a job, and how much work it may do under it."""
job_units: Of = "farm:job:{}:units".format
"""Hash: a paid job's frames by number, each as many micro-units as its quote says."""
job_releases: Of = "farm:job:{}:releases".format
"""Hash: signed releases of a job's agreements."""
agreement: Of = "farm:agreement:{}".format
"""Hash: an agreement's job and node, and what was signed for it at its beginning."""
promises: Of = "farm:node:{}:promises".format
"""Stream: what a node was promised, change by change."""
events: Of = "farm:job:{}:events".format
"""Stream: what happened to a job, but progress, capped."""
progress: Of = "farm:job:{}:progress".format
"""Stream: how far the job's leased tasks are, capped."""
frame: OfTwo = "farm:frame:{}:{}".format
"""Hash: counters and result of one frame."""
task: Of = "farm:task:{}".format
"""Hash: a task, its state, its lease and its result."""
owner: Of = "farm:owner:{}".format
"""Hash: an owner's name."""
owner_audited: Of = "farm:owner:{}:audited".format
"""Hash: how often each operator was the first to audit an owner's nodes' work; `*` is all of them."""
owner_jobs: Of = "farm:owner:{}:jobs".format
"""Sorted set: an owner's jobs by time of creation."""
owner_quotes: Of = "farm:owner:{}:quotes".format
"""Sorted set: the jobs of an owner's quotes by time of creation."""
owner_nodes: Of = "farm:owner:{}:nodes".format
"""Set: an owner's nodes."""
owner_blobs: Of = "farm:owner:{}:blobs".format
"""Hash: sha256 to size of every blob of the owner that was checked."""
owner_announced: Of = "farm:owner:{}:announced".format
"""Hash: sha256 to size of every blob that counts against an owner's room: brought, or asked links for."""
owner_bytes: Of = "farm:owner:{}:bytes".format
"""String: the bytes of all of them."""
owner_manifests: Of = "farm:owner:{}:manifests".format
"""Sorted set: an owner's scenes by the bytes of their manifests."""
owner_kept: Of = "farm:owner:{}:kept".format
"""Sorted set: an owner's ended jobs and quotes that are kept, by about how many bytes they take."""
owner_going: Of = "farm:owner:{}:going".format
"""Set: blobs of an owner that are counted no more, and whose objects are to be deleted."""
same_work: OfTwo = "farm:owner:{}:same:{}".format
"""Sorted set: an owner's jobs with one fingerprint, by time of creation."""
scene: OfTwo = "farm:owner:{}:scene:{}".format
"""Hash: an owner's manifest, and whether all its blobs are there."""
scene_waiting: OfTwo = "farm:owner:{}:scene:{}:waiting".format
"""Set: jobs that wait for a lost file of a scene."""
node: Of = "farm:node:{}".format
"""Hash: a node's name, owner and last report."""
node_slots: Of = "farm:node:{}:slots".format
"""Sorted set: a node's slots by the time each was last heard of."""
node_offers: Of = "farm:node:{}:offers".format
"""Hash: a node's slots to what each offered last (JSON SlotOffer)."""
node_audits: Of = "farm:node:{}:audits".format
"""Sorted set: device classes on which a node audits, by the time each was last offered."""
node_leases: Of = "farm:node:{}:leases".format
"""Set: tasks a node holds."""
submission: OfTwo = "farm:submission:{}:{}".format
"""Hash: what was submitted under a lease, and what became of it."""
job_submissions: Of = "farm:job:{}:submissions".format
"""List: task and token of a job's submissions in the order they came in."""
job_rounds: Of = "farm:job:{}:rounds".format
"""Set: beacon rounds that decided about a job's submissions."""
job_roots: Of = "farm:job:{}:roots".format
"""Hash: which submissions of a job have a pixel root."""
round_of: Of = "farm:round:{}".format
"""Hash: a beacon round."""
waiting: Of = "farm:round:{}:waiting".format
"""List: the submissions that a round decides about."""
owner_tokens: Of = "farm:owner:{}:tokens".format
"""Set: an owner's tokens and its nodes', by their digests."""
token: Of = "farm:token:{}".format
"""Hash: whose token it is, made, lasts, ends, used (seconds) and revoked, by the token's sha256. It stays
when the token was taken back, so that nothing makes the same one again."""
owner_issued: Of = "farm:owner:{}:issued".format
"""String: how many tokens an owner issued since the day began; it goes when the day ends."""
repeated: OfTwo = "farm:owner:{}:again:{}".format
"""String: what a creation under an Idempotency-Key asked for and made."""


def owner_unfinished(owner_id: str, quotes: bool = False) -> str:
    """Sorted set: an owner's unfinished jobs (or quotes) by how many tasks they have."""
    return f"farm:owner:{owner_id}:{'probing' if quotes else 'unfinished'}"
