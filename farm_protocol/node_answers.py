# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API answers to nodes, beyond leases and results themselves (docs/architecture.md, "HTTP").

The coordinator encodes them, nodes decode them with their bounds.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.documents import Submission
from farm_protocol.fields import Address, Digest, Name, Signature, StoredFile
from farm_protocol.ids import NodeId, SceneId
from farm_protocol.links import MOST_ORIGINS
from farm_protocol.records import Lease, TaskState, Upload


@dataclass(frozen=True, slots=True)
class LeaseList:
    """At most one lease for each slot offered."""

    leases: Annotated[tuple[Lease, ...], msgspec.Meta(max_length=10_000)]


@dataclass(frozen=True, slots=True)
class LeasedScene:
    """The files of a lease's scene by relative path, with links to fetch them; `main` is to be opened,
    `color_config` as in its Manifest.
    """

    scene: SceneId
    main: Name
    files: Annotated[dict[Name, StoredFile], msgspec.Meta(min_length=1, max_length=200_000)]
    color_config: Name = ""


@dataclass(frozen=True, slots=True)
class UploadList:
    """Where to PUT each file asked for."""

    uploads: Annotated[tuple[Upload, ...], msgspec.Meta(max_length=10_000)]


@dataclass(frozen=True, slots=True)
class StateAnswer:
    """The state a task is in after what was done to it."""

    state: TaskState


@dataclass(frozen=True, slots=True)
class SubmissionReceipt:
    """The farm's receipt of a submission: signed by the farm, and number `leaf` of its log."""

    submission: Submission
    signature: Signature
    leaf: Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class ResultAnswer:
    """The state a task is in after its submit; a receipt where a beacon round decides about it."""

    state: TaskState
    receipt: SubmissionReceipt | None = None


class SubmitAnswer(msgspec.Struct, frozen=True):
    """A ResultAnswer as nodes read it: a receipt that is none is the farm's fault, and no lost answer."""

    state: Name
    receipt: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class NodeSelf:
    """A node as it must know itself: its id is what it signs for, `farm` whom it signs to, `address` what
    its token is bound to, `owner` whose it is. Links of the farm lead to `objects` (scheme://host:port), or
    to the farm itself where it names none.
    """

    node: NodeId
    name: Name
    own: bool
    farm: Address
    address: Address | None = None
    objects: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MOST_ORIGINS)] = ()
    owner: Name = ""


@dataclass(frozen=True, slots=True)
class OfferAnswer:
    """A standing offer's struct hash, by which orders name it."""

    offer: Digest
