# SPDX-License-Identifier: GPL-3.0-or-later
"""The farm: coordinator, settler, embedded farm, the artist's commands, and a library for studios' scripts.

from render_farm import FarmClient

with FarmClient("https://farm.example", token) as farm:
    print(farm.jobs())
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from render_farm.client.farm_client import FarmClient

__all__ = ["FarmClient"]


def __getattr__(name: str) -> Any:
    """The library, once it is asked for: the servers and commands below this package have no use for it."""
    if name == "FarmClient":
        from render_farm.client.farm_client import FarmClient  # noqa: PLC0415

        return FarmClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
