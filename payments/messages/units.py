# SPDX-License-Identifier: GPL-3.0-or-later
"""Amounts: integers in the smallest unit, and never anything else."""

from typing import NewType

Wei = NewType("Wei", int)
"""An amount in the smallest unit of the chain's own coin or of the token that jobs are paid in."""
