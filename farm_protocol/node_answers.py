# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API answers to nodes, beyond leases and results themselves (docs/http.md).

The coordinator encodes them, nodes decode them with their bounds.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from farm_protocol.documents import Submission
from farm_protocol.fields import Address, Digest, Name, Signature, StoredFile, about
from farm_protocol.ids import NodeId, SceneId
from farm_protocol.links import MOST_ORIGINS
from farm_protocol.records import Lease, TaskState, Upload


@dataclass(frozen=True, slots=True)
class LeaseList:
    """At most one lease for each slot offered."""

    leases: Annotated[
        tuple[Lease, ...],
        msgspec.Meta(max_length=10_000),
        about("the leases, one for each slot offered at most"),
    ]


@dataclass(frozen=True, slots=True)
class LeasedScene:
    """The files of a lease's scene by relative path, with links to fetch them; `main` is to be opened,
    `color_config` as in its Manifest.
    """

    scene: Annotated[SceneId, about("id of the scene: the digest of its manifest")]
    main: Annotated[Name, about("path of the .blend to open")]
    files: Annotated[
        dict[Name, StoredFile],
        msgspec.Meta(min_length=1, max_length=200_000),
        about("its files by relative path, with links"),
    ]
    color_config: Annotated[
        Name, about("OCIO configuration: a file, a built-in one, or '' for Blender's own")
    ] = ""


@dataclass(frozen=True, slots=True)
class UploadList:
    """Where to PUT each file asked for."""

    uploads: Annotated[tuple[Upload, ...], msgspec.Meta(max_length=10_000), about("where to PUT each file")]


@dataclass(frozen=True, slots=True)
class StateAnswer:
    """The state a task is in after what was done to it."""

    state: Annotated[TaskState, about("where it is on its way")]


@dataclass(frozen=True, slots=True)
class SubmissionReceipt:
    """The farm's receipt of a submission."""

    submission: Annotated[Submission, about("what the farm says it has")]
    signature: Annotated[Signature, about("the farm's signature over it")]
    leaf: Annotated[int, msgspec.Meta(ge=0), about("number of its leaf in the farm's log")]


@dataclass(frozen=True, slots=True)
class ResultAnswer:
    """The state a task is in after its submit; a receipt where a beacon round decides about it."""

    state: Annotated[TaskState, about("where it is on its way")]
    receipt: Annotated[
        SubmissionReceipt | None, about("the farm's receipt where a beacon round decides about it")
    ] = None


class SubmitAnswer(msgspec.Struct, frozen=True):
    """A ResultAnswer as nodes read it: a receipt that is none is the farm's fault, and no lost answer."""

    state: Name
    receipt: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class NodeSelf:
    """A node as it must know itself: its id is what it signs for."""

    node: Annotated[NodeId, about("id of the node")]
    name: Annotated[Name, about("name for people")]
    own: Annotated[bool, about("whether the farm's operator runs and trusts it")]
    farm: Annotated[Address, about("address of the farm, which its signatures are for")]
    address: Annotated[Address | None, about("address that its token is bound to; null: none yet")] = None
    objects: Annotated[
        tuple[Name, ...],
        msgspec.Meta(max_length=MOST_ORIGINS),
        about("where the farm's links lead (scheme://host:port)"),
    ] = ()
    owner: Annotated[Name, about("id of the owner whose node it is")] = ""


@dataclass(frozen=True, slots=True)
class OfferAnswer:
    """A standing offer's struct hash, by which orders name it."""

    offer: Annotated[Digest, about("struct hash of the standing offer, by which orders name it")]
