# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that is not the project's program: it says and signs over raw HTTP whatever a test wants."""

import hashlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from farm_protocol.errors import InvalidInput
from farm_protocol.fields import decode, encode
from farm_protocol.records import Lease, TaskResult
from frame_splitter import exr
from tests.api_calls import Answer, Api, Node, under
from verification.pixel_root import pixel_root


@dataclass
class RawNode(Node):
    """Signs only what it is asked to sign; `enrol` first."""

    def signed(self, lease: dict[str, Any], result: TaskResult) -> TaskResult:
        """The result as this node signs it under a lease."""
        return self.sign(lease, result)

    def submit(self, lease: dict[str, Any], result: TaskResult) -> Answer:
        """Submit this, by the farm's terms where it takes it by such."""
        if lease["task"]["kind"] == "render" and result.signature and result.pixel_root:
            result = self.appoint(lease, result)
        return self.call("POST", f"{under(lease)}/result?token={lease['token']}", result)

    def uploaded(self, lease: dict[str, Any], content: bytes) -> TaskResult:
        """Upload a tile; the result with its true pixel root, or one made up where it has none."""
        return replace(self.upload(lease, content), pixel_root=root_of(content))

    def audited(self, lease: dict[str, Any], files: dict[str, bytes]) -> TaskResult:
        """Upload an audit's pictures, in order; the result."""
        results = [self.upload(lease, content, name) for name, content in files.items()]
        uploaded = tuple(file for one in results for file in one.files)
        return replace(results[0], files=uploaded, pixel_root=root_of(*files.values()))

    def hand_in(self, lease: dict[str, Any], content: bytes) -> Answer:
        """Upload, sign and submit a tile."""
        return self.submit(lease, self.signed(lease, self.uploaded(lease, content)))


def keyless_node(owner: Api, name: str, device: str = "") -> RawNode:
    """A node of the owner's that has shown no key yet and claims to render on `device`."""
    made = owner.ok("POST", "/nodes", {"name": name, "own": False})
    return RawNode(owner.url, made["token"], id=made["node"], device=device)


def raw_node(owner: Api, name: str, device: str) -> RawNode:
    """A node of the owner's that has shown its key."""
    node = keyless_node(owner, name, device)
    node.enrol()
    return node


def root_of(*contents: bytes) -> str:
    """The pixel root of EXR files' bytes; a hash of them where one cannot be decoded."""
    with tempfile.TemporaryDirectory() as folder:
        images = []
        for number, content in enumerate(contents):
            path = Path(folder) / f"{number}.exr"
            path.write_bytes(content)
            try:
                images.append(exr.read(path))
            except InvalidInput:
                return hashlib.sha256(b"".join(contents)).hexdigest()
        return pixel_root(images)


def as_lease(lease: dict[str, Any]) -> Lease:
    """A lease's JSON as the record."""
    return decode(encode(lease), Lease)
