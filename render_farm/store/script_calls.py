# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts of `scripts/` are told: each has one record, named as the script is.

A script reads its record as `arg`, without what is None. Numbers come to it as the text that the store
keeps (its own JSON has 14 digits only), records as their JSON, which the store keeps as it is; lists and
mappings come as they are. Scripts derive the names of the store's keys from the ids in it.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from frame_splitter.fields import encode
from frame_splitter.ids import NodeId, OwnerId, TaskId
from render_farm.rules import JobRules


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


class ReadLease(Call, frozen=True):
    """`rules`: those that the farm has now; None where nothing is to be fixed."""

    task: TaskId
    token: int
    node: NodeId
    operator: OwnerId = OwnerId("")
    rules: JobRules | None = None
