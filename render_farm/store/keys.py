# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the store's keys. The scripts derive the same names; `scripts/shared.lua` lists them.

All keys start with `farm:`. The server is one server (or a primary with replicas), not a cluster:
scripts touch several keys of one job at once.
"""

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

MONEY_LOCK = "farm:money:lock"
"""String: the process that keeps the books, until it is heard of no more."""

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


def job(job_id: str) -> str:
    """Hash: a job's record, counters, intents and pins."""
    return f"farm:job:{job_id}"


def job_tasks(job_id: str) -> str:
    """List: ids of a job's tasks in order."""
    return f"farm:job:{job_id}:tasks"


def job_lane(job_id: str, lane: str) -> str:
    """Sorted set: a job's ready tasks of a lane, in order."""
    return f"farm:job:{job_id}:ready:{lane}"


def job_frames(job_id: str) -> str:
    """List: a job's frame numbers in order."""
    return f"farm:job:{job_id}:frames"


def job_excluded(job_id: str) -> str:
    """Set: nodes that get no more tasks of a job."""
    return f"farm:job:{job_id}:excluded"


def job_lies(job_id: str) -> str:
    """Hash: nodes to how many of their rejections in the job a second look confirmed."""
    return f"farm:job:{job_id}:lies"


def job_entries(job_id: str) -> str:
    """List: what the farm adds to a paid job's books."""
    return f"farm:job:{job_id}:entries"


def job_chain(job_id: str) -> str:
    """List: what the chain adds to a paid job's books."""
    return f"farm:job:{job_id}:chain"


def job_orders(job_id: str) -> str:
    """Set: a job's agreements."""
    return f"farm:job:{job_id}:orders"


def job_ordered(job_id: str) -> str:
    """Set: nodes that a job has agreements with."""
    return f"farm:job:{job_id}:ordered"


def order(job_id: str, node_id: str) -> str:
    """Hash: a node's agreement for a job, and how much work it may do under it."""
    return f"farm:job:{job_id}:order:{node_id}"


def job_units(job_id: str) -> str:
    """Hash: a paid job's frames by number, each as many micro-units as its quote says."""
    return f"farm:job:{job_id}:units"


def job_releases(job_id: str) -> str:
    """Hash: signed releases of a job's agreements."""
    return f"farm:job:{job_id}:releases"


def agreement(digest: str) -> str:
    """Hash: an agreement's job and node, and what was signed for it at its beginning."""
    return f"farm:agreement:{digest}"


def promises(node_id: str) -> str:
    """Stream: what a node was promised, change by change."""
    return f"farm:node:{node_id}:promises"


def events(job_id: str) -> str:
    """Stream: what happened to a job, but progress, capped."""
    return f"farm:job:{job_id}:events"


def progress(job_id: str) -> str:
    """Stream: how far the job's leased tasks are, capped."""
    return f"farm:job:{job_id}:progress"


def frame(job_id: str, number: int) -> str:
    """Hash: counters and result of one frame."""
    return f"farm:frame:{job_id}:{number}"


def task(task_id: str) -> str:
    """Hash: a task, its state, its lease and its result."""
    return f"farm:task:{task_id}"


def owner(owner_id: str) -> str:
    """Hash: an owner's name."""
    return f"farm:owner:{owner_id}"


def owner_audited(owner_id: str) -> str:
    """Hash: how often each operator was the first to audit an owner's nodes' work; `*` is all of them."""
    return f"farm:owner:{owner_id}:audited"


def owner_jobs(owner_id: str) -> str:
    """Sorted set: an owner's jobs by time of creation."""
    return f"farm:owner:{owner_id}:jobs"


def owner_quotes(owner_id: str) -> str:
    """Sorted set: the jobs of an owner's quotes by time of creation."""
    return f"farm:owner:{owner_id}:quotes"


def owner_unfinished(owner_id: str, quotes: bool = False) -> str:
    """Sorted set: an owner's unfinished jobs (or quotes) by how many tasks they have."""
    return f"farm:owner:{owner_id}:{'probing' if quotes else 'unfinished'}"


def owner_nodes(owner_id: str) -> str:
    """Set: an owner's nodes."""
    return f"farm:owner:{owner_id}:nodes"


def owner_blobs(owner_id: str) -> str:
    """Hash: sha256 to size of every blob of the owner that was checked."""
    return f"farm:owner:{owner_id}:blobs"


def owner_announced(owner_id: str) -> str:
    """Hash: sha256 to size of every blob that counts against an owner's room: brought, or asked links for."""
    return f"farm:owner:{owner_id}:announced"


def owner_bytes(owner_id: str) -> str:
    """String: the bytes of all of them."""
    return f"farm:owner:{owner_id}:bytes"


def owner_manifests(owner_id: str) -> str:
    """Sorted set: an owner's scenes by the bytes of their manifests."""
    return f"farm:owner:{owner_id}:manifests"


def owner_kept(owner_id: str) -> str:
    """Sorted set: an owner's ended jobs and quotes that are kept, by about how many bytes they take."""
    return f"farm:owner:{owner_id}:kept"


def owner_going(owner_id: str) -> str:
    """Set: blobs of an owner that are counted no more, and whose objects are to be deleted."""
    return f"farm:owner:{owner_id}:going"


def same_work(owner_id: str, fingerprint: str) -> str:
    """Sorted set: an owner's jobs with one fingerprint, by time of creation."""
    return f"farm:owner:{owner_id}:same:{fingerprint}"


def scene(owner_id: str, scene_id: str) -> str:
    """Hash: an owner's manifest, and whether all its blobs are there."""
    return f"farm:owner:{owner_id}:scene:{scene_id}"


def scene_waiting(owner_id: str, scene_id: str) -> str:
    """Set: jobs that wait for a lost file of a scene."""
    return f"farm:owner:{owner_id}:scene:{scene_id}:waiting"


def node(node_id: str) -> str:
    """Hash: a node's name, owner and last report."""
    return f"farm:node:{node_id}"


def node_slots(node_id: str) -> str:
    """Sorted set: a node's slots by the time each was last heard of."""
    return f"farm:node:{node_id}:slots"


def node_offers(node_id: str) -> str:
    """Hash: a node's slots to what each offered last (JSON SlotOffer)."""
    return f"farm:node:{node_id}:offers"


def node_audits(node_id: str) -> str:
    """Sorted set: device classes on which a node audits, by the time each was last offered."""
    return f"farm:node:{node_id}:audits"


def node_leases(node_id: str) -> str:
    """Set: tasks a node holds."""
    return f"farm:node:{node_id}:leases"


def address(written: str) -> str:
    """String: the operator whose nodes sign with an address."""
    return f"farm:address:{written.lower()}"


def submission(task_id: str, lease_token: int) -> str:
    """Hash: what was submitted under a lease, and what became of it."""
    return f"farm:submission:{task_id}:{lease_token}"


def job_submissions(job_id: str) -> str:
    """List: task and token of a job's submissions in the order they came in."""
    return f"farm:job:{job_id}:submissions"


def job_rounds(job_id: str) -> str:
    """Set: beacon rounds that decided about a job's submissions."""
    return f"farm:job:{job_id}:rounds"


def job_roots(job_id: str) -> str:
    """Hash: which submissions of a job have a pixel root."""
    return f"farm:job:{job_id}:roots"


def round_of(number: int) -> str:
    """Hash: a beacon round."""
    return f"farm:round:{number}"


def waiting(number: int) -> str:
    """List: the submissions that a round decides about."""
    return f"farm:round:{number}:waiting"


def owner_tokens(owner_id: str) -> str:
    """Set: an owner's tokens and its nodes', by their digests."""
    return f"farm:owner:{owner_id}:tokens"


def token(digest: str) -> str:
    """Hash: whose token it is, made, lasts, ends, used (seconds) and revoked, by the token's sha256. It stays
    when the token was taken back, so that nothing makes the same one again.
    """
    return f"farm:token:{digest}"


def owner_issued(owner_id: str) -> str:
    """String: how many tokens an owner issued since the day began; it goes when the day ends."""
    return f"farm:owner:{owner_id}:issued"


def repeated(owner_id: str, key: str) -> str:
    """String: what a creation under an Idempotency-Key asked for and made."""
    return f"farm:owner:{owner_id}:again:{key}"
