# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node signs in place of a pixel root where its files are not linear EXRs."""

from collections.abc import Iterable

from farm_protocol.records import OutputFile
from verification import merkle


def file_root(files: Iterable[OutputFile]) -> str:
    """The Merkle root over the sha256 of the files, in order, as hexadecimal digits."""
    return merkle.root([merkle.leaf_hash(bytes.fromhex(file.sha256)) for file in files]).hex()
